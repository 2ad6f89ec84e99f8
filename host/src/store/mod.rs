//! What Attaché keeps: records at places, each sealed under a key of its own, durable when a write returns.
//!
//! [`Store`] is the plain thing underneath (sled behind it); [`Vault`] is what the rest of the host uses, and sees to it
//! that nothing is written in clear. It may call only the shared words. What must never happen here: a record's content on
//! disk unsealed; a record read that is not the one written at its place; a write reported that a power cut could undo.

mod key;
mod lock;
mod place;
mod progress;
mod sealing;
mod sled_store;
mod vault;

pub use key::KeySource;
pub use place::Place;
pub(crate) use sled_store::make_directory as make_private_directory;
pub use vault::{Changes, Vault};

use crate::error::Result;

/// Bytes at places. Whoever implements it makes a batch atomic, and durable against a power cut when `commit` returns.
pub trait Store: Send + Sync {
    /// What is at a place.
    fn get(&self, place: &Place) -> Result<Option<Vec<u8>>>;
    /// Everything below a place, in order of place.
    fn list(&self, below: &Place) -> Result<Vec<(Place, Vec<u8>)>>;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> Result<bool>;
    /// Writes all of it or nothing.
    fn commit(&self, batch: Batch) -> Result<()>;
}

/// Writes and removals that happen together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Some to write, none to remove.
    pub(crate) changes: Vec<(Place, Option<Vec<u8>>)>,
}
