//! Services that are busy or broken: what changes nothing is asked again when they say so, and what fails again and again is left
//! alone for a while, by those who saw it fail.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use attache_tests::service::{Service, answer, ok};
use serde_json::{Value, json};

use crate::{
    mcp::soon,
    operating::{Running, connect, start, with_tools},
};

/// A service that is busy the first so many times.
fn busy(times: usize, status: u16, headers: &'static [(&'static str, &'static str)]) -> Service {
    let asked = AtomicUsize::new(0);
    Service::start(move |request| {
        let counts = !request.line.contains("/check");
        match counts && asked.fetch_add(1, Ordering::SeqCst) < times {
            true => answer(status, headers, "busy"),
            false => ok("done"),
        }
    })
}

fn story(service: &Service) -> (Running, String) {
    let running = start(with_tools(service), &[]);
    let key = running.key("app", &["--allow", "write"]);
    (running, key)
}

fn asked(service: &Service) -> usize {
    service.received().iter().filter(|request| request.line.contains("/letters")).count()
}

fn input(service: &Service, method: &str) -> Value {
    json!({ "url": format!("{}/letters", service.base()), "method": method })
}

#[test]
fn what_changes_nothing_is_asked_again_when_the_service_says_and_the_audit_tells() {
    for (status, method) in [(503, "GET"), (429, "HEAD")] {
        let service = busy(2, status, &[("Retry-After", "0")]);
        let (running, key) = story(&service);
        let seen = running.call(&key, "look", &[], &input(&service, method));
        assert_eq!((seen.status, &seen.json()["status"], asked(&service)), (200, &json!(200), 3), "{seen:?}");
        let used = ["audit", "list", "--output", "json", "--event", "credential-used"];
        let lines = running.attache.run(&used).json();
        let repeated = lines.as_array().unwrap().iter().filter(|line| line["path"] == "/letters");
        let repeated: Vec<Value> = repeated.map(|line| line["repeated"].clone()).collect();
        assert_eq!(repeated, [Value::Null, json!(1), json!(2)], "{lines}");
    }
}

#[test]
fn a_date_and_the_end_of_a_limit_say_when_as_well() {
    // All are over, so that nobody waits.
    let over: [&[(&str, &str)]; 4] = [
        &[("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")],
        &[("RateLimit-Reset", "0")],
        &[("X-RateLimit-Reset", "0")],
        &[("X-RateLimit-Reset", "1784111777"), ("Date", "Fri, 06 Nov 2093 08:49:37 GMT")],
    ];
    for headers in over {
        let service = busy(1, 429, headers);
        let (running, key) = story(&service);
        let seen = running.call(&key, "look", &[], &input(&service, "GET"));
        assert_eq!((&seen.json()["status"], asked(&service)), (&json!(200), 2), "{headers:?}");
    }
    // A limit's end is nothing to somebody who was not told that they went beyond.
    let service = busy(1, 503, &[("X-RateLimit-Reset", "0")]);
    let (running, key) = story(&service);
    let seen = running.call(&key, "look", &[], &input(&service, "GET"));
    assert_eq!((&seen.json()["status"], asked(&service)), (&json!(503), 1), "{seen:?}");
}

#[test]
fn what_may_change_something_is_sent_once() {
    let service = busy(100, 503, &[("Retry-After", "0")]);
    let (running, key) = story(&service);
    for (number, (operation, method)) in
        [("change", "GET"), ("change", "POST"), ("look", "POST"), ("look", "OPTIONS")].into_iter().enumerate()
    {
        let seen = running.call(&key, operation, &[], &input(&service, method));
        assert_eq!((&seen.json()["status"], asked(&service)), (&json!(503), number + 1), "{operation} {method}");
    }
}

#[test]
fn what_a_service_puts_off_for_too_long_or_too_often_is_the_connectors_to_handle() {
    let service = busy(100, 429, &[("Retry-After", "0")]);
    let (running, key) = story(&service);
    let seen = running.call(&key, "look", &[], &input(&service, "GET"));
    assert_eq!((&seen.json()["status"], asked(&service)), (&json!(429), 3), "{seen:?}");
    for headers in [
        &[("Retry-After", "30")][..],
        &[],
        &[("Retry-After", "soon")],
        &[("Retry-After", "Fri, 06 Nov 2093 08:49:37 GMT")],
        &[("RateLimit-Reset", "30")],
        &[("X-RateLimit-Reset", "3907731777")],
        // What it says in so many words goes before what its limit is.
        &[("Retry-After", "30"), ("RateLimit-Reset", "0")],
    ] {
        let service = busy(100, 429, headers);
        let (running, key) = story(&service);
        let seen = running.call(&key, "look", &[], &input(&service, "GET"));
        assert_eq!((&seen.json()["status"], asked(&service)), (&json!(429), 1), "{headers:?}");
    }
    // Nor is it waited for when the call would be over.
    let service = busy(100, 503, &[("Retry-After", "2")]);
    let attache = with_tools(&service);
    attache.configure("[limits]\nwall-seconds = 2\n");
    let running = start(attache, &[]);
    let key = running.key("app", &[]);
    let seen = running.call(&key, "look", &[], &input(&service, "GET"));
    assert_eq!((&seen.json()["status"], asked(&service)), (&json!(503), 1), "{seen:?}");
}

