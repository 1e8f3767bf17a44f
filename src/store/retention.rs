//! The time that retention goes by, and the progress of a round of retention.
//!
//! Purged data is gone permanently, so retention does not simply believe the clock: a machine that starts with a
//! clock a hundred days ahead would find everything old. The store keeps the clock time that was last believed
//! ([`RetentionTime::now`] is computed from it), in the database, and by the database's own clock where there is one:
//!
//! - While the clock and the believed time are no more than [`TRUSTED`] apart, the clock is right.
//! - A larger jump, in either direction, is doubted. Until it is believed, retention continues from the believed time
//!   plus the time that has really passed; or goes by the clock, where that is earlier.
//! - The jump is believed when it is still there after [`CONFIRMED`] of running time. Processes measure running time
//!   by a clock that cannot be set; it adds up across restarts, and replicas do not add to each other's.
//!
//! A service that was off for a hundred days therefore purges a day later than it could. It has no other effect.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::error::StoreError;
use crate::model::clock;

/// A clock that advanced by no more than this between two checks is believed at once. At worst, one day's data is
/// purged too early.
pub const TRUSTED: Duration = Duration::from_hours(24);

/// A larger jump is believed after this much running time.
pub const CONFIRMED: Duration = Duration::from_hours(24);

/// Which data is old enough to be purged.
#[derive(Debug, Clone, Copy)]
pub struct Purge {
    /// Payloads of events received before this are removed; the event stays.
    pub payloads_before: Timestamp,
    /// Events received before this are deleted completely, with their dispatches, attempts and dedupe keys.
    pub events_before: Timestamp,
    /// The most events that one call touches, so that accepts never wait long.
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

/// The time that retention goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionTime {
    /// The time from which ages are computed; never later than `clock`.
    pub now: Timestamp,
    /// What the store's clock says.
    pub clock: Timestamp,
    /// Set while the clock is doubted: the running time after which it is believed.
    pub doubted_for: Option<Duration>,
}

/// The part of the store that is about retention.
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Checks the clock, and returns the time that retention goes by now. `ran` is how long this process has run
    /// since its last check, by a clock that cannot be set (zero for the first check). `now` as in
    /// [`super::Claim::now`].
    async fn retention_time(&self, ran: Duration, now: Option<Timestamp>) -> Result<RetentionTime, StoreError>;

    /// Purges old data in one transaction of a round: continues where an earlier one ended, and returns where it
    /// ended itself; `None` once everything old enough has been examined.
    ///
    /// An event that has an unfinished dispatch keeps everything, and is met once a round. Which payment the
    /// event announced stays, as do the bookings of that payment, see [`super::ledger::LedgerStore::purge_bookings`].
    async fn purge_from(
        &self,
        purge: Purge,
        from: Option<PurgeCursor>,
    ) -> Result<(Purged, Option<PurgeCursor>), StoreError>;

    /// Purges old data, the oldest first. It returns zero only when nothing is left to purge.
    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError> {
        let mut from = None;
        loop {
            let (purged, next) = self.purge_from(purge, from).await?;
            if purged != Purged::default() || next.is_none() || purge.limit == 0 {
                return Ok(purged);
            }
            from = next;
        }
    }

    /// Makes dispatches due again whose due time only a clock that was set back can explain: `pending` and `held`
    /// ones that are due later than the wait stored with them. They become due after that wait from now. Returns how
    /// many there were. `now` as in [`super::Claim::now`].
    async fn bring_back(&self, now: Option<Timestamp>) -> Result<u64, StoreError>;
}

/// A due time that is this much later than the stored wait was not computed from a correct clock. A dispatch that
/// waits for an earlier one of its invoice is checked after [`super::BLOCKED_RECHECK`].
pub(super) const LATE: Duration = Duration::from_mins(2);

/// The stored belief about the clock, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Belief {
    pub(super) believed_at: i64,
    pub(super) seen_at: i64,
    pub(super) doubted_us: Option<i64>,
}

impl Belief {
    /// The first belief: the stored events were written by a clock that was believed then. `newest` is when the
    /// newest event was received.
    pub(super) fn first(newest: Option<i64>, clock: i64) -> Self {
        Self { believed_at: newest.map_or(clock, |newest| newest.min(clock)), seen_at: clock, doubted_us: None }
    }

    /// A check of the clock after this process ran for `ran` since its last one.
    pub(super) fn look(self, clock: i64, ran: Duration) -> Self {
        let trusted = clock::duration_micros(TRUSTED);
        if clock.abs_diff(self.believed_at) <= trusted.unsigned_abs() {
            return Self { believed_at: clock, seen_at: clock, doubted_us: None };
        }
        // Several replicas that measure the same hour have measured one hour: the clock's own progress since the last
        // check by any of them is the most that counts.
        let passed = clock::duration_micros(ran).min(clock.saturating_sub(self.seen_at)).max(0);
        // The last check may have seen a clock that agreed, or one that was wrong in the other direction.
        let same_way = (self.seen_at > self.believed_at) == (clock > self.believed_at);
        let doubted = match self.doubted_us {
            Some(doubted) if same_way => doubted.saturating_add(passed),
            _ => 0,
        };
        if doubted >= clock::duration_micros(CONFIRMED) {
            return Self { believed_at: clock, seen_at: clock, doubted_us: None };
        }
        Self { believed_at: self.believed_at.saturating_add(passed), seen_at: clock, doubted_us: Some(doubted) }
    }

