use std::{collections::BTreeSet, path::Path, time::Duration};

use jiff::Timestamp;
use tempfile::TempDir;

use super::{queue::Tried, *};
use crate::{error::Kind, secret::Secret, store::KeySource, transport::PrivateAllowed};

/// An outbox that keeps three messages for each endpoint, and two that were given up.
struct Story {
    outbox: Outbox,
    home: TempDir,
}

fn open(home: &Path) -> Outbox {
    let key = KeySource::File(home.join("key"));
    let vault = Arc::new(Vault::open(&home.join("data"), &key, Duration::from_secs(10)).unwrap());
    let audit = Arc::new(Audit::open(&home.join("data"), vault.subkey(b"audit"), None).unwrap());
    Outbox { most_waiting: 3, most_given_up: 2, ..Outbox::new(vault, audit) }
}

fn story() -> (Story, Endpoint) {
    let home = tempfile::tempdir().unwrap();
    let story = Story { outbox: open(home.path()), home };
    let endpoint = endpoint("app");
    story.outbox.put(&endpoint).unwrap();
    (story, endpoint)
}

fn endpoint(name: &str) -> Endpoint {
    let (url, secret) = ("https://hooks.example.com/?token=t".parse().unwrap(), Secret::new([7; 32]));
    let events = EventType::ALL.into();
    let private = PrivateAllowed::none();
    Endpoint::new("default", name.into(), url, events, private, secret, String::new(), String::new())
}

fn about(connection: &str) -> About {
    About {
        environment: "default".into(),
        id: Uuid::nil(),
        connection: connection.into(),
        connector: "c".into(),
        owner: None,
        generation: 1,
    }
}

impl Story {
    fn refreshed(&self, connection: &str) {
        self.outbox.commit(Changes::new(), &[about(connection).happened(EventType::Refreshed, None)]).unwrap();
    }

    /// The endpoint as it is kept.
    fn kept(&self, name: &str) -> Endpoint {
        self.outbox.endpoint("default", name).unwrap().unwrap()
    }

    fn next(&self, endpoint: &Endpoint) -> Tried {
        match self.outbox.due("default", &endpoint.name, endpoint.id).unwrap() {
            Due::Now(next) => *next,
            _ => panic!("nothing is due"),
        }
    }

    /// The connections that are told of, in order, when each is delivered.
    fn delivered(&self, endpoint: &Endpoint) -> Vec<String> {
        let mut connections = Vec::new();
        while self.outbox.waiting(endpoint).unwrap() > 0 {
            let tried = self.next(endpoint);
            connections.push(told_of(&tried.message));
            self.outbox.settle(&tried, last(true), &Settled::Delivered).unwrap();
        }
        connections
    }

    /// The connections that the messages tell of which were given up and are kept, in order.
    fn given_up(&self, endpoint: &Endpoint) -> Vec<String> {
        let kept = self.outbox.kept(endpoint).unwrap().into_iter().filter(|it| it.is_given_up);
        let given_up: Vec<_> = kept.map(|it| told_of(&it.message)).collect();
        assert_eq!(self.outbox.given_up(endpoint).unwrap(), given_up.len());
        given_up
    }

    fn redelivered(&self, endpoint: &Endpoint) -> (usize, usize) {
        let Redelivered { messages, left } = self.outbox.redeliver(endpoint, &BTreeSet::new(), "tester").unwrap();
        (messages, left)
    }

    fn audited(&self, event: &str) -> usize {
        self.outbox.audit.sync().unwrap();
        let audit = std::fs::read_to_string(self.home.path().join("data/audit.log")).unwrap();
        audit.lines().filter(|line| line.contains(&format!("\"event\":\"{event}\""))).count()
    }
}

/// The connection that a message tells of.
fn told_of(message: &Queued) -> String {
    let payload: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
    payload["data"]["connection"].as_str().unwrap().to_owned()
}

fn last(delivered: bool) -> Last {
    Last { at: String::new(), delivered, what: String::new() }
}

