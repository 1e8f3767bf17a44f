//! What operators do: retry, cancel, replay, pause.

use finkare_relay::model::dispatch::Trigger;

use super::{
    DispatchId, EventId, NewEvent, State, Store, all_dispatches, claim, claim_of, claim_one, clock, delivered,
    dispatch, event, finish, held, keys, of_invoice, received, rejected, retried, secs, sink, start, state, status,
    woken,
};
use crate::store::Fixture;
use finkare_relay::store::{Purge, Replay};

/// One dispatch in each state, in the order of [`State::ALL`].
async fn one_of_each(store: &dyn Store) -> Vec<DispatchId> {
    let now = start();
    store.record_deliveries(&["delivered", "held", "dead", "cancelled"].map(event)).await.unwrap();
    let leases = claim(store, now).await;
    finish(store, &[delivered(&leases[0]), held(&leases[1], None), rejected(&leases[2])], now).await;
    store.give_back(&[(leases[3].id, leases[3].token)]).await.unwrap();
    assert_eq!(store.cancel_dispatches(&[leases[3].id]).await.unwrap(), 1);
    store.record_deliveries(&[event("leased")]).await.unwrap();
    let under_way = claim_one(store, now).await.id;
    let pending = store.record_deliveries(&[event("pending")]).await.unwrap()[0].id;
    let pending = store.event(pending).await.unwrap().unwrap().dispatches[0].0.id;
    let ids = vec![pending, under_way, leases[0].id, leases[1].id, leases[2].id, leases[3].id];
    for (id, expected) in ids.iter().zip(State::ALL) {
        assert_eq!(state(store, *id).await, expected);
    }
    ids
}

async fn states(store: &dyn Store, ids: &[DispatchId]) -> Vec<State> {
    let mut all = Vec::new();
    for id in ids {
        all.push(state(store, *id).await);
    }
    all
}

pub(crate) async fn retry_and_cancel_touch_only_what_they_may(on: &Fixture) {
    use State::{Cancelled, Dead, Delivered, Leased, Pending};
    let store = on.open().await;
    let ids = one_of_each(&*store).await;
    let mut asked = ids.clone();
    asked.push(DispatchId(i64::MAX));
    let erp = store.wakeups().of(&sink("erp"));
    super::quiet(&erp).await;
    assert_eq!(store.retry_dispatches(&asked).await.unwrap(), 3, "pending, held and dead");
    woken(&erp).await;
    assert_eq!(states(&*store, &ids).await, [Pending, Leased, Delivered, Pending, Pending, Cancelled]);
    let retried = dispatch(&*store, ids[4]).await;
    assert_eq!((retried.finished_at, retried.attempts), (None, 1));
    assert_eq!(retried.last_error.as_deref(), Some("400 from the target"), "what went wrong is still told");
    assert!(retried.next_attempt_at.is_some_and(|at| at <= clock::now()), "due at once");

    let now = start();
    let dead = claim(&*store, now).await.into_iter().find(|lease| lease.id == ids[4]).unwrap();
    assert_eq!((dead.attempts, dead.age), (1, secs(0)), "it has its whole time again");
    finish(&*store, &[rejected(&dead)], now).await;
    store.expire_leases().await.unwrap();
    assert_eq!(states(&*store, &ids).await, [Leased, Leased, Delivered, Leased, Dead, Cancelled]);
    assert_eq!(store.cancel_dispatches(&asked).await.unwrap(), 1, "what is leased may be at the target already");
    let cancelled = dispatch(&*store, ids[4]).await;
    assert_eq!((cancelled.state, cancelled.next_attempt_at), (Cancelled, None));
    assert!(cancelled.finished_at.is_some());
    assert_eq!(store.cancel_dispatches(&[]).await.unwrap() + store.retry_dispatches(&[]).await.unwrap(), 0);

    // A pending one that backs off becomes due at once.
    let lease = claim(&*store, now).await.remove(0);
    finish(&*store, &[super::retried(&lease, secs(5000))], now).await;
    assert!(claim(&*store, now).await.is_empty());
    assert_eq!(store.retry_dispatches(&[lease.id]).await.unwrap(), 1);
    assert_eq!(claim_one(&*store, now).await.id, lease.id);
}

