//! Commands that are killed: at each moment at which they ask the disk for something, and at moments as they come. The store opens
//! all the same, what a finished command reported is there, and all that is there is whole.

use std::{
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use attache_tests::{
    Attache,
    service::Service,
    traced::{OF_A_DISK, moments},
};
use serde_json::{Value, json};

use crate::{KEY, checking::tidied, connect, connected, machine, with_echo};

/// What a command had come to that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// Nothing of it counts.
    ToNothing,
    /// It is done, or half way to it, and nobody was told.
    Unreported,
    /// It is done, and somebody was told.
    Reported,
}

#[derive(Debug, Default)]
struct Kills {
    to_nothing: usize,
    unreported: usize,
    reported: usize,
}

impl Kills {
    fn count(&mut self, came: Came) {
        match came {
            Came::ToNothing => self.to_nothing += 1,
            Came::Unreported => self.unreported += 1,
            Came::Reported => self.reported += 1,
        }
    }

    fn all(&self) -> usize {
        self.to_nothing + self.unreported + self.reported
    }

    /// Whether there are so many of each.
    fn are(&self, of_each: usize) -> bool {
        [self.to_nothing, self.unreported, self.reported].into_iter().all(|it| it >= of_each)
    }
}

/// Kills commands until there were enough of each kind and in all. The moment moves towards where they write: later after one
/// that had come to nothing, earlier after one that had reported; each third comes anywhere before and behind it.
fn kill_until(of_each: usize, in_all: usize, mut once: impl FnMut(Duration) -> Came) -> Kills {
    let (mut kills, mut aim, mut random) = (Kills::default(), Duration::from_millis(20), 7_u64);
    for round in 0.. {
        if kills.are(of_each) && kills.all() >= in_all {
            break;
        }
        assert!(round < 10 * in_all, "the moments are not met: {kills:?}");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (random >> 33) as f64 / f64::from(u32::MAX >> 1);
        if round % 3 == 0 {
            kills.count(once(aim.mul_f64(1.5 * share)));
            continue;
        }
        let came = once(aim);
        kills.count(came);
        let step = aim.mul_f64(share / 8.0);
        match came {
            Came::ToNothing => aim += step,
            Came::Unreported if kills.to_nothing <= kills.reported => aim -= step,
            Came::Unreported => aim += step,
            Came::Reported => aim -= step,
        }
    }
    println!("{kills:?}");
    kills
}

