//! Calls whose caller does not wait for them (RFC 7240, 4.1): they go on, and what comes of them is fetched later. It is kept in
//! memory, for a while and up to a size; whoever needs it to outlive the host names the call with an `Idempotency-Key`.
//!
//! What must never happen here: a call of one holder seen, or ended, by another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{LOCATION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::AbortHandle};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api, Problem,
    asked::{At, Place},
    asker::Asker,
    once::REPLAYED,
    prefer::Prefer,
    problem::Answered,
};
use crate::{
    callers::Permission,
    error::{Error, Kind, Result},
    once::Told,
    sync::lock,
};

/// How long a result is kept once it is there.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// Calls of one holder, under way and over; of those that are over, the oldest makes room.
const MOST_OF_HOLDER: usize = 100;
/// Calls of all holders.
const MOST: usize = 10_000;
/// Bytes of results of one holder; the oldest makes room.
const MOST_BYTES_OF_HOLDER: usize = 64 << 20;
/// Bytes of results of all holders.
const MOST_BYTES: usize = 512 << 20;

/// A call that goes on without its caller.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CallUnderWay {
    /// For `/v1/calls/{id}`.
    pub(crate) id: Uuid,
    /// `under-way`.
    pub(crate) state: String,
}

/// Calls that go on by themselves.
#[derive(Default)]
pub(super) struct Later(Mutex<HashMap<Uuid, Kept>>);

struct Kept {
    holder: String,
    task: AbortHandle,
    told: watch::Receiver<Option<Arc<Told>>>,
    /// When it ended, and how many bytes are kept of it.
    ended: Option<(Instant, usize)>,
}

/// One of them.
pub(super) struct Begun {
    pub(super) id: Uuid,
    told: watch::Receiver<Option<Arc<Told>>>,
}

impl Begun {
    /// What came of it, unless that takes longer.
    pub(super) async fn told(&mut self, patience: Duration) -> Option<Arc<Told>> {
        if patience.is_zero() {
            return self.told.borrow().clone();
        }
        let ended = self.told.wait_for(Option::is_some);
        match tokio::time::timeout(patience, ended).await {
            Ok(Ok(told)) => told.clone(),
            // A task that panicked tells nothing.
            Ok(Err(_)) => {
                Some(Arc::new(Told { result: Err(Kind::Internal.error("The call was given up.")), replayed: false }))
            }
            Err(_) => None,
        }
    }

    /// That it is under way.
    pub(super) fn response(&self) -> Response {
        let view = CallUnderWay { id: self.id, state: "under-way".into() };
        let mut response = (StatusCode::ACCEPTED, Json(view)).into_response();
        if let Ok(location) = HeaderValue::try_from(format!("/v1/calls/{}", self.id)) {
            response.headers_mut().insert(LOCATION, location);
        }
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

impl Later {
    /// Lets a call go on by itself.
    ///
    /// # Errors
    /// `rate-limited` where too many are.
    pub(super) fn begin(
        self: &Arc<Self>,
        holder: String,
        call: impl Future<Output = Result<Told>> + Send + 'static,
    ) -> Result<Begun> {
        let id = Uuid::new_v4();
        let mut all = lock(&self.0);
        all.retain(|_, kept| !kept.is_over());
        while all.values().filter(|kept| kept.holder == holder).count() >= MOST_OF_HOLDER {
            if !drop_oldest(&mut all, &holder) {
                return Err(too_many());
            }
        }
        if all.len() >= MOST && !drop_oldest(&mut all, &holder) {
            return Err(too_many());
        }
        let (tell, told) = watch::channel(None);
        let later = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let outcome = call.await.unwrap_or_else(|error| Told { result: Err(error), replayed: false });
            // Whoever is gone with it needs no answer.
            let Some(later) = later.upgrade() else { return };
            tell.send_replace(Some(Arc::new(later.make_room(id, outcome))));
        });
        let kept = Kept { holder, task: task.abort_handle(), told: told.clone(), ended: None };
        all.insert(id, kept);
        Ok(Begun { id, told })
    }

    /// One that this holder began.
    fn find(&self, id: Uuid, holder: &str) -> Option<Begun> {
        let all = lock(&self.0);
        let kept = all.get(&id).filter(|kept| kept.holder == holder && !kept.is_over())?;
        Some(Begun { id, told: kept.told.clone() })
    }

