//! The circuit breaker of one sink: a target that fails repeatedly gets no events except for probes.
//!
//! In the meantime the backlog waits in the store and does not age, since the give-up time of a dispatch begins with its own
//! first attempt. Each process has its own breaker.
//!
//! ```text
//!             failures in a row
//!   closed ───────────────────────▶ open: one probe every so often
//!     ▲  ▲                           │  ▲
//!     │  └──────── a success ────────┤  │ a failure
//!     │                              ▼  │
//!     └─────── a success ─────────── trying: one attempt at a time, at once
//! ```
//!
//! An open breaker starts *trying* when no event is left to probe with (another replica has delivered them, or they were
//! cancelled; nothing waits, so no alarm is needed), when another replica has delivered something, and when a person asks
//! for it. A breaker that is trying counts as closed until an attempt fails.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Counts failures in a row and says how many attempts may run.
#[derive(Debug)]
pub struct Breaker {
    failures_to_trip: NonZeroU32,
    probe_every: Duration,
    switch: Switch,
}

/// The state of one breaker, which others can read and change. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    phase: Phase,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    Open {
        next_probe: Instant,
    },
    Trying {
        since: Instant,
    },
}

/// How the breaker has changed, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing changed.
    None,
    /// It tripped.
    Tripped,
    /// It closed again.
    Closed,
}

impl Switch {
    /// True while only probes are allowed.
    pub fn is_open(&self) -> bool {
        matches!(self.lock().phase, Phase::Open { .. })
    }

    /// When the next probe may begin, while the breaker is open.
    pub fn next_probe(&self) -> Option<Instant> {
        match self.lock().phase {
            Phase::Open { next_probe } => Some(next_probe),
            Phase::Closed | Phase::Trying { .. } => None,
        }
    }

    /// Closes the breaker, since the target has shown that it works. Answers true if the breaker was open.
    pub fn close(&self) -> bool {
        let before = std::mem::take(&mut *self.lock());
        matches!(before.phase, Phase::Open { .. })
    }

    /// Allows one attempt at once, and the others if it succeeds. Answers true if the breaker was open.
    pub fn try_again(&self) -> bool {
        let mut state = self.lock();
        let is_open = matches!(state.phase, Phase::Open { .. });
        if is_open {
            state.phase = Phase::Trying { since: Instant::now() };
        }
        is_open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    /// A closed breaker, whose state others see through `switch`.
    pub fn new(failures_to_trip: NonZeroU32, probe_every: Duration, switch: Switch) -> Self {
        Self { failures_to_trip, probe_every, switch }
    }

    /// The state that others see.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// True if fewer attempts may run than there are slots.
    pub fn is_careful(&self) -> bool {
        self.switch.lock().phase != Phase::Closed
    }

    /// How many more of the `slots` may be used while `running` attempts are running. If the breaker allows none, also when
    /// to ask again (`None`: when an attempt has ended).
    pub fn allowed(&self, slots: usize, running: usize, now: Instant) -> (usize, Option<Instant>) {
        match self.switch.lock().phase {
            Phase::Closed => (slots.saturating_sub(running), None),
            Phase::Open { .. } | Phase::Trying { .. } if running > 0 => (0, None),
            Phase::Open { next_probe } if next_probe > now => (0, Some(next_probe)),
            Phase::Open { .. } | Phase::Trying { .. } => (1, None),
        }
    }

    /// The target has accepted an event, or rejected this one only: it works.
    pub fn success(&mut self) -> Change {
        let before = std::mem::take(&mut *self.switch.lock());
        if before.phase == Phase::Closed { Change::None } else { Change::Closed }
    }

    /// The target could not be reached or could not work. The attempt ended now and took `took`. An attempt that began before
    /// a request to try again does not count.
    pub fn failure(&mut self, now: Instant, took: Duration) -> Change {
        let mut state = self.switch.lock();
        state.failures = state.failures.saturating_add(1);
        let change = match state.phase {
            Phase::Trying { since } if now.checked_sub(took).is_none_or(|begun| begun < since) => return Change::None,
            Phase::Closed if state.failures < self.failures_to_trip.get() => return Change::None,
            Phase::Closed | Phase::Trying { .. } => Change::Tripped,
            Phase::Open { .. } => Change::None,
        };
        state.phase = Phase::Open { next_probe: now + self.probe_every };
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn breaker(failures: u32) -> (Breaker, Switch) {
        let seen = Switch::default();
        (Breaker::new(NonZeroU32::new(failures).unwrap(), EVERY, seen.clone()), seen)
    }

    #[test]
    fn trips_probes_and_closes() {
        let (mut breaker, seen) = breaker(3);
        let now = Instant::now();
        let fail = |breaker: &mut Breaker, at| breaker.failure(at, Duration::ZERO);
        assert_eq!(breaker.allowed(8, 2, now), (6, None));
        assert_eq!([fail(&mut breaker, now), fail(&mut breaker, now)], [Change::None; 2]);
        assert_eq!(breaker.success(), Change::None, "only failures in a row count");
        assert_eq!([fail(&mut breaker, now), fail(&mut breaker, now)], [Change::None; 2]);
        assert_eq!(fail(&mut breaker, now), Change::Tripped);
        assert!(seen.is_open() && breaker.is_careful());
        assert_eq!(seen.next_probe(), Some(now + EVERY));
        assert_eq!(breaker.allowed(8, 0, now), (0, Some(now + EVERY)));
        assert_eq!(breaker.allowed(8, 0, now + EVERY), (1, None), "one probe");
        assert_eq!(breaker.allowed(8, 1, now + EVERY), (0, None), "and no second beside it");
        assert_eq!(fail(&mut breaker, now + EVERY), Change::None);
        assert_eq!(breaker.allowed(8, 0, now + EVERY), (0, Some(now + EVERY * 2)));
        assert_eq!(breaker.success(), Change::Closed);
        assert_eq!(breaker.allowed(8, 0, now), (8, None));
        assert!(!seen.is_open());
    }

    #[test]
    fn who_is_told_to_try_again_is_careful_and_counts_as_well() {
        let (mut breaker, seen) = breaker(1);
        assert!(!seen.try_again() && !seen.close(), "it is closed");
        let tripped = Instant::now();
        assert_eq!(breaker.failure(tripped, Duration::ZERO), Change::Tripped);
        assert!(seen.try_again() && !seen.try_again());
        let now = Instant::now();
        assert!(!seen.is_open() && breaker.is_careful());
        assert_eq!((breaker.allowed(8, 0, now), breaker.allowed(8, 1, now)), ((1, None), (0, None)), "one at a time");
        let old = now.duration_since(tripped) + Duration::from_secs(1);
        assert_eq!(breaker.failure(now, old), Change::None, "it began before: it says nothing new");
        assert!(!seen.is_open());
        assert_eq!(breaker.failure(now + EVERY, Duration::ZERO), Change::Tripped, "one failure is enough");
        assert!(seen.try_again());
        assert_eq!(breaker.success(), Change::Closed);
        assert_eq!(breaker.failure(now, Duration::ZERO), Change::Tripped);
        assert!(seen.close() && !seen.close());
        assert_eq!(breaker.allowed(8, 0, now), (8, None));
    }
}
