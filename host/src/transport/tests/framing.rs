use flate2::{Compression, write::GzEncoder};
use http::HeaderValue;
use std::io::Write as _;

use super::*;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

async fn coded(encodings: &str, body: &[u8]) -> Result<Incoming, Fault> {
    let head = format!("HTTP/1.1 200 OK\r\n{encodings}content-length: {}\r\n\r\n", body.len());
    answer_to_get([head.as_bytes(), body].concat()).await
}

/// The fault, and that the next request goes out on another connection.
async fn refused_for_good(answer: &str) -> Fault {
    let service = Service::answering(answer).await;
    let transport = transport();
    let fault = get(&transport, &service).await.unwrap_err();
    get(&transport, &service).await.unwrap_err();
    assert_eq!(service.connections(), 2, "the connection was used again after {fault:?}");
    fault
}

#[tokio::test]
async fn a_request_arrives_as_it_was_given_and_framed_by_the_transport() {
    let service = Service::answering(OK).await;
    let mut post = request(Method::POST, service.url("/a%20b/c?d=e&f=%2B#fragment"));
    post.body = "content".into();
    for (name, value) in
        [("x-key", "value"), ("host", "elsewhere.test"), ("content-length", "3"), ("accept", "text/plain")]
    {
        post.headers.insert(name, HeaderValue::from_static(value));
    }
    transport().send(&key(), &service.allowed(), post, &quick()).await.unwrap();
    let requests = service.requests();
    let mut lines: Vec<_> = requests[0].split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /a%20b/c?d=e&f=%2B HTTP/1.1");
    assert_eq!(lines.pop(), Some("content"));
    lines.sort_unstable();
    let host = format!("host: {}", service.host_port());
    let agent = concat!("user-agent: attache/", env!("CARGO_PKG_VERSION"));
    let expected = [
        "",
        "accept-encoding: gzip, br, zstd",
        "accept: text/plain",
        "content-length: 7",
        &host,
        agent,
        "x-key: value",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_request_without_content_says_so_where_content_is_expected() {
    let service = Service::answering(OK).await;
    let transport = transport();
    for (method, said) in [(Method::PUT, true), (Method::POST, true), (Method::GET, false), (Method::DELETE, false)] {
        transport.send(&key(), &service.allowed(), request(method, service.url("/")), &quick()).await.unwrap();
        assert_eq!(service.requests().pop().unwrap().contains("content-length: 0\r\n"), said);
    }
}

#[tokio::test]
async fn a_coded_answer_is_handed_on_in_clear_and_without_the_marks_of_its_coding() {
    let answer = coded("content-encoding: gzip\r\nx: y\r\n", &gzip(b"plain")).await.unwrap();
    assert_eq!(answer.body, "plain");
    assert_eq!(answer.headers.keys().collect::<Vec<_>>(), ["x"]);
}

#[tokio::test]
async fn a_coding_that_is_not_undone_is_refused() {
    for encodings in [
        "content-encoding: deflate\r\n",
        "content-encoding: aes128gcm\r\n",
        "content-encoding: gzip, gzip\r\n",
        "content-encoding: gzip\r\ncontent-encoding: gzip\r\n",
        "content-encoding: gzip\r\ncontent-encoding: br\r\n",
    ] {
        match coded(encodings, &gzip(&gzip(b"plain"))).await {
            Err(Fault::Protocol(sentence)) => assert!(sentence.contains("not understood"), "{sentence}"),
            other => panic!("{encodings}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_coding_that_breaks_off_is_refused() {
    let whole = gzip(b"plain");
    for body in [&whole[..whole.len() - 1], b"plain", b"\x1f"] {
        match coded("content-encoding: gzip\r\n", body).await {
            Err(Fault::Protocol(sentence)) => assert!(sentence.contains("not coded as it says"), "{sentence}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_body_may_say_how_it_would_be_coded() {
    let service =
        Service::answering("HTTP/1.1 200 OK\r\ncontent-encoding: aes128gcm\r\ncontent-length: 99999999\r\n\r\n").await;
    let head = transport().send(&key(), &service.allowed(), request(Method::HEAD, service.url("/")), &quick()).await;
    assert_eq!(head.unwrap().headers["content-length"], "99999999");
    assert!(coded("content-encoding: aes128gcm\r\n", b"").await.unwrap().body.is_empty());
}

#[tokio::test]
async fn fields_of_the_connection_are_not_handed_on() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nkeep-alive: timeout=5\r\nconnection: keep-alive\r\n\
                  trailer: x\r\nx: y\r\n\r\n2\r\nok\r\n0\r\nx-trailer: z\r\n\r\n";
    let answer = answer_to_get(answer).await.unwrap();
    assert_eq!(
        (answer.headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), &answer.body[..]),
        (vec!["x"], &b"ok"[..])
    );
}

#[tokio::test]
async fn a_change_of_protocol_is_refused() {
    let fault =
        refused_for_good("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello").await;
    assert!(matches!(&fault, Fault::Protocol(sentence) if sentence.contains("switched protocols")), "{fault:?}");
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_its_connection_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let fault = refused_for_good(answer).await;
        assert!(matches!(&fault, Fault::Protocol(sentence) if sentence.contains("ambiguously")), "{answer}: {fault:?}");
    }
}

#[tokio::test]
async fn broken_framing_is_refused_and_its_connection_not_used_again() {
    const RULES: &str = "broke the rules of HTTP in its answer.";
    const INVALID: &str = "sent is not a valid HTTP message.";
    for (answer, why) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", INVALID),
        ("HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok", INVALID),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok", INVALID),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\nok\r\n0\r\n\r\n", RULES),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n", RULES),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\nok\r\n0\r\n\r\n", RULES),
        ("HTTP/1.1 200 OK\r\nx: y\r\n folded\r\ncontent-length: 0\r\n\r\n", INVALID),
        ("HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n", INVALID),
        ("HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n", INVALID),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", INVALID),
        ("just some text\r\n\r\n", INVALID),
    ] {
        let fault = refused_for_good(answer).await;
        assert!(matches!(&fault, Fault::Protocol(sentence) if sentence.ends_with(why)), "{answer}: {fault:?}");
    }
}

#[tokio::test]
async fn a_body_that_ends_before_its_length_is_refused() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
    ] {
        let service = Service::new(move |mut peer| async move {
            peer.request().await;
            let _ = peer.stream.write_all(answer.as_bytes()).await;
        })
        .await;
        let fault = get(&transport(), &service).await.unwrap_err();
        assert!(matches!(&fault, Fault::Broken(sentence) if sentence.contains("complete")), "{answer}: {fault:?}");
    }
}

