//! What only the SQLite store has: its file, its lock, its speed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::contract::link::{UNSOUND, furnish};
use finkare_relay::{
    model::{
        clock,
        dispatch::{FinishedAttempt, Next, Order, Outcome},
        event::{DedupeKey, NewEvent},
        id::{EndpointName, EventId, SinkName},
    },
    store::{Claim, Store, StoreError, sqlite::SqliteStore},
};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

#[tokio::test]
async fn the_file_and_its_folder_are_made_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/relay.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.path(), path);
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm"] {
        use std::os::unix::fs::PermissionsExt;
        let file = path.with_file_name(format!("relay.db{suffix}"));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    store.close().await;
    assert!(!path.with_file_name("relay.db-wal").exists(), "the last one out moves the log into the database");
}

#[tokio::test]
async fn what_is_no_database_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database at all, but long enough to look at".repeat(100)).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Open(_)) && error.to_string().contains("notes.txt"), "{error}");
    let error = SqliteStore::open(folder.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Open(_)), "a folder is no file: {error}");
    let error = SqliteStore::open(&path.join("below/a/file.db")).await.unwrap_err();
    assert!(error.to_string().contains("notes.txt"), "{error}");
}

#[test]
fn a_second_process_is_told_whom_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/relay.db");
    let lock = SqliteStore::lock(&path).unwrap();
    // The lock belongs to the open file, so that a second one in this process stands for another process.
    let error = SqliteStore::lock(&path).unwrap_err().to_string();
    for part in ["data/relay.db", "relay.db.lock", "another process", "DATABASE_URL"] {
        assert!(error.contains(part), "`{part}` is missing: {error}");
    }
    SqliteStore::lock(&folder.path().join("other.db")).expect("another database is free");
    drop(lock);
    SqliteStore::lock(&path).expect("it is free again");
}

#[tokio::test]
async fn the_schema_refuses_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    furnish(&store).await;
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap();
    for statement in UNSOUND {
        let error = sqlx::raw_sql(statement).execute(&mut connection).await.expect_err(statement).to_string();
        assert!(error.contains("constraint failed"), "{statement}: {error}");
    }
}

fn some_event(number: u32, key: u64) -> NewEvent {
    let payload = format!(
        r#"{{"event":"payment.received","data":{{"invoiceId":"inv-{}","amountCents":{number},"note":"{}"}},"key":{key}}}"#,
        number % 1000,
        "x".repeat(300)
    );
    NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new("production").unwrap(),
        dedupe_key: DedupeKey::of_message(payload.as_bytes()),
        event_type: "payment.received".into(),
        invoice_id: Some(format!("inv-{:08}", key % 100_000)),
        occurred_at: None,
        received_at: clock::now(),
        readable: true,
        content_type: Some("application/json".into()),
        payload: payload.into_bytes().into(),
        sinks: vec![SinkName::new("erp").unwrap()],
    }
}

/// Rows in a second over all calls, and what the middle and the worst caller see.
fn report(what: &str, rows: usize, mut calls: Vec<Duration>) {
    calls.sort_unstable();
    let total: Duration = calls.iter().sum();
    let at = |percent: usize| calls[(calls.len() * percent / 100).min(calls.len() - 1)];
    println!(
        "{what:10} {:8} rows/s, per call p50 {:?} p99 {:?} max {:?}",
        rows as u128 * 1_000_000 / total.as_micros().max(1),
        at(50),
        at(99),
        at(100)
    );
}

/// `cargo test --profile bench-fast --test it measure -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check: it takes a while and prints numbers"]
async fn measure() {
    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let store = SqliteStore::open(&folder.path().join("relay.db")).await.unwrap();
    store.migrate().await.unwrap();
    let erp = SinkName::new("erp").unwrap();
    for round in 1..=5_u64 {
        let mut calls = Vec::new();
        for batch in 0..400_u64 {
            let events: Vec<NewEvent> =
                (0..128).map(|i| some_event(i, round * 1_000_000 + batch * 128 + u64::from(i))).collect();
            let began = Instant::now();
            store.record_deliveries(&events).await.unwrap();
            calls.push(began.elapsed());
        }
        println!("--- after {} events", round * 400 * 128);
        report("record", 400 * 128, calls);
        let (mut claims, mut finishes, mut rows) = (Vec::new(), Vec::new(), 0);
        loop {
            let began = Instant::now();
            let claim =
                Claim { sink: &erp, order: Order::Invoice, limit: 256, lease: Duration::from_mins(1), now: None };
            let claimed = store.claim_due(claim).await.unwrap().dispatches;
            if claimed.is_empty() {
                break;
            }
            claims.push(began.elapsed());
            rows += claimed.len();
            let attempts: Vec<FinishedAttempt> = claimed
                .iter()
                .map(|lease| FinishedAttempt {
                    id: lease.id,
                    token: lease.token,
                    sink: erp.clone(),
                    started_at: clock::now(),
                    duration: Duration::from_millis(3),
                    outcome: Outcome::Delivered,
                    next: Next::Delivered,
                })
                .collect();
            let began = Instant::now();
            store.finish_attempts(&attempts, None).await.unwrap();
            finishes.push(began.elapsed());
        }
        report("claim", rows, claims);
        report("finish", rows, finishes);
    }
}
