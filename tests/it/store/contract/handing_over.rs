//! Offers: a dispatch is leased to a free slot in the transaction that records it.
//!
//! Offers are taken by the store's own clock, so at [`start`] their leases have run out.

use finkare_relay::{
    model::{
        dispatch::{FinishedAttempt, Next, Order, Outcome, State},
        event::NewEvent,
        id::{DispatchId, LeaseToken},
    },
    store::{Finish, Offer, Store, Stored},
};

use super::{
    LEASE, all_dispatches, claim, claim_of, claim_one, clock, delivered, dispatch, event, finish, held, keys,
    of_invoice, rejected, secs, sink, start, state, status, woken,
};
use crate::store::Fixture;

/// A free slot of `erp`, which keeps the order, for the event at this place of the batch.
fn offer(event: usize) -> Offer {
    Offer { event, sink: sink("erp"), order: Order::Invoice, lease: LEASE, token: LeaseToken::generate() }
}

/// Records a batch with an offer for each event.
async fn record(store: &dyn Store, batch: &[NewEvent]) -> (Vec<Offer>, Stored) {
    let offers: Vec<Offer> = (0..batch.len()).map(offer).collect();
    let stored = store.record_offering(batch, &offers).await.unwrap();
    (offers, stored)
}

/// Which offers were taken.
fn taken(stored: &Stored) -> Vec<bool> {
    stored.leased.iter().map(Option::is_some).collect()
}

/// A delivery under an offer.
fn handed(id: DispatchId, offer: &Offer) -> FinishedAttempt {
    FinishedAttempt {
        id,
        token: offer.token,
        sink: offer.sink.clone(),
        started_at: clock::from_micros(1_700_000_000_000_001).unwrap(),
        duration: secs(1),
        outcome: Outcome::Delivered,
        next: Next::Delivered,
    }
}

pub(crate) async fn an_offer_that_is_taken_needs_no_claim(on: &Fixture) {
    let store = on.open().await;
    let (offers, stored) = record(&*store, &[of_invoice("i1", "a"), event("b")]).await;
    assert!(stored.events.iter().all(|recorded| !recorded.duplicate));
    let ids: Vec<DispatchId> = stored.leased.iter().map(|leased| leased.expect("the offer is taken")).collect();
    let written: Vec<_> = all_dispatches(&*store).await.into_iter().map(|d| (d.id, d.event_id, d.state)).collect();
    let expected: Vec<_> = ids.iter().zip(&stored.events).map(|(id, event)| (*id, event.id, State::Leased)).collect();
    assert_eq!(written, expected);
    let now = clock::now();
    assert!(claim(&*store, now).await.is_empty(), "they are leased");
    let next = claim_of(&*store, "erp", 10, now).await.next_due_in.expect("the leases end");
    assert!(next <= LEASE && next > LEASE / 2, "{next:?}");

    let attempts: Vec<_> = ids.iter().zip(&offers).map(|(id, offer)| handed(*id, offer)).collect();
    finish(&*store, &attempts, start()).await;
    let (first, made) = store.dispatch(ids[0]).await.unwrap().unwrap();
    assert_eq!((first.state, first.attempts, made.len()), (State::Delivered, 1, 1));
    assert_eq!(made[0].started_at, attempts[0].started_at);
    assert_eq!(status(&*store, "erp").await.delivered, 2);
    assert!(claim(&*store, start() + LEASE).await.is_empty());
}

pub(crate) async fn what_is_not_taken_is_pending_and_announced(on: &Fixture) {
    let store = on.open().await;
    let erp = store.wakeups().of(&sink("erp"));
    store.pause_sink(&sink("erp"), "for a test").await.unwrap();
    let (_, stored) = record(&*store, &[event("a")]).await;
    assert_eq!(stored.leased, [None], "the sink is paused");
    woken(&erp).await;
    let waiting = all_dispatches(&*store).await.remove(0);
    assert_eq!(waiting.state, State::Pending);
    store.resume_sink(&sink("erp")).await.unwrap();
    assert_eq!(claim_one(&*store, start()).await.id, waiting.id);
    assert_eq!(taken(&record(&*store, &[event("b")]).await.1), [true]);
}

