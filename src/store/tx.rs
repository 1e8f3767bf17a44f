//! One transaction on either database, for what both do with the same SQL.
//!
//! The rare methods (the link, the ledger, activity, breakers) look rows up by key, decide in Rust and write a few rows.
//! Their SQL is the same on both databases, so it is written once, over [`Tx`]. sqlx binds `$1` on SQLite as well. Where
//! one word differs, the text says both: see [`sql!`]. What the databases really do differently (recording, claiming,
//! finishing, lists, retention) is written for each of them, in [`super::postgres`] and [`super::sqlite`].
//!
//! A method calls [`Transact::transact`] with a piece of work, which may run several times: Postgres repeats what lost
//! against another transaction, and what met a dead connection where that does no harm. The work ends with
//! [`Tx::commit`]; a [`Tx`] that is dropped has changed nothing.
//!
//! # How to add a method
//!
//! Declare it in its trait with what it promises; write it once in the file of its SQL; add a case to the contract suite,
//! which runs it on both databases.

use std::{borrow::Cow, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{FromRow, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    error::{Failure, StoreError},
    wake::Wakeups,
};
use crate::model::{
    clock,
    id::{EventId, SinkName},
};

/// What a transaction wants to do, and which locks it holds until its commit.
///
/// The two locks are Postgres's: they order what several replicas decide. On SQLite there is one writer at a time, so
/// whatever writes has the whole database to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads, each statement by itself. Never waits for a writer.
    Read,
    /// The same for what a person looks at: on connections of which the service always keeps enough for itself.
    Look,
    /// Reads that all see the same state.
    Snapshot,
    /// Writes, durably.
    Write,
    /// Writes about the link to Finkare or into the audit trail, alone among all replicas. So the order of the numbers
    /// is that of the commits, and a list that was read to its end misses nothing.
    Link,
    /// Writes in the ledger, alone among all replicas, with the same order of the numbers.
    Ledger,
    /// Stores the relay's own events, alone among all replicas.
    Notices,
    /// Both of the link's and the ledger's. Bookings do not wait for the link, so the link's lock is taken first.
    LedgerAndLink,
}

/// Whether work that met a dead connection half-way may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Reads, and writes that have the same effect when they are repeated.
    Harmless,
    /// The commit may have happened, and a second one would do more. The caller has to find out.
    Unsafe,
}

/// A store that runs such transactions.
pub(super) trait Transact: Send + Sync {
    /// Runs one piece of work in a transaction of its own. `action` follows "could not" in an error ("list
    /// bookings").
    fn transact<'s, T, F>(
        &'s self,
        action: impl Into<String> + Send,
        again: Again,
        access: Access,
        work: impl Fn(Tx<'s>) -> F + Send + Sync,
    ) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send;

    /// Reads the rows of one statement.
    fn read<R: Row>(
        &self,
        action: impl Into<String> + Send,
        access: Access,
        sql: impl Into<Sql>,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Vec<R>, StoreError>> + Send {
        let sql = sql.into();
        async move {
            self.transact(action, Again::Harmless, access, async |mut tx| {
                let rows = tx.rows(sql.clone(), values).await?;
                tx.commit(rows).await
            })
            .await
        }
    }
}

/// What a database does in such a transaction.
#[async_trait]
pub(super) trait Connection: Send {
    /// The time by the store's clock, in microseconds.
    async fn now(&mut self) -> Result<i64, Failure>;

    /// Runs a statement; answers how many rows it changed.
    async fn execute(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<u64, Failure>;

    /// Runs a statement; answers its rows.
    async fn fetch(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<Rows, Failure>;

    /// A text as this database keeps it.
    fn storable<'t>(&self, text: &'t str) -> Cow<'t, str>;

    /// Commits, and passes the news on: to other replicas within the transaction, to this process after the commit.
    async fn commit(self: Box<Self>, news: News) -> Result<(), Failure>;
}

/// The changes that others have to hear of once the transaction is committed.
#[derive(Debug, Default)]
pub(super) struct News {
    /// A secret or an intent changed.
    pub link: bool,
    /// These sinks may have work, or may be tried again.
    pub sinks: Vec<SinkName>,
}

impl News {
    /// Tells this process.
    pub(super) fn tell(&self, wakeups: &Wakeups) {
        if self.link {
            wakeups.link_changed();
        }
        wakeups.wake(&self.sinks);
    }
}

/// A transaction under way; see the [module](self).
pub(super) struct Tx<'s> {
    connection: Box<dyn Connection + 's>,
    now: Option<i64>,
    news: News,
}

impl<'s> Tx<'s> {
    /// A transaction on a connection that has begun it.
    pub(super) fn new(connection: impl Connection + 's) -> Self {
        Self { connection: Box::new(connection), now: None, news: News::default() }
    }

    /// The time of this transaction by the store's clock (the database's on Postgres), in microseconds. It is read once,
    /// under the locks that the transaction holds: so a later change has a later time.
    pub(super) async fn now(&mut self) -> Result<i64, Failure> {
        Ok(match self.now {
            Some(now) => now,
            None => *self.now.insert(self.connection.now().await?),
        })
    }

