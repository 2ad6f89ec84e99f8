//! Caller keys: made and revoked by whoever administers the environment.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body, In, List, Page, Place},
    asker::Asker,
    problem::Answered,
    views::CallerView,
};
use crate::{
    callers::{NewKey, Permission},
    error::Kind,
    manifest::Effect,
};

/// What a key is to be good for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct NewCaller {
    pub(crate) name: String,
    pub(crate) permissions: BTreeSet<Permission>,
    /// What operations that it calls may do beside `read`.
    #[serde(default)]
    pub(crate) effects: BTreeSet<Effect>,
    /// The names of the connections that it reaches; all of the environment's unless given.
    #[serde(default)]
    pub(crate) connections: Option<Vec<String>>,
    /// RFC 3339; until it is revoked unless given.
    #[serde(default)]
    pub(crate) expires: Option<String>,
}

/// A key that was just made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct MadeCaller {
    #[serde(flatten)]
    pub(crate) caller: CallerView,
    /// What the caller shows. It is not shown again.
    pub(crate) key: String,
}

/// The caller keys of an environment.
#[utoipa::path(get, path = "/v1/callers", tag = "callers", params(Place, Page),
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = List<CallerView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asker: Asker,
    In(page): In<Page>,
) -> Answered<Json<List<CallerView>>> {
    asker.may(Permission::Administer)?;
    let all = api.host.keys(&asker.environment)?;
    Ok(Json(page.of(all.iter().map(CallerView::from).collect(), |it| it.name.clone())?))
}

/// Makes a caller key, and shows it this once.
#[utoipa::path(post, path = "/v1/callers", tag = "callers", params(Place), request_body = NewCaller,
    security(("caller-key" = ["administer"])),
    responses((status = 201, body = MadeCaller)))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<NewCaller>,
) -> Answered<(StatusCode, Json<MadeCaller>)> {
    asker.may(Permission::Administer)?;
    if asker.is_confined() {
        return Err(Kind::Denied.error("This key is for some connections only, so it makes no others.").into());
    }
    let expires = match asked.expires.as_deref().map(str::parse).transpose() {
        Ok(expires) => expires,
        Err(_) => return Err(Kind::InvalidInput.error("`expires` is to be a time as RFC 3339 writes it.").into()),
    };
    if let Some(more) = asked.effects.iter().find(|effect| !asker.allowed().allow(**effect)) {
        return Err(Kind::Denied
            .error(format!("This key may not call operations whose effect is `{}`, so it lets nobody.", more.name()))
            .into());
    }
    let (key, shown) = api.host.create_key(NewKey {
        environment: asker.environment,
        name: asked.name,
        permissions: asked.permissions,
        effects: asked.effects,
        connections: asked.connections,
        expires,
        caller: asker.caller,
    })?;
    let key_text = String::from_utf8_lossy(shown.expose()).into_owned();
    Ok((StatusCode::CREATED, Json(MadeCaller { caller: (&key).into(), key: key_text })))
}

/// Ends a caller key.
#[utoipa::path(delete, path = "/v1/callers/{name}", tag = "callers", params(Place, ("name" = String, Path)),
    security(("caller-key" = ["administer"])),
    responses((status = 204)))]
pub(super) async fn revoke(State(api): State<Arc<Api>>, asker: Asker, At(name): At<String>) -> Answered<StatusCode> {
    asker.may(Permission::Administer)?;
    api.host.revoke_key(&asker.environment, &name, &asker.caller)?;
    Ok(StatusCode::NO_CONTENT)
}
