//! The refresh cycle: from signing in on, a call just works, or says exactly why not.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use attache::{
    Kind,
    connect::{CONFIRM_WITHIN, SignedIn},
    consent::{CameBack, Isolation},
};
use attache_tests::{
    Browser, CALLBACK, Embedded,
    peers::{Oidc, oidc},
    service::Service,
    simulate::{CLIENT, Simulated},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::oauth::{SECRET, story};

/// A host whose connection `me` was signed in at oidc-provider.
fn at_oidc(config: &Value) -> (Embedded, Oidc) {
    let (embedded, oidc) = (Embedded::new("oauth", Isolation::Call), oidc(config));
    embedded.set_app(("web", SECRET), &oidc.peer.base());
    let made = embedded
        .sign_in("me", "discovered", &oidc.peer.base(), |browser, page| browser.submit(&page, &[("decision", "yes")]));
    made.unwrap();
    (embedded, oidc)
}

fn simulated_approving(flags: &[&str]) -> Simulated {
    Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &[&["--approve"], flags].concat())
}

/// A host whose connection `me` was signed in at a provider that does what a test says.
pub fn at_simulated(flags: &[&str]) -> (Embedded, Simulated) {
    let simulated = simulated_approving(flags);
    let embedded = Embedded::new("oauth", Isolation::Call);
    embedded.set_app(CLIENT, simulated.url());
    embedded.sign_in("me", "plain", simulated.url(), |_, page| page).unwrap();
    (embedded, simulated)
}

pub fn me(embedded: &Embedded, base: &str) -> Value {
    embedded.call("me", "send", json!({ "url": format!("{base}/api/me") })).unwrap()
}

#[track_caller]
/// Waits for a token's time to come.
pub fn since(obtained: Instant, time: Duration) {
    thread::sleep(time.saturating_sub(obtained.elapsed()));
}

fn all_good(answers: Vec<Result<Value, attache::Error>>) {
    for answer in answers {
        assert_eq!(answer.unwrap()["status"], 200);
    }
}

/// No refresh token was presented again after the provider had replaced it.
#[track_caller]
pub(crate) fn no_token_was_presented_twice(oidc: &Oidc) {
    let mut seen = HashSet::new();
    for asked in oidc.tokens("refresh_token") {
        let token = asked.0["presented"]["refresh_token"].as_str().unwrap().to_owned();
        assert!(seen.insert(token), "a token that was replaced was presented again: {asked:?}");
    }
}

#[test]
fn sixty_four_calls_at_expiry_make_one_refresh() {
    let (embedded, oidc) = at_oidc(&json!({ "access": 4 }));
    let obtained = Instant::now();
    let input = json!({ "url": format!("{}/api/me", oidc.peer.base()) });
    since(obtained, Duration::from_millis(4_100));
    all_good(embedded.call_at_once(64, "me", "send", &input));
    assert_eq!(oidc.tokens("refresh_token").len(), 1);
    no_token_was_presented_twice(&oidc);
}

#[test]
fn sixty_four_calls_that_the_service_refuses_make_one_refresh() {
    let (embedded, oidc) = at_oidc(&json!({}));
    oidc.forget_access_tokens();
    let input = json!({ "url": format!("{}/api/me", oidc.peer.base()) });
    all_good(embedded.call_at_once(64, "me", "send", &input));
    assert_eq!(oidc.tokens("refresh_token").len(), 1);
}

#[test]
fn two_processes_on_one_data_directory_make_one_refresh() {
    let story = story(&json!({}));
    story.connect("discovered", &[]);
    for round in 1..=5 {
        story.oidc.forget_access_tokens();
        let input = story.url("/api/me").to_string();
        let arguments = ["call", "oauth", "send", "--input", &input];
        let both = [story.attache.begin(&arguments), story.attache.begin(&arguments)];
        for running in both {
            assert_eq!(running.ended().json()["status"], 200);
        }
        assert_eq!(story.oidc.tokens("refresh_token").len(), round);
    }
    no_token_was_presented_twice(&story.oidc);
}

#[test]
fn a_service_that_refuses_whatever_it_is_given_does_not_use_up_tokens() {
    let (embedded, simulated) = at_simulated(&[]);
    let refused = json!({ "endpoint": "api", "times": 100, "status": 401,
        "headers": { "www-authenticate": "Bearer error=\"invalid_token\"" } });
    simulated.next(&refused);
    for _ in 0..5 {
        assert_eq!(me(&embedded, simulated.url())["status"], 401, "the connector is told");
    }
    assert_eq!(simulated.tokens("refresh_token").len(), 1);
}

