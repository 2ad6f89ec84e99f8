//! `Idempotency-Key`: a call is made once, however often it is asked for, and whatever happens to the host meanwhile.

use std::thread;

use attache::{
    call::Call,
    consent::Isolation,
    manifest::Effects,
    once::{KEPT_SECONDS, Name},
};
use attache_tests::{
    Canary, Embedded,
    service::{Service, answer, ok},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    KEY,
    mcp::{Slow, soon},
    operating::{Running, connect, start, with_tools},
};

pub(crate) const NAME: (&str, &str) = ("idempotency-key", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"");

/// A host with the connection `work` and a key for an application.
fn story(service: &Service) -> (Running, String) {
    let running = start(with_tools(service), &[]);
    let key = running.key("app", &["--allow", "write"]);
    (running, key)
}

fn posted(service: &Service) -> usize {
    service.received().iter().filter(|request| request.line.starts_with("POST")).count()
}

fn post(service: &Service, body: &str) -> Value {
    json!({ "url": format!("{}/letters", service.base()), "method": "POST", "body": body })
}

#[test]
fn a_call_that_is_asked_for_again_is_not_made_again() {
    let service = Service::start(|request| ok(&format!("took {}", String::from_utf8_lossy(&request.body))));
    let (running, key) = story(&service);
    let first = running.call(&key, "change", &[NAME], &post(&service, "a"));
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, ""), "{first:?}");
    for again in [NAME, ("idempotency-key", NAME.1.trim_matches('"'))] {
        let again = running.call(&key, "change", &[again], &post(&service, "a"));
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"), "{again:?}");
        assert_eq!(again.text, first.text);
    }
    let other = running.call(&key, "change", &[NAME], &post(&service, "b"));
    assert!(other.refused(422, "invalid-input").contains("another input"));
    assert_eq!(posted(&service), 1);
    // Without one, or with another, it is another call.
    running.call(&key, "change", &[], &post(&service, "a"));
    running.call(&key, "change", &[("idempotency-key", "other")], &post(&service, "a"));
    assert_eq!(posted(&service), 3);
}

#[test]
fn a_failure_is_told_again_too_and_what_was_refused_before_may_be_mended() {
    let service = Service::plain();
    let (running, key) = story(&service);
    let first = running.call(&key, "hostile", &[NAME], &json!({}));
    first.refused(502, "connector-failed");
    let again = running.call(&key, "hostile", &[NAME], &json!({}));
    again.refused(502, "connector-failed");
    assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text));
    let ended = running.attache.run(&["audit", "list", "--output", "json", "--event", "call-ended"]).json();
    assert_eq!(ended.as_array().unwrap().len(), 1, "{ended}");
    // Nothing was called with that: the same name is good for the input that fits.
    running.call(&key, "look", &[NAME], &json!({ "wrong": 1 })).refused(422, "invalid-input");
    let seen = running.call(&key, "look", &[NAME], &json!({ "url": service.base() }));
    assert_eq!((seen.status, seen.header("idempotency-replayed")), (200, ""), "{seen:?}");
}

#[test]
fn a_call_that_is_under_way_is_said_to_be_and_goes_on_when_nobody_waits() {
    let slow = Slow::start();
    let (running, key) = story(&slow.service);
    thread::scope(|scope| {
        let first = scope.spawn(|| running.call(&key, "look", &[NAME], &slow.input()));
        slow.asked(1);
        let second = running.call(&key, "look", &[NAME], &slow.input());
        assert!(second.refused(409, "already-exists").contains("under way"));
        assert_eq!(second.header("retry-after"), "1");
        // Somebody who goes away in the middle.
        let address = running.url.trim_start_matches("http://").to_owned();
        let mut gone = std::net::TcpStream::connect(address).unwrap();
        let input = slow.input().to_string();
        let head =
            "POST /v1/connections/work/operations/look HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
        let more = format!("Idempotency-Key: gone\r\nAuthorization: Bearer {key}\r\nContent-Length: {}", input.len());
        std::io::Write::write_all(&mut gone, format!("{head}{more}\r\n\r\n{input}").as_bytes()).unwrap();
        slow.asked(2);
        drop(gone);
        slow.release();
        assert_eq!(first.join().unwrap().status, 200);
        soon("it was given up", || {
            running.call(&key, "look", &[("idempotency-key", "gone")], &slow.input()).status == 200
        });
    });
    slow.asked(2);
    let again = running.call(&key, "look", &[NAME], &slow.input());
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"), "{again:?}");
}

