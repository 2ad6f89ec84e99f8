//! The key that seals the store: rotated, moved, and interrupted while it is.

use std::{fs, process::Stdio, time::Duration};

use attache_tests::{Attache, service::Service};
use serde_json::json;

use crate::{KEY, connected};

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

#[test]
fn a_rotation_that_is_killed_leaves_a_store_that_opens_with_all_that_was_in_it() {
    let service = Service::plain();
    let attache = connected(&service);
    for number in 0..40u32 {
        attache.run(&["environment", "create", &format!("e{number}")]).done();
        let mut rotating =
            attache.command(&["key", "rotate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From before it has begun to after it is done, at ever other moments.
        std::thread::sleep(Duration::from_millis(u64::from(number * 4 % 160)));
        rotating.kill().unwrap();
        rotating.wait().unwrap();
        let there = attache.run(&["environment", "list", "--output", "json"]).json();
        assert_eq!(there.as_array().unwrap().len() as u32, number + 2, "after kill {number}");
    }
    works(&attache, &service);
    let checked = attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]));
    let left: Vec<_> = fs::read_dir(attache.data()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "store.new"), "{left:?}");
}

#[test]
fn a_check_finds_what_is_damaged_missing_and_left_over() {
    let service = Service::plain();
    let attache = connected(&service);
    let check = || attache.run(&["store", "check"]);
    assert!(check().done().contains("are whole"));
    // Others may read a file: told, and nothing is lost.
    let audit = attache.data().join("audit.log");
    let mode = |mode| fs::set_permissions(&audit, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    assert!(check().done().contains("chmod go="));
    mode(0o600);
    // A connector's file is another than was approved.
    let wasm = fs::read_dir(attache.data().join("connectors")).unwrap().flatten().map(|entry| entry.path());
    let wasm = wasm.filter(|path| path.extension().is_some_and(|it| it == "wasm")).collect::<Vec<_>>();
    let good = fs::read(&wasm[0]).unwrap();
    fs::write(&wasm[0], b"another").unwrap();
    check().refused(8, "is not the one that was approved");
    fs::write(&wasm[0], good).unwrap();
    // A line of the audit was changed.
    let lines = fs::read_to_string(&audit).unwrap();
    fs::write(&audit, lines.replacen("cli:tester", "cli:nobody", 1)).unwrap();
    check().refused(8, "The audit is not what was written");
    fs::write(&audit, lines).unwrap();
    assert!(check().done().contains("are whole"));
}
