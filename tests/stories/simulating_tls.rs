//! The simulated provider over TLS, which asks clients for certificates (RFC 8705).

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use attache_tests::{
    Attache, Browser, Outcome,
    authority::{Authority, Certified},
};
use serde_json::{Value, json};

use crate::serving::Host;

const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");

pub(crate) struct Story {
    pub(crate) attache: Attache,
    pub(crate) url: String,
    _provider: Host,
    pub(crate) machine: Attache,
}

/// A provider that knows `my-app` by this, and a host that trusts it.
pub(crate) fn story(known_by: &str, quirks: &[&str]) -> Story {
    let (attache, machine) = (Attache::new(BINARY), Attache::new(BINARY));
    let trusted = machine.folder().join("simulated.pem").to_str().unwrap().to_owned();
    let (flag, file) = known_by.split_once(' ').unwrap();
    let client = format!("my-app={file}");
    let fixed = ["simulate", "--approve", "--tls", &trusted, "--client", "my-app", flag, &client];
    let quirks = quirks.iter().flat_map(|quirk| ["--quirk", quirk]);
    let all: Vec<&str> = fixed.into_iter().chain(quirks).collect();
    let mut provider = Host(machine.command(&all).stdout(Stdio::piped()).spawn().unwrap());
    let mut url = String::new();
    BufReader::new(provider.0.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("https://"), "{url}");
    attache.configure(&format!("ca-file = \"{trusted}\"\n"));
    attache.add("oauth");
    Story { attache, url: url.trim().to_owned(), _provider: provider, machine }
}

impl Story {
    pub(crate) fn told(&self, path: &str) -> Value {
        let client = reqwest::blocking::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
        serde_json::from_str(&client.get(format!("{}{path}", self.url)).send().unwrap().text().unwrap()).unwrap()
    }

    /// Where certificates are asked for, where that is not everywhere.
    pub(crate) fn mutual(&self) -> Option<String> {
        let metadata = self.told("/.well-known/oauth-authorization-server");
        let token = metadata["mtls_endpoint_aliases"]["token_endpoint"].as_str()?;
        Some(token.trim_end_matches("/token").to_owned())
    }

    fn connect(&self, certified: Option<&Certified>) -> Outcome {
        let places: Vec<String> = [Some(self.url.clone()), self.mutual()].into_iter().flatten().collect();
        let sources = certified.map(Certified::sources).unwrap_or_default();
        let origins = places.iter().flat_map(|place| ["--origin", place]);
        let proof = ["--client-certificate", &sources[0], "--client-certificate-key", &sources[1]];
        let proof = if certified.is_some() { &proof[..] } else { &[] };
        let app =
            ["app", "set", "oauth", "--client-id", "my-app"].into_iter().chain(origins).chain(proof.iter().copied());
        self.attache.run(&app.collect::<Vec<_>>()).done();
        let set = [format!("base={}", self.url), format!("issuer={}", self.url)];
        let fixed = ["connect", "oauth", "--auth", "discovered", "--set", &set[0], "--set", &set[1], "--timeout", "30"];
        let allowed: Vec<&str> = places.iter().map(|place| place.trim_start_matches("https://")).collect();
        let allowed = allowed.iter().flat_map(|place| ["--allow-private", place]);
        let mut running = self.attache.begin(&fixed.into_iter().chain(allowed).collect::<Vec<_>>());
        let link = running.said("http://127.0.0.1");
        let browser = Browser::that_trusts(Some(&self.machine.folder().join("simulated.pem")));
        browser.submit(&browser.open(&link), &[]);
        running.ended()
    }

    /// Moves the provider's clock beyond every access token.
    pub(crate) fn advance(&self) {
        let client = reqwest::blocking::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
        let moved = client.post(format!("{}/simulate/clock", self.url)).body(json!({ "advance": 100_000 }).to_string());
        assert!(moved.header("content-type", "application/json").send().unwrap().status().is_success());
    }

