//! Each difference of a real provider that the contract has words for, met by the host: it signs in, calls, renews, and ends what
//! it has there. The provider is the simulated one, whose differences have stories of their own.

use std::time::{Duration, Instant};

use attache::{apps::AppRequest, consent::oauth2::Revoked, secret::Secret};
use attache_tests::{Embedded, simulate::Simulated};
use serde_json::{Value, json};

use crate::providers::{key_pair, send, simulated};

/// Signs in by an auth option at a provider with a quirk, calls, renews and calls again, and ends it there.
#[track_caller]
fn works(quirk: &str, option: &str) {
    renewing(quirk, option).ends();
}

/// The same, where it goes on.
#[track_caller]
fn renewing(quirk: &str, option: &str) -> At {
    let at = signed_in(quirk, option);
    at.renews();
    at
}

/// A host whose connection `me` was signed in at a provider with a quirk, and called.
struct At {
    embedded: Embedded,
    simulated: Simulated,
    quirk: String,
}

#[track_caller]
fn signed_in(quirk: &str, option: &str) -> At {
    let (embedded, simulated) = simulated(&["--quirk", quirk]);
    let at = At { embedded, simulated, quirk: quirk.to_owned() };
    at.signs_in(option);
    at
}

impl At {
    #[track_caller]
    fn signs_in(&self, option: &str) {
        let made = self.embedded.sign_in("me", option, self.simulated.url(), |_, page| page);
        made.unwrap_or_else(|error| {
            panic!("{} by {option}: {error} {:?}; {:?}", self.quirk, error.mend(), self.simulated.log())
        });
        self.is_called();
    }

    #[track_caller]
    fn is_called(&self) {
        let seen = send(&self.embedded, &format!("{}/api/me", self.simulated.url()));
        assert_eq!(seen["status"], 200, "{}: {seen}; {:?}", self.quirk, self.simulated.log());
    }

    #[track_caller]
    fn renews(&self) {
        let asked =
            || self.simulated.log().iter().filter(|it| it["grant"].is_string() && it["outcome"] == "ok").count();
        let before = asked();
        self.simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
        self.is_called();
        assert_eq!(asked(), before + 1, "{}: it was renewed; {:?}", self.quirk, self.simulated.log());
    }

    /// Ends the consent, which the provider is told and takes.
    #[track_caller]
    fn ends(&self) {
        let host = self.embedded.host();
        let ended = self.embedded.block_on(host.revoke_consent("default", "me", "tester")).unwrap();
        let told = ended.upstream.as_ref().map(Revoked::name);
        assert_eq!(told, Some("revoked"), "{}: {:?}; {:?}", self.quirk, ended.upstream, self.simulated.asked("revoke"));
    }
}

#[test]
fn token_requests_are_written_as_the_provider_reads_them() {
    works("token-json", "json");
    works("token-query", "query");
    works("client-key", "renamed");
    works("redirect-url", "redirect-renamed");
    works("refresh-elsewhere", "refreshed-elsewhere");
}

#[test]
fn apps_prove_themselves_as_the_provider_wants_it() {
    works("client-post", "plain");
    works("client-basic", "plain");
    works("client-secret-as-user", "secret-as-user");
}

#[test]
fn an_app_that_signs_goes_through_where_nothing_else_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (key, public) = key_pair(folder.path());
    let known = format!("demo={public}");
    let flags = ["--quirk", "client-assertion", "--client", "demo:demo-secret", "--client-key", &known];
    let (embedded, simulated) = simulated(&flags);
    embedded
        .host()
        .set_app(AppRequest {
            environment: "default".into(),
            connector: "oauth".into(),
            secrets: [("private_key".to_owned(), Secret::new(key))].into(),
            caller: "tester".into(),
            ..AppRequest::default()
        })
        .unwrap();
    let at = At { embedded, simulated, quirk: "client-assertion".into() };
    at.signs_in("plain");
    at.renews();
    at.ends();
    let proved: Vec<_> =
        at.simulated.log().into_iter().filter(|it| it["presented"]["client_assertion"].is_string()).collect();
    assert_eq!(proved.len(), 4, "code, renewal, and both that were ended: {proved:?}");
}

#[test]
fn what_comes_back_is_found_where_the_provider_puts_it() {
    works("spapi-oauth-code", "code-renamed");
    works("authed-user", "nested");
    works("under-data", "under-data");
    works("instance-url", "located");
    works("api-domain", "located-by-domain");
    works("accounts-server", "tokens-elsewhere");
    works("ok-false", "plain");
}

#[test]
fn an_answer_that_is_a_form_is_read_as_one() {
    let at = renewing("form-answer", "form-wanted");
    at.ends();
    // Called JSON, the same answer is none: it was a form.
    at.simulated.next(&json!({ "endpoint": "token", "headers": { "content-type": "application/json" } }));
    at.embedded.sign_in("other", "form-wanted", at.simulated.url(), |_, page| page).err().unwrap();
}

