//! Connect sessions: a link with which one person connects one account, and what came of it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Pages,
    asked::{At, Body, In, Place},
    asker::Asker,
    connections::{Agree, NewConnection, may_make, to_the_end},
    prefer::Prefer,
    problem::{Answered, Written, status_of},
    proposals::What,
    views::MadeView,
};
use crate::{
    callers::Permission,
    connect::Beginning,
    error::{Kind, Result},
    origin::Origin,
    server::{
        consent::{Asked, LASTS, Progress},
        way_back,
    },
    text,
};

/// Whom a caller wants to connect something.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct NewSession {
    /// What they are to connect, as far as it is known; or, in its place, `agreed`. Where a parameter is missing, or nobody is sent
    /// to a page of the provider's, the link begins with a form for what is not given, and takes no secrets from whoever makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<NewConnection>,
    /// What was proposed already, where something was sealed for it to a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agreed: Option<Agree>,
    /// Who it is for; the caller authenticates that person when they come back.
    pub(crate) owner: String,
    /// Where they go then, with `attache_code`: one that the host was started with.
    #[schema(value_type = String)]
    pub(crate) return_url: Url,
    /// Goes along to there.
    #[serde(default)]
    pub(crate) state: Option<String>,
}

/// A link that was made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SessionView {
    /// For [`show`].
    pub(crate) id: String,
    /// Where the person goes. Whoever has it may use it once, so it is for that person alone.
    pub(crate) link: String,
    /// Seconds.
    pub(crate) lasts: u64,
    /// Seconds that there are to confirm who came back.
    pub(crate) confirm_within: u64,
}

/// How far a person is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SessionState {
    /// `open`, `begun`, `came-back` (with what is to be confirmed), `failed`, or `gone`: run out, or never there.
    pub(crate) state: String,
    /// Why nothing came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<Written>,
}

/// What the caller knows already.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Known {
    /// The state that it had when the caller looked last: with `Prefer: wait=N`, another is answered at once.
    state: Option<String>,
}

/// A `state` may have so many bytes: it goes along in the query of a URL.
const STATE_BYTES: usize = 2_000;

/// Who came back.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirm {
    /// As it came with the browser.
    pub(crate) code: String,
    /// Whom the caller has authenticated.
    pub(crate) owner: String,
}

/// Makes a link with which one person connects one account: they type what is not given, see what it means, and
/// agree. How it ends is told as `session.ended` to webhooks that want to know.
#[utoipa::path(post, path = "/v1/connect-sessions", tag = "connect-sessions", params(Place), request_body = NewSession,
    security(("caller-key" = ["connect"])),
    responses((status = 201, body = SessionView)))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<NewSession>,
) -> Answered<(StatusCode, Json<SessionView>)> {
    may_make(&asker)?;
    let pages = pages(&api)?;
    if asked.owner.is_empty() || asked.owner.len() > 200 {
        return Err(Kind::Usage.error("An owner has 1 to 200 bytes.").into());
    }
    if asked.state.as_ref().is_some_and(|state| state.len() > STATE_BYTES) {
        return Err(Kind::Usage.error(format!("A state has {STATE_BYTES} bytes at most.")).into());
    }
    if !may_return(pages, &asker, &asked.return_url)? {
        return Err(Kind::Denied
            .error(format!(
                "People are not sent to {}, which the host was not told of.",
                text::foreign(asked.return_url.as_str(), 200)
            ))
            .hint("Start it with `attache serve --return-url URL`; the URL must be the very same.")
            .into());
    }
    let _admitted = asker.admit(&api.host, None)?;
    let mut return_url = asked.return_url;
    if let Some(state) = asked.state {
        return_url.query_pairs_mut().append_pair("state", &state);
    }
    let proposal = match (asked.connection, asked.agreed) {
        (Some(connection), None) => match api.host.begin_link(connection.request(&api, &asker)?)? {
            Beginning::Terms(request) => Arc::new(api.host.propose_connection(*request).await?),
            Beginning::Form(blank) => return made(pages, pages.server.open_form(*blank, asked.owner, return_url)?),
        },
        (None, Some(agreed)) => {
            let What::Connection(proposal) = api.proposals.take(&asker, &agreed.proposal)? else {
                return Err(Kind::Usage.error("That is not the proposal of a connection.").into());
            };
            agreed.take_sealed(&proposal)?;
            if !proposal.sends_away() {
                return Err(Kind::Usage
                    .error("There is no page of a provider that a person could be sent to for this.")
                    .hint("What was proposed is connected without a link; a link for it is asked for by `connection`, and asks its person.")
                    .into());
            }
            proposal
        }
        _ => {
            return Err(Kind::Usage
                .error("A session is for a connection, or for what was proposed: one of `connection` and `agreed`.")
                .into());
        }
    };
    let asked = Asked { proposal, owner: Some(asked.owner), return_url: Some(return_url) };
    made(pages, pages.server.open(asked)?)
}

