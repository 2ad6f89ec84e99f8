//! Nobody takes the host away from the others: what is too much is refused with when to come again, and nothing breaks.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use attache_tests::service::Service;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    machine,
    mcp::Slow,
    operating::{Answer, Running, connect, start, with_tools},
};

fn story(service: &Service, traffic: &str, more: &[&str]) -> (Running, String) {
    let attache = with_tools(service);
    attache.configure(&format!("[traffic]\n{traffic}\n"));
    let running = start(attache, more);
    let key = running.key("app", &[]);
    (running, key)
}

#[track_caller]
fn too_much(answer: &Answer, setting: &str) {
    answer.refused(429, "rate-limited");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1, "{answer:?}");
    assert!(answer.json()["hint"].as_str().unwrap().contains(setting), "{answer:?}");
}

#[test]
fn whoever_calls_too_often_is_told_when_to_come_again_and_the_others_are_served() {
    let service = Service::plain();
    let (running, key) = story(&service, "caller-per-second = 1\ncaller-burst = 3", &[]);
    let input = json!({ "url": format!("{}/x", service.base()) });
    // A second may pass on a busy machine, and one more with it.
    let named = [("idempotency-key", "beyond")];
    let refused = (0..60).map(|_| running.call(&key, "look", &named, &input)).find(|answer| answer.status == 429);
    too_much(&refused.expect("it was never refused"), "traffic.caller-per-second");
    let made = service.received().len();
    assert_eq!(running.call(&running.key("other", &[]), "look", &[], &input).status, 200);
    assert_eq!(service.received().len(), made + 1, "what is refused does not leave");
    let previewed = "/v1/connections/work/operations/look/preview";
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", &*bearer)];
    let preview = || running.asked("POST", previewed, &headers, Some(&input)).status == 429;
    assert!((0..60).any(|_| preview()), "a preview runs the connector as well");
}

#[test]
fn a_connection_has_so_many_calls_at_once_whoever_makes_them() {
    let slow = Slow::start();
    let (running, key) = story(&slow.service, "connection-at-once = 1", &[]);
    connect(&running.attache, "second", &slow.service);
    let other = running.key("other", &[]);
    thread::scope(|scope| {
        let first = scope.spawn(|| running.call(&key, "look", &[], &slow.input()));
        slow.asked(1);
        let quick = json!({ "url": slow.service.base() });
        too_much(&running.call(&other, "look", &[], &quick), "traffic.connection-at-once");
        assert_eq!(running.call_of(&other, "second", "look", &[], &quick).status, 200);
        slow.release();
        assert_eq!(first.join().unwrap().status, 200);
        assert_eq!(running.call(&other, "look", &[], &quick).status, 200);
    });
}

#[test]
fn a_caller_key_has_so_many_calls_at_once_whichever_connection_they_are_of() {
    let slow = Slow::start();
    let (running, key) = story(&slow.service, "caller-at-once = 1", &[]);
    connect(&running.attache, "second", &slow.service);
    let other = running.key("other", &[]);
    thread::scope(|scope| {
        let first = scope.spawn(|| running.call(&key, "look", &[], &slow.input()));
        slow.asked(1);
        let quick = json!({ "url": slow.service.base() });
        too_much(&running.call_of(&key, "second", "look", &[], &quick), "traffic.caller-at-once");
        assert_eq!(running.call(&other, "look", &[], &quick).status, 200);
        slow.release();
        assert_eq!(first.join().unwrap().status, 200);
        assert_eq!(running.call_of(&key, "second", "look", &[], &quick).status, 200);
    });
}

#[test]
fn a_connection_is_called_so_often_in_a_second_whoever_calls_it_and_a_check_is_a_call() {
    let service = Service::plain();
    let (running, key) = story(&service, "connection-per-second = 1\nconnection-burst = 2", &[]);
    connect(&running.attache, "second", &service);
    let other = running.key("other", &[]);
    let input = json!({ "url": service.base() });
    let in_turn = |number: usize| running.call([&key, &other][number % 2], "look", &[], &input);
    let refused = (0..60).map(in_turn).find(|answer| answer.status == 429);
    too_much(&refused.expect("it was never refused"), "traffic.connection-per-second");
    assert_eq!(running.call_of(&other, "second", "look", &[], &input).status, 200);
    let check = |_| running.ask(&key, "POST", "/v1/connections/work/check", &[]);
    let refused = (0..60).map(check).find(|answer| answer.status == 429);
    too_much(&refused.expect("it was never refused"), "traffic.connection-per-second");
}

