//! The events that there are lines for.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::{counts::Counted, name::Name};
use crate::{digest::Digest, origin::Origin, text};

/// Names and reasons in a line are no longer than this; a path may be.
const LONGEST: usize = 500;

/// Who and what a call's lines are about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// The environment's name.
    pub environment: String,
    /// The connection's name.
    pub connection: String,
    /// The connector's name.
    pub connector: String,
    /// The connector's digest.
    pub digest: Digest,
    /// The operation's id; `check` for a check, empty where there is none.
    pub operation: String,
    /// The same in every line of one call.
    pub call: Uuid,
    /// Who asked.
    pub caller: String,
}

/// The same, written once for all lines of a call.
#[derive(Debug, Clone)]
pub struct Subject {
    about: Arc<About>,
    /// As members of a JSON object.
    written: Arc<str>,
}

impl Subject {
    /// Of these.
    pub fn new(about: About) -> Self {
        let mut call = Uuid::encode_buffer();
        let members = [
            ("environment", about.environment.as_str()),
            ("connection", &about.connection),
            ("connector", &about.connector),
            ("digest", &about.digest.short()),
            ("call", about.call.hyphenated().encode_lower(&mut call)),
            ("caller", &about.caller),
            ("operation", &about.operation),
        ];
        let mut written = String::with_capacity(LIKELY_LENGTH);
        for (name, text) in members.into_iter().filter(|(name, text)| *name != "operation" || !text.is_empty()) {
            write_name(&mut written, name);
            write_text(&mut written, text);
        }
        Self { written: written.into(), about: Arc::new(about) }
    }

    /// Who and what they are about.
    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// The connector's name.
    pub(crate) fn connector(&self) -> &str {
        &self.about.connector
    }

    /// The operation's id.
    pub(crate) fn operation(&self) -> &str {
        &self.about.operation
    }

    /// The connection's name.
    pub fn connection(&self) -> &str {
        &self.about.connection
    }

    /// Who asked.
    pub fn caller(&self) -> &str {
        &self.about.caller
    }
}

/// How a connection comes by what is attached for it, where that is not what was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obtaining {
    /// There was nothing before: somebody connects, or connects anew.
    SignIn,
    /// In place of what there was.
    Renewal,
}

impl Obtaining {
    fn one_of(self, sign_in: Name, renewal: Name) -> Name {
        match self {
            Self::SignIn => sign_in,
            Self::Renewal => renewal,
        }
    }
}

/// Room for a line without growing: most have some 400 bytes.
const LIKELY_LENGTH: usize = 512;

/// What a member says.
#[derive(Debug, Clone)]
enum Said {
    Text(String),
    Number(u64),
    Texts(Vec<String>),
}

impl From<&str> for Said {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Said {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Said {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl Said {
    fn write(&self, to: &mut String) {
        match self {
            Self::Text(text) => write_text(to, text),
            Self::Number(number) => to.push_str(&number.to_string()),
            Self::Texts(texts) => {
                for (index, text) in texts.iter().enumerate() {
                    to.push(if index == 0 { '[' } else { ',' });
                    write_text(to, text);
                }
                to.push_str(if texts.is_empty() { "[]" } else { "]" });
            }
        }
    }
}

/// A comma, and a member's name.
fn write_name(to: &mut String, name: &str) {
    to.push_str(",\"");
    to.push_str(name);
    to.push_str("\":");
}

/// A JSON string (RFC 8259 section 7).
fn write_text(to: &mut String, text: &str) {
    to.push('"');
    // Nearly every text is one that has nothing to escape.
    if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        let quoted = serde_json::Value::from(text).to_string();
        to.push_str(&quoted[1..quoted.len() - 1]);
    } else {
        to.push_str(text);
    }
    to.push('"');
}

/// One event; its members are all that a line says beside its place in the chain.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) name: Name,
    subject: Option<Arc<str>>,
    own: Vec<(&'static str, Said)>,
}

impl Event {
    /// What it is counted as, if it is.
    pub(super) fn counted(&self) -> Option<Counted> {
        match self.name {
            Name::Request | Name::CredentialUsed => Some(Counted::Sent),
            Name::RequestDenied => Some(Counted::Denied),
            Name::RequestFailed => Some(Counted::Failed),
            Name::Answer => self.own.iter().find_map(|(name, said)| match said {
                Said::Number(status) if *name == "status" => Some(Counted::Answered(u8::try_from(status / 100).ok()?)),
                _ => None,
            }),
            Name::SignedIn => Some(Counted::SignedIn),
            Name::SignInRefused => Some(Counted::SignInRefused),
            Name::SignInFailed => Some(Counted::SignInFailed),
            Name::Renewed => Some(Counted::Renewed),
            Name::RenewalRefused => Some(Counted::RenewalRefused),
            Name::RenewalFailed => Some(Counted::RenewalFailed),
            _ => None,
        }
    }

