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

use self::authority::{Authority, beginning, origin_of};
pub use self::{
    authority::{NameInfo, OriginError, is_label},
    pattern::OriginPattern,
    url::{FilledUrl, UrlTemplate},
};
use super::{
    ValueKind,
    template::{Expression, Part, Scope, Template},
};

/// An origin with names in it: `https://{org}.crm.dynamics.com`, `{endpoint} || https://api.example.com`, `https://*.example.com`.
#[derive(Debug, Clone)]
pub struct OriginTemplate {
    text: String,
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Clone)]
enum Alternative {
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
        let alternative = |parts: &Vec<Part>| match parts.as_slice() {
            [Part::Value(Expression::Name(name))]
                if info(name).is_some_and(|info| info.kind == ValueKind::Url && !info.is_pattern_group) =>
            {
                Ok(Alternative::Whole(name.clone()))
            }
            parts => Authority::parse(parts, info).map(Alternative::Built),
        };
        let alternatives = template.alternatives.iter().map(alternative).collect::<Result<_, _>>()?;
        Ok(Self { text: template.to_string(), alternatives })
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.alternatives.iter().flat_map(|alternative| match alternative {
            Alternative::Whole(name) => vec![name.as_str()],
            Alternative::Built(authority) => authority.names().collect(),
        })
    }

    /// Fills the first alternative whose names all have a value; none where there is none.
    ///
    /// # Errors
    /// Where a value does not make an origin. The value itself is not repeated.
    pub fn resolve(&self, scope: &dyn Scope) -> Result<Option<OriginPattern>, OriginError> {
        for alternative in &self.alternatives {
            let resolved = match alternative {
                Alternative::Whole(name) => scope
                    .value(name)
                    .map(|value| origin_of(&beginning(name, &value)?).map(OriginPattern::Exact))
                    .transpose()?,
                Alternative::Built(authority) => authority.resolve(scope)?,
            };
            if resolved.is_some() {
                return Ok(resolved);
            }
        }
        Ok(None)
    }
}

impl fmt::Display for OriginTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