    /// Calls until the token was renewed.
    #[track_caller]
    fn is_renewed(&self) {
        self.advance();
        let seen = self.attache.call("oauth", "send", &json!({ "url": format!("{}/api/me", self.url) }));
        assert_eq!(seen["status"], 200, "{seen}");
        let log = self.told("/simulate/log");
        let renewed = log.as_array().unwrap().iter().filter(|it| it["grant"] == "refresh_token").count();
        assert_eq!(renewed, 1, "{log}");
    }
}

#[test]
fn a_client_is_known_by_its_certificate_wherever_it_is_asked_for() {
    let authority = Authority::new();
    let own = authority.client("my-app");
    for elsewhere in [&["client-certificate"][..], &["client-certificate", "mtls-elsewhere"]] {
        let story = story(&format!("--client-certificate {}", own.certificate.display()), elsewhere);
        assert_eq!(story.mutual().is_some(), elsewhere.len() == 2);
        assert!(story.connect(Some(&own)).done().contains("Connected `oauth`"));
        story.is_renewed();
    }
}

#[test]
fn a_client_is_known_by_what_an_authority_says_its_name_is() {
    let (authority, other) = (Authority::new(), Authority::new());
    let known_by = format!("--client-authority {}", authority.certificate().display());
    let story = story(&known_by, &["client-certificate"]);
    for foreign in [other.client("my-app"), authority.client("somebody-else")] {
        let refused = story.connect(Some(&foreign));
        assert!(refused.code != Some(0) && refused.err.contains("is not the client's"), "{}", refused.err);
    }
    assert!(story.connect(Some(&authority.client("my-app"))).done().contains("Connected `oauth`"));
    story.is_renewed();
}

#[test]
fn a_token_that_is_bound_is_good_only_with_its_certificate() {
    let authority = Authority::new();
    let (own, other) = (authority.client("my-app"), authority.client("other"));
    let known_by = format!("--client-certificate {}", own.certificate.display());
    let story = story(&known_by, &["client-certificate", "certificate-bound"]);
    let showing = |certified: Option<&Certified>| {
        let mut client = reqwest::blocking::Client::builder().danger_accept_invalid_certs(true);
        if let Some(certified) = certified {
            let pem = [&certified.certificate, &certified.key].map(|file| std::fs::read(file).unwrap()).concat();
            client = client.identity(reqwest::Identity::from_pem(&pem).unwrap());
        }
        client.build().unwrap()
    };
    let asked = showing(Some(&own)).post(format!("{}/token", story.url));
    let form = "grant_type=client_credentials&client_id=my-app";
    let answer = asked.header("content-type", "application/x-www-form-urlencoded").body(form).send().unwrap();
    let token: Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
    let token = token["access_token"].as_str().unwrap_or_else(|| panic!("{token}"));
    for (certified, status) in [(Some(&own), 200), (Some(&other), 401), (None, 401)] {
        let answer = showing(certified).get(format!("{}/api/me", story.url)).bearer_auth(token).send().unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[test]
fn without_its_certificate_or_with_another_nobody_is_the_client() {
    let authority = Authority::new();
    let (own, other) = (authority.client("my-app"), authority.client("other"));
    let story = story(&format!("--client-certificate {}", own.certificate.display()), &["client-certificate"]);
    let refused = story.connect(None);
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("shows no certificate"), "{}", refused.err);
    let refused = story.connect(Some(&other));
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("is not the client's"), "{}", refused.err);
}

#[test]
fn a_quirk_that_takes_tls_is_refused_without_it() {
    for quirk in ["client-certificate", "mtls-elsewhere", "certificate-bound"] {
        let refused = Attache::new(BINARY).run(&["simulate", "--quirk", quirk]);
        assert_eq!(refused.code, Some(2), "{}", refused.err);
        assert!(refused.err.contains("TLS"), "{}", refused.err);
    }
}
