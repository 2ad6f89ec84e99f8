//! What is asked for: bodies, queries and paths that fit, or a problem that says why they do not.
//!
//! What must never happen here: a body handed to whoever acts on it, of somebody whose key is none any longer.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::{Api, Problem, asker::Shown};
use crate::{
    error::{Error, Kind, Result},
    text,
};

/// How much a page has unless told.
const PAGE: usize = 100;
/// How much it may have.
const LARGEST_PAGE: usize = 1_000;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let Json(body) = whole::<Json<T>>(request, api).await?.map_err(|refused| {
            let why = text::foreign(&refused.body_text(), 300);
            match refused {
                JsonRejection::MissingJsonContentType(_) => {
                    Kind::Usage.error("The body is to be JSON: send `Content-Type: application/json`.")
                }
                refused if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => too_large(),
                _ => Kind::InvalidInput.error(format!("The body does not fit: {why}.")),
            }
        })?;
        Ok(Self(body))
    }
}

/// A body that is taken as it is.
pub(super) struct Raw(pub(super) Bytes);

impl FromRequest<Arc<Api>> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        Ok(Self(whole::<Bytes>(request, api).await?.map_err(|_| too_large())?))
    }
}

/// Reads a body, and then looks once more whether the key that was shown before it is one: each body is read here.
async fn whole<T: FromRequest<()>>(request: Request, api: &Api) -> Result<Result<T, T::Rejection>, Problem> {
    let shown = request.extensions().get::<Shown>().copied();
    let read = T::from_request(request, &()).await;
    shown.map_or(Ok(()), |shown| shown.still(&api.host))?;
    Ok(read)
}

fn too_large() -> Error {
    Kind::InvalidInput.error("The body is larger than this host takes.")
}

/// A query.
pub(super) struct In<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for In<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|refused| {
            Kind::Usage.error(format!("The query does not fit: {}.", text::foreign(&refused.body_text(), 300)))
        })?;
        Ok(Self(query.0))
    }
}

/// What stands in the path.
pub(super) struct At<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(found) = Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(|_| Kind::NotFound.error("There is no such thing: its name cannot be read."))?;
        Ok(Self(found))
    }
}

/// Which environment, for the operator; a caller key has its own.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Place {
    /// Its name; `default` unless given, or the caller key's.
    #[allow(dead_code, reason = "read by whoever finds out who asks; here it is described")]
    environment: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// What `next` of the page before said; the first unless given.
    after: Option<String>,
    /// How much at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// One part of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct List<T> {
    /// In order of their names.
    pub(crate) items: Vec<T>,
    /// What `after` is for the next part; none where this is the last.
    pub(crate) next: Option<String>,
}

impl Page {
    /// The part of a list, sorted by what `name` gives.
    pub(super) fn of<T>(&self, mut all: Vec<T>, name: impl Fn(&T) -> String) -> Result<List<T>> {
        let limit = self.limit()?;
        all.sort_by_cached_key(&name);
        let begin = self.after.as_ref().map_or(0, |after| all.partition_point(|it| name(it) <= *after));
        let mut items = all.split_off(begin.min(all.len()));
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(name);
        Ok(List { items, next })
    }

    /// The same of a list that is read from there: `read` is told after which name, and how much at most.
    pub(super) fn read<T>(
        &self,
        name: impl Fn(&T) -> String,
        read: impl FnOnce(&str, usize) -> Result<Vec<T>>,
    ) -> Result<List<T>> {
        let limit = self.limit()?;
        // One more tells whether there is another page.
        let mut items = read(self.after.as_deref().unwrap_or_default(), limit + 1)?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(name);
        Ok(List { items, next })
    }

    pub(super) fn limit(&self) -> Result<usize> {
        match self.limit {
            None => Ok(PAGE),
            Some(limit) if (1..=LARGEST_PAGE).contains(&limit) => Ok(limit),
            Some(_) => Err(Kind::Usage.error(format!("A page has 1 to {LARGEST_PAGE} items."))),
        }
    }
}
