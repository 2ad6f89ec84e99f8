//! Connections to a service that are kept open are a connection's own, and end when it does: the service sees that they are closed.

use std::{
    os::unix::net::UnixStream,
    sync::{Mutex, mpsc},
    thread,
};

use attache::{Kind, connect::Ended, consent::Isolation, transport::PrivateAllowed};
use attache_tests::{
    Attache, Embedded, Running,
    service::{Service, answer, ok},
    simulate::{CLIENT, Simulated},
};
use serde_json::json;

use crate::{connect, hostile::BOTH, machine, mcp::soon, serving, with_echo};

const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");

/// How many connections are open at a service.
fn open(service: &Service) -> usize {
    let (accepted, ended) = service.connections();
    accepted - ended
}

/// A host with two connections that keep one network connection each.
fn two(isolation: Isolation) -> (Embedded, Service) {
    let service = Service::plain();
    let embedded = Embedded::new("echo", isolation);
    for name in ["mine", "theirs"] {
        embedded.connect(name, "header", &service, &[("!key", "story-key-8f1c02")]).unwrap();
        call(&embedded, &service, name);
    }
    soon("a connection was not kept, or too many were", || open(&service) == 2);
    (embedded, service)
}

#[track_caller]
fn call(embedded: &Embedded, service: &Service, name: &str) {
    assert_eq!(embedded.call(name, "send", json!({ "url": service.base() })).unwrap()["status"], 200);
}

/// The same for connections that were signed in at a provider elsewhere.
fn two_signed_in(isolation: Isolation) -> ((Embedded, Service), Simulated) {
    two_signed_in_for(isolation, Service::plain())
}

fn two_signed_in_for(isolation: Isolation, service: Service) -> ((Embedded, Service), Simulated) {
    let simulated = Simulated::start(BINARY, &["--approve"]);
    let embedded = Embedded::new("oauth", isolation);
    embedded.set_app(CLIENT, simulated.url());
    for name in ["mine", "theirs"] {
        sign_in(&embedded, name, &service, &simulated);
        call(&embedded, &service, name);
    }
    soon("a connection was not kept, or too many were", || open(&service) == 2);
    ((embedded, service), simulated)
}

fn sign_in(embedded: &Embedded, name: &str, service: &Service, simulated: &Simulated) {
    let mut request = embedded.request(name, "plain").unwrap();
    request.private = PrivateAllowed::parse([&*service.authority(), simulated.authority()]).unwrap();
    let (base, issuer) = (("base".into(), service.base()), ("issuer".into(), simulated.url().into()));
    request.parameters = [base, issuer].into();
    let proposal = embedded.block_on(embedded.host().propose_connection(request)).unwrap();
    embedded.go_through(proposal, |_, page| page).unwrap();
}

/// Calls over what is kept, then demands that `end` closes what `mine` keeps and nothing else.
fn closes(end: impl Fn(&Embedded, &Service)) {
    closes_of(|isolation| (two(isolation), ()), |embedded, service, ()| end(embedded, service));
}

fn closes_of<T: Sync>(two: impl Fn(Isolation) -> ((Embedded, Service), T), end: impl Fn(&Embedded, &Service, &T)) {
    for isolation in BOTH {
        let ((embedded, service), provider) = two(isolation);
        let accepted = service.connections().0;
        for name in ["mine", "theirs", "mine", "theirs"] {
            call(&embedded, &service, name);
        }
        assert_eq!(service.connections().0, accepted, "what is kept is used");
        let ended = service.connections().1;
        end(&embedded, &service, &provider);
        soon("the service was never told", || service.connections().1 > ended);
        let accepted = service.connections().0;
        call(&embedded, &service, "theirs");
        assert_eq!(service.connections(), (accepted, ended + 1), "another's connection was closed too");
    }
}

