//! The dispatches: what goes to which sink, and how it stands. Deciding about one, about those that were ticked, and about all
//! that match.

use std::time::Duration;

use askama::Template;
use axum::{
    extract::{Path, Query},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::{COUNT_AMONG, LOOK_AT, encoded, query},
    bad_input,
    confirm::{Question, ask},
    forms::Fields,
    search,
    texts::{Texts, fill},
    visit::{Maybe, Nav, Page, Time, Visit, see, sink_href},
    words::{self, Mood, Pill, why},
};
use crate::{
    model::{dispatch::State, id::DispatchId},
    sinks::wording::format::bounded,
    web::{
        admin::{
            List,
            bulk::{CancelledMany, RetriedMany},
            dispatches::{AttemptRow, DispatchList, DispatchPage, DispatchRow},
            sinks::{SinkRow, SinkState},
        },
        error::Problem,
    },
};

/// How long a person waits for a decision about many; after that it goes on by itself.
const PATIENCE: Duration = Duration::from_secs(8);

/// The longest reason in a list, in characters.
const LONGEST_REASON: usize = 160;

/// A dispatch on the page of its event, with its attempts as a line of time and what comes next.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: DispatchId,
    pub(super) event_id: String,
    pub(super) event_href: String,
    pub(super) sink: String,
    pub(super) sink_href: String,
    pub(super) state: Pill,
    pub(super) trigger: &'static str,
    pub(super) created_at: Time,
    pub(super) finished_at: Option<Time>,
    pub(super) attempts: Vec<Attempt>,
    /// What it waits for, or what it means.
    pub(super) next: Vec<String>,
    pub(super) next_text: &'static str,
    pub(super) next_at: Option<Time>,
    pub(super) to_do: String,
    pub(super) raw: String,
    pub(super) fault: String,
    pub(super) can_retry: bool,
    pub(super) can_replay: bool,
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) at: Time,
    pub(super) duration: String,
    pub(super) outcome: Outcome,
    pub(super) error: String,
}

/// The outcome of an attempt in the reader's words.
#[derive(Debug)]
pub(super) struct Outcome {
    text: &'static str,
    mood: Mood,
}

impl Outcome {
    fn new(word: &str, t: &Texts) -> Self {
        let (text, mood) = match word {
            "delivered" => (t.outcome_delivered, Mood::Good),
            "hold" => (t.outcome_hold, Mood::Warn),
            "rejected" => (t.outcome_rejected, Mood::Bad),
            _ => (t.outcome_retry, Mood::Warn),
        };
        Self { text, mood }
    }

