//! Deliveries become events, each once.

use super::{DedupeKey, EndpointName, EventId, NewEvent, all_dispatches, delivered, dispatch, keys, received};
use super::{claim, claim_of, clock, count_events, event, finish, of_invoice, quiet, secs, sink, start, woken};
use crate::store::Fixture;
use finkare_relay::model::dispatch::{State, Trigger};
use std::collections::HashSet;

pub(crate) async fn one_delivery_is_one_event(on: &Fixture) {
    let store = on.open().await;
    let occurred_at = clock::from_micros(1_773_570_600_000_000);
    let new = NewEvent { occurred_at, sinks: vec![sink("erp"), sink("mail")], ..of_invoice("i1", "a") };
    let recorded = store.record_deliveries(std::slice::from_ref(&new)).await.unwrap();
    assert_eq!((recorded.len(), recorded[0].id, recorded[0].duplicate), (1, new.id, false));

    let detail = store.event(new.id).await.unwrap().expect("the event is there");
    let stored = detail.event;
    assert_eq!((stored.id, stored.endpoint.as_str(), stored.event_type.as_str()), (new.id, "main", "payment.received"));
    assert_eq!((stored.invoice_id.as_deref(), stored.occurred_at), (Some("i1"), occurred_at));
    assert_eq!((stored.received_at, stored.deliveries, stored.readable), (new.received_at, 1, true));
    assert_eq!(stored.content_type.as_deref(), Some("application/json"));
    assert_eq!(detail.payload.as_deref(), Some(&new.payload[..]));

    let sinks: Vec<&str> = detail.dispatches.iter().map(|(dispatch, _)| dispatch.sink.as_str()).collect();
    assert_eq!(sinks, ["erp", "mail"]);
    for (dispatch, attempts) in &detail.dispatches {
        assert_eq!((dispatch.state, dispatch.trigger, dispatch.attempts), (State::Pending, Trigger::Event, 0));
        assert_eq!((dispatch.event_id, dispatch.event_type.as_str()), (new.id, "payment.received"));
        assert_eq!(dispatch.invoice_id.as_deref(), Some("i1"));
        assert_eq!((dispatch.finished_at, &dispatch.last_error, dispatch.waits_for), (None, &None, None));
        assert_eq!(dispatch.next_attempt_at, Some(dispatch.created_at));
        assert!(attempts.is_empty());
    }
}

pub(crate) async fn a_repetition_is_counted(on: &Fixture) {
    let store = on.open().await;
    let first = event("a");
    store.record_deliveries(std::slice::from_ref(&first)).await.unwrap();
    for count in 2..=4 {
        // The same message arrives under a new id every time: the first one stays.
        let recorded = store.record_deliveries(&[event("a")]).await.unwrap();
        assert_eq!((recorded[0].id, recorded[0].duplicate), (first.id, true));
        assert_eq!(store.event(first.id).await.unwrap().unwrap().event.deliveries, count);
    }
    assert_eq!(count_events(&*store).await, 1);
}

pub(crate) async fn a_batch_counts_its_own_repetitions(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("known")]).await.unwrap();
    let batch = [event("a"), event("known"), event("b"), event("a"), event("known"), event("a")];
    let recorded = store.record_deliveries(&batch).await.unwrap();
    let duplicates: Vec<bool> = recorded.iter().map(|one| one.duplicate).collect();
    assert_eq!(duplicates, [false, true, false, true, true, true]);
    assert_eq!((recorded[0].id, recorded[2].id), (batch[0].id, batch[2].id));
    assert_eq!((recorded[3].id, recorded[5].id), (batch[0].id, batch[0].id));
    assert_eq!(recorded[1].id, recorded[4].id);
    assert!(batch.iter().all(|new| new.id != recorded[1].id), "a known event keeps its first id");
    for (place, deliveries) in [(0, 3), (1, 3), (2, 1)] {
        assert_eq!(store.event(recorded[place].id).await.unwrap().unwrap().event.deliveries, deliveries);
    }
}

