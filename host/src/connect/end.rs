//! Ending a connection: it holds here at once, and then the provider is told.

use std::{collections::BTreeMap, sync::Arc};

use super::{find_option, provider::revoke};
use crate::{
    audit::{Event, Subject},
    call,
    consent::{
        self, Book, Captured, Connection, Consent, Credential,
        oauth2::{Client, Revoked},
    },
    error::{Kind, Result},
    host::Host,
    outbox::{EventType, Reason},
    secret::Secret,
    sync::lock,
};

/// What a provider gave to a connection and is told to end.
pub(super) struct Given<'a> {
    pub(super) connection: &'a Connection,
    /// What was typed, for the URLs and the client that depend on it.
    pub(super) credential: Option<Credential>,
    pub(super) captured: &'a Captured,
    /// The origins that the account's owner agreed to sign in at.
    pub(super) agreed: &'a [String],
    pub(super) subject: &'a Subject,
}

/// What came of ending a connection.
pub struct Ended {
    /// What the provider made of it; none where it had given nothing.
    pub upstream: Option<Revoked>,
}

impl Host {
    /// Removes a connection with everything that belongs to it.
    ///
    /// # Errors
    /// `not-found`; those of the store. What the provider answers is no error.
    pub async fn remove_connection(&self, environment: &str, name: &str, caller: &str) -> Result<Ended> {
        let (book, connection, subject) = self.found(environment, name, caller)?;
        self.audit.write(&Event::connection_removed(&subject))?;
        self.mark_revoked(&book, &connection, Reason::Removed)?;
        let ended = self.end(&book, &connection, &subject).await;
        let removed = {
            let _keeping = lock(&self.keeping);
            self.uses.remove(connection.id);
            book.remove_connection(&connection)
        };
        self.turns.forget(connection.id);
        removed.and(ended)
    }

    /// Takes a consent back: the connection stays, without its secrets, until it is connected again.
    ///
    /// # Errors
    /// `not-found`; those of the store. What the provider answers is no error.
    pub async fn revoke_consent(&self, environment: &str, name: &str, caller: &str) -> Result<Ended> {
        let (book, connection, subject) = self.found(environment, name, caller)?;
        let consent = book
            .consent(connection.id)?
            .ok_or_else(|| Kind::NotFound.error(format!("There is no consent to the connection `{name}`.")))?;
        match &consent.revoked {
            None => {
                self.audit.write(&Event::consent_revoked(&subject))?;
                self.mark_revoked(&book, &connection, Reason::ConsentRevoked)?;
            }
            // One that was cut off after the mark is finished now.
            Some(_) if book.credential(connection.id)?.is_some() => {}
            Some(when) => {
                return Err(Kind::NotFound
                    .error(format!("The consent to the connection `{name}` was revoked already, at {when}.")));
            }
        }
        let ended = self.end(&book, &connection, &subject).await;
        let forgotten = book.forget_secrets(connection.id);
        self.turns.forget(connection.id);
        forgotten.and(ended)
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

    /// Ends the consent that there is now, whoever is about to keep another.
    fn mark_revoked(&self, book: &Book<'_>, connection: &Connection, reason: Reason) -> Result<()> {
        let _keeping = lock(&self.keeping);
        match book.consent(connection.id)?.filter(|consent| consent.revoked.is_none()) {
            Some(consent) => {
                let revoked = connection.about(book.environment()).happened(EventType::Revoked, Some(reason));
                self.outbox.commit(book.revocation(&consent)?, &[revoked])
            }
            None => Ok(()),
        }
    }

    /// Stops what is under way, then tells the provider. The consent is marked by then, so nothing new begins.
    async fn end(&self, book: &Book<'_>, connection: &Connection, subject: &Subject) -> Result<Ended> {
        let turn = self.close_pool(connection);
        // A renewal that has left is waited for: what it brings is to be ended too.
        let _turn = turn.last().await;
        let Some(captured) = book.captured(connection.id)?.filter(|captured| !captured.is_empty()) else {
            return Ok(Ended { upstream: None });
        };
        let credential = book.credential(connection.id)?;
        let agreed = book.consent(connection.id)?.map(|consent| consent.sign_in).unwrap_or_default();
        let given = Given { connection, credential, captured: &captured, agreed: &agreed, subject };
        self.end_upstream(book, given).await
    }

    /// Tells the provider to end what it gave to a connection. Whether it does is no error.
    pub(super) async fn end_upstream(&self, book: &Book<'_>, given: Given<'_>) -> Result<Ended> {
        let subject = given.subject;
        let upstream = match self.revoke_upstream(book, given).await {
            Ok(upstream) => upstream,
            // The connector is gone, or the app: then nobody can be told any longer.
            Err(error) => Some(Revoked::Failed(error)),
        };
        if let Some(outcome) = &upstream {
            self.audit.write(&Event::given_back(subject, outcome.name()))?;
        }
        Ok(Ended { upstream })
    }

    async fn revoke_upstream(&self, book: &Book<'_>, given: Given<'_>) -> Result<Option<Revoked>> {
        let Given { connection, credential, captured, agreed, subject } = given;
        let approval = book.approval(&connection.connector)?;
        let manifest = self.manifest(&approval)?;
        let option = find_option(&manifest, &connection.option)?;
        let sealed = credential.as_ref().and_then(|credential| credential.sealed.clone());
        let (_, mut typed) = consent::typed(&manifest, connection, credential)?;
        let app = connection.app.as_deref().map(|name| book.app(&connection.connector, Some(name))).transpose()?;
        if let Some(app) = &app {
            app.give(option, &mut typed)?;
        }
        if let Some(relayed) = self.relayed(book, connection, &approval.declared, app.as_ref(), sealed)? {
            if option.scheme.oauth2().is_none() {
                return Ok(None);
            }
            let signing_in = relayed.signing_in(self.audit.clone(), self.settings.transport_limits(), Vec::new());
            return Ok(Some(revoke(&signing_in, captured, subject).await));
        }
        let app = app.map(Arc::new);
        let scopes = captured.scopes.clone();
        let Some(client) = Client::of(option, app.clone(), connection.discovered.clone(), scopes) else {
            return Ok(None);
        };
        // Wherever the connector says now: what its owner did not agree to is not told anything.
        let way = self.way(option, app, connection, Some(agreed.iter().cloned().collect()))?;
        Ok(Some(client.revoke(&way, &typed, captured, subject).await))
    }

    fn found(&self, environment: &str, name: &str, caller: &str) -> Result<(Book<'_>, Connection, Subject)> {
        let book = self.book(environment)?;
        let connection = book.connection(name)?;
        let approval = book.find_approval(&connection.connector)?;
        let digest = match (&approval, book.consent(connection.id)?) {
            (Some(approval), _) => approval.digest,
            (None, Some(Consent { digest, .. })) => digest,
            (None, None) => {
                return Err(Kind::NotFound.error(format!("There is no consent to the connection `{name}`.")));
            }
        };
        let subject = call::subject(environment, &connection, digest, "", caller);
        Ok((book, connection, subject))
    }
}
