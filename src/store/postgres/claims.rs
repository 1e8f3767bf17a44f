//! Leases: claiming what is due, finishing it, giving it back.
//!
//! # Why no wake-up is lost, and no claim waits for a lock
//!
//! With [`Order::Invoice`] a claim must find out whether a candidate has an earlier unfinished
//! dispatch in its lane (same sink, same invoice). If it has, the claim postpones the candidate and
//! writes down for whom it waits; whoever finishes that one looks for the next in the lane and makes
//! it due. Between the looking and the writing the earlier one may be finished by somebody who does
//! not see the note yet, and the candidate would sleep on. So a claim is one transaction of several
//! statements, and under READ COMMITTED each of them sees what was committed before it began:
//!
//! 1. Lock the candidates, and pass over those that others have locked.
//! 2. A new statement, so one that sees everything committed before the locks were taken: look up
//!    the head of each candidate's lane. No head but itself: the candidate is free.
//! 3. Share-lock the heads that are not candidates of ours, if they are still unfinished, again
//!    passing over those that others have locked.
//!    - We have the lock: nobody can finish the head before we commit. Whoever does so afterwards
//!      starts its look-up in the lane after our commit, sees our note, and wakes the candidate.
//!    - We do not have it: the head is being claimed or finished at this moment, or it was finished
//!      since step 2. The candidate is left as it is, still due, and looked at again in
//!      [`CONTENDED`].
//! 4. Lease the free ones. 5. Postpone the blocked ones. Commit.
//!
//! A claim never waits for a row lock, so it is part of no deadlock; a finish waits at most for
//! claims, which are short. Finishes take their rows in the order of their ids.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{Again, Failure, PostgresStore, announce, count, now, storable};
use crate::{
    model::{
        clock,
        dispatch::{FinishedAttempt, LeasedDispatch, Next, Order, State},
        id::{DispatchId, EventId, LeaseToken, SinkName},
    },
    store::{
        BLOCKED_RECHECK, Claim, Claimed, ERASED, Finish, LOOK_AHEAD, LeaseStore, ORPHANED, StoreError,
        leases::within_budget, rows::sink_changes,
    },
};

/// When to look again at a dispatch whose lane another worker was busy with: about the length of a
/// commit. Not zero, or the claims of two replicas would spin.
const CONTENDED: Duration = Duration::from_millis(5);

/// How often one call looks again when everything that it found was blocked. Each round moves
/// `limit` blocked dispatches out of the way; after that many the caller comes back at once.
const ROUNDS: u32 = 8;

/// Whether the sink is paused, and when its next dispatch is due: asked only when a claim did not
/// find as much as was wanted. So what is due is mostly leased, and due again at the end of its lease:
/// one walk over it, which stops after so many that a paused sink's backlog is not counted.
pub(super) const LOOK: &str = concat!(
    "WITH moment AS MATERIALIZED (SELECT ",
    now!("$2"),
    " AS now)
    SELECT moment.now, EXISTS (SELECT FROM sinks WHERE name = $1 AND paused_at IS NOT NULL) AS paused,
           least((SELECT min(greatest(due_at, lease_until))
                  FROM (SELECT due_at, lease_until FROM dispatches
                        WHERE sink = $1 AND due_at <= moment.now ORDER BY due_at LIMIT 4000) AS due),
                 (SELECT due_at FROM dispatches WHERE sink = $1 AND due_at > moment.now ORDER BY due_at LIMIT 1)
           ) AS next_due_at
    FROM moment"
);

#[derive(FromRow)]
struct Look {
    now: i64,
    paused: bool,
    next_due_at: Option<i64>,
}

impl Look {
    /// How long until the next one is due.
    fn next_due_in(&self) -> Option<Duration> {
        let left = self.next_due_at?.saturating_sub(self.now);
        Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
    }
}

/// The time of a transaction's beginning, unless the parameter says another: one for all its statements.
macro_rules! began {
    ($parameter:literal) => {
        concat!("COALESCE(", $parameter, "::bigint, (extract(epoch FROM now()) * 1000000)::bigint)")
    };
}

