//! Signing in behind a gateway: consent runs at the host, and everything that it brings is the gateway's alone.

use std::{collections::BTreeSet, sync::Arc};

use attache_tests::{
    Browser, Canary, Outcome, Running,
    line::Line,
    memory::found_in_memory,
    peers::{Oidc, oidc},
    service::{Service, answer},
    simulate::{self, Simulated},
};
use serde_json::{Value, json};

use crate::{
    canary_oauth::{self, ACCESS, REFRESH, RENEWED, ROTATED, SUBJECT, private_key},
    gateway::{Plant, SECRET, enroll, join},
    gateway_members::{another, join_with},
    machine,
    mcp::soon,
    oauth::{self, allow_device, at_provider},
    serving, visiting,
};

/// A plant whose gateway may reach a provider, and the connector `oauth`.
pub(crate) struct Story {
    pub(crate) plant: Plant,
    base: String,
}

impl Story {
    fn reaching(base: &str) -> Self {
        let mut plant = Plant::reaching(base.trim_start_matches("http://"));
        plant.attache.add("oauth");
        plant.attache.set("WEB_SECRET", oauth::SECRET).set("MACHINE_SECRET", "machine-secret-of-the-test");
        Self { plant, base: base.to_owned() }
    }

    pub(crate) fn of(oidc: &Oidc) -> Self {
        let story = Self::reaching(&oidc.peer.base());
        story.app(&["--client-id", "web", "--client-secret", "env:WEB_SECRET"]).done();
        story
    }

    fn app(&self, more: &[&str]) -> Outcome {
        let to = ["--gateway", "plant", "--gateway-key", &self.plant.key];
        let fixed = ["app", "set", "oauth", "--origin", &self.base];
        self.plant.attache.run(&[&fixed[..], &to, more].concat())
    }

    fn begin(&self, option: &str, more: &[&str]) -> Running {
        let set = [format!("base={}", self.base), format!("issuer={}", self.base)];
        let fixed = ["connect", "oauth", "--auth", option, "--set", &set[0], "--set", &set[1], "--timeout", "60"];
        let to = ["--gateway", "plant", "--gateway-key", &self.plant.key, "--yes"];
        self.plant.attache.begin(&[&fixed[..], &to, more].concat())
    }

    /// As a person with a browser does.
    #[track_caller]
    pub(crate) fn connect(&self, option: &str, more: &[&str]) {
        self.go_through(self.begin(option, more));
    }

    #[track_caller]
    fn go_through(&self, mut running: Running) {
        let (browser, page) = at_provider(&link_of(&mut running));
        browser.submit(&page, &[("decision", "yes")]);
        let out = running.ended().done();
        assert!(out.contains("Connected `oauth`: jo."), "{out}");
    }

    #[track_caller]
    pub(crate) fn send(&self) -> Value {
        self.plant.attache.call("oauth", "send", &json!({ "url": format!("{}/api/me", self.base) }))
    }

    /// The same, for whoever does something meanwhile.
    pub(crate) fn begin_to_send(&self) -> Running {
        let input = json!({ "url": format!("{}/api/me", self.base) }).to_string();
        self.plant.attache.begin(&["call", "oauth", "send", "--input", &input])
    }

    fn try_to_send(&self, path: &str) -> Outcome {
        let input = json!({ "url": format!("{}{path}", self.base) }).to_string();
        self.plant.attache.run(&["call", "oauth", "send", "--input", &input])
    }

    #[track_caller]
    pub(crate) fn until_its_token_runs_out(&self) {
        soon("its token does not run out", || {
            let shown = self.plant.attache.run(&["connection", "show", "oauth", "--output", "json"]).json();
            let expires: jiff::Timestamp = shown["expires"].as_str().unwrap().parse().unwrap();
            expires < jiff::Timestamp::now()
        });
    }
}

/// What is agreed to names this machine too.
pub(crate) fn link_of(running: &mut Running) -> String {
    loop {
        let line = running.said("/connect/");
        if let Some(at) = line.find("http") {
            return line[at..].trim().to_owned();
        }
    }
}

