//! Retention: payloads go first, events later, and never what is unfinished.

use super::{SqliteStore, rows::During};
use crate::{
    model::clock,
    store::{Purge, Purged, StoreError},
};

/// The oldest payloads. An event with an unfinished dispatch keeps its own: it is still needed.
pub(super) const PURGE_PAYLOADS: &str = "
    UPDATE events SET payload = NULL
    WHERE id IN (
        SELECT id FROM events AS e
        WHERE payload IS NOT NULL AND received_at < ?1
          AND NOT EXISTS (SELECT 1 FROM dispatches WHERE event_id = e.id AND finished_at IS NULL)
        ORDER BY received_at LIMIT ?2)";

/// The oldest events whose payload is gone already; dispatches and attempts go with them.
pub(super) const PURGE_EVENTS: &str = "
    DELETE FROM events
    WHERE id IN (
        SELECT id FROM events AS e
        WHERE payload IS NULL AND received_at < ?1
          AND NOT EXISTS (SELECT 1 FROM dispatches WHERE event_id = e.id AND finished_at IS NULL)
        ORDER BY received_at LIMIT ?2)";

/// See [`crate::store::Store::purge`].
pub(super) async fn purge(store: &SqliteStore, purge: Purge) -> Result<Purged, StoreError> {
    write(store, purge).await.during("removing what is older than the retention time")
}

async fn write(store: &SqliteStore, purge: Purge) -> Result<Purged, sqlx::Error> {
    let mut transaction = store.write().await?;
    let events = sqlx::query(PURGE_EVENTS)
        .bind(clock::to_micros(purge.events_before))
        .bind(purge.limit)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    let left = u64::from(purge.limit).saturating_sub(events);
    // An event old enough to go altogether loses its payload first, and goes with the next call.
    let payloads = sqlx::query(PURGE_PAYLOADS)
        .bind(clock::to_micros(purge.payloads_before.max(purge.events_before)))
        .bind(i64::try_from(left).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    transaction.commit().await?;
    Ok(Purged { payloads, events })
}
