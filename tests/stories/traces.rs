//! What a host says of its work to programs: log lines as JSON, and spans for a collector of OpenTelemetry's.

use std::{
    fs,
    sync::{Mutex, mpsc},
    thread,
};

use attache_tests::{
    Canary,
    mcp::{McpClient, Sdk},
    peers::telemetry,
    service::{Service, ok},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    KEY, machine,
    operating::{self, start, with_tools},
};

#[test]
fn log_lines_are_json_where_a_program_reads_them() {
    let mut attache = machine();
    attache.set("ATTACHE_LOG", "debug");
    let said = attache.run(&["environment", "create", "x"]).err;
    assert!(said.contains("DEBUG"), "something is logged: {said}");
    let said = attache.run(&["--log-format", "json", "environment", "create", "y"]).err;
    let lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line["level"].is_string() && line["fields"].is_object()));
    attache.run(&["--log-format", "xml", "config", "show"]).refused(2, "--log-format");
}

#[test]
fn so_are_those_of_a_host_that_runs_whatever_a_connector_says() {
    let service = Service::plain();
    let mut attache = with_tools(&service);
    attache.set("ATTACHE_LOG", "trace").set("ATTACHE_LOG_FORMAT", "json");
    let log = attache.folder().join("log");
    let mut running = operating::start_logging(attache, &[], &log);
    let key = running.key("the-app", &[]);
    assert_eq!(running.call(&key, "look", &[], &json!({ "url": service.base() })).status, 200);
    running.call(&key, "hostile", &[], &json!({})).refused(502, "connector-failed");
    running.stop();
    let said = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let of =
        |module: &str| lines.iter().any(|it| it["target"].as_str().is_some_and(|target| target.starts_with(module)));
    assert!(of("attache::transport"), "{said}");
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// The caller's own span, in which a call is asked for.
fn parent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// Demands that a collector was told of so many calls in the caller's trace, each of three spans, and gives what it was told.
#[track_caller]
fn told_in_trace(collector: &Service, calls: usize) -> Vec<u8> {
    let all = told(collector, "traces");
    let spans = times(&hex::decode(TRACE).unwrap(), &all);
    assert_eq!(spans, 3 * calls, "what was asked, the call, and its request");
    let children = times(&hex::decode(PARENT).unwrap(), &all);
    assert_eq!(children, calls, "the first of them is the caller's child");
    all
}

/// What a collector was told by one signal; it is told nothing else but the two.
#[track_caller]
fn told(collector: &Service, signal: &str) -> Vec<u8> {
    let sent = collector.received();
    let is = |line: &str, signal: &str| line.starts_with(&format!("POST /v1/{signal} "));
    assert!(sent.iter().all(|it| is(&it.line, "traces") || is(&it.line, "logs")) && !sent.is_empty(), "{sent:?}");
    sent.iter().filter(|it| is(&it.line, signal)).flat_map(|it| it.body.clone()).collect()
}

fn times(needle: &[u8], hay: &[u8]) -> usize {
    hay.windows(needle.len()).filter(|window| *window == needle).count()
}

#[test]
fn a_collector_is_told_of_calls_and_requests_in_the_callers_own_trace() {
    let (service, collector) = (Service::plain(), Service::start(|_| ok("")));
    let mut attache = with_tools(&service);
    attache.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.base());
    let mut running = start(attache, &[]);
    let key = running.key("the-app", &[]);
    let input = json!({ "url": format!("{}/letters?canary=1", service.base()) });
    assert_eq!(running.call(&key, "look", &[("traceparent", &parent())], &input).status, 200);
    // One that is none makes no difference.
    assert_eq!(running.call(&key, "look", &[("traceparent", "00-x")], &input).status, 200);
    running.stop();
    let all = told_in_trace(&collector, 1);
    for word in ["ask", "call", "request", "look", "tools", "done", "127.0.0.1", "http.response.status_code"] {
        assert!(times(word.as_bytes(), &all) >= 2, "{word}");
    }
    for word in [KEY, "canary", "letters", "the-app", "work", &key] {
        assert_eq!(times(word.as_bytes(), &all), 0, "{word}");
    }
}