/// Step 1. What is leased stays in its place in the index and is passed over: there is no more of it
/// than is being attempted. The size of a payload is known without reading it; none means that there is nothing to send.
pub(super) const CANDIDATES: &str = concat!(
    "SELECT id, invoice_id, (SELECT ",
    began!("$2"),
    ") AS now, (SELECT octet_length(payload)::bigint FROM events WHERE events.id = dispatches.event_id) AS bytes
    FROM dispatches
    WHERE sink = $1 AND due_at <= ",
    began!("$2"),
    " AND (lease_until IS NULL OR lease_until <= ",
    began!("$2"),
    ") AND NOT EXISTS (SELECT FROM sinks WHERE name = $1 AND paused_at IS NOT NULL)
    ORDER BY due_at, id LIMIT $3 FOR UPDATE OF dispatches SKIP LOCKED"
);

/// Step 2: those that have an earlier unfinished dispatch in their lane, and its head.
pub(super) const HEADS: &str = "SELECT candidate.id, head.id
    FROM unnest($2::bigint[], $3::text[]) AS candidate (id, invoice_id)
    CROSS JOIN LATERAL (
        SELECT d.id FROM dispatches d
        WHERE d.sink = $1 AND d.invoice_id = candidate.invoice_id AND d.finished_at IS NULL AND d.id < candidate.id
        ORDER BY d.id LIMIT 1
    ) AS head";

/// Step 3.
const HOLD_HEADS: &str =
    "SELECT id FROM dispatches WHERE id = ANY($1) AND finished_at IS NULL ORDER BY id FOR SHARE SKIP LOCKED";

/// Step 4. Changes nothing that an index holds (but for a held one): see the migration.
pub(super) const LEASE: &str = "UPDATE dispatches AS d
    SET state = 'leased', lease_token = free.token, lease_until = $3 + $4, waits_for = NULL, attention = false,
        -- What it is claimed too late does not count for its age; as in `store::aging_since`.
        first_attempt_at = COALESCE(
            least(d.first_attempt_at + greatest($3 - greatest(d.due_at, d.lease_until) - $5, 0),
                  greatest($3, d.first_attempt_at)),
            $3)
    FROM unnest($1::bigint[], $2::uuid[]) AS free (id, token), events AS e
    WHERE d.id = free.id AND e.id = d.event_id
    RETURNING d.id, d.lease_token, d.attempts, d.trigger, d.first_attempt_at, d.event_id, e.endpoint, d.event_type,
              d.invoice_id, e.received_at, e.content_type, e.payload";

/// Step 5. A worker that let its lease run out loses it here: what waits is not leased.
const POSTPONE: &str = "UPDATE dispatches AS d
    SET waits_for = blocked.head, due_at = $3, lease_token = NULL, lease_until = NULL,
        state = CASE d.state WHEN 'leased' THEN 'pending' ELSE d.state END
    FROM unnest($1::bigint[], $2::bigint[]) AS blocked (id, head)
    WHERE d.id = blocked.id";

/// What turned out to have no payload left, because it was erased while somebody had it, or no event at all. The next of
/// its invoice is called as by a finish, which a claim never waits for; the other way round, the server would
/// notice and we would try again.
const CALL_OFF: &str = "UPDATE dispatches
    SET state = $4, lease_token = NULL, lease_until = NULL, waits_for = NULL, due_at = NULL, finished_at = $2,
        attention = true, last_error = $3
    WHERE id = ANY($1)";

/// Which of these dispatches have an event.
const WITH_EVENT: &str =
    "SELECT d.id FROM dispatches d WHERE d.id = ANY($1) AND EXISTS (SELECT FROM events e WHERE e.id = d.event_id)";

/// What [`CANDIDATES`] answers.
#[derive(FromRow)]
struct Candidate {
    id: i64,
    invoice_id: Option<String>,
    now: i64,
    bytes: Option<i64>,
}

#[derive(FromRow)]
struct LeasedRow {
    id: i64,
    lease_token: Uuid,
    attempts: i32,
    trigger: String,
    first_attempt_at: i64,
    event_id: Uuid,
    endpoint: String,
    event_type: String,
    invoice_id: Option<String>,
    received_at: i64,
    content_type: Option<String>,
    payload: Option<Vec<u8>>,
}

