//! Webhooks: an application is told what happens to its connections, by messages that it can check, whatever happens to the
//! host, the network or the application in between.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::Stdio,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use attache_tests::{
    Attache, Canary,
    peers::python,
    service::{Received, Service, answer},
};
use serde_json::{Value, json};

use crate::{
    connect, oauth,
    serving::{self, Host, stop},
    with_echo,
};

/// How long a message may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a receiver may take.
const GIVEN_UP: Duration = Duration::from_secs(20);

/// An application that is told: a service that notes what it is sent, and answers as a story says.
pub struct Receiver {
    service: Service,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    /// What it answers next; then 204.
    answers: Vec<Vec<u8>>,
    /// Whether it takes what it is sent and does not answer.
    holds: bool,
}

/// A message as it arrived.
#[derive(Debug, Clone)]
pub struct Message {
    path: String,
    pub id: String,
    headers: Value,
    text: String,
    pub body: Value,
    at: Instant,
}

impl Message {
    fn of(received: &Received) -> Self {
        let name = |what: &str| format!("webhook-{what}");
        let headers = ["id", "timestamp", "signature"]
            .map(|what| (name(what), received.header(&name(what)).unwrap_or_default().into()));
        let text = String::from_utf8(received.body.clone()).unwrap();
        assert!(received.line.starts_with("POST "), "{}", received.line);
        assert_eq!(received.header("content-type"), Some("application/json"));
        Self {
            path: received.line.split(' ').nth(1).unwrap().to_owned(),
            id: received.header("webhook-id").unwrap().to_owned(),
            headers: Value::Object(headers.into_iter().collect()),
            body: serde_json::from_str(&text).unwrap(),
            text,
            at: Instant::now(),
        }
    }

    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }
}

impl Receiver {
    pub fn start() -> Self {
        let state = Arc::<(Mutex<State>, Condvar)>::default();
        let its = state.clone();
        let service = Service::start(move |received| {
            let (state, changed) = &*its;
            let mut state = state.lock().unwrap();
            state.messages.push(Message::of(received));
            changed.notify_all();
            let mut state = changed.wait_while(state, |state| state.holds).unwrap_or_else(PoisonError::into_inner);
            if state.answers.is_empty() { answer(204, &[], "") } else { state.answers.remove(0) }
        });
        Self { service, state }
    }

    /// Next it answers so.
    pub fn will(self, status: u16, headers: &[(&str, &str)]) -> Self {
        self.state.0.lock().unwrap().answers.push(answer(status, headers, "<b>not now</b>"));
        self
    }

    fn holds(&self, holds: bool) {
        self.state.0.lock().unwrap().holds = holds;
        self.state.1.notify_all();
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.base())
    }

    pub fn authority(&self) -> String {
        self.service.authority()
    }

    /// All that it was sent so far.
    pub fn messages(&self) -> Vec<Message> {
        self.state.0.lock().unwrap().messages.clone()
    }

    /// Waits until it was sent so many messages, and gives all that there are.
    #[track_caller]
    pub fn sent(&self, messages: usize) -> Vec<Message> {
        let (state, changed) = &*self.state;
        let waiting = |state: &mut State| state.messages.len() < messages;
        let (state, late) = changed.wait_timeout_while(state.lock().unwrap(), PATIENCE, waiting).unwrap();
        assert!(!late.timed_out(), "it was sent {:?}, and not {messages} messages", state.messages);
        state.messages.clone()
    }
}

/// Adds a webhook, and gives its secret.
#[track_caller]
pub fn add(attache: &Attache, name: &str, receiver: &Receiver, more: &[&str]) -> String {
    let (url, authority) = (receiver.url(&format!("/{name}")), receiver.authority());
    let add = ["webhook", "add", &url, "--name", name, "--allow-private", &authority];
    attache.run(&[&add[..], more].concat()).done().trim().to_owned()
}

#[track_caller]
fn shown(attache: &Attache, name: &str) -> Value {
    attache.run(&["webhook", "show", name, "--output", "json"]).json()
}

/// Waits until that is true of a webhook.
#[track_caller]
pub fn until(attache: &Attache, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let webhook = shown(attache, name);
        if is_so(&webhook) {
            return webhook;
        }
        assert!(began.elapsed() < PATIENCE, "it stays {webhook}");
    }
}

