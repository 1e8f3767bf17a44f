//! The store on SQLite: one file, one process, nothing to set up.
//!
//! A few connections read while one writes, as write-ahead logging allows (<https://www.sqlite.org/wal.html>). SQLite
//! always has one writer at a time. What the service writes all the time (accepts, claims, ends of attempts, leases given
//! back) is written by one thread, with a connection of its own; all the rest by a pool of one connection. Both take
//! turns, in fair order, instead of polling a lock. Every write begins with `BEGIN IMMEDIATE`: a transaction that reads
//! first and writes later fails at once if another one wrote in between, regardless of the busy time-out.
//!
//! `synchronous=FULL`: a commit is on the disk when it returns, which is what an acknowledgement promises. Only a group
//! of relaying (claim, finish, give back) commits with `synchronous=NORMAL`, which leaves the flush to the next accept
//! or checkpoint: a power cut may undo the latest of these commits, and the undone attempts are repeated
//! (`docs/decisions/0013-relaying-commits-without-a-flush.md`). Each group sets the mode that it wants at its beginning,
//! so an earlier one's mode has no effect.
//!
//! The store's clock is the process's clock.
//!
//! # The files
//!
//! `file` handles the database's file: one name, one process, and whether it still exists; `space` checks whether the
//! disk has room. `writer` is the thread that writes, `checkpoint` moves the log beside it. `events` records deliveries
//! and reads them back, `claim` and `finish` are the two ends of an attempt, `dispatches` holds a person's actions,
//! `purge` is retention, `erase` removes one invoice's payloads, `rows` is shared by all of these, `migrating` is the
//! schema. `tx` runs the methods whose SQL is the same on both databases: the link, the ledger, sinks, activity and
//! breakers, which are in the parent folder.
//!
//! The SQL is next to the method that runs it.

use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    Connection, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use self::file::ProcessLock;
use self::{checkpoint::Checkpoints, file::OpenFile, rows::During, writer::Thread};
use super::{BaseStore, StoreError, schema::Notice, wake::Wakeups};

pub mod backup;
mod checkpoint;
mod claim;
mod dispatches;
mod erase;
mod events;
mod file;
mod finish;
mod migrating;
mod purge;
mod rows;
mod space;
mod tx;
mod writer;

#[cfg(test)]
mod plans;

/// How long SQLite waits for a lock that another process holds. Below the time after which a
/// delivery is answered 503.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a caller waits for its turn with a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections beside the writer for what the service itself reads.
const READERS: u32 = 4;

/// Connections for what people look at: lists, pages, status. They cannot take the service's own readers away.
const LOOKERS: u32 = 2;

/// Pages in the log before a commit moves them into the database: 128 MiB. Before that, [`checkpoint`] does.
const CHECKPOINT_PAGES: &str = "32000";

/// The store on SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    file: Arc<OpenFile>,
    /// Whoever writes has the turn.
    turn: Arc<Mutex<()>>,
    thread: Thread,
    writer: SqlitePool,
    readers: SqlitePool,
    lookers: SqlitePool,
    wakeups: Wakeups,
    checkpoints: Arc<Checkpoints>,
    notice: Notice,
}

/// A transaction that may write. Dropped without a commit, it is rolled back.
struct Writing {
    transaction: Transaction<'static, Sqlite>,
    file: Arc<OpenFile>,
    // Passed on after the transaction.
    _turn: OwnedMutexGuard<()>,
}

impl Writing {
    /// Commits. A commit into a file that has been removed or replaced is an error.
    async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await?;
        Ok(self.file.is_there()?)
    }

    async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

