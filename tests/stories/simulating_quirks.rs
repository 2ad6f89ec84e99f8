//! What real providers do otherwise than the standard says, each of it switched on by its name.

use attache_tests::simulate::{CLIENT, REDIRECT_URI, Simulated, redeeming, refreshing};
use serde_json::{Value, json};
use url::Url;

use crate::simulating::approving;

/// A provider with one quirk, where the person approves at once.
fn quirky(quirk: &str) -> Simulated {
    approving(&["--quirk", quirk])
}

#[test]
fn some_take_token_requests_in_one_format_only() {
    let provider = quirky("token-json");
    let code = provider.authorize(&[]).code();
    provider.redeem(&code, &[]).refused(400, "invalid_request");
    let body: serde_json::Map<String, Value> =
        redeeming(&code).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    provider.post_json("/token", &body.into()).done();

    let query = |fields: &[(&str, &str)]| {
        let mut url = Url::parse("http://x/token").unwrap();
        url.query_pairs_mut().extend_pairs(fields);
        format!("/token?{}", url.query().unwrap())
    };
    let provider = quirky("token-query");
    let code = provider.authorize(&[]).code();
    provider.redeem(&code, &[]).refused(400, "invalid_request");
    provider.send(provider.request(&query(&redeeming(&code)))).done();

    let provider = quirky("token-get");
    let code = provider.authorize(&[]).code();
    provider.redeem(&code, &[]).refused(405, "invalid_request");
    provider.get(&query(&redeeming(&code))).done();

    let provider = quirky("token-xml");
    let code = provider.authorize(&[]).code();
    provider.redeem(&code, &[]).refused(400, "invalid_request");
    let elements: String = redeeming(&code).iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
    let request = provider.request("/token").header("content-type", "text/xml").body(format!("<r>{elements}</r>"));
    provider.send(request).done();

    let provider = approving(&[]);
    let code = provider.authorize(&[]).code();
    provider.get(&query(&redeeming(&code))).refused(405, "invalid_request");
    provider.send(provider.request(&query(&redeeming(&code)))).refused(400, "invalid_request");
}

#[test]
fn some_let_clients_authenticate_in_one_way_only() {
    let provider = approving(&[]);
    let by_header = |user: &str, password: &str| {
        let form = [("grant_type", "client_credentials")];
        provider.send(provider.request("/token").basic_auth(user, Some(password)).form(&form))
    };
    let by_body = || {
        let form = [("grant_type", "client_credentials"), ("client_id", CLIENT.0), ("client_secret", CLIENT.1)];
        provider.post("/token", &form)
    };
    provider.settings(&json!({ "quirk": ["client-basic"] }));
    by_body().refused(401, "invalid_client");
    by_header(CLIENT.0, CLIENT.1).done();
    provider.settings(&json!({ "quirk": ["client-post"] }));
    by_header(CLIENT.0, CLIENT.1).refused(401, "invalid_client");
    by_body().done();
    provider.settings(&json!({ "quirk": ["client-secret-as-user"] }));
    by_header(CLIENT.0, CLIENT.1).refused(401, "invalid_client");
    by_header(CLIENT.1, "").done();
    provider.settings(&json!({ "quirk": ["client-assertion"] }));
    by_header(CLIENT.0, CLIENT.1).refused(401, "invalid_client");
    by_body().refused(401, "invalid_client");
}

#[test]
fn some_call_parameters_otherwise() {
    let provider = quirky("client-key");
    provider.get(&provider.authorization(&[])).refused(400, "invalid_request");
    let renamed = [("client_id", ""), ("client_key", "demo")];
    let code = provider.authorize(&renamed).code();
    provider.redeem(&code, &[]).refused(401, "invalid_client");
    provider.redeem(&code, &renamed).done();

    let provider = quirky("redirect-url");
    let renamed = [("redirect_uri", ""), ("redirect_url", REDIRECT_URI)];
    provider.get(&provider.authorization(&[])).refused(400, "invalid_request");
    provider.redeem(&provider.authorize(&renamed).code(), &renamed).done();

    let provider = quirky("spapi-oauth-code");
    let back = provider.authorize(&[]);
    assert_eq!(back.parameter("code"), None);
    provider.redeem(&back.parameter("spapi_oauth_code").unwrap(), &[]).done();

    assert!(quirky("realm-id").authorize(&[]).parameter("realmId").is_some());
    let provider = quirky("accounts-server");
    assert_eq!(provider.authorize(&[]).parameter("accounts-server").as_deref(), Some(provider.url()));
}

