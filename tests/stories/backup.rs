//! `attache backup` and `restore`: everything that is kept in one sealed file, while the host runs, and back.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use attache_tests::{Attache, Browser, Canary, Outcome, peers::oidc, service::Service};
use serde_json::{Value, json};

use crate::{
    KEY, connect, connected,
    made_once::NAME,
    oauth::{self, SECRET},
    operating::{start, with_tools},
    serving::{RETURN, serve},
};

/// A data directory beside the machine's own.
pub(crate) struct Restored<'a> {
    attache: &'a Attache,
    pub(crate) data: PathBuf,
}

impl Restored<'_> {
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.attache.run(&[&["--data-dir", self.data.to_str().unwrap()], arguments].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[&["--output", "json"], arguments].concat()).json()
    }

    fn send(&self, connection: &str, url: &str) -> Outcome {
        self.run(&["--output", "json", "call", connection, "send", "--input", &json!({ "url": url }).to_string()])
    }

    /// Demands that nothing in it is amiss.
    #[track_caller]
    fn is_whole(&self) {
        let checked = self.json(&["store", "check"]);
        assert_eq!(checked["findings"], json!([]), "{checked}");
        self.run(&["audit", "verify"]).done();
    }
}

/// A place where nothing is yet.
pub(crate) fn beside<'a>(attache: &'a Attache, name: &str) -> Restored<'a> {
    Restored { attache, data: attache.folder().join(name) }
}

/// Makes a backup, and gives its path.
#[track_caller]
pub(crate) fn backed_up(attache: &Attache, name: &str) -> String {
    let file = attache.folder().join(name).to_str().unwrap().to_owned();
    attache.run(&["backup", &file]).done();
    file
}

#[track_caller]
fn restored<'a>(attache: &'a Attache, file: &str, name: &str) -> Restored<'a> {
    let restored = beside(attache, name);
    restored.run(&["restore", file]).done();
    restored
}

#[test]
fn what_was_backed_up_is_there_again_and_works() {
    let service = Service::plain();
    let attache = connected(&service);
    attache.run(&["environment", "create", "staging"]).done();
    attache.run(&["connector", "isolate", "echo", "connection"]).done();
    attache.run(&["caller", "create", "reports"]).done();
    attache.call("echo", "send", &json!({ "url": service.base() }));
    let file = attache.folder().join("kept");
    let made = attache.run(&["--output", "json", "backup", file.to_str().unwrap()]).json();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((&made["connections"], &made["connectors"], &made["audit-fault"]), (&json!(1), &json!(1), &json!(null)));
    assert_eq!(made["bytes"], fs::metadata(&file).unwrap().len());
    // What comes after it is not in it.
    attache.run(&["environment", "create", "later"]).done();
    let file = file.to_str().unwrap();
    let looked_at = attache.run(&["--output", "json", "restore", file, "--check"]).json();
    let again = beside(&attache, "again");
    let said = again.json(&["restore", file]);
    for count in ["moment", "records", "connections", "connectors", "audit-lines"] {
        assert_eq!((&said[count], &looked_at[count]), (&made[count], &made[count]), "{count}: {said} {looked_at}");
    }
    assert_eq!((&said["version"], &said["callers"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(1)));
    again.is_whole();
    for list in [&["connection", "list"][..], &["connector", "list"], &["consent", "show", "echo"], &["caller", "list"]]
    {
        let here = attache.run(&[&["--output", "json"], list].concat()).json();
        assert_eq!(again.json(list), here, "{list:?}");
    }
    assert_eq!(again.json(&["environment", "list"]).as_array().unwrap().len(), 2);
    let before = service.received().len();
    assert_eq!(again.send("echo", &service.base()).json()["status"], 200);
    assert_eq!(service.received()[before].header("x-api-key"), Some(KEY));
    // The audit goes on, and says that it does.
    let lines = again.json(&["audit", "list", "--limit", "1000"]);
    let lines = lines.as_array().unwrap();
    let at = lines.iter().position(|line| line["event"] == "restored").unwrap();
    assert_eq!((&lines[at]["moment"], &lines[at]["caller"]), (&made["moment"], &json!("cli:tester")));
    assert_eq!(lines[at]["seq"].as_u64().unwrap(), made["audit-lines"].as_u64().unwrap() + 1);
    assert!(lines[..at].iter().any(|line| line["event"] == "backed-up" && line["opens-with"] == "key"));
    assert!(lines[at..].iter().any(|line| line["event"] == "credential-used"), "{lines:?}");
    // And the other is as it was.
    attache.call("echo", "send", &json!({ "url": service.base() }));
    attache.run(&["audit", "verify"]).done();
}

#[test]
fn a_backup_of_a_host_that_runs_is_of_one_moment_whatever_else_is_done() {
    let service = Service::plain();
    let attache = connected(&service);
    let (_host, _) = serve(&attache, &[]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        let until_over = |mut work: Box<dyn FnMut(usize) + Send>| {
            let over = &over;
            scope.spawn(move || (0..).take_while(|_| !over.load(Ordering::Acquire)).for_each(&mut work))
        };
        until_over(Box::new(|_| drop(attache.call("echo", "send", &json!({ "url": service.base() })))));
        until_over(Box::new(|round| {
            let name = format!("c{round}");
            connect(&attache, "header", &service, &["--name", &name]).done();
            if round % 2 == 0 {
                attache.run(&["connection", "remove", &name, "--yes"]).done();
            }
        }));
        until_over(Box::new(|round| {
            attache.run(&["caller", "create", &format!("k{round}")]).done();
            attache.run(&["environment", "create", &format!("e{round}")]).done();
        }));
        for round in 0..6 {
            let file = backed_up(&attache, &format!("backup-{round}"));
            let again = beside(&attache, &format!("again-{round}"));
            let said = again.json(&["restore", &file]);
            assert_eq!(said["audit-fault"], json!(null));
            again.is_whole();
            // Whatever a record tells of, a line tells of too: lines come first.
            let lines = again.json(&["audit", "list", "--limit", "1000", "--event", "connected"]);
            let told: Vec<&str> = lines.as_array().unwrap().iter().filter_map(|it| it["connection"].as_str()).collect();
            for connection in again.json(&["connection", "list"]).as_array().unwrap() {
                assert!(told.contains(&connection["name"].as_str().unwrap()), "{connection} {told:?}");
            }
        }
    });
}

