//! `dispatches`: lists and shows dispatches, retries and cancels them, one or many.

use std::fmt::Write as _;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Failure,
    admin::{
        self, Paging, Period, Service, Watch, amount, damaged, fetch, list, object, path_segment, query, read, streamed,
    },
    client::Client,
    confirm::{Sure, ask},
    interrupting::Interrupts,
    output::{Output, complain, counted, plain, plain_or_empty, second, second_or_empty},
};
use crate::{
    config::Config,
    model::{
        clock,
        dispatch::{State, Trigger},
    },
    web::admin::{
        bulk::{CancelledMany, RetriedMany},
        dispatches::{AttemptRow, DispatchPage, DispatchRow},
        sinks::SinkState,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Dispatches {
    /// List dispatches, newest first
    List {
        /// Only dispatches in this state: pending, leased, delivered, held, dead, cancelled
        #[arg(long, value_parser = admin::state)]
        state: Option<State>,
        /// Only dispatches for this sink
        #[arg(long)]
        sink: Option<String>,
        /// Only dispatches of this invoice, by its id at Finkare
        #[arg(long)]
        invoice_id: Option<String>,
        /// Only dispatches of this event
        #[arg(long)]
        event_id: Option<String>,
        /// Only dispatches of events of this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        /// Only dispatches whose last error contains this text; `…` stands for any text
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        period: Period,
        /// Only dispatches of payments with this id, this amount (1500.00), this invoice number or debtor, or a part of
        /// these
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
    /// Retry held, dead or pending dispatches at once
    Retry(Retry),
    /// Cancel pending, held or dead dispatches permanently: the sink never gets the event
    Cancel(Cancel),
}

/// Which dispatches to retry.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("retried").args(["id", "sink", "state"]).required(true).multiple(true)))]
pub(super) struct Retry {
    /// The number of one dispatch; or select dispatches with the options below
    #[arg(conflicts_with_all = ["sink", "state", "invoice_id", "endpoint", "reason", "since", "until"])]
    id: Option<String>,
    /// All dispatches of this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// All dispatches in this state: dead, held or pending; several separated by commas [default: dead,held]
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = admin::state)]
    state: Vec<State>,
    /// Of the selected dispatches, only those of this invoice
    #[arg(long, value_name = "ID")]
    invoice_id: Option<String>,
    /// Of the selected dispatches, only those of events of this endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Of the selected dispatches, only those whose last error contains this text; `…` stands for any text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    period: Period,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// Which dispatches to cancel.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("cancelled").args(["id", "sink", "state"]).required(true).multiple(true)))]
pub(super) struct Cancel {
    /// The number of one dispatch; or select dispatches with the options below
    #[arg(conflicts_with_all = ["sink", "state", "invoice_id", "endpoint", "reason", "since", "until"])]
    id: Option<String>,
    /// Only dispatches of this sink
    #[arg(long, value_name = "NAME", requires = "state")]
    sink: Option<String>,
    /// All dispatches in this state: dead, held or pending; several separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = admin::state)]
    state: Vec<State>,
    /// Of the selected dispatches, only those of this invoice
    #[arg(long, value_name = "ID")]
    invoice_id: Option<String>,
    /// Of the selected dispatches, only those of events of this endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Of the selected dispatches, only those whose last error contains this text; `…` stands for any text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    period: Period,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// `dispatches …`
pub(super) async fn run(config: Config, command: Dispatches, output: Output) -> Result<bool, Failure> {
    match command {
        Dispatches::List { state, sink, invoice_id, event_id, endpoint, reason, period, q, paging, watch, service } => {
            let state = state.map(|state| state.as_str().to_owned());
            let filters = [
                ("state", state),
                ("sink", sink),
                ("invoice_id", invoice_id),
                ("event_id", event_id),
                ("endpoint", endpoint),
                ("reason", reason),
                ("since", period.since),
                ("until", period.until),
                ("q", q),
            ];
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
                "DEBTOR",
                "NEXT ATTEMPT (UTC)",
                "LAST ERROR",
            ];
            let row = |dispatch: &DispatchRow| {
                let last_error = dispatch.last_error.as_deref().filter(|_| dispatch.state != State::Delivered);
                vec![
                    dispatch.id.to_string(),
                    plain(&dispatch.sink),
                    damaged(dispatch.state.to_string(), dispatch.fault.as_deref()),
                    dispatch.attempts.to_string(),
                    plain(&dispatch.event_type),
                    plain_or_empty(dispatch.invoice_id.as_deref()),
                    plain_or_empty(dispatch.payment.invoice_number.as_deref()),
                    amount(dispatch.payment.amount_cents, dispatch.payment.currency.as_deref()),
                    plain_or_empty(dispatch.payment.debtor.as_deref()),
                    next_attempt(dispatch),
                    plain_or_empty(last_error),
                ]
            };
            if !watch.watch && streamed(&client, "/dispatches", &query, &head, row).await? {
                return Ok(true);
            }
            watch
                .show(
                    output,
                    async || fetch(&client, "/dispatches", &query).await,
                    |answer| list(answer, output, &head, row),
                )
                .await?;
        }
        Dispatches::Show { id, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let dispatch = client.get(&format!("/dispatches/{}", path_segment(&id)), &[]).await?;
            output.say(&dispatch, &whole_dispatch_text(&read(&dispatch)?))?;
        }
        Dispatches::Retry(options) => return retry(config, options, output).await,
        Dispatches::Cancel(options) => return cancel(config, options, output).await,
    }
    Ok(true)
}

fn whole_dispatch_text(page: &DispatchPage) -> String {
    let DispatchPage { dispatch, attempt_log, note } = page;
    let mut text = format!("event    {}\n{}", dispatch.event_id, dispatch_text(dispatch, attempt_log));
    if let Some(note) = note {
        let _ = write!(text, "\n{}", plain(note));
    }
    text
}

pub(super) fn dispatch_text(dispatch: &DispatchRow, log: &[AttemptRow]) -> String {
    let DispatchRow { id, state, .. } = dispatch;
    let mut text = format!("dispatch {id} to {}: {state}", plain(&dispatch.sink));
    let mut next_attempt_at = None;
    if dispatch.trigger == Trigger::Replay {
        text.push_str(" (replay)");
    }
    if let Some(fault) = &dispatch.fault {
        let _ = write!(text, "\n  the stored row is damaged: {}", plain(fault));
    }
    if let Some(earlier) = dispatch.waits_for {
        let _ = write!(text, ", waits for dispatch {earlier} of the same invoice");
    } else if let Some(why) = waits_for_sink(dispatch) {
        let _ = write!(text, ", waits: {why}");
    } else if let Some(at) = dispatch.next_attempt_at {
        if log.last().is_some_and(|attempt| attempt.outcome == "retry") {
            next_attempt_at = Some(at);
        } else {
            let _ = write!(text, ", next attempt at {}", second(at));
        }
    }
    // The last attempt usually says the same; it is not said twice.
    let is_told = log.last().is_some_and(|attempt| attempt.error == dispatch.last_error);
    if let Some(error) = &dispatch.last_error
        && *state != State::Delivered
        && !is_told
    {
        let _ = write!(text, "\n  {}", plain(error));
    }
    for AttemptRow { number, started_at, duration_ms, outcome, error } in log {
        let _ = write!(
            text,
            "\n  attempt {number} at {} {} after {}",
            second(*started_at),
            outcome_text(outcome),
            duration_text(*duration_ms),
        );
        if let Some(error) = error {
            let _ = write!(text, ": {}", plain(error));
        }
    }
    if let Some(at) = next_attempt_at {
        let _ = write!(text, "; next attempt at {}", second(at));
    }
    if matches!(state, State::Dead | State::Held) {
        let _ = write!(
            text,
            "\n  to retry it once the cause is fixed: finkare-relay dispatches retry {id}; to cancel it: finkare-relay dispatches cancel {id}"
        );
    }
    text
}

/// The outcome of an attempt as a verb. The words are those of the API; `retry` means that this attempt has failed.
pub(super) fn outcome_text(outcome: &str) -> String {
    match outcome {
        "delivered" => "delivered".to_owned(),
        "retry" => "failed".to_owned(),
        "rejected" => "was rejected".to_owned(),
        "hold" => "was held".to_owned(),
        other => format!("ended as `{}`", plain(other)),
    }
}

/// A duration in the unit that reads best: `12.3 ms`, `1.05 s`.
pub(super) fn duration_text(milliseconds: f64) -> String {
    if milliseconds < 1000.0 { format!("{milliseconds:.1} ms") } else { format!("{:.2} s", milliseconds / 1000.0) }
}

/// Why a dispatch that is due, now or later, is not sent: its sink sends nothing at the moment. A tripped sink may be
/// probed before the dispatch is due.
fn waits_for_sink(dispatch: &DispatchRow) -> Option<String> {
    let due_at = dispatch.next_attempt_at?;
    match dispatch.sink_state {
        SinkState::Paused => Some("sink paused".to_owned()),
        SinkState::NotConfigured => Some("sink not configured".to_owned()),
        SinkState::Tripped if due_at <= clock::now() => {
            Some(format!("sink tripped, probed at {}", second_or_empty(dispatch.sink_next_probe_at)))
        }
        SinkState::Tripped | SinkState::Active => None,
    }
}

fn next_attempt(dispatch: &DispatchRow) -> String {
    waits_for_sink(dispatch).unwrap_or_else(|| second_or_empty(dispatch.next_attempt_at))
}

/// What to do with dispatches.
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

    /// What the operation means, for the request to confirm it.
    const fn what(self) -> &'static str {
        match self {
            Verb::Retry => "All selected dispatches would be sent again",
            Verb::Cancel => "Cancelling cannot be undone",
        }
    }

    /// Reads the API's answer.
    fn read(self, answer: &Value) -> anyhow::Result<Changed> {
        Ok(match self {
            Verb::Retry => {
                let RetriedMany { retried, more, note, dry_run: _ } = read(answer)?;
                Changed { count: retried, more, note }
            }
            Verb::Cancel => {
                let CancelledMany { cancelled, more, dry_run: _ } = read(answer)?;
                Changed { count: cancelled, more, note: None }
            }
        })
    }

    /// The states that the API selects if none is given.
    const fn usual(self) -> &'static [State] {
        match self {
            Verb::Retry => &[State::Held, State::Dead],
            Verb::Cancel => &[State::Pending, State::Held, State::Dead],
        }
    }
}