/// Runs a command, kills it at a moment, and gives what it said.
fn killed_at(attache: &Attache, arguments: &[&str], moment: Duration) -> String {
    let mut command = attache.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let moment = Instant::now() + moment;
    while Instant::now() < moment {
        thread::yield_now();
    }
    child.kill().unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

/// Kills a command once at each moment, or at some of them, at which it asks the disk for something. `arguments` makes ready for
/// one run more, and `look` finds out what was left by one that reported or did not.
fn at_moments(
    attache: &Attache,
    (first, step): (usize, usize),
    arguments: impl Fn(usize) -> Vec<String>,
    mut look: impl FnMut(usize, bool) -> Came,
) -> Kills {
    let run = |run: usize, inject: &[&str]| {
        let arguments = arguments(run);
        attache.traced(OF_A_DISK, inject, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let whole = run(0, &[]);
    assert_eq!(whole.outcome.code, Some(0), "{:?}", whole.outcome);
    assert_eq!(look(0, true), Came::Reported);
    let moments = moments(&whole.seen);
    let (mut kills, mut missed) = (Kills::default(), Vec::new());
    for (number, moment) in moments.iter().enumerate().skip(first).step_by(step) {
        let killed = run(number + 1, &[moment]).outcome;
        if killed.code.is_some() {
            missed.push(moment);
        }
        let came = look(number + 1, !killed.out.is_empty());
        kills.count(came);
        tidied(attache);
    }
    // Threads take turns a little differently each time.
    assert!(missed.len() * 2 <= kills.all(), "too few moments were met: {missed:?} of {moments:?}");
    println!("{kills:?}, missed {missed:?}");
    kills
}

fn names(attache: &Attache, what: &str) -> Vec<String> {
    let all = attache.run(&[what, "list", "--output", "json"]).json();
    all.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

/// What a command that makes something of this name came to, where `there` is what there is.
fn made(name: &str, there: &[String], reported: bool) -> Came {
    match (there.iter().any(|it| it == name), reported) {
        (true, true) => Came::Reported,
        (true, false) => Came::Unreported,
        (false, false) => Came::ToNothing,
        (false, true) => panic!("{name} was reported and is not in {there:?}"),
    }
}

#[test]
fn what_a_finished_command_reported_survives_kills_of_others() {
    let attache = machine();
    let mut kept: Vec<String> = Vec::new();
    let mut round = 0;
    kill_until(30, 250, |moment| {
        round += 1;
        let name = format!("e{round}");
        let out = killed_at(&attache, &["environment", "create", &name], moment);
        let there = names(&attache, "environment");
        let came = made(&name, &there, out.contains("is there now"));
        assert!(kept.iter().all(|it| there.contains(it)), "{kept:?} were there, {there:?} are");
        if came != Came::ToNothing {
            kept.push(name);
        }
        came
    });
    let checked = attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]));
}

#[test]
fn a_command_that_is_killed_at_any_write_made_all_of_an_environment_or_nothing() {
    let attache = machine();
    attache.run(&["environment", "create", "first"]).done();
    let name = |run: usize| format!("e{run}");
    let kills = at_moments(
        &attache,
        (0, 1),
        |run| ["environment", "create", &name(run)].map(str::to_owned).into(),
        |run, reported| {
            let there = names(&attache, "environment");
            assert!(there.contains(&"first".to_owned()));
            made(&name(run), &there, reported)
        },
    );
    assert!(kills.to_nothing >= 8 && kills.unreported >= 3 && kills.reported >= 1, "{kills:?}");
}

#[test]
fn an_app_that_is_set_by_a_command_that_is_killed_is_the_old_one_or_the_new_one() {
    let mut attache = with_echo();
    attache.set("APP_SECRET", "app-secret-of-the-test");
    attache.add("oauth");
    let id = |run: usize| format!("client-{run}");
    let shown = || attache.run(&["app", "show", "oauth", "--output", "json"]).json();
    let mut before = String::new();
    let kills = at_moments(
        &attache,
        (0, 1),
        |run| {
            let set = ["app", "set", "oauth", "--client-id", &id(run), "--client-secret", "env:APP_SECRET"];
            [&set[..], &["--origin", "https://login.example.com"]].concat().into_iter().map(str::to_owned).collect()
        },
        |run, reported| {
            let now = shown()["client-id"].as_str().unwrap().to_owned();
            let came = match (now == id(run), reported) {
                (true, true) => Came::Reported,
                (true, false) => Came::Unreported,
                (false, reported) => {
                    assert!(!reported && now == before, "{now} is neither {before} nor {}", id(run));
                    Came::ToNothing
                }
            };
            before = now;
            came
        },
    );
    assert!(kills.to_nothing >= 8 && kills.unreported >= 3 && kills.reported >= 1, "{kills:?}");
}

#[test]
fn a_connection_that_a_killed_command_removes_is_as_it_was_or_over() {
    // What is removed ends first: whoever is killed in between leaves a connection that nobody can use, and that goes the next
    // time.
    let service = Service::plain();
    let attache = with_echo();
    let name = |run: usize| format!("c{run}");
    let kills = at_moments(
        &attache,
        (0, 1),
        |run| {
            connect(&attache, "header", &service, &["--name", &name(run)]).done();
            ["connection", "remove", &name(run), "--yes"].map(str::to_owned).into()
        },
        |run, reported| {
            let name = name(run);
            if names(&attache, "connection").contains(&name) {
                assert!(!reported, "{name} was reported gone and is there");
                let asked = service.received().len();
                let called = attache.try_call(&name, "send", &json!({ "url": format!("{}/x", service.base()) }));
                if called.code == Some(4) {
                    called.refused(4, "was revoked");
                    assert_eq!(service.received().len(), asked);
                    attache.run(&["connection", "remove", &name, "--yes"]).done();
                    return Came::Unreported;
                }
                assert_eq!(called.json()["status"], 200);
                assert_eq!(service.received().last().unwrap().header("x-api-key"), Some(KEY));
                return Came::ToNothing;
            }
            if reported { Came::Reported } else { Came::Unreported }
        },
    );
    assert!(kills.to_nothing >= 8 && kills.unreported >= 3 && kills.reported >= 1, "{kills:?}");
}

fn fingerprint(attache: &Attache, source: &str) -> Value {
    attache.run(&["--key", source, "key", "show", "--output", "json"]).json()["fingerprint"].take()
}

/// What a rotation makes and takes away again: a store, and a key that waits for it.
fn left_by_a_rotation(attache: &Attache) -> Vec<String> {
    let all = |path: &Path| fs::read_dir(path).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let beside_the_key = all(attache.key_file().parent().unwrap()).filter(|it| it.starts_with("key.new-"));
    all(&attache.data()).filter(|it| it == "store.new").chain(beside_the_key).collect()
}

#[test]
fn a_rotation_that_is_killed_leaves_a_store_that_opens_with_all_that_was_in_it() {
    let service = Service::plain();
    let attache = connected(&service);
    let source = format!("file:{}", attache.key_file().display());
    let kept = names(&attache, "connection");
    let mut before = fingerprint(&attache, &source);
    kill_until(40, 200, |moment| {
        let reported = killed_at(&attache, &["key", "rotate"], moment).contains("are sealed under the new key");
        let half_way = !left_by_a_rotation(&attache).is_empty();
        assert_eq!(names(&attache, "connection"), kept);
        assert!(left_by_a_rotation(&attache).is_empty(), "{:?}", left_by_a_rotation(&attache));
        let now = fingerprint(&attache, &source);
        let came = match (now != before, reported) {
            (true, true) => Came::Reported,
            (false, true) => panic!("the rotation was reported and the key is the old one"),
            (false, false) if !half_way => Came::ToNothing,
            (_, false) => Came::Unreported,
        };
        before = now;
        came
    });
    let seen = attache.call("echo", "send", &json!({ "url": format!("{}/x", service.base()) }));
    assert_eq!(seen["status"], 200);
    assert_eq!(service.received().last().unwrap().header("x-api-key"), Some(KEY));
    let checked = attache.run(&["store", "check", "--output", "json"]).json();
    // Of a key file that was being written, the check says so.
    let is_told = |it: &serde_json::Value| it["what"].as_str().unwrap().contains("stopped while writing it");
    assert!(checked["findings"].as_array().unwrap().iter().all(is_told), "{checked}");
}

#[test]
fn a_rotation_that_is_killed_at_any_write_leaves_the_old_key_or_the_new_one() {
    let service = Service::plain();
    let attache = connected(&service);
    let source = format!("file:{}", attache.key_file().display());
    let mut before = fingerprint(&attache, &source);
    let kills = at_moments(
        &attache,
        (0, 1),
        |_| ["key", "rotate"].map(str::to_owned).into(),
        |_, reported| {
            assert_eq!(names(&attache, "connection"), ["echo"]);
            let now = fingerprint(&attache, &source);
            let came = match (now != before, reported) {
                (true, true) => Came::Reported,
                (true, false) => Came::Unreported,
                (false, false) => Came::ToNothing,
                (false, true) => panic!("the rotation was reported and the key is the old one"),
            };
            before = now;
            came
        },
    );
    assert!(kills.to_nothing >= 40 && kills.unreported >= 8 && kills.reported >= 1, "{kills:?}");
}

#[test]
fn a_key_that_a_killed_command_moves_is_the_old_one_or_the_new_one_wherever_it_moves_to() {
    let mut attache = machine();
    for number in 0..300 {
        let key = format!("{number:064x}");
        attache.set(&format!("KEY_{number}"), &key);
        attache.file(&format!("key-{number}"), key);
    }
    let attache = &attache;
    let comes_from = |source: &str| attache.configure(&format!("key = \"{source}\"\n"));
    let opens = |source: &str| {
        comes_from(source);
        let listed = attache.run(&["environment", "list"]);
        match listed.code {
            Some(0) => listed.out.contains("kept"),
            _ => listed.refused(8, "key").out.contains("kept"),
        }
    };
    let mut current = format!("file:{}", attache.key_file().display());
    comes_from(&current);
    attache.run(&["environment", "create", "kept"]).done();
    for kind in 0..3 {
        let target = |run: usize| match kind {
            0 => format!("file:{}/made-{run}", attache.folder().display()),
            1 => format!("env:KEY_{}", 100 + run),
            _ => format!("command:cat key-{}", 200 + run),
        };
        let kills = at_moments(
            attache,
            (kind, 3),
            |run| ["key", "rotate", "--to", &target(run)].map(str::to_owned).into(),
            |run, reported| {
                let target = target(run);
                let (new, old) = (opens(&target), opens(&current));
                assert_ne!(new, old, "the store opens with both, or with neither, of {target} and {current}");
                if new {
                    current.clone_from(&target);
                }
                comes_from(&current);
                match (new, reported) {
                    (true, true) => Came::Reported,
                    (true, false) => Came::Unreported,
                    (false, false) => Came::ToNothing,
                    (false, true) => panic!("the move to {target} was reported"),
                }
            },
        );
        assert!(kills.to_nothing >= 10 && kills.unreported >= 2, "{kills:?}");
    }
}
