//! `dispatches`: looking at dispatches, retrying and cancelling them, one or many.

use std::fmt::Write as _;

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    admin::{self, Paging, Service, Watch, amount, damaged, list, object, path_segment, query},
    client::Client,
    confirm::{Sure, ask},
    output::{Output, cell, complain, counted, time},
};
use crate::{
    config::Config,
    model::{clock, dispatch::State},
};

#[derive(Debug, Subcommand)]
pub(super) enum Dispatches {
    /// List dispatches, newest first
    List {
        /// Only in this state: pending, leased, delivered, held, dead, cancelled
        #[arg(long, value_parser = admin::state)]
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
    Retry(Retry),
    /// Call off a pending, held or dead dispatch for good, or many: the sink never gets the event
    Cancel(Cancel),
}

/// One dispatch, or which.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("retried").args(["id", "sink", "state"]).required(true).multiple(true)))]
pub(super) struct Retry {
    /// One dispatch's number; or say which by the options below
    #[arg(conflicts_with_all = ["sink", "state", "invoice_id"])]
    id: Option<String>,
    /// All of this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// All in this state: dead, held or pending; several with commas [default: dead,held]
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = admin::state)]
    state: Vec<State>,
    /// Of those, only of this invoice
    #[arg(long, value_name = "ID")]
    invoice_id: Option<String>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// As [`Retry`], for what is called off.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("cancelled").args(["id", "sink", "state"]).required(true).multiple(true)))]
pub(super) struct Cancel {
    /// One dispatch's number; or say which by the options below
    #[arg(conflicts_with_all = ["sink", "state", "invoice_id"])]
    id: Option<String>,
    /// Only of this sink
    #[arg(long, value_name = "NAME", requires = "state")]
    sink: Option<String>,
    /// All in this state: dead, held or pending; several with commas. No other is touched
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = admin::state)]
    state: Vec<State>,
    /// Of those, only of this invoice
    #[arg(long, value_name = "ID")]
    invoice_id: Option<String>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// `dispatches …`
pub(super) async fn run(config: Config, command: Dispatches, output: Output) -> Result<bool, Failure> {
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
        Dispatches::Retry(options) => return retry(config, options, output).await,
        Dispatches::Cancel(options) => return cancel(config, options, output).await,
    }
    Ok(true)
}

fn whole_dispatch_text(dispatch: &Value) -> String {
    let mut text = format!("event    {}\n{}", cell(&dispatch["event_id"]), dispatch_text(dispatch));
    if dispatch["note"].is_string() {
        let _ = write!(text, "\n{}", cell(&dispatch["note"]));
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

/// What is decided about dispatches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Retry,
    Cancel,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Verb::Retry => "retry",
            Verb::Cancel => "cancel",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Verb::Retry => "retried",
            Verb::Cancel => "cancelled",
        }
    }

    /// What it comes to, for whoever has not said yes.
    const fn what(self) -> &'static str {
        match self {
            Verb::Retry => "All that is selected would be sent again",
            Verb::Cancel => "Cancelling cannot be undone",
        }
    }

    /// What the API takes for meant if no state is said.
    const fn usual(self) -> &'static [State] {
        match self {
            Verb::Retry => &[State::Held, State::Dead],
            Verb::Cancel => &[State::Pending, State::Held, State::Dead],
        }
    }
}

/// `dispatches retry`
async fn retry(config: Config, options: Retry, output: Output) -> Result<bool, Failure> {
    let Retry { id, sink, mut state, invoice_id, sure, service } = options;
    if let Some(id) = id {
        // One that is tried again is tried as it would be in any case.
        return one(&Client::new(config, service.url())?, &id, Verb::Retry, sure, false, output).await;
    }
    if state.is_empty() {
        state = Verb::Retry.usual().to_vec();
    }
    many(config, Chosen { sink, states: state, invoice_id }, Verb::Retry, sure, &service, output).await
}

/// `dispatches cancel`
async fn cancel(config: Config, options: Cancel, output: Output) -> Result<bool, Failure> {
    let Cancel { id, sink, state, invoice_id, sure, service } = options;
    if let Some(id) = id {
        let asks = sure.wants_preview(Verb::Cancel.what())?;
        return one(&Client::new(config, service.url())?, &id, Verb::Cancel, sure, asks, output).await;
    }
    many(config, Chosen { sink, states: state, invoice_id }, Verb::Cancel, sure, &service, output).await
}

