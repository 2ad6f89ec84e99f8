//! A request's body that tells when its pieces were taken, so that a slow upload is not mistaken for a slow answer.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::sync::lock;

/// A piece: what a connection takes at a time anyway. A body that is no larger goes out at once.
const PIECE: usize = 64 << 10;

/// How far a body got.
pub(super) struct Progress(Mutex<At>);

#[derive(Clone, Copy)]
pub(super) struct At {
    /// When the last piece was taken, or when it all began.
    pub(super) since: Instant,
    /// Some pieces were taken, and some were not.
    pub(super) midway: bool,
}

impl Progress {
    /// How far it is.
    pub(super) fn at(&self) -> At {
        *lock(&self.0)
    }
}

/// The HTTP client's form of a body, and its progress.
pub(super) fn body(content: Bytes) -> (reqwest::Body, Arc<Progress>) {
    let progress = Arc::new(Progress(Mutex::new(At { since: Instant::now(), midway: false })));
    let body = if content.len() <= PIECE {
        content.into()
    } else {
        reqwest::Body::wrap(Upload { rest: content, progress: progress.clone() })
    };
    (body, progress)
}

struct Upload {
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        let midway = !self.rest.is_empty();
        *lock(&self.progress.0) = At { since: Instant::now(), midway };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
