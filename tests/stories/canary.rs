//! The key is nowhere in clear. A search that finds nothing proves something only if it finds what is planted.

use attache_tests::{
    Canary,
    canary::spelled,
    service::{Service, answer},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::with_echo;

/// A service that reflects its whole request, in clear, in base64 and in hex, in headers and body.
fn reflecting() -> Service {
    Service::start(|request| {
        let all = format!("{} {:?}", request.line, request.headers);
        let key = request.header("x-api-key").or(request.header("authorization")).unwrap_or("none").to_owned();
        let body =
            format!("{all}\n{}\n{}\n{}", BASE64_STANDARD.encode(&all), hex::encode(&all), hex::encode_upper(&key));
        answer(
            200,
            &[("X-Key", &key), ("X-Key-64", &BASE64_STANDARD.encode(&key)), ("X-Key-Hex", &hex::encode(&key))],
            &body,
        )
    })
}

#[test]
fn the_search_finds_what_is_planted() {
    // Written differently in every spelling, in both alphabets of base64 at each alignment.
    let canary = Canary::new("canary>5d41?402a~bc4b>>2a76??b971~~9d91");
    assert_eq!(canary.found_in(b"nothing"), Vec::<&str>::new());
    let spelled = spelled(&canary.secret);
    for (name, text) in &spelled {
        assert_eq!(canary.found_in(format!("a {text} b").as_bytes()), [*name], "{text}");
        assert_eq!(canary.found_in(text.to_lowercase().as_bytes()), [*name], "as a host name or a log has it: {text}");
    }
    let names: Vec<_> = spelled.iter().map(|(name, _)| *name).collect();
    for name in ["clear", "hex", "base64", "base64 after 2 bytes", "base64url", "base64url after 1 byte", "percent"] {
        assert!(names.contains(&name), "{name}");
    }
    for before in ["", "a", "ab", "abc"] {
        let text = BASE64_STANDARD.encode(format!("{before}{}:tail", canary.secret));
        assert_eq!(canary.found_in(text.as_bytes()).len(), 1, "{before}");
    }
}

#[test]
fn the_search_finds_what_is_planted_in_a_file_however_deep_and_in_a_files_name() {
    let canary = Canary::new("canary-5d41402abc4b2a76");
    let is_found = |folder: &std::path::Path| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| canary.is_not_below(folder))).is_err()
    };
    for (_, text) in spelled(&canary.secret) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("deep/deeper")).unwrap();
        std::fs::write(folder.path().join("other"), "nothing").unwrap();
        let file = folder.path().join("deep/deeper/file");
        // As it stands in a store: among bytes that are no text.
        std::fs::write(&file, [&[0xff, 0, 0xfe], text.as_bytes(), &[0, 0xff]].concat()).unwrap();
        assert!(is_found(folder.path()), "{text}");
        std::fs::write(&file, "nothing").unwrap();
        assert_eq!(canary.is_not_below(folder.path()), 2);
        std::fs::write(folder.path().join(format!("deep/{}", canary.secret)), "nothing").unwrap();
        assert!(is_found(folder.path()));
    }
}

#[test]
fn the_key_is_in_no_output_log_audit_file_and_nowhere_that_the_connector_sees() {
    let canary = Canary::new("canary-5d41402abc4b2a76");
    let service = reflecting();
    let mut attache = with_echo();
    attache.set("CANARY", &canary.secret).set("ATTACHE_LOG", "trace").set("RUST_BACKTRACE", "1");
    let mut said = Vec::new();
    let mut run = |arguments: &[&str]| {
        let outcome = attache.run(arguments);
        canary.is_not_in(&format!("standard output of {arguments:?}"), outcome.out.as_bytes());
        canary.is_not_in(&format!("standard error of {arguments:?}"), outcome.err.as_bytes());
        said.push(outcome);
    };
    let (base, allow) = (format!("base={}", service.base()), service.authority());
    let send = json!({ "url": format!("{}/x", service.base()) }).to_string();
    let redirected = json!({ "url": format!("{}/redirect", service.base()) }).to_string();
    for option in ["header", "query", "basic"] {
        let user: &[&str] = if option == "basic" { &["--set", "user=jo"] } else { &[] };
        let named = ["connect", "echo", "--name", option, "--auth", option];
        let values = ["--set", &base, "--secret", "key=env:CANARY", "--allow-private", &allow, "--yes"];
        run(&[&named[..], &values, user].concat());
        run(&["call", option, "send", "--input", &send]);
        run(&["call", option, "send", "--input", &redirected]);
        run(&["call", option, "send", "--input", &send, "--dry-run"]);
        run(&["call", option, "connection"]);
        run(&["connection", "show", option]);
        run(&["connection", "check", option]);
        run(&["consent", "show", option]);
    }
    for arguments in [
        &["connection", "list"][..],
        &["consent", "list"],
        &["audit", "list"],
        &["config", "show"],
        &["connector", "show", "echo"],
    ] {
        run(arguments);
    }
    // It did go where it should, each way.
    let arrived = service.received();
    assert!(arrived.iter().any(|request| request.header("x-api-key") == Some(canary.secret.as_str())));
    assert!(arrived.iter().any(|request| request.line.contains(&canary.secret)));
    assert!(arrived.iter().any(|request| request.header("authorization").is_some()));
    // And it was logged at trace level, or the search through the logs would have searched nothing.
    assert!(said.iter().any(|outcome| outcome.err.contains("TRACE")));
    assert!(canary.is_not_below(&attache.folder().join("home")) > 5);
}

#[test]
fn the_key_is_in_no_refusal_either() {
    let canary = Canary::new("canary-5d41402abc4b2a76");
    let service = Service::start(|request| {
        let key = request.header("x-api-key").unwrap_or_default().to_owned();
        answer(401, &[("WWW-Authenticate", &format!("Key realm=\"{key}\""))], &format!("bad key {key}"))
    });
    let mut attache = with_echo();
    attache.set("CANARY", &canary.secret).set("BROKEN", &format!("{}\n{}", canary.secret, canary.secret));
    let (base, allow) = (format!("base={}", service.base()), service.authority());
    let argument = format!("key={}", canary.secret);
    let tries: [(&[&str], &str); 4] = [
        (&["--secret", "key=env:CANARY"], "the check is refused"),
        (&["--secret", "key=env:BROKEN"], "it holds a line break"),
        (&["--secret", &argument], "it stands in the argument"),
        (&["--set", &argument], "it is given as something readable"),
    ];
    for (more, why) in tries {
        let mut arguments =
            vec!["connect", "echo", "--auth", "header", "--set", &base, "--allow-private", &allow, "--yes"];
        arguments.extend(more);
        let outcome = attache.run(&arguments);
        assert_ne!(outcome.code, Some(0), "{why}");
        canary.is_not_in(why, outcome.err.as_bytes());
        canary.is_not_in(why, outcome.out.as_bytes());
    }
    canary.is_not_below(&attache.folder().join("home"));
}

#[test]
fn a_token_that_comes_back_without_the_word_before_it_is_masked() {
    // Regression: only the whole header value was looked for, and services repeat the token alone.
    let service = Service::start(|request| {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("none");
        answer(200, &[], &format!("token {token}"))
    });
    let attache = with_echo();
    crate::connect(&attache, "bearer", &service, &[]).done();
    let seen = attache.call("echo", "send", &json!({ "url": service.base() }));
    assert_eq!(seen["body"], format!("token {}", "*".repeat(crate::KEY.len())));
}
