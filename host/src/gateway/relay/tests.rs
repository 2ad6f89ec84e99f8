//! What a gateway can do to its host, whatever it answers. The gateway's end is a double: a real one neither lies nor falls silent.

use std::convert::Infallible;

use hyper::{server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{DuplexStream, duplex};
use uuid::Uuid;

use super::*;
use crate::{
    audit::About,
    gateway::{SealingKey, line::Pulse},
    transport::Outgoing,
};

/// Where nobody is there, that is found out soon.
const QUICK: Pulse = Pulse { ask_every: Duration::from_millis(50), answer_within: Duration::from_millis(500) };

/// What a gateway does with every request.
#[derive(Clone)]
enum How {
    /// It answers that.
    Says(StatusCode, Vec<u8>),
    /// It takes the request and answers nothing.
    Stalls,
    /// Nobody is there any more, and nobody says so.
    HalfOpen,
}

/// A gateway whose machines behave so, and a connection through it.
async fn through(machines: impl IntoIterator<Item = How>) -> (Relayed, Vec<DuplexStream>) {
    let relay = Arc::new(Relay::default());
    relay.listen();
    let key = SealingKey::try_from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()).unwrap();
    let (mut members, mut kept) = (Vec::new(), Vec::new());
    for (number, how) in machines.into_iter().enumerate() {
        let identity = Digest::of(&[u8::try_from(number).unwrap()]);
        let (near, far) = duplex(64 << 10);
        let pulse = if matches!(how, How::HalfOpen) { QUICK } else { Pulse::default() };
        match how {
            How::HalfOpen => kept.push(far),
            how => drop(tokio::spawn(async move {
                let answering = service_fn(move |_| answered(how.clone()));
                Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), answering).await
            })),
        }
        let (line, running) = Line::begin(near, identity, pulse).await.unwrap();
        let line = Arc::new(line);
        relay.add(line.clone());
        let over = relay.clone();
        tokio::spawn(async move {
            running.await;
            over.remove(&line);
        });
        members.push(Member {
            gateway: "plant".into(),
            environment: "default".into(),
            identity,
            key: key.clone(),
            joined: String::new(),
            invited_by: String::new(),
        });
    }
    let gateway = Gateway { name: "plant".into(), environment: "default".into(), key, members };
    let sealed = SealedBox { terms: String::new(), encapsulated: String::new(), sealed: String::new() };
    (Relayed::new(relay, gateway, sealed, None), kept)
}

async fn answered(how: How) -> Result<Response<Message>, Infallible> {
    match how {
        How::Says(status, text) => {
            let mut response = Response::new(Message::plain(text.into()));
            *response.status_mut() = status;
            Ok(response)
        }
        How::Stalls | How::HalfOpen => std::future::pending().await,
    }
}

async fn send(through: &Relayed, method: Method) -> Result<(StatusCode, Bytes)> {
    send_within(through, method, &Limits::default()).await
}

async fn send_within(through: &Relayed, method: Method, limits: &Limits) -> Result<(StatusCode, Bytes)> {
    let url = url::Url::parse("http://erp.internal/x").unwrap();
    let about = About {
        environment: "default".into(),
        connection: "erp".into(),
        connector: "http".into(),
        digest: Digest::of(b""),
        operation: "get".into(),
        call: Uuid::nil(),
        caller: "tester".into(),
    };
    let leaving = Leaving {
        outgoing: Outgoing::new(method, url, HeaderMap::new(), Bytes::new()),
        attach: true,
        held: None,
        existing: Existing::Refuse,
        about: &about,
        hop: 0,
        repeated: 0,
        reads: true,
        limits,
    };
    let Returned { answer, .. } = through.send(leaving).await?;
    Ok((answer.status, answer.body))
}

/// A message as a gateway writes it.
fn message(head: &serde_json::Value, body: &[u8]) -> Vec<u8> {
    let head = serde_json::to_vec(head).unwrap();
    [&u32::try_from(head.len()).unwrap().to_be_bytes()[..], &head, body].concat()
}

fn told(status: u16, headers: &[(&str, &str)]) -> serde_json::Value {
    serde_json::json!({ "status": status, "headers": headers, "masked": 0 })
}

#[tokio::test]
async fn what_a_gateway_says_is_passed_on_if_it_is_an_answer() {
    let said = message(&told(201, &[("x-a", "b")]), b"hello");
    let (through, _kept) = through([How::Says(StatusCode::OK, said)]).await;
    assert_eq!(send(&through, Method::GET).await.unwrap(), (StatusCode::CREATED, Bytes::from("hello")));
}

