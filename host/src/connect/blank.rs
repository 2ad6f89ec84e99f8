//! What a connection can be judged by before everything is typed for it, and what is left to type: whoever makes a link gives
//! what they know, and the person who opens it types the rest.
//!
//! What must never happen here: a secret that somebody else gave, or that is stored, goes where the typing sends it; what whoever
//! made the link gave is replaced by what is typed.

use std::{collections::BTreeMap, sync::Arc};

use url::Url;
use uuid::Uuid;

use super::{
    ConnectProposal, ConnectRequest, apps::Seeking, changes::approved_still, find_option, gateways,
    keep::unchanged_before, provider,
};
use crate::{
    call, callers,
    consent::{self, Approval, Book, Connection, Discovered, now},
    error::{Error, Kind, Result},
    gateway::Gateway,
    host::{Host, Loaded},
    manifest::{AuthOption, Parameter, Values, oauth2::Grant},
    secret::Secret,
    text,
};

/// How a link begins.
pub enum Beginning {
    /// With what is to be agreed to: nothing is left to type, and a person is sent to a page of the provider's.
    Terms(Box<ConnectRequest>),
    /// With a form.
    Form(Box<Blank>),
}

/// A connection of which something is left to type, or nothing but to agree.
pub struct Blank {
    /// The approval that it was judged by.
    pub approval: Approval,
    /// The account it was for before, when it is made good again.
    pub account_before: Option<String>,
    /// Scopes that will be asked for, each with the connector's words for it, where that does not depend on what is typed.
    pub scopes: Vec<(String, Option<String>)>,
    /// Without a secret.
    request: ConnectRequest,
    /// As far as it is known.
    connection: Connection,
    /// See [`consent::Drafted::revoked_before`].
    revoked_before: Option<String>,
    grant: Option<Grant>,
    /// Where the app wants people sent back to, where it is known which one it is.
    redirect_uri: Option<Url>,
    holder: String,
    loaded: Arc<Loaded>,
}

/// What a person typed.
#[derive(Debug, Default)]
pub struct Answers {
    /// Parameters that are not secret; one that has several values has one on each line.
    pub parameters: BTreeMap<String, String>,
    /// Those that are.
    pub secrets: BTreeMap<String, Secret>,
}

impl Answers {
    /// How much that is.
    pub fn bytes(&self) -> usize {
        let public = self.parameters.values().map(String::len).sum::<usize>();
        public + self.secrets.values().map(Secret::len).sum::<usize>()
    }
}

/// What is known of a connection before it is looked at what is typed for it.
pub(super) struct Ground<'a> {
    pub(super) book: Book<'a>,
    /// What has that name already, and is to be made good again.
    pub(super) before: Option<Connection>,
    pub(super) approval: Approval,
    pub(super) loaded: Arc<Loaded>,
    pub(super) gateway: Option<Gateway>,
}

impl Ground<'_> {
    /// The connection as it would be kept with these parameters; its app, its account and what its provider says of itself are
    /// not known yet.
    pub(super) fn connection(
        &self,
        request: &ConnectRequest,
        option: &AuthOption,
        parameters: BTreeMap<String, String>,
    ) -> Connection {
        let before = self.before.as_ref();
        Connection {
            id: before.map_or_else(Uuid::new_v4, |before| before.id),
            name: request.name.clone(),
            connector: self.approval.connector.clone(),
            option: option.id.clone(),
            parameters,
            private: request.private.clone(),
            gateway: self.gateway.as_ref().map(gateways::agreed),
            app: None,
            discovered: Discovered::default(),
            account: String::new(),
            owner: before.and_then(|before| before.owner.clone()),
            generation: before.map_or(1, |before| before.generation + 1),
            created: before.map_or_else(now, |before| before.created.clone()),
        }
    }

    /// The app that is named, or that it was connected through before.
    pub(super) fn app_named<'r>(&'r self, request: &'r ConnectRequest) -> Option<&'r str> {
        request.app.as_deref().or(self.before.as_ref().and_then(|before| before.app.as_deref()))
    }

    /// What the owner of what is there agreed to.
    pub(super) fn consent_before(&self) -> Result<Option<consent::Consent>> {
        self.before.as_ref().map_or(Ok(None), |before| self.book.consent(before.id))
    }
}

