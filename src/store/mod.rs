//! The store: where the receiving half hands over to the relaying half.
//!
//! The row is the promise. A delivery is acknowledged after [`Store::record_deliveries`] has
//! committed its event and its dispatches; a dispatch is finished by [`Store::finish_attempts`], by
//! id *and* lease token, in one transaction with its attempt. The [`wake::Wakeups`] only shorten
//! the wait: one that is lost costs a poll interval, never an event.
//!
//! What people and accepts write is on the disk when its method returns. A claim, a finish and what is
//! given back survive the end of the process, but a power cut may undo the latest of them, which
//! costs a repeated attempt (`docs/decisions/0013-relaying-commits-without-a-flush.md`).
//!
//! Two implementations with hand-written SQL make the same promises, proved by one contract suite
//! (`tests/it/store`): [`sqlite`] for one process and nothing to set up, [`postgres`] for many
//! replicas.
//!
//! # The columns that matter
//!
//! - `due_at`: when a dispatch next needs attention. For a pending one the time of its next attempt,
//!   for a held one its re-check, if any, for a leased one the end of its lease (Postgres keeps that in
//!   `lease_until`, see below). Null for all others, so that the partial index over it holds only
//!   unfinished work and a claim costs the same after ten million deliveries as after ten. One rule
//!   finds new work, retries, expired leases and re-checks alike.
//! - `lease_until`, `attention` (Postgres only): there an update writes every index of the row again
//!   as soon as it changes an indexed column. So no index holds the end of a lease or `state`, and a
//!   claim writes no index entry; what a person looks for (held, dead, cancelled) is marked by
//!   `attention`. SQLite writes only the indexes that change, and has neither column.
//! - `attempted_at`, `attempt_us`: the attempt that delivered, number `attempts`. Only attempts that
//!   did not deliver have rows of their own; reading puts the two together.
//! - `waits_for`: the earlier dispatch of the same sink and invoice that must be finished first. A
//!   claim that meets a blocked dispatch writes this down and moves its `due_at` away by
//!   [`BLOCKED_RECHECK`]; finishing the earlier one makes the next due at once. So a backlog behind
//!   one stuck invoice is looked at once, not by every claim.
//!
//! # How to add a store method
//!
//! Say in words here what it promises; write the SQL next to the method in both `sqlite/` and
//! `postgres/`; add a case to the contract suite, which runs it on both.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::{
    audit::NewAudit,
    clock,
    dispatch::{Attempt, Dispatch, FinishedAttempt, LeasedDispatch, Order, State},
    event::{Event, NewEvent, Recorded},
    id::{DispatchId, EventId, LeaseToken, SinkName},
};

pub mod activity;
pub mod breaker;
mod counts;
mod error;
pub mod ledger;
pub mod link;
pub mod postgres;
pub mod retention;
pub(crate) mod schema;
mod search;
mod spoiled;
pub mod sqlite;
mod tx;
pub mod wake;

pub use self::error::{NoConnection, StoreError};

/// How far a claim moves a dispatch that waits for an earlier one of its invoice. Finishing the
/// earlier one makes it due at once; this is only the net below that.
pub const BLOCKED_RECHECK: Duration = Duration::from_mins(1);

/// With [`Order::Invoice`] a claim looks at no fewer than so many, however
/// few it may take. What stands behind another one of its invoice is moved out of the way by that, and comes
/// back at the end of the line: so a sink that takes one at a time does not work off one invoice's whole backlog
/// before it turns to the others.
pub const LOOK_AHEAD: u32 = 16;

/// Which dispatches a worker wants, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The sink.
    pub sink: &'a SinkName,
    /// In which order.
    pub order: Order,
    /// At most so many. Zero claims nothing.
    pub limit: u32,
    /// How long the lease lasts; longer than an attempt's time-out.
    pub lease: Duration,
    /// The sink's longest wait between two attempts. A dispatch that is claimed later than that after it was due (its
    /// sink was paused, the service was off, the clock was set) has not been tried meanwhile: it ages by this much only.
    pub longest_wait: Duration,
    /// The time by which things are due: `None` is the store's own clock (the database's on
    /// Postgres, so that replicas with different clocks agree); tests pass one.
    pub now: Option<Timestamp>,
}

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Ours until the lease ends, in the order in which they were written.
    pub dispatches: Vec<LeasedDispatch>,
    /// How long until the next one of this sink is due, as far as the store knows now; `None` when
    /// there is none. Zero when more is due already.
    pub next_due_in: Option<Duration>,
    /// True while the sink is paused: nothing is claimed.
    pub paused: bool,
}

