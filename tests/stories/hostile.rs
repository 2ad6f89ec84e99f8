//! A hostile connector, in both isolations: each way out is tried twice in one process, so that a kept instance tries it as
//! well as a fresh one.

use std::{
    io::Write,
    sync::{Arc, Mutex, OnceLock},
};

use attache::{Kind, consent::Isolation};
use attache_tests::{Canary, Embedded, service::Service};
use serde_json::{Value, json};

pub(crate) const CANARY: &str = "canary-5d41402abc4b2a76";
pub(crate) const BOTH: [Isolation; 2] = [Isolation::Call, Isolation::Connection];

/// A host with the guest that sends what it is told, connected by this auth option.
pub(crate) fn host(isolation: Isolation, option: &str, service: &Service, more: &[(&str, &str)]) -> Embedded {
    let embedded = Embedded::new("echo", isolation);
    let values: Vec<_> = [("!key", CANARY)].into_iter().chain(more.iter().copied()).collect();
    embedded.connect("echo", option, service, &values).unwrap();
    embedded
}

/// Sends twice, and demands the same of both.
pub(crate) fn twice(embedded: &Embedded, input: &Value) -> Value {
    let mut seen = (0..2).map(|_| embedded.call("echo", "send", input.clone()).unwrap());
    let (first, second) = (seen.next().unwrap(), seen.next().unwrap());
    assert_eq!(first, second);
    Canary::new(CANARY).is_not_in("what the connector sees", first.to_string().as_bytes());
    first
}

#[test]
fn no_spelling_of_an_address_leads_elsewhere() {
    for isolation in BOTH {
        let (service, other) = (Service::plain(), Service::plain());
        let embedded = host(isolation, "header", &service, &[]);
        let port = other.port;
        for host in [
            "127.0.0.1",
            "localhost",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "0.0.0.0",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[0:0:0:0:0:ffff:127.0.0.1]",
            "[fe80::1]",
            "[fd00::1]",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "10.0.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "１２７.0.0.1",
            "127。0。0。1",
            "ⓛocalhost",
            "user@127.0.0.1",
            "127.0.0.1:80@127.0.0.1",
            "evil.example",
            "127.0.0.1.evil.example",
            "metadata.google.internal",
        ] {
            let seen = twice(&embedded, &json!({ "url": format!("http://{host}:{port}/x") }));
            // What leads there once the audience lets it pass is in `hostile_addresses`.
            let why = match host.contains('@') {
                true => "A URL with a user name or password in it is not sent.".to_owned(),
                false => format!("it may reach {}. The connector must declare the origin", service.base()),
            };
            assert_eq!(seen["error"], "denied", "{host}: {seen}");
            assert!(seen["sentence"].as_str().unwrap().contains(&why), "{host}: {seen}");
        }
        assert!(other.received().is_empty());
    }
}

#[test]
fn headers_methods_and_urls_do_not_break_out_of_a_request() {
    for isolation in BOTH {
        let service = Service::plain();
        let embedded = host(isolation, "header", &service, &[]);
        let before = service.received().len();
        let url = service.base();
        for (name, value, error, why) in [
            ("Authorization", "Bearer mine", "denied", "The header `authorization` is the host's to set"),
            ("authorization", "Basic bWluZQ==", "denied", "The header `authorization` is the host's to set"),
            ("Proxy-Authorization", "Basic x", "denied", "The header `proxy-authorization` is the host's to set"),
            ("Host", "evil.example", "denied", "The header `host` is the host's to set: it follows from the URL."),
            ("HOST", "evil.example", "denied", "The header `host` is the host's to set: it follows from the URL."),
            ("X-Api-Key", "mine", "denied", "x-api-key"),
            ("Content-Length", "0", "denied", "The header `content-length` is the host's to set"),
            ("Transfer-Encoding", "chunked", "denied", "The header `transfer-encoding` is the host's to set"),
            ("Connection", "X-Api-Key", "denied", "The header `connection` is the host's to set"),
            ("X-Forwarded-Host", "evil.example", "denied", "The header `x-forwarded-host` is the host's to set"),
            ("X-A", "b\r\nX-B: c", "invalid-request", "holds a line break or another control character"),
            ("X-A", "b\nc", "invalid-request", "holds a line break or another control character"),
            ("X-A", "b\0c", "invalid-request", "holds a line break or another control character"),
            ("X-A\r\nX-B", "c", "invalid-request", "a character that no header name may hold"),
            ("X-A: b\r\nAuthorization", "c", "invalid-request", "a character that no header name may hold"),
            ("Authorization ", "c", "invalid-request", "a character that no header name may hold"),
        ] {
            let seen = twice(&embedded, &json!({ "url": url, "headers": [[name, value]] }));
            assert_eq!(seen["error"], error, "{name}: {value}");
            assert!(seen["sentence"].as_str().unwrap().contains(why), "{name}: {value}: {seen}");
        }
        for (method, error, why) in [
            ("GET /x HTTP/1.1\r\nHost: evil", "invalid-request", "is not a token"),
            ("", "invalid-request", "is not a token"),
            ("CONNECT", "denied", "The methods CONNECT and TRACE are not sent"),
            ("TRACE", "denied", "The methods CONNECT and TRACE are not sent"),
        ] {
            let seen = twice(&embedded, &json!({ "url": url, "method": method }));
            assert_eq!(seen["error"], error, "{method}: {seen}");
            assert!(seen["sentence"].as_str().unwrap().contains(why), "{method}: {seen}");
        }
        for path in ["/x\r\nX-B: c", "/x\ny", "/\tx", "/x\0"] {
            let seen = twice(&embedded, &json!({ "url": format!("{url}{path}") }));
            let sentence = "The request's URL holds a control character.";
            assert_eq!(seen, json!({ "error": "invalid-request", "sentence": sentence }), "{path:?}");
        }
        assert_eq!(service.received().len(), before);
    }
}

