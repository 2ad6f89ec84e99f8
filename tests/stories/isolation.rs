//! How long an instance lives, and what a call finds in its memory of calls before it.

use attache::{Kind, consent::Isolation};
use attache_tests::{
    Embedded,
    service::{Service, ok},
};
use serde_json::{Value, json};

const PLANTED: &str = "planted-2f9c77aa41";

/// A host with the guest that looks through its memory, and two connections.
fn host(isolation: Isolation, service: &Service) -> Embedded {
    let embedded = Embedded::with("remembers", isolation, |settings| settings.concurrency.value = 2);
    for name in ["mine", "theirs"] {
        embedded.connect(name, "header", service, &[("!key", "story-key-8f1c02")]).unwrap();
    }
    embedded
}

fn found(seen: Result<Value, attache::Error>) -> u64 {
    seen.unwrap()["found"].as_u64().unwrap()
}

fn look() -> Value {
    json!({ "first": &PLANTED[..8], "second": &PLANTED[8..] })
}

fn keep() -> Value {
    json!({ "text": PLANTED })
}

#[test]
fn a_call_finds_nothing_of_another_in_its_memory() {
    let service = Service::plain();
    let embedded = host(Isolation::Call, &service);
    // More calls than there are slots for instances, so that each slot was used before.
    for _ in 0..20 {
        embedded.call("mine", "keep", keep()).unwrap();
        assert_eq!(found(embedded.call("mine", "look", look())), 0);
    }
    // The search does find what is there: the same instance, kept for one connection.
    let embedded = host(Isolation::Connection, &service);
    embedded.call("mine", "keep", keep()).unwrap();
    assert!(found(embedded.call("mine", "look", look())) > 0);
}

#[test]
fn an_instance_that_is_used_again_is_never_another_connections_nor_another_callers() {
    let service = Service::plain();
    let embedded = host(Isolation::Connection, &service);
    embedded.call("mine", "keep", keep()).unwrap();
    assert!(found(embedded.call("mine", "look", look())) > 0);
    assert_eq!(found(embedded.call("theirs", "look", look())), 0);
    assert_eq!(found(embedded.call_as("somebody else", "mine", "look", look())), 0);
    // Connected again, it is another consent.
    embedded.connect("mine", "header", &service, &[("!key", "story-key-8f1c02")]).unwrap();
    assert_eq!(found(embedded.call("mine", "look", look())), 0);
}

#[test]
fn an_instance_is_let_go_after_a_trap_a_timeout_and_a_call_that_was_dropped() {
    let service = Service::start(|request| {
        if request.line.contains("/never") {
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        ok("tester")
    });
    let embedded =
        Embedded::with("remembers", Isolation::Connection, |settings| settings.limits.value.wall_seconds = 1);
    embedded.connect("mine", "header", &service, &[("!key", "story-key-8f1c02")]).unwrap();
    let never = json!({ "url": format!("{}/never", service.base()) });

    assert_eq!(embedded.call("mine", "keep-and-trap", keep()).unwrap_err().kind(), Kind::ConnectorFailed);
    assert_eq!(found(embedded.call("mine", "look", look())), 0);

    embedded.call("mine", "keep", keep()).unwrap();
    assert!(found(embedded.call("mine", "look", look())) > 0);
    assert_eq!(embedded.call("mine", "send", never.clone()).unwrap_err().kind(), Kind::ConnectorLimit);
    assert_eq!(found(embedded.call("mine", "look", look())), 0);

    embedded.call("mine", "keep", keep()).unwrap();
    let before = service.received().len();
    embedded.drop_call("mine", "send", never, || service.received().len() > before);
    assert_eq!(found(embedded.call("mine", "look", look())), 0);
}

#[test]
fn more_calls_at_once_than_may_run_wait_for_their_turn() {
    let service = Service::plain();
    for isolation in [Isolation::Call, Isolation::Connection] {
        let embedded = host(isolation, &service);
        let ended = embedded.call_at_once(40, "mine", "look", &look());
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    }
}

#[test]
fn an_operator_chooses_the_isolation_and_an_upgrade_keeps_it() {
    let attache = crate::machine();
    let show = |name: &str| {
        attache.run(&["connector", "show", name, "--output", "json"]).json()["approval"]["isolation"].clone()
    };
    attache.add("upgrade-a");
    assert_eq!(show("upgrade"), "call");
    attache.run(&["connector", "isolate", "upgrade", "connection"]).done();
    assert_eq!(show("upgrade"), "connection");
    let digest = attache.run(&["connector", "add", &attache_tests::connector("upgrade-b"), "--output", "json"]);
    let digest = digest.refused(4, "--digest").err.split("--digest ").nth(1).unwrap()[..64].to_owned();
    attache.run(&["connector", "add", &attache_tests::connector("upgrade-b"), "--digest", &digest]).done();
    assert_eq!(show("upgrade"), "connection");
    attache.run(&["connector", "isolate", "nothing", "call"]).refused(3, "no connector `nothing`");
    attache.run(&["connector", "isolate", "upgrade", "shared"]).refused(2, "shared");
}