impl Deref for Writing {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

impl SqliteStore {
    /// Opens the database file; creates it (readable by its owner only) and its folder if they do not exist. Does not
    /// migrate.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the file cannot be created or opened; it says which file and why.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        file::make(path)?;
        let path = &file::canonical(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("temp_store", "MEMORY")
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            // Deleted data is overwritten, so that a purged or erased payload is gone from the file too. An accept
            // deletes nothing, and a claim deletes only index entries.
            .pragma("secure_delete", "ON")
            // A log that grew behind a long reader is truncated to 64 MiB.
            .pragma("journal_size_limit", "67108864")
            // Room for every chunk size of every statement: a statement that is evicted has to be parsed again.
            .statement_cache_capacity(256)
            // A page of rows is passed on from the connection's thread without stopping half-way.
            .row_buffer_size(512);
        let options = sqlx::ConnectOptions::disable_statement_logging(options);
        let file = Arc::new(OpenFile::new(path));
        let of_writer = file.clone();
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(move |_, _| {
                // The last connection to be closed removes the log, and the next one creates another.
                of_writer.forget_log();
                Box::pin(std::future::ready(Ok(())))
            })
            .after_release(|connection, _| Box::pin(is_clean(connection)))
            .connect_with(options.clone().pragma("cache_size", "-4096"))
            .await
            .map_err(|source| cannot_open(path, &source))?;
        file.opened();
        // A write that bypasses the queue by mistake fails at once.
        let reading = options.clone().pragma("query_only", "ON").pragma("cache_size", "-4096");
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .after_release(|connection, _| Box::pin(is_clean(connection)))
                .connect_lazy_with(reading.clone())
        };
        let (readers, lookers) = (pool(READERS), pool(LOOKERS));
        // The checkpoint waits for no lock: it is tried again.
        let checkpoints = Arc::new(Checkpoints::start(readers.clone(), options.busy_timeout(Duration::ZERO)));
        let turn = Arc::default();
        let thread = Thread::start(path.clone(), file.clone(), Arc::clone(&turn), checkpoints.clone())
            .map_err(|error| StoreError::Open(format!("the thread that writes cannot be started: {error}")))?;
        Ok(Self {
            path: path.clone(),
            file,
            turn,
            thread,
            writer,
            readers,
            lookers,
            wakeups: Wakeups::default(),
            checkpoints,
            notice: Notice::default(),
        })
    }

    /// Claims the database for this process, under whatever name it is opened.
    ///
    /// `serve` takes the lock before it opens the store. SQLite itself would let a second process in, but that
    /// process's wake-ups would not reach ours, and its [`super::LeaseStore::expire_leases`] would take our leases.
    ///
    /// # Errors
    /// [`StoreError::Open`] if another process has the lock, or a file cannot be created.
    pub fn lock(path: &Path) -> Result<ProcessLock, StoreError> {
        ProcessLock::take(path)
    }

    /// Brings the schema up to date with other migrations than this program's: for tests, which need those of a newer
    /// program.
    ///
    /// # Errors
    /// See [`BaseStore::migrate`].
    pub async fn migrate_with(&self, migrations: &sqlx::migrate::Migrator) -> Result<usize, StoreError> {
        migrating::migrate(self, migrations).await
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a transaction that may write, and whose commit is on the disk when it returns.
    /// Dropped without a commit, it is rolled back.
    async fn write(&self) -> Result<Writing, sqlx::Error> {
        let turn = tokio::time::timeout(ACQUIRE_TIMEOUT, self.turn.clone().lock_owned());
        let turn = turn.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Writing { transaction, file: self.file.clone(), _turn: turn })
    }

    /// Begins a transaction in which every read sees the same state.
    async fn read(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.readers.begin().await
    }

