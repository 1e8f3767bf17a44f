//! Erasing an invoice: its payloads go, what proves that it came stays.

use finkare_relay::{
    model::audit::NewAudit,
    store::{ERASED, Erased, Replay},
};
use serde_json::json;

use super::{
    DispatchId, NewEvent, State, Store, all_dispatches, claim, claim_of, claim_one, delivered, dispatch, event, finish,
    held, keys, of_invoice, rejected, retried, secs, sink, start, state,
};
use crate::store::Fixture;

fn audit() -> NewAudit {
    NewAudit::new("ops", "invoice.erased", "invoice/i1")
}

async fn audited(store: &dyn Store) -> Vec<serde_json::Value> {
    let page = store.list_audit(&finkare_relay::store::AuditFilter::default(), 100).await.unwrap();
    page.rows.into_iter().filter(|entry| entry.action == "invoice.erased").map(|entry| entry.detail).collect()
}

/// The sinks of an event, so that each of its dispatches can have another state.
fn to(sinks: &[&str], new: NewEvent) -> NewEvent {
    NewEvent { sinks: sinks.iter().map(|name| sink(name)).collect(), ..new }
}

pub(crate) async fn an_erased_invoice_keeps_everything_but_its_payloads(on: &Fixture) {
    let store = on.open().await;
    let sinks = ["erp", "dead", "held", "pending"];
    let (mine, other) = (to(&sinks, of_invoice("i1", "mine")), to(&sinks, of_invoice("i2", "other")));
    store.record_deliveries(&[mine.clone(), other.clone(), event("none")]).await.unwrap();
    let now = start();
    let mut ids: Vec<DispatchId> = Vec::new();
    for name in ["erp", "dead", "held"] {
        let lease =
            claim_of(&*store, name, 10, now).await.dispatches.into_iter().find(|d| d.event_id == mine.id).unwrap();
        let attempt = match name {
            "erp" => delivered(&lease),
            "dead" => rejected(&lease),
            _ => held(&lease, None),
        };
        finish(&*store, &[attempt], now).await;
        ids.push(lease.id);
    }
    let before = store.event(mine.id).await.unwrap().unwrap().event;

    let erased = store.erase_invoice("i1", audit()).await.unwrap();
    assert_eq!(erased, Erased { events: 1, payloads: 1, cancelled: 3, names: 0 });
    let detail = store.event(mine.id).await.unwrap().unwrap();
    assert_eq!((&detail.event, &detail.payload), (&before, &None), "all else stays");
    let states: Vec<_> =
        detail.dispatches.iter().map(|(dispatch, _)| (dispatch.sink.as_str(), dispatch.state)).collect();
    let cancelled = State::Cancelled;
    assert_eq!(states, [("erp", State::Delivered), ("dead", cancelled), ("held", cancelled), ("pending", cancelled)]);
    for (dispatch, attempts) in &detail.dispatches {
        if dispatch.state == cancelled {
            assert_eq!(dispatch.last_error.as_deref(), Some(ERASED));
        }
        // What a target said may quote what it got.
        assert!(attempts.iter().all(|attempt| attempt.error.as_deref().is_none_or(|said| said == "erased")));
    }
    assert_eq!(store.retry_dispatches(&ids).await.unwrap(), 0);
    assert_eq!(store.replay_event(mine.id, &[sink("erp")]).await.unwrap(), None);
    let wanted = [Replay { event: mine.id, sinks: vec![sink("erp")] }];
    assert_eq!(store.replay_events(&wanted).await.unwrap(), [None]);
    let kept = store.event(other.id).await.unwrap().unwrap();
    assert_eq!(kept.payload.as_deref(), Some(&*other.payload), "another invoice is not touched");
    assert!(kept.dispatches.iter().all(|(dispatch, _)| dispatch.state != cancelled));

    // The same bytes again are a duplicate, and stay erased.
    let again = NewEvent { id: finkare_relay::model::id::EventId::generate(), ..mine.clone() };
    let recorded = store.record_deliveries(&[again]).await.unwrap();
    assert!(recorded[0].duplicate && recorded[0].id == mine.id);
    assert_eq!(store.event(mine.id).await.unwrap().unwrap().payload, None);

    assert_eq!(
        store.erase_invoice("i1", audit()).await.unwrap(),
        Erased { events: 1, payloads: 0, cancelled: 0, names: 0 }
    );
    let counts = |payloads, cancelled| json!({"events": 1, "payloads": payloads, "cancelled": cancelled, "names": 0});
    assert_eq!(audited(&*store).await, [counts(0, 0), counts(1, 3)]);
}

