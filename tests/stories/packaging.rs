//! What an operator installs: the unit that systemd runs, and what a container runs. Both are read from where they are kept, and
//! their commands are run by the real binary; no systemd and no container runtime is started.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::machine;

const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");

fn packaged(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/packaging").join(name)).unwrap()
}

/// Starts what a shell would, until it says where it listens, and ends it as a service manager does.
#[track_caller]
fn starts_and_stops(command: &str) {
    let attache = machine();
    // In another folder nothing is there yet, as on a machine that it was just installed on.
    let mut host = Command::new("sh");
    host.args(["-c", &format!("exec {command}")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", attache.folder());
    let mut host = host.stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
    kill_process(Pid::from_raw(host.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert!(host.wait().unwrap().success());
    assert!(url.starts_with("http"), "{command}: {url}");
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_that_leaves_little_open() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("attache.service");
    fs::write(&unit, packaged("attache.service").replace("/usr/bin/attache", BINARY)).unwrap();
    for arguments in [&["verify"][..], &["security", "--offline=true", "--threshold=15", "--no-pager"]] {
        let analysed = Command::new("systemd-analyze").args(arguments).arg(&unit).output();
        let analysed = analysed.expect("systemd-analyze is missing: `apt-get install systemd`");
        let said =
            [analysed.stdout, analysed.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(analysed.status.success(), "{arguments:?}: {said}");
    }
}

#[test]
fn what_the_unit_starts_starts() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().to_str().unwrap();
    let key = Command::new(BINARY).args(["key", "generate"]).output().unwrap();
    fs::write(folder.path().join("key"), key.stdout).unwrap();
    let unit = packaged("attache.service");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/attache")).unwrap();
    let command = command.replace("%S", here).replace("%d", here).replace("127.0.0.1:7070", "127.0.0.1:0");
    starts_and_stops(&format!("{BINARY}{}", command.replace("--drain 5", "--drain 0")));
    assert!(folder.path().join("attache/store").exists(), "its data is where systemd keeps it");
}

#[test]
fn what_the_container_runs_is_understood() {
    let file = packaged("Containerfile");
    let entry = |word: &str| -> Vec<String> {
        serde_json::from_str(file.lines().find_map(|line| line.strip_prefix(word)).unwrap()).unwrap()
    };
    assert_eq!(entry("ENTRYPOINT "), ["/usr/bin/attache"]);
    let shown = Command::new(BINARY).args(entry("CMD ")).output().unwrap();
    assert!(shown.status.success() && !shown.stdout.is_empty());
    // What is to be mounted is mounted where the image has room for it and the host looks for it.
    let env = file.lines().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    let of = |name: &str| env.split(' ').find_map(|it| it.strip_prefix(name)).unwrap();
    let (key, data) = (of("ATTACHE_KEY=file:"), of("ATTACHE_DATA_DIR="));
    for place in [key, data] {
        assert!(file.lines().any(|line| line.starts_with("COPY ") && line.ends_with(&format!(" {place}"))), "{place}");
    }
    assert!(
        file.contains(&format!("attache-key,target={key},")) && file.contains(&format!("-v attache:{data} ")),
        "{file}"
    );
    let told = file.lines().find_map(|line| line.strip_prefix("#     attache ")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    starts_and_stops(&format!("{BINARY} --data-dir {} {}", data.display(), told.replace(":7070", ":0")));
}