#[test]
fn some_put_the_token_elsewhere_and_errors_inside_200() {
    assert!(quirky("authed-user").sign_in(&[]).json()["authed_user"]["access_token"].is_string());
    assert!(quirky("under-data").sign_in(&[]).json()["data"]["access_token"].is_string());
    let provider = quirky("instance-url");
    assert_eq!(provider.sign_in(&[]).text_of("instance_url"), provider.url());
    let provider = quirky("api-domain");
    assert_eq!(provider.sign_in(&[]).text_of("api_domain"), provider.url());

    let provider = quirky("ok-false");
    assert_eq!(provider.sign_in(&[]).json()["ok"], true);
    let refused = provider.redeem("wrong", &[]).done().json();
    assert_eq!((&refused["ok"], &refused["error"]), (&json!(false), &json!("invalid_grant")));
    assert_eq!(provider.asked("token")[1]["outcome"], "invalid_grant", "the log is not fooled");
    quirky("error-in-200").redeem("wrong", &[]).refused(200, "invalid_grant");
    let form = quirky("form-answer").sign_in(&[]);
    assert!(form.text.starts_with("access_token=simulated-access-"), "{form:?}");
}

#[test]
fn some_tell_expiry_otherwise_or_have_none() {
    let told = |quirk: &str| quirky(quirk).sign_in(&[]).json()["expires_in"].clone();
    assert_eq!(told("expires-string"), "3600");
    assert_eq!(told("expires-missing"), Value::Null);
    assert_eq!(told("expires-negative"), -3600);
    assert!(told("expires-huge").as_f64() > Some(1e20));
    assert_eq!(quirky("expires-milliseconds").sign_in(&[]).json()["expires_in_ms"], 3_600_000);
    let provider = quirky("never-expires");
    let tokens = provider.sign_in(&[]);
    assert_eq!((tokens.json().get("expires_in"), tokens.json().get("refresh_token")), (None, None));
    provider.advance(u32::MAX);
    provider.api("/api/me", &tokens.text_of("access_token")).done();
    let provider = quirky("expires-missing");
    let tokens = provider.sign_in(&[]);
    provider.advance(3_600);
    provider.api("/api/me", &tokens.text_of("access_token")).refused(401, "invalid_token");
}

#[test]
fn some_refresh_otherwise() {
    let provider = quirky("refresh-elsewhere");
    let token = provider.sign_in(&[]).text_of("refresh_token");
    provider.refresh(&token, &[]).refused(400, "invalid_request");
    let next = provider.post("/refresh", &refreshing(&token)).done();
    assert_eq!(provider.tokens("refresh_token")[1]["endpoint"], "refresh");
    provider.post("/refresh", &redeeming("x")).refused(400, "invalid_request");
    assert_eq!(approving(&[]).post("/refresh", &refreshing(&next.text_of("refresh_token"))).status, 404);

    let provider = quirky("refresh-kept");
    let token = provider.sign_in(&[]).text_of("refresh_token");
    for _ in 0..2 {
        assert_eq!(provider.refresh(&token, &[]).done().json().get("refresh_token"), None);
    }

    let provider = quirky("refresh-scope-demanded");
    let token = provider.sign_in(&[]).text_of("refresh_token");
    provider.refresh(&token, &[]).refused(400, "invalid_request");
    provider.refresh(&token, &[("scope", "items")]).done();
    let provider = quirky("refresh-scope-refused");
    let token = provider.sign_in(&[]).text_of("refresh_token");
    provider.refresh(&token, &[("scope", "items")]).refused(400, "invalid_scope");
    provider.refresh(&token, &[]).done();

    let provider = approving(&["--rotation", "false"]);
    let token = provider.sign_in(&[]).text_of("refresh_token");
    assert_eq!(provider.refresh(&token, &[]).done().text_of("refresh_token"), token);

    let provider = approving(&["--reuse-detection", "false", "--reuse-grace", "10"]);
    let token = provider.sign_in(&[]).text_of("refresh_token");
    let next = provider.refresh(&token, &[]).done().text_of("refresh_token");
    provider.refresh(&token, &[]).done();
    provider.advance(11);
    provider.refresh(&token, &[]).refused(400, "invalid_grant");
    provider.refresh(&next, &[]).done();
}

