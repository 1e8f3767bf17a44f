//! The transactions of [`crate::store::tx`] on Postgres.

use std::borrow::Cow;

use async_trait::async_trait;
use sqlx::{
    AssertSqlSafe, PgConnection, Postgres,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{BEGIN, Looking, PostgresStore, announce, clock, pool::Checkout, storable};
use crate::{
    model::id::SinkName,
    store::{
        StoreError,
        error::Failure,
        tx::{Access, Again, Connection, News, Rows, Sql, Transact, Tx, Value},
    },
};

/// All statements see the same state.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A transaction that changes something about the link to Finkare holds this lock until its commit. Such changes are
/// rare, and much easier to reason about one after the other. The number is arbitrary.
const LINK_LOCK: i64 = 0x6c69_6e6b;

/// A transaction that changes the ledger holds this lock until its commit. The number is arbitrary.
const LEDGER_LOCK: i64 = 0x6c65_6467_6572;

/// A transaction that stores the relay's own events holds this lock until its commit. The number is arbitrary.
const NOTICES_LOCK: i64 = 0x6e6f_7469_6365;

impl Transact for PostgresStore {
    async fn transact<'s, T, F>(
        &'s self,
        action: impl Into<String> + Send,
        again: Again,
        access: Access,
        work: impl Fn(Tx<'s>) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        self.run(action, again, async || work(Tx::new(self.open(access).await?)).await).await
    }
}

/// A connection with a transaction or a read under way.
pub(super) struct Open<'s> {
    store: &'s PostgresStore,
    checkout: Checkout,
    /// False if each statement stands by itself.
    is_transaction: bool,
    _looking: Option<OwnedSemaphorePermit>,
}

impl PostgresStore {
    /// Takes a connection, and begins what the access needs.
    pub(super) async fn open(&self, access: Access) -> Result<Open<'_>, Failure> {
        let (checkout, looking) = match access {
            Access::Read => (self.checkout().await?, None),
            Access::Look => {
                let Looking { checkout, permit } = self.look().await?;
                (checkout, Some(permit))
            }
            Access::Snapshot => (self.connections.begin(BEGIN_SNAPSHOT).await?, None),
            Access::Write => (self.begin().await?, None),
            Access::Link => (self.begin_locked(&[LINK_LOCK]).await?, None),
            Access::Ledger => (self.begin_locked(&[LEDGER_LOCK]).await?, None),
            Access::Notices => (self.begin_locked(&[NOTICES_LOCK]).await?, None),
            Access::LedgerAndLink => (self.begin_locked(&[LINK_LOCK, LEDGER_LOCK]).await?, None),
        };
        let is_transaction = !matches!(access, Access::Read | Access::Look);
        Ok(Open { store: self, checkout, is_transaction, _looking: looking })
    }

    /// Begins a durable transaction that holds these locks, so that it is alone among all replicas.
    async fn begin_locked(&self, locks: &[i64]) -> Result<Checkout, Failure> {
        let mut checkout = self.connections.begin(BEGIN).await?;
        for lock in locks {
            // A statement of its own: the next statements see everything that was committed under the lock.
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(checkout.on()).await?;
        }
        Ok(checkout)
    }
}

impl Open<'_> {
    /// The connection, for a statement of Postgres's own.
    pub(super) fn on(&mut self) -> &mut PgConnection {
        self.checkout.on()
    }
}

#[async_trait]
impl Connection for Open<'_> {
    async fn now(&mut self) -> Result<i64, Failure> {
        Ok(clock(self.on()).await?)
    }

    async fn execute(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<u64, Failure> {
        Ok(query(&sql, values).execute(self.on()).await?.rows_affected())
    }

    async fn fetch(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<Rows, Failure> {
        let rows: Vec<PgRow> = query(&sql, values).fetch_all(self.on()).await?;
        Ok(Rows::Postgres(rows))
    }

    fn storable<'t>(&self, text: &'t str) -> Cow<'t, str> {
        storable(text)
    }

    async fn commit(mut self: Box<Self>, news: News) -> Result<(), Failure> {
        if news.link {
            announce::link(self.on()).await?;
        }
        if !news.sinks.is_empty() {
            announce::announce(self.on(), news.sinks.iter().map(SinkName::as_str)).await?;
        }
        if self.is_transaction {
            self.checkout.commit().await?;
        } else {
            self.checkout.finish();
        }
        news.tell(&self.store.wakeups);
        Ok(())
    }
}

fn query<'q>(sql: &'q Sql, values: &[Value<'_>]) -> Query<'q, Postgres, PgArguments> {
    let query = match sql {
        Sql::Fixed { postgres, .. } => sqlx::query(*postgres),
        Sql::Made(text) => sqlx::query(AssertSqlSafe(text.as_str())).persistent(false),
    };
    values.iter().fold(query, |query, value| match value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text.as_deref().map(storable)),
        Value::Id(id) => query.bind(id),
        Value::Bytes(bytes) => query.bind(*bytes),
        Value::Ids(ids) => query.bind(ids),
    })
}
