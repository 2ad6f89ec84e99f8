//! `/mcp`: agents with a caller key, over Streamable HTTP.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::Arc,
};

use attache::{
    Error, Kind,
    consent::Isolation,
    manifest::{Effect, Effects},
    server::mcp::{Links, Offer},
};
use attache_tests::{
    Canary, Embedded,
    mcp::{McpClient, Sdk, TestKeys, listen},
    service::Service,
};
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};
use url::Url;

use crate::{
    KEY,
    hostile::logged,
    machine,
    mcp::{Slow, error, lists_and_calls, outcome, shows, soon, the_inspector_does},
};

struct Story {
    embedded: Embedded,
    keys: Arc<TestKeys>,
    url: Url,
}

/// A host with the connection `work`, and a key that may read.
fn story(service: &Service) -> Story {
    story_with(service, None)
}

fn story_with(service: &Service, links: Option<Arc<dyn Links>>) -> Story {
    let embedded = Embedded::with("tools", Isolation::Call, |settings| settings.limits.value.input_bytes = 100_000);
    embedded.connect("work", "header", service, &[("!key", KEY)]).unwrap();
    let keys = Arc::new(TestKeys::of(&embedded));
    keys.give("reader", None, Effects::read());
    let url = listen(&embedded, keys.clone(), links);
    Story { embedded, keys, url }
}

impl Story {
    fn client(&self, sdk: Sdk) -> McpClient {
        McpClient::http(sdk, self.url.as_str(), "reader")
    }

    fn revoke(&self) {
        self.embedded.block_on(self.embedded.host().revoke_consent("default", "work", "tester")).unwrap();
    }

    /// Posts a message as no official client would.
    fn post(&self, headers: &[(&str, &str)], message: &Value) -> Response {
        let mut request = Client::new().post(self.url.clone());
        let accepts = [("accept", "application/json, text/event-stream"), ("content-type", "application/json")];
        for (name, value) in accepts.iter().chain(headers) {
            request = request.header(*name, *value);
        }
        request.body(message.to_string()).send().unwrap()
    }
}

fn hello() -> Value {
    let params =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "s", "version": "1" } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
}

#[test]
fn every_official_client_lists_and_calls_tools() {
    let service = Service::plain();
    let story = story(&service);
    for sdk in Sdk::ALL {
        lists_and_calls(&mut story.client(sdk), &service);
    }
}

#[test]
fn the_inspector_lists_and_calls_tools() {
    let service = Service::plain();
    let story = story(&service);
    let over = Ok((story.url.as_str(), "reader"));
    the_inspector_does(over, &service);
}

#[test]
fn without_a_key_nobody_is_let_in() {
    let story = story(&Service::plain());
    let refused = story.post(&[], &hello());
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], r#"Bearer realm="attache""#);
    for given in ["Bearer nobody's", "Bearer ", "Bearer"] {
        let refused = story.post(&[("authorization", given)], &hello());
        assert_eq!(refused.status(), 401, "{given}");
    }
    let refused = story.post(&[("authorization", "Bearer nobody's")], &hello());
    assert_eq!(refused.headers()["www-authenticate"], r#"Bearer realm="attache", error="invalid_token""#);
    let refused: Value = serde_json::from_str(&refused.text().unwrap()).unwrap();
    assert_eq!(refused["error"]["kind"], "denied", "{refused}");
    let welcome = story.post(&[("authorization", "bearer reader")], &hello());
    assert_eq!(welcome.status(), 200);
}

