//! From a template's parts and a connection's values to what is sent.

use std::{cell::Cell, fmt, sync::OnceLock};

use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Expression, Landing, Part, Template, Value, function::Format, parse::names_in};
use crate::text;

/// The bytes that one filling may read and make. Functions in functions, each used several times, could otherwise make
/// gigabytes of one body; four times the largest body of a request leaves room for every signature there is.
const WORK: usize = 128 << 20;

/// Where values come from.
pub trait Scope {
    /// The value of a name; none where it has none. An empty text is a value: somebody set it to that, and what was left
    /// out has none.
    fn value(&self, name: &str) -> Option<Value>;

    /// Why a name has no value that ought to have one: it is computed, and that failed. Filling fails with it then, instead
    /// of going on as if the name were merely not given.
    fn fault(&self, _name: &str) -> Option<FillError> {
        None
    }
}

/// The time and the UUID of one request: a header and the signature over it must agree.
#[derive(Debug)]
pub struct Moment {
    time: Timestamp,
    uuid: OnceLock<Uuid>,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self::at(Timestamp::now())
    }

    /// A moment of somebody's choosing.
    pub fn at(time: Timestamp) -> Self {
        Self { time, uuid: OnceLock::new() }
    }

    /// A moment with a UUID of somebody's choosing too.
    #[cfg(test)]
    pub(crate) fn with_uuid(time: Timestamp, uuid: Uuid) -> Self {
        Self { time, uuid: OnceLock::from(uuid) }
    }

    /// As IMF-fixdate (RFC 9110 section 5.6.7).
    pub fn http_date(&self) -> String {
        // The format is fixed and every timestamp has it, so this cannot fail.
        Format::Http.write(self.time).unwrap_or_default()
    }

    /// As ISO 8601's basic format, in UTC: `20150830T123600Z`.
    pub fn basic_date(&self) -> String {
        Format::Strftime("%Y%m%dT%H%M%SZ".into()).write(self.time).unwrap_or_default()
    }

    /// Seconds since 1970.
    pub fn unix_seconds(&self) -> i64 {
        self.time.as_second()
    }

    pub(super) fn time(&self) -> Timestamp {
        self.time
    }

    /// Random, and the same at every look.
    pub fn uuid(&self) -> Uuid {
        *self.uuid.get_or_init(Uuid::new_v4)
    }
}

/// Why a template could not be filled. It names names and places, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillError(String);

impl FillError {
    pub(in crate::manifest) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for FillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FillError {}

impl Template {
    /// Fills the first alternative whose names all have a value; none where there is no such alternative. Literal text stays
    /// as it was written, values are written as the landing asks.
    ///
    /// # Errors
    /// Where a value does not fit its function or its landing.
    pub fn fill(&self, scope: &dyn Scope, landing: Landing, moment: &Moment) -> Result<Option<Value>, FillError> {
        Filling::new(scope, moment).template(self, landing)
    }
}

/// One filling: where its values come from, and what it may still read and make.
pub(in crate::manifest) struct Filling<'a> {
    scope: &'a dyn Scope,
    moment: &'a Moment,
    left: Cell<usize>,
}

impl<'a> Filling<'a> {
    pub(in crate::manifest) fn new(scope: &'a dyn Scope, moment: &'a Moment) -> Self {
        Self { scope, moment, left: Cell::new(WORK) }
    }

    /// Fills the first alternative that applies.
    pub(super) fn template(&self, template: &Template, landing: Landing) -> Result<Option<Value>, FillError> {
        for parts in &template.alternatives {
            if let Some(value) = self.parts(parts, landing)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The names in these parts that have no value, and that nothing kept from having one.
    pub(in crate::manifest) fn missing<'p>(&self, parts: &'p [Part]) -> Vec<&'p str> {
        names_in(parts.iter())
            .filter(|name| self.scope.value(name).is_none() && self.scope.fault(name).is_none())
            .collect()
    }

    /// Fills these parts; none where a name in them has no value.
    pub(in crate::manifest) fn parts(&self, parts: &[Part], landing: Landing) -> Result<Option<Value>, FillError> {
        match self.try_parts(parts, landing) {
            // A value that does not fit makes no difference where another is missing: this alternative is not meant.
            Err(_) if !self.missing(parts).is_empty() => Ok(None),
            filled => filled,
        }
    }

