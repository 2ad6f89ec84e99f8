//! What a gateway costs: calls through one beside calls of the same connector that the host makes itself, in one run, since
//! machines differ and are noisy, so that only ratios mean something. Host, gateway, service and whoever asks are processes of one
//! machine. `./dev bench --bench gateway` runs it in release mode.
//!
//! - calls a second and their times, at concurrency 1, 16 and 64;
//! - answers near the cap, 64 at once: how long they take, and the memory of host and gateway while they do.
//!
//! On two cores on 27 November 2026, optimised but not at link time: 0.54, 0.60 and 0.68 of direct calls at concurrency 1, 16 and 64,
//! and 0.4, 1.1 and 2.4 ms more at the median. 64 answers of 4 MiB at once take 2.5 s (3.1 s for direct calls), 551 MiB in the host
//! (633) and 194 MiB in the gateway, which holds eight of them whole at a time to mask them.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    process::Child,
    time::{Duration, Instant},
};

use attache_tests::{
    Attache, Running,
    measure::{Forecasts, Round, beside, resident, started, with_input},
    service::{Service, ok},
};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

/// Rounds of each kind, interleaved; the median counts.
const ROUNDS: usize = 7;
/// Length of a round.
const ROUND: Duration = Duration::from_millis(1_500);
const KEY: &str = "a-key-of-the-benchmark";
/// An answer as large as most services give, and one that is nearly as large as may be: it is base64 in the output.
const LARGE: usize = 4 << 20;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let forecasts = Forecasts::start();
    let large = Service::start(|_| ok(&"x".repeat(LARGE)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let plant = Plant::start(&[&forecasts.authority, &large.authority()]);
    plant.connect("weather", &format!("http://{}", forecasts.authority), &["--secret", "key=env:KEY"]);
    plant.connect("http", &large.base(), &["--auth", "basic", "--set", "username=jo", "--secret", "password=env:KEY"]);
    runtime.block_on(async {
        plant.calls().await;
        plant.large().await;
    });
}

/// A host that runs, and a gateway that is connected.
struct Plant {
    attache: Attache,
    host: Child,
    gateway: Running,
    url: String,
    /// Of whoever calls.
    key: String,
    /// Of the gateway.
    fingerprint: String,
    _private: Attache,
    client: Client,
}

impl Plant {
    fn start(reached: &[&str]) -> Self {
        let (mut attache, private) = (machine(), machine());
        let most = ["caller-per-second", "caller-burst", "connection-per-second", "connection-burst"];
        let most: String = most.iter().map(|name| format!("{name} = 1000000\n")).collect();
        attache.configure(&format!("[traffic]\n{most}"));
        for connector in ["weather", "http"] {
            attache.add(connector);
        }
        let (host, url) = started(&attache);
        attache.set("KEY", KEY);
        let code = attache.run(&["gateway", "enroll", "plant"]).done();
        let join = ["gateway", "join", "--host", &url, "--code", "-", "--output", "json"];
        let joined = private.run_with_input(&join, code).json();
        let allowed = reached.iter().flat_map(|authority| ["--allow", authority]);
        let run: Vec<&str> = ["gateway", "run"].into_iter().chain(allowed).collect();
        let mut gateway = private.begin(&run);
        gateway.said("Connected to");
        let key = attache.run(&["caller", "create", "bench"]).done().trim().to_owned();
        let fingerprint = joined["fingerprint"].as_str().unwrap().to_owned();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { attache, host, gateway, url, key, fingerprint, _private: private, client }
    }

    /// Connects twice: `NAME`, which the host calls itself, and `NAME-through`.
    fn connect(&self, connector: &str, base: &str, more: &[&str]) {
        let (set, authority) = (format!("base-url={base}"), base.trim_start_matches("http://"));
        let through = format!("{connector}-through");
        let fixed = ["connect", connector, "--set", &set, "--yes"];
        self.attache.run(&[&fixed[..], more, &["--allow-private", authority]].concat()).done();
        let gateway = ["--name", &through, "--gateway", "plant", "--gateway-key", &self.fingerprint];
        self.attache.run(&[&fixed[..], more, &gateway].concat()).done();
    }

    fn call(&self, connection: &str, operation: &str, input: &Value) -> RequestBuilder {
        let url = format!("{}v1/connections/{connection}/operations/{operation}", self.url);
        with_input(self.client.post(url).bearer_auth(&self.key), input)
    }

    async fn calls(&self) {
        println!("concurrency   direct/s  through/s   ratio   p50 direct / through   p99 direct / through");
        for concurrency in [1, 16, 64] {
            let input = json!({ "city": "oslo" });
            let requests = ["weather", "weather-through"]
                .map(|connection| (self.call(connection, "forecast", &input), self.host.id()));
            let [direct, through] = beside(concurrency, ROUNDS, ROUND, requests).await.map(|it| Round::middle(&it));
            println!(
                "{concurrency:>11} {:>10.0} {:>10.0}   {:>5.2}   {:>8.1?} / {:.1?}   {:>8.1?} / {:.1?}",
                direct.per_second,
                through.per_second,
                through.per_second / direct.per_second,
                direct.p50,
                through.p50,
                direct.p99,
                through.p99
            );
        }
    }

    async fn large(&self) {
        println!("\n64 answers of {} MiB at once   took   host\'s memory   gateway\'s memory", LARGE >> 20);
        for connection in ["http", "http-through"] {
            let began = Instant::now();
            let input = json!({ "path": "/large" });
            let all: Vec<_> = (0..64).map(|_| tokio::spawn(self.call(connection, "get", &input).send())).collect();
            let mut most = [0; 2];
            while all.iter().any(|one| !one.is_finished()) {
                for (most, process) in most.iter_mut().zip([self.host.id(), self.gateway.id()]) {
                    *most = resident(Some(process)).max(*most);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for one in all {
                assert!(one.await.unwrap().unwrap().status().is_success());
            }
            let [host, gateway] = most.map(|bytes| bytes >> 20);
            println!("{connection:<27} {:>8.1?} {host:>11} MiB {gateway:>14} MiB", began.elapsed());
        }
    }
}

fn machine() -> Attache {
    Attache::new(env!("CARGO_BIN_EXE_attache-under-test"))
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.gateway.kill();
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}
