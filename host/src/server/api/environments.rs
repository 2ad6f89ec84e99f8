//! Environments: the operator's alone, since nothing crosses them.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body},
    asker::Asker,
    problem::Answered,
    views::EnvironmentView,
};

/// What one is to be called.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEnvironment {
    pub(crate) name: String,
}

/// The environments; a caller key sees its own.
#[utoipa::path(get, path = "/v1/environments", tag = "environments",
    security(("caller-key" = ["call"]), ("caller-key" = ["connect"])),
    responses((status = 200, body = Vec<EnvironmentView>)))]
pub(super) async fn list(State(api): State<Arc<Api>>, asker: Asker) -> Answered<Json<Vec<EnvironmentView>>> {
    let all = api.host.environments()?;
    let known = all.iter().filter(|it| asker.is_operator() || it.name == asker.environment);
    Ok(Json(known.map(EnvironmentView::from).collect()))
}

/// Makes an environment.
#[utoipa::path(post, path = "/v1/environments", tag = "environments", request_body = NewEnvironment,
    security(("caller-key" = ["operator"])),
    responses((status = 201, body = EnvironmentView)))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<NewEnvironment>,
) -> Answered<(StatusCode, Json<EnvironmentView>)> {
    asker.must_be_operator()?;
    let environment = api.host.create_environment(&asked.name)?;
    Ok((StatusCode::CREATED, Json((&environment).into())))
}

/// Removes an environment that has nothing in it.
#[utoipa::path(delete, path = "/v1/environments/{name}", tag = "environments", params(("name" = String, Path)),
    security(("caller-key" = ["operator"])),
    responses((status = 204)))]
pub(super) async fn remove(State(api): State<Arc<Api>>, asker: Asker, At(name): At<String>) -> Answered<StatusCode> {
    asker.must_be_operator()?;
    api.host.remove_environment(&name)?;
    Ok(StatusCode::NO_CONTENT)
}
