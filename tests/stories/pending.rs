//! Sign-ins that wait to be confirmed, when more than one thing happens to them at once, and who may confirm them.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use attache::{
    Error, Kind,
    apps::AppRequest,
    connect::{CONFIRM_WITHIN, ConnectProposal, Made, SignedIn},
    consent::Isolation,
    secret::Secret,
    transport::PrivateAllowed,
};
use attache_tests::{
    Browser, CALLBACK, Embedded, came, connector,
    simulate::{CLIENT, Simulated},
};
use jiff::Timestamp;
use serde_json::json;

use crate::isolation::other_bytes_of;

const OWNER: &str = "alice";
const CALLER: &str = "tester";

struct Story {
    embedded: Embedded,
    provider: Simulated,
}

fn story() -> Story {
    let provider = Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &["--approve"]);
    let embedded = Embedded::new("oauth", Isolation::Call);
    embedded.set_app(CLIENT, provider.url());
    Story { embedded, provider }
}

impl Story {
    /// Somebody signs in for a connection, and gives the code that confirms it.
    #[track_caller]
    fn signed_in(&self, name: &str) -> String {
        self.signed_in_for(&self.embedded.propose(name, "plain", self.provider.url()).unwrap())
    }

    #[track_caller]
    fn signed_in_for(&self, proposal: &ConnectProposal) -> String {
        self.signed_in_within(proposal, CONFIRM_WITHIN)
    }

    #[track_caller]
    fn signed_in_within(&self, proposal: &ConnectProposal, within: Duration) -> String {
        self.sign_in(proposal, within).unwrap()
    }

    fn sign_in(&self, proposal: &ConnectProposal, within: Duration) -> Result<String, Error> {
        let trip = self.embedded.send_away(proposal).unwrap();
        let page = Browser::that_stops_at(CALLBACK).open(trip.url.as_str());
        let signed_in = SignedIn::CameBack { trip, came: came(&page.url) };
        let host = self.embedded.host();
        self.embedded.block_on(host.connect_pending(proposal, signed_in, OWNER, None, within))
    }

    /// Ends what was not confirmed in time, by a clock that says this.
    fn end_unconfirmed(&self, now: Timestamp) -> usize {
        self.embedded.block_on(self.embedded.host().end_unconfirmed("default", now)).unwrap()
    }

    fn confirm(&self, code: &str, caller: &str) -> Result<Made, Error> {
        self.embedded.block_on(self.embedded.host().confirm("default", code, OWNER, caller, None))
    }

