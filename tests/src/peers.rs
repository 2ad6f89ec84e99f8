//! Real services, each started for one test on a free port of loopback and ended with it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    attache::target,
    authority::{Authority, Certified},
};

/// How long a service may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A service that runs.
pub struct Peer {
    child: Child,
    folder: TempDir,
    ends_when: Signal,
    /// Where it listens.
    pub port: u16,
}

/// The end of a peer's log, as it grows.
pub struct Tail {
    file: fs::File,
    read: Vec<u8>,
}

impl Tail {
    /// Waits until these words are there, and gives when that was seen.
    #[track_caller]
    pub fn wait(&mut self, words: &str) -> Instant {
        let began = Instant::now();
        loop {
            self.file.read_to_end(&mut self.read).unwrap();
            if memchr::memmem::find(&self.read, words.as_bytes()).is_some() {
                return Instant::now();
            }
            assert!(began.elapsed() < START, "“{words}” was never printed: {}", String::from_utf8_lossy(&self.read));
            // Often enough to see it within a fraction of a millisecond.
            thread::sleep(Duration::from_micros(50));
        }
    }
}

impl Peer {
    /// `http://127.0.0.1:PORT`.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT`, as `--allow-private` takes it.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("peer.log")).unwrap_or_default()
    }

    /// What it prints from now on.
    pub fn tail(&self) -> Tail {
        let mut file = fs::File::open(self.folder.path().join("peer.log")).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        Tail { file, read: Vec::new() }
    }

    fn start(name: &str, port: u16, folder: TempDir, ends_when: Signal, mut command: Command) -> Self {
        let log = fs::File::create(folder.path().join("peer.log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let mut peer = Self { child, folder, ends_when, port };
        let began = Instant::now();
        while !answers(port) {
            let ended = peer.child.try_wait().unwrap();
            let log = || fs::read_to_string(peer.folder.path().join("peer.log")).unwrap_or_default();
            assert!(ended.is_none(), "{name} ended at once: {}", log());
            assert!(began.elapsed() < START, "{name} does not answer: {}", log());
            thread::yield_now();
        }
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, self.ends_when);
        }
        let _ = self.child.wait();
    }
}

/// Whether something answers HTTP there.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut first = [0; 5];
    stream.read_exact(&mut first).is_ok() && &first == b"HTTP/"
}

/// A port of loopback that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where something of `target/peers` is.
///
/// # Panics
/// Where it is not, with what installs it.
pub fn installed(path: &str, what: &str) -> PathBuf {
    let path = target().join("peers").join(path);
    assert!(path.exists(), "{what} is not installed: run `./dev prepare --peers`");
    path
}

