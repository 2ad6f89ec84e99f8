//! Providers as they really are: different from the standard, careless, or hostile. The provider is the simulated one, whose
//! differences have stories of their own; the last story has another real one.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use attache::{
    Kind,
    apps::AppRequest,
    connect::ConnectProposal,
    consent::{Isolation, app::SecretAuth},
    secret::Secret,
    transport::PrivateAllowed,
};
use attache_tests::{
    Browser, CALLBACK, Embedded,
    peers::{Oidc, mock_oidc, oidc},
    service::{Service, answer},
    simulate::{CLIENT, Simulated},
};
use serde_json::{Value, json};

use crate::oauth::SECRET;

const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");

pub fn simulated(flags: &[&str]) -> (Embedded, Simulated) {
    let simulated = Simulated::start(BINARY, &[&["--approve"], flags].concat());
    let embedded = Embedded::new("oauth", Isolation::Call);
    embedded.set_app(CLIENT, simulated.url());
    (embedded, simulated)
}

pub fn send(embedded: &Embedded, url: &str) -> Value {
    embedded.call("me", "send", json!({ "url": url })).unwrap()
}

#[test]
fn a_code_of_somebody_elses_sign_in_is_of_no_use() {
    // The attacker has a code of their own, and puts it into the answer to the victim's sign-in.
    let (embedded, simulated) = simulated(&[]);
    let trip = |browser: &Browser| {
        let proposal = embedded.propose("me", "plain", simulated.url()).unwrap();
        let trip = proposal.trip(&CALLBACK.parse().unwrap()).unwrap();
        let page = browser.open(trip.url.as_str());
        (proposal, trip, page)
    };
    let browser = Browser::that_stops_at(CALLBACK);
    let ((_, _, attackers), (proposal, victims, mut answer)) = (trip(&browser), trip(&browser));
    let code = attackers.url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let others: Vec<(String, String)> =
        answer.url.query_pairs().filter(|(name, _)| name != "code").map(|(k, v)| (k.into(), v.into())).collect();
    answer.url.query_pairs_mut().clear().extend_pairs(others).append_pair("code", &code);
    let refused = embedded.come_back(proposal, victims, answer.url.query().unwrap().to_owned()).err().unwrap();
    assert!(refused.message().contains("`invalid_grant`"), "{refused}");
    assert!(embedded.host().book("default").unwrap().connections().unwrap().is_empty());
}

#[test]
fn an_answer_of_another_issuer_or_of_two_minds_is_taken_for_none() {
    let refused = |merge: Value, more: &str, words: &str| {
        let (embedded, simulated) = simulated(&[]);
        simulated.next(&json!({ "endpoint": "authorize", "merge": merge }));
        let proposal = embedded.propose("me", "plain", simulated.url()).unwrap();
        let trip = proposal.trip(&CALLBACK.parse().unwrap()).unwrap();
        let back = Browser::that_stops_at(CALLBACK).open(trip.url.as_str());
        let query = format!("{}{more}", back.url.query().unwrap());
        let refused = embedded.come_back(proposal, trip, query.clone()).err().unwrap();
        assert_eq!(refused.kind().exit_code(), 5, "{query}: {refused}");
        assert!(refused.message().contains(words), "{query}: {refused}");
        assert_eq!(
            simulated.log().iter().filter(|it| it["grant"].is_string()).count(),
            0,
            "{query}: no code is redeemed"
        );
        assert!(embedded.host().book("default").unwrap().connections().unwrap().is_empty());
    };
    // RFC 9207: whoever mixed two providers up would have the code of one sent to the other.
    refused(json!({ "iss": "https://evil.example" }), "", "it comes from `https://evil.example`");
    refused(json!({ "iss": null }), "", "names itself in every answer");
    // RFC 6749, 3.1: nobody can tell which one counts.
    for twice in [
        "code=x",
        "c%6Fde=x",
        "state=x",
        "iss=https%3A%2F%2Fevil.example",
        "error=access_denied&error=access_denied",
        "error_description=a&error_description=b",
        "accounts-server=a&accounts-server=b",
        "else&else",
    ] {
        refused(json!({}), &format!("&{twice}"), "twice");
    }
    refused(json!({ "error": "access_denied" }), "", "both a code and an error");
}