impl Host {
    /// Checks what does not depend on what is typed: the names, the connector's approval, the auth option and the gateway.
    pub(super) fn ground(&self, request: &ConnectRequest) -> Result<Ground<'_>> {
        let book = self.book(&request.environment)?;
        consent::proper_name(&request.name)?;
        let before = book.find_connection(&request.name)?;
        if let Some(before) = &before
            && !request.again
        {
            return Err(Kind::AlreadyExists
                .error(format!("There is a connection `{}` already, for {}.", before.name, before.account))
                .hint(format!(
                    "Choose another with `--name`, or use `attache connection reconnect {}`.",
                    before.name
                )));
        }
        let mut approval = book.approval(&request.connector)?;
        if let Some(other) = before.as_ref().filter(|before| before.connector != approval.connector) {
            return Err(Kind::Usage.error(format!(
                "The connection `{}` is of the connector `{}`, not of `{}`.",
                other.name, other.connector, approval.connector
            )));
        }
        // However many wait to be agreed to, they share what their connector says.
        let loaded = self.loaded(&approval)?;
        (approval.declared, approval.terms) = (loaded.declared.clone(), loaded.terms.clone());
        let option = find_option(&loaded.manifest, &request.option)?;
        let named = request.gateway.as_deref();
        let named = named.or(before.as_ref().and_then(|before| before.gateway.as_ref()).map(|it| it.name.as_str()));
        let gateway = named.map(|name| self.gateway_for(&request.environment, name, option)).transpose()?;
        Ok(Ground { book, before, approval, loaded, gateway })
    }

    /// How a link for this begins: with a form where something is left to type that has to be, or where nobody is sent to a page
    /// of the provider's.
    ///
    /// # Errors
    /// As for [`Host::propose_connection`], as far as it can be judged already; `usage` where a person would have to type a code
    /// on another device, or a secret that is sealed where it is typed; `invalid-input` where a secret is given for a form.
    pub fn begin_link(&self, request: ConnectRequest) -> Result<Beginning> {
        let ground = self.ground(&request)?;
        let option = find_option(&ground.loaded.manifest, &request.option)?;
        let request = ConnectRequest { grant: request.grant.or_else(|| first_of_links(option)), ..request };
        let grant = provider::choose_grant(option, request.grant)?;
        if grant == Some(Grant::DeviceCode) {
            return Err(Kind::Usage
                .error("Whoever signs in with a code for another device needs no link.")
                .hint("Ask for another grant, or for a code: `attache connect … --device`, or `POST /v1/device-authorizations`."));
        }
        let left: Vec<&Parameter> = left(option, &request.parameters).collect();
        let is_given = |it: &Parameter| request.secrets.contains_key(&it.name) || request.kept.contains_key(&it.name);
        let lacks = left.iter().any(|it| it.must_be_typed() && !is_given(it));
        if provider::sends_away(option, grant) && !lacks {
            return Ok(Beginning::Terms(Box::new(request)));
        }
        if let Some(name) = request.secrets.keys().next() {
            return Err(Kind::InvalidInput
                .error(format!(
                    "`{}` was given for a link whose form another person fills in, who would say where it goes.",
                    text::foreign(name, 64)
                ))
                .hint("Leave the secrets out: whoever opens the link types them. Without a link, `attache connect` takes them."));
        }
        if ground.gateway.is_some() && left.iter().any(|it| it.is_secret()) {
            return Err(typed_elsewhere()
                .hint("Connect on a machine of your own: `attache connect … --gateway NAME` seals what is typed."));
        }
        if ground.gateway.is_some() {
            gateways::refuse_private(&request.private)?;
        }
        let mut values = Values::so_far(option, request.parameters.clone())?;
        let mut connection = ground.connection(&request, option, values.public().clone());
        let subject =
            call::subject(&request.environment, &connection, ground.approval.digest, "connect", &request.caller);
        let seeking = Seeking {
            book: &ground.book,
            option,
            approval: &ground.approval,
            connection: &connection,
            gateway: ground.gateway.as_ref(),
            typed: &values,
            subject: &subject,
        };
        let app = seeking.known_already(ground.app_named(&request))?;
        if let Some(app) = &app {
            app.give(option, &mut values)?;
            app.permits_all(option, &values)?;
            connection.app = Some(app.name.clone());
        }
        let before = ground.consent_before()?;
        let (asked_before, revoked_before) = before.map(|it| (it.scopes, it.revoked)).unwrap_or_default();
        let scopes = match depends_on(option, &left) {
            true => Vec::new(),
            false => provider::wanted_scopes(option, &values, &request.scopes, &asked_before)?,
        };
        Ok(Beginning::Form(Box::new(Blank {
            account_before: ground.before.map(|before| before.account),
            scopes,
            connection,
            revoked_before,
            grant,
            redirect_uri: app.and_then(|app| app.redirect_uri),
            holder: callers::holder(request.key, &request.caller),
            loaded: ground.loaded.clone(),
            approval: ground.approval,
            request: ConnectRequest { kept: BTreeMap::new(), ..request },
        })))
    }

    /// Checks what a person typed, and resolves where it would go: as [`Host::propose_connection`], for what whoever made the
    /// link wants.
    ///
    /// # Errors
    /// As for that; `approval-needed` where the connector was changed since, `already-exists` where the connection was.
    pub async fn fill_in(&self, blank: &Blank, answers: Answers) -> Result<ConnectProposal> {
        let anew = |error: Error| error.hint("Ask for a new link where you got this one.");
        {
            let book = self.book(&blank.request.environment)?;
            let approval = &blank.approval;
            approved_still(&book, &approval.connector, approval.digest).map_err(anew)?;
            unchanged_before(&book, &blank.connection, blank.revoked_before.as_deref()).map_err(anew)?;
        }
        self.propose_connection(blank.filled_in(answers)?).await
    }
}

