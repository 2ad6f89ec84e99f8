//! Whose turn it is to sign in for a connection: one at a time, however often its records are read again; and when that is over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedMutexGuard, watch},
};
use uuid::Uuid;

use crate::{
    audit::Subject,
    egress::Stands,
    error::{Error, Kind},
    sync::lock,
};

/// What is shared by everything that signs in for one connection, however often its records are read again.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<Uuid, Arc<Turn>>>>);

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
    /// finds this one, until what is given is dropped.
    pub(crate) fn end(&self, connection: Uuid) -> Ending {
        let turn = self.of(connection);
        turn.ended.send_replace(true);
        Ending { turns: self.clone(), connection, turn, last: None }
    }

    /// Forgets an ended one: what is kept now is what is to be used. Another that is there by now stays.
    fn forget(&self, connection: Uuid, turn: &Arc<Turn>) {
        let mut all = lock(&self.0);
        if all.get(&connection).is_some_and(|there| Arc::ptr_eq(there, turn)) {
            all.remove(&connection);
        }
    }
}

/// A turn that was ended. It is forgotten when this is dropped: at once where nobody signs in any longer, else when that is over,
/// since two who sign in would use the same renewal token.
pub(crate) struct Ending {
    turns: Turns,
    connection: Uuid,
    turn: Arc<Turn>,
    last: Option<OwnedMutexGuard<()>>,
}

impl Ending {
    /// Waits until nobody is signing in. Whoever comes later finds that it is over.
    pub(crate) async fn last(&mut self) {
        self.last = Some(self.turn.one.clone().lock_owned().await);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (turns, connection, turn) = (self.turns.clone(), self.connection, self.turn.clone());
        match Handle::try_current() {
            // Whoever ended it went away in the middle.
            Ok(runtime) if self.last.is_none() => drop(runtime.spawn(async move {
                let _last = turn.one.lock().await;
                turns.forget(connection, &turn);
            })),
            _ => turns.forget(connection, &turn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_ends_a_turn_that_another_ended_already_does_not_forget_the_one_that_came_after_it() {
        // Regression: a live turn was forgotten that nobody could end any longer.
        let (turns, connection) = (Turns::default(), Uuid::new_v4());
        let (mut first, mut second) = (turns.end(connection), turns.end(connection));
        first.last().await;
        drop(first);
        let after = turns.of(connection);
        assert!(!after.is_over());
        second.last().await;
        drop(second);
        assert!(Arc::ptr_eq(&turns.of(connection), &after), "it is another one now");
        drop(turns.end(connection));
        assert!(after.is_over());
    }

    #[tokio::test]
    async fn a_turn_whose_ending_was_given_up_is_forgotten_once_nobody_signs_in_under_it() {
        // Regression: it stayed, so that nothing could be called until somebody connected again.
        let (turns, connection) = (Turns::default(), Uuid::new_v4());
        let before = turns.of(connection);
        let signing_in = before.one.clone().lock_owned().await;
        drop(turns.end(connection));
        tokio::task::yield_now().await;
        assert!(Arc::ptr_eq(&turns.of(connection), &before), "two would sign in at once");
        drop(signing_in);
        while Arc::ptr_eq(&turns.of(connection), &before) {
            tokio::task::yield_now().await;
        }
        assert!(!turns.of(connection).is_over());
    }
}
