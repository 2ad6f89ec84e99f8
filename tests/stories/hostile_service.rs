//! A hostile service, in both isolations: what it sends ends in an error of its own or in an answer without harm, the host's
//! memory stays as it was, and an honest answer is taken afterwards.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use attache::{Kind, consent::Isolation};
use attache_tests::{
    Canary, Embedded,
    service::{Received, Service, answer, ok},
};
use serde_json::{Value, json};

use crate::hostile::{BOTH, CANARY, host, logged, twice};

/// A service that is told the credential and does with it what `harm` says.
fn harmful(harm: impl Fn(&Received, &str) -> Vec<u8> + Send + Sync + 'static) -> Service {
    Service::start(move |request| {
        let key = request.header("x-api-key").unwrap_or_default().to_owned();
        match request.line.contains("/harm") {
            true => harm(request, &key),
            false => ok("tester"),
        }
    })
}

#[test]
fn a_service_cannot_carry_the_credential_out_through_a_redirect() {
    // Regression: the refusal named the host that the service made of the credential, and the audit its path.
    let log = logged();
    for isolation in BOTH {
        let open = Service::plain();
        let spellings: [fn(&str) -> String; 4] = [
            |key| key.to_owned(),
            |key| key.to_uppercase(),
            |key| hex::encode(key),
            |key| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, key),
        ];
        for spelling in spellings {
            let target = open.base();
            let service = harmful(move |request, key| {
                let key = spelling(key);
                let location = match request.line.split(' ').nth(1).unwrap() {
                    "/harm/host" => format!("https://{key}.evil.example/"),
                    "/harm/label" => format!("https://x-{key}.evil.example:8443/a?b"),
                    "/harm/path" => format!("https://evil.example/{key}"),
                    "/harm/own-path" => format!("/{key}"),
                    "/harm/open" => format!("{target}/{key}?{key}"),
                    "/harm/user" => format!("https://{key}:{key}@evil.example/"),
                    "/harm/scheme" => format!("ftp://{key}/"),
                    _ => format!("http://{key}"),
                };
                answer(302, &[("Location", &location)], "")
            });
            let embedded = Embedded::new("echo", isolation);
            embedded
                .connect_private("echo", "header", &service, &[&open], &[("!key", CANARY), ("open", &open.base())])
                .unwrap();
            for path in ["host", "label", "path", "own-path", "open", "user", "scheme", "http"] {
                let seen = twice(&embedded, &json!({ "url": format!("{}/harm/{path}", service.base()) }));
                assert!(seen["error"].is_string() || path == "own-path", "{path}: {seen}");
                // A name with the credential in it is not even looked up.
                let by_name = seen["sentence"].as_str().unwrap_or_default().contains("neither looked up nor followed");
                assert_eq!(by_name, ["host", "label", "scheme", "http"].contains(&path), "{path}: {seen}");
            }
            embedded.host().close().unwrap();
            let audit = std::fs::read(embedded.host().audit_path()).unwrap();
            Canary::new(CANARY).is_not_in("the audit", &audit.to_ascii_lowercase());
            assert!(String::from_utf8_lossy(&audit).contains("request-denied"));
        }
        assert!(open.received().is_empty());
    }
    let log = log.lock().unwrap();
    assert!(String::from_utf8_lossy(&log).contains("TRACE"), "a search through nothing finds nothing");
    Canary::new(CANARY).is_not_in("the log", &log.to_ascii_lowercase());
}

#[test]
fn a_service_cannot_hand_the_credential_back_in_its_answer() {
    for isolation in BOTH {
        let service = harmful(|_, key| {
            let all = [
                key.to_owned(),
                hex::encode_upper(key),
                base64::Engine::encode(&base64::prelude::BASE64_STANDARD, key),
            ];
            answer(
                418,
                &[("X-Key", &all[0]), (&format!("X-{key}"), "name"), ("X-Hex", &all[1]), ("Location", key)],
                &all.join("\n"),
            )
        });
        let embedded = host(isolation, "header", &service, &[]);
        let seen = twice(&embedded, &json!({ "url": format!("{}/harm", service.base()) }));
        assert_eq!(seen["status"], 418);
        assert!(seen["body"].as_str().unwrap().contains("****"));
        // Everything on the disk, the positive control being what the search is tried on in `canary`.
        embedded.host().close().unwrap();
        assert!(Canary::new(CANARY).is_not_below(embedded.folder()) > 5);
    }
}

