//! What operators decide of a connector and its apps, when two do so at once.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use attache::{Kind, approve::Proposal, apps::AppRequest, consent::Isolation, digest::Digest};
use attache_tests::{
    Embedded,
    at_once::{among, at_once},
    connector,
};

/// Often enough for a window that is as wide as a write to the disk.
const ROUNDS: usize = 10;
const CALLER: &str = "tester";
const CLIENT: (&str, &str) = ("demo", "demo-secret");

/// A host with no connector, and each of these versions of one as it is proposed there.
fn proposed<const N: usize>(name: &str, guests: [&str; N]) -> (Embedded, [Proposal; N]) {
    let embedded = Embedded::new(guests[0], Isolation::Call);
    embedded.host().remove_connector("default", name, CALLER).unwrap();
    let proposals = guests.map(|guest| propose(&embedded, guest));
    (embedded, proposals)
}

fn propose(embedded: &Embedded, guest: &str) -> Proposal {
    let bytes = fs::read(connector(guest)).unwrap();
    embedded.block_on(embedded.host().propose_connector("default", bytes)).unwrap()
}

fn approved(embedded: &Embedded, name: &str) -> Option<Digest> {
    embedded.host().book("default").unwrap().find_approval(name).unwrap().map(|approval| approval.digest)
}

#[test]
fn of_two_versions_that_are_approved_at_once_one_is_and_the_other_is_shown_again() {
    // Regression: both were, and whoever had approved the one had not seen how it differs from the other.
    let (embedded, [one, other]) = proposed("upgrade", ["upgrade-a", "upgrade-b"]);
    let host = embedded.host();
    let approve = |proposal| host.approve_connector(proposal, None, CALLER).map(|it| it.digest).map_err(|it| it.kind());
    for _ in 0..ROUNDS {
        let kept = match at_once(|| approve(&one), || approve(&other)) {
            (Ok(kept), Err(Kind::ApprovalNeeded)) | (Err(Kind::ApprovalNeeded), Ok(kept)) => kept,
            both => panic!("{both:?}"),
        };
        assert_eq!(approved(&embedded, "upgrade"), Some(kept));
        host.remove_connector("default", "upgrade", CALLER).unwrap();
        assert_eq!(fs::read_dir(embedded.folder().join("data/connectors")).unwrap().count(), 0);
    }
}

#[test]
fn whoever_chooses_the_isolation_brings_back_no_version_that_was_replaced_or_removed() {
    // Regression: the whole approval was written as it had been looked at a moment before.
    let (embedded, [first]) = proposed("upgrade", ["upgrade-a"]);
    let host = embedded.host();
    let isolate = || drop(host.isolate_connector("default", "upgrade", Isolation::Connection, CALLER));
    for _ in 0..ROUNDS {
        host.approve_connector(&first, None, CALLER).unwrap();
        among(isolate, || host.remove_connector("default", "upgrade", CALLER)).unwrap();
        assert_eq!(approved(&embedded, "upgrade"), None);
    }
    host.approve_connector(&first, None, CALLER).unwrap();
    let newer = propose(&embedded, "upgrade-b");
    host.approve_connector(&newer, None, CALLER).unwrap();
    let older = propose(&embedded, "upgrade-a");
    for proposal in [&older, &newer].into_iter().cycle().take(2 * ROUNDS) {
        among(isolate, || host.approve_connector(proposal, None, CALLER)).unwrap();
        assert_eq!(approved(&embedded, "upgrade"), Some(proposal.digest));
    }
}

#[test]
fn no_app_that_is_set_while_its_connector_is_removed_is_left_for_the_next_one_of_that_name() {
    // Regression: the removal looked whether there is one, and the setting whether there is the connector, before either wrote.
    let (embedded, [proposal]) = proposed("oauth", ["oauth"]);
    let host = embedded.host();
    let app = || embedded.app(CLIENT, "https://login.example.com");
    for _ in 0..ROUNDS {
        host.approve_connector(&proposal, None, CALLER).unwrap();
        let set = || host.set_app(app()).map(drop);
        let (set, removed) = at_once(set, || host.remove_connector("default", "oauth", CALLER));
        assert!(set.is_ok() ^ removed.is_ok(), "{set:?} {removed:?}");
        if set.is_ok() {
            host.remove_app("default", "oauth", "oauth", CALLER).unwrap();
            host.remove_connector("default", "oauth", CALLER).unwrap();
        }
        assert!(host.book("default").unwrap().apps("oauth").unwrap().is_empty());
    }
}

#[test]
fn an_app_that_is_changed_while_it_is_removed_stays_away_with_its_secrets() {
    // Regression: what was looked at before the removal was written after it.
    let (embedded, [proposal]) = proposed("oauth", ["oauth"]);
    let host = embedded.host();
    host.approve_connector(&proposal, None, CALLER).unwrap();
    // Reading them takes a while, between the look and the writing.
    let origins: Vec<String> = (0..300).map(|number| format!("https://login-{number}.example.com")).collect();
    let changed = AtomicUsize::new(0);
    let change = || {
        let request = AppRequest {
            environment: "default".into(),
            connector: "oauth".into(),
            origins: origins.clone(),
            caller: CALLER.into(),
            ..AppRequest::default()
        };
        changed.fetch_add(usize::from(host.set_app(request).is_ok()), Ordering::Relaxed);
    };
    for _ in 0..ROUNDS {
        embedded.set_app(CLIENT, "https://login.example.com");
        among(change, || host.remove_app("default", "oauth", "oauth", CALLER)).unwrap();
        assert!(host.apps("default").unwrap().is_empty());
    }
    assert!(changed.into_inner() > 0, "it was never changed");
}