/// What became of a finished attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Recorded.
    Recorded,
    /// The lease had run out and somebody else has the dispatch: nothing was changed.
    LeaseLost,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// True when there are more after the last row.
    pub more: bool,
}

/// A page of the list of events, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsPage {
    /// The rows; fewer than asked for, and perhaps none, where the search ended before.
    pub rows: Vec<Event>,
    /// True when there are, or may be, more after the last row.
    pub more: bool,
    /// Set when the search ended before it had found enough or seen everything: what is older than this event was not
    /// looked at. With it as [`EventFilter::before`] the search goes on.
    pub searched_until: Option<EventId>,
}

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
    /// Events that a search has found otherwise; of no meaning without `contains`.
    pub found: Vec<EventId>,
    /// Only events before (older than) this one: the cursor.
    pub before: Option<EventId>,
}

impl EventFilter {
    /// True if no index holds what is asked for.
    fn is_search(&self) -> bool {
        self.event_type.is_some() || self.endpoint.is_some() || self.contains.is_some()
    }
}

/// An event of a selection, see [`Store::events_after`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The event.
    pub event: Event,
    /// False once the payload has been purged or erased: there is nothing left to send.
    pub has_payload: bool,
}

/// An event to be sent again, see [`Store::replay_events`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The event.
    pub event: EventId,
    /// To these sinks.
    pub sinks: Vec<SinkName>,
}

/// What an erasure removed, see [`Store::erase_invoice`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events of the invoice, those without payload included.
    pub events: u64,
    /// Payloads removed now.
    pub payloads: u64,
    /// Dispatches cancelled now.
    pub cancelled: u64,
}

/// What a dispatch says that was called off because there is nothing left to send.
pub const ERASED: &str = "the payload of its event was erased: there is nothing left to send";

/// What a dispatch says that was given up because its event is not in the database.
pub const ORPHANED: &str = "its event is not in the database (was only a part restored?): there is nothing to send; restore the event, or cancel this";

/// Payload bytes that one claim hands out, about: as many as one transaction of accepts may hold.
pub const CLAIM_BYTES: u64 = 4 * 1024 * 1024;

/// Payloads up to this size come with the claim itself, larger ones in a second step: the largest claim of small ones
/// stays below [`CLAIM_BYTES`].
const SMALL_PAYLOAD: i64 = 8 * 1024;

/// When a dispatch's age began, all in microseconds: at its first attempt, which is now if there was none; later by what
/// it is claimed later than [`Claim::longest_wait`] after it was due.
fn aging_since(first_attempt_at: Option<i64>, due_at: i64, now: i64, longest_wait: Duration) -> i64 {
    let Some(first) = first_attempt_at else { return now };
    let too_late = now.saturating_sub(due_at).saturating_sub(clock::duration_micros(longest_wait)).max(0);
    first.saturating_add(too_late).min(now.max(first))
}

/// How many of these payloads, in bytes and in the order in which they would be handed out, one claim takes.
fn within_budget(sizes: impl Iterator<Item = i64>) -> usize {
    let mut total = 0_u64;
    sizes
        .enumerate()
        .take_while(|(place, size)| {
            total = total.saturating_add(size.unsigned_abs());
            *place == 0 || total <= CLAIM_BYTES
        })
        .count()
}

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
    /// Only of one of these events.
    pub found: Option<Vec<EventId>>,
    /// Only dispatches before (older than) this one: the cursor.
    pub before: Option<DispatchId>,
}

impl DispatchFilter {
    /// The state, if only the index by due time holds it, which cannot give the order of a list.
    fn by_due_time(&self) -> Option<State> {
        let is_alone = self.event_id.is_none() && self.invoice_id.is_none() && self.found.is_none();
        self.state.filter(|state| is_alone && matches!(state, State::Pending | State::Leased))
    }
}