impl LeasedRow {
    fn read(self, now: i64) -> Result<LeasedDispatch, StoreError> {
        let unreadable = |table, column, problem: &str| StoreError::Unreadable {
            table,
            column,
            row: if table == "events" { self.event_id.to_string() } else { self.id.to_string() },
            problem: problem.to_owned(),
        };
        let attempts = count("dispatches", "attempts", &self.id, self.attempts.into())?;
        Ok(LeasedDispatch {
            id: DispatchId(self.id),
            token: LeaseToken(self.lease_token),
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            trigger: self.trigger.parse().map_err(|error: crate::model::dispatch::UnknownWord| {
                unreadable("dispatches", "trigger", &error.to_string())
            })?,
            age: Duration::from_micros(u64::try_from(now.saturating_sub(self.first_attempt_at)).unwrap_or(0)),
            event_id: EventId(self.event_id),
            // A purge leaves the payload of an event with unfinished dispatches alone, and what was erased is
            // called off.
            payload: self
                .payload
                .as_ref()
                .map(|payload| bytes::Bytes::copy_from_slice(payload))
                .ok_or_else(|| unreadable("events", "payload", "it is gone, though a dispatch still needs it"))?,
            // One that cannot be read must not hold up those behind it.
            received_at: clock::nearest(self.received_at),
            endpoint: self.endpoint,
            event_type: self.event_type,
            invoice_id: self.invoice_id,
            content_type: self.content_type,
        })
    }
}

/// What one round of a claim came to.
struct Round {
    leased: Vec<LeasedDispatch>,
    /// It found as many candidates as were wanted: there may be more.
    full: bool,
    /// It moved some out of the way: they wait for another, or were called off.
    postponed: bool,
    /// It left some as they are because their lane was busy.
    contended: bool,
}

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError> {
        let action = format!("claiming dispatches of sink {}", claim.sink);
        let mut rounds = 0;
        let round = loop {
            rounds += 1;
            let round = self.run_relaying(action.as_str(), || claim_round(self, &claim)).await?;
            if !round.leased.is_empty() || !round.full || !round.postponed || rounds == ROUNDS {
                break round;
            }
        };
        if round.full {
            let next_due_in = Some(if round.contended && round.leased.is_empty() { CONTENDED } else { Duration::ZERO });
            return Ok(Claimed { dispatches: round.leased, next_due_in, paused: false });
        }
        let look = look(self, &claim, &action).await?;
        let mut next_due_in = if look.paused { None } else { look.next_due_in() };
        if claim.limit > 0 {
            // What is due and was not found is locked by others: they have it, or are done with it soon.
            next_due_in = next_due_in.map(|due_in| due_in.max(CONTENDED));
        }
        // Paused only since then: what was claimed before is still ours.
        let paused = look.paused && round.leased.is_empty();
        Ok(Claimed { dispatches: round.leased, next_due_in, paused })
    }

    async fn finish_attempts(
        &self,
        batch: &[FinishedAttempt],
        now: Option<Timestamp>,
    ) -> Result<Vec<Finish>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let (mut recorded, wake) =
            self.run_relaying(format!("finishing {} attempts", batch.len()), || finish_once(self, batch, now)).await?;
        self.wakeups.wake(&wake);
        // Of two equal entries the second has lost its lease to the first.
        let answer = |taken| if taken { Finish::Recorded } else { Finish::LeaseLost };
        Ok(batch.iter().map(|entry| answer(recorded.remove(&(entry.id.0, entry.token.0)))).collect())
    }

    async fn give_back(&self, leases: &[(DispatchId, LeaseToken)]) -> Result<u64, StoreError> {
        if leases.is_empty() {
            return Ok(0);
        }
        let mut leases: Vec<_> = leases.iter().map(|(id, token)| (id.0, token.0)).collect();
        leases.sort_unstable();
        let (ids, tokens): (Vec<i64>, Vec<Uuid>) = leases.into_iter().unzip();
        let given: Vec<String> = self
            .run_relaying(format!("giving {} leases back", ids.len()), async || {
                let mut checkout = self.begin_relaying().await?;
                let given: Vec<String> =
                    sqlx::query_scalar(GIVE_BACK).bind(&ids).bind(&tokens).fetch_all(checkout.on()).await?;
                if !given.is_empty() {
                    // A process that gives leases back is about to stop: the others are to take over.
                    announce::announce(checkout.on(), given.iter().map(String::as_str)).await?;
                }
                checkout.commit().await?;
                Ok(given)
            })
            .await?;
        let sinks = given.iter().map(|name| sink_name(name)).collect::<Result<HashSet<_>, _>>()?;
        self.wakeups.wake(&sinks);
        Ok(given.len() as u64)
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        let expired = self
            .run("ending all leases", Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                let expired = sqlx::query(concat!(
                    "UPDATE dispatches SET lease_until = ",
                    now!("$1"),
                    " WHERE due_at IS NOT NULL AND state = 'leased'"
                ))
                .bind(None::<i64>)
                .execute(checkout.on())
                .await?
                .rows_affected();
                checkout.finish();
                Ok(expired)
            })
            .await?;
        if expired > 0 {
            self.wakeups.wake_all();
        }
        Ok(expired)
    }
}

