//! What the store promises about events: recorded once, listed, read.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{error::StoreError, page::Page};
use crate::model::{
    clock,
    dispatch::{Attempt, Dispatch, Order},
    event::{Event, NewEvent, Recorded},
    id::{DispatchId, EventId, LeaseToken, SinkName},
};

/// Which events to list; `None` everywhere lists all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only this type.
    pub event_type: Option<String>,
    /// Only of this endpoint.
    pub endpoint: Option<String>,
    /// Only of these endpoints.
    pub endpoints: Option<Vec<String>>,
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
    /// How many events a search looks at, if fewer than usual.
    pub look_at: Option<u32>,
}

impl EventFilter {
    /// True if no index covers the filter.
    pub(super) fn is_search(&self) -> bool {
        self.event_type.is_some() || self.endpoint.is_some() || self.endpoints.is_some() || self.contains.is_some()
    }

    /// The ids between which all events of the time range lie: the first one, and the one after the last.
    ///
    /// An id holds the time at which it was made: that of the receipt, give or take the verification and a clock that
    /// was set in between, see [`ID_SLACK_MICROS`]. The ids bound the part of the table that is walked; `received_at`
    /// decides.
    pub(super) fn ids(&self) -> (Option<Uuid>, Option<Uuid>) {
        let since = self.since.map(|since| clock::to_micros(since).saturating_sub(ID_SLACK_MICROS));
        let until = self.until.map(|until| clock::to_micros(until).saturating_add(ID_SLACK_MICROS));
        (since.map(first_id_at), until.map(first_id_at))
    }
}

/// How far an event's id and its time of receipt may differ for a list to find it by time: an hour.
const ID_SLACK_MICROS: i64 = 3_600_000_000;

/// The smallest UUID v7 of this millisecond.
pub(super) fn first_id_at(micros: i64) -> Uuid {
    let millis = u64::try_from(micros.div_euclid(1000)).unwrap_or(0);
    // The 48 bits of the time come first, <https://www.rfc-editor.org/rfc/rfc9562#section-5.7>.
    Uuid::from_u128(u128::from(millis) << 80)
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

/// A free slot of a sink's worker in this process, for one dispatch of a batch: the dispatch may be recorded as leased
/// to that worker, which then needs no claim for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The event's place in the batch.
    pub event: usize,
    /// One of the event's sinks.
    pub sink: SinkName,
    /// With [`Order::Invoice`] only the first unfinished dispatch of the invoice may be leased.
    pub order: Order,
    /// How long the lease lasts; longer than an attempt's time-out.
    pub lease: Duration,
    /// The token under which the attempt is finished.
    pub token: LeaseToken,
}

/// What became of a batch, see [`EventStore::record_offering`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The events, in the order of the batch.
    pub events: Vec<Recorded>,
    /// For each offer the dispatch that is leased under its token; `None` if the offer was not taken.
    pub leased: Vec<Option<DispatchId>>,
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
    async fn record_deliveries(&self, batch: &[NewEvent]) -> Result<Vec<Recorded>, StoreError> {
        Ok(self.record_offering(batch, &[]).await?.events)
    }

    /// Does the same, and records a dispatch for which there is an offer as leased, under the offer's token and from now
    /// on for the offer's time, in the same transaction.
    ///
    /// An offer is not taken if its event was known already, if the sink is paused, or, with [`Order::Invoice`], if
    /// another dispatch of the invoice is unfinished for this sink (also a held one, also one of this batch): the
    /// dispatch is then pending, and due. Of one invoice no two dispatches are leased to a sink that keeps the order,
    /// whichever replicas record and claim at the same time. At most one offer for each event and sink.
    async fn record_offering(&self, batch: &[NewEvent], offers: &[Offer]) -> Result<Stored, StoreError>;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slack_around_a_time_range_is_an_hour_each_way() {
        let at = |secs| Uuid::new_v7(uuid::Timestamp::from_unix_time(secs, 0, 0, 0));
        let time = |secs| Some(Timestamp::from_second(secs).unwrap());
        let filter = EventFilter { since: time(1_800_000_000), until: time(1_800_000_100), ..EventFilter::default() };
        let (Some(from), Some(end)) = filter.ids() else { panic!("both ends are bounded") };
        assert!(from <= at(1_800_000_000 - 3600) && at(1_800_000_000 - 3601) < from);
        assert!(end > at(1_800_000_099 + 3600) && at(1_800_000_101 + 3600) > end);
        assert_eq!(EventFilter::default().ids(), (None, None));
        let all = EventFilter { since: Some(Timestamp::MIN), until: Some(Timestamp::MAX), ..EventFilter::default() };
        let (from, end) = all.ids();
        assert!(from == Some(Uuid::nil()) && end > Some(at(253_402_207_200)));
    }
}
