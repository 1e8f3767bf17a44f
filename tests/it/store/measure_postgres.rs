//! How fast the hot paths are. Not a test: it asserts nothing about time. To be run by hand, against
//! a server that flushes to disk:
//!
//! ```text
//! RELAY_TEST_POSTGRES_URL=postgres://… cargo test --test it -- --ignored --nocapture measure_postgres
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use finkare_relay::{
    model::{
        clock,
        dispatch::{FinishedAttempt, Next, Order, Outcome},
        event::{DedupeKey, NewEvent},
        id::{DispatchId, EndpointName, EventId, LeaseToken, SinkName},
    },
    store::{Claim, EventStore, LeaseStore, Offer, postgres::PostgresStore},
};

use crate::support::postgres;

const BATCHES: usize = 400;
const BATCH: usize = 128;
const CALLERS: usize = 2;

fn batch(caller: usize, number: usize, sink: &SinkName) -> Vec<NewEvent> {
    (0..BATCH)
        .map(|n| {
            let text = format!(
                r#"{{"event":"payment.received","data":{{"invoiceId":"{caller}-{number}-{n}","amountCents":150000}}}}"#
            );
            NewEvent {
                id: EventId::generate(),
                endpoint: EndpointName::new("default").unwrap(),
                dedupe_key: DedupeKey::of_message(text.as_bytes()),
                event_type: "payment.received".into(),
                invoice_id: Some(format!("{caller}-{number}-{n}")),
                occurred_at: None,
                received_at: clock::now(),
                readable: true,
                content_type: Some("application/json".into()),
                payload: text.into(),
                sinks: vec![sink.clone()],
            }
        })
        .collect()
}

fn say(what: &str, rows: usize, took: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
    let rate = rows as f64 / took.as_secs_f64();
    println!("{what}: {rows} rows in {took:?}, {rate:.0} rows/s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, to be run by hand"]
async fn accepts() {
    let database = postgres::database().await;
    record(&Arc::new(PostgresStore::connect(&database.secret(), 8).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, to be run by hand"]
async fn relays() {
    let database = postgres::database().await;
    let store = Arc::new(PostgresStore::connect(&database.secret(), 8).await.unwrap());
    record(&store).await;
    relay(&store).await;
}

/// What a delivery costs the server from the accept to the history, without the wait for the sink.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, to be run by hand"]
async fn hands_over() {
    let database = postgres::database().await;
    let store = PostgresStore::connect(&database.secret(), 8).await.unwrap();
    let sink = SinkName::new("erp").unwrap();
    let (mut records, mut finishes) = (Duration::ZERO, Duration::ZERO);
    for number in 0..BATCHES {
        let batch = batch(0, number, &sink);
        let offers: Vec<Offer> = (0..BATCH)
            .map(|event| Offer {
                event,
                sink: sink.clone(),
                order: Order::Invoice,
                lease: Duration::from_mins(1),
                token: LeaseToken::generate(),
            })
            .collect();
        let started = Instant::now();
        let stored = store.record_offering(&batch, &offers).await.unwrap();
        records += started.elapsed();
        let handed: Vec<_> = stored.leased.iter().flatten().zip(&offers).collect();
        let attempts: Vec<_> = handed.iter().map(|(id, offer)| delivered(**id, offer.token, &sink)).collect();
        assert_eq!(attempts.len(), BATCH, "all are handed over");
        let started = Instant::now();
        store.finish_attempts(&attempts, None).await.unwrap();
        finishes += started.elapsed();
    }
    say("record_offering", BATCHES * BATCH, records);
    say("finish_attempts", BATCHES * BATCH, finishes);
}

fn delivered(id: DispatchId, token: LeaseToken, sink: &SinkName) -> FinishedAttempt {
    FinishedAttempt {
        id,
        token,
        sink: sink.clone(),
        started_at: clock::now(),
        duration: Duration::from_millis(1),
        outcome: Outcome::Delivered,
        next: Next::Delivered,
    }
}

async fn record(store: &Arc<PostgresStore>) {
    let sink = SinkName::new("erp").unwrap();
    let batches: Vec<Vec<_>> =
        (0..CALLERS).map(|c| (0..BATCHES / CALLERS).map(|n| batch(c, n, &sink)).collect()).collect();
    let started = Instant::now();
    let callers: Vec<_> = batches
        .into_iter()
        .map(|batches: Vec<Vec<NewEvent>>| {
            let store = store.clone();
            tokio::spawn(async move {
                for batch in batches {
                    store.record_deliveries(&batch).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    say("record_deliveries", BATCHES * BATCH, started.elapsed());
}

async fn relay(store: &PostgresStore) {
    let sink = SinkName::new("erp").unwrap();
    let (mut claims, mut finishes, mut rows) = (Duration::ZERO, Duration::ZERO, 0);
    loop {
        let claim = Claim {
            sink: &sink,
            order: Order::Invoice,
            limit: 256,
            lease: Duration::from_mins(1),
            longest_wait: Duration::MAX,
            now: None,
        };
        let started = Instant::now();
        let claimed = store.claim_due(claim).await.unwrap().dispatches;
        claims += started.elapsed();
        if claimed.is_empty() {
            break;
        }
        rows += claimed.len();
        let batch: Vec<_> = claimed.iter().map(|leased| delivered(leased.id, leased.token, &sink)).collect();
        let started = Instant::now();
        store.finish_attempts(&batch, None).await.unwrap();
        finishes += started.elapsed();
    }
    assert_eq!(rows, BATCHES * BATCH, "everything that was recorded is claimed once");
    say("claim_due", rows, claims);
    say("finish_attempts", rows, finishes);
}
