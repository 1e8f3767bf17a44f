//! The events: found by what a person knows of them, and one event with everything that became of it.

use askama::Template;
use axum::{
    extract::{Path, Query},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    api::{COUNT_AMONG, LOOK_AT, encoded, query},
    confirm::{Question, ask},
    dispatches::Sent,
    forms::Fields,
    search::{self, Typed},
    texts::{Texts, fill},
    visit::{Nav, Page, Time, Visit, see},
    words,
};
use crate::{
    model::dispatch::State,
    web::{
        admin::{
            List,
            dispatches::DispatchRow,
            events::{EventList, EventPage, EventRow},
            sinks::SinkRow,
        },
        error::Problem,
    },
};

/// The filters, as they stand in the address.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    q: String,
    r#type: String,
    endpoint: String,
    since: String,
    until: String,
    cursor: String,
}

#[derive(Template)]
#[template(path = "events.html")]
struct Events {
    page: Page,
    t: &'static Texts,
    filters: Filters,
    endpoints: Vec<String>,
    rows: Vec<Row>,
    more: Option<String>,
    /// How far a search has come, where it has not come to the end.
    searched_until: Option<Time>,
    can_replay_all: Option<String>,
}

/// One event in the list.
#[derive(Debug)]
struct Row {
    id: String,
    endpoint: String,
    r#type: String,
    is_readable: bool,
    invoice: String,
    debtor: String,
    amount: String,
    payment_id: String,
    received_at: Time,
    deliveries: u32,
    is_reconciled: bool,
}

fn row(visit: &Visit, event: EventRow) -> Row {
    let endpoint = event.endpoint.unwrap_or_default();
    Row {
        id: event.id.to_string(),
        received_at: visit.time(event.received_at, Some(&endpoint)),
        endpoint,
        r#type: event.r#type,
        is_readable: event.readable,
        invoice: event.payment.invoice_number.or(event.invoice_id).unwrap_or_else(|| "–".to_owned()),
        debtor: event.payment.debtor.unwrap_or_else(|| "–".to_owned()),
        amount: visit.money(event.payment.amount_cents, event.payment.currency.as_deref()),
        payment_id: event.payment.payment_id.unwrap_or_default(),
        deliveries: event.deliveries,
        is_reconciled: event.origin.is_some(),
    }
}

