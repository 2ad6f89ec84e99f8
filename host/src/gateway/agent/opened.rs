//! Boxes that were opened, kept while they are used: opening one takes longer than anything else that the gateway does for a
//! request, and most requests are of connections that were just used.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use url::Url;

use super::super::{
    key::OpeningKey,
    sealed::{self, Meant, Purpose, Terms},
};
use crate::{
    consent::{self, App, Captured, Discovered, SealedBox, SealedText},
    digest::Digest,
    egress::Known,
    error::{Error, Kind, Result},
    manifest::{AuthOption, Values, audience::OriginPattern},
    sync::lock,
    transport::PoolKey,
};

/// How long one is kept that nobody uses; then its secrets are wiped.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// How many are kept, which is more than a gateway's connections.
const MOST: usize = 4_096;

/// What was in the boxes of a connection, and what is found of it in answers.
pub(super) struct Opened {
    pub(super) terms: Terms,
    /// Byte by byte, as what is kept for it is bound to them.
    pub(super) bound_to: String,
    pub(super) option: AuthOption,
    /// What was typed, what its app has, and what was captured.
    pub(super) values: Values,
    /// Where the credential may go with these values.
    pub(super) audience: Vec<OriginPattern>,
    /// Where it signs in, which no connector calls.
    pub(super) sign_in: Vec<Url>,
    pub(super) app: Option<Arc<App>>,
    /// What signing in gave, with its secrets.
    pub(super) captured: Option<Captured>,
    pub(super) known: Known,
}

impl Opened {
    /// Whose network connections are used.
    pub(super) fn pool(&self) -> PoolKey {
        PoolKey::new(format!("{}/{}", self.terms.connection, self.terms.generation))
    }

    /// What the provider said of itself when the connection was agreed to.
    pub(super) fn discovered(&self) -> Discovered {
        self.terms.discovered.clone().unwrap_or_default()
    }
}

/// Opens boxes.
pub(super) struct Boxes {
    /// One, or while nobody knows yet which of both the host goes by, two.
    keys: Vec<OpeningKey>,
    /// Which of them it goes by.
    current: AtomicUsize,
    /// The only environment that boxes are opened for.
    environment: String,
    opened: Mutex<HashMap<Digest, (Arc<Opened>, Instant)>>,
}

impl Boxes {
    pub(super) fn new(key: OpeningKey, next: Option<OpeningKey>, environment: String) -> Self {
        let keys = [key].into_iter().chain(next).collect();
        Self { keys, current: AtomicUsize::new(0), environment, opened: Mutex::default() }
    }

    /// What opens and seals them.
    pub(super) fn key(&self) -> &OpeningKey {
        &self.keys[self.current.load(Ordering::Acquire)]
    }

    /// From now on it is that one, if it is one of them.
    pub(super) fn go_by(&self, key: Digest) -> bool {
        let found = self.keys.iter().position(|it| it.public().fingerprint() == key);
        if let Some(found) = found {
            self.current.store(found, Ordering::Release);
        }
        found.is_some()
    }

    /// What is in a connection's box, in its app's, and in what was captured for it.
    ///
    /// # Errors
    /// `reconnect-needed` or `approval-needed` where one does not open; `denied` where it is for another environment, or where
    /// they do not belong together.
    pub(super) fn open(
        &self,
        sealed: &SealedBox,
        app: Option<&SealedBox>,
        captured: Option<&SealedText>,
    ) -> Result<Arc<Opened>> {
        let name = name_of(sealed, app, captured);
        if let Some((opened, used)) = lock(&self.opened).get_mut(&name) {
            *used = Instant::now();
            return Ok(opened.clone());
        }
        let key = self.key();
        let (terms, meant) = sealed::open(sealed, key)?;
        let captured = captured.map(|it| sealed::kept(Purpose::Captured, &sealed.terms, it, key)).transpose()?;
        let opened = Arc::new(self.together(terms, sealed.terms.clone(), meant, app, captured)?);
        let mut all = lock(&self.opened);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(name, (opened.clone(), Instant::now()));
        Ok(opened)
    }

    /// What terms say before anything is sealed for them: with what was typed and is no secret.
    ///
    /// # Errors
    /// As for [`Boxes::open`].
    pub(super) fn proposed(&self, terms: &str, app: Option<&SealedBox>) -> Result<Opened> {
        let parsed = Terms::parse(terms)?;
        let option = AuthOption::check(&parsed.option)?;
        let values = Values::without_secrets(&option, parsed.parameters.clone())?;
        let meant = Meant { option, values, audience: Vec::new() };
        self.together(parsed, terms.to_owned(), meant, app, None)
    }

    /// Forgets what nobody used for a while.
    pub(super) fn sweep(&self) {
        lock(&self.opened).retain(|_, (_, used)| used.elapsed() < KEPT);
    }

    fn together(
        &self,
        terms: Terms,
        bound_to: String,
        meant: Meant,
        app: Option<&SealedBox>,
        captured: Option<Captured>,
    ) -> Result<Opened> {
        if terms.environment != self.environment {
            return Err(self.elsewhere(&terms));
        }
        let Meant { option, mut values, .. } = meant;
        let app = match (app, &terms.app) {
            (None, None) => None,
            (Some(app), Some(_)) => {
                let (whose, app) = sealed::open_app(app, self.key())?;
                whose.permit(&terms)?;
                app.give(&option, &mut values)?;
                Some(Arc::new(app))
            }
            _ => {
                return Err(
                    Kind::Denied.error("The connection's terms and the app that the host names do not go together.")
                );
            }
        };
        if let Some(captured) = &captured {
            values = consent::with_captured(&option.scheme.captured(), values, captured)?;
        }
        let audience = consent::audience(&option, &values)?;
        let sign_in = consent::sign_in_urls(&option, &values, terms.discovered.as_ref());
        Ok(Opened { terms, bound_to, option, values, audience, sign_in, app, captured, known: Known::default() })
    }

    fn elsewhere(&self, terms: &Terms) -> Error {
        Kind::Denied.error(format!(
            "The credential was sealed for the environment `{}`, and this gateway is of `{}`.",
            terms.environment, self.environment
        ))
    }
}

/// Every byte of them: two boxes of the same terms are two.
fn name_of(sealed: &SealedBox, app: Option<&SealedBox>, captured: Option<&SealedText>) -> Digest {
    let [of_app, of_captured] = [app.is_some(), captured.is_some()].map(u8::from);
    let boxes = [Some(sealed), app].into_iter().flatten().flat_map(|it| [&it.encapsulated, &it.sealed, &it.terms]);
    let texts = captured.iter().flat_map(|it| [&it.encapsulated, &it.sealed]);
    let mut whole = vec![of_app, of_captured];
    for text in boxes.chain(texts) {
        whole.extend_from_slice(text.as_bytes());
        whole.push(0);
    }
    Digest::of(&whole)
}
