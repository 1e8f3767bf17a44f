//! Bringing the schema up to date, all of it in one transaction.
//!
//! A file that has all our migrations is only read. Otherwise the transaction needs the file's write lock, which
//! another process may hold (a shell, a backup, an older service that is just ending). The store tries to get it for
//! [`PATIENCE`] and logs each try; then it fails with an error that says what to do.

use std::time::{Duration, Instant};

use sqlx::{
    AssertSqlSafe,
    migrate::{Migrate, MigrateError, Migration, Migrator},
    sqlite::SqliteConnection,
};

use super::{SqliteStore, Writing, file, space};
use crate::{
    model::clock,
    store::{
        StoreError,
        schema::{self, Applied, Standing},
    },
};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// The table of applied migrations; the name is the library's.
const TABLE: &str = "_sqlx_migrations";

/// How long the store tries to get the write lock. Each try waits as long as any write does.
const PATIENCE: Duration = Duration::from_secs(30);

/// The migrations that a database has seen, with their checksums, in order; none if it has never been migrated.
pub(super) async fn applied(connection: &mut SqliteConnection) -> Result<Applied, sqlx::Error> {
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')")
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await
}

/// The migrations that are missing.
fn missing<'a>(
    store: &SqliteStore,
    migrations: &'a Migrator,
    applied: &Applied,
) -> Result<Vec<&'a Migration>, StoreError> {
    match schema::compare(migrations, applied) {
        Standing::Ours => Ok(Vec::new()),
        Standing::Newer(theirs) => {
            store.notice.newer(theirs, schema::known(migrations));
            Ok(Vec::new())
        }
        Standing::Behind(missing) => Ok(missing),
        Standing::Foreign(version) => Err(foreign(store, version, applied)),
    }
}

fn foreign(store: &SqliteStore, version: i64, applied: &Applied) -> StoreError {
    StoreError::Open(format!(
        "the database {} has schema version {} and another history than this program knows: migration {version} \
         differs. Is it the file of another program, or of a development version? Give this one another file",
        store.path.display(),
        schema::newest(applied)
    ))
}

/// Applies the missing migrations; returns how many were applied now.
pub(super) async fn migrate(store: &SqliteStore, migrations: &Migrator) -> Result<usize, StoreError> {
    let failed = |error: MigrateError| StoreError::Migration(Box::new(error));
    if let Ok(applied) = look(store).await
        && missing(store, migrations, &applied)?.is_empty()
    {
        return Ok(0);
    }
    // One transaction for all of them, which also keeps a second process from migrating at the same time.
    let mut transaction = alone(store).await?;
    let before = applied(&mut transaction).await.map_err(|error| failed(error.into()))?;
    let missing = missing(store, migrations, &before)?;
    if before.is_empty() {
        transaction.ensure_migrations_table(TABLE).await.map_err(failed)?;
    }
    for migration in &missing {
        if !before.is_empty() && schema::is_alone(migration) {
            apply_steps(store, &mut transaction, migration).await?;
        } else {
            transaction.apply(TABLE, migration).await.map_err(failed)?;
        }
    }
    transaction.commit().await.map_err(|error| failed(error.into()))?;
    Ok(missing.len())
}

/// Applies a migration after which the version before cannot work, step by step within the transaction.
async fn apply_steps(
    store: &SqliteStore,
    transaction: &mut Writing,
    migration: &Migration,
) -> Result<(), StoreError> {
    let failed = |error: MigrateError| StoreError::Migration(Box::new(error));
    let executing = |error| failed(MigrateError::ExecuteMigration(error, migration.version));
    // A service that runs would go on with a schema that it does not know.
    let _alone = file::keep_others_away(&store.path)?;
    let bytes = std::fs::metadata(&store.path).map_or(0, |file| file.len());
    space::check(&store.path, bytes).await?;
    let began = Instant::now();
    let about: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM dispatches")
        .fetch_one(&mut **transaction)
        .await
        .map_err(executing)?;
    if about > 0 {
        tracing::warn!(
            migration = migration.version,
            dispatches = about,
            "the schema is changed by a migration that moves stored rows: no delivery is accepted until it has ended; \
             an interruption undoes it"
        );
    }
    let steps = schema::steps(migration.sql.as_str());
    let (last, first) = steps.split_last().ok_or_else(|| executing(sqlx::Error::RowNotFound))?;
    for step in first {
        let (begun, mut rows) = (Instant::now(), 0);
        loop {
            let result = sqlx::raw_sql(AssertSqlSafe(step.sql)).execute(&mut **transaction).await.map_err(executing)?;
            rows += result.rows_affected();
            if !step.is_repeated || result.rows_affected() == 0 {
                break;
            }
            tracing::info!(migration = migration.version, rows, of_about = about, "migrating: {}", step.words);
        }
        let took_ms = clock::millis(begun.elapsed());
        tracing::info!(migration = migration.version, took_ms, "migrated: {}", step.words);
    }
    transaction.apply(TABLE, &schema::with_text(migration, last.sql)).await.map_err(failed)?;
    tracing::info!(migration = migration.version, took_ms = clock::millis(began.elapsed()), "the migration has ended");
    Ok(())
}

async fn look(store: &SqliteStore) -> Result<Applied, sqlx::Error> {
    applied(&mut *store.readers.acquire().await?).await
}

/// Begins a transaction that may write; waits for another process that has the write lock.
async fn alone(store: &SqliteStore) -> Result<Writing, StoreError> {
    let begun = Instant::now();
    loop {
        let error = match store.write().await {
            Ok(transaction) => return Ok(transaction),
            Err(error) => error,
        };
        let busy = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // The primary code in the low byte: busy, or locked.
        let busy = busy.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| [5, 6].contains(&(code & 0xff)));
        if !busy {
            return Err(StoreError::Migration(Box::new(error.into())));
        }
        let path = store.path.display();
        if begun.elapsed() > PATIENCE {
            return Err(StoreError::Open(format!(
                "the schema of the database {path} has to be brought up to date, and another process has held its \
                 write lock for {} s: end what uses the file (a shell, a backup), then start again",
                begun.elapsed().as_secs()
            )));
        }
        tracing::warn!(
            waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "another process holds the write lock of the database {path}: the schema cannot be brought up to date, \
             trying again"
        );
    }
}

/// Succeeds if the schema is ours or begins with it.
pub(super) fn check(store: &SqliteStore, applied: &Applied) -> Result<(), StoreError> {
    if missing(store, &MIGRATOR, applied)?.is_empty() {
        return Ok(());
    }
    Err(StoreError::Open(format!(
        "the database {} has schema version {}, this program needs {}: run `finkare-relay migrate`",
        store.path.display(),
        schema::newest(applied),
        schema::known(&MIGRATOR)
    )))
}
