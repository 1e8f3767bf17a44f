//! The payments: did this payment arrive, and where does it stand? One search field finds it by what a person knows of it.

use askama::Template;
use axum::{
    extract::{Path, Query},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    api::{LOOK_AT, encoded, query},
    bad_input,
    forms::Fields,
    search,
    texts::{Texts, fill},
    visit::{Nav, Page, Time, Visit, see, sink_href},
    words::{self, Pill, why},
};
use crate::{
    model::{booking::BookingState, dispatch::State},
    statement::Role,
    web::{
        admin::{
            bookings::Settlement,
            payments::{Next, PaymentInSink, PaymentList, PaymentRow},
        },
        error::Problem,
    },
};

/// The filters, as they stand in the address.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    q: String,
    state: String,
    endpoint: String,
    since: String,
    until: String,
    cursor: String,
}

/// The states that a list can be limited to, in the order of the filter.
const STATES: [&str; 7] = ["open", "held", "dead", "in_doubt", "paused", "waits", "done"];

#[derive(Template)]
#[template(path = "payments.html")]
struct Payments {
    page: Page,
    t: &'static Texts,
    filters: Filters,
    states: Vec<(&'static str, &'static str, bool)>,
    endpoints: Vec<String>,
    rows: Vec<Row>,
    more: Option<String>,
    searched_until: Option<Time>,
}

/// A payment in the list.
#[derive(Debug)]
struct Row {
    href: String,
    payment_id: String,
    event_id: String,
    endpoint: String,
    title: String,
    debtor: String,
    amount: String,
    paid_at: String,
    received_at: Time,
    sinks: Vec<(String, Pill)>,
}

/// What is still to be done in one sink, as a label.
fn next_pill(next: Next, t: &Texts) -> Pill {
    use words::Mood;
    let (word, text, mood) = match next {
        Next::Done => ("done", t.next_done, Mood::Good),
        Next::Waits => ("waits", t.next_waits, Mood::Info),
        Next::Paused => ("paused", t.next_paused, Mood::Warn),
        Next::Held => ("held", t.state_held, Mood::Warn),
        Next::Dead => ("dead", t.state_dead, Mood::Bad),
        Next::InDoubt => ("in_doubt", t.next_in_doubt, Mood::Bad),
        Next::Nothing => ("nothing", t.next_nothing, Mood::Idle),
    };
    Pill::new(word, text, mood)
}

/// The page of a payment; before it is decided which payment it is, that of the event.
fn href(row: &PaymentRow) -> String {
    match &row.payment.payment_id {
        Some(id) if row.decided => {
            let endpoint = row.endpoint.as_deref().unwrap_or_default();
            format!("/ui/payments/{}{}", encoded(id), query(&[("endpoint", endpoint)]))
        }
        _ => format!("/ui/events/{}", row.event.id),
    }
}

fn row(visit: &Visit, row: PaymentRow) -> Row {
    let t = visit.t;
    let zone = row.endpoint.as_deref();
    Row {
        // A payment that is not decided yet has no page but that of its event.
        href: Some(href(&row)).filter(|href| visit.identity.may_see(href)).unwrap_or_default(),
        payment_id: row.payment.payment_id.clone().unwrap_or_default(),
        event_id: row.event.id.to_string(),
        title: row
            .payment
            .invoice_number
            .clone()
            .or_else(|| row.invoice_id.clone())
            .unwrap_or_else(|| t.unknown_invoice.to_owned()),
        debtor: row.payment.debtor.clone().unwrap_or_else(|| "–".to_owned()),
        amount: visit.money(row.payment.amount_cents, row.payment.currency.as_deref()),
        paid_at: visit.paid_at(row.payment.paid_at.as_deref(), zone),
        received_at: visit.time(row.event.received_at, zone),
        sinks: row
            .sinks
            .iter()
            .filter(|sink| sink.role != Some(Role::Tells))
            .map(|sink| (sink.sink.clone(), next_pill(sink.next, t)))
            .collect(),
        endpoint: row.endpoint.unwrap_or_default(),
    }
}

