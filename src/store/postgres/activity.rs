//! When endpoints were last heard of, and a commit that is tried.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Again, PostgresStore, now};
use crate::{
    model::{clock, id::EndpointName},
    store::{
        StoreError,
        activity::{Activity, ActivityStore},
    },
};

type Row = (String, i64, Option<i64>);

#[async_trait]
impl ActivityStore for PostgresStore {
    async fn note_activity(&self, seen: &[(EndpointName, Option<Timestamp>)]) -> Result<Vec<Activity>, StoreError> {
        let mut seen: Vec<_> = seen.iter().map(|(name, at)| (name.as_str(), at.map(clock::to_micros))).collect();
        // In order, so that two replicas never hold what the other waits for.
        seen.sort_unstable();
        let (names, times): (Vec<&str>, Vec<Option<i64>>) = seen.into_iter().unzip();
        let rows: Vec<Row> = self
            .run("noting when endpoints were last heard of", Again::Harmless, async || {
                let mut checkout = self.begin().await?;
                sqlx::query(concat!(
                    "INSERT INTO endpoint_activity (endpoint, watched_since, last_delivery_at)
                     SELECT name, moment.now, CASE WHEN at IS NOT NULL THEN least(at, moment.now) END
                     FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS seen (name, at, place), (SELECT ",
                    now!("$3"),
                    " AS now OFFSET 0) AS moment ORDER BY place
                     ON CONFLICT (endpoint) DO UPDATE
                     -- `excluded.watched_since` is now; what is null counts for nothing.
                     SET last_delivery_at = greatest(
                         excluded.last_delivery_at,
                         CASE WHEN endpoint_activity.last_delivery_at IS NOT NULL
                             THEN least(endpoint_activity.last_delivery_at, excluded.watched_since) END)
                     WHERE excluded.last_delivery_at >
                         COALESCE(endpoint_activity.last_delivery_at, excluded.last_delivery_at - 1)
                       OR endpoint_activity.last_delivery_at > excluded.watched_since"
                ))
                .bind(&names)
                .bind(&times)
                .bind(None::<i64>)
                .execute(checkout.on())
                .await?;
                let rows = sqlx::query_as(
                    "SELECT endpoint, watched_since, last_delivery_at FROM endpoint_activity
                     WHERE endpoint = ANY ($1::text[])",
                )
                .bind(&names)
                .fetch_all(checkout.on())
                .await?;
                checkout.commit().await?;
                Ok(rows)
            })
            .await?;
        rows.into_iter().map(read).collect()
    }

    async fn trial_write(&self) -> Result<(), StoreError> {
        self.run("trying whether a commit works", Again::Harmless, async || {
            let mut checkout = self.begin().await?;
            sqlx::query(concat!(
                "INSERT INTO trial_writes (id, written_at) VALUES (1, ",
                now!("$1"),
                ") ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at"
            ))
            .bind(None::<i64>)
            .execute(checkout.on())
            .await?;
            checkout.commit().await?;
            Ok(())
        })
        .await
    }
}

fn read((endpoint, watched_since, last_delivery_at): Row) -> Result<Activity, StoreError> {
    const TABLE: &str = "endpoint_activity";
    Ok(Activity {
        watched_since: clock::nearest(watched_since),
        last_delivery_at: last_delivery_at.map(clock::nearest),
        endpoint: EndpointName::new(&endpoint).map_err(|problem| StoreError::Unreadable {
            table: TABLE,
            column: "endpoint",
            row: endpoint.clone(),
            problem: problem.to_string(),
        })?,
    })
}
