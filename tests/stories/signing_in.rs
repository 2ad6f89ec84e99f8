//! Connections that sign in: what was typed becomes something short-lived, which is kept good and never shown.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use attache::{Kind, consent::Isolation};
use attache_tests::{
    Attache, Canary, Embedded,
    service::{Received, Service, answer},
};
use serde_json::{Value, json};

use crate::refreshing::since;

const PASSWORD: &str = "a-password-that-is-long";

/// Signs anybody in whose password is right, with a token that says how many there were before, and demands the newest.
#[derive(Default)]
struct State {
    issued: AtomicU64,
    refreshed: AtomicU64,
    /// What the service answers to a sign-in instead, if not 0.
    refuses: AtomicU64,
    expires_in: AtomicU64,
}

fn service(state: &Arc<State>) -> Service {
    let state = state.clone();
    Service::start(move |request| respond(&state, request))
}

fn respond(state: &State, request: &Received) -> Vec<u8> {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let refuses = state.refuses.load(Ordering::SeqCst);
    let newest = || format!("token-number-{}", state.issued.load(Ordering::SeqCst));
    let issue = |more: Value| {
        let number = state.issued.fetch_add(1, Ordering::SeqCst) + 1;
        let mut content = json!({ "token": format!("token-number-{number}") });
        content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if state.expires_in.load(Ordering::SeqCst) > 0 {
            content["expires_in"] = state.expires_in.load(Ordering::SeqCst).into();
        }
        answer(
            200,
            &[
                ("X-Region", "north"),
                ("Content-Type", "application/json"),
                ("Set-Cookie", "sid=cookie-value-1; HttpOnly"),
            ],
            &content.to_string(),
        )
    };
    let path = request.line.split(' ').nth(1).unwrap();
    match path {
        "/login" | "/refresh" | "/xml" | "/json" if refuses > 0 => answer(u16::try_from(refuses).unwrap(), &[], "no"),
        "/login" if body == format!("user=jo&password={PASSWORD}") => issue(json!({ "refresh": "a-refresh-token" })),
        "/refresh" if body == "refresh=a-refresh-token" => {
            state.refreshed.fetch_add(1, Ordering::SeqCst);
            issue(json!({}))
        }
        "/json" if body == format!("{{\"user\":\"jo\",\"nested\":{{\"password\":\"{PASSWORD}\"}}}}") => {
            issue(json!({}))
        }
        "/xml" if body == format!("<login><user>jo</user><password>{PASSWORD}</password></login>") => {
            answer(200, &[("Content-Type", "text/xml")], "<answer><ticket>the-xml-ticket</ticket></answer>")
        }
        "/login" | "/refresh" | "/xml" | "/json" => answer(401, &[], "wrong"),
        _ if request.header("authorization") == Some(&format!("Bearer {}", newest())) => answer(200, &[], "jo"),
        _ if request.header("cookie") == Some("sid=cookie-value-1") => answer(200, &[], "jo"),
        _ if request.header("x-ticket") == Some("the-xml-ticket") => answer(200, &[], "jo"),
        _ => answer(401, &[], "who are you?"),
    }
}

fn connect(embedded: &Embedded, option: &str, service: &Service) -> Result<(), attache::Error> {
    embedded.connect("me", option, service, &[("user", "jo"), ("!password", PASSWORD)]).map(drop)
}

fn signed_in(option: &str, state: &Arc<State>) -> (Embedded, Service) {
    let (embedded, service) = (Embedded::new("signs-in", Isolation::Call), service(state));
    connect(&embedded, option, &service).unwrap();
    (embedded, service)
}

fn send(embedded: &Embedded, service: &Service, path: &str) -> Value {
    embedded.call("me", "send", json!({ "url": format!("{}{path}", service.base()) })).unwrap()
}

fn sign_ins(service: &Service) -> usize {
    service.received().iter().filter(|request| request.line.contains("/login")).count()
}

#[test]
fn what_was_typed_is_traded_once_for_a_token_that_every_call_carries() {
    for option in ["form", "cookies", "xml", "json"] {
        let state = Arc::default();
        let (embedded, service) = signed_in(option, &state);
        for _ in 0..3 {
            assert_eq!(send(&embedded, &service, "/thing")["status"], 200, "{option}");
        }
        let logins = service.received().iter().filter(|it| it.line.starts_with("POST")).count();
        assert_eq!(logins, 1, "{option}");
    }
}

