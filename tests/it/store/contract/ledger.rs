//! The ledger: one payment for each event, one booking for each payment and sink, whoever asks and however often.

use std::collections::HashSet;

use finkare_relay::{
    model::{
        audit::NewAudit,
        booking::{Assignment, Booking, BookingState, BookingToken, NewBooking},
        money::Cents,
    },
    store::{
        Purge, StoreError,
        ledger::{Advance, Assigned, BookingBegun, BookingFilter},
    },
};
use futures_util::future::join_all;

use super::{
    Duration, EventId, NewEvent, Store, Timestamp, claim, clock, count_events, delivered, finish, of_invoice, received,
    secs, sink, start,
};
use crate::store::Fixture;

/// So many ask at once, through two stores.
const MANY: usize = 12;

fn assignment(event: &NewEvent, payment: &str) -> Assignment {
    Assignment {
        event_id: event.id,
        endpoint: event.endpoint.as_str().into(),
        payment_id: payment.into(),
        invoice_id: event.invoice_id.clone().unwrap_or_default(),
        amount_cents: Cents(150_000),
    }
}

async fn stored(store: &dyn Store, event: NewEvent) -> NewEvent {
    assert!(!store.record_deliveries(std::slice::from_ref(&event)).await.unwrap()[0].duplicate);
    event
}

fn booking(payment: &str, number: &str) -> NewBooking {
    NewBooking {
        sink: sink("compta"),
        payment_id: payment.into(),
        event_id: EventId::generate(),
        invoice_id: format!("id of {number}"),
        invoice_number: number.into(),
        amount_cents: Cents(150_000),
        currency: "EUR".into(),
        token: BookingToken::generate(),
    }
}

/// The same payment, wanted by somebody else.
fn again(new: &NewBooking) -> NewBooking {
    NewBooking { token: BookingToken::generate(), event_id: EventId::generate(), ..new.clone() }
}

fn to(state: BookingState) -> Advance {
    Advance { state, target_id: None, note: None }
}

async fn begun(store: &dyn Store, payment: &str, number: &str) -> NewBooking {
    let new = booking(payment, number);
    assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun);
    new
}

async fn advance(store: &dyn Store, new: &NewBooking, advance: &Advance) -> Option<Booking> {
    store.advance_booking(&new.sink, &new.payment_id, new.token, advance).await.unwrap()
}

/// Begins one and brings it to a state.
async fn in_state(store: &dyn Store, payment: &str, number: &str, state: BookingState) -> NewBooking {
    let new = begun(store, payment, number).await;
    if state != BookingState::Sending {
        assert_eq!(advance(store, &new, &to(state)).await, None);
    }
    new
}

/// As it stands in the store, without how long ago that was.
async fn known(store: &dyn Store, new: &NewBooking) -> Option<Booking> {
    let booking = store.booking(&new.sink, &new.payment_id).await.unwrap();
    booking.map(|booking| Booking { began_ago: Duration::ZERO, ..booking })
}

async fn payments(store: &dyn Store, filter: &BookingFilter) -> Vec<String> {
    let page = store.bookings(filter, 100).await.unwrap();
    assert!(!page.more);
    page.rows.into_iter().map(|(_, booking)| booking.payment_id).collect()
}

