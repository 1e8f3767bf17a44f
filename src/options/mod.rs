//! Reads a configuration without knowing what its options mean.
//!
//! - `section`: the file, table by table; the reader of a table takes its keys from it.
//! - `section::key`: one key that is about to be read: its purpose, its allowed values and its default.
//! - `description`: the descriptions of the keys, collected while they are read. The page of all options, the JSON Schema,
//!   and the rules about what a syntax error may show are generated from them.
//! - `header`: a secret that a header can contain.
//! - `env`: environment variables, and files that contain one value.
//! - `problem`: problems, collected while reading continues, so that one run names all of them.
//! - `syntax`: explains a file that is not TOML, without repeating a secret.
//! - `written`: which options were set, so that two configurations can be compared.
//!
//! Nothing here knows the name of an option: its owner reads, checks and describes it.

pub(crate) mod description;
pub mod env;
pub mod header;
pub(crate) mod problem;
pub(crate) mod section;
pub(crate) mod syntax;
mod written;

pub use problem::{Problem, Problems};
pub use written::Written;

/// Reads a TOML text by itself, without environment variables for its keys.
///
/// # Errors
/// All problems with it.
pub(crate) fn read_alone<T>(text: &str, read: impl FnOnce(section::Section<'_>) -> Option<T>) -> Result<T, Problems> {
    let report = problem::Report::default();
    let environment = env::Environment::new(&env::of_process);
    let file =
        section::File::parse(text, syntax::Names::default).map_err(|problem| Problems::new(None, vec![problem]))?;
    let read = read(file.root(&report, &environment));
    let (problems, ..) = report.into_parts();
    match read {
        Some(read) if problems.is_empty() => Ok(read),
        _ => Err(Problems::new(None, problems)),
    }
}
