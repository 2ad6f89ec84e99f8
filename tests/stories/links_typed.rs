//! Links for people who type keys: the link's page has a form for what whoever made it did not give, and what is typed is agreed
//! to, tried, and waits to be confirmed like what somebody signed in for.

use attache_tests::{
    Attache, Browser, Page,
    peers::{chromium, chromium_console},
    service::{Service, answer},
};
use reqwest::{Method, blocking::Client, redirect::Policy};
use serde_json::{Value, json};
use url::Url;

use crate::{
    KEY,
    console_guard::session,
    gateway, links, machine,
    serving::{self, Host, RETURN, code_of},
    webhooks::{self, Receiver},
    with_echo,
};

/// A host that runs, with the echo guest, and a service that knows one key.
pub(crate) struct Story {
    pub(crate) attache: Attache,
    pub(crate) service: Service,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) _host: Host,
}

/// A link, and the name of its session.
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) link: String,
}

pub(crate) fn story() -> Story {
    Story::of(with_echo(), &[])
}

/// A service of whoever has [`KEY`], or the password that is [`KEY`].
pub(crate) fn of_jo() -> Service {
    Service::start(|request| {
        let basic = request.header("authorization") == Some("Basic am86c3Rvcnkta2V5LThmMWMwMg==");
        match request.header("x-api-key") == Some(KEY) || basic {
            true => answer(200, &[], "jo"),
            false => answer(401, &[], "who are you?"),
        }
    })
}

impl Story {
    pub(crate) fn of(attache: Attache, more: &[&str]) -> Self {
        let (host, url) = serving::serve(&attache, more);
        Self::beside(attache, of_jo(), (host, url))
    }

    /// With a host that runs already, and another service.
    pub(crate) fn beside(attache: Attache, service: Service, (host, url): (Host, String)) -> Self {
        let key = attache.run(&["caller", "create", "portal", "--may", "administer"]).done().trim().to_owned();
        Self { attache, service, url, key, _host: host }
    }

