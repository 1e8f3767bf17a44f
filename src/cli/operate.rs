//! `events replay`, `dispatches retry` and `cancel`, `sinks test`, `erase`: decisions from a terminal.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value};

use super::{
    Failure,
    client::Client,
    manage::{Selection, Service, dispatch_text, path_segment, whole_dispatch_text},
    output::{Output, cell},
};
use crate::config::Config;

/// Which events to send again, and where.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// One event's id; or say which by the options below
    #[arg(conflicts_with_all = ["type", "endpoint", "invoice_id", "since", "until", "all", "dry_run"])]
    id: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Every event that is stored
    #[arg(long)]
    all: bool,
    /// To this sink, whatever it asked for; may be repeated [default: those whose route takes the event]
    #[arg(long = "sink", value_name = "NAME")]
    sinks: Vec<String>,
    /// Only count, write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    service: Service,
}

/// One dispatch, or which.
#[derive(Debug, Args)]
pub(super) struct Choice {
    /// One dispatch's number; or say which by the options below
    #[arg(conflicts_with_all = ["sink", "state", "invoice_id"], required_unless_present_any = ["sink", "state"])]
    id: Option<String>,
    /// All of this sink
    #[arg(long)]
    sink: Option<String>,
    /// All in this state: dead, held or pending (a retry without it means dead and held)
    #[arg(long)]
    state: Option<String>,
    /// Of those, only of this invoice
    #[arg(long)]
    invoice_id: Option<String>,
    #[command(flatten)]
    service: Service,
}

/// Which invoice to erase.
#[derive(Debug, Args)]
pub(super) struct Erase {
    /// The invoice's id at Finkare (`data.invoiceId`)
    #[arg(long, value_name = "ID")]
    invoice: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    service: Service,
}

/// An object of what is there.
fn object<'a>(members: impl IntoIterator<Item = (&'a str, Option<String>)>) -> Map<String, Value> {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    there.collect()
}

/// `events replay`
pub(super) async fn replay(config: Config, options: Replay, output: Output) -> Result<bool, Failure> {
    let Replay { id, selection, all, sinks, dry_run, service } = options;
    let client = Client::new(config, service.admin_url.as_deref())?;
    let sinks = (!sinks.is_empty()).then(|| ("sinks".to_owned(), Value::from(sinks)));
    if let Some(id) = id {
        let body = Value::Object(sinks.into_iter().collect());
        let answer = client.decide(&format!("/events/{}/replay", path_segment(&id)), &body).await?;
        let rows = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut text = String::new();
        for dispatch in rows {
            let _ = writeln!(text, "{}", dispatch_text(dispatch));
        }
        if rows.is_empty() {
            text.push_str("No configured sink takes this event: see why with `try`, or name one with --sink.");
        }
        output.say(&answer, text.trim_end());
        return Ok(true);
    }
    let mut body = object(selection.named());
    if body.is_empty() && !all {
        let hint =
            "say which events: an id, --type, --endpoint, --invoice-id, --since, --until, or --all for every one";
        return Err(anyhow::anyhow!(hint).into());
    }
    body.extend(sinks);
    body.extend(all.then(|| ("all".to_owned(), true.into())));
    body.insert("dry_run".to_owned(), dry_run.into());
    let answer = client.decide("/events/replay", &body.into()).await?;
    let (events, dispatches) = (cell(&answer["events"]), cell(&answer["dispatches"]));
    let mut text = if dry_run {
        format!("{events} events would give {dispatches} dispatches; nothing was written.")
    } else {
        format!("{events} events were replayed by {dispatches} dispatches.")
    };
    if answer["skipped"] != 0 {
        let _ = write!(text, " {} have no payload any more and are skipped.", cell(&answer["skipped"]));
    }
    output.say(&answer, &text);
    Ok(true)
}

/// `dispatches retry`, `dispatches cancel`
pub(super) async fn decide(config: Config, choice: Choice, verb: &str, output: Output) -> Result<bool, Failure> {
    let Choice { id, sink, state, invoice_id, service } = choice;
    let client = Client::new(config, service.admin_url.as_deref())?;
    if let Some(id) = id {
        let dispatch = client.post(&format!("/dispatches/{}/{verb}", path_segment(&id))).await?;
        output.say(&dispatch, &whole_dispatch_text(&dispatch));
        return Ok(true);
    }
    let body = object([("sink", sink), ("state", state), ("invoice_id", invoice_id)]);
    let answer = client.decide(&format!("/dispatches/{verb}"), &body.into()).await?;
    let mut text = match (&answer["retried"], &answer["cancelled"]) {
        (Value::Null, cancelled) => format!("{} dispatches were cancelled.", cell(cancelled)),
        // What waits for its sink is not tried yet.
        (retried, _) if answer["note"].is_string() => format!("{} dispatches are due again.", cell(retried)),
        (retried, _) => format!("{} dispatches are tried again.", cell(retried)),
    };
    if answer["more"] == true {
        text.push_str(" There are more: run the same again.");
    }
    if answer["note"].is_string() {
        let _ = write!(text, " {}", cell(&answer["note"]));
    }
    output.say(&answer, &text);
    Ok(true)
}

/// `sinks test`: exit 0 only if the sink took the event.
pub(super) async fn test(config: Config, name: &str, service: &Service, output: Output) -> Result<bool, Failure> {
    let client = Client::new(config, service.admin_url.as_deref())?;
    // As long as a sink's time-out may be.
    let answer = client.decide(&format!("/sinks/{}/test", path_segment(name)), &Value::Object(Map::new())).await?;
    let mut text = format!(
        "The sink {} answered a test event with `{}` after {:.1} ms.",
        cell(&answer["sink"]),
        cell(&answer["outcome"]),
        answer["duration_ms"].as_f64().unwrap_or_default()
    );
    if answer["reason"].is_string() {
        let _ = write!(text, "\n  {}", cell(&answer["reason"]));
    }
    if answer["note"].is_string() {
        let _ = write!(text, "\n{}", cell(&answer["note"]));
    }
    output.say(&answer, &text);
    Ok(answer["outcome"] == "delivered")
}

/// `erase`
pub(super) async fn erase(config: Config, options: Erase, output: Output) -> Result<bool, Failure> {
    if !options.yes && !confirmed(&options.invoice)? {
        eprintln!("Nothing was erased.");
        return Ok(false);
    }
    let client = Client::new(config, options.service.admin_url.as_deref())?;
    let path = format!("/invoices/{}/erase", path_segment(&options.invoice));
    let answer = client.decide(&path, &Value::Object(Map::new())).await?;
    let text = format!(
        "The payloads of {} of {} events are removed, {} dispatches are cancelled.",
        cell(&answer["payloads"]),
        cell(&answer["events"]),
        cell(&answer["cancelled"])
    );
    output.say(&answer, &text);
    Ok(true)
}

/// Asks on a terminal.
fn confirmed(invoice: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("erasing cannot be undone and nobody can be asked here: add --yes");
    }
    let invoice = cell(&Value::from(invoice));
    eprint!("Remove the payloads of invoice {invoice} for good, and cancel what is not yet delivered? [y/N] ");
    io::stderr().flush().context("the terminal cannot be written to")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("the terminal cannot be read")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
