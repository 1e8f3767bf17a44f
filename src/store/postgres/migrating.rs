//! Bringing the schema up to date without blocking the processes that use it.
//!
//! To change a table, a migration needs an exclusive lock on it for a moment. While another session reads the table
//! in an open transaction (a dump, a report, a forgotten session), the migration waits, and every accept of every
//! replica queues behind it. So each migration waits for its locks for at most [`LOCK_TIMEOUT`], lets the others
//! continue for a while, and tries again, for [`PATIENCE`] in all. Each try is logged, with the sessions that hold
//! the lock. Dropping the future at any point ends the migration: it is one transaction together with its row in
//! `_sqlx_migrations`.
//!
//! One process migrates at a time, guarded by an advisory lock that ends with its connection. The others check now
//! and then whether it is done, with the same patience. A database that has all our migrations is only read: a role
//! without the right to change the schema can serve, and a schema that a newer program has extended stays as it is.
//!
//! The rules for migrations are in `migrations/README.md`.

use std::{fmt::Write as _, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Row,
    migrate::{Migrate, MigrateError, Migration, Migrator},
    postgres::PgConnectOptions,
};
use tokio::time::Instant;

use super::{
    ACQUIRE_TIMEOUT, APPLICATION_NAME, code,
    pool::{self, Place},
};
use crate::{
    model::clock,
    store::{
        StoreError,
        schema::{self, Applied, Notice, Standing},
    },
};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The table of applied migrations; the name is the library's.
const TABLE: &str = "_sqlx_migrations";

/// Keeps two replicas that start together from applying the same migrations. The number is arbitrary.
const MIGRATION_LOCK: i64 = 0x0066_696e_6b61_7265;

/// How long a migration waits for a lock, and with it every accept that queues behind it. It is less than the time
/// within which a delivery has to be answered, and less than our own calls wait for an answer.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a statement of a migration may take once it has its locks. Nothing else can use the table during this
/// time.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// After this wait, look which sessions hold the lock.
const LOOK_AFTER: Duration = Duration::from_millis(300);

/// The pause after the first try that found a table locked; each further pause is longer by the same amount.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long the migration is tried in all, and how long other processes wait for it.
const PATIENCE: Duration = Duration::from_mins(10);

/// How often the processes that wait for another one check again, and how often they log it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const SAY_AGAIN: Duration = Duration::from_secs(15);

/// The migrations that the database has, with their checksums, in order.
pub(super) async fn applied(connection: &mut PgConnection) -> Result<Applied, sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !exists {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The migrations that this program needs, and who is told of a newer schema.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    migrations: &'a Migrator,
    notice: &'a Notice,
}

impl<'a> Wanted<'a> {
    /// The migrations that are missing.
    fn missing(self, applied: &Applied) -> Result<Vec<&'a Migration>, StoreError> {
        match schema::compare(self.migrations, applied) {
            Standing::Ours => Ok(Vec::new()),
            Standing::Newer(theirs) => {
                self.notice.newer(theirs, schema::known(self.migrations));
                Ok(Vec::new())
            }
            Standing::Behind(missing) => Ok(missing),
            Standing::Foreign(version) => Err(foreign(version, applied)),
        }
    }
}

/// The error for a schema that is not ours.
pub(super) fn foreign(version: i64, applied: &Applied) -> StoreError {
    StoreError::Open(format!(
        "the schema is at version {} and has another history than this program knows: migration {version} differs. \
         Is it the database of another program, or of a development version? Give this one another database",
        schema::newest(applied)
    ))
}

/// Applies the missing migrations; returns how many were applied now.
pub(super) async fn migrate(
    options: &PgConnectOptions,
    migrations: &Migrator,
    notice: &Notice,
) -> Result<usize, StoreError> {
    let wanted = Wanted { migrations, notice };
    let place = Place::of(options);
    let failed = |error| StoreError::from_sqlx("bring the schema up to date", error);
    let no_connection = |source| StoreError::NoConnection { action: "bring the schema up to date".into(), source };
    let deadline = Instant::now() + PATIENCE;
    // Not from the pool, whose statements have a short time limit.
    let connecting = pool::connect(options, &place, Instant::now() + ACQUIRE_TIMEOUT).await;
    let mut connection = connecting.map_err(no_connection)?;
    if wanted.missing(&applied(&mut connection).await.map_err(failed)?)?.is_empty() {
        let _ = connection.close().await;
        return Ok(0);
    }
    if !take_turn(&mut connection, wanted, deadline).await? {
        let _ = connection.close().await;
        return Ok(0);
    }
    // Read again: the process that had the turn before may have applied everything.
    let before = applied(&mut connection).await.map_err(failed)?;
    let missing = wanted.missing(&before)?;
    if before.is_empty() {
        let made = connection.ensure_migrations_table(TABLE).await;
        made.map_err(|error| refused(&place, error))?;
    }
    for migration in &missing {
        // In an empty database there is nobody and nothing to wait for.
        let is_alone = !before.is_empty() && schema::is_alone(migration);
        if is_alone {
            wait_until_alone(&mut connection, migration, deadline).await?;
        }
        apply(&mut connection, options, &place, migration, is_alone, deadline).await?;
    }
    // The advisory lock ends with the connection.
    let _ = connection.close().await;
    Ok(missing.len())
}