    /// Ends one, or forgets what came of it.
    pub(super) fn end(&self, id: Uuid, holder: &str) -> bool {
        let mut all = lock(&self.0);
        if !all.get(&id).is_some_and(|kept| kept.holder == holder && !kept.is_over()) {
            return false;
        }
        if let Some(kept) = all.remove(&id) {
            kept.task.abort();
        }
        true
    }

    /// Notes that a call is over. A result that finds no room is not kept, which is said in its place.
    fn make_room(&self, id: Uuid, outcome: Told) -> Told {
        let bytes = outcome.result.as_ref().map_or(0, |output| output.to_string().len());
        let mut all = lock(&self.0);
        let Some(holder) = all.get(&id).map(|kept| kept.holder.clone()) else { return outcome };
        let taken = |all: &HashMap<Uuid, Kept>, own: bool| -> usize {
            all.values().filter(|kept| !own || kept.holder == holder).filter_map(|kept| kept.ended).map(|it| it.1).sum()
        };
        let mut fits = true;
        while taken(&all, true) + bytes > MOST_BYTES_OF_HOLDER || taken(&all, false) + bytes > MOST_BYTES {
            fits = drop_oldest(&mut all, &holder);
            if !fits {
                break;
            }
        }
        if let Some(kept) = all.get_mut(&id) {
            kept.ended = Some((Instant::now(), if fits { bytes } else { 0 }));
        }
        if fits {
            return outcome;
        }
        let none =
            Kind::TooLarge.error("The call went well, and there is no room to keep its answer until it is fetched.");
        Told { result: Err(none.hint("Wait for it, or ask for less.")), replayed: outcome.replayed }
    }
}

impl Kept {
    fn is_over(&self) -> bool {
        self.ended.is_some_and(|(at, _)| at.elapsed() >= KEPT)
    }
}

/// Drops the result of a holder that is there the longest; `false` where there is none.
fn drop_oldest(all: &mut HashMap<Uuid, Kept>, holder: &str) -> bool {
    let own = all.iter().filter(|(_, kept)| kept.holder == holder);
    let oldest = own.filter_map(|(id, kept)| kept.ended.map(|(at, _)| (at, *id))).min();
    oldest.is_some_and(|(_, id)| all.remove(&id).is_some())
}

fn too_many() -> Error {
    Kind::RateLimited
        .error("Too many calls go on without somebody waiting for them.")
        .hint("Wait for some, or end them (`DELETE /v1/calls/{id}`).")
        .retry_after(1)
}

/// What came of a call, as if it had just ended.
pub(super) fn told(told: &Told) -> Response {
    let mut response = match &told.result {
        Ok(output) => Json(output).into_response(),
        Err(error) => Problem::from(error.clone()).into_response(),
    };
    if told.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// What came of a call that went on by itself: the very answer, or that it is still under way. `Prefer: wait=N` waits so many
/// seconds.
#[utoipa::path(get, path = "/v1/calls/{id}", tag = "calls",
    params(Place, ("id" = String, Path), ("Prefer" = Option<String>, Header, description = "`wait=N` (RFC 7240)")),
    security(("caller-key" = ["call"])),
    responses((status = 200, body = serde_json::Value), (status = 202, body = CallUnderWay)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(id): At<String>,
    prefer: Prefer,
) -> Answered<Response> {
    asker.may(Permission::Call)?;
    let mut begun = id.parse().ok().and_then(|id| api.later.find(id, &asker.holder())).ok_or_else(no_call)?;
    let ended = begun.told(prefer.patience()).await;
    asker.still(&api.host)?;
    let mut response = ended.as_deref().map_or_else(|| begun.response(), told);
    prefer.note(ended.is_none(), response.headers_mut());
    Ok(response)
}

/// Ends a call that goes on by itself, and forgets what came of it. What has left for the service has left.
#[utoipa::path(delete, path = "/v1/calls/{id}", tag = "calls", params(Place, ("id" = String, Path)),
    security(("caller-key" = ["call"])),
    responses((status = 204)))]
pub(super) async fn end(State(api): State<Arc<Api>>, asker: Asker, At(id): At<String>) -> Answered<StatusCode> {
    asker.may(Permission::Call)?;
    match id.parse().is_ok_and(|id| api.later.end(id, &asker.holder())) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_call().into()),
    }
}

fn no_call() -> Error {
    Kind::NotFound
        .error("There is no such call: it was ended, was fetched too late, or never was.")
        .hint("What came of a call is kept for ten minutes, and until the host ends.")
}
