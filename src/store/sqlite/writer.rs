//! The thread that writes what the service writes all the time: accepts, claims, the ends of attempts, leases that are
//! given back.
//!
//! Each of these is a few small statements for each event, and a statement takes a few microseconds. So one thread has a
//! connection of its own and runs them where they are, prepared once, without a change of threads in between. It takes
//! all the work that waits into one transaction, and answers after the commit
//! (`docs/decisions/0038-one-thread-writes-sqlite.md`). What fails in such a group is repeated alone, so that it fails
//! alone.
//!
//! Everything else is rare and is written through sqlx. The two take turns: whoever writes holds the store's turn, which
//! is passed on in the order in which it was asked for, so that neither polls a lock of SQLite that the other holds.

use std::{
    borrow::Cow,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex as Guarded, PoisonError},
    thread::JoinHandle,
};

use rusqlite::{Connection, OpenFlags};
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{BUSY_TIMEOUT, CHECKPOINT_PAGES, checkpoint::Checkpoints, file::OpenFile};

/// How much work may wait. Who comes then waits until there is room: there are fewer callers than this.
const WAITING: usize = 1024;

/// A group is full with this much work, in rows: it takes some ten milliseconds, and everybody in it waits for all of it.
const GROUP_ROWS: usize = 2048;

/// The statements that stay prepared: there are fewer.
const STATEMENTS: usize = 64;

/// Whether a piece of work has to be on the disk when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// It is acknowledged to somebody.
    Now,
    /// It is relaying: a power cut may undo it (`docs/decisions/0013-relaying-commits-without-a-flush.md`).
    Later,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Thread {
    asking: Guarded<Option<mpsc::Sender<Box<dyn Job>>>>,
    handle: Guarded<Option<JoinHandle<()>>>,
    /// The value of `PRAGMA synchronous` at each commit.
    #[cfg(test)]
    pub(super) commits: Arc<Guarded<Vec<i64>>>,
}

impl Thread {
    /// Starts the thread. It opens its connection when there is something to do, and ends when this is closed or dropped.
    pub(super) fn start(
        path: PathBuf,
        file: Arc<OpenFile>,
        turn: Arc<Mutex<()>>,
        checkpoints: Arc<Checkpoints>,
    ) -> io::Result<Self> {
        let (asking, mut asked) = mpsc::channel(WAITING);
        #[cfg(test)]
        let commits = Arc::<Guarded<Vec<i64>>>::default();
        let mut writer = Writer {
            path,
            file,
            turn,
            checkpoints,
            open: None,
            #[cfg(test)]
            commits: commits.clone(),
        };
        let serve = move || {
            // A panic is a fault of this program. Whoever waits for the group is told, and the next group begins anew.
            while catch_unwind(AssertUnwindSafe(|| writer.serve(&mut asked))).is_err() {
                tracing::error!("the thread that writes into the database failed, and goes on with a new connection");
            }
        };
        let handle = std::thread::Builder::new().name("sqlite-writer".into()).spawn(serve)?;
        Ok(Self {
            asking: Guarded::new(Some(asking)),
            handle: Guarded::new(Some(handle)),
            #[cfg(test)]
            commits,
        })
    }

    /// Runs one piece of work in a transaction, together with others, and returns its answer after the commit. `rows` is
    /// about how many rows it writes.
    ///
    /// The work may run twice: a group in which something failed is rolled back. If the caller goes away, it happens as a
    /// whole or not at all.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        flush: Flush,
        rows: usize,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, sqlx::Error> {
        let asking =
            self.asking.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(sqlx::Error::PoolClosed)?;
        let (answer, answered) = oneshot::channel();
        let asked = Asked { flush, rows, work, done: None, answer };
        asking.send(Box::new(asked)).await.map_err(|_| sqlx::Error::PoolClosed)?;
        answered.await.map_err(|_| sqlx::Error::WorkerCrashed)?.map_err(sqlx::Error::database)
    }

    /// Ends the thread after the work that waits, and closes its connection.
    pub(super) async fn close(&self) {
        drop(self.asking.lock().unwrap_or_else(PoisonError::into_inner).take());
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle {
            // Its panics are caught.
            let _ = tokio::task::spawn_blocking(move || handle.join()).await;
        }
    }
}

/// A piece of work whose answer is of any type.
trait Job: Send + fmt::Debug {
    fn flush(&self) -> Flush;
    fn rows(&self) -> usize;
    /// False if nobody waits for it any more.
    fn is_wanted(&self) -> bool;
    fn run(&mut self, on: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, result: Result<(), Fault>);
}

struct Asked<T, W> {
    flush: Flush,
    rows: usize,
    work: W,
    done: Option<T>,
    answer: oneshot::Sender<Result<T, Fault>>,
}

