//! How much of the host somebody may have: calls in a second and calls at once, of each caller key and of each connection, calls
//! at once of all, and attempts with keys that nobody knows. What is beyond is refused with when to come again, so that nobody
//! takes the host away from the others.
//!
//! A rate is kept by the generic cell rate algorithm (ITU-T I.371, A.2): one moment for each lane, which says when it will have
//! caught up with what was let through.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Error, Kind, Result},
    pause,
    sync::lock,
};

/// Beyond what one instance serves: a limit for somebody who runs wild, not for a busy application.
const PER_SECOND: u32 = 1_000;
/// Two seconds' worth at once.
const BURST: u32 = 2_000;
/// Calls that run or wait of one caller or connection. One that waits costs its input and some kilobytes.
const AT_ONCE: u32 = 2_048;
/// The same of all together.
const HOST_AT_ONCE: u32 = 4_096;
/// Somebody who mistyped a key tries a few times.
const UNKNOWN_KEYS_PER_MINUTE: u32 = 60;
/// Lanes that are remembered. Those that have caught up are forgotten when there are more.
const LANES: usize = 20_000;

/// `[traffic]`: how much of the host somebody may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrafficTable {
    /// Calls that one caller key may begin in a second, on the long run.
    pub caller_per_second: u32,
    /// Calls that it may begin at one moment.
    pub caller_burst: u32,
    /// Calls of it that run or wait.
    pub caller_at_once: u32,
    /// Calls of one connection in a second, whoever makes them.
    pub connection_per_second: u32,
    /// Calls of one connection that may begin at one moment.
    pub connection_burst: u32,
    /// Calls of one connection that run or wait.
    pub connection_at_once: u32,
    /// Calls of all that run or wait.
    pub host_at_once: u32,
    /// Attempts with unknown keys from one address.
    pub unknown_keys_per_minute: u32,
}

impl Default for TrafficTable {
    fn default() -> Self {
        Self {
            caller_per_second: PER_SECOND,
            caller_burst: BURST,
            caller_at_once: AT_ONCE,
            connection_per_second: PER_SECOND,
            connection_burst: BURST,
            connection_at_once: AT_ONCE,
            host_at_once: HOST_AT_ONCE,
            unknown_keys_per_minute: UNKNOWN_KEYS_PER_MINUTE,
        }
    }
}

/// Who is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Caller(Uuid),
    Connection(Uuid),
    Peer(IpAddr),
}

/// What may pass of one.
#[derive(Debug, Clone, Copy)]
struct Terms {
    every: Duration,
    burst: u32,
    at_once: u32,
}

impl Terms {
    fn new(times: u32, period: Duration, burst: u32, at_once: u32) -> Self {
        Self { every: period / times.max(1), burst: burst.max(1), at_once }
    }
}

/// What passed of one.
#[derive(Debug)]
struct Lane {
    /// When what was let through will have been earned.
    caught_up: Instant,
    at_once: u32,
}

/// Lets calls through.
pub(crate) struct Traffic {
    caller: Terms,
    connection: Terms,
    peer: Terms,
    host_at_once: u32,
    unknown_keys_per_minute: u32,
    lanes: Mutex<Lanes>,
    /// How often each limit refused: the host's, callers', connections', and unknown keys'.
    refused: [AtomicU64; 4],
}

/// The names of what is counted in `refused`.
const LIMITS: [&str; 4] = ["host", "caller", "connection", "unknown-keys"];

#[derive(Default)]
struct Lanes {
    all: HashMap<Who, Lane>,
    at_once: u32,
}

/// A call that was let through; dropped when it is over.
#[derive(Debug)]
pub(crate) struct Admitted {
    traffic: Arc<Traffic>,
    caller: Option<Uuid>,
    connection: Option<Uuid>,
}

impl Traffic {
    pub(crate) fn new(table: &TrafficTable) -> Arc<Self> {
        let second = Duration::from_secs(1);
        let unknown = table.unknown_keys_per_minute;
        Arc::new(Self {
            caller: Terms::new(table.caller_per_second, second, table.caller_burst, table.caller_at_once),
            connection: Terms::new(
                table.connection_per_second,
                second,
                table.connection_burst,
                table.connection_at_once,
            ),
            peer: Terms::new(unknown, Duration::from_secs(60), unknown, u32::MAX),
            host_at_once: table.host_at_once,
            unknown_keys_per_minute: unknown,
            lanes: Mutex::default(),
            refused: Default::default(),
        })
    }

