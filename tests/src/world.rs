//! A world of a test's own, in which the names of real services lead to doubles of them on this machine: the connectors, their
//! URLs and the providers' own client libraries are the ones that people use, and nothing leaves the machine.
//!
//! The test runs itself again in new namespaces: a network in which port 443 is free and nothing else is, and an `/etc/hosts`
//! that has the names. A certificate for the names is made for the occasion, and trusted by those who are told to.

use std::{
    any::type_name,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    Attache, Browser,
    authority::Certified,
    peers::{self, Peer},
};

/// Where the folder of the world is, for the test that was run again inside.
const INSIDE: &str = "ATTACHE_TESTS_WORLD";
/// The file in that folder that is `/etc/hosts` inside.
const HOSTS: &str = "hosts";
const PREPARE: &str = "PATH=$PATH:/usr/sbin:/sbin; ip link set lo up && mount --bind \"$0\" /etc/hosts && exec \"$@\"";

/// What is there for a test in a world of its own.
pub struct World {
    folder: PathBuf,
    names: Vec<String>,
}

/// Runs a test, which is this closure in it, in a world where these names lead to this machine.
#[track_caller]
pub fn with_names<T: FnOnce(&World)>(names: &[&str], test: T) {
    with_hosts(&names.iter().map(|name| (*name, "127.0.0.1")).collect::<Vec<_>>(), test);
}

/// The same for names that lead to these addresses, which nothing but this machine's own answers at.
#[track_caller]
pub fn with_hosts<T: FnOnce(&World)>(hosts: &[(&str, &str)], test: T) {
    let names: Vec<String> = hosts.iter().map(|(name, _)| (*name).to_owned()).collect();
    if let Some(folder) = env::var_os(INSIDE) {
        return test(&World { folder: folder.into(), names });
    }
    let folder = tempfile::tempdir().unwrap();
    write_hosts(folder.path(), hosts);
    certify(folder.path(), &names);
    // `stories::github::a_test::{{closure}}`
    let path: Vec<&str> = type_name::<T>().split("::").collect();
    let name = path[1..path.len() - 1].join("::");
    let mut command = Command::new("unshare");
    command
        .args(if rustix::process::getuid().is_root() { &["-mn"][..] } else { &["-rmn"] })
        .args(["sh", "-c", PREPARE])
        .arg(folder.path().join(HOSTS))
        .arg(env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, folder.path());
    let output = command.output().expect("util-linux is not installed: run `apt-get install util-linux`");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    // A name that no test has would be a success too.
    assert!(
        output.status.success() && said.contains("1 passed"),
        "where it is not the story itself that fails, it takes user and network namespaces, and `ip` of iproute2:\n{said}"
    );
}

fn write_hosts(folder: &Path, hosts: &[(&str, &str)]) {
    let all = [("localhost", "127.0.0.1")].iter().chain(hosts);
    let lines: String = all.map(|(name, address)| format!("{address} {name}\n")).collect();
    fs::write(folder.join(HOSTS), lines).unwrap();
}

fn certify(folder: &Path, names: &[String]) {
    let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=A test of Attache", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", &format!("subjectAltName={}", names.join(","))])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder);
    let output = command.output().expect("openssl is not installed: run `apt-get install openssl`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl World {
    /// From now on names lead there, as they do where a name server changes its mind.
    pub fn lead(&self, hosts: &[(&str, &str)]) {
        write_hosts(&self.folder, hosts);
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// A certificate for the names, and its key, both in PEM.
    pub fn certified(&self) -> Certified {
        Certified { certificate: self.certificate(), key: self.folder.join("key.pem") }
    }

    /// A fresh machine that trusts the doubles. `binary` is as for [`Attache::new`].
    pub fn attache(&self, binary: &str) -> Attache {
        let attache = Attache::new(binary);
        attache.configure(&format!("ca-file = \"{}\"\n", self.certificate().display()));
        attache
    }

    /// What allows a connection to reach the doubles.
    pub fn allowed(&self) -> Vec<String> {
        self.names.iter().flat_map(|name| ["--allow-private".to_owned(), format!("{name}:443")]).collect()
    }

    /// A browser that trusts the doubles.
    pub fn browser(&self) -> Browser {
        Browser::that_trusts(Some(&self.certificate()))
    }

    /// Starts a double: a script of `tests/peers/doubles`.
    pub fn double(&self, script: &str) -> Double {
        let peer = peers::double(script, &self.certificate(), &self.folder.join("key.pem"));
        Double { peer }
    }

    /// Runs a script that drives a double with a provider's own client library, and gives what it saw.
    #[track_caller]
    pub fn client(&self, script: &str, double: &Double) -> Value {
        peers::script(script, &double.peer.base(), &self.certificate())
    }
}

/// A double of a service that runs.
pub struct Double {
    peer: Peer,
}

impl Double {
    /// Every request so far, in the double's own words.
    pub fn asked(&self) -> Vec<Value> {
        self.peer.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The requests to one path.
    pub fn asked_for(&self, path: &str) -> Vec<Value> {
        self.asked().into_iter().filter(|asked| asked["path"] == path).collect()
    }

    /// Tells it what happens next; the words are the double's.
    pub fn let_it(&self, words: &str) {
        let answer = Browser::new().look(&format!("{}/{words}", self.peer.base()));
        assert_eq!(answer.status, 200, "{}", answer.html);
    }
}
