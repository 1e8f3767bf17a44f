//! What the store promises to workers: dispatches are leased to one worker at a time, and finished by id and lease token.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::error::StoreError;
use crate::model::{
    clock,
    dispatch::{FinishedAttempt, LeasedDispatch, Order},
    id::{DispatchId, LeaseToken, SinkName},
};

/// How far into the future a claim moves a dispatch that waits for an earlier one of its invoice. Finishing the
/// earlier one makes it due at once; this wait only matters if that should fail.
pub const BLOCKED_RECHECK: Duration = Duration::from_mins(1);

/// The fewest dispatches that a claim with [`Order::Invoice`] looks at, even if it may take fewer. Dispatches that
/// wait for an earlier one of their invoice are postponed, and come back at the end of the queue. So a sink that
/// takes one dispatch at a time does not work through the whole backlog of one invoice before it turns to the others.
pub const LOOK_AHEAD: u32 = 16;

/// The reason of a dispatch that was cancelled because there is nothing left to send.
pub const ERASED: &str = "the payload of its event was erased: there is nothing left to send";

/// The reason of a dispatch that was given up because its event is not in the database.
pub const ORPHANED: &str = "its event is not in the database (was only a part restored?): there is nothing to send; restore the event, or cancel this";

/// About how many bytes of payload one claim hands out: as many as one transaction of accepted deliveries may hold.
pub const CLAIM_BYTES: u64 = 4 * 1024 * 1024;

/// Which dispatches a worker wants, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The sink.
    pub sink: &'a SinkName,
    /// In which order.
    pub order: Order,
    /// The most dispatches to claim. Zero claims nothing.
    pub limit: u32,
    /// How long the lease lasts; longer than an attempt's time-out.
    pub lease: Duration,
    /// The sink's longest wait between two attempts. A dispatch that is claimed later than this after it was due
    /// (because the sink was paused, the service was off, or the clock was set) was not tried in the meantime, so it
    /// ages by this much only.
    pub longest_wait: Duration,
    /// The current time for due times. `None` is the store's own clock (the database's on Postgres, so that replicas
    /// with different clocks agree); tests pass a time.
    pub now: Option<Timestamp>,
}

/// The result of a claim.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The claimed dispatches, ours until the lease ends, in the order in which they were written.
    pub dispatches: Vec<LeasedDispatch>,
    /// How long until the next dispatch of this sink is due, as far as the store knows now. `None` when there is
    /// none; zero when more are due already.
    pub next_due_in: Option<Duration>,
    /// True while the sink is paused. Nothing is claimed then.
    pub paused: bool,
}

/// The result of finishing an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Recorded.
    Recorded,
    /// The lease had run out and another worker has the dispatch, so nothing was changed.
    LeaseLost,
}

/// When a dispatch's age began, all in microseconds: at its first attempt, or now if there was none. A claim that
/// comes later than [`Claim::longest_wait`] after the due time moves the beginning of the age by the difference.
pub(super) fn aging_since(first_attempt_at: Option<i64>, due_at: i64, now: i64, longest_wait: Duration) -> i64 {
    let Some(first) = first_attempt_at else { return now };
    let too_late = now.saturating_sub(due_at).saturating_sub(clock::duration_micros(longest_wait)).max(0);
    first.saturating_add(too_late).min(now.max(first))
}

/// How many of these payloads one claim takes. Their sizes come in bytes, in the order in which they would be handed
/// out.
pub(super) fn within_budget(sizes: impl Iterator<Item = i64>) -> usize {
    let mut total = 0_u64;
    sizes
        .enumerate()
        .take_while(|(place, size)| {
            total = total.saturating_add(size.unsigned_abs());
            *place == 0 || total <= CLAIM_BYTES
        })
        .count()
}

/// The part of the store that is for workers.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Leases dispatches of a sink that are due: new ones, retries, held ones due for a re-check, and those whose
    /// lease ran out.
    ///
    /// No dispatch is leased to two workers at a time. With [`Order::Invoice`] a dispatch whose invoice has an
    /// earlier unfinished one for the same sink (also a held one) is not handed out. A paused sink hands out nothing.
    ///
    /// The payloads of one claim add up to about [`CLAIM_BYTES`], but at least one dispatch is handed out. A dispatch
    /// with nothing left to send is not handed out: it becomes cancelled, with [`ERASED`], if its payload is gone,
    /// and dead, with [`ORPHANED`], if the event itself is gone.
    async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError>;

    /// Records finished attempts, each with its dispatch's new state, and makes the next dispatch of each finished one's
    /// invoice due. Both are one transaction; a batch may be several.
    ///
    /// After an outcome that [restarts the clock](crate::model::dispatch::Outcome::restarts_the_clock) the dispatch's
    /// age begins again with its next attempt.
    ///
    /// Returns the results in the given order. `now` as in [`Claim::now`].
    async fn finish_attempts(
        &self,
        batch: &[FinishedAttempt],
        now: Option<Timestamp>,
    ) -> Result<Vec<Finish>, StoreError>;

    /// Gives unused leases back: the dispatches are pending at once, and no attempt is counted. Leases that are lost
    /// already are skipped. Returns how many were given back.
    async fn give_back(&self, leases: &[(DispatchId, LeaseToken)]) -> Result<u64, StoreError>;

    /// Makes every leased dispatch due at once. For the start of a store that only one process uses: the process that
    /// held those leases is gone. Returns how many there were.
    async fn expire_leases(&self) -> Result<u64, StoreError>;
}
