//! A form made of an operation's JSON Schema, and the input made of what was typed into it. What a form cannot say, its JSON
//! can: every operation can be called from here.

use serde_json::{Map, Value};

use super::gate::Fields;
use crate::error::{Kind, Result};

/// A text that may be longer than this gets several lines.
const SHORT: u64 = 200;

/// A form.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// None where the schema is not of an object with properties.
    pub(super) controls: Vec<Control>,
    /// The whole input, where somebody wrote it.
    pub(super) json: String,
}

/// One property of the input.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) name: String,
    /// The connector's words.
    pub(super) title: Option<String>,
    /// The connector's words.
    pub(super) description: Option<String>,
    pub(super) required: bool,
    pub(super) kind: Asks,
    /// What stands in it.
    pub(super) value: String,
}

/// How a property is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asks {
    Text,
    Lines,
    Integer,
    Number,
    Boolean,
    /// One of these, as JSON.
    Choice(Vec<String>),
    Json,
}

impl Form {
    /// Of a schema, with what was typed already or the schema's defaults.
    pub(super) fn of(schema: &Value, typed: Option<&Fields>) -> Self {
        let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|it| it == name));
        let properties = schema["properties"].as_object().into_iter().flatten();
        let controls = properties.map(|(name, property)| {
            let text = |member: &str| property[member].as_str().map(str::to_owned);
            let kind = Asks::of(property);
            let value = match typed {
                Some(typed) => typed.get(&format!("in.{name}")).unwrap_or_default().to_owned(),
                None => kind.written(&property["default"]),
            };
            Control {
                title: text("title"),
                description: text("description"),
                required: required(name),
                name: name.clone(),
                kind,
                value,
            }
        });
        let json = typed.and_then(|typed| typed.get("json")).unwrap_or_default().to_owned();
        Self { controls: controls.collect(), json }
    }

    /// The input that was typed.
    ///
    /// # Errors
    /// `invalid-input` for what is not what its control asks for.
    pub(super) fn input(&self) -> Result<Value> {
        if !self.json.trim().is_empty() {
            return serde_json::from_str(&self.json)
                .map_err(|error| Kind::InvalidInput.error(format!("What was written as JSON is none: {error}.")));
        }
        let mut input = Map::new();
        for control in &self.controls {
            if let Some(value) = control.read()? {
                input.insert(control.name.clone(), value);
            }
        }
        Ok(Value::Object(input))
    }
}

impl Control {
    /// None where nothing was typed and nothing must be.
    fn read(&self) -> Result<Option<Value>> {
        let typed = self.value.as_str();
        if typed.is_empty() && !(self.required && matches!(self.kind, Asks::Text | Asks::Lines)) {
            return Ok(None);
        }
        let wrong = |what: &str| Kind::InvalidInput.error(format!("What was typed for `{}` is {what}.", self.name));
        Ok(Some(match &self.kind {
            Asks::Text => typed.into(),
            // A browser ends lines as HTTP does.
            Asks::Lines => typed.replace("\r\n", "\n").into(),
            Asks::Integer => serde_json::from_str::<Value>(typed)
                .ok()
                .filter(|it| it.is_i64() || it.is_u64())
                .ok_or_else(|| wrong("no whole number"))?,
            Asks::Number => {
                serde_json::from_str::<Value>(typed).ok().filter(Value::is_number).ok_or_else(|| wrong("no number"))?
            }
            Asks::Boolean => match typed {
                "true" => true.into(),
                "false" => false.into(),
                _ => return Err(wrong("neither `true` nor `false`")),
            },
            Asks::Choice(_) | Asks::Json => {
                serde_json::from_str(typed).map_err(|error| wrong(&format!("no JSON: {error}")))?
            }
        }))
    }
}

impl Asks {
    fn of(property: &Value) -> Self {
        if let Some(choices) = property["enum"].as_array() {
            return Self::Choice(choices.iter().map(Value::to_string).collect());
        }
        match property["type"].as_str() {
            Some("string") if is_long(property) => Self::Lines,
            Some("string") => Self::Text,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("boolean") => Self::Boolean,
            _ => Self::Json,
        }
    }

