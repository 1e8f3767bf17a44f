//! `config`: what can be configured.

use clap::Subcommand;

use super::{Failure, output};
use crate::config;

#[derive(Debug, Subcommand)]
pub(super) enum Configuration {
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Print the page of all options, in Markdown
    Page,
}

/// `config`. Reads no configuration: it works where a file is broken.
pub(super) fn run(command: &Configuration) -> Result<bool, Failure> {
    let text = match command {
        Configuration::Schema => config::schema(),
        Configuration::Page => config::page(),
    };
    // The text ends in a line break, as a file does.
    output::print(text.trim_end_matches('\n'))?;
    Ok(true)
}
