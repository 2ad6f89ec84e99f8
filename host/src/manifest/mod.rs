//! What a connector declares, parsed and validated once into types that cannot be wrong: names that exist, templates that
//! parse, patterns that compile, schemas that are schemas, and the promises about secrets kept.
//!
//! It may call nothing but the shared words (error, origin, secret). It does not run connectors and does not know
//! connections. What must never happen here: a manifest accepted in which a secret could reach the connector, or a value
//! could choose where a credential goes beyond what its kind allows.

mod attachment;
pub mod audience;
mod check;
pub mod declared;
mod effects;
pub mod jwt;
pub mod login;
pub mod oauth2;
mod operation;
pub mod parameter;
pub mod pointer;
pub mod template;
#[cfg(test)]
mod testing;
mod values;

pub use attachment::{Attachment, Oauth1, Oauth1Method, Sigv4};
pub use declared::{Effect, ValueKind};
pub use effects::Effects;
pub use login::Login;
pub use oauth2::Oauth2;
pub use operation::Operation;
pub use parameter::Parameter;
pub use values::Values;

use std::sync::Arc;

use audience::OriginTemplate;
use jwt::Jwt;

/// A manifest that was checked.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Lower-kebab-case.
    pub name: String,
    /// As the author counts.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// For people.
    pub description: String,
    /// At least one.
    pub options: Vec<AuthOption>,
    /// Origins that are called without a credential.
    pub open_hosts: Vec<OriginTemplate>,
    /// At least one; shared with the calls of it.
    pub operations: Vec<Arc<Operation>>,
}

/// One way to connect.
#[derive(Debug, Clone)]
pub struct AuthOption {
    /// Lower-kebab-case, unique in the connector.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// What somebody types.
    pub parameters: Vec<Parameter>,
    /// How what was typed becomes something to send.
    pub scheme: Scheme,
    /// Tokens that are made when they are needed.
    pub jwts: Vec<Jwt>,
    /// What is put on a request, in order.
    pub attach: Vec<Attachment>,
    /// The only origins that `attach` is used for.
    pub audience: Vec<OriginTemplate>,
}

/// How what was typed becomes something to send.
#[derive(Debug, Clone)]
pub enum Scheme {
    /// It is sent itself.
    Direct,
    /// Calls trade it for something short-lived.
    Login(Login),
    /// An authorization server issues tokens.
    Oauth2(Box<Oauth2>),
}

impl Scheme {
    /// Every call of a sign-in that is spelled out.
    pub fn calls(&self) -> Vec<&login::Call> {
        match self {
            Scheme::Direct => Vec::new(),
            Scheme::Login(login) => login.calls().collect(),
            Scheme::Oauth2(oauth2) => oauth2.calls().collect(),
        }
    }

    /// Every URL that is the host's alone to call, each with its method or what it is.
    pub fn urls(&self) -> Vec<(String, &audience::UrlTemplate)> {
        match self {
            Scheme::Direct => Vec::new(),
            Scheme::Login(login) => {
                let visit = login.visit.iter().map(|visit| ("visit".to_owned(), &visit.url));
                login.calls().map(|call| (call.method.to_string(), &call.url)).chain(visit).collect()
            }
            Scheme::Oauth2(oauth2) => oauth2
                .endpoints()
                .map(|(what, url)| (format!("OAuth {what}"), url))
                .chain(oauth2.authorization_url.iter().map(|url| ("OAuth authorization".to_owned(), url)))
                .collect(),
        }
    }

    /// Everything that is captured, each name once.
    pub fn captured(&self) -> Vec<Parameter> {
        match self {
            Scheme::Direct => Vec::new(),
            Scheme::Login(login) => login.captured().into_iter().cloned().collect(),
            Scheme::Oauth2(oauth2) => oauth2.captured(),
        }
    }

    /// Whether what is sent was typed.
    pub fn is_direct(&self) -> bool {
        matches!(self, Scheme::Direct)
    }

    /// The page of a login that a person is sent to.
    pub fn visit(&self) -> Option<&login::Visit> {
        match self {
            Scheme::Login(login) => login.visit.as_ref(),
            _ => None,
        }
    }

    /// The settings of OAuth 2.0, where it is that.
    pub fn oauth2(&self) -> Option<&Oauth2> {
        match self {
            Scheme::Oauth2(oauth2) => Some(oauth2),
            _ => None,
        }
    }
}

impl Manifest {
    /// The auth option of that id.
    pub fn option(&self, id: &str) -> Option<&AuthOption> {
        self.options.iter().find(|option| option.id == id)
    }

    /// The operation of that id.
    pub fn operation(&self, id: &str) -> Option<&Arc<Operation>> {
        self.operations.iter().find(|operation| operation.id == id)
    }
}

impl AuthOption {
    /// Whether an operator must register an app before anybody can connect this way: something of it is the app's to give.
    pub fn needs_app(&self) -> bool {
        let typed = |name: &str| self.parameter(name).is_some();
        self.parameters.iter().any(|parameter| parameter.of_app && !parameter.optional)
            || (self.scheme.oauth2().is_some() && !typed("client_id"))
    }

    /// Whether a request that leaves may carry a secret of the operator's app, itself or in a signature.
    pub fn carries_app_secrets(&self) -> bool {
        let of_app = |name: &str| match self.parameter(name.split('.').next().unwrap_or(name)) {
            Some(parameter) => parameter.of_app && parameter.is_secret(),
            None => name == oauth2::OF_APP[1],
        };
        let attached = self.attach.iter().flat_map(|it| it.templates()).flat_map(|template| template.names());
        let signed = self.jwts.iter().flat_map(|jwt| jwt.names());
        attached.chain(signed).any(of_app)
    }

    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}
