//! When connections were last used: noted in memory as calls end, and written now and then.
//!
//! What must never happen here: a call that waits for a disk, or that depends on what is noted; a record of a connection that is
//! gone.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    consent::{Book, Connection},
    error::Result,
    host::Host,
    store::Changes,
    sync::lock,
};

/// What is noted so soon after others were written waits for so long: the most that is forgotten with a host that is killed.
const PAUSE: Duration = Duration::from_secs(60);

/// Connections that are written in a row while others wait for the store.
const SOME: usize = 500;

/// What is noted and was not written yet.
#[derive(Default)]
pub(crate) struct Uses {
    noted: Mutex<HashMap<Uuid, Use>>,
    /// There is something to write.
    some: Notify,
}

/// The last one of a connection.
#[derive(Clone)]
struct Use {
    environment: String,
    /// Its name.
    connection: String,
    /// In seconds since 1970.
    at: i64,
}

impl Uses {
    /// Notes that a call of a connection ends now.
    pub(crate) fn note(&self, environment: &str, connection: &Connection) {
        let at = Timestamp::now().as_second();
        match lock(&self.noted).entry(connection.id) {
            Entry::Occupied(mut known) => known.get_mut().at = at,
            Entry::Vacant(new) => {
                new.insert(Use { environment: environment.to_owned(), connection: connection.name.clone(), at });
            }
        }
        self.some.notify_one();
    }

    /// Nothing is known of a connection that is removed.
    pub(crate) fn remove(&self, connection: Uuid) {
        lock(&self.noted).remove(&connection);
    }

    fn of(&self, connection: Uuid) -> Option<i64> {
        lock(&self.noted).get(&connection).map(|noted| noted.at)
    }

    fn connections(&self) -> Vec<Uuid> {
        lock(&self.noted).keys().copied().collect()
    }

    fn of_these(&self, connections: &[Uuid]) -> Vec<(Uuid, Use)> {
        let noted = lock(&self.noted);
        connections.iter().filter_map(|id| Some((*id, noted.get(id)?.clone()))).collect()
    }

    /// Forgets what was written, unless there was another use meanwhile.
    fn forget(&self, written: &[(Uuid, Use)]) {
        let mut noted = lock(&self.noted);
        for (id, it) in written {
            if let Entry::Occupied(known) = noted.entry(*id)
                && known.get().at == it.at
            {
                known.remove();
            }
        }
    }
}

impl Host {
    /// When a call of a connection ended last, to the second; none where it is not known of any.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn last_used(&self, book: &Book<'_>, connection: Uuid) -> Result<Option<Timestamp>> {
        let at = match self.uses.of(connection) {
            Some(noted) => Some(noted),
            None => book.last_used(connection)?,
        };
        Ok(at.and_then(|at| Timestamp::from_second(at).ok()))
    }

    /// Writes what is noted for as long as the host runs: at once, or when some time has passed since it was done last.
    pub(crate) async fn write_uses_now_and_then(self: Arc<Self>) {
        loop {
            self.uses.some.notified().await;
            let host = self.clone();
            // A disk takes its time, in which others go on.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || host.write_uses()).await {
                tracing::error!(%error, "when connections were last used is not written");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn write_uses(&self) -> Result<()> {
        self.uses.connections().chunks(SOME).try_for_each(|some| self.write_uses_of(some, Changes::new()))
    }

    /// Writes these changes, and in the same commit all that is noted.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn write_with_uses(&self, changes: Changes) -> Result<()> {
        self.write_uses_of(&self.uses.connections(), changes)
    }

    fn write_uses_of(&self, connections: &[Uuid], mut changes: Changes) -> Result<()> {
        // No connection is removed between the look whether it is there and the write.
        let _keeping = lock(&self.keeping);
        let uses = self.uses.of_these(connections);
        for (id, it) in &uses {
            let Ok(book) = self.book(&it.environment) else { continue };
            if let Ok(Some(there)) = book.find_connection(&it.connection)
                && there.id == *id
            {
                changes = changes.put(&book.last_used_place(*id)?, &it.at)?;
            }
        }
        if !changes.is_empty() {
            self.vault.commit_aside(changes)?;
        }
        self.uses.forget(&uses);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_while_another_is_written_is_written_the_next_time() {
        let (uses, id) = (Uses::default(), Uuid::new_v4());
        let at = |at: i64| Use { environment: "default".into(), connection: "it".into(), at };
        lock(&uses.noted).insert(id, at(1));
        let written = uses.of_these(&uses.connections());
        lock(&uses.noted).insert(id, at(2));
        uses.forget(&written);
        assert_eq!(uses.of(id), Some(2));
        uses.forget(&uses.of_these(&[id]));
        assert_eq!(uses.of(id), None);
    }
}
