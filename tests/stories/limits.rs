//! Every instance is bounded, and what ends it says which setting did.

use std::{fs, os::unix::net::UnixStream, time::Duration};

use attache::{Kind, consent::Isolation, runtime::Limits};
use attache_tests::{
    Attache, Embedded, connector,
    service::{Service, answer},
};
use serde_json::json;

use crate::{connected, machine, mcp::soon};

fn greedy(configuration: &str) -> Attache {
    let attache = machine();
    attache.configure(configuration);
    attache.add("greedy");
    attache.run(&["connect", "greedy", "--yes"]).done();
    attache
}

const BOTH: [Isolation; 2] = [Isolation::Call, Isolation::Connection];

/// Calls an operation that uses something up, again and again, in both isolations, and demands the sentence and the setting; what
/// uses up nothing works before and after.
fn exceeds(limit: fn(&mut Limits), operation: &str, sentence: &str, setting: &str) {
    for isolation in BOTH {
        let embedded = Embedded::with("greedy", isolation, |settings| limit(&mut settings.limits.value));
        embedded.connect_bare("greedy", "none").unwrap();
        for _ in 0..2 {
            embedded.call("greedy", "wait", json!({})).unwrap();
            let stopped = embedded.call("greedy", operation, json!({})).unwrap_err();
            assert_eq!(stopped.kind(), Kind::ConnectorLimit, "{stopped}");
            assert_eq!(stopped.message(), format!("The connector was stopped: {sentence}."));
            let mend = format!("Raise `limits.{setting}` in attache.toml if that is too little for it.");
            assert_eq!(stopped.mend(), Some(&*mend));
        }
        embedded.call("greedy", "wait", json!({})).unwrap();
    }
}

#[test]
fn what_a_limit_ends_is_the_connectors_failure_and_names_the_setting() {
    greedy("[limits]\nrequests = 20\n")
        .try_call("greedy", "requests", &json!({}))
        .refused(7, "it made more than 20 requests in one call")
        .refused(7, "limits.requests");
}

#[test]
fn computing_without_end_is_stopped() {
    exceeds(|it| it.compute_seconds = 1, "spin", "it computed for more than 1 s", "compute-seconds");
}

/// A service that takes longer than a tick of the engine's.
fn slow() -> Service {
    Service::start(|_| {
        std::thread::sleep(Duration::from_millis(11));
        answer(200, &[], "jo")
    })
}

#[test]
fn waiting_for_a_service_is_not_computing() {
    // Regression: each answer that took longer than a tick counted as a tick of computing, so that a hundred of them were a second.
    let service = slow();
    let attache = connected(&service);
    attache.configure("[limits]\ncompute-seconds = 1\n");
    let sent = attache.call("echo", "send", &json!({ "url": service.base(), "times": 150 }));
    assert_eq!(sent["status"], 200, "{sent}");
    // One more came as it was connected.
    assert_eq!(service.received().len(), 1 + 150);
}

#[test]
fn computing_that_begins_with_a_wait_is_stopped_too() {
    let (service, attache) = (slow(), machine());
    attache.configure("[limits]\ncompute-seconds = 1\n");
    attache.add("waits");
    let (base, authority) = (format!("base={}", service.base()), service.authority());
    attache.run(&["connect", "waits", "--set", &base, "--allow-private", &authority, "--yes"]).done();
    attache.try_call("waits", "spin", &json!({})).refused(7, "it computed for more than 1 s");
}

#[test]
fn a_call_as_a_whole_is_stopped_too() {
    exceeds(|it| it.wall_seconds = 1, "spin", "it took longer than 1 s", "wall-seconds");
}

#[test]
fn memory_is_bounded() {
    exceeds(|it| it.memory_bytes = 8 << 20, "grow", "it needs more than 8388608 bytes of memory", "memory-bytes");
}

/// The greedy guest with one more core module in it, which is run as an instance is made, and makes its table so large.
fn with_table(elements: u32) -> Vec<u8> {
    let module = wat::parse_str(format!(
        "(module (table 1 funcref) (func $grow (drop (table.grow 0 (ref.null func) (i32.const {elements})))) (start $grow))"
    ));
    let module = module.unwrap();
    let mut bytes = fs::read(connector("greedy")).unwrap();
    // Behind the preamble, sections: each its kind and its length. A core module is a section of its own, of kind 1.
    let (mut at, mut modules) = (8, 0);
    while at < bytes.len() {
        modules += u32::from(bytes[at] == 1);
        let (length, past) = leb128(&bytes[at + 1..]);
        at += 1 + past + length;
    }
    let mut section = |kind: u8, content: &[u8]| {
        bytes.push(kind);
        bytes.extend(to_leb128(content.len()));
        bytes.extend(content);
    };
    section(1, &module);
    // One core instance: of that module, with no arguments.
    section(2, &[&[1, 0], &*to_leb128(modules as usize), &[0]].concat());
    bytes
}

