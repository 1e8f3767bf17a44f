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
//!
//! # The way of a round
//!
//! An event's id begins with its time of receipt, so a round walks the events by id and needs no index of its own:
//!
//! 1. Events that are old enough to be deleted are at the beginning. What is found there in each round is what the
//!    round deletes, and what is still needed.
//! 2. Payloads are removed from all others up to the age of payloads. The place up to which that is done is stored
//!    (`retention_progress`), so that no round meets what earlier rounds have emptied. An event that keeps its payload
//!    behind that place is put on a list (`overdue`), in the transaction that moves the place, and each round examines
//!    the list before it goes on from the place.
//!
//! An event that was received while the clock was months behind has an id that lies behind the place, and is on no
//! list. So the walk begins anew from the oldest event when a doubt about the clock has ended, and once a week
//! (`ANEW`) in any case.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{error::StoreError, events::first_id_at};
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
    /// An event that has an unfinished dispatch keeps everything, and is met once a round. When its dispatches have
    /// finished, a later round purges it. Which payment the event announced stays, as do the bookings of that payment,
    /// see [`super::ledger::LedgerStore::purge_bookings`].
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
    /// newest event, that with the largest id, was received.
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

    /// True if this check ended a doubt. Events that came during it may have ids that are out of order.
    pub(super) fn ended_doubt(self, before: Self) -> bool {
        before.doubted_us.is_some() && self.doubted_us.is_none()
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

/// The stages of a round, in their order: there is no point in emptying an event that is deleted anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Deletes whole events, from the oldest on.
    Events,
    /// Removes the payloads of the events on the list.
    Overdue,
    /// Removes the payloads of the events after the stored place.
    Payloads,
}

/// The progress of a round of retention, see [`RetentionStore::purge_from`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeCursor {
    pub(super) stage: Stage,
    /// The last examined event of the stage.
    pub(super) id: Uuid,
}

impl PurgeCursor {
    /// The beginning of a round.
    pub(super) const START: Self = Self { stage: Stage::Events, id: Uuid::nil() };

    /// The time before which this stage purges, and the first id that it does not examine.
    pub(super) fn end(self, purge: &Purge) -> (i64, Uuid) {
        let before = clock::to_micros(match self.stage {
            Stage::Events => purge.events_before,
            Stage::Overdue | Stage::Payloads => purge.payloads_before,
        });
        (before, first_id_at(before))
    }
}

/// How far the payloads have been removed, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Progress {
    /// The last examined event.
    pub(super) emptied_until: Uuid,
    /// When the walk began at the oldest event; `None` to begin it anew.
    pub(super) began_at: Option<i64>,
}

/// After this time the walk begins anew.
const ANEW: Duration = Duration::from_hours(7 * 24);

impl Progress {
    /// Where the walk goes on now.
    pub(super) fn resume(self, now: i64) -> Self {
        let lasts = |began: i64| now.abs_diff(began) <= clock::duration_micros(ANEW).unsigned_abs();
        if self.began_at.is_some_and(lasts) { self } else { Self { emptied_until: Uuid::nil(), began_at: Some(now) } }
    }
}

/// Events that one call examines, at most: those with unfinished dispatches are examined and stay.
pub(super) const LOOKED_AT: i64 = 5000;

/// An event that is examined: its id, whether it has a payload, and whether it is old enough and no longer needed.
pub(super) type Examined = (Uuid, bool, bool);

/// What one call does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The events to delete or to empty.
    pub(super) go: Vec<Uuid>,
    /// Those that, after this, belong on the list as long as they have a payload, and not on it otherwise.
    pub(super) listed: Vec<Uuid>,
    /// The last examined event.
    pub(super) last: Option<Uuid>,
    /// Where the next call continues.
    pub(super) next: Option<PurgeCursor>,
}

