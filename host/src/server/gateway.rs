//! Where gateways dial in: what they say after that is between them and [`crate::gateway`].

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, UPGRADE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::rt::TokioIo;

use super::api::Problem;
use crate::{
    error::Kind,
    gateway::{Door, PROTOCOL, ROUTE},
    host::Host,
};

/// The way in, which belongs where others can come.
pub(super) fn routes(host: Arc<Host>) -> Router {
    Router::new().route(ROUTE, get(open)).with_state(Door::new(host))
}

/// Answers 101; who it is shows in the channel that is made then.
async fn open(State(door): State<Arc<Door>>, mut request: Request) -> Result<Response, Problem> {
    let wanted = request.headers().get(UPGRADE);
    if wanted.is_none_or(|wanted| !wanted.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes())) {
        return Err(Kind::Usage
            .error("Here gateways come in, which upgrade the connection.")
            .hint("A proxy before the host must let the header `Upgrade` pass.")
            .into());
    }
    let unknown = door.let_in()?;
    let becomes = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match becomes.await {
            Ok(stream) => door.take(TokioIo::new(stream), unknown).await,
            Err(error) => tracing::debug!(%error, "a connection did not become a gateway's"),
        }
    });
    let headers = [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, HeaderValue::from_static(PROTOCOL))];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
