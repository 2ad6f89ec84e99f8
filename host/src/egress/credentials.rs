//! Where the values that are attached come from.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::scrub::Finder;
use crate::{
    audit::Subject,
    consent::SealedText,
    error::{Error, Result},
    manifest::Values,
};

/// Values that are good now, as far as anybody knows.
pub struct Held {
    /// By name: what was typed, and what was captured.
    pub values: Values,
    /// Counts how often they were renewed.
    pub generation: u64,
    /// What was captured, where only a gateway reads it.
    pub sealed: Option<SealedText>,
    finder: OnceLock<Option<Arc<Finder>>>,
}

impl Held {
    /// Values that were renewed so often.
    pub fn new(values: Values, generation: u64) -> Self {
        Self { values, generation, sealed: None, finder: OnceLock::new() }
    }

    /// With what only a gateway reads.
    #[must_use]
    pub fn sealed(self, sealed: Option<SealedText>) -> Self {
        Self { sealed, ..self }
    }

    /// Finds every secret among them. A service that has one may give it back whenever it likes, and not only in the answer to
    /// the request that brought it.
    pub(super) fn finder(&self) -> Option<&Arc<Finder>> {
        let made = || Finder::new(self.values.secret().values().cloned()).map(Arc::new);
        self.finder.get_or_init(made).as_ref()
    }
}

/// Keeps the values of one connection good.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The values to attach; fetched or renewed first where what is held has run out.
    ///
    /// # Errors
    /// `reconnect-needed` where only the account's owner can help; the kinds of the way out where the service that issues
    /// them cannot be reached.
    async fn current(&self, subject: &Subject) -> Result<Arc<Held>>;

    /// What is held without asking anybody, whether it is still good or not; none where nothing was fetched yet.
    fn at_hand(&self) -> Option<Arc<Held>>;

    /// The same, where it is no longer to be used, too: what a service may know.
    fn known(&self) -> Option<Arc<Held>> {
        self.at_hand()
    }

    /// Whether they are tokens of an authorization server, of which services speak as RFC 6750 says.
    fn are_bearer(&self) -> bool {
        false
    }

    /// Renews what was not renewed for so long, so that it does not die of idleness; whether it did.
    ///
    /// # Errors
    /// As for [`Credentials::current`].
    async fn keep_alive(&self, _: Duration, _: &Subject) -> Result<bool> {
        Ok(false)
    }

    /// Values newer than those, which the service refused; none where there is nothing to renew.
    ///
    /// # Errors
    /// As for [`Credentials::current`].
    async fn renewed(&self, refused: &Held, subject: &Subject) -> Result<Option<Arc<Held>>>;
}

/// Says whether a connection is still what its calls were begun with.
pub trait Stands: Send + Sync {
    /// True from the moment at which it is not any longer; the sender lives as long as this does.
    fn ended(&self) -> watch::Receiver<bool>;

    /// `consent-needed`: it was ended or connected anew meanwhile.
    fn over(&self, subject: &Subject) -> Error;

    /// Whether it is.
    ///
    /// # Errors
    /// As [`Stands::over`] says it.
    fn stand(&self, subject: &Subject) -> Result<()> {
        if *self.ended().borrow() { Err(self.over(subject)) } else { Ok(()) }
    }
}

/// What was typed is what is sent: the scheme `direct`.
pub struct Typed(Arc<Held>);

impl Typed {
    /// These values, always.
    pub fn new(values: Values) -> Self {
        Self(Arc::new(Held::new(values, 0)))
    }
}

#[async_trait]
impl Credentials for Typed {
    async fn current(&self, _: &Subject) -> Result<Arc<Held>> {
        Ok(self.0.clone())
    }

    fn at_hand(&self) -> Option<Arc<Held>> {
        Some(self.0.clone())
    }

    async fn renewed(&self, _: &Held, _: &Subject) -> Result<Option<Arc<Held>>> {
        Ok(None)
    }
}