#[test]
fn a_grant_that_is_over_is_said_so_once_and_for_all() {
    let story = story(&json!({}));
    story.connect("discovered", &[]);
    story.oidc.revoke_all();
    story.oidc.forget_access_tokens();
    for _ in 0..3 {
        let seen = story.send("/api/me");
        assert_eq!(seen["error"], "needs-reconnect", "{seen}");
        let sentence = seen["sentence"].as_str().unwrap();
        assert!(
            sentence.contains("`invalid_grant`") && sentence.contains("attache connection reconnect"),
            "{sentence}"
        );
    }
    assert_eq!(story.oidc.tokens("refresh_token").len(), 1, "it is final");
    let listed = story.attache.run(&["connection", "list"]).done();
    assert!(listed.contains("needs reconnect"), "{listed}");
    let audit = story.attache.run(&["audit", "list"]).done();
    assert!(audit.contains("renewal-refused"), "{audit}");
    story.finish(story.attache.begin(&["connection", "reconnect", "oauth", "--timeout", "60"]));
    assert_eq!(story.send("/api/me")["status"], 200);
}

#[test]
fn a_provider_that_fails_takes_nothing_away_that_is_still_good() {
    // A tenth of the lifetime is kept ahead, so that the token is renewed while it is good.
    let (embedded, simulated) = at_simulated(&["--access-lifetime", "20"]);
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 100, "status": 503,
        "headers": { "retry-after": "3600" } }));
    let obtained = Instant::now();
    since(obtained, Duration::from_millis(18_050));
    for _ in 0..3 {
        assert_eq!(me(&embedded, simulated.url())["status"], 200);
    }
    assert_eq!(simulated.tokens("refresh_token").len(), 1, "`Retry-After` is kept to");
    since(obtained, Duration::from_millis(21_050));
    let seen = me(&embedded, simulated.url());
    assert!(seen["sentence"].as_str().unwrap().contains("issues no token now: it answered with status 503"), "{seen}");
}

#[test]
fn a_call_that_comes_while_another_renews_uses_what_is_still_good() {
    // Regression: the renewal's mark changed the store, so that the next call read the connection anew, and waited.
    let (embedded, simulated) = at_simulated(&["--access-lifetime", "20"]);
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "hold": "before" }));
    since(Instant::now(), Duration::from_millis(18_050));
    thread::scope(|scope| {
        let renewing = scope.spawn(|| me(&embedded, simulated.url()));
        simulated.wait_until_held(1);
        assert_eq!(me(&embedded, simulated.url())["status"], 200);
        assert!(!renewing.is_finished(), "it waits for the provider");
        simulated.release();
        assert_eq!(renewing.join().unwrap()["status"], 200);
    });
    assert_eq!(simulated.tokens("refresh_token").len(), 1);
}

#[test]
fn a_failure_that_may_pass_is_tried_again_with_the_same_token() {
    let (embedded, simulated) = at_simulated(&[]);
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "status": 500 }));
    let seen = me(&embedded, simulated.url());
    assert_eq!(seen["error"], "unreachable", "{seen}");
    assert_eq!(me(&embedded, simulated.url())["status"], 200, "the token at hand is good");
    let listed = embedded.host().book("default").unwrap();
    let captured = listed.captured(listed.connection("me").unwrap().id).unwrap().unwrap();
    assert!(captured.refused.is_none() && captured.sending.is_none(), "nothing was spent");
}

#[test]
fn an_answer_without_a_refresh_token_keeps_the_old_one() {
    let (embedded, simulated) = at_simulated(&["--quirk", "refresh-kept"]);
    let book = embedded.host().book("default").unwrap();
    let kept = || {
        let captured = book.captured(book.connection("me").unwrap().id).unwrap().unwrap();
        captured.values["refresh_token"].expose().to_owned()
    };
    let before = kept();
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    assert_eq!(me(&embedded, simulated.url())["status"], 200);
    assert_eq!(simulated.tokens("refresh_token").len(), 1);
    assert_eq!(kept(), before);
}

