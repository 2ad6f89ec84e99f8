//! A host as those have it who run it: it says how it is, offers TLS, and stops in good order.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Child, Stdio},
    thread,
};

use attache_tests::{Attache, authority::Authority, peers::free_port, service::Service, world::with_names};
use reqwest::{
    Certificate,
    blocking::{Client, Response},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    KEY, machine,
    mcp::{Slow, soon},
    serving::Host,
    store::on_a_small_disk,
};

/// A host that runs. Whoever asks it is an application.
pub(crate) struct Running {
    pub(crate) attache: Attache,
    pub(crate) url: String,
    pub(crate) host: Child,
    client: Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn of(answer: Response) -> Self {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Self { status, headers, text: answer.text().unwrap() }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// A header; empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Demands a problem of this status and kind, and gives its sentence.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, kind: &str) -> String {
        assert_eq!((self.status, &self.json()["kind"]), (status, &json!(kind)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

/// A machine with the connection `work` to a service.
pub(crate) fn with_tools(service: &Service) -> Attache {
    let mut attache = machine();
    attache.set("STORY_KEY", KEY);
    attache.add("tools");
    connect(&attache, "work", service);
    attache
}

pub(crate) fn connect(attache: &Attache, name: &str, service: &Service) {
    let (base, authority) = (format!("base={}", service.base()), service.authority());
    let what = ["connect", "tools", "--name", name, "--auth", "header", "--set", &base, "--allow-private", &authority];
    attache.run(&[&what[..], &["--secret", "key=env:STORY_KEY", "--yes"]].concat()).done();
}

/// Starts a host on a machine.
pub(crate) fn start(attache: Attache, more: &[&str]) -> Running {
    let (host, url) = begin(&attache, more);
    Running { attache, url, host, client: Client::new() }
}

/// The same, with its standard error in a file.
pub(crate) fn start_logging(attache: Attache, more: &[&str], log: &Path) -> Running {
    let (host, url) = begin_with(&attache, more, fs::File::create(log).unwrap().into());
    Running { attache, url, host, client: Client::new() }
}

fn begin(attache: &Attache, more: &[&str]) -> (Child, String) {
    begin_with(attache, more, Stdio::inherit())
}

fn begin_with(attache: &Attache, more: &[&str], log: Stdio) -> (Child, String) {
    let listen: &[&str] = if more.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
    let arguments = [&["serve"], listen, more].concat();
    let mut host = attache.command(&arguments).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("http"), "it did not start: {url}");
    (host, url.trim().trim_end_matches('/').to_owned())
}

/// The numbers of the host that runs on a machine, with their head.
pub(crate) fn metrics(attache: &Attache) -> String {
    let mut socket = UnixStream::connect(attache.data().join("attache.sock")).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut seen = String::new();
    socket.read_to_string(&mut seen).unwrap();
    seen
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

impl Running {
    /// Makes a key.
    #[track_caller]
    pub(crate) fn key(&self, name: &str, more: &[&str]) -> String {
        self.attache.run(&[&["caller", "create", name], more].concat()).done().trim().to_owned()
    }

    /// The operator's numbers, with their head.
    pub(crate) fn metrics(&self) -> String {
        metrics(&self.attache)
    }

    pub(crate) fn asked(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        ask(&self.client, method, &format!("{}{path}", self.url), headers, body)
    }

    /// Asks with a key.
    pub(crate) fn ask(&self, key: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.asked(method, path, &[&[("authorization", &*format!("Bearer {key}"))], headers].concat(), None)
    }

    /// Calls an operation of `work`.
    pub(crate) fn call(&self, key: &str, operation: &str, headers: &[(&str, &str)], input: &Value) -> Answer {
        self.call_of(key, "work", operation, headers, input)
    }

    pub(crate) fn call_of(
        &self,
        key: &str,
        connection: &str,
        operation: &str,
        headers: &[(&str, &str)],
        input: &Value,
    ) -> Answer {
        let path = format!("/v1/connections/{connection}/operations/{operation}");
        self.asked("POST", &path, &[&[("authorization", &*format!("Bearer {key}"))], headers].concat(), Some(input))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.host.id() as i32).unwrap(), signal).unwrap();
    }

    /// Ends it as if the machine had lost power, and starts it again.
    pub(crate) fn crash(&mut self, more: &[&str]) {
        self.host.kill().unwrap();
        self.host.wait().unwrap();
        (self.host, self.url) = begin(&self.attache, more);
    }

    /// Ends it as a service manager does.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert!(self.host.wait().unwrap().success());
    }
}

fn ask(client: &Client, method: &str, url: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    let mut request = client.request(method.parse().unwrap(), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    Answer::of(request.send().unwrap())
}

#[test]
fn whoever_asks_learns_in_one_word_whether_it_can_be_used() {
    let running = start(machine(), &[]);
    let asks = |path: &str| running.asked("GET", path, &[], None);
    assert_eq!((asks("/healthz").status, asks("/healthz").json()), (200, json!({ "status": "alive" })));
    assert_eq!((asks("/readyz").status, asks("/readyz").json()), (200, json!({ "status": "ready" })));
    // Asking leaves nothing behind that somebody would have to look at.
    let checked = running.attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]), "{checked}");
}

