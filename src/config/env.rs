//! The environment: every variable that the service knows, and how a variable is read.

use std::{cell::RefCell, collections::BTreeSet, path::Path};

use super::problem::{Place, Problems, Report};

/// One environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name. The name with `_FILE` appended names a file that holds the value.
    pub name: &'static str,
    /// What applies without it, in words.
    pub default: &'static str,
    /// What it sets.
    pub meaning: &'static str,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable, for `--help` and the README. An empty variable counts as one that is not set.
///
/// `RELAY_LOG_FORMAT` and `RUST_LOG` are read where logging is set up, those of traces (the OpenTelemetry
/// standard's names) where traces are, `RELAY_NEW_MASTER_KEY` by the command that changes the key, all others
/// by [`load`](super::load).
pub const VARIABLES: [Variable; 20] = [
    variable("RELAY_CONFIG", "`relay.toml` if it exists", "the configuration file (also `--config`)"),
    variable("DATABASE_URL", "`sqlite://data/relay.db`", "the database: `sqlite://…` or `postgres://…`"),
    variable("RELAY_LISTEN", "`127.0.0.1:8080`", "the public listener"),
    variable("RELAY_ADMIN_LISTEN", "`127.0.0.1:8081`", "the admin listener"),
    variable(
        "RELAY_ADMIN_TOKEN",
        "generated on SQLite, kept beside the database",
        "a bearer token of the admin API, with the role `admin`",
    ),
    variable(
        "RELAY_MASTER_KEY",
        "generated on SQLite, kept beside the database; required on Postgres",
        "32 bytes in base64: what the stored webhook secrets are encrypted under",
    ),
    variable("RELAY_NEW_MASTER_KEY", "none", "for `rekey` only: the key that takes the place of `RELAY_MASTER_KEY`"),
    variable(
        "FINKARE_WEBHOOK_SECRET",
        "generated on SQLite where no API key is set either",
        "the webhook's secret (`whsec_…`) of the endpoint `default`, where no `[[endpoints]]` is configured",
    ),
    variable(
        "FINKARE_WEBHOOK_ID",
        "none",
        "the webhook's id at Finkare, of the same endpoint; what `register` stores needs no setting",
    ),
    variable(
        "FINKARE_API_KEY",
        "none",
        "the key (`fk_live_…`, `fk_test_…`) for Finkare's API, of the same endpoint: to register and to rotate",
    ),
    variable("FINKARE_API_URL", "from the key's prefix", "Finkare's API, of the same endpoint"),
    variable("RELAY_SINK_URL", "none", "one HTTP sink `default`, where no `[[sinks]]` is configured"),
    variable("RELAY_SINK_SECRET", "none: nothing is signed", "the secret (`whsec_` + base64) of that sink"),
    variable("RELAY_LOG_FORMAT", "`pretty` on a terminal, else `json`", "how log lines look"),
    variable("RUST_LOG", "`info`", "which log lines are written"),
    variable("OTEL_EXPORTER_OTLP_ENDPOINT", "none: no traces", "the collector that gets traces, by OTLP over HTTP"),
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "`/v1/traces` there", "the whole address for traces instead"),
    variable("OTEL_SERVICE_NAME", "`finkare-relay`", "what the service is called in traces"),
    variable("OTEL_TRACES_SAMPLER", "`always_on`", "which events' traces are exported, such as `traceidratio`"),
    variable("OTEL_TRACES_SAMPLER_ARG", "`1`", "the share of events, from 0 to 1, with `traceidratio`"),
];

/// Reads one variable for those who need it outside of [`load`](super::load): the setting up of logs.
///
/// # Errors
/// As for every other variable: both forms are set, or the file cannot be read or is empty.
pub fn read(name: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, Problems> {
    let report = Report::default();
    let found = Environment::new(lookup).get(name, &report);
    let (problems, ..) = report.into_parts();
    if problems.is_empty() { Ok(found.map(|found| found.value)) } else { Err(Problems::new(None, problems)) }
}

/// A variable's value and where it came from.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) value: String,
    /// The variable: `NAME` or `NAME_FILE`.
    pub(super) place: Place,
}

/// The environment as far as it was asked for.
pub(super) struct Environment<'e> {
    lookup: &'e dyn Fn(&str) -> Option<String>,
    named: RefCell<BTreeSet<String>>,
}

impl<'e> Environment<'e> {
    pub(super) fn new(lookup: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, named: RefCell::default() }
    }

    /// Reads a variable, directly or through the file that `NAME_FILE` names.
    ///
    /// `None` when neither is set, and after a problem, which is reported.
    pub(super) fn get(&self, name: &str, report: &Report) -> Option<Found> {
        self.named.borrow_mut().insert(name.to_owned());
        let name_of_file = format!("{name}_FILE");
        match (self.set(name), self.set(&name_of_file)) {
            (None, None) => None,
            (Some(value), None) => Some(Found { value, place: Place::variable(name) }),
            (None, Some(path)) => {
                let place = Place::variable(&name_of_file);
                match read_value(Path::new(&path)) {
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

    /// True if the variable, in either form, is set although nobody asked for it.
    pub(super) fn is_set_in_vain(&self, name: &str) -> bool {
        !self.named.borrow().contains(name) && self.is_set(name)
    }

    /// True if the variable is set, in either form. Does not count as asking for it.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.set(name).is_some() || self.set(&format!("{name}_FILE")).is_some()
    }

    fn set(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }
}

/// The content of a file that holds one value, without the newline that editors leave at its end.
///
/// # Errors
/// What is wrong with the file, in a sentence. Never what is in it.
pub(super) fn read_value(path: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() { Err(format!("`{}` is empty", path.display())) } else { Ok(value.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(name: &str, variables: &[(&str, &str)]) -> (Option<(String, String)>, Vec<String>) {
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
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
        let only_file = |name: &str| (name == "X_FILE").then(|| path.clone());
        assert_eq!(read("X", &only_file), Ok(Some("json".to_owned())));
        assert_eq!(read("X", &|_| None), Ok(None));
        let both = |_: &str| Some(path.clone());
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
}
