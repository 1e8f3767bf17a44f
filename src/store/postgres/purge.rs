//! Retention: events are deleted and payloads removed when they are old and no longer needed, see
//! [`crate::store::retention`].
//!
//! Events are found without a lock, in pieces. What a piece finds is locked, examined again, and purged.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Again, Failure, PostgresStore, announce, claims, clock as database_clock, now};
use crate::{
    model::{clock, id::SinkName},
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
            " AND NOT EXISTS (SELECT FROM queue q WHERE q.event_id = e.id AND q.state <> 'dead')"
        )
    };
}

/// The events between two ids.
const WALK: &str = concat!(
    "SELECT e.id, e.payload IS NOT NULL, ",
    may_go!("$1"),
    " FROM events e WHERE e.id > $2 AND e.id < $4 ORDER BY e.id LIMIT $3"
);

/// The events on the list.
const LISTED: &str = concat!(
    "SELECT o.event_id, e.payload IS NOT NULL, COALESCE(",
    may_go!("$1"),
    ", false) FROM overdue o LEFT JOIN events e ON e.id = o.event_id WHERE o.event_id > $2 ORDER BY o.event_id LIMIT $3"
);

/// The replicas take turns.
const PROGRESS: &str = "SELECT emptied_until, began_at FROM retention_progress WHERE id = 1 FOR UPDATE";

/// Events that another transaction has locked (a repeated delivery, a replay) are left for the next round.
const LOCK: &str = "SELECT id FROM events WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED";

/// Waits for transactions that are moving a dispatch to the history: the next statement sees it there.
pub(super) const LOCK_QUEUED: &str = "SELECT FROM queue WHERE event_id = ANY($1) ORDER BY id FOR UPDATE";

/// An event is deleted together with all that belongs to it: there are no foreign keys that would do this. The record
/// of which payment the event announced stays as long as the ledger.
///
/// Only with the lock can no new work (a retry, a replay) begin for these events. Work that began before the lock is
/// only visible to a new statement, like this one.
const DELETE: &str = concat!(
    "WITH gone AS (DELETE FROM events e WHERE e.id = ANY($1) AND ",
    may_go!("$2"),
    " RETURNING id), queued AS (
        DELETE FROM queue q USING gone WHERE q.event_id = gone.id RETURNING q.id
    ), finished AS (
        DELETE FROM history h USING gone WHERE h.event_id = gone.id RETURNING h.id
    ), attempted AS (
        DELETE FROM attempts a USING (SELECT id FROM queued UNION ALL SELECT id FROM finished) AS d
        WHERE a.dispatch_id = d.id
    ), forgotten AS (DELETE FROM announced a USING gone WHERE a.event_id = gone.id),
    unlisted AS (DELETE FROM overdue o USING gone WHERE o.event_id = gone.id)
    SELECT count(*) FROM gone"
);

/// See [`DELETE`].
const EMPTY: &str =
    concat!("UPDATE events e SET payload = NULL WHERE e.id = ANY($1) AND e.payload IS NOT NULL AND ", may_go!("$2"));

/// Puts on the list what has a payload.
const LIST: &str = "INSERT INTO overdue (event_id)
    SELECT id FROM events WHERE id = ANY($1) AND payload IS NOT NULL ORDER BY id ON CONFLICT DO NOTHING";

/// Takes off the list what has none.
const UNLIST: &str = "DELETE FROM overdue WHERE event_id = ANY($1)
    AND NOT EXISTS (SELECT FROM events WHERE id = event_id AND payload IS NOT NULL)";

/// By sink, so that only rows in the future are read.
const BRING_BACK: &str = concat!(
    "WITH moment AS MATERIALIZED (SELECT ",
    now!("$1"),
    " AS now), postponed AS MATERIALIZED (
        SELECT d.id FROM moment, sinks s CROSS JOIN LATERAL (
            SELECT id FROM queue
            WHERE sink = s.name AND due_at > moment.now + $2 AND state IN ('pending', 'held')
              AND (wait_us IS NOT NULL OR attempts = 0) AND due_at > moment.now + $2 + COALESCE(wait_us, 0)
            LIMIT $3
        ) AS d
        LIMIT $3
    ), locked AS MATERIALIZED (
        SELECT id FROM queue WHERE id IN (SELECT id FROM postponed) ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE queue AS d SET due_at = moment.now + COALESCE(d.wait_us, 0) FROM locked, moment
    WHERE d.id = locked.id AND d.state IN ('pending', 'held') AND d.due_at > moment.now + $2 + COALESCE(d.wait_us, 0)
    RETURNING d.sink"
);

/// Dispatches in one transaction of [`RetentionStore::bring_back`].
const AT_ONCE: i64 = 500;

#[async_trait]
impl RetentionStore for PostgresStore {
    async fn retention_time(&self, ran: Duration, now: Option<Timestamp>) -> Result<RetentionTime, StoreError> {
        let belief = self.run("read the time that retention goes by", Again::Harmless, || look(self, ran, now)).await?;
        belief.time().ok_or_else(|| StoreError::Unreadable {
            table: "retention_clock",
            column: "believed_at",
            row: "1".to_owned(),
            problem: "it is no time of this calendar".to_owned(),
        })
    }

    async fn purge_from(
        &self,
        purge: Purge,
        from: Option<PurgeCursor>,
    ) -> Result<(Purged, Option<PurgeCursor>), StoreError> {
        let from = from.unwrap_or(PurgeCursor::START);
        self.run("purge old events", Again::Harmless, || step(self, purge, from)).await
    }

