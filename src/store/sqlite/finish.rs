//! The end of an attempt: its outcome, the new state, the sink's status and the next dispatch's turn, in one
//! transaction.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::LazyLock,
};

use jiff::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::{
    SqliteStore,
    dispatches::{Lane, call_next},
    rows::{Chunked, During, micros_or_now},
};
use crate::{
    model::{
        clock,
        dispatch::{FinishedAttempt, Next, Outcome},
        id::DispatchId,
    },
    store::{Finish, StoreError, rows::sink_changes, tx::later},
};

/// By id *and* token: a worker whose lease ran out changes nothing.
static SET_STATE: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "WITH finished (id, token, state, due_at, finished_at, error, attempted_at, attempt_us, restarts,
               wait_us) AS (VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ") UPDATE dispatches
           SET state = finished.state, attempts = attempts + 1, due_at = finished.due_at, lease_token = NULL,
               finished_at = finished.finished_at, last_error = coalesce(finished.error, last_error),
               attempted_at = finished.attempted_at, attempt_us = finished.attempt_us,
               first_attempt_at = iif(finished.restarts, NULL, first_attempt_at),
               ageless = iif(finished.restarts, attempts + 1, ageless), wait_us = finished.wait_us
           FROM finished
           -- `+`: keeps the planner from joining by the token, and walking the whole table for it.
           WHERE dispatches.id = finished.id AND +lease_token = +finished.token AND dispatches.state = 'leased'
           RETURNING dispatches.id, attempts, invoice_id",
    )
});

/// Only for attempts that did not deliver.
static INSERT_ATTEMPTS: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error)
         SELECT * FROM (VALUES",
        "(?, ?, ?, ?, ?, ?)",
        ") WHERE column1 IS NOT NULL",
    )
});

/// A pause keeps its first reason.
const COUNT: &str = "
    INSERT INTO sinks (name, registered_at, delivered, last_success_at, last_error_at, last_error, paused_at,
                       paused_reason)
    VALUES (?1, ?2, ?3, iif(?3 > 0, ?2, NULL), iif(?4 IS NULL, NULL, ?2), ?4, iif(?5 IS NULL, NULL, ?2), ?5)
    ON CONFLICT (name) DO UPDATE
    SET delivered = delivered + excluded.delivered,
        last_success_at = coalesce(excluded.last_success_at, last_success_at),
        last_error_at = coalesce(excluded.last_error_at, last_error_at),
        last_error = coalesce(excluded.last_error, last_error),
        paused_reason = iif(paused_at IS NULL, excluded.paused_reason, paused_reason),
        paused_at = coalesce(paused_at, excluded.paused_at)";

/// See [`crate::store::LeaseStore::finish_attempts`].
pub(super) async fn finish(
    store: &SqliteStore,
    batch: &[FinishedAttempt],
    now: Option<Timestamp>,
) -> Result<Vec<Finish>, StoreError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let (recorded, called) = write(store, batch, micros_or_now(now))
        .await
        .during(format_args!("record finished attempts ({})", batch.len()))?;
    super::dispatches::wake(store, &called);
    let due_at_once = batch.iter().enumerate().filter(|(place, attempt)| {
        recorded.contains_key(place) && matches!(attempt.next, Next::Pending { after } if after.is_zero())
    });
    store.wakeups.wake(due_at_once.map(|(_, attempt)| &attempt.sink).collect::<BTreeSet<_>>());
    let became = |place| if recorded.contains_key(&place) { Finish::Recorded } else { Finish::LeaseLost };
    Ok((0..batch.len()).map(became).collect())
}

/// What the database says of a recorded attempt.
struct Recorded {
    number: u32,
    invoice_id: Option<String>,
}

/// The recorded attempts, by their place in the batch, and the sinks that have a dispatch due now.
type Written = (HashMap<usize, Recorded>, Vec<String>);

