//! The sinks' status: registered, counted, paused, resumed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::{FromRow, Sqlite, SqlitePool, query::Query, sqlite::SqliteArguments};

use super::{
    SqliteStore,
    rows::{During, Place, micros_or_now},
};
use crate::{
    model::{chain::Chain, clock, id::SinkName},
    store::{
        Paused, SinkStatus, SinkStore, StoreError,
        counts::{COUNTED_AT_ONCE, Quick, Tallies, Turn},
    },
};

#[async_trait]
impl SinkStore for SqliteStore {
    async fn register_sinks(&self, sinks: &[SinkName]) -> Result<(), StoreError> {
        let names: Vec<&str> = sinks.iter().map(SinkName::as_str).collect();
        let register = sqlx::query(
            // Without `WHERE` the parser takes `ON` for a join, <https://www.sqlite.org/lang_upsert.html>, section 2.2.
            "INSERT INTO sinks (name, registered_at) SELECT value, ?2 FROM json_each(?1) WHERE TRUE
         ON CONFLICT (name) DO NOTHING",
        )
        .bind(serde_json::to_string(&names).expect("names can be written as JSON"))
        .bind(micros_or_now(None));
        write(self, register).await.during(format_args!("register sinks ({})", sinks.len()))?;
        Ok(())
    }

    async fn sink_statuses(&self) -> Result<Vec<SinkStatus>, StoreError> {
        let action = "read the status of the sinks";
        let (rows, unfinished, stopped) = read(self).await.during(action)?;
        let mut sinks = BTreeMap::new();
        for row in rows {
            sinks.insert(row.name.clone(), SinkStatus::from(row));
        }
        let mut quick = Quick::default();
        let mut walked: BTreeMap<String, u64> = BTreeMap::new();
        for row in unfinished {
            *walked.entry(row.sink.clone()).or_default() += row.count;
            // Held dispatches are counted below.
            if row.state != "held" {
                add(&mut quick.tallies, row)?;
            }
        }
        for (sink, entries) in walked {
            quick.tallies.entry(sink).or_default().is_cut = entries >= COUNTED_AT_ONCE.unsigned_abs();
        }
        for state in ["held", "dead"] {
            let total: u64 = stopped.iter().filter(|row| row.state == state).map(|row| row.count).sum();
            quick.stopped_is_cut |= total >= COUNTED_AT_ONCE.unsigned_abs();
        }
        for row in stopped {
            add(&mut quick.tallies, row)?;
        }
        if quick.is_cut()
            && let Some(turn) = self.counted.turn()
        {
            // The task ends with the pool at the latest.
            tokio::spawn(count_everything(self.lookers.clone(), turn));
        }
        self.counted.fill(&mut sinks, &quick);
        Ok(sinks.into_values().collect())
    }

    async fn pause_sink(&self, sink: &SinkName, reason: &str) -> Result<bool, StoreError> {
        let pause = sqlx::query(
            "INSERT INTO sinks (name, registered_at, paused_at, paused_reason) VALUES (?1, ?2, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_reason = excluded.paused_reason
         WHERE paused_at IS NULL",
        )
        .bind(sink.as_str())
        .bind(micros_or_now(None))
        .bind(reason);
        Ok(write(self, pause).await.during(format_args!("pause sink {sink}"))? > 0)
    }

    async fn resume_sink(&self, sink: &SinkName) -> Result<bool, StoreError> {
        let resume = sqlx::query(
            "UPDATE sinks SET paused_at = NULL, paused_reason = NULL WHERE name = ? AND paused_at IS NOT NULL",
        )
        .bind(sink.as_str());
        let resumed = write(self, resume).await.during(format_args!("resume sink {sink}"))?;
        self.wakeups.wake([sink]);
        Ok(resumed > 0)
    }
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

/// The sinks that have unfinished dispatches: one step into the index for each.
pub(super) const NAMES: &str = "
    WITH RECURSIVE names (name) AS (
        SELECT min(sink) FROM dispatches WHERE due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(sink) FROM dispatches WHERE due_at IS NOT NULL AND sink > names.name)
        FROM names WHERE names.name IS NOT NULL)
    SELECT name FROM names WHERE name IS NOT NULL";

