//! `backup` and `restore`: a copy of the SQLite database, made while the service runs.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Failure, failure::Usage, local, output::Output};
use crate::{
    config::{Config, StoreConfig},
    store::sqlite::backup,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  finkare-relay backup /var/backups/relay.db\n\nKeep the master key apart from the copy: without it the stored secrets cannot be read, and with it they can."
)]
pub(super) struct Backup {
    /// The new file
    file: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  finkare-relay restore /var/backups/relay.db\n  finkare-relay restore --force /var/backups/relay.db"
)]
pub(super) struct Restore {
    /// The copy that `backup` made
    file: PathBuf,
    /// Move a database that is there aside
    #[arg(long)]
    force: bool,
}

fn database(config: &Config, tool: &str) -> Result<PathBuf, Failure> {
    match &config.store {
        StoreConfig::Sqlite { path } => Ok(path.clone()),
        StoreConfig::Postgres { .. } => {
            Err(Usage::new(format!("the database is Postgres: use its own tool, {tool}")).into())
        }
    }
}

/// `backup`
pub(super) async fn backup(config: Config, options: Backup, output: Output) -> Result<bool, Failure> {
    let from = database(&config, "`pg_dump`")?;
    let to = options.file.clone();
    let copying = tokio::task::spawn_blocking(move || backup::backup(&from, &to));
    let bytes = copying.await.map_err(anyhow::Error::new)?.map_err(anyhow::Error::new)?;
    let key = local::directory(&config).map(|folder| folder.join(local::MASTER_KEY)).filter(|key| key.is_file());
    let mut text = format!("The database was copied into {} ({bytes} bytes).", options.file.display());
    if let Some(key) = &key {
        text.push_str("\nThe secrets in it are encrypted: keep a copy of ");
        text.push_str(&key.to_string_lossy());
        text.push_str(" too, in another place.");
    }
    output.say(&json!({"file": options.file, "bytes": bytes, "master_key": key}), &text)?;
    Ok(true)
}

/// `restore`
pub(super) async fn restore(config: Config, options: Restore, output: Output) -> Result<bool, Failure> {
    let to = database(&config, "`pg_restore`")?;
    let (from, force, into) = (options.file, options.force, to.clone());
    let copying = tokio::task::spawn_blocking(move || backup::restore(&from, &into, force));
    let aside = copying.await.map_err(anyhow::Error::new)?.map_err(anyhow::Error::new)?;
    let mut text = format!("{} is the copy now. Start the service.", to.display());
    if let Some(aside) = &aside {
        text.push_str("\nWhat was there is ");
        text.push_str(&aside.to_string_lossy());
        text.push('.');
    }
    text.push_str(
        "\nWhat was pending in the copy is sent again, under the same ids; invoicing software is asked before anything is \
         booked. Rotate the webhook's secret if it was rotated since.",
    );
    output.say(&json!({"database": to, "aside": aside}), &text)?;
    Ok(true)
}
