//! Moves the log into the database beside the writer, so that a commit seldom has to.
//!
//! A commit that finds the log full moves it before it returns, and everybody behind it in the queue
//! waits. A reader may do the same at any time without holding up the writer
//! (<https://www.sqlite.org/wal.html#concurrency>, `PASSIVE`), so a task does it after every so many
//! written rows; the commit then finds nearly nothing left to move. Under a load that never pauses
//! only the commit can begin the log anew, so it keeps its own limit.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use sqlx::SqlitePool;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// So many rows later the log is moved: about a megabyte of a young database, and a few of a large
/// one, whose keys lie far apart.
const ROWS: u64 = 1024;

/// Counts what is written and moves the log now and then.
#[derive(Debug)]
pub(super) struct Checkpoints {
    written: AtomicU64,
    due: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Checkpoints {
    /// Starts the task; it ends when the pool is closed or this is dropped.
    pub(super) fn start(readers: SqlitePool) -> Self {
        let due = Arc::new(Notify::new());
        let task = tokio::spawn(run(readers, due.clone()));
        Self { written: AtomicU64::new(0), due, _task: AbortOnDropHandle::new(task) }
    }

    /// So many rows were written.
    pub(super) fn wrote(&self, rows: usize) {
        let rows = rows as u64;
        if self.written.fetch_add(rows, Relaxed) + rows >= ROWS {
            self.written.store(0, Relaxed);
            self.due.notify_one();
        }
    }
}

async fn run(readers: SqlitePool, due: Arc<Notify>) {
    while !readers.is_closed() {
        due.notified().await;
        // What cannot be moved now is moved later, at the latest by a commit, which says so if the
        // disk is at fault.
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&readers).await {
            tracing::debug!(%error, "the write-ahead log was not moved this time");
        }
    }
}
