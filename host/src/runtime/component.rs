//! A connector's component: what makes a file one, and the compiled form that instances are made from.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::SemaphorePermit;
use wasmtime::component::types::ComponentItem;

use super::{
    GuestRequest, GuestResponse, Invoked, Resting, Runtime, SendError, Tenant, WayOut,
    bindings::v0_1,
    engine::{Engine, Ticks},
    instance::Instance,
    limits::Times,
};
use crate::{
    error::{Error, Kind, Result},
    manifest::declared,
    text,
};

/// What the contract's exports are called, of which a connector has both.
const EXPORTS: [&str; 2] = ["attache:connector/manifest@0.1.0", "attache:connector/operations@0.1.0"];
/// What the host offers of its own.
const OFFERED: [&str; 5] = [
    "attache:connector/types@0.1.0",
    "attache:connector/auth@0.1.0",
    "attache:connector/connection@0.1.0",
    "attache:connector/http@0.1.0",
    "attache:connector/log@0.1.0",
];
/// Packages of WASI 0.2 that are there, with nothing in them.
const OFFERED_WASI: [&str; 6] =
    ["wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:cli/", "wasi:filesystem/", "wasi:sockets/"];

/// A compiled connector, linked to the host, from which instances are made.
#[derive(Clone)]
pub struct Component {
    runtime: Arc<Runtime>,
    linked: v0_1::Linked,
    ticks: Ticks,
}

/// What a file turned out to be when it was looked at before being added.
pub struct Inspected {
    /// The component, ready to run.
    pub component: Component,
    /// What it says of itself.
    pub declared: declared::Connector,
    /// What it imports, by name: the approval shows it.
    pub imports: Vec<String>,
    /// The compiled form, to be kept (`Component::serialize`'s bytes).
    pub compiled: Vec<u8>,
}

impl Component {
    /// Looks at a file as somebody's who may mean harm: is it a component of this contract, within the limits of size and
    /// time, and what does it say of itself?
    ///
    /// # Errors
    /// `invalid-connector` for what is not a connector, `denied` where it is over a limit or tries to reach something
    /// while describing itself, `connector-failed` where it traps.
    pub async fn inspect(runtime: &Arc<Runtime>, bytes: Vec<u8>) -> Result<Inspected> {
        let limit = runtime.limits.component_bytes;
        if bytes.len() as u64 > limit {
            return Err(Kind::Denied
                .error(format!("The file has {} bytes; a connector may have {limit}.", bytes.len()))
                .hint("Build it in release mode and stripped, or raise `limits.component-bytes` in attache.toml."));
        }
        refuse_what_is_no_component(&bytes)?;
        let (engine, compiled) = compile(runtime, bytes).await?;
        let imports =
            compiled.component_type().imports(compiled.engine()).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        refuse_unknown_imports(&imports)?;
        refuse_missing_exports(&compiled)?;
        let serialized = compiled.serialize().map_err(|error| {
            Kind::Internal.error(format!("The compiled connector could not be written: {error:#}."))
        })?;
        let component = Self::link(runtime, engine, &compiled)?;
        let declared = component.describe().await?;
        Ok(Inspected { component, declared, imports, compiled: serialized })
    }

    /// Links what was compiled before, for that engine. The caller vouches for where it came from.
    pub(super) fn link(
        runtime: &Arc<Runtime>,
        engine: &Engine,
        compiled: &wasmtime::component::Component,
    ) -> Result<Self> {
        let linked = engine.linker.instantiate_pre(compiled).and_then(v0_1::Linked::new).map_err(|error| {
            Kind::InvalidConnector.error(format!(
                "The component does not fit what the host offers: {}.",
                text::foreign(&format!("{error:#}"), 500)
            ))
        })?;
        Ok(Self { runtime: runtime.clone(), linked, ticks: engine.ticks() })
    }

    /// Whether it runs on the runtime's second engine.
    pub(super) fn is_concurrent(&self) -> bool {
        !wasmtime::Engine::same(self.linked.instance.engine(), &self.runtime.plain.engine)
    }

