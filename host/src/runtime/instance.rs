//! One instance of a connector, from its making to its end: what it may use is counted here, and nothing of it is left
//! when a call is over.

use std::{fmt, sync::Arc};

use wasmtime::{
    AsContextMut, ResourceLimiter, Store, UpdateDeadline,
    component::{self, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::{
    GuestRequest, GuestResponse, Limits, Runtime, SendError, WayOut,
    bindings::v0_1,
    engine::{TICK, Ticks},
    limits::Times,
};
use crate::{
    error::{Error, Kind, Result},
    text,
};

/// What copying values between guest and host may cost in one host call; four bytes a character and some for each list
/// member above the largest body.
const HOSTCALL_FUEL_FACTOR: u64 = 4;
/// Handles that a guest may hold at once (streams, pollables).
const HANDLES: usize = 1_000;
/// One line of a connector's log.
const LOG_LINE_CHARACTERS: usize = 2_000;

/// What an operation of a connector can fail with: the contract's `operations.failure`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum Failure {
    InvalidInput(String),
    NotFound(String),
    Unauthorized(String),
    RateLimited(Option<u32>),
    Upstream(u16, String),
    Other(String),
}

/// How a call of a guest ended, when it was not the host that ended it.
#[derive(Debug)]
pub enum Invoked {
    /// It returned.
    Returned(std::result::Result<String, Failure>),
    /// The way out said to stop.
    Stopped,
}

/// The state behind one instance's imports.
pub(super) struct Guest {
    /// None while the instance rests between two calls: then it holds nothing of a connection's.
    way_out: Option<Box<dyn WayOut>>,
    connector: String,
    limits: Arc<Limits>,
    times: Times,
    used: Used,
    ticks: Ticks,
    exceeded: Option<Exceeded>,
    stopped: bool,
    /// Made when it is first asked for, which most connectors never do.
    wasi: Option<WasiCtx>,
    table: ResourceTable,
}

#[derive(Default)]
struct Used {
    requests: u32,
    host_calls: u32,
    response_bytes: u64,
    log_lines: u32,
    ticks: u64,
    /// Whether one went by while it waited for a service, which it meets at its next step.
    waited: bool,
}

/// Which limit ended the call, and the setting that would raise it.
#[derive(Debug, Clone)]
struct Exceeded {
    what: String,
    setting: &'static str,
}

impl Exceeded {
    fn into_error(self) -> Error {
        Kind::ConnectorLimit
            .error(format!("The connector was stopped: {}.", self.what))
            .hint(format!("Raise `limits.{}` in attache.toml if that is too little for it.", self.setting))
    }
}

/// The error with which the host ends a guest's run; what it means is noted in [`Guest`].
#[derive(Debug)]
struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ended by the host")
    }
}

impl std::error::Error for Ended {}

/// One instance. It runs one call at a time; between two of them it rests.
pub(super) struct Instance {
    store: Store<Guest>,
    exports: component::Instance,
    operations: v0_1::Operations,
}

