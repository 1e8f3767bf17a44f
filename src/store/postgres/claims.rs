//! Leases: claiming due dispatches, finishing them, giving them back.
//!
//! A leased dispatch is due again at the end of its lease, so one rule finds new work, retries, re-checks and what a
//! dead process has left.
//!
//! # Why no wake-up is lost
//!
//! With [`Order::Invoice`] a claim must find out whether a candidate stands at the head of its lane (same sink, same
//! invoice): the leased one first, then the one with the lowest number. If another one is the head, the claim postpones
//! the candidate and stores the head's id in it. The transaction that ends the head's attempt then looks up the new
//! head and makes it due.
//!
//! Between the claim's look-up and its write, another transaction may finish the head. That transaction does not see
//! the note yet, so the candidate would sleep on. A claim is therefore one transaction of several statements; under
//! READ COMMITTED each statement sees everything that was committed before the statement began:
//!
//! 1. Lock the candidates; skip those that other transactions have locked.
//! 2. Look up the head of each candidate's lane, in a new statement, which sees everything that was committed before
//!    the locks were taken. A candidate that is its own head is free.
//! 3. Lock the heads that are not among our candidates and are still unfinished, and mark them as awaited; again, skip
//!    those that other transactions have locked.
//!    - We got the lock: no transaction can finish the head before we commit. A later one starts its look-up in the
//!      lane after our commit, sees our note, and wakes the candidate.
//!    - We did not get it: the head is being claimed or finished at this moment, or it was finished after step 2. The
//!      candidate stays as it is, still due, and is checked again after [`CONTENDED`].
//! 4. Lease the free candidates.
//! 5. Postpone the blocked candidates, and commit.
//!
//! What is delivered and alone in its lane, as nearly all is, has nobody to wake: it is finished by one statement. That
//! one leaves out whatever shares its lane. A candidate that the statement cannot see yet, because it was committed
//! after the statement began, marks its head with its note; the statement then meets a changed row, looks at it again,
//! and leaves it out.
//!
//! # Why no invoice is leased twice
//!
//! After step 2, another transaction may still lease in the lane of a free candidate: an accept that hands its new
//! dispatch over to a worker ([`super::events`]), or the claim of one that a person has just had tried again. The unique
//! index of the lane has one place for a leased dispatch. Whoever comes second waits there for the commit of the
//! first, and is then refused: an accept records its dispatches as pending, and a claim begins again.
//!
//! A claim waits for no other lock, and leases in the order of the invoices, as accepts do, so it cannot be part of a
//! deadlock. A finish waits at most for claims, which are short. Finishes lock their rows in the order of their ids.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{FromRow, PgConnection, Postgres, postgres::PgArguments, query::QueryAs};
use uuid::Uuid;

use super::{Again, Failure, PostgresStore, announce, count, now, storable};
use crate::{
    model::{
        clock,
        dispatch::{FinishedAttempt, LeasedDispatch, Next, Order},
        id::{DispatchId, EventId, LeaseToken, SinkName},
    },
    store::{
        BLOCKED_RECHECK, Claim, Claimed, ERASED, Finish, LOOK_AHEAD, LeaseStore, ORPHANED, StoreError,
        leases::within_budget, rows::sink_changes,
    },
};

/// When to check again a dispatch whose lane another worker was using: about the length of a
/// commit. It is not zero, because then the claims of two replicas would spin.
const CONTENDED: Duration = Duration::from_millis(5);

/// How many rounds one call makes while every candidate that it finds is blocked. Each round
/// postpones up to `limit` blocked dispatches; after the last round the caller comes back at once.
const ROUNDS: u32 = 8;

/// Reads whether the sink is paused, and when its next dispatch is due. A claim runs it only when it found fewer
/// dispatches than it wanted.
pub(super) const LOOK: &str = concat!(
    "SELECT ",
    now!("$2"),
    " AS now, EXISTS (SELECT FROM sinks WHERE name = $1 AND paused_at IS NOT NULL) AS paused,
           (SELECT due_at FROM queue WHERE sink = $1 AND due_at IS NOT NULL ORDER BY due_at LIMIT 1) AS next_due_at"
);

#[derive(FromRow)]
struct Look {
    now: i64,
    paused: bool,
    next_due_at: Option<i64>,
}

impl Look {
    /// How long until the next dispatch is due.
    fn next_due_in(&self) -> Option<Duration> {
        let left = self.next_due_at?.saturating_sub(self.now);
        Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
    }
}

