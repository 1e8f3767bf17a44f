//! How an environment variable is read: directly, or through the file that `NAME_FILE` names.

use std::{cell::RefCell, collections::BTreeSet, ffi::OsString, io::ErrorKind, path::Path};

use super::problem::{Place, Problems, Report};

/// One environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name. The name with `_FILE` appended names a file that holds the value.
    pub name: &'static str,
    /// The default, in words.
    pub default: &'static str,
    /// What it sets.
    pub meaning: &'static str,
}

/// Looks variables up: in the process's own environment ([`of_process`]), or in one that a test provides.
pub type Lookup<'l> = dyn Fn(&str) -> Option<OsString> + 'l;

/// A variable of this process, whatever bytes it contains.
///
/// All code reads variables with [`read`] or [`load`](crate::config::load) and this function: `std::env::var` treats a
/// variable that is not UTF-8 like one that is not set.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn of_process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The problem with a variable whose bytes are not a text.
const NOT_UTF8: &str = "holds bytes that are not UTF-8: set it again as UTF-8 (in a URL, a letter beyond ASCII is written with percent signs, such as `%C3%A9` for `é`)";

/// Reads one variable outside of [`load`](crate::config::load): to set up logs.
///
/// # Errors
/// As for every other variable: both forms are set, it is not UTF-8, or the file cannot be read or is empty.
pub fn read(name: &str, lookup: &Lookup<'_>) -> Result<Option<String>, Problems> {
    let report = Report::default();
    let found = Environment::new(lookup).get(name, &report);
    let (problems, ..) = report.into_parts();
    if problems.is_empty() { Ok(found.map(|found| found.value)) } else { Err(Problems::new(None, problems)) }
}

/// A variable's value and where it came from.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) value: String,
    /// The variable: `NAME` or `NAME_FILE`.
    pub(crate) place: Place,
}

/// The environment, with a record of the variables that were read.
pub(crate) struct Environment<'e> {
    lookup: &'e Lookup<'e>,
    named: RefCell<BTreeSet<String>>,
}

impl<'e> Environment<'e> {
    pub(crate) fn new(lookup: &'e Lookup<'e>) -> Self {
        Self { lookup, named: RefCell::default() }
    }

    /// Reads a variable, directly or through the file that `NAME_FILE` names.
    ///
    /// `None` when neither is set, and after a problem, which is reported.
    pub(crate) fn get(&self, name: &str, report: &Report) -> Option<Found> {
        self.named.borrow_mut().insert(name.to_owned());
        let name_of_file = format!("{name}_FILE");
        match (self.set(name), self.set(&name_of_file)) {
            (None, None) => None,
            (Some(value), None) => {
                let place = Place::variable(name);
                let value = text(value, &place, report)?;
                Some(Found { value, place })
            }
            (None, Some(path)) => {
                let place = Place::variable(&name_of_file);
                match read_value(Path::new(&text(path, &place, report)?)) {
                    Ok(value) => Some(Found { value, place }),
                    Err(what) => {
                        report.problem(&place, what);
                        None
                    }
                }
            }
            (Some(_), Some(_)) => {
                report.problem(&Place::variable(name), format!("`{name_of_file}` is set too: unset one of the two"));
                None
            }
        }
    }

    /// True if the variable, in either form, is set although it was not read.
    pub(crate) fn is_set_in_vain(&self, name: &str) -> bool {
        !self.named.borrow().contains(name) && self.is_set(name)
    }

    /// True if the variable is set, in either form. Does not count as reading it.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.set(name).is_some() || self.set(&format!("{name}_FILE")).is_some()
    }

    fn set(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }
}

/// A variable's value as text; `None` after a problem, which is reported without a byte of the value.
fn text(value: OsString, place: &Place, report: &Report) -> Option<String> {
    value.into_string().map_err(|_| report.problem(place, NOT_UTF8)).ok()
}

/// The content of a file with one value, without the newline that editors add at its end.
///
/// # Errors
/// The problem with the file, in a sentence. It never repeats the content.
pub(crate) fn read_value(path: &Path) -> Result<String, String> {
    let text = read_text(path)?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() { Err(format!("{} is empty", shown(path))) } else { Ok(value.to_owned()) }
}

