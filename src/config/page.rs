//! The page of all options, `docs/configuration.md`: `finkare-relay config page`.
//!
//! The text around the tables is in `page.md`; a line such as `<!-- keys of server -->` is replaced by the keys of that
//! table. The tables are generated from the readers' descriptions of their keys ([`describe`](super::load::describe)).

use std::fmt::Write as _;

use serde_json::Value;

use super::{VARIABLES, load::describe};
use crate::{
    options::description::{Described, Fallback, Shape},
    sinks::kind::{KINDS, Row},
};

/// The text around the tables.
const TEXT: &str = include_str!("page.md");

/// The page.
pub fn page() -> String {
    page_of(&KINDS)
}

/// The page for these kinds of sinks.
pub(crate) fn page_of(kinds: &[Row]) -> String {
    let described = describe(kinds);
    let sinks = Sinks::of(&described, kinds);
    let mut page = String::new();
    for line in TEXT.lines() {
        match line.strip_prefix("<!-- keys of ").and_then(|line| line.strip_suffix(" -->")) {
            None => page.push_str(line),
            Some("the environment") => page.push_str(variables().trim_end()),
            Some("sinks") => page.push_str(tables(&sinks.common, "[[sinks]]").trim_end()),
            Some("invoicing software") => {
                page.push_str(tables(&sinks.invoicing, "Invoicing sinks").trim_end());
            }
            Some("each type") => page.push_str(sinks.by_type(kinds).trim_end()),
            Some(path) => page.push_str(tables(&below(&described, path), path).trim_end()),
        }
        page.push('\n');
    }
    page
}

/// A key with its allowed values and its default, in words.
#[derive(Clone)]
struct Line {
    /// Its table, as in a heading: `sinks.retry`.
    table: String,
    name: &'static str,
    fallback: String,
    allowed: String,
    meaning: &'static str,
    /// True for a list of tables.
    is_list: bool,
}

impl Line {
    fn of(key: &Described, described: &[Described], table: &str) -> Self {
        let inner = || {
            let keys = described.iter().filter(|inner| inner.parent == key.path());
            keys.map(|inner| inner.name).collect::<Vec<_>>().join(", ")
        };
        // A table that may be left out because each of its keys has a default.
        let is_optional =
            described.iter().all(|inner| inner.parent != key.path() || inner.fallback != Fallback::Required);
        let fallback = match (&key.shape, &key.fallback) {
            (Shape::Table, Fallback::Nothing) if is_optional => "the defaults of its keys".to_owned(),
            (_, fallback) => shown(fallback),
        };
        let allowed = match (key.allowed, &key.shape) {
            (Some(words), _) => words.to_owned(),
            (None, Shape::Table) => format!("`{{ {} }}`", inner()),
            (None, Shape::Tables) => format!("a list of `{{ {} }}`", inner()),
            (None, shape) => in_words(shape),
        };
        Self {
            table: table.to_owned(),
            name: key.name,
            fallback,
            allowed,
            meaning: key.meaning,
            is_list: key.shape == Shape::Tables,
        }
    }
}

/// The keys of a table and of the tables below it.
fn below(described: &[Described], path: &str) -> Vec<Line> {
    let is_below = |parent: &str| {
        parent.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest == "[]")
            || parent.strip_prefix(path).is_some_and(|rest| rest.starts_with("[]."))
    };
    let keys = described.iter().filter(|key| is_below(&key.parent));
    keys.map(|key| Line::of(key, described, &key.parent.replace("[]", ""))).collect()
}

