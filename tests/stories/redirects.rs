//! What a redirect makes of a method, a body and a credential (RFC 9110 section 15.4), as the next service sees it.

use std::sync::{Arc, OnceLock};

use attache::{
    Kind,
    consent::Isolation,
    secret::Secret,
    settings::{Source, Sourced},
    transport::PrivateAllowed,
};
use attache_tests::{
    Canary, Embedded,
    authority::Authority,
    peers,
    service::{Received, Service, answer, ok},
};
use serde_json::{Value, json};

use crate::hostile::{BOTH, CANARY};

/// A service that redirects whoever asks for `/go` there, with this status.
fn redirecting(status: u16, to: &Arc<OnceLock<String>>) -> Service {
    let to = to.clone();
    Service::start(move |request| match request.line.contains("/go") {
        true => answer(status, &[("Location", to.get().unwrap())], ""),
        false => ok("there"),
    })
}

fn method(received: &Received) -> &str {
    received.line.split(' ').next().unwrap()
}

#[test]
fn methods_and_bodies_go_along_as_the_standard_says() {
    const BODY: &str = r#"{"a": 1}"#;
    for isolation in BOTH {
        for (status, becomes) in [
            // What GET, POST and PUT become, and whether the body goes along.
            (301, [("GET", true), ("GET", false), ("PUT", true)]),
            (302, [("GET", true), ("GET", false), ("PUT", true)]),
            (303, [("GET", false), ("GET", false), ("GET", false)]),
            (307, [("GET", true), ("POST", true), ("PUT", true)]),
            (308, [("GET", true), ("POST", true), ("PUT", true)]),
        ] {
            let to = Arc::new(OnceLock::new());
            let service = redirecting(status, &to);
            to.set("/there".to_owned()).unwrap();
            let embedded = Embedded::new("echo", isolation);
            embedded.connect("echo", "header", &service, &[("!key", CANARY)]).unwrap();
            for (sent, (expected, keeps)) in ["GET", "POST", "PUT"].into_iter().zip(becomes) {
                let headers =
                    json!([["Content-Type", "application/json"], ["Content-Language", "en"], ["X-Kept", "yes"]]);
                let url = format!("{}/go", service.base());
                let input = json!({ "url": url, "method": sent, "headers": headers, "body": BODY });
                assert_eq!(embedded.call("echo", "send", input).unwrap()["body"], "there", "{sent} {status}");
                let received = service.received();
                let [went, came] = &received[received.len() - 2..] else { unreachable!() };
                assert_eq!((method(went), went.body.as_slice()), (sent, BODY.as_bytes()));
                let body = if keeps { BODY } else { "" };
                assert_eq!((method(came), came.body.as_slice()), (expected, body.as_bytes()), "{sent} {status}");
                for name in ["content-type", "content-language"] {
                    assert_eq!(came.header(name).is_some(), keeps, "{sent} {status}: {name}");
                }
                assert_eq!(came.header("content-length"), keeps.then_some("8"), "{sent} {status}");
                // Neither is the body's.
                assert_eq!((came.header("x-kept"), came.header("x-api-key")), (Some("yes"), Some(CANARY)));
            }
        }
    }
}

/// Connects by an option, with an open host beside the service.
fn with_open(option: &str, isolation: Isolation, service: &Service, open: &Service) -> Embedded {
    let embedded = Embedded::new("echo", isolation);
    let values = [("!key", CANARY), ("open", &*open.base())];
    embedded.connect_private("echo", option, service, &[open], &values).unwrap();
    embedded
}

fn post(embedded: &Embedded, url: String, body: &str) -> Value {
    let headers = json!([["Content-Type", "application/json"]]);
    embedded.call("echo", "send", json!({ "url": url, "method": "POST", "headers": headers, "body": body })).unwrap()
}

