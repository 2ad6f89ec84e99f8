//! Where a credential may go, as the connector declares it and as it stands once the values are known; and the URLs that a
//! connector declares for signing in. A value can choose a label, a port or, where the connector says so, labels or the
//! whole beginning; it can never change anything around it.
//!
//! - `authority`: `scheme://host[:port]` with names in it, checked when the connector is added and again when filled in.
//! - `pattern`: what an origin must look like, once all values are known.
//! - `url`: a URL with names in it, whose origin is judged like an audience.
//!
//! It reads templates and makes origins; it sends nothing and knows no connection. What must never happen here: two parts
//! that read one text differently. So whatever was put together is parsed, and must come out as it was written.

mod authority;
mod pattern;
mod url;

use std::fmt;

use self::authority::{Authority, beginning, origin_of, wrong};
pub use self::{
    authority::{NameInfo, OriginError, is_label},
    pattern::OriginPattern,
    url::{FilledUrl, UrlTemplate},
};
use super::{
    ValueKind, parameter,
    template::{Expression, FillError, Part, Scope, Template, Value},
};

/// An origin with names in it: `https://{org}.crm.dynamics.com`, `{endpoint} || https://api.example.com`, `https://*.example.com`.
#[derive(Debug, Clone)]
pub struct OriginTemplate {
    text: String,
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Clone)]
struct Alternative {
    origin: OriginPart,
    /// The name in it that may have several values.
    several: Option<String>,
}

#[derive(Debug, Clone)]
enum OriginPart {
    /// The origin of one value of kind `url`.
    Whole(String),
    /// Scheme, host and port.
    Built(Authority),
}

impl OriginTemplate {
    /// Checks a template.
    ///
    /// # Errors
    /// Where it is not `scheme://host[:port]`, or a name stands where its kind may not.
    pub fn parse(template: &Template, info: &dyn Fn(&str) -> Option<NameInfo>) -> Result<Self, OriginError> {
        let alternatives = template
            .alternatives
            .iter()
            .map(|parts| {
                let origin = OriginPart::parse(parts, info)?;
                let mut several: Vec<&str> =
                    origin.names().into_iter().filter(|name| info(name).is_some_and(|info| info.several)).collect();
                several.dedup();
                match several.as_slice() {
                    [] => Ok(Alternative { several: None, origin }),
                    [name] => Ok(Alternative { several: Some((*name).to_owned()), origin }),
                    _ => wrong("only one of its names may have several values"),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { text: template.to_string(), alternatives })
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.alternatives.iter().flat_map(|alternative| alternative.origin.names())
    }

    fn several(&self) -> impl Iterator<Item = &str> {
        self.alternatives.iter().filter_map(|alternative| alternative.several.as_deref())
    }

    /// As people read it: with what makes it more than one origin.
    pub fn describe(&self) -> String {
        let mut several: Vec<String> = self.several().map(|name| format!("`{name}`")).collect();
        several.dedup();
        match several.as_slice() {
            [] => self.to_string(),
            several => format!("{self}, one for each value of {}", several.join(" or ")),
        }
    }

    /// Fills the first alternative whose names all have a value: one origin, or one for each value of a name that has
    /// several; none where there is no such alternative.
    ///
    /// # Errors
    /// Where a value does not make an origin. The value itself is not repeated.
    pub fn resolve(&self, scope: &dyn Scope) -> Result<Vec<OriginPattern>, OriginError> {
        for alternative in &self.alternatives {
            let resolved = alternative.resolve(scope)?;
            if !resolved.is_empty() {
                return Ok(resolved);
            }
        }
        Ok(Vec::new())
    }
}

impl Alternative {
    fn resolve(&self, scope: &dyn Scope) -> Result<Vec<OriginPattern>, OriginError> {
        let Some(name) = &self.several else { return Ok(self.origin.resolve(scope)?.into_iter().collect()) };
        let Some(values) = scope.value(name) else { return Ok(Vec::new()) };
        let values = values.text().map_err(|_| OriginError::of(name, "is not text"))?;
        let mut origins = Vec::new();
        for value in parameter::each(values) {
            let resolved = self.origin.resolve(&OneOfSeveral { name, value, others: scope })?;
            origins.extend(resolved.filter(|origin| !origins.contains(origin)));
        }
        Ok(origins)
    }
}

impl OriginPart {
    fn parse(parts: &[Part], info: &dyn Fn(&str) -> Option<NameInfo>) -> Result<Self, OriginError> {
        match parts {
            [Part::Value(Expression::Name(name))]
                if info(name).is_some_and(|info| info.kind == ValueKind::Url && !info.is_pattern_group) =>
            {
                Ok(Self::Whole(name.clone()))
            }
            parts => Authority::parse(parts, info).map(Self::Built),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::Whole(name) => vec![name.as_str()],
            Self::Built(authority) => authority.names().collect(),
        }
    }

    fn resolve(&self, scope: &dyn Scope) -> Result<Option<OriginPattern>, OriginError> {
        match self {
            Self::Whole(name) => scope
                .value(name)
                .map(|value| origin_of(&beginning(name, &value)?).map(OriginPattern::Exact))
                .transpose(),
            Self::Built(authority) => authority.resolve(scope),
        }
    }
}

/// A connection's values, with one of the several that a name has in place of all of them.
struct OneOfSeveral<'a> {
    name: &'a str,
    value: &'a str,
    others: &'a dyn Scope,
}

impl Scope for OneOfSeveral<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        if name == self.name { Some(Value::public(self.value)) } else { self.others.value(name) }
    }

    fn fault(&self, name: &str) -> Option<FillError> {
        self.others.fault(name)
    }
}

impl fmt::Display for OriginTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
