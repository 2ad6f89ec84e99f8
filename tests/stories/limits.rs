//! Every instance is bounded, and what ends it says which setting did.

use attache_tests::{
    Attache,
    service::{Service, answer},
};
use serde_json::json;

use crate::{connected, machine};

fn greedy(configuration: &str) -> Attache {
    let attache = machine();
    attache.configure(configuration);
    attache.add("greedy");
    attache.run(&["connect", "greedy", "--yes"]).done();
    attache
}

/// Calls an operation that uses something up, and demands the sentence and the setting.
fn exceeds(configuration: &str, operation: &str, sentence: &str, setting: &str) {
    greedy(configuration).try_call("greedy", operation, &json!({})).refused(7, sentence).refused(7, setting);
}

#[test]
fn computing_without_end_is_stopped() {
    exceeds("[limits]\ncompute-seconds = 1\n", "spin", "it computed for more than 1 s", "limits.compute-seconds");
}

#[test]
fn a_call_as_a_whole_is_stopped_too() {
    exceeds("[limits]\nwall-seconds = 1\n", "spin", "it took longer than 1 s", "limits.wall-seconds");
}

#[test]
fn memory_is_bounded() {
    exceeds(
        "[limits]\nmemory-bytes = 8388608\n",
        "grow",
        "it needs more than 8388608 bytes of memory",
        "limits.memory-bytes",
    );
}

#[test]
fn recursion_is_bounded() {
    greedy("").try_call("greedy", "recurse", &json!({})).refused(7, "its stack is full");
}

#[test]
fn a_trap_is_the_connectors_failure() {
    greedy("").try_call("greedy", "trap", &json!({})).refused(7, "The connector trapped");
}

#[test]
fn output_is_bounded() {
    exceeds("[limits]\noutput-bytes = 1000000\n", "huge-output", "over the limit of 1000000", "limits.output-bytes");
}

#[test]
fn calls_of_the_host_are_bounded() {
    exceeds(
        "[limits]\nhost-calls = 500\n",
        "host-calls",
        "it called the host more than 500 times",
        "limits.host-calls",
    );
    exceeds("[limits]\nrequests = 20\n", "requests", "it made more than 20 requests in one call", "limits.requests");
}

#[test]
fn what_is_logged_is_bounded() {
    let attache = greedy("[limits]\nlog-lines = 10\n");
    let outcome = attache.try_call("greedy", "log", &json!({}));
    assert_eq!(outcome.code, Some(0));
    assert_eq!(outcome.err.matches("line ").count(), 10, "{}", outcome.err);
    assert!(outcome.err.contains("logs too much"));
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