#[test]
fn an_audit_that_takes_no_more_is_not_ready() {
    let service = Service::plain();
    let attache = with_tools(&service);
    // A file that behaves like a full disk.
    fs::remove_file(attache.data().join("audit.log")).unwrap();
    std::os::unix::fs::symlink("/dev/full", attache.data().join("audit.log")).unwrap();
    let running = start(attache, &[]);
    let key = running.attache.run(&["caller", "create", "x"]);
    assert_eq!(key.code, Some(8), "{}", key.err);
    soon("it never said so", || running.asked("GET", "/readyz", &[], None).status == 503);
    let said = running.asked("GET", "/readyz", &[], None);
    assert_eq!(said.json(), json!({ "status": "audit-unavailable" }));
    assert_eq!(running.asked("GET", "/healthz", &[], None).status, 200);
}

#[test]
fn a_store_that_takes_no_more_is_not_ready() {
    let attache = machine();
    // It fills up when a line comes.
    let mut shell = on_a_small_disk(
        &attache,
        "$ATTACHE --data-dir $SMALL/data serve --listen 127.0.0.1:0 & host=$!\n\
         read line; dd if=/dev/zero of=$SMALL/filler bs=4k 2>/dev/null || true\n\
         read line || kill -9 $host; wait\n",
    );
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let asks = || ask(&Client::new(), "GET", &format!("{}readyz", url.trim()), &[], None);
    assert_eq!(asks().json(), json!({ "status": "ready" }));
    writeln!(shell.stdin.as_mut().unwrap()).unwrap();
    soon("it never said so", || asks().status == 503);
    assert_eq!(asks().json(), json!({ "status": "store-unavailable" }));
    drop(shell.stdin.take());
    let _ = shell.wait().unwrap();
}

#[test]
fn a_host_that_stops_says_so_and_finishes_what_is_under_way() {
    let slow = Slow::start();
    let mut running = start(with_tools(&slow.service), &["--drain", "600"]);
    let key = running.key("app", &[]);
    thread::scope(|scope| {
        let call = scope.spawn(|| running.call(&key, "look", &[], &slow.input()));
        slow.asked(1);
        running.signal(Signal::TERM);
        soon("it never said so", || running.asked("GET", "/readyz", &[], None).status == 503);
        assert_eq!(running.asked("GET", "/readyz", &[], None).json(), json!({ "status": "stopping" }));
        // Who was not told yet is still answered.
        let seen = running.call(&key, "look", &[], &json!({ "url": slow.service.base() }));
        assert_eq!(seen.status, 200, "{seen:?}");
        // Now nobody new comes in, and the call goes on.
        running.signal(Signal::TERM);
        soon("somebody is let in", || reqwest::blocking::get(format!("{}/healthz", running.url)).is_err());
        slow.release();
        let seen = call.join().unwrap();
        assert_eq!((seen.status, &seen.json()["status"]), (200, &json!(200)), "{seen:?}");
    });
    assert!(running.host.wait().unwrap().success());
    let lines = running.attache.run(&["audit", "list", "--output", "json", "--event", "call-ended"]).json();
    assert!(lines.as_array().unwrap().iter().all(|line| line["outcome"] == "done"), "{lines}");
    running.attache.run(&["audit", "verify"]).done();
}

