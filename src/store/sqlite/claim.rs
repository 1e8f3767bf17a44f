//! The beginning of an attempt: dispatches are leased, or given back unused.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    SqliteStore,
    finish::{self, Lanes, wake},
    rows::{During, Place, between, micros_or_now},
    writer::Flush,
};
use crate::{
    model::{
        clock,
        dispatch::{FinishedAttempt, LeasedDispatch, Order},
        id::{DispatchId, EventId, LeaseToken, SinkName},
    },
    store::{
        BLOCKED_RECHECK, CLAIM_BYTES, Claim, Claimed, ERASED, Finish, LOOK_AHEAD, LeaseStore, ORPHANED, StoreError,
        leases::aging_since, tx::later,
    },
};

/// The dispatches that are due for sink ?1 at time ?2, at most ?3; if ?4, each with the first unfinished one of its
/// invoice, whether that is pending, leased, held or the dispatch itself.
pub(super) const DUE: &str = "
    SELECT id, attempts, trigger, first_attempt_at, due_at, event_id, event_type, invoice_id,
           CASE WHEN ?4 THEN (
               SELECT head.id FROM queue AS head
               WHERE head.sink = d.sink AND head.invoice_id = d.invoice_id AND head.finished_at IS NULL
               ORDER BY head.turn LIMIT 1) END
    FROM queue AS d WHERE sink = ?1 AND due_at <= ?2 ORDER BY due_at, id LIMIT ?3";

/// What is sent.
pub(super) const EVENT: &str = "SELECT payload, endpoint, received_at, content_type FROM events WHERE id = ?";

const PAUSED: &str = "SELECT 1 FROM sinks WHERE name = ? AND paused_at IS NOT NULL";

/// The earliest due time that is left. Read only when the claim found fewer dispatches than it wanted.
pub(super) const NEXT_DUE: &str = "SELECT min(due_at) FROM queue WHERE sink = ? AND due_at IS NOT NULL";

const LEASE: &str = "
    UPDATE queue SET state = 'leased', lease_token = ?2, due_at = ?3, waits_for = NULL, first_attempt_at = ?4, alone = ?5
    WHERE id = ?1";

/// A blocked dispatch whose lease had run out is pending again.
const SET_ASIDE: &str = "
    UPDATE queue
    SET waits_for = ?2, due_at = ?3, lease_token = NULL, alone = 0, state = iif(state = 'leased', 'pending', state)
    WHERE id = ?1";

const CALL_OFF: &str = "
    INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at,
                         last_error)
    SELECT id, event_id, sink, event_type, invoice_id, 'cancelled', trigger, attempts, created_at, ?2, ?3
    FROM queue WHERE id = ?1";

const GIVE_UP: &str = "
    UPDATE queue
    SET state = 'dead', due_at = NULL, waits_for = NULL, lease_token = NULL, alone = 0, finished_at = ?2, last_error = ?3
    WHERE id = ?1";

const GIVE_BACK: &str = "
    UPDATE queue
    SET state = 'pending', due_at = ?3, lease_token = NULL, alone = 0,
        -- It was not tried since its clock was reset, or ever: its age has not begun.
        first_attempt_at = iif(attempts = ageless, NULL, first_attempt_at)
    WHERE id = ?1 AND lease_token = ?2 RETURNING sink, invoice_id";

/// How many rounds a claim makes while all dispatches that it finds are blocked.
const ROUNDS: u32 = 8;

/// How many dispatches a claim reads in each further round: a backlog behind one stuck invoice is postponed in few
/// rounds even if the sink asks for one dispatch at a time.
const LOOK_AGAIN: u32 = 256;

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError> {
        let Claim { order, limit, lease, longest_wait, now, .. } = claim;
        let sink = claim.sink.clone();
        let claiming = self.thread.run(Flush::Later, limit as usize, move |on| {
            take(on, &Claim { sink: &sink, order, limit, lease, longest_wait, now })
        });
        let Some(taken) = claiming.await.during(format_args!("claim dispatches of sink {}", claim.sink))? else {
            return Ok(Claimed { paused: true, ..Claimed::default() });
        };
        if taken.orphans > 0 {
            tracing::error!(
                sink.name = %claim.sink, dispatches = taken.orphans,
                "dispatches are given up because their event is not in the database: was only a part of the database restored?"
            );
        }
        let mut dispatches = taken.leased.into_iter().collect::<Result<Vec<_>, _>>()?;
        dispatches.sort_unstable_by_key(|dispatch| dispatch.id);
        let next_due_in = taken.next_due.map(|due_at| between(taken.now, due_at));
        Ok(Claimed { dispatches, next_due_in, paused: false })
    }

    async fn finish_attempts(
        &self,
        batch: &[FinishedAttempt],
        now: Option<Timestamp>,
    ) -> Result<Vec<Finish>, StoreError> {
        finish::finish(self, batch, now).await
    }

    async fn give_back(&self, leases: &[(DispatchId, LeaseToken)]) -> Result<u64, StoreError> {
        let given = leases.to_vec();
        let giving = self.thread.run(Flush::Later, leases.len(), move |on| write_back(on, &given));
        let sinks = giving.await.during(format_args!("give back leases ({})", leases.len()))?;
        wake(self, &sinks);
        Ok(sinks.len() as u64)
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        let expired = write_expiry(self).await.during("expire the leases of an earlier process")?;
        if expired > 0 {
            self.wakeups.wake_all();
        }
        Ok(expired)
    }
}

