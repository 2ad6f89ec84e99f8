//! Bodies of requests as they come in: whoever reads one is told once the other end only pauses, and what nobody reads any more is
//! taken in all the same for a while.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use http::{HeaderMap, header::EXPECT};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, Sleep, sleep},
};

use super::answering::Waits;

/// What a byte of a body earns again: a large one may take long on a bad line, and nobody stays by sending one now and then.
const EARNED: Duration = Duration::from_millis(2);

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

/// A body that ends in the middle once nothing came of it for too long. While somebody has it and does not read, nobody waits for
/// it. Once it is dropped, the other end may go on sending for a while.
pub(super) struct Paced {
    /// Where nothing of it is to come or is waited for any more, it is not there.
    body: Option<Incoming>,
    patience: Patience,
    /// Since when nothing comes, and until when that may be.
    pause: Option<(Instant, Pin<Box<Sleep>>)>,
    too_slow: Arc<AtomicBool>,
    /// Whether the other end sends it only when somebody begins to read it (RFC 9110, section 10.1.1), and nobody has.
    is_held_back: bool,
    rest: Duration,
    over: Arc<watch::Receiver<()>>,
}

impl Paced {
    /// The body of a request with these headers. `too_slow` is told where it does not come in time. Once it is `over`, nothing is
    /// taken in that nobody reads.
    pub(super) fn new(
        body: Incoming,
        headers: &HeaderMap,
        waits: Waits,
        too_slow: &Arc<AtomicBool>,
        over: &Arc<watch::Receiver<()>>,
    ) -> Self {
        Self {
            body: (!body.is_end_stream()).then_some(body),
            patience: Patience { left: waits.body, most: waits.body },
            pause: None,
            too_slow: too_slow.clone(),
            is_held_back: headers.contains_key(EXPECT),
            rest: waits.rest,
            over: over.clone(),
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body: coming, patience, pause, too_slow, is_held_back, .. } = &mut *self;
        *is_held_back = false;
        let Some(body) = coming else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
            if let Some((since, _)) = pause.take() {
                patience.waited(since.elapsed());
            }
            match &frame {
                Some(Ok(frame)) => patience.came(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(_)) | None => *coming = None,
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        let (_, until) = pause.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(patience.left))));
        ready!(until.as_mut().poll(context));
        too_slow.store(true, Ordering::Relaxed);
        *coming = None;
        Poll::Ready(Some(Err("the rest of it did not come in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Paced {
    /// Whoever is answered before their request is whole may still be sending it. Were the connection closed on them, their machine
    /// might throw the answer away with what it cannot send any more (RFC 9112, section 9.6).
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !self.is_held_back && !body.is_end_stream());
        let (Some(body), Ok(here)) = (rest, Handle::try_current()) else { return };
        here.spawn(take_in(body, self.rest, watch::Receiver::clone(&self.over)));
    }
}

/// Reads a body to its end, for nobody.
async fn take_in(mut body: Incoming, for_at_most: Duration, mut over: watch::Receiver<()>) {
    let all = async { while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {} };
    tokio::select! { () = all => {}, () = sleep(for_at_most) => {}, _ = over.changed() => {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(30);

    #[test]
    fn whoever_keeps_sending_may_take_long_and_whoever_only_stays_may_not() {
        let second = Duration::from_secs(1);
        let mut patience = Patience { left: MOST, most: MOST };
        for _ in 0..1_000 {
            patience.waited(10 * second);
            assert!(!patience.left.is_zero(), "8 MB on a bad line");
            patience.came(8_000);
        }
        assert_eq!(patience.left, MOST, "nothing is earned beforehand");
        patience.waited(29 * second);
        patience.came(1);
        patience.waited(29 * second);
        assert!(patience.left.is_zero(), "a byte now and then");
    }
}
