//! When a payment was paid, as precisely as Finkare reports it: an instant, or only a day.
//!
//! A bare date (`2026-03-15`) is the day of the booking as it was written down. It has no time zone, and none is
//! assumed: read as a midnight, it would be another day in another zone.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Serialize, Serializer};

/// Written as it was read: a time in UTC (RFC 3339), or a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaidAt {
    /// At this instant.
    At(Timestamp),
    /// On this day.
    On(Date),
}

/// A text that is neither a time nor a date.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it is neither a time with its offset from UTC nor a date such as 2026-03-15")]
pub struct NoTime;

impl PaidAt {
    /// The day of the booking: that of the instant in this zone, or the day itself.
    pub fn date(self, zone: &TimeZone) -> Date {
        match self {
            Self::At(at) => at.to_zoned(zone.clone()).date(),
            Self::On(date) => date,
        }
    }

    /// The distance between two of them, which is never negative. Days are those of UTC: an instant within a day has no
    /// distance from it, any other instant is as far away as the nearer end of the day. Two days are a multiple of 24 hours
    /// apart.
    pub fn distance(self, other: Self) -> SignedDuration {
        match (self, other) {
            (Self::At(one), Self::At(two)) => one.duration_since(two).abs(),
            (Self::On(one), Self::On(two)) => one.duration_since(two).abs(),
            (Self::At(at), Self::On(date)) | (Self::On(date), Self::At(at)) => {
                let utc = at.to_zoned(TimeZone::UTC).datetime();
                let begin = date.at(0, 0, 0, 0);
                if utc < begin {
                    begin.duration_since(utc)
                } else {
                    // The next day begins where this one ends.
                    (utc.duration_since(begin) - SignedDuration::from_hours(24)).max(SignedDuration::ZERO)
                }
            }
        }
    }
}

impl fmt::Display for PaidAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => at.fmt(f),
            Self::On(date) => date.fmt(f),
        }
    }
}

impl FromStr for PaidAt {
    type Err = NoTime;
    fn from_str(text: &str) -> Result<Self, NoTime> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        // The library would also accept a time without an offset as a date, which it is not.
        let is_date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        text.parse().ok().filter(|_| is_date).map(Self::On).ok_or(NoTime)
    }
}

impl Serialize for PaidAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PaidAt {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_is_that_day_in_every_zone_and_an_instant_is_not() {
        for zone in ["Europe/Paris", "America/Martinique", "Pacific/Auckland", "UTC"] {
            let zone = TimeZone::get(zone).unwrap();
            assert_eq!(read("2026-03-15").date(&zone).to_string(), "2026-03-15");
        }
        let late = read("2026-03-15T23:30:00Z");
        assert_eq!(late.date(&TimeZone::get("Europe/Paris").unwrap()).to_string(), "2026-03-16");
        assert_eq!(late.date(&TimeZone::UTC).to_string(), "2026-03-15");
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        for text in ["2026-03-15", "2026-03-15T10:29:58Z"] {
            assert_eq!(read(text).to_string(), text);
            assert_eq!(serde_json::to_value(read(text)).unwrap(), text);
        }
        assert_eq!(read("2026-03-15T11:29:58+01:00"), read("2026-03-15T10:29:58Z"));
        for odd in ["", "yesterday", "2026-02-30", "2026-03-15T10:29:58", "2026-03-15 10:29", "20260315", "15/03/2026"]
        {
            assert_eq!(odd.parse::<PaidAt>(), Err(NoTime), "{odd}");
        }
    }

    #[test]
    fn the_distance_is_the_same_from_both_sides() {
        let hours = SignedDuration::from_hours;
        for (one, other, expected) in [
            ("2026-03-15T10:00:00Z", "2026-03-15T12:00:00Z", hours(2)),
            ("2026-03-15", "2026-03-15", hours(0)),
            ("2026-03-15", "2026-03-16", hours(24)),
            ("2026-03-15", "2026-03-15T00:00:00Z", hours(0)),
            ("2026-03-15", "2026-03-15T23:59:59Z", hours(0)),
            ("2026-03-15", "2026-03-16T02:00:00Z", hours(2)),
            ("2026-03-15", "2026-03-14T22:00:00Z", hours(2)),
            ("2026-03-15", "2026-03-23T00:00:00Z", hours(7 * 24)),
            ("-009999-01-03T00:00:00Z", "9999-12-30T00:00:00Z", hours(175_307_520)),
        ] {
            let (one, other) = (read(one), read(other));
            assert_eq!((one.distance(other), other.distance(one)), (expected, expected), "{one} {other}");
        }
    }
}
