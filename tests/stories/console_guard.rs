//! Who is let into the console, and what may be done there: links, sessions, forms, and everything that is none of somebody's
//! business.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use attache::{
    connect::{ConnectRequest, SignedIn},
    server::console::Console,
    transport::PrivateAllowed,
};
use attache_tests::{Attache, Canary, connector, peers::free_port, service::Service};
use reqwest::{Method, blocking::Client, redirect::Policy};
use serde_json::json;

use crate::{
    connect, machine,
    serving::{Host, serve},
    with_echo,
};

struct Story {
    attache: Attache,
    service: Service,
    _host: Host,
    /// `http://127.0.0.1:PORT`
    origin: String,
}

/// What came back.
struct Answer {
    status: u16,
    location: String,
    cookie: String,
    headers: String,
    html: String,
}

/// A browser that says of its requests what a browser says.
struct Visitor<'a> {
    story: &'a Story,
    client: Client,
    cookie: String,
    token: String,
}

/// A host that runs, with the echo guest connected to a service.
fn story() -> Story {
    let (attache, service) = (with_echo(), Service::plain());
    connect(&attache, "header", &service, &[]).done();
    let (host, url) = serve(&attache, &[]);
    Story { attache, service, _host: host, origin: url.trim_end_matches('/').to_owned() }
}

impl Story {
    #[track_caller]
    fn code(&self, more: &[&str]) -> String {
        code(&self.attache, &self.origin, more)
    }

    fn stranger(&self) -> Visitor<'_> {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Visitor { story: self, client, cookie: String::new(), token: String::new() }
    }

    /// Somebody who has signed in.
    #[track_caller]
    fn operator(&self, more: &[&str]) -> Visitor<'_> {
        let mut visitor = self.stranger();
        visitor.cookie = session(&self.attache, &self.origin, more);
        let page = visitor.get("").html;
        visitor.token = token(&page);
        visitor
    }
}

impl Visitor<'_> {
    fn url(&self, path: &str) -> String {
        format!("{}/console{path}", self.story.origin)
    }

    fn get(&self, path: &str) -> Answer {
        answer(self.client.get(self.url(path)).header("cookie", &self.cookie))
    }

    fn sign_in(&self, code: &str) -> Answer {
        redeem(&self.client, &self.story.origin, code)
    }

    /// Sends a form of this session.
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields = [&[("token", self.token.as_str())], fields].concat();
        self.send(path, &[("origin", &self.story.origin)], &fields)
    }

    fn send(&self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
        let mut request = self.client.post(self.url(path)).header("cookie", &self.cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.form(fields))
    }

    fn upload(&self, token: &str, bytes: &[u8]) -> Answer {
        let field = |about: &str| format!("--b\r\nContent-Disposition: form-data; {about}\r\n\r\n");
        let before = format!("{}{token}\r\n{}", field("name=\"token\""), field("name=\"file\"; filename=\"it.wasm\""));
        let body = [before.as_bytes(), bytes, b"\r\n--b--\r\n"].concat();
        let request = self.client.post(self.url("/add")).header("cookie", &self.cookie).body(body);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        answer(request.header("origin", &self.story.origin))
    }
}

#[track_caller]
fn code(attache: &Attache, origin: &str, more: &[&str]) -> String {
    let link = attache.run(&[&["console", "--no-browser"], more].concat()).done();
    let (page, code) = link.trim().split_once('#').unwrap();
    assert_eq!(page, format!("{origin}/console/sign-in"));
    code.to_owned()
}

fn redeem(client: &Client, origin: &str, code: &str) -> Answer {
    answer(client.post(format!("{origin}/console/sign-in")).header("origin", origin).form(&[("code", code)]))
}

/// The cookie of somebody who has signed in.
#[track_caller]
pub(crate) fn session(attache: &Attache, origin: &str, more: &[&str]) -> String {
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let opened = redeem(&client, origin, &code(attache, origin, more));
    assert_eq!((opened.status, opened.location.as_str()), (303, "/console"), "{}", opened.html);
    opened.cookie.split(';').next().unwrap().to_owned()
}

