//! The image that `host/packaging/Containerfile` describes, built and run by podman with the commands at its head.
//!
//! What cannot be had here are the two images that it begins with. Doubles stand for them under the same names: for the compiler's
//! one with this machine's programs and a `cargo` that gives out the command under test, if it is asked as the file asks; for
//! distroless `cc`, whose libraries are Debian's, one with this machine's C library, its certificates and the user `nonroot`, and
//! nothing else.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use attache_tests::connector;

use crate::as_root;

const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");
const CARGO: &str = "#!/bin/sh\n\
    [ \"$*\" = 'build --release --locked --package attache' ] && [ -e Cargo.lock ] && [ -e wit ] && [ ! -e target ] || exit 1\n\
    mkdir -p target/release && cp /stand-in/attache target/release/attache\n";
/// What distroless `cc` has of the C library and its compiler.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"];

/// Images and containers of this story's own.
struct Podman {
    folder: tempfile::TempDir,
}

impl Podman {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let podman = Self { folder };
        podman.compiler();
        podman.distroless();
        podman
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One command, as its words are written.
    fn try_run(&self, words: &[&str]) -> Output {
        as_root("podman")
            .args(["--root", self.path("images").to_str().unwrap(), "--runroot", self.path("run").to_str().unwrap()])
            .args(["--storage-driver=overlay", "--runtime=runc", "--log-level=error"])
            .args(words)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .output()
            .expect("podman is missing: `apt-get install podman runc`")
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    }

    /// Makes an image of a folder.
    fn import(&self, folder: &Path, name: &str, changes: &[&str]) {
        let archive = folder.with_extension("tar");
        let tar = Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(tar.success());
        let changes: Vec<_> = changes.iter().flat_map(|it| ["--change", it]).collect();
        self.run(&[&["import", "--quiet"], changes.as_slice(), &[archive.to_str().unwrap(), name]].concat());
    }