/// Says that it is over, whatever came of it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn no_secret_and_no_name_is_in_a_backup() {
    let service = Service::plain();
    let attache = connected(&service);
    let name = "canary-of-a-name-5f1d";
    attache.run(&["environment", "create", name]).done();
    connect(&attache, "header", &service, &["--name", "canary-connection-77ab"]).done();
    attache.call("echo", "send", &json!({ "url": format!("{}/canary-path-0c3e", service.base()) }));
    let file = attache.folder().join("sealed");
    let passphrase = attache.file("passphrase", "several words that nobody guesses\n");
    for more in [&[][..], &["--force", "--passphrase", &format!("file:{passphrase}")]] {
        attache.run(&[&["backup", file.to_str().unwrap()], more].concat()).done();
        let bytes = fs::read(&file).unwrap();
        for text in [KEY, name, "canary-connection-77ab", "canary-path-0c3e", "tester", "environment", "several words"]
        {
            Canary::new(text).is_not_in("the backup", &bytes);
        }
        let key = fs::read_to_string(attache.key_file()).unwrap();
        let key = key.trim();
        Canary::new(key).is_not_in("the backup", &bytes);
        assert!(!bytes.windows(32).any(|window| window == hex::decode(key).unwrap()));
    }
}

#[test]
fn a_backup_with_a_passphrase_opens_elsewhere_under_another_key() {
    let service = Service::plain();
    let attache = connected(&service);
    let file = attache.folder().join("moving").to_str().unwrap().to_owned();
    let mut elsewhere = crate::machine();
    let mut here = attache;
    here.set("WORDS", "several words that nobody guesses");
    here.run(&["backup", &file, "--passphrase", "env:WORDS"]).done();
    elsewhere.set("WORDS", "other words that nobody guesses").set("SHORT", "too short");
    elsewhere.run(&["restore", &file]).refused(2, "opens with the passphrase").refused(2, "--passphrase env:NAME");
    elsewhere
        .run(&["restore", &file, "--passphrase", "env:WORDS"])
        .refused(8, "The passphrase does not open this backup.");
    assert!(!elsewhere.data().exists() && !elsewhere.key_file().exists(), "nothing is left of an attempt");
    elsewhere.set("WORDS", "several words that nobody guesses");
    elsewhere.run(&["restore", &file, "--passphrase", "env:WORDS"]).done();
    assert_ne!(fs::read(here.key_file()).unwrap(), fs::read(elsewhere.key_file()).unwrap());
    assert_eq!(elsewhere.call("echo", "send", &json!({ "url": service.base() }))["status"], 200);
    assert_eq!(service.received().last().unwrap().header("x-api-key"), Some(KEY));
    elsewhere.run(&["store", "check"]).done();
    // One that is made with the key opens with no passphrase, and a short one is none.
    let with_key = backed_up(&here, "with-key");
    beside(&elsewhere, "x")
        .run(&["restore", &with_key, "--passphrase", "env:WORDS"])
        .refused(2, "not with a passphrase");
    beside(&elsewhere, "x").run(&["restore", &with_key]).refused(8, "The key is not that of the store which");
    elsewhere.run(&["backup", "weak", "--passphrase", "env:SHORT"]).refused(2, "would be found by trying");
    elsewhere.run(&["backup", "weak", "--passphrase", "a literal passphrase"]).refused(2, "is never an argument");
    assert!(!elsewhere.folder().join("weak").exists());
}

