//! The control plane, under `/simulate/`: what a test or an author does to the provider, which no client would.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State as Extract,
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    script::Act,
    serve::Shared,
    settings::{Change, Settings},
};
use crate::sync::lock;

type Refused = (StatusCode, Json<Value>);
type Answer = Result<Json<Value>, Refused>;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(index))
        .route("/simulate/log", get(log))
        .route("/simulate/counts", get(counts))
        .route("/simulate/clock", get(clock).post(advance))
        .route("/simulate/settings", get(settings).post(change))
        .route("/simulate/next", post(next))
        .route("/simulate/held", get(held))
        .route("/simulate/release", post(release))
}

/// For whoever opens it in a browser.
const INDEX: &str = "\
A simulated provider of OAuth 2.0. Nothing here is real.

GET  /.well-known/oauth-authorization-server, /.well-known/openid-configuration, /.well-known/oauth-protected-resource
GET  /authorize    POST /token, /refresh, /device_authorization, /revoke, /register    GET /device
GET  /api/me, /api/items, /api/admin    GET or POST /api/echo
GET  /simulate/log, /simulate/counts, /simulate/clock, /simulate/settings, /simulate/held
POST /simulate/clock, /simulate/settings, /simulate/next, /simulate/release
";

async fn index() -> &'static str {
    INDEX
}

async fn log(Extract(shared): Extract<Arc<Shared>>) -> Json<Value> {
    Json(json!(lock(&shared.state).log.entries()))
}

async fn counts(Extract(shared): Extract<Arc<Shared>>) -> Json<Value> {
    Json(json!(lock(&shared.state).log.counts()))
}

async fn clock(Extract(shared): Extract<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "now": lock(&shared.state).clock.now().as_secs_f64() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    /// In seconds.
    advance: u32,
}

async fn advance(Extract(shared): Extract<Arc<Shared>>, body: Bytes) -> Answer {
    let Advance { advance } = read(&body)?;
    let mut state = lock(&shared.state);
    state.clock.advance(Duration::from_secs(advance.into()));
    Ok(Json(json!({ "now": state.clock.now().as_secs_f64() })))
}

async fn settings(Extract(shared): Extract<Arc<Shared>>) -> Json<Value> {
    Json(shown(&lock(&shared.state).settings))
}

async fn change(Extract(shared): Extract<Arc<Shared>>, body: Bytes) -> Answer {
    let change: Change = read(&body)?;
    let mut state = lock(&shared.state);
    let changed = state.settings.clone().apply(change).map_err(|error| refused(error.message()))?;
    changed.agree_with_tls(state.elsewhere.is_some()).map_err(|error| refused(error.message()))?;
    state.settings = changed.clone();
    state.clients.follow(&changed);
    Ok(Json(shown(&changed)))
}

async fn next(Extract(shared): Extract<Arc<Shared>>, body: Bytes) -> Answer {
    let act: Act = read(&body)?;
    lock(&shared.state).script.add(act).map_err(|sentence| refused(&sentence))?;
    Ok(Json(json!({})))
}

async fn held(Extract(shared): Extract<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "held": shared.held() }))
}

async fn release(Extract(shared): Extract<Arc<Shared>>) -> Json<Value> {
    shared.release();
    Json(json!({}))
}

fn shown(settings: &Settings) -> Value {
    let mut shown = json!(settings);
    shown["approve"] = (settings.decision == Some(true)).into();
    shown["deny"] = (settings.decision == Some(false)).into();
    shown
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| refused(&format!("This cannot be used: {error}.")))
}

fn refused(sentence: &str) -> Refused {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": sentence })))
}
