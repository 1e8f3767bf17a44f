//! What the store promises to breakers: each is one process's own, and here they hear of each other.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Paused, StoreError};
use crate::model::id::SinkName;

/// What tells a process that leaves a sink alone to try again. It is compared, not read: a change is the sign, whatever
/// clocks say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkSigns {
    /// When something was last delivered, by whichever process.
    pub last_success_at: Option<Timestamp>,
    /// How often [`BreakerStore::ask_sink_again`] was called.
    pub asked_again: u64,
}

/// The breakers' part of the store.
#[async_trait]
pub trait BreakerStore: Send + Sync {
    /// The signs of one sink; a sink without a row has none.
    async fn sink_signs(&self, sink: &SinkName) -> Result<SinkSigns, StoreError>;

    /// Says to every process that the sink may work again, and wakes its workers. A sink that nobody leaves alone is
    /// not changed by it.
    async fn ask_sink_again(&self, sink: &SinkName) -> Result<(), StoreError>;

    /// The sinks that are paused, by name; counts nothing.
    async fn paused_sinks(&self) -> Result<Vec<(String, Paused)>, StoreError>;
}
