//! A signed token (RFC 7519) that the host makes when it is needed. In templates it is a name like any other, and secret.
//!
//! What the author left out of header and claims is put in when the connector is added, as templates: so one filling
//! makes the whole, and a time in the claims agrees with one in a header.

mod algorithm;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use algorithm::Algorithm;
pub(crate) use algorithm::compact;

use super::{
    declared,
    template::{FillError, JsonTemplate, JsonTemplateError, Landing, Moment, Scope, Template, Value},
};
use crate::{
    error::{Kind, Result},
    manifest::ValueKind,
    text,
};

/// A token that was checked.
#[derive(Debug, Clone)]
pub struct Jwt {
    /// Its name in templates.
    pub name: String,
    /// What signs it.
    pub algorithm: Algorithm,
    /// The key: bytes, or PEM.
    pub key: Template,
    header: JsonTemplate,
    claims: JsonTemplate,
}

impl Jwt {
    /// Checks what was declared. Whether its names exist and whether they may be secret is the caller's to check.
    ///
    /// # Errors
    /// `invalid-connector` with what is wrong; `denied` for the algorithm `none`.
    pub fn check(declared: &declared::Jwt, key: Template, kind_of: &dyn Fn(&str) -> Option<ValueKind>) -> Result<Self> {
        let invalid = |why: String| Kind::InvalidConnector.error(why);
        if declared.algorithm.eq_ignore_ascii_case("none") {
            return Err(Kind::Denied.error("the algorithm `none` signs nothing"));
        }
        let algorithm = Algorithm::of(&declared.algorithm).ok_or_else(|| {
            let name = text::foreign(&declared.algorithm, 40);
            invalid(format!("there is no algorithm `{name}` ({})", Algorithm::names()))
        })?;
        if declared.lifetime_seconds == 0 {
            return Err(invalid("its lifetime is 0 seconds, so it would never be valid".into()));
        }
        let object = |what: &str, text: &str| -> Result<JsonTemplate> {
            let json = JsonTemplate::parse(text, kind_of)
                .map_err(|error: JsonTemplateError| invalid(format!("its {what}: {error}")))?;
            if json.is_object() { Ok(json) } else { Err(invalid(format!("its {what} is no JSON object"))) }
        };
        let mut header = object("header", &declared.header)?;
        let mut claims = object("claims", &declared.claims)?;
        if header.has("alg") && header.string("alg").is_none_or(|given| given.to_string() != algorithm.name()) {
            return Err(invalid(format!("its header has another `alg` than {algorithm}")));
        }
        let expiry = format!("{{now(unix, {})}}", declared.lifetime_seconds);
        let template = |text: &str| Template::parse(text).map_err(|error| invalid(error.to_string()));
        for (name, default) in [("alg", algorithm.name()), ("typ", "JWT")] {
            header.set_default(name, template(default)?);
        }
        for (name, default) in [("iat", "{now(unix)}"), ("exp", &expiry), ("jti", "{uuid()}")] {
            claims.set_default(name, template(default)?);
        }
        Ok(Self { name: declared.name.clone(), algorithm, key, header, claims })
    }

    /// The templates in its header and claims, those that the host added too.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.header.templates().into_iter().chain(self.claims.templates())
    }

    /// Every name that it is made of, its key's too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates().chain([&self.key]).flat_map(Template::names)
    }

    /// What it is, for people: `jwt name: RS256 with {key}, header {…}, claims {…}`.
    pub fn describe(&self) -> String {
        let Self { name, algorithm, key, header, claims } = self;
        format!("jwt {name}: {algorithm} with {key}, header {header}, claims {claims}")
    }

    /// Makes the token. None where the key has no value; a member of header or claims that has none is left out.
    ///
    /// # Errors
    /// Where a value does not fit, or the key is not one of the algorithm's.
    pub fn make(&self, scope: &dyn Scope, moment: &Moment) -> Result<Option<Value>, FillError> {
        let failed = |why: String| FillError::new(format!("the token `{}` cannot be made: {why}", self.name));
        let filled = |json: &JsonTemplate| match json.fill(scope, moment) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(failed("it is empty".into())),
            Err(error) => Err(failed(error.to_string())),
        };
        let key = self.key.fill(scope, Landing::Plain, moment).map_err(|error| failed(error.to_string()))?;
        let Some(key) = key else { return Ok(None) };
        let (header, claims) = (filled(&self.header)?, filled(&self.claims)?);
        let token = algorithm::compact(self.algorithm, key.bytes(), header.bytes(), claims.bytes())
            .map_err(|why| failed(why.into()))?;
        // A service that shows a token's parts shows the signature by itself.
        let signature = Value::secret(token.rsplit('.').next().unwrap_or_default());
        Ok(Some(Value::secret_made_of(token.as_bytes(), [key, header, claims, signature])))
    }
}

/// The tokens of one request: each is made when it is first asked for, and stays the same.
#[derive(Debug)]
pub struct Jwts<'a> {
    declared: &'a [Jwt],
    made: Vec<OnceLock<Result<Option<Value>, FillError>>>,
}

impl<'a> Jwts<'a> {
    /// Nothing is made yet.
    pub fn new(declared: &'a [Jwt]) -> Self {
        Self { declared, made: declared.iter().map(|_| OnceLock::new()).collect() }
    }

    /// The names of a scope, and these tokens beside them. They are made of that scope's values.
    pub fn over(&'a self, scope: &'a dyn Scope, moment: &'a Moment) -> WithJwts<'a> {
        WithJwts { jwts: self, scope, moment }
    }
}

/// A scope with tokens.
pub struct WithJwts<'a> {
    jwts: &'a Jwts<'a>,
    scope: &'a dyn Scope,
    moment: &'a Moment,
}

impl WithJwts<'_> {
    fn made(&self, name: &str) -> Option<&Result<Option<Value>, FillError>> {
        let at = self.jwts.declared.iter().position(|jwt| jwt.name == name)?;
        Some(self.jwts.made[at].get_or_init(|| self.jwts.declared[at].make(self.scope, self.moment)))
    }
}

impl Scope for WithJwts<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        match self.made(name) {
            Some(made) => made.as_ref().ok().cloned().flatten(),
            None => self.scope.value(name),
        }
    }

    fn fault(&self, name: &str) -> Option<FillError> {
        match self.made(name) {
            Some(made) => made.as_ref().err().cloned(),
            None => self.scope.fault(name),
        }
    }
}
