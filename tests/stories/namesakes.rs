//! A connection that takes the name of one that was removed is another, whatever was asked for by that name before.

use attache_tests::{
    mcp::{McpClient, Sdk},
    service::Service,
};
use serde_json::json;

use crate::{
    held_back::HeldBack,
    mcp_keys,
    operating::{Running, connect, start, with_tools},
};

/// A host with the connection `work`, and a key for it alone.
fn story() -> (Service, Running, String) {
    let service = Service::plain();
    let running = start(with_tools(&service), &[]);
    let key = running.key("confined", &["--connection", "work"]);
    (service, running, key)
}

/// Another `work`, after the first.
#[track_caller]
fn replace(running: &Running, service: &Service) {
    running.attache.run(&["connection", "remove", "work", "--yes"]).done();
    connect(&running.attache, "work", service);
}

#[test]
fn a_key_for_one_connection_calls_no_other_that_took_its_name_while_the_input_was_held_back() {
    // Regression: which connection it is was found out before the input was read, and it was called by its name afterwards.
    let (service, running, key) = story();
    let input = json!({ "url": service.base() });
    let id =
        running.ask(&key, "GET", "/v1/connections/work", &[]).json()["connection"]["id"].as_str().unwrap().to_owned();
    let nobodys = running.call_of(&key, "nobody", "look", &[], &input);
    nobodys.refused(404, "not-found");
    let held = || {
        let begin = |named: &str, rest: &str, more: &str| {
            let line = format!("POST /v1/connections/{named}/operations/look{rest}");
            HeldBack::json(&running, &key, &line, more, &input)
        };
        let once = "Idempotency-Key: one\r\n";
        [begin("work", "", ""), begin(&id, "", ""), begin("work", "/preview", ""), begin("work", "", once)]
    };
    let (first, second) = (held(), held());
    replace(&running, &service);
    let before = service.received().len();
    let refused = |held: [HeldBack; 4]| {
        for request in held {
            assert_eq!(request.finish(), (404, nobodys.text.replace("nobody", "work")));
        }
    };
    refused(first);
    // Nor is it told how the other one is.
    running.attache.run(&["consent", "revoke", "work"]).done();
    refused(second);
    assert_eq!(service.received().len(), before, "another connection was called");
}

#[test]
fn an_agent_for_one_connection_calls_no_other_that_took_its_name() {
    // Regression: an offer named connections, as they were called before the message was read.
    let (service, running, key) = story();
    let session = mcp_keys::session(&running, &key);
    let more = format!("Accept: application/json, text/event-stream\r\nMcp-Session-Id: {session}\r\n");
    let message = mcp_keys::call("work_look", &json!({ "url": service.base() }));
    let held = HeldBack::json(&running, &key, "POST /mcp", &more, &message);
    let mut beside = McpClient::stdio(Sdk::Npm, &running.attache, &["--connection", "work"]);
    assert!(beside.names().contains(&"work_look".to_owned()));
    replace(&running, &service);
    let before = service.received().len();
    let (_, told) = held.finish();
    assert!(told.contains("There is no tool `work_look`"), "{told}");
    assert_eq!(service.received().len(), before, "another connection was called");
    // Nor is it offered by a command that named the first one.
    assert_eq!(beside.names(), Vec::<String>::new());
}
