//! Statements over many rows, and the conversion of stored values into the model.
//!
//! sqlx passes every statement to the connection's own thread and waits for its answer, which costs more than a small
//! statement itself. So batches are written in few statements with many rows each: [`Chunked`].

use std::{fmt, time::Duration};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    model::{clock, dispatch::Trigger},
    store::StoreError,
};

/// The sizes of chunks: 2^0 to 2^8 rows. The largest holds one batch of outcomes; with 12 columns that is far below
/// SQLite's limit of 32,766 parameters, <https://www.sqlite.org/limits.html#max_variable_number>.
const SIZES: usize = 9;

/// One statement over rows of parameters, in the sizes 1, 2, 4 … 256.
///
/// A chunk fills more than half of its statement. The parameters of the remaining rows stay unbound, which is NULL
/// (<https://www.sqlite.org/lang_expr.html#varparam>, and sqlx clears them between two runs). So up to 256 rows are
/// one statement, and each statement has to skip rows that are all NULL: a join does so by itself, an insert needs a
/// condition. Parameters outside of the rows come before the rows.
///
/// There are few sizes, so that each stays prepared in the connection's cache. They are kept in statics, because sqlx
/// takes only `&'static str` for SQL without a further check, and these are made of literals alone.
#[derive(Debug)]
pub(super) struct Chunked([String; SIZES]);

impl Chunked {
    /// A statement: `head` ends with `VALUES`, and `row` is one row, like `(?, ?)`.
    pub(super) fn new(head: &str, row: &str, tail: &str) -> Self {
        Self(std::array::from_fn(|power| format!("{head} {} {tail}", vec![row; 1 << power].join(", "))))
    }

    /// Cuts the items into chunks, as few as possible, each with the smallest statement that holds it.
    pub(super) fn chunks<'s, 'i, T>(&'s self, items: &'i [T]) -> impl Iterator<Item = (&'s str, &'i [T])> {
        items.chunks(1 << (SIZES - 1)).map(|chunk| {
            let power = chunk.len().next_power_of_two().trailing_zeros() as usize;
            (self.0[power].as_str(), chunk)
        })
    }

    /// The statement for the largest chunk, for tests that look at its plan.
    #[cfg(test)]
    pub(super) fn largest(&self) -> &str {
        &self.0[SIZES - 1]
    }
}

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
    fn chunks_are_few_and_lose_nothing() {
        let statement = Chunked::new("VALUES", "(?, ?)", "RETURNING 1");
        for length in [0, 1, 2, 3, 127, 128, 129, 256, 257, 700] {
            let items: Vec<usize> = (0..length).collect();
            let mut seen = Vec::new();
            let mut statements = 0;
            for (sql, chunk) in statement.chunks(&items) {
                let rows = sql.matches("(?, ?)").count();
                assert!(rows.is_power_of_two() && rows <= 256);
                assert!(chunk.len() <= rows && chunk.len() > rows / 2);
                seen.extend_from_slice(chunk);
                statements += 1;
            }
            assert_eq!(seen, items);
            assert_eq!(statements, length.div_ceil(256));
        }
    }

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
