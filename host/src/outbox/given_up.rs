//! Messages that were given up: kept for a while, so that whoever mended a receiver can have them sent again.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Endpoint, Outbox, Queued};
use crate::{
    audit::Event,
    error::{Kind, Result},
    store::{Changes, Place},
    sync::lock,
    text,
};

/// Messages of one endpoint that are kept once they were given up: as many as may wait. Beyond that the oldest is gone.
pub const MOST_GIVEN_UP: usize = 1_000;
/// How long after what it tells of a message is kept that was given up: five days of trying, and some more to find out why
/// nobody took it.
pub const GIVEN_UP_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A message that is kept.
pub struct Kept {
    /// What is sent.
    pub message: Queued,
    /// When that came about which it tells of.
    pub happened: Timestamp,
    /// Whether it was given up; otherwise it waits.
    pub is_given_up: bool,
}

/// How many messages are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redelivered {
    /// They are sent as soon as the receiver may be asked.
    pub messages: usize,
    /// So many more would be, but for those that wait already.
    pub left: usize,
}

impl Outbox {
    /// Keeps messages that are given up, each by its name in the queue, in place of the oldest where there are too many.
    pub(super) fn give_up<'a>(
        &self,
        endpoint: &Endpoint,
        messages: impl IntoIterator<Item = (&'a str, &'a Queued)>,
    ) -> Result<Changes> {
        let folder = endpoint.given_up_place()?;
        let mut keys: BTreeSet<String> = self.keys(&folder)?.collect();
        let mut changes = Changes::new();
        for (key, message) in messages {
            changes = changes.put(&folder.join(key)?, message)?;
            keys.insert(key.to_owned());
        }
        let too_many = keys.len().saturating_sub(self.most_given_up);
        keys.iter().take(too_many).try_fold(changes, |changes, key| Ok(changes.delete(&folder.join(key)?)))
    }

    /// How many messages of an endpoint were given up and can be sent again.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn given_up(&self, endpoint: &Endpoint) -> Result<usize> {
        Ok(self.keys_given_up(endpoint, Timestamp::now())?.count())
    }

    /// The messages that wait for an endpoint, and those that were given up and can be sent again, in the order in which they
    /// came.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn kept(&self, endpoint: &Endpoint) -> Result<Vec<Kept>> {
        let oldest = Timestamp::now() - GIVEN_UP_FOR;
        let of = |folder: Place, is_given_up| -> Result<_> {
            let all = self.readable::<Queued>(&folder)?.into_iter();
            Ok(all.map(move |(place, message)| Kept { message, happened: happened(place.name()), is_given_up }))
        };
        let given_up = of(endpoint.given_up_place()?, true)?.filter(|it| it.happened >= oldest);
        let mut all: Vec<_> = given_up.chain(of(endpoint.messages_place()?, false)?).collect();
        all.sort_by_key(|it| it.happened);
        Ok(all)
    }

    /// Has messages of an endpoint sent again that were given up, and at once those that wait: these by their ids, or all where
    /// none is named. Of those that were given up, the oldest are taken first, and no more than may wait.
    ///
    /// # Errors
    /// `not-found` for an endpoint or an id that is not there; `denied` where nothing is sent there; those of the store.
    pub(crate) fn redeliver(&self, endpoint: &Endpoint, ids: &BTreeSet<String>, caller: &str) -> Result<Redelivered> {
        let mut queues = lock(&self.queues);
        let there = self.endpoint(&endpoint.environment, &endpoint.name)?.filter(|there| there.id == endpoint.id);
        let endpoint = there.ok_or_else(|| Kind::NotFound.error("The webhook was removed."))?;
        if endpoint.disabled.is_some() {
            return Err(Kind::Denied
                .error(format!("Nothing is sent to `{}`, since its receiver said that it is gone.", endpoint.name))
                .hint(format!("`attache webhook enable {}` once it is there again; then redeliver.", endpoint.name)));
        }
        let now = Timestamp::now();
        let waiting = self.queue(&mut queues, &endpoint)?;
        let given_up: Vec<String> = self.keys_given_up(&endpoint, now)?.collect();
        let known: BTreeSet<&str> = waiting.keys().chain(&given_up).map(|key| id(key)).collect();
        if let Some(unknown) = ids.iter().find(|id| !known.contains(id.as_str())) {
            return Err(Kind::NotFound
                .error(format!("No message `{}` is kept for `{}`.", text::foreign(unknown, 64), endpoint.name))
                .hint(format!("`attache webhook messages {}` shows those that are.", endpoint.name)));
        }
        let is_wanted = |key: &&String| ids.is_empty() || ids.contains(id(key));
        let room = self.most_waiting.saturating_sub(waiting.len());
        let wanted: Vec<&String> = given_up.iter().filter(is_wanted).collect();
        let (again, left) = wanted.split_at(wanted.len().min(room));
        let at_once: Vec<String> = waiting.keys().filter(is_wanted).cloned().collect();
        let (from, to) = (endpoint.given_up_place()?, endpoint.messages_place()?);
        let (mut changes, mut sent) = (Changes::new(), Vec::new());
        for (folder, key) in again.iter().map(|key| (&from, *key)).chain(at_once.iter().map(|key| (&to, key))) {
            let Some(message) = self.vault.get::<Queued>(&folder.join(key)?)? else { continue };
            let attempts = if folder == &to { message.attempts } else { 0 };
            let message = Queued { attempts, due: now.as_millisecond(), ..message };
            changes = changes.delete(&folder.join(key)?).put(&to.join(key)?, &message)?;
            sent.push(key.clone());
        }
        let redelivered = Redelivered { messages: sent.len(), left: left.len() };
        if sent.is_empty() {
            return Ok(redelivered);
        }
        self.audit.write(&Event::webhook_redelivered(&endpoint.environment, &endpoint.name, sent.len(), caller))?;
        if let Err(error) = self.vault.commit_aside(changes) {
            // What is kept is what counts.
            queues.remove(&endpoint.id);
            return Err(error);
        }
        waiting.extend(sent.into_iter().map(|key| (key, now.as_millisecond())));
        drop(queues);
        self.messages.send_replace(());
        Ok(redelivered)
    }

    /// Forgets what was given up and is kept no longer.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn forget_given_up(&self, endpoint: &Endpoint, now: Timestamp) -> Result<()> {
        let _unchanged = lock(&self.queues);
        let folder = endpoint.given_up_place()?;
        let mut old = self.keys(&folder)?.filter(|key| happened(key) < now - GIVEN_UP_FOR);
        let changes =
            old.try_fold(Changes::new(), |changes, key| Ok::<_, crate::Error>(changes.delete(&folder.join(&key)?)))?;
        if changes.is_empty() { Ok(()) } else { self.vault.commit_aside(changes) }
    }

    fn keys_given_up(&self, endpoint: &Endpoint, now: Timestamp) -> Result<impl Iterator<Item = String>> {
        Ok(self.keys(&endpoint.given_up_place()?)?.filter(move |key| happened(key) >= now - GIVEN_UP_FOR))
    }

    fn keys(&self, folder: &Place) -> Result<impl Iterator<Item = String> + use<>> {
        Ok(self.vault.places_below(folder)?.into_iter().map(|place| place.name().to_owned()))
    }
}

/// When what a message tells of came about, by its name in the queue.
fn happened(key: &str) -> Timestamp {
    let microsecond = key.split_once('-').and_then(|(microsecond, _)| microsecond.parse().ok());
    microsecond.and_then(|it| Timestamp::from_microsecond(it).ok()).unwrap_or(Timestamp::MIN)
}

/// A message's id, by its name in the queue.
fn id(key: &str) -> &str {
    key.split_once('-').map_or(key, |(_, id)| id)
}