    pub(super) const fn class(&self) -> &'static str {
        self.mood.class()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

impl Sent {
    pub(super) fn new(visit: &Visit, row: DispatchRow, attempts: Vec<AttemptRow>, zone: Option<&str>) -> Self {
        let t = visit.t;
        let is_open = matches!(row.state, State::Pending | State::Leased);
        let (mut next, mut to_do, mut raw) = (Vec::new(), String::new(), String::new());
        match row.state {
            State::Held | State::Dead => {
                if let Some(reason) = &row.last_error {
                    let explained = why(visit, row.state, reason);
                    next.push(explained.means);
                    (to_do, raw) = (explained.to_do, explained.raw);
                }
            }
            State::Pending => {
                match row.sink_state {
                    SinkState::Active => {}
                    SinkState::Paused => next.push(t.waits_paused.to_owned()),
                    SinkState::Tripped => next.push(t.waits_tripped.to_owned()),
                    SinkState::NotConfigured => next.push(t.waits_not_configured.to_owned()),
                }
                if let Some(earlier) = row.waits_for {
                    next.push(fill(t.waits_for, &[("id", &earlier.to_string())]));
                }
                raw = row.last_error.clone().unwrap_or_default();
            }
            State::Leased | State::Delivered | State::Cancelled => {}
        }
        let shown = match row.state {
            State::Held | State::Dead | State::Pending => row.last_error.clone().unwrap_or_default(),
            State::Leased | State::Delivered | State::Cancelled => String::new(),
        };
        let next_at = match (row.state, row.sink_state) {
            (State::Pending, SinkState::Tripped) => row.sink_next_probe_at,
            (State::Pending, SinkState::Active) if row.waits_for.is_none() => row.next_attempt_at,
            (State::Held, _) => row.next_attempt_at,
            _ => None,
        };
        Self {
            id: row.id,
            event_id: row.event_id.to_string(),
            event_href: event_href(&row),
            sink_href: sink_href(&row.sink),
            sink: row.sink,
            state: words::dispatch(row.state, t),
            trigger: words::trigger(row.trigger, t),
            created_at: visit.time(row.created_at, zone),
            finished_at: row.finished_at.map(|at| visit.time(at, zone)),
            attempts: attempts
                .into_iter()
                // What stands above already is not told twice.
                .map(|attempt| AttemptRow { error: attempt.error.filter(|error| *error != shown), ..attempt })
                .map(|attempt| Attempt::new(visit, attempt, zone))
                .collect(),
            next,
            next_text: if row.state == State::Held { t.next_look } else { t.next_attempt },
            next_at: next_at.map(|at| visit.time(at, zone)),
            to_do,
            raw,
            fault: row.fault.unwrap_or_default(),
            can_retry: is_open && row.state == State::Pending || matches!(row.state, State::Held | State::Dead),
            can_replay: matches!(row.state, State::Delivered | State::Cancelled),
        }
    }
}

impl Attempt {
    fn new(visit: &Visit, row: AttemptRow, zone: Option<&str>) -> Self {
        Self {
            number: row.number,
            at: visit.time(row.started_at, zone),
            duration: duration(row.duration_ms),
            outcome: Outcome::new(&row.outcome, visit.t),
            error: row.error.unwrap_or_default(),
        }
    }
}

/// `12 ms`, `3.4 s`.
pub(super) fn duration(millis: f64) -> String {
    if millis < 1000.0 { format!("{millis:.0} ms") } else { format!("{:.1} s", millis / 1000.0) }
}

/// The place of a dispatch on the page of its event.
fn event_href(row: &DispatchRow) -> String {
    format!("/ui/events/{}#dispatch-{}", row.event_id, row.id)
}

/// The filters, as they stand in the address.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    q: String,
    state: String,
    sink: String,
    endpoint: String,
    reason: String,
    since: String,
    until: String,
    cursor: String,
}

impl Filters {
    /// What selects dispatches, as it stands in the address.
    fn selecting(&self) -> [(&'static str, &str); 6] {
        [
            ("state", &self.state),
            ("sink", &self.sink),
            ("endpoint", &self.endpoint),
            ("reason", &self.reason),
            ("since", &self.since),
            ("until", &self.until),
        ]
    }

    /// The same, as the API takes it: days become times.
    fn asked(&self, visit: &Visit) -> Result<Vec<(&'static str, String)>, Problem> {
        let zone = visit.zone(Some(&self.endpoint));
        let time = |name: &'static str, text: &str| -> Result<String, Problem> {
            if text.is_empty() || text.parse::<jiff::Timestamp>().is_ok() {
                return Ok(text.to_owned());
            }
            let span = search::day(text).and_then(|day| search::span(day, zone));
            let (begin, end) = span.ok_or_else(|| bad_input("a day is written like 2026-10-31"))?;
            Ok(if name == "since" { begin } else { end }.to_string())
        };
        let one = |(name, value): (&'static str, &str)| {
            let value = if matches!(name, "since" | "until") { time(name, value)? } else { value.to_owned() };
            Ok((name, value))
        };
        self.selecting().into_iter().map(one).collect()
    }
}

#[derive(Template)]
#[template(path = "dispatches.html")]
struct Dispatches {
    page: Page,
    t: &'static Texts,
    filters: Filters,
    states: Vec<(Pill, bool)>,
    sinks: Vec<String>,
    endpoints: Vec<String>,
    rows: Vec<Row>,
    more: Option<String>,
    searched_until: Option<Time>,
    retry_all: Option<String>,
    cancel_all: Option<String>,
    here: String,
}

/// One dispatch in the list.
#[derive(Debug)]
struct Row {
    id: DispatchId,
    event_id: String,
    href: String,
    r#type: String,
    sink: String,
    sink_href: String,
    state: Pill,
    invoice: String,
    amount: String,
    payment_id: String,
    created_at: Time,
    next_at: Maybe,
    reason: String,
    can_decide: bool,
}

