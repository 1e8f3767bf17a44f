//! A database of every earlier version, with what that version left in it, under today's program.
//!
//! For each migration there may be a file with rows, `sqlite/NNNN.sql` and `postgres/NNNN.sql`, written with that
//! version's columns. A database of version N is made as life makes it: migration after migration, after each its rows.
//! Then today's program brings it up to date and has to find, claim, finish, list and purge all of it.
//!
//! What a migration may do is checked by its text (see `migrations/README.md`), and by the statements of the version
//! before (`statements.rs`): the program before works on while it is replaced.
//!
//! # How to add a migration
//!
//! Write its rows into a file of its number for both stores, if it makes a table or a column that matters, and ask for
//! them in [`the_rest`].

use std::{path::PathBuf, sync::Arc};

use finkare_relay::{
    model::{
        booking::BookingState,
        clock,
        dispatch::{FinishedAttempt, LeasedDispatch, Next, Order, Outcome, State},
        event::{DedupeKey, NewEvent},
        id::{DispatchId, EndpointName, EventId, LeaseToken, SinkName},
        intent::IntentState,
        reconciliation::{DifferenceKind, ReportId, ReportState},
        secret::Secret,
        stored_secret::SecretState,
        traffic::{self, Line, What},
    },
    store::{
        Claim, DispatchFilter, EventFilter, Purge, Store, ledger::BookingFilter, postgres::PostgresStore,
        sqlite::SqliteStore, statement::Span, traffic::Batch,
    },
};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, SqliteConnection,
    migrate::{Migrate, Migrator},
    sqlite::SqliteConnectOptions,
};
use uuid::Uuid;

use crate::support::postgres;

mod alone;
mod statements;
mod text;

/// Where the files stand; found at run time, so that a new one needs no line here.
fn rows(store: &str, version: i64) -> Option<String> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/store/upgrade/{store}/{version:04}.sql"));
    std::fs::read_to_string(path).ok()
}

fn of_postgres() -> Migrator {
    sqlx::migrate!("migrations/postgres")
}

fn of_sqlite() -> Migrator {
    sqlx::migrate!("migrations/sqlite")
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0189_0000_0000_7000_8000_0000_0000_0000 + number)
}

fn versions(migrations: &Migrator) -> Vec<i64> {
    migrations.iter().map(|migration| migration.version).collect()
}

