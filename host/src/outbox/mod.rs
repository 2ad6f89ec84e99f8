//! What happened to connections, and to sessions that one was to come of, and is to be told: for each endpoint that wants to
//! know, a message that waits in the store. It is written in the same commit as what it tells of, so that neither is ever there
//! without the other, whichever process wrote it; a host that serves delivers it ([`crate::webhooks`]). What is given up is kept
//! for a while, so that it can be sent again by hand.
//!
//! It calls `store` and `audit`. What must never happen here: that what happened is not kept because it cannot be told; more
//! messages than [`MOST_WAITING`] that wait for one endpoint, or than [`MOST_GIVEN_UP`] that were given up; a secret in a message.

mod endpoint;
mod event;
mod given_up;
mod queue;
mod session;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::de::DeserializeOwned;
use tokio::sync::watch;
use uuid::Uuid;

pub use endpoint::{Endpoint, Last, MOST_ENDPOINTS};
pub use event::EventType;
pub(crate) use event::{About, Happened, Message, OfConnection, Reason, Told};
pub use given_up::{GIVEN_UP_FOR, Kept, MOST_GIVEN_UP, Redelivered};
pub(crate) use queue::{Due, Settled};
pub use queue::{MOST_WAITING, Queued};
pub(crate) use session::{How, OfSession, Session, SessionEnded};

use crate::{
    audit::{Audit, Event},
    error::Result,
    store::{Changes, Place, Vault},
    sync::lock,
};

/// The folders of an environment that endpoints, messages that wait, those that were given up, what was told of connections, and
/// sessions that are under way are in.
pub(crate) const ENDPOINTS: &str = "webhook";
/// See [`ENDPOINTS`].
pub(crate) const MESSAGES: &str = "outbox";
/// See [`ENDPOINTS`].
pub(crate) const GIVEN_UP: &str = "given-up";
/// See [`ENDPOINTS`].
pub(crate) const TOLD: &str = "told";
/// See [`ENDPOINTS`].
pub(crate) const SESSIONS: &str = "session";

/// Endpoints, and what waits for them.
pub struct Outbox {
    vault: Arc<Vault>,
    audit: Arc<Audit>,
    /// Held over every change of endpoints and messages, so that nothing is written for one that is just removed.
    queues: Mutex<Queues>,
    endpoints: watch::Sender<()>,
    messages: watch::Sender<()>,
    counts: [AtomicU64; 3],
    most_waiting: usize,
    most_given_up: usize,
}

/// When each waiting message of an endpoint is due, in milliseconds since 1970, in the order in which they came; read from the
/// store when something is first known of the endpoint.
pub(crate) type Queues = HashMap<Uuid, BTreeMap<String, i64>>;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver took it.
    Delivered,
    /// An attempt failed.
    Failed,
    /// A message was given up.
    Dropped,
}

impl Outbox {
    pub(crate) fn new(vault: Arc<Vault>, audit: Arc<Audit>) -> Self {
        Self {
            vault,
            audit,
            queues: Mutex::default(),
            endpoints: watch::Sender::new(()),
            messages: watch::Sender::new(()),
            counts: Default::default(),
            most_waiting: MOST_WAITING,
            most_given_up: MOST_GIVEN_UP,
        }
    }

    /// Commits these changes, and with them a message for each endpoint that wants to know what happened. That a connection needs
    /// its owner is told once for each time that it was connected, and that a session ended once.
    ///
    /// # Errors
    /// Those of the store. That a message cannot be made is logged, and no error.
    pub(crate) fn commit(&self, changes: Changes, happened: &[Happened]) -> Result<()> {
        if happened.is_empty() {
            return self.vault.commit(changes);
        }
        let mut queues = lock(&self.queues);
        let mut added = queue::Added::default();
        for event in happened {
            if let Err(error) = self.add_once(&mut queues, &mut added, event) {
                tracing::error!(event = event.kind().name(), %error, "what happened is told to nobody");
            }
        }
        let own = std::mem::take(&mut added.changes);
        let committed = match (changes.is_empty(), own.is_empty()) {
            (true, true) => return Ok(()),
            // Nobody keeps what is of the outbox alone.
            (true, false) => self.vault.commit_aside(own),
            (false, _) => self.vault.commit(changes.and(own)),
        };
        if let Err(error) = committed {
            // It may have been written nevertheless: what is kept is what counts.
            queues.clear();
            return Err(error);
        }
        self.note_added(&mut queues, added);
        Ok(())
    }

