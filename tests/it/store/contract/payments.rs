//! Payments as people look for them: under their events, with everything that is stored about them, in bounded reads.

use finkare_relay::{
    model::{
        booking::{Announced, Assignment, BookingState, BookingToken, NewBooking},
        dispatch::State,
        id::EndpointName,
        money::Cents,
    },
    store::{
        Purge,
        ledger::{Advance, Assigned, BookingBegun},
        payments::{Among, PaymentFilter},
    },
};

use super::{
    Duration, EventId, NewEvent, Store, Timestamp, claim, clock, delivered, finish, held, nothing, received, rejected,
    retried, secs, sink, start,
};
use crate::store::Fixture;

async fn stored(store: &dyn Store, event: NewEvent) -> NewEvent {
    assert!(!store.record_deliveries(std::slice::from_ref(&event)).await.unwrap()[0].duplicate);
    event
}

fn of(invoice: &str, key: &str, at: Timestamp) -> NewEvent {
    NewEvent { invoice_id: Some(invoice.into()), ..received(key, at) }
}

fn at(endpoint: &str, event: NewEvent) -> NewEvent {
    NewEvent { endpoint: EndpointName::new(endpoint).unwrap(), ..event }
}

async fn assign(store: &dyn Store, event: &NewEvent, payment: &str) -> Assigned {
    let assignment = Assignment {
        event_id: event.id,
        endpoint: event.endpoint.as_str().into(),
        payment_id: payment.into(),
        invoice_id: event.invoice_id.clone().unwrap(),
        amount_cents: Cents(150_000),
    };
    store.assign(&assignment).await.unwrap()
}

async fn note(store: &dyn Store, event: &NewEvent, payment: Option<&str>) {
    let known = Announced {
        event_id: event.id,
        invoice_id: event.invoice_id.clone().unwrap(),
        amount_cents: Cents(150_000),
        currency: Some("EUR".into()),
        payment_id: payment.map(Into::into),
        invoice_number: Some("F-1".into()),
        debtor: Some("Durand".into()),
        method: Some("card".into()),
        paid_at: "2026-10-15".parse().ok(),
    };
    store.note_announced(&known).await.unwrap();
}

/// Begins a booking, and finishes it if that is asked.
async fn book(store: &dyn Store, event: EventId, name: &str, payment: &str, number: &str, state: Option<BookingState>) {
    let new = NewBooking {
        sink: sink(name),
        payment_id: payment.into(),
        event_id: event,
        invoice_id: "i1".into(),
        invoice_number: number.into(),
        amount_cents: Cents(150_000),
        currency: "EUR".into(),
        token: BookingToken::generate(),
    };
    assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun);
    assert!(store.send_booking(&new.sink, payment, new.token, Duration::ZERO).await.unwrap());
    if let Some(state) = state {
        let advance = Advance { state, target_id: Some("77".into()), note: None };
        assert_eq!(store.advance_booking(&new.sink, payment, new.token, &advance).await.unwrap(), None);
    }
}

async fn listed(store: &dyn Store, filter: &PaymentFilter, limit: u32) -> Vec<EventId> {
    let page = store.payment_events(filter, limit).await.unwrap();
    assert_eq!(page.searched_until, None, "there is little to search");
    page.events
}

pub(crate) async fn payments_are_listed_under_their_events(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let a = stored(&*store, of("i1", "a", now - secs(500))).await;
    let b = stored(&*store, at("beta", of("i2", "b", now - secs(400)))).await;
    let c = stored(&*store, of("i3", "c", now - secs(300))).await;
    assert_eq!(assign(&*store, &a, "p1").await, Assigned::Ours);
    let other = of("i1", "status", now - secs(200));
    stored(&*store, NewEvent { event_type: "invoice.status_changed".into(), ..other }).await;

    let all = PaymentFilter::default;
    assert_eq!(listed(&*store, &all(), 10).await, [c.id, b.id, a.id], "decided or not, and nothing else");
    assert_eq!(listed(&*store, &all(), 2).await, [c.id, b.id]);
    assert_eq!(listed(&*store, &PaymentFilter { before: Some(b.id), ..all() }, 10).await, [a.id]);
    let of_main = PaymentFilter { endpoints: Some(vec!["main".into()]), ..all() };
    assert_eq!(listed(&*store, &of_main, 10).await, [c.id, a.id]);
    assert_eq!(listed(&*store, &PaymentFilter { endpoints: Some(vec![]), ..all() }, 10).await, []);
    let since = PaymentFilter { since: Some(now - secs(450)), until: Some(now - secs(350)), ..all() };
    assert_eq!(listed(&*store, &since, 10).await, [b.id]);
    let behind = PaymentFilter { before: Some(b.id), ..since };
    assert_eq!(listed(&*store, &behind, 10).await, [], "both ends count");
}

