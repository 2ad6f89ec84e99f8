//! Providers that do not say who answers (no `iss`, RFC 9207): an answer that was led astray is known by where it arrives
//! (RFC 9700, 4.4.2).

use attache_tests::{
    Attache, Browser, Page,
    peers::free_port,
    simulate::{CLIENT, Simulated},
};
use serde_json::json;
use url::Url;

use crate::{
    oauth::CALLBACK,
    serving::{RETURN, serve},
};

const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");

/// One that names itself nowhere but in its metadata, and does not say there that it does.
fn quiet() -> Simulated {
    let simulated = Simulated::start(BINARY, &["--approve"]);
    let quiet = json!({ "authorization_response_iss_parameter_supported": null });
    simulated.next(&json!({ "endpoint": "metadata", "times": 100, "merge": quiet }));
    simulated.next(&json!({ "endpoint": "authorize", "times": 100, "merge": { "iss": null } }));
    simulated
}

fn app(attache: &Attache, name: &str, provider: &Simulated, redirect_uri: &str) {
    let fixed = ["app", "set", "oauth", "--name", name, "--client-id", CLIENT.0, "--client-secret", "env:SECRET"];
    attache.run(&[&fixed[..], &["--origin", provider.url(), "--redirect-uri", redirect_uri]].concat()).done();
}

fn host() -> Attache {
    let mut attache = Attache::new(BINARY);
    attache.set("SECRET", CLIENT.1);
    attache.add("oauth");
    attache
}

/// Agrees, and stops where the provider sends the browser.
fn answered(link: &str, callback: &str) -> (Browser, Page) {
    let browser = Browser::that_stops_at(callback);
    let page = browser.open(link);
    let back = browser.submit(&page, &[]);
    assert!(back.url.query().is_some_and(|query| query.contains("code=") && !query.contains("iss=")), "{}", back.url);
    (browser, back)
}

/// The same answer at another path.
fn at(answer: &Url, path: &str) -> String {
    let mut led = answer.clone();
    led.set_path(path);
    led.into()
}

#[test]
fn an_answer_at_the_address_of_another_provider_redeems_nothing() {
    let (attache, honest, other) = (host(), quiet(), quiet());
    let (_host, url) = serve(&attache, &[]);
    let url = url.trim_end_matches('/');
    for (name, provider) in [("honest", &honest), ("other", &other)] {
        app(&attache, name, provider, &format!("{url}/callback/{name}"));
    }
    for (name, provider, elsewhere) in [("honest", &honest, "other"), ("other", &other, "honest")] {
        let set = ["base", "issuer"].map(|parameter| format!("{parameter}={}", provider.url()));
        let link = ["session", "create", "oauth", "--auth", "plain", "--app", name, "--set", &set[0], "--set", &set[1]];
        let link = [&link[..], &["--allow-private", provider.authority(), "--owner", "alice", "--return-url", RETURN]];
        let link = attache.run(&link.concat()).done().trim().to_owned();
        let (browser, back) = answered(&link, &format!("{url}/callback"));
        assert_eq!(back.url.path(), format!("/callback/{name}"));
        let redeemed = || [&honest, &other].map(|provider| provider.tokens("authorization_code").len());
        let before = redeemed();
        for astray in [format!("/callback/{elsewhere}"), "/callback".into(), "/callback/nobody".into()] {
            let refused = browser.look(&at(&back.url, &astray));
            assert_eq!(refused.status, 404, "{name} {astray}: {}", refused.html);
        }
        assert_eq!(redeemed(), before, "{name}");
        let taken = browser.look(back.url.as_str());
        assert_eq!(taken.status, 200, "{name}: {}", taken.html);
        assert_eq!(redeemed().iter().sum::<usize>(), before.iter().sum::<usize>() + 1, "{name}");
    }
}

#[test]
fn a_command_that_waits_listens_at_the_apps_own_address_alone() {
    let (attache, provider, port) = (host(), quiet(), free_port());
    let own = format!("{CALLBACK}:{port}/callback/honest");
    app(&attache, "honest", &provider, &own);
    let set = ["base", "issuer"].map(|parameter| format!("{parameter}={}", provider.url()));
    let connect = ["connect", "oauth", "--auth", "plain", "--set", &set[0], "--set", &set[1], "--timeout", "60"];
    let mut running = attache.begin(&[&connect[..], &["--allow-private", provider.authority()]].concat());
    let (browser, back) = answered(&running.said(CALLBACK), &own);
    for astray in ["/callback", "/callback/other", "/callback/honest/more"] {
        assert_eq!(browser.look(&at(&back.url, astray)).status, 404, "{astray}");
    }
    assert!(provider.tokens("authorization_code").is_empty());
    let last = browser.look(back.url.as_str());
    assert!(last.html.contains("Connected"), "{}", last.html);
    running.ended().done();
}
