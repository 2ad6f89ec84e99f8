//! Connections to a service that are kept open are a connection's own, and end when it does: the service sees that they are closed.

use std::os::unix::net::UnixStream;

use attache::consent::Isolation;
use attache_tests::{
    Attache, Embedded, Running,
    service::{Service, answer, ok},
};
use serde_json::json;

use crate::{connect, hostile::BOTH, machine, mcp::soon, serving, with_echo};

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

/// Calls over what is kept, then demands that `end` closes what `mine` keeps and nothing else.
fn closes(end: impl Fn(&Embedded, &Service)) {
    for isolation in BOTH {
        let (embedded, service) = two(isolation);
        let accepted = service.connections().0;
        for name in ["mine", "theirs", "mine", "theirs"] {
            call(&embedded, &service, name);
        }
        assert_eq!(service.connections().0, accepted, "what is kept is used");
        let ended = service.connections().1;
        end(&embedded, &service);
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
    for end in [&["consent", "revoke", "http"][..], &["connection", "remove", "http", "--yes"]] {
        let service = Service::start(|request| match request.line.contains("/busy") {
            true => answer(429, &[("Retry-After", "4")], "later"),
            false => ok("jo"),
        });
        let mut attache = machine();
        attache.add("http");
        attache.set("SECRET", "story-password-5e4a");
        let (_host, _) = serving::serve(&attache, &[]);
        let (base, allowed) = (format!("base-url={}/", service.base()), service.authority());
        let fixed = ["connect", "http", "--auth", "basic", "--set", &base, "--set", "username=jo", "--yes"];
        let typed = ["--secret", "password=env:SECRET", "--allow-private", &allowed];
        attache.run(&[&fixed[..], &typed].concat()).done();
        let calling = attache.begin(&["call", "http", "get", "--input", &json!({ "path": "/busy" }).to_string()]);
        let asked = || service.received().iter().filter(|it| it.line.contains("/busy")).count();
        soon("the service was never asked", || asked() == 1);
        attache.run(end).done();
        calling.ended().refused(4, "was ended or connected anew");
        assert_eq!(asked(), 1, "{end:?}");
    }
}
