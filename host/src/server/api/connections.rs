//! Connections: which there are, how they come to be without a page, and how they end.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body, In, List, Page, Place},
    asker::Asker,
    problem::Answered,
    proposals::What,
    views::{ConnectProposalView, ConnectionDetail, ConnectionView, EndedView, MadeView},
};
use crate::{
    callers::Permission,
    connect::{ConnectProposal, ConnectRequest, SignedIn, find_option},
    error::{Kind, Result},
    manifest::oauth2::Grant,
    secret::Secret,
    transport::PrivateAllowed,
};

/// What a connection is to be.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct NewConnection {
    pub(crate) connector: String,
    /// The connector's unless given.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The only one there is unless given; where a connection is made good again, the one that it has.
    #[serde(default)]
    pub(crate) auth_option: Option<String>,
    /// Parameters that the connector can read.
    #[serde(default)]
    pub(crate) parameters: BTreeMap<String, String>,
    /// Those that it cannot. They are never shown again.
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, String>,
    /// The gateway that it is to go through; then the secrets are sealed, and none stands among those above. Where it is made
    /// good again, the one that it has unless given.
    #[serde(default)]
    pub(crate) gateway: Option<String>,
    /// Private addresses that it may reach, `HOST:PORT`.
    #[serde(default)]
    pub(crate) private: Vec<String>,
    #[serde(default)]
    pub(crate) app: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) grant: Option<Grant>,
    /// Beside the required ones.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// Whether the connection of that name is to be made good again: what is not given stays as it was.
    #[serde(default)]
    pub(crate) again: bool,
}

/// What is agreed to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agree {
    /// As it was proposed.
    pub(crate) proposal: String,
    /// What was typed, where it goes through a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<SealedSecrets>,
}

/// What was typed, sealed to a gateway: an object whose member `secrets` has the values by their parameters' names, each in
/// base64 (HPKE in base mode, RFC 9180). Its info is `attache gateway box 1`, its associated data the proposal's `terms`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealedSecrets {
    /// `enc`, in base64.
    pub(crate) encapsulated: String,
    /// The ciphertext, in base64.
    pub(crate) ciphertext: String,
}

/// What a check says.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Checked {
    pub(crate) connection: String,
    /// Whose it is, in the service's words.
    pub(crate) account: String,
}

const WHO: [Permission; 2] = [Permission::Call, Permission::Connect];

impl Agree {
    /// Puts what was sealed where it was proposed.
    pub(crate) fn take_sealed(self, proposal: &ConnectProposal) -> Result<()> {
        match self.sealed {
            Some(SealedSecrets { encapsulated, ciphertext }) => proposal.take_sealed(encapsulated, ciphertext),
            None => Ok(()),
        }
    }
}

impl NewConnection {
    /// What the host is asked. Secrets that are kept are added here, and go where they went.
    pub(super) fn request(self, api: &Api, asker: &Asker) -> Result<ConnectRequest> {
        let book = api.host.book(&asker.environment)?;
        let mut request = ConnectRequest {
            environment: asker.environment.clone(),
            name: self.name.unwrap_or_else(|| self.connector.clone()),
            connector: self.connector,
            option: self.auth_option.unwrap_or_default(),
            parameters: self.parameters,
            private: PrivateAllowed::parse(&self.private)?,
            gateway: self.gateway,
            app: self.app,
            grant: self.grant,
            scopes: self.scopes,
            caller: asker.caller.clone(),
            key: asker.key(),
            again: self.again,
            ..ConnectRequest::default()
        };
        if !self.private.is_empty() && asker.may(Permission::Administer).is_err() {
            return Err(Kind::Denied
                .error("Only who administers the environment allows a private address.")
                .hint("`attache connect … --allow-private` does, on the host's own machine."));
        }
        if self.again {
            let (connection, kept) = {
                let connection = asker.connection(&api.host, &request.name)?;
                api.host.reconnectable(&asker.environment, &connection.name)?
            };
            if !request.option.is_empty() && request.option != connection.option {
                return Err(Kind::Usage
                    .error(format!("The connection `{}` was made by `{}`.", connection.name, connection.option))
                    .hint("Make a new connection for another auth option."));
            }
            let manifest = api.host.manifest(&book.approval(&connection.connector)?)?;
            let option = find_option(&manifest, &connection.option)?;
            // What the connector no longer asks for is not carried along.
            let known = |name: &str, secret: bool| {
                option.parameter(name).is_some_and(|parameter| parameter.is_secret() == secret)
            };
            for (name, value) in connection.parameters.into_iter().filter(|(name, _)| known(name, false)) {
                request.parameters.entry(name).or_insert(value);
            }
            request.kept = kept.into_iter().filter(|(name, _)| known(name, true)).collect();
            request.private = connection.private.iter().chain(request.private.iter()).cloned().collect();
            request.option = connection.option;
        }
        request.secrets.extend(self.secrets.into_iter().map(|(name, value)| (name, Secret::new(value))));
        Ok(request)
    }
}

