//! What the store promises about dispatches as a person lists and changes them: lists, retry, cancel, replay.

use async_trait::async_trait;
use jiff::Timestamp;

use super::error::StoreError;
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
    /// Only of events of these endpoints.
    pub endpoints: Option<Vec<String>>,
    /// Only of events of this endpoint.
    pub endpoint: Option<String>,
    /// Only those whose last error contains this text, ignoring the case of ASCII letters; `…` stands for any text.
    pub reason: Option<String>,
    /// Only those created at this time or later.
    pub since: Option<Timestamp>,
    /// Only those created before this time.
    pub until: Option<Timestamp>,
    /// Only of these events.
    pub found: Option<Vec<EventId>>,
    /// Only dispatches before (older than) this one: the cursor.
    pub before: Option<DispatchId>,
    /// How many dispatches a search looks at, if fewer than usual.
    pub look_at: Option<u32>,
}

impl DispatchFilter {
    /// True if the rows have to be looked for among all that was delivered: the history has no index by sink, as each
    /// delivery would have to write it.
    pub(super) fn is_search(&self) -> bool {
        let by_sink = self.sink.is_some() && matches!(self.state, None | Some(State::Delivered));
        let otherwise = self.endpoints.is_some()
            || self.endpoint.is_some()
            || self.reason.is_some()
            || self.since.is_some()
            || self.until.is_some();
        (by_sink || otherwise) && !self.names_events()
    }

    /// True for the one list that reads an index by sink. Its sink is written as a range and its order is that of the
    /// index: Postgres would otherwise look for the sink through the whole table, see [`super::sinks`].
    pub(super) fn is_ordered_by_sink(&self) -> bool {
        self.sink.is_some() && self.state == Some(State::Pending) && !self.names_events() && !self.is_search()
    }

    /// True if only dispatches of certain events are selected. Each event has few.
    pub(super) fn names_events(&self) -> bool {
        self.event_id.is_some() || self.invoice_id.is_some() || self.found.is_some()
    }
}

/// A page of the list of dispatches, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchesPage {
    /// The rows. There are fewer than asked for, and perhaps none, if the search ended early.
    pub rows: Vec<Dispatch>,
    /// True when there are, or may be, more rows after the last one.
    pub more: bool,
    /// Set when the search ended before it had found enough dispatches or searched all of them: dispatches before this
    /// one, which was written at this time, were not searched. To go on, pass it as [`DispatchFilter::before`].
    pub searched_until: Option<(DispatchId, Timestamp)>,
}

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
    async fn list_dispatches(&self, filter: &DispatchFilter, limit: u32) -> Result<DispatchesPage, StoreError>;

    /// The numbers of the selected dispatches, in no particular order and at most `most`: one read, where a list
    /// reads page after page.
    async fn dispatch_ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError>;

    /// How many dispatches of one state are selected, among as many as a search looks at; true if those are all.
    async fn count_dispatches(&self, filter: &DispatchFilter) -> Result<(u64, bool), StoreError>;

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
