//! The audit tells every use of a credential, and that nothing was done to it.

use std::fs;

use attache_tests::{Attache, service::Service};
use serde_json::json;

use crate::connected;

#[test]
fn every_use_of_a_credential_has_a_line_without_query_or_value() {
    let service = Service::plain();
    let attache = connected(&service);
    attache.call("echo", "send", &json!({ "url": format!("{}/a/b?token=t0ken-in-query", service.base()) }));
    attache.call("echo", "send", &json!({ "url": "https://elsewhere.example/x" }));
    let lines = attache.run(&["--output", "json", "audit", "list", "--connection", "echo"]).json();
    let of = |event: &str| lines.as_array().unwrap().iter().rfind(|line| line["event"] == event).unwrap().clone();
    let used = of("credential-used");
    assert_eq!(
        (&used["method"], &used["path"], &used["attached"]),
        (&json!("GET"), &json!("/a/b"), &json!(["header x-api-key"]))
    );
    assert_eq!(
        (&used["origin"], &used["caller"], &used["operation"]),
        (&json!(service.base()), &json!("cli:tester"), &json!("send"))
    );
    let denied = of("request-denied");
    assert_eq!(denied["origin"], "https://elsewhere.example");
    assert!(denied["reason"].as_str().unwrap().contains("may not reach"));
    let text = fs::read_to_string(attache.data().join("audit.log")).unwrap();
    assert!(!text.contains("t0ken-in-query") && !text.contains(crate::KEY));
    let table = attache.run(&["audit", "list", "--limit", "2"]).done();
    assert_eq!(table.lines().count(), 3);
}

