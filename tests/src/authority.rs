//! A certificate authority for one test, and what it certifies.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// One that nobody knows but those who are told of it.
pub struct Authority {
    folder: TempDir,
}

/// A certificate and its private key, both in PEM.
pub struct Certified {
    /// Where the certificate is.
    pub certificate: PathBuf,
    /// Where its key is.
    pub key: PathBuf,
}

impl Authority {
    /// A fresh one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), "authority", "An authority of the tests", "basicConstraints=critical,CA:TRUE", &[]);
        Self { folder }
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A server on 127.0.0.1.
    pub fn server(&self) -> Certified {
        self.certify("server", "A server of the tests", "subjectAltName=IP:127.0.0.1")
    }

    /// A client whose subject is `CN=name`.
    pub fn client(&self, name: &str) -> Certified {
        self.certify(name, name, &format!("subjectAltName=DNS:{name}"))
    }

    fn certify(&self, file: &str, name: &str, extension: &str) -> Certified {
        make(self.folder.path(), file, name, extension, &["-CA", "authority.pem", "-CAkey", "authority.key"]);
        let path = |ending| self.folder.path().join(format!("{file}.{ending}"));
        Certified { certificate: path("pem"), key: path("key") }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Certified {
    /// As a secret's source on the command line: `file:PATH`.
    pub fn sources(&self) -> [String; 2] {
        [&self.certificate, &self.key].map(|path| format!("file:{}", path.display()))
    }
}

fn make(folder: &Path, file: &str, name: &str, extension: &str, signed: &[&str]) {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={name}"), "-addext", extension])
        .args(["-keyout", &format!("{file}.key"), "-out", &format!("{file}.pem")])
        .args(signed)
        .current_dir(folder);
    // One that is not its own authority may not say that it is one.
    if !signed.is_empty() {
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    let output = command.output().expect("openssl is not installed: run `apt-get install openssl`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
