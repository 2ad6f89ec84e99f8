//! Calls while the gateway is killed and started again, and its line is cut and slow: each ends, with an answer or with an error
//! of its own, and none reaches the service twice where it must not.

use std::{
    collections::HashMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use attache_tests::{
    line::Line,
    service::{Service, ok},
};
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::{
    gateway::{Plant, SECRET, enroll, join},
    machine, serving,
};

/// Calls at a time.
const AT_ONCE: usize = 32;
/// How many calls there are, and how many times the gateway is killed meanwhile, unless `ATTACHE_TESTS_TROUBLE` says so many.
const CALLS: usize = 10_000;
const KILLS_PER_CALLS: usize = 500;
/// Whoever waits for longer waits for nothing: a line that is silent is given up after 15 s, and a gateway that was there waited
/// for another 10 s, twice.
const LONGEST: Duration = Duration::from_secs(60);

#[test]
fn every_call_ends_and_none_is_done_twice_that_must_not_be() {
    let calls = env::var("ATTACHE_TESTS_TROUBLE").map_or(CALLS, |calls| calls.parse().unwrap());
    let service = Service::start(|request| {
        // Long enough that there is always something under way.
        thread::sleep(Duration::from_millis(5));
        ok(&request.line)
    });
    let mut plant = patient();
    let line = Line::to(&plant.url);
    // It joined by one way and comes by another.
    let file = plant.private.data().join("gateway/gateway.key");
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, kept.replace(plant.url.trim_end_matches('/'), &line.url)).unwrap();
    let allowed = service.authority();
    plant.run(&[&allowed]);
    plant.connect(&service.base());
    let key = ["caller", "create", "app", "--allow", "destructive", "--connection", "http"];
    let key = plant.attache.run(&key).done().trim().to_owned();
    let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (next, done, url, key) = (next.clone(), done.clone(), plant.url.clone(), key.clone());
            thread::spawn(move || {
                let client = Client::builder().timeout(LONGEST).build().unwrap();
                let mut ended = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return ended;
                    }
                    ended.push((number, call(&client, &url, &key, number)));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for trouble in 1..=calls / KILLS_PER_CALLS * 2 {
        let until = trouble * KILLS_PER_CALLS / 2 - KILLS_PER_CALLS / 4;
        while done.load(Ordering::Relaxed) < until {
            thread::sleep(Duration::from_millis(5));
        }
        match trouble % 2 {
            // Killed in the middle, and there again.
            0 => {
                plant.running = None;
                plant.run(&[&allowed]);
            }
            _ => {
                line.delay(Duration::from_millis(20));
                line.cut();
                line.delay(Duration::ZERO);
            }
        }
    }
    let ended: HashMap<usize, Ended> = asking.into_iter().flat_map(|asks| asks.join().unwrap()).collect();
    assert_eq!(ended.len(), calls, "a call is missing");
    let mut times: HashMap<String, usize> = HashMap::new();
    for request in service.received() {
        *times.entry(request.line.clone()).or_default() += 1;
    }
    let (mut well, mut broken) = (0, 0);
    for (number, ended) in &ended {
        let reached = times.get(&target(*number)).copied().unwrap_or(0);
        match ended {
            Ended::Answered(body) => {
                assert!(body.contains(&target(*number)), "call {number} has the answer of another: {body}");
                well += 1;
            }
            Ended::Failed(kind, sentence) => {
                assert_eq!(kind, "unreachable", "call {number}: {sentence}");
                assert!(sentence.contains("gateway `plant`"), "call {number}: {sentence}");
                broken += 1;
            }
        }
        assert!(reached <= if is_write(*number) { 1 } else { 2 }, "call {number} reached the service {reached} times");
        assert!(reached > 0 || matches!(ended, Ended::Failed(..)), "call {number} was answered by nobody");
    }
    assert!(well > calls * 8 / 10 && broken > 0, "{well} were answered and {broken} were not");
}

/// An answer near the cap, since it is base64 in the output.
const LARGE: usize = 4 << 20;
/// One that holds eight answers had 208 MiB, and one that holds all 410.
const MOST_MEMORY: usize = 300 << 20;

#[test]
fn sixty_four_answers_near_the_cap_pass_at_once_and_the_gateway_holds_few_of_them() {
    let body = "x".repeat(LARGE);
    let service = Service::start(move |_| ok(&body));
    let mut plant = patient();
    plant.run(&[&service.authority()]);
    plant.connect(&service.base());
    let answers = sixty_four_at_once(&plant, "get", &json!({ "path": "/large" }));
    assert!(answers.iter().all(|answer| answer.len() >= LARGE));
    assert!(most_memory(&plant) < MOST_MEMORY, "{} MiB", most_memory(&plant) >> 20);
}

#[test]
fn sixty_four_large_requests_pass_at_once_and_the_gateway_holds_few_of_them() {
    let service = Service::start(|request| {
        // Long enough that all of them would be there.
        thread::sleep(Duration::from_millis(100));
        ok(&format!("{} bytes", request.body.len()))
    });
    let mut plant = patient();
    plant.run(&[&service.authority()]);
    plant.connect(&service.base());
    let input = json!({ "method": "POST", "path": "/large", "text": "x".repeat(LARGE) });
    let answers = sixty_four_at_once(&plant, "request", &input);
    let received = format!("{LARGE} bytes");
    assert!(answers.iter().all(|answer| answer.contains(&received)), "{:?}", answers.first());
    assert!(most_memory(&plant) < MOST_MEMORY, "{} MiB", most_memory(&plant) >> 20);
}

/// The answers to the same call.
fn sixty_four_at_once(plant: &Plant, operation: &str, input: &Value) -> Vec<String> {
    let caller = ["caller", "create", "app", "--allow", "destructive", "--connection", "http"];
    let key = plant.attache.run(&caller).done().trim().to_owned();
    let url = format!("{}v1/connections/http/operations/{operation}", plant.url);
    let client = Client::builder().timeout(LONGEST * 2).build().unwrap();
    let asked = client.post(url).bearer_auth(key).header("content-type", "application/json").body(input.to_string());
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let asked = asked.try_clone().unwrap();
            thread::spawn(move || {
                let answer = asked.send().unwrap();
                let (status, text) = (answer.status(), answer.text().unwrap());
                assert!(status.is_success(), "{text}");
                text
            })
        })
        .collect();
    asking.into_iter().map(|asks| asks.join().unwrap()).collect()
}