/// The time at which the transaction began, unless the parameter gives another one. All statements
/// of the transaction use it.
macro_rules! began {
    ($parameter:literal) => {
        concat!("COALESCE(", $parameter, "::bigint, (extract(epoch FROM now()) * 1000000)::bigint)")
    };
}

/// Step 1. The size of a payload is read without reading the payload; NULL means that there is nothing to send.
pub(super) const CANDIDATES: &str = concat!(
    "SELECT id, invoice_id, (SELECT ",
    began!("$2"),
    ") AS now, (SELECT octet_length(payload)::bigint FROM events WHERE events.id = queue.event_id) AS bytes
    FROM queue
    WHERE sink = $1 AND due_at <= ",
    began!("$2"),
    " AND NOT EXISTS (SELECT FROM sinks WHERE name = $1 AND paused_at IS NOT NULL)
    ORDER BY due_at, id LIMIT $3 FOR UPDATE OF queue SKIP LOCKED"
);

/// Step 2: the candidates that are not the head of their lane, each with the head.
pub(super) const HEADS: &str = "SELECT candidate.id, head.id
    FROM unnest($2::bigint[], $3::text[]) AS candidate (id, invoice_id)
    CROSS JOIN LATERAL (
        SELECT d.id FROM queue d
        WHERE d.sink = $1 AND d.invoice_id = candidate.invoice_id AND d.finished_at IS NULL
        ORDER BY d.turn LIMIT 1
    ) AS head
    WHERE head.id <> candidate.id";

/// Step 3.
const HOLD_HEADS: &str = "WITH held AS MATERIALIZED (
        SELECT id FROM queue WHERE id = ANY($1) AND finished_at IS NULL ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ), marked AS (UPDATE queue AS d SET awaited = true FROM held WHERE d.id = held.id AND NOT d.awaited)
    SELECT id FROM held";

/// Step 4.
pub(super) const LEASE: &str = "UPDATE queue AS d
    SET state = 'leased', lease_token = free.token, due_at = $3 + $4, waits_for = NULL,
        alone = $6 AND d.invoice_id IS NOT NULL,
        -- A delay between the due time and the claim does not count towards the age; as in
        -- `store::aging_since`.
        first_attempt_at = COALESCE(
            least(d.first_attempt_at + greatest($3 - d.due_at - $5, 0), greatest($3, d.first_attempt_at)),
            $3)
    FROM unnest($1::bigint[], $2::uuid[]) AS free (id, token), events AS e
    WHERE d.id = free.id AND e.id = d.event_id
    RETURNING d.id, d.lease_token, d.attempts, d.trigger, d.first_attempt_at, d.event_id, e.endpoint, d.event_type,
              d.invoice_id, e.received_at, e.content_type, e.payload";

/// Step 5. A worker whose lease has run out loses it here: a waiting dispatch is not leased.
const POSTPONE: &str = "UPDATE queue AS d
    SET waits_for = blocked.head, due_at = $3, lease_token = NULL, alone = false,
        state = CASE d.state WHEN 'leased' THEN 'pending' ELSE d.state END
    FROM unnest($1::bigint[], $2::bigint[]) AS blocked (id, head)
    WHERE d.id = blocked.id";

/// Ends dispatches whose payload was erased while a worker had leased them. The next dispatch of the invoice is then
/// made due, as after a finish. No claim waits for a finish in general; should this one and a finish wait for each
/// other, the server detects the deadlock and we try again.
const CALL_OFF: &str = "WITH done AS (DELETE FROM queue WHERE id = ANY($1) RETURNING *)
    INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at,
                         last_error)
    SELECT id, event_id, sink, event_type, invoice_id, 'cancelled', trigger, attempts, created_at, $2, $3 FROM done";

/// Gives up dispatches whose event does not exist.
const GIVE_UP: &str = "UPDATE queue
    SET state = 'dead', lease_token = NULL, alone = false, waits_for = NULL, due_at = NULL, finished_at = $2,
        last_error = $3
    WHERE id = ANY($1)";

/// Those of these dispatches that have an event.
const WITH_EVENT: &str =
    "SELECT d.id FROM queue d WHERE d.id = ANY($1) AND EXISTS (SELECT FROM events e WHERE e.id = d.event_id)";

