//! Dispatches as a person sees and moves them: lists, retry, cancel, replay.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Again, Failure, PostgresStore, announce, claims, count, events, now, time};
use crate::{
    model::{
        dispatch::{Attempt, Dispatch, Outcome, State},
        id::{DispatchId, EventId, SinkName},
    },
    store::{DispatchFilter, Page, Replay, StoreError},
};

/// The columns of [`Dispatch`].
macro_rules! dispatch_columns {
    () => {
        "d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at,
         d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us"
    };
}

#[derive(FromRow)]
struct DispatchRow {
    id: i64,
    event_id: Uuid,
    event_type: String,
    invoice_id: Option<String>,
    sink: String,
    state: String,
    attempts: i32,
    trigger: String,
    created_at: i64,
    due_at: Option<i64>,
    finished_at: Option<i64>,
    last_error: Option<String>,
    waits_for: Option<i64>,
    attempted_at: Option<i64>,
    attempt_us: Option<i64>,
}

impl DispatchRow {
    /// The attempt that delivered, which has no row of its own.
    fn delivering(&self) -> Option<AttemptRow> {
        let (started_at, duration_us) = self.attempted_at.zip(self.attempt_us)?;
        let outcome = Outcome::Delivered.as_str().to_owned();
        Some(AttemptRow { dispatch_id: self.id, number: self.attempts, started_at, duration_us, outcome, error: None })
    }
}

/// A stored state.
pub(super) fn state(word: &str, row: &impl ToString) -> Result<State, StoreError> {
    word.parse().map_err(|error: crate::model::dispatch::UnknownWord| StoreError::Unreadable {
        table: "dispatches",
        column: "state",
        row: row.to_string(),
        problem: error.to_string(),
    })
}

impl TryFrom<DispatchRow> for Dispatch {
    type Error = StoreError;

    fn try_from(row: DispatchRow) -> Result<Self, StoreError> {
        let id = row.id;
        let at = |column, micros: Option<i64>| micros.map(|micros| time("dispatches", column, &id, micros)).transpose();
        let state = state(&row.state, &id)?;
        // A leased one keeps the time at which it was due.
        let due_at = row.due_at.filter(|_| matches!(state, State::Pending | State::Held));
        Ok(Self {
            id: DispatchId(id),
            event_id: EventId(row.event_id),
            state,
            attempts: u32::try_from(count("dispatches", "attempts", &id, row.attempts.into())?).unwrap_or(u32::MAX),
            trigger: row.trigger.parse().map_err(|error: crate::model::dispatch::UnknownWord| {
                StoreError::Unreadable {
                    table: "dispatches",
                    column: "trigger",
                    row: id.to_string(),
                    problem: error.to_string(),
                }
            })?,
            created_at: time("dispatches", "created_at", &id, row.created_at)?,
            next_attempt_at: at("due_at", due_at)?,
            finished_at: at("finished_at", row.finished_at)?,
            event_type: row.event_type,
            invoice_id: row.invoice_id,
            sink: row.sink,
            last_error: row.last_error,
            waits_for: row.waits_for.map(DispatchId),
        })
    }
}

#[derive(FromRow)]
struct AttemptRow {
    dispatch_id: i64,
    number: i32,
    started_at: i64,
    duration_us: i64,
    outcome: String,
    error: Option<String>,
}

impl TryFrom<AttemptRow> for Attempt {
    type Error = StoreError;

    fn try_from(row: AttemptRow) -> Result<Self, StoreError> {
        let place = format!("{}/{}", row.dispatch_id, row.number);
        let duration = count("attempts", "duration_us", &place, row.duration_us)?;
        Ok(Self {
            number: u32::try_from(count("attempts", "number", &place, row.number.into())?).unwrap_or(u32::MAX),
            started_at: time("attempts", "started_at", &place, row.started_at)?,
            duration: std::time::Duration::from_micros(duration),
            outcome: row.outcome,
            error: row.error,
        })
    }
}

/// Adds their attempts to dispatches.
async fn with_attempts(
    connection: &mut PgConnection,
    dispatches: Vec<DispatchRow>,
) -> Result<Vec<(Dispatch, Vec<Attempt>)>, Failure> {
    let ids: Vec<_> = dispatches.iter().map(|dispatch| dispatch.id).collect();
    let rows: Vec<AttemptRow> = sqlx::query_as(
        "SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts
         WHERE dispatch_id = ANY($1) ORDER BY dispatch_id, number",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let mut attempts: HashMap<i64, Vec<Attempt>> = HashMap::new();
    for row in rows {
        attempts.entry(row.dispatch_id).or_default().push(row.try_into()?);
    }
    let mut result = Vec::with_capacity(dispatches.len());
    for row in dispatches {
        let mut attempts = attempts.remove(&row.id).unwrap_or_default();
        attempts.extend(row.delivering().map(Attempt::try_from).transpose()?);
        result.push((row.try_into()?, attempts));
    }
    Ok(result)
}

/// All dispatches of an event, in the order in which they were written.
pub(super) async fn of_event(
    connection: &mut PgConnection,
    event: EventId,
) -> Result<Vec<(Dispatch, Vec<Attempt>)>, Failure> {
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        dispatch_columns!(),
        " FROM dispatches d WHERE d.event_id = $1 ORDER BY d.id"
    ))
    .bind(event.0)
    .fetch_all(&mut *connection)
    .await?;
    with_attempts(connection, rows).await
}

