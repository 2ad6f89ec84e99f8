//! `/mcp`: who is let in over Streamable HTTP. A key is asked for before anything is read, and once more when all of it is; the
//! SDK checks `Host` and `Origin`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
    routing::any,
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use serde_json::{Value, json};
use url::Url;

use super::{
    Client, Links, Offer, longest_message,
    streams::{self, Answer},
};
use crate::{
    error::{Error, Kind, Result},
    host::Host,
    server::{consent::below, remote::Remote},
    sync::lock,
    underway::Underway,
};

/// Who knows caller keys.
pub trait Keys: Send + Sync {
    /// What the key's holder is offered. The key itself is neither kept nor logged.
    ///
    /// # Errors
    /// `denied` where it is no key, or none any longer.
    fn offer(&self, bearer: &str) -> Result<Offer>;

    /// Whether the key of a holder who was let in is one still.
    fn stands(&self, holder: &str) -> bool;
}

/// Sessions that one key may have open; each costs memory, and they end by themselves when nothing comes for five minutes.
const MOST_SESSIONS: usize = 100;

/// The way in.
pub struct Door {
    host: Arc<Host>,
    keys: Arc<dyn Keys>,
    links: Option<Arc<dyn Links>>,
    path: String,
    config: StreamableHttpServerConfig,
    /// By holder. One key's sessions are not among another's, so that knowing a session's id is of no use.
    sessions: Mutex<HashMap<String, Arc<LocalSessionManager>>>,
    /// Answers to calls that are still to be heard.
    left: Arc<Underway>,
}

impl Door {
    /// One that clients find under `base`, as the operator says.
    pub fn new(host: Arc<Host>, keys: Arc<dyn Keys>, links: Option<Arc<dyn Links>>, base: &Url) -> Arc<Self> {
        let port = base.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
        let own = base.host_str().unwrap_or_default();
        let loopback = ["localhost", "127.0.0.1", "[::1]"];
        let names = loopback
            .map(str::to_owned)
            .into_iter()
            .chain([base[url::Position::BeforeHost..url::Position::AfterPort].to_owned()]);
        let origins = loopback
            .map(|name| format!("http://{name}:*"))
            .into_iter()
            .chain([format!("{}://{own}{port}", base.scheme())]);
        let mut config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(names)
            .with_allowed_origins(origins)
            .enforce_origin_validation();
        config.max_request_body_bytes = longest_message(&host);
        let path = below(base, "mcp").path().to_owned();
        Arc::new(Self { host, keys, links, path, config, sessions: Mutex::default(), left: Arc::default() })
    }

    /// Its route.
    pub fn routes(self: &Arc<Self>) -> Router {
        Router::new().route(&self.path, any(enter)).with_state(self.clone())
    }

    /// Returns once whoever called over HTTP has heard what came of it.
    pub async fn answered(&self) {
        self.left.none().await;
    }

    /// Ends what is under way.
    pub fn close(&self) {
        self.config.cancellation_token.cancel();
    }

    /// Returns once it is closed.
    pub(super) async fn closed(&self) {
        self.config.cancellation_token.cancelled().await;
    }

    pub(super) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// One that is offered this, wherever it speaks.
    pub(super) fn client(&self, offer: Offer) -> Client {
        Client::new(self.host.clone(), Arc::new(offer), self.links.clone())
    }

