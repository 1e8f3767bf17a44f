//! The end of an attempt: its outcome, the new state, the sink's status and the next dispatch's turn, in one
//! transaction.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    SqliteStore,
    rows::{During, micros_or_now},
    writer::Flush,
};
use crate::{
    model::{
        clock,
        dispatch::{FinishedAttempt, Next, Outcome},
        id::SinkName,
    },
    store::{Finish, StoreError, rows::sink_changes, tx::later},
};

/// By id *and* token: a worker whose lease ran out changes nothing.
const LEASED: &str = "SELECT attempts + 1, invoice_id FROM queue WHERE id = ? AND lease_token = ?";

/// Moves a dispatch into the history, before [`REMOVE`].
const DELIVER: &str = "
    INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at,
                         attempted_at, attempt_us, last_error)
    SELECT id, event_id, sink, event_type, invoice_id, 'delivered', trigger, attempts + 1, created_at, ?2, ?3, ?4,
           coalesce(?5, last_error)
    FROM queue WHERE id = ?1";

pub(super) const REMOVE: &str = "DELETE FROM queue WHERE id = ?";

const SET_STATE: &str = "
    UPDATE queue
    SET state = ?2, attempts = attempts + 1, due_at = ?3, lease_token = NULL, alone = 0, finished_at = ?4,
        last_error = coalesce(?5, last_error), first_attempt_at = iif(?6, NULL, first_attempt_at),
        ageless = iif(?6, attempts + 1, ageless), wait_us = ?7
    WHERE id = ?1";

/// Only for attempts that did not deliver.
const INSERT_ATTEMPT: &str = "
    INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error) VALUES (?, ?, ?, ?, ?, ?)";

/// The first unfinished dispatch of a lane, and the one that it was found to wait for.
pub(super) const HEAD: &str = "
    SELECT id, waits_for FROM queue WHERE sink = ? AND invoice_id = ? AND finished_at IS NULL ORDER BY turn LIMIT 1";

pub(super) const CALL: &str = "UPDATE queue SET due_at = ?2, waits_for = NULL WHERE id = ?1";

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

/// Sinks with their invoices; the dispatches of each keep their order.
pub(super) type Lanes = BTreeSet<(String, String)>;

/// Wakes the sinks of these names. A name that is not valid in a configuration has no worker.
pub(super) fn wake(store: &SqliteStore, sinks: &[String]) {
    let names: BTreeSet<SinkName> = sinks.iter().filter_map(|name| SinkName::new(name).ok()).collect();
    store.wakeups.wake(&names);
}

/// See [`crate::store::LeaseStore::finish_attempts`].
pub(super) async fn finish(
    store: &SqliteStore,
    batch: &[FinishedAttempt],
    now: Option<Timestamp>,
) -> Result<Vec<Finish>, StoreError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let ended = batch.to_vec();
    let finishing = store.thread.run(Flush::Later, batch.len(), move |on| write(on, &ended, micros_or_now(now)));
    let (finishes, called) = finishing.await.during(format_args!("record finished attempts ({})", batch.len()))?;
    wake(store, &called);
    let due_at_once = batch.iter().zip(&finishes).filter(|(attempt, finish)| {
        **finish == Finish::Recorded && matches!(attempt.next, Next::Pending { after } if after.is_zero())
    });
    store.wakeups.wake(due_at_once.map(|(attempt, _)| &attempt.sink).collect::<BTreeSet<_>>());
    Ok(finishes)
}

/// Returns what became of each attempt, and the sinks that have a dispatch due now.
fn write(on: &Connection, batch: &[FinishedAttempt], now: i64) -> rusqlite::Result<(Vec<Finish>, Vec<String>)> {
    let mut leased = on.prepare_cached(LEASED)?;
    let mut finishes = Vec::with_capacity(batch.len());
    let mut lanes = Lanes::new();
    for attempt in batch {
        let of_lease =
            leased.query_one(params![attempt.id.0, attempt.token.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((number, invoice)): Option<(i64, Option<String>)> = of_lease.optional()? else {
            finishes.push(Finish::LeaseLost);
            continue;
        };
        set_state(on, attempt, now)?;
        if !delivers(attempt) {
            on.prepare_cached(INSERT_ATTEMPT)?.execute(params![
                attempt.id.0,
                number,
                clock::to_micros(attempt.started_at),
                clock::duration_micros(attempt.duration),
                attempt.outcome.as_str(),
                attempt.outcome.reason()
            ])?;
        }
        lanes.extend(invoice.map(|invoice| (attempt.sink.as_str().to_owned(), invoice)));
        finishes.push(Finish::Recorded);
    }
    let called = call_next(on, &lanes, now)?;
    let recorded = batch.iter().zip(&finishes).filter(|(_, finish)| **finish == Finish::Recorded);
    let mut count = on.prepare_cached(COUNT)?;
    for (sink, change) in sink_changes(recorded.map(|(attempt, _)| attempt)) {
        count.execute(params![sink.as_str(), now, change.delivered, change.error, change.pause])?;
    }
    Ok((finishes, called))
}

fn set_state(on: &Connection, attempt: &FinishedAttempt, now: i64) -> rusqlite::Result<()> {
    let (id, error) = (attempt.id.0, attempt.outcome.reason());
    let wait = match attempt.next {
        Next::Delivered => {
            let started_at = delivers(attempt).then(|| clock::to_micros(attempt.started_at));
            let duration = delivers(attempt).then(|| clock::duration_micros(attempt.duration));
            on.prepare_cached(DELIVER)?.execute(params![id, now, started_at, duration, error])?;
            on.prepare_cached(REMOVE)?.execute([id])?;
            return Ok(());
        }
        Next::Dead => None,
        Next::Pending { after } => Some(after),
        Next::Held { recheck_after } => recheck_after,
    };
    let state = attempt.next.state();
    on.prepare_cached(SET_STATE)?.execute(params![
        id,
        state.as_str(),
        wait.map(|after| later(now, after)),
        state.is_finished().then_some(now),
        error,
        attempt.outcome.restarts_the_clock(),
        wait.map(clock::duration_micros)
    ])?;
    Ok(())
}

/// True for the attempt that delivers: no other follows it, so the dispatch's row has room for it.
fn delivers(attempt: &FinishedAttempt) -> bool {
    attempt.outcome == Outcome::Delivered && attempt.next == Next::Delivered
}

/// Makes the first unfinished dispatch of each lane due, if a claim had postponed it because it was blocked. Returns
/// the sinks of those dispatches.
pub(super) fn call_next(on: &Connection, lanes: &Lanes, now: i64) -> rusqlite::Result<Vec<String>> {
    let mut head = on.prepare_cached(HEAD)?;
    let mut sinks = Vec::new();
    for (sink, invoice) in lanes {
        let first = head.query_one([sink, invoice], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if let Some((id, Some(_))) = first.map(|(id, waits_for): (i64, Option<i64>)| (id, waits_for)) {
            on.prepare_cached(CALL)?.execute([id, now])?;
            sinks.push(sink.clone());
        }
    }
    Ok(sinks)
}

#[cfg(test)]
pub(super) mod hot {
    //! The hot statements, for the tests of their plans.
    pub(in crate::store::sqlite) const STATEMENTS: [&str; 6] =
        [super::LEASED, super::DELIVER, super::REMOVE, super::SET_STATE, super::CALL, super::HEAD];
}