pub(crate) async fn a_replay_is_a_new_dispatch(on: &Fixture) {
    let store = on.open().await;
    let new = of_invoice("i1", "a");
    store.record_deliveries(std::slice::from_ref(&new)).await.unwrap();
    let now = start();
    let first = claim_one(&*store, now).await;
    finish(&*store, &[delivered(&first)], now).await;
    let mail = store.wakeups().of(&sink("mail"));
    let ids = store.replay_event(new.id, &[sink("erp"), sink("mail")]).await.unwrap().expect("the event is there");
    woken(&mail).await;
    assert!(ids.len() == 2 && ids[0] < ids[1] && ids[0] > first.id);
    let replayed = claim_one(&*store, now).await;
    assert_eq!((replayed.id, replayed.trigger, replayed.event_id), (ids[0], Trigger::Replay, new.id));
    assert_eq!((&replayed.payload, &replayed.invoice_id, replayed.attempts), (&new.payload, &new.invoice_id, 0));
    assert_eq!(claim_of(&*store, "mail", 10, now).await.dispatches.len(), 1);
    assert_eq!(state(&*store, first.id).await, State::Delivered, "the earlier one stays what it was");
    assert_eq!(store.replay_event(new.id, &[]).await.unwrap(), Some(Vec::new()));
    assert_eq!(store.replay_event(EventId::generate(), &[sink("erp")]).await.unwrap(), None);
    // The invoice keeps its order among replays, too.
    store.replay_event(new.id, &[sink("erp")]).await.unwrap();
    assert!(claim(&*store, now).await.is_empty());
}

pub(crate) async fn a_retry_without_payload_is_none(on: &Fixture) {
    let store = on.open().await;
    let old = received("old", clock::now() - secs(5000));
    store.record_deliveries(std::slice::from_ref(&old)).await.unwrap();
    let now = start();
    let lease = claim_one(&*store, now).await;
    finish(&*store, &[rejected(&lease)], now).await;
    let purge =
        Purge { payloads_before: clock::now() - secs(100), events_before: clock::now() - secs(9000), limit: 10 };
    assert_eq!(store.purge(purge).await.unwrap().payloads, 1);
    assert_eq!(store.retry_dispatches(&[lease.id]).await.unwrap(), 0, "there is nothing left to send");
    assert_eq!(state(&*store, lease.id).await, State::Dead);
    assert_eq!(store.replay_event(old.id, &[sink("erp")]).await.unwrap(), None);
}

pub(crate) async fn pausing_and_resuming(on: &Fixture) {
    let store = on.open().await;
    let erp = sink("erp");
    store.record_deliveries(&[event("a")]).await.unwrap();
    assert!(!store.resume_sink(&erp).await.unwrap(), "it was not paused");
    let before = clock::now() - secs(60);
    assert!(store.pause_sink(&erp, "maintenance").await.unwrap());
    assert!(!store.pause_sink(&erp, "another reason").await.unwrap());
    store.close().await;
    let store = on.open().await;
    let paused = status(&*store, "erp").await.paused.expect("it is paused, also after a restart");
    assert_eq!(paused.reason, "maintenance");
    assert!(paused.at > before && paused.at < clock::now() + secs(60));
    let wakeup = store.wakeups().of(&erp);
    assert!(store.resume_sink(&erp).await.unwrap());
    woken(&wakeup).await;
    assert!(status(&*store, "erp").await.paused.is_none());
    assert_eq!(claim(&*store, start()).await.len(), 1);
}

