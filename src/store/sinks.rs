//! What the store promises about sinks: their pauses, and how much work each one has.
//!
//! Triggers of the schema count the queue by sink and state, in the transaction of each change. So a status reads a few
//! counts, however large the queue is, they are of this moment, and a crash leaves nothing to correct. Only what goes
//! past the triggers does (`TRUNCATE`, a restore without them): [`SinkStore::recount`] finds and corrects it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;

use super::{
    error::StoreError,
    tx::{Access, Again, Sql, Transact, sql, values},
};
use crate::model::{clock, dispatch::State, id::SinkName};

/// How a sink is doing, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkStatus {
    /// The sink's name; it may no longer be configured.
    pub name: String,
    /// When and why it was paused.
    pub paused: Option<Paused>,
    /// Dispatches that are pending.
    pub pending: u64,
    /// Dispatches that are leased.
    pub leased: u64,
    /// Dispatches that wait for a person.
    pub held: u64,
    /// Dispatches that were given up.
    pub dead: u64,
    /// Dispatches delivered so far, purged ones included.
    pub delivered: u64,
    /// When the oldest one was written of the dispatches that are pending, or leased again after an attempt. One in its
    /// first attempt does not count: most are handed to a worker as they are written, and soon gone.
    pub oldest_pending: Option<Timestamp>,
    /// When a dispatch was last delivered.
    pub last_success_at: Option<Timestamp>,
    /// When an attempt last failed, and its reason.
    pub last_error: Option<(Timestamp, String)>,
}

/// A pause of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// When the pause began.
    pub at: Timestamp,
    /// Who or what paused the sink, and why.
    pub reason: String,
}

/// The part of the store that is about sinks.
#[async_trait]
pub trait SinkStore: Send + Sync {
    /// Makes sure that these sinks have a status row; called at start.
    async fn register_sinks(&self, sinks: &[SinkName]) -> Result<(), StoreError>;

    /// The status of every sink that was ever registered, or has unfinished, held or dead dispatches, by name. The
    /// cost does not grow with the backlog.
    async fn sink_statuses(&self) -> Result<Vec<SinkStatus>, StoreError>;

    /// Compares the counts with the queue and corrects them, also while others write. Returns how many were wrong.
    async fn recount(&self) -> Result<u64, StoreError>;

    /// Pauses a sink, for all replicas and across restarts. A sink that is already paused keeps its first reason.
    /// Returns false if it was paused already.
    async fn pause_sink(&self, sink: &SinkName, reason: &str) -> Result<bool, StoreError>;

    /// Resumes a sink; returns false if it was not paused.
    async fn resume_sink(&self, sink: &SinkName) -> Result<bool, StoreError>;
}

#[derive(FromRow)]
struct SinkRow {
    name: String,
    paused_at: Option<i64>,
    paused_reason: Option<String>,
    delivered: i64,
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
            delivered: shown(row.delivered),
            last_success_at: time(row.last_success_at),
            last_error: time(row.last_error_at).zip(row.last_error),
            name: row.name,
            ..Self::default()
        }
    }
}

/// A count as it is shown. It is negative only if somebody changed the database past the triggers, until the next
/// [`SinkStore::recount`]; there is never less than nothing.
fn shown(count: i64) -> u64 {
    count.try_into().unwrap_or_default()
}

/// The counts, and for unfinished work the oldest of it: one step into the index, whose condition has to stand here
/// word for word. The sink is written as a range, and the order is that of the index: Postgres would otherwise take the
/// order of the table, in which the first of a sink may be the last of all.
pub(super) const WORK: &str = "
    SELECT sink, state, n, CASE WHEN state IN ('pending', 'leased') THEN (
               SELECT created_at FROM queue
               WHERE sink >= work.sink AND sink <= work.sink
                 AND (state = 'pending' OR (state = 'leased' AND attempts > 0))
               ORDER BY sink, id LIMIT 1) END
    FROM (SELECT sink, state, CAST(sum(n) AS bigint) AS n FROM queue_counts GROUP BY sink, state) AS work
    WHERE n > 0";

/// What has to be added to the counts. One statement sees the queue and its counts as of one moment, so work under way
/// makes no difference.
macro_rules! missing {
    () => {
        "SELECT sink, state, CAST(sum(more) AS bigint) FROM (
             SELECT sink, state, count(*) AS more FROM queue GROUP BY sink, state
             UNION ALL SELECT sink, state, -n FROM queue_counts) AS compared
         GROUP BY sink, state HAVING sum(more) <> 0"
    };
}

