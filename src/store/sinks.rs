//! What the store promises about sinks: their pauses, and how much work each one has.

use async_trait::async_trait;
use jiff::Timestamp;

use super::error::StoreError;
use crate::model::id::SinkName;

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
    /// When the oldest pending or leased dispatch was written.
    pub oldest_pending: Option<Timestamp>,
    /// How current the four counts and `oldest_pending` are.
    pub counted: Counted,
    /// When a dispatch was last delivered.
    pub last_success_at: Option<Timestamp>,
    /// When an attempt last failed, and its reason.
    pub last_error: Option<(Timestamp, String)>,
}

/// How current counts are. A small backlog is counted for each call, a large one only now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counted {
    /// They were counted for this call.
    #[default]
    Now,
    /// They were counted at this time.
    At(Timestamp),
    /// There are at least this many; the rest is being counted.
    AtLeast,
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
    /// cost does not grow with the backlog: see [`SinkStatus::counted`].
    async fn sink_statuses(&self) -> Result<Vec<SinkStatus>, StoreError>;

    /// Pauses a sink, for all replicas and across restarts. A sink that is already paused keeps its first reason.
    /// Returns false if it was paused already.
    async fn pause_sink(&self, sink: &SinkName, reason: &str) -> Result<bool, StoreError>;

    /// Resumes a sink; returns false if it was not paused.
    async fn resume_sink(&self, sink: &SinkName) -> Result<bool, StoreError>;
}