    /// Runs a statement; answers how many rows it changed.
    pub(super) async fn execute(&mut self, sql: impl Into<Sql>, values: &[Value<'_>]) -> Result<u64, Failure> {
        self.connection.execute(sql.into(), values).await
    }

    /// Runs a statement; answers its rows.
    pub(super) async fn rows<R: Row>(&mut self, sql: impl Into<Sql>, values: &[Value<'_>]) -> Result<Vec<R>, Failure> {
        Ok(match self.connection.fetch(sql.into(), values).await? {
            Rows::Postgres(rows) => rows.iter().map(R::from_row).collect::<Result<_, _>>()?,
            Rows::Sqlite(rows) => rows.iter().map(R::from_row).collect::<Result<_, _>>()?,
        })
    }

    /// Runs a statement that answers at most one row.
    pub(super) async fn row<R: Row>(
        &mut self,
        sql: impl Into<Sql>,
        values: &[Value<'_>],
    ) -> Result<Option<R>, Failure> {
        Ok(self.rows(sql, values).await?.pop())
    }

    /// Runs a statement that always answers one row.
    pub(super) async fn one<R: Row>(&mut self, sql: impl Into<Sql>, values: &[Value<'_>]) -> Result<R, Failure> {
        Ok(self.row(sql, values).await?.ok_or(sqlx::Error::RowNotFound)?)
    }

    /// A text as it comes back once it is stored, to be compared with what is stored.
    pub(super) fn storable<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.connection.storable(text)
    }

    /// Tells every replica, once this is committed, that a secret or an intent changed.
    pub(super) fn tell_link(&mut self) {
        self.news.link = true;
    }

    /// Wakes the sink's workers in every replica once this is committed.
    pub(super) fn wake(&mut self, sink: &SinkName) {
        self.news.sinks.push(sink.clone());
    }

    /// Commits, and returns the result of the work.
    pub(super) async fn commit<T>(self, answer: T) -> Result<T, Failure> {
        self.connection.commit(self.news).await?;
        Ok(answer)
    }
}

/// A row that can be read from both databases.
pub(super) trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send {}

impl<R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send> Row for R {}

/// What a statement answered.
pub(super) enum Rows {
    /// On Postgres.
    Postgres(Vec<PgRow>),
    /// On SQLite.
    Sqlite(Vec<SqliteRow>),
}

/// The text of a statement, with `$1`, `$2` … for its values.
#[derive(Debug, Clone)]
pub(super) enum Sql {
    /// One that stays prepared.
    Fixed {
        /// For Postgres.
        postgres: &'static str,
        /// For SQLite.
        sqlite: &'static str,
    },
    /// One that is put together for this call, the same for both.
    Made(String),
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self::Fixed { postgres: text, sqlite: text }
    }
}

/// A statement that differs in one place: `sql!("SELECT … ", "FOR UPDATE" | "", " …")`, with Postgres's words first.
macro_rules! sql {
    ($before:expr, $postgres:literal | $sqlite:literal $(, $after:expr)?) => {
        $crate::store::tx::Sql::Fixed {
            postgres: concat!($before, $postgres $(, $after)?),
            sqlite: concat!($before, $sqlite $(, $after)?),
        }
    };
}
pub(super) use sql;

/// A value of a statement. Postgres cannot keep the character NUL in a text, so the replacement character is stored
/// in its place, and searched for as well.
#[derive(Debug, Clone)]
pub(super) enum Value<'v> {
    /// A number, a time, an amount.
    Number(Option<i64>),
    /// A text.
    Text(Option<Cow<'v, str>>),
    /// A UUID.
    Id(Uuid),
    /// Bytes.
    Bytes(&'v [u8]),
    /// UUIDs: an array on Postgres, a JSON array of 32 digits each on SQLite.
    Ids(Vec<Uuid>),
}

/// The values of a statement, in the order of their numbers.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::tx::Value::from($value)),*]
    };
}
pub(super) use values;

macro_rules! into_value {
    ($($value:ident: $type:ty => $into:expr),+ $(,)?) => {
        $(impl<'v> From<$type> for Value<'v> {
            fn from($value: $type) -> Self {
                $into
            }
        })+
    };
}
into_value!(
    number: i64 => Self::Number(Some(number)),
    number: u32 => Self::Number(Some(number.into())),
    number: Option<i64> => Self::Number(number),
    text: &'v str => Self::Text(Some(text.into())),
    text: &'v String => Self::Text(Some(text.into())),
    text: String => Self::Text(Some(text.into())),
    text: Option<&'v str> => Self::Text(text.map(Cow::from)),
    text: &'v Option<String> => Self::Text(text.as_ref().map(Cow::from)),
    text: Option<String> => Self::Text(text.map(Cow::from)),
    id: Uuid => Self::Id(id),
    bytes: &'v [u8] => Self::Bytes(bytes),
    events: &[EventId] => Self::Ids(events.iter().map(|event| event.0).collect()),
);

/// A stored time plus a duration, in microseconds; never later than what can be read back: jiff reads no fraction of
/// its calendar's last second.
pub(super) fn later(micros: i64, by: Duration) -> i64 {
    micros.saturating_add(clock::duration_micros(by)).min(Timestamp::MAX.as_second() * 1_000_000)
}
