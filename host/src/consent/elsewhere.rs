//! Signing in in another place than here: where what was typed can be opened, and what is got is sealed again before it leaves.
//! Whoever does it is told what to do; what it works with is its own.

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{CameBack, Captured, Discovered, SealedBox, SealedText, oauth2::Revoked, step::Failure};
use crate::{
    audit::Subject,
    error::{Error, Kind, Result},
    origin::Origin,
    text,
    transport::Before,
};

/// Signs in for one connection.
#[async_trait]
pub(crate) trait Elsewhere: Send + Sync {
    /// Does one errand; `before` is done just before it leaves.
    ///
    /// # Errors
    /// Why it brought nothing, as if it had been tried here.
    async fn run(&self, errand: Errand, subject: &Subject, before: Option<Before>) -> Result<Brought, Fruitless>;
}

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Errand {
    /// Find out what the provider says of itself.
    Discover,
    /// Register an app with the provider (RFC 7591), before anything is sealed.
    Register {
        /// What it is to be called.
        name: String,
        /// Where people come back to, if not to a port of loopback.
        redirect_uri: Option<Url>,
    },
    /// Sign in with what was typed, or with the client's own credentials.
    Begin,
    /// Renew that.
    Renew(Captured),
    /// Tell the provider to end that.
    Revoke(Captured),
    /// Begin the trip of a person who comes back there.
    SendAway {
        /// RFC 6749, 3.1.2.
        redirect_uri: Url,
    },
    /// Take what the person's browser brought.
    ComeBack {
        /// As the trip was begun.
        trip: SealedText,
        /// As in [`CameBack`].
        below: Option<String>,
        /// As in [`CameBack`].
        query: String,
    },
    /// Ask for a code that a person types on another device.
    Device,
    /// Ask once whether they did.
    Poll {
        /// RFC 8628's `device_code`.
        device: SealedText,
    },
}

/// What an errand brought.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Brought {
    /// Of [`Errand::Discover`].
    Discovered(Box<Discovered>),
    /// Of [`Errand::Register`]: the app's secrets, with what they are for.
    Registered(SealedBox),
    /// What was captured, without anything that is for a gateway alone.
    Captured(Box<Captured>),
    /// Of [`Errand::SendAway`].
    SentAway(SentAway),
    /// Of [`Errand::Device`].
    Device(ForDevice),
    /// Of [`Errand::Revoke`]: why not, if not, and whether the provider has a way to be told.
    Revoked {
        /// Whether it has.
        there_is_a_way: bool,
        /// A sentence.
        failed: Option<String>,
    },
}

/// A person on the way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SentAway {
    /// Where the browser goes. No secret is in it.
    pub(crate) url: Url,
    pub(crate) state: String,
    pub(crate) comes_back: StateIn,
    /// What ties what they bring to this trip, the PKCE verifier too.
    pub(crate) trip: SealedText,
}

/// Where the state comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StateIn {
    /// In the parameter `state`.
    Parameter,
    /// In a parameter of the service's own.
    AnyParameter,
    /// Below the path of the redirect URI.
    Path,
}

/// What a person is shown who agrees on another device (RFC 8628, 3.2).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ForDevice {
    pub(crate) verification_uri: String,
    pub(crate) verification_uri_complete: Option<String>,
    pub(crate) user_code: String,
    /// Seconds.
    pub(crate) expires_in: u64,
    /// Seconds.
    pub(crate) interval: u64,
    pub(crate) device: SealedText,
}

/// Why an errand brought nothing, and what there is to keep all the same.
pub(crate) struct Fruitless {
    pub(crate) failure: Failure,
    /// What a renewal brought before something after it failed.
    pub(crate) kept: Option<Captured>,
}

impl Fruitless {
    pub(crate) fn into_error(self) -> Error {
        self.failure.into_error()
    }
}

impl From<Failure> for Fruitless {
    fn from(failure: Failure) -> Self {
        Self { failure, kept: None }
    }
}

impl Brought {
    /// What was captured.
    pub(crate) fn captured(self) -> Result<Captured, Failure> {
        match self {
            Self::Captured(captured) => Ok(*captured),
            _ => Err(Failure::Lost(misunderstood())),
        }
    }

    /// What the provider made of a revocation.
    pub(crate) fn revoked(self) -> Revoked {
        match self {
            Self::Revoked { failed: Some(why), .. } => Revoked::Failed(Kind::ServiceFailed.error(why)),
            Self::Revoked { there_is_a_way: false, .. } => Revoked::NoEndpoint,
            Self::Revoked { .. } => Revoked::There,
            _ => Revoked::Failed(misunderstood()),
        }
    }
}

impl SentAway {
    /// Whether it leads where the person was shown that they sign in: a browser follows whatever it is given.
    ///
    /// # Errors
    /// `denied` where it leads elsewhere.
    pub(crate) fn leads_to(&self, provider: Option<&Origin>) -> Result<()> {
        let there = Origin::of(&self.url);
        if there.as_ref().is_ok_and(|there| provider.is_none_or(|provider| provider == there)) {
            return Ok(());
        }
        Err(Kind::Denied.error(format!(
            "The gateway sends the person to {}, which is not where they were told that they sign in.",
            text::foreign(self.url.as_str(), 100)
        )))
    }

    /// Whether somebody who came back so is the one who was sent.
    pub(crate) fn is_named_by(&self, came: &CameBack) -> bool {
        let is_it = |text: &str| verify_slices_are_equal(text.as_bytes(), self.state.as_bytes()).is_ok();
        let parameters = || came.parameters().unwrap_or_default();
        match self.comes_back {
            StateIn::Parameter => came.below.is_none() && parameters().get("state").is_some_and(|state| is_it(state)),
            StateIn::AnyParameter => parameters().values().any(|value| is_it(value)),
            StateIn::Path => came.below.as_deref().is_some_and(is_it),
        }
    }
}

/// The answer to another errand than was given.
pub(crate) fn misunderstood() -> Error {
    Kind::Internal.error("The gateway did something else than it was told to.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_sends_nobody_elsewhere_than_they_were_shown() {
        let away = |url: &str| SentAway {
            url: Url::parse(url).unwrap(),
            state: String::new(),
            comes_back: StateIn::Parameter,
            trip: SealedText { encapsulated: String::new(), sealed: String::new() },
        };
        let provider = Origin::parse("https://login.example").unwrap();
        away("https://login.example/authorize?client_id=me").leads_to(Some(&provider)).unwrap();
        away("https://login.example/authorize").leads_to(None).unwrap();
        for url in [
            "https://evil.example/authorize",
            "http://login.example/authorize",
            "javascript:alert(1)",
            "data:text/html,x",
        ] {
            assert_eq!(away(url).leads_to(Some(&provider)).unwrap_err().kind(), Kind::Denied, "{url}");
        }
        assert_eq!(away("javascript:alert(1)").leads_to(None).unwrap_err().kind(), Kind::Denied);
    }
}