fn row(visit: &Visit, row: DispatchRow) -> Row {
    let t = visit.t;
    // The page of the event has the whole of it.
    let reason = match (&row.last_error, row.state) {
        (Some(reason), State::Held | State::Dead) => bounded(&why(visit, row.state, reason).means, LONGEST_REASON),
        (Some(reason), State::Pending | State::Leased) => bounded(reason, LONGEST_REASON),
        _ => String::new(),
    };
    Row {
        href: event_href(&row),
        event_id: row.event_id.to_string(),
        sink_href: sink_href(&row.sink),
        state: words::dispatch(row.state, t),
        invoice: row.payment.invoice_number.or(row.invoice_id).unwrap_or_else(|| "–".to_owned()),
        amount: visit.money(row.payment.amount_cents, row.payment.currency.as_deref()),
        payment_id: row.payment.payment_id.unwrap_or_default(),
        created_at: visit.time(row.created_at, None),
        next_at: visit.time_or_dash(row.next_attempt_at, None),
        can_decide: matches!(row.state, State::Pending | State::Held | State::Dead),
        id: row.id,
        r#type: row.event_type,
        sink: row.sink,
        reason,
    }
}

/// `GET /ui/dispatches`
pub(super) async fn list(visit: Visit, Query(filters): Query<Filters>) -> Result<Response, Problem> {
    let t = visit.t;
    let asked = filters.asked(&visit)?;
    let mut parameters: Vec<(&str, &str)> = asked.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let look_at = LOOK_AT.to_string();
    parameters.extend([("q", filters.q.trim()), ("cursor", filters.cursor.as_str()), ("look_at", &look_at)]);
    let path = format!("/dispatches{}", query(&parameters));
    let (found, sinks, endpoints) = tokio::join!(
        visit.api.get::<DispatchList>(&path),
        visit.api.get::<List<SinkRow>>("/sinks"),
        visit.endpoints(),
    );
    let DispatchList { data, next_cursor, searched_until } = found?;
    let more = next_cursor.map(|cursor| {
        let selecting = filters.selecting();
        let all: Vec<_> =
            selecting.into_iter().chain([("q", filters.q.as_str()), ("cursor", cursor.as_str())]).collect();
        format!("/ui/dispatches{}", query(&all))
    });
    let state: Option<State> = filters.state.parse().ok();
    // The API decides about all that match by these filters; not by a search.
    let can_decide = filters.q.trim().is_empty()
        && !data.is_empty()
        && (!filters.sink.is_empty() || state.is_some())
        && state.is_none_or(|state| matches!(state, State::Pending | State::Held | State::Dead));
    let confirm = |action: &'static str| {
        let selecting = filters.selecting();
        let all: Vec<_> = std::iter::once(("action", action)).chain(selecting).collect();
        format!("/ui/dispatches/confirm{}", query(&all))
    };
    let page = Page { is_live: filters.cursor.is_empty(), ..visit.page(Nav::Dispatches, t.dispatches_title) };
    visit.show(&Dispatches {
        page,
        t,
        states: State::ALL.map(|one| (words::dispatch(one, t), Some(one) == state)).to_vec(),
        sinks: sinks?.data.into_iter().map(|sink| sink.name).collect(),
        endpoints: endpoints?,
        rows: data.into_iter().map(|one| row(&visit, one)).collect(),
        more,
        searched_until: searched_until.map(|at| visit.time(at, None)),
        retry_all: can_decide.then(|| confirm("retry")),
        cancel_all: (can_decide && state.is_some()).then(|| confirm("cancel")),
        here: format!("/ui/dispatches{}", query(&filters.selecting())),
        filters,
    })
}

/// `GET /ui/dispatches/{id}`: a dispatch is shown on the page of its event.
pub(super) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let found: DispatchPage = visit.api.get(&format!("/dispatches/{}", encoded(&id))).await?;
    Ok(see(&event_href(&found.dispatch)))
}

/// The page that a form came from, if it is one of ours.
fn back(fields: &Fields, otherwise: &str) -> String {
    let back = fields.one("back");
    let is_ours = back.starts_with("/ui/") && !back.contains(['\r', '\n', '\\']);
    if is_ours { back.to_owned() } else { otherwise.to_owned() }
}

