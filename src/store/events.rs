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
    /// Further events that match whatever their payloads hold; without meaning unless `contains` is set.
    pub found: Vec<EventId>,
    /// Only events before (older than) this one: the cursor.
    pub before: Option<EventId>,
}

impl EventFilter {
    /// True if no index holds what is asked for.
    pub(super) fn is_search(&self) -> bool {
        self.event_type.is_some() || self.endpoint.is_some() || self.contains.is_some()
    }
}

/// A page of the list of events, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsPage {
    /// The rows; fewer than asked for, and perhaps none, where the search ended before.
    pub rows: Vec<Event>,
    /// True when there are, or may be, more after the last row.
    pub more: bool,
    /// Set when the search ended before it had found enough or looked at everything: events older than this one were not
    /// looked at. With it as [`EventFilter::before`] the search goes on.
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

/// The events' part of the store.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Records verified deliveries in one transaction and answers them in the given order.
    ///
    /// An event whose key is new within its endpoint is stored with a pending dispatch for each of
    /// its `sinks`. One that is known, or that stands in the batch twice, is counted and answered
    /// with the first one's id. When this returns `Ok`, everything is durable. Dispatches get
    /// ascending numbers in the order of the batch; if a call begins after another one has returned, its numbers are
    /// larger.
    async fn record_deliveries(&self, batch: &[NewEvent]) -> Result<Vec<Recorded>, StoreError>;

    /// Lists events, newest first; at most `limit` rows. A search (by type, endpoint or text: no index holds those) looks
    /// at a bounded number of events in a bounded time, and says how far it came.
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
