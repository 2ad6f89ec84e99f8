//! Links and their pages in the hands of people, browsers, pages and callers that mean no good.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use attache_tests::{
    Attache, Browser, Page,
    service::Service,
    simulate::{CLIENT, Simulated},
};
use reqwest::{Method, blocking::Client};
use serde_json::{Value, json};

use crate::{
    connect, machine,
    serving::{self, Host, RETURN, code_of},
    with_echo,
};

/// A host that runs, with an app and a provider that approves everything.
struct Story {
    attache: Attache,
    provider: Simulated,
    host: Host,
    url: String,
}

/// A machine with the app of a provider that lets everybody in.
pub fn with_app() -> (Attache, Simulated) {
    let (mut attache, provider) =
        (machine(), Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &["--approve"]));
    attache.add("oauth");
    attache.set("SECRET", CLIENT.1);
    let app = ["app", "set", "oauth", "--client-id", CLIENT.0, "--client-secret", "env:SECRET", "--origin"];
    attache.run(&[&app[..], &[provider.url()]].concat()).done();
    (attache, provider)
}

fn story(more: &[&str]) -> Story {
    let (attache, provider) = with_app();
    let (host, url) = serving::serve(&attache, more);
    Story { attache, provider, host, url }
}

impl Story {
    /// What a link is asked for with.
    fn wanted(&self, return_url: &str) -> Value {
        json!({
            "connection": {
                "connector": "oauth", "auth-option": "plain", "name": "me", "private": [self.provider.authority()],
                "parameters": { "base": self.provider.url(), "issuer": self.provider.url() },
            },
            "owner": "alice", "return-url": return_url,
        })
    }

    fn key(&self, name: &str, permission: &str) -> String {
        self.attache.run(&["caller", "create", name, "--may", permission]).done().trim().to_owned()
    }

    fn post(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = Client::new().post(format!("{}v1/{path}", self.url)).bearer_auth(key);
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().unwrap()).unwrap())
    }

    #[track_caller]
    fn link(&self, key: &str) -> String {
        let (status, made) = self.post(key, "connect-sessions", &self.wanted(RETURN));
        assert_eq!(status, 201, "{made}");
        made["link"].as_str().unwrap().to_owned()
    }

    /// Goes all the way, to where the application takes over.
    #[track_caller]
    fn come_back(&self, link: &str) -> Page {
        let browser = Browser::that_stops_at(RETURN);
        browser.submit(&browser.open(link), &[])
    }
}

/// What every page is to a browser, whatever it says.
#[track_caller]
fn keeps_to_itself(status: u16, answer: &str, what: &str) {
    let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    assert!(head.starts_with(&format!("http/1.1 {status}")), "{what}: {answer}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
        "x-frame-options: deny",
        "x-content-type-options: nosniff",
    ] {
        assert!(head.contains(header), "{what}: no {header} in {head}");
    }
}

