//! What is kept is sealed, survives, and is never half-read.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use attache_tests::{Attache, service::Service};
use serde_json::json;

use crate::{connected, machine};

fn list(attache: &Attache) -> attache_tests::Outcome {
    attache.run(&["connection", "list"])
}

#[test]
fn the_key_file_is_made_on_first_use_for_its_owner_only() {
    let attache = machine();
    list(&attache).done();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&attache.key_file()), 0o600);
    assert_eq!(mode(&attache.data()), 0o700);
    for entry in fs::read_dir(attache.data()).unwrap().flatten() {
        assert_eq!(mode(&entry.path()) & 0o077, 0, "{}", entry.path().display());
    }
    assert!(!attache.key_file().starts_with(attache.data()));
}

#[test]
fn another_key_does_not_open_it_and_harms_nothing() {
    let mut attache = machine();
    attache.run(&["environment", "create", "kept"]).done();
    let key = fs::read(attache.key_file()).unwrap();
    fs::write(attache.key_file(), "00".repeat(32)).unwrap();
    list(&attache).refused(8, "The key does not open the store in");
    fs::remove_file(attache.key_file()).unwrap();
    list(&attache).refused(8, "is missing, and without it the store stays closed").refused(8, "from its backup");
    assert!(!attache.key_file().exists());
    fs::write(attache.key_file(), &key).unwrap();
    fs::set_permissions(attache.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
    list(&attache).refused(8, "can be read or written by others (mode 644)").refused(8, "chmod 600");
    fs::set_permissions(attache.key_file(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(attache.run(&["environment", "list"]).done().contains("kept"));
    attache.set("ATTACHE_KEY", "env:MY_KEY").set("MY_KEY", "11");
    list(&attache).refused(8, "What the variable MY_KEY holds is not a key.");
}

#[test]
fn the_key_comes_from_a_file_a_variable_or_a_command() {
    let key = "5a".repeat(32);
    let mut attache = machine();
    let file = attache.file("my-key", &key);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    attache.set("MY_KEY", &key);
    let source = format!("file:{file}");
    let with = |source: &str, arguments: &[&str]| attache.run(&[&["--key", source], arguments].concat());
    with(&source, &["environment", "create", "kept"]).done();
    for source in [&source, "env:MY_KEY", &format!("command:cat {file}"), "command:echo $MY_KEY"] {
        assert!(with(source, &["environment", "list"]).done().contains("kept"), "{source}");
    }
    assert!(!attache.key_file().exists());
    with("env:UNSET", &["environment", "list"])
        .refused(8, "The variable UNSET, which should hold the key, is not set.");
    with("file:/nowhere", &["environment", "list"]).refused(8, "The key file /nowhere is missing");
    with("command:exit 3", &["environment", "list"]).refused(8, "The key command failed");
    with("command:echo short", &["environment", "list"])
        .refused(8, "What the output of the key command holds is not a key.");
    let literal = with(&key, &["environment", "list"]).refused(2, "The key is not given itself, but where it is.");
    assert!(!literal.err.contains(&key));
}

#[test]
fn a_key_inside_the_data_directory_is_refused() {
    let attache = machine();
    fs::create_dir_all(attache.data()).unwrap();
    let inside = format!("file:{}/key", attache.data().display());
    attache.run(&["--key", &inside, "environment", "list"]).refused(8, "lies inside the data directory");
}

#[test]
fn a_damaged_store_is_said_to_be_and_a_backup_brings_it_back() {
    let attache = machine();
    attache.run(&["environment", "create", "kept"]).done();
    let backup = attache.folder().join("backup");
    copy(&attache.data(), &backup);
    let path = attache.data().join("store/sled/db");
    let good = fs::read(&path).unwrap();
    let broken = [
        vec![0x5a; good.len()],
        good.iter().map(|byte| byte ^ 0xff).collect(),
        good[..good.len() / 3].to_vec(),
        Vec::new(),
    ];
    let mut damaged = 0;
    for bad in broken {
        fs::write(&path, &bad).unwrap();
        let outcome = attache.run(&["environment", "list"]);
        // What was cut off may have been empty; then all of it is there.
        let whole = outcome.code == Some(0) && outcome.out.contains("kept");
        assert!(whole || outcome.code == Some(8), "{} bytes: {} {}", bad.len(), outcome.out, outcome.err);
        assert!(!outcome.err.contains("panicked"), "{}", outcome.err);
        damaged += usize::from(!whole);
        fs::remove_dir_all(attache.data()).unwrap();
        copy(&backup, &attache.data());
        assert!(attache.run(&["environment", "list"]).done().contains("kept"));
    }
    assert!(damaged >= 3);
}

#[test]
fn no_single_changed_byte_loses_a_record_unnoticed() {
    let attache = machine();
    for name in ["one", "two", "three"] {
        attache.run(&["environment", "create", name]).done();
    }
    let backup = attache.folder().join("backup");
    copy(&attache.data(), &backup);
    let path = attache.data().join("store/sled/db");
    let good = fs::read(&path).unwrap();
    let written: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut noticed = 0;
    for at in written.iter().step_by(written.len() / 40 + 1) {
        let mut bad = good.clone();
        bad[*at] ^= 0x10;
        fs::write(&path, bad).unwrap();
        let outcome = attache.run(&["environment", "list"]);
        match outcome.code {
            Some(8) => noticed += 1,
            Some(0) => assert!(
                ["one", "two", "three"].iter().all(|name| outcome.out.contains(name)),
                "byte {at}: {}",
                outcome.out
            ),
            other => panic!("byte {at}: {other:?} {}", outcome.err),
        }
        fs::remove_dir_all(attache.data()).unwrap();
        copy(&backup, &attache.data());
    }
    assert!(noticed > 0);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_locked_store_is_waited_for_and_then_named() {
    let attache = machine();
    list(&attache).done();
    let lock = attache.data().join("lock");
    let hold = |command: &str| {
        let mut child = Command::new("flock")
            .arg(&lock)
            .args(["sh", "-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It says when it holds the lock.
        let mut first = [0; 1];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        child
    };
    let mut holder = hold("echo held; read line");
    let waiting =
        attache.command(&["connection", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    // Released in time: the one that waited goes on.
    assert!(waiting.wait_with_output().unwrap().status.success());
}

#[test]
fn a_data_directory_that_cannot_be_used_is_said_to_be() {
    let attache = machine();
    let file = attache.file("a-file", "");
    attache.run(&["--data-dir", &file, "environment", "list"]).refused(8, "a-file is a file.");
    attache.run(&["--data-dir", "/proc/attache", "environment", "list"]).refused(8, "/proc/attache");
}

#[test]
fn a_data_directory_without_permission_is_said_to_be() {
    let attache = machine();
    let folder = attache.folder().join("closed");
    fs::create_dir(&folder).unwrap();
    // Root may write anywhere, so there the command runs as nobody.
    let outcome = as_other_user(&attache, &folder);
    assert_eq!(outcome.0, Some(8), "{}", outcome.1);
    assert!(outcome.1.contains("may not be read or written by this user"), "{}", outcome.1);
}

fn as_other_user(attache: &Attache, folder: &std::path::Path) -> (Option<i32>, String) {
    let data = folder.to_str().unwrap();
    let arguments = ["--data-dir", data, "--key", "command:printf 5a%.0s $(seq 32)", "environment", "list"];
    let inner = attache.command(&arguments);
    let mut command = if rustix::process::getuid().is_root() {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(attache.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        // The build may lie where only root may go.
        let copy = attache.folder().join("attache");
        fs::copy(inner.get_program(), &copy).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(copy).args(arguments);
        command
    } else {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).unwrap();
        let mut command = Command::new(inner.get_program());
        command.args(arguments);
        command
    };
    let output = command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A shell with a disk of its own at `$SMALL`, in a mount namespace that ends with it; `$ATTACHE` is the command.
pub(crate) fn on_a_small_disk(attache: &Attache, script: &str) -> Command {
    let small = attache.folder().join("small");
    fs::create_dir(&small).unwrap();
    let script = format!("set -e; mount -t tmpfs -o size=12m tmpfs $SMALL\n{script}");
    let mut shell = Command::new("unshare");
    shell.args(if rustix::process::getuid().is_root() { &["-m"][..] } else { &["-rm"] }).args(["sh", "-c", &script]);
    shell.env("SMALL", small).env("HOME", attache.folder().join("home"));
    shell.env("ATTACHE", attache.command(&[]).get_program());
    shell
}

#[test]
fn a_full_disk_is_said_to_be_and_what_was_there_stays() {
    let attache = machine();
    let mut shell = on_a_small_disk(
        &attache,
        "run() { $ATTACHE --data-dir $SMALL/data \"$@\"; }\n\
         run environment create kept\n\
         dd if=/dev/zero of=$SMALL/filler bs=4k 2>/dev/null || true\n\
         for n in $(seq 400); do code=0; run environment create e$n >/dev/null 2>$HOME.err || code=$?; [ $code = 0 ] || break; done\n\
         echo \"code $code\"; cat $HOME.err\n\
         rm $SMALL/filler\n\
         run environment list\n",
    );
    let output = shell.output().expect("util-linux is not installed: run `apt-get install util-linux`");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("code 8"), "user namespaces must be allowed for this test; it said:\n{said}");
    assert!(said.contains("disk"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("kept")), "{said}");
}

#[test]
fn two_commands_at_once_take_turns() {
    let service = Service::plain();
    let attache = connected(&service);
    let input = json!({ "url": service.base() }).to_string();
    let children: Vec<_> = (0..6)
        .map(|_| {
            attache
                .command(&["call", "echo", "send", "--input", &input])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    attache.run(&["audit", "verify"]).done();
}
