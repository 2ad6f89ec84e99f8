//! The client of an authorization server: what it asks for, and what it makes of the answers (RFC 6749 and its family).
//!
//! It sends nothing but through [`Way`], which confines it to the app's origins and writes the audit. What must never
//! happen here: a code, a secret or a renewal token sent anywhere else; an answer believed that is not whole; a renewal token
//! presented again after the provider may have replaced it.

mod answer;
mod authorization;
mod device;
mod discovery;
mod proof;
mod registration;
mod request;
mod revocation;

use std::{collections::BTreeSet, sync::Arc};

pub use authorization::{Authorization, Callback};
pub use device::DeviceAuthorization;
pub(crate) use device::Polled;
pub use discovery::Discovered;
pub(crate) use discovery::{discover, is_discovered};
pub(crate) use proof::algorithm_of;
pub(crate) use registration::{Registry, register};
pub use revocation::Revoked;

use self::request::Grant;
use super::{
    App, Captured,
    sign_in::with_captured,
    source::{present_the_token, trade_the_token},
    step::{Failure, Keep, Way},
};
use crate::{
    audit::Subject,
    egress,
    error::{Error, Kind, Result},
    manifest::{
        AuthOption, Oauth2, Values,
        audience::UrlTemplate,
        login::{ACCESS_TOKEN, GRANTED_SCOPES, REFRESH_TOKEN, is_readable},
        template::Moment,
    },
    origin::Origin,
    secret::Secret,
    text,
    transport::Before,
};

/// One connection's client.
pub(crate) struct Client {
    pub(crate) settings: Oauth2,
    /// None where the owner typed client id and secret.
    pub(crate) app: Option<Arc<App>>,
    pub(crate) discovered: Discovered,
    /// What was asked for, as the provider calls it.
    pub(crate) scopes: Vec<String>,
}

/// What a first token is asked for with.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is moved once")]
pub(crate) enum Given {
    /// RFC 6749, 4.1: what the browser brought back, and what was kept for it.
    Code { callback: Callback, authorization: Authorization },
    /// RFC 8628: what the person agrees to on another device.
    Device(Secret),
    /// RFC 6749, 4.4.
    Credentials,
}

impl Client {
    /// For a connection of this auth option; none where it is of another scheme.
    pub(crate) fn of(
        option: &AuthOption,
        app: Option<Arc<App>>,
        discovered: Discovered,
        scopes: Vec<String>,
    ) -> Option<Self> {
        Some(Self { settings: option.scheme.oauth2()?.clone(), app, discovered, scopes })
    }

    /// Asks for a first token.
    pub(crate) async fn obtain(
        &self,
        way: &Way,
        typed: &Values,
        given: &Given,
        subject: &Subject,
    ) -> Result<Captured, Failure> {
        let mut values = typed.clone();
        let mut captured = Captured::default();
        let grant = match given {
            Given::Code { callback, authorization } => {
                for capture in &self.settings.capture {
                    callback.keep(capture, &mut values, &mut captured).map_err(Failure::Refused)?;
                }
                Grant::Code { code: &callback.code, authorization }
            }
            Given::Device(code) => Grant::Device(code),
            Given::Credentials => Grant::Credentials,
        };
        let itself = matches!(grant, Grant::Credentials);
        let mut answered = self.ask(way, &mut values, &grant, subject, None).await?;
        if answered.scopes.is_empty() {
            let told = self.granted_elsewhere(&answered).or_else(|| self.granted_elsewhere(&captured));
            // No word of what was granted means what was asked for (RFC 6749, 5.1).
            answered.scopes = told.unwrap_or_else(|| self.scopes.clone());
        }
        let answered = Captured { itself, ..answered.over(&captured) };
        let obtained = self.after(way, values.clone(), answered, subject).await.map_err(|failure| match given {
            // The person's code is spent for this token: asked with again, it is refused for a reason that is not the real one.
            Given::Device(_) => Failure::Refused(failure.into_error()),
            _ => failure,
        })?;
        self.refuse_readable_secrets(&obtained, &values).map_err(Failure::Refused)?;
        Ok(obtained)
    }

