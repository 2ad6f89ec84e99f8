//! What a call costs beside the HTTP request inside it: everything in one run, since machines differ and are noisy, so
//! that only ratios mean something. `./dev bench` runs it in release mode.
//!
//! - calls through `Host::call` with everything on (API key, consent, schema, address guard, audit, scrubbing), with a fresh
//!   instance each time and with one that is used again, beside reqwest on the same runtime: interleaved rounds against a
//!   service of 1 KB in another process, which answers at once or after 5 ms;
//! - an instance made, run and dropped, without any request;
//! - memory while a thousand calls wait for their service;
//! - a cold `attache call` beside a process that does nothing.
//!
//! On two cores on 26 November 2026, optimised but not at link time, with a fresh instance and with one that is used again: 0.42
//! and 0.55 of native at concurrency 1, 0.40 and 0.51 at 16, 0.39 and 0.56 at 64; 41 to 46 µs and 26 to 27 µs of CPU added at 16
//! and 64; 0.91 and 0.94 with a service that takes 5 ms, where 64 calls are answered in bursts and wait for each other; an instance
//! 8.4 µs; 110 KB for a call that waits; a cold call 12.8 ms above a bare process.
//!
//! Where the 41 µs of a call with an instance that is used again go, by a profiler, beside the 14 µs of a native request: kernel
//! 13.6 (native 6.4: the audit's file, locks and wake-ups), allocator 4.5 (0.8, some 200 small pieces), the guest's own code 3.6,
//! wasmtime 2.3, copying 2.0 (0.6), tokio 1.9 (0.7), HTTP client 4.0 (2.6), masking 0.9, the call's futures 0.9, audit lines and their
//! MACs 1.2, URLs 1.0, JSON and schemas 0.8. A fresh instance adds 5.5 for wiping what the guest wrote, 4 in wasmtime, 2 in the
//! guest, which begins anew. No other part is above 1.
//!
//! `ATTACHE_BENCH=calls|instances|memory|cold` runs one of these; `native`, `fresh` or `again` runs that kind of call alone,
//! for a profiler.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    env, fs,
    sync::Arc,
    time::{Duration, Instant},
};

use attache::{
    Host,
    call::Call,
    connect::{ConnectRequest, SignedIn},
    consent::Isolation,
    runtime::{Component, GuestRequest, GuestResponse, Limits, Runtime, SendError, WayOut},
    secret::Secret,
    settings::{Given, Settings, Source, Sourced},
    transport::PrivateAllowed,
};
use attache_tests::{
    Attache, connector,
    measure::{Forecasts, Round, cpu_time, median, resident, round},
};
use serde_json::json;

/// Rounds of each kind, interleaved; the median counts.
const ROUNDS: usize = 7;
/// Length of a round.
const ROUND: Duration = Duration::from_millis(700);
/// Processes started for the cold figures.
const PROCESSES: usize = 25;
/// Calls that wait at once for the memory figure.
const WAITING: usize = 1_000;
/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEY: &str = "a-key-of-the-benchmark";

fn main() {
    let service = Forecasts::start();
    let authority = &*service.authority;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let only = env::var("ATTACHE_BENCH").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    // Profilers that emulate the processor have less address space than so many instances reserve.
    let concurrency = if wanted("memory") { WAITING } else { 64 };
    let host = Arc::new(runtime.block_on(host(folder.path(), authority, concurrency)));
    if wanted("calls") {
        runtime.block_on(throughput(&host, authority));
    }
    if ["native", "fresh", "again"].contains(&only.as_str()) {
        runtime.block_on(alone(&host, authority, &only));
    }
    if wanted("instances") {
        runtime.block_on(instances());
    }
    if wanted("memory") {
        runtime.block_on(memory(&host));
    }
    drop(host);
    if wanted("cold") {
        cold(authority);
    }
}

/// One of the three things that are compared, ready to be done once.
#[derive(Clone)]
enum Kind {
    Native(reqwest::Client, String),
    Call(Arc<Host>, Call),
}

impl Kind {
    async fn once(&self) {
        match self {
            Kind::Native(client, url) => {
                let answer = client.get(url).header("X-Api-Key", KEY).send().await.unwrap();
                assert!(!answer.bytes().await.unwrap().is_empty());
            }
            Kind::Call(host, call) => drop(host.call(call).await.unwrap()),
        }
    }
}

async fn one_round(concurrency: usize, kind: &Kind) -> Round {
    let kind = kind.clone();
    let once = move || {
        let kind = kind.clone();
        async move { kind.once().await }
    };
    round(concurrency, ROUND, cpu_time, once).await
}

async fn throughput(host: &Arc<Host>, authority: &str) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    println!("service  concurrency  isolation     native/s    calls/s   ratio  added p50  added p99  added CPU");
    for (city, concurrencies) in [("oslo", &[1, 16, 64][..]), ("slow", &[64])] {
        for &concurrency in concurrencies {
            let url = format!("http://{authority}/v1/forecast?city={city}");
            let call = |environment: &str| Kind::Call(host.clone(), call(environment, city));
            let kinds = [Kind::Native(client.clone(), url), call("fresh"), call("again")];
            let mut measured: [Vec<Round>; 3] = Default::default();
            for number in 0..=ROUNDS {
                for (kind, measured) in kinds.iter().zip(&mut measured) {
                    let one = one_round(concurrency, kind).await;
                    // The first warms up.
                    if number > 0 {
                        measured.push(one);
                    }
                }
            }
            let [native, fresh, again] = measured;
            for (isolation, calls) in [("call", fresh), ("connection", again)] {
                let added = |of: fn(&Round) -> Duration| {
                    median(calls.iter().map(of)).saturating_sub(median(native.iter().map(of)))
                };
                let per_second = |rounds: &[Round]| median(rounds.iter().map(|it| it.per_second));
                let (calls_per_second, native_per_second) = (per_second(&calls), per_second(&native));
                println!(
                    "{:<8} {concurrency:>11}  {isolation:<10}  {native_per_second:>10.0} {calls_per_second:>10.0}   {:>5.2}  {:>9.1?}  {:>9.1?}  {:>9.1?}",
                    if city == "slow" { "5 ms" } else { "at once" },
                    calls_per_second / native_per_second,
                    added(|it| it.p50),
                    added(|it| it.p99),
                    added(|it| it.cpu),
                );
            }
        }
    }
}

