//! Work is leased, to one worker at a time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use finkare_relay::{model::dispatch::Trigger, store::ORPHANED};
use jiff::Timestamp;

use super::{
    Claim, DispatchFilter, DispatchId, LEASE, LeasedDispatch, NewEvent, Order, State, Store, all_dispatches, claim,
    claim_of, claim_one, clock, delivered, dispatch, event, finish, keys, of_invoice, retried, secs, sink, start,
    state, status,
};
use crate::store::Fixture;

pub(crate) async fn everything_about_a_lease(on: &Fixture) {
    let store = on.open().await;
    let new = of_invoice("i1", "a");
    store.record_deliveries(std::slice::from_ref(&new)).await.unwrap();
    let now = start();
    let lease = claim_one(&*store, now).await;
    assert_eq!((lease.event_id, lease.endpoint.as_str(), &lease.event_type), (new.id, "main", &new.event_type));
    assert_eq!((&lease.invoice_id, lease.received_at), (&new.invoice_id, new.received_at));
    assert_eq!((&lease.content_type, &lease.payload), (&new.content_type, &new.payload));
    assert_eq!((lease.attempts, lease.trigger, lease.age), (0, Trigger::Event, Duration::ZERO));
    let stored = dispatch(&*store, lease.id).await;
    assert_eq!((stored.state, stored.next_attempt_at), (State::Leased, None));
    assert!(claim(&*store, now).await.is_empty(), "a lease is held by one");

    // The next attempt knows how old the first one is, and how many there were.
    finish(&*store, &[retried(&lease, secs(30))], now + secs(2)).await;
    let again = claim_one(&*store, now + secs(40)).await;
    assert_eq!((again.id, again.attempts, again.age), (lease.id, 1, secs(40)));
    assert_ne!(again.token, lease.token);
}

pub(crate) async fn the_limit_and_the_sink_are_obeyed(on: &Fixture) {
    let store = on.open().await;
    let both = |key: &str| NewEvent { sinks: vec![sink("erp"), sink("mail")], ..event(key) };
    store.record_deliveries(&["a", "b", "c", "d", "e"].map(both)).await.unwrap();
    let now = start();
    assert!(claim_of(&*store, "erp", 0, now).await.dispatches.is_empty());
    assert!(claim_of(&*store, "nobody", 10, now).await.dispatches.is_empty());
    let first = claim_of(&*store, "erp", 2, now).await;
    assert_eq!(keys(&first.dispatches), ["a", "b"], "what was written first goes first");
    assert_eq!(first.next_due_in, Some(Duration::ZERO), "there may be more");
    let rest = claim_of(&*store, "erp", 10, now).await;
    assert_eq!(keys(&rest.dispatches), ["c", "d", "e"]);
    assert_eq!(claim_of(&*store, "mail", 10, now).await.dispatches.len(), 5);
}

pub(crate) async fn nothing_before_its_time(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a"), event("b"), event("c")]).await.unwrap();
    let now = start();
    let leases = claim(&*store, now).await;
    let waits = [30, 10, 20].map(secs);
    let attempts: Vec<_> = leases.iter().zip(waits).map(|(lease, wait)| retried(lease, wait)).collect();
    finish(&*store, &attempts, now).await;
    assert!(claim(&*store, now + secs(10) - Duration::from_micros(1)).await.is_empty());
    assert_eq!(keys(&claim(&*store, now + secs(10)).await), ["b"]);
    // What became due first is taken first, and handed out in the order of the numbers.
    let later = now + secs(31);
    assert_eq!(keys(&claim_of(&*store, "erp", 1, later).await.dispatches), ["c"]);
    assert_eq!(keys(&claim_of(&*store, "erp", 1, later).await.dispatches), ["a"]);
}

pub(crate) async fn next_due_says_how_long_to_wait(on: &Fixture) {
    let store = on.open().await;
    let now = start();
    assert_eq!(claim_of(&*store, "erp", 10, now).await.next_due_in, None);
    store.record_deliveries(&[event("a"), event("b")]).await.unwrap();
    let claimed = claim_of(&*store, "erp", 10, now).await;
    assert_eq!(claimed.next_due_in, Some(LEASE), "the ends of the leases are next");
    let [a, b] = &claimed.dispatches[..] else { panic!("both are due") };
    finish(&*store, &[retried(a, secs(45)), delivered(b)], now).await;
    assert_eq!(claim_of(&*store, "erp", 10, now + secs(5)).await.next_due_in, Some(secs(40)));
    assert_eq!(claim_of(&*store, "mail", 10, now).await.next_due_in, None);
    finish(&*store, &[delivered(&claim_one(&*store, now + secs(45)).await)], now).await;
    assert_eq!(claim_of(&*store, "erp", 10, now + secs(5)).await.next_due_in, None);
}

