//! Moves the log into the database beside the writer, so that a commit seldom has to; and empties it.
//!
//! A commit that finds the log full moves it before it returns, and everybody behind it in the queue
//! waits. A reader may do the same at any time without holding up the writer
//! (<https://www.sqlite.org/wal.html#concurrency>, `PASSIVE`), so a task does it after every so many
//! written rows; the commit then finds nearly nothing left to move. Under a load that never pauses
//! only the commit can begin the log anew, so it keeps its own limit.
//!
//! What was erased stands in the log until that is cut to nothing, which needs the moment in which no reader is at work.
//! The writer must not wait for it: a backup reads for minutes. So it is tried on a connection of its own, which waits
//! for nobody, and tried again until it has worked.

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

/// So many rows later the log is moved: about a megabyte of a young database, and a few of a large
/// one, whose keys lie far apart.
const ROWS: u64 = 1024;

/// Between two tries to empty the log.
const AGAIN: Duration = Duration::from_secs(5);

/// Counts what is written and moves the log now and then.
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
    options: SqliteConnectOptions,
}

impl Checkpoints {
    /// Starts the task; it ends when the pool is closed or this is dropped. `options` are those of a connection that
    /// waits for no lock.
    pub(super) fn start(readers: SqlitePool, options: SqliteConnectOptions) -> Self {
        let shared = Arc::new(Shared { due: Notify::new(), empty: AtomicBool::new(false), options });
        let task = tokio::spawn(run(readers, shared.clone()));
        Self { written: AtomicU64::new(0), shared, _task: AbortOnDropHandle::new(task) }
    }

    /// So many rows were written.
    pub(super) fn wrote(&self, rows: usize) {
        let rows = rows as u64;
        if self.written.fetch_add(rows, Relaxed) + rows >= ROWS {
            self.written.store(0, Relaxed);
            self.shared.due.notify_one();
        }
    }

    /// Empties the log now, or as soon as no reader is in the way any more; false: not yet.
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
    /// Moves the log into the database and cuts it to nothing, if nobody is in the way.
    async fn try_to_empty(&self) -> bool {
        let truncate = async {
            let mut connection = SqliteConnection::connect_with(&self.options).await?;
            // Nearly everything is moved without holding up the writer, so that the rest takes a moment.
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
            // Whatever is due meanwhile is done with it.
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
        // What cannot be moved now is moved later, at the latest by a commit, which says so if the
        // disk is at fault.
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&readers).await {
            tracing::debug!(%error, "the write-ahead log was not moved this time");
        }
    }
}
