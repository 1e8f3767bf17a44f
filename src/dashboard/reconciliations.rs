//! The reconciliations: Finkare's payments of some days beside the events and the books, to the cent.

use askama::Template;
use axum::{
    extract::{Path, Query},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    api::{encoded, query},
    confirm::{Question, ask},
    forms::Fields,
    search,
    texts::{Texts, fill},
    visit::{Maybe, Nav, Page, Time, Visit, see, sink_href},
    words::{self, Pill},
};
use crate::{
    model::reconciliation::{Difference, DifferenceKind, ReportState},
    statement::csv,
    web::{
        admin::{
            List,
            reconciliations::{Begun, InSink, Payments, ReconciliationPage, ReconciliationRow},
        },
        error::Problem,
    },
};

/// The most differences that a page shows; the download has all.
const MOST_SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "reconciliations.html")]
struct Reconciliations {
    page: Page,
    t: &'static Texts,
    endpoints: Vec<String>,
    rows: Vec<Row>,
    more: Option<String>,
}

/// A reconciliation.
#[derive(Debug)]
struct Row {
    href: String,
    endpoint: String,
    days: String,
    state: Pill,
    count: u64,
    is_equal: bool,
    started_at: Time,
    finished_at: Maybe,
    actor: String,
    is_fill: bool,
    problem: String,
    unreadable: u64,
}

fn row(visit: &Visit, report: &ReconciliationRow) -> Row {
    let t = visit.t;
    let zone = Some(report.endpoint.as_str());
    let count: u64 = report.counts.values().sum();
    Row {
        href: format!("/ui/reconciliations/{}", report.id),
        endpoint: report.endpoint.clone(),
        days: fill(t.days_from_to, &[("since", &visit.day(report.since)), ("until", &visit.day(report.until))]),
        state: words::report(report.state, t),
        count,
        is_equal: report.state == ReportState::Done && count == 0 && report.unreadable == 0,
        started_at: visit.time(report.started_at, zone),
        finished_at: visit.time_or_dash(report.finished_at, zone),
        actor: report.actor.clone(),
        is_fill: report.fill,
        problem: report.problem.clone().unwrap_or_default(),
        unreadable: report.unreadable,
    }
}

/// Where in the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    cursor: String,
}

/// `GET /ui/reconciliations`
pub(super) async fn list(visit: Visit, Query(place): Query<Place>) -> Result<Response, Problem> {
    let t = visit.t;
    let path = format!("/reconciliations{}", query(&[("cursor", place.cursor.as_str())]));
    let (found, endpoints) = tokio::join!(visit.api.get::<List<ReconciliationRow>>(&path), visit.endpoints());
    let List { data, next_cursor } = found?;
    let is_live = place.cursor.is_empty();
    visit.show(&Reconciliations {
        page: Page { is_live, ..visit.page(Nav::Reconciliations, t.reconciliations_title) },
        t,
        endpoints: endpoints?,
        rows: data.iter().map(|report| row(&visit, report)).collect(),
        more: next_cursor.map(|cursor| format!("/ui/reconciliations{}", query(&[("cursor", cursor.as_str())]))),
    })
}

/// `POST /ui/reconciliations`: begins one; with `fill` it is asked about first.
pub(super) async fn begin(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let t = visit.t;
    let is_fill = fields.one("fill") == "yes";
    if is_fill && fields.one("sure") != "yes" {
        let kept = ["endpoint", "since", "until"].map(|name| (name, fields.one(name).to_owned()));
        let question = Question {
            title: t.fill_title.to_owned(),
            lines: vec![t.fill_means.to_owned(), t.fill_once.to_owned()],
            action: "/ui/reconciliations".to_owned(),
            fields: kept.into_iter().chain([("fill", "yes".to_owned()), ("sure", "yes".to_owned())]).collect(),
            button: t.fill_button.to_owned(),
            back: "/ui/reconciliations".to_owned(),
            ..Question::default()
        };
        return ask(&visit, Nav::Reconciliations, question);
    }
    let mut body = json!({ "fill": is_fill });
    for name in ["endpoint", "since", "until"] {
        if !fields.one(name).is_empty() {
            let typed = fields.one(name);
            // The days as a person may write them.
            body[name] = search::day(typed).map_or_else(|| typed.to_owned(), |day| day.to_string()).into();
        }
    }
    let begun: Begun = visit.api.post("/reconciliations", &body).await?;
    Ok(see(&format!("/ui/reconciliations/{}?done=reconciling", begun.id)))
}

#[derive(Template)]
#[template(path = "reconciliation.html")]
struct One {
    page: Page,
    t: &'static Texts,
    row: Row,
    blocks: Vec<Block>,
    groups: Vec<Group>,
    /// True if there are more than are shown.
    is_cut: bool,
    can_fill: bool,
    since: String,
    until: String,
}

/// The sums of one currency.
#[derive(Debug)]
struct Block {
    finkare: (u64, String),
    events: (u64, String),
    sinks: Vec<InBooks>,
}

