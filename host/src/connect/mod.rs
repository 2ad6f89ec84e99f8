//! Making a connection and ending it: check what was typed, find out where it would go, let the owner see that, sign in, ask
//! the service, and keep it. What is shown and what is kept are two steps, so that nothing is held open while a person reads,
//! types, or is at the provider.
//!
//! What must never happen here: something kept that its owner was not shown; a token that was got and neither kept nor given
//! back; a revocation that waits for anybody before it holds.

mod apps;
mod blank;
mod changes;
mod end;
mod gateways;
mod keep;
mod pending;
mod provider;
mod sessions;

pub(crate) use blank::typed_elsewhere;
pub use blank::{Answers, Beginning, Blank};
pub use end::Ended;
pub use gateways::Sealing;
pub use keep::{Made, SignedIn};
pub use pending::CONFIRM_WITHIN;
pub(crate) use provider::sends_away;
pub use provider::{Granted, Trip};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use url::Url;
use uuid::Uuid;

use self::{apps::Seeking, blank::Ground};
use crate::{
    call, callers,
    consent::{self, App, Approval, Connection, Consent, Credential, SealedBox, now},
    egress::{self, Rehearsed},
    error::{Error, Kind, Result},
    host::{Host, Loaded},
    manifest::{AuthOption, Manifest, Values, audience::OriginPattern, oauth2::Grant},
    origin::Origin,
    secret::Secret,
    text,
    transport::{PrivateAllowed, Reach},
};

/// What somebody wants to connect.
#[derive(Debug, Clone, Default)]
pub struct ConnectRequest {
    /// The environment's name.
    pub environment: String,
    /// The connector's name.
    pub connector: String,
    /// The connection's name.
    pub name: String,
    /// The auth option's id.
    pub option: String,
    /// Parameters that are not secret; one that has several values has one on each line.
    pub parameters: BTreeMap<String, String>,
    /// Those that are.
    pub secrets: BTreeMap<String, Secret>,
    /// Those that are stored already, for where nothing was typed in their place. Whoever reconnects may not know them, so they
    /// do not follow what is typed now to another origin.
    pub kept: BTreeMap<String, Secret>,
    /// Private addresses that the operator allows.
    pub private: PrivateAllowed,
    /// The gateway that it is to go through, by its name; where it is made good again, the one that it has unless named.
    pub gateway: Option<String>,
    /// Which of the operator's apps; the only one there is unless named.
    pub app: Option<String>,
    /// Which of the connector's grants; its first unless named.
    pub grant: Option<Grant>,
    /// Scopes to ask for beside the required ones and, when connecting again, beside those that were asked for before.
    pub scopes: Vec<String>,
    /// Who connects, for the consent and the audit.
    pub caller: String,
    /// The caller key that asks, by its id: one that is made anew under the same name is another. None for an operator.
    pub key: Option<Uuid>,
    /// Whether a connection of that name is to be made good again, rather than a new one.
    pub again: bool,
}

/// What the account's owner is shown before agreeing.
pub struct ConnectProposal {
    /// The approval it is made under.
    pub approval: Approval,
    /// The connection as it would be kept; its account is not known yet.
    pub connection: Connection,
    /// The consent as it would be given.
    pub consent: Consent,
    /// Each origin that would be reached with what it resolves to now, where that is private.
    pub private_origins: Vec<String>,
    /// Origins that the service itself names when signing in, as templates, each with what it must look like.
    pub named_later: Vec<String>,
    /// Where the credential is placed, with names filled in; empty where no origin is known before a call.
    pub places: Vec<String>,
    /// Secrets too short to be recognised if a service reflects them.
    pub short_secrets: Vec<String>,
    /// What the connector will be able to read.
    pub readable: BTreeMap<String, String>,
    /// The account it was for before, when it is made good again.
    pub account_before: Option<String>,
    /// Scopes that are asked for, each with the connector's words for it.
    pub scopes: Vec<(String, Option<String>)>,
    /// How a first token is asked for; none where the scheme has no grants.
    pub grant: Option<Grant>,
    /// What is to be sealed for the gateway, if it goes through one.
    pub sealing: Option<Sealing>,
    sealed: OnceLock<SealedBox>,
    app: Option<App>,
    /// See [`consent::Drafted::revoked_before`].
    revoked_before: Option<String>,
    environment: String,
    caller: String,
    key: Option<Uuid>,
    /// See [`callers::holder`].
    holder: String,
    credential: Credential,
    loaded: Arc<Loaded>,
    values: Values,
}