#[test]
fn what_the_callback_says_stands_in_each_call() {
    let at = renewing("realm-id", "of-a-company");
    let echoed = send(&at.embedded, &format!("{}/api/echo", at.simulated.url())).to_string();
    assert!(echoed.contains("\\\"x-company\\\":\\\"9130350000000001"), "{echoed}");
    at.ends();
}

#[test]
fn scopes_and_binding_follow_what_the_connector_says_of_the_provider() {
    for (quirk, option) in [("scope-comma", "comma"), ("scope-plus", "plus")] {
        let at = renewing(quirk, option);
        let seen = send(&at.embedded, &format!("{}/api/admin", at.simulated.url()));
        assert_eq!(seen["status"], 200, "{quirk}: both scopes were granted: {seen}");
        at.ends();
    }
    works("scope-of-origin", "of-origin");
    works("refresh-scope-demanded", "comma");
    works("refresh-scope-refused", "comma-spaced");
    works("no-pkce", "without-pkce");
}

#[test]
fn a_renewal_token_is_asked_for_in_the_providers_own_words() {
    for (quirk, option) in [
        ("access-type-offline", "access-type"),
        ("token-access-type", "token-access-type"),
        ("duration-permanent", "duration"),
        ("offline-access", "offline-access"),
        ("offline-dot-access", "offline-dot-access"),
    ] {
        works(quirk, option);
        // Without those words there is none.
        let at = signed_in(quirk, "plain");
        let given = &at.simulated.tokens("authorization_code")[0]["given"];
        assert!(given["access_token"].is_string() && given.get("refresh_token").is_none(), "{quirk}: {given}");
    }
    works("refresh-kept", "plain");
}

#[test]
fn a_provider_without_renewal_tokens_exchanges_the_token_itself() {
    works("exchange-access-token", "exchanged");
    signed_in("never-expires", "plain").ends();
}

#[test]
fn a_token_that_is_traded_itself_is_kept_alive_where_nobody_calls() {
    // Regression: only what had a renewal token was, so that sixty days without a call ended such a connection.
    let at = signed_in("exchange-access-token", "exchanged");
    let renewed = |idle| at.embedded.block_on(at.embedded.host().keep_alive(idle)).unwrap();
    assert_eq!((renewed(Duration::from_secs(3_600)), renewed(Duration::ZERO)), (0, 1));
    at.is_called();
}

#[test]
fn however_a_lifetime_is_told_the_token_is_used() {
    for quirk in ["expires-string", "expires-missing", "expires-huge"] {
        works(quirk, "plain");
    }
    works("expires-milliseconds", "milliseconds");
    works("expires-negative", "plain");
}

#[test]
fn a_lifetime_that_only_the_connector_knows_is_kept_to() {
    let at = signed_in("expires-missing", "short-lived");
    let began = Instant::now();
    while at.simulated.tokens("refresh_token").is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is never renewed");
        at.is_called();
    }
    let counts = at.simulated.counts();
    assert_eq!(counts["api /api/me"]["401"], Value::Null, "it is renewed before the service has to say so: {counts}");
}

#[test]
fn a_refusal_with_status_200_is_a_refusal() {
    let at = signed_in("error-in-200", "plain");
    // Longer than a renewal token is good, and the access token with it.
    at.simulated.advance(15 * 24 * 3_600);
    let seen = send(&at.embedded, &format!("{}/api/me", at.simulated.url()));
    assert_eq!(seen["error"], "needs-reconnect", "{seen}; {:?}", at.simulated.log());
    assert!(seen["sentence"].as_str().unwrap().contains("`invalid_grant`"), "{seen}");
    let last = at.simulated.tokens("refresh_token").pop().unwrap();
    assert_eq!((&last["status"], &last["outcome"]), (&json!(200), &json!("invalid_grant")), "{last}");
}

#[test]
fn a_rate_limit_is_told_to_the_connector_in_whichever_way_and_costs_no_token() {
    for (quirks, status, header) in [
        (&["rate-limit-403"][..], 403, "retry-after"),
        (&["rate-limit-403", "rate-limit-reset"], 403, "x-ratelimit-reset"),
        (&["rate-limit-400"], 400, "retry-after"),
        (&[], 429, "retry-after"),
    ] {
        let flags: Vec<&str> = quirks.iter().flat_map(|quirk| ["--quirk", quirk]).collect();
        let (embedded, simulated) = simulated(&[&["--rate-limit", "1"], &flags[..]].concat());
        let at = At { embedded, simulated, quirk: quirks.join(", ") };
        at.signs_in("plain");
        let limited = send(&at.embedded, &format!("{}/api/me", at.simulated.url()));
        assert_eq!(limited["status"], status, "{quirks:?}: {limited}");
        assert!(limited["headers"].to_string().contains(header), "{quirks:?}: {limited}");
        assert!(at.simulated.tokens("refresh_token").is_empty(), "{quirks:?}: it says nothing of the token");
        at.simulated.advance(60);
        at.is_called();
    }
}
