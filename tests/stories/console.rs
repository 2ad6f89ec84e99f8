//! The console: the operator in a real browser, and whoever would like to be taken for them. Pictures of the pages are in
//! `target/screenshots` afterwards.

use attache::{
    connect::{ConnectRequest, SignedIn},
    secret::Secret,
    transport::PrivateAllowed,
};
use attache_tests::{
    Attache, connector,
    peers::{Oidc, chromium_console, oidc},
    service::{Service, answer},
};
use serde_json::{Value, json};

use crate::{
    connect, machine,
    oauth::SECRET,
    serving::{Host, serve},
    webhooks::{self, Receiver},
    with_echo,
};

/// A host that runs.
pub(crate) struct Console {
    pub(crate) attache: Attache,
    _host: Host,
    /// Where the console is.
    pub(crate) root: String,
}

impl Console {
    pub(crate) fn of(attache: Attache) -> Self {
        let (host, url) = serve(&attache, &[]);
        Self { attache, _host: host, root: format!("{url}console") }
    }

    /// A link to sign in with.
    #[track_caller]
    fn link(&self) -> String {
        self.attache.run(&["console", "--no-browser"]).done().trim().to_owned()
    }

    /// The steps that sign a browser in: a script fills the code in, or the person does.
    #[track_caller]
    fn sign_in(&self, javascript: bool) -> Vec<Value> {
        let link = self.link();
        let (_, code) = link.split_once('#').unwrap();
        let typed = if javascript { vec![] } else { vec![json!({ "fill": { "Code": code } })] };
        let begin = vec![json!({ "open": link })];
        [begin, typed, vec![json!({ "press": "Sign in" }), json!({ "see": "What needs attention" })]].concat()
    }

    /// Signs a browser in, and takes these steps.
    #[track_caller]
    pub(crate) fn go(&self, pictures: &str, javascript: bool, steps: &[Value]) -> Value {
        let steps = [self.sign_in(javascript), steps.to_vec()].concat();
        let seen = chromium_console(pictures, json!({ "javascript": javascript, "steps": steps }));
        for page in seen["pages"].as_array().unwrap().iter().filter(|page| page["tree"].is_string()) {
            is_in_order(page);
        }
        assert_eq!(seen["complaints"], json!([]), "a policy was broken, or a script failed");
        seen
    }
}

/// What every page is to a browser.
#[track_caller]
fn is_in_order(page: &Value) {
    let said = format!("{} {}\n{}", page["name"], page["url"], page["tree"].as_str().unwrap());
    assert_eq!((&page["lang"], &page["headings"]), (&json!("en"), &json!(1)), "{said}");
    assert_eq!((&page["unlabelled"], &page["injected"]), (&json!(0), &json!(0)), "{said}");
    assert_eq!(page["styled"], "1216px", "its policy lets its own style through: {said}");
    for width in page["widths"].as_array().unwrap() {
        assert_eq!(width[0], width[1], "nothing is wider than the window: {said}");
    }
}

#[track_caller]
pub(crate) fn page<'a>(seen: &'a Value, name: &str) -> &'a Value {
    let found = seen["pages"].as_array().unwrap().iter().find(|page| page["name"] == name);
    found.unwrap_or_else(|| panic!("{name} was not looked at"))
}

#[track_caller]
pub(crate) fn shows(seen: &Value, name: &str, words: &[&str]) {
    let text = page(seen, name)["text"].as_str().unwrap();
    for words in words {
        assert!(text.contains(words), "“{words}” is not on {name}:\n{text}");
    }
}

