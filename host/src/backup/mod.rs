//! Backups: everything that a data directory keeps, of all environments, as it was at one moment, in one sealed file; and data
//! directories made of them.
//!
//! **Responsible for** what is in a backup and what is not, and for what must not come back to life with it. What seals it, and
//! how a data directory appears whole or not at all, is the store's.
//!
//! In a backup are the records, the bytes of the connectors that are approved, and the audit. Not in it are the key, code that
//! was compiled, and what waits to be confirmed for some minutes. Sessions, links and calls that nobody waits for are in no store
//! to begin with. Calls that were named by an `Idempotency-Key` are in it, so that none is made twice that was made before.
//!
//! **Must never happen here**: a renewal token presented that may have been replaced since the backup; half of a backup taken
//! for all of it; anything written outside the data directory because a backup says so.

mod frame;
mod make;
mod restore;

pub use make::BackedUp;
pub use restore::{How, Restored, restore};

use serde::{Deserialize, Serialize};

use crate::audit;

/// What a backup begins with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Beginning {
    /// RFC 3339.
    moment: String,
    /// Of the Attaché that made it.
    version: String,
    /// The last line of the audit that is in it.
    audit: Option<audit::Head>,
}

/// What a backup ends with: what should have been in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct End {
    records: usize,
    connections: usize,
    connectors: usize,
    audit_lines: u64,
    /// What was wrong with the audit when the backup was made.
    audit_fault: Option<String>,
}
