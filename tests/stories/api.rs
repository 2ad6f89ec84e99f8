//! The HTTP API: applications come in with a caller key and reach what it is for; the command line is another caller of it.

use std::collections::BTreeMap;

use attache_tests::{Attache, Outcome, service::Service};
use reqwest::{Method, blocking::Client};
use serde_json::{Value, json};

use crate::{
    connect,
    serving::{self, Host},
    with_echo,
};

/// A host that runs, with the echo guest connected to a service.
struct Story {
    attache: Attache,
    service: Service,
    url: String,
    _host: Host,
}

/// What came back.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    json: Value,
}

fn story() -> Story {
    let (attache, service) = (with_echo(), Service::plain());
    connect(&attache, "header", &service, &[]).done();
    let (host, url) = serving::serve(&attache, &[]);
    Story { attache, service, url, _host: host }
}

impl Story {
    /// Makes a key.
    #[track_caller]
    fn key(&self, name: &str, more: &[&str]) -> String {
        let create = [&["caller", "create", name], more].concat();
        self.attache.run(&create).done().trim().to_owned()
    }

    fn ask(&self, key: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let mut request = Client::new().request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().unwrap();
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let status = answer.status().as_u16();
        let text = answer.text().unwrap();
        let json = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        Answer { status, headers, json }
    }

    fn get(&self, key: &str, path: &str) -> Answer {
        self.ask(Some(key), "GET", path, None)
    }

    fn call(&self, key: &str, connection: &str, operation: &str, input: &Value) -> Answer {
        self.ask(Some(key), "POST", &format!("/v1/connections/{connection}/operations/{operation}"), Some(input))
    }

    /// What sends a request to the service.
    fn input(&self) -> Value {
        json!({ "url": format!("{}/x", self.service.base()) })
    }

    /// The command line, asking this host as somebody elsewhere does.
    fn run_elsewhere(&self, key: &str, arguments: &[&str]) -> Outcome {
        let mut elsewhere = Attache::new(env!("CARGO_BIN_EXE_attache-under-test"));
        elsewhere.set("ATTACHE_CALLER_KEY", key);
        elsewhere.run(&[&["--server", &self.url], arguments].concat())
    }
}

#[test]
fn an_application_calls_an_operation_with_its_key() {
    let story = story();
    let key = story.key("reports", &["--allow", "write"]);
    let seen = story.call(&key, "echo", "send", &story.input());
    assert_eq!((seen.status, &seen.json["status"]), (200, &json!(200)), "{}", seen.json);
    let id = story.get(&key, "/v1/connections/echo").json["connection"]["id"].as_str().unwrap().to_owned();
    assert_eq!(story.call(&key, &id, "send", &story.input()).status, 200, "by its id");
    let lines = story.attache.run(&["audit", "list", "--output", "json", "--event", "call-ended"]).json();
    assert_eq!(lines[0]["caller"], "key:reports", "{lines}");
    assert!(!lines.to_string().contains(&key));
}

