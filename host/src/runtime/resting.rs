//! Instances that rest between two calls, for connectors that an operator runs with `isolation = connection`.
//!
//! What a guest leaves in its memory is there in the next call, so an instance is only ever woken for the same
//! [`Tenant`]: the same connection, made good by the same consent, for the same caller, with the same bytes.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::instance::Instance;
use crate::{digest::Digest, sync::lock};

/// How long an instance rests: longer than the pauses of somebody who works with it, and no longer than what it remembers
/// should lie in memory.
const REST: Duration = Duration::from_secs(60);

/// Whose an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The connection's id, which is unique over all environments.
    pub connection: Uuid,
    /// How often it was connected: another consent is another tenant.
    pub generation: u64,
    /// The connector's bytes.
    pub digest: Digest,
    /// Who calls.
    pub caller: String,
}

/// The instances that rest.
pub struct Resting {
    most: usize,
    all: Mutex<VecDeque<Rests>>,
}

struct Rests {
    tenant: Tenant,
    since: Instant,
    instance: Instance,
}

impl Resting {
    /// Room for so many, all tenants together; the one that rests longest goes first.
    pub fn new(most: usize) -> Self {
        Self { most, all: Mutex::default() }
    }

    /// Lets every instance of a connection go.
    pub fn forget(&self, connection: Uuid) {
        self.remove(|rests| rests.tenant.connection == connection);
    }

    /// Lets those go that rest for too long. Whoever takes one does that too; where nobody does, it is to be done now and then.
    pub fn sweep(&self) {
        let mut all = lock(&self.all);
        let gone = rested(&mut all);
        drop(all);
        drop(gone);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.all).len()
    }

    pub(super) fn take(&self, tenant: &Tenant) -> Option<Instance> {
        let mut all = lock(&self.all);
        let gone = rested(&mut all);
        // The one that rested last has the most of its memory still in the processor's caches.
        let at = all.iter().rposition(|rests| rests.tenant == *tenant);
        let taken = at.and_then(|at| all.remove(at));
        // Dropping an instance takes a while, and others wait for the lock.
        drop(all);
        drop(gone);
        taken.map(|rests| rests.instance)
    }

    pub(super) fn keep(&self, tenant: &Tenant, instance: Instance) {
        let mut all = lock(&self.all);
        all.push_back(Rests { tenant: tenant.clone(), since: Instant::now(), instance });
        let oldest = if all.len() > self.most { all.pop_front() } else { None };
        drop(all);
        drop(oldest);
    }

    fn remove(&self, which: impl Fn(&Rests) -> bool) {
        let mut all = lock(&self.all);
        if !all.iter().any(&which) {
            return;
        }
        let (gone, stay) = std::mem::take(&mut *all).into_iter().partition(|rests| which(rests));
        *all = stay;
        drop(all);
        let gone: VecDeque<Rests> = gone;
        drop(gone);
    }
}

/// Those that rest for too long.
fn rested(all: &mut VecDeque<Rests>) -> Vec<Rests> {
    // They came in one after the other, so the first has rested longest.
    let now = Instant::now();
    let rested = all.iter().take_while(|rests| now.duration_since(rests.since) > REST).count();
    all.drain(..rested).collect()
}
