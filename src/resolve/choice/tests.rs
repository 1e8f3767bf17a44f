//! The choice of a payment, with the expected payment by its name.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::money::Cents;

const DAY: u64 = 24 * 60;
const WINDOW: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Minutes after the beginning of a day; the events of these tests are of the day `30`.
fn at(minute: u64) -> Timestamp {
    "2026-10-16T10:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(60 * minute)
}

/// The event's own time, unless a test gives another one.
const NOW: u64 = 30 * DAY;

fn asked() -> Asked {
    Asked {
        invoice_id: "i".into(),
        amount: Cents(100),
        payment_id: None,
        currency: None,
        method: None,
        paid_at: None,
        timestamp: Some(at(NOW)),
    }
}

fn undated(id: &str, status: &str) -> Payment {
    Payment {
        id: id.into(),
        invoice_id: "i".into(),
        amount_cents: 100,
        currency: Some("EUR".into()),
        status: status.into(),
        method: Some("card".into()),
        paid_at: None,
        other: serde_json::Map::new(),
    }
}

fn payment(id: &str, minute: u64, status: &str) -> Payment {
    Payment { paid_at: Some(PaidAt::At(at(minute))), ..undated(id, status) }
}

fn on(id: &str, date: &str, status: &str) -> Payment {
    Payment { paid_at: Some(date.parse().unwrap()), ..undated(id, status) }
}

fn of<'a>(asked: &Asked, payments: &'a [Payment], taken: &[&str]) -> Choice<'a> {
    let taken = taken.iter().map(|id| (*id).to_owned()).collect();
    choose(asked, at(0), Field { payments, unreadable: &[], taken: &taken, window: WINDOW })
}

#[test]
fn the_nearest_one_decides_whatever_has_become_of_it() {
    let all = [
        payment("october", 0, COMPLETED),
        payment("last week", NOW - 6 * DAY, COMPLETED),
        payment("its own", NOW - 2, PENDING),
        Payment { amount_cents: 99, ..payment("less", NOW, COMPLETED) },
        Payment { invoice_id: "j".into(), ..payment("other invoice", NOW, COMPLETED) },
    ];
    assert_eq!(of(&asked(), &all, &[]), Choice::Pending { payment: &all[2], other: Some(&all[1]) });
    assert_eq!(of(&asked(), &all, &["last week"]), Choice::Pending { payment: &all[2], other: Some(&all[0]) });
    for (status, expected) in [
        ("settled?", Choice::Unknown { payment: &payment("its own", NOW - 2, "settled?"), other: Some(&all[1]) }),
        (FAILED, Choice::Lost { payment: &payment("its own", NOW - 2, FAILED), other: Some(&all[1]) }),
        (REFUNDED, Choice::Lost { payment: &payment("its own", NOW - 2, REFUNDED), other: Some(&all[1]) }),
        (COMPLETED, Choice::Take(&payment("its own", NOW - 2, COMPLETED))),
    ] {
        let mut now = all.clone();
        now[2].status = status.into();
        assert_eq!(of(&asked(), &now, &[]), expected, "{status}");
    }
    // Its own payment is not visible: only last week's payment is within the window.
    assert_eq!(of(&asked(), &all[..2], &[]), Choice::Take(&all[1]));
    let paid_then = Asked { paid_at: Some(PaidAt::At(at(NOW - 6 * DAY))), ..asked() };
    assert_eq!(of(&paid_then, &all, &[]), Choice::Take(&all[1]), "the body's own `paidAt` counts most");
    let no_time = Asked { timestamp: None, ..asked() };
    assert_eq!(of(&no_time, &all, &[]), Choice::Take(&all[0]), "then the time of receipt");
}