impl Step {
    /// The step over the first of these events, up to a number that go. Fewer than [`LOOKED_AT`] are the last ones of
    /// the stage.
    pub(super) fn over(found: &[Examined], stage: Stage, limit: u32) -> Self {
        let mut step = Self { go: Vec::new(), listed: Vec::new(), last: None, next: None };
        let mut examined = 0;
        for &(id, has_payload, may_go) in found {
            if step.go.len() == limit as usize {
                break;
            }
            examined += 1;
            step.last = Some(id);
            let goes = may_go && (has_payload || stage == Stage::Events);
            if goes {
                step.go.push(id);
            }
            let is_listed = match stage {
                Stage::Events => false,
                Stage::Overdue => goes || !has_payload,
                Stage::Payloads => has_payload,
            };
            if is_listed {
                step.listed.push(id);
            }
        }
        let is_last = examined == found.len() && found.len() < usize::try_from(LOOKED_AT).unwrap_or(usize::MAX);
        step.next = match stage {
            _ if !is_last => step.last.map(|id| PurgeCursor { stage, id }),
            Stage::Events => Some(PurgeCursor { stage: Stage::Overdue, id: Uuid::nil() }),
            Stage::Overdue => Some(PurgeCursor { stage: Stage::Payloads, id: Uuid::nil() }),
            Stage::Payloads => None,
        };
        step
    }
}

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

    #[test]
    fn a_doubt_ends_with_the_check_that_believes() {
        let right = believed(1000 * DAY);
        let doubted = right.look(1100 * DAY, Duration::ZERO);
        assert!(!doubted.ended_doubt(right) && !doubted.look(1100 * DAY + HOUR, hours(1)).ended_doubt(doubted));
        let again = doubted.look(1000 * DAY + HOUR, hours(1));
        assert!(again.ended_doubt(doubted) && !again.look(1000 * DAY + 2 * HOUR, hours(1)).ended_doubt(again));
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_step_ends_at_its_limit_and_a_stage_at_its_last_event() {
        let found = [(id(1), true, false), (id(2), true, true), (id(3), false, true), (id(4), true, true)];
        let step = |stage, limit| Step::over(&found, stage, limit);
        let at = |stage, number| Some(PurgeCursor { stage, id: id(number) });

        let events = step(Stage::Events, 2);
        assert_eq!((events.go, events.listed, events.next), (vec![id(2), id(3)], vec![], at(Stage::Events, 3)));
        let events = step(Stage::Events, 3);
        assert_eq!((events.go.len(), events.next), (3, at(Stage::Overdue, 0)));

        let overdue = step(Stage::Overdue, 2);
        assert_eq!((overdue.go, overdue.listed), (vec![id(2), id(4)], vec![id(2), id(3), id(4)]));
        assert_eq!(overdue.next, at(Stage::Payloads, 0));

        let payloads = step(Stage::Payloads, 1);
        assert_eq!((payloads.go, payloads.listed), (vec![id(2)], vec![id(1), id(2)]));
        assert_eq!((payloads.last, payloads.next), (Some(id(2)), at(Stage::Payloads, 2)));
        let payloads = step(Stage::Payloads, 9);
        assert_eq!((payloads.last, payloads.next), (Some(id(4)), None));

        assert_eq!(step(Stage::Events, 0), Step { go: vec![], listed: vec![], last: None, next: None });
        let many = vec![(id(7), true, false); 5000];
        assert_eq!(Step::over(&many, Stage::Payloads, 9).next, at(Stage::Payloads, 7), "there may be more");
    }

    #[test]
    fn the_walk_goes_on_for_a_week_and_then_begins_anew() {
        let progress = Progress { emptied_until: id(5), began_at: Some(100 * DAY) };
        assert_eq!(progress.resume(107 * DAY), progress);
        let anew = |now| Progress { emptied_until: Uuid::nil(), began_at: Some(now) };
        assert_eq!(progress.resume(107 * DAY + 1), anew(107 * DAY + 1));
        assert_eq!(progress.resume(90 * DAY), anew(90 * DAY), "it began by a clock that was ahead");
        assert_eq!(Progress { began_at: None, ..progress }.resume(101 * DAY), anew(101 * DAY));
    }
}
