//! A certificate that a connector has shown where tokens are asked for, beside whatever its calls carry: the provider takes it, and
//! nobody else sees it.

use std::fs;

use attache_tests::{
    Browser, Canary, Outcome, Running,
    authority::{Authority, Certified},
    peers::{self, Peer},
    service::{Service, answer},
};
use serde_json::{Value, json};

use crate::{gateway::Plant, gateway_oauth, simulating_tls};

/// A provider that knows `my-app` by its certificate, and a service that asks for one as well and lets in whoever has a token.
struct Story {
    at: simulating_tls::Story,
    authority: Authority,
    own: Certified,
    service: Service,
    /// Where the service is reached.
    base: String,
    nginx: Peer,
}

fn story(quirks: &[&str]) -> Story {
    let authority = Authority::new();
    let own = authority.client("my-app");
    let quirks = [&["client-certificate"], quirks].concat();
    let at = simulating_tls::story(&format!("--client-certificate {}", own.certificate.display()), &quirks);
    let service = Service::start(|request| match request.header("authorization") {
        Some(token) if token.starts_with("Bearer ") && !request.line.contains("/refuses") => answer(200, &[], "jo"),
        _ => answer(401, &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")], "who"),
    });
    let ports = [peers::free_port(), peers::free_port()];
    let nginx = peers::nginx_tls(&authority, ports, service.port);
    let base = format!("https://127.0.0.1:{}", ports[1]);
    let trusted = [at.machine.folder().join("simulated.pem"), authority.certificate()].map(|it| fs::read(it).unwrap());
    let trusted = at.attache.file("trusted.pem", trusted.concat());
    at.attache.configure(&format!("ca-file = \"{trusted}\"\n"));
    Story { at, authority, own, service, base, nginx }
}

impl Story {
    /// Every place of the provider.
    fn places(&self) -> Vec<String> {
        [Some(self.at.url.clone()), self.at.mutual()].into_iter().flatten().collect()
    }

    /// An app without any proof, whose requests may go there.
    fn app(&self, origins: &[String]) {
        let origins = origins.iter().flat_map(|origin| ["--origin", origin]);
        let app: Vec<&str> = ["app", "set", "oauth", "--client-id", "my-app"].into_iter().chain(origins).collect();
        self.at.attache.run(&app).done();
    }

    /// Begins to connect with a certificate.
    fn begin(&self, certified: &Certified) -> Running {
        let set = [format!("base={}", self.base), format!("issuer={}", self.at.url)];
        let [certificate, key] = certified.sources();
        let secrets = [format!("certificate={certificate}"), format!("key={key}")];
        let mut arguments = vec!["connect", "oauth", "--auth", "certified", "--timeout", "30", "--yes"];
        arguments.extend(["--set", &set[0], "--set", &set[1], "--secret", &secrets[0], "--secret", &secrets[1]]);
        let places = [&[self.base.clone()][..], &self.places()].concat();
        let allowed = places.iter().map(|place| place.trim_start_matches("https://"));
        arguments.extend(allowed.flat_map(|place| ["--allow-private", place]));
        self.at.attache.begin(&arguments)
    }

    /// Connects as a person with a browser does.
    fn connect(&self, certified: &Certified) -> Outcome {
        let mut running = self.begin(certified);
        let browser = Browser::that_trusts(Some(&self.at.machine.folder().join("simulated.pem")));
        browser.submit(&browser.open(&running.said("http://127.0.0.1")), &[]);
        running.ended()
    }

    fn send(&self, path: &str) -> Value {
        self.at.attache.call("oauth", "send", &json!({ "url": format!("{}{path}", self.base) }))
    }

    /// What the provider was asked, each with whether a certificate was shown.
    fn asked(&self) -> Vec<(String, bool)> {
        let log = self.at.told("/simulate/log");
        let entries = log.as_array().unwrap().iter();
        let shown = |it: &Value| it["presented"]["client_certificate"].is_string();
        entries.map(|it| (it["endpoint"].as_str().unwrap().to_owned(), shown(it))).collect()
    }

    /// Nobody but the provider saw it.
    #[track_caller]
    fn is_nobody_elses(&self) {
        let received = self.service.received();
        assert!(!received.is_empty());
        for request in received {
            assert_eq!(request.header("x-client-verified"), Some("NONE"), "{request:?}\n{}", self.nginx.log());
        }
    }
}

#[test]
fn a_certificate_is_shown_where_a_token_is_asked_for_renewed_and_ended_and_to_no_service() {
    for elsewhere in [&[][..], &["mtls-elsewhere"]] {
        let story = story(elsewhere);
        story.app(&story.places());
        assert!(story.connect(&story.own).done().contains("Connected `oauth`: jo."));
        assert_eq!(story.send("/x")["status"], 200);
        story.at.advance();
        assert_eq!(story.send("/refuses")["status"], 401, "the renewed one is refused too");
        let revoked = story.at.attache.run(&["consent", "revoke", "oauth", "--output", "json"]).json();
        assert_eq!(revoked["upstream"], "revoked");
        let asked = story.asked();
        let of = |endpoint: &str| asked.iter().filter(|it| it.0 == endpoint).map(|it| it.1).collect::<Vec<_>>();
        assert_eq!((of("token"), of("revoke")), (vec![true; 2], vec![true; 2]), "{asked:?}");
        assert!(
            asked.iter().all(|(endpoint, shown)| *shown == ["token", "revoke"].contains(&&**endpoint)),
            "{asked:?}"
        );
        story.is_nobody_elses();
        Canary::new(&fs::read_to_string(&story.own.key).unwrap()).is_not_below(&story.at.attache.folder().join("home"));
    }
}

#[test]
fn a_certificate_is_not_shown_outside_the_apps_origins() {
    let story = story(&["mtls-elsewhere"]);
    story.app(std::slice::from_ref(&story.at.url));
    let refused = story.begin(&story.own).ended().refused(5, "may not go to");
    assert!(refused.err.contains(&story.at.mutual().unwrap()), "{}", refused.err);
    assert!(story.asked().iter().all(|(_, shown)| !shown), "{:?}", story.asked());
}

#[test]
fn a_certificate_that_is_another_clients_gets_no_token() {
    let story = story(&[]);
    story.app(&story.places());
    let refused = story.connect(&story.authority.client("other"));
    assert!(refused.code != Some(0) && refused.err.contains("is not the client's"), "{}", refused.err);
    assert!(story.at.attache.run(&["connection", "list"]).done().lines().all(|line| !line.contains("oauth")));
}

#[test]
fn a_gateway_shows_the_certificate_where_it_asks_for_a_token_and_nowhere_else() {
    let story = story(&[]);
    let mut plant = Plant::joined();
    plant.private.configure(&format!("ca-file = \"{}\"\n", story.at.attache.folder().join("trusted.pem").display()));
    plant.run(&[&story.at.url, &story.base].map(|place| place.trim_start_matches("https://")));
    plant.attache.add("oauth");
    let to = ["--gateway", "plant", "--gateway-key", &plant.key.clone()];
    let app = ["app", "set", "oauth", "--client-id", "my-app", "--origin", &story.at.url];
    plant.attache.run(&[&app[..], &to].concat()).done();
    let set = [format!("base={}", story.base), format!("issuer={}", story.at.url)];
    let [certificate, key] = story.own.sources();
    let secrets = [format!("certificate={certificate}"), format!("key={key}")];
    let fixed =
        ["connect", "oauth", "--auth", "certified", "--timeout", "60", "--yes", "--set", &set[0], "--set", &set[1]];
    let typed = ["--secret", &secrets[0], "--secret", &secrets[1]];
    let mut running = plant.attache.begin(&[&fixed[..], &typed, &to].concat());
    let browser = Browser::that_trusts(Some(&story.at.machine.folder().join("simulated.pem")));
    browser.submit(&browser.open(&gateway_oauth::link_of(&mut running)), &[]);
    running.ended().done();
    let send = |path: &str| plant.attache.call("oauth", "send", &json!({ "url": format!("{}{path}", story.base) }));
    assert_eq!(send("/x")["status"], 200);
    story.at.advance();
    assert_eq!(send("/refuses")["status"], 401, "the renewed one is refused too");
    plant.attache.run(&["consent", "revoke", "oauth"]).done();
    let asked = story.asked();
    let of = |endpoint: &str| asked.iter().filter(|it| it.0 == endpoint).map(|it| it.1).collect::<Vec<_>>();
    assert_eq!((of("token"), of("revoke")), (vec![true; 2], vec![true; 2]), "{asked:?}");
    story.is_nobody_elses();
    Canary::new(&fs::read_to_string(&story.own.key).unwrap()).is_not_below(&plant.attache.folder().join("home"));
}