#[test]
fn a_host_that_runs_and_has_no_keys_lets_nobody_in() {
    let machine = machine();
    let mut host = machine.command(&["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let url = Url::parse(url.trim()).unwrap().join("mcp").unwrap();
    let answer = Client::new().post(url).header("authorization", "Bearer x").body("{}").send().unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    assert_eq!(answer.status(), 401);
}

#[test]
fn a_key_is_in_no_log() {
    let log = logged();
    let canary = Canary::new("canary-5d41402abc4b2a76");
    let service = Service::plain();
    let story = story(&service);
    story.keys.give(&canary.secret, None, Effects::read());
    for sdk in Sdk::ALL {
        let mut client = McpClient::http(sdk, story.url.as_str(), &canary.secret);
        let seen = client.call("work_look", json!({ "url": service.base() }));
        assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
    }
    let log = log.lock().unwrap();
    assert!(String::from_utf8_lossy(&log).contains("work_look"), "requests are logged when everything is");
    canary.is_not_in("the log", &log);
    canary.is_not_below(story.embedded.folder());
}

#[test]
fn a_page_elsewhere_and_a_name_that_was_rebound_are_refused() {
    let story = story(&Service::plain());
    let port = story.url.port().unwrap();
    let asks = |name: &str, value: &str| {
        story.post(&[("authorization", "Bearer reader"), (name, value)], &hello()).status().as_u16()
    };
    for elsewhere in ["https://evil.example", "null", "http://evil.example:80", "http://127.0.0.1.evil.example"] {
        assert_eq!(asks("origin", elsewhere), 403, "{elsewhere}");
    }
    let own = format!("http://127.0.0.1:{port}");
    for own in [own.as_str(), "http://localhost:6274"] {
        assert_eq!(asks("origin", own), 200, "{own}");
    }
    let rebound = format!("evil.example:{port}");
    for other in ["evil.example", &rebound, "attache.example.com"] {
        assert_eq!(asks("host", other), 403, "{other}");
    }
    assert_eq!(asks("host", &format!("localhost:{port}")), 200);
}

#[test]
fn a_session_is_of_no_use_with_another_key() {
    let service = Service::plain();
    let story = story(&service);
    story.keys.give("other", Some(&[]), Effects::all());
    let opened = story.post(&[("authorization", "Bearer reader")], &hello());
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    drop(opened);
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    let lists = |key: &str| {
        let key = format!("Bearer {key}");
        let answer = story.post(&[("authorization", &key), ("mcp-session-id", &session)], &list);
        (answer.status().as_u16(), answer.text().unwrap())
    };
    assert_eq!(lists("other").0, 404);
    let (status, mine) = lists("reader");
    assert!(status == 200 && mine.contains("work_look") && !mine.contains("work_change"), "{mine}");
    // What a key allows is asked each time.
    story.keys.give("reader", None, [Effect::Write].into_iter().collect());
    assert!(lists("reader").1.contains("work_change"));
    story.keys.give("reader", Some(&["nothing"]), Effects::all());
    assert!(!lists("reader").1.contains("work_"));
    story.keys.take("reader");
    assert_eq!(lists("reader").0, 401);
}

#[test]
fn tools_of_very_many_connections_are_listed_page_by_page() {
    let service = Service::plain();
    let story = story(&service);
    let names: Vec<String> = (0..210).map(|n| format!("c{n:03}")).collect();
    for name in &names {
        story.embedded.connect(name, "header", &service, &[("!key", KEY)]).unwrap();
    }
    story.keys.give("all", None, Effects::all());
    let few: Vec<&str> = names.iter().rev().take(201).map(String::as_str).chain(["nothing", "c000"]).collect();
    story.keys.give("few", Some(&few), Effects::read());
    let told = |response: Response| -> Value {
        let text = response.text().unwrap();
        let json = text.lines().filter_map(|line| line.strip_prefix("data: ")).find(|data| data.starts_with('{'));
        serde_json::from_str(json.unwrap_or(&text)).unwrap()
    };
    let pages = |key: &str| -> Vec<Vec<String>> {
        let bearer = format!("Bearer {key}");
        let opened = story.post(&[("authorization", &bearer)], &hello());
        let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        drop(opened);
        let (mut pages, mut cursor) = (Vec::new(), None);
        loop {
            let params = cursor.map_or_else(|| json!({}), |cursor: String| json!({ "cursor": cursor }));
            let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": params });
            let page = told(story.post(&[("authorization", &bearer), ("mcp-session-id", &session)], &list));
            let tools = page["result"]["tools"].as_array().unwrap().iter();
            pages.push(tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect());
            cursor = page["result"]["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return pages;
            }
        }
    };
    let all = pages("all");
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 55], "five tools of each, `work` too");
    let all: BTreeSet<String> = all.concat().into_iter().collect();
    assert_eq!(all.len(), 211 * 5, "none is listed twice");
    let few = pages("few");
    assert_eq!(few.iter().map(Vec::len).collect::<Vec<_>>(), [501, 105], "three of each that read");
    assert!(few.concat().iter().all(|name| !name.starts_with("c001_") && !name.starts_with("work_")));
    // Whoever cannot be used is named at the beginning, unless they are very many.
    for name in &names[..40] {
        story.embedded.block_on(story.embedded.host().revoke_consent("default", name, "tester")).unwrap();
    }
    let greeting = told(story.post(&[("authorization", "Bearer all")], &hello()));
    let greeting = greeting["result"]["instructions"].as_str().unwrap();
    assert_eq!(greeting.matches("cannot be used now").count(), 20, "{greeting}");
}

