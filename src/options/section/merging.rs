//! One configuration of several files: the files of a folder beside the main one, and the defaults that they share.
//!
//! A list of tables (`[[endpoints]]`) goes on in the next file; a table is put together key by key; a key that is written
//! twice is a problem that names both places. Then [`File::spread`] writes the defaults into each sink and endpoint that
//! does not say otherwise, and brings the sinks that stand within an endpoint to the others. So the readers of the
//! configuration know nothing of either, and a change of a default changes every sink that has it.

use toml::{Table, Value};

use super::{File, Lines, join};
use crate::options::problem::{Place, Problem, Spot, did_you_mean, listed};

/// What is replaced in the texts of defaults: the name of the endpoint.
const NAME: &str = "{name}";
/// The same in capital letters, with `_` for everything but letters and digits, as in the names of variables.
const VARIABLE: &str = "{NAME}";

impl File {
    /// Adds another file, under the name that problems have for it.
    pub(crate) fn merge(&mut self, other: File, problems: &mut Vec<Problem>) {
        let mut moved = Lines::new();
        merge(&mut self.table, other.table, "", &self.lines, &other.lines, &mut moved, problems);
        self.lines.extend(moved);
    }

    /// Names the file in its places.
    pub(crate) fn called(mut self, name: &str) -> Self {
        let name: std::sync::Arc<str> = name.into();
        for spot in self.lines.values_mut() {
            spot.file = Some(name.clone());
        }
        self
    }

    /// Moves the sinks within endpoints to the others, and writes the defaults into all.
    ///
    /// `common` has the keys of every sink that `[defaults.sinks]` may have, `kinds` the types of sinks, whose own defaults
    /// stand in `[defaults.sinks.TYPE]`.
    pub(crate) fn spread(&mut self, common: &[&str], kinds: &[&str], problems: &mut Vec<Problem>) {
        let defaults = self.table.get("defaults").and_then(Value::as_table).cloned().unwrap_or_default();
        let (mut for_sinks, for_endpoints) = (table(&defaults, "sinks"), table(&defaults, "endpoints"));
        let mut for_kinds = Table::new();
        for key in for_sinks.keys().cloned().collect::<Vec<_>>() {
            if kinds.contains(&key.as_str()) && for_sinks[&key].is_table() {
                for_kinds.extend(for_sinks.remove(&key).map(|options| (key, options)));
            } else if !common.contains(&key.as_str()) {
                let known = || common.iter().copied().chain(kinds.iter().copied());
                let meant = did_you_mean(&key, known());
                let hint = if meant.is_empty() { format!("; known are {}", listed(known())) } else { meant };
                let path = format!("defaults.sinks.{key}");
                let place = Place { line: self.lines.get(&path).cloned(), path };
                problems.push(Problem { place: place.path, line: place.line, what: format!("unknown key{hint}") });
                for_sinks.remove(&key);
            }
        }
        if let Some(Value::Array(endpoints)) = self.table.get_mut("endpoints") {
            for endpoint in endpoints.iter_mut().filter_map(Value::as_table_mut) {
                let name = text(endpoint, "name");
                fill(endpoint, &for_endpoints, &name);
            }
        }
        self.bring_sinks(problems);
        if let Some(Value::Array(sinks)) = self.table.get_mut("sinks") {
            for sink in sinks.iter_mut().filter_map(Value::as_table_mut) {
                // The company: the sink's only endpoint, or else its own name.
                let endpoints = sink.get("endpoints").and_then(Value::as_array).map(Vec::as_slice);
                let name = match endpoints {
                    Some([Value::String(endpoint)]) => endpoint.clone(),
                    _ => text(sink, "name"),
                };
                // What a type shares goes before what all share.
                let own = text(sink, "type");
                let kind = if own.is_empty() { text(&for_sinks, "type") } else { own };
                fill(sink, &table(&for_kinds, &kind), &name);
                fill(sink, &for_sinks, &name);
            }
        }
    }