    /// The same for what a person looks at.
    async fn look(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.lookers.begin().await
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

fn cannot_open(path: &Path, source: &sqlx::Error) -> StoreError {
    StoreError::Open(format!("the database {} cannot be opened: {source}", path.display()))
}

#[async_trait]
impl BaseStore for SqliteStore {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn wakeups(&self) -> &Wakeups {
        &self.wakeups
    }

    async fn migrate(&self) -> Result<usize, StoreError> {
        self.migrate_with(&migrating::MIGRATOR).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let action = "check that the database is ready";
        let mut transaction = self.write().await.during(action)?;
        self.file.is_there().map_err(|gone| StoreError::Open(gone.to_string()))?;
        space::check(&self.path, space::LEAST_FREE_BYTES).await?;
        migrating::check(self, &migrating::applied(&mut transaction).await.during(action)?)?;
        // No sink can have this name. The row is gone with the transaction.
        sqlx::query("INSERT INTO sinks (name, registered_at) VALUES ('', 0)")
            .execute(&mut *transaction)
            .await
            .during(action)?;
        transaction.rollback().await.during(action)
    }

    async fn close(&self) {
        self.lookers.close().await;
        self.readers.close().await;
        // The writers last: the connection that leaves last moves the log into the database.
        self.thread.close().await;
        self.writer.close().await;
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::{writer::Flush, *};
    use crate::{
        model::{
            booking::{Assignment, BookingState, BookingToken, NewBooking},
            dispatch::FinishedAttempt,
            event::{DedupeKey, NewEvent},
            id::{EndpointName, EventId, SinkName},
            money::Cents,
        },
        store::{
            ActivityStore, AuditStore, Claim, DispatchStore, EventFilter, EventStore, LeaseStore, LedgerStore,
            SecretStore, SinkStore,
            ledger::{Advance, Settled, Word},
        },
    };

    async fn fresh() -> (tempfile::TempDir, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("relay.db")).await.unwrap();
        store.migrate().await.unwrap();
        (folder, store)
    }

    async fn pragma(pool: &SqlitePool, name: &str) -> String {
        let sql = sqlx::AssertSqlSafe(format!("PRAGMA {name}"));
        // Unchecked: a number as text, whatever its type.
        sqlx::query(sql).fetch_one(pool).await.unwrap().try_get_unchecked(0).unwrap()
    }

    fn event(key: u32, payload: usize) -> NewEvent {
        NewEvent {
            id: EventId::generate(),
            endpoint: EndpointName::new("main").unwrap(),
            dedupe_key: DedupeKey::of_message(&key.to_be_bytes()),
            event_type: "ping".into(),
            invoice_id: None,
            occurred_at: None,
            received_at: crate::model::clock::now(),
            readable: true,
            content_type: None,
            payload: vec![7; payload].into(),
            sinks: vec![SinkName::new("erp").unwrap()],
        }
    }

    #[tokio::test]
    async fn the_writer_is_durable_and_strict() {
        let (_folder, store) = fresh().await;
        for (name, value) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("foreign_keys", "1"),
            ("temp_store", "2"),
            ("wal_autocheckpoint", CHECKPOINT_PAGES),
            ("query_only", "0"),
            ("secure_delete", "1"),
        ] {
            assert_eq!(pragma(&store.writer, name).await, value, "{name}");
        }
        assert_eq!(pragma(&store.writer, "busy_timeout").await, BUSY_TIMEOUT.as_millis().to_string());
        assert_eq!(pragma(&store.readers, "query_only").await, "1");
        assert_eq!(
            (store.writer.options().get_max_connections(), store.readers.options().get_max_connections()),
            (1, READERS)
        );
    }

    /// What the commits of the thread did since this was asked last: 1 is NORMAL, 2 is FULL.
    fn commits(store: &SqliteStore) -> Vec<i64> {
        std::mem::take(&mut *store.thread.commits.lock().unwrap())
    }

    /// What the next commit inside this transaction does.
    async fn synchronous(transaction: &mut SqliteConnection) -> i64 {
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(transaction).await.unwrap()
    }

    #[tokio::test]
    async fn durable_again_after_a_relaying_transaction_broke_off() {
        let (_folder, store) = fresh().await;
        let work = |flush, sql: &'static str| store.thread.run(flush, 1, move |on| on.execute(sql, []));
        work(Flush::Later, "INSERT INTO sinks (name, registered_at) VALUES ('a', 0)").await.unwrap();
        work(Flush::Later, "INSERT INTO sinks (name) VALUES ('')").await.unwrap_err();
        // As SQLite does when the disk is full.
        work(Flush::Later, "ROLLBACK").await.unwrap_err();
        work(Flush::Now, "INSERT INTO sinks (name, registered_at) VALUES ('b', 0)").await.unwrap();
        work(Flush::Later, "INSERT INTO sinks (name, registered_at) VALUES ('c', 0)").await.unwrap();
        assert_eq!(commits(&store), [1, 2, 1]);
        let mut durable = store.write().await.unwrap();
        assert_eq!(synchronous(&mut durable).await, 2);
    }

    #[tokio::test]
    async fn accepts_and_people_flush_and_the_relaying_path_does_not() {
        let (_folder, store) = fresh().await;
        let erp = SinkName::new("erp").unwrap();
        store.record_deliveries(&[event(1, 1)]).await.unwrap();
        assert_eq!(commits(&store), [2], "accept");
        let claim = Claim {
            sink: &erp,
            order: crate::model::dispatch::Order::None,
            limit: 1,
            lease: Duration::from_mins(1),
            longest_wait: Duration::MAX,
            now: None,
        };
        let lease = store.claim_due(claim).await.unwrap().dispatches.remove(0);
        assert_eq!(commits(&store), [1], "claim");
        store.give_back(&[(lease.id, lease.token)]).await.unwrap();
        assert_eq!(commits(&store), [1], "give back");
        let lease = store.claim_due(claim).await.unwrap().dispatches.remove(0);
        let finished = FinishedAttempt {
            id: lease.id,
            token: lease.token,
            sink: erp.clone(),
            started_at: crate::model::clock::now(),
            duration: Duration::from_millis(1),
            outcome: crate::model::dispatch::Outcome::Delivered,
            next: crate::model::dispatch::Next::Delivered,
        };
        store.finish_attempts(&[finished], None).await.unwrap();
        assert_eq!(commits(&store), [1, 1], "claim and finish");
        // Everything else is written through sqlx, whose connection always flushes.
        let event = event(2, 1);
        store.record_deliveries(std::slice::from_ref(&event)).await.unwrap();
        assert_eq!(commits(&store), [2]);
        let entry = crate::model::audit::NewAudit::new("tester", "test", "endpoint/main");
        store.pause_sink(&erp, "maintenance").await.unwrap();
        store.resume_sink(&erp).await.unwrap();
        store.retry_dispatches(&[lease.id]).await.unwrap();
        store.cancel_dispatches(&[lease.id]).await.unwrap();
        store.register_sinks(std::slice::from_ref(&erp)).await.unwrap();
        store.audit(entry.clone()).await.unwrap();
        store.adopt_webhook(&EndpointName::new("main").unwrap(), "id", "url", entry).await.unwrap();
        let assignment = Assignment {
            event_id: event.id,
            endpoint: "main".into(),
            payment_id: "p1".into(),
            invoice_id: "i1".into(),
            amount_cents: Cents(1),
        };
        store.assign(&assignment).await.unwrap();
        let new = NewBooking {
            sink: erp.clone(),
            payment_id: "p1".into(),
            event_id: event.id,
            invoice_id: "i1".into(),
            invoice_number: "F1".into(),
            amount_cents: Cents(1),
            currency: "EUR".into(),
            token: BookingToken::generate(),
        };
        store.begin_booking(&new, None).await.unwrap();
        let next = NewBooking { token: BookingToken::generate(), ..new.clone() };
        store.begin_booking(&next, Some(new.token)).await.unwrap();
        assert!(store.send_booking(&erp, "p1", next.token, Duration::from_mins(2)).await.unwrap());
        let advance = Advance { state: BookingState::Written, target_id: None, note: None };
        store.advance_booking(&erp, "p1", next.token, &advance).await.unwrap();
        let new = NewBooking { payment_id: "p2".into(), ..next };
        store.begin_booking(&new, None).await.unwrap();
        assert!(store.withdraw_booking(&erp, "p2", new.token).await.unwrap());
        let entry = crate::model::audit::NewAudit::new("tester", "test", "payment/p1");
        let settled = store.settle_booking(&erp, "p1", &Word::NotRecorded, Duration::ZERO, entry).await.unwrap();
        assert_eq!(settled, Settled::Settled);
        assert_eq!(commits(&store), Vec::<i64>::new());
        assert_eq!(pragma(&store.writer, "synchronous").await, "2");
    }

    /// Whoever searches has connections of its own: the service reads and writes beside it.
    #[tokio::test]
    async fn however_many_look_the_service_reads_and_accepts() {
        let (_folder, store) = fresh().await;
        let looking = [store.lookers.acquire().await.unwrap(), store.lookers.acquire().await.unwrap()];
        assert!(store.lookers.try_acquire().is_none(), "that is all of them");
        let at_once = Duration::from_secs(2);
        let search = EventFilter { contains: Some("x".into()), ..EventFilter::default() };
        let waits = tokio::time::timeout(Duration::from_millis(50), store.list_events(&search, 10)).await;
        assert!(waits.is_err(), "the next one waits for its turn");
        tokio::time::timeout(at_once, store.record_deliveries(&[event(1, 1)])).await.unwrap().unwrap();
        tokio::time::timeout(at_once, store.links()).await.unwrap().unwrap();
        let compta = SinkName::new("compta").unwrap();
        let booked = store.booked_cents(&compta, "F1");
        assert_eq!(tokio::time::timeout(at_once, booked).await.unwrap().unwrap(), Cents(0));
        drop(looking);
        assert!(store.list_events(&search, 10).await.unwrap().rows.is_empty());
    }

    /// 3.51.3 repairs a rare corruption of databases with a write-ahead log, <https://www.sqlite.org/wal.html#walresetbug>.
    #[tokio::test]
    async fn the_library_is_new_enough() {
        let (_folder, store) = fresh().await;
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&store.writer).await.unwrap();
        let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        assert!(parts >= vec![3, 51, 3], "{version}");
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_and_passes() {
        let (_folder, store) = fresh().await;
        let batch = |from: u32| (from..from + 50).map(|key| event(key, 20_000)).collect::<Vec<_>>();
        let limit = |sql: &'static str| store.thread.run(Flush::Later, 1, move |on| on.execute_batch(sql));
        limit("PRAGMA max_page_count = 100").await.unwrap();
        // Again and again: what SQLite rolls back by itself must not leave the connection half-way in a transaction.
        for _ in 0..3 {
            let error = store.record_deliveries(&batch(0)).await.unwrap_err();
            assert!(error.is_unavailable(), "{error:?}");
            assert!(error.to_string().contains("store 50 deliveries"), "{error}");
            // The connection may have been replaced, and does not know the limit then.
            limit("PRAGMA max_page_count = 100").await.unwrap();
        }
        limit("PRAGMA max_page_count = 4294967294").await.unwrap();
        let recorded = store.record_deliveries(&batch(0)).await.unwrap();
        assert!(recorded.iter().all(|one| !one.duplicate), "nothing of the failed batches was kept");
        store.ready().await.unwrap();
    }

    #[tokio::test]
    async fn a_disk_without_room_is_told_before_a_commit_fails() {
        let (_folder, store) = fresh().await;
        space::check(&store.path, space::LEAST_FREE_BYTES).await.unwrap();
        let error = space::check(&store.path, u64::MAX).await.unwrap_err().to_string();
        assert!(error.contains("relay.db") && error.contains("make room"), "{error}");
    }

    /// What a transaction that is rolled back does not show.
    #[tokio::test]
    async fn a_trial_write_is_really_committed() {
        let (_folder, store) = fresh().await;
        store.trial_write().await.unwrap();
        sqlx::query("PRAGMA query_only = ON").execute(&store.writer).await.unwrap();
        assert!(store.trial_write().await.unwrap_err().is_unavailable());
        sqlx::query("PRAGMA query_only = OFF").execute(&store.writer).await.unwrap();
        store.trial_write().await.unwrap();
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM trial_writes").fetch_one(&store.readers).await.unwrap();
        assert_eq!(rows, 1, "seen from another connection, and never more than one");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_not_ready() {
        let (_folder, store) = fresh().await;
        store.thread.run(Flush::Later, 1, |on| on.execute_batch("PRAGMA query_only = ON")).await.unwrap();
        sqlx::query("PRAGMA query_only = ON").execute(&store.writer).await.unwrap();
        for error in [store.ready().await.unwrap_err(), store.record_deliveries(&[event(1, 1)]).await.unwrap_err()] {
            assert!(error.is_unavailable(), "somebody may make it writable again: {error:?}");
        }
        sqlx::query("PRAGMA query_only = OFF").execute(&store.writer).await.unwrap();
        store.ready().await.unwrap();
        store.record_deliveries(&[event(1, 1)]).await.unwrap();
    }

    #[tokio::test]
    async fn a_database_that_somebody_locked_is_unavailable_in_time() {
        let (folder, store) = fresh().await;
        let other = SqliteStore::open(&folder.path().join("relay.db")).await.unwrap();
        let lock = other.write().await.unwrap();
        let began = std::time::Instant::now();
        assert!(store.ready().await.unwrap_err().is_unavailable());
        assert!(began.elapsed() < BUSY_TIMEOUT * 2);
        // Readers are not held up, and once the lock is gone all is well.
        assert!(store.sink_statuses().await.unwrap().is_empty());
        drop(lock);
        store.ready().await.unwrap();
    }

    /// sqlx's own roll-back fails after SQLite's, which is what [`is_clean`] is for.
    #[tokio::test]
    async fn a_connection_left_in_a_transaction_is_replaced() {
        let (_folder, store) = fresh().await;
        let mut transaction = store.write().await.unwrap();
        // As SQLite does when the disk is full: behind sqlx's back.
        sqlx::raw_sql("ROLLBACK").execute(&mut *transaction).await.unwrap();
        drop(transaction);
        store.ready().await.unwrap();
        assert_eq!(pragma(&store.writer, "synchronous").await, "2", "the new one is set up like the old one");
    }

    #[tokio::test]
    async fn what_another_version_wrote_is_named() {
        let (_folder, store) = fresh().await;
        let new = event(1, 1);
        store.record_deliveries(std::slice::from_ref(&new)).await.unwrap();
        sqlx::query("UPDATE events SET received_at = 9223372036854775807").execute(&store.writer).await.unwrap();
        let fault = store.event(new.id).await.unwrap().unwrap().event.fault.unwrap_or_default();
        assert!(fault.contains("received_at cannot be read: 9223372036854775807"), "{fault}");
        sqlx::query("UPDATE _sqlx_migrations SET version = version + 1000").execute(&store.writer).await.unwrap();
        let error = store.ready().await.unwrap_err().to_string();
        assert!(error.contains("schema version 10") && error.contains("another history"), "{error}");
    }

    #[tokio::test]
    async fn the_log_is_moved_beside_the_writer() {
        let (folder, store) = fresh().await;
        // Far fewer pages than a commit would move by itself.
        for key in 0..2048 / 128 {
            let batch: Vec<NewEvent> = (0..128).map(|i| event(key * 128 + i, 100)).collect();
            store.record_deliveries(&batch).await.unwrap();
        }
        let moved = async {
            // The task runs beside us; the database file grows only by what it moves.
            while std::fs::metadata(folder.path().join("relay.db")).unwrap().len() < 200_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), moved).await.expect("the log is moved into the database");
    }
}
