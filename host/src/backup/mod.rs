//! Backups: everything that a data directory keeps, of all environments, as it was at one moment, in one sealed file; and data
//! directories made of them.
//!
//! **Responsible for** what is in a backup and what is not, and for what must not come back to life with it. What seals it, and
//! how a data directory appears whole or not at all, is the store's.
//!
//! In a backup are the records, the bytes of the connectors that are approved, and the audit. Not in it are the key, code that
//! was compiled, and what waits for some minutes to be confirmed or joined by a code that is good once. Sessions, links and calls
//! that nobody waits for are in no store to begin with. Calls that were named by an `Idempotency-Key` are in it, so that none is
//! made twice that was made before; so are messages that were to be delivered, which receivers know by their ids.
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        Host,
        gateway::CODES,
        settings::{Given, Settings, Source, Sourced},
    };

    fn settings(home: &Path, data: &str) -> Settings {
        let key = format!("file:{}", home.join("key").display());
        Settings::load(Given {
            data_dir: Some(Sourced { value: home.join(data), source: Source::Flag }),
            key: Some(Sourced { value: key, source: Source::Flag }),
            environment: None,
        })
        .unwrap()
    }

    #[test]
    fn codes_that_are_good_once_do_not_come_back_and_everything_else_does() {
        let home = tempfile::tempdir().unwrap();
        let host = Host::open(&settings(home.path(), "data")).unwrap();
        host.create_environment("other").unwrap();
        host.invite_gateway("other", "plant", false, "tester").unwrap();
        let mut backup = Vec::new();
        let made = host.back_up(None, &mut backup, "tester").unwrap();
        let again = settings(home.path(), "again");
        restore(&again, &backup[..], &How { caller: "tester".into(), ..How::default() }).unwrap();
        let places = |host: &Host| host.vault.places().unwrap();
        assert!(places(&host).iter().any(|place| place.segments().next() == Some(CODES)));
        let again = Host::open(&again).unwrap();
        assert_eq!(places(&again).len(), made.records + 1, "and where the audit ends");
        assert!(places(&again).iter().all(|place| place.segments().next() != Some(CODES)));
        again.book("other").unwrap();
    }

    #[test]
    fn one_backup_is_made_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let host = Host::open(&settings(home.path(), "data")).unwrap();
        let busy = host.backing_up.try_lock().unwrap();
        assert_eq!(host.back_up(None, Vec::new(), "tester").unwrap_err().kind(), crate::Kind::RateLimited);
        drop(busy);
        host.back_up(None, Vec::new(), "tester").unwrap();
    }
}
