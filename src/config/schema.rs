//! The JSON Schema of the configuration file, for editors: `finkare-relay config schema`.
//!
//! It is generated from the readers' descriptions of their keys ([`describe`](super::load::describe)), so it has each key
//! with its type, range, default and meaning. Rules that involve several keys (`max_secs` is not above
//! `give_up_after_secs`) are left to `check`.

use serde_json::{Map, Value, json};

use super::load::describe;
use crate::{
    options::description::{Described, Fallback, Shape},
    sinks::kind::{KINDS, Row},
};

/// The dialect (<https://json-schema.org/draft/2020-12>).
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema as text, with a line break at its end.
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&schema_of(&KINDS)).expect("JSON values can be written");
    text.push('\n');
    text
}

/// The schema for these kinds of sinks.
pub(crate) fn schema_of(kinds: &[Row]) -> Value {
    let described = describe(kinds);
    let mut definitions = Map::from_iter([("secret".to_owned(), secret())]);
    for row in kinds {
        let mut sink = table(&described, &format!("sinks[{}]", row.name));
        sink["description"] = row.about.into();
        sink["properties"]["type"] = json!({"const": row.name});
        definitions.insert(definition(row), sink);
    }
    let mut root = table(&described, "");
    root["properties"]["sinks"]["items"] = json!({
        "type": "object",
        "required": ["name", "type"],
        "properties": {
            "type": {"description": "What kind of target it is.", "enum": kinds.iter().map(|row| row.name).collect::<Vec<_>>()},
        },
        "allOf": kinds.iter().map(|row| json!({
            "if": {"properties": {"type": {"const": row.name}}, "required": ["type"]},
            "then": {"$ref": format!("#/$defs/{}", definition(row))},
        })).collect::<Vec<_>>(),
    });
    let Value::Object(root) = root else { unreachable!("a table is an object") };
    let head = [
        ("$schema".to_owned(), DIALECT.into()),
        ("title".to_owned(), "finkare-relay: relay.toml".into()),
        (
            "description".to_owned(),
            "Every option has a default, unless it is required; unknown keys are errors.".into(),
        ),
    ];
    let mut schema = Map::from_iter(head);
    schema.extend(root);
    schema.insert("$defs".to_owned(), definitions.into());
    schema.into()
}

fn definition(row: &Row) -> String {
    format!("sink_{}", row.name)
}

/// A secret, in the forms that every reader of secrets accepts.
fn secret() -> Value {
    let only = |key: &str| {
        json!({
            "type": "object",
            "properties": {key: {"type": "string", "minLength": 1}},
            "required": [key],
            "additionalProperties": false,
        })
    };
    json!({
        "description": "A text, { env = \"NAME\" } for an environment variable, or { file = \"PATH\" }.",
        "oneOf": [{"type": "string", "minLength": 1}, only("env"), only("file")],
    })
}

/// The table at a path, with every key in it and in the tables below.
fn table(described: &[Described], path: &str) -> Value {
    let keys: Vec<&Described> = described.iter().filter(|key| key.parent == path).collect();
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(described, key))).collect();
    let required: Vec<&str> =
        keys.iter().filter(|key| key.fallback == Fallback::Required).map(|key| key.name).collect();
    let mut table = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        table["required"] = required.into();
    }
    table
}

fn property(described: &[Described], key: &Described) -> Value {
    let mut schema = match key.shape {
        Shape::Table => table(described, &key.path()),
        Shape::Tables => json!({"type": "array", "items": table(described, &key.path())}),
        ref shape => of(shape),
    };
    let mut meaning = plain(key.meaning);
    if let Some(allowed) = key.allowed {
        meaning = format!("{meaning} Allowed: {}.", plain(allowed));
    }
    match &key.fallback {
        Fallback::Value(value) => schema["default"] = value.clone(),
        Fallback::Words(words) => meaning = format!("{meaning} Default: {}.", plain(words)),
        Fallback::Required | Fallback::Nothing => {}
    }
    schema["description"] = meaning.into();
    schema
}

fn of(shape: &Shape) -> Value {
    let list = |items: Value| json!({"type": "array", "items": items});
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Words(words) => json!({"enum": words}),
        Shape::Whole(from, u64::MAX) => json!({"type": "integer", "minimum": from}),
        Shape::Whole(from, to) => json!({"type": "integer", "minimum": from, "maximum": to}),
        Shape::Number(from, to) => json!({"type": "number", "minimum": from, "maximum": to}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Secret => json!({"$ref": "#/$defs/secret"}),
        Shape::Secrets => list(of(&Shape::Secret)),
        Shape::Texts => list(of(&Shape::Text)),
        Shape::TextsOrStar => json!({"oneOf": [{"const": "*"}, of(&Shape::Texts)]}),
        Shape::Table | Shape::Tables | Shape::Options => json!({"type": "object"}),
        Shape::OptionsList => json!({"type": "array", "items": {"type": "object"}}),
        Shape::ByName(values) => json!({"type": "object", "additionalProperties": of(values)}),
    }
}

/// Markdown without its links, because editors cannot follow relative paths.
fn plain(markdown: &str) -> String {
    let mut plain = String::with_capacity(markdown.len());
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](") {
        let (Some((before, text)), Some((_, after))) = (before.rsplit_once('['), after.split_once(')')) else { break };
        // `([why](…))` says nothing without its link.
        if let (Some(before), Some(after)) = (before.strip_suffix(" ("), after.strip_prefix(')')) {
            plain.push_str(before);
            rest = after;
        } else {
            plain.push_str(before);
            plain.push_str(text);
            rest = after;
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_left_out() {
        assert_eq!(plain("A text."), "A text.");
        assert_eq!(
            plain("Refuses it ([why](a.md)). [More](b.md) of `{ x = [1] }`"),
            "Refuses it. More of `{ x = [1] }`"
        );
        assert_eq!(plain("`[a]` and [b](c) at the end"), "`[a]` and b at the end");
    }
}