/// Dispatches among which a page of what is under way is looked for first.
const NEWEST: i64 = 2000;

/// An event with all that belongs to it.
#[derive(Debug, Clone)]
pub struct EventDetail {
    /// The event.
    pub event: Event,
    /// The verified message; `None` once it has been purged or erased.
    pub payload: Option<Vec<u8>>,
    /// Its dispatches with their attempts, in the order in which they were written.
    pub dispatches: Vec<(Dispatch, Vec<Attempt>)>,
}

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
    /// How much the four counts and the oldest time are worth.
    pub counted: Counted,
    /// When something was last delivered.
    pub last_success_at: Option<Timestamp>,
    /// When an attempt last failed, and what it said.
    pub last_error: Option<(Timestamp, String)>,
}

/// How much counts are worth: few dispatches are counted when somebody asks, many only now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counted {
    /// They are of this moment.
    #[default]
    Now,
    /// There were so many then.
    At(Timestamp),
    /// There are at least so many: they are being counted.
    AtLeast,
}

/// A pause of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Since when.
    pub at: Timestamp,
    /// Who or what did it, and why.
    pub reason: String,
}

/// What is old enough to go.
#[derive(Debug, Clone, Copy)]
pub struct Purge {
    /// Payloads of events received before this are removed; the event stays.
    pub payloads_before: Timestamp,
    /// Events received before this go altogether, with their dispatches, attempts and dedupe keys.
    pub events_before: Timestamp,
    /// At most so many events are touched by one call, so that accepts never wait long.
    pub limit: u32,
}

/// What a purge removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Payloads removed.
    pub payloads: u64,
    /// Events removed.
    pub events: u64,
}

