//! The gateway itself: on a machine of the private network, it dials the host, proves who it is, and answers what it is asked.
//! It alone opens the boxes of its connections, attaches what is in them, and sends.
//!
//! | file | one thought |
//! |---|---|
//! | `files` | what it keeps, for its owner alone |
//! | `dial` | a channel to the host |
//! | `join` | being let in, once |
//! | `recovery` | standing in for another machine |
//! | `rotate` | getting another key |
//! | `run` | staying connected |
//! | `answer` | the way of one request |
//! | `sign_in` | the way of one errand |
//! | `opened` | boxes that were opened |
//! | `generations` | which credential of a connection is the newest |
//! | `audited` | whether its audit is whole |

mod answer;
mod audited;
mod dial;
mod files;
mod generations;
mod join;
mod opened;
mod recovery;
mod rotate;
mod run;
mod sign_in;
#[cfg(test)]
mod tests;

pub use audited::verify;
pub use join::{Join, join};
pub use recovery::write_recovery_key;
pub use rotate::{Rotate, Rotated, rotate};
pub use run::{Run, run};
