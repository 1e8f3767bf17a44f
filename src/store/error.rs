//! Why a store's method failed, and whether the same call may work later.

use std::{
    fmt,
    io::ErrorKind::{ConnectionRefused, NotFound, TimedOut},
};

/// SQLSTATE classes, and two codes, by which Postgres reports its own condition and not a fault of the statement,
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
///
/// Not among them: class 54 (a text that is too long for an index is a fault of the text), P0 (an error from a
/// trigger that the operator added), and class 42 except for the missing right (a statement that does not fit the
/// schema never works).
const TRANSIENT: [&str; 14] = [
    "08",    // the connection
    "25",    // the transaction's state: a server or database that only reads, one that ended an idle transaction
    "26",    // a prepared statement that the session does not have: a pooler handed us another session
    "28",    // authorisation: a password that is being changed
    "3D",    // a database that is not there now: it is being restored or renamed
    "40",    // rolled back: serialisation failure, deadlock
    "42501", // a right that was revoked, and can be granted again
    "53",    // out of resources
    "55",    // not in the required state: a lock that was not granted in time
    "57",    // operator intervention: shutdown, cancelled
    "58",    // system error: input and output
    "72",    // a snapshot that is too old
    "F0",    // the server's configuration files
    "XX",    // internal errors, a corrupted page or index: the statement is not the reason
];

/// What a store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or does not answer: the same call may work later.
    #[error("could not {action}: the database failed")]
    Unavailable {
        /// What was tried, as it follows "could not" ("store 3 deliveries").
        action: String,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// There is no connection to the database: the same call may work later.
    #[error("could not {action}: there is no connection to the database")]
    NoConnection {
        /// What was tried.
        action: String,
        /// Which server refuses the connection, and what to do.
        #[source]
        source: NoConnection,
    },
    /// The database refused the statement: the same call will not work later either.
    #[error("could not {action}: the database refused a statement")]
    Refused {
        /// What was tried.
        action: String,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds a value that this version cannot read.
    #[error("table {table}, column {column}, row {row}: {problem}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        row: String,
        /// What is wrong with the value.
        problem: String,
    },
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date")]
    Migration(#[source] Box<sqlx::migrate::MigrateError>),
    /// The store cannot do this as it is configured or as its rows are; the text says what to change.
    #[error("{0}")]
    Open(String),
}

impl StoreError {
    /// Sorts a driver's error into [`StoreError::Unavailable`] and [`StoreError::Refused`].
    ///
    /// An error is a refusal when its cause is the statement or a value in it, so that the next statement may pass. It is
    /// unavailability when its cause is the server, and a later try may succeed: connections, time-outs, and the SQLSTATE
    /// classes and codes of `TRANSIENT`; for SQLite busy, locked, out of memory, read-only, I/O error, full and cannot
    /// open, <https://www.sqlite.org/rescode.html>.
    pub fn from_sqlx(action: impl Into<String>, source: sqlx::Error) -> Self {
        let action = action.into();
        let transient = match &source {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                Some(postgres) => is_transient(postgres.code()),
                // SQLite's extended codes keep the primary code in the low byte.
                None => error
                    .code()
                    .and_then(|code| code.parse::<u32>().ok())
                    .is_some_and(|code| [5, 6, 7, 8, 10, 13, 14].contains(&(code & 0xff))),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        if transient { Self::Unavailable { action, source } } else { Self::Refused { action, source } }
    }

    /// True when the same call may work later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::NoConnection { .. })
    }
}

/// True for a SQLSTATE of [`TRANSIENT`].
fn is_transient(code: &str) -> bool {
    TRANSIENT.iter().any(|class| code.starts_with(class))
}

/// Why no connection to the database could be made: which server, which database, and what to do. Never holds the
/// password.
#[derive(Debug)]
pub struct NoConnection {
    problem: String,
    source: sqlx::Error,
}

impl NoConnection {
    /// Of a problem in a person's words, and the driver's error behind it.
    pub(super) fn new(problem: String, source: sqlx::Error) -> Self {
        Self { problem, source }
    }
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for NoConnection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            // The problem says this already.
            sqlx::Error::Io(error) if matches!(error.kind(), ConnectionRefused | NotFound | TimedOut) => None,
            sqlx::Error::PoolTimedOut => None,
            // The driver's own text repeats its cause.
            source => source.source().or(Some(source)),
        }
    }
}

/// Why a piece of work on a database failed, before it is known what the work was for.
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver's error, to which the action is added later.
    Driver(sqlx::Error),
    /// No answer came in time.
    Silent,
    /// There was no connection to do the work on.
    NoConnection(NoConnection),
    /// An error that names its action already.
    Told(StoreError),
}

impl Failure {
    /// The error of a method that could not do this ("store 3 deliveries").
    pub(super) fn during(self, action: impl Into<String>) -> StoreError {
        match self {
            Self::Driver(error) => StoreError::from_sqlx(action, error),
            Self::Silent => StoreError::from_sqlx(action, sqlx::Error::Io(TimedOut.into())),
            Self::NoConnection(source) => StoreError::NoConnection { action: action.into(), source },
            Self::Told(error) => error,
        }
    }
}

impl From<NoConnection> for Failure {
    fn from(error: NoConnection) -> Self {
        Self::NoConnection(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_server_is_no_fault_of_the_statement() {
        for code in ["57P01", "57P05", "08006", "25006", "25P03", "26000"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["22021", "23505", "42P01", "42601", "54000", "P0001"] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
