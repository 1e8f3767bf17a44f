//! `events`, `dispatches`, `sinks`: the admin API from a terminal.

use std::{fmt::Write as _, io::IsTerminal as _, time::Duration};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Failure,
    client::{self, Client},
    operate,
    output::{Output, cell, complain, print, table, time},
};
use crate::{
    config::Config,
    model::{
        clock,
        dispatch::{State, UnknownWord},
        money::Cents,
    },
};

/// The pace of `--watch`.
const WATCH: Duration = Duration::from_secs(2);

/// Where the service is.
#[derive(Debug, Args)]
pub(super) struct Service {
    /// The admin API [default: where this configuration has it]
    #[arg(long, value_name = "URL", value_parser = client::address)]
    pub(super) admin_url: Option<String>,
}

impl Service {
    /// Where, if the operator said so.
    pub(super) fn url(&self) -> Option<&str> {
        self.admin_url.as_deref()
    }
}

/// How much to list.
#[derive(Debug, Args)]
pub(super) struct Paging {
    /// At most so many rows (1 to 500)
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Where the last list ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Whether to look again and again.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Look again every 2 seconds, until interrupted
    #[arg(long)]
    watch: bool,
}

impl Watch {
    /// Shows what is fetched, once or again and again. Only the first failure ends it: a service that restarts
    /// comes back.
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
                        // Home, and all below it away (ECMA-48, CUP and ED); in a file, the time tells the lists apart.
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

/// Which events.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Only this type
    #[arg(long)]
    r#type: Option<String>,
    /// Only of this endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// Only of this invoice
    #[arg(long)]
    invoice_id: Option<String>,
    /// Received at this time (RFC 3339) or later
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Received before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
}

/// A time as the admin API takes it.
pub(super) fn moment(text: &str) -> Result<String, String> {
    match text.parse::<Timestamp>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("it must be a time like 2026-03-15T10:30:00Z (RFC 3339)".to_owned()),
    }
}

/// The state of a dispatch, by its word.
pub(super) fn state(text: &str) -> Result<State, UnknownWord> {
    text.parse()
}

impl Selection {
    /// As the admin API calls them.
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
    Replay(operate::Replay),
}

#[derive(Debug, Subcommand)]
pub(super) enum Dispatches {
    /// List dispatches, newest first
    List {
        /// Only in this state: pending, leased, delivered, held, dead, cancelled
        #[arg(long, value_parser = state)]
        state: Option<State>,
        /// Only for this sink
        #[arg(long)]
        sink: Option<String>,
        /// Only of this invoice
        #[arg(long)]
        invoice_id: Option<String>,
        /// Only of this event
        #[arg(long)]
        event_id: Option<String>,
        /// Only of payments with this invoice number (or a part of it), this amount (1500.00) or this id
        #[arg(long, value_name = "TEXT")]
        q: Option<String>,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        service: Service,
    },
    /// Show one dispatch with its attempts
    Show {
        /// The dispatch's number
        id: String,
        #[command(flatten)]
        service: Service,
    },
    /// Try a held, dead or pending dispatch again at once, or many
    Retry(operate::Retry),
    /// Call off a pending, held or dead dispatch for good, or many: the sink never gets the event
    Cancel(operate::Cancel),
}