/// What a claim has leased.
#[derive(Default)]
struct Taken {
    now: i64,
    /// The dispatches, or why one cannot be read.
    leased: Vec<Result<LeasedDispatch, StoreError>>,
    /// The size of their payloads.
    bytes: u64,
    /// The earliest `due_at` that is left; `now` if that was not looked up because there may be more.
    next_due: Option<i64>,
    /// Dispatches that were given up because their event is not there.
    orphans: usize,
}

/// A dispatch that is due.
struct Candidate {
    id: i64,
    attempts: i64,
    trigger: String,
    first_attempt_at: Option<i64>,
    due_at: i64,
    event_id: Uuid,
    event_type: String,
    invoice_id: Option<String>,
    /// The first unfinished one of its invoice, where the order is kept.
    head: Option<i64>,
}

/// An event as it is sent.
struct Sent {
    payload: Option<Vec<u8>>,
    event: OfEvent,
}

/// Its endpoint, the time at which it was received, and its content type.
type OfEvent = (String, i64, Option<String>);

/// True if a person or a target paused the sink.
pub(super) fn is_paused(on: &Connection, sink: &SinkName) -> rusqlite::Result<bool> {
    on.prepare_cached(PAUSED)?.exists([sink.as_str()])
}

/// Leases due dispatches; `None` if the sink is paused.
fn take(on: &Connection, claim: &Claim<'_>) -> rusqlite::Result<Option<Taken>> {
    if is_paused(on, claim.sink)? {
        return Ok(None);
    }
    let now = micros_or_now(claim.now);
    let mut taken = Taken { now, ..Taken::default() };
    let mut is_full = false;
    let rounds = if claim.limit > 0 { ROUNDS } else { 0 };
    for round in 0..rounds {
        let looked_at = match claim.order {
            Order::None => claim.limit,
            Order::Invoice => claim.limit.max(if round == 0 { LOOK_AHEAD } else { LOOK_AGAIN }),
        };
        let found = look(on, claim, now, looked_at)?;
        let is_last = found.is_empty();
        is_full = lease(on, claim, found, &mut taken)?;
        if is_last || !taken.leased.is_empty() {
            break;
        }
    }
    taken.next_due = if is_full {
        Some(now)
    } else {
        on.prepare_cached(NEXT_DUE)?.query_one([claim.sink.as_str()], |row| row.get(0))?
    };
    Ok(Some(taken))
}

/// Reads the dispatches that are due.
fn look(on: &Connection, claim: &Claim<'_>, now: i64, limit: u32) -> rusqlite::Result<Vec<Candidate>> {
    on.prepare_cached(DUE)?
        .query_map(params![claim.sink.as_str(), now, limit, claim.order == Order::Invoice], |row| {
            Ok(Candidate {
                id: row.get(0)?,
                attempts: row.get(1)?,
                trigger: row.get(2)?,
                first_attempt_at: row.get(3)?,
                due_at: row.get(4)?,
                event_id: Uuid::from_bytes(row.get(5)?),
                event_type: row.get(6)?,
                invoice_id: row.get(7)?,
                head: row.get(8)?,
            })
        })?
        .collect()
}

