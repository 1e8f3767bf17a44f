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
    store::{BaseStore, Claim, EraseStore, EventStore, LeaseStore, StoreError, sqlite::SqliteStore},
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
            let claim = Claim {
                sink: &erp,
                order: Order::Invoice,
                limit: 256,
                lease: Duration::from_mins(1),
                longest_wait: Duration::MAX,
                now: None,
            };
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

fn one_event(key: u64) -> [NewEvent; 1] {
    [some_event(1, key)]
}

/// A store of its own folder, with one delivery recorded, so that file and log are there.
async fn in_use() -> (tempfile::TempDir, std::path::PathBuf, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    store.record_deliveries(&one_event(1)).await.unwrap();
    store.ready().await.unwrap();
    (folder, path, store)
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_that_is_gone() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("all of it removed", |path| {
            for suffix in ["", "-wal", "-shm"] {
                std::fs::remove_file(path.with_file_name(format!("relay.db{suffix}"))).unwrap();
            }
        }),
        ("the log removed", |path| std::fs::remove_file(path.with_file_name("relay.db-wal")).unwrap()),
        ("a backup moved over it", |path| {
            let backup = path.with_file_name("backup.db");
            std::fs::copy(path, &backup).unwrap();
            std::fs::rename(&backup, path).unwrap();
        }),
        ("moved away", |path| std::fs::rename(path, path.with_file_name("moved.db")).unwrap()),
    ];
    for (what, harm) in harms {
        let (_folder, path, store) = in_use().await;
        harm(&path);
        let error = store.record_deliveries(&one_event(2)).await.expect_err(what);
        assert!(error.is_unavailable(), "{what}: the sender is to come again: {error:?}");
        let told = std::error::Error::source(&error).unwrap().to_string();
        assert!(told.contains("removed or replaced") && told.contains("relay.db"), "{what}: {told}");
        let error = store.ready().await.expect_err(what).to_string();
        assert!(error.contains("removed or replaced"), "{what}: {error}");
        // Relaying ends as well: its outcomes would be lost.
        let erp = SinkName::new("erp").unwrap();
        let claim = Claim {
            sink: &erp,
            order: Order::Invoice,
            limit: 1,
            lease: Duration::from_mins(1),
            longest_wait: Duration::MAX,
            now: None,
        };
        store.claim_due(claim).await.expect_err(what);
    }
    // Put back, it is the file that is open.
    let (_folder, path, store) = in_use().await;
    let away = path.with_file_name("moved.db");
    std::fs::rename(&path, &away).unwrap();
    store.record_deliveries(&one_event(2)).await.unwrap_err();
    std::fs::rename(&away, &path).unwrap();
    store.record_deliveries(&one_event(3)).await.unwrap();
    store.ready().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn one_file_is_one_database_whatever_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/relay.db");
    let lock = SqliteStore::lock(&path).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();

    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let folder_link = folder.path().join("elsewhere");
    std::os::unix::fs::symlink(folder.path().join("data"), &folder_link).unwrap();
    let mut names = vec![link, folder_link.join("relay.db"), folder.path().join("data/../data/relay.db")];
    if cfg!(target_os = "linux") {
        let hard = folder.path().join("hard.db");
        std::fs::hard_link(&path, &hard).unwrap();
        names.push(hard);
    }
    for name in &names {
        let error = SqliteStore::lock(name).expect_err("it is had by another name").to_string();
        assert!(error.contains("another process uses the database"), "{error}");
    }
    // Its log stands beside the one name: what one writes, another sees.
    let other = SqliteStore::open(&names[0]).await.unwrap();
    assert_eq!(other.path(), store.path());
    other.record_deliveries(&one_event(1)).await.unwrap();
    assert!(!folder.path().join("link.db-wal").exists());
    assert!(store.record_deliveries(&one_event(1)).await.unwrap()[0].duplicate);
    drop(lock);
    SqliteStore::lock(&names[0]).expect("it is free again");
}

#[tokio::test]
async fn erasing_waits_for_no_reader() {
    let (_folder, path, store) = in_use().await;
    // A backup that is under way.
    let mut backup = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM events").execute(&mut backup).await.unwrap();
    let log = path.with_file_name("relay.db-wal");
    let secret = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let holds = |path: &Path| std::fs::read(path).unwrap().windows(secret.len()).any(|part| part == secret);
    let audit = finkare_relay::model::audit::NewAudit::new("tester", "invoice.erased", "invoice/1");
    // It waited for the time-out of a lock, twice, with the writer in its hands.
    let erasing = tokio::time::timeout(Duration::from_secs(3), store.erase_invoice("inv-00000001", audit));
    assert_eq!(erasing.await.expect("nobody is waited for").unwrap().payloads, 1);
    assert!(holds(&log), "the reader still needs it");
    store.record_deliveries(&[NewEvent { payload: b"{}".as_slice().into(), ..some_event(1, 2) }]).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut backup).await.unwrap();
    let began = Instant::now();
    while holds(&log) || holds(&path) {
        assert!(began.elapsed() < Duration::from_secs(30), "it is emptied once the reader is done");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
