//! Answering those who come in, for as long as they say what they want: whoever begins a request and does not go on, or keeps a
//! connection without using it, would else hold one of as many as the machine has, for ever.

use std::{
    fmt::Debug,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, header::CONNECTION},
    response::{IntoResponse, Response},
    serve::Listener,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinSet,
};
use tower::ServiceExt;

use super::{api::Problem, paced::Paced, remote::Remote};

/// How long is waited for whoever comes in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// For the head of a request: it is a few packets, and a phone on a bad line needs some seconds for them.
    head: Duration,
    /// For more of its body, where nothing comes.
    pub(super) body: Duration,
    /// For the rest of a body that nobody reads, once it is answered.
    pub(super) rest: Duration,
}

const WAITS: Waits =
    Waits { head: Duration::from_secs(20), body: Duration::from_secs(30), rest: Duration::from_secs(30) };

/// Who came in.
pub(super) trait Peer: Debug + Clone + Send + 'static {
    /// Notes on a request of theirs what others are to know of them.
    fn note(&self, request: &mut Request);
}

/// Who came in from the network, and whether others come through them.
#[derive(Debug, Clone, Copy)]
pub(super) struct FromAfar {
    pub(super) address: SocketAddr,
    pub(super) behind_proxy: bool,
}

impl Peer for FromAfar {
    /// Where it comes from: behind a proxy, from where the proxy says.
    fn note(&self, request: &mut Request) {
        let remote = Remote::of(request.headers(), self.address.ip(), self.behind_proxy);
        request.extensions_mut().insert(remote);
    }
}

/// Answers until it is over; those that are under way then are answered to their end.
pub(super) async fn answer<L: Listener, P: Peer>(
    mut listener: L,
    routes: Router,
    who: impl Fn(&L::Io, L::Addr) -> P,
    mut over: watch::Receiver<()>,
) -> io::Result<()> {
    let mut all = JoinSet::new();
    loop {
        tokio::select! {
            (stream, from) = listener.accept() => {
                let peer = who(&stream, from);
                drop(all.spawn(converse(stream, peer, WAITS, routes.clone(), over.clone())));
            }
            Some(_) = all.join_next() => {}
            _ = over.changed() => break,
        }
    }
    drop(listener);
    while all.join_next().await.is_some() {}
    Ok(())
}

/// Answers one request after the other.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: impl Peer,
    waits: Waits,
    routes: Router,
    mut over: watch::Receiver<()>,
) {
    // One for the connection: what all have in common is touched by threads in turn, and slow for that.
    let (from, ending) = (peer.clone(), Arc::new(over.clone()));
    let service = service_fn(move |request: Request<Incoming>| {
        let too_slow = Arc::<AtomicBool>::default();
        let (head, body) = request.into_parts();
        let body = Paced::new(body, &head.headers, waits, &too_slow, &ending);
        let mut request = Request::from_parts(head, Body::new(body));
        peer.note(&mut request);
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
                    tracing::debug!(?from, %error, "a connection ended before its time");
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

#[cfg(test)]
mod tests {
    use axum::{
        Extension,
        http::StatusCode,
        routing::{get, post},
    };
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(100);
    const SHORT: Waits = Waits { head: MOMENT, body: MOMENT, rest: MOMENT };

    /// Somebody who comes in. It is over when the second is dropped.
    fn come_in(waits: Waits) -> (DuplexStream, watch::Sender<()>) {
        let get = get(async |Extension(remote): Extension<Remote>| remote.0.to_string());
        let refused = post(async || StatusCode::FORBIDDEN);
        let routes = Router::new().route("/", get.post(async |body: String| body)).route("/refused", refused);
        let (client, stream) = tokio::io::duplex(1_024);
        let (ending, over) = watch::channel(());
        let peer = FromAfar { address: "192.0.2.7:1".parse().unwrap(), behind_proxy: false };
        tokio::spawn(converse(stream, peer, waits, routes, over));
        (client, ending)
    }

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(60), what).await.expect("it waits for what never comes")
    }

    /// What is answered until the connection ends.
    async fn all(client: &mut DuplexStream) -> String {
        let mut answer = String::new();
        soon(client.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    /// The head of the next answer.
    async fn head(client: &mut DuplexStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(client.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// What somebody is answered who sends this, and nothing more.
    async fn answered(sent: &str, waits: Waits) -> String {
        let (mut client, _ending) = come_in(waits);
        client.write_all(sent.as_bytes()).await.unwrap();
        all(&mut client).await
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

    const REFUSED: &str = "POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n";

    #[tokio::test]
    async fn whoever_is_refused_while_they_still_send_gets_their_answer() {
        // Regression: the connection was closed with the rest of the request unread, and who sent it saw a reset instead.
        let (mut client, _ending) = come_in(WAITS);
        for _ in 0..2 {
            client.write_all(format!("{REFUSED}\r\n").as_bytes()).await.unwrap();
            assert!(head(&mut client).await.starts_with("HTTP/1.1 403"), "it is answered before the rest comes");
            soon(client.write_all(&[b'x'; 100_000])).await.expect("it is taken in");
        }
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(all(&mut client).await.starts_with("HTTP/1.1 200"), "the connection is as good as before");
    }

    #[tokio::test]
    async fn whoever_is_refused_and_sends_for_ever_or_not_at_all_is_not_waited_for() {
        let (mut client, _ending) = come_in(SHORT);
        client.write_all(format!("{REFUSED}\r\n").as_bytes()).await.unwrap();
        assert!(all(&mut client).await.starts_with("HTTP/1.1 403"), "they send nothing of it");

        let (mut client, _ending) = come_in(SHORT);
        let endless = REFUSED.replace("100000", "1000000000000");
        client.write_all(format!("{endless}\r\n").as_bytes()).await.unwrap();
        assert!(head(&mut client).await.starts_with("HTTP/1.1 403"));
        soon(async { while client.write_all(&[b'x'; 1_000]).await.is_ok() {} }).await;

        let (mut client, ending) = come_in(WAITS);
        client.write_all(format!("{REFUSED}\r\n").as_bytes()).await.unwrap();
        assert!(head(&mut client).await.starts_with("HTTP/1.1 403"));
        drop(ending);
        assert_eq!(all(&mut client).await, "", "a host that stops does not wait for them");
    }

    #[tokio::test]
    async fn whoever_asked_whether_to_send_is_refused_without_it() {
        let (mut client, _ending) = come_in(WAITS);
        client.write_all(format!("{REFUSED}Expect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
        let told = all(&mut client).await;
        assert!(told.starts_with("HTTP/1.1 403"), "nobody says that it is to come: {told}");
    }
}