/// `GET /ui/payments`
pub(super) async fn list(visit: Visit, Query(filters): Query<Filters>) -> Result<Response, Problem> {
    let t = visit.t;
    let zone = visit.zone(Some(&filters.endpoint));
    let day = |text: &str| match (text, search::day(text)) {
        ("", _) => Ok(None),
        (_, Some(day)) => Ok(search::span(day, zone)),
        _ => Err(bad_input("a day is written like 2026-10-31")),
    };
    let since = day(&filters.since)?.map(|(begin, _)| begin.to_string()).unwrap_or_default();
    let until = day(&filters.until)?.map(|(_, end)| end.to_string()).unwrap_or_default();
    let path = query(&[
        ("q", filters.q.trim()),
        ("state", &filters.state),
        ("endpoint", &filters.endpoint),
        ("since", &since),
        ("until", &until),
        ("cursor", &filters.cursor),
        ("look_at", &LOOK_AT.to_string()),
    ]);
    let path = format!("/payments{path}");
    let (found, endpoints) = tokio::join!(visit.api.get::<PaymentList>(&path), visit.endpoints());
    let PaymentList { data, next_cursor, searched_until } = found?;
    // Whoever looks for one payment sees it at once.
    if let [only] = data.as_slice()
        && !filters.q.trim().is_empty()
        && filters.cursor.is_empty()
        && next_cursor.is_none()
        && visit.identity.may_see(&href(only))
    {
        return Ok(see(&href(only)));
    }
    let more = next_cursor.map(|cursor| {
        let Filters { q, state, endpoint, since, until, .. } = &filters;
        let all = [("q", q), ("state", state), ("endpoint", endpoint), ("since", since), ("until", until)];
        let mut all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.push(("cursor", &cursor));
        format!("/ui/payments{}", query(&all))
    });
    let name = |state: &'static str| match state {
        "open" => t.payments_open,
        "held" => t.state_held,
        "dead" => t.state_dead,
        "in_doubt" => t.next_in_doubt,
        "paused" => t.next_paused,
        "waits" => t.next_waits,
        _ => t.payments_done,
    };
    let page = Page { is_live: filters.cursor.is_empty(), ..visit.page(Nav::Payments, t.payments_title) };
    visit.show(&Payments {
        page,
        t,
        states: STATES.map(|state| (state, name(state), state == filters.state)).to_vec(),
        endpoints: endpoints?,
        rows: data.into_iter().map(|one| row(&visit, one)).collect(),
        more,
        searched_until: searched_until.map(|at| visit.time(at, None)),
        filters,
    })
}

#[derive(Template)]
#[template(path = "payment.html")]
struct Payment {
    page: Page,
    t: &'static Texts,
    row: Row,
    is_open: bool,
    needs_person: bool,
    invoice_number: String,
    invoice_id: String,
    method: String,
    event: Announcement,
    late: Option<Announcement>,
    systems: Vec<System>,
    others: Vec<System>,
    can_see_events: bool,
}

/// An event that announced the payment.
#[derive(Debug)]
struct Announcement {
    id: String,
    r#type: String,
    at: Time,
    deliveries: u32,
    is_reconciled: bool,
    is_stored: bool,
}

/// A system that gets the payment.
#[derive(Debug)]
struct System {
    sink: String,
    href: String,
    kind: String,
    next: Pill,
    /// What the state means, for somebody who does not know it.
    means: String,
    booking: Option<(Pill, String, String, Time)>,
    target_id: String,
    note: String,
    to_do: String,
    raw: String,
    next_at: Option<Time>,
    dispatch_id: String,
    event_href: String,
    can_retry: bool,
    settle: Option<String>,
}

fn announcement(visit: &Visit, event: &crate::web::admin::payments::PaymentEvent, zone: Option<&str>) -> Announcement {
    Announcement {
        id: event.id.to_string(),
        r#type: event.r#type.clone(),
        at: visit.time(event.received_at, zone),
        deliveries: event.deliveries.unwrap_or(1),
        is_reconciled: event.origin.is_some(),
        is_stored: event.stored,
    }
}

fn system(visit: &Visit, one: PaymentInSink, payment_id: &str, zone: Option<&str>) -> System {
    let t = visit.t;
    let explained = one
        .dispatch
        .as_ref()
        .filter(|dispatch| matches!(dispatch.state, State::Held | State::Dead))
        .and_then(|dispatch| Some(why(visit, dispatch.state, dispatch.last_error.as_deref()?)));
    let state = one.booking.as_ref().map(|booking| booking.state);
    let means = match (one.next, state) {
        (_, Some(BookingState::Booked)) => t.means_booked,
        (_, Some(BookingState::Seen)) => t.means_seen,
        (Next::Done, _) => t.means_done,
        (Next::Waits, _) => t.means_waits,
        (Next::Paused, _) => t.means_paused,
        (Next::InDoubt, _) => t.means_in_doubt,
        (Next::Nothing, _) => t.means_nothing,
        (Next::Held | Next::Dead, _) => "",
    };
    let (why_means, mut to_do, raw) = explained.map_or_else(Default::default, |why| (why.means, why.to_do, why.raw));
    if one.next == Next::InDoubt {
        t.do_in_doubt.clone_into(&mut to_do);
    }
    let unfinished = matches!(state, Some(BookingState::Sending | BookingState::Written));
    System {
        href: sink_href(&one.sink),
        kind: one.r#type.unwrap_or_else(|| "–".to_owned()),
        next: next_pill(one.next, t),
        means: if why_means.is_empty() { means.to_owned() } else { why_means },
        target_id: one.booking.as_ref().and_then(|booking| booking.target_id.clone()).unwrap_or_default(),
        note: one.booking.as_ref().and_then(|booking| booking.note.clone()).unwrap_or_default(),
        booking: one.booking.map(|booking| {
            (
                words::booking(booking.state, t),
                visit.money(Some(booking.amount_cents), Some(&booking.currency)),
                booking.invoice_number,
                visit.time(booking.changed_at, zone),
            )
        }),
        to_do,
        raw,
        next_at: one.next_at.map(|at| visit.time(at, zone)),
        can_retry: matches!(one.next, Next::Held | Next::Dead),
        dispatch_id: one.dispatch.as_ref().map(|dispatch| dispatch.id.to_string()).unwrap_or_default(),
        event_href: one
            .dispatch
            .as_ref()
            .map(|dispatch| format!("/ui/events/{}#dispatch-{}", dispatch.event_id, dispatch.id))
            .unwrap_or_default(),
        settle: unfinished
            .then(|| format!("/ui/payments/{}/settle{}", encoded(payment_id), query(&[("sink", one.sink.as_str())]))),
        sink: one.sink,
    }
}

