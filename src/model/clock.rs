//! Time as the stores keep it: microseconds since 1970 in UTC, the same on both databases.

use std::time::Duration;

use jiff::Timestamp;

/// The system's clock.
///
/// Nothing else reads it; code that is tested with other times takes a [`Timestamp`] as argument.
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

/// A time from outside in the form in which a store keeps it, in whole microseconds; `None` if it could not be read
/// back.
///
/// Times before the year 1 and after the year 9999 are refused, because RFC 3339 cannot express them and no client
/// could read them. The last second of jiff's calendar is refused too, because jiff cannot read a fraction of it.
pub fn storable(time: Timestamp) -> Option<Timestamp> {
    let micros = to_micros(time);
    if (FIRST_MICROS..=LAST_MICROS).contains(&micros) { from_micros(micros) } else { None }
}

/// A stored time; or the nearest one that [`storable`] accepts.
pub fn nearest(micros: i64) -> Timestamp {
    from_micros(micros.clamp(FIRST_MICROS, LAST_MICROS)).expect("these are times of the calendar")
}

/// 0001-01-01T00:00:00Z, in microseconds since 1970.
const FIRST_MICROS: i64 = -62_135_596_800_000_000;
/// 9999-12-30T21:59:59.999999Z, the last time before jiff's last second.
const LAST_MICROS: i64 = 253_402_207_199_999_999;

/// The longest duration that is stored, in microseconds: a thousand years. Added to any stored time, it still gives a time.
const LONGEST_MICROS: i64 = 1000 * 366 * 86_400 * 1_000_000;

/// A duration as stored: whole microseconds, cut at a thousand years.
pub fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(LONGEST_MICROS).min(LONGEST_MICROS)
}

/// Whole milliseconds, for log fields, in a type that JSON can express as a number, which `u128` is not.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with microsecond precision, for log fields and answers, as the shortest decimal: `0.231`, not
/// `0.23083700000000001`.
#[expect(clippy::cast_precision_loss, reason = "exact up to 285 years")]
pub fn fractional_millis(duration: Duration) -> f64 {
    let micros = (duration.as_nanos() + 500) / 1000;
    // Dividing gives the double that is nearest to the decimal, which is then written as that decimal. Multiplying by a
    // fraction would not.
    micros as f64 / 1e3
}

/// The time from `earlier` to `later`; zero if `later` is not later.
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}
