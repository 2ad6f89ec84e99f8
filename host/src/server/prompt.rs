//! Connections on which nothing is held back: what is written in pieces, as to gateways, goes out without waiting for the other
//! end to acknowledge the piece before (RFC 896's algorithm, which every HTTP client switches off as well).

use std::{io, net::SocketAddr};

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Prompt(pub(crate) TcpListener);

impl Listener for Prompt {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (stream, from) = Listener::accept(&mut self.0).await;
        // One that cannot be told is slower.
        let _ = stream.set_nodelay(true);
        (stream, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
