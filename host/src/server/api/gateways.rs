//! Gateways: who may join, which did, and whether they are connected. They are of one environment, and whoever administers it
//! lets them in.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body, In, List, Page, Place},
    asker::Asker,
    problem::Answered,
    views::{GatewayView, MemberView},
};
use crate::{callers::Permission, error::Result, gateway::Gateway};

/// What a gateway is to be called.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGateway {
    pub(crate) name: String,
    /// Whether it is another machine of a gateway that there is, and has its key.
    #[serde(default)]
    pub(crate) another: bool,
}

/// What whoever sets the gateway up is handed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct InvitedView {
    pub(crate) name: String,
    /// With which one gateway joins, once. It is not shown again.
    pub(crate) code: String,
    /// RFC 3339; then it opens nothing.
    pub(crate) until: String,
}

impl Api {
    fn gateway_view(&self, gateway: &Gateway) -> Result<GatewayView> {
        let members = gateway.members.iter().map(|member| {
            let connected = self.host.relay.connected_since(member);
            let last_contact = match connected {
                Some(_) => None,
                None => self.host.last_contact(member)?,
            };
            Ok(MemberView::of(member, connected, last_contact))
        });
        Ok(GatewayView::of(gateway, members.collect::<Result<_>>()?))
    }
}

/// The gateways of an environment. Whoever may make connections chooses among them.
#[utoipa::path(get, path = "/v1/gateways", tag = "gateways", params(Place, Page),
    security(("caller-key" = ["connect"])),
    responses((status = 200, body = List<GatewayView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asker: Asker,
    In(page): In<Page>,
) -> Answered<Json<List<GatewayView>>> {
    asker.may_any(&[Permission::Connect, Permission::Administer])?;
    let all = api.host.gateways(&asker.environment)?;
    let List { items, next } = page.of(all, |it| it.name.clone())?;
    let items = items.iter().map(|it| api.gateway_view(it)).collect::<Result<_>>()?;
    Ok(Json(List { items, next }))
}

/// Makes a code with which one machine may join, and shows it this once.
#[utoipa::path(post, path = "/v1/gateways", tag = "gateways", params(Place), request_body = NewGateway,
    security(("caller-key" = ["administer"])),
    responses((status = 201, body = InvitedView)))]
pub(super) async fn invite(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<NewGateway>,
) -> Answered<(StatusCode, Json<InvitedView>)> {
    asker.may(Permission::Administer)?;
    let invited = api.host.invite_gateway(&asker.environment, &asked.name, asked.another, &asker.caller)?;
    let code = String::from_utf8_lossy(invited.code.expose()).into_owned();
    Ok((StatusCode::CREATED, Json(InvitedView { name: asked.name, code, until: invited.until })))
}

/// One gateway.
#[utoipa::path(get, path = "/v1/gateways/{name}", tag = "gateways", params(Place, ("name" = String, Path)),
    security(("caller-key" = ["connect"])),
    responses((status = 200, body = GatewayView)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(name): At<String>,
) -> Answered<Json<GatewayView>> {
    asker.may_any(&[Permission::Connect, Permission::Administer])?;
    let gateway = api.host.gateway(&asker.environment, &name)?;
    Ok(Json(api.gateway_view(&gateway)?))
}

/// Removes a gateway: it is cut off, and not let in any longer. Connections through it say what mends them.
#[utoipa::path(delete, path = "/v1/gateways/{name}", tag = "gateways", params(Place, ("name" = String, Path)),
    security(("caller-key" = ["administer"])),
    responses((status = 204)))]
pub(super) async fn remove(State(api): State<Arc<Api>>, asker: Asker, At(name): At<String>) -> Answered<StatusCode> {
    asker.may(Permission::Administer)?;
    api.host.remove_gateway(&asker.environment, &name, None, &asker.caller)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes one machine of a gateway; the last one ends the gateway.
#[utoipa::path(delete, path = "/v1/gateways/{name}/members/{member}", tag = "gateways",
    params(Place, ("name" = String, Path), ("member" = String, Path)), security(("caller-key" = ["administer"])),
    responses((status = 204)))]
pub(super) async fn remove_member(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At((name, member)): At<(String, String)>,
) -> Answered<StatusCode> {
    asker.may(Permission::Administer)?;
    api.host.remove_gateway(&asker.environment, &name, Some(&member), &asker.caller)?;
    Ok(StatusCode::NO_CONTENT)
}
