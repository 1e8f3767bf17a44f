//! What is kept, for how long, and across restarts.

use std::time::Duration;

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
            let number = dead.id;
            // The row can only be written because the one of the attempt has gone.
            on.execute(&format!(
                "INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome)
                 VALUES ({number}, 1, 0, 0, 'retry')"
            ))
            .await;
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

/// Events that were received so long ago, each with one dispatch that is pending or delivered, laid past the store.
async fn lay(on: &Fixture, count: u32, days_ago: i64, state: State) {
    let at = clock::to_micros(clock::now()) - days_ago * 86_400_000_000;
    let insert = |numbers: &str, id: &str, more: &str, values: &str| {
        format!(
            "{numbers} INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, received_at, deliveries, readable,
                                           payload {more})
             SELECT {id}, 'main', {values} FROM numbers"
        )
    };
    let sqlite = insert(
        &format!("WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"),
        &format!("unhex(printf('%012x%020x', ({at} + n) / 1000, n))"),
        ", last_delivery_at",
        &format!("randomblob(32), 'ping', NULL, {at} + n, 1, 1, x'00', 1"),
    );
    let postgres = insert(
        &format!("WITH numbers AS (SELECT n FROM generate_series(1, {count}) AS n)"),
        &format!("CAST(lpad(to_hex(({at} + n) / 1000), 12, '0') || lpad(to_hex(n), 20, '0') AS uuid)"),
        "",
        &format!("sha256(CAST(gen_random_uuid() AS text)::bytea), 'ping', NULL, {at} + n, 1, true, 'x'"),
    );
    on.lay(&sqlite, &postgres).await;
    let of_each = "FROM events WHERE NOT EXISTS (SELECT 1 FROM dispatches WHERE event_id = events.id)";
    let dispatches = if state == State::Pending {
        format!(
            "INSERT INTO queue (event_id, sink, event_type, state, trigger, created_at, due_at)
             SELECT id, 'erp', 'ping', 'pending', 'event', received_at, received_at {of_each}"
        )
    } else {
        format!(
            "INSERT INTO history (id, event_id, sink, event_type, state, trigger, attempts, created_at, finished_at)
             SELECT (SELECT coalesce(max(id), 0) FROM dispatches) + row_number() OVER (ORDER BY id), id, 'erp', 'ping',
                    'delivered', 'event', 1, received_at, received_at {of_each}"
        )
    };
    on.lay(&dispatches, &dispatches).await;
}

/// One round; answers what went, and in how many calls.
async fn round(store: &dyn Store, purge: Purge) -> (Purged, u32) {
    let (mut total, mut calls, mut from) = (Purged::default(), 0, None);
    loop {
        let (purged, next) = store.purge_from(purge, from).await.unwrap();
        assert!(purged.events <= purge.limit.into() && purged.payloads <= purge.limit.into());
        total.events += purged.events;
        total.payloads += purged.payloads;
        calls += 1;
        from = next;
        if from.is_none() {
            return (total, calls);
        }
    }
}

async fn has_payload(store: &dyn Store, new: &NewEvent) -> bool {
    store.event(new.id).await.unwrap().expect("the event is there").payload.is_some()
}

/// A day, as ages are told here.
fn days(number: u64) -> Duration {
    secs(number * 86_400)
}

pub(crate) async fn unfinished_work_is_passed_once_a_round(on: &Fixture) {
    let store = on.open().await;
    lay(on, 12_000, 100, State::Pending).await;
    lay(on, 30, 99, State::Delivered).await;
    let before = clock::now() - days(1);
    let purge = Purge { payloads_before: before, events_before: before, limit: 10 };
    let (purged, calls) = round(&*store, purge).await;
    assert_eq!(purged, Purged { payloads: 0, events: 30 });
    // 12,000 in pieces of 5,000, what can go in pieces of ten, and the ends of the stages: not 12,000 for each ten.
    assert!(calls <= 15, "{calls} transactions");
    assert_eq!(count_events(&*store).await, 12_000);
    let (purged, calls) = round(&*store, purge).await;
    assert!(purged == Purged::default() && calls <= 7, "the second round: {purged:?} in {calls} transactions");
}

