//! What the store promises about the activity of endpoints and about its own: when each endpoint last received a
//! genuine delivery, and whether commits work.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    error::StoreError,
    tx::{Access, Again, Sql, Transact, sql, values},
};
use crate::model::{clock, id::EndpointName};

/// A statement that changes no row is committed without touching SQLite's file. A time in the future was left by a
/// wrong clock, and becomes the current time (`excluded.watched_since`). The rows are ordered, so that two replicas
/// never wait for each other.
const NOTE: Sql = sql!(
    "INSERT INTO endpoint_activity (endpoint, watched_since, last_delivery_at)
     SELECT value ->> 0, $2, CASE WHEN CAST(value ->> 1 AS bigint) > $2 THEN $2 ELSE CAST(value ->> 1 AS bigint) END FROM ",
    "json_array_elements(CAST($1 AS json))" | "json_each($1)",
    " WHERE TRUE ORDER BY 1
     ON CONFLICT (endpoint) DO UPDATE
     SET last_delivery_at = CASE WHEN endpoint_activity.last_delivery_at > excluded.watched_since
                                 THEN excluded.watched_since ELSE excluded.last_delivery_at END
     WHERE excluded.last_delivery_at > coalesce(endpoint_activity.last_delivery_at, excluded.last_delivery_at - 1)
        OR endpoint_activity.last_delivery_at > excluded.watched_since"
);

const NOTED: Sql = sql!(
    "SELECT endpoint, watched_since, last_delivery_at FROM endpoint_activity WHERE endpoint IN (SELECT value ->> 0 FROM ",
    "json_array_elements(CAST($1 AS json))" | "json_each($1)",
    ")"
);

/// When an endpoint last received a genuine delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// When the endpoint was first noted, by the store's clock. An endpoint without a delivery has been quiet since
    /// then.
    pub watched_since: Timestamp,
    /// When the last noted genuine delivery came; `None` if none ever came.
    pub last_delivery_at: Option<Timestamp>,
}

/// The part of the store that is about activity.
#[async_trait]
pub trait ActivityStore: Send + Sync {
    /// Notes when these endpoints (each once) last received a genuine delivery. Returns what is known of them now,
    /// from all processes, in no particular order.
    ///
    /// A stored time only moves forward: the later of the stored and the given time stays, and a time that is not
    /// later costs no write. The exception is a time in the future of the store's clock, which a wrong clock left
    /// there: it becomes the current time, so that a silence after it is noticed.
    async fn note_activity(&self, seen: &[(EndpointName, Option<Timestamp>)]) -> Result<Vec<Activity>, StoreError>;

    /// Commits a row that has no meaning, durably.
    ///
    /// # Errors
    /// The error that a delivery would meet now, for example a full disk, which shows only when pages are written.
    async fn trial_write(&self) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: Transact> ActivityStore for S {
    async fn note_activity(&self, seen: &[(EndpointName, Option<Timestamp>)]) -> Result<Vec<Activity>, StoreError> {
        let seen: Vec<_> = seen.iter().map(|(name, at)| (name.as_str(), at.map(clock::to_micros))).collect();
        let seen = serde_json::to_string(&seen).expect("names and numbers can be written as JSON");
        let action = "record when endpoints were last heard of";
        let rows: Vec<Row> = self
            .transact(action, Again::Harmless, Access::Write, async |mut tx| {
                let now = tx.now().await?;
                tx.execute(NOTE, values![&seen, now]).await?;
                let rows = tx.rows(NOTED, values![&seen]).await?;
                tx.commit(rows).await
            })
            .await?;
        rows.into_iter().map(read).collect()
    }

    async fn trial_write(&self) -> Result<(), StoreError> {
        self.transact("test whether a commit works", Again::Harmless, Access::Write, async |mut tx| {
            let write = "INSERT INTO trial_writes (id, written_at) VALUES (1, $1)
                         ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at";
            let now = tx.now().await?;
            tx.execute(write, values![now]).await?;
            tx.commit(()).await
        })
        .await
    }
}

type Row = (String, i64, Option<i64>);

fn read((endpoint, watched_since, last_delivery_at): Row) -> Result<Activity, StoreError> {
    Ok(Activity {
        watched_since: clock::nearest(watched_since),
        last_delivery_at: last_delivery_at.map(clock::nearest),
        endpoint: EndpointName::new(&endpoint).map_err(|problem| StoreError::Unreadable {
            table: "endpoint_activity",
            column: "endpoint",
            row: endpoint.clone(),
            problem: problem.to_string(),
        })?,
    })
}
