//! What is kept, for how long, and across restarts.

use finkare_relay::store::{Purge, Purged};
use jiff::Timestamp;

use super::{
    NewEvent, State, Store, all_dispatches, claim, claim_of, clock, count_events, delivered, finish, held, keys,
    of_invoice, received, rejected, retried, secs, sink, start, status,
};
use crate::store::Fixture;

/// Purges until there is nothing left to purge; answers what went in all.
async fn purge_all(store: &dyn Store, payloads_before: Timestamp, events_before: Timestamp) -> Purged {
    let mut total = Purged::default();
    loop {
        let purged = store.purge(Purge { payloads_before, events_before, limit: 7 }).await.unwrap();
        if purged == Purged::default() {
            return total;
        }
        total.payloads += purged.payloads;
        total.events += purged.events;
    }
}

/// Delivers everything that is due for `erp`.
async fn deliver_all(store: &dyn Store, now: Timestamp) {
    let attempts: Vec<_> = claim(store, now).await.iter().map(delivered).collect();
    finish(store, &attempts, now).await;
}

pub(crate) async fn payloads_go_first_then_events(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let ages = [400, 300, 200, 100];
    let batch = ages.map(|age| received(&age.to_string(), now - secs(age)));
    store.record_deliveries(&batch).await.unwrap();
    deliver_all(&*store, start()).await;

    let payloads_before = now - secs(150);
    assert_eq!(purge_all(&*store, payloads_before, now - secs(1000)).await, Purged { payloads: 3, events: 0 });
    for (new, kept) in batch.iter().zip([false, false, false, true]) {
        let detail = store.event(new.id).await.unwrap().expect("the event stays");
        assert_eq!(detail.payload.is_some(), kept);
        assert_eq!((detail.dispatches.len(), detail.dispatches[0].1.len()), (1, 1), "so does what became of it");
    }
    // What lost its payload is still known.
    let again = store.record_deliveries(&[received("400", now)]).await.unwrap();
    assert_eq!((again[0].id, again[0].duplicate), (batch[0].id, true));

    let purged = purge_all(&*store, payloads_before, now - secs(250)).await;
    assert_eq!(purged, Purged { payloads: 0, events: 2 });
    assert_eq!((count_events(&*store).await, all_dispatches(&*store).await.len()), (2, 2));
    assert!(store.event(batch[0].id).await.unwrap().is_none());
    // With the event its key has gone: the same message is a new event.
    let again = received("400", now);
    let recorded = store.record_deliveries(std::slice::from_ref(&again)).await.unwrap();
    assert_eq!((recorded[0].id, recorded[0].duplicate), (again.id, false));
    let numbers: Vec<_> = all_dispatches(&*store).await.iter().map(|dispatch| dispatch.id.0).collect();
    assert!(numbers.last() > Some(&4), "numbers are never given twice: {numbers:?}");
    // What is older than both times goes altogether.
    assert_eq!(purge_all(&*store, now, now).await.events, 2);
}

pub(crate) async fn unfinished_work_keeps_its_event(on: &Fixture) {
    let store = on.open().await;
    let old = clock::now() - secs(1000);
    let both = |key: &str| NewEvent { sinks: vec![sink("erp"), sink("mail")], ..received(key, old) };
    let batch = ["pending", "leased", "held", "dead", "half"].map(both);
    store.record_deliveries(&batch).await.unwrap();
    let now = start();
    let mail = claim_of(&*store, "mail", 10, now).await.dispatches;
    let attempts: Vec<_> = mail.iter().map(rejected).collect();
    finish(&*store, &attempts, now).await;
    let leases = claim(&*store, now).await;
    let [pending, _leased, in_hold, dead, half] = &leases[..] else { panic!("all are due") };
    let answers = [retried(pending, secs(9)), held(in_hold, None), rejected(dead), retried(half, secs(9))];
    finish(&*store, &answers, now).await;

    let soon = clock::now() - secs(10);
    let purged = purge_all(&*store, soon, soon).await;
    assert_eq!(purged.events, 1, "only the one of which everything is finished");
    for (place, new) in batch.iter().enumerate() {
        let detail = store.event(new.id).await.unwrap();
        if place == 3 {
            assert!(detail.is_none());
        } else {
            let detail = detail.expect("unfinished work keeps its event");
            assert_eq!((detail.payload.as_deref(), detail.dispatches.len()), (Some(&new.payload[..]), 2));
        }
    }
    // Once it is finished, it goes like any other.
    store.cancel_dispatches(&[in_hold.id]).await.unwrap();
    assert_eq!(purge_all(&*store, soon, soon).await.events, 1);
}

