//! The sinks' status: registered, counted, paused, resumed.

use std::collections::BTreeMap;

use sqlx::{FromRow, Sqlite, query::Query, sqlite::SqliteArguments};

use super::{
    SqliteStore,
    rows::{During, Place, micros_or_now},
};
use crate::{
    model::{clock, id::SinkName},
    store::{Paused, SinkStatus, StoreError},
};

/// See [`crate::store::Store::register_sinks`].
pub(super) async fn register(store: &SqliteStore, sinks: &[SinkName]) -> Result<(), StoreError> {
    let names: Vec<&str> = sinks.iter().map(SinkName::as_str).collect();
    let register = sqlx::query(
        // Without `WHERE` the parser takes `ON` for a join, <https://www.sqlite.org/lang_upsert.html>, section 2.2.
        "INSERT INTO sinks (name, registered_at) SELECT value, ?2 FROM json_each(?1) WHERE TRUE
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(serde_json::to_string(&names).expect("names can be written as JSON"))
    .bind(micros_or_now(None));
    write(store, register).await.during(format_args!("registering {} sinks", sinks.len()))?;
    Ok(())
}

#[derive(FromRow)]
struct SinkRow {
    name: String,
    paused_at: Option<i64>,
    paused_reason: Option<String>,
    delivered: u64,
    last_success_at: Option<i64>,
    last_error_at: Option<i64>,
    last_error: Option<String>,
}

impl From<SinkRow> for SinkStatus {
    /// A time that cannot be read is shown as the nearest one: it must not hide the other sinks.
    fn from(row: SinkRow) -> Self {
        let time = |micros: Option<i64>| micros.map(clock::nearest);
        Self {
            paused: time(row.paused_at).map(|at| Paused { at, reason: row.paused_reason.unwrap_or_default() }),
            delivered: row.delivered,
            last_success_at: time(row.last_success_at),
            last_error: time(row.last_error_at).zip(row.last_error),
            name: row.name,
            ..Self::default()
        }
    }
}

/// How many dispatches of a sink are in a state, and the oldest of them.
#[derive(FromRow)]
struct CountRow {
    sink: String,
    state: String,
    count: u64,
    oldest: Option<i64>,
}

/// What is under way, out of the index by due time alone, and what is stopped, out of its own.
/// Delivered ones are counted in their sink's row: there may be millions.
///
/// The condition of a partial index has to stand in the statement word for word,
/// <https://www.sqlite.org/partialindex.html#queries_using_partial_indexes>.
pub(super) const COUNTS: &str = "
    SELECT sink, state, count, (SELECT created_at FROM dispatches WHERE id = oldest_id) AS oldest
    FROM (SELECT sink, state, count(*) AS count, min(id) AS oldest_id FROM dispatches
          WHERE due_at IS NOT NULL AND state IN ('pending', 'leased') GROUP BY sink, state)
    UNION ALL
    SELECT sink, state, count(*), NULL FROM dispatches
    WHERE state IN ('held', 'dead', 'cancelled') AND state IN ('held', 'dead') GROUP BY sink, state";

/// See [`crate::store::Store::sink_statuses`].
pub(super) async fn statuses(store: &SqliteStore) -> Result<Vec<SinkStatus>, StoreError> {
    let (rows, counts) = read(store).await.during("reading the status of the sinks")?;
    let mut sinks = BTreeMap::new();
    for row in rows {
        sinks.insert(row.name.clone(), SinkStatus::from(row));
    }
    for row in counts {
        let place = Place { table: "dispatches", row: &row.sink };
        let oldest = row.oldest.map(clock::nearest);
        let status = sinks
            .entry(row.sink.clone())
            .or_insert_with(|| SinkStatus { name: row.sink.clone(), ..SinkStatus::default() });
        match row.state.as_str() {
            "pending" => status.pending = row.count,
            "leased" => status.leased = row.count,
            "held" => status.held = row.count,
            "dead" => status.dead = row.count,
            other => return Err(place.unreadable("state", format_args!("`{other}` was not asked for"))),
        }
        status.oldest_pending = status.oldest_pending.into_iter().chain(oldest).min();
    }
    Ok(sinks.into_values().collect())
}

async fn read(store: &SqliteStore) -> Result<(Vec<SinkRow>, Vec<CountRow>), sqlx::Error> {
    let mut transaction = store.read().await?;
    let sinks = sqlx::query_as(
        "SELECT name, paused_at, paused_reason, delivered, last_success_at, last_error_at, last_error FROM sinks",
    )
    .fetch_all(&mut *transaction)
    .await?;
    let counts = sqlx::query_as(COUNTS).fetch_all(&mut *transaction).await?;
    Ok((sinks, counts))
}

/// See [`crate::store::Store::pause_sink`].
pub(super) async fn pause(store: &SqliteStore, sink: &SinkName, reason: &str) -> Result<bool, StoreError> {
    let pause = sqlx::query(
        "INSERT INTO sinks (name, registered_at, paused_at, paused_reason) VALUES (?1, ?2, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_reason = excluded.paused_reason
         WHERE paused_at IS NULL",
    )
    .bind(sink.as_str())
    .bind(micros_or_now(None))
    .bind(reason);
    Ok(write(store, pause).await.during(format_args!("pausing {sink}"))? > 0)
}

/// See [`crate::store::Store::resume_sink`].
pub(super) async fn resume(store: &SqliteStore, sink: &SinkName) -> Result<bool, StoreError> {
    let resume =
        sqlx::query("UPDATE sinks SET paused_at = NULL, paused_reason = NULL WHERE name = ? AND paused_at IS NOT NULL")
            .bind(sink.as_str());
    let resumed = write(store, resume).await.during(format_args!("resuming {sink}"))?;
    store.wakeups.wake([sink]);
    Ok(resumed > 0)
}

/// Runs one statement in a durable transaction; answers how many rows it changed. By itself it
/// would be committed as the transaction before it was, which may have been one without a flush.
async fn write(store: &SqliteStore, statement: Query<'_, Sqlite, SqliteArguments>) -> Result<u64, sqlx::Error> {
    let mut transaction = store.write().await?;
    let changed = statement.execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(changed)
}