/// Sends these very bytes, and gives the answer.
fn raw(story: &Story, request: &str) -> String {
    let mut stream = TcpStream::connect(authority(story)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn authority(story: &Story) -> &str {
    story.url.trim_start_matches("http://").trim_end_matches('/')
}

#[test]
fn whatever_is_sent_to_these_pages_is_answered_by_one_that_keeps_to_itself() {
    // Regression: what could not be read was answered by the library under it, without any of these headers.
    let story = story(&[]);
    let link = story.link(&story.key("portal", "administer"));
    let path = link.strip_prefix(story.url.trim_end_matches('/')).unwrap();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let long = format!("token={}", "x".repeat(5_000));
    for (status, method, path, headers, body) in [
        (200, "GET", path, "", ""),
        (404, "GET", "/connect/nobody", "", ""),
        (404, "GET", "/connect/%ff", "", ""),
        (404, "GET", "/callback/%ff", "", ""),
        (404, "GET", "/callback?code=x&state=y", "", ""),
        (404, "GET", "/nowhere", "", ""),
        (405, "PUT", path, "", ""),
        (405, "POST", "/callback", form, "code=x&state=y"),
        (400, "POST", path, form, ""),
        (400, "POST", path, form, "token=x&token=y"),
        (400, "POST", path, form, &long),
        (400, "POST", path, "Content-Type: application/json\r\n", "{}"),
        (404, "POST", "/connect/%ff", form, "token=x"),
        (403, "POST", path, form, "token=x"),
    ] {
        let what = format!("{method} {path} {headers}{body:.40}");
        let (host, length) = (authority(&story), body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {length}"
        );
        keeps_to_itself(status, &raw(&story, &format!("{head}\r\n\r\n{body}")), &what);
    }
}

#[test]
fn under_another_name_there_is_no_page_whatever_else_the_request_says() {
    let story = story(&[]);
    let link = story.link(&story.key("portal", "administer"));
    let path = link.strip_prefix(story.url.trim_end_matches('/')).unwrap();
    let port = authority(&story).rsplit_once(':').unwrap().1;
    for host in [
        "evil.example".to_owned(),
        format!("localhost:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        "127.0.0.1".into(),
        String::new(),
    ] {
        for more in ["", "X-Forwarded-Host: 127.0.0.1\r\n"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
            keeps_to_itself(403, &raw(&story, &request), &host);
        }
    }
}

#[test]
fn a_page_elsewhere_does_not_press_the_button_and_neither_does_another_browser() {
    let story = story(&[]);
    let link = story.link(&story.key("portal", "administer"));
    let page = Client::new().get(&link).send().unwrap();
    let cookie = page.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let html = page.text().unwrap();
    let token = html.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let press = |cookie: &str, token: &str, site: &str| {
        let request = Client::new().post(&link).header("cookie", cookie).header("sec-fetch-site", site);
        request.form(&[("token", token)]).send().unwrap().status().as_u16()
    };
    // Another port of this machine is the same site, and its page sends the same cookie.
    for site in ["cross-site", "same-site"] {
        assert_eq!(press(&cookie, &token, site), 403, "{site}");
    }
    let (name, _) = cookie.split_once('=').unwrap();
    let other = format!("{name}={}", "A".repeat(43));
    for (cookie, token) in [("", token.as_str()), (other.as_str(), &token), (&cookie, ""), (&cookie, "x")] {
        assert_eq!(press(cookie, token, "same-origin"), 403, "{cookie} {token}");
    }
    assert!(story.provider.asked("authorize").is_empty());
    assert_eq!(press(&cookie, &token, "same-origin"), 200);
}

#[test]
fn each_port_of_this_machine_has_a_browser_name_of_its_own() {
    // Regression: browsers share cookies among ports, so that two hosts, and whatever else listens here, shared one.
    let story = story(&[]);
    let page = Client::new().get(story.link(&story.key("portal", "administer"))).send().unwrap();
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    let port = authority(&story).rsplit_once(':').unwrap().1;
    assert!(cookie.starts_with(&format!("attache-browser-{port}=")), "{cookie}");
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Domain"), "{cookie}");
}

#[test]
fn people_are_sent_back_to_nothing_that_an_application_would_misread() {
    let story = story(&["--return-url", "com.example.app:/connected?tenant=7"]);
    let key = story.key("portal", "administer");
    for (url, status) in [
        ("http://127.0.0.1:1/x#fragment", 400),
        ("http://app.example.com@127.0.0.1:1/", 400),
        ("http://127.0.0.1:1/?state=of-another", 400),
        ("http://127.0.0.1:1/?attache%5Fcode=of-another", 400),
        ("http://127.0.0.1@evil.example/", 403),
        ("http://localhost.:1/", 403),
        ("https://127.0.0.1:1/", 403),
        ("javascript:alert(1)", 403),
        ("com.example.app:/connected", 403),
        ("com.example.app:/connected?tenant=7&tenant=8", 403),
    ] {
        let (got, said) = story.post(&key, "connect-sessions", &story.wanted(url));
        assert_eq!(got, status, "{url}: {said}");
    }
    // A key that does not administer has no loopback of its own.
    let small = story.key("small", "connect");
    assert_eq!(story.post(&small, "connect-sessions", &story.wanted("http://127.0.0.1:1/x")).0, 403);
    let mut wanted = story.wanted("com.example.app:/connected?tenant=7");
    wanted["state"] = "a b&attache_code=forged#?".into();
    let (_, made) = story.post(&key, "connect-sessions", &wanted);
    let browser = Browser::that_stops_at("com.example.app:");
    let page = browser.open(made["link"].as_str().unwrap());
    assert!(page.html.contains("<code>com.example.app:</code>"), "an app has no origin: {}", page.html);
    let back = browser.submit(&page, &[]);
    let pairs: Vec<(String, String)> = back.url.query_pairs().into_owned().collect();
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        (names.as_slice(), pairs[1].1.as_str()),
        (&["tenant", "state", "attache_code"][..], "a b&attache_code=forged#?")
    );
    wanted["state"] = "x".repeat(2_001).into();
    assert_eq!(story.post(&key, "connect-sessions", &wanted).0, 400);
}

#[test]
fn a_host_does_not_start_that_would_send_people_where_codes_are_lost_or_read() {
    let attache = machine();
    let refused = |url: &str, why: &str| {
        attache.run(&["serve", "--listen", "127.0.0.1:0", "--return-url", url]).refused(2, why);
    };
    refused("https://app.example.com/#/connected", "behind the `#`");
    refused("https://app.example.com/?state=x", "adds `state` itself");
    refused("https://app.example.com@evil.example/", "look like a host");
    refused("javascript:alert(1)", "opens no application");
    refused("http://app.example.com/connected", "in the clear");
}

#[test]
fn another_application_of_the_same_environment_neither_watches_nor_confirms() {
    let story = story(&[]);
    let (ours, theirs) = (story.key("ours", "connect"), story.key("theirs", "administer"));
    let mut wanted = story.wanted(RETURN);
    wanted["connection"].as_object_mut().unwrap().remove("private");
    let (status, refused) = story.post(&ours, "connect-sessions", &wanted);
    assert_eq!(status, 403, "a private address is the operator's to allow: {refused}");
    let (_, made) = story.post(&theirs, "connect-sessions", &story.wanted(RETURN));
    let page = story.come_back(made["link"].as_str().unwrap());
    let progress = |key: &str| -> Value {
        let path = format!("{}v1/connect-sessions/{}", story.url, made["id"].as_str().unwrap());
        let answer = Client::new().request(Method::GET, path).bearer_auth(key).send().unwrap();
        serde_json::from_str(&answer.text().unwrap()).unwrap()
    };
    assert_eq!((&progress(&theirs)["state"], &progress(&ours)["state"]), (&json!("came-back"), &json!("gone")));
    let confirm = json!({ "code": code_of(&page), "owner": "alice" });
    let (status, problem) = story.post(&ours, "connect-sessions/confirmations", &confirm);
    assert_eq!((status, &problem["kind"]), (404, &json!("not-found")), "{problem}");
    let caller = story.key("caller", "call");
    assert_eq!(story.post(&caller, "connect-sessions/confirmations", &confirm).0, 403);
    let (status, made) = story.post(&theirs, "connect-sessions/confirmations", &confirm);
    assert_eq!(status, 201, "{made}");
}

#[test]
fn a_host_that_starts_anew_knows_nobody_who_was_on_the_way_and_everybody_who_came_back() {
    let mut story = story(&[]);
    let key = story.key("portal", "administer");
    let page = story.come_back(&story.link(&key));
    let on_the_way = Browser::that_stops_at(&format!("{}callback", story.url));
    let shown = on_the_way.open(&story.link(&key));
    let back = on_the_way.submit(&shown, &[]);
    assert!(back.url.query().unwrap().contains("code="), "{}", back.url);
    let redeemed = || story.provider.tokens("authorization_code").len();
    let before = redeemed();
    serving::stop(&mut story.host);
    let port = authority(&story).rsplit_once(':').unwrap().1;
    let _again = serving::serve_at(&story.attache, port);
    let late = on_the_way.look(back.url.as_str());
    assert_eq!(late.status, 404, "{}", late.html);
    assert_eq!(redeemed(), before, "the code was not even redeemed");
    let (status, made) =
        story.post(&key, "connect-sessions/confirmations", &json!({ "code": code_of(&page), "owner": "alice" }));
    assert_eq!(status, 201, "{made}");
}

#[test]
fn who_knows_where_a_command_waits_but_not_its_state_cannot_end_it() {
    let story = story(&[]);
    let set = [format!("base={}", story.provider.url()), format!("issuer={}", story.provider.url())];
    let connect = ["connect", "oauth", "--auth", "plain", "--name", "me", "--set", &set[0], "--set", &set[1]];
    let allowed = ["--allow-private", story.provider.authority(), "--timeout", "60"];
    let mut running = story.attache.begin(&[&connect[..], &allowed].concat());
    let link = running.said(story.url.trim_end_matches('/'));
    let browser = Browser::that_stops_at("http://127.0.0.1");
    let page = Browser::new().open(&link);
    let return_to = page.html.split("Afterwards you go back to").nth(1).unwrap();
    let return_to = return_to.split("<code>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    for query in ["", "?attache_code=x", "?attache_code=x&state=y", "?state=a&state=b", "?attache_code=x&state="] {
        let refused = browser.look(&format!("{return_to}/connected{query}"));
        assert_eq!(refused.status, 403, "{query}: {}", refused.html);
    }
    let person = Browser::new();
    let last = person.submit(&person.open(&link), &[]);
    assert!(last.html.contains("Connected"), "{}", last.html);
    assert!(running.ended().done().contains("Connected `me`"));
}

#[test]
fn whoever_reconnects_does_not_take_what_is_stored_to_another_origin() {
    // Regression: a key that may connect could reconnect a connection with another base URL, and what somebody else had typed
    // was sent there.
    let (attache, service, elsewhere) = (with_echo(), Service::plain(), Service::plain());
    connect(&attache, "header", &service, &["--allow-private", &elsewhere.authority()]).done();
    let provider = Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &[]);
    let (host, url) = serving::serve(&attache, &[]);
    let story = Story { attache, provider, host, url };
    let key = story.key("mallory", "connect");
    let again = |more: Value| {
        let mut wanted = json!({ "connector": "echo", "name": "echo", "again": true });
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        story.post(&key, "connections/proposals", &wanted)
    };
    let (status, refused) = again(json!({ "parameters": { "base": elsewhere.base() } }));
    assert_eq!(status, 422, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("`key`") && detail.contains(&elsewhere.base()), "{refused}");
    assert!(elsewhere.received().is_empty());
    // Who knows it gives it, and who changes nothing of where it goes need not.
    assert_eq!(
        again(json!({ "parameters": { "base": elsewhere.base() }, "secrets": { "key": "one-of-mallorys" } })).0,
        201
    );
    let (status, proposed) = again(json!({}));
    assert_eq!(status, 201, "{proposed}");
    let (status, made) = story.post(&key, "connections", &json!({ "proposal": proposed["proposal"] }));
    assert_eq!(status, 201, "{made}");
}