/// October was booked by hand before the relay was installed; November is announced.
#[test]
fn what_is_dated_beyond_the_window_is_never_the_one() {
    let october = [payment("october", 0, COMPLETED)];
    assert_eq!(of(&asked(), &october, &[]), Choice::Far(&october[0]));
    let november = [payment("october", 0, COMPLETED), payment("november", NOW, COMPLETED)];
    assert_eq!(of(&asked(), &november, &[]), Choice::Take(&november[1]));
    assert_eq!(
        of(&asked(), &november, &["november"]),
        Choice::Taken { payment: &november[1], other: Some(&november[0]) },
        "a repetition of November is not October"
    );
    // To the second, on both sides of the event.
    for (secs, is_it) in [(7 * 86_400, true), (7 * 86_400 + 1, false)] {
        for sign in [1, -1] {
            let paid_at = PaidAt::At(at(NOW) + SignedDuration::from_secs(sign * secs));
            let edge = [Payment { paid_at: Some(paid_at), ..undated("edge", COMPLETED) }];
            let expected = if is_it { Choice::Take(&edge[0]) } else { Choice::Far(&edge[0]) };
            assert_eq!(of(&asked(), &edge, &[]), expected, "{sign} * {secs}");
        }
    }
    // A due date in the far future is not near either, and is named as the nearest payment.
    let due = [payment("due", NOW + 30 * DAY, PENDING)];
    assert_eq!(of(&asked(), &due, &[]), Choice::Far(&due[0]));
}

#[test]
fn what_has_no_date_is_never_taken_and_may_stand_in_the_way() {
    let completed = [undated("timeless", COMPLETED)];
    assert_eq!(of(&asked(), &completed, &[]), Choice::Far(&completed[0]));
    let dated = Asked { paid_at: Some(PaidAt::At(at(NOW))), ..asked() };
    assert_eq!(of(&dated, &completed, &[]), Choice::Far(&completed[0]), "it may be of any year");

    let mut all = [payment("earlier", NOW - 3 * DAY, COMPLETED), undated("open", PENDING)];
    assert_eq!(of(&asked(), &all, &[]), Choice::Pending { payment: &all[1], other: Some(&all[0]) });
    assert_eq!(of(&asked(), &all, &["open"]), Choice::Take(&all[0]), "unless another event has it");
    all[0] = payment("just now", NOW - 5, COMPLETED);
    assert_eq!(of(&asked(), &all, &[]), Choice::Take(&all[0]), "what is dated at the event's time is its own");
    let far = [payment("october", 0, COMPLETED), undated("open", PENDING)];
    assert_eq!(of(&asked(), &far, &[]), Choice::Pending { payment: &far[1], other: Some(&far[0]) });
    let lost = [undated("lost", FAILED)];
    assert_eq!(of(&asked(), &lost, &[]), Choice::Lost { payment: &lost[0], other: None });
}

#[test]
fn what_cannot_be_read_stands_in_the_way_of_an_earlier_one_only() {
    let bad = |id: Option<&str>| UnreadableItem { id: id.map(str::to_owned), problem: "`status` is missing".into() };
    let unreadable = [bad(Some("bad"))];
    let none = HashSet::new();
    let field = |payments| Field { payments, unreadable: &unreadable, taken: &none, window: WINDOW };
    let own = [payment("own", NOW - 2, COMPLETED)];
    assert_eq!(choose(&asked(), at(0), field(&own)), Choice::Take(&own[0]), "siblings are not hidden");
    let earlier = [payment("earlier", NOW - 3 * DAY, COMPLETED)];
    let expected = Choice::Unreadable { payment: &unreadable[0], other: Some(&earlier[0]) };
    assert_eq!(choose(&asked(), at(0), field(&earlier)), expected);
    assert_eq!(choose(&asked(), at(0), field(&[])), Choice::Unreadable { payment: &unreadable[0], other: None });
    let named = |id: &str| Asked { payment_id: Some(id.into()), ..asked() };
    assert_eq!(choose(&named("own"), at(0), field(&own)), Choice::Take(&own[0]));
    assert_eq!(choose(&named("bad"), at(0), field(&own)), Choice::Unreadable { payment: &unreadable[0], other: None });
    assert_eq!(choose(&named("z"), at(0), field(&own)), Choice::Nothing);
    let nameless = [bad(None)];
    let field = Field { unreadable: &nameless, ..field(&own) };
    let expected = Choice::Unreadable { payment: &nameless[0], other: None };
    assert_eq!(choose(&named("z"), at(0), field), expected, "it may be the one");
}