#[test]
fn a_provider_that_does_not_bind_codes_is_refused_before_anybody_is_sent_there() {
    let (embedded, simulated) = simulated(&["--quirk", "no-pkce"]);
    let metadata = json!({ "status": 200, "headers": { "content-type": "application/json" }, "body": json!({
        "issuer": simulated.url(), "authorization_endpoint": format!("{}/authorize", simulated.url()),
        "token_endpoint": format!("{}/token", simulated.url()), "code_challenge_methods_supported": ["plain"],
    }).to_string(), "endpoint": "metadata", "times": 2 });
    simulated.next(&metadata);
    let refused = embedded.propose("me", "plain", simulated.url()).err().unwrap();
    assert!(refused.message().contains("PKCE"), "{refused}");
}

#[test]
fn metadata_of_another_issuer_or_with_endpoints_elsewhere_is_not_used() {
    let metadata = |issuer: &str, token: &str| {
        json!({ "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": token })
            .to_string()
    };
    let refused = |make: &dyn Fn(&str) -> String| {
        let (embedded, simulated) = simulated(&[]);
        simulated.next(&json!({ "endpoint": "metadata", "times": 3, "status": 200, "body": make(simulated.url()),
            "headers": { "content-type": "application/json" } }));
        embedded.propose("me", "plain", simulated.url()).err().unwrap()
    };
    let other = refused(&|url| metadata("https://evil.example", &format!("{url}/token")));
    assert!(other.message().contains("is of another"), "{other}");
    let elsewhere = refused(&|url| metadata(url, "https://evil.example/token"));
    assert_eq!(elsewhere.kind(), Kind::Denied, "{elsewhere}");
    assert!(elsewhere.message().contains("https://evil.example"), "{elsewhere}");
}

/// What somebody would sign in with whose issuer is not the service itself.
fn propose_at(embedded: &Embedded, provider: &str, issuer: &str) -> Result<ConnectProposal, attache::Error> {
    let mut request = embedded.request("me", "plain").unwrap();
    request.private = PrivateAllowed::parse([provider.trim_start_matches("http://")]).unwrap();
    request.parameters = [("base", provider), ("issuer", issuer)].map(|(k, v)| (k.into(), v.into())).into();
    embedded.block_on(embedded.host().propose_connection(request))
}

#[test]
fn a_provider_with_a_path_is_found_at_either_place() {
    for place in ["/.well-known/oauth-authorization-server/tenants/1", "/tenants/1/.well-known/openid-configuration"] {
        let port = std::sync::Arc::new(std::sync::OnceLock::new());
        let known = port.clone();
        let provider = Service::start(move |request| {
            let issuer = format!("http://127.0.0.1:{}/tenants/1", known.get().unwrap());
            let metadata = json!({ "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token") });
            match request.line.split(' ').nth(1) == Some(place) {
                true => answer(200, &[], &metadata.to_string()),
                false => answer(404, &[], ""),
            }
        });
        port.set(provider.port).unwrap();
        let embedded = Embedded::new("oauth", Isolation::Call);
        embedded.set_app(CLIENT, &provider.base());
        let issuer = format!("{}/tenants/1", provider.base());
        let proposal = propose_at(&embedded, &provider.base(), &issuer).unwrap();
        let trip = proposal.trip(&CALLBACK.parse().unwrap()).unwrap();
        assert!(trip.url.as_str().starts_with(&format!("{issuer}/authorize?")), "{place}: {}", trip.url);
        // One that is called otherwise, if only by a slash, is another (RFC 8414, 3.3).
        let refused = propose_at(&embedded, &provider.base(), &format!("{issuer}/")).err().unwrap();
        assert!(refused.message().contains("is of another"), "{place}: {refused}");
    }
}

