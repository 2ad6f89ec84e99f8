//! The audit tells every use of a credential, and that nothing was done to it.

use std::fs;

use attache_tests::service::Service;
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

#[test]
fn a_changed_or_cut_audit_is_found() {
    let service = Service::plain();
    let attache = connected(&service);
    let path = attache.data().join("audit.log");
    attache.run(&["audit", "verify"]).done();
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replacen("/check", "/other", 1)).unwrap();
    attache.run(&["audit", "verify"]).refused(8, "The audit is not what was written: line 2 was changed");
    let cut: String = good.lines().take(2).map(|line| format!("{line}\n")).collect();
    fs::write(&path, cut).unwrap();
    attache.run(&["audit", "verify"]).refused(8, "it ends at line 2");
    fs::remove_file(&path).unwrap();
    attache.run(&["audit", "verify"]).refused(8, "it ends at line 0");
    // Nor does it pass once more was written.
    attache.run(&["connection", "check", "echo"]).done();
    attache.run(&["audit", "verify"]).refused(8, "lines were dropped");
    fs::write(&path, &good).unwrap();
    attache.run(&["audit", "verify"]).refused(8, "it ends at line");
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