/// The unfinished dispatches of sink ?1, at most ?2, from the index by due time alone, including held ones with a
/// re-check. Delivered ones are counted in their sink's row: there may be millions.
///
/// The condition of a partial index has to stand in the statement word for word,
/// <https://www.sqlite.org/partialindex.html#queries_using_partial_indexes>.
pub(super) const UNFINISHED: &str = "
    SELECT ?1 AS sink, state, count, (SELECT created_at FROM dispatches WHERE id = oldest_id) AS oldest
    FROM (SELECT state, count(*) AS count, min(id) AS oldest_id
          FROM (SELECT state, id FROM dispatches WHERE sink = ?1 AND due_at IS NOT NULL LIMIT ?2) GROUP BY state)";

/// Held or dead dispatches, at most ?1 in each state.
pub(super) const STOPPED: &str = "
    SELECT sink, state, count(*) AS count, NULL AS oldest
    FROM (SELECT * FROM (SELECT sink, state FROM dispatches
                         WHERE state IN ('held', 'dead', 'cancelled') AND state = 'held' LIMIT ?1)
          UNION ALL
          SELECT * FROM (SELECT sink, state FROM dispatches
                         WHERE state IN ('held', 'dead', 'cancelled') AND state = 'dead' LIMIT ?1))
    GROUP BY sink, state";

/// Counts everything.
pub(super) const COUNTS: &str = "
    SELECT sink, state, count, (SELECT created_at FROM dispatches WHERE id = oldest_id) AS oldest
    FROM (SELECT sink, state, count(*) AS count, min(id) AS oldest_id FROM dispatches
          WHERE due_at IS NOT NULL AND state IN ('pending', 'leased') GROUP BY sink, state)
    UNION ALL
    SELECT sink, state, count(*), NULL FROM dispatches
    WHERE state IN ('held', 'dead', 'cancelled') AND state IN ('held', 'dead') GROUP BY sink, state";

fn add(tallies: &mut Tallies, row: CountRow) -> Result<(), StoreError> {
    let place = Place { table: "dispatches", row: &row.sink };
    let state = row.state.parse().map_err(|error| place.unreadable("state", error))?;
    let oldest = row.oldest.map(clock::nearest);
    tallies.entry(row.sink).or_default().add(state, row.count, oldest);
    Ok(())
}

async fn count_everything(pool: SqlitePool, turn: Turn) {
    let at = clock::now();
    let counted = async {
        let rows: Vec<CountRow> =
            sqlx::query_as(COUNTS).fetch_all(&pool).await.during("count the work of the sinks")?;
        let mut tallies = Tallies::new();
        for row in rows {
            add(&mut tallies, row)?;
        }
        Ok::<_, StoreError>(tallies)
    };
    match counted.await {
        Ok(tallies) => turn.counted(at, tallies),
        Err(error) => tracing::debug!(error = %Chain(&error), "the work of the sinks was not counted this time"),
    }
}

type Read = (Vec<SinkRow>, Vec<CountRow>, Vec<CountRow>);

async fn read(store: &SqliteStore) -> Result<Read, sqlx::Error> {
    let mut transaction = store.look().await?;
    let sinks = sqlx::query_as(
        "SELECT name, paused_at, paused_reason, delivered, last_success_at, last_error_at, last_error FROM sinks",
    )
    .fetch_all(&mut *transaction)
    .await?;
    let names: Vec<String> = sqlx::query_scalar(NAMES).fetch_all(&mut *transaction).await?;
    let mut unfinished = Vec::new();
    for name in names {
        let rows: Vec<CountRow> =
            sqlx::query_as(UNFINISHED).bind(name).bind(COUNTED_AT_ONCE).fetch_all(&mut *transaction).await?;
        unfinished.extend(rows);
    }
    let stopped = sqlx::query_as(STOPPED).bind(COUNTED_AT_ONCE).fetch_all(&mut *transaction).await?;
    Ok((sinks, unfinished, stopped))
}

/// Runs one statement in a durable transaction; returns how many rows it changed. Outside of a transaction it would
/// be committed in the mode of the transaction before it, which may have been one without a flush.
async fn write(store: &SqliteStore, statement: Query<'_, Sqlite, SqliteArguments>) -> Result<u64, sqlx::Error> {
    let mut transaction = store.write().await?;
    let changed = statement.execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(changed)
}
