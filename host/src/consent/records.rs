//! What is kept, each as one sealed record.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Discovered, Sending, Terms};
use crate::{
    digest::Digest,
    manifest::{declared, login::REFRESH_TOKEN},
    outbox::About,
    secret::Secret,
    transport::{PoolKey, PrivateAllowed},
};

/// What providers call the scope that a renewal token is asked for with (OpenID Connect Core, 11; X).
const FOR_RENEWAL: [&str; 2] = ["offline_access", "offline.access"];

/// A container of everything else; nothing crosses it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Environment {
    /// Lower-kebab-case.
    pub name: String,
    /// RFC 3339.
    pub created: String,
}

/// The operator's yes to one digest of a connector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Approval {
    /// The connector's name.
    pub connector: String,
    /// Its version.
    pub version: String,
    /// What was approved.
    pub digest: Digest,
    /// What it said of itself, as it was when approved.
    pub declared: Arc<declared::Connector>,
    /// What the approval is for.
    pub terms: Arc<Terms>,
    /// RFC 3339.
    pub approved: String,
    /// Who said yes.
    pub approved_by: String,
    /// How its instances are kept apart.
    #[serde(default)]
    pub isolation: Isolation,
}

/// How long an instance of a connector lives; an operator's choice for each connector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A fresh instance for every call, so that a call finds nothing of another's in memory
    #[default]
    Call,
    /// One that is used again for the same connection, consent and caller: quicker, and what the connector remembers of
    /// an earlier call is there
    Connection,
}

impl Isolation {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Call => "call",
            Isolation::Connection => "connection",
        }
    }
}

/// Parameters of one account, made through one auth option of one connector. Its secrets are in [`Credential`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    /// Stays the same through reconnecting.
    pub id: Uuid,
    /// Unique in the environment.
    pub name: String,
    /// The connector's name.
    pub connector: String,
    /// The auth option's id.
    pub option: String,
    /// What the connector may read.
    pub parameters: BTreeMap<String, String>,
    /// Private addresses that the operator allowed for it.
    pub private: PrivateAllowed,
    /// The operator's app that it was made with.
    #[serde(default)]
    pub app: Option<String>,
    /// Through which gateway it goes, if through one.
    #[serde(default)]
    pub gateway: Option<AgreedGateway>,
    /// What the provider said of itself.
    #[serde(default)]
    pub discovered: Discovered,
    /// Whose it is, in the service's words.
    pub account: String,
    /// Whose it is, in the words of whoever asked for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Counts how often it was connected.
    pub generation: u64,
    /// RFC 3339.
    pub created: String,
}

impl Connection {
    /// Whose network connections it uses: each time it is connected, its own.
    pub fn pool(&self) -> PoolKey {
        PoolKey::new(format!("{}/{}", self.id, self.generation))
    }

    /// Whether the records that were kept together with the one were kept with the other.
    pub(crate) fn is_as_kept_with(&self, other: &Self) -> bool {
        // Its gateway gets another key without it being connected anew.
        (self.id, self.generation, &self.gateway) == (other.id, other.generation, &other.gateway)
    }

    /// What messages say of it.
    pub(crate) fn about(&self, environment: &str) -> About {
        About {
            environment: environment.to_owned(),
            id: self.id,
            connection: self.name.clone(),
            connector: self.connector.clone(),
            owner: self.owner.clone(),
            generation: self.generation,
        }
    }
}

/// The secrets of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Credential {
    /// By parameter.
    #[serde(with = "crate::secret::in_sealed_record")]
    pub secrets: BTreeMap<String, Secret>,
    /// Those of a connection that goes through a gateway, in place of the others.
    #[serde(default)]
    pub sealed: Option<SealedBox>,
}

/// What was typed, sealed to a gateway: nobody else reads it, this host neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedBox {
    /// What it is bound to, byte by byte.
    pub terms: String,
    /// RFC 9180's `enc`, in base64.
    pub encapsulated: String,
    /// The sealed text, in base64.
    pub sealed: String,
}

impl SealedBox {
    /// What is in it, bound to these terms.
    pub(crate) fn of(terms: &str, text: SealedText) -> Self {
        let SealedText { encapsulated, sealed } = text;
        Self { terms: terms.to_owned(), encapsulated, sealed }
    }

    /// Without what it is bound to.
    pub(crate) fn text(&self) -> SealedText {
        SealedText { encapsulated: self.encapsulated.clone(), sealed: self.sealed.clone() }
    }
}

/// The gateway that a connection's owner agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgreedGateway {
    /// Its name.
    pub name: String,
    /// The fingerprint of its key, as the owner compared it.
    pub key: Digest,
}

