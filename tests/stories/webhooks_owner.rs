//! That a connection needs its owner is told in whichever way it comes about, when it comes about, and once.

use std::time::{Duration, Instant};

use attache::{Kind, transport::PrivateAllowed, webhooks::NewEndpoint};
use attache_tests::Embedded;
use serde_json::{Value, json};

use crate::{agreed, refreshing, webhooks::Receiver};

/// An application that is told of everything from now on.
fn told(embedded: &Embedded) -> Receiver {
    let receiver = Receiver::start();
    let new = NewEndpoint {
        environment: "default".into(),
        url: receiver.url("/"),
        private: PrivateAllowed::parse([receiver.authority()]).unwrap(),
        caller: "tester".into(),
        ..NewEndpoint::default()
    };
    embedded.block_on(embedded.host().add_webhook(new)).unwrap();
    embedded.deliver_webhooks();
    receiver
}

/// Waits for so many messages, and gives each one's type, with its reason where it has one.
#[track_caller]
fn sent(receiver: &Receiver, messages: usize) -> Vec<(String, Value)> {
    let told = receiver.sent(messages);
    told.iter().map(|it| (it.kind().to_owned(), it.body["data"]["reason"].clone())).collect()
}

fn needs_reconnect(reason: &str) -> (String, Value) {
    ("connection.needs-reconnect".to_owned(), json!(reason))
}

fn refreshed() -> (String, Value) {
    ("connection.refreshed".to_owned(), Value::Null)
}

/// Signs in again, which is told too; what was told before is all that there was.
#[track_caller]
fn reconnected(embedded: &Embedded, provider: &str, receiver: &Receiver, before: usize) {
    embedded.sign_in("me", "plain", provider, |_, page| page).unwrap();
    let all = sent(receiver, before + 1);
    assert_eq!(all.len(), before + 1, "{all:?}");
    assert_eq!(all[before].0, "connection.connected");
}

#[test]
fn a_renewal_whose_answer_was_lost() {
    let (embedded, simulated) = refreshing::at_simulated(&["--access-lifetime", "1"]);
    let (receiver, obtained) = (told(&embedded), Instant::now());
    simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "drop": "after" }));
    refreshing::since(obtained, Duration::from_millis(1_050));
    for _ in 0..3 {
        assert_eq!(refreshing::me(&embedded, simulated.url())["error"], "needs-reconnect");
    }
    assert_eq!(sent(&receiver, 1), [needs_reconnect("answer-lost")]);
    reconnected(&embedded, simulated.url(), &receiver, 1);
    let metrics = embedded.host().metrics().unwrap();
    let delivered = "attache_webhook_messages_total{outcome=\"delivered\"}";
    assert!(metrics.lines().any(|line| line.starts_with(delivered) && !line.ends_with(" 0")), "{metrics}");
}

#[test]
fn a_grant_that_is_over_each_time_that_it_is() {
    let (embedded, simulated) = refreshing::at_simulated(&[]);
    let receiver = told(&embedded);
    for round in 0..2 {
        simulated.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
        simulated.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "status": 400,
            "body": { "error": "invalid_grant" } }));
        for _ in 0..2 {
            assert_eq!(refreshing::me(&embedded, simulated.url())["error"], "needs-reconnect");
        }
        assert_eq!(sent(&receiver, 2 * round + 1)[2 * round], needs_reconnect("refused"));
        reconnected(&embedded, simulated.url(), &receiver, 2 * round + 1);
    }
}

#[test]
fn a_captured_value_that_leads_to_another_origin_as_soon_as_it_is_kept() {
    let story = agreed::connected("located", &["--quirk", "instance-url"], false);
    let receiver = told(&story.embedded);
    let items = format!("{}/api/items", story.provider.url());
    story.provider.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    story.provider.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1,
        "merge": { "instance_url": story.elsewhere.base() } }));
    drop(story.send(&items));
    let all = [refreshed(), needs_reconnect("not-agreed")];
    assert_eq!(sent(&receiver, 2), all, "before anybody calls it again");
    for _ in 0..2 {
        assert_eq!(story.send(&items).unwrap_err().kind(), Kind::ConsentNeeded);
    }
    story.embedded.block_on(story.embedded.host().revoke_consent("default", "me", "tester")).unwrap();
    assert_eq!(sent(&receiver, 3)[2], ("connection.revoked".to_owned(), json!("consent-revoked")));
}

#[test]
fn a_connector_that_goes_where_its_owner_did_not_agree_to_as_soon_as_it_is_approved() {
    let story = agreed::connected("plain", &[], true);
    let receiver = told(&story.embedded);
    story.upgrade();
    assert_eq!(sent(&receiver, 1), [needs_reconnect("not-agreed")], "before anybody calls it");
    story.app(&story.elsewhere.base(), false);
    for _ in 0..2 {
        assert_eq!(story.send(&story.elsewhere.base()).unwrap_err().kind(), Kind::ConsentNeeded);
    }
    story.embedded.block_on(story.embedded.host().remove_connection("default", "me", "tester")).unwrap();
    assert_eq!(sent(&receiver, 2)[1], ("connection.revoked".to_owned(), json!("removed")));
    assert!(story.send(&story.elsewhere.base()).is_err());
}