pub(crate) async fn two_workers_never_hold_one_lease(on: &Fixture) {
    const EVENTS: usize = 400;
    let stores = [on.open().await, on.open().await];
    let batch: Vec<NewEvent> = (0..EVENTS).map(|i| of_invoice(&format!("i{}", i % 60), &format!("{i}"))).collect();
    stores[0].record_deliveries(&batch).await.unwrap();
    let now = start();
    // Who holds what now, and in which order each invoice was delivered.
    let holds: Arc<Mutex<HashSet<DispatchId>>> = Arc::default();
    let done: Arc<Mutex<Vec<LeasedDispatch>>> = Arc::default();
    let mut tasks = Vec::new();
    for worker in 0..4_usize {
        let (store, holds, done) = (stores[worker % 2].clone(), holds.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            while done.lock().unwrap().len() < EVENTS {
                let claimed = claim_of(&*store, "erp", 7, now).await.dispatches;
                for lease in &claimed {
                    assert!(holds.lock().unwrap().insert(lease.id), "{} is held by another worker", lease.id);
                }
                tokio::task::yield_now().await;
                for lease in &claimed {
                    holds.lock().unwrap().remove(&lease.id);
                    done.lock().unwrap().push(lease.clone());
                }
                let attempts: Vec<_> = claimed.iter().map(delivered).collect();
                finish(&*store, &attempts, now).await;
            }
        }));
    }
    let all = async {
        for task in tasks {
            task.await.unwrap();
        }
    };
    tokio::time::timeout(secs(60), all).await.expect("the workers come to an end");
    let done = std::mem::take(&mut *done.lock().unwrap());
    assert_eq!(done.len(), EVENTS, "each was handed out once");
    for invoice in 0..60 {
        let name = format!("i{invoice}");
        let numbers = done.iter().filter(|lease| lease.invoice_id.as_deref() == Some(&name)).map(|lease| lease.id);
        assert!(numbers.is_sorted(), "{name} was handed out in order");
    }
    assert!(all_dispatches(&*stores[0]).await.iter().all(|dispatch| dispatch.state == State::Delivered));
}

pub(crate) async fn an_expired_lease_comes_back(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a")]).await.unwrap();
    let now = start();
    let lost = claim_one(&*store, now).await;
    let end = now + LEASE;
    assert!(claim(&*store, end - Duration::from_micros(1)).await.is_empty());
    let lease = claim_one(&*store, end).await;
    assert_eq!((lease.id, lease.attempts, lease.age), (lost.id, 0, LEASE));
    assert_ne!(lease.token, lost.token);
    finish(&*store, &[delivered(&lease)], end).await;
    let (stored, attempts) = store.dispatch(lease.id).await.unwrap().unwrap();
    assert_eq!((stored.attempts, attempts.len(), stored.state), (1, 1, State::Delivered));

    // A worker that is only late, and whose dispatch nobody took, still counts.
    store.record_deliveries(&[event("b")]).await.unwrap();
    let late = claim_one(&*store, now).await;
    finish(&*store, &[delivered(&late)], end + secs(100)).await;
}

pub(crate) async fn a_lease_given_back_leaves_nothing(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a"), event("b"), event("c")]).await.unwrap();
    let now = start();
    let leases = claim(&*store, now).await;
    finish(&*store, &[delivered(&leases[2])], now).await;
    let erp = store.wakeups().of(&sink("erp"));
    let tokens: Vec<_> = leases.iter().map(|lease| (lease.id, lease.token)).collect();
    assert_eq!(store.give_back(&tokens).await.unwrap(), 2, "what is finished is passed over");
    super::woken(&erp).await;
    assert_eq!(store.give_back(&tokens).await.unwrap(), 0, "and what is given back already");
    for id in [leases[0].id, leases[1].id] {
        let (stored, attempts) = store.dispatch(id).await.unwrap().unwrap();
        assert_eq!((stored.state, stored.attempts, attempts.len()), (State::Pending, 0, 0));
        assert!(stored.next_attempt_at.is_some_and(|at| at <= clock::now() + secs(60)), "due at once");
    }
    // Its age begins anew: nothing was tried yet.
    let again = claim(&*store, now + secs(500)).await;
    assert!(again.len() == 2 && again.iter().all(|lease| lease.attempts == 0 && lease.age.is_zero()));
    assert_eq!(store.give_back(&tokens).await.unwrap(), 0, "an old token gives nothing back");
    assert_eq!(state(&*store, leases[0].id).await, State::Leased);
}

