//! Whether the disk has room for the next transactions.

use std::path::Path;

use crate::store::StoreError;

/// With less free space than this the next accepts may not find room. It is four of the largest transactions, with
/// the log that they need beside them.
pub(super) const LEAST_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// Refuses a disk that has no room for the next transactions. SQLite itself notices only when it writes, and a
/// transaction that is rolled back may have written nothing.
///
/// Where the system cannot say how much is free, nothing is refused: the first failing commit reports it.
pub(super) async fn check(path: &Path, least: u64) -> Result<(), StoreError> {
    let file = path.to_owned();
    // A network file system may take its time to answer.
    let free = tokio::task::spawn_blocking(move || {
        rustix::fs::statvfs(&file).ok().map(|space| space.f_bavail.saturating_mul(space.f_frsize))
    });
    match free.await {
        Ok(Some(free)) if free < least => Err(StoreError::Open(format!(
            "the disk of the database {} has {} MiB left, and {} MiB are needed: make room, or move the database",
            path.display(),
            free >> 20,
            least >> 20
        ))),
        _ => Ok(()),
    }
}
