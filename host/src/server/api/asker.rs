//! Who asks, and for which environment.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};

use uuid::Uuid;

use super::{
    Api, Problem,
    asked::{List, Page},
};
use crate::{
    callers::{self, CallerKey, Permission},
    consent::{Book, Connection},
    error::{Error, Kind, Result},
    host::Host,
    manifest::Effects,
    server::remote::Remote,
    traffic::Admitted,
};

/// Somebody who may do whatever the operator may: put on a request by whoever knows, never by the request itself.
#[derive(Debug, Clone)]
pub struct Operator {
    /// For consents and the audit.
    pub caller: String,
}

/// The key that a request shows: put on it by whoever reads its head, for whoever reads its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown(Uuid);

impl Shown {
    /// Demands that the key is one still. The rest of a request may come hours after its head.
    ///
    /// # Errors
    /// As for a key that nobody knows.
    pub(super) fn still(self, host: &Host) -> Result<(), Problem> {
        host.still_a_key(self.0).map_err(|error| match error.kind() {
            Kind::Denied => Problem::unknown(error),
            _ => error.into(),
        })
    }
}

/// Who asks.
pub(super) struct Asker {
    /// For consents and the audit.
    pub(super) caller: String,
    /// What everything that is asked for is in.
    pub(super) environment: String,
    /// None for the operator.
    key: Option<Arc<CallerKey>>,
}

impl Asker {
    /// Whether that may be asked for.
    pub(super) fn may(&self, permission: Permission) -> Result<()> {
        self.key.as_ref().map_or(Ok(()), |key| key.permits(permission))
    }

    /// Whether any of these may.
    pub(super) fn may_any(&self, permissions: &[Permission]) -> Result<()> {
        let mut refused = None;
        for permission in permissions {
            match self.may(*permission) {
                Ok(()) => return Ok(()),
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// What operations that are called may do.
    pub(super) fn allowed(&self) -> Effects {
        self.key.as_ref().map_or_else(Effects::all, |key| key.allowed())
    }

    /// Whether it is the operator, who alone sees what is of no environment.
    pub(super) fn is_operator(&self) -> bool {
        self.key.is_none()
    }

    /// Lets through a call of a connection, or what makes one, for as long as what is given is kept.
    ///
    /// # Errors
    /// `rate-limited`.
    pub(super) fn admit(&self, host: &Host, connection: Option<Uuid>) -> Result<Admitted> {
        host.traffic.admit(self.key(), connection)
    }

    /// The key that is shown, by its id; none for the operator.
    pub(super) fn key(&self) -> Option<Uuid> {
        self.key.as_ref().map(|key| key.id)
    }

    /// Demands that whoever waited is still let in.
    ///
    /// # Errors
    /// As for a key that nobody knows.
    pub(super) fn still(&self, host: &Host) -> Result<(), Problem> {
        self.key().map_or(Ok(()), |key| Shown(key).still(host))
    }

    /// Whose what is begun is: see [`callers::holder`].
    pub(super) fn holder(&self) -> String {
        callers::holder(self.key(), &self.caller)
    }

    /// Only the operator.
    pub(super) fn must_be_operator(&self) -> Result<()> {
        match self.key {
            None => Ok(()),
            Some(_) => Err(Kind::Denied
                .error("Only the operator does that, on the host's own machine.")
                .hint("Use the command line there.")),
        }
    }

    /// Whether a connection is one that may be known of.
    pub(super) fn reaches(&self, connection: &Connection) -> bool {
        self.reaches_id(connection.id)
    }

    /// The same, by its id.
    pub(super) fn reaches_id(&self, connection: Uuid) -> bool {
        self.key.as_ref().is_none_or(|key| key.reaches(connection))
    }

    /// Whether the key is for some connections only, so that it makes none.
    pub(super) fn is_confined(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.connections.is_some())
    }

    /// The id and name of a connection that is called by its name or id. One that is foreign is not there.
    pub(super) fn callee(&self, host: &Host, named: &str) -> Result<(Uuid, String)> {
        let called = (self.environment.clone(), named.to_owned());
        let read = || {
            let book = host.book(&self.environment)?;
            Ok(Self::named(&book, named)?.map(|connection| (connection.id, connection.name)))
        };
        let found = host.called.find(&host.vault, called, read)?.filter(|(id, _)| self.reaches_id(*id));
        found.map_or_else(|| Err(host.book(&self.environment)?.no_connection(named)), Ok)
    }

    /// A connection by its name or id. One that is foreign is not there.
    pub(super) fn connection(&self, host: &Host, named: &str) -> Result<Connection> {
        let book = host.book(&self.environment)?;
        let found = Self::named(&book, named)?;
        found.filter(|connection| self.reaches(connection)).ok_or_else(|| book.no_connection(named))
    }

    /// A page of the connections that may be known of.
    pub(super) fn connections(&self, book: &Book<'_>, page: &Page) -> Result<List<Connection>> {
        let name = |connection: &Connection| connection.name.clone();
        match self.key.as_ref().and_then(|key| key.connections.as_ref()) {
            None => page.read(name, |after, most| book.connections_after(after, most)),
            Some(only) => {
                let found = only.iter().filter_map(|id| book.connection_of_id(*id).transpose());
                page.of(found.collect::<Result<_>>()?, name)
            }
        }
    }

    /// A connection by its name or id, whoever may know of it.
    fn named(book: &Book<'_>, named: &str) -> Result<Option<Connection>> {
        match (book.find_connection(named)?, named.parse()) {
            (None, Ok(id)) => book.connection_of_id(id),
            (found, _) => Ok(found),
        }
    }
}

impl FromRequestParts<Arc<Api>> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let named = environment(parts)?;
        if let Some(Operator { caller }) = parts.extensions.get::<Operator>() {
            let environment = named.unwrap_or_else(|| "default".to_owned());
            return Ok(Self { caller: caller.clone(), environment, key: None });
        }
        let shown = bearer(&parts.headers).map_err(Problem::unknown)?;
        let key = api.host.key_shown(shown).map_err(|error| unknown(error, parts, &api.host))?;
        if named.is_some_and(|named| named != key.environment) {
            // Whether it is there is nobody's business who is of another.
            return Err(Kind::NotFound.error("There is no such environment.").into());
        }
        parts.extensions.insert(Shown(key.id));
        Ok(Self { caller: key.caller(), environment: key.environment.clone(), key: Some(key) })
    }
}

/// Nobody who has a key waits for those who try some at the same address.
fn unknown(error: Error, parts: &Parts, host: &Host) -> Problem {
    match parts.extensions.get::<Remote>().map(|remote| host.traffic.unknown_key(remote.0)) {
        Some(Err(too_many)) => too_many.into(),
        _ => Problem::unknown(error),
    }
}

fn environment(parts: &Parts) -> Result<Option<String>, Problem> {
    if parts.uri.query().is_none() {
        return Ok(None);
    }
    let query = Query::<HashMap<String, String>>::try_from_uri(&parts.uri)
        .map_err(|_| Kind::Usage.error("The query cannot be read."))?;
    Ok(query.get("environment").cloned())
}

/// RFC 6750, 2.1.
fn bearer(headers: &HeaderMap) -> Result<&str> {
    let none = || -> Error {
        Kind::Denied
            .error("Nobody is known to ask: the request shows no caller key.")
            .hint("Send one that `attache caller create` made, as `Authorization: Bearer KEY`.")
    };
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (shown.next(), shown.next()) else { return Err(none()) };
    let text = only.to_str().map_err(|_| none())?;
    let (scheme, key) = text.split_once(' ').ok_or_else(none)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(key.trim()) } else { Err(none()) }
}
