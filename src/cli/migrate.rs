//! `migrate`: brings the schema up to date.

use anyhow::Context;

use super::{Failure, output::Output};
use crate::{config::Config, service};

/// Applies the missing migrations.
pub(super) async fn run(config: Config, output: Output) -> Result<bool, Failure> {
    let open = service::open_store(&config.store, false).await.context("the store could not be opened")?;
    let applied = open.store.migrate().await.context("the store could not be migrated")?;
    open.store.close().await;
    output.say(
        &serde_json::json!({"store": open.store.kind(), "applied": applied}),
        &match applied {
            0 => format!("The {} store is up to date.", open.store.kind()),
            1 => format!("The {} store is up to date: 1 migration applied.", open.store.kind()),
            more => format!("The {} store is up to date: {more} migrations applied.", open.store.kind()),
        },
    )?;
    Ok(true)
}