    /// Confirms all of these at once, and gives what came of each that failed.
    fn confirm_at_once<'a>(&self, codes: impl IntoIterator<Item = &'a str>) -> Vec<Kind> {
        let codes: Vec<&str> = codes.into_iter().collect();
        let ready = Barrier::new(codes.len());
        let outcomes: Vec<_> = thread::scope(|scope| {
            let confirm = |code| {
                ready.wait();
                self.confirm(code, CALLER)
            };
            let threads: Vec<_> = codes.iter().map(|code| scope.spawn(move || confirm(code))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        outcomes.into_iter().filter_map(|outcome| outcome.err().map(|error| error.kind())).collect()
    }

    fn revocations(&self) -> usize {
        self.provider.asked("revoke").len()
    }

    #[track_caller]
    fn is_usable(&self, connection: &str) {
        let input = json!({ "url": format!("{}/api/me", self.provider.url()) });
        assert_eq!(self.embedded.call(connection, "send", input).unwrap()["status"], 200);
    }
}

#[test]
fn of_many_who_confirm_the_same_at_once_one_does_and_the_others_end_nothing() {
    // Regression: each read the record before another took it away; all but one then failed, and gave back the tokens of the
    // connection that had just been made.
    let story = story();
    for round in 0..5 {
        let name = format!("round-{round}");
        let code = story.signed_in(&name);
        assert_eq!(story.confirm_at_once([code.as_str(); 8]), [Kind::NotFound; 7]);
        assert_eq!(story.revocations(), 0, "nothing of the connection was given back");
        story.is_usable(&name);
    }
}

#[test]
fn of_two_who_signed_in_for_one_name_one_is_kept_and_what_the_other_brought_is_given_back() {
    // Regression: both were kept, the second over the first, whose tokens nobody had any longer and nobody ended.
    let story = story();
    for round in 0..5 {
        let name = format!("round-{round}");
        let codes = [story.signed_in(&name), story.signed_in(&name)];
        let before = story.revocations();
        assert_eq!(story.confirm_at_once(codes.iter().map(String::as_str)), [Kind::AlreadyExists]);
        assert_eq!(story.revocations() - before, 2, "a renewal token and an access token");
        story.is_usable(&name);
    }
}

#[test]
fn a_consent_that_is_revoked_while_somebody_reconnects_stays_revoked() {
    // Regression: what was confirmed afterwards made it live again.
    let story = story();
    story.confirm(&story.signed_in("me"), CALLER).unwrap();
    let code = story.signed_in("me");
    let host = story.embedded.host();
    story.embedded.block_on(host.revoke_consent("default", "me", CALLER)).unwrap();
    let before = story.revocations();
    let refused = story.confirm(&code, CALLER).err().unwrap();
    assert_eq!(refused.kind(), Kind::ConsentNeeded, "{refused}");
    assert!(refused.message().contains("was revoked in the meantime"), "{refused}");
    assert_eq!(story.revocations() - before, 2, "what it brought is given back");
    let input = json!({ "url": format!("{}/api/me", story.provider.url()) });
    assert_eq!(story.embedded.call("me", "send", input).unwrap_err().kind(), Kind::ConsentNeeded);
    // Whoever connects after that means it.
    story.confirm(&story.signed_in("me"), CALLER).unwrap();
    story.is_usable("me");
}

#[test]
fn a_connection_that_is_removed_while_somebody_reconnects_stays_away() {
    let story = story();
    story.confirm(&story.signed_in("me"), CALLER).unwrap();
    let code = story.signed_in("me");
    story.embedded.block_on(story.embedded.host().remove_connection("default", "me", CALLER)).unwrap();
    let before = story.revocations();
    assert_eq!(story.confirm(&code, CALLER).err().unwrap().kind(), Kind::AlreadyExists);
    assert_eq!(story.revocations() - before, 2);
    assert!(story.embedded.host().book("default").unwrap().connections().unwrap().is_empty());
}

#[test]
fn a_connection_that_is_removed_while_somebody_reconnects_does_not_come_back_over_another_of_its_name() {
    // Regression: it did, since only generations were compared, and what the other had was in nobody's hands.
    let story = story();
    let removed = story.confirm(&story.signed_in("me"), CALLER).unwrap().connection;
    let code = story.signed_in("me");
    story.embedded.block_on(story.embedded.host().remove_connection("default", "me", CALLER)).unwrap();
    let another = story.confirm(&story.signed_in("me"), CALLER).unwrap().connection;
    assert_eq!(story.confirm(&code, CALLER).err().unwrap().kind(), Kind::AlreadyExists);
    let there = story.embedded.host().book("default").unwrap().connection("me").unwrap();
    assert!(there.id == another.id && there.id != removed.id, "{there:?}");
    story.is_usable("me");
}

#[test]
fn only_the_caller_that_had_the_link_made_confirms() {
    // Regression: any key of the environment did. Somebody who signs in with their own account for a link that one application
    // had made for alice could then carry the code into another application's session of hers.
    let story = story();
    let code = story.signed_in("me");
    for another in ["key:another", "", "tester2", "cli:tester"] {
        let refused = story.confirm(&code, another).err().unwrap();
        assert_eq!(refused.kind(), Kind::NotFound, "{refused}");
    }
    assert_eq!(story.revocations(), 0, "and uses nothing up");
    story.confirm(&code, CALLER).unwrap();
    story.is_usable("me");
}

#[test]
fn an_environment_in_which_somebody_waits_to_be_confirmed_is_not_removed() {
    // Regression: it was, and what the provider had given was in nobody's hands and good for ever.
    let story = story();
    let (embedded, host, environment) = (&story.embedded, story.embedded.host(), "other");
    host.create_environment(environment).unwrap();
    let bytes = std::fs::read(connector("oauth")).unwrap();
    let proposed = embedded.block_on(host.propose_connector(environment, bytes)).unwrap();
    host.approve_connector(&proposed, None, CALLER).unwrap();
    let app = AppRequest {
        environment: environment.into(),
        connector: "oauth".into(),
        client_id: Some(CLIENT.0.into()),
        origins: vec![story.provider.url().into()],
        secrets: [("client_secret".to_owned(), Secret::new(CLIENT.1))].into(),
        caller: CALLER.into(),
        ..AppRequest::default()
    };
    host.set_app(app).unwrap();
    let mut request = embedded.request("me", "plain").unwrap();
    request.environment = environment.into();
    request.private = PrivateAllowed::parse([story.provider.authority()]).unwrap();
    request.parameters = ["base", "issuer"].map(|name| (name.to_owned(), story.provider.url().to_owned())).into();
    let code = story.signed_in_for(&embedded.block_on(host.propose_connection(request)).unwrap());
    let refused = host.remove_environment(environment).unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied, "{refused}");
    assert!(refused.message().contains("1 sign-ins wait"), "{refused}");
    drop(embedded.block_on(host.confirm(environment, &code, "nobody", CALLER, None)));
    host.remove_app(environment, "oauth", "oauth", CALLER).unwrap();
    host.remove_connector(environment, "oauth", CALLER).unwrap();
    host.remove_environment(environment).unwrap();
}

#[test]
fn a_connector_that_somebody_signed_in_with_stays_until_that_is_over() {
    // Regression: it could be removed. What was confirmed afterwards was a connection without a connector, which the next one of
    // that name took over.
    let story = story();
    let remove = || {
        let refused = story.embedded.host().remove_connector("default", "oauth", CALLER).unwrap_err();
        assert_eq!(refused.kind(), Kind::Denied, "{refused}");
        refused.message().to_owned()
    };
    let code = story.signed_in("me");
    assert!(remove().contains("1 sign-ins for the connector `oauth` wait to be confirmed"), "{}", remove());
    story.confirm(&code, CALLER).unwrap();
    assert!(remove().contains("is used by me"), "{}", remove());
    story.is_usable("me");
    let code = story.signed_in("me");
    story.embedded.block_on(story.embedded.host().remove_connection("default", "me", CALLER)).unwrap();
    assert!(remove().contains("1 sign-ins"), "{}", remove());
    drop(story.confirm(&code, CALLER));
    assert!(remove().contains("has the app `oauth`"), "{}", remove());
}

#[test]
fn nothing_is_made_of_a_sign_in_whose_connector_is_removed_in_the_middle_of_it() {
    // Regression: the approval was looked at before the sign-in, and not again.
    type SignIn = fn(&Story, ConnectProposal) -> Result<(), Error>;
    let ways: [SignIn; 2] = [
        |story, proposal| story.embedded.go_through(proposal, |_, page| page).map(drop),
        |story, proposal| story.sign_in(&proposal, CONFIRM_WITHIN).map(drop),
    ];
    for sign_in in ways {
        let story = story();
        let host = story.embedded.host();
        // From then on the component is at hand, whatever becomes of its file.
        story.confirm(&story.signed_in("first"), CALLER).unwrap();
        story.embedded.block_on(host.remove_connection("default", "first", CALLER)).unwrap();
        let before = story.revocations();
        let proposal = story.embedded.propose("me", "plain", story.provider.url()).unwrap();
        story.provider.next(&json!({ "endpoint": "token", "times": 1, "hold": "before" }));
        let refused = thread::scope(|scope| {
            let signing_in = scope.spawn(|| sign_in(&story, proposal));
            story.provider.wait_until_held(1);
            host.remove_app("default", "oauth", "oauth", CALLER).unwrap();
            host.remove_connector("default", "oauth", CALLER).unwrap();
            let another = host.propose_connector("default", other_bytes_of("oauth"));
            host.approve_connector(&story.embedded.block_on(another).unwrap(), None, CALLER).unwrap();
            story.provider.release();
            signing_in.join().unwrap().unwrap_err()
        });
        assert_eq!(refused.kind(), Kind::ApprovalNeeded, "{refused}");
        assert!(refused.message().contains("was changed by somebody else in the meantime"), "{refused}");
        let book = host.book("default").unwrap();
        assert!(book.connections().unwrap().is_empty() && book.pending().unwrap().is_empty());
        assert_eq!(story.revocations() - before, 2, "what the provider gave is given back");
    }
}

#[test]
fn a_clock_that_stands_still_gives_nobody_more_time() {
    // Regression: only the clock was asked, and whoever could set it kept a sign-in waiting for as long as they liked.
    let story = story();
    let proposal = story.embedded.propose("me", "plain", story.provider.url()).unwrap();
    // By the clock, one second is left at least.
    let code = story.signed_in_within(&proposal, Duration::from_secs(2));
    let (stands_still, until) = (Timestamp::now(), Instant::now() + Duration::from_secs(20));
    while story.end_unconfirmed(stands_still) == 0 {
        assert!(Instant::now() < until, "it waits for ever");
    }
    assert_eq!(story.confirm(&code, CALLER).err().unwrap().kind(), Kind::NotFound);
    assert_eq!(story.revocations(), 2, "what it brought is given back");
}

#[test]
fn what_came_about_later_than_the_clock_says_is_over() {
    let story = story();
    let code = story.signed_in("me");
    assert_eq!(story.end_unconfirmed(Timestamp::now()), 0, "there is time");
    assert_eq!(story.end_unconfirmed(Timestamp::now() - Duration::from_secs(60)), 1);
    assert_eq!(story.confirm(&code, CALLER).err().unwrap().kind(), Kind::NotFound);
    assert_eq!(story.revocations(), 2);
}
