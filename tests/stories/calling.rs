//! A caller's view: inputs that do not fit, dry runs, help, and failures that can be acted on.

use attache_tests::service::{Service, answer};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::json;

use crate::{KEY, connect, connected, with_echo};

#[test]
fn the_service_receives_the_key_and_the_connector_never_sees_it() {
    let service =
        Service::start(|request| answer(200, &[("X-Saw", request.header("x-api-key").unwrap_or("none"))], "body"));
    let attache = connected(&service);
    let seen = attache.call("echo", "send", &json!({ "url": format!("{}/x", service.base()) }));
    assert_eq!(service.received().last().unwrap().header("x-api-key"), Some(KEY));
    let masked = "*".repeat(KEY.len());
    assert!(seen["headers"].as_array().unwrap().contains(&json!(["x-saw", masked])), "{seen}");
    let about = attache.call("echo", "connection", &json!({}));
    assert_eq!(
        (&about["key"], &about["base"], &about["option"]),
        (&json!(null), &json!(service.base()), &json!("header"))
    );
    assert_eq!(about["audience"], json!([service.base()]));
}

#[test]
fn every_way_to_attach_that_is_declared_arrives() {
    let service = Service::plain();
    let attache = with_echo();
    for option in ["none", "header", "query", "signed", "bearer"] {
        connect(&attache, option, &service, &["--name", option]).done();
    }
    connect(&attache, "basic", &service, &["--name", "basic", "--set", "user=jo"]).done();
    let last = |connection: &str| {
        attache.call(connection, "send", &json!({ "url": format!("{}/p?a=1", service.base()) }));
        service.received().last().unwrap().clone()
    };
    assert_eq!(last("none").header("x-api-key"), None);
    assert_eq!(last("header").header("x-api-key"), Some(KEY));
    assert_eq!(last("query").line, format!("GET /p?a=1&key={KEY} HTTP/1.1"));
    assert_eq!(last("basic").header("authorization"), Some("Basic am86c3Rvcnkta2V5LThmMWMwMg=="));
    assert_eq!(last("bearer").header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let signed = last("signed");
    assert_eq!(signed.header("x-tenant"), Some("t1"));
    let date = signed.header("x-date").unwrap();
    // The same by hand: HMAC-SHA256 of method, path and the date that was sent.
    let expected = hmac_by_openssl(&format!("GET\n/p\n{date}"));
    assert_eq!(signed.header("x-signature"), Some(expected.as_str()));
}

#[test]
fn a_credential_in_a_path_a_body_or_a_signature_arrives_and_stays_out_of_what_is_written_down() {
    let service = Service::plain();
    let attache = with_echo();
    for option in ["path", "body", "oauth1", "jwt"] {
        connect(&attache, option, &service, &["--name", option]).done();
    }
    let last = |connection: &str, more: serde_json::Value| {
        let mut input = json!({ "url": format!("{}/p?a=1", service.base()), "method": "POST" });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let seen = attache.call(connection, "send", &input);
        assert_eq!(seen["status"], 200, "{seen}");
        service.received().last().unwrap().clone()
    };
    assert_eq!(last("path", json!({})).line, format!("POST /bot{KEY}/p?a=1 HTTP/1.1"));
    let body = last("body", json!({ "body": "{\"a\": 1}", "headers": [["Content-Type", "application/json"]] })).body;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({ "a": 1, "auth": { "key": KEY } }));

    let oauth1 = last("oauth1", json!({}));
    let authorization = oauth1.header("authorization").unwrap();
    let field = |name: &str| {
        let rest =
            authorization.split(&format!("{name}=\"")).nth(1).unwrap_or_else(|| panic!("{name} in {authorization}"));
        rest.split('"').next().unwrap().to_owned()
    };
    // The same by hand (RFC 5849 section 3.4.1): method, URL without query, and all parameters sorted.
    let url = format!("http%3A%2F%2F127.0.0.1%3A{}%2Fp", service.port);
    let parameters = format!(
        "a%3D1%26oauth_consumer_key%3Dconsumer%26oauth_nonce%3D{}%26oauth_signature_method%3DHMAC-SHA256%26oauth_timestamp%3D{}%26oauth_version%3D1.0",
        field("oauth_nonce"),
        field("oauth_timestamp")
    );
    let signature = hmac_by_openssl_with(&format!("{KEY}&"), &format!("POST&{url}&{parameters}"));
    assert_eq!(percent_decoded(&field("oauth_signature")), BASE64_STANDARD.encode(hex::decode(signature).unwrap()));

    let token = last("jwt", json!({})).header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(hex::decode(hmac_by_openssl(signed)).unwrap()), signature);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["aud"], &claims["path"]), (&json!(service.base()), &json!("/p")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);

    let audit = std::fs::read_to_string(attache.data().join("audit.log")).unwrap();
    assert!(audit.contains("\"path\":\"/p\"") && !audit.contains(KEY), "{audit}");
    let preview = attache.run(&[
        "call",
        "path",
        "send",
        "--dry-run",
        "--input",
        &json!({ "url": format!("{}/p", service.base()) }).to_string(),
    ]);
    assert!(!preview.done().contains(KEY));
}

fn percent_decoded(text: &str) -> String {
    text.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")
}

fn hmac_by_openssl(text: &str) -> String {
    hmac_by_openssl_with(KEY, text)
}