pub(crate) async fn an_event_has_one_payment_and_a_payment_one_event(on: &Fixture) {
    let store = on.open().await;
    let first = stored(&*store, of_invoice("i1", "first")).await;
    let second = stored(&*store, of_invoice("i1", "second")).await;
    let elsewhere = NewEvent {
        endpoint: finkare_relay::model::id::EndpointName::new("sandbox").unwrap(),
        ..of_invoice("i1", "elsewhere")
    };
    let elsewhere = stored(&*store, elsewhere).await;
    assert_eq!(store.assignment(first.id).await.unwrap(), None);

    let mine = assignment(&first, "p1");
    for _ in 0..2 {
        assert_eq!(store.assign(&mine).await.unwrap(), Assigned::Ours, "or was already");
    }
    assert_eq!(store.assignment(first.id).await.unwrap(), Some(mine.clone()));
    let changed_mind = store.assign(&assignment(&first, "p2")).await.unwrap();
    assert_eq!(changed_mind, Assigned::Another(mine.clone()), "the event had one already, which stays");
    assert_eq!(store.assign(&assignment(&second, "p1")).await.unwrap(), Assigned::Taken);
    assert_eq!(store.assignment(second.id).await.unwrap(), None, "nothing was written");
    let other = assignment(&second, "p2");
    assert_eq!(store.assign(&other).await.unwrap(), Assigned::Ours, "the refused ones hold nothing");
    let there = assignment(&elsewhere, "p1");
    assert_eq!(store.assign(&there).await.unwrap(), Assigned::Ours, "an endpoint knows nothing of another's");

    let mut all = store.assignments("main", "i1").await.unwrap();
    all.sort_by(|a, b| a.payment_id.cmp(&b.payment_id));
    assert_eq!(all, [mine.clone(), other]);
    assert_eq!(store.assignments("sandbox", "i1").await.unwrap(), [there]);
    assert!(store.assignments("main", "i2").await.unwrap().is_empty());

    let nobody = of_invoice("i1", "never stored");
    let error = store.assign(&assignment(&nobody, "p3")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Open(text) if text.contains(&nobody.id.to_string())), "{error:?}");
    store.close().await;
    assert_eq!(on.open().await.assignment(first.id).await.unwrap(), Some(mine), "it survives reopening");
}

pub(crate) async fn of_many_events_one_gets_the_payment(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    let mut events = Vec::new();
    for number in 0..MANY {
        events.push(stored(&*stores[0], of_invoice("i1", &number.to_string())).await);
    }
    let answers = join_all(events.iter().enumerate().map(|(place, event)| {
        let (store, wanted) = (stores[place % 2].clone(), assignment(event, "p1"));
        tokio::spawn(async move { store.assign(&wanted).await.unwrap() })
    }))
    .await;
    let answers: Vec<Assigned> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Assigned::Ours).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == Assigned::Taken).count(), MANY - 1, "{answers:?}");
    // And of many payments that want one event.
    let answers = join_all((0..MANY).map(|number| {
        let event = of_invoice("i2", "one");
        let (store, stores) = (stores[number % 2].clone(), stores[0].clone());
        async move {
            stores.record_deliveries(std::slice::from_ref(&event)).await.unwrap();
            let id = stores.record_deliveries(std::slice::from_ref(&event)).await.unwrap()[0].id;
            let wanted = assignment(&NewEvent { id, ..event }, &format!("q{number}"));
            tokio::spawn(async move { (store.assign(&wanted).await.unwrap(), wanted) }).await.unwrap()
        }
    }))
    .await;
    let [winner] = &stores[1].assignments("main", "i2").await.unwrap()[..] else { panic!("one assignment") };
    for (answer, wanted) in answers {
        let expected = if wanted == *winner { Assigned::Ours } else { Assigned::Another(winner.clone()) };
        assert_eq!(answer, expected);
    }
}