#[test]
fn a_secret_and_a_secret_parameters_name_are_not_readable() {
    for isolation in BOTH {
        let service = Service::plain();
        let embedded = host(isolation, "header", &service, &[]);
        let seen = embedded.call("echo", "connection", json!({})).unwrap();
        assert_eq!((&seen["key"], &seen["base"]), (&Value::Null, &json!(service.base())));
        Canary::new(CANARY).is_not_in("the connection as it is seen", seen.to_string().as_bytes());
    }
}

#[test]
fn what_uses_everything_up_is_stopped_and_the_host_goes_on() {
    for isolation in BOTH {
        let embedded = Embedded::with("greedy", isolation, |settings| {
            let limits = &mut settings.limits.value;
            (limits.compute_seconds, limits.memory_bytes, limits.host_calls, limits.requests) = (1, 8 << 20, 500, 20);
            limits.output_bytes = 1_000_000;
        });
        embedded.connect_bare("greedy", "none").unwrap();
        for (operation, kind) in [
            ("spin", Kind::ConnectorLimit),
            ("grow", Kind::ConnectorLimit),
            ("recurse", Kind::ConnectorFailed),
            ("trap", Kind::ConnectorFailed),
            ("huge-output", Kind::ConnectorLimit),
            ("host-calls", Kind::ConnectorLimit),
            ("requests", Kind::ConnectorLimit),
            ("wrong-output", Kind::ConnectorOutput),
            ("no-json", Kind::ConnectorOutput),
        ] {
            for _ in 0..2 {
                let ended = embedded.call("greedy", operation, json!({})).unwrap_err();
                assert_eq!(ended.kind(), kind, "{operation}: {ended}");
            }
            assert_eq!(embedded.call("greedy", "wait", json!({})).unwrap(), true, "after {operation}");
        }
    }
}

/// Everything that was logged in this process, at every level.
pub(crate) fn logged() -> &'static Mutex<Vec<u8>> {
    static LOGGED: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    LOGGED.get_or_init(|| {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || Writer(writer.clone()))
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        kept
    })
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_password_or_signing_key_that_could_be_read_is_refused_when_the_connector_is_added() {
    let attache = crate::machine();
    for (guest, sentence) in [
        ("public-password", "may use only secrets"),
        ("public-signing-key", "which the connector can read"),
        ("secret-in-host", "cannot stand in a host"),
    ] {
        attache.run(&["connector", "add", &attache_tests::connector(guest), "--yes"]).refused(5, sentence);
    }
    attache
        .run(&["connector", "add", &attache_tests::connector("describe-network"), "--yes"])
        .refused(5, "while describing itself");
}

#[test]
fn names_that_a_connector_chose_cannot_move_the_cursor_or_turn_the_text() {
    // Regression: names of headers and query parameters were printed as the connector wrote them.
    let attache = crate::machine();
    let added = attache.run(&["connector", "add", &attache_tests::connector("misleading-names"), "--yes"]);
    let shown = attache.run(&["connector", "show", "misleading-names"]);
    for text in [&added.out, &added.err, &shown.out, &shown.err] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("auth option harmless")), "{text}");
    }
    assert!(shown.out.contains("query q"), "{}", shown.out);
}
