//! Connectors: what is approved, and how it comes to be.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body, In, List, Page, Place, Raw},
    asker::Asker,
    problem::Answered,
    proposals::What,
    views::ConnectorView,
};
use crate::{callers::Permission, consent::Isolation, digest::Digest, error::Kind};

/// A connector that was looked at.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ConnectorProposal {
    /// What to approve it with, within ten minutes.
    pub(crate) proposal: String,
    pub(crate) connector: String,
    pub(crate) version: String,
    #[schema(value_type = String)]
    pub(crate) digest: Digest,
    /// What it says of itself.
    #[schema(value_type = Object)]
    pub(crate) manifest: Value,
    /// What approving it allows.
    #[schema(value_type = Object)]
    pub(crate) terms: Value,
    /// What it would replace.
    pub(crate) upgrade: Option<Upgrade>,
}

/// What an approval replaces.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Upgrade {
    pub(crate) from_version: String,
    #[schema(value_type = String)]
    pub(crate) from_digest: Digest,
    /// What it may do that the one before may not.
    pub(crate) widened: Vec<String>,
    pub(crate) other: Vec<String>,
}

impl ConnectorProposal {
    /// Whether approving it would let a connector that is there already do more.
    pub(crate) fn widens(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| !upgrade.widened.is_empty())
    }
}

/// Which one is approved.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approve {
    /// As it was proposed.
    pub(crate) proposal: String,
    /// How its instances are kept apart; unless given, as before, and `call` for a new one.
    #[serde(default)]
    pub(crate) isolation: Option<Isolation>,
}

/// How instances are kept apart.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Isolate {
    pub(crate) isolation: Isolation,
}

/// A connector with what it said of itself when it was approved.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConnectorDetail {
    pub(crate) approval: ConnectorView,
    #[schema(value_type = Object)]
    pub(crate) manifest: Value,
}

const WHO: [Permission; 2] = [Permission::Call, Permission::Connect];

/// The connectors that are approved.
#[utoipa::path(get, path = "/v1/connectors", tag = "connectors", params(Place, Page),
    security(("caller-key" = ["call"]), ("caller-key" = ["connect"])),
    responses((status = 200, body = List<ConnectorView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asker: Asker,
    In(page): In<Page>,
) -> Answered<Json<List<ConnectorView>>> {
    asker.may_any(&WHO)?;
    let all = api.host.book(&asker.environment)?.approvals()?;
    Ok(Json(page.of(all.iter().map(ConnectorView::from).collect(), |it| it.connector.clone())?))
}

/// Looks at a connector's bytes, and says what it would be allowed.
#[utoipa::path(post, path = "/v1/connectors/proposals", tag = "connectors", params(Place),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    security(("caller-key" = ["administer"])),
    responses((status = 201, body = ConnectorProposal)))]
pub(super) async fn propose(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Raw(bytes): Raw,
) -> Answered<(StatusCode, Json<ConnectorProposal>)> {
    asker.may(Permission::Administer)?;
    let limit = api.host.settings().limits.value.component_bytes;
    if bytes.len() as u64 > limit {
        return Err(Kind::Denied
            .error(format!("It has {} bytes; a connector may have {limit}.", bytes.len()))
            .hint("Build it in release mode and stripped, or raise `limits.component-bytes` in attache.toml.")
            .into());
    }
    let it = api.host.propose_connector(&asker.environment, bytes.to_vec()).await?;
    let view = ConnectorProposal {
        proposal: String::new(),
        connector: it.manifest.name.clone(),
        version: it.manifest.version.clone(),
        digest: it.digest,
        manifest: json!(it.declared()),
        terms: json!(it.terms),
        upgrade: it.upgrade.as_ref().map(|upgrade| Upgrade {
            from_version: upgrade.from_version.clone(),
            from_digest: upgrade.from_digest,
            widened: upgrade.difference.widened.clone(),
            other: upgrade.difference.other.clone(),
        }),
    };
    let proposal = api.proposals.keep(&asker, What::Connector(Box::new(it)))?;
    Ok((StatusCode::CREATED, Json(ConnectorProposal { proposal, ..view })))
}

/// Approves what was proposed.
#[utoipa::path(post, path = "/v1/connectors/approvals", tag = "connectors", params(Place), request_body = Approve,
    security(("caller-key" = ["administer"])),
    responses((status = 201, body = ConnectorView)))]
pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<Approve>,
) -> Answered<(StatusCode, Json<ConnectorView>)> {
    asker.may(Permission::Administer)?;
    let What::Connector(proposal) = api.proposals.take(&asker, &asked.proposal)? else {
        return Err(Kind::Usage.error("That is the proposal of a connection.").into());
    };
    let approval = api.host.approve_connector(&proposal, asked.isolation, &asker.caller)?;
    Ok((StatusCode::CREATED, Json((&approval).into())))
}

/// One connector.
#[utoipa::path(get, path = "/v1/connectors/{connector}", tag = "connectors", params(Place, ("connector" = String, Path)),
    security(("caller-key" = ["call"]), ("caller-key" = ["connect"])),
    responses((status = 200, body = ConnectorDetail)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(connector): At<String>,
) -> Answered<Json<ConnectorDetail>> {
    asker.may_any(&WHO)?;
    let approval = api.host.book(&asker.environment)?.approval(&connector)?;
    Ok(Json(ConnectorDetail { approval: (&approval).into(), manifest: json!(approval.declared) }))
}

/// Chooses how a connector's instances are kept apart.
#[utoipa::path(patch, path = "/v1/connectors/{connector}", tag = "connectors", params(Place, ("connector" = String, Path)),
    request_body = Isolate,
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = ConnectorView)))]
pub(super) async fn isolate(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(connector): At<String>,
    Body(Isolate { isolation }): Body<Isolate>,
) -> Answered<Json<ConnectorView>> {
    asker.may(Permission::Administer)?;
    let approval = api.host.isolate_connector(&asker.environment, &connector, isolation, &asker.caller)?;
    Ok(Json((&approval).into()))
}

/// Removes a connector that no connection uses.
#[utoipa::path(delete, path = "/v1/connectors/{connector}", tag = "connectors", params(Place, ("connector" = String, Path)),
    security(("caller-key" = ["administer"])),
    responses((status = 204)))]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(connector): At<String>,
) -> Answered<StatusCode> {
    asker.may(Permission::Administer)?;
    api.host.remove_connector(&asker.environment, &connector, &asker.caller)?;
    Ok(StatusCode::NO_CONTENT)
}
