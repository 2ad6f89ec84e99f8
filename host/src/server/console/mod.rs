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
    handler::Handler,
    http::{Method, StatusCode},
    middleware,
    response::Redirect,
    routing::{MethodRouter, get, post},
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
        let pages = pages(limits.component_bytes, limits.input_bytes).router;
        let pages = pages
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

    /// The method and the path of each page and each form, below where the console is.
    pub fn paths() -> Vec<(Method, &'static str)> {
        pages(0, 0).paths
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

/// Routes, and their list: whoever checks all of them leaves none out.
#[derive(Default)]
struct Pages {
    router: Router<Arc<Console>>,
    paths: Vec<(Method, &'static str)>,
}

impl Pages {
    fn get<T: 'static>(self, path: &'static str, page: impl Handler<T, Arc<Console>>) -> Self {
        self.with(Method::GET, path, get(page))
    }

    fn post<T: 'static>(self, path: &'static str, form: impl Handler<T, Arc<Console>>) -> Self {
        self.with(Method::POST, path, post(form))
    }

    fn with(mut self, method: Method, path: &'static str, route: MethodRouter<Arc<Console>>) -> Self {
        self.paths.push((method, path));
        Self { router: self.router.route(path, route), ..self }
    }
}

/// All of them. A connector and an operation's input may have so many bytes.
fn pages(component: u64, input: u64) -> Pages {
    let bytes = |limit: u64| {
        let most = limit.saturating_add(FORM_BYTES);
        DefaultBodyLimit::max(usize::try_from(most).unwrap_or(usize::MAX))
    };
    // Percent-encoded, three characters stand for a byte.
    let call = post(calls::call).layer(bytes(input.saturating_mul(3)));
    Pages::default()
        .get("/", overview::show)
        .get("/sign-in", sign_in::show)
        .post("/sign-in", sign_in::redeem)
        .post("/sign-out", sign_in::sign_out)
        .get("/connectors", connectors::list)
        .get("/connectors/{connector}", connectors::show)
        .post("/connectors/{connector}/isolation", connectors::isolate)
        .get("/connectors/{connector}/app", apps::ask)
        .post("/connectors/{connector}/app", apps::set)
        .get("/connectors/{connector}/remove", connectors::ask_to_remove)
        .post("/connectors/{connector}/remove", connectors::remove)
        .get("/add", connectors::ask_for_file)
        .with(Method::POST, "/add", post(connectors::look).layer(bytes(component)))
        .post("/add/approve", connectors::approve)
        .get("/connect", connect::ask)
        .post("/connect", connect::propose)
        .post("/connect/agree", connect::agree)
        .post("/connect/device", connect::poll)
        .get("/connect/back", connect::back)
        .post("/connect/back", connect::confirm)
        .get("/connections", connections::list)
        .get("/connections/{connection}", connections::show)
        .post("/connections/{connection}/check", connections::check)
        .get("/connections/{connection}/remove", connections::ask_to_remove)
        .post("/connections/{connection}/remove", connections::remove)
        .get("/connections/{connection}/operations/{operation}", calls::show)
        .with(Method::POST, "/connections/{connection}/operations/{operation}", call)
        .get("/consents", consents::list)
        .get("/consents/{connection}", consents::show)
        .get("/consents/{connection}/revoke", consents::ask_to_revoke)
        .post("/consents/{connection}/revoke", consents::revoke)
        .get("/gateways", gateways::list)
        .post("/webhooks/{name}/enable", webhooks::enable)
        .post("/webhooks/{name}/redeliver", webhooks::redeliver)
        .get("/audit", audit::show)
        .get("/assets/{name}", assets::give)
}
