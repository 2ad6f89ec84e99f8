//! How long an instance lives, and what a call finds in its memory of calls before it.

use std::thread;

use attache::{Kind, call::Call, consent::Isolation, secret::Secret, transport::PrivateAllowed};
use attache_tests::{
    Embedded,
    service::{Service, ok},
};
use serde_json::{Value, json};

use crate::{KEY, connecting, mcp::Slow};

const PLANTED: &str = "planted-2f9c77aa41";

/// A host with the guest that looks through its memory, and two connections.
fn host(isolation: Isolation, service: &Service) -> Embedded {
    let embedded = Embedded::with("remembers", isolation, |settings| settings.concurrency.value = 2);
    for name in ["mine", "theirs"] {
        embedded.connect(name, "header", service, &[("!key", KEY)]).unwrap();
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
    embedded.connect("mine", "header", &service, &[("!key", KEY)]).unwrap();
    assert_eq!(found(embedded.call("mine", "look", look())), 0);
}

/// Makes the connection `mine`, or makes it anew.
fn connect(embedded: &Embedded, service: &Service, key: &str) {
    embedded.connect("mine", "header", service, &[("!key", key)]).unwrap();
}

/// The same connector in other bytes: a section that means nothing stands behind it.
pub(crate) fn other_bytes_of(guest: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(attache_tests::connector(guest)).unwrap();
    bytes.extend([0, 3, 1, b'x', b'!']);
    bytes
}

#[test]
fn an_instance_is_not_used_again_once_anything_that_it_was_kept_for_is_another() {
    type Change = fn(&Embedded, &Service);
    let changes: [(&str, Change); 5] = [
        ("the bytes of the connector", |embedded, _| {
            let host = embedded.host();
            embedded.block_on(async {
                let proposal = host.propose_connector("default", other_bytes_of("remembers")).await.unwrap();
                host.approve_connector(&proposal, None, "tester").unwrap();
            });
        }),
        ("the secret", |embedded, service| connect(embedded, service, "another-key-55aa1")),
        ("a setting", |embedded, _| connect(embedded, &Service::plain(), KEY)),
        ("the consent, which is the same again", |embedded, service| connect(embedded, service, KEY)),
        ("the consent, which was taken back", |embedded, service| {
            embedded.block_on(embedded.host().revoke_consent("default", "mine", "tester")).unwrap();
            embedded.call("mine", "look", look()).unwrap_err();
            connect(embedded, service, KEY);
        }),
    ];
    for (what, change) in changes {
        let service = Service::plain();
        let embedded = Embedded::new("remembers", Isolation::Connection);
        connect(&embedded, &service, KEY);
        embedded.call("mine", "keep", keep()).unwrap();
        assert!(found(embedded.call("mine", "look", look())) > 0, "{what}");
        change(&embedded, &service);
        assert_eq!(found(embedded.call("mine", "look", look())), 0, "{what}");
        // It is kept for what it is now.
        embedded.call("mine", "keep", keep()).unwrap();
        assert!(found(embedded.call("mine", "look", look())) > 0, "{what}");
    }
}

#[test]
fn an_instance_that_rests_after_its_connection_was_made_anew_is_nobodys() {
    let slow = Slow::start();
    let embedded = Embedded::new("remembers", Isolation::Connection);
    connect(&embedded, &slow.service, KEY);
    embedded.call("mine", "keep", keep()).unwrap();
    // It goes on for a while after its request was ended, so that it comes to rest when all that rested was let go.
    let mut input = slow.input();
    input["times"] = 100.into();
    thread::scope(|scope| {
        let under_way = scope.spawn(|| embedded.call("mine", "send", input));
        slow.asked(1);
        connect(&embedded, &slow.service, KEY);
        slow.release();
        // It ends with what became of its request, and so it rests.
        under_way.join().unwrap().unwrap();
    });
    assert_eq!(found(embedded.call("mine", "look", look())), 0);
}

#[test]
fn a_connection_of_the_same_name_elsewhere_has_instances_of_its_own() {
    let service = Service::plain();
    let embedded = host(Isolation::Connection, &service);
    embedded.host().create_environment("elsewhere").unwrap();
    embedded.block_on(async {
        let bytes = std::fs::read(attache_tests::connector("remembers")).unwrap();
        let proposal = embedded.host().propose_connector("elsewhere", bytes).await.unwrap();
        embedded.host().approve_connector(&proposal, Some(Isolation::Connection), "tester").unwrap();
    });
    let mut request = embedded.request("mine", "header").unwrap();
    (request.environment, request.again) = ("elsewhere".into(), false);
    request.private = PrivateAllowed::parse([service.authority()]).unwrap();
    request.parameters.insert("base".into(), service.base());
    request.secrets.insert("key".into(), Secret::new(KEY));
    embedded.make(request).unwrap();
    embedded.call("mine", "keep", keep()).unwrap();
    assert!(found(embedded.call("mine", "look", look())) > 0);
    let call = Call {
        environment: "elsewhere".into(),
        connection: "mine".into(),
        id: None,
        operation: "look".into(),
        input: look(),
        caller: "tester".into(),
    };
    assert_eq!(found(embedded.block_on(embedded.host().call(&call))), 0);
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
    embedded.connect("mine", "header", &service, &[("!key", KEY)]).unwrap();
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
    connecting::upgrade(&attache);
    assert_eq!(show("upgrade"), "connection");
    attache.run(&["connector", "isolate", "nothing", "call"]).refused(3, "no connector `nothing`");
    attache.run(&["connector", "isolate", "upgrade", "shared"]).refused(2, "shared");
}