/// A whole file.
///
/// # Errors
/// As for [`read_value`].
pub(crate) fn read_text(path: &Path) -> Result<zeroize::Zeroizing<String>, String> {
    let error = match std::fs::read_to_string(path) {
        Ok(text) => return Ok(zeroize::Zeroizing::new(text)),
        Err(error) => error,
    };
    let shown = shown(path);
    Err(match error.kind() {
        ErrorKind::NotFound => match path.read_link() {
            Ok(to) => format!("{shown} cannot be read: it is a link to `{}`, which does not exist", to.display()),
            Err(_) => format!("{shown} cannot be read: {error}"),
        },
        ErrorKind::IsADirectory => format!(
            "{shown} cannot be read: it is a folder. (Docker creates one if a file that it should mount does not exist.)"
        ),
        ErrorKind::InvalidData => format!("{shown} is not UTF-8 text: save it as UTF-8"),
        ErrorKind::PermissionDenied => {
            format!("{shown} cannot be read: {error}. The user that runs this program must be able to read it")
        }
        _ => format!("{shown} cannot be read: {error}"),
    })
}

/// A path in backticks, without control characters for a terminal.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let escaped: String =
        text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() }).collect();
    format!("`{escaped}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(name: &str, variables: &[(&str, &str)]) -> (Option<(String, String)>, Vec<String>) {
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value));
        let report = Report::default();
        let found = Environment::new(&lookup).get(name, &report).map(|found| (found.value, found.place.path));
        (found, report.into_parts().0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_value_comes_directly_or_through_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "line one\nline two\r\n\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(get("X", &[("X", "v"), ("X_FILE", "")]).0, Some(("v".into(), "X".into())));
        assert_eq!(get("X", &[("X", ""), ("X_FILE", path)]).0, Some(("line one\nline two".into(), "X_FILE".into())));
        assert_eq!(get("X", &[("X", ""), ("X_FILE", "")]), (None, vec![]));
    }

    #[test]
    fn one_variable_is_read_as_all_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "json\n").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let only_file = |name: &str| (name == "X_FILE").then(|| path.clone().into());
        assert_eq!(read("X", &only_file), Ok(Some("json".to_owned())));
        assert_eq!(read("X", &|_| None), Ok(None));
        let both = |_: &str| Some(OsString::from(path.as_str()));
        assert!(read("X", &both).unwrap_err().to_string().contains("X: `X_FILE` is set too"));
    }

    #[test]
    fn both_forms_a_missing_file_and_an_empty_file_are_problems() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(
            get("X", &[("X", "v"), ("X_FILE", path)]),
            (None, vec!["X: `X_FILE` is set too: unset one of the two".into()])
        );
        assert_eq!(get("X", &[("X_FILE", path)]), (None, vec![format!("X_FILE: `{path}` is empty")]));
        let (found, problems) = get("X", &[("X_FILE", "/nowhere/at/all")]);
        assert!(found.is_none() && problems[0].starts_with("X_FILE: `/nowhere/at/all` cannot be read: "));
    }

    #[test]
    fn what_is_not_utf8_is_a_problem_in_either_form() {
        use std::os::unix::ffi::OsStringExt;
        let latin1 = || OsString::from_vec(b"postgres://relay:caf\xe9@db/relay".to_vec());
        for set in ["X", "X_FILE"] {
            let lookup = |name: &str| (name == set).then(latin1);
            let problems = read("X", &lookup).unwrap_err().to_string();
            assert!(problems.contains(&format!("\n- {set}: holds bytes that are not UTF-8")), "{problems}");
            assert!(!problems.contains("caf"), "{problems}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"whsec_caf\xe9\n").unwrap();
        let path = file.path().to_str().unwrap();
        let (found, problems) = get("X", &[("X_FILE", path)]);
        assert!(found.is_none());
        assert_eq!(problems, [format!("X_FILE: `{path}` is not UTF-8 text: save it as UTF-8")]);
    }

    #[test]
    fn a_file_that_is_none_is_named_for_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/nowhere/at/all", &link).unwrap();
        let (_, problems) = get("X", &[("X_FILE", link.to_str().unwrap())]);
        assert!(problems[0].ends_with("it is a link to `/nowhere/at/all`, which does not exist"), "{problems:?}");
        let (_, problems) = get("X", &[("X_FILE", dir.path().to_str().unwrap())]);
        assert!(problems[0].contains("cannot be read: it is a folder"), "{problems:?}");
    }
}