#[test]
fn some_exchange_the_access_token_itself() {
    let provider = quirky("exchange-access-token");
    let tokens = provider.sign_in(&[]);
    assert_eq!(tokens.json().get("refresh_token"), None);
    let access = tokens.text_of("access_token");
    let path = format!(
        "/token?grant_type=fb_exchange_token&client_id=demo&client_secret=demo-secret&fb_exchange_token={access}"
    );
    let long = provider.get(&path).done();
    assert_eq!(long.json()["expires_in"], 60 * 24 * 3_600);
    provider.advance(3_600);
    provider.api("/api/me", &access).refused(401, "invalid_token");
    provider.api("/api/me", &long.text_of("access_token")).done();
    provider.get(&path).refused(400, "invalid_grant");
    let form = [("grant_type", "ig_refresh_token"), ("client_id", "demo"), ("client_secret", "demo-secret")];
    let again =
        provider.post("/token", &[&form[..], &[("access_token", &long.text_of("access_token"))]].concat()).done();
    provider.api("/api/me", &again.text_of("access_token")).done();
}

#[test]
fn some_give_a_refresh_token_only_when_it_is_asked_for() {
    for (quirk, asking) in [
        ("access-type-offline", &[("access_type", "offline"), ("prompt", "consent")][..]),
        ("token-access-type", &[("token_access_type", "offline")]),
        ("duration-permanent", &[("duration", "permanent")]),
        ("offline-access", &[("scope", "items offline_access")]),
        ("offline-dot-access", &[("scope", "items offline.access")]),
    ] {
        let provider = quirky(quirk);
        assert_eq!(provider.sign_in(&[]).json().get("refresh_token"), None, "{quirk}");
        provider.sign_in(asking).text_of("refresh_token");
    }
}

#[test]
fn some_differ_in_scopes_or_do_not_know_pkce() {
    for (quirk, scope) in [("scope-comma", "items,admin"), ("scope-plus", "items+admin")] {
        let provider = quirky(quirk);
        let tokens = provider.sign_in(&[("scope", scope)]);
        assert_eq!(tokens.text_of("scope"), scope);
        provider.api("/api/admin", &tokens.text_of("access_token")).done();
        let spaced = provider.sign_in(&[("scope", "items admin")]).text_of("access_token");
        provider.api("/api/admin", &spaced).refused(403, "insufficient_scope");
    }
    let provider = quirky("scope-of-origin");
    assert_eq!(provider.authorize(&[]).parameter("error").as_deref(), Some("invalid_scope"));
    provider.sign_in(&[("scope", &format!("{}/.default offline_access", provider.url()))]);

    let provider = quirky("no-pkce");
    let code = provider.authorize(&[]).code();
    provider.redeem(&code, &[]).refused(400, "invalid_request");
    provider.redeem(&code, &[("code_verifier", "")]).done();
    let provider = approving(&["--pkce", "optional"]);
    let unbound = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = provider.authorize(&unbound).code();
    provider.redeem(&code, &[]).refused(400, "invalid_grant");
    provider.redeem(&code, &[("code_verifier", "")]).done();
}

#[test]
fn each_provider_that_it_is_like_can_be_signed_in_to() {
    let basic = |provider: &Simulated, code: &str| {
        let fields: serde_json::Map<String, Value> = redeeming(code)
            .into_iter()
            .filter(|(name, _)| !name.starts_with("client_"))
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let request = provider.request("/token").basic_auth(CLIENT.0, Some(CLIENT.1));
        let request = match provider.settings(&json!({}))["quirk"].to_string().contains("token-json") {
            true => request.header("content-type", "application/json").body(Value::from(fields).to_string()),
            false => request.form(&fields),
        };
        provider.send(request).done()
    };
    let like = |name: &str| approving(&["--like", name]);
    for name in ["google", "facebook", "entra", "salesforce", "quickbooks", "github"] {
        like(name).sign_in(&[]);
    }
    for name in ["x", "notion"] {
        let provider = like(name);
        basic(&provider, &provider.authorize(&[]).code());
    }
    let slack = like("slack");
    let answer = slack.redeem(&slack.authorize(&[]).code(), &[("code_verifier", "")]).done().json();
    assert!(answer["authed_user"]["access_token"].is_string() && answer["ok"] == true, "{answer}");
    let amazon = like("amazon");
    amazon.redeem(&amazon.authorize(&[]).parameter("spapi_oauth_code").unwrap(), &[]).done();
    let tiktok = like("tiktok");
    let key = [("client_id", ""), ("client_key", "demo")];
    assert!(tiktok.redeem(&tiktok.authorize(&key).code(), &key).done().json()["data"]["access_token"].is_string());
}
