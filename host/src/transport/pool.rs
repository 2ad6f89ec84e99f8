//! Connections that are kept open, apart for every connection of a person's: none is ever shared, and all of them close
//! when it is revoked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use rustls::ClientConfig;
use tokio::sync::watch;

use super::{
    fault::Fault,
    guard::{Guard, Pinned, Policy},
    identity::Identity,
    limits::Limits,
    spare::Spare,
};
use crate::{digest::Digest, origin::Origin, sync::lock};

/// Clients that are kept: as many origins as a busy host speaks to at a time. Beyond that, the one that was used least
/// recently goes, which costs its next call a handshake.
const CLIENTS: usize = 512;

/// Idle sockets kept for one client: more calls at once than one connection sees, so that a burst reuses them.
const IDLE_SOCKETS: usize = 128;

/// How long an idle socket is kept: less than the 60 s after which load balancers commonly close theirs, since a request
/// that meets a closing socket fails.
const IDLE_TIME: Duration = Duration::from_secs(50);

/// How often TCP asks whether a silent peer is still there: below the 350 s after which cloud NATs forget a connection.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Header fields that the HTTP/1.1 parser takes without being told, and without allocating.
const PARSER_HEADERS: usize = 100;

/// Whose connections these are: a connection's id, or whatever else must not share sockets with anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey(Arc<str>);

impl PoolKey {
    /// Two keys are one pool if their texts are equal.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }
}

/// What a client was made for besides its origin. It serves no request that was sent under other terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    policy: Policy,
    /// A connection speaks for whom it was made.
    identity: Option<Digest>,
    resolve: Duration,
    connect: Duration,
    header_count: usize,
    header_bytes: usize,
}

impl Terms {
    pub(super) fn new(policy: Policy, identity: Option<&Identity>, limits: &Limits) -> Self {
        Self {
            policy,
            identity: identity.map(Identity::fingerprint),
            resolve: limits.resolve,
            connect: limits.connect,
            header_count: limits.header_count,
            header_bytes: limits.header_bytes,
        }
    }
}

/// An HTTP client for one origin, with the guard that its connections come through.
pub(super) struct Pooled {
    pub(super) client: reqwest::Client,
    pub(super) guard: Arc<Guard>,
    pub(super) standing: Arc<Standing>,
    terms: Terms,
}

/// What outlives a client that is forgotten: the next one of its pool and origin goes on with it.
pub(super) struct Standing {
    /// A service is spared whose every connection is thrown away, too.
    pub(super) spare: Spare,
    /// Ends what is under way on a forgotten client as well.
    closed: watch::Sender<bool>,
}

impl Pooled {
    /// A client that goes nowhere but where the guard lets it, and sends what it is given once.
    pub(super) fn new(guard: Guard, terms: Terms, tls: ClientConfig) -> Result<Self, Fault> {
        let guard = Arc::new(guard);
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("attache/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .dns_resolver(Pinned(guard.clone()))
            .connect_timeout(terms.connect)
            .tcp_keepalive(KEEPALIVE)
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_SOCKETS)
            .http2_max_header_list_size(u32::try_from(terms.header_bytes).unwrap_or(u32::MAX));
        if terms.header_count > PARSER_HEADERS {
            builder = builder.http1_max_headers(terms.header_count);
        }
        let client = builder
            .build()
            .map_err(|_| Fault::Unreachable("No HTTP client could be set up on this machine.".into()))?;
        let standing = Arc::new(Standing { spare: Spare::default(), closed: watch::Sender::new(false) });
        Ok(Self { client, guard, standing, terms })
    }
}

impl Standing {
    /// Returns once the pool was closed.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as `self`, so this ends only when it says so.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

/// All clients there are.
#[derive(Default)]
pub(super) struct Pools(Mutex<Shelves>);

#[derive(Default)]
struct Shelves {
    by_key: HashMap<PoolKey, Vec<Slot>>,
    clients: usize,
    clock: u64,
    /// Whose place was given to another while requests were under way on them: as many as there are such requests, at most.
    displaced: Vec<(PoolKey, Weak<Standing>)>,
}

struct Slot {
    origin: Origin,
    used: u64,
    standing: Arc<Standing>,
    /// None once it was forgotten.
    pooled: Option<Arc<Pooled>>,
}

impl Pools {
    /// The client that was made for this origin under these terms. One of other terms is dropped: what the operator no
    /// longer allows keeps no socket open.
    pub(super) fn find(&self, key: &PoolKey, origin: &Origin, terms: &Terms) -> Option<Arc<Pooled>> {
        self.lock().find(key, origin, terms)
    }

