//! Properties of the comparison, with stories of one invoice whose truth is known.

use jiff::civil::date;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{model::id::SinkName, store::reconciliations::Announcing};

const INVOICE: &str = "i1";

/// What happened to one payment.
#[derive(Debug, Clone)]
struct Told {
    cents: i64,
    day: i8,
    is_announced: bool,
    is_assigned: bool,
    names: bool,
    currency: &'static str,
    status: &'static str,
    line: Option<BookingState>,
    sent: Option<State>,
}

fn told() -> impl Strategy<Value = Told> {
    let states = [BookingState::Booked, BookingState::Seen, BookingState::Written, BookingState::Reserved];
    let sent = [State::Pending, State::Held, State::Dead, State::Delivered, State::Cancelled];
    (
        1..5_i64,
        1..28_i8,
        any::<[bool; 3]>(),
        prop::sample::select(vec!["EUR", "CHF"]),
        prop::sample::select(vec!["completed", "completed", "completed", "pending", "refunded", "failed"]),
        prop::option::of(prop::sample::select(states.to_vec())),
        prop::option::of(prop::sample::select(sent.to_vec())),
    )
        .prop_map(|(cents, day, [is_announced, is_assigned, names], currency, status, line, sent)| Told {
            cents: cents * 100,
            day,
            is_announced,
            is_assigned,
            names,
            currency,
            status,
            line: line.filter(|_| is_announced && is_assigned),
            sent: sent.filter(|_| is_announced),
        })
}

fn id(place: usize) -> EventId {
    EventId(uuid::Uuid::from_u128((1 << 100) + place as u128))
}

