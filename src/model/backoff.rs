//! The wait before the next attempt: exponential, capped, with full jitter; or what the other side asks for.
//!
//! Full jitter (a random part of the whole interval) spreads the retries of many dispatches best:
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.

use std::time::{Duration, SystemTime};

/// Never retry faster than this, however the dice fall.
pub const LEAST: Duration = Duration::from_millis(50);

/// The wait after the given attempt (counted from 1): `random` (in `0.0..1.0`) times
/// `initial · 2^(attempt-1)`, at most `max`, at least [`LEAST`] (or `max`, should that be shorter).
pub fn next_wait(initial: Duration, max: Duration, attempt: u32, random: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    let cap = initial.saturating_mul(1 << doublings).min(max);
    cap.mul_f64(random.clamp(0.0, 1.0)).max(LEAST).min(max)
}

/// The longest wait that another service can ask for; one that means more means "never", and is asked again.
const LONGEST_ASKED_FOR: Duration = Duration::from_hours(24);

/// The wait that a `Retry-After` header asks for: seconds or an HTTP date (RFC 9110, section 10.2.3), at most a day.
///
/// A date in the past is no wait. What is neither is passed over.
pub fn asked_for(header: &str, now: SystemTime) -> Option<Duration> {
    let text = header.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are still a number of seconds.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_ASKED_FOR))
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