    /// Writes its members as they stand in a JSON object, each with a comma before it.
    pub(super) fn write_members(&self, to: &mut String) {
        to.push_str(self.subject.as_deref().unwrap_or_default());
        for (name, said) in &self.own {
            write_name(to, name);
            said.write(to);
        }
    }

    /// An operator agreed to a connector.
    pub fn connector_approved(environment: &str, connector: &str, digest: Digest, caller: &str) -> Self {
        Self::of_connector(Name::ConnectorApproved, environment, connector, digest, caller)
    }

    /// An operator removed a connector.
    pub fn connector_removed(environment: &str, connector: &str, digest: Digest, caller: &str) -> Self {
        Self::of_connector(Name::ConnectorRemoved, environment, connector, digest, caller)
    }

    /// An operator chose how a connector's instances are kept apart.
    pub fn connector_isolated(
        environment: &str,
        connector: &str,
        digest: Digest,
        isolation: &str,
        caller: &str,
    ) -> Self {
        let mut event = Self::of_connector(Name::ConnectorIsolated, environment, connector, digest, caller);
        event.own.push(("isolation", isolation.into()));
        event
    }

    /// An operator has the store sealed under another key; `from` and `to` are kinds of sources.
    pub fn key_rotation(from: &str, to: &str, caller: &str) -> Self {
        let own = vec![("from", from.into()), ("to", to.into()), ("caller", caller.into())];
        Self { name: Name::KeyRotation, subject: None, own }
    }

    /// A copy of everything is about to be made; `opens_with` is `key` or `passphrase`.
    pub fn backed_up(opens_with: &str, caller: &str) -> Self {
        let own = vec![("opens-with", opens_with.into()), ("caller", caller.into())];
        Self { name: Name::BackedUp, subject: None, own }
    }

    /// What is before this line was restored from a backup of that moment; what happened between the two is not told of.
    pub fn restored(moment: &str, caller: &str) -> Self {
        let own = vec![("moment", moment.into()), ("caller", caller.into())];
        Self { name: Name::Restored, subject: None, own }
    }

    /// An owner consented, and a connection was made.
    pub fn connected(subject: &Subject) -> Self {
        Self::about(Name::Connected, subject, [])
    }

    /// An owner consented anew, and a connection's credential was replaced.
    pub fn reconnected(subject: &Subject) -> Self {
        Self::about(Name::Reconnected, subject, [])
    }

    /// What a provider had given is to end; what it made of that.
    pub fn given_back(subject: &Subject, outcome: &str) -> Self {
        Self::about(Name::GivenBack, subject, [("outcome", outcome.into())])
    }

    /// Somebody signed in for a connection that is to be confirmed.
    pub fn pending(subject: &Subject, owner: &str) -> Self {
        Self::about(Name::ConnectionPending, subject, [("owner", text::foreign(owner, LONGEST).into())])
    }

    /// A connection that was to be confirmed is not made.
    pub fn not_confirmed(subject: &Subject, reason: &str) -> Self {
        Self::about(Name::ConnectionNotConfirmed, subject, [("reason", reason.into())])
    }

    /// The host registered an app by itself.
    pub fn app_registered(subject: &Subject, app: &str) -> Self {
        Self::about(Name::AppRegistered, subject, [("app", app.into())])
    }

    /// An operator set an app; `origins` are where its secrets may go.
    pub fn app_set(environment: &str, connector: &str, app: &str, origins: &[String], caller: &str) -> Self {
        let mut event = Self::of_app(Name::AppSet, environment, connector, app, caller);
        event.own.push(("origins", Said::Texts(origins.to_vec())));
        event
    }

    /// An operator removed an app.
    pub fn app_removed(environment: &str, connector: &str, app: &str, caller: &str) -> Self {
        Self::of_app(Name::AppRemoved, environment, connector, app, caller)
    }

    /// Somebody made a caller key.
    pub fn key_created(environment: &str, key: &str, caller: &str) -> Self {
        Self::of_key(Name::CallerKeyCreated, environment, key, caller)
    }

    /// Somebody ended one.
    pub fn key_revoked(environment: &str, key: &str, caller: &str) -> Self {
        Self::of_key(Name::CallerKeyRevoked, environment, key, caller)
    }

    /// Somebody wants to be told at an origin what happens.
    pub fn webhook_added(environment: &str, webhook: &str, origin: &str, events: &[String], caller: &str) -> Self {
        let more = [("origin", origin.into()), ("events", Said::Texts(events.to_vec())), ("caller", caller.into())];
        Self::of_webhook(Name::WebhookAdded, environment, webhook, more)
    }