#[test]
fn where_too_many_wait_the_oldest_is_given_up_counted_and_audited() {
    let (story, app) = story();
    for connection in ["a", "b", "c", "d", "e"] {
        story.refreshed(connection);
    }
    assert_eq!((story.outbox.waiting(&app).unwrap(), story.kept("app").dropped), (3, 2));
    assert_eq!((story.outbox.counted(Outcome::Dropped), story.audited("webhook-dropped")), (2, 2));
    // Also where two come with one commit, and by a process that knows of them from the store alone.
    let Story { outbox, home } = story;
    drop(outbox);
    let story = Story { outbox: open(home.path()), home };
    let both = [about("f").happened(EventType::Refreshed, None), about("g").happened(EventType::Revoked, None)];
    story.outbox.commit(Changes::new(), &both).unwrap();
    assert_eq!(story.kept("app").dropped, 4);
    assert_eq!(story.delivered(&app), ["e", "f", "g"]);
}

#[test]
fn a_message_that_was_given_up_while_it_was_tried_is_not_brought_back() {
    let (story, app) = story();
    story.refreshed("a");
    let tried = story.next(&app);
    for connection in ["b", "c", "d"] {
        story.refreshed(connection);
    }
    story.outbox.settle(&tried, last(false), &Settled::Again(Timestamp::now())).unwrap();
    assert_eq!((story.delivered(&app), story.kept("app").dropped), (vec!["b".into(), "c".into(), "d".into()], 1));
}

#[test]
fn what_came_of_an_attempt_is_kept() {
    let (story, app) = story();
    story.refreshed("a");
    let tried = story.next(&app);
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    story.outbox.settle(&tried, last(false), &Settled::Again(later)).unwrap();
    let Story { outbox, home } = story;
    drop(outbox);
    let story = Story { outbox: open(home.path()), home };
    let due = story.outbox.due("default", "app", app.id).unwrap();
    assert!(matches!(due, Due::At(at) if at.as_millisecond() == later.as_millisecond()));
    story.refreshed("b");
    let tried = story.next(&app);
    assert_eq!(tried.message.attempts, 0, "the other does not wait for it");
    story.outbox.settle(&tried, last(false), &Settled::GivenUp).unwrap();
    assert_eq!((story.kept("app").dropped, story.audited("webhook-dropped")), (1, 1));
    assert_eq!(story.outbox.waiting(&app).unwrap(), 1);
}

#[test]
fn nothing_is_written_for_an_endpoint_that_was_removed() {
    let (story, app) = story();
    story.refreshed("a");
    story.outbox.settle(&story.next(&app), last(false), &Settled::GivenUp).unwrap();
    story.refreshed("b");
    let tried = story.next(&app);
    story.outbox.remove(&app).unwrap();
    story.outbox.put(&self::endpoint("app")).unwrap();
    story.outbox.settle(&tried, last(false), &Settled::Again(Timestamp::now())).unwrap();
    assert!(matches!(story.outbox.due("default", "app", app.id).unwrap(), Due::Never));
    let kept = story.kept("app");
    assert_eq!((kept.last.is_none(), story.outbox.waiting(&kept).unwrap()), (true, 0));
    for place in [app.messages_place(), app.given_up_place()] {
        assert!(story.outbox.vault.places_below(&place.unwrap()).unwrap().is_empty());
    }
}

#[test]
fn that_a_session_ended_is_told_once_and_only_of_one_that_was_under_way() {
    let (story, app) = story();
    let ended = |session: &str| {
        let (environment, session, owner) = ("default".to_owned(), session.to_owned(), "alice".to_owned());
        [Happened::SessionEnded(SessionEnded { environment, session, owner, how: How::RanOut })]
    };
    story.outbox.begin_session("default", "one", "alice").unwrap();
    let Story { outbox, home } = story;
    drop(outbox);
    let story = Story { outbox: open(home.path()), home };
    let under_way = |outbox: &Outbox| outbox.sessions("default").unwrap().into_iter().map(|(name, _)| name);
    assert_eq!(under_way(&story.outbox).collect::<Vec<_>>(), ["one"], "whoever comes next knows of it");
    for session in ["one", "one", "another"] {
        story.outbox.commit(Changes::new(), &ended(session)).unwrap();
    }
    assert_eq!((story.outbox.waiting(&app).unwrap(), under_way(&story.outbox).count()), (1, 0));
}