/// What the library of Standard Webhooks for Python makes of messages.
#[track_caller]
pub fn verify(secret: &str, messages: &[Message]) -> Vec<bool> {
    let all: Vec<Value> = messages.iter().map(|message| json!([message.text, message.headers])).collect();
    let script = format!(
        "import json\n\
         from standardwebhooks.webhooks import Webhook, WebhookVerificationError\n\
         webhook = Webhook({})\n\
         for text, headers in json.loads({}):\n\
         \x20   try:\n\
         \x20       print(webhook.verify(text, headers)['type'] == json.loads(text)['type'])\n\
         \x20   except WebhookVerificationError:\n\
         \x20       print(False)\n",
        json!(secret),
        json!(json!(all).to_string())
    );
    python(&script).lines().map(|line| line == "True").collect()
}

fn kinds(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(Message::kind).collect()
}

/// A machine with the echo guest, and a service to connect it to.
fn story() -> (Attache, Service) {
    (with_echo(), Service::plain())
}

fn serve(attache: &Attache) -> Host {
    serving::serve(attache, &[]).0
}

fn connected(attache: &Attache, service: &Service, name: &str) {
    connect(attache, "header", service, &["--name", name]).done();
}

#[test]
fn everything_that_happens_to_a_connection_is_told_once_and_signed() {
    let story = oauth::story(&json!({}));
    let receiver = Receiver::start();
    let secret = add(&story.attache, "app", &receiver, &[]);
    story.attache.run(&["environment", "create", "other"]).done();
    add(&story.attache, "foreign", &receiver, &["--environment", "other"]);
    let mut host = serve(&story.attache);
    story.connect("discovered", &[]);
    receiver.sent(2);
    story.oidc.forget_access_tokens();
    assert_eq!(story.send("/api/me")["status"], 200);
    receiver.sent(3);
    // A host does not renew again at once what a service refused right after it was renewed.
    stop(&mut host);
    let _host = serve(&story.attache);
    story.oidc.revoke_all();
    story.oidc.forget_access_tokens();
    for _ in 0..2 {
        assert_eq!(story.send("/api/me")["error"], "needs-reconnect");
    }
    story.finish(story.attache.begin(&["connection", "reconnect", "oauth", "--timeout", "60"]));
    story.attache.run(&["consent", "revoke", "oauth"]).done();
    story.attache.run(&["connection", "remove", "oauth", "--yes"]).done();
    let all = receiver.sent(7);
    // Where a host runs, whoever connects by the command line goes by a link, too.
    let (of_sessions, messages): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|it| it.kind() == "session.ended");
    assert_eq!(kinds(&of_sessions), ["session.ended"; 2]);
    let told =
        ["connected", "refreshed", "needs-reconnect", "connected", "revoked"].map(|it| format!("connection.{it}"));
    assert_eq!(kinds(&messages), told);
    until(&story.attache, "app", |it| it["waiting"] == 0);
    assert_eq!(receiver.messages().len(), 7, "each comes once, and nothing is told elsewhere");
    let data = |reason: Option<&str>| {
        let id = messages[0].body["data"]["connection-id"].clone();
        let mut data = json!({ "environment": "default", "connection": "oauth", "connection-id": id, "connector": "oauth",
                "owner": "cli:tester" });
        reason.inspect(|reason| data["reason"] = (*reason).into());
        data
    };
    for (message, reason) in messages.iter().zip([None, None, Some("refused"), None, Some("consent-revoked")]) {
        assert_eq!((message.path.as_str(), &message.body["data"]), ("/app", &data(reason)), "{message:?}");
        let members: Vec<&String> = message.body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["type", "timestamp", "data"]);
        message.body["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }
    assert_eq!(verify(&secret, &all), [true; 7]);
    let another = add(&story.attache, "another", &receiver, &[]);
    assert_eq!(verify(&another, &all), [false; 7]);
    let mut tampered = messages[0].clone();
    tampered.text = tampered.text.replace("default", "defunct");
    assert_eq!(verify(&secret, &[tampered]), [false]);
}