#[test]
fn a_key_that_opens_nothing_is_answered_alike_whatever_is_wrong_with_it() {
    let story = story();
    let key = story.key("gone", &[]);
    story.attache.run(&["caller", "revoke", "gone"]).done();
    let over = story.key("over", &["--expires", "2020-01-01T00:00:00Z"]);
    let (id, _) = story.key("other", &[]).rsplit_once('_').map(|(id, secret)| (id.to_owned(), secret.len())).unwrap();
    let forged = format!("{id}_{}", "A".repeat(43));
    let mut answers = Vec::new();
    for shown in [key.as_str(), &over, &forged, "attache_x_y", "anything"] {
        let refused = story.get(shown, "/v1/connections");
        assert_eq!(refused.status, 401, "{shown}");
        assert!(refused.headers["www-authenticate"].starts_with("Bearer"), "{:?}", refused.headers);
        answers.push(refused.json);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(story.ask(None, "GET", "/v1/connections", None).status, 401);
}

#[test]
fn what_ends_a_key_or_a_connection_ends_it_for_whoever_used_it_a_moment_ago() {
    let story = story();
    let service = &story.service;
    let key = story.key("reports", &["--allow", "write"]);
    let call = |named: &str| story.call(&key, named, "send", &story.input()).status;
    let id = || story.get(&key, "/v1/connections/echo").json["connection"]["id"].as_str().unwrap().to_owned();
    let first = id();
    assert_eq!((call("echo"), call(&first)), (200, 200));
    story.attache.run(&["connection", "remove", "echo", "--yes"]).done();
    assert_eq!((call("echo"), call(&first)), (404, 404));
    // Another of its name is called by it, and not by the id of the one before.
    connect(&story.attache, "header", service, &[]).done();
    assert_eq!((call("echo"), call(&first), call(&id())), (200, 404, 200));
    story.attache.run(&["caller", "revoke", "reports"]).done();
    assert_eq!((call("echo"), story.get(&key, "/v1/connections").status), (401, 401));
    // So it is with one that runs out.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let key = story.key("brief", &["--allow", "write", "--expires", &soon.to_string()]);
    while story.call(&key, "echo", "send", &story.input()).status == 200 {
        assert!(jiff::Timestamp::now() < soon + jiff::SignedDuration::from_secs(60), "it never runs out");
    }
    assert_eq!(story.get(&key, "/v1/connections").status, 401);
}

#[test]
fn a_key_is_shown_once_and_kept_as_a_hash() {
    let story = story();
    let key = story.key("reports", &[]);
    // It may have underscores of its own.
    let secret = key.splitn(3, '_').nth(2).unwrap();
    let listed = story.attache.run(&["caller", "list", "--output", "json"]).done();
    assert!(listed.contains("reports") && !listed.contains(secret), "{listed}");
    assert!(attache_tests::Canary::new(secret).is_not_below(story.attache.folder()) > 3);
}

#[test]
fn a_key_does_what_it_is_for_and_nothing_else() {
    let story = story();
    let reads = story.key("reads", &[]);
    let refused = story.call(&reads, "echo", "send", &story.input());
    assert_eq!((refused.status, &refused.json["kind"]), (403, &json!("denied")), "{}", refused.json);
    assert_eq!(story.call(&reads, "echo", "connection", &json!({})).status, 200);
    assert!(!story.service.received().iter().any(|it| it.line.contains("/x")), "nothing left");
    for (method, path) in [("GET", "/v1/audit"), ("GET", "/v1/callers"), ("DELETE", "/v1/connections/echo")] {
        assert_eq!(story.ask(Some(&reads), method, path, None).status, 403, "{method} {path}");
    }
    let administers = story.key("administers", &["--may", "administer"]);
    assert_eq!(story.get(&administers, "/v1/audit").status, 200);
    // What is of no environment is the operator's.
    let everything = json!({ "name": "mine" });
    assert_eq!(story.ask(Some(&administers), "POST", "/v1/environments", Some(&everything)).status, 403);
    assert_eq!(story.ask(Some(&administers), "POST", "/v1/audit/verification", None).status, 403);
    // Nobody gives away more than they have.
    let more = json!({ "name": "more", "permissions": ["call"], "effects": ["destructive"] });
    assert_eq!(story.ask(Some(&administers), "POST", "/v1/callers", Some(&more)).status, 403);
}

#[test]
fn a_query_with_a_name_that_means_nothing_is_refused_and_not_read_as_none() {
    let story = story();
    let key = story.key("administers", &["--may", "administer", "--may", "call"]);
    for path in
        ["/v1/audit?conection=echo", "/v1/connections?limt=1", "/v1/connections/echo?x", "/v1/audit?limit=1&%0abefor=3"]
    {
        let refused = story.get(&key, path);
        assert_eq!((refused.status, &refused.json["kind"]), (400, &json!("usage")), "{path}: {}", refused.json);
        assert!(refused.json["detail"].as_str().unwrap().contains("which means nothing here"), "{}", refused.json);
    }
    for path in ["/v1/audit?connection=echo&limit=2", "/v1/connections?limit=1", "/v1/connections/echo"] {
        assert_eq!(story.get(&key, path).status, 200, "{path}");
    }
}

#[test]
fn the_audit_is_read_page_by_page_from_its_end() {
    let story = story();
    let key = story.key("administers", &["--may", "administer"]);
    let page = |query: &str| -> Vec<u64> {
        let lines = story.get(&key, &format!("/v1/audit?{query}")).json;
        lines.as_array().unwrap().iter().map(|line| line["seq"].as_u64().unwrap()).collect()
    };
    let all = page("limit=1000");
    assert!(all.len() > 4 && all.is_sorted(), "{all:?}");
    let mut pages = page("limit=2");
    while let Some(first) = pages.first().copied().filter(|first| *first > all[0]) {
        let before = page(&format!("limit=2&before={first}"));
        assert!(!before.is_empty() && before.len() <= 2 && before.iter().all(|seq| *seq < first), "{before:?} {first}");
        pages.splice(..0, before);
    }
    assert_eq!(pages, all);
    assert!(page(&format!("before={}", all[0])).is_empty());
}

#[test]
fn a_connection_that_a_key_does_not_reach_is_not_there() {
    let story = story();
    connect(&story.attache, "header", &story.service, &["--name", "other"]).done();
    let key = story.key("one", &["--connection", "echo", "--may", "call", "--may", "connect"]);
    let listed = story.get(&key, "/v1/connections");
    assert_eq!(listed.json["items"].as_array().unwrap().len(), 1, "{}", listed.json);
    let id = story.get(&story.key("all", &[]), "/v1/connections/other").json["connection"]["id"].clone();
    for (named, path) in [("other", "/v1/connections/{}"), ("other", "/v1/consents/{}")] {
        let foreign = story.get(&key, &path.replace("{}", named));
        let unknown = story.get(&key, &path.replace("{}", "never"));
        assert_eq!((foreign.status, unknown.status), (404, 404), "{path}");
        assert_eq!(foreign.json.to_string().replace("other", "never"), unknown.json.to_string());
    }
    assert_eq!(story.get(&key, &format!("/v1/connections/{}", id.as_str().unwrap())).status, 404);
    let made = json!({ "connector": "echo", "name": "mine", "auth-option": "none" });
    assert_eq!(story.ask(Some(&key), "POST", "/v1/connections/proposals", Some(&made)).status, 403);
}

#[test]
fn a_key_of_an_environment_that_was_removed_does_not_open_another_of_its_name() {
    let story = story();
    let create = || story.attache.run(&["environment", "create", "other"]).done();
    create();
    let key = story.key("theirs", &["--environment", "other"]);
    assert_eq!(story.get(&key, "/v1/connections").status, 200);
    story.attache.run(&["environment", "remove", "other"]).done();
    create();
    assert_eq!(story.get(&key, "/v1/connections").status, 401);
    story
        .attache
        .run(&["caller", "create", "x", "--may", "administer", "--connection", "echo"])
        .refused(2, "all of it");
}

#[test]
fn every_failure_is_a_problem_with_the_kind_of_the_command_line() {
    let story = story();
    let key = story.key("all", &["--may", "administer", "--may", "call", "--allow", "write"]);
    let input = json!({ "wrong": 1 });
    for (answer, status, kind) in [
        (story.get(&key, "/v1/nowhere"), 404, "not-found"),
        (story.ask(Some(&key), "PATCH", "/v1/connections", None), 405, "usage"),
        (story.get(&key, "/v1/connections?limit=0"), 400, "usage"),
        (story.get(&key, "/v1/connections?limit=x"), 400, "usage"),
        (story.call(&key, "echo", "nothing", &json!({})), 404, "not-found"),
        (story.call(&key, "echo", "send", &input), 422, "invalid-input"),
        (story.ask(Some(&key), "POST", "/v1/callers", Some(&input)), 422, "invalid-input"),
        (story.ask(Some(&key), "POST", "/v1/callers", None), 400, "usage"),
        (story.call(&key, "echo", "fail", &json!({ "with": "rate-limited" })), 429, "rate-limited"),
    ] {
        assert_eq!((answer.status, &answer.json["kind"]), (status, &json!(kind)), "{}", answer.json);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json["status"], status);
        assert!(answer.json["detail"].as_str().unwrap().ends_with('.'), "{}", answer.json);
    }
}