/// What a service does to whoever asks.
type Harm = Box<dyn Fn(&mut TcpStream) -> io::Result<()> + Send + Sync>;

/// What comes of it.
enum Ends {
    /// An answer with this body, and nothing of what came with it.
    Answered(&'static str),
    /// What the caller is told; `BASE` stands for the service.
    Refused(Kind, &'static str),
}
use Ends::{Answered, Refused};

/// The cap on bodies, in bytes: far below what a bomb unpacks to.
const CAP: u64 = 1 << 20;
/// What a bomb unpacks to.
const UNPACKED: usize = 256 << 20;
/// What the service of these stories writes at a time where it has no end.
const PIECE: usize = 16 << 10;

/// Those bytes and no more; the connection stays open.
fn says(bytes: impl Into<Vec<u8>>) -> Harm {
    let bytes = bytes.into();
    Box::new(move |stream| stream.write_all(&bytes))
}

/// Those bytes, and the end of the connection.
fn hangs_up(bytes: &'static str) -> Harm {
    Box::new(move |stream| {
        stream.write_all(bytes.as_bytes())?;
        stream.shutdown(Shutdown::Both)
    })
}

/// `head`, then `piece` again and again, this far apart, until nobody takes it any longer.
fn without_end(head: &'static str, piece: impl Into<Vec<u8>>, pause: Duration) -> Harm {
    let piece = piece.into();
    Box::new(move |stream| {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(&piece)?;
            thread::sleep(pause);
        }
    })
}

/// A body in these codings.
fn coded(coding: &str, body: &[u8]) -> Harm {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len());
    says([head.as_bytes(), body].concat())
}

fn fields(count: usize, value: usize) -> Harm {
    let fields: String = (0..count).map(|n| format!("X-{n}: {}\r\n", "v".repeat(value))).collect();
    says(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"))
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// [`UNPACKED`] zeros in members of a megabyte (RFC 1952, 2.2).
fn gzip_bomb() -> Vec<u8> {
    gzip(&[0; 1 << 20]).repeat(UNPACKED >> 20)
}

/// [`UNPACKED`] zeros in blocks of one repeated byte (RFC 8878, 3.1.1.2).
fn zstd_bomb() -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    // The magic number, no flags, and a window of one block.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    for last in (1..=UNPACKED / BLOCK).map(|n| usize::from(n == UNPACKED / BLOCK)) {
        bomb.extend(&(BLOCK << 3 | 1 << 1 | last).to_le_bytes()[..3]);
        bomb.push(0);
    }
    bomb
}

