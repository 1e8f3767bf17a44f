//! The beginning of an attempt: dispatches are leased, or given back unused.

use std::sync::LazyLock;

use bytes::Bytes;
use sqlx::{Row, SqliteConnection, ValueRef, sqlite::SqliteRow};

use super::{
    SqliteStore,
    dispatches::call_next,
    rows::{Chunked, During, Place, between, json_array, later, micros_or_now},
};
use crate::{
    model::{
        clock,
        dispatch::{LeasedDispatch, Order},
        id::{DispatchId, EventId, LeaseToken, SinkName},
    },
    store::{BLOCKED_RECHECK, Claim, Claimed, ERASED, LOOK_AHEAD, StoreError},
};

/// What is due for sink ?1 at time ?2, at most ?3, each with the dispatch that must go first, if
/// any: the first unfinished one of its invoice, be it pending, leased, held or another candidate
/// of this very claim.
///
/// The payload of a blocked one stays in the database. `MATERIALIZED`, or SQLite would look for
/// that earlier dispatch once for each place that names it.
const DUE_IN_ORDER: &str = "
    WITH found AS MATERIALIZED (
        SELECT id, attempts, trigger, first_attempt_at, event_id, event_type, invoice_id,
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
           iif(found.waits_for IS NULL, e.payload, NULL)
    FROM found JOIN events AS e ON e.id = found.event_id";

/// The same where order does not matter.
const DUE_IN_ANY_ORDER: &str = "
    SELECT due.id, NULL, due.attempts, due.trigger, due.first_attempt_at, due.event_id, due.event_type,
           due.invoice_id, e.endpoint, e.received_at, e.content_type, e.payload
    FROM (SELECT id, attempts, trigger, first_attempt_at, event_id, event_type, invoice_id
          FROM dispatches
          WHERE sink = ?1 AND due_at <= ?2
            AND NOT EXISTS (SELECT 1 FROM sinks WHERE name = ?1 AND paused_at IS NOT NULL)
          ORDER BY due_at, id LIMIT ?3) AS due
    JOIN events AS e ON e.id = due.event_id";

/// The earliest time that is left, and whether the sink is paused: asked only when the claim was not
/// filled, and a paused one never is.
const NEXT_DUE: &str = "
    SELECT (SELECT min(due_at) FROM dispatches WHERE sink = ?1 AND due_at IS NOT NULL),
           EXISTS (SELECT 1 FROM sinks WHERE name = ?1 AND paused_at IS NOT NULL)";

static LEASE: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "WITH lease (until, at) AS (VALUES (?, ?)), claimed (id, token) AS (VALUES",
        "(?, ?)",
        ") UPDATE dispatches
           SET state = 'leased', lease_token = claimed.token, due_at = (SELECT until FROM lease), waits_for = NULL,
               first_attempt_at = coalesce(first_attempt_at, (SELECT at FROM lease))
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

/// See [`crate::store::Store::claim_due`].
pub(super) async fn claim(store: &SqliteStore, claim: Claim<'_>) -> Result<Claimed, StoreError> {
    let now = micros_or_now(claim.now);
    let Some(taken) = take(store, &claim, now).await.during(format_args!("claiming dispatches of {}", claim.sink))?
    else {
        return Ok(Claimed { paused: true, ..Claimed::default() });
    };
    let next_due_in = taken.next_due.map(|due_at| between(now, due_at));
    let mut dispatches = taken.rows.iter().map(|row| row.read(now)).collect::<Result<Vec<_>, _>>()?;
    dispatches.sort_unstable_by_key(|dispatch| dispatch.id);
    Ok(Claimed { dispatches, next_due_in, paused: false })
}

/// What a claim found, leased already.
struct Taken {
    rows: Vec<Found>,
    /// The earliest `due_at` that is left; `now` if nobody looked because there may be more.
    next_due: Option<i64>,
}

/// A candidate, with the token that it gets.
struct Found {
    id: i64,
    token: LeaseToken,
    row: SqliteRow,
}

/// Leases what is due; `None` if the sink is paused.
async fn take(store: &SqliteStore, claim: &Claim<'_>, now: i64) -> Result<Option<Taken>, sqlx::Error> {
    let mut transaction = store.write_relaying().await?;
    let mut rows = Vec::new();
    if claim.limit > 0 {
        for round in 0..ROUNDS {
            let looked_at = match claim.order {
                Order::None => claim.limit,
                Order::Invoice => claim.limit.max(if round == 0 { LOOK_AHEAD } else { LOOK_AGAIN }),
            };
            let Looked { free, blocked, erased } = look(&mut transaction, claim, now, looked_at).await?;
            rows = free;
            rows.truncate(claim.limit as usize);
            set_aside(&mut transaction, &blocked, now).await?;
            call_off(&mut transaction, claim.sink, &erased, now).await?;
            if !rows.is_empty() || (blocked.is_empty() && erased.is_empty()) {
                break;
            }
        }
    }
    lease(&mut transaction, &rows, later(now, claim.lease), now).await?;
    let next_due = if claim.limit > 0 && rows.len() == claim.limit as usize {
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
    Ok(Some(Taken { rows, next_due }))
}

/// What is due.
struct Looked {
    /// What can be leased now, in the order in which it became due.
    free: Vec<Found>,
    /// What has to wait, and for which earlier one.
    blocked: Vec<(i64, i64)>,
    /// What would be leased if its event's payload had not been erased while somebody had it, with its invoice.
    erased: Vec<(i64, Option<String>)>,
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
    let found = sqlx::query(sql).bind(claim.sink.as_str()).bind(now).bind(limit).fetch_all(&mut *connection).await?;
    let mut looked = Looked { free: Vec::with_capacity(found.len()), blocked: Vec::new(), erased: Vec::new() };
    for row in found {
        let id: i64 = row.try_get(0)?;
        match row.try_get(1)? {
            Some(waits_for) => looked.blocked.push((id, waits_for)),
            None if row.try_get_raw(11)?.is_null() => looked.erased.push((id, row.try_get(7)?)),
            None => looked.free.push(Found { id, token: LeaseToken::generate(), row }),
        }
    }
    Ok(looked)
}

/// Calls off what there is nothing left to send of; the next of its invoice is due.
async fn call_off(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    erased: &[(i64, Option<String>)],
    now: i64,
) -> Result<(), sqlx::Error> {
    if erased.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE dispatches
         SET state = 'cancelled', due_at = NULL, waits_for = NULL, lease_token = NULL, finished_at = ?2, last_error = ?3
         WHERE id IN (SELECT value FROM json_each(?1))",
    )
    .bind(json_array(erased.iter().map(|(id, _)| *id)))
    .bind(now)
    .bind(ERASED)
    .execute(&mut *connection)
    .await?;
    let lanes = erased.iter().filter_map(|(_, invoice)| Some((sink.as_str(), invoice.as_deref()?))).collect();
    // Of this very sink, whose claim goes on.
    call_next(connection, &lanes, now).await?;
    Ok(())
}

async fn lease(connection: &mut SqliteConnection, rows: &[Found], until: i64, now: i64) -> Result<(), sqlx::Error> {
    for (sql, chunk) in LEASE.chunks(rows) {
        let mut query = sqlx::query(sql).bind(until).bind(now);
        for found in chunk {
            query = query.bind(found.id).bind(found.token.0);
        }
        query.execute(&mut *connection).await?;
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
    fn read(&self, now: i64) -> Result<LeasedDispatch, StoreError> {
        let action = "reading a claimed dispatch";
        let place = Place { table: "dispatches", row: &self.id };
        let row = &self.row;
        let event_id: uuid::Uuid = row.try_get(5).during(action)?;
        let of_event = Place { table: "events", row: &event_id };
        let payload: Option<Vec<u8>> = row.try_get(11).during(action)?;
        Ok(LeasedDispatch {
            id: DispatchId(self.id),
            token: self.token,
            attempts: row.try_get(2).during(action)?,
            trigger: place.trigger(row.try_get(3).during(action)?)?,
            age: row.try_get::<Option<i64>, _>(4).during(action)?.map_or_else(Default::default, |at| between(at, now)),
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

/// See [`crate::store::Store::give_back`].
pub(super) async fn give_back(store: &SqliteStore, leases: &[(DispatchId, LeaseToken)]) -> Result<u64, StoreError> {
    let sinks = write_back(store, leases).await.during(format_args!("giving back {} leases", leases.len()))?;
    super::dispatches::wake(store, &sinks);
    Ok(sinks.len() as u64)
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

/// See [`crate::store::Store::expire_leases`].
pub(super) async fn expire_leases(store: &SqliteStore) -> Result<u64, StoreError> {
    let expired = write_expiry(store).await.during("expiring the leases of an earlier process")?;
    if expired > 0 {
        store.wakeups.wake_all();
    }
    Ok(expired)
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
