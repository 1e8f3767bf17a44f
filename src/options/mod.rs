//! Reading what an operator wrote, without knowing what it is about.
//!
//! - `section`: the file, table by table; the reader of a table takes its keys from it.
//! - `section::key`: one key that is about to be read: what it is for, what it may be, what it is by default.
//! - `description`: what was said of the keys while they were read. The page of all options, the JSON Schema, and what a
//!   syntax error may show are made of it.
//! - `header`: a secret that a header can hold.
//! - `env`: environment variables, and files that hold one value.
//! - `problem`: what is wrong, collected while reading goes on, so that one run names all of it.
//! - `syntax`: a file that is no TOML, explained without repeating a secret.
//! - `written`: which options were written, so that two configurations can be compared.
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

/// Reads a text of TOML that stands alone, without the environment's variables for its keys.
///
/// # Errors
/// Everything that is wrong with it.
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