/// [`UNPACKED`] zeros, as the reference encoder packs them at its best with a window of 16 MiB: nothing here writes Brotli.
fn brotli_bomb() -> Vec<u8> {
    let packed = "z///f/gnAOKxQCD3/p/////wTwDEYQGA7v0/////4Z8AiMMiAN37f/7//8M/ARCHBQC69//8//+HfwIgDgsAdO//+f//D/8EQBwWAOje//P//x\
                  /+CYA4LADQvf/n//8//BMAcVgAoHv/z///f/gnAOKwAED3/p/////wTwDEYQGA7v0/////4Z8AiMMCAN37f/7//8M/ARCHBQC69//8//+HfwIg\
                  DgsAdO//+f//D/8EQBwWAOje//P//x/+CYA4LADQvf/P//9//BMAcVgAoHv/Dw==";
    base64::Engine::decode(&base64::prelude::BASE64_STANDARD, packed).unwrap()
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const AMBIGUOUS: Ends = Refused(Kind::ServiceFailed, "`BASE` framed its answer ambiguously.");
const AGAINST_THE_RULES: Ends = Refused(Kind::ServiceFailed, "`BASE` broke the rules of HTTP in its answer.");
const NO_MESSAGE: Ends = Refused(Kind::ServiceFailed, "What `BASE` sent is not a valid HTTP message.");
const INCOMPLETE: Ends = Refused(Kind::Unreachable, "`BASE` closed the connection before its answer was complete.");
const UNKNOWN_CODING: Ends = Refused(
    Kind::ServiceFailed,
    "`BASE` coded its answer in a way that is not understood (understood is one of gzip, br, zstd).",
);
const UNPACKS: Ends = Refused(Kind::TooLarge, "`BASE` answered with a body that decodes to more than 1048576 bytes.");
const LARGE: Ends = Refused(Kind::TooLarge, "`BASE` answered with a body of more than 1048576 bytes.");

/// What is known at once, by name.
fn at_once(elsewhere: &Service) -> Vec<(&'static str, Harm, Ends)> {
    let redirect = |to: &str| says(answer(302, &[("Location", to)], ""));
    let zero = Duration::ZERO;
    vec![
        (
            "redirect-elsewhere",
            redirect(&elsewhere.base()),
            Refused(Kind::Denied, "The connection may not reach ELSEWHERE; it may reach BASE."),
        ),
        (
            "redirect-loop",
            redirect("/?redirect-loop"),
            Refused(Kind::ServiceFailed, "The service redirected more than 10 times."),
        ),
        (
            "redirect-nowhere",
            redirect("http://["),
            Refused(Kind::ServiceFailed, "The service redirects to something that is not a URL."),
        ),
        ("gzip-bomb", coded("gzip", &gzip_bomb()), UNPACKS),
        ("brotli-bomb", coded("br", &brotli_bomb()), UNPACKS),
        ("zstd-bomb", coded("zstd", &zstd_bomb()), UNPACKS),
        ("deflate-bomb", coded("deflate", &gzip_bomb()), UNKNOWN_CODING),
        ("nested-bomb", coded("gzip, gzip", &gzip(&gzip_bomb())), UNKNOWN_CODING),
        (
            "broken-coding",
            coded("gzip", b"plain"),
            Refused(Kind::ServiceFailed, "The body that `BASE` sent is not coded as it says."),
        ),
        ("endless", without_end("HTTP/1.1 200 OK\r\n\r\n", [b'a'; PIECE], zero), LARGE),
        ("endless-chunks", without_end(CHUNKED, [b"4000\r\n", &[b'a'; PIECE][..], b"\r\n"].concat(), zero), LARGE),
        ("far-too-long", says(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX - 2)), LARGE),
        // What comes after the length that was said is nobody's answer.
        (
            "length-too-short",
            says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"),
            Answered("ok"),
        ),
        ("length-too-long", hangs_up("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), INCOMPLETE),
        ("chunk-cut-short", hangs_up("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok"), INCOMPLETE),
        ("head-cut-short", hangs_up("HTTP/1.1 200 OK\r\nContent-Le"), INCOMPLETE),
        (
            "length-and-chunks",
            says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            AMBIGUOUS,
        ),
        (
            "coding-in-transfer",
            says("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            AMBIGUOUS,
        ),
        ("two-lengths", says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"), NO_MESSAGE),
        ("chunk-overflow", says(format!("{CHUNKED}ffffffffffffffff1\r\nok\r\n0\r\n\r\n")), AGAINST_THE_RULES),
        ("chunk-size", says(format!("{CHUNKED}x\r\nok\r\n0\r\n\r\n")), AGAINST_THE_RULES),
        ("chunk-longer-than-said", says(format!("{CHUNKED}2\r\nokay\r\n0\r\n\r\n")), AGAINST_THE_RULES),
        (
            "chunk-extensions",
            without_end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", [b'a'; 1024], zero),
            AGAINST_THE_RULES,
        ),
        (
            "trailers",
            without_end(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
                "X-Trailer: aaaaaaaa\r\n",
                zero,
            ),
            AGAINST_THE_RULES,
        ),
        (
            "upgrade",
            says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello"),
            Refused(Kind::ServiceFailed, "`BASE` switched protocols without being asked."),
        ),
        (
            "header-count",
            fields(100, 1),
            Refused(
                Kind::TooLarge,
                "`BASE` answered with a head that is too large (at most 100 header fields are read).",
            ),
        ),
        (
            "header-bytes",
            fields(10, 8 << 10),
            Refused(Kind::TooLarge, "`BASE` answered with more than 65536 bytes of header fields."),
        ),
        (
            "header-without-end",
            without_end("HTTP/1.1 200 OK\r\nX: ", [b'v'; PIECE], zero),
            Refused(
                Kind::TooLarge,
                "`BASE` answered with a head that is too large (at most 100 header fields are read).",
            ),
        ),
        ("garbage", says("SSH-2.0-OpenSSH_9.2\r\n\r\n"), NO_MESSAGE),
        ("status", says("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"), NO_MESSAGE),
    ]
}

/// What shows only after a while.
fn after_a_while() -> Vec<(&'static str, Harm, Ends)> {
    let late = |sentence| Refused(Kind::Timeout, sentence);
    // Often enough to be no silence, and seldom enough to end by the time and not by the size.
    let pause = Duration::from_millis(20);
    vec![
        ("silence", says(""), late("`BASE` did not begin to answer within 1s.")),
        (
            "head-drip",
            without_end("HTTP/1.1 200 OK\r\nX: ", "x", pause),
            late("`BASE` did not begin to answer within 1s."),
        ),
        (
            "interim-flood",
            without_end("", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", Duration::from_micros(200)),
            late("`BASE` did not begin to answer within 1s."),
        ),
        (
            "body-pause",
            says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
            late("`BASE` sent no further piece of its answer within 1s."),
        ),
        (
            "body-drip",
            without_end("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", "x", pause),
            late("`BASE` did not finish its answer within 3s."),
        ),
    ]
}

/// A service that does harm to those who ask for it by `?` and the harm's name, and to those who ask `/check` while it stands in
/// `Toggled`; to others it is honest.
fn hostile(harms: &[(&'static str, Arc<Harm>)]) -> (Service, Toggled) {
    let toggled = Toggled::default();
    let (harms, now): (BTreeMap<_, _>, _) = (harms.iter().cloned().collect(), toggled.clone());
    let service = Service::writing(move |request, stream| {
        let path = request.line.split(' ').nth(1).unwrap();
        let name = path.split_once('?').map(|(_, name)| name.to_owned()).or_else(|| now.lock().unwrap().clone());
        match name.and_then(|name| harms.get(name.as_str())) {
            Some(harm) => harm(stream),
            None => stream.write_all(&ok("tester")),
        }
    });
    (service, toggled)
}

type Toggled = Arc<Mutex<Option<String>>>;

/// The most memory that this process ever had, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// How much higher that may be at the end, the service of this process included. A Brotli window of 16 MiB is most of what there
/// is to it; a fifth of what one bomb unpacks to would be more, and so would the answers of [`CAP`] that half of the rounds end.
const GROWTH: u64 = 48 << 20;
const ROUNDS: usize = 24;

fn harms_end(isolation: Isolation) {
    let elsewhere = Service::plain();
    let harms = at_once(&elsewhere);
    let (harms, ends): (Vec<_>, Vec<_>) =
        harms.into_iter().map(|(name, harm, ends)| ((name, Arc::new(harm)), (name, ends))).unzip();
    let (service, toggled) = hostile(&harms);
    let embedded = Embedded::with("echo", isolation, |settings| settings.limits.value.response_bytes = CAP);
    embedded.connect("echo", "header", &service, &[("!key", CANARY)]).unwrap();
    let honest = || {
        let seen = embedded.call("echo", "send", json!({ "url": service.base() })).unwrap();
        assert_eq!(seen["body"], "tester", "{seen}");
        assert_eq!(embedded.check("echo").unwrap(), "tester");
    };
    let told = |sentence: &str| sentence.replace("BASE", &service.base()).replace("ELSEWHERE", &elsewhere.base());
    honest();
    let before = most_memory();
    for round in 0..ROUNDS {
        for (name, ends) in &ends {
            let input = json!({ "url": format!("{}/?{name}", service.base()) });
            let seen = embedded.call("echo", "send", input).unwrap();
            *toggled.lock().unwrap() = Some((*name).to_owned());
            let checked = embedded.check("echo");
            *toggled.lock().unwrap() = None;
            match ends {
                Answered(body) => {
                    assert_eq!((&seen["status"], &seen["body"]), (&json!(200), &json!(body)), "{name}: {seen}");
                    assert_eq!(checked.unwrap(), *body, "{name}");
                }
                Refused(kind, sentence) => refused(name, &seen, checked, *kind, &told(sentence)),
            }
            honest();
        }
        assert!(most_memory() < before + GROWTH, "after round {round}: {before} bytes became {}", most_memory());
    }
    assert!(elsewhere.received().is_empty());
}

/// The same is said to the connector and to the caller.
#[track_caller]
fn refused(name: &str, seen: &Value, checked: Result<String, attache::Error>, kind: Kind, sentence: &str) {
    let caller = checked.unwrap_err();
    assert_eq!((caller.kind(), caller.message()), (kind, sentence), "{name}");
    let told = caller.mend().map_or(sentence.to_owned(), |mend| format!("{sentence} {mend}"));
    assert_eq!(seen, &json!({ "error": for_connector(kind), "sentence": told }), "{name}");
}

/// A connector is told less finely.
fn for_connector(kind: Kind) -> &'static str {
    match kind {
        Kind::Denied => "denied",
        Kind::TooLarge => "too-large",
        Kind::Timeout => "timeout",
        _ => "unreachable",
    }
}

#[test]
fn whatever_a_service_sends_ends_in_its_own_error_and_memory_stays_with_a_fresh_instance() {
    harms_end(Isolation::Call);
}

#[test]
fn whatever_a_service_sends_ends_in_its_own_error_and_memory_stays_with_a_kept_instance() {
    harms_end(Isolation::Connection);
}

fn delays_end(isolation: Isolation) {
    let (harms, ends): (Vec<_>, Vec<_>) =
        after_a_while().into_iter().map(|(name, harm, ends)| ((name, Arc::new(harm)), (name, ends))).unzip();
    let (service, _) = hostile(&harms);
    let embedded = Embedded::with("echo", isolation, |settings| {
        let transport = &mut settings.transport.value;
        (transport.first_byte_seconds, transport.idle_seconds, transport.total_seconds) = (1, 1, 3);
    });
    // Each has a connection of its own: one that failed a few times in a row is spared, which is not what is told here.
    for (name, _) in &ends {
        embedded.connect(name, "header", &service, &[("!key", CANARY)]).unwrap();
    }
    let before = most_memory();
    for _ in 0..ROUNDS / AT_ONCE {
        let inputs = ends.iter().flat_map(|(name, _)| {
            let input = json!({ "url": format!("{}/?{name}", service.base()) });
            std::iter::repeat_n(((*name).to_owned(), input), AT_ONCE)
        });
        let expected = ends.iter().flat_map(|(name, ends)| std::iter::repeat_n((name, ends), AT_ONCE));
        for (seen, (name, ends)) in embedded.calls_at_once("send", inputs).into_iter().zip(expected) {
            let Refused(kind, sentence) = ends else { unreachable!() };
            let sentence = sentence.replace("BASE", &service.base());
            assert_eq!(seen.unwrap(), json!({ "error": for_connector(*kind), "sentence": sentence }), "{name}");
        }
        for (name, _) in &ends {
            assert_eq!(embedded.call(name, "send", json!({ "url": service.base() })).unwrap()["body"], "tester");
        }
        assert!(most_memory() < before + GROWTH, "{before} bytes became {}", most_memory());
    }
}

/// Fewer than the failures in a row after which a service is spared.
const AT_ONCE: usize = 4;

#[test]
fn a_service_that_takes_its_time_ends_in_its_own_error_and_memory_stays_with_a_fresh_instance() {
    delays_end(Isolation::Call);
}

#[test]
fn a_service_that_takes_its_time_ends_in_its_own_error_and_memory_stays_with_a_kept_instance() {
    delays_end(Isolation::Connection);
}
