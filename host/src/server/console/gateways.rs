//! Gateways: which joined, which are connected, and when the others were last heard of.

use askama::Template;
use axum::http::StatusCode;

use super::{
    gate::{Shown, Visitor},
    view::Frame,
};
use crate::server::{api::GatewayView, page::html};

#[derive(Template)]
#[template(path = "console/gateways.html")]
struct List {
    frame: Frame,
    gateways: Vec<GatewayView>,
    more: bool,
}

/// All of them.
pub(super) async fn list(visitor: Visitor) -> Shown {
    let (gateways, more) = visitor.list::<GatewayView>(&["gateways"]).await?;
    Ok(html(StatusCode::OK, &List { frame: visitor.frame("Gateways"), gateways, more }))
}