#[test]
fn the_connector_sees_neither_what_was_typed_nor_what_was_captured() {
    let state = Arc::default();
    let (embedded, _service) = signed_in("refreshed", &state);
    let seen = embedded.call("me", "connection", json!({})).unwrap();
    let visible: Vec<_> = seen["seen"].as_array().unwrap().iter().filter(|pair| !pair[1].is_null()).collect();
    assert_eq!(visible, [&json!(["user", "jo"]), &json!(["region", "north"])]);
    for secret in [PASSWORD, "token-number-1", "a-refresh-token"] {
        assert!(Canary::new(secret).is_not_below(embedded.folder()) > 5);
    }
}

#[test]
fn a_service_cannot_hand_what_was_typed_to_the_connector_in_a_value_that_it_reads() {
    // Regression: `region` is readable, and what stood in it was not looked at.
    for spelling in [PASSWORD.to_owned(), hex::encode(PASSWORD), format!("x-{PASSWORD}"), "token-number-1".to_owned()] {
        let service = Service::start(move |request| match request.line.contains("/login") {
            true => answer(200, &[("X-Region", &spelling)], r#"{"token": "token-number-1"}"#),
            false => answer(200, &[], "jo"),
        });
        let embedded = Embedded::new("signs-in", Isolation::Call);
        let refused = connect(&embedded, "form", &service).unwrap_err();
        assert!(refused.message().contains("has a secret in `region`"), "{refused}");
        assert!(!refused.message().contains(PASSWORD));
    }
}

#[test]
fn the_connector_does_not_sign_in_itself() {
    let state = Arc::default();
    let (embedded, service) = signed_in("refreshed", &state);
    for path in ["/login", "/LOGIN/", "/%6cogin", "//login?x=1", "/x/%2e%2e/refresh"] {
        let seen = send(&embedded, &service, path);
        assert_eq!(seen["error"], "denied", "{path}: {seen}");
        assert!(seen["sentence"].as_str().unwrap().contains("only the host does"), "{seen}");
    }
    assert_eq!(sign_ins(&service), 1);
}

#[test]
fn no_attachment_completes_the_address_of_a_sign_in() {
    // Regression: a URL was judged before anything was put before its path or into its query.
    for (isolation, (option, path, signs_in)) in [Isolation::Call, Isolation::Connection]
        .into_iter()
        .flat_map(|it| [("in-path", "/login", "/oauth/login"), ("in-query", "/", "/?do=login")].map(|all| (it, all)))
    {
        let service = Service::start(|request| match request.line.starts_with("POST") {
            true => answer(200, &[("X-Region", "north")], r#"{"token": "token-number-1"}"#),
            false => answer(200, &[], "jo"),
        });
        let embedded = Embedded::new("signs-in", isolation);
        connect(&embedded, option, &service).unwrap();
        let asked = || service.received().iter().filter(|it| it.line.contains(signs_in)).count();
        let before = asked();
        for method in ["GET", "POST"] {
            let input = json!({ "url": format!("{}{path}", service.base()), "method": method });
            let seen = embedded.call("me", "send", input).unwrap();
            assert_eq!(seen["error"], "denied", "{option}: {seen}");
            assert!(seen["sentence"].as_str().unwrap().contains("only the host does"), "{seen}");
        }
        assert_eq!(asked(), before, "{option}");
        assert_eq!(send(&embedded, &service, "/other")["status"], 200, "{option}");
    }
}

#[test]
fn what_a_service_kept_does_not_come_back_with_a_later_answer() {
    // Regression: only what a request itself carried was masked in its answer.
    let service = Service::start(|request| {
        let back = format!("{PASSWORD} {} token-number-1", hex::encode(PASSWORD));
        match request.line.starts_with("POST") {
            true => answer(200, &[("X-Region", "north")], r#"{"token": "token-number-1"}"#),
            false => answer(200, &[("X-Back", &back)], &back),
        }
    });
    for isolation in [Isolation::Call, Isolation::Connection] {
        let embedded = Embedded::new("signs-in", isolation);
        connect(&embedded, "form", &service).unwrap();
        for attach in [true, false] {
            let input = json!({ "url": format!("{}/later", service.base()), "attach": attach });
            let seen = embedded.call("me", "send", input).unwrap();
            assert_eq!(seen["status"], 200, "{seen}");
            for secret in [PASSWORD, "token-number-1"] {
                Canary::new(secret).is_not_in("what the connector sees", seen.to_string().as_bytes());
            }
        }
    }
}

#[test]
fn a_token_that_is_refused_is_renewed_once_and_the_request_repeated() {
    let state: Arc<State> = Arc::default();
    let (embedded, service) = signed_in("form", &state);
    // The service forgets the token that it gave.
    state.issued.fetch_add(1, Ordering::SeqCst);
    assert_eq!(send(&embedded, &service, "/thing")["status"], 200);
    assert_eq!(sign_ins(&service), 2);
    // What it refuses for another reason stays refused, and is asked once more only.
    let before = service.received().len();
    state.issued.fetch_add(10, Ordering::SeqCst);
    state.refuses.store(503, Ordering::SeqCst);
    let seen = send(&embedded, &service, "/thing");
    assert_eq!(seen["error"], "unreachable", "{seen}");
    assert_eq!(service.received().len() - before, 2, "the request, and one try to sign in");
}

#[test]
fn a_dry_run_does_not_even_sign_in() {
    let state: Arc<State> = Arc::default();
    state.expires_in.store(1, Ordering::SeqCst);
    let (embedded, service) = signed_in("form", &state);
    let before = service.received().len();
    let input = json!({ "url": format!("{}/thing", service.base()) });
    let until = std::time::Instant::now() + std::time::Duration::from_millis(1_200);
    while std::time::Instant::now() < until {
        let shown = embedded.dry_run("me", "send", input.clone()).unwrap();
        assert_eq!(shown.attached, ["header authorization"]);
    }
    assert_eq!(service.received().len(), before);
}

#[test]
fn many_calls_at_once_sign_in_once() {
    let state: Arc<State> = Arc::default();
    let (embedded, service) = signed_in("form", &state);
    state.issued.fetch_add(1, Ordering::SeqCst);
    let input = json!({ "url": format!("{}/thing", service.base()) });
    let ended = embedded.call_at_once(20, "me", "send", &input);
    assert!(ended.iter().all(|seen| seen.as_ref().unwrap()["status"] == 200), "{ended:?}");
    assert_eq!(sign_ins(&service), 2);
}

#[test]
fn a_token_that_runs_out_is_renewed_before_it_is_used() {
    let state: Arc<State> = Arc::default();
    state.expires_in.store(1, Ordering::SeqCst);
    let (embedded, service) = signed_in("refreshed", &state);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while state.refreshed.load(Ordering::SeqCst) == 0 {
        assert_eq!(send(&embedded, &service, "/thing")["status"], 200);
        assert!(std::time::Instant::now() < until, "it was never refreshed");
    }
    assert!(
        service
            .received()
            .iter()
            .all(|request| !request.line.contains("/thing") || request.header("authorization").is_some())
    );
    assert_eq!(sign_ins(&service), 1, "the refresh steps are used, not the password");
}

#[test]
fn a_refresh_that_is_refused_falls_back_to_what_was_typed() {
    let state: Arc<State> = Arc::default();
    let (embedded, service) = signed_in("refreshed", &state);
    let refuse_refresh = json!({ "url": format!("{}/thing", service.base()) });
    state.issued.fetch_add(1, Ordering::SeqCst);
    embedded.call("me", "send", refuse_refresh.clone()).unwrap();
    assert_eq!((state.refreshed.load(Ordering::SeqCst), sign_ins(&service)), (1, 1));
}

#[test]
fn a_sign_in_that_is_refused_is_not_tried_again_until_somebody_connects_anew() {
    let state: Arc<State> = Arc::default();
    let (embedded, service) = signed_in("form", &state);
    state.issued.fetch_add(1, Ordering::SeqCst);
    state.refuses.store(403, Ordering::SeqCst);
    let input = json!({ "url": format!("{}/thing", service.base()) });
    for _ in 0..3 {
        let seen = embedded.call("me", "send", input.clone()).unwrap();
        assert_eq!(seen["error"], "needs-reconnect", "{seen}");
        assert!(seen["sentence"].as_str().unwrap().contains("answered with status 403"), "{seen}");
    }
    assert_eq!(sign_ins(&service), 2, "an account is not locked by trying");
    state.refuses.store(0, Ordering::SeqCst);
    connect(&embedded, "form", &service).unwrap();
    assert_eq!(send(&embedded, &service, "/thing")["status"], 200);
}

#[test]
fn a_wrong_password_makes_no_connection_and_is_not_repeated() {
    let state = Arc::default();
    let (embedded, service) = (Embedded::new("signs-in", Isolation::Call), service(&state));
    let canary = Canary::new("wrong-password-canary");
    let refused =
        embedded.connect("me", "form", &service, &[("user", "jo"), ("!password", &canary.secret)]).unwrap_err();
    assert_eq!(refused.kind(), Kind::ReconnectNeeded);
    assert!(refused.message().contains("refuses to sign in with what it was given"), "{refused}");
    canary.is_not_in("the refusal", refused.message().as_bytes());
    assert!(embedded.host().book("default").unwrap().connections().unwrap().is_empty());
}

#[test]
fn an_origin_that_the_service_names_is_kept_to() {
    // The first answer names the service itself; a later one another, which its owner has not agreed to.
    let (elsewhere, state) = (Service::plain(), Arc::<State>::default());
    let named = Arc::new(std::sync::Mutex::new(String::new()));
    let service = {
        let (state, named) = (state.clone(), named.clone());
        Service::start(move |request| match request.line.contains("/login") {
            true => {
                let number = state.issued.fetch_add(1, Ordering::SeqCst) + 1;
                let content = json!({ "token": format!("token-number-{number}"), "instance": *named.lock().unwrap() });
                answer(200, &[("X-Region", "north")], &content.to_string())
            }
            false => respond(&state, request),
        })
    };
    *named.lock().unwrap() = service.base();
    let embedded = Embedded::new("signs-in", Isolation::Call);
    connect(&embedded, "located", &service).unwrap();
    assert_eq!(embedded.call("me", "connection", json!({})).unwrap()["audience"], json!([service.base()]));
    assert_eq!(send(&embedded, &service, "/thing")["status"], 200);
    *named.lock().unwrap() = elsewhere.base();
    state.issued.fetch_add(1, Ordering::SeqCst);
    // The call that finds out still goes where it was agreed to; the next is refused.
    let _ = embedded.call("me", "send", json!({ "url": format!("{}/thing", service.base()) }));
    let refused = embedded.call("me", "send", json!({ "url": format!("{}/loot", elsewhere.base()) })).unwrap_err();
    assert_eq!(refused.kind(), Kind::ConsentNeeded);
    assert!(refused.message().contains(&elsewhere.base()), "{refused}");
    assert!(elsewhere.received().is_empty());
}

/// A machine, rather than a host in this process, with a connection that signed in by a form.
fn machine(state: &Arc<State>) -> (Attache, Service) {
    let (mut attache, service) = (crate::machine(), service(state));
    attache.add("signs-in");
    attache.set("PASSWORD", PASSWORD);
    let (base, authority) = (format!("base={}", service.base()), service.authority());
    let set = ["--set", &base, "--set", "user=jo", "--secret", "password=env:PASSWORD", "--allow-private", &authority];
    attache.run(&[&["connect", "signs-in", "--auth", "form", "--yes"], &set[..]].concat()).done();
    assert_eq!(sign_ins(&service), 1);
    (attache, service)
}

/// Calls in so many processes at once, each of which sends so often.
fn call_in_processes(attache: &Attache, service: &Service, processes: usize, times: usize) {
    let input = json!({ "url": format!("{}/thing", service.base()), "times": times }).to_string();
    let begin = |_| attache.begin(&["call", "signs-in", "send", "--input", &input]);
    for running in (0..processes).map(begin).collect::<Vec<_>>() {
        assert_eq!(running.ended().json()["status"], 200);
    }
}

#[test]
fn a_token_is_kept_sealed_and_used_by_one_process_after_the_other() {
    let state: Arc<State> = Arc::default();
    let (attache, service) = machine(&state);
    call_in_processes(&attache, &service, 4, 4);
    assert_eq!(sign_ins(&service), 1, "every process found the token that the first one got");
    let sent: Vec<_> = service.received().into_iter().filter(|it| it.line.contains("/thing")).collect();
    assert_eq!(sent.len(), 16);
    assert!(sent.iter().all(|it| it.header("authorization") == Some("Bearer token-number-1")));
    for secret in [PASSWORD, "token-number-1"] {
        assert!(Canary::new(secret).is_not_below(&attache.data()) > 5);
    }
}

#[test]
fn processes_on_one_data_directory_renew_one_at_a_time() {
    let state: Arc<State> = Arc::default();
    state.expires_in.store(2, Ordering::SeqCst);
    let (attache, service) = machine(&state);
    // The first has run out, and what comes next lasts.
    let connected = Instant::now();
    state.expires_in.store(0, Ordering::SeqCst);
    since(connected, Duration::from_millis(2_100));
    call_in_processes(&attache, &service, 4, 8);
    assert_eq!(sign_ins(&service), 2, "at its end");
    for round in 3..=6 {
        // The service forgets the token that it gave.
        state.issued.fetch_add(1, Ordering::SeqCst);
        call_in_processes(&attache, &service, 2, 8);
        assert_eq!(sign_ins(&service), round, "when it was refused");
    }
}
