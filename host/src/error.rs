//! What can go wrong, as a caller sees it: a kind that programs act on, a sentence for people, and what would mend it.

use std::fmt;

use serde_json::{Value, json};

use crate::text;

/// Of the words of another process.
const LONGEST_TOLD: usize = 10_000;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is. The name is stable and is what `--output json` prints; the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A defect of Attaché's own.
    Internal,
    /// The command line or a setting makes no sense.
    Usage,
    /// The caller's input does not fit: an operation's schema, a parameter's kind or pattern.
    InvalidInput,
    /// The file is not a connector, or its manifest cannot be read.
    InvalidConnector,
    /// Something of that name is there already.
    AlreadyExists,
    /// No such connector, connection, operation, environment or record.
    NotFound,
    /// The operator has not approved this, or not in this form.
    ApprovalNeeded,
    /// The account owner has not consented to this, or no longer.
    ConsentNeeded,
    /// The credential is gone, refused or for another account: connect again.
    ReconnectNeeded,
    /// A policy says no; the sentence names the rule and what would allow it.
    Denied,
    /// A call was begun, and the host ended before it knew what came of it.
    OutcomeUnknown,
    /// The service answered with a failure.
    ServiceFailed,
    /// The service, or the host itself, says to wait.
    RateLimited,
    /// The service could not be reached.
    Unreachable,
    /// The service did not answer in time, or the rest of a request did not come in time.
    Timeout,
    /// The service's answer is over a limit.
    TooLarge,
    /// The connector trapped, or failed in its own words.
    ConnectorFailed,
    /// The connector used up a limit.
    ConnectorLimit,
    /// The connector's answer does not fit its own schema.
    ConnectorOutput,
    /// Another process holds the data directory.
    StoreLocked,
    /// The key does not open this store.
    WrongKey,
    /// A record, a file or the audit is not what was written.
    StoreDamaged,
    /// The data directory or a key cannot be read or written.
    StoreUnavailable,
}

impl Kind {
    /// All there are.
    const ALL: [Kind; 23] = [
        Kind::Internal,
        Kind::Usage,
        Kind::InvalidInput,
        Kind::InvalidConnector,
        Kind::AlreadyExists,
        Kind::NotFound,
        Kind::ApprovalNeeded,
        Kind::ConsentNeeded,
        Kind::ReconnectNeeded,
        Kind::Denied,
        Kind::OutcomeUnknown,
        Kind::ServiceFailed,
        Kind::RateLimited,
        Kind::Unreachable,
        Kind::Timeout,
        Kind::TooLarge,
        Kind::ConnectorFailed,
        Kind::ConnectorLimit,
        Kind::ConnectorOutput,
        Kind::StoreLocked,
        Kind::WrongKey,
        Kind::StoreDamaged,
        Kind::StoreUnavailable,
    ];

    /// The kind of a stable name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The stable name, in kebab-case.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Internal => "internal",
            Kind::Usage => "usage",
            Kind::InvalidInput => "invalid-input",
            Kind::InvalidConnector => "invalid-connector",
            Kind::AlreadyExists => "already-exists",
            Kind::NotFound => "not-found",
            Kind::ApprovalNeeded => "approval-needed",
            Kind::ConsentNeeded => "consent-needed",
            Kind::ReconnectNeeded => "reconnect-needed",
            Kind::Denied => "denied",
            Kind::OutcomeUnknown => "outcome-unknown",
            Kind::ServiceFailed => "service-failed",
            Kind::RateLimited => "rate-limited",
            Kind::Unreachable => "unreachable",
            Kind::Timeout => "timeout",
            Kind::TooLarge => "too-large",
            Kind::ConnectorFailed => "connector-failed",
            Kind::ConnectorLimit => "connector-limit",
            Kind::ConnectorOutput => "connector-output",
            Kind::StoreLocked => "store-locked",
            Kind::WrongKey => "wrong-key",
            Kind::StoreDamaged => "store-damaged",
            Kind::StoreUnavailable => "store-unavailable",
        }
    }

    /// The exit code of the command line, as README's table has it.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Internal => 1,
            Kind::Usage | Kind::InvalidInput | Kind::InvalidConnector | Kind::AlreadyExists => 2,
            Kind::NotFound => 3,
            Kind::ApprovalNeeded | Kind::ConsentNeeded | Kind::ReconnectNeeded => 4,
            Kind::Denied => 5,
            Kind::OutcomeUnknown
            | Kind::ServiceFailed
            | Kind::RateLimited
            | Kind::Unreachable
            | Kind::Timeout
            | Kind::TooLarge => 6,
            Kind::ConnectorFailed | Kind::ConnectorLimit | Kind::ConnectorOutput => 7,
            Kind::StoreLocked | Kind::WrongKey | Kind::StoreDamaged | Kind::StoreUnavailable => 8,
        }
    }

    /// An error of this kind. The message is a whole sentence and holds no secret.
    pub fn error(self, message: impl Into<String>) -> Error {
        Error { kind: self, message: message.into(), hint: None, retry_after: None }
    }
}

/// A failure: its kind, a sentence, and where there is one, what would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    retry_after: Option<u64>,
}

impl Error {
    /// Adds what would mend it: a command, a setting, a sentence.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that it may be tried again after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Puts what was being done before the message: `while …: …`.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Rewrites its sentences.
    #[must_use]
    pub fn map_text(mut self, rewrite: impl Fn(String) -> String) -> Self {
        self.message = rewrite(self.message);
        self.hint = self.hint.map(rewrite);
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would mend it.
    pub fn mend(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// After how many seconds it may be tried again, where that is known.
    pub fn wait(&self) -> Option<u64> {
        self.retry_after
    }
}

impl Error {
    /// As programs read it: `{"kind", "message", "hint", "retry-after"}`.
    pub fn to_json(&self) -> Value {
        let mut json = json!({ "kind": self.kind.name(), "message": self.message });
        if let Some(hint) = &self.hint {
            json["hint"] = hint.as_str().into();
        }
        if let Some(seconds) = self.retry_after {
            json["retry-after"] = seconds.into();
        }
        json
    }

    /// Reads what [`Error::to_json`] wrote.
    pub fn from_json(json: &Value) -> Option<Self> {
        let kind = Kind::of_name(json["kind"].as_str()?)?;
        let retry_after = json["retry-after"].as_u64();
        Some(Self { retry_after, ..Self::told(kind, json["message"].as_str()?, json["hint"].as_str()) })
    }

    /// What another process told, in whose words nothing moves a cursor or hides.
    pub(crate) fn told(kind: Kind, message: &str, hint: Option<&str>) -> Self {
        let clean = |words: &str| text::foreign_lines(words, LONGEST_TOLD);
        Self { kind, message: clean(message), hint: hint.map(clean), retry_after: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