#[test]
fn removing_a_connection_closes_what_it_keeps_open() {
    closes(|embedded, _| {
        embedded.block_on(embedded.host().remove_connection("default", "mine", "tester")).unwrap();
    });
}

#[test]
fn revoking_a_consent_closes_what_its_connection_keeps_open() {
    closes(|embedded, _| {
        embedded.block_on(embedded.host().revoke_consent("default", "mine", "tester")).unwrap();
    });
}

/// The ways of ending a connection, as the command line has them.
const ENDS: [fn(&Embedded) -> Ended; 2] = [
    |embedded| embedded.block_on(embedded.host().remove_connection("default", "mine", "tester")).unwrap(),
    |embedded| embedded.block_on(embedded.host().revoke_consent("default", "mine", "tester")).unwrap(),
];

#[test]
fn ending_a_connection_that_was_signed_in_closes_what_it_keeps_open_before_the_provider_has_answered() {
    for end in ENDS {
        closes_of(two_signed_in, |embedded, service, simulated| {
            simulated.next(&json!({ "endpoint": "revoke", "times": 1, "hold": "before" }));
            let ended = service.connections().1;
            thread::scope(|scope| {
                let ending = scope.spawn(|| end(embedded));
                simulated.wait_until_held(1);
                soon("what it kept open was left open", || service.connections().1 > ended);
                let refused = embedded.call("mine", "send", json!({ "url": service.base() })).unwrap_err();
                assert_eq!(refused.kind(), Kind::ConsentNeeded, "{refused}");
                simulated.release();
                assert_eq!(ending.join().unwrap().upstream.unwrap().name(), "revoked");
            });
            let hints: Vec<_> =
                simulated.asked("revoke").iter().map(|it| it["asked"]["token_type_hint"][0].clone()).collect();
            assert_eq!(hints, ["refresh_token", "access_token"]);
        });
    }
}

