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

/// A time from outside as a store keeps it, in whole microseconds; `None` if it would not be given back.
///
/// Beside what cannot be read back (jiff reads no fraction of its calendar's last second) these are
/// the years that RFC 3339 cannot write and a client cannot read: before 1 and after 9999.
pub fn storable(time: Timestamp) -> Option<Timestamp> {
    let micros = to_micros(time);
    if (FIRST_MICROS..=LAST_MICROS).contains(&micros) { from_micros(micros) } else { None }
}

/// A stored time; where it is none that [`storable`] takes, the nearest one that is.
pub fn nearest(micros: i64) -> Timestamp {
    from_micros(micros.clamp(FIRST_MICROS, LAST_MICROS)).expect("these are times of the calendar")
}

/// 0001-01-01T00:00:00Z, in microseconds since 1970.
const FIRST_MICROS: i64 = -62_135_596_800_000_000;
/// 9999-12-30T21:59:59.999999Z, the last time before jiff's last second.
const LAST_MICROS: i64 = 253_402_207_199_999_999;

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

/// Milliseconds to the microsecond, for log fields and answers: a decimal such as `0.231` that no binary fraction stands
/// behind, as in `0.23083700000000001`.
#[expect(clippy::cast_precision_loss, reason = "exact up to 285 years")]
pub fn fractional_millis(duration: Duration) -> f64 {
    let micros = (duration.as_nanos() + 500) / 1000;
    // Divided, never multiplied: a quotient is the double that is nearest to the decimal, and is written as that.
    micros as f64 / 1e3
}

/// How much later `later` is; zero when it is not later at all.
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}