pub(crate) async fn what_finishes_late_is_purged_later(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let idle = |key: &str, age| NewEvent { sinks: Vec::new(), ..received(key, now - days(age)) };
    let batch = [received("needed", now - days(200)), idle("idle", 150), idle("young", 80)];
    store.record_deliveries(&batch).await.unwrap();
    let purge = |age| Purge { payloads_before: now - days(age), events_before: now - days(400), limit: 10 };
    let payloads = |payloads| Purged { payloads, events: 0 };
    assert_eq!(round(&*store, purge(90)).await, (payloads(1), 3));
    assert_eq!(round(&*store, purge(90)).await, (payloads(0), 3), "it is still needed");
    assert!(has_payload(&*store, &batch[0]).await && !has_payload(&*store, &batch[1]).await);
    // Others have come and gone in the meantime.
    assert_eq!(round(&*store, purge(70)).await.0, payloads(1));
    deliver_all(&*store, start()).await;
    // Kept longer from now on, also what a round has passed before.
    assert_eq!(round(&*store, purge(300)).await.0, payloads(0));
    let store = on.open().await;
    assert_eq!(round(&*store, purge(90)).await.0, payloads(1), "in another process");
    assert!(!has_payload(&*store, &batch[0]).await);
    assert_eq!(round(&*store, purge(90)).await.0, payloads(0));
    let all = Purge { events_before: now, ..purge(90) };
    assert_eq!(round(&*store, all).await.0.events, 3);
}

pub(crate) async fn an_event_of_a_wrong_clock_is_found_after_the_doubt(on: &Fixture) {
    let store = on.open().await;
    let now = clock::from_micros(clock::to_micros(clock::now())).unwrap();
    store.retention_time(Duration::ZERO, Some(now)).await.unwrap();
    let idle = |key: &str, age| NewEvent { sinks: Vec::new(), ..received(key, now - days(age)) };
    store.record_deliveries(&[idle("before", 100)]).await.unwrap();
    let purge = Purge { payloads_before: now - days(90), events_before: now - days(400), limit: 10 };
    assert_eq!(round(&*store, purge).await.0.payloads, 1);
    // The clock of the service is 150 days behind for a while.
    store.retention_time(Duration::ZERO, Some(now - days(150))).await.unwrap();
    let wrong = idle("wrong", 150);
    store.record_deliveries(std::slice::from_ref(&wrong)).await.unwrap();
    assert_eq!(round(&*store, purge).await.0.payloads, 0);
    store.retention_time(Duration::ZERO, Some(now)).await.unwrap();
    assert_eq!(round(&*store, purge).await.0.payloads, 1);
    assert!(!has_payload(&*store, &wrong).await);
}

pub(crate) async fn an_id_alone_makes_nothing_old(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    // The clock was set right between the receipt and the making of the id, or the other way round.
    let old_id = NewEvent { id: received("", now - days(500)).id, sinks: Vec::new(), ..received("a", now - days(1)) };
    let young_id = NewEvent { id: received("", now).id, sinks: Vec::new(), ..received("b", now - days(500)) };
    let batch = [old_id, young_id];
    store.record_deliveries(&batch).await.unwrap();
    let purge = Purge { payloads_before: now - days(90), events_before: now - days(400), limit: 10 };
    assert_eq!(round(&*store, purge).await.0, Purged::default(), "the later of the two counts");
    assert!(has_payload(&*store, &batch[0]).await && has_payload(&*store, &batch[1]).await);
    let later = |age| now + days(1) - days(age);
    let purge = Purge { payloads_before: later(0), events_before: later(400), limit: 10 };
    assert_eq!(round(&*store, purge).await.0, Purged { payloads: 2, events: 0 });
    let purge = Purge { payloads_before: later(0), events_before: later(0), limit: 10 };
    assert_eq!(round(&*store, purge).await.0, Purged { payloads: 0, events: 2 });
}