#[test]
fn what_happened_is_kept_though_an_endpoint_cannot_be_read() {
    let (story, app) = story();
    let place = endpoints_place("default").unwrap();
    story.outbox.vault.commit(Changes::new().put(&place.join("a-broken").unwrap(), "no endpoint").unwrap()).unwrap();
    let mark = Place::new(["mark"]).unwrap();
    let changes = Changes::new().put(&mark, "kept").unwrap();
    story.outbox.commit(changes, &[about("a").happened(EventType::Refreshed, None)]).unwrap();
    assert_eq!(story.outbox.vault.get::<String>(&mark).unwrap().unwrap(), "kept");
    assert_eq!(story.delivered(&app), ["a"], "and whoever can be told is told");
    assert_eq!(story.outbox.endpoint("default", "a-broken").err().unwrap().kind(), Kind::StoreDamaged);
}

#[test]
fn a_url_is_shown_without_its_query() {
    assert_eq!(endpoint("app").shown_url(), "https://hooks.example.com/?…");
}

#[test]
fn a_receiver_that_is_gone_takes_what_waits_with_it() {
    let (story, app) = story();
    story.refreshed("a");
    story.refreshed("b");
    story.outbox.settle(&story.next(&app), last(false), &Settled::Gone).unwrap();
    let kept = story.kept("app");
    assert_eq!((kept.disabled.is_some(), kept.dropped, story.outbox.counted(Outcome::Dropped)), (true, 2, 2));
    assert_eq!(story.audited("webhook-disabled"), 1);
    story.refreshed("c");
    assert_eq!(story.outbox.waiting(&app).unwrap(), 0);
}

#[test]
fn what_was_given_up_is_kept_as_far_as_there_is_room_and_waits_again_as_if_it_were_new() {
    let (story, app) = story();
    for connection in ["a", "b", "c"] {
        story.refreshed(connection);
    }
    let tried = story.next(&app);
    story.outbox.settle(&tried, last(false), &Settled::GivenUp).unwrap();
    assert_eq!(story.given_up(&app), ["a"]);
    for connection in ["d", "e", "f"] {
        story.refreshed(connection);
    }
    assert_eq!(story.given_up(&app), ["b", "c"], "the oldest makes room");
    assert_eq!(story.redelivered(&app), (3, 2), "as many wait as may, and are to be sent at once");
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let tried = story.next(&app);
    story.outbox.settle(&tried, last(false), &Settled::Again(later)).unwrap();
    story.outbox.settle(&story.next(&app), last(true), &Settled::Delivered).unwrap();
    assert_eq!(story.redelivered(&app), (3, 1), "with the one that would have been tried later");
    assert_eq!(story.given_up(&app), ["c"]);
    assert_eq!(story.delivered(&app), ["b", "d", "f"]);
    assert_eq!((story.redelivered(&app), story.delivered(&app)), ((1, 0), vec!["c".to_owned()]));
    assert_eq!(
        (story.redelivered(&app), story.kept("app").dropped, story.audited("webhook-redelivered")),
        ((0, 0), 3, 3)
    );
}

#[test]
fn a_message_that_is_delivered_after_it_was_given_up_is_not_kept() {
    let (story, app) = story();
    story.refreshed("a");
    let tried = story.next(&app);
    for connection in ["b", "c", "d"] {
        story.refreshed(connection);
    }
    assert_eq!(story.given_up(&app), ["a"]);
    story.outbox.settle(&tried, last(true), &Settled::Delivered).unwrap();
    assert!(story.given_up(&app).is_empty());
}

#[test]
fn what_was_given_up_is_forgotten_two_weeks_after_it_came_about() {
    let (story, app) = story();
    story.refreshed("a");
    let tried = story.next(&app);
    story.outbox.settle(&tried, last(false), &Settled::GivenUp).unwrap();
    let minute = jiff::SignedDuration::from_mins(1);
    for (after, left) in [(GIVEN_UP_FOR - minute, 1), (GIVEN_UP_FOR + minute, 0)] {
        story.outbox.forget_given_up(&app, Timestamp::now() + after).unwrap();
        assert_eq!(story.given_up(&app).len(), left);
    }
}