impl Blank {
    /// What is left to type.
    pub fn left(&self) -> impl Iterator<Item = &Parameter> {
        self.option().into_iter().flat_map(|option| left(option, &self.request.parameters))
    }

    /// What is given, and cannot be changed; the connector can read it.
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.request.parameters
    }

    /// The parameter that is typed under this name, as a secret or not.
    ///
    /// # Errors
    /// `invalid-input` where nothing is to be typed so.
    pub fn field(&self, name: &str, is_secret: bool) -> Result<&Parameter> {
        if let Some(found) = self.left().find(|it| it.name == name && it.is_secret() == is_secret) {
            return Ok(found);
        }
        let shown = text::foreign(name, 64);
        Err(Kind::InvalidInput.error(if self.request.parameters.contains_key(name) {
            format!("`{shown}` was given by whoever made this link, and cannot be changed here.")
        } else {
            format!("This form has no field `{shown}`.")
        }))
    }

    /// As it is made of what whoever made the link wants and of what was typed, which takes nothing's place.
    fn filled_in(&self, Answers { parameters, secrets }: Answers) -> Result<ConnectRequest> {
        parameters.keys().try_for_each(|name| self.field(name, false).map(drop))?;
        secrets.keys().try_for_each(|name| self.field(name, true).map(drop))?;
        let is_typed = |it: &Parameter| parameters.contains_key(&it.name) || secrets.contains_key(&it.name);
        if let Some(missing) = self.left().find(|it| it.must_be_typed() && !is_typed(it)) {
            return Err(missing.missing());
        }
        let mut request = self.request.clone();
        request.parameters.extend(parameters);
        request.secrets = secrets;
        Ok(request)
    }

    /// Where the credential goes, as the connector says it: what is typed stands in braces.
    pub fn audience(&self) -> Vec<String> {
        self.option().into_iter().flat_map(|option| &option.audience).map(ToString::to_string).collect()
    }

    /// Where it is called to sign in, the same way.
    pub fn sign_in(&self) -> Vec<String> {
        let urls = self.option().map(|option| option.scheme.urls()).unwrap_or_default();
        urls.into_iter().map(|(_, url)| url.to_string()).collect()
    }

    /// Where a request carries the credential.
    pub fn placements(&self) -> Vec<String> {
        self.option().into_iter().flat_map(|option| &option.attach).map(|it| it.place()).collect()
    }

    /// The connection's name.
    pub fn name(&self) -> &str {
        &self.request.name
    }

    /// Who asks.
    pub fn caller(&self) -> &str {
        &self.request.caller
    }

    /// The caller key that asks, by its id; none for an operator.
    pub(crate) fn key(&self) -> Option<Uuid> {
        self.request.key
    }

    /// The gateway that it is to go through, with its key's fingerprint.
    pub fn gateway(&self) -> Option<(&str, String)> {
        self.connection.gateway.as_ref().map(|it| (it.name.as_str(), it.key.to_string()))
    }

    /// What the connector calls itself; its own words.
    pub fn title(&self) -> &str {
        &self.loaded.manifest.title
    }

    /// Whose it is, and in which environment: as [`ConnectProposal::asked_by`].
    pub fn asked_by(&self) -> (&str, &str) {
        (&self.holder, &self.request.environment)
    }

    /// Whether a person is sent to a page of the service or its provider when all is typed.
    pub fn sends_away(&self) -> bool {
        self.option().is_some_and(|option| provider::sends_away(option, self.grant))
    }

    /// Where the app wants people sent back to, where its operator said so and it is known which one it is.
    pub fn redirect_uri(&self) -> Option<&Url> {
        self.redirect_uri.as_ref()
    }

    /// As [`ConnectProposal::comes_back_to`].
    pub fn comes_back_to(&self, redirect_uri: &Url) -> bool {
        provider::comes_back_to(self.redirect_uri(), self.grant, redirect_uri)
    }

    fn option(&self) -> Option<&AuthOption> {
        self.loaded.manifest.option(&self.connection.option)
    }
}

