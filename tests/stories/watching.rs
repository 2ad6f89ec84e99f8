//! What an operator watches: numbers that say how the host is, and nothing of whom they are about.

use std::net::TcpListener;

use attache_tests::{peers::telemetry, service::Service};
use serde_json::json;

use crate::{
    KEY,
    operating::{Running, connect, start, with_tools},
};

/// A host with two connections, one of which is revoked, after some calls.
fn story() -> (Running, Service, String) {
    let service = Service::plain();
    let attache = with_tools(&service);
    attache.configure("[traffic]\nunknown-keys-per-minute = 1\n");
    connect(&attache, "second", &service);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let running = start(attache, &["--metrics-listen", &address]);
    let key = running.key("the-app", &[]);
    for _ in 0..2 {
        let input = json!({ "url": format!("{}/letters?canary=1", service.base()) });
        assert_eq!(running.call(&key, "look", &[], &input).status, 200);
    }
    running.call(&key, "hostile", &[], &json!({})).refused(502, "connector-failed");
    running.call(&key, "look", &[], &json!({ "url": "https://elsewhere.example/" }));
    running.ask("attache_x_y", "GET", "/v1/connections", &[]);
    running.ask("attache_x_y", "GET", "/v1/connections", &[]).refused(429, "rate-limited");
    running.attache.run(&["consent", "revoke", "second"]).done();
    (running, service, address)
}

fn scraped(address: &str) -> String {
    let answer = reqwest::blocking::get(format!("http://{address}/metrics")).unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    answer.text().unwrap()
}

#[test]
fn what_becomes_of_calls_and_requests_is_counted() {
    let (running, _service, address) = story();
    let metrics = scraped(&address);
    for line in [
        "attache_calls_total{connector=\"tools\",operation=\"look\",outcome=\"done\"} 3",
        "attache_calls_total{connector=\"tools\",operation=\"hostile\",outcome=\"connector-failed\"} 1",
        "attache_call_duration_seconds_count{connector=\"tools\"} 4",
        "attache_calls_under_way 0",
        "attache_resting_instances 0",
        "attache_request_outcomes_total{outcome=\"2xx\"} 2",
        "attache_request_outcomes_total{outcome=\"denied\"} 1",
        "attache_refused_total{limit=\"unknown-keys\"} 1",
        "attache_connections{state=\"connected\"} 1",
        "attache_connections{state=\"needs-reconnect\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("attache_audit_lag_seconds") && metrics.ends_with("# EOF\n"), "{metrics}");
    let read = telemetry("metrics", &metrics);
    let calls = &read["attache_calls"];
    assert_eq!(calls["type"], "counter");
    let look = json!({ "connector": "tools", "operation": "look", "outcome": "done" });
    assert!(calls["samples"].as_array().unwrap().contains(&json!(["attache_calls_total", look, 3])), "{calls}");
    for (name, family) in read.as_object().unwrap() {
        assert!(
            name.starts_with("attache_") && family["type"] != "unknown" && family["help"] != "",
            "{name}: {family}"
        );
    }
    // The operator's socket has the same.
    let seen = running.metrics();
    assert!(seen.contains("attache_calls_total{connector=\"tools\""), "{seen}");
}

#[test]
fn a_stranger_sees_no_metrics_and_neither_does_any_key() {
    let (running, ..) = story();
    let administers = running.key("administers", &["--may", "administer"]);
    for path in ["/metrics", "/v1/metrics", "/metrics/"] {
        let stranger = running.asked("GET", path, &[], None);
        let known = running.ask(&administers, "GET", path, &[]);
        assert_eq!((stranger.status, known.status), (404, 404), "{path}");
        assert!(!stranger.text.contains("attache_calls") && !known.text.contains("attache_calls"));
    }
}

#[test]
fn metrics_tell_nothing_of_whom_they_are_about() {
    let (_running, service, address) = story();
    let metrics = scraped(&address);
    for word in [KEY, "canary", "letters", "elsewhere.example", "the-app", "work", "second\"", &service.authority()] {
        assert!(!metrics.contains(word), "{word} is in\n{metrics}");
    }
}
