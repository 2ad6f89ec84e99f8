//! What can happen, and how a message tells it: in the payload of Standard Webhooks.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{SessionEnded, TOLD};
use crate::{
    error::{Kind, Result},
    store::Place,
};

/// What can happen to a connection, and to a session that one is to come of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum, utoipa::ToSchema,
)]
pub enum EventType {
    /// It can be used from now on
    #[serde(rename = "connection.connected")]
    #[value(name = "connection.connected")]
    Connected,
    /// It cannot be used until its owner connects again
    #[serde(rename = "connection.needs-reconnect")]
    #[value(name = "connection.needs-reconnect")]
    NeedsReconnect,
    /// What it holds was renewed
    #[serde(rename = "connection.refreshed")]
    #[value(name = "connection.refreshed")]
    Refreshed,
    /// Its consent was taken back, or it was removed
    #[serde(rename = "connection.revoked")]
    #[value(name = "connection.revoked")]
    Revoked,
    /// A link to connect by is over: it connected something, failed, or ran out
    #[serde(rename = "session.ended")]
    #[value(name = "session.ended")]
    SessionEnded,
}

impl EventType {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Connected, Self::NeedsReconnect, Self::Refreshed, Self::Revoked, Self::SessionEnded];

    /// As it is written in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connection.connected",
            Self::NeedsReconnect => "connection.needs-reconnect",
            Self::Refreshed => "connection.refreshed",
            Self::Revoked => "connection.revoked",
            Self::SessionEnded => "session.ended",
        }
    }
}

/// The connection that something happened to.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The environment's name.
    pub(crate) environment: String,
    /// The connection's id.
    pub(crate) id: Uuid,
    /// The connection's name.
    pub(crate) connection: String,
    /// The connector's name.
    pub(crate) connector: String,
    /// Whose it is, in the words of whoever asked for it.
    pub(crate) owner: Option<String>,
    /// How often it was connected.
    pub(crate) generation: u64,
}

/// That it was told that a connection needs its owner: once for each time that it was connected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(super) generation: u64,
}

impl About {
    /// Where it is kept that it was told.
    pub(crate) fn told_place(&self) -> Result<Place> {
        Place::new(["environment", &self.environment, TOLD, &self.id.to_string()])
    }

    pub(crate) fn happened(&self, kind: EventType, reason: Option<Reason>) -> Happened {
        Happened::ToConnection { kind, about: self.clone(), reason }
    }
}

/// Why it happened, where there are several ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The provider or the service refused to renew it, for good.
    Refused,
    /// A renewal was sent and its answer was lost, so that what it was asked with may be spent.
    AnswerLost,
    /// It comes from a backup, and what it would be renewed with may be spent since.
    Restored,
    /// It would go where its owner did not agree to.
    NotAgreed,
    /// What is kept does not fit the connector any longer.
    NoLongerFits,
    /// The consent was taken back.
    ConsentRevoked,
    /// The connection was removed.
    Removed,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::AnswerLost => "answer-lost",
            Self::Restored => "restored",
            Self::NotAgreed => "not-agreed",
            Self::NoLongerFits => "no-longer-fits",
            Self::ConsentRevoked => "consent-revoked",
            Self::Removed => "removed",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) enum Happened {
    /// What became of a connection.
    ToConnection { kind: EventType, about: About, reason: Option<Reason> },
    /// How a session ended.
    SessionEnded(SessionEnded),
}

impl Happened {
    pub(super) fn kind(&self) -> EventType {
        match self {
            Self::ToConnection { kind, .. } => *kind,
            Self::SessionEnded(_) => EventType::SessionEnded,
        }
    }

    pub(super) fn environment(&self) -> &str {
        match self {
            Self::ToConnection { about, .. } => &about.environment,
            Self::SessionEnded(ended) => &ended.environment,
        }
    }

    /// The message's content.
    pub(super) fn payload(&self) -> Result<String> {
        match self {
            Self::ToConnection { kind, about, reason } => {
                let About { environment, id, connection, connector, owner, .. } = about.clone();
                let reason = reason.map(|reason| reason.name().to_owned());
                let data = OfConnection { environment, connection, connection_id: id, connector, owner, reason };
                Message::new(kind.name(), data).written()
            }
            Self::SessionEnded(ended) => Message::new(EventType::SessionEnded.name(), ended.told()).written(),
        }
    }
}

/// A message's content, as Standard Webhooks has it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Message<D> {
    /// What happened.
    r#type: &'static str,
    /// When it happened (RFC 3339); `webhook-timestamp` is when the message was sent.
    timestamp: String,
    data: D,
}

/// What a message tells of a connection.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct OfConnection {
    environment: String,
    /// Its name.
    connection: String,
    connection_id: Uuid,
    connector: String,
    /// Whose it is, in the words of whoever made the link that it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// Why, where there are several ways. It needs its owner since its renewal was `refused`, since the `answer-lost` of a renewal
    /// may have brought what replaces the last, since it would go where its owner has `not-agreed` to, or since it
    /// `no-longer-fits` its connector. It was revoked by `consent-revoked`, or `removed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl<D: Serialize> Message<D> {
    /// Of what happens now.
    pub(crate) fn new(kind: &'static str, data: D) -> Self {
        let timestamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        Self { r#type: kind, timestamp, data }
    }

    /// As it is sent.
    pub(crate) fn written(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Kind::Internal.error(format!("No message: {error}.")))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