pub(crate) async fn a_purge_obeys_its_limit(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let batch: Vec<NewEvent> =
        (0..20).map(|i| NewEvent { sinks: Vec::new(), ..received(&i.to_string(), now - secs(1000 - i)) }).collect();
    store.record_deliveries(&batch).await.unwrap();
    let purge = Purge { payloads_before: now, events_before: now - secs(5000), limit: 6 };
    assert_eq!(store.purge(purge).await.unwrap(), Purged { payloads: 6, events: 0 });
    for (place, new) in batch.iter().enumerate() {
        assert_eq!(store.event(new.id).await.unwrap().unwrap().payload.is_none(), place < 6, "the oldest go first");
    }
    for events_before in [now - secs(5000), now] {
        let mut left = 100;
        loop {
            let purged = store.purge(Purge { payloads_before: now, events_before, limit: 6 }).await.unwrap();
            assert!(purged.payloads <= 6 && purged.events <= 6);
            if purged == Purged::default() {
                break;
            }
            left -= 1;
            assert!(left > 0, "a purge comes to an end");
        }
    }
    assert_eq!(count_events(&*store).await, 0);
    assert_eq!(
        store.purge(Purge { payloads_before: now, events_before: now, limit: 0 }).await.unwrap(),
        Purged::default()
    );
}

pub(crate) async fn ready_only_with_the_schema(on: &Fixture) {
    let store = on.open_bare().await;
    let error = store.ready().await.expect_err("there is no schema yet");
    assert!(error.to_string().contains("migrate"), "it says what to do: {error}");
    assert!(store.migrate().await.unwrap() >= 1);
    store.ready().await.unwrap();
    store.ready().await.unwrap();
    assert!(store.sink_statuses().await.unwrap().is_empty(), "looking leaves nothing behind");
}

pub(crate) async fn migrating_twice_applies_nothing(on: &Fixture) {
    let stores = [on.open_bare().await, on.open_bare().await];
    // Two processes that start at the same moment: one of them migrates, the other waits for it.
    let (first, second) = tokio::join!(stores[0].migrate(), stores[1].migrate());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.min(second) == 0 && first.max(second) >= 1, "{first} and {second}");
    for store in &stores {
        assert_eq!(store.migrate().await.unwrap(), 0);
        store.ready().await.unwrap();
    }
}

pub(crate) async fn everything_survives_reopening(on: &Fixture) {
    let store = on.open().await;
    let batch: Vec<NewEvent> = (0..6).map(|i| of_invoice(&format!("i{}", i % 3), &i.to_string())).collect();
    store.record_deliveries(&batch).await.unwrap();
    let now = start();
    let leases = claim(&*store, now).await;
    finish(&*store, &[delivered(&leases[0]), retried(&leases[1], secs(30))], now).await;
    let before = all_dispatches(&*store).await;
    let detail = format!("{:?}", store.event(batch[1].id).await.unwrap());
    let sinks = store.sink_statuses().await.unwrap();
    store.close().await;
    assert!(store.ready().await.is_err_and(|error| error.is_unavailable()), "a closed store says so");

    let store = on.open().await;
    assert_eq!(all_dispatches(&*store).await, before);
    assert_eq!(format!("{:?}", store.event(batch[1].id).await.unwrap()), detail);
    assert_eq!(store.sink_statuses().await.unwrap(), sinks);
    // The lease of before is still worth something: its worker may be in another process.
    finish(&*store, &[delivered(&leases[2])], now).await;
    assert_eq!(keys(&claim(&*store, now + secs(30)).await), ["1", "3", "5"]);
    assert_eq!(status(&*store, "erp").await.delivered, 2);
    assert_eq!(super::state(&*store, leases[2].id).await, State::Delivered);
}