async fn look(store: &PostgresStore, claim: &Claim<'_>, action: &str) -> Result<Look, StoreError> {
    store
        .run(action, Again::Harmless, async || {
            let mut checkout = store.checkout().await?;
            let look = sqlx::query_as(LOOK)
                .bind(claim.sink.as_str())
                .bind(claim.now.map(clock::to_micros))
                .fetch_one(checkout.on())
                .await?;
            checkout.finish();
            Ok(look)
        })
        .await
}

async fn claim_round(store: &PostgresStore, claim: &Claim<'_>) -> Result<Round, Failure> {
    let looked_at = match claim.order {
        Order::Invoice if claim.limit > 0 => claim.limit.max(LOOK_AHEAD),
        Order::Invoice | Order::None => claim.limit,
    };
    let mut checkout = store.begin_relaying().await?;
    let candidates: Vec<Candidate> = sqlx::query_as(CANDIDATES)
        .bind(claim.sink.as_str())
        .bind(claim.now.map(clock::to_micros))
        .bind(i64::from(looked_at))
        .fetch_all(checkout.on())
        .await?;
    let Some(now) = candidates.first().map(|candidate| candidate.now) else {
        checkout.commit().await?;
        return Ok(Round { leased: Vec::new(), full: false, postponed: false, contended: false });
    };
    let full = candidates.len() == usize::try_from(looked_at).unwrap_or(usize::MAX);

    let mut heads = match claim.order {
        Order::Invoice => heads(checkout.on(), claim.sink, &candidates).await?,
        Order::None => HashMap::new(),
    };
    let ours: HashSet<i64> = candidates.iter().map(|candidate| candidate.id).collect();
    let others: Vec<i64> = heads.values().copied().filter(|head| !ours.contains(head)).collect();
    let held: HashSet<i64> = if others.is_empty() {
        HashSet::new()
    } else {
        sqlx::query_scalar(HOLD_HEADS).bind(others).fetch_all(checkout.on()).await?.into_iter().collect()
    };

    // In the order in which they became due; what was looked at beyond the limit stays where it is.
    let (there, mut gone): (Vec<&Candidate>, Vec<&Candidate>) =
        candidates.iter().partition(|candidate| candidate.bytes.is_some());
    // Of what has nothing to send, no order is kept: a whole lane of it goes at once.
    heads.retain(|id, _| !gone.iter().any(|candidate| candidate.id == *id));
    let mut wanted: Vec<&Candidate> =
        there.into_iter().filter(|candidate| !heads.contains_key(&candidate.id)).collect();
    let found = wanted.len();
    wanted.truncate(claim.limit as usize);
    wanted.truncate(within_budget(wanted.iter().map(|candidate| candidate.bytes.unwrap_or(0))));
    let full = full || wanted.len() < found;
    let free: Vec<i64> = wanted.iter().map(|candidate| candidate.id).collect();
    let (blocked, contended): (Vec<(i64, i64)>, Vec<_>) =
        heads.into_iter().partition(|(_, head)| ours.contains(head) || held.contains(head));

    let mut leased = Vec::new();
    if !free.is_empty() {
        let tokens: Vec<_> = free.iter().map(|_| LeaseToken::generate().0).collect();
        let rows: Vec<LeasedRow> = sqlx::query_as(LEASE)
            .bind(free)
            .bind(tokens)
            .bind(now)
            .bind(clock::duration_micros(claim.lease))
            .bind(clock::duration_micros(claim.longest_wait))
            .fetch_all(checkout.on())
            .await?;
        // Erased since step 1.
        let (rows, erased): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.payload.is_some());
        let erased: HashSet<i64> = erased.iter().map(|row| row.id).collect();
        gone.extend(candidates.iter().filter(|candidate| erased.contains(&candidate.id)));
        leased = rows.into_iter().map(|row| row.read(now)).collect::<Result<Vec<_>, _>>()?;
        leased.sort_unstable_by_key(|dispatch| dispatch.id);
    }
    if !blocked.is_empty() {
        let (ids, heads): (Vec<i64>, Vec<i64>) = blocked.iter().copied().unzip();
        sqlx::query(POSTPONE)
            .bind(ids)
            .bind(heads)
            .bind(now.saturating_add(clock::duration_micros(BLOCKED_RECHECK)))
            .execute(checkout.on())
            .await?;
    }
    // After the others were told to wait for them, so that the next of them is called.
    call_off(checkout.on(), claim.sink, &gone, now).await?;
    checkout.commit().await?;
    let postponed = !gone.is_empty() || !blocked.is_empty();
    Ok(Round { leased, full, postponed, contended: !contended.is_empty() })
}