    fn add_once(&self, queues: &mut Queues, added: &mut queue::Added, event: &Happened) -> Result<()> {
        let marked = match event {
            Happened::ToConnection { kind: EventType::NeedsReconnect, about, .. } => {
                let place = about.told_place()?;
                if self.vault.get::<Told>(&place)?.is_some_and(|told| told.generation == about.generation) {
                    return Ok(());
                }
                Changes::new().put(&place, &Told { generation: about.generation })?
            }
            Happened::ToConnection { .. } => Changes::new(),
            Happened::SessionEnded(ended) => {
                let place = ended.place()?;
                if self.vault.get::<Session>(&place)?.is_none() {
                    return Ok(());
                }
                Changes::new().delete(&place)
            }
        };
        added.changes = std::mem::take(&mut added.changes).and(marked);
        self.add(queues, added, event)
    }

    /// The endpoints of an environment, by name. One that cannot be read is logged, and left to be found by a check.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn endpoints(&self, environment: &str) -> Result<Vec<Endpoint>> {
        Ok(self.readable::<Endpoint>(&endpoints_place(environment)?)?.into_iter().map(|(_, it)| it).collect())
    }

    /// The endpoint of a name, if there is one.
    pub(crate) fn endpoint(&self, environment: &str, name: &str) -> Result<Option<Endpoint>> {
        self.vault.get(&endpoints_place(environment)?.join(name)?)
    }

    /// How many messages wait for an endpoint.
    pub(crate) fn waiting(&self, endpoint: &Endpoint) -> Result<usize> {
        Ok(self.queue(&mut lock(&self.queues), endpoint)?.len())
    }

    /// Changes what there is of an endpoint, while nothing is written for it.
    ///
    /// # Errors
    /// What `change` fails with.
    pub(crate) fn change<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let changing = lock(&self.queues);
        let changed = change();
        drop(changing);
        self.endpoints.send_replace(());
        changed
    }

    /// Writes an endpoint.
    pub(crate) fn put(&self, endpoint: &Endpoint) -> Result<()> {
        self.vault.commit_aside(Changes::new().put(&endpoint.place()?, endpoint)?)
    }

    /// Removes an endpoint, what waits for it, and what was given up.
    pub(crate) fn remove(&self, endpoint: &Endpoint) -> Result<()> {
        let mut queues = lock(&self.queues);
        if self.endpoint(&endpoint.environment, &endpoint.name)?.is_none_or(|there| there.id != endpoint.id) {
            return Ok(());
        }
        let (waiting, given_up) = (endpoint.messages_place()?, endpoint.given_up_place()?);
        let changes = self.without(&waiting)?.and(self.without(&given_up)?).delete(&endpoint.place()?);
        self.vault.commit_aside(changes)?;
        queues.remove(&endpoint.id);
        drop(queues);
        self.endpoints.send_replace(());
        Ok(())
    }

    /// Tells whenever an endpoint is added, changed or removed.
    pub(crate) fn endpoint_changes(&self) -> watch::Receiver<()> {
        self.endpoints.subscribe()
    }

    /// Tells whenever there is a new message.
    pub(crate) fn new_messages(&self) -> watch::Receiver<()> {
        self.messages.subscribe()
    }

    fn count(&self, outcome: Outcome, times: usize) {
        self.counts[outcome as usize].fetch_add(times as u64, Ordering::Relaxed);
    }

    /// How often that came of a message, since this process began.
    pub(crate) fn counted(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }

    fn without(&self, messages: &Place) -> Result<Changes> {
        let places = self.vault.places_below(messages)?;
        Ok(places.iter().fold(Changes::new(), |changes, place| changes.delete(place)))
    }

    fn readable<T: DeserializeOwned>(&self, below: &Place) -> Result<Vec<(Place, T)>> {
        let mut all = Vec::new();
        for place in self.vault.places_below(below)? {
            match self.vault.get(&place) {
                Ok(record) => all.extend(record.map(|record| (place, record))),
                Err(error) => tracing::error!(%place, %error, "a record of the outbox cannot be read"),
            }
        }
        Ok(all)
    }

    fn note_dropped(&self, endpoint: &Endpoint, message: &Queued, why: &str) {
        self.count(Outcome::Dropped, 1);
        let event =
            Event::webhook_dropped(&endpoint.environment, &endpoint.name, message.kind.name(), &message.id, why);
        // It is over; whether that can be written down the next line tells.
        if let Err(error) = self.audit.note(&event) {
            tracing::error!(%error, "a message that was given up is not in the audit");
        }
    }
}

fn endpoints_place(environment: &str) -> Result<Place> {
    Place::new(["environment", environment, ENDPOINTS])
}

#[cfg(test)]
mod tests;
