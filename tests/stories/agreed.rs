//! What signs in goes where the app's operator and the account's owner agreed to, whatever has changed since.

use std::fs;

use attache::{Error, Kind, apps::AppRequest, consent::Isolation, secret::Secret, transport::PrivateAllowed};
use attache_tests::{
    Browser, CALLBACK, Embedded, connector,
    service::{Service, ok},
    simulate::{CLIENT, Simulated},
};
use serde_json::{Value, json};

pub struct Story {
    pub embedded: Embedded,
    pub provider: Simulated,
    /// What the account's owner did not agree to sign in at.
    pub elsewhere: Service,
}

/// A connection `me` whose tokens come from the provider; the API is elsewhere where `apart` says so.
pub fn connected(option: &str, flags: &[&str], apart: bool) -> Story {
    let provider = Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &[&["--approve"], flags].concat());
    let elsewhere = Service::start(|_| ok("jo"));
    let embedded = Embedded::new("oauth", Isolation::Call);
    embedded.set_app(CLIENT, provider.url());
    let mut request = embedded.request("me", option).unwrap();
    request.private = PrivateAllowed::parse([provider.authority(), &elsewhere.authority()]).unwrap();
    let base = if apart { elsewhere.base() } else { provider.url().to_owned() };
    request.parameters = [("base", base), ("issuer", provider.url().to_owned())].map(|(k, v)| (k.into(), v)).into();
    let proposal = embedded.block_on(embedded.host().propose_connection(request)).unwrap();
    let trip = proposal.trip(&CALLBACK.parse().unwrap()).unwrap();
    let page = Browser::that_stops_at(CALLBACK).open(trip.url.as_str());
    embedded.come_back(proposal, trip, page.url.query().unwrap().to_owned()).unwrap();
    Story { embedded, provider, elsewhere }
}

impl Story {
    /// The operator adds a version of the connector whose provider is where the API is.
    pub fn upgrade(&self) {
        let host = self.embedded.host();
        let moved = fs::read(connector("oauth-moved")).unwrap();
        let proposal = self.embedded.block_on(host.propose_connector("default", moved)).unwrap();
        host.approve_connector(&proposal, None, "tester").unwrap();
    }

    /// The app's secrets may go to this origin too, or to no other than this one.
    pub fn app(&self, origin: &str, only: bool) {
        if only {
            self.embedded.host().remove_app("default", "oauth", "oauth", "tester").unwrap();
        }
        let request = AppRequest {
            environment: "default".into(),
            connector: "oauth".into(),
            client_id: Some(CLIENT.0.into()),
            origins: vec![origin.into()],
            secrets: [("client_secret".to_owned(), Secret::new(CLIENT.1))].into(),
            caller: "tester".into(),
            ..AppRequest::default()
        };
        self.embedded.host().set_app(request).unwrap();
    }

    pub fn send(&self, url: &str) -> Result<Value, Error> {
        self.embedded.call("me", "send", json!({ "url": url }))
    }

    /// What became of telling the provider, and why.
    fn revoke(&self) -> (&'static str, String) {
        let ended = self.embedded.block_on(self.embedded.host().revoke_consent("default", "me", "tester")).unwrap();
        let upstream = ended.upstream.unwrap();
        (upstream.name(), format!("{upstream:?}"))
    }

    /// What the service elsewhere was sent beside requests of its API.
    fn sent_elsewhere(&self) -> Vec<String> {
        let received = self.elsewhere.received().into_iter().map(|it| it.line);
        received.filter(|line| !line.starts_with("GET /check ")).collect()
    }
}

#[test]
fn an_upgraded_connector_has_tokens_ended_and_renewed_nowhere_that_the_owner_did_not_agree_to() {
    let story = connected("plain", &[], true);
    story.upgrade();
    // The operator agrees to it; the owner was not asked.
    story.app(&story.elsewhere.base(), false);
    let refused = story.send(&story.elsewhere.base()).unwrap_err();
    assert_eq!(refused.kind(), Kind::ConsentNeeded, "{refused}");
    assert!(refused.message().contains(&story.elsewhere.base()), "{refused}");
    let (outcome, why) = story.revoke();
    assert_eq!(outcome, "failed");
    assert!(why.contains("which was not agreed to"), "{why}");
    assert!(story.sent_elsewhere().is_empty(), "{:?}", story.sent_elsewhere());
}

#[test]
fn a_token_is_looked_up_nowhere_that_its_own_answer_names_for_the_first_time() {
    let story = connected("located-looks-up", &["--quirk", "instance-url"], false);
    let items = format!("{}/api/items", story.provider.url());
    assert_eq!(story.send(&items).unwrap()["status"], 200);
    story.app(&story.elsewhere.base(), false);
    story.provider.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    story.provider.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1,
        "merge": { "instance_url": story.elsewhere.base() } }));
    assert_ne!(story.send(&items).unwrap()["status"], 200);
    assert_eq!(story.provider.tokens("refresh_token").len(), 1);
    assert!(story.sent_elsewhere().is_empty(), "{:?}", story.sent_elsewhere());
    // From then on the connection waits for its owner.
    assert_eq!(story.send(&items).unwrap_err().kind(), Kind::ConsentNeeded);
}

#[test]
fn an_app_whose_secrets_may_go_elsewhere_only_asks_its_provider_for_nothing_any_more() {
    let story = connected("plain", &[], false);
    story.app("https://login.example.com", true);
    story.provider.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    let seen = story.send(&format!("{}/api/me", story.provider.url())).unwrap();
    assert!(seen["sentence"].as_str().unwrap_or_default().contains("may not go to"), "{seen}");
    let (outcome, why) = story.revoke();
    assert_eq!(outcome, "failed");
    assert!(why.contains("may not go to"), "{why}");
    assert!(story.provider.tokens("refresh_token").is_empty() && story.provider.asked("revoke").is_empty());
}