/// A row that [`CANDIDATES`] returns.
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
            trigger: self
                .trigger
                .parse::<crate::model::dispatch::Trigger>()
                .map_err(|error| unreadable("dispatches", "trigger", &error.to_string()))?
                .of(EventId(self.event_id)),
            age: Duration::from_micros(u64::try_from(now.saturating_sub(self.first_attempt_at)).unwrap_or(0)),
            event_id: EventId(self.event_id),
            // A purge leaves the payload of an event with unfinished dispatches alone, and a
            // dispatch whose payload was erased is cancelled.
            payload: self
                .payload
                .as_ref()
                .map(|payload| bytes::Bytes::copy_from_slice(payload))
                .ok_or_else(|| unreadable("events", "payload", "it is gone, though a dispatch still needs it"))?,
            // A time that cannot be read must not hold up the dispatches behind this one.
            received_at: clock::nearest(self.received_at),
            endpoint: self.endpoint,
            event_type: self.event_type,
            invoice_id: self.invoice_id,
            content_type: self.content_type,
        })
    }
}

/// The result of one round of a claim.
struct Round {
    leased: Vec<LeasedDispatch>,
    /// The round found as many candidates as it wanted, so there may be more.
    full: bool,
    /// The round postponed some candidates or cancelled them.
    postponed: bool,
    /// The round left some candidates as they are because another transaction was using their lane.
    contended: bool,
}

