//! Dispatches as a person lists and changes them (lists, retry, cancel), and the order within an invoice.

use std::{collections::BTreeSet, sync::LazyLock};

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{
    SqliteStore,
    rows::{Chunked, During, json_array, json_ids, micros_or_now},
};
use crate::{
    model::{
        dispatch::{Attempt, Dispatch, State},
        id::{DispatchId, EventId, SinkName},
    },
    store::{
        DispatchFilter, DispatchStore, Page, Replay, StoreError,
        dispatches::NEWEST,
        rows::{DispatchRow, with_attempts},
    },
};

/// The columns of [`DispatchRow`].
const DISPATCH_COLUMNS: &str = "id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, \
                                due_at, finished_at, last_error, waits_for, attempted_at, attempt_us";

/// The dispatches of an event with their attempts, in the order in which they were written.
pub(super) async fn of_event(
    connection: &mut SqliteConnection,
    event: EventId,
) -> Result<Vec<(Dispatch, Vec<Attempt>)>, sqlx::Error> {
    let dispatches = sqlx::query_as(
        "SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at,
                last_error, waits_for, attempted_at, attempt_us
         FROM dispatches WHERE event_id = ? ORDER BY id",
    )
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

async fn read(store: &SqliteStore, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, sqlx::Error> {
    let mut transaction = store.look().await?;
    let dispatch: Vec<DispatchRow> = sqlx::query_as(
        "SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at,
                last_error, waits_for, attempted_at, attempt_us
         FROM dispatches WHERE id = ?",
    )
    .bind(id.0)
    .fetch_all(&mut *transaction)
    .await?;
    let attempts = sqlx::query_as(
        "SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts
         WHERE dispatch_id = ? ORDER BY number",
    )
    .bind(id.0)
    .fetch_all(&mut *transaction)
    .await?;
    Ok(with_attempts(dispatch, attempts).pop())
}

/// The statement for a list of dispatches.
///
/// Rare states are few among many rows, so each is read from an index that holds only those; nearly all dispatches
/// are delivered, so these are read in the table's own order.
pub(super) fn list_statement(filter: &DispatchFilter, limit: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(DISPATCH_COLUMNS).push(" FROM dispatches WHERE TRUE");
    if let Some(event) = filter.event_id {
        sql.push(" AND event_id = ").push_bind(event.0);
    }
    if let Some(found) = &filter.found {
        sql.push(" AND event_id IN (SELECT unhex(value) FROM json_each(")
            .push_bind(json_ids(found.iter().map(|event| event.0)))
            .push("))");
    }
    if let Some(invoice_id) = &filter.invoice_id {
        sql.push(" AND invoice_id = ").push_bind(invoice_id.clone());
        if filter.event_id.is_none() {
            sql.push(" AND event_id IN (SELECT id FROM events WHERE invoice_id = ").push_bind(invoice_id.clone());
            sql.push(")");
        }
    }
    // The condition of a partial index has to stand in the statement word for word,
    // <https://www.sqlite.org/partialindex.html#queries_using_partial_indexes>.
    match filter.state {
        // The index by due time can count these without the table; it cannot return them in order.
        Some(state @ (State::Pending | State::Leased))
            if filter.event_id.is_none() && filter.invoice_id.is_none() && filter.found.is_none() =>
        {
            sql.push(" AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = '");
            sql.push(state.as_str()).push("'");
            if let Some(sink) = &filter.sink {
                sql.push(" AND sink = ").push_bind(sink.clone());
            }
            if let Some(before) = filter.before {
                sql.push(" AND id < ").push_bind(before.0);
            }
            sql.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1).push(")");
        }
        Some(state @ (State::Held | State::Dead | State::Cancelled)) => {
            sql.push(" AND state IN ('held', 'dead', 'cancelled') AND state = '").push(state.as_str()).push("'");
        }
        Some(state @ (State::Pending | State::Leased | State::Delivered)) => {
            sql.push(" AND state = '").push(state.as_str()).push("'");
        }
        None => {}
    }
    if let Some(sink) = &filter.sink {
        sql.push(" AND sink = ").push_bind(sink.clone());
    }
    if let Some(before) = filter.before {
        sql.push(" AND id < ").push_bind(before.0);
    }
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
    sql
}

/// The same for unfinished dispatches, among the newest [`NEWEST`] dispatches only. A large backlog consists mostly
/// of the newest dispatches, and the index that holds it would have to be sorted for a page.
pub(super) fn newest_statement(filter: &DispatchFilter, state: State, limit: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(DISPATCH_COLUMNS).push(" FROM (SELECT ").push(DISPATCH_COLUMNS).push(" FROM dispatches WHERE TRUE");
    if let Some(before) = filter.before {
        sql.push(" AND id < ").push_bind(before.0);
    }
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(NEWEST).push(") WHERE state = '").push(state.as_str()).push("'");
    if let Some(sink) = &filter.sink {
        sql.push(" AND sink = ").push_bind(sink.clone());
    }
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
    sql
}

/// The statement for the numbers of a selection: one walk over the index that holds them.
pub(super) fn ids_statement(filter: &DispatchFilter, most: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT id FROM dispatches WHERE TRUE");
    if let Some(event) = filter.event_id {
        sql.push(" AND event_id = ").push_bind(event.0);
    }
    if let Some(invoice_id) = &filter.invoice_id {
        sql.push(" AND invoice_id = ").push_bind(invoice_id.clone());
        if filter.event_id.is_none() {
            sql.push(" AND event_id IN (SELECT id FROM events WHERE invoice_id = ").push_bind(invoice_id.clone());
            sql.push(")");
        }
    }
    if let Some(found) = &filter.found {
        sql.push(" AND event_id IN (SELECT unhex(value) FROM json_each(")
            .push_bind(json_ids(found.iter().map(|event| event.0)))
            .push("))");
    }
    // As in a list, except for the order.
    match filter.state {
        Some(state @ (State::Pending | State::Leased)) => {
            sql.push(" AND due_at IS NOT NULL AND state = '").push(state.as_str()).push("'");
        }
        Some(state @ (State::Held | State::Dead | State::Cancelled)) => {
            sql.push(" AND state IN ('held', 'dead', 'cancelled') AND state = '").push(state.as_str()).push("'");
        }
        Some(State::Delivered) => {
            sql.push(" AND state = 'delivered'");
        }
        None => {}
    }
    if let Some(sink) = &filter.sink {
        sql.push(" AND sink = ").push_bind(sink.clone());
    }
    if let Some(before) = filter.before {
        sql.push(" AND id < ").push_bind(before.0);
    }
    sql.push(" LIMIT ").push_bind(i64::from(most));
    sql
}

/// Returns the sink of each dispatch that changed.
async fn write_retry(store: &SqliteStore, ids: &[DispatchId]) -> Result<Vec<String>, sqlx::Error> {
    let mut transaction = store.write().await?;
    let sinks = sqlx::query_scalar(
        "UPDATE dispatches
         SET state = 'pending', due_at = ?2, waits_for = NULL, finished_at = NULL, wait_us = 0,
             first_attempt_at = CASE state WHEN 'pending' THEN first_attempt_at END,
             ageless = CASE state WHEN 'pending' THEN ageless ELSE attempts END
         WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('pending', 'held', 'dead')
           -- Without its payload a dead dispatch has nothing left to send.
           AND EXISTS (SELECT 1 FROM events WHERE events.id = dispatches.event_id AND payload IS NOT NULL)
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
    let lanes: Vec<(String, Option<String>)> = sqlx::query_as(
        "UPDATE dispatches SET state = 'cancelled', due_at = NULL, waits_for = NULL, finished_at = ?2
         WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('pending', 'held', 'dead')
         RETURNING sink, invoice_id",
    )
    .bind(json_array(ids.iter().map(|id| id.0)))
    .bind(now)
    .fetch_all(&mut *transaction)
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
                "INSERT INTO dispatches (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
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

static CALL_NEXT: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "WITH now (at) AS (VALUES (?)), lanes (sink, invoice_id) AS (VALUES",
        "(?, ?)",
        ") UPDATE dispatches SET due_at = (SELECT at FROM now), waits_for = NULL
           WHERE id IN (
               SELECT (SELECT head.id FROM dispatches AS head
                       WHERE head.sink = lanes.sink AND head.invoice_id = lanes.invoice_id
                         AND head.finished_at IS NULL
                       ORDER BY head.id LIMIT 1)
               FROM lanes)
             AND waits_for IS NOT NULL
           RETURNING sink",
    )
});