#[tokio::test]
async fn a_gateway_that_says_what_is_no_answer_is_not_understood() {
    for (status, said) in [
        (StatusCode::OK, Vec::new()),
        (StatusCode::OK, b"\xff\xff\xff\xff{}".to_vec()),
        (StatusCode::OK, message(&serde_json::json!("done"), b"")),
        (StatusCode::OK, message(&told(99, &[]), b"")),
        (StatusCode::OK, message(&told(200, &[("x a", "")]), b"")),
        (StatusCode::OK, message(&told(200, &[("x-a", "b\r\nset-cookie: c")]), b"")),
        (StatusCode::OK, message(&told(200, &[("x-a", "€")]), b"")),
        (StatusCode::BAD_GATEWAY, b"<html>".to_vec()),
        (StatusCode::NOT_FOUND, b"{}".to_vec()),
    ] {
        let shown = String::from_utf8_lossy(&said).into_owned();
        let (through, _kept) = through([How::Says(status, said)]).await;
        let error = send(&through, Method::GET).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal, "{shown}: {error}");
        assert!(error.message().contains("is not understood"), "{shown}: {error}");
    }
}

#[tokio::test]
async fn a_gateways_words_move_no_cursor_and_its_kinds_are_ours_or_none() {
    let said =
        serde_json::json!({ "kind": "all-is-well", "message": "\u{1b}[2Jno", "hint": null, "retry-after": null });
    let (through, _kept) = through([How::Says(StatusCode::BAD_GATEWAY, said.to_string().into())]).await;
    let error = send(&through, Method::GET).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Internal, "[2Jno"));
}

#[tokio::test]
async fn a_gateway_that_says_more_than_it_may_is_not_listened_to() {
    let body = vec![b'x'; wire::HEAD_BYTES + Limits::default().body_decoded];
    let said = message(&told(200, &[]), &body);
    let (through, _kept) = through([How::Says(StatusCode::OK, said)]).await;
    let error = send(&through, Method::POST).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_gateway_that_answers_nothing_is_not_waited_for_for_ever() {
    let (through, _kept) = through([How::Stalls]).await;
    let limits = Limits { total: Duration::from_millis(10), ..Limits::default() };
    let error = send_within(&through, Method::GET, &limits).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    assert!(error.message().contains("The gateway `plant` did not answer within"), "{error}");
}

#[tokio::test]
async fn behind_a_line_that_is_half_open_what_may_be_made_twice_goes_another_way_and_nothing_else_does() {
    let well = || How::Says(StatusCode::OK, message(&told(200, &[]), b"well"));
    let (reads, _kept) = through([How::HalfOpen, well()]).await;
    assert_eq!(send(&reads, Method::GET).await.unwrap().1, Bytes::from("well"));
    let (writes, _kept) = through([How::HalfOpen, well()]).await;
    let error = send(&writes, Method::POST).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.message().contains("nobody knows whether the service received it"), "{error}");
}

/// How often a line is cut; where it fails, it does after a few.
const CUT: usize = 200;
const AT_ONCE: usize = 32;

// Regression: hyper forgot what was handed over just when a line ended, so that a call which went again hung for a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_asks_just_when_a_line_is_cut_is_told() {
    for _ in 0..CUT {
        let (near, far) = duplex(64 << 10);
        let (line, running) = Line::begin(near, Digest::of(b""), Pulse::default()).await.unwrap();
        let line = Arc::new(line);
        tokio::spawn(running);
        let asking = (0..AT_ONCE).map(|_| {
            let line = line.clone();
            // Until it is given back what it asks.
            tokio::spawn(async move { while !matches!(line.ask(asked()).await, Err(Lost::Unsent(_))) {} })
        });
        let asking: Vec<_> = asking.collect();
        cut_once_all_ask(far).await;
        for asks in asking {
            tokio::time::timeout(Duration::from_secs(10), asks).await.expect("it is still waited for").unwrap();
        }
    }
}

fn asked() -> Request<Message> {
    line::request(wire::SEND, Message::plain(Bytes::from("hello"))).unwrap()
}

async fn cut_once_all_ask(far: DuplexStream) {
    let (came, mut coming) = tokio::sync::mpsc::unbounded_channel();
    let answering = service_fn(move |_| {
        came.send(()).unwrap();
        answered(How::Stalls)
    });
    let serving = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), answering);
    let all = async {
        for _ in 0..AT_ONCE {
            coming.recv().await;
        }
    };
    tokio::select! { ended = serving => ended.unwrap(), () = all => {} }
}