/// From nothing to a revoked consent: a connector is added, an account connected at a provider, called, and let go.
#[track_caller]
fn goes_all_the_way(javascript: bool) {
    let (console, oidc) = (Console::of(machine()), oidc(&json!({})));
    let pictures = if javascript { "console" } else { "" };

    let added = console.go(pictures, javascript, &adding());
    shows(&added, "empty", &["Nothing is connected here yet", "default", "console:tester"]);
    shows(&added, "proposal", &["Add oauth", "{base}", "What api:write is for", "write", "needs api:write"]);
    shows(&added, "connector", &["oauth 1.0.0", "{base}", "by console:tester", "needs api:write"]);
    shows(&added, "connectors", &["May send credentials to", "{base}"]);

    let base = oidc.peer.base();
    let seen = console.go(pictures, javascript, &connecting_calling_and_revoking(&console, &oidc));
    shows(&seen, "back", &["Connect work?"]);
    shows(&seen, "connection", &["connected", "jo", "in 59 min", "never", "api:read", "needs api:write"]);
    shows(&seen, "called", &["What came of it", "text of others", "\"status\": 200", "jo"]);
    shows(&seen, "preview", &["Nothing was sent", "GET", "/api/me"]);
    shows(&seen, "connections", &["work", "connected", "jo", "just now"]);
    shows(&seen, "consent", &["Nothing: it is for the very connector that is approved", &base, "by console:tester"]);
    shows(&seen, "audit", &["credential-used", "connection-pending", "connected", "console:tester"]);
    shows(&seen, "revoked", &["The consent to work is revoked", "The provider ended its tokens too"]);
    shows(&seen, "overview", &["needs reconnect", "was revoked at", "1 done"]);
    assert_eq!(oidc.asked().iter().filter(|it| it.0["path"] == "/token/revocation").count(), 2);
    let listed = console.attache.run(&["consent", "list"]).done();
    assert!(listed.contains("revoked"), "{listed}");
    console.attache.run(&["audit", "verify"]).done();
    // What a page loads is this host's, and the way to the provider is the only one that leads away.
    let mut reached: Vec<&str> = seen["requests"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    reached.sort_unstable();
    let mut known = [console.root.trim_end_matches("/console"), &base];
    known.sort_unstable();
    assert_eq!(reached, known);
}

fn adding() -> Vec<Value> {
    vec![
        json!({ "look": "empty" }),
        json!({ "follow": "Connectors" }),
        json!({ "follow": "Add a connector" }),
        json!({ "look": "add" }),
        json!({ "file": { "The connector's": connector("oauth") } }),
        json!({ "press": "Look at it" }),
        json!({ "see": "How it connects" }),
        json!({ "look": "proposal" }),
        json!({ "press": "Approve oauth 1.0.0" }),
        json!({ "see": "Isolation" }),
        json!({ "look": "connector" }),
        json!({ "follow": "Connectors" }),
        json!({ "look": "connectors" }),
        json!({ "press": "Sign out" }),
        json!({ "see": "Sign in to the console" }),
        json!({ "look": "sign-in" }),
    ]
}

fn connecting_calling_and_revoking(console: &Console, oidc: &Oidc) -> Vec<Value> {
    let (base, authority) = (oidc.peer.base(), oidc.peer.authority());
    let app = [
        json!({ "follow": "Connectors" }),
        json!({ "follow": "oauth" }),
        json!({ "follow": "Set the app" }),
        json!({ "fill": { "Client id": "web" } }),
        json!({ "fill": { "Client secret": SECRET } }),
        json!({ "fill": { "Where its secrets may go": base } }),
        json!({ "look": "app" }),
        json!({ "press": "Set the app" }),
        json!({ "see": "proves itself with client secret" }),
    ];
    let connect = [
        json!({ "follow": "Connections" }),
        json!({ "follow": "Connect an account" }),
        json!({ "follow": "oauth" }),
        json!({ "look": "choose" }),
        json!({ "follow": "discovered" }),
        json!({ "fill": { "Name of the connection": "work" } }),
        json!({ "fill": { "base": base } }),
        json!({ "fill": { "issuer": base } }),
        json!({ "fill": { "Private addresses": authority } }),
        json!({ "look": "connect" }),
        json!({ "press": "Go on" }),
        json!({ "press": format!("Agree and sign in at {base}") }),
        json!({ "until": format!("{base}/interaction/") }),
    ];
    let at_provider = [
        json!({ "login": "jo" }),
        json!({ "until": format!("{}/connect/back", console.root) }),
        json!({ "look": "back" }),
        json!({ "press": "Yes, connect work" }),
        json!({ "see": "Try a call" }),
        json!({ "look": "connection" }),
    ];
    let call = [
        json!({ "follow": "send" }),
        json!({ "fill": { "url": format!("{base}/api/me") } }),
        json!({ "look": "call" }),
        json!({ "press": "Show what would be sent" }),
        json!({ "see": "Nothing was sent" }),
        json!({ "look": "preview" }),
        json!({ "press": "Call" }),
        json!({ "see": "It was not ticked" }),
        json!({ "look": "not-ticked" }),
        json!({ "tick": "I want that" }),
        json!({ "press": "Call" }),
        json!({ "see": "What came of it" }),
        json!({ "look": "called" }),
    ];
    let after = [
        json!({ "follow": "Connections" }),
        json!({ "look": "connections" }),
        json!({ "follow": "Consents" }),
        json!({ "look": "consents" }),
        json!({ "follow": "work" }),
        json!({ "look": "consent" }),
        json!({ "follow": "Audit" }),
        json!({ "look": "audit" }),
        json!({ "open": format!("{}/consents/work", console.root) }),
        json!({ "follow": "Revoke it" }),
        json!({ "look": "sure" }),
        json!({ "press": "Revoke it" }),
        json!({ "see": "is revoked" }),
        json!({ "look": "revoked" }),
        json!({ "follow": "Overview" }),
        json!({ "unfold": "As a table" }),
        json!({ "look": "overview" }),
    ];
    [app.to_vec(), connect.to_vec(), at_provider.to_vec(), call.to_vec(), after.to_vec()].concat()
}

#[test]
fn an_operator_adds_a_connector_connects_at_a_provider_calls_and_revokes() {
    goes_all_the_way(true);
}

#[test]
fn the_same_goes_without_javascript() {
    goes_all_the_way(false);
}

#[test]
fn gateways_are_shown_with_their_last_contact() {
    let (console, private) = (Console::of(machine()), machine());
    let code = console.attache.run(&["gateway", "enroll", "plant"]).done();
    let url = console.root.trim_end_matches("console");
    let joined = private.run_with_input(&["gateway", "join", "--host", url, "--code", "-", "--output", "json"], code);
    let fingerprint = joined.json()["fingerprint"].as_str().unwrap().to_owned();
    let seen = console.go("console-gateways", true, &[json!({ "follow": "Gateways" }), json!({ "look": "gateways" })]);
    shows(&seen, "gateways", &["plant", "not connected", "never", &fingerprint, "let in by cli:tester"]);
}

/// Whatever a connector, a service or a failure says, a browser shows it as text.
#[test]
fn what_others_say_is_text_and_nothing_of_it_runs() {
    const MARKUP: &str = "</q><script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>";
    let console = Console::of(machine());
    let calls = format!("{}/connections/marked/operations/get", console.root);
    let add = [
        json!({ "open": format!("{}/add", console.root) }),
        json!({ "file": { "The connector's": connector("marked-up") } }),
        json!({ "press": "Look at it" }),
        json!({ "see": "How it connects" }),
        json!({ "look": "proposal" }),
        json!({ "press": "Approve marked-up 1.0.0" }),
        json!({ "see": "Isolation" }),
        json!({ "look": "connector" }),
        json!({ "follow": "Connect" }),
        json!({ "fill": { "Name of the connection": "marked" } }),
        json!({ "fill": { "key": "a-key-of-the-story" } }),
        json!({ "look": "connect" }),
        json!({ "press": "Go on" }),
        json!({ "see": "Agree and connect" }),
        json!({ "look": "agree" }),
        json!({ "press": "Agree and connect" }),
        json!({ "see": "Try a call" }),
        json!({ "look": "connection" }),
        json!({ "press": "Check it at the service" }),
        json!({ "see": "It is good" }),
        json!({ "look": "checked" }),
    ];
    let call = [
        json!({ "open": calls }),
        json!({ "look": "call" }),
        json!({ "press": "Call" }),
        json!({ "see": "What came of it" }),
        json!({ "look": "called" }),
        json!({ "choose": { "fails": "true" } }),
        json!({ "press": "Call" }),
        json!({ "see": "The connector failed" }),
        json!({ "look": "failed" }),
        json!({ "open": format!("{}/connections", console.root) }),
        json!({ "look": "connections" }),
        json!({ "open": format!("{}/connections/x%3Cscript%3Ealert(3)%3C%2Fscript%3E", console.root) }),
        json!({ "look": "nobody" }),
        json!({ "open": format!("{}/audit?connection=%22%3E%3Cscript%3Ealert(4)%3C%2Fscript%3E", console.root) }),
        json!({ "look": "audit" }),
    ];
    let seen = console.go("marked-up", true, &[&add[..], &call].concat());
    for name in [
        "proposal",
        "connector",
        "connect",
        "agree",
        "connection",
        "checked",
        "call",
        "called",
        "failed",
        "connections",
    ] {
        let (text, html) = (page(&seen, name)["text"].as_str().unwrap(), page(&seen, name)["html"].as_str().unwrap());
        assert!(
            text.contains(MARKUP) || html.contains("&lt;/q&gt;&lt;script&gt;alert(1)"),
            "it is shown on {name}: {html}"
        );
        assert!(!html.contains('\u{202e}'), "nothing is turned around on {name}");
    }
    shows(&seen, "nobody", &["x<script>alert(3)"]);
}

#[test]
fn an_open_page_shows_what_happens_while_it_is_open() {
    let service = Service::plain();
    let attache = with_echo();
    connect(&attache, "header", &service, &[]).done();
    let console = Console::of(attache);
    // When the browser asks this, the first page is there: then something happens.
    let is_open = Service::plain();
    let steps = [
        json!({ "see": "0 done" }),
        json!({ "keep": format!("{}/", is_open.base()) }),
        json!({ "see": "1 done" }),
        json!({ "see": "was revoked at" }),
        json!({ "look": "live" }),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while is_open.received().is_empty() {
                std::thread::yield_now();
            }
            console.attache.call("echo", "connection", &json!({}));
            console.attache.run(&["consent", "revoke", "echo"]).done();
        });
        console.go("console", true, &steps);
    });
}