    /// Moves the sinks that stand within endpoints to the others: each gets its endpoint, and its endpoint's name if it
    /// has none.
    fn bring_sinks(&mut self, problems: &mut Vec<Problem>) {
        let mut brought = Vec::new();
        if let Some(Value::Array(endpoints)) = self.table.get_mut("endpoints") {
            for (index, endpoint) in endpoints.iter_mut().enumerate() {
                let Some(endpoint) = endpoint.as_table_mut() else { continue };
                let Some(Value::Array(sinks)) = endpoint.get("sinks") else { continue };
                if !sinks.iter().all(Value::is_table) {
                    continue;
                }
                let Some(Value::Array(sinks)) = endpoint.remove("sinks") else { continue };
                let (name, several) = (text(endpoint, "name"), sinks.len() > 1);
                for (place, sink) in sinks.into_iter().enumerate() {
                    let Value::Table(mut sink) = sink else { continue };
                    let from = format!("endpoints[{index}].sinks[{place}]");
                    if sink.contains_key("endpoints") {
                        problems.push(Problem {
                            line: self.lines.get(&from).cloned(),
                            place: format!("{from}.endpoints"),
                            what:
                                "a sink within an endpoint gets the events of that endpoint: leave `endpoints` out, or \
                                   write the sink as [[sinks]]"
                                    .to_owned(),
                        });
                    }
                    sink.insert("endpoints".to_owned(), Value::Array(vec![Value::String(name.clone())]));
                    if !sink.contains_key("name") {
                        let kind = text(&sink, "type");
                        let own = if several && !kind.is_empty() { format!("{name}-{kind}") } else { name.clone() };
                        sink.insert("name".to_owned(), Value::String(own));
                    }
                    brought.push((from, sink));
                }
            }
        }
        if brought.is_empty() {
            return;
        }
        let sinks = self.table.entry("sinks").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(sinks) = sinks else { return };
        for (from, sink) in brought {
            let to = format!("sinks[{}]", sinks.len());
            let moved: Vec<(String, Spot)> = self
                .lines
                .iter()
                .filter_map(|(path, spot)| Some((format!("{to}{}", path.strip_prefix(&from)?), spot.clone())))
                .collect();
            self.lines.extend(moved);
            sinks.push(Value::Table(sink));
        }
    }
}

fn table(of: &Table, key: &str) -> Table {
    of.get(key).and_then(Value::as_table).cloned().unwrap_or_default()
}

fn text(of: &Table, key: &str) -> String {
    of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Writes each default that the table does not have; tables are filled key by key. A secret (`{ env = … }`) is one value.
fn fill(into: &mut Table, defaults: &Table, name: &str) {
    for (key, default) in defaults {
        match (into.get_mut(key), default) {
            (Some(Value::Table(own)), Value::Table(default)) if !is_secret(own) && !is_secret(default) => {
                fill(own, default, name);
            }
            (Some(_), _) => {}
            (None, default) => {
                into.insert(key.clone(), named(default, name));
            }
        }
    }
}

fn is_secret(table: &Table) -> bool {
    table.len() == 1 && (table.contains_key("env") || table.contains_key("file"))
}

/// The default of one company.
fn named(default: &Value, name: &str) -> Value {
    match default {
        Value::String(text) => {
            let variable: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            Value::String(text.replace(NAME, name).replace(VARIABLE, &variable))
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| named(item, name)).collect()),
        Value::Table(table) => {
            Value::Table(table.iter().map(|(key, value)| (key.clone(), named(value, name))).collect())
        }
        other => other.clone(),
    }
}

fn merge(
    into: &mut Table,
    from: Table,
    path: &str,
    lines: &Lines,
    others: &Lines,
    moved: &mut Lines,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in from {
        let path = join(path, &key);
        match (into.get_mut(&key), value) {
            (Some(Value::Table(own)), Value::Table(other)) => merge(own, other, &path, lines, others, moved, problems),
            (Some(Value::Array(own)), Value::Array(other)) if own.iter().chain(&other).all(Value::is_table) => {
                for (index, item) in other.into_iter().enumerate() {
                    shift(others, &format!("{path}[{index}]"), &format!("{path}[{}]", own.len()), moved);
                    own.push(item);
                }
            }
            (Some(_), _) => {
                let before = lines.get(&path).or_else(|| moved.get(&path));
                let before = before.map_or_else(String::new, |spot| format!(", in {spot}"));
                problems.push(Problem {
                    line: others.get(&path).cloned(),
                    place: path,
                    what: format!("is written already{before}: keep one of the two"),
                });
            }
            (None, value) => {
                shift(others, &path, &path, moved);
                into.insert(key, value);
            }
        }
    }
}

/// Notes the lines of a path, and of everything below it, under another path.
fn shift(lines: &Lines, from: &str, to: &str, moved: &mut Lines) {
    for (path, spot) in lines {
        if let Some(rest) = path.strip_prefix(from)
            && (rest.is_empty() || rest.starts_with(['.', '[']))
        {
            moved.insert(format!("{to}{rest}"), spot.clone());
        }
    }
}