/// How many dispatches a call has changed, or would change.
struct Changed {
    count: u64,
    more: bool,
    note: Option<String>,
}

/// `dispatches retry`
async fn retry(config: Config, options: Retry, output: Output) -> Result<bool, Failure> {
    let Retry { id, sink, mut state, invoice_id, endpoint, reason, period, sure, service } = options;
    if let Some(id) = id {
        // Retrying one dispatch needs no confirmation: it does no harm.
        return one(&Client::new(config, service.url())?, &id, Verb::Retry, sure, false, output).await;
    }
    if state.is_empty() {
        state = Verb::Retry.usual().to_vec();
    }
    many(
        config,
        Chosen { sink, states: state, invoice_id, endpoint, reason, period },
        Verb::Retry,
        sure,
        &service,
        output,
    )
    .await
}

/// `dispatches cancel`
async fn cancel(config: Config, options: Cancel, output: Output) -> Result<bool, Failure> {
    let Cancel { id, sink, state, invoice_id, endpoint, reason, period, sure, service } = options;
    if let Some(id) = id {
        let asks = sure.wants_preview(Verb::Cancel.what())?;
        return one(&Client::new(config, service.url())?, &id, Verb::Cancel, sure, asks, output).await;
    }
    many(
        config,
        Chosen { sink, states: state, invoice_id, endpoint, reason, period },
        Verb::Cancel,
        sure,
        &service,
        output,
    )
    .await
}

