//! The `http` connector: any REST service, here httpbin, which reflects what it is sent.

use attache_tests::{
    Attache,
    peers::{self, Peer},
    service::{Service, answer},
};
use serde_json::{Value, json};

use crate::machine;

fn connected(httpbin: &Peer, arguments: &[&str]) -> Attache {
    let mut attache = machine();
    attache.set("KEY", "reflected-key-1");
    attache.add("http");
    let base = format!("base-url={}", httpbin.base());
    let allow = httpbin.authority();
    let mut all = vec!["connect", "http", "--set", &base, "--allow-private", &allow, "--yes"];
    all.extend(arguments);
    attache.run(&all).done();
    attache
}

fn request(attache: &Attache, input: Value) -> Value {
    attache.call("http", "request", &input)
}

#[test]
fn json_as_deep_as_a_connector_reads_it_does_not_fill_its_stack() {
    // serde_json stops at 128 levels; the connector's own answer is two of them.
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let service = Service::start(move |request| {
        let levels = request.line.split(['=', ' ']).nth(2).and_then(|levels| levels.parse().ok()).unwrap_or(1);
        answer(200, &[("Content-Type", "application/json")], &deep(levels))
    });
    let attache = machine();
    attache.add("http");
    let base = format!("base-url={}", service.base());
    attache
        .run(&["connect", "http", "--auth", "none", "--set", &base, "--allow-private", &service.authority(), "--yes"])
        .done();
    let seen = attache.call("http", "get", &json!({ "path": "/deep", "query": { "levels": "120" } }));
    assert!(seen["json"].to_string().starts_with(&"[".repeat(120)));
    // What is deeper is no JSON to it, and no trap.
    let seen = attache.call("http", "get", &json!({ "path": "/deep", "query": { "levels": "100000" } }));
    assert!(seen["text"].as_str().unwrap().starts_with("[[[["));
}

#[test]
fn every_method_body_and_header_arrives() {
    let httpbin = peers::httpbin();
    let attache = connected(&httpbin, &["--auth", "none"]);
    let answer = request(
        &attache,
        json!({ "method": "POST", "path": "/anything/a b/ü", "query": { "q": "1&2 ü+" }, "headers": { "X-One": "1" }, "json": { "a": [1] } }),
    );
    let seen = &answer["json"];
    assert_eq!(answer["status"], 200);
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["args"], json!({ "q": "1&2 ü+" }));
    assert_eq!(seen["json"], json!({ "a": [1] }));
    assert_eq!(seen["headers"]["X-One"], "1");
    assert!(seen["url"].as_str().unwrap().contains("/anything/a%20b/ü?"), "{seen}");
    let text = request(
        &attache,
        json!({ "method": "PUT", "path": "/put", "text": "grüße", "headers": { "Content-Type": "text/plain; charset=utf-8" } }),
    );
    assert_eq!(text["json"]["data"], "grüße");
    assert_eq!(request(&attache, json!({ "method": "DELETE", "path": "/status/418" }))["status"], 418);
    let compressed = attache.call("http", "get", &json!({ "path": "/gzip" }));
    assert_eq!(compressed["json"]["gzipped"], true);
}

#[test]
fn a_key_in_a_header_arrives_and_comes_back_masked() {
    let httpbin = peers::httpbin();
    let attache =
        connected(&httpbin, &["--auth", "api-key-header", "--set", "header=X-Token", "--secret", "key=env:KEY"]);
    let answer = attache.call("http", "get", &json!({ "path": "/headers" }));
    // As long as the key: so it did arrive, and this is what is left of it.
    assert_eq!(answer["json"]["headers"]["X-Token"], "*".repeat("reflected-key-1".len()));
}

#[test]
fn a_key_in_the_query_arrives_and_comes_back_masked() {
    let httpbin = peers::httpbin();
    let attache =
        connected(&httpbin, &["--auth", "api-key-query", "--set", "parameter=api key", "--secret", "key=env:KEY"]);
    let answer = attache.call("http", "get", &json!({ "path": "/get", "query": { "a": "b" } }));
    assert_eq!(answer["json"]["args"], json!({ "a": "b", "api key": "*".repeat(15) }));
    assert!(!answer.to_string().contains("reflected-key-1"));
}

#[test]
fn basic_is_verified_by_httpbin() {
    let httpbin = peers::httpbin();
    let attache = connected(&httpbin, &["--auth", "basic", "--set", "username=jo", "--secret", "password=env:KEY"]);
    let answer = attache.call("http", "get", &json!({ "path": "/basic-auth/jo/reflected-key-1" }));
    assert_eq!((&answer["status"], &answer["json"]["authenticated"]), (&json!(200), &json!(true)));
    let reflected = attache.call("http", "get", &json!({ "path": "/headers" }));
    let header = reflected["json"]["headers"]["Authorization"].as_str().unwrap();
    assert_eq!(header.trim_matches('*'), "Basic ");
}

#[test]
fn redirects_inside_the_audience_are_followed() {
    let httpbin = peers::httpbin();
    let attache =
        connected(&httpbin, &["--auth", "api-key-header", "--set", "header=X-Token", "--secret", "key=env:KEY"]);
    let answer = attache.call("http", "get", &json!({ "path": "/redirect/3" }));
    assert_eq!(answer["status"], 200);
    assert_eq!(answer["json"]["headers"]["X-Token"], "*".repeat(15));
    attache.try_call("http", "get", &json!({ "path": "/redirect/15" })).refused(6, "redirected more than 10 times");
}

#[test]
fn a_path_that_would_leave_the_base_is_refused() {
    let httpbin = peers::httpbin();
    let attache = connected(&httpbin, &["--auth", "none"]);
    for (path, words) in [
        ("get", "begins with `/`"),
        ("/../x", "may not climb"),
        ("/a/%2e%2E/x", "may not climb"),
        ("/a?b", "has no query"),
        ("/a#b", "has no query"),
        ("/a\\b", "holds a backslash"),
    ] {
        attache.try_call("http", "get", &json!({ "path": path })).refused(2, words);
    }
    // Two slashes are a path here, not another host.
    assert_eq!(attache.call("http", "get", &json!({ "path": "//evil.example/x" }))["status"], 404);
}

#[test]
fn headers_that_are_the_hosts_are_refused() {
    let httpbin = peers::httpbin();
    let attache =
        connected(&httpbin, &["--auth", "api-key-header", "--set", "header=X-Token", "--secret", "key=env:KEY"]);
    for header in ["Authorization", "Host", "Content-Length", "Transfer-Encoding", "Accept-Encoding", "X-Token"] {
        attache
            .try_call("http", "get", &json!({ "path": "/get", "headers": { header: "x" } }))
            .refused(5, &format!("`{}`", header.to_ascii_lowercase()));
    }
}
