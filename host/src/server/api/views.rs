//! How things are shown. Nothing secret is among their members.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    callers::{CallerKey, Permission},
    connect::{ConnectProposal, Ended, Made, Sealing},
    consent::{
        App, Approval, Connection, Consent, Environment, Isolation,
        app::{CERTIFICATE, CLIENT_SECRET, PRIVATE_KEY, SecretAuth},
        oauth2::Revoked,
    },
    digest::Digest,
    error::Result,
    gateway::{Gateway, Member, SealingKey},
    host::Host,
    manifest::{Effect, Operation, oauth2::Grant},
    outbox::{Endpoint, EventType, Kept, Last},
};

/// A connector that is approved.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ConnectorView {
    pub(crate) connector: String,
    pub(crate) version: String,
    /// SHA-256 of its bytes, in hexadecimal.
    #[schema(value_type = String)]
    pub(crate) digest: Digest,
    /// RFC 3339.
    pub(crate) approved: String,
    pub(crate) approved_by: String,
    pub(crate) isolation: Isolation,
    /// What the approval is for.
    #[schema(value_type = Object)]
    pub(crate) terms: Value,
}

impl From<&Approval> for ConnectorView {
    fn from(it: &Approval) -> Self {
        Self {
            connector: it.connector.clone(),
            version: it.version.clone(),
            digest: it.digest,
            approved: it.approved.clone(),
            approved_by: it.approved_by.clone(),
            isolation: it.isolation,
            terms: json!(it.terms),
        }
    }
}

/// A connection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ConnectionView {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) connector: String,
    pub(crate) auth_option: String,
    /// Whose it is, in the service's words.
    pub(crate) account: String,
    pub(crate) app: Option<String>,
    /// The gateway that it goes through, if through one.
    #[serde(default)]
    pub(crate) gateway: Option<String>,
    /// What the connector can read.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Private addresses that it may reach.
    #[schema(value_type = Vec<String>)]
    pub(crate) private: Value,
    /// RFC 3339.
    pub(crate) created: String,
    /// When a call of it ended last, whatever came of it; RFC 3339, to the second. None where there was none. Checks and dry
    /// runs are no calls. A host that is killed forgets the last minute of it.
    #[serde(default)]
    pub(crate) last_used: Option<String>,
    /// `connected`, or `needs reconnect`.
    pub(crate) state: String,
}

impl ConnectionView {
    pub(crate) fn of(host: &Host, environment: &str, it: &Connection) -> Result<Self> {
        let book = host.book(environment)?;
        let refused = book.captured(it.id)?.is_some_and(|captured| captured.refused.is_some());
        let stands = book.consent(it.id)?.is_some_and(|consent| consent.is_live());
        let state = if stands && !refused { "connected" } else { "needs reconnect" };
        Ok(Self {
            id: it.id,
            name: it.name.clone(),
            connector: it.connector.clone(),
            auth_option: it.option.clone(),
            account: it.account.clone(),
            app: it.app.clone(),
            gateway: it.gateway.as_ref().map(|gateway| gateway.name.clone()),
            parameters: it.parameters.clone(),
            private: json!(it.private),
            created: it.created.clone(),
            last_used: host.last_used(&book, it.id)?.map(|at| at.to_string()),
            state: state.into(),
        })
    }
}

/// A connection, with what its owner agreed to and how it stands.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ConnectionDetail {
    pub(crate) connection: ConnectionView,
    /// As it is kept.
    #[schema(value_type = Option<Object>)]
    pub(crate) consent: Option<Consent>,
    /// The names of the secrets that are kept for it.
    pub(crate) secrets: Vec<String>,
    /// How often it was connected.
    pub(crate) generation: u64,
    /// Scopes that the provider granted.
    pub(crate) granted: Vec<String>,
    /// RFC 3339; none where it does not run out, or it is not known when.
    pub(crate) expires: Option<String>,
    /// Why the provider refused it, where it did: it is not asked again.
    pub(crate) refused: Option<String>,
}

/// What came of making a connection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MadeView {
    #[serde(flatten)]
    pub(crate) connection: ConnectionView,
    /// Scopes that were asked for and not granted.
    pub(crate) withheld: Vec<String>,
}

impl MadeView {
    pub(crate) fn of(host: &Host, environment: &str, made: Made) -> Result<Self> {
        let connection = ConnectionView::of(host, environment, &made.connection)?;
        Ok(Self { connection, withheld: made.withheld })
    }
}

