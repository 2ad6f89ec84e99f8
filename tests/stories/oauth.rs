//! Connecting by signing in: against oidc-provider, which is certified, as a person with a browser does it.

use attache::{consent::Isolation, digest::Digest};
use attache_tests::{
    Attache, Browser, Embedded, Page, Running, connector,
    peers::{Oidc, oidc},
    service::{Service, answer},
    simulate::{CLIENT, Simulated},
};
use serde_json::{Value, json};

pub const SECRET: &str = "web-secret-of-the-test";
pub const CALLBACK: &str = "http://127.0.0.1";
const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");

/// The connector `oauth`, an app, and a provider.
pub struct Story {
    pub attache: Attache,
    pub oidc: Oidc,
}

/// With an app that proves itself with a secret.
pub fn story(config: &Value) -> Story {
    let mut story = bare(config);
    story.attache.set("WEB_SECRET", SECRET);
    story.app(&["--client-id", "web", "--client-secret", "env:WEB_SECRET"]);
    story
}

/// Without an app.
pub fn bare(config: &Value) -> Story {
    let (attache, oidc) = (Attache::new(BINARY), oidc(config));
    attache.add("oauth");
    Story { attache, oidc }
}

impl Story {
    #[track_caller]
    pub fn app(&self, more: &[&str]) {
        let base = self.oidc.peer.base();
        let set = [&["app", "set", "oauth", "--origin", &base], more].concat();
        self.attache.run(&set).done();
    }