pub(crate) async fn stored_once_through_two_stores_at_once(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    // The same 100 events, in batches of 10 that overlap, from four tasks on two stores.
    let mut tasks = Vec::new();
    for task in 0..4_usize {
        let store = stores[task % 2].clone();
        tasks.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            for batch in 0..10_usize {
                let names = (0..10).map(|i| format!("{}", (batch * 10 + i + task * 7) % 100));
                let batch: Vec<NewEvent> = names.map(|name| event(&name)).collect();
                let recorded = store.record_deliveries(&batch).await.unwrap();
                answers.extend(batch.iter().map(|new| new.dedupe_key).zip(recorded));
            }
            answers
        }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.extend(task.await.unwrap());
    }
    assert_eq!(answers.len(), 400);
    assert_eq!(answers.iter().filter(|(_, recorded)| !recorded.duplicate).count(), 100, "each is new exactly once");
    let distinct: HashSet<(DedupeKey, EventId)> = answers.iter().map(|(key, recorded)| (*key, recorded.id)).collect();
    assert_eq!(distinct.len(), 100, "every answer names the same id for the same event");
    assert_eq!(count_events(&*stores[0]).await, 100);
    assert_eq!(all_dispatches(&*stores[1]).await.len(), 100);
    for (_, id) in distinct {
        assert_eq!(stores[1].event(id).await.unwrap().unwrap().event.deliveries, 4);
    }
}

pub(crate) async fn endpoints_do_not_share_keys(on: &Fixture) {
    let store = on.open().await;
    let elsewhere = NewEvent { endpoint: EndpointName::new("sandbox").unwrap(), ..event("a") };
    let recorded = store.record_deliveries(&[event("a"), elsewhere.clone()]).await.unwrap();
    assert!(recorded.iter().all(|one| !one.duplicate));
    assert_eq!(count_events(&*store).await, 2);
    let again = store.record_deliveries(&[NewEvent { id: EventId::generate(), ..elsewhere.clone() }]).await.unwrap();
    assert_eq!((again[0].id, again[0].duplicate), (elsewhere.id, true));
}

pub(crate) async fn a_duplicate_makes_no_dispatch(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a"), event("a")]).await.unwrap();
    store
        .record_deliveries(&[event("a"), event("b"), NewEvent { sinks: vec![sink("late")], ..event("a") }])
        .await
        .unwrap();
    let sinks: Vec<String> = all_dispatches(&*store).await.into_iter().map(|dispatch| dispatch.sink).collect();
    assert_eq!(sinks, ["erp", "erp"]);
}

pub(crate) async fn numbers_follow_the_order_of_the_batch(on: &Fixture) {
    let store = on.open().await;
    let mut expected = Vec::new();
    for batch in 0..3 {
        // Ids and keys in no order at all: the numbers follow the batch alone.
        let mut events: Vec<NewEvent> = (0..150).map(|i| event(&format!("{batch}-{i}"))).collect();
        events.sort_by_key(|event| event.dedupe_key);
        expected.extend(events.iter().map(|event| event.id));
        store.record_deliveries(&events).await.unwrap();
    }
    let written: Vec<EventId> = all_dispatches(&*store).await.into_iter().map(|dispatch| dispatch.event_id).collect();
    assert_eq!(written, expected);
}

pub(crate) async fn an_event_for_nobody_is_kept(on: &Fixture) {
    let store = on.open().await;
    let new = NewEvent { sinks: Vec::new(), readable: false, content_type: None, ..event("a") };
    store.record_deliveries(std::slice::from_ref(&new)).await.unwrap();
    let detail = store.event(new.id).await.unwrap().unwrap();
    assert!(!detail.event.readable && detail.event.content_type.is_none() && detail.dispatches.is_empty());
}