fn made(pages: &Pages, (id, link): (String, Url)) -> Answered<(StatusCode, Json<SessionView>)> {
    let (lasts, confirm_within) = (LASTS.as_secs(), pages.confirm_within.as_secs());
    Ok((StatusCode::CREATED, Json(SessionView { id, link: link.to_string(), lasts, confirm_within })))
}

/// How far a person is with a link. `Prefer: wait=N` waits so many seconds for them to get further.
#[utoipa::path(get, path = "/v1/connect-sessions/{id}", tag = "connect-sessions",
    params(Place, Known, ("id" = String, Path), ("Prefer" = Option<String>, Header, description = "`wait=N` (RFC 7240)")),
    security(("caller-key" = ["connect"])),
    responses((status = 200, body = SessionState)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(id): At<String>,
    In(known): In<Known>,
    prefer: Prefer,
) -> Answered<Response> {
    may_make(&asker)?;
    let (server, holder) = (&pages(&api)?.server, asker.holder());
    let further = server.further(&id, &holder, &asker.environment, known.state.as_deref());
    let further = async {
        tokio::select! { progress = further => Some(progress), () = api.readiness.stopped() => None }
    };
    let progress = match tokio::time::timeout(prefer.patience(), further).await {
        Ok(Some(progress)) => progress,
        _ => server.progress(&id, &holder, &asker.environment),
    };
    asker.still(&api.host)?;
    let state = progress.name();
    let problem = match progress {
        Progress::Failed(error) => Some(Written::of(&error, status_of(error.kind()))),
        _ => None,
    };
    let mut response = Json(SessionState { state: state.into(), problem }).into_response();
    prefer.note(false, response.headers_mut());
    Ok(response)
}

/// Makes the connection of somebody who came back.
#[utoipa::path(post, path = "/v1/connect-sessions/confirmations", tag = "connect-sessions", params(Place), request_body = Confirm,
    security(("caller-key" = ["connect"])),
    responses((status = 201, body = MadeView)))]
pub(super) async fn confirm(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<Confirm>,
) -> Answered<(StatusCode, Json<MadeView>)> {
    may_make(&asker)?;
    let admitted = asker.admit(&api.host, None)?;
    to_the_end(async move {
        let _admitted = admitted;
        let made = api.host.confirm(&asker.environment, &asked.code, &asked.owner, &asker.caller, asker.key()).await?;
        Ok((StatusCode::CREATED, Json(MadeView::of(&api.host, &asker.environment, made)?)))
    })
    .await
    .map_err(Into::into)
}

fn pages(api: &Api) -> Result<&Pages> {
    api.pages.as_ref().ok_or_else(|| {
        Kind::Usage.error("Nobody serves pages for people.").hint("Start the host with `attache serve`.")
    })
}

/// One that the host was told of; for who administers also their own machine, where a command waits (RFC 8252, 7.3).
fn may_return(pages: &Pages, asker: &Asker, url: &Url) -> Result<bool> {
    if pages.return_urls.contains(url) {
        return Ok(true);
    }
    let is_here = asker.may(Permission::Administer).is_ok() && url.scheme() == "http" && Origin::of(url)?.is_loopback();
    if is_here {
        way_back::refuse_unfit(url)?;
    }
    Ok(is_here)
}
