//! The front page: what has to be done, and today's figures.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use jiff::Timestamp;

use super::{
    api::query,
    pictures::{self, Figure, Picture},
    texts::{Texts, fill},
    visit::{Nav, Page, Time, Visit, sink_href},
    words::{self, Pill, why},
};
use crate::{
    ingest::explain::Refusal,
    model::{dispatch::State, id::EndpointName, reconciliation::ReportState},
    web::{
        admin::{
            List,
            endpoints::EndpointRow,
            reconciliations::ReconciliationRow,
            sinks::{SinkRow, SinkState},
            waiting::{WaitingList, WaitingRow},
        },
        error::Problem,
    },
};

/// Dispatches that are grouped by their reasons, at most: the newest. The lists have the rest.
const MOST_GROUPED: u32 = 500;
/// How long a refused delivery is told on the front page.
const REFUSALS_OF: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

#[derive(Template)]
#[template(path = "todo.html")]
struct Todo {
    page: Page,
    t: &'static Texts,
    is_clear: bool,
    /// All of it in a sentence, which is read aloud when it changes.
    summary: String,
    /// What is said where not everything that waits is grouped.
    incomplete: Option<String>,
    held: Vec<Group>,
    dead: Vec<Group>,
    sinks: Vec<Stopped>,
    endpoints: Vec<Attention>,
    refusals: Vec<Refused>,
    reconciliations: Vec<Differing>,
    figures: Vec<Figure>,
    charts: Vec<Picture>,
    lines: Vec<Line>,
}

/// What waits for one cause.
#[derive(Debug)]
struct Group {
    state: Pill,
    sink: String,
    endpoint: Option<String>,
    title: String,
    means: String,
    to_do: String,
    raw: String,
    oldest: Time,
    see: String,
    list: String,
    retry: String,
    cancel: String,
}

/// A sink that gets nothing.
#[derive(Debug)]
struct Stopped {
    name: String,
    href: String,
    state: Pill,
    what: &'static str,
    since: Option<Time>,
    why: String,
    backlog: String,
    can_resume: bool,
    resume: &'static str,
}

/// An endpoint that needs a person.
#[derive(Debug)]
struct Attention {
    name: String,
    href: String,
    what: Vec<String>,
    raw: Vec<String>,
}

/// Deliveries that were refused for one reason.
#[derive(Debug)]
struct Refused {
    count: String,
    endpoint: Option<String>,
    means: &'static str,
    explanation: String,
    at: Time,
}

/// A reconciliation that found differences.
#[derive(Debug)]
struct Differing {
    endpoint: String,
    href: String,
    count: String,
    days: String,
    kinds: Vec<String>,
}

/// A sink in the table at the end.
#[derive(Debug)]
struct Line {
    name: String,
    href: String,
    state: Pill,
    backlog: u64,
    last_success: super::visit::Maybe,
}

