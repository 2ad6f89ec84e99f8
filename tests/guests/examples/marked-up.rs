//! Says of itself what a browser would take for markup, and what would turn a line around.

use guests::{
    MARKUP,
    auth::{Kind, Parameter, ParameterSetting},
    connector, header,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter,
};

struct Marked;

impl Manifest for Marked {
    fn describe() -> Connector {
        let key = Parameter { title: MARKUP.into(), ..parameter("key", Kind::Secret, vec![]) };
        let settings = vec![
            ParameterSetting::Description(MARKUP.into()),
            ParameterSetting::Default(MARKUP.replace('\u{202e}', "")),
        ];
        let note = Parameter { title: MARKUP.into(), ..parameter("note", Kind::Text, settings) };
        let mut way = option("key", vec![key, note], vec![header("X-Key", "{key}")], &["https://a.example"]);
        way.title = MARKUP.into();
        let mut it = connector("marked-up", "1.0.0", vec![way], &[("get", Effect::Read)]);
        it.title = MARKUP.into();
        it.description = MARKUP.into();
        it.operations[0].title = MARKUP.into();
        it.operations[0].description = MARKUP.into();
        // As a text in JSON.
        let text = MARKUP.replace('"', "\\\"");
        it.operations[0].input = format!(
            r#"{{"type": "object", "properties": {{"{text}": {{"type": "string", "title": "{text}", "description": "{text}",
            "default": "{text}"}}, "pick": {{"enum": ["{text}"]}}, "fails": {{"type": "boolean"}}}}}}"#
        );
        it.operations[0].output = "true".into();
        it
    }
}

impl Operations for Marked {
    fn invoke(_: String, input: String) -> Result<String, Failure> {
        match input.contains("\"fails\":true") {
            true => Err(Failure::Other(MARKUP.into())),
            false => Ok(format!("\"{}\"", MARKUP.replace('"', "\\\""))),
        }
    }

    fn check() -> Result<String, Failure> {
        Ok(MARKUP.into())
    }
}

guests::export_guest!(Marked with_types_in guests);