/// A path with what was done, before its fragment.
fn done(path: &str, word: &str, n: u64) -> String {
    let (path, fragment) =
        path.split_once('#').map_or((path, String::new()), |(path, rest)| (path, format!("#{rest}")));
    let and = if path.contains('?') { '&' } else { '?' };
    format!("{path}{and}done={word}&n={n}{fragment}")
}

/// `POST /ui/dispatches/{id}/retry`
pub(super) async fn retry(visit: Visit, Path(id): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let path = format!("/dispatches/{}/retry", encoded(&id));
    let now: DispatchPage = visit.api.post(&path, &json!({})).await?;
    Ok(see(&done(&back(&fields, &event_href(&now.dispatch)), "retried", 1)))
}

/// `GET /ui/dispatches/{id}/cancel`
pub(super) async fn ask_cancel(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let t = visit.t;
    let found: DispatchPage = visit.api.get(&format!("/dispatches/{}", encoded(&id))).await?;
    let row = found.dispatch;
    let question = Question {
        title: t.close_title.to_owned(),
        lines: vec![fill(t.close_what, &[("type", &row.event_type), ("sink", &row.sink)]), t.close_means.to_owned()],
        action: format!("/ui/dispatches/{}/cancel", row.id),
        button: t.close_one.to_owned(),
        back: event_href(&row),
        is_danger: true,
        ..Question::default()
    };
    ask(&visit, Nav::Dispatches, question)
}

/// `POST /ui/dispatches/{id}/cancel`
pub(super) async fn cancel(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let path = format!("/dispatches/{}/cancel", encoded(&id));
    let now: DispatchPage = visit.api.post(&path, &json!({})).await?;
    Ok(see(&done(&event_href(&now.dispatch), "cancelled", 1)))
}

/// `POST /ui/dispatches/ticked`: decides about those that were ticked in the list.
pub(super) async fn ticked(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let verb = match fields.one("action") {
        "retry" => "retry",
        "cancel" => "cancel",
        _ => return Err(bad_input("the form names no action")),
    };
    let (mut count, mut last) = (0, None);
    for id in fields.all("id") {
        match visit.api.post::<DispatchPage>(&format!("/dispatches/{}/{verb}", encoded(&id)), &json!({})).await {
            Ok(_) => count += 1,
            // It has moved on since the list was made.
            Err(problem) if problem.code() == "wrong_state" => {}
            Err(problem) => last = Some(problem),
        }
    }
    if let Some(problem) = last.filter(|_| count == 0) {
        return Err(problem);
    }
    let word = if verb == "retry" { "retried" } else { "cancelled" };
    Ok(see(&done(&back(&fields, "/ui/dispatches"), word, count)))
}

/// The selection of a decision, as the API takes it.
fn selection(asked: &[(&'static str, String)], is_trial: bool) -> Value {
    let told = asked.iter().filter(|(_, value)| !value.is_empty());
    let mut body: serde_json::Map<String, Value> =
        told.map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    body.insert("dry_run".into(), is_trial.into());
    if is_trial {
        body.insert("look_at".into(), COUNT_AMONG.into());
    }
    body.into()
}

/// A decision about many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Retry,
    Cancel,
}

impl Verb {
    fn read(word: &str) -> Result<Self, Problem> {
        match word {
            "retry" => Ok(Self::Retry),
            "cancel" => Ok(Self::Cancel),
            _ => Err(bad_input("the address names no action")),
        }
    }

    /// Decides once; how many there were, and whether there are more.
    async fn call(self, visit: &Visit, body: &Value) -> Result<(u64, bool), Problem> {
        Ok(match self {
            Self::Retry => {
                let done: RetriedMany = visit.api.post("/dispatches/retry", body).await?;
                (done.retried, done.more)
            }
            Self::Cancel => {
                let done: CancelledMany = visit.api.post("/dispatches/cancel", body).await?;
                (done.cancelled, done.more)
            }
        })
    }
}

/// What is asked about, besides the filters.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    action: String,
}

