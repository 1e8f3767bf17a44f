//! Reads the file key by key.
//!
//! A [`Section`] is one table. Its reader takes the keys that it knows with [`Section::key`], which describes each key and
//! checks its type and range; [`Section::finish`] then reports every other key as unknown. After a problem the reading
//! continues with a harmless value, so that one run finds all problems; a derived deserialiser would stop at the first. A
//! variable can override a key ([`Section::lay_over`]), and a problem then names the variable.

mod key;
mod merging;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

pub(crate) use self::key::Key;
use super::{
    env::{self, Environment, Found},
    problem::{Place, Problem, Report, Spot, did_you_mean, listed},
    syntax::{self, Names},
};
use crate::model::secret::Secret;

/// The position of each key: its path, as in `sinks[0].url`, and its line, from 1.
type Lines = BTreeMap<String, Spot>;

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
    /// The first place where the text is not TOML, with the line. Possible secrets in that line are not shown: `names`
    /// returns all options, and whether their values may be shown. It is called only in this case.
    pub(crate) fn parse(text: &str, names: impl Fn() -> Names) -> Result<Self, Problem> {
        let refused =
            |error: &toml::de::Error| syntax::problem(text, error.span().unwrap_or(0..0), error.message(), &names());
        let spanned = DeTable::parse(text).map_err(|error| refused(&error))?;
        let table = text.parse::<Table>().map_err(|error| refused(&error))?;
        let mut lines = Lines::new();
        note_lines(spanned.get_ref(), "", &LineStarts::of(text), &mut lines);
        Ok(Self { table, lines, folder: PathBuf::new() })
    }

    /// Sets the folder that relative paths start from: the file's own folder.
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

/// Shared by all sections of one reading.
#[derive(Clone, Copy)]
struct Surroundings<'r> {
    lines: &'r Lines,
    folder: &'r Path,
    report: &'r Report,
    environment: &'r Environment<'r>,
}

/// One table while it is read.
pub struct Section<'r> {
    table: Table,
    /// `sinks[1]`, to find the line.
    raw_path: String,
    /// `sinks[1] (erp)`, to be shown.
    path: String,
    asked: Vec<&'static str>,
    /// The keys whose values came from the environment.
    variables: BTreeMap<&'static str, Place>,
    surroundings: Surroundings<'r>,
}

impl<'r> Section<'r> {
    /// A table that is not in the file; its values come from variables, by [`Section::lay_over`].
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

    /// Sets a value that the program chooses.
    pub(crate) fn put(&mut self, key: &'static str, value: &str) {
        self.table.insert(key.to_owned(), Value::String(value.to_owned()));
    }

    /// Lets a variable override the key. Problems with the value then name the variable.
    pub(crate) fn lay_over(&mut self, key: &'static str, found: Option<Found>) {
        if let Some(Found { value, place }) = found {
            self.table.insert(key.to_owned(), Value::String(value));
            self.variables.insert(key, place);
        }
    }

    /// True if a variable overrides the key.
    pub(crate) fn is_from_variable(&self, key: &str) -> bool {
        self.variables.contains_key(key)
    }

    /// Resolves a path: a relative path in the file starts from the folder of the file. A path from a variable starts from
    /// the working directory, like all paths in variables.
    pub(crate) fn anchored(&self, key: &str, path: &Path) -> PathBuf {
        if self.is_from_variable(key) { path.to_owned() } else { self.surroundings.folder.join(path) }
    }

    /// The environment of this reading.
    pub(crate) fn environment(&self) -> &'r Environment<'r> {
        self.surroundings.environment
    }