pub(crate) async fn a_booking_is_begun_once(on: &Fixture) {
    let store = on.open().await;
    let before = clock::now();
    let new = booking("p1", "F1");
    assert_eq!(store.booking(&new.sink, "p1").await.unwrap(), None);
    for _ in 0..2 {
        let answer = store.begin_booking(&new, None).await.unwrap();
        assert_eq!(answer, BookingBegun::Begun, "asked again with the same token, the same answer");
    }
    let stands = known(&*store, &new).await.unwrap();
    let expected = Booking {
        sink: "compta".into(),
        payment_id: "p1".into(),
        event_id: new.event_id,
        invoice_id: "id of F1".into(),
        invoice_number: "F1".into(),
        amount_cents: Cents(150_000),
        currency: "EUR".into(),
        state: BookingState::Sending,
        target_id: None,
        note: None,
        token: new.token,
        began_at: stands.began_at,
        began_ago: Duration::ZERO,
        changed_at: stands.began_at,
    };
    assert_eq!(stands, expected);
    // The server's clock is this machine's, or a few microseconds were cut off.
    assert!(stands.began_at >= before - secs(1) && stands.began_at <= clock::now() + secs(1), "{stands:?}");

    let other = again(&new);
    for take_over in [None, Some(other.token), Some(BookingToken::generate())] {
        let answer = store.begin_booking(&other, take_over).await.unwrap();
        let BookingBegun::Exists(found) = answer else { panic!("{answer:?}") };
        assert_eq!(Booking { began_ago: Duration::ZERO, ..found }, expected, "as it stands");
    }
    assert_eq!(known(&*store, &new).await, Some(expected), "nothing was changed");
    // Another sink has a ledger of its own, and so has another invoice.
    let elsewhere = NewBooking { sink: sink("onfact"), ..again(&new) };
    assert_eq!(store.begin_booking(&elsewhere, None).await.unwrap(), BookingBegun::Begun);
    begun(&*store, "p2", "F2").await;
    assert_eq!(payments(&*store, &BookingFilter::default()).await, ["p2", "p1", "p1"]);
    // What is not there cannot be taken over: it is begun.
    let gone = booking("p3", "F3");
    assert_eq!(store.begin_booking(&gone, Some(BookingToken::generate())).await.unwrap(), BookingBegun::Begun);
}

pub(crate) async fn who_names_the_token_takes_over(on: &Fixture) {
    let store = on.open().await;
    let first = begun(&*store, "p1", "F1").await;
    let before = known(&*store, &first).await.unwrap();
    let second = again(&first);
    // The second time because the answer was not heard: nothing is written then.
    assert_eq!(store.begin_booking(&second, Some(first.token)).await.unwrap(), BookingBegun::TakenOver);
    let after = known(&*store, &first).await.unwrap();
    for take_over in [Some(first.token), None] {
        assert_eq!(store.begin_booking(&second, take_over).await.unwrap(), BookingBegun::TakenOver);
    }
    assert_eq!(known(&*store, &first).await.unwrap(), after);
    assert!(after.began_at > before.began_at, "begun again");
    let began_at = after.began_at;
    assert_eq!(after, Booking { token: second.token, event_id: second.event_id, began_at, ..before });
    // Whoever had it is out.
    assert!(!store.withdraw_booking(&first.sink, "p1", first.token).await.unwrap());
    assert_eq!(advance(&*store, &first, &to(BookingState::Written)).await.map(|b| b.token), Some(second.token));
    let late = store.begin_booking(&first, None).await.unwrap();
    assert!(matches!(late, BookingBegun::Exists(found) if found.token == second.token));
    assert_eq!(advance(&*store, &second, &to(BookingState::Booked)).await, None);
    // What is not `sending` any more is not taken over, whoever names its token.
    for state in [BookingState::Written, BookingState::Booked, BookingState::Seen] {
        let done = in_state(&*store, state.as_str(), "F2", state).await;
        let answer = store.begin_booking(&again(&done), Some(done.token)).await.unwrap();
        assert!(matches!(&answer, BookingBegun::Exists(found) if found.state == state), "{answer:?}");
        let answer = store.begin_booking(&done, None).await.unwrap();
        assert!(matches!(&answer, BookingBegun::Exists(found) if found.token == done.token), "{answer:?}");
    }
}

pub(crate) async fn what_has_changed_is_not_taken_over(on: &Fixture) {
    let store = on.open().await;
    let first = begun(&*store, "p1", "F1").await;
    let before = known(&*store, &first).await;
    for changed in [
        NewBooking { invoice_number: "F1-bis".into(), ..again(&first) },
        NewBooking { invoice_id: "another".into(), ..again(&first) },
        NewBooking { amount_cents: Cents(149_999), ..again(&first) },
        NewBooking { currency: "CHF".into(), ..again(&first) },
    ] {
        let answer = store.begin_booking(&changed, Some(first.token)).await.unwrap();
        assert!(
            matches!(&answer, BookingBegun::Exists(found) if found.token == first.token),
            "{changed:?}: {answer:?}"
        );
    }
    assert_eq!(known(&*store, &first).await, before);
    assert_eq!(store.begin_booking(&again(&first), Some(first.token)).await.unwrap(), BookingBegun::TakenOver);
}

