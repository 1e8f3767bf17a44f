//! Retention: events are deleted and payloads removed when they are old and no longer needed, see
//! [`crate::store::retention`].
//!
//! Events are found by a reader, in pieces. The writer gets their ids, and checks again whether they may go.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{
    SqliteStore,
    rows::{During, Place, json_array, json_ids, micros_or_now},
};
use crate::{
    model::clock,
    store::{
        Purge, Purged, StoreError,
        retention::{
            Belief, Examined, LATE, LOOKED_AT, Progress, PurgeCursor, RetentionStore, RetentionTime, Stage, Step,
        },
    },
};

/// True for an event that is old enough and no longer needed: all its dispatches are finished.
macro_rules! may_go {
    ($before:literal) => {
        concat!(
            "e.received_at < ",
            $before,
            " AND NOT EXISTS (SELECT 1 FROM queue WHERE event_id = e.id AND state <> 'dead')"
        )
    };
}

/// Those of a JSON array of ids.
macro_rules! these {
    () => {
        "(SELECT unhex(value) FROM json_each(?1))"
    };
}

/// The events between two ids.
pub(super) const WALK: &str = concat!(
    "SELECT e.id, e.payload IS NOT NULL, ",
    may_go!("?1"),
    " FROM events AS e WHERE e.id > ?2 AND e.id < ?4 ORDER BY e.id LIMIT ?3"
);

/// The events on the list.
pub(super) const LISTED: &str = concat!(
    "SELECT o.event_id, e.payload IS NOT NULL, coalesce(",
    may_go!("?1"),
    ", 0) FROM overdue AS o LEFT JOIN events AS e ON e.id = o.event_id WHERE o.event_id > ?2 ORDER BY o.event_id LIMIT ?3"
);

/// The reference of `announced` deletes its row.
pub(super) const DELETE: &str =
    concat!("DELETE FROM events AS e WHERE e.id IN ", these!(), " AND ", may_go!("?2"), " RETURNING id");

/// What belongs to the deleted events.
pub(super) const DELETE_REST: [&str; 4] = [
    concat!(
        "DELETE FROM attempts WHERE dispatch_id IN (SELECT id FROM queue WHERE event_id IN ",
        these!(),
        " UNION ALL SELECT id FROM history WHERE event_id IN ",
        these!(),
        ")"
    ),
    concat!("DELETE FROM queue WHERE event_id IN ", these!()),
    concat!("DELETE FROM history WHERE event_id IN ", these!()),
    concat!("DELETE FROM overdue WHERE event_id IN ", these!()),
];

pub(super) const EMPTY: &str = concat!(
    "UPDATE events AS e SET payload = NULL WHERE e.id IN ",
    these!(),
    " AND e.payload IS NOT NULL AND ",
    may_go!("?2")
);

/// Puts on the list what has a payload.
pub(super) const LIST: &str = concat!(
    "INSERT INTO overdue (event_id) SELECT id FROM events WHERE id IN ",
    these!(),
    " AND payload IS NOT NULL ON CONFLICT DO NOTHING"
);

/// Takes off the list what has none.
pub(super) const UNLIST: &str = concat!(
    "DELETE FROM overdue WHERE event_id IN ",
    these!(),
    " AND NOT EXISTS (SELECT 1 FROM events WHERE id = event_id AND payload IS NOT NULL)"
);

/// Dispatches that are due later than their wait allows, each with that wait. By sink, so that only rows in the
/// future are read.
pub(super) const POSTPONED: &str = "
    SELECT id, ?1 + coalesce(wait_us, 0) FROM queue
    WHERE sink IN (SELECT name FROM sinks) AND due_at IS NOT NULL AND due_at > ?1 + ?2
      AND state IN ('pending', 'held') AND (wait_us IS NOT NULL OR attempts = 0)
      AND due_at > ?1 + ?2 + coalesce(wait_us, 0)
    LIMIT ?3";

/// The same condition again, by number. The `+` keeps the planner from walking the index by due time.
pub(super) const BRING_BACK: &str = "
    UPDATE queue NOT INDEXED SET due_at = ?1 + coalesce(wait_us, 0)
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
        step(self, purge, from.unwrap_or(PurgeCursor::START)).await.during("purge old events")
    }

    async fn bring_back(&self, now: Option<Timestamp>) -> Result<u64, StoreError> {
        let now = micros_or_now(now);
        let action = "look for dispatches that a wrong clock has postponed";
        let mut total = 0;
        loop {
            let (found, sinks) = bring_back(self, now).await.during(action)?;
            super::finish::wake(self, &sinks);
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
        let newest: Option<i64> = sqlx::query_scalar("SELECT received_at FROM events ORDER BY id DESC LIMIT 1")
            .fetch_optional(&mut *transaction)
            .await?;
        Belief::first(newest, now)
    };
    let belief = before.look(now, ran);
    if belief.ended_doubt(before) {
        sqlx::query("UPDATE retention_progress SET began_at = NULL").execute(&mut *transaction).await?;
    }
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
    let (before, end) = from.end(&purge);
    let stored: Progress =
        sqlx::query_as("SELECT emptied_until, began_at FROM retention_progress").fetch_one(&store.readers).await?;
    let mut progress = stored;
    let (find, after) = match from.stage {
        Stage::Events => (WALK, from.id),
        Stage::Overdue => (LISTED, from.id),
        Stage::Payloads => {
            progress = stored.resume(micros_or_now(None));
            (WALK, progress.emptied_until)
        }
    };
    let find = sqlx::query_as(find).bind(before).bind(after).bind(LOOKED_AT);
    let find = if from.stage == Stage::Overdue { find } else { find.bind(end) };
    let found: Vec<Examined> = find.fetch_all(&store.readers).await?;
    let step = Step::over(&found, from.stage, purge.limit);
    if let (Stage::Payloads, Some(last)) = (from.stage, step.last) {
        progress.emptied_until = last;
    }
    if step.go.is_empty() && step.listed.is_empty() && progress == stored {
        return Ok((Purged::default(), step.next));
    }
    let mut transaction = store.write().await?;
    let purged = remove(&mut transaction, from.stage, &step.go, before).await?;
    if !step.listed.is_empty() {
        let list = if from.stage == Stage::Payloads { LIST } else { UNLIST };
        sqlx::query(list).bind(json_ids(step.listed)).execute(&mut *transaction).await?;
    }
    if progress != stored {
        sqlx::query("UPDATE retention_progress SET emptied_until = ?, began_at = ?")
            .bind(progress.emptied_until)
            .bind(progress.began_at)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok((purged, step.next))
}

/// Purges those of these events that still may go.
async fn remove(
    connection: &mut SqliteConnection,
    stage: Stage,
    ids: &[Uuid],
    before: i64,
) -> Result<Purged, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Purged::default());
    }
    let ids = json_ids(ids.iter().copied());
    if stage != Stage::Events {
        let payloads = sqlx::query(EMPTY).bind(ids).bind(before).execute(connection).await?.rows_affected();
        return Ok(Purged { payloads, events: 0 });
    }
    let gone: Vec<Uuid> = sqlx::query_scalar(DELETE).bind(ids).bind(before).fetch_all(&mut *connection).await?;
    let events = gone.len() as u64;
    let ids = json_ids(gone);
    for rest in DELETE_REST {
        sqlx::query(rest).bind(&ids).execute(&mut *connection).await?;
    }
    Ok(Purged { payloads: 0, events })
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
