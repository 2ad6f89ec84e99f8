//! More ways out of a hostile connector, each in both isolations and tried twice: where the connection signs in, redirects of a
//! service that plays along, what it may not read, and its own memory.

use std::sync::{Arc, OnceLock};

use attache_tests::{
    Canary, Embedded,
    service::{Service, answer, ok},
};
use serde_json::{Value, json};

use crate::{canary_oauth, hostile::BOTH};

const PASSWORD: &str = "canary-password-5d41402abc";
const TOKEN: &str = "canary-token-4b2a76b9719d91";
const REFRESH: &str = "canary-refresh-1017c592a8f3";

fn signs_in_only() -> Value {
    let sentence = "That is where the connection signs in, which only the host does. \
                    The connector must leave signing in to its auth option.";
    json!({ "error": "denied", "sentence": sentence })
}

/// Sends twice, and demands the same of both.
fn twice(embedded: &Embedded, connection: &str, input: &Value) -> Value {
    let send = || embedded.call(connection, "send", input.clone()).unwrap();
    let (first, second) = (send(), send());
    assert_eq!(first, second);
    first
}

/// Signs everybody in, and redirects to what stands behind `/to?` or `/keep?`.
fn service() -> Service {
    Service::start(|request| {
        let target = request.line.split(' ').nth(1).unwrap();
        if let Some(to) = target.strip_prefix("/to?") {
            return answer(302, &[("Location", to)], "");
        }
        if let Some(to) = target.strip_prefix("/keep?") {
            return answer(307, &[("Location", to)], "");
        }
        match target {
            "/login" | "/refresh" => answer(
                200,
                &[("X-Region", "north"), ("Content-Type", "application/json")],
                &json!({ "token": TOKEN, "refresh": REFRESH }).to_string(),
            ),
            _ => ok("jo"),
        }
    })
}

#[test]
fn where_the_connection_signs_in_is_not_the_connectors_to_call_by_any_way() {
    for isolation in BOTH {
        let (service, open) = (service(), service());
        let embedded = Embedded::new("signs-in", isolation);
        let open_base = open.base();
        let values = [("user", "jo"), ("!password", PASSWORD), ("open", open_base.as_str())];
        embedded.connect_private("me", "refreshed", &service, &[&open], &values).unwrap();
        let (base, port) = (service.base(), service.port);
        for spelling in [
            format!("{base}/login"),
            format!("{base}/refresh"),
            format!("{base}/LOGIN/"),
            format!("{base}/%6cogin"),
            format!("{base}/%25256cogin"),
            format!("{base}//login?x=1"),
            format!("{base}/./login#x"),
            format!("{base}/x/../refresh"),
            format!("{base}/x/%2e%2e/refresh"),
            format!("{base}/x%2F..%2Flogin"),
            format!("{base}/login;jsessionid=1"),
            format!("{base}\\login"),
            format!("http://127.1:{port}/login"),
            format!("HTTP://0x7f000001:{port}/login"),
        ] {
            for (method, attach) in [("POST", true), ("POST", false), ("GET", true)] {
                let direct = json!({ "url": spelling, "method": method, "attach": attach, "body": "user=jo" });
                assert_eq!(twice(&embedded, "me", &direct), signs_in_only(), "{method} {spelling}");
            }
            for from in [format!("{base}/to?"), format!("{base}/keep?")] {
                let led = json!({ "url": format!("{from}{spelling}"), "method": "POST", "body": "user=jo" });
                assert_eq!(twice(&embedded, "me", &led), signs_in_only(), "by {from}{spelling}");
            }
            let from = format!("{}/keep?{spelling}", open.base());
            let led = json!({ "url": from, "method": "POST", "attach": false });
            assert_eq!(twice(&embedded, "me", &led), signs_in_only(), "by an open host to {spelling}");
        }
        let asked = |path: &str| service.received().iter().filter(|it| it.line.contains(path)).count();
        let by_the_host = |path: &str| {
            let lines = service.received().into_iter().map(|it| it.line);
            lines.filter(|line| *line == format!("POST {path} HTTP/1.1")).count()
        };
        assert_eq!((by_the_host("/login"), by_the_host("/refresh")), (1, 0));
        assert!(asked("/to?") > 0 && asked("/keep?") > 0, "the redirects were followed");
    }
}

#[test]
fn a_providers_endpoints_are_not_the_connectors_to_call_by_any_way() {
    for isolation in BOTH {
        let provider = canary_oauth::provider();
        let embedded = Embedded::new("oauth", isolation);
        let base = provider.base();
        embedded.set_app(("canary", canary_oauth::SECRET), &base);
        embedded.sign_in("me", "plain", &base, |_, page| page).unwrap();
        let before = provider.received().len();
        for path in ["/token", "/TOKEN", "/%74oken", "//token/", "/x/..%2ftoken?a", "/revoke", "/authorize", "/device"]
        {
            for (method, attach) in [("POST", true), ("POST", false), ("GET", false)] {
                let input = json!({ "url": format!("{base}{path}"), "method": method, "attach": attach });
                assert_eq!(twice(&embedded, "me", &input), signs_in_only(), "{method} {path}");
            }
        }
        assert_eq!(provider.received().len(), before);
        // What is the API's goes there, and with the token.
        assert_eq!(twice(&embedded, "me", &json!({ "url": format!("{base}/api") }))["status"], 200);
        assert!(provider.received().last().unwrap().header("authorization").unwrap().contains(canary_oauth::ACCESS));
    }
}

