//! What the commands share that use the admin API: the address of the service, selections, paging and `--watch`.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    client,
    output::{Output, complain, plain_or_empty, print, table},
};
use crate::model::{
    clock,
    dispatch::{State, UnknownWord},
    money::Cents,
};

/// The interval of `--watch`.
const WATCH: Duration = Duration::from_secs(2);

/// The address of the service.
#[derive(Debug, Args)]
pub(super) struct Service {
    /// The URL of the admin API [default: the address in this configuration]
    #[arg(long, value_name = "URL", value_parser = client::address)]
    pub(super) admin_url: Option<String>,
}

impl Service {
    /// The URL, if the operator has given one.
    pub(super) fn url(&self) -> Option<&str> {
        self.admin_url.as_deref()
    }
}

/// The size and the place of a page.
#[derive(Debug, Args)]
pub(super) struct Paging {
    /// The most rows to list (1 to 500)
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Continue after the previous page, with the cursor that it showed
    #[arg(long)]
    cursor: Option<String>,
}

/// Whether to repeat a list.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Repeat the list every 2 seconds, until interrupted
    #[arg(long)]
    watch: bool,
}

impl Watch {
    /// Fetches and shows an answer, once or repeatedly. Only a failure of the first fetch ends the command: a service that
    /// restarts will be back.
    pub(super) async fn show(
        &self,
        output: Output,
        fetch: impl AsyncFn() -> anyhow::Result<Value>,
        show: impl Fn(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let clear = std::io::stdout().is_terminal();
        show(&fetch().await?)?;
        if !self.watch {
            return Ok(());
        }
        loop {
            tokio::time::sleep(WATCH).await;
            match fetch().await {
                Ok(answer) => {
                    if !output.json {
                        // Clears the screen (ECMA-48, CUP and ED); in a file, a line with the time separates the lists.
                        print(&if clear {
                            "\u{1b}[H\u{1b}[2J".to_owned()
                        } else {
                            format!("\n--- {:.0}", clock::now())
                        })?;
                    }
                    show(&answer)?;
                }
                Err(error) => complain(&format!("error: {error:#}")),
            }
        }
    }
}

/// Which events to select.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Only events of this type
    #[arg(long)]
    r#type: Option<String>,
    /// Only events of this endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// Only events of this invoice, by its id at Finkare
    #[arg(long)]
    invoice_id: Option<String>,
    /// Only events received at this time (RFC 3339) or later
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Only events received before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
}

/// Checks a time, which is passed on to the admin API unchanged.
pub(super) fn moment(text: &str) -> Result<String, String> {
    match text.parse::<Timestamp>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("it must be a time like 2026-03-15T10:30:00Z (RFC 3339)".to_owned()),
    }
}

/// Parses the state of a dispatch.
pub(super) fn state(text: &str) -> Result<State, UnknownWord> {
    text.parse()
}

impl Selection {
    /// The values with the names of the admin API's parameters.
    pub(super) fn named(self) -> [(&'static str, Option<String>); 5] {
        [
            ("type", self.r#type),
            ("endpoint", self.endpoint),
            ("invoice_id", self.invoice_id),
            ("since", self.since),
            ("until", self.until),
        ]
    }
}

pub(super) type Query = Vec<(&'static str, String)>;

/// The parameters that are set, with those of paging.
pub(super) fn query(parameters: impl IntoIterator<Item = (&'static str, Option<String>)>, paging: Paging) -> Query {
    let mut query: Query =
        parameters.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    query.push(("limit", paging.limit.to_string()));
    query.extend(paging.cursor.map(|cursor| ("cursor", cursor)));
    query
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Rows<T> {
    pub(super) data: Vec<T>,
    pub(super) next_cursor: Option<String>,
    searched_until: Option<String>,
}

/// Reads an answer of the admin API.
///
/// # Errors
/// If the answer has another shape, for example because the service has another version.
pub(super) fn read<T: DeserializeOwned>(answer: &Value) -> anyhow::Result<T> {
    T::deserialize(answer)
        .context("the admin API's answer cannot be read: do this command and the service have the same version?")
}

/// Prints a page of a list, and how to get the next page. With `--json` the answer is passed on unchanged.
pub(super) fn list<T: DeserializeOwned>(
    answer: &Value,
    output: Output,
    head: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    if output.json {
        return output.say(answer, "");
    }
    let Rows { data, next_cursor, searched_until } = read::<Rows<T>>(answer)?;
    let rows: Vec<_> = data.iter().map(row).collect();
    print(&if rows.is_empty() { "Nothing to list.".to_owned() } else { table(head, &rows) })?;
    if let Some(cursor) = next_cursor {
        complain(&match searched_until {
            None => format!("There are more: add --cursor {cursor}"),
            Some(until) => format!("Searched back to {until}, not further: to go on, add --cursor {cursor}"),
        });
    }
    Ok(())
}

/// An amount with its currency, as far as they are known: `1500.00 EUR`.
pub(super) fn amount(cents: Option<i64>, currency: Option<&str>) -> String {
    cents.map(|cents| Cents(cents).of(&plain_or_empty(currency)).trim_end().to_owned()).unwrap_or_default()
}

/// A cell of a list, with a mark if a part of the stored row could not be read.
pub(super) fn damaged(cell: String, fault: Option<&str>) -> String {
    if fault.is_some() { format!("{cell} (damaged row, see `show`)") } else { cell }
}

/// An id as typed, encoded for a path.
pub(super) fn path_segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// A JSON object of the values that are present.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Option<String>)>) -> Map<String, Value> {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    there.collect()
}