#[test]
fn a_site_that_answers_everything_with_a_page_hides_no_metadata_at_the_other_place() {
    let page = "<!doctype html><title>Sign in</title><div id=app></div>";
    for has_metadata in [true, false] {
        let port = std::sync::Arc::new(std::sync::OnceLock::new());
        let known = port.clone();
        let provider = Service::start(move |request| {
            let issuer = format!("http://127.0.0.1:{}", known.get().unwrap());
            let metadata = json!({ "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token") });
            let is_openid = request.line.split(' ').nth(1) == Some("/.well-known/openid-configuration");
            match has_metadata && is_openid {
                true => answer(200, &[("content-type", "application/json")], &metadata.to_string()),
                false => answer(200, &[("content-type", "text/html")], page),
            }
        });
        port.set(provider.port).unwrap();
        let embedded = Embedded::new("oauth", Isolation::Call);
        embedded.set_app(CLIENT, &provider.base());
        match embedded.propose("me", "plain", &provider.base()) {
            Ok(proposal) if has_metadata => {
                let trip = proposal.trip(&CALLBACK.parse().unwrap()).unwrap();
                assert!(trip.url.as_str().starts_with(&format!("{}/authorize?", provider.base())), "{}", trip.url);
            }
            Err(refused) if !has_metadata => {
                assert!(refused.message().contains("as its metadata is none"), "{refused}");
                assert!(refused.mend().unwrap().contains("one by one"), "{refused}");
            }
            other => panic!("{has_metadata}: {:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn a_protected_resource_leads_to_its_authorization_server_and_no_further_than_the_app_may_go() {
    let (embedded, simulated) = simulated(&[]);
    let api = format!("{}/api", simulated.url());
    let proposal = propose_at(&embedded, simulated.url(), &api).unwrap();
    embedded.go_through(proposal, |_, page| page).unwrap();
    assert_eq!(send(&embedded, &format!("{api}/me"))["status"], 200);
    let elsewhere = Service::plain();
    for (document, words) in [
        (json!({ "resource": api, "authorization_servers": [elsewhere.base()] }), "may not go to"),
        (
            json!({ "resource": "https://evil.example/api", "authorization_servers": [simulated.url()] }),
            "is of another",
        ),
        (json!({ "resource": api }), "publishes no metadata"),
    ] {
        simulated.next(&json!({ "endpoint": "metadata", "path": "/.well-known/oauth-protected-resource/api",
            "body": document }));
        let refused = propose_at(&embedded, simulated.url(), &api).err().unwrap();
        assert!(refused.message().contains(words), "{document}: {refused}");
    }
    assert!(elsewhere.received().is_empty());
}

#[test]
fn a_basic_credential_arrives_whatever_stands_in_it() {
    // oidc-provider decodes strictly as RFC 6749, 2.3.1 says.
    let (name, secret) = ("odd name:50%", "100%+ plus:colon/&=\"");
    let client = json!({ "client_id": name, "client_secret": secret, "redirect_uris": ["http://127.0.0.1/callback"],
        "application_type": "native", "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic" });
    let (embedded, oidc) = (Embedded::new("oauth", Isolation::Call), oidc(&json!({ "clients": [client] })));
    embedded.set_app((name, secret), &oidc.peer.base());
    let made = embedded
        .sign_in("me", "basic", &oidc.peer.base(), |browser, page| browser.submit(&page, &[("decision", "yes")]));
    assert_eq!(made.unwrap().connection.account, "jo");
    // It takes no other characters than those of RFC 6749's appendix A; others do.
    let simulated =
        Simulated::start(BINARY, &["--approve", "--quirk", "client-basic", "--client", "demo:schlüssel €+%"]);
    let embedded = Embedded::new("oauth", Isolation::Call);
    embedded.set_app(("demo", "schlüssel €+%"), simulated.url());
    embedded.sign_in("me", "plain", simulated.url(), |_, page| page).unwrap();
}

/// Connects without a person, with one secret more.
fn alone(embedded: &Embedded, option: &str, provider: &str, secret: (&str, &str)) -> Result<(), attache::Error> {
    let mut request = embedded.request("me", option).unwrap();
    request.private = PrivateAllowed::parse([provider.trim_start_matches("http://")]).unwrap();
    request.parameters = [("base", provider), ("issuer", provider)].map(|(k, v)| (k.into(), v.into())).into();
    request.secrets = [(secret.0.to_owned(), Secret::new(secret.1))].into();
    embedded.make(request).map(drop)
}

/// A private key and its public half, in PEM, the latter as the name of its file.
pub fn key_pair(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &path("key.pem")]);
    openssl(&["pkey", "-in", &path("key.pem"), "-pubout", "-out", &path("public.pem")]);
    (std::fs::read_to_string(path("key.pem")).unwrap(), path("public.pem"))
}