pub(crate) async fn a_clock_that_jumped_is_doubted_first(on: &Fixture) {
    let store = on.open().await;
    let today = clock::from_micros(clock::to_micros(clock::now())).unwrap();
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    let time = store.retention_time(Duration::ZERO, Some(today)).await.unwrap();
    assert_eq!((time.now, time.clock, time.doubted_for), (today, today, None));

    // A hundred days ahead: by the word of this clock nothing is old, however often somebody starts and looks.
    let ahead = today + 100 * day;
    for _ in 0..3 {
        let again = on.open().await;
        let time = again.retention_time(Duration::ZERO, Some(ahead)).await.unwrap();
        assert_eq!((time.now, time.clock, time.doubted_for), (today, ahead, Some(day)));
    }
    // It goes on with the time that really passed, in whichever process.
    let other = on.open().await;
    for hours in 1..24_u32 {
        let at = if hours % 2 == 0 { &store } else { &other };
        let time = at.retention_time(hour, Some(ahead + hours * hour)).await.unwrap();
        assert_eq!(time.now, today + hours * hour);
        assert_eq!(time.doubted_for, day.checked_sub(hours * hour));
    }
    let time = store.retention_time(hour, Some(ahead + day)).await.unwrap();
    assert_eq!((time.now, time.doubted_for), (ahead + day, None), "after a day it is believed");
    // A clock that goes back is gone by at once, and doubted as well.
    let time = store.retention_time(hour, Some(today)).await.unwrap();
    assert_eq!((time.now, time.doubted_for), (today, Some(day)));
    let time = store.retention_time(hour, Some(ahead + day + hour)).await.unwrap();
    assert_eq!((time.now, time.doubted_for), (ahead + day + hour, None));
}

pub(crate) async fn what_was_stored_judges_the_first_clock(on: &Fixture) {
    let store = on.open().await;
    let received_at = clock::from_micros(clock::to_micros(clock::now())).unwrap() - days(100);
    store.record_deliveries(&[received("a", received_at)]).await.unwrap();
    let time = store.retention_time(Duration::ZERO, None).await.unwrap();
    assert_eq!((time.now, time.doubted_for), (received_at, Some(Duration::from_hours(24))));
}

pub(crate) async fn what_a_clock_set_back_has_postponed_comes_back(on: &Fixture) {
    let store = on.open().await;
    let new = ["new", "retried", "far", "held", "waiting"].map(|key| received(key, clock::now()));
    store.record_deliveries(&new).await.unwrap();
    // Two hours ahead: attempts were made, and written down with what they wait for.
    let ahead = start() + secs(3600);
    let leases = claim(&*store, ahead).await;
    let finished = [
        retried(&leases[1], secs(30)),
        retried(&leases[2], secs(86_400)),
        held(&leases[3], Some(secs(600))),
        super::waiting(&leases[4], secs(40)),
    ];
    finish(&*store, &finished, ahead).await;
    store.give_back(&[(leases[0].id, leases[0].token)]).await.unwrap();
    on.execute(&format!("UPDATE queue SET due_at = {} WHERE attempts = 0", clock::to_micros(ahead))).await;

    let at = async |place: usize| super::dispatch(&*store, leases[place].id).await.next_attempt_at.unwrap();
    // A clock that is right brings nothing back, nor does one that is a minute off.
    assert_eq!(store.bring_back(Some(ahead)).await.unwrap(), 0);
    assert_eq!(store.bring_back(Some(ahead - secs(60))).await.unwrap(), 0);
    let now = clock::from_micros(clock::to_micros(ahead)).unwrap() - secs(7200);
    assert_eq!(store.bring_back(Some(now)).await.unwrap(), 5);
    assert_eq!(at(0).await, now, "it was due at once");
    assert_eq!(at(1).await, now + secs(30));
    assert_eq!(at(2).await, now + secs(86_400), "its own wait, however long");
    assert_eq!(at(3).await, now + secs(600));
    assert_eq!(at(4).await, now + secs(40));
    assert_eq!(store.bring_back(Some(now)).await.unwrap(), 0);
}