/// Ends what there is nothing left to send of; the next of its invoice is due.
async fn call_off(
    connection: &mut PgConnection,
    sink: &SinkName,
    gone: &[&Candidate],
    now: i64,
) -> Result<(), Failure> {
    if gone.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = gone.iter().map(|candidate| candidate.id).collect();
    let erased: Vec<i64> = sqlx::query_scalar(WITH_EVENT).bind(&ids).fetch_all(&mut *connection).await?;
    let orphans: Vec<i64> = ids.into_iter().filter(|id| !erased.contains(id)).collect();
    if !orphans.is_empty() {
        tracing::error!(
            sink.name = %sink, dispatches = orphans.len(),
            "dispatches are given up because their event is not in the database: was only a part of the database restored?"
        );
    }
    for (ids, state, reason) in [(erased, State::Cancelled, ERASED), (orphans, State::Dead, ORPHANED)] {
        if !ids.is_empty() {
            sqlx::query(CALL_OFF)
                .bind(ids)
                .bind(now)
                .bind(reason)
                .bind(state.as_str())
                .execute(&mut *connection)
                .await?;
        }
    }
    let lanes = gone.iter().filter_map(|candidate| Some((sink.as_str(), candidate.invoice_id.as_deref()?))).collect();
    // Of this very sink, whose claim goes on.
    wake_next(connection, lanes, now).await?;
    Ok(())
}

/// The candidates that are not the head of their lane, with the head.
async fn heads(
    connection: &mut PgConnection,
    sink: &SinkName,
    candidates: &[Candidate],
) -> Result<HashMap<i64, i64>, sqlx::Error> {
    let (ids, invoices): (Vec<i64>, Vec<&str>) =
        candidates.iter().filter_map(|candidate| Some((candidate.id, candidate.invoice_id.as_deref()?))).unzip();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(i64, i64)> =
        sqlx::query_as(HEADS).bind(sink.as_str()).bind(ids).bind(invoices).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

/// Writes the new states; a lease that is not ours any more matches nothing. The attempt that
/// delivered is kept here.
pub(super) const FINISH: &str = concat!(
    "UPDATE dispatches AS d
    SET state = f.state, attempts = d.attempts + 1, lease_token = NULL, lease_until = NULL,
        due_at = moment.now + f.due_after,
        finished_at = CASE WHEN f.state IN ('delivered', 'dead') THEN moment.now END,
        attempted_at = CASE f.state WHEN 'delivered' THEN f.started_at END,
        attempt_us = CASE f.state WHEN 'delivered' THEN f.duration_us END,
        attention = f.state IN ('held', 'dead'), last_error = COALESCE(f.error, d.last_error),
        first_attempt_at = CASE WHEN NOT f.restarts THEN d.first_attempt_at END,
        ageless = CASE WHEN f.restarts THEN d.attempts + 1 ELSE d.ageless END, wait_us = f.due_after
    FROM (SELECT ",
    now!("$8"),
    " AS now OFFSET 0) AS moment,
         unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $9::bool[])
         AS f (id, token, state, due_after, started_at, duration_us, error, restarts)
    WHERE d.id = f.id AND d.lease_token = f.token AND d.state = 'leased'
    RETURNING d.id, f.token, moment.now, d.invoice_id, d.attempts"
);

/// Writes the attempts that did not deliver.
const ATTEMPTS: &str = "INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error)
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])";

