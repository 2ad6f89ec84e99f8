//! What comes back is masked wherever it stands, however the service cuts its answer, and counted exactly; what is not the
//! credential comes through as it was.

use std::io::Write;

use attache::consent::Isolation;
use attache_tests::{
    Embedded,
    service::{Service, answer, ok},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use serde_json::{Value, json};

const BOTH: [Isolation; 2] = [Isolation::Call, Isolation::Connection];

/// May stand in the name of a header, and is written otherwise in a URL.
const SECRET: &str = "scrub+key&of^this~story";

/// The `masked` of every answer that the audit tells of, in order.
fn counted(embedded: &Embedded) -> Vec<u64> {
    embedded.host().close().unwrap();
    let audit = std::fs::read_to_string(embedded.host().audit_path()).unwrap();
    let lines = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == "answer").map(|line| line["masked"].as_u64().unwrap()).collect()
}

fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn stars(count: usize) -> String {
    "*".repeat(count)
}

/// What a service sends, what of it the connector sees, and how many places were masked.
struct Case {
    headers: Vec<(&'static str, String)>,
    body: String,
    seen: String,
    masked: u64,
}

fn case(headers: &[(&'static str, &str)], body: &str, seen: &str, masked: u64) -> Case {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Case { headers, body: body.to_owned(), seen: seen.to_owned(), masked }
}

fn cases() -> Vec<Case> {
    let (key, mask) = (SECRET, stars(SECRET.len()));
    let (hex, base64, url) = (hex::encode_upper(key), BASE64_STANDARD.encode(key), percent(key));
    // Of base64 the last character holds bits of what follows, and stands for nothing of the key alone.
    let masked_base64 = masked_base64("", key, "");
    vec![
        case(&[("X-A", "nothing")], "nothing", "nothing", 0),
        case(&[], key, &mask, 1),
        case(&[], &format!("{key} and {key}, {key}"), &format!("{mask} and {mask}, {mask}"), 3),
        case(&[], &[key, key].concat(), &[&*mask, &*mask].concat(), 2),
        case(&[("X-A", key)], "", "", 1),
        case(&[("X-A", &format!("{key};{key}"))], "", "", 2),
        case(&[("X-A", key), ("X-A", key), ("X-B", &hex)], &format!("a{key}b{key}"), &format!("a{mask}b{mask}"), 5),
        case(
            &[],
            &format!("{hex} {base64} {url}"),
            &format!("{} {masked_base64} {}", stars(hex.len()), stars(url.len())),
            3,
        ),
        // What the connector does not see is not counted.
        case(&[("Alt-Svc", key)], "", "", 0),
        // Nor what is not the whole key.
        case(&[], &key[..key.len() - 1], &key[..key.len() - 1], 0),
        case(&[], &key[1..], &key[1..], 0),
    ]
}

fn connected(isolation: Isolation, service: &Service) -> Embedded {
    let embedded = Embedded::new("echo", isolation);
    embedded.connect("echo", "header", service, &[("!key", SECRET)]).unwrap();
    embedded
}

#[test]
fn the_audit_counts_every_place_that_was_masked_and_no_other() {
    for isolation in BOTH {
        let service = Service::start(|request| match request.line.strip_prefix("GET /case/") {
            Some(number) => {
                let case = &cases()[number.split(' ').next().unwrap().parse::<usize>().unwrap()];
                let headers: Vec<_> = case.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                answer(200, &headers, &case.body)
            }
            None if request.line.contains("/name") => answer(200, &[(&format!("X-{SECRET}"), SECRET)], SECRET),
            None if request.line.contains("/gzip") => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                encoder.write_all(format!("{SECRET} {SECRET}").as_bytes()).unwrap();
                let body = encoder.finish().unwrap();
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
                [head.into_bytes(), body].concat()
            }
            None => ok("tester"),
        });
        let embedded = connected(isolation, &service);
        let send = |path: &str| embedded.call("echo", "send", json!({ "url": format!("{}{path}", service.base()) }));
        let before = counted(&embedded).len();
        let mut expected = Vec::new();
        for (number, case) in cases().iter().enumerate() {
            let seen = send(&format!("/case/{number}")).unwrap();
            assert_eq!(seen["body"], case.seen.as_str(), "{number}");
            for (sent, value) in case.headers.iter().filter(|(name, _)| *name != "Alt-Svc") {
                let name = sent.to_lowercase();
                let passed = seen["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == name.as_str());
                let lengths: Vec<_> = passed.map(|pair| pair[1].as_str().unwrap().len()).collect();
                assert!(lengths.contains(&value.len()), "a mask is as long as what it masks: {seen}");
            }
            expected.push(case.masked);
        }
        send("/name").unwrap();
        send("/gzip").unwrap();
        assert_eq!(counted(&embedded)[before..], [expected, vec![3, 2]].concat());
    }
}

#[test]
fn an_answer_on_the_way_is_not_shown_and_the_last_one_is_counted() {
    for isolation in BOTH {
        let service = Service::start(|request| match request.line.contains("/first") {
            true => answer(302, &[("Location", "/last"), ("X-A", SECRET)], SECRET),
            false => answer(200, &[("X-A", SECRET)], SECRET),
        });
        let embedded = connected(isolation, &service);
        let before = counted(&embedded).len();
        let seen = embedded.call("echo", "send", json!({ "url": format!("{}/first", service.base()) })).unwrap();
        assert_eq!(seen["body"], stars(SECRET.len()));
        assert_eq!(counted(&embedded)[before..], [0, 2]);
    }
}

/// A base64 text of the secret between two others, as it is seen: masked are the characters that are made of the secret
/// alone.
fn masked_base64(before: &str, secret: &str, after: &str) -> String {
    let text = BASE64_STANDARD.encode(format!("{before}{secret}{after}"));
    let (first, end) = ((before.len() * 8).div_ceil(6), (before.len() + secret.len()) * 8 / 6);
    format!("{}{}{}", &text[..first], stars(end - first), &text[end..])
}

/// A text that a service sends, and what the connector sees of it.
fn spellings() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = [
        SECRET.to_owned(),
        hex::encode(SECRET),
        hex::encode_upper(SECRET),
        percent(SECRET),
        percent(SECRET).to_lowercase(),
    ]
    .into_iter()
    .map(|text| (text.clone(), stars(text.len())))
    .collect();
    for before in ["", "a", "ab"] {
        for after in ["", "z"] {
            let seen = masked_base64(before, SECRET, after);
            all.push((BASE64_STANDARD.encode(format!("{before}{SECRET}{after}")), seen.clone()));
            let url_safe = |text: String| text.replace('+', "-").replace('/', "_");
            all.push((BASE64_URL_SAFE.encode(format!("{before}{SECRET}{after}")), url_safe(seen)));
        }
    }
    all
}

/// An answer whose body ends a chunk at each of these places.
fn chunked(body: &str, cuts: &[usize]) -> Vec<u8> {
    let mut answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let ends = cuts.iter().copied().chain([body.len()]);
    let mut from = 0;
    for end in ends.filter(|end| *end > 0) {
        if end > from {
            answer += &format!("{:x}\r\n{}\r\n", end - from, &body[from..end]);
        }
        from = end;
    }
    answer += "0\r\n\r\n";
    answer.into_bytes()
}

#[test]
fn a_secret_that_a_service_cuts_anywhere_is_masked_in_every_spelling_and_counted_once() {
    for isolation in BOTH {
        let service = Service::start(|request| {
            let Some(rest) = request.line.strip_prefix("GET /cut/") else { return ok("tester") };
            let numbers: Vec<usize> = rest.split([' ', '/']).map_while(|number| number.parse().ok()).collect();
            let (text, _) = &spellings()[numbers[0]];
            let body = format!("<{text}>");
            match numbers.get(1) {
                Some(at) => chunked(&body, &[at + 1]),
                None => chunked(&body, &(0..body.len()).collect::<Vec<_>>()),
            }
        });
        let embedded = connected(isolation, &service);
        let before = counted(&embedded).len();
        let mut sent = 0;
        let mut send = |path: String, expected: &str| {
            let seen = embedded.call("echo", "send", json!({ "url": format!("{}{path}", service.base()) })).unwrap();
            assert_eq!(seen["body"], format!("<{expected}>"), "{path}");
            sent += 1;
        };
        for (number, (text, expected)) in spellings().iter().enumerate() {
            // Every byte a chunk of its own, and then two chunks with every border there is.
            send(format!("/cut/{number}"), expected);
            (0..=text.len()).for_each(|at| send(format!("/cut/{number}/{at}"), expected));
        }
        assert_eq!(counted(&embedded)[before..], vec![1; sent]);
    }
}
