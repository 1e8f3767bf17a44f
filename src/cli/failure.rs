//! How a command reports a failure: as text on standard error, with `--json` as a problem document, and by its exit code
//! (docs/decisions/0034-commands-from-anywhere.md).
//!
//! | exit code | when |
//! |---|---|
//! | 1 | the command failed, or the object does not exist |
//! | 2 | the arguments or the configuration are wrong: the same command would fail again |
//! | 130 | Ctrl-C has interrupted an operation on many objects |
//! | 141 | the reader of the output has gone, as for a process that SIGPIPE ended |

use std::{io, process::ExitCode};

use serde_json::{Value, json};

pub(super) use super::usage::Usage;
use super::{
    client::{NotThere, Refused},
    interrupting::Interrupted,
    output::{Unwritten, complain, print},
};
use crate::options::Problems;

/// What the shell shows of a process that wrote into a pipe without a reader: 128 and the number of SIGPIPE.
const NO_READER: u8 = 141;

/// What the shell shows of a process that Ctrl-C ended: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Why a command ended without success.
pub(super) enum Failure {
    /// The configuration is wrong.
    Configuration(Problems),
    /// The running service says that its configuration is wrong.
    Refused {
        /// The text, with every problem.
        text: String,
        /// The service's own document.
        document: Value,
    },
    /// Any other error. Its type decides the exit code.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

impl From<Usage> for Failure {
    fn from(usage: Usage) -> Self {
        Self::Failed(usage.into())
    }
}

/// Reports arguments that clap cannot parse. Help and version are answers, and exit with 0.
pub(super) fn of_arguments(error: &clap::Error, json: bool) -> ExitCode {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A bare group is a question, as the bare command is.
        return match print(error.render().to_string().trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => told(&error.into(), json),
        };
    }
    if !error.use_stderr() || !json {
        // The reader may have gone, which is not an error here.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let text = error.render().to_string();
    let what = text.split("\n\nUsage:").next().unwrap_or(&text);
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let words: Vec<&str> = what.split_whitespace().collect();
    complain(&document("Wrong usage", "bad_usage", &words.join(" ")).to_string());
    ExitCode::from(2)
}

/// Reports the failure, and answers the exit code.
pub(super) fn told(failure: &Failure, json: bool) -> ExitCode {
    let code = match failure {
        Failure::Configuration(_) | Failure::Refused { .. } => 2,
        Failure::Failed(error) if is_unread(error) => return ExitCode::from(NO_READER),
        Failure::Failed(error) => exit_code(error),
    };
    if json {
        complain(&as_json(failure).to_string());
    } else {
        complain(&in_words(failure));
    }
    ExitCode::from(code)
}

fn in_words(failure: &Failure) -> String {
    match failure {
        Failure::Configuration(problems) => problems.to_string(),
        Failure::Refused { text, .. } => format!("error: {text}"),
        // Written by hand, since RUST_BACKTRACE would bury the message.
        Failure::Failed(error) => {
            let causes = error.chain().skip(1).map(|cause| format!("\n  because: {cause}"));
            format!("error: {error}{}", causes.collect::<String>())
        }
    }
}

/// The failure as a problem document (RFC 9457). For an error of the admin API it is the API's own document.
fn as_json(failure: &Failure) -> Value {
    match failure {
        Failure::Configuration(problems) => {
            let heading = problems.to_string();
            let heading = heading.lines().next().unwrap_or_default().trim_end_matches(':').to_owned();
            let mut document = document("Wrong configuration", "bad_configuration", &heading);
            document["problems"] = problems.lines().into();
            document
        }
        Failure::Refused { document, .. } => document.clone(),
        Failure::Failed(error) => {
            if let Some(refused) = error.downcast_ref::<Refused>() {
                return refused.document().clone();
            }
            let (title, code) = if error.downcast_ref::<Usage>().is_some() {
                ("Wrong usage", "bad_usage")
            } else if error.downcast_ref::<NotThere>().is_some() {
                ("Not reachable", "unreachable")
            } else if error.downcast_ref::<Interrupted>().is_some() {
                ("Interrupted", "interrupted")
            } else {
                ("Failed", "failed")
            };
            let mut document = document(title, code, &error.to_string());
            let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
            if !causes.is_empty() {
                document["causes"] = causes.into();
            }
            document
        }
    }
}

fn document(title: &str, code: &str, detail: &str) -> Value {
    json!({"type": "about:blank", "title": title, "detail": detail, "code": code})
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Interrupted>().is_some() {
        return INTERRUPTED;
    }
    let is_usage = error.downcast_ref::<Usage>().is_some()
        || error.downcast_ref::<Refused>().is_some_and(Refused::is_about_the_arguments);
    if is_usage { 2 } else { 1 }
}

/// True if the reader of standard output has gone. Other errors, such as a full disk, are reported.
fn is_unread(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Unwritten>().is_some_and(|Unwritten(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn kinds_of_errors_are_told_apart_through_their_contexts() {
        let usage = || anyhow::Error::from(Usage::new("say which"));
        assert_eq!((exit_code(&usage()), exit_code(&usage().context("more"))), (2, 2));
        assert_eq!(exit_code(&anyhow::anyhow!("it broke")), 1);
        assert_eq!(exit_code(&Interrupted("2 are done".to_owned()).into()), 130);
        let unread = |kind: io::ErrorKind| anyhow::Error::from(Unwritten(io::Error::from(kind)));
        assert!(is_unread(&unread(io::ErrorKind::BrokenPipe)));
        assert!(!is_unread(&unread(io::ErrorKind::StorageFull)));
    }

    #[test]
    fn an_error_is_a_document_for_programs() {
        let error = Err::<(), _>(io::Error::other("no disk")).context("it broke").unwrap_err();
        assert_eq!(
            as_json(&Failure::Failed(error)),
            json!({"type": "about:blank", "title": "Failed", "detail": "it broke", "code": "failed", "causes": ["no disk"]})
        );
        let usage = as_json(&Usage::new("say which").into());
        assert_eq!((&usage["code"], &usage["detail"]), (&json!("bad_usage"), &json!("say which")));
    }
}
