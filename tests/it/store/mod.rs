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

use std::{any::Any, sync::Arc};

use finkare_relay::{
    model::secret::Secret,
    store::{Store, postgres::PostgresStore, sqlite::SqliteStore},
};
use futures_util::future::BoxFuture;

#[macro_use]
mod contract;
mod measure_postgres;
mod plans_postgres;
mod postgres;
mod sqlite;

contract!(on_sqlite, on_postgres);

/// An empty database of one test, on which any number of stores can be opened.
pub(crate) struct Fixture {
    open: Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Store>> + Send + Sync>,
    /// What must live as long as the database does: its folder, its server.
    _keep: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    fn new<F>(keep: impl Any + Send + Sync, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Arc<dyn Store>> + Send + 'static,
    {
        Self { open: Box::new(move || Box::pin(open())), _keep: Box::new(keep) }
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
}

pub(crate) async fn on_sqlite() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    Fixture::new(folder, move || {
        let path = path.clone();
        async move { Arc::new(SqliteStore::open(&path).await.unwrap()) as Arc<dyn Store> }
    })
}

pub(crate) async fn on_postgres() -> Fixture {
    let database = crate::support::postgres::empty_database().await;
    let url = Secret::new(database.url());
    Fixture::new(database, move || {
        let url = url.clone();
        async move { Arc::new(PostgresStore::connect(&url, 4).await.unwrap()) as Arc<dyn Store> }
    })
}
