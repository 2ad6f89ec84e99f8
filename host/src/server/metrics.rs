//! `/metrics`: on the operator's socket, and on a listener of its own where the operator says so. The numbers are of all
//! environments together, so that no caller key, which is of one, opens them; the public listener knows no such route.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::api::Problem;
use crate::{error::Kind, host::Host};

/// The text form of OpenMetrics 1.0, which Prometheus reads.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Its route.
pub(super) fn routes(host: Arc<Host>) -> Router {
    Router::new().route("/metrics", get(show)).with_state(host)
}

async fn show(State(host): State<Arc<Host>>) -> Response {
    // Connections are counted in the store.
    let metrics = tokio::task::spawn_blocking(move || host.metrics()).await;
    match metrics.unwrap_or_else(|_| Err(Kind::Internal.error("The metrics were given up."))) {
        Ok(metrics) => (StatusCode::OK, [(CONTENT_TYPE, OPENMETRICS)], metrics).into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}
