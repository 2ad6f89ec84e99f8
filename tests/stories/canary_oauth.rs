//! Nothing that signing in brings or takes is anywhere in clear: tokens, code, verifier, device code, client secret and
//! assertion. The provider is a double of ours, since only one that hands out known values can be searched for.

use std::{fs, path::Path, process::Command};

use attache_tests::{
    Attache, Browser, Canary, Outcome, Running,
    service::{Received, Service, answer},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use url::form_urlencoded;

pub(crate) const ACCESS: &str = "canary-access-1f3870be274f6c49";
pub(crate) const RENEWED: &str = "canary-renewed-b1946ac92492d234";
pub(crate) const REFRESH: &str = "canary-refresh-8d777f385d3dfec8";
pub(crate) const ROTATED: &str = "canary-rotated-65a8e27d8879283f";
pub(crate) const CODE: &str = "canary-code-2c6ee24b09816a6f14";
pub(crate) const DEVICE: &str = "canary-device-e4da3b7fbbce2345";
pub(crate) const SECRET: &str = "canary-secret-1679091c5a880faf";
/// Another party's token (RFC 8693).
pub(crate) const SUBJECT: &str = "canary-subject-c9f0f895fb98ab91";

pub(crate) fn field(request: &Received, name: &str) -> Option<String> {
    form_urlencoded::parse(&request.body).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Whose renewals are refused from the first on.
pub(crate) const REFUSED_CLIENT: &str = "canary-refused";

fn is_refused(request: &Received) -> bool {
    let presented = field(request, "refresh_token");
    let is_refused = field(request, "client_id").as_deref() == Some(REFUSED_CLIENT);
    presented.is_some_and(|token| is_refused || token == ROTATED)
}

fn json_answer(status: u16, body: &Value) -> Vec<u8> {
    answer(status, &[("Content-Type", "application/json")], &body.to_string())
}

/// What a provider answers on the way to a token: its metadata, with some endpoints more, a code, and a device code.
fn on_the_way(request: &Received, more: &[(&str, &str)]) -> Option<Vec<u8>> {
    let base = format!("http://{}", request.header("host").unwrap());
    let path = request.line.split(' ').nth(1).unwrap();
    Some(match path.split('?').next().unwrap() {
        "/.well-known/oauth-authorization-server" => {
            let mut metadata = json!({ "issuer": base, "authorization_endpoint": format!("{base}/authorize"),
                "token_endpoint": format!("{base}/token"), "device_authorization_endpoint": format!("{base}/device") });
            for (name, path) in more {
                metadata[*name] = format!("{base}{path}").into();
            }
            json_answer(200, &metadata)
        }
        "/authorize" => {
            let query: Vec<_> = form_urlencoded::parse(path.split_once('?').unwrap().1.as_bytes()).collect();
            let asked = |name: &str| &query.iter().find(|(key, _)| key == name).unwrap().1;
            let back = format!("{}?code={CODE}&state={}", asked("redirect_uri"), asked("state"));
            answer(302, &[("Location", &back)], "")
        }
        "/device" => json_answer(
            200,
            &json!({ "device_code": DEVICE, "user_code": "ABCD", "verification_uri": format!("{base}/go"),
                "expires_in": 60, "interval": 1 }),
        ),
        _ => return None,
    })
}

/// Issues the canaries, and has an API that reflects whatever it is sent, in every spelling.
pub(crate) fn provider() -> Service {
    Service::start(|request| {
        if let Some(answer) = on_the_way(request, &[("revocation_endpoint", "/revoke")]) {
            return answer;
        }
        let json = |status, body: Value| json_answer(status, &body);
        let path = request.line.split(' ').nth(1).unwrap();
        match path.split('?').next().unwrap() {
            "/token" if is_refused(request) => {
                let words = format!("Invalid refresh token: {}, of {SECRET}", field(request, "refresh_token").unwrap());
                json(400, json!({ "error": "invalid_grant", "error_description": words }))
            }
            "/token" if field(request, "grant_type").as_deref() == Some("refresh_token") => json(
                200,
                json!({ "access_token": RENEWED, "refresh_token": ROTATED, "token_type": "Bearer", "expires_in": 3600 }),
            ),
            "/token" => json(
                200,
                json!({ "access_token": ACCESS, "refresh_token": REFRESH, "token_type": "Bearer", "expires_in": 3600 }),
            ),
            "/revoke" => json(200, json!({})),
            "/check" => answer(200, &[], "jo"),
            "/refuses-always" => answer(401, &[("WWW-Authenticate", "Bearer")], ""),
            "/refuses" if request.header("authorization").is_some_and(|it| it.contains(ACCESS)) => {
                let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{ACCESS}\"");
                answer(401, &[("WWW-Authenticate", &challenge)], ACCESS)
            }
            _ => {
                let all = format!("{} {:?}", request.line, request.headers);
                let token = request.header("authorization").unwrap_or("none").to_owned();
                let body = format!("{all}\n{}\n{}", BASE64_STANDARD.encode(&all), hex::encode(&all));
                answer(200, &[("X-Token", &token)], &body)
            }
        }
    })
}

/// Refuses whatever it is given, and repeats it.
pub(crate) fn repeating() -> Service {
    Service::start(|request| {
        if let Some(answer) = on_the_way(request, &[]) {
            return answer;
        }
        let given = form_urlencoded::parse(&request.body);
        let given: Vec<_> = given.collect();
        let find = |wanted: &str| given.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        // One at a time, since any of them is enough for all words to be left out.
        let mut wanted = ["client_assertion", "assertion", "subject_token", "device_code", "code_verifier"].into_iter();
        let words = format!("I was given {}", wanted.find_map(find).unwrap());
        json_answer(400, &json!({ "error": "invalid_grant", "error_description": words }))
    })
}

/// Makes a private key that signs ES256, and gives it in PEM.
pub(crate) fn private_key(path: &Path) -> String {
    let curve = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
    let made = Command::new("openssl").args(curve).arg(path).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read_to_string(path).unwrap()
}

/// The link that a person is to open.
#[track_caller]
pub(crate) fn link_of(running: &mut Running) -> String {
    loop {
        // A log has addresses too.
        let line = running.said("http://127.0.0.1");
        if line.starts_with("http") {
            return line;
        }
    }
}

struct Story {
    attache: Attache,
    provider: Service,
    /// Everything that anybody could see, with what it was.
    seen: Vec<(String, Vec<u8>)>,
}

impl Story {
    fn new() -> Self {
        let mut attache = Attache::new(env!("CARGO_BIN_EXE_attache-under-test"));
        // Before anything is logged: what the compiler has to say takes minutes.
        attache.add("oauth");
        attache.set("CLIENT_SECRET", SECRET).set("ATTACHE_LOG", "trace").set("RUST_BACKTRACE", "1");
        Self { attache, provider: provider(), seen: Vec::new() }
    }

    fn note(&mut self, what: &str, outcome: Outcome) {
        assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.err);
        self.seen.push((format!("standard output of {what}"), outcome.out.into_bytes()));
        self.seen.push((format!("standard error of {what}"), outcome.err.into_bytes()));
    }

    fn run(&mut self, arguments: &[&str]) {
        let outcome = self.attache.run(arguments);
        self.note(&format!("{arguments:?}"), outcome);
    }

    fn set_app(&mut self, proof: &[&str]) {
        let base = self.provider.base();
        self.run(&[&["app", "set", "oauth", "--client-id", "canary", "--origin", &base], proof].concat());
    }

    /// Connects as `name` with an option and more arguments; a browser takes part where it is `in_browser`.
    fn connect(&mut self, name: &str, option: &str, more: &[&str], in_browser: bool) {
        let (base, allow) = (self.provider.base(), self.provider.authority());
        let set = [format!("base={base}"), format!("issuer={base}")];
        let fixed = ["connect", "oauth", "--name", name, "--auth", option, "--set", &set[0], "--set", &set[1]];
        let fixed = [&fixed[..], &["--allow-private", &allow, "--timeout", "60", "--yes"]].concat();
        let mut running = self.attache.begin(&[&fixed, more].concat());
        if in_browser {
            let browser = Browser::new();
            let page = browser.open(&link_of(&mut running));
            let last = browser.submit(&page, &[]);
            self.seen.push(("the page that asks".into(), page.html.into_bytes()));
            self.seen.push(("the last page".into(), last.html.into_bytes()));
        }
        let outcome = running.ended();
        self.note(&format!("connecting {name}"), outcome);
    }

    /// What arrived at the token endpoint under that name.
    #[track_caller]
    fn arrived(&self, name: &str) -> String {
        let tokens = self.provider.received().into_iter().filter(|it| it.line.contains("/token"));
        let found = tokens.filter_map(|request| field(&request, name)).next_back();
        found.unwrap_or_else(|| panic!("no `{name}` arrived"))
    }

    #[track_caller]
    fn is_nowhere(&self, what: &str, secret: &str) {
        let canary = Canary::new(secret);
        for (place, bytes) in &self.seen {
            canary.is_not_in(&format!("{place} ({what})"), bytes);
        }
        assert!(canary.is_not_below(&self.attache.folder().join("home")) > 5);
    }
}

