//! What a host says of its work to programs: log lines as JSON, and spans for a collector of OpenTelemetry's.

use attache_tests::service::{Service, ok};
use serde_json::{Value, json};

use crate::{
    KEY, machine,
    operating::{start, with_tools},
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
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let input = json!({ "url": format!("{}/letters?canary=1", service.base()) });
    assert_eq!(running.call(&key, "look", &[("traceparent", &parent)], &input).status, 200);
    // One that is none makes no difference.
    assert_eq!(running.call(&key, "look", &[("traceparent", "00-x")], &input).status, 200);
    running.stop();
    let sent = collector.received();
    assert!(sent.iter().all(|it| it.line.starts_with("POST /v1/traces")) && !sent.is_empty(), "{sent:?}");
    let all: Vec<u8> = sent.iter().flat_map(|it| it.body.clone()).collect();
    assert_eq!(times(&hex::decode(trace).unwrap(), &all), 3, "what was asked, the call, and its request");
    assert_eq!(times(&hex::decode("b7ad6b7169203331").unwrap(), &all), 1, "the first of them is the caller's child");
    for word in ["ask", "call", "request", "look", "tools", "done", "127.0.0.1", "http.response.status_code"] {
        assert!(times(word.as_bytes(), &all) >= 2, "{word}");
    }
    for word in [KEY, "canary", "letters", "the-app", "work", &key] {
        assert_eq!(times(word.as_bytes(), &all), 0, "{word}");
    }
}