/// Waits until no other process migrates; false if there is nothing left to do then.
async fn take_turn(connection: &mut PgConnection, wanted: Wanted<'_>, deadline: Instant) -> Result<bool, StoreError> {
    let failed = |error| StoreError::from_sqlx("wait for another process that migrates the schema", error);
    let mut said: Option<Instant> = None;
    loop {
        let taken = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(MIGRATION_LOCK);
        if taken.fetch_one(&mut *connection).await.map_err(failed)? {
            return Ok(true);
        }
        if said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            said = Some(Instant::now());
            let holders = who(sqlx::query(
                "SELECT a.pid, a.application_name, a.state, extract(epoch FROM now() - a.xact_start)::bigint AS seconds
                 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND (l.classid::bigint << 32) | l.objid::bigint = $1",
            )
            .bind(MIGRATION_LOCK)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?);
            tracing::info!(holders, "another process is migrating the schema: waiting for it to finish");
        }
        if Instant::now() >= deadline {
            return Err(StoreError::Open(format!(
                "another process has been migrating the schema for more than {} minutes (see pg_stat_activity): look at \
                 what it waits for, then try again",
                PATIENCE.as_secs() / 60
            )));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        if wanted.missing(&applied(connection).await.map_err(failed)?)?.is_empty() {
            return Ok(false);
        }
    }
}