#[test]
fn a_person_signs_in_through_the_host_and_the_gateway_gets_and_renews_the_tokens() {
    let oidc = oidc(&json!({}));
    let story = Story::of(&oidc);
    story.connect("discovered", &[]);
    assert_eq!(story.send()["status"], 200);
    let codes = oidc.tokens("authorization_code");
    assert_eq!((codes.len(), &codes[0].0["status"]), (1, &json!(200)));
    assert!(codes[0].0["presented"]["code_verifier"].is_string(), "bound by PKCE: {codes:?}");
    oidc.forget_access_tokens();
    assert_eq!(story.send()["status"], 200, "renewed after a refusal");
    assert_eq!(oidc.tokens("refresh_token").len(), 1);
    // What the host wrote down of it is whom it asked; where to, only the gateway knows for sure.
    let here = story.plant.attache.run(&["audit", "list", "--output", "json", "--event", "sign-in-request"]).json();
    let here = here.as_array().unwrap();
    assert!(!here.is_empty() && here.iter().all(|it| it["gateway"] == "plant" && it["origin"].is_null()), "{here:?}");
    let there = story.plant.gateway_audit();
    assert!(there.contains("\"sign-in-request\"") && there.contains(&story.base), "{there}");
    let shown = story.plant.attache.run(&["connection", "show", "oauth", "--output", "json"]).json();
    assert!(shown["granted"].as_array().unwrap().contains(&json!("api:read")), "{shown}");
    assert_eq!(shown["consent"]["gateway"]["key"], json!(story.plant.key), "{shown}");
    story.plant.attache.run(&["consent", "revoke", "oauth"]).done();
    let told: Vec<_> = oidc.asked().into_iter().filter(|it| it.0["path"] == "/token/revocation").collect();
    assert_eq!(told.len(), 2, "renewal and access token: {told:?}");
    story.try_to_send("/api/me").refused(4, "was revoked");
}

#[test]
fn the_page_says_through_which_gateway_it_goes() {
    let oidc = oidc(&json!({}));
    let story = Story::of(&oidc);
    let mut running = story.begin("discovered", &[]);
    let page = Browser::new().open(&link_of(&mut running));
    for words in ["Through the gateway that alone can read it", "plant", &story.plant.key, &story.base] {
        assert!(page.html.contains(words), "{words}: {}", page.html);
    }
    running.kill();
}

#[test]
fn a_code_for_another_device_and_the_apps_own_credentials_go_through_a_gateway() {
    let oidc = oidc(&json!({}));
    let story = Story::reaching(&oidc.peer.base());
    story.app(&["--name", "device", "--client-id", "device"]).done();
    story.app(&["--name", "machine", "--client-id", "machine", "--client-secret", "env:MACHINE_SECRET"]).done();
    let mut running = story.begin("discovered", &["--app", "device", "--device"]);
    allow_device(&running.said("and enter the code"));
    assert!(running.ended().done().contains("Connected `oauth`: jo."));
    assert_eq!(story.send()["status"], 200);
    oidc.forget_access_tokens();
    assert_eq!(story.send()["status"], 200);
    assert_eq!(oidc.tokens("refresh_token").len(), 1);
    let credentials = story.begin("machine", &["--name", "robot", "--app", "machine", "--client-credentials"]);
    credentials.ended().done();
    oidc.forget_access_tokens();
    let input = json!({ "url": format!("{}/api/me", story.base) });
    assert_eq!(story.plant.attache.call("robot", "send", &input)["status"], 200);
    assert_eq!(oidc.tokens("client_credentials").len(), 2);
}

