//! Reading what an operator wrote, without knowing what it is about.
//!
//! - `section`: the file, table by table and key by key; whoever knows a table takes its keys from it.
//! - `env`: environment variables, and files that hold one value.
//! - `problem`: what is wrong, collected while reading goes on, so that one run names all of it.
//! - `syntax`: a file that is no TOML, explained without showing a secret.
//! - `written`: which options were written, so that two configurations can be compared.
//!
//! Nothing here knows the name of an option: who owns an option reads and checks it.

pub mod env;
pub(crate) mod problem;
pub(crate) mod section;
pub(crate) mod syntax;
mod written;

pub use problem::{Problem, Problems};
pub use written::Written;
