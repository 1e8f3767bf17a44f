//! The page of all options and the JSON Schema: they are what is committed, and the schema agrees with the reader.

use serde_json::{Value, json};

use super::*;
use crate::config::{page, schema};

/// Compares a file of this repository with what it has to hold, or writes it.
#[track_caller]
fn is_committed(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if (crate::options::env::of_process)("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{file} differs from what the options say of themselves: write it anew with `UPDATE_DOCS=1 cargo nextest run -E \
         'test(configuration)'` and commit it"
    );
}

#[test]
fn the_configuration_page_is_what_the_options_say() {
    is_committed("docs/configuration.md", &page());
}

#[test]
fn the_configuration_schema_is_what_the_options_say() {
    is_committed("docs/relay.schema.json", &schema());
}

#[test]
fn every_key_is_described_in_sentences() {
    for key in super::super::load::describe(&KINDS) {
        let place = format!("{}.{}", key.parent, key.name);
        let meaning = key.meaning;
        assert!(meaning.ends_with('.') && !meaning.contains("  "), "{place}: {meaning}");
        assert!(meaning.starts_with(|c: char| c.is_uppercase() || c == '`'), "{place}: {meaning}");
    }
}

/// What is wrong with a value under a schema, as its places; empty if nothing is.
///
/// Knows the words that our schema uses, and no other: one that it does not know fails the test.
fn wrong_by(schema: &Value, root: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let fits = |schema: &Value| wrong_by(schema, root, value, place).is_empty();
    let mut unless = |is_right: bool, what: &str| {
        if !is_right {
            wrong.push(format!("{place}: {what}"));
        }
    };
    let mut further = Vec::new();
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        match word.as_str() {
            "$schema" | "title" | "description" | "default" | "$defs" | "then" => {}
            "$ref" => {
                let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
                further.extend(wrong_by(root.pointer(path).expect("the definition is there"), root, value, place));
            }
            "type" => {
                let is_it = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    other => panic!("unknown type {other}"),
                };
                unless(is_it, "another type");
            }
            "enum" => unless(rule.as_array().unwrap().contains(value), "not one of the words"),
            "const" => unless(rule == value, "another word"),
            "minLength" => {
                unless(value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()), "too short");
            }
            "minimum" => unless(value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()), "too small"),
            "maximum" => unless(value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()), "too large"),
            "required" => {
                for key in rule.as_array().unwrap() {
                    let has = |entries: &serde_json::Map<String, Value>| entries.contains_key(key.as_str().unwrap());
                    unless(value.as_object().is_none_or(has), &format!("{key} is missing"));
                }
            }
            "properties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(key) {
                        further.extend(wrong_by(rule, root, inner, &format!("{place}.{key}")));
                    }
                }
            }
            "additionalProperties" => {
                let known = |key: &String| schema["properties"].get(key).is_some();
                for (key, inner) in value.as_object().into_iter().flatten().filter(|(key, _)| !known(key)) {
                    if rule == &json!(false) {
                        unless(false, &format!("unknown key {key}"));
                    } else {
                        further.extend(wrong_by(rule, root, inner, &format!("{place}.{key}")));
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    further.extend(wrong_by(rule, root, item, &format!("{place}[{index}]")));
                }
            }
            "oneOf" => {
                let fitting = rule.as_array().unwrap().iter().filter(|choice| fits(choice)).count();
                unless(fitting == 1, "none of the choices, or several");
            }
            "allOf" => {
                for rule in rule.as_array().unwrap() {
                    further.extend(wrong_by(rule, root, value, place));
                }
            }
            "if" => {
                if fits(rule) {
                    further.extend(wrong_by(&schema["then"], root, value, place));
                }
            }
            other => panic!("the test does not know `{other}`"),
        }
    }
    wrong.extend(further);
    wrong
}

/// By the schema.
fn wrong_by_schema(text: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let table: toml::Table = text.parse().unwrap();
    wrong_by(&schema, &schema, &serde_json::to_value(table).unwrap(), "")
}

#[test]
fn the_schema_takes_what_the_reader_takes() {
    let minimal = "[[endpoints]]\nname = 'e'\npath = '/e'\nsecret = 's'\n[[sinks]]\nname = 's'\ntype = 'stdout'";
    for text in
        ["", minimal, EXAMPLE, &full_example(), &tiime_sink(""), &fastfaktura_sink(""), &facturation_pro_sink("")]
    {
        assert_eq!(wrong_by_schema(text), Vec::<String>::new(), "{text}");
    }
    for option in ["events = '*'", "headers = { a = 'b', c = { env = 'D' } }", "retry = { initial_secs = 0.05 }"] {
        assert_eq!(wrong_by_schema(&http_sink(option)), Vec::<String>::new(), "{option}");
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    for (text, place) in [
        ("colour = 1".to_owned(), ": unknown key colour"),
        ("[server]\nlisten = 80".to_owned(), ".server.listen: "),
        ("[server]\nmax_body_bytes = 10".to_owned(), ".server.max_body_bytes: too small"),
        ("[server]\nlisetn = '127.0.0.1:1'".to_owned(), ".server: unknown key lisetn"),
        ("[admin]\ntokens = [{ name = 'a', role = 'root', token = 'x' }]".to_owned(), ".admin.tokens[0].role: "),
        ("[[endpoints]]\nname = 'e'".to_owned(), ".endpoints[0]: \"path\" is missing"),
        (endpoint("secrets = 'x'"), ".endpoints[0].secrets: "),
        (endpoint("api_key = { value = 'x' }"), ".endpoints[0].api_key: "),
        (endpoint("api_key = ''"), ".endpoints[0].api_key: "),
        (endpoint("api_paths = { invoices = '/{id}' }"), ".endpoints[0].api_paths: unknown key invoices"),
        ("[[sinks]]\nname = 's'".to_owned(), ".sinks[0]: \"type\" is missing"),
        ("[[sinks]]\nname = 's'\ntype = 'nats'".to_owned(), ".sinks[0].type: "),
        ("[[sinks]]\nname = 's'\ntype = 'http'".to_owned(), ".sinks[0]: \"url\" is missing"),
        ("[[sinks]]\nname = 's'\ntype = 'file'\npath = 'x'\nurl = 'x'".to_owned(), ".sinks[0]: unknown key url"),
        (http_sink("path = 'x'"), ".sinks[0]: unknown key path"),
        (http_sink("events = 'payment.received'"), ".sinks[0].events: "),
        (http_sink("order = 'date'"), ".sinks[0].order: "),
        (http_sink("concurrency = 0"), ".sinks[0].concurrency: too small"),
        (http_sink("retry = { tries = 3 }"), ".sinks[0].retry: unknown key tries"),
        (http_sink("rate_limit = { requests = 1 }"), ".sinks[0].rate_limit: \"per_secs\" is missing"),
        (tiime_sink("page_size = 501"), ".sinks[0].page_size: too large"),
        (tiime_sink("headers = {}"), ".sinks[0]: unknown key headers"),
        (facturation_pro_sink("payment_modes = { card = 0 }"), ".sinks[0].payment_modes.card: too small"),
    ] {
        assert!(read(&text, &KEYED).0.is_err(), "{text}");
        let wrong = wrong_by_schema(&text);
        assert!(wrong.len() == 1 && wrong[0].starts_with(place), "{text}\nexpected {place}\ngot {wrong:#?}");
    }
}
