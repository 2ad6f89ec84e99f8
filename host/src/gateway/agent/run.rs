//! Staying connected: dial, be asked, and dial again when the line is gone.

use std::{
    convert::Infallible,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::{
    body::{Body, Incoming},
    server::conn::http2::Builder,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    super::{
        Identity,
        channel::Purpose,
        door::{Hello, Joined},
        wire::{self, Asked, Errands, Failed, Message},
    },
    answer::Answerer,
    audited::note_head,
    dial::Way,
    files::Folder,
    generations::Generations,
    opened::Boxes,
};
use crate::{
    audit::Audit,
    digest::Digest,
    error::{Error, Kind, Result},
    pause,
    store::lock::Lock,
    sync::lock,
    transport::{Limits, Place, PrivateAllowed, Room, SystemResolver, Transport},
};

/// How long another process's lock is waited for: one that ends is gone within that.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Until the host says that it knows the gateway.
const GREETED_WITHIN: Duration = Duration::from_secs(15);
/// The first pause before the host is dialled again; each is twice the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// A host that is back is found soon, and many gateways do not hammer one that is not.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long requests that are under way may take when the gateway stops.
const LAST_ANSWERS: Duration = Duration::from_secs(30);
/// How often it is looked for what nobody uses.
const SWEEP: Duration = Duration::from_secs(60);

/// How a gateway is to run.
pub struct Run {
    /// Where it keeps what it keeps.
    pub data_dir: PathBuf,
    /// What may be reached.
    pub allowed: PrivateAllowed,
    /// Certificate authorities beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// The bounds of one request; the host's count where they are tighter.
    pub limits: Limits,
}

/// Runs until `told_to_stop` returns, which it does each time that somebody says so: whoever says it again does not want to
/// wait. `told` is given a sentence whenever it is connected.
///
/// # Errors
/// `not-found` where no gateway joined from here; `denied` once the host says that it does not know it; those of the files.
pub async fn run(run: Run, told: impl Fn(&str), mut told_to_stop: impl AsyncFnMut()) -> Result<()> {
    let folder = Folder::of(&run.data_dir)?;
    let _lock = Lock::acquire(&folder.path().join("lock"), LOCK_WAIT)?;
    let membership = folder.joined()?;
    let way = Way::to(&membership.host, run.ca_file.as_ref())?;
    let (me, host) = (membership.keys.identity()?, membership.host_key);
    let expected = Joined { name: membership.name, environment: membership.environment };
    let answerer = Arc::new(Answerer {
        generations: Generations::read(folder.path())?,
        boxes: Boxes::new(membership.keys.opening, membership.keys.next, expected.environment.clone()),
        allowed: run.allowed,
        transport: Arc::new(Transport::new(Arc::new(SystemResolver), run.ca_file).with_room(Room::new(wire::LARGE))),
        limits: run.limits,
        asked: Room::new(wire::LARGE),
        audit: Arc::new(Audit::open(folder.path(), membership.keys.audit, None)?),
    });
    let dialler = Dialler { way, me, host, expected, answerer };
    let (stop, stopping) = watch::channel(false);
    let staying = dialler.stay(&told, stopping);
    let sweeping = async {
        loop {
            sleep(SWEEP).await;
            dialler.answerer.boxes.sweep();
            if let Err(error) = note_head(folder.path(), &dialler.answerer.audit) {
                tracing::warn!(%error, "the audit's last line could not be noted");
            }
        }
    };
    let mut staying = pin!(staying);
    let outcome = tokio::select! {
        outcome = &mut staying => outcome,
        () = sweeping => Ok(()),
        () = told_to_stop() => {
            stop.send_replace(true);
            tokio::select! {
                outcome = timeout(LAST_ANSWERS, staying) => outcome.unwrap_or(Ok(())),
                () = told_to_stop() => Ok(()),
            }
        }
    };
    outcome.and_then(|()| note_head(folder.path(), &dialler.answerer.audit))
}

struct Dialler {
    way: Way,
    me: Identity,
    /// Whom it expects.
    host: Digest,
    /// As whom it joined.
    expected: Joined,
    answerer: Arc<Answerer>,
}

impl Dialler {
    /// Returns when it is to stop, or must not come again.
    async fn stay(&self, told: &impl Fn(&str), mut stopping: watch::Receiver<bool>) -> Result<()> {
        let mut wait = SHORTEST_PAUSE;
        loop {
            let line = Arc::new(Line::new(self.expected.clone(), self.answerer.clone()));
            let outcome = self.connect(&line, told, &mut stopping).await;
            if *stopping.borrow() {
                return Ok(());
            }
            if let Some(refused) = lock(&line.refused).take() {
                return Err(refused);
            }
            if *line.greeted.borrow() {
                wait = SHORTEST_PAUSE;
            }
            match outcome {
                Ok(()) => tracing::warn!("the line to the host is gone"),
                Err(error) => tracing::warn!(%error, "there is no line to the host"),
            }
            // Those who were cut off together do not come back together.
            let paused = wait / 2 + pause::part(wait);
            tokio::select! { () = sleep(paused) => {}, () = told_so(&mut stopping) => return Ok(()) }
            wait = (wait * 2).min(LONGEST_PAUSE);
        }
    }

    /// Dials, and answers until the line is gone, or everything that was asked is answered once it is to stop.
    async fn connect(
        &self,
        line: &Arc<Line>,
        told: &impl Fn(&str),
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        let stream = tokio::select! {
            stream = self.way.dial(&self.me, self.host, Purpose::Calls) => stream?,
            () = told_so(stopping) => return Ok(()),
        };
        let answering = line.clone();
        let mut serving = pin!(
            answers()
                .serve_connection(TokioIo::new(stream), service_fn(move |request| answering.clone().answer(request)))
        );
        let mut greeted = line.greeted.subscribe();
        tokio::select! {
            outcome = &mut serving => return ended(outcome),
            () = told_so(stopping) => return Ok(()),
            greeting = timeout(GREETED_WITHIN, told_so(&mut greeted)) => greeting.map_err(|_| silent())?,
        }
        let Joined { name, environment } = &self.expected;
        told(&format!("Connected to {} as `{name}`, in its environment `{environment}`.", self.way.host()));
        tokio::select! {
            outcome = &mut serving => return ended(outcome),
            () = told_so(stopping) => serving.as_mut().graceful_shutdown(),
        }
        ended(serving.await)
    }
}

/// How a gateway is asked.
pub(super) fn answers() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(wire::ASK_EVERY)
        .keep_alive_timeout(wire::ANSWER_WITHIN)
        .initial_stream_window_size(wire::STREAM_WINDOW)
        .initial_connection_window_size(wire::LINE_WINDOW)
        .max_concurrent_streams(wire::AT_ONCE);
    builder
}