#[test]
fn a_collector_reads_spans_and_lines_with_opentelemetrys_own_decoder() {
    let (service, collector) = (Service::plain(), Service::start(|_| ok("")));
    let mut attache = with_tools(&service);
    attache.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.base()).set("ATTACHE_LOG", "debug");
    let mut running = start(attache, &[]);
    let key = running.key("the-app", &[]);
    let input = json!({ "url": format!("{}/letters?canary=1", service.base()) });
    assert_eq!(running.call(&key, "look", &[("traceparent", &parent())], &input).status, 200);
    running.stop();
    let signal = |line: &str| if line.starts_with("POST /v1/traces ") { "traces" } else { "logs" };
    let posted: Vec<Value> =
        collector.received().iter().map(|it| json!([signal(&it.line), BASE64_STANDARD.encode(&it.body)])).collect();
    let read = telemetry("otlp", &json!(posted).to_string());
    assert_eq!(read["services"], json!(["attache"]));
    let spans: Vec<&Value> = read["spans"].as_array().unwrap().iter().filter(|it| it["trace"] == TRACE).collect();
    let span = |name: &str| {
        let mut named = spans.iter().filter(|it| it["name"] == name);
        let found = named.next().unwrap_or_else(|| panic!("there is no `{name}`: {spans:?}"));
        assert!(named.next().is_none() && found["took"].as_i64().unwrap() > 0, "{spans:?}");
        *found
    };
    let (ask, call, request) = (span("ask"), span("call"), span("request"));
    assert_eq!((&ask["parent"], &ask["kind"]), (&json!(PARENT), &json!("SPAN_KIND_SERVER")));
    assert_eq!((&call["parent"], &request["parent"]), (&ask["id"], &call["id"]));
    assert_eq!(request["kind"], "SPAN_KIND_CLIENT");
    // Nothing else is told of any of them.
    assert_eq!(ask["attributes"], json!({}));
    let of_call = json!({ "attache.connector": "tools", "attache.operation": "look", "attache.outcome": "done" });
    assert_eq!(call["attributes"], of_call);
    let of_request = json!({
        "http.request.method": "GET", "server.address": "127.0.0.1", "server.port": service.port, "http.response.status_code": 200,
    });
    assert_eq!(request["attributes"], of_request);
    let lines = read["lines"].as_array().unwrap();
    assert!(lines.iter().any(|it| it["trace"] == TRACE && it["severity"] == "SEVERITY_NUMBER_DEBUG"), "{lines:?}");
}

#[test]
fn an_agents_call_is_in_the_trace_that_its_message_names_over_standard_input_and_output() {
    let (service, collector) = (Service::plain(), Service::start(|_| ok("")));
    let mut attache = with_tools(&service);
    attache.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.base());
    let input = json!({ "url": service.base() });
    for (sdk, state) in
        [(Sdk::Python, "vendor=kept".to_owned()), (Sdk::Npm, format!("vendor=long{}", ",a=b".repeat(200)))]
    {
        let mut client = McpClient::stdio(sdk, &attache, &[]);
        let meta = json!({ "traceparent": parent(), "tracestate": state });
        let seen = client.call_with("work_look", input.clone(), meta);
        assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
        // What is none makes no difference.
        for none in [json!("00-x"), json!(7), json!({ "traceparent": parent() })] {
            let seen = client.call_with("work_look", input.clone(), json!({ "traceparent": none }));
            assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
        }
    }
    let all = told_in_trace(&collector, 2);
    // What callers keep in a trace is theirs, as much of it as anybody passes on.
    assert_eq!((times(b"vendor=kept", &all), times(b"vendor=long", &all)), (3, 0));
}