#[test]
fn what_happens_while_no_host_runs_is_told_by_the_next_one() {
    let (attache, service) = story();
    let receiver = Receiver::start();
    let secret = add(&attache, "app", &receiver, &[]);
    connected(&attache, &service, "one");
    attache.run(&["connection", "remove", "one", "--yes"]).done();
    assert_eq!((shown(&attache, "app")["waiting"].clone(), receiver.messages().len()), (json!(2), 0));
    let mut host = serve(&attache);
    let messages = receiver.sent(2);
    assert_eq!(kinds(&messages), ["connection.connected", "connection.revoked"]);
    assert_eq!(messages[1].body["data"]["reason"], "removed");
    assert_eq!(verify(&secret, &messages), [true; 2]);
    let told = until(&attache, "app", |it| it["waiting"] == 0);
    assert_eq!(told["last"]["delivered"], true, "{told}");
    stop(&mut host);
    let _host = serve(&attache);
    connected(&attache, &service, "two");
    assert_eq!(receiver.sent(3).len(), 3, "what was delivered is not sent again");
}

#[test]
fn a_message_that_is_put_off_comes_again_when_the_receiver_says_under_the_same_id() {
    let (attache, service) = story();
    let receiver = Receiver::start().will(503, &[("Retry-After", "1")]);
    let secret = add(&attache, "app", &receiver, &[]);
    connected(&attache, &service, "one");
    let _host = serve(&attache);
    let messages = receiver.sent(2);
    assert_eq!((&messages[0].id, &messages[0].text), (&messages[1].id, &messages[1].text));
    let waited = messages[1].at - messages[0].at;
    assert!((Duration::from_millis(900)..Duration::from_secs(30)).contains(&waited), "{waited:?}");
    assert_eq!(verify(&secret, &messages), [true; 2]);
    until(&attache, "app", |it| it["waiting"] == 0);
}

#[test]
fn a_host_that_is_killed_while_it_tells_tells_again_under_the_same_id() {
    let (attache, service) = story();
    let receiver = Receiver::start();
    add(&attache, "app", &receiver, &[]);
    receiver.holds(true);
    let mut host = serve(&attache);
    connected(&attache, &service, "one");
    let first = receiver.sent(1);
    host.kill().unwrap();
    host.wait().unwrap();
    receiver.holds(false);
    let _host = serve(&attache);
    let messages = receiver.sent(2);
    assert_eq!((&messages[1].id, &messages[1].text), (&first[0].id, &first[0].text));
    until(&attache, "app", |it| it["waiting"] == 0);
    assert_eq!(receiver.messages().len(), 2);
}

#[test]
fn a_redirect_is_not_followed_and_a_test_says_so() {
    let (attache, elsewhere) = (with_echo(), Receiver::start());
    let receiver = Receiver::start().will(302, &[("Location", &elsewhere.url("/there"))]);
    let secret = add(&attache, "app", &receiver, &[]);
    attache.run(&["webhook", "test", "app"]).refused(6, "status 302");
    let said = attache.run(&["webhook", "test", "app"]).done();
    assert!(said.contains("status 204"), "{said}");
    let messages = receiver.sent(2);
    assert_eq!(kinds(&messages), ["ping", "ping"]);
    assert_eq!(messages[0].body["data"], json!({ "environment": "default", "webhook": "app" }));
    assert_eq!(verify(&secret, &messages), [true; 2]);
    assert!(elsewhere.messages().is_empty());
    attache.run(&["webhook", "test", "none"]).refused(3, "no webhook `none`");
    let lines = attache.run(&["audit", "list", "--output", "json", "--event", "webhook-tested"]).json();
    assert_eq!(lines.as_array().unwrap().len(), 2, "{lines}");
}