#[derive(Debug)]
struct InBooks {
    name: String,
    href: String,
    booked: u64,
    amount: String,
    held: u64,
    open: u64,
    dead: u64,
}

/// The differences of one kind.
#[derive(Debug)]
struct Group {
    title: String,
    to_do: &'static str,
    rows: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    payment_id: String,
    payment_href: String,
    event_id: String,
    invoice_id: String,
    amount: String,
    paid_at: String,
    sink: String,
    detail: String,
}

fn block(visit: &Visit, finkare: &Payments, events: &Payments, sinks: Vec<InSink>) -> Block {
    let sum = |sum: &Payments| (sum.payments, visit.money(Some(sum.amount_cents), sum.currency.as_deref()));
    let sinks = sinks.into_iter().map(|sink| InBooks {
        href: sink_href(&sink.sink),
        amount: visit.money(Some(sink.amount_cents), sink.currency.as_deref()),
        booked: sink.booked,
        held: sink.held,
        open: sink.open,
        dead: sink.dead,
        name: sink.sink,
    });
    Block { finkare: sum(finkare), events: sum(events), sinks: sinks.collect() }
}

fn found(visit: &Visit, endpoint: &str, one: &Difference) -> Found {
    let of = query(&[("endpoint", endpoint)]);
    Found {
        payment_href: match &one.payment_id {
            // What was never announced has no page, until it is filled.
            Some(id) if one.event_id.is_some() => format!("/ui/payments/{}{of}", encoded(id)),
            _ => String::new(),
        },
        payment_id: one.payment_id.clone().unwrap_or_default(),
        event_id: one.event_id.map(|id| id.to_string()).unwrap_or_default(),
        invoice_id: one.invoice_id.clone().unwrap_or_default(),
        amount: visit.money(one.amount_cents, one.currency.as_deref()),
        paid_at: visit.paid_at(one.paid_at.as_deref(), Some(endpoint)),
        sink: one.sink.clone().unwrap_or_default(),
        detail: one.detail.clone(),
    }
}

/// `GET /ui/reconciliations/{id}`
pub(super) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let t = visit.t;
    let report: ReconciliationPage = visit.api.get(&format!("/reconciliations/{}", encoded(&id))).await?;
    let ReconciliationPage { row: report, differences } = report;
    let groups = DifferenceKind::ALL.iter().filter_map(|kind| {
        let count = report.counts.get(kind).copied().unwrap_or_default();
        let of_kind = differences.iter().filter(|one| one.kind == *kind);
        let rows: Vec<Found> = of_kind.take(MOST_SHOWN).map(|one| found(&visit, &report.endpoint, one)).collect();
        let (title, to_do) = words::difference(*kind, t);
        (!rows.is_empty()).then(|| Group { title: format!("{} ({count})", words::capital(title)), to_do, rows })
    });
    let groups: Vec<Group> = groups.collect();
    let shown: usize = groups.iter().map(|group| group.rows.len()).sum();
    let never = report.counts.get(&DifferenceKind::NeverAnnounced).copied().unwrap_or_default();
    let shown_row = row(&visit, &report);
    let mut blocks = vec![block(&visit, &report.finkare, &report.events, report.sinks)];
    blocks.extend(report.other_currencies.into_iter().map(|of| block(&visit, &of.finkare, &of.events, of.sinks)));
    let title = fill(t.reconciliation_title, &[("endpoint", &report.endpoint)]);
    visit.show(&One {
        page: Page { is_live: report.state == ReportState::Running, ..visit.page(Nav::Reconciliations, title) },
        t,
        is_cut: shown < differences.len(),
        groups,
        blocks,
        can_fill: never > 0 && report.state == ReportState::Done && !report.fill,
        since: report.since.to_string(),
        until: report.until.to_string(),
        row: shown_row,
    })
}

/// `GET /ui/reconciliations/{id}/differences.csv`: all of them, in the form of the statement's file for a spreadsheet.
pub(super) async fn download(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let report: ReconciliationPage = visit.api.get(&format!("/reconciliations/{}", encoded(&id))).await?;
    let t = visit.t;
    let line = |cells: [&str; 8]| cells.map(|text| csv::cell(text, ';')).join(";") + "\r\n";
    let mut text = String::from("\u{feff}");
    text += &line([t.col_kind, t.col_payment, t.col_invoice, t.col_amount, t.currency, t.paid, t.col_sink, t.details]);
    for one in &report.differences {
        text += &line([
            words::difference(one.kind, t).0,
            one.payment_id.as_deref().unwrap_or_default(),
            one.invoice_id.as_deref().unwrap_or_default(),
            &one.amount_cents.map(csv::amount).unwrap_or_default(),
            one.currency.as_deref().unwrap_or_default(),
            one.paid_at.as_deref().unwrap_or_default(),
            one.sink.as_deref().unwrap_or_default(),
            &t.told(&one.detail),
        ]);
    }
    Ok(super::file(text, "text/csv; charset=utf-8", &format!("finkare-reconciliation-{}.csv", report.row.id)))
}
