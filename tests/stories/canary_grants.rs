//! Whatever way a token is got around a host that runs, nothing of it is to be seen: code and verifier, device code, client secret,
//! assertions of the app and of the connector, another party's token, and the tokens that came of them; in both isolations.

use std::collections::BTreeSet;

use attache_tests::{
    Browser, Canary, Outcome,
    service::{Received, Service},
};
use serde_json::json;

use crate::{
    canary_oauth::{
        ACCESS, CODE, DEVICE, REFRESH, REFUSED_CLIENT, RENEWED, ROTATED, SECRET, SUBJECT, field, link_of, private_key,
        provider, repeating,
    },
    canary_schemes::{lacks_all, of_private_key, planting, received},
    canary_served::Story,
    machine,
};

/// Where an application's people come back to. Nothing listens there.
const RETURNS: &str = "http://127.0.0.1:1/connected";
/// How each connection got its token: by a code that the app redeems with its secret or with an assertion, by a code for another
/// device, by an assertion that the connector declares, and for another party's token.
const CONNECTIONS: [&str; 5] = ["planted-name-77c1", "signing", "device", "asserted", "traded"];

/// A host that runs, where tokens come from, and where they go.
struct Grants {
    story: Story,
    provider: Service,
    /// Another host than the provider, so that each may have only what is its own.
    service: Service,
    /// The private keys in PEM, of the app and of the connector's assertion.
    keys: [String; 2],
}

impl Grants {
    fn new(isolation: &str, provider: Service) -> Self {
        let mut attache = machine();
        attache.set("CLIENT_SECRET", SECRET).set("SUBJECT", SUBJECT);
        let keys = ["app.pem", "connector.pem"].map(|name| private_key(&attache.folder().join(name)));
        let mut grants =
            Self { story: Story::of(attache, &["oauth"], isolation), provider, service: self::provider(), keys };
        let key = grants.key(0);
        grants.app("secret", "canary", &["--client-secret", "env:CLIENT_SECRET"]);
        grants.app("refused", REFUSED_CLIENT, &["--client-secret", "env:CLIENT_SECRET"]);
        grants.app("key", "canary", &["--private-key", &key]);
        grants
    }

    /// Where one of the keys is, as a secret's source.
    fn key(&self, number: usize) -> String {
        let path = self.story.running.attache.folder().join(["app.pem", "connector.pem"][number]);
        format!("file:{}", path.display())
    }

    fn app(&mut self, name: &str, client_id: &str, proof: &[&str]) {
        let base = self.provider.base();
        let fixed = ["app", "set", "oauth", "--name", name, "--client-id", client_id, "--origin", &base];
        self.story.run(&[&fixed, proof].concat());
        self.story.run(&["app", "show", "oauth", "--name", name]);
    }

    /// What every connection says.
    fn values(&self) -> Vec<String> {
        let set = [format!("base={}", self.service.base()), format!("issuer={}", self.provider.base())];
        let set = set.into_iter().flat_map(|it| ["--set".to_owned(), it]);
        let allowed = [&self.service, &self.provider].map(Service::authority);
        set.chain(allowed.into_iter().flat_map(|it| ["--allow-private".to_owned(), it])).collect()
    }

    /// A person connects by the link of an application, which confirms who that was.
    fn sign_in(&mut self, name: &str, app: &str) {
        let values = self.values();
        let mut create = vec!["session", "create", "oauth", "--name", name, "--auth", "plain", "--app", app];
        create.extend(["--owner", "alice", "--return-url", RETURNS]);
        create.extend(values.iter().map(String::as_str));
        let link = self.story.run(&create);
        let browser = Browser::that_stops_at(RETURNS);
        let asks = browser.open(link.trim());
        let back = browser.submit(&asks, &[]);
        self.story.seen.note("the page that asks", asks.html);
        self.story.seen.note("the page after", format!("{} {:?}", back.html, back.headers));
        let code = back.url.query_pairs().find(|(name, _)| name == "attache_code").unwrap().1.into_owned();
        self.story.run(&["session", "confirm", &code, "--owner", "alice"]);
    }

    /// Connects by the command line, as a person who may take part in a browser.
    fn connect(&mut self, name: &str, option: &str, more: &[&str], in_browser: bool) -> Outcome {
        let values = self.values();
        let mut arguments = vec!["connect", "oauth", "--name", name, "--auth", option, "--timeout", "60", "--yes"];
        arguments.extend(values.iter().map(String::as_str).chain(more.iter().copied()));
        let mut running = self.story.running.attache.begin(&arguments);
        if in_browser {
            let browser = Browser::new();
            let last = browser.submit(&browser.open(&link_of(&mut running)), &[]);
            self.story.seen.note(format!("the last page of {name}"), last.html);
        }
        let outcome = running.ended();
        self.story.seen.note(format!("standard output of connecting {name}"), outcome.out.clone());
        self.story.seen.note(format!("standard error of connecting {name}"), outcome.err.clone());
        outcome
    }

    /// Connects in every way that takes no link of an application's; `app` proves itself so.
    fn connect_in_other_ways(&mut self, app: &str) -> [Outcome; 3] {
        let key = format!("key={}", self.key(1));
        [
            self.connect("device", "discovered", &["--app", app, "--device"], false),
            self.connect("asserted", "signed", &["--app", app, "--secret", &key], false),
            self.connect("traded", "traded", &["--app", app, "--secret", "subject=env:SUBJECT"], false),
        ]
    }

    /// What the provider was given under a name, each once.
    fn given(&self, name: &str) -> BTreeSet<String> {
        self.provider.received().iter().filter_map(|request| field(request, name)).collect()
    }