impl Round {
    /// Another transaction has leased in the lane of a candidate after the look-up. It is committed, so the next round
    /// sees it.
    const LOST: Self = Self { leased: Vec::new(), full: true, postponed: true, contended: true };
}

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError> {
        let action = format!("claim dispatches of sink {}", claim.sink);
        let mut rounds = 0;
        let round = loop {
            rounds += 1;
            let round = self.run_relaying(action.as_str(), Again::Unsafe, || claim_round(self, &claim)).await?;
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
            // Due dispatches that the claim did not find are locked by other transactions, which
            // have claimed them or finish them soon.
            next_due_in = next_due_in.map(|due_in| due_in.max(CONTENDED));
        }
        // If the sink was paused after the claim, the claimed dispatches are still ours.
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
        let action = format!("record finished attempts ({})", batch.len());
        let now = now.map(clock::to_micros);
        let mut seen = HashSet::new();
        let mut attempts: Vec<_> = batch.iter().filter(|entry| seen.insert((entry.id, entry.token))).collect();
        let mut recorded = HashSet::new();
        if attempts.iter().all(|entry| entry.next == Next::Delivered) {
            recorded =
                self.run_relaying(action.as_str(), Again::Harmless, || finish_alone(self, &attempts, now)).await?;
            attempts.retain(|entry| !recorded.contains(&(entry.id.0, entry.token.0)));
        }
        if !attempts.is_empty() {
            let (rest, wake) = self.run_relaying(action, Again::Unsafe, || finish_once(self, &attempts, now)).await?;
            recorded.extend(rest);
            self.wakeups.wake(&wake);
        }
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
        let given: Vec<(String, Option<String>, i64)> = self
            .run_relaying(format!("give back leases ({})", ids.len()), Again::Unsafe, async || {
                let mut checkout = self.begin_relaying().await?;
                let given: Vec<(String, Option<String>, i64)> =
                    sqlx::query_as(GIVE_BACK).bind(&ids).bind(&tokens).fetch_all(checkout.on()).await?;
                if let Some((.., moment)) = given.first() {
                    let lanes =
                        given.iter().filter_map(|(sink, invoice, _)| Some((sink.as_str(), invoice.as_deref()?)));
                    wake_next(checkout.on(), lanes.collect(), *moment).await?;
                    // A process that gives leases back is about to stop, so the other replicas have
                    // to take over.
                    announce::announce(checkout.on(), given.iter().map(|(sink, ..)| sink.as_str())).await?;
                }
                checkout.commit().await?;
                Ok(given)
            })
            .await?;
        let sinks = given.iter().map(|(name, ..)| sink_name(name)).collect::<Result<HashSet<_>, _>>()?;
        self.wakeups.wake(&sinks);
        Ok(given.len() as u64)
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        let expired = self
            .run("expire the leases of an earlier process", Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                let expired = sqlx::query(concat!(
                    "UPDATE queue SET due_at = ",
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

    // In the order in which they became due. Candidates beyond the limit stay where they are.
    let (there, mut gone): (Vec<&Candidate>, Vec<&Candidate>) =
        candidates.iter().partition(|candidate| candidate.bytes.is_some());
    // Dispatches with nothing to send keep no order: a whole lane of them ends at once.
    heads.retain(|id, _| !gone.iter().any(|candidate| candidate.id == *id));
    let mut wanted: Vec<&Candidate> =
        there.into_iter().filter(|candidate| !heads.contains_key(&candidate.id)).collect();
    let found = wanted.len();
    wanted.truncate(claim.limit as usize);
    wanted.truncate(within_budget(wanted.iter().map(|candidate| candidate.bytes.unwrap_or(0))));
    let full = full || wanted.len() < found;
    // The order in which the lanes are taken, see the module.
    wanted.sort_unstable_by_key(|candidate| &candidate.invoice_id);
    let free: Vec<i64> = wanted.iter().map(|candidate| candidate.id).collect();
    let (blocked, contended): (Vec<(i64, i64)>, Vec<_>) =
        heads.into_iter().partition(|(_, head)| ours.contains(head) || held.contains(head));

    let mut leased = Vec::new();
    if !free.is_empty() {
        let tokens: Vec<_> = free.iter().map(|_| LeaseToken::generate().0).collect();
        let leasing = sqlx::query_as(LEASE)
            .bind(free)
            .bind(tokens)
            .bind(now)
            .bind(clock::duration_micros(claim.lease))
            .bind(clock::duration_micros(claim.longest_wait))
            .bind(claim.order == Order::Invoice)
            .fetch_all(checkout.on());
        let rows: Vec<LeasedRow> = match leasing.await.map_err(Failure::from) {
            Err(taken) if taken.is_taken() => {
                checkout.roll_back().await?;
                return Ok(Round::LOST);
            }
            rows => rows?,
        };
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
    // After the blocked candidates were given the dispatch that they wait for, so that the next one
    // is made due.
    call_off(checkout.on(), claim.sink, &gone, now).await?;
    checkout.commit().await?;
    let postponed = !gone.is_empty() || !blocked.is_empty();
    Ok(Round { leased, full, postponed, contended: !contended.is_empty() })
}

/// Ends dispatches that have nothing left to send, and makes the next ones of their invoices due.
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
    for (statement, ids, reason) in [(CALL_OFF, erased, ERASED), (GIVE_UP, orphans, ORPHANED)] {
        if !ids.is_empty() {
            sqlx::query(statement).bind(ids).bind(now).bind(reason).execute(&mut *connection).await?;
        }
    }
    let lanes = gone.iter().filter_map(|candidate| Some((sink.as_str(), candidate.invoice_id.as_deref()?))).collect();
    // They belong to the sink whose claim is under way, so no wake-up is needed.
    wake_next(connection, lanes, now).await?;
    Ok(())
}

/// The candidates that are not the head of their lane, each with the head.
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

/// Moves what was delivered to the history, with the attempt. A lease that is no longer ours matches no row.
macro_rules! delivered {
    ($which:literal, $with:literal) => {
        concat!(
            "WITH done AS (
                DELETE FROM queue AS d
                USING unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[])
                      AS f (id, token, started_at, duration_us)
                WHERE d.id = f.id AND d.lease_token = f.token",
            $which,
            "   RETURNING d.id, d.event_id, d.sink, d.event_type, d.invoice_id, d.trigger, d.attempts, d.created_at,
                          d.last_error, d.lease_token, f.started_at, f.duration_us
            ), moment AS MATERIALIZED (SELECT ",
            began!("$5"),
            " AS now, set_config('synchronous_commit', 'off', true)), kept AS (
                INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at,
                                     finished_at, last_error, attempted_at, attempt_us)
                SELECT id, event_id, sink, event_type, invoice_id, 'delivered', trigger, attempts + 1, created_at,
                       moment.now, last_error, started_at, duration_us
                FROM done, moment
            )",
            $with,
            " SELECT id, lease_token, moment.now, invoice_id, attempts + 1 FROM done, moment"
        )
    };
}

/// In a transaction that looks for the next in the lane, and adds to the sinks' rows.
const DELIVERED: &str = delivered!("", "");

