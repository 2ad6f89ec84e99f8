//! Room for large answers. Whoever holds answers whole holds so many large ones at a time; the others stay with their services,
//! which TCP has wait.

use std::{fmt, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// An answer of more than so many bytes is large; of smaller ones any number is held.
pub(super) const SMALL: usize = 256 << 10;

/// See the module.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

/// The place that a large answer takes, for as long as this is kept.
pub struct Place {
    _held: OwnedSemaphorePermit,
}

impl Room {
    /// For so many large answers.
    pub fn new(large: usize) -> Self {
        Self(Arc::new(Semaphore::new(large)))
    }

    /// A place, once there is one; none where there is none until then.
    pub(crate) async fn place(&self, until: Instant) -> Option<Place> {
        timeout_at(until, self.0.clone().acquire_owned()).await.ok()?.ok().map(|held| Place { _held: held })
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}
