//! The HTTP API, `/v1`: what applications, the console and the command line ask of a host that runs. It is described by the
//! OpenAPI document that it serves, which is made of the same routes.
//!
//! Each handler says who may ask, calls [`Host`], and says what came of it. What must never happen here: a thing of another
//! environment, or of a connection that a key does not reach, told apart from one that is not there; a secret in an answer,
//! except for the key that was just made; an operator's word taken from somebody who shows a caller key.

mod apps;
mod asked;
mod asker;
mod audit;
mod callers;
mod calls;
mod connections;
mod connectors;
mod consents;
mod devices;
mod document;
mod environments;
mod gateways;
mod health;
mod later;
mod once;
mod prefer;
mod problem;
mod proposals;
mod query;
mod sessions;
mod store;
mod views;
mod webhooks;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::Uri,
    routing::{any, get},
};
use url::Url;
use utoipa::openapi::OpenApi;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

pub(crate) use self::{
    apps::{NewApp, SealedApp},
    asked::List,
    audit::Verified,
    callers::{MadeCaller, NewCaller},
    calls::PreviewView,
    connections::{Agree, Checked, NewConnection, SealedSecrets},
    connectors::{Approve, ConnectorDetail, ConnectorProposal, Isolate},
    devices::{DeviceAnswer, DeviceView},
    environments::NewEnvironment,
    gateways::{InvitedView, NewGateway},
    problem::Written,
    sessions::{Confirm, NewSession, SessionState, SessionView},
    views::{
        AppView, CallerView, ConnectProposalView, ConnectionDetail, ConnectionView, ConnectorView, EndedView,
        EnvironmentView, GatewayView, MadeView, MessageView, OperationDetail, OperationView, SealingView, WebhookView,
    },
    webhooks::{MadeWebhook, NewSecret, NewWebhook, Redeliver, RedeliveredView, WebhookTested},
};
pub use self::{
    asker::Operator,
    problem::{Problem, status_of},
    proposals::Proposals,
};
use self::{
    health::Readiness,
    later::Later,
    query::{Queries, RefuseUnknown},
};
use super::consent::ConsentServer;
use crate::{error::Kind, host::Host};

/// Where the document is.
pub const OPENAPI: &str = "/v1/openapi.json";

/// White space that somebody may put between an input's words.
const ENVELOPE: u64 = 64 * 1_024;

/// What stands behind the routes.
pub struct Api {
    pub(super) host: Arc<Host>,
    /// What is shown to people and waits for them to agree.
    pub(super) proposals: Arc<Proposals>,
    /// Where people connect; none where nobody listens.
    pub(super) pages: Option<Pages>,
    /// Calls that nobody waits for.
    later: Arc<Later>,
    readiness: Readiness,
}

/// The Consent Server, and where people go when they leave it.
pub struct Pages {
    pub(super) server: Arc<ConsentServer>,
    pub(super) return_urls: Vec<Url>,
    pub(super) confirm_within: Duration,
}

impl Pages {
    /// Of a server; people are sent to these URLs and no others, and who came back is to be confirmed within that time.
    pub fn new(server: Arc<ConsentServer>, return_urls: Vec<Url>, confirm_within: Duration) -> Self {
        Self { server, return_urls, confirm_within }
    }
}

impl Api {
    /// The API of a host.
    pub fn new(host: Arc<Host>, proposals: Arc<Proposals>, pages: Option<Pages>) -> Arc<Self> {
        Arc::new(Self { host, proposals, pages, later: Arc::default(), readiness: Readiness::new() })
    }

    /// Says from now on that the host stops.
    pub fn stop(&self) {
        self.readiness.stop();
    }

    /// Its routes. Who asks is an [`Operator`] where a layer says so, else whoever a caller key says.
    pub fn routes(self: &Arc<Self>) -> Router {
        let (router, document) = described(self.largest_component());
        // Hardly anybody asks for it.
        let router = router.route_layer((self.largest_body(), RefuseUnknown(Queries::of(&document))));
        let document = Arc::new(LazyLock::new(move || document::finished(document)));
        self.guarded(router.route(OPENAPI, get(async move || Json(OpenApi::clone(&document)))))
    }

    /// Those that one request may meet, and no description of them: to describe all takes longer than to answer.
    pub(crate) fn routes_for(self: &Arc<Self>, request: &Uri) -> Router {
        let named = request.path().split('/').nth(2).unwrap_or_default();
        let part = PARTS.iter().find(|(name, _)| *name == named).map(|(_, part)| part(self.largest_component()));
        self.guarded(Router::from(part.unwrap_or_default()).layer(self.largest_body()))
    }