    /// What was granted, as the connector captured it from what was brought, where it did.
    fn granted_elsewhere(&self, brought: &Captured) -> Option<Vec<String>> {
        brought.values.get(GRANTED_SCOPES).map(|told| answer::split_scopes(self, told))
    }

    /// Asks for a new token: with the connector's own steps, with the renewal token, or with the client's credentials.
    /// `sending` is done before the request leaves that spends something; `keep` before what it brought is used for anything.
    pub(crate) async fn renew(
        &self,
        way: &Way,
        typed: &Values,
        before: &Captured,
        subject: &Subject,
        sending: Option<Before>,
        keep: &Keep<'_>,
    ) -> Result<Captured, Failure> {
        let parameters = self.settings.captured();
        let mut values = with_captured(&parameters, typed.clone(), before).map_err(Failure::Refused)?;
        if self.has_own_steps() {
            let renewed = |own: Captured| Captured { scopes: before.scopes.clone(), ..own.over(before) };
            let kept = |own: &Captured| keep(&renewed(own.clone()));
            let kept: &Keep<'_> = &kept;
            // What is kept in between has no access token.
            let may_go_on = self.spends(before) && !present_the_token(&self.settings.refresh);
            let own = way.run(&self.settings.refresh, &values, subject, sending, may_go_on.then_some(kept));
            return Ok(renewed(own.await?));
        }
        let grant = match before.values.get(REFRESH_TOKEN) {
            Some(token) => Grant::Refresh(token),
            None if before.itself => Grant::Credentials,
            None => return Err(Failure::Refused(self.no_renewal(subject))),
        };
        let mut answered = self.ask(way, &mut values, &grant, subject, sending).await?;
        if matches!(grant, Grant::Refresh(_)) {
            answered.rotates = Some(answered.values.contains_key(REFRESH_TOKEN) && !answered.repeats(before));
        }
        if answered.scopes.is_empty() {
            answered.scopes = self.granted_elsewhere(&answered).unwrap_or_else(|| before.scopes.clone());
        }
        // An answer without a renewal token keeps the old one (RFC 6749, 6).
        let renewed = Captured { itself: before.itself, ..answered.over(before) };
        if !self.settings.after_token.is_empty() {
            keep(&renewed).map_err(Failure::Lost)?;
        }
        let renewed = self.after(way, values.clone(), renewed, subject).await.map_err(|failure| match failure {
            // The renewal itself is kept: the next one begins there.
            Failure::Lost(error) => Failure::Later(error, None),
            other => other,
        })?;
        self.refuse_readable_secrets(&renewed, &values).map_err(Failure::Refused)?;
        Ok(renewed)
    }

    /// Whether asking again spends something that cannot be used twice.
    pub(crate) fn spends(&self, before: &Captured) -> bool {
        before.holds(REFRESH_TOKEN) || (self.has_own_steps() && !trade_the_token(&self.settings.refresh, before))
    }

    fn has_own_steps(&self) -> bool {
        !self.settings.refresh.is_empty()
    }

    /// Whether it shows a certificate in the TLS handshake.
    fn shows_certificate(&self) -> bool {
        shows_certificate(&self.settings, self.app.as_deref())
    }

    /// Whether there is anything to ask again with.
    pub(crate) fn can_renew(&self, before: &Captured) -> bool {
        before.holds(REFRESH_TOKEN) || self.has_own_steps() || before.itself
    }

    /// A provider may repeat what nobody else may know in a value that the connector reads.
    fn refuse_readable_secrets(&self, captured: &Captured, values: &Values) -> Result<()> {
        let (readable, secret): (Vec<_>, Vec<_>) = self.settings.captured().into_iter().partition(is_readable);
        let secret = secret.iter().filter_map(|it| captured.values.get(&it.name)).chain(values.secret().values());
        let secret: Vec<&Secret> = secret.filter(|secret| !secret.is_empty()).collect();
        for name in readable.iter().map(|it| &it.name) {
            let Some(value) = captured.values.get(name) else { continue };
            let text = String::from_utf8_lossy(value.expose());
            // The shortest are not looked for inside a text, where they would be found by chance.
            let repeats = egress::stands_in(secret.iter().copied(), &text)
                || secret.iter().any(|secret| secret.expose() == value.expose());
            if repeats {
                return Err(Kind::ReconnectNeeded.error(format!(
                    "The provider's answer has a secret in `{}`, which the connector can read.",
                    text::foreign(name, 64)
                )));
            }
        }
        Ok(())
    }