#[test]
fn a_login_is_the_gateways_too() {
    let service = Service::start(|request| {
        let json = |body: Value| {
            answer(200, &[("Content-Type", "application/json"), ("X-Region", "north")], &body.to_string())
        };
        match request.line.split(' ').nth(1).unwrap() {
            "/login" => {
                let content = String::from_utf8_lossy(&request.body).into_owned();
                assert!(content.contains(SECRET), "{content}");
                json(
                    json!({ "token": "login-token-5d41402a", "refresh": "login-refresh-bc4b2a76", "expires_in": 3600 }),
                )
            }
            "/refresh" => json(json!({ "token": "login-token-7c211433", "expires_in": 3600 })),
            _ => match request.header("authorization") {
                Some(token) if token.contains("7c211433") => answer(200, &[], "jo"),
                Some(token) if !request.line.contains("/later") && token.contains("5d41402a") => answer(200, &[], "jo"),
                _ => answer(401, &[], "who"),
            },
        }
    });
    let mut plant = Plant::reaching(&service.authority());
    plant.attache.add("signs-in");
    let base = format!("base={}", service.base());
    let fixed = ["connect", "signs-in", "--auth", "refreshed", "--set", &base, "--set", "user=jo", "--yes"];
    let sealed = ["--secret", "password=env:SECRET", "--gateway", "plant", "--gateway-key", &plant.key];
    plant.attache.run(&[&fixed[..], &sealed].concat()).done();
    let input = |path: &str| json!({ "url": format!("{}{path}", service.base()) });
    assert_eq!(plant.attache.call("signs-in", "send", &input("/now"))["status"], 200);
    assert_eq!(plant.attache.call("signs-in", "send", &input("/later"))["status"], 200);
    let lines: Vec<String> = service.received().into_iter().map(|it| it.line).collect();
    let asked = |path: &str| lines.iter().filter(|line| line.contains(path)).count();
    assert_eq!((asked("/login"), asked("/refresh")), (1, 1), "{lines:?}");
    // The connector's own requests do not go there, through whatever door.
    let refused = plant.attache.call("signs-in", "send", &input("/login"));
    assert!(refused["sentence"].as_str().unwrap().contains("where the connection signs in"), "{refused}");
    let shown = plant.attache.run(&["connection", "show", "signs-in"]).done();
    assert!(!shown.contains("login-token"), "{shown}");
    // Another host that is started on the same files goes on with what was sealed.
    plant.running = None;
    plant.run(&[&service.authority()]);
    assert_eq!(
        plant.attache.call("signs-in", "send", &json!({ "url": format!("{}/later", service.base()) }))["status"],
        200
    );
}