#[test]
fn an_assertion_that_the_host_signs_is_traded_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let (key, public) = key_pair(folder.path());
    let known = format!("demo={public}");
    let (embedded, simulated) = simulated(&["--client", "demo:demo-secret", "--client-key", &known]);
    alone(&embedded, "signed", simulated.url(), ("key", &key)).unwrap();
    assert_eq!(send(&embedded, &format!("{}/api/me", simulated.url()))["status"], 200);
    assert_eq!(simulated.tokens("urn:ietf:params:oauth:grant-type:jwt-bearer").len(), 1);
}

#[test]
fn a_token_of_another_party_is_traded_for_one() {
    let (embedded, simulated) = simulated(&[]);
    let subject = simulated.sign_in(&[]).text_of("access_token");
    alone(&embedded, "traded", simulated.url(), ("subject", &subject)).unwrap();
    assert_eq!(send(&embedded, &format!("{}/api/me", simulated.url()))["status"], 200);
    let refused = alone(&embedded, "traded", simulated.url(), ("subject", "of nobody")).unwrap_err();
    assert!(refused.message().contains("`invalid_"), "{refused}");
}

#[test]
fn what_belongs_to_the_app_is_given_once_by_the_operator_and_never_asked_of_a_person() {
    let (embedded, simulated) = simulated(&[]);
    let sign_in = || embedded.sign_in("me", "of-app", simulated.url(), |_, page| page);
    let missing = sign_in().err().unwrap();
    assert_eq!(missing.kind(), Kind::ApprovalNeeded, "{missing}");
    let set = |parameters: &[(&str, &str)], secrets: &[(&str, &str)]| {
        embedded.host().set_app(AppRequest {
            environment: "default".into(),
            connector: "oauth".into(),
            parameters: parameters.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            secrets: secrets.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect(),
            caller: "tester".into(),
            ..AppRequest::default()
        })
    };
    assert_eq!(set(&[("api-key", "in the clear")], &[]).unwrap_err().kind(), Kind::InvalidInput);
    assert_eq!(set(&[("base", "x")], &[]).unwrap_err().kind(), Kind::Usage);
    set(&[("tenant", "acme")], &[("api-key", "the-apps-own-api-key")]).unwrap();
    sign_in().unwrap();
    let echoed = send(&embedded, &format!("{}/api/echo", simulated.url())).to_string();
    let masked = "*".repeat("the-apps-own-api-key".len());
    assert!(echoed.contains(&format!("\\\"x-tenant\\\":\\\"acme/{masked}")), "{echoed}");
    let seen = embedded.call("me", "connection", json!({})).unwrap().to_string();
    assert!(!seen.contains("the-apps-own-api-key"), "{seen}");
}

#[test]
fn a_secret_of_the_app_goes_to_no_place_that_a_person_types() {
    // Regression: what the operator gave the app was attached to whatever base a person connected.
    let (embedded, simulated) = simulated(&[]);
    let elsewhere = Service::plain();
    let mut request = AppRequest { environment: "default".into(), connector: "oauth".into(), ..AppRequest::default() };
    request.parameters = [("tenant".to_owned(), "acme".to_owned())].into();
    request.secrets = [("api-key".to_owned(), Secret::new("the-apps-own-api-key"))].into();
    embedded.host().set_app(request).unwrap();
    let mut request = embedded.request("me", "of-app").unwrap();
    request.private = PrivateAllowed::parse([simulated.authority(), &elsewhere.authority()]).unwrap();
    request.parameters =
        [("base", elsewhere.base()), ("issuer", simulated.url().to_owned())].map(|(k, v)| (k.into(), v)).into();
    let proposal = embedded.block_on(embedded.host().propose_connection(request)).unwrap();
    let trip = proposal.trip(&CALLBACK.parse().unwrap()).unwrap();
    let page = Browser::that_stops_at(CALLBACK).open(trip.url.as_str());
    let refused = embedded.come_back(proposal, trip, page.url.query().unwrap().to_owned()).err().unwrap();
    assert_eq!(refused.kind(), Kind::Denied, "{refused}");
    assert!(refused.message().contains("a secret of the operator's app"), "{refused}");
    assert!(elsewhere.received().is_empty());
    assert_eq!(simulated.asked("revoke").len(), 2, "what was got and not kept is given back");
}