/// What came of ending something.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EndedView {
    /// What the provider did: `revoked`, `no-endpoint` or `failed`; none where it had given nothing.
    pub(crate) upstream: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

impl EndedView {
    /// What a person is told about the service's side of it.
    pub(crate) fn there(&self) -> String {
        let by_hand = "Take the access back in the account's own settings there.";
        match (self.upstream.as_deref(), &self.why) {
            (None, _) => "A key or password stays valid at the service until it is changed there.".to_owned(),
            (Some(_), Some(why)) => format!("The provider did not end its tokens: {why} {by_hand}"),
            (Some("revoked"), None) => "The provider ended its tokens too.".to_owned(),
            (Some(_), None) => {
                format!("The provider has no way to be told: its tokens are good there until they run out. {by_hand}")
            }
        }
    }
}

impl From<Ended> for EndedView {
    fn from(ended: Ended) -> Self {
        let why = match &ended.upstream {
            Some(Revoked::Failed(error)) => Some(error.message().to_owned()),
            _ => None,
        };
        Self { upstream: ended.upstream.as_ref().map(|it| it.name().to_owned()), why }
    }
}

/// What a person is asked to agree to before a connection is made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ConnectProposalView {
    /// What to agree to it with, within ten minutes.
    pub(crate) proposal: String,
    pub(crate) connector: String,
    pub(crate) version: String,
    #[schema(value_type = String)]
    pub(crate) digest: Digest,
    pub(crate) name: String,
    pub(crate) account_before: Option<String>,
    pub(crate) app: Option<String>,
    /// Origins that the credential goes to; that are called, where there is none.
    pub(crate) origins: Vec<String>,
    /// Where the credential is placed.
    pub(crate) placements: Vec<String>,
    /// The same, with the names filled in.
    pub(crate) places: Vec<String>,
    /// Origins that are called to sign in.
    pub(crate) sign_in: Vec<String>,
    pub(crate) named_later: Vec<String>,
    pub(crate) open_hosts: Vec<String>,
    pub(crate) private_origins: Vec<String>,
    /// What the connector can read.
    pub(crate) readable: BTreeMap<String, String>,
    pub(crate) short_secrets: Vec<String>,
    pub(crate) scopes: Vec<ScopeView>,
    #[schema(value_type = Option<String>)]
    pub(crate) grant: Option<Grant>,
    /// Whether a person is sent to a page: then a connect session makes the connection.
    pub(crate) sends_away: bool,
    /// What is to be sealed, where it goes through a gateway.
    #[serde(default)]
    pub(crate) sealing: Option<SealingView>,
}

/// What the secrets are sealed to, and what the box is bound to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SealingView {
    pub(crate) gateway: String,
    /// As in a gateway's own view: whether it is that gateway's, its fingerprint tells.
    #[schema(value_type = String)]
    pub(crate) key: SealingKey,
    /// The associated data, byte by byte: JSON that says where the credential goes and as what.
    pub(crate) terms: String,
}

/// A scope, with the connector's words for it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ScopeView {
    pub(crate) name: String,
    pub(crate) about: Option<String>,
}

impl ConnectProposalView {
    pub(crate) fn of(id: String, it: &ConnectProposal) -> Self {
        let (approval, consent) = (&it.approval, &it.consent);
        Self {
            proposal: id,
            connector: approval.connector.clone(),
            version: approval.version.clone(),
            digest: approval.digest,
            name: it.connection.name.clone(),
            account_before: it.account_before.clone(),
            app: it.connection.app.clone(),
            origins: consent.origins.clone(),
            placements: consent.placements.clone(),
            places: it.places.clone(),
            sign_in: consent.sign_in.clone(),
            named_later: it.named_later.clone(),
            open_hosts: consent.open_hosts.clone(),
            private_origins: it.private_origins.clone(),
            readable: it.readable.clone(),
            short_secrets: it.short_secrets.clone(),
            scopes: it
                .scopes
                .iter()
                .map(|(name, about)| ScopeView { name: name.clone(), about: about.clone() })
                .collect(),
            grant: it.grant,
            sends_away: it.sends_away(),
            sealing: it.sealing.clone().map(|Sealing { gateway, key, terms }| SealingView { gateway, key, terms }),
        }
    }
}

/// An operation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct OperationView {
    pub(crate) id: String,
    /// The connector's words.
    pub(crate) title: String,
    /// The connector's words.
    pub(crate) description: String,
    pub(crate) effect: Effect,
    /// What it needs to have been granted beside what every connection asks for.
    pub(crate) scopes: Vec<String>,
}