    /// Asks the connector what it is, in an instance that has no way out.
    async fn describe(&self) -> Result<declared::Connector> {
        let (tried, tries) = mpsc::channel();
        let times = self.runtime.limits.of_describing();
        let described = async {
            self.woken("(being added)", times, Box::new(NoWayOut { tried })).await?.describe(&self.linked).await
        }
        .await;
        // A try counts even where the connector trapped afterwards, or got over the refusal.
        if let Ok(url) = tries.try_recv() {
            return Err(Kind::Denied
                .error(format!("The connector tried to reach `{}` while describing itself.", text::foreign(&url, 200)))
                .hint("A connector describes itself from what is in it; only its operations may send requests."));
        }
        described.map_err(|error: Error| error.context("The connector could not describe itself"))
    }

    /// Runs one operation in an instance of its own.
    ///
    /// # Errors
    /// `connector-failed` and `connector-limit`; what the connector itself says is in [`Invoked`].
    pub async fn invoke(
        &self,
        connector: &str,
        way_out: Box<dyn WayOut>,
        operation: String,
        input: String,
    ) -> Result<Invoked> {
        let _running = self.turn().await?;
        self.woken(connector, self.runtime.limits.of_a_call(), way_out).await?.invoke(operation, input).await
    }

    /// Runs one operation in an instance that rests from an earlier call of the same tenant, or in a new one. It rests
    /// again afterwards, unless the call ended otherwise than by returning: what is in a guest's memory then is nobody's.
    ///
    /// # Errors
    /// As for [`Component::invoke`].
    pub async fn invoke_reusing(
        &self,
        resting: &Resting,
        tenant: &Tenant,
        connector: &str,
        way_out: Box<dyn WayOut>,
        operation: String,
        input: String,
    ) -> Result<Invoked> {
        let _running = self.turn().await?;
        let mut instance = match resting.take(tenant) {
            Some(instance) => instance,
            None => self.made(connector, self.runtime.limits.of_a_call()).await?,
        };
        instance.wake(way_out);
        // A call that is dropped here drops its instance with it.
        let ended = instance.invoke(operation, input).await;
        instance.rest();
        if matches!(ended, Ok(Invoked::Returned(_))) {
            resting.keep(tenant, instance);
        }
        ended
    }

    /// Asks, in an instance of its own, whether the connection is good, and whose it is.
    ///
    /// # Errors
    /// As for [`Component::invoke`].
    pub async fn check(&self, connector: &str, way_out: Box<dyn WayOut>) -> Result<Invoked> {
        let _running = self.turn().await?;
        self.woken(connector, self.runtime.limits.of_a_call(), way_out).await?.check().await
    }

    /// Waits until fewer calls run than may, for as long as a call may take.
    async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        if let Ok(free) = self.runtime.running.try_acquire() {
            return Ok(free);
        }
        let wall = self.runtime.limits.wall();
        match tokio::time::timeout(wall, self.runtime.running.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Kind::ConnectorLimit
                .error(format!("So many calls run already that this one found no turn within {} s.", wall.as_secs()))
                .hint("Raise `concurrency` in attache.toml, or call less at once.")),
        }
    }

    async fn woken(&self, connector: &str, times: Times, way_out: Box<dyn WayOut>) -> Result<Instance> {
        let mut instance = self.made(connector, times).await?;
        instance.wake(way_out);
        Ok(instance)
    }

    async fn made(&self, connector: &str, times: Times) -> Result<Instance> {
        Instance::new(&self.runtime, &self.linked, self.ticks.clone(), connector, times).await
    }
}

/// The first eight bytes tell a component from a core module (component-model binary format, preamble).
fn refuse_what_is_no_component(bytes: &[u8]) -> Result<()> {
    let sentence = match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            return Err(Kind::InvalidConnector.error("The file is a core WebAssembly module, not a component.").hint(
                "`attache build DIR` makes a component of a Rust connector; elsewhere `wasm-tools component new` does.",
            ));
        }
        [0, b'a', b's', b'm', ..] => "The file is WebAssembly of a version that this Attaché does not know.",
        [] => "The file is empty.",
        _ => "The file is not WebAssembly.",
    };
    Err(Kind::InvalidConnector
        .error(sentence)
        .hint("A connector is a WebAssembly component; `attache build DIR` makes one."))
}