/// Which of the payments with one id: two companies could have the same one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Of {
    endpoint: String,
}

/// `GET /ui/payments/{payment_id}`
pub(super) async fn show(
    visit: Visit,
    Path(payment_id): Path<String>,
    Query(of): Query<Of>,
) -> Result<Response, Problem> {
    let t = visit.t;
    let path = format!("/payments/{}{}", encoded(&payment_id), query(&[("endpoint", of.endpoint.as_str())]));
    let found: PaymentRow = visit.api.get(&path).await?;
    let zone = found.endpoint.clone();
    let zone = zone.as_deref();
    let event = announcement(&visit, &found.event, zone);
    let late = found.late.as_ref().map(|late| announcement(&visit, late, zone));
    let is_open = found.open;
    let mut counted = found.sinks.iter().filter(|sink| sink.role != Some(Role::Tells));
    let needs_person = counted.any(|sink| matches!(sink.next, Next::Held | Next::Dead | Next::InDoubt | Next::Paused));
    let invoice_id = found.invoice_id.clone().unwrap_or_default();
    let invoice_number = found.payment.invoice_number.clone().unwrap_or_else(|| "–".to_owned());
    let method = words::method(found.payment.method.as_deref(), t).to_owned();
    let mut found = found;
    let (systems, others): (Vec<_>, Vec<_>) = std::mem::take(&mut found.sinks)
        .into_iter()
        .partition(|sink| !matches!(sink.role, Some(Role::Carries | Role::Tells)) || sink.booking.is_some());
    let show =
        |sinks: Vec<PaymentInSink>| sinks.into_iter().map(|one| system(&visit, one, &payment_id, zone)).collect();
    let row = row(&visit, found);
    let page = Page { is_live: true, ..visit.page(Nav::Payments, fill(t.payment_title, &[("amount", &row.amount)])) };
    visit.show(&Payment {
        page,
        t,
        is_open,
        needs_person,
        invoice_number,
        invoice_id,
        method,
        event,
        late,
        systems: show(systems),
        others: show(others),
        can_see_events: visit.identity.may_see("/ui/events"),
        row,
    })
}

#[derive(Template)]
#[template(path = "settle.html")]
struct Settle {
    page: Page,
    t: &'static Texts,
    payment_id: String,
    sink: String,
    back: String,
}

/// Whose booking.
#[derive(Debug, Deserialize)]
pub(super) struct InSink {
    sink: String,
}

/// `GET /ui/payments/{payment_id}/settle`
pub(super) async fn ask_settle(
    visit: Visit,
    Path(payment_id): Path<String>,
    Query(InSink { sink }): Query<InSink>,
) -> Result<Response, Problem> {
    let t = visit.t;
    let back = format!("/ui/payments/{}", encoded(&payment_id));
    visit.show(&Settle { page: visit.page(Nav::Payments, t.settle_title), t, payment_id, sink, back })
}

/// `POST /ui/payments/{payment_id}/settle`
pub(super) async fn settle(visit: Visit, Path(payment_id): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let recorded = match fields.one("recorded") {
        "yes" => true,
        "no" => false,
        _ => return Err(bad_input("say whether the books hold the payment")),
    };
    let mut body = json!({ "sink": fields.one("sink"), "payment_id": payment_id, "recorded": recorded });
    if !fields.one("target_id").is_empty() {
        body["target_id"] = fields.one("target_id").into();
    }
    let settled: Settlement = visit.api.post("/bookings/settle", &body).await?;
    let word = if settled.recorded { "settled_recorded" } else { "settled_missing" };
    Ok(see(&format!("/ui/payments/{}?done={word}", encoded(&payment_id))))
}
