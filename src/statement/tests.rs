use std::time::Duration;

use super::*;
use crate::model::{
    booking::{Announced, Booking, BookingToken},
    dispatch::State,
    language::Language,
};

const EVENT: EventId = EventId(uuid::Uuid::from_u128(7));

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn settings() -> Settings {
    let paris = TimeZone::get("Europe/Paris").unwrap();
    let sink = |name: &str, kind, role| SinkOf { name: name.into(), kind, role };
    Settings {
        zones: [("production".to_owned(), paris)].into(),
        sinks: vec![
            sink("compta", "facturation_pro", Role::Books),
            sink("tiime", "tiime", Role::Watched),
            sink("erp", "http", Role::Carries),
            sink("equipe", "chat", Role::Tells),
        ],
        accounts: fec::Accounts::default(),
    }
}

fn october() -> Wanted {
    let month = "2026-10".parse().unwrap();
    Wanted { month, endpoint: None, sink: None, booked_only: false, endpoints: None, books: None, known: None }
}

fn recorded(payment: &str, cents: i64, paid_at: &str, state: BookingState) -> Recorded {
    let event_id = EventId(uuid::Uuid::from_u128(payment.bytes().fold(0, |id, byte| id * 256 + u128::from(byte))));
    Recorded {
        booking: Booking {
            sink: "compta".into(),
            payment_id: payment.into(),
            event_id,
            invoice_id: format!("invoice-{payment}"),
            invoice_number: format!("F-{payment}"),
            amount_cents: Cents(cents),
            currency: if payment.starts_with("usd") { "USD" } else { "EUR" }.into(),
            state,
            target_id: Some("815".into()),
            note: None,
            token: BookingToken(uuid::Uuid::nil()),
            began_at: at("2026-11-02T09:00:00Z"),
            began_ago: Duration::ZERO,
            settles_in: None,
            changed_at: at("2026-11-02T09:00:00Z"),
        },
        learned: Some(Learned {
            event_id,
            endpoint: "production".into(),
            payment_id: payment.into(),
            debtor: Some("Menuiserie Lefèvre".into()),
            method: Some("sepa_debit".into()),
            paid_at: paid_at.parse().ok(),
        }),
    }
}

fn open(event_id: EventId, state: State, payment: Option<&str>) -> Open {
    Open {
        id: DispatchId(4711),
        event_id,
        endpoint: "production".into(),
        sink: "compta".into(),
        state,
        reason: Some("the books do not have invoice F-9: create it there, then retry".into()),
        invoice_id: Some("invoice-9".into()),
        received_at: at("2026-10-20T08:00:00Z"),
        known: Some(Announced {
            event_id,
            invoice_id: "invoice-9".into(),
            amount_cents: Cents(8_000),
            currency: None,
            payment_id: payment.map(Into::into),
            invoice_number: Some("F-9".into()),
            debtor: None,
            method: None,
            paid_at: None,
        }),
        payload: None,
    }
}

fn rows() -> MonthRows {
    MonthRows {
        open: vec![open(EVENT, State::Held, None)],
        begun: vec![],
        finished: vec![
            recorded("usd-1", 999, "2026-10-31", BookingState::Booked),
            recorded("p-2", 123_456_789, "2026-10-31T22:59:59Z", BookingState::Seen),
            recorded("p-1", 45_050, "2026-10-01", BookingState::Booked),
            recorded("p-3", 1, "2026-10-31T23:00:00Z", BookingState::Booked),
        ],
    }
}

#[test]
fn a_month_is_written_in_one_way() {
    let month: Month = "2026-02".parse().unwrap();
    assert_eq!(month.to_string(), "2026-02");
    let span = month.span();
    assert_eq!((span.0.to_string(), span.1.to_string()), ("2026-01-31".to_owned(), "2026-03-01".to_owned()));
    for wrong in
        ["", "2026", "2026-2", "2026-13", "2026-00", "2026-02-01", "26-02", "+026-02", " 2026-02", "9999-01", "2026/02"]
    {
        assert_eq!(wrong.parse::<Month>(), Err(NoMonth), "{wrong}");
    }
}

/// Whatever moves from the queue into the books while it is read is in the statement once, in its furthest state.
#[test]
fn what_moves_while_it_is_read_is_there_once() {
    let booked = recorded("p-1", 45_050, "2026-10-01", BookingState::Booked);
    let begun =
        Recorded { booking: Booking { state: BookingState::Written, ..booked.booking.clone() }, ..booked.clone() };
    let event = booked.booking.event_id;
    let count = |rows: MonthRows| {
        let statement = draw(&october(), &settings(), rows);
        let part = statement.sinks.iter().find(|part| part.sink == "compta").unwrap();
        (part.bookings.len(), part.open.len())
    };
    let pending = || vec![open(event, State::Pending, Some("p-1"))];
    for (rows, expected) in [
        (MonthRows { open: pending(), begun: vec![begun.clone()], finished: vec![booked.clone()] }, (1, 0)),
        (MonthRows { open: pending(), begun: vec![begun.clone()], finished: vec![] }, (0, 1)),
        (MonthRows { open: vec![], begun: vec![begun.clone(), begun], finished: vec![] }, (0, 1)),
        (MonthRows { open: pending(), begun: vec![], finished: vec![booked.clone(), booked.clone()] }, (1, 0)),
        // Another event that announces the same payment once more.
        (
            MonthRows { open: vec![open(EVENT, State::Held, Some("p-1"))], begun: vec![], finished: vec![booked] },
            (1, 0),
        ),
    ] {
        assert_eq!(count(rows), expected);
    }
}

#[test]
fn the_order_in_which_it_was_read_does_not_matter() {
    let mut other = rows();
    other.finished.reverse();
    let (one, two) = (draw(&october(), &settings(), rows()), draw(&october(), &settings(), other));
    assert_eq!(one, two);
    let accounts = fec::Accounts::default();
    assert_eq!(fec::fec(&one, &accounts), fec::fec(&two, &accounts));
    assert_eq!(csv::csv(&one, Language::Fr), csv::csv(&two, Language::Fr));
}

#[test]
fn a_sum_that_no_amount_can_hold_is_none() {
    let most = || recorded("p-1", i64::MAX, "2026-10-01", BookingState::Booked);
    let other = recorded("p-2", 1, "2026-10-01", BookingState::Booked);
    let statement = draw(&october(), &settings(), MonthRows { finished: vec![most(), other], ..MonthRows::default() });
    assert_eq!((statement.sinks[0].sums[0].count, statement.sinks[0].sums[0].amount_cents), (2, None));
    assert!(text::text(&statement, Language::En).contains("too large"));
}

#[test]
fn people_read_it_in_french() {
    insta::assert_snapshot!(text::text(&draw(&october(), &settings(), rows()), Language::Fr));
}

#[test]
fn people_read_it_in_english() {
    insta::assert_snapshot!(text::text(&draw(&october(), &settings(), rows()), Language::En));
}

#[test]
fn an_entry_is_two_lines() {
    let hostile = |text: &str| text.to_owned();
    let mut rows = rows();
    rows.finished[2].learned.as_mut().unwrap().debtor = Some(hostile("Tab\tand\r\nline | \u{202e}bar"));
    insta::assert_snapshot!(fec::fec(&draw(&october(), &settings(), rows), &fec::Accounts::default()));
}