#[tokio::test]
async fn what_comes_after_an_answer_is_never_taken_for_the_next_one() {
    let service = Service::answering(format!("{OK}HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled")).await;
    let transport = transport();
    for _ in 0..5 {
        assert_eq!(get(&transport, &service).await.unwrap().body, "ok");
    }
    assert_eq!(service.connections(), 5);
}

#[tokio::test]
async fn nothing_is_sent_twice() {
    // The second request on the connection is read and never answered.
    let service = Service::new(|mut peer| async move {
        peer.request().await;
        let _ = peer.stream.write_all(OK.as_bytes()).await;
        peer.request().await;
    })
    .await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
        let (transport, before) = (transport(), service.requests().len());
        let send = async || {
            let request = request(method.clone(), service.url("/"));
            transport.send(&key(), &service.allowed(), request, &quick()).await
        };
        send().await.unwrap();
        let fault = send().await.unwrap_err();
        assert!(matches!(fault, Fault::Broken(_)), "{fault:?}");
        assert_eq!(service.requests().len() - before, 2, "{method}");
    }
}

#[tokio::test]
async fn a_url_that_http_cannot_carry_is_denied_without_being_repeated() {
    let service = Service::answering(OK).await;
    let long = request(Method::GET, service.url(&format!("/?{}", "canary".repeat(11_000))));
    let (what, _) = denied(transport().send(&key(), &service.allowed(), long, &quick()).await);
    assert!(what.contains("too long") && !what.contains("canary"), "{what}");
    assert_eq!(service.connections(), 0);
}

/// A service whose connections a test looks at itself, from a thread of its own.
fn accepting() -> (u16, std::sync::mpsc::Receiver<std::net::TcpStream>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (give, take) = std::sync::mpsc::channel();
    std::thread::spawn(move || give.send(listener.accept().unwrap().0).unwrap());
    (port, take)
}

#[tokio::test]
async fn what_must_be_done_before_a_request_leaves_is_done_on_an_open_connection_with_nothing_written() {
    use std::io::{Read, Write};
    let (port, accepted) = accepting();
    let mut post = request(Method::POST, Url::parse(&format!("http://service.test:{port}/token")).unwrap());
    post.body = "content".into();
    let (done, wait) = std::sync::mpsc::channel();
    post.before = Some(Box::new(move || {
        // There is a connection, and nothing has come through it: on loopback what was written is there at once.
        let stream = accepted.recv().unwrap();
        stream.set_nonblocking(true).unwrap();
        let seen = stream.peek(&mut [0; 1]).map_err(|error| error.kind());
        stream.set_nonblocking(false).unwrap();
        done.send((stream, seen)).unwrap();
        Ok(())
    }));
    let service = std::thread::spawn(move || {
        let (mut stream, seen) = wait.recv().unwrap();
        let mut bytes = [0; 4096];
        let mut read = 0;
        while !bytes[..read].ends_with(b"content") {
            read += stream.read(&mut bytes[read..]).unwrap();
        }
        stream.write_all(OK.as_ref()).unwrap();
        seen
    });
    let allowed = PrivateAllowed::parse([format!("service.test:{port}")]).unwrap();
    transport().send(&key(), &allowed, post, &quick()).await.unwrap();
    assert_eq!(service.join().unwrap(), Err(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn a_request_whose_time_has_not_come_does_not_leave() {
    for body in ["content", ""] {
        let service = Service::answering(OK).await;
        let mut post = request(Method::POST, service.url("/token"));
        post.body = body.into();
        let refused = crate::error::Kind::StoreUnavailable.error("The disk is full.");
        let given = refused.clone();
        post.before = Some(Box::new(move || Err(given)));
        let fault = transport().send(&key(), &service.allowed(), post, &quick()).await.unwrap_err();
        assert_eq!(fault, Fault::Unready(refused));
        assert!(!fault.may_have_arrived());
        assert_eq!(service.requests(), [""; 0]);
    }
}