    /// What connects.
    pub fn arguments<'a>(&'a self, option: &'a str, more: &[&'a str]) -> Vec<String> {
        let (base, authority) = (self.oidc.peer.base(), self.oidc.peer.authority());
        let set = [format!("base={base}"), format!("issuer={base}")];
        let fixed = ["connect", "oauth", "--auth", option, "--set", &set[0], "--set", &set[1]];
        // What goes wrong ends soon.
        let allowed = ["--allow-private", &authority, "--timeout", "60"];
        let all = fixed.iter().chain(&allowed).chain(more);
        all.map(|it| (*it).to_owned()).collect()
    }

    /// Begins to connect.
    pub fn begin(&self, option: &str, more: &[&str]) -> Running {
        let arguments = self.arguments(option, more);
        self.attache.begin(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Connects as a person does: opens the link, agrees, signs in, allows.
    #[track_caller]
    pub fn connect(&self, option: &str, more: &[&str]) -> Page {
        self.finish(self.begin(option, more))
    }

    /// Goes on as a person does from the link that was printed.
    #[track_caller]
    pub fn finish(&self, mut running: Running) -> Page {
        let link = running.said("http://127.0.0.1");
        let (browser, page) = at_provider(&link);
        let last = browser.submit(&page, &[("decision", "yes")]);
        let out = running.ended().done();
        assert!(out.contains("Connected `oauth`: jo."), "{out}");
        last
    }

    pub fn url(&self, path: &str) -> Value {
        json!({ "url": format!("{}{path}", self.oidc.peer.base()) })
    }

    #[track_caller]
    pub fn send(&self, path: &str) -> Value {
        self.attache.call("oauth", "send", &self.url(path))
    }
}

/// Opens a link and agrees, which leads to the provider's own page.
#[track_caller]
pub fn at_provider(link: &str) -> (Browser, Page) {
    let browser = Browser::new();
    let page = browser.open(link);
    assert_eq!(page.status, 200, "{}", page.html);
    let provider = browser.submit(&page, &[]);
    assert!(provider.url.path().starts_with("/interaction/"), "{} {}", provider.url, provider.html);
    (browser, provider)
}

/// Types the code of that line at oidc-provider, and allows what is asked.
#[track_caller]
pub fn allow_device(line: &str) {
    let (before, code) = line.split_once(" and enter the code ").unwrap();
    let browser = Browser::new();
    let page = browser.open(before.trim_start_matches("Go to "));
    let confirm = browser.submit(&page, &[("user_code", code)]);
    let person = browser.submit(&confirm, &[("confirm", "yes")]);
    let done = browser.submit(&person, &[("decision", "yes")]);
    assert_eq!(done.status, 200, "{}", done.html);
}

#[test]
fn a_person_signs_in_with_a_browser_and_calls_work_from_then_on() {
    let story = story(&json!({}));
    let last = story.connect("discovered", &[]);
    assert!(last.html.contains("Connected") && last.html.contains("jo"), "{}", last.html);
    assert_eq!(story.send("/api/me")["status"], 200);
    let codes = story.oidc.tokens("authorization_code");
    assert_eq!((codes.len(), &codes[0].0["status"]), (1, &json!(200)));
    assert!(codes[0].0["presented"]["code_verifier"].is_string(), "bound by PKCE: {codes:?}");
    let listed = story.attache.run(&["connection", "list"]).done();
    assert!(listed.contains("jo") && listed.contains("connected"), "{listed}");
}

#[test]
fn the_page_says_who_asks_for_what_and_keeps_to_itself() {
    let story = story(&json!({}));
    let mut running = story.begin("discovered", &[]);
    let link = running.said("http://127.0.0.1");
    let page = Browser::new().open(&link);
    let base = story.oidc.peer.base();
    let digest = Digest::of(&std::fs::read(connector("oauth")).unwrap()).short();
    let said =
        ["oauth", "1.0.0", &digest, "cli:tester", "api:read", "What api:read is for", &base, "Agree and sign in at"];
    for words in said {
        assert!(page.html.contains(words), "{words}: {}", page.html);
    }
    assert!(!page.html.contains("api:write"), "what is not asked for is not shown");
    assert!(!page.html.contains("<script") && !page.html.contains("src="), "{}", page.html);
    let header = |name: &str| page.headers.get(name).map(String::as_str).unwrap_or_default();
    let policy = header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self';"] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert_eq!((header("cache-control"), header("referrer-policy")), ("no-store", "no-referrer"));
    assert_eq!((header("x-frame-options"), header("x-content-type-options")), ("DENY", "nosniff"));
    let cookie = header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    running.kill();
}

#[test]
fn each_origin_stands_on_the_page_under_what_it_is_for() {
    let (story, service) = (story(&json!({})), Service::plain());
    let (issuer, base) = (story.oidc.peer.base(), service.base());
    let (named, allowed) = ([format!("base={base}"), format!("issuer={issuer}")], service.authority());
    let fixed = ["connect", "oauth", "--auth", "discovered", "--timeout", "60", "--allow-private"];
    let more = [&allowed, "--allow-private", &story.oidc.peer.authority(), "--set", &named[0], "--set", &named[1]];
    let mut running = story.attache.begin(&[&fixed[..], &more].concat());
    let page = Browser::new().open(&running.said("http://127.0.0.1")).html;
    let of = |heading: &str| {
        let (_, behind) =
            page.split_once(&format!("<dt>{heading}</dt>")).unwrap_or_else(|| panic!("{heading}: {page}"));
        let below = behind.split_once("</dd>").unwrap().0;
        (below.contains(&base), below.contains(&issuer))
    };
    assert_eq!(of("Your access goes to"), (true, false), "{page}");
    assert_eq!(of("You sign in at"), (false, true), "{page}");
    assert_eq!(of("To sign in and stay signed in, Attaché calls"), (false, true), "{page}");
    assert_eq!(of("Of these, in a private network"), (true, true), "{page}");
    assert_eq!(of("The connector can read"), (true, true), "{page}");
    running.kill();
}

#[test]
fn a_link_belongs_to_the_browser_that_begins_with_it_and_is_used_once() {
    let story = story(&json!({}));
    let mut running = story.begin("discovered", &[]);
    let link = running.said("http://127.0.0.1");
    let (first, page) = at_provider(&link);
    let second = Browser::new().open(&link);
    assert_eq!(second.status, 403);
    assert!(second.html.contains("begun in another browser"), "{}", second.html);
    let made_up = format!("{CALLBACK}:{}/callback?code=x&state=y", port(&link));
    assert_eq!(first.look(&made_up).status, 404, "a state that nobody was sent with");
    let last = first.submit(&page, &[("decision", "yes")]);
    assert!(last.html.contains("Connected"), "{}", last.html);
    running.ended().done();
    assert_eq!(story.oidc.tokens("authorization_code").len(), 1);
}

#[test]
fn a_callback_in_another_browser_connects_nothing() {
    let story = story(&json!({}));
    let mut running = story.begin("discovered", &[]);
    let link = running.said("http://127.0.0.1");
    // The one who was sent to the provider stops on the way back, and gives the address to another.
    let victim = Browser::new();
    let attacker = Browser::that_stops_at(&format!("{CALLBACK}:{}/callback", port(&link)));
    let page = attacker.open(&link);
    let provider = attacker.submit(&page, &[]);
    let back = attacker.submit(&provider, &[("decision", "yes")]);
    assert!(back.url.query().unwrap().contains("code="), "{}", back.url);
    let refused = victim.open(back.url.as_str());
    assert_eq!(refused.status, 403, "{}", refused.html);
    assert!(refused.html.contains("another browser"), "{}", refused.html);
    assert!(story.oidc.tokens("authorization_code").is_empty(), "the code was not even redeemed");
    running.kill();
    assert_eq!(story.attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
}

#[test]
fn another_name_for_this_machine_gets_no_page() {
    let story = story(&json!({}));
    let mut running = story.begin("discovered", &[]);
    let link = running.said("http://127.0.0.1");
    let rebound = link.replace("127.0.0.1", "localhost");
    assert_eq!(Browser::new().open(&rebound).status, 403);
    running.kill();
}

#[test]
fn a_person_who_says_no_is_not_connected_and_the_provider_cannot_speak_as_attache() {
    let words = "no \u{202e}evil <script>alert(1)</script>";
    let story = story(&json!({ "denial": words }));
    let mut running = story.begin("discovered", &[]);
    let link = running.said("http://127.0.0.1");
    let (browser, page) = at_provider(&link);
    let last = browser.submit(&page, &[("decision", "no")]);
    assert_eq!(last.status, 400);
    assert!(last.html.contains("Nothing was connected") && last.html.contains("It says"), "{}", last.html);
    assert!(!last.html.contains("<script>") && !last.html.contains('\u{202e}'), "{}", last.html);
    let refused = running.ended().refused(4, "`access_denied`");
    assert!(!refused.err.contains('\u{202e}'), "{}", refused.err);
}

#[test]
fn nobody_coming_back_ends_with_a_clear_word() {
    let story = story(&json!({}));
    let arguments = story.arguments("discovered", &[]);
    let arguments: Vec<&str> = arguments.iter().map(|it| if it == "60" { "1" } else { it.as_str() }).collect();
    let running = story.attache.begin(&arguments);
    running.ended().refused(4, "Nobody signed in within 1 s.");
}

#[test]
fn the_desktops_browser_is_opened_where_there_is_one() {
    use std::os::unix::fs::PermissionsExt;
    let mut story = story(&json!({}));
    let folder = story.attache.folder().to_owned();
    let opened = folder.join("opened");
    let script = story.attache.file("xdg-open", format!("#!/bin/sh\necho \"$1\" > {}\n", opened.display()));
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    story.attache.set("PATH", &format!("{}:{path}", folder.display())).set("DISPLAY", ":0");
    let mut running = story.begin("discovered", &[]);
    let link = running.said("http://127.0.0.1");
    let read = || std::fs::read_to_string(&opened).unwrap_or_default();
    while !read().ends_with('\n') {
        std::thread::yield_now();
    }
    assert_eq!(read().trim(), link);
    running.kill();
}

#[test]
fn a_code_is_typed_on_another_device() {
    let story = bare(&json!({}));
    story.app(&["--client-id", "device"]);
    let mut running = story.begin("discovered", &["--device", "--yes"]);
    allow_device(&running.said("enter the code"));
    running.ended().done();
    assert_eq!(story.send("/api/me")["status"], 200);
    let polls = story.oidc.tokens("urn:ietf:params:oauth:grant-type:device_code");
    assert_eq!(polls.last().unwrap().0["status"], 200, "{polls:?}");
}

#[test]
fn an_app_signs_in_as_itself_without_a_person() {
    let mut story = bare(&json!({ "access": 3600 }));
    story.attache.set("MACHINE_SECRET", "machine-secret-of-the-test");
    story.app(&["--client-id", "machine", "--client-secret", "env:MACHINE_SECRET"]);
    let out = story.begin("machine", &["--yes"]).ended().done();
    assert!(out.contains("Connected `oauth`: machine."), "{out}");
    assert_eq!(story.send("/api/me")["status"], 200);
    // What the owner types himself goes before an app.
    story.attache.run(&["app", "remove", "oauth", "--yes"]).done();
    let typed =
        ["--yes", "--name", "typed", "--set", "client_id=machine", "--secret", "client_secret=env:MACHINE_SECRET"];
    story.begin("typed", &typed).ended().done();
    assert_eq!(story.attache.call("typed", "send", &story.url("/api/me"))["status"], 200);
}

#[test]
fn an_app_proves_itself_as_the_provider_wants_it() {
    let mut story = bare(&json!({}));
    story.attache.set("WEB_SECRET", SECRET);
    story.app(&["--client-id", "basic", "--client-secret", "env:WEB_SECRET"]);
    story.connect("basic", &[]);
    assert_eq!(story.oidc.tokens("authorization_code")[0].0["client"], "basic");
    // The provider's metadata says that it takes both, so the contract's own default holds.
    story.app(&["--client-id", "web", "--client-secret", "env:WEB_SECRET"]);
    let again = ["connection", "reconnect", "oauth", "--timeout", "60"];
    let page = story.finish(story.attache.begin(&again));
    assert!(page.html.contains("Connected"), "{}", page.html);
}

#[test]
fn an_app_signs_with_a_private_key_that_the_provider_knows() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let path = key.to_str().unwrap();
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path]);
    // An uncompressed point of P-256 is the end of its public key in DER (RFC 5480, 2.2).
    let public = openssl(&["pkey", "-in", path, "-pubout", "-outform", "DER"]);
    let encoded = |bytes: &[u8]| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    };
    let (x, y) = public[public.len() - 64..].split_at(32);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "2026", "use": "sig", "alg": "ES256", "x": encoded(x), "y": encoded(y) });
    let client = json!({
        "client_id": "signed", "redirect_uris": ["http://127.0.0.1/callback"], "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": { "keys": [jwk] },
    });
    let story = bare(&json!({ "clients": [client] }));
    story.app(&["--client-id", "signed", "--private-key", &format!("file:{path}"), "--key-id", "2026"]);
    story.connect("discovered", &[]);
    let codes = story.oidc.tokens("authorization_code");
    assert!(codes[0].0["presented"]["client_assertion"].is_string(), "{codes:?}");
    let shown = story.attache.run(&["app", "show", "oauth"]).done();
    assert!(shown.contains("private key") && !shown.contains("BEGIN"), "{shown}");
}

