//! Retention: payloads are deleted first, events later, and never anything unfinished.
//!
//! Old events are found by a reader, in pieces; each piece starts where the last one ended. An event with an
//! unfinished dispatch is therefore met once a round, however many of them there are. The writer gets row numbers,
//! and checks again whether the rows may be deleted.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    SqliteStore,
    rows::{During, Place, json_array, micros_or_now},
};
use crate::{
    model::clock,
    store::{
        Purge, Purged, StoreError,
        retention::{Belief, LATE, LOOKED_AT, PurgeCursor, RetentionStore, RetentionTime},
    },
};

/// The oldest events from a given place on, and whether each may be deleted. The walk is along the index; the
/// condition of a partial index has to stand in the statement word for word.
macro_rules! find {
    ($payload:literal) => {
        concat!(
            "SELECT e.rowid, e.received_at,
                    EXISTS (SELECT 1 FROM dispatches WHERE event_id = e.id AND finished_at IS NULL)
             FROM events AS e
             WHERE e.payload ",
            $payload,
            " AND e.received_at < ?1 AND (e.received_at, e.rowid) > (?2, ?3)
             ORDER BY e.received_at, e.rowid LIMIT ?4"
        )
    };
}
pub(super) const FIND_WITH_PAYLOAD: &str = find!("IS NOT NULL");
pub(super) const FIND_WITHOUT_PAYLOAD: &str = find!("IS NULL");

/// An event with an unfinished dispatch keeps its payload: it is still needed.
pub(super) const PURGE_PAYLOADS: &str = "
    UPDATE events SET payload = NULL
    WHERE rowid IN (SELECT value FROM json_each(?1)) AND payload IS NOT NULL AND received_at < ?2
      AND NOT EXISTS (SELECT 1 FROM dispatches WHERE event_id = events.id AND finished_at IS NULL)";

/// Events whose payload is gone already; dispatches and attempts go with them.
pub(super) const PURGE_EVENTS: &str = "
    DELETE FROM events
    WHERE rowid IN (SELECT value FROM json_each(?1)) AND payload IS NULL AND received_at < ?2
      AND NOT EXISTS (SELECT 1 FROM dispatches WHERE event_id = events.id AND finished_at IS NULL)";

/// The stages of a round. An event that is old enough to be deleted loses its payload in the first stage.
const PAYLOADS: u8 = 0;
const EVENTS: u8 = 1;

/// Dispatches that are due later than their wait allows, each with that wait. By sink, so that only rows in the
/// future are read.
pub(super) const POSTPONED: &str = "
    SELECT id, ?1 + coalesce(wait_us, 0) FROM dispatches
    WHERE sink IN (SELECT name FROM sinks) AND due_at IS NOT NULL AND due_at > ?1 + ?2
      AND state IN ('pending', 'held') AND (wait_us IS NOT NULL OR attempts = 0)
      AND due_at > ?1 + ?2 + coalesce(wait_us, 0)
    LIMIT ?3";

/// The same condition again, by number. The `+` keeps the planner from walking the index by due time.
pub(super) const BRING_BACK: &str = "
    UPDATE dispatches NOT INDEXED SET due_at = ?1 + coalesce(wait_us, 0)
    WHERE id IN (SELECT value FROM json_each(?3)) AND state IN ('pending', 'held')
      AND +due_at > ?1 + ?2 + coalesce(wait_us, 0)
    RETURNING sink";

/// Dispatches in one transaction of [`RetentionStore::bring_back`].
const AT_ONCE: i64 = 500;

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn retention_time(&self, ran: Duration, now: Option<Timestamp>) -> Result<RetentionTime, StoreError> {
        let belief = look(self, ran, micros_or_now(now)).await.during("read the time that retention goes by")?;
        let place = Place { table: "retention_clock", row: &1 };
        belief.time().ok_or_else(|| place.unreadable("believed_at", "it is no time of this calendar"))
    }

    async fn purge_from(
        &self,
        purge: Purge,
        from: Option<PurgeCursor>,
    ) -> Result<(Purged, Option<PurgeCursor>), StoreError> {
        let from = from.unwrap_or_else(|| PurgeCursor::stage(PAYLOADS));
        step(self, purge, from).await.during("purge old events")
    }

    async fn bring_back(&self, now: Option<Timestamp>) -> Result<u64, StoreError> {
        let now = micros_or_now(now);
        let action = "look for dispatches that a wrong clock has postponed";
        let mut total = 0;
        loop {
            let (found, sinks) = bring_back(self, now).await.during(action)?;
            super::dispatches::wake(self, &sinks);
            total += sinks.len() as u64;
            if sinks.is_empty() || i64::try_from(found).is_ok_and(|found| found < AT_ONCE) {
                return Ok(total);
            }
        }
    }
}