/// Compiles for the plain engine, or for the other one where that takes what the plain one does not.
async fn compile(runtime: &Runtime, bytes: Vec<u8>) -> Result<(&Engine, wasmtime::component::Component)> {
    let (bytes, seconds) = (Arc::new(bytes), runtime.limits.compile_seconds);
    if let Ok(compiled) = compile_for(&runtime.plain, bytes.clone(), seconds).await? {
        return Ok((&runtime.plain, compiled));
    }
    let engine = runtime.concurrent()?;
    // What is wrong with it is the word of the one that takes more.
    let compiled = compile_for(engine, bytes, seconds).await?.map_err(|error| {
        Kind::InvalidConnector
            .error(format!("The file is not a valid component: {}.", text::foreign(&format!("{error:#}"), 500)))
    })?;
    Ok((engine, compiled))
}

/// Compiles on a thread of its own, so that one that takes too long does not hold the caller.
async fn compile_for(
    engine: &Engine,
    bytes: Arc<Vec<u8>>,
    seconds: u64,
) -> Result<wasmtime::Result<wasmtime::component::Component>> {
    let engine = engine.engine.clone();
    let compiling = tokio::task::spawn_blocking(move || wasmtime::component::Component::new(&engine, &*bytes));
    match tokio::time::timeout(Duration::from_secs(seconds), compiling).await {
        Err(_) => Err(Kind::Denied
            .error(format!("Compiling the connector took longer than {seconds} s."))
            .hint("Raise `limits.compile-seconds` in attache.toml if you trust where it comes from.")),
        Ok(Err(_)) => Err(Kind::InvalidConnector.error("The compiler gave up on this component.")),
        Ok(Ok(compiled)) => Ok(compiled),
    }
}

fn refuse_unknown_imports(imports: &[String]) -> Result<()> {
    let offered = |name: &str| {
        OFFERED.contains(&name)
            || (name.contains("@0.2.") && OFFERED_WASI.iter().any(|package| name.starts_with(package)))
    };
    match imports.iter().find(|name| !offered(name)) {
        None => Ok(()),
        Some(name) => Err(Kind::InvalidConnector
            .error(format!("The connector imports `{}`, which the host does not offer.", text::foreign(name, 200)))
            .hint("A connector may import attache:connector@0.1.0 and WASI 0.2 (which has nothing in it).")),
    }
}

fn refuse_missing_exports(compiled: &wasmtime::component::Component) -> Result<()> {
    let component_type = compiled.component_type();
    for name in EXPORTS {
        let exported = component_type.exports(compiled.engine()).find(|(export, _)| *export == name);
        if !matches!(exported, Some((_, item)) if matches!(item.ty, ComponentItem::ComponentInstance(_))) {
            return Err(Kind::InvalidConnector
                .error(format!("The component does not export `{name}`, so it is not a connector."))
                .hint("See wit/connector.wit; the SDK's `export!` writes both exports."));
        }
    }
    Ok(())
}

/// For describing: nothing is there, and a try is noted.
struct NoWayOut {
    tried: mpsc::Sender<String>,
}

#[async_trait]
impl WayOut for NoWayOut {
    fn parameter(&self, _: &str) -> Option<String> {
        None
    }

    fn audience(&self) -> Vec<String> {
        Vec::new()
    }

    fn auth_option(&self) -> String {
        String::new()
    }

    fn scopes(&self) -> Vec<String> {
        Vec::new()
    }

    async fn send(&mut self, request: GuestRequest) -> Result<GuestResponse, SendError> {
        // The other end lives until describing is over.
        let _ = self.tried.send(request.url);
        Err(SendError::Denied("A connector has no way out while it describes itself.".into()))
    }
}