/// `GET /ui/dispatches/confirm`: counts what matches, and asks.
pub(super) async fn confirm(
    visit: Visit,
    Query(asked): Query<Asked>,
    Query(filters): Query<Filters>,
) -> Result<Response, Problem> {
    let t = visit.t;
    let verb = Verb::read(&asked.action)?;
    let (count, more) = verb.call(&visit, &selection(&filters.asked(&visit)?, true)).await?;
    let mut lines = if more {
        vec![t.at_least(t.at_least_n, count), t.counted_in_part.to_owned()]
    } else {
        vec![t.count(t.n_dispatches, count)]
    };
    let state = filters.state.parse::<State>().ok().map(|state| words::dispatch(state, t).text().to_owned());
    for (label, value) in [
        (t.col_state, state.as_deref().unwrap_or_default()),
        (t.col_sink, &filters.sink),
        (t.col_endpoint, &filters.endpoint),
        (t.since_day, &filters.since),
        (t.until_day, &filters.until),
    ] {
        if !value.is_empty() {
            lines.push(format!("{label}{} {value}", t.colon));
        }
    }
    lines.push(if verb == Verb::Retry { t.retry_means } else { t.close_means }.to_owned());
    let fields = filters.selecting().into_iter().filter(|(_, value)| !value.is_empty());
    let question = Question {
        title: if verb == Verb::Retry { t.retry_title } else { t.close_title }.to_owned(),
        lines,
        searched: filters.reason.clone(),
        action: format!("/ui/dispatches/{}", if verb == Verb::Retry { "retry" } else { "cancel" }),
        fields: fields.map(|(name, value)| (name, value.to_owned())).collect(),
        button: match (verb, more) {
            (Verb::Retry, false) => t.count(t.retry_n, count),
            (Verb::Retry, true) => t.retry_all_button.to_owned(),
            (Verb::Cancel, false) => t.count(t.close_n, count),
            (Verb::Cancel, true) => t.close_all_button.to_owned(),
        },
        back: format!("/ui/dispatches{}", query(&filters.selecting())),
        is_danger: verb == Verb::Cancel,
        is_empty: count == 0 && !more,
    };
    ask(&visit, Nav::Dispatches, question)
}

async fn decide(visit: Visit, fields: Fields, verb: Verb) -> Result<Response, Problem> {
    let text = |name: &str| fields.one(name).to_owned();
    let filters = Filters {
        state: text("state"),
        sink: text("sink"),
        endpoint: text("endpoint"),
        reason: text("reason"),
        since: text("since"),
        until: text("until"),
        ..Filters::default()
    };
    let body = selection(&filters.asked(&visit)?, false);
    let list = format!("/ui/dispatches{}", query(&filters.selecting()));
    // A decision goes on when nobody waits for it any more.
    let deciding = tokio::time::timeout(PATIENCE, verb.call(&visit, &body));
    let (word, count) = match (verb, deciding.await) {
        (Verb::Retry, Ok(decided)) => match decided? {
            (count, false) => ("retried", count),
            (count, true) => ("retried_some", count),
        },
        (Verb::Cancel, Ok(decided)) => match decided? {
            (count, false) => ("cancelled", count),
            (count, true) => ("cancelled_some", count),
        },
        (_, Err(_)) => ("goes_on", 1),
    };
    Ok(see(&done(&list, word, count)))
}

/// `POST /ui/dispatches/retry`
pub(super) async fn retry_all(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    decide(visit, fields, Verb::Retry).await
}

/// `POST /ui/dispatches/cancel`
pub(super) async fn cancel_all(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    decide(visit, fields, Verb::Cancel).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stays_here() {
        let of = |back: &str| super::back(&Fields::from(vec![("back".into(), back.into())]), "/ui/dispatches");
        assert_eq!(of("/ui/events/1#dispatch-2"), "/ui/events/1#dispatch-2");
        for other in ["https://evil.example/", "//evil.example", "/api/v1/sinks", "/ui/\\evil", "", "/ui/\r\nx: y"] {
            assert_eq!(of(other), "/ui/dispatches", "{other:?}");
        }
    }

    #[test]
    fn what_was_done_stands_before_the_fragment() {
        assert_eq!(done("/ui/events/1#dispatch-2", "retried", 1), "/ui/events/1?done=retried&n=1#dispatch-2");
        assert_eq!(done("/ui/dispatches?state=held", "retried", 3), "/ui/dispatches?state=held&done=retried&n=3");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!((duration(12.4).as_str(), duration(3410.0).as_str()), ("12 ms", "3.4 s"));
    }
}
