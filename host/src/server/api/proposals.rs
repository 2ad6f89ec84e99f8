//! What was shown to somebody and waits for them to agree: kept in memory, for a while, for whoever it was shown to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::asker::Asker;
use crate::{
    approve::Proposal,
    connect::ConnectProposal,
    consent::oauth2::DeviceAuthorization,
    error::{Kind, Result},
    sync::lock,
};

/// How long a person may read.
const LASTS: Duration = Duration::from_secs(10 * 60);
/// How many wait at a time for one caller; a connector's holds its bytes.
const MOST: usize = 16;

/// See the module.
#[derive(Default)]
pub struct Proposals(Mutex<HashMap<String, Waiting>>);

struct Waiting {
    holder: String,
    environment: String,
    until: Instant,
    what: What,
}

/// What is proposed.
pub(super) enum What {
    Connector(Box<Proposal>),
    Connection(Arc<ConnectProposal>),
    /// Somebody is to agree on another device.
    Device(Arc<ConnectProposal>, Box<DeviceAuthorization>),
}

impl Proposals {
    /// Keeps one, and gives what it is agreed to with.
    pub(super) fn keep(&self, asker: &Asker, what: What) -> Result<String> {
        let id = Uuid::new_v4().simple().to_string();
        self.put_back(asker, &id, what)?;
        Ok(id)
    }

    /// Keeps one under a name that it had.
    pub(super) fn put_back(&self, asker: &Asker, id: &str, what: What) -> Result<()> {
        let mut all = lock(&self.0);
        let now = Instant::now();
        all.retain(|_, waiting| waiting.until > now);
        let holder = asker.holder();
        let own = |waiting: &&Waiting| waiting.holder == holder && waiting.environment == asker.environment;
        if all.values().filter(own).count() >= MOST {
            return Err(Kind::RateLimited.error("Too much waits to be agreed to.").hint("Try again in some minutes."));
        }
        let waiting = Waiting { holder, environment: asker.environment.clone(), until: now + LASTS, what };
        all.insert(id.to_owned(), waiting);
        Ok(())
    }

    /// Takes one: it is agreed to once, by whom it was shown to.
    pub(super) fn take(&self, asker: &Asker, id: &str) -> Result<What> {
        let gone = || {
            Kind::NotFound
                .error("There is nothing to agree to under that name: it was agreed to, is over, or never was.")
                .hint("Propose it again.")
        };
        let holder = asker.holder();
        let mut all = lock(&self.0);
        let is_theirs = |waiting: &Waiting| {
            waiting.until > Instant::now() && waiting.holder == holder && waiting.environment == asker.environment
        };
        match all.get(id) {
            Some(waiting) if is_theirs(waiting) => all.remove(id).map(|waiting| waiting.what).ok_or_else(gone),
            _ => Err(gone()),
        }
    }

    /// The proposal of a connection, for whoever signs in for it in this process.
    pub(crate) fn connection(&self, id: &str) -> Result<Arc<ConnectProposal>> {
        let found = lock(&self.0).remove(id);
        match found.map(|waiting| waiting.what) {
            Some(What::Connection(proposal)) => Ok(proposal),
            _ => Err(Kind::NotFound.error("There is nothing to agree to under that name.")),
        }
    }
}