impl From<&Operation> for OperationView {
    fn from(it: &Operation) -> Self {
        Self {
            id: it.id.clone(),
            title: it.title.clone(),
            description: it.description.clone(),
            effect: it.effect,
            scopes: it.scopes.clone(),
        }
    }
}

/// An operation with its JSON Schemas.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct OperationDetail {
    #[serde(flatten)]
    pub(crate) operation: OperationView,
    #[schema(value_type = Object)]
    pub(crate) input: Value,
    #[schema(value_type = Object)]
    pub(crate) output: Value,
}

impl From<&Operation> for OperationDetail {
    fn from(it: &Operation) -> Self {
        Self { operation: it.into(), input: it.input.document().clone(), output: it.output.document().clone() }
    }
}

/// An app; its secrets are not in it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct AppView {
    pub(crate) connector: String,
    pub(crate) name: String,
    pub(crate) client_id: String,
    /// What it proves itself with.
    pub(crate) proof: String,
    /// The gateway that alone has its secrets, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) redirect_uri: Option<String>,
    pub(crate) parameters: BTreeMap<String, String>,
    /// How a client secret is shown, where the operator said so, or the provider.
    #[schema(value_type = Option<String>)]
    pub(crate) client_auth: Option<SecretAuth>,
    /// Whether the host registered it by itself.
    pub(crate) registered: bool,
    /// Where it did.
    pub(crate) registered_at: Option<String>,
    /// When the client secret runs out that the provider gave it then; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret_expires: Option<String>,
    /// RFC 3339.
    pub(crate) created: String,
}

impl From<&App> for AppView {
    fn from(it: &App) -> Self {
        Self {
            connector: it.connector.clone(),
            name: it.name.clone(),
            client_id: it.client_id.clone(),
            proof: proof(it).into(),
            gateway: it.gateway.as_ref().map(|gateway| gateway.name.clone()),
            key_id: it.key_id.clone(),
            origins: it.origins.iter().map(ToString::to_string).collect(),
            redirect_uri: it.redirect_uri.as_ref().map(ToString::to_string),
            parameters: it.parameters.clone(),
            client_auth: it.client_auth,
            registered: it.registered_at.is_some(),
            registered_at: it.registered_at.as_ref().map(ToString::to_string),
            secret_expires: it.secret_expires(),
            created: it.created.clone(),
        }
    }
}

/// What an app proves itself with.
fn proof(app: &App) -> &'static str {
    let has = |name: &str| app.secrets.contains_key(name);
    match () {
        () if app.sealed.is_some() => "what is sealed to its gateway",
        () if has(PRIVATE_KEY) => "private key",
        () if has(CERTIFICATE[0]) => "client certificate",
        () if has(CLIENT_SECRET) && app.client_auth == Some(SecretAuth::ClientSecretJwt) => {
            "an assertion signed with the client secret"
        }
        () if has(CLIENT_SECRET) => "client secret",
        () => "nothing (a public client)",
    }
}

/// A caller key, without what it is shown as.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CallerView {
    pub(crate) name: String,
    pub(crate) permissions: BTreeSet<Permission>,
    /// What operations that it calls may do.
    pub(crate) effects: BTreeSet<Effect>,
    /// The ids of the connections that it reaches; none for all.
    pub(crate) connections: Option<BTreeSet<Uuid>>,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) created_by: String,
    /// RFC 3339; none for until it is revoked.
    pub(crate) expires: Option<String>,
}

impl From<&CallerKey> for CallerView {
    fn from(it: &CallerKey) -> Self {
        Self {
            name: it.name.clone(),
            permissions: it.permissions.clone(),
            effects: it.effects.clone(),
            connections: it.connections.clone(),
            created: it.created.clone(),
            created_by: it.created_by.clone(),
            expires: it.expires.clone(),
        }
    }
}

/// An endpoint that is told what happens to connections, and how connect sessions end.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct WebhookView {
    pub(crate) name: String,
    /// Without its query, which may hold a secret.
    pub(crate) url: String,
    /// What it is told of.
    pub(crate) events: BTreeSet<EventType>,
    /// Private addresses that it may be at.
    #[schema(value_type = Vec<String>)]
    pub(crate) private: Value,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) created_by: String,
    /// Since when nothing is sent there (RFC 3339), since the receiver said that it is gone; none while it is told.
    pub(crate) disabled: Option<String>,
    /// What came of the last attempt; none before the first.
    pub(crate) last: Option<Last>,
    /// Messages that wait.
    pub(crate) waiting: usize,
    /// Messages that were given up.
    pub(crate) dropped: u64,
    /// How many of them are kept, and can be sent again.
    pub(crate) kept: usize,
}