#[test]
fn what_is_the_same_is_taken_by_id_and_what_is_not_by_nobody() {
    let same = [payment("b", NOW + 1, COMPLETED), payment("a", NOW + 1, COMPLETED)];
    assert_eq!(of(&asked(), &same, &[]), Choice::Take(&same[1]));
    assert_eq!(of(&asked(), &same, &["a"]), Choice::Take(&same[0]));
    let sides = [payment("b", NOW - 1, COMPLETED), payment("a", NOW + 1, COMPLETED)];
    assert_eq!(of(&asked(), &sides, &[]), Choice::Ambiguous(&sides[1], &sides[0]));
    let by_card = payment("a", NOW + 1, COMPLETED);
    let debit = Payment { method: Some("sepa_debit".into()), ..payment("b", NOW + 1, COMPLETED) };
    let methods = [by_card.clone(), debit];
    assert_eq!(of(&asked(), &methods, &[]), Choice::Ambiguous(&methods[0], &methods[1]));
    let currencies = [by_card, Payment { currency: Some("CHF".into()), ..payment("b", NOW + 1, COMPLETED) }];
    assert_eq!(of(&asked(), &currencies, &[]), Choice::Ambiguous(&currencies[0], &currencies[1]));
    let in_francs = Asked { currency: Some("chf".into()), ..asked() };
    assert_eq!(of(&in_francs, &currencies, &[]), Choice::Take(&currencies[1]));
    // Equally near, and one of them is still open: the open one may be the event's own.
    let open = [payment("b", NOW - 1, COMPLETED), payment("a", NOW + 1, PENDING)];
    assert_eq!(of(&asked(), &open, &[]), Choice::Pending { payment: &open[1], other: Some(&open[0]) });
    // A bookkeeper can distinguish the two only by their status: either is right, and one can be booked.
    let twins = [payment("b", NOW + 1, COMPLETED), payment("a", NOW + 1, PENDING)];
    assert_eq!(of(&asked(), &twins, &[]), Choice::Take(&twins[0]));
    let again = [payment("a", NOW + 1, FAILED), payment("b", NOW + 1, COMPLETED)];
    assert_eq!(of(&asked(), &again, &[]), Choice::Take(&again[1]), "the debit that failed and the one that came");
}

#[test]
fn a_bare_date_is_a_day() {
    // The event is of 2026-11-15T10:00:00Z.
    let all = [on("that day", "2026-11-15", COMPLETED), on("the day before", "2026-11-14", COMPLETED)];
    assert_eq!(of(&asked(), &all, &[]), Choice::Take(&all[0]));
    let by_day = Asked { paid_at: Some("2026-11-14".parse().unwrap()), ..asked() };
    assert_eq!(of(&by_day, &all, &[]), Choice::Take(&all[1]));
    for (date, is_it) in [("2026-11-08", true), ("2026-11-07", false), ("2026-11-22", true), ("2026-11-23", false)] {
        let edge = [on("edge", date, COMPLETED)];
        let expected = if is_it { Choice::Take(&edge[0]) } else { Choice::Far(&edge[0]) };
        assert_eq!(of(&asked(), &edge, &[]), expected, "{date}");
        let by_day = Asked { paid_at: Some("2026-11-15".parse().unwrap()), ..asked() };
        assert_eq!(of(&by_day, &edge, &[]), expected, "{date} by days");
    }
}

#[test]
fn what_is_not_completed_is_never_taken() {
    let mut all = vec![payment("lost", NOW, FAILED), payment("back", NOW, REFUNDED)];
    assert_eq!(of(&asked(), &all, &[]), Choice::Lost { payment: &all[1], other: None });
    all.push(payment("odd", NOW, "Completed"));
    let odd = Choice::Unknown { payment: &all[2], other: None };
    assert_eq!(of(&asked(), &all, &[]), odd, "words are compared as they are documented");
    all.push(payment("later", NOW, PENDING));
    assert_eq!(of(&asked(), &all, &[]), Choice::Pending { payment: &all[3], other: None });
    assert_eq!(of(&asked(), &[], &[]), Choice::Nothing);
}

