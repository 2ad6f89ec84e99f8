//! What an approval is for, as sets that can be compared: an upgrade that adds to one of them is a widening.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::manifest::{Effect, Manifest, login::is_readable};

/// Everything about a connector that widens what it can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Origins that a credential may go to, as templates, each with its auth option.
    pub audience: BTreeSet<String>,
    /// Origins that are called without one.
    pub open_hosts: BTreeSet<String>,
    /// Where credentials are placed, each with its auth option and template; and the tokens that are made for that.
    pub placements: BTreeSet<String>,
    /// Where what was typed goes to sign in, each with its method and auth option.
    #[serde(default)]
    pub sign_in: BTreeSet<String>,
    /// What is kept of the answers, each with its auth option.
    #[serde(default)]
    pub captures: BTreeSet<String>,
    /// What may be asked for at an authorization server, each with its auth option.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// What the connector can read of what is typed or captured.
    pub readable: BTreeSet<String>,
    /// What the component imports.
    pub imports: BTreeSet<String>,
    /// Operations and what they do.
    pub operations: BTreeMap<String, Effect>,
}

/// How one version's terms differ from another's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is new and lets the connector do more. Asked about, whatever `--yes` says.
    pub widened: Vec<String>,
    /// What it no longer does, and new operations that only read.
    pub other: Vec<String>,
}

impl Terms {
    /// The terms of a manifest and its component's imports.
    pub fn of(manifest: &Manifest, imports: &[String]) -> Self {
        let mut terms = Self {
            open_hosts: manifest.open_hosts.iter().map(ToString::to_string).collect(),
            imports: imports.iter().cloned().collect(),
            operations: manifest.operations.iter().map(|operation| (operation.id.clone(), operation.effect)).collect(),
            ..Self::default()
        };
        for option in &manifest.options {
            let of = |what: String| format!("{what} ({})", option.id);
            terms.audience.extend(option.audience.iter().map(|origin| of(origin.describe())));
            terms.placements.extend(option.attach.iter().map(|attachment| of(attachment.describe())));
            terms.placements.extend(option.jwts.iter().map(|jwt| of(jwt.describe())));
            let readable = option.parameters.iter().filter(|parameter| !parameter.is_secret());
            terms.readable.extend(readable.map(|parameter| of(parameter.name.clone())));
            terms.sign_in.extend(option.scheme.urls().into_iter().map(|(what, url)| of(format!("{what} {url}"))));
            for call in option.scheme.calls() {
                let placed =
                    call.attach.iter().map(|attachment| of(format!("{} when signing in", attachment.describe())));
                terms.placements.extend(placed);
            }
            if let Some(oauth2) = option.scheme.oauth2() {
                terms.scopes.extend(oauth2.scopes.iter().map(|scope| of(scope.name.to_string())));
                let placed =
                    oauth2.token_attach.iter().map(|it| of(format!("{} when asking for a token", it.describe())));
                terms.placements.extend(placed);
                let laid = [
                    ("authorization", &oauth2.authorization_params),
                    ("token", &oauth2.token_params),
                    ("refresh", &oauth2.refresh_params),
                ];
                for (what, parameters) in laid {
                    let described =
                        parameters.iter().map(|(name, value)| of(format!("{what} parameter {name}={value}")));
                    terms.placements.extend(described);
                }
            }
            for value in option.scheme.captured() {
                terms.captures.insert(of(value.name.clone()));
                if is_readable(&value) {
                    terms.readable.insert(of(value.name.clone()));
                }
            }
        }
        terms
    }

    /// What is different from what was approved before.
    pub fn since(&self, before: &Self) -> Difference {
        let mut difference = Difference::default();
        let mut compare = |what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>| {
            difference.widened.extend(after.difference(before).map(|it| format!("new {what}: {it}")));
            difference.other.extend(before.difference(after).map(|it| format!("no longer {what}: {it}")));
        };
        compare("origin that receives the credential", &before.audience, &self.audience);
        compare("open host", &before.open_hosts, &self.open_hosts);
        compare("URL to sign in at", &before.sign_in, &self.sign_in);
        compare("scope", &before.scopes, &self.scopes);
        compare("captured value", &before.captures, &self.captures);
        compare("placement", &before.placements, &self.placements);
        compare("value that the connector can read", &before.readable, &self.readable);
        compare("import", &before.imports, &self.imports);
        for (operation, effect) in &self.operations {
            match before.operations.get(operation) {
                None if *effect == Effect::Read => {
                    difference.other.push(format!("new operation that reads: {operation}"))
                }
                None => difference.widened.push(format!("new operation: {operation} ({})", effect.name())),
                Some(was) if effect > was => {
                    difference.widened.push(format!("operation {operation}: was {}, is {}", was.name(), effect.name()));
                }
                Some(was) if effect < was => {
                    difference.other.push(format!("operation {operation}: was {}, is {}", was.name(), effect.name()));
                }
                Some(_) => {}
            }
        }
        let gone = before.operations.keys().filter(|operation| !self.operations.contains_key(*operation));
        difference.other.extend(gone.map(|operation| format!("no longer operation: {operation}")));
        difference
    }
}