pub(crate) async fn one_payment_of_an_invoice_at_a_time(on: &Fixture) {
    let store = on.open().await;
    let first = begun(&*store, "p1", "F1").await;
    let second = booking("p2", "F1");
    for take_over in [None, Some(first.token)] {
        let answer = store.begin_booking(&second, take_over).await.unwrap();
        assert!(matches!(&answer, BookingBegun::Busy(with) if with.payment_id == "p1"), "{answer:?}");
    }
    assert_eq!(known(&*store, &second).await, None, "nothing was written");
    let elsewhere = NewBooking { sink: sink("onfact"), ..again(&second) };
    assert_eq!(
        store.begin_booking(&elsewhere, None).await.unwrap(),
        BookingBegun::Begun,
        "another sink, another balance"
    );
    // Written is enough: the target's balance has it.
    assert_eq!(advance(&*store, &first, &to(BookingState::Written)).await, None);
    assert_eq!(store.begin_booking(&second, None).await.unwrap(), BookingBegun::Begun);
    let third = booking("p3", "F1");
    assert!(matches!(store.begin_booking(&third, None).await.unwrap(), BookingBegun::Busy(_)));
    assert!(store.withdraw_booking(&second.sink, "p2", second.token).await.unwrap());
    assert_eq!(store.begin_booking(&third, None).await.unwrap(), BookingBegun::Begun);
    // What it was busy with before is said of the payment itself, not of its invoice.
    let answer = store.begin_booking(&again(&first), None).await.unwrap();
    assert!(matches!(&answer, BookingBegun::Exists(found) if found.payment_id == "p1"), "{answer:?}");
}

pub(crate) async fn only_what_was_not_written_is_withdrawn(on: &Fixture) {
    let store = on.open().await;
    let new = begun(&*store, "p1", "F1").await;
    assert!(!store.withdraw_booking(&new.sink, "p1", BookingToken::generate()).await.unwrap(), "not its token");
    assert!(!store.withdraw_booking(&sink("onfact"), "p1", new.token).await.unwrap(), "not its sink");
    assert!(!store.withdraw_booking(&new.sink, "p2", new.token).await.unwrap(), "not its payment");
    assert!(known(&*store, &new).await.is_some());
    assert!(store.withdraw_booking(&new.sink, "p1", new.token).await.unwrap());
    assert_eq!(known(&*store, &new).await, None);
    assert!(!store.withdraw_booking(&new.sink, "p1", new.token).await.unwrap(), "there is none such any more");
    for state in [BookingState::Written, BookingState::Booked, BookingState::Seen] {
        let new = in_state(&*store, state.as_str(), "F1", state).await;
        assert!(!store.withdraw_booking(&new.sink, &new.payment_id, new.token).await.unwrap(), "{state}");
        assert_eq!(known(&*store, &new).await.unwrap().state, state);
    }
}