pub(crate) async fn what_a_worker_had_is_not_sent_again(on: &Fixture) {
    let store = on.open().await;
    let now = start();
    store.record_deliveries(&[of_invoice("i1", "a"), of_invoice("i1", "b"), event("free")]).await.unwrap();
    let leases = claim(&*store, now).await;
    assert_eq!(keys(&leases), ["a", "free"]);
    let erased = store.erase_invoice("i1", audit()).await.unwrap();
    assert_eq!(
        erased,
        Erased { events: 2, payloads: 2, cancelled: 1, names: 0 },
        "what is leased is left to its worker"
    );
    assert_eq!(state(&*store, leases[0].id).await, State::Leased);
    // A later one of the invoice came after the erasure.
    store.record_deliveries(&[of_invoice("i1", "later")]).await.unwrap();
    assert!(claim(&*store, now).await.is_empty(), "it waits for the leased one");
    // The worker's attempt failed: it must not be tried again, and nobody else is held up by it.
    finish(&*store, &[retried(&leases[0], secs(5))], now).await;
    let claimed = claim(&*store, now + secs(6)).await;
    let claimed = if claimed.is_empty() { claim(&*store, now + secs(7)).await } else { claimed };
    assert_eq!(keys(&claimed), ["later"]);
    let gone = dispatch(&*store, leases[0].id).await;
    assert_eq!((gone.state, gone.last_error.as_deref()), (State::Cancelled, Some(ERASED)));

    // The same where the worker died with it, and where order does not matter.
    finish(&*store, &[delivered(&claimed[0]), delivered(&leases[1])], now).await;
    store
        .record_deliveries(&[of_invoice("i3", "c"), NewEvent { invoice_id: Some("i3".into()), ..event("d") }])
        .await
        .unwrap();
    let lease = claim_one(&*store, now).await;
    assert_eq!(store.erase_invoice("i3", audit()).await.unwrap().cancelled, 1);
    let late = now + super::LEASE + secs(1);
    let sink = sink("erp");
    let claim = finkare_relay::store::Claim {
        sink: &sink,
        order: super::Order::None,
        limit: 10,
        lease: super::LEASE,
        longest_wait: std::time::Duration::MAX,
        now: Some(late),
    };
    assert!(store.claim_due(claim).await.unwrap().dispatches.is_empty());
    assert_eq!(state(&*store, lease.id).await, State::Cancelled);
    let answers = store.finish_attempts(&[delivered(&lease)], Some(late)).await.unwrap();
    assert_eq!(answers, [super::Finish::LeaseLost], "it comes too late, and changes nothing");
    // One that is delivered after all is delivered.
    store.record_deliveries(&[of_invoice("i4", "e")]).await.unwrap();
    let lease = claim_one(&*store, late).await;
    store.erase_invoice("i4", audit()).await.unwrap();
    finish(&*store, &[delivered(&lease)], late).await;
    assert_eq!(state(&*store, lease.id).await, State::Delivered);
}

pub(crate) async fn a_large_invoice_is_erased_whole(on: &Fixture) {
    let store = on.open().await;
    let batch: Vec<NewEvent> = (0..1203).map(|i| of_invoice("i1", &i.to_string())).collect();
    for part in batch.chunks(128) {
        store.record_deliveries(part).await.unwrap();
    }
    store.record_deliveries(&[of_invoice("i2", "other")]).await.unwrap();
    let erased = store.erase_invoice("i1", audit()).await.unwrap();
    assert_eq!(erased, Erased { events: 1203, payloads: 1203, cancelled: 1203, names: 0 });
    let dispatches = all_dispatches(&*store).await;
    assert_eq!(dispatches.iter().filter(|dispatch| dispatch.state == State::Cancelled).count(), 1203);
    assert_eq!(audited(&*store).await, [json!({"events": 1203, "payloads": 1203, "cancelled": 1203, "names": 0})]);
    assert_eq!(keys(&claim(&*store, start()).await), ["other"]);
}

pub(crate) async fn erasing_nothing_writes_nothing(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[of_invoice("i1", "a")]).await.unwrap();
    for invoice in ["i2", "", "a\0b"] {
        assert_eq!(store.erase_invoice(invoice, audit()).await.unwrap(), Erased::default());
    }
    assert!(audited(&*store).await.is_empty());
    assert_eq!(claim(&*store, start()).await.len(), 1);
}