fn leb128(bytes: &[u8]) -> (usize, usize) {
    let past = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    (bytes[..past].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f)), past)
}

fn to_leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn tables_are_bounded() {
    let attache = machine();
    let file = attache.file("large.wasm", with_table(60_000));
    attache
        .run(&["connector", "add", &file, "--yes"])
        .refused(7, "it needs more than 50000 table elements")
        .refused(7, "Raise `limits.table-elements`");
    let file = attache.file("small.wasm", with_table(40_000));
    attache.run(&["connector", "add", &file, "--yes"]).done();
    attache.run(&["connect", "greedy", "--yes"]).done();
    for isolation in ["call", "connection"] {
        attache.run(&["connector", "isolate", "greedy", isolation]).done();
        attache.configure("");
        attache.call("greedy", "wait", &json!({}));
        attache.configure("[limits]\ntable-elements = 39999\n");
        attache
            .try_call("greedy", "wait", &json!({}))
            .refused(7, "The connector was stopped: it needs more than 39999 table elements.")
            .refused(7, "Raise `limits.table-elements` in attache.toml");
    }
}

#[test]
fn recursion_and_other_traps_are_the_connectors_failure() {
    for isolation in BOTH {
        let embedded = Embedded::new("greedy", isolation);
        embedded.connect_bare("greedy", "none").unwrap();
        for (operation, sentence) in [("recurse", "The connector trapped"), ("trap", "The connector trapped")] {
            for _ in 0..2 {
                let failed = embedded.call("greedy", operation, json!({})).unwrap_err();
                assert_eq!(failed.kind(), Kind::ConnectorFailed, "{failed}");
                assert!(failed.message().contains(sentence), "{failed}");
                let stack = failed.mend().is_some_and(|mend| mend.contains("its stack is full"));
                assert_eq!(stack, operation == "recurse", "{failed}");
            }
        }
        embedded.call("greedy", "wait", json!({})).unwrap();
    }
}

#[test]
fn output_is_bounded() {
    let has = 2 + (3 << 20);
    let sentence = format!("its answer has {has} bytes, over the limit of 1000000");
    exceeds(|it| it.output_bytes = 1_000_000, "huge-output", &sentence, "output-bytes");
}

#[test]
fn calls_of_the_host_are_bounded() {
    exceeds(|it| it.host_calls = 500, "host-calls", "it called the host more than 500 times", "host-calls");
    exceeds(|it| it.requests = 20, "requests", "it made more than 20 requests in one call", "requests");
}

#[test]
fn what_is_logged_is_bounded_in_each_call() {
    for isolation in ["call", "connection"] {
        let attache = greedy("[limits]\nlog-lines = 10\n");
        attache.run(&["connector", "isolate", "greedy", isolation]).done();
        let mut host = attache.begin(&["serve", "--listen", "127.0.0.1:0"]);
        soon("it never listened", || UnixStream::connect(attache.data().join("attache.sock")).is_ok());
        for _ in 0..3 {
            attache.call("greedy", "log", &json!({}));
        }
        host.kill();
        let said = host.ended().err;
        assert_eq!(said.matches("line ").count(), 30, "{isolation}: {said}");
        assert_eq!(said.matches("logs too much").count(), 3, "{isolation}: {said}");
    }
}

#[test]
fn input_is_bounded() {
    let attache = greedy("[limits]\ninput-bytes = 100\n");
    let long = json!({ "a": "x".repeat(200) });
    attache.try_call("greedy", "wait", &long).refused(2, "limits.input-bytes");
    attache
        .run_with_input(&["call", "greedy", "wait", "--input", "-"], long.to_string())
        .refused(2, "more than 100 bytes");
}

#[test]
fn bodies_are_bounded_both_ways() {
    let service = Service::start(|request| match request.line.contains("/large") {
        true => answer(200, &[], &"x".repeat(2_000_000)),
        false => answer(200, &[], "jo"),
    });
    let attache = connected(&service);
    attache.configure("[limits]\nresponse-bytes = 1000000\nrequest-bytes = 1000\ntotal-response-bytes = 1500000\n");
    let large = attache.call("echo", "send", &json!({ "url": format!("{}/large", service.base()) }));
    assert_eq!(large["error"], "too-large", "{large}");
    let sent =
        attache.call("echo", "send", &json!({ "url": service.base(), "method": "POST", "body": "x".repeat(2000) }));
    assert_eq!(sent["error"], "too-large", "{sent}");
    attache.configure("[limits]\ntotal-response-bytes = 5000000\n");
    attache
        .try_call("echo", "send", &json!({ "url": format!("{}/large", service.base()), "times": 5 }))
        .refused(7, "more than 5000000 bytes of answers");
}