pub(crate) async fn a_booking_goes_on_under_its_token(on: &Fixture) {
    let store = on.open().await;
    let new = begun(&*store, "p1", "F1").await;
    let begun_as = known(&*store, &new).await.unwrap();
    let written = Advance {
        state: BookingState::Written,
        target_id: Some("4711".into()),
        note: Some("sent, and not read back".into()),
    };
    let stranger = again(&new);
    assert_eq!(advance(&*store, &stranger, &written).await.map(|found| found.state), Some(BookingState::Sending));
    assert_eq!(known(&*store, &new).await.unwrap(), begun_as, "unchanged");

    assert_eq!(advance(&*store, &new, &written).await, None);
    let stands = known(&*store, &new).await.unwrap();
    assert!(stands.changed_at > begun_as.changed_at);
    let (changed_at, state) = (stands.changed_at, BookingState::Written);
    let expected =
        Booking { state, changed_at, target_id: written.target_id.clone(), note: written.note.clone(), ..begun_as };
    assert_eq!(stands, expected);
    assert_eq!(advance(&*store, &new, &written).await, None, "the very same, the same answer");
    assert_eq!(known(&*store, &new).await.unwrap(), expected, "and nothing was written again");
    assert!(advance(&*store, &stranger, &to(BookingState::Booked)).await.is_some());

    // `None` keeps what was known.
    let booked = Advance { state: BookingState::Booked, target_id: None, note: Some("read back".into()) };
    assert_eq!(advance(&*store, &new, &booked).await, None);
    let stands = known(&*store, &new).await.unwrap();
    assert_eq!((stands.state, stands.target_id.as_deref()), (BookingState::Booked, Some("4711")));
    assert_eq!(stands.note.as_deref(), Some("read back"));
    assert_eq!(advance(&*store, &new, &booked).await, None, "the very same, also when it is finished");

    // What is finished does not change any more.
    for late in [
        written,
        to(BookingState::Seen),
        Advance { note: Some("something else".into()), ..to(BookingState::Booked) },
        Advance { target_id: Some("4712".into()), ..to(BookingState::Booked) },
    ] {
        let found = advance(&*store, &new, &late).await.expect("it is finished");
        assert_eq!(Booking { began_ago: Duration::ZERO, ..found }, stands);
    }
    assert_eq!(known(&*store, &new).await.unwrap(), stands);
    // Seen at once, with nothing written.
    in_state(&*store, "p2", "F2", BookingState::Seen).await;
    let back = store.advance_booking(&new.sink, "p1", new.token, &to(BookingState::Sending)).await.unwrap_err();
    assert!(matches!(&back, StoreError::Open(text) if text.contains("cannot go back")), "{back:?}");
    let error = store.advance_booking(&new.sink, "p9", new.token, &to(BookingState::Booked)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Open(text) if text.contains("p9") && text.contains("compta")), "{error:?}");
    // Any text of a target's can be kept.
    let odd = begun(&*store, "p3", "F3").await;
    let nul = Advance { target_id: Some("a\0b".into()), note: Some("c\0d".into()), ..to(BookingState::Written) };
    for _ in 0..2 {
        assert_eq!(advance(&*store, &odd, &nul).await, None);
    }
}

