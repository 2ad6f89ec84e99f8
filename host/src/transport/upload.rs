//! A request's body that tells when its pieces were taken, so that a slow upload is not mistaken for a slow answer; and that
//! has something done before the first of them leaves.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::{fault::Fault, request::Before};
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

/// The HTTP client's form of a body, and its progress. The client asks for the first piece when there is a connection, and
/// before it writes anything, the request's head included (in HTTP/2: before a request is whole). A body that is empty is never
/// asked for, so `before` is done here then.
pub(super) fn body(content: Bytes, before: Option<Before>) -> Result<(reqwest::Body, Arc<Progress>), Fault> {
    let progress = Arc::new(Progress(Mutex::new(At { since: Instant::now(), midway: false })));
    let body = match before {
        None if content.len() <= PIECE => content.into(),
        Some(before) if content.is_empty() => {
            before().map_err(Fault::Unready)?;
            content.into()
        }
        before => reqwest::Body::wrap(Upload { rest: content, before: Mutex::new(before), progress: progress.clone() }),
    };
    Ok((body, progress))
}

struct Upload {
    rest: Bytes,
    /// In a lock only because a body must be shareable.
    before: Mutex<Option<Before>>,
    progress: Arc<Progress>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(before) = lock(&self.before).take()
            && let Err(error) = before()
        {
            return Poll::Ready(Some(Err(Fault::Unready(error))));
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