pub(super) async fn detail(
    store: &PostgresStore,
    id: DispatchId,
) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
    store
        .run(format!("reading dispatch {id}"), Again::Harmless, async || {
            let mut checkout = store.checkout().await?;
            let rows = sqlx::query_as(concat!("SELECT ", dispatch_columns!(), " FROM dispatches d WHERE d.id = $1"))
                .bind(id.0)
                .fetch_all(checkout.on())
                .await?;
            let mut found = with_attempts(checkout.on(), rows).await?;
            checkout.finish();
            Ok(found.pop())
        })
        .await
}

/// The query of a list. Each state brings the condition of the partial index that holds it; the
/// invoice is looked up among the events, whose index knows the finished ones too.
pub(super) fn list_query(filter: &DispatchFilter, limit: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(concat!("SELECT ", dispatch_columns!(), " FROM "));
    match &filter.invoice_id {
        Some(invoice) => query
            .push("events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = ")
            .push_bind(invoice.clone()),
        None => query.push("dispatches d WHERE true"),
    };
    if let Some(state) = filter.state {
        let index = match state {
            State::Pending | State::Leased => " AND d.due_at IS NOT NULL",
            State::Held | State::Dead | State::Cancelled => " AND d.attention",
            State::Delivered => "",
        };
        query.push(format_args!("{index} AND d.state = '{state}'"));
    }
    if let Some(sink) = &filter.sink {
        query.push(" AND d.sink = ").push_bind(sink.clone());
    }
    if let Some(event) = filter.event_id {
        query.push(" AND d.event_id = ").push_bind(event.0);
    }
    if let Some(found) = &filter.found {
        let found: Vec<Uuid> = found.iter().map(|event| event.0).collect();
        query.push(" AND d.event_id = ANY(").push_bind(found).push(")");
    }
    if let Some(before) = filter.before {
        query.push(" AND d.id < ").push_bind(before.0);
    }
    query.push(" ORDER BY d.id DESC LIMIT ").push_bind(i64::from(limit) + 1);
    query
}

pub(super) async fn list(
    store: &PostgresStore,
    filter: &DispatchFilter,
    limit: u32,
) -> Result<Page<Dispatch>, StoreError> {
    if [&filter.sink, &filter.invoice_id].into_iter().flatten().any(|text| text.contains('\0')) {
        // No stored text holds this character, and Postgres refuses it.
        return Ok(Page { rows: Vec::new(), more: false });
    }
    let rows: Vec<DispatchRow> = store
        .run("listing dispatches", Again::Harmless, async || {
            let mut checkout = store.checkout().await?;
            let mut query = list_query(filter, limit);
            let rows = query.build_query_as().persistent(false).fetch_all(checkout.on()).await?;
            checkout.finish();
            Ok(rows)
        })
        .await?;
    events::page(rows, limit)
}

/// The lock on the event keeps a purge from taking the payload meanwhile. Without a payload there is
/// nothing to send: such a dispatch stays as it is.
const RETRY: &str = concat!(
    "WITH chosen AS MATERIALIZED (
        SELECT d.id FROM dispatches d JOIN events e ON e.id = d.event_id
        WHERE d.id = ANY($1) AND d.state IN ('pending', 'held', 'dead') AND e.payload IS NOT NULL
        ORDER BY d.id FOR UPDATE OF d FOR SHARE OF e
    )
    UPDATE dispatches AS d
    SET state = 'pending', due_at = ",
    now!("$2"),
    ", finished_at = NULL, waits_for = NULL, attention = false,
        first_attempt_at = CASE d.state WHEN 'pending' THEN d.first_attempt_at END,
        ageless = CASE d.state WHEN 'pending' THEN d.ageless ELSE d.attempts END
    FROM chosen WHERE d.id = chosen.id
    RETURNING d.sink"
);

