//! What a breaker hears of others.

use async_trait::async_trait;

use super::{Again, PostgresStore, announce, count, now};
use crate::{
    model::{clock, id::SinkName},
    store::{
        Paused, StoreError,
        breaker::{BreakerStore, SinkSigns},
    },
};

#[async_trait]
impl BreakerStore for PostgresStore {
    async fn sink_signs(&self, sink: &SinkName) -> Result<SinkSigns, StoreError> {
        let row: Option<(Option<i64>, i64)> = self
            .run(format!("reading what others say of sink {sink}"), Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                let row = sqlx::query_as("SELECT last_success_at, asked_again FROM sinks WHERE name = $1")
                    .bind(sink.as_str())
                    .fetch_optional(checkout.on())
                    .await?;
                checkout.finish();
                Ok(row)
            })
            .await?;
        let Some((last_success_at, asked_again)) = row else { return Ok(SinkSigns::default()) };
        let last_success_at = last_success_at.map(clock::nearest);
        Ok(SinkSigns { last_success_at, asked_again: count("sinks", "asked_again", &sink, asked_again)? })
    }

    async fn ask_sink_again(&self, sink: &SinkName) -> Result<(), StoreError> {
        // Told twice is as good as told once.
        self.run(format!("telling that sink {sink} is to be tried again"), Again::Harmless, async || {
            let mut checkout = self.begin().await?;
            sqlx::query(concat!(
                "INSERT INTO sinks AS s (name, registered_at, asked_again) SELECT $1, ",
                now!("$2"),
                ", 1 ON CONFLICT (name) DO UPDATE SET asked_again = s.asked_again + 1"
            ))
            .bind(sink.as_str())
            .bind(None::<i64>)
            .execute(checkout.on())
            .await?;
            announce::announce(checkout.on(), [sink.as_str()]).await?;
            checkout.commit().await?;
            Ok(())
        })
        .await?;
        self.wakeups.wake([sink]);
        Ok(())
    }

    async fn paused_sinks(&self) -> Result<Vec<(String, Paused)>, StoreError> {
        let rows: Vec<(String, i64, String)> = self
            .run("reading which sinks are paused", Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                let rows = sqlx::query_as(
                    "SELECT name, paused_at, paused_reason FROM sinks WHERE paused_at IS NOT NULL ORDER BY name",
                )
                .fetch_all(checkout.on())
                .await?;
                checkout.finish();
                Ok(rows)
            })
            .await?;
        let read = |(name, at, reason): (String, i64, String)| (name, Paused { at: clock::nearest(at), reason });
        Ok(rows.into_iter().map(read).collect())
    }
}
