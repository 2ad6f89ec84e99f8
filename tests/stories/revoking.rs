//! Ending a connection at a provider that takes its time, or never answers (RFC 7009): what was agreed to ends at once, and what
//! is kept ends whatever the provider does.

use std::thread;

use attache::{Kind, consent::Isolation};
use attache_tests::{
    Attache, Embedded,
    simulate::{CLIENT, Simulated},
};
use serde_json::json;

use crate::oauth::CALLBACK;

const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");

fn hangs(simulated: &Simulated) {
    simulated.next(&json!({ "endpoint": "revoke", "times": 2, "hold": "before" }));
}

#[test]
fn a_provider_that_never_answers_holds_no_end_up() {
    for removed in [false, true] {
        let simulated = Simulated::start(BINARY, &["--approve"]);
        let embedded = Embedded::with("oauth", Isolation::Call, |settings| {
            settings.transport.value.first_byte_seconds = 3;
            settings.transport.value.total_seconds = 3;
        });
        embedded.set_app(CLIENT, simulated.url());
        let made = embedded.sign_in("me", "plain", simulated.url(), |_, page| page).unwrap();
        let me = || embedded.call("me", "send", json!({ "url": format!("{}/api/me", simulated.url()) }));
        assert_eq!(me().unwrap()["status"], 200);
        let called = simulated.asked("api").len();
        hangs(&simulated);
        let host = embedded.host();
        let ended = thread::scope(|scope| {
            let ending = scope.spawn(|| match removed {
                true => embedded.block_on(host.remove_connection("default", "me", "tester")),
                false => embedded.block_on(host.revoke_consent("default", "me", "tester")),
            });
            simulated.wait_until_held(1);
            let refused = me().unwrap_err();
            assert_eq!(refused.kind(), Kind::ConsentNeeded, "while the provider is waited for: {refused}");
            // Nobody lets go of it.
            ending.join().unwrap().unwrap()
        });
        assert_eq!(ended.upstream.unwrap().name(), "failed");
        let book = host.book("default").unwrap();
        let id = made.connection.id;
        assert!(book.credential(id).unwrap().is_none() && book.captured(id).unwrap().is_none(), "nothing is kept");
        assert_eq!(book.find_connection("me").unwrap().is_none(), removed);
        assert_eq!(simulated.asked("api").len(), called, "nothing left with a token");
    }
}

#[test]
fn an_end_that_was_cut_off_holds_and_the_next_command_finishes_it() {
    for end in [&["consent", "revoke", "oauth"][..], &["connection", "remove", "oauth", "--yes"]] {
        let (mut attache, simulated) = (Attache::new(BINARY), Simulated::start(BINARY, &["--approve"]));
        attache.set("SECRET", CLIENT.1);
        attache.add("oauth");
        let app = ["app", "set", "oauth", "--client-id", CLIENT.0, "--client-secret", "env:SECRET", "--origin"];
        attache.run(&[&app[..], &[simulated.url()]].concat()).done();
        let set = ["base", "issuer"].map(|parameter| format!("{parameter}={}", simulated.url()));
        let connect = ["connect", "oauth", "--auth", "plain", "--set", &set[0], "--set", &set[1], "--timeout", "60"];
        let mut running = attache.begin(&[&connect[..], &["--allow-private", simulated.authority()]].concat());
        let browser = attache_tests::Browser::new();
        let page = browser.open(&running.said(CALLBACK));
        browser.submit(&page, &[]);
        running.ended().done();
        hangs(&simulated);
        let mut cut_off = attache.begin(end);
        simulated.wait_until_held(1);
        cut_off.kill();
        simulated.release();
        let url = json!({ "url": format!("{}/api/me", simulated.url()) });
        attache.try_call("oauth", "send", &url).refused(4, "consent");
        let again = thread::scope(|scope| {
            let again = scope.spawn(|| attache.run(end));
            // Held anew, once for each token, until let go of.
            while !again.is_finished() {
                simulated.release();
                thread::yield_now();
            }
            again.join().unwrap()
        });
        again.done();
        let revoked = simulated.asked("revoke").into_iter().filter(|it| it["status"] == 200).count();
        assert!(revoked >= 2, "{:?}", simulated.asked("revoke"));
        let listed = attache.run(&["connection", "list", "--output", "json"]).json();
        assert_eq!(listed.as_array().unwrap().is_empty(), end[0] == "connection", "{listed}");
    }
}
