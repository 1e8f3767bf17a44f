//! Retention: payloads go first, events later, and nothing that is still needed.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Again, PostgresStore};
use crate::{
    model::clock,
    store::{Purge, Purged, StoreError},
};

/// Old events without unfinished dispatches, locked; those that somebody else has locked (a delivery
/// that is repeated, a replay) are left for the next time.
macro_rules! old_events {
    ($with_payload:literal) => {
        concat!(
            "SELECT e.id FROM events e WHERE e.payload ",
            $with_payload,
            " AND e.received_at < $1
             AND NOT EXISTS (SELECT FROM dispatches d WHERE d.event_id = e.id AND d.finished_at IS NULL)
             ORDER BY e.received_at LIMIT $2 FOR UPDATE OF e SKIP LOCKED"
        )
    };
}

/// Only now, with the lock, does nobody begin anything for these events (a retry, a replay); and
/// what was begun before the lock is seen by a new statement only.
macro_rules! still_idle {
    () => {
        " e.id = ANY($1) AND NOT EXISTS (SELECT FROM dispatches d WHERE d.event_id = e.id AND d.finished_at IS NULL)"
    };
}

/// An event goes with all that belongs to it: there are no foreign keys that would see to it. Which payment it had stays
/// as long as the ledger.
const DELETE: &str = concat!(
    "WITH gone AS (DELETE FROM events e WHERE",
    still_idle!(),
    " RETURNING id), dispatched AS (
        DELETE FROM dispatches d USING gone WHERE d.event_id = gone.id RETURNING d.id
    ), attempted AS (DELETE FROM attempts a USING dispatched d WHERE a.dispatch_id = d.id),
    forgotten AS (DELETE FROM announced a USING gone WHERE a.event_id = gone.id)
    SELECT count(*) FROM gone"
);

pub(super) const WITH_PAYLOAD: &str = old_events!("IS NOT NULL");
pub(super) const PURGED: &str = old_events!("IS NULL");

pub(super) async fn purge(store: &PostgresStore, purge: Purge) -> Result<Purged, StoreError> {
    store
        .run("purging old events", Again::Harmless, async || {
            let mut checkout = store.begin().await?;
            let limit = i64::from(purge.limit);
            // Events go first: there is no point in emptying what is deleted anyway.
            let before = clock::to_micros(purge.events_before);
            let mut old = find(checkout.on(), PURGED, before, limit).await?;
            let left = limit - count(&old);
            old.extend(find(checkout.on(), WITH_PAYLOAD, before, left).await?);
            let events: i64 = sqlx::query_scalar(DELETE).bind(&old).fetch_one(checkout.on()).await?;

            let before = clock::to_micros(purge.payloads_before);
            let full = find(checkout.on(), WITH_PAYLOAD, before, limit - count(&old)).await?;
            let statement = concat!("UPDATE events e SET payload = NULL WHERE", still_idle!());
            let payloads = sqlx::query(statement).bind(&full).execute(checkout.on()).await?.rows_affected();
            checkout.commit().await?;
            Ok(Purged { payloads, events: events.unsigned_abs() })
        })
        .await
}

fn count(ids: &[Uuid]) -> i64 {
    i64::try_from(ids.len()).unwrap_or(i64::MAX)
}

async fn find(
    connection: &mut PgConnection,
    statement: &'static str,
    before: i64,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    if limit <= 0 {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(statement).bind(before).bind(limit).fetch_all(connection).await
}
