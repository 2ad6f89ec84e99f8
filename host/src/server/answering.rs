//! Answering those who come over the network, for as long as they say what they want: whoever begins a request and does not go
//! on, or keeps a connection without using it, would else hold one of as many as the machine has, for ever.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, header::CONNECTION},
    response::{IntoResponse, Response},
    serve::Listener,
};
use bytes::Bytes;
use hyper::{
    body::{Body as Comes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinSet,
    time::{Instant, Sleep, sleep},
};
use tower::ServiceExt;

use super::{api::Problem, remote::Remote};

/// How long is waited for whoever comes in.
#[derive(Debug, Clone, Copy)]
struct Waits {
    /// For the head of a request: it is a few packets, and a phone on a bad line needs some seconds for them.
    head: Duration,
    /// For more of its body, where nothing comes.
    body: Duration,
}

const WAITS: Waits = Waits { head: Duration::from_secs(20), body: Duration::from_secs(30) };

/// What a byte of a body earns again: a large one may take long on a bad line, and nobody stays by sending one now and then.
const EARNED: Duration = Duration::from_millis(2);

/// Answers until it is over; those that are under way then are answered to their end. On each request it is noted where that
/// comes from: behind a proxy, from where the proxy says.
pub(super) async fn answer<L>(
    mut listener: L,
    routes: Router,
    behind_proxy: bool,
    mut over: watch::Receiver<()>,
) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
{
    let mut all = JoinSet::new();
    loop {
        tokio::select! {
            (stream, from) = listener.accept() => {
                let from = Peer { address: from, behind_proxy };
                drop(all.spawn(converse(stream, from, WAITS, routes.clone(), over.clone())));
            }
            Some(_) = all.join_next() => {}
            _ = over.changed() => break,
        }
    }
    drop(listener);
    while all.join_next().await.is_some() {}
    Ok(())
}

/// Who came in, and whether others come through them.
#[derive(Debug, Clone, Copy)]
struct Peer {
    address: SocketAddr,
    behind_proxy: bool,
}

/// Answers one request after the other.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: Peer,
    waits: Waits,
    routes: Router,
    mut over: watch::Receiver<()>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let too_slow = Arc::<AtomicBool>::default();
        let mut request = request.map(|body| Body::new(Paced::new(body, waits.body, &too_slow)));
        let remote = Remote::of(request.headers(), from.address.ip(), from.behind_proxy);
        request.extensions_mut().insert(remote);
        let answered = routes.clone().oneshot(request);
        async move {
            let answer = answered.await;
            // Whoever read it says that it could not be read, each in their own way.
            if too_slow.load(Ordering::Relaxed) { Ok(gave_up()) } else { answer }
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(waits.head);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let mut is_over = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(from = %from.address, %error, "a connection ended before its time");
                }
                return;
            }
            _ = over.changed(), if !is_over => {
                is_over = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn gave_up() -> Response {
    let mut response = Problem::too_slow().into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// How long somebody may still pause.
#[derive(Debug)]
struct Patience {
    left: Duration,
    most: Duration,
}

impl Patience {
    fn waited(&mut self, pause: Duration) {
        self.left = self.left.saturating_sub(pause);
    }

    fn came(&mut self, bytes: usize) {
        let earned = EARNED.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.left = self.left.saturating_add(earned).min(self.most);
    }
}

/// A body that ends in the middle once nothing came of it for too long. While nobody reads it, nobody waits for it.
struct Paced {
    body: Incoming,
    patience: Patience,
    /// Since when nothing comes, and until when that may be.
    pause: Option<(Instant, Pin<Box<Sleep>>)>,
    too_slow: Arc<AtomicBool>,
}

impl Paced {
    fn new(body: Incoming, most: Duration, too_slow: &Arc<AtomicBool>) -> Self {
        Self { body, patience: Patience { left: most, most }, pause: None, too_slow: too_slow.clone() }
    }
}

impl Comes for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body, patience, pause, too_slow } = &mut *self;
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            if let Some((since, _)) = pause.take() {
                patience.waited(since.elapsed());
            }
            if let Some(bytes) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                patience.came(bytes.len());
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        let (_, until) = pause.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(patience.left))));
        ready!(until.as_mut().poll(context));
        too_slow.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the rest of it did not come in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, routing::get};
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SHORT: Waits = Waits { head: Duration::from_millis(100), body: Duration::from_millis(100) };

    /// What somebody is answered who sends this, and nothing more.
    async fn answered(sent: &str, waits: Waits) -> String {
        let get = get(async |Extension(remote): Extension<Remote>| remote.0.to_string());
        let routes = Router::new().route("/", get.post(async |body: String| body));
        let (mut client, stream) = tokio::io::duplex(1_024);
        let (_ending, over) = watch::channel(());
        let from = Peer { address: "192.0.2.7:1".parse().unwrap(), behind_proxy: false };
        tokio::spawn(converse(stream, from, waits, routes, over));
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let told = client.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(60), told).await.expect("it waits for what never comes").unwrap();
        answer
    }

    #[tokio::test]
    async fn whoever_does_not_say_what_they_want_is_not_waited_for() {
        let whole = answered("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", WAITS).await;
        assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("192.0.2.7"), "{whole}");
        for half in ["GET / HTTP/1.1\r\nHost: a\r\nX: ", "G", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / "] {
            let told = answered(half, SHORT).await;
            assert!(!told.contains("Connection: close"), "it ended by itself: {told}");
        }
    }

    #[tokio::test]
    async fn whoever_does_not_send_the_rest_of_a_body_is_told_so_and_not_waited_for() {
        // Regression: only the head of a request had a time limit, so that a call whose input never came kept its place for ever.
        let head = "POST / HTTP/1.1\r\nHost: a\r\n";
        for half in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
            let told = answered(&format!("{head}{half}"), SHORT).await.to_lowercase();
            let (head, body) = told.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("http/1.1 408") && head.contains("connection: close"), "{told}");
            assert!(head.contains("application/problem+json"), "{told}");
            assert_eq!(serde_json::from_str::<Value>(body).unwrap()["kind"], "timeout");
        }
        let whole = answered(&format!("{head}Connection: close\r\nContent-Length: 5\r\n\r\nwhole"), WAITS).await;
        assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("whole"), "{whole}");
    }

    #[test]
    fn whoever_keeps_sending_may_take_long_and_whoever_only_stays_may_not() {
        let second = Duration::from_secs(1);
        let mut patience = Patience { left: WAITS.body, most: WAITS.body };
        for _ in 0..1_000 {
            patience.waited(10 * second);
            assert!(!patience.left.is_zero(), "8 MB on a bad line");
            patience.came(8_000);
        }
        assert_eq!(patience.left, WAITS.body, "nothing is earned beforehand");
        patience.waited(29 * second);
        patience.came(1);
        patience.waited(29 * second);
        assert!(patience.left.is_zero(), "a byte now and then");
    }
}
