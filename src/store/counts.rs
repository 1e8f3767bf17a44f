//! How much work each sink has, without counting it at every request.
//!
//! Up to [`COUNTED_AT_ONCE`] entries of an index are counted for each request: most sinks have no more, and the
//! answer is current. Where there are more, a separate task counts everything, one count at a time and seldom enough
//! to be no load. Until it has finished, the answer is a lower bound; afterwards it is the task's result.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::sinks::{Counted, SinkStatus};
use crate::model::dispatch::State;

/// Entries that are counted for a request: for each sink among the unfinished dispatches, and once among the held and
/// dead ones.
pub(super) const COUNTED_AT_ONCE: i64 = 10_000;

/// The shortest time between two counts of everything. The pause is also at least this many times as long as the last
/// count took.
const SELDOM: Duration = Duration::from_secs(10);
const SELDOM_TIMES: u32 = 20;

/// How much work one sink has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) pending: u64,
    pub(super) leased: u64,
    pub(super) held: u64,
    pub(super) dead: u64,
    /// When the oldest pending or leased dispatch was written.
    pub(super) oldest: Option<Timestamp>,
    /// There may be more pending or leased dispatches.
    pub(super) is_cut: bool,
}

impl Tally {
    /// Adds a count of one state.
    pub(super) fn add(&mut self, state: State, count: u64, oldest: Option<Timestamp>) {
        match state {
            State::Pending => self.pending += count,
            State::Leased => self.leased += count,
            State::Held => self.held += count,
            State::Dead => self.dead += count,
            State::Delivered | State::Cancelled => return,
        }
        self.oldest = self.oldest.into_iter().chain(oldest).min();
    }
}

/// By sink.
pub(super) type Tallies = BTreeMap<String, Tally>;

/// The result of a count for one request.
#[derive(Debug, Default)]
pub(super) struct Quick {
    pub(super) tallies: Tallies,
    /// There may be more held or dead dispatches, of any sink.
    pub(super) stopped_is_cut: bool,
}

impl Quick {
    /// True if the count is not complete.
    pub(super) fn is_cut(&self) -> bool {
        self.stopped_is_cut || self.tallies.values().any(|tally| tally.is_cut)
    }
}

/// The last complete count.
#[derive(Debug, Default)]
pub(super) struct Everything(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    latest: Option<(Timestamp, Arc<Tallies>)>,
    is_counting: bool,
    not_before: Option<Instant>,
}

/// The turn to count; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    everything: Arc<Everything>,
    began: Instant,
}

impl Everything {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to count everything, unless another task has it, or had it a moment ago.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Turn> {
        let mut inner = self.lock();
        let now = Instant::now();
        if inner.is_counting || inner.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        inner.is_counting = true;
        Some(Turn { everything: self.clone(), began: now })
    }

    /// Fills in the counts of these sinks, which are keyed by name; adds sinks of which only their work is known.
    pub(super) fn fill(&self, sinks: &mut BTreeMap<String, SinkStatus>, quick: &Quick) {
        let latest = self.lock().latest.clone();
        let names: Vec<String> = quick.tallies.keys().filter(|name| !sinks.contains_key(*name)).cloned().collect();
        for name in names {
            sinks.insert(name.clone(), SinkStatus { name, ..SinkStatus::default() });
        }
        for (name, status) in sinks {
            let now = quick.tallies.get(name).copied().unwrap_or_default();
            (status.pending, status.leased, status.held, status.dead) = (now.pending, now.leased, now.held, now.dead);
            status.oldest_pending = now.oldest;
            if !now.is_cut && !quick.stopped_is_cut {
                continue;
            }
            let Some((at, everything)) = &latest else {
                status.counted = Counted::AtLeast;
                continue;
            };
            let then = everything.get(name).copied().unwrap_or_default();
            status.counted = Counted::At(*at);
            if now.is_cut {
                status.pending = status.pending.max(then.pending);
                status.leased = status.leased.max(then.leased);
                status.oldest_pending = then.oldest.into_iter().chain(now.oldest).min();
            }
            if quick.stopped_is_cut {
                status.held = status.held.max(then.held);
                status.dead = status.dead.max(then.dead);
            }
        }
    }
}

impl Turn {
    /// Stores a complete count, as of the time at which the turn began.
    pub(super) fn counted(self, at: Timestamp, tallies: Tallies) {
        self.everything.lock().latest = Some((at, Arc::new(tallies)));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.everything.lock();
        inner.is_counting = false;
        inner.not_before = Some(Instant::now() + SELDOM.max(self.began.elapsed() * SELDOM_TIMES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock;

    #[test]
    fn what_is_counted_at_once_is_of_now_and_more_is_told_as_it_is() {
        let everything = Arc::new(Everything::default());
        let quick = || {
            let small = Tally { pending: 7, ..Tally::default() };
            let large = Tally { pending: 10_000, is_cut: true, ..Tally::default() };
            Quick { tallies: [("small".into(), small), ("large".into(), large)].into(), stopped_is_cut: false }
        };
        let filled = || {
            let mut sinks = BTreeMap::new();
            everything.fill(&mut sinks, &quick());
            let told = |name: &str| (sinks[name].pending, sinks[name].counted);
            (told("small"), told("large"))
        };
        assert_eq!(filled(), ((7, Counted::Now), (10_000, Counted::AtLeast)));
        let turn = everything.turn().expect("nobody counts");
        assert!(everything.turn().is_none(), "one at a time");
        let at = clock::now();
        turn.counted(at, [("large".to_owned(), Tally { pending: 1_000_000, ..Tally::default() })].into());
        assert_eq!(filled(), ((7, Counted::Now), (1_000_000, Counted::At(at))));
        assert!(everything.turn().is_none(), "and not again at once");
    }
}