#[test]
fn calls_that_are_under_way_are_given_no_token_once_the_connection_that_was_signed_in_has_ended() {
    // Regression: requests were cut off before the connection counted as ended, so that a connector that sent its own again
    // at once was let through. Many at a time, since it takes a moment.
    for (isolation, end) in BOTH.into_iter().flat_map(|isolation| ENDS.map(|end| (isolation, end))) {
        let (let_go, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let service = Service::start(move |request| {
            if request.line.contains("/held") {
                let _ = held.lock().unwrap().recv();
            }
            ok("jo")
        });
        let ((embedded, service), simulated) = two_signed_in_for(isolation, service);
        let asked = || service.received().iter().filter(|it| it.line.contains("/held")).count();
        let input = json!({ "url": format!("{}/held", service.base()), "times": 3 });
        thread::scope(|scope| {
            let calling = [(); 8].map(|()| scope.spawn(|| embedded.call("mine", "send", input.clone())));
            soon("the service was not asked by each", || asked() == calling.len());
            end(&embedded);
            drop(let_go);
            for seen in calling.map(|it| it.join().unwrap()) {
                let said = seen.map_or_else(|error| error.to_string(), |seen| seen.to_string());
                assert!(said.contains("was ended or connected anew"), "{said}");
            }
        });
        assert_eq!(asked(), 8, "nothing more was sent");
        assert!(simulated.tokens("refresh_token").is_empty());
        call(&embedded, &service, "theirs");
    }
}

#[test]
fn connecting_again_closes_what_was_kept_open_with_the_credential_before() {
    closes(|embedded, service| {
        embedded.connect("mine", "header", service, &[("!key", "another-key-77d0")]).unwrap();
        let before = service.received().len();
        call(embedded, service, "mine");
        let received = &service.received()[before..];
        assert_eq!(received[0].header("x-api-key"), Some("another-key-77d0"));
    });
}

/// A host that runs, with one connection that keeps a network connection.
fn running(service: &Service) -> (Attache, Running) {
    let mut attache = with_echo();
    attache.set("OTHER_KEY", "another-key-77d0");
    let host = attache.begin(&["serve", "--listen", "127.0.0.1:0"]);
    soon("it never listened", || UnixStream::connect(attache.data().join("attache.sock")).is_ok());
    connect(&attache, "header", service, &[]).done();
    assert_eq!(attache.call("echo", "send", &json!({ "url": service.base() }))["status"], 200);
    soon("a connection was not kept, or too many were", || open(service) == 1);
    (attache, host)
}

#[test]
fn a_host_that_runs_closes_what_is_kept_open_when_the_command_line_ends_or_replaces_it() {
    for command in [
        &["connection", "remove", "echo", "--yes"][..],
        &["consent", "revoke", "echo"],
        &["connection", "reconnect", "echo", "--secret", "key=env:OTHER_KEY", "--yes"],
    ] {
        let service = Service::plain();
        let (attache, mut host) = running(&service);
        let ended = service.connections().1;
        attache.run(command).done();
        soon("the service was never told", || service.connections().1 > ended);
        host.kill();
    }
}

#[test]
fn a_call_that_is_to_be_made_again_is_not_once_its_consent_was_taken_back() {
    // Regression: what was typed was attached again by a call that waited, as the service had asked it to.
    let ends = [&["consent", "revoke", "http"][..], &["connection", "remove", "http", "--yes"]];
    // Side by side, since all of it is waiting.
    thread::scope(|scope| {
        for end in ends {
            scope.spawn(move || is_not_made_again(end, connect_by_password));
            scope.spawn(move || {
                let simulated = Simulated::start(BINARY, &[]);
                is_not_made_again(end, |attache, service| sign_in_as_an_app(attache, service, &simulated));
            });
        }
    });
}

fn connect_by_password(attache: &Attache, service: &Service) {
    let (base, allowed) = (format!("base-url={}/", service.base()), service.authority());
    let fixed = ["connect", "http", "--auth", "basic", "--set", &base, "--set", "username=jo", "--yes"];
    attache.run(&[&fixed[..], &["--secret", "password=env:SECRET", "--allow-private", &allowed]].concat()).done();
}

fn sign_in_as_an_app(attache: &Attache, service: &Service, simulated: &Simulated) {
    let (base, allowed) = (format!("base-url={}/", service.base()), service.authority());
    let app = ["app", "set", "http", "--client-id", CLIENT.0, "--client-secret", "env:CLIENT", "--origin"];
    attache.run(&[&app[..], &[simulated.url()]].concat()).done();
    let issuer = format!("issuer={}", simulated.url());
    let fixed = ["connect", "http", "--auth", "oauth2", "--client-credentials", "--set", &base, "--set", &issuer];
    let allowed = ["--allow-private", &allowed, "--allow-private", simulated.authority(), "--yes"];
    attache.run(&[&fixed[..], &allowed].concat()).done();
    assert_eq!(simulated.tokens("client_credentials").len(), 1);
}

/// Has a call of a host that runs wait as a busy service asks, and ends its connection meanwhile.
#[track_caller]
fn is_not_made_again(end: &[&str], connect: impl FnOnce(&Attache, &Service)) {
    let service = Service::start(|request| match request.line.contains("/busy") {
        true => answer(429, &[("Retry-After", "4")], "later"),
        false => ok("jo"),
    });
    let mut attache = machine();
    attache.add("http");
    attache.set("SECRET", "story-password-5e4a").set("CLIENT", CLIENT.1);
    let (_host, _) = serving::serve(&attache, &[]);
    connect(&attache, &service);
    let calling = attache.begin(&["call", "http", "get", "--input", &json!({ "path": "/busy" }).to_string()]);
    let asked = || service.received().iter().filter(|it| it.line.contains("/busy")).count();
    soon("the service was never asked", || asked() == 1);
    attache.run(end).done();
    calling.ended().refused(4, "was ended or connected anew");
    assert_eq!(asked(), 1, "{end:?}");
}
