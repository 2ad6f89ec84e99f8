//! Making a connection: check what was typed, find out where it would go, let the owner see that, ask the service, and
//! keep it. What is shown and what is kept are two steps, so that nothing is held open while a person reads or types.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;
use uuid::Uuid;

use crate::{
    audit::{Event, Subject},
    call,
    consent::{self, Approval, Connection, Consent, Credential, now},
    egress::{self, Access, Rehearsed},
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
    access: Arc<Access>,
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
        let private_origins = self.judge_origins(&reachable).await?;
        let rehearsed = match sample_url(&reachable) {
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
            scopes: Vec::new(),
            account: String::new(),
            caller: request.caller.clone(),
            given: now(),
            until: None,
            revoked: None,
        };
        let access = Access {
            pool: connection.pool(),
            reachable,
            attachments: option.attach.clone(),
            jwts: option.jwts.clone(),
            limits: self.settings.transport_limits(),
            values: values.clone(),
        };
        Ok(ConnectProposal {
            approval,
            readable: connection.parameters.clone(),
            credential: Credential { secrets: values.secret().clone() },
            connection,
            consent,
            private_origins,
            places: rehearsed.places,
            short_secrets: rehearsed.short_secrets,
            account_before: before.map(|before| before.account),
            environment: request.environment,
            caller: request.caller,
            access: Arc::new(access),
        })
    }

    /// Asks the service with the connector's `check`, and keeps the connection if that is good.
    ///
    /// # Errors
    /// What the check failed with; `reconnect-needed` where it is another account than before.
    pub async fn connect(&self, proposal: ConnectProposal) -> Result<Connection> {
        let ConnectProposal { approval, mut connection, mut consent, environment, caller, credential, access, .. } =
            proposal;
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
        let component = self.library.load(self.runtime()?, approval.digest).await?;
        let subject = call::subject(&environment, &connection, &approval, "check", &caller);
        let account = self.check_access(&component, &connection, access, subject.clone()).await.map_err(|error| {
            error.context(format!("The connection `{}` was not made, since its check failed", connection.name))
        })?;
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
        book.put_connection(&connection, &credential, &consent)?;
        Ok(connection)
    }

    /// Runs a stored connection's check. The answer names the account.
    ///
    /// # Errors
    /// As for [`Host::call`].
    pub async fn check_connection(&self, environment: &str, name: &str, caller: &str) -> Result<String> {
        let book = self.book(environment)?;
        let connection = book.connection(name)?;
        let approval = book.approval(&connection.connector)?;
        let access = consent::access(
            &self.manifest(&approval)?,
            &approval,
            &connection,
            book.credential(connection.id)?,
            book.consent(connection.id)?,
            self.settings.transport_limits(),
        )?;
        let component = self.library.load(self.runtime()?, approval.digest).await?;
        let subject = call::subject(environment, &connection, &approval, "check", caller);
        self.check_access(&component, &connection, Arc::new(access), subject).await
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
        let subject = Subject {
            environment: environment.to_owned(),
            connection: connection.name.clone(),
            connector: connection.connector.clone(),
            digest,
            operation: String::new(),
            call: Uuid::new_v4(),
            caller: caller.to_owned(),
        };
        Ok((book, connection, subject))
    }

    /// Resolves every fixed origin once, to say before anything is stored that one is private. What is reached later is
    /// judged again, then.
    async fn judge_origins(&self, reachable: &egress::Reachable) -> Result<Vec<String>> {
        let mut private = Vec::new();
        for origin in reachable.audience.iter().chain(&reachable.open).filter_map(|pattern| pattern.exact()) {
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
