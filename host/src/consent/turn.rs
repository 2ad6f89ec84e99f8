//! Whose turn it is to sign in for a connection: one at a time, however often its records are read again; and when that is over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::{MutexGuard, watch};
use uuid::Uuid;

use crate::{
    audit::Subject,
    egress::Stands,
    error::{Error, Kind},
    sync::lock,
};

/// What is shared by everything that signs in for one connection, however often its records are read again.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<Uuid, Arc<Turn>>>);

/// See [`Turns`].
#[derive(Default)]
pub(crate) struct Turn {
    /// Held by whoever signs in.
    pub(super) one: Arc<tokio::sync::Mutex<()>>,
    pub(super) failed: Mutex<Option<Failed>>,
    /// The generation that was got because a service refused the one before, and when.
    pub(super) after_refusal: Mutex<Option<(u64, Instant)>>,
    /// Nothing is handed out any longer.
    ended: watch::Sender<bool>,
}

impl Turn {
    /// Waits until nobody is signing in. Whoever comes later finds that it is over.
    pub(crate) async fn last(&self) -> MutexGuard<'_, ()> {
        self.one.lock().await
    }

    /// Whether nothing is handed out any longer.
    pub(crate) fn is_over(&self) -> bool {
        *self.ended.borrow()
    }
}

impl Stands for Turn {
    fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    fn over(&self, subject: &Subject) -> Error {
        Kind::ConsentNeeded
            .error(format!("The connection `{}` was ended or connected anew in the meantime.", subject.connection()))
            .hint("Call again.")
    }
}

/// A failure that may pass.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) again: Instant,
    pub(super) pause: Duration,
}

impl Turns {
    pub(crate) fn of(&self, connection: Uuid) -> Arc<Turn> {
        lock(&self.0).entry(connection).or_default().clone()
    }

    /// Ends a connection's, which is connected anew or removed: from now on nothing that it had is handed out, and whoever comes
    /// finds this one, until it is forgotten.
    pub(crate) fn end(&self, connection: Uuid) -> Arc<Turn> {
        let turn = self.of(connection);
        turn.ended.send_replace(true);
        turn
    }

    /// Forgets an ended one: what is kept now is what is to be used.
    pub(crate) fn forget(&self, connection: Uuid) {
        lock(&self.0).remove(&connection);
    }
}
