//! The file as the operator typed it, read key by key.
//!
//! A [`Section`] is one table. Whoever reads it takes the keys that it knows, each checked for its
//! type and range on the way; [`Section::finish`] reports whatever nobody took as an unknown key.
//! Reading goes on after a problem with a harmless value, so that one run finds all of them: a
//! derived deserialiser stops at the first. It also lets a variable lie over a key
//! ([`Section::lay_over`]) and still be the one that a problem names.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, de::IntoDeserializer};
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    env::{self, Environment, Found},
    problem::{Place, Problem, Report, did_you_mean, listed},
    syntax,
};
use crate::model::secret::Secret;

/// Where each key stands: its path, as in `sinks[0].url`, and its line, from 1.
type Lines = BTreeMap<String, usize>;

/// A parsed file.
#[derive(Debug, Default)]
pub(crate) struct File {
    table: Table,
    lines: Lines,
    /// The folder that relative paths start from; empty is the working directory.
    folder: PathBuf,
}

impl File {
    /// Parses TOML.
    ///
    /// # Errors
    /// The first place where the text is no TOML, with the line. What may be a secret in that line
    /// is not shown.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let refused = |error: &toml::de::Error| syntax::problem(text, error.span().unwrap_or(0..0), error.message());
        let spanned = DeTable::parse(text).map_err(|error| refused(&error))?;
        let table = text.parse::<Table>().map_err(|error| refused(&error))?;
        let mut lines = Lines::new();
        note_lines(spanned.get_ref(), "", &LineStarts::of(text), &mut lines);
        Ok(Self { table, lines, folder: PathBuf::new() })
    }

    /// Lets the relative paths in it start from a folder: the one that the file lies in.
    pub(crate) fn in_folder(self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self }
    }

    /// The whole file as a section.
    pub(crate) fn root<'r>(&'r self, report: &'r Report, environment: &'r Environment<'r>) -> Section<'r> {
        Section {
            table: self.table.clone(),
            raw_path: String::new(),
            path: String::new(),
            asked: Vec::new(),
            variables: BTreeMap::new(),
            surroundings: Surroundings { lines: &self.lines, folder: &self.folder, report, environment },
        }
    }
}

/// What every section of one reading shares.
#[derive(Clone, Copy)]
struct Surroundings<'r> {
    lines: &'r Lines,
    folder: &'r Path,
    report: &'r Report,
    environment: &'r Environment<'r>,
}

/// One table while it is read.
pub(crate) struct Section<'r> {
    table: Table,
    /// `sinks[1]`, for the line.
    raw_path: String,
    /// `sinks[1] (erp)`, for the eye.
    path: String,
    asked: Vec<&'static str>,
    /// The keys whose values came from the environment.
    variables: BTreeMap<&'static str, Place>,
    surroundings: Surroundings<'r>,
}

impl<'r> Section<'r> {
    /// A table that stands in no file: made of variables with [`Section::lay_over`].
    pub(crate) fn beside(other: &Section<'r>, path: &str) -> Self {
        Self {
            table: Table::new(),
            raw_path: path.to_owned(),
            path: path.to_owned(),
            asked: Vec::new(),
            variables: BTreeMap::new(),
            surroundings: other.surroundings,
        }
    }

    /// A value by the program's own hand.
    pub(crate) fn put(&mut self, key: &'static str, value: &str) {
        self.table.insert(key.to_owned(), Value::String(value.to_owned()));
    }

    /// Lets a variable win over the key. Problems with the value then name the variable.
    pub(crate) fn lay_over(&mut self, key: &'static str, found: Option<Found>) {
        if let Some(Found { value, place }) = found {
            self.table.insert(key.to_owned(), Value::String(value));
            self.variables.insert(key, place);
        }
    }

    /// True if a variable lies over the key.
    pub(crate) fn is_from_variable(&self, key: &str) -> bool {
        self.variables.contains_key(key)
    }

    /// A path as it is used: a relative one starts from the folder of the file that it is written in. One that a variable
    /// names starts from the working directory, as paths in variables do everywhere.
    pub(crate) fn anchored(&self, key: &str, path: &Path) -> PathBuf {
        if self.is_from_variable(key) { path.to_owned() } else { self.surroundings.folder.join(path) }
    }