#[test]
fn a_service_that_fails_again_and_again_is_left_alone_by_those_who_saw_it() {
    let service = busy(100, 500, &[]);
    let (running, key) = story(&service);
    connect(&running.attache, "second", &service);
    for number in 1..=5 {
        let seen = running.call(&key, "look", &[], &input(&service, "GET"));
        assert_eq!((&seen.json()["status"], asked(&service)), (&json!(500), number), "{seen:?}");
    }
    let spared = running.call(&key, "look", &[], &input(&service, "GET")).json();
    assert_eq!((&spared["error"], asked(&service)), (&json!("unreachable"), 5), "{spared}");
    let sentence = spared["sentence"].as_str().unwrap();
    assert!(sentence.contains("failed 5 times in a row") && sentence.contains("not asked for another"), "{sentence}");
    // Somebody else's connection learns nothing of it.
    let seen = running.call_of(&key, "second", "look", &[], &input(&service, "GET"));
    assert_eq!((&seen.json()["status"], asked(&service)), (&json!(500), 6), "{seen:?}");
}

#[test]
fn one_request_finds_out_whether_a_service_is_better_and_then_everybody_asks_again() {
    let (well, gate) = (Arc::new(AtomicBool::new(false)), Arc::new((Mutex::new(true), Condvar::new())));
    let (answers_well, waits) = (well.clone(), gate.clone());
    let service = Service::start(move |request| {
        if !request.line.contains("/letters") {
            return ok("done");
        }
        drop(waits.1.wait_while(waits.0.lock().unwrap(), |open| !*open).unwrap());
        match answers_well.load(Ordering::SeqCst) {
            true => ok("done"),
            false => answer(500, &[], "no"),
        }
    });
    let attache = with_tools(&service);
    attache.configure("[transport]\nrest-seconds = 2\n[traffic]\ncaller-per-second = 100000\ncaller-burst = 100000\nconnection-per-second = 100000\nconnection-burst = 100000\n");
    let running = start(attache, &[]);
    let key = running.key("app", &["--allow", "write"]);
    let look = || running.call(&key, "look", &[], &input(&service, "GET")).json();
    let failing = |count| (0..count).for_each(|_| assert_eq!(look()["status"], 500));
    failing(5);
    let spared = look();
    assert_eq!((&spared["error"], asked(&service)), (&json!("unreachable"), 5), "{spared}");
    // It is no better, and rests again.
    soon("it was never asked again", || look()["status"] == 500);
    assert_eq!(asked(&service), 6);
    assert_eq!((look()["error"].as_str(), asked(&service)), (Some("unreachable"), 6));
    // While one finds out, the others do not ask.
    well.store(true, Ordering::SeqCst);
    let open = |is_open: bool| {
        *gate.0.lock().unwrap() = is_open;
        gate.1.notify_all();
    };
    open(false);
    thread::scope(|scope| {
        let probes: Vec<_> =
            (0..2).map(|_| scope.spawn(|| soon("nobody found out", || look()["status"] == 200))).collect();
        soon("nobody finds out", || asked(&service) == 7);
        assert_eq!((look()["error"].as_str(), asked(&service)), (Some("unreachable"), 7));
        open(true);
        probes.into_iter().for_each(|probe| probe.join().unwrap());
    });
    for _ in 0..5 {
        assert_eq!(look()["status"], 200);
    }
    let metrics = running.metrics();
    let spared = metrics.lines().find_map(|line| line.strip_prefix("attache_spared_requests_total "));
    assert!(spared.is_some_and(|count| count.parse::<u32>().unwrap() >= 3), "{metrics}");
}

#[test]
fn a_service_that_fails_now_and_then_is_asked_every_time() {
    let number = Arc::new(AtomicUsize::new(0));
    let counted = number.clone();
    let service = Service::start(move |request| match request.line.contains("/letters") {
        true if counted.fetch_add(1, Ordering::SeqCst) % 5 < 4 => answer(500, &[], "no"),
        _ => ok("done"),
    });
    let (running, key) = story(&service);
    for number in 1..=15 {
        let seen = running.call(&key, "look", &[], &input(&service, "GET"));
        assert_eq!((seen.json()["status"].is_u64(), asked(&service)), (true, number), "{seen:?}");
    }
}
