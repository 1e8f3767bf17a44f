//! What operators do: retry, cancel, replay, pause.

use finkare_relay::model::dispatch::Trigger;

use super::{
    DispatchId, EventId, NewEvent, State, Store, all_dispatches, claim, claim_of, claim_one, clock, delivered,
    dispatch, event, finish, held, keys, of_invoice, received, rejected, retried, secs, sink, start, state, status,
    woken,
};
use crate::store::Fixture;
use finkare_relay::store::{DispatchFilter, Purge, Replay};

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
    let oldest = Some(dispatch(&*store, ids[0]).await.created_at);
    assert_eq!(erp.oldest_pending, oldest, "one in its first attempt does not count, however old it is");
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
    let erp = status(&*store, "erp").await;
    assert_eq!((erp.pending, erp.leased, erp.oldest_pending), (0, 2, oldest), "one that is tried again does");

    // Delivered ones are counted for good: what was purged has still been delivered.
    while store.purge(Purge { payloads_before: now, events_before: now, limit: 100 }).await.unwrap() != super::nothing()
    {
    }
    assert_eq!(status(&*store, "erp").await.delivered, 1);
    assert!(all_dispatches(&*store).await.iter().all(|dispatch| !dispatch.state.is_finished()));
    assert_eq!(store.recount().await.unwrap(), 0, "whatever happened, the counts are right");
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

/// Lays so many pending dispatches of a sink past the store, each with its event.
async fn lay_backlog(on: &Fixture, sink: &str, count: u32) {
    let events = |numbers: &str, id: &str, key: &str, payload: &str, columns: &str, values: &str, from: &str| {
        format!(
            "{numbers} INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, received_at, deliveries, {columns}
                                           payload, readable)
             SELECT {id}, 'main', {key}, 'ping', '{sink}-' || n, n, 1, {values} {payload} FROM {from}"
        )
    };
    let numbers =
        format!("WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})");
    on.lay(
        &events(&numbers, "randomblob(16)", "randomblob(32)", "x'00', 1", "last_delivery_at,", "1,", "numbers"),
        &events(
            "",
            "gen_random_uuid()",
            "sha256(gen_random_uuid()::text::bytea)",
            "'x', true",
            "",
            "",
            &format!("generate_series(1, {count}) AS numbers (n)"),
        ),
    )
    .await;
    let dispatches = format!(
        "INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
         SELECT id, '{sink}', 'ping', invoice_id, 'pending', 'event', received_at, received_at FROM events
         WHERE invoice_id LIKE '{sink}-%' ORDER BY received_at"
    );
    on.lay(&dispatches, &dispatches).await;
}

pub(crate) async fn a_selection_is_read_at_once(on: &Fixture) {
    let store = on.open().await;
    lay_backlog(on, "erp", 3000).await;
    lay_backlog(on, "mail", 5).await;
    let ids = async |state, sink: Option<&str>, invoice_id: Option<&str>, most| {
        let filter = DispatchFilter {
            state: Some(state),
            sink: sink.map(Into::into),
            invoice_id: invoice_id.map(Into::into),
            ..DispatchFilter::default()
        };
        let found = store.dispatch_ids(&filter, most).await.unwrap();
        let distinct: std::collections::HashSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), found.len());
        found
    };
    assert_eq!(ids(State::Pending, None, None, 10_000).await.len(), 3005);
    let mail = ids(State::Pending, Some("mail"), None, 10_000).await;
    assert_eq!(mail.len(), 5);
    // The same dispatches as by the list, page by page: where they are many, and where they are few.
    for name in ["erp", "mail"] {
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let sink = Some(name.to_owned());
            let filter = DispatchFilter { state: Some(State::Pending), sink, before, ..DispatchFilter::default() };
            let page = store.list_dispatches(&filter, 700).await.unwrap();
            listed.extend(page.rows.iter().map(|row| row.id));
            before = listed.last().copied();
            if !page.more {
                break;
            }
        }
        assert!(listed.is_sorted_by(|one, next| one > next));
        let mut found = ids(State::Pending, Some(name), None, 10_000).await;
        found.sort_unstable_by(|one, next| next.cmp(one));
        assert_eq!(listed, found, "{name}");
    }
    assert_eq!(ids(State::Pending, Some("erp"), None, 1000).await.len(), 1000, "no more than asked for");
    assert_eq!(ids(State::Pending, None, Some("mail-3"), 10).await.len(), 1);
    assert_eq!(store.cancel_dispatches(&mail[..2]).await.unwrap(), 2);
    assert_eq!(ids(State::Cancelled, Some("mail"), None, 10).await.len(), 2);
    for state in [State::Leased, State::Held, State::Dead, State::Delivered] {
        assert!(ids(state, None, None, 10).await.is_empty(), "{state}");
    }
}

pub(crate) async fn a_large_backlog_is_counted_as_it_changes(on: &Fixture) {
    let store = on.open().await;
    lay_backlog(on, "mail", 7).await;
    lay_backlog(on, "erp", 12_000).await;
    store.pause_sink(&sink("idle"), "nothing to do").await.unwrap();
    let counts = async |name: &str| {
        let status = status(&*store, name).await;
        (status.pending, status.oldest_pending.map(jiff::Timestamp::as_microsecond))
    };
    assert_eq!((counts("mail").await, counts("erp").await), ((7, Some(1)), (12_000, Some(1))));
    assert_eq!(counts("idle").await, (0, None));
    let erp = DispatchFilter { sink: Some("erp".into()), state: Some(State::Pending), ..DispatchFilter::default() };
    let mut ids = store.dispatch_ids(&erp, 100_000).await.unwrap();
    ids.sort_unstable();
    assert_eq!(store.cancel_dispatches(&ids[..2500]).await.unwrap(), 2500);
    assert_eq!(counts("erp").await, (9500, Some(2501)), "at once");
    assert_eq!(store.recount().await.unwrap(), 0);
}

pub(crate) async fn counts_that_were_spoiled_are_corrected(on: &Fixture) {
    let store = on.open().await;
    lay_backlog(on, "mail", 3).await;
    lay_backlog(on, "erp", 300).await;
    let erp = DispatchFilter { sink: Some("erp".into()), ..DispatchFilter::default() };
    let ids = store.dispatch_ids(&erp, 1000).await.unwrap();
    let pending = async |name: &str| store.sink_statuses().await.unwrap().into_iter().find(|sink| sink.name == name);

    on.execute("UPDATE queue_counts SET n = n - 1000 WHERE sink = 'erp'").await;
    on.execute("DELETE FROM queue_counts WHERE sink = 'mail'").await;
    on.execute("INSERT INTO queue_counts (sink, state, n) VALUES ('ghost', 'dead', 5)").await;
    assert_eq!(pending("erp").await, None, "there is never less than nothing");
    assert_eq!((pending("mail").await, pending("ghost").await.unwrap().dead), (None, 5));
    // They are corrected while others write, and by two at once, who add the difference once.
    let cancel = async {
        for some in ids[..100].chunks(5) {
            assert_eq!(store.cancel_dispatches(some).await.unwrap(), 5);
        }
    };
    let other = on.open().await;
    let ((), one, two) = tokio::join!(cancel, store.recount(), other.recount());
    assert_eq!(one.unwrap() + two.unwrap(), 3);
    assert_eq!((pending("erp").await.unwrap().pending, pending("mail").await.unwrap().pending), (200, 3));
    assert_eq!(pending("ghost").await, None);
    assert_eq!(store.recount().await.unwrap(), 0);
}