/// Waits until no process of another version is connected to the database, see [`APPLICATION_NAME`].
async fn wait_until_alone(
    connection: &mut PgConnection,
    migration: &Migration,
    deadline: Instant,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlx("look for processes of another version", error);
    let mut said: Option<Instant> = None;
    loop {
        let others = sqlx::query(
            "SELECT pid, application_name, state, extract(epoch FROM now() - xact_start)::bigint AS seconds
             FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'finkare-relay%' AND application_name <> $1",
        )
        .bind(APPLICATION_NAME)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
        if others.is_empty() {
            return Ok(());
        }
        let sessions = who(others);
        if Instant::now() >= deadline {
            return Err(StoreError::Open(format!(
                "migration {} ({}) needs every process of the version before to be stopped, since that version cannot \
                 work with the new schema, and some are still connected: {sessions}. Stop them, then try again",
                migration.version, migration.description,
            )));
        }
        if said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            said = Some(Instant::now());
            tracing::warn!(
                migration = migration.version,
                sessions,
                "the version before cannot work with the new schema: stop every process of it, the migration waits"
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Applies a migration step by step, in one transaction: whatever ends it leaves the schema as it was.
async fn apply_steps(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    let began = Instant::now();
    let about: i64 =
        sqlx::query_scalar("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'dispatches'::regclass")
            .fetch_one(&mut *connection)
            .await?;
    tracing::warn!(
        migration = migration.version,
        dispatches = about,
        "the schema is changed by a migration that moves stored rows: no delivery is accepted until it has ended; an \
         interruption undoes it"
    );
    let steps = schema::steps(migration.sql.as_str());
    let (last, first) = steps.split_last().ok_or_else(|| MigrateError::Execute(sqlx::Error::RowNotFound))?;
    let mut transaction = connection.begin().await?;
    for step in first {
        let begun = Instant::now();
        sqlx::raw_sql(AssertSqlSafe(step.sql))
            .execute(&mut *transaction)
            .await
            .map_err(|error| MigrateError::ExecuteMigration(error, migration.version))?;
        tracing::info!(
            migration = migration.version,
            took_ms = clock::millis(begun.elapsed()),
            "migrating: {}",
            step.words
        );
    }
    transaction.apply(TABLE, &schema::with_text(migration, last.sql)).await?;
    transaction.commit().await?;
    tracing::info!(migration = migration.version, took_ms = clock::millis(began.elapsed()), "the migration has ended");
    Ok(())
}

/// Applies one migration; tries again while another session holds a table that it needs.
async fn apply(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
    place: &Place,
    migration: &Migration,
    is_alone: bool,
    deadline: Instant,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlx("bring the schema up to date", error);
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *connection).await.map_err(failed)?;
    // A migration outside of a transaction (an index that is built concurrently) blocks nobody, so it has no time
    // limit.
    let lock = if migration.no_tx { 0 } else { LOCK_TIMEOUT.as_millis() };
    // The same for one that nobody waits behind.
    let statement = if migration.no_tx || is_alone { 0 } else { STATEMENT_TIMEOUT.as_millis() };
    sqlx::query("SELECT set_config('lock_timeout', $1, false), set_config('statement_timeout', $2, false)")
        .bind(lock.to_string())
        .bind(statement.to_string())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if migration.no_tx {
        drop_unfinished(connection, migration).await.map_err(failed)?;
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let begun = Instant::now();
        let mut holders = String::new();
        let result = {
            let watching = async {
                tokio::time::sleep(LOOK_AFTER).await;
                holders = in_the_way(options, place, pid).await;
                std::future::pending::<()>().await;
            };
            let applying = async {
                if is_alone {
                    return apply_steps(connection, migration).await;
                }
                connection.apply(TABLE, migration).await.map(drop)
            };
            tokio::select! {
                result = applying => result,
                () = watching => Ok(()),
            }
        };
        let error = match result {
            Ok(()) => return Ok(()),
            Err(error) if is_locked(&error) => error,
            Err(error) => return Err(refused(place, error)),
        };
        let pause = (PAUSE * tries).min(LONGEST_PAUSE);
        let description = &*migration.description;
        if Instant::now() + pause >= deadline {
            return Err(StoreError::Open(format!(
                "migration {} ({description}) could not have its tables for itself within {} minutes{}: end what holds \
                 them (`SELECT pg_terminate_backend(PID)`) or wait for its end, then try again",
                migration.version,
                PATIENCE.as_secs() / 60,
                if holders.is_empty() { String::new() } else { format!(" (held by {holders})") },
            )));
        }
        tracing::warn!(
            migration = migration.version,
            description,
            tries,
            waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            holders,
            retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            error = %error,
            "a migration cannot lock its tables: deliveries are still accepted, and the migration is tried again"
        );
        tokio::time::sleep(pause).await;
    }
}

/// Drops the indexes that an earlier try of this migration has left half-built: nothing would read them, and the migration
/// would take them for finished. Only one process migrates at a time, so nobody is building them now.
async fn drop_unfinished(connection: &mut PgConnection, migration: &Migration) -> Result<(), sqlx::Error> {
    let invalid: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace",
    )
    .fetch_all(&mut *connection)
    .await?;
    let words: Vec<&str> = migration.sql.as_str().split_whitespace().collect();
    for name in invalid.iter().filter(|name| words.contains(&name.as_str())) {
        tracing::info!(migration = migration.version, index = name, "an index that was left half-built is built again");
        sqlx::raw_sql(AssertSqlSafe(format!("DROP INDEX CONCURRENTLY {name}"))).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The sessions that hold what our session waits for, read on another connection; empty if that fails. The result
/// never contains the text of a query, which may hold any data.
async fn in_the_way(options: &PgConnectOptions, place: &Place, pid: i32) -> String {
    let Ok(mut connection) = pool::connect(options, place, Instant::now() + LOCK_TIMEOUT).await else {
        return String::new();
    };
    let rows = sqlx::query(
        "SELECT a.pid, a.application_name, a.state, extract(epoch FROM now() - a.xact_start)::bigint AS seconds
         FROM unnest(pg_blocking_pids($1)) AS blocking (pid) JOIN pg_stat_activity a USING (pid)",
    )
    .bind(pid)
    .fetch_all(&mut connection)
    .await;
    let _ = connection.close().await;
    who(rows.unwrap_or_default())
}

/// Describes sessions in the words by which a person finds them.
fn who(rows: Vec<sqlx::postgres::PgRow>) -> String {
    let mut text = String::new();
    for row in rows {
        let pid: i32 = row.try_get("pid").unwrap_or_default();
        let name: Option<String> = row.try_get("application_name").unwrap_or_default();
        let state: Option<String> = row.try_get("state").unwrap_or_default();
        let seconds: Option<i64> = row.try_get("seconds").unwrap_or_default();
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "without a name".to_owned());
        let state = state.unwrap_or_else(|| "state unknown".to_owned());
        let _ = write!(text, "{}pid {pid} ({name}, {state}", if text.is_empty() { "" } else { "; " });
        if let Some(seconds) = seconds {
            let _ = write!(text, ", in its transaction for {seconds} s");
        }
        text.push(')');
    }
    text
}

fn driver(error: &MigrateError) -> Option<&sqlx::Error> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Some(error),
        _ => None,
    }
}

/// True if another session held a lock: we did not get ours in time, or were the victim of a deadlock.
fn is_locked(error: &MigrateError) -> bool {
    driver(error).and_then(code).is_some_and(|code| matches!(code.as_str(), "55P03" | "40P01"))
}

fn refused(place: &Place, error: MigrateError) -> StoreError {
    match driver(&error).and_then(code).as_deref() {
        Some("42501") => StoreError::Open(format!(
            "the schema of database `{}` has to be brought up to date, and user `{}` may not change it: run \
             `finkare-relay migrate` as its owner, then start again",
            place.database(),
            place.user()
        )),
        _ => StoreError::Migration(Box::new(error)),
    }
}
