//! Connect sessions that are under way. Their links live in the memory of a host that runs; that each is there is kept here until
//! it is told how it ended, so that this is told once, also where the host ended first.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Outbox, SESSIONS};
use crate::{
    error::{Error, Result},
    store::{Changes, Place},
};

/// A session that is under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Whose the connection is to be, in the words of whoever had the link made.
    pub(crate) owner: String,
}

/// That a session ended.
#[derive(Debug, Clone)]
pub(crate) struct SessionEnded {
    /// The environment's name.
    pub(crate) environment: String,
    /// What whoever had the link made calls it by.
    pub(crate) session: String,
    /// See [`Session`].
    pub(crate) owner: String,
    pub(crate) how: How,
}

/// How a session ended.
#[derive(Debug, Clone)]
pub(crate) enum How {
    /// Whoever had the link made confirmed who came back, and there is a connection.
    Connected {
        /// Its name.
        connection: String,
        /// Its id.
        id: Uuid,
    },
    /// Somebody came back, and nothing came of it.
    Failed(Error),
    /// Nobody came back, or was confirmed, in time; or the host ended before.
    RanOut,
}

/// What a message tells of a session: what whoever made it is told when they ask.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct OfSession {
    environment: String,
    /// As it was called when it was made.
    session_id: String,
    /// Whose the connection was to be, as it was said when the session was made.
    owner: String,
    /// `connected`; `failed`, with a problem; or `ran-out`, where nobody came back or was confirmed in time.
    outcome: &'static str,
    /// The name of the connection that there is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<Uuid>,
    /// Why nothing came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Why>,
}

/// Why a session failed, in the words that whoever asks for it is told.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Why {
    /// What sort of failure it is, as in every problem: `denied`, `service-failed` and so on.
    kind: String,
    /// A sentence for people.
    detail: String,
    /// What would mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl SessionEnded {
    pub(super) fn told(&self) -> OfSession {
        let (outcome, connected, problem) = match &self.how {
            How::Connected { connection, id } => ("connected", Some((connection.clone(), *id)), None),
            How::Failed(error) => ("failed", None, Some(Why::of(error))),
            How::RanOut => ("ran-out", None, None),
        };
        let (connection, connection_id) = connected.unzip();
        OfSession {
            environment: self.environment.clone(),
            session_id: self.session.clone(),
            owner: self.owner.clone(),
            outcome,
            connection,
            connection_id,
            problem,
        }
    }

    /// Where it is kept that it is under way.
    pub(super) fn place(&self) -> Result<Place> {
        place(&self.environment, &self.session)
    }
}

impl Why {
    fn of(error: &Error) -> Self {
        Self {
            kind: error.kind().name().to_owned(),
            detail: error.message().to_owned(),
            hint: error.mend().map(str::to_owned),
        }
    }
}

impl Outbox {
    /// Keeps that a session is under way.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn begin_session(&self, environment: &str, session: &str, owner: &str) -> Result<()> {
        let kept = Session { owner: owner.to_owned() };
        self.vault.commit_aside(Changes::new().put(&place(environment, session)?, &kept)?)
    }

    /// The sessions of an environment that nobody was told the end of, each with its name.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn sessions(&self, environment: &str) -> Result<Vec<(String, Session)>> {
        let kept = self.readable::<Session>(&Place::new(["environment", environment, SESSIONS])?)?;
        Ok(kept.into_iter().map(|(place, session)| (place.name().to_owned(), session)).collect())
    }
}

fn place(environment: &str, session: &str) -> Result<Place> {
    Place::new(["environment", environment, SESSIONS, session])
}