/// That what is typed for a gateway's connection is not typed into a page of the host's.
pub(crate) fn typed_elsewhere() -> Error {
    Kind::Usage.error(
        "What is typed for a connection that goes through a gateway is sealed where it is typed, and a page of the host's is not that place.",
    )
}

/// Where somebody on a page would be asked for a code on another one, a page of the provider's is nearer.
fn first_of_links(option: &AuthOption) -> Option<Grant> {
    let grants = option.scheme.oauth2().map(|settings| settings.grants.as_slice()).unwrap_or_default();
    let begins_elsewhere = grants.first() == Some(&Grant::DeviceCode);
    Some(Grant::AuthorizationCode).filter(|grant| begins_elsewhere && grants.contains(grant))
}

/// What is neither the app's to give nor given.
fn left<'a>(option: &'a AuthOption, given: &'a BTreeMap<String, String>) -> impl Iterator<Item = &'a Parameter> {
    option.parameters.iter().filter(|it| !it.of_app && !given.contains_key(&it.name))
}

/// Whether a scope's name depends on what is left to type.
fn depends_on(option: &AuthOption, left: &[&Parameter]) -> bool {
    let scopes = option.scheme.oauth2().into_iter().flat_map(|settings| &settings.scopes);
    let mut names = scopes.flat_map(|scope| scope.name.names());
    names.any(|name| left.iter().any(|it| name.split('.').next() == Some(&*it.name)))
}