impl Host {
    /// Checks what somebody wants to connect, and resolves where it would go.
    ///
    /// # Errors
    /// `not-found`, `already-exists`, `invalid-input`; `denied` where an origin is private and was not allowed.
    pub async fn propose_connection(&self, request: ConnectRequest) -> Result<ConnectProposal> {
        let ground = self.ground(&request)?;
        let loaded = ground.loaded.clone();
        let manifest = &loaded.manifest;
        let option = find_option(manifest, &request.option)?;
        let is_typed_anew = !request.secrets.is_empty();
        let kept: Vec<String> =
            request.kept.keys().filter(|name| !request.secrets.contains_key(*name)).cloned().collect();
        let secrets = request.kept.iter().chain(&request.secrets).map(|(name, secret)| (name.clone(), secret.clone()));
        let (parameters, secrets) = (request.parameters.clone(), secrets.collect());
        let typed = match &ground.gateway {
            Some(_) => gateways::typed(option, parameters, &secrets, &request.private)?,
            None => Values::new(option, parameters, secrets)?,
        };
        let mut connection = ground.connection(&request, option, typed.public().clone());
        let subject =
            call::subject(&request.environment, &connection, ground.approval.digest, "connect", &request.caller);
        let (declared, gateway) = (&ground.approval.declared, ground.gateway.as_ref());
        let seeking = Seeking {
            book: &ground.book,
            option,
            approval: &ground.approval,
            connection: &connection,
            gateway,
            typed: &typed,
            subject: &subject,
        };
        let app = self.app_for(&seeking, ground.app_named(&request)).await?;
        let mut values = typed.clone();
        if let Some(app) = &app {
            app.give(option, &mut values)?;
            app.permits_all(option, &values)?;
            connection.app = Some(app.name.clone());
        }
        let finds_out = match gateway {
            Some(gateway) => {
                let terms = gateways::terms(&request.environment, gateway, &connection, declared, app.as_ref())?;
                Some(self.finding_out(gateway, &terms, app.as_ref())?)
            }
            None => None,
        };
        let told = self.discover((option, app.as_ref()), &connection, &values, finds_out.as_deref(), &subject).await?;
        connection.discovered = told;
        let grant = provider::choose_grant(option, request.grant)?;
        let consent_before = ground.consent_before()?;
        let (asked_before, revoked_before) =
            consent_before.clone().map(|consent| (consent.scopes, consent.revoked)).unwrap_or_default();
        let scopes = provider::wanted_scopes(option, &values, &request.scopes, &asked_before)?;
        let reachable = consent::resolve(manifest, option, &values, &connection.discovered, &connection.private)?;
        let sign_in = consent::sign_in_origins(option, &values, &connection.discovered)?;
        // What a gateway reaches is looked up where it is.
        let private_origins = match gateway {
            Some(_) => Vec::new(),
            None => self.judge_origins(&reachable, &sign_in).await?,
        };
        // What is captured, or sealed to somebody else, is not there to be tried.
        let here = option.scheme.is_direct() && gateway.is_none();
        let rehearsed = match sample_url(&reachable.audience).filter(|_| here) {
            Some(url) => egress::rehearse(&option.attach, &option.jwts, &values, &url).map_err(as_input)?,
            None => Rehearsed::default(),
        };
        let strings = |patterns: &[OriginPattern]| patterns.iter().map(ToString::to_string).collect();
        let consent = Consent {
            connection: connection.id,
            name: connection.name.clone(),
            digest: ground.approval.digest,
            origins: strings(&reachable.audience),
            open_hosts: strings(&reachable.open),
            placements: option.attach.iter().map(|attachment| attachment.place()).collect(),
            sign_in: sign_in.iter().map(ToString::to_string).collect(),
            gateway: connection.gateway.clone(),
            scopes: scopes.iter().map(|(scope, _)| scope.clone()).collect(),
            account: String::new(),
            caller: request.caller.clone(),
            given: now(),
            until: None,
            revoked: None,
        };
        // What the operator approved since is not whoever reconnects'.
        let is_as_before = |before: &Connection| {
            !is_typed_anew && before.parameters == connection.parameters && before.app == connection.app
        };
        if ground.before.as_ref().is_some_and(|before| !is_as_before(before)) {
            stays_where_it_went(&kept, consent_before.as_ref(), &consent)?;
        }
        let sealing = match gateway {
            Some(gateway) => {
                let terms = gateways::terms(&request.environment, gateway, &connection, declared, app.as_ref())?;
                Some(Sealing::of(gateway, &terms)?)
            }
            None => None,
        };
        let Ground { before, approval, .. } = ground;
        Ok(ConnectProposal {
            approval,
            readable: connection.parameters.clone(),
            credential: Credential { secrets: typed.secret().clone(), sealed: None },
            connection,
            consent,
            private_origins,
            named_later: named_later(option),
            places: rehearsed.places,
            short_secrets: rehearsed.short_secrets,
            account_before: before.map(|before| before.account),
            scopes,
            grant,
            sealing,
            sealed: OnceLock::new(),
            app,
            revoked_before,
            environment: request.environment,
            holder: callers::holder(request.key, &request.caller),
            caller: request.caller,
            key: request.key,
            loaded: loaded.clone(),
            values,
        })
    }