#[test]
fn more_connections_than_one_page_shows_are_shown_page_by_page_and_found_by_name() {
    let (attache, service) = (with_echo(), Service::plain());
    {
        let (host, runtime) = (attache.host(), tokio::runtime::Runtime::new().unwrap());
        for number in 0..101 {
            let request = ConnectRequest {
                environment: "default".into(),
                connector: "echo".into(),
                name: format!("many-{number:03}"),
                option: "header".into(),
                parameters: [("base".to_owned(), service.base())].into(),
                secrets: [("key".to_owned(), Secret::new("a-key"))].into(),
                private: PrivateAllowed::parse([&service.authority()]).unwrap(),
                caller: "tester".into(),
                ..ConnectRequest::default()
            };
            let proposal = runtime.block_on(host.propose_connection(request)).unwrap();
            runtime.block_on(host.connect(&proposal, SignedIn::Agreed)).unwrap();
        }
    }
    let console = Console::of(attache);
    for list in ["Connections", "Consents"] {
        let steps = [
            json!({ "follow": list }),
            json!({ "look": "first" }),
            json!({ "follow": "Next page" }),
            json!({ "look": "last" }),
            json!({ "fill": { "Name of the connection": "many-007" } }),
            json!({ "press": "Open" }),
            json!({ "look": "found" }),
        ];
        let seen = console.go("console-pages", false, &steps);
        let html = |name: &str| page(&seen, name)["html"].as_str().unwrap();
        assert!(html("first").contains("many-099") && !html("first").contains("many-100"), "{list}");
        assert!(html("last").contains("many-100") && !html("last").contains("many-099"), "{list}");
        assert!(html("last").contains("First page") && !html("last").contains("Next page"), "{list}");
        assert!(html("found").contains("many-007") && !html("found").contains("many-008"), "{list}");
    }
}

