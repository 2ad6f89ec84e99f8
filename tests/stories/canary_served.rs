//! The same search around a host that runs, which logs everything: its standard error, what its operators and applications are
//! answered, its pages, its numbers, its backup and its files.

use std::path::PathBuf;

use attache_tests::{Attache, Canary, Outcome, authority::Authority, canary::Seen, peers::free_port, service::Service};
use serde_json::{Value, json};

use crate::{
    canary_schemes::{Front, PLANTED, Scheme, carried, lacks_all, planting, received, reflecting, schemes, secrets},
    console_guard::session,
    machine,
    operating::{Running, start_logging},
};

pub(crate) struct Story {
    pub(crate) running: Running,
    pub(crate) seen: Seen,
    log: PathBuf,
    metrics: String,
    /// An application's key, and the operator's cookie.
    key: String,
    cookie: String,
}

impl Story {
    /// A host that runs with these guests, isolated so, and logs all there is.
    pub(crate) fn of(mut attache: Attache, guests: &[&str], isolation: &str) -> Self {
        for guest in guests {
            // Before anything is logged: what the compiler has to say takes minutes.
            attache.add(guest);
            attache.run(&["connector", "isolate", guest, isolation]).done();
        }
        attache.set("ATTACHE_LOG", "trace").set("RUST_BACKTRACE", "1");
        let log = attache.folder().join("log");
        let metrics = format!("127.0.0.1:{}", free_port());
        let running = start_logging(attache, &["--metrics-listen", &metrics], &log);
        let key = running.key("app", &["--may", "administer", "--may", "call", "--allow", "write"]);
        let cookie = session(&running.attache, &running.url, &[]);
        Self { running, seen: Seen::default(), log, metrics, key, cookie }
    }

    pub(crate) fn note(&mut self, what: &str, outcome: Outcome) -> String {
        self.seen.note(format!("standard output of {what}"), outcome.out.clone());
        self.seen.note(format!("standard error of {what}"), outcome.err);
        outcome.out
    }

    /// Runs a command, which goes through the host.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> String {
        let outcome = self.running.attache.run(arguments);
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.err);
        self.note(&format!("{arguments:?}"), outcome)
    }

    /// Calls by the command line, and as an application does.
    pub(crate) fn call(&mut self, connection: &str, input: &Value) {
        self.run(&["call", connection, "send", "--input", &input.to_string()]);
        let answer = self.running.call_of(&self.key, connection, "send", &[], input);
        self.seen.note(format!("an answer of the API to {connection}"), format!("{answer:?}"));
    }

    /// Looks at everything that there is to be looked at.
    pub(crate) fn look_around(&mut self, connections: &[&str], connectors: &[&str]) {
        for connection in connections {
            for arguments in [&["connection", "show"][..], &["connection", "check"], &["consent", "show"]] {
                self.run(&[arguments, &[connection]].concat());
            }
        }
        for arguments in [
            &["connection", "list"][..],
            &["consent", "list"],
            &["connector", "list"],
            &["audit", "list", "--limit", "1000"],
            &["caller", "list"],
            &["config", "show"],
            &["store", "check"],
        ] {
            self.run(arguments);
        }
        // Every route that the API's own document has and that only tells something.
        let document = self.running.asked("GET", "/v1/openapi.json", &[], None).json();
        let mut asked = 0;
        for (path, _) in document["paths"].as_object().unwrap().iter().filter(|(_, item)| item["get"].is_object()) {
            let named =
                |name: &str, values: &[&str]| values.iter().map(|it| path.replace(name, it)).collect::<Vec<_>>();
            for path in [named("{connection}", connections), named("{connector}", connectors)].concat() {
                let answer = self.running.ask(&self.key, "GET", &path, &[]);
                asked += usize::from(answer.status == 200);
                self.seen.note(format!("the API's {path}"), format!("{answer:?}"));
            }
        }
        assert!(asked > 10, "{asked}");
        let mut pages = vec!["".to_owned()];
        pages.extend(["/connectors", "/connect", "/connections", "/consents", "/gateways", "/audit"].map(Into::into));
        for connection in connections {
            pages.extend([format!("/connections/{connection}"), format!("/consents/{connection}")]);
            pages.push(format!("/audit?connection={connection}"));
        }
        pages.extend(connectors.iter().map(|connector| format!("/connectors/{connector}")));
        for page in pages {
            let answer = self.running.asked("GET", &format!("/console{page}"), &[("cookie", &self.cookie)], None);
            assert_eq!(answer.status, 200, "{page}: {}", answer.text);
            self.seen.note(format!("the console's {page}"), format!("{answer:?}"));
        }
        let metrics = reqwest::blocking::get(format!("http://{}/metrics", self.metrics)).unwrap();
        self.seen.note("the metrics", metrics.text().unwrap());
    }

    /// Backs up, stops, and keeps everything that is left behind.
    pub(crate) fn end(&mut self) {
        let backup = self.running.attache.folder().join("backup");
        self.run(&["backup", backup.to_str().unwrap()]);
        self.running.stop();
        self.seen.note("the backup", std::fs::read(&backup).unwrap());
        self.seen.note("the log", std::fs::read(&self.log).unwrap());
        self.seen.note_below(&self.running.attache.folder().join("home"));
    }

    /// Demands that the search finds what was planted in the places that take what somebody else wrote.
    pub(crate) fn finds_what_was_planted(&self, everywhere: &[&str]) {
        let planted = Canary::new(PLANTED);
        let audit = self.running.attache.data().join("audit.log").display().to_string();
        for place in everywhere.iter().chain(&["the log", "standard output of [\"audit", &audit]) {
            self.seen.has(&planted, place);
        }
        for place in ["the API's /v1/audit", "the console's /audit"] {
            self.seen.shows(&planted, place);
        }
        // Names are in all of them.
        let name = Canary::new("planted-name-77c1");
        for place in [
            "standard output of [\"connection\", \"show\"",
            "standard output of [\"consent\", \"list\"",
            "the API's /v1/connections",
            "the console's /connections",
            "the console's /consents",
        ] {
            self.seen.shows(&name, place);
        }
        self.seen.shows(&Canary::new("attache_calls"), "the metrics");
        self.seen.shows(&Canary::new("TRACE"), "the log");
    }
}

