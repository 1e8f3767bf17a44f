//! Dispatches as operators see them: listed, shown, retried, called off; and whose turn it is.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{
    SqliteStore,
    rows::{Chunked, During, json_array, json_ids, micros_or_now},
};
use crate::{
    model::{
        dispatch::{Attempt, Dispatch, Outcome, State, Trigger},
        id::{DispatchId, EventId, SinkName},
    },
    store::{DispatchFilter, NEWEST, Page, StoreError, spoiled::Reader},
};

/// A dispatch's columns.
#[derive(FromRow)]
pub(super) struct DispatchRow {
    id: i64,
    event_id: Uuid,
    event_type: String,
    invoice_id: Option<String>,
    sink: String,
    state: String,
    attempts: i64,
    trigger: String,
    created_at: i64,
    due_at: Option<i64>,
    finished_at: Option<i64>,
    last_error: Option<String>,
    waits_for: Option<i64>,
    attempted_at: Option<i64>,
    attempt_us: Option<u64>,
}

const DISPATCH_COLUMNS: &str = "id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, \
                                due_at, finished_at, last_error, waits_for, attempted_at, attempt_us";

impl From<DispatchRow> for Dispatch {
    fn from(row: DispatchRow) -> Self {
        let mut reader = Reader::default();
        // What stands in an unknown state is for a person to look at.
        let state = reader.word("state", &row.state, State::Held);
        let due_at = reader.optional_time("due_at", row.due_at);
        Self {
            id: DispatchId(row.id),
            event_id: EventId(row.event_id),
            event_type: row.event_type,
            invoice_id: row.invoice_id,
            sink: row.sink,
            state,
            attempts: reader.count("attempts", row.attempts),
            trigger: reader.word("trigger", &row.trigger, Trigger::Event),
            created_at: reader.time("created_at", row.created_at),
            // While it is leased, `due_at` is the end of the lease.
            next_attempt_at: due_at.filter(|_| state != State::Leased),
            finished_at: reader.optional_time("finished_at", row.finished_at),
            last_error: row.last_error,
            waits_for: row.waits_for.map(DispatchId),
            fault: reader.fault(),
        }
    }
}

#[derive(FromRow)]
struct AttemptRow {
    dispatch_id: i64,
    number: i64,
    started_at: i64,
    duration_us: u64,
    outcome: String,
    error: Option<String>,
}

/// A dispatch as read, with its attempts.
pub(super) struct WithAttempts {
    dispatch: DispatchRow,
    attempts: Vec<AttemptRow>,
}

impl WithAttempts {
    /// The same in the words of the model.
    pub(super) fn into_model(self) -> (Dispatch, Vec<Attempt>) {
        // The attempt that delivered has no row of its own.
        let delivering =
            self.dispatch.attempted_at.zip(self.dispatch.attempt_us).map(|(started_at, duration_us)| AttemptRow {
                dispatch_id: self.dispatch.id,
                number: self.dispatch.attempts,
                started_at,
                duration_us,
                outcome: Outcome::Delivered.as_str().to_owned(),
                error: None,
            });
        let mut reader = Reader::default();
        let attempts = self
            .attempts
            .into_iter()
            .chain(delivering)
            .map(|row| Attempt {
                number: reader.count("number of an attempt", row.number),
                started_at: reader.time("started_at of an attempt", row.started_at),
                duration: std::time::Duration::from_micros(row.duration_us),
                outcome: row.outcome,
                error: row.error,
            })
            .collect();
        let mut dispatch = Dispatch::from(self.dispatch);
        dispatch.fault = dispatch.fault.or(reader.fault());
        (dispatch, attempts)
    }
}

/// The dispatches of an event with their attempts, in the order in which they were written.
pub(super) async fn of_event(
    connection: &mut SqliteConnection,
    event: EventId,
) -> Result<Vec<WithAttempts>, sqlx::Error> {
    let dispatches: Vec<DispatchRow> = sqlx::query_as(
        "SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at,
                last_error, waits_for, attempted_at, attempt_us
         FROM dispatches WHERE event_id = ? ORDER BY id",
    )
    .bind(event.0)
    .fetch_all(&mut *connection)
    .await?;
    let mut attempts: HashMap<i64, Vec<AttemptRow>> = HashMap::new();
    let rows: Vec<AttemptRow> = sqlx::query_as(
        "SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts
         WHERE dispatch_id IN (SELECT id FROM dispatches WHERE event_id = ?) ORDER BY dispatch_id, number",
    )
    .bind(event.0)
    .fetch_all(connection)
    .await?;
    for row in rows {
        attempts.entry(row.dispatch_id).or_default().push(row);
    }
    Ok(dispatches
        .into_iter()
        .map(|dispatch| WithAttempts { attempts: attempts.remove(&dispatch.id).unwrap_or_default(), dispatch })
        .collect())
}

/// See [`crate::store::Store::dispatch`].
pub(super) async fn detail(
    store: &SqliteStore,
    id: DispatchId,
) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
    let found = read(store, id).await.during(format_args!("reading dispatch {id}"))?;
    Ok(found.map(WithAttempts::into_model))
}

