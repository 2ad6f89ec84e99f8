//! The simulated provider, driven by hand as a client of OAuth 2.0 does it: it checks what a careful provider checks.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use attache::simulate::fingerprint;
use attache_tests::{
    Browser,
    simulate::{Answered, Callback, Simulated, refreshing},
};
use serde_json::{Value, json};

use crate::machine;

fn provider(flags: &[&str]) -> Simulated {
    Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), flags)
}

/// One where the person approves at once.
pub(crate) fn approving(flags: &[&str]) -> Simulated {
    provider(&[&["--approve"], flags].concat())
}

#[test]
fn a_code_is_redeemed_with_the_verifier_that_it_is_bound_to() {
    let provider = approving(&[]);
    let back = provider.authorize(&[]);
    assert_eq!(back.parameter("state").as_deref(), Some("state-of-the-test"));
    assert_eq!(back.parameter("iss").as_deref(), Some(provider.url()), "RFC 9207");
    let tokens = provider.redeem(&back.code(), &[]).done().json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"], &tokens["scope"]),
        (&json!("Bearer"), &json!(3600), &json!("items"))
    );
    let me = provider.api("/api/me", tokens["access_token"].as_str().unwrap()).done().json();
    assert_eq!((&me["account"], &me["client"]), (&json!("jo"), &json!("demo")));

    provider.redeem(&provider.authorize(&[]).code(), &[("code_verifier", "")]).refused(400, "invalid_grant");
    let wrong = "another-verifier-which-is-43-long-at-the-very-least";
    provider.redeem(&provider.authorize(&[]).code(), &[("code_verifier", wrong)]).refused(400, "invalid_grant");
    let unbound = provider.authorize(&[("code_challenge", ""), ("code_challenge_method", "")]);
    assert_eq!(unbound.parameter("error").as_deref(), Some("invalid_request"));
    let plain = provider.authorize(&[("code_challenge_method", "plain")]);
    assert_eq!(plain.parameter("error").as_deref(), Some("invalid_request"));
}

#[test]
fn a_code_that_comes_twice_ends_what_came_of_it() {
    let provider = approving(&[]);
    let code = provider.authorize(&[]).code();
    let tokens = provider.redeem(&code, &[]).done();
    provider.api("/api/me", &tokens.text_of("access_token")).done();
    provider.redeem(&code, &[]).refused(400, "invalid_grant");
    provider.api("/api/me", &tokens.text_of("access_token")).refused(401, "invalid_token");
    provider.refresh(&tokens.text_of("refresh_token"), &[]).refused(400, "invalid_grant");
}

#[test]
fn a_refresh_token_rotates_and_its_reuse_ends_the_family() {
    let provider = approving(&[]);
    let first = provider.sign_in(&[]).text_of("refresh_token");
    let second = provider.refresh(&first, &[]).done();
    let third = provider.refresh(&second.text_of("refresh_token"), &[]).done();
    assert_ne!(first, third.text_of("refresh_token"));
    provider.api("/api/me", &third.text_of("access_token")).done();
    provider.refresh(&first, &[]).refused(400, "invalid_grant");
    provider.refresh(&third.text_of("refresh_token"), &[]).refused(400, "invalid_grant");
    provider.api("/api/me", &third.text_of("access_token")).refused(401, "invalid_token");
}

#[test]
fn tokens_expire_by_the_providers_clock() {
    let provider = approving(&["--access-lifetime", "600", "--refresh-lifetime", "86400"]);
    let tokens = provider.sign_in(&[]);
    let access = tokens.text_of("access_token");
    provider.advance(590);
    provider.api("/api/me", &access).done();
    provider.advance(10);
    let expired = provider.api("/api/me", &access);
    assert!(expired.headers["www-authenticate"].contains("error=\"invalid_token\""), "{expired:?}");
    expired.refused(401, "invalid_token");
    provider.advance(80_000);
    let next = provider.refresh(&tokens.text_of("refresh_token"), &[]).done();
    provider.advance(80_000);
    let next = provider.refresh(&next.text_of("refresh_token"), &[]).done();
    provider.advance(86_400);
    provider.refresh(&next.text_of("refresh_token"), &[]).refused(400, "invalid_grant");

    let code = provider.authorize(&[]).code();
    provider.advance(60);
    provider.redeem(&code, &[]).refused(400, "invalid_grant");
}

