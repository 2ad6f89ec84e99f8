//! How what runs out is got anew, and what that takes: by a login's steps, or of an authorization server.

use std::time::Duration;

use super::{Captured, oauth2::Client};
use crate::manifest::{Login, Parameter, login::REFRESH_TOKEN};

/// How what runs out is got anew.
pub(crate) enum Source {
    /// With what was typed.
    Login(Login),
    /// Of an authorization server.
    Oauth2(Box<Client>),
}

impl Source {
    /// What it captures.
    pub(super) fn captured(&self) -> Vec<Parameter> {
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
        captured.values.contains_key(REFRESH_TOKEN) && self.spends(Some(captured))
    }

    /// Whether asking spends something that cannot be used twice.
    pub(super) fn spends(&self, before: Option<&Captured>) -> bool {
        match (self, before) {
            (Source::Oauth2(client), Some(before)) => client.spends(before),
            // What else there would be to begin with again, only a person brings.
            (Source::Login(login), Some(_)) => login.visit.is_some() && !login.refresh.is_empty(),
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
