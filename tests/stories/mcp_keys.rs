//! `/mcp` of a host that runs, with the keys that `attache caller create` makes.

use std::{io::Read, thread};

use attache_tests::{
    mcp::{McpClient, Sdk},
    peers::free_port,
    service::Service,
};
use reqwest::blocking::{Client, Response};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    mcp::{Slow, error, soon, the_inspector_does},
    operating::{Running, connect, start, with_tools},
};

fn agent(running: &Running, sdk: Sdk, key: &str) -> McpClient {
    McpClient::http(sdk, &format!("{}/mcp", running.url), key)
}

/// Posts a message as no official client would.
fn post(running: &Running, key: &str, session: &str, message: &Value) -> Response {
    let mut request = Client::new().post(format!("{}/mcp", running.url)).bearer_auth(key);
    request =
        request.header("accept", "application/json, text/event-stream").header("content-type", "application/json");
    if !session.is_empty() {
        request = request.header("mcp-session-id", session);
    }
    request.body(message.to_string()).send().unwrap()
}

fn greeting() -> Value {
    let params =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "s", "version": "1" } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
}

fn hello(running: &Running, key: &str) -> Response {
    post(running, key, "", &greeting())
}

/// A session that calls may be made in.
pub(crate) fn session(running: &Running, key: &str) -> String {
    let session = hello(running, key).headers()["mcp-session-id"].to_str().unwrap().to_owned();
    post(running, key, &session, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    session
}

/// The message that calls a tool.
pub(crate) fn call(tool: &str, input: &Value) -> Value {
    let params = json!({ "name": tool, "arguments": input });
    json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params })
}

/// What comes of calling a tool, whatever the list says.
pub(crate) fn called(running: &Running, key: &str, tool: &str, input: &Value) -> String {
    post(running, key, &session(running, key), &call(tool, input)).text().unwrap()
}

#[test]
fn a_tool_of_another_environment_is_called_by_no_key_and_told_from_none() {
    let service = Service::plain();
    let attache = with_tools(&service);
    attache.run(&["environment", "create", "elsewhere"]).done();
    let running = start(attache, &[]);
    let (own, foreign) = (running.key("own", &[]), running.key("foreign", &["--environment", "elsewhere"]));
    let input = json!({ "url": service.base() });
    let before = service.received().len();
    let told = |key: &str, tool: &str| called(&running, key, tool, &input).replace(tool, "TOOL");
    let (theirs, nobodys) = (told(&foreign, "work_look"), told(&foreign, "nobodys_look"));
    assert!(theirs.contains("There is no tool `TOOL`"), "{theirs}");
    assert_eq!(theirs, nobodys);
    assert_eq!(service.received().len(), before, "nothing was sent");
    assert!(!told(&own, "work_look").contains("There is no tool"));
    assert_eq!(service.received().len(), before + 1);
}

