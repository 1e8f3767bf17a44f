//! The statement of a month: what is in the books, what is not there yet, and the files for the accountant.

use askama::Template;
use axum::{
    extract::Query,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    api::query,
    texts::Texts,
    visit::{Nav, Page, Visit},
    words::{self, Pill, Why},
};
use crate::{
    model::dispatch::State,
    sinks::wording::format,
    statement::{BookedLine, Line, Month, OpenLine, Statement, Sum},
    web::{
        admin::{List, sinks::SinkRow},
        error::Problem,
    },
};

/// The most lines of a sink that a page shows; the files have all.
const MOST_SHOWN: usize = 100;
/// With more unfinished dispatches, a page leaves out what is not in the books yet, as each of them has to be looked at. The
/// files have all of it, and the list of payments shows it page by page.
const MANY: u64 = 5000;

/// Which statement, as it stands in the address.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    month: String,
    endpoint: String,
    sink: String,
    format: String,
}

#[derive(Template)]
#[template(path = "statement.html")]
struct Shown {
    page: Page,
    t: &'static Texts,
    wanted: Wanted,
    month: String,
    endpoints: Vec<String>,
    parts: Vec<Part>,
    csv: String,
    fec: String,
    /// Whether the accounting entries would mix several companies.
    is_fec_of_several: bool,
    before: String,
    after: Option<String>,
    /// Where what is not in the books yet is listed, if this page leaves it out.
    left_out: Option<String>,
}

/// One sink's part.
#[derive(Debug)]
struct Part {
    sink: String,
    kind: String,
    bookings: Vec<Booked>,
    sums: Vec<(u64, String)>,
    open: Vec<Open>,
    open_sums: Vec<(u64, String)>,
    is_cut: bool,
}

#[derive(Debug)]
struct Facts {
    payment_id: String,
    href: String,
    invoice: String,
    debtor: String,
    amount: String,
    paid_on: String,
    method: String,
}

#[derive(Debug)]
struct Booked {
    facts: Facts,
    state: Pill,
    on: String,
    target_id: String,
}

#[derive(Debug)]
struct Open {
    facts: Facts,
    state: String,
    class: &'static str,
    why: Option<Why>,
    since: String,
    event_id: String,
}

fn facts(visit: &Visit, line: &Line) -> Facts {
    let endpoint = line.endpoint.as_deref().unwrap_or_default();
    Facts {
        href: line
            .payment_id
            .as_ref()
            .map(|id| format!("/ui/payments/{}{}", super::api::encoded(id), query(&[("endpoint", endpoint)])))
            .filter(|href| visit.identity.may_see(href))
            .unwrap_or_default(),
        payment_id: line.payment_id.clone().unwrap_or_default(),
        invoice: line.invoice_number.clone().or_else(|| line.invoice_id.clone()).unwrap_or_else(|| "–".to_owned()),
        debtor: line.debtor.clone().unwrap_or_else(|| "–".to_owned()),
        amount: visit.money(line.amount_cents, line.currency.as_deref()),
        paid_on: line.paid_on.map_or_else(|| "–".to_owned(), |day| visit.day(day)),
        method: words::method(line.method.as_deref(), visit.t).to_owned(),
    }
}

fn booked(visit: &Visit, line: &BookedLine) -> Booked {
    Booked {
        facts: facts(visit, &line.line),
        state: words::booking(line.state, visit.t),
        on: visit.day(line.booked_on),
        target_id: line.target_id.clone().unwrap_or_default(),
    }
}

fn open(visit: &Visit, line: &OpenLine) -> Open {
    let t = visit.t;
    let dispatch: Option<State> = line.state.parse().ok();
    let (state, class) = match (dispatch, line.state.as_str()) {
        (Some(state), _) => {
            let pill = words::dispatch(state, t);
            (pill.text().to_owned(), pill.class())
        }
        (None, "reserved") => (t.booking_reserved.to_owned(), "info"),
        (None, "sending") => (t.booking_sending.to_owned(), "warn"),
        (None, "written") => (t.booking_written.to_owned(), "warn"),
        (None, other) => (other.to_owned(), "idle"),
    };
    let why = line.reason.as_deref().map(|reason| words::why(visit, dispatch.unwrap_or(State::Held), reason));
    Open {
        facts: facts(visit, &line.line),
        state,
        class,
        why,
        since: visit.day(line.since),
        event_id: line.event_id.to_string(),
    }
}