/// The keys of sinks, sorted by who has them.
struct Sinks {
    /// Every kind has them.
    common: Vec<Line>,
    /// All kinds of invoicing software have them, and no other.
    invoicing: Vec<Line>,
    /// By the kind, all others.
    own: Vec<(&'static str, Vec<Line>)>,
}

impl Sinks {
    fn of(described: &[Described], kinds: &[Row]) -> Self {
        let of_kind = |row: &Row| -> Vec<(Line, Described)> {
            let root = format!("sinks[{}]", row.name);
            let keys = described.iter().filter(|key| {
                key.parent.strip_prefix(&root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            let table = |parent: &str| parent.replacen(&root, "sinks", 1).replace("[]", "");
            keys.map(|key| (Line::of(key, described, &table(&key.parent)), key.clone())).collect()
        };
        let all: Vec<(Row, Vec<(Line, Described)>)> = kinds.iter().map(|row| (*row, of_kind(row))).collect();
        let has = |lines: &[(Line, Described)], wanted: &Line| {
            lines.iter().any(|(line, _)| (&line.table, line.name) == (&wanted.table, wanted.name))
        };
        let mut sinks = Self { common: Vec::new(), invoicing: Vec::new(), own: Vec::new() };
        for (row, lines) in &all {
            let mut own = Vec::new();
            for (line, _) in lines {
                let having: Vec<Row> = all.iter().filter(|(_, lines)| has(lines, line)).map(|(row, _)| *row).collect();
                let is_of_all_invoicing = having.len() > 1
                    && kinds
                        .iter()
                        .all(|row| row.family.is_invoicing() == having.iter().any(|other| other.name == row.name));
                let shared = if having.len() == kinds.len() {
                    &mut sinks.common
                } else if is_of_all_invoicing {
                    &mut sinks.invoicing
                } else {
                    own.push(line.clone());
                    continue;
                };
                if !shared.iter().any(|known| (&known.table, known.name) == (&line.table, line.name)) {
                    shared.push(Line { fallback: by_kind(&all, line), ..line.clone() });
                }
            }
            sinks.own.push((row.name, own));
        }
        sinks
    }

    fn by_type(&self, kinds: &[Row]) -> String {
        let mut text = String::new();
        for (name, lines) in &self.own {
            let about = kinds.iter().find(|row| row.name == *name).map_or("", |row| row.about);
            writeln!(text, "#### `{name}`\n\n{about}\n").expect("a string takes everything");
            if !lines.is_empty() {
                writeln!(text, "{}", rows(lines)).expect("a string takes everything");
            }
        }
        text
    }
}

/// The defaults of a key that several kinds have: one, or each with the kinds that have it.
fn by_kind(all: &[(Row, Vec<(Line, Described)>)], wanted: &Line) -> String {
    let mut by_default: Vec<(String, Vec<String>)> = Vec::new();
    for (row, lines) in all {
        let found = lines.iter().find(|(line, _)| (&line.table, line.name) == (&wanted.table, wanted.name));
        let Some((line, _)) = found else { continue };
        let name = format!("`{}`", row.name);
        match by_default.iter_mut().find(|(fallback, _)| *fallback == line.fallback) {
            Some((_, names)) => names.push(name),
            None => by_default.push((line.fallback.clone(), vec![name])),
        }
    }
    match by_default.as_slice() {
        [(only, _)] => only.clone(),
        several => {
            let each = several.iter().map(|(fallback, names)| format!("{fallback} for {}", names.join(", ")));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The keys of a table under its heading, then those of each table below.
fn tables(lines: &[Line], title: &str) -> String {
    let mut paths: Vec<&str> = Vec::new();
    for line in lines {
        if !paths.contains(&line.table.as_str()) {
            paths.push(&line.table);
        }
    }
    // In the order in which they are named, not in which they are read.
    paths.sort_by_key(|path| path.matches('.').count());
    let mut text = String::new();
    for (index, path) in paths.iter().enumerate() {
        let here: Vec<Line> = lines.iter().filter(|line| line.table == *path).cloned().collect();
        if index > 0 || !title.contains(['[', ' ']) {
            let is_list = lines.iter().any(|line| line.is_list && format!("{}.{}", line.table, line.name) == *path);
            let (open, close) = if is_list || *path == "endpoints" { ("[[", "]]") } else { ("[", "]") };
            writeln!(text, "### `{open}{path}{close}`\n").expect("a string takes everything");
        }
        writeln!(text, "{}", rows(&here)).expect("a string takes everything");
    }
    text
}

fn rows(lines: &[Line]) -> String {
    let mut text = String::from("| key | default | allowed | meaning |\n|---|---|---|---|\n");
    for Line { name, fallback, allowed, meaning, .. } in lines {
        let cells = [fallback, allowed.as_str(), meaning].map(|cell| cell.replace('|', "\\|"));
        writeln!(text, "| `{name}` | {} |", cells.join(" | ")).expect("a string takes everything");
    }
    text
}

fn variables() -> String {
    let mut text = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for variable in &VARIABLES {
        writeln!(text, "| `{}` | {} | {} |", variable.name, variable.default, variable.meaning)
            .expect("a string takes everything");
    }
    text
}

fn in_words(shape: &Shape) -> String {
    match shape {
        Shape::Text => "a text".to_owned(),
        Shape::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::Whole(from, u64::MAX) => format!("{from} or more"),
        Shape::Whole(from, to) => format!("{from} to {to}"),
        Shape::Number(from, to) => format!("{from} to {to}"),
        Shape::Flag => "`true`, `false`".to_owned(),
        Shape::Secret => "a secret".to_owned(),
        Shape::Secrets => "a list of secrets".to_owned(),
        Shape::Texts => "a list of texts".to_owned(),
        Shape::TextsOrStar => "a list of texts, or `\"*\"`".to_owned(),
        Shape::Table | Shape::Options => "a table".to_owned(),
        Shape::OptionsList | Shape::Tables => "a list of tables".to_owned(),
        Shape::ByName(values) => format!("names, each with {}", in_words(values)),
    }
}

fn shown(fallback: &Fallback) -> String {
    match fallback {
        Fallback::Required => "required".to_owned(),
        Fallback::Nothing => "none".to_owned(),
        Fallback::Words(words) => (*words).to_owned(),
        Fallback::Value(Value::Number(number)) => plain_number(number),
        Fallback::Value(Value::String(text)) => format!("`{text}`"),
        Fallback::Value(value) => format!("`{}`", as_toml(value)),
    }
}

/// 5.0 is written 5.
fn plain_number(number: &serde_json::Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// On one line, as an operator would write it.
fn as_toml(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Array(items) => format!("[{}]", joined(items.iter().map(as_toml).collect())),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{key} = {}", as_toml(value)));
            format!("{{ {} }}", joined(entries.collect()))
        }
        simple => simple.to_string(),
    }
}
