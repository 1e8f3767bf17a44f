//! The store on SQLite: one file, one process, nothing to set up.
//!
//! One connection writes and a few read beside it, as write-ahead logging allows
//! (<https://www.sqlite.org/wal.html>). SQLite has one writer at a time whatever one does; a pool
//! of one connection makes callers queue in fair order in front of it instead of polling a lock.
//! Every write begins with `BEGIN IMMEDIATE`: a transaction that reads first and writes later fails
//! at once if somebody wrote in between, however long the busy time-out.
//!
//! `synchronous=FULL`: a commit is on the disk when it returns, which is what an acknowledgement
//! promises.
//!
//! The store's clock is the process's clock.
//!
//! # Where things are
//!
//! `events` records deliveries and reads them back, `claim` and `finish` are the two ends of an
//! attempt, `dispatches` is what operators see and do, `sinks` is their status, `purge` is
//! retention, `rows` is what all of these share. The SQL stands next to the method that runs it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{
    Connection, Sqlite, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use self::rows::During;
use super::{
    Claim, Claimed, DispatchFilter, EventDetail, EventFilter, Finish, Page, Purge, Purged, SinkStatus, Store,
    StoreError, wake::Wakeups,
};
use crate::model::{
    dispatch::{Attempt, Dispatch, FinishedAttempt},
    event::{Event, NewEvent, Recorded},
    id::{DispatchId, EventId, LeaseToken, SinkName},
};

mod claim;
mod dispatches;
mod events;
mod finish;
mod purge;
mod rows;
mod sinks;

#[cfg(test)]
mod plans;

/// How long SQLite waits for a lock that another process holds. Below the time after which a
/// delivery is answered 503.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a caller waits for its turn with a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for lists, pages and status beside the writer.
const READERS: u32 = 4;

/// Pages in the log before a commit moves them into the database: 16 MiB. A page that changes often
/// in between is moved once.
const CHECKPOINT_PAGES: &str = "4000";

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// The store on SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    wakeups: Wakeups,
}

/// This process's claim on a database file, until it is dropped or the process ends in any way.
#[derive(Debug)]
pub struct ProcessLock {
    // The operating system keeps the lock as long as this is open.
    _file: File,
}

impl SqliteStore {
    /// Opens the database file; makes it (readable by its owner only) and its folder if they are
    /// not there. Does not migrate.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the file cannot be made or opened; it says which and why.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        make_file(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("temp_store", "MEMORY")
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            // A log that grew once behind a long reader is cut back to 64 MiB.
            .pragma("journal_size_limit", "67108864")
            // Room for every chunk size of every statement: a statement that falls out is parsed anew.
            .statement_cache_capacity(256)
            // A page of rows crosses from the connection's thread without stopping half-way.
            .row_buffer_size(512);
        let options = sqlx::ConnectOptions::disable_statement_logging(options);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(is_clean(connection)))
            .connect_with(options.clone().pragma("cache_size", "-16384"))
            .await
            .map_err(|source| cannot_open(path, source))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(is_clean(connection)))
            // A mistake that would write past the queue fails at once.
            .connect_lazy_with(options.pragma("query_only", "ON").pragma("cache_size", "-4096"));
        Ok(Self { path: path.to_owned(), writer, readers, wakeups: Wakeups::default() })
    }

    /// Claims the database for this process, by a lock on the file `<path>.lock` beside it.
    ///
    /// `serve` takes it before it opens the store: SQLite itself would let a second process in, but
    /// its wake-ups would reach nobody here, and [`Store::expire_leases`] would take our leases.
    ///
    /// # Errors
    /// [`StoreError::Open`] if another process has it, or the file cannot be made.
    pub fn lock(path: &Path) -> Result<ProcessLock, StoreError> {
        make_folder(path)?;
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        let file = private_file()
            .open(&lock)
            .map_err(|error| StoreError::Open(format!("the lock file {} cannot be opened: {error}", lock.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(ProcessLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Open(format!(
                "another process uses the database {} (it holds {}): stop it, give this one another file by \
                 DATABASE_URL, or use Postgres to run several",
                path.display(),
                lock.display()
            ))),
            Err(TryLockError::Error(error)) => Err(StoreError::Open(format!(
                "the lock file {} cannot be locked: {error}; put the database on a local disk",
                lock.display()
            ))),
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a transaction that may write. Dropped without a commit, it is rolled back.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Begins a transaction in which every read sees the same state.
    async fn read(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.readers.begin().await
    }
}

/// True if a connection that comes back to its pool can be used again.
///
/// When the disk is full SQLite may roll back by itself (<https://www.sqlite.org/lang_transaction.html>,
/// section 3). sqlx's own `ROLLBACK` then fails, sqlx goes on counting an open transaction, and
/// every `BEGIN` on the connection would be refused. Such a connection is closed and replaced.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if Connection::is_in_transaction(connection) {
        // The roll-back of a dropped transaction may still be on its way; this waits for it.
        connection.ping().await?;
    }
    Ok(!Connection::is_in_transaction(connection))
}

fn cannot_open(path: &Path, source: sqlx::Error) -> StoreError {
    StoreError::Open(format!("the database {} cannot be opened: {source}", path.display()))
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .map_err(|error| StoreError::Open(format!("the folder {} cannot be made: {error}", folder.display()))),
        _ => Ok(()),
    }
}

