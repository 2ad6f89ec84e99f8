//! Connections: each can be cut, which is how an answer gets lost, and knows which certificate its client showed.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
};

use super::certified::Shown;
use crate::server::TlsListener;

/// What a handler knows of the connection that its request came over, and the handle by which it cuts it.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    cut: Arc<AtomicBool>,
    pub(super) shown: Shown,
}

impl Line {
    /// From now on nothing is written; the first attempt ends the connection.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().line.clone()
    }
}

/// A listener whose connections can be cut.
pub(super) enum Lines {
    Clear(TcpListener),
    Tls(TlsListener),
}

impl Listener for Lines {
    type Io = Cuttable;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self {
            Self::Clear(tcp) => {
                let (stream, from) = Listener::accept(tcp).await;
                (Cuttable { stream: Box::new(stream), line: Line::default() }, from)
            }
            Self::Tls(tls) => {
                let (stream, from) = tls.accept().await;
                let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let shown = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
                (Cuttable { stream: Box::new(stream), line: Line { shown, ..Line::default() } }, from)
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        match self {
            Self::Clear(tcp) => tcp.local_addr(),
            Self::Tls(tls) => tls.local_addr(),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that can be cut.
pub(super) struct Cuttable {
    stream: Box<dyn Stream>,
    line: Line,
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.line.cut.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
