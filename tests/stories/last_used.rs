//! When a connection was last used is known however long the audit is, while a host runs and afterwards, and no call waits for
//! that it is written.

use std::fs;

use attache_tests::{Attache, service::Service};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    connect, connected,
    console::{Console, shows},
    mcp::soon,
    operating::{self, start, with_tools},
};

/// When it was, as the command line tells; none for never.
#[track_caller]
fn last_used(attache: &Attache, name: &str) -> Option<Timestamp> {
    let shown = attache.run(&["connection", "show", name, "--output", "json"]).json()["connection"].take();
    let listed = attache.run(&["connection", "list", "--output", "json"]).json();
    let listed = listed.as_array().unwrap().iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(listed["last-used"], shown["last-used"], "the list says the same");
    shown["last-used"].as_str().map(|at| at.parse().unwrap())
}

/// Demands that it was just now, to the second.
#[track_caller]
fn is_of(at: Option<Timestamp>, began: Timestamp) {
    let at = at.expect("it was used");
    assert!(began.as_second() <= at.as_second() && at <= Timestamp::now(), "{began} {at}");
}

/// How many commits of the store are on the disk.
fn commits(attache: &Attache) -> u64 {
    fs::read_to_string(attache.data().join("store/commits")).unwrap().trim().parse().unwrap()
}

fn findings(attache: &Attache) -> Value {
    attache.run(&["store", "check", "--output", "json"]).json()["findings"].take()
}

#[test]
fn a_command_that_calls_writes_it_with_what_it_writes_anyway() {
    let service = Service::plain();
    let attache = connected(&service);
    assert_eq!(last_used(&attache, "echo"), None, "a check is no use of it");
    let listed = attache.run(&["connection", "list"]).done();
    assert!(listed.contains("LAST USED") && listed.contains("never"), "{listed}");
    let (before, began) = (commits(&attache), Timestamp::now());
    attache.call("echo", "send", &json!({ "url": service.base() }));
    assert_eq!(commits(&attache), before + 1, "the disk is waited for once");
    let used = last_used(&attache, "echo");
    is_of(used, began);
    let shown = attache.run(&["connection", "show", "echo"]).done();
    assert!(shown.contains(&format!("last used {}", used.unwrap())), "{shown}");
    // One that fails is a use of it too; what is refused before it runs, or only shown, is none.
    connect(&attache, "header", &service, &["--name", "other"]).done();
    attache.run(&["call", "other", "send", "--input", "{}"]).refused(2, "does not fit");
    let input = json!({ "url": service.base() }).to_string();
    attache.run(&["call", "other", "send", "--input", &input, "--dry-run"]).done();
    attache.run(&["connection", "check", "other"]).done();
    assert_eq!(last_used(&attache, "other"), None);
    attache.try_call("other", "fail", &json!({ "with": "other" })).refused(7, "The connector failed");
    is_of(last_used(&attache, "other"), began);
}

#[test]
fn it_stays_when_a_connection_is_connected_anew_and_goes_with_it_when_it_is_removed() {
    let service = Service::plain();
    let attache = connected(&service);
    attache.call("echo", "connection", &json!({}));
    let used = last_used(&attache, "echo");
    attache.run(&["connection", "reconnect", "echo", "--secret", "key=env:STORY_KEY", "--yes"]).done();
    assert!(used.is_some() && last_used(&attache, "echo") == used, "{used:?}");
    attache.run(&["connection", "remove", "echo", "--yes"]).done();
    assert_eq!(findings(&attache), json!([]), "nothing of it is left");
    connect(&attache, "header", &service, &[]).done();
    assert_eq!(last_used(&attache, "echo"), None, "another of the same name was not used");
}

#[test]
fn a_host_that_runs_tells_it_at_once_writes_it_now_and_then_and_all_of_it_when_it_stops() {
    let service = Service::plain();
    let attache = with_tools(&service);
    for name in ["second", "third"] {
        operating::connect(&attache, name, &service);
    }
    let mut running = start(attache, &[]);
    let key = running.key("app", &[]);
    let call = |running: &operating::Running, name: &str| {
        assert_eq!(running.call_of(&key, name, "look", &[], &json!({ "url": service.base() })).status, 200);
    };
    let (before, began) = (commits(&running.attache), Timestamp::now());
    call(&running, "work");
    is_of(last_used(&running.attache, "work"), began);
    soon("it is never written", || commits(&running.attache) > before);
    let (written, shown) = (commits(&running.attache), last_used(&running.attache, "work"));
    // One after the other so soon is told as quickly, and is written with the next ones.
    call(&running, "second");
    is_of(last_used(&running.attache, "second"), began);
    assert_eq!(commits(&running.attache), written, "no call writes it");
    running.crash(&[]);
    assert_eq!(last_used(&running.attache, "work"), shown, "it was on the disk");
    call(&running, "second");
    soon("it is never written", || commits(&running.attache) > written);
    call(&running, "third");
    running.stop();
    is_of(last_used(&running.attache, "third"), began);
    assert_eq!(findings(&running.attache), json!([]));
}

#[test]
fn the_console_tells_it_however_much_was_audited_since() {
    let service = Service::plain();
    let attache = connected(&service);
    attache.call("echo", "connection", &json!({}));
    // As if another connection had been called for a long time since.
    let line = format!("{{\"event\":\"call-ended\",\"connection\":\"other\",\"x\":\"{}\"}}\n", "y".repeat(1_000));
    let audit = attache.data().join("audit.log");
    let whole = fs::read(&audit).unwrap();
    let console = {
        let last = whole.split_inclusive(|byte| *byte == b'\n').next_back().unwrap();
        fs::write(&audit, [&whole[..], line.repeat(34_000).as_bytes(), last].concat()).unwrap();
        Console::of(attache)
    };
    let steps = [
        json!({ "follow": "Connections" }),
        json!({ "look": "connections" }),
        json!({ "follow": "echo" }),
        json!({ "look": "connection" }),
    ];
    let seen = console.go("console-last-used", false, &steps);
    shows(&seen, "connections", &["just now"]);
    shows(&seen, "connection", &["just now"]);
}
