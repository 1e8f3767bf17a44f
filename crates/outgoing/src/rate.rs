//! At most so many attempts in a time, whichever way the time is laid over them.
//!
//! A bucket that refills would let a burst through and refill meanwhile: up to twice the number in
//! one period, and the target's own count says 429. So every attempt keeps its place until a whole
//! period after its *end*. The target counts it somewhere between its beginning and its end, so that
//! it never counts more than was configured, however long the way to it takes. The price is that a
//! place comes back later by the time of an attempt.
//!
//! State is per process and begins anew with a start or a reload of the configuration.

use std::{collections::VecDeque, num::NonZeroU32, time::Duration};

use tokio::time::Instant;

/// The places of one sink.
#[derive(Debug)]
pub struct Rate {
    requests: usize,
    per: Duration,
    running: usize,
    /// When places come back, earliest first; never more than `requests`.
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

    /// How many attempts may start now; and, if none may, when to ask again (`None`: when an attempt
    /// has ended).
    pub fn allowed(&mut self, now: Instant) -> (usize, Option<Instant>) {
        while self.taken_until.front().is_some_and(|until| *until <= now) {
            self.taken_until.pop_front();
        }
        match self.requests.saturating_sub(self.running + self.taken_until.len()) {
            0 => (0, self.taken_until.front().copied()),
            free => (free, None),
        }
    }

    /// An attempt starts.
    pub fn start(&mut self) {
        self.running += 1;
    }

    /// An attempt has ended, in whatever way.
    pub fn end(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        self.taken_until.push_back(now + self.per);
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
        assert_eq!(rate.allowed(after(100)), (0, None), "both run: nobody knows when they end");
        rate.end(after(3));
        rate.end(after(5));
        assert_eq!(rate.allowed(after(12)), (0, Some(after(13))));
        assert_eq!(rate.allowed(after(13)), (1, None));
        rate.start();
        assert_eq!(rate.allowed(after(14)), (0, Some(after(15))));
        assert_eq!(rate.allowed(after(15)), (1, None));
    }

    proptest! {
        /// However attempts are started and however long they take, no period holds more arrivals than allowed.
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
