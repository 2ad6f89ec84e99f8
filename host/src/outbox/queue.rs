//! The messages that wait for one endpoint: written with what they tell of, taken out when they were delivered, and the oldest
//! given up where there are too many. What is given up is elsewhere from then on.

use std::collections::{BTreeMap, hash_map::Entry};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Endpoint, EventType, Happened, Last, Outbox, Outcome, Queues};
use crate::{audit::Event, error::Result, store::Changes, sync::lock};

/// Messages that wait for one endpoint: some 700 bytes each, so that a receiver that is gone for good takes less than a
/// megabyte. Beyond that the oldest is given up.
pub const MOST_WAITING: usize = 1_000;

/// A message that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queued {
    /// What a receiver knows it by, the same at each attempt and for each endpoint.
    pub id: String,
    /// What it tells of.
    pub kind: EventType,
    /// What is sent, as it is signed.
    pub payload: String,
    /// How often it was tried.
    pub attempts: usize,
    /// When it is tried next, in milliseconds since 1970.
    pub due: i64,
}

/// What a commit adds to queues once it was made.
#[derive(Default)]
pub(super) struct Added {
    pub(super) changes: Changes,
    queued: Vec<(Uuid, String, i64)>,
    dropped: Vec<(Endpoint, String, Queued)>,
}

/// What is to be done for an endpoint now.
pub(crate) enum Due {
    /// It is not there any longer, or nothing is sent there.
    Never,
    /// Nothing waits.
    Nothing,
    /// The next is to be tried then.
    At(Timestamp),
    /// To be tried now.
    Now(Box<Tried>),
}

/// A message that is tried.
pub(crate) struct Tried {
    pub(crate) endpoint: Endpoint,
    /// Its name in the queue.
    key: String,
    pub(crate) message: Queued,
}

/// What becomes of a message that was tried.
pub(crate) enum Settled {
    /// It was delivered.
    Delivered,
    /// It is tried again then.
    Again(Timestamp),
    /// It is given up.
    GivenUp,
    /// The receiver is gone, and nothing is sent there any more.
    Gone,
}

impl Outbox {
    /// Adds the messages of an event, for each endpoint that wants to know of it.
    pub(super) fn add(&self, queues: &mut Queues, added: &mut Added, event: &Happened) -> Result<()> {
        let mut endpoints = self.endpoints(event.environment())?;
        endpoints.retain(|endpoint| endpoint.wants(event.kind()));
        if endpoints.is_empty() {
            return Ok(());
        }
        let at = Timestamp::now();
        let queued = Queued {
            id: format!("msg_{}", Uuid::new_v4().simple()),
            kind: event.kind(),
            payload: event.payload()?,
            attempts: 0,
            due: at.as_millisecond(),
        };
        for mut endpoint in endpoints {
            // What this commit adds already.
            let (earlier, given_up) = (added.queued_for(endpoint.id), added.dropped_of(endpoint.id));
            let waiting = self.queue(queues, &endpoint)?;
            // In the order in which they came, also when clocks are set back between two of them.
            let last = waiting.last_key_value().and_then(|(key, _)| key.split_once('-')?.0.parse().ok()).unwrap_or(0);
            let key = format!("{:020}-{}", at.as_microsecond().max(last + 1) + earlier as i64, queued.id);
            let folder = endpoint.messages_place()?;
            let mut changes = Changes::new().put(&folder.join(&key)?, &queued)?;
            if waiting.len() + earlier - given_up >= self.most_waiting
                && let Some(oldest) = waiting.keys().nth(given_up).cloned()
            {
                let place = folder.join(&oldest)?;
                let message = self.vault.get::<Queued>(&place)?;
                endpoint.dropped += 1 + given_up as u64;
                changes = changes.delete(&place).put(&endpoint.place()?, &endpoint)?;
                if let Some(message) = message {
                    changes = changes.and(self.give_up(&endpoint, [(oldest.as_str(), &message)])?);
                    added.dropped.push((endpoint.clone(), oldest, message));
                }
            }
            added.changes = std::mem::take(&mut added.changes).and(changes);
            added.queued.push((endpoint.id, key, queued.due));
        }
        Ok(())
    }

    /// What was added is there.
    pub(super) fn note_added(&self, queues: &mut Queues, added: Added) {
        if added.queued.is_empty() {
            return;
        }
        for (endpoint, key, due) in added.queued {
            queues.entry(endpoint).or_default().insert(key, due);
        }
        for (endpoint, key, message) in added.dropped {
            queues.entry(endpoint.id).or_default().remove(&key);
            self.note_dropped(&endpoint, &message, "too many wait");
        }
        self.messages.send_replace(());
    }

