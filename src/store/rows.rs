//! The rows that both databases read alike, and what they become in the model.
//!
//! The columns have the same names on both. Postgres keeps counts in four bytes, so its statements cast them, and
//! both read them as [`i64`]. A value that cannot be a count is shown as a fault and hides no other row, see
//! [`Reader`].

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use sqlx::FromRow;
use uuid::Uuid;

use super::{events::Candidate, spoiled::Reader};
use crate::model::{
    dispatch::{Attempt, Dispatch, FinishedAttempt, Next, Outcome, State, Trigger},
    event::Event,
    id::{DispatchId, EventId, SinkName},
};

/// An event without its payload.
#[derive(FromRow)]
pub(super) struct EventRow {
    id: Uuid,
    endpoint: String,
    r#type: String,
    invoice_id: Option<String>,
    occurred_at: Option<i64>,
    received_at: i64,
    deliveries: i64,
    readable: bool,
    content_type: Option<String>,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        let mut reader = Reader::default();
        Self {
            occurred_at: reader.optional_time("occurred_at", row.occurred_at),
            received_at: reader.time("received_at", row.received_at),
            deliveries: reader.count("deliveries", row.deliveries),
            id: EventId(row.id),
            endpoint: row.endpoint,
            event_type: row.r#type,
            invoice_id: row.invoice_id,
            readable: row.readable,
            content_type: row.content_type,
            fault: reader.fault(),
        }
    }
}

/// An event of a selection.
#[derive(FromRow)]
pub(super) struct CandidateRow {
    #[sqlx(flatten)]
    event: EventRow,
    has_payload: bool,
}

impl From<CandidateRow> for Candidate {
    fn from(row: CandidateRow) -> Self {
        Self { event: row.event.into(), has_payload: row.has_payload }
    }
}

/// An event as a person sees it.
#[derive(FromRow)]
pub(super) struct EventWithPayload {
    #[sqlx(flatten)]
    pub(super) event: EventRow,
    pub(super) payload: Option<Vec<u8>>,
}

/// A dispatch.
#[derive(FromRow)]
pub(super) struct DispatchRow {
    pub(super) id: i64,
    event_id: Uuid,
    event_type: String,
    invoice_id: Option<String>,
    sink: String,
    state: String,
    attempts: i64,
    trigger: String,
    created_at: i64,
    due_at: Option<i64>,
    finished_at: Option<i64>,
    last_error: Option<String>,
    waits_for: Option<i64>,
    attempted_at: Option<i64>,
    attempt_us: Option<i64>,
}

impl DispatchRow {
    /// The attempt that delivered. It has no row of its own.
    fn delivering(&self) -> Option<AttemptRow> {
        let (started_at, duration_us) = self.attempted_at.zip(self.attempt_us)?;
        let outcome = Outcome::Delivered.as_str().to_owned();
        Some(AttemptRow { dispatch_id: self.id, number: self.attempts, started_at, duration_us, outcome, error: None })
    }
}

impl From<DispatchRow> for Dispatch {
    fn from(row: DispatchRow) -> Self {
        let mut reader = Reader::default();
        // A dispatch in an unknown state is for a person to look at.
        let state = reader.word("state", &row.state, State::Held);
        // For a leased one this is the end of its lease on SQLite, and the time at which it was due on Postgres.
        let due_at = row.due_at.filter(|_| matches!(state, State::Pending | State::Held));
        Self {
            id: DispatchId(row.id),
            event_id: EventId(row.event_id),
            state,
            attempts: reader.count("attempts", row.attempts),
            trigger: reader.word("trigger", &row.trigger, Trigger::Event).of(EventId(row.event_id)),
            created_at: reader.time("created_at", row.created_at),
            next_attempt_at: reader.optional_time("due_at", due_at),
            finished_at: reader.optional_time("finished_at", row.finished_at),
            event_type: row.event_type,
            invoice_id: row.invoice_id,
            sink: row.sink,
            last_error: row.last_error,
            waits_for: row.waits_for.map(DispatchId),
            fault: reader.fault(),
        }
    }
}

/// An attempt that did not deliver.
#[derive(FromRow)]
pub(super) struct AttemptRow {
    dispatch_id: i64,
    number: i64,
    started_at: i64,
    duration_us: i64,
    outcome: String,
    error: Option<String>,
}

impl AttemptRow {
    fn read(self, reader: &mut Reader) -> Attempt {
        Attempt {
            number: reader.count("number of an attempt", self.number),
            started_at: reader.time("started_at of an attempt", self.started_at),
            duration: Duration::from_micros(self.duration_us.unsigned_abs()),
            outcome: self.outcome,
            error: self.error,
        }
    }
}

/// Puts dispatches and their attempts together, in the order of the dispatches.
pub(super) fn with_attempts(dispatches: Vec<DispatchRow>, attempts: Vec<AttemptRow>) -> Vec<(Dispatch, Vec<Attempt>)> {
    let mut of_dispatch: HashMap<i64, Vec<AttemptRow>> = HashMap::new();
    for row in attempts {
        of_dispatch.entry(row.dispatch_id).or_default().push(row);
    }
    let together = |row: DispatchRow| {
        let mut reader = Reader::default();
        let attempts = of_dispatch.remove(&row.id).unwrap_or_default().into_iter().chain(row.delivering());
        let attempts = attempts.map(|attempt| attempt.read(&mut reader)).collect();
        let mut dispatch = Dispatch::from(row);
        dispatch.fault = dispatch.fault.or(reader.fault());
        (dispatch, attempts)
    };
    dispatches.into_iter().map(together).collect()
}

/// What a batch of finished attempts changes in a sink's row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SinkChange<'a> {
    /// Dispatches that were delivered.
    pub(super) delivered: i64,
    /// The reason of the last attempt that failed.
    pub(super) error: Option<&'a str>,
    /// The reason of the first attempt after which the sink is to be paused.
    pub(super) pause: Option<&'a str>,
}

/// What these attempts, in the order in which they ended, change in the rows of their sinks.
pub(super) fn sink_changes<'a>(
    attempts: impl Iterator<Item = &'a FinishedAttempt>,
) -> BTreeMap<&'a SinkName, SinkChange<'a>> {
    let mut changes: BTreeMap<&SinkName, SinkChange<'_>> = BTreeMap::new();
    for attempt in attempts {
        let change = changes.entry(&attempt.sink).or_default();
        let reason = attempt.outcome.reason();
        change.delivered += i64::from(attempt.next == Next::Delivered);
        match attempt.outcome {
            // The target works.
            Outcome::Wait { .. } => continue,
            Outcome::Stop { .. } => change.pause = change.pause.or(reason),
            Outcome::Delivered
            | Outcome::Partly { .. }
            | Outcome::Retry { .. }
            | Outcome::Rejected { .. }
            | Outcome::Hold { .. } => {}
        }
        change.error = reason.or(change.error);
    }
    changes
}
