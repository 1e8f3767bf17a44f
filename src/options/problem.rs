//! The problems of a configuration: collected while it is read, and shown all at once.
//!
//! A problem names its place (`sinks[1] (erp).url`, or a variable), what is wrong there and what is allowed. It may repeat
//! the operator's text, except for values that may be secrets.

use std::{cell::RefCell, collections::BTreeSet, fmt, path::PathBuf};

use super::{description::Described, written::Written};

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The file, unless it is the main one.
    pub file: Option<std::sync::Arc<str>>,
    /// The line, from 1.
    pub line: usize,
}

impl From<usize> for Spot {
    /// A line of the main file.
    fn from(line: usize) -> Self {
        Self { file: None, line }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}, ")?;
        }
        write!(f, "line {}", self.line)
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: an option's path, or the name of an environment variable. Empty for the whole file.
    pub place: String,
    /// The line in the file, if the place is there.
    pub line: Option<Spot>,
    /// What is wrong, and what to write instead. Never a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = &self.line {
            write!(f, "{line}: ")?;
        }
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.what)
    }
}

/// All problems of a configuration; never empty.
///
/// `Display` gives a heading and one line for each problem, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: Option<PathBuf>,
    list: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(file: Option<PathBuf>, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.line.is_none(), problem.line.clone()));
        Self { file, list }
    }

    /// Problems with environment variables that are checked elsewhere: the names, and what is wrong with each.
    pub(crate) fn of_variables(wrong: Vec<(&'static str, String)>) -> Self {
        let problem = |(name, what)| Problem { place: Place::variable(name).path, line: None, what };
        Self::new(None, wrong.into_iter().map(problem).collect())
    }

    /// Each problem as one line.
    pub fn lines(&self) -> Vec<String> {
        self.list.iter().map(Problem::to_string).collect()
    }

    /// Each problem, in the order of the file; those of the environment at the end.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "the configuration ({}) cannot be used:", file.display())?,
            None => f.write_str("the configuration cannot be used:")?,
        }
        for problem in &self.list {
            write!(f, "\n- {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The place of a [`Problem`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) line: Option<Spot>,
}

impl Place {
    /// An environment variable.
    pub(crate) fn variable(name: &str) -> Self {
        Self { path: name.to_owned(), line: None }
    }
}

/// The findings while a configuration is read. All readers share it, hence the cells.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: RefCell<Vec<Problem>>,
    notices: RefCell<Vec<String>>,
    known: RefCell<BTreeSet<String>>,
    written: RefCell<Written>,
    /// Every key that was read, with its description; `None` unless descriptions are wanted.
    described: Option<RefCell<Vec<Described>>>,
}

impl Report {
    /// For a run over an empty file that collects the descriptions of all keys.
    pub(crate) fn describing() -> Self {
        Self { described: Some(RefCell::default()), ..Self::default() }
    }

    /// True if the run collects descriptions: then every table is read as if it were present.
    pub(super) fn is_describing(&self) -> bool {
        self.described.is_some()
    }

    /// Stores a key's description, if descriptions are wanted.
    pub(super) fn describe(&self, described: impl FnOnce() -> Described) {
        if let Some(list) = &self.described {
            list.borrow_mut().push(described());
        }
    }

    /// The descriptions, in the order of reading.
    pub(crate) fn into_described(self) -> Vec<Described> {
        self.described.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Reports something that cannot work.
    pub(crate) fn problem(&self, place: &Place, what: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            place: place.path.clone(),
            line: place.line.clone(),
            what: what.into(),
        });
    }

    /// Reports something that works but that the operator should know.
    pub(crate) fn notice(&self, place: &Place, what: impl fmt::Display) {
        self.notices.borrow_mut().push(format!("{}: {what}", place.path));
    }

    /// Records that an option was looked for, whether it is present or not. `path` is as in `sinks[0].url`.
    pub(crate) fn asked(&self, path: String) {
        self.known.borrow_mut().insert(path);
    }

    /// The record of options that were set.
    pub(crate) fn written(&self) -> std::cell::RefMut<'_, Written> {
        self.written.borrow_mut()
    }

    /// The problems, the notices, and every option that was looked for.
    pub(crate) fn into_parts(self) -> (Vec<Problem>, Vec<String>, BTreeSet<String>) {
        (self.problems.into_inner(), self.notices.into_inner(), self.known.into_inner())
    }
}

/// The one of `known` that was probably meant, as a phrase to append, or nothing.
///
/// A word is near if it differs by at most one change for each three letters, and at least one change is allowed; two
/// swapped neighbours are one change.
pub(crate) fn did_you_mean<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let allowed = (given.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|word| (strsim::osa_distance(given, word), word))
        .filter(|(distance, _)| (1..=allowed).contains(distance))
        .min()
        .map_or_else(String::new, |(_, word)| format!(" (did you mean `{word}`?)"))
}

/// `` `a`, `b`, `c` ``
pub(crate) fn listed<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["listen", "admin_listen", "max_body_bytes"];
        assert_eq!(did_you_mean("lisetn", known), " (did you mean `listen`?)");
        assert_eq!(did_you_mean("max_body_size", known), " (did you mean `max_body_bytes`?)");
        assert_eq!(did_you_mean("colour", known), "");
        assert_eq!(did_you_mean("", known), "");
    }

    #[test]
    fn shows_the_file_from_top_to_bottom_and_then_the_environment() {
        let problem = |place: &str, line: Option<usize>| Problem {
            place: place.into(),
            line: line.map(Spot::from),
            what: "is wrong".into(),
        };
        let problems = Problems::new(
            Some("relay.toml".into()),
            vec![problem("RELAY_LISTEN", None), problem("b", Some(10)), problem("a", Some(9))],
        );
        assert_eq!(
            problems.to_string(),
            "the configuration (relay.toml) cannot be used:\n- line 9: a: is wrong\n- line 10: b: is wrong\n- RELAY_LISTEN: is wrong"
        );
    }
}
