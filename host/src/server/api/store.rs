//! The store as a whole, which is the operator's.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Api, asker::Asker, problem::Answered};
use crate::error::{Kind, Result};

/// Looks through everything that is kept, and says what was altered or lost.
#[utoipa::path(post, path = "/v1/store/check", tag = "store",
    security(("caller-key" = ["operator"])),
    responses((status = 200, body = Value)))]
pub(super) async fn check(State(api): State<Arc<Api>>, asker: Asker) -> Answered<Json<Value>> {
    asker.must_be_operator()?;
    // It reads all there is, which would hold up everybody else's answers.
    let work = move || -> Result<Value> { Ok(json!(api.host.check_store()?)) };
    let checked = tokio::task::spawn_blocking(work).await;
    Ok(Json(checked.map_err(|_| Kind::Internal.error("The check ended without a word."))??))
}
