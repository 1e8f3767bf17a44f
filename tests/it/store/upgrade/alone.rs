//! Migrations that need every process of the version before to be stopped: large tables in pieces, who is in the way,
//! and what an interruption leaves, also of an index that is built while others work.

use std::time::Duration;

use finkare_relay::{
    model::secret::Secret,
    store::{BaseStore, SinkStore, postgres::PostgresStore, sqlite::SqliteStore},
};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, SqliteConnection,
    migrate::{Migrate, Migrator},
    sqlite::SqliteConnectOptions,
};

use super::{of_postgres, of_sqlite, postgres};

/// The version before.
const BEFORE: i64 = 9;

/// More than two pieces.
const ROWS: i64 = 250_000;

async fn applied(connection: &mut impl Migrate, migrations: &Migrator) {
    connection.ensure_migrations_table("_sqlx_migrations").await.unwrap();
    for migration in migrations.iter().filter(|migration| migration.version <= BEFORE) {
        connection.apply("_sqlx_migrations", migration).await.unwrap();
    }
}

/// A database of the version before: of each 250 dispatches one is pending, one dead and one cancelled.
async fn grown_sqlite(path: &std::path::Path) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    applied(&mut connection, &of_sqlite()).await;
    let rows = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS})
         INSERT INTO events (id, endpoint, dedupe_key, type, received_at, deliveries, last_delivery_at, readable, payload)
         SELECT unhex(printf('%032x', n)), 'main', unhex(printf('%064x', n)), 'ping', n, 1, n, 1, x'00' FROM numbers;
         INSERT INTO dispatches (event_id, sink, event_type, state, trigger, attempts, created_at, due_at, finished_at)
         SELECT id, 'erp', type,
                CASE received_at % 250 WHEN 1 THEN 'pending' WHEN 2 THEN 'dead' WHEN 3 THEN 'cancelled' ELSE 'delivered' END,
                'event', 1, received_at, iif(received_at % 250 = 1, 5, NULL), iif(received_at % 250 = 1, NULL, 7)
         FROM events ORDER BY received_at;"
    );
    sqlx::raw_sql(AssertSqlSafe(rows)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn counted(connection: &mut SqliteConnection, table: &str) -> (i64, i64, i64) {
    let sql = format!("SELECT count(*), min(id), max(id) FROM {table}");
    sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_copied_in_pieces_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    grown_sqlite(&path).await;
    let store = SqliteStore::open(&path).await.unwrap();

    // Cut off half-way: the schema is as it was.
    let cut_off = tokio::time::timeout(Duration::from_millis(20), store.migrate()).await;
    assert!(cut_off.is_err(), "a quarter of a million rows take longer");
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap();
    assert_eq!(counted(&mut connection, "dispatches").await, (ROWS, 1, ROWS));
    let is_table: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'dispatches' AND type = 'table')")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert!(is_table);

    let missing = of_sqlite().iter().filter(|migration| migration.version > BEFORE).count();
    assert_eq!(store.migrate().await.unwrap(), missing);
    assert_eq!(counted(&mut connection, "queue").await, (2 * ROWS / 250, 1, ROWS - 248));
    assert_eq!(counted(&mut connection, "history").await, (ROWS - 2 * ROWS / 250, 3, ROWS));
    let erp = store.sink_statuses().await.unwrap().remove(0);
    assert_eq!((erp.pending, erp.leased, erp.held, erp.dead), (1000, 0, 0, 1000));
    assert_eq!(store.migrate().await.unwrap(), 0);
    connection.close().await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_migrates_the_file_of_a_service_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    grown_sqlite(&path).await;
    // What a process that serves holds, whatever its version.
    let held = std::fs::File::create(folder.path().join("relay.db.lock")).unwrap();
    held.lock().unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let error = store.migrate().await.unwrap_err().to_string();
    assert!(error.contains("another process uses the database") && error.contains("stop it"), "{error}");
    drop(held);
    assert!(store.migrate().await.unwrap() > 0);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_it_waits_for_the_version_before_to_be_stopped() {
    if !postgres::available() {
        return;
    }
    let database = postgres::empty_database().await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    applied(&mut connection, &of_postgres()).await;
    sqlx::raw_sql(
        "INSERT INTO events (id, endpoint, dedupe_key, type, received_at, deliveries, readable, payload)
         SELECT gen_random_uuid(), 'main', decode(lpad(to_hex(n), 64, '0'), 'hex'), 'ping', n, 1, true, ''
         FROM generate_series(1, 20000) AS n;
         INSERT INTO dispatches (event_id, sink, event_type, state, trigger, attempts, created_at, due_at, finished_at)
         SELECT id, 'erp', type, CASE WHEN received_at % 2 = 0 THEN 'delivered' ELSE 'pending' END, 'event', 1,
                received_at, CASE WHEN received_at % 2 = 1 THEN 5 END, CASE WHEN received_at % 2 = 0 THEN 7 END
         FROM events ORDER BY received_at;",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let before = PgConnection::connect(&format!("{}?application_name=finkare-relay", database.url())).await.unwrap();

    let store = PostgresStore::connect(&Secret::new(database.url()), 4).await.unwrap();
    let migrating = {
        let store = std::sync::Arc::new(store);
        let of = store.clone();
        (store, tokio::spawn(async move { of.migrate().await }))
    };
    let (store, task) = migrating;
    // It has its turn, and looks at who is connected.
    let looking = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'finkare-relay/2'
                                   AND query LIKE '%application_name LIKE%')";
    crate::support::eventually("the migration waits", || {
        let url = database.url();
        async move {
            let mut admin = PgConnection::connect(&url).await.unwrap();
            sqlx::query_scalar(looking).fetch_one(&mut admin).await.unwrap()
        }
    })
    .await;
    assert!(!task.is_finished(), "the version before is connected");
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM dispatches").fetch_one(&mut connection).await.unwrap();
    assert_eq!(tables, 20_000);
    before.close().await.unwrap();
    assert!(task.await.unwrap().unwrap() > 0);
    let erp = store.sink_statuses().await.unwrap().remove(0);
    assert_eq!((erp.pending, erp.leased, erp.held, erp.dead), (10_000, 0, 0, 0));
    let (queue, history): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM queue), (SELECT count(*) FROM history)")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!((queue, history), (10_000, 10_000));
    store.close().await;
}

/// Cut off half-way, and cut off before it was noted.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_cut_off_is_built_again() {
    if !postgres::available() {
        return;
    }
    let index = "CREATE INDEX queue_stopped_event ON queue (event_id) WHERE (state IN ('held', 'dead')) IS TRUE";
    let broken =
        format!("{index}; UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'queue_stopped_event'::regclass");
    for before in [broken.as_str(), index] {
        let database = postgres::empty_database().await;
        let mut connection = PgConnection::connect(&database.url()).await.unwrap();
        connection.ensure_migrations_table("_sqlx_migrations").await.unwrap();
        for migration in of_postgres().iter().filter(|migration| migration.version < 18) {
            connection.apply("_sqlx_migrations", migration).await.unwrap();
        }
        sqlx::raw_sql(AssertSqlSafe(before.to_owned())).execute(&mut connection).await.unwrap();
        let store = PostgresStore::connect(&Secret::new(database.url()), 4).await.unwrap();
        assert!(store.migrate().await.unwrap() > 0);
        let is_valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'queue_stopped_event'::regclass";
        assert!(sqlx::query_scalar::<_, bool>(is_valid).fetch_one(&mut connection).await.unwrap(), "{before}");
        store.close().await;
    }
}