#[test]
fn a_host_that_is_told_nothing_listens_on_loopback_alone() {
    // In a network of its own, since the port is the one that anybody's host has.
    with_names(&["attache.example"], |world| {
        let attache = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
        let _host = Host(attache.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        soon("it never listened", || TcpStream::connect("127.0.0.1:7070").is_ok());
        // As this machine's other addresses do, it answers where one listens on all of them.
        let refused = TcpStream::connect("127.0.0.2:7070").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
    });
}

#[test]
fn others_come_only_where_it_was_said_what_protects_what_they_send() {
    let attache = machine();
    let serve = |more: &[&str]| attache.run(&[&["serve", "--listen", "0.0.0.0:0"], more].concat());
    let url = ["--public-url", "https://attache.example.com"];
    serve(&url).refused(2, "in the clear").refused(2, "--tls-cert").refused(2, "--behind-proxy");
    serve(&["--public-url", "http://attache.example.com", "--behind-proxy"]).refused(2, "is not https");
    serve(&["--tls-cert", "x.pem"]).refused(2, "--tls-key");
    for allowed in [&["--behind-proxy", url[0], url[1]][..], &["--insecure", url[0], "http://attache.example.com"]] {
        let (mut host, said) = begin(&attache, &[&["--listen", "0.0.0.0:0"], allowed].concat());
        assert!(said.ends_with("attache.example.com"), "{said}");
        host.kill().unwrap();
        host.wait().unwrap();
    }
}

/// Somebody who trusts these certificates only.
fn trusting(authority: &Authority) -> Client {
    let pem = fs::read(authority.certificate()).unwrap();
    let builder = Client::builder().tls_certs_only([Certificate::from_pem(&pem).unwrap()]);
    builder.pool_max_idle_per_host(0).build().unwrap()
}

fn put(from: &Path, to: &Path, mode: u32) {
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn tls_ends_here_with_a_certificate_that_may_be_replaced() {
    let (first, second) = (Authority::new(), Authority::new());
    let attache = machine();
    let (cert, key) = (attache.folder().join("cert.pem"), attache.folder().join("key.pem"));
    let certified = first.server();
    put(&certified.certificate, &cert, 0o644);
    put(&certified.key, &key, 0o600);
    let files = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let running = start(attache, &files);
    assert!(running.url.starts_with("https://127.0.0.1:"), "{}", running.url);
    let url = format!("{}/healthz", running.url);
    assert_eq!(ask(&trusting(&first), "GET", &url, &[], None).status, 200);
    assert!(trusting(&second).get(&url).send().is_err(), "it is not just anybody's certificate");
    assert!(Client::new().get(url.replace("https:", "http:")).send().is_err(), "nothing is answered in the clear");
    let certified = second.server();
    put(&certified.certificate, &cert, 0o644);
    put(&certified.key, &key, 0o600);
    running.signal(Signal::HUP);
    soon("the new certificate is not shown", || trusting(&second).get(&url).send().is_ok());
    // One that does not fit is not taken, and nothing stops.
    put(&first.server().certificate, &cert, 0o644);
    running.signal(Signal::HUP);
    assert_eq!(ask(&trusting(&second), "GET", &url, &[], None).status, 200);
}

#[test]
fn a_command_asks_a_host_elsewhere_that_its_machine_trusts_and_no_other() {
    let authority = Authority::new();
    let certified = authority.server();
    let (certificate, key) = (certified.certificate.to_str().unwrap(), certified.key.to_str().unwrap());
    let service = Service::plain();
    let running = start(with_tools(&service), &["--tls-cert", certificate, "--tls-key", key]);
    let key = running.key("elsewhere", &[]);
    let elsewhere = |trusted: &str| {
        let mut attache = machine();
        attache.set("ATTACHE_CALLER_KEY", &key);
        attache.configure(trusted);
        attache
    };
    let trusts = |file: &Path| format!("ca-file = \"{}\"\n", file.display());
    let trusting = elsewhere(&trusts(&authority.certificate()));
    let input = json!({ "url": format!("{}/x", service.base()) }).to_string();
    let call = ["--server", &running.url, "call", "work", "look", "--input", &input, "--output", "json"];
    assert_eq!(trusting.run(&call).json()["status"], 200);
    let received = service.received().len();
    let (empty, stranger) = (running.attache.file("empty.pem", ""), Authority::new());
    // The stranger has the authority's name, so that it is asked, and did not sign.
    let unknown = "its certificate is not signed by an authority that this machine trusts";
    for (trusted, why) in [(String::new(), unknown), (trusts(&stranger.certificate()), "its certificate is not valid")]
    {
        let refused = elsewhere(&trusted).run(&call);
        assert!(!refused.err.contains("rustls"), "{}", refused.err);
        let refused = refused.refused(6, &format!("The host at {}/ cannot be reached: {why}.", running.url));
        refused.refused(6, "is named in `ca-file`");
    }
    let nobody = format!("https://127.0.0.1:{}", free_port());
    trusting.run(&["--server", &nobody, "connection", "list"]).refused(6, "cannot be reached: connection refused.");
    // An error without a number of the system has no kind to tell of, so its own words are told.
    let unnamed = trusting.run(&["--server", "https://nobody.invalid", "connection", "list"]);
    unnamed.refused(6, "cannot be reached: failed to lookup address information");
    elsewhere(&trusts(Path::new(&empty))).run(&call).refused(2, "there is no PEM certificate in it");
    elsewhere(&trusts(Path::new("/nowhere.pem"))).run(&call).refused(2, "/nowhere.pem");
    assert_eq!(service.received().len(), received);
}

#[test]
fn a_tls_key_that_others_can_read_or_that_is_anothers_is_refused() {
    let attache = machine();
    let authority = Authority::new();
    let (cert, key) = (attache.folder().join("cert.pem"), attache.folder().join("key.pem"));
    let serve = || {
        let files = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        attache.run(&[&["serve", "--listen", "127.0.0.1:0"], &files[..]].concat())
    };
    serve().refused(2, "cannot be read");
    put(&authority.server().certificate, &cert, 0o644);
    put(&authority.server().key, &key, 0o640);
    serve().refused(8, "can be read or written by others (mode 640)").refused(8, "chmod 600");
    put(&authority.client("x").key, &key, 0o600);
    serve().refused(2, "not the certificate's own");
}

#[test]
fn whoever_begins_a_handshake_and_goes_no_further_keeps_nobody_out() {
    let authority = Authority::new();
    let certified = authority.server();
    let (cert, key) = (certified.certificate.to_str().unwrap(), certified.key.to_str().unwrap());
    fs::set_permissions(&certified.key, fs::Permissions::from_mode(0o600)).unwrap();
    let running = start(machine(), &["--tls-cert", cert, "--tls-key", key]);
    let address = running.url.trim_start_matches("https://").to_owned();
    let idle: Vec<_> = (0..50).map(|_| TcpStream::connect(&address).unwrap()).collect();
    assert_eq!(ask(&trusting(&authority), "GET", &format!("{}/healthz", running.url), &[], None).status, 200);
    drop(idle);
}