    /// What is to be done for an endpoint, by its name and id.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn due(&self, environment: &str, name: &str, id: Uuid) -> Result<Due> {
        let mut queues = lock(&self.queues);
        let there = self.endpoint(environment, name)?.filter(|it| it.id == id && it.disabled.is_none());
        let Some(endpoint) = there else {
            queues.remove(&id);
            return Ok(Due::Never);
        };
        loop {
            let waiting = self.queue(&mut queues, &endpoint)?;
            let Some((key, due)) = waiting.iter().min_by_key(|(_, due)| **due) else { return Ok(Due::Nothing) };
            let (key, due) = (key.clone(), *due);
            if due > Timestamp::now().as_millisecond() {
                return Ok(Due::At(Timestamp::from_millisecond(due).unwrap_or(Timestamp::MAX)));
            }
            match self.vault.get::<Queued>(&endpoint.messages_place()?.join(&key)?)? {
                Some(message) => return Ok(Due::Now(Box::new(Tried { endpoint, key, message }))),
                None => drop(waiting.remove(&key)),
            }
        }
    }

    /// Writes down what came of an attempt, unless the endpoint was removed meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn settle(&self, tried: &Tried, last: Last, settled: &Settled) -> Result<()> {
        let mut queues = lock(&self.queues);
        self.count(if last.delivered { Outcome::Delivered } else { Outcome::Failed }, 1);
        let written = self.write_down(&mut queues, tried, last, settled);
        if written.is_err() {
            // What is kept is what counts.
            queues.remove(&tried.endpoint.id);
        }
        written
    }

    fn write_down(&self, queues: &mut Queues, tried: &Tried, last: Last, settled: &Settled) -> Result<()> {
        let Tried { endpoint: before, key, message } = tried;
        // It may have another secret by now.
        let there = self.endpoint(&before.environment, &before.name)?.filter(|there| there.id == before.id);
        let Some(mut endpoint) = there else { return Ok(()) };
        let place = endpoint.messages_place()?.join(key)?;
        let waiting = self.queue(queues, &endpoint)?;
        // The oldest may have been given up for a newer one while it was tried.
        let waited = waiting.remove(key).is_some();
        let mut changes = Changes::new();
        match settled {
            Settled::Delivered => changes = changes.delete(&place).delete(&endpoint.given_up_place()?.join(key)?),
            Settled::Again(at) if waited => {
                waiting.insert(key.clone(), at.as_millisecond());
                let again = Queued { attempts: message.attempts + 1, due: at.as_millisecond(), ..message.clone() };
                changes = changes.put(&place, &again)?;
            }
            Settled::Again(_) => {}
            Settled::GivenUp => {
                endpoint.dropped += u64::from(waited);
                changes = changes.delete(&place);
                if waited {
                    changes = changes.and(self.give_up(&endpoint, [(key.as_str(), message)])?);
                }
            }
            Settled::Gone => {
                let given_up = usize::from(waited) + waiting.len();
                waiting.clear();
                endpoint.dropped += given_up as u64;
                endpoint.disabled = Some(last.at.clone());
                self.count(Outcome::Dropped, given_up);
                self.audit.write(&Event::webhook_disabled(&endpoint.environment, &endpoint.name, given_up))?;
                let folder = endpoint.messages_place()?;
                let all = self.readable::<Queued>(&folder)?;
                changes = self.give_up(&endpoint, all.iter().map(|(place, message)| (place.name(), message)))?;
                changes = changes.and(self.without(&folder)?);
            }
        }
        endpoint.last = Some(last);
        self.vault.commit_aside(changes.put(&endpoint.place()?, &endpoint)?)?;
        if waited && matches!(settled, Settled::GivenUp) {
            self.note_dropped(&endpoint, message, "nobody took it");
        }
        Ok(())
    }

    /// What waits for an endpoint.
    pub(super) fn queue<'a>(
        &self,
        queues: &'a mut Queues,
        endpoint: &Endpoint,
    ) -> Result<&'a mut BTreeMap<String, i64>> {
        if let Entry::Vacant(unknown) = queues.entry(endpoint.id) {
            let kept = self.readable::<Queued>(&endpoint.messages_place()?)?.into_iter();
            let kept = kept.map(|(place, queued)| (place.name().to_owned(), queued.due)).collect();
            unknown.insert(kept);
        }
        Ok(queues.entry(endpoint.id).or_default())
    }
}

impl Added {
    fn queued_for(&self, endpoint: Uuid) -> usize {
        self.queued.iter().filter(|(of, ..)| *of == endpoint).count()
    }

    fn dropped_of(&self, endpoint: Uuid) -> usize {
        self.dropped.iter().filter(|(of, ..)| of.id == endpoint).count()
    }
}