#[test]
fn a_receiver_that_says_it_is_gone_is_told_nothing_more() {
    let (attache, service) = story();
    let receiver = Receiver::start().will(410, &[]);
    add(&attache, "app", &receiver, &[]);
    for name in ["one", "two"] {
        connected(&attache, &service, name);
    }
    let _host = serve(&attache);
    let gone = until(&attache, "app", |it| it["disabled"].is_string());
    assert_eq!((&gone["waiting"], &gone["dropped"]), (&json!(0), &json!(2)), "{gone}");
    connected(&attache, &service, "three");
    assert_eq!(shown(&attache, "app")["waiting"], 0);
    let lines = attache.run(&["audit", "list", "--output", "json", "--event", "webhook-disabled"]).json();
    assert_eq!((&lines[0]["webhook"], &lines[0]["dropped"]), (&json!("app"), &json!(2)), "{lines}");
    assert!(attache.run(&["webhook", "list"]).done().contains("disabled"));
    // Who is there again is told again, of what happens from then on.
    assert!(attache.run(&["webhook", "show", "app"]).done().contains("attache webhook enable app"));
    for _ in 0..2 {
        attache.run(&["webhook", "enable", "app"]).done();
    }
    let enabled = shown(&attache, "app");
    assert_eq!((&enabled["disabled"], &enabled["dropped"]), (&Value::Null, &json!(2)), "{enabled}");
    connected(&attache, &service, "four");
    assert_eq!(receiver.sent(2)[1].body["data"]["connection"], "four");
    let lines = attache.run(&["audit", "list", "--output", "json", "--event", "webhook-enabled"]).json();
    assert_eq!(lines.as_array().unwrap().len(), 1, "who is told already is not enabled: {lines}");
    attache.run(&["webhook", "enable", "none"]).refused(3, "no webhook `none`");
}

#[test]
fn a_receiver_that_does_not_answer_keeps_no_other_waiting() {
    let (attache, service) = story();
    let (slow, quick) = (Receiver::start(), Receiver::start());
    slow.holds(true);
    add(&attache, "a-slow", &slow, &[]);
    add(&attache, "quick", &quick, &[]);
    let _host = serve(&attache);
    for (name, told) in [("one", 1), ("two", 2), ("three", 3)] {
        connected(&attache, &service, name);
        let began = Instant::now();
        quick.sent(told);
        assert!(began.elapsed() < GIVEN_UP / 2, "it waits for the other");
    }
    assert_eq!(slow.sent(1).len(), 1, "it holds the first");
    slow.holds(false);
    let told: Vec<Value> = slow.sent(3).iter().map(|it| it.body["data"]["connection"].clone()).collect();
    assert_eq!(told, ["one", "two", "three"]);
}

#[test]
fn an_endpoint_that_was_removed_is_sent_nothing_that_waited_for_it() {
    let (attache, service) = story();
    let (removed, kept) = (Receiver::start(), Receiver::start());
    add(&attache, "app", &removed, &[]);
    add(&attache, "kept", &kept, &["--event", "connection.revoked"]);
    connected(&attache, &service, "one");
    assert_eq!(shown(&attache, "app")["waiting"], 1);
    attache.run(&["webhook", "remove", "app"]).done();
    // Another of its name does not take over what waited.
    add(&attache, "app", &kept, &[]);
    let _host = serve(&attache);
    attache.run(&["connection", "remove", "one", "--yes"]).done();
    let messages = kept.sent(2);
    assert_eq!(kinds(&messages), ["connection.revoked"; 2], "and each is told only what it wants to know");
    assert_eq!(messages[0].id, messages[1].id, "it is one event");
    assert!(removed.messages().is_empty());
    attache.run(&["webhook", "show", "gone"]).refused(3, "no webhook `gone`");
    let checked = attache.run(&["store", "check", "--output", "json"]);
    assert!(!checked.out.contains("knows no record"), "{}", checked.out);
}

#[test]
fn an_endpoint_that_is_removed_while_it_is_told_is_told_no_more() {
    let (attache, service) = story();
    let receiver = Receiver::start();
    receiver.holds(true);
    add(&attache, "app", &receiver, &[]);
    let _host = serve(&attache);
    for name in ["one", "two"] {
        connected(&attache, &service, name);
    }
    receiver.sent(1);
    attache.run(&["webhook", "remove", "app"]).done();
    receiver.holds(false);
    // Somebody else is told after it would have been.
    let other = Receiver::start();
    add(&attache, "other", &other, &[]);
    connected(&attache, &service, "three");
    other.sent(1);
    assert_eq!(receiver.messages().len(), 1);
}