/// One dispatch.
async fn one(client: &Client, id: &str, verb: Verb, sure: Sure, asks: bool, output: Output) -> Result<bool, Failure> {
    let path = format!("/dispatches/{}", path_segment(id));
    if sure.dry_run || asks {
        let dispatch = client.get(&path, &[]).await?;
        let text = whole_dispatch_text(&dispatch);
        if sure.dry_run {
            output.say(&dispatch, &format!("{text}\nIt would be {}; nothing was changed.", verb.done()))?;
            return Ok(true);
        }
        if !ask(&format!("{text}\nCancel it?"))? {
            complain("Nothing was cancelled.");
            return Ok(false);
        }
    }
    let dispatch = client.post(&format!("{path}/{}", verb.word())).await?;
    output.say(&dispatch, &whole_dispatch_text(&dispatch))?;
    Ok(true)
}

/// Which dispatches.
struct Chosen {
    sink: Option<String>,
    states: Vec<State>,
    invoice_id: Option<String>,
}

impl Chosen {
    /// As the API asks for it; no state means the usual ones.
    fn body(&self, state: Option<State>) -> Value {
        let state = state.map(|state| state.as_str().to_owned());
        object([("sink", self.sink.clone()), ("state", state), ("invoice_id", self.invoice_id.clone())]).into()
    }

    /// The calls to make. What waits behind another goes first: it must not get its turn because that one is gone.
    fn calls(&self, verb: Verb) -> Vec<Option<State>> {
        let in_order = [State::Pending, State::Held, State::Dead, State::Leased, State::Delivered, State::Cancelled];
        let states: Vec<State> = in_order.into_iter().filter(|state| self.states.contains(state)).collect();
        // In one go what the API means without a state, if it may be asked without one.
        let usual = verb.usual();
        if self.sink.is_some() && usual.iter().all(|state| states.contains(state)) {
            let others = states.into_iter().filter(|state| !usual.contains(state)).map(Some);
            std::iter::once(None).chain(others).collect()
        } else {
            states.into_iter().map(Some).collect()
        }
    }
}

/// Many dispatches: each call decides about what was there when it began.
async fn many(
    config: Config,
    chosen: Chosen,
    verb: Verb,
    sure: Sure,
    service: &Service,
    output: Output,
) -> Result<bool, Failure> {
    let wants_preview = sure.wants_preview(verb.what())?;
    let client = Client::new(config, service.url())?;
    let path = format!("/dispatches/{}", verb.word());
    if wants_preview {
        let mut counts = Map::new();
        let (mut all, mut more) = (0, false);
        for state in &chosen.states {
            let mut body = chosen.body(Some(*state));
            body["dry_run"] = true.into();
            let answer = client.decide(&path, &body).await?;
            let count = answer[verb.done()].as_u64().unwrap_or_default();
            if counts.insert(state.as_str().to_owned(), count.into()).is_none() {
                all += count;
            }
            more |= answer["more"] == true;
        }
        let by_state: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        let to = chosen.sink.as_ref().map(|sink| format!(" to {}", cell(&sink.as_str().into()))).unwrap_or_default();
        let text = format!(
            "{}{}{to} would be {}: {}",
            if more { "At least " } else { "" },
            counted(all, "dispatch", "dispatches"),
            verb.done(),
            by_state.join(", ")
        );
        if sure.dry_run {
            let answer = json!({verb.done(): all, "states": counts, "more": more, "dry_run": true});
            output.say(&answer, &format!("{text}; nothing was changed."))?;
            return Ok(true);
        }
        let question = match verb {
            Verb::Retry => "Try them again?",
            Verb::Cancel => "Cancel them for good?",
        };
        if all > 0 && !ask(&format!("{text}.\n{question}"))? {
            complain("Nothing was changed.");
            return Ok(false);
        }
    }
    let (mut done, mut more, mut note) = (0, false, None);
    for state in chosen.calls(verb) {
        let answer = client.decide(&path, &chosen.body(state)).await?;
        done += answer[verb.done()].as_u64().unwrap_or_default();
        more |= answer["more"] == true;
        note = answer["note"].as_str().map(str::to_owned).or(note);
    }
    let mut text = match verb {
        // What waits for its sink is not tried yet.
        Verb::Retry if note.is_some() => format!("{done} dispatches are due again."),
        Verb::Retry => format!("{done} dispatches are tried again."),
        Verb::Cancel => format!("{done} dispatches were cancelled."),
    };
    if more {
        text.push_str(" There are more: run the same again.");
    }
    let mut answer = json!({verb.done(): done, "more": more});
    if let Some(note) = note {
        let _ = write!(text, " {}", cell(&note.as_str().into()));
        answer["note"] = note.into();
    }
    output.say(&answer, &text)?;
    Ok(true)
}