pub(crate) async fn leases_of_an_earlier_process_end_at_once(on: &Fixture) {
    let store = on.open().await;
    assert_eq!(store.expire_leases().await.unwrap(), 0);
    store.record_deliveries(&[event("a"), event("b"), event("c")]).await.unwrap();
    let now = start();
    let leases = claim_of(&*store, "erp", 2, now).await.dispatches;
    let erp = store.wakeups().of(&sink("erp"));
    assert_eq!(store.expire_leases().await.unwrap(), 2);
    super::woken(&erp).await;
    assert_eq!(keys(&claim(&*store, now).await), ["a", "b", "c"]);
    assert_eq!(
        store.finish_attempts(&[delivered(&leases[0])], Some(now)).await.unwrap(),
        [super::Finish::LeaseLost],
        "the earlier process has lost its lease"
    );
}

pub(crate) async fn a_paused_sink_gives_nothing(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[NewEvent { sinks: vec![sink("erp"), sink("mail")], ..event("a") }]).await.unwrap();
    let now = start();
    assert!(store.pause_sink(&sink("erp"), "maintenance").await.unwrap());
    for order in [Order::Invoice, Order::None] {
        let erp = sink("erp");
        let claimed = store
            .claim_due(Claim {
                sink: &erp,
                order,
                limit: 10,
                lease: LEASE,
                longest_wait: Duration::MAX,
                now: Some(now),
            })
            .await
            .unwrap();
        assert!(claimed.paused && claimed.dispatches.is_empty());
    }
    let mail = claim_of(&*store, "mail", 10, now).await;
    assert!(!mail.paused && mail.dispatches.len() == 1, "other sinks go on");
    assert!(store.resume_sink(&sink("erp")).await.unwrap());
    let claimed = claim_of(&*store, "erp", 10, now).await;
    assert!(!claimed.paused && claimed.dispatches.len() == 1);
}

/// Claims for `erp` with this longest wait.
async fn claim_waiting(store: &dyn Store, longest_wait: Duration, now: Timestamp) -> Vec<LeasedDispatch> {
    let erp = sink("erp");
    let claim = Claim { sink: &erp, order: Order::Invoice, limit: 10, lease: LEASE, longest_wait, now: Some(now) };
    store.claim_due(claim).await.unwrap().dispatches
}

pub(crate) async fn what_is_claimed_late_ages_no_more_than_a_wait(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a")]).await.unwrap();
    let hour = secs(3600);
    let mut now = start();
    let age = async |now: Timestamp| {
        let claimed = claim_waiting(&*store, hour, now).await;
        let [lease] = &claimed[..] else { panic!("{} are due", claimed.len()) };
        finish(&*store, &[retried(lease, secs(60))], now).await;
        lease.age
    };
    assert_eq!(age(now).await, Duration::ZERO);
    now += secs(60);
    assert_eq!(age(now).await, secs(60), "in time");
    now += secs(60) + secs(1800);
    assert_eq!(age(now).await, secs(60 + 60 + 1800), "a little late");
    // The clock jumps by a hundred days, or the service was off for so long: nothing was tried meanwhile.
    now += secs(60) + secs(100 * 86_400);
    let aged = secs(60 + 60 + 1800 + 60) + hour;
    assert_eq!(age(now).await, aged);
    // It does not come back with the next attempt.
    now += secs(60);
    assert_eq!(age(now).await, aged + secs(60));
    // A worker that dies holds a lease, not a wait: its end is what the next claim is late to.
    now += secs(60);
    let lost = claim_waiting(&*store, hour, now).await;
    assert_eq!(lost[0].age, aged + secs(120));
    now += LEASE + secs(50 * 86_400);
    assert_eq!(claim_waiting(&*store, hour, now).await[0].age, aged + secs(120) + LEASE + hour);
    // Set back behind its first attempt, it has no age, and no other trouble.
    let early = start() - secs(1800);
    let due_at = clock::to_micros(early);
    on.execute(&format!("UPDATE queue SET state = 'pending', lease_token = NULL, due_at = {due_at}")).await;
    assert_eq!(claim_waiting(&*store, hour, early).await[0].age, Duration::ZERO);
}

