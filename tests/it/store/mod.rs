//! The stores: one contract, run on every backend, and what only one of them has.
//!
//! # How to add a backend
//!
//! Write a function that answers a [`Fixture`] on an empty database of its own, and name it in
//! `contract!` below.
//!
//! # How to add a case
//!
//! Write an async function in `contract/`, and name it in the list in `contract/mod.rs`; the
//! compiler warns of a case that nobody runs.

use std::{any::Any, path::PathBuf, sync::Arc};

use finkare_relay::{
    model::secret::Secret,
    store::{Store, postgres::PostgresStore, sqlite::SqliteStore},
};
use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};

#[macro_use]
mod contract;
pub(crate) mod measure_lists;
mod measure_postgres;
mod plans_postgres;
mod postgres;
mod sqlite;
mod tls_postgres;
mod upgrade;

contract!(on_sqlite, on_postgres);

/// Makes one test for each store of an `async fn(Fixture)`, for tests below the binary.
macro_rules! on_each_store {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $case() { super::$case(crate::store::on_sqlite().await).await })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $case() { super::$case(crate::store::on_postgres().await).await })+
        }
    };
}
pub(crate) use on_each_store;

/// An empty database of one test, on which any number of stores can be opened.
pub(crate) struct Fixture {
    open: Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Store>> + Send + Sync>,
    /// Past the stores.
    database: Address,
    /// What must live as long as the database does: its folder, its server.
    _keep: Box<dyn Any + Send + Sync>,
}

/// Where the database is.
enum Address {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Fixture {
    fn new<F>(database: Address, keep: impl Any + Send + Sync, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Arc<dyn Store>> + Send + 'static,
    {
        Self { open: Box::new(move || Box::pin(open())), database, _keep: Box::new(keep) }
    }

    /// Opens one more store, independent of the others, and does not migrate.
    async fn open_bare(&self) -> Arc<dyn Store> {
        (self.open)().await
    }

    /// Opens one more store, with the schema up to date.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        let store = self.open_bare().await;
        store.migrate().await.unwrap();
        store
    }

    /// The URL of the database, for a service.
    pub(crate) fn url(&self) -> String {
        match &self.database {
            Address::Sqlite(path) => format!("sqlite://{}", path.display()),
            Address::Postgres(url) => url.clone(),
        }
    }

    /// Changes what no store's method would: the statement means the same on both. It has to change something.
    pub(crate) async fn execute(&self, statement: &str) {
        let sql = AssertSqlSafe(statement.to_owned());
        let changed = match &self.database {
            Address::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected()
            }
            Address::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected()
            }
        };
        assert!(changed > 0, "{statement}");
    }
}

impl Fixture {
    /// Lays rows that no store would write, a statement for each; no reference is checked.
    pub(crate) async fn lay(&self, sqlite: &str, postgres: &str) {
        match &self.database {
            Address::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::query(AssertSqlSafe(sqlite.to_owned())).execute(&mut connection).await.unwrap();
            }
            Address::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query(AssertSqlSafe(postgres.to_owned())).execute(&mut connection).await.unwrap();
            }
        }
    }
}

pub(crate) async fn on_sqlite() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    Fixture::new(Address::Sqlite(path.clone()), folder, move || {
        let path = path.clone();
        async move { Arc::new(SqliteStore::open(&path).await.unwrap()) as Arc<dyn Store> }
    })
}

pub(crate) async fn on_postgres() -> Fixture {
    let database = crate::support::postgres::empty_database().await;
    let url = Secret::new(database.url());
    Fixture::new(Address::Postgres(database.url()), database, move || {
        let url = url.clone();
        async move { Arc::new(PostgresStore::connect(&url, 4).await.unwrap()) as Arc<dyn Store> }
    })
}
