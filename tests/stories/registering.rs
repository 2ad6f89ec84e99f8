//! How the host registers itself with a provider (RFC 7591): it asks for the proof that the connector declares, keeps the one
//! that the provider says, and registers anew when what it was given is over.

use std::sync::{Arc, Mutex};

use attache::{
    Error,
    connect::Made,
    consent::{App, Isolation},
};
use attache_tests::{
    Browser, Embedded,
    peers::oidc,
    service::{Service, answer},
};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

/// A provider that registers everybody as it likes: `answered` is laid over its answer. It gives a token to whoever asks, which
/// lasts for as long as nobody says otherwise.
fn provider(answered: Value) -> (Embedded, Service, Arc<Mutex<Value>>) {
    let answered = Arc::new(Mutex::new(answered));
    let over = answered.clone();
    let service = Service::start(move |request| {
        let target = request.line.split(' ').nth(1).unwrap();
        let url = Url::parse("http://provider").unwrap().join(target).unwrap();
        match url.path() {
            "/reg" => {
                let mut client = json!({ "client_id": "registered", "client_secret": "secret-of-the-registration" });
                for (name, value) in over.lock().unwrap().as_object().unwrap() {
                    client[name] = value.clone();
                }
                answer(201, &[], &client.to_string())
            }
            "/auth" => {
                let asked = |name: &str| url.query_pairs().find(|(other, _)| other == name).unwrap().1.into_owned();
                let back = format!("{}?code=a-code&state={}", asked("redirect_uri"), asked("state"));
                answer(302, &[("location", &back)], "")
            }
            "/token" => answer(200, &[], r#"{"access_token": "the-token", "refresh_token": "r", "expires_in": 1}"#),
            _ => answer(200, &[], r#"{"sub": "jo"}"#),
        }
    });
    (Embedded::new("oauth", Isolation::Call), service, answered)
}

fn connect(embedded: &Embedded, option: &str, provider: &str) -> Result<Made, Error> {
    embedded.sign_in("me", option, provider, |_, page| page)
}

fn app(embedded: &Embedded, name: &str) -> App {
    embedded.host().book("default").unwrap().app("oauth", Some(name)).unwrap()
}

type Fields = Vec<(String, String)>;

/// The requests to one path: the Basic credential, if there is one, and the fields.
fn asked(service: &Service, path: &str) -> Vec<(Option<String>, Fields)> {
    let to = |line: &str| line.split(' ').nth(1) == Some(path);
    let received = service.received().into_iter().filter(|request| to(&request.line));
    let read = |body: &[u8]| form_urlencoded::parse(body).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    received.map(|it| (it.header("authorization").map(str::to_owned), read(&it.body))).collect()
}

#[test]
fn a_host_registers_for_the_proof_that_the_connector_declares() {
    // oidc-provider holds every client to the one that it registered for.
    for (option, authorization, fields) in
        [("urls", None, "client_id client_secret"), ("urls-basic", Some("Basic"), ""), ("urls-none", None, "client_id")]
    {
        let (embedded, oidc) = (Embedded::new("oauth", Isolation::Call), oidc(&json!({})));
        let agree = |browser: &Browser, page| browser.submit(&page, &[("decision", "yes")]);
        embedded.sign_in("me", option, &oidc.peer.base(), agree).unwrap_or_else(|error| panic!("{option}: {error}"));
        let token = &oidc.tokens("authorization_code")[0].0;
        assert_eq!(token["authorization"].as_str(), authorization, "{option}: {token}");
        let sent = token["fields"].as_array().unwrap().iter().filter_map(Value::as_str);
        let mut sent: Vec<_> = sent.filter(|field| field.starts_with("client_")).collect();
        sent.sort_unstable();
        assert_eq!(sent.join(" "), fields, "{option}: {token}");
    }
}

#[test]
fn an_app_proves_itself_as_the_provider_registered_it_whatever_was_asked_for() {
    let basic = "Basic cmVnaXN0ZXJlZDpzZWNyZXQtb2YtdGhlLXJlZ2lzdHJhdGlvbg==";
    for (option, answered, authorization, has_secret) in [
        ("urls", json!({ "token_endpoint_auth_method": "client_secret_basic" }), Some(basic), false),
        ("urls-none", json!({ "token_endpoint_auth_method": "client_secret_basic" }), Some(basic), false),
        ("urls-basic", json!({ "token_endpoint_auth_method": "client_secret_post" }), None, true),
        // A secret that came all the same proves nothing, and is not kept.
        ("urls-basic", json!({ "token_endpoint_auth_method": "none" }), None, false),
        // Where it does not say, it is as was asked.
        ("urls-basic", json!({}), Some(basic), false),
        ("urls", json!({ "client_secret": null }), None, false),
    ] {
        let (embedded, service, _) = provider(answered.clone());
        connect(&embedded, option, &service.base()).unwrap_or_else(|error| panic!("{option} {answered}: {error}"));
        let (shown, fields) = asked(&service, "/token").remove(0);
        assert_eq!(shown.as_deref(), authorization, "{option} {answered}");
        assert_eq!(fields.iter().any(|(name, _)| name == "client_secret"), has_secret, "{option} {answered}");
    }
}

#[test]
fn a_proof_that_the_host_does_not_have_is_no_registration() {
    for (answered, words) in [
        (json!({ "token_endpoint_auth_method": "private_key_jwt" }), "prove itself by `private_key_jwt`"),
        (json!({ "token_endpoint_auth_method": "client_secret_basic", "client_secret": null }), "gave it no secret"),
        (json!({ "client_secret_expires_at": 1 }), "has run out already"),
    ] {
        let (embedded, service, _) = provider(answered.clone());
        let refused = connect(&embedded, "urls", &service.base()).err().unwrap();
        assert!(refused.message().contains(words), "{answered}: {refused}");
        assert!(refused.mend().unwrap().contains("attache app set oauth"), "{answered}: {refused}");
        assert!(asked(&service, "/token").is_empty() && embedded.host().apps("default").unwrap().is_empty());
    }
}

#[test]
fn a_client_secret_that_runs_out_is_said_so_and_connecting_again_registers_anew() {
    let far = 4_102_444_800_i64;
    let (embedded, service, answered) = provider(json!({ "client_secret_expires_at": far }));
    let made = connect(&embedded, "urls", &service.base()).unwrap();
    assert_eq!(made.connection.app.as_deref(), Some("oauth"));
    let known = app(&embedded, "oauth");
    assert_eq!(known.secret_expires, Some(far));
    // Time passes.
    embedded.host().book("default").unwrap().put_app(&App { secret_expires: Some(1), ..known }).unwrap();
    let before = asked(&service, "/token").len();
    let url = format!("{}/api/me", service.base());
    let sentence = loop {
        // What is good yet is served.
        let seen = embedded.call("me", "send", json!({ "url": url })).unwrap();
        if let Some(sentence) = seen["sentence"].as_str() {
            break sentence.to_owned();
        }
        assert_eq!(asked(&service, "/token").len(), before, "nothing is renewed with a secret that is over");
    };
    assert!(sentence.contains("ran out at 1970-01-01T00:00:01Z"), "{sentence}");
    let refused = embedded.check("me").unwrap_err();
    assert!(refused.mend().unwrap().contains("attache connection reconnect"), "{refused}");
    assert_eq!(asked(&service, "/token").len(), before, "the renewal token is not spent for nothing");
    // The next one is called otherwise, and is used from then on.
    *answered.lock().unwrap() = json!({ "client_id": "registered-anew", "client_secret_expires_at": 0 });
    let made = connect(&embedded, "urls", &service.base()).unwrap();
    assert_eq!(made.connection.app.as_deref(), Some("oauth-2"));
    let (_, fields) = asked(&service, "/token").pop().unwrap();
    assert!(fields.contains(&("client_id".into(), "registered-anew".into())), "{fields:?}");
    assert_eq!(app(&embedded, "oauth-2").secret_expires, None);
    assert_eq!(embedded.call("me", "send", json!({ "url": url })).unwrap()["status"], 200);
    connect(&embedded, "urls", &service.base()).unwrap();
    assert_eq!(asked(&service, "/reg").len(), 2, "one whose secret lasts is kept");
}