pub(crate) async fn a_claim_takes_no_more_bytes_than_it_may(on: &Fixture) {
    const MIB: usize = 1024 * 1024;
    let store = on.open().await;
    let large = |key: &str, bytes: usize| NewEvent { payload: vec![b'x'; bytes].into(), ..event(key) };
    let batch: Vec<NewEvent> = (0..10).map(|i| large(&format!("{i}"), MIB)).collect();
    store.record_deliveries(&batch).await.unwrap();
    let now = start();
    for (order, expected) in [(Order::Invoice, [4, 4, 2].as_slice()), (Order::None, &[4, 4, 2])] {
        let erp = sink("erp");
        let mut leases = Vec::new();
        for expected in expected {
            let claim =
                Claim { sink: &erp, order, limit: 100, lease: LEASE, longest_wait: Duration::MAX, now: Some(now) };
            let claimed = store.claim_due(claim).await.unwrap();
            assert_eq!(claimed.dispatches.len(), *expected, "four of a mebibyte");
            assert!(claimed.dispatches.iter().all(|lease| lease.payload.len() == MIB && lease.payload[0] == b'x'));
            if *expected == 4 {
                assert_eq!(claimed.next_due_in, Some(Duration::ZERO), "there is more, at once");
            }
            leases.extend(claimed.dispatches.into_iter().map(|lease| (lease.id, lease.token)));
        }
        assert_eq!(status(&*store, "erp").await.leased, 10);
        assert_eq!(store.give_back(&leases).await.unwrap(), 10);
    }
    // One that is larger than all comes alone, and with small ones only what fits.
    let alone = [large("huge", 5 * MIB), large("small", 10), large("medium", 3 * MIB), large("other", 2 * MIB)];
    for event in alone {
        store.record_deliveries(&[NewEvent { sinks: vec![sink("mail")], ..event }]).await.unwrap();
    }
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let claimed = claim_of(&*store, "mail", 100, now).await.dispatches;
        sizes.push(claimed.iter().map(|lease| lease.payload.len()).collect::<Vec<_>>());
    }
    assert_eq!(sizes, [vec![5 * MIB], vec![10, 3 * MIB], vec![2 * MIB]]);
}

pub(crate) async fn dispatches_without_an_event_hide_nobody(on: &Fixture) {
    let store = on.open().await;
    store.register_sinks(&[sink("erp")]).await.unwrap();
    // As after a restore of a part: more than any claim looks at.
    let orphans = |numbers: &str, id: &str, from: &str| {
        format!(
            "{numbers} INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
             SELECT {id}, 'erp', 'ping', CASE WHEN n % 2 = 0 THEN 'i1' END, 'pending', 'event', n, n FROM {from}"
        )
    };
    let numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 600)";
    on.lay(
        &orphans(numbers, "randomblob(16)", "numbers"),
        &orphans("", "gen_random_uuid()", "generate_series(1, 600) AS numbers (n)"),
    )
    .await;
    store.record_deliveries(&[of_invoice("i1", "same"), of_invoice("i2", "other"), event("none")]).await.unwrap();
    let now = start();
    let (mut found, mut claims) = (Vec::new(), 0);
    loop {
        let claimed = claim_of(&*store, "erp", 8, now).await;
        found.extend(keys(&claimed.dispatches));
        claims += 1;
        assert!(claims < 200, "the others never come");
        if claimed.dispatches.is_empty() && claimed.next_due_in.is_none_or(|due| due > Duration::from_secs(1)) {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, ["none", "other", "same"]);
    let status = status(&*store, "erp").await;
    assert_eq!((status.dead, status.pending, status.leased), (600, 0, 3), "shown, counted and alerted on");
    let dead = DispatchFilter { state: Some(State::Dead), ..DispatchFilter::default() };
    let rows = store.list_dispatches(&dead, 1000).await.unwrap().rows;
    assert!(rows.iter().all(|row| row.last_error.as_deref() == Some(ORPHANED) && row.finished_at.is_some()));
    // There is nothing to try again; a person can put them away.
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert_eq!(store.retry_dispatches(&ids).await.unwrap(), 0);
    assert_eq!(store.cancel_dispatches(&ids).await.unwrap(), 600);
}