#[test]
fn nothing_of_any_grant_is_in_a_memory_store_log_or_line_but_the_gateways_own() {
    let provider = canary_oauth::provider();
    let mut attache = machine();
    attache.add("oauth");
    attache.set("ATTACHE_LOG", crate::gateway::TALKATIVE);
    let log = attache.folder().join("host.log");
    let mut command = attache.command(&["serve", "--listen", "127.0.0.1:0"]);
    let (host, url) = crate::gateway::logging_to(&mut command, &log);
    let line = Line::to(&url);
    // What is in the host's own environment would be in its memory.
    attache.set("CANARY", canary_oauth::SECRET).set("SUBJECT", SUBJECT);
    let private = machine();
    let key = join(&private, &line.url, &enroll(&attache)).json()["fingerprint"].as_str().unwrap().to_owned();
    let mut running =
        crate::gateway::Gateway(Some(private.begin(&["gateway", "run", "--allow", &provider.authority()])));
    running.said("Connected to");
    let base = provider.base();
    let to = ["--gateway", "plant", "--gateway-key", &key];
    let pem = private_key(&attache.folder().join("key.pem"));
    let key_file = format!("file:{}", attache.folder().join("key.pem").display());
    for (name, proof) in [("secret", ["--client-secret", "env:CANARY"]), ("key", ["--private-key", &key_file])] {
        let app = ["app", "set", "oauth", "--name", name, "--client-id", "canary", "--origin", &base];
        attache.run(&[&app[..], &proof, &to].concat()).done();
    }
    let set = [format!("base={base}"), format!("issuer={base}")];
    let begin = |name: &str, option: &str, more: &[&str]| {
        let fixed = ["connect", "oauth", "--name", name, "--auth", option, "--set", &set[0], "--set", &set[1], "--yes"];
        attache.begin(&[&fixed[..], &to, more].concat())
    };
    let signing = format!("key={key_file}");
    let ways: [(&str, &str, &[&str]); 5] = [
        ("code", "discovered", &["--app", "secret"]),
        ("proved", "discovered", &["--app", "key"]),
        ("device", "discovered", &["--app", "key", "--device"]),
        ("asserted", "signed", &["--app", "key", "--secret", &signing]),
        ("traded", "traded", &["--app", "key", "--secret", "subject=env:SUBJECT"]),
    ];
    let mut answers = String::new();
    for (name, option, more) in ways {
        let mut connecting = begin(name, option, more);
        if ["code", "proved"].contains(&name) {
            let browser = Browser::new();
            let page = browser.open(&link_of(&mut connecting));
            browser.submit(&page, &[]);
        }
        connecting.ended().done();
        if name == "code" {
            let code = Canary::new(canary_oauth::CODE);
            assert!(!found_in_memory(&code, host.id()).is_empty(), "the search finds what the host relays");
        }
        for path in ["/x", "/refuses", "/x"] {
            answers += &attache.call(name, "send", &json!({ "url": format!("{base}{path}") })).to_string();
        }
    }
    assert!(answers.contains("*****"), "{answers}");
    let given = |name: &str| -> BTreeSet<String> {
        provider.received().iter().filter_map(|it| canary_oauth::field(it, name)).collect()
    };
    let names = ["code_verifier", "device_code", "client_secret", "client_assertion", "assertion", "subject_token"];
    let arrived = names.map(|name| given(name).len());
    assert!(arrived[0] == 2 && arrived[1..3] == [1, 1] && arrived[3] >= 8 && arrived[4..] == [1, 1], "{arrived:?}");
    let mut secrets: Vec<String> = names.into_iter().flat_map(given).collect();
    secrets.extend([ACCESS, REFRESH, RENEWED, ROTATED].map(str::to_owned));
    secrets.push(pem.lines().nth(1).unwrap().to_owned());
    for secret in &secrets {
        let canary = Canary::new(secret);
        canary.is_not_in("an answer", answers.as_bytes());
        assert_eq!(found_in_memory(&canary, host.id()), Vec::<String>::new(), "in the host's memory");
        canary.is_not_below(&attache.data());
        canary.is_not_in("the host's log", &std::fs::read(&log).unwrap());
        canary.is_not_in("what passed between host and gateway", &line.passed());
        canary.is_not_below(&private.data());
    }
    // A search that finds nothing proves something only where it finds what is there.
    let gateway = running.id();
    for kept in [ROTATED, SUBJECT] {
        assert!(!found_in_memory(&Canary::new(kept), gateway).is_empty(), "the gateway has it: {kept}");
    }
}

#[test]
fn an_app_belongs_to_its_gateway_or_to_the_host() {
    let oidc = oidc(&json!({}));
    let story = Story::of(&oidc);
    let listed = story.plant.attache.run(&["app", "show", "oauth", "--output", "json"]).json();
    assert_eq!((&listed["gateway"], &listed["proof"]), (&json!("plant"), &json!("what is sealed to its gateway")));
    // The host has nothing that a connection of its own could use.
    let set = [format!("base={}", story.base), format!("issuer={}", story.base)];
    let authority = oidc.peer.authority();
    let fixed = ["connect", "oauth", "--auth", "discovered", "--set", &set[0], "--set", &set[1]];
    let own = story.plant.attache.run(&[&fixed[..], &["--allow-private", &authority, "--yes"]].concat());
    own.refused(2, "The secrets of the app `oauth` are sealed to the gateway `plant`.");
    // What it is for is sealed with it.
    let widened = story.plant.attache.run(&["app", "set", "oauth", "--origin", "https://evil.example"]);
    widened.refused(2, "with everything that it is for");
    // An app of the host's is not the gateway's.
    let name = ["--name", "own", "--client-id", "web", "--client-secret", "env:WEB_SECRET", "--origin", &story.base];
    story.plant.attache.run(&[&["app", "set", "oauth"][..], &name].concat()).done();
    story
        .begin("discovered", &["--app", "own"])
        .ended()
        .refused(4, "The app `own` is not sealed to the gateway `plant`.");
    // And nothing is sealed before somebody compared the key.
    let other = "0".repeat(64);
    let wrong =
        ["app", "set", "oauth", "--client-id", "web", "--client-secret", "env:WEB_SECRET", "--origin", &story.base];
    let refused = story.plant.attache.run(&[&wrong[..], &["--gateway", "plant", "--gateway-key", &other]].concat());
    refused.refused(5, "which is another");
    story.plant.attache.run(&[&wrong[..], &["--gateway", "plant"]].concat()).refused(4, "`--gateway-key FINGERPRINT`");
}

