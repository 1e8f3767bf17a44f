//! What the store promises about traffic: how much was received and delivered in each hour, for pictures.
//!
//! Processes count in memory and add what is new about once a minute. A person who looks reads a few rows for each hour,
//! however many deliveries they stand for. What is older than [`KEPT`] is deleted.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    error::StoreError,
    tx::{Access, Again, Sql, Transact, later, sql, values},
};
use crate::model::{
    clock,
    traffic::{KEPT, Line, What},
};

/// Notes the batch, unless it was added before: then no row changes.
const NUMBER: &str = "INSERT INTO traffic_writers (writer, batch, written_at) VALUES ($1, $2, $3)
     ON CONFLICT (writer) DO UPDATE SET batch = excluded.batch, written_at = excluded.written_at
     WHERE traffic_writers.batch < excluded.batch";

/// The rows are ordered, so that two replicas never wait for each other.
const ADD: Sql = sql!(
    "INSERT INTO traffic (hour, what, name, count)
     SELECT CAST(value ->> 0 AS bigint), value ->> 1, value ->> 2, CAST(value ->> 3 AS bigint) FROM ",
    "json_array_elements(CAST($1 AS json))" | "json_each($1)",
    " WHERE TRUE ORDER BY 1, 2, 3
     ON CONFLICT (hour, what, name) DO UPDATE SET count = traffic.count + excluded.count"
);

/// The counts of the queue, which triggers keep; a count that is not higher changes no row, and costs no write.
const SAMPLE: &str = "INSERT INTO traffic (hour, what, name, count)
     SELECT $1, 'backlog', name, waiting FROM (
         SELECT name, CAST(coalesce((SELECT sum(n) FROM queue_counts WHERE sink = name AND state IN ('pending', 'leased')), 0) AS bigint)
                AS waiting
         FROM sinks) AS sampled
     WHERE waiting >= 0 ORDER BY name
     ON CONFLICT (hour, what, name) DO UPDATE SET count = excluded.count WHERE traffic.count < excluded.count";

/// What a process has counted since its last batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The process: a number of its own, made at its start.
    pub writer: Uuid,
    /// Counts up from 1.
    pub number: i64,
    /// What has to be added, each hour, word and name once.
    pub lines: Vec<Line>,
}

/// The part of the store that is about traffic.
#[async_trait]
pub trait TrafficStore: Send + Sync {
    /// Adds to the counts. A batch with the number of the writer's last one, or a smaller one, was added before and is
    /// not added again, so a batch whose commit is in doubt may be sent once more. Returns false for such a batch.
    async fn add_traffic(&self, batch: &Batch) -> Result<bool, StoreError>;

    /// Notes for the hour how many dispatches are pending or leased now, for each sink that was ever registered. The hour
    /// keeps the most that was noted.
    async fn sample_backlog(&self, hour: Timestamp) -> Result<(), StoreError>;

    /// The counts of the hours from `first` to `last`, both included, in the order of the hours. Words of another version
    /// are left out.
    async fn traffic(&self, first: Timestamp, last: Timestamp) -> Result<Vec<Line>, StoreError>;

    /// Deletes the counts that are older than [`KEPT`], by the store's clock, and those that lie as far in the future,
    /// which a wrong clock has left. The clock is not doubted: a wrong one costs pictures, no work. Returns how many.
    async fn purge_traffic(&self) -> Result<u64, StoreError>;
}

#[async_trait]
impl<S: Transact> TrafficStore for S {
    async fn add_traffic(&self, batch: &Batch) -> Result<bool, StoreError> {
        let lines: Vec<_> = batch.lines.iter().map(written).collect();
        let lines = serde_json::to_string(&lines).expect("words and numbers can be written as JSON");
        // Repeating it does no harm: the number is taken then.
        self.transact("add to the counts of the hour", Again::Harmless, Access::Write, async |mut tx| {
            let now = tx.now().await?;
            let is_new = tx.execute(NUMBER, values![batch.writer, batch.number, now]).await? > 0;
            if is_new {
                tx.execute(ADD, values![&lines]).await?;
            }
            tx.commit(is_new).await
        })
        .await
    }

    async fn sample_backlog(&self, hour: Timestamp) -> Result<(), StoreError> {
        let hour = clock::to_micros(hour);
        self.transact("note how many dispatches wait", Again::Harmless, Access::Write, async |mut tx| {
            tx.execute(SAMPLE, values![hour]).await?;
            tx.commit(()).await
        })
        .await
    }

    async fn traffic(&self, first: Timestamp, last: Timestamp) -> Result<Vec<Line>, StoreError> {
        let counts = "SELECT hour, what, name, count FROM traffic WHERE hour >= $1 AND hour <= $2
                      ORDER BY hour, what, name";
        let span = values![clock::to_micros(first), clock::to_micros(last)];
        let rows: Vec<Row> = self.read("read the counts of the hours", Access::Look, counts, span).await?;
        Ok(rows.into_iter().filter_map(read).collect())
    }

    async fn purge_traffic(&self) -> Result<u64, StoreError> {
        self.transact("delete old counts", Again::Harmless, Access::Write, async |mut tx| {
            let now = tx.now().await?;
            let (first, last) = (now.saturating_sub(clock::duration_micros(KEPT)), later(now, KEPT));
            let deleted = tx.execute("DELETE FROM traffic WHERE hour < $1 OR hour > $2", values![first, last]).await?;
            let writers = "DELETE FROM traffic_writers WHERE written_at < $1 OR written_at > $2";
            tx.execute(writers, values![first, last]).await?;
            tx.commit(deleted).await
        })
        .await
    }
}

fn written(line: &Line) -> (i64, &'static str, &str, i64) {
    (clock::to_micros(line.hour), line.what.as_str(), &line.name, i64::try_from(line.count).unwrap_or(i64::MAX))
}

type Row = (i64, String, String, i64);

fn read((hour, what, name, count): Row) -> Option<Line> {
    let what = What::from_word(&what)?;
    Some(Line { hour: clock::nearest(hour), what, name, count: count.try_into().unwrap_or_default() })
}