#[test]
fn a_page_of_another_port_cannot_act_for_who_is_signed_in() {
    // Another port of this machine is the same site: the browser sends the session's cookie along.
    let service = Service::plain();
    let attache = with_echo();
    connect(&attache, "header", &service, &[]).done();
    let console = Console::of(attache);
    let target = format!("{}/connections/echo/remove", console.root);
    let evil = Service::start(move |_| {
        let form = format!(
            "<html lang=en><h1>Win</h1><form method=post action='{target}'><button>Win a prize</button></form>"
        );
        answer(200, &[("Content-Type", "text/html")], &form)
    });
    let steps = [
        json!({ "open": evil.base() }),
        json!({ "press": "Win a prize" }),
        json!({ "see": "not sent by a page of this host" }),
        json!({ "look": "forged" }),
    ];
    let seen = console.go("console", false, &steps);
    assert_eq!(page(&seen, "forged")["status"], 403);
    console.attache.run(&["connection", "check", "echo"]).done();
}

#[test]
fn the_overview_tells_of_webhooks_and_of_what_came_of_the_last_message() {
    let (receiver, service) = (Receiver::start().will(410, &[]), Service::plain());
    let console = Console::of(with_echo());
    webhooks::add(&console.attache, "hooks", &receiver, &[]);
    connect(&console.attache, "header", &service, &[]).done();
    webhooks::until(&console.attache, "hooks", |it| it["disabled"].is_string());
    let seen = console.go("webhooks", true, &[json!({ "look": "overview" })]);
    shows(
        &seen,
        "overview",
        &["disabled hooks", &receiver.url("/hooks"), "status 410", "1 were given up, 1 can be sent again"],
    );
    // Once the receiver is there again, the operator says so.
    let steps = [
        json!({ "press": "Enable hooks" }),
        json!({ "see": "hooks is told again" }),
        json!({ "follow": "To the overview" }),
        json!({ "look": "enabled" }),
    ];
    let seen = console.go("webhooks", false, &steps);
    assert!(!page(&seen, "enabled")["text"].as_str().unwrap().contains("disabled"));
    connect(&console.attache, "header", &service, &["--name", "again"]).done();
    assert_eq!(receiver.sent(2)[1].body["data"]["connection"], "again");
    // And has sent what it was not told.
    let steps = [
        json!({ "press": "Redeliver to hooks" }),
        json!({ "see": "hooks is told again what it missed" }),
        json!({ "follow": "To the overview" }),
    ];
    console.go("webhooks", false, &steps);
    let messages = receiver.sent(3);
    assert_eq!(messages[2].id, messages[0].id);
    webhooks::until(&console.attache, "hooks", |it| it["kept"] == 0);
}
