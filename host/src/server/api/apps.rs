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
    views::{AppView, SealingView},
};
use crate::{
    apps::AppRequest,
    callers::Permission,
    consent::{SealedBox, app::SecretAuth},
    secret::Secret,
};

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
    /// The gateway that alone is to have them; then they are sealed, and none stands among those above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<String>,
    /// See `gateway`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<SealedApp>,
}

/// What an app has, sealed to a gateway: as for a connection, with the info `attache gateway app 1`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealedApp {
    /// The terms that the host gave, byte by byte.
    pub(crate) terms: String,
    /// `enc`, in base64.
    pub(crate) encapsulated: String,
    /// The ciphertext, in base64.
    pub(crate) ciphertext: String,
}

impl NewApp {
    fn request(self, asker: Asker, connector: String, name: String) -> AppRequest {
        AppRequest {
            environment: asker.environment,
            connector,
            name: Some(name),
            client_id: self.client_id,
            key_id: self.key_id,
            client_auth: self.client_auth,
            origins: self.origins,
            redirect_uri: self.redirect_uri,
            parameters: self.parameters,
            secrets: self.secrets.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
            gateway: self.gateway,
            sealed: self.sealed.map(|SealedApp { terms, encapsulated, ciphertext }| SealedBox {
                terms,
                encapsulated,
                sealed: ciphertext,
            }),
            caller: asker.caller,
        }
    }
}

/// The apps.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", params(Place, Page),
    security(("caller-key" = ["administer"])),
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
    security(("caller-key" = ["administer"])),
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
    security(("caller-key" = ["administer"])),
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
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = AppView)))]
pub(super) async fn set(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((connector, name)): At<(String, String)>,
    Body(asked): Body<NewApp>,
) -> Answered<Json<AppView>> {
    asker.may(Permission::Administer)?;
    let app = api.host.set_app(asked.request(asker, connector, name))?;
    Ok(Json((&app).into()))
}

/// Says what the secrets of an app would be sealed to, and for what. Nothing is kept of it.
#[utoipa::path(post, path = "/v1/apps/{connector}/{name}/sealing", tag = "apps",
    params(Place, ("connector" = String, Path), ("name" = String, Path)), request_body = NewApp,
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = SealingView)))]
pub(super) async fn seal(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((connector, name)): At<(String, String)>,
    Body(asked): Body<NewApp>,
) -> Answered<Json<SealingView>> {
    asker.may(Permission::Administer)?;
    let (gateway, terms) = api.host.propose_app(asked.request(asker, connector, name))?;
    Ok(Json(SealingView { gateway: gateway.name, key: gateway.key, terms: terms.text()? }))
}

/// Removes an app with its secrets.
#[utoipa::path(delete, path = "/v1/apps/{connector}/{name}", tag = "apps",
    params(Place, ("connector" = String, Path), ("name" = String, Path)),
    security(("caller-key" = ["administer"])),
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