impl<T, W> fmt::Debug for Asked<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("flush", &self.flush).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<T: Send, W: FnMut(&Connection) -> rusqlite::Result<T> + Send> Job for Asked<T, W> {
    fn flush(&self) -> Flush {
        self.flush
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(&mut self, on: &Connection) -> rusqlite::Result<()> {
        self.done = Some((self.work)(on)?);
        Ok(())
    }

    fn answer(mut self: Box<Self>, result: Result<(), Fault>) {
        if let Some(answer) = result.map(|()| self.done.take()).transpose() {
            // Whoever is gone does not need it.
            let _ = self.answer.send(answer);
        }
    }
}

/// The thread's own side.
struct Writer {
    path: PathBuf,
    file: Arc<OpenFile>,
    turn: Arc<Mutex<()>>,
    checkpoints: Arc<Checkpoints>,
    open: Option<Open>,
    #[cfg(test)]
    commits: Arc<Guarded<Vec<i64>>>,
}

/// The connection, and the mode in which it commits.
struct Open {
    connection: Connection,
    flush: Flush,
}

/// Where a group failed.
enum Failed {
    /// In one of its pieces: the others may succeed.
    Piece(Fault),
    /// As a whole.
    Whole(Fault),
}

impl Writer {
    fn serve(&mut self, asked: &mut mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = asked.blocking_recv() {
            let turn = self.turn.clone();
            let _turn = turn.blocking_lock();
            let mut rows = first.rows();
            let mut group = vec![first];
            while rows < GROUP_ROWS
                && let Ok(next) = asked.try_recv()
            {
                rows += next.rows();
                group.push(next);
            }
            group.retain(|job| job.is_wanted());
            self.write(group);
            self.checkpoints.wrote(rows);
            if self.checkpoints.is_long() {
                self.finish_checkpoint();
            }
        }
    }

    /// Moves what the checkpoints beside us have left of the log, so that it begins anew.
    fn finish_checkpoint(&self) {
        let Some(open) = &self.open else { return };
        if let Err(error) = open.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            // The next commit will tell if the disk is at fault.
            tracing::debug!(%error, "the write-ahead log was not moved this time");
        }
    }

    fn write(&mut self, mut group: Vec<Box<dyn Job>>) {
        match self.commit(&mut group) {
            Err(Failed::Piece(_)) if group.len() > 1 => {
                for job in group {
                    self.write(vec![job]);
                }
            }
            Ok(()) => {
                for job in group {
                    job.answer(Ok(()));
                }
            }
            Err(Failed::Piece(fault) | Failed::Whole(fault)) => {
                for job in group {
                    job.answer(Err(fault.clone()));
                }
            }
        }
    }

    /// Writes a group in one transaction.
    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        if group.is_empty() {
            return Ok(());
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(self).map_err(Failed::whole)?,
        };
        let flush = if group.iter().any(|job| job.flush() == Flush::Now) { Flush::Now } else { Flush::Later };
        let result = open.write(flush, group);
        // A connection that cannot begin or commit is replaced: it may have been opened when nothing could be written.
        if match result {
            Ok(()) => true,
            Err(Failed::Piece(_)) => open.is_rolled_back(),
            Err(Failed::Whole(_)) => false,
        } {
            self.open = Some(open);
        }
        result?;
        #[cfg(test)]
        self.note_synchronous();
        // A commit into a file that has been removed or replaced is an error.
        self.file.is_there().map_err(|gone| Failed::Whole(Fault::cannot_open(gone.to_string())))
    }
}

#[cfg(test)]
impl Writer {
    fn note_synchronous(&self) {
        let open = self.open.as_ref().expect("it has just committed");
        let mode = open.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        self.commits.lock().unwrap().push(mode);
    }
}

impl Open {
    fn new(writer: &Writer) -> rusqlite::Result<Self> {
        // Not created: if the file is gone, another one would be no better.
        let connection = Connection::open_with_flags(
            &writer.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON;
             PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
             PRAGMA journal_size_limit = 67108864"
        ))?;
        Ok(Self { connection, flush: Flush::Now })
    }

    fn write(&mut self, flush: Flush, group: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        self.begin(flush).map_err(Failed::whole)?;
        for job in group {
            job.run(&self.connection).map_err(|error| Failed::Piece(error.into()))?;
        }
        self.once("COMMIT").map_err(Failed::whole)
    }

    fn begin(&mut self, flush: Flush) -> rusqlite::Result<()> {
        // SQLite refuses the change inside a transaction.
        if self.flush != flush {
            self.connection.execute_batch(match flush {
                Flush::Now => "PRAGMA synchronous = FULL",
                Flush::Later => "PRAGMA synchronous = NORMAL",
            })?;
            self.flush = flush;
        }
        self.once("BEGIN IMMEDIATE")
    }

    fn once(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Rolls back what failed; false if that fails too. When the disk is full SQLite may have rolled back by itself
    /// (<https://www.sqlite.org/lang_transaction.html>, section 3).
    fn is_rolled_back(&self) -> bool {
        self.connection.is_autocommit() || self.once("ROLLBACK").is_ok()
    }
}