#[test]
fn an_older_backup_opens_with_the_key_that_the_store_had_then() {
    let service = Service::plain();
    let attache = connected(&service);
    let file = backed_up(&attache, "before");
    let kept = attache.run(&["--output", "json", "key", "rotate"]).json()["kept"].as_str().unwrap().to_owned();
    let again = beside(&attache, "again");
    again.run(&["restore", &file]).refused(8, "--key SOURCE").refused(8, "keeps the old key file");
    let key = format!("file:{kept}");
    again.run(&["--key", &key, "restore", &file]).done();
    again.run(&["--key", &key, "store", "check"]).done();
    again.run(&["connection", "list"]).refused(8, "does not open the store");
}

#[test]
fn a_backup_goes_through_pipes() {
    let service = Service::plain();
    let attache = connected(&service);
    let ended = attache.command(&["backup", "-"]).output().unwrap();
    let (out, said) = (ended.stdout, String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && said.contains("standard output: "), "{said}");
    let data = attache.folder().join("again");
    let data = data.to_str().unwrap();
    attache.run_with_input(&["--data-dir", data, "restore", "-", "--check"], &out).done();
    assert!(!Path::new(data).exists());
    attache.run_with_input(&["--data-dir", data, "restore", "-", "--passphrase", "-"], &out).refused(2, "not both");
    attache.run_with_input(&["--data-dir", data, "restore", "-"], &out).done();
    attache.run(&["--data-dir", data, "store", "check"]).done();
}

#[test]
fn a_renewal_token_that_was_replaced_since_the_backup_is_never_presented() {
    let story = oauth::story(&json!({}));
    story.connect("discovered", &[]);
    let file = backed_up(&story.attache, "kept");
    let again = beside(&story.attache, "again");
    let said = again.run(&["restore", &file]).done();
    assert!(said.contains("1 connections ask their owners to sign in again"), "{said}");
    let me = format!("{}/api/me", story.oidc.peer.base());
    // The access token is good yet, in both.
    assert_eq!(again.send("oauth", &me).json()["status"], 200);
    story.oidc.forget_access_tokens();
    assert_eq!(story.send("/api/me")["status"], 200);
    assert_eq!(story.oidc.tokens("refresh_token").len(), 1);
    // What the restored one has was replaced by that.
    let refused = again.send("oauth", &me).json();
    assert_eq!(refused["error"], "needs-reconnect", "{refused}");
    again
        .run(&["connection", "check", "oauth"])
        .refused(4, "was restored from a backup of")
        .refused(4, "reconnect oauth");
    assert_eq!(story.oidc.tokens("refresh_token").len(), 1, "it was not presented");
    // So the provider has no reason to end what the other one has.
    story.oidc.forget_access_tokens();
    assert_eq!(story.send("/api/me")["status"], 200);
    again.is_whole();
}

#[test]
fn a_host_that_moves_takes_its_renewal_tokens_along() {
    let story = oauth::story(&json!({}));
    story.connect("discovered", &[]);
    let file = backed_up(&story.attache, "kept");
    story.oidc.forget_access_tokens();
    let again = beside(&story.attache, "again");
    let said = again.run(&["restore", &file, "--moved"]).done();
    assert!(!said.contains("sign in again"), "{said}");
    let me = format!("{}/api/me", story.oidc.peer.base());
    assert_eq!(again.send("oauth", &me).json()["status"], 200);
    assert_eq!(story.oidc.tokens("refresh_token").len(), 1);
}

#[test]
fn a_renewal_token_that_the_provider_leaves_as_it_is_goes_on_being_used() {
    let story = oauth::story(&json!({ "rotate": false }));
    story.connect("discovered", &[]);
    // That it does is seen with the first renewal.
    story.oidc.forget_access_tokens();
    assert_eq!(story.send("/api/me")["status"], 200);
    let file = backed_up(&story.attache, "kept");
    let again = restored(&story.attache, &file, "again");
    story.oidc.forget_access_tokens();
    let me = format!("{}/api/me", story.oidc.peer.base());
    assert_eq!(again.send("oauth", &me).json()["status"], 200);
    assert_eq!(story.oidc.tokens("refresh_token").len(), 2);
}

