//! Where an operator wants to be told.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::{EventType, GIVEN_UP, MESSAGES, endpoints_place};
use crate::{
    error::Result,
    secret::Secret,
    store::Place,
    transport::{PoolKey, PrivateAllowed},
};

/// Endpoints of one environment: each event is written once for every one, on the way of whatever it tells of.
pub const MOST_ENDPOINTS: usize = 20;

/// The names of the secrets among an endpoint's.
const CURRENT: &str = "current";
const BEFORE: &str = "before";

/// Where messages go. Its URL may hold a secret, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Endpoint {
    /// Another for each that is added, though it may have the name of one that was removed.
    pub id: Uuid,
    /// For people, unique in the environment.
    pub name: String,
    /// The environment's name.
    pub environment: String,
    /// Its query may hold a secret, and is shown nowhere.
    pub url: Url,
    /// What it wants to know of.
    pub events: BTreeSet<EventType>,
    /// Private addresses that the operator allowed for it.
    pub private: PrivateAllowed,
    #[serde(with = "crate::secret::in_sealed_record")]
    secrets: BTreeMap<String, Secret>,
    /// Until when the secret before signs too, in seconds since 1970.
    before_until: Option<i64>,
    /// RFC 3339.
    pub created: String,
    /// Who added it.
    pub created_by: String,
    /// Since when nothing is sent there, since the receiver said that it is gone (RFC 3339).
    pub disabled: Option<String>,
    /// What came of the last attempt.
    pub last: Option<Last>,
    /// How many messages were given up.
    pub dropped: u64,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Last {
    /// RFC 3339.
    pub at: String,
    /// Whether the receiver took the message.
    pub delivered: bool,
    /// A sentence.
    pub what: String,
}

impl Endpoint {
    #[allow(clippy::too_many_arguments, reason = "each is another thing that an operator says of it")]
    pub(crate) fn new(
        environment: &str,
        name: String,
        url: Url,
        events: BTreeSet<EventType>,
        private: PrivateAllowed,
        secret: Secret,
        created: String,
        created_by: String,
    ) -> Self {
        Self {
            id: Uuid::new_v4(),
            name,
            environment: environment.to_owned(),
            url,
            events,
            private,
            secrets: BTreeMap::from([(CURRENT.to_owned(), secret)]),
            before_until: None,
            created,
            created_by,
            disabled: None,
            last: None,
            dropped: 0,
        }
    }

    /// Takes another secret; until then the one before signs too.
    pub(crate) fn take_secret(&mut self, secret: Secret, until: Timestamp) {
        if let Some(before) = self.secrets.insert(CURRENT.to_owned(), secret) {
            self.secrets.insert(BEFORE.to_owned(), before);
            self.before_until = Some(until.as_second());
        }
    }

    /// The secrets that sign at that moment, the newest first.
    pub(crate) fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        let before = self.before_until.is_some_and(|until| now.as_second() < until).then_some(BEFORE);
        [CURRENT].into_iter().chain(before).filter_map(|name| self.secrets.get(name))
    }

    /// Where it is, without what may be a secret.
    pub(crate) fn shown_url(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        if self.url.query().is_some() { format!("{url}?…") } else { url.into() }
    }

    /// Whether it is told of that.
    pub(crate) fn wants(&self, kind: EventType) -> bool {
        self.disabled.is_none() && self.events.contains(&kind)
    }

    /// Whose network connections its messages use.
    pub(crate) fn pool(&self) -> PoolKey {
        PoolKey::new(format!("webhook/{}", self.id))
    }

    pub(super) fn place(&self) -> Result<Place> {
        endpoints_place(&self.environment)?.join(&self.name)
    }

    /// Where the messages are that wait for it.
    pub(super) fn messages_place(&self) -> Result<Place> {
        Place::new(["environment", &self.environment, MESSAGES, &self.id.to_string()])
    }

    /// Where those are that were given up.
    pub(super) fn given_up_place(&self) -> Result<Place> {
        Place::new(["environment", &self.environment, GIVEN_UP, &self.id.to_string()])
    }
}