impl Failed {
    fn whole(error: rusqlite::Error) -> Self {
        Self::Whole(error.into())
    }
}

/// SQLite's error, as sqlx would report it; everybody in a group gets a copy.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// The extended code, <https://www.sqlite.org/rescode.html>.
    code: i32,
    message: String,
}

impl Fault {
    fn cannot_open(message: String) -> Self {
        Self { code: rusqlite::ffi::SQLITE_CANTOPEN, message }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        // Without a code it is a value of another type than ours.
        let code = error.sqlite_error().map_or(rusqlite::ffi::SQLITE_MISMATCH, |error| error.extended_code);
        Self { code, message: error.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

impl DatabaseError for Fault {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{
            clock,
            dispatch::{FinishedAttempt, Next, Order, Outcome},
            event::{DedupeKey, NewEvent},
            id::{EndpointName, EventId, SinkName},
        },
        store::{
            BaseStore, Claim, DispatchFilter, DispatchStore, EventStore, Finish, LeaseStore, SinkStore, StoreError,
            sqlite::{SqliteStore, rows::During},
        },
    };

    async fn fresh() -> (tempfile::TempDir, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("relay.db")).await.unwrap();
        store.migrate().await.unwrap();
        (folder, store)
    }

    /// Registers a sink of this name, in the thread.
    async fn register(store: &SqliteStore, name: Option<&'static str>) -> Result<usize, StoreError> {
        let insert = "INSERT INTO sinks (name, registered_at) VALUES (?, 0)";
        store.thread.run(Flush::Later, 1, move |on| on.execute(insert, [name])).await.during("register a sink")
    }

    async fn names(store: &SqliteStore) -> Vec<String> {
        store.sink_statuses().await.unwrap().into_iter().map(|sink| sink.name).collect()
    }

    #[tokio::test]
    async fn what_waits_is_one_transaction_that_flushes_if_one_of_it_must() {
        let (_folder, store) = fresh().await;
        let turn = store.turn.lock().await;
        let accept = store.thread.run(Flush::Now, 1, |_| Ok(1));
        let (first, accepted, last, ()) =
            tokio::join!(register(&store, Some("a")), accept, register(&store, Some("b")), async {
                drop(turn);
            });
        assert_eq!((first.unwrap(), accepted.unwrap(), last.unwrap()), (1, 1, 1));
        assert_eq!(*store.thread.commits.lock().unwrap(), [2]);
        register(&store, Some("c")).await.unwrap();
        assert_eq!(*store.thread.commits.lock().unwrap(), [2, 1]);
        assert_eq!(names(&store).await, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn one_bad_request_fails_alone() {
        let (_folder, store) = fresh().await;
        let turn = store.turn.lock().await;
        let (first, bad, last, ()) =
            tokio::join!(register(&store, Some("a")), register(&store, None), register(&store, Some("b")), async {
                drop(turn);
            });
        assert_eq!((first.unwrap(), last.unwrap()), (1, 1));
        let error = bad.unwrap_err();
        assert!(!error.is_unavailable(), "{error:?}");
        assert!(format!("{error:?}").contains("NOT NULL constraint failed: sinks.name"), "{error:?}");
        assert_eq!(names(&store).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_group_that_panicked() {
        let (_folder, store) = fresh().await;
        let turn = store.turn.lock().await;
        let broken = store.thread.run(Flush::Later, 1, |_| -> rusqlite::Result<()> { panic!("for a test") });
        let (beside, broken, ()) = tokio::join!(register(&store, Some("a")), broken, async {
            drop(turn);
        });
        assert!(beside.unwrap_err().is_unavailable(), "it may be sent again");
        assert!(broken.during("fail").unwrap_err().is_unavailable());
        assert_eq!(names(&store).await, Vec::<String>::new(), "nothing of the group was kept");
        register(&store, Some("a")).await.unwrap();
        assert_eq!(*store.thread.commits.lock().unwrap(), [1]);
    }

    #[tokio::test]
    async fn whoever_goes_away_is_skipped_or_done_as_a_whole() {
        let (_folder, store) = fresh().await;
        let turn = store.turn.lock().await;
        let mut gone = Box::pin(register(&store, Some("gone")));
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        drop(turn);
        register(&store, Some("here")).await.unwrap();
        assert_eq!(names(&store).await, ["here"]);
    }

    #[tokio::test]
    async fn after_the_end_nothing_is_written() {
        let (_folder, store) = fresh().await;
        register(&store, Some("a")).await.unwrap();
        store.close().await;
        assert!(register(&store, Some("b")).await.unwrap_err().is_unavailable());
        store.close().await;
    }

    #[test]
    fn errors_are_sorted_by_their_codes() {
        let error = |code| {
            let fault = Fault::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
            StoreError::from_sqlx("write", sqlx::Error::database(fault))
        };
        // Busy, locked, out of memory, read-only (after a crash), an error of the disk, full, cannot open.
        for code in [5, 6, 7, 8, 776, 10, 778, 13, 14] {
            assert!(error(code).is_unavailable(), "{code}");
        }
        // A constraint, a unique one, a value of another type, an error in the statement.
        for code in [19, 2067, 20, 1] {
            assert!(!error(code).is_unavailable(), "{code}");
        }
        let gone = Fault::cannot_open("the file is gone".into());
        assert!(StoreError::from_sqlx("write", sqlx::Error::database(gone)).is_unavailable());
    }

    fn event(number: u32, sink: &SinkName) -> NewEvent {
        NewEvent {
            id: EventId::generate(),
            endpoint: EndpointName::new("main").unwrap(),
            dedupe_key: DedupeKey::of_message(&number.to_be_bytes()),
            event_type: "ping".into(),
            invoice_id: number.is_multiple_of(2).then(|| format!("i{}", number % 50)),
            occurred_at: None,
            received_at: clock::now(),
            readable: true,
            content_type: None,
            payload: vec![7; 100].into(),
            sinks: vec![sink.clone()],
        }
    }

    /// Claims and delivers until this many were delivered.
    async fn relay(store: Arc<SqliteStore>, sink: SinkName, most: usize) {
        let lease = Duration::from_mins(10);
        let mut delivered = 0;
        while delivered < most {
            let claim =
                Claim { sink: &sink, order: Order::Invoice, limit: 16, lease, longest_wait: Duration::MAX, now: None };
            let claimed = store.claim_due(claim).await.unwrap().dispatches;
            if claimed.is_empty() {
                tokio::task::yield_now().await;
            }
            // The first one of each claim is not tried after all.
            if claimed.len() > 1 {
                assert_eq!(store.give_back(&[(claimed[0].id, claimed[0].token)]).await.unwrap(), 1);
            }
            let ended = claimed.iter().skip(usize::from(claimed.len() > 1)).map(|lease| FinishedAttempt {
                id: lease.id,
                token: lease.token,
                sink: sink.clone(),
                started_at: clock::now(),
                duration: Duration::from_millis(1),
                outcome: Outcome::Delivered,
                next: Next::Delivered,
            });
            let ended: Vec<FinishedAttempt> = ended.collect();
            let finishes = store.finish_attempts(&ended, None).await.unwrap();
            assert!(finishes.iter().all(|finish| *finish == Finish::Recorded));
            delivered += ended.len();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_thousand_writes_of_every_kind_at_once_end_and_are_right() {
        let (_folder, store) = fresh().await;
        let store = Arc::new(store);
        let sinks = ["a", "b"].map(|name| SinkName::new(name).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..1000 {
            let (store, sink) = (store.clone(), sinks[number as usize % 2].clone());
            tasks.spawn(async move {
                assert!(!store.record_deliveries(&[event(number, &sink)]).await.unwrap()[0].duplicate);
                if number.is_multiple_of(10) {
                    assert!(store.record_deliveries(&[event(number, &sink)]).await.unwrap()[0].duplicate);
                    let rare = SinkName::new(&format!("rare-{number}")).unwrap();
                    assert!(store.pause_sink(&rare, "for a test").await.unwrap());
                    assert!(store.resume_sink(&rare).await.unwrap());
                }
            });
        }
        for sink in &sinks {
            tasks.spawn(relay(store.clone(), sink.clone(), 500));
        }
        let ended = async {
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_mins(1), ended).await.expect("nobody waits for anybody for ever");
        let all = DispatchFilter::default();
        assert_eq!(store.list_dispatches(&all, 2000).await.unwrap().rows.len(), 1000);
        let delivered: i64 =
            sqlx::query_scalar("SELECT sum(delivered) FROM sinks").fetch_one(&store.readers).await.unwrap();
        let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM history").fetch_one(&store.readers).await.unwrap();
        let left: i64 = sqlx::query_scalar("SELECT sum(n) FROM queue_counts").fetch_one(&store.readers).await.unwrap();
        assert_eq!((delivered, moved, left), (1000, 1000, 0));
    }
}