/// With an app whose secret signs.
fn signing(mut config: Value) -> Story {
    config["clients"] = json!([{
        "client_id": "signing", "client_secret": SECRET, "redirect_uris": ["http://127.0.0.1/callback"],
        "application_type": "native", "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_jwt",
    }]);
    let mut story = bare(&config);
    story.attache.set("WEB_SECRET", SECRET);
    story.app(&["--client-id", "signing", "--client-secret", "env:WEB_SECRET"]);
    story
}

#[test]
fn an_app_signs_with_its_client_secret_where_the_provider_takes_nothing_else() {
    let story = signing(json!({ "clientAuthMethods": ["client_secret_jwt", "none"] }));
    story.connect("discovered", &[]);
    let codes = story.oidc.tokens("authorization_code");
    let code = &codes[0].0;
    assert!(code["presented"]["client_assertion"].is_string() && code["authorization"].is_null(), "{code}");
    assert!(!code["fields"].as_array().unwrap().contains(&json!("client_secret")), "{code}");
}

#[test]
fn an_app_signs_with_its_client_secret_and_never_sends_it() {
    let story = signing(json!({}));
    // Its metadata says that it takes other ways too, of other clients.
    let mut running = story.begin("discovered", &[]);
    let (browser, page) = at_provider(&running.said("http://127.0.0.1"));
    browser.submit(&page, &[("decision", "yes")]);
    running.ended().refused(6, "`invalid_client`");
    story.app(&["--client-auth", "client_secret_jwt"]);
    story.connect("discovered", &[]);
    story.oidc.forget_access_tokens();
    assert_eq!(story.send("/api/me")["status"], 200);
    story.attache.run(&["consent", "revoke", "oauth"]).done();
    let proved: Vec<_> = story.oidc.asked().into_iter().map(|it| it.0).filter(|it| it["client"] == "signing").collect();
    let proved = proved.iter().filter(|it| it["path"] != "/auth" && it["status"] == 200);
    let presented = proved.map(|it| {
        let fields = it["fields"].as_array().unwrap();
        assert!(it["authorization"].is_null() && !fields.contains(&json!("client_secret")), "{it}");
        it["presented"]["client_assertion"].as_str().unwrap()
    });
    let presented: std::collections::BTreeSet<_> = presented.collect();
    assert_eq!(presented.len(), 4, "one each for the code, the renewal and both revocations");
    let shown = story.attache.run(&["app", "show", "oauth", "--output", "json"]).json();
    assert_eq!(shown["client-auth"], "client_secret_jwt");
}

