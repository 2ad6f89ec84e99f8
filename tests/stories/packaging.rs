//! What an operator installs: the unit that systemd runs, and what a container runs. Both are read from where they are kept. The
//! unit is run by a systemd of its own; `container` builds the image and runs it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use attache_tests::connector;
use rustix::process::{Pid, Signal, kill_process};

use crate::{as_root, machine};

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

/// Boots a system of its own, with systemd and this machine's programs, where the unit is installed as its head says, and gives
/// what a shell of root's there says of each line of this script, after the line itself.
fn in_a_system_of_its_own(script: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let [root, programs, shared] = ["root", "programs", "shared"].map(|name| home.path().join(name));
    for folder in ["etc/systemd/system", "etc/attache", "tmp", "var", "usr"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(Path::new("usr").join(link), root.join(link)).unwrap();
    }
    fs::create_dir_all(programs.join("bin")).unwrap();
    fs::create_dir(&shared).unwrap();
    // A file to mount the command on.
    fs::write(programs.join("bin/attache"), "").unwrap();
    fs::copy(connector("http"), shared.join("http.wasm")).unwrap();
    fs::write(shared.join("script"), script).unwrap();
    let key = Command::new(BINARY).args(["key", "generate"]).output().unwrap().stdout;
    fs::write(root.join("etc/attache/key"), key).unwrap();
    let etc = |name: &str, text: &str| fs::write(root.join("etc").join(name), text).unwrap();
    etc("os-release", "ID=story\n");
    etc("machine-id", "");
    etc("nsswitch.conf", "passwd: files systemd\ngroup: files systemd\n");
    etc(
        "passwd",
        "root:x:0:0::/root:/bin/sh\nmessagebus:x:100:102::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    );
    etc("group", "root:x:0:\nmessagebus:x:102:\nnogroup:x:65534:\n");
    etc("systemd/system/attache.service", &packaged("attache.service"));
    let story = "[Unit]\nWants=attache.service dbus.socket\nAfter=attache.service dbus.socket\n\
                 [Service]\nType=oneshot\nWorkingDirectory=/shared\nTimeoutStartSec=120\n\
                 ExecStart=/bin/sh -c 'exec sh -x script >said 2>&1'\n\
                 ExecStopPost=/bin/systemctl poweroff --no-block\n";
    etc("systemd/system/story.service", story);
    let booted = as_root("systemd-nspawn")
        .args(["--quiet", "--register=no", "--keep-unit", "--boot", "--console=pipe", "--private-network"])
        .arg(format!("--machine={}", home.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.')))
        .arg(format!("--directory={}", root.display()))
        .arg(format!("--overlay-ro=/usr:{}:/usr", programs.display()))
        .arg(format!("--bind-ro={BINARY}:/usr/bin/attache"))
        .arg(format!("--bind={}:/shared", shared.display()))
        .arg("systemd.unit=story.service")
        .stdin(Stdio::null())
        .output()
        .expect("systemd-nspawn is missing: `apt-get install systemd-container dbus`");
    fs::read_to_string(shared.join("said"))
        .unwrap_or_else(|_| panic!("no system was booted, which root may: {booted:?}"))
}

#[test]
fn systemd_runs_the_unit_and_root_administers_it() {
    let unit = packaged("attache.service");
    let told: Vec<&str> = unit.lines().take_while(|line| line.starts_with('#')).collect();
    let stopped = told.iter().find_map(|line| line.strip_prefix("#   systemd-run ")).unwrap();
    let running: Vec<&str> =
        told.iter().flat_map(|line| line.split('`')).filter(|it| it.starts_with("attache --data-dir ")).collect();
    let said = in_a_system_of_its_own(&format!(
        "there() {{ attache --data-dir /var/lib/attache \"$@\"; }}\n\
         answers() {{ set +x; until there environment list >/dev/null 2>&1; do systemctl --quiet is-failed attache && exit; done; set -x; }}\n\
         answers\n\
         there connector add http.wasm --yes\n\
         there connect http --auth none --set base-url=http://127.0.0.1:7070 --allow-private 127.0.0.1:7070 --yes\n\
         there call http get --input '{{\"path\":\"/readyz\"}}'\n\
         {}\n\
         stat --format '%U %a' FILE\n\
         ps -o user= -C attache\n\
         systemctl kill --signal=KILL attache\n\
         answers\n\
         systemctl show attache --property=NRestarts\n\
         systemctl stop attache\n\
         systemctl show attache --property=Result\n\
         there connection list; echo ended with $?\n\
         stat --format '%U %a' /var/lib/private/attache/lock\n\
         systemd-run {stopped}\n",
        running.join("\n"),
    ));
    let wanted = [
        "Added http",
        "Connected `http`",
        "\"status\": \"ready\"",
        "NAME  CONNECTOR",
        "as they were at",
        "root 600",
        "ps -o user= -C attache\nattache",
        "NRestarts=1",
        "Result=success",
        "belongs to the user",
        "\nended with 8",
        "lines of the audit are whole",
    ];
    for words in wanted {
        assert!(said.contains(words), "{words}: {said}");
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
    // What is to be mounted is mounted where the host looks for it, and the data where the image has a folder of its user's.
    let env = file.lines().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    let of = |name: &str| env.split(' ').find_map(|it| it.strip_prefix(name)).unwrap();
    let (key, data) = (of("ATTACHE_KEY=file:"), of("ATTACHE_DATA_DIR="));
    assert!(file.lines().any(|line| line.starts_with("COPY ") && line.ends_with(&format!(" {data}"))), "{data}");
    assert!(
        file.contains(&format!("attache-key,target={key},")) && file.contains(&format!("-v attache:{data} ")),
        "{file}"
    );
    let told = file.lines().find_map(|line| line.strip_prefix("#     attache ")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    starts_and_stops(&format!("{BINARY} --data-dir {} {}", data.display(), told.replace(":7070", ":0")));
}
