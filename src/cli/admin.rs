//! What the commands share that use the admin API: the address of the service, selections, paging and `--watch`.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub(super) use super::view::moment;
use super::{
    client,
    client::Client,
    output::{Output, complain, plain_or_empty, print, print_whole},
    tables::{Shown, csv, shown},
    view::{Form, print_long, view},
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
    /// The address of the admin API: a URL, or HOST:PORT [default: `RELAY_ADMIN_URL`, else the address in this
    /// configuration]
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
    /// List everything, page after page
    #[arg(long, conflicts_with_all = ["limit", "cursor"])]
    all: bool,
}

/// Whether to repeat a list.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Repeat the list every 2 seconds, until interrupted
    #[arg(long)]
    pub(super) watch: bool,
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
    #[command(flatten)]
    period: Period,
}

/// From when until when.
#[derive(Debug, Clone, Args)]
pub(super) struct Period {
    /// Only from this time on: how long ago (30m, 2h, 7d), a date, a date with a time, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) until: Option<String>,
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
            ("since", self.period.since),
            ("until", self.period.until),
        ]
    }
}

pub(super) type Query = Vec<(&'static str, String)>;

/// The parameters that are set, with those of paging.
pub(super) fn query(parameters: impl IntoIterator<Item = (&'static str, Option<String>)>, paging: Paging) -> Query {
    let mut query: Query =
        parameters.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    let limit = if paging.all { 500 } else { paging.limit };
    query.push(("limit", limit.to_string()));
    query.extend(paging.cursor.map(|cursor| ("cursor", cursor)));
    if paging.all {
        query.push((ALL, "true".to_owned()));
    }
    query
}

/// The mark of a query whose pages are all fetched; it is not sent.
const ALL: &str = "";

/// Fetches a page of a list, or with `--all` every page, as one answer. A person who waits is told how far it is.
///
/// # Errors
/// As for [`Client::get`].
pub(super) async fn fetch(client: &Client, path: &str, query: &Query) -> anyhow::Result<Value> {
    if !query.iter().any(|(name, _)| *name == ALL) {
        return client.get(path, query).await;
    }
    let plain: Query = query.iter().filter(|(name, _)| *name != ALL).cloned().collect();
    let (mut rows, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    let is_watched = std::io::stderr().is_terminal();
    loop {
        let mut query = plain.clone();
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let mut page = client.get(path, &query).await?;
        if let Some(data) = page["data"].as_array_mut() {
            rows.append(data);
        }
        let Some(next) = page["next_cursor"].as_str().map(str::to_owned) else { break };
        cursor = Some(next);
        if is_watched {
            // One line that is written over (ECMA-48, EL).
            eprogress(&format!("\r{} rows …\u{1b}[K", rows.len()));
        }
    }
    if is_watched {
        eprogress("\r\u{1b}[K");
    }
    Ok(serde_json::json!({"data": rows, "next_cursor": null}))
}

/// Prints a whole list row by row where that is possible: with `--all` as `jsonl` or `csv`. It needs the memory of one page,
/// whatever the length of the list. False if nothing was printed, since the answer has to be known as a whole.
///
/// # Errors
/// As for [`Client::get`] and [`print`].
pub(super) async fn streamed<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    query: &Query,
    head: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<bool> {
    let is_csv = match view().form {
        Form::Csv => true,
        Form::Jsonl => false,
        Form::Table | Form::Json => return Ok(false),
    };
    if !query.iter().any(|(name, _)| *name == ALL) {
        return Ok(false);
    }
    let is_watched = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
    let plain: Query = query.iter().filter(|(name, _)| *name != ALL).cloned().collect();
    if is_csv {
        let titles: Vec<String> = head.iter().map(|title| (*title).to_owned()).collect();
        print_whole(&csv([titles.as_slice()]))?;
    }
    let (mut cursor, mut count): (Option<String>, usize) = (None, 0);
    loop {
        let mut query = plain.clone();
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = client.get(path, &query).await?;
        let Rows { data, next_cursor, .. } = read::<Rows<Value>>(&page)?;
        count += data.len();
        let text = if is_csv {
            let rows: Vec<Vec<String>> =
                data.iter().map(|value| Ok(row(&read(value)?))).collect::<anyhow::Result<_>>()?;
            csv(rows.iter().map(Vec::as_slice))
        } else {
            data.iter().fold(String::new(), |text, row| text + &row.to_string() + "\n")
        };
        print_whole(&text)?;
        let Some(next) = next_cursor else { break };
        cursor = Some(next);
        if is_watched {
            eprogress(&format!("\r{count} rows …\u{1b}[K"));
        }
    }
    if is_watched {
        eprogress("\r\u{1b}[K");
    }
    Ok(true)
}

/// Writes to standard error without ending the line.
fn eprogress(text: &str) {
    use std::io::Write as _;
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
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
    match view().form {
        Form::Json => return output.say(answer, ""),
        Form::Jsonl => {
            for row in answer["data"].as_array().into_iter().flatten() {
                print(&row.to_string())?;
            }
        }
        Form::Table | Form::Csv if output.json && view().form != Form::Csv => return output.say(answer, ""),
        Form::Table | Form::Csv => {
            let Rows { data, .. } = read::<Rows<T>>(answer)?;
            let rows: Vec<_> = data.iter().map(row).collect();
            if view().form == Form::Csv {
                let head: Vec<String> = head.iter().map(|title| (*title).to_owned()).collect();
                print_whole(&csv(std::iter::once(head.as_slice()).chain(rows.iter().map(Vec::as_slice))))?;
            } else if rows.is_empty() {
                print("Nothing to list.")?;
            } else {
                let Shown { text, left_out } = shown(head, &rows);
                print_long(&text)?;
                if left_out > 0 {
                    let columns = if left_out == 1 { "1 column is" } else { &format!("{left_out} columns are") };
                    complain(&format!("{columns} not shown: add --wide"));
                }
            }
        }
    }
    let Rows { next_cursor, searched_until, .. } = read::<Rows<Value>>(answer)?;
    if let Some(cursor) = next_cursor {
        complain(&match searched_until {
            None => format!("There are more: add --cursor {cursor}, or --all"),
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