#[test]
fn the_host_registers_itself_anew_with_every_provider() {
    // Regression: the client that one provider had given was presented to the next.
    let (embedded, one, other) = (Embedded::new("oauth", Isolation::Call), oidc(&json!({})), oidc(&json!({})));
    let connect = |name: &str, oidc: &Oidc| {
        let agree = |browser: &Browser, page| browser.submit(&page, &[("decision", "yes")]);
        embedded.sign_in(name, "urls", &oidc.peer.base(), agree).unwrap().connection.app.unwrap()
    };
    let apps = [connect("a", &one), connect("b", &other), connect("c", &one), connect("d", &other)];
    assert_eq!(apps, ["oauth", "oauth-2", "oauth", "oauth-2"]);
    for (oidc, name) in [(&one, "oauth"), (&other, "oauth-2")] {
        let registrations = oidc.asked().iter().filter(|it| it.0["path"] == "/reg").count();
        assert_eq!(registrations, 1);
        let app = embedded.host().book("default").unwrap().app("oauth", Some(name)).unwrap();
        let origins: Vec<String> = app.origins.iter().map(ToString::to_string).collect();
        assert_eq!(origins, [oidc.peer.base()], "its secret goes to no other provider");
    }
}

#[test]
fn an_app_that_the_operator_registered_is_used_with_its_own_provider_only() {
    let (embedded, one, other) = (Embedded::new("oauth", Isolation::Call), oidc(&json!({})), oidc(&json!({})));
    embedded.set_app(("web", SECRET), &one.peer.base());
    for (oidc, registrations) in [(&one, 0), (&other, 1)] {
        let agree = |browser: &Browser, page| browser.submit(&page, &[("decision", "yes")]);
        embedded.sign_in(&format!("with-{registrations}"), "urls", &oidc.peer.base(), agree).unwrap();
        assert_eq!(oidc.asked().iter().filter(|it| it.0["path"] == "/reg").count(), registrations);
    }
    assert_eq!(one.tokens("authorization_code")[0].0["client"], "web");
}

#[test]
fn a_second_unrelated_provider_works_without_any_change() {
    let provider = mock_oidc(2);
    let base = provider.base();
    let embedded = Embedded::new("oauth", Isolation::Call);
    embedded.set_app(("anybody", "some-secret-or-other"), &base);
    // It takes codes from whoever proves itself in the content, and renews for Basic alone (Authlib's own defaults).
    let basic = AppRequest {
        environment: "default".into(),
        connector: "oauth".into(),
        client_auth: Some(SecretAuth::ClientSecretBasic),
        ..AppRequest::default()
    };
    embedded.host().set_app(basic).unwrap();
    let agree = |browser: &Browser, page| browser.submit(&page, &[("sub", "jo@example.com")]);
    embedded.sign_in("me", "second", &base, agree).unwrap();
    // The code is redeemed, and some calls later the token is renewed.
    let tokens = || provider.log().matches("POST /oauth2/token HTTP/1.1\" 200").count();
    assert_eq!(tokens(), 1, "{}", provider.log());
    let began = Instant::now();
    while tokens() < 2 {
        assert!(began.elapsed() < Duration::from_secs(20), "it is never renewed: {}", provider.log());
        let seen = send(&embedded, &format!("{base}/userinfo"));
        assert!(seen["status"] == 200 && seen["body"].as_str().unwrap().contains("jo@example.com"), "{seen}");
    }
    assert_eq!(send(&embedded, &format!("{base}/userinfo"))["status"], 200);
}