pub(crate) async fn a_batch_of_any_size_is_whole(on: &Fixture) {
    let store = on.open().await;
    let mut total = 0;
    for size in [0, 1, 2, 3, 127, 128, 129, 300] {
        let batch: Vec<NewEvent> = (0..size)
            .map(|i| NewEvent { sinks: vec![sink("erp"), sink("mail"), sink("file")], ..event(&format!("{size}-{i}")) })
            .collect();
        let recorded = store.record_deliveries(&batch).await.unwrap();
        let ids: Vec<EventId> = recorded.iter().map(|one| one.id).collect();
        assert_eq!(ids, batch.iter().map(|new| new.id).collect::<Vec<_>>());
        total += size;
    }
    assert_eq!(count_events(&*store).await, total);
    assert_eq!(all_dispatches(&*store).await.len(), 3 * total);
}

pub(crate) async fn new_work_is_announced(on: &Fixture) {
    let store = on.open().await;
    let erp = store.wakeups().of(&sink("erp"));
    let other = store.wakeups().of(&sink("other"));
    store.record_deliveries(&[event("a")]).await.unwrap();
    woken(&erp).await;
    // A store that has just begun to listen for other replicas wakes everybody once.
    quiet(&erp).await;
    quiet(&other).await;
    store.record_deliveries(&[event("a")]).await.unwrap();
    let silence = std::time::Duration::from_millis(100);
    assert!(tokio::time::timeout(silence, erp.notified()).await.is_err(), "a repetition is no new work");
    assert!(tokio::time::timeout(silence, other.notified()).await.is_err(), "other sinks sleep on");
}

pub(crate) async fn unusual_content_comes_back_unchanged(on: &Fixture) {
    let store = on.open().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let new = NewEvent {
        payload: bytes.clone().into(),
        content_type: Some("text/plain; charset=\"é\"; x='%s'".into()),
        event_type: "payment.\"reçu\"';--".into(),
        invoice_id: Some("Ré-2026/007 \\ 😀".into()),
        ..event("a")
    };
    let empty = NewEvent { payload: Vec::new().into(), ..event("b") };
    store.record_deliveries(&[new.clone(), empty.clone()]).await.unwrap();
    let now = start();
    let claimed = claim(&*store, now).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(claimed[0].payload, bytes);
    assert_eq!((&claimed[0].event_type, &claimed[0].invoice_id), (&new.event_type, &new.invoice_id));
    assert_eq!(claimed[0].content_type, new.content_type);
    assert_eq!((claimed[1].event_id, claimed[1].payload.len()), (empty.id, 0));
    finish(&*store, &[delivered(&claimed[0])], now).await;
    assert_eq!(store.event(new.id).await.unwrap().unwrap().payload, Some(bytes));
    assert_eq!(store.event(empty.id).await.unwrap().unwrap().payload, Some(Vec::new()));
}

pub(crate) async fn a_dropped_call_is_whole_or_nothing(on: &Fixture) {
    let store = on.open().await;
    for round in 0..60_u32 {
        let batch: Vec<NewEvent> = (0..20).map(|i| event(&format!("{round}-{i}"))).collect();
        // Polled more often in each round, then dropped wherever it stands.
        let mut call = store.record_deliveries(&batch);
        for _ in 0..round * round {
            if futures_util::poll!(&mut call).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        // The store answers at once, and holds the batch as a whole or not at all.
        tokio::time::timeout(secs(10), store.record_deliveries(&[event(&format!("after {round}"))]))
            .await
            .expect("the store is not blocked")
            .unwrap();
        // A server may still be committing the dropped call; a repetition of it settles the matter,
        // and is counted as one if it was stored.
        let recorded = store.record_deliveries(&batch).await.unwrap();
        let known = recorded.iter().filter(|one| one.duplicate).count();
        assert!(known == 0 || known == 20, "{known} of 20 were stored");
        assert_eq!(all_dispatches(&*store).await.len(), count_events(&*store).await, "an event without its dispatch");
    }
    let claimed = claim_of(&*store, "erp", 5, start()).await.dispatches;
    assert_eq!(claimed.len(), 5);
    assert_eq!(dispatch(&*store, claimed[0].id).await.state, State::Leased);
    assert!(keys(&claimed).iter().all(|key| !key.is_empty()));
    let old = received("old", clock::now());
    assert!(store.event(old.id).await.unwrap().is_none());
}