#[test]
fn a_lost_answer_ends_in_reconnecting_and_never_in_a_loop() {
    let (embedded, simulated) = at_simulated(&[]);
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "drop": "after" }));
    let lost = || {
        let seen = me(&embedded, simulated.url());
        seen["sentence"].as_str().unwrap_or_default().to_owned()
    };
    let first = lost();
    assert!(first.contains("its answer was lost"), "{first}");
    simulated.next(&json!({ "endpoint": "api", "times": 10, "status": 401 }));
    for _ in 0..3 {
        assert!(lost().contains("its answer was lost"));
    }
    assert_eq!(
        simulated.tokens("refresh_token").len(),
        1,
        "the token that may have been replaced is not presented again"
    );
}

#[test]
fn a_lost_answer_takes_nothing_away_that_is_still_good() {
    let story = |lost: Value| {
        let simulated = simulated_approving(&["--access-lifetime", "30"]);
        let embedded = Embedded::with("oauth", Isolation::Call, |settings| {
            settings.transport.value.first_byte_seconds = 1;
        });
        embedded.set_app(CLIENT, simulated.url());
        embedded.sign_in("me", "plain", simulated.url(), |_, page| page).unwrap();
        let obtained = Instant::now();
        let mut act = json!({ "endpoint": "token", "grant": "refresh_token", "times": 1 });
        act.as_object_mut().unwrap().extend(lost.as_object().unwrap().clone());
        simulated.next(&act);
        // Renewed a tenth ahead: there are three seconds for three calls, of which the first waits one for the answer.
        since(obtained, Duration::from_millis(27_050));
        for _ in 0..3 {
            assert_eq!(me(&embedded, simulated.url())["status"], 200, "{lost}");
        }
        since(obtained, Duration::from_millis(31_050));
        let seen = me(&embedded, simulated.url());
        assert!(seen["sentence"].as_str().unwrap().contains("its answer was lost"), "{lost}: {seen}");
        assert_eq!(simulated.tokens("refresh_token").len(), 1, "{lost}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| story(json!({ "drop": "after" })));
        scope.spawn(|| story(json!({ "delay-milliseconds": 5_000, "work": true })));
    });
}

#[test]
fn a_provider_that_was_seen_to_keep_its_renewal_token_may_be_asked_again_when_an_answer_is_lost() {
    let (embedded, simulated) = at_simulated(&["--rotation", "false", "--access-lifetime", "2"]);
    let run_out = || since(Instant::now(), Duration::from_millis(2_050));
    run_out();
    assert_eq!(me(&embedded, simulated.url())["status"], 200);
    run_out();
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "drop": "after" }));
    let lost = me(&embedded, simulated.url());
    assert!(lost["status"] != 200 && lost["error"] != "needs-reconnect", "{lost}");
    let began = Instant::now();
    while me(&embedded, simulated.url())["status"] != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", simulated.log());
    }
    let tokens = simulated.tokens("refresh_token");
    let presented: HashSet<String> = tokens.iter().map(|it| it["presented"]["refresh_token"].to_string()).collect();
    assert_eq!((presented.len(), tokens.len()), (1, 3), "{tokens:?}");
}

