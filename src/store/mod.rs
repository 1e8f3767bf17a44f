//! The store: where the receiving half hands over to the relaying half.
//!
//! The row is the promise. A delivery is acknowledged after [`EventStore::record_deliveries`] has committed its event
//! and its dispatches; a dispatch is finished by [`LeaseStore::finish_attempts`], by id *and* lease token, in one
//! transaction with its attempt. The [`wake::Wakeups`] only shorten the wait: a lost one costs a poll interval, never
//! an event.
//!
//! Everything that people and accepts write is on the disk when its method returns. A claim, a finish and a lease
//! that is given back survive the end of the process, but a power cut may undo the latest of them, which costs a
//! repeated attempt (`docs/decisions/0013-relaying-commits-without-a-flush.md`).
//!
//! Two implementations with hand-written SQL make the same promises, which one contract suite (`tests/it/store`)
//! checks: [`sqlite`] for one process without setup, [`postgres`] for many replicas.
//!
//! # The tables and columns that matter
//!
//! - `queue` holds what may still have to be done, by the relay or by a person (pending, leased, held, dead), `history`
//!   what is done (delivered, cancelled). The first is small and changes all the time, the second only grows. A dispatch
//!   keeps its number when it moves. `dispatches` is a view of both, to read a whole list.
//! - `queue_counts`: how many dispatches each sink has in the queue, by state. Triggers keep it in the transaction of
//!   each change, so a crash leaves it right.
//! - `due_at`: when a dispatch next needs attention. For a pending one the time of its next attempt, for a held one its
//!   re-check, if any, for a leased one the end of its lease. So a claim costs the same after ten million deliveries as
//!   after ten, and one rule finds new work, retries, expired leases and re-checks alike.
//! - `alone`, `turn`: the place in a lane, which is a sink and an invoice. What is leased by a worker that keeps the
//!   order has the first place, 0, the others their numbers. The unique index of the lane has room for one at each place,
//!   so no invoice is leased twice at a time.
//! - `attempted_at`, `attempt_us`: the attempt that delivered, number `attempts`. Only attempts that
//!   did not deliver have rows of their own; reading puts the two together.
//! - `waits_for`: the earlier dispatch of the same sink and invoice that must be finished first. A claim that finds a
//!   blocked dispatch writes this column and postpones its `due_at` by [`BLOCKED_RECHECK`]; finishing the earlier one
//!   makes the next due at once. So a backlog behind one stuck invoice is examined once, not by every claim.
//!
//! # The parts
//!
//! [`Store`] is the sum of its parts: one trait for each subject, in the file that documents its promises. Methods
//! with the same SQL on both databases are written once, over `tx`: the [`link`] to Finkare (secrets, intents, the
//! audit trail), the [`ledger`], [`activity`], [`breaker`], [`reconciliations`], [`payments`], [`traffic`],
//! [`sessions`]. The others are written in [`postgres`] and [`sqlite`], each part in the file of its SQL there: events,
//! dispatches, leases, sinks, retention, erasing. Rows that both databases read alike are mapped in `rows`.
//!
//! # How to add a store method
//!
//! Declare it in the trait of its subject, with its promises. If the SQL is the same on both databases, write it once
//! over `tx`; otherwise write it in both folders, next to its statement. Add a case to the contract suite, which runs
//! it on both.

use async_trait::async_trait;

pub mod activity;
pub mod breaker;
mod dispatches;
mod erasing;
mod error;
mod events;
mod leases;
pub mod ledger;
pub mod link;
mod lists;
pub mod notices;
mod page;
pub mod payments;
pub mod postgres;
pub mod reconciliations;
pub mod retention;
mod rows;
pub(crate) mod schema;
mod search;
pub mod sessions;
mod sinks;
mod spoiled;
pub mod sqlite;
pub mod statement;
pub mod traffic;
mod tx;
mod waiting;
pub mod wake;

pub(crate) use self::events::recording;
pub use self::{
    activity::ActivityStore,
    breaker::BreakerStore,
    dispatches::{DispatchFilter, DispatchStore, DispatchesPage, Replay},
    erasing::{EraseStore, Erased},
    error::{NoConnection, StoreError},
    events::{Candidate, EventDetail, EventFilter, EventStore, EventsPage, Offer, Stored},
    leases::{BLOCKED_RECHECK, CLAIM_BYTES, Claim, Claimed, ERASED, Finish, LOOK_AHEAD, LeaseStore, ORPHANED},
    ledger::LedgerStore,
    link::{AuditFilter, AuditStore, IntentStore, SecretStore},
    notices::NoticeStore,
    page::Page,
    payments::PaymentStore,
    reconciliations::ReconciliationStore,
    retention::{Purge, Purged, RetentionStore},
    search::LOOKED_AT,
    sessions::SessionStore,
    sinks::{Paused, SinkStatus, SinkStore},
    statement::StatementStore,
    traffic::TrafficStore,
    waiting::{MOST_WAITING, WaitingOne, WaitingStore},
};

/// The database as a whole: migrating it, checking that it works, closing it.
#[async_trait]
pub trait BaseStore: Send + Sync + std::fmt::Debug + 'static {
    /// `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;

    /// True if other processes may work on the same database, so that what this process remembers may be out of date.
    fn is_shared(&self) -> bool;

    /// Where new work is announced.
    fn wakeups(&self) -> &wake::Wakeups;

    /// Brings the schema up to date; returns how many migrations were applied now. Several processes may call it at
    /// the same time. A schema that a newer program has extended stays as it is.
    async fn migrate(&self) -> Result<usize, StoreError>;

    /// Checks that the database answers, that its schema is this version's or begins with it, and that it can be
    /// written to.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Closes the connections, after the work under way has ended.
    async fn close(&self);
}

/// Everything that the service stores: the sum of its parts.
///
/// Every method is one transaction or one read. A method whose future is dropped has either happened completely or not
/// at all.
pub trait Store:
    BaseStore
    + EventStore
    + DispatchStore
    + LeaseStore
    + SinkStore
    + RetentionStore
    + EraseStore
    + SecretStore
    + IntentStore
    + AuditStore
    + LedgerStore
    + ActivityStore
    + BreakerStore
    + NoticeStore
    + WaitingStore
    + StatementStore
    + ReconciliationStore
    + PaymentStore
    + TrafficStore
    + SessionStore
{
}

impl<S> Store for S where
    S: BaseStore
        + EventStore
        + DispatchStore
        + LeaseStore
        + SinkStore
        + RetentionStore
        + EraseStore
        + SecretStore
        + IntentStore
        + AuditStore
        + LedgerStore
        + ActivityStore
        + BreakerStore
        + NoticeStore
        + WaitingStore
        + StatementStore
        + ReconciliationStore
        + PaymentStore
        + TrafficStore
        + SessionStore
{
}
