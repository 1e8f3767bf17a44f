//! Moves the write-ahead log into the database in the background, so that a commit seldom has to; and empties the
//! log.
//!
//! A commit that finds the log full moves it before it returns, and all callers in the queue behind it wait. A reader
//! may do the same at any time without blocking the writer (<https://www.sqlite.org/wal.html#concurrency>,
//! `PASSIVE`), so a task does it whenever [`ROWS`] rows have been written. Under a load that never pauses it never moves
//! the newest commits, and the log begins anew only when all of it has been moved. So once the log is [`LONG`], the
//! thread that writes moves what the task has left, between two groups: that is little. The limit at which a commit does
//! it is the last resort.
//!
//! Erased data stays in the log until the log is truncated, which is only possible while no reader is active. The
//! writer must not wait for that moment, because a backup reads for minutes. So a connection of its own tries it,
//! which waits for no lock, and tries again until it has succeeded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sqlx::{Connection, SqliteConnection, SqlitePool, sqlite::SqliteConnectOptions};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// After this many written rows the log is moved: about two megabytes of a young database, and thirty of a large one,
/// whose keys are far apart. Moved more often, fewer of its pages were changed twice, and its flushes hold up those of
/// the commits.
const ROWS: u64 = 2048;

/// So many pages are a long log: 64 MiB.
const LONG: i64 = 16_000;

/// The wait between two tries to empty the log.
const AGAIN: Duration = Duration::from_secs(5);

/// Counts written rows and moves the log now and then.
#[derive(Debug)]
pub(super) struct Checkpoints {
    written: AtomicU64,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    due: Notify,
    /// The log is to be emptied.
    empty: AtomicBool,
    /// The log is long, and nearly all of it has just been moved.
    long: AtomicBool,
    options: SqliteConnectOptions,
}

impl Checkpoints {
    /// Starts the task; it ends when the pool is closed or this is dropped. `options` are those of a connection that
    /// waits for no lock.
    pub(super) fn start(readers: SqlitePool, options: SqliteConnectOptions) -> Self {
        let shared = Arc::new(Shared {
            due: Notify::new(),
            empty: AtomicBool::new(false),
            long: AtomicBool::new(false),
            options,
        });
        let task = tokio::spawn(run(readers, shared.clone()));
        Self { written: AtomicU64::new(0), shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Counts rows that were written.
    pub(super) fn wrote(&self, rows: usize) {
        let rows = rows as u64;
        if self.written.fetch_add(rows, Relaxed) + rows >= ROWS {
            self.written.store(0, Relaxed);
            self.shared.due.notify_one();
        }
    }

    /// True once after the log has become long: the writer then moves what is left of it.
    pub(super) fn is_long(&self) -> bool {
        self.shared.long.swap(false, Relaxed)
    }

    /// Empties the log now, or as soon as no reader blocks it any more. False: it is not empty yet.
    pub(super) async fn empty(&self) -> bool {
        let is_empty = self.shared.try_to_empty().await;
        if !is_empty {
            self.shared.empty.store(true, Relaxed);
            self.shared.due.notify_one();
        }
        is_empty
    }
}

impl Shared {
    /// Moves the log into the database and truncates it, unless a reader blocks it.
    async fn try_to_empty(&self) -> bool {
        let truncate = async {
            let mut connection = SqliteConnection::connect_with(&self.options).await?;
            // Most of the log is moved without blocking the writer, so that the rest takes a moment.
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await?;
            let (busy, _, _): (i64, i64, i64) =
                sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(busy == 0)
        };
        truncate.await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the write-ahead log was not emptied this time");
            false
        })
    }
}

async fn run(readers: SqlitePool, shared: Arc<Shared>) {
    while !readers.is_closed() {
        if shared.empty.load(Relaxed) {
            // A move that becomes due in the meantime is done with it.
            let _ = tokio::time::timeout(AGAIN, shared.due.notified()).await;
            if shared.try_to_empty().await {
                shared.empty.store(false, Relaxed);
                tracing::info!("the database's log was emptied: erased data is gone from it");
            }
            continue;
        }
        shared.due.notified().await;
        if shared.empty.load(Relaxed) {
            continue;
        }
        // What cannot be moved now is moved later, at the latest by a commit, which returns an error if the disk is
        // at fault.
        let moving = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&readers);
        match moving.await {
            Ok::<(i64, i64, i64), _>((_, pages, _)) => shared.long.store(pages > LONG, Relaxed),
            Err(error) => tracing::debug!(%error, "the write-ahead log was not moved this time"),
        }
    }
}