/// `GET /ui/`
pub(super) async fn show(visit: Visit) -> Result<Response, Problem> {
    let t = visit.t;
    let since = visit.now - REFUSALS_OF;
    let waiting = format!("/waiting?look_at={MOST_GROUPED}");
    let refused = format!("/refusals?limit=500&since={since}");
    let (waiting, sinks, endpoints, refusals, reconciliations, traffic) = tokio::join!(
        visit.api.get::<WaitingList>(&waiting),
        visit.api.get::<List<SinkRow>>("/sinks"),
        visit.api.get::<List<EndpointRow>>("/endpoints"),
        visit.api.get::<List<Refusal>>(&refused),
        visit.api.get::<List<ReconciliationRow>>("/reconciliations?limit=100"),
        pictures::today(&visit),
    );
    let (waiting, sinks, endpoints) = (waiting?, sinks?.data, endpoints?.data);
    let groups = |state: State| -> Vec<Group> {
        let of_state = waiting.data.iter().filter(|row| row.state == state);
        of_state.map(|row| group(&visit, row)).collect()
    };
    let (held, dead) = (groups(State::Held), groups(State::Dead));
    let stopped: Vec<Stopped> = sinks.iter().filter_map(|sink| stopped(&visit, sink)).collect();
    let attention: Vec<Attention> = endpoints.iter().filter_map(|endpoint| attention(&visit, endpoint)).collect();
    let refusals = refusals?.data;
    let differing = differing(&visit, reconciliations?.data);
    let of_state = |state: State| waiting.data.iter().filter(|row| row.state == state).map(|row| row.count).sum();
    let counted: [(&str, u64); 6] = [
        (t.sum_held, of_state(State::Held)),
        (t.sum_dead, of_state(State::Dead)),
        (t.sum_sinks, stopped.len() as u64),
        (t.sum_endpoints, attention.len() as u64),
        (t.sum_refusals, refusals.len() as u64),
        (t.sum_differences, differing.len() as u64),
    ];
    let counted: Vec<String> = counted.into_iter().filter(|(_, n)| *n > 0).map(|(text, n)| t.count(text, n)).collect();
    let refusals = refused_by_reason(&visit, &refusals);
    let is_clear = held.is_empty()
        && dead.is_empty()
        && stopped.is_empty()
        && attention.is_empty()
        && refusals.is_empty()
        && differing.is_empty();
    let (figures, charts) = traffic?;
    let lines = sinks.iter().map(|sink| Line {
        href: sink_href(&sink.name),
        state: words::sink(sink.state, t),
        backlog: sink.backlog,
        last_success: visit.time_or_dash(sink.last_success, None),
        name: sink.name.clone(),
    });
    let page = Page { is_live: true, ..visit.page(Nav::Todo, t.todo_title) };
    visit.show(&Todo {
        page,
        t,
        is_clear,
        summary: format!("{}.", counted.join(", ")),
        incomplete: (!waiting.complete).then(|| fill(t.todo_incomplete, &[("n", &t.number(MOST_GROUPED.into()))])),
        held,
        dead,
        sinks: stopped,
        endpoints: attention,
        refusals,
        reconciliations: differing,
        figures,
        charts,
        lines: lines.collect(),
    })
}

fn group(visit: &Visit, row: &WaitingRow) -> Group {
    let t = visit.t;
    let why = why(visit, row.state, &row.example);
    let endpoint = row.endpoint.as_deref().unwrap_or_default();
    let selected = [
        ("state", row.state.as_str()),
        ("sink", row.sink.as_str()),
        ("endpoint", endpoint),
        ("reason", row.reason.as_str()),
    ];
    let count = t.count(if row.state == State::Held { t.n_held_for } else { t.n_dead_for }, row.count);
    let title = fill(&count, &[("sink", &row.sink)]);
    let title = match row.amount_cents {
        Some(_) => format!("{title} · {}", visit.money(row.amount_cents, row.currency.as_deref())),
        None => title,
    };
    let with = |action: &'static str| {
        let all: Vec<_> = std::iter::once(("action", action)).chain(selected).collect();
        format!("/ui/dispatches/confirm{}", query(&all))
    };
    Group {
        state: words::dispatch(row.state, t),
        title,
        means: why.means,
        to_do: why.to_do,
        raw: why.raw,
        oldest: visit.time(row.oldest, row.endpoint.as_deref()),
        see: t.count(t.see_n, row.count),
        list: match row.dispatches.as_slice() {
            [only] if row.count == 1 => format!("/ui/dispatches/{only}"),
            _ => format!("/ui/dispatches{}", query(&selected)),
        },
        retry: with("retry"),
        cancel: with("cancel"),
        sink: row.sink.clone(),
        endpoint: row.endpoint.clone(),
    }
}