    /// The report that collects the findings.
    pub(crate) fn report(&self) -> &'r Report {
        self.surroundings.report
    }

    /// Adds the name of what the section describes to its place in problems.
    pub(crate) fn call(&mut self, name: &str) {
        self.path = format!("{} ({name})", self.raw_path);
    }

    /// The section's own place.
    pub(crate) fn here(&self) -> Place {
        Place { path: self.path.clone(), line: self.surroundings.lines.get(&self.raw_path).cloned() }
    }

    /// A key's place; `key` may lead further down, as in `headers.x-team` or `events[0]`.
    pub(crate) fn place(&self, key: &str) -> Place {
        let first = key.split(['.', '[']).next().unwrap_or(key);
        if let Some(place) = self.variables.get(first) {
            return place.clone();
        }
        let lines = self.surroundings.lines;
        let line = [key, first].iter().find_map(|key| lines.get(&join(&self.raw_path, key)));
        Place { path: join(&self.path, key), line: line.cloned().or(self.here().line) }
    }

    /// Reports a problem with a key.
    pub(crate) fn problem(&self, key: &str, what: impl Into<String>) {
        self.report().problem(&self.place(key), what);
    }

    /// Reports something about a key that works but that the operator should know.
    pub(crate) fn notice(&self, key: &str, what: impl std::fmt::Display) {
        self.report().notice(&self.place(key), what);
    }

    /// True if the key is present and not read yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A key that is about to be read: its name, and its purpose, in a sentence or two of Markdown.
    ///
    /// This is the only way to a value, so every key that can be set has a description.
    pub(crate) fn key(&mut self, name: &'static str, meaning: &'static str) -> Key<'_, 'r> {
        Key::new(self, name, meaning)
    }

    /// Takes a key's value as it is.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        let path = join(&self.raw_path, key);
        let value = self.table.remove(key);
        if let Some(value) = &value {
            self.report().written().value(&path, value);
        }
        self.report().asked(path);
        value
    }

    /// The section's path, as in `sinks[1].retry`.
    pub(super) fn raw_path(&self) -> &str {
        &self.raw_path
    }

    /// Resolves a secret: a text, `{ env = … }` or `{ file = … }`.
    ///
    /// Reports problems without repeating any of the text, because the operator may have put the secret in the wrong place.
    /// Characters that probably do not belong to the secret are reported, but count as a part of it.
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
                        // Earlier versions resolved relative paths from the working directory.
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

    /// True if a text that does not name a file was certainly meant as a path.
    fn looks_like_a_path(&self, text: &str) -> bool {
        let folder = Path::new(text).parent().filter(|folder| !folder.as_os_str().is_empty());
        text.starts_with(['/', '.']) || folder.is_some_and(|folder| self.anchored("", folder).is_dir())
    }

    /// A table within this one.
    pub(crate) fn within(&self, key: &str, table: Table) -> Section<'r> {
        Section {
            table,
            raw_path: join(&self.raw_path, key),
            path: join(&self.path, key),
            asked: Vec::new(),
            variables: BTreeMap::new(),
            surroundings: self.surroundings,
        }
    }

    /// Reports every key that was not read.
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

/// True if a text that does not name a variable was certainly meant as the name of one. Any other text may be the secret,
/// and is not repeated.
fn looks_like_a_variable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Says that a value has the wrong type, and shows it if it is short and simple.
pub(super) fn wrong_type(given: &Value, wanted: &str) -> String {
    match given {
        Value::Table(_) => format!("a table is not {wanted}"),
        Value::Array(_) => format!("a list is not {wanted}"),
        Value::String(text) if text.chars().count() > 60 => format!("a text is not {wanted}"),
        simple => format!("{simple} is not {wanted}"),
    }
}

/// The beginnings of the lines of a text.
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
        lines.insert(path.clone(), starts.line(key.span().start).into());
        note_value(value.get_ref(), &path, starts, lines);
    }
}

fn note_value(value: &DeValue<'_>, path: &str, starts: &LineStarts, lines: &mut Lines) {
    match value {
        DeValue::Table(table) => note_lines(table, path, starts, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                lines.insert(path.clone(), starts.line(item.span().start).into());
                note_value(item.get_ref(), &path, starts, lines);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Reads one file through `read` and gives its answer and the problems.
    fn read<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Vec<String>) {
        let report = Report::default();
        let lookup = |name: &str| (name == "SET").then(|| "from the environment".into());
        let environment = Environment::new(&lookup);
        let file = File::parse(text, Names::default).unwrap();
        let mut root = file.root(&report, &environment);
        let answer = read(&mut root);
        root.finish();
        (answer, report.into_parts().0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_unknown_key_is_reported_with_its_line() {
        let ((), problems) = read("lisetn = 1\n\ncolour = 2\n[[a]]\n[[a]]\nb = 1", |root| {
            root.take("listen");
            for mut section in root.key("a", "").tables() {
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
        let take = |text: &str| read(text, |root| root.key("n", "").whole_or(2..=5_u64, 3));
        assert_eq!(take(""), (3, vec![]));
        assert_eq!(take("n = 5"), (5, vec![]));
        assert_eq!(take("n = 6"), (3, vec!["line 1: n: 6 is not from 2 to 5".into()]));
        assert_eq!(take("n = -3"), (3, vec!["line 1: n: -3 is not from 2 to 5".into()]));
        assert_eq!(take("n = 3.5"), (3, vec!["line 1: n: 3.5 is not a whole number".into()]));
        assert_eq!(take("n = \"4\""), (3, vec!["line 1: n: \"4\" is not a whole number".into()]));
        let secs = |text: &str| read(text, |root| root.key("s", "").fractional_secs_or(0.05..=9.0, 5.0));
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
            let mut secrets: Vec<_> =
                ["a", "b", "c"].into_iter().filter_map(|key| root.key(key, "").secret()).collect();
            secrets.extend(root.key("d", "").secrets());
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
            let (secret, problems) = read(&format!("s = {wrong}"), |root| root.key("s", "").secret());
            assert!(secret.is_none() && problems.len() == 1, "{wrong}: {problems:?}");
            assert!(problems[0].starts_with("line 1: s: ") && problems[0].contains(expected), "{problems:?}");
            assert!(!problems[0].contains("hunter2") && !problems[0].contains("123"), "{problems:?}");
        }
    }
}