    /// Runs a stored connection's check. The answer names the account.
    ///
    /// # Errors
    /// As for [`Host::call`].
    pub async fn check_connection(&self, environment: &str, name: &str, caller: &str) -> Result<String> {
        let ready = self.ready(environment, name)?;
        let component = self.component(&ready.loaded, ready.digest).await?;
        let subject = call::subject(environment, &ready.connection, ready.digest, "check", caller);
        self.check_access(component, &ready.connection, ready.access.clone(), subject).await
    }

    /// Resolves every fixed origin once, to say before anything is stored that one is private. What is reached later is
    /// judged again, then.
    async fn judge_origins(&self, reachable: &egress::Reachable, sign_in: &[Origin]) -> Result<Vec<String>> {
        let mut private = Vec::new();
        let reached = reachable.audience.iter().chain(&reachable.open).filter_map(|pattern| pattern.exact());
        let reached: BTreeSet<String> =
            reached.chain(sign_in.iter().cloned()).map(|origin| origin.to_string()).collect();
        for origin in reached {
            let origin = Origin::parse(&origin)?;
            match self.transport()?.would_reach(&origin, &reachable.private, &self.settings.transport_limits()).await {
                Ok(Reach::Public) => {}
                Ok(Reach::Private(why)) => private.push(format!("{origin} ({why})")),
                Ok(Reach::Never(why)) => {
                    return Err(Kind::Denied.error(format!("{origin} is an address that is never reached: {why}.")));
                }
                // A service that is not there today may be tomorrow; the check decides.
                Err(fault) => {
                    let error = Error::from(fault);
                    if error.kind() == Kind::Denied {
                        return Err(error);
                    }
                    tracing::debug!(%origin, %error, "the origin does not resolve now");
                }
            }
        }
        Ok(private)
    }
}

impl ConnectProposal {
    /// Takes what was typed, as it was sealed where it was typed.
    ///
    /// # Errors
    /// `invalid-input` where it goes through no gateway.
    pub fn take_sealed(&self, encapsulated: String, sealed: String) -> Result<()> {
        let sealing = self.sealing.as_ref().ok_or_else(|| {
            Kind::InvalidInput.error("What was typed is sealed, and the connection goes through no gateway.")
        })?;
        // Whoever seals again says the same again.
        let _ = self.sealed.set(sealing.sealed(encapsulated, sealed));
        Ok(())
    }