    /// With what holds for all of them.
    fn guarded(self: &Arc<Self>, routes: Router<Arc<Self>>) -> Router {
        routes
            .route("/v1/{*rest}", any(async || Problem::from(Kind::NotFound.error("There is no such route."))))
            .method_not_allowed_fallback(async || problem::not_allowed())
            .with_state(self.clone())
    }

    /// What is larger is read by the one route that takes connectors.
    fn largest_body(&self) -> DefaultBodyLimit {
        let largest = self.host.settings().limits.value.input_bytes.saturating_add(ENVELOPE);
        DefaultBodyLimit::max(usize::try_from(largest).unwrap_or(usize::MAX))
    }

    fn largest_component(&self) -> usize {
        usize::try_from(self.host.settings().limits.value.component_bytes).unwrap_or(usize::MAX)
    }
}

/// Routes and their description, of one and the same list.
type Routes = OpenApiRouter<Arc<Api>>;
/// Some of them, with what their paths have behind `/v1`; nothing, where that is not in them.
type Part = (&'static str, fn(usize) -> Routes);

/// All of them. A connector may have so many bytes.
fn described(component: usize) -> (Router<Arc<Api>>, OpenApi) {
    let all = OpenApiRouter::with_openapi(document::begun());
    PARTS.iter().fold(all, |all, (_, part)| all.merge(part(component))).split_for_parts()
}

const PARTS: [Part; 14] = [
    ("", |_| part().routes(routes!(health::alive)).routes(routes!(health::ready))),
    ("connectors", |component| {
        part()
            .routes(routes!(connectors::list))
            .routes(routes!(connectors::propose).layer(DefaultBodyLimit::max(component)))
            .routes(routes!(connectors::approve))
            .routes(routes!(connectors::show, connectors::isolate, connectors::remove))
    }),
    ("apps", |_| {
        part()
            .routes(routes!(apps::list))
            .routes(routes!(apps::only))
            .routes(routes!(apps::show, apps::set, apps::remove))
            .routes(routes!(apps::seal))
    }),
    ("connections", |_| {
        part()
            .routes(routes!(connections::list, connections::connect))
            .routes(routes!(connections::propose))
            .routes(routes!(connections::show, connections::remove))
            .routes(routes!(connections::check))
            .routes(routes!(calls::operations))
            .routes(routes!(calls::operation, calls::call))
            .routes(routes!(calls::preview))
    }),
    ("device-authorizations", |_| part().routes(routes!(devices::begin)).routes(routes!(devices::ask))),
    ("calls", |_| part().routes(routes!(later::show, later::end))),
    ("consents", |_| part().routes(routes!(consents::list)).routes(routes!(consents::show, consents::revoke))),
    ("connect-sessions", |_| {
        part().routes(routes!(sessions::create)).routes(routes!(sessions::show)).routes(routes!(sessions::confirm))
    }),
    ("audit", |_| part().routes(routes!(audit::list)).routes(routes!(audit::verify))),
    ("store", |_| part().routes(routes!(store::check))),
    ("callers", |_| part().routes(routes!(callers::list, callers::create)).routes(routes!(callers::revoke))),
    ("webhooks", |_| {
        part()
            .routes(routes!(webhooks::list, webhooks::add))
            .routes(routes!(webhooks::show, webhooks::remove))
            .routes(routes!(webhooks::test))
            .routes(routes!(webhooks::enable))
            .routes(routes!(webhooks::messages))
            .routes(routes!(webhooks::redeliver))
            .routes(routes!(webhooks::rotate))
    }),
    ("gateways", |_| {
        part()
            .routes(routes!(gateways::list, gateways::invite))
            .routes(routes!(gateways::show, gateways::remove))
            .routes(routes!(gateways::remove_member))
    }),
    ("environments", |_| {
        part().routes(routes!(environments::list, environments::create)).routes(routes!(environments::remove))
    }),
];

fn part() -> Routes {
    OpenApiRouter::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_in_the_part_that_its_path_names() {
        let mut routes = 0;
        for (name, part) in PARTS {
            for path in part(1).split_for_parts().1.paths.paths.keys() {
                let named = if path.starts_with("/v1/") { path.split('/').nth(2).unwrap() } else { "" };
                assert_eq!(named, name, "{path}");
                routes += 1;
            }
        }
        assert_eq!(routes, described(1).1.paths.paths.len());
    }
}
