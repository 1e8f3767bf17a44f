//! A new version is installed while the old one runs: the schema changes under the old version, while others use the
//! database.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use finkare_relay::{
    model::secret::Secret,
    store::{BaseStore, StoreError, postgres::PostgresStore, sqlite::SqliteStore},
};
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::SqliteConnectOptions,
};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    http,
    postgres::available,
    relay::{Backend, Home, Relay, on_both_stores},
    target::Target,
};

on_both_stores!(the_old_version_works_on_the_new_schema);

/// This program's migrations, and one that a newer program adds, as such a change usually is.
fn newer(ours: &Migrator) -> Migrator {
    let sql = sqlx::SqlStr::from_static("ALTER TABLE queue ADD COLUMN from_the_future integer NOT NULL DEFAULT 0");
    let next = Migration::new(9_000_000, Cow::Borrowed("from the future"), MigrationType::Simple, sql, false);
    Migrator::with_migrations(ours.iter().cloned().chain([next]).collect())
}

async fn migrate_to_newer(home: &Home) -> Result<usize, StoreError> {
    if home.store_url().starts_with("postgres") {
        let store = PostgresStore::connect(&Secret::new(home.store_url()), 2).await?;
        let applied = store.migrate_with(&newer(&sqlx::migrate!("migrations/postgres"))).await;
        store.close().await;
        applied
    } else {
        let store = SqliteStore::open(&home.path("relay.db")).await?;
        let applied = store.migrate_with(&newer(&sqlx::migrate!("migrations/sqlite"))).await;
        store.close().await;
        applied
    }
}

async fn ready(relay: &Relay) -> (u16, Value) {
    let response = http().get(format!("http://{}/readyz", relay.public)).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn sink(target: &Target) -> String {
    format!("[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\ntimeout_secs = 5\n", target.url())
}

async fn works(relay: &Relay, target: &Target, cents: i64) {
    let answer = Finkare::of(relay).deliver(&payment("i", cents)).await;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", relay.log());
    eventually("it is relayed", async || target.delivered().contains_key(&answer.id())).await;
    relay.drained().await;
}

async fn the_old_version_works_on_the_new_schema(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::start().await;
    let relay = home.serve(&sink(&target)).await;
    works(&relay, &target, 1).await;
    assert_eq!(migrate_to_newer(&home).await.unwrap(), 1);

    // The running version: it keeps working, and logs the change.
    let (status, report) = ready(&relay).await;
    assert_eq!((status, &report["ready"]), (200, &Value::Bool(true)), "{report}");
    works(&relay, &target, 2).await;
    for _ in 0..2 {
        assert_eq!(ready(&relay).await.0, 200);
    }
    let (exit, log) = relay.terminate().await;
    assert!(exit.success(), "{log}");
    let told: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("a newer version of the program has extended the schema"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(told.len(), 1, "told once: {log}");
    assert_eq!((&told[0]["level"], &told[0]["schema"]), (&"WARN".into(), &9_000_000.into()), "{}", told[0]);

    // An old version that is restarted, for example with its machine, and its `migrate`.
    let relay = home.start().await;
    assert_eq!(ready(&relay).await.0, 200);
    works(&relay, &target, 3).await;
    if backend == Backend::Postgres {
        let mut migrate = home.command();
        let output = tokio::task::spawn_blocking(move || migrate.args(["migrate", "--json"]).output()).await.unwrap();
        let output = output.unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &said["applied"]), (Some(0), &0.into()), "{output:?}");
    }
}

