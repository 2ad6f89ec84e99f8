use std::time::Instant;

use super::*;

/// Sends `head`, then `piece` for as long as it is taken, `pause` apart.
async fn endless(head: &'static str, piece: &'static [u8], pause: Duration) -> Service {
    Service::new(move |mut peer| async move {
        peer.request().await;
        let mut open = peer.stream.write_all(head.as_bytes()).await.is_ok();
        while open {
            open = peer.stream.write_all(piece).await.is_ok();
            tokio::time::sleep(pause).await;
        }
    })
    .await
}

async fn timed_out(service: Service, expected: Stage, limit: Duration) {
    let began = Instant::now();
    match get(&transport(), &service).await {
        Err(Fault::Timeout { stage, limit: told, .. }) => assert_eq!((stage, told), (expected, limit)),
        other => panic!("no timeout: {other:?}"),
    }
    assert!(began.elapsed() >= limit && began.elapsed() < limit + Duration::from_secs(2), "{:?}", began.elapsed());
}

async fn too_large(outcome: Result<Incoming, Fault>, expected: Part) {
    match outcome {
        Err(Fault::TooLarge { part, .. }) => assert_eq!(part, expected),
        other => panic!("not too large: {other:?}"),
    }
}

#[tokio::test]
async fn a_service_that_never_answers_times_out_at_the_first_byte() {
    let silent = Service::new(|mut peer| async move { peer.gone().await }).await;
    timed_out(silent, Stage::FirstByte, quick().first_byte).await;
}

#[tokio::test]
async fn a_head_that_drips_times_out_at_the_first_byte() {
    let service = endless("HTTP/1.1 200 OK\r\nx: ", b"x", Duration::from_millis(20)).await;
    timed_out(service, Stage::FirstByte, quick().first_byte).await;
}

#[tokio::test]
async fn a_body_that_pauses_times_out_as_idle() {
    let service = endless("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", b"c", Duration::from_secs(1)).await;
    timed_out(service, Stage::Idle, quick().idle).await;
}

#[tokio::test]
async fn a_body_that_drips_times_out_in_total() {
    let service = endless("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b"c", Duration::from_millis(50)).await;
    timed_out(service, Stage::Total, quick().total).await;
}

#[tokio::test]
async fn empty_chunk_extensions_and_trailers_that_never_end_come_to_an_end() {
    for (head, piece) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", &[b'a'; 4096][..]),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: aaaaaaaaaaaa\r\n".repeat(256).leak()),
    ] {
        let service = endless(head, piece, Duration::ZERO).await;
        let fault = get(&transport(), &service).await.unwrap_err();
        let sentence = format!("`http://{}` broke the rules of HTTP in its answer.", service.host_port());
        assert_eq!(fault, Fault::Protocol(sentence));
    }
}

#[tokio::test]
async fn informational_answers_are_skipped_and_a_flood_of_them_times_out() {
    let answer =
        answer_to_get(format!("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}")).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..], answer.headers.get("link")), (200, &b"ok"[..], None));
    // Their number has no bound of its own: reqwest makes hyper's request itself, so that hyper's `on_informational` cannot be
    // put on it, and lets nobody between hyper and the socket. Each is forgotten when it is read, so a flood costs time only.
    for pause in [Duration::from_micros(100), Duration::ZERO] {
        let flood = endless("", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", pause).await;
        timed_out(flood, Stage::FirstByte, quick().first_byte).await;
    }
}

#[tokio::test]
async fn a_slow_look_up_counts_as_connecting_and_has_its_own_limit() {
    let service = Service::answering(OK).await;
    let mut slow = Arc::into_inner(Script::new(&[&["127.0.0.1"]])).unwrap();
    slow.delay = Duration::from_secs(5);
    let transport = Transport::new(Arc::new(slow), None);
    let outcome = get(&transport, &service).await;
    assert!(matches!(outcome, Err(Fault::Timeout { stage: Stage::Resolve, .. })), "{outcome:?}");
    let limits = Limits { resolve: Duration::from_secs(9), connect: Duration::from_millis(50), ..quick() };
    let outcome = transport.send(&key(), &service.allowed(), request(Method::GET, service.url("/")), &limits).await;
    assert!(matches!(outcome, Err(Fault::Timeout { stage: Stage::Connect, .. })), "{outcome:?}");
}

#[tokio::test]
async fn an_endless_body_stops_at_the_limit() {
    for head in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 65537\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551613\r\n\r\n",
    ] {
        let service = endless(head, &[b'a'; 4096], Duration::ZERO).await;
        too_large(get(&transport(), &service).await, Part::BodyOnWire).await;
    }
    let chunks = b"1000\r\n".iter().chain(&[b'a'; 4096]).chain(b"\r\n").copied().collect::<Vec<_>>().leak();
    let service = endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunks, Duration::ZERO).await;
    too_large(get(&transport(), &service).await, Part::BodyOnWire).await;
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_is_not_waited_for() {
    too_large(answer_to_get("HTTP/1.1 200 OK\r\ncontent-length: 65537\r\n\r\n").await, Part::BodyOnWire).await;
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n".to_vec();
    answer.resize(answer.len() + 65536, b'a');
    assert_eq!(answer_to_get(answer).await.unwrap().body.len(), 65536);
}