/// The most that the gateway's process had since it began, in bytes.
fn most_memory(plant: &Plant) -> usize {
    let process = plant.running.as_ref().unwrap().id();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

enum Ended {
    Answered(String),
    Failed(String, String),
}

fn is_write(number: usize) -> bool {
    number.is_multiple_of(2)
}

/// The request line that a call comes to.
fn target(number: usize) -> String {
    format!("{} /{number} HTTP/1.1", if is_write(number) { "POST" } else { "GET" })
}

fn call(client: &Client, url: &str, key: &str, number: usize) -> Ended {
    let (operation, input) = match is_write(number) {
        true => ("request", json!({ "method": "POST", "path": format!("/{number}"), "json": { "n": number } })),
        false => ("get", json!({ "path": format!("/{number}") })),
    };
    let began = Instant::now();
    let asked = client.post(format!("{url}v1/connections/http/operations/{operation}")).bearer_auth(key);
    let answer = asked.header("content-type", "application/json").body(input.to_string()).send();
    let answer = answer.unwrap_or_else(|error| panic!("call {number} hung for {:?}: {error}", began.elapsed()));
    let well = answer.status().is_success();
    let text = answer.text().unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    match well {
        true => Ended::Answered(text),
        false => Ended::Failed(json["kind"].as_str().unwrap().to_owned(), json["detail"].as_str().unwrap().to_owned()),
    }
}

/// A host that lets everybody call as much as they like.
fn patient() -> Plant {
    let mut attache = machine();
    let most = ["caller-per-second", "caller-burst", "connection-per-second", "connection-burst"];
    let most: String = most.iter().map(|name| format!("{name} = 100000\n")).collect();
    attache.configure(&format!("[traffic]\n{most}"));
    attache.add("http");
    let (host, url) = serving::serve(&attache, &[]);
    attache.set("SECRET", SECRET);
    let private = machine();
    let key = join(&private, &url, &enroll(&attache)).json()["fingerprint"].as_str().unwrap().to_owned();
    Plant { running: None, private, key, url, host: Some(host), attache }
}