    /// The time to go by; `None` if the stored value is not a time.
    pub(super) fn time(self) -> Option<RetentionTime> {
        let left = |doubted: i64| {
            let left = clock::duration_micros(CONFIRMED).saturating_sub(doubted);
            Duration::from_micros(left.max(0).unsigned_abs())
        };
        Some(RetentionTime {
            now: clock::from_micros(self.believed_at.min(self.seen_at))?,
            clock: clock::from_micros(self.seen_at)?,
            doubted_for: self.doubted_us.map(left),
        })
    }
}

/// The progress of a round of retention, see [`RetentionStore::purge_from`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeCursor {
    /// What this stage looks for, in the store's own order.
    pub(super) stage: u8,
    /// When the last examined event was received, in microseconds.
    pub(super) received_at: i64,
    /// The last examined event, where several were received at that time: its row on SQLite, its id on Postgres.
    pub(super) row: i64,
    pub(super) id: Uuid,
}

impl PurgeCursor {
    /// The beginning of a stage.
    pub(super) fn stage(stage: u8) -> Self {
        Self { stage, received_at: i64::MIN, row: i64::MIN, id: Uuid::nil() }
    }
}

/// Events that one call examines, at most: those with unfinished dispatches are examined and stay.
pub(super) const LOOKED_AT: i64 = 5000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const DAY: i64 = 24 * HOUR;

    fn believed(at: i64) -> Belief {
        Belief { believed_at: at, seen_at: at, doubted_us: None }
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_hours(hours)
    }

    #[test]
    fn the_clock_is_followed_day_by_day() {
        let belief = believed(1000 * DAY).look(1001 * DAY, Duration::ZERO);
        assert_eq!(belief, believed(1001 * DAY));
        assert_eq!(belief.look(1000 * DAY, Duration::ZERO), believed(1000 * DAY), "an hour back, or a day");
    }

    #[test]
    fn a_jump_is_believed_after_a_day_of_running() {
        let mut belief = believed(1000 * DAY).look(1100 * DAY, Duration::ZERO);
        assert_eq!(belief, Belief { believed_at: 1000 * DAY, seen_at: 1100 * DAY, doubted_us: Some(0) });
        for hour in 1..24 {
            belief = belief.look(1100 * DAY + hour * HOUR, hours(1));
            assert_eq!(belief.believed_at, 1000 * DAY + hour * HOUR, "it goes on with the time that passes");
            assert_eq!(belief.time().unwrap().doubted_for, Some(hours(24 - hour.unsigned_abs())));
        }
        assert_eq!(belief.look(1101 * DAY, hours(1)), believed(1101 * DAY));
    }

    #[test]
    fn restarts_and_replicas_prove_nothing() {
        let mut belief = believed(1000 * DAY);
        for start in 0..1000 {
            // A process that has just been started has not run yet.
            belief = belief.look(1100 * DAY + start, Duration::ZERO);
        }
        assert_eq!((belief.believed_at, belief.doubted_us), (1000 * DAY, Some(0)));
        // Thirty replicas that all ran for the same hour.
        for _ in 0..30 {
            belief = belief.look(1100 * DAY + HOUR, hours(1));
        }
        assert_eq!(belief.doubted_us, Some(HOUR - 999));
        // A jump within the doubt is not taken for time that passed.
        let belief = belief.look(1200 * DAY, Duration::from_mins(10));
        assert_eq!(belief.doubted_us, Some(HOUR - 999 + HOUR / 6));
    }

    #[test]
    fn a_clock_that_is_right_again_is_believed_at_once() {
        let belief = believed(1000 * DAY).look(1100 * DAY, Duration::ZERO).look(1100 * DAY + HOUR, hours(1));
        assert_eq!(belief.look(1000 * DAY + 2 * HOUR, hours(1)), believed(1000 * DAY + 2 * HOUR));
    }

    #[test]
    fn a_clock_that_went_back_is_gone_by_and_doubted() {
        let mut belief = believed(1000 * DAY).look(DAY, Duration::ZERO);
        let time = belief.time().unwrap();
        assert_eq!((clock::to_micros(time.now), time.doubted_for), (DAY, Some(CONFIRMED)), "the earlier of the two");
        assert_eq!(belief.believed_at, 1000 * DAY);
        // A machine without a battery: 1970 at each start, right a moment later.
        assert_eq!(belief.look(1000 * DAY + HOUR, Duration::from_secs(5)), believed(1000 * DAY + HOUR));
        for hour in 1..=24 {
            belief = belief.look(DAY + hour * HOUR, hours(1));
        }
        assert_eq!(belief, believed(2 * DAY));
    }

    #[test]
    fn a_doubt_of_the_other_kind_begins_anew() {
        let ahead = Belief { believed_at: 1000 * DAY, seen_at: 1100 * DAY, doubted_us: Some(23 * HOUR) };
        assert_eq!(ahead.look(10 * DAY, hours(1)).doubted_us, Some(0));
    }

    #[test]
    fn the_first_belief_is_what_the_newest_event_says() {
        assert_eq!(Belief::first(Some(5 * DAY), 100 * DAY).believed_at, 5 * DAY);
        assert_eq!(Belief::first(Some(500 * DAY), 100 * DAY).believed_at, 100 * DAY);
        assert_eq!(Belief::first(None, 100 * DAY).believed_at, 100 * DAY);
    }
}
