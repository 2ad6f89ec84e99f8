//! Answering those who come over the network, for as long as they say what they want: whoever begins a request and does not go
//! on, or keeps a connection without using it, would else hold one of as many as the machine has, for ever.

use std::{io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Body, extract::Request, serve::Listener};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinSet,
};
use tower::ServiceExt;

use super::remote::Remote;

/// How long the head of a request may take: it is a few packets, and a phone on a bad line needs some seconds for them.
const HEAD: Duration = Duration::from_secs(20);

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
                drop(all.spawn(converse(stream, from, HEAD, routes.clone(), over.clone())));
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
    head: Duration,
    routes: Router,
    mut over: watch::Receiver<()>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        let remote = Remote::of(request.headers(), from.address.ip(), from.behind_proxy);
        request.extensions_mut().insert(remote);
        routes.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head);
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

#[cfg(test)]
mod tests {
    use axum::{Extension, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What somebody is answered who sends this, and nothing more.
    async fn answered(sent: &str, head: Duration) -> String {
        let routes = Router::new().route("/", get(async |Extension(remote): Extension<Remote>| remote.0.to_string()));
        let (mut client, stream) = tokio::io::duplex(1_024);
        let (_ending, over) = watch::channel(());
        let from = Peer { address: "192.0.2.7:1".parse().unwrap(), behind_proxy: false };
        tokio::spawn(converse(stream, from, head, routes, over));
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let told = client.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(60), told).await.expect("it waits for what never comes").unwrap();
        answer
    }

    #[tokio::test]
    async fn whoever_does_not_say_what_they_want_is_not_waited_for() {
        let whole = answered("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", HEAD).await;
        assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("192.0.2.7"), "{whole}");
        for half in ["GET / HTTP/1.1\r\nHost: a\r\nX: ", "G", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / "] {
            let told = answered(half, Duration::from_millis(100)).await;
            assert!(!told.contains("Connection: close"), "it ended by itself: {told}");
        }
    }
}
