//! A builder for the scheme `oauth2`. What is left out is the standard; every URL and every value is a template.

use crate::{
    CaptureFrom, ClientAuth, Grant, Kind, Oauth2Setting, Step,
    bindings::attache::connector::auth::{Capture, Scope},
};

/// Where an authorization server is, what is asked of it, and how it differs from the standard.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Oauth2 {
    scopes: Vec<Scope>,
    authorization_params: Vec<(String, String)>,
    token_params: Vec<(String, String)>,
    refresh_params: Vec<(String, String)>,
    captures: Vec<Capture>,
    others: Vec<Oauth2Setting>,
}

impl Oauth2 {
    /// One of which everything is to be discovered at the issuer.
    pub fn discovered(issuer: &str) -> Self {
        Self::default().set(Oauth2Setting::Issuer(issuer.into()))
    }

    /// One whose endpoints are fixed: where people are sent, and where tokens come from.
    pub fn at(authorization_url: &str, token_url: &str) -> Self {
        Self::default().authorization_url(authorization_url).token_url(token_url)
    }

    /// Where people are sent to sign in.
    pub fn authorization_url(self, url: &str) -> Self {
        self.set(Oauth2Setting::AuthorizationUrl(url.into()))
    }

    /// Where tokens come from.
    pub fn token_url(self, url: &str) -> Self {
        self.set(Oauth2Setting::TokenUrl(url.into()))
    }

    /// Where codes for another device come from (RFC 8628).
    pub fn device_authorization_url(self, url: &str) -> Self {
        self.set(Oauth2Setting::DeviceAuthorizationUrl(url.into()))
    }

    /// Where tokens are ended (RFC 7009).
    pub fn revocation_url(self, url: &str) -> Self {
        self.set(Oauth2Setting::RevocationUrl(url.into()))
    }

    /// In order of preference; authorization-code alone unless given.
    pub fn grants(self, grants: &[Grant]) -> Self {
        self.set(Oauth2Setting::Grants(grants.to_vec()))
    }

    /// How the app proves itself with its secret.
    pub fn client_auth(self, way: ClientAuth) -> Self {
        self.set(Oauth2Setting::ClientAuth(way))
    }

    /// For a provider that does not know PKCE.
    pub fn without_pkce(self) -> Self {
        self.set(Oauth2Setting::Pkce(false))
    }

    /// A scope that every connection asks for. A parameter may hold several.
    pub fn scope(self, name: &str, description: &str) -> Self {
        self.add_scope(name, description, true)
    }

    /// A scope that is asked for only where somebody wants it.
    pub fn optional_scope(self, name: &str, description: &str) -> Self {
        self.add_scope(name, description, false)
    }

    /// What stands between scopes, where it is not a space.
    pub fn scope_separator(self, separator: &str) -> Self {
        self.set(Oauth2Setting::ScopeSeparator(separator.into()))
    }

    /// Laid over what the authorization request has.
    pub fn authorization_param(mut self, name: &str, value: &str) -> Self {
        self.authorization_params.push((name.into(), value.into()));
        self
    }

    /// Laid over what a token request has.
    pub fn token_param(mut self, name: &str, value: &str) -> Self {
        self.token_params.push((name.into(), value.into()));
        self
    }

    /// Laid over what a refresh request has.
    pub fn refresh_param(mut self, name: &str, value: &str) -> Self {
        self.refresh_params.push((name.into(), value.into()));
        self
    }

    /// A value of the token answer or of the callback that is kept; `granted_scopes` says what was granted, where the token
    /// answer has no `scope`.
    pub fn capture(mut self, name: &str, at: CaptureFrom, kind: Kind) -> Self {
        self.captures.push(Capture { name: name.into(), at, kind, pattern: None });
        self
    }

    /// Run after each token answer, with `{access_token}`.
    pub fn after_token(self, steps: Vec<Step>) -> Self {
        self.set(Oauth2Setting::AfterToken(steps))
    }

    /// Run instead of the standard refresh.
    pub fn refresh(self, steps: Vec<Step>) -> Self {
        self.set(Oauth2Setting::Refresh(steps))
    }

    /// How long a token is good where the answer does not say.
    pub fn lifetime_seconds(self, seconds: u32) -> Self {
        self.set(Oauth2Setting::LifetimeSeconds(seconds))
    }

    /// Any other setting of the contract; each at most once.
    pub fn set(mut self, setting: Oauth2Setting) -> Self {
        self.others.push(setting);
        self
    }

    fn add_scope(mut self, name: &str, description: &str, required: bool) -> Self {
        self.scopes.push(Scope { name: name.into(), description: Some(description.into()), required });
        self
    }

    pub(crate) fn into_settings(self) -> Vec<Oauth2Setting> {
        let mut settings = self.others;
        if !self.scopes.is_empty() {
            settings.push(Oauth2Setting::Scopes(self.scopes));
        }
        let laid_over: [(fn(_) -> _, _); 3] = [
            (Oauth2Setting::AuthorizationParams, self.authorization_params),
            (Oauth2Setting::TokenParams, self.token_params),
            (Oauth2Setting::RefreshParams, self.refresh_params),
        ];
        settings
            .extend(laid_over.into_iter().filter(|(_, params)| !params.is_empty()).map(|(make, params)| make(params)));
        if !self.captures.is_empty() {
            settings.push(Oauth2Setting::Capture(self.captures));
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_there_once_and_what_was_not_said_is_left_out() {
        let settings = Oauth2::at("https://a.example/authorize", "https://a.example/token")
            .scope("read", "Read")
            .optional_scope("write", "Write")
            .token_param("audience", "{audience}")
            .into_settings();
        assert_eq!(settings.len(), 4);
        let Some(Oauth2Setting::Scopes(scopes)) = settings.iter().find(|it| matches!(it, Oauth2Setting::Scopes(_)))
        else {
            panic!("{settings:?}");
        };
        assert_eq!(scopes.iter().map(|scope| scope.required).collect::<Vec<_>>(), [true, false]);
        assert!(!settings.iter().any(|it| matches!(it, Oauth2Setting::RefreshParams(_))));
    }
}