/// What signing in gave, good for a while.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Captured {
    /// By name, the tokens too. Which of them a connector can read, its manifest says.
    #[serde(with = "crate::secret::in_sealed_record")]
    pub values: BTreeMap<String, Secret>,
    /// When, in seconds since 1970.
    pub obtained: i64,
    /// Until when, in seconds since 1970; none until it is refused.
    pub expires: Option<i64>,
    /// Counts the sign-ins of the connection.
    pub generation: u64,
    /// Why the service refused the last sign-in, where it did: it is not asked again until somebody connects anew.
    pub refused: Option<String>,
    /// The generation that is being asked for with a renewal token: on the disk before the request leaves, and gone with its
    /// answer. Where it stands still, the answer was lost.
    #[serde(default)]
    pub sending: Option<Sending>,
    /// Whether the provider replaces the renewal token each time, as far as it was seen.
    #[serde(default)]
    pub rotates: Option<bool>,
    /// What was granted, where the scheme has scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether it was got with the app's own credentials, which can be asked with again at any time.
    #[serde(default)]
    pub itself: bool,
    /// Everything that was captured, where only a gateway reads it; then no secret is among the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedCaptured>,
}

/// What a gateway captured, as only it reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedCaptured {
    /// What is in it, by name.
    pub names: BTreeSet<String>,
    /// The box.
    pub text: SealedText,
}

/// A text that only a gateway reads, bound to the terms of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedText {
    /// RFC 9180's `enc`, in base64.
    pub encapsulated: String,
    /// The sealed text, in base64.
    pub sealed: String,
}

impl Captured {
    /// Whether there is a value of that name, be it that only a gateway reads it.
    pub fn holds(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.sealed.as_ref().is_some_and(|sealed| sealed.names.contains(name))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.sealed.is_none()
    }

    /// How long it was good for when it was new.
    pub fn lifetime(&self) -> Option<Duration> {
        let seconds = self.expires?.saturating_sub(self.obtained);
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Which of these scopes were not granted. That one was for a renewal token shows in the token, and not every provider
    /// repeats its name.
    pub fn withheld(&self, asked: &[String]) -> Vec<String> {
        let renews = self.holds(REFRESH_TOKEN);
        let missing = asked.iter().filter(|scope| !self.scopes.contains(scope));
        missing.filter(|scope| !(renews && FOR_RENEWAL.contains(&scope.as_str()))).cloned().collect()
    }
}

/// Everything that belongs to one connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drafted {
    /// The connection.
    pub connection: Connection,
    /// What was typed.
    pub credential: Credential,
    /// What signing in gave.
    pub captured: Option<Captured>,
    /// What was agreed to.
    pub consent: Consent,
    /// When the consent that this replaces had been revoked by the time that it was agreed to, if it had: one that is revoked
    /// later takes this back too.
    #[serde(default)]
    pub revoked_before: Option<String>,
}

/// A connection that somebody signed in for and that is none until whoever asked confirms whose it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pending {
    /// What it will be.
    pub drafted: Drafted,
    /// Who it is for, in the words of whoever asked.
    pub owner: String,
    /// When they came back, in seconds since 1970.
    #[serde(default)]
    pub since: i64,
    /// The caller key that asked, by its id: another of its name confirms nothing. None for an operator.
    pub key: Option<Uuid>,
    /// The session that they came back in, if it is one whose end is told.
    #[serde(default)]
    pub session: Option<String>,
    /// Until when it can be confirmed, in seconds since 1970.
    pub until: i64,
}

impl Pending {
    /// Whether it is over by a clock that says this. One that says it has not come about yet was set back: nobody knows then for
    /// how long it has waited.
    pub fn is_over(&self, now: i64) -> bool {
        now < self.since || self.until <= now
    }
}

/// The account owner's yes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Consent {
    /// The connection's id.
    pub connection: Uuid,
    /// The connection's name, for people.
    pub name: String,
    /// The digest that was shown.
    pub digest: Digest,
    /// Resolved origins that receive the credential.
    pub origins: Vec<String>,
    /// Resolved origins that are called without it.
    pub open_hosts: Vec<String>,
    /// Where the credential is placed.
    pub placements: Vec<String>,
    /// Resolved origins that what was typed is sent to, to sign in.
    #[serde(default)]
    pub sign_in: Vec<String>,
    /// The gateway that attaches the credential, if one does.
    #[serde(default)]
    pub gateway: Option<AgreedGateway>,
    /// Scopes, where the scheme has them.
    pub scopes: Vec<String>,
    /// Whose account.
    pub account: String,
    /// Who consented, and how.
    pub caller: String,
    /// RFC 3339.
    pub given: String,
    /// RFC 3339; none for until it is revoked.
    pub until: Option<String>,
    /// RFC 3339, once it is.
    pub revoked: Option<String>,
}

impl Consent {
    /// Whether it still stands.
    pub fn is_live(&self) -> bool {
        let over = self
            .until
            .as_deref()
            .and_then(|until| until.parse::<jiff::Timestamp>().ok())
            .is_some_and(|until| until <= jiff::Timestamp::now());
        self.revoked.is_none() && !over
    }
}

/// The time as records have it: RFC 3339, UTC, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