async fn read(store: &SqliteStore, id: DispatchId) -> Result<Option<WithAttempts>, sqlx::Error> {
    let mut transaction = store.look().await?;
    let Some(dispatch) = sqlx::query_as(
        "SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at,
                last_error, waits_for, attempted_at, attempt_us
         FROM dispatches WHERE id = ?",
    )
    .bind(id.0)
    .fetch_optional(&mut *transaction)
    .await?
    else {
        return Ok(None);
    };
    let attempts = sqlx::query_as(
        "SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts
         WHERE dispatch_id = ? ORDER BY number",
    )
    .bind(id.0)
    .fetch_all(&mut *transaction)
    .await?;
    Ok(Some(WithAttempts { dispatch, attempts }))
}

/// The statement for a list of dispatches.
///
/// Rare states are few among many rows, so each goes by an index that holds only its like; what has
/// been delivered is nearly everything and goes by the table's own order.
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
        // The index by due time can count these without the table; it cannot give their order.
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

/// The same for what is under way, among the newest [`NEWEST`] dispatches alone. A large backlog is mostly of the newest,
/// and the index that holds it would have to be sorted for a page.
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

/// See [`crate::store::Store::list_dispatches`].
pub(super) async fn list(
    store: &SqliteStore,
    filter: &DispatchFilter,
    limit: u32,
) -> Result<Page<Dispatch>, StoreError> {
    let mut rows: Vec<DispatchRow> = Vec::new();
    if let Some(state) = filter.by_due_time() {
        rows = newest_statement(filter, state, limit)
            .build_query_as()
            .persistent(false)
            .fetch_all(&store.lookers)
            .await
            .during("listing dispatches")?;
    }
    if rows.len() <= limit as usize {
        rows = list_statement(filter, limit)
            .build_query_as()
            .persistent(false)
            .fetch_all(&store.lookers)
            .await
            .during("listing dispatches")?;
    }
    let more = rows.len() > limit as usize;
    let rows = rows.into_iter().take(limit as usize).map(Dispatch::from).collect();
    Ok(Page { rows, more })
}

/// The statement for the numbers of a selection: in one walk over what holds it.
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
    // As in a list, but for the order.
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

/// See [`crate::store::Store::dispatch_ids`].
pub(super) async fn ids(
    store: &SqliteStore,
    filter: &DispatchFilter,
    most: u32,
) -> Result<Vec<DispatchId>, StoreError> {
    let ids: Vec<i64> = ids_statement(filter, most)
        .build_query_scalar()
        .persistent(false)
        .fetch_all(&store.lookers)
        .await
        .during("selecting dispatches")?;
    Ok(ids.into_iter().map(DispatchId).collect())
}

/// See [`crate::store::Store::retry_dispatches`].
pub(super) async fn retry(store: &SqliteStore, ids: &[DispatchId]) -> Result<u64, StoreError> {
    let sinks = write_retry(store, ids).await.during(format_args!("retrying {} dispatches", ids.len()))?;
    wake(store, &sinks);
    Ok(sinks.len() as u64)
}

/// Answers the sink of each dispatch that changed.
async fn write_retry(store: &SqliteStore, ids: &[DispatchId]) -> Result<Vec<String>, sqlx::Error> {
    let mut transaction = store.write().await?;
    let sinks = sqlx::query_scalar(
        "UPDATE dispatches
         SET state = 'pending', due_at = ?2, waits_for = NULL, finished_at = NULL, wait_us = 0,
             first_attempt_at = CASE state WHEN 'pending' THEN first_attempt_at END,
             ageless = CASE state WHEN 'pending' THEN ageless ELSE attempts END
         WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('pending', 'held', 'dead')
           -- Without its payload a dead one has nothing left to send.
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

/// See [`crate::store::Store::cancel_dispatches`].
pub(super) async fn cancel(store: &SqliteStore, ids: &[DispatchId]) -> Result<u64, StoreError> {
    let (cancelled, sinks) =
        write_cancel(store, ids).await.during(format_args!("cancelling {} dispatches", ids.len()))?;
    wake(store, &sinks);
    Ok(cancelled)
}

/// Answers how many were cancelled, and the sinks that have something to do now.
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

/// A sink and an invoice: their dispatches keep their order.
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

/// Makes the first unfinished dispatch of each lane due, if a claim had put it aside because it was
/// not its turn. Answers the sinks of those.
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

/// Wakes the sinks of these names. A name that no configuration could hold has no worker.
pub(super) fn wake(store: &SqliteStore, sinks: &[String]) {
    let names: BTreeSet<SinkName> = sinks.iter().filter_map(|name| SinkName::new(name).ok()).collect();
    store.wakeups.wake(&names);
}

#[cfg(test)]
pub(super) mod hot {
    //! The hot statement, for the test of its plan.
    pub(in crate::store::sqlite) fn call_next() -> &'static str {
        super::CALL_NEXT.largest()
    }
}
