//! Looking through everything that is kept, without changing any of it: does each record open, is it what its place says,
//! does what it refers to exist, and are the files beside the store what they should be?

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    audit::Head,
    callers::CallerKey,
    consent::{App, Approval, Captured, Connection, Consent, Credential, Environment, LAST_USED, Pending},
    digest::Digest,
    error::{Kind, Result},
    gateway::{self, Member},
    host::Host,
    once, outbox,
    store::{KeySource, PROBE, Place, unfinished},
};

/// The environment that needs no record.
const DEFAULT: &str = "default";

/// What was looked at, and what was found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checked {
    /// How many records the store has.
    pub records: usize,
    /// How many lines the audit has, where it is whole.
    pub audit_lines: Option<u64>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A sentence.
    pub what: String,
    /// What to do about it.
    pub mend: String,
    /// Whether something was altered or lost; otherwise only something does not work, or is left over.
    pub damaged: bool,
}

impl Host {
    /// Looks through everything that is kept. Nothing is changed.
    ///
    /// # Errors
    /// Where the store itself cannot be read any longer; what is wrong with what is in it is a finding.
    pub fn check_store(&self) -> Result<Checked> {
        let places = self.vault.places()?;
        let mut looking = Looking { host: self, findings: Vec::new(), seen: Seen::default() };
        places.iter().for_each(|place| looking.record(place));
        looking.references();
        looking.connector_files();
        let audit_lines = match self.verify_audit() {
            Ok(lines) => Some(lines),
            Err(error) => {
                looking.damaged(error.message(), error.mend().unwrap_or_default());
                None
            }
        };
        looking.files(self.data_dir());
        // A key file lies elsewhere, and is written there.
        if let KeySource::File(path) = self.key_source()? {
            looking.unfinished(path.parent().unwrap_or(&path));
        }
        Ok(Checked { records: places.len(), audit_lines, findings: looking.findings })
    }
}

struct Looking<'a> {
    host: &'a Host,
    findings: Vec<Finding>,
    seen: Seen,
}

/// What there is, each with its environment.
#[derive(Default)]
struct Seen {
    environments: BTreeSet<String>,
    approvals: BTreeMap<(String, String), Digest>,
    connections: Vec<(String, Connection)>,
    credentials: BTreeSet<(String, Uuid)>,
    captured: BTreeSet<(String, Uuid)>,
    consents: BTreeSet<(String, Uuid)>,
    used: BTreeSet<(String, Uuid)>,
}