/// Runs a script with the Azure and AWS SDKs at hand, and gives what it printed.
#[track_caller]
pub fn python(script: &str) -> String {
    let mut python = Command::new(installed("python/bin/python", "the Python of the peers"));
    let output = python.arg("-c").arg(script).env("PYTHONIOENCODING", "utf-8").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What OpenTelemetry's and Prometheus's own readers make of what a host tells: see `tests/peers/telemetry.py`.
#[track_caller]
pub fn telemetry(what: &str, told: &str) -> Value {
    let mut python = Command::new(installed("python/bin/python", "the Python of the peers"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/telemetry.py");
    python.arg(script).arg(what).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONIOENCODING", "utf-8");
    let mut reader = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{told}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// azurite's account and key are public constants of the emulator.
pub const AZURITE_ACCOUNT: &str = "devstoreaccount1";
/// See [`AZURITE_ACCOUNT`].
pub const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Azure Storage's emulator, which verifies SharedKey.
pub fn azurite() -> Peer {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(installed("npm/node_modules/.bin/node", "Node.js for azurite"));
    command
        .arg(installed("npm/node_modules/azurite/dist/src/blob/main.js", "azurite"))
        .args([
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &port.to_string(),
            "--skipApiVersionCheck",
            "--inMemoryPersistence",
        ])
        .current_dir(folder.path());
    // Asked politely, it waits for idle connections to time out.
    Peer::start("azurite", port, folder, Signal::KILL, command)
}

/// oidc-provider, a certified provider of OAuth 2.0 and OpenID Connect, with an API that takes its tokens.
pub struct Oidc {
    /// The provider, which is its API too.
    pub peer: Peer,
}

/// A request to the provider, as its own log has it.
#[derive(Debug, Clone)]
pub struct Asked(pub Value);

impl Oidc {
    /// Every request to its token endpoint with that grant.
    pub fn tokens(&self, grant: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|it| it.0["path"] == "/token" && it.0["grant"] == grant).collect()
    }

    /// Ends every grant, as a person does in the settings of the account.
    pub fn revoke_all(&self) {
        self.tell("revoke");
    }

    /// Ends every access token.
    pub fn forget_access_tokens(&self) {
        self.tell("forget");
    }

    fn tell(&self, what: &str) {
        let answer = reqwest::blocking::Client::new().post(format!("{}/test/{what}", self.peer.base())).send();
        assert!(answer.unwrap().status().is_success());
    }

    /// Every request.
    pub fn asked(&self) -> Vec<Asked> {
        let log = self.peer.log();
        // Warnings of its own stand between them; `/` is what finds out whether it runs.
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["path"] != "/").map(Asked).collect()
    }
}

/// Starts it; `config` as `tests/peers/oidc.mjs` takes it.
pub fn oidc(config: &Value) -> Oidc {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(installed("npm/node_modules/.bin/node", "Node.js for oidc-provider"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/oidc.mjs");
    command
        .arg(script)
        .args([port.to_string(), config.to_string()])
        .env("PEERS", installed("npm/node_modules/oidc-provider", "oidc-provider"))
        .current_dir(folder.path());
    Oidc { peer: Peer::start("oidc-provider", port, folder, Signal::KILL, command) }
}

/// oidc-provider-mock, which is made of Authlib: a provider that has nothing to do with the other. An access token that was
/// signed in for is good for so many seconds there.
pub fn mock_oidc(seconds: u32) -> Peer {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(installed("python/bin/oidc-provider-mock", "oidc-provider-mock"));
    command.args(["--port", &port.to_string(), "--token-max-age", &seconds.to_string()]).current_dir(folder.path());
    Peer::start("oidc-provider-mock", port, folder, Signal::KILL, command)
}

/// A service of three-legged OAuth 1.0a, verified by Authlib.
pub fn oauth1() -> Peer {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(installed("python/bin/python", "the Python of the peers"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/oauth1.py")).arg(port.to_string());
    command.current_dir(folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    Peer::start("Authlib's OAuth 1.0a", port, folder, Signal::KILL, command)
}

/// A double of a service, of `tests/peers/doubles`: it speaks TLS on port 443, and listens on a port of its own for what a
/// test tells it.
pub(crate) fn double(script: &str, certificate: &Path, key: &Path) -> Peer {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = node(script, certificate);
    command.arg(port.to_string()).env("TLS_KEY", key).current_dir(folder.path());
    Peer::start(script, port, folder, Signal::KILL, command)
}

/// Runs a script of `tests/peers/doubles` that prints one JSON text, against a double that is told things at `told`.
#[track_caller]
pub(crate) fn script(script: &str, told: &str, certificate: &Path) -> Value {
    let output = node(script, certificate).arg(told).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{script}: {error}: {said}"))
}

/// Has a person go through Chromium as `tests/peers/browser.mjs` says, and gives what was seen. Pictures are in
/// `target/screenshots`, under names that begin so.
#[track_caller]
pub fn chromium(pictures: &str, config: Value) -> Value {
    browse("peers/browser.mjs", pictures, config)
}

/// Has the operator go through Chromium, by the steps of `tests/peers/console.mjs`, and gives what was seen.
#[track_caller]
pub fn chromium_console(pictures: &str, config: Value) -> Value {
    browse("peers/console.mjs", pictures, config)
}

#[track_caller]
fn browse(script: &str, pictures: &str, mut config: Value) -> Value {
    let chromium = Path::new("/usr/bin/chromium");
    let is_there = chromium.exists();
    assert!(is_there, "Chromium is not installed: run `apt-get install chromium`, or `./dev prepare --debian --peers`");
    let folder = target().join("screenshots");
    fs::create_dir_all(&folder).unwrap();
    config["chromium"] = chromium.to_str().into();
    if !pictures.is_empty() {
        config["pictures"] = folder.join(pictures).to_str().into();
    }
    // Whatever a browser keeps goes with it.
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(installed("npm/node_modules/.bin/node", "Node.js for Chromium"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .arg(config.to_string())
        .env("PEERS", installed("npm/node_modules/playwright-core", "playwright-core"))
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        // What the browser itself said, and how it ended.
        .env("DEBUG", "pw:browser")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn node(script: &str, certificate: &Path) -> Command {
    let mut command = Command::new(installed("npm/node_modules/.bin/node", "Node.js for the peers"));
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/doubles").join(script))
        .env("PEERS", installed("npm/node_modules", "what doubles are made of"))
        .env("TLS_CERTIFICATE", certificate)
        .env("NODE_EXTRA_CA_CERTS", certificate);
    command
}

/// httpbin, which reflects what it is sent.
pub fn httpbin() -> Peer {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(installed("python/bin/gunicorn", "httpbin"));
    command
        .args(["--bind", &format!("127.0.0.1:{port}"), "--worker-tmp-dir", "/dev/shm", "httpbin:app"])
        .current_dir(folder.path());
    // Killed, it would leave its workers behind.
    Peer::start("httpbin", port, folder, Signal::TERM, command)
}

/// An S3 that verifies signatures, with a user who may do everything.
pub struct Moto {
    /// The service.
    pub peer: Peer,
    /// The user's access key.
    pub key_id: String,
    /// And its secret.
    pub secret: String,
}

/// moto, which verifies signatures once a user has been made.
pub fn moto() -> Moto {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(installed("python/bin/moto_server", "moto"));
    command
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        // The first request, which finds out whether it runs, and the three that make the user.
        .env("INITIAL_NO_AUTH_ACTION_COUNT", "4")
        .current_dir(folder.path());
    let peer = Peer::start("moto", port, folder, Signal::KILL, command);
    let script = format!(
        "import boto3, json\n\
         iam = boto3.client('iam', endpoint_url='{}', region_name='eu-central-1', aws_access_key_id='x', aws_secret_access_key='y')\n\
         iam.create_user(UserName='tester')\n\
         key = iam.create_access_key(UserName='tester')['AccessKey']\n\
         all = {{'Version': '2012-10-17', 'Statement': [{{'Effect': 'Allow', 'Action': '*', 'Resource': '*'}}]}}\n\
         iam.put_user_policy(UserName='tester', PolicyName='all', PolicyDocument=json.dumps(all))\n\
         print(key['AccessKeyId'], key['SecretAccessKey'])",
        peer.base()
    );
    let keys = python(&script);
    let (key_id, secret) = keys.trim().split_once(' ').unwrap();
    Moto { peer, key_id: key_id.to_owned(), secret: secret.to_owned() }
}

/// nginx that wants a user name and a password, and answers 200 with a JSON text to who has them.
pub fn nginx_basic(user: &str, password: &str) -> Peer {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let at = folder.path().display();
    fs::write(folder.path().join("htpasswd"), format!("{user}:{}\n", hashed(password))).unwrap();
    let servers = format!(
        "# No `return` here: it would answer before the password is looked at.\n\
         server {{ listen 127.0.0.1:{port}; location / {{ auth_basic \"test\"; auth_basic_user_file {at}/htpasswd;\n\
         default_type application/json; root {at}/www; try_files /user.json =404; add_header X-User $remote_user; }} }}"
    );
    fs::create_dir(folder.path().join("www")).unwrap();
    fs::write(folder.path().join("www/user.json"), format!("{{\"user\": \"{user}\"}}")).unwrap();
    nginx(port, folder, &servers)
}

/// nginx that ends TLS before what listens on a port of this machine. On the second of two ports it asks whoever comes for a
/// certificate of the authority, and tells of it in headers; on the first it asks nobody.
pub fn nginx_tls(authority: &Authority, ports: [u16; 2], before: u16) -> Peer {
    let asks = format!("ssl_client_certificate {}; ssl_verify_client optional;", authority.certificate().display());
    before_tls(authority, [(ports[0], String::new()), (ports[1], asks)], before)
}

/// nginx that ends TLS before what listens on a port of this machine, for nobody but those who show a certificate of the
/// authority. On the first of two ports it keeps connections open; on the second it closes each after an answer.
pub fn nginx_mutual_tls(authority: &Authority, ports: [u16; 2], before: u16) -> Peer {
    let asks = format!("ssl_client_certificate {}; ssl_verify_client on;", authority.certificate().display());
    before_tls(authority, [(ports[0], asks.clone()), (ports[1], format!("{asks} keepalive_timeout 0;"))], before)
}

fn before_tls(authority: &Authority, ports: [(u16, String); 2], before: u16) -> Peer {
    let Certified { certificate, key } = authority.server();
    let last = ports[1].0;
    let servers = ports.map(|(port, asks)| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {}; {asks}\n\
             location / {{ proxy_pass http://127.0.0.1:{before}; proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Client-Certificate $ssl_client_escaped_cert;\n\
             proxy_set_header X-Client-Verified $ssl_client_verify; proxy_set_header X-Client-Subject $ssl_client_s_dn;\n\
             proxy_set_header X-Connection $connection; proxy_set_header X-Resumed $ssl_session_reused; }} }}",
            certificate.display(),
            key.display()
        )
    });
    nginx(last, tempfile::tempdir().unwrap(), &servers.join("\n"))
}

fn nginx(port: u16, folder: TempDir, servers: &str) -> Peer {
    let nginx = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let nginx =
        nginx.expect("nginx is not installed: run `apt-get install nginx-light`, or `./dev prepare --debian --peers`");
    let at = folder.path().display();
    fs::write(
        folder.path().join("nginx.conf"),
        format!(
            "daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 1;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n{servers} }}\n"
        ),
    )
    .unwrap();
    // Workers run as another user where the tests run as root, and must read what is in the folder.
    let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-c").arg(folder.path().join("nginx.conf")).arg("-e").arg(folder.path().join("error.log"));
    Peer::start("nginx", port, folder, Signal::TERM, command)
}

/// Apache's MD5 form, as `htpasswd` writes it.
fn hashed(password: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["passwd", "-apr1", "-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is not installed: run `apt-get install openssl`");
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.wait().unwrap();
    line.trim().to_owned()
}