/// What the service keeps, and the promises about it.
///
/// Every method is one transaction or one read. A method whose future is dropped has either
/// happened as a whole or not at all.
#[async_trait]
pub trait Store:
    link::SecretStore
    + link::IntentStore
    + link::AuditStore
    + activity::ActivityStore
    + breaker::BreakerStore
    + ledger::LedgerStore
    + retention::RetentionStore
    + Send
    + Sync
    + std::fmt::Debug
    + 'static
{
    /// `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;

    /// True if other processes may work on the same database: what this process remembers may be old.
    fn is_shared(&self) -> bool;

    /// Where new work is announced.
    fn wakeups(&self) -> &wake::Wakeups;

    /// Brings the schema up to date; answers how many migrations were applied now. Several
    /// processes may call it at the same time. One that a newer program has extended stays as it is.
    async fn migrate(&self) -> Result<usize, StoreError>;

    /// Really asks the database: it answers, its schema is this version's or begins with it, and it can be written to.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Records verified deliveries in one transaction and answers them in the given order.
    ///
    /// An event whose key is new within its endpoint is stored with a pending dispatch for each of
    /// its `sinks`. One that is known, or that stands in the batch twice, is counted and answered
    /// with the first one's id. When this returns `Ok`, everything is durable. Dispatches get
    /// ascending numbers in the order of the batch; of two calls of which the second began after the first had
    /// returned, the first's numbers are smaller.
    async fn record_deliveries(&self, batch: &[NewEvent]) -> Result<Vec<Recorded>, StoreError>;

    /// Leases dispatches of a sink that are due: new, to be retried, held and to be re-checked, or
    /// leased to a worker that let its lease run out.
    ///
    /// No dispatch is leased to two workers at a time. With [`Order::Invoice`] a dispatch whose
    /// invoice has an earlier unfinished one for the same sink (also a held one) is not handed out.
    /// A paused sink gives nothing.
    ///
    /// Payloads of one claim come to about [`CLAIM_BYTES`], but one dispatch is always handed out. One of which nothing
    /// is left to send is not: it is cancelled, with [`ERASED`], if its payload is gone, and dead, with [`ORPHANED`], if
    /// the event itself is.
    async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError>;

    /// Records finished attempts, each with its dispatch's new state, in one transaction, and makes
    /// the next dispatch of each finished one's invoice due.
    ///
    /// After an outcome that [restarts the clock](crate::model::dispatch::Outcome::restarts_the_clock) the dispatch's
    /// age begins anew with its next attempt.
    ///
    /// Answers in the given order. `now` as in [`Claim::now`].
    async fn finish_attempts(
        &self,
        batch: &[FinishedAttempt],
        now: Option<Timestamp>,
    ) -> Result<Vec<Finish>, StoreError>;

    /// Gives leases back unused: pending at once, no attempt counted. Leases that are lost already
    /// are passed over. Answers how many were given back.
    async fn give_back(&self, leases: &[(DispatchId, LeaseToken)]) -> Result<u64, StoreError>;

    /// Makes every leased dispatch due at once. Only for a store that one process has to itself,
    /// at its start: whoever held those leases is gone. Answers how many there were.
    async fn expire_leases(&self) -> Result<u64, StoreError>;

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

    /// How many events a filter selects, counted no further than `most`.
    async fn count_events(&self, filter: &EventFilter, most: u32) -> Result<u64, StoreError>;

    /// One event with everything that belongs to it.
    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError>;

    /// Lists dispatches, newest first; at most `limit` rows.
    async fn list_dispatches(&self, filter: &DispatchFilter, limit: u32) -> Result<Page<Dispatch>, StoreError>;

    /// The numbers of the dispatches of a selection, in no certain order and at most `most`: one reading, whatever the
    /// state, where a list reads a page after the other.
    async fn dispatch_ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError>;

    /// One dispatch with its attempts.
    async fn dispatch(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError>;

    /// Makes sure that these sinks have a status row; called at start.
    async fn register_sinks(&self, sinks: &[SinkName]) -> Result<(), StoreError>;

    /// The status of every sink that was ever registered, or has something unfinished, held or dead, by name. It costs the
    /// same however much that is: see [`SinkStatus::counted`].
    async fn sink_statuses(&self) -> Result<Vec<SinkStatus>, StoreError>;

    /// Pauses a sink, for all replicas and across restarts; a sink that is paused already keeps its
    /// first reason. Answers false if it was.
    async fn pause_sink(&self, sink: &SinkName, reason: &str) -> Result<bool, StoreError>;

    /// Resumes a sink; answers false if it was not paused.
    async fn resume_sink(&self, sink: &SinkName) -> Result<bool, StoreError>;

    /// Puts dispatches that are `held` or `dead` back to `pending`, due at once, with a new give-up
    /// time; a `pending` one becomes due at once. Others are not touched. Answers how many changed.
    async fn retry_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError>;

    /// Calls off dispatches that are `pending`, `held` or `dead`; the next of their invoices become
    /// due. Others are not touched. Answers how many changed.
    async fn cancel_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError>;

    /// Writes a new dispatch (trigger `replay`) of one event for each sink, due at once; `None` if
    /// there is no such event or its payload is gone.
    async fn replay_event(&self, id: EventId, sinks: &[SinkName]) -> Result<Option<Vec<DispatchId>>, StoreError>;

    /// Does the same for many events in one transaction, and answers in the given order. The new dispatches
    /// get ascending numbers in that order.
    async fn replay_events(&self, wanted: &[Replay]) -> Result<Vec<Option<Vec<DispatchId>>>, StoreError>;

    /// Removes the payloads of an invoice's events, and what targets said of them (which may quote them); calls off
    /// its dispatches that are `pending`, `held` or `dead`, with the reason [`ERASED`], and writes the audit entry with
    /// the counts. Ids, hashes and times stay, so that a delivery that is repeated is still a duplicate.
    ///
    /// The ledger stays as well: which payments its events announce, and what was written of them where, are ids,
    /// amounts and times, and without them a payment could be booked twice.
    ///
    /// A leased dispatch is left to its worker, which has the payload in memory and may still deliver it; whenever it
    /// would be claimed again, it is called off instead.
    ///
    /// Large invoices are erased in several transactions, the audit entry with the last: after an error, ask again. For
    /// an invoice without events nothing is written.
    async fn erase_invoice(&self, invoice_id: &str, audit: NewAudit) -> Result<Erased, StoreError>;

    /// Closes the connections; what is under way is waited for.
    async fn close(&self);
}