    /// Lets a call through, or says when to come again. `caller` is the key's id; the operator has none, and no limit of their
    /// own. `connection` is the one that is called or made; none where it is not known yet.
    ///
    /// # Errors
    /// `rate-limited`, with the setting that says how much it may be.
    pub(crate) fn admit(self: &Arc<Self>, caller: Option<Uuid>, connection: Option<Uuid>) -> Result<Admitted> {
        self.judge(caller, connection).map_err(|(limit, error)| {
            self.refused[limit].fetch_add(1, Ordering::Relaxed);
            error
        })
    }

    /// How often each limit refused.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 4] {
        std::array::from_fn(|limit| (LIMITS[limit], self.refused[limit].load(Ordering::Relaxed)))
    }

    /// What refuses is given with the limit that does.
    fn judge(self: &Arc<Self>, caller: Option<Uuid>, connection: Option<Uuid>) -> Result<Admitted, (usize, Error)> {
        let now = Instant::now();
        let mut lanes = lock(&self.lanes);
        if lanes.at_once >= self.host_at_once {
            return Err((
                0,
                refused("The host has as many calls under way as it takes", "host-at-once", Duration::ZERO),
            ));
        }
        lanes.make_room(now);
        if let Some(caller) = caller {
            lanes
                .look(Who::Caller(caller), self.caller, now)
                .map_err(|beyond| (1, beyond.error("this caller key", "caller")))?;
        }
        if let Some(connection) = connection {
            lanes
                .look(Who::Connection(connection), self.connection, now)
                .map_err(|beyond| (2, beyond.error("this connection", "connection")))?;
        }
        // Only what is let through counts, so that one limit uses nothing up of another.
        if let Some(caller) = caller {
            lanes.pass(Who::Caller(caller), self.caller, now);
        }
        if let Some(connection) = connection {
            lanes.pass(Who::Connection(connection), self.connection, now);
        }
        lanes.at_once += 1;
        Ok(Admitted { traffic: self.clone(), caller, connection })
    }

    /// Counts an attempt with a key that nobody knows.
    ///
    /// # Errors
    /// `rate-limited` where that address tried too often.
    pub(crate) fn unknown_key(&self, peer: IpAddr) -> Result<()> {
        let (who, now) = (Who::Peer(network(peer)), Instant::now());
        let mut lanes = lock(&self.lanes);
        lanes.make_room(now);
        let beyond = lanes.look(who, self.peer, now);
        // Where there is no room for one more address, strangers wait.
        if beyond.is_ok() && (lanes.all.len() < LANES || lanes.all.contains_key(&who)) {
            lanes.pass(who, self.peer, now);
            lanes.end(who);
            return Ok(());
        }
        let wait = beyond.err().map_or(self.peer.every, |beyond| beyond.wait());
        self.refused[3].fetch_add(1, Ordering::Relaxed);
        let most = self.unknown_keys_per_minute;
        Err(refused(
            &format!("From this address came more than {most} unknown keys in a minute"),
            "unknown-keys-per-minute",
            wait,
        ))
    }
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Traffic")
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut lanes = lock(&self.traffic.lanes);
        lanes.at_once = lanes.at_once.saturating_sub(1);
        if let Some(caller) = self.caller {
            lanes.end(Who::Caller(caller));
        }
        if let Some(connection) = self.connection {
            lanes.end(Who::Connection(connection));
        }
    }
}

/// Why one more does not pass.
#[derive(Debug, Clone, Copy)]
enum Beyond {
    Rate(Duration),
    AtOnce,
}

impl Beyond {
    fn wait(self) -> Duration {
        match self {
            Self::Rate(wait) => wait,
            Self::AtOnce => Duration::ZERO,
        }
    }

    fn error(self, whose: &str, setting: &str) -> Error {
        match self {
            Self::Rate(wait) => refused(
                &format!("More calls of {whose} come than it may have in a second"),
                &format!("{setting}-per-second"),
                wait,
            ),
            Self::AtOnce => refused(
                &format!("As many calls of {whose} are under way as it may have"),
                &format!("{setting}-at-once"),
                Duration::ZERO,
            ),
        }
    }
}

impl Lanes {
    fn look(&self, who: Who, terms: Terms, now: Instant) -> Result<(), Beyond> {
        let Some(lane) = self.all.get(&who) else { return Ok(()) };
        if lane.at_once >= terms.at_once {
            return Err(Beyond::AtOnce);
        }
        let ahead = lane.caught_up.saturating_duration_since(now);
        let allowed = terms.every * (terms.burst - 1);
        if ahead > allowed { Err(Beyond::Rate(ahead - allowed)) } else { Ok(()) }
    }

