//! Operations and calls.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::Instrument;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api,
    asked::{At, Body, Place},
    asker::Asker,
    later::{self, CallUnderWay},
    once::Named,
    prefer::Prefer,
    problem::Answered,
    views::{OperationDetail, OperationView},
};
use crate::{
    call::{self, Call},
    callers::Permission,
    egress::Destination,
    error::{Kind, Result},
    manifest::Manifest,
    once::{Name, Told},
    trace,
    traffic::Admitted,
};

/// The request that a call would send first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PreviewView {
    pub(crate) method: String,
    /// Attached values are masked.
    pub(crate) url: String,
    /// Names with their values.
    #[schema(value_type = Vec<Vec<String>>)]
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
    security(("caller-key" = ["call"])),
    responses((status = 200, body = Vec<OperationView>)))]
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
    security(("caller-key" = ["call"])),
    responses((status = 200, body = OperationDetail)))]
pub(super) async fn operation(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((named, operation)): At<(String, String)>,
) -> Answered<Json<OperationDetail>> {
    let manifest = known(&api, &asker, &named)?;
    Ok(Json(call::operation(&manifest, &operation)?.as_ref().into()))
}

/// Calls an operation. The body is its input, the answer its output, as its JSON Schemas say. With an `Idempotency-Key` it is
/// made once, however often it is asked for within 24 hours: the answer is then that of the first time, and says so with
/// `Idempotency-Replayed: true`. With `Prefer` the answer may be that it is under way, and where to ask for it.
#[utoipa::path(post, path = "/v1/connections/{connection}/operations/{operation}", tag = "calls",
    params(Place, ("connection" = String, Path), ("operation" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "What the caller calls this call; a UUID, for example."),
        ("Prefer" = Option<String>, Header, description = "`respond-async` or `wait=N`, in seconds (RFC 7240)")),
    request_body = Value,
    security(("caller-key" = ["call"])),
    responses((status = 200, body = Value), (status = 202, body = CallUnderWay)))]
pub(super) async fn call(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((named, operation)): At<(String, String)>,
    Named(name): Named,
    prefer: Prefer,
    request: Request,
) -> Answered<Response> {
    let span = trace::asked(request.headers());
    let (call, connection, admitted) = asked(&api, &asker, &named, operation, request).await?;
    if name.is_none() && !prefer.may_come_early() {
        return Ok(Json(api.host.call_within(&call, asker.allowed()).instrument(span).await?).into_response());
    }
    let (host, allowed, holder) = (api.host.clone(), asker.allowed(), asker.holder());
    let name = name.map(|key| Name { holder: holder.clone(), key });
    // From here on it goes on whether or not somebody waits. Most calls do not come here, and hold no place for it.
    let made = Box::pin(async move {
        let _admitted = admitted;
        match name {
            Some(name) => host.call_once(&call, connection, allowed, &name).await,
            None => Ok(Told { result: host.call_within(&call, allowed).await, replayed: false }),
        }
    })
    .instrument(span);
    if !prefer.may_come_early() {
        let made = tokio::spawn(made).await.map_err(|_| Kind::Internal.error("The call was given up."))?;
        return Ok(later::told(&made?));
    }
    let mut begun = api.later.begin(holder.clone(), made)?;
    let ended = begun.told(prefer.patience()).await;
    let mut response = match &ended {
        Some(told) => {
            api.later.end(begun.id, &holder);
            later::told(told)
        }
        None => begun.response(),
    };
    prefer.note(ended.is_none(), response.headers_mut());
    Ok(response)
}

/// Runs an operation up to its first request, which is shown and not sent.
#[utoipa::path(post, path = "/v1/connections/{connection}/operations/{operation}/preview", tag = "calls",
    params(Place, ("connection" = String, Path), ("operation" = String, Path)), request_body = Value,
    security(("caller-key" = ["call"])),
    responses((status = 200, body = PreviewView)))]
pub(super) async fn preview(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((named, operation)): At<(String, String)>,
    request: Request,
) -> Answered<Json<PreviewView>> {
    let (call, _, _admitted) = asked(&api, &asker, &named, operation, request).await?;
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

/// What is to be called, once it is let through; before that, nothing of its input is read.
async fn asked(
    api: &Arc<Api>,
    asker: &Asker,
    named: &str,
    operation: String,
    request: Request,
) -> Answered<(Call, Uuid, Admitted)> {
    asker.may(Permission::Call)?;
    let (id, connection) = asker.callee(&api.host, named)?;
    let admitted = asker.admit(&api.host, Some(id))?;
    let Body(input) = Body::<Value>::from_request(request, api).await?;
    let (environment, caller) = (asker.environment.clone(), asker.caller.clone());
    Ok((Call { environment, connection, id: Some(id), operation, input, caller }, id, admitted))
}

fn known(api: &Api, asker: &Asker, named: &str) -> Result<Manifest> {
    asker.may(Permission::Call)?;
    let connection = asker.connection(&api.host, named)?;
    api.host.manifest(&api.host.book(&asker.environment)?.approval(&connection.connector)?)
}
