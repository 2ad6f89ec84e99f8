//! What an address asks for: a query or a path that fits, or a page that says why it does not.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::{Console, gate::Refused};
use crate::{error::Kind, text};

/// A query.
pub(super) struct In<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Console>> for In<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Console>) -> Result<Self, Refused> {
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|refused| {
            Kind::Usage.error(format!("The query does not fit: {}.", text::foreign(&refused.body_text(), 300)))
        })?;
        Ok(Self(query.0))
    }
}

/// What stands in the path.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Console>> for At<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Refused> {
        let found = Path::<T>::from_request_parts(parts, console).await;
        let Path(found) =
            found.map_err(|_| Kind::NotFound.error("There is no such thing: its name cannot be read."))?;
        Ok(Self(found))
    }
}
