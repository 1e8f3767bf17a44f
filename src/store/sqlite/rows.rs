//! The conversion of stored values into the model, and of values into what a statement reads.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    model::{clock, dispatch::Trigger},
    store::StoreError,
};

/// Numbers as a JSON array, for `json_each`.
pub(super) fn json_array(numbers: impl IntoIterator<Item = i64>) -> String {
    serde_json::to_string(&numbers.into_iter().collect::<Vec<_>>()).expect("numbers can be written as JSON")
}

/// UUIDs as [`json_each`](https://www.sqlite.org/json1.html#jeach) and `unhex` read them.
pub(super) fn json_ids(ids: impl IntoIterator<Item = Uuid>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.simple().to_string()).collect();
    serde_json::to_string(&ids).expect("texts can be written as JSON")
}

/// Adds the action to the driver's error.
pub(super) trait During<T> {
    /// Turns the driver's error into a [`StoreError`]; the phrase ("store 3 deliveries") is only built then.
    fn during(self, action: impl fmt::Display) -> Result<T, StoreError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, action: impl fmt::Display) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::from_sqlx(action.to_string(), source))
    }
}

/// The given time, or the process's clock: on SQLite that is the store's clock.
pub(super) fn micros_or_now(now: Option<Timestamp>) -> i64 {
    clock::to_micros(now.unwrap_or_else(clock::now))
}

/// The time from one stored time to another; zero if the second one is earlier.
pub(super) fn between(earlier: i64, later: i64) -> Duration {
    Duration::from_micros(u64::try_from(later.saturating_sub(earlier)).unwrap_or(0))
}

/// The place of a stored value, for the error if it cannot be read.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a dyn fmt::Display,
}

impl Place<'_> {
    /// The error for a value in this column that cannot be read.
    pub(super) fn unreadable(self, column: &'static str, problem: impl fmt::Display) -> StoreError {
        StoreError::Unreadable { table: self.table, column, row: self.row.to_string(), problem: problem.to_string() }
    }

    /// A stored trigger.
    pub(super) fn trigger(self, text: &str) -> Result<Trigger, StoreError> {
        text.parse().map_err(|error| self.unreadable("trigger", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tx::later;

    #[test]
    fn times_stay_readable_however_long_the_wait() {
        let end = later(clock::to_micros(clock::now()), Duration::MAX);
        assert!(clock::from_micros(end).is_some_and(|time| time > clock::now()));
        assert_eq!(between(5, 3), Duration::ZERO);
        assert_eq!(between(3, 5), Duration::from_micros(2));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let place = Place { table: "dispatches", row: &7 };
        let error = place.trigger("done").unwrap_err().to_string();
        assert!(error.contains("table dispatches, column trigger, row 7"), "{error}");
    }
}
