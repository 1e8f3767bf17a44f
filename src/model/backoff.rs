//! The wait before the next attempt: exponential, capped, with full jitter.
//!
//! Full jitter (a random part of the whole interval) spreads the retries of many dispatches best:
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.

use std::time::Duration;

/// The shortest wait, whatever the random part is.
pub const LEAST: Duration = Duration::from_millis(50);

/// The wait after the given attempt (counted from 1): `random` (in `0.0..1.0`) times
/// `initial · 2^(attempt-1)`, at most `max`, at least [`LEAST`] (or `max`, should that be shorter).
pub fn next_wait(initial: Duration, max: Duration, attempt: u32, random: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    let cap = initial.saturating_mul(1 << doublings).min(max);
    cap.mul_f64(random.clamp(0.0, 1.0)).max(LEAST).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_in_its_bounds(
            initial in 1u64..100_000, more in 0u64..100_000_000, attempt in 0u32..=u32::MAX, random in 0.0f64..1.0,
        ) {
            let (initial, max) = (Duration::from_millis(initial), Duration::from_millis(initial + more));
            let wait = next_wait(initial, max, attempt, random);
            prop_assert!(wait <= max);
            prop_assert!(wait >= LEAST.min(max));
        }
    }

    #[test]
    fn doubles_until_the_cap() {
        let wait = |attempt| next_wait(Duration::from_secs(5), Duration::from_mins(1), attempt, 1.0).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6, 1000].map(wait), [5, 10, 20, 40, 60, 60, 60]);
    }
}
