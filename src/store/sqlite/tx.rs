//! The transactions of [`crate::store::tx`] on SQLite.
//!
//! There is one writer, so none of the locks is needed, and nothing is ever repeated: a transaction cannot lose against
//! another.

use std::borrow::Cow;

use async_trait::async_trait;
use sqlx::{
    AssertSqlSafe, Sqlite, SqliteConnection, Transaction,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{
    SqliteStore, Writing,
    rows::{json_ids, micros_or_now},
};
use crate::store::{
    StoreError,
    error::Failure,
    tx::{Access, Again, Connection, News, Rows, Sql, Transact, Tx, Value},
};

impl Transact for SqliteStore {
    async fn transact<'s, T, F>(
        &'s self,
        action: impl Into<String> + Send,
        _: Again,
        access: Access,
        work: impl Fn(Tx<'s>) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let done = async { work(Tx::new(Open { store: self, held: self.hold(access).await? })).await };
        done.await.map_err(|failure| failure.during(action))
    }
}

/// A connection with a transaction or a read under way.
struct Open<'s> {
    store: &'s SqliteStore,
    held: Held,
}

enum Held {
    Reading(Transaction<'static, Sqlite>),
    Writing(Writing),
}

impl SqliteStore {
    async fn hold(&self, access: Access) -> Result<Held, sqlx::Error> {
        Ok(match access {
            Access::Read | Access::Snapshot => Held::Reading(self.read().await?),
            Access::Look => Held::Reading(self.look().await?),
            Access::Write | Access::Link | Access::Ledger | Access::LedgerAndLink | Access::Notices => {
                Held::Writing(self.write().await?)
            }
        })
    }
}

impl Open<'_> {
    fn on(&mut self) -> &mut SqliteConnection {
        match &mut self.held {
            Held::Reading(transaction) => transaction,
            Held::Writing(transaction) => transaction,
        }
    }
}

#[async_trait]
impl Connection for Open<'_> {
    async fn now(&mut self) -> Result<i64, Failure> {
        Ok(micros_or_now(None))
    }

    async fn execute(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<u64, Failure> {
        Ok(execute(self.on(), &sql, values).await?)
    }

    async fn fetch(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<Rows, Failure> {
        let rows: Vec<SqliteRow> = query(&sql, values).fetch_all(self.on()).await?;
        Ok(Rows::Sqlite(rows))
    }

    fn storable<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Cow::Borrowed(text)
    }

    async fn commit(self: Box<Self>, news: News) -> Result<(), Failure> {
        match self.held {
            // The end of a read is not waited for: there is nothing to lose.
            Held::Reading(transaction) => drop(transaction),
            Held::Writing(transaction) => transaction.commit().await?,
        }
        news.tell(&self.store.wakeups);
        Ok(())
    }
}

/// Runs a statement within a transaction of SQLite's own; answers how many rows it changed.
pub(super) async fn execute(
    connection: &mut SqliteConnection,
    sql: &Sql,
    values: &[Value<'_>],
) -> Result<u64, sqlx::Error> {
    Ok(query(sql, values).execute(connection).await?.rows_affected())
}

fn query<'q>(sql: &'q Sql, values: &[Value<'_>]) -> Query<'q, Sqlite, SqliteArguments> {
    let query = match sql {
        Sql::Fixed { sqlite, .. } => sqlx::query(*sqlite),
        Sql::Made(text) => sqlx::query(AssertSqlSafe(text.as_str())).persistent(false),
    };
    values.iter().fold(query, |query, value| match value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text.as_deref().map(str::to_owned)),
        Value::Id(id) => query.bind(id),
        Value::Bytes(bytes) => query.bind(*bytes),
        Value::Ids(ids) => query.bind(json_ids(ids.iter().copied())),
    })
}
