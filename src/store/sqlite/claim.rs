//! The beginning of an attempt: dispatches are leased, or given back unused.

use std::{collections::HashMap, sync::LazyLock};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    SqliteStore,
    dispatches::call_next,
    finish,
    rows::{Chunked, During, Place, between, json_array, micros_or_now},
};
use crate::{
    model::{
        clock,
        dispatch::{FinishedAttempt, LeasedDispatch, Order, State},
        id::{DispatchId, EventId, LeaseToken, SinkName},
    },
    store::{
        BLOCKED_RECHECK, Claim, Claimed, ERASED, Finish, LOOK_AHEAD, LeaseStore, ORPHANED, StoreError,
        leases::{SMALL_PAYLOAD, aging_since, within_budget},
        tx::later,
    },
};

/// What is due for sink ?1 at time ?2, at most ?3, each with the dispatch that must go first, if
/// any: the first unfinished one of its invoice, be it pending, leased, held or another candidate
/// of this very claim.
///
/// The payload of a blocked one stays in the database, and so does one that is larger than ?4: its size is known without
/// reading it. `MATERIALIZED`, or SQLite would look for that earlier dispatch once for each place that names it.
const DUE_IN_ORDER: &str = "
    WITH found AS MATERIALIZED (
        SELECT id, attempts, trigger, first_attempt_at, due_at, event_id, event_type, invoice_id,
               (SELECT head.id FROM dispatches AS head
                WHERE head.sink = d.sink AND head.invoice_id = d.invoice_id AND head.finished_at IS NULL
                  AND head.id < d.id
                ORDER BY head.id LIMIT 1) AS waits_for
        FROM dispatches AS d
        WHERE sink = ?1 AND due_at <= ?2
          AND NOT EXISTS (SELECT 1 FROM sinks WHERE name = ?1 AND paused_at IS NOT NULL)
        ORDER BY due_at, id LIMIT ?3)
    SELECT found.id, found.waits_for, found.attempts, found.trigger, found.first_attempt_at, found.event_id,
           found.event_type, found.invoice_id, e.endpoint, e.received_at, e.content_type,
           iif(found.waits_for IS NULL AND length(e.payload) <= ?4, e.payload, NULL),
           found.due_at, length(e.payload), e.id IS NULL
    FROM found LEFT JOIN events AS e ON e.id = found.event_id";

/// The same where order does not matter.
const DUE_IN_ANY_ORDER: &str = "
    SELECT due.id, NULL, due.attempts, due.trigger, due.first_attempt_at, due.event_id, due.event_type,
           due.invoice_id, e.endpoint, e.received_at, e.content_type, iif(length(e.payload) <= ?4, e.payload, NULL),
           due.due_at, length(e.payload), e.id IS NULL
    FROM (SELECT id, attempts, trigger, first_attempt_at, due_at, event_id, event_type, invoice_id
          FROM dispatches
          WHERE sink = ?1 AND due_at <= ?2
            AND NOT EXISTS (SELECT 1 FROM sinks WHERE name = ?1 AND paused_at IS NOT NULL)
          ORDER BY due_at, id LIMIT ?3) AS due
    LEFT JOIN events AS e ON e.id = due.event_id";

/// The larger payloads, of those that are leased.
const LARGE: &str = "SELECT id, payload FROM events WHERE id IN (SELECT unhex(value) FROM json_each(?))";

/// The earliest time that is left, and whether the sink is paused: asked only when the claim was not
/// filled, and a paused one never is.
const NEXT_DUE: &str = "
    SELECT (SELECT min(due_at) FROM dispatches WHERE sink = ?1 AND due_at IS NOT NULL),
           EXISTS (SELECT 1 FROM sinks WHERE name = ?1 AND paused_at IS NOT NULL)";

static LEASE: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "WITH lease (until) AS (VALUES (?)), claimed (id, token, first_attempt_at) AS (VALUES",
        "(?, ?, ?)",
        ") UPDATE dispatches
           SET state = 'leased', lease_token = claimed.token, due_at = (SELECT until FROM lease), waits_for = NULL,
               first_attempt_at = claimed.first_attempt_at
           FROM claimed WHERE dispatches.id = claimed.id",
    )
});

