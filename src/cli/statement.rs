//! `statement`: what was recorded of a month's payments in which system, and what is not there yet.

use clap::{Args, ValueEnum};

use super::{
    Failure,
    admin::{Service, read},
    client::Client,
    output::{print, print_whole},
    usage::Usage,
    view::{Form, print_long, view},
};
use crate::{
    config::Config,
    model::language::{Language, UnknownLanguage},
    statement::{Month, NoMonth, Statement, text},
};

/// The form of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For a spreadsheet
    Csv,
    /// For accounting software: the columns of article A47 A-1 of the Livre des procédures fiscales
    Fec,
    /// For programs
    Json,
}

/// Which statement.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The month, such as 2026-10: the payments that were paid in it
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    month: Month,
    /// Only payments of this endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// The form [default: text, or what -o says]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The language of the text and of the spreadsheet: fr or en
    #[arg(long, value_name = "LANGUAGE", default_value = "fr", value_parser = language)]
    language: Language,
    #[command(flatten)]
    service: Service,
}

fn month(text: &str) -> Result<Month, NoMonth> {
    text.parse()
}

fn language(text: &str) -> Result<Language, UnknownLanguage> {
    text.parse()
}

/// `statement`
pub(super) async fn run(config: Config, options: Options) -> Result<bool, Failure> {
    let Options { month, endpoint, sink, format, language, service } = options;
    let asked = match view().form {
        Form::Table => None,
        Form::Csv => Some(Format::Csv),
        Form::Json | Form::Jsonl => Some(Format::Json),
    };
    let format = match (format, asked) {
        (Some(one), Some(other)) if one != other => {
            return Err(Usage::new("--format and -o ask for two different forms: give one of them").into());
        }
        (one, other) => one.or(other).unwrap_or(Format::Text),
    };
    let word = match format {
        Format::Text | Format::Json => "json",
        Format::Csv => "csv",
        Format::Fec => "fec",
    };
    let named = [("endpoint", endpoint), ("sink", sink)];
    let mut query =
        vec![("month", month.to_string()), ("format", word.to_owned()), ("language", language.as_str().to_owned())];
    query.extend(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let client = Client::new(config, service.url())?;
    if matches!(format, Format::Csv | Format::Fec) {
        print_whole(&client.get_text("/statement", &query).await?)?;
        return Ok(true);
    }
    let answer = client.get("/statement", &query).await?;
    if format == Format::Json {
        print(&answer.to_string())?;
    } else {
        let statement: Statement = read(&answer)?;
        print_long(text::text(&statement, language).trim_end())?;
    }
    Ok(true)
}