    fn no_renewal(&self, subject: &Subject) -> Error {
        Kind::ReconnectNeeded
            .error("The access token has run out or was refused, and the provider gave no renewal token with it.")
            .hint(format!(
                "`attache connection reconnect {}` signs in again. Some providers give a renewal token only where it is asked for (`offline_access`).",
                subject.connection()
            ))
    }

    /// The connector's own steps after a token answer.
    async fn after(
        &self,
        way: &Way,
        values: Values,
        answered: Captured,
        subject: &Subject,
    ) -> Result<Captured, Failure> {
        if self.settings.after_token.is_empty() {
            return Ok(answered);
        }
        let values = with_captured(&self.settings.captured(), values, &answered).map_err(Failure::Refused)?;
        let more =
            way.run(&self.settings.after_token, &values, subject, None, None).await.map_err(Failure::after_a_token)?;
        let (scopes, rotates, itself) = (answered.scopes.clone(), answered.rotates, answered.itself);
        let expires = more.expires.or(answered.expires.filter(|_| !more.values.contains_key(ACCESS_TOKEN)));
        Ok(Captured { scopes, rotates, expires, itself, ..more.over(&answered) })
    }

    /// The token endpoint, or the one for refreshing.
    fn token_url(&self, values: &Values, refresh: bool) -> Result<url::Url> {
        let refresh_url = self.settings.refresh_url.as_ref().filter(|_| refresh);
        let declared = there(refresh_url, values).or(self.settings.token_url.as_ref());
        filled("token", declared, self.discovered.token.as_ref(), values)
    }
}

impl Captured {
    fn repeats(&self, before: &Self) -> bool {
        match (self.values.get(REFRESH_TOKEN), before.values.get(REFRESH_TOKEN)) {
            (Some(new), Some(old)) => new.expose() == old.expose(),
            _ => false,
        }
    }
}

/// Whether whoever asks for tokens so shows a certificate in the TLS handshake: the app its own, or one that was typed.
fn shows_certificate(settings: &Oauth2, app: Option<&App>) -> bool {
    settings.shows_certificate() || app.is_some_and(App::shows_certificate)
}

/// The origins of every endpoint that an app's secrets may be sent to, as these values fill them in.
pub(crate) fn origins(settings: &Oauth2, values: &Values) -> Result<BTreeSet<Origin>> {
    let mut origins = BTreeSet::new();
    for (what, url) in settings.endpoints() {
        let found = url.origins(&values.in_a_host()).map_err(|why| {
            Kind::InvalidInput.error(format!("The provider's {what} URL leads nowhere with these values: {why}."))
        })?;
        origins.extend(found);
    }
    Ok(origins)
}

/// An endpoint: as declared, else as discovered.
fn filled(
    what: &str,
    declared: Option<&UrlTemplate>,
    discovered: Option<&url::Url>,
    values: &Values,
) -> Result<url::Url> {
    match (there(declared, values), discovered) {
        (Some(template), _) => template.fill(values, &Moment::now()).map(|url| url.expose().clone()).map_err(|why| {
            Kind::ReconnectNeeded.error(format!("The provider's {what} URL cannot be filled in: {why}."))
        }),
        (None, Some(url)) => Ok(url.clone()),
        (None, None) => Err(Kind::ServiceFailed
            .error(format!("Neither the connector nor the provider's metadata names a {what} endpoint."))
            .hint("Choose another way to connect, or give its URL where the connector asks for it.")),
    }
}

/// What is declared for this connection: not an endpoint whose parameters were left out.
fn there<'a>(declared: Option<&'a UrlTemplate>, values: &Values) -> Option<&'a UrlTemplate> {
    declared.filter(|template| !template.is_left_out(&values.in_a_host()))
}
