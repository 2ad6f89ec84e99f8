//! The audit, as far as it is the asker's.

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    asked::{In, Page, Place},
    asker::Asker,
    problem::Answered,
};
use crate::{audit, callers::Permission, error::Kind};

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Lines {
    /// Only of the connection of this name.
    connection: Option<String>,
    /// Only of this event.
    event: Option<String>,
    /// Only from then on; RFC 3339.
    since: Option<String>,
    /// Only those before the line of this number (`seq`): the first of a page, for the page before it.
    before: Option<u64>,
}

/// What a check of the whole audit says.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Verified {
    /// How many lines there are, all as they were written.
    pub(crate) lines: u64,
}

/// The newest lines, the newest last.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Place, Lines, ("limit" = Option<usize>, Query)),
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = Vec<Value>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asker: Asker,
    In(lines): In<Lines>,
    In(page): In<Page>,
) -> Answered<Json<Vec<Value>>> {
    asker.may(Permission::Administer)?;
    api.host.book(&asker.environment)?;
    let since = match lines.since.as_deref().map(str::parse::<Timestamp>).transpose() {
        Ok(since) => since,
        Err(_) => return Err(Kind::Usage.error("`since` is to be a time as RFC 3339 writes it.").into()),
    };
    let filter = audit::Filter {
        environment: Some(asker.environment.clone()),
        connection: lines.connection,
        event: lines.event,
        since,
        before: lines.before,
        limit: page.limit()?,
        of_host: asker.is_operator(),
    };
    // The end of a call that was answered a moment ago is among the lines.
    api.host.audit.settle();
    Ok(Json(audit::read(&api.host.audit_path(), &filter)?))
}

/// Checks that the audit is as it was written.
#[utoipa::path(post, path = "/v1/audit/verification", tag = "audit",
    security(("caller-key" = ["operator"])),
    responses((status = 200, body = Verified)))]
pub(super) async fn verify(State(api): State<Arc<Api>>, asker: Asker) -> Answered<Json<Verified>> {
    asker.must_be_operator()?;
    Ok(Json(Verified { lines: api.host.verify_audit()? }))
}