/// A blocked one that somebody's lease had run out on is pending again.
static SET_ASIDE: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "WITH again (at) AS (VALUES (?)), blocked (id, waits_for) AS (VALUES",
        "(?, ?)",
        ") UPDATE dispatches
           SET waits_for = blocked.waits_for, due_at = (SELECT at FROM again), lease_token = NULL,
               state = iif(state = 'leased', 'pending', state)
           FROM blocked WHERE dispatches.id = blocked.id",
    )
});

static GIVE_BACK: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "WITH now (at) AS (VALUES (?)), given (id, token) AS (VALUES",
        "(?, ?)",
        ") UPDATE dispatches
           SET state = 'pending', due_at = (SELECT at FROM now), lease_token = NULL,
               -- Nothing was tried since its clock began anew, or ever: its age has not begun.
               first_attempt_at = iif(attempts = ageless, NULL, first_attempt_at)
           FROM given
           -- `+`: or the planner may take the token for a way to join, and walk the whole table for it.
           WHERE dispatches.id = given.id AND +lease_token = +given.token AND state = 'leased'
           RETURNING sink",
    )
});

/// How often a claim looks again when all that it found had to wait for its turn.
const ROUNDS: u32 = 8;

/// How many a claim looks at when it looks again: a backlog behind one stuck invoice is set aside
/// in few rounds even if the sink asks for one dispatch at a time.
const LOOK_AGAIN: u32 = 256;

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError> {
        let now = micros_or_now(claim.now);
        let Some(taken) =
            take(self, &claim, now).await.during(format_args!("claiming dispatches of {}", claim.sink))?
        else {
            return Ok(Claimed { paused: true, ..Claimed::default() });
        };
        if taken.orphans > 0 {
            tracing::error!(
                sink.name = %claim.sink, dispatches = taken.orphans,
                "dispatches are given up because their event is not in the database: was only a part of the database restored?"
            );
        }
        let next_due_in = taken.next_due.map(|due_at| between(now, due_at));
        let mut dispatches = taken.rows.into_iter().map(|found| found.read(now)).collect::<Result<Vec<_>, _>>()?;
        dispatches.sort_unstable_by_key(|dispatch| dispatch.id);
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
        let sinks = write_back(self, leases).await.during(format_args!("giving back {} leases", leases.len()))?;
        super::dispatches::wake(self, &sinks);
        Ok(sinks.len() as u64)
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        let expired = write_expiry(self).await.during("expiring the leases of an earlier process")?;
        if expired > 0 {
            self.wakeups.wake_all();
        }
        Ok(expired)
    }
}

/// What a claim found, leased already.
struct Taken {
    rows: Vec<Found>,
    /// The earliest `due_at` that is left; `now` if nobody looked because there may be more.
    next_due: Option<i64>,
    /// Dispatches that were given up because their event is not there.
    orphans: usize,
}

/// A candidate, with the token that it gets.
struct Found {
    id: i64,
    token: LeaseToken,
    /// When its age began: what it was claimed too late does not count.
    first_attempt_at: i64,
    /// The size of its payload.
    bytes: i64,
    /// One that did not come with the row.
    large: Option<Vec<u8>>,
    row: SqliteRow,
}

/// Leases what is due; `None` if the sink is paused.
async fn take(store: &SqliteStore, claim: &Claim<'_>, now: i64) -> Result<Option<Taken>, sqlx::Error> {
    let mut transaction = store.write_relaying().await?;
    let mut rows = Vec::new();
    let (mut orphans, mut is_full) = (0, false);
    if claim.limit > 0 {
        for round in 0..ROUNDS {
            let looked_at = match claim.order {
                Order::None => claim.limit,
                Order::Invoice => claim.limit.max(if round == 0 { LOOK_AHEAD } else { LOOK_AGAIN }),
            };
            let Looked { free, blocked, gone } = look(&mut transaction, claim, now, looked_at).await?;
            rows = free;
            let found = rows.len();
            rows.truncate(claim.limit as usize);
            rows.truncate(within_budget(rows.iter().map(|found| found.bytes)));
            is_full = rows.len() < found || rows.len() == claim.limit as usize;
            set_aside(&mut transaction, &blocked, now).await?;
            call_off(&mut transaction, claim.sink, &gone, now).await?;
            orphans += gone.iter().filter(|gone| gone.is_orphan).count();
            if !rows.is_empty() || (blocked.is_empty() && gone.is_empty()) {
                break;
            }
        }
    }
    lease(&mut transaction, &rows, later(now, claim.lease)).await?;
    read_large(&mut transaction, &mut rows).await?;
    let next_due = if is_full {
        Some(now)
    } else {
        let (next_due, paused) = next_due(&mut transaction, claim.sink).await?;
        if paused {
            // Nothing was found, so nothing was written.
            return Ok(None);
        }
        next_due
    };
    transaction.commit().await?;
    store.checkpoints.wrote(rows.len());
    Ok(Some(Taken { rows, next_due, orphans }))
}

