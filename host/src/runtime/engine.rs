//! The engines that components run on, their tickers, and the linkers that say what a component may import.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::Semaphore;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{HasSelf, Linker},
};

use super::{Limits, bindings::v0_1, instance::Guest};
use crate::error::{Kind, Result};

/// How often a computing guest is asked whether it may go on. A limit is kept to within one tick.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Address space kept for one memory, so that it grows in place and bounds checks stay cheap. A setting above it raises
/// it; it is part of what compiled code depends on, so it is not made smaller with a smaller limit.
const MEMORY_RESERVATION: u64 = 128 << 20;
/// Behind each memory; accesses up to this far out trap without a check.
const MEMORY_GUARD: u64 = 32 << 20;
/// What stays mapped in a slot between two instances, so that a small guest costs no system call to reset.
const KEEP_RESIDENT: usize = 1 << 20;
/// The same for tables.
const TABLE_KEEP_RESIDENT: usize = 64 << 10;
/// Stack of a guest; wasmtime's own default. Deeper recursion is a trap.
const WASM_STACK: usize = 512 << 10;
/// Core instances, memories and tables in one component. A Python component has some 30 instances and 2 memories.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
const MEMORIES_PER_COMPONENT: u32 = 4;
const TABLES_PER_COMPONENT: u32 = 16;
/// Bookkeeping of one instance of one component.
const INSTANCE_BYTES: usize = 4 << 20;

/// Compiles and runs components under one configuration.
pub struct Runtime {
    /// For components that wait for nothing but a call of the host, as nearly all do.
    pub(super) plain: Engine,
    concurrent: OnceLock<Engine>,
    /// Slots of an engine.
    instances: u32,
    pub(super) limits: Arc<Limits>,
    /// One permit for each call that may run at once; further ones wait.
    pub(super) running: Semaphore,
}

/// An engine of wasmtime's, with what the host offers on it.
pub(super) struct Engine {
    pub(super) engine: wasmtime::Engine,
    pub(super) linker: Linker<Guest>,
    ticker: Ticker,
}

impl Runtime {
    /// Makes the engine. `concurrency` is how many calls may run at once, and how many instances may rest beside them; it
    /// costs address space, not memory.
    ///
    /// # Errors
    /// `internal` where the machine cannot give what the configuration asks for.
    pub fn new(limits: &Limits, concurrency: u32) -> Result<Self> {
        let instances = concurrency.saturating_mul(2);
        Ok(Self {
            plain: Engine::new(configuration(limits, instances).concurrency_support(false))?,
            concurrent: OnceLock::new(),
            instances,
            limits: Arc::new(limits.clone()),
            running: Semaphore::new(concurrency as usize),
        })
    }

    /// For components that use the component model's async, as those do that are built of QuickJS; it is not offered for anything
    /// that waits on the host. Its bookkeeping takes time in each call, also of components without, so that they have an engine
    /// of their own. Made when it is first asked for.
    ///
    /// # Errors
    /// As for [`Runtime::new`].
    pub(super) fn concurrent(&self) -> Result<&Engine> {
        if let Some(made) = self.concurrent.get() {
            return Ok(made);
        }
        let made = Engine::new(configuration(&self.limits, self.instances).wasm_component_model_async(true))?;
        Ok(self.concurrent.get_or_init(|| made))
    }

    /// The limits that instances run under.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl Engine {
    fn new(configuration: &Config) -> Result<Self> {
        let engine = wasmtime::Engine::new(configuration).map_err(|error| {
            Kind::Internal
                .error(format!("The WebAssembly engine could not be started: {error:#}."))
                .hint("Lower `concurrency` or `limits.memory-bytes` if the address space of this machine is limited.")
        })?;
        let linker =
            linker(&engine).map_err(|error| Kind::Internal.error(format!("Linking the host failed: {error:#}.")))?;
        let ticker = Ticker::start(&engine)?;
        Ok(Self { engine, linker, ticker })
    }

    pub(super) fn ticks(&self) -> Ticks {
        self.ticker.ticks.clone()
    }
}

fn configuration(limits: &Limits, instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4).max(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(instances.max(MEMORIES_PER_COMPONENT))
        .total_tables(instances.saturating_mul(2).max(TABLES_PER_COMPONENT))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(usize::try_from(limits.table_elements).unwrap_or(usize::MAX))
        .max_memory_size(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .decommit_batch_size(1)
        // Where the kernel tells which pages a guest wrote to (Linux 6.7), only those are wiped.
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(MEMORY_RESERVATION.max(limits.memory_bytes))
        .memory_guard_size(MEMORY_GUARD)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK)
        .epoch_interruption(true)
        // A backtrace of a guest is of no use to an operator, and costs time on every trap.
        .wasm_backtrace_max_frames(None);
    config
}

fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    v0_1::Connector::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

/// How often an engine's epoch moved on, which wasmtime itself tells nobody.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    pub(super) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Moves the engine's epoch on, from a thread of its own, for as long as the runtime lives.
struct Ticker {
    ticks: Ticks,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let engine = engine.weak();
        let ticks = Ticks::default();
        let ticked = ticks.clone();
        let thread = std::thread::Builder::new()
            .name("attache-epoch".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::park_timeout(TICK);
                    match engine.upgrade() {
                        Some(engine) => {
                            ticked.0.fetch_add(1, Ordering::Relaxed);
                            engine.increment_epoch();
                        }
                        None => return,
                    }
                }
            })
            .map_err(|error| Kind::Internal.error(format!("The epoch ticker could not be started: {error}.")))?;
        Ok(Self { ticks, stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A ticker that panicked has nothing left to stop.
            let _ = thread.join();
        }
    }
}