#[test]
fn nothing_of_a_sign_in_is_in_an_output_a_log_a_page_the_audit_a_file_or_the_connectors_sight() {
    let mut story = Story::new();
    story.set_app(&["--client-secret", "env:CLIENT_SECRET"]);
    story.connect("me", "plain", &[], true);
    let (base, other) = (story.provider.base(), Service::plain());
    let input = |path: &str| json!({ "url": format!("{base}{path}") }).to_string();
    let elsewhere = json!({ "url": format!("{}/loot", other.base()), "attach": false }).to_string();
    for input in [&input("/reflect"), &input("/refuses"), &input("/reflect"), &elsewhere] {
        story.run(&["call", "me", "send", "--input", input]);
    }
    // The declared endpoints are not the connector's to call, not even without a credential.
    for path in ["/token", "/revoke", "/authorize"] {
        let outside = json!({ "url": format!("{base}{path}"), "attach": false, "method": "POST" }).to_string();
        story.run(&["call", "me", "send", "--input", &outside]);
        assert!(String::from_utf8_lossy(&story.seen[story.seen.len() - 2].1).contains("denied"));
    }
    story.run(&["call", "me", "connection"]);
    story.connect("device", "discovered", &["--device"], false);
    // The provider refuses, and repeats in its words what it was given.
    story.run(&["call", "me", "send", "--input", &input("/refuses-always")]);
    assert!(String::from_utf8_lossy(&story.seen[story.seen.len() - 2].1).contains("its words repeat a secret"));
    for arguments in [
        &["connection", "list"][..],
        &["connection", "show", "me"],
        &["consent", "show", "me"],
        &["app", "show", "oauth"],
        &["audit", "list"],
        &["store", "check"],
        &["connector", "show", "oauth"],
    ] {
        story.run(arguments);
    }
    // All of it did go where it should, or nothing was searched for.
    assert_eq!(story.arrived("device_code"), DEVICE);
    assert_eq!((story.arrived("code"), story.arrived("refresh_token")), (CODE.into(), ROTATED.into()));
    assert_eq!(story.arrived("client_secret"), SECRET);
    assert!(
        story.provider.received().iter().any(|it| it.header("authorization") == Some(&format!("Bearer {RENEWED}")))
    );
    let verifier = story.arrived("code_verifier");
    let values = [ACCESS, RENEWED, REFRESH, ROTATED, CODE, DEVICE, SECRET, &verifier];
    for value in values {
        story.is_nowhere(value, value);
        assert!(!other.received().iter().any(|it| format!("{it:?}").contains(value)));
    }
    assert!(story.seen.iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains("TRACE")));
    // And it is gone from everywhere when it is revoked.
    story.run(&["consent", "revoke", "me"]);
    values.iter().for_each(|value| story.is_nowhere("after the revocation", value));
    let revoked = story.provider.received().into_iter().filter(|it| it.line.contains("/revoke"));
    let revoked: Vec<_> = revoked.filter_map(|request| field(&request, "token")).collect();
    assert_eq!(revoked, [ROTATED, RENEWED]);
}

