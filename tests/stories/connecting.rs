//! An account's owner connects, sees what they agree to, checks, replaces the key, revokes and removes.

use attache_tests::{
    Attache, connector,
    service::{Service, answer, ok},
};
use serde_json::json;

use crate::{KEY, connect, connected, with_echo};

/// Adds the second version of the connector `upgrade`, which wants more, as an operator does who was shown that.
#[track_caller]
pub(crate) fn upgrade(attache: &Attache) {
    let file = connector("upgrade-b");
    let refused = attache.run(&["connector", "add", &file]).refused(4, "--digest");
    let digest = refused.err.split("--digest ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    attache.run(&["connector", "add", &file, "--digest", &digest]).done();
}

#[test]
fn what_is_agreed_to_is_shown() {
    let service = Service::plain();
    let attache = with_echo();
    let open = "open=https://open.example";
    let shown = connect(&attache, "header", &service, &["--set", open]).err;
    for part in [
        "asks to connect `echo`",
        "the credential goes to",
        &service.base(),
        "header x-api-key",
        "without the credential it may call",
        "https://open.example",
        "private addresses that were allowed",
        "loopback",
        "the connector can read",
    ] {
        assert!(shown.contains(part), "expected “{part}” in:\n{shown}");
    }
    let consent = attache.run(&["--output", "json", "consent", "show", "echo"]).json();
    assert_eq!((&consent["origins"], &consent["caller"]), (&json!([service.base()]), &json!(attache.caller())));
}

#[test]
fn without_a_terminal_consent_must_be_given() {
    let service = Service::plain();
    let attache = with_echo();
    let base = format!("base={}", service.base());
    attache
        .run(&[
            "connect",
            "echo",
            "--auth",
            "header",
            "--set",
            &base,
            "--secret",
            "key=env:STORY_KEY",
            "--allow-private",
            &service.authority(),
        ])
        .refused(4, "needs its owner's consent")
        .refused(4, "--yes");
    assert!(service.received().is_empty());
}

#[test]
fn private_addresses_are_refused_unless_that_port_was_allowed() {
    let service = Service::plain();
    let attache = with_echo();
    let try_base = |base: &str, more: &[&str]| {
        let base = format!("base={base}");
        let mut arguments = vec!["connect", "echo", "--auth", "none", "--set", &base, "--yes"];
        arguments.extend(more);
        attache.run(&arguments)
    };
    let port = service.port;
    for base in [
        service.base(),
        format!("http://localhost:{port}"),
        format!("http://127.1:{port}"),
        format!("http://0x7f000001:{port}"),
        format!("http://[::1]:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("https://127.0.0.1:{port}"),
        format!("https://localhost:{port}"),
        "https://10.0.0.1".into(),
        "https://192.168.1.1".into(),
        "https://[fd00::1]".into(),
        "https://[64:ff9b::10.0.0.1]".into(),
        "https://0.0.0.0".into(),
    ] {
        // An odd spelling of an address is no base URL (2); a plain one is refused for what it is (5).
        for more in [&[][..], &["--allow-private", "127.0.0.1:1"]] {
            let outcome = try_base(&base, more);
            assert!(matches!(outcome.code, Some(2 | 5)), "{base}: {} {}", outcome.out, outcome.err);
        }
    }
    assert!(service.received().is_empty());
    try_base(&service.base(), &[]).refused(5, &format!("--allow-private 127.0.0.1:{port}"));
    for never in ["http://169.254.169.254", "https://[fe80::1]"] {
        try_base(never, &[]).refused(5, "");
    }
    for spelling in ["169.254.169.254:80", "0.0.0.0:80"] {
        try_base("https://example.com", &["--allow-private", spelling]).refused(5, "cannot be allowed");
    }
    try_base("https://example.com", &["--allow-private", "nonsense"]).refused(2, "is not HOST:PORT");
    try_base(&service.base(), &["--allow-private", &service.authority()]).done();
}

#[test]
fn values_are_checked_against_what_is_declared() {
    let service = Service::plain();
    let attache = with_echo();
    attache.add("azure-blob");
    let try_with = |arguments: &[&str]| attache.run(&[&["connect"], arguments, &["--yes"]].concat());
    try_with(&["echo"])
        .refused(2, "can be connected in several ways")
        .refused(2, "none, header, query, bearer, certificate, basic");
    try_with(&["echo", "--auth", "other"]).refused(2, "has no auth option `other`");
    try_with(&["echo", "--auth", "none"]).refused(2, "`base` (The base) is missing.").refused(2, "--set base=VALUE");
    try_with(&["echo", "--auth", "none", "--set", "base"]).refused(2, "it has no `=`");
    try_with(&["echo", "--auth", "none", "--set", "bass=x"]).refused(2, "has no parameter `bass`");
    try_with(&["echo", "--auth", "none", "--set", "base=not a url"]).refused(2, "is not a URL");
    try_with(&["echo", "--auth", "none", "--set", "base=https://u:p@a.example"])
        .refused(2, "holds a user name or password");
    try_with(&["echo", "--auth", "none", "--set", "base=https://a.example?x"])
        .refused(2, "holds a query or a fragment");
    try_with(&["echo", "--auth", "header", "--set", "base=https://a.example"])
        .refused(2, "`key` (The key) is missing.");
    try_with(&["azure-blob", "--set", "account=Not-An-Account", "--secret", "key=env:STORY_KEY"])
        .refused(2, "does not look as the connector says");
    try_with(&["azure-blob", "--set", "account=evil.com/", "--secret", "key=env:STORY_KEY"])
        .refused(2, "is not a label");
    try_with(&["nobody"]).refused(3, "There is no connector `nobody`");
    let base = format!("base={}", service.base());
    try_with(&["echo", "--auth", "none", "--set", &base, "--allow-private", &service.authority(), "--name", "a/b"])
        .refused(2, "`a/b` is not a name");
}

#[test]
fn a_secret_is_never_an_argument() {
    let attache = with_echo();
    let try_with = |arguments: &[&str]| {
        attache.run(
            &[&["connect", "echo", "--auth", "header", "--set", "base=https://a.example", "--yes"], arguments].concat(),
        )
    };
    try_with(&["--secret", "key=literal-value"]).refused(2, "A secret is never an argument");
    try_with(&["--set", "key=literal-value"]).refused(2, "`key` is a secret.").refused(2, "--secret key=env:NAME");
    try_with(&["--secret", "base=env:STORY_KEY"]).refused(2, "`base` is not a secret");
    try_with(&["--secret", "key=env:UNSET"]).refused(2, "`UNSET` for the secret `key` is not set");
    try_with(&["--secret", "key=file:/nowhere"]).refused(2, "cannot be read");
    try_with(&["--secret", "key=-", "--secret", "other=-"]).refused(2, "one secret only");
}

#[test]
fn a_secret_comes_from_a_variable_a_file_or_standard_input() {
    let service = Service::plain();
    let attache = with_echo();
    let base = format!("base={}", service.base());
    let file = format!("key=file:{}", attache.file("key.txt", format!("{KEY}\n")));
    for (name, source) in [("one", "key=env:STORY_KEY"), ("two", &file), ("three", "key=-")] {
        let arguments = [
            "connect",
            "echo",
            "--name",
            name,
            "--auth",
            "header",
            "--set",
            &base,
            "--secret",
            source,
            "--allow-private",
            &service.authority(),
            "--yes",
        ];
        attache.run_with_input(&arguments, format!("{KEY}\r\n")).done();
        attache.call(name, "send", &json!({ "url": service.base() }));
        assert_eq!(service.received().last().unwrap().header("x-api-key"), Some(KEY), "{name}");
    }
}

#[test]
fn a_check_that_fails_stores_nothing() {
    let service = Service::start(|_| answer(401, &[], "no"));
    let attache = with_echo();
    connect(&attache, "header", &service, &[])
        .refused(6, "was not made, since its check failed: The service refuses the credential.");
    assert_eq!(attache.run(&["--output", "json", "connection", "list"]).json(), json!([]));
}

#[test]
fn a_value_that_cannot_be_sent_is_refused_before_anything_is() {
    let service = Service::plain();
    let mut attache = with_echo();
    attache.set("STORY_KEY", "two\nlines-of-secret");
    connect(&attache, "header", &service, &[]).refused(2, "holds a line break");
    assert!(service.received().is_empty());
}

#[test]
fn a_short_secret_is_pointed_out() {
    let service = Service::plain();
    let mut attache = with_echo();
    attache.set("STORY_KEY", "short");
    assert!(
        connect(&attache, "header", &service, &[])
            .err
            .contains("too short to be recognised if the service sends it back")
    );
}

#[test]
fn a_name_is_used_once() {
    let service = Service::plain();
    let attache = connected(&service);
    connect(&attache, "header", &service, &[])
        .refused(2, "There is a connection `echo` already")
        .refused(2, "connection reconnect echo");
    connect(&attache, "header", &service, &["--name", "second"]).done();
}

#[test]
fn reconnecting_keeps_the_name_and_the_account_and_replaces_the_key() {
    let service = Service::start(|request| match request.header("x-api-key") {
        Some("of-somebody-else") => ok("somebody else"),
        _ => ok("jo"),
    });
    let mut attache = connected(&service);
    let id = |attache: &attache_tests::Attache| {
        attache.run(&["--output", "json", "connection", "show", "echo"]).json()["connection"]["id"].clone()
    };
    let before = id(&attache);
    attache.set("NEW_KEY", "the-new-key-0001").set("OTHER_KEY", "of-somebody-else");
    attache
        .run(&["connection", "reconnect", "echo", "--secret", "key=env:OTHER_KEY", "--yes"])
        .refused(4, "That is another account: `somebody else`, and the connection `echo` is for `jo`.");
    attache.run(&["connection", "reconnect", "echo", "--secret", "key=env:NEW_KEY", "--yes"]).done();
    attache.call("echo", "send", &json!({ "url": service.base() }));
    assert_eq!(service.received().last().unwrap().header("x-api-key"), Some("the-new-key-0001"));
    assert_eq!(id(&attache), before);
    // What is not given again is kept.
    attache.run(&["connection", "reconnect", "echo", "--yes"]).done();
    attache.run(&["connection", "reconnect", "nobody", "--yes"]).refused(3, "There is no connection `nobody`");
}

#[test]
fn a_revoked_consent_stops_calls_and_takes_the_key_away() {
    let service = Service::plain();
    let attache = connected(&service);
    attache.run(&["consent", "revoke", "echo"]).done();
    let before = service.received().len();
    attache
        .try_call("echo", "send", &json!({ "url": service.base() }))
        .refused(4, "was revoked at")
        .refused(4, "attache connection reconnect echo");
    attache.run(&["connection", "check", "echo"]).refused(4, "was revoked");
    assert_eq!(service.received().len(), before);
    attache.run(&["consent", "revoke", "echo"]).refused(3, "was revoked already");
    assert!(attache.run(&["connection", "list"]).done().contains("needs reconnect"));
    attache.run(&["connection", "reconnect", "echo", "--yes"]).refused(2, "`key` (The key) is missing.");
    attache.run(&["connection", "reconnect", "echo", "--secret", "key=env:STORY_KEY", "--yes"]).done();
    attache.call("echo", "send", &json!({ "url": service.base() }));
}

#[test]
fn a_removed_connection_is_gone() {
    let service = Service::plain();
    let attache = connected(&service);
    attache.run(&["connection", "remove", "echo"]).refused(4, "--yes");
    attache.run(&["connection", "remove", "echo", "--yes"]).done();
    attache.run(&["connection", "show", "echo"]).refused(3, "There is no connection `echo`");
    attache.run(&["connection", "remove", "echo", "--yes"]).refused(3, "There is no connection `echo`");
}

#[test]
fn an_upgrade_that_sends_the_key_elsewhere_needs_its_owners_consent_too() {
    let attache = crate::machine();
    attache.add("upgrade-a");
    let key = attache.file("key", KEY);
    attache.run(&["connect", "upgrade", "--secret", &format!("key=file:{key}"), "--yes"]).done();
    upgrade(&attache);
    attache.try_call("upgrade", "look", &json!({})).refused(
        4,
        "The connector now uses the origin https://two.example, which the account's owner has not agreed to.",
    );
    attache.run(&["connection", "reconnect", "upgrade", "--yes"]).done();
    attache.call("upgrade", "look", &json!({}));
}
