//! The socket in the data directory. Whoever can open it is the user that the host runs as, who could read the key file as well;
//! it is JSON over HTTP, versioned by its path.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State, connect_info::Connected},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
    serve::IncomingStream,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use url::Url;

use super::consent::{Asked, ConsentServer, LASTS};
use crate::{
    connect::{CONFIRM_WITHIN, ConnectRequest},
    error::{Error, Kind, Result},
    host::Host,
    text,
    transport::PrivateAllowed,
};

/// Where the socket of a data directory is.
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("attache.sock")
}

/// Where sessions are opened.
pub const SESSIONS: &str = "/v1/connect-sessions";
/// Where they are confirmed.
pub const CONFIRM: &str = "/v1/connect-sessions/confirm";

/// Whom a caller wants to connect something.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenSession {
    /// The environment's name.
    pub environment: String,
    /// The connector's name.
    pub connector: String,
    /// The connection's name.
    pub name: String,
    /// The auth option's id; empty where there is only one.
    #[serde(default)]
    pub option: String,
    /// Parameters that are not secret.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Private addresses that the operator allows.
    #[serde(default)]
    pub private: Vec<String>,
    /// Which of the operator's apps.
    #[serde(default)]
    pub app: Option<String>,
    /// Scopes beside the required ones.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether it is to be made good again.
    #[serde(default)]
    pub again: bool,
    /// Who it is for; the caller authenticates that person when they come back.
    pub owner: String,
    /// Where they go then; one that the host was started with.
    pub return_url: Url,
    /// Goes along to there as `state`.
    #[serde(default)]
    pub state: Option<String>,
    /// Who asks.
    pub caller: String,
}

/// Who came back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The environment's name.
    pub environment: String,
    /// As it came with the browser.
    pub code: String,
    /// Whom the caller has authenticated.
    pub owner: String,
    /// Who asks.
    pub caller: String,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    is_owner: bool,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let ours = rustix::process::getuid().as_raw();
        // The file's mode keeps others out already; root may be there, who needs no socket.
        Self { is_owner: stream.io().peer_cred().is_ok_and(|peer| peer.uid() == ours) }
    }
}

/// What stands behind the socket.
pub(super) struct Control {
    host: Arc<Host>,
    consent: Arc<ConsentServer>,
    return_urls: Vec<Url>,
}

impl Control {
    pub(super) fn new(host: Arc<Host>, consent: Arc<ConsentServer>, return_urls: Vec<Url>) -> Arc<Self> {
        Arc::new(Self { host, consent, return_urls })
    }

    pub(super) fn routes(self: &Arc<Self>) -> Router {
        Router::new().route(SESSIONS, post(open)).route(CONFIRM, post(confirm)).with_state(self.clone())
    }

    async fn open(&self, session: OpenSession) -> Result<Value> {
        if session.owner.is_empty() || session.owner.len() > 200 {
            return Err(Kind::Usage.error("An owner has 1 to 200 bytes."));
        }
        if !self.return_urls.contains(&session.return_url) {
            return Err(Kind::Denied
                .error(format!(
                    "People are not sent to {}, which the host was not told of.",
                    text::foreign(session.return_url.as_str(), 200)
                ))
                .hint("Start it with `attache serve --return-url URL`; the URL must be the very same."));
        }
        let request = ConnectRequest {
            environment: session.environment,
            connector: session.connector,
            name: session.name,
            option: session.option,
            parameters: session.parameters,
            private: PrivateAllowed::parse(&session.private)?,
            app: session.app,
            scopes: session.scopes,
            again: session.again,
            caller: session.caller,
            ..ConnectRequest::default()
        };
        let proposal = self.host.propose_connection(request).await?;
        if !proposal.sends_away() {
            return Err(Kind::Usage
                .error("There is no page of a provider that a person could be sent to for this.")
                .hint("Links are for auth options that begin with an authorization code (OAuth 2.0) or a visit."));
        }
        let mut return_url = session.return_url;
        if let Some(state) = session.state {
            return_url.query_pairs_mut().append_pair("state", &state);
        }
        let asked = Asked { proposal: Arc::new(proposal), owner: Some(session.owner), return_url: Some(return_url) };
        let link = self.consent.open(asked)?;
        Ok(json!({ "link": link, "lasts": LASTS.as_secs(), "confirm-within": CONFIRM_WITHIN.as_secs() }))
    }

    async fn confirm(&self, confirm: Confirm) -> Result<Value> {
        let Confirm { environment, code, owner, caller } = confirm;
        let made = self.host.confirm(&environment, &code, &owner, &caller).await?;
        let connection = made.connection;
        Ok(json!({ "name": connection.name, "account": connection.account, "withheld": made.withheld }))
    }
}

async fn open(
    State(control): State<Arc<Control>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(session): Json<OpenSession>,
) -> Response {
    answer(peer, control.open(session)).await
}

async fn confirm(
    State(control): State<Arc<Control>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(asked): Json<Confirm>,
) -> Response {
    answer(peer, control.confirm(asked)).await
}

async fn answer(peer: Peer, work: impl Future<Output = Result<Value>>) -> Response {
    let outcome = match peer.is_owner {
        true => work.await,
        false => Err(Kind::Denied.error("The host answers the user that it runs as, and nobody else.")),
    };
    match outcome {
        Ok(json) => Json(json).into_response(),
        Err(error) => (status(&error), Json(json!({ "error": error.to_json() }))).into_response(),
    }
}

fn status(error: &Error) -> StatusCode {
    match error.kind().exit_code() {
        2 => StatusCode::BAD_REQUEST,
        3 => StatusCode::NOT_FOUND,
        4 | 5 => StatusCode::FORBIDDEN,
        6 | 7 => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
