//! How long people wait for what they look at, over a million dispatches to be done and a million done. To be run by
//! hand, as it takes minutes to lay them:
//!
//! ```text
//! cargo test --test it -- --ignored --nocapture measure_lists
//! ```

use std::time::{Duration, Instant};

use finkare_relay::{
    model::{dispatch::State, id::DispatchId},
    store::{DispatchFilter, Store},
};

use super::{Fixture, on_postgres, on_sqlite};

const MILLION: i64 = 1_000_000;

/// What a person waits for at most.
const LONGEST: Duration = Duration::from_millis(50);

/// Dispatch `n` is of event `n` and of invoice `n / 4`. Numbers up to a million are done.
pub(crate) async fn lay(on: &Fixture) {
    let sqlite = |into: &str, from: i64, to: i64, values: &str| {
        format!(
            "WITH RECURSIVE numbers (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM numbers WHERE n < {to})
             INSERT INTO {into} SELECT {values} FROM numbers"
        )
    };
    let postgres = |into: &str, from: i64, to: i64, values: &str| {
        format!("INSERT INTO {into} SELECT {values} FROM generate_series({from}, {to}) AS numbers (n)")
    };
    let [lite, pg] = [
        "unhex(printf('%012x%020x', 1700000000000 + n, n))",
        "CAST(lpad(to_hex(1700000000000 + n), 12, '0') || lpad(to_hex(n), 20, '0') AS uuid)",
    ];
    let dispatch = "'payment.received', 'inv-' || (n / 4), CASE WHEN n % 10 = 0 THEN 'mail'
                    WHEN n % 1000000 < 100 THEN 'rare' WHEN n % 1000000 > 999900 THEN 'late' ELSE 'erp' END,
                    'event', 1, n * 1000";
    let done = format!("{dispatch}, n * 1000, CASE WHEN n % 5000 = 0 THEN 'cancelled' ELSE 'delivered' END");
    let to_do = format!("{dispatch}, n * 1000, 'pending'");
    let columns = "event_type, invoice_id, sink, trigger, attempts, created_at";
    let events = "events (id, endpoint, dedupe_key, type, invoice_id, received_at, deliveries, readable, payload";
    let event = "'payment.received', 'inv-' || (n / 4), n * 1000, 1";
    on.lay(
        &sqlite(
            &format!("{events}, last_delivery_at)"),
            1,
            2 * MILLION,
            &format!("{lite}, 'main', randomblob(32), {event}, 1, x'00', 1"),
        ),
        &postgres(
            &format!("{events})"),
            1,
            2 * MILLION,
            &format!("{pg}, 'main', sha256(int8send(n)), {event}, true, '{{}}'"),
        ),
    )
    .await;
    for (into, from, to, values) in [
        (format!("history (id, event_id, {columns}, finished_at, state)"), 1, MILLION, &done),
        (format!("queue (id, event_id, {columns}, due_at, state)"), MILLION + 1, 2 * MILLION, &to_do),
    ] {
        on.lay(
            &sqlite(&into, from, to, &format!("n, {lite}, {values}")),
            &postgres(&into, from, to, &format!("n, {pg}, {values}")),
        )
        .await;
    }
    on.execute("UPDATE queue SET state = 'held', due_at = NULL WHERE id % 10007 = 0").await;
    on.execute("UPDATE queue SET state = 'dead', due_at = NULL, finished_at = 5 WHERE id % 3001 = 1").await;
    // The oldest of a backlog are the leased ones.
    let lease = |token: &str| format!("UPDATE queue SET state = 'leased', lease_token = {token} WHERE id < 1000050");
    on.lay(&lease("randomblob(16)"), &lease("gen_random_uuid()")).await;
    on.lay("ANALYZE", "VACUUM ANALYZE").await;
}

/// The shortest of three times, and whether it is short enough.
async fn timed<T>(what: &str, call: impl AsyncFn() -> T) -> (bool, T) {
    let mut shortest = Duration::MAX;
    let mut answer = call().await;
    for _ in 0..3 {
        let began = Instant::now();
        answer = call().await;
        shortest = shortest.min(began.elapsed());
    }
    println!("{what}: {shortest:.1?}");
    (shortest <= LONGEST, answer)
}

async fn measure(on: Fixture) {
    let store: std::sync::Arc<dyn Store> = on.open().await;
    lay(&on).await;
    let mut slow = Vec::new();
    let (is_short, sinks) = timed("sinks", async || store.sink_statuses().await.unwrap()).await;
    slow.extend((!is_short).then(|| "sinks".to_owned()));
    assert_eq!(sinks.iter().map(|sink| sink.pending + sink.leased + sink.held + sink.dead).sum::<u64>(), 1_000_000);

    let began = Instant::now();
    assert_eq!(store.recount().await.unwrap(), 0);
    println!("recount (not for people): {:.1?}", began.elapsed());

    let event = store.dispatch(DispatchId(777)).await.unwrap().expect("it is there").0.event_id;
    let all = DispatchFilter::default;
    let mut filters = vec![
        ("an invoice".to_owned(), DispatchFilter { invoice_id: Some("inv-777".into()), ..all() }),
        ("an event".to_owned(), DispatchFilter { event_id: Some(event), ..all() }),
        ("events".to_owned(), DispatchFilter { found: Some(vec![event; 2000]), ..all() }),
    ];
    for state in [None].into_iter().chain(State::ALL.map(Some)) {
        for sink in [None, Some("erp"), Some("rare"), Some("late"), Some("nobody")] {
            for before in [None, Some(MILLION + 500_000)] {
                let filter =
                    DispatchFilter { state, sink: sink.map(Into::into), before: before.map(DispatchId), ..all() };
                filters.push((format!("state {state:?}, sink {sink:?}, before {before:?}"), filter));
            }
        }
    }
    for (what, filter) in filters {
        let (is_short, page) = timed(&what, async || store.list_dispatches(&filter, 50).await.unwrap()).await;
        if !is_short {
            slow.push(format!("{what} ({} rows)", page.rows.len()));
        }
    }
    let (is_short, _) = timed("a dispatch", async || store.dispatch(DispatchId(777)).await.unwrap()).await;
    slow.extend((!is_short).then(|| "a dispatch".to_owned()));
    let (is_short, event) = timed("an event with all of its own", async || store.event(event).await.unwrap()).await;
    slow.extend((!is_short).then(|| "an event".to_owned()));
    assert_eq!(event.expect("it is there").dispatches.len(), 1);
    assert!(slow.is_empty(), "these take more than {LONGEST:?}: {slow:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, to be run by hand"]
async fn sqlite() {
    measure(on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, to be run by hand"]
async fn postgres() {
    measure(on_postgres().await).await;
}