#[test]
fn a_message_that_is_too_large_is_not_read() {
    let story = story(&Service::plain());
    let padded = |bytes: usize| {
        let mut message = hello();
        message["params"]["padding"] = "x".repeat(bytes).into();
        story.post(&[("authorization", "Bearer reader")], &message).status().as_u16()
    };
    assert_eq!((padded(100_000), padded(200_000)), (200, 413));
}

#[test]
fn clients_are_told_when_their_tools_are_others() {
    for sdk in Sdk::ALL {
        let service = Service::plain();
        let story = story(&service);
        let mut client = story.client(sdk);
        if sdk == Sdk::Python {
            client.listen();
        }
        assert_eq!(client.names().len(), 3);
        story.embedded.connect("second", "header", &service, &[("!key", KEY)]).unwrap();
        assert_eq!(client.notice(), json!({ "changed": true }));
        assert!(client.names().contains(&"second_look".to_owned()));
        story.revoke();
        assert_eq!(client.notice(), json!({ "changed": true }));
        assert_eq!(client.names().iter().filter(|name| name.starts_with("work_")).count(), 0);
    }
}

#[test]
fn a_call_that_is_given_up_ends_and_the_audit_says_so() {
    let slow = Slow::start();
    let story = story(&slow.service);
    for (before, sdk) in Sdk::ALL.into_iter().enumerate() {
        let mut client = story.client(sdk);
        client.begin("work_look", slow.input());
        slow.asked(before + 1);
        client.cancel();
        let audit = story.embedded.host().audit_path();
        soon(&format!("the call of {sdk:?} never ended"), || outcome(&audit).as_deref() == Some("cancelled"));
        let seen = client.call("work_look", json!({ "url": slow.service.base() }));
        assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
    }
    slow.release();
}

#[test]
fn a_call_that_takes_long_is_reported_on() {
    for sdk in Sdk::ALL {
        let slow = Slow::start();
        let story = story(&slow.service);
        let mut client = story.client(sdk);
        client.begin("work_look", slow.input());
        let report = client.notice();
        assert!(report["progress"].as_f64().unwrap() >= 1.0, "{sdk:?}: {report}");
        slow.release();
        assert_eq!(client.end()["structuredContent"]["status"], 200);
    }
}

/// Makes links that lead nowhere.
struct OneLink;

const LINK: &str = "https://attache.example.com/connect/abc";

#[async_trait::async_trait]
impl Links for OneLink {
    async fn link(&self, offer: &Offer, connection: &str, _: &[String]) -> Result<Option<Url>, Error> {
        if offer.caller == "key:reader" && connection == "work" {
            return Ok(LINK.parse().ok());
        }
        Err(Kind::Denied.error("Not for you."))
    }
}

#[test]
fn a_consent_that_is_missing_comes_back_as_the_link_that_mends_it() {
    for sdk in Sdk::ALL {
        let service = Service::plain();
        let story = story_with(&service, Some(Arc::new(OneLink)));
        story.revoke();
        // One that can show a link to a person does, and is told once more what came of it.
        let mut client = McpClient::http_with_links(sdk, story.url.as_str(), "reader");
        let refused = shows(LINK, &mut client, "work_look", &json!({ "url": service.base() }));
        assert!(refused["hint"].as_str().unwrap().contains(LINK), "{refused}");
        drop(client);
        // One that cannot says it in its answer.
        let refused = error(&story.client(sdk).call("work_look", json!({ "url": service.base() })));
        assert_eq!(refused["link"], LINK, "{refused}");
    }
}