#[test]
fn a_long_list_comes_in_parts() {
    let story = story();
    for name in ["a", "b", "c", "d"] {
        connect(&story.attache, "header", &story.service, &["--name", name]).done();
    }
    let key = story.key("all", &[]);
    let mut names = Vec::new();
    let mut path = "/v1/connections?limit=2".to_owned();
    loop {
        let part = story.get(&key, &path).json;
        names.extend(part["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()));
        let Some(next) = part["next"].as_str() else { break };
        path = format!("/v1/connections?limit=2&after={next}");
    }
    assert_eq!(names, ["a", "b", "c", "d", "echo"]);
    let of = |key: &str, path: &str| {
        let part = story.get(key, path);
        assert_eq!(part.status, 200, "{path}: {}", part.json);
        let names = part.json["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>().join(" "), part.json["next"].clone())
    };
    // A cursor that nobody was given is a place in the list all the same.
    for (after, left) in
        [("bb", "c d"), ("%00", "a b"), ("a%00%00%00%00%01", "b c"), ("b/x", "c d"), ("zz", ""), ("%F0%90%80%80", "")]
    {
        assert_eq!(of(&key, &format!("/v1/connections?limit=2&after={after}")).0, left, "{after}");
    }
    let some = story.key("some", &["--connection", "d", "--connection", "a", "--connection", "c", "--may", "connect"]);
    for list in ["connections", "consents"] {
        assert_eq!(of(&some, &format!("/v1/{list}?limit=2")), ("a c".into(), json!("c")), "{list}");
        assert_eq!(of(&some, &format!("/v1/{list}?limit=2&after=c")), ("d".into(), Value::Null), "{list}");
    }
}

#[test]
fn the_command_line_asks_a_host_elsewhere_with_a_key() {
    let story = story();
    let key = story.key("elsewhere", &["--may", "call", "--may", "connect", "--allow", "write"]);
    let listed = story.run_elsewhere(&key, &["connection", "list"]).done();
    assert!(listed.contains("echo"), "{listed}");
    let input = story.input().to_string();
    let seen = story.run_elsewhere(&key, &["call", "echo", "send", "--input", &input, "--output", "json"]).json();
    assert_eq!(seen["status"], 200);
    story.run_elsewhere(&key, &["audit", "list"]).refused(5, "This key may not administer");
    story.run_elsewhere("attache_x_y", &["connection", "list"]).refused(5, "opens nothing");
    story.run_elsewhere(&key, &["key", "rotate"]).refused(2, "on the host's own machine");
    story.attache.run(&["--server", "http://attache.example.com", "connection", "list"]).refused(2, "in the clear");
}

#[test]
fn without_certificate_authorities_the_command_line_asks_this_machine_and_says_so_of_others() {
    // Regression: it said that there was no HTTP client, to the host of its own machine too.
    let mut story = story();
    let none = story.attache.file("authorities.pem", "");
    let key = story.key("elsewhere", &["--may", "call"]);
    story.attache.set("SSL_CERT_FILE", &none).set("ATTACHE_CALLER_KEY", &key);
    story.attache.run(&["connection", "list"]).done();
    story.attache.run(&["--server", &story.url, "connection", "list"]).done();
    let elsewhere = ["--server", "https://attache.example.com", "connection", "list"];
    story.attache.run(&elsewhere).refused(6, "no certificate authorities");
}
