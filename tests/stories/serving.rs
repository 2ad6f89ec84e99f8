//! `attache serve`: an application lets its own people connect, and confirms who came back.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    ops::{Deref, DerefMut},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use attache::digest::Digest;
use attache_tests::{
    Attache, Browser, Page,
    peers::{Oidc, oauth1, oidc},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::oauth::SECRET;

/// Where the application's people come back to. Nothing listens there.
pub const RETURN: &str = "http://127.0.0.1:1/connected";

pub struct Story {
    pub attache: Attache,
    oidc: Oidc,
    host: Host,
    url: String,
}

/// A host that runs until it is dropped.
pub struct Host(pub Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Deref for Host {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

/// A host that runs, with an app and a provider.
pub fn story(more: &[&str]) -> Story {
    let (mut attache, oidc) = (Attache::new(env!("CARGO_BIN_EXE_attache-under-test")), oidc(&json!({})));
    attache.add("oauth");
    attache.set("WEB_SECRET", SECRET);
    let base = oidc.peer.base();
    let app = ["app", "set", "oauth", "--client-id", "web", "--client-secret", "env:WEB_SECRET", "--origin", &base];
    attache.run(&app).done();
    let (host, url) = serve(&attache, more);
    Story { attache, oidc, host, url }
}

/// Starts a host, and gives its URL.
pub fn serve(attache: &Attache, more: &[&str]) -> (Host, String) {
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--return-url", RETURN];
    let mut host = attache.command(&[&fixed, more].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("http"), "it did not start: {url}");
    (Host(host), url.trim().to_owned())
}

/// The same host again, on a port that it had.
pub fn serve_at(attache: &Attache, port: &str) -> Host {
    let mut again = attache.command(&["serve", "--listen", &format!("127.0.0.1:{port}")]);
    let mut host = again.stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("http"), "it did not start: {url}");
    Host(host)
}

impl Story {
    fn create(&self, more: &[&str]) -> attache_tests::Outcome {
        let (base, authority) = (self.oidc.peer.base(), self.oidc.peer.authority());
        let set = [format!("base={base}"), format!("issuer={base}")];
        let fixed = ["session", "create", "oauth", "--auth", "discovered", "--set", &set[0], "--set", &set[1]];
        let fixed = [&fixed[..], &["--allow-private", &authority]].concat();
        self.attache.run(&[&fixed, more].concat())
    }

    /// A link for somebody.
    #[track_caller]
    pub fn link_for(&self, owner: &str) -> String {
        self.create(&["--return-url", RETURN, "--owner", owner]).done().trim().to_owned()
    }

    /// Where people sign in.
    pub fn provider(&self) -> String {
        self.oidc.peer.base()
    }

    /// A link for alice.
    #[track_caller]
    pub fn link(&self) -> String {
        self.create(&["--return-url", RETURN, "--owner", "alice", "--state", "of the app"]).done().trim().to_owned()
    }

    /// Goes all the way with a browser, to where the application takes over.
    #[track_caller]
    pub fn come_back(&self, link: &str) -> Page {
        let browser = Browser::that_stops_at(RETURN);
        let page = browser.open(link);
        assert!(page.html.contains("alice") && page.html.contains("http://127.0.0.1:1"), "{}", page.html);
        let provider = browser.submit(&page, &[]);
        browser.submit(&provider, &[("decision", "yes")])
    }

    pub fn confirm(&self, code: &str, owner: &str) -> attache_tests::Outcome {
        self.attache.run(&["session", "confirm", code, "--owner", owner])
    }

    fn revocations(&self) -> usize {
        self.oidc.asked().iter().filter(|it| it.0["path"] == "/token/revocation").count()
    }

    fn signal(&self) {
        signal(&self.host);
    }

    fn stop(&mut self) {
        stop(&mut self.host);
    }
}

fn signal(host: &Child) {
    kill_process(Pid::from_raw(host.id() as i32).unwrap(), Signal::TERM).unwrap();
}

/// Ends the host as a service manager does.
pub fn stop(host: &mut Child) {
    signal(host);
    assert!(host.wait().unwrap().success());
}

pub fn code_of(page: &Page) -> String {
    let code = page.url.query_pairs().find(|(name, _)| name == "attache_code");
    code.unwrap_or_else(|| panic!("no code in {}", page.url)).1.into_owned()
}

#[test]
fn a_person_connects_by_a_link_and_the_application_confirms() {
    let mut story = story(&[]);
    let page = story.come_back(&story.link());
    let state = page.url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    assert_eq!(state, "of the app");
    let out = story.confirm(&code_of(&page), "alice").done();
    assert!(out.contains("Connected `oauth`: jo."), "{out}");
    story.confirm(&code_of(&page), "alice").refused(3, "it was used");
    story.stop();
    let input = json!({ "url": format!("{}/api/me", story.oidc.peer.base()) });
    assert_eq!(story.attache.call("oauth", "send", &input)["status"], 200);
    story.attache.run(&["audit", "verify"]).done();
    assert!(!story.attache.data().join("attache.sock").exists());
}

#[test]
fn a_link_may_lead_to_a_page_in_the_middle_of_a_login() {
    // Regression: only OAuth 2.0 had links. What comes before the page is done by the host that runs, when the person agrees.
    let (mut attache, peer) = (Attache::new(env!("CARGO_BIN_EXE_attache-under-test")), oauth1());
    attache.add("visits");
    attache.set("KEY_SECRET", "the-consumers-secret");
    let (base, authority) = (peer.base(), peer.authority());
    let app = ["--set", "key=the-consumer", "--secret", "key-secret=env:KEY_SECRET", "--origin", &base];
    attache.run(&[&["app", "set", "visits"], &app[..]].concat()).done();
    let (mut host, _) = serve(&attache, &[]);
    let to = format!("base={base}");
    let link = ["session", "create", "visits", "--auth", "of-app", "--set", &to, "--allow-private", &authority];
    let link = attache.run(&[&link, &["--owner", "alice", "--return-url", RETURN][..]].concat()).done();
    let browser = Browser::that_stops_at(RETURN);
    let page = browser.open(link.trim());
    assert!(!peer.log().contains("/request-token"), "nothing leaves before the person agrees");
    // Somebody else who got the link may look, and from then on cannot go on.
    let (other, others) = (Browser::new(), Browser::new().open(link.trim()));
    let provider = browser.submit(&page, &[]);
    assert!(provider.url.as_str().starts_with(&format!("{base}/authorize")), "{}", provider.url);
    let refused = other.submit_only(&others, &[]);
    assert_eq!(refused.status, 403, "{}", refused.html);
    let back = browser.submit(&provider, &[("decision", "yes")]);
    let way_back = back.through.iter().find(|url| url.path().starts_with("/callback/")).unwrap();
    let again = other.look(way_back.as_str());
    assert_eq!(again.status, 404, "{}", again.html);
    let out = attache.run(&["session", "confirm", &code_of(&back), "--owner", "alice"]).done();
    assert!(out.contains("Connected `visits`: jo."), "{out}");
    stop(&mut host);
    let input = json!({ "url": format!("{base}/check") });
    assert_eq!(attache.call("visits", "send", &input)["status"], 200);
}

#[test]
fn a_link_that_was_forwarded_connects_nothing() {
    // alice has a link made and sends it to bob, who agrees and signs in. The application finds bob, not alice.
    let mut story = story(&[]);
    let page = story.come_back(&story.link());
    let refused = story.confirm(&code_of(&page), "bob").refused(5, "nothing is connected");
    assert!(refused.err.contains("`alice`") && refused.err.contains("`bob`"), "{}", refused.err);
    assert_eq!(story.revocations(), 2, "what bob's account gave is revoked at the provider");
    story.confirm(&code_of(&page), "alice").refused(3, "it was used");
    story.stop();
    assert_eq!(story.attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
    let audit = story.attache.run(&["audit", "list"]).done();
    assert!(audit.contains("connection-not-confirmed"), "{audit}");
}

#[test]
fn nothing_is_connected_until_it_is_confirmed() {
    let mut story = story(&[]);
    let page = story.come_back(&story.link());
    story.stop();
    assert_eq!(story.attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
    story.attache.try_call("oauth", "send", &json!({ "url": story.oidc.peer.base() })).refused(3, "no connection");
    let checked = story.attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]), "{checked}");
    drop(page);
}

#[test]
fn a_link_is_for_one_browser_and_one_time() {
    let story = story(&[]);
    let link = story.link();
    let page = story.come_back(&link);
    assert!(page.url.as_str().starts_with(RETURN));
    let again = Browser::new().open(&link);
    assert_eq!(again.status, 404);
    assert!(again.html.contains("not good any longer"), "{}", again.html);
    assert!(!again.html.contains("Nothing was connected"), "something may have been: {}", again.html);
}

#[test]
fn people_are_sent_to_no_address_that_the_operator_did_not_name() {
    let story = story(&["--return-url", "https://app.example.com/connected"]);
    for elsewhere in
        ["https://evil.example/", "https://app.example.com/connected/", "https://app.example.com/connected?x=y"]
    {
        story.create(&["--return-url", elsewhere, "--owner", "alice"]).refused(5, "People are not sent to");
    }
}

#[test]
fn links_are_made_of_what_the_operator_says_and_nothing_else() {
    let story = story(&["--public-url", "https://attache.example.com/connect-here/"]);
    assert!(story.link().starts_with("https://attache.example.com/connect-here/connect/"), "{}", story.link());
    let attache = Attache::new(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.run(&["serve", "--listen", "0.0.0.0:0"]).refused(2, "--public-url");
    attache.run(&["serve", "--public-url", "http://attache.example.com"]).refused(2, "in the clear");
}

#[test]
fn a_host_that_registers_itself_has_people_sent_back_to_where_browsers_find_it() {
    // Regression: it registered a port of loopback, so that the provider refused where people were to come back to.
    let (attache, oidc) = (Attache::new(env!("CARGO_BIN_EXE_attache-under-test")), oidc(&json!({})));
    attache.add("oauth");
    let (base, authority) = (oidc.peer.base(), oidc.peer.authority());
    let set = [format!("base={base}"), format!("issuer={base}")];
    let link = ["session", "create", "oauth", "--auth", "urls", "--set", &set[0], "--set", &set[1]];
    let link = [&link[..], &["--allow-private", &authority, "--owner", "alice", "--return-url", RETURN]].concat();
    let registered = || -> Vec<_> {
        let asked = oidc.asked().into_iter().filter(|it| it.0["path"] == "/reg" && it.0["status"] == 201);
        asked.map(|it| it.0["redirects"].clone()).collect()
    };
    let (mut host, _) = serve(&attache, &[]);
    attache.run(&link).done();
    stop(&mut host);
    let (mut host, _) = serve(&attache, &["--public-url", "https://attache.example.com/here/", "--behind-proxy"]);
    for _ in 0..2 {
        let made = attache.run(&link).done();
        assert!(made.starts_with("https://attache.example.com/here/connect/"), "{made}");
    }
    stop(&mut host);
    // A place of its own for each provider, where others know this host by one.
    let part = Digest::of(format!("{base}/reg").as_bytes()).short();
    let own = format!("https://attache.example.com/here/callback/{part}");
    let wanted = ["http://127.0.0.1/callback", &own];
    assert_eq!(registered(), wanted.map(|uri| json!([uri])), "{:?}", oidc.asked());
    let shown = attache.run(&["app", "list", "--output", "json"]).json();
    assert_eq!(shown.as_array().unwrap().len(), 2, "{shown}");
}

#[test]
fn the_socket_is_its_owners_alone_and_without_a_host_there_is_none() {
    let story = story(&[]);
    let socket = std::fs::metadata(story.attache.data().join("attache.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let attache = Attache::new(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.add("oauth");
    let link = ["session", "create", "oauth", "--auth", "discovered", "--owner", "alice", "--return-url", RETURN];
    attache.run(&link).refused(2, "attache serve");
}

#[test]
fn a_host_that_is_told_to_stop_does_not_wait_for_the_rest_of_a_request() {
    let mut story = story(&[]);
    let link = story.link();
    let page = story.come_back(&link);
    story.confirm(&code_of(&page), "alice").done();
    let mut socket = UnixStream::connect(story.attache.data().join("attache.sock")).unwrap();
    let head = "POST /v1/connect-sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    socket.write_all(format!("{head}Content-Length: 1000\r\n\r\n{{").as_bytes()).unwrap();
    let pages = url::Url::parse(&link).unwrap().socket_addrs(|| None).unwrap();
    let mut pages = TcpStream::connect(&pages[..]).unwrap();
    pages.write_all(b"POST /connect HTTP/1.1\r\nHost: ").unwrap();
    let began = Instant::now();
    story.signal();
    let ended = loop {
        if let Some(ended) = story.host.try_wait().unwrap() {
            break ended;
        }
        assert!(began.elapsed() < Duration::from_secs(18), "it waits for what never comes");
        std::thread::yield_now();
    };
    assert!(ended.success(), "{ended}");
    // Whoever holds the other half finds that nobody listens any longer, and everything is in its place.
    let checked = story.attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]), "{checked}");
    story.attache.run(&["audit", "verify"]).done();
    let input = json!({ "url": format!("{}/api/me", story.oidc.peer.base()) });
    assert_eq!(story.attache.call("oauth", "send", &input)["status"], 200);
    assert!(!story.attache.data().join("attache.sock").exists());
    drop((socket, pages));
}

#[test]
fn a_host_that_runs_keeps_alive_what_nobody_uses() {
    let story = story(&["--keep-alive", "1"]);
    let page = story.come_back(&story.link());
    story.confirm(&code_of(&page), "alice").done();
    let began = Instant::now();
    while story.oidc.tokens("refresh_token").is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "it was never renewed");
        std::thread::yield_now();
    }
    let asked: Value = story.oidc.tokens("refresh_token")[0].0.clone();
    assert_eq!(asked["status"], 200);
}

#[test]
fn an_application_that_waits_is_told_when_the_person_gets_further() {
    let story = story(&[]);
    let (base, url) = (story.oidc.peer.base(), story.url.clone());
    let key = story.attache.run(&["caller", "create", "portal", "--may", "administer"]).done().trim().to_owned();
    let client = reqwest::blocking::Client::new();
    let ask = |path: &str, body: Option<Value>| -> Value {
        let method = if body.is_some() { reqwest::Method::POST } else { reqwest::Method::GET };
        let mut request = client.request(method, format!("{url}v1/connect-sessions{path}")).bearer_auth(&key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        serde_json::from_str(&request.send().unwrap().text().unwrap()).unwrap()
    };
    let parameters = json!({ "base": base, "issuer": base });
    let made = json!({
        "connection": {
            "connector": "oauth", "auth-option": "discovered", "parameters": parameters,
            "private": [story.oidc.peer.authority()],
        },
        "owner": "alice", "return-url": RETURN,
    });
    let made = ask("", Some(made));
    let path = format!("/{}", made["id"].as_str().unwrap_or_else(|| panic!("{made}")));
    // Asks in the middle of what happens: the wait is much longer than the story, so that an answer shows that it was told.
    let waits = |known: &str, what_happens: &mut dyn FnMut()| -> Value {
        let mut asking = TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/')).unwrap();
        let head = format!(
            "GET /v1/connect-sessions{path}?state={known} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nPrefer: wait=60"
        );
        asking.write_all(format!("{head}\r\nAuthorization: Bearer {key}\r\n\r\n").as_bytes()).unwrap();
        let began = Instant::now();
        what_happens();
        let mut told = String::new();
        std::io::Read::read_to_string(&mut asking, &mut told).unwrap();
        assert!(began.elapsed() < Duration::from_secs(50), "it was not told: {told}");
        serde_json::from_str(told.rsplit("\r\n\r\n").next().unwrap()).unwrap()
    };
    assert_eq!(ask(&path, None)["state"], "open");
    let browser = Browser::that_stops_at(RETURN);
    let page = browser.open(made["link"].as_str().unwrap());
    let mut provider = None;
    assert_eq!(waits("open", &mut || provider = Some(browser.submit(&page, &[])))["state"], "begun");
    let provider = provider.unwrap();
    let back = waits("begun", &mut || drop(browser.submit(&provider, &[("decision", "yes")])));
    assert_eq!(back["state"], "came-back");
    assert_eq!(waits("came-back", &mut || ())["state"], "came-back", "it gets no further");
}

#[test]
fn a_request_that_calls_this_host_otherwise_gets_a_link_of_its_base_all_the_same() {
    let story = story(&[]);
    let key = story.attache.run(&["caller", "create", "portal", "--may", "administer"]).done().trim().to_owned();
    let base = story.oidc.peer.base();
    let asked = json!({
        "connection": {
            "connector": "oauth", "auth-option": "discovered", "parameters": { "base": base, "issuer": base },
            "private": [story.oidc.peer.authority()],
        },
        "owner": "alice", "return-url": RETURN,
    });
    let request = reqwest::blocking::Client::new().post(format!("{}v1/connect-sessions", story.url));
    let names = ["host", "x-forwarded-host", "x-forwarded-for", "x-forwarded-proto", "forwarded"];
    let request = names.into_iter().fold(request, |request, name| request.header(name, "evil.example"));
    let request = request.bearer_auth(key).header("content-type", "application/json").body(asked.to_string());
    let made = request.send().unwrap().text().unwrap();
    let made: Value = serde_json::from_str(&made).unwrap_or_else(|_| panic!("{made}"));
    let link = made["link"].as_str().unwrap_or_else(|| panic!("{made}"));
    assert!(link.starts_with(&format!("{}connect/", story.url)), "{link}");
}

#[test]
fn a_host_that_runs_ends_what_nobody_confirms() {
    let story = story(&["--confirm-within", "1"]);
    let page = story.come_back(&story.link());
    let began = Instant::now();
    while story.revocations() < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "what was not confirmed is still good at the provider");
        std::thread::yield_now();
    }
    story.confirm(&code_of(&page), "alice").refused(3, "nobody has it");
    let audit = story.attache.run(&["audit", "list"]).done();
    assert!(audit.contains("connection-not-confirmed"), "{audit}");
    assert_eq!(story.attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
}