    /// Keeps a client, unless another task was quicker with an equal one, which then is used instead.
    pub(super) fn keep(&self, key: &PoolKey, origin: &Origin, mut pooled: Pooled) -> Arc<Pooled> {
        let mut shelves = self.lock();
        if let Some(quicker) = shelves.find(key, origin, &pooled.terms) {
            return quicker;
        }
        if let Some(slot) = shelves.slot(key, origin) {
            pooled.standing = slot.standing.clone();
            return slot.pooled.insert(Arc::new(pooled)).clone();
        }
        if shelves.clients >= CLIENTS {
            shelves.drop_least_recent();
        }
        let pooled = Arc::new(pooled);
        let slot = Slot {
            origin: origin.clone(),
            used: shelves.clock,
            standing: pooled.standing.clone(),
            pooled: Some(pooled.clone()),
        };
        shelves.by_key.entry(key.clone()).or_default().push(slot);
        shelves.clients += 1;
        pooled
    }

    /// Forgets one client; its idle sockets close, and what is under way on it ends as it will.
    pub(super) fn forget(&self, key: &PoolKey, pooled: &Arc<Pooled>) {
        let mut shelves = self.lock();
        let slots = shelves.by_key.get_mut(key).into_iter().flatten();
        for slot in slots {
            slot.pooled.take_if(|kept| Arc::ptr_eq(kept, pooled));
        }
    }

    /// Closes every socket of a key, and ends what is under way on them.
    pub(super) fn close(&self, key: &PoolKey) {
        let mut shelves = self.lock();
        let closed = shelves.by_key.remove(key).unwrap_or_default();
        shelves.clients -= closed.len();
        let displaced: Vec<_> = shelves.displaced.extract_if(.., |(of, _)| of == key).collect();
        drop(shelves);
        let displaced = displaced.into_iter().filter_map(|(_, standing)| standing.upgrade());
        for standing in closed.into_iter().map(|slot| slot.standing).chain(displaced) {
            standing.closed.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        lock(&self.0)
    }
}

impl Shelves {
    fn find(&mut self, key: &PoolKey, origin: &Origin, terms: &Terms) -> Option<Arc<Pooled>> {
        self.clock += 1;
        let slots = self.by_key.get_mut(key)?;
        let at = slots.iter().position(|slot| slot.origin == *origin)?;
        slots[at].used = self.clock;
        // The place stays, so that what is under way on the old one still ends when the pool is closed.
        slots[at].pooled.take_if(|pooled| pooled.terms != *terms);
        slots[at].pooled.clone()
    }

    fn slot(&mut self, key: &PoolKey, origin: &Origin) -> Option<&mut Slot> {
        self.by_key.get_mut(key)?.iter_mut().find(|slot| slot.origin == *origin)
    }

