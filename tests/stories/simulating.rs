//! The simulated provider, driven by hand as a client of OAuth 2.0 does it: it checks what a careful provider checks.

use attache_tests::simulate::{Simulated, refreshing};
use serde_json::{Value, json};

fn provider(flags: &[&str]) -> Simulated {
    Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), flags)
}

/// One where the person approves at once.
fn approving(flags: &[&str]) -> Simulated {
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
    assert_eq!(log[0]["given"]["code"], log[1]["presented"]["code"]);
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