#[derive(Debug, Subcommand)]
pub(super) enum Sinks {
    /// List sinks with their state and backlog
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        service: Service,
    },
    /// Pause a sink: its events wait, nothing is lost
    Pause {
        /// The sink's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Let a paused or tripped sink go on
    Resume {
        /// The sink's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Send a test event (`relay.test`) straight to a sink, past the store
    Test {
        /// The sink's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
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

/// Prints a list and where it goes on.
pub(super) fn list(
    answer: &Value,
    output: Output,
    head: &[&str],
    row: impl Fn(&Value) -> Vec<String>,
) -> anyhow::Result<()> {
    let rows: Vec<_> = answer["data"].as_array().into_iter().flatten().map(row).collect();
    output.say(answer, &if rows.is_empty() { "Nothing to list.".to_owned() } else { table(head, &rows) })?;
    if let (false, Some(cursor)) = (output.json, answer["next_cursor"].as_str()) {
        complain(&match answer["searched_until"].as_str() {
            None => format!("There are more: add --cursor {cursor}"),
            Some(until) => format!("Searched back to {until}, not further: to go on, add --cursor {cursor}"),
        });
    }
    Ok(())
}

/// The amount of a row with its currency, as far as they are known: `1500.00 EUR`.
pub(super) fn amount(row: &Value) -> String {
    let cents = row["amount_cents"].as_i64().map(Cents);
    cents.map(|cents| cents.of(&cell(&row["currency"])).trim_end().to_owned()).unwrap_or_default()
}

/// A cell of a list, with a mark if a part of the row could not be read.
fn damaged(cell: String, row: &Value) -> String {
    if row["fault"].is_string() { format!("{cell} (damaged row, see `show`)") } else { cell }
}

/// `events …`
pub(super) async fn events(config: Config, command: Events, output: Output) -> Result<bool, Failure> {
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
        Events::Replay(options) => return operate::replay(config, options, output).await,
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

pub(super) fn dispatch_text(dispatch: &Value) -> String {
    let mut text =
        format!("dispatch {} to {}: {}", cell(&dispatch["id"]), cell(&dispatch["sink"]), cell(&dispatch["state"]));
    if dispatch["trigger"] == "replay" {
        text.push_str(" (replay)");
    }
    if dispatch["fault"].is_string() {
        let _ = write!(text, "\n  the stored row is damaged: {}", cell(&dispatch["fault"]));
    }
    if dispatch["waits_for"].is_number() {
        let _ = write!(text, ", waits for dispatch {} of the same invoice", cell(&dispatch["waits_for"]));
    } else if let Some(why) = waits_for_sink(dispatch) {
        let _ = write!(text, ", waits: {why}");
    } else if dispatch["next_attempt_at"].is_string() {
        let _ = write!(text, ", next attempt {}", time(&dispatch["next_attempt_at"]));
    }
    // Not twice: the last attempt says it too.
    let log = dispatch["attempt_log"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_told = log.last().is_some_and(|attempt| attempt["error"] == dispatch["last_error"]);
    if dispatch["last_error"].is_string() && dispatch["state"] != "delivered" && !is_told {
        let _ = write!(text, "\n  {}", cell(&dispatch["last_error"]));
    }
    for attempt in log {
        let milliseconds = attempt["duration_ms"].as_f64().unwrap_or_default();
        let _ = write!(
            text,
            "\n  attempt {} at {} took {milliseconds:.1} ms and came to `{}`",
            cell(&attempt["number"]),
            time(&attempt["started_at"]),
            cell(&attempt["outcome"]),
        );
        if attempt["error"].is_string() {
            let _ = write!(text, ": {}", cell(&attempt["error"]));
        }
    }
    if dispatch["state"] == "dead" || dispatch["state"] == "held" {
        let id = cell(&dispatch["id"]);
        let _ = write!(
            text,
            "\n  once it is repaired: finkare-relay dispatches retry {id}; to call it off: finkare-relay dispatches cancel {id}"
        );
    }
    text
}

/// `dispatches …`
pub(super) async fn dispatches(config: Config, command: Dispatches, output: Output) -> Result<bool, Failure> {
    match command {
        Dispatches::List { state, sink, invoice_id, event_id, q, paging, watch, service } => {
            let state = state.map(|state| state.as_str().to_owned());
            let filters =
                [("state", state), ("sink", sink), ("invoice_id", invoice_id), ("event_id", event_id), ("q", q)];
            let client = Client::new(config, service.admin_url.as_deref())?;
            let query = query(filters, paging);
            let head = [
                "ID",
                "SINK",
                "STATE",
                "ATTEMPTS",
                "TYPE",
                "INVOICE",
                "NUMBER",
                "AMOUNT",
                "NEXT ATTEMPT (UTC)",
                "LAST ERROR",
            ];
            let row = |dispatch: &Value| {
                vec![
                    cell(&dispatch["id"]),
                    cell(&dispatch["sink"]),
                    damaged(cell(&dispatch["state"]), dispatch),
                    cell(&dispatch["attempts"]),
                    cell(&dispatch["event_type"]),
                    cell(&dispatch["invoice_id"]),
                    cell(&dispatch["invoice_number"]),
                    amount(dispatch),
                    next_attempt(dispatch),
                    if dispatch["state"] == "delivered" { String::new() } else { cell(&dispatch["last_error"]) },
                ]
            };
            watch
                .show(
                    output,
                    async || client.get("/dispatches", &query).await,
                    |answer| list(answer, output, &head, row),
                )
                .await?;
        }
        Dispatches::Show { id, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let dispatch = client.get(&format!("/dispatches/{}", path_segment(&id)), &[]).await?;
            output.say(&dispatch, &whole_dispatch_text(&dispatch))?;
        }
        Dispatches::Retry(options) => return operate::retry(config, options, output).await,
        Dispatches::Cancel(options) => return operate::cancel(config, options, output).await,
    }
    Ok(true)
}

pub(super) fn whole_dispatch_text(dispatch: &Value) -> String {
    let mut text = format!("event    {}\n{}", cell(&dispatch["event_id"]), dispatch_text(dispatch));
    if dispatch["note"].is_string() {
        let _ = write!(text, "\n{}", cell(&dispatch["note"]));
    }
    text
}

/// Why a dispatch that is due, or will be, is not sent: its sink sends nothing now. A tripped one may be probed before
/// the dispatch is due.
fn waits_for_sink(dispatch: &Value) -> Option<String> {
    let due_at = dispatch["next_attempt_at"].as_str()?.parse::<Timestamp>().ok()?;
    match dispatch["sink_state"].as_str()? {
        "paused" => Some("sink paused".to_owned()),
        "not_configured" => Some("sink not configured".to_owned()),
        "tripped" if due_at <= clock::now() => {
            Some(format!("sink tripped, probed at {}", time(&dispatch["sink_next_probe_at"])))
        }
        _ => None,
    }
}

fn next_attempt(dispatch: &Value) -> String {
    waits_for_sink(dispatch).unwrap_or_else(|| time(&dispatch["next_attempt_at"]))
}

/// `sinks …`
pub(super) async fn sinks(config: Config, command: Sinks, output: Output) -> Result<bool, Failure> {
    let (verb, name, service) = match command {
        Sinks::List { watch, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let head =
                ["SINK", "TYPE", "STATE", "BACKLOG", "HELD", "DEAD", "DELIVERED", "LAST SUCCESS (UTC)", "NOTES (UTC)"];
            let row = |sink: &Value| {
                vec![
                    cell(&sink["name"]),
                    if sink["configured"] == true { cell(&sink["type"]) } else { "(not configured)".to_owned() },
                    sink_state(sink),
                    cell(&sink["backlog"]),
                    cell(&sink["held"]),
                    cell(&sink["dead"]),
                    cell(&sink["delivered"]),
                    time(&sink["last_success"]),
                    sink_notes(sink),
                ]
            };
            watch
                .show(output, async || client.get("/sinks", &[]).await, |answer| list(answer, output, &head, row))
                .await?;
            return Ok(true);
        }
        Sinks::Pause { name, service } => ("pause", name, service),
        Sinks::Resume { name, service } => ("resume", name, service),
        Sinks::Test { name, service } => return operate::test(config, &name, &service, output).await,
    };
    let client = Client::new(config, service.admin_url.as_deref())?;
    let sink = client.post(&format!("/sinks/{}/{verb}", path_segment(&name))).await?;
    let mut text = format!("The sink {} is {}.", cell(&sink["name"]), sink_state(&sink));
    if sink["note"].is_string() {
        let _ = write!(text, " {}", cell(&sink["note"]));
    }
    output.say(&sink, &text)?;
    Ok(true)
}

/// A sink's state in words.
fn sink_state(sink: &Value) -> String {
    cell(&sink["state"]).replace('_', " ")
}

/// Why a sink is paused, when it is probed, and its last error with its time unless it has got something since.
fn sink_notes(sink: &Value) -> String {
    let mut notes = Vec::new();
    let error = &sink["last_error"]["error"];
    if sink["paused_reason"].is_string() {
        notes.push(cell(&sink["paused_reason"]));
    }
    if sink["next_probe_at"].is_string() && sink["state"] == "tripped" {
        notes.push(format!("next probe {}", time(&sink["next_probe_at"])));
    }
    let at = |value: &Value| value.as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let is_over = at(&sink["last_success"]) > at(&sink["last_error"]["at"]);
    // A sink that its target ended is paused for that very error.
    if error.is_string() && !is_over && *error != sink["paused_reason"] {
        notes.push(format!("last error {}: {}", time(&sink["last_error"]["at"]), cell(error)));
    }
    notes.join("; ")
}

/// An id as typed, made safe to stand in a path.
pub(super) fn path_segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