    fn pass(&mut self, who: Who, terms: Terms, now: Instant) {
        let lane = self.all.entry(who).or_insert(Lane { caught_up: now, at_once: 0 });
        lane.caught_up = lane.caught_up.max(now) + terms.every;
        lane.at_once += 1;
    }

    fn end(&mut self, who: Who) {
        if let Some(lane) = self.all.get_mut(&who) {
            lane.at_once = lane.at_once.saturating_sub(1);
        }
    }

    /// Forgets who has caught up and is not there, where there are many.
    fn make_room(&mut self, now: Instant) {
        if self.all.len() >= LANES {
            self.all.retain(|_, lane| lane.at_once > 0 || lane.caught_up > now);
        }
    }
}

/// Whoever has one IPv6 address has all of its network (RFC 6177).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

fn refused(what: &str, setting: &str, wait: Duration) -> Error {
    Kind::RateLimited
        .error(format!("{what}."))
        .hint(format!("Ask again later. The operator sets how much it may be: `traffic.{setting}` in attache.toml."))
        .retry_after(pause::whole_seconds(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(change: impl FnOnce(&mut TrafficTable)) -> Arc<Traffic> {
        let mut table = TrafficTable::default();
        change(&mut table);
        Traffic::new(&table)
    }

    #[test]
    fn a_burst_passes_and_then_so_many_in_a_second() {
        let traffic = traffic(|table| (table.caller_per_second, table.caller_burst) = (1, 3));
        let (caller, other) = (Some(Uuid::new_v4()), Some(Uuid::new_v4()));
        for _ in 0..3 {
            traffic.admit(caller, Some(Uuid::new_v4())).unwrap();
        }
        let refused = traffic.admit(caller, Some(Uuid::new_v4())).unwrap_err();
        assert_eq!((refused.kind(), refused.wait()), (Kind::RateLimited, Some(1)));
        assert!(refused.mend().unwrap().contains("traffic.caller-per-second"));
        traffic.admit(other, Some(Uuid::new_v4())).unwrap();
        traffic.admit(None, Some(Uuid::new_v4())).unwrap();
        lock(&traffic.lanes).all.values_mut().for_each(|lane| lane.caught_up -= Duration::from_secs(1));
        traffic.admit(caller, Some(Uuid::new_v4())).unwrap();
        assert!(traffic.admit(caller, Some(Uuid::new_v4())).is_err());
    }

    #[test]
    fn so_many_at_once_and_one_more_when_one_is_over() {
        let traffic = traffic(|table| (table.connection_at_once, table.host_at_once) = (1, 2));
        let (connection, other) = (Uuid::new_v4(), Some(Uuid::new_v4()));
        let first = traffic.admit(None, Some(connection)).unwrap();
        assert!(traffic.admit(None, Some(connection)).unwrap_err().mend().unwrap().contains("connection-at-once"));
        let _second = traffic.admit(None, other).unwrap();
        assert!(traffic.admit(None, Some(Uuid::new_v4())).unwrap_err().mend().unwrap().contains("host-at-once"));
        drop(first);
        traffic.admit(None, Some(connection)).unwrap();
    }

    #[test]
    fn what_is_refused_uses_nothing_up() {
        let traffic = traffic(|table| (table.caller_burst, table.connection_at_once) = (1, 1));
        let (caller, connection) = (Some(Uuid::new_v4()), Some(Uuid::new_v4()));
        let _under_way = traffic.admit(None, connection).unwrap();
        for _ in 0..5 {
            let refused = traffic.admit(caller, connection).unwrap_err();
            assert!(refused.mend().unwrap().contains("connection-at-once"), "{refused}");
        }
        traffic.admit(caller, Some(Uuid::new_v4())).unwrap();
    }

    #[test]
    fn strangers_take_no_more_memory_than_there_is_for_them() {
        let traffic = traffic(|_| ());
        for number in 0..50_000_u32 {
            let _ = traffic.unknown_key(IpAddr::V4(number.into()));
        }
        assert!(lock(&traffic.lanes).all.len() <= LANES);
        // Whoever has a key is let in all the same.
        traffic.admit(Some(Uuid::new_v4()), Some(Uuid::new_v4())).unwrap();
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2:1".parse().unwrap();
        assert_eq!(network(one), network(neighbour));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
