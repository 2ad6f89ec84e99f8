//! An app that proves itself by a certificate in the TLS handshake (RFC 8705): at oidc-provider, before which nginx asks for
//! certificates.

use attache_tests::{
    Attache, Browser, Running,
    authority::{Authority, Certified},
    peers::{self, Oidc, Peer, oidc},
};
use serde_json::{Value, json};

struct Story {
    attache: Attache,
    authority: Authority,
    oidc: Oidc,
    /// Whom the provider calls itself: where people go, and its API.
    issuer: String,
    /// Where certificates are asked for.
    mutual: String,
    nginx: Peer,
}

/// A provider that asks for certificates everywhere.
fn story() -> Story {
    between(true)
}

/// A provider; where it does not ask for certificates everywhere, its metadata says where it does.
fn between(everywhere: bool) -> Story {
    let authority = Authority::new();
    let ports = [peers::free_port(), peers::free_port()];
    let [quiet, mutual] = ports.map(|port| format!("https://127.0.0.1:{port}"));
    let (issuer, aliases) = if everywhere { (&mutual, Value::Null) } else { (&quiet, json!(mutual)) };
    let client = json!({
        "client_id": "certified", "redirect_uris": ["http://127.0.0.1/callback"], "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=attache",
    });
    let oidc = oidc(&json!({ "issuer": issuer, "aliases": aliases, "clients": [client] }));
    let nginx = peers::nginx_tls(&authority, ports, oidc.peer.port);
    let attache = Attache::new(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.configure(&format!("ca-file = \"{}\"\n", authority.certificate().display()));
    attache.add("oauth");
    Story { attache, authority, issuer: issuer.clone(), oidc, mutual, nginx }
}

impl Story {
    /// An app with this certificate.
    #[track_caller]
    fn app(&self, certified: &Certified) {
        let [certificate, key] = certified.sources();
        let fixed = ["app", "set", "oauth", "--client-id", "certified", "--origin", &self.issuer];
        let proof = ["--origin", &self.mutual, "--client-certificate", &certificate, "--client-certificate-key", &key];
        self.attache.run(&[&fixed[..], &proof].concat()).done();
    }

    /// Connects as far as a person takes part.
    #[track_caller]
    fn begin(&self) -> Running {
        let set = [format!("base={}", self.issuer), format!("issuer={}", self.issuer)];
        let allowed = [&self.issuer, &self.mutual].map(|origin| origin.trim_start_matches("https://"));
        let fixed = ["connect", "oauth", "--auth", "discovered", "--set", &set[0], "--set", &set[1]];
        let allowed = ["--allow-private", allowed[0], "--allow-private", allowed[1], "--timeout", "60"];
        self.sign_in(self.attache.begin(&[&fixed[..], &allowed].concat()))
    }

    #[track_caller]
    fn sign_in(&self, mut running: Running) -> Running {
        let link = running.said("http://127.0.0.1");
        let browser = Browser::that_trusts(Some(&self.authority.certificate()));
        let provider = browser.submit(&browser.open(&link), &[]);
        browser.submit(&provider, &[("decision", "yes")]);
        running
    }

    #[track_caller]
    fn connect(&self) {
        let out = self.begin().ended().done();
        assert!(out.contains("Connected `oauth`: jo."), "{out}");
    }

    /// Calls twice; between the calls the token is ended, so that it is renewed.
    #[track_caller]
    fn calls_and_renews(&self) {
        for _ in 0..2 {
            let seen = self.attache.call("oauth", "send", &json!({ "url": format!("{}/api/me", self.issuer) }));
            assert_eq!(seen["status"], 200, "{seen}\n{}", self.nginx.log());
            self.oidc.forget_access_tokens();
        }
    }

    /// Every request to a path that the host makes: where, with whose certificate, and what came of it.
    fn asked(&self, path: &str) -> Vec<(String, Value, Value)> {
        let asked = self.oidc.asked().into_iter().map(|it| it.0).filter(|it| it["path"] == path);
        asked
            .map(|it| {
                (format!("https://{}", it["host"].as_str().unwrap()), it["certificate"].clone(), it["status"].clone())
            })
            .collect()
    }

    fn shown_to(&self, host: &str) -> (String, Value, Value) {
        (host.to_owned(), json!("CN=attache"), json!(200))
    }
}

#[test]
fn an_app_shows_its_certificate_for_a_code_a_renewal_and_a_revocation() {
    let story = story();
    story.app(&story.authority.client("attache"));
    story.connect();
    story.calls_and_renews();
    let shown = story.shown_to(&story.mutual);
    assert_eq!(story.asked("/token"), [shown.clone(), shown.clone()]);
    let grants = ["authorization_code", "refresh_token"].map(|grant| story.oidc.tokens(grant).len());
    assert_eq!(grants, [1, 1]);
    assert_eq!(story.asked("/auth")[0].1, Value::Null, "a person's browser has none");
    let revoked = story.attache.run(&["consent", "revoke", "oauth", "--output", "json"]).json();
    assert_eq!(revoked["upstream"], "revoked");
    assert_eq!(story.asked("/token/revocation"), [shown.clone(), shown]);
    let app = story.attache.run(&["app", "show", "oauth"]).done();
    assert!(app.contains("client certificate") && !app.contains("BEGIN"), "{app}");
}

#[test]
fn an_app_without_the_certificate_that_the_provider_knows_is_refused() {
    let story = story();
    let app = ["app", "set", "oauth", "--client-id", "certified", "--origin", &story.issuer];
    story.attache.run(&app).done();
    let words = "does not accept the app's client id or proof (`invalid_client`)";
    story.begin().ended().refused(6, words);
    story.app(&story.authority.client("somebody-else"));
    story.begin().ended().refused(6, words);
    // nginx itself turns away what another authority certified.
    story.app(&Authority::new().client("attache"));
    story.begin().ended().refused(6, "The app's client certificate may be why");
    assert_eq!(story.attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
    story.app(&story.authority.client("attache"));
    story.connect();
}

#[test]
fn a_provider_that_asks_for_certificates_elsewhere_is_asked_there() {
    let story = between(false);
    story.app(&story.authority.client("attache"));
    story.connect();
    story.calls_and_renews();
    let shown = story.shown_to(&story.mutual);
    assert_eq!(story.asked("/token"), [shown.clone(), shown.clone()]);
    story.attache.run(&["connection", "remove", "oauth", "--yes"]).done();
    assert_eq!(story.asked("/token/revocation"), [shown.clone(), shown]);
    let metadata = story.asked("/.well-known/openid-configuration");
    assert!(
        metadata.iter().all(|(host, certificate, _)| *host == story.issuer && certificate.is_null()),
        "{metadata:?}"
    );
}

#[test]
fn where_certificates_are_asked_for_is_an_origin_that_the_operator_allows_the_app() {
    let story = between(false);
    let [certificate, key] = story.authority.client("attache").sources();
    let app = ["app", "set", "oauth", "--client-id", "certified", "--origin", &story.issuer];
    let proof = ["--client-certificate", &certificate, "--client-certificate-key", &key];
    story.attache.run(&[&app[..], &proof].concat()).done();
    let set = [format!("base={}", story.issuer), format!("issuer={}", story.issuer)];
    let authority = story.issuer.trim_start_matches("https://");
    let connect = ["connect", "oauth", "--auth", "discovered", "--set", &set[0], "--set", &set[1]];
    let refused = story.attache.run(&[&connect[..], &["--allow-private", authority, "--timeout", "1"]].concat());
    refused.refused(5, &format!("may not go to {}", story.mutual));
    // An app that shows none has nothing to do with them.
    let mut attache = story.attache;
    attache.set("SECRET", crate::oauth::SECRET);
    attache.run(&["app", "set", "oauth", "--client-id", "web", "--client-secret", "env:SECRET"]).done();
    let mut running = attache.begin(&[&connect[..], &["--allow-private", authority, "--timeout", "60"]].concat());
    running.said("http://127.0.0.1");
    running.kill();
}
