//! A gateway that registers an app by itself (RFC 7591), at a provider that perhaps it alone reaches: the client secret is its own
//! from the first moment on.

use attache_tests::{
    Attache, Browser, Canary,
    line::Line,
    memory::found_in_memory,
    peers::oidc,
    service::{Service, answer},
};
use serde_json::{Value, json};
use url::Url;

use crate::{
    gateway::{Gateway, Plant, TALKATIVE, enroll, join, logging_to},
    machine,
    mcp::soon,
    serving,
};

/// What the provider of these stories gives a client that registers.
const SECRET: &str = "client-secret-9a0364b9e99bb480";
/// Who registered, for a change of the client.
const MANAGES: &str = "registration-token-1f3870be274f6c49";

/// Connects through a link, as the person and the application do.
fn connect(attache: &Attache, key: &str, provider: &str, name: &str) -> Value {
    let set = [format!("base={provider}"), format!("issuer={provider}")];
    let fixed = ["session", "create", "oauth", "--auth", "urls", "--set", &set[0], "--set", &set[1], "--name", name];
    let who = ["--gateway", "plant", "--owner", "alice", "--return-url", serving::RETURN];
    let link = attache.run(&[&fixed[..], &who].concat()).done();
    let browser = Browser::that_stops_at(serving::RETURN);
    let page = browser.open(link.trim());
    assert!(page.html.contains(key), "{}", page.html);
    let mut page = browser.submit(&page, &[]);
    if page.url.as_str().starts_with(provider) {
        page = browser.submit(&page, &[("decision", "yes")]);
    }
    let code = page.url.query_pairs().find(|(name, _)| name == "attache_code").expect("it comes back").1.into_owned();
    attache.run(&["session", "confirm", &code, "--owner", "alice"]).done();
    attache.run(&["connection", "show", name, "--output", "json"]).json()
}

#[test]
fn a_gateway_registers_at_its_provider_and_signs_in_renews_and_revokes_with_that() {
    let oidc = oidc(&json!({}));
    let provider = oidc.peer.base();
    let mut plant = Plant::reaching(&oidc.peer.authority());
    plant.attache.add("oauth");
    let send = |plant: &Plant| plant.attache.call("me", "send", &json!({ "url": format!("{provider}/api/me") }));
    connect(&plant.attache, &plant.key, &provider, "me");
    assert_eq!(send(&plant)["status"], 200);
    let codes = oidc.tokens("authorization_code");
    assert_eq!((codes.len(), &codes[0].0["status"]), (1, &json!(200)));
    let fields = codes[0].0["fields"].as_array().unwrap();
    assert!(["code_verifier", "client_secret"].iter().all(|it| fields.contains(&json!(it))), "{fields:?}");
    oidc.forget_access_tokens();
    assert_eq!(send(&plant)["status"], 200, "renewed after a refusal");
    assert_eq!(oidc.tokens("refresh_token").len(), 1);
    let app = plant.attache.run(&["app", "show", "oauth", "--output", "json"]).json();
    let shown = [&app["gateway"], &app["proof"], &app["registered"]];
    assert_eq!(shown, [&json!("plant"), &json!("what is sealed to its gateway"), &json!(true)], "{app}");
    assert!(plant.gateway_audit().contains("\"app-registered\""));
    // Another connection signs in through the same app, until it is gone.
    let registrations = || oidc.asked().iter().filter(|it| it.0["path"] == "/reg").count();
    connect(&plant.attache, &plant.key, &provider, "second");
    assert_eq!(registrations(), 1);
    plant.attache.run(&["connection", "remove", "second", "--yes"]).done();
    let told = oidc.asked().into_iter().filter(|it| it.0["path"] == "/token/revocation").count();
    assert_eq!(told, 2, "renewal and access token");
    plant.attache.run(&["app", "remove", "oauth", "--yes"]).done();
    connect(&plant.attache, &plant.key, &provider, "third");
    assert_eq!(registrations(), 2);
    // What is sealed to a key that the gateway has no longer is no use: it registers anew.
    plant.running = None;
    plant.attache.run(&["gateway", "remove", "plant", "--yes"]).done();
    let private = machine();
    plant.key = join(&private, &plant.url, &enroll(&plant.attache)).json()["fingerprint"].as_str().unwrap().to_owned();
    plant.private = private;
    plant.run(&[&oidc.peer.authority()]);
    let shown = connect(&plant.attache, &plant.key, &provider, "fourth");
    assert_eq!((registrations(), &shown["connection"]["app"]), (3, &json!("oauth-2")), "{shown}");
}

/// A provider that registers whoever asks, and takes what it gave them.
fn provider() -> Service {
    Service::start(|request| {
        let target = request.line.split(' ').nth(1).unwrap();
        let url = Url::parse("http://provider").unwrap().join(target).unwrap();
        match url.path() {
            "/reg" => {
                let client =
                    json!({ "client_id": "registered", "client_secret": SECRET, "registration_access_token": MANAGES });
                answer(201, &[], &client.to_string())
            }
            "/auth" => {
                let asked = |name: &str| url.query_pairs().find(|(other, _)| other == name).unwrap().1.into_owned();
                let back = format!("{}?code=a-code&state={}", asked("redirect_uri"), asked("state"));
                answer(302, &[("location", &back)], "")
            }
            "/token" => answer(200, &[], r#"{"access_token": "the-token", "refresh_token": "r", "expires_in": 3600}"#),
            // It says everything that it knows.
            _ => answer(200, &[], &json!({ "sub": "jo", "secret": SECRET }).to_string()),
        }
    })
}

#[test]
fn the_client_secret_of_a_registration_is_in_no_memory_store_log_or_line_but_the_gateways_own() {
    let provider = provider();
    let mut attache = machine();
    attache.add("oauth");
    attache.set("ATTACHE_LOG", TALKATIVE);
    let log = attache.folder().join("host.log");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--return-url", serving::RETURN];
    let (host, url) = logging_to(&mut attache.command(&arguments), &log);
    let line = Line::to(&url);
    let private = machine();
    let key = join(&private, &line.url, &enroll(&attache)).json()["fingerprint"].as_str().unwrap().to_owned();
    let mut running = Gateway(Some(private.begin(&["gateway", "run", "--allow", &provider.authority()])));
    running.said("Connected to");
    // A host that writes down so much is a moment behind.
    soon("it is not connected", || attache.run(&["gateway", "show", "plant"]).done().starts_with("plant: connected"));
    connect(&attache, &key, &provider.base(), "me");
    let answer = attache.call("me", "send", &json!({ "url": format!("{}/x", provider.base()) })).to_string();
    assert!(answer.contains("\"status\":200") && answer.contains("*****"), "it is masked: {answer}");
    let sent = |line: &str| provider.received().into_iter().find(|it| it.line.contains(line)).unwrap();
    assert!(String::from_utf8_lossy(&sent("POST /token").body).contains(SECRET), "it is what the gateway shows");
    for secret in [SECRET, MANAGES] {
        let canary = Canary::new(secret);
        canary.is_not_in("an answer", answer.as_bytes());
        assert_eq!(found_in_memory(&canary, host.id()), Vec::<String>::new(), "in the host's memory");
        canary.is_not_below(&attache.data());
        canary.is_not_in("the host's log", &std::fs::read(&log).unwrap());
        canary.is_not_in("what passed between host and gateway", &line.passed());
        canary.is_not_below(&private.data());
    }
    // A search that finds nothing proves something only where it finds what is there.
    assert!(!found_in_memory(&Canary::new(SECRET), running.id()).is_empty(), "the gateway has it");
    assert!(line.passed().len() > 1_000);
}
