//! A JSON Schema as people read one: a line a member, indented by depth.

use serde_json::{Map, Value, json};

use crate::text;

/// A schema that refers to itself stops here.
const DEEPEST: usize = 6;

/// A line a member.
pub(super) fn readable(schema: &Value) -> String {
    let mut lines = String::new();
    let resolved = resolve(schema, schema);
    match resolved.get("properties").and_then(Value::as_object) {
        Some(_) => members(resolved, schema, 1, &mut lines),
        None => lines += &format!("  {}\n", type_of(resolved, schema)),
    }
    if lines.is_empty() { "  nothing\n".to_owned() } else { lines }
}

/// The smallest input that has every required member.
pub(super) fn example(schema: &Value) -> Value {
    placeholder(schema, schema, 0)
}

fn members(schema: &Value, root: &Value, depth: usize, lines: &mut String) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, member) in properties {
        let resolved = resolve(member, root);
        let mut aside = vec![type_of(resolved, root)];
        aside.push(if required.contains(&name.as_str()) { "required".into() } else { "optional".into() });
        if let Some(default) = member.get("default").filter(|default| !default.is_null()) {
            aside.push(format!("default {default}"));
        }
        let description = member
            .get("description")
            .or_else(|| resolved.get("description"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let description = text::foreign(description, 300);
        let dash = if description.is_empty() { "" } else { " — " };
        *lines +=
            &format!("{}{} ({}){dash}{description}\n", "  ".repeat(depth), text::foreign(name, 100), aside.join(", "));
        let inner = if is_type(resolved, "array") {
            resolved.get("items").map(|items| resolve(items, root))
        } else {
            Some(resolved)
        };
        if let Some(inner) = inner.filter(|_| depth < DEEPEST) {
            members(inner, root, depth + 1, lines);
        }
    }
}

fn type_of(schema: &Value, root: &Value) -> String {
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return format!("one of {}", choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(ways) = schema.get(word).and_then(Value::as_array) {
            return ways.iter().map(|way| type_of(resolve(way, root), root)).collect::<Vec<_>>().join(" or ");
        }
    }
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "array" => {
            let items =
                schema.get("items").map_or_else(|| "anything".into(), |items| type_of(resolve(items, root), root));
            format!("array of {items}")
        }
        Some(Value::String(kind)) => text::foreign(kind, 40),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "anything".into(),
    }
}

fn placeholder(schema: &Value, root: &Value, depth: usize) -> Value {
    let schema = resolve(schema, root);
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|choices| choices.first()) {
        return first.clone();
    }
    if let Some(example) = schema.get("examples").and_then(Value::as_array).and_then(|examples| examples.first()) {
        return example.clone();
    }
    if is_type(schema, "string") {
        return json!("…");
    }
    if is_type(schema, "integer") || is_type(schema, "number") {
        return json!(0);
    }
    if is_type(schema, "boolean") {
        return json!(false);
    }
    if is_type(schema, "array") {
        return json!([]);
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut members = Map::new();
    for name in required.filter(|_| depth < DEEPEST) {
        let member = schema.get("properties").and_then(|properties| properties.get(name));
        members.insert(name.to_owned(), member.map_or(Value::Null, |member| placeholder(member, root, depth + 1)));
    }
    Value::Object(members)
}

fn is_type(schema: &Value, name: &str) -> bool {
    schema.get("type").is_some_and(|kind| kind == name)
}

/// Follows references within the document; a chain that does not end is left where it is.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let mut here = schema;
    for _ in 0..DEEPEST {
        let target = here.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        match target.and_then(|pointer| root.pointer(pointer)) {
            Some(next) => here = next,
            None => break,
        }
    }
    here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_reads_as_a_list_of_members() {
        let schema = json!({
            "type": "object",
            "required": ["city"],
            "properties": {
                "city": { "type": "string", "description": "Where." },
                "days": { "type": "integer", "default": 3 },
                "unit": { "$ref": "#/$defs/Unit" },
            },
            "$defs": { "Unit": { "enum": ["c", "f"] } },
        });
        let expected = "  city (string, required) — Where.\n  days (integer, optional, default 3)\n  unit (one of \"c\", \"f\", optional)\n";
        assert_eq!(readable(&schema), expected);
        assert_eq!(example(&schema), json!({ "city": "…" }));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "type": "object", "required": ["next"], "properties": { "next": { "$ref": "#" } } });
        assert!(readable(&schema).lines().count() < 20);
        example(&schema);
        assert_eq!(readable(&json!({ "$ref": "#" })), "  anything\n");
    }
}