/// What the forms of a page carry.
#[track_caller]
pub(crate) fn token(page: &str) -> String {
    page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn answer(request: reqwest::blocking::RequestBuilder) -> Answer {
    let answer = request.send().unwrap();
    let header = |name: &str| answer.headers().get(name).map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default();
    Answer {
        status: answer.status().as_u16(),
        location: header("location"),
        cookie: header("set-cookie"),
        headers: format!("{:?}", answer.headers()),
        html: answer.text().unwrap(),
    }
}

#[track_caller]
fn refused(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{}", answer.html);
    assert!(answer.html.contains(words), "“{words}” is not in\n{}", answer.html);
}

/// What everybody is shown: where they sign in, and what a page looks like.
const OPEN: [&str; 2] = ["/sign-in", "/assets/{name}"];

/// Every page and every form that is for who has signed in, each of something that is there.
fn all(method: &Method) -> Vec<String> {
    let all = Console::paths().into_iter().filter(|(its, path)| its == method && !OPEN.contains(path));
    let fill = |path: &str| {
        let operation = if *method == Method::GET { "send" } else { "connection" };
        let names = [("{connector}", "echo"), ("{connection}", "echo"), ("{operation}", operation), ("{name}", "hook")];
        names.into_iter().fold(path.to_owned(), |path, (placeholder, name)| path.replace(placeholder, name))
    };
    let all: Vec<String> = all.map(|(_, path)| fill(path).trim_end_matches('/').to_owned()).collect();
    assert!(all.len() > 14 && !all.iter().any(|path| path.contains('{')), "{all:?}");
    all
}

/// What a page is of.
fn pages() -> Vec<String> {
    let asked =
        ["/connect?connector=echo&option=header", "/connect?again=echo", "/connect/back?attache_code=x&state=y"];
    all(&Method::GET).into_iter().chain(asked.map(str::to_owned)).collect()
}

/// What does something.
fn forms() -> Vec<String> {
    all(&Method::POST)
}

#[test]
fn a_link_is_good_once_and_looking_at_it_does_not_use_it_up() {
    let story = story();
    let (code, browser) = (story.code(&[]), story.stranger());
    for _ in 0..3 {
        // The code stands behind the `#`, and is not sent.
        assert_eq!(browser.get("/sign-in").status, 200);
    }
    assert_eq!(browser.sign_in(&code).status, 303);
    let again = browser.sign_in(&code);
    refused(&again, 403, "it was used");
    assert!(again.cookie.is_empty() && again.html.contains("attache console"), "{}", again.html);
}

#[test]
fn whoever_guesses_codes_is_soon_answered_no_more() {
    let story = story();
    let browser = story.stranger();
    for _ in 0..20 {
        assert_eq!(browser.sign_in("AAAAA-AAAAA-AAAAA-AAAAA").status, 403);
    }
    refused(&browser.sign_in(&story.code(&[])), 429, "nobody signs in for now");
}

#[test]
fn without_a_session_there_is_a_hint_and_nothing_else() {
    let story = story();
    let mut stranger = story.stranger();
    for cookie in
        ["", "attache-console=x", &format!("attache-console-{}=AAAA", story.origin.rsplit(':').next().unwrap())]
    {
        cookie.clone_into(&mut stranger.cookie);
        for path in &pages() {
            let shown = stranger.get(path);
            refused(&shown, 401, "attache console");
            assert!(!shown.html.contains("echo") && !shown.html.contains("tester"), "{path}: {}", shown.html);
        }
        for path in &forms() {
            refused(&stranger.post(path, &[]), 401, "You are not signed in");
        }
    }
    story.attache.run(&["connection", "check", "echo"]).done();
}

#[test]
fn a_form_that_this_session_was_not_given_does_nothing() {
    let story = story();
    let (operator, other) = (story.operator(&[]), story.operator(&[]));
    let own = story.origin.as_str();
    for path in &forms() {
        for token in [None, Some(""), Some("x"), Some(other.token.as_str())] {
            let fields: Vec<_> = token.iter().map(|token| ("token", *token)).collect();
            let shown = operator.send(path, &[("origin", own)], &fields);
            // A file's form is of another shape.
            assert!(shown.status == 403 || (path == "/add" && shown.status == 400), "{path} {}", shown.html);
        }
    }
    refused(&operator.upload(&other.token, b"x"), 403, "This form was not given to you");
    story.attache.run(&["connection", "check", "echo"]).done();
    assert_eq!(operator.get("").status, 200, "it is signed in still");
}

#[test]
fn a_form_that_another_page_sends_does_nothing() {
    let story = story();
    let operator = story.operator(&[]);
    let own = story.origin.as_str();
    let port = free_port();
    let elsewhere: [&[(&str, &str)]; 8] = [
        &[],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", &format!("http://127.0.0.1:{port}"))],
        &[("sec-fetch-site", "cross-site"), ("origin", own)],
        &[("sec-fetch-site", "same-site"), ("origin", own)],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "none")],
    ];
    let token = [("token", operator.token.as_str())];
    for headers in elsewhere {
        for path in forms().iter().filter(|path| *path != "/add") {
            refused(&operator.send(path, headers, &token), 403, "not sent by a page of this host");
        }
        let signs_in = operator.send("/sign-in", headers, &[("code", &story.code(&[]))]);
        refused(&signs_in, 403, "not sent by a page of this host");
    }
    story.attache.run(&["connection", "check", "echo"]).done();
    for ours in [&[("origin", own)][..], &[("sec-fetch-site", "same-origin"), ("origin", "null")]] {
        assert_eq!(operator.send("/connections/echo/check", ours, &token).status, 200);
    }
}