    /// Nobody is told there any longer.
    pub fn webhook_removed(environment: &str, webhook: &str, caller: &str) -> Self {
        Self::of_webhook(Name::WebhookRemoved, environment, webhook, [("caller", caller.into())])
    }

    /// Messages are signed with another secret.
    pub fn webhook_secret_rotated(environment: &str, webhook: &str, caller: &str) -> Self {
        Self::of_webhook(Name::WebhookSecretRotated, environment, webhook, [("caller", caller.into())])
    }

    /// Somebody had an endpoint tried.
    pub fn webhook_tested(environment: &str, webhook: &str, outcome: &str, caller: &str) -> Self {
        Self::of_webhook(
            Name::WebhookTested,
            environment,
            webhook,
            [("outcome", outcome.into()), ("caller", caller.into())],
        )
    }

    /// A receiver is gone for good, by its own word; so many messages that waited are given up.
    pub fn webhook_disabled(environment: &str, webhook: &str, dropped: usize) -> Self {
        let more = [("reason", "the receiver is gone".into()), ("dropped", dropped.into())];
        Self::of_webhook(Name::WebhookDisabled, environment, webhook, more)
    }

    /// An operator says that the receiver is there again.
    pub fn webhook_enabled(environment: &str, webhook: &str, caller: &str) -> Self {
        Self::of_webhook(Name::WebhookEnabled, environment, webhook, [("caller", caller.into())])
    }

    /// A message was given up.
    pub fn webhook_dropped(environment: &str, webhook: &str, kind: &str, message: &str, reason: &str) -> Self {
        let more = [("type", kind.into()), ("message", message.into()), ("reason", reason.into())];
        Self::of_webhook(Name::WebhookDropped, environment, webhook, more)
    }

    /// Somebody has so many messages sent again.
    pub fn webhook_redelivered(environment: &str, webhook: &str, messages: usize, caller: &str) -> Self {
        let more = [("messages", messages.into()), ("caller", caller.into())];
        Self::of_webhook(Name::WebhookRedelivered, environment, webhook, more)
    }

    /// An operator made a code with which a gateway may join.
    pub fn gateway_invited(environment: &str, gateway: &str, caller: &str) -> Self {
        Self::of_gateway(Name::GatewayInvited, environment, gateway, caller)
    }

    /// A gateway joined with it; `key` is the fingerprint of what its boxes are sealed to.
    pub fn gateway_joined(environment: &str, gateway: &str, key: Digest, caller: &str) -> Self {
        let mut event = Self::of_gateway(Name::GatewayJoined, environment, gateway, caller);
        event.own.push(("key", key.to_string().into()));
        event
    }

    /// A gateway has another key, and everything is sealed to that.
    pub fn gateway_key_rotated(environment: &str, gateway: &str, before: Digest, key: Digest) -> Self {
        let mut event = Self::of_gateway(Name::GatewayKeyRotated, environment, gateway, "gateway");
        event.own.push(("before", before.to_string().into()));
        event.own.push(("key", key.to_string().into()));
        event
    }

    /// An operator removed a machine of a gateway.
    pub fn gateway_removed(environment: &str, gateway: &str, member: &str, caller: &str) -> Self {
        let mut event = Self::of_gateway(Name::GatewayRemoved, environment, gateway, caller);
        event.own.push(("member", member.into()));
        event
    }

    /// A connection was removed.
    pub fn connection_removed(subject: &Subject) -> Self {
        Self::about(Name::ConnectionRemoved, subject, [])
    }

    /// A consent was taken back.
    pub fn consent_revoked(subject: &Subject) -> Self {
        Self::about(Name::ConsentRevoked, subject, [])
    }

    /// A request is about to leave: `credential-used` where something was attached, else `request`.
    pub fn request(subject: &Subject, method: &Method, url: &Url, hop: usize, attached: &[String]) -> Self {
        let name = if attached.is_empty() { Name::Request } else { Name::CredentialUsed };
        let mut event = Self::about(name, subject, to(method, url));
        if hop > 0 {
            event.own.push(("hop", hop.into()));
        }
        if !attached.is_empty() {
            event.own.push(("attached", Said::Texts(attached.to_vec())));
        }
        event
    }

    /// It is sent again, for the so manieth time, since the service said when.
    #[must_use]
    pub fn repeated(mut self, times: u32) -> Self {
        if times > 0 {
            self.own.push(("repeated", u64::from(times).into()));
        }
        self
    }

    /// What was typed is about to leave, to sign in. Its path is not told: a secret may stand in it.
    pub fn sign_in_request(subject: &Subject, method: &Method, origin: &str, step: usize) -> Self {
        let members = [("method", method.as_str().into()), ("origin", origin.into()), ("step", step.into())];
        Self::about(Name::SignInRequest, subject, members)
    }

