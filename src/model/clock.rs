//! Time as the stores keep it: microseconds since 1970 in UTC, the same on both databases.

use std::time::Duration;

use jiff::Timestamp;

/// The system's clock.
///
/// The only place that reads it; whoever needs a testable time takes a [`Timestamp`] as argument.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A time as stored: microseconds since 1970-01-01T00:00:00Z.
pub fn to_micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A stored time; `None` when the number lies outside of the years -9999 to 9999.
pub fn from_micros(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok()
}

/// The longest duration that is stored, in microseconds: a thousand years. Added to any time of
/// ours, the sum is still a time.
const LONGEST_MICROS: i64 = 1000 * 366 * 86_400 * 1_000_000;

/// A duration as stored: whole microseconds, cut at a thousand years.
pub fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(LONGEST_MICROS).min(LONGEST_MICROS)
}

/// Whole milliseconds, for log fields: a number that is a number in JSON, which `u128` is not.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How much later `later` is; zero when it is not later at all.
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}