/// One of the three for some seconds at concurrency 16, for whoever holds a profiler to it.
async fn alone(host: &Arc<Host>, authority: &str, kind: &str) {
    let kind = match kind {
        "native" => {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            Kind::Native(client, format!("http://{authority}/v1/forecast?city=oslo"))
        }
        environment => Kind::Call(host.clone(), call(environment, "oslo")),
    };
    for _ in 0..2 * ROUNDS {
        let Round { per_second, cpu, .. } = one_round(16, &kind).await;
        println!("{per_second:.0} a second, {cpu:.1?} of CPU each");
    }
}

fn call(environment: &str, city: &str) -> Call {
    Call {
        environment: environment.into(),
        connection: "weather".into(),
        id: None,
        operation: "forecast".into(),
        input: json!({ "city": city }),
        caller: "bench".into(),
    }
}

/// A host with two environments: in `fresh` each call has an instance of its own, in `again` they are used again.
async fn host(folder: &std::path::Path, authority: &str, concurrency: usize) -> Host {
    let key = folder.join("key");
    let mut settings = Settings::load(Given {
        data_dir: Some(Sourced { value: folder.join("data"), source: Source::Flag }),
        key: Some(Sourced { value: format!("file:{}", key.display()), source: Source::Flag }),
        environment: None,
    })
    .unwrap();
    settings.concurrency.value = u32::try_from(concurrency).unwrap();
    let host = Host::open(&settings).unwrap();
    for (environment, isolation) in [("fresh", Isolation::Call), ("again", Isolation::Connection)] {
        host.create_environment(environment).unwrap();
        let proposal = host.propose_connector(environment, fs::read(connector("weather")).unwrap()).await.unwrap();
        host.approve_connector(&proposal, Some(isolation), "bench").unwrap();
        let request = ConnectRequest {
            environment: environment.into(),
            connector: "weather".into(),
            name: "weather".into(),
            option: "api-key".into(),
            parameters: [("base-url".to_owned(), format!("http://{authority}"))].into(),
            secrets: [("key".to_owned(), Secret::new(KEY))].into(),
            private: PrivateAllowed::parse([authority]).unwrap(),
            caller: "bench".into(),
            ..ConnectRequest::default()
        };
        let proposal = host.propose_connection(request).await.unwrap();
        host.connect(&proposal, SignedIn::Agreed).await.unwrap();
    }
    host
}

/// A way out that answers at once, so that only the instance is measured.
struct Nowhere;

#[async_trait::async_trait]
impl WayOut for Nowhere {
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
    async fn send(&mut self, _: GuestRequest) -> Result<GuestResponse, SendError> {
        Ok(GuestResponse { status: 200, headers: Vec::new(), body: br#"{"name":"bench"}"#.to_vec() })
    }
}

async fn instances() {
    let runtime = Arc::new(Runtime::new(&Limits::default(), 64).unwrap());
    let bytes = fs::read(connector("weather")).unwrap();
    let component = Component::inspect(&runtime, bytes).await.unwrap().component;
    let mut times = Vec::new();
    for _ in 0..20_000 {
        let one = Instant::now();
        component.check("bench", Box::new(Nowhere)).await.unwrap();
        times.push(one.elapsed());
    }
    println!("\nan instance made, run with one host call, and dropped: {:.1?}", median(times));
}

async fn memory(host: &Arc<Host>) {
    let before = resident(None);
    let calls: Vec<_> = (0..WAITING)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.call(&call("fresh", "waiting")).await.unwrap() })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let during = resident(None);
    for call in calls {
        call.await.unwrap();
    }
    println!(
        "\nmemory of one of {WAITING} calls that wait for their service: {} KB",
        (during.saturating_sub(before) / WAITING) >> 10
    );
}

fn cold(authority: &str) {
    let mut attache = Attache::new(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.set("KEY", KEY);
    attache.add("weather");
    let base = format!("base-url=http://{authority}");
    let connect =
        ["connect", "weather", "--set", &base, "--secret", "key=env:KEY", "--allow-private", authority, "--yes"];
    attache.run(&connect).done();
    let call = ["call", "weather", "forecast", "--input", r#"{"city":"oslo"}"#];
    let (mut bare, mut called) = (Vec::new(), Vec::new());
    for _ in 0..PROCESSES {
        bare.push(time(|| attache.run(&["--version"]).done()));
        called.push(time(|| attache.run(&call).done()));
    }
    let (bare, called) = (median(bare), median(called));
    println!("\ncold process: bare {bare:.1?}, with a call {called:.1?}, added {:.1?}", called.saturating_sub(bare));
}

fn time(work: impl FnOnce() -> String) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
