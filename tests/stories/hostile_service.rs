//! A hostile service that knows the credential, in both isolations: it breaks HTTP, never ends, sends too much, or leads
//! elsewhere. Each of that has its own end, costs no memory that stays, and leaves the next call alone.

use std::{
    fs,
    io::{self, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use attache::{Kind, consent::Isolation};
use attache_tests::{
    Canary, Embedded,
    service::{Received, Service, answer, ok},
};
use serde_json::json;

use crate::hostile::{BOTH, CANARY, host, logged, twice};

/// The most that a body may have here.
const BODY: u64 = 100_000;

/// Writes an answer, or as much of it as there is.
type Answer = Box<dyn Fn(&mut TcpStream) -> io::Result<()> + Send + Sync>;

/// What one hostile answer is, and how it ends.
struct Case {
    name: &'static str,
    answer: Answer,
    kind: Kind,
    exit_code: u8,
    /// What is said; `{it}` is the service's origin.
    sentence: &'static str,
    /// Whether nothing may be made of the connection afterwards. What was framed well, and only held too much or led elsewhere,
    /// leaves it as it should be.
    breaks: bool,
}

impl Case {
    /// One that leaves its connection whole.
    fn whole(self) -> Self {
        Self { breaks: false, ..self }
    }
}

/// Writes these bytes, and goes on listening.
fn say(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Answer {
    Box::new(move |stream| stream.write_all(bytes.as_ref()))
}

/// Writes these bytes, and hangs up.
fn break_off(bytes: &'static str) -> Answer {
    Box::new(move |stream| {
        stream.write_all(bytes.as_bytes())?;
        Err(io::ErrorKind::ConnectionAborted.into())
    })
}

/// Writes the head, then the piece for as long as somebody takes it.
fn endless(head: &'static str, piece: impl AsRef<[u8]> + Send + Sync + 'static, pause: Duration) -> Answer {
    Box::new(move |stream| {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(piece.as_ref())?;
            thread::sleep(pause);
        }
    })
}

fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// 64 MiB of nothing, each coding in what it makes of that.
mod bombs {
    use std::{io::Write, sync::LazyLock};

    /// Made once: that takes a second, and it is sent many times.
    static GZIP: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0; 1 << 20];
        (0..64).for_each(|_| encoder.write_all(&zeros).unwrap());
        encoder.finish().unwrap()
    });

    pub fn gzip() -> &'static [u8] {
        &GZIP
    }

    /// What an encoder of RFC 7932 makes of it with the largest window but two.
    pub fn brotli() -> Vec<u8> {
        let coded = "cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200ddfb3ffeffffc13f0110870500baf7\
                     7ffcffff837f02200e0b0074effff8ffff07ff04401c1600e8defff1ffff0ffe0980382c00d0bdffcbffff3ffc1300715800a07b\
                     ff07";
        hex::decode(coded).unwrap()
    }

    /// RFC 8878, 3.1.1: a window of 1 MiB, and blocks that repeat one byte 128 KiB times.
    pub fn zstd() -> Vec<u8> {
        let block = |last: u32| ((128 << 10) << 3 | 1 << 1 | last).to_le_bytes()[..3].to_vec();
        let blocks = (1..=512).flat_map(|number| [block(u32::from(number == 512)), vec![0]].concat());
        [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50].into_iter().chain(blocks).collect()
    }
}

fn fields(count: usize, length: usize) -> String {
    (0..count).map(|number| format!("X-{number}: {}\r\n", "v".repeat(length))).collect()
}

