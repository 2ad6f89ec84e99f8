//! What the guests share: the contract's bindings, and short words for a manifest.

#![allow(missing_docs)]

wit_bindgen::generate!({ path: "../../wit", world: "connector", pub_export_macro: true, export_macro_name: "export_guest" });

pub mod send;

pub use attache::connector::{auth, connection, http, log};
pub use exports::attache::connector::{manifest, operations};

use auth::{Attachment, AuthOption, Kind, Parameter, ParameterSetting, Scheme};
use manifest::{Connector, Effect, Operation};

/// What a browser would take for markup, and what would turn a line around.
pub const MARKUP: &str =
    "\u{202e}</q><script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>\"' onfocus=alert(3) autofocus x='";

/// A connector of one auth option and operations that take and give anything.
pub fn connector(name: &str, version: &str, auth: Vec<AuthOption>, operations: &[(&str, Effect)]) -> Connector {
    Connector {
        name: name.into(),
        version: version.into(),
        title: format!("Test guest {name}"),
        description: String::new(),
        auth,
        open_hosts: Vec::new(),
        operations: operations.iter().map(|(id, effect)| operation(id, *effect, "{}", "true")).collect(),
    }
}

pub fn operation(id: &str, effect: Effect, input: &str, output: &str) -> Operation {
    Operation {
        id: id.into(),
        title: format!("Operation {id}"),
        description: format!("What {id} is for."),
        effect,
        input: input.into(),
        output: output.into(),
        scopes: Vec::new(),
    }
}

pub fn option(id: &str, parameters: Vec<Parameter>, attach: Vec<Attachment>, audience: &[&str]) -> AuthOption {
    AuthOption {
        id: id.into(),
        title: format!("Option {id}"),
        parameters,
        scheme: Scheme::Direct,
        jwts: Vec::new(),
        attach,
        audience: audience.iter().map(|it| (*it).to_owned()).collect(),
    }
}

pub fn parameter(name: &str, kind: Kind, settings: Vec<ParameterSetting>) -> Parameter {
    Parameter { name: name.into(), title: format!("The {name}"), kind, settings }
}

pub fn header(name: &str, value: &str) -> Attachment {
    Attachment::Header((name.into(), value.into()))
}
