//! The key that seals the store: rotated, and moved.

use std::{fs, os::unix::fs::PermissionsExt};

use attache_tests::{Attache, service::Service};
use reqwest::blocking::Client;
use serde_json::json;

use crate::{KEY, connected, serving};

fn works(attache: &Attache, service: &Service) {
    let seen = attache.call("echo", "send", &json!({ "url": format!("{}/x", service.base()) }));
    assert_eq!(seen["status"], 200);
    assert_eq!(service.received().last().unwrap().header("x-api-key"), Some(KEY));
}

fn fingerprint(attache: &Attache) -> String {
    attache.run(&["key", "show", "--output", "json"]).json()["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_rotated_key_opens_everything_and_the_old_one_nothing() {
    let service = Service::plain();
    let attache = connected(&service);
    let (before, old) = (fingerprint(&attache), fs::read(attache.key_file()).unwrap());
    let said = attache.run(&["key", "rotate", "--output", "json"]).json();
    assert!(said["records"].as_u64().unwrap() >= 4, "{said}");
    assert_ne!(fingerprint(&attache), before);
    works(&attache, &service);
    attache.run(&["audit", "verify"]).done();
    assert!(attache.run(&["audit", "list"]).done().contains("key-rotation"));
    // The old key is kept for older backups, and opens nothing here.
    let kept = said["kept"].as_str().unwrap();
    assert_eq!(fs::read(kept).unwrap(), old);
    let old_source = format!("file:{kept}");
    attache.run(&["--key", &old_source, "connection", "list"]).refused(8, "does not open the store");
    // A second time as well.
    attache.run(&["key", "rotate"]).done();
    works(&attache, &service);
}

#[test]
fn a_key_moves_to_a_file_a_variable_and_a_command() {
    let service = Service::plain();
    let mut attache = connected(&service);
    let key = attache.run(&["key", "generate"]).done();
    assert_eq!(key.trim().len(), 64);
    attache.set("STORE_KEY", key.trim());
    attache.run(&["key", "rotate", "--to", "env:STORE_KEY"]).done();
    attache.run(&["connection", "list"]).refused(8, "does not open the store");
    attache.set("ATTACHE_KEY", "env:STORE_KEY");
    works(&attache, &service);
    attache.run(&["key", "rotate"]).refused(2, "which Attaché cannot write");

    let file = attache.folder().join("moved/key");
    let to = format!("file:{}", file.display());
    attache.run(&["key", "rotate", "--to", &to]).done();
    attache.set("ATTACHE_KEY", &to);
    works(&attache, &service);

    let other = attache.file("other", attache.run(&["key", "generate"]).done());
    let command = format!("command:cat {other}");
    attache.run(&["key", "rotate", "--to", &command]).done();
    attache.set("ATTACHE_KEY", &command);
    works(&attache, &service);
}

#[test]
fn a_host_that_runs_goes_on_under_another_key() {
    let service = Service::plain();
    let mut attache = connected(&service);
    let (before, old) = (fingerprint(&attache), fs::read(attache.key_file()).unwrap());
    let (host, url) = serving::serve(&attache, &[]);
    works(&attache, &service);
    // Nobody does that from elsewhere, whatever key they have.
    let everything = ["caller", "create", "all", "--may", "administer", "--may", "connect", "--allow", "destructive"];
    let key = attache.run(&everything).done();
    let asked = Client::new().post(format!("{url}v1/key/rotate")).bearer_auth(key.trim());
    let asked = asked.header("content-type", "application/json").body(r#"{ "to": null }"#);
    assert_eq!(asked.send().unwrap().status(), 404);
    let said = attache.run(&["key", "rotate", "--output", "json"]).json();
    assert_ne!(fingerprint(&attache), before);
    assert_eq!(fs::read(said["kept"].as_str().unwrap()).unwrap(), old);
    works(&attache, &service);
    // What is written now is sealed under that.
    attache.run(&["environment", "create", "later"]).done();
    // In a file that is made for it; the host is told what is in there.
    let next = attache.folder().join("next/key");
    attache.run(&["key", "rotate", "--to", &format!("file:{}", next.display())]).done();
    assert_eq!(fs::metadata(&next).unwrap().permissions().mode() & 0o777, 0o600);
    works(&attache, &service);
    let key = attache.run(&["key", "generate"]).done();
    attache.set("STORE_KEY", key.trim());
    let moved = attache.run(&["key", "rotate", "--to", "env:STORE_KEY"]).done();
    assert!(moved.contains("see to it before that is started again"), "{moved}");
    works(&attache, &service);
    attache.run(&["key", "rotate"]).refused(2, "which Attaché cannot write");
    attache.run(&["key", "rotate", "--to", "env:STORE_KEY"]).refused(2, "it is the same key");
    attache.run(&["store", "check"]).done();
    drop(host);
    attache.run(&["connection", "list"]).refused(8, "does not open the store");
    attache.set("ATTACHE_KEY", "env:STORE_KEY");
    works(&attache, &service);
    assert!(attache.run(&["environment", "list"]).done().contains("later"));
    attache.run(&["audit", "verify"]).done();
}

#[test]
fn a_new_key_that_would_lock_the_store_is_refused() {
    let service = Service::plain();
    let attache = connected(&service);
    let same = format!("file:{}", attache.key_file().display());
    for (to, code, words) in [
        ("env:NOT_SET", 8, "is not set"),
        ("command:head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'", 2, "not the same twice"),
        ("command:echo nonsense", 8, "is not a key"),
        (&*same, 2, "it is the same key"),
        ("file:", 2, "where it is"),
    ] {
        attache.run(&["key", "rotate", "--to", to]).refused(code, words);
    }
    let inside = format!("file:{}", attache.data().join("key").display());
    attache.run(&["key", "rotate", "--to", &inside]).refused(8, "inside the data directory");
    works(&attache, &service);
}