impl Looking<'_> {
    fn damaged(&mut self, what: &str, mend: &str) {
        self.findings.push(Finding { what: what.into(), mend: mend.into(), damaged: true });
    }

    fn noted(&mut self, what: String, mend: String) {
        self.findings.push(Finding { what, mend, damaged: false });
    }

    /// Opens a record as what its place says that it is.
    fn record(&mut self, place: &Place) {
        let segments: Vec<&str> = place.segments().collect();
        let id = |text: &str| text.parse::<Uuid>().ok();
        match segments.as_slice() {
            ["audit", "head"] => drop(self.open::<Head>(place)),
            ["caller-keys", _] => drop(self.open::<CallerKey>(place)),
            [gateway::GATEWAYS, _] => drop(self.open::<Member>(place)),
            [gateway::CODES, _] => drop(self.open::<gateway::Invitation>(place)),
            [gateway::CONTACTS, _] => drop(self.open::<String>(place)),
            probe if *probe == PROBE => drop(self.open::<String>(place)),
            ["environments", name] => {
                if self.open::<Environment>(place).is_some() {
                    self.seen.environments.insert((*name).to_owned());
                }
            }
            ["environment", _, "app", _, _] => drop(self.open::<App>(place)),
            ["environment", _, outbox::MESSAGES | outbox::GIVEN_UP, _, _] => drop(self.open::<outbox::Queued>(place)),
            ["environment", environment, kind, name] => {
                let environment = (*environment).to_owned();
                match (*kind, id(name)) {
                    ("approval", _) => {
                        if let Some(approval) = self.open::<Approval>(place) {
                            self.seen.approvals.insert((environment, approval.connector), approval.digest);
                        }
                    }
                    ("connection", _) => {
                        if let Some(connection) = self.open::<Connection>(place) {
                            self.seen.connections.push((environment, connection));
                        }
                    }
                    ("credential", Some(id)) => {
                        drop(self.open::<Credential>(place));
                        self.seen.credentials.insert((environment, id));
                    }
                    ("captured", Some(id)) => {
                        drop(self.open::<Captured>(place));
                        self.seen.captured.insert((environment, id));
                    }
                    ("consent", Some(id)) => {
                        drop(self.open::<Consent>(place));
                        self.seen.consents.insert((environment, id));
                    }
                    (LAST_USED, Some(id)) => {
                        if self.open::<i64>(place).is_some() {
                            self.seen.used.insert((environment, id));
                        }
                    }
                    (outbox::ENDPOINTS, _) => drop(self.open::<outbox::Endpoint>(place)),
                    (outbox::TOLD, _) => drop(self.open::<outbox::Told>(place)),
                    (outbox::SESSIONS, _) => drop(self.open::<outbox::Session>(place)),
                    ("pending", _) => drop(self.open::<Pending>(place)),
                    (once::MARKS, _) => drop(self.open::<once::Mark>(place)),
                    (once::ANSWERS, _) => drop(self.open::<once::Kept>(place)),
                    _ => self.unknown(place),
                }
            }
            _ => self.unknown(place),
        }
    }

    fn unknown(&mut self, place: &Place) {
        self.noted(
            format!("This version of Attaché knows no record at {place}."),
            "A newer version may have written it; use that one.".into(),
        );
    }

    fn open<T: DeserializeOwned>(&mut self, place: &Place) -> Option<T> {
        match self.host.vault.get::<T>(place) {
            Ok(record) => record,
            Err(error) => {
                // What a newer version wrote is as it was written.
                let damaged = error.kind() == Kind::StoreDamaged;
                let (what, mend) = (error.message().to_owned(), error.mend().unwrap_or_default().to_owned());
                self.findings.push(Finding { what, mend, damaged });
                None
            }
        }
    }

    fn references(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        let ids: BTreeSet<(String, Uuid)> =
            seen.connections.iter().map(|(environment, it)| (environment.clone(), it.id)).collect();
        for (environment, connection) in &seen.connections {
            let Connection { name, connector, id, .. } = connection;
            let of_it = (environment.clone(), *id);
            if environment != DEFAULT && !seen.environments.contains(environment) {
                self.noted(
                    format!("The connection `{name}` is in the environment `{environment}`, which is not there."),
                    format!("`attache environment create {environment}` makes it reachable again."),
                );
            }
            if !seen.approvals.contains_key(&(environment.clone(), connector.clone())) {
                self.noted(
                    format!("The connector `{connector}` of the connection `{name}` is not approved."),
                    "Add it with `attache connector add FILE`.".into(),
                );
            }
            if !seen.consents.contains(&of_it) || !seen.credentials.contains(&of_it) {
                self.noted(
                    format!("The connection `{name}` has no consent or no secrets any longer."),
                    format!("`attache connection reconnect {name}` asks its owner again."),
                );
            }
        }
        let of_connections = [
            ("There are secrets", &seen.credentials),
            ("There are captured values", &seen.captured),
            ("There is a consent", &seen.consents),
            ("There is the last use", &seen.used),
        ];
        for (there_is, all) in of_connections {
            for (environment, id) in all.difference(&ids) {
                self.noted(
                    format!("{there_is} of a connection that is gone ({id}, environment `{environment}`)."),
                    match environment.as_str() {
                        DEFAULT => "Nothing uses that any longer. It stays, and stays sealed.".into(),
                        _ => format!("Removing the environment `{environment}`, once it is empty, removes that too."),
                    },
                );
            }
        }
        self.seen = seen;
    }

    fn connector_files(&mut self) {
        let digests: BTreeSet<Digest> = self.seen.approvals.values().copied().collect();
        for digest in digests {
            if let Err(error) = self.host.library.read(digest) {
                self.damaged(error.message(), error.mend().unwrap_or_default());
            }
        }
    }

    /// What somebody was killed over who wrote it. Nothing reads it; it may hold what the whole file would have held.
    fn unfinished(&mut self, directory: &Path) {
        for path in unfinished::left_in(directory) {
            self.noted(
                format!("{} is left over from somebody who was stopped while writing it.", path.display()),
                format!("Nothing uses it: rm {}", path.display()),
            );
        }
    }

    /// Nobody but the owner reads or writes anything in the data directory, and all that is in it is finished.
    fn files(&mut self, directory: &Path) {
        self.unfinished(directory);
        let Ok(entries) = fs::read_dir(directory) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.mode() & 0o077 != 0 {
                self.noted(
                    format!("Others may read or write {} (mode {:03o}).", path.display(), metadata.mode() & 0o777),
                    format!("chmod go= {}", path.display()),
                );
            }
            if metadata.is_dir() {
                self.files(&path);
            }
        }
    }
}