#[tokio::test]
async fn a_compression_bomb_stops_at_the_limit() {
    let bomb = zstd::encode_all(&vec![0; 64 << 20][..], 1).unwrap();
    assert!(bomb.len() < quick().body_on_wire, "{}", bomb.len());
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: {}\r\n\r\n", bomb.len());
    too_large(answer_to_get([head.as_bytes(), &bomb].concat()).await, Part::BodyDecoded).await;
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let fields = |count: usize, value: usize| {
        let fields: String = (0..count).map(|n| format!("x-{n}: {}\r\n", "v".repeat(value))).collect();
        format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n")
    };
    assert!(answer_to_get(fields(49, 10)).await.is_ok());
    too_large(answer_to_get(fields(50, 10)).await, Part::HeaderCount).await;
    too_large(answer_to_get(fields(5000, 10)).await, Part::Head).await;
    too_large(answer_to_get(fields(10, 1000)).await, Part::HeaderBytes).await;
    too_large(
        get(&transport(), &endless("HTTP/1.1 200 OK\r\nx: ", &[b'v'; 4096], Duration::ZERO).await).await,
        Part::Head,
    )
    .await;
}

#[tokio::test]
async fn a_higher_limit_lets_more_headers_in() {
    let fields: String = (0..300).map(|n| format!("x-{n}: v\r\n")).collect();
    let service = Service::answering(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n")).await;
    let limits = Limits { header_count: 400, ..quick() };
    let answer = transport().send(&key(), &service.allowed(), request(Method::GET, service.url("/")), &limits).await;
    assert_eq!(answer.unwrap().headers.len(), 301);
}

/// Takes what a client sends, `step` bytes every `pause`, and answers once it has `length` bytes.
async fn slow_taker(length: usize, step: usize, pause: Duration) -> Service {
    Service::new(move |mut peer| async move {
        let (mut taken, mut buffer) = (0, vec![0; step]);
        while taken < length {
            match peer.stream.read_exact(&mut buffer).await {
                Ok(read) => taken += read,
                Err(_) => return,
            }
            tokio::time::sleep(pause).await;
        }
        let _ = peer.stream.write_all(OK.as_bytes()).await;
        peer.gone().await;
    })
    .await
}

#[tokio::test]
async fn a_slow_upload_is_not_taken_for_a_service_that_does_not_answer() {
    // What the sockets hold of it, some megabytes, has to fit into the wait for the first byte.
    let length = 96 << 20;
    let service = slow_taker(length, 1 << 20, Duration::from_millis(15)).await;
    let mut put = request(Method::PUT, service.url("/"));
    put.body = vec![b'a'; length].into();
    let limits = Limits {
        first_byte: Duration::from_millis(600),
        idle: Duration::from_millis(600),
        total: Duration::from_secs(60),
        ..quick()
    };
    let began = Instant::now();
    assert_eq!(transport().send(&key(), &service.allowed(), put, &limits).await.unwrap().body, "ok");
    assert!(began.elapsed() > limits.first_byte * 2, "the upload was too quick to tell: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_service_that_stops_taking_the_request_times_out() {
    let service = slow_taker(usize::MAX, 1, Duration::from_secs(60)).await;
    let mut put = request(Method::PUT, service.url("/"));
    put.body = vec![b'a'; 16 << 20].into();
    let outcome = transport().send(&key(), &service.allowed(), put, &quick()).await;
    assert!(matches!(outcome, Err(Fault::Timeout { stage: Stage::Upload, .. })), "{outcome:?}");
}

#[tokio::test]
async fn of_large_answers_so_many_are_held_and_the_next_waits_within_its_time() {
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", 1 << 20, "x".repeat(1 << 20));
    let (service, small) = (Service::answering(large).await, Service::answering(OK).await);
    let transport = transport().with_room(Room::new(2));
    let limits = Limits { body_on_wire: 2 << 20, body_decoded: 2 << 20, ..quick() };
    let ask = async |service: &Service| {
        transport.send(&key(), &service.allowed(), request(Method::GET, service.url("/")), &limits).await
    };
    let (first, _second) = (ask(&service).await.unwrap(), ask(&service).await.unwrap());
    match ask(&service).await {
        Err(Fault::Timeout { stage, limit, .. }) => assert_eq!((stage, limit), (Stage::Total, limits.total)),
        other => panic!("it was held beside the others: {other:?}"),
    }
    assert_eq!(ask(&small).await.unwrap().body, "ok", "of small ones any number is held");
    drop(first);
    assert_eq!(ask(&service).await.unwrap().body.len(), 1 << 20);
}
