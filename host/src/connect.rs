//! Making a connection: check what was typed, find out where it would go, let the owner see that, ask the service, and
//! keep it. What is shown and what is kept are two steps, so that nothing is held open while a person reads or types.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use url::Url;
use uuid::Uuid;

use crate::{
    audit::{Event, Subject},
    call,
    consent::{self, Approval, Connection, Consent, Credential, SignIn, now},
    egress::{self, Access, Credentials, Rehearsed, Typed},
    error::{Error, Kind, Result},
    host::Host,
    manifest::{AuthOption, Manifest, Values},
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
    /// Parameters that are not secret.
    pub parameters: BTreeMap<String, String>,
    /// Those that are.
    pub secrets: BTreeMap<String, Secret>,
    /// Private addresses that the operator allows.
    pub private: PrivateAllowed,
    /// Who connects, for the consent and the audit.
    pub caller: String,
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
    environment: String,
    caller: String,
    credential: Credential,
    manifest: Manifest,
    values: Values,
}

impl Host {
    /// Checks what somebody wants to connect, and resolves where it would go.
    ///
    /// # Errors
    /// `not-found`, `already-exists`, `invalid-input`; `denied` where an origin is private and was not allowed.
    pub async fn propose_connection(&self, request: ConnectRequest) -> Result<ConnectProposal> {
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
        let approval = book.approval(&request.connector)?;
        let manifest = self.manifest(&approval)?;
        let option = find_option(&manifest, &request.option)?;
        let values = Values::new(option, request.parameters, request.secrets)?;
        let reachable = consent::resolve(&manifest, option, &values, &request.private)?;
        let sign_in = consent::sign_in_origins(option, &values)?;
        let private_origins = self.judge_origins(&reachable, &sign_in).await?;
        // What is captured is not there to be tried yet.
        let rehearsed = match sample_url(&reachable).filter(|_| option.login.is_none()) {
            Some(url) => egress::rehearse(&option.attach, &option.jwts, &values, &url).map_err(as_input)?,
            None => Rehearsed::default(),
        };
        let id = before.as_ref().map_or_else(Uuid::new_v4, |before| before.id);
        let generation = before.as_ref().map_or(1, |before| before.generation + 1);
        let connection = Connection {
            id,
            name: request.name,
            connector: approval.connector.clone(),
            option: option.id.clone(),
            parameters: values.public().clone(),
            private: request.private,
            account: String::new(),
            generation,
            created: before.as_ref().map_or_else(now, |before| before.created.clone()),
        };
        let strings =
            |patterns: &[crate::manifest::audience::OriginPattern]| patterns.iter().map(ToString::to_string).collect();
        let consent = Consent {
            connection: id,
            name: connection.name.clone(),
            digest: approval.digest,
            origins: strings(&reachable.audience),
            open_hosts: strings(&reachable.open),
            placements: option.attach.iter().map(|attachment| attachment.place()).collect(),
            sign_in: sign_in.iter().map(ToString::to_string).collect(),
            scopes: Vec::new(),
            account: String::new(),
            caller: request.caller.clone(),
            given: now(),
            until: None,
            revoked: None,
        };
        Ok(ConnectProposal {
            approval,
            readable: connection.parameters.clone(),
            credential: Credential { secrets: values.secret().clone() },
            connection,
            consent,
            private_origins,
            named_later: named_later(option),
            places: rehearsed.places,
            short_secrets: rehearsed.short_secrets,
            account_before: before.map(|before| before.account),
            environment: request.environment,
            caller: request.caller,
            manifest,
            values,
        })
    }

    /// Asks the service with the connector's `check`, and keeps the connection if that is good.
    ///
    /// # Errors
    /// What the check failed with; `reconnect-needed` where it is another account than before.
    pub async fn connect(&self, proposal: ConnectProposal) -> Result<Connection> {
        let ConnectProposal {
            approval,
            mut connection,
            mut consent,
            environment,
            caller,
            credential,
            manifest,
            values,
            ..
        } = proposal;
        let book = self.book(&environment)?;
        let unchanged = book.find_approval(&approval.connector)?.is_some_and(|now| now.digest == approval.digest);
        if !unchanged {
            return Err(Kind::ApprovalNeeded
                .error("The connector was changed by somebody else in the meantime.")
                .hint("Connect again."));
        }
        let before = book.find_connection(&connection.name)?;
        if before.as_ref().map_or(0, |before| before.generation) + 1 != connection.generation {
            return Err(Kind::AlreadyExists
                .error(format!("The connection `{}` was changed by somebody else in the meantime.", connection.name)));
        }
        let loaded = self.loaded(&approval)?;
        let component = self.component(&loaded, approval.digest).await?;
        let subject = call::subject(&environment, &connection, approval.digest, "check", &caller);
        let not_made = |error: Error| {
            error.context(format!("The connection `{}` was not made, since its check failed", connection.name))
        };
        let (access, sign_in) =
            self.first_access(&manifest, values, &connection, &mut consent, &subject).await.map_err(not_made)?;
        let account =
            self.check_access(component, &connection, Arc::new(access), subject.clone()).await.map_err(not_made)?;
        if let Some(before) = &before
            && before.account != account
        {
            return Err(Kind::ReconnectNeeded
                .error(format!(
                    "That is another account: `{account}`, and the connection `{}` is for `{}`.",
                    connection.name, before.account
                ))
                .hint("Make a new connection for it with `attache connect`."));
        }
        connection.account.clone_from(&account);
        consent.account = account;
        self.audit.write(&if before.is_some() { Event::reconnected(&subject) } else { Event::connected(&subject) })?;
        let captured = sign_in.and_then(|sign_in| sign_in.captured());
        book.put_connection(&connection, &credential, captured.as_ref(), &consent)?;
        // How signing in went before says nothing of what was typed now.
        self.turns.forget(connection.id);
        Ok(connection)
    }