impl Instance {
    /// Makes an instance that rests. Each of its runs may take this long.
    pub(super) async fn new(
        runtime: &Runtime,
        linked: &v0_1::Linked,
        ticks: Ticks,
        connector: &str,
        times: Times,
    ) -> Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let compute_ticks = in_ticks(times.compute.seconds);
        let guest = Guest {
            way_out: None,
            connector: connector.to_owned(),
            limits: runtime.limits.clone(),
            times,
            used: Used::default(),
            ticks,
            exceeded: None,
            stopped: false,
            wasi: None,
            table,
        };
        let mut store = Store::new(linked.instance.engine(), guest);
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(store.data().hostcall_fuel());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |mut store| {
            let guest = store.data_mut();
            // That one is no computing, and nobody waited for this guest meanwhile.
            if std::mem::take(&mut guest.used.waited) {
                return Ok(UpdateDeadline::Continue(1));
            }
            guest.used.ticks += 1;
            if guest.used.ticks > compute_ticks {
                let time = guest.times.compute;
                return Err(guest.exceed(time.setting, format!("it computed for more than {} s", time.seconds)));
            }
            // Yielding lets other calls run, and lets the wall-time limit end this one.
            Ok(UpdateDeadline::Yield(1))
        });
        let made = linked.instance.instantiate_async(&mut store).await;
        let loaded = made.and_then(|exports| Ok((exports, linked.operations.load(&mut store, &exports)?)));
        match loaded {
            Ok((exports, operations)) => Ok(Self { store, exports, operations }),
            Err(error) => Err(explain(store.data(), &error)),
        }
    }

    /// Wakes it for one call: the way out is this call's, and its limits count from nothing.
    pub(super) fn wake(&mut self, way_out: Box<dyn WayOut>) {
        let guest = self.store.data_mut();
        guest.way_out = Some(way_out);
        guest.used = Used::default();
        let fuel = guest.hostcall_fuel();
        self.store.set_hostcall_fuel(fuel);
        self.store.set_epoch_deadline(1);
    }

    /// Takes the way out away. What the guest keeps in its memory is its own.
    pub(super) fn rest(&mut self) {
        self.store.data_mut().way_out = None;
    }

    /// Asks what the connector is.
    pub(super) async fn describe(&mut self, linked: &v0_1::Linked) -> Result<crate::manifest::declared::Connector> {
        let manifest = match linked.manifest.load(&mut self.store, &self.exports) {
            Ok(manifest) => manifest,
            Err(error) => return Err(explain(self.store.data(), &error)),
        };
        let wall = self.store.data().times.wall.duration();
        let answer = tokio::time::timeout(wall, manifest.call_describe(self.store.as_context_mut())).await;
        match answer {
            Ok(Ok(connector)) => Ok(connector.into()),
            Ok(Err(error)) => Err(explain(self.store.data(), &error)),
            Err(_) => Err(self.too_slow()),
        }
    }

    /// Runs one operation. The wall time of the limits ends it.
    pub(super) async fn invoke(&mut self, operation: String, input: String) -> Result<Invoked> {
        let wall = self.store.data().times.wall.duration();
        let call = self.operations.call_invoke(self.store.as_context_mut(), &operation, &input);
        let answer = tokio::time::timeout(wall, call).await;
        self.ended(answer)
    }

    /// Asks whether the connection is good, and whose it is.
    pub(super) async fn check(&mut self) -> Result<Invoked> {
        let wall = self.store.data().times.wall.duration();
        let call = self.operations.call_check(self.store.as_context_mut());
        let answer = tokio::time::timeout(wall, call).await;
        self.ended(answer)
    }

    fn ended(
        &self,
        answer: std::result::Result<
            wasmtime::Result<std::result::Result<String, v0_1::Failure>>,
            tokio::time::error::Elapsed,
        >,
    ) -> Result<Invoked> {
        let guest = self.store.data();
        match answer {
            Err(_) => Err(self.too_slow()),
            Ok(Err(_)) if guest.stopped => Ok(Invoked::Stopped),
            Ok(Err(error)) => Err(explain(guest, &error)),
            Ok(Ok(Ok(output))) if output.len() as u64 > guest.limits.output_bytes => Err(Exceeded {
                what: format!("its answer has {} bytes, over the limit of {}", output.len(), guest.limits.output_bytes),
                setting: "output-bytes",
            }
            .into_error()),
            Ok(Ok(result)) => Ok(Invoked::Returned(result.map_err(Failure::from))),
        }
    }

    fn too_slow(&self) -> Error {
        let time = self.store.data().times.wall;
        Exceeded { what: format!("it took longer than {} s", time.seconds), setting: time.setting }.into_error()
    }
}

impl From<v0_1::Failure> for Failure {
    fn from(failure: v0_1::Failure) -> Self {
        match failure {
            v0_1::Failure::InvalidInput(why) => Failure::InvalidInput(why),
            v0_1::Failure::NotFound(why) => Failure::NotFound(why),
            v0_1::Failure::Unauthorized(why) => Failure::Unauthorized(why),
            v0_1::Failure::RateLimited(seconds) => Failure::RateLimited(seconds),
            v0_1::Failure::Upstream((status, why)) => Failure::Upstream(status, why),
            v0_1::Failure::Other(why) => Failure::Other(why),
        }
    }
}

/// Why a guest's run ended without an answer. Only the host's own words: a trap's text can hold what the guest wrote.
fn explain(guest: &Guest, error: &wasmtime::Error) -> Error {
    if let Some(exceeded) = &guest.exceeded {
        return exceeded.clone().into_error();
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::StackOverflow) => {
            Kind::ConnectorFailed.error("The connector trapped: its stack overflowed.")
        }
        // A guest's stack lies at the beginning of its memory, so that it runs out of memory there.
        Some(wasmtime::Trap::MemoryOutOfBounds) => Kind::ConnectorFailed
            .error("The connector trapped: it used memory that it does not have.")
            .hint("It does so when it calls itself too deeply: its stack is full. `attache build` gives it 96 KiB."),
        Some(trap) => Kind::ConnectorFailed
            .error(format!("The connector trapped: {trap}."))
            .hint("A panic in a connector is a trap; its last lines in the log may say why (ATTACHE_LOG=debug)."),
        None => {
            Kind::ConnectorFailed.error(format!("The connector failed: {}.", text::foreign(&format!("{error:#}"), 500)))
        }
    }
}

