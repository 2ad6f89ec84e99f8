//! The guest's one way out, tried from inside.

use std::sync::{Arc, OnceLock};

use attache_tests::{
    Attache,
    service::{Service, answer, ok},
};
use serde_json::{Value, json};

use crate::{KEY, connect, connected, with_echo};

fn send(attache: &Attache, input: Value) -> Value {
    attache.call("echo", "send", &input)
}

/// A service that redirects to wherever `to` says, and another that it may be.
fn redirecting(status: u16, to: Arc<OnceLock<String>>) -> Service {
    Service::start(move |request| match request.line.contains("/redirect") {
        true => answer(status, &[("Location", to.get().unwrap())], ""),
        false => ok("there"),
    })
}

#[test]
fn other_hosts_are_denied_in_every_spelling() {
    let service = Service::plain();
    let other = Service::plain();
    let attache = connected(&service);
    let port = service.port;
    for url in [
        other.base(),
        format!("http://127.0.0.1:{}@evil.example/", port),
        format!("http://evil.example:{port}/"),
        format!("http://127.0.0.1:{}/", port + 1),
        format!("https://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data".into(),
        "file:///etc/passwd".into(),
        "ftp://127.0.0.1/".into(),
        "data:text/plain,x".into(),
    ] {
        let seen = send(&attache, json!({ "url": url }));
        assert!(["denied", "invalid-request"].contains(&seen["error"].as_str().unwrap_or("sent")), "{url}: {seen}");
    }
    assert!(other.received().is_empty());
    // Other spellings of the origin that was agreed to are that origin.
    assert_eq!(send(&attache, json!({ "url": format!("http://127.1:{port}/x") }))["status"], 200);
    assert_eq!(send(&attache, json!({ "url": format!("HTTP://0x7f.0.0.1:{port}/x") }))["status"], 200);
}

#[test]
fn a_refusal_that_ends_the_call_is_the_callers_answer() {
    let service = Service::plain();
    let attache = with_echo();
    // The connector's own check goes to a host that refuses to be one.
    let refused = connect(&attache, "header", &service, &["--set", "other=http://127.0.0.1:1"]);
    refused.refused(5, "--allow-private 127.0.0.1:1");
}

#[test]
fn the_guest_writes_no_header_that_is_the_hosts() {
    let service = Service::plain();
    let attache = connected(&service);
    let before = service.received().len();
    for name in [
        "Authorization",
        "Host",
        "host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "Proxy-Authorization",
        "Accept-Encoding",
        "Expect",
        "X-Api-Key",
        "x-api-key",
    ] {
        let seen = send(&attache, json!({ "url": service.base(), "headers": [[name, "x"]] }));
        assert_eq!(seen["error"], "denied", "{name}: {seen}");
    }
    for (name, value) in
        [("X-A", "b\r\nX-Api-Key: c"), ("X-A", "b\nc"), ("X A", "b"), ("X-A:", "b"), ("", "b"), ("X-A\r\nHost", "b")]
    {
        let seen = send(&attache, json!({ "url": service.base(), "headers": [[name, value]] }));
        assert_eq!(seen["error"], "invalid-request", "{name:?}: {seen}");
    }
    for (method, error) in [
        ("GET / HTTP/1.1\r\nX: y", "invalid-request"),
        ("", "invalid-request"),
        ("CONNECT", "denied"),
        ("TRACE", "denied"),
    ] {
        let seen = send(&attache, json!({ "url": service.base(), "method": method }));
        assert_eq!(seen["error"], error, "{method:?}: {seen}");
    }
    for url in ["http://127.0.0.1\r\n/", "not a url", "http://", ""] {
        assert_eq!(send(&attache, json!({ "url": url }))["error"], "invalid-request", "{url:?}");
    }
    assert_eq!(service.received().len(), before);
}

#[test]
fn the_guest_does_not_write_the_query_parameter_that_is_attached() {
    let service = Service::plain();
    let attache = with_echo();
    connect(&attache, "query", &service, &[]).done();
    let seen = send(&attache, json!({ "url": format!("{}/?key=guess", service.base()) }));
    assert_eq!(seen["error"], "denied", "{seen}");
}

#[test]
fn a_redirect_elsewhere_is_denied() {
    let to = Arc::new(OnceLock::new());
    let (service, other) = (redirecting(302, to.clone()), Service::plain());
    to.set(format!("{}/loot", other.base())).unwrap();
    let attache = connected(&service);
    let seen = send(&attache, json!({ "url": format!("{}/redirect", service.base()) }));
    assert_eq!(seen["error"], "denied", "{seen}");
    assert!(other.received().is_empty());
}

#[test]
fn a_redirect_to_an_open_host_goes_without_the_credential() {
    let to = Arc::new(OnceLock::new());
    let (service, open) = (redirecting(307, to.clone()), Service::plain());
    to.set(format!("{}/public", open.base())).unwrap();
    let attache = with_echo();
    let set_open = format!("open={}", open.base());
    connect(&attache, "header", &service, &["--set", &set_open, "--allow-private", &open.authority()]).done();
    let seen = send(&attache, json!({ "url": format!("{}/redirect", service.base()) }));
    assert_eq!(seen["status"], 200, "{seen}");
    let received = open.received();
    assert_eq!((received.len(), received[0].header("x-api-key")), (1, None));
}

#[test]
fn a_redirect_to_another_origin_of_the_audience_carries_the_credential() {
    let to = Arc::new(OnceLock::new());
    let (service, other) = (redirecting(308, to.clone()), Service::plain());
    to.set(format!("{}/other", other.base())).unwrap();
    let attache = with_echo();
    let set_other = format!("other={}", other.base());
    connect(&attache, "header", &service, &["--set", &set_other, "--allow-private", &other.authority()]).done();
    let seen =
        send(&attache, json!({ "url": format!("{}/redirect", service.base()), "method": "POST", "body": "kept" }));
    assert_eq!(seen["status"], 200, "{seen}");
    let received = other.received();
    assert_eq!((received[0].header("x-api-key"), received[0].body.as_slice()), (Some(KEY), b"kept".as_slice()));
}

#[test]
fn a_redirect_that_carries_the_key_in_its_url_out_of_the_audience_is_denied() {
    let open = Service::plain();
    let target = open.base();
    let service = Service::start(move |request| match request.line.split("key=").nth(1) {
        Some(rest) if request.line.contains("/redirect") => {
            let key = rest.split([' ', '&']).next().unwrap();
            answer(302, &[("Location", &format!("{target}/loot?stolen={key}"))], "")
        }
        _ => ok("jo"),
    });
    let attache = with_echo();
    let set_open = format!("open={}", open.base());
    connect(&attache, "query", &service, &["--set", &set_open, "--allow-private", &open.authority()]).done();
    let seen = send(&attache, json!({ "url": format!("{}/redirect", service.base()) }));
    assert_eq!(seen["error"], "denied", "{seen}");
    assert!(seen["sentence"].as_str().unwrap().contains("with the credential in the URL"));
    assert!(open.received().is_empty());
}

#[test]
fn the_query_key_that_a_service_repeats_in_a_redirect_is_replaced_not_doubled() {
    let service = Service::start(|request| {
        let target = request.line.split(' ').nth(1).unwrap();
        match target.contains("/redirect") {
            true => answer(302, &[("Location", &target.replace("/redirect", "/there"))], ""),
            false => ok("jo"),
        }
    });
    let attache = with_echo();
    connect(&attache, "query", &service, &[]).done();
    assert_eq!(send(&attache, json!({ "url": format!("{}/redirect?a=1", service.base()) }))["status"], 200);
    assert_eq!(service.received().last().unwrap().line, format!("GET /there?a=1&key={KEY} HTTP/1.1"));
}

#[test]
fn an_open_host_is_called_without_the_credential_and_only_so() {
    let (service, open) = (Service::plain(), Service::plain());
    let attache = with_echo();
    let set_open = format!("open={}", open.base());
    connect(&attache, "header", &service, &["--set", &set_open, "--allow-private", &open.authority()]).done();
    let seen = send(&attache, json!({ "url": open.base() }));
    assert_eq!(seen["error"], "denied", "{seen}");
    assert!(seen["sentence"].as_str().unwrap().contains("open host"));
    assert_eq!(send(&attache, json!({ "url": open.base(), "attach": false }))["status"], 200);
    assert_eq!(open.received()[0].header("x-api-key"), None);
}

#[test]
fn a_redirect_loop_ends() {
    let to = Arc::new(OnceLock::new());
    let service = redirecting(302, to.clone());
    to.set("/redirect".to_owned()).unwrap();
    let attache = connected(&service);
    let before = service.received().len();
    let seen = send(&attache, json!({ "url": format!("{}/redirect", service.base()) }));
    assert!(seen["sentence"].as_str().unwrap().contains("more than 10 times"), "{seen}");
    assert_eq!(service.received().len() - before, 11);
}

#[test]
fn the_proxy_of_the_environment_is_not_used() {
    let (service, proxy) = (Service::plain(), Service::plain());
    let mut attache = connected(&service);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        attache.set(name, &proxy.base());
    }
    assert_eq!(send(&attache, json!({ "url": service.base() }))["status"], 200);
    assert!(proxy.received().is_empty());
}