fn at(told: &Told, place: usize) -> Timestamp {
    let time = date(2026, 10, told.day).at(8, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
    // No two at the same instant, so that the nearest is always one.
    time + SignedDuration::from_mins(i64::try_from(place).unwrap() * 7)
}

fn scene(all: &[Told]) -> (Vec<Payment>, Evidence) {
    let mut evidence = Evidence::default();
    let payments = all.iter().enumerate().map(|(place, told)| Payment {
        id: format!("p{place:02}").into(),
        invoice_id: INVOICE.into(),
        amount_cents: told.cents,
        currency: Some(told.currency.into()),
        status: told.status.into(),
        method: None,
        paid_at: Some(PaidAt::At(at(told, place))),
        other: serde_json::Map::new(),
    });
    let payments: Vec<Payment> = payments.collect();
    for (place, told) in all.iter().enumerate().filter(|(_, told)| told.is_announced) {
        let time = at(told, place) + SignedDuration::from_secs(2);
        let mut data = json!({"invoiceId": INVOICE, "amountCents": told.cents, "currency": told.currency});
        if told.names || told.status != "completed" {
            data["paymentId"] = json!(payments[place].id);
        }
        let body = json!({"event": "payment.received", "data": data, "timestamp": time.to_string()});
        evidence.events.push(Announcing {
            event_id: id(place),
            invoice_id: INVOICE.into(),
            received_at: time,
            payload: Some(body.to_string().into_bytes()),
        });
        if told.is_assigned {
            evidence.belongs.push(Belongs {
                event_id: id(place),
                payment_id: payments[place].id.to_string(),
                invoice_id: INVOICE.into(),
                amount_cents: told.cents,
                is_late: false,
            });
        }
        if let Some(state) = told.line {
            evidence.lines.push(Line {
                sink: "compta".into(),
                payment_id: payments[place].id.to_string(),
                amount_cents: told.cents,
                currency: told.currency.into(),
                state,
            });
        }
        if let Some(state) = told.sent {
            evidence.sent.push(Sent {
                id: i64::try_from(place).unwrap(),
                event_id: id(place),
                sink: "compta".into(),
                state,
                reason: Some("because".into()),
            });
        }
    }
    (payments, evidence)
}

fn period() -> Period {
    Period {
        since: date(2026, 10, 1),
        until: date(2026, 10, 31),
        zone: TimeZone::UTC,
        window: SignedDuration::from_hours(7 * 24),
        not_after: None,
    }
}

fn compared(payments: &[Payment], evidence: &Evidence, period: &Period) -> Compared {
    let takers = |_: Option<&[u8]>| vec![Taker { name: SinkName::new("compta").unwrap(), keeps_books: true }];
    compare(&Case {
        endpoint: "production",
        invoice_id: INVOICE,
        payments,
        unreadable: &[],
        evidence,
        period,
        takers: &takers,
    })
}

proptest! {
    /// Every difference is one that happened, every one that happened is told once, and the sums are those of the truth.
    #[test]
    fn the_truth_is_told(all in prop::collection::vec(told(), 0..9)) {
        let (payments, evidence) = scene(&all);
        let found = compared(&payments, &evidence, &period());
        let mut expected = Vec::new();
        let mut sums: SumsByCurrency = SumsByCurrency::new();
        for (told, payment) in all.iter().zip(&payments) {
            let is_written = told.line.is_some_and(is_written);
            let mut tell = |kind, sink: Option<&str>| {
                expected.push((kind, payment.id.to_string(), sink.map(str::to_owned)));
            };
            if is_written {
                sums.entry(told.currency.into()).or_default().sinks.entry("compta".into()).or_default().booked.add(told.cents);
                if GONE.contains(&told.status) {
                    tell(DifferenceKind::RefundedAfterBooking, Some("compta"));
                }
            }
            if told.status != COMPLETED {
                continue;
            }
            sums.entry(told.currency.into()).or_default().finkare.add(told.cents);
            if !told.is_announced {
                tell(DifferenceKind::NeverAnnounced, None);
                continue;
            }
            let of_currency = sums.entry(told.currency.into()).or_default();
            of_currency.events.add(told.cents);
            let sink = of_currency.sinks.entry("compta".into()).or_default();
            if is_written {
                continue;
            }
            match told.sent {
                Some(State::Pending | State::Leased) => sink.open += 1,
                Some(State::Held) => {
                    sink.held += 1;
                    tell(DifferenceKind::Held, Some("compta"));
                }
                Some(State::Dead) => {
                    sink.dead += 1;
                    tell(DifferenceKind::Dead, Some("compta"));
                }
                Some(State::Delivered | State::Cancelled) | None => tell(DifferenceKind::NotBooked, Some("compta")),
            }
        }
        let mut told: Vec<_> = found
            .differences
            .iter()
            .map(|one| (one.kind, one.payment_id.clone().unwrap_or_default(), one.sink.clone()))
            .collect();
        told.sort();
        expected.sort();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(&found.sums, &sums);
        let lost: BTreeSet<String> = all.iter().zip(&payments)
            .filter(|(told, _)| told.status == COMPLETED && !told.is_announced)
            .map(|(_, payment)| payment.id.to_string())
            .collect();
        prop_assert_eq!(found.fillable, lost);
        prop_assert!(!found.is_open);
    }

    /// Two halves of a month tell together what the month tells.
    #[test]
    fn days_add_up(all in prop::collection::vec(told(), 0..9), split in 2..28_i8) {
        let (payments, evidence) = scene(&all);
        let whole = compared(&payments, &evidence, &period());
        let first = Period { until: date(2026, 10, split - 1), ..period() };
        let second = Period { since: date(2026, 10, split), ..period() };
        let (first, second) = (compared(&payments, &evidence, &first), compared(&payments, &evidence, &second));
        let mut sums = first.sums;
        add(&mut sums, second.sums);
        prop_assert_eq!(sums, whole.sums);
        let sorted = |differences: Vec<Difference>| {
            let mut lines: Vec<String> = differences.into_iter().map(|one| format!("{one:?}")).collect();
            lines.sort();
            lines
        };
        let halves = first.differences.into_iter().chain(second.differences).collect();
        prop_assert_eq!(sorted(halves), sorted(whole.differences));
    }
}

fn lost(day: i8) -> Told {
    Told {
        cents: 500,
        day,
        is_announced: false,
        is_assigned: false,
        names: false,
        currency: "EUR",
        status: COMPLETED,
        line: None,
        sent: None,
    }
}

#[test]
fn an_event_whose_body_is_gone_keeps_the_payment_from_being_filled() {
    let (payments, mut evidence) = scene(&[lost(5)]);
    evidence.events.push(Announcing {
        event_id: id(1),
        invoice_id: INVOICE.into(),
        received_at: at(&lost(5), 0),
        payload: None,
    });
    let found = compared(&payments, &evidence, &period());
    assert_eq!(found.differences.len(), 1);
    assert!(found.fillable.is_empty() && found.differences[0].detail.contains("payload has been removed"));
}

#[test]
fn what_the_ledger_has_was_announced_once() {
    let (payments, mut evidence) = scene(&[lost(5)]);
    let state = BookingState::Booked;
    let line =
        Line { sink: "compta".into(), payment_id: "p00".into(), amount_cents: 500, currency: "EUR".into(), state };
    evidence.lines.push(line);
    let found = compared(&payments, &evidence, &period());
    assert_eq!((found.differences, found.sums["EUR"].events.payments), (vec![], 1));
}

#[test]
fn a_filled_payment_may_be_announced_late_and_once() {
    let (payments, mut evidence) = scene(&[lost(5)]);
    let made = EventId::of_payment("production", "p00", at(&lost(5), 0));
    let event = |event_id, seconds| {
        let time = at(&lost(5), 0) + SignedDuration::from_secs(seconds);
        let body = json!({"data": {"invoiceId": INVOICE, "amountCents": 500}, "timestamp": time.to_string()});
        Announcing {
            event_id,
            invoice_id: INVOICE.into(),
            received_at: time,
            payload: Some(body.to_string().into_bytes()),
        }
    };
    evidence.events = vec![event(made, 0), event(id(1), 2)];
    evidence.belongs.push(Belongs {
        event_id: made,
        payment_id: "p00".into(),
        invoice_id: INVOICE.into(),
        amount_cents: 500,
        is_late: false,
    });
    let kinds = |found: &Compared| found.differences.iter().map(|one| one.kind).collect::<Vec<_>>();
    let found = compared(&payments, &evidence, &period());
    assert_eq!((kinds(&found), found.sums["EUR"].events.payments), (vec![DifferenceKind::NotBooked], 1));
    // Finkare announces it a third time.
    evidence.events.push(event(id(2), 60));
    let found = compared(&payments, &evidence, &period());
    assert_eq!(kinds(&found), [DifferenceKind::NotBooked, DifferenceKind::UnknownPayment]);
    assert_eq!((found.differences[1].event_id, found.is_open), (Some(id(2)), true));
}

#[test]
fn a_scheduled_pass_leaves_out_what_is_young() {
    let (payments, evidence) = scene(&[lost(5), lost(6)]);
    let young = Period { not_after: Some(at(&lost(5), 1)), ..period() };
    let found = compared(&payments, &evidence, &young);
    assert_eq!((found.differences.len(), found.sums["EUR"].finkare.payments), (1, 1));
}