/// What is alone in its lane, see the [module](self), with the sinks' rows: a transaction of its own.
pub(super) const DELIVERED_ALONE: &str = delivered!(
    " AND NOT d.awaited
      AND NOT (d.invoice_id IS NOT NULL AND EXISTS (
          SELECT FROM queue w
          WHERE w.sink = d.sink AND w.invoice_id = d.invoice_id AND w.finished_at IS NULL AND w.id <> d.id))",
    ", standing AS (
         INSERT INTO sinks AS s (name, registered_at, delivered, last_success_at)
         SELECT sink, moment.now, count(*), moment.now FROM done, moment GROUP BY sink, moment.now ORDER BY sink
         ON CONFLICT (name) DO UPDATE
         SET delivered = s.delivered + excluded.delivered, last_success_at = excluded.last_success_at
     )"
);

/// Writes the new states of what was not delivered; in the same way.
const UNDELIVERED: &str = concat!(
    "UPDATE queue AS d
    SET state = f.state, attempts = d.attempts + 1, lease_token = NULL, alone = false, due_at = moment.now + f.wait_us,
        finished_at = CASE f.state WHEN 'dead' THEN moment.now END, last_error = COALESCE(f.error, d.last_error),
        first_attempt_at = CASE WHEN NOT f.restarts THEN d.first_attempt_at END,
        ageless = CASE WHEN f.restarts THEN d.attempts + 1 ELSE d.ageless END, wait_us = f.wait_us
    FROM (SELECT ",
    began!("$5"),
    " AS now OFFSET 0) AS moment,
         unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[], $6::text[], $7::bool[])
         AS f (id, token, state, wait_us, error, restarts)
    WHERE d.id = f.id AND d.lease_token = f.token
    RETURNING d.id, f.token, moment.now, d.invoice_id, d.attempts"
);

/// Writes the attempts that did not deliver.
const ATTEMPTS: &str = "INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error)
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])";

/// A row of an attempt that is recorded: dispatch, token, time, invoice, number of the attempt.
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

/// One array for each column of a batch.
macro_rules! column {
    ($of:expr, $entry:pat => $value:expr) => {
        $of.iter().map(|$entry| $value).collect::<Vec<_>>()
    };
}

/// Finishes what was delivered and is alone in its lane. Returns which leases those were.
async fn finish_alone(
    store: &PostgresStore,
    attempts: &[&FinishedAttempt],
    now: Option<i64>,
) -> Result<HashSet<(i64, Uuid)>, Failure> {
    let mut checkout = store.checkout().await?;
    let attempts = by_id(attempts);
    let rows: Vec<FinishedRow> =
        store.soon(delivered(DELIVERED_ALONE, &attempts, now).fetch_all(checkout.on())).await?;
    checkout.finish();
    Ok(rows.into_iter().map(|(id, token, ..)| (id, token)).collect())
}

/// The order in which a finish locks its rows.
fn by_id<'a>(attempts: &[&'a FinishedAttempt]) -> Vec<&'a FinishedAttempt> {
    let mut sorted = attempts.to_vec();
    sorted.sort_by_key(|entry| entry.id);
    sorted
}

/// The statement with its parameters.
fn delivered(
    statement: &'static str,
    attempts: &[&FinishedAttempt],
    now: Option<i64>,
) -> QueryAs<'static, Postgres, FinishedRow, PgArguments> {
    sqlx::query_as(statement)
        .bind(column!(attempts, e => e.id.0))
        .bind(column!(attempts, e => e.token.0))
        .bind(column!(attempts, e => clock::to_micros(e.started_at)))
        .bind(column!(attempts, e => clock::duration_micros(e.duration)))
        .bind(now)
}