pub(crate) async fn what_is_unfinished_is_found(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let mut events = Vec::new();
    for (key, ago) in [("done", 500), ("held", 400), ("dead", 300), ("again", 200)] {
        events.push(stored(&*store, of(key, key, now - secs(ago))).await);
    }
    let leases = claim(&*store, start()).await;
    let lease = |event: &NewEvent| leases.iter().find(|lease| lease.event_id == event.id).unwrap();
    let attempts = [
        delivered(lease(&events[0])),
        held(lease(&events[1]), None),
        rejected(lease(&events[2])),
        retried(lease(&events[3]), secs(60)),
    ];
    finish(&*store, &attempts, start()).await;
    let pending = stored(&*store, of("pending", "pending", now - secs(100))).await;
    // Written in part, while its event is delivered.
    assert_eq!(assign(&*store, &events[0], "p1").await, Assigned::Ours);
    book(&*store, events[0].id, "compta", "p1", "F1", None).await;
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();

    let among = |states: &[State], begun: bool| PaymentFilter {
        among: Among::Unfinished { states: states.to_vec(), begun },
        ..PaymentFilter::default()
    };
    let queue = [State::Pending, State::Leased, State::Held, State::Dead];
    for (states, begun, expected) in [
        (&queue[..], false, vec![pending.id, ids[3], ids[2], ids[1]]),
        (&queue, true, vec![pending.id, ids[3], ids[2], ids[1], ids[0]]),
        (&[State::Held], false, vec![ids[1]]),
        (&[State::Dead], false, vec![ids[2]]),
        (&[State::Pending], false, vec![pending.id, ids[3]]),
        (&[], true, vec![ids[0]]),
        (&[], false, vec![]),
    ] {
        assert_eq!(listed(&*store, &among(states, begun), 10).await, expected, "{states:?} {begun}");
    }
    assert_eq!(listed(&*store, &among(&queue, true), 2).await, [pending.id, ids[3]]);
    let behind = PaymentFilter { before: Some(ids[3]), ..among(&queue, true) };
    assert_eq!(listed(&*store, &behind, 2).await, [ids[2], ids[1]]);
    let elsewhere = PaymentFilter { endpoints: Some(vec!["beta".into()]), ..among(&queue, false) };
    assert_eq!(listed(&*store, &elsewhere, 10).await, []);
    // A second dispatch is no second payment.
    store.replay_event(ids[1], &[sink("books")]).await.unwrap().unwrap();
    assert_eq!(listed(&*store, &among(&queue, false), 10).await, [pending.id, ids[3], ids[2], ids[1]]);
}

pub(crate) async fn everything_about_a_payment_is_read_together(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let a = stored(&*store, of("i1", "a", now - secs(500))).await;
    let b = stored(&*store, at("beta", of("i1", "b", now - secs(400)))).await;
    let c = stored(&*store, of("i3", "c", now - secs(300))).await;
    // Two companies have payments with the same id.
    for event in [&a, &b] {
        assert_eq!(assign(&*store, event, "p1").await, Assigned::Ours);
    }
    note(&*store, &a, Some("p1")).await;
    book(&*store, a.id, "compta", "p1", "F1", Some(BookingState::Booked)).await;
    book(&*store, b.id, "beta-books", "p1", "F1", None).await;

    let unknown = EventId::generate();
    let facts = store.payment_facts(&[a.id, unknown, c.id, b.id, a.id]).await.unwrap();
    let ids: Vec<EventId> = facts.iter().map(|facts| facts.event_id).collect();
    assert_eq!(ids, [c.id, b.id, a.id], "newest first, each once");
    let [of_c, of_b, of_a] = &facts[..] else { unreachable!("three were found") };
    assert_eq!(of_a.event.as_ref().map(|event| event.id), Some(a.id));
    assert_eq!(of_a.endpoint(), Some("main"));
    let assignment = of_a.assignment.as_ref().unwrap();
    assert_eq!((assignment.payment_id.as_str(), assignment.amount_cents), ("p1", Cents(150_000)));
    assert_eq!(of_a.learned.as_ref().unwrap().debtor.as_deref(), Some("Durand"));
    assert_eq!(of_a.announced.as_ref().unwrap().invoice_number.as_deref(), Some("F-1"));
    assert_eq!(of_a.payload, None, "others know the amount");
    assert_eq!(of_a.dispatches.iter().map(|one| one.sink.as_str()).collect::<Vec<_>>(), ["erp"]);
    let booked = |facts: &finkare_relay::store::payments::PaymentFacts| {
        facts.bookings.iter().map(|one| (one.sink.clone(), one.state)).collect::<Vec<_>>()
    };
    assert_eq!(booked(of_a), [("compta".to_owned(), BookingState::Booked)]);
    assert_eq!(booked(of_b), [("beta-books".to_owned(), BookingState::Sending)]);
    assert_eq!(of_b.learned.as_ref().unwrap().debtor, None);
    assert_eq!((&of_c.assignment, &of_c.announced, of_c.bookings.len()), (&None, &None, 0));
    assert_eq!(of_c.payload.as_deref(), Some(&c.payload[..]), "nobody has looked it up");
    assert_eq!(store.payment_facts(&[]).await.unwrap(), []);
    assert_eq!(store.payment_facts(&[unknown]).await.unwrap(), []);

    let endpoints = ["main".to_owned(), "beta".to_owned()];
    let find = async |id: &str, number: Option<&str>| store.find_payments(id, number, &endpoints).await.unwrap();
    assert_eq!(find("p1", None).await, [b.id, a.id]);
    assert_eq!(find("nothing", Some("F1")).await, [b.id, a.id]);
    assert_eq!(find("nothing", None).await, []);
    note(&*store, &c, Some("p3")).await;
    assert_eq!(find("p3", None).await, [c.id], "the probable one");
}

