//! What the store promises about its endpoints' activity and about its own: when each was last
//! heard of, and whether commits work.

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::model::id::EndpointName;

/// When an endpoint was heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// When it was first noted, by the store's clock: where no delivery came yet, it has been quiet since then.
    pub watched_since: Timestamp,
    /// When the last genuine delivery came, as far as it was noted; `None` if none ever came.
    pub last_delivery_at: Option<Timestamp>,
}

/// The activity's part of the store.
#[async_trait]
pub trait ActivityStore: Send + Sync {
    /// Notes when these endpoints (each once) were last heard of, and answers what is known of them
    /// now, through whichever process, in no certain order.
    ///
    /// A time only ever moves forward: the later of the stored and the given one stays. One that is
    /// not later costs no write. But none stays that lies in the future of the store's clock, where a clock that was set
    /// has left it: it becomes now, and is followed by a silence like any other.
    async fn note_activity(&self, seen: &[(EndpointName, Option<Timestamp>)]) -> Result<Vec<Activity>, StoreError>;

    /// Writes and really commits, durably, something that means nothing.
    ///
    /// # Errors
    /// What a delivery would meet now: among others a full disk, which shows only when pages are written.
    async fn trial_write(&self) -> Result<(), StoreError>;
}
