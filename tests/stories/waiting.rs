//! `Prefer`: a caller who does not wait for a call fetches what came of it later, and nobody else does.

use attache_tests::service::Service;
use serde_json::json;

use crate::{
    mcp::{Slow, outcome, soon},
    operating::{Running, start, with_tools},
};

const AT_ONCE: (&str, &str) = ("prefer", "respond-async");
/// Much longer than a story: that it ends earlier shows that it was told.
const LONG: (&str, &str) = ("prefer", "wait=60");

fn story(service: &Service) -> (Running, String) {
    let running = start(with_tools(service), &[]);
    let key = running.key("app", &[]);
    (running, key)
}

#[test]
fn a_call_goes_on_without_its_caller_who_fetches_what_came_of_it() {
    let slow = Slow::start();
    let (running, key) = story(&slow.service);
    let early = running.call(&key, "look", &[AT_ONCE], &slow.input());
    assert_eq!((early.status, early.header("preference-applied")), (202, "respond-async"), "{early:?}");
    let path = early.header("location").to_owned();
    assert_eq!(path, format!("/v1/calls/{}", early.json()["id"].as_str().unwrap()));
    let still = running.ask(&key, "GET", &path, &[]);
    assert_eq!((still.status, &still.json()["state"]), (202, &json!("under-way")), "{still:?}");
    assert_eq!(still.header("retry-after"), "1");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| running.ask(&key, "GET", &path, &[LONG]));
        slow.asked(1);
        slow.release();
        let seen = waits.join().unwrap();
        assert_eq!((seen.status, &seen.json()["body"]), (200, &json!("done")), "{seen:?}");
        assert_eq!(seen.header("preference-applied"), "wait=60");
    });
    assert_eq!(running.ask(&key, "GET", &path, &[]).status, 200, "it is kept for a while");
    assert_eq!(running.ask(&key, "DELETE", &path, &[]).status, 204);
    running.ask(&key, "GET", &path, &[]).refused(404, "not-found");
}

#[test]
fn what_is_there_in_time_is_the_answer() {
    let service = Service::plain();
    let (running, key) = story(&service);
    let seen = running.call(&key, "look", &[LONG], &json!({ "url": service.base() }));
    assert_eq!((seen.status, seen.header("preference-applied")), (200, "wait=60"), "{seen:?}");
    let failed = running.call(&key, "hostile", &[("prefer", "respond-async, wait=60")], &json!({}));
    failed.refused(502, "connector-failed");
    assert_eq!(failed.header("preference-applied"), "wait=60");
    let not_understood = running.call(&key, "look", &[("prefer", "wait=soon")], &json!({ "url": service.base() }));
    assert_eq!((not_understood.status, not_understood.header("preference-applied")), (200, ""));
}

#[test]
fn a_failure_that_is_fetched_is_the_problem_that_it_was() {
    let (running, key) = story(&Service::plain());
    let path = running.call(&key, "hostile", &[AT_ONCE], &json!({})).header("location").to_owned();
    running.ask(&key, "GET", &path, &[LONG]).refused(502, "connector-failed");
}

#[test]
fn a_call_is_nobody_elses() {
    let slow = Slow::start();
    let (running, key) = story(&slow.service);
    let path = running.call(&key, "look", &[AT_ONCE], &slow.input()).header("location").to_owned();
    slow.asked(1);
    running.attache.run(&["environment", "create", "elsewhere"]).done();
    let others = [
        running.key("other", &["--may", "administer"]),
        running.key("app", &["--may", "call", "--environment", "elsewhere"]),
    ];
    for other in &others {
        for method in ["GET", "DELETE"] {
            let foreign = running.ask(other, method, &path, &[]);
            foreign.refused(404, "not-found");
            let nobodys = running.ask(other, method, "/v1/calls/01234567-89ab-4cde-8f01-23456789abcd", &[]);
            assert_eq!(foreign.text, nobodys.text);
        }
    }
    running.asked("GET", &path, &[], None).refused(401, "denied");
    slow.release();
    assert_eq!(running.ask(&key, "GET", &path, &[LONG]).status, 200);
}

#[test]
fn a_call_that_is_ended_is_not_made_any_further() {
    let slow = Slow::start();
    let (running, key) = story(&slow.service);
    let named = [AT_ONCE, ("idempotency-key", "ended")];
    let path = running.call(&key, "look", &named, &slow.input()).header("location").to_owned();
    slow.asked(1);
    assert_eq!(running.ask(&key, "DELETE", &path, &[]).status, 204);
    let audit = running.attache.data().join("audit.log");
    soon("it never ended", || outcome(&audit).as_deref() == Some("cancelled"));
    running.ask(&key, "GET", &path, &[]).refused(404, "not-found");
    // What has left has left.
    running.call(&key, "look", &named[1..], &slow.input()).refused(409, "outcome-unknown");
    slow.release();
}

#[test]
fn one_caller_leaves_no_more_calls_alone_than_are_good_for_the_others() {
    let slow = Slow::start();
    let (running, key) = story(&slow.service);
    for _ in 0..100 {
        assert_eq!(running.call(&key, "look", &[AT_ONCE], &slow.input()).status, 202);
    }
    let refused = running.call(&key, "look", &[AT_ONCE], &slow.input());
    refused.refused(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), "1");
    let other = running.key("other", &[]);
    assert_eq!(running.call(&other, "look", &[AT_ONCE], &slow.input()).status, 202);
    slow.release();
}
