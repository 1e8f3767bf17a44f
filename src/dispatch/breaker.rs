//! The circuit breaker of one sink: a target that fails again and again is left alone and probed.
//!
//! Its backlog waits in the store meanwhile and does not age: the give-up time of a dispatch begins
//! with its own first attempt. State is per process; each replica finds out for itself.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Counts failures in a row and says how many attempts may run.
#[derive(Debug)]
pub struct Breaker {
    failures_to_trip: NonZeroU32,
    probe_every: Duration,
    failures: u32,
    next_probe: Option<Instant>,
    tripped: Arc<AtomicBool>,
}

/// What a change of the breaker was, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing changed.
    None,
    /// It tripped.
    Tripped,
    /// It closed again.
    Closed,
}

impl Breaker {
    /// A closed breaker. `tripped` is where others look.
    pub fn new(failures_to_trip: NonZeroU32, probe_every: Duration, tripped: Arc<AtomicBool>) -> Self {
        Self { failures_to_trip, probe_every, failures: 0, next_probe: None, tripped }
    }

    /// True while only probes are let through.
    pub fn is_open(&self) -> bool {
        self.next_probe.is_some()
    }

    /// How many more of `slots` may be used when `running` attempts run already; and, if none is
    /// for the breaker's sake, when to ask again (`None`: when an attempt has ended).
    pub fn allowed(&self, slots: usize, running: usize, now: Instant) -> (usize, Option<Instant>) {
        match self.next_probe {
            None => (slots.saturating_sub(running), None),
            Some(_) if running > 0 => (0, None),
            Some(at) if at > now => (0, Some(at)),
            Some(_) => (1, None),
        }
    }

    /// The target took it, or refused just this one: it works.
    pub fn success(&mut self) -> Change {
        self.failures = 0;
        self.set(None)
    }

    /// The target could not be reached or could not work.
    pub fn failure(&mut self, now: Instant) -> Change {
        self.failures = self.failures.saturating_add(1);
        if self.failures < self.failures_to_trip.get() {
            return Change::None;
        }
        self.set(Some(now + self.probe_every))
    }

    fn set(&mut self, next_probe: Option<Instant>) -> Change {
        let change = match (self.next_probe, next_probe) {
            (None, Some(_)) => Change::Tripped,
            (Some(_), None) => Change::Closed,
            _ => Change::None,
        };
        self.next_probe = next_probe;
        self.tripped.store(next_probe.is_some(), Relaxed);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trips_probes_and_closes() {
        let seen = Arc::new(AtomicBool::new(false));
        let every = Duration::from_secs(30);
        let mut breaker = Breaker::new(NonZeroU32::new(3).unwrap(), every, seen.clone());
        let now = Instant::now();
        assert_eq!(breaker.allowed(8, 2, now), (6, None));
        assert_eq!([breaker.failure(now), breaker.failure(now)], [Change::None; 2]);
        assert_eq!(breaker.success(), Change::None, "only failures in a row count");
        assert_eq!([breaker.failure(now), breaker.failure(now)], [Change::None; 2]);
        assert_eq!(breaker.failure(now), Change::Tripped);
        assert!(seen.load(Relaxed) && breaker.is_open());
        assert_eq!(breaker.allowed(8, 0, now), (0, Some(now + every)));
        assert_eq!(breaker.allowed(8, 0, now + every), (1, None), "one probe");
        assert_eq!(breaker.allowed(8, 1, now + every), (0, None), "and no second beside it");
        assert_eq!(breaker.failure(now + every), Change::None);
        assert_eq!(breaker.allowed(8, 0, now + every), (0, Some(now + every * 2)));
        assert_eq!(breaker.success(), Change::Closed);
        assert_eq!(breaker.allowed(8, 0, now), (8, None));
        assert!(!seen.load(Relaxed));
    }
}