/// The month before, and the month after, of a month.
fn neighbours(month: Month) -> (String, String) {
    let first = month.first();
    let shift = |months: i32| {
        let count = i32::from(first.year()) * 12 + i32::from(first.month()) - 1 + months;
        format!("{:04}-{:02}", count.div_euclid(12), count.rem_euclid(12) + 1)
    };
    (shift(-1), shift(1))
}

/// The month of the page, and its address in the API.
fn asked(visit: &Visit, wanted: &Wanted, form: &str) -> (String, String) {
    let today = visit.now.to_zoned(visit.zone(Some(&wanted.endpoint)).clone()).date();
    let month = if wanted.month.is_empty() {
        format!("{:04}-{:02}", today.year(), today.month())
    } else {
        wanted.month.clone()
    };
    let path = query(&[
        ("month", month.as_str()),
        ("endpoint", wanted.endpoint.as_str()),
        ("sink", wanted.sink.as_str()),
        ("format", form),
        ("language", if form == "csv" { visit.language.as_str() } else { "" }),
    ]);
    (month, format!("/statement{path}"))
}

/// `GET /ui/statement`
pub(super) async fn show(visit: Visit, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let t = visit.t;
    let form = match wanted.format.as_str() {
        form @ ("csv" | "fec") => form,
        _ => "",
    };
    let (month, path) = asked(&visit, &wanted, form);
    if !form.is_empty() {
        return Ok(visit.api.download(&path).await?.into_response());
    }
    let (sinks, endpoints) = tokio::join!(visit.api.get::<List<SinkRow>>("/sinks"), visit.endpoints());
    let (sinks, endpoints) = (sinks?.data, endpoints?);
    let unfinished: u64 = sinks.iter().map(|sink| sink.backlog + sink.held + sink.dead).sum();
    let is_left_out = unfinished > MANY;
    let path = if is_left_out { format!("{path}&part=booked") } else { path };
    let statement: Statement = visit.api.get(&path).await?;
    let sums = |sums: &[Sum]| -> Vec<(u64, String)> {
        sums.iter().map(|sum| (sum.count, visit.money(sum.amount_cents, sum.currency.as_deref()))).collect()
    };
    let parts = statement.sinks.iter().map(|part| Part {
        sink: part.sink.clone(),
        kind: part.r#type.clone().unwrap_or_default(),
        bookings: part.bookings.iter().take(MOST_SHOWN).map(|line| booked(&visit, line)).collect(),
        sums: sums(&part.sums),
        open: part.open.iter().take(MOST_SHOWN).map(|line| open(&visit, line)).collect(),
        open_sums: sums(&part.open_sums),
        is_cut: part.bookings.len() > MOST_SHOWN || part.open.len() > MOST_SHOWN,
    });
    let parts = parts.collect();
    let of = |month: &str, form: &str| {
        let of = [
            ("month", month),
            ("endpoint", wanted.endpoint.as_str()),
            ("sink", wanted.sink.as_str()),
            ("format", form),
        ];
        format!("/ui/statement{}", query(&of))
    };
    // The API has accepted it, so it is one.
    let read: Month = month.parse().map_err(|_| super::bad_input("a month is written like 2026-10"))?;
    let (before, after) = neighbours(read);
    let today = visit.now.to_zoned(visit.zone(None).clone()).date();
    let is_past = (read.first().year(), read.first().month()) < (today.year(), today.month());
    let title = format!("{} · {}", t.statement_title, format::month(read.first(), visit.language));
    visit.show(&Shown {
        page: visit.page(Nav::Statement, title),
        t,
        is_fec_of_several: wanted.endpoint.is_empty() && endpoints.len() > 1,
        endpoints,
        parts,
        csv: of(&month, "csv"),
        fec: of(&month, "fec"),
        left_out: is_left_out.then(|| {
            let listed = [("state", "open"), ("endpoint", wanted.endpoint.as_str())];
            format!("/ui/payments{}", query(&listed))
        }),
        before: of(&before, ""),
        after: is_past.then(|| of(&after, "")),
        month,
        wanted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_across_years() {
        let of = |month: &str| neighbours(month.parse().unwrap());
        assert_eq!(of("2026-01"), ("2025-12".to_owned(), "2026-02".to_owned()));
        assert_eq!(of("2026-12"), ("2026-11".to_owned(), "2027-01".to_owned()));
    }
}
