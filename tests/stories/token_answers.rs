//! What a provider answers where the host reads it, however odd: taken for what it says, or not at all, and never half of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use attache::{
    Error, Kind,
    consent::{Isolation, oauth2::DeviceAuthorization},
    manifest::oauth2::Grant,
    transport::PrivateAllowed,
};
use attache_tests::{
    Embedded,
    service::{Received, Service, answer},
};
use serde_json::{Value, json};
use url::form_urlencoded;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const METADATA: &str = "/.well-known/oauth-authorization-server";
/// What a token answer may have, as JSON writes it.
const TOKENS: [(&str, &str); 6] = [
    ("access_token", r#""odd-access-3d1f""#),
    ("refresh_token", r#""odd-renewal-77ab""#),
    ("expires_in", "3600"),
    ("token_type", r#""Bearer""#),
    ("scope", r#""items""#),
    ("id_token", r#""e30.e30.""#),
];

/// A provider that is orderly unless it is told what to say, and a service that takes its tokens.
struct Provider {
    service: Service,
    /// Whole answers, by path.
    said: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Provider {
    fn start() -> Self {
        let said: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let told = said.clone();
        let service = Service::start(move |request| {
            let target = request.line.split(' ').nth(1).unwrap();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            told.lock().unwrap().get(path).cloned().unwrap_or_else(|| orderly(request, path, query))
        });
        Self { service, said }
    }

    /// Says this at a path from now on.
    fn says(&self, path: &str, answer: Vec<u8>) {
        self.said.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn is_orderly_again(&self) {
        self.said.lock().unwrap().clear();
    }

    /// The metadata's members, as JSON writes them.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        let at = |path: &str| format!("\"{}{path}\"", self.service.base());
        vec![
            ("issuer", at("")),
            ("authorization_endpoint", at("/authorize")),
            ("token_endpoint", at("/token")),
            ("device_authorization_endpoint", at("/device")),
            ("revocation_endpoint", at("/revoke")),
            ("mtls_endpoint_aliases", "{}".into()),
            ("token_endpoint_auth_methods_supported", "[]".into()),
            ("code_challenge_methods_supported", r#"["S256"]"#.into()),
            ("authorization_response_iss_parameter_supported", "false".into()),
        ]
    }

    fn tokens_asked(&self) -> usize {
        self.service.received().iter().filter(|it| it.line.contains("/token")).count()
    }
}

fn orderly(request: &Received, path: &str, query: &str) -> Vec<u8> {
    let base = format!("http://{}", request.header("host").unwrap());
    let json = |body: Value| http(200, JSON, body.to_string());
    match path {
        METADATA => json(json!({ "issuer": base, "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": format!("{base}/token"), "device_authorization_endpoint": format!("{base}/device") })),
        "/authorize" => {
            let asked: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
            let back = format!("{}?code=the-code&state={}", asked["redirect_uri"], asked["state"]);
            answer(302, &[("Location", &back)], "")
        }
        "/token" => json(json!({ "access_token": "good-access", "refresh_token": "good-renewal", "expires_in": 3600 })),
        "/refuses" if request.header("authorization") == Some("Bearer good-access") => {
            answer(401, &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")], "")
        }
        "/check" | "/refuses" | "/api" => answer(200, &[], "jo"),
        _ => answer(404, &[], ""),
    }
}

fn http(status: u16, kind: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn object<N: AsRef<str>, V: AsRef<str>>(members: &[(N, V)]) -> String {
    let members = members.iter().map(|(name, value)| format!("\"{}\": {}", name.as_ref(), value.as_ref()));
    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
}

/// An object that has one of its members twice: as it is, and with an escape in its name.
fn with_one_twice<V: AsRef<str>>(members: &[(&'static str, V)]) -> Vec<(&'static str, String)> {
    let with = |again: &str, value: &str| {
        let mut all: Vec<(&str, &str)> = members.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        all.push((again, value));
        object(&all)
    };
    let each = members.iter().flat_map(|(name, value)| {
        let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        [(*name, with(name, value.as_ref())), (*name, with(&escaped, value.as_ref()))]
    });
    each.collect()
}

/// The same in a form.
fn form_with_one_twice(members: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", value.trim_matches('"'));
    let all: Vec<String> = members.iter().map(pair).collect();
    members.iter().map(|member| (member.0, format!("{}&{}", all.join("&"), pair(member)))).collect()
}

fn host(provider: &Provider) -> Embedded {
    let embedded = Embedded::new("oauth", Isolation::Call);
    embedded.set_app(("me", "secret-of-the-test"), &provider.service.base());
    embedded
}

fn sign_in(embedded: &Embedded, provider: &Provider, name: &str) -> Result<(), Error> {
    embedded.sign_in(name, "plain", &provider.service.base(), |_, page| page).map(drop)
}

fn send(embedded: &Embedded, provider: &Provider, name: &str, path: &str) -> Value {
    embedded.call(name, "send", json!({ "url": format!("{}{path}", provider.service.base()) })).unwrap()
}

/// What an answer to a renewal comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Renewal {
    /// What it brought is used.
    Taken,
    /// The connection needs its owner.
    Over,
    /// It is asked for again later.
    Later,
}

/// Has the provider answer so when a connection is made, and when one is renewed.
#[track_caller]
fn comes_to(what: &str, said: &[u8], first: Result<(), &str>, renewal: Renewal) {
    let provider = Provider::start();
    let embedded = host(&provider);
    provider.says("/token", said.to_vec());
    let made = sign_in(&embedded, &provider, "first");
    match (made, first) {
        (Ok(()), Ok(())) => assert_eq!(send(&embedded, &provider, "first", "/api")["status"], 200, "{what}"),
        (Err(refused), Err(words)) => {
            assert!(refused.message().contains(words), "{what}: {refused}");
            assert!(!refused.message().contains(['\u{202e}', '\u{1b}']), "{what}: {refused}");
            assert!(embedded.host().book("default").unwrap().connections().unwrap().is_empty(), "{what}");
        }
        (made, _) => panic!("{what}: {made:?}"),
    }
    assert_eq!(provider.tokens_asked(), 1, "{what}: a code is redeemed once");
    provider.is_orderly_again();
    sign_in(&embedded, &provider, "renewed").unwrap();
    let before = provider.tokens_asked();
    provider.says("/token", said.to_vec());
    let seen = send(&embedded, &provider, "renewed", "/refuses");
    let came = match (&seen["status"], seen["error"].as_str()) {
        (status, None) if *status == 200 => Renewal::Taken,
        (_, Some("needs-reconnect")) => Renewal::Over,
        (_, Some("unreachable")) => Renewal::Later,
        _ => panic!("{what}: {seen}"),
    };
    assert_eq!(came, renewal, "{what}: {seen}");
    // Asked at once again, nobody presents the renewal token anew.
    send(&embedded, &provider, "renewed", "/refuses");
    assert_eq!(provider.tokens_asked(), before + 1, "{what}");
    let sent =
        provider.service.received().iter().any(|it| it.header("authorization").is_some_and(|it| it.contains("odd")));
    assert_eq!(sent, first.is_ok() || renewal == Renewal::Taken, "{what}: a token of an odd answer was used");
}

#[test]
fn a_token_answer_that_says_anything_twice_is_not_used() {
    for (member, body) in with_one_twice(&TOKENS) {
        let words = Err("it has a member twice");
        comes_to(&format!("{member} twice: {body}"), &http(200, JSON, &body), words, Renewal::Over);
    }
    for (member, body) in form_with_one_twice(&TOKENS) {
        let words = Err("it has a member twice");
        comes_to(&format!("{member} twice: {body}"), &http(200, FORM, &body), words, Renewal::Over);
    }
    // What is in no encoding hid what came after it.
    let hidden = [br#"{"a": ""#, &[0xff][..], br#"", "access_token": "odd-a", "access_token": "odd-b"}"#].concat();
    comes_to("beside what is no UTF-8", &http(200, JSON, hidden), Err("it has a member twice"), Renewal::Over);
}

#[test]
fn a_refusal_that_says_anything_twice_is_no_word_of_the_providers() {
    let members =
        [("error", r#""slow_down""#), ("error_description", r#""first""#), ("error_uri", r#""http://a.example""#)];
    for (member, body) in with_one_twice(&members) {
        let refused = Err("status 400, which is no answer of OAuth 2.0");
        comes_to(&format!("{member} twice: {body}"), &http(400, JSON, &body), refused, Renewal::Over);
        comes_to(
            &format!("{member} twice: {body}"),
            &http(200, JSON, &body),
            Err("it has a member twice"),
            Renewal::Over,
        );
    }
    for (member, body) in form_with_one_twice(&members) {
        comes_to(
            &format!("{member} twice: {body}"),
            &http(200, FORM, &body),
            Err("it has a member twice"),
            Renewal::Over,
        );
    }
}

#[test]
fn odd_token_answers_come_to_what_they_say_or_to_nothing() {
    let tokens = |changed: &[(&str, &str)]| {
        let kept = TOKENS.iter().filter(|(name, _)| changed.iter().all(|(other, _)| name != other));
        object(&kept.chain(changed.iter().filter(|(_, value)| !value.is_empty())).copied().collect::<Vec<_>>())
    };
    let (none, bound) = (Err("there is no access token in it"), Err("cannot be sent as a bearer"));
    let (unsendable, refused) = (Err("characters that no token may have"), Err("`invalid_grant`"));
    let error = ("error", r#""invalid_grant""#);
    let not_text = |before: &str, after: &str| [before.as_bytes(), &[0xff], after.as_bytes()].concat();
    let moved = |status: u16| answer(status, &[("Location", "/elsewhere")], "");
    let oversize = format!(r#"{{"access_token": "odd-{}"}}"#, "x".repeat((1 << 20) + 1));
    for (what, said, first, renewal) in [
        ("as it should be", http(200, JSON, tokens(&[])), Ok(()), Renewal::Taken),
        ("called otherwise", http(200, "text/html", tokens(&[])), Ok(()), Renewal::Taken),
        ("called a form", http(200, FORM, tokens(&[])), none, Renewal::Over),
        ("a page", http(200, "text/html", "<html>Sign in first</html>"), none, Renewal::Over),
        ("nothing", http(200, JSON, ""), none, Renewal::Over),
        ("no content", answer(204, &[], ""), none, Renewal::Over),
        ("a list", http(200, JSON, format!("[{}]", tokens(&[]))), none, Renewal::Over),
        ("cut off", http(200, JSON, &tokens(&[])[..80]), none, Renewal::Over),
        ("more after it", http(200, JSON, format!("{0}{0}", tokens(&[]))), none, Renewal::Over),
        ("a number for a token", http(200, JSON, tokens(&[("access_token", "17")])), none, Renewal::Over),
        ("yes for a token", http(200, JSON, tokens(&[("access_token", "true")])), none, Renewal::Over),
        ("an empty token", http(200, JSON, tokens(&[("access_token", r#""""#)])), none, Renewal::Over),
        (
            "a token of two lines",
            http(200, JSON, tokens(&[("access_token", r#""odd\nb""#)])),
            unsendable,
            Renewal::Over,
        ),
        (
            "a renewal token of two",
            http(200, JSON, tokens(&[("refresh_token", r#""odd\nb""#)])),
            unsendable,
            Renewal::Over,
        ),
        ("a token of signs", http(200, JSON, tokens(&[("access_token", r#""odd-é""#)])), unsendable, Renewal::Over),
        (
            "a token that is no text",
            http(200, JSON, not_text(r#"{"access_token": "odd-"#, r#""}"#)),
            unsendable,
            Renewal::Over,
        ),
        (
            "something else that is no text",
            http(200, JSON, not_text(r#"{"access_token": "odd-a", "name": ""#, r#""}"#)),
            Ok(()),
            Renewal::Taken,
        ),
        (
            "a refusal that is no text",
            http(400, JSON, not_text(r#"{"error": "invalid_grant", "error_description": ""#, r#""}"#)),
            refused,
            Renewal::Over,
        ),
        ("no type", http(200, JSON, tokens(&[("token_type", "")])), Ok(()), Renewal::Taken),
        ("a type of its own", http(200, JSON, tokens(&[("token_type", r#""bot""#)])), Ok(()), Renewal::Taken),
        ("of mac", http(200, JSON, tokens(&[("token_type", r#""mac""#)])), bound, Renewal::Over),
        ("of DPoP", http(200, JSON, tokens(&[("token_type", r#""DPoP""#)])), bound, Renewal::Over),
        ("of PoP", http(200, JSON, tokens(&[("token_type", r#""PoP""#)])), bound, Renewal::Over),
        ("no access token at all", http(200, JSON, tokens(&[("token_type", r#""N_A""#)])), bound, Renewal::Over),
        ("an error", http(200, JSON, object(&[error])), refused, Renewal::Over),
        ("an error and tokens", http(200, JSON, tokens(&[error])), refused, Renewal::Over),
        (
            "words that steer a terminal",
            http(400, JSON, r#"{"error": "invalid_grant", "error_description": "no\u202e\u001b[31m <b>"}"#),
            refused,
            Renewal::Over,
        ),
        ("an error in a form", http(200, FORM, "error=invalid_grant"), refused, Renewal::Over),
        ("and tokens", http(200, FORM, "error=invalid_grant&access_token=odd-a"), refused, Renewal::Over),
        ("an error that is none", http(200, JSON, tokens(&[("error", r#""""#)])), Ok(()), Renewal::Taken),
        ("led elsewhere for good", moved(301), Err("status 301"), Renewal::Later),
        ("led elsewhere", moved(302), Err("status 302"), Renewal::Later),
        ("led to another page", moved(303), Err("status 303"), Renewal::Later),
        ("led on", moved(307), Err("status 307"), Renewal::Later),
        ("led on for good", moved(308), Err("status 308"), Renewal::Later),
        ("too much", http(200, JSON, oversize), Err("more than 1048576 bytes"), Renewal::Over),
        ("no number at all", http(200, JSON, tokens(&[("expires_in", "1e999")])), none, Renewal::Over),
    ] {
        comes_to(what, &said, first, renewal);
    }
}

#[test]
fn a_lifetime_is_read_however_it_is_written_and_one_that_cannot_be_is_no_end() {
    let provider = Provider::start();
    let embedded = host(&provider);
    for (number, (written, lasts)) in [
        ("3600", Some(3_600)),
        (r#""3600""#, Some(3_600)),
        ("3599.5", Some(3_599)),
        (r#""3599.5""#, Some(3_599)),
        ("3.6e3", Some(3_600)),
        // Some write that of what does not run out.
        ("0", None),
        (r#""0""#, None),
        ("-1", None),
        ("-3600", None),
        (r#""-3600""#, None),
        ("1e15", None),
        ("1e300", None),
        ("18446744073709551616", None),
        ("99999999999999999999999999", None),
        (r#""99999999999999999999999999""#, None),
        (r#""Infinity""#, None),
        (r#""NaN""#, None),
        (r#""soon""#, None),
        (r#""""#, None),
        ("null", None),
        ("true", None),
        ("[3600]", None),
        (r#"{"seconds": 3600}"#, None),
    ]
    .into_iter()
    .enumerate()
    {
        let (name, body) = (format!("n{number}"), object(&[("access_token", r#""good""#), ("expires_in", written)]));
        provider.says("/token", http(200, JSON, body));
        sign_in(&embedded, &provider, &name).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(send(&embedded, &provider, &name, "/api")["status"], 200, "{written}");
        let book = embedded.host().book("default").unwrap();
        let captured = book.captured(book.connection(&name).unwrap().id).unwrap().unwrap();
        // Written down a moment later.
        let told = captured.expires.map(|expires| expires - captured.obtained);
        let is_told = match (told, lasts) {
            (Some(told), Some(lasts)) => (lasts - 60..=lasts).contains(&told),
            (told, lasts) => told == lasts,
        };
        assert!(is_told, "{written}: {told:?}");
    }
}

#[test]
fn a_code_for_a_device_that_says_anything_twice_is_shown_to_nobody() {
    let provider = Provider::start();
    let embedded = host(&provider);
    let begin = || -> Result<DeviceAuthorization, Error> {
        let mut request = embedded.request("me", "discovered")?;
        request.private = PrivateAllowed::parse([provider.service.authority()]).unwrap();
        request.grant = Some(Grant::DeviceCode);
        request.parameters = ["base", "issuer"].map(|name| (name.to_owned(), provider.service.base())).into();
        embedded.block_on(async {
            let proposal = embedded.host().propose_connection(request).await?;
            embedded.host().begin_device(&proposal).await
        })
    };
    let members = [
        ("device_code", r#""the-device-code""#),
        ("user_code", r#""ABCD""#),
        ("verification_uri", r#""http://a.example/go""#),
        ("verification_uri_complete", r#""http://a.example/go?ABCD""#),
        ("expires_in", "60"),
        ("interval", "1"),
    ];
    provider.says("/device", http(200, JSON, object(&members)));
    assert_eq!(begin().unwrap().user_code, "ABCD");
    for (member, body) in with_one_twice(&members) {
        provider.says("/device", http(200, JSON, &body));
        let refused = begin().err().unwrap_or_else(|| panic!("{member} twice was taken: {body}"));
        assert!(refused.message().contains("is no device authorization"), "{member}: {refused}");
    }
    for (member, body) in with_one_twice(&[("error", r#""invalid_client""#), ("error_description", r#""no""#)]) {
        provider.says("/device", http(400, JSON, &body));
        let refused = begin().err().unwrap();
        assert!(refused.message().contains("status 400"), "{member}: {refused}");
        assert!(!refused.message().contains("invalid_client"), "{member}: {refused}");
    }
}

#[test]
fn metadata_that_says_anything_twice_leads_nobody_anywhere() {
    let provider = Provider::start();
    let embedded = host(&provider);
    let propose = || embedded.propose("me", "plain", &provider.service.base());
    let members = provider.metadata();
    provider.says(METADATA, http(200, JSON, object(&members)));
    propose().unwrap();
    let token = format!("\"{}/token\"", provider.service.base());
    let aliases =
        ["token_endpoint", "device_authorization_endpoint", "revocation_endpoint"].map(|name| (name, &*token));
    let within = with_one_twice(&aliases).into_iter().map(|(name, aliases)| {
        let mut members = members.clone();
        members.iter_mut().find(|it| it.0 == "mtls_endpoint_aliases").unwrap().1 = aliases;
        (name, object(&members))
    });
    for (member, body) in with_one_twice(&members).into_iter().chain(within) {
        provider.says(METADATA, http(200, JSON, &body));
        let refused = propose().err().unwrap_or_else(|| panic!("{member} twice was taken: {body}"));
        assert_eq!(refused.kind(), Kind::ServiceFailed);
        assert!(refused.message().contains("as its metadata is none"), "{member}: {refused}");
    }
    // What a protected resource says of its authorization server (RFC 9728).
    provider.says(METADATA, answer(404, &[], ""));
    let resource = [("resource", &*token), ("authorization_servers", "[]")];
    for (member, body) in with_one_twice(&resource) {
        provider.says("/.well-known/oauth-protected-resource", http(200, JSON, &body));
        let refused = propose().err().unwrap_or_else(|| panic!("{member} twice was taken: {body}"));
        assert!(refused.message().contains("as its metadata is none"), "{member}: {refused}");
    }
    assert_eq!(provider.tokens_asked(), 0);
}

#[test]
fn a_registration_that_says_anything_twice_makes_no_app() {
    let provider = Provider::start();
    let embedded = Embedded::new("oauth", Isolation::Call);
    let propose = || embedded.propose("me", "urls", &provider.service.base());
    let members =
        [("client_id", r#""registered""#), ("client_secret", r#""its-secret""#), ("client_secret_expires_at", "0")];
    for (member, body) in with_one_twice(&members) {
        provider.says("/reg", http(201, JSON, &body));
        let refused = propose().err().unwrap_or_else(|| panic!("{member} twice was taken: {body}"));
        assert!(refused.message().contains("its answer is no registration"), "{member}: {refused}");
        assert!(embedded.host().book("default").unwrap().apps("oauth").unwrap().is_empty(), "{member}");
    }
    provider.says("/reg", http(201, JSON, object(&members)));
    propose().unwrap();
}