pub(crate) async fn of_many_that_begin_one_begins(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    let race = async |wanted: Vec<(NewBooking, Option<BookingToken>)>| {
        let answers = join_all(wanted.into_iter().enumerate().map(|(place, (new, take_over))| {
            let store = stores[place % 2].clone();
            tokio::spawn(async move { (store.begin_booking(&new, take_over).await.unwrap(), new.token) })
        }))
        .await;
        answers.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    // The same payment, through several events.
    let one = booking("p1", "F1");
    let answers = race((0..MANY).map(|_| (again(&one), None)).collect()).await;
    let winners: Vec<BookingToken> =
        answers.iter().filter(|(answer, _)| *answer == BookingBegun::Begun).map(|(_, token)| *token).collect();
    let [winner] = winners[..] else { panic!("{answers:?}") };
    let others = answers.iter().filter(|(answer, _)| matches!(answer, BookingBegun::Exists(b) if b.token == winner));
    assert_eq!(others.count(), MANY - 1, "{answers:?}");

    // Those that take it over.
    let answers = race((0..MANY).map(|_| (again(&one), Some(winner))).collect()).await;
    let winners: Vec<BookingToken> =
        answers.iter().filter(|(answer, _)| *answer == BookingBegun::TakenOver).map(|(_, token)| *token).collect();
    let [second] = winners[..] else { panic!("{answers:?}") };
    let others = answers.iter().filter(|(answer, _)| matches!(answer, BookingBegun::Exists(b) if b.token == second));
    assert_eq!(others.count(), MANY - 1, "{answers:?}");

    // Different payments of one invoice.
    let answers = race((0..MANY).map(|number| (booking(&format!("q{number}"), "F2"), None)).collect()).await;
    assert_eq!(answers.iter().filter(|(answer, _)| *answer == BookingBegun::Begun).count(), 1, "{answers:?}");
    let busy = answers.iter().filter(|(answer, _)| matches!(answer, BookingBegun::Busy(_))).count();
    assert_eq!(busy, MANY - 1, "{answers:?}");
    let sending = BookingFilter { state: Some(BookingState::Sending), ..BookingFilter::default() };
    assert_eq!(payments(&*stores[0], &sending).await.len(), 2);

    // Different invoices do not know each other.
    let answers = race((0..MANY).map(|n| (booking(&format!("r{n}"), &format!("G{n}")), None)).collect()).await;
    assert!(answers.iter().all(|(answer, _)| *answer == BookingBegun::Begun), "{answers:?}");
}

pub(crate) async fn of_a_taker_and_a_holder_one_goes_on(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    for round in 0..10 {
        let held = begun(&*stores[0], &format!("p{round}"), &format!("F{round}")).await;
        let taker = again(&held);
        let taking = {
            let (store, taker, token) = (stores[1].clone(), taker.clone(), held.token);
            tokio::spawn(async move { store.begin_booking(&taker, Some(token)).await.unwrap() })
        };
        let going_on = {
            let (store, held) = (stores[0].clone(), held.clone());
            tokio::spawn(async move { advance(&*store, &held, &to(BookingState::Written)).await })
        };
        let (taken, other) = (taking.await.unwrap(), going_on.await.unwrap());
        let stands = known(&*stores[0], &held).await.unwrap();
        match (taken, other) {
            (BookingBegun::TakenOver, Some(found)) => {
                assert_eq!(
                    (found.token, stands.token, stands.state),
                    (taker.token, taker.token, BookingState::Sending)
                );
            }
            (BookingBegun::Exists(found), None) => {
                assert_eq!((found.token, stands.token, stands.state), (held.token, held.token, BookingState::Written));
            }
            both => panic!("both, or none: {both:?}"),
        }
    }
}

pub(crate) async fn what_was_written_is_added_up(on: &Fixture) {
    let store = on.open().await;
    let compta = sink("compta");
    assert_eq!(store.booked_cents(&compta, "F1").await.unwrap(), Cents::ZERO);
    for (payment, cents, state) in [
        ("p1", 1, BookingState::Written),
        ("p2", 20, BookingState::Booked),
        ("p3", 300, BookingState::Booked),
        ("p4", 4000, BookingState::Seen),
        ("p5", 50_000, BookingState::Sending),
    ] {
        let new = NewBooking { amount_cents: Cents(cents), ..booking(payment, "F1") };
        assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun);
        if state != BookingState::Sending {
            assert_eq!(advance(&*store, &new, &to(state)).await, None);
        }
    }
    let elsewhere = NewBooking { sink: sink("onfact"), ..booking("p1", "F1") };
    store.begin_booking(&elsewhere, None).await.unwrap();
    assert_eq!(advance(&*store, &elsewhere, &to(BookingState::Booked)).await, None);
    in_state(&*store, "p6", "F2", BookingState::Booked).await;
    assert_eq!(store.booked_cents(&compta, "F1").await.unwrap(), Cents(321));
    assert_eq!(store.booked_cents(&sink("onfact"), "F1").await.unwrap(), Cents(150_000));
}

