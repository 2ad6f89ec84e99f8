//! Apps: the operator's registrations with providers.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body, In, List, Page, Place},
    asker::Asker,
    problem::Answered,
    views::AppView,
};
use crate::{apps::AppRequest, callers::Permission, consent::app::SecretAuth, secret::Secret};

/// What an app is to be; what is left out stays as it was.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct NewApp {
    #[serde(default)]
    pub(crate) client_id: Option<String>,
    /// Which key the provider knows it by.
    #[serde(default)]
    pub(crate) key_id: Option<String>,
    /// How a client secret is shown; as the provider's metadata says unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) client_auth: Option<SecretAuth>,
    /// Where its secrets may go, beside what the connector names.
    #[serde(default)]
    pub(crate) origins: Vec<String>,
    #[serde(default)]
    pub(crate) redirect_uri: Option<String>,
    /// Parameters that belong to it and are no secrets.
    #[serde(default)]
    pub(crate) parameters: BTreeMap<String, String>,
    /// `client_secret`, `private_key`, `client_certificate` and `client_certificate_key` (PEM), and secret parameters. They
    /// are never shown again.
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, String>,
}

/// The apps.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", params(Place, Page),
    responses((status = 200, body = List<AppView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asker: Asker,
    In(page): In<Page>,
) -> Answered<Json<List<AppView>>> {
    asker.may(Permission::Administer)?;
    let all = api.host.apps(&asker.environment)?;
    Ok(Json(page.of(all.iter().map(AppView::from).collect(), |it| format!("{}/{}", it.connector, it.name))?))
}

/// The only app of a connector.
#[utoipa::path(get, path = "/v1/apps/{connector}", tag = "apps", params(Place, ("connector" = String, Path)),
    responses((status = 200, body = AppView)))]
pub(super) async fn only(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(connector): At<String>,
) -> Answered<Json<AppView>> {
    asker.may(Permission::Administer)?;
    Ok(Json((&api.host.book(&asker.environment)?.app(&connector, None)?).into()))
}

/// One app.
#[utoipa::path(get, path = "/v1/apps/{connector}/{name}", tag = "apps",
    params(Place, ("connector" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = AppView)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((connector, name)): At<(String, String)>,
) -> Answered<Json<AppView>> {
    asker.may(Permission::Administer)?;
    Ok(Json((&api.host.book(&asker.environment)?.app(&connector, Some(&name))?).into()))
}

/// Sets an app, new or over what it was.
#[utoipa::path(put, path = "/v1/apps/{connector}/{name}", tag = "apps",
    params(Place, ("connector" = String, Path), ("name" = String, Path)), request_body = NewApp,
    responses((status = 200, body = AppView)))]
pub(super) async fn set(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((connector, name)): At<(String, String)>,
    Body(asked): Body<NewApp>,
) -> Answered<Json<AppView>> {
    asker.may(Permission::Administer)?;
    let app = api.host.set_app(AppRequest {
        environment: asker.environment,
        connector,
        name: Some(name),
        client_id: asked.client_id,
        key_id: asked.key_id,
        client_auth: asked.client_auth,
        origins: asked.origins,
        redirect_uri: asked.redirect_uri,
        parameters: asked.parameters,
        secrets: asked.secrets.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
        caller: asker.caller,
    })?;
    Ok(Json((&app).into()))
}

/// Removes an app with its secrets.
#[utoipa::path(delete, path = "/v1/apps/{connector}/{name}", tag = "apps",
    params(Place, ("connector" = String, Path), ("name" = String, Path)),
    responses((status = 204)))]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((connector, name)): At<(String, String)>,
) -> Answered<StatusCode> {
    asker.may(Permission::Administer)?;
    api.host.remove_app(&asker.environment, &connector, &name, &asker.caller)?;
    Ok(StatusCode::NO_CONTENT)
}