pub(crate) async fn an_unfinished_one_keeps_its_lane(on: &Fixture) {
    let store = on.open().await;
    let now = start();
    let invoices = ["held", "dead", "delivered", "cancelled", "leased", "pending"];
    let batch: Vec<NewEvent> = invoices.iter().map(|invoice| of_invoice(invoice, invoice)).collect();
    store.record_deliveries(&batch).await.unwrap();
    let leases = claim_of(&*store, "erp", 5, now).await.dispatches;
    assert_eq!(keys(&leases), invoices[..5]);
    let ends = [held(&leases[0], None), rejected(&leases[1]), delivered(&leases[2]), held(&leases[3], None)];
    finish(&*store, &ends, now).await;
    assert_eq!(store.cancel_dispatches(&[leases[3].id]).await.unwrap(), 1);

    let batch: Vec<NewEvent> =
        invoices.iter().map(|invoice| of_invoice(invoice, &format!("behind {invoice}"))).collect();
    let (_, stored) = record(&*store, &batch).await;
    assert_eq!(taken(&stored), [false, true, true, true, false, false]);
    let behind = all_dispatches(&*store).await.split_off(6);
    let states: Vec<State> = behind.iter().map(|dispatch| dispatch.state).collect();
    let (waits, goes) = (State::Pending, State::Leased);
    assert_eq!(states, [waits, goes, goes, goes, waits, waits]);
    // What is finished makes the next one due, as ever.
    finish(&*store, &[delivered(&leases[4])], now).await;
    let due = ["pending", "behind dead", "behind delivered", "behind cancelled", "behind leased"];
    assert_eq!(keys(&claim(&*store, now).await), due, "also what was handed over, as those leases have run out");
}

pub(crate) async fn of_one_batch_the_first_of_an_invoice_is_taken(on: &Fixture) {
    let store = on.open().await;
    let batch = ["a", "b", "c", "d", "e"].map(|key| of_invoice(if key < "c" { "i1" } else { "i2" }, key));
    // There is none for the first one of the second invoice.
    let offers = [offer(4), offer(1), offer(0), offer(3)];
    let stored = store.record_offering(&batch, &offers).await.unwrap();
    let all = all_dispatches(&*store).await;
    let events: Vec<_> = all.iter().map(|dispatch| dispatch.event_id).collect();
    assert_eq!(events, stored.events.iter().map(|recorded| recorded.id).collect::<Vec<_>>(), "in the batch's order");
    assert_eq!(stored.leased, [None, None, Some(all[0].id), None]);
    // Nothing goes before it.
    assert_eq!(keys(&claim(&*store, clock::now()).await), ["c"]);
    finish(&*store, &[handed(all[0].id, &offers[2])], start()).await;
    assert_eq!(keys(&claim(&*store, start()).await), ["b", "c"], "and the lease of the other has run out");
}

pub(crate) async fn a_known_event_takes_no_offer(on: &Fixture) {
    let store = on.open().await;
    let new = event("a");
    // The offer counts for the first of equal ones.
    let (_, stored) = record(&*store, &[new.clone(), event("b"), new.clone()]).await;
    assert_eq!(taken(&stored), [true, true, false]);
    assert_eq!(stored.events.iter().map(|recorded| recorded.duplicate).collect::<Vec<_>>(), [false, false, true]);
    let (_, stored) = record(&*store, &[event("a"), event("c")]).await;
    assert_eq!(taken(&stored), [false, true]);
    let again = event("d");
    let stored = store.record_offering(&[again.clone(), again], &[offer(1)]).await.unwrap();
    assert_eq!(stored.leased, [None], "there is none for the first");
    let states: Vec<State> = all_dispatches(&*store).await.iter().map(|dispatch| dispatch.state).collect();
    assert_eq!(states, [State::Leased, State::Leased, State::Leased, State::Pending]);
}

pub(crate) async fn without_an_order_nothing_blocks(on: &Fixture) {
    let store = on.open().await;
    let both = |key: &str| NewEvent { sinks: vec![sink("erp"), sink("mail")], ..of_invoice("i1", key) };
    let free = |event| Offer { order: Order::None, ..offer(event) };
    store.record_deliveries(&[both("a")]).await.unwrap();
    let offers = [free(0), free(1), Offer { sink: sink("other"), ..free(1) }];
    let stored = store.record_offering(&[both("b"), both("c")], &offers).await.unwrap();
    assert_eq!(taken(&stored), [true, true, false], "the event does not go to the other sink");
    let states: Vec<_> = all_dispatches(&*store).await.iter().map(|d| (d.sink.clone(), d.state)).collect();
    let expected = [State::Pending, State::Pending, State::Leased, State::Pending, State::Leased, State::Pending];
    let sinks = ["erp", "mail"].into_iter().cycle().map(str::to_owned);
    assert_eq!(states, sinks.zip(expected).collect::<Vec<_>>());
    // A claim that keeps the order finds the first of the lane, whoever else has some of it.
    assert_eq!(keys(&claim(&*store, clock::now()).await), ["a"]);
}

