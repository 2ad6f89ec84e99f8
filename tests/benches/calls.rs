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
//! `ATTACHE_BENCH=calls|instances|memory|cold` runs one of these; `native`, `fresh` or `again` runs that kind of call alone,
//! for a profiler.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
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
use attache_tests::{Attache, connector};
use axum::{Json, Router, extract::Query, routing::get};
use serde_json::{Value, json};

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
    if env::var_os("ATTACHE_BENCH_SERVICE").is_some() {
        return serve();
    }
    let mut service = Command::new(env::current_exe().unwrap())
        .env("ATTACHE_BENCH_SERVICE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut authority = String::new();
    BufReader::new(service.stdout.as_mut().unwrap()).read_line(&mut authority).unwrap();
    let authority = authority.trim();
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
    service.kill().unwrap();
    service.wait().unwrap();
}

/// The service: 1 KB to whoever asks; for the city `slow` after 5 ms, for `waiting` after 3 s.
fn serve() {
    async fn forecast(Query(query): Query<Vec<(String, String)>>) -> Json<Value> {
        let city = query.into_iter().find(|(name, _)| name == "city").map(|(_, city)| city).unwrap_or_default();
        match city.as_str() {
            "slow" => tokio::time::sleep(Duration::from_millis(5)).await,
            "waiting" => tokio::time::sleep(Duration::from_secs(3)).await,
            _ => {}
        }
        Json(json!({ "city": city, "summary": "x".repeat(940), "celsius": 7.5, "note": null }))
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let me = get(|| async { Json(json!({ "name": "bench" })) });
        let app = Router::new().route("/v1/forecast", get(forecast)).route("/v1/me", me);
        axum::serve(listener, app).await.unwrap();
    });
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

/// What rounds of one kind gave.
#[derive(Default)]
struct Measured {
    per_second: Vec<f64>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
    cpu: Vec<Duration>,
}

async fn throughput(host: &Arc<Host>, authority: &str) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    println!("service  concurrency  isolation     native/s    calls/s   ratio  added p50  added p99  added CPU");
    for (city, concurrencies) in [("oslo", &[1, 16, 64][..]), ("slow", &[64])] {
        for &concurrency in concurrencies {
            let url = format!("http://{authority}/v1/forecast?city={city}");
            let call = |environment: &str| Kind::Call(host.clone(), call(environment, city));
            let kinds = [Kind::Native(client.clone(), url), call("fresh"), call("again")];
            let mut measured: [Measured; 3] = Default::default();
            for round in 0..=ROUNDS {
                for (kind, measured) in kinds.iter().zip(&mut measured) {
                    let one = one_round(concurrency, kind).await;
                    // The first warms up.
                    if round > 0 {
                        measured.per_second.push(one.0);
                        measured.p50.push(one.1);
                        measured.p99.push(one.2);
                        measured.cpu.push(one.3);
                    }
                }
            }
            let [mut native, fresh, again] = measured;
            for (isolation, mut calls) in [("call", fresh), ("connection", again)] {
                let added = |calls: &mut Vec<Duration>, native: &mut Vec<Duration>| {
                    median(calls).saturating_sub(median(native))
                };
                let (calls_per_second, native_per_second) =
                    (median(&mut calls.per_second), median(&mut native.per_second));
                println!(
                    "{:<8} {concurrency:>11}  {isolation:<10}  {native_per_second:>10.0} {calls_per_second:>10.0}   {:>5.2}  {:>9.1?}  {:>9.1?}  {:>9.1?}",
                    if city == "slow" { "5 ms" } else { "at once" },
                    calls_per_second / native_per_second,
                    added(&mut calls.p50, &mut native.p50),
                    added(&mut calls.p99, &mut native.p99),
                    added(&mut calls.cpu, &mut native.cpu),
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
        let (per_second, _, _, cpu) = one_round(16, &kind).await;
        println!("{per_second:.0} a second, {cpu:.1?} of CPU each");
    }
}

/// How many a second, the time of one at the median and at p99, and this process's CPU time for one.
async fn one_round(concurrency: usize, kind: &Kind) -> (f64, Duration, Duration, Duration) {
    let (began, cpu) = (Instant::now(), cpu_time());
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let kind = kind.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < ROUND {
                    let one = Instant::now();
                    kind.once().await;
                    times.push(one.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times.sort_unstable();
    let (elapsed, cpu) = (began.elapsed(), cpu_time().saturating_sub(cpu));
    let count = times.len();
    (
        count as f64 / elapsed.as_secs_f64(),
        times[count / 2],
        times[count * 99 / 100],
        cpu / u32::try_from(count).unwrap(),
    )
}

/// User and system time of this process (clock_gettime(2)).
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median<T: Copy + PartialOrd>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

fn call(environment: &str, city: &str) -> Call {
    Call {
        environment: environment.into(),
        connection: "weather".into(),
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
    println!("\nan instance made, run with one host call, and dropped: {:.1?}", median(&mut times));
}

async fn memory(host: &Arc<Host>) {
    let resident = || -> u64 {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4
    };
    let before = resident();
    let calls: Vec<_> = (0..WAITING)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.call(&call("fresh", "waiting")).await.unwrap() })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let during = resident();
    for call in calls {
        call.await.unwrap();
    }
    println!(
        "\nmemory of one of {WAITING} calls that wait for their service: {} KB",
        during.saturating_sub(before) / WAITING as u64
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
    let (bare, called) = (median(&mut bare), median(&mut called));
    println!("\ncold process: bare {bare:.1?}, with a call {called:.1?}, added {:.1?}", called.saturating_sub(bare));
}

fn time(work: impl FnOnce() -> String) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