    fn compiler(&self) {
        let root = self.path("compiler");
        for folder in ["usr", "tmp", "stand-in"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for link in ["bin", "lib", "lib64"] {
            symlink(Path::new("usr").join(link), root.join(link)).unwrap();
        }
        let stand_in = self.path("stand-in");
        fs::create_dir(&stand_in).unwrap();
        fs::write(stand_in.join("cargo"), CARGO).unwrap();
        fs::set_permissions(stand_in.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
        let stripped = Command::new("strip").arg(BINARY).arg("-o").arg(stand_in.join("attache")).status();
        assert!(stripped.expect("strip is missing: `apt-get install binutils`").success());
        self.import(&root, "docker.io/library/rust:1-slim-bookworm", &["ENV PATH=/stand-in:/bin"]);
    }

    fn distroless(&self) {
        let root = self.path("distroless");
        for folder in ["etc/ssl/certs", "home/nonroot", "lib64", "proc", "dev", "sys", "run", "usr/bin", "var/lib"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let loader = fs::read_dir("/lib64")
            .unwrap()
            .map(|it| it.unwrap().path())
            .find(|it| it.file_name().unwrap().to_str().unwrap().starts_with("ld-linux"));
        let loader = loader.expect("the loader of programs");
        fs::copy(&loader, root.join("lib64").join(loader.file_name().unwrap())).unwrap();
        let known = Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
        let known = String::from_utf8(known.stdout).unwrap();
        for library in LIBRARIES {
            let entry = known.lines().find(|line| line.trim_start().starts_with(library) && line.contains("x86-64"));
            let found = entry.and_then(|line| line.rsplit(" => ").next()).expect(library);
            let own = root.join(found.trim_start_matches('/'));
            fs::create_dir_all(own.parent().unwrap()).unwrap();
            fs::copy(found, own).unwrap();
        }
        let certificates = "/etc/ssl/certs/ca-certificates.crt";
        fs::copy(certificates, root.join(&certificates[1..])).expect("`apt-get install ca-certificates`");
        fs::write(root.join("etc/passwd"), "nonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n").unwrap();
        let image = "gcr.io/distroless/cc-debian12:nonroot";
        self.import(&root, image, &["USER=65532", "WORKDIR=/home/nonroot"]);
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.try_run(&["rm", "--all", "--force", "--time=0"]);
        self.try_run(&["rmi", "--all", "--force"]);
    }
}

/// The commands at the head of the file, each as its words.
fn told() -> Vec<Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/packaging/Containerfile");
    let file = fs::read_to_string(file).unwrap();
    let head: Vec<&str> = file.lines().take_while(|line| line.starts_with('#')).collect();
    let build = head[0].split('`').nth(1).unwrap().to_owned();
    let below = head.iter().filter_map(|line| line.strip_prefix("#   ")).collect::<Vec<_>>().join("\n");
    let below = below.replace("\\\n", " ");
    let commands = [build].into_iter().chain(below.lines().map(str::to_owned));
    commands
        .map(|line| {
            let command = line.split(" #").next().unwrap();
            command.split_whitespace().skip_while(|word| *word != "podman").skip(1).map(str::to_owned).collect()
        })
        .collect()
}

#[test]
fn podman_builds_the_image_and_runs_it_with_nothing_but_what_it_needs() {
    let podman = Podman::new();
    let told = told();
    let [build, secret, run] = ["build", "secret", "run"].map(|first| {
        let words = told.iter().find(|words| words[0] == first).unwrap();
        words.iter().map(String::as_str).collect::<Vec<_>>()
    });

    let stand_in = format!("{}:/stand-in:ro", podman.path("stand-in").display());
    let doubles = ["--pull=never", "--isolation=chroot", "--volume=/usr:/usr:ro", "--volume", &stand_in];
    podman.run(&[&build[..1], &doubles, &build[1..]].concat());
    let size: u64 = podman.run(&["image", "inspect", "attache", "--format={{.Size}}"]).trim().parse().unwrap();
    let own = fs::metadata(podman.path("stand-in/attache")).unwrap().len();
    assert!(size < own + (32 << 20), "{size} bytes, of which {own} are the command");

    let key = podman.path("key");
    fs::write(&key, Command::new(BINARY).args(["key", "generate"]).output().unwrap().stdout).unwrap();
    podman.run(&secret.iter().map(|it| if *it == "KEYFILE" { key.to_str().unwrap() } else { it }).collect::<Vec<_>>());
    let shared = podman.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::copy(connector("http"), shared.join("http.wasm")).unwrap();
    let shared = format!("{}:/shared:ro", shared.display());
    // A network would be the machine's to give: nobody calls from outside here. The bounds are those that every machine has.
    let here = ["--detach", "--name=one", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let published = run.iter().position(|it| *it == "-p").unwrap();
    let run = [&run[..1], &here, &["--volume", &shared], &run[1..published], &run[published + 2..]].concat();
    podman.run(&run);

    let answers = || {
        while !podman.try_run(&["exec", "one", "/usr/bin/attache", "environment", "list"]).status.success() {
            let state = podman.run(&["inspect", "one", "--format={{.State.Status}}"]);
            assert_eq!(state.trim(), "running", "{}", podman.run(&["logs", "one"]));
        }
    };
    let there = |words: &[&str]| podman.run(&[&["exec", "one", "/usr/bin/attache"], words].concat());
    answers();
    there(&["connector", "add", "/shared/http.wasm", "--yes"]);
    let own = "127.0.0.1:7070";
    let base = format!("base-url=http://{own}");
    there(&["connect", "http", "--auth", "none", "--set", &base, "--allow-private", own, "--yes"]);
    let called = there(&["call", "http", "get", "--input", r#"{"path":"/readyz"}"#]);
    assert!(called.contains("\"status\": \"ready\""), "{called}");
    let top = podman.run(&["top", "one", "huser", "capeff"]);
    assert_eq!(top.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), ["65532", "none"]);
    assert!(!podman.try_run(&["exec", "one", "/bin/sh", "-c", "true"]).status.success(), "there is a shell");

    // What was connected outlives a container that is killed, and one that is made anew.
    podman.run(&["kill", "--signal=KILL", "one"]);
    podman.run(&["start", "one"]);
    answers();
    podman.run(&["stop", "--time=20", "one"]);
    assert_eq!(podman.run(&["inspect", "one", "--format={{.State.ExitCode}}"]).trim(), "0");
    podman.run(&["rm", "one"]);
    podman.run(&run);
    answers();
    let connections = there(&["connection", "list"]);
    assert!(connections.contains("http"), "{connections}");
}