#[test]
fn an_agents_call_over_http_is_in_the_trace_of_its_message_else_in_that_of_its_request() {
    let (service, collector) = (Service::plain(), Service::start(|_| ok("")));
    let mut attache = with_tools(&service);
    attache.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.base());
    let mut running = start(attache, &[]);
    let key = running.key("agent", &[]);
    let url = format!("{}/mcp", running.url);
    let input = json!({ "url": service.base() });
    for sdk in Sdk::ALL {
        let mut client = McpClient::http(sdk, &url, &key);
        let seen = client.call_with("work_look", input.clone(), json!({ "traceparent": parent() }));
        assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
    }
    let bearer = format!("Bearer {key}");
    let asked = |headers: &[(&str, &str)], method: &str, params: &Value| {
        let all = [("authorization", &*bearer), ("accept", "application/json, text/event-stream")];
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        running.asked("POST", "/mcp", &[&all[..], headers].concat(), Some(&message))
    };
    let about = json!({ "name": "story", "version": "1" });
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": about });
    let session = asked(&[], "initialize", &hello).header("mcp-session-id").to_owned();
    let other = format!("00-{}-{}-01", "1".repeat(32), "2".repeat(16));
    let call = json!({ "name": "work_look", "arguments": input });
    let call_in_trace = json!({ "name": "work_look", "arguments": input, "_meta": { "traceparent": parent() } });
    for (of_request, call) in [(&parent(), &call), (&other, &call_in_trace)] {
        let headers = [("mcp-session-id", &*session), ("traceparent", of_request)];
        let seen = asked(&headers, "tools/call", call);
        assert!(seen.status == 200 && seen.text.contains("structuredContent"), "{seen:?}");
    }
    running.stop();
    told_in_trace(&collector, 5);
}

#[test]
fn a_collector_is_told_the_lines_of_the_log_with_the_trace_that_they_are_of() {
    let canary = Canary::new("canary-5d41402abc4b2a76");
    let (service, collector) = (Service::plain(), Service::start(|_| ok("")));
    let mut attache = machine();
    attache.set("STORY_KEY", &canary.secret);
    attache.add("tools");
    operating::connect(&attache, "work", &service);
    attache.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.base());
    attache.set("ATTACHE_LOG", "trace");
    let log = attache.folder().join("log");
    let mut running = operating::start_logging(attache, &[], &log);
    let key = running.key("the-app", &[]);
    let input = json!({ "url": format!("{}/letters?canary=1", service.base()) });
    assert_eq!(running.call(&key, "look", &[("traceparent", &parent())], &input).status, 200);
    running.stop();
    let lines = told(&collector, "logs");
    assert!(times(b"attache::", &lines) > 0, "{}", String::from_utf8_lossy(&lines));
    assert!(times(&hex::decode(TRACE).unwrap(), &lines) > 0, "lines name the trace that they are of");
    for (what, said) in [("lines", &lines), ("the log", &fs::read(&log).unwrap())] {
        canary.is_not_in(what, said);
        for word in ["canary=1", &key] {
            assert_eq!(times(word.as_bytes(), said), 0, "{word} is in {what}");
        }
    }
}

#[test]
fn a_collector_is_told_what_it_was_said_to_collect() {
    let service = Service::plain();
    for (variable, value, signal, other) in
        [("OTEL_LOGS_EXPORTER", "none", "traces", "logs"), ("OTEL_TRACES_EXPORTER", "none", "logs", "traces")]
    {
        let collector = Service::start(|_| ok(""));
        let mut attache = with_tools(&service);
        attache.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.base()).set(variable, value).set("ATTACHE_LOG", "debug");
        let mut running = start(attache, &[]);
        let key = running.key("the-app", &[]);
        assert_eq!(running.call(&key, "look", &[], &json!({ "url": service.base() })).status, 200);
        running.stop();
        assert!(!told(&collector, signal).is_empty() && told(&collector, other).is_empty(), "{variable}");
    }
}

#[test]
fn a_collector_that_never_answers_holds_up_no_call_and_no_end() {
    let (asked, seen) = mpsc::channel();
    let (service, forever) = (Service::plain(), Mutex::new(asked));
    // As long as the story lasts.
    let collector = Service::start(move |_| {
        let _ = forever.lock().unwrap().send(());
        loop {
            thread::park();
        }
    });
    let mut attache = with_tools(&service);
    attache.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.base()).set("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut running = start(attache, &[]);
    let key = running.key("the-app", &[]);
    let input = json!({ "url": service.base() });
    assert_eq!(running.call(&key, "look", &[], &input).status, 200);
    seen.recv().unwrap();
    // Whatever is told now waits behind that.
    for _ in 0..3 {
        assert_eq!(running.call(&key, "look", &[], &input).status, 200);
    }
    running.stop();
}
