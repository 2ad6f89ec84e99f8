//! What a host may fill of a gateway.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{SendRequest, handshake},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{io::duplex, task::JoinSet, time::timeout};

use super::{
    super::{
        super::{
            door::{Hello, Joined},
            wire::Message,
        },
        run::{Line, answers},
    },
    *,
};

const SOON: Duration = Duration::from_secs(30);

/// A host's end of a line to it, and the gateway's key.
async fn asked_by(story: Story) -> (SendRequest<Body>, Digest) {
    let key = story.answerer.boxes.key().public().fingerprint();
    let expected = Joined { name: "plant".into(), environment: "default".into() };
    let line = Arc::new(Line::new(expected, Arc::new(story.answerer)));
    let (near, far) = duplex(64 << 10);
    let answering = service_fn(move |request| line.clone().answer(request));
    tokio::spawn(async move { answers().serve_connection(TokioIo::new(far), answering).await });
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    (sender, key)
}

async fn ask(sender: &SendRequest<Body>, path: &str, body: Body) -> Response<Incoming> {
    let request = Request::post(format!("http://gateway{path}")).body(body).unwrap();
    sender.clone().send_request(request).await.unwrap()
}

async fn text(answer: Response<Incoming>) -> String {
    String::from_utf8(wire::collect(answer.into_body(), 1 << 20).await.unwrap().into()).unwrap()
}

/// A body whose end never comes, and of which nobody says how long it is.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_host_that_begins_more_large_requests_than_it_may_fills_nothing_with_them() {
    let mut story = story().await;
    story.answerer.limits.total = Duration::from_millis(300);
    let (sender, key) = asked_by(story).await;
    let mut begun = JoinSet::new();
    for _ in 0..=wire::LARGE {
        let sender = sender.clone();
        begun.spawn(async move { ask(&sender, wire::SEND, Body::new(Endless)).await });
    }
    let one_more = timeout(SOON, begun.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(one_more.status(), StatusCode::BAD_GATEWAY);
    let said = text(one_more).await;
    assert!(said.contains("rate-limited") && said.contains("as many large requests as it may"), "{said}");
    // What is small goes by.
    let hello = Message::of(&hello("plant", key), Bytes::new()).unwrap();
    assert_eq!(ask(&sender, wire::HELLO, Body::new(hello)).await.status(), StatusCode::OK);
    // Whoever gives one up gives its place back.
    begun.shutdown().await;
    let another = timeout(Duration::from_millis(100), ask(&sender, wire::SEND, Body::new(Endless))).await;
    assert!(another.is_err(), "{another:?}");
}

#[tokio::test]
async fn a_greeting_is_short() {
    let (sender, _) = asked_by(story().await).await;
    for path in [wire::HELLO, wire::READY, wire::REFUSED] {
        let message = Message::of(&"x".repeat(wire::GREETING_BYTES), Bytes::new()).unwrap();
        let said = text(ask(&sender, path, Body::new(message)).await).await;
        assert!(said.contains("too large"), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_gateway_is_not_ready_for_a_host_that_takes_it_for_another() {
    let (sender, key) = asked_by(story().await).await;
    let greet = async |path: &str, name: &str| {
        let message = Message::of(&hello(name, key), Bytes::new()).unwrap();
        ask(&sender, path, Body::new(message)).await.status()
    };
    for (path, name, status) in [
        (wire::READY, "plant", StatusCode::BAD_GATEWAY),
        (wire::HELLO, "another", StatusCode::BAD_GATEWAY),
        (wire::READY, "plant", StatusCode::BAD_GATEWAY),
        (wire::HELLO, "plant", StatusCode::OK),
        (wire::READY, "plant", StatusCode::OK),
    ] {
        assert_eq!(greet(path, name).await, status, "{path} {name}");
    }
}

fn hello(name: &str, key: Digest) -> Hello {
    Hello { name: name.into(), environment: "default".into(), key }
}