#[test]
fn an_assertion_and_its_key_are_nowhere_either() {
    let mut story = Story::new();
    let key = story.attache.folder().join("key.pem");
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key).output().unwrap();
    assert!(made.status.success());
    let source = format!("file:{}", key.display());
    story.set_app(&["--private-key", &source]);
    story.connect("me", "plain", &[], true);
    story.run(&["app", "show", "oauth"]);
    let assertion = story.arrived("client_assertion");
    story.is_nowhere("the assertion", &assertion);
    let pem = fs::read_to_string(&key).unwrap();
    story.is_nowhere("the key", pem.lines().nth(1).unwrap());
}

#[test]
fn a_provider_that_repeats_what_it_was_given_is_not_quoted() {
    // Regression: assertions were no secrets of the connection's, and were quoted where a provider's words repeated them.
    let mut story = Story { provider: repeating(), ..Story::new() };
    let key = story.attache.folder().join("key.pem");
    private_key(&key);
    let proofs = [format!("file:{}", key.display()), "env:CLIENT_SECRET".to_owned()];
    for (proof, flag) in proofs.iter().zip(["--private-key", "--client-secret"]) {
        story.set_app(&[flag, proof]);
        let (base, allow) = (story.provider.base(), story.provider.authority());
        let set = [format!("base={base}"), format!("issuer={base}")];
        for more in [&[][..], &["--device"]] {
            let fixed = ["connect", "oauth", "--auth", "discovered", "--set", &set[0], "--set", &set[1]];
            let fixed = [&fixed[..], &["--allow-private", &allow, "--timeout", "60", "--yes"], more].concat();
            let mut running = story.attache.begin(&fixed);
            if more.is_empty() {
                let browser = Browser::new();
                let last = browser.submit(&browser.open(&link_of(&mut running)), &[]);
                assert!(last.html.contains("its words repeat a secret"), "{}", last.html);
                story.seen.push(("the page that says why".into(), last.html.into_bytes()));
            }
            let refused = running.ended().refused(4, "its words repeat a secret");
            story.seen.push(("standard output".into(), refused.out.into_bytes()));
            story.seen.push(("standard error".into(), refused.err.into_bytes()));
        }
    }
    // An assertion that the connector declares, in place of a grant; and another party's token.
    let (base, allow) = (story.provider.base(), story.provider.authority());
    let set = [format!("base={base}"), format!("issuer={base}")];
    story.attache.set("SUBJECT", SUBJECT);
    for (option, secret) in [("signed", format!("key={}", proofs[0])), ("traded", "subject=env:SUBJECT".to_owned())] {
        let given = ["connect", "oauth", "--auth", option, "--set", &set[0], "--set", &set[1], "--secret", &secret];
        let refused = story.attache.run(&[&given[..], &["--allow-private", &allow, "--yes"]].concat());
        let refused = refused.refused(4, "its words repeat a secret");
        story.seen.push((format!("standard error of what is {option}"), refused.err.into_bytes()));
    }
    story.run(&["audit", "list"]);
    let names =
        ["client_assertion", "assertion", "code", "code_verifier", "client_secret", "device_code", "subject_token"];
    for name in names {
        let arrived = story.arrived(name);
        story.is_nowhere(name, &arrived);
    }
}