#[test]
fn what_waits_to_be_confirmed_does_not_come_back() {
    let (mut attache, oidc) = (crate::machine(), oidc(&json!({})));
    attache.add("oauth");
    attache.set("WEB_SECRET", SECRET);
    let (base, authority) = (oidc.peer.base(), oidc.peer.authority());
    let app = ["app", "set", "oauth", "--client-id", "web", "--client-secret", "env:WEB_SECRET", "--origin", &base];
    attache.run(&app).done();
    let (_host, _) = serve(&attache, &[]);
    let set = [format!("base={base}"), format!("issuer={base}")];
    let create = ["session", "create", "oauth", "--auth", "discovered", "--set", &set[0], "--set", &set[1]];
    let create = [&create[..], &["--allow-private", &authority, "--owner", "alice", "--return-url", RETURN]].concat();
    let link = attache.run(&create).done();
    let browser = Browser::that_stops_at(RETURN);
    let provider = browser.submit(&browser.open(link.trim()), &[]);
    let back = browser.submit(&provider, &[("decision", "yes")]);
    let code = back.url.query_pairs().find(|(name, _)| name == "attache_code").unwrap().1.into_owned();
    let file = backed_up(&attache, "kept");
    let again = restored(&attache, &file, "again");
    again.run(&["session", "confirm", &code, "--owner", "alice"]).refused(3, "nothing to confirm");
    again.is_whole();
    // Nor is it ended at the provider, where it may have become a connection since.
    attache.run(&["session", "confirm", &code, "--owner", "alice"]).done();
    assert!(oidc.asked().iter().all(|it| it.0["path"] != "/token/revocation"));
}

#[test]
fn keys_of_callers_open_what_was_restored_and_calls_they_named_are_not_made_again() {
    let service = Service::plain();
    let mut running = start(with_tools(&service), &[]);
    let key = running.key("app", &["--allow", "write"]);
    let input = json!({ "url": format!("{}/letters", service.base()), "method": "POST", "body": "a" });
    assert_eq!(running.call(&key, "change", &[NAME], &input).status, 200);
    let file = backed_up(&running.attache, "kept");
    running.stop();
    fs::rename(running.attache.data(), running.attache.folder().join("lost")).unwrap();
    running.attache.run(&["restore", &file]).done();
    running.crash(&[]);
    let posted = || service.received().iter().filter(|it| it.line.starts_with("POST")).count();
    let again = running.call(&key, "change", &[NAME], &input);
    assert_eq!((again.status, again.header("idempotency-replayed"), posted()), (200, "true", 1));
    assert_eq!(running.call(&key, "change", &[], &input).status, 200);
    assert_eq!(posted(), 2);
}

#[test]
fn a_damaged_audit_is_backed_up_as_it_is_and_said_to_be_damaged() {
    let service = Service::plain();
    let attache = connected(&service);
    attache.call("echo", "send", &json!({ "url": service.base() }));
    let audit = attache.data().join("audit.log");
    let lines = fs::read_to_string(&audit).unwrap().replacen("cli:tester", "cli:nobody", 1);
    fs::write(&audit, &lines).unwrap();
    let file = attache.folder().join("kept");
    let file = file.to_str().unwrap();
    let said = attache.run(&["backup", file]).done();
    assert!(said.contains("is not whole: The audit is not what was written: line 1 was changed"), "{said}");
    let again = beside(&attache, "again");
    let said = again.run(&["restore", file]).done();
    assert!(said.contains("was not whole when the backup was made"), "{said}");
    assert!(fs::read_to_string(again.data.join("audit.log")).unwrap().starts_with(&lines));
    again.run(&["audit", "verify"]).refused(8, "line 1 was changed");
    assert_eq!(again.send("echo", &service.base()).json()["status"], 200);
}

#[test]
fn an_application_cannot_have_a_backup() {
    let service = Service::plain();
    let mut running = start(with_tools(&service), &[]);
    let key = running.key("admin", &["--may", "administer"]);
    let bearer = format!("Bearer {key}");
    running.asked("POST", "/v1/backup", &[("authorization", &bearer)], Some(&json!({}))).refused(404, "not-found");
    running.attache.set("ADMIN_KEY", &key);
    for verb in ["backup", "restore"] {
        let asked = running.attache.run(&["--server", &running.url, "--caller-key", "env:ADMIN_KEY", verb, "x"]);
        asked.refused(2, "on the host's own machine only");
    }
    assert!(!running.attache.folder().join("x").exists());
}