#[test]
fn a_secret_parameter_and_what_a_login_captured_are_not_readable_however_often_they_were_used() {
    for isolation in BOTH {
        let service = service();
        let embedded = Embedded::new("signs-in", isolation);
        embedded.connect("me", "refreshed", &service, &[("user", "jo"), ("!password", PASSWORD)]).unwrap();
        for _ in 0..2 {
            let sent = twice(&embedded, "me", &json!({ "url": format!("{}/x", service.base()) }));
            assert_eq!(sent["status"], 200);
            let seen = embedded.call("me", "connection", json!({})).unwrap();
            let readable = [("user", json!("jo")), ("region", json!("north"))];
            for pair in seen["seen"].as_array().unwrap() {
                let expected = readable.iter().find(|(name, _)| pair[0] == *name).map_or(&Value::Null, |(_, it)| it);
                assert_eq!(pair[1], *expected, "{pair}");
            }
            for secret in [PASSWORD, TOKEN, REFRESH] {
                Canary::new(secret).is_not_in("the connection as it is seen", seen.to_string().as_bytes());
            }
        }
    }
}

#[test]
fn nothing_of_a_secret_that_a_service_repeats_is_anywhere_in_a_connectors_memory() {
    const SECRET: &str = "story-key-8f1c02-in-no-memory";
    const BESIDE: &str = "what-stood-beside-it-77c1";
    let halves = |text: &str| json!({ "first": &text[..10], "second": &text[10..] });
    for isolation in BOTH {
        let service = Service::start(|request| {
            let key = request.header("x-api-key").unwrap_or_default();
            answer(200, &[("X-Key", key)], &format!("{key} {}", hex::encode(key)))
        });
        let embedded = Embedded::new("remembers", isolation);
        embedded.connect("mine", "header", &service, &[("!key", SECRET)]).unwrap();
        for _ in 0..3 {
            embedded.call("mine", "keep", json!({ "text": BESIDE })).unwrap();
            let seen = embedded.call("mine", "send", json!({ "url": format!("{}/x", service.base()) })).unwrap();
            assert_eq!(seen["body"], "*".repeat(SECRET.len()) + " " + &"*".repeat(2 * SECRET.len()));
            for text in [SECRET.to_owned(), hex::encode(SECRET)] {
                assert_eq!(embedded.call("mine", "look", halves(&text)).unwrap()["found"], 0);
            }
            // The search finds what a kept instance was told, and a fresh one has nothing of the calls before.
            let found = embedded.call("mine", "look", halves(BESIDE)).unwrap()["found"].as_u64().unwrap();
            assert_eq!(found > 0, isolation == attache::consent::Isolation::Connection);
        }
    }
}

#[test]
fn a_service_that_plays_along_leads_a_connector_nowhere_by_its_redirects() {
    for isolation in BOTH {
        let other = Service::plain();
        let to = Arc::new(OnceLock::new());
        let service = {
            let to: Arc<OnceLock<Vec<(u16, String)>>> = to.clone();
            Service::start(move |request| {
                let number = request.line.split("/case/").nth(1).and_then(|it| it.split(' ').next()?.parse().ok());
                match number.map(|number: usize| &to.get().unwrap()[number]) {
                    Some((status, location)) => answer(*status, &[("Location", location)], ""),
                    None => ok("there"),
                }
            })
        };
        let (base, port) = (service.base(), other.port);
        let reach = |origin: &str| {
            let hint = "The connector must declare the origin in its audience or open hosts, and the account's owner must \
                        consent to it.";
            format!("The connection may not reach {origin}; it may reach {base}. {hint}")
        };
        let scheme = |name: &str| format!("The scheme `{name}` is not one that Attaché speaks. Use an https:// URL.");
        let cases = [
            (302, format!("http://127.0.0.1:{port}/loot"), "denied", reach(&format!("http://127.0.0.1:{port}"))),
            (301, format!("//127.0.0.1:{port}/loot"), "denied", reach(&format!("http://127.0.0.1:{port}"))),
            (307, format!("http://2130706433:{port}/"), "denied", reach(&format!("http://127.0.0.1:{port}"))),
            (
                308,
                format!("http://[::ffff:127.0.0.1]:{port}/"),
                "denied",
                reach(&format!("http://[::ffff:7f00:1]:{port}")),
            ),
            (303, "http://169.254.169.254/latest/meta-data/".into(), "denied", reach("http://169.254.169.254")),
            (302, "https://evil.example/".into(), "denied", reach("https://evil.example")),
            (302, "file:///etc/passwd".into(), "denied", scheme("file")),
            (302, "ftp://127.0.0.1/".into(), "denied", scheme("ftp")),
            (302, "data:text/plain,x".into(), "denied", scheme("data")),
            (
                302,
                format!("http://jo:x@127.0.0.1:{}/", service.port),
                "denied",
                "A URL with a user name or password in it is not sent. \
                 The host attaches credentials; declare `basic` in the connector's auth option."
                    .into(),
            ),
            (302, "/case/10".into(), "unreachable", "The service redirected more than 10 times.".into()),
            (302, "http://".into(), "unreachable", "The service redirects to something that is not a URL.".into()),
        ];
        to.set(cases.iter().map(|(status, location, ..)| (*status, location.clone())).collect()).unwrap();
        let embedded = Embedded::new("echo", isolation);
        embedded.connect("echo", "header", &service, &[("!key", "story-key-8f1c02")]).unwrap();
        for (number, (status, location, error, sentence)) in cases.iter().enumerate() {
            for method in ["GET", "POST"] {
                let input = json!({ "url": format!("{base}/case/{number}"), "method": method });
                let seen = twice(&embedded, "echo", &input);
                assert_eq!(seen, json!({ "error": error, "sentence": sentence }), "{status} {location}");
            }
        }
        assert!(other.received().is_empty());
    }
}