#[test]
fn a_provider_that_the_gateway_may_not_reach_is_not_reached() {
    let oidc = oidc(&json!({}));
    let elsewhere = Service::plain();
    let mut story = Story::reaching(&elsewhere.base());
    story.base = oidc.peer.base();
    story.app(&["--client-id", "web", "--client-secret", "env:WEB_SECRET"]).done();
    story.begin("discovered", &[]).ended().refused(5, "The gateway may not reach");
    assert!(oidc.asked().is_empty() && elsewhere.received().is_empty());
}

#[test]
fn another_machine_of_the_gateway_goes_on_with_the_tokens_of_the_first() {
    let oidc = oidc(&json!({}));
    let mut story = Story::of(&oidc);
    story.connect("discovered", &[]);
    let (second, recovery) = another(&story.plant);
    let code = story.plant.attache.run(&["gateway", "enroll", "plant", "--another"]).done();
    join_with(&second, &story.plant.url, &code, &recovery).done();
    story.plant.running = None;
    story.plant.private = second;
    story.plant.run(&[&oidc.peer.authority()]);
    assert_eq!(story.send()["status"], 200);
    oidc.forget_access_tokens();
    assert_eq!(story.send()["status"], 200);
    let renewed = oidc.tokens("refresh_token");
    assert!(renewed.len() == 1 && renewed[0].0["status"] == 200, "{renewed:?}");
}

#[test]
fn a_renewal_whose_answer_was_lost_with_the_gateway_is_never_asked_for_again() {
    // The provider replaces the renewal token at once, and says so later.
    let oidc = oidc(&json!({ "slow": 600_000 }));
    let mut story = Story::of(&oidc);
    story.connect("discovered", &[]);
    oidc.forget_access_tokens();
    let calling = story.begin_to_send();
    soon("nobody renews", || oidc.tokens("refresh_token").len() == 1);
    story.plant.running = None;
    let told = calling.ended().done();
    assert!(told.contains("The last renewal was sent and its answer was lost"), "{told}");
    story.plant.run(&[&oidc.peer.authority()]);
    for _ in 0..3 {
        let refused = story.send();
        assert!(refused["sentence"].as_str().unwrap().contains("its answer was lost"), "{refused}");
    }
    assert_eq!(oidc.tokens("refresh_token").len(), 1);
}

#[test]
fn a_renewal_that_never_reached_the_gateway_is_asked_for_once_it_is_back() {
    let oidc = oidc(&json!({ "access": 2 }));
    let mut story = Story::of(&oidc);
    story.connect("discovered", &[]);
    let renewed = oidc.tokens("refresh_token").len();
    story.plant.running = None;
    story.until_its_token_runs_out();
    let refused = story.send();
    assert!(refused["sentence"].as_str().unwrap().contains("The gateway `plant` is not connected."), "{refused}");
    story.plant.run(&[&oidc.peer.authority()]);
    // Whoever failed is not asked again at once.
    soon("it is not renewed", || story.send()["status"] == 200);
    let all = oidc.tokens("refresh_token");
    assert!(all.len() > renewed && all.iter().all(|it| it.0["status"] == 200), "none was presented twice: {all:?}");
}

