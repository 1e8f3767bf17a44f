//! `events`: looking at events, and sending them again.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Failure,
    admin::{Paging, Selection, Service, Watch, amount, damaged, list, object, path_segment, query},
    client::Client,
    confirm::{Sure, ask},
    dispatches::dispatch_text,
    failure::Usage,
    output::{Output, cell, complain, time},
};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// List events, newest first
    List {
        #[command(flatten)]
        selection: Selection,
        /// Only events whose payload holds this text, or whose payment has this invoice number (or a part of it), this amount
        /// (1500.00) or this id
        #[arg(long, value_name = "TEXT")]
        q: Option<String>,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        service: Service,
    },
    /// Show one event with its payload, its dispatches and their attempts
    Show {
        /// The event's id
        id: String,
        #[command(flatten)]
        service: Service,
    },
    /// Send an event again, or a selection: the same id, the same bytes
    Replay(Replay),
}

/// Which events to send again, and where.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// One event's id; or say which by the options below
    #[arg(conflicts_with_all = ["type", "endpoint", "invoice_id", "since", "until", "all"])]
    id: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Every event that is stored
    #[arg(long, conflicts_with_all = ["type", "endpoint", "invoice_id", "since", "until"])]
    all: bool,
    /// To this sink, whatever it asked for; may be repeated [default: those whose route takes the event]
    #[arg(long = "sink", value_name = "NAME")]
    sinks: Vec<String>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// `events …`
pub(super) async fn run(config: Config, command: Events, output: Output) -> Result<bool, Failure> {
    match command {
        Events::List { selection, q, paging, watch, service } => {
            let filters = selection.named().into_iter().chain([("q", q)]);
            let client = Client::new(config, service.admin_url.as_deref())?;
            let query = query(filters, paging);
            let head = ["ID", "RECEIVED (UTC)", "TYPE", "INVOICE", "NUMBER", "AMOUNT", "DELIVERIES", "ENDPOINT"];
            let row = |event: &Value| {
                vec![
                    cell(&event["id"]),
                    time(&event["received_at"]),
                    damaged(cell(&event["type"]), event),
                    cell(&event["invoice_id"]),
                    cell(&event["invoice_number"]),
                    amount(event),
                    cell(&event["deliveries"]),
                    cell(&event["endpoint"]),
                ]
            };
            watch
                .show(output, async || client.get("/events", &query).await, |answer| list(answer, output, &head, row))
                .await?;
        }
        Events::Show { id, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let event = client.get(&format!("/events/{}", path_segment(&id)), &[]).await?;
            output.say(&event, &event_text(&event))?;
        }
        Events::Replay(options) => return replay(config, options, output).await,
    }
    Ok(true)
}

fn event_text(event: &Value) -> String {
    let mut text = String::new();
    for (label, value) in [
        ("event", cell(&event["id"])),
        ("type", cell(&event["type"])),
        ("endpoint", cell(&event["endpoint"])),
        ("invoice", cell(&event["invoice_id"])),
        ("number", cell(&event["invoice_number"])),
        ("payment", cell(&event["payment_id"])),
        ("amount", amount(event)),
        ("occurred", cell(&event["occurred_at"])),
        ("received", cell(&event["received_at"])),
        ("deliveries", cell(&event["deliveries"])),
    ] {
        // Only what concerns payments may be unknown without a word.
        if !value.is_empty() || !matches!(label, "number" | "payment" | "amount") {
            let _ = writeln!(text, "{label:<11} {value}");
        }
    }
    if event["readable"] == Value::Bool(false) {
        text.push_str("            signed correctly, but not readable: a person has to look at it\n");
    }
    if event["fault"].is_string() {
        let _ = writeln!(text, "            the stored row is damaged: {}", cell(&event["fault"]));
    }
    let payload = match (&event["payload"], &event["payload_base64"]) {
        (Value::Null, Value::String(base64)) => format!("(base64) {base64}"),
        (Value::Null, _) => "(purged)".to_owned(),
        (Value::String(plain), _) => cell(&Value::from(plain.as_str())),
        (json, _) => serde_json::to_string_pretty(json).unwrap_or_default(),
    };
    let _ = write!(text, "payload\n{payload}");
    for dispatch in event["dispatches"].as_array().into_iter().flatten() {
        let _ = write!(text, "\n\n{}", dispatch_text(dispatch));
    }
    text
}

/// `events replay`
async fn replay(config: Config, options: Replay, output: Output) -> Result<bool, Failure> {
    let Replay { id, selection, all, sinks, sure, service } = options;
    let sinks = (!sinks.is_empty()).then(|| ("sinks".to_owned(), Value::from(sinks)));
    if let Some(id) = id {
        if sure.dry_run {
            let hint = "--dry-run counts a selection (--type, --endpoint, --invoice-id, --since, --until, --all): what one event \
                        would give is shown by `finkare-relay try --sink NAME --event ID`";
            return Err(Usage::new(hint).into());
        }
        let client = Client::new(config, service.url())?;
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
        output.say(&answer, text.trim_end())?;
        return Ok(true);
    }
    let mut body = object(selection.named());
    if body.is_empty() && !all {
        let hint =
            "say which events: an id, --type, --endpoint, --invoice-id, --since, --until, or --all for every one";
        return Err(Usage::new(hint).into());
    }
    // A selection is bounded by what it says, and asked about only where somebody can be asked.
    let wants_preview =
        if all { sure.wants_preview("Every event would be sent again")? } else { sure.dry_run || sure.can_be_asked() };
    let client = Client::new(config, service.url())?;
    body.extend(sinks);
    body.extend(all.then(|| ("all".to_owned(), true.into())));
    let mut body = Value::Object(body);
    if wants_preview {
        body["dry_run"] = true.into();
        let preview = client.decide("/events/replay", &body).await?;
        let would = replay_text(&preview, "would give");
        if sure.dry_run {
            output.say(&preview, &would.replacen("dispatches.", "dispatches; nothing was written.", 1))?;
            return Ok(true);
        }
        let is_more_than_one = preview["dispatches"].as_u64().unwrap_or_default() > 1 || preview["foreign"].is_number();
        if is_more_than_one && !ask(&format!("{would}\nSend them again?"))? {
            complain("Nothing was replayed.");
            return Ok(false);
        }
    }
    body["dry_run"] = false.into();
    let answer = client.decide("/events/replay", &body).await?;
    output.say(&answer, &replay_text(&answer, "were replayed by"))?;
    Ok(true)
}

fn replay_text(answer: &Value, verb: &str) -> String {
    let mut text = format!("{} events {verb} {} dispatches.", cell(&answer["events"]), cell(&answer["dispatches"]));
    if answer["skipped"] != 0 {
        let _ = write!(text, " {} have no payload any more and are skipped.", cell(&answer["skipped"]));
    }
    if answer["foreign"].is_number() {
        let _ = write!(
            text,
            "\nwarning: {} of these dispatches go to a sink whose `endpoints` do not include the event's endpoint, such as \
             another company's",
            cell(&answer["foreign"])
        );
    }
    text
}