/// Leases those of the found dispatches that are free, sets aside those that are blocked, and ends those that have
/// nothing left to send. True if there may be more than the claim hands out.
fn lease(on: &Connection, claim: &Claim<'_>, found: Vec<Candidate>, taken: &mut Taken) -> rusqlite::Result<bool> {
    let now = taken.now;
    let mut is_full = false;
    let mut lanes = Lanes::new();
    for due in found {
        if let Some(head) = due.head.filter(|head| *head != due.id) {
            on.prepare_cached(SET_ASIDE)?.execute(params![due.id, head, later(now, BLOCKED_RECHECK)])?;
            continue;
        }
        if is_full {
            continue;
        }
        let (payload, event) = match read_event(on, due.event_id)? {
            Some(Sent { payload: Some(payload), event }) => (payload, event),
            unsendable => {
                end(on, due.id, unsendable.is_none(), now)?;
                taken.orphans += usize::from(unsendable.is_none());
                lanes.extend(due.invoice_id.map(|invoice| (claim.sink.as_str().to_owned(), invoice)));
                continue;
            }
        };
        taken.bytes = taken.bytes.saturating_add(payload.len() as u64);
        if !taken.leased.is_empty() && taken.bytes > CLAIM_BYTES {
            is_full = true;
            continue;
        }
        let since = aging_since(due.first_attempt_at, due.due_at, now, claim.longest_wait);
        let is_alone = claim.order == Order::Invoice && due.invoice_id.is_some();
        let token = LeaseToken::generate();
        on.prepare_cached(LEASE)?.execute(params![
            due.id,
            token.0.as_bytes(),
            later(now, claim.lease),
            since,
            is_alone
        ])?;
        taken.leased.push(due.leased(token, between(since, now), event, payload.into()));
        is_full = taken.leased.len() == claim.limit as usize;
    }
    // They belong to the sink whose claim is under way, so no wake-up is needed.
    finish::call_next(on, &lanes, now)?;
    Ok(is_full)
}

fn read_event(on: &Connection, id: Uuid) -> rusqlite::Result<Option<Sent>> {
    let read = |row: &Row<'_>| Ok(Sent { payload: row.get(0)?, event: (row.get(1)?, row.get(2)?, row.get(3)?) });
    on.prepare_cached(EVENT)?.query_one([id.as_bytes()], read).optional()
}

/// Ends a dispatch that has nothing left to send.
fn end(on: &Connection, id: i64, is_orphan: bool, now: i64) -> rusqlite::Result<()> {
    if is_orphan {
        on.prepare_cached(GIVE_UP)?.execute(params![id, now, ORPHANED])?;
    } else {
        on.prepare_cached(CALL_OFF)?.execute(params![id, now, ERASED])?;
        on.prepare_cached(finish::REMOVE)?.execute([id])?;
    }
    Ok(())
}

impl Candidate {
    fn leased(
        self,
        token: LeaseToken,
        age: Duration,
        (endpoint, received_at, content_type): OfEvent,
        payload: Bytes,
    ) -> Result<LeasedDispatch, StoreError> {
        let place = Place { table: "queue", row: &self.id };
        Ok(LeasedDispatch {
            id: DispatchId(self.id),
            token,
            attempts: u32::try_from(self.attempts).map_err(|error| place.unreadable("attempts", error))?,
            trigger: place.trigger(&self.trigger)?.of(EventId(self.event_id)),
            age,
            event_id: EventId(self.event_id),
            endpoint,
            event_type: self.event_type,
            invoice_id: self.invoice_id,
            // A time that cannot be read must not hold up the dispatches behind this one.
            received_at: clock::nearest(received_at),
            content_type,
            payload,
        })
    }
}

/// Returns the sinks that have something to claim, one for each dispatch that was given back.
fn write_back(on: &Connection, leases: &[(DispatchId, LeaseToken)]) -> rusqlite::Result<Vec<String>> {
    let now = micros_or_now(None);
    let mut give_back = on.prepare_cached(GIVE_BACK)?;
    let mut sinks = Vec::with_capacity(leases.len());
    let mut lanes = Lanes::new();
    for (id, token) in leases {
        let given = give_back.query_one(params![id.0, token.0.as_bytes(), now], |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((sink, invoice)): Option<(String, Option<String>)> = given.optional()? else { continue };
        lanes.extend(invoice.map(|invoice| (sink.clone(), invoice)));
        sinks.push(sink);
    }
    // An earlier one may have waited for it. It is one of the same sink.
    finish::call_next(on, &lanes, now)?;
    Ok(sinks)
}

async fn write_expiry(store: &SqliteStore) -> Result<u64, sqlx::Error> {
    let mut transaction = store.write().await?;
    let expired = sqlx::query(
        "UPDATE queue SET due_at = ?
         WHERE state = 'leased' AND EXISTS (SELECT 1 FROM queue_counts WHERE state = 'leased' AND n > 0)",
    )
    .bind(micros_or_now(None))
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    Ok(expired)
}

#[cfg(test)]
pub(super) mod hot {
    //! The statements that write, for the tests of their plans.
    pub(in crate::store::sqlite) const WRITES: [&str; 5] =
        [super::LEASE, super::SET_ASIDE, super::CALL_OFF, super::GIVE_UP, super::GIVE_BACK];
}