    fn try_parts(&self, parts: &[Part], landing: Landing) -> Result<Option<Value>, FillError> {
        let mut pieces = Vec::with_capacity(parts.len());
        let mut made_of = Vec::new();
        for part in parts {
            match part {
                Part::Literal(text) => pieces.push(Zeroizing::new(text.clone().into_bytes())),
                Part::Value(expression) => {
                    let Some(value) = self.evaluate(expression)? else { return Ok(None) };
                    let piece = landing.write(value.bytes()).map_err(|why| {
                        let (shown, place) = (expression.shown(), landing.place());
                        FillError(format!("the value of `{shown}` cannot stand in {place}: {why}"))
                    })?;
                    self.charge(piece.len())?;
                    if value.is_secret() && piece.as_slice() != value.bytes() {
                        made_of.push(Value::secret(piece.as_slice()));
                    }
                    made_of.push(value);
                    pieces.push(piece);
                }
            }
        }
        // Taken once, so that growing leaves no copy behind that nobody wipes.
        let mut filled = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        pieces.iter().for_each(|piece| filled.extend_from_slice(piece));
        let secret = made_of.extract_if(.., |value| value.is_secret()).collect::<Vec<_>>();
        let filled = match <[Value; 1]>::try_from(secret) {
            Ok([only]) => Value::written_around(filled, only),
            Err(secret) => Value::made_of(filled, secret),
        };
        landing
            .check(filled.bytes())
            .map_err(|why| FillError(format!("the text cannot stand in {}: {why}", landing.place())))?;
        Ok(Some(filled))
    }

    fn evaluate(&self, expression: &Expression) -> Result<Option<Value>, FillError> {
        let value = match expression {
            Expression::Name(name) => {
                let Some(value) = self.scope.value(name) else { return self.scope.fault(name).map_or(Ok(None), Err) };
                value
            }
            Expression::Literal(text) => Value::public(text.as_bytes()),
            Expression::Call(function, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    let Some(value) = self.evaluate(argument)? else { return Ok(None) };
                    values.push(value);
                }
                function
                    .apply(values, self.moment)
                    .map_err(|why| FillError(format!("`{}` cannot be computed: {why}", expression.shown())))?
            }
        };
        self.charge(value.bytes().len())?;
        Ok(Some(value))
    }

    fn charge(&self, bytes: usize) -> Result<(), FillError> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or_else(|| FillError(format!("it computes with more than {} MiB", WORK >> 20)))?);
        Ok(())
    }
}

impl Expression {
    /// For messages: the name, or the names that a function is computed from.
    fn shown(&self) -> String {
        fn written(expression: &Expression) -> String {
            match expression {
                Expression::Name(name) => name.clone(),
                Expression::Literal(_) => "…".into(),
                Expression::Call(function, arguments) => {
                    let inner: Vec<String> = arguments.iter().map(written).collect();
                    format!("{}({})", function.name(), inner.join(", "))
                }
            }
        }
        text::foreign(&written(self), 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Same;

    impl Scope for Same {
        fn value(&self, _: &str) -> Option<Value> {
            Some(Value::public([b'a'; 10]))
        }
    }

    #[test]
    fn what_one_filling_reads_and_makes_is_bounded() {
        let moment = Moment::now();
        let fill = |template: &str| {
            let filling = Filling { left: Cell::new(100), ..Filling::new(&Same, &moment) };
            filling.parts(&Template::parse(template).unwrap().alternatives[0], Landing::Plain)
        };
        assert!(fill("{a}{a}{a}{a}{a}").is_ok());
        assert!(fill("{a}{a}{a}{a}{a}{a}").is_err());
        assert!(fill("{hex(hex(a))}").is_err(), "each gives twice what it takes");
        assert!(fill("{hash(sha1, a, a, a)}").is_ok());
        assert!(fill("{hash(sha1, a, a, a, a, a, a, a)}").is_err());
        assert_eq!(fill("{hex(hex(a))}").unwrap_err().to_string(), "it computes with more than 128 MiB");
    }
}
