//! A JSON text with templates in its strings. It is parsed as JSON first and filled then, so that a value cannot break out.

use std::fmt;

use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::{
    Expression, FillError, Filling, Landing, Moment, Scope, Template, Value,
    function::{Format, Function},
};
use crate::{manifest::ValueKind, text};

/// JSON whose strings are templates. Names of members are as the author wrote them. A member or an element whose template
/// has no value is left out. It prints as it was written, and two are equal that were written alike.
#[derive(Debug, Clone)]
pub struct JsonTemplate {
    text: String,
    root: Node,
}

#[derive(Debug, Clone)]
enum Node {
    /// A number, a boolean or null, as JSON.
    Literal(String),
    String(Template, JsonKind),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// How a filled string is written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    /// As a string.
    String,
    /// As a number.
    Integer,
    /// As `true` or `false`.
    Boolean,
}

/// Why a text is no JSON with templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonTemplateError(String);

impl fmt::Display for JsonTemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JsonTemplateError {}

impl JsonKind {
    /// A string that is one name alone takes the name's kind; one that is `now(unix)` or `now(unix-ms)` alone is a number.
    pub fn of(template: &Template, kind_of: &dyn Fn(&str) -> Option<ValueKind>) -> Self {
        match template.lone_value() {
            Some(Expression::Name(name)) => match kind_of(name) {
                Some(ValueKind::Integer) => Self::Integer,
                Some(ValueKind::Boolean) => Self::Boolean,
                _ => Self::String,
            },
            Some(Expression::Call(Function::Now(Format::Unix | Format::UnixMs), _)) => Self::Integer,
            _ => Self::String,
        }
    }

    /// A filled template as JSON text.
    ///
    /// # Errors
    /// Where the value is not of the kind. It names the template, never the value.
    pub fn write(self, value: &Value, template: &Template) -> Result<Zeroizing<Vec<u8>>, FillError> {
        let wrong =
            |what: &str| FillError::new(format!("the value of `{}` is not {what}", shown(&template.to_string())));
        let text = value
            .text()
            .map_err(|_| wrong("text, so it cannot stand in JSON (`hex` and `base64` make text of bytes)"))?;
        match self {
            Self::String => quoted(text).ok_or_else(|| wrong("text")),
            // Parsed and written anew, since JSON has neither `+7` nor `007`.
            Self::Integer => match text.parse::<i128>() {
                Ok(number) => Ok(Zeroizing::new(number.to_string().into_bytes())),
                Err(_) => Err(wrong("a whole number")),
            },
            Self::Boolean => match text {
                "true" | "false" => Ok(Zeroizing::new(text.as_bytes().to_vec())),
                _ => Err(wrong("`true` or `false`")),
            },
        }
    }
}

impl JsonTemplate {
    /// Parses a JSON text and the templates in its strings. `kind_of` tells the kind of a name, where it is known.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str, kind_of: &dyn Fn(&str) -> Option<ValueKind>) -> Result<Self, JsonTemplateError> {
        let json: Json =
            serde_json::from_str(text).map_err(|error| JsonTemplateError(format!("it is no JSON: {error}")))?;
        Ok(Self { text: text.to_owned(), root: Node::of(json, kind_of)? })
    }

    /// The templates in it.
    pub fn templates(&self) -> Vec<&Template> {
        let mut templates = Vec::new();
        self.root.templates(&mut templates);
        templates
    }

    /// Every name that its templates use; a name that is used twice comes twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates().into_iter().flat_map(Template::names)
    }

    /// Fills the templates and writes it as JSON without white space, its members in the author's order. None where it is
    /// one string and that has no value.
    ///
    /// # Errors
    /// Where a value does not fit.
    pub fn fill(&self, scope: &dyn Scope, moment: &Moment) -> Result<Option<Value>, FillError> {
        let mut writing = Writing { filling: Filling::new(scope, moment), pieces: Vec::new(), made_of: Vec::new() };
        if !writing.node(&self.root)? {
            return Ok(None);
        }
        // Taken once, so that growing leaves no copy behind that nobody wipes.
        let mut filled = Vec::with_capacity(writing.pieces.iter().map(|piece| piece.len()).sum());
        writing.pieces.iter().for_each(|piece| filled.extend_from_slice(piece));
        Ok(Some(Value::made_of(filled, writing.made_of)))
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self.root, Node::Object(_))
    }

    /// The template of a member of the object, where that is a string.
    pub(in crate::manifest) fn string(&self, name: &str) -> Option<&Template> {
        let Node::Object(members) = &self.root else { return None };
        members.iter().find_map(|(member, node)| match node {
            Node::String(template, _) if member == name => Some(template),
            _ => None,
        })
    }

    /// Whether the object has a member.
    pub(in crate::manifest) fn has(&self, name: &str) -> bool {
        matches!(&self.root, Node::Object(members) if members.iter().any(|(member, _)| member == name))
    }

    /// Gives the object a member unless it has one. One that is null is taken away instead.
    pub(in crate::manifest) fn set_default(&mut self, name: &str, template: Template) {
        let Node::Object(members) = &mut self.root else { return };
        match members.iter().position(|(member, _)| member == name) {
            None => {
                let kind = JsonKind::of(&template, &|_| None);
                members.push((name.to_owned(), Node::String(template, kind)));
            }
            Some(at) if matches!(&members[at].1, Node::Literal(literal) if literal == "null") => {
                members.remove(at);
            }
            Some(_) => {}
        }
    }
}