#[test]
fn the_one_that_the_body_names_has_to_agree_and_may_be_of_any_time() {
    let all = [payment("a", NOW, COMPLETED), payment("b", NOW + 300 * DAY, COMPLETED), undated("c", COMPLETED)];
    let named = |id: &str| Asked { payment_id: Some(id.into()), ..asked() };
    assert_eq!(of(&named("b"), &all, &[]), Choice::Take(&all[1]));
    assert_eq!(of(&named("c"), &all, &[]), Choice::Take(&all[2]));
    assert_eq!(of(&named("b"), &all, &["b"]), Choice::Taken { payment: &all[1], other: None });
    assert_eq!(of(&named("b"), &all[..1], &[]), Choice::Nothing, "another one of this amount is not it");
    let open = [payment("a", NOW, COMPLETED), payment("b", 0, PENDING)];
    assert_eq!(of(&named("b"), &open, &[]), Choice::Pending { payment: &open[1], other: None });
    for (wrong, both) in [
        (Asked { amount: Cents(99), ..named("b") }, ["100", "99"]),
        (Asked { invoice_id: "j".into(), ..named("b") }, ["invoice i", "invoice j"]),
        (Asked { currency: Some("CHF".into()), ..named("b") }, ["EUR", "CHF"]),
    ] {
        let Choice::Contradicts(what) = of(&wrong, &all, &[]) else { panic!("{wrong:?}") };
        assert!(both.iter().all(|value| what.contains(value)), "{what}");
    }
}

proptest! {
    /// A payment that is taken is completed, free, of this invoice and amount and within the window, and no other
    /// payment that could be the event's is nearer, regardless of its status.
    #[test]
    fn only_the_nearest_is_ever_taken(
        payments in prop::collection::vec(
            ("[a-f]", prop::option::of(NOW - 20 * DAY..NOW + 20 * DAY),
             prop::sample::select(vec![COMPLETED, COMPLETED, PENDING, FAILED, REFUNDED, "x"]),
             prop::sample::select(vec!["i", "i", "j"]), 100i64..102), 0..8),
        taken in prop::collection::hash_set("[a-f]", 0..4),
        named in prop::option::weighted(0.2, "[a-f]"),
    ) {
        let mut payments: Vec<_> = payments.into_iter().map(|(id, minute, status, invoice, cents)| Payment {
            invoice_id: invoice.into(), amount_cents: cents,
            ..minute.map_or_else(|| undated(&id, status), |minute| payment(&id, minute, status))
        }).collect();
        payments.dedup_by(|a, b| a.id == b.id);
        let asked = Asked { payment_id: named.clone(), ..asked() };
        let may_be = |payment: &Payment| {
            payment.invoice_id == "i" && payment.amount_cents == 100 && !taken.contains(payment.id.as_str())
                && named.as_ref().is_none_or(|id| *id == payment.id)
        };
        let distance = |payment: &Payment| payment.paid_at.map(|paid_at| paid_at.distance(PaidAt::At(at(NOW))));
        let field = Field { payments: &payments, unreadable: &[], taken: &taken, window: WINDOW };
        match choose(&asked, at(0), field) {
            Choice::Take(chosen) => {
                prop_assert!(may_be(chosen) && chosen.status == COMPLETED);
                if named.is_none() {
                    let own = distance(chosen).unwrap();
                    prop_assert!(own <= WINDOW);
                    for other in payments.iter().filter(|other| may_be(other)) {
                        prop_assert!(distance(other).is_none_or(|other| other >= own), "{other:?} is nearer");
                    }
                }
            }
            Choice::Ambiguous(one, other) => {
                prop_assert!(may_be(one) && may_be(other) && one != other && named.is_none());
                prop_assert_eq!(distance(one), distance(other));
            }
            Choice::Contradicts(_) => prop_assert!(named.is_some()),
            Choice::Far(far) => prop_assert!(may_be(far) && distance(far).is_none_or(|far| far > WINDOW)),
            Choice::Nothing => prop_assert!(!payments.iter().any(|payment| may_be(payment) && payment.status == COMPLETED)),
            Choice::Pending { payment, .. } | Choice::Unknown { payment, .. } | Choice::Lost { payment, .. } => {
                prop_assert!(may_be(payment) && payment.status != COMPLETED);
            }
            Choice::Taken { payment, .. } => prop_assert!(taken.contains(payment.id.as_str())),
            Choice::Unreadable { .. } => prop_assert!(false, "all can be read"),
        }
    }
}