/// `GET /ui/events`
pub(super) async fn list(visit: Visit, Query(filters): Query<Filters>) -> Result<Response, Problem> {
    let t = visit.t;
    let endpoints = visit.endpoints().await?;
    let (mut asked, mut invoice_id) = (filters.clone(), String::new());
    let (mut since, mut until) = days(&visit, &filters)?;
    match search::read(&filters.q, &endpoints, t) {
        Typed::Nothing | Typed::Text(_) => {}
        Typed::Id(id) => match visit.api.get::<EventPage>(&format!("/events/{id}")).await {
            Ok(_) => return Ok(see(&format!("/ui/events/{id}"))),
            // It may be the id of an invoice, which is indexed, or of a payment.
            Err(problem) if problem.status() == http::StatusCode::NOT_FOUND => {
                let of_invoice = query(&[("invoice_id", filters.q.trim()), ("limit", "1")]);
                let found: EventList = visit.api.get(&format!("/events{of_invoice}")).await?;
                if !found.data.is_empty() {
                    (asked.q, invoice_id) = (String::new(), filters.q.trim().to_owned());
                }
            }
            Err(problem) => return Err(problem),
        },
        Typed::State(state) => return Ok(see(&format!("/ui/dispatches?state={}", state.as_str()))),
        Typed::Type(name) => (asked.q, asked.r#type) = (String::new(), name),
        Typed::Endpoint(name) => (asked.q, asked.endpoint) = (String::new(), name),
        Typed::Day(day) => {
            asked.q = String::new();
            if let Some((begin, end)) = search::span(day, visit.zone(Some(&asked.endpoint))) {
                (since, until) = (begin.to_string(), end.to_string());
            }
        }
    }
    let path = query(&[
        ("q", asked.q.trim()),
        ("type", &asked.r#type),
        ("endpoint", &asked.endpoint),
        ("invoice_id", &invoice_id),
        ("since", &since),
        ("until", &until),
        ("cursor", &asked.cursor),
        ("look_at", &LOOK_AT.to_string()),
    ]);
    let EventList { data, next_cursor, searched_until } = visit.api.get(&format!("/events{path}")).await?;
    let more = next_cursor.map(|cursor| {
        let Filters { q, r#type, endpoint, since, until, .. } = &filters;
        let of = [("q", q), ("type", r#type), ("endpoint", endpoint), ("since", since), ("until", until)];
        let all: Vec<(&str, &str)> = of.iter().map(|(name, value)| (*name, value.as_str())).collect();
        format!("/ui/events{}", query(&[all, vec![("cursor", cursor.as_str())]].concat()))
    });
    // A replay of what matches is offered for what the API can select.
    let selected = query(&[
        ("type", &asked.r#type),
        ("endpoint", &asked.endpoint),
        ("invoice_id", &invoice_id),
        ("since", &since),
        ("until", &until),
    ]);
    let can_replay_all = (!selected.is_empty() && asked.q.trim().is_empty() && !data.is_empty())
        .then(|| format!("/ui/events/replay{selected}"));
    let page = Page { is_live: filters.cursor.is_empty(), ..visit.page(Nav::Events, t.events_title) };
    visit.show(&Events {
        page,
        t,
        endpoints,
        rows: data.into_iter().map(|event| row(&visit, event)).collect(),
        more,
        searched_until: searched_until.map(|at| visit.time(at, None)),
        can_replay_all,
        filters,
    })
}

/// The days of the filters, as times.
fn days(visit: &Visit, filters: &Filters) -> Result<(String, String), Problem> {
    let zone = visit.zone(Some(&filters.endpoint));
    let read = |text: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        let span = search::day(text).and_then(|day| search::span(day, zone));
        span.map(Some).ok_or_else(|| super::bad_input("a day is written like 2026-10-31"))
    };
    let since = read(&filters.since)?.map(|(begin, _)| begin.to_string());
    let until = read(&filters.until)?.map(|(_, end)| end.to_string());
    Ok((since.unwrap_or_default(), until.unwrap_or_default()))
}

#[derive(Template)]
#[template(path = "event.html")]
struct One {
    page: Page,
    t: &'static Texts,
    row: Row,
    invoice_id: String,
    occurred_at: super::visit::Maybe,
    content_type: String,
    method: String,
    paid_at: String,
    payload: Option<String>,
    is_base64: bool,
    fault: String,
    sent: Vec<Sent>,
    /// The sinks that the event can be sent to.
    sinks: Vec<String>,
    endpoint_href: String,
}

/// `GET /ui/events/{id}`
pub(super) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let t = visit.t;
    let path = format!("/events/{}", encoded(&id));
    let (event, sinks) = tokio::join!(visit.api.get::<EventPage>(&path), visit.api.get::<List<SinkRow>>("/sinks"));
    let (event, sinks) = (event?, sinks?.data);
    let endpoint = event.event.endpoint.clone();
    let zone = endpoint.as_deref();
    let sent = event.dispatches.into_iter().map(|one| Sent::new(&visit, one.dispatch, one.attempt_log, zone)).collect();
    let is_base64 = event.payload_base64.is_some();
    let payload = event.payload.map(|raw| readable(raw.get())).or(event.payload_base64);
    let title = fill(t.event_title, &[("type", &event.event.r#type)]);
    let page = Page { is_live: true, ..visit.page(Nav::Events, title) };
    visit.show(&One {
        page,
        t,
        invoice_id: event.event.invoice_id.clone().unwrap_or_default(),
        occurred_at: visit.time_or_dash(event.event.occurred_at, zone),
        content_type: event.content_type.unwrap_or_else(|| "–".to_owned()),
        method: words::method(event.event.payment.method.as_deref(), t).to_owned(),
        paid_at: visit.paid_at(event.event.payment.paid_at.as_deref(), zone),
        payload,
        is_base64,
        fault: event.event.fault.clone().unwrap_or_default(),
        sent,
        sinks: sinks.into_iter().filter(|sink| sink.configured).map(|sink| sink.name).collect(),
        endpoint_href: endpoint.map(|name| format!("/ui/endpoints/{}", encoded(&name))).unwrap_or_default(),
        row: row(&visit, event.event),
    })
}

/// JSON with a line for each member, and everything else as it is: numbers keep their digits, members their order.
fn readable(json: &str) -> String {
    if let Ok(text) = serde_json::from_str::<String>(json) {
        return text;
    }
    let mut lines = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut letters = json.chars().filter(|c| !c.is_control()).peekable();
    let line = |lines: &mut String, depth: usize| {
        lines.push('\n');
        lines.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    while let Some(letter) = letters.next() {
        if in_text {
            lines.push(letter);
            (in_text, escaped) = (escaped || letter != '"', !escaped && letter == '\\');
            continue;
        }
        match letter {
            '"' => {
                in_text = true;
                lines.push(letter);
            }
            '{' | '[' => {
                lines.push(letter);
                while letters.next_if(|c| *c == ' ').is_some() {}
                if letters.peek().is_some_and(|c| matches!(c, '}' | ']')) {
                    lines.extend(letters.next());
                } else {
                    depth += 1;
                    line(&mut lines, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut lines, depth);
                lines.push(letter);
            }
            ',' => {
                lines.push(letter);
                line(&mut lines, depth);
            }
            ':' => lines.push_str(": "),
            ' ' => {}
            other => lines.push(other),
        }
    }
    lines
}

/// `GET /ui/events/{id}/replay`: asks whether to send the event again, to these sinks.
pub(super) async fn ask_replay(
    visit: Visit,
    Path(id): Path<String>,
    Query(fields): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let t = visit.t;
    let event: EventPage = visit.api.get(&format!("/events/{}", encoded(&id))).await?;
    let sinks: Vec<String> = fields.into_iter().filter(|(name, _)| name == "sink").map(|(_, sink)| sink).collect();
    let has_it = |sink: &String| {
        event.dispatches.iter().any(|one| one.dispatch.sink == *sink && one.dispatch.state == State::Delivered)
    };
    let mut lines = vec![if sinks.is_empty() {
        t.replay_to_all.to_owned()
    } else {
        fill(t.replay_to, &[("sinks", &sinks.join(", "))])
    }];
    let again: Vec<String> = sinks.iter().filter(|sink| has_it(sink)).cloned().collect();
    if !again.is_empty() {
        lines.push(fill(t.replay_again, &[("sinks", &again.join(", "))]));
    }
    lines.push(t.replay_books.to_owned());
    let question = Question {
        title: t.replay_title.to_owned(),
        lines,
        action: format!("/ui/events/{}/replay", encoded(&id)),
        fields: sinks.into_iter().map(|sink| ("sink", sink)).collect(),
        button: t.replay_button.to_owned(),
        back: format!("/ui/events/{}", encoded(&id)),
        ..Question::default()
    };
    ask(&visit, Nav::Events, question)
}

/// `POST /ui/events/{id}/replay`
pub(super) async fn replay(visit: Visit, Path(id): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let sinks = fields.all("sink");
    let body = if sinks.is_empty() { json!({}) } else { json!({ "sinks": sinks }) };
    let sent: List<DispatchRow> = visit.api.post(&format!("/events/{}/replay", encoded(&id)), &body).await?;
    Ok(see(&format!("/ui/events/{}?done=replayed&n={}", encoded(&id), sent.data.len())))
}

/// What selects the events of a replay.
const SELECTING: [&str; 5] = ["type", "endpoint", "invoice_id", "since", "until"];

/// The selection of a replay of many events, as the API takes it.
fn selection(fields: &Fields, is_trial: bool) -> serde_json::Value {
    let mut body = serde_json::Map::new();
    for name in SELECTING {
        let value = fields.one(name);
        if !value.is_empty() {
            body.insert(name.into(), value.into());
        }
    }
    let sinks = fields.all("sink");
    if !sinks.is_empty() {
        body.insert("sinks".into(), sinks.into());
    }
    body.insert("dry_run".into(), is_trial.into());
    if is_trial {
        body.insert("look_at".into(), COUNT_AMONG.into());
    }
    body.into()
}

/// `GET /ui/events/replay`: counts what would be sent again, and asks.
pub(super) async fn ask_replay_many(
    visit: Visit,
    Query(fields): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let t = visit.t;
    let fields = Fields::from(fields);
    let summary: crate::replay::Summary = visit.api.post("/events/replay", &selection(&fields, true)).await?;
    let mut lines = if summary.more {
        vec![t.at_least(t.at_least_n_events, summary.events), t.counted_in_part.to_owned()]
    } else {
        vec![t.count(t.replay_n_events, summary.events), t.count(t.replay_n_dispatches, summary.dispatches)]
    };
    lines.push(t.replay_books.to_owned());
    if summary.skipped > 0 {
        lines.push(t.count(t.replay_n_skipped, summary.skipped));
    }
    let names = SELECTING.into_iter().chain(["sink"]);
    let kept = names.flat_map(|name| fields.all(name).into_iter().map(move |value| (name, value)));
    let question = Question {
        title: t.replay_title.to_owned(),
        lines,
        action: "/ui/events/replay".to_owned(),
        fields: kept.collect(),
        button: if summary.more {
            t.replay_all_button.to_owned()
        } else {
            t.count(t.replay_n_button, summary.dispatches)
        },
        back: "/ui/events".to_owned(),
        is_empty: summary.dispatches == 0 && !summary.more,
        ..Question::default()
    };
    ask(&visit, Nav::Events, question)
}

/// `POST /ui/events/replay`
pub(super) async fn replay_many(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let summary: crate::replay::Summary = visit.api.post("/events/replay", &selection(&fields, false)).await?;
    Ok(see(&format!("/ui/dispatches?state=pending&done=replayed&n={}", summary.dispatches)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_digits_and_its_order() {
        let shown = readable(r#"{"b":1.50,"a":[12345678901234567890123, {}],"text":"a \"quoted\": {x}, \\"}"#);
        let expected = "{\n  \"b\": 1.50,\n  \"a\": [\n    12345678901234567890123,\n    {}\n  ],\n  \"text\": \"a \\\"quoted\\\": {x}, \\\\\"\n}";
        assert_eq!(shown, expected);
        assert_eq!(readable("\"not \\\"json\\\"\""), "not \"json\"");
        assert_eq!(readable("[]"), "[]");
    }
}
