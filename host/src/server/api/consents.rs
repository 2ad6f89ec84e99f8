//! Consents: what account owners agreed to, and taking it back.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{
    Api,
    asked::{At, In, List, Page, Place},
    asker::Asker,
    problem::Answered,
    views::EndedView,
};
use crate::{
    callers::Permission,
    error::{Kind, Result},
};

/// The consents, the revoked ones too.
#[utoipa::path(get, path = "/v1/consents", tag = "consents", params(Place, Page),
    security(("caller-key" = ["connect"])),
    responses((status = 200, body = List<Value>)))]
pub(super) async fn list(State(api): State<Arc<Api>>, asker: Asker, In(page): In<Page>) -> Answered<Json<List<Value>>> {
    asker.may(Permission::Connect)?;
    let book = api.host.book(&asker.environment)?;
    // Each is of a connection that is there, and is removed with it.
    let List { items, next } = asker.connections(&book, &page)?;
    let consents = items.iter().filter_map(|it| book.consent(it.id).transpose());
    Ok(Json(List { items: consents.map(|it| Ok(json!(it?))).collect::<Result<_>>()?, next }))
}

/// The consent to one connection.
#[utoipa::path(get, path = "/v1/consents/{connection}", tag = "consents", params(Place, ("connection" = String, Path)),
    security(("caller-key" = ["connect"])),
    responses((status = 200, body = Value)))]
pub(super) async fn show(State(api): State<Arc<Api>>, asker: Asker, At(named): At<String>) -> Answered<Json<Value>> {
    asker.may(Permission::Connect)?;
    let connection = asker.connection(&api.host, &named)?;
    let consent =
        api.host.book(&asker.environment)?.consent(connection.id)?.ok_or_else(|| {
            Kind::NotFound.error(format!("There is no consent to the connection `{}`.", connection.name))
        })?;
    Ok(Json(json!(consent)))
}

/// Takes a consent back: its secrets are deleted here, and the provider is told.
#[utoipa::path(delete, path = "/v1/consents/{connection}", tag = "consents", params(Place, ("connection" = String, Path)),
    security(("caller-key" = ["connect"])),
    responses((status = 200, body = EndedView)))]
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(named): At<String>,
) -> Answered<Json<EndedView>> {
    asker.may(Permission::Connect)?;
    let connection = asker.connection(&api.host, &named)?;
    let ended = api.host.revoke_consent(&asker.environment, &connection.name, &asker.caller).await?;
    Ok(Json(ended.into()))
}
