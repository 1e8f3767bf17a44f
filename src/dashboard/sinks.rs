//! The sinks: whether each gets its events, what waits for it, and the buttons for that.

use askama::Template;
use axum::{extract::Path, response::Response};
use serde_json::json;

use super::{
    api::{encoded, query},
    bad_input,
    forms::Fields,
    pictures::{self, Figure, Picture},
    texts::Texts,
    visit::{Maybe, Nav, Page, Time, Visit, see, sink_href},
    words::{self, Pill},
};
use crate::{
    model::preview::{Preview, Step},
    web::{
        admin::{
            List,
            dispatches::DispatchList,
            sink_test::TestRow,
            sinks::{SinkRow, SinkState},
            trying::TryRow,
        },
        error::Problem,
    },
};

#[derive(Template)]
#[template(path = "sinks.html")]
struct Sinks {
    page: Page,
    t: &'static Texts,
    rows: Vec<Row>,
    /// The deliveries of each in the last day, as a small picture; in the order of the rows.
    sparks: Vec<String>,
}

/// A sink.
#[derive(Debug)]
struct Row {
    name: String,
    href: String,
    kind: String,
    state: Pill,
    backlog: u64,
    held: u64,
    dead: u64,
    delivered: u64,
    oldest: Maybe,
    last_success: Maybe,
    held_href: String,
    dead_href: String,
    pending_href: String,
    paused_at: Option<Time>,
    paused_reason: String,
    last_error: Option<(Time, String)>,
    next_probe_at: Option<Time>,
    is_configured: bool,
    can_pause: bool,
    can_resume: bool,
    resume: &'static str,
}

fn row(visit: &Visit, sink: SinkRow) -> Row {
    let t = visit.t;
    let of =
        |state: &'static str| format!("/ui/dispatches{}", query(&[("state", state), ("sink", sink.name.as_str())]));
    Row {
        href: sink_href(&sink.name),
        kind: sink.r#type.unwrap_or_else(|| "–".to_owned()),
        state: words::sink(sink.state, t),
        backlog: sink.backlog,
        held: sink.held,
        dead: sink.dead,
        delivered: sink.delivered,
        oldest: visit.time_or_dash(sink.oldest_pending, None),
        last_success: visit.time_or_dash(sink.last_success, None),
        held_href: of("held"),
        dead_href: of("dead"),
        pending_href: of("pending"),
        paused_at: sink.paused_at.map(|at| visit.time(at, None)),
        paused_reason: sink.paused_reason.unwrap_or_default(),
        last_error: sink
            .last_error
            // An error from before the last success is over.
            .filter(|error| sink.last_success.is_none_or(|success| success < error.at))
            .map(|error| (visit.time(error.at, None), error.error)),
        next_probe_at: sink.next_probe_at.map(|at| visit.time(at, None)),
        is_configured: sink.configured,
        can_pause: matches!(sink.state, SinkState::Active | SinkState::Tripped),
        can_resume: matches!(sink.state, SinkState::Paused | SinkState::Tripped),
        resume: if sink.state == SinkState::Paused { t.sink_resume } else { t.sink_try_again },
        name: sink.name,
    }
}

/// `GET /ui/sinks`
pub(super) async fn list(visit: Visit) -> Result<Response, Problem> {
    let (sinks, sparks) = tokio::join!(visit.api.get::<List<SinkRow>>("/sinks"), pictures::sparks(&visit));
    let (List { data, .. }, sparks) = (sinks?, sparks?);
    let page = Page { is_live: true, ..visit.page(Nav::Sinks, visit.t.sinks_title) };
    let spark = |sink: &SinkRow| sparks.get(&sink.name).cloned().unwrap_or_default();
    let sparks = data.iter().map(spark).collect();
    let rows = data.into_iter().map(|sink| row(&visit, sink)).collect();
    visit.show(&Sinks { page, t: visit.t, rows, sparks })
}

#[derive(Template)]
#[template(path = "sink.html")]
struct Sink {
    page: Page,
    t: &'static Texts,
    row: Row,
    figures: Vec<Figure>,
    charts: Vec<Picture>,
    waiting: Vec<Waiting>,
    tested: Option<Told>,
}

/// One of the newest dispatches that wait for a person.
#[derive(Debug)]
struct Waiting {
    id: String,
    href: String,
    state: Pill,
    what: String,
    means: String,
    at: Time,
}

/// What a test event led to.
#[derive(Debug)]
struct Told {
    is_good: bool,
    text: String,
    raw: String,
}

async fn sink(visit: &Visit, name: &str) -> Result<SinkRow, Problem> {
    let List { data, .. } = visit.api.get::<List<SinkRow>>("/sinks").await?;
    data.into_iter().find(|sink| sink.name == name).ok_or_else(Problem::no_such_path)
}