/// In which variable of the environment it is.
fn variable(scheme: &Scheme, secret: &str) -> String {
    format!("SECRET_OF_{}_{secret}", scheme.option)
}

fn connect(story: &mut Story, scheme: &Scheme, name: &str, service: &Front, open: &Front) {
    let (base, open_base) = (format!("base={}", service.base), format!("open={}", open.base));
    let (allow, allow_open) = (service.authority(), open.authority());
    let secrets: Vec<String> =
        scheme.typed.iter().map(|(secret, _)| format!("{secret}=env:{}", variable(scheme, secret))).collect();
    let more: Vec<String> = scheme.more.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut arguments = vec!["connect", scheme.guest, "--name", name, "--auth", scheme.option];
    arguments.extend(["--set", &base, "--set", &open_base]);
    arguments.extend(["--allow-private", allow, "--allow-private", allow_open, "--yes"]);
    secrets.iter().for_each(|secret| arguments.extend(["--secret", secret]));
    more.iter().for_each(|more| arguments.extend(["--set", more]));
    story.run(&arguments);
}

#[track_caller]
fn no_schemes_secret_is_told(isolation: &str) {
    let (mut attache, authority) = (machine(), Authority::new());
    attache.configure(&format!("ca-file = \"{}\"\n", authority.certificate().display()));
    let schemes = schemes(&authority);
    for scheme in &schemes {
        for (secret, value) in &scheme.typed {
            attache.set(&variable(scheme, secret), value);
        }
    }
    let mut story = Story::of(attache, &["echo", "signs-in"], isolation);
    let mut canaries = Vec::from(secrets().map(Canary::new));
    let (mut names, mut fronts, last) = (Vec::new(), Vec::new(), schemes.last().unwrap().option);
    for scheme in &schemes {
        let (open, other) = (Service::plain(), Service::plain());
        let open_front = Front::of(&open, scheme, &authority);
        let service = reflecting(scheme, &open_front);
        let front = Front::of(&service, scheme, &authority);
        let (base, open_base) = (&*front.base, &*open_front.base);
        let name = if scheme.option == "header" { "planted-name-77c1" } else { scheme.option };
        connect(&mut story, scheme, name, &front, &open_front);
        let to = |url: String, attach: bool| json!({ "url": url, "method": scheme.method, "attach": attach });
        for path in ["/x", "/refuse", "/expired", "/to-open", "/carry"] {
            story.call(name, &to(format!("{base}{path}"), true));
        }
        let shown = to(format!("{base}/x"), true).to_string();
        story.run(&["call", name, "send", "--input", &shown, "--dry-run"]);
        story.call(name, &to(format!("{}/loot", other.base()), true));
        // Of the last scheme, since what is looked at is mostly the newest.
        if scheme.option == last {
            let planting = [planting(base, &json!({})), planting(open_base, &json!({ "attach": false }))].concat();
            planting.iter().for_each(|input| story.call(name, input));
        }
        story.seen.note("the open host", received(&open));
        canaries.extend(carried(scheme, &service));
        assert!(open.received().iter().any(|it| it.line.contains("/public")) && other.received().is_empty());
        names.push(name);
        // They are looked at later, too.
        fronts.extend([front, open_front]);
    }
    story.look_around(&names, &["echo", "signs-in"]);
    story.end();
    lacks_all(&story.seen, canaries);
    story.finds_what_was_planted(&["standard output of [\"call\"", "an answer of the API", "the open host"]);
}

#[test]
fn a_host_that_makes_an_instance_for_each_call_tells_no_schemes_secret_to_anybody() {
    no_schemes_secret_is_told("call");
}

#[test]
fn a_host_that_keeps_instances_tells_no_schemes_secret_to_anybody() {
    no_schemes_secret_is_told("connection");
}