#[test]
fn how_a_secret_is_proved_is_said_of_apps_that_have_one() {
    let mut story = bare(&json!({}));
    story.attache.set("WEB_SECRET", SECRET);
    let set = |more: &[&str]| {
        let base = story.oidc.peer.base();
        story.attache.run(&[&["app", "set", "oauth", "--client-id", "web", "--origin", &base], more].concat())
    };
    set(&["--client-auth", "client_secret_jwt"]).refused(2, "has no client secret");
    set(&["--client-auth", "private_key_jwt"]).refused(2, "client_secret_basic");
    set(&["--client-secret", "env:WEB_SECRET", "--client-auth", "client_secret_basic"]).done();
    // A new secret is proved as the one before.
    let shown = |outcome: attache_tests::Outcome| outcome.json()["client-auth"].clone();
    assert_eq!(shown(set(&["--client-secret", "env:WEB_SECRET", "--output", "json"])), "client_secret_basic");
}

#[test]
fn the_host_registers_itself_where_the_connector_says_where() {
    let story = bare(&json!({}));
    story.connect("urls", &[]);
    let shown = story.attache.run(&["app", "list", "--output", "json"]).json();
    assert_eq!(shown[0]["registered"], true, "{shown}");
    assert_eq!(shown[0]["origins"], json!([story.oidc.peer.base()]));
    // The second time the app is there.
    story.finish(story.attache.begin(&["connection", "reconnect", "oauth", "--timeout", "60"]));
    let registrations = story.oidc.asked().into_iter().filter(|it| it.0["path"] == "/reg").count();
    assert_eq!(registrations, 1);
}