    /// What is kept of what was typed: itself, or the box that it was sealed in.
    fn kept_credential(&self) -> Result<Credential> {
        let Some(sealing) = &self.sealing else { return Ok(self.credential.clone()) };
        let sealed = match self.sealed.get() {
            Some(sealed) => sealed.clone(),
            None if self.option()?.parameters.iter().any(|it| it.is_secret() && !it.of_app) => {
                return Err(Kind::InvalidInput
                    .error("The connection goes through a gateway, and nothing was sealed to it.")
                    .hint("`attache connect … --gateway NAME` seals what is typed."));
            }
            None => {
                let sealed = sealing.of_nothing()?;
                self.sealed.get_or_init(|| sealed).clone()
            }
        };
        Ok(Credential { secrets: BTreeMap::new(), sealed: Some(sealed) })
    }
}

/// Refuses secrets that are stored where what is typed now would send them elsewhere than their owner agreed to.
fn stays_where_it_went(kept: &[String], before: Option<&Consent>, now: &Consent) -> Result<()> {
    let known: Vec<&String> = before.iter().flat_map(|before| before.origins.iter().chain(&before.sign_in)).collect();
    let new = now.origins.iter().chain(&now.sign_in).find(|origin| !known.contains(origin));
    match (kept.first(), new) {
        (Some(name), Some(origin)) => Err(Kind::InvalidInput
            .error(format!(
                "`{}` was given for other origins, and with what is typed now it would go to {}.",
                text::foreign(name, 64),
                text::foreign(origin, 200)
            ))
            .hint("Whoever knows it gives it again; what is stored stays where it went.")),
        _ => Ok(()),
    }
}

/// Finds an auth option; the only one there is needs no name.
///
/// # Errors
/// `usage` with the options that there are.
pub fn find_option<'a>(manifest: &'a Manifest, id: &str) -> Result<&'a AuthOption> {
    let known: Vec<_> = manifest.options.iter().map(|option| option.id.as_str()).collect();
    match (id, manifest.options.as_slice()) {
        ("", [only]) => Ok(only),
        ("", _) => Err(Kind::Usage
            .error(format!("The connector `{}` can be connected in several ways.", manifest.name))
            .hint(format!("Choose one with `--auth`: {}.", known.join(", ")))),
        (id, _) => manifest.option(id).ok_or_else(|| {
            Kind::Usage
                .error(format!("The connector `{}` has no auth option `{}`.", manifest.name, text::foreign(id, 64)))
                .hint(format!("It has {}.", known.join(", ")))
        }),
    }
}

/// What of the audience and of the sign-in's own origins depends on what the service answers.
fn named_later(option: &AuthOption) -> Vec<String> {
    let captured = option.scheme.captured();
    let looks = |template: String, names: Vec<&str>| {
        let named =
            captured.iter().filter(|value| names.iter().any(|name| name.split('.').next() == Some(&*value.name)));
        let looks: Vec<String> = named
            .filter_map(|value| value.pattern.as_ref().map(|it| format!("`{}` looks like {}", value.name, it.as_str())))
            .collect();
        (!looks.is_empty()).then(|| format!("{template}, where {}", looks.join(" and ")))
    };
    let audience = option.audience.iter().filter_map(|it| looks(it.to_string(), it.names().collect()));
    let urls = option.scheme.urls().into_iter();
    audience.chain(urls.filter_map(|(_, url)| looks(url.to_string(), url.host_names().collect()))).collect()
}

/// Any URL of the audience, to try the attachments on.
pub(crate) fn sample_url(audience: &[OriginPattern]) -> Option<Url> {
    let exact = audience.iter().find_map(|pattern| pattern.exact());
    exact.and_then(|origin: Origin| Url::parse(&origin.to_string()).ok())
}

/// A value that does not fit is, while connecting, what was typed just now.
fn as_input(error: Error) -> Error {
    match error.kind() {
        Kind::ReconnectNeeded => Kind::InvalidInput.error(error.message()),
        _ => error,
    }
}
