//! What the store promises to circuit breakers. Each breaker belongs to one process; through the store they learn of
//! each other.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    error::StoreError,
    sinks::Paused,
    tx::{Access, Again, Transact, values},
};
use crate::model::{clock, id::SinkName};

/// The signs that tell a process whose breaker is open to try the sink again. The values are compared, not
/// interpreted: a change is the sign, so clocks do not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkSigns {
    /// When a dispatch was last delivered, by any process.
    pub last_success_at: Option<Timestamp>,
    /// How often [`BreakerStore::ask_sink_again`] was called.
    pub asked_again: u64,
}

/// The part of the store that is about breakers.
#[async_trait]
pub trait BreakerStore: Send + Sync {
    /// The signs of one sink; a sink without a row has none.
    async fn sink_signs(&self, sink: &SinkName) -> Result<SinkSigns, StoreError>;

    /// Tells every process that the sink may work again, and wakes the sink's workers. Nothing changes where the
    /// sink's breaker is closed.
    async fn ask_sink_again(&self, sink: &SinkName) -> Result<(), StoreError>;

    /// The sinks that are paused, by name. Unlike a status, this counts no work.
    async fn paused_sinks(&self) -> Result<Vec<(String, Paused)>, StoreError>;
}

#[async_trait]
impl<S: Transact> BreakerStore for S {
    async fn sink_signs(&self, sink: &SinkName) -> Result<SinkSigns, StoreError> {
        let action = format!("read what other processes know of sink {sink}");
        let signs = "SELECT last_success_at, asked_again FROM sinks WHERE name = $1";
        let rows: Vec<(Option<i64>, i64)> = self.read(action, Access::Read, signs, values![sink.as_str()]).await?;
        let Some(&(last_success_at, asked_again)) = rows.first() else { return Ok(SinkSigns::default()) };
        let asked_again = asked_again.try_into().map_err(|_| StoreError::Unreadable {
            table: "sinks",
            column: "asked_again",
            row: sink.to_string(),
            problem: format!("{asked_again} is negative"),
        })?;
        Ok(SinkSigns { last_success_at: last_success_at.map(clock::nearest), asked_again })
    }

    async fn ask_sink_again(&self, sink: &SinkName) -> Result<(), StoreError> {
        let action = format!("tell every process to try sink {sink} again");
        // Telling them twice does no harm.
        self.transact(action, Again::Harmless, Access::Write, async |mut tx| {
            let ask = "INSERT INTO sinks (name, registered_at, asked_again) VALUES ($1, $2, 1)
                       ON CONFLICT (name) DO UPDATE SET asked_again = sinks.asked_again + 1";
            let now = tx.now().await?;
            tx.execute(ask, values![sink.as_str(), now]).await?;
            tx.wake(sink);
            tx.commit(()).await
        })
        .await
    }

    async fn paused_sinks(&self) -> Result<Vec<(String, Paused)>, StoreError> {
        let paused = "SELECT name, paused_at, paused_reason FROM sinks WHERE paused_at IS NOT NULL ORDER BY name";
        let rows: Vec<(String, i64, String)> =
            self.read("read which sinks are paused", Access::Read, paused, &[]).await?;
        let read = |(name, at, reason): (String, i64, String)| (name, Paused { at: clock::nearest(at), reason });
        Ok(rows.into_iter().map(read).collect())
    }
}