/// What [`FINISH`] answers: dispatch, token, time, invoice, number of the attempt.
type FinishedRow = (i64, Uuid, i64, Option<String>, i32);

/// Adds a group of attempts to the sinks' rows. A sink that is paused already keeps its reason.
const STANDING: &str = "INSERT INTO sinks AS s
        (name, registered_at, delivered, last_success_at, last_error_at, last_error, paused_at, paused_reason)
    SELECT name, $5, delivered, CASE WHEN delivered > 0 THEN $5 END,
           CASE WHEN error IS NOT NULL THEN $5 END, error, CASE WHEN pause IS NOT NULL THEN $5 END, pause
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS given (name, delivered, error, pause)
    ON CONFLICT (name) DO UPDATE
    SET delivered = s.delivered + excluded.delivered,
        last_success_at = COALESCE(excluded.last_success_at, s.last_success_at),
        last_error_at = COALESCE(excluded.last_error_at, s.last_error_at),
        last_error = COALESCE(excluded.last_error, s.last_error),
        paused_at = COALESCE(s.paused_at, excluded.paused_at),
        paused_reason = COALESCE(s.paused_reason, excluded.paused_reason)";

/// Answers which leases were ours, and the sinks that have something due at once.
async fn finish_once(
    store: &PostgresStore,
    batch: &[FinishedAttempt],
    now: Option<Timestamp>,
) -> Result<(HashSet<(i64, Uuid)>, Vec<SinkName>), Failure> {
    let mut sorted: Vec<_> = batch.iter().collect();
    sorted.sort_by_key(|entry| entry.id);
    sorted.dedup_by_key(|entry| (entry.id, entry.token));
    let reasons: Vec<_> = sorted.iter().map(|entry| entry.outcome.reason().map(storable)).collect();
    macro_rules! column {
        ($entry:ident => $value:expr) => {
            sorted.iter().map(|$entry| $value).collect::<Vec<_>>()
        };
    }
    let mut checkout = store.begin_relaying().await?;
    let rows: Vec<FinishedRow> = sqlx::query_as(FINISH)
        .bind(column!(e => e.id.0))
        .bind(column!(e => e.token.0))
        .bind(column!(e => e.next.state().as_str()))
        .bind(column!(e => due_after(&e.next).map(clock::duration_micros)))
        .bind(column!(e => clock::to_micros(e.started_at)))
        .bind(column!(e => clock::duration_micros(e.duration)))
        .bind(&reasons)
        .bind(now.map(clock::to_micros))
        .bind(column!(e => e.outcome.restarts_the_clock()))
        .fetch_all(checkout.on())
        .await?;
    let Some(moment) = rows.first().map(|row| row.2) else {
        checkout.commit().await?;
        return Ok((HashSet::new(), Vec::new()));
    };
    let finished: HashMap<(i64, Uuid), (Option<String>, i32)> =
        rows.into_iter().map(|(id, token, _, invoice, number)| ((id, token), (invoice, number))).collect();

    let mut wake = Vec::new();
    let mut lanes = Vec::new();
    let mut undelivered = Vec::new();
    for (entry, reason) in sorted.iter().zip(&reasons) {
        let Some((invoice, number)) = finished.get(&(entry.id.0, entry.token.0)) else { continue };
        if let (true, Some(invoice)) = (entry.next.state().is_finished(), invoice) {
            lanes.push((entry.sink.as_str(), invoice.as_str()));
        }
        if due_after(&entry.next).is_some_and(|after| after.is_zero()) {
            wake.push(entry.sink.clone());
        }
        if !matches!(entry.next, Next::Delivered) {
            undelivered.push((*entry, *number, reason.as_deref()));
        }
    }
    if !undelivered.is_empty() {
        write_attempts(checkout.on(), &undelivered).await?;
    }
    wake.extend(wake_next(checkout.on(), lanes, moment).await?);

    // In the order of the batch. Of two equal entries the second has lost its lease to the first.
    let mut counted = HashSet::new();
    let ours = batch.iter().filter(|entry| {
        let lease = (entry.id.0, entry.token.0);
        finished.contains_key(&lease) && counted.insert(lease)
    });
    let changes = sink_changes(ours);
    // Last, because every group of attempts of a sink wants this row: it is locked for the commit only.
    let names: Vec<_> = changes.keys().map(|sink| sink.as_str()).collect();
    sqlx::query(STANDING)
        .bind(names)
        .bind(changes.values().map(|sink| sink.delivered).collect::<Vec<_>>())
        .bind(changes.values().map(|sink| sink.error.map(storable)).collect::<Vec<_>>())
        .bind(changes.values().map(|sink| sink.pause.map(storable)).collect::<Vec<_>>())
        .bind(moment)
        .execute(checkout.on())
        .await?;
    checkout.commit().await?;
    Ok((finished.into_keys().collect(), wake))
}

