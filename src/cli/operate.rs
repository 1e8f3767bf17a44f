//! `events replay`, `dispatches retry` and `cancel`, `sinks test`, `erase`: decisions from a terminal.

use std::fmt::Write as _;

use anyhow::bail;
use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::Client,
    confirm::{Sure, ask},
    failure::Usage,
    manage::{self, Selection, Service, dispatch_text, path_segment, whole_dispatch_text},
    output::{Output, cell, complain, counted},
};
use crate::{config::Config, model::dispatch::State};

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
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = manage::state)]
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
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = manage::state)]
    state: Vec<State>,
    /// Of those, only of this invoice
    #[arg(long, value_name = "ID")]
    invoice_id: Option<String>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// Which invoice to erase.
#[derive(Debug, Args)]
pub(super) struct Erase {
    /// The invoice's id at Finkare (`data.invoiceId`)
    #[arg(long, value_name = "ID")]
    invoice: String,
    #[command(flatten)]
    sure: Sure,
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
pub(super) async fn retry(config: Config, options: Retry, output: Output) -> Result<bool, Failure> {
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
pub(super) async fn cancel(config: Config, options: Cancel, output: Output) -> Result<bool, Failure> {
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

/// `sinks test`: exit 0 only if the sink took the event.
pub(super) async fn test(config: Config, name: &str, service: &Service, output: Output) -> Result<bool, Failure> {
    let client = Client::new(config, service.admin_url.as_deref())?;
    // As long as a sink's time-out may be.
    let answer = client.decide(&format!("/sinks/{}/test", path_segment(name)), &Value::Object(Map::new())).await?;
    let mut text = format!(
        "The test of the sink {} came to `{}` after {:.1} ms.",
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
    output.say(&answer, &text)?;
    Ok(answer["outcome"] == "delivered")
}

/// `erase`
pub(super) async fn erase(config: Config, options: Erase, output: Output) -> Result<bool, Failure> {
    let Erase { invoice, sure, service } = options;
    let wants_preview = sure.wants_preview("Erasing cannot be undone")?;
    let client = Client::new(config, service.url())?;
    if wants_preview {
        let events = count(&client, "/events", &invoice, None).await?;
        let mut open = 0;
        for state in [State::Pending, State::Leased, State::Held, State::Dead] {
            open += count(&client, "/dispatches", &invoice, Some(state)).await?;
        }
        if events == 0 {
            return Err(anyhow::anyhow!("There is no event of this invoice.").into());
        }
        let text = format!(
            "The payloads of {} of invoice {} would be removed for good, and {} that {} not delivered would be cancelled",
            counted(events, "event", "events"),
            cell(&invoice.as_str().into()),
            counted(open, "dispatch", "dispatches"),
            if open == 1 { "is" } else { "are" },
        );
        if sure.dry_run {
            let answer = json!({"events": events, "cancelled": open, "dry_run": true});
            output.say(&answer, &format!("{text}; nothing was changed."))?;
            return Ok(true);
        }
        if !ask(&format!("{text}.\nErase the invoice?"))? {
            complain("Nothing was erased.");
            return Ok(false);
        }
    }
    let path = format!("/invoices/{}/erase", path_segment(&invoice));
    let answer = client.decide(&path, &Value::Object(Map::new())).await?;
    let text = format!(
        "The payloads of {} of {} events are removed, {} dispatches are cancelled.",
        cell(&answer["payloads"]),
        cell(&answer["events"]),
        cell(&answer["cancelled"])
    );
    output.say(&answer, &text)?;
    Ok(true)
}

/// How many rows a list has for an invoice, page by page.
async fn count(client: &Client, path: &str, invoice: &str, state: Option<State>) -> anyhow::Result<u64> {
    let mut query = vec![("invoice_id", invoice.to_owned()), ("limit", "500".to_owned())];
    query.extend(state.map(|state| ("state", state.as_str().to_owned())));
    let mut counted = 0;
    loop {
        let page = client.get(path, &query).await?;
        let Some(rows) = page["data"].as_array() else { bail!("the admin API's answer is no list") };
        counted += rows.len() as u64;
        let Some(cursor) = page["next_cursor"].as_str() else { return Ok(counted) };
        query.retain(|(name, _)| *name != "cursor");
        query.push(("cursor", cursor.to_owned()));
    }
}