pub(crate) async fn bookings_are_listed_newest_first(on: &Fixture) {
    let store = on.open().await;
    assert!(store.bookings(&BookingFilter::default(), 10).await.unwrap().rows.is_empty());
    for (payment, number, state) in [
        ("p1", "F1", BookingState::Booked),
        ("p2", "F1", BookingState::Seen),
        ("p3", "F1", BookingState::Written),
        ("p4", "F1", BookingState::Sending),
        ("p5", "F2", BookingState::Booked),
    ] {
        in_state(&*store, payment, number, state).await;
    }
    let elsewhere = NewBooking { sink: sink("onfact"), ..booking("p1", "F1") };
    store.begin_booking(&elsewhere, None).await.unwrap();
    let of = |filter: BookingFilter| {
        let store = store.clone();
        async move { payments(&*store, &filter).await }
    };
    let none = BookingFilter::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(of(none()).await, ["p1", "p5", "p4", "p3", "p2", "p1"]);
    assert_eq!(of(BookingFilter { sink: text("onfact"), ..none() }).await, ["p1"]);
    assert_eq!(of(BookingFilter { payment_id: text("p1"), ..none() }).await, ["p1", "p1"]);
    assert_eq!(of(BookingFilter { invoice_number: text("F2"), ..none() }).await, ["p5"]);
    assert_eq!(of(BookingFilter { invoice_id: text("id of F2"), ..none() }).await, ["p5"]);
    for (state, expected) in [
        (BookingState::Sending, &["p1", "p4"][..]),
        (BookingState::Written, &["p3"]),
        (BookingState::Booked, &["p5", "p1"]),
        (BookingState::Seen, &["p2"]),
    ] {
        assert_eq!(of(BookingFilter { state: Some(state), ..none() }).await, expected, "{state}");
    }
    let all = BookingFilter {
        sink: text("compta"),
        state: Some(BookingState::Booked),
        payment_id: text("p1"),
        invoice_id: text("id of F1"),
        invoice_number: text("F1"),
        before: None,
    };
    assert_eq!(of(all.clone()).await, ["p1"]);
    for nothing in [
        BookingFilter { sink: text("nobody"), ..all.clone() },
        BookingFilter { payment_id: text("p\0"), ..none() },
        BookingFilter { before: Some(0), ..none() },
    ] {
        assert!(of(nothing).await.is_empty());
    }

    // Page by page, each with its number.
    let (mut seen, mut numbers, mut before) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.bookings(&BookingFilter { before, ..none() }, 4).await.unwrap();
        before = page.rows.last().map(|(number, _)| *number);
        numbers.extend(page.rows.iter().map(|(number, _)| *number));
        seen.extend(page.rows.into_iter().map(|(_, booking)| booking.payment_id));
        if !page.more {
            break;
        }
        assert_eq!(seen.len() % 4, 0, "a page that is not the last is full");
    }
    assert_eq!(seen, ["p1", "p5", "p4", "p3", "p2", "p1"]);
    assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
    assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 6);
    let newest = numbers[0];
    assert!(store.withdraw_booking(&elsewhere.sink, "p1", elsewhere.token).await.unwrap());
    store.begin_booking(&again(&elsewhere), None).await.unwrap();
    let page = store.bookings(&none(), 1).await.unwrap();
    assert!(page.more && page.rows[0].0 > newest, "a number is never given twice");
}

pub(crate) async fn finished_bookings_go_when_they_are_old(on: &Fixture) {
    let store = on.open().await;
    for (payment, number, state) in [
        ("written", "F1", BookingState::Written),
        ("p1", "F1", BookingState::Booked),
        ("p2", "F1", BookingState::Seen),
        ("p3", "F2", BookingState::Booked),
        ("sending", "F1", BookingState::Sending),
    ] {
        in_state(&*store, payment, number, state).await;
    }
    assert_eq!(store.purge_bookings(Duration::from_hours(1), 100).await.unwrap(), 0, "nothing is as old as that");
    assert_eq!(store.purge_bookings(Duration::MAX, 100).await.unwrap(), 0, "older than any calendar");
    assert_eq!(store.purge_bookings(Duration::ZERO, 0).await.unwrap(), 0);
    assert_eq!(store.purge_bookings(Duration::ZERO, 2).await.unwrap(), 2);
    assert_eq!(payments(&*store, &BookingFilter::default()).await, ["sending", "p3", "written"], "the oldest first");
    assert_eq!(store.purge_bookings(Duration::ZERO, 2).await.unwrap(), 1);
    assert_eq!(store.purge_bookings(Duration::ZERO, 2).await.unwrap(), 0);
    assert_eq!(payments(&*store, &BookingFilter::default()).await, ["sending", "written"], "whatever their age");
}

