//! What a receiver was not told, since it was away for too long, can be sent again by hand once it is there.

use attache_tests::{Attache, service::Service};
use serde_json::{Value, json};

use crate::{
    connect,
    operating::{Running, start},
    serving::{self, Host, stop},
    webhooks::{self, Receiver, until},
    with_echo,
};

/// A machine whose receiver said that it is gone when there was this to tell.
fn given_up(connections: &[&str]) -> (Attache, Receiver, String, Service, Host) {
    let (attache, service, receiver) = (with_echo(), Service::plain(), Receiver::start().will(410, &[]));
    let secret = webhooks::add(&attache, "app", &receiver, &[]);
    for name in connections {
        connect(&attache, "header", &service, &["--name", name]).done();
    }
    let host = serving::serve(&attache, &[]).0;
    until(&attache, "app", |it| it["disabled"].is_string());
    (attache, receiver, secret, service, host)
}

/// The messages that are kept, each with what it tells of and how it stands.
fn kept(attache: &Attache) -> Vec<Value> {
    let all = attache.run(&["webhook", "messages", "app", "--output", "json"]).json();
    all.as_array().unwrap().clone()
}

#[test]
fn what_was_given_up_is_kept_and_sent_again_under_the_same_id_when_somebody_says_so() {
    let (attache, receiver, secret, _service, mut host) = given_up(&["one", "two", "three"]);
    let all = kept(&attache);
    assert_eq!(all.len(), 3, "{all:?}");
    for it in &all {
        assert_eq!(
            (&it["state"], &it["type"], &it["due"]),
            (&json!("given-up"), &json!("connection.connected"), &Value::Null)
        );
    }
    let shown = attache.run(&["webhook", "messages", "app"]).done();
    assert!(shown.contains("given-up") && shown.contains(all[1]["id"].as_str().unwrap()), "{shown}");
    attache.run(&["webhook", "redeliver", "app"]).refused(5, "attache webhook enable app");
    attache.run(&["webhook", "enable", "app"]).done();
    // Whoever comes next knows of them too.
    stop(&mut host);
    let said = attache.run(&["webhook", "show", "app"]).done();
    assert!(said.contains("3 of them can be sent again"), "{said}");
    let _host = serving::serve(&attache, &[]).0;
    attache.run(&["webhook", "redeliver", "app", "msg_none"]).refused(3, "attache webhook messages app");
    attache.run(&["webhook", "redeliver", "none"]).refused(3, "no webhook `none`");
    let id = all[1]["id"].as_str().unwrap();
    let said = attache.run(&["webhook", "redeliver", "app", id]).done();
    assert!(said.contains("1 message is sent to `app` again"), "{said}");
    let messages = receiver.sent(2);
    assert_eq!((messages[1].id.as_str(), &messages[1].body["data"]["connection"]), (id, &json!("two")));
    until(&attache, "app", |it| it["waiting"] == 0 && it["kept"] == 2);
    let said = attache.run(&["webhook", "redeliver", "app", "--output", "json"]).json();
    assert_eq!(said, json!({ "messages": 2, "left": 0 }));
    let messages = receiver.sent(4);
    assert_eq!(["one", "three"], [2, 3].map(|at: usize| messages[at].body["data"]["connection"].clone()));
    assert_eq!(messages[0].body, messages[2].body, "it is the very message");
    assert_eq!(webhooks::verify(&secret, &messages), [true; 4]);
    let webhook = until(&attache, "app", |it| it["waiting"] == 0);
    assert_eq!((&webhook["kept"], &webhook["dropped"]), (&json!(0), &json!(3)), "that they were given up stays true");
    let said = attache.run(&["webhook", "redeliver", "app"]).done();
    assert!(said.contains("Nothing waits for `app`"), "{said}");
    let lines = attache.run(&["audit", "list", "--output", "json", "--event", "webhook-redelivered"]).json();
    let lines: Vec<_> = lines.as_array().unwrap().iter().map(|it| it["messages"].clone()).collect();
    assert_eq!(lines.len(), 2, "what sends nothing is no line: {lines:?}");
    assert!(lines.contains(&json!(1)) && lines.contains(&json!(2)), "{lines:?}");
    let checked = attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]), "{checked}");
}

#[test]
fn a_message_that_waits_is_sent_at_once() {
    let (attache, service) = (with_echo(), Service::plain());
    let receiver = Receiver::start().will(500, &[]).will(500, &[]);
    webhooks::add(&attache, "app", &receiver, &[]);
    connect(&attache, "header", &service, &[]).done();
    let _host = serving::serve(&attache, &[]).0;
    // After the second failure it would be minutes.
    receiver.sent(2);
    until(&attache, "app", |_| kept(&attache).first().is_some_and(|it| it["attempts"] == 2));
    assert_eq!(kept(&attache)[0]["state"], "waiting");
    attache.run(&["webhook", "redeliver", "app"]).done();
    let messages = receiver.sent(3);
    assert_eq!(messages[2].id, messages[0].id);
    until(&attache, "app", |it| it["waiting"] == 0);
}

#[test]
fn it_is_done_by_the_url_of_a_host_too_by_a_key_that_administers() {
    let (attache, receiver, _, _service, mut host) = given_up(&["one"]);
    attache.run(&["webhook", "enable", "app"]).done();
    stop(&mut host);
    let mut running: Running = start(attache, &[]);
    let (key, other) = (running.key("op", &["--may", "administer"]), running.key("app", &["--may", "call"]));
    running.attache.set("OP", &key);
    running.attache.set("OTHER", &other);
    let url = running.url.clone();
    let redeliver =
        |key: &str| running.attache.run(&["--server", &url, "--caller-key", key, "webhook", "redeliver", "app"]);
    redeliver("env:OTHER").refused(5, "administer");
    assert!(redeliver("env:OP").done().contains("1 message is sent"));
    receiver.sent(2);
}
