//! Making a backup, while everything else goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read, Write},
    sync::TryLockError,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Beginning, End,
    frame::{self, What},
};
use crate::{
    audit::{Event, Walk},
    consent::Approval,
    digest::Digest,
    error::{Error, Kind, Result},
    gateway,
    host::{Host, anchor_place},
    outbox,
    secret::Secret,
    store::{PROBE, Place, read, unwritten},
};

/// Of the audit that is read at a time.
const BLOCK: usize = 64 << 10;

/// What is in a backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BackedUp {
    /// When everything was as it is in there; RFC 3339.
    pub moment: String,
    /// How many records.
    pub records: usize,
    /// How many of them are connections.
    pub connections: usize,
    /// How many connectors.
    pub connectors: usize,
    /// How many lines of the audit.
    pub audit_lines: u64,
    /// What is wrong with the audit, which is in there as it is.
    pub audit_fault: Option<String>,
}

impl Host {
    /// Writes everything that is kept, as it is at one moment. Calls and changes go on meanwhile. It blocks, for as long as
    /// `to` takes.
    ///
    /// # Errors
    /// `usage` for a passphrase that is too short; `rate-limited` while another one is made; `store-damaged` where something
    /// that is kept cannot be read; `store-unavailable` where it cannot be written.
    pub fn back_up(&self, passphrase: Option<&Secret>, to: impl Write, caller: &str) -> Result<BackedUp> {
        let _only = match self.backing_up.try_lock() {
            Ok(only) => only,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Kind::RateLimited
                    .error("A backup is being made already.")
                    .hint("Wait until it is done.")
                    .retry_after(10));
            }
        };
        let mut to = self.vault.begin_backup(passphrase, to)?;
        let opens_with = if passphrase.is_some() { "passphrase" } else { "key" };
        self.audit.write(&Event::backed_up(opens_with, caller))?;
        // A connector that is approved at that moment has its file until it is open.
        let held = self.library.hold();
        let moment = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        let records = self.vault.moment()?;
        // A line is written before what it tells of is done, so the lines up to here are all that belong to the records.
        let (head, length) = self.audit.moment()?;
        let files = self.library.open_all()?;
        drop(held);
        let audit = File::open(self.audit_path()).map_err(|error| audit_unread(&error))?;
        let beginning =
            Beginning { moment: moment.clone(), version: env!("CARGO_PKG_VERSION").to_owned(), audit: head.clone() };
        frame::write(&mut to, What::Beginning, &[&json(&beginning)?])?;
        let mut end = End {
            records: 0,
            connections: 0,
            connectors: 0,
            audit_lines: head.as_ref().map_or(0, |it| it.seq),
            audit_fault: None,
        };
        let mut approved = BTreeSet::new();
        for some in records {
            for (place, value) in some? {
                if is_left_out(&place)? {
                    continue;
                }
                if kind_of(&place) == Some("approval") {
                    approved.insert(read::<Approval>(&place, &value)?.digest);
                }
                end.records += 1;
                end.connections += usize::from(kind_of(&place) == Some("connection"));
                frame::write_record(&mut to, &place, &value)?;
            }
        }
        end.connectors = approved.len();
        write_connectors(&mut to, &approved, files)?;
        let walk = Walk::new(&self.vault.subkey(b"audit"), head);
        end.audit_fault = write_audit(&mut to, audit.take(length), walk)?.map(|error| error.message().to_owned());
        frame::write(&mut to, What::End, &[&json(&end)?])?;
        to.finish().map_err(|error| unwritten(&error))?;
        let End { records, connections, connectors, audit_lines, audit_fault } = end;
        Ok(BackedUp { moment, records, connections, connectors, audit_lines, audit_fault })
    }
}

/// What is of no use in another data directory, or must not come back: the note of the audit's end, which the restored audit
/// does not end at, sessions, connections that wait some minutes for somebody to confirm them, and codes that are good once.
fn is_left_out(place: &Place) -> Result<bool> {
    let waits =
        matches!(kind_of(place), Some("pending" | outbox::SESSIONS)) || place.segments().next() == Some(gateway::CODES);
    Ok(waits || *place == Place::new(PROBE)? || *place == anchor_place()?)
}

/// What a record of an environment is.
pub(super) fn kind_of(place: &Place) -> Option<&str> {
    let mut segments = place.segments();
    (segments.next() == Some("environment")).then(|| segments.nth(1)).flatten()
}

fn write_connectors(to: &mut impl Write, approved: &BTreeSet<Digest>, mut files: BTreeMap<Digest, File>) -> Result<()> {
    for digest in approved {
        let mut bytes = Vec::new();
        let read = files.remove(digest).map(|mut file| file.read_to_end(&mut bytes));
        if !matches!(read, Some(Ok(_))) || Digest::of(&bytes) != *digest {
            return Err(Kind::StoreDamaged
                .error(format!(
                    "The file of the connector {} is gone or is not the one that was approved.",
                    digest.short()
                ))
                .hint("`attache store check` says which it is; add it again with `attache connector add FILE`."));
        }
        frame::write(to, What::Connector, &[&bytes])?;
    }
    Ok(())
}

/// Writes the audit as it is, and says what is wrong with it.
fn write_audit(to: &mut impl Write, mut audit: impl Read, mut walk: Walk) -> Result<Option<Error>> {
    let mut block = vec![0; BLOCK];
    let mut fault = None;
    loop {
        match audit.read(&mut block).map_err(|error| audit_unread(&error))? {
            0 => break,
            read => {
                if fault.is_none() {
                    fault = walk.feed(&block[..read]).err();
                }
                frame::write(to, What::Audit, &[&block[..read]])?;
            }
        }
    }
    Ok(match fault {
        None => walk.end().err(),
        fault => fault,
    })
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Kind::Internal.error(format!("No JSON: {error}.")))
}

fn audit_unread(error: &std::io::Error) -> Error {
    Kind::StoreUnavailable.error(format!("The audit cannot be read: {error}."))
}