    /// The environment of this reading.
    pub(crate) fn environment(&self) -> &'r Environment<'r> {
        self.surroundings.environment
    }

    /// Where findings go.
    pub(crate) fn report(&self) -> &'r Report {
        self.surroundings.report
    }

    /// Adds the name of what the section describes to its place in problems.
    pub(crate) fn call(&mut self, name: &str) {
        self.path = format!("{} ({name})", self.raw_path);
    }

    /// The section's own place.
    pub(crate) fn here(&self) -> Place {
        Place { path: self.path.clone(), line: self.surroundings.lines.get(&self.raw_path).copied() }
    }

    /// A key's place; `key` may lead further down, as in `headers.x-team` or `events[0]`.
    pub(crate) fn place(&self, key: &str) -> Place {
        let first = key.split(['.', '[']).next().unwrap_or(key);
        if let Some(place) = self.variables.get(first) {
            return place.clone();
        }
        let lines = self.surroundings.lines;
        let line = [key, first].iter().find_map(|key| lines.get(&join(&self.raw_path, key)));
        Place { path: join(&self.path, key), line: line.copied().or(self.here().line) }
    }

    /// Reports a problem with a key.
    pub(crate) fn problem(&self, key: &str, what: impl Into<String>) {
        self.report().problem(&self.place(key), what);
    }

    /// Reports something about a key that the operator should know.
    pub(crate) fn notice(&self, key: &str, what: impl std::fmt::Display) {
        self.report().notice(&self.place(key), what);
    }

    /// True if the key is there and not taken yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// True if the key is there with just this text, and not taken yet.
    pub(crate) fn is_text(&self, key: &str, text: &str) -> bool {
        self.table.get(key).and_then(Value::as_str) == Some(text)
    }

    /// Takes a key's value as it is.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        let path = join(&self.raw_path, key);
        let value = self.table.remove(key);
        if let Some(value) = &value {
            self.report().written().value(&path, value);
        }
        self.report().asked(path);
        value
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.problem(key, wrong_type(&other, "a text in quotes"));
                None
            }
        }
    }

    /// Takes one of a few words.
    pub(crate) fn word<T>(&mut self, key: &'static str, words: &[&str]) -> Option<T>
    where
        T: for<'de> Deserialize<'de>,
    {
        let text = self.text(key)?;
        let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
            text.as_str().into_deserializer();
        let read = T::deserialize(deserializer).ok().filter(|_| words.contains(&text.as_str()));
        if read.is_none() {
            let meant = did_you_mean(&text, words.iter().copied());
            self.problem(key, format!("`{text}` is not one of {}{meant}", listed(words.iter().copied())));
        }
        read
    }

    /// Takes a whole number, or the default.
    pub(crate) fn whole(&mut self, key: &'static str, allowed: &RangeInclusive<u64>, default: u64) -> u64 {
        self.whole_if_set(key, allowed).unwrap_or(default)
    }

    /// Takes a whole number, if the key is there.
    pub(crate) fn whole_if_set(&mut self, key: &'static str, allowed: &RangeInclusive<u64>) -> Option<u64> {
        let given = self.take(key)?;
        let read = match &given {
            Value::Integer(number) => u64::try_from(*number).ok().filter(|number| allowed.contains(number)),
            other => {
                self.problem(key, wrong_type(other, "a whole number"));
                return None;
            }
        };
        if read.is_none() {
            self.problem(key, format!("{given} is not from {} to {}", allowed.start(), allowed.end()));
        }
        read
    }

    /// Takes `true` or `false`, or what it is if the key is not there.
    pub(crate) fn flag(&mut self, key: &'static str, otherwise: bool) -> bool {
        match self.take(key) {
            None => otherwise,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.problem(key, wrong_type(&other, "`true` or `false`"));
                false
            }
        }
    }

    /// Takes a time in whole seconds.
    pub(crate) fn secs(&mut self, key: &'static str, allowed: &RangeInclusive<u64>, default: u64) -> Duration {
        Duration::from_secs(self.whole(key, allowed, default))
    }

    /// Takes a time in seconds that may have a fraction.
    pub(crate) fn fractional_secs(
        &mut self,
        key: &'static str,
        allowed: &RangeInclusive<f64>,
        default: f64,
    ) -> Duration {
        let read = match self.take(key) {
            None => Some(default),
            #[expect(clippy::cast_precision_loss, reason = "the range excludes what would lose precision")]
            Some(Value::Integer(number)) => Some(number as f64),
            Some(Value::Float(number)) => Some(number),
            Some(other) => {
                self.problem(key, wrong_type(&other, "a number"));
                None
            }
        };
        let good = read.filter(|number| allowed.contains(number));
        if let (Some(number), None) = (read, good) {
            self.problem(key, format!("{number} is not from {} to {}", allowed.start(), allowed.end()));
        }
        Duration::from_secs_f64(good.unwrap_or(default))
    }

    /// Takes a list of texts.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let items = match self.take(key)? {
            Value::Array(items) => items,
            other => {
                self.problem(key, wrong_type(&other, "a list of texts"));
                return None;
            }
        };
        let read = items.into_iter().enumerate().map(|(index, item)| match item {
            Value::String(text) => Some(text),
            other => {
                self.problem(&format!("{key}[{index}]"), wrong_type(&other, "a text in quotes"));
                None
            }
        });
        // Collected first, so that every wrong item is reported.
        let read: Vec<_> = read.collect();
        read.into_iter().collect()
    }

    /// Takes a secret.
    pub(crate) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let given = self.take(key)?;
        self.resolve(key, given)
    }

    /// Takes a list of secrets.
    pub(crate) fn secrets(&mut self, key: &'static str) -> Vec<Secret> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| self.resolve(&format!("{key}[{index}]"), item))
                .collect(),
            Some(_) => {
                self.problem(key, "is not a list of secrets");
                Vec::new()
            }
        }
    }

    /// Finds out the secret that a value stands for: a text, `{ env = … }` or `{ file = … }`.
    ///
    /// Reports what is wrong without repeating any of it: the operator may have put the secret in
    /// the wrong place. What looks as if it did not belong to the secret is told, and belongs to it.
    pub(crate) fn resolve(&self, key: &str, given: Value) -> Option<Secret> {
        let secret = self.found(key, given)?;
        self.report().written().text(&join(&self.raw_path, key), secret.expose());
        if let Some(oddity) = secret.oddity() {
            self.notice(key, format!("{oddity}, which is taken for a part of the secret: take it out if it is none"));
        }
        Some(secret)
    }

    fn found(&self, key: &str, given: Value) -> Option<Secret> {
        const IS_IT_THE_SECRET: &str = "if it is the secret itself, write it as a text in quotes";
        const ALLOWED: &str = "write a text in quotes, { env = \"NAME\" } or { file = \"PATH\" }";
        let (way, argument) = match given {
            Value::String(text) if text.is_empty() => {
                self.problem(key, "is empty");
                return None;
            }
            Value::String(text) => return Some(Secret::new(text)),
            Value::Table(table) if table.len() == 1 => match table.into_iter().next() {
                Some((way, Value::String(argument))) => (way, argument),
                _ => (String::new(), String::new()),
            },
            _ => (String::new(), String::new()),
        };
        match way.as_str() {
            "env" => {
                let problems_of_the_variable = Report::default();
                let found = self.environment().get(&argument, &problems_of_the_variable);
                let (problems, ..) = problems_of_the_variable.into_parts();
                for problem in &problems {
                    self.problem(key, format!("the variable {}: {}", problem.place, problem.what));
                }
                if found.is_none() && problems.is_empty() {
                    let what = if looks_like_a_variable(&argument) {
                        format!("the variable `{argument}` is not set, or empty")
                    } else {
                        format!("what stands after `env` is not the name of a variable that is set; {IS_IT_THE_SECRET}")
                    };
                    self.problem(key, what);
                }
                found.map(|found| Secret::new(found.value))
            }
            "file" => match env::read_value(&self.anchored("", Path::new(&argument))) {
                Ok(value) => Some(Secret::new(value)),
                Err(what) => {
                    let what = if self.looks_like_a_path(&argument) {
                        // Where a relative path started from before.
                        let elsewhere = self.anchored("", Path::new(&argument)) != Path::new(&argument)
                            && Path::new(&argument).is_file();
                        let hint = if elsewhere {
                            ". There is one in the working directory; relative paths start from the folder of the configuration file"
                        } else {
                            ""
                        };
                        format!("the file {what}{hint}")
                    } else {
                        format!("what stands after `file` is not the path of a file with text; {IS_IT_THE_SECRET}")
                    };
                    self.problem(key, what);
                    None
                }
            },
            _ => {
                self.problem(key, format!("cannot be read as a secret: {ALLOWED}"));
                None
            }
        }
    }

    /// Takes a table; an empty one if the key is not there.
    pub(crate) fn section(&mut self, key: &'static str) -> Section<'r> {
        self.section_if_set(key).unwrap_or_else(|| self.within(key, Table::new()))
    }

    /// Takes a table, if the key is there.
    pub(crate) fn section_if_set(&mut self, key: &'static str) -> Option<Section<'r>> {
        match self.take(key)? {
            Value::Table(table) => Some(self.within(key, table)),
            other => {
                self.problem(key, wrong_type(&other, "a table"));
                None
            }
        }
    }

    /// Takes a list of tables, `[[key]]`.
    pub(crate) fn sections(&mut self, key: &'static str) -> Vec<Section<'r>> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(key, format!("{}: begin each with [[{key}]]", wrong_type(&other, "a list of tables")));
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{key}[{index}]");
            match item {
                Value::Table(table) => sections.push(self.within(&path, table)),
                // Not shown: it may be the token itself, where `tokens` takes tables.
                _ => self.problem(&path, "is not a table"),
            }
        }
        sections
    }

    /// True if a text that names no file can only have been meant as a path.
    fn looks_like_a_path(&self, text: &str) -> bool {
        let folder = Path::new(text).parent().filter(|folder| !folder.as_os_str().is_empty());
        text.starts_with(['/', '.']) || folder.is_some_and(|folder| self.anchored("", folder).is_dir())
    }

    fn within(&self, key: &str, table: Table) -> Section<'r> {
        Section {
            table,
            raw_path: join(&self.raw_path, key),
            path: join(&self.path, key),
            asked: Vec::new(),
            variables: BTreeMap::new(),
            surroundings: self.surroundings,
        }
    }

    /// Reports every key that nobody took.
    pub(crate) fn finish(self) {
        for key in self.table.keys() {
            let meant = did_you_mean(key, self.asked.iter().copied());
            let mut known = self.asked.clone();
            known.sort_unstable();
            known.dedup();
            let hint = if meant.is_empty() { format!("; known are {}", listed(known)) } else { meant };
            self.problem(key, format!("unknown key{hint}"));
        }
    }
}

