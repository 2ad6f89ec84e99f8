//! What a connector may do, in plain words: the same for one that is there and for one that is to be added. Titles and
//! descriptions are the connector's own.

use serde_json::Value;

use crate::{
    error::{Kind, Result},
    manifest::{AuthOption, Manifest, Parameter, declared::Connector as Declared, login::is_readable},
};

/// What one asks for.
pub(super) struct Terms {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) options: Vec<OptionTerms>,
    /// Origins that it calls without a credential.
    pub(super) open_hosts: Vec<String>,
    pub(super) operations: Vec<OperationTerms>,
    /// What the component imports.
    pub(super) imports: Vec<String>,
}

/// One way to connect.
pub(super) struct OptionTerms {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) secret: Vec<ParameterTerms>,
    pub(super) readable: Vec<ParameterTerms>,
    pub(super) has_credential: bool,
    pub(super) reaches: Vec<String>,
    pub(super) places: Vec<String>,
    pub(super) sign_in: Vec<String>,
    pub(super) scopes: Vec<ScopeTerms>,
    pub(super) captured: Vec<String>,
}

/// What somebody types.
pub(super) struct ParameterTerms {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) title: String,
    pub(super) optional: bool,
}

/// What a provider is asked for.
pub(super) struct ScopeTerms {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) about: Option<String>,
}

/// What can be called.
pub(super) struct OperationTerms {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) effect: &'static str,
    pub(super) scopes: Vec<String>,
}

/// What a connector said of itself when it was looked at.
pub(super) fn manifest_of(declared: &Value) -> Result<Manifest> {
    let declared: Declared = serde_json::from_value(declared.clone())
        .map_err(|_| Kind::Internal.error("What the host says of the connector is not understood."))?;
    Manifest::reload(&declared)
}

impl Terms {
    /// Of a manifest, and of the terms that the API gives with it.
    pub(super) fn of(manifest: &Manifest, terms: &Value) -> Self {
        Self {
            title: manifest.title.clone(),
            description: manifest.description.clone(),
            options: manifest.options.iter().map(OptionTerms::of).collect(),
            open_hosts: manifest.open_hosts.iter().map(ToString::to_string).collect(),
            operations: manifest
                .operations
                .iter()
                .map(|it| OperationTerms {
                    id: it.id.clone(),
                    title: it.title.clone(),
                    description: it.description.clone(),
                    effect: it.effect.name(),
                    scopes: it.scopes.clone(),
                })
                .collect(),
            imports: texts(&terms["imports"]),
        }
    }
}

impl OptionTerms {
    fn of(option: &AuthOption) -> Self {
        let (secret, readable): (Vec<_>, Vec<_>) = option.parameters.iter().partition(|it| it.is_secret());
        let named = |all: Vec<&Parameter>| {
            let one = |it: &Parameter| ParameterTerms {
                name: it.name.clone(),
                kind: it.kind.name(),
                title: it.title.clone(),
                optional: it.optional,
            };
            all.into_iter().map(one).collect()
        };
        let scopes = option.scheme.oauth2().map(|it| it.scopes.as_slice()).unwrap_or_default();
        Self {
            id: option.id.clone(),
            title: option.title.clone(),
            secret: named(secret),
            readable: named(readable),
            has_credential: !option.attach.is_empty(),
            reaches: option.audience.iter().map(ToString::to_string).collect(),
            places: option.attach.iter().map(|it| it.place()).collect(),
            sign_in: option.scheme.urls().iter().map(|(what, url)| format!("{what} {url}")).collect(),
            scopes: scopes
                .iter()
                .map(|it| ScopeTerms {
                    name: it.name.to_string(),
                    required: it.required,
                    about: it.description.clone(),
                })
                .collect(),
            captured: option
                .scheme
                .captured()
                .into_iter()
                .map(|value| match is_readable(&value) {
                    true => format!("{} (the connector can read it)", value.name),
                    false => value.name,
                })
                .collect(),
        }
    }
}

/// The texts of a list.
pub(super) fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