#[test]
fn under_another_name_there_is_nothing() {
    // A page of evil.example whose name leads to this machine is of the same origin as what it asks, as browsers see it.
    let story = story();
    let operator = story.operator(&[]);
    let evil = "evil.example";
    for path in pages().iter().map(String::as_str).chain(["/sign-in"]) {
        let asked = operator.client.get(operator.url(path)).header("cookie", &operator.cookie).header("host", evil);
        refused(&answer(asked), 403, "This server is not called that");
    }
    for path in forms().iter().map(String::as_str).chain(["/sign-in"]) {
        let headers = [("host", evil), ("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")];
        let code = story.code(&[]);
        let sent = operator.send(path, &headers, &[("token", &operator.token), ("code", &code)]);
        refused(&sent, 403, "This server is not called that");
        assert_eq!(operator.stranger_signs_in(&code), 303, "the code was not used up");
    }
}

impl Visitor<'_> {
    fn stranger_signs_in(&self, code: &str) -> u16 {
        self.story.stranger().sign_in(code).status
    }
}

#[test]
fn a_session_is_of_one_environment_and_shows_nothing_of_another() {
    let story = story();
    story.attache.run(&["environment", "create", "staging"]).done();
    let operator = story.operator(&["--environment", "staging"]);
    for path in &pages() {
        let shown = operator.get(path);
        assert!(!shown.html.contains("/connections/echo\"") && !shown.html.contains("X-Api-Key"), "{path}");
        let names_it = path.contains("echo");
        assert_eq!(shown.status == 404, names_it, "{path}: {} {}", shown.status, shown.html);
    }
    let hook =
        ["webhook", "add", &story.service.base(), "--name", "hook", "--allow-private", &story.service.authority()];
    story.attache.run(&hook).done();
    for path in forms().iter().filter(|path| path.contains("echo") || path.contains("hook")) {
        let sent = operator.post(path, &[("isolation", "call"), ("name", "x"), ("environment", "default")]);
        assert_eq!(sent.status, 404, "{path}: {}", sent.html);
    }
    let audit = operator.get("/audit?environment=default&connection=echo");
    refused(&audit, 200, "No line was found");
    let charts = operator.get("?environment=default");
    refused(&charts, 200, "0 done");
    story.attache.run(&["connection", "check", "echo"]).done();
    story.attache.run(&["console", "--environment", "nowhere"]).refused(3, "nowhere");
}

#[test]
fn who_signs_out_is_signed_out() {
    let story = story();
    let (operator, other) = (story.operator(&[]), story.operator(&[]));
    let out = operator.post("/sign-out", &[]);
    assert_eq!((out.status, out.location.as_str()), (303, "/console/sign-in"));
    assert!(out.cookie.contains("Max-Age=0"), "{}", out.cookie);
    refused(&operator.get(""), 401, "not signed in");
    assert_eq!(other.get("").status, 200);
}