/// The same numbers and names on both stores.
#[test]
fn both_stores_have_the_same_migrations() {
    let names = |migrations: &Migrator| {
        migrations.iter().map(|one| (one.version, one.description.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(names(&of_postgres()), names(&of_sqlite()));
}

/// Brings a database to a version, with the rows of each version on the way.
macro_rules! grow {
    ($connection:expr, $migrations:expr, $store:literal, $to:expr) => {
        $connection.ensure_migrations_table("_sqlx_migrations").await.unwrap();
        for migration in $migrations.iter().filter(|migration| migration.version <= $to) {
            $connection.apply("_sqlx_migrations", migration).await.unwrap();
            if let Some(rows) = rows($store, migration.version) {
                let what = format!("the rows of {} version {}", $store, migration.version);
                sqlx::raw_sql(AssertSqlSafe(rows)).execute(&mut $connection).await.expect(&what);
            }
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sqlite_database_of_every_version_is_brought_up_to_date() {
    let migrations = of_sqlite();
    for version in versions(&migrations) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        grow!(connection, migrations, "sqlite", version);
        connection.close().await.unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        everything_is_there(Arc::new(store), version, &migrations).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_database_of_every_version_is_brought_up_to_date() {
    if !postgres::available() {
        return;
    }
    let migrations = of_postgres();
    for version in versions(&migrations) {
        let database = postgres::empty_database().await;
        let mut connection = PgConnection::connect(&database.url()).await.unwrap();
        grow!(connection, migrations, "postgres", version);
        connection.close().await.unwrap();
        let store = PostgresStore::connect(&Secret::new(database.url()), 4).await.unwrap();
        everything_is_there(Arc::new(store), version, &migrations).await;
    }
}

fn sink(name: &str) -> SinkName {
    SinkName::new(name).unwrap()
}

async fn states(store: &dyn Store) -> Vec<(i64, State)> {
    let page = store.list_dispatches(&DispatchFilter::default(), 100).await.unwrap();
    page.rows.iter().rev().map(|dispatch| (dispatch.id.0, dispatch.state)).collect()
}

async fn claim(store: &dyn Store) -> Vec<LeasedDispatch> {
    let erp = sink("erp");
    let lease = std::time::Duration::from_mins(1);
    store
        .claim_due(Claim {
            sink: &erp,
            order: Order::Invoice,
            limit: 100,
            lease,
            longest_wait: std::time::Duration::MAX,
            now: None,
        })
        .await
        .unwrap()
        .dispatches
}

async fn deliver(store: &dyn Store, leased: &[LeasedDispatch]) {
    let batch: Vec<_> = leased
        .iter()
        .map(|leased| FinishedAttempt {
            id: leased.id,
            token: leased.token,
            sink: sink("erp"),
            started_at: clock::now(),
            duration: std::time::Duration::from_millis(1),
            outcome: Outcome::Delivered,
            next: Next::Delivered,
        })
        .collect();
    store.finish_attempts(&batch, None).await.unwrap();
}

fn numbers(leased: &[LeasedDispatch]) -> Vec<i64> {
    leased.iter().map(|leased| leased.id.0).collect()
}

async fn everything_is_there(store: Arc<dyn Store>, version: i64, migrations: &Migrator) {
    use State::{Cancelled, Dead, Delivered, Held, Leased, Pending};

    let store = &*store;
    let missing = migrations.iter().filter(|migration| migration.version > version).count();
    assert_eq!(store.migrate().await.unwrap(), missing, "from version {version}");
    store.ready().await.unwrap();

    let events = store.list_events(&EventFilter::default(), 100).await.unwrap().rows;
    assert_eq!(events.iter().map(|event| event.id.0).collect::<Vec<_>>(), (1..=9).rev().map(id).collect::<Vec<_>>());
    let first = store.event(EventId(id(1))).await.unwrap().unwrap();
    assert_eq!((first.event.invoice_id.as_deref(), first.event.deliveries), (Some("inv-a"), 2));
    assert!(String::from_utf8(first.payload.unwrap()).unwrap().contains("\"amountCents\":15000"));
    let attempts = |place: usize| {
        let (_, attempts) = &first.dispatches[place];
        attempts.iter().map(|attempt| (attempt.number, attempt.outcome.clone())).collect::<Vec<_>>()
    };
    assert_eq!(attempts(0), [(1, "retry".to_owned()), (2, "delivered".to_owned())]);
    assert_eq!(attempts(1), [(1, "delivered".to_owned())]);
    assert!(store.event(EventId(id(8))).await.unwrap().unwrap().payload.is_none());
    let expected = [Delivered, Delivered, Pending, Leased, Pending, Held, Dead, Cancelled, Delivered];
    assert_eq!(states(store).await, (1..).zip(expected).collect::<Vec<_>>());
    let sinks = store.sink_statuses().await.unwrap();
    let of = |name: &str| sinks.iter().find(|sink| sink.name == name).unwrap();
    let erp = of("erp");
    assert_eq!((erp.delivered, erp.pending, erp.leased, erp.held, erp.dead), (17, 2, 1, 1, 1));
    assert_eq!(of("books").paused.as_ref().unwrap().reason, "maintenance");

    the_rest(store, version).await;

    // Delivered again by Finkare: still known.
    let again = NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new("main").unwrap(),
        dedupe_key: DedupeKey([8; 32]),
        event_type: "payment.received".into(),
        invoice_id: Some("inv-f".into()),
        occurred_at: None,
        received_at: clock::now(),
        readable: true,
        content_type: None,
        payload: b"{}".to_vec().into(),
        sinks: vec![sink("erp")],
    };
    let recorded = store.record_deliveries(&[again]).await.unwrap();
    assert_eq!((recorded[0].id.0, recorded[0].duplicate), (id(8), true));

    // What is due goes on: in its order, the one whose worker is gone included.
    let due = claim(store).await;
    assert_eq!(numbers(&due), [3, 4]);
    assert_eq!((due[0].attempts, due[0].payload.is_empty()), (1, false));
    deliver(store, &due).await;
    let next = claim(store).await;
    assert_eq!(numbers(&next), [5], "the next of its invoice");
    deliver(store, &next).await;
    assert_eq!(store.retry_dispatches(&[DispatchId(6), DispatchId(7), DispatchId(8)]).await.unwrap(), 2);
    let retried = claim(store).await;
    assert_eq!(numbers(&retried), [6, 7]);
    deliver(store, &retried).await;
    let new = store.replay_event(EventId(id(1)), &[sink("erp")]).await.unwrap().unwrap();
    assert!(new[0].0 > 9, "numbers are never given twice: {new:?}");
    assert_eq!(store.cancel_dispatches(&new).await.unwrap(), 1);

    let purge = Purge { payloads_before: clock::now(), events_before: clock::now(), limit: 100 };
    let mut purged = 0;
    loop {
        let round = store.purge(purge).await.unwrap();
        purged += round.events;
        if round == finkare_relay::store::Purged::default() {
            break;
        }
    }
    assert_eq!((purged, states(store).await), (9, vec![]));
    store.close().await;
}

/// What later versions added.
async fn the_rest(store: &dyn Store, version: i64) {
    let main = EndpointName::new("main").unwrap();
    if version >= 2 {
        let links = store.links().await.unwrap();
        let [link] = &links[..] else { panic!("{links:?}") };
        assert_eq!(link.webhook.as_ref().unwrap().url, "https://relay.example/hooks");
        let secrets: Vec<_> = link.secrets.iter().map(|secret| (secret.id.0, secret.state)).collect();
        assert_eq!(secrets, [(id(23), SecretState::Active), (id(22), SecretState::Retiring)]);
        assert_eq!(link.secrets[0].sealed.as_deref(), Some(&[0x0c, 0x0d][..]));
        assert_eq!(store.secrets(&main).await.unwrap().len(), 3);
        let intent = link.intent.as_ref().unwrap();
        assert_eq!((intent.id.0, intent.state, intent.tries), (id(32), IntentState::Unknown, 3));
        let trail = store.list_audit(&finkare_relay::store::AuditFilter::default(), 10).await.unwrap().rows;
        assert_eq!(
            trail.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(),
            ["rotation.done", "webhook.adopted"]
        );
    }
    if version >= 3 {
        let heard = store.note_activity(&[(main.clone(), None)]).await.unwrap();
        assert_eq!(heard[0].last_delivery_at, clock::from_micros(1_700_000_000_009_000));
        store.trial_write().await.unwrap();
    }
    if version >= 4 {
        let assignment = store.assignment(EventId(id(1))).await.unwrap().unwrap();
        assert_eq!((assignment.payment_id.as_str(), assignment.amount_cents.0), ("pay-1", 15_000));
        let bookings = store.bookings(&BookingFilter::default(), 10).await.unwrap().rows;
        let known: Vec<_> = bookings
            .iter()
            .map(|(_, booking)| (booking.payment_id.as_str(), booking.state, booking.amount_cents.0))
            .collect();
        assert_eq!(
            known,
            [
                ("pay-5", BookingState::Reserved, 75_000),
                ("pay-4", BookingState::Sending, 60_000),
                ("pay-3", BookingState::Written, 45_000),
                ("pay-2", BookingState::Seen, 30_000),
                ("pay-1", BookingState::Booked, 15_000),
            ]
        );
        assert_eq!(bookings[4].1.target_id.as_deref(), Some("50012"));
        let learned = store.learned(&[EventId(id(1))]).await.unwrap();
        let known = (learned[0].endpoint.as_str(), learned[0].debtor.as_deref(), learned[0].paid_at.is_some());
        assert_eq!(known, ("main", (version >= 14).then_some("Durand SARL"), version >= 14));
        // Where the time of the payment is not known, that of the booking decides.
        let span = |first: &str, last: &str| Span {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            endpoints: None,
            books: None,
            sinks: None,
            booked_only: false,
        };
        let booked = store.month_rows(&span("2023-11-14", "2023-11-15"), 100).await.unwrap().unwrap();
        let paid = store.month_rows(&span("2026-10-31", "2026-10-31"), 100).await.unwrap().unwrap();
        let expected = if version >= 14 { (1, 1) } else { (2, 0) };
        assert_eq!((booked.finished.len(), paid.finished.len()), expected);
        assert_eq!((booked.begun.len(), paid.begun.len()), (3, 3));
        assert!(store.month_rows(&span("2023-11-14", "2023-11-15"), 2).await.unwrap().is_none(), "there are more");
    }
    if version >= 15 {
        let done = store.reconciliation(ReportId(id(0x51))).await.unwrap().unwrap();
        assert_eq!((done.state, done.differences(), done.asked.actor.as_str()), (ReportState::Done, 1, "ops"));
        assert_eq!(store.last_reconciliations().await.unwrap(), [done]);
        let found = store.differences(ReportId(id(0x51)), -1, 10).await.unwrap();
        assert_eq!((found[0].1.kind, found[0].1.amount_cents), (DifferenceKind::NeverAnnounced, Some(900)));
        let cut_off = store
            .take_reconciliation(&["main".into()], LeaseToken::generate(), std::time::Duration::from_secs(9))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(cut_off.report.asked.id, ReportId(id(0x52)));
        assert_eq!(cut_off.progress, r#"{"stage":"events","after":null}"#);
    }
    if version >= 16 {
        let hour = traffic::hour_of(clock::nearest(1_700_000_000_000_000));
        let next = hour + std::time::Duration::from_hours(1);
        let of = |hour, what, name: &str, count| Line { hour, what, name: name.into(), count };
        let known =
            [of(hour, What::Accepted, "main", 41), of(hour, What::Ack(2), "", 40), of(next, What::Backlog, "erp", 3)];
        assert_eq!(store.traffic(hour, next).await.unwrap(), known);
        let batch = |number| Batch { writer: id(0x61), number, lines: vec![of(hour, What::Accepted, "main", 1)] };
        assert!(!store.add_traffic(&batch(7)).await.unwrap() && store.add_traffic(&batch(8)).await.unwrap());
        assert_eq!(store.traffic(hour, hour).await.unwrap()[0].count, 42);
        assert_eq!(store.purge_traffic().await.unwrap(), 3);
    }
    if version >= 17 {
        let link = store.link_by_hash(&[0x71; 32]).await.unwrap().unwrap();
        assert_eq!((link.endpoint.as_str(), link.label.as_deref(), link.pages.len()), ("main", Some("Cabinet"), 2));
        let visitor = store.session(&[0x72; 32]).await.unwrap().unwrap();
        assert_eq!((visitor.link.map(|link| link.id.0), visitor.is_due), (Some(id(0x71)), true));
        assert_eq!(store.session(&[0x73; 32]).await.unwrap().unwrap().token_name, "ops");
        assert!(store.session(&[0x74; 32]).await.unwrap().is_none(), "it has ended");
        assert_eq!(store.purge_sessions().await.unwrap(), 1);
    }
}