/// Makes the file before SQLite does, to choose its mode; SQLite gives the log and the shared
/// memory beside it the same one.
fn make_file(path: &Path) -> Result<(), StoreError> {
    make_folder(path)?;
    private_file()
        .open(path)
        .map(drop)
        .map_err(|error| StoreError::Open(format!("the database {} cannot be opened: {error}", path.display())))
}

/// Opens for writing; makes the file, for its owner alone, if it is not there.
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The migrations that a database has seen; none if it has never been migrated.
async fn applied(connection: &mut SqliteConnection) -> Result<Vec<i64>, sqlx::Error> {
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')")
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await
}

#[async_trait]
impl Store for SqliteStore {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn wakeups(&self) -> &Wakeups {
        &self.wakeups
    }

    async fn migrate(&self) -> Result<usize, StoreError> {
        let failed = |error: MigrateError| StoreError::Migration(Box::new(error));
        // One transaction around all: sqlx takes no lock on SQLite, so this keeps a second process
        // from migrating at the same time.
        let mut transaction = self.write().await.map_err(|error| failed(error.into()))?;
        let before = applied(&mut transaction).await.map_err(|error| failed(error.into()))?.len();
        MIGRATOR.run_direct(None, &mut *transaction, false).await.map_err(failed)?;
        let after = applied(&mut transaction).await.map_err(|error| failed(error.into()))?.len();
        transaction.commit().await.map_err(|error| failed(error.into()))?;
        Ok(after.saturating_sub(before))
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let action = "checking that the database is ready";
        let mut transaction = self.write().await.during(action)?;
        let applied = applied(&mut transaction).await.during(action)?;
        let wanted: Vec<i64> = MIGRATOR.iter().map(|migration| migration.version).collect();
        if applied != wanted {
            let version = |versions: &[i64]| versions.last().copied().unwrap_or(0);
            return Err(StoreError::Open(format!(
                "the database {} has schema version {}, this program needs {}: run `finkare-relay migrate` of the \
                 newer version",
                self.path.display(),
                version(&applied),
                version(&wanted)
            )));
        }
        // No sink can have this name. The row is gone with the transaction.
        sqlx::query("INSERT INTO sinks (name, registered_at) VALUES ('', 0)")
            .execute(&mut *transaction)
            .await
            .during(action)?;
        transaction.rollback().await.during(action)
    }

    async fn record_deliveries(&self, batch: &[NewEvent]) -> Result<Vec<Recorded>, StoreError> {
        events::record(self, batch).await
    }

    async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError> {
        claim::claim(self, claim).await
    }

    async fn finish_attempts(
        &self,
        batch: &[FinishedAttempt],
        now: Option<Timestamp>,
    ) -> Result<Vec<Finish>, StoreError> {
        finish::finish(self, batch, now).await
    }

    async fn give_back(&self, leases: &[(DispatchId, LeaseToken)]) -> Result<u64, StoreError> {
        claim::give_back(self, leases).await
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        claim::expire_leases(self).await
    }

    async fn list_events(&self, filter: &EventFilter, limit: u32) -> Result<Page<Event>, StoreError> {
        events::list(self, filter, limit).await
    }

    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError> {
        events::detail(self, id).await
    }

    async fn list_dispatches(&self, filter: &DispatchFilter, limit: u32) -> Result<Page<Dispatch>, StoreError> {
        dispatches::list(self, filter, limit).await
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
        dispatches::detail(self, id).await
    }

    async fn register_sinks(&self, sinks: &[SinkName]) -> Result<(), StoreError> {
        sinks::register(self, sinks).await
    }

    async fn sink_statuses(&self) -> Result<Vec<SinkStatus>, StoreError> {
        sinks::statuses(self).await
    }

    async fn pause_sink(&self, sink: &SinkName, reason: &str) -> Result<bool, StoreError> {
        sinks::pause(self, sink, reason).await
    }

    async fn resume_sink(&self, sink: &SinkName) -> Result<bool, StoreError> {
        sinks::resume(self, sink).await
    }

    async fn retry_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError> {
        dispatches::retry(self, ids).await
    }

    async fn cancel_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError> {
        dispatches::cancel(self, ids).await
    }

    async fn replay_event(&self, id: EventId, sinks: &[SinkName]) -> Result<Option<Vec<DispatchId>>, StoreError> {
        events::replay(self, id, sinks).await
    }

    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError> {
        purge::purge(self, purge).await
    }

    async fn close(&self) {
        // The writer last: the connection that leaves last moves the log into the database.
        self.readers.close().await;
        self.writer.close().await;
    }
}
