//! When endpoints were last heard of, and a commit that is tried.

use std::{path::Path, str::FromStr};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    SqliteStore,
    rows::{During, Place, micros_or_now},
};
use crate::{
    model::{clock, id::EndpointName},
    store::{
        StoreError,
        activity::{Activity, ActivityStore},
    },
};

/// With less free space than this the next accepts may not find room: four of the largest transactions, with what the
/// log needs beside them.
pub(super) const LEAST_FREE_BYTES: u64 = 16 * 1024 * 1024;

#[async_trait]
impl ActivityStore for SqliteStore {
    async fn note_activity(&self, seen: &[(EndpointName, Option<Timestamp>)]) -> Result<Vec<Activity>, StoreError> {
        let action = "noting when endpoints were last heard of";
        let seen: Vec<_> = seen.iter().map(|(name, at)| (name.as_str(), at.map(clock::to_micros))).collect();
        let seen = serde_json::to_string(&seen).expect("names and numbers can be written as JSON");
        let mut transaction = self.write().await.during(action)?;
        // What changes no row is committed without touching the file. `WHERE TRUE`: see `sinks::register`.
        sqlx::query(
            "INSERT INTO endpoint_activity (endpoint, watched_since, last_delivery_at)
             SELECT value ->> 0, ?2, min(value ->> 1, ?2) FROM json_each(?1) WHERE TRUE
             ON CONFLICT (endpoint) DO UPDATE SET last_delivery_at = max(
                 coalesce(excluded.last_delivery_at, min(endpoint_activity.last_delivery_at, ?2)),
                 coalesce(min(endpoint_activity.last_delivery_at, ?2), excluded.last_delivery_at))
             WHERE excluded.last_delivery_at > coalesce(endpoint_activity.last_delivery_at, excluded.last_delivery_at - 1)
                OR endpoint_activity.last_delivery_at > ?2",
        )
        .bind(&seen)
        .bind(micros_or_now(None))
        .execute(&mut *transaction)
        .await
        .during(action)?;
        let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(
            "SELECT endpoint, watched_since, last_delivery_at FROM endpoint_activity
             WHERE endpoint IN (SELECT value ->> 0 FROM json_each(?1))",
        )
        .bind(&seen)
        .fetch_all(&mut *transaction)
        .await
        .during(action)?;
        transaction.commit().await.during(action)?;
        rows.into_iter().map(read).collect()
    }

    async fn trial_write(&self) -> Result<(), StoreError> {
        let action = "trying whether a commit works";
        let mut transaction = self.write().await.during(action)?;
        sqlx::query(
            "INSERT INTO trial_writes (id, written_at) VALUES (1, ?)
             ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at",
        )
        .bind(micros_or_now(None))
        .execute(&mut *transaction)
        .await
        .during(action)?;
        transaction.commit().await.during(action)
    }
}

fn read((endpoint, watched_since, last_delivery_at): (String, i64, Option<i64>)) -> Result<Activity, StoreError> {
    let place = Place { table: "endpoint_activity", row: &endpoint };
    Ok(Activity {
        watched_since: clock::nearest(watched_since),
        last_delivery_at: last_delivery_at.map(clock::nearest),
        endpoint: EndpointName::from_str(&endpoint).map_err(|problem| place.unreadable("endpoint", problem))?,
    })
}

/// Refuses a disk that has no room for the next transactions: SQLite itself finds out only when it writes, and a
/// transaction that is rolled back may have written nothing.
///
/// Where the system cannot say how much is free, nothing is refused: the first failing commit tells.
pub(super) async fn check_space(path: &Path, least: u64) -> Result<(), StoreError> {
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
