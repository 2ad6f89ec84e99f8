//! `attache store check` finds whatever is not as it should be, says what would mend it, and tells what was altered or lost from
//! what only does not work.

use std::{fs, path::PathBuf};

use attache_tests::{
    Attache, connector,
    service::Service,
    traced::{OF_A_DISK, moments},
};
use serde_json::{Value, json};

use crate::{connect, connected};

/// A machine with the connections `echo` and `second`, and a third in the environment `other`.
fn machine(service: &Service) -> Attache {
    let attache = connected(service);
    connect(&attache, "header", service, &["--name", "second"]).done();
    attache.run(&["environment", "create", "other"]).done();
    attache.run(&["--environment", "other", "connector", "add", &connector("echo"), "--yes"]).done();
    connect(&attache, "header", service, &["--environment", "other", "--name", "third"]).done();
    assert_eq!(findings(&attache), json!([]));
    attache
}

fn findings(attache: &Attache) -> Value {
    attache.run(&["store", "check", "--output", "json"]).json()["findings"].take()
}

/// Takes away what the check says is left over of files that were being written, and gives how many there were. Nothing else may
/// be found.
#[track_caller]
pub(crate) fn tidied(attache: &Attache) -> usize {
    let left = findings(attache);
    for it in left.as_array().unwrap() {
        let path = it["mend"].as_str().unwrap().strip_prefix("Nothing uses it: rm ").unwrap_or_else(|| panic!("{it}"));
        let what = format!("{path} is left over from somebody who was stopped while writing it.");
        assert_eq!((&it["what"], &it["damaged"]), (&json!(what), &json!(false)));
        fs::remove_file(path).unwrap();
    }
    assert_eq!(findings(attache), json!([]));
    left.as_array().unwrap().len()
}

/// Reaches the records as somebody does who has the files and not the key, and puts everything back afterwards.
fn meddled(attache: &Attache, meddle: impl FnOnce(&sled::Db), look: impl FnOnce()) {
    let (store, aside) = (attache.data().join("store"), attache.folder().join("aside"));
    let copy = |from: &PathBuf, to: &PathBuf| {
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    };
    copy(&store, &aside);
    let db = sled::open(store.join("sled")).unwrap();
    meddle(&db);
    db.flush().unwrap();
    drop(db);
    look();
    fs::remove_dir_all(&store).unwrap();
    fs::rename(&aside, &store).unwrap();
    assert_eq!(findings(attache), json!([]));
}

/// Where there is a record of this kind and name, in full or in part.
fn place(db: &sled::Db, kind: &str, name: &str) -> Vec<u8> {
    let begins = format!("environment/default/{kind}/");
    let all = db.scan_prefix(&begins).keys().map(|key| String::from_utf8(key.unwrap().to_vec()).unwrap());
    let mut of_it = all.filter(|key| !key.contains('\0') && key[begins.len()..].starts_with(name));
    of_it.next().unwrap_or_else(|| panic!("there is no {kind} `{name}`")).into_bytes()
}

/// The id of a connection, under which its secrets and its consent are.
fn id(attache: &Attache, name: &str) -> String {
    attache.run(&["connection", "show", name, "--output", "json"]).json()["connection"]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_record_that_was_altered_moved_or_cut_is_named() {
    let service = Service::plain();
    let attache = machine(&service);
    let altered =
        |place: &str| format!("The record {place} is not what was stored there: it was altered, moved or cut.");
    let check = || attache.run(&["store", "check"]);
    let (one, two) = ("environment/default/connection/echo", "environment/default/connection/second");
    let of = |kind: &str, name: &str| format!("environment/default/{kind}/{}", id(&attache, name));
    let (secret, other_secret) = (of("credential", "echo"), of("credential", "second"));
    // Two connections, and their secrets, have changed places; so have two records of different kinds.
    for (first, second) in [(one, two), (&*secret, &*other_secret), (one, &*secret)] {
        let swap = |db: &sled::Db| {
            let [a, b] = [first, second].map(|place| db.get(place).unwrap().unwrap());
            db.insert(first, b).unwrap();
            db.insert(second, a).unwrap();
        };
        meddled(&attache, swap, || drop(check().refused(8, &altered(first)).refused(8, &altered(second))));
    }
    let consent = of("consent", "echo");
    for record in [one, &secret, &consent, "environments/other", "audit/head"] {
        for change in [
            |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1,
            |bytes: &mut Vec<u8>| bytes[40] ^= 0x80,
            |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1),
            |bytes: &mut Vec<u8>| bytes.truncate(4),
            |bytes: &mut Vec<u8>| bytes.push(0),
        ] {
            let alter = |db: &sled::Db| {
                let mut bytes = db.get(record).unwrap().unwrap().to_vec();
                change(&mut bytes);
                db.insert(record, bytes).unwrap();
            };
            // Without the note of where the audit ends, nothing else can be opened.
            meddled(&attache, alter, || drop(check().refused(8, &altered(record))));
        }
    }
    // A record of another environment.
    let moved = |db: &sled::Db| {
        let third = db.get("environment/other/connection/third").unwrap().unwrap();
        db.insert(two, third).unwrap();
    };
    meddled(&attache, moved, || drop(check().refused(8, &altered(two))));
}