/// What ends as soon as it is read.
fn quick() -> Vec<Case> {
    let case = |name, kind: Kind, sentence, answer| Case { name, answer, kind, exit_code: 6, sentence, breaks: true };
    let broken = |name, sentence, bytes: &str| case(name, Kind::ServiceFailed, sentence, say(bytes.to_owned()));
    let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
    let (rules, invalid) =
        ("{it} broke the rules of HTTP in its answer.", "What {it} sent is not a valid HTTP message.");
    let body = "{it} answered with a body of more than 100000 bytes.";
    let bomb = "{it} answered with a body that decodes to more than 100000 bytes.";
    let unknown = "{it} coded its answer in a way that is not understood (understood is one of gzip, br, zstd).";
    let miscoded = "The body that {it} sent is not coded as it says.";
    let ambiguous = "{it} framed its answer ambiguously.";
    let incomplete = "{it} closed the connection before its answer was complete.";
    let count = "{it} answered with more than 50 header fields.";
    let length = "{it} answered with more than 8192 bytes of header fields.";
    let with_fields = |count, length| format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", fields(count, length));
    let audience = "The connection may not reach https://evil.example; it may reach {origin}.";
    let found = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let head = "{it} answered with a head that is too large (at most 50 header fields are read).";
    vec![
        // Bodies that are more than they seem.
        case("gzip", Kind::TooLarge, bomb, say(coded("gzip", bombs::gzip()))).whole(),
        case("brotli", Kind::TooLarge, bomb, say(coded("br", &bombs::brotli()))).whole(),
        case("zstd", Kind::TooLarge, bomb, say(coded("zstd", &bombs::zstd()))).whole(),
        case("nested", Kind::ServiceFailed, unknown, say(coded("gzip, gzip", bombs::gzip()))),
        case(
            "nested-in-fields",
            Kind::ServiceFailed,
            unknown,
            say(coded("br\r\nContent-Encoding: gzip", bombs::gzip())),
        ),
        case("deflate", Kind::ServiceFailed, unknown, say(coded("deflate", b"x"))),
        case("miscoded", Kind::ServiceFailed, miscoded, say(coded("zstd", &bombs::brotli()))),
        case("cut-short", Kind::ServiceFailed, miscoded, say(coded("gzip", &bombs::gzip()[..20]))),
        // Bodies that do not end, or end too soon.
        case("endless", Kind::TooLarge, body, endless("HTTP/1.1 200 OK\r\n\r\n", [b'x'; 4096], Duration::ZERO)),
        case(
            "endless-chunks",
            Kind::TooLarge,
            body,
            endless(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                [&b"1000\r\n"[..], &[b'x'; 4096], b"\r\n"].concat(),
                Duration::ZERO,
            ),
        ),
        case("vast", Kind::TooLarge, body, say("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551613\r\n\r\n")),
        case("too-long", Kind::Unreachable, incomplete, break_off("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")),
        case(
            "last-chunk-missing",
            Kind::Unreachable,
            incomplete,
            break_off("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
        ),
        case("half-a-head", Kind::Unreachable, incomplete, break_off("HTTP/1.1 200 OK\r\nContent-Le")),
        case("nothing", Kind::Unreachable, incomplete, break_off("")),
        // Framing that can be read in two ways, or in none.
        broken(
            "length-and-chunked",
            ambiguous,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        broken(
            "twice-chunked",
            ambiguous,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        broken("two-lengths", invalid, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
        broken("negative-length", invalid, "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
        broken("chunk-size-overflow", rules, &chunked("ffffffffffffffff1\r\nok\r\n0\r\n\r\n")),
        broken("no-chunk-size", rules, &chunked("x\r\nok\r\n0\r\n\r\n")),
        broken("chunk-too-long", rules, &chunked("2\r\nokay\r\n0\r\n\r\n")),
        broken("many-trailers", rules, &chunked(&format!("2\r\nok\r\n0\r\n{}\r\n", fields(200, 1)))),
        broken("long-trailers", rules, &chunked(&format!("2\r\nok\r\n0\r\n{}\r\n", fields(10, 10_000)))),
        // Heads.
        broken(
            "upgrade",
            "{it} switched protocols without being asked.",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
        ),
        broken("garbage", invalid, "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        broken("short-status", invalid, "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        broken("folded", invalid, "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 0\r\n\r\n"),
        case("many-fields", Kind::TooLarge, count, say(with_fields(50, 1))).whole(),
        case("long-fields", Kind::TooLarge, length, say(with_fields(9, 1000))).whole(),
        case("flood-of-fields", Kind::TooLarge, head, say(with_fields(5000, 1))),
        case("endless-field", Kind::TooLarge, head, endless("HTTP/1.1 200 OK\r\nX: ", [b'v'; 4096], Duration::ZERO)),
        // Ways elsewhere.
        broken("loop", "The service redirected more than 10 times.", &found("/harm/loop")).whole(),
        broken("no-url", "The service redirects to something that is not a URL.", &found("http://[")).whole(),
        Case { exit_code: 5, ..case("elsewhere", Kind::Denied, audience, say(found("https://evil.example/"))).whole() },
    ]
}

/// What ends when its time is up.
fn slow() -> Vec<Case> {
    let case =
        |name, sentence, answer| Case { name, answer, kind: Kind::Timeout, exit_code: 6, sentence, breaks: true };
    let (first, pause) = ("{it} did not begin to answer within 2s.", Duration::from_millis(50));
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n";
    vec![
        case("silence", first, say("")),
        case("dripping-head", first, endless("HTTP/1.1 200 OK\r\nX: ", "x", pause)),
        case(
            "flood-of-hints",
            first,
            endless("", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", Duration::from_millis(1)),
        ),
        case("dripping-body", "{it} did not finish its answer within 3s.", endless(body, "x", pause)),
        case("pausing-body", "{it} sent no further piece of its answer within 2s.", say(format!("{body}x"))),
    ]
}

/// A host with short limits, and a service with all of that to say.
struct Story {
    embedded: Embedded,
    service: Service,
}

impl Story {
    fn new(isolation: Isolation) -> Self {
        let cases: Vec<_> = quick().into_iter().chain(slow()).collect();
        let service = Service::writing(move |request, stream| {
            let case = request.line.split(' ').nth(1).and_then(|target| target.strip_prefix("/harm/"));
            match case.map(|name| cases.iter().find(|case| case.name == name).unwrap()) {
                Some(case) => (case.answer)(stream),
                None => stream.write_all(&ok("honest")),
            }
        });
        let embedded = Embedded::with("echo", isolation, |settings| {
            settings.limits.value.response_bytes = BODY;
            let transport = &mut settings.transport.value;
            (transport.first_byte_seconds, transport.idle_seconds, transport.total_seconds) = (2, 2, 3);
            (transport.header_count, transport.header_bytes) = (50, 8192);
        });
        Self { embedded, service }
    }

    /// A connection of its own for what is tried beside other things: a service that fails five times in a row is spared.
    fn connect(&self, name: &str) {
        self.embedded.connect(name, "header", &self.service, &[("!key", CANARY)]).unwrap();
    }

    /// Has the service harm so many calls at once, then calls it as if nothing had been.
    fn suffer(&self, connection: &str, case: &Case, at_once: usize) {
        let (name, origin) = (case.name, self.service.base());
        let input = json!({ "with": "request", "url": format!("{origin}/harm/{name}") });
        for ended in self.embedded.call_at_once(at_once, connection, "fail", &input) {
            let ended = ended.expect_err(name);
            let sentence = case.sentence.replace("{it}", "`{origin}`").replace("{origin}", &origin);
            assert_eq!((ended.kind(), ended.message()), (case.kind, &*sentence), "{name}");
            assert_eq!(ended.kind().exit_code(), case.exit_code, "{name}");
            Canary::new(CANARY).is_not_in(name, format!("{ended} {:?}", ended.mend()).as_bytes());
        }
        let honest = json!({ "url": format!("{origin}/honest/{name}") });
        let honest = self.embedded.call(connection, "send", honest).unwrap();
        assert_eq!((&honest["status"], &honest["body"]), (&json!(200), &json!("honest")), "after {name}");
        let harmed = self.service.connections_of(&format!("/harm/{name} "));
        let unharmed = self.service.connections_of(&format!("/honest/{name} ")).pop().unwrap();
        assert!(!case.breaks || !harmed.contains(&unharmed), "the connection was used again after {name}");
    }

    /// Everything so often, four at once: what is quick one after the other, what is slow beside it.
    fn suffer_all(&self, rounds: usize) {
        thread::scope(|scope| {
            for case in slow() {
                scope.spawn(move || (0..rounds).for_each(|_| self.suffer(case.name, &case, 4)));
            }
            for case in (0..rounds).flat_map(|_| quick()) {
                self.suffer("me", &case, 4);
            }
        });
    }
}

/// The most memory that this process ever had at once, in KiB (`proc_pid_status(5)`).
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn harms_nobody(isolation: Isolation) {
    let story = Story::new(isolation);
    slow().iter().for_each(|case| story.connect(case.name));
    story.connect("me");
    let before = peak();
    story.suffer_all(1);
    let warm = peak();
    assert!(warm < before + (48 << 10), "{before} KiB became {warm}: a bomb of 64 MiB was unpacked");
    story.suffer_all(7);
    // Room for what an allocator does not give back and for the requests that the service keeps. If of every answer that is too
    // large there stayed but what may be read of it, it would be some 30 MiB.
    let after = peak();
    assert!(after < warm + (12 << 10), "{warm} KiB became {after}");
}

#[test]
fn no_answer_of_a_hostile_service_harms_a_host_with_an_instance_for_each_call() {
    harms_nobody(Isolation::Call);
}

#[test]
fn no_answer_of_a_hostile_service_harms_a_host_with_kept_instances() {
    harms_nobody(Isolation::Connection);
}

#[test]
fn what_a_service_sends_beyond_its_answer_is_nobodys() {
    for isolation in BOTH {
        let service = Service::start(|request| match request.line.contains("/harm") {
            true => [&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nshort"[..], &ok("smuggled")].concat(),
            false => ok("honest"),
        });
        let embedded = host(isolation, "header", &service, &[]);
        for _ in 0..24 {
            let send = |path| {
                let seen =
                    embedded.call("echo", "send", json!({ "url": format!("{}{path}", service.base()) })).unwrap();
                seen["body"].as_str().unwrap().to_owned()
            };
            assert_eq!((&*send("/harm"), &*send("/honest")), ("sh", "honest"));
            // An honest connection may be asked for the next harm, and not the other way round.
            assert_ne!(service.connections_of("/harm").pop(), service.connections_of("/honest").pop());
        }
    }
}

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
