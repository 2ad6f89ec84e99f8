//! What is promised to be on the disk was waited for, and in the right order: the system calls show it, which nothing else does
//! short of pulling the plug.

use std::os::unix::net::UnixStream;

use attache_tests::{
    service::Service,
    traced::{OF_A_DISK, Seen, in_order, last},
};
use serde_json::json;

use crate::{connected, machine, mcp::soon, oauth, with_echo};

/// What a command that succeeds asks of the disk.
#[track_caller]
fn asked(attache: &attache_tests::Attache, arguments: &[&str]) -> Vec<Seen> {
    let traced = attache.traced(OF_A_DISK, &[], arguments);
    traced.outcome.done();
    traced.seen
}

/// Demands that the last that was written to a file was waited for, before another call was made.
#[track_caller]
fn waited_for_before(seen: &[Seen], file: &str, then: usize) {
    let written = last(&seen[..then], &["write", "pwrite64"], file);
    let written = written.unwrap_or_else(|| panic!("nothing was written to {file} before {}", seen[then].line));
    let synced = |it: &&Seen| it.began > seen[written].ended && (it.is("fdatasync", file) || it.is("fsync", file));
    let synced = seen.iter().find(synced);
    let is_in_time = synced.is_some_and(|it| it.ended < seen[then].began);
    assert!(is_in_time, "{} was not waited for before {}, but {synced:?}", seen[written].line, seen[then].line);
}

/// The call that tells the result.
#[track_caller]
fn told(seen: &[Seen], words: &str) -> usize {
    seen.iter().position(|it| it.name == "write" && it.line.contains("write(1<") && it.line.contains(words)).unwrap()
}

const RECORDS: &str = "attache/store/sled/db>";
const AUDIT: &str = "attache/audit.log>";

#[test]
fn a_key_is_on_the_disk_before_anything_is_sealed_with_it_and_a_new_store_is_there_whole() {
    let seen = asked(&machine(), &["environment", "create", "first"]);
    in_order(
        &seen,
        &[
            ("mkdir", "/share/attache\""),
            ("fsync", "/share>"),
            ("write", "/.config/attache/.attache-unfinished"),
            ("fsync", "/.config/attache/.attache-unfinished"),
            ("rename", "/.config/attache/key\""),
            ("fsync", "/.config/attache>"),
            ("write", "/attache/store.new/header>"),
            ("fsync", "/attache/store.new/header>"),
            ("fdatasync", "/attache/store.new/sled/db>"),
            ("fsync", "/attache/store.new>"),
            ("rename", "/attache/store.new\""),
            ("fsync", "/share/attache>"),
            // The audit's name.
            ("fsync", "/share/attache>"),
            ("mkdir", "/share/attache/connectors\""),
            ("fsync", "/share/attache>"),
            ("pwrite64", "environments/first"),
        ],
    );
}

#[test]
fn a_commit_is_on_the_disk_before_it_counts_and_before_it_is_reported() {
    let service = Service::plain();
    let mut attache = connected(&service);
    attache.set("APP_SECRET", "app-secret-of-the-test");
    attache.add("oauth");
    let set = ["app", "set", "oauth", "--client-id", "web", "--client-secret", "env:APP_SECRET"];
    for (arguments, words) in [
        (&["environment", "create", "second"][..], "is there now"),
        (&[&set[..], &["--origin", "https://login.example.com"]].concat(), "is set"),
        (&["caller", "create", "app"], "attache_"),
        (&["connection", "remove", "echo", "--yes"], "are gone here"),
    ] {
        let seen = asked(&attache, arguments);
        // sled waits for its file when it is closed as well, which a host that runs does not do: what counts is the commit's own.
        let counted = last(&seen, &["pwrite64"], "attache/store/commits>").unwrap();
        waited_for_before(&seen, RECORDS, counted);
        waited_for_before(&seen, RECORDS, told(&seen, words));
        if arguments[0] != "environment" {
            waited_for_before(&seen, AUDIT, told(&seen, words));
        }
    }
}

#[test]
fn a_connectors_file_is_on_the_disk_before_it_is_approved() {
    let seen = asked(&machine(), &["connector", "add", &attache_tests::connector("echo"), "--yes"]);
    in_order(
        &seen,
        &[
            ("write", "attache/connectors/.attache-unfinished"),
            ("fsync", "attache/connectors/.attache-unfinished"),
            ("rename", ".wasm\""),
            ("fsync", "attache/connectors>"),
            ("pwrite64", "approval/echo"),
        ],
    );
}

#[test]
fn a_rotated_key_is_on_the_disk_before_the_store_is_and_the_store_before_the_old_one_goes() {
    let attache = machine();
    attache.run(&["environment", "create", "first"]).done();
    let seen = asked(&attache, &["key", "rotate"]);
    let steps = in_order(
        &seen,
        &[
            ("write", "attache/store.new/header>"),
            ("fsync", "attache/store.new/header>"),
            ("pwrite64", "environments/first"),
            ("write", "/.config/attache/.attache-unfinished"),
            ("fsync", "/.config/attache/.attache-unfinished"),
            ("rename", "/.config/attache/key.new-"),
            ("fsync", "/.config/attache>"),
            ("rename", "RENAME_EXCHANGE"),
            ("fsync", "/share/attache>"),
            ("rename", "/.config/attache/key\""),
            ("fsync", "/.config/attache>"),
            ("unlink", "\"header\""),
            ("fsync", "/share/attache>"),
        ],
    );
    waited_for_before(&seen, "attache/store.new/sled/db>", steps[7]);
    in_order(&seen[..steps[7]], &[("write", "attache/store.new/header>"), ("fsync", "attache/store.new>")]);
    assert!(seen[*steps.last().unwrap()].ended < seen[told(&seen, "are sealed under the new key")].began);
}