pub(crate) async fn a_lease_that_nobody_used_comes_back(on: &Fixture) {
    let store = on.open().await;
    let (offers, stored) = record(&*store, &[of_invoice("i1", "a"), of_invoice("i2", "b")]).await;
    let ids: Vec<DispatchId> = stored.leased.iter().flatten().copied().collect();
    store.record_deliveries(&[of_invoice("i1", "behind")]).await.unwrap();
    assert_eq!(store.give_back(&[(ids[1], offers[1].token)]).await.unwrap(), 1);
    assert_eq!(state(&*store, ids[1]).await, State::Pending);

    let again = claim(&*store, start()).await;
    assert_eq!(keys(&again), ["a", "b"], "and the next of the invoice waits");
    let seen: Vec<_> = again.iter().map(|lease| (lease.id, lease.attempts)).collect();
    assert_eq!(seen, [(ids[0], 0), (ids[1], 0)]);
    assert!(again[1].age.is_zero(), "its age has not begun");
    let late: Vec<_> = ids.iter().zip(&offers).map(|(id, offer)| handed(*id, offer)).collect();
    let answers = store.finish_attempts(&late, Some(start())).await.unwrap();
    assert_eq!(answers, [Finish::LeaseLost, Finish::LeaseLost]);
    let attempts: Vec<_> = again.iter().map(delivered).collect();
    finish(&*store, &attempts, start()).await;
    assert_eq!(keys(&claim(&*store, start()).await), ["behind"]);
}

pub(crate) async fn a_dead_one_tried_again_waits_for_what_is_under_way(on: &Fixture) {
    let store = on.open().await;
    let now = start();
    store.record_deliveries(&[of_invoice("i1", "a")]).await.unwrap();
    let dead = claim_one(&*store, now).await;
    finish(&*store, &[rejected(&dead)], now).await;
    let (offers, stored) = record(&*store, &[of_invoice("i1", "b")]).await;
    let second = stored.leased[0].expect("a dead one blocks nobody");
    assert_eq!(store.retry_dispatches(&[dead.id]).await.unwrap(), 1);
    assert!(claim(&*store, clock::now()).await.is_empty(), "one at a time");
    assert_eq!(dispatch(&*store, dead.id).await.waits_for, Some(second));
    // It goes back: now the earlier one is the first.
    assert_eq!(store.give_back(&[(second, offers[0].token)]).await.unwrap(), 1);
    let first = claim_one(&*store, clock::now()).await;
    assert_eq!(first.id, dead.id);
    finish(&*store, &[delivered(&first)], now).await;
    assert_eq!(claim_one(&*store, now).await.id, second);
}

pub(crate) async fn the_counts_are_right_at_every_step(on: &Fixture) {
    let store = on.open().await;
    let counts = async || {
        let erp = status(&*store, "erp").await;
        [erp.pending, erp.leased, erp.held, erp.dead, erp.delivered]
    };
    let batch: Vec<NewEvent> = (0..6).map(|n| of_invoice(&n.to_string(), &n.to_string())).collect();
    let offers: Vec<Offer> = (0..4).map(offer).collect();
    let stored = store.record_offering(&batch, &offers).await.unwrap();
    assert_eq!(counts().await, [2, 4, 0, 0, 0]);
    let ids: Vec<DispatchId> = stored.leased.iter().flatten().copied().collect();
    let ends = |next: Next| FinishedAttempt {
        outcome: Outcome::Hold { reason: "look".into(), recheck_after: None },
        next,
        ..handed(ids[1], &offers[1])
    };
    finish(&*store, &[handed(ids[0], &offers[0]), ends(Next::Held { recheck_after: None })], start()).await;
    assert_eq!(counts().await, [2, 2, 1, 0, 1]);
    let dead = FinishedAttempt {
        outcome: Outcome::Rejected { reason: "no".into() },
        next: Next::Dead,
        ..handed(ids[2], &offers[2])
    };
    finish(&*store, &[dead], start()).await;
    assert_eq!(counts().await, [2, 1, 1, 1, 1]);
    assert_eq!(store.give_back(&[(ids[3], offers[3].token)]).await.unwrap(), 1);
    assert_eq!(counts().await, [3, 0, 1, 1, 1]);
    assert_eq!(store.cancel_dispatches(&[ids[1], ids[3]]).await.unwrap(), 2);
    assert_eq!(counts().await, [2, 0, 0, 1, 1]);
    let rest: Vec<_> = claim(&*store, start()).await.iter().map(delivered).collect();
    assert_eq!(counts().await, [0, 2, 0, 1, 1]);
    finish(&*store, &rest, start()).await;
    assert_eq!(counts().await, [0, 0, 0, 1, 3]);
}
