//! Connecting by signing in: against oidc-provider, which is certified, as a person with a browser does it.

use attache_tests::{
    Attache, Browser, Page, Running,
    peers::{Oidc, oidc},
};
use serde_json::{Value, json};

const SECRET: &str = "web-secret-of-the-test";

struct Story {
    attache: Attache,
    oidc: Oidc,
}

/// The connector `oauth` with an app, and a provider.
fn story(config: &Value) -> Story {
    let (mut attache, oidc) = (Attache::new(env!("CARGO_BIN_EXE_attache-under-test")), oidc(config));
    attache.add("oauth");
    attache.set("WEB_SECRET", SECRET);
    let base = oidc.peer.base();
    let set = ["app", "set", "oauth", "--client-id", "web", "--client-secret", "env:WEB_SECRET", "--origin", &base];
    attache.run(&set).done();
    Story { attache, oidc }
}

impl Story {
    fn arguments(&self, option: &str) -> Vec<String> {
        let base = self.oidc.peer.base();
        let set = [format!("base={base}"), format!("issuer={base}")];
        ["connect", "oauth", "--auth", option, "--set", &set[0], "--set", &set[1], "--allow-private"]
            .into_iter()
            .map(str::to_owned)
            .chain([self.oidc.peer.authority()])
            .collect()
    }

    fn begin(&self, option: &str, more: &[&str]) -> Running {
        let arguments = self.arguments(option);
        let all: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.attache.begin(&all)
    }

    /// Connects as a person does: opens the link, agrees, signs in, allows.
    #[track_caller]
    fn connect(&self, option: &str, more: &[&str]) -> Page {
        let mut running = self.begin(option, more);
        let link = running.said("http://127.0.0.1");
        let (browser, page) = at_provider(&link);
        let last = browser.submit(&page, &[("decision", "yes")]);
        let out = running.ended().done();
        assert!(out.contains("Connected `oauth`: jo."), "{out}");
        last
    }

    fn send(&self, path: &str) -> Value {
        self.attache.call("oauth", "send", &json!({ "url": format!("{}{path}", self.oidc.peer.base()) }))
    }
}

/// Opens a link and agrees, which leads to the provider's own page.
#[track_caller]
fn at_provider(link: &str) -> (Browser, Page) {
    let browser = Browser::new();
    let page = browser.open(link);
    assert_eq!(page.status, 200, "{}", page.html);
    let provider = browser.submit(&page, &[]);
    assert!(provider.url.path().starts_with("/interaction/"), "{} {}", provider.url, provider.html);
    (browser, provider)
}

#[test]
fn a_person_signs_in_with_a_browser_and_calls_work_from_then_on() {
    let story = story(&json!({}));
    let last = story.connect("discovered", &[]);
    assert!(last.html.contains("Connected") && last.html.contains("jo"), "{}", last.html);
    let seen = story.send("/api/me");
    assert_eq!(seen["status"], 200, "{seen}");
    let codes = story.oidc.tokens("authorization_code");
    assert_eq!((codes.len(), &codes[0].0["status"]), (1, &json!(200)));
    let listed = story.attache.run(&["connection", "list"]).done();
    assert!(listed.contains("jo") && listed.contains("connected"), "{listed}");
}
