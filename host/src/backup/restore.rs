//! Making a data directory of a backup, or only looking whether one could be made.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Beginning, End,
    frame::{self, What},
    make::kind_of,
};
use crate::{
    audit::{Audit, Event, Walk},
    consent::{Approval, Captured, Sending},
    digest::Digest,
    error::{Error, Result},
    host::anchor_place,
    manifest::login::REFRESH_TOKEN,
    runtime::Library,
    secret::Secret,
    settings::Settings,
    store::{self, Master, OpensWith, Place, Plain, Restoring, altered, fault},
};

/// How a backup is to be restored.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// What it opens with; none for the key of the settings.
    pub passphrase: Option<Secret>,
    /// Nothing is written.
    pub only_checked: bool,
    /// The host that it was made of did nothing since: then the renewal tokens in it are the newest.
    pub moved: bool,
    /// Who restores, for the audit.
    pub caller: String,
}

/// What was restored, or could be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restored {
    /// When everything was as it is now; RFC 3339.
    pub moment: String,
    /// Of the Attaché that made the backup.
    pub version: String,
    /// How many records.
    pub records: usize,
    /// How many of them are connections.
    pub connections: usize,
    /// How many connectors.
    pub connectors: usize,
    /// How many lines of the audit.
    pub audit_lines: u64,
    /// What was wrong with the audit when the backup was made.
    pub audit_fault: Option<String>,
    /// How many caller keys.
    pub callers: usize,
    /// How many connections ask their owner when their token has run out, since the renewal token may have been replaced.
    pub unrenewed: usize,
}

/// Reads all of a backup, and makes the data directory of the settings of it, which is then there whole or not at all. It blocks.
///
/// # Errors
/// `already-exists` where the data directory has something in it; `invalid-input` for what is no backup; `wrong-key`;
/// `store-damaged` where it is not what was written; `store-unavailable` where something cannot be read or written.
pub fn restore(settings: &Settings, from: impl Read, how: &How) -> Result<Restored> {
    let (data_dir, source) = (&settings.data_dir.value, settings.key_source()?);
    if !how.only_checked {
        store::refuse_used(data_dir)?;
    }
    let with = how.passphrase.as_ref().map_or(OpensWith::Key(&source), OpensWith::Passphrase);
    let mut opened = store::open(from, &with)?;
    let building = if how.only_checked { None } else { Some(Restoring::begin(data_dir, &source, &mut opened)?) };
    let mut content = opened.content;
    let beginning: Beginning = match frame::read(&mut content)? {
        (What::Beginning, beginning) => parsed(&beginning)?,
        _ => return Err(altered()),
    };
    let mut reading = Reading {
        audit: building.as_ref().map(|building| AuditFile::create(building.directory())).transpose()?,
        walk: Walk::new(&opened.master.subkey(b"audit"), beginning.audit.clone()),
        walk_fault: None,
        building,
        how,
        moment: beginning.moment.clone(),
        approved: BTreeSet::new(),
        records: 0,
        connections: 0,
        callers: 0,
        unrenewed: 0,
    };
    let end = reading.all(&mut content)?;
    let restored = Restored {
        moment: beginning.moment.clone(),
        version: beginning.version.clone(),
        records: end.records,
        connections: end.connections,
        connectors: end.connectors,
        audit_lines: end.audit_lines,
        audit_fault: end.audit_fault.clone(),
        callers: reading.callers,
        unrenewed: reading.unrenewed,
    };
    reading.finish(&beginning, &end, &opened.master)?;
    Ok(restored)
}

struct Reading<'a> {
    /// None where it is only looked at.
    building: Option<Restoring>,
    audit: Option<AuditFile>,
    walk: Walk,
    walk_fault: Option<Error>,
    how: &'a How,
    moment: String,
    /// Digests of connectors whose bytes did not come yet.
    approved: BTreeSet<Digest>,
    records: usize,
    connections: usize,
    callers: usize,
    unrenewed: usize,
}