#[test]
fn what_is_missing_does_not_work_and_is_told_with_what_mends_it() {
    let service = Service::plain();
    let attache = machine(&service);
    let id = id(&attache, "echo");
    let found = |what: &str, mend: &str| {
        let findings = findings(&attache);
        let is_it = |it: &&Value| it["what"] == what && it["mend"] == mend && it["damaged"] == false;
        assert!(findings.as_array().unwrap().iter().any(|it| is_it(&it)), "“{what}” “{mend}” is not in {findings:#}");
        attache.run(&["store", "check"]).done()
    };
    let delete = |kind: &'static str, name: String| {
        move |db: &sled::Db| drop(db.remove(place(db, kind, &name)).unwrap().unwrap())
    };
    for kind in ["credential", "consent"] {
        meddled(&attache, delete(kind, id.clone()), || {
            found(
                "The connection `echo` has no consent or no secrets any longer.",
                "`attache connection reconnect echo` asks its owner again.",
            );
            attache.try_call("echo", "send", &json!({ "url": service.base() })).refused(4, "reconnect");
        });
    }
    let approval = |db: &sled::Db| {
        for key in db.scan_prefix("environment/default/approval/echo").keys() {
            db.remove(key.unwrap()).unwrap();
        }
    };
    meddled(&attache, approval, || {
        let said = found(
            "The connector `echo` of the connection `echo` is not approved.",
            "Add it with `attache connector add FILE`.",
        );
        assert!(
            said.contains("connection `second`") && said.contains("Something else is not as it should be"),
            "{said}"
        );
    });
    meddled(
        &attache,
        |db| drop(db.remove("environments/other").unwrap().unwrap()),
        || {
            found(
                "The connection `third` is in the environment `other`, which is not there.",
                "`attache environment create other` makes it reachable again.",
            );
            attache.run(&["environment", "create", "other"]).done();
            assert_eq!(findings(&attache), json!([]));
        },
    );
}

