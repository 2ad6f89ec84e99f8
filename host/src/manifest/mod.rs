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
pub mod jwt;
pub mod login;
mod operation;
mod parameter;
pub mod pointer;
pub mod template;
mod values;

pub use attachment::{Attachment, Oauth1, Oauth1Method, Sigv4};
pub use declared::{Effect, ValueKind};
pub use login::Login;
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
    /// How what was typed becomes something short-lived; none where it is sent itself.
    pub login: Option<Login>,
    /// Tokens that are made when they are needed.
    pub jwts: Vec<Jwt>,
    /// What is put on a request, in order.
    pub attach: Vec<Attachment>,
    /// The only origins that `attach` is used for.
    pub audience: Vec<OriginTemplate>,
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
    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}
