//! Logins that send a person to a page of the service: what the page brings back is traded for something that calls carry,
//! and only whoever was sent brings it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use attache::{
    Error, Kind,
    connect::{ConnectProposal, Made},
    consent::{CameBack, Isolation},
    secret::Secret,
    transport::PrivateAllowed,
};
use attache_tests::{
    Browser, CALLBACK, Canary, Embedded, came, peers,
    service::{Received, Service, answer},
    simulate::{CLIENT, Simulated},
};
use serde_json::json;
use url::Url;

use crate::machine;

pub(crate) const CONSUMER_SECRET: &str = "the-consumers-secret";
/// What runs out after a second has run out by then.
const WAIT: Duration = Duration::from_secs(20);

/// A service of ours with a page that asks nobody: it sends back at once, as its double of a person decided.
#[derive(Default)]
pub(crate) struct State {
    issued: AtomicU64,
    expires_in: AtomicU64,
    /// The person says no.
    says_no: AtomicBool,
    /// A refresh is taken, and its answer is lost.
    loses_answers: AtomicBool,
    /// What it answers with has the token twice.
    says_twice: AtomicBool,
    /// What the page gives away in the value that the connector reads.
    reflects: AtomicBool,
}

pub(crate) fn service(state: &Arc<State>) -> Service {
    let state = state.clone();
    Service::start(move |request| respond(&state, request))
}

fn respond(state: &State, request: &Received) -> Vec<u8> {
    let url = Url::parse(&format!("http://service{}", request.line.split(' ').nth(1).unwrap())).unwrap();
    let issue = || {
        let number = state.issued.fetch_add(1, Ordering::SeqCst) + 1;
        let mut content =
            json!({ "token": format!("token-number-{number}"), "refresh": format!("renewal-number-{number}") });
        if state.expires_in.load(Ordering::SeqCst) > 0 {
            content["expires_in"] = state.expires_in.load(Ordering::SeqCst).into();
        }
        let mut content = content.to_string();
        if state.says_twice.load(Ordering::SeqCst) {
            content = content.replacen('{', "{\"token\":\"of-somebody-else\",", 1);
        }
        answer(200, &[("Content-Type", "application/json")], &content)
    };
    let issued = || state.issued.load(Ordering::SeqCst);
    let body = String::from_utf8_lossy(&request.body).into_owned();
    match url.path() {
        "/page" => {
            let asked = |name: &str| url.query_pairs().find(|(known, _)| known == name).map(|(_, it)| it.into_owned());
            let mut back = Url::parse(&asked("back").unwrap()).unwrap();
            if let Some(tracking) = asked("tracking") {
                back.query_pairs_mut().append_pair("follow", &tracking);
            }
            let account = if state.reflects.load(Ordering::SeqCst) { CONSUMER_SECRET } else { "jo" };
            match state.says_no.load(Ordering::SeqCst) {
                true => back.query_pairs_mut().append_pair("error", "access_denied"),
                false => back.query_pairs_mut().append_pair("ticket", "the-ticket").append_pair("account", account),
            };
            answer(302, &[("Location", back.as_str())], "")
        }
        "/session" if body == format!("secret={CONSUMER_SECRET}&ticket=the-ticket") => issue(),
        "/refresh" if body == format!("refresh=renewal-number-{}", issued()) => {
            let lost = state.loses_answers.load(Ordering::SeqCst);
            let answered = issue();
            if lost { b"no answer at all\r\n\r\n".to_vec() } else { answered }
        }
        "/session" | "/refresh" => answer(401, &[], "wrong"),
        _ if request.header("authorization") == Some(&format!("Bearer token-number-{}", issued())) => {
            answer(200, &[], "jo")
        }
        _ if request.header("authorization") == Some("Bearer the-ticket") => answer(200, &[], "jo"),
        _ => answer(401, &[], "who are you?"),
    }
}

fn propose(embedded: &Embedded, option: &str, service: &Service) -> ConnectProposal {
    let mut request = embedded.request("me", option).unwrap();
    request.private = PrivateAllowed::parse([service.authority()]).unwrap();
    request.parameters = [("base", service.base()), ("key", "the-consumer".into())].map(|(k, v)| (k.into(), v)).into();
    request.secrets = [("key-secret".to_owned(), Secret::new(CONSUMER_SECRET))].into();
    embedded.block_on(embedded.host().propose_connection(request)).unwrap()
}