#[test]
fn a_token_may_be_asked_for_two_resources_at_once() {
    let provider = Service::start(|request| {
        let asked = request.line.split(' ').nth(1).unwrap();
        let base = format!("http://{}", request.header("host").unwrap());
        let metadata = json!({ "issuer": base, "authorization_endpoint": format!("{base}/auth"),
            "token_endpoint": format!("{base}/token") });
        match asked {
            "/token" => answer(200, &[], r#"{"access_token": "the-token", "expires_in": 3600}"#),
            _ if asked.starts_with("/.well-known/") => answer(200, &[], &metadata.to_string()),
            _ => answer(200, &[], r#"{"sub": "jo"}"#),
        }
    });
    let embedded = Embedded::new("oauth", Isolation::Call);
    embedded.set_app(CLIENT, &provider.base());
    let proposal = embedded.propose("me", "resources", &provider.base()).unwrap();
    let trip = embedded.send_away(&proposal).unwrap();
    let both = ["api", "other"].map(|path| format!("{}/{path}", provider.base()));
    let asked = |pairs: url::form_urlencoded::Parse| -> Vec<String> {
        pairs.filter(|(name, _)| name == "resource").map(|(_, value)| value.into_owned()).collect()
    };
    assert_eq!(asked(trip.url.query_pairs()), both);
    let state = trip.url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    embedded.come_back(proposal, trip, format!("code=c&state={state}")).unwrap();
    let token = provider.received().into_iter().find(|request| request.line.starts_with("POST /token")).unwrap();
    assert_eq!(asked(url::form_urlencoded::parse(&token.body)), both);
}

#[test]
fn a_token_is_asked_for_the_resource_that_it_is_for() {
    let story = story(&json!({}));
    story.connect("resource", &[]);
    let seen = story.send("/api/me");
    let body: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
    let resource = format!("{}/api", story.oidc.peer.base());
    assert_eq!(body["aud"], resource);
    // Each token request names it again (RFC 8707, 2.2).
    story.oidc.forget_access_tokens();
    assert_eq!(story.send("/api/me")["status"], 200);
    assert_eq!(story.oidc.tokens("refresh_token")[0].0["resource"], resource);
}

#[test]
fn an_operation_that_needs_more_says_which_command_asks_for_just_that() {
    let story = story(&json!({}));
    story.connect("discovered", &[]);
    let refused = story.attache.try_call("oauth", "write", &story.url("/api/me")).refused(4, "api:write");
    assert!(refused.err.contains("attache connection reconnect oauth --scope api:write"), "{}", refused.err);
    let page = story.finish(story.attache.begin(&[
        "connection",
        "reconnect",
        "oauth",
        "--scope",
        "api:write",
        "--timeout",
        "60",
    ]));
    assert!(page.html.contains("Connected"), "{}", page.html);
    assert_eq!(story.attache.call("oauth", "write", &story.url("/api/me"))["status"], 200);
    let seen = story.attache.call("oauth", "connection", &json!({}));
    let scopes: Vec<&str> = seen["scopes"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert!(scopes.contains(&"api:write") && scopes.contains(&"api:read"), "{scopes:?}");
    // What was asked for before and what is needed now, and nothing else that the connector could ask for.
    let asked = || story.oidc.asked().into_iter().rfind(|it| it.0["path"] == "/auth").unwrap().0["scope"].clone();
    assert_eq!(asked(), "openid offline_access api:read api:write");
    let more = ["connection", "reconnect", "oauth", "--scope", "api:admin", "--timeout", "60"];
    story.finish(story.attache.begin(&more));
    assert_eq!(asked(), "openid offline_access api:read api:write api:admin");
    story.attache.run(&["connection", "reconnect", "oauth", "--scope", "everything"]).refused(2, "declares no scope");
}

#[test]
fn what_an_operation_needs_is_shown_before_it_is_called() {
    let story = story(&json!({}));
    story.connect("discovered", &[]);
    let shown = story.attache.run(&["connector", "show", "oauth"]).done();
    assert!(shown.contains("write, needs api:write — “Operation send”"), "{shown}");
    assert!(shown.contains("send — “Operation send”"), "{shown}");
    let help = |operation: &str| story.attache.run(&["call", "oauth", operation, "--help"]).done();
    assert!(help("write").contains("\nneeds the scope api:write\n"), "{}", help("write"));
    assert!(!help("send").contains("needs the scope"), "{}", help("send"));
    let listed = story.attache.run(&["call", "oauth", "--output", "json"]).json();
    let scopes_of = |id: &str| listed.as_array().unwrap().iter().find(|it| it["id"] == id).unwrap()["scopes"].clone();
    assert_eq!((scopes_of("write"), scopes_of("send")), (json!(["api:write"]), json!([])));
}

#[test]
fn a_narrower_grant_is_recorded_and_told() {
    let story = story(&json!({ "withhold": ["api:read"] }));
    let mut running = story.begin("discovered", &[]);
    let link = running.said("http://127.0.0.1");
    let (browser, page) = at_provider(&link);
    browser.submit(&page, &[("decision", "yes")]);
    let out = running.ended().done();
    assert!(out.contains("did not grant api:read"), "{out}");
    let shown = story.attache.run(&["connection", "show", "oauth"]).done();
    assert!(shown.contains("api:read"), "{shown}");
}

#[test]
fn a_service_that_wants_more_scope_leads_to_the_command_that_asks_for_it() {
    let story = story(&json!({}));
    story.connect("discovered", &[]);
    let seen = story.send("/api/admin");
    assert_eq!(seen["error"], "needs-reconnect", "{seen}");
    let sentence = seen["sentence"].as_str().unwrap();
    assert!(sentence.contains("attache connection reconnect oauth --scope api:write"), "{sentence}");
    assert!(story.oidc.tokens("refresh_token").is_empty(), "a token that is good is not renewed");
}

#[test]
fn removing_and_revoking_end_the_tokens_upstream_and_here() {
    let story = story(&json!({}));
    story.connect("discovered", &[]);
    let revoked = story.attache.run(&["consent", "revoke", "oauth", "--output", "json"]).json();
    assert_eq!(revoked["upstream"], "revoked");
    let asked = story.oidc.asked();
    let revocations: Vec<_> = asked.iter().filter(|it| it.0["path"] == "/token/revocation").collect();
    assert_eq!(revocations.len(), 2, "{asked:?}");
    let given = &story.oidc.tokens("authorization_code")[0].0["given"];
    assert_eq!(revocations[0].0["presented"]["token"], given["refresh_token"], "the refresh token first");
    assert_eq!(revocations[1].0["presented"]["token"], given["access_token"]);
    story.attache.try_call("oauth", "send", &story.url("/api/me")).refused(4, "reconnect");
    story.finish(story.attache.begin(&["connection", "reconnect", "oauth", "--timeout", "60"]));
    let out = story.attache.run(&["connection", "remove", "oauth", "--yes"]).done();
    assert!(out.contains("The provider ended its tokens too."), "{out}");
    let captured = story.attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(captured["findings"], json!([]), "{captured}");
}

#[test]
fn a_provider_that_is_gone_does_not_keep_anything_here() {
    let story = story(&json!({}));
    story.connect("discovered", &[]);
    let Story { attache, oidc } = story;
    drop(oidc);
    let out = attache.run(&["connection", "remove", "oauth", "--yes"]).done();
    assert!(out.contains("did not end its tokens"), "{out}");
    assert_eq!(attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
}

#[test]
fn secrets_of_an_app_go_to_its_origins_and_nowhere_else() {
    let mut story = bare(&json!({}));
    story.attache.set("WEB_SECRET", SECRET);
    let elsewhere = ["app", "set", "oauth", "--client-id", "web", "--client-secret", "env:WEB_SECRET"];
    story.attache.run(&elsewhere).refused(2, "--origin");
    let origin = ["--origin", "https://login.example.com"];
    story.attache.run(&[&elsewhere[..], &origin].concat()).done();
    let refused = story.begin("discovered", &[]).ended().refused(5, "may not go to");
    assert!(refused.err.contains("app set oauth --name oauth --origin"), "{}", refused.err);
    assert!(story.oidc.asked().is_empty(), "not even a look at its metadata");
}

#[test]
fn apps_are_listed_shown_and_removed_and_their_secrets_are_seen_nowhere() {
    let story = story(&json!({}));
    for arguments in [&["app", "list"][..], &["app", "show", "oauth"], &["app", "list", "--output", "json"]] {
        let out = story.attache.run(arguments).done();
        assert!(out.contains("web") && out.contains(&story.oidc.peer.base()) && !out.contains(SECRET), "{out}");
    }
    story.app(&["--name", "second", "--client-id", "device"]);
    story.begin("discovered", &[]).ended().refused(2, "several apps");
    story.connect("discovered", &["--app", "oauth"]);
    story.attache.run(&["app", "remove", "oauth", "--yes"]).refused(2, "several apps");
    story.attache.run(&["app", "remove", "oauth", "--name", "second", "--yes"]).done();
    story.attache.run(&["app", "show", "oauth", "--name", "second"]).refused(3, "no app `second`");
    story.attache.run(&["connection", "remove", "oauth", "--yes"]).done();
    story.attache.run(&["connector", "remove", "oauth"]).refused(5, "attache app remove oauth --name oauth");
    story.attache.run(&["app", "set", "weather", "--client-id", "x"]).refused(3, "no connector `weather`");
}

#[test]
fn what_others_say_of_themselves_is_text_on_every_page() {
    let (mut attache, simulated) = (crate::machine(), Simulated::start(BINARY, &["--approve"]));
    attache.set("SECRET", CLIENT.1);
    attache.add("marked-up-oauth");
    let app = ["app", "set", "marked-up-oauth", "--client-id", CLIENT.0, "--client-secret", "env:SECRET", "--origin"];
    attache.run(&[&app[..], &[simulated.url()]].concat()).done();
    // Not one character of it opens an element, or turns the line around.
    let is_text = |page: &Page, times: usize| {
        assert_eq!(page.html.matches("&#60;script&#62;").count(), times, "{}", page.html);
        assert!(!page.html.contains("<script") && !page.html.contains("<img") && !page.html.contains("<b>"));
        assert!(!page.html.contains('\u{202e}') && !page.html.contains("x='"), "{}", page.html);
    };
    let issuer = format!("issuer={}", simulated.url());
    let note = "note=<script>alert(4)</script>\u{202e}";
    let allowed = ["--set", &issuer, "--set", note, "--allow-private", simulated.authority(), "--timeout", "60"];
    let mut running = attache.begin(&[&["connect", "marked-up-oauth"], &allowed[..]].concat());
    let link = running.said(CALLBACK);
    let browser = Browser::new();
    let page = browser.open(&link);
    // The title, what the scope is for, and what was typed.
    is_text(&page, 3);
    let last = browser.submit(&page, &[]);
    assert_eq!(last.status, 200, "{}", last.html);
    // The account.
    is_text(&last, 1);
    let ended = running.ended();
    assert!(!ended.err.contains('\u{202e}'), "{}", ended.err);
    assert!(!ended.done().contains('\u{202e}'));
    let again = attache.begin(&["connection", "reconnect", "marked-up-oauth", "--timeout", "60"]);
    let mut running = again;
    // And the account that it was for before.
    is_text(&Browser::new().open(&running.said(CALLBACK)), 4);
    running.kill();
}

fn port(link: &str) -> u16 {
    url::Url::parse(link).unwrap().port().unwrap()
}
