//! An operation: what a caller can ask for, and the schemas of what goes in and comes out.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use jsonschema::Validator;
use serde_json::Value;

use super::{Effect, declared};
use crate::error::{Error, Kind, Result};

/// How many places of an input that does not fit are told at once.
const FAULTS_TOLD: usize = 5;

/// One operation.
#[derive(Clone)]
pub struct Operation {
    /// Lower-kebab-case, unique in the connector.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// For people.
    pub description: String,
    /// What it does at the service.
    pub effect: Effect,
    /// JSON Schema 2020-12 of the input.
    pub input: Schema,
    /// JSON Schema 2020-12 of the output.
    pub output: Schema,
    /// Scopes it needs.
    pub scopes: Vec<String>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("id", &self.id).field("effect", &self.effect).finish_non_exhaustive()
    }
}

impl Operation {
    pub(super) fn check(declared: &declared::Operation) -> Result<Self> {
        Ok(Self {
            id: declared.id.clone(),
            title: declared.title.clone(),
            description: declared.description.clone(),
            effect: declared.effect,
            input: Schema::parse(&declared.input).map_err(|error| error.context("its input"))?,
            output: Schema::parse(&declared.output).map_err(|error| error.context("its output"))?,
            scopes: declared.scopes.clone(),
        })
    }
}

/// A JSON Schema that was found to be one. It is compiled when it is first used, since a process often calls one operation
/// of many. References leave the document only to what it holds itself: nothing is fetched.
#[derive(Clone)]
pub struct Schema {
    document: Value,
    validator: Arc<OnceLock<std::result::Result<Validator, String>>>,
}

impl Schema {
    fn parse(text: &str) -> Result<Self> {
        let document: Value = serde_json::from_str(text)
            .map_err(|error| Kind::InvalidConnector.error(format!("the schema is not JSON ({error})")))?;
        if !(document.is_object() || document.is_boolean()) {
            return Err(Kind::InvalidConnector.error("a JSON Schema is an object or a boolean"));
        }
        Ok(Self { document, validator: Arc::default() })
    }

    /// The schema itself.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Compiles it now, to find out whether it is one.
    pub(super) fn prove(&self) -> Result<()> {
        self.validator().map(drop)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Sentences that say where the value does not fit, as JSON Pointers (RFC 6901), in the order of the document.
    pub fn faults(&self, value: &Value) -> Result<Option<String>> {
        let validator = self.validator()?;
        // Saying where a value does not fit takes longer than finding that it does, as nearly every one does.
        if validator.is_valid(value) {
            return Ok(None);
        }
        let faults: Vec<String> = validator
            .iter_errors(value)
            .take(FAULTS_TOLD)
            .map(|fault| match fault.instance_path().to_string() {
                at if at.is_empty() => fault.to_string(),
                at => format!("at {at}: {fault}"),
            })
            .collect();
        Ok((!faults.is_empty()).then(|| faults.join("; ")))
    }

    fn validator(&self) -> Result<&Validator> {
        let compiled = self.validator.get_or_init(|| {
            jsonschema::draft202012::options().build(&self.document).map_err(|error| error.to_string())
        });
        compiled
            .as_ref()
            .map_err(|why| -> Error { Kind::InvalidConnector.error(format!("it is not a JSON Schema ({why})")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_nests_too_deep_is_refused_before_it_overflows_the_stack() {
        for (groups, repetition) in [(66, "+"), (240, "+"), (240, "{2,}"), (20_000, "*")] {
            let pattern = format!("{}a{}", "(".repeat(groups), format!("){repetition}").repeat(groups));
            for schema in [
                serde_json::json!({ "pattern": pattern }),
                serde_json::json!({ "patternProperties": { pattern.as_str(): true } }),
            ] {
                let error = Schema::parse(&schema.to_string()).unwrap().prove().unwrap_err();
                assert_eq!(error.kind(), Kind::InvalidConnector);
            }
        }
    }
}