fn connect(embedded: &Embedded, option: &str, service: &Service) -> Result<Made, Error> {
    embedded.go_through(propose(embedded, option, service), |_, page| page)
}

fn story(option: &str, change: impl FnOnce(&State)) -> (Embedded, Service, Arc<State>) {
    let state = Arc::<State>::default();
    change(&state);
    let (embedded, service) = (Embedded::new("visits", Isolation::Call), service(&state));
    connect(&embedded, option, &service).unwrap();
    (embedded, service, state)
}

fn send(embedded: &Embedded, service: &Service) -> Result<serde_json::Value, Error> {
    embedded.call("me", "send", json!({ "url": format!("{}/thing", service.base()) }))
}

/// Calls until what was got has run out and there is nothing more to get, and gives the sentence that says so.
#[track_caller]
fn until_refused(embedded: &Embedded, service: &Service) -> String {
    let until = Instant::now() + WAIT;
    loop {
        let seen = send(embedded, service).unwrap();
        if seen["error"] == "needs-reconnect" {
            return seen["sentence"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < until, "it never ran out: {seen}");
    }
}

fn asked(service: &Service, path: &str) -> usize {
    service.received().iter().filter(|request| request.line.contains(path)).count()
}

#[test]
fn three_legged_oauth_1_0a_goes_all_the_way_from_the_command_line() {
    let (mut attache, peer) = (machine(), peers::oauth1());
    attache.add("visits");
    attache.set("KEY_SECRET", CONSUMER_SECRET);
    let base = format!("base={}", peer.base());
    let connect = [
        "connect",
        "visits",
        "--auth",
        "three-legged",
        "--set",
        &base,
        "--set",
        "key=the-consumer",
        "--secret",
        "key-secret=env:KEY_SECRET",
        "--allow-private",
        &peer.authority(),
        "--timeout",
        "60",
    ];
    let begin = || {
        let mut running = attache.begin(&connect);
        let link = running.said("http://127.0.0.1");
        let browser = Browser::new();
        let page = browser.open(&link);
        assert!(page.html.contains(&format!("Agree and sign in at {}", peer.base())), "{}", page.html);
        let provider = browser.submit(&page, &[]);
        assert!(
            provider.url.as_str().starts_with(&format!("{}/authorize?oauth_token=", peer.base())),
            "{}",
            provider.url
        );
        (running, browser, provider)
    };
    let (running, browser, provider) = begin();
    let last = browser.submit(&provider, &[("decision", "no")]);
    assert!(last.html.contains("told not to grant access"), "{}", last.html);
    running.ended().refused(4, "told not to grant access");

    let (running, browser, provider) = begin();
    let last = browser.submit(&provider, &[("decision", "yes")]);
    assert!(last.html.contains("Connected"), "{}", last.html);
    let out = running.ended().done();
    assert!(out.contains("Connected `visits`: jo."), "{out}");
    let url = json!({ "url": format!("{}/check", peer.base()) });
    assert_eq!(attache.call("visits", "send", &url)["status"], 200);
    let seen = attache.call("visits", "connection", &json!({}));
    let visible: Vec<_> =
        seen["seen"].as_array().unwrap().iter().filter(|it| !it[1].is_null()).map(|it| it[0].clone()).collect();
    assert_eq!(visible, ["key", "request-token"], "{seen}");
    attache.run(&["audit", "verify"]).done();
}

#[test]
fn the_connector_sees_nothing_of_what_was_brought_but_what_it_declared_readable() {
    let (embedded, _service, _) = story("kept", |_| {});
    let seen = embedded.call("me", "connection", json!({})).unwrap();
    let visible: Vec<_> = seen["seen"].as_array().unwrap().iter().filter(|it| !it[1].is_null()).collect();
    assert_eq!(visible, [&json!(["key", "the-consumer"]), &json!(["account", "jo"])]);
    for secret in [CONSUMER_SECRET, "the-ticket", "token-number-1", "renewal-number-1"] {
        assert!(Canary::new(secret).is_not_below(embedded.folder()) > 5);
    }
}

#[test]
fn what_a_visit_brought_is_kept_good_by_the_refresh_steps() {
    let (embedded, service, _) = story("kept", |state| state.expires_in.store(1, Ordering::SeqCst));
    let until = Instant::now() + WAIT;
    // A token of one second runs out by itself.
    while asked(&service, "/refresh") == 0 {
        assert_eq!(send(&embedded, &service).unwrap()["status"], 200);
        assert!(Instant::now() < until, "it was never renewed");
    }
    assert_eq!(asked(&service, "/page"), 1, "nobody was sent there again");
}

#[test]
fn without_refresh_steps_only_a_person_gets_it_anew() {
    let (embedded, service, state) = story("once", |state| state.expires_in.store(1, Ordering::SeqCst));
    let sentence = until_refused(&embedded, &service);
    assert!(sentence.contains("only a person"), "{sentence}");
    assert_eq!(asked(&service, "/session"), 1, "what was brought is not presented twice");
    state.expires_in.store(3_600, Ordering::SeqCst);
    connect(&embedded, "once", &service).unwrap();
    assert_eq!(send(&embedded, &service).unwrap()["status"], 200);
}

#[test]
fn a_refresh_whose_answer_is_lost_is_not_asked_for_with_the_same_again() {
    let (embedded, service, state) = story("kept", |state| {
        state.expires_in.store(1, Ordering::SeqCst);
        state.loses_answers.store(true, Ordering::SeqCst);
    });
    let sentence = until_refused(&embedded, &service);
    assert!(sentence.contains("its answer was lost"), "{sentence}");
    state.loses_answers.store(false, Ordering::SeqCst);
    until_refused(&embedded, &service);
    assert_eq!(asked(&service, "/refresh"), 1);
}

#[test]
fn a_page_without_a_place_for_the_state_brings_it_back_in_the_path() {
    let (embedded, service, _) = story("stateless", |_| {});
    assert_eq!(send(&embedded, &service).unwrap()["status"], 200);
    let page = service.received().into_iter().find(|it| it.line.contains("/page")).unwrap();
    assert!(page.line.contains("%2Fcallback%2F"), "{}", page.line);
}

#[test]
fn only_whoever_was_sent_brings_something_back() {
    let state = Arc::<State>::default();
    let (embedded, service) = (Embedded::new("visits", Isolation::Call), service(&state));
    for option in ["once", "stateless"] {
        // What the attacker's own browser brought, and what was made up.
        let theirs = {
            let proposal = propose(&embedded, option, &service);
            let trip = embedded.send_away(&proposal).unwrap();
            came(&Browser::that_stops_at(CALLBACK).open(trip.url.as_str()).url)
        };
        let made_up = CameBack { below: None, query: "ticket=the-ticket&account=jo".into() };
        let elsewhere = CameBack { below: Some("another".into()), query: "ticket=the-ticket&follow=another".into() };
        for forged in [theirs, made_up, elsewhere] {
            let proposal = propose(&embedded, option, &service);
            let trip = embedded.send_away(&proposal).unwrap();
            assert!(!trip.is_named_by(&forged));
            let refused = embedded.arrive(&proposal, trip, forged).err().unwrap();
            assert_eq!(refused.kind(), Kind::Denied, "{option}: {refused}");
        }
    }
    assert_eq!(asked(&service, "/session"), 0, "the service was not asked for anything");
}

#[test]
fn a_page_that_brings_something_twice_brings_nothing() {
    let state = Arc::<State>::default();
    let (embedded, service) = (Embedded::new("visits", Isolation::Call), service(&state));
    // The last of them is its state, which comes back under a name of the page's own.
    let twice =
        ["ticket=another", "ticket=the-ticket", "tick%65t=another", "ticket", "else=1&else=2", "follow=another"];
    for (option, twice) in [("once", &twice[..]), ("stateless", &twice[..5])] {
        for twice in twice {
            let proposal = propose(&embedded, option, &service);
            let trip = embedded.send_away(&proposal).unwrap();
            let mut brought = came(&Browser::that_stops_at(CALLBACK).open(trip.url.as_str()).url);
            brought.query = format!("{}&{twice}", brought.query);
            let refused = embedded.arrive(&proposal, trip, brought).err().expect(twice);
            assert_eq!(refused.kind(), Kind::Denied, "{option} {twice}: {refused}");
        }
    }
    assert_eq!(asked(&service, "/session"), 0, "the service was not asked for anything");
}

#[test]
fn an_answer_that_has_a_token_twice_signs_nobody_in_and_renews_nothing() {
    let state = Arc::<State>::default();
    state.says_twice.store(true, Ordering::SeqCst);
    let (embedded, service) = (Embedded::new("visits", Isolation::Call), service(&state));
    let refused = connect(&embedded, "kept", &service).err().unwrap();
    assert_eq!(refused.kind(), Kind::ReconnectNeeded, "{refused}");
    assert!(refused.message().contains("a member twice"), "{refused}");
    assert!(embedded.host().book("default").unwrap().connections().unwrap().is_empty());
    let (embedded, service, state) = story("kept", |state| state.expires_in.store(1, Ordering::SeqCst));
    state.says_twice.store(true, Ordering::SeqCst);
    let before = asked(&service, "/refresh");
    until_refused(&embedded, &service);
    until_refused(&embedded, &service);
    assert_eq!(asked(&service, "/refresh") - before, 1, "what was used up is not presented again");
}

#[test]
fn whoever_says_no_at_the_page_connects_nothing() {
    let state = Arc::<State>::default();
    state.says_no.store(true, Ordering::SeqCst);
    let (embedded, service) = (Embedded::new("visits", Isolation::Call), service(&state));
    let refused = connect(&embedded, "once", &service).err().unwrap();
    assert_eq!(refused.kind(), Kind::ConsentNeeded, "{refused}");
    assert!(refused.message().contains("access_denied"), "{refused}");
    // Another service says nothing at all.
    let proposal = propose(&embedded, "once", &service);
    let trip = embedded.send_away(&proposal).unwrap();
    let url = trip.url.clone();
    let tracking = url.query_pairs().find(|(name, _)| name == "tracking").unwrap().1.into_owned();
    let silent = CameBack { below: None, query: format!("follow={tracking}") };
    let refused = embedded.arrive(&proposal, trip, silent).err().unwrap();
    assert_eq!(refused.kind(), Kind::ConsentNeeded, "{refused}");
    assert!(refused.message().contains("without `ticket`"), "{refused}");
}

#[test]
fn a_page_cannot_hand_what_was_typed_to_the_connector_in_a_value_that_it_reads() {
    let state = Arc::<State>::default();
    state.reflects.store(true, Ordering::SeqCst);
    let (embedded, service) = (Embedded::new("visits", Isolation::Call), service(&state));
    let refused = connect(&embedded, "once", &service).err().unwrap();
    assert!(refused.message().contains("has a secret in `account`"), "{refused}");
    assert!(!refused.message().contains(CONSUMER_SECRET));
}

#[test]
fn the_connector_does_not_open_the_page_itself() {
    let (embedded, service, _) = story("once", |_| {});
    let url = format!("{}/page?back=http://127.0.0.1:1/callback", service.base());
    let seen = embedded.call("me", "send", json!({ "url": url })).unwrap();
    assert_eq!(seen["error"], "denied", "{seen}");
}

#[test]
fn a_provider_whose_token_requests_no_setting_has_words_for_is_signed_in_at_by_steps() {
    for (quirk, option) in [("token-get", "by-get"), ("token-xml", "by-xml")] {
        let flags = ["--approve", "--quirk", quirk, "--quirk", "no-pkce", "--access-lifetime", "2"];
        let provider = Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &flags);
        let embedded = Embedded::new("visits", Isolation::Call);
        let mut request = embedded.request("me", option).unwrap();
        request.private = PrivateAllowed::parse([provider.authority()]).unwrap();
        request.parameters = [("base", provider.url()), ("key", CLIENT.0)].map(|(k, v)| (k.into(), v.into())).into();
        request.secrets = [("key-secret".to_owned(), Secret::new(CLIENT.1))].into();
        let proposal = embedded.block_on(embedded.host().propose_connection(request)).unwrap();
        embedded.go_through(proposal, |_, page| page).unwrap_or_else(|error| panic!("{option}: {error}"));
        let until = Instant::now() + WAIT;
        while provider.tokens("refresh_token").is_empty() {
            let input = json!({ "url": format!("{}/api/me", provider.url()) });
            assert_eq!(embedded.call("me", "send", input).unwrap()["status"], 200, "{option}");
            assert!(Instant::now() < until, "{option}: it was never renewed");
        }
    }
}