async fn page(visit: &Visit, name: &str, tested: Option<Told>) -> Result<Response, Problem> {
    let t = visit.t;
    let of = |state: &'static str| format!("/dispatches{}", query(&[("sink", name), ("state", state), ("limit", "5")]));
    let (held, dead) = (of("held"), of("dead"));
    let (found, held, dead, traffic) = tokio::join!(
        sink(visit, name),
        visit.api.get::<DispatchList>(&held),
        visit.api.get::<DispatchList>(&dead),
        pictures::of_sink(visit, name),
    );
    let found = found?;
    let (figures, charts) = traffic?;
    let waiting = dead?.data.into_iter().chain(held?.data).map(|one| Waiting {
        href: format!("/ui/events/{}#dispatch-{}", one.event_id, one.id),
        state: words::dispatch(one.state, t),
        what: one.payment.invoice_number.clone().or_else(|| one.invoice_id.clone()).unwrap_or(one.event_type.clone()),
        means: one.last_error.as_deref().map(|reason| words::why(visit, one.state, reason).means).unwrap_or_default(),
        at: visit.time(one.created_at, None),
        id: one.id.to_string(),
    });
    let is_live = tested.is_none();
    visit.show(&Sink {
        page: Page { is_live, ..visit.page(Nav::Sinks, found.name.clone()) },
        t,
        row: row(visit, found),
        figures,
        charts,
        waiting: waiting.collect(),
        tested,
    })
}

/// `GET /ui/sinks/{name}`
pub(super) async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    page(&visit, &name, None).await
}

/// `POST /ui/sinks/{name}/pause`
pub(super) async fn pause(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let _: SinkRow = visit.api.post(&format!("/sinks/{}/pause", encoded(&name)), &json!({})).await?;
    Ok(see(&format!("{}?done=paused", sink_href(&name))))
}

/// `POST /ui/sinks/{name}/resume`
pub(super) async fn resume(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let before = sink(&visit, &name).await?;
    let _: SinkRow = visit.api.post(&format!("/sinks/{}/resume", encoded(&name)), &json!({})).await?;
    let word = if before.state == SinkState::Tripped { "tried_again" } else { "resumed" };
    Ok(see(&format!("{}?done={word}", sink_href(&name))))
}

/// `POST /ui/sinks/{name}/test`: the answer is the sink's page, with what came of the test.
pub(super) async fn test(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let t = visit.t;
    let row: TestRow = visit.api.post(&format!("/sinks/{}/test", encoded(&name)), &json!({})).await?;
    let is_good = row.outcome == "delivered";
    let text = if is_good { t.test_delivered } else { t.test_failed };
    let took = super::dispatches::duration(row.duration_ms);
    let told = Told { is_good, text: format!("{text} ({took})"), raw: row.reason.unwrap_or_default() };
    page(&visit, &name, Some(told)).await
}

#[derive(Template)]
#[template(path = "try.html")]
struct Try {
    page: Page,
    t: &'static Texts,
    sink: String,
    event_id: String,
    shown: Shown,
    back: String,
}

/// What a sink would get.
#[derive(Debug, Default)]
struct Shown {
    /// Whether it would get the event at all, and why not.
    verdict: String,
    is_taken: bool,
    /// Why, in the relay's words.
    reason: String,
    /// What an invoicing sink would do, and why.
    decision: String,
    /// A line above the rest: `POST https://…`.
    head: String,
    headers: Vec<(String, String)>,
    body: String,
    /// Calls that were made to find out, and at the end those that would be made.
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    purpose: String,
    line: String,
    body: String,
    answer: String,
}

/// `POST /ui/sinks/{name}/try`
pub(super) async fn try_event(visit: Visit, Path(name): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let event_id = fields.one("event_id").to_owned();
    if event_id.is_empty() {
        return Err(bad_input("the form names no event"));
    }
    let tried: TryRow =
        visit.api.post(&format!("/sinks/{}/try", encoded(&name)), &json!({ "event_id": event_id })).await?;
    let back = format!("/ui/events/{}", encoded(&event_id));
    let page = visit.page(Nav::Sinks, visit.t.try_title);
    visit.show(&Try { page, t: visit.t, sink: name, event_id, shown: shown(&visit, tried), back })
}

fn shown(visit: &Visit, tried: TryRow) -> Shown {
    let t = visit.t;
    let mut shown = Shown {
        verdict: if tried.taken { t.try_taken } else { t.try_not_taken }.to_owned(),
        is_taken: tried.taken,
        reason: if tried.taken { tried.not_yet.unwrap_or_default() } else { tried.reason },
        ..Shown::default()
    };
    match tried.would_get {
        Some(Preview::Request { method, url, headers, body }) => {
            shown.head = format!("{method} {url}");
            (shown.headers, shown.body) = (headers, body);
        }
        Some(Preview::Mail { headers, text }) => (shown.headers, shown.body) = (headers, text),
        Some(Preview::Line(line)) => shown.body = line,
        Some(Preview::Broken(broken)) => {
            (shown.verdict, shown.is_taken) = (t.try_broken.to_owned(), false);
            shown.reason = broken.to_string();
            shown.body = broken.made;
        }
        None => {}
    }
    if let Some(explained) = tried.would_do {
        shown.decision = explained.decision;
        let call = |step: Step| Call {
            purpose: step.purpose,
            line: format!("{} {}", step.method, step.url),
            body: step.body.unwrap_or_default(),
            answer: step.answer.unwrap_or_default(),
        };
        shown.calls = explained.calls.into_iter().map(call).collect();
    }
    shown
}