fn hmac_by_openssl_with(key: &str, text: &str) -> String {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is not installed: run `apt-get install openssl`");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn an_input_that_does_not_fit_is_refused_before_the_connector_runs() {
    let service = Service::plain();
    let attache = connected(&service);
    let before = service.received().len();
    let call = |input: &str| attache.run(&["call", "echo", "send", "--input", input]);
    call("{}").refused(2, "\"url\" is a required property");
    call(r#"{"url": 1}"#).refused(2, "at /url");
    call(r#"{"url": "x", "more": 1}"#).refused(2, "more");
    call("{").refused(2, "The input is not JSON");
    call("@/nowhere.json").refused(2, "/nowhere.json cannot be read");
    attache
        .run(&["call", "echo", "nothing"])
        .refused(3, "has no operation `nothing`")
        .refused(3, "It has connection, fail, send.");
    attache.run(&["call", "nobody", "send"]).refused(3, "There is no connection `nobody`");
    assert_eq!(service.received().len(), before);
}

#[test]
fn input_comes_from_the_argument_a_file_or_standard_input() {
    let service = Service::plain();
    let attache = connected(&service);
    let input = json!({ "url": service.base() }).to_string();
    let file = format!("@{}", attache.file("input.json", &input));
    attache.run(&["call", "echo", "send", "--input", &file]).done();
    attache.run_with_input(&["call", "echo", "send", "--input", "-"], &input).done();
}

#[test]
fn a_dry_run_shows_the_request_and_sends_nothing() {
    let service = Service::plain();
    let attache = with_echo();
    connect(&attache, "query", &service, &[]).done();
    let before = service.received().len();
    let input = json!({ "url": format!("{}/x?a=b", service.base()), "method": "POST", "body": "12345", "headers": [["X-One", "1"]] });
    let shown = attache.run(&["call", "echo", "send", "--input", &input.to_string(), "--dry-run"]).done();
    for part in ["POST ", "/x?a=b&key=********", "x-one: 1", "(5 bytes of body)", "query key", "nothing was sent"] {
        assert!(shown.contains(part), "expected “{part}” in:\n{shown}");
    }
    assert!(!shown.contains(KEY));
    assert_eq!(service.received().len(), before);
    attache.run(&["call", "echo", "connection", "--dry-run"]).refused(7, "ended without sending a request");
    let denied = json!({ "url": "https://elsewhere.example/" }).to_string();
    attache
        .run(&["call", "echo", "send", "--input", &denied, "--dry-run"])
        .refused(5, "may not reach https://elsewhere.example");
}

#[test]
fn an_operations_help_says_what_it_does_and_takes() {
    let service = Service::plain();
    let attache = connected(&service);
    let help = attache.run(&["call", "echo", "send", "--help"]).done();
    for part in [
        "What send is for.",
        "url (string, required) — Where to.",
        "method (string, optional, default \"GET\")",
        "--input '{\"url\":\"…\"}'",
    ] {
        assert!(help.contains(part), "expected “{part}” in:\n{help}");
    }
    assert!(attache.run(&["call", "echo", "--help"]).done().contains("send        write"));
    assert!(attache.run(&["call", "--help"]).done().contains("--dry-run"));
    attache.run(&["call"]).refused(2, "Say which connection and which operation.");
}

#[test]
fn a_connectors_failures_have_kinds_and_its_words_are_its_own() {
    let service = Service::plain();
    let attache = connected(&service);
    let fail = |with: &str| attache.try_call("echo", "fail", &json!({ "with": with }));
    fail("invalid-input").refused(2, "The connector refuses the input. It says: “the words”");
    fail("not-found").refused(3, "The service has no such thing. It says: “the words”");
    fail("unauthorized").refused(6, "The service refuses the credential. It says: “the words”");
    fail("rate-limited").refused(6, "The service says to wait 7 s.");
    fail("upstream").refused(6, "status 418. It says: “I am a [31mteapot”");
    fail("other").refused(7, "The connector failed. It says: “the words”");
}

#[test]
fn an_answer_that_breaks_its_own_schema_is_the_connectors_failure() {
    let attache = crate::machine();
    attache.add("greedy");
    attache.run(&["connect", "greedy", "--yes"]).done();
    attache.try_call("greedy", "wrong-output", &json!({})).refused(7, "does not fit its own schema");
    attache.try_call("greedy", "no-json", &json!({})).refused(7, "is not JSON");
}

#[test]
fn a_service_that_is_not_there_is_unreachable() {
    let attache = with_echo();
    let gone = {
        let service = Service::plain();
        connect(&attache, "header", &service, &[]).done();
        service.base()
    };
    // The port is taken over by nobody: a listener that was dropped refuses.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let base = format!("other=http://{free}");
    let elsewhere = ["connection", "reconnect", "echo", "--set", &base, "--allow-private", &free.to_string(), "--yes"];
    // What is stored stays where it went.
    attache.run(&elsewhere).refused(2, "was given for other origins");
    attache.run(&[&elsewhere[..], &["--secret", "key=env:STORY_KEY"]].concat()).done();
    let seen = attache.call("echo", "send", &json!({ "url": format!("http://{free}/") }));
    assert_eq!(seen["error"], "unreachable", "{seen} {gone}");
}
