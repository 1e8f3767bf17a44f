//! The ledger: one payment for each event, one booking for each payment and sink, whoever asks and however often.

use std::collections::HashSet;

use finkare_relay::{
    model::{
        audit::{AuditEntry, NewAudit},
        booking::{Announced, Assignment, Booking, BookingState, BookingToken, Learned, NewBooking},
        dispatch::State,
        id::EndpointName,
        money::Cents,
    },
    store::{
        DispatchFilter, EventFilter, Purge, StoreError,
        ledger::{
            Advance, Assigned, BookingBegun, BookingFilter, LARGEST_ANNOUNCEMENT, Search, Settled, Unassigned, Word,
        },
    },
};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    Duration, EventId, NewEvent, Store, Timestamp, claim, clock, count_events, delivered, finish, of_invoice, received,
    secs, sink, start,
};
use crate::store::Fixture;

/// So many ask at once, through two stores.
const MANY: usize = 12;

/// The write of a test is over at once.
const SETTLES: Duration = Duration::ZERO;

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

async fn send(store: &dyn Store, new: &NewBooking) -> bool {
    store.send_booking(&new.sink, &new.payment_id, new.token, SETTLES).await.unwrap()
}

async fn begun(store: &dyn Store, payment: &str, number: &str) -> NewBooking {
    let new = booking(payment, number);
    assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun);
    new
}

async fn advance(store: &dyn Store, new: &NewBooking, advance: &Advance) -> Option<Booking> {
    store.advance_booking(&new.sink, &new.payment_id, new.token, advance).await.unwrap()
}

/// Brings one that is `reserved` to a state, by the way that leads there.
async fn bring(store: &dyn Store, new: &NewBooking, state: BookingState) {
    if matches!(state, BookingState::Sending | BookingState::Written | BookingState::Booked) {
        assert!(send(store, new).await);
    }
    if !matches!(state, BookingState::Reserved | BookingState::Sending) {
        assert_eq!(advance(store, new, &to(state)).await, None);
    }
}

/// Begins one and brings it to a state.
async fn in_state(store: &dyn Store, payment: &str, number: &str, state: BookingState) -> NewBooking {
    let new = begun(store, payment, number).await;
    bring(store, &new, state).await;
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
    // More than once: the first time most of them wait for their connections.
    for round in 0..5 {
        let payment = format!("p{round}");
        let events: Vec<_> = (0..MANY).map(|number| of_invoice("i1", &format!("{round} {number}"))).collect();
        stores[0].record_deliveries(&events).await.unwrap();
        let answers = join_all(events.iter().enumerate().map(|(place, event)| {
            let (store, wanted) = (stores[place % 2].clone(), assignment(event, &payment));
            tokio::spawn(async move { store.assign(&wanted).await.unwrap() })
        }))
        .await;
        let answers: Vec<Assigned> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| **answer == Assigned::Ours).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == Assigned::Taken).count(), MANY - 1, "{answers:?}");
    }
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
        state: BookingState::Reserved,
        target_id: None,
        note: None,
        token: new.token,
        began_at: stands.began_at,
        began_ago: Duration::ZERO,
        settles_in: None,
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
    for state in [BookingState::Reserved, BookingState::Sending] {
        let payment = format!("p {state}");
        let first = in_state(&*store, &payment, "F1", state).await;
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
        assert_eq!(after.state, state, "it keeps its state");
        let began_at = after.began_at;
        assert_eq!(after, Booking { token: second.token, event_id: second.event_id, began_at, ..before });
        // Whoever had it is out.
        assert!(!store.withdraw_booking(&first.sink, &payment, first.token).await.unwrap());
        assert_eq!(advance(&*store, &first, &to(BookingState::Written)).await.map(|b| b.token), Some(second.token));
        let late = store.begin_booking(&first, None).await.unwrap();
        assert!(matches!(late, BookingBegun::Exists(found) if found.token == second.token));
        assert_eq!(advance(&*store, &second, &to(BookingState::Booked)).await, None);
    }
    // What is `written` is not taken over, whoever names its token.
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
    for state in [BookingState::Reserved, BookingState::Sending] {
        let first = in_state(&*store, &format!("p {state}"), &format!("F {state}"), state).await;
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
}