/// What is due.
struct Looked {
    /// What can be leased now, in the order in which it became due.
    free: Vec<Found>,
    /// What has to wait, and for which earlier one.
    blocked: Vec<(i64, i64)>,
    /// What would be leased if something were left to send.
    gone: Vec<Gone>,
}

/// A dispatch without a payload.
struct Gone {
    id: i64,
    invoice_id: Option<String>,
    /// The event itself is not there. Else its payload was erased while somebody had it.
    is_orphan: bool,
}

/// Looks at what is due.
async fn look(
    connection: &mut SqliteConnection,
    claim: &Claim<'_>,
    now: i64,
    limit: u32,
) -> Result<Looked, sqlx::Error> {
    let sql = match claim.order {
        Order::Invoice => DUE_IN_ORDER,
        Order::None => DUE_IN_ANY_ORDER,
    };
    let found = sqlx::query(sql)
        .bind(claim.sink.as_str())
        .bind(now)
        .bind(limit)
        .bind(SMALL_PAYLOAD)
        .fetch_all(&mut *connection)
        .await?;
    let mut looked = Looked { free: Vec::with_capacity(found.len()), blocked: Vec::new(), gone: Vec::new() };
    for row in found {
        let id: i64 = row.try_get(0)?;
        match (row.try_get(1)?, row.try_get(13)?) {
            (Some(waits_for), _) => looked.blocked.push((id, waits_for)),
            (None, None) => {
                looked.gone.push(Gone { id, invoice_id: row.try_get(7)?, is_orphan: row.try_get(14)? });
            }
            (None, Some(bytes)) => {
                let first_attempt_at = aging_since(row.try_get(4)?, row.try_get(12)?, now, claim.longest_wait);
                let token = LeaseToken::generate();
                looked.free.push(Found { id, token, first_attempt_at, bytes, large: None, row });
            }
        }
    }
    Ok(looked)
}