    /// What whoever asks is offered.
    fn admit(&self, headers: &HeaderMap, remote: Option<&Remote>) -> Result<Offer, Box<Response>> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, key) = given.and_then(|given| given.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            let error = Kind::Denied.error("A caller key is needed.").hint("Send it as `Authorization: Bearer KEY`.");
            return Err(Box::new(refused(&error, r#"Bearer realm="attache""#)));
        }
        self.keys.offer(key.trim()).map_err(|error| match error.kind() {
            Kind::Denied | Kind::NotFound => {
                if let Some(Err(error)) = remote.map(|remote| self.host.traffic.unknown_key(remote.0)) {
                    return Box::new(told(StatusCode::TOO_MANY_REQUESTS, &error));
                }
                Box::new(refused(&error, r#"Bearer realm="attache", error="invalid_token""#))
            }
            _ => Box::new(told(StatusCode::SERVICE_UNAVAILABLE, &error)),
        })
    }

    /// The sessions of a holder; those of holders who have none any longer are forgotten.
    fn sessions_of(&self, holder: &str) -> Arc<LocalSessionManager> {
        let mut all = lock(&self.sessions);
        all.retain(|_, sessions| {
            Arc::strong_count(sessions) > 1
                || sessions.sessions.try_read().map_or(true, |sessions| !sessions.is_empty())
        });
        all.entry(holder.to_owned()).or_default().clone()
    }
}

async fn enter(State(door): State<Arc<Door>>, request: Request) -> Response {
    if let Err(response) = door.admit(request.headers(), request.extensions().get()) {
        return *response;
    }
    let (parts, body) = request.into_parts();
    let Ok(message) = to_bytes(body, door.config.max_request_body_bytes).await else { return too_large() };
    // It may have been held back for long.
    let offer = match door.admit(&parts.headers, parts.extensions.get()) {
        Ok(offer) => Arc::new(offer),
        Err(response) => return *response,
    };
    let answer = Answer::among(&door.left);
    let sessions = door.sessions_of(&offer.holder);
    let may_open_one = parts.method == Method::POST && !parts.headers.contains_key("mcp-session-id");
    if may_open_one && sessions.sessions.read().await.len() >= MOST_SESSIONS && opens_session(&message) {
        return full();
    }
    let request = handed_on(Request::from_parts(parts, Body::from(message)), &offer, &answer);
    let holder = offer.holder.clone();
    let client = Client::new(door.host.clone(), offer, door.links.clone());
    let service = StreamableHttpService::new(move || Ok(client.clone()), sessions, door.config.clone());
    let mut response = service.handle(request).await.map(Body::new);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    streams::end_with_key(response, &door.host, &door.keys, holder, answer)
}

/// What the SDK is given, and may log, keep or show to whoever handles a message: who asks, and not with which key.
fn handed_on(mut request: Request, offer: &Arc<Offer>, answer: &Answer) -> Request {
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(offer.clone());
    request.extensions_mut().insert(answer.clone());
    request
}

/// Whether a message opens a session: clients of 2026-07-28 have none and send no header either.
fn opens_session(message: &[u8]) -> bool {
    serde_json::from_slice::<Value>(message).unwrap_or_default()["method"] == "initialize"
}

fn too_large() -> Response {
    told(StatusCode::PAYLOAD_TOO_LARGE, &Kind::InvalidInput.error("The message is larger than this host takes."))
}

fn full() -> Response {
    let error = Kind::RateLimited
        .error(format!("This key has {MOST_SESSIONS} sessions open."))
        .hint("End those that are not needed (DELETE); they end by themselves after five minutes without a message.");
    told(StatusCode::TOO_MANY_REQUESTS, &error.retry_after(60))
}

fn refused(error: &Error, challenge: &'static str) -> Response {
    let mut response = told(StatusCode::UNAUTHORIZED, error);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

fn told(status: StatusCode, error: &Error) -> Response {
    let mut response = (status, Json(json!({ "error": error.to_json() }))).into_response();
    if let Some(seconds) = error.wait() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Effects;

    #[test]
    fn what_is_handed_on_says_who_asks_and_not_with_which_key() {
        let request = Request::post("/mcp").header("x-other", "stays").header(AUTHORIZATION, "Bearer canary");
        let mut request = request.body(Body::empty()).unwrap();
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static("Bearer canary"));
        let offer = Arc::new(Offer {
            environment: "default".into(),
            connections: None,
            effects: Effects::read(),
            caller: "key:agent".into(),
            holder: "agent".into(),
        });
        let request = handed_on(request, &offer, &Answer::among(&Arc::default()));
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
        assert_eq!(request.headers()["x-other"], "stays");
        assert_eq!(request.extensions().get::<Arc<Offer>>().unwrap().caller, "key:agent");
    }
}