#[test]
fn whoever_connects_too_often_is_told_when_to_come_again() {
    let service = Service::plain();
    let (running, _) = story(&service, "caller-per-second = 1\ncaller-burst = 1", &[]);
    let key = running.key("connects", &["--may", "connect", "--may", "administer"]);
    let bearer = format!("Bearer {key}");
    let post = |path: &str, body| running.asked("POST", path, &[("authorization", &bearer)], Some(body));
    let connection = json!({ "connector": "tools", "auth-option": "none", "name": "x" });
    let session = json!({ "connection": connection, "owner": "x", "return-url": "http://127.0.0.1:1/" });
    let proposal = json!({ "proposal": "x" });
    for (path, body) in [
        ("/v1/connections/proposals", &connection),
        ("/v1/connections", &proposal),
        ("/v1/device-authorizations", &proposal),
        ("/v1/device-authorizations/x", &proposal),
        ("/v1/connect-sessions", &session),
        ("/v1/connect-sessions/confirmations", &json!({ "code": "x", "owner": "x" })),
    ] {
        let refused = (0..60).map(|_| post(path, body)).find(|answer| answer.status == 429);
        too_much(&refused.unwrap_or_else(|| panic!("{path} was never refused")), "traffic.caller-per-second");
    }
}

#[test]
fn a_host_that_is_asked_for_more_than_it_takes_refuses_and_goes_on() {
    let service = Service::plain();
    let (running, key) = story(&service, "host-at-once = 2", &[]);
    let (done, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let input = json!({ "url": service.base() });
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let answer = running.call(&key, "look", &[], &input);
                    match answer.status {
                        200 => done.fetch_add(1, Ordering::Relaxed),
                        429 => refused.fetch_add(1, Ordering::Relaxed),
                        _ => panic!("{answer:?}"),
                    };
                }
            });
        }
    });
    let (done, refused) = (done.into_inner(), refused.into_inner());
    assert!(done > 0 && refused > 0 && done + refused == 160, "{done} done, {refused} refused");
    assert_eq!(running.asked("GET", "/readyz", &[], None).status, 200);
    assert_eq!(running.call(&key, "look", &[], &input).status, 200);
}

#[test]
fn whoever_tries_keys_is_slowed_down_and_nobody_else_is() {
    let service = Service::plain();
    let (running, key) = story(&service, "unknown-keys-per-minute = 3", &[]);
    let tries = |more: &[(&str, &str)]| running.ask("attache_x_y", "GET", "/v1/connections", more);
    for _ in 0..3 {
        assert_eq!(tries(&[]).status, 401);
    }
    too_much(&tries(&[]), "traffic.unknown-keys-per-minute");
    too_much(&tries(&[("x-forwarded-for", "192.0.2.1")]), "traffic.unknown-keys-per-minute");
    let agent = reqwest::blocking::Client::new().post(format!("{}/mcp", running.url)).bearer_auth("attache_x_y");
    let agent = agent.body("{}").send().unwrap();
    assert_eq!(agent.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(agent.headers().contains_key("retry-after"));
    // From the very same address.
    assert_eq!(running.ask(&key, "GET", "/v1/connections", &[]).status, 200);
}

#[test]
fn behind_a_proxy_strangers_are_told_apart_by_what_it_says_and_not_by_what_they_say() {
    let service = Service::plain();
    let (running, _) = story(&service, "unknown-keys-per-minute = 1", &["--behind-proxy"]);
    let tries = |address: &str| running.ask("attache_x_y", "GET", "/v1/connections", &[("x-forwarded-for", address)]);
    assert_eq!(tries("192.0.2.1").status, 401);
    assert_eq!(tries("192.0.2.1").status, 429);
    assert_eq!(tries("203.0.113.9, 192.0.2.1").status, 429, "the stranger wrote the first one");
    assert_eq!(tries("192.0.2.2").status, 401);
}

#[test]
fn a_body_that_is_larger_than_an_input_may_be_is_not_read() {
    let service = Service::plain();
    let attache = with_tools(&service);
    attache.configure("[limits]\ninput-bytes = 1000\n");
    let running = start(attache, &[]);
    let key = running.key("app", &["--may", "administer"]);
    let large = json!({ "url": service.base(), "body": "x".repeat(100_000) });
    let refused = running.call(&key, "look", &[], &large);
    assert!(refused.refused(422, "invalid-input").contains("larger than this host takes"), "{refused:?}");
    let bearer = format!("Bearer {key}");
    let caller = json!({ "name": "x".repeat(100_000), "permissions": [] });
    let refused = running.asked("POST", "/v1/callers", &[("authorization", &bearer)], Some(&caller));
    refused.refused(422, "invalid-input");
}

#[test]
fn what_lets_nobody_in_is_no_setting() {
    let attache = machine();
    attache.configure("[traffic]\ncaller-at-once = 0\n");
    attache.run(&["config", "show"]).refused(2, "`traffic.caller-at-once` is 0");
    attache.configure("[traffic]\ncaller-at-once = 7\n");
    let shown = attache.run(&["config", "show", "--output", "json"]).json();
    assert_eq!(shown["traffic.caller-at-once"], json!({ "value": 7, "source": "file" }));
    assert_eq!(shown["traffic.host-at-once"]["value"], 4096);
}