#[test]
fn after_a_crash_in_the_middle_it_is_said_that_nobody_knows_and_nothing_is_called_again() {
    let slow = Slow::start();
    let (mut running, key) = story(&slow.service);
    let done = running.call(&key, "look", &[("idempotency-key", "done")], &json!({ "url": slow.service.base() }));
    thread::scope(|scope| {
        let url = running.url.clone();
        let (input, sent) = (slow.input().to_string(), key.clone());
        let lost = scope.spawn(move || {
            let request = reqwest::blocking::Client::new().post(format!("{url}/v1/connections/work/operations/look"));
            let request = request.bearer_auth(sent).header(NAME.0, NAME.1).header("content-type", "application/json");
            request.body(input).send().is_err()
        });
        slow.asked(1);
        running.crash(&[]);
        assert!(lost.join().unwrap());
    });
    for _ in 0..2 {
        let unknown = running.call(&key, "look", &[NAME], &slow.input());
        assert!(unknown.refused(409, "outcome-unknown").contains("not known whether it was made"));
        assert!(unknown.json()["hint"].as_str().unwrap().contains("new Idempotency-Key"), "{unknown:?}");
        running.crash(&[]);
    }
    slow.asked(1);
    let again = running.call(&key, "look", &[("idempotency-key", "done")], &json!({ "url": slow.service.base() }));
    assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &done.text), "what ended is on disk");
    running.stop();
    let checked = running.attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]), "{checked}");
}

#[test]
fn what_somebody_else_calls_by_the_same_name_is_another_call() {
    let service = Service::plain();
    let (running, key) = story(&service);
    connect(&running.attache, "other", &service);
    let input = post(&service, "a");
    let stranger = running.key("stranger", &["--allow", "write"]);
    for answer in [
        running.call(&key, "change", &[NAME], &input),
        running.call(&stranger, "change", &[NAME], &input),
        running.call_of(&key, "other", "change", &[NAME], &input),
    ] {
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, ""), "{answer:?}");
    }
    // Nor is it told whether there is one: another input is no conflict with somebody else's.
    let answer = running.call(&running.key("third", &["--allow", "write"]), "change", &[NAME], &post(&service, "b"));
    assert_eq!((answer.status, posted(&service)), (200, 4), "{answer:?}");
    // A key of the same name that is made later is another one.
    running.attache.run(&["caller", "revoke", "app"]).done();
    let renewed = running.key("app", &["--allow", "write"]);
    assert_eq!(running.call(&renewed, "change", &[NAME], &input).header("idempotency-replayed"), "");
}

#[test]
fn a_name_that_is_none_is_refused() {
    let service = Service::plain();
    let (running, key) = story(&service);
    let long = "x".repeat(256);
    for bad in ["", "\"\"", "a b", "a,b", "\"a", &long] {
        running.call(&key, "change", &[("idempotency-key", bad)], &post(&service, "a")).refused(400, "usage");
    }
    let twice = running.call(&key, "change", &[NAME, NAME], &post(&service, "a"));
    assert!(twice.refused(400, "usage").contains("twice"));
    assert_eq!(posted(&service), 0);
}

#[test]
fn what_is_kept_of_a_call_is_sealed() {
    let (sent, came) = (Canary::new("canary-5d41402abc4b2a76"), Canary::new("canary-7c4a8d09ca3762af"));
    let answers = came.secret.clone();
    let service = Service::start(move |_| answer(200, &[], &answers));
    let (running, key) = story(&service);
    let seen = running.call(&key, "change", &[NAME], &post(&service, &sent.secret));
    assert!(seen.text.contains(&came.secret), "{seen:?}");
    assert_eq!(running.call(&key, "change", &[NAME], &post(&service, &sent.secret)).text, seen.text);
    sent.is_not_below(&running.attache.data());
    came.is_not_below(&running.attache.data());
}

#[test]
fn what_came_of_a_call_is_kept_for_a_day() {
    let service = Service::plain();
    let embedded = Embedded::new("echo", Isolation::Call);
    let connection = embedded.connect("work", "header", &service, &[("!key", KEY)]).unwrap();
    let call = Call {
        environment: "default".into(),
        connection: "work".into(),
        id: None,
        operation: "send".into(),
        input: json!({ "url": format!("{}/a", service.base()) }),
        caller: "app".into(),
    };
    let name = Name { holder: "app".into(), key: NAME.1.into() };
    let replayed = || {
        let host = embedded.shared_host();
        let told = host.call_once(&call, connection.id, Effects::all(), &name);
        let told = embedded.block_on(told).unwrap();
        assert_eq!(told.result.unwrap()["status"], 200);
        told.replayed
    };
    let began = Timestamp::now();
    let after = |seconds: i64| embedded.host().forget_calls(began + SignedDuration::from_secs(seconds)).unwrap();
    assert!(!replayed());
    after(KEPT_SECONDS - 1);
    assert!(replayed(), "it is not kept so long");
    after(KEPT_SECONDS + 60);
    assert!(!replayed(), "it is kept for ever");
    let asked = service.received().iter().filter(|it| it.line.contains("/a")).count();
    assert_eq!(asked, 2);
}