#[test]
fn an_application_sends_a_person_to_connect_through_a_gateway() {
    let oidc = oidc(&json!({}));
    let story = Story::of(&oidc);
    let set = [format!("base={}", story.base), format!("issuer={}", story.base)];
    let fixed = ["session", "create", "oauth", "--auth", "discovered", "--set", &set[0], "--set", &set[1]];
    let who = ["--gateway", "plant", "--owner", "alice", "--return-url", serving::RETURN, "--state", "of the app"];
    let link = story.plant.attache.run(&[&fixed[..], &who].concat()).done();
    let browser = Browser::that_stops_at(serving::RETURN);
    let page = browser.open(link.trim());
    let provider = browser.submit(&page, &[]);
    let back = browser.submit(&provider, &[("decision", "yes")]);
    let code = back.url.query_pairs().find(|(name, _)| name == "attache_code").unwrap().1.into_owned();
    story.plant.attache.run(&["session", "confirm", &code, "--owner", "alice"]).done();
    assert_eq!(story.send()["status"], 200);
    // What another comes back with is given up, and the provider told through the gateway.
    let other = [&fixed[..], &who, &["--name", "other"]].concat();
    let link = story.plant.attache.run(&other).done();
    let page = browser.open(link.trim());
    let provider = browser.submit(&page, &[]);
    let back = browser.submit(&provider, &[("decision", "yes")]);
    let code = back.url.query_pairs().find(|(name, _)| name == "attache_code").unwrap().1.into_owned();
    story.plant.attache.run(&["session", "confirm", &code, "--owner", "mallory"]).refused(5, "nothing is connected");
    let told = oidc.asked().into_iter().filter(|it| it.0["path"] == "/token/revocation").count();
    assert_eq!(told, 2, "renewal and access token");
}

#[test]
fn a_page_in_the_middle_of_a_login_leads_back_to_the_gateway() {
    let service = visiting::service(&Arc::default());
    let mut plant = Plant::reaching(&service.authority());
    plant.attache.add("visits");
    plant.attache.set("KEY_SECRET", visiting::CONSUMER_SECRET);
    let base = format!("base={}", service.base());
    for option in ["kept", "stateless"] {
        let fixed =
            ["connect", "visits", "--name", option, "--auth", option, "--set", &base, "--set", "key=me", "--yes"];
        let sealed = ["--secret", "key-secret=env:KEY_SECRET", "--gateway", "plant", "--gateway-key", &plant.key];
        let mut running = plant.attache.begin(&[&fixed[..], &sealed].concat());
        let browser = Browser::new();
        let page = browser.open(&link_of(&mut running));
        let last = browser.submit(&page, &[]);
        assert!(last.html.contains("Connected"), "{}", last.html);
        running.ended().done();
        let input = json!({ "url": format!("{}/thing", service.base()) });
        assert_eq!(plant.attache.call(option, "send", &input)["status"], 200, "{option}");
    }
}

#[test]
fn what_the_operators_app_has_is_put_on_by_the_gateway_and_at_the_apps_origins_only() {
    let simulated = Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &[]);
    let elsewhere = Service::plain();
    let mut plant = Plant::joined();
    plant.run(&[simulated.authority(), &elsewhere.authority()]);
    plant.attache.add("oauth");
    plant.attache.set("API_KEY", "the-apps-own-api-key").set("CLIENT_SECRET", simulate::CLIENT.1);
    let to = ["--gateway", "plant", "--gateway-key", &plant.key.clone()];
    let app = ["app", "set", "oauth", "--client-id", simulate::CLIENT.0, "--client-secret", "env:CLIENT_SECRET"];
    let own = ["--set", "tenant=acme", "--secret", "api-key=env:API_KEY", "--origin", simulated.url()];
    plant.attache.run(&[&app[..], &own, &to].concat()).done();
    let connect = |name: &str, base: &str| {
        let set = [format!("base={base}"), format!("issuer={}", simulated.url())];
        let fixed =
            ["connect", "oauth", "--name", name, "--auth", "of-app", "--set", &set[0], "--set", &set[1], "--yes"];
        let mut running = plant.attache.begin(&[&fixed[..], &to, &["--timeout", "60"]].concat());
        let browser = Browser::new();
        let page = browser.open(&link_of(&mut running));
        let provider = browser.submit(&page, &[]);
        browser.submit(&provider, &[("decision", "yes")]);
        running.ended()
    };
    connect("me", simulated.url()).done();
    let echoed =
        plant.attache.call("me", "send", &json!({ "url": format!("{}/api/echo", simulated.url()) })).to_string();
    let masked = "*".repeat("the-apps-own-api-key".len());
    assert!(echoed.contains(&format!("acme/{masked}")), "{echoed}");
    connect("away", &elsewhere.base()).refused(5, "may not go to");
    assert!(elsewhere.received().is_empty());
}