/// Finishes attempts of all kinds. Returns which leases were ours, and the sinks that have a dispatch due at once.
async fn finish_once(
    store: &PostgresStore,
    attempts: &[&FinishedAttempt],
    now: Option<i64>,
) -> Result<(HashSet<(i64, Uuid)>, Vec<SinkName>), Failure> {
    let (good, bad): (Vec<&FinishedAttempt>, Vec<_>) =
        by_id(attempts).into_iter().partition(|entry| entry.next == Next::Delivered);
    let reasons: Vec<_> = bad.iter().map(|entry| entry.outcome.reason().map(storable)).collect();
    let mut checkout = store.begin_relaying().await?;
    let mut rows: Vec<FinishedRow> = Vec::new();
    if !good.is_empty() {
        rows = delivered(DELIVERED, &good, now).fetch_all(checkout.on()).await?;
    }
    if !bad.is_empty() {
        rows.extend::<Vec<FinishedRow>>(
            sqlx::query_as(UNDELIVERED)
                .bind(column!(bad, e => e.id.0))
                .bind(column!(bad, e => e.token.0))
                .bind(column!(bad, e => e.next.state().as_str()))
                .bind(column!(bad, e => due_after(&e.next).map(clock::duration_micros)))
                .bind(now)
                .bind(&reasons)
                .bind(column!(bad, e => e.outcome.restarts_the_clock()))
                .fetch_all(checkout.on())
                .await?,
        );
    }
    let Some(moment) = rows.first().map(|row| row.2) else {
        checkout.commit().await?;
        return Ok((HashSet::new(), Vec::new()));
    };
    let finished: HashMap<(i64, Uuid), (Option<String>, i32)> =
        rows.into_iter().map(|(id, token, _, invoice, number)| ((id, token), (invoice, number))).collect();

    let numbered = |(entry, reason)| {
        let entry: &FinishedAttempt = entry;
        let (_, number) = finished.get(&(entry.id.0, entry.token.0))?;
        Some((entry, *number, Option::as_deref(reason)))
    };
    let failed: Vec<_> = bad.iter().copied().zip(&reasons).filter_map(numbered).collect();
    if !failed.is_empty() {
        write_attempts(checkout.on(), &failed).await?;
    }
    let due_now = |entry: &&FinishedAttempt| due_after(&entry.next).is_some_and(|after| after.is_zero());
    let mut wake: Vec<SinkName> =
        failed.iter().map(|(entry, ..)| *entry).filter(due_now).map(|entry| entry.sink.clone()).collect();
    // Of all that was leased: what goes back behind an earlier dispatch of its lane was at the head only while it was
    // leased.
    let lanes = good.iter().chain(&bad).filter_map(|entry| {
        let (invoice, _) = finished.get(&(entry.id.0, entry.token.0))?;
        Some((entry.sink.as_str(), invoice.as_deref()?))
    });
    wake.extend(wake_next(checkout.on(), lanes.collect(), moment).await?);

    // In the order of the batch.
    let ours = attempts.iter().copied().filter(|entry| finished.contains_key(&(entry.id.0, entry.token.0)));
    let changes = sink_changes(ours);
    // Last, because every group of attempts of a sink needs this row: so it is locked only for the
    // length of the commit.
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

/// How long until a dispatch is due again; `None` if it does not become due by itself.
fn due_after(next: &Next) -> Option<Duration> {
    match next {
        Next::Pending { after } => Some(*after),
        Next::Held { recheck_after } => *recheck_after,
        Next::Delivered | Next::Dead => None,
    }
}

/// The next dispatch of each lane, if a claim has postponed it. Ordered by id, like every update of
/// several rows.
pub(super) const WAKE_NEXT: &str = "WITH next AS MATERIALIZED (
        SELECT DISTINCT head.id FROM unnest($1::text[], $2::text[]) AS lane (sink, invoice_id)
        CROSS JOIN LATERAL (
            SELECT d.id, d.waits_for FROM queue d
            WHERE d.sink = lane.sink AND d.invoice_id = lane.invoice_id AND d.finished_at IS NULL
            ORDER BY d.turn LIMIT 1
        ) AS head
        WHERE head.waits_for IS NOT NULL ORDER BY head.id
    )
    UPDATE queue AS d SET due_at = $3, waits_for = NULL FROM next
    WHERE d.id = next.id AND d.waits_for IS NOT NULL
    RETURNING d.sink";

/// Makes the next dispatch in the lane of each finished one due, and returns the sinks of those
/// dispatches. Call it as a statement of its own, after the statement that finished them: see the
/// [module](self).
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

/// If the dispatch was never attempted, or not since its age was reset, the claim does not start its age.
const GIVE_BACK: &str = concat!(
    "UPDATE queue AS d
     SET state = 'pending', due_at = moment.now, lease_token = NULL, alone = false,
         first_attempt_at = CASE WHEN d.attempts > d.ageless THEN d.first_attempt_at END
     FROM (SELECT ",
    began!("NULL"),
    " AS now OFFSET 0) AS moment, unnest($1::bigint[], $2::uuid[]) AS given (id, token)
     WHERE d.id = given.id AND d.lease_token = given.token
     RETURNING d.sink, d.invoice_id, moment.now"
);