#[test]
fn a_key_lists_and_calls_the_tools_that_it_is_for() {
    let service = Service::plain();
    let attache = with_tools(&service);
    connect(&attache, "second", &service);
    attache.run(&["environment", "create", "elsewhere"]).done();
    let running = start(attache, &[]);
    let reads = running.key("reads", &[]);
    let writes = running.key("writes", &["--allow", "write", "--connection", "second"]);
    let foreign = running.key("foreign", &["--environment", "elsewhere"]);
    let input = || json!({ "url": service.base() });
    for sdk in Sdk::ALL {
        let mut client = agent(&running, sdk, &reads);
        let names = client.names();
        assert!(names.contains(&"work_look".into()) && names.contains(&"second_look".into()), "{names:?}");
        assert!(!names.iter().any(|name| name.ends_with("_change") || name.ends_with("_destroy")), "{names:?}");
        let seen = client.call("work_look", input());
        assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
        let mut client = agent(&running, sdk, &writes);
        let names = client.names();
        assert!(names.contains(&"second_change".into()), "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with("work_") || name.ends_with("_destroy")), "{names:?}");
        let seen = client.call("second_change", input());
        assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
        assert_eq!(agent(&running, sdk, &foreign).names(), Vec::<String>::new());
    }
    let callers = running.attache.run(&["audit", "list", "--output", "json", "--event", "call-ended"]).json();
    let of = |name: &str| callers.as_array().unwrap().iter().filter(|line| line["caller"] == name).count();
    assert_eq!((of("key:reads"), of("key:writes"), of("key:foreign")), (3, 3, 0), "{callers}");
    // One that may not call has nothing here.
    let connects = running.key("connects", &["--may", "connect"]);
    assert_eq!(hello(&running, &connects).status(), 401);
}

#[test]
fn the_inspector_lists_and_calls_tools_with_a_key() {
    let service = Service::plain();
    let running = start(with_tools(&service), &[]);
    let key = running.key("agent", &[]);
    the_inspector_does(Ok((&format!("{}/mcp", running.url), &key)), &service);
}

#[test]
fn a_tool_that_a_key_does_not_allow_is_refused_and_nothing_is_sent() {
    let service = Service::plain();
    let running = start(with_tools(&service), &[]);
    let (reads, writes) = (running.key("reads", &[]), running.key("writes", &["--allow", "write"]));
    let destroys = running.key("destroys", &["--allow", "destructive"]);
    let input = || json!({ "url": format!("{}/here", service.base()), "method": "DELETE" });
    let arrived = || service.received().iter().filter(|request| request.line.contains("/here")).count();
    for (before, sdk) in Sdk::ALL.into_iter().enumerate() {
        for (key, refused) in [(&reads, &["change", "destroy"][..]), (&writes, &["destroy"])] {
            let mut client = agent(&running, sdk, key);
            for operation in refused {
                let refused = error(&client.call(&format!("work_{operation}"), input()));
                assert_eq!(refused["kind"], "denied", "{sdk:?}: {operation}: {refused}");
            }
        }
        assert_eq!(arrived(), before, "{sdk:?}: it was sent");
        let seen = agent(&running, sdk, &destroys).call("work_destroy", input());
        assert_eq!((&seen["structuredContent"]["status"], arrived()), (&json!(200), before + 1), "{seen}");
    }
}

#[test]
fn a_host_that_others_find_by_a_name_is_asked_by_that_name_and_by_its_own_pages() {
    let service = Service::plain();
    let listen = format!("127.0.0.1:{}", free_port());
    let public = "https://attache.example.com/below/";
    let mut running = start(with_tools(&service), &["--listen", &listen, "--behind-proxy", "--public-url", public]);
    assert_eq!(running.url, public.trim_end_matches('/'));
    // Where the proxy finds it.
    running.url = format!("http://{listen}/below");
    let key = running.key("agent", &[]);
    let bearer = format!("Bearer {key}");
    let asks = |path: &str, of: &[(&str, &str)]| {
        let fixed = [("authorization", &*bearer), ("accept", "application/json, text/event-stream")];
        running.asked("POST", path, &[&fixed[..], of].concat(), Some(&greeting())).status
    };
    let own = ("origin", "https://attache.example.com");
    for host in ["attache.example.com", "attache.example.com:443"] {
        assert_eq!(asks("/mcp", &[("host", host)]), 200, "{host}");
        assert_eq!(asks("/mcp", &[("host", host), own]), 200, "{host}");
    }
    for host in ["evil.example", "example.com", "attache.example.com.evil.example"] {
        assert_eq!(asks("/mcp", &[("host", host), own]), 403, "{host}");
    }
    for origin in [
        "http://attache.example.com",
        "http://attache.example.com:443",
        "https://attache.example.com:8443",
        "https://attache.example.com.evil.example",
        "https://evil.example",
        "null",
    ] {
        assert_eq!(asks("/mcp", &[("host", "attache.example.com"), ("origin", origin)]), 403, "{origin}");
    }
    // What stands before it on its machine may ask by that machine's name.
    let seen = agent(&running, Sdk::Npm, &key).call("work_look", json!({ "url": service.base() }));
    assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
}

#[test]
fn a_key_that_is_revoked_ends_the_streams_that_it_opened_and_no_others() {
    let running = start(with_tools(&Service::plain()), &[]);
    let (key, other) = (running.key("gone", &[]), running.key("other", &[]));
    let open = |key: &str| {
        let session = hello(&running, key).headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(post(&running, key, &session, &ready).status(), 202);
        let listening = Client::builder().timeout(None).build().unwrap().get(format!("{}/mcp", running.url));
        let listening = listening.bearer_auth(key).header("accept", "text/event-stream");
        let stream = listening.header("mcp-session-id", &session).send().unwrap();
        assert_eq!(stream.status(), 200);
        (session, stream)
    };
    let (session, mut stream) = open(&key);
    let (_, mut others) = open(&other);
    let ended = thread::spawn(move || drop(stream.read_to_end(&mut Vec::new())));
    let other_ended = thread::spawn(move || drop(others.read_to_end(&mut Vec::new())));
    running.attache.run(&["caller", "revoke", "gone"]).done();
    soon("whoever has the revoked key goes on listening", || ended.is_finished());
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    assert_eq!(post(&running, &key, &session, &list).status(), 401);
    assert!(!other_ended.is_finished(), "another key's stream ended with it");
}

#[test]
fn a_key_with_many_sessions_opens_no_more_and_goes_on_without_one() {
    let service = Service::plain();
    let running = start(with_tools(&service), &[]);
    let key = running.key("busy", &[]);
    let sessions: Vec<String> =
        (0..100).map(|_| hello(&running, &key).headers()["mcp-session-id"].to_str().unwrap().to_owned()).collect();
    let refused = hello(&running, &key);
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
    let refused: Value = serde_json::from_str(&refused.text().unwrap()).unwrap();
    assert_eq!(refused["error"]["kind"], "rate-limited", "{refused}");
    // The newest version of the protocol has no sessions.
    let mut client = agent(&running, Sdk::Python, &key);
    assert_eq!(client.call("work_look", json!({ "url": service.base() }))["structuredContent"]["status"], 200);
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    assert_eq!(post(&running, &key, &sessions[0], &list).status(), 200, "what is open goes on");
    assert_eq!(hello(&running, &running.key("other", &[])).status(), 200);
}

#[test]
fn an_agent_that_calls_too_often_is_told_so() {
    let service = Service::plain();
    let attache = with_tools(&service);
    attache.configure("[traffic]\ncaller-per-second = 1\ncaller-burst = 1\n");
    let running = start(attache, &[]);
    let mut client = agent(&running, Sdk::Npm, &running.key("agent", &[]));
    let mut call = || client.call("work_look", json!({ "url": service.base() }));
    let refused = (0..60).map(|_| call()).find(|seen| seen["isError"] == true).expect("it was never refused");
    assert_eq!(error(&refused)["kind"], "rate-limited", "{refused}");
    assert_eq!(error(&refused)["retry-after"], 1);
}

#[test]
fn a_call_of_an_agent_is_finished_when_the_host_is_told_to_stop() {
    let slow = Slow::start();
    let mut running = start(with_tools(&slow.service), &[]);
    let mut client = agent(&running, Sdk::Npm, &running.key("agent", &[]));
    client.begin("work_look", slow.input());
    slow.asked(1);
    running.signal(Signal::TERM);
    soon("somebody is let in", || Client::new().get(format!("{}/healthz", running.url)).send().is_err());
    slow.release();
    let seen = client.end();
    assert_eq!(seen["structuredContent"]["body"], "done", "{seen}");
    assert!(running.host.wait().unwrap().success());
}