impl Guest {
    /// What copying values may cost in one call.
    fn hostcall_fuel(&self) -> usize {
        let limits = &self.limits;
        let largest = limits.response_bytes.max(limits.input_bytes).max(limits.output_bytes).max(limits.request_bytes);
        usize::try_from(largest.saturating_mul(HOSTCALL_FUEL_FACTOR)).unwrap_or(usize::MAX)
    }

    /// The way out of the call that runs. A guest runs only in one, so there always is one.
    pub(super) fn way_out(&mut self) -> wasmtime::Result<&mut (dyn WayOut + 'static)> {
        self.way_out.as_deref_mut().ok_or_else(|| Ended.into())
    }

    /// Counts a call that is not a request; ends the run when there were too many.
    pub(super) fn count_host_call(&mut self) -> wasmtime::Result<()> {
        self.used.host_calls += 1;
        if self.used.host_calls > self.limits.host_calls {
            let limit = self.limits.host_calls;
            return Err(self.exceed("host-calls", format!("it called the host more than {limit} times")));
        }
        Ok(())
    }

    pub(super) async fn send(
        &mut self,
        request: GuestRequest,
    ) -> wasmtime::Result<std::result::Result<GuestResponse, SendError>> {
        self.used.requests += 1;
        if self.used.requests > self.limits.requests {
            let limit = self.limits.requests;
            return Err(self.exceed("requests", format!("it made more than {limit} requests in one call")));
        }
        let body = request.body.as_ref().map_or(0, Vec::len) as u64;
        if body > self.limits.request_bytes {
            let limit = self.limits.request_bytes;
            return Ok(Err(SendError::TooLarge(format!(
                "The request's body has {body} bytes, over the limit of {limit} (limits.request-bytes)."
            ))));
        }
        let before = self.ticks.so_far();
        let way_out = self.way_out()?;
        let answer = way_out.send(request).await;
        if way_out.stop() {
            self.stopped = true;
            return Err(Ended.into());
        }
        self.used.waited |= self.ticks.so_far() != before;
        if let Ok(response) = &answer {
            self.used.response_bytes += response.body.len() as u64;
            if self.used.response_bytes > self.limits.total_response_bytes {
                let limit = self.limits.total_response_bytes;
                return Err(
                    self.exceed("total-response-bytes", format!("it was given more than {limit} bytes of answers"))
                );
            }
        }
        Ok(answer)
    }

    pub(super) fn log(&mut self, level: tracing::Level, message: &str) {
        self.used.log_lines += 1;
        let limit = self.limits.log_lines;
        if self.used.log_lines > limit {
            if self.used.log_lines == limit + 1 {
                tracing::warn!(target: "attache::connector", connector = %self.connector, limit, "the connector logs too much; the rest is dropped");
            }
            return;
        }
        let connector = &self.connector;
        let message = text::foreign(message, LOG_LINE_CHARACTERS);
        match level {
            tracing::Level::ERROR => tracing::error!(target: "attache::connector", %connector, "{message}"),
            tracing::Level::WARN => tracing::warn!(target: "attache::connector", %connector, "{message}"),
            tracing::Level::INFO => tracing::info!(target: "attache::connector", %connector, "{message}"),
            _ => tracing::debug!(target: "attache::connector", %connector, "{message}"),
        }
    }

    fn exceed(&mut self, setting: &'static str, what: String) -> wasmtime::Error {
        self.exceeded = Some(Exceeded { what, setting });
        Ended.into()
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // A module's own maximum is its own business; what the host set is worth a sentence.
        if desired as u64 > self.limits.memory_bytes {
            let limit = self.limits.memory_bytes;
            return Err(self.exceed("memory-bytes", format!("it needs more than {limit} bytes of memory")));
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired as u64 > self.limits.table_elements {
            let limit = self.limits.table_elements;
            return Err(self.exceed("table-elements", format!("it needs more than {limit} table elements")));
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: self.wasi.get_or_insert_with(nothing_to_reach), table: &mut self.table }
    }
}

/// WASI with nothing in it: no files, no environment, no arguments, no sockets; clocks and random numbers are real.
fn nothing_to_reach() -> WasiCtx {
    WasiCtxBuilder::new().allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).build()
}

fn in_ticks(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000) / TICK.as_millis() as u64
}
