//! The way out: one request to one origin, and its answer.
//!
//! **Responsible for** where bytes go and how many come back. It judges the URL, resolves the name once for each
//! connection, judges every address, connects to what was judged and to nothing else, sends the request once, and reads
//! the answer under limits. It keeps connections open for each pool key apart, and closes them when told.
//!
//! **May call** `origin`, `digest` and `error`, the HTTP client, TLS and the machine's resolver. `egress` and `consent` call it;
//! it knows nothing of connectors, credentials or the store.
//!
//! **Must never** follow a redirect, send anything twice, use a proxy, connect to an address that was not judged, or put
//! a path, a query, a header field or a body into an error, a log line or a `Debug` output.
//!
//! | file | one thought |
//! |---|---|
//! | `address` | what an address is |
//! | `private` | what the operator allowed |
//! | `resolver` | from a name to addresses |
//! | `guard` | one look-up for each connection, judged and pinned |
//! | `tls` | whom to trust |
//! | `identity` | who the client is |
//! | `pool` | clients, kept apart by key |
//! | `spare` | services that fail again and again are left alone |
//! | `request` | what goes out and comes back |
//! | `upload` | how far a request's body got |
//! | `exchange` | one request and its answer |
//! | `coding` | content codings, undone under a cap |
//! | `limits` | the numbers |
//! | `fault` | what can go wrong |

mod address;
mod coding;
mod exchange;
mod fault;
mod guard;
mod identity;
pub mod limits;
mod pool;
mod private;
mod request;
mod resolver;
mod room;
mod spare;
mod tls;
mod upload;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

pub use self::{
    address::{Reach, judge},
    fault::{Fault, Part, Stage},
    identity::Identity,
    limits::Limits,
    pool::PoolKey,
    private::{HostPort, PrivateAllowed},
    request::{Before, Incoming, Outgoing},
    resolver::{Resolver, SystemResolver},
    room::{Place, Room},
};
use self::{
    exchange::Exchange,
    guard::{Guard, Policy},
    pool::{Pooled, Pools, Terms},
    tls::Tls,
};
pub(crate) use self::{
    fault::{causes_of, why_none_came},
    identity::certified_key,
    tls::{no_client, trusting_also},
};
use crate::origin::Origin;

/// Sends requests. One for a process is enough; it is shared by reference.
pub struct Transport {
    resolver: Arc<dyn Resolver>,
    tls: Tls,
    pools: Pools,
    room: Option<Room>,
    /// How many requests did not leave, since their service rests.
    spared: AtomicU64,
}

impl Transport {
    /// A transport that asks this resolver for addresses, and trusts the machine's certificate authorities and those in
    /// the PEM file `extra_authorities`. The file is read with the first https request.
    pub fn new(resolver: Arc<dyn Resolver>, extra_authorities: Option<PathBuf>) -> Self {
        Self {
            resolver,
            tls: Tls::new(extra_authorities),
            pools: Pools::default(),
            room: None,
            spared: AtomicU64::new(0),
        }
    }

    /// With room for so many large answers at a time. Whoever waits for a place does so within the time of the whole exchange.
    #[must_use]
    pub fn with_room(self, room: Room) -> Self {
        Self { room: Some(room), ..self }
    }

    /// How many requests did not leave since their service had failed again and again.
    pub fn spared(&self) -> u64 {
        self.spared.load(Ordering::Relaxed)
    }

    /// Sends a request once and reads its whole answer, over the connections of `pool`.
    ///
    /// A redirect is an answer like any other: whoever follows it sends a new request, which is judged anew.
    ///
    /// # Errors
    ///
    /// See [`Fault`]. [`Fault::Denied`] comes before anything has left, unless [`close`](Self::close) ended a request that
    /// was under way; after any other error the service may have received it.
    pub async fn send(
        &self,
        pool: &PoolKey,
        allowed: &PrivateAllowed,
        request: Outgoing,
        limits: &Limits,
    ) -> Result<Incoming, Fault> {
        self.exchange(pool, allowed, request, limits, false).await
    }

    /// The same, unless that origin failed again and again for this pool: then nothing is sent for a while.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`Fault::Spared`], with which nothing has left.
    pub async fn send_sparing(
        &self,
        pool: &PoolKey,
        allowed: &PrivateAllowed,
        request: Outgoing,
        limits: &Limits,
    ) -> Result<Incoming, Fault> {
        self.exchange(pool, allowed, request, limits, true).await
    }

