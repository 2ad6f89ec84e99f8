//! Nothing crosses environments.

use attache_tests::service::Service;
use serde_json::json;

use crate::{connected, machine};

#[test]
fn environments_are_made_listed_and_removed() {
    let attache = machine();
    attache.run(&["environment", "create", "test"]).done();
    attache.run(&["environment", "create", "test"]).refused(2, "is there already");
    attache.run(&["environment", "create", "a/b"]).refused(2, "is not a name");
    attache.run(&["environment", "create", "default"]).refused(2, "is there already");
    let names: Vec<_> = attache
        .run(&["--output", "json", "environment", "list"])
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(names, [json!("default"), json!("test")]);
    attache.run(&["environment", "remove", "default"]).refused(5, "is always there");
    attache.run(&["environment", "remove", "test"]).done();
    attache.run(&["environment", "remove", "test"]).refused(3, "There is no environment `test`");
}

#[test]
fn what_is_in_one_is_not_in_another() {
    let service = Service::plain();
    let attache = connected(&service);
    attache.run(&["environment", "create", "other"]).done();
    let other = |arguments: &[&str]| attache.run(&[&["--environment", "other"], arguments].concat());
    other(&["call", "echo", "connection"]).refused(3, "There is no connection `echo` in the environment `other`");
    other(&["connect", "echo", "--auth", "none"]).refused(3, "There is no connector `echo` in the environment `other`");
    other(&["consent", "show", "echo"]).refused(3, "There is no connection");
    assert_eq!(other(&["--output", "json", "connector", "list"]).json(), json!([]));
    assert_eq!(other(&["--output", "json", "audit", "list"]).json(), json!([]));
    attache.run(&["--environment", "nowhere", "connection", "list"]).refused(3, "There is no environment `nowhere`");
    other(&["connector", "add", &attache_tests::connector("greedy"), "--yes"]).done();
    attache.run(&["environment", "remove", "other"]).refused(5, "still has 0 connections and 1 connectors");
}