#[test]
fn what_is_left_over_and_what_is_not_known_is_told() {
    let service = Service::plain();
    let attache = machine(&service);
    let whats = || {
        let all = findings(&attache);
        let whats = all.as_array().unwrap().iter().inspect(|it| assert_eq!(it["damaged"], false, "{it}"));
        whats.map(|it| it["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let gone = |environment: &str, id: &str| {
        ["There are secrets", "There is a consent"]
            .map(|what| format!("{what} of a connection that is gone ({id}, environment `{environment}`)."))
    };
    let echo = id(&attache, "echo");
    meddled(
        &attache,
        |db| drop(db.remove("environment/default/connection/echo").unwrap().unwrap()),
        || {
            assert_eq!(whats(), gone("default", &echo));
        },
    );
    let third = ["--environment", "other", "connection", "show", "third", "--output", "json"];
    let third = attache.run(&third).json()["connection"]["id"].as_str().unwrap().to_owned();
    meddled(
        &attache,
        |db| drop(db.remove("environment/other/connection/third").unwrap().unwrap()),
        || {
            assert_eq!(whats(), gone("other", &third));
            // As it says: they go with the environment.
            attache.run(&["--environment", "other", "connector", "remove", "echo"]).done();
            attache.run(&["environment", "remove", "other"]).done();
            assert!(whats().is_empty(), "{:?}", whats());
        },
    );
    let unknown =
        ["something", "environment/default/something/else", "environment/default/credential/no-id", "host/else"];
    let add = |db: &sled::Db| {
        for place in unknown {
            db.insert(place, vec![0, 0, 0, 0, 1]).unwrap();
        }
    };
    meddled(&attache, add, || {
        let mut all = unknown.map(|place| format!("This version of Attaché knows no record at {place}."));
        all.sort_unstable();
        assert_eq!(whats(), all);
        assert!(attache.run(&["store", "check"]).done().contains("A newer version may have written it; use that one."));
    });
}

#[test]
fn what_a_newer_version_wrote_is_not_taken_for_damage() {
    let service = Service::plain();
    let attache = machine(&service);
    let secret = format!("environment/default/credential/{}", id(&attache, "echo"));
    // The format's number is the first byte of a record, behind four that say how many pieces it has.
    let newer = |db: &sled::Db| {
        let mut bytes = db.get(&secret).unwrap().unwrap().to_vec();
        assert_eq!(bytes[4], 1);
        bytes[4] = 2;
        db.insert(secret.as_str(), bytes).unwrap();
    };
    meddled(&attache, newer, || {
        let said = attache.run(&["store", "check"]).done();
        let sentence = format!(
            "The record {secret} was written by a newer Attaché: its format is 2, this one reads up to 1.\n  Use the newer Attaché."
        );
        assert!(said.contains(&sentence), "{said}");
        attache.try_call("echo", "send", &json!({ "url": service.base() })).refused(8, "Use the newer Attaché.");
    });
    // So is a whole store.
    let header = attache.data().join("store/header");
    let good = fs::read_to_string(&header).unwrap();
    fs::write(&header, good.replacen("\"format\": 1", "\"format\": 3", 1)).unwrap();
    attache
        .run(&["store", "check"])
        .refused(8, "was written by a newer Attaché: its format is 3, this one reads up to 1.")
        .refused(8, "Use the newer Attaché.");
    // One that never was is damage.
    fs::write(&header, good.replacen("\"format\": 1", "\"format\": 0", 1)).unwrap();
    attache.run(&["store", "check"]).refused(8, "its checksum does not fit");
    fs::write(&header, good).unwrap();
    assert_eq!(findings(&attache), json!([]));
}

#[test]
fn a_connectors_file_that_is_gone_cut_or_another_is_told_with_what_brings_it_back() {
    let service = Service::plain();
    let attache = machine(&service);
    let all = fs::read_dir(attache.data().join("connectors")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = all.filter(|path| path.extension().is_some_and(|it| it == "wasm")).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let good = fs::read(file).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let named = |why: &str| format!("The connector's file {} {why}", file.display());
    let is_found = |why: &str| {
        attache.run(&["store", "check"]).refused(8, &named(why)).refused(8, "attache connector add FILE");
        attache.run(&["connector", "add", &connector("echo"), "--yes"]).done();
        assert_eq!(findings(&attache), json!([]));
    };
    for bad in [&b"another"[..], b"", &good[..good.len() - 1], &flipped] {
        fs::write(file, bad).unwrap();
        is_found("is not the one that was approved.");
    }
    fs::remove_file(file).unwrap();
    is_found("cannot be read: No such file or directory");
    assert_eq!(fs::read(file).unwrap(), good);
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

#[test]
fn what_a_killed_command_left_of_a_file_that_it_wrote_is_told_with_what_takes_it_away() {
    let service = Service::plain();
    let attache = connected(&service);
    let greedy = connector("greedy");
    // One writes into the data directory, the other where the key is.
    for command in [&["connector", "add", &greedy, "--yes"][..], &["key", "rotate"]] {
        let whole = attache.traced(OF_A_DISK, &[], command);
        assert_eq!(whole.outcome.code, Some(0), "{:?}", whole.outcome);
        let mut left = 0;
        // Whoever waits for the disk has written and not yet renamed.
        for moment in moments(&whole.seen).iter().filter(|moment| moment.starts_with("fsync:")) {
            attache.traced(OF_A_DISK, &[moment], command);
            left += tidied(&attache);
        }
        assert!(left > 0, "{command:?} left nothing at any moment");
    }
    let seen = attache.call("echo", "send", &json!({ "url": format!("{}/x", service.base()) }));
    assert_eq!(seen["status"], 200);
}
