//! A connection that is made anew while it is used: whoever calls finds what it was or what it is, and not half of each.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use attache::{Kind, consent::Isolation};
use attache_tests::{Embedded, service::Service};
use serde_json::json;

use crate::KEY;

// Regression: what it was, read together with the consent to what it is, looked like something that nobody had agreed to.
#[test]
fn nobody_who_calls_meanwhile_is_told_that_its_owner_has_not_agreed() {
    let services = [Service::plain(), Service::plain()];
    let embedded = Embedded::new("echo", Isolation::Call);
    let connect = |service| embedded.connect("mine", "header", service, &[("!key", KEY)]).unwrap();
    connect(&services[0]);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                // Refused once the connection is ready to be used, so that many are made ready.
                let refused = embedded.call("mine", "send", json!({})).unwrap_err();
                assert_eq!(refused.kind(), Kind::InvalidInput, "{refused}");
            }
        });
        for service in services.iter().cycle().skip(1).take(40) {
            connect(service);
        }
        is_done.store(true, Ordering::Relaxed);
    });
}