pub(super) async fn retry(store: &PostgresStore, ids: &[DispatchId]) -> Result<u64, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let changed: Vec<String> = store
        .run(format!("retrying {} dispatches", ids.len()), Again::Unsafe, async || {
            let mut checkout = store.begin().await?;
            let changed: Vec<String> =
                sqlx::query_scalar(RETRY).bind(&ids).bind(None::<i64>).fetch_all(checkout.on()).await?;
            if !changed.is_empty() {
                announce::announce(checkout.on(), changed.iter().map(String::as_str)).await?;
            }
            checkout.commit().await?;
            Ok(changed)
        })
        .await?;
    let sinks = changed.iter().map(|name| claims::sink_name(name)).collect::<Result<HashSet<_>, _>>()?;
    store.wakeups.wake(&sinks);
    Ok(changed.len() as u64)
}

const CANCEL: &str = concat!(
    "WITH chosen AS MATERIALIZED (
        SELECT id FROM dispatches WHERE id = ANY($1) AND state IN ('pending', 'held', 'dead')
        ORDER BY id FOR UPDATE
    )
    UPDATE dispatches AS d SET state = 'cancelled', finished_at = moment.now, due_at = NULL, waits_for = NULL,
        attention = true
    FROM chosen, (SELECT ",
    now!("$2"),
    " AS now OFFSET 0) AS moment WHERE d.id = chosen.id
    RETURNING d.sink, d.invoice_id, moment.now"
);

pub(super) async fn cancel(store: &PostgresStore, ids: &[DispatchId]) -> Result<u64, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let (changed, wake) = store
        .run(format!("cancelling {} dispatches", ids.len()), Again::Unsafe, async || {
            let mut checkout = store.begin().await?;
            let changed: Vec<(String, Option<String>, i64)> =
                sqlx::query_as(CANCEL).bind(&ids).bind(None::<i64>).fetch_all(checkout.on()).await?;
            let mut wake = Vec::new();
            if let Some((_, _, moment)) = changed.first() {
                let lanes = changed.iter().filter_map(|(sink, invoice, _)| Some((sink.as_str(), invoice.as_deref()?)));
                wake = claims::wake_next(checkout.on(), lanes.collect(), *moment).await?;
            }
            if !wake.is_empty() {
                announce::announce(checkout.on(), wake.iter().map(SinkName::as_str)).await?;
            }
            checkout.commit().await?;
            Ok((changed.len() as u64, wake))
        })
        .await?;
    store.wakeups.wake(&wake);
    Ok(changed)
}

/// The events stay locked against a purge until their new dispatches are there. Like the order of the
/// batch in [`events`], the order of what is asked for becomes that of the numbers.
const REPLAY: &str = concat!(
    "WITH event AS MATERIALIZED (
        SELECT id, type, invoice_id FROM events WHERE id = ANY($1) AND payload IS NOT NULL ORDER BY id FOR SHARE
    ), moment AS MATERIALIZED (SELECT ",
    now!("$4"),
    " AS now), written AS (
        INSERT INTO dispatches (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
        SELECT event.id, asked.sink, event.type, event.invoice_id, 'pending', 'replay', moment.now, moment.now
        FROM moment, unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS asked (id, sink, place)
        JOIN event ON event.id = asked.id
        ORDER BY asked.place
        RETURNING id, event_id
    )
    SELECT event.id, ARRAY(SELECT written.id FROM written WHERE written.event_id = event.id ORDER BY written.id)
    FROM event"
);

pub(super) async fn replay(
    store: &PostgresStore,
    wanted: &[Replay],
) -> Result<Vec<Option<Vec<DispatchId>>>, StoreError> {
    let events: Vec<Uuid> = wanted.iter().map(|replay| replay.event.0).collect();
    let (of, names): (Vec<Uuid>, Vec<&str>) =
        wanted.iter().flat_map(|replay| replay.sinks.iter().map(|sink| (replay.event.0, sink.as_str()))).unzip();
    let sinks: BTreeSet<&SinkName> = wanted.iter().flat_map(|replay| &replay.sinks).collect();
    let written = store
        .run(format!("replaying {} events", wanted.len()), Again::Unsafe, async || {
            let mut checkout = store.begin().await?;
            let written: Vec<(Uuid, Vec<i64>)> = sqlx::query_as(REPLAY)
                .bind(&events)
                .bind(&of)
                .bind(&names)
                .bind(None::<i64>)
                .fetch_all(checkout.on())
                .await?;
            if written.iter().any(|(_, ids)| !ids.is_empty()) {
                announce::announce(checkout.on(), sinks.iter().map(|sink| sink.as_str())).await?;
            }
            checkout.commit().await?;
            Ok(written)
        })
        .await?;
    store.wakeups.wake(sinks);
    let mut written: HashMap<Uuid, Vec<i64>> = written.into_iter().collect();
    // An event that was asked for twice answers all of it at the first place.
    let answer = |replay: &Replay| {
        let ids = written.get_mut(&replay.event.0)?;
        Some(std::mem::take(ids).into_iter().map(DispatchId).collect())
    };
    Ok(wanted.iter().map(answer).collect())
}