#[test]
fn what_a_browser_is_told_keeps_pages_and_cookies_to_themselves() {
    let story = story();
    let operator = story.operator(&[]);
    for answer in [operator.get(""), operator.get("/nothing"), story.stranger().get("/connections")] {
        for said in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
            "no-store",
            "no-referrer",
            "DENY",
            "nosniff",
            "\"cross-origin-resource-policy\": \"same-origin\"",
        ] {
            assert!(answer.headers.contains(said), "{said}: {}", answer.headers);
        }
        assert!(!answer.headers.contains("unsafe") && !answer.html.contains("<script>"), "{}", answer.headers);
    }
    let cookie = story.stranger().sign_in(&story.code(&[])).cookie;
    assert!(cookie.contains("; Path=/console; HttpOnly; SameSite=Strict"), "{cookie}");

    // Behind a proxy that ends TLS and hands on whom the browser asked for.
    let (attache, listen) = (machine(), format!("127.0.0.1:{}", free_port()));
    let public = ["--public-url", "https://attache.example.com/below/"];
    let mut host = attache.command(&[&["serve", "--listen", &listen], &public[..]].concat());
    let mut host = host.stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let link = attache.run(&["console", "--no-browser"]).done();
    let code = link.trim().strip_prefix("https://attache.example.com/below/console/sign-in#").unwrap();
    let asked = Client::builder().redirect(Policy::none()).build().unwrap();
    let asked = asked.post(format!("http://{listen}/below/console/sign-in")).form(&[("code", code)]);
    let asked = asked.header("host", "attache.example.com").header("origin", "https://attache.example.com");
    let signed_in = answer(asked);
    host.kill().unwrap();
    host.wait().unwrap();
    assert_eq!((signed_in.status, signed_in.location.as_str()), (303, "/below/console"), "{}", signed_in.html);
    assert!(signed_in.cookie.starts_with("__Host-attache-console="), "{}", signed_in.cookie);
    assert!(signed_in.cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{}", signed_in.cookie);
}

#[test]
fn nobody_makes_a_link_over_the_network() {
    let story = story();
    let key = story.attache.run(&["caller", "create", "all", "--may", "administer"]).done();
    let client = Client::new();
    for url in ["/v1/console-links?environment=default", "/console/v1/console-links"] {
        let asked = client.post(format!("{}{url}", story.origin)).bearer_auth(key.trim());
        assert_eq!(asked.header("origin", &story.origin).send().unwrap().status(), 404);
    }
    let alone = machine();
    alone.run(&["console"]).refused(2, "attache serve");
    alone.run(&["console", "--server", &story.origin]).refused(2, "on the host's own machine only");
}

#[test]
fn what_is_typed_as_a_secret_is_on_no_page_and_in_no_log() {
    let mut attache = with_echo();
    attache.set("ATTACHE_LOG", "trace");
    let service = Service::plain();
    let log = attache.folder().join("log");
    let mut host = attache.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut host = host.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let story = Story { attache, service, _host: Host(host), origin: url.trim().trim_end_matches('/').to_owned() };
    let operator = story.operator(&[]);
    let canary = Canary::new("a-secret-that-was-typed-51c9");
    let (base, authority) = (story.service.base(), story.service.authority());
    let fields = |private: &'static str| {
        [
            ("connector", "echo"),
            ("option", "header"),
            ("name", "typed"),
            ("s.key", "a-secret-that-was-typed-51c9"),
            ("private", private),
        ]
    };
    // First what does not fit: the form comes back, without the secret.
    let refused_form = operator.post("/connect", &[&fields("nowhere")[..], &[("p.base", "no url")]].concat());
    refused(&refused_form, 400, "Secrets have to be typed again");
    assert!(refused_form.html.contains("value=\"no url\""), "{}", refused_form.html);
    let private = [("p.base", base.as_str())];
    let mut right = fields("").to_vec();
    right.retain(|(name, _)| *name != "private");
    right.push(("private", &authority));
    let shown = operator.post("/connect", &[&right[..], &private].concat());
    refused(&shown, 200, "Agree and connect");
    let proposal = shown.html.split("name=\"proposal\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let made = operator.post("/connect/agree", &[("proposal", proposal)]);
    assert_eq!((made.status, made.location.as_str()), (303, "/console/connections/typed"), "{}", made.html);
    assert_eq!(
        story.service.received().last().unwrap().header("x-api-key"),
        Some(canary.secret.as_str()),
        "it was used"
    );
    let paths = ["", "/connections", "/connections/typed", "/connect?again=typed", "/consents/typed", "/audit"];
    let pages: Vec<Answer> = paths.iter().map(|path| operator.get(path)).collect();
    for page in pages.iter().chain([&refused_form, &shown, &made]) {
        canary.is_not_in("a page", page.html.as_bytes());
        canary.is_not_in("a header", page.headers.as_bytes());
    }
    assert!(fs::metadata(&log).unwrap().len() > 1_000, "it is logged");
    assert!(canary.is_not_below(story.attache.folder()) > 3);
}