#[test]
fn a_message_on_its_way_to_an_endpoint_that_is_removed_is_ended() {
    let (attache, service) = story();
    let receiver = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let authority = receiver.local_addr().unwrap().to_string();
    let url = format!("http://{authority}/hooks");
    attache.run(&["webhook", "add", &url, "--name", "app", "--allow-private", &authority]).done();
    let _host = serve(&attache);
    connected(&attache, &service, "one");
    let (mut told, _) = receiver.accept().unwrap();
    let mut head = [0; 5];
    told.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"POST ");
    attache.run(&["webhook", "remove", "app"]).done();
    // Well before the receiver would be given up.
    told.set_read_timeout(Some(GIVEN_UP / 2)).unwrap();
    let mut rest = Vec::new();
    told.read_to_end(&mut rest).expect("the host lets go of who was removed");
    receiver.set_nonblocking(true).unwrap();
    assert!(receiver.accept().is_err(), "and does not come again");
}

#[test]
fn a_new_secret_signs_beside_the_one_before() {
    let (attache, receiver) = (with_echo(), Receiver::start());
    let mut attache = attache;
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    attache.set("HOOK_SECRET", given);
    let said = add(&attache, "app", &receiver, &["--secret", "env:HOOK_SECRET"]);
    assert!(!said.contains(given), "{said}");
    let next = attache.run(&["webhook", "rotate", "app"]).done().trim().to_owned();
    assert!(next.starts_with("whsec_") && next != given, "{next}");
    attache.run(&["webhook", "test", "app"]).done();
    let messages = receiver.sent(1);
    assert_eq!([verify(given, &messages), verify(&next, &messages)], [[true], [true]]);
    let last = attache.run(&["webhook", "rotate", "app"]).done().trim().to_owned();
    attache.run(&["webhook", "test", "app"]).done();
    let message = &receiver.sent(2)[1..];
    assert_eq!([given, &next, &last].map(|secret| verify(secret, message)[0]), [false, true, true]);
}

#[test]
fn a_person_who_was_sent_a_link_is_told_of_when_the_application_confirms() {
    let story = serving::story(&[]);
    let receiver = Receiver::start();
    add(&story.attache, "app", &receiver, &[]);
    let page = story.come_back(&story.link());
    assert_eq!(shown(&story.attache, "app")["waiting"], 0, "it is no connection yet");
    story.confirm(&serving::code_of(&page), "alice").done();
    let messages = receiver.sent(2);
    assert_eq!(kinds(&messages), ["connection.connected", "session.ended"]);
    story.attache.run(&["connection", "remove", "oauth", "--yes"]).done();
    assert!(receiver.sent(3).iter().all(|message| message.body["data"]["owner"] == "alice"));
}

#[test]
fn no_secret_is_in_a_message_a_log_an_answer_or_a_file() {
    let (mut attache, service) = story();
    let receiver = Receiver::start().will(500, &[]);
    let (hook, query) = (Canary::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Canary::new("query-canary-77aa0e51"));
    let key = Canary::new(crate::KEY);
    attache.set("HOOK_SECRET", &hook.secret).set("ATTACHE_LOG", "trace");
    let (url, authority) = (receiver.url(&format!("/hook?token={}", query.secret)), receiver.authority());
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut serve = attache.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut host = Host(serve.stdout(Stdio::piped()).stderr(log.reopen().unwrap()).spawn().unwrap());
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let add = ["webhook", "add", &url, "--name", "app", "--allow-private", &authority, "--secret", "env:HOOK_SECRET"];
    let mut said = vec![attache.run(&add)];
    connected(&attache, &service, "one");
    receiver.sent(1);
    until(&attache, "app", |it| it["last"].is_object());
    for arguments in [
        &["webhook", "list"][..],
        &["webhook", "list", "--output", "json"],
        &["webhook", "show", "app"],
        &["webhook", "test", "app"],
        &["audit", "list", "--output", "json"],
        &["connection", "remove", "one", "--yes"],
    ] {
        said.push(attache.run(arguments));
    }
    stop(&mut host);
    let log = fs::read(log.path()).unwrap();
    assert!(String::from_utf8_lossy(&log).contains("a message was tried"), "it says what is done");
    for canary in [&hook, &query, &key] {
        for outcome in &said {
            canary.is_not_in("what was printed", outcome.out.as_bytes());
            canary.is_not_in("what was said", outcome.err.as_bytes());
        }
        canary.is_not_in("the log", &log);
        for message in receiver.messages() {
            canary.is_not_in("a message", message.text.as_bytes());
        }
        assert!(canary.is_not_below(attache.folder()) > 3);
    }
    assert!(receiver.messages().iter().all(|message| message.path.ends_with(&query.secret)), "it is sent there");
}