pub(crate) async fn one_payment_of_an_invoice_at_a_time(on: &Fixture) {
    let store = on.open().await;
    let first = begun(&*store, "p1", "F1").await;
    let second = booking("p2", "F1");
    for state in [BookingState::Reserved, BookingState::Sending] {
        for take_over in [None, Some(first.token)] {
            let answer = store.begin_booking(&second, take_over).await.unwrap();
            assert!(
                matches!(&answer, BookingBegun::Busy(with) if with.payment_id == "p1" && with.state == state),
                "{answer:?}"
            );
        }
        assert!(send(&*store, &first).await);
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
    for state in [BookingState::Reserved, BookingState::Sending] {
        let new = in_state(&*store, "p1", "F1", state).await;
        assert!(!store.withdraw_booking(&new.sink, "p1", BookingToken::generate()).await.unwrap(), "not its token");
        assert!(!store.withdraw_booking(&sink("onfact"), "p1", new.token).await.unwrap(), "not its sink");
        assert!(!store.withdraw_booking(&new.sink, "p2", new.token).await.unwrap(), "not its payment");
        assert_eq!(known(&*store, &new).await.unwrap().state, state);
        assert!(store.withdraw_booking(&new.sink, "p1", new.token).await.unwrap());
        assert_eq!(known(&*store, &new).await, None);
        assert!(!store.withdraw_booking(&new.sink, "p1", new.token).await.unwrap(), "there is none such any more");
    }
    for state in [BookingState::Written, BookingState::Booked, BookingState::Seen] {
        let new = in_state(&*store, state.as_str(), "F1", state).await;
        assert!(!store.withdraw_booking(&new.sink, &new.payment_id, new.token).await.unwrap(), "{state}");
        assert_eq!(known(&*store, &new).await.unwrap().state, state);
    }
}

pub(crate) async fn a_booking_goes_on_under_its_token(on: &Fixture) {
    let store = on.open().await;
    let new = in_state(&*store, "p1", "F1", BookingState::Sending).await;
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
    for back in [BookingState::Reserved, BookingState::Sending] {
        let error = store.advance_booking(&new.sink, "p1", new.token, &to(back)).await.unwrap_err();
        let told = format!("cannot go back to `{back}`");
        assert!(matches!(&error, StoreError::Open(text) if text.contains(&told)), "{error:?}");
    }
    // Looked at only, and found by its marker: nothing had to be sent.
    let found = begun(&*store, "p4", "F4").await;
    let marked = Advance { target_id: Some("4713".into()), ..to(BookingState::Booked) };
    assert_eq!(advance(&*store, &found, &marked).await, None);
    assert_eq!(known(&*store, &found).await.unwrap().state, BookingState::Booked);
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

    // Those that take it over: while it is `reserved`, and again when it is `sending`.
    let mut holder = winner;
    for state in [BookingState::Reserved, BookingState::Sending] {
        assert_eq!(known(&*stores[0], &one).await.unwrap().state, state);
        let answers = race((0..MANY).map(|_| (again(&one), Some(holder))).collect()).await;
        let winners: Vec<BookingToken> =
            answers.iter().filter(|(answer, _)| *answer == BookingBegun::TakenOver).map(|(_, token)| *token).collect();
        let [second] = winners[..] else { panic!("{answers:?}") };
        let others =
            answers.iter().filter(|(answer, _)| matches!(answer, BookingBegun::Exists(b) if b.token == second));
        assert_eq!(others.count(), MANY - 1, "{answers:?}");
        // Of all that ever had it, one may send.
        let mut sent = Vec::new();
        for token in [holder].into_iter().chain(answers.iter().map(|(_, token)| *token)) {
            if stores[1].send_booking(&one.sink, "p1", token, SETTLES).await.unwrap() {
                sent.push(token);
            }
        }
        assert_eq!(sent, [second]);
        holder = second;
    }

    // Different payments of one invoice.
    let answers = race((0..MANY).map(|number| (booking(&format!("q{number}"), "F2"), None)).collect()).await;
    assert_eq!(answers.iter().filter(|(answer, _)| *answer == BookingBegun::Begun).count(), 1, "{answers:?}");
    let busy = answers.iter().filter(|(answer, _)| matches!(answer, BookingBegun::Busy(_))).count();
    assert_eq!(busy, MANY - 1, "{answers:?}");
    let reserved = BookingFilter { state: Some(BookingState::Reserved), ..BookingFilter::default() };
    assert_eq!(payments(&*stores[0], &reserved).await.len(), 1);

    // Different invoices do not know each other.
    let answers = race((0..MANY).map(|n| (booking(&format!("r{n}"), &format!("G{n}")), None)).collect()).await;
    assert!(answers.iter().all(|(answer, _)| *answer == BookingBegun::Begun), "{answers:?}");
}

pub(crate) async fn of_a_taker_and_a_holder_one_goes_on(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    for round in 0..10 {
        let held = in_state(&*stores[0], &format!("p{round}"), &format!("F{round}"), BookingState::Sending).await;
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

/// Each sender has its own time-out, so that the line says until when its write may come.
pub(crate) async fn the_line_says_until_when_a_write_may_come(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    let (long, short) = (Duration::from_hours(1), Duration::from_secs(5));
    let new = begun(&*stores[0], "p1", "F1").await;
    let settles_in = async |store: &dyn Store| store.booking(&new.sink, "p1").await.unwrap().unwrap().settles_in;
    assert_eq!(settles_in(&*stores[1]).await, None, "nothing was sent");
    assert!(stores[0].send_booking(&new.sink, "p1", new.token, long).await.unwrap());
    let minutes = |duration: Option<Duration>| duration.map(|duration| duration.as_secs().div_ceil(60));
    assert_eq!(minutes(settles_in(&*stores[1]).await), Some(60), "as the other replica reads it");
    // Whoever takes over with a shorter time-out neither shortens it by that nor by sending.
    let taker = again(&new);
    assert_eq!(stores[1].begin_booking(&taker, Some(new.token)).await.unwrap(), BookingBegun::TakenOver);
    assert_eq!(minutes(settles_in(&*stores[0]).await), Some(60));
    assert!(stores[1].send_booking(&new.sink, "p1", taker.token, short).await.unwrap());
    assert_eq!(minutes(settles_in(&*stores[0]).await), Some(60));
    // By the clock of the store alone.
    on.execute("UPDATE bookings SET settles_at = settles_at - 3000000000").await;
    assert_eq!(minutes(settles_in(&*stores[1]).await), Some(10));
    on.execute("UPDATE bookings SET settles_at = settles_at - 3000000000").await;
    assert_eq!(settles_in(&*stores[1]).await, Some(Duration::ZERO), "it is over");
    assert!(stores[1].send_booking(&new.sink, "p1", taker.token, Duration::from_mins(7)).await.unwrap());
    assert_eq!(minutes(settles_in(&*stores[0]).await), Some(7));
    // A line of an earlier version.
    on.execute("UPDATE bookings SET settles_at = NULL").await;
    assert_eq!(settles_in(&*stores[0]).await, None);
    assert!(stores[1].send_booking(&new.sink, "p1", taker.token, Duration::from_mins(3)).await.unwrap());
    assert_eq!(minutes(settles_in(&*stores[0]).await), Some(3));
}

pub(crate) async fn what_is_sent_is_said_before(on: &Fixture) {
    let store = on.open().await;
    let new = begun(&*store, "p1", "F1").await;
    let reserved = known(&*store, &new).await.unwrap();
    let stranger = again(&new);
    assert!(!send(&*store, &stranger).await, "not its token");
    assert!(!send(&*store, &NewBooking { sink: sink("onfact"), ..new.clone() }).await, "not its sink");
    assert!(!send(&*store, &NewBooking { payment_id: "p2".into(), ..new.clone() }).await, "not its payment");
    assert_eq!(known(&*store, &new).await.unwrap(), reserved, "nothing was changed");

    assert!(send(&*store, &new).await);
    let sending = known(&*store, &new).await.unwrap();
    let began_at = sending.began_at;
    assert!(began_at > reserved.began_at, "now");
    let settles_in = Some(SETTLES);
    let expected = Booking { state: BookingState::Sending, began_at, settles_in, changed_at: began_at, ..reserved };
    assert_eq!(sending, expected);
    assert!(send(&*store, &new).await, "once more, after a doubt that was looked into");
    let once_more = known(&*store, &new).await.unwrap();
    assert!(once_more.began_at > began_at, "now");
    assert_eq!(once_more, Booking { began_at: once_more.began_at, ..sending });
    assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun, "the same answer as before");
    assert_eq!(known(&*store, &new).await.unwrap(), once_more, "and nothing was written");
    // It is in the list of what is `sending`, and in no other.
    for state in BookingState::ALL {
        let listed = payments(&*store, &BookingFilter { state: Some(state), ..BookingFilter::default() }).await;
        assert_eq!(listed.is_empty(), state != BookingState::Sending, "{state}: {listed:?}");
    }
    // What is written is not sent again, whoever asks.
    for state in [BookingState::Written, BookingState::Booked, BookingState::Seen] {
        let done = in_state(&*store, state.as_str(), "F2", state).await;
        let before = known(&*store, &done).await;
        assert!(!send(&*store, &done).await, "{state}");
        assert_eq!(known(&*store, &done).await, before);
    }
    store.close().await;
    assert_eq!(known(&*on.open().await, &new).await.unwrap(), once_more, "it survives reopening");
}

pub(crate) async fn who_lost_it_sends_nothing(on: &Fixture) {
    let store = on.open().await;
    // Taken over.
    let first = begun(&*store, "p1", "F1").await;
    let second = again(&first);
    assert_eq!(store.begin_booking(&second, Some(first.token)).await.unwrap(), BookingBegun::TakenOver);
    assert!(!send(&*store, &first).await);
    assert_eq!(known(&*store, &first).await.unwrap().state, BookingState::Reserved, "nothing was sent");
    assert!(send(&*store, &second).await);
    assert!(!send(&*store, &first).await);
    // Withdrawn by somebody who had read its token.
    let third = begun(&*store, "p2", "F2").await;
    let token = known(&*store, &third).await.unwrap().token;
    assert!(store.withdraw_booking(&third.sink, "p2", token).await.unwrap());
    assert!(!send(&*store, &third).await);
    assert_eq!(known(&*store, &third).await, None, "and it does not come back by that");
    let fourth = again(&third);
    assert_eq!(store.begin_booking(&fourth, None).await.unwrap(), BookingBegun::Begun);
    assert!(!send(&*store, &third).await, "nor if there is another one now");
    assert_eq!(known(&*store, &fourth).await.unwrap().state, BookingState::Reserved);
}

pub(crate) async fn of_a_taker_and_a_sender_both_know(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    for round in 0..10 {
        let held = begun(&*stores[0], &format!("p{round}"), &format!("F{round}")).await;
        let taker = again(&held);
        let taking = {
            let (store, taker, token) = (stores[1].clone(), taker.clone(), held.token);
            tokio::spawn(async move { store.begin_booking(&taker, Some(token)).await.unwrap() })
        };
        let sending = {
            let (store, held) = (stores[0].clone(), held.clone());
            tokio::spawn(async move { send(&*store, &held).await })
        };
        assert_eq!(taking.await.unwrap(), BookingBegun::TakenOver);
        let was_sent = sending.await.unwrap();
        let stands = known(&*stores[1], &taker).await.unwrap();
        assert_eq!(stands.token, taker.token);
        let expected = if was_sent { BookingState::Sending } else { BookingState::Reserved };
        assert_eq!(stands.state, expected, "who takes over and reads it again knows whether it may have been sent");
        assert!(!send(&*stores[0], &held).await);
    }
}

fn entry() -> NewAudit {
    NewAudit::new("ops", "booking.settled", "payment/p1").with("sink", "compta")
}

async fn settle(store: &dyn Store, new: &NewBooking, word: &Word, quiet_for: Duration) -> Settled {
    store.settle_booking(&new.sink, &new.payment_id, word, quiet_for, entry()).await.unwrap()
}

async fn trail(store: &dyn Store) -> Vec<AuditEntry> {
    store.list_audit(&finkare_relay::store::AuditFilter::default(), 100).await.unwrap().rows
}

fn recorded(target_id: Option<&str>) -> Word {
    Word::Recorded { target_id: target_id.map(str::to_owned) }
}

pub(crate) async fn a_persons_word_settles_what_is_not_finished(on: &Fixture) {
    let store = on.open().await;
    for (turn, state) in [BookingState::Reserved, BookingState::Sending, BookingState::Written].into_iter().enumerate()
    {
        let number = format!("F {state}");
        let told = |was_recorded: bool, target_id: Option<&str>| {
            json!({
                "sink": "compta", "recorded": was_recorded, "was": state, "invoice_number": number,
                "amount_cents": 150_000, "currency": "EUR", "target_id": target_id,
            })
        };
        let there = in_state(&*store, &format!("there {state}"), &number, state).await;
        let before = known(&*store, &there).await.unwrap();
        assert_eq!(settle(&*store, &there, &recorded(Some("4711")), Duration::ZERO).await, Settled::Settled);
        let after = known(&*store, &there).await.unwrap();
        assert!(after.changed_at > before.changed_at);
        let expected = Booking {
            state: BookingState::Booked,
            target_id: Some("4711".into()),
            note: after.note.clone(),
            changed_at: after.changed_at,
            ..before
        };
        assert_eq!(after, expected);
        assert!(after.note.is_some_and(|note| note.contains("a person")));
        let entries = trail(&*store).await;
        assert_eq!(entries.len(), turn * 2 + 1);
        assert_eq!(
            (&*entries[0].actor, &*entries[0].action, &*entries[0].subject),
            ("ops", "booking.settled", "payment/p1")
        );
        assert_eq!(entries[0].detail, told(true, Some("4711")));
        // Whoever was at it learns of it, and the invoice is free for its next payment.
        assert!(!send(&*store, &there).await);
        let late = advance(&*store, &there, &to(BookingState::Written)).await.expect("it is finished");
        assert_eq!(late.state, BookingState::Booked);
        assert_eq!(store.booked_cents(&there.sink, &number).await.unwrap(), Cents(150_000));

        let gone = in_state(&*store, &format!("gone {state}"), &number, state).await;
        assert_eq!(settle(&*store, &gone, &Word::NotRecorded, Duration::ZERO).await, Settled::Settled);
        assert_eq!(known(&*store, &gone).await, None);
        let entries = trail(&*store).await;
        assert_eq!((entries.len(), &entries[0].detail), (turn * 2 + 2, &told(false, None)));
        assert!(!send(&*store, &gone).await);
        let late = store.advance_booking(&gone.sink, &gone.payment_id, gone.token, &to(BookingState::Booked)).await;
        assert!(matches!(late, Err(StoreError::Open(_))), "{late:?}");
        assert_eq!(store.begin_booking(&again(&gone), None).await.unwrap(), BookingBegun::Begun, "it is written anew");
    }
    // What was known of the target's id is kept, and any text can be.
    let written = in_state(&*store, "p1", "G1", BookingState::Sending).await;
    let known_id = Advance { target_id: Some("4712".into()), ..to(BookingState::Written) };
    assert_eq!(advance(&*store, &written, &known_id).await, None);
    assert_eq!(settle(&*store, &written, &recorded(None), Duration::ZERO).await, Settled::Settled);
    assert_eq!(known(&*store, &written).await.unwrap().target_id.as_deref(), Some("4712"));
    assert_eq!(trail(&*store).await[0].detail["target_id"], "4712");
    let odd = begun(&*store, "p2", "G2").await;
    assert_eq!(settle(&*store, &odd, &recorded(Some("a\0b")), Duration::ZERO).await, Settled::Settled);
    let stands = [known(&*store, &written).await, known(&*store, &odd).await];
    store.close().await;
    let store = on.open().await;
    assert_eq!([known(&*store, &written).await, known(&*store, &odd).await], stands, "it survives reopening");
}

pub(crate) async fn a_word_that_settles_nothing_changes_nothing(on: &Fixture) {
    let store = on.open().await;
    let words = [recorded(Some("4711")), Word::NotRecorded];
    let hour = Duration::from_hours(1);
    for state in BookingState::ALL {
        let new = in_state(&*store, state.as_str(), &format!("F {state}"), state).await;
        let before = known(&*store, &new).await;
        for word in &words {
            let answer = settle(&*store, &new, word, hour).await;
            // Whatever its age, there is nothing to settle then.
            let is_finished = matches!(state, BookingState::Booked | BookingState::Seen);
            match answer {
                Settled::Finished(found) if is_finished => assert_eq!(found.state, state),
                Settled::TooEarly(found) if !is_finished => assert_eq!(found.token, new.token),
                answer => panic!("{state}: {answer:?}"),
            }
        }
        assert_eq!(known(&*store, &new).await, before, "{state}");
    }
    let nowhere = NewBooking { sink: sink("onfact"), ..booking("sending", "F1") };
    for unknown in [nowhere, booking("p9", "F1"), booking("sending\0", "F1")] {
        for word in &words {
            assert_eq!(settle(&*store, &unknown, word, Duration::ZERO).await, Settled::Unknown, "{unknown:?}");
        }
    }
    assert_eq!(trail(&*store).await, [], "nothing was done");
    // It counts from when it was begun, or taken over, or sent: the latest of these.
    on.execute("UPDATE bookings SET began_at = began_at - 7200000000").await;
    let sending = known(&*store, &booking("sending", "")).await.unwrap();
    let taker = NewBooking { token: BookingToken::generate(), ..booking("sending", "F sending") };
    assert_eq!(store.begin_booking(&taker, Some(sending.token)).await.unwrap(), BookingBegun::TakenOver);
    assert!(matches!(settle(&*store, &taker, &Word::NotRecorded, hour).await, Settled::TooEarly(_)));
    on.execute("UPDATE bookings SET began_at = began_at - 7200000000").await;
    assert!(send(&*store, &taker).await);
    assert!(matches!(settle(&*store, &taker, &Word::NotRecorded, hour).await, Settled::TooEarly(_)));
    on.execute("UPDATE bookings SET began_at = began_at - 7200000000").await;
    assert_eq!(settle(&*store, &taker, &Word::NotRecorded, hour).await, Settled::Settled);
}

pub(crate) async fn of_many_words_one_counts(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    for round in 0..5 {
        let doubtful = in_state(&*stores[0], &format!("p{round}"), &format!("F{round}"), BookingState::Sending).await;
        let answers = join_all((0..MANY).map(|number| {
            let (store, doubtful) = (stores[number % 2].clone(), doubtful.clone());
            let word = if number % 3 == 0 { recorded(None) } else { Word::NotRecorded };
            tokio::spawn(async move { (settle(&*store, &doubtful, &word, Duration::ZERO).await, word) })
        }))
        .await;
        let answers: Vec<(Settled, Word)> = answers.into_iter().map(Result::unwrap).collect();
        let counted: Vec<_> = answers.iter().filter(|(answer, _)| *answer == Settled::Settled).collect();
        let [(_, word)] = counted[..] else { panic!("{answers:?}") };
        let entries = trail(&*stores[0]).await;
        assert_eq!(entries.len(), round + 1);
        let was_recorded = *word != Word::NotRecorded;
        assert_eq!(entries[0].detail["recorded"], was_recorded);
        let stands = known(&*stores[1], &doubtful).await.map(|found| found.state);
        assert_eq!(stands, was_recorded.then_some(BookingState::Booked));
        let others = answers.iter().filter(|(answer, _)| match answer {
            Settled::Finished(_) => was_recorded,
            Settled::Unknown => !was_recorded,
            Settled::Settled | Settled::TooEarly(_) => false,
        });
        assert_eq!(others.count(), MANY - 1, "{answers:?}");
    }
}

pub(crate) async fn nobody_sends_behind_a_word(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    let hour = Duration::from_hours(1);
    for round in 0..10 {
        let held = begun(&*stores[0], &format!("p{round}"), &format!("F{round}")).await;
        on.execute("UPDATE bookings SET began_at = began_at - 7200000000").await;
        let settling = {
            let (store, held) = (stores[1].clone(), held.clone());
            tokio::spawn(async move { settle(&*store, &held, &Word::NotRecorded, hour).await })
        };
        let sending = {
            let (store, held) = (stores[0].clone(), held.clone());
            tokio::spawn(async move { send(&*store, &held).await })
        };
        let (settled, was_sent) = (settling.await.unwrap(), sending.await.unwrap());
        let stands = known(&*stores[0], &held).await.map(|found| found.state);
        match (settled, was_sent) {
            (Settled::Settled, false) => assert_eq!(stands, None),
            (Settled::TooEarly(_), true) => assert_eq!(stands, Some(BookingState::Sending)),
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
        bring(&*store, &new, state).await;
    }
    in_state(&*store, "p7", "F3", BookingState::Reserved).await;
    assert_eq!(store.booked_cents(&compta, "F3").await.unwrap(), Cents::ZERO);
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
    let with_id = Advance { target_id: Some("4711".into()), ..to(BookingState::Written) };
    let p3 = known(&*store, &booking("p3", "F1")).await.unwrap();
    assert_eq!(advance(&*store, &NewBooking { token: p3.token, ..booking("p3", "F1") }, &with_id).await, None);
    assert_eq!(of(BookingFilter { target_id: text("4711"), sink: text("compta"), ..none() }).await, ["p3"]);
    assert_eq!(of(BookingFilter { target_id: text("4711"), sink: text("onfact"), ..none() }).await, [""; 0]);
    for (state, expected) in [
        (BookingState::Reserved, &["p1"][..]),
        (BookingState::Sending, &["p4"]),
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
        target_id: None,
        before: None,
        ..BookingFilter::default()
    };
    assert_eq!(of(all.clone()).await, ["p1"]);
    for nothing in [
        BookingFilter { sink: text("nobody"), ..all.clone() },
        BookingFilter { payment_id: text("p\0"), ..none() },
        BookingFilter { before: Some(0), ..none() },
    ] {
        assert!(of(nothing).await.is_empty());
    }
    let rows = store.bookings(&none(), 500).await.unwrap().rows;
    let times: Vec<_> = rows.iter().map(|(_, booking)| booking.changed_at).collect();
    for at in &times {
        let from: Vec<&str> = rows.iter().filter(|(_, b)| b.changed_at >= *at).map(|(_, b)| &*b.payment_id).collect();
        assert_eq!(of(BookingFilter { since: Some(*at), ..none() }).await, from);
        let before: Vec<&str> = rows.iter().filter(|(_, b)| b.changed_at < *at).map(|(_, b)| &*b.payment_id).collect();
        assert_eq!(of(BookingFilter { until: Some(*at), ..none() }).await, before);
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
        ("reserved", "F2", BookingState::Reserved),
    ] {
        in_state(&*store, payment, number, state).await;
    }
    assert_eq!(store.purge_bookings(Duration::from_hours(1), 100).await.unwrap(), 0, "nothing is as old as that");
    assert_eq!(store.purge_bookings(Duration::MAX, 100).await.unwrap(), 0, "older than any calendar");
    assert_eq!(store.purge_bookings(Duration::ZERO, 0).await.unwrap(), 0);
    assert_eq!(store.purge_bookings(Duration::ZERO, 2).await.unwrap(), 2);
    assert_eq!(
        payments(&*store, &BookingFilter::default()).await,
        ["reserved", "sending", "p3", "written"],
        "the oldest first"
    );
    assert_eq!(store.purge_bookings(Duration::ZERO, 2).await.unwrap(), 1);
    assert_eq!(store.purge_bookings(Duration::ZERO, 2).await.unwrap(), 0);
    assert_eq!(
        payments(&*store, &BookingFilter::default()).await,
        ["reserved", "sending", "written"],
        "whatever their age"
    );
}

/// Removes the events that are older than this, finished ones all of them.
async fn purge_events(store: &dyn Store, before: Timestamp) {
    loop {
        let due = claim(store, start()).await;
        if due.is_empty() {
            break;
        }
        finish(store, &due.iter().map(delivered).collect::<Vec<_>>(), start()).await;
    }
    while store.purge(Purge { payloads_before: before, events_before: before, limit: 10 }).await.unwrap()
        != super::nothing()
    {}
}

pub(crate) async fn assignments_stay_as_long_as_the_ledger(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let of = |key: &str, at: Timestamp| NewEvent { invoice_id: Some("i1".into()), ..received(key, at) };
    let old = stored(&*store, of("old", now - secs(1000))).await;
    let unfinished = stored(&*store, of("unfinished", now - secs(1000))).await;
    let new = stored(&*store, of("new", now)).await;
    for (event, payment) in [(&old, "p1"), (&new, "p2"), (&unfinished, "p3")] {
        assert_eq!(store.assign(&assignment(event, payment)).await.unwrap(), Assigned::Ours);
    }
    in_state(&*store, "p1", "F1", BookingState::Booked).await;
    in_state(&*store, "p3", "F3", BookingState::Sending).await;
    purge_events(&*store, now - secs(500)).await;
    assert_eq!(count_events(&*store).await, 1);

    // The events are gone, and their payments are not free for others.
    let later = stored(&*store, of("later", now)).await;
    for (event, payment) in [(&old, "p1"), (&unfinished, "p3")] {
        assert_eq!(store.assignment(event.id).await.unwrap(), Some(assignment(event, payment)));
        assert_eq!(store.assign(&assignment(&later, payment)).await.unwrap(), Assigned::Taken);
    }
    let mut all = store.assignments("main", "i1").await.unwrap();
    all.sort_by(|a, b| a.payment_id.cmp(&b.payment_id));
    assert_eq!(all, [assignment(&old, "p1"), assignment(&new, "p2"), assignment(&unfinished, "p3")]);

    // They go with the ledger's age: where neither the event nor a booking needs them any more.
    for (older_than, limit) in [(Duration::from_hours(1), 100), (Duration::MAX, 100), (Duration::ZERO, 0)] {
        store.purge_bookings(older_than, limit).await.unwrap();
        assert_eq!(store.assignments("main", "i1").await.unwrap().len(), 3, "{older_than:?} {limit}");
    }
    assert_eq!(store.purge_bookings(Duration::ZERO, 100).await.unwrap(), 1);
    assert_eq!(store.assignment(old.id).await.unwrap(), None);
    assert_eq!(store.assignment(new.id).await.unwrap(), Some(assignment(&new, "p2")), "its event is there");
    assert_eq!(
        store.assignment(unfinished.id).await.unwrap(),
        Some(assignment(&unfinished, "p3")),
        "it is not finished"
    );
    assert_eq!(store.assign(&assignment(&later, "p1")).await.unwrap(), Assigned::Ours);
}

/// What is known of an event's payment.
fn announced(event: &NewEvent, cents: i64, payment: Option<&str>, number: Option<&str>) -> Announced {
    Announced {
        event_id: event.id,
        invoice_id: event.invoice_id.clone().unwrap_or_default(),
        amount_cents: Cents(cents),
        currency: None,
        payment_id: payment.map(Into::into),
        invoice_number: number.map(Into::into),
        debtor: None,
        method: None,
        paid_at: None,
    }
}

pub(crate) async fn what_is_known_of_a_payment_is_found(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let of = |key: &str, age: u64| NewEvent { invoice_id: Some("i1".into()), ..received(key, now - secs(age)) };
    let (a, b) = (stored(&*store, of("a", 1000)).await, stored(&*store, of("b", 100)).await);
    let c = stored(&*store, NewEvent { invoice_id: Some("i2".into()), ..of("c", 10) }).await;
    for known in [
        announced(&a, 150_000, Some("p-1"), Some("F-2026/É_001")),
        announced(&b, 150_000, None, None),
        announced(&c, 7, Some("p-3"), Some("100%")),
    ] {
        store.note_announced(&known).await.unwrap();
    }
    let find = async |text: &str| store.find_announced(&Search::new(text).unwrap(), 10).await.unwrap();
    for (text, expected) in [
        ("f-2026/é_001", vec![a.id]),
        (" F-2026/É_001 ", vec![a.id]),
        ("2026", vec![a.id]),
        ("1500", vec![b.id, a.id]),
        ("1 500,00 €", vec![b.id, a.id]),
        ("p-1", vec![a.id]),
        ("p-", vec![]),
        ("0.07", vec![c.id]),
        ("%", vec![c.id]),
        ("_", vec![a.id]),
        ("F-2027", vec![]),
    ] {
        assert_eq!(find(text).await, expected, "{text}");
    }
    assert_eq!(store.find_announced(&Search::new("1500").unwrap(), 1).await.unwrap(), [b.id], "the newest");

    // What is learnt later is added, and what is not known now stays.
    store.note_announced(&announced(&b, 150_000, Some("p-2"), None)).await.unwrap();
    let euros = Announced { currency: Some("EUR".into()), ..announced(&b, 150_000, None, Some("F-2027-9")) };
    store.note_announced(&euros).await.unwrap();
    let all = Announced { payment_id: Some("p-2".into()), ..euros };
    assert_eq!(store.announced(&[b.id, EventId::generate()]).await.unwrap(), [all]);
    assert_eq!((find("f-2027-9").await, find("p-2").await), (vec![b.id], vec![b.id]));
    assert_eq!(store.announced(&[]).await.unwrap(), []);

    // Lists take what was found; a text of the payload finds as before.
    let list = async |found: Vec<EventId>, contains: &str| {
        let filter = EventFilter { contains: Some(contains.into()), found, ..EventFilter::default() };
        let rows = store.list_events(&filter, 10).await.unwrap().rows;
        rows.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    assert_eq!(list(vec![a.id], "nowhere").await, [a.id]);
    assert_eq!(list(vec![a.id], r#""key":"c""#).await, [c.id, a.id]);
    let dispatches = async |found: Vec<EventId>, state: Option<State>| {
        let filter = DispatchFilter { found: Some(found), state, ..DispatchFilter::default() };
        let rows = store.list_dispatches(&filter, 10).await.unwrap().rows;
        rows.into_iter().map(|dispatch| dispatch.event_id).collect::<Vec<_>>()
    };
    for state in [None, Some(State::Pending)] {
        assert_eq!(dispatches(vec![a.id, c.id], state).await, [c.id, a.id], "{state:?}");
    }
    assert!(dispatches(vec![a.id], Some(State::Held)).await.is_empty());
    assert!(dispatches(vec![], None).await.is_empty(), "nothing was found");

    // Of an event that is not stored nothing is kept; and it goes with its event, or its invoice's payloads.
    let nobody = of("nobody", 1);
    store.note_announced(&announced(&nobody, 1, None, None)).await.unwrap();
    assert_eq!(store.announced(&[nobody.id]).await.unwrap(), []);
    store.erase_invoice("i2", NewAudit::new("ops", "invoice.erased", "invoice/i2")).await.unwrap();
    assert_eq!(find("0.07").await, []);
    purge_events(&*store, now - secs(500)).await;
    assert_eq!(find("1500").await, [b.id]);
}

pub(crate) async fn what_was_learned_is_kept_with_the_assignment(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let of = |key: &str, age: u64| NewEvent { invoice_id: Some("i1".into()), ..received(key, now - secs(age)) };
    let (early, late) = (stored(&*store, of("early", 1000)).await, stored(&*store, of("late", 1000)).await);
    let facts = |event: &NewEvent, payment: &str, debtor: &str| Announced {
        debtor: Some(debtor.into()),
        method: Some("card".into()),
        paid_at: Some("2026-10-31T22:30:00Z".parse().unwrap()),
        ..announced(event, 150_000, Some(payment), Some("F-1"))
    };
    // Known before the payment is decided, and after.
    store.note_announced(&facts(&early, "p1", "Société Été")).await.unwrap();
    assert_eq!(store.learned(&[early.id]).await.unwrap(), [], "nothing is assigned");
    store.assign(&assignment(&early, "p1")).await.unwrap();
    store.assign(&assignment(&late, "p2")).await.unwrap();
    let nothing = Learned {
        event_id: late.id,
        endpoint: "main".into(),
        payment_id: "p2".into(),
        debtor: None,
        method: None,
        paid_at: None,
    };
    assert_eq!(store.learned(&[late.id]).await.unwrap(), std::slice::from_ref(&nothing));
    store.note_announced(&facts(&late, "another", "Nobody")).await.unwrap();
    assert_eq!(store.learned(&[late.id]).await.unwrap(), std::slice::from_ref(&nothing), "that is another payment's");
    store.note_announced(&facts(&late, "p2", "Durand")).await.unwrap();
    let day = Announced {
        debtor: None,
        method: None,
        paid_at: Some("2026-11-01".parse().unwrap()),
        ..facts(&late, "p2", "")
    };
    store.note_announced(&day).await.unwrap();
    let learned = |event: &NewEvent, debtor: Option<&str>, paid_at: &str| Learned {
        event_id: event.id,
        payment_id: if event.id == early.id { "p1" } else { "p2" }.into(),
        debtor: debtor.map(Into::into),
        method: Some("card".into()),
        paid_at: Some(paid_at.parse().unwrap()),
        ..nothing.clone()
    };
    let mut all = store.learned(&[early.id, late.id, EventId::generate()]).await.unwrap();
    all.sort_by_key(|learned| learned.event_id);
    let mut expected =
        [learned(&early, Some("Société Été"), "2026-10-31T22:30:00Z"), learned(&late, Some("Durand"), "2026-11-01")];
    expected.sort_by_key(|learned| learned.event_id);
    assert_eq!(all, expected);

    // People search for names as they type them.
    let find = async |text: &str| store.find_announced(&Search::new(text).unwrap(), 10).await.unwrap();
    for (text, expected) in
        [("société été", vec![early.id]), ("ÉTÉ", vec![early.id]), ("durand", vec![late.id]), ("Dupont", vec![])]
    {
        assert_eq!(find(text).await, expected, "{text}");
    }

    // It outlives the event; an erasure deletes the name, also then, and no later answer brings it back.
    purge_events(&*store, now - secs(500)).await;
    assert_eq!(store.announced(&[early.id, late.id]).await.unwrap(), []);
    let erase = async || store.erase_invoice("i1", NewAudit::new("ops", "invoice.erased", "invoice/i1")).await.unwrap();
    let erased = erase().await;
    assert_eq!((erased.events, erased.names, erased.is_nothing()), (0, 2, false));
    assert_eq!(store.learned(&[early.id]).await.unwrap(), [learned(&early, None, "2026-10-31T22:30:00Z")]);
    assert!(erase().await.is_nothing());
    let fresh = stored(&*store, NewEvent { invoice_id: Some("i1".into()), ..of("fresh", 1) }).await;
    store.assign(&assignment(&fresh, "p3")).await.unwrap();
    erase().await;
    store.note_announced(&facts(&fresh, "p3", "Durand")).await.unwrap();
    assert_eq!(
        store.learned(&[fresh.id]).await.unwrap(),
        [Learned { payment_id: "p3".into(), ..learned(&fresh, None, "2026-10-31T22:30:00Z") }]
    );
    assert_eq!(find("durand").await, []);
}

pub(crate) async fn undecided_events_of_an_invoice_are_told(on: &Fixture) {
    let store = on.open().await;
    let open = stored(&*store, of_invoice("i1", "open")).await;
    let decided = stored(&*store, of_invoice("i1", "decided")).await;
    let done = stored(&*store, NewEvent { sinks: vec![], ..of_invoice("i1", "done") }).await;
    stored(&*store, of_invoice("i2", "another invoice")).await;
    stored(&*store, NewEvent { event_type: "invoice.status_changed".into(), ..of_invoice("i1", "no payment") }).await;
    let endpoint = EndpointName::new("sandbox").unwrap();
    stored(&*store, NewEvent { endpoint, ..of_invoice("i1", "another endpoint") }).await;
    let huge = vec![b' '; LARGEST_ANNOUNCEMENT as usize + 1];
    stored(&*store, NewEvent { payload: huge.into(), ..of_invoice("i1", "huge") }).await;
    store.assign(&assignment(&decided, "p1")).await.unwrap();
    let told = store.unassigned("main", "i1", 10).await.unwrap();
    let of = |event: &NewEvent, is_open| Unassigned {
        event_id: event.id,
        received_at: event.received_at,
        payload: event.payload.to_vec(),
        is_open,
    };
    let mut expected = [of(&open, true), of(&done, false)];
    expected.sort_by_key(|event| std::cmp::Reverse(event.event_id));
    assert_eq!(told, expected);
    assert_eq!(store.unassigned("main", "i1", 1).await.unwrap(), expected[..1], "the newest");
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
    let sending = in_state(&*store, "p1", "F1", BookingState::Sending).await;
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
