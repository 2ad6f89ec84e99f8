//! Streams that stay open end with the key that opened them: whoever was let in with one that is revoked hears no more. Those
//! that bring what came of a call are waited for when the host stops.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, http::header::CONTENT_TYPE, response::Response};
use bytes::Bytes;
use hyper::body::{Body as Streams, Frame, SizeHint};

use super::Keys;
use crate::{
    host::Host,
    underway::{OneCall, Underway},
};

/// How often it is looked whether anything was written. That is one number, as long as nothing was.
const LOOK: Duration = Duration::from_millis(500);
/// A key runs out without anything being written, so that it is itself looked at so often.
const LOOK_CLOSELY: u32 = 60;

/// What goes along with a request to the call that it asks for, if it does, and with the stream that answers: until both are over,
/// there is something left to be said.
#[derive(Clone)]
pub(super) struct Answer {
    left: Arc<Underway>,
    call: Arc<OnceLock<OneCall>>,
}

impl Answer {
    /// One of those that are left to be given.
    pub(super) fn among(left: &Arc<Underway>) -> Self {
        Self { left: left.clone(), call: Arc::default() }
    }

    /// It brings what comes of a call.
    pub(super) fn is_of_a_call(&self) {
        self.call.get_or_init(|| self.left.begin());
    }
}

/// An answer that is a stream ends once the holder's key is none any longer; any other stays as it is.
pub(super) fn end_with_key(
    response: Response,
    host: &Arc<Host>,
    keys: &Arc<dyn Keys>,
    holder: String,
    answer: Answer,
) -> Response {
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    if !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
        return response;
    }
    let gone = Box::pin(gone(Arc::downgrade(host), keys.clone(), holder));
    response.map(|body| Body::new(WithKey { body, gone, _answer: answer }))
}

/// Returns once the key is none any longer, or the host is gone.
async fn gone(host: Weak<Host>, keys: Arc<dyn Keys>, holder: String) {
    let mut looks = tokio::time::interval(LOOK);
    let (mut seen, mut until_closely) = (None, LOOK_CLOSELY);
    loop {
        looks.tick().await;
        let Some(revision) = host.upgrade().map(|host| host.vault.revision()) else { return };
        until_closely = until_closely.saturating_sub(1);
        if seen == Some(revision) && until_closely > 0 {
            continue;
        }
        (seen, until_closely) = (Some(revision), LOOK_CLOSELY);
        if !keys.stands(&holder) {
            return;
        }
    }
}

struct WithKey {
    body: Body,
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
    _answer: Answer,
}

impl Streams for WithKey {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.gone.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(context)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