impl PartialEq for JsonTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for JsonTemplate {}

impl fmt::Display for JsonTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Node {
    fn of(json: Json, kind_of: &dyn Fn(&str) -> Option<ValueKind>) -> Result<Self, JsonTemplateError> {
        Ok(match json {
            Json::String(text) => {
                let template = Template::parse(&text)
                    .map_err(|error| JsonTemplateError(format!("`{}` is no template: {error}", shown(&text))))?;
                let kind = JsonKind::of(&template, kind_of);
                Self::String(template, kind)
            }
            Json::Array(elements) => {
                Self::Array(elements.into_iter().map(|element| Self::of(element, kind_of)).collect::<Result<_, _>>()?)
            }
            Json::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(name, member)| Ok((name, Self::of(member, kind_of)?)))
                    .collect::<Result<_, _>>()?,
            ),
            literal => Self::Literal(literal.to_string()),
        })
    }

    fn templates<'a>(&'a self, templates: &mut Vec<&'a Template>) {
        match self {
            Self::Literal(_) => {}
            Self::String(template, _) => templates.push(template),
            Self::Array(elements) => elements.iter().for_each(|element| element.templates(templates)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.templates(templates)),
        }
    }
}

struct Writing<'a> {
    filling: Filling<'a>,
    pieces: Vec<Zeroizing<Vec<u8>>>,
    made_of: Vec<Value>,
}

