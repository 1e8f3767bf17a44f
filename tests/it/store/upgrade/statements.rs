//! The statements of the program before, on the new schema.
//!
//! `sqlite/statements.sql` and `postgres/statements.sql` hold every statement that version 4 of the schema was used with,
//! as its contract suite ran them, without comments and with casts where only the driver knows a parameter's type; those
//! that version 10 took away, for which every process had to be stopped, are no longer among them. Each
//! is prepared on a database that is up to date: the server looks every name and type up, and runs nothing. (That a value
//! is missing, it would say only when it runs; `text` sees to that.)

use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection, sqlite::SqliteConnectOptions,
};

use finkare_relay::store::BaseStore as _;

use super::{Secret, postgres};
use crate::store::upgrade::{PostgresStore, SqliteStore};

/// What stands between two statements, on a line of its own.
const BETWEEN: &str = "-- next";

fn statements(text: &'static str) -> Vec<String> {
    text.split(BETWEEN).skip(1).map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

#[tokio::test]
async fn postgres_takes_every_statement_of_the_program_before() {
    if !postgres::available() {
        return;
    }
    let database = postgres::database().await;
    let statements = statements(include_str!("postgres/statements.sql"));
    assert!(statements.len() > 80, "{} statements are not all", statements.len());
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    for statement in statements {
        let prepared = connection.prepare(AssertSqlSafe(statement.clone()).into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{error}:\n{statement}"));
    }
    // As does today's.
    PostgresStore::connect(&Secret::new(database.url()), 2).await.unwrap().ready().await.unwrap();
}

#[tokio::test]
async fn sqlite_takes_every_statement_of_the_program_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let statements = statements(include_str!("sqlite/statements.sql"));
    assert!(statements.len() > 80, "{} statements are not all", statements.len());
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap();
    for statement in statements {
        let prepared = connection.prepare(AssertSqlSafe(statement.clone()).into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{error}:\n{statement}"));
    }
}