const CORRECT: Sql = sql!(
    concat!("INSERT INTO queue_counts (sink, state, n) ", missing!()),
    "" | " ON CONFLICT (sink, state) DO UPDATE SET n = queue_counts.n + excluded.n"
);

#[async_trait]
impl<S: Transact> SinkStore for S {
    async fn register_sinks(&self, sinks: &[SinkName]) -> Result<(), StoreError> {
        // In order, like everything that writes several of these rows.
        let mut names: Vec<&str> = sinks.iter().map(SinkName::as_str).collect();
        names.sort_unstable();
        self.transact("register the sinks", Again::Harmless, Access::Write, async |mut tx| {
            let now = tx.now().await?;
            for name in &names {
                let register = "INSERT INTO sinks (name, registered_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
                tx.execute(register, values![*name, now]).await?;
            }
            tx.commit(()).await
        })
        .await
    }

    async fn sink_statuses(&self) -> Result<Vec<SinkStatus>, StoreError> {
        let action = "read the status of the sinks";
        let (rows, work) = self
            .transact(action, Again::Harmless, Access::Look, async |mut tx| {
                let sinks = "SELECT name, paused_at, paused_reason, delivered, last_success_at, last_error_at,
                                    last_error FROM sinks";
                let sinks: Vec<SinkRow> = tx.rows(sinks, &[]).await?;
                let work: Vec<(String, String, i64, Option<i64>)> = tx.rows(WORK, &[]).await?;
                tx.commit((sinks, work)).await
            })
            .await?;
        let mut sinks: BTreeMap<String, SinkStatus> =
            rows.into_iter().map(|row| (row.name.clone(), SinkStatus::from(row))).collect();
        for (sink, state, count, oldest) in work {
            let status =
                sinks.entry(sink).or_insert_with_key(|name| SinkStatus { name: name.clone(), ..Default::default() });
            let place = match state.parse() {
                Ok(State::Pending) => &mut status.pending,
                Ok(State::Leased) => &mut status.leased,
                Ok(State::Held) => &mut status.held,
                Ok(State::Dead) => &mut status.dead,
                // No row of the queue is in another state.
                Ok(State::Delivered | State::Cancelled) | Err(_) => continue,
            };
            *place = shown(count);
            status.oldest_pending = status.oldest_pending.or(oldest.map(clock::nearest));
        }
        Ok(sinks.into_values().collect())
    }

    async fn recount(&self) -> Result<u64, StoreError> {
        let action = "count the queue";
        let wrong: Vec<(String, String, i64)> = self.read(action, Access::Read, missing!(), &[]).await?;
        if wrong.is_empty() {
            return Ok(0);
        }
        // With a lock, as two processes would add the same twice. It is rare enough to borrow the ledger's.
        self.transact(action, Again::Unsafe, Access::Ledger, async |mut tx| {
            let corrected = tx.execute(CORRECT, &[]).await?;
            tx.commit(corrected).await
        })
        .await
    }

    async fn pause_sink(&self, sink: &SinkName, reason: &str) -> Result<bool, StoreError> {
        self.transact(format!("pause sink {sink}"), Again::Unsafe, Access::Write, async |mut tx| {
            let pause = "INSERT INTO sinks (name, registered_at, paused_at, paused_reason) VALUES ($1, $2, $2, $3)
                         ON CONFLICT (name) DO UPDATE
                         SET paused_at = excluded.paused_at, paused_reason = excluded.paused_reason
                         WHERE sinks.paused_at IS NULL";
            let now = tx.now().await?;
            let paused = tx.execute(pause, values![sink.as_str(), now, reason]).await?;
            tx.commit(paused > 0).await
        })
        .await
    }

    async fn resume_sink(&self, sink: &SinkName) -> Result<bool, StoreError> {
        self.transact(format!("resume sink {sink}"), Again::Unsafe, Access::Write, async |mut tx| {
            let resume = "UPDATE sinks SET paused_at = NULL, paused_reason = NULL
                          WHERE name = $1 AND paused_at IS NOT NULL";
            let resumed = tx.execute(resume, values![sink.as_str()]).await? > 0;
            if resumed {
                tx.wake(sink);
            }
            tx.commit(resumed).await
        })
        .await
    }
}
