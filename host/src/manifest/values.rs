//! The values of one connection: what was typed, its defaults, and the named groups of patterns.

use std::collections::BTreeMap;

use super::{
    AuthOption, Parameter,
    template::{Scope, Value},
};
use crate::{
    error::{Kind, Result},
    secret::Secret,
    text,
};

/// Values that fit their parameters, by name.
#[derive(Debug, Clone, Default)]
pub struct Values {
    public: BTreeMap<String, String>,
    secret: BTreeMap<String, Secret>,
    /// Groups of patterns; of a secret's pattern they are secret too, but may stand in a host.
    groups: BTreeMap<String, Secret>,
}

/// What need not be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lacking {
    Nothing,
    /// Secrets, which somebody else fills in.
    Secrets,
    /// Anything, which somebody types later.
    Anything,
}

impl Values {
    /// Checks values against an auth option's parameters and fills in defaults. Parameters that are neither given nor
    /// optional are an error.
    ///
    /// # Errors
    /// `invalid-input` naming the parameter; never its value.
    pub fn new(
        option: &AuthOption,
        public: BTreeMap<String, String>,
        secret: BTreeMap<String, Secret>,
    ) -> Result<Self> {
        Self::checked(option, public, secret, Lacking::Nothing)
    }

    /// The same where the secrets are somebody else's to fill in.
    ///
    /// # Errors
    /// As for [`Values::new`].
    pub fn without_secrets(option: &AuthOption, public: BTreeMap<String, String>) -> Result<Self> {
        Self::checked(option, public, BTreeMap::new(), Lacking::Secrets)
    }

    /// The same where anything else is yet to be typed.
    ///
    /// # Errors
    /// As for [`Values::new`].
    pub fn so_far(option: &AuthOption, public: BTreeMap<String, String>) -> Result<Self> {
        Self::checked(option, public, BTreeMap::new(), Lacking::Anything)
    }

    fn checked(
        option: &AuthOption,
        public: BTreeMap<String, String>,
        secret: BTreeMap<String, Secret>,
        lacking: Lacking,
    ) -> Result<Self> {
        for name in public.keys().chain(secret.keys()) {
            if option.parameter(name).is_none() {
                let known: Vec<_> = option.parameters.iter().map(|it| it.name.as_str()).collect();
                return Err(Kind::InvalidInput
                    .error(format!("The auth option `{}` has no parameter `{}`.", option.id, text::foreign(name, 64)))
                    .hint(match known.as_slice() {
                        [] => "It has no parameters at all.".to_owned(),
                        known => format!("It has {}.", known.join(", ")),
                    }));
            }
        }
        let mut values = Self::default();
        for parameter in &option.parameters {
            let name = &parameter.name;
            if parameter.of_app {
                if public.contains_key(name) || secret.contains_key(name) {
                    return Err(Kind::InvalidInput
                        .error(format!("`{name}` belongs to the app, which the operator registers once for everybody."))
                        .hint(format!(
                            "`attache app set CONNECTOR --set {name}=VALUE` or `--secret {name}=SOURCE` gives it."
                        )));
                }
                // One that has a default is the app's all the same; the app's own goes over it.
                if let Some(default) = &parameter.default {
                    values.put(parameter, Secret::new(default.as_str()))?;
                }
                continue;
            }
            let given = match (public.get(name), secret.get(name)) {
                (Some(_), _) if parameter.is_secret() => {
                    return Err(Kind::InvalidInput.error(format!("`{name}` is a secret.")).hint(format!(
                        "Give it with `--secret {name}=env:NAME`, `file:PATH` or `-`, or leave it out to be asked."
                    )));
                }
                (_, Some(_)) if !parameter.is_secret() => {
                    return Err(Kind::InvalidInput
                        .error(format!("`{name}` is not a secret: the connector can read it."))
                        .hint(format!("Give it with `--set {name}=VALUE`.")));
                }
                (Some(value), _) => Secret::new(value.as_str()),
                (_, Some(value)) => value.clone(),
                (None, None) if lacking == Lacking::Anything => continue,
                (None, None) if lacking == Lacking::Secrets && parameter.is_secret() => continue,
                (None, None) => match &parameter.default {
                    Some(default) => Secret::new(default.as_str()),
                    None if parameter.optional => continue,
                    None => {
                        return Err(parameter.missing().hint(if parameter.is_secret() {
                            format!("Give it with `--secret {name}=env:NAME`, `file:PATH` or `-`.")
                        } else {
                            format!("Give it with `--set {name}=VALUE`.")
                        }));
                    }
                },
            };
            values.put(parameter, given)?;
        }
        Ok(values)
    }

    /// Adds a value of this parameter, or captured under this name, in place of what it had before.
    ///
    /// # Errors
    /// `invalid-input` where it does not look as it must; never its text.
    pub fn put(&mut self, parameter: &Parameter, given: Secret) -> Result<()> {
        let name = &parameter.name;
        let value = std::str::from_utf8(given.expose())
            .map_err(|_| Kind::InvalidInput.error(format!("The value for `{name}` is not UTF-8 text.")))?;
        parameter.accept(value)?;
        if let Some(captures) = parameter.pattern.as_ref().and_then(|pattern| pattern.captures(value)) {
            let pattern_names = parameter.pattern.iter().flat_map(|pattern| pattern.capture_names().flatten());
            for group in pattern_names {
                if let Some(found) = captures.name(group) {
                    self.groups.insert(format!("{name}.{group}"), Secret::new(found.as_str()));
                }
            }
        }
        if parameter.is_secret() {
            self.secret.insert(name.clone(), given);
        } else {
            self.public.insert(name.clone(), value.to_owned());
        }
        Ok(())
    }

    /// What the connector may read, by name.
    pub fn public(&self) -> &BTreeMap<String, String> {
        &self.public
    }

    /// What it may not.
    pub fn secret(&self) -> &BTreeMap<String, Secret> {
        &self.secret
    }

    /// The same values as a host name may use them: a group of a secret's pattern is shown there.
    pub fn in_a_host(&self) -> impl Scope + '_ {
        InAHost(self)
    }
}

impl Scope for Values {
    fn value(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.public.get(name) {
            return Some(Value::public(value.as_bytes()));
        }
        if let Some(value) = self.secret.get(name) {
            return Some(Value::secret(value.expose()));
        }
        let value = self.groups.get(name)?;
        let of_secret = name.split_once('.').is_some_and(|(parameter, _)| self.secret.contains_key(parameter));
        Some(if of_secret { Value::secret(value.expose()) } else { Value::public(value.expose()) })
    }
}

struct InAHost<'a>(&'a Values);

impl Scope for InAHost<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        match self.0.groups.get(name) {
            Some(group) => Some(Value::public(group.expose())),
            None => self.0.value(name).filter(|value| !value.is_secret()),
        }
    }
}
