//! What a call costs beside the HTTP request inside it: everything in one run, since machines differ and are noisy, so
//! that only ratios mean something. `./dev bench` runs it in release mode.
//!
//! - a call through `Host::call` with everything on (API key, consent, schema, address guard, audit, scrubbing, a fresh
//!   instance each time) beside reqwest on the same runtime, in interleaved rounds, against a 1 KB service in another process;
//! - a cold `attache call` beside a process that does nothing.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use attache::{
    Host,
    call::Call,
    connect::ConnectRequest,
    secret::Secret,
    settings::{Given, Settings, Source, Sourced},
    transport::PrivateAllowed,
};
use attache_tests::{Attache, connector};
use axum::{Router, routing::get};
use serde_json::json;

/// Rounds of each kind, interleaved; the median counts.
const ROUNDS: usize = 7;
/// Length of a round.
const ROUND: Duration = Duration::from_millis(700);
/// Processes started for the cold figures.
const PROCESSES: usize = 25;

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
    runtime.block_on(throughput(authority));
    cold(authority);
    service.kill().unwrap();
    service.wait().unwrap();
}

/// The service: 1 KB to whoever asks.
fn serve() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let body = "x".repeat(1024);
        axum::serve(listener, Router::new().fallback(get(move || async move { body.clone() }))).await.unwrap();
    });
}

async fn throughput(authority: &str) {
    let folder = tempfile::tempdir().unwrap();
    let host = Arc::new(host(folder.path(), authority).await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{authority}/x");
    println!("concurrency   native req/s   calls/s   ratio   added at p50");
    for concurrency in [1, 16, 64] {
        let (mut native, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (client, url) = (client.clone(), url.clone());
            native.push(
                round(concurrency, move || {
                    let (client, url) = (client.clone(), url.clone());
                    async move {
                        drop(client.get(&url).header("X-Api-Key", "k").send().await.unwrap().bytes().await.unwrap())
                    }
                })
                .await,
            );
            let (host, url) = (host.clone(), format!("http://{authority}/x"));
            calls.push(
                round(concurrency, move || {
                    let host = host.clone();
                    let call = Call {
                        environment: "default".into(),
                        connection: "echo".into(),
                        operation: "send".into(),
                        input: json!({ "url": url }),
                        caller: "bench".into(),
                    };
                    async move { drop(host.call(&call).await.unwrap()) }
                })
                .await,
            );
        }
        let (native, calls) = (median(native), median(calls));
        let added = calls.1.saturating_sub(native.1);
        println!(
            "{concurrency:>11}   {:>12.0}   {:>7.0}   {:>5.2}   {added:>9.1?}",
            native.0,
            calls.0,
            calls.0 / native.0
        );
    }
}

/// Requests in a second, and the median time of one.
async fn round<F, W>(concurrency: usize, work: F) -> (f64, Duration)
where
    F: Fn() -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send,
{
    let began = Instant::now();
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let work = work.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < ROUND {
                    let one = Instant::now();
                    work().await;
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
    (times.len() as f64 / began.elapsed().as_secs_f64(), times[times.len() / 2])
}

fn median(mut rounds: Vec<(f64, Duration)>) -> (f64, Duration) {
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    rounds[rounds.len() / 2]
}

async fn host(folder: &std::path::Path, authority: &str) -> Host {
    let key = folder.join("key");
    let settings = Settings::load(Given {
        data_dir: Some(Sourced { value: folder.join("data"), source: Source::Flag }),
        key: Some(Sourced { value: format!("file:{}", key.display()), source: Source::Flag }),
        environment: None,
    })
    .unwrap();
    let host = Host::open(&settings).unwrap();
    let bytes = std::fs::read(connector("echo")).unwrap();
    let proposal = host.propose_connector("default", bytes).await.unwrap();
    host.approve_connector(&proposal, None, "bench").unwrap();
    let request = ConnectRequest {
        environment: "default".into(),
        connector: "echo".into(),
        name: "echo".into(),
        option: "header".into(),
        parameters: [("base".to_owned(), format!("http://{authority}"))].into(),
        secrets: [("key".to_owned(), Secret::new("a-key-of-the-benchmark"))].into(),
        private: PrivateAllowed::parse([authority]).unwrap(),
        caller: "bench".into(),
        again: false,
    };
    host.connect(host.propose_connection(request).await.unwrap()).await.unwrap();
    host
}

fn cold(authority: &str) {
    let mut attache = Attache::new(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.set("KEY", "a-key-of-the-benchmark");
    attache.add("echo");
    let base = format!("base=http://{authority}");
    let connect = [
        "connect",
        "echo",
        "--auth",
        "header",
        "--set",
        &base,
        "--secret",
        "key=env:KEY",
        "--allow-private",
        authority,
        "--yes",
    ];
    attache.run(&connect).done();
    let input = json!({ "url": format!("http://{authority}/x") }).to_string();
    let call = ["call", "echo", "send", "--input", &input];
    let (mut bare, mut called) = (Vec::new(), Vec::new());
    for _ in 0..PROCESSES {
        bare.push(time(|| attache.run(&["--version"]).done()));
        called.push(time(|| attache.run(&call).done()));
    }
    bare.sort_unstable();
    called.sort_unstable();
    let (bare, called) = (bare[PROCESSES / 2], called[PROCESSES / 2]);
    println!("\ncold process: bare {bare:.1?}, with a call {called:.1?}, added {:.1?}", called.saturating_sub(bare));
}

fn time(work: impl FnOnce() -> String) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