impl Writing<'_> {
    /// Writes a node; false, and nothing written, where it has no value.
    fn node(&mut self, node: &Node) -> Result<bool, FillError> {
        match node {
            Node::Literal(text) => self.text(text),
            Node::String(template, kind) => {
                let Some(value) = self.filling.template(template, Landing::Plain)? else { return Ok(false) };
                self.pieces.push(kind.write(&value, template)?);
                self.made_of.push(value);
            }
            Node::Array(elements) => {
                self.text("[");
                self.list(elements, |_| None, |element| element)?;
                self.text("]");
            }
            Node::Object(members) => {
                self.text("{");
                self.list(members, |(name, _)| quoted(name), |(_, member)| member)?;
                self.text("}");
            }
        }
        Ok(true)
    }

    fn list<T>(
        &mut self,
        items: &[T],
        name: impl Fn(&T) -> Option<Zeroizing<Vec<u8>>>,
        node: impl Fn(&T) -> &Node,
    ) -> Result<(), FillError> {
        let mut is_first = true;
        for item in items {
            let before = self.pieces.len();
            if !is_first {
                self.text(",");
            }
            if let Some(name) = name(item) {
                self.pieces.push(name);
                self.text(":");
            }
            if self.node(node(item))? {
                is_first = false;
            } else {
                self.pieces.truncate(before);
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.pieces.push(Zeroizing::new(text.as_bytes().to_vec()));
    }
}

/// A text as a JSON string; none only if writing into memory failed.
fn quoted(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // A character takes six bytes at most, as \u001f.
    let mut quoted = Zeroizing::new(Vec::with_capacity(6 * text.len() + 2));
    serde_json::to_writer(&mut *quoted, text).ok()?;
    Some(quoted)
}

fn shown(text: &str) -> String {
    text::foreign(text, 100)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    struct Given(BTreeMap<String, Value>);

    impl Scope for Given {
        fn value(&self, name: &str) -> Option<Value> {
            self.0.get(name).cloned()
        }
    }

    /// Names that begin with `key` are secret.
    fn given(values: &[(&str, &str)]) -> Given {
        let value =
            |name: &str, text: &str| if name.starts_with("key") { Value::secret(text) } else { Value::public(text) };
        Given(values.iter().map(|(name, text)| ((*name).to_owned(), value(name, text))).collect())
    }

    fn kind_of(name: &str) -> Option<ValueKind> {
        match name {
            "port" => Some(ValueKind::Integer),
            "admin" => Some(ValueKind::Boolean),
            "key" => Some(ValueKind::Secret),
            _ => Some(ValueKind::Text),
        }
    }

    fn fill(text: &str, values: &[(&str, &str)]) -> Result<Option<String>, String> {
        let moment = Moment::at("2026-11-24T02:03:04.567Z".parse().unwrap());
        let template = JsonTemplate::parse(text, &kind_of).unwrap();
        let filled = template.fill(&given(values), &moment).map_err(|error| error.to_string())?;
        Ok(filled.map(|value| value.text().unwrap().to_owned()))
    }

    #[test]
    fn strings_are_filled_and_everything_else_stays() {
        let text = r#" { "b": [1.5, null, true, {"x": "{a}"}], "a": "{a}-{a}", "{a}": "{{a}}", "": "" } "#;
        assert_eq!(
            fill(text, &[("a", "ü\"")]).unwrap().unwrap(),
            r#"{"b":[1.5,null,true,{"x":"ü\""}],"a":"ü\"-ü\"","{a}":"{a}","":""}"#
        );
    }

    #[test]
    fn one_name_alone_takes_its_kind() {
        let values = [("port", "443"), ("admin", "false"), ("a", "7")];
        for (text, expected) in [
            (r#""{port}""#, "443"),
            (r#""{admin}""#, "false"),
            (r#""{a}""#, r#""7""#),
            (r#""{port}{admin}""#, r#""443false""#),
            (r#"" {port}""#, r#"" 443""#),
            (r#""{port} || {a}""#, r#""443""#),
            (r#""{now(unix)}""#, "1795485784"),
            (r#""{now(unix-ms, 1)}""#, "1795485785567"),
            (r#""{now(\"%Y\")}""#, r#""2026""#),
        ] {
            assert_eq!(fill(text, &values).unwrap().unwrap(), expected, "{text}");
        }
        for (value, expected) in
            [("+7", "7"), ("-0", "0"), ("007", "7"), ("9223372036854775808", "9223372036854775808")]
        {
            assert_eq!(fill(r#""{port}""#, &[("port", value)]).unwrap().unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn what_has_no_value_is_left_out() {
        let text = r#"{"a": "{a}", "b": ["{a}", "{b}", "{a}"], "c": {"a": "{a}"}, "d": "{a} || {b}"}"#;
        assert_eq!(fill(text, &[("b", "1")]).unwrap().unwrap(), r#"{"b":["1"],"c":{},"d":"1"}"#);
        assert_eq!(fill(text, &[]).unwrap().unwrap(), r#"{"b":[],"c":{}}"#);
        assert_eq!(fill(r#""{a}""#, &[]), Ok(None));
    }

    #[test]
    fn what_is_filled_with_a_secret_is_one_and_knows_it() {
        let moment = Moment::now();
        let template = JsonTemplate::parse(r#"{"a": "x{key}", "b": "{id}"}"#, &kind_of).unwrap();
        let filled = template.fill(&given(&[("key", "s3cret\""), ("id", "me")]), &moment).unwrap().unwrap();
        let secrets: Vec<_> = filled.into_secrets().iter().map(|it| it.expose().to_vec()).collect();
        assert!(secrets.contains(&b"s3cret\"".to_vec()) && !secrets.contains(&b"me".to_vec()));
        let public = template.fill(&given(&[("id", "me")]), &moment).unwrap().unwrap();
        assert!(!public.is_secret());
    }

    #[test]
    fn a_value_that_is_not_of_its_kind_is_an_error_without_it() {
        for (text, name, value, expected) in [
            (r#""{port}""#, "port", "canary", "the value of `{port}` is not a whole number"),
            (r#""{port}""#, "port", "", "the value of `{port}` is not a whole number"),
            (r#""{admin}""#, "admin", "1", "the value of `{admin}` is not `true` or `false`"),
            (r#""{unhex(a)}""#, "a", "ff", "the value of `{unhex(a)}` is not text"),
        ] {
            let error = fill(text, &[(name, value)]).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn what_is_no_json_or_no_template_is_said() {
        for (text, expected) in [
            ("{", "it is no JSON: EOF while parsing an object at line 1 column 1"),
            ("{} {}", "it is no JSON: trailing characters at line 1 column 4"),
            (r#"{"a": "{"}"#, "`{` is no template: expected a name at column 2"),
        ] {
            assert_eq!(JsonTemplate::parse(text, &kind_of).unwrap_err().to_string(), expected);
        }
        assert!(JsonTemplate::parse(&"[".repeat(100_000), &kind_of).is_err());
        let template = JsonTemplate::parse(r#"{"a": "{x}{y}", "b": ["{x}"]}"#, &kind_of).unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["x", "y", "x"]);
    }

    /// Any text, with those characters often that mean something in JSON or in a template.
    fn any_value() -> impl Strategy<Value = String> {
        let telling = prop::sample::select("\"\\{}[]:,\r\n\0\u{2028}u0022 ".chars().collect::<Vec<_>>());
        prop::collection::vec(prop_oneof![telling, any::<char>()], 0..40).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn no_value_breaks_out(a in any_value(), b in any_value()) {
            let text = r#"{"a": "{a}", "b": ["x{b}{a}", {"c": "{b}"}]}"#;
            let filled = fill(text, &[("a", &a), ("b", &b)]).unwrap().unwrap();
            let read: Json = serde_json::from_str(&filled).unwrap();
            prop_assert_eq!(read, json!({ "a": a, "b": [format!("x{b}{a}"), { "c": b }] }));
        }

        #[test]
        fn no_value_of_a_number_or_a_boolean_breaks_out(a in any_value()) {
            if let Ok(Some(filled)) = fill(r#"["{port}", "{admin}"]"#, &[("port", &a), ("admin", "true")]) {
                let read: Json = serde_json::from_str(&filled).unwrap();
                prop_assert!(read[0].is_number() && read[1] == json!(true) && read.as_array().unwrap().len() == 2);
            }
        }
    }
}
