//! The transport against services and resolvers that do what they should not: real sockets, and bytes written by hand.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use url::Url;

use super::{guard::tests::Script, *};

mod addresses;
mod bounds;
mod framing;
mod pools;
mod secure;
mod silence;

/// A service of ours on loopback, and what it saw.
struct Service {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

/// One connection as the service sees it.
struct Peer {
    stream: TcpStream,
    /// The first connection has 1.
    number: usize,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Handles each connection with `handle`.
    async fn new<F, Done>(handle: F) -> Self
    where
        F: Fn(Peer) -> Done + Send + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<Vec<String>>>::default());
        let (seen, log) = (connections.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = seen.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(handle(Peer { stream, number, requests: log.clone() }));
            }
        });
        Self { port, connections, requests }
    }

    /// Answers every request on every connection with the same bytes.
    async fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = Bytes::copy_from_slice(answer.as_ref());
        Self::new(move |mut peer| {
            let answer = answer.clone();
            async move {
                while peer.request().await.is_some() {
                    if peer.stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The service's host and port under its name.
    fn host_port(&self) -> String {
        format!("service.test:{}", self.port)
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.host_port())).unwrap()
    }

    fn allowed(&self) -> PrivateAllowed {
        PrivateAllowed::parse([self.host_port()]).unwrap()
    }
}

impl Peer {
    /// The next request, head and body, or nothing once the client is gone.
    async fn request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if self.stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        while bytes.len() < head + length {
            if self.stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        let request = String::from_utf8_lossy(&bytes).into_owned();
        self.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// Waits until the client has closed the connection.
    async fn gone(&mut self) {
        let mut rest = [0; 1024];
        while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
}

/// A transport whose names all lead to loopback.
fn transport() -> Transport {
    Transport::new(Script::new(&[&["127.0.0.1"]]), None)
}

fn key() -> PoolKey {
    PoolKey::new("connection-1")
}

/// Limits that a test can wait for.
fn quick() -> Limits {
    Limits {
        resolve: Duration::from_millis(200),
        connect: Duration::from_millis(500),
        first_byte: Duration::from_millis(300),
        idle: Duration::from_millis(200),
        total: Duration::from_millis(900),
        header_count: 50,
        header_bytes: 8 << 10,
        body_on_wire: 64 << 10,
        body_decoded: 128 << 10,
        ..Limits::default()
    }
}

fn request(method: Method, url: Url) -> Outgoing {
    Outgoing::new(method, url, HeaderMap::new(), Bytes::new())
}

/// GET with everything as it usually is.
async fn get(transport: &Transport, service: &Service) -> Result<Incoming, Fault> {
    transport.send(&key(), &service.allowed(), request(Method::GET, service.url("/")), &quick()).await
}

/// The answer of a service that says the same to everybody, to a transport that never spoke to it.
async fn answer_to_get(answer: impl AsRef<[u8]>) -> Result<Incoming, Fault> {
    get(&transport(), &Service::answering(answer).await).await
}

fn denied<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> (String, String) {
    match outcome {
        Err(Fault::Denied { what, allow }) => (what, allow),
        other => panic!("not denied: {other:?}"),
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