    /// What a connection that is not kept yet may do, and what signed in for it. An origin that the service itself names is
    /// one that its owner agreed to as a pattern: from now on it is this one, and another needs a new consent.
    async fn first_access(
        &self,
        manifest: &Manifest,
        values: Values,
        connection: &Connection,
        consent: &mut Consent,
        subject: &Subject,
    ) -> Result<(Access, Option<Arc<SignIn>>)> {
        let option = find_option(manifest, &connection.option)?;
        let limits = self.settings.transport_limits();
        let Some(login) = &option.login else {
            let credentials = Arc::new(Typed::new(values.clone()));
            let access = consent::access(manifest, option, connection, &values, consent, credentials, limits)?;
            return Ok((access, None));
        };
        let sign_in = Arc::new(self.sign_in(option, login, values, connection, None)?);
        let held = sign_in.current(subject).await?;
        let strings = |origins: Vec<Origin>| origins.iter().map(ToString::to_string).collect();
        let reachable = consent::resolve(manifest, option, &held.values, &connection.private)?;
        consent.origins = reachable.audience.iter().map(ToString::to_string).collect();
        consent.sign_in = strings(consent::sign_in_origins(option, &held.values)?);
        let access = consent::access(manifest, option, connection, &held.values, consent, sign_in.clone(), limits)?;
        Ok((access, Some(sign_in)))
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

    /// Removes a connection with everything that belongs to it.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn remove_connection(&self, environment: &str, name: &str, caller: &str) -> Result<()> {
        let (book, connection, subject) = self.found(environment, name, caller)?;
        self.audit.write(&Event::connection_removed(&subject))?;
        book.remove_connection(&connection)?;
        self.close_pool(&connection);
        Ok(())
    }

    /// Takes a consent back: the connection stays, without its secrets, until it is connected again.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn revoke_consent(&self, environment: &str, name: &str, caller: &str) -> Result<Consent> {
        let (book, connection, subject) = self.found(environment, name, caller)?;
        let consent = book
            .consent(connection.id)?
            .ok_or_else(|| Kind::NotFound.error(format!("There is no consent to the connection `{name}`.")))?;
        if let Some(when) = &consent.revoked {
            return Err(
                Kind::NotFound.error(format!("The consent to the connection `{name}` was revoked already, at {when}."))
            );
        }
        self.audit.write(&Event::consent_revoked(&subject))?;
        book.revoke(&consent)?;
        self.close_pool(&connection);
        Ok(consent)
    }

    /// What a reconnection starts from: the connection, and the secrets that it still has.
    ///
    /// # Errors
    /// `not-found`.
    pub fn reconnectable(&self, environment: &str, name: &str) -> Result<(Connection, BTreeMap<String, Secret>)> {
        let book = self.book(environment)?;
        let connection = book.connection(name)?;
        let secrets = book.credential(connection.id)?.map(|credential| credential.secrets).unwrap_or_default();
        Ok((connection, secrets))
    }

    fn found(&self, environment: &str, name: &str, caller: &str) -> Result<(consent::Book<'_>, Connection, Subject)> {
        let book = self.book(environment)?;
        let connection = book.connection(name)?;
        let approval = book.find_approval(&connection.connector)?;
        let digest = match (&approval, book.consent(connection.id)?) {
            (Some(approval), _) => approval.digest,
            (None, Some(consent)) => consent.digest,
            (None, None) => {
                return Err(Kind::NotFound.error(format!("There is no consent to the connection `{name}`.")));
            }
        };
        let subject = call::subject(environment, &connection, digest, "", caller);
        Ok((book, connection, subject))
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
    let captured = option.login.as_ref().map(|login| login.captured()).unwrap_or_default();
    let looks = |template: String, names: Vec<&str>| {
        let named =
            captured.iter().filter(|value| names.iter().any(|name| name.split('.').next() == Some(&*value.name)));
        let looks: Vec<String> = named
            .filter_map(|value| value.pattern.as_ref().map(|it| format!("`{}` looks like {}", value.name, it.as_str())))
            .collect();
        (!looks.is_empty()).then(|| format!("{template}, where {}", looks.join(" and ")))
    };
    let audience = option.audience.iter().filter_map(|it| looks(it.to_string(), it.names().collect()));
    let calls = option.login.iter().flat_map(|login| login.calls());
    audience.chain(calls.filter_map(|it| looks(it.url.to_string(), it.url.host_names().collect()))).collect()
}

/// Any URL of the audience, to try the attachments on.
fn sample_url(reachable: &egress::Reachable) -> Option<Url> {
    let exact = reachable.audience.iter().find_map(|pattern| pattern.exact());
    exact.and_then(|origin: Origin| Url::parse(&origin.to_string()).ok())
}

/// A value that does not fit is, while connecting, what was typed just now.
fn as_input(error: Error) -> Error {
    match error.kind() {
        Kind::ReconnectNeeded => Kind::InvalidInput.error(error.message()),
        _ => error,
    }
}