#[test]
fn after_a_failure_that_may_pass_nobody_asks_for_a_while() {
    let (embedded, simulated) = at_simulated(&["--access-lifetime", "1"]);
    since(Instant::now(), Duration::from_millis(1_050));
    let before = simulated.tokens("refresh_token").len();
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1_000, "status": 500 }));
    let input = json!({ "url": format!("{}/api/me", simulated.url()) });
    let began = Instant::now();
    for answer in embedded.call_at_once(64, "me", "send", &input) {
        assert_eq!(answer.unwrap()["error"], "unreachable");
    }
    // The first pause is half a second at least, and what waited for the turn asks nobody.
    let asked = simulated.tokens("refresh_token").len() - before;
    assert!(asked == 1 || began.elapsed() > Duration::from_millis(500), "{asked} asked at once");
    // The next is not before a second has passed, and the one after that not before two.
    while simulated.tokens("refresh_token").len() < before + 3 {
        me(&embedded, simulated.url());
        assert!(began.elapsed() < Duration::from_secs(20), "it is never asked again");
    }
    assert!(began.elapsed() > Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[test]
fn a_body_is_sent_again_whole_after_a_refusal() {
    let (embedded, simulated) = at_simulated(&[]);
    let body = "x".repeat(200_000);
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    let input = json!({ "url": format!("{}/api/echo", simulated.url()), "method": "POST", "body": body });
    let seen = embedded.call("me", "send", input).unwrap();
    assert_eq!(seen["status"], 200, "{seen}");
    let echoed: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
    assert_eq!(echoed["body"], body);
    assert_eq!(simulated.tokens("refresh_token").len(), 1);
}

#[test]
fn odd_answers_to_a_renewal_lead_nowhere() {
    let elsewhere = Service::plain();
    let leads =
        |status: u16| json!({ "status": status, "headers": { "location": format!("{}/token", elsewhere.base()) } });
    let body = |text: &str| json!({ "status": 200, "body": text, "headers": { "content-type": "application/json" } });
    for (answer, lost) in [
        (leads(302), false),
        (leads(307), false),
        (leads(308), false),
        (body(r#"{"error": "invalid_grant"}"#), true),
        (body(r#"{"access_token": "a", "access_token": "b"}"#), true),
        (body(r#"{"token_type": "Bearer"}"#), true),
    ] {
        let (embedded, simulated) = at_simulated(&[]);
        simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
        let mut act = json!({ "endpoint": "token", "grant": "refresh_token", "times": 1 });
        act.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
        simulated.next(&act);
        simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
        for _ in 0..2 {
            let seen = me(&embedded, simulated.url());
            assert_eq!(seen["error"] == "needs-reconnect", lost, "{answer}: {seen}");
        }
        assert_eq!(simulated.tokens("refresh_token").len(), 1, "{answer}");
    }
    assert!(elsewhere.received().is_empty(), "{:?}", elsewhere.received());
}

#[test]
fn what_one_end_of_a_provider_does_not_revoke_another_may() {
    // Regression: where the renewal token could not be ended, the access token was not tried.
    for (status, body) in [(400, json!({ "error": "unsupported_token_type" })), (500, json!(""))] {
        let (embedded, simulated) = at_simulated(&[]);
        simulated.next(&json!({ "endpoint": "revoke", "times": 1, "status": status, "body": body }));
        let ended = embedded.block_on(embedded.host().revoke_consent("default", "me", "tester")).unwrap();
        assert_eq!(ended.upstream.unwrap().name(), "failed", "{status}");
        let after = embedded.call("me", "send", json!({ "url": simulated.url() }));
        assert_eq!(after.unwrap_err().kind(), Kind::ConsentNeeded);
        assert_eq!(simulated.asked("revoke").len(), 2, "{:?}", simulated.asked("revoke"));
    }
}

#[test]
fn a_request_that_never_left_spends_nothing() {
    let (embedded, simulated) = at_simulated(&["--access-lifetime", "1"]);
    let (url, obtained) = (simulated.url().to_owned(), Instant::now());
    drop(simulated);
    since(obtained, Duration::from_millis(1_050));
    let seen = me(&embedded, &url);
    assert_eq!(seen["error"], "unreachable", "{seen}");
    let audit = std::fs::read_to_string(embedded.host().audit_path()).unwrap();
    assert!(audit.lines().rev().any(|line| line.contains("sign-in-request")), "it was tried");
    let book = embedded.host().book("default").unwrap();
    let captured = book.captured(book.connection("me").unwrap().id).unwrap().unwrap();
    assert!(captured.refused.is_none() && captured.sending.is_none());
}

#[test]
fn a_service_cannot_be_reached_with_a_token_of_a_consent_that_was_revoked_meanwhile() {
    let (embedded, simulated) = at_simulated(&[]);
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "hold": "after" }));
    let seen = thread::scope(|scope| {
        let calling = scope.spawn(|| me(&embedded, simulated.url()));
        simulated.wait_until_held(1);
        let revoking = scope.spawn(|| embedded.block_on(embedded.host().revoke_consent("default", "me", "tester")));
        while embedded.call("me", "send", json!({ "url": simulated.url() })).err().map(|it| it.kind())
            != Some(Kind::ConsentNeeded)
        {
            thread::yield_now();
        }
        simulated.release();
        let ended = revoking.join().unwrap().unwrap();
        assert_eq!(ended.upstream.unwrap().name(), "revoked");
        calling.join().unwrap()
    });
    assert_ne!(seen["status"], 200, "{seen}");
    // What the renewal brought was ended too.
    let log = simulated.log();
    let given = log.iter().rev().find(|it| it["grant"] == "refresh_token").unwrap();
    assert!(log.iter().any(|it| it["endpoint"] == "revoke"), "{log:?} {given}");
    let book = embedded.host().book("default").unwrap();
    let id = book.connection("me").unwrap().id;
    assert!(book.captured(id).unwrap().is_none() && book.credential(id).unwrap().is_none());
}

#[test]
fn a_connection_that_is_connected_anew_hands_out_nothing_that_it_had() {
    let (embedded, simulated) = at_simulated(&[]);
    let url = format!("{}/api/me", simulated.url());
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "hold": "after" }));
    let anew = "was ended or connected anew in the meantime";
    let called = || {
        let seen = embedded.call("me", "send", json!({ "url": url }));
        seen.map_or_else(|error| error.message().to_owned(), |seen| seen["sentence"].as_str().unwrap_or("").to_owned())
    };
    thread::scope(|scope| {
        let calling = scope.spawn(called);
        simulated.wait_until_held(1);
        let connecting = scope.spawn(|| embedded.sign_in("me", "plain", simulated.url(), |_, page| page));
        // Whoever comes before that uses what is good yet; whoever comes after it is told.
        let began = Instant::now();
        loop {
            let told = called();
            if told.contains(anew) {
                break;
            }
            assert!(told.is_empty() || told.contains("was closed while the request was under way"), "{told}");
            assert!(began.elapsed() < Duration::from_secs(20), "nobody is told");
        }
        simulated.release();
        connecting.join().unwrap().unwrap();
        // Nobody gets what the renewal brought, however long they waited for it.
        let told = calling.join().unwrap();
        assert!(told.contains(anew), "{told}");
    });
    assert_eq!(me(&embedded, simulated.url())["status"], 200);
}

#[test]
fn what_nobody_confirms_in_time_is_revoked() {
    let (embedded, oidc) = (Embedded::new("oauth", Isolation::Call), oidc(&json!({})));
    embedded.set_app(("web", SECRET), &oidc.peer.base());
    let proposal = embedded.propose("me", "discovered", &oidc.peer.base()).unwrap();
    let trip = proposal.trip(&CALLBACK.parse().unwrap()).unwrap();
    let browser = Browser::that_stops_at(CALLBACK);
    let page = browser.submit(&browser.open(trip.url.as_str()), &[("decision", "yes")]);
    let signed_in =
        SignedIn::CameBack { trip, came: CameBack { below: None, query: page.url.query().unwrap().to_owned() } };
    let pending = embedded.host().connect_pending(&proposal, signed_in, "alice", None, CONFIRM_WITHIN);
    let code = embedded.block_on(pending).unwrap();
    let now = Timestamp::now();
    let end = |at: Timestamp| embedded.block_on(embedded.host().end_unconfirmed("default", at)).unwrap();
    assert_eq!(end(now), 0, "there is time");
    assert_eq!(end(now + CONFIRM_WITHIN + Duration::from_secs(5)), 1);
    let refused = embedded.block_on(embedded.host().confirm("default", &code, "alice", "tester", None));
    assert_eq!(refused.err().unwrap().kind(), Kind::NotFound);
    let revoked = oidc.asked().iter().filter(|it| it.0["path"] == "/token/revocation").count();
    assert_eq!(revoked, 2);
}

#[test]
fn a_caller_that_goes_away_takes_no_renewal_with_it() {
    // Regression: a call that was dropped while its renewal was under way lost the answer, and the next presented the token again.
    let (embedded, simulated) = at_simulated(&["--access-lifetime", "1"]);
    let obtained = Instant::now();
    since(obtained, Duration::from_millis(1_050));
    // A token that lives for a second is renewed for the check of the connection where the clock's second ends just then.
    let before = simulated.tokens("refresh_token").len();
    simulated.settings(&json!({ "access-lifetime": 3600 }));
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "hold": "after" }));
    let input = json!({ "url": format!("{}/api/me", simulated.url()) });
    // On a thread of its own, since what asks blocks.
    let is_held = || thread::scope(|scope| scope.spawn(|| simulated.get("/simulate/held").json()).join().unwrap());
    embedded.drop_call("me", "send", input, || is_held()["held"] == 1);
    simulated.release();
    assert_eq!(me(&embedded, simulated.url())["status"], 200);
    assert_eq!(simulated.tokens("refresh_token").len(), before + 1, "{:?}", simulated.log());
}

