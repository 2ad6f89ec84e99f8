//! Whoever sends the head of a request and holds the rest back is judged once more when it comes: what ended meanwhile is of no
//! use.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use attache_tests::{connector, service::Service};
use reqwest::{blocking::Client, redirect::Policy};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    console_guard::{self, token},
    mcp::{Slow, soon},
    mcp_keys,
    operating::{Running, start, with_tools},
    serving::RETURN,
};

const EVERYTHING: [&str; 8] = ["--may", "call", "--may", "connect", "--may", "administer", "--allow", "destructive"];

/// A request whose body is under way: the host has asked all that it asks of a head, and has half of the rest.
pub(crate) struct HeldBack {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HeldBack {
    /// One of JSON, with a key.
    #[track_caller]
    pub(crate) fn json(running: &Running, key: &str, line: &str, more: &str, body: &Value) -> Self {
        let head = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n{more}");
        Self::begin(running, line, &head, body.to_string().as_bytes())
    }

    #[track_caller]
    fn begin(running: &Running, line: &str, head: &str, body: &[u8]) -> Self {
        let authority = running.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        let asks = "Connection: close\r\nExpect: 100-continue";
        let head = format!("{line} HTTP/1.1\r\nHost: {authority}\r\n{head}{asks}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // It is said by whoever begins to read the body (RFC 9110, 10.1.1).
        let mut said = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut said).unwrap_or_else(|error| panic!("{line}: {error}"));
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 100"), "{line}: {said}");
        let (half, rest) = body.split_at(length / 2);
        stream.write_all(half).unwrap();
        Self { stream, rest: rest.to_vec() }
    }

    /// Sends the rest, and gives the status and the body of what is answered.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (u16, String) {
        self.stream.write_all(&self.rest).unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn story() -> (Service, Running) {
    let service = Service::plain();
    let running = start(with_tools(&service), &[]);
    (service, running)
}

/// What somebody is told whose key nobody knows.
fn unknown(running: &Running) -> (u16, String) {
    let refused = running.ask("attache_x_y", "GET", "/v1/connections", &[]);
    refused.refused(401, "denied");
    (refused.status, refused.text)
}

#[test]
fn on_no_route_does_a_revoked_key_act_by_a_body_that_was_held_back() {
    // Regression: a key was looked at with the head of a request alone, and the rest could come hours after it was revoked.
    let (_service, running) = story();
    let key = running.key("gone", &EVERYTHING);
    let document = running.asked("GET", "/v1/openapi.json", &[], None).json();
    let mut held = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, _) in methods.as_object().unwrap().iter().filter(|(_, its)| its["requestBody"].is_object()) {
            let filled = path.replace("{connection}", "work").replace("{operation}", "look").replace(['{', '}'], "");
            let line = format!("{} {filled}", method.to_uppercase());
            held.push((line.clone(), HeldBack::json(&running, &key, &line, "", &json!({ "a": 1 }))));
        }
    }
    assert!(held.len() > 14, "{}", held.len());
    running.attache.run(&["caller", "revoke", "gone"]).done();
    for (line, request) in held {
        assert_eq!(request.finish(), unknown(&running), "{line}");
    }
}

#[test]
fn what_was_asked_for_by_halves_is_done_while_the_key_stands_and_not_once_it_is_revoked() {
    let (service, running) = story();
    let key = running.key("gone", &EVERYTHING);
    let (looks, creates) = ("POST /v1/connections/work/operations/look", "POST /v1/callers");
    let input = json!({ "url": service.base() });
    let caller = |name: &str| json!({ "name": name, "permissions": ["administer"] });
    let call = || HeldBack::json(&running, &key, looks, "", &input);
    let create = |name: &str| HeldBack::json(&running, &key, creates, "", &caller(name));
    let before = service.received().len();
    assert_eq!((call().finish().0, create("first").finish().0), (200, 201));
    assert_eq!(service.received().len(), before + 1);
    let (call, create) = (call(), create("second"));
    running.attache.run(&["caller", "revoke", "gone"]).done();
    assert_eq!((call.finish(), create.finish()), (unknown(&running), unknown(&running)));
    assert_eq!(service.received().len(), before + 1, "it was called");
    let callers = running.attache.run(&["caller", "list", "--output", "json"]).done();
    assert!(callers.contains("first") && !callers.contains("second"), "{callers}");
}

#[test]
fn an_agent_whose_key_is_revoked_calls_no_tool_by_a_message_that_was_held_back() {
    // Regression: as with the API.
    let (service, running) = story();
    let key = running.key("gone", &[]);
    let session = mcp_keys::session(&running, &key);
    let more = format!("Accept: application/json, text/event-stream\r\nMcp-Session-Id: {session}\r\n");
    let message = mcp_keys::call("work_look", &json!({ "url": service.base() }));
    let begin = || HeldBack::json(&running, &key, "POST /mcp", &more, &message);
    let before = service.received().len();
    let (status, told) = begin().finish();
    assert!(status == 200 && told.contains("structuredContent"), "{status} {told}");
    let held = begin();
    running.attache.run(&["caller", "revoke", "gone"]).done();
    let (status, told) = held.finish();
    assert!(status == 401 && told.contains("opens nothing"), "{status} {told}");
    assert_eq!(service.received().len(), before + 1, "it was called");
}