/// Ends what there is nothing left to send of; the next of its invoice is due.
async fn call_off(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    gone: &[Gone],
    now: i64,
) -> Result<(), sqlx::Error> {
    if gone.is_empty() {
        return Ok(());
    }
    for (is_orphan, state, reason) in [(false, State::Cancelled, ERASED), (true, State::Dead, ORPHANED)] {
        let ids = gone.iter().filter(|gone| gone.is_orphan == is_orphan).map(|gone| gone.id);
        sqlx::query(
            "UPDATE dispatches
             SET state = ?4, due_at = NULL, waits_for = NULL, lease_token = NULL, finished_at = ?2, last_error = ?3
             WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(json_array(ids))
        .bind(now)
        .bind(reason)
        .bind(state.as_str())
        .execute(&mut *connection)
        .await?;
    }
    let lanes = gone.iter().filter_map(|gone| Some((sink.as_str(), gone.invoice_id.as_deref()?))).collect();
    // Of this very sink, whose claim goes on.
    call_next(connection, &lanes, now).await?;
    Ok(())
}

async fn lease(connection: &mut SqliteConnection, rows: &[Found], until: i64) -> Result<(), sqlx::Error> {
    for (sql, chunk) in LEASE.chunks(rows) {
        let mut query = sqlx::query(sql).bind(until);
        for found in chunk {
            query = query.bind(found.id).bind(found.token.0).bind(found.first_attempt_at);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Reads the payloads that did not come with their rows.
async fn read_large(connection: &mut SqliteConnection, rows: &mut [Found]) -> Result<(), sqlx::Error> {
    let mut wanted: HashMap<Uuid, Vec<usize>> = HashMap::new();
    for (place, found) in rows.iter().enumerate().filter(|(_, found)| found.bytes > SMALL_PAYLOAD) {
        wanted.entry(found.row.try_get(5)?).or_default().push(place);
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = wanted.keys().map(|id| id.simple().to_string()).collect();
    let payloads: Vec<(Uuid, Option<Vec<u8>>)> = sqlx::query_as(LARGE)
        .bind(serde_json::to_string(&ids).expect("texts can be written as JSON"))
        .fetch_all(connection)
        .await?;
    for (id, payload) in payloads {
        for place in wanted.get(&id).into_iter().flatten() {
            rows[*place].large.clone_from(&payload);
        }
    }
    Ok(())
}

async fn set_aside(connection: &mut SqliteConnection, blocked: &[(i64, i64)], now: i64) -> Result<(), sqlx::Error> {
    for (sql, chunk) in SET_ASIDE.chunks(blocked) {
        let mut query = sqlx::query(sql).bind(later(now, BLOCKED_RECHECK));
        for (id, waits_for) in chunk {
            query = query.bind(id).bind(waits_for);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn next_due(connection: &mut SqliteConnection, sink: &SinkName) -> Result<(Option<i64>, bool), sqlx::Error> {
    sqlx::query_as(NEXT_DUE).bind(sink.as_str()).fetch_one(connection).await
}

impl Found {
    fn read(self, now: i64) -> Result<LeasedDispatch, StoreError> {
        let action = "reading a claimed dispatch";
        let place = Place { table: "dispatches", row: &self.id };
        let row = &self.row;
        let event_id: uuid::Uuid = row.try_get(5).during(action)?;
        let of_event = Place { table: "events", row: &event_id };
        let payload = match self.large {
            Some(payload) => Some(payload),
            None => row.try_get(11).during(action)?,
        };
        Ok(LeasedDispatch {
            id: DispatchId(self.id),
            token: self.token,
            attempts: row.try_get(2).during(action)?,
            trigger: place.trigger(row.try_get(3).during(action)?)?,
            age: between(self.first_attempt_at, now),
            event_id: EventId(event_id),
            endpoint: row.try_get(8).during(action)?,
            event_type: row.try_get(6).during(action)?,
            invoice_id: row.try_get(7).during(action)?,
            // One that cannot be read must not hold up those behind it.
            received_at: clock::nearest(row.try_get(9).during(action)?),
            content_type: row.try_get(10).during(action)?,
            payload: payload.map(Bytes::from).ok_or_else(|| {
                of_event.unreadable("payload", "it is gone although a dispatch of the event is unfinished")
            })?,
        })
    }
}

/// Answers the sink of each dispatch that was given back.
async fn write_back(store: &SqliteStore, leases: &[(DispatchId, LeaseToken)]) -> Result<Vec<String>, sqlx::Error> {
    let now = micros_or_now(None);
    let mut transaction = store.write_relaying().await?;
    let mut sinks = Vec::new();
    for (sql, chunk) in GIVE_BACK.chunks(leases) {
        let mut query = sqlx::query_scalar(sql).bind(now);
        for (id, token) in chunk {
            query = query.bind(id.0).bind(token.0);
        }
        sinks.extend(query.fetch_all(&mut *transaction).await?);
    }
    transaction.commit().await?;
    Ok(sinks)
}

async fn write_expiry(store: &SqliteStore) -> Result<u64, sqlx::Error> {
    let mut transaction = store.write().await?;
    // The index by due time alone answers this: it holds the state.
    let leased: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'leased'")
            .fetch_all(&mut *transaction)
            .await?;
    let expired = sqlx::query("UPDATE dispatches SET due_at = ?2 WHERE id IN (SELECT value FROM json_each(?1))")
        .bind(json_array(leased))
        .bind(micros_or_now(None))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    transaction.commit().await?;
    Ok(expired)
}

#[cfg(test)]
pub(super) mod hot {
    //! The hot statements, for the tests of their plans.
    pub(in crate::store::sqlite) const DUE_IN_ORDER: &str = super::DUE_IN_ORDER;
    pub(in crate::store::sqlite) const DUE_IN_ANY_ORDER: &str = super::DUE_IN_ANY_ORDER;
    pub(in crate::store::sqlite) const NEXT_DUE: &str = super::NEXT_DUE;
    pub(in crate::store::sqlite) fn writes() -> [&'static str; 3] {
        [super::LEASE.largest(), super::SET_ASIDE.largest(), super::GIVE_BACK.largest()]
    }
}
