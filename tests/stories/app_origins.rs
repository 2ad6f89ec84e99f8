//! What the app's operator did not name is given nothing of the app's: wherever an endpoint's URL comes from, no client secret,
//! code or refresh token leaves for an origin that is not the app's. The service that a person names is at such an origin here.

use attache::{Error, connect::ConnectProposal, transport::PrivateAllowed};
use attache_tests::{Embedded, service::Service, simulate::Simulated};
use serde_json::json;

use crate::providers;

struct Story {
    embedded: Embedded,
    provider: Simulated,
    /// The service, to which the app's secrets may not go.
    service: Service,
}

impl Story {
    fn new(flags: &[&str]) -> Self {
        let (embedded, provider) = providers::simulated(flags);
        Self { embedded, provider, service: Service::plain() }
    }

    fn propose(&self, option: &str) -> Result<ConnectProposal, Error> {
        let mut request = self.embedded.request("me", option).unwrap();
        request.private = PrivateAllowed::parse([self.provider.authority(), &self.service.authority()]).unwrap();
        request.parameters = [("base", self.service.base()), ("issuer", self.provider.url().to_owned())]
            .map(|(name, value)| (name.into(), value))
            .into();
        self.embedded.block_on(self.embedded.host().propose_connection(request))
    }

    fn connect(&self, option: &str) -> Result<(), Error> {
        self.embedded.go_through(self.propose(option)?, |_, page| page).map(drop)
    }

    /// Nothing was connected, no code was redeemed, and nothing left for where it may not go.
    #[track_caller]
    fn was_refused(&self, refused: &Error) {
        assert_eq!(refused.kind().exit_code(), 5, "{refused}");
        assert!(refused.message().contains(&format!("may not go to {}", self.service.base())), "{refused}");
        assert!(refused.mend().is_some_and(|hint| hint.contains("attache app set oauth --name")), "{refused:?}");
        let sent: Vec<_> = self.service.received().into_iter().map(|it| it.line).collect();
        assert!(sent.is_empty(), "{sent:?}");
        assert!(self.embedded.host().book("default").unwrap().connections().unwrap().is_empty());
        assert!(self.provider.tokens("authorization_code").is_empty(), "{:?}", self.provider.log());
    }
}

/// Whoever connects so is refused before they are sent to the provider for nothing.
#[track_caller]
fn nobody_is_sent_away(options: &[&str]) {
    for option in options {
        let story = Story::new(&[]);
        let refused = story.connect(option).expect_err(option);
        story.was_refused(&refused);
        assert!(story.provider.asked("authorize").is_empty(), "{option}: a person was sent there for nothing");
    }
}

#[test]
fn an_endpoint_that_the_connector_names_elsewhere_is_not_asked() {
    nobody_is_sent_away(&["token-at-base", "refresh-at-base", "revocation-at-base"]);
}

#[test]
fn a_step_of_the_connectors_own_takes_nothing_elsewhere() {
    nobody_is_sent_away(&["after-token-at-base", "steps-at-base"]);
}

#[test]
fn a_place_that_the_answer_in_the_callback_forges_is_given_no_code() {
    let story = Story::new(&["--quirk", "accounts-server"]);
    story.provider.next(&json!({ "endpoint": "authorize", "merge": { "accounts-server": story.service.base() } }));
    let refused = story.connect("tokens-elsewhere").unwrap_err();
    story.was_refused(&refused);
}

#[test]
fn a_device_is_authorized_nowhere_else() {
    let story = Story::new(&[]);
    let begun = story.propose("device-at-base").and_then(|proposal| {
        let embedded = &story.embedded;
        embedded.block_on(embedded.host().begin_device(&proposal)).map(drop)
    });
    story.was_refused(&begun.unwrap_err());
}