#[test]
fn whoever_signed_out_of_the_console_does_nothing_by_a_form_that_was_held_back() {
    // Regression: a session was looked for with the head of a request alone.
    let (_service, running) = story();
    let cookie = console_guard::session(&running.attache, &running.url, &[]);
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let page = client.get(format!("{}/console", running.url)).header("cookie", &cookie).send().unwrap();
    let token = token(&page.text().unwrap());
    let begin = |path: &str, kind: &str, body: &[u8]| {
        let head = format!("Cookie: {cookie}\r\nOrigin: {}\r\nContent-Type: {kind}\r\n", running.url);
        HeldBack::begin(&running, &format!("POST /console{path}"), &head, body)
    };
    let field = |about: &str| format!("--b\r\nContent-Disposition: form-data; {about}\r\n\r\n");
    let before = format!("{}{token}\r\n{}", field("name=\"token\""), field("name=\"file\"; filename=\"it.wasm\""));
    let file = [before.as_bytes(), &fs::read(connector("echo")).unwrap(), b"\r\n--b--\r\n"].concat();
    let looks = || begin("/add", "multipart/form-data; boundary=b", &file);
    let form = format!("token={token}");
    let removes = || begin("/connections/work/remove", "application/x-www-form-urlencoded", form.as_bytes());
    let (status, page) = looks().finish();
    assert!(status == 200 && page.contains("name=\"proposal\""), "{status} {page}");
    let held = [looks(), removes()];
    let out = client.post(format!("{}/console/sign-out", running.url)).header("cookie", &cookie);
    let out = out.header("origin", &running.url).form(&[("token", &token)]).send().unwrap();
    assert_eq!(out.status(), 303);
    for request in held {
        let (status, page) = request.finish();
        assert!(status == 401 && page.contains("not signed in"), "{status} {page}");
    }
    running.attache.run(&["connection", "show", "work"]).done();
}

#[test]
fn whoever_waits_with_a_key_that_is_revoked_hears_no_more() {
    // Regression: what came of a call, or how far a person was, was told for up to a minute after the key was revoked.
    let slow = Slow::start();
    let running = start(with_tools(&slow.service), &["--return-url", RETURN]);
    let key = running.key("gone", &["--may", "call", "--may", "connect"]);
    let bearer = format!("Bearer {key}");
    let called = running.call(&key, "look", &[("prefer", "respond-async")], &slow.input());
    let connection = json!({ "connector": "tools", "auth-option": "header", "name": "theirs" });
    let link = json!({ "connection": connection, "owner": "alice", "return-url": RETURN });
    let link = running.asked("POST", "/v1/connect-sessions", &[("authorization", &bearer)], Some(&link));
    let link = link.json()["id"].as_str().unwrap_or_else(|| panic!("{link:?}")).to_owned();
    let audit = || running.attache.run(&["audit", "list", "--output", "json", "--event", "call-ended"]).json();
    thread::scope(|scope| {
        let waits = |path: String| {
            let (running, key) = (&running, &key);
            scope.spawn(move || running.ask(key, "GET", &path, &[("prefer", "wait=60")]))
        };
        let waits = [waits(called.header("location").to_owned()), waits(format!("/v1/connect-sessions/{link}"))];
        slow.asked(1);
        running.attache.run(&["caller", "revoke", "gone"]).done();
        slow.release();
        soon("the call never ended", || audit().as_array().is_some_and(|all| all.len() == 1));
        // Whoever waits for a person is told at once how far they are.
        running.signal(Signal::TERM);
        for waits in waits {
            let told = waits.join().unwrap();
            assert_eq!((told.status, &told.json()["kind"]), (401, &json!("denied")), "{told:?}");
        }
    });
}

#[test]
fn whoever_is_refused_while_they_still_send_a_connector_is_told_why() {
    // Regression: the host answered, and closed the connection on what was still coming, so that it was reset now and then.
    let (_service, running) = story();
    let body = vec![0; 16_000_000];
    let authority = running.url.trim_start_matches("http://");
    let line = format!("POST /v1/connectors/approvals HTTP/1.1\r\nHost: {authority}");
    let length = format!("Content-Type: application/wasm\r\nContent-Length: {}", body.len());
    let head = format!("{line}\r\nAuthorization: Bearer attache_x_y\r\n{length}\r\n\r\n");
    let mut stream = BufReader::new(TcpStream::connect(authority).unwrap());
    for _ in 0..3 {
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        stream.get_mut().write_all(&body).expect("what is sent is taken in");
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 401"), "{line}");
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
            if let Some(told) = line.to_lowercase().strip_prefix("content-length:") {
                length = told.trim().parse().unwrap();
            }
        }
        let mut problem = vec![0; length];
        stream.read_exact(&mut problem).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&problem).unwrap()["kind"], "denied");
    }
}
