//! Dispatches as a person lists and changes them (lists, retry, cancel), and the order within an invoice.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{
    SqliteStore,
    finish::{CALL, HEAD, wake},
    rows::{During, json_array, micros_or_now},
};
use crate::{
    model::{
        dispatch::{Attempt, Dispatch},
        id::{DispatchId, EventId, SinkName},
    },
    store::{
        DispatchFilter, DispatchStore, DispatchesPage, Replay, StoreError,
        lists::{Lists as _, whole_dispatch},
        rows::with_attempts,
    },
};

/// The dispatches of an event with their attempts, in the order in which they were written.
pub(super) async fn of_event(
    connection: &mut SqliteConnection,
    event: EventId,
) -> Result<Vec<(Dispatch, Vec<Attempt>)>, sqlx::Error> {
    let dispatches = sqlx::query_as(concat!(whole_dispatch!(), " WHERE event_id = ? ORDER BY id"))
        .bind(event.0)
        .fetch_all(&mut *connection)
        .await?;
    let attempts = sqlx::query_as(
        "SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts
         WHERE dispatch_id IN (SELECT id FROM dispatches WHERE event_id = ?) ORDER BY dispatch_id, number",
    )
    .bind(event.0)
    .fetch_all(connection)
    .await?;
    Ok(with_attempts(dispatches, attempts))
}

/// Returns the sink of each dispatch that changed.
async fn write_retry(store: &SqliteStore, ids: &[DispatchId]) -> Result<Vec<String>, sqlx::Error> {
    let mut transaction = store.write().await?;
    let sinks = sqlx::query_scalar(
        "UPDATE queue
         SET state = 'pending', due_at = ?2, waits_for = NULL, finished_at = NULL, wait_us = 0,
             first_attempt_at = CASE state WHEN 'pending' THEN first_attempt_at END,
             ageless = CASE state WHEN 'pending' THEN ageless ELSE attempts END
         WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('pending', 'held', 'dead')
           -- Without its payload a dead dispatch has nothing left to send.
           AND EXISTS (SELECT 1 FROM events WHERE events.id = queue.event_id AND payload IS NOT NULL)
         RETURNING sink",
    )
    .bind(json_array(ids.iter().map(|id| id.0)))
    .bind(micros_or_now(None))
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(sinks)
}

/// Returns how many were cancelled, and the sinks that have a dispatch due now.
async fn write_cancel(store: &SqliteStore, ids: &[DispatchId]) -> Result<(u64, Vec<String>), sqlx::Error> {
    let now = micros_or_now(None);
    let mut transaction = store.write().await?;
    let ids = json_array(ids.iter().map(|id| id.0));
    let lanes: Vec<(String, Option<String>)> = sqlx::query_as(
        "INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at,
                              finished_at, last_error)
         SELECT id, event_id, sink, event_type, invoice_id, 'cancelled', trigger, attempts, created_at, ?2, last_error
         FROM queue WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('pending', 'held', 'dead')
         RETURNING sink, invoice_id",
    )
    .bind(&ids)
    .bind(now)
    .fetch_all(&mut *transaction)
    .await?;
    sqlx::query(
        "DELETE FROM queue
         WHERE id IN (SELECT value FROM json_each(?)) AND state IN ('pending', 'held', 'dead')",
    )
    .bind(&ids)
    .execute(&mut *transaction)
    .await?;
    let cancelled = lanes.len() as u64;
    let lanes: BTreeSet<Lane<'_>> =
        lanes.iter().filter_map(|(sink, invoice)| Some((sink.as_str(), invoice.as_deref()?))).collect();
    let sinks = call_next(&mut transaction, &lanes, now).await?;
    transaction.commit().await?;
    Ok((cancelled, sinks))
}

async fn write_replays(store: &SqliteStore, wanted: &[Replay]) -> Result<Vec<Option<Vec<DispatchId>>>, sqlx::Error> {
    let mut transaction = store.write().await?;
    let now = micros_or_now(None);
    let mut answers = Vec::with_capacity(wanted.len());
    let mut written = 0;
    for replay in wanted {
        let kept: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM events WHERE id = ? AND payload IS NOT NULL)")
                .bind(replay.event.0)
                .fetch_one(&mut *transaction)
                .await?;
        if !kept {
            answers.push(None);
            continue;
        }
        let mut ids = Vec::with_capacity(replay.sinks.len());
        // A person asked for this, so there are a few sinks: one statement each.
        for sink in &replay.sinks {
            let number = sqlx::query_scalar(
                "INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
                 SELECT id, ?2, type, invoice_id, 'pending', 'replay', ?3, ?3 FROM events WHERE id = ?1
                 RETURNING id",
            )
            .bind(replay.event.0)
            .bind(sink.as_str())
            .bind(now)
            .fetch_one(&mut *transaction)
            .await?;
            ids.push(DispatchId(number));
        }
        written += ids.len();
        answers.push(Some(ids));
    }
    transaction.commit().await?;
    store.checkpoints.wrote(written);
    Ok(answers)
}

/// A sink and an invoice; the dispatches of a lane keep their order.
pub(super) type Lane<'a> = (&'a str, &'a str);

/// Makes the first unfinished dispatch of each lane due, if a claim had postponed it because it was blocked. Returns
/// the sinks of those dispatches.
pub(super) async fn call_next(
    connection: &mut SqliteConnection,
    lanes: &BTreeSet<Lane<'_>>,
    now: i64,
) -> Result<Vec<String>, sqlx::Error> {
    let mut sinks = Vec::new();
    for (sink, invoice) in lanes {
        let head: Option<(i64, Option<i64>)> =
            sqlx::query_as(HEAD).bind(*sink).bind(*invoice).fetch_optional(&mut *connection).await?;
        if let Some((id, Some(_))) = head {
            sqlx::query(CALL).bind(id).bind(now).execute(&mut *connection).await?;
            sinks.push((*sink).to_owned());
        }
    }
    Ok(sinks)
}

#[async_trait]
impl DispatchStore for SqliteStore {
    async fn list_dispatches(&self, filter: &DispatchFilter, limit: u32) -> Result<DispatchesPage, StoreError> {
        self.list(filter, limit).await
    }

    async fn dispatch_ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError> {
        self.ids(filter, most).await
    }

    async fn count_dispatches(&self, filter: &DispatchFilter) -> Result<(u64, bool), StoreError> {
        self.count(filter).await
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
        self.one(id).await
    }

    async fn retry_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError> {
        let sinks = write_retry(self, ids).await.during(format_args!("retry dispatches ({})", ids.len()))?;
        wake(self, &sinks);
        Ok(sinks.len() as u64)
    }

    async fn cancel_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError> {
        let (cancelled, sinks) =
            write_cancel(self, ids).await.during(format_args!("cancel dispatches ({})", ids.len()))?;
        wake(self, &sinks);
        Ok(cancelled)
    }

    async fn replay_event(&self, id: EventId, sinks: &[SinkName]) -> Result<Option<Vec<DispatchId>>, StoreError> {
        let wanted = [Replay { event: id, sinks: sinks.to_vec() }];
        Ok(self.replay_events(&wanted).await?.pop().flatten())
    }

    async fn replay_events(&self, wanted: &[Replay]) -> Result<Vec<Option<Vec<DispatchId>>>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let written = write_replays(self, wanted).await.during(format_args!("replay events ({})", wanted.len()))?;
        self.wakeups.wake(wanted.iter().flat_map(|replay| &replay.sinks).collect::<BTreeSet<_>>());
        Ok(written)
    }
}
