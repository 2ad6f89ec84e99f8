//! The store: everything that must outlive a command, sealed and on disk when a commit returns.
//!
//! **Responsible for** the data directory (its mode, its lock), the key and where it comes from, sealing every record under
//! its own data key, and commits that are atomic and durable. [`Vault`] is what the rest of the host uses; [`Store`] is what
//! keeps the sealed bytes, and knows neither keys nor what a record means.
//!
//! **May call** the file system and a key command. Everything here blocks, a commit for as long as a disk takes.
//!
//! **Must never happen here**: a value written that is not sealed, or read that was not sealed at that very place; an
//! acknowledged commit that a crash or a power loss takes back; a key or a value in an error, a log or `Debug`; waiting for
//! a person while the lock is held.
//!
//! In the data directory:
//! ```text
//! lock              held by the owner, with its process id
//! store/header      format, id, key check, sealed master secret
//! store/commits     number of the last acknowledged commit
//! store/sled/       the records
//! store.new/        a store that is being written; `store` only ever appears whole, by renaming this
//! restoring/        what a backup is being restored to; nothing of it counts
//! restored/         the same, whole: whoever opens the data directory next moves it into place
//! audit.log         kept by `audit`
//! ```

mod at_hand;
pub(crate) mod dir;
mod envelope;
pub(crate) mod fault;
mod header;
mod key;
pub(crate) mod lock;
mod master;
mod moment;
mod pieces;
mod place;
mod restoring;
mod rotate;
mod seal;
mod sled_store;
mod stream;
#[cfg(test)]
pub(crate) mod trial;
pub(crate) mod unfinished;
mod vault;

pub(crate) use at_hand::AtHand;
pub(crate) use envelope::{OpensWith, altered, open, unread, unwritten};
pub use key::KeySource;
pub(crate) use key::refuse_shared;
pub(crate) use master::Master;
pub use place::Place;
pub(crate) use restoring::{Restoring, refuse_used};
pub use rotate::{NewKey, Rotated};
pub use sled_store::SledStore;
pub use vault::{Changes, Vault};
pub(crate) use vault::{PROBE, Plain, plain, read};

use std::sync::Arc;

use crate::error::{Kind, Result};

/// Sealed records, each with its place.
pub type Records = Vec<(Place, Vec<u8>)>;

/// What keeps sealed bytes by place.
pub trait Store: Send + Sync {
    /// The record at this place.
    ///
    /// # Errors
    /// [`Kind::StoreDamaged`] or [`Kind::StoreUnavailable`] if it cannot be read.
    fn get(&self, place: &Place) -> Result<Option<Vec<u8>>>;

    /// All records below this place, at any depth and in order, as they are at one moment. A record at the place itself is
    /// not among them.
    ///
    /// # Errors
    /// [`Kind::StoreDamaged`] or [`Kind::StoreUnavailable`] if they cannot be read.
    fn list(&self, below: &Place) -> Result<Vec<(Place, Vec<u8>)>>;

    /// The first records below this place, at any depth and in order, as they are at one moment: those whose place comes
    /// behind `{below}/{after}`, and so many at most. However many there are, no more than these are read.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn page(&self, below: &Place, after: &str, most: usize) -> Result<Records>;

    /// Every record there is, as they are at one moment.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn all(&self) -> Result<Vec<(Place, Vec<u8>)>>;

    /// Every record there is, as they are now, some at a time; what is committed before the last of them was given does not
    /// show in them.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn moment(self: Arc<Self>) -> Result<Box<dyn Iterator<Item = Result<Records>>>>;

    /// Writes the whole batch or nothing of it. When this returns, it is on disk for good.
    ///
    /// # Errors
    /// [`Kind::StoreUnavailable`] if it cannot be written; whether it was is then seen by reading again.
    fn commit(&self, batch: Batch) -> Result<()>;
}

/// Writes that belong together. Of several to one place, the last one counts.
#[derive(Debug, Default)]
pub struct Batch {
    writes: Vec<(Place, Option<Vec<u8>>)>,
}

impl Batch {
    /// Puts a record in a place, over what was there.
    pub fn put(&mut self, place: Place, value: Vec<u8>) {
        self.writes.push((place, Some(value)));
    }

    /// Takes away the record in a place, if there is one.
    pub fn delete(&mut self, place: Place) {
        self.writes.push((place, None));
    }

    /// How many bytes it has.
    fn size(&self) -> usize {
        self.writes.iter().map(|(place, value)| place.as_str().len() + value.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// Fills this with random bytes of the operating system's.
fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|_| Kind::Internal.error("The system has no random numbers."))
}
