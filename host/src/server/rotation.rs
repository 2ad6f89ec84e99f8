//! Another key for the store of a host that runs, at its socket alone: the store is of all environments, and a caller key is of
//! one. Whoever asks has read the new key from where it is; the host opens no place that a caller names.

use std::sync::Arc;

use axum::{Extension, Json, Router, extract::State, routing::post};
use serde::{Deserialize, Serialize};

use super::api::{Operator, Problem};
use crate::{
    error::{Kind, Result},
    host::Host,
    secret::Secret,
    store::{NewKey, Rotated},
};

/// The key that is to be the store's; none for one that is made, and put in the key file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    to: Option<Elsewhere>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Elsewhere {
    /// As `--key` has it.
    source: String,
    /// As 64 hexadecimal digits.
    key: String,
}

impl Asked {
    /// For a host that runs.
    pub fn of(key: &NewKey) -> Self {
        Self { to: key.tell().map(|(source, key)| Elsewhere { source, key: key.as_str().to_owned() }) }
    }

    fn key(self) -> Result<NewKey> {
        match self.to {
            None => Ok(NewKey::Made),
            Some(Elsewhere { source, key }) => NewKey::told(&source, &Secret::new(key)),
        }
    }
}

/// The route.
pub(super) fn routes(host: Arc<Host>) -> Router {
    Router::new().route("/v1/key/rotate", post(rotate)).with_state(host)
}

async fn rotate(
    State(host): State<Arc<Host>>,
    Extension(operator): Extension<Operator>,
    Json(asked): Json<Asked>,
) -> Result<Json<Rotated>, Problem> {
    let key = asked.key()?;
    // It takes as long as there is something to seal anew.
    let rotated = tokio::task::spawn_blocking(move || host.rotate_key(&key, &operator.caller)).await;
    Ok(Json(rotated.map_err(|_| Kind::Internal.error("The rotation ended in the middle."))??))
}
