//! Operations and calls.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body, Place},
    asker::Asker,
    problem::{Answered, Written},
    views::{OperationDetail, OperationView},
};
use crate::{
    call::{self, Call},
    callers::Permission,
    egress::Destination,
    error::Result,
    manifest::Manifest,
};

/// The request that a call would send first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PreviewView {
    pub(crate) method: String,
    /// Attached values are masked.
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body_bytes: usize,
    /// Where credentials are put.
    pub(crate) attached: Vec<String>,
    /// `audience`, or `open host`.
    pub(crate) destination: String,
}

/// What a connection can do.
#[utoipa::path(get, path = "/v1/connections/{connection}/operations", tag = "calls",
    params(Place, ("connection" = String, Path)),
    responses((status = 200, body = Vec<OperationView>), (status = "default", body = Written, content_type = "application/problem+json")))]
pub(super) async fn operations(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(named): At<String>,
) -> Answered<Json<Vec<OperationView>>> {
    let manifest = known(&api, &asker, &named)?;
    Ok(Json(manifest.operations.iter().map(|it| it.as_ref().into()).collect()))
}

/// One operation, with its JSON Schemas.
#[utoipa::path(get, path = "/v1/connections/{connection}/operations/{operation}", tag = "calls",
    params(Place, ("connection" = String, Path), ("operation" = String, Path)),
    responses((status = 200, body = OperationDetail), (status = "default", body = Written, content_type = "application/problem+json")))]
pub(super) async fn operation(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((named, operation)): At<(String, String)>,
) -> Answered<Json<OperationDetail>> {
    let manifest = known(&api, &asker, &named)?;
    Ok(Json(call::operation(&manifest, &operation)?.as_ref().into()))
}

/// Calls an operation. The body is its input, the answer its output, as its JSON Schemas say.
#[utoipa::path(post, path = "/v1/connections/{connection}/operations/{operation}", tag = "calls",
    params(Place, ("connection" = String, Path), ("operation" = String, Path)), request_body = Value,
    responses((status = 200, body = Value), (status = "default", body = Written, content_type = "application/problem+json")))]
pub(super) async fn call(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((named, operation)): At<(String, String)>,
    Body(input): Body<Value>,
) -> Answered<Json<Value>> {
    let call = asked(&api, &asker, &named, operation, input)?;
    Ok(Json(api.host.call_within(&call, asker.allowed()).await?))
}

/// Runs an operation up to its first request, which is shown and not sent.
#[utoipa::path(post, path = "/v1/connections/{connection}/operations/{operation}/preview", tag = "calls",
    params(Place, ("connection" = String, Path), ("operation" = String, Path)), request_body = Value,
    responses((status = 200, body = PreviewView), (status = "default", body = Written, content_type = "application/problem+json")))]
pub(super) async fn preview(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((named, operation)): At<(String, String)>,
    Body(input): Body<Value>,
) -> Answered<Json<PreviewView>> {
    let call = asked(&api, &asker, &named, operation, input)?;
    let preview = api.host.dry_run(&call, asker.allowed()).await?;
    let destination = match preview.destination {
        Destination::Audience => "audience",
        Destination::Open => "open host",
    };
    Ok(Json(PreviewView {
        method: preview.method.to_string(),
        url: preview.url,
        headers: preview.headers,
        body_bytes: preview.body_bytes,
        attached: preview.attached,
        destination: destination.into(),
    }))
}

fn asked(api: &Api, asker: &Asker, named: &str, operation: String, input: Value) -> Result<Call> {
    asker.may(Permission::Call)?;
    let connection = asker.connection(&api.host, named)?;
    Ok(Call {
        environment: asker.environment.clone(),
        connection: connection.name,
        operation,
        input,
        caller: asker.caller.clone(),
    })
}

fn known(api: &Api, asker: &Asker, named: &str) -> Result<Manifest> {
    asker.may(Permission::Call)?;
    let connection = asker.connection(&api.host, named)?;
    api.host.manifest(&api.host.book(&asker.environment)?.approval(&connection.connector)?)
}