pub(crate) async fn a_late_announcement_is_told_with_the_first_event(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let paid = now - secs(1000);
    let made = of("i1", "made", paid);
    let made = stored(&*store, NewEvent { id: EventId::of_payment("main", "p1", paid), ..made }).await;
    let late = stored(&*store, of("i1", "late", now)).await;
    assert_eq!(assign(&*store, &made, "p1").await, Assigned::Ours);
    assert_eq!(assign(&*store, &late, "p1").await, Assigned::Late);
    note(&*store, &late, Some("p1")).await;
    // Which of the two asked last for the booking does not matter.
    book(&*store, late.id, "compta", "p1", "F1", Some(BookingState::Seen)).await;

    assert_eq!(listed(&*store, &PaymentFilter::default(), 10).await, [made.id], "one payment");
    for asked in [&[made.id][..], &[late.id], &[late.id, made.id]] {
        let facts = store.payment_facts(asked).await.unwrap();
        assert_eq!(facts.len(), 1, "{asked:?}");
        let facts = &facts[0];
        assert_eq!((facts.event_id, facts.late.map(|(late, _)| late)), (made.id, Some(late.id)));
        assert_eq!(facts.late_event.as_ref().map(|event| event.id), Some(late.id));
        assert!(facts.late.is_some_and(|(_, noted_at)| noted_at > paid));
        let dispatches: Vec<EventId> = facts.dispatches.iter().map(|one| one.event_id).collect();
        assert_eq!(dispatches, [made.id, late.id]);
        assert_eq!(facts.bookings.len(), 1);
        assert!(facts.announced.is_some(), "what the late one knows");
    }
}

pub(crate) async fn a_payment_outlives_its_event(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let old = stored(&*store, of("i1", "old", now - secs(1000))).await;
    let new = stored(&*store, of("i2", "new", now)).await;
    assert_eq!(assign(&*store, &old, "p1").await, Assigned::Ours);
    note(&*store, &old, Some("p1")).await;
    book(&*store, old.id, "compta", "p1", "F1", Some(BookingState::Booked)).await;
    let leases = claim(&*store, start()).await;
    finish(&*store, &leases.iter().map(delivered).collect::<Vec<_>>(), start()).await;
    let before = now - secs(500);
    while store.purge(Purge { payloads_before: before, events_before: before, limit: 10 }).await.unwrap() != nothing() {
    }

    assert_eq!(listed(&*store, &PaymentFilter::default(), 10).await, [new.id, old.id]);
    let elsewhere = PaymentFilter { endpoints: Some(vec!["beta".into()]), ..PaymentFilter::default() };
    assert_eq!(listed(&*store, &elsewhere, 10).await, []);
    let facts = store.payment_facts(&[old.id]).await.unwrap().remove(0);
    assert_eq!((&facts.event, &facts.announced, facts.dispatches.len()), (&None, &None, 0));
    assert_eq!(facts.endpoint(), Some("main"));
    assert_eq!(facts.learned.unwrap().debtor.as_deref(), Some("Durand"));
    assert_eq!(facts.bookings.len(), 1);
    // By the ledger, whether the endpoint is still configured or not.
    for endpoints in [&["main".to_owned()][..], &[]] {
        assert_eq!(store.find_payments("p1", None, endpoints).await.unwrap(), [old.id]);
    }
}