    /// A gateway is about to be asked to sign in.
    pub fn sign_in_through(subject: &Subject, gateway: &str) -> Self {
        Self::about(Name::SignInRequest, subject, [("gateway", gateway.into())])
    }

    /// A sign-in, or a renewal, gave what it should.
    pub fn obtained(obtaining: Obtaining, subject: &Subject, generation: u64) -> Self {
        let name = obtaining.one_of(Name::SignedIn, Name::Renewed);
        Self::about(name, subject, [("generation", generation.into())])
    }

    /// A sign-in, or a renewal, was refused; it is not tried again until somebody connects anew.
    pub fn obtaining_refused(obtaining: Obtaining, subject: &Subject, reason: &str) -> Self {
        let name = obtaining.one_of(Name::SignInRefused, Name::RenewalRefused);
        Self::about(name, subject, [("reason", text::foreign(reason, LONGEST).into())])
    }

    /// A sign-in, or a renewal, gave nothing; the next may give something.
    pub fn obtaining_failed(obtaining: Obtaining, subject: &Subject, reason: &str) -> Self {
        let name = obtaining.one_of(Name::SignInFailed, Name::RenewalFailed);
        Self::about(name, subject, [("reason", text::foreign(reason, LONGEST).into())])
    }

    /// A request was refused before it left.
    pub fn denied(subject: &Subject, method: &Method, url: &Url, reason: &str) -> Self {
        let mut event = Self::about(Name::RequestDenied, subject, to(method, url));
        event.own.push(("reason", text::foreign(reason, LONGEST).into()));
        event
    }

    /// A service answered.
    pub fn answer(subject: &Subject, status: u16, bytes: usize, masked: u64) -> Self {
        Self::about(
            Name::Answer,
            subject,
            [("status", u64::from(status).into()), ("bytes", bytes.into()), ("masked", masked.into())],
        )
    }

    /// A request left, or tried to, and there was no answer that could be used.
    pub fn fault(subject: &Subject, reason: &str) -> Self {
        Self::about(Name::RequestFailed, subject, [("reason", text::foreign(reason, LONGEST).into())])
    }

    /// A call is over.
    pub fn call_ended(subject: &Subject, outcome: &str, took: Duration) -> Self {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self::about(Name::CallEnded, subject, [("outcome", outcome.into()), ("milliseconds", milliseconds.into())])
    }

    /// Rewrites what a service could have put into it: where a request goes, and why there was no answer.
    #[must_use]
    pub fn map_text(mut self, rewrite: &dyn Fn(String) -> String) -> Self {
        for (name, value) in &mut self.own {
            if let (&mut ("origin" | "path" | "reason"), Said::Text(text)) = (name, value) {
                *text = rewrite(std::mem::take(text));
            }
        }
        self
    }

    fn about(name: Name, subject: &Subject, more: impl IntoIterator<Item = (&'static str, Said)>) -> Self {
        Self { name, subject: Some(subject.written.clone()), own: more.into_iter().collect() }
    }

    fn of_key(name: Name, environment: &str, key: &str, caller: &str) -> Self {
        let own = vec![("environment", environment.into()), ("key", key.into()), ("caller", caller.into())];
        Self { name, subject: None, own }
    }

    fn of_webhook(
        name: Name,
        environment: &str,
        webhook: &str,
        more: impl IntoIterator<Item = (&'static str, Said)>,
    ) -> Self {
        let own = [("environment", environment.into()), ("webhook", webhook.into())];
        Self { name, subject: None, own: own.into_iter().chain(more).collect() }
    }

    fn of_gateway(name: Name, environment: &str, gateway: &str, caller: &str) -> Self {
        let own = vec![("environment", environment.into()), ("gateway", gateway.into()), ("caller", caller.into())];
        Self { name, subject: None, own }
    }

    fn of_app(name: Name, environment: &str, connector: &str, app: &str, caller: &str) -> Self {
        let own = vec![
            ("environment", environment.into()),
            ("connector", connector.into()),
            ("app", app.into()),
            ("caller", caller.into()),
        ];
        Self { name, subject: None, own }
    }

    fn of_connector(name: Name, environment: &str, connector: &str, digest: Digest, caller: &str) -> Self {
        let own = vec![
            ("environment", environment.into()),
            ("connector", connector.into()),
            ("digest", digest.to_string().into()),
            ("caller", caller.into()),
        ];
        Self { name, subject: None, own }
    }
}

/// Where a request goes, without its query: keys and personal data stand there.
fn to(method: &Method, url: &Url) -> [(&'static str, Said); 3] {
    let origin = Origin::of(url).map_or_else(|_| url.scheme().to_owned(), |origin| origin.to_string());
    [
        ("method", text::foreign(method.as_str(), 40).into()),
        ("origin", text::foreign(&origin, LONGEST).into()),
        ("path", text::foreign(url.path(), LONGEST).into()),
    ]
}