#[test]
fn a_key_file_that_a_key_moves_to_is_on_the_disk_before_the_store_is() {
    let attache = machine();
    attache.run(&["environment", "create", "first"]).done();
    let seen = asked(&attache, &["key", "rotate", "--to", "file:moved/key"]);
    in_order(
        &seen,
        &[
            ("mkdir", "/moved\""),
            ("write", "/moved/.attache-unfinished"),
            ("fsync", "/moved/.attache-unfinished"),
            ("rename", "/moved/key\""),
            ("fsync", "/moved>"),
            ("rename", "RENAME_EXCHANGE"),
            ("fsync", "/share/attache>"),
        ],
    );
}

#[test]
fn a_backup_and_its_name_are_on_the_disk_before_it_is_reported() {
    let attache = machine();
    attache.run(&["environment", "create", "first"]).done();
    let seen = asked(&attache, &["backup", "kept"]);
    let steps = in_order(
        &seen,
        &[("rename", "/kept\""), ("fsync", &format!("<{}>", attache.folder().canonicalize().unwrap().display()))],
    );
    waited_for_before(&seen, "attache-backup", steps[0]);
    assert!(seen[steps[1]].ended < seen[told(&seen, "records")].began);
}

/// Calls that send, wait for the disk, or write.
const OF_A_CALL: &str = "write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync";

/// Where requests leave whose first line begins so.
fn leaves(seen: &[Seen], line: &str) -> Vec<usize> {
    let sends = |it: &Seen| it.line.contains("TCP") && it.line.contains(&format!("\"{line}"));
    (0..seen.len()).filter(|at| sends(&seen[*at])).collect()
}

#[test]
fn the_line_of_a_request_is_written_before_it_leaves_and_lines_share_what_they_wait_for() {
    const TIMES: usize = 100;
    /// What the audit is synced in.
    const GROUP: f64 = 0.05;
    let service = Service::plain();
    let attache = connected(&service);
    let input = json!({ "url": format!("{}/numbered", service.base()), "times": TIMES }).to_string();
    let traced = attache.traced(OF_A_CALL, &[], &["call", "echo", "send", "--input", &input]);
    traced.outcome.done();
    let seen = traced.seen;
    let requests = leaves(&seen, "GET /numbered");
    assert_eq!(requests.len(), TIMES);
    let lines = |at: &Seen| if at.is("write", AUDIT) { at.line.matches("credential-used").count() } else { 0 };
    for (number, request) in requests.iter().enumerate() {
        let before = seen.iter().filter(|it| it.ended < seen[*request].began).map(lines).sum::<usize>();
        assert_eq!(before, number + 1, "request {number} and its line");
    }
    let synced: Vec<&Seen> = seen.iter().filter(|it| it.is("fdatasync", AUDIT)).collect();
    // The last is that of the command's end, which waits for nobody.
    for pair in synced[..synced.len() - 1].windows(2) {
        assert!(pair[1].at - pair[0].at >= GROUP * 0.98, "two waits within a group: {pair:?}");
    }
    assert!(synced.len() < TIMES, "{} waits for {TIMES} requests", synced.len());
    waited_for_before(&seen, AUDIT, told(&seen, "status"));
    attache.run(&["audit", "verify"]).done();
}

#[test]
fn what_a_renewal_spends_and_what_it_brings_is_on_the_disk_before_anything_else_leaves() {
    let story = oauth::story(&json!({}));
    story.connect("discovered", &[]);
    story.oidc.forget_access_tokens();
    let input = story.url("/api/me").to_string();
    let traced = story.attache.traced(OF_A_CALL, &[], &["call", "oauth", "send", "--input", &input]);
    traced.outcome.done();
    let seen = traced.seen;
    let [refused, repeated] = leaves(&seen, "GET /api/me")[..] else { panic!("the request was not repeated") };
    let [renewal] = leaves(&seen, "POST /token")[..] else { panic!("there was not one renewal") };
    for (from, until) in [(refused, renewal), (renewal, repeated)] {
        let between = &seen[from..=until];
        waited_for_before(between, RECORDS, between.len() - 1);
    }
}

#[test]
fn what_a_host_that_runs_is_told_to_keep_is_on_the_disk_when_it_answers() {
    let service = Service::plain();
    let attache = with_echo();
    let serving = attache.begin_traced(OF_A_CALL, &[], &["serve", "--listen", "127.0.0.1:0"]);
    soon("it never listened", || UnixStream::connect(attache.data().join("attache.sock")).is_ok());
    crate::connect(&attache, "header", &service, &[]).done();
    attache.run(&["environment", "create", "second"]).done();
    let seen = serving.seen();
    for words in ["\\\"echo\\\"", "\\\"second\\\""] {
        let answered = seen.iter().rposition(|it| it.line.contains("HTTP/1.1 2") && it.line.contains(words)).unwrap();
        waited_for_before(&seen, RECORDS, answered);
    }
}