/// Makes the first unfinished dispatch of each lane due, if a claim had postponed it because it was blocked. Returns
/// the sinks of those dispatches.
pub(super) async fn call_next(
    connection: &mut SqliteConnection,
    lanes: &BTreeSet<Lane<'_>>,
    now: i64,
) -> Result<Vec<String>, sqlx::Error> {
    let lanes: Vec<Lane<'_>> = lanes.iter().copied().collect();
    let mut sinks = Vec::new();
    for (sql, chunk) in CALL_NEXT.chunks(&lanes) {
        let mut query = sqlx::query_scalar(sql).bind(now);
        for (sink, invoice) in chunk {
            query = query.bind(*sink).bind(*invoice);
        }
        sinks.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(sinks)
}

/// Wakes the sinks of these names. A name that is not valid in a configuration has no worker.
pub(super) fn wake(store: &SqliteStore, sinks: &[String]) {
    let names: BTreeSet<SinkName> = sinks.iter().filter_map(|name| SinkName::new(name).ok()).collect();
    store.wakeups.wake(&names);
}

#[async_trait]
impl DispatchStore for SqliteStore {
    async fn list_dispatches(&self, filter: &DispatchFilter, limit: u32) -> Result<Page<Dispatch>, StoreError> {
        let mut rows: Vec<DispatchRow> = Vec::new();
        if let Some(state) = filter.by_due_time() {
            rows = newest_statement(filter, state, limit)
                .build_query_as()
                .persistent(false)
                .fetch_all(&self.lookers)
                .await
                .during("list dispatches")?;
        }
        if rows.len() <= limit as usize {
            rows = list_statement(filter, limit)
                .build_query_as()
                .persistent(false)
                .fetch_all(&self.lookers)
                .await
                .during("list dispatches")?;
        }
        Ok(Page::cut(rows, limit))
    }

    async fn dispatch_ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError> {
        let ids: Vec<i64> = ids_statement(filter, most)
            .build_query_scalar()
            .persistent(false)
            .fetch_all(&self.lookers)
            .await
            .during("select dispatches")?;
        Ok(ids.into_iter().map(DispatchId).collect())
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
        read(self, id).await.during(format_args!("read dispatch {id}"))
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

#[cfg(test)]
pub(super) mod hot {
    //! The hot statement, for the test of its plan.
    pub(in crate::store::sqlite) fn call_next() -> &'static str {
        super::CALL_NEXT.largest()
    }
}