    /// Demands that nothing of it was seen, in the end: what the provider was given, what it gave, and the keys.
    fn nothing_was_told(&mut self) -> Vec<Canary> {
        let names = ["code", "code_verifier", "device_code", "client_secret", "client_assertion", "assertion"];
        let given: Vec<String> =
            names.into_iter().chain(["subject_token", "refresh_token"]).flat_map(|name| self.given(name)).collect();
        let known = [ACCESS, RENEWED, REFRESH, ROTATED, CODE, DEVICE, SECRET, SUBJECT];
        let secrets = known.into_iter().chain(given.iter().map(String::as_str)).map(Canary::new);
        let canaries: Vec<Canary> = secrets.chain(self.keys.iter().flat_map(|key| of_private_key(key))).collect();
        // The search finds what was given where it should be, so that it would elsewhere.
        let arrived = received(&self.provider);
        for secret in &given {
            assert!(Canary::new(secret).found_in(&arrived).contains(&"clear"), "{secret}");
        }
        lacks_all(&self.story.seen, canaries);
        given.iter().map(|secret| Canary::new(secret)).collect()
    }
}

fn carries(request: &Received, token: &str) -> bool {
    request.header("authorization") == Some(&format!("Bearer {token}"))
}

/// Connects in every way, calls with a token that is good, with one that the service refuses, with the renewed one, and with one
/// whose renewal the provider refuses; then looks everywhere.
#[track_caller]
fn nothing_of_any_grant_is_told(isolation: &str) {
    let (mut grants, other) = (Grants::new(isolation, provider()), Service::plain());
    let (planted, signing) = (CONNECTIONS[0], CONNECTIONS[1]);
    grants.sign_in(planted, "secret");
    grants.sign_in(signing, "key");
    for outcome in grants.connect_in_other_ways("key") {
        outcome.done();
    }
    let base = grants.service.base();
    let send = |path: &str| json!({ "url": format!("{base}{path}") });
    let elsewhere = json!({ "url": format!("{}/loot", other.base()), "attach": false });
    for name in CONNECTIONS {
        for path in ["/reflect", "/refuses", "/reflect"] {
            grants.story.call(name, &send(path));
        }
        grants.story.call(name, &elsewhere);
        grants.story.run(&["call", name, "send", "--input", &send("/reflect").to_string(), "--dry-run"]);
    }
    planting(&base, &json!({})).iter().for_each(|input| grants.story.call(planted, input));
    grants.story.look_around(&CONNECTIONS, &["oauth"]);
    CONNECTIONS.into_iter().for_each(|name| drop(grants.story.run(&["consent", "revoke", name])));
    // Another's renewal is refused, in words that repeat what was given.
    grants.sign_in("refused", "refused");
    grants.story.call("refused", &send("/refuses"));
    grants.story.seen.shows(&Canary::new("its words repeat a secret"), "an answer of the API to refused");
    grants.story.end();

    // All of it went where it should: to the provider, and the tokens to the service.
    let at_service = grants.service.received();
    for token in [ACCESS, RENEWED] {
        assert!(at_service.iter().filter(|it| carries(it, token)).count() >= 2 * CONNECTIONS.len(), "{token}");
    }
    let count = |name: &str| grants.given(name).len();
    assert_eq!(["code", "device_code", "client_secret", "subject_token"].map(count), [1; 4]);
    assert_eq!((count("code_verifier"), count("refresh_token"), count("assertion")), (3, 1, 1));
    // One by each request of the app that signs: for four tokens, their renewals, both ends of each, and a code for a device.
    assert_eq!(count("client_assertion"), 4 * 4 + 1);
    assert!(grants.given("token").is_superset(&[ROTATED, RENEWED].map(str::to_owned).into()));

    // And nowhere else.
    let given = grants.nothing_was_told();
    let to_service = received(&grants.service);
    given.iter().for_each(|canary| canary.is_not_in("what the service received", &to_service));
    let asked = grants.provider.received().into_iter().filter(|it| !it.line.contains("/revoke"));
    let asked: String = asked.map(|it| format!("{it:?} {}", String::from_utf8_lossy(&it.body))).collect();
    for token in [ACCESS, RENEWED] {
        Canary::new(token).is_not_in("what the provider was asked", asked.as_bytes());
    }
    assert!(other.received().is_empty(), "{:?}", other.received());
    grants.story.finds_what_was_planted(&["standard output of [\"call\"", "an answer of the API"]);
}

#[test]
fn a_host_that_makes_an_instance_for_each_call_tells_nothing_of_any_grant_to_anybody() {
    nothing_of_any_grant_is_told("call");
}

#[test]
fn a_host_that_keeps_instances_tells_nothing_of_any_grant_to_anybody() {
    nothing_of_any_grant_is_told("connection");
}

#[test]
fn a_host_does_not_quote_a_provider_that_repeats_what_it_was_given() {
    let mut grants = Grants::new("call", repeating());
    for app in ["secret", "key"] {
        let browsed = grants.connect("code", "plain", &["--app", app], true);
        for refused in grants.connect_in_other_ways(app).into_iter().chain([browsed]) {
            refused.refused(4, "its words repeat a secret");
        }
    }
    grants.story.run(&["audit", "list"]);
    grants.story.seen.shows(&Canary::new("its words repeat a secret"), "the last page of code");
    grants.story.end();
    for name in ["code_verifier", "device_code", "client_secret", "client_assertion", "assertion", "subject_token"] {
        assert!(!grants.given(name).is_empty(), "no `{name}` arrived");
    }
    grants.nothing_was_told();
    grants.story.seen.shows(&Canary::new("its words repeat a secret"), "standard error of connecting device");
    assert!(grants.service.received().is_empty());
}
