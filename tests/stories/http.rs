//! The `http` connector: any REST service, here httpbin, which reflects what it is sent.

use attache_tests::{
    Attache, Browser, Running,
    peers::{self, Oidc, Peer},
    service::{Service, answer},
};
use serde_json::{Value, json};

use crate::{machine, oauth::allow_device};

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

/// A machine with an app of oidc-provider.
fn with_app(client: &str, config: &Value) -> (Attache, Oidc) {
    let (mut attache, oidc) = (machine(), peers::oidc(config));
    attache.set("APP_SECRET", &format!("{client}-secret-of-the-test"));
    attache.add("http");
    let base = oidc.peer.base();
    let mut set = vec!["app", "set", "http", "--client-id", client, "--origin", &base];
    if client != "device" {
        set.extend(["--client-secret", "env:APP_SECRET"]);
    }
    attache.run(&set).done();
    (attache, oidc)
}

/// Begins to connect, with these parameters beside the base URL; `ISSUER` in them is the provider.
fn begin_oauth2(attache: &Attache, oidc: &Oidc, parameters: &[&str], more: &[&str]) -> Running {
    let authority = oidc.peer.authority();
    let set = parameters.iter().chain(&["base-url=ISSUER/api"]).map(|it| it.replace("ISSUER", &oidc.peer.base()));
    let set: Vec<String> = set.flat_map(|pair| ["--set".to_owned(), pair]).collect();
    let fixed = ["connect", "http", "--auth", "oauth2", "--allow-private", &authority, "--timeout", "60"];
    let all: Vec<&str> =
        fixed.iter().copied().chain(set.iter().map(String::as_str)).chain(more.iter().copied()).collect();
    attache.begin(&all)
}

fn scope_of(attache: &Attache) -> Value {
    let answer = attache.call("http", "get", &json!({ "path": "/me" }));
    let about: Value = serde_json::from_str(answer["text"].as_str().unwrap_or_default()).unwrap_or_default();
    about["scope"].clone()
}

#[test]
fn a_person_signs_in_at_an_issuer_whose_urls_are_discovered() {
    let (attache, oidc) = with_app("web", &json!({}));
    let mut running = begin_oauth2(&attache, &oidc, &["issuer=ISSUER", "scopes=openid api:read"], &[]);
    finish_in_browser(&mut running);
    let out = running.ended();
    assert!(!out.err.contains("not grant"), "both scopes were asked for, each by itself: {}", out.err);
    out.done();
    assert_eq!(scope_of(&attache), "openid api:read");
}

#[test]
fn a_person_signs_in_at_urls_that_were_given_one_by_one() {
    let (attache, oidc) = with_app("web", &json!({}));
    let urls = [
        "authorization-url=ISSUER/auth",
        "token-url=ISSUER/token",
        "revocation-url=ISSUER/token/revocation",
        "scopes=openid",
    ];
    let mut running = begin_oauth2(&attache, &oidc, &urls, &[]);
    finish_in_browser(&mut running);
    running.ended().done();
    assert_eq!(attache.call("http", "get", &json!({ "path": "/me" }))["status"], 200);
    attache.run(&["connection", "remove", "http", "--yes"]).done();
    let paths: Vec<_> = oidc.asked().into_iter().map(|asked| asked.0["path"].clone()).collect();
    assert!(paths.contains(&json!("/token/revocation")), "{paths:?}");
    assert!(!paths.iter().any(|path| path.as_str().is_some_and(|path| path.contains("well-known"))), "{paths:?}");
}

#[test]
fn a_service_without_a_way_to_revoke_is_left_without_being_asked() {
    let (attache, oidc) = with_app("web", &json!({}));
    let urls = ["authorization-url=ISSUER/auth", "token-url=ISSUER/token", "scopes=openid"];
    let mut running = begin_oauth2(&attache, &oidc, &urls, &[]);
    finish_in_browser(&mut running);
    running.ended().done();
    let removed = attache.run(&["connection", "remove", "http", "--yes"]);
    assert!(!removed.err.contains("cannot be filled"), "{}", removed.err);
    removed.done();
}

#[test]
fn a_code_for_another_device_comes_from_the_issuer() {
    let (attache, oidc) = with_app("device", &json!({}));
    let parameters = ["issuer=ISSUER", "scopes=openid api:read"];
    let mut running = begin_oauth2(&attache, &oidc, &parameters, &["--device", "--yes"]);
    allow_device(&running.said("enter the code"));
    running.ended().done();
    assert_eq!(scope_of(&attache), "openid api:read");
}

#[test]
fn a_code_for_another_device_comes_from_a_url_that_was_given_alone() {
    let (attache, oidc) = with_app("device", &json!({}));
    let urls = ["device-authorization-url=ISSUER/device/auth", "token-url=ISSUER/token", "scopes=openid api:read"];
    let mut running = begin_oauth2(&attache, &oidc, &urls, &["--device", "--yes"]);
    allow_device(&running.said("enter the code"));
    running.ended().done();
    assert_eq!(scope_of(&attache), "openid api:read");
    let discovered = oidc.asked().iter().any(|it| it.0["path"].as_str().is_some_and(|it| it.contains("well-known")));
    assert!(!discovered, "nobody is asked for what was given");
}

#[test]
fn an_app_signs_in_as_itself_and_again_when_its_token_is_no_good_any_longer() {
    let (attache, oidc) = with_app("machine", &json!({}));
    let parameters = ["token-url=ISSUER/token", "scopes=api:read"];
    begin_oauth2(&attache, &oidc, &parameters, &["--client-credentials", "--yes"]).ended().done();
    assert_eq!(scope_of(&attache), "api:read");
    Browser::new().look(&format!("{}/test/forget", oidc.peer.base()));
    assert_eq!(scope_of(&attache), "api:read");
    assert_eq!(oidc.tokens("client_credentials").len(), 2);
}

#[test]
fn without_an_issuer_and_without_urls_it_says_what_is_missing() {
    let (attache, oidc) = with_app("web", &json!({}));
    begin_oauth2(&attache, &oidc, &[], &[]).ended().refused(2, "`issuer`");
    begin_oauth2(&attache, &oidc, &["token-url=ISSUER/token"], &[])
        .ended()
        .refused(6, "names a authorization endpoint");
}

/// Opens the link, agrees, signs in and allows.
#[track_caller]
fn finish_in_browser(running: &mut Running) {
    let browser = Browser::new();
    let provider = browser.submit(&browser.open(&running.said("http://127.0.0.1")), &[]);
    let last = browser.submit(&provider, &[("decision", "yes")]);
    assert!(last.html.contains("Connected"), "{}", last.html);
}