/// An audit of some lines, whole, and what they are.
fn written() -> (Attache, Service, Vec<String>) {
    let service = Service::plain();
    let attache = connected(&service);
    for number in 0..3 {
        attache.call("echo", "send", &json!({ "url": format!("{}/x/{number}", service.base()) }));
    }
    let text = fs::read_to_string(attache.data().join("audit.log")).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert!(lines.len() > 8, "{text}");
    let whole = attache.run(&["audit", "verify"]).done();
    assert_eq!(whole.trim(), format!("The audit is whole: {} lines.", lines.len()));
    (attache, service, lines)
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn whatever_was_done_to_lines_is_found_where_it_was_done() {
    let (attache, _service, good) = written();
    let count = good.len();
    let dropped = "belongs: lines were dropped, swapped or put in.";
    let numbered =
        |line: &str, from: usize, to: usize| line.replacen(&format!("\"seq\":{from},"), &format!("\"seq\":{to},"), 1);
    let cut = |to: usize| format!("it ends at line {to}, and line {count} was written.");
    let changed = |line: usize| format!("line {line} was changed, or the one before it was.");
    type Change<'a> = &'a dyn Fn(&mut Vec<String>);
    let table: &[(&str, Change<'_>, String)] = &[
        ("a word is another", &|it| it[2] = it[2].replacen("cli:tester", "cli:nobody", 1), changed(3)),
        ("a time is another", &|it| it[2] = it[2].replacen("\"time\":\"20", "\"time\":\"19", 1), changed(3)),
        ("a member is added", &|it| it[2] = it[2].replacen(",\"mac\"", ",\"x\":1,\"mac\"", 1), changed(3)),
        ("a space is added", &|it| it[2] = it[2].replacen(',', ", ", 1), changed(3)),
        (
            "a line has the MAC of another",
            &|it| it[2] = [&it[2][..it[2].len() - 66], &it[3][it[3].len() - 66..]].concat(),
            changed(3),
        ),
        ("the first is another", &|it| it[0] = it[0].replacen("cli:tester", "cli:nobody", 1), changed(1)),
        (
            "the last is another",
            &|it| it[count - 1] = it[count - 1].replacen("cli:tester", "cli:nobody", 1),
            changed(count),
        ),
        ("one is dropped", &|it| drop(it.remove(2)), format!("line 3 has the number 4 where 3 {dropped}")),
        ("several are dropped", &|it| drop(it.drain(2..5)), format!("line 3 has the number 6 where 3 {dropped}")),
        ("the first is dropped", &|it| drop(it.remove(0)), format!("line 1 has the number 2 where 1 {dropped}")),
        ("two are swapped", &|it| it.swap(2, 3), format!("line 3 has the number 4 where 3 {dropped}")),
        ("two that are apart are swapped", &|it| it.swap(1, 4), format!("line 2 has the number 5 where 2 {dropped}")),
        ("one is there twice", &|it| it.insert(3, it[2].clone()), format!("line 4 has the number 3 where 4 {dropped}")),
        (
            "one is dropped and the others are numbered anew",
            &|it| {
                it.remove(2);
                (2..it.len()).for_each(|at| it[at] = numbered(&it[at], at + 2, at + 1));
            },
            changed(3),
        ),
        (
            "two are swapped and numbered anew",
            &|it| {
                it.swap(2, 3);
                (it[2], it[3]) = (numbered(&it[2], 4, 3), numbered(&it[3], 3, 4));
            },
            changed(3),
        ),
        ("one is something else", &|it| it[2] = "{}".into(), "line 3 is not a line of the audit.".into()),
        ("one is empty", &|it| it[2].clear(), "line 3 is not a line of the audit.".into()),
        ("one has no number", &|it| it[2] = it[2].replacen("\"seq\"", "\"no\"", 1), "line 3 has no number.".into()),
        ("one is cut in the middle", &|it| it[2].truncate(40), "line 3 is not a line of the audit.".into()),
        ("two are one", &|it| it[2] = format!("{}{}", it[2].clone(), it.remove(3)), "line 3 has no number.".into()),
        ("the end is cut off", &|it| it.truncate(count - 2), cut(count - 2)),
        ("the last is cut off", &|it| it.truncate(count - 1), cut(count - 1)),
        ("all of it is cut off", &|it| it.clear(), cut(0)),
    ];
    let path = attache.data().join("audit.log");
    for (what, change, sentence) in table {
        let mut lines = good.clone();
        change(&mut lines);
        assert_ne!(lines, good, "{what}");
        fs::write(&path, text(&lines)).unwrap();
        let outcome = attache.run(&["audit", "verify"]);
        assert_eq!(outcome.code, Some(8), "{what}: {outcome:?}");
        let first = outcome.err.lines().next().unwrap_or_default();
        assert_eq!(first, format!("error: The audit is not what was written: {sentence}"), "{what}");
        // So does whoever looks through everything.
        attache.run(&["store", "check"]).refused(8, sentence);
    }
    fs::write(&path, text(&good)).unwrap();
    attache.run(&["audit", "verify"]).done();
    fs::remove_file(&path).unwrap();
    attache.run(&["audit", "verify"]).refused(8, &cut(0));
    // Nor does it pass once more was written.
    attache.run(&["connection", "check", "echo"]).done();
    attache.run(&["audit", "verify"]).refused(8, "lines were dropped");
    fs::write(&path, text(&good)).unwrap();
    attache.run(&["audit", "verify"]).refused(8, "it ends at line");
}

/// What was set aside of lines that a crash tore.
fn set_aside(attache: &Attache) -> Vec<String> {
    let all = fs::read_dir(attache.data()).unwrap().map(|entry| entry.unwrap().path());
    let torn = all.filter(|path| path.to_str().unwrap().contains("audit.torn-"));
    torn.map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn a_line_that_a_crash_tore_is_told_from_one_that_somebody_cut() {
    let (attache, service, good) = written();
    let path = attache.data().join("audit.log");
    let next = format!("{{\"seq\":{},\"time\":\"2026-11-26T12:00:00.000Z\",\"event\":\"cred", good.len() + 1);
    // Behind what was reported there is the beginning of another: nobody was told of that, and nothing of it had left.
    fs::write(&path, text(&good) + &next).unwrap();
    attache.run(&["audit", "verify"]).done();
    assert_eq!(set_aside(&attache), [&*next]);
    attache.call("echo", "send", &json!({ "url": format!("{}/after", service.base()) }));
    attache.run(&["audit", "verify"]).done();
    let checked = attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]));
    // Of what was reported, the last line lacks its end, wherever it is cut.
    let text = fs::read_to_string(&path).unwrap();
    let (count, last) = (text.lines().count(), text.lines().last().unwrap().len());
    for cut in [1, 2, 10, 70, last] {
        fs::write(&path, &text[..text.len() - cut]).unwrap();
        let sentence = format!("it ends at line {}, and line {count} was written.", count - 1);
        attache.run(&["audit", "verify"]).refused(8, &sentence);
    }
}

#[test]
fn without_an_audit_nothing_leaves() {
    let service = Service::plain();
    let attache = connected(&service);
    let before = service.received().len();
    let path = attache.data().join("audit.log");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    attache.try_call("echo", "send", &json!({ "url": service.base() })).refused(8, "The audit cannot be written");
    assert_eq!(service.received().len(), before);
}