    async fn exchange(
        &self,
        pool: &PoolKey,
        allowed: &PrivateAllowed,
        request: Outgoing,
        limits: &Limits,
        sparing: bool,
    ) -> Result<Incoming, Fault> {
        let began = Instant::now();
        let origin = request.origin()?;
        let pooled =
            self.pooled(pool, &origin, Policy::of(&origin, allowed)?, request.identity.as_ref(), limits).await?;
        if sparing {
            pooled.standing.spare.judge(limits.rest).map_err(|wait| {
                self.spared.fetch_add(1, Ordering::Relaxed);
                Fault::Spared { origin: origin.clone(), wait }
            })?;
        }
        let exchange = Exchange { origin: &origin, limits, began, room: self.room.as_ref() };
        let outcome = tokio::select! {
            biased;
            () = pooled.standing.closed() => Err(Fault::Denied {
                what: format!("The connection to `{origin}` was closed while the request was under way."),
                allow: "Look whether its consent was revoked or the connection was removed, then connect again.".into(),
            }),
            outcome = exchange.run(&pooled, request) => outcome,
        };
        if let (true, Some(well)) = (sparing, did_well(&outcome)) {
            pooled.standing.spare.note(well, limits.rest);
        }
        if let Err(fault) = &outcome {
            tracing::debug!(%origin, %fault, "no answer");
            if spoils_its_connection(fault) {
                self.pools.forget(pool, &pooled);
            }
        }
        outcome
    }

    /// What an origin's addresses are, without sending anything: [`Reach::Public`], or [`Reach::Private`] where the
    /// operator allowed it. The addresses may be others by the time a request is sent, and are judged then.
    ///
    /// # Errors
    ///
    /// [`Fault::Denied`] with what would allow it, [`Fault::Unreachable`] or [`Fault::Timeout`] if the name has no address.
    pub async fn would_reach(
        &self,
        origin: &Origin,
        allowed: &PrivateAllowed,
        limits: &Limits,
    ) -> Result<Reach, Fault> {
        let policy = Policy::of(origin, allowed)?;
        let guard = Guard::new(origin.clone(), policy, self.resolver.clone(), limits.resolve);
        guard.look_up().await.map(|(_, reach)| reach)
    }

    /// Closes every connection of a pool and ends the requests that are under way on them. A later request under the same
    /// key opens new ones.
    pub fn close(&self, pool: &PoolKey) {
        self.pools.close(pool);
    }

    async fn pooled(
        &self,
        pool: &PoolKey,
        origin: &Origin,
        policy: Policy,
        identity: Option<&Identity>,
        limits: &Limits,
    ) -> Result<Arc<Pooled>, Fault> {
        let terms = Terms::new(policy, identity, limits);
        if let Some(pooled) = self.pools.find(pool, origin, &terms) {
            return Ok(pooled);
        }
        let mut tls = self.tls.config(origin.scheme()).await?;
        if let Some(identity) = identity {
            identity.put_on(&mut tls);
        }
        let guard = Guard::new(origin.clone(), policy, self.resolver.clone(), limits.resolve);
        Ok(self.pools.keep(pool, origin, Pooled::new(guard, terms, tls)?))
    }
}

/// Whether a service answered as one does that works; none where it was not its doing.
fn did_well(outcome: &Result<Incoming, Fault>) -> Option<bool> {
    match outcome {
        Ok(answer) => Some(!answer.status.is_server_error()),
        Err(Fault::Unreachable(_) | Fault::Broken(_) | Fault::Timeout { .. } | Fault::Protocol(_)) => Some(false),
        Err(Fault::Denied { .. } | Fault::Unready(_) | Fault::Spared { .. } | Fault::TooLarge { .. }) => None,
    }
}

/// Whether a later request must not go over the same connection: what else comes over one that broke the rules is nobody's
/// answer, and one that fell silent may stay so. HTTP/2 would go on using both, since it takes only the stream for broken.
fn spoils_its_connection(fault: &Fault) -> bool {
    match fault {
        Fault::Protocol(_) => true,
        Fault::Timeout { stage, .. } => !matches!(stage, Stage::Resolve | Stage::Connect),
        _ => false,
    }
}

impl Default for Transport {
    /// The system's resolver, and the machine's own authorities.
    fn default() -> Self {
        Self::new(Arc::new(SystemResolver), None)
    }
}

#[cfg(test)]
mod tests;
