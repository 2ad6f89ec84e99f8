//! Services of a private network, reached through a gateway that only dials out and alone can read its connections' secrets.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use attache_tests::{
    Attache, Canary, Outcome, Running,
    line::Line,
    memory::found_in_memory,
    peers,
    service::{Service, answer, ok},
};
use reqwest::blocking::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    machine,
    mcp::{Slow, soon},
    serving::{self, Host},
};

/// What the gateway's connections of these stories have.
pub(crate) const SECRET: &str = "story-password-1b9d7";

/// A host that runs, with the connector `http`; and the private machine of a gateway that joined it.
pub(crate) struct Plant {
    /// Ends before its files go.
    pub(crate) running: Option<Gateway>,
    pub(crate) private: Attache,
    /// The fingerprint, as joining printed it.
    pub(crate) key: String,
    pub(crate) url: String,
    pub(crate) host: Option<Host>,
    pub(crate) attache: Attache,
}

/// A gateway that runs until it is dropped.
pub(crate) struct Gateway(pub(crate) Option<Running>);

impl Gateway {
    /// Of its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    fn signal(&self, signal: Signal) {
        let id = self.id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits for a line on its standard error.
    #[track_caller]
    pub(crate) fn said(&mut self, words: &str) -> String {
        self.0.as_mut().unwrap().said(words)
    }

    fn ended(mut self) -> Outcome {
        self.0.take().unwrap().ended()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut running) = self.0.take() {
            running.kill();
        }
    }
}

impl Plant {
    /// One whose gateway has joined and does not run yet.
    pub(crate) fn joined() -> Self {
        let mut attache = machine();
        attache.add("http");
        let (host, url) = serving::serve(&attache, &[]);
        // What is in the host's own environment would be in its memory.
        attache.set("SECRET", SECRET);
        let private = machine();
        let key = join(&private, &url, &enroll(&attache)).json()["fingerprint"].as_str().unwrap().to_owned();
        Self { running: None, private, key, url, host: Some(host), attache }
    }

    /// One whose gateway is connected and may reach that.
    pub(crate) fn reaching(authority: &str) -> Self {
        let mut plant = Self::joined();
        plant.run(&[authority]);
        plant
    }

    pub(crate) fn run(&mut self, allowed: &[&str]) {
        let mut gateway = self.begin(allowed);
        gateway.said("Connected to");
        self.running = Some(gateway);
    }

    pub(crate) fn begin(&self, allowed: &[&str]) -> Gateway {
        let allowed = allowed.iter().flat_map(|authority| ["--allow", authority]);
        let arguments: Vec<&str> = ["gateway", "run"].into_iter().chain(allowed).collect();
        Gateway(Some(self.private.begin(&arguments)))
    }

    /// Connects `http` to a service, with `more` about the gateway.
    fn try_to_connect(&self, base: &str, more: &[&str]) -> Outcome {
        let base = format!("base-url={base}/");
        let fixed = ["connect", "http", "--auth", "basic", "--set", &base, "--set", "username=jo"];
        let secret = ["--secret", "password=env:SECRET", "--gateway", "plant"];
        self.attache.run(&[&fixed[..], &secret, more].concat())
    }

    #[track_caller]
    pub(crate) fn connect(&self, base: &str) {
        let said = self.try_to_connect(base, &["--gateway-key", &self.key, "--yes"]).done();
        assert_eq!(said, "Connected `http`: jo.\n");
    }

    /// A GET, which may be done twice.
    pub(crate) fn get(&self, path: &str) -> Running {
        self.attache.begin(&["call", "http", "get", "--input", &json!({ "path": path }).to_string()])
    }

    /// A POST, which may not.
    pub(crate) fn post(&self, path: &str) -> Running {
        let input = json!({ "method": "POST", "path": path, "json": { "n": 1 } }).to_string();
        self.attache.begin(&["call", "http", "request", "--input", &input])
    }

    pub(crate) fn gateway_audit(&self) -> String {
        fs::read_to_string(self.private.data().join("gateway/audit.log")).unwrap()
    }
}

