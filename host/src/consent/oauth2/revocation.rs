//! Telling the provider that tokens are to end (RFC 7009).

use super::{Client, filled, request::Parameters, there};
use crate::{
    audit::Subject,
    consent::{
        Captured,
        sign_in::with_captured,
        step::{Failure, Way},
    },
    error::{Error, Kind},
    manifest::{
        Values,
        login::{ACCESS_TOKEN, REFRESH_TOKEN},
        oauth2::TokenFormat,
    },
    secret::Secret,
};

/// What the provider made of it.
#[derive(Debug)]
pub enum Revoked {
    /// It ended them.
    There,
    /// It has no way to be told.
    NoEndpoint,
    /// It did not, or could not be asked.
    Failed(Error),
}

impl Revoked {
    /// As the audit has it.
    pub fn name(&self) -> &'static str {
        match self {
            Revoked::There => "revoked",
            Revoked::NoEndpoint => "no-endpoint",
            Revoked::Failed(_) => "failed",
        }
    }
}

impl Client {
    /// Ends what a connection holds: the renewal token first, since others may come of it.
    pub(crate) async fn revoke(&self, way: &Way, typed: &Values, captured: &Captured, subject: &Subject) -> Revoked {
        let parameters = self.settings.captured();
        let values = with_captured(&parameters, typed.clone(), captured).unwrap_or_else(|_| typed.clone());
        let declared = there(self.settings.revocation_url.as_ref(), &values);
        if declared.is_none() && self.discovered.revocation.is_none() {
            return Revoked::NoEndpoint;
        }
        let mut failed = None;
        for name in [REFRESH_TOKEN, ACCESS_TOKEN] {
            if let Some(token) = captured.values.get(name) {
                let sent =
                    Parameters::from([("token".into(), token.clone()), ("token_type_hint".into(), Secret::new(name))]);
                // Where one cannot be ended, the other still may.
                if let Err(error) = self.end(way, sent, &values, subject).await {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Revoked::There, Revoked::Failed)
    }

    async fn end(&self, way: &Way, sent: Parameters, values: &Values, subject: &Subject) -> Result<(), Error> {
        let url =
            filled("revocation", self.settings.revocation_url.as_ref(), self.discovered.revocation.as_ref(), values)?;
        let origin = url.origin().ascii_serialization();
        let asked = self.request(way, url, sent, self.naming_the_client(), TokenFormat::Form, values)?;
        let answer = way.exchange(asked.outgoing, subject, 0).await.map_err(Failure::into_error)?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(Kind::ServiceFailed
            .error(format!("{origin} did not revoke: it answered with status {}.", answer.status.as_u16())))
    }
}