    /// A value as it stands in such a control.
    fn written(&self, value: &Value) -> String {
        match (self, value) {
            (_, Value::Null) => String::new(),
            (Self::Text | Self::Lines, Value::String(text)) => text.clone(),
            (Self::Json, value) => serde_json::to_string_pretty(value).unwrap_or_default(),
            (_, value) => value.to_string(),
        }
    }
}

/// Whether a text may well have several lines.
fn is_long(property: &Value) -> bool {
    let may_be_long = property["maxLength"].as_u64().is_none_or(|longest| longest > SHORT);
    let said = ["contentMediaType", "contentEncoding"].iter().any(|member| property.get(*member).is_some());
    said || (may_be_long
        && ["text", "body", "content", "message", "description", "query", "source"]
            .iter()
            .any(|word| property["title"].as_str().is_some_and(|title| title.to_lowercase().contains(word))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "city": { "type": "string", "description": "Where" },
                "days": { "type": "integer", "default": 3 },
                "factor": { "type": "number" },
                "exact": { "type": "boolean" },
                "unit": { "enum": ["C", "F", null] },
                "tags": { "type": "array", "items": { "type": "string" } },
                "either": { "type": ["string", "null"] },
            },
            "required": ["city"],
        })
    }

    fn typed(pairs: &[(&str, &str)]) -> Result<Value> {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push((*name).to_owned(), (*value).to_owned());
        }
        Form::of(&schema(), Some(&fields)).input()
    }

    #[test]
    fn each_property_is_asked_for_as_its_type_and_begins_with_its_default() {
        let form = Form::of(&schema(), None);
        let kinds: Vec<&Asks> = form.controls.iter().map(|it| &it.kind).collect();
        let choice = Asks::Choice(vec!["\"C\"".into(), "\"F\"".into(), "null".into()]);
        let expected = [&Asks::Text, &Asks::Integer, &Asks::Number, &Asks::Boolean, &choice, &Asks::Json, &Asks::Json];
        assert_eq!(kinds, expected);
        let values: Vec<&str> = form.controls.iter().map(|it| it.value.as_str()).collect();
        assert_eq!(values, ["", "3", "", "", "", "", ""]);
        assert_eq!(form.controls.iter().map(|it| it.required).collect::<Vec<_>>()[..2], [true, false]);
        assert!(Form::of(&json!(true), None).controls.is_empty());
    }

    #[test]
    fn what_is_typed_becomes_the_input_and_what_is_left_out_is_not_in_it() {
        let all = [
            ("in.city", "Oslo"),
            ("in.days", "-2"),
            ("in.factor", "1.5"),
            ("in.exact", "false"),
            ("in.unit", "null"),
            ("in.tags", "[\"a\"]"),
            ("in.either", ""),
        ];
        let input = typed(&all).unwrap();
        let expected =
            json!({ "city": "Oslo", "days": -2, "factor": 1.5, "exact": false, "unit": null, "tags": ["a"] });
        assert_eq!(input, expected);
        // The schema decides about an empty text, not the form.
        assert_eq!(typed(&[]).unwrap(), json!({ "city": "" }));
        assert_eq!(typed(&[("in.city", "x"), ("json", "[1]")]).unwrap(), json!([1]));
    }

    #[test]
    fn what_does_not_fit_its_control_is_refused_with_its_name() {
        for (name, value) in
            [("days", "1.5"), ("days", "x"), ("factor", "\"1\""), ("exact", "yes"), ("tags", "a, b"), ("unit", "C")]
        {
            let refused = typed(&[("in.city", "x"), (&format!("in.{name}"), value)]).unwrap_err();
            assert_eq!(refused.kind(), Kind::InvalidInput);
            assert!(refused.message().contains(&format!("`{name}`")), "{refused:?}");
        }
        assert_eq!(typed(&[("json", "{")]).unwrap_err().kind(), Kind::InvalidInput);
    }
}