/// A dump or a report: another session reads the tables of a migration for a long time.
#[tokio::test(flavor = "multi_thread")]
async fn accepts_go_on_while_a_migration_waits_for_a_reader() {
    if !available() {
        return;
    }
    let home = Home::new(Backend::Postgres).await;
    let target = Target::start().await;
    let relay = home.serve(&sink(&target)).await;
    works(&relay, &target, 1).await;
    let mut reader =
        PgConnection::connect(&format!("{}?application_name=nightly-dump", home.store_url())).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    reading.execute("SELECT count(*) FROM dispatches").await.unwrap();

    let migrations = Arc::new(newer(&sqlx::migrate!("migrations/postgres")));
    let store = PostgresStore::connect(&Secret::new(home.store_url()), 2).await.unwrap();
    let (mut migrating, other) = {
        let store = Arc::new(store);
        let (one, two) = (store.clone(), store);
        let of = migrations.clone();
        (
            tokio::spawn(async move { one.migrate_with(&migrations).await }),
            tokio::spawn(async move { two.migrate_with(&of).await }),
        )
    };
    // The migration waits for the table, so every accept waits behind it for a moment.
    let mut admin = PgConnection::connect(home.store_url()).await.unwrap();
    let mut waits = 0;
    let finkare = Finkare::of(&relay);
    let begun = Instant::now();
    let mut cents = 10;
    while waits < 2 {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
             WHERE NOT l.granted AND c.relname = 'queue' AND l.mode = 'AccessExclusiveLock')",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        waits += u32::from(waiting);
        cents += 1;
        let answer = finkare.deliver(&payment("i", cents)).await;
        assert_eq!(answer.status, 200, "an accept behind a migration that waits: {answer:?}");
        assert!(begun.elapsed() < Duration::from_mins(1), "the migration never waits at the table");
        assert!(!migrating.is_finished() && !other.is_finished(), "nothing is applied while it is read");
    }
    assert_eq!(ready(&relay).await.0, 200);
    reading.rollback().await.unwrap();
    let (one, two) = ((&mut migrating).await.unwrap().unwrap(), other.await.unwrap().unwrap());
    assert_eq!(one + two, 1, "applied once, and the second one saw it");
    works(&relay, &target, 2).await;
}

/// Each try is logged, with the session that blocks it, and not only the end of the waiting.
#[tokio::test(flavor = "multi_thread")]
async fn who_holds_up_a_migration_is_told() {
    if !available() {
        return;
    }
    let home = Home::untouched(Backend::Postgres).await;
    // The first migration creates this table: a concurrent process that creates it must be waited for.
    let mut other = PgConnection::connect(&format!("{}?application_name=by-hand", home.store_url())).await.unwrap();
    let mut making = other.begin().await.unwrap();
    making.execute("CREATE TABLE events (secret text)").await.unwrap();
    home.configure("", "secret = \"whsec_x\"", "");
    let mut command = home.command();
    command.arg("serve");
    let mut relay = Relay::spawn(command);
    let line = relay.wait_for_line("a migration cannot lock its tables").await;
    making.rollback().await.unwrap();
    relay.listens().await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["migration"], &line["tries"]), (&1.into(), &1.into()), "{line}");
    let holders = line["holders"].as_str().unwrap();
    assert!(holders.contains("by-hand, idle in transaction") && !holders.contains("secret text"), "{holders}");
}

/// A lock that a shell holds on the file is waited for; after a while the wait is reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_whoever_writes_to_the_file() {
    let home = Home::untouched(Backend::Sqlite).await;
    let options =
        SqliteConnectOptions::new().filename(home.path("relay.db")).journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    home.configure("", "secret = \"whsec_x\"", "");
    let mut command = home.command();
    command.arg("serve");
    let mut relay = Relay::spawn(command);
    relay.wait_for_line("another process holds the write lock").await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    relay.listens().await;
    assert_eq!(ready(&relay).await.0, 200);
}

/// A role that may only read and write is enough for the service: another role applies the migrations.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_change_the_schema_serves() {
    if !available() {
        return;
    }
    let home = Home::untouched(Backend::Postgres).await;
    let mut admin = PgConnection::connect(home.store_url()).await.unwrap();
    let role = format!("app_{}", std::process::id());
    let run = async |connection: &mut PgConnection, sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
    };
    run(
        &mut admin,
        format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    )
    .await;
    let url = url::Url::parse(home.store_url()).unwrap();
    let mut as_app = url.clone();
    as_app.set_username(&role).unwrap();
    let target = Target::start().await;

    // The schema does not exist yet: the error says who must do what.
    let refused = PostgresStore::connect(&Secret::new(as_app.as_str()), 2).await.unwrap();
    let error = refused.migrate().await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("user `{role}` may not change it")) && error.contains("migrate` as its owner"),
        "{error}"
    );
    refused.close().await;

    let owner = PostgresStore::connect(&Secret::new(url.as_str()), 2).await.unwrap();
    assert!(owner.migrate().await.unwrap() > 0);
    owner.close().await;
    let grants = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    );
    run(&mut admin, grants).await;
    let home = home.at(as_app.as_str());
    let relay = home.serve(&sink(&target)).await;
    assert_eq!(ready(&relay).await.0, 200);
    works(&relay, &target, 1).await;
    relay.post("/sinks/erp/pause").await;
    relay.post("/sinks/erp/resume").await;
    drop(relay);
    run(&mut admin, format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