fn stopped(visit: &Visit, sink: &SinkRow) -> Option<Stopped> {
    let t = visit.t;
    let (what, since, why): (_, Option<Timestamp>, _) = match sink.state {
        SinkState::Active => return None,
        SinkState::NotConfigured if sink.backlog + sink.held + sink.dead == 0 => return None,
        SinkState::NotConfigured => (t.stopped_not_configured, sink.oldest_pending, None),
        SinkState::Paused => (t.stopped_paused, sink.paused_at, sink.paused_reason.clone()),
        SinkState::Tripped => {
            let failed = sink.last_error.as_ref();
            // It has been failing since it last worked.
            (
                t.stopped_tripped,
                sink.last_success.or_else(|| failed.map(|error| error.at)),
                failed.map(|e| e.error.clone()),
            )
        }
    };
    Some(Stopped {
        href: sink_href(&sink.name),
        state: words::sink(sink.state, t),
        what,
        since: since.map(|at| visit.time(at, None)),
        why: why.unwrap_or_default(),
        backlog: t.count(t.n_wait_there, sink.backlog),
        can_resume: sink.configured,
        resume: if sink.state == SinkState::Paused { t.sink_resume } else { t.sink_try_again },
        name: sink.name.clone(),
    })
}

fn attention(visit: &Visit, endpoint: &EndpointRow) -> Option<Attention> {
    let t = visit.t;
    let mut what = Vec::new();
    let mut raw = endpoint.attention.clone();
    if let Some(silence) = &endpoint.silence {
        what.push(match endpoint.last_delivery_at {
            Some(at) => fill(t.endpoint_silent, &[("ago", &visit.ago(at))]),
            None => t.endpoint_never.to_owned(),
        });
        raw.push(silence.clone());
    }
    if !endpoint.attention.is_empty() {
        what.push(t.endpoint_attention.to_owned());
    } else if endpoint.is_in_doubt() {
        what.push(t.endpoint_doubt.to_owned());
    }
    if endpoint.secrets == 0 {
        what.push(t.endpoint_no_secret.to_owned());
    }
    let name = endpoint.name.as_str().to_owned();
    let href = format!("/ui/endpoints/{}", super::api::encoded(&name));
    (!what.is_empty()).then_some(Attention { name, href, what, raw })
}

fn refused_by_reason(visit: &Visit, refusals: &[Refusal]) -> Vec<Refused> {
    let mut groups: BTreeMap<(Option<&str>, &'static str), (u64, &Refusal)> = BTreeMap::new();
    for refusal in refusals {
        // The newest comes first, and stays as the example.
        let key = (refusal.endpoint.as_ref().map(EndpointName::as_str), refusal.reason.as_str());
        groups.entry(key).or_insert((0, refusal)).0 += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (_, newest))| std::cmp::Reverse(newest.at));
    let row = |((endpoint, reason), (count, newest)): ((Option<&str>, &'static str), (u64, &Refusal))| Refused {
        count: visit.t.count(visit.t.n_refused, count),
        endpoint: endpoint.map(str::to_owned),
        means: words::refusal(reason, visit.t),
        explanation: newest.explanation.clone(),
        at: visit.time(newest.at, endpoint),
    };
    groups.into_iter().map(row).collect()
}

/// The last reconciliation of each endpoint that is done, if it found something; the list is newest first.
fn differing(visit: &Visit, rows: Vec<ReconciliationRow>) -> Vec<Differing> {
    let mut last: Vec<ReconciliationRow> = Vec::new();
    for row in rows {
        if row.state == ReportState::Done && last.iter().all(|other| other.endpoint != row.endpoint) {
            last.push(row);
        }
    }
    last.retain(|row| row.counts.values().sum::<u64>() > 0);
    let t = visit.t;
    let show = |row: ReconciliationRow| Differing {
        href: format!("/ui/reconciliations/{}", row.id),
        count: t.count(t.n_differences, row.counts.values().sum()),
        days: fill(t.days_from_to, &[("since", &visit.day(row.since)), ("until", &visit.day(row.until))]),
        kinds: row
            .counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(kind, count)| format!("{count} × {}", words::difference(*kind, t).0))
            .collect(),
        endpoint: row.endpoint,
    };
    last.into_iter().map(show).collect()
}
