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
        let connection = self.mark_revoked(&book, connection, Reason::Removed)?;
        self.end(&book, &connection, &subject, || {
            self.uses.remove(connection.id);
            book.remove_connection(&connection)
        })
        .await
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
        let connection = match &consent.revoked {
            None => {
                self.audit.write(&Event::consent_revoked(&subject))?;
                self.mark_revoked(&book, connection, Reason::ConsentRevoked)?
            }
            // One that was cut off after the mark is finished now.
            Some(_) if book.credential(connection.id)?.is_some() => connection,
            Some(when) => {
                return Err(Kind::NotFound
                    .error(format!("The consent to the connection `{name}` was revoked already, at {when}.")));
            }
        };
        self.end(&book, &connection, &subject, || book.forget_secrets(connection.id)).await
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

    /// Ends the consent that there is now, whoever is about to keep another, and gives the connection as it is now: it may have
    /// been connected anew a moment ago.
    fn mark_revoked(&self, book: &Book<'_>, connection: Connection, reason: Reason) -> Result<Connection> {
        let _keeping = lock(&self.keeping);
        let now = book.find_connection(&connection.name)?.filter(|now| now.id == connection.id).ok_or_else(|| {
            Kind::NotFound
                .error(format!("The connection `{}` was removed by somebody else in the meantime.", connection.name))
        })?;
        if let Some(consent) = book.consent(now.id)?.filter(|consent| consent.revoked.is_none()) {
            let revoked = now.about(book.environment()).happened(EventType::Revoked, Some(reason));
            self.outbox.commit(book.revocation(&consent)?, &[revoked])?;
        }
        Ok(now)
    }

    /// Stops what is under way, then tells the provider, and then deletes what is kept. The consent is marked by then, so nothing
    /// new begins.
    async fn end(
        &self,
        book: &Book<'_>,
        connection: &Connection,
        subject: &Subject,
        delete: impl FnOnce() -> Result<()>,
    ) -> Result<Ended> {
        let mut ending = self.close_pool(connection);
        // A renewal that has left is waited for: what it brings is to be ended too.
        ending.last().await;
        let ended = self.end_given(book, connection, subject).await;
        let deleted = {
            let _keeping = lock(&self.keeping);
            match is_over(book, connection) {
                Ok(true) => delete(),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            }
        };
        deleted.and(ended)
    }

    async fn end_given(&self, book: &Book<'_>, connection: &Connection, subject: &Subject) -> Result<Ended> {
        let (captured, credential, consent) = {
            let _keeping = lock(&self.keeping);
            if !is_over(book, connection)? {
                return Ok(Ended { upstream: None });
            }
            (book.captured(connection.id)?, book.credential(connection.id)?, book.consent(connection.id)?)
        };
        let Some(captured) = captured.filter(|captured| !captured.is_empty()) else {
            return Ok(Ended { upstream: None });
        };
        let agreed = consent.map(|consent| consent.sign_in).unwrap_or_default();
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

/// Whether a connection that was ended is what is kept under its name, and still ended: somebody else may have removed it too and
/// given its name to another, or have connected it anew. To be asked while nobody keeps one.
fn is_over(book: &Book<'_>, connection: &Connection) -> Result<bool> {
    let is_it = |now: Connection| (now.id, now.generation) == (connection.id, connection.generation);
    let is_there = book.find_connection(&connection.name)?.is_some_and(is_it);
    Ok(is_there && book.consent(connection.id)?.is_none_or(|consent| consent.revoked.is_some()))
}