#[test]
fn a_renewal_is_kept_before_what_it_brought_is_used_for_anything() {
    // Regression: a look-up after the renewal that failed lost the renewal, whose token had been replaced.
    for option in ["looks-up", "in-steps"] {
        let (embedded, simulated) = (Embedded::new("oauth", Isolation::Call), simulated_approving(&[]));
        embedded.set_app(CLIENT, simulated.url());
        embedded.sign_in("me", option, simulated.url(), |_, page| page).unwrap();
        // Not what is looked up, which is the host's alone to call.
        let items = || embedded.call("me", "send", json!({ "url": format!("{}/api/items", simulated.url()) })).unwrap();
        simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
        simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 503 }));
        assert_ne!(items()["status"], 200);
        let began = Instant::now();
        while items()["status"] != 200 {
            let log = simulated.log();
            assert!(began.elapsed() < Duration::from_secs(10), "{option}: {:?}", log.iter().rev().take(6));
            thread::yield_now();
        }
        simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
        assert_eq!(items()["status"], 200, "{option}: it is renewed with what was kept");
        let presented: HashSet<String> =
            simulated.tokens("refresh_token").iter().map(|it| it["presented"]["refresh_token"].to_string()).collect();
        assert_eq!(presented.len(), simulated.tokens("refresh_token").len(), "{option}: none was presented twice");
    }
}