    fn drop_least_recent(&mut self) {
        let slots = self.by_key.iter().flat_map(|(key, slots)| slots.iter().map(move |slot| (slot.used, key)));
        let Some((used, key)) = slots.min_by_key(|(used, _)| *used).map(|(used, key)| (used, key.clone())) else {
            return;
        };
        let Some(slots) = self.by_key.get_mut(&key) else { return };
        let dropped: Vec<_> = slots.extract_if(.., |slot| slot.used == used).collect();
        if slots.is_empty() {
            self.by_key.remove(&key);
        }
        self.clients -= dropped.len();
        let standings: Vec<_> = dropped.into_iter().map(|slot| Arc::downgrade(&slot.standing)).collect();
        // Without their places, only requests that are under way hold them.
        self.displaced.extend(standings.into_iter().map(|standing| (key.clone(), standing)));
        self.displaced.retain(|(_, standing)| standing.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::private::PrivateAllowed, *};
    use crate::transport::SystemResolver;

    fn pooled(origin: &Origin, limits: &Limits) -> Pooled {
        let policy = Policy::of(origin, &PrivateAllowed::none()).unwrap();
        let guard = Guard::new(origin.clone(), policy, Arc::new(SystemResolver), limits.resolve);
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Pooled::new(guard, Terms::new(policy, None, limits), tls).unwrap()
    }

    fn origin(number: usize) -> Origin {
        Origin::parse(&format!("https://{number}.example.com")).unwrap()
    }

    /// Gives each number a place on which nothing is under way. One client stands for all of them; making 512 takes a second.
    fn fill(pools: &Pools, client: &Arc<Pooled>, numbers: std::ops::Range<usize>) {
        let mut shelves = pools.lock();
        for number in numbers {
            shelves.clock += 1;
            let slot = Slot {
                origin: origin(number),
                used: shelves.clock,
                standing: Arc::new(Standing { spare: Spare::default(), closed: watch::Sender::new(false) }),
                pooled: Some(client.clone()),
            };
            shelves.by_key.entry(PoolKey::new(number.to_string())).or_default().push(slot);
            shelves.clients += 1;
        }
    }

    #[tokio::test]
    async fn a_client_belongs_to_one_key_one_origin_and_one_set_of_terms() {
        let (pools, limits) = (Pools::default(), Limits::default());
        let (ours, theirs) = (PoolKey::new("ours"), PoolKey::new("theirs"));
        let kept = pools.keep(&ours, &origin(1), pooled(&origin(1), &limits));
        let terms = kept.terms.clone();
        assert!(Arc::ptr_eq(&kept, &pools.find(&ours, &origin(1), &terms).unwrap()));
        assert!(pools.find(&theirs, &origin(1), &terms).is_none());
        assert!(pools.find(&ours, &origin(2), &terms).is_none());
        let other = Terms { connect: Duration::from_secs(1), ..terms.clone() };
        assert!(pools.find(&ours, &origin(1), &other).is_none());
        assert!(pools.find(&ours, &origin(1), &terms).is_none(), "the client of the old terms stayed");
        pools.close(&ours);
        let ended = tokio::time::timeout(Duration::from_secs(5), kept.standing.closed()).await;
        assert!(ended.is_ok(), "what is under way on it goes on");
    }

    #[tokio::test]
    async fn the_least_recently_used_client_goes_first() {
        let (pools, limits) = (Pools::default(), Limits::default());
        let key = PoolKey::new("a");
        let first = pools.keep(&key, &origin(0), pooled(&origin(0), &limits));
        let terms = first.terms.clone();
        fill(&pools, &first, 1..CLIENTS);
        assert!(pools.find(&key, &origin(0), &terms).is_some());
        pools.keep(&key, &origin(CLIENTS), pooled(&origin(CLIENTS), &limits));
        assert_eq!(pools.lock().clients, CLIENTS);
        assert!(pools.find(&key, &origin(0), &terms).is_some());
        assert!(pools.find(&PoolKey::new("1"), &origin(1), &terms).is_none());
        assert!(pools.find(&PoolKey::new("2"), &origin(2), &terms).is_some());
    }

    #[tokio::test]
    async fn closing_and_forgetting_leave_nothing_behind() {
        let (pools, limits) = (Pools::default(), Limits::default());
        let key = PoolKey::new("a");
        let one = pools.keep(&key, &origin(1), pooled(&origin(1), &limits));
        let two = pools.keep(&key, &origin(2), pooled(&origin(2), &limits));
        pools.forget(&key, &one);
        assert!(pools.find(&key, &origin(1), &one.terms).is_none());
        assert_eq!(Arc::strong_count(&one), 1, "its sockets would stay open");
        let again = pools.keep(&key, &origin(1), pooled(&origin(1), &limits));
        assert!(Arc::ptr_eq(&again.standing, &one.standing) && !Arc::ptr_eq(&again, &one));
        assert_eq!(pools.lock().clients, 2);
        pools.forget(&key, &again);
        pools.close(&key);
        one.standing.closed().await;
        two.standing.closed().await;
        assert!(pools.lock().by_key.is_empty());
        assert_eq!(pools.lock().clients, 0);
        pools.close(&key);
    }

    #[tokio::test]
    async fn closing_a_pool_ends_what_is_under_way_on_a_client_that_had_to_make_room() {
        let (pools, limits) = (Pools::default(), Limits::default());
        let (key, other) = (PoolKey::new("a"), PoolKey::new("b"));
        // Whoever holds a client has a request under way on it.
        let under_way = pools.keep(&key, &origin(0), pooled(&origin(0), &limits));
        let of_other = pools.keep(&other, &origin(0), pooled(&origin(0), &limits));
        let filler = Arc::new(pooled(&origin(1), &limits));
        fill(&pools, &filler, 2..CLIENTS);
        for number in [CLIENTS, CLIENTS + 1] {
            pools.keep(&PoolKey::new("c"), &origin(number), pooled(&origin(number), &limits));
        }
        assert!(pools.find(&key, &origin(0), &under_way.terms).is_none(), "it still has its place");
        let again = pools.keep(&key, &origin(0), pooled(&origin(0), &limits));
        pools.close(&key);
        for standing in [&under_way.standing, &again.standing] {
            let ended = tokio::time::timeout(Duration::from_secs(5), standing.closed()).await;
            assert!(ended.is_ok(), "what is under way on it goes on");
        }
        assert!(!*of_other.standing.closed.borrow(), "another pool's request was ended");
    }

    #[tokio::test]
    async fn clients_that_had_to_make_room_are_remembered_only_while_something_is_under_way_on_them() {
        let (pools, limits) = (Pools::default(), Limits::default());
        let key = PoolKey::new("a");
        let under_way = pools.keep(&key, &origin(0), pooled(&origin(0), &limits));
        fill(&pools, &Arc::new(pooled(&origin(1), &limits)), 1..CLIENTS);
        pools.keep(&key, &origin(CLIENTS), pooled(&origin(CLIENTS), &limits));
        assert_eq!(pools.lock().displaced.len(), 1);
        drop(under_way);
        pools.keep(&key, &origin(CLIENTS + 1), pooled(&origin(CLIENTS + 1), &limits));
        assert!(pools.lock().displaced.is_empty(), "nothing is under way on any of them");
        assert_eq!(pools.lock().clients, CLIENTS);
    }
}