    async fn bring_back(&self, now: Option<Timestamp>) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let sinks: Vec<String> = self
                .run("look for dispatches that a wrong clock has postponed", Again::Harmless, async || {
                    let mut checkout = self.begin().await?;
                    let sinks: Vec<String> = sqlx::query_scalar(BRING_BACK)
                        .bind(now.map(clock::to_micros))
                        .bind(clock::duration_micros(LATE))
                        .bind(AT_ONCE)
                        .fetch_all(checkout.on())
                        .await?;
                    if !sinks.is_empty() {
                        announce::announce(checkout.on(), sinks.iter().map(String::as_str)).await?;
                    }
                    checkout.commit().await?;
                    Ok(sinks)
                })
                .await?;
            let names: Vec<SinkName> = sinks.iter().map(|name| claims::sink_name(name)).collect::<Result<_, _>>()?;
            self.wakeups.wake(&names);
            total += sinks.len() as u64;
            if i64::try_from(sinks.len()).is_ok_and(|found| found < AT_ONCE) {
                return Ok(total);
            }
        }
    }
}

async fn look(store: &PostgresStore, ran: Duration, now: Option<Timestamp>) -> Result<Belief, Failure> {
    let mut checkout = store.begin().await?;
    let newest = "INSERT INTO retention_clock (id, believed_at, seen_at)
        SELECT 1, $1, $1 WHERE NOT EXISTS (SELECT FROM retention_clock) ON CONFLICT (id) DO NOTHING";
    let clock = match now {
        Some(now) => clock::to_micros(now),
        None => database_clock(checkout.on()).await?,
    };
    let first: bool =
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM retention_clock)").fetch_one(checkout.on()).await?;
    if first {
        let received: Option<i64> = sqlx::query_scalar("SELECT received_at FROM events ORDER BY id DESC LIMIT 1")
            .fetch_optional(checkout.on())
            .await?;
        sqlx::query(newest).bind(Belief::first(received, clock).believed_at).execute(checkout.on()).await?;
    }
    // Serialises the replicas.
    let (believed_at, seen_at, doubted_us) =
        sqlx::query_as("SELECT believed_at, seen_at, doubted_us FROM retention_clock WHERE id = 1 FOR UPDATE")
            .fetch_one(checkout.on())
            .await?;
    let before = Belief { believed_at, seen_at, doubted_us };
    let belief = before.look(clock, ran);
    if belief.ended_doubt(before) {
        sqlx::query("UPDATE retention_progress SET began_at = NULL").execute(checkout.on()).await?;
    }
    sqlx::query("UPDATE retention_clock SET believed_at = $1, seen_at = $2, doubted_us = $3 WHERE id = 1")
        .bind(belief.believed_at)
        .bind(belief.seen_at)
        .bind(belief.doubted_us)
        .execute(checkout.on())
        .await?;
    checkout.commit().await?;
    Ok(belief)
}

async fn step(
    store: &PostgresStore,
    purge: Purge,
    from: PurgeCursor,
) -> Result<(Purged, Option<PurgeCursor>), Failure> {
    let (before, end) = from.end(&purge);
    let mut checkout = store.begin().await?;
    let connection = checkout.on();
    let stored: Progress = sqlx::query_as(PROGRESS).fetch_one(&mut *connection).await?;
    let mut progress = stored;
    let (find, after) = match from.stage {
        Stage::Events => (WALK, from.id),
        Stage::Overdue => (LISTED, from.id),
        Stage::Payloads => {
            progress = stored.resume(database_clock(&mut *connection).await?);
            (WALK, progress.emptied_until)
        }
    };
    let find = sqlx::query_as(find).bind(before).bind(after).bind(LOOKED_AT);
    let find = if from.stage == Stage::Overdue { find } else { find.bind(end) };
    let found: Vec<Examined> = find.fetch_all(&mut *connection).await?;
    let step = Step::over(&found, from.stage, purge.limit);
    let purged = remove(&mut *connection, from.stage, &step.go, before).await?;
    if !step.listed.is_empty() {
        let list = if from.stage == Stage::Payloads { LIST } else { UNLIST };
        sqlx::query(list).bind(&step.listed).execute(&mut *connection).await?;
    }
    if let (Stage::Payloads, Some(last)) = (from.stage, step.last) {
        progress.emptied_until = last;
    }
    if progress != stored {
        sqlx::query("UPDATE retention_progress SET emptied_until = $1, began_at = $2")
            .bind(progress.emptied_until)
            .bind(progress.began_at)
            .execute(&mut *connection)
            .await?;
    }
    checkout.commit().await?;
    Ok((purged, step.next))
}

/// Locks these events, and purges those that still may go.
async fn remove(connection: &mut PgConnection, stage: Stage, ids: &[Uuid], before: i64) -> Result<Purged, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Purged::default());
    }
    let ids: Vec<Uuid> = sqlx::query_scalar(LOCK).bind(ids).fetch_all(&mut *connection).await?;
    if stage == Stage::Events {
        sqlx::query(LOCK_QUEUED).bind(&ids).execute(&mut *connection).await?;
        let events: i64 = sqlx::query_scalar(DELETE).bind(&ids).bind(before).fetch_one(connection).await?;
        return Ok(Purged { payloads: 0, events: events.unsigned_abs() });
    }
    let payloads = sqlx::query(EMPTY).bind(&ids).bind(before).execute(connection).await?.rows_affected();
    Ok(Purged { payloads, events: 0 })
}