/// The connections.
#[utoipa::path(get, path = "/v1/connections", tag = "connections", params(Place, Page),
    security(("caller-key" = ["call"]), ("caller-key" = ["connect"])),
    responses((status = 200, body = List<ConnectionView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asker: Asker,
    In(page): In<Page>,
) -> Answered<Json<List<ConnectionView>>> {
    asker.may_any(&WHO)?;
    let book = api.host.book(&asker.environment)?;
    let List { items, next } = asker.connections(&book, &page)?;
    let views = items.iter().map(|it| ConnectionView::of(&api.host, &asker.environment, it));
    Ok(Json(List { items: views.collect::<Result<_>>()?, next }))
}

/// Says what making a connection would mean. Nothing is kept of it but for ten minutes, in memory.
#[utoipa::path(post, path = "/v1/connections/proposals", tag = "connections", params(Place), request_body = NewConnection,
    security(("caller-key" = ["connect"])),
    responses((status = 201, body = ConnectProposalView)))]
pub(super) async fn propose(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<NewConnection>,
) -> Answered<(StatusCode, Json<ConnectProposalView>)> {
    may_make(&asker)?;
    // What a provider or service is asked now is a call as any other.
    let _admitted = asker.admit(&api.host, None)?;
    let request = asked.request(&api, &asker)?;
    let proposal = Arc::new(api.host.propose_connection(request).await?);
    let id = api.proposals.keep(&asker, What::Connection(proposal.clone()))?;
    Ok((StatusCode::CREATED, Json(ConnectProposalView::of(id, &proposal))))
}

/// Makes a connection that was proposed and needs nobody at a page.
#[utoipa::path(post, path = "/v1/connections", tag = "connections", params(Place), request_body = Agree,
    security(("caller-key" = ["connect"])),
    responses((status = 201, body = MadeView)))]
pub(super) async fn connect(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<Agree>,
) -> Answered<(StatusCode, Json<MadeView>)> {
    may_make(&asker)?;
    let admitted = asker.admit(&api.host, None)?;
    let What::Connection(proposal) = api.proposals.take(&asker, &asked.proposal)? else {
        return Err(Kind::Usage.error("That is the proposal of a connector.").into());
    };
    if proposal.sends_away() || proposal.grant == Some(Grant::DeviceCode) {
        return Err(Kind::Usage
            .error("A person signs in for this connection.")
            .hint("Make a connect session for it.")
            .into());
    }
    asked.take_sealed(&proposal)?;
    let host = api.host.clone();
    let made = to_the_end(async move {
        let _admitted = admitted;
        host.connect(&proposal, SignedIn::Agreed).await
    });
    Ok((StatusCode::CREATED, Json(MadeView::of(&api.host, &asker.environment, made.await?)?)))
}

/// Does to its end what somebody asked for, whether or not they still wait: a token that was got is kept, or given back.
pub(super) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(Kind::Internal.error("It is not known what came of this.")))
}

/// One connection, by its name or id.
#[utoipa::path(get, path = "/v1/connections/{connection}", tag = "connections", params(Place, ("connection" = String, Path)),
    security(("caller-key" = ["call"]), ("caller-key" = ["connect"])),
    responses((status = 200, body = ConnectionDetail)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(named): At<String>,
) -> Answered<Json<ConnectionDetail>> {
    asker.may_any(&WHO)?;
    let connection = asker.connection(&api.host, &named)?;
    let book = api.host.book(&asker.environment)?;
    let captured = book.captured(connection.id)?.unwrap_or_default();
    Ok(Json(ConnectionDetail {
        connection: ConnectionView::of(&api.host, &asker.environment, &connection)?,
        consent: book.consent(connection.id)?,
        secrets: book.credential(connection.id)?.map(|it| it.secrets.into_keys().collect()).unwrap_or_default(),
        generation: connection.generation,
        granted: captured.scopes,
        expires: captured.expires.and_then(|at| Some(jiff::Timestamp::from_second(at).ok()?.to_string())),
        refused: captured.refused,
    }))
}

/// Asks the service whose the connection is.
#[utoipa::path(post, path = "/v1/connections/{connection}/check", tag = "connections", params(Place, ("connection" = String, Path)),
    security(("caller-key" = ["call"]), ("caller-key" = ["connect"])),
    responses((status = 200, body = Checked)))]
pub(super) async fn check(State(api): State<Arc<Api>>, asker: Asker, At(named): At<String>) -> Answered<Json<Checked>> {
    asker.may_any(&WHO)?;
    let connection = asker.connection(&api.host, &named)?;
    let _admitted = asker.admit(&api.host, Some(connection.id))?;
    let account = api.host.check_connection(&asker.environment, &connection.name, &asker.caller).await?;
    Ok(Json(Checked { connection: connection.name, account }))
}

/// Removes a connection with everything that belongs to it, here and at the provider.
#[utoipa::path(delete, path = "/v1/connections/{connection}", tag = "connections", params(Place, ("connection" = String, Path)),
    security(("caller-key" = ["connect"])),
    responses((status = 200, body = EndedView)))]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(named): At<String>,
) -> Answered<Json<EndedView>> {
    asker.may(Permission::Connect)?;
    let connection = asker.connection(&api.host, &named)?;
    let ended = api.host.remove_connection(&asker.environment, &connection.name, &asker.caller).await?;
    Ok(Json(ended.into()))
}

/// Whether somebody may make connections: not with a key that is for some only.
pub(super) fn may_make(asker: &Asker) -> Result<()> {
    asker.may(Permission::Connect)?;
    if asker.is_confined() {
        return Err(Kind::Denied.error("This key is for some connections only, so it makes no others."));
    }
    Ok(())
}
