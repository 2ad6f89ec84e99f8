//! The console: pages for the operator, in a browser. Whoever is on the host's own machine prints a one-time link; its session
//! is for one environment and may do there whatever the operator may.
//!
//! It asks the HTTP API, in this process, like the command line does, and decides nothing itself about what is allowed; beside
//! that it reads the audit. Every page works without scripts; with them, some look again by themselves.
//!
//! What must never happen here: something done for a browser that did not show its session, and a form that this session was
//! given; a thing of another environment on a page; a code or a secret in an address, a page or a log; text of a connector, a
//! service or a provider that is more than text.

mod apps;
mod ask;
mod asked;
mod assets;
mod audit;
mod calls;
mod charts;
mod connect;
mod connections;
mod connectors;
mod consents;
mod gate;
mod gateways;
mod input;
mod link;
mod overview;
mod session;
mod sign_in;
mod terms;
mod view;
mod webhooks;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    response::Redirect,
    routing::{get, post},
};
use url::Url;

use self::{gate::Refused, session::Sessions};
pub use self::{
    link::{LinkView, return_url},
    session::LINK_LASTS,
};
use super::consent::below;
use crate::{
    error::{Kind, Result},
    host::Host,
};

/// Beside a connector's bytes or an operation's input, a form has names, tokens and what separates them.
const FORM_BYTES: u64 = 64 << 10;

/// The pages and what stands behind them.
pub struct Console {
    /// Where browsers find the host: as its operator says, never as a request does.
    base: Url,
    /// The path that everything is below.
    root: String,
    sessions: Sessions,
    host: Arc<Host>,
    /// Asked in this process, by the operator.
    api: Router,
}

impl Console {
    /// One that browsers find below `base`. `api` has the routes of the HTTP API.
    pub fn new(base: &Url, host: Arc<Host>, api: Router) -> Arc<Self> {
        let root = below(base, "console").path().to_owned();
        Arc::new(Self { base: base.clone(), root, sessions: Sessions::default(), host, api })
    }

    /// Its pages.
    pub fn routes(self: &Arc<Self>) -> Router {
        let limits = &self.host.settings().limits.value;
        let bytes = |limit: u64| DefaultBodyLimit::max(usize::try_from(limit + FORM_BYTES).unwrap_or(usize::MAX));
        let pages = Router::new()
            .route("/", get(overview::show))
            .route("/sign-in", get(sign_in::show).post(sign_in::redeem))
            .route("/sign-out", post(sign_in::sign_out))
            .route("/connectors", get(connectors::list))
            .route("/connectors/{connector}", get(connectors::show))
            .route("/connectors/{connector}/isolation", post(connectors::isolate))
            .route("/connectors/{connector}/app", get(apps::ask).post(apps::set))
            .route("/connectors/{connector}/remove", get(connectors::ask_to_remove).post(connectors::remove))
            .route("/add", get(connectors::ask_for_file).post(connectors::look).layer(bytes(limits.component_bytes)))
            .route("/add/approve", post(connectors::approve))
            .route("/connect", get(connect::ask).post(connect::propose))
            .route("/connect/agree", post(connect::agree))
            .route("/connect/device", post(connect::poll))
            .route("/connect/back", get(connect::back).post(connect::confirm))
            .route("/connections", get(connections::list))
            .route("/connections/{connection}", get(connections::show))
            .route("/connections/{connection}/check", post(connections::check))
            .route("/connections/{connection}/remove", get(connections::ask_to_remove).post(connections::remove))
            .route(
                "/connections/{connection}/operations/{operation}",
                // Percent-encoded, three characters stand for a byte.
                get(calls::show).post(calls::call).layer(bytes(limits.input_bytes.saturating_mul(3))),
            )
            .route("/consents", get(consents::list))
            .route("/consents/{connection}", get(consents::show))
            .route("/consents/{connection}/revoke", get(consents::ask_to_revoke).post(consents::revoke))
            .route("/gateways", get(gateways::list))
            .route("/webhooks/{name}/enable", post(webhooks::enable))
            .route("/audit", get(audit::show))
            .route("/assets/{name}", get(assets::give))
            .fallback(async || Refused::from(Kind::NotFound.error("There is no such page.")))
            .method_not_allowed_fallback(async || {
                Refused::of(Kind::Usage.error("This page does not take that method."), StatusCode::METHOD_NOT_ALLOWED)
            })
            .layer(middleware::from_fn_with_state(self.clone(), gate::guard))
            .with_state(self.clone());
        let root = self.root.clone();
        let onward = async move || Redirect::permanent(&root);
        Router::new().nest(&self.root, pages).route(&format!("{}/", self.root), get(onward))
    }

    /// What makes links, for the socket: whoever asks there is the operator.
    pub fn link_routes(self: &Arc<Self>) -> Router {
        Router::new().route("/v1/console-links", post(link::create)).with_state(self.clone())
    }

    /// Checks that an environment is there.
    fn has(&self, environment: &str) -> Result<()> {
        self.host.book(environment).map(drop)
    }
}
