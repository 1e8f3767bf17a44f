//! `status`: the service on one screen, and what to do where something needs a person.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::Args;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::{
    Failure,
    admin::{Service, amount, read},
    client::{Client, NotThere},
    output::{Output, cell, counted, plain, second, second_or_empty},
    tables::{table, wrapped},
    view::view,
};
use crate::{
    config::Config,
    model::{dispatch::State, reconciliation::ReportState},
    web::admin::{
        reconciliations::ReconciliationRow,
        sinks::{SinkRow, SinkState},
        waiting::{WaitingList, WaitingRow},
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  finkare-relay status\n  finkare-relay status --json\n  finkare-relay status --admin-url 127.0.0.1:8081"
)]
pub(super) struct Options {
    #[command(flatten)]
    service: Service,
}

/// `status`: false if something needs a person.
pub(super) async fn run(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    let client = Client::new(config, options.service.url())?;
    let sinks = match client.get("/sinks", &[]).await {
        Ok(sinks) => sinks,
        Err(error) if error.downcast_ref::<NotThere>().is_some() => {
            output.say(&json!({"up": false}), "down: nothing answers at the admin API's address")?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let endpoints = client.get("/endpoints", &[]).await?;
    let waiting = client.get("/waiting", &[]).await?;
    let reconciliations = client.get("/reconciliations", &[("limit", "500".to_owned())]).await?;
    let reconciliations = last(read(&reconciliations["data"])?);
    let silent = client.silent_endpoints().await?;
    let mut to_do = to_do(&read_rows(&sinks)?, &endpoints, &read(&waiting)?, &silent);
    to_do.extend(reconciliations.iter().filter_map(differing));
    let answer = json!({
        "up": true, "needs_a_person": !to_do.is_empty(), "to_do": to_do, "endpoints": endpoints["data"],
        "sinks": sinks["data"], "waiting": waiting["data"], "silent": silent, "reconciliations": reconciliations,
    });
    output.say(&answer, &text(&read_rows(&sinks)?, &endpoints, &read(&waiting)?, &silent, &reconciliations, &to_do))?;
    Ok(to_do.is_empty())
}

fn read_rows(answer: &Value) -> anyhow::Result<Vec<SinkRow>> {
    read(&answer["data"])
}

/// What needs a person, each with what to do.
fn to_do(sinks: &[SinkRow], endpoints: &Value, waiting: &WaitingList, silent: &[String]) -> Vec<String> {
    let mut list = Vec::new();
    let mut stopped: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for WaitingRow { state, sink, count, .. } in &waiting.data {
        *stopped.entry((sink, state.as_str())).or_default() += *count;
    }
    for ((sink, state), count) in stopped {
        let events = counted(count, "event", "events");
        let what = if state == State::Dead.as_str() { "given up" } else { "held" };
        list.push(format!("{events} {what} for {sink}: finkare-relay dispatches list --sink {sink} --state {state}"));
    }
    for sink in sinks {
        let name = plain(&sink.name);
        match sink.state {
            SinkState::Paused => list.push(format!("sink {name} is paused: finkare-relay sinks resume {name}")),
            SinkState::Tripped => list.push(format!("sink {name} keeps failing: finkare-relay sinks test {name}")),
            SinkState::NotConfigured if sink.backlog > 0 => {
                list.push(format!(
                    "sink {name} is not configured, and events wait for it: configure it, or cancel them"
                ));
            }
            SinkState::NotConfigured | SinkState::Active => {}
        }
    }
    for name in silent {
        list.push(format!("endpoint {name} is silent: is its webhook enabled at Finkare, and does its URL lead here?"));
    }
    for endpoint in endpoints["data"].as_array().into_iter().flatten() {
        let name = cell(&endpoint["name"]);
        let attention: Vec<_> = endpoint["attention"].as_array().into_iter().flatten().collect();
        if attention.is_empty() && endpoint["state"] == "unknown" {
            list.push(format!(
                "endpoint {name}: it is not known which secret Finkare signs with: finkare-relay endpoints list"
            ));
        }
        list.extend(attention.into_iter().map(|what| format!("endpoint {name}: {}", cell(what))));
        if endpoint["secrets"] == 0 {
            list.push(format!(
                "endpoint {name} has no secret and refuses every delivery: finkare-relay register --endpoint {name}"
            ));
        }
    }
    list
}

/// The last reconciliation of each endpoint that is done; the list is newest first.
fn last(rows: Vec<ReconciliationRow>) -> Vec<ReconciliationRow> {
    let mut last: Vec<ReconciliationRow> = Vec::new();
    for row in rows {
        if row.state == ReportState::Done && last.iter().all(|other| other.endpoint != row.endpoint) {
            last.push(row);
        }
    }
    last.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
    last
}

/// What to do about the differences of a reconciliation.
fn differing(row: &ReconciliationRow) -> Option<String> {
    let count: u64 = row.counts.values().sum();
    let differences = counted(count, "difference", "differences");
    let (name, id) = (plain(&row.endpoint), row.id);
    (count > 0).then(|| format!("{differences} from Finkare at endpoint {name}: finkare-relay reconcile --show {id}"))
}

fn text(
    sinks: &[SinkRow],
    endpoints: &Value,
    waiting: &WaitingList,
    silent: &[String],
    reconciliations: &[ReconciliationRow],
    to_do: &[String],
) -> String {
    let mut text = String::from("up\n\n");
    let rows: Vec<Vec<String>> = endpoints["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|endpoint| {
            let name = cell(&endpoint["name"]);
            let last = super::output::time(&endpoint["last_delivery_at"]);
            let state = if silent.contains(&name) { "silent".to_owned() } else { cell(&endpoint["state"]) };
            vec![name, if last.is_empty() { "never".to_owned() } else { last }, state]
        })
        .collect();
    let _ = writeln!(text, "{}\n", table(&["ENDPOINT", "LAST DELIVERY (UTC)", "STATE"], &rows));
    let rows: Vec<Vec<String>> = sinks
        .iter()
        .map(|sink| {
            vec![
                plain(&sink.name),
                sink.state.as_str().replace('_', " "),
                sink.backlog.to_string(),
                sink.held.to_string(),
                sink.dead.to_string(),
                second_or_empty(sink.last_success),
            ]
        })
        .collect();
    let _ = writeln!(text, "{}", table(&["SINK", "STATE", "BACKLOG", "HELD", "DEAD", "LAST SUCCESS (UTC)"], &rows));
    if !reconciliations.is_empty() {
        let rows: Vec<Vec<String>> = reconciliations
            .iter()
            .map(|row| {
                vec![
                    plain(&row.endpoint),
                    second_or_empty(row.finished_at),
                    format!("{} to {}", row.since, row.until),
                    row.counts.values().sum::<u64>().to_string(),
                ]
            })
            .collect();
        let head = ["RECONCILED", "LAST (UTC)", "DAYS", "DIFFERENCES"];
        let _ = writeln!(text, "\n{}", table(&head, &rows));
    }
    if !waiting.data.is_empty() {
        let rows: Vec<Vec<String>> = waiting
            .data
            .iter()
            .map(|row| {
                vec![
                    row.count.to_string(),
                    row.state.to_string(),
                    plain(&row.sink),
                    amount(row.amount_cents, row.currency.as_deref()),
                    second(row.oldest),
                    plain(&row.reason),
                ]
            })
            .collect();
        let _ = writeln!(text, "\n{}", table(&["COUNT", "STATE", "SINK", "AMOUNT", "SINCE (UTC)", "REASON"], &rows));
        if !waiting.complete {
            text.push_str("(the newest 20,000 alone)\n");
        }
    }
    if to_do.is_empty() {
        text.push_str("\nNothing needs a person.");
    } else {
        text.push_str("\nTo do:");
        for line in to_do {
            let _ = write!(text, "\n{}", shown(&plain(line)));
        }
    }
    text
}

/// A line of the list as it fits the screen. A command stays in one piece, for it is copied.
fn shown(line: &str) -> String {
    let Some(width) = view().width.filter(|width| line.width() + 2 > *width) else { return format!("- {line}") };
    match line.rsplit_once(": finkare-relay ") {
        Some((what, command)) => {
            format!("{}\n    finkare-relay {command}", wrapped(&format!("{what}:"), width, "- ", "  "))
        }
        None => wrapped(line, width, "- ", "  "),
    }
}