pub(crate) async fn assignments_go_with_their_events_and_bookings_stay(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let of = |key: &str, at: Timestamp| NewEvent { invoice_id: Some("i1".into()), ..received(key, at) };
    let old = stored(&*store, of("old", now - secs(1000))).await;
    let new = stored(&*store, of("new", now)).await;
    for (event, payment) in [(&old, "p1"), (&new, "p2")] {
        assert_eq!(store.assign(&assignment(event, payment)).await.unwrap(), Assigned::Ours);
    }
    let asked = NewBooking { event_id: old.id, ..booking("p1", "F1") };
    store.begin_booking(&asked, None).await.unwrap();
    loop {
        let due = claim(&*store, start()).await;
        if due.is_empty() {
            break;
        }
        finish(&*store, &due.iter().map(delivered).collect::<Vec<_>>(), start()).await;
    }
    let before = now - secs(500);
    while store.purge(Purge { payloads_before: before, events_before: before, limit: 10 }).await.unwrap()
        != super::nothing()
    {}
    assert_eq!(count_events(&*store).await, 1);
    assert_eq!(store.assignment(old.id).await.unwrap(), None);
    assert_eq!(store.assignments("main", "i1").await.unwrap(), [assignment(&new, "p2")]);
    assert!(known(&*store, &asked).await.is_some(), "what was written of it is known for longer");
    // The payment is free, and the ledger still knows that it was written.
    let later = stored(&*store, of("later", now)).await;
    assert_eq!(store.assign(&assignment(&later, "p1")).await.unwrap(), Assigned::Ours);
    assert!(matches!(store.begin_booking(&again(&asked), None).await.unwrap(), BookingBegun::Exists(_)));
}

pub(crate) async fn an_erasure_keeps_the_ledger(on: &Fixture) {
    let store = on.open().await;
    let event = stored(&*store, of_invoice("i1", "a")).await;
    let mine = assignment(&event, "p1");
    store.assign(&mine).await.unwrap();
    let asked = NewBooking { event_id: event.id, invoice_id: "i1".into(), ..booking("p1", "F1") };
    store.begin_booking(&asked, None).await.unwrap();
    assert_eq!(advance(&*store, &asked, &to(BookingState::Booked)).await, None);
    let before = known(&*store, &asked).await;
    let audit = NewAudit::new("ops", "invoice.erased", "invoice/i1");
    assert_eq!(store.erase_invoice("i1", audit).await.unwrap().payloads, 1);
    assert_eq!(store.assignment(event.id).await.unwrap(), Some(mine));
    assert_eq!(known(&*store, &asked).await, before);
}

pub(crate) async fn the_ledger_survives_reopening(on: &Fixture) {
    let store = on.open().await;
    let sending = begun(&*store, "p1", "F1").await;
    let booked = in_state(&*store, "p2", "F2", BookingState::Booked).await;
    let before = [known(&*store, &sending).await, known(&*store, &booked).await];
    store.close().await;
    let store = on.open().await;
    assert_eq!([known(&*store, &sending).await, known(&*store, &booked).await], before);
    let asked = store.booking(&sending.sink, "p1").await.unwrap().unwrap();
    let ago = store.booking(&sending.sink, "p1").await.unwrap().unwrap().began_ago;
    assert!(ago >= asked.began_ago && ago < Duration::from_hours(1), "{ago:?} by the store's clock");
    assert_eq!(advance(&*store, &sending, &to(BookingState::Written)).await, None, "its token is still good");
}