    pub(crate) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = Client::new().request(method, format!("{}v1/{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().unwrap()).unwrap())
    }

    /// A link is asked for, for what is said over an API key for this service.
    pub(crate) fn try_link(&self, more: Value) -> (u16, Value) {
        let mut connection = json!({
            "connector": "echo", "name": "me", "auth-option": "header", "private": [self.service.authority()],
        });
        connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let wanted = json!({ "connection": connection, "owner": "alice", "return-url": RETURN });
        self.ask(Method::POST, "connect-sessions", Some(&wanted))
    }

    #[track_caller]
    pub(crate) fn link(&self, more: Value) -> Link {
        let (status, made) = self.try_link(more);
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Link { id: text("id"), link: text("link") }
    }

    /// A link for which only the key is to be typed.
    #[track_caller]
    pub(crate) fn link_for_a_key(&self) -> Link {
        self.link(json!({ "parameters": { "base": self.service.base() } }))
    }

    pub(crate) fn state(&self, link: &Link) -> String {
        let (_, state) = self.ask(Method::GET, &format!("connect-sessions/{}", link.id), None);
        state["state"].as_str().unwrap().to_owned()
    }

    pub(crate) fn confirm(&self, page: &Page) -> (u16, Value) {
        let confirm = json!({ "code": code_of(page), "owner": "alice" });
        self.ask(Method::POST, "connect-sessions/confirmations", Some(&confirm))
    }

    /// How many lines of the audit have these words.
    pub(crate) fn audited(&self, words: &str) -> usize {
        self.attache.run(&["audit", "list", "--limit", "1000"]).done().matches(words).count()
    }
}

#[track_caller]
pub(crate) fn says(page: &Page, status: u16, words: &str) {
    assert_eq!(page.status, status, "{}", page.html);
    assert!(page.html.contains(words), "“{words}” is not in {}", page.html);
}

#[test]
fn a_person_types_a_key_into_the_links_page_and_the_application_confirms() {
    let story = story();
    let link = story.link_for_a_key();
    let browser = Browser::that_stops_at(RETURN);
    let form = browser.open(&link.link);
    for words in [
        "Connect an account to",
        "key:portal",
        "alice",
        "<code>{base}</code>",
        "X-Api-Key",
        &format!("base: <code>{}</code>", story.service.base()),
        "name=\"s.key\" type=\"password\" autocomplete=\"new-password\"",
        "<textarea id=\"m-3\" name=\"m.key\"",
        "The connector never sees it.",
        "name=\"p.open\" type=\"url\"",
        "http://127.0.0.1:1",
    ] {
        says(&form, 200, words);
    }
    assert!(!form.html.contains("name=\"p.base\""), "what was given is not typed: {}", form.html);
    assert_eq!(story.state(&link), "open");
    let terms = browser.submit(&form, &[("s.key", KEY)]);
    for words in ["Agree and connect", &format!("<li><code>{}</code></li>", story.service.base()), "header x-api-key"] {
        says(&terms, 200, words);
    }
    assert!(!terms.html.contains("You sign in at"), "{}", terms.html);
    assert_eq!(story.state(&link), "begun");
    assert!(story.service.received().is_empty(), "nothing leaves before the person agrees");
    let back = browser.submit(&terms, &[]);
    assert!(back.url.as_str().starts_with(RETURN), "{}", back.html);
    assert_eq!(story.state(&link), "came-back");
    assert_eq!(story.ask(Method::GET, "connections", None).1["items"], json!([]), "nothing is connected yet");
    let (status, made) = story.confirm(&back);
    assert_eq!((status, &made["account"]), (201, &json!("jo")), "{made}");
    let input = json!({ "url": format!("{}/x", story.service.base()) });
    assert_eq!(story.attache.call("me", "send", &input)["body"], "jo");
    story.attache.run(&["audit", "verify"]).done();
}

#[test]
fn what_is_wrong_stands_on_the_same_form_and_a_key_that_is_refused_is_typed_again() {
    let (attache, receiver) = (with_echo(), Receiver::start());
    let secret = webhooks::add(&attache, "app", &receiver, &["--event", "session.ended"]);
    let story = Story::of(attache, &[]);
    let link = story.link(json!({ "auth-option": "basic" }));
    let browser = Browser::that_stops_at(RETURN);
    let form = browser.open(&link.link);
    let typed = |base: &str, key: &str| browser.submit(&form, &[("p.base", base), ("p.user", "jo"), ("s.key", key)]);
    let missing = typed("", KEY);
    says(&missing, 400, "`base` (The base) is missing.");
    assert!(!missing.html.contains("--set"), "nobody here has a command line: {}", missing.html);
    says(&typed("not a place", KEY), 400, "The value for `base` is not a URL.");
    says(&typed("https://user@example.com/x", KEY), 400, "value=\"https://user@example.com/x\"");
    assert_eq!(story.state(&link), "open", "nothing was accepted yet");
    let terms = typed(&story.service.base(), "a-key-that-is-no-good");
    says(&terms, 200, "user: <code>jo</code>");
    let refused = browser.submit(&terms, &[]);
    for words in [
        "role=\"alert\"",
        "its check failed",
        "tell whoever gave you the link",
        "value=\"jo\"",
        "Secrets have to be typed again.",
        "Go on",
    ] {
        says(&refused, 400, words);
    }
    assert!(!refused.html.contains("a-key-that-is-no-good"), "{}", refused.html);
    assert_eq!(story.state(&link), "begun", "the link is not used up");
    // What was agreed to is gone, and what it was typed for too.
    says(&browser.submit(&terms, &[]), 400, "has changed since");
    // Whoever looks at the terms may still change what they typed.
    let terms = typed(&story.service.base(), KEY);
    let change = browser.open(&format!("{}?change", link.link));
    says(&change, 200, "value=\"jo\"");
    let terms_again = browser.submit(&change, &[("s.key", KEY)]);
    says(&browser.submit(&terms, &[]), 400, "has changed since");
    let back = browser.submit(&terms_again, &[]);
    let (status, made) = story.confirm(&back);
    assert_eq!((status, &made["account"]), (201, &json!("jo")), "{made}");
    let messages = receiver.sent(1);
    assert_eq!(webhooks::verify(&secret, &messages), [true]);
    let data = &messages[0].body["data"];
    assert_eq!((&data["session-id"], &data["outcome"]), (&json!(link.id), &json!("connected")), "told once: {data}");
}

#[test]
fn one_form_is_not_sent_without_end() {
    let story = story();
    let link = story.link_for_a_key();
    let browser = Browser::new();
    let form = browser.open(&link.link);
    for _ in 0..20 {
        says(&browser.submit(&form, &[]), 400, "`key` (The key) is missing.");
    }
    says(&browser.submit(&form, &[("s.key", KEY)]), 429, "begun too often");
}

#[test]
fn a_person_types_where_their_instance_is_and_signs_in_there() {
    let (attache, provider) = links::with_app();
    let story = Story::of(attache, &[]);
    let asked = json!({ "connector": "oauth", "auth-option": "plain", "private": [provider.authority()] });
    let link = story.link(asked);
    let browser = Browser::that_stops_at(RETURN);
    let form = browser.open(&link.link);
    let typed = |issuer: &str| browser.submit(&form, &[("p.base", provider.url()), ("p.issuer", issuer)]);
    // What is the app's goes to the app's origins, whatever somebody types.
    let refused = typed("https://login.example.com");
    says(&refused, 403, "The secrets of the app");
    says(&refused, 403, "may not go to https://login.example.com");
    let terms = typed(provider.url());
    says(&terms, 200, &format!("Agree and sign in at {}", provider.url()));
    assert!(provider.asked("authorize").is_empty(), "nobody is sent before they agree");
    let back = browser.submit(&terms, &[]);
    assert!(back.url.as_str().starts_with(RETURN), "{} {}", back.url, back.html);
    assert_eq!(story.state(&link), "came-back");
    let (status, made) = story.confirm(&back);
    assert_eq!(status, 201, "{made}");
    // Where everything is given, there is no form.
    let given = json!({ "base": provider.url(), "issuer": provider.url() });
    let direct = story.link(json!({
        "connector": "oauth", "name": "other", "auth-option": "plain", "private": [provider.authority()], "parameters": given,
    }));
    says(&Browser::new().open(&direct.link), 200, "Agree and sign in at");
}

#[test]
fn several_values_are_typed_one_on_each_line_and_each_is_agreed_to() {
    let attache = machine();
    attache.add("several");
    let (story, other) = (Story::of(attache, &[]), of_jo());
    let private = [story.service.authority(), other.authority()];
    let link = story.link(json!({ "connector": "several", "auth-option": "key", "private": private }));
    let browser = Browser::that_stops_at(RETURN);
    let form = browser.open(&link.link);
    says(&form, 200, "One on each line.");
    let both = [story.service.base(), other.base()];
    // As browsers send the end of a line, and with one too many.
    let lines = format!("{}\r\n\r\n{}\r\n", both[0], both[1]);
    let wrong = browser.submit(&form, &[("p.hosts", &format!("{}\nnot a place", both[0])), ("s.key", KEY)]);
    says(&wrong, 400, &format!("{}\nnot a place</textarea>", both[0]));
    let terms = browser.submit(&form, &[("p.hosts", &lines), ("s.key", KEY)]);
    for origin in &both {
        says(&terms, 200, &format!("<li><code>{origin}</code></li>"));
    }
    let (status, made) = story.confirm(&browser.submit(&terms, &[]));
    assert_eq!(status, 201, "{made}");
    for origin in &both {
        let seen = story.attache.call("me", "send", &json!({ "url": format!("{origin}/x") }));
        assert_eq!(seen["body"], "jo", "{origin}");
    }
}

#[test]
fn a_person_agrees_where_there_is_nothing_to_type() {
    let attache = machine();
    attache.add("http");
    let running = serving::serve(&attache, &[]);
    let story = Story::beside(attache, Service::plain(), running);
    let base = format!("{}/", story.service.base());
    let link = story.link(json!({ "connector": "http", "auth-option": "none", "parameters": { "base-url": base } }));
    let browser = Browser::that_stops_at(RETURN);
    let form = browser.open(&link.link);
    says(&form, 200, "There is nothing to type.");
    says(&form, 200, "with no credential");
    let terms = browser.submit(&form, &[]);
    says(&terms, 200, &format!("<li><code>{}</code></li>", story.service.base()));
    assert!(story.service.received().is_empty(), "nothing leaves before the person agrees");
    let (status, made) = story.confirm(&browser.submit(&terms, &[]));
    assert_eq!(status, 201, "{made}");
    assert_eq!(story.attache.call("me", "get", &json!({ "path": "/x" }))["status"], 200);
    let asked = story.service.received();
    assert!(asked.iter().all(|it| it.header("authorization").is_none()), "it is called as nobody: {asked:?}");
}

#[test]
fn what_is_no_secret_is_typed_for_a_service_behind_a_gateway() {
    let service = Service::plain();
    let plant = gateway::Plant::reaching(&service.authority());
    let gateway::Plant { attache, host, url, running: _running, private: _private, .. } = plant;
    let story = Story::beside(attache, service, (host.unwrap(), url));
    let asked = json!({ "connector": "http", "auth-option": "none", "gateway": "plant", "private": [] });
    let link = story.link(asked);
    let browser = Browser::that_stops_at(RETURN);
    let form = browser.open(&link.link);
    says(&form, 200, "plant");
    let terms = browser.submit(&form, &[("p.base-url", &format!("{}/", story.service.base()))]);
    says(&terms, 200, &format!("<li><code>{}</code></li>", story.service.base()));
    says(&terms, 200, "plant");
    let (status, made) = story.confirm(&browser.submit(&terms, &[]));
    assert_eq!(status, 201, "{made}");
    // The host itself is let nowhere.
    assert_eq!(story.attache.call("me", "get", &json!({ "path": "/x" }))["status"], 200);
    let (_, shown) = story.ask(Method::GET, "connections/me", None);
    assert_eq!(shown["consent"]["gateway"]["name"], "plant", "{shown}");
}

#[test]
fn what_can_be_judged_when_a_link_is_made_is_not_left_to_the_person() {
    let plant = gateway::Plant::joined();
    let attache = with_echo();
    attache.add("oauth");
    let story = Story::of(attache, &[]);
    for (more, status, words) in [
        (json!({ "connector": "nobody" }), 404, "nobody"),
        (json!({ "auth-option": "nothing" }), 400, "has no auth option"),
        (json!({ "parameters": { "bass": "x" } }), 422, "has no parameter `bass`"),
        (json!({ "parameters": { "base": "not a place" } }), 422, "is not a URL"),
        (json!({ "parameters": { "key": KEY } }), 422, "`key` is a secret"),
        (json!({ "secrets": { "key": KEY } }), 422, "`key` was given for a link"),
        (json!({ "app": "acme" }), 400, "needs no app"),
        (json!({ "grant": "client-credentials" }), 400, "does not use OAuth 2.0"),
        (json!({ "scopes": ["mail"] }), 400, "has no scopes"),
        (json!({ "name": "not a name" }), 400, ""),
        (json!({ "connector": "oauth", "auth-option": "plain" }), 409, "none is registered here"),
        (json!({ "connector": "oauth", "auth-option": "device-at-base" }), 400, "a code for another device"),
        (
            json!({ "connector": "oauth", "auth-option": "certified", "grant": "device-code" }),
            400,
            "a code for another device",
        ),
    ] {
        let (got, refused) = story.try_link(more.clone());
        assert_eq!(got, status, "{more}: {refused}");
        assert!(refused["detail"].as_str().unwrap().contains(words), "{more}: {refused}");
    }
    let (base, owner) = ("base-url=https://api.example.com", ["--owner", "alice", "--return-url", RETURN]);
    let through = ["session", "create", "http", "--auth", "api-key-header", "--gateway", "plant", "--set", base];
    plant.attache.run(&[&through[..], &owner].concat()).refused(2, "a page of the host's is not that place");
}

#[test]
fn whoever_leaves_something_out_of_the_consoles_own_form_is_not_asked_by_a_link() {
    let attache = with_echo();
    attache.add("oauth");
    let story = Story::of(attache, &[]);
    let origin = story.url.trim_end_matches('/');
    let cookie = session(&story.attache, origin, &[]);
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let console = |method: Method, path: &str| {
        client.request(method, format!("{origin}/console{path}")).header("cookie", &cookie).header("origin", origin)
    };
    let page = console(Method::GET, "/connect?connector=oauth&option=plain").send().unwrap().text().unwrap();
    let token = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let fields = [
        ("token", token),
        ("connector", "oauth"),
        ("option", "plain"),
        ("name", "me"),
        ("p.base", "https://api.example.com"),
    ];
    let answer = console(Method::POST, "/connect").form(&fields).send().unwrap();
    let (status, page) = (answer.status().as_u16(), answer.text().unwrap());
    assert_eq!(status, 422, "{page}");
    assert!(page.contains("`issuer` (The issuer) is missing."), "{page}");
}

#[test]
fn a_link_leads_to_the_providers_page_where_a_command_would_ask_for_a_code() {
    // Regression: the command of the README was refused, since its connector begins with a code for another device.
    let attache = machine();
    attache.add("github");
    attache.run(&["app", "set", "github", "--client-id", "Iv1.8a61f9b3a7aba766"]).done();
    let story = Story::of(attache, &[]);
    let link = story.link(json!({ "connector": "github", "auth-option": "oauth2", "private": [] }));
    says(&Browser::new().open(&link.link), 200, "Agree and sign in at https://github.com");
}

#[test]
fn a_command_prints_such_a_link_and_says_in_its_help_that_there_are_such() {
    let story = story();
    let base = format!("base={}", story.service.base());
    let create = ["session", "create", "echo", "--auth", "header", "--set", &base, "--owner", "alice"];
    let more = ["--return-url", RETURN, "--allow-private", &story.service.authority()];
    let link = story.attache.run(&[&create[..], &more].concat()).done();
    says(&Browser::new().open(link.trim()), 200, "name=\"s.key\"");
    let help = story.attache.run(&["session", "create", "--help"]).done();
    assert!(help.contains("secrets are theirs to type"), "{help}");
}

/// What every page is to a browser.
#[track_caller]
fn is_in_order(page: &Value) {
    let said = format!("{} {}\n{}", page["name"], page["url"], page["tree"].as_str().unwrap());
    assert_eq!((&page["lang"], &page["headings"]), (&json!("en"), &json!(1)), "{said}");
    assert_eq!((&page["unlabelled"], &page["injected"]), (&json!(0), &json!(0)), "{said}");
    assert_eq!((&page["styled"], &page["scripts"]), (&json!("672px"), &json!(0)), "{said}");
    for width in page["widths"].as_array().unwrap() {
        assert_eq!(width[0], width[1], "nothing is wider than the window: {said}");
    }
}

#[test]
fn a_person_types_a_key_in_a_real_browser_without_javascript_and_everybody_can_read_and_use_the_page() {
    let application =
        Service::start(|_| answer(200, &[("Content-Type", "text/html")], "<html lang=en><h1>The application</h1>"));
    let back = format!("{}/connected", application.base());
    let story = Story::of(with_echo(), &["--return-url", &back]);
    let connection = json!({
        "connector": "echo", "name": "me", "auth-option": "basic", "private": [story.service.authority()],
        "parameters": { "base": story.service.base() },
    });
    let wanted = json!({ "connection": connection, "owner": "alice", "return-url": back });
    let (status, made) = story.ask(Method::POST, "connect-sessions", Some(&wanted));
    assert_eq!(status, 201, "{made}");
    let steps = json!([
        { "open": made["link"] },
        { "look": "form" },
        { "fill": { "user": "jo" } },
        { "fill": { "key": "a-key-that-is-no-good" } },
        { "press": "Go on" },
        { "see": "There it is sent as" },
        { "look": "terms" },
        { "press": "Agree and connect" },
        { "see": "Secrets have to be typed again." },
        { "look": "refused" },
        { "unfold": "It has several lines" },
        { "look": "unfolded" },
        { "fill": { "key": KEY } },
        { "press": "Go on" },
        { "press": "Agree and connect" },
        { "until": back },
    ]);
    let seen = chromium_console("link", json!({ "javascript": false, "steps": steps }));
    assert_eq!(seen["complaints"], json!([]), "a policy was broken");
    let pages = seen["pages"].as_array().unwrap();
    pages.iter().for_each(is_in_order);
    assert!(!pages[2]["html"].as_str().unwrap().contains("a-key-that-is-no-good"), "{}", pages[2]);
    let came = application.received().into_iter().find(|it| it.line.starts_with("GET /connected")).unwrap();
    assert_eq!(came.header("referer"), None);
    let url = Url::parse(&application.base()).unwrap().join(came.line.split(' ').nth(1).unwrap()).unwrap();
    let code = url.query_pairs().find(|(name, _)| name == "attache_code").unwrap().1.into_owned();
    let out = story.attache.run(&["session", "confirm", &code, "--owner", "alice"]);
    out.refused(3, "Only the caller that had the link made confirms");
    let confirm = json!({ "code": code, "owner": "alice" });
    let (status, made) = story.ask(Method::POST, "connect-sessions/confirmations", Some(&confirm));
    assert_eq!((status, &made["account"]), (201, &json!("jo")), "{made}");

    let link = story.link(json!({ "name": "other", "auth-option": "signed" }));
    let browser = Browser::new();
    let form = browser.open(&link.link);
    let wrong = browser.submit(&form, &[("p.base", "x"), ("s.key", KEY)]);
    let shown = [("typed-form", form), ("typed-wrong", wrong)];
    let shown: Vec<Value> = shown.iter().map(|(name, page)| json!({ "name": name, "html": page.html })).collect();
    let enlarged = json!({
        "links": [], "until": "", "window": [320, 256], "javascript": true, "again": false, "pages": shown,
    });
    let seen = chromium("read", enlarged);
    for page in seen["pages"].as_array().unwrap() {
        assert_eq!(
            (&page["broken"], &page["turning"], &page["spilling"]),
            (&json!([]), &json!([]), &json!([])),
            "{page}"
        );
        assert_eq!((&page["width"], &page["headings"]), (&json!(320), &json!(1)), "{page}");
    }
}