#[test]
fn an_answer_is_lost_after_the_work_or_before_it() {
    let provider = approving(&[]);
    let token = provider.sign_in(&[]).text_of("refresh_token");
    let refresh = || provider.try_send(provider.request("/token").form(&refreshing(&token)));
    provider.next(&json!({ "endpoint": "token", "grant": "refresh_token", "drop": "before" }));
    refresh().unwrap_err();
    provider.next(&json!({ "endpoint": "token", "grant": "refresh_token", "drop": "after" }));
    refresh().unwrap_err();
    refresh().unwrap().refused(400, "invalid_grant");
    let lost: Vec<Value> = provider.tokens("refresh_token").into_iter().map(|it| it["lost"].clone()).collect();
    assert_eq!(lost, [json!("before"), json!("after"), Value::Null]);
}

#[test]
fn the_log_shows_every_request_and_no_value_of_any() {
    let provider = approving(&[]);
    let code = provider.authorize(&[]).code();
    let tokens = provider.redeem(&code, &[]).done();
    let (access, refresh) = (tokens.text_of("access_token"), tokens.text_of("refresh_token"));
    let next = provider.refresh(&refresh, &[]).done();
    provider.api("/api/me", &access).done();
    let log = provider.log();
    let endpoints: Vec<&str> = log.iter().map(|entry| entry["endpoint"].as_str().unwrap()).collect();
    assert_eq!(endpoints, ["authorize", "token", "token", "api"]);
    assert_eq!(
        (&log[0]["given"]["code"], &log[1]["presented"]["code"]),
        (&json!(fingerprint(&code)), &json!(fingerprint(&code)))
    );
    assert_eq!(log[1]["given"]["refresh_token"], log[2]["presented"]["refresh_token"]);
    assert_eq!(log[1]["given"]["access_token"], log[3]["presented"]["access_token"]);
    assert_eq!((&log[2]["client"], &log[2]["status"], &log[2]["outcome"]), (&json!("demo"), &json!(200), &json!("ok")));
    assert_eq!(log[0]["asked"]["scope"], json!(["items"]));
    assert_eq!(provider.counts()["token refresh_token"], json!({ "200": 1 }));
    let text = Value::from(log).to_string();
    for secret in
        [&code, &access, &refresh, &next.text_of("access_token"), "demo-secret", "a-verifier", "state-of-the-test"]
    {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

#[test]
fn a_person_approves_or_denies_on_a_page_without_scripts() {
    let provider = provider(&[]);
    let browser = Browser::new();
    let url = format!("{}{}", provider.url(), provider.authorization(&[("scope", "items <b>bold</b>")]));
    let page = browser.look(&url);
    assert!(page.html.contains("jo") && !page.html.contains("<b>") && !page.html.contains("<script"), "{}", page.html);
    assert!(page.headers["content-security-policy"].starts_with("default-src 'none'"));
    let approved = browser.submit_only(&page, &[("decision", "yes")]);
    let back = Callback(approved.headers["location"].parse().unwrap());
    provider.redeem(&back.code(), &[]).done();
    let again = browser.submit_only(&page, &[("decision", "yes")]);
    assert_eq!(again.status, 400, "a page is good for one decision");
    let denied = browser.submit_only(&browser.look(&url), &[("decision", "no")]);
    let back = Callback(denied.headers["location"].parse().unwrap());
    assert_eq!(back.parameter("error").as_deref(), Some("access_denied"));
    assert_eq!(back.parameter("state").as_deref(), Some("state-of-the-test"));
}

#[test]
fn nobody_is_sent_where_the_client_did_not_say() {
    let provider = approving(&["--client", "web:secret", "--redirect-uri", "http://127.0.0.1/callback"]);
    let ask = |uri: &str| provider.get(&provider.authorization(&[("client_id", "web"), ("redirect_uri", uri)]));
    for bad in
        ["https://evil.example/callback", "http://127.0.0.1:1/other", "http://127.0.0.1:1/callback#x", "callback"]
    {
        ask(bad).refused(400, "invalid_request");
    }
    assert_eq!(ask("http://127.0.0.1:4321/callback").status, 303, "the port is free on loopback");
    let only = Callback(ask("").headers["location"].parse().unwrap());
    assert_eq!((only.0.port(), only.0.path()), (None, "/callback"));
    provider.get(&provider.authorization(&[("client_id", "nobody")])).refused(400, "invalid_request");
}

#[test]
fn a_code_is_for_its_client_and_its_redirect_uri() {
    let provider = approving(&["--client", "demo:demo-secret", "--client", "other:other-secret"]);
    let other = [("client_id", "other"), ("client_secret", "other-secret")];
    let code = provider.authorize(&[]).code();
    provider.redeem(&code, &other).refused(400, "invalid_grant");
    provider.redeem(&code, &[("redirect_uri", "http://127.0.0.1:2/callback")]).refused(400, "invalid_grant");
    provider.redeem(&code, &[("redirect_uri", "")]).refused(400, "invalid_grant");
    provider.redeem(&code, &[("client_secret", "wrong")]).refused(401, "invalid_client");
    let tokens = provider.redeem(&code, &[]).done();
    let refresh = tokens.text_of("refresh_token");
    let revoke = [&[("token", refresh.as_str())], &other[..]].concat();
    provider.post("/revoke", &revoke).refused(400, "unauthorized_client");
    provider.refresh(&refresh, &other).refused(400, "invalid_grant");
    provider.refresh(&refresh, &[]).done();
}

#[test]
fn a_refresh_asks_for_no_more_than_was_granted() {
    let provider = approving(&["--scope", "items", "--scope", "admin", "--scope", "more", "--withhold", "more"]);
    let tokens = provider.sign_in(&[("scope", "items admin more")]);
    assert_eq!(tokens.text_of("scope"), "items admin", "less was granted than was asked for");
    provider.api("/api/admin", &tokens.text_of("access_token")).done();
    let narrower = provider.refresh(&tokens.text_of("refresh_token"), &[("scope", "items")]).done();
    let denied = provider.api("/api/admin", &narrower.text_of("access_token"));
    assert_eq!(denied.status, 403);
    assert!(
        denied.headers["www-authenticate"].ends_with("error=\"insufficient_scope\", scope=\"admin\""),
        "{denied:?}"
    );
    provider.refresh(&narrower.text_of("refresh_token"), &[("scope", "items more")]).refused(400, "invalid_scope");
    let wide = provider.refresh(&narrower.text_of("refresh_token"), &[]).done();
    assert_eq!(wide.text_of("scope"), "items admin", "what was granted stays");
    assert_eq!(provider.authorize(&[("scope", "unheard-of")]).parameter("error").as_deref(), Some("invalid_scope"));
}

#[test]
fn tokens_are_for_the_resources_that_were_named() {
    let provider = approving(&[]);
    let named = [("resource", "https://one.example/"), ("resource", "https://two.example/")];
    let code = provider.authorize(&named).code();
    let tokens = provider.redeem(&code, &[("resource", "https://one.example/")]).done();
    let me = provider.api("/api/me", &tokens.text_of("access_token")).done().json();
    assert_eq!(me["aud"], json!(["https://one.example/"]));
    let other = [("resource", "https://two.example/")];
    provider.refresh(&tokens.text_of("refresh_token"), &other).refused(400, "invalid_target");
    let relative = provider.authorize(&[("resource", "/api")]);
    assert_eq!(relative.parameter("error").as_deref(), Some("invalid_target"));
}

#[test]
fn a_device_waits_for_a_person_and_slows_down_for_good() {
    let provider = provider(&["--client", "tv", "--device-interval", "5", "--device-lifetime", "300"]);
    let begin = || provider.post("/device_authorization", &[("client_id", "tv"), ("scope", "items")]).done();
    let ask = |begun: &Answered| {
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let code = begun.text_of("device_code");
        provider.post("/token", &[("grant_type", grant), ("client_id", "tv"), ("device_code", &code)])
    };
    let begun = begin();
    assert_eq!((&begun.json()["interval"], &begun.json()["expires_in"]), (&json!(5), &json!(300)));
    ask(&begun).refused(400, "authorization_pending");
    ask(&begun).refused(400, "slow_down");
    provider.advance(6);
    ask(&begun).refused(400, "slow_down");
    provider.advance(16);
    ask(&begun).refused(400, "authorization_pending");

    let browser = Browser::new();
    let page = browser.look(&begun.text_of("verification_uri_complete"));
    assert!(page.html.contains("tv") && page.html.contains("items"), "{}", page.html);
    let typed = begun.text_of("user_code").to_lowercase();
    assert!(
        browser.submit_only(&page, &[("user_code", "BBBB-BBBB"), ("decision", "yes")]).html.contains("No device waits")
    );
    assert!(browser.submit_only(&page, &[("user_code", &typed), ("decision", "yes")]).html.contains("Approved"));
    let tokens = ask(&begun).done();
    provider.api("/api/me", &tokens.text_of("access_token")).done();
    ask(&begun).refused(400, "invalid_grant");

    let denied = begin();
    browser.submit_only(&browser.look(&denied.text_of("verification_uri_complete")), &[("decision", "no")]);
    ask(&denied).refused(400, "access_denied");
    let expired = begin();
    provider.advance(300);
    ask(&expired).refused(400, "expired_token");
}

#[test]
fn clients_authenticate_by_header_or_body_and_not_both() {
    let provider = provider(&["--client", "a+b:p%c+ü", "--client", "demo:demo-secret"]);
    let ask = |header: Option<(&str, &str)>, fields: &[(&str, &str)]| {
        let fields = [&[("grant_type", "client_credentials")], fields].concat();
        let request = provider.request("/token").form(&fields);
        provider.send(match header {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        })
    };
    let encoded = Some(("a%2Bb", "p%25c%2B%C3%BC"));
    let by_header = ask(encoded, &[]).done();
    assert_eq!(by_header.json().get("refresh_token"), None, "RFC 6749, 4.4.3");
    ask(None, &[("client_id", "a+b"), ("client_secret", "p%c+ü")]).done();
    let raw = ask(Some(("a+b", "p%c+ü")), &[]);
    assert!(raw.headers["www-authenticate"].starts_with("Basic "), "RFC 6749, 5.2");
    raw.refused(401, "invalid_client");
    ask(Some(("demo", "demo-secret")), &[("client_id", "demo"), ("client_secret", "demo-secret")])
        .refused(400, "invalid_request");
    ask(Some(("demo", "demo-secret")), &[("client_id", "a+b")]).refused(400, "invalid_request");
    ask(Some(("demo", "demo-secret")), &[("scope", "a"), ("scope", "b")]).refused(400, "invalid_request");
}

#[test]
fn what_is_revoked_is_good_no_more() {
    let provider = approving(&[]);
    let revoke = |token: &str| {
        provider.post("/revoke", &[("client_id", "demo"), ("client_secret", "demo-secret"), ("token", token)])
    };
    let tokens = provider.sign_in(&[]);
    let (access, refresh) = (tokens.text_of("access_token"), tokens.text_of("refresh_token"));
    revoke(&access).done();
    provider.api("/api/me", &access).refused(401, "invalid_token");
    let next = provider.refresh(&refresh, &[]).done();
    revoke(&next.text_of("refresh_token")).done();
    provider.api("/api/me", &next.text_of("access_token")).refused(401, "invalid_token");
    provider.refresh(&next.text_of("refresh_token"), &[]).refused(400, "invalid_grant");
    revoke("never-heard-of").done();
    provider.post("/revoke", &[("token", &access)]).refused(401, "invalid_client");
}

#[test]
fn a_client_registers_itself_and_is_held_to_what_it_said() {
    let provider = approving(&[]);
    let register = |metadata: &Value| provider.post_json("/register", metadata);
    let registered = register(&json!({
        "redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "client_secret_post", "client_name": "x",
    }));
    assert_eq!((registered.status, &registered.json()["client_secret_expires_at"]), (201, &json!(0)));
    let (id, secret) = (registered.text_of("client_id"), registered.text_of("client_secret"));
    let code = provider.authorize(&[("client_id", &id)]).code();
    let wrong_way = [("grant_type", "authorization_code"), ("code", &code)];
    provider
        .send(provider.request("/token").basic_auth(&id, Some(&secret)).form(&wrong_way))
        .refused(401, "invalid_client");
    provider.redeem(&code, &[("client_id", &id), ("client_secret", &secret)]).done();
    register(&json!({})).refused(400, "invalid_redirect_uri");
    register(&json!({ "redirect_uris": ["http://example.com/"] })).refused(400, "invalid_redirect_uri");
    register(&json!({ "redirect_uris": ["https://example.com/"], "token_endpoint_auth_method": "tls_client_auth" }))
        .refused(400, "invalid_client_metadata");
}

#[test]
fn a_token_is_exchanged_for_one_that_is_for_less() {
    let provider = approving(&[]);
    let access = provider.sign_in(&[("scope", "items admin")]).text_of("access_token");
    let exchange = |more: &[(&str, &str)]| {
        let usual = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("client_id", "demo"),
            ("client_secret", "demo-secret"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        provider.post("/token", &[&usual, more].concat())
    };
    let exchanged = exchange(&[("subject_token", &access), ("scope", "items"), ("audience", "backend")]).done();
    assert_eq!(exchanged.text_of("issued_token_type"), "urn:ietf:params:oauth:token-type:access_token");
    let me = provider.api("/api/me", &exchanged.text_of("access_token")).done().json();
    assert_eq!((&me["scope"], &me["aud"]), (&json!(["items"]), &json!(["backend"])));
    exchange(&[("subject_token", &access), ("scope", "more")]).refused(400, "invalid_scope");
    provider.advance(3_600);
    exchange(&[("subject_token", &access)]).refused(400, "invalid_grant");
}

#[test]
fn the_metadata_names_what_is_there() {
    let provider = provider(&["--scope", "items"]);
    let server = provider.get("/.well-known/oauth-authorization-server").done().json();
    assert_eq!(server["issuer"], provider.url());
    for (name, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("device_authorization_endpoint", "/device_authorization"),
        ("revocation_endpoint", "/revoke"),
        ("registration_endpoint", "/register"),
    ] {
        assert_eq!(server[name], format!("{}{path}", provider.url()));
        assert_ne!(provider.post(path, &[]).status, 404, "{path}");
    }
    assert_eq!(server["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(server["scopes_supported"], json!(["items"]));
    assert_eq!(provider.get("/.well-known/openid-configuration").done().json()["issuer"], provider.url());
    let resource = provider.get("/.well-known/oauth-protected-resource/api").done().json();
    assert_eq!(resource["resource"], format!("{}/api", provider.url()));
    provider.settings(&json!({ "quirk": ["no-pkce"] }));
    let server = provider.get("/.well-known/oauth-authorization-server").done().json();
    assert_eq!(server.get("code_challenge_methods_supported"), None);
}

#[test]
fn the_api_pages_echoes_and_challenges() {
    let provider = approving(&["--rate-limit", "6"]);
    let token = provider.sign_in(&[]).text_of("access_token");
    let nothing = provider.get("/api/me");
    assert_eq!((nothing.status, nothing.headers["www-authenticate"].as_str()), (401, "Bearer realm=\"simulated\""));
    let (mut path, mut seen) = ("/api/items".to_owned(), 0);
    loop {
        let page = provider.api(&path, &token).done();
        seen += page.json()["items"].as_array().unwrap().len();
        let next = page.json()["next"].as_str().map(str::to_owned);
        let Some(next) = next else { break };
        assert_eq!(page.headers["link"], format!("<{next}>; rel=\"next\""));
        path = next.strip_prefix(provider.url()).unwrap().to_owned();
    }
    assert_eq!(seen, 25);
    let echo = provider.send(provider.request("/api/echo").bearer_auth(&token).body("hello")).done().json();
    assert_eq!(
        (&echo["body"], &echo["headers"]["authorization"]),
        (&json!("hello"), &json!(format!("Bearer {token}")))
    );
    provider.api("/api/nothing", &token).refused(404, "not_found");
    provider.api("/api/items?limit=0", &token).refused(400, "invalid_request");
    let limited = provider.api("/api/me", &token);
    let wait: u32 = limited.headers["retry-after"].parse().unwrap();
    limited.refused(429, "rate_limited");
    provider.settings(&json!({ "quirk": ["rate-limit-403", "rate-limit-reset"] }));
    let limited = provider.api("/api/me", &token);
    assert!(limited.headers.contains_key("x-ratelimit-reset") && !limited.headers.contains_key("retry-after"));
    limited.refused(403, "rate_limited");
    provider.settings(&json!({ "quirk": ["rate-limit-400"] }));
    provider.api("/api/me", &token).refused(400, "rate_limited");
    provider.advance(wait);
    provider.api("/api/me", &token).done();
    assert_eq!(provider.counts()["api /api/me"], json!({ "200": 1, "400": 1, "401": 1, "403": 1, "429": 1 }));
}

#[test]
fn the_next_answers_are_as_a_test_says() {
    let provider = approving(&[]);
    let refresh = provider.sign_in(&[]).text_of("refresh_token");
    let twice = r#"{"access_token":"a","access_token":"b"}"#;
    provider.next(&json!({
        "endpoint": "token", "times": 2, "status": 503, "headers": { "retry-after": "7", "Content-Type": "text/x" }, "body": twice,
    }));
    provider.next(&json!({ "endpoint": "token", "redirect": "http://127.0.0.1:1/elsewhere" }));
    provider.next(&json!({ "endpoint": "token", "merge": { "expires_in": "soon", "scope": null } }));
    for _ in 0..2 {
        let answer = provider.refresh(&refresh, &[]);
        assert_eq!((answer.status, answer.text.as_str()), (503, twice));
        assert_eq!((answer.headers["retry-after"].as_str(), answer.headers["content-type"].as_str()), ("7", "text/x"));
    }
    let redirected = provider.refresh(&refresh, &[]);
    assert_eq!((redirected.status, redirected.headers["location"].as_str()), (307, "http://127.0.0.1:1/elsewhere"));
    let merged = provider.refresh(&refresh, &[]).done();
    assert_eq!((&merged.json()["expires_in"], merged.json().get("scope")), (&json!("soon"), None));
    provider.refresh(&merged.text_of("refresh_token"), &[]).done();
    provider.next(&json!({ "endpoint": "authorize", "merge": { "iss": "https://other.example" } }));
    assert_eq!(provider.authorize(&[]).parameter("iss").as_deref(), Some("https://other.example"));
    provider.next(&json!({ "endpoint": "api", "delay-milliseconds": 30 }));
    let began = Instant::now();
    provider.get("/api/me");
    assert!(began.elapsed() >= Duration::from_millis(30));
    let scripted: Vec<Value> = provider.tokens("refresh_token").into_iter().map(|it| it["scripted"].clone()).collect();
    assert_eq!(scripted, [json!(true), json!(true), json!(true), json!(true), Value::Null]);
}

#[test]
fn a_request_is_held_until_it_is_released_or_its_client_goes_away() {
    let provider = approving(&[]);
    let token = provider.sign_in(&[]).text_of("refresh_token");
    provider.next(&json!({ "endpoint": "token", "hold": "before" }));
    std::thread::scope(|threads| {
        let asking = threads.spawn(|| provider.refresh(&token, &[]));
        provider.wait_until_held(1);
        assert_eq!(provider.tokens("refresh_token").len(), 0, "nothing was done yet");
        provider.release();
        asking.join().unwrap().done();
    });
    provider.next(&json!({ "endpoint": "api", "hold": "after" }));
    let mut stream = TcpStream::connect(provider.authority()).unwrap();
    stream.write_all(b"GET /api/me HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    provider.wait_until_held(1);
    assert_eq!(provider.asked("api").len(), 1, "it was done, and not yet answered");
    drop(stream);
    provider.wait_until_held(0);
}

#[test]
fn what_the_control_plane_does_not_know_is_refused_with_a_sentence() {
    let provider = provider(&[]);
    for (path, body, words) in [
        ("/simulate/settings", json!({ "acces-lifetime": 5 }), "unknown field `acces-lifetime`"),
        ("/simulate/settings", json!({ "quirk": ["novel"] }), "unknown variant `novel`"),
        (
            "/simulate/settings",
            json!({ "quirk": ["scope-comma", "scope-plus"] }),
            "both say what stands between scopes",
        ),
        ("/simulate/settings", json!({ "approve": true, "deny": true }), "not both"),
        ("/simulate/clock", json!({ "advance": -5 }), "invalid value"),
        ("/simulate/next", json!({ "endpoint": "tokens" }), "unknown variant `tokens`"),
        ("/simulate/next", json!({ "endpoint": "token", "status": 42 }), "from 200 to 599"),
    ] {
        let refused = provider.post_json(path, &body);
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text_of("error").contains(words), "{refused:?}");
    }
    let settings = provider.settings(&json!({ "like": "x", "access-lifetime": 7 }));
    assert_eq!((&settings["access-lifetime"], &settings["quirk"][0]), (&json!(7), &json!("client-basic")));
    assert!(!settings.to_string().contains("demo-secret"), "{settings}");
}

#[test]
fn it_listens_on_loopback_only_and_keeps_nothing() {
    let attache = machine();
    attache.run(&["simulate", "--listen", "0.0.0.0:0"]).refused(5, "is not loopback");
    attache.run(&["simulate", "--listen", "[::]:0"]).refused(5, "is not loopback");
    attache.run(&["simulate", "--quirk", "scope-comma", "--quirk", "scope-plus"]).refused(2, "both say");
    attache.run(&["simulate", "--client-key", "demo=/nowhere"]).refused(2, "cannot be read from /nowhere");
    let help = attache.run(&["simulate", "--help"]).done();
    for part in ["Examples:", "/simulate/clock", "token-json", "Token requests are JSON (Notion, Clover, Braintree)"] {
        assert!(help.contains(part), "expected “{part}” in:\n{help}");
    }
    let provider = approving(&["--listen", "[::1]:0"]);
    provider.sign_in(&[]);
    assert!(provider.authority().starts_with("[::1]:"));
    assert!(!provider.machine.data().exists() && !provider.machine.key_file().exists());
}
