//! Keeping below the number of calls that a service accepts, by one of two rules.
//!
//! [`Rate`] keeps a limit that the other side counts strictly: no period, wherever it begins, contains more calls
//! than allowed. A bucket that refills would not do: it lets a burst through and refills in the meantime, so that one
//! period may contain up to twice the number, and the other side answers 429. So every call keeps its place until a
//! whole period after its *end*. The other side counts a call somewhere between its beginning and its end, and so
//! never counts more than was configured, however long a call takes. The price is that a place becomes free later, by
//! the duration of a call, and that after a burst no call may start for almost a period.
//!
//! [`Pace`] spreads calls evenly and allows a burst after a pause. It suits a service whose own limit is unknown and
//! whose callers wait: once the earlier calls have started, a call never waits longer than the period divided by the
//! number of calls.
//!
//! Both count per process, and both start again with a start or a reload of the configuration.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// At most a number of calls in any period.
#[derive(Debug)]
pub struct Rate {
    requests: usize,
    per: Duration,
    running: usize,
    /// When places become free, earliest first; never more than `requests`.
    taken_until: VecDeque<Instant>,
}

impl Rate {
    /// All places are free.
    pub fn new(requests: NonZeroU32, per: Duration) -> Self {
        Self {
            requests: usize::try_from(requests.get()).unwrap_or(usize::MAX),
            per,
            running: 0,
            taken_until: VecDeque::new(),
        }
    }

    /// How many calls may start now; and, if none may, when to ask again (`None`: when a call has ended).
    pub fn allowed(&mut self, now: Instant) -> (usize, Option<Instant>) {
        while self.taken_until.front().is_some_and(|until| *until <= now) {
            self.taken_until.pop_front();
        }
        match self.requests.saturating_sub(self.running + self.taken_until.len()) {
            0 => (0, self.taken_until.front().copied()),
            free => (free, None),
        }
    }

    /// Notes that a call starts.
    pub fn start(&mut self) {
        self.running += 1;
    }

    /// Notes that a call has ended, successful or not.
    pub fn end(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        self.taken_until.push_back(now + self.per);
    }
}

/// Calls at even distances, with a burst after a pause (the generic cell rate algorithm).
#[derive(Debug)]
pub struct Pace {
    /// The distance between two calls.
    distance: Duration,
    /// How far calls may run ahead of that distance.
    ahead: Duration,
    /// When the next call would start if all calls kept the distance; `None` before the first call.
    even: Mutex<Option<Instant>>,
}

impl Pace {
    /// `calls` in every `per` on average, and as many at once after a pause; `None` if that leaves no time between two
    /// calls, so that nothing would be limited.
    pub fn new(calls: NonZeroU32, per: Duration) -> Option<Self> {
        let distance = per / calls.get();
        if distance.is_zero() {
            return None;
        }
        Some(Self { distance, ahead: distance.saturating_mul(calls.get() - 1), even: Mutex::new(None) })
    }

    /// Takes a turn if one is free.
    ///
    /// # Errors
    /// When to ask again. Another caller may have taken the turn by then.
    pub fn take(&self, now: Instant) -> Result<(), Instant> {
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        let next = even.map_or(now, |even| even.max(now));
        if next.duration_since(now) > self.ahead {
            return Err(next.checked_sub(self.ahead).unwrap_or(now));
        }
        *even = Some(next + self.distance);
        Ok(())
    }

