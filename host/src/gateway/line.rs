//! One connected gateway: an HTTP/2 connection that it dialled and that the host asks through.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http2::{Builder, SendRequest},
    },
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, watch},
    time::timeout,
};

use super::wire::{self, Message};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    sync::lock,
    transport::causes_of,
};

/// How long a gateway may take to answer what needs no service.
const AT_ONCE: Duration = Duration::from_secs(10);

/// How it is found out that nobody is there any more.
pub(super) struct Pulse {
    pub(super) ask_every: Duration,
    pub(super) answer_within: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { ask_every: wire::ASK_EVERY, answer_within: wire::ANSWER_WITHIN }
    }
}

/// A line to a gateway.
pub(super) struct Line {
    /// Who is at the other end.
    pub(super) identity: Digest,
    /// Since when; RFC 3339.
    pub(super) since: String,
    sender: SendRequest<Message>,
    /// See [`Uncrossed`].
    handing_over: Arc<Mutex<()>>,
    /// Places for large requests.
    large: Semaphore,
    /// No new request goes through it.
    leaving: AtomicBool,
    ended: watch::Sender<bool>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The gateway never saw the request, which is given back.
    Unsent(Box<Request<Message>>),
    /// It did not work on it.
    Untouched,
    /// It may have.
    Midway,
}

impl Line {
    /// Begins to ask through a channel. What keeps it going is to be run until it ends.
    pub(super) async fn begin<S>(
        stream: S,
        identity: Digest,
        pulse: Pulse,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<S>)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let began = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(pulse.ask_every)
            .keep_alive_timeout(pulse.answer_within)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(wire::STREAM_WINDOW)
            .initial_connection_window_size(wire::LINE_WINDOW)
            .max_concurrent_streams(0)
            .handshake(TokioIo::new(stream));
        let broken = |_| Kind::Unreachable.error("The line broke before anything was said.");
        let (sender, connection) = timeout(AT_ONCE, began).await.map_err(|_| silent())?.map_err(broken)?;
        let handing_over = Arc::new(Mutex::new(()));
        let connection = Uncrossed { connection: Some(Box::pin(connection)), handing_over: handing_over.clone() };
        let ended = watch::Sender::new(false);
        let (mut told, over) = (ended.subscribe(), ended.clone());
        let running = async move {
            tokio::select! {
                outcome = connection => if let Err(error) = outcome { tracing::debug!(%error, "the line of a gateway broke") },
                _ = told.wait_for(|ended| *ended) => {}
            }
            over.send_replace(true);
        };
        let since = crate::consent::now();
        let (large, leaving) = (Semaphore::new(wire::LARGE), AtomicBool::new(false));
        Ok((Self { identity, since, sender, handing_over, large, leaving, ended }, running))
    }

    /// Says something that needs no service.
    pub(super) async fn say(&self, path: &'static str, what: &impl Serialize) -> Result<()> {
        let asked = request(path, Message::of(what, Bytes::new())?)?;
        match timeout(AT_ONCE, self.ask(asked)).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(_)) => Err(wire::garbled()),
            Ok(Err(_)) => Err(Kind::Unreachable.error("The line broke before anything was said.")),
            Err(_) => Err(silent()),
        }
    }

    /// Asks, and waits for the answer's head for as long as whoever asks does. A large request takes its place until then.
    pub(super) async fn ask(&self, request: Request<Message>) -> Result<Response<Incoming>, Lost> {
        let _place = if request.body().is_large() { self.large.acquire().await.ok() } else { None };
        self.hand_over(request).await.map_err(|mut error| match error.take_message() {
            Some(unsent) => {
                // Whatever it was, the next one goes another way.
                self.leaving.store(true, Ordering::Release);
                Lost::Unsent(Box::new(unsent))
            }
            None if was_untouched(error.error()) => {
                self.leaving.store(true, Ordering::Release);
                Lost::Untouched
            }
            None => Lost::Midway,
        })
    }

    fn hand_over(
        &self,
        request: Request<Message>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Message>>>> + use<> {
        let mut sender = self.sender.clone();
        let _uncrossed = lock(&self.handing_over);
        sender.try_send_request(request)
    }

    /// Whether something can be asked.
    pub(super) fn is_open(&self) -> bool {
        !self.leaving.load(Ordering::Acquire) && !self.sender.is_closed() && !*self.ended.borrow()
    }

    /// Ends it with everything that is under way on it.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }
}

/// A connection that takes requests, and lets go of those that it did not take, only while nobody hands one over. hyper does both
/// without a lock, and one that is handed over just when the connection ends may lie where nobody takes it and nobody gives it
/// back (hyperium/hyper#4122 tells of the same for HTTP/1.1): whoever asked would wait for as long as they may.
struct Uncrossed<C> {
    connection: Option<Pin<Box<C>>>,
    handing_over: Arc<Mutex<()>>,
}

impl<C: Future> Future for Uncrossed<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let Self { connection, handing_over } = &mut *self;
        let _uncrossed = lock(handing_over);
        connection.as_mut().map_or(Poll::Pending, |connection| connection.as_mut().poll(context))
    }
}

impl<C> Drop for Uncrossed<C> {
    fn drop(&mut self) {
        let _uncrossed = lock(&self.handing_over);
        self.connection = None;
    }
}

/// A request of the host's.
pub(super) fn request(path: &'static str, message: Message) -> Result<Request<Message>> {
    let request = Request::post(format!("http://gateway{path}")).body(message);
    request.map_err(|_| Kind::Internal.error("A request to a gateway cannot be written."))
}

/// RFC 9113, 8.7: what was refused, or came after the last one that the other end says it looks at, was not worked on.
fn was_untouched(error: &hyper::Error) -> bool {
    causes_of(error).filter_map(|cause| cause.downcast_ref::<h2::Error>()).any(|error| {
        let said = error.reason().filter(|_| error.is_remote());
        (error.is_go_away() && said == Some(h2::Reason::NO_ERROR))
            || (error.is_reset() && said == Some(h2::Reason::REFUSED_STREAM))
    })
}

fn silent() -> Error {
    Kind::Timeout.error(format!("The gateway said nothing within {AT_ONCE:?}."))
}