#[test]
fn what_widens_is_shown_and_must_be_ticked_and_what_changed_since_stands_at_the_consent() {
    let story = story();
    let operator = story.operator(&[]);
    let propose = |name: &str| {
        let shown = operator.upload(&operator.token, &fs::read(connector(name)).unwrap());
        assert_eq!(shown.status, 200, "{}", shown.html);
        let proposal = shown.html.split("name=\"proposal\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        (proposal.to_owned(), shown.html)
    };
    let (first, _) = propose("upgrade-a");
    assert_eq!(operator.post("/add/approve", &[("proposal", &first)]).location, "/console/connectors/upgrade");
    let key = format!("key=file:{}", story.attache.file("key.txt", "a-key-of-the-story"));
    story.attache.run(&["connect", "upgrade", "--secret", &key, "--yes"]).done();
    refused(&operator.get("/consents/upgrade"), 200, "Nothing: it is for the very connector that is approved");
    let (second, html) = propose("upgrade-b");
    assert!(html.contains("It may do more than before") && html.contains("https://two.example"), "{html}");
    let unticked = operator.post("/add/approve", &[("proposal", &second), ("widens", "yes")]);
    refused(&unticked, 400, "It was not ticked");
    let ticked = operator.post("/add/approve", &[("proposal", &second), ("widens", "yes"), ("more", "yes")]);
    assert_eq!(ticked.status, 303, "{}", ticked.html);
    refused(&operator.get("/consents/upgrade"), 200, "new origin that receives the credential: https://two.example");
    refused(&operator.get(""), 200, "another version, which asks for more");
    refused(&operator.get("/connections/upgrade"), 200, "has not agreed to");
}

#[test]
fn a_failure_is_a_page_with_the_same_sentence_and_its_status() {
    let story = story();
    let operator = story.operator(&[]);
    refused(&operator.get("/nothing"), 404, "There is no such page");
    assert_eq!(operator.get("/").location, "/console", "however it is typed");
    refused(&operator.get("/connections/nobody"), 404, "nobody");
    refused(&operator.get("/audit?since=yesterday"), 400, "That is no time");
    refused(&operator.get("/audit?before=x"), 400, "query");
    refused(&operator.get("/connections/%ff"), 404, "name cannot be read");
    refused(&operator.upload(&operator.token, b"\0asm not at all"), 422, "role=\"alert\"");
    refused(&operator.upload(&operator.token, b""), 400, "No file was chosen");
    refused(&operator.post("/connectors/echo/remove", &[]), 403, "is used by echo");
    refused(&operator.post("/add/approve", &[("proposal", "x")]), 404, "There is nothing to agree to");
    refused(
        &operator.post("/connections/echo/operations/fail", &[("json", "{\"with\": \"upstream\"}")]),
        502,
        "I am a [31mteapot",
    );
    refused(&operator.post("/connections/echo/operations/fail", &[("json", "{")]), 422, "as JSON is none");
    refused(&operator.post("/connections/echo", &[]), 405, "does not take that method");
    let unsure = operator.post("/connections/echo/operations/send", &[("in.url", "x")]);
    refused(&unsure, 400, "nothing was called");
}

#[test]
fn a_way_back_is_of_the_session_that_sent_somebody() {
    let story = story();
    let operator = story.operator(&[]);
    refused(&operator.get("/connect/back?attache_code=x&state=y"), 403, "You were not sent to sign in from here");
    refused(&operator.post("/connect/back", &[("code", "x"), ("state", "y")]), 403, "do not use it");
}

#[test]
fn the_audit_is_filtered_and_turned_page_by_page() {
    let story = story();
    let operator = story.operator(&[]);
    let input = json!({}).to_string();
    for _ in 0..55 {
        let called = operator.post("/connections/echo/operations/connection", &[("json", &input)]);
        assert_eq!(called.status, 200, "{}", called.html);
    }
    let failed = operator.post("/connections/echo/operations/fail", &[("json", "{\"with\": \"not-found\"}")]);
    assert_eq!(failed.status, 404, "{}", failed.html);
    let numbers = |html: &str| -> Vec<u64> {
        let cells = html.split("data-label=\"Line\">").skip(1);
        cells.map(|rest| rest.split('<').next().unwrap().parse().unwrap()).collect()
    };
    // A line that nothing waits for is in the file soon, and not at once; that of the failure is the last.
    let failures = "/audit?outcome=failed&connection=echo";
    while numbers(&operator.get(failures).html).is_empty() {
        std::thread::yield_now();
    }
    let first = operator.get("/audit?event=call-ended&outcome=done&caller=console:tester").html;
    let newest = numbers(&first);
    assert!(newest.windows(2).all(|pair| pair[0] > pair[1]), "{newest:?}");
    let older = first.split("class=\"older\" href=\"/console").nth(1).unwrap().split('"').next().unwrap();
    let second = numbers(&operator.get(&older.replace("&#38;", "&")).html);
    assert!(second.len() == 5 && second[0] < newest[49], "{second:?}");
    assert_eq!(numbers(&operator.get(failures).html).len(), 1);
    for none in ["/audit?connection=other", "/audit?until=2020-01-01T00:00", "/audit?since=2999-01-01T00:00"] {
        refused(&operator.get(none), 200, "No line was found");
    }
    refused(&operator.get(""), 200, "55 done");
    refused(&operator.get("?span=fortnight"), 200, "1 failed");
}

#[test]
fn the_overview_counts_more_connections_than_a_page_of_a_list_has() {
    let (attache, service) = (with_echo(), Service::plain());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    {
        let host = attache.host();
        for number in 0..1_030 {
            let request = ConnectRequest {
                environment: "default".into(),
                connector: "echo".into(),
                name: format!("c{number:04}"),
                option: "none".into(),
                parameters: [("base".to_owned(), service.base())].into(),
                private: PrivateAllowed::parse([service.authority()]).unwrap(),
                caller: "tester".into(),
                ..ConnectRequest::default()
            };
            let proposal = runtime.block_on(host.propose_connection(request)).unwrap();
            runtime.block_on(host.connect(&proposal, SignedIn::Agreed)).unwrap();
        }
        for number in 1_005..1_030 {
            runtime.block_on(host.revoke_consent("default", &format!("c{number:04}"), "tester")).unwrap();
        }
        host.close().unwrap();
    }
    let watched = format!("127.0.0.1:{}", free_port());
    let (host, url) = serve(&attache, &["--metrics-listen", &watched]);
    let story = Story { attache, service, _host: host, origin: url.trim_end_matches('/').to_owned() };
    let operator = story.operator(&[]);
    let overview = operator.get("").html;
    assert!(overview.contains("<strong>1030</strong> connections"), "{overview}");
    let named = |number: usize| overview.contains(&format!("/connections/c{number:04}"));
    assert!((1_005..1_025).all(named) && !named(1_004) && !named(1_025), "{overview}");
    assert!(overview.contains("5 more <a"), "{overview}");
    // What changes is seen, whoever looked a moment before.
    story.attache.run(&["connection", "remove", "c1005", "--yes"]).done();
    let began = Instant::now();
    while !operator.get("").html.contains("4 more <a") {
        assert!(began.elapsed() < Duration::from_secs(60), "it is never seen");
    }
    let metrics = reqwest::blocking::get(format!("http://{watched}/metrics")).unwrap().text().unwrap();
    assert!(metrics.contains("attache_connections{state=\"needs-reconnect\"} 24\n"), "{metrics}");
}