    /// Waits for a turn and takes it. Dropping the future takes none.
    pub async fn turn(&self) {
        while let Err(until) = self.take(Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PER: Duration = Duration::from_secs(10);

    fn rate(requests: u32) -> Rate {
        Rate::new(NonZeroU32::new(requests).unwrap(), PER)
    }

    #[test]
    fn a_place_comes_back_a_period_after_the_end() {
        let (mut rate, begin) = (rate(2), Instant::now());
        let after = |secs| begin + Duration::from_secs(secs);
        assert_eq!(rate.allowed(begin), (2, None));
        rate.start();
        rate.start();
        assert_eq!(rate.allowed(after(100)), (0, None), "both run, and when they end is not known");
        rate.end(after(3));
        rate.end(after(5));
        assert_eq!(rate.allowed(after(12)), (0, Some(after(13))));
        assert_eq!(rate.allowed(after(13)), (1, None));
        rate.start();
        assert_eq!(rate.allowed(after(14)), (0, Some(after(15))));
        assert_eq!(rate.allowed(after(15)), (1, None));
    }

    #[test]
    fn a_pace_allows_a_burst_and_then_even_distances() {
        let (pace, begin) = (Pace::new(NonZeroU32::new(5).unwrap(), PER).unwrap(), Instant::now());
        let after = |secs| begin + Duration::from_secs(secs);
        for _ in 0..5 {
            assert_eq!(pace.take(begin), Ok(()));
        }
        assert_eq!(pace.take(begin), Err(after(2)));
        assert_eq!(pace.take(after(1)), Err(after(2)), "what was refused took no turn");
        assert_eq!((pace.take(after(2)), pace.take(after(2))), (Ok(()), Err(after(4))));
        // After a long pause there is one burst, not more.
        for _ in 0..5 {
            assert_eq!(pace.take(after(100)), Ok(()));
        }
        assert_eq!(pace.take(after(100)), Err(after(102)));
        assert!(Pace::new(NonZeroU32::new(2).unwrap(), Duration::from_nanos(1)).is_none(), "no time in between");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_waited_for() {
        let (pace, begin) = (Pace::new(NonZeroU32::new(2).unwrap(), PER).unwrap(), Instant::now());
        for secs in [0, 0, 5, 10] {
            pace.turn().await;
            // The timer of the runtime has a resolution of a millisecond.
            let late = begin.elapsed().abs_diff(Duration::from_secs(secs));
            assert!(late <= Duration::from_millis(2), "{late:?} beside {secs} s");
        }
    }

    proptest! {
        /// However calls are spread, no time holds more of them than the average and one burst.
        #[test]
        fn a_pace_keeps_the_average(calls in 1u32..5, waits in prop::collection::vec(0u64..4000, 1..60)) {
            let (pace, begin) = (Pace::new(NonZeroU32::new(calls).unwrap(), PER).unwrap(), Instant::now());
            let (mut now, mut taken) = (begin, Vec::new());
            for wait in waits {
                now += Duration::from_millis(wait);
                if pace.take(now).is_ok() {
                    taken.push(now);
                }
            }
            let distance = PER / calls;
            for (first, at) in taken.iter().enumerate() {
                for (more, other) in (0u32..).zip(&taken[first..]) {
                    prop_assert!(*other - *at >= distance.saturating_mul(more.saturating_sub(calls - 1)));
                }
            }
        }

        /// However calls are started and however long they take, no period holds more arrivals than allowed.
        #[test]
        fn no_period_holds_more(
            requests in 1u32..5, steps in prop::collection::vec((0u64..4000, 0u64..3000, 0.0f64..=1.0), 1..60),
        ) {
            let (mut rate, begin) = (rate(requests), Instant::now());
            let (mut now, mut ends, mut arrivals) = (begin, Vec::<Instant>::new(), Vec::new());
            for (wait, takes, arrives) in steps {
                now += Duration::from_millis(wait);
                ends.sort();
                while ends.first().is_some_and(|end| *end <= now) {
                    rate.end(ends.remove(0));
                }
                if rate.allowed(now).0 > 0 {
                    rate.start();
                    let takes = Duration::from_millis(takes);
                    ends.push(now + takes);
                    arrivals.push(now + takes.mul_f64(arrives));
                }
            }
            arrivals.sort();
            for window in arrivals.windows(requests as usize + 1) {
                prop_assert!(window[requests as usize] - window[0] >= PER);
            }
        }
    }
}
