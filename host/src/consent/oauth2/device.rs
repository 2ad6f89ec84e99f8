//! Signing in on another device (RFC 8628).

use std::time::{Duration, Instant};

use oauth2::StandardDeviceAuthorizationResponse;

use super::{Client, Given, filled, request::Parameters};
use crate::{
    audit::Subject,
    consent::{
        Captured, ForDevice, SealedText,
        step::{Failure, Way},
    },
    error::{Error, Kind, Result},
    manifest::{Values, oauth2::TokenFormat},
    secret::Secret,
    text,
};

/// Added for good each time that the provider asks for it (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// A code that is good for longer than this is not waited for any longer.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// No provider was seen to ask for more patience.
const SLOWEST: Duration = Duration::from_secs(120);

/// What a person is shown, and what is asked for with it.
pub struct DeviceAuthorization {
    /// Where the person goes, on any device.
    pub verification_uri: String,
    /// The same with the code in it, where the provider offers that.
    pub verification_uri_complete: Option<String>,
    /// What the person types there.
    pub user_code: String,
    /// Until when that is possible.
    pub ends: Instant,
    /// How long to wait before asking, each time.
    pub interval: Duration,
    pub(super) device_code: Secret,
    /// In its place, what only a gateway reads.
    sealed: Option<SealedText>,
    /// Why there was no answer the last time, if there was none.
    failing: Option<Error>,
}

/// What came of asking once.
pub(crate) enum Polled {
    Granted(Box<Captured>),
    /// The person has not decided yet.
    NotYet,
}

impl Client {
    /// Asks the provider for a code that a person can type.
    pub(crate) async fn device(&self, way: &Way, values: &Values, subject: &Subject) -> Result<DeviceAuthorization> {
        let url = filled(
            "device authorization",
            self.settings.device_authorization_url.as_ref(),
            self.discovered.device_authorization.as_ref(),
            values,
        )?;
        let origin = url.origin().ascii_serialization();
        let mut parameters = Parameters::new();
        if !self.scopes.is_empty() {
            parameters.push(("scope".into(), Secret::new(self.scope())));
        }
        let over = self.naming_the_client().chain(&self.settings.authorization_params);
        let asked = self.request(way, url, parameters, over, TokenFormat::Form, values)?;
        let answer = way.exchange(asked.outgoing, subject, 0).await.map_err(Failure::into_error)?;
        if !answer.status.is_success() {
            let code = serde_json::from_slice::<oauth2::basic::BasicErrorResponse>(&answer.body)
                .map(|refusal| format!(" (`{}`)", text::foreign(refusal.error().as_ref(), 60)))
                .unwrap_or_default();
            return Err(Kind::ServiceFailed
                .error(format!(
                    "{origin} gives no code to sign in with: it answered with status {}{code}.",
                    answer.status.as_u16()
                ))
                .hint("Check that the app may use the device flow at the provider."));
        }
        let parsed: StandardDeviceAuthorizationResponse = serde_json::from_slice(&answer.body).map_err(|_| {
            Kind::ServiceFailed.error(format!("The answer of {origin} is no device authorization (RFC 8628, 3.2)."))
        })?;
        Ok(DeviceAuthorization {
            verification_uri: text::foreign(parsed.verification_uri().as_str(), 500),
            verification_uri_complete: parsed.verification_uri_complete().map(|uri| text::foreign(uri.secret(), 1_000)),
            user_code: text::foreign(parsed.user_code().secret(), 100),
            ends: Instant::now() + parsed.expires_in().min(LONGEST),
            interval: parsed.interval().clamp(Duration::from_secs(1), SLOWEST),
            device_code: Secret::new(parsed.device_code().secret().as_str()),
            sealed: None,
            failing: None,
        })
    }

    /// Asks once whether the person has decided. The interval grows where the provider asks for it.
    pub(crate) async fn poll(
        &self,
        way: &Way,
        values: &Values,
        device: &mut DeviceAuthorization,
        subject: &Subject,
    ) -> Result<Polled> {
        device.in_time()?;
        let given = Given::Device(device.device_code.clone());
        device.heard(self.obtain(way, values, &given, subject).await)
    }
}

impl DeviceAuthorization {
    /// As a gateway got it.
    pub(crate) fn elsewhere(it: ForDevice) -> Self {
        Self {
            verification_uri: text::foreign(&it.verification_uri, 500),
            verification_uri_complete: it.verification_uri_complete.map(|uri| text::foreign(&uri, 1_000)),
            user_code: text::foreign(&it.user_code, 100),
            ends: Instant::now() + Duration::from_secs(it.expires_in).min(LONGEST),
            interval: Duration::from_secs(it.interval).clamp(Duration::from_secs(1), SLOWEST),
            device_code: Secret::new(""),
            sealed: Some(it.device),
            failing: None,
        }
    }

    /// The same for somebody else, but for the code, which is theirs to seal.
    pub(crate) fn for_device(self, seal: impl FnOnce(&Secret) -> Result<SealedText>) -> Result<ForDevice> {
        Ok(ForDevice {
            device: seal(&self.device_code)?,
            expires_in: self.ends.saturating_duration_since(Instant::now()).as_secs(),
            interval: self.interval.as_secs(),
            verification_uri: self.verification_uri,
            verification_uri_complete: self.verification_uri_complete,
            user_code: self.user_code,
        })
    }

    /// What only a gateway asks with.
    pub(crate) fn sealed(&self) -> Option<&SealedText> {
        self.sealed.as_ref()
    }

    /// Whether it may be asked yet.
    pub(crate) fn in_time(&mut self) -> Result<()> {
        if Instant::now() < self.ends {
            return Ok(());
        }
        // Whoever could not be asked to the end is named.
        Err(self.failing.take().unwrap_or_else(expired))
    }

    /// What the provider's answer comes to.
    pub(crate) fn heard(&mut self, answer: Result<Captured, Failure>) -> Result<Polled> {
        match answer {
            Ok(captured) => Ok(Polled::Granted(Box::new(captured))),
            Err(Failure::Undecided { slower }) => {
                if slower {
                    self.interval = (self.interval + SLOWER).min(SLOWEST);
                }
                self.failing = None;
                Ok(Polled::NotYet)
            }
            Err(Failure::Later(error, wait)) if passes(error.kind()) => Ok(self.wait_longer(error, wait)),
            Err(Failure::Lost(error)) if was_not_heard(error.kind()) => Ok(self.wait_longer(error, None)),
            Err(failure) => Err(failure.into_error()),
        }
    }

    /// RFC 8628, 3.5: a time-out is a reason to be slower, not to give up; and so is a provider that fails for a while.
    fn wait_longer(&mut self, error: Error, wait: Option<Duration>) -> Polled {
        self.interval = (self.interval * 2).max(wait.unwrap_or_default()).min(SLOWEST);
        self.failing = Some(error);
        Polled::NotYet
    }
}

fn passes(kind: Kind) -> bool {
    was_not_heard(kind) || kind == Kind::ServiceFailed
}

/// An answer that came and cannot be used is final: the code was spent for it.
fn was_not_heard(kind: Kind) -> bool {
    matches!(kind, Kind::Timeout | Kind::Unreachable)
}

pub(super) fn expired() -> Error {
    Kind::ConsentNeeded
        .error("Nobody agreed on the other device before the code ran out.")
        .hint("Connect again for a new code.")
}
