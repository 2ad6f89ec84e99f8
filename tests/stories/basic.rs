//! HTTP Basic, judged by nginx: passwords with colons and umlauts.

use attache_tests::peers;
use serde_json::json;

use crate::machine;

#[test]
fn nginx_accepts_a_password_with_colons_and_umlauts() {
    let password = "pä:ss:wörd-µ";
    let nginx = peers::nginx_basic("jo", password);
    let mut attache = machine();
    attache.set("PASSWORD", password).set("WRONG", "pä:ss:word-µ");
    attache.add("http");
    let base = format!("base-url={}/", nginx.base());
    let connect = |name: &str, secret: &str| {
        attache.run(&[
            "connect",
            "http",
            "--name",
            name,
            "--auth",
            "basic",
            "--set",
            &base,
            "--set",
            "username=jo",
            "--secret",
            secret,
            "--allow-private",
            &nginx.authority(),
            "--yes",
        ])
    };
    connect("bad", "password=env:WRONG").refused(6, "The service refuses the credential.");
    assert_eq!(connect("good", "password=env:PASSWORD").done(), "Connected `good`: jo.\n");
    let answer = attache.call("good", "get", &json!({ "path": "/x" }));
    assert_eq!((&answer["status"], &answer["json"]), (&json!(200), &json!({ "user": "jo" })));
    attache.run(&["connection", "check", "good"]).done();
}

#[test]
fn a_user_name_with_a_colon_is_refused_when_connecting() {
    let nginx = peers::nginx_basic("jo", "secret-1");
    let mut attache = machine();
    attache.set("PASSWORD", "secret-1");
    attache.add("http");
    let base = format!("base-url={}", nginx.base());
    attache
        .run(&[
            "connect",
            "http",
            "--auth",
            "basic",
            "--set",
            &base,
            "--set",
            "username=j:o",
            "--secret",
            "password=env:PASSWORD",
            "--allow-private",
            &nginx.authority(),
            "--yes",
        ])
        .refused(2, "cannot hold a colon");
}
