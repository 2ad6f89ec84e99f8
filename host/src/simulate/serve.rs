//! The way of a request: read, looked up in the script, worked on under the lock, logged, and answered or not.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State as Extract},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::sync::Notify;

use super::{
    State,
    answer::Reply,
    api,
    asked::{Asked, Endpoint},
    authorize, control, device,
    line::{Line, Lines},
    metadata,
    quirk::Quirk,
    register, revoke,
    script::{Act, When},
    token,
};
use crate::sync::lock;

/// Far more than any request has to say.
const LARGEST_REQUEST: usize = 1 << 20;

/// What all requests share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    held: AtomicUsize,
    release: Notify,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), held: AtomicUsize::new(0), release: Notify::new() }
    }

    /// How many requests wait to be released.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Lets go of every request that waits.
    pub(super) fn release(&self) {
        self.release.notify_waiters();
    }

    async fn hold(&self) {
        let released = self.release.notified();
        tokio::pin!(released);
        // Before it is counted, so that whoever saw the count and releases does release this one.
        released.as_mut().enable();
        let _counted = Counted::new(&self.held);
        released.await;
    }

    fn answer(&self, asked: &Asked, act: Option<&Act>) -> Reply {
        let mut state = lock(&self.state);
        let mut entry = asked.entry(state.clock.now().as_secs_f64());
        let works = act.is_none_or(Act::works);
        let reply = if works {
            work(&mut state, asked)
        } else {
            Reply { outcome: "scripted".into(), ..Reply::new(StatusCode::OK) }
        };
        let reply = match act {
            Some(act) => act.shape(reply),
            None => reply,
        };
        entry.scripted = act.is_some();
        entry.lost = act.and_then(|act| act.drop).map(When::name);
        entry.status = reply.status.as_u16();
        entry.outcome.clone_from(&reply.outcome);
        entry.client.clone_from(&reply.client);
        entry.given.clone_from(&reply.given);
        state.log.write(entry);
        reply
    }
}

/// Counts for as long as it is there: a request whose client went away is not held any more.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves until it is aborted.
pub(super) async fn serve(lines: Lines, shared: Arc<Shared>) {
    let router: Router = control::routes().fallback(handle).with_state(shared);
    // It ends with its task; connections that cannot be accepted are its own to log.
    let _ = axum::serve(lines, router.into_make_service_with_connect_info::<Line>()).await;
}

async fn handle(
    Extract(shared): Extract<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_REQUEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let asked = Asked::read(parts.method, &parts.uri, parts.headers, body).over(line.shown.clone());
    let Some(act) = lock(&shared.state).script.take(&asked) else {
        return shared.answer(&asked, None).into_response();
    };
    if act.hold == Some(When::Before) {
        shared.hold().await;
    }
    let reply = shared.answer(&asked, Some(&act));
    // After the work: a client that gives up has lost the answer.
    tokio::time::sleep(act.delay()).await;
    if act.hold == Some(When::After) {
        shared.hold().await;
    }
    if act.drop.is_some() {
        line.cut();
    }
    reply.into_response()
}

fn work(state: &mut State, asked: &Asked) -> Reply {
    match asked.endpoint {
        Endpoint::Metadata => metadata::answer(state, asked),
        Endpoint::Authorize => authorize::answer(state, asked),
        Endpoint::Token => token::answer(state, asked),
        Endpoint::Refresh if state.settings.has(Quirk::RefreshElsewhere) => token::answer(state, asked),
        Endpoint::DeviceAuthorization => device::begin(state, asked),
        Endpoint::Device => device::page(state, asked),
        Endpoint::Register => register::answer(state, asked),
        Endpoint::Revoke => revoke::answer(state, asked),
        Endpoint::Api => api::answer(state, asked),
        _ => Reply { outcome: "not_found".into(), ..Reply::new(StatusCode::NOT_FOUND) },
    }
}
