//! Calls, renewals and sign-ins, and what failed of each: in the console's charts, in the audit and in the metrics.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use attache_tests::{
    Attache, Browser,
    service::Service,
    simulate::{CLIENT, Simulated},
};
use serde_json::json;

use crate::{
    connect,
    console::{Console, page, shows},
    oauth::CALLBACK,
    with_echo,
};

/// Signs in at a provider, whatever comes of it.
fn sign_in(attache: &Attache, provider: &Simulated, name: &str) -> attache_tests::Outcome {
    let set = ["base", "issuer"].map(|parameter| format!("{parameter}={}", provider.url()));
    let what = ["connect", "oauth", "--name", name, "--auth", "plain", "--set", &set[0], "--set", &set[1]];
    let mut running =
        attache.begin(&[&what[..], &["--allow-private", provider.authority(), "--timeout", "60"]].concat());
    let browser = Browser::new();
    let page = browser.open(&running.said(CALLBACK));
    browser.submit(&page, &[]);
    running.ended()
}

/// A host after three sign-ins, and two that failed; after five calls, and one that failed; after two renewals, and two that
/// failed, one of them for good.
fn story() -> Console {
    let (provider, service) =
        (Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &["--approve"]), Service::plain());
    let mut attache = with_echo();
    connect(&attache, "header", &service, &[]).done();
    attache.set("SECRET", CLIENT.1);
    attache.add("oauth");
    let app = ["app", "set", "oauth", "--client-id", CLIENT.0, "--client-secret", "env:SECRET", "--origin"];
    attache.run(&[&app[..], &[provider.url()]].concat()).done();
    let fails = |grant: &str, status: u16| {
        let (headers, body) = (json!({ "retry-after": "0" }), json!({ "error": "invalid_grant" }));
        let act = json!({ "endpoint": "token", "grant": grant, "status": status, "headers": headers, "body": body });
        provider.next(&act);
    };
    fails("authorization_code", 503);
    sign_in(&attache, &provider, "nobody").refused(6, "503");
    fails("authorization_code", 400);
    sign_in(&attache, &provider, "nobody").refused(4, "invalid_grant");
    for name in ["one", "another", "third"] {
        sign_in(&attache, &provider, name).done();
    }

    let console = Console::of(attache);
    console.attache.try_call("echo", "fail", &json!({ "with": "other" })).refused(7, "The connector failed");
    let me = |name: &str| console.attache.call(name, "send", &json!({ "url": format!("{}/api/me", provider.url()) }));
    // The service refuses the token, so that it is renewed.
    let refused = |name: &str| {
        provider.next(&json!({ "endpoint": "api", "status": 401 }));
        me(name)
    };
    assert_eq!(refused("one")["status"], 200);
    fails("refresh_token", 503);
    assert_eq!(refused("another")["error"], "unreachable");
    assert_eq!(refused("another")["status"], 200);
    fails("refresh_token", 400);
    assert_eq!(refused("third")["error"], "needs-reconnect");
    // Nobody is asked any longer, so that this is a call and no renewal.
    assert_eq!(me("third")["error"], "needs-reconnect");
    console
}

#[test]
fn the_console_charts_calls_renewals_and_sign_ins_and_what_failed_of_each() {
    let seen = story().go("console-charts", true, &[json!({ "unfold": "As a table" }), json!({ "look": "overview" })]);
    shows(&seen, "overview", &["Calls 5 done 1 failed", "Renewals 2 done 2 failed", "Sign-ins 3 done 2 failed"]);
    // Each picture has its numbers in a table; all happened in the last hour, or across its beginning.
    let html = page(&seen, "overview")["html"].as_str().unwrap();
    for (chart, in_all) in [("Calls", [5, 1]), ("Renewals", [2, 2]), ("Sign-ins", [3, 2])] {
        let (_, table) = html.split_once(&format!("aria-label=\"{chart}\"")).unwrap();
        let (table, _) = table.split_once("</table>").unwrap();
        assert!(table.contains("<th scope=\"col\">done</th><th scope=\"col\">failed</th>"), "{table}");
        let cells = |row: &str| -> Vec<u64> {
            row.split("<td>").skip(1).map(|cell| cell.split_once('<').unwrap().0.parse().unwrap()).collect()
        };
        let rows: Vec<Vec<u64>> = table.split("<tr>").skip(2).map(cells).collect();
        assert_eq!(rows.len(), 24, "{table}");
        assert_eq!([0, 1].map(|column| rows.iter().map(|row| row[column]).sum::<u64>()), in_all, "{table}");
    }
}

#[test]
fn the_audit_and_the_metrics_tell_a_renewal_from_a_sign_in_and_what_is_for_good_from_what_may_pass() {
    let console = story();
    for (event, times, reason) in [
        ("signed-in", 3, ""),
        ("sign-in-failed", 1, "503"),
        ("sign-in-refused", 1, "invalid_grant"),
        ("renewed", 2, ""),
        ("renewal-failed", 1, "503"),
        ("renewal-refused", 1, "invalid_grant"),
    ] {
        let lines = console.attache.run(&["audit", "list", "--output", "json", "--event", event]).json();
        assert_eq!(lines.as_array().unwrap().len(), times, "{event}: {lines}");
        assert!(lines[0]["reason"].as_str().unwrap_or_default().contains(reason), "{event}: {lines}");
    }
    let mut socket = UnixStream::connect(console.attache.data().join("attache.sock")).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    socket.read_to_string(&mut metrics).unwrap();
    // Who signed in did so before this host ran.
    for line in [
        "attache_sign_ins_total{outcome=\"done\"} 0",
        "attache_renewals_total{outcome=\"done\"} 2",
        "attache_renewals_total{outcome=\"refused\"} 1",
        "attache_renewals_total{outcome=\"failed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