async fn look(store: &SqliteStore, ran: Duration, now: i64) -> Result<Belief, sqlx::Error> {
    let mut transaction = store.write().await?;
    let stored: Option<(i64, i64, Option<i64>)> =
        sqlx::query_as("SELECT believed_at, seen_at, doubted_us FROM retention_clock WHERE id = 1")
            .fetch_optional(&mut *transaction)
            .await?;
    let before = if let Some((believed_at, seen_at, doubted_us)) = stored {
        Belief { believed_at, seen_at, doubted_us }
    } else {
        let newest: Option<i64> = sqlx::query_scalar(
            "SELECT max(newest) FROM (SELECT max(received_at) AS newest FROM events WHERE payload IS NOT NULL
             UNION ALL SELECT max(received_at) FROM events WHERE payload IS NULL)",
        )
        .fetch_one(&mut *transaction)
        .await?;
        Belief::first(newest, now)
    };
    let belief = before.look(now, ran);
    sqlx::query(
        "INSERT INTO retention_clock (id, believed_at, seen_at, doubted_us) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET believed_at = ?1, seen_at = ?2, doubted_us = ?3",
    )
    .bind(belief.believed_at)
    .bind(belief.seen_at)
    .bind(belief.doubted_us)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(belief)
}

async fn step(
    store: &SqliteStore,
    purge: Purge,
    from: PurgeCursor,
) -> Result<(Purged, Option<PurgeCursor>), sqlx::Error> {
    let (find, remove, before) = if from.stage == PAYLOADS {
        (FIND_WITH_PAYLOAD, PURGE_PAYLOADS, purge.payloads_before.max(purge.events_before))
    } else {
        (FIND_WITHOUT_PAYLOAD, PURGE_EVENTS, purge.events_before)
    };
    let before = clock::to_micros(before);
    let found: Vec<(i64, i64, bool)> = sqlx::query_as(find)
        .bind(before)
        .bind(from.received_at)
        .bind(from.row)
        .bind(LOOKED_AT)
        .fetch_all(&store.readers)
        .await?;
    let mut rows = Vec::new();
    let mut next = None;
    for (row, received_at, is_needed) in &found {
        if rows.len() == purge.limit as usize {
            break;
        }
        next = Some(PurgeCursor { stage: from.stage, received_at: *received_at, row: *row, id: Uuid::nil() });
        if !is_needed {
            rows.push(*row);
        }
    }
    let is_last = found.len() < usize::try_from(LOOKED_AT).unwrap_or(usize::MAX)
        && found.last().is_none_or(|(row, ..)| next.is_some_and(|next| next.row == *row));
    if is_last {
        next = (from.stage == PAYLOADS).then(|| PurgeCursor::stage(EVENTS));
    }
    let removed = if rows.is_empty() {
        0
    } else {
        let mut transaction = store.write().await?;
        let done = sqlx::query(remove).bind(json_array(rows)).bind(before).execute(&mut *transaction).await?;
        transaction.commit().await?;
        done.rows_affected()
    };
    let purged = match from.stage {
        PAYLOADS => Purged { payloads: removed, events: 0 },
        _ => Purged { payloads: 0, events: removed },
    };
    Ok((purged, next))
}

/// One transaction. Returns how many were found, and the sink of each dispatch that is due sooner now.
async fn bring_back(store: &SqliteStore, now: i64) -> Result<(usize, Vec<String>), sqlx::Error> {
    let late = clock::duration_micros(LATE);
    let found: Vec<(i64, i64)> =
        sqlx::query_as(POSTPONED).bind(now).bind(late).bind(AT_ONCE).fetch_all(&store.readers).await?;
    if found.is_empty() {
        return Ok((0, Vec::new()));
    }
    let mut transaction = store.write().await?;
    let sinks = sqlx::query_scalar(BRING_BACK)
        .bind(now)
        .bind(late)
        .bind(json_array(found.iter().map(|(id, _)| *id)))
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok((found.len(), sinks))
}