/// A code with which the gateway `plant` may join.
#[track_caller]
pub(crate) fn enroll(attache: &Attache) -> String {
    attache.run(&["gateway", "enroll", "plant"]).done().trim().to_owned()
}

pub(crate) fn join(private: &Attache, url: &str, code: &str) -> Outcome {
    private.run_with_input(&["gateway", "join", "--host", url, "--code", "-", "--output", "json"], code)
}

#[test]
fn nginx_behind_a_gateway_takes_a_password_that_the_host_never_has() {
    let nginx = peers::nginx_basic("jo", SECRET);
    let plant = Plant::reaching(&nginx.authority());
    plant.connect(&nginx.base());
    let answer = plant.attache.call("http", "get", &json!({ "path": "/x" }));
    assert_eq!((&answer["status"], &answer["json"]), (&json!(200), &json!({ "user": "jo" })));
    assert_eq!(plant.attache.run(&["connection", "check", "http"]).done(), "`http` is good: jo.\n");
    let shown = plant.attache.run(&["connection", "show", "http"]).done();
    assert!(shown.contains("plant") && !shown.contains(SECRET), "{shown}");
    // Both ends wrote down what each of them did.
    let here = plant.attache.run(&["audit", "list", "--output", "json", "--event", "credential-used"]).json();
    assert_eq!(here[0]["attached"], json!(["header Authorization (Basic)"]), "{here}");
    // What came of a request is written soon after it is told.
    let lines = |event: &str| plant.gateway_audit().matches(&format!("\"event\":\"{event}\"")).count();
    soon("the gateway writes down no answer", || lines("answer") == lines("credential-used"));
    let there = plant.gateway_audit();
    let used = there.lines().filter(|line| line.contains("\"credential-used\"")).count();
    assert_eq!(used, here.as_array().unwrap().len(), "{there}");
    assert!(there.contains("\"operation\":\"get\"") && there.contains("\"path\":\"/x\""), "{there}");
    let checked = plant.attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]), "{checked}");
    // A dry run sends nothing, and tells where the gateway would put it.
    let input = json!({ "path": "/x" }).to_string();
    let preview =
        plant.attache.run(&["call", "http", "get", "--input", &input, "--dry-run", "--output", "json"]).json();
    assert_eq!(preview["attached"], json!(["header Authorization (Basic)"]), "{preview}");
    assert_eq!(plant.gateway_audit(), there);
}

#[test]
fn the_secret_is_in_no_memory_store_log_or_line_but_the_gateways_own() {
    let (canary, direct) =
        (Canary::new("canary-5d41402abc4b2a76-sealed"), Canary::new("canary-7c211433f02071597-direct"));
    // One that sends back what it gets, in several spellings.
    let service = Service::start(|request| {
        let shown = request.header("authorization").unwrap_or_default().to_owned();
        answer(200, &[("X-Seen", &shown)], &format!("{shown} {:?} {}", request.headers, hex::encode(&shown)))
    });
    let mut attache = machine();
    attache.add("http");
    // Everything but the compiler, which says too much.
    attache.set("ATTACHE_LOG", TALKATIVE);
    let log = attache.folder().join("host.log");
    let (host, url) = logging_to(&mut attache.command(&["serve", "--listen", "127.0.0.1:0"]), &log);
    let line = Line::to(&url);
    attache.set("CANARY", &canary.secret).set("DIRECT", &direct.secret);
    let mut private = machine();
    private.set("ATTACHE_LOG", TALKATIVE);
    let code = enroll(&attache);
    let key = join(&private, &line.url, &code).json()["fingerprint"].as_str().unwrap().to_owned();
    let mut gateway = Gateway(Some(private.begin(&["gateway", "run", "--allow", &service.authority()])));
    gateway.said("Connected to");
    let base = format!("base-url={}", service.base());
    let fixed = ["connect", "http", "--auth", "basic", "--set", &base, "--set", "username=jo", "--yes"];
    let sealed = ["--secret", "password=env:CANARY", "--gateway", "plant", "--gateway-key", &key];
    let said = attache.run(&[&fixed[..], &sealed].concat());
    canary.is_not_in("what connecting printed", format!("{}{}", said.out, said.err).as_bytes());
    said.done();
    for _ in 0..3 {
        let answer = attache.call("http", "get", &json!({ "path": "/x" }));
        canary.is_not_in("the answer", answer.to_string().as_bytes());
        assert!(answer.to_string().contains("*****"), "{answer}");
        attache.call("http", "request", &json!({ "method": "POST", "path": "/x", "json": { "a": 1 } }));
    }
    let id = host.id();
    assert_eq!(found_in_memory(&canary, id), Vec::<String>::new(), "in the host's memory");
    canary.is_not_below(&attache.data());
    canary.is_not_in("the host's log", &fs::read(&log).unwrap());
    canary.is_not_in("what passed between host and gateway", &line.passed());
    canary.is_not_below(&private.data());
    // A search that finds nothing proves something only where it finds what is there.
    let running = gateway.0.as_ref().unwrap().id();
    assert!(!found_in_memory(&canary, running).is_empty(), "the gateway has it");
    assert!(line.passed().len() > 1_000);
    let allowed = service.authority();
    let own = ["--name", "direct", "--secret", "password=env:DIRECT", "--allow-private", &allowed];
    attache.run(&[&fixed[..], &own].concat()).done();
    attache.call("direct", "get", &json!({ "path": "/x" }));
    assert!(!found_in_memory(&direct, id).is_empty(), "what goes without a gateway is in the host's memory");
    assert!(fs::read(&log).unwrap().len() > 1_000);
}

