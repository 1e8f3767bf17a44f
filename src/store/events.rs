//! What the store promises about events: recorded once, listed, read.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{error::StoreError, page::Page};
use crate::model::{
    dispatch::{Attempt, Dispatch},
    event::{Event, NewEvent, Recorded},
    id::EventId,
};

/// Which events to list; `None` everywhere lists all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only this type.
    pub event_type: Option<String>,
    /// Only of this endpoint.
    pub endpoint: Option<String>,
    /// Only of this invoice.
    pub invoice_id: Option<String>,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
    /// Only events whose payload holds this text, compared byte for byte, or which are among `found`.
    pub contains: Option<String>,
    /// Further events that match regardless of their payloads; ignored unless `contains` is set.
    pub found: Vec<EventId>,
    /// Only events before (older than) this one: the cursor.
    pub before: Option<EventId>,
}

impl EventFilter {
    /// True if no index covers the filter.
    pub(super) fn is_search(&self) -> bool {
        self.event_type.is_some() || self.endpoint.is_some() || self.contains.is_some()
    }
}

/// A page of the list of events, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsPage {
    /// The rows. There are fewer than asked for, and perhaps none, if the search ended early.
    pub rows: Vec<Event>,
    /// True when there are, or may be, more rows after the last one.
    pub more: bool,
    /// Set when the search ended before it had found enough events or searched all of them: events older than this
    /// one were not searched. To continue the search, pass it as [`EventFilter::before`].
    pub searched_until: Option<EventId>,
}

/// An event of a selection, see [`EventStore::events_after`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The event.
    pub event: Event,
    /// False once the payload has been purged or erased: there is nothing left to send.
    pub has_payload: bool,
}

/// An event with its payload, dispatches and attempts.
#[derive(Debug, Clone)]
pub struct EventDetail {
    /// The event.
    pub event: Event,
    /// The verified message; `None` once it has been purged or erased.
    pub payload: Option<Vec<u8>>,
    /// Its dispatches with their attempts, in the order in which they were written.
    pub dispatches: Vec<(Dispatch, Vec<Attempt>)>,
}

/// The part of the store that is about events.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Records verified deliveries in one transaction and returns the results in the given order.
    ///
    /// An event whose key is new within its endpoint is stored with a pending dispatch for each of its `sinks`. A
    /// repeated delivery, of a stored event or of one earlier in the batch, is counted, and its result holds the
    /// first event's id. When this returns `Ok`, everything is durable. Dispatches get ascending numbers in the order
    /// of the batch; if a call begins after another one has returned, its numbers are larger.
    async fn record_deliveries(&self, batch: &[NewEvent]) -> Result<Vec<Recorded>, StoreError>;

    /// Lists events, newest first; at most `limit` rows. A search (by type, endpoint or text, which no index covers)
    /// reads a bounded number of events in a bounded time, and says how far it came.
    async fn list_events(&self, filter: &EventFilter, limit: u32) -> Result<EventsPage, StoreError>;

    /// Walks through a selection of events, oldest first: those after `after`, at most `limit` rows.
    async fn events_after(
        &self,
        filter: &EventFilter,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Page<Candidate>, StoreError>;

    /// How many events a filter selects, counted up to `most`.
    async fn count_events(&self, filter: &EventFilter, most: u32) -> Result<u64, StoreError>;

    /// One event with its payload, dispatches and attempts.
    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError>;
}

/// The action of a recording, as an error names it.
pub(crate) fn recording(deliveries: usize) -> String {
    if deliveries == 1 { "store 1 delivery".to_owned() } else { format!("store {deliveries} deliveries") }
}