impl WebhookView {
    pub(crate) fn of(host: &Host, it: &Endpoint) -> Result<Self> {
        Ok(Self {
            name: it.name.clone(),
            url: it.shown_url(),
            events: it.events.clone(),
            private: json!(it.private),
            created: it.created.clone(),
            created_by: it.created_by.clone(),
            disabled: it.disabled.clone(),
            last: it.last.clone(),
            waiting: host.waiting_for(it)?,
            dropped: it.dropped,
            kept: host.given_up_for(it)?,
        })
    }
}

/// A message that waits for an endpoint, or that was given up and can be sent again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MessageView {
    /// `webhook-id`.
    pub(crate) id: String,
    pub(crate) r#type: EventType,
    /// When that came about which it tells of (RFC 3339).
    pub(crate) happened: String,
    /// `waiting`, or `given-up`.
    pub(crate) state: String,
    /// How often it was tried.
    pub(crate) attempts: usize,
    /// When it is tried next (RFC 3339); none where it was given up.
    pub(crate) due: Option<String>,
}

impl MessageView {
    pub(crate) fn of(it: Kept) -> Self {
        let written = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let due = Timestamp::from_millisecond(it.message.due).ok().filter(|_| !it.is_given_up);
        Self {
            id: it.message.id,
            r#type: it.message.kind,
            happened: written(it.happened),
            state: if it.is_given_up { "given-up" } else { "waiting" }.to_owned(),
            attempts: it.message.attempts,
            due: due.map(written),
        }
    }
}

/// A gateway that joined.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct GatewayView {
    pub(crate) name: String,
    /// What secrets are sealed to: an X25519 key (HPKE, RFC 9180, with HKDF-SHA256 and ChaCha20-Poly1305), in base64.
    #[schema(value_type = String)]
    pub(crate) key: SealingKey,
    /// What people compare with what the gateway printed when it joined.
    #[schema(value_type = String)]
    pub(crate) fingerprint: Digest,
    /// `connected`, or `not connected`.
    pub(crate) state: String,
    /// RFC 3339; since when one of its machines is connected, or when one was last heard of.
    pub(crate) last_contact: Option<String>,
    /// The machines, in the order in which they joined.
    pub(crate) members: Vec<MemberView>,
}

/// A machine of a gateway.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MemberView {
    pub(crate) id: String,
    /// `connected`, or `not connected`.
    pub(crate) state: String,
    /// RFC 3339; since when it is connected, or when it was last heard of.
    pub(crate) last_contact: Option<String>,
    /// RFC 3339.
    pub(crate) joined: String,
    pub(crate) invited_by: String,
}

const CONNECTED: &str = "connected";

impl GatewayView {
    pub(crate) fn of(it: &Gateway, members: Vec<MemberView>) -> Self {
        let connected: Vec<_> = members.iter().filter(|member| member.state == CONNECTED).collect();
        let last_contact = match connected.first() {
            Some(_) => connected.iter().filter_map(|member| member.last_contact.clone()).min(),
            None => members.iter().filter_map(|member| member.last_contact.clone()).max(),
        };
        let state = if connected.is_empty() { "not connected" } else { CONNECTED };
        Self {
            name: it.name.clone(),
            fingerprint: it.key.fingerprint(),
            key: it.key.clone(),
            state: state.into(),
            last_contact,
            members,
        }
    }
}

impl MemberView {
    pub(crate) fn of(it: &Member, connected_since: Option<String>, last_contact: Option<String>) -> Self {
        Self {
            id: it.id(),
            state: if connected_since.is_some() { CONNECTED } else { "not connected" }.into(),
            last_contact: connected_since.or(last_contact),
            joined: it.joined.clone(),
            invited_by: it.invited_by.clone(),
        }
    }
}

/// An environment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct EnvironmentView {
    pub(crate) name: String,
    /// RFC 3339; empty for the one that was always there.
    pub(crate) created: String,
}

impl From<&Environment> for EnvironmentView {
    fn from(it: &Environment) -> Self {
        Self { name: it.name.clone(), created: it.created.clone() }
    }
}