#[test]
fn an_operation_that_is_declared_read_neither_changes_nor_takes_away() {
    let service = Service::plain();
    let attache = with_tools(&service);
    let before = service.received().len();
    let to = |method: &str, headers: Value| json!({ "url": service.base(), "method": method, "headers": headers });
    for (method, headers) in [
        ("PUT", json!([])),
        ("PATCH", json!([])),
        ("DELETE", json!([])),
        ("delete", json!([])),
        ("POST", json!([["X-HTTP-Method-Override", "DELETE"]])),
    ] {
        let seen = attache.call("work", "look", &to(method, headers.clone()));
        assert_eq!(seen["error"], "denied", "{method} {headers}: {seen}");
        assert!(seen["sentence"].as_str().unwrap().contains("declared `read`"), "{seen}");
        let shown = attache.run(&["call", "work", "look", "--input", &to(method, headers).to_string(), "--dry-run"]);
        shown.refused(5, "declared `read`");
    }
    assert_eq!(service.received().len(), before);
    let audit = attache.run(&["--output", "json", "audit", "list", "--connection", "work"]).json();
    let denied = audit.as_array().unwrap().iter().filter(|line| line["event"] == "request-denied").count();
    assert_eq!(denied, 5, "{audit}");
    // A question may be asked by POST; what is declared to change may.
    assert_eq!(attache.call("work", "look", &to("POST", json!([])))["status"], 200);
    assert_eq!(attache.call("work", "change", &to("PUT", json!([])))["status"], 200);
    assert_eq!(attache.call("work", "destroy", &to("DELETE", json!([])))["status"], 200);
}

/// A machine with a guest that has an operation of each effect.
fn with_tools(service: &Service) -> Attache {
    let attache = crate::machine();
    attache.add("tools");
    let (base, authority) = (format!("base={}", service.base()), service.authority());
    let what = ["connect", "tools", "--name", "work", "--auth", "none", "--set", &base, "--allow-private", &authority];
    attache.run(&[&what[..], &["--yes"]].concat()).done();
    attache
}