impl Reading<'_> {
    /// Reads every frame to the end, and looks whether it is all that should have been there.
    fn all(&mut self, content: &mut impl Read) -> Result<End> {
        let (mut connectors, mut last) = (0, What::Beginning);
        loop {
            let (what, frame) = frame::read(content)?;
            if what < last {
                return Err(altered());
            }
            last = what;
            match what {
                What::Beginning => return Err(altered()),
                What::Record => self.record(&frame)?,
                What::Connector => {
                    connectors += 1;
                    self.connector(&frame)?;
                }
                What::Audit => self.audit(&frame)?,
                What::End => {
                    let end: End = parsed(&frame)?;
                    let came = (self.records, self.connections, connectors);
                    let is_all = came == (end.records, end.connections, end.connectors) && self.approved.is_empty();
                    return if is_all && frame::is_over(content)? { Ok(end) } else { Err(altered()) };
                }
            }
        }
    }

    fn record(&mut self, frame: &[u8]) -> Result<()> {
        let (place, value) = frame::record(frame)?;
        self.records += 1;
        let mut changed = None;
        match kind_of(&place) {
            Some("approval") => drop(self.approved.insert(store::read::<Approval>(&place, value)?.digest)),
            Some("connection") => self.connections += 1,
            Some("captured") => changed = Some(self.captured(&place, value)?),
            _ => self.callers += usize::from(place.segments().next() == Some("caller-keys")),
        }
        let Some(building) = &mut self.building else { return Ok(()) };
        building.put(place, changed.as_ref().map_or(value, |changed| changed.as_slice()))
    }

    /// What was captured, marked so that a renewal token is not presented which may have been replaced since.
    fn captured(&mut self, place: &Place, value: &[u8]) -> Result<Plain> {
        let mut captured: Captured = store::read(place, value)?;
        if self.how.moved {
            captured.sending = captured.sending.map(Sending::unproven);
        } else {
            captured.sending = Some(Sending::since(captured.generation + 1, &self.moment));
            let renews = captured.holds(REFRESH_TOKEN) && captured.refused.is_none();
            self.unrenewed += usize::from(renews && captured.rotates != Some(false));
        }
        store::plain(place, &captured)
    }

    fn connector(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.approved.remove(&Digest::of(bytes)) {
            return Err(altered());
        }
        let Some(building) = &self.building else { return Ok(()) };
        Library::put(&Library::directory(&building.directory()), bytes).map(drop)
    }

    fn audit(&mut self, bytes: &[u8]) -> Result<()> {
        if self.walk_fault.is_none() {
            self.walk_fault = self.walk.feed(bytes).err();
        }
        self.audit.as_mut().map_or(Ok(()), |audit| audit.append(bytes))
    }

    /// Ends the audit with a line that says that it was restored, and has the data directory appear.
    fn finish(self, beginning: &Beginning, end: &End, master: &Master) -> Result<()> {
        let walked = match self.walk_fault {
            Some(fault) => Err(fault),
            None => self.walk.end().and_then(|head| if head == beginning.audit { Ok(()) } else { Err(altered()) }),
        };
        // One that was not whole when the backup was made is restored as it was.
        if end.audit_fault.is_none() {
            walked?;
        }
        let Some(mut building) = self.building else { return Ok(()) };
        if let Some(audit) = self.audit {
            audit.close()?;
        }
        let audit = Audit::open(&building.directory(), master.subkey(b"audit"), beginning.audit.clone())?;
        audit.write(&Event::restored(&self.moment, &self.how.caller))?;
        audit.sync()?;
        if let Some(head) = audit.head() {
            let place = anchor_place()?;
            let head = store::plain(&place, &head)?;
            building.put(place, &head)?;
        }
        drop(audit);
        building.finish()
    }
}

/// The audit of the data directory that is being made.
struct AuditFile {
    path: PathBuf,
    file: File,
}

impl AuditFile {
    fn create(directory: PathBuf) -> Result<Self> {
        let path = Audit::path(&directory);
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = created.map_err(|error| fault::io(&path, &error))?;
        Ok(Self { path, file })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| fault::io(&self.path, &error))
    }

    fn close(self) -> Result<()> {
        self.file.sync_all().map_err(|error| fault::io(&self.path, &error))
    }
}

fn parsed<T: DeserializeOwned>(frame: &[u8]) -> Result<T> {
    serde_json::from_slice(frame).map_err(|_| altered())
}
