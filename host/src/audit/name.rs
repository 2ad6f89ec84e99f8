//! What the events are called that there are lines for.

use std::fmt;

macro_rules! names {
    ($($name:ident = $text:literal,)*) => {
        /// The name of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Name {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl Name {
            /// All there are, what is looked for most first.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it stands in a line.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

names! {
    CallEnded = "call-ended",
    CredentialUsed = "credential-used",
    Request = "request",
    Answer = "answer",
    RequestFailed = "request-failed",
    RequestDenied = "request-denied",
    SignInRequest = "sign-in-request",
    SignedIn = "signed-in",
    SignInRefused = "sign-in-refused",
    SignInFailed = "sign-in-failed",
    Renewed = "renewed",
    RenewalRefused = "renewal-refused",
    RenewalFailed = "renewal-failed",
    Connected = "connected",
    Reconnected = "reconnected",
    ConnectionPending = "connection-pending",
    ConnectionNotConfirmed = "connection-not-confirmed",
    ConnectionRemoved = "connection-removed",
    ConsentRevoked = "consent-revoked",
    GivenBack = "given-back",
    ConnectorApproved = "connector-approved",
    ConnectorIsolated = "connector-isolated",
    ConnectorRemoved = "connector-removed",
    AppRegistered = "app-registered",
    AppSet = "app-set",
    AppRemoved = "app-removed",
    CallerKeyCreated = "caller-key-created",
    CallerKeyRevoked = "caller-key-revoked",
    WebhookAdded = "webhook-added",
    WebhookRemoved = "webhook-removed",
    WebhookSecretRotated = "webhook-secret-rotated",
    WebhookTested = "webhook-tested",
    WebhookDisabled = "webhook-disabled",
    WebhookEnabled = "webhook-enabled",
    WebhookDropped = "webhook-dropped",
    WebhookRedelivered = "webhook-redelivered",
    GatewayInvited = "gateway-invited",
    GatewayJoined = "gateway-joined",
    GatewayKeyRotated = "gateway-key-rotated",
    GatewayRemoved = "gateway-removed",
    KeyRotation = "key-rotation",
    BackedUp = "backed-up",
    Restored = "restored",
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
