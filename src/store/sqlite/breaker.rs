//! What a breaker hears of others.

use async_trait::async_trait;

use super::{
    SqliteStore,
    rows::{During, micros_or_now},
};
use crate::{
    model::{clock, id::SinkName},
    store::{
        Paused, StoreError,
        breaker::{BreakerStore, SinkSigns},
    },
};

#[async_trait]
impl BreakerStore for SqliteStore {
    async fn sink_signs(&self, sink: &SinkName) -> Result<SinkSigns, StoreError> {
        let action = "reading what others say of a sink";
        let mut transaction = self.read().await.during(action)?;
        let row: Option<(Option<i64>, u64)> =
            sqlx::query_as("SELECT last_success_at, asked_again FROM sinks WHERE name = ?")
                .bind(sink.as_str())
                .fetch_optional(&mut *transaction)
                .await
                .during(action)?;
        let Some((last_success_at, asked_again)) = row else { return Ok(SinkSigns::default()) };
        Ok(SinkSigns { last_success_at: last_success_at.map(clock::nearest), asked_again })
    }

    async fn ask_sink_again(&self, sink: &SinkName) -> Result<(), StoreError> {
        let action = "telling that a sink is to be tried again";
        let mut transaction = self.write().await.during(action)?;
        // `WHERE TRUE`: see `sinks::register`.
        sqlx::query(
            "INSERT INTO sinks (name, registered_at, asked_again) SELECT ?1, ?2, 1 WHERE TRUE
             ON CONFLICT (name) DO UPDATE SET asked_again = sinks.asked_again + 1",
        )
        .bind(sink.as_str())
        .bind(micros_or_now(None))
        .execute(&mut *transaction)
        .await
        .during(action)?;
        transaction.commit().await.during(action)?;
        self.wakeups.wake([sink]);
        Ok(())
    }

    async fn paused_sinks(&self) -> Result<Vec<(String, Paused)>, StoreError> {
        let action = "reading which sinks are paused";
        let mut transaction = self.read().await.during(action)?;
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT name, paused_at, paused_reason FROM sinks WHERE paused_at IS NOT NULL ORDER BY name",
        )
        .fetch_all(&mut *transaction)
        .await
        .during(action)?;
        let read = |(name, at, reason): (String, i64, String)| (name, Paused { at: clock::nearest(at), reason });
        Ok(rows.into_iter().map(read).collect())
    }
}