/// `server` and `listen` make `server.listen`.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// True if a text that names no variable can only have been meant as the name of one. What else it
/// is may be the secret, and is not repeated.
fn looks_like_a_variable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Says what a value is instead of what it should be, and shows it if it is short and simple.
fn wrong_type(given: &Value, wanted: &str) -> String {
    match given {
        Value::Table(_) => format!("a table is not {wanted}"),
        Value::Array(_) => format!("a list is not {wanted}"),
        Value::String(text) if text.chars().count() > 60 => format!("a text is not {wanted}"),
        simple => format!("{simple} is not {wanted}"),
    }
}

/// Where the lines of a text begin.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(newline, _)| newline + 1).collect())
    }

    /// The line of a byte, from 1.
    fn line(&self, byte: usize) -> usize {
        self.0.partition_point(|start| *start <= byte) + 1
    }
}

fn note_lines(table: &DeTable<'_>, path: &str, starts: &LineStarts, lines: &mut Lines) {
    for (key, value) in table {
        let path = join(path, key.get_ref());
        lines.insert(path.clone(), starts.line(key.span().start));
        note_value(value.get_ref(), &path, starts, lines);
    }
}

fn note_value(value: &DeValue<'_>, path: &str, starts: &LineStarts, lines: &mut Lines) {
    match value {
        DeValue::Table(table) => note_lines(table, path, starts, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                lines.insert(path.clone(), starts.line(item.span().start));
                note_value(item.get_ref(), &path, starts, lines);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one file through `read` and gives its answer and the problems.
    fn read<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Vec<String>) {
        let report = Report::default();
        let lookup = |name: &str| (name == "SET").then(|| "from the environment".into());
        let environment = Environment::new(&lookup);
        let file = File::parse(text).unwrap();
        let mut root = file.root(&report, &environment);
        let answer = read(&mut root);
        root.finish();
        (answer, report.into_parts().0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_unknown_key_is_reported_with_its_line() {
        let ((), problems) = read("lisetn = 1\n\ncolour = 2\n[[a]]\n[[a]]\nb = 1", |root| {
            root.take("listen");
            for mut section in root.sections("a") {
                section.call("x");
                section.finish();
            }
        });
        assert_eq!(
            problems,
            [
                "line 6: a[1] (x).b: unknown key; known are ",
                "line 3: colour: unknown key; known are `a`, `listen`",
                "line 1: lisetn: unknown key (did you mean `listen`?)",
            ]
        );
    }

    #[test]
    fn numbers_keep_to_their_range_and_kind() {
        let take = |text: &str| read(text, |root| root.whole("n", &(2..=5), 3));
        assert_eq!(take(""), (3, vec![]));
        assert_eq!(take("n = 5"), (5, vec![]));
        assert_eq!(take("n = 6"), (3, vec!["line 1: n: 6 is not from 2 to 5".into()]));
        assert_eq!(take("n = -3"), (3, vec!["line 1: n: -3 is not from 2 to 5".into()]));
        assert_eq!(take("n = 3.5"), (3, vec!["line 1: n: 3.5 is not a whole number".into()]));
        assert_eq!(take("n = \"4\""), (3, vec!["line 1: n: \"4\" is not a whole number".into()]));
        let secs = |text: &str| read(text, |root| root.fractional_secs("s", &(0.05..=9.0), 5.0));
        assert_eq!(secs("s = 0.05"), (Duration::from_millis(50), vec![]));
        assert_eq!(secs("s = 2"), (Duration::from_secs(2), vec![]));
        for wrong in ["0.04", "nan", "inf", "-1", "-inf", "10"] {
            assert_eq!(secs(&format!("s = {wrong}")).1.len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_a_text_a_variable_or_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from a file\n").unwrap();
        let text = format!(
            "a = 'as it is'\nb = {{ env = 'SET' }}\nc = {{ file = '{}' }}\nd = ['x', {{ env = 'SET' }}]",
            file.path().display()
        );
        let (secrets, problems) = read(&text, |root| {
            let mut secrets: Vec<_> = ["a", "b", "c"].into_iter().filter_map(|key| root.secret(key)).collect();
            secrets.extend(root.secrets("d"));
            secrets.iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>()
        });
        assert_eq!(secrets, ["as it is", "from the environment", "from a file", "x", "from the environment"]);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn what_is_no_secret_is_not_repeated() {
        for (wrong, expected) in [
            ("''", "is empty"),
            ("1234567890", "cannot be read as a secret: write a text"),
            ("{ env = 'A', file = 'b' }", "cannot be read as a secret"),
            ("{ value = 'hunter2' }", "cannot be read as a secret"),
            ("['hunter2']", "cannot be read as a secret"),
            ("{ env = 'hunter2' }", "what stands after `env` is not the name of a variable"),
            ("{ file = 'hunter2' }", "what stands after `file` is not the path"),
            ("{ env = 'NOT_SET' }", "the variable `NOT_SET` is not set, or empty"),
            ("{ file = '/nowhere' }", "the file `/nowhere` cannot be read: "),
        ] {
            let (secret, problems) = read(&format!("s = {wrong}"), |root| root.secret("s"));
            assert!(secret.is_none() && problems.len() == 1, "{wrong}: {problems:?}");
            assert!(problems[0].starts_with("line 1: s: ") && problems[0].contains(expected), "{problems:?}");
            assert!(!problems[0].contains("hunter2") && !problems[0].contains("123"), "{problems:?}");
        }
    }
}
