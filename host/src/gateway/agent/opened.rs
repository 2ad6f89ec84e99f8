//! Boxes that were opened, kept while they are used: opening one takes longer than anything else that the gateway does for a
//! request, and most requests are of connections that were just used.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::super::{
    key::OpeningKey,
    sealed::{self, Meant, Terms},
};
use crate::{
    consent::SealedBox,
    digest::Digest,
    egress::Known,
    error::{Error, Kind, Result},
    sync::lock,
    transport::PoolKey,
};

/// How long one is kept that nobody uses; then its secrets are wiped.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// How many are kept, which is more than a gateway's connections.
const MOST: usize = 4_096;

/// What was in a box, and what is found of it in answers.
pub(super) struct Opened {
    pub(super) terms: Terms,
    pub(super) meant: Meant,
    pub(super) known: Known,
}

impl Opened {
    /// Whose network connections are used.
    pub(super) fn pool(&self) -> PoolKey {
        PoolKey::new(format!("{}/{}", self.terms.connection, self.terms.generation))
    }
}

/// Opens boxes.
pub(super) struct Boxes {
    key: OpeningKey,
    /// The only environment that boxes are opened for.
    environment: String,
    opened: Mutex<HashMap<Digest, (Arc<Opened>, Instant)>>,
}

impl Boxes {
    pub(super) fn new(key: OpeningKey, environment: String) -> Self {
        Self { key, environment, opened: Mutex::default() }
    }

    /// What is in a box.
    ///
    /// # Errors
    /// `reconnect-needed` where it does not open, `denied` where it is for another environment.
    pub(super) fn open(&self, sealed: &SealedBox) -> Result<Arc<Opened>> {
        // Every byte of it: two boxes of the same terms are two.
        let name = Digest::of(format!("{}\0{}\0{}", sealed.encapsulated, sealed.sealed, sealed.terms).as_bytes());
        if let Some((opened, used)) = lock(&self.opened).get_mut(&name) {
            *used = Instant::now();
            return Ok(opened.clone());
        }
        let (terms, meant) = sealed::open(sealed, &self.key)?;
        if terms.environment != self.environment {
            return Err(self.elsewhere(&terms));
        }
        let opened = Arc::new(Opened { terms, meant, known: Known::default() });
        let mut all = lock(&self.opened);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(name, (opened.clone(), Instant::now()));
        Ok(opened)
    }

    /// Forgets what nobody used for a while.
    pub(super) fn sweep(&self) {
        lock(&self.opened).retain(|_, (_, used)| used.elapsed() < KEPT);
    }

    fn elsewhere(&self, terms: &Terms) -> Error {
        Kind::Denied.error(format!(
            "The credential was sealed for the environment `{}`, and this gateway is of `{}`.",
            terms.environment, self.environment
        ))
    }
}
