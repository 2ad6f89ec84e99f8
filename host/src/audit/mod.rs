//! What was done, when, and for whom: one line for every use of a credential before the request leaves, and for everything
//! that somebody agreed to or took back. The lines form a chain under a keyed hash.
//!
//! It may call only the shared words. What must never happen here: a query string, a header's value, a body or a secret in
//! a line; a line changed after it was written; a use of a credential that has no line.

mod backwards;
mod chain;
mod counts;
mod event;
mod log;
mod name;

pub use backwards::{Backwards, Line};
pub(crate) use chain::Walk;
pub use chain::{Filter, Head, read};
pub(crate) use counts::Counted;
pub use event::{About, Event, Obtaining, Subject};
pub use log::Audit;
pub use name::Name;
