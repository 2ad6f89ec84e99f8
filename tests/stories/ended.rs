//! What is left in a host's memory of a connection that ended: nothing.

use std::thread;

use attache::consent::Isolation;
use attache_tests::{Canary, Embedded, memory::found_in_memory, service::Service};
use serde_json::json;

use crate::{
    KEY, machine,
    mcp::{Slow, soon},
    operating::start,
};

// Regression: it rested again after all that rested had been let go, and so it lay in memory until somebody called anything.
#[test]
fn an_instance_whose_connection_ended_meanwhile_rests_no_more() {
    type End = fn(&Embedded, &Slow);
    let ends: [(&str, End); 3] = [
        ("revoked", |it, _| drop(it.block_on(it.host().revoke_consent("default", "mine", "tester")).unwrap())),
        ("removed", |it, _| drop(it.block_on(it.host().remove_connection("default", "mine", "tester")).unwrap())),
        ("connected anew", |it, slow| drop(it.connect("mine", "header", &slow.service, &[("!key", KEY)]).unwrap())),
    ];
    for (what, end) in ends {
        let slow = Slow::start();
        let embedded = Embedded::new("remembers", Isolation::Connection);
        let is_resting = |count| {
            let numbers = embedded.host().metrics().unwrap();
            numbers.lines().any(|line| line == format!("attache_resting_instances {count}"))
        };
        embedded.connect("mine", "header", &slow.service, &[("!key", KEY)]).unwrap();
        embedded.call("mine", "keep", json!({ "text": "what nobody else may know" })).unwrap();
        assert!(is_resting(1), "{what}");
        // It goes on for a while after its request was ended.
        let mut input = slow.input();
        input["times"] = 100.into();
        thread::scope(|scope| {
            let under_way = scope.spawn(|| embedded.call("mine", "send", input));
            slow.asked(1);
            end(&embedded, &slow);
            slow.release();
            under_way.join().unwrap().unwrap();
        });
        assert!(is_resting(0), "{what}");
    }
}

// Regression: they lay there until somebody named the connection again.
#[test]
fn the_secrets_of_a_connection_that_was_used_are_gone_once_its_consent_is_revoked() {
    let service = Service::plain();
    let attache = machine();
    attache.add("echo");
    let base = format!("base={}", service.base());
    let secret = format!("key=file:{}", attache.file("key", KEY));
    let fixed = ["connect", "echo", "--auth", "header", "--set", &base, "--secret", &secret, "--yes"];
    // Before the host runs, which reads the secret from its store alone.
    attache.run(&[&fixed[..], &["--allow-private", &service.authority()]].concat()).done();
    let running = start(attache, &[]);
    let found = || found_in_memory(&Canary::new(KEY), running.host.id());
    assert_eq!(found(), Vec::<String>::new());
    // Refused once the connection is ready to be used, so that nothing else has a copy of it.
    running.attache.try_call("echo", "send", &json!({})).refused(2, "does not fit `send`");
    assert!(!found().is_empty());
    running.attache.run(&["consent", "revoke", "echo"]).done();
    soon("it is still there", || found().is_empty());
}