/// One line, and what the host said on it.
pub(super) struct Line {
    expected: Joined,
    answerer: Arc<Answerer>,
    /// Whether the host knows it.
    known: AtomicBool,
    /// Whether calls may come.
    greeted: watch::Sender<bool>,
    refused: Mutex<Option<Error>>,
}

impl Line {
    pub(super) fn new(expected: Joined, answerer: Arc<Answerer>) -> Self {
        let greeted = watch::Sender::new(false);
        Self { expected, answerer, known: AtomicBool::new(false), greeted, refused: Mutex::default() }
    }

    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Message>, Infallible> {
        let path = request.uri().path().to_owned();
        let (status, message) = match self.take(&path, request.into_body()).await {
            Ok(message) => (StatusCode::OK, message),
            Err(failure) => (StatusCode::BAD_GATEWAY, Message::plain(failure.to_string().into())),
        };
        let mut response = Response::new(message);
        *response.status_mut() = status;
        Ok(response)
    }

    /// Does what it is told. What is large keeps its place until that is done.
    async fn take(&self, path: &str, body: Incoming) -> Result<Message, serde_json::Value> {
        let failure = |error: Error| wire::failure(&error);
        let _place = self.place_for(&body).await.map_err(failure)?;
        let most = match path {
            wire::SEND => wire::HEAD_BYTES.saturating_add(self.answerer.limits.body_decoded),
            wire::SIGN_IN => wire::HEAD_BYTES,
            _ => wire::GREETING_BYTES,
        };
        let said = wire::collect(body, most).await.map_err(failure)?;
        match path {
            wire::SIGN_IN => self.sign_in(said).await,
            _ => self.said(path, said).await.map_err(failure),
        }
    }

    /// A place for a request that is large, or of which it is not said how large it is. A host of ours sends none that waits for
    /// it, unless the line before broke just now.
    async fn place_for(&self, body: &Incoming) -> Result<Option<Place>> {
        if body.size_hint().upper().is_some_and(|size| size <= wire::SMALL) {
            return Ok(None);
        }
        let placed = self.answerer.asked.place(Instant::now() + self.answerer.limits.total).await;
        let full = || Kind::RateLimited.error("The gateway holds as many large requests as it may.");
        placed.map(Some).ok_or_else(full)
    }

    async fn sign_in(&self, said: Bytes) -> Result<Message, serde_json::Value> {
        let (asked, _): (Errands, Bytes) = wire::read(said).map_err(|error| wire::failure(&error))?;
        let brought = self.answerer.sign_in(asked).await.map_err(|missed| serde_json::json!(missed))?;
        Message::of(&brought, Bytes::new()).map_err(|error| wire::failure(&error))
    }

    async fn said(&self, path: &str, said: Bytes) -> Result<Message> {
        match path {
            wire::HELLO => {
                let (Hello { name, environment, key }, _): (Hello, Bytes) = wire::read(said)?;
                if (Joined { name, environment }) != self.expected {
                    return Err(Kind::Denied.error("The host takes this gateway for another."));
                }
                if !self.answerer.boxes.go_by(key) {
                    // Nothing that is tried again helps.
                    let other = other_key(key);
                    *lock(&self.refused) = Some(other.clone());
                    return Err(other);
                }
                self.known.store(true, Ordering::Release);
                Ok(Message::plain(Bytes::new()))
            }
            wire::READY if self.known.load(Ordering::Acquire) => {
                self.greeted.send_replace(true);
                Ok(Message::plain(Bytes::new()))
            }
            wire::REFUSED => {
                let (failed, _): (Failed, Bytes) = wire::read(said)?;
                *lock(&self.refused) = Some(failed.into());
                Ok(Message::plain(Bytes::new()))
            }
            wire::SEND => {
                let (asked, body): (Asked, Bytes) = wire::read(said)?;
                let (told, content) = self.answerer.answer(asked, body).await?;
                Ok(Message::of(&told, content.body)?.keeping(content.place))
            }
            _ => Err(wire::garbled()),
        }
    }
}

/// Returns once it is so.
async fn told_so(what: &mut watch::Receiver<bool>) {
    // Whoever tells lives as long as whoever waits.
    let _ = what.wait_for(|it| *it).await;
}

fn other_key(key: Digest) -> Error {
    Kind::Denied
        .error(format!("The host has things sealed to another key than this machine's, {key}."))
        .hint("It is an older copy of the gateway's files: use those of now, or join anew with the recovery key.")
}

fn silent() -> Error {
    Kind::Timeout.error(format!("The host said nothing within {GREETED_WITHIN:?}."))
}

fn ended(outcome: Result<(), hyper::Error>) -> Result<()> {
    outcome.map_err(|error| Kind::Unreachable.error(format!("The line to the host broke: {error}.")))
}