#[test]
fn a_token_without_a_successor_survives_a_service_that_refuses_it_once() {
    // Regression: one 401 made a connection of GitHub's kind, which has no refresh token, need its owner again.
    let (embedded, simulated) = at_simulated(&["--quirk", "never-expires"]);
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    assert_eq!(me(&embedded, simulated.url())["status"], 401, "the connector is told");
    assert_eq!(me(&embedded, simulated.url())["status"], 200);
}

#[test]
fn a_refresh_that_says_nothing_of_scopes_grants_no_more_than_before() {
    // Regression: what was asked for counted as granted from the first refresh on.
    let (embedded, simulated) =
        (Embedded::new("oauth", Isolation::Call), simulated_approving(&["--withhold", "admin"]));
    embedded.set_app(CLIENT, simulated.url());
    let made = embedded.sign_in("me", "comma-spaced", simulated.url(), |_, page| page).unwrap();
    assert_eq!(made.withheld, ["admin"]);
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "merge": { "scope": null } }));
    assert_eq!(me(&embedded, simulated.url())["status"], 200);
    let seen = embedded.call("me", "connection", json!({})).unwrap();
    assert_eq!(seen["scopes"], json!(["items"]));
}

#[test]
fn a_page_of_a_gateway_in_place_of_an_answer_ends_no_connection() {
    // Regression: anything that was no answer of OAuth 2.0 made every connection at that provider need its owner.
    for status in [302, 403, 404] {
        let (embedded, simulated) = at_simulated(&[]);
        simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
        simulated.next(&json!({ "endpoint": "token", "times": 1, "status": status, "body": "<html>Back soon</html>",
            "headers": { "content-type": "text/html" } }));
        assert_ne!(me(&embedded, simulated.url())["error"], "needs-reconnect", "{status}");
        let book = embedded.host().book("default").unwrap();
        let captured = book.captured(book.connection("me").unwrap().id).unwrap().unwrap();
        assert!(captured.refused.is_none(), "{status}: {:?}", captured.refused);
    }
}

#[test]
fn what_the_last_renewal_brought_is_what_the_provider_is_told_to_end() {
    // Regression: a look-up that was refused after a renewal put the token back that the renewal had replaced.
    let (embedded, simulated) = (Embedded::new("oauth", Isolation::Call), simulated_approving(&[]));
    embedded.set_app(CLIENT, simulated.url());
    embedded.sign_in("me", "looks-up", simulated.url(), |_, page| page).unwrap();
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 403 }));
    let items = json!({ "url": format!("{}/api/items", simulated.url()) });
    assert_eq!(embedded.call("me", "send", items).unwrap()["error"], "needs-reconnect");
    embedded.block_on(embedded.host().revoke_consent("default", "me", "tester")).unwrap();
    let renewed = &simulated.tokens("refresh_token")[0]["given"]["refresh_token"];
    assert_eq!(&simulated.asked("revoke")[0]["presented"]["token"], renewed, "{:?}", simulated.asked("revoke"));
}

#[test]
fn two_processes_with_thirty_two_requests_each_make_one_refresh() {
    let story = story(&json!({}));
    story.connect("discovered", &[]);
    story.oidc.forget_access_tokens();
    let input = json!({ "url": format!("{}/api/me", story.oidc.peer.base()), "times": 32 }).to_string();
    let arguments = ["call", "oauth", "send", "--input", &input];
    for running in [story.attache.begin(&arguments), story.attache.begin(&arguments)] {
        assert_eq!(running.ended().json()["status"], 200);
    }
    assert_eq!(story.oidc.tokens("refresh_token").len(), 1);
    no_token_was_presented_twice(&story.oidc);
}
