//! What the store promises about dispatches as a person lists and changes them: lists, retry, cancel, replay.

use async_trait::async_trait;

use super::{error::StoreError, page::Page};
use crate::model::{
    dispatch::{Attempt, Dispatch, State},
    id::{DispatchId, EventId, SinkName},
};

/// Which dispatches to list; `None` everywhere lists all.
#[derive(Debug, Clone, Default)]
pub struct DispatchFilter {
    /// Only in this state.
    pub state: Option<State>,
    /// Only for this sink.
    pub sink: Option<String>,
    /// Only of this invoice.
    pub invoice_id: Option<String>,
    /// Only of this event.
    pub event_id: Option<EventId>,
    /// Only of these events.
    pub found: Option<Vec<EventId>>,
    /// Only dispatches before (older than) this one: the cursor.
    pub before: Option<DispatchId>,
}

impl DispatchFilter {
    /// The state, if only the index by due time holds dispatches in it. That index cannot give the order of a list.
    pub(super) fn by_due_time(&self) -> Option<State> {
        let is_alone = self.event_id.is_none() && self.invoice_id.is_none() && self.found.is_none();
        self.state.filter(|state| is_alone && matches!(state, State::Pending | State::Leased))
    }
}

/// A page of unfinished dispatches is looked for among this many of the newest dispatches first.
pub(super) const NEWEST: i64 = 2000;

/// An event to be sent again, see [`DispatchStore::replay_events`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The event.
    pub event: EventId,
    /// To these sinks.
    pub sinks: Vec<SinkName>,
}

/// The part of the store that is about dispatches.
#[async_trait]
pub trait DispatchStore: Send + Sync {
    /// Lists dispatches, newest first; at most `limit` rows.
    async fn list_dispatches(&self, filter: &DispatchFilter, limit: u32) -> Result<Page<Dispatch>, StoreError>;

    /// The numbers of the selected dispatches, in no particular order and at most `most`: one read, where a list
    /// reads page after page.
    async fn dispatch_ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError>;

    /// One dispatch with its attempts.
    async fn dispatch(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError>;

    /// Puts dispatches that are `held` or `dead` back to `pending`, due at once, with a new give-up time; a `pending`
    /// one becomes due at once. Others are not changed. Returns how many changed.
    async fn retry_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError>;

    /// Cancels dispatches that are `pending`, `held` or `dead`; the next dispatches of their invoices become due.
    /// Others are not changed. Returns how many changed.
    async fn cancel_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError>;

    /// Writes a new dispatch (trigger `replay`) of one event for each sink, due at once. Returns `None` if there is
    /// no such event or its payload is gone.
    async fn replay_event(&self, id: EventId, sinks: &[SinkName]) -> Result<Option<Vec<DispatchId>>, StoreError>;

    /// Does the same for many events in one transaction, and returns the results in the given order. The new
    /// dispatches get ascending numbers in that order.
    async fn replay_events(&self, wanted: &[Replay]) -> Result<Vec<Option<Vec<DispatchId>>>, StoreError>;
}