/// A host whose log is that file, and its URL.
pub(crate) fn logging_to(command: &mut std::process::Command, log: &Path) -> (Host, String) {
    let host = command.stdout(Stdio::piped()).stderr(fs::File::create(log).unwrap()).spawn().unwrap();
    let mut host = Host(host);
    let mut url = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
    (host, url.trim().to_owned())
}

pub(crate) const TALKATIVE: &str = "trace,cranelift_codegen=warn,wasmtime=warn,regalloc2=warn,sled=warn";

#[test]
fn nothing_is_sealed_before_somebody_compared_the_key() {
    let service = Service::plain();
    let plant = Plant::reaching(&service.authority());
    let without = plant.try_to_connect(&service.base(), &["--yes"]);
    without.refused(4, "`--gateway-key FINGERPRINT` says what `attache gateway join` printed; `--yes` does not.");
    let other = "0".repeat(64);
    let refused = plant.try_to_connect(&service.base(), &["--gateway-key", &other, "--yes"]);
    assert!(refused.refused(5, "which is another").err.contains(&plant.key));
    assert_eq!(plant.attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
    assert!(service.received().is_empty());
}

#[test]
fn a_host_is_sent_no_secret_of_a_gateways_connection_in_clear() {
    let plant = Plant::joined();
    let key = plant.attache.run(&["caller", "create", "portal", "--may", "connect"]).done();
    let ask = |body: &Value| {
        let url = format!("{}v1/connections/proposals", plant.url);
        let answer = Client::new().post(url).bearer_auth(key.trim()).header("content-type", "application/json");
        let answer = answer.body(body.to_string()).send().unwrap();
        (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.text().unwrap()).unwrap())
    };
    let mut asked = json!({
        "connector": "http", "auth-option": "basic", "gateway": "plant",
        "parameters": { "base-url": "http://erp.internal", "username": "jo" }, "secrets": { "password": SECRET },
    });
    let (status, refused) = ask(&asked);
    assert_eq!((status, &refused["kind"]), (422, &json!("invalid-input")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("sealed where they are typed"), "{refused}");
    asked.as_object_mut().unwrap().remove("secrets");
    let (status, proposed) = ask(&asked);
    assert_eq!((status, &proposed["sealing"]["gateway"]), (201, &json!("plant")), "{proposed}");
    let terms: Value = serde_json::from_str(proposed["sealing"]["terms"].as_str().unwrap()).unwrap();
    assert_eq!((&terms["audience"], &terms["generation"]), (&json!(["http://erp.internal"]), &json!(1)));
    asked["private"] = json!(["127.0.0.1:80"]);
    assert_eq!(ask(&asked).0, 403, "only who administers allows what is private");
}

#[test]
fn what_the_gateway_was_not_started_with_cannot_be_reached_through_it() {
    let (service, allowed) = (Service::plain(), Service::plain());
    let plant = Plant::reaching(&allowed.authority());
    let refused = plant.try_to_connect(&service.base(), &["--gateway-key", &plant.key, "--yes"]);
    let refused = refused.refused(5, "The gateway may not reach");
    assert!(refused.err.contains(&allowed.authority()) && refused.err.contains("--allow HOST:PORT"), "{}", refused.err);
    assert!(service.received().is_empty());
    let never = plant.private.run(&["gateway", "run", "--allow", "169.254.169.254:80"]);
    never.refused(5, "cannot be allowed");
    let private = plant.try_to_connect(&service.base(), &["--allow-private", &service.authority(), "--yes"]);
    private.refused(2, "What a gateway may reach is said at the gateway.");
}

#[test]
fn a_code_lets_one_gateway_in_and_whoever_comes_second_is_told_what_that_means() {
    let attache = machine();
    let (_host, url) = serving::serve(&attache, &[]);
    let code = enroll(&attache);
    let (thief, owner) = (machine(), machine());
    let stolen = join(&thief, &url, &code).json();
    let refused =
        join(&owner, &url, &code).refused(5, "This code opens nothing: it was used, has run out, or never was.");
    assert!(refused.err.contains("somebody else did: remove that gateway"), "{}", refused.err);
    assert!(!owner.data().join("gateway/gateway.key").exists(), "nothing is kept of one that did not join");
    // What whoever connects is asked to compare is not what its owner saw, for there is nothing that they saw.
    let listed = attache.run(&["gateway", "list", "--output", "json"]).json();
    assert_eq!(listed[0]["fingerprint"], stolen["fingerprint"]);
    let mut forged = code.clone().into_bytes();
    let last = forged.len() - 50;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    for wrong in [String::from_utf8(forged).unwrap().as_str(), "nonsense", ""] {
        assert_ne!(join(&owner, &url, wrong).code, Some(0), "{wrong}");
    }
    join(&thief, &url, &code).refused(2, "is the gateway `plant`");
    attache.run(&["gateway", "enroll", "plant"]).refused(2, "There is a gateway `plant` already.");
    attache.run(&["gateway", "remove", "plant", "--yes"]).done();
    join(&owner, &url, &enroll(&attache)).done();
}

#[test]
fn keys_are_their_owners_alone_and_a_code_is_no_argument() {
    use std::os::unix::fs::PermissionsExt;
    let plant = Plant::joined();
    let file = plant.private.data().join("gateway/gateway.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    plant.private.run(&["gateway", "run", "--allow", "nas:443"]).refused(8, "can be read or written by others");
    let code = enroll_named(&plant.attache, "second");
    let said = machine().run(&["gateway", "join", "--host", &plant.url, "--code", &code]);
    assert!(!said.refused(2, "never an argument").err.contains(&code));
    machine().run(&["gateway", "run", "--allow", "nas:443"]).refused(3, "No gateway joined from here.");
    machine().run(&["gateway", "join", "--host", "http://attache.example.com", "--code", "-"]).refused(2, "");
}

#[track_caller]
pub(crate) fn enroll_named(attache: &Attache, name: &str) -> String {
    attache.run(&["gateway", "enroll", name]).done().trim().to_owned()
}

#[test]
fn another_host_is_not_believed_and_another_gateway_not_let_in() {
    let plant = Plant::joined();
    let other = machine();
    let (_other, other_url) = serving::serve(&other, &[]);
    // The line leads to another host: a forger has the name, not the key.
    let file = plant.private.data().join("gateway/gateway.key");
    let kept = fs::read_to_string(&file).unwrap();
    fs::write(&file, kept.replace(&plant.url, &other_url)).unwrap();
    let mut misled = plant.begin(&["nas:443"]);
    misled.said("Another host answers than the one that this gateway joined");
    drop(misled);
    // A code is good at the host that gave it only.
    join(&machine(), &other_url, &enroll_named(&plant.attache, "second")).refused(5, "Another host answers");
    // A gateway that joined elsewhere comes with keys that nobody knows here.
    let stranger = machine();
    join(&stranger, &other_url, &enroll(&other)).done();
    let file = stranger.data().join("gateway/gateway.key");
    let (own, theirs): (Value, Value) =
        (serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap(), serde_json::from_str(&kept).unwrap());
    let mut forged = own.clone();
    (forged["host"], forged["host-key"]) = (theirs["host"].clone(), theirs["host-key"].clone());
    fs::write(&file, forged.to_string()).unwrap();
    let refused = stranger.run(&["gateway", "run", "--allow", "nas:443"]);
    refused.refused(5, "The host does not know this gateway: it was removed, or never joined.");
    let listed = plant.attache.run(&["gateway", "list", "--output", "json"]).json();
    assert_eq!(listed[0]["state"], "not connected", "{listed}");
}

#[test]
fn a_gateway_that_is_not_there_has_a_sentence_of_its_own() {
    let service = Service::plain();
    let mut plant = Plant::reaching(&service.authority());
    plant.connect(&service.base());
    let listed = plant.attache.run(&["gateway", "list", "--output", "json"]).json();
    assert_eq!(listed[0]["state"], "connected", "{listed}");
    plant.running = None;
    soon("it is still connected", || {
        plant.attache.run(&["gateway", "show", "plant"]).done().starts_with("plant: not connected, last heard of 20")
    });
    plant.host = None;
    plant.get("/x").ended().refused(6, "dials a host that runs, and none runs here");
    let (host, _) = serving::serve(&plant.attache, &[]);
    plant.host = Some(host);
    plant.get("/x").ended().refused(6, "The gateway `plant` is not connected.");
}

#[test]
fn a_gateway_that_is_started_again_goes_on_where_nobody_minds() {
    let slow = Slow::start();
    let mut plant = Plant::reaching(&slow.service.authority());
    plant.connect(&slow.service.base());
    let (reads, writes) = (plant.get("/slow"), plant.post("/slow"));
    slow.asked(2);
    plant.running = None;
    writes.ended().refused(6, "so that nobody knows whether the service received it");
    plant.run(&[&slow.service.authority()]);
    // The one that only reads was sent again, and the other was not.
    slow.asked(3);
    slow.release();
    assert!(reads.ended().done().contains("200"));
    let received = slow.service.received();
    assert_eq!(received.iter().filter(|it| it.line.starts_with("POST /slow")).count(), 1, "{received:?}");
    assert!(plant.post("/x").ended().done().contains("200"));
}

#[test]
fn a_gateway_that_is_told_to_stop_answers_what_is_under_way() {
    let slow = Slow::start();
    let mut plant = Plant::reaching(&slow.service.authority());
    plant.connect(&slow.service.base());
    let writes = plant.post("/slow");
    slow.asked(1);
    let mut gateway = plant.running.take().unwrap();
    gateway.signal(Signal::TERM);
    gateway.said("Stopping.");
    slow.release();
    assert!(writes.ended().done().contains("200"));
    assert_eq!(gateway.ended().code, Some(0));
}

#[test]
fn a_line_that_is_half_open_is_found_out() {
    let slow = Slow::start();
    let plant = Plant::reaching(&slow.service.authority());
    plant.connect(&slow.service.base());
    let writes = plant.post("/slow");
    slow.asked(1);
    let began = Instant::now();
    plant.running.as_ref().unwrap().signal(Signal::STOP);
    writes.ended().refused(6, "The line to the gateway `plant` broke while the request was under way");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn a_host_that_is_started_again_has_its_gateways_back() {
    let service = Service::start(|_| ok("here"));
    let mut plant = Plant::reaching(&service.authority());
    plant.connect(&service.base());
    let port = plant.url.rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    plant.host = None;
    plant.host = Some(serving::serve_at(&plant.attache, &port));
    plant.running.as_mut().unwrap().said("Connected to");
    assert!(plant.get("/x").ended().done().contains("here"));
}

#[test]
fn connections_of_a_gateway_that_was_removed_say_what_mends_them() {
    let service = Service::plain();
    let mut plant = Plant::reaching(&service.authority());
    plant.connect(&service.base());
    plant.attache.run(&["gateway", "remove", "plant"]).refused(4, "`--yes` removes it");
    plant.attache.run(&["gateway", "remove", "plant", "--yes"]).done();
    let gateway = plant.running.take().unwrap();
    gateway.ended().refused(5, "The host does not know this gateway");
    let refused = plant.get("/x").ended().refused(4, "The gateway `plant` was removed.");
    assert!(refused.err.contains("attache connection reconnect http --gateway plant"), "{}", refused.err);
    // Another of the same name has another key, and is not the one that was agreed to.
    plant.private = machine();
    let joined = join(&plant.private, &plant.url, &enroll(&plant.attache)).json();
    plant.run(&[&service.authority()]);
    plant.get("/x").ended().refused(4, "it has another key");
    let key = joined["fingerprint"].as_str().unwrap();
    let again = ["connection", "reconnect", "http", "--secret", "password=env:SECRET", "--gateway-key", key, "--yes"];
    plant.attache.run(&again).done();
    assert!(plant.get("/x").ended().done().contains("hello from GET /x"));
    let shown = plant.attache.run(&["connection", "show", "http", "--output", "json"]).json();
    assert_eq!((&shown["generation"], &shown["consent"]["gateway"]["key"]), (&json!(2), &json!(key)), "{shown}");
}

#[test]
fn taking_consent_back_ends_what_is_under_way_through_a_gateway() {
    let slow = Slow::start();
    let plant = Plant::reaching(&slow.service.authority());
    plant.connect(&slow.service.base());
    let writes = plant.post("/slow");
    slow.asked(1);
    plant.attache.run(&["consent", "revoke", "http"]).done();
    writes.ended().refused(4, "was ended or connected anew in the meantime");
    plant.get("/x").ended().refused(4, "was revoked");
}

#[test]
fn redirects_are_followed_by_the_same_rules_and_the_credential_stays_home() {
    let other = Service::plain();
    let elsewhere = other.base();
    let service = Service::start(move |request| {
        if request.line.contains("/away") {
            let seen = request.header("authorization").unwrap_or_default();
            return answer(302, &[("Location", &format!("{elsewhere}/{seen}"))], "");
        }
        if request.line.contains("/home") {
            return answer(307, &[("Location", "/there")], "");
        }
        ok(&request.line)
    });
    let mut plant = Plant::joined();
    plant.run(&[&service.authority(), &other.authority()]);
    plant.connect(&service.base());
    let refused = plant.get("/away").ended().refused(5, "may not reach");
    assert!(!refused.err.contains("am86"), "not even in the sentence: {}", refused.err);
    assert!(other.received().is_empty());
    assert!(plant.get("/home").ended().done().contains("GET /there"));
    let last = service.received().pop().unwrap();
    assert!(last.header("authorization").is_some_and(|it| it.starts_with("Basic ")), "{last:?}");
}

#[test]
fn a_gateways_audit_that_was_altered_or_cut_is_told_where_it_is() {
    let service = Service::plain();
    let mut plant = Plant::reaching(&service.authority());
    plant.connect(&service.base());
    for _ in 0..3 {
        assert!(plant.get("/x").ended().done().contains("hello"));
    }
    plant.private.run(&["gateway", "verify"]).refused(8, "");
    let gateway = plant.running.take().unwrap();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().code, Some(0));
    let file = plant.private.data().join("gateway/audit.log");
    let whole = fs::read_to_string(&file).unwrap();
    let lines = whole.lines().count();
    assert_eq!(plant.private.run(&["gateway", "verify", "--output", "json"]).json()["lines"], lines);
    fs::write(&file, whole.replacen("/x", "/y", 1)).unwrap();
    plant.private.run(&["gateway", "verify"]).refused(8, "");
    let cut: String = whole.lines().take(lines - 1).map(|line| format!("{line}\n")).collect();
    fs::write(&file, cut).unwrap();
    plant.private.run(&["gateway", "verify"]).refused(8, "");
    fs::write(&file, whole).unwrap();
    plant.private.run(&["gateway", "verify"]).done();
}