pub(crate) async fn the_status_of_sinks(on: &Fixture) {
    let store = on.open().await;
    assert!(store.sink_statuses().await.unwrap().is_empty());
    let ids = one_of_each(&*store).await;
    store.register_sinks(&[sink("erp"), sink("new"), sink("a-first")]).await.unwrap();
    store.register_sinks(&[sink("new")]).await.unwrap();
    let elsewhere = NewEvent { sinks: vec![sink("unregistered")], ..event("elsewhere") };
    store.record_deliveries(&[elsewhere]).await.unwrap();
    let all = store.sink_statuses().await.unwrap();
    let names: Vec<&str> = all.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["a-first", "erp", "new", "unregistered"]);
    assert_eq!((all[3].pending, all[3].delivered, &all[3].paused), (1, 0, &None));
    assert_eq!((all[2].pending, all[2].oldest_pending, all[2].last_success_at), (0, None, None));

    let erp = &all[1];
    assert_eq!((erp.pending, erp.leased, erp.held, erp.dead, erp.delivered), (1, 1, 1, 1, 1));
    assert_eq!(erp.oldest_pending, Some(dispatch(&*store, ids[1]).await.created_at), "the leased one is the older");
    assert!(erp.last_success_at.is_some());
    let (_, error) = erp.last_error.as_ref().expect("an attempt failed");
    assert_eq!(error, "400 from the target", "the last one of the batch");

    let now = start() + secs(600);
    let lease = claim(&*store, now).await.into_iter().find(|lease| lease.id == ids[0]).unwrap();
    finish(&*store, &[retried(&lease, secs(60))], now).await;
    let erp = status(&*store, "erp").await;
    let (at, error) = erp.last_error.unwrap();
    assert_eq!((at.as_microsecond(), error.as_str()), (now.as_microsecond(), "503 from the target"));
    assert_eq!(keys(&claim(&*store, now + secs(61)).await).len(), 2);

    // Delivered ones are counted for good: what was purged has still been delivered.
    while store.purge(Purge { payloads_before: now, events_before: now, limit: 100 }).await.unwrap() != super::nothing()
    {
    }
    assert_eq!(status(&*store, "erp").await.delivered, 1);
    assert!(all_dispatches(&*store).await.iter().all(|dispatch| !dispatch.state.is_finished()));
}

pub(crate) async fn many_replays_are_one_change_in_order(on: &Fixture) {
    let store = on.open().await;
    let batch = [of_invoice("i1", "a"), of_invoice("i1", "b"), event("c")].map(|new| NewEvent { sinks: vec![], ..new });
    store.record_deliveries(&batch).await.unwrap();
    let [a, b, c] = [0, 1, 2].map(|index: usize| batch[index].id);
    let to = |event, sinks: &[&str]| Replay { event, sinks: sinks.iter().map(|name| sink(name)).collect() };
    let mail = store.wakeups().of(&sink("mail"));
    let wanted = [to(b, &["erp", "mail"]), to(EventId::generate(), &["erp"]), to(c, &[]), to(a, &["erp"])];
    let written = store.replay_events(&wanted).await.unwrap();
    woken(&mail).await;
    let ids: Vec<DispatchId> = written.iter().flatten().flatten().copied().collect();
    assert_eq!(
        written.iter().map(|ids| ids.as_ref().map(Vec::len)).collect::<Vec<_>>(),
        [Some(2), None, Some(0), Some(1)]
    );
    assert!(ids.is_sorted() && ids.len() == 3, "numbers ascend in the order that was asked for: {ids:?}");
    // Of one invoice the smaller number goes first.
    let now = start();
    let first = claim_one(&*store, now).await;
    assert_eq!((first.event_id, first.trigger), (b, Trigger::Replay));
    finish(&*store, &[delivered(&first)], now).await;
    assert_eq!(claim_one(&*store, now).await.event_id, a);
    assert!(store.replay_events(&[]).await.unwrap().is_empty());
}