/// Retries or cancels one dispatch.
async fn one(client: &Client, id: &str, verb: Verb, sure: Sure, asks: bool, output: Output) -> Result<bool, Failure> {
    let path = format!("/dispatches/{}", path_segment(id));
    if sure.dry_run || asks {
        let dispatch = client.get(&path, &[]).await?;
        let text = whole_dispatch_text(&read(&dispatch)?);
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
    output.say(&dispatch, &whole_dispatch_text(&read(&dispatch)?))?;
    Ok(true)
}

/// The selected dispatches.
struct Chosen {
    sink: Option<String>,
    states: Vec<State>,
    invoice_id: Option<String>,
    endpoint: Option<String>,
    reason: Option<String>,
    period: Period,
}

impl Chosen {
    /// The body of the API call; without a state the API selects its usual ones.
    fn body(&self, state: Option<State>) -> Value {
        let state = state.map(|state| state.as_str().to_owned());
        object([
            ("sink", self.sink.clone()),
            ("state", state),
            ("invoice_id", self.invoice_id.clone()),
            ("endpoint", self.endpoint.clone()),
            ("reason", self.reason.clone()),
            ("since", self.period.since.clone()),
            ("until", self.period.until.clone()),
        ])
        .into()
    }

    /// The states of the calls to make. Dispatches that wait behind others come first, so that cancelling one never releases
    /// another that is about to be cancelled.
    fn calls(&self, verb: Verb) -> Vec<Option<State>> {
        let in_order = [State::Pending, State::Held, State::Dead, State::Leased, State::Delivered, State::Cancelled];
        let states: Vec<State> = in_order.into_iter().filter(|state| self.states.contains(state)).collect();
        // One call for the usual states together, where the API allows a call without a state.
        let usual = verb.usual();
        if self.sink.is_some() && usual.iter().all(|state| states.contains(state)) {
            let others = states.into_iter().filter(|state| !usual.contains(state)).map(Some);
            std::iter::once(None).chain(others).collect()
        } else {
            states.into_iter().map(Some).collect()
        }
    }
}

/// Retries or cancels many dispatches. Each call changes the dispatches that were there when it began.
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
            let Changed { count, more: has_more, .. } = verb.read(&answer)?;
            if counts.insert(state.as_str().to_owned(), count.into()).is_none() {
                all += count;
            }
            more |= has_more;
        }
        let by_state: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        let to = chosen.sink.as_ref().map(|sink| format!(" to {}", plain(sink))).unwrap_or_default();
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
            Verb::Retry => "Retry them?",
            Verb::Cancel => "Cancel them permanently?",
        };
        if all > 0 && !ask(&format!("{text}.\n{question}"))? {
            complain("Nothing was changed.");
            return Ok(false);
        }
    }
    let (mut done, mut more, mut note) = (0, false, None);
    let mut interrupts = Interrupts::noted()?;
    for state in chosen.calls(verb) {
        let so_far = || {
            format!(
                "interrupted: {} {} so far. The service finishes the part that has begun; \
                 `finkare-relay audit list --action dispatches.{}` then shows how many",
                counted(done, "dispatch was", "dispatches were"),
                verb.done(),
                verb.done()
            )
        };
        let what = format!("{} {} so far", counted(done, "dispatch", "dispatches"), verb.done());
        let body = chosen.body(state);
        let answer = interrupts.unless(client.decide(&path, &body), &what, so_far).await?;
        let changed = verb.read(&answer)?;
        done += changed.count;
        more |= changed.more;
        note = changed.note.or(note);
    }
    let mut text = match verb {
        // Dispatches that wait for their sink are not sent yet.
        Verb::Retry if note.is_some() => format!("{} due again.", counted(done, "dispatch is", "dispatches are")),
        Verb::Retry => format!("{} being retried.", counted(done, "dispatch is", "dispatches are")),
        Verb::Cancel => format!("{} cancelled.", counted(done, "dispatch was", "dispatches were")),
    };
    if more {
        text.push_str(" There are more: run the command again.");
    }
    let mut answer = json!({verb.done(): done, "more": more});
    if let Some(note) = note {
        let _ = write!(text, " {}", plain(&note));
        answer["note"] = note.into();
    }
    output.say(&answer, &text)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failed_attempt_is_shown_with_the_time_of_the_next() {
        let dispatch = |state: &str, next: Option<&str>| -> DispatchRow {
            serde_json::from_value(json!({
                "id": 7, "event_id": "01a21b30-c7c0-74d4-a4ba-fd5e8adcd291", "event_type": "payment.received",
                "invoice_id": "i-1", "sink": "erp", "state": state, "attempts": 1,
                "created_at": "2026-11-27T04:08:30Z", "next_attempt_at": next, "finished_at": null,
                "last_error": "erp answered 503", "trigger": "event", "waits_for": null, "sink_state": "active",
                "sink_next_probe_at": null, "invoice_number": null, "amount_cents": null, "currency": null, "debtor": null, "method": null, "paid_at": null,
                "payment_id": null,
            }))
            .unwrap()
        };
        let attempt = |outcome: &str, ms: f64| AttemptRow {
            number: 1,
            started_at: "2026-11-27T04:08:31.5Z".parse().unwrap(),
            duration_ms: ms,
            outcome: outcome.to_owned(),
            error: Some("erp answered 503".to_owned()),
        };
        assert_eq!(
            dispatch_text(&dispatch("pending", Some("2026-11-27T04:08:36Z")), &[attempt("retry", 1053.7)]),
            "dispatch 7 to erp: pending\n  attempt 1 at 2026-11-27 04:08:31 failed after 1.05 s: erp answered 503; next \
             attempt at 2026-11-27 04:08:36"
        );
        assert_eq!(
            dispatch_text(&dispatch("dead", None), &[attempt("rejected", 4.25)]),
            "dispatch 7 to erp: dead\n  attempt 1 at 2026-11-27 04:08:31 was rejected after 4.2 ms: erp answered 503\n  \
             to retry it once the cause is fixed: finkare-relay dispatches retry 7; to cancel it: finkare-relay dispatches \
             cancel 7"
        );
        let before = dispatch_text(&dispatch("pending", Some("2026-11-27T04:08:36Z")), &[]);
        assert_eq!(before, "dispatch 7 to erp: pending, next attempt at 2026-11-27 04:08:36\n  erp answered 503");
    }
}