#[test]
fn a_credential_stays_behind_at_an_open_host_and_is_put_on_again_where_that_leads_back() {
    for isolation in BOTH {
        let [out, back] = [(); 2].map(|()| Arc::new(OnceLock::new()));
        let (service, open) = (redirecting(307, &out), redirecting(307, &back));
        out.set(format!("{}/go", open.base())).unwrap();
        back.set(format!("{}/there", service.base())).unwrap();
        let embedded = with_open("header", isolation, &service, &open);
        let seen = embedded.call("echo", "send", json!({ "url": format!("{}/go", service.base()) })).unwrap();
        assert_eq!(seen["body"], "there", "{seen}");
        let received = open.received();
        assert_eq!((received.len(), received[0].header("x-api-key")), (1, None));
        // Each hop is judged by where it goes: the audience is what the credential was agreed for, whoever leads there.
        let last = service.received().pop().unwrap();
        assert_eq!((&*last.line, last.header("x-api-key")), ("GET /there HTTP/1.1", Some(CANARY)));
    }
}

#[test]
fn a_credential_in_a_body_or_a_path_is_not_sent_again_to_an_open_host() {
    for isolation in BOTH {
        for option in ["body", "path"] {
            for status in [307, 308] {
                let to = Arc::new(OnceLock::new());
                let (service, open) = (redirecting(status, &to), Service::plain());
                to.set(format!("{}/there", open.base())).unwrap();
                let embedded = with_open(option, isolation, &service, &open);
                let seen = post(&embedded, format!("{}/go", service.base()), r#"{"a":1}"#);
                assert_eq!(seen["status"], 200, "{option} {status}: {seen}");
                let went = service.received().pop().unwrap();
                let went = format!("{} {}", went.line, String::from_utf8_lossy(&went.body));
                assert!(went.contains(CANARY), "{option}: the credential was nowhere: {went}");
                let received = open.received();
                assert_eq!((received.len(), &*received[0].line), (1, "POST /there HTTP/1.1"));
                assert_eq!(received[0].body, br#"{"a":1}"#, "{option} {status}");
                Canary::new(CANARY).is_not_in("the open host", format!("{:?}", received[0]).as_bytes());
            }
        }
    }
}

#[test]
fn a_redirect_from_https_to_http_is_denied_though_both_are_in_the_audience() {
    for isolation in BOTH {
        for status in [302, 307] {
            let authority = Authority::new();
            let to = Arc::new(OnceLock::new());
            let (service, plain) = (redirecting(status, &to), Service::plain());
            to.set(format!("{}/there", plain.base())).unwrap();
            let ports = [peers::free_port(), peers::free_port()];
            let _nginx = peers::nginx_tls(&authority, ports, service.port);
            let embedded = Embedded::with("echo", isolation, |settings| {
                settings.ca_file = Some(Sourced { value: authority.certificate(), source: Source::Flag });
            });
            let secure = format!("127.0.0.1:{}", ports[0]);
            let mut request = embedded.request("echo", "header").unwrap();
            request.private = PrivateAllowed::parse([secure.clone(), plain.authority()]).unwrap();
            request.parameters = [("base", format!("https://{secure}")), ("other", plain.base())]
                .map(|(name, value)| (name.to_owned(), value))
                .into();
            request.secrets.insert("key".into(), Secret::new(CANARY));
            embedded.make(request).unwrap();
            let go = format!("https://{secure}/go");
            let (sentence, mend) = (
                "The service redirects from https to something that is not https, which is not followed.",
                "Call the final URL itself, if its origin is in the audience.",
            );
            for _ in 0..2 {
                let ended = embedded.call("echo", "fail", json!({ "with": "request", "url": go })).unwrap_err();
                assert_eq!((ended.kind(), ended.message(), ended.mend()), (Kind::Denied, sentence, Some(mend)));
            }
            let seen = embedded.call("echo", "send", json!({ "url": go })).unwrap();
            assert_eq!(seen, json!({ "error": "denied", "sentence": format!("{sentence} {mend}") }));
            assert!(plain.received().is_empty());
            // The connector itself may go there, where the account's owner agreed to that; and the service answers as before.
            let seen = embedded.call("echo", "send", json!({ "url": format!("{}/there", plain.base()) })).unwrap();
            assert_eq!(seen["status"], 200, "{seen}");
            let honest = embedded.call("echo", "send", json!({ "url": format!("https://{secure}/x") })).unwrap();
            assert_eq!(honest["body"], "there");
        }
    }
}
