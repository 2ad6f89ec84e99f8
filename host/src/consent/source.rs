//! How what runs out is got anew, and what that takes: by a login's steps, or of an authorization server.

use std::{sync::Arc, time::Duration};

use super::{
    App, Captured, Discovered,
    oauth2::{Client, Given},
    sign_in::with_captured,
    step::{Failure, Keep, Way},
};
use crate::{
    audit::Subject,
    error::{Error, Kind, Result},
    manifest::{
        AuthOption, Login, Parameter, Scheme, Values,
        login::{ACCESS_TOKEN, Call, REFRESH_TOKEN},
    },
    transport::Before,
};

/// How what runs out is got anew.
pub(crate) enum Source {
    /// With what was typed.
    Login(Login),
    /// Of an authorization server.
    Oauth2(Box<Client>),
}

impl Source {
    /// Of a connection of this auth option; none where it does not sign in.
    pub(crate) fn of(
        option: &AuthOption,
        app: Option<Arc<App>>,
        discovered: Discovered,
        scopes: Vec<String>,
    ) -> Option<Self> {
        match &option.scheme {
            Scheme::Login(login) => Some(Self::Login(login.clone())),
            _ => Client::of(option, app, discovered, scopes).map(|client| Self::Oauth2(Box::new(client))),
        }
    }

    /// Asks: with the steps of a refresh where there are some and something to refresh, else with those of the login; or as a
    /// client does. `sending` is done before a request leaves that spends something, `keep` before what a renewal brought is
    /// used for anything.
    pub(crate) async fn ask(
        &self,
        way: &Way,
        typed: &Values,
        before: Option<&Captured>,
        subject: &Subject,
        sending: Option<Before>,
        keep: &Keep<'_>,
    ) -> Result<Captured, Failure> {
        let login = match (self, before) {
            (Source::Login(login), _) => login,
            (Source::Oauth2(client), Some(before)) => {
                return client.renew(way, typed, before, subject, sending, keep).await;
            }
            (Source::Oauth2(client), None) => return client.obtain(way, typed, &Given::Credentials, subject).await,
        };
        if let Some(before) = before.filter(|_| !login.refresh.is_empty()) {
            let values = with_captured(&self.captured(), typed.clone(), before).map_err(Failure::Refused)?;
            match way.run(&login.refresh, &values, subject, sending, None).await {
                Ok(captured) => return Ok(captured.over(before)),
                // What was captured is no good any longer; what was typed may be.
                Err(Failure::Refused(_)) if login.visit.is_none() => {}
                Err(failure) => return Err(failure),
            }
        }
        if login.visit.is_some() {
            return Err(Failure::Refused(only_a_person(subject)));
        }
        way.run(&login.steps, typed, subject, None, None).await
    }

    /// What it captures.
    pub(crate) fn captured(&self) -> Vec<Parameter> {
        match self {
            Source::Login(login) => login.captured().into_iter().cloned().collect(),
            Source::Oauth2(client) => client.settings.captured(),
        }
    }

    /// Where no answer says how long what was captured is good.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        match self {
            Source::Login(login) => login.lifetime,
            Source::Oauth2(client) => client.settings.lifetime,
        }
    }

    /// Whether it holds something that may die of idleness.
    pub(super) fn renews(&self, captured: &Captured) -> bool {
        (captured.holds(REFRESH_TOKEN) && self.spends(Some(captured))) || self.trades_the_token(captured)
    }

    /// Whether what it holds is good for nothing once it has run out, and only a person gets it anew.
    pub(super) fn trades_the_token(&self, captured: &Captured) -> bool {
        match self {
            Source::Oauth2(client) => trade_the_token(&client.settings.refresh, captured),
            Source::Login(login) => login.visit.is_some() && trade_the_token(&login.refresh, captured),
        }
    }

    /// Whether asking spends something that cannot be used twice.
    pub(super) fn spends(&self, before: Option<&Captured>) -> bool {
        match (self, before) {
            (Source::Oauth2(client), Some(before)) => client.spends(before),
            // What else there would be to begin with again, only a person brings.
            (Source::Login(login), Some(before)) => {
                login.visit.is_some() && !login.refresh.is_empty() && !trade_the_token(&login.refresh, before)
            }
            (_, None) => false,
        }
    }

    /// Whether there is anything to ask with.
    pub(super) fn can_renew(&self, before: &Captured) -> bool {
        match self {
            Source::Login(login) => login.visit.is_none() || !login.refresh.is_empty(),
            Source::Oauth2(client) => client.can_renew(before),
        }
    }
}

/// Whether these steps of a refresh trade the access token itself for a newer one, for as long as it is good: there is no renewal
/// token. The old one stays what it is, so that nothing is spent.
pub(super) fn trade_the_token(steps: &[Call], captured: &Captured) -> bool {
    present_the_token(steps) && !captured.holds(REFRESH_TOKEN)
}

/// Whether the first of these steps needs the access token that there is.
pub(super) fn present_the_token(steps: &[Call]) -> bool {
    steps.first().is_some_and(|first| first.presents(ACCESS_TOKEN))
}

fn only_a_person(subject: &Subject) -> Error {
    Kind::ReconnectNeeded
        .error("What the sign-in gave has run out, and only a person at the service's page gets it anew.")
        .hint(format!("`attache connection reconnect {}` leads there again.", subject.connection()))
}