async fn write_attempts(
    connection: &mut PgConnection,
    attempts: &[(&FinishedAttempt, i32, Option<&str>)],
) -> Result<(), sqlx::Error> {
    macro_rules! column {
        ($attempt:pat => $value:expr) => {
            attempts.iter().map(|$attempt| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query(ATTEMPTS)
        .bind(column!((entry, ..) => entry.id.0))
        .bind(column!((_, number, _) => *number))
        .bind(column!((entry, ..) => clock::to_micros(entry.started_at)))
        .bind(column!((entry, ..) => clock::duration_micros(entry.duration)))
        .bind(column!((entry, ..) => entry.outcome.as_str()))
        .bind(column!((.., reason) => *reason))
        .execute(connection)
        .await?;
    Ok(())
}

/// When a dispatch is due again, if ever by itself.
fn due_after(next: &Next) -> Option<Duration> {
    match next {
        Next::Pending { after } => Some(*after),
        Next::Held { recheck_after } => *recheck_after,
        Next::Delivered | Next::Dead => None,
    }
}

/// The next of each lane, if it was told to wait. Ordered by id, like every update of several rows.
pub(super) const WAKE_NEXT: &str = "WITH next AS MATERIALIZED (
        SELECT DISTINCT head.id FROM unnest($1::text[], $2::text[]) AS lane (sink, invoice_id)
        CROSS JOIN LATERAL (
            SELECT d.id, d.waits_for FROM dispatches d
            WHERE d.sink = lane.sink AND d.invoice_id = lane.invoice_id AND d.finished_at IS NULL
            ORDER BY d.id LIMIT 1
        ) AS head
        WHERE head.waits_for IS NOT NULL ORDER BY head.id
    )
    UPDATE dispatches AS d SET due_at = $3, waits_for = NULL FROM next
    WHERE d.id = next.id AND d.waits_for IS NOT NULL
    RETURNING d.sink";

/// Makes the next dispatch of each finished one's lane due, and answers their sinks. To be called
/// as a statement of its own, after the one that finished them: see the [module](self).
pub(super) async fn wake_next(
    connection: &mut PgConnection,
    lanes: Vec<(&str, &str)>,
    now: i64,
) -> Result<Vec<SinkName>, Failure> {
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    let (sinks, invoices): (Vec<&str>, Vec<&str>) = lanes.into_iter().unzip();
    let woken: HashSet<String> = sqlx::query_scalar(WAKE_NEXT)
        .bind(sinks)
        .bind(invoices)
        .bind(now)
        .fetch_all(connection)
        .await?
        .into_iter()
        .collect();
    Ok(woken.iter().map(|name| sink_name(name)).collect::<Result<_, _>>()?)
}

/// A stored sink's name.
pub(super) fn sink_name(name: &str) -> Result<SinkName, StoreError> {
    SinkName::new(name).map_err(|error| StoreError::Unreadable {
        table: "dispatches",
        column: "sink",
        row: name.to_owned(),
        problem: error.to_string(),
    })
}

/// It keeps the time at which it was due, and with it its place. A dispatch that was never attempted, or not since
/// its clock began anew, does not begin to age by having been claimed.
const GIVE_BACK: &str = "UPDATE dispatches AS d
     SET state = 'pending', lease_token = NULL, lease_until = NULL,
         first_attempt_at = CASE WHEN d.attempts > d.ageless THEN d.first_attempt_at END
     FROM unnest($1::bigint[], $2::uuid[]) AS given (id, token)
     WHERE d.id = given.id AND d.lease_token = given.token AND d.state = 'leased'
     RETURNING d.sink";