async fn write(store: &SqliteStore, batch: &[FinishedAttempt], now: i64) -> Result<Written, sqlx::Error> {
    let mut transaction = store.write_relaying().await?;
    let mut recorded = HashMap::with_capacity(batch.len());
    let mut left: Vec<(usize, &FinishedAttempt)> = batch.iter().enumerate().collect();
    // A batch may contain one dispatch twice, under an old lease and a new one, or the same attempt repeated. One
    // statement would choose one of the two at random, so the second is written after it.
    while !left.is_empty() {
        let mut ids = HashSet::with_capacity(left.len());
        let (now_these, later_those) = left.into_iter().partition::<Vec<_>, _>(|(_, attempt)| ids.insert(attempt.id));
        set_states(&mut transaction, &now_these, now, &mut recorded).await?;
        left = later_those;
    }
    insert_attempts(&mut transaction, batch, &recorded).await?;

    let in_order = || batch.iter().enumerate().filter_map(|(place, entry)| Some((entry, recorded.get(&place)?)));
    let lanes: BTreeSet<Lane<'_>> = in_order()
        .filter(|(attempt, _)| attempt.next.state().is_finished())
        .filter_map(|(attempt, recorded)| Some((attempt.sink.as_str(), recorded.invoice_id.as_deref()?)))
        .collect();
    let called = call_next(&mut transaction, &lanes, now).await?;
    count(&mut transaction, in_order().map(|(attempt, _)| attempt), now).await?;
    transaction.commit().await?;
    store.checkpoints.wrote(recorded.len());
    Ok((recorded, called))
}

/// Writes the new states; returns the dispatches whose lease was still ours.
async fn set_states(
    connection: &mut SqliteConnection,
    attempts: &[(usize, &FinishedAttempt)],
    now: i64,
    recorded: &mut HashMap<usize, Recorded>,
) -> Result<(), sqlx::Error> {
    let places: HashMap<DispatchId, usize> = attempts.iter().map(|(place, attempt)| (attempt.id, *place)).collect();
    for (sql, chunk) in SET_STATE.chunks(attempts) {
        let mut query = sqlx::query(sql);
        for (_, attempt) in chunk {
            let state = attempt.next.state();
            let wait = match attempt.next {
                Next::Delivered | Next::Dead => None,
                Next::Pending { after } => Some(after),
                Next::Held { recheck_after } => recheck_after,
            };
            query = query
                .bind(attempt.id.0)
                .bind(attempt.token.0)
                .bind(state.as_str())
                .bind(wait.map(|after| later(now, after)))
                .bind(state.is_finished().then_some(now))
                .bind(attempt.outcome.reason())
                .bind(delivers(attempt).then(|| clock::to_micros(attempt.started_at)))
                .bind(delivers(attempt).then(|| clock::duration_micros(attempt.duration)))
                .bind(attempt.outcome.restarts_the_clock())
                .bind(wait.map(clock::duration_micros));
        }
        for row in query.fetch_all(&mut *connection).await? {
            let id = DispatchId(row.try_get(0)?);
            if let Some(place) = places.get(&id) {
                recorded.insert(*place, Recorded { number: row.try_get(1)?, invoice_id: row.try_get(2)? });
            }
        }
    }
    Ok(())
}

/// True for the attempt that delivers: no other follows it, so the dispatch's row has room for it.
fn delivers(attempt: &FinishedAttempt) -> bool {
    attempt.outcome == Outcome::Delivered && attempt.next == Next::Delivered
}

/// Inserts the attempts that did not deliver.
async fn insert_attempts(
    connection: &mut SqliteConnection,
    batch: &[FinishedAttempt],
    recorded: &HashMap<usize, Recorded>,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(&FinishedAttempt, u32)> = batch
        .iter()
        .enumerate()
        .filter(|(_, attempt)| !delivers(attempt))
        .filter_map(|(place, attempt)| Some((attempt, recorded.get(&place)?.number)))
        .collect();
    for (sql, chunk) in INSERT_ATTEMPTS.chunks(&rows) {
        let mut query = sqlx::query(sql);
        for (attempt, number) in chunk {
            query = query
                .bind(attempt.id.0)
                .bind(number)
                .bind(clock::to_micros(attempt.started_at))
                .bind(clock::duration_micros(attempt.duration))
                .bind(attempt.outcome.as_str())
                .bind(attempt.outcome.reason());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Updates the sinks' status: one row for each sink, for any number of attempts.
async fn count<'a>(
    connection: &mut SqliteConnection,
    recorded: impl Iterator<Item = &'a FinishedAttempt>,
    now: i64,
) -> Result<(), sqlx::Error> {
    for (sink, change) in sink_changes(recorded) {
        sqlx::query(COUNT)
            .bind(sink.as_str())
            .bind(now)
            .bind(change.delivered)
            .bind(change.error)
            .bind(change.pause)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod hot {
    //! The hot statements, for the tests of their plans.
    pub(in crate::store::sqlite) fn statements() -> [&'static str; 2] {
        [super::SET_STATE.largest(), super::INSERT_ATTEMPTS.largest()]
    }
}
