//! Retention: payloads are deleted first, events later, and nothing that is still needed.
//!
//! Old events are found without a lock, in pieces; each piece starts where the last one ended. An event with an
//! unfinished dispatch is therefore met once a round, however many of them there are.

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
        retention::{Belief, LATE, LOOKED_AT, PurgeCursor, RetentionStore, RetentionTime},
    },
};

/// The oldest events from a given place on, and whether each is still needed.
macro_rules! old_events {
    ($with_payload:literal) => {
        concat!(
            "SELECT e.id, e.received_at,
                    EXISTS (SELECT FROM dispatches d WHERE d.event_id = e.id AND d.finished_at IS NULL)
             FROM events e WHERE e.payload ",
            $with_payload,
            " AND e.received_at < $1 AND e.received_at >= $2 AND (e.received_at, e.id) > ($2, $3)
             ORDER BY e.received_at, e.id LIMIT $4"
        )
    };
}

/// Locked; events that another transaction has locked (a repeated delivery, a replay) are left for the next round.
const LOCK: &str = "SELECT id FROM events WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED";

/// Only with the lock can no new work (a retry, a replay) begin for these events. Work that began before the lock is
/// only visible to a new statement.
macro_rules! still_idle {
    () => {
        " e.id = ANY($1) AND NOT EXISTS (SELECT FROM dispatches d WHERE d.event_id = e.id AND d.finished_at IS NULL)"
    };
}

/// An event is deleted together with all that belongs to it: there are no foreign keys that would do this. The record
/// of which payment the event announced stays as long as the ledger.
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

/// The stages of a round. Events are deleted first: there is no point in emptying an event that is deleted anyway.
const PURGED_EVENTS: u8 = 0;
const FULL_EVENTS: u8 = 1;
const PAYLOADS: u8 = 2;

/// By sink, so that only rows in the future are read.
const BRING_BACK: &str = concat!(
    "WITH moment AS MATERIALIZED (SELECT ",
    now!("$1"),
    " AS now), postponed AS MATERIALIZED (
        SELECT d.id FROM moment, sinks s CROSS JOIN LATERAL (
            SELECT id FROM dispatches
            WHERE sink = s.name AND due_at > moment.now + $2 AND state IN ('pending', 'held')
              AND (wait_us IS NOT NULL OR attempts = 0) AND due_at > moment.now + $2 + COALESCE(wait_us, 0)
            LIMIT $3
        ) AS d
        LIMIT $3
    ), locked AS MATERIALIZED (
        SELECT id FROM dispatches WHERE id IN (SELECT id FROM postponed) ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE dispatches AS d SET due_at = moment.now + COALESCE(d.wait_us, 0) FROM locked, moment
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
        let from = from.unwrap_or_else(|| PurgeCursor::stage(PURGED_EVENTS));
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
        let received: Option<i64> = sqlx::query_scalar(
            "SELECT greatest(
                (SELECT received_at FROM events WHERE payload IS NOT NULL ORDER BY received_at DESC LIMIT 1),
                (SELECT received_at FROM events WHERE payload IS NULL ORDER BY received_at DESC LIMIT 1))",
        )
        .fetch_one(checkout.on())
        .await?;
        sqlx::query(newest).bind(Belief::first(received, clock).believed_at).execute(checkout.on()).await?;
    }
    // Serialises the replicas.
    let (believed_at, seen_at, doubted_us) =
        sqlx::query_as("SELECT believed_at, seen_at, doubted_us FROM retention_clock WHERE id = 1 FOR UPDATE")
            .fetch_one(checkout.on())
            .await?;
    let belief = Belief { believed_at, seen_at, doubted_us }.look(clock, ran);
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
    let (statement, before) = match from.stage {
        PURGED_EVENTS => (PURGED, purge.events_before),
        FULL_EVENTS => (WITH_PAYLOAD, purge.events_before),
        _ => (WITH_PAYLOAD, purge.payloads_before),
    };
    let mut checkout = store.begin().await?;
    let found: Vec<(Uuid, i64, bool)> = sqlx::query_as(statement)
        .bind(clock::to_micros(before))
        .bind(from.received_at)
        .bind(from.id)
        .bind(LOOKED_AT)
        .fetch_all(checkout.on())
        .await?;
    let mut ids = Vec::new();
    let mut next = None;
    for (id, received_at, is_needed) in &found {
        if ids.len() == purge.limit as usize {
            break;
        }
        next = Some(PurgeCursor { stage: from.stage, received_at: *received_at, row: 0, id: *id });
        if !is_needed {
            ids.push(*id);
        }
    }
    let is_last = found.len() < usize::try_from(LOOKED_AT).unwrap_or(usize::MAX)
        && found.last().is_none_or(|(id, ..)| next.is_some_and(|next| next.id == *id));
    if is_last {
        next = (from.stage < PAYLOADS).then(|| PurgeCursor::stage(from.stage + 1));
    }
    let purged = if ids.is_empty() {
        Purged::default()
    } else {
        let ids: Vec<Uuid> = sqlx::query_scalar(LOCK).bind(ids).fetch_all(checkout.on()).await?;
        remove(checkout.on(), from.stage, &ids).await?
    };
    checkout.commit().await?;
    Ok((purged, next))
}

/// Deletes the locked rows that are still idle.
async fn remove(connection: &mut PgConnection, stage: u8, ids: &[Uuid]) -> Result<Purged, sqlx::Error> {
    if stage < PAYLOADS {
        let events: i64 = sqlx::query_scalar(DELETE).bind(ids).fetch_one(connection).await?;
        return Ok(Purged { payloads: 0, events: events.unsigned_abs() });
    }
    let statement = concat!("UPDATE events e SET payload = NULL WHERE", still_idle!());
    let payloads = sqlx::query(statement).bind(ids).execute(connection).await?.rows_affected();
    Ok(Purged { payloads, events: 0 })
}
