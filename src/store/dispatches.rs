//! What the store promises about dispatches as a person lists and changes them: lists, retry, cancel, replay.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{error::StoreError, page::Page, rows::DispatchRow, search::Pieces};
use crate::model::{
    clock,
    dispatch::{Attempt, Dispatch, State},
    id::{DispatchId, EventId, SinkName},
};

/// The columns of [`DispatchRow`]; the last four are not in every table.
macro_rules! dispatch_columns {
    ($rest:literal) => {
        concat!(
            "id, event_id, event_type, invoice_id, sink, state, CAST(attempts AS bigint) AS attempts, trigger, created_at,
             finished_at, last_error, ",
            $rest
        )
    };
}

/// The beginning of a statement that reads [`DispatchRow`]s wherever they are.
macro_rules! whole_dispatch {
    () => {
        concat!(
            "SELECT ",
            $crate::store::dispatches::dispatch_columns!("due_at, waits_for, attempted_at, attempt_us"),
            " FROM dispatches"
        )
    };
}
pub(super) use {dispatch_columns, whole_dispatch};

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
    /// The columns of [`DispatchRow`] and the table that holds such dispatches: for a state the only table that can hold
    /// it, otherwise the view of both.
    pub(super) fn source(&self) -> (&'static str, &'static str) {
        match self.state {
            None => (dispatch_columns!("due_at, waits_for, attempted_at, attempt_us"), "dispatches"),
            Some(State::Pending | State::Leased | State::Held | State::Dead) => {
                (dispatch_columns!("due_at, waits_for, NULL AS attempted_at, NULL AS attempt_us"), "queue")
            }
            Some(State::Delivered | State::Cancelled) => {
                (dispatch_columns!("NULL AS due_at, NULL AS waits_for, attempted_at, attempt_us"), "history")
            }
        }
    }

    /// True if the rows have to be looked for among all that was delivered: the history has no index by sink, as each
    /// delivery would have to write it.
    fn is_search(&self) -> bool {
        self.sink.is_some() && matches!(self.state, None | Some(State::Delivered))
            && self.event_id.is_none() && self.invoice_id.is_none() && self.found.is_none()
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

/// A list as it is read: at once where an index covers the filter, otherwise piece by piece.
pub(super) struct Walk {
    filter: DispatchFilter,
    limit: u32,
    pieces: Option<Pieces>,
    rows: Vec<DispatchRow>,
    searched_until: Option<(DispatchId, Timestamp)>,
    is_done: bool,
}

/// The last dispatch of a piece: its number, and when it was written.
pub(super) type PieceEnd = (i64, i64);

impl Walk {
    pub(super) fn new(filter: &DispatchFilter, limit: u32) -> Self {
        let pieces = filter.is_search().then(Pieces::new);
        Self { filter: filter.clone(), limit, pieces, rows: Vec::new(), searched_until: None, is_done: false }
    }

    /// What to read next: dispatches of this filter among so many, or among all; and how many at most. `None` at the end.
    pub(super) fn next(&self) -> Option<(&DispatchFilter, Option<u32>, u32)> {
        let found = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let wanted = self.limit.saturating_add(1).saturating_sub(found);
        (!self.is_done).then(|| (&self.filter, self.pieces.as_ref().map(Pieces::size), wanted))
    }

    /// Takes what was read. `end` is the end of the piece, if there may be more behind it.
    pub(super) fn add(&mut self, end: Option<PieceEnd>, rows: Vec<DispatchRow>) {
        self.rows.extend(rows);
        let (Some((id, created_at)), Some(pieces)) = (end, &mut self.pieces) else {
            self.is_done = true;
            return;
        };
        let id = DispatchId(id);
        self.filter.before = Some(id);
        if self.rows.len() > self.limit as usize {
            self.is_done = true;
        } else if !pieces.go_on() {
            self.is_done = true;
            self.searched_until = Some((id, clock::nearest(created_at)));
        }
    }

    pub(super) fn page(self) -> DispatchesPage {
        let Page { rows, more } = Page::cut(self.rows, self.limit);
        let searched_until = self.searched_until;
        DispatchesPage { rows, more: more || searched_until.is_some(), searched_until }
    }
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
