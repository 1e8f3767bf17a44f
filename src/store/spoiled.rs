//! Rows with a value that cannot be read.
//!
//! A time outside of the calendar, left by an earlier version, another program or a manual change in the database,
//! must not hide the rows beside it: lists, searches and replays continue. Such a row is shown with the values that
//! can be read; an unreadable value is empty, or the nearest possible time, and `fault` says so.

use std::{
    fmt::{Display, Write as _},
    str::FromStr,
};

use jiff::Timestamp;

use crate::model::clock;

/// Reads one row, and notes the values that cannot be read.
#[derive(Debug, Default)]
pub(super) struct Reader(Option<String>);

impl Reader {
    fn note(&mut self, column: &str, problem: std::fmt::Arguments<'_>) {
        let faults = self.0.get_or_insert_default();
        let separator = if faults.is_empty() { "" } else { "; " };
        write!(faults, "{separator}{column} {problem}").expect("writing to a string succeeds");
    }

    /// A time that every row has.
    pub(super) fn time(&mut self, column: &str, micros: i64) -> Timestamp {
        self.optional_time(column, Some(micros)).unwrap_or_else(|| clock::nearest(micros))
    }

    /// A time that a row may have; `None` also if it cannot be read.
    pub(super) fn optional_time(&mut self, column: &str, micros: Option<i64>) -> Option<Timestamp> {
        let micros = micros?;
        let time = clock::from_micros(micros).and_then(clock::storable);
        if time.is_none() {
            self.note(column, format_args!("cannot be read: {micros} µs since 1970 is no time of the years 1 to 9999"));
        }
        time
    }

    /// A count.
    pub(super) fn count(&mut self, column: &str, value: i64) -> u32 {
        u32::try_from(value).unwrap_or_else(|_| {
            self.note(column, format_args!("cannot be read: {value} is no count of this kind"));
            if value < 0 { 0 } else { u32::MAX }
        })
    }

    /// A word of a closed set. An unknown word is replaced by `instead`.
    pub(super) fn word<T: FromStr<Err: Display>>(&mut self, column: &str, word: &str, instead: T) -> T {
        word.parse().unwrap_or_else(|error| {
            self.note(column, format_args!("cannot be read: {error}"));
            instead
        })
    }

    /// The values that could not be read; `None` if all could.
    pub(super) fn fault(self) -> Option<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dispatch::State;

    #[test]
    fn what_cannot_be_read_is_named_and_the_nearest_time_is_shown() {
        let mut reader = Reader::default();
        assert_eq!(reader.time("received_at", 0), Timestamp::UNIX_EPOCH);
        assert_eq!((reader.optional_time("occurred_at", None), reader.count("deliveries", 3)), (None, 3));
        assert_eq!(reader.fault(), None);

        let mut reader = Reader::default();
        assert_eq!(reader.optional_time("occurred_at", Some(253_402_207_200_500_000)), None);
        assert_eq!(reader.time("received_at", i64::MAX), "9999-12-30T21:59:59.999999Z".parse().unwrap());
        assert_eq!(reader.time("created_at", i64::MIN), "0001-01-01T00:00:00Z".parse().unwrap());
        assert_eq!((reader.count("deliveries", -1), reader.count("attempts", i64::MAX)), (0, u32::MAX));
        assert_eq!(reader.word("state", "done", State::Held), State::Held);
        let fault = reader.fault().unwrap();
        assert!(fault.starts_with("occurred_at cannot be read: 253402207200500000 µs"), "{fault}");
        assert_eq!(fault.matches("cannot be read").count(), 6, "{fault}");
    }
}
