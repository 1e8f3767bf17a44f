//! What `serve` makes up where nothing is configured, and where other commands find it again: files
//! beside the SQLite database that only their owner can read.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{
    config::{AdminToken, Config, Role, StoreConfig, Token, generated},
    model::secret::Secret,
    secrets::vault::Vault,
    service,
};

/// The file of the generated webhook secret.
pub(super) const WEBHOOK_SECRET: &str = "webhook-secret";
/// The file of the generated admin token.
pub(super) const ADMIN_TOKEN: &str = "admin-token";
/// The file of the generated master key.
pub(super) const MASTER_KEY: &str = "master-key";
/// The file of the key that takes its place, while `rekey` is at it.
pub(super) const NEW_MASTER_KEY: &str = "master-key.new";

/// The directory of the SQLite database; `None` on Postgres.
pub(super) fn directory(config: &Config) -> Option<&Path> {
    match &config.store {
        StoreConfig::Sqlite { path } => Some(path.parent().filter(|path| *path != "").unwrap_or(Path::new("."))),
        StoreConfig::Postgres { .. } => None,
    }
}

/// Fills in what was made up, making it on first use; answers which files were made now.
pub(super) fn make_up(config: &mut Config) -> anyhow::Result<Vec<PathBuf>> {
    let Some(directory) = directory(config).map(Path::to_owned) else { return Ok(Vec::new()) };
    let mut made: Vec<PathBuf> = make_up_master_key(config)?.into_iter().collect();
    if config.made_up.secret {
        let secret = read_or_create(&directory, WEBHOOK_SECRET, generated::webhook_secret, &mut made)?;
        if let Some(endpoint) = config.endpoints.first_mut() {
            endpoint.secrets.push(secret);
        }
    }
    if config.made_up.admin_token {
        let token = read_or_create(&directory, ADMIN_TOKEN, generated::admin_token, &mut made)?;
        config.admin.tokens.push(AdminToken {
            name: "generated".into(),
            role: Role::Admin,
            token: Token::Plain(token),
        });
    }
    Ok(made)
}

/// Fills in the master key alone, making it on first use; answers the file if it was made now.
pub(super) fn make_up_master_key(config: &mut Config) -> anyhow::Result<Option<PathBuf>> {
    let Some(directory) = directory(config).filter(|_| config.master_key.is_none()) else { return Ok(None) };
    let mut made = Vec::new();
    config.master_key = Some(read_or_create(directory, MASTER_KEY, generated::master_key, &mut made)?);
    Ok(made.pop())
}

fn read_or_create(
    directory: &Path,
    name: &str,
    generate: fn() -> Secret,
    made: &mut Vec<PathBuf>,
) -> anyhow::Result<Secret> {
    let found = generated::read_or_create(directory, name, generate)
        .with_context(|| format!("a generated secret cannot be kept in {}", directory.display()))?;
    if let Some(warning) = &found.warning {
        tracing::warn!("{warning}");
    }
    if found.created {
        made.push(found.path);
    }
    Ok(found.secret)
}

/// Fills in what `serve` has made up already; makes nothing.
pub(super) fn find_made_up(config: &mut Config) {
    let Some(directory) = directory(config).map(Path::to_owned) else { return };
    let read = |name: &str| {
        let text = std::fs::read_to_string(directory.join(name)).ok()?;
        Some(Secret::new(text.trim())).filter(|secret| !secret.expose().is_empty())
    };
    if config.master_key.is_none() {
        config.master_key = read(MASTER_KEY);
    }
    if config.made_up.secret
        && let (Some(secret), Some(endpoint)) = (read(WEBHOOK_SECRET), config.endpoints.first_mut())
    {
        endpoint.secrets.push(secret);
    }
    if config.made_up.admin_token
        && let Some(token) = read(ADMIN_TOKEN)
    {
        config.admin.tokens.push(AdminToken {
            name: "generated".into(),
            role: Role::Admin,
            token: Token::Plain(token),
        });
    }
}

/// Ends a change of the generated master key that was cut off. What the stored secrets are encrypted
/// under tells which of the two keys counts; the other one goes.
///
/// Does nothing unless `rekey` has left its file. If neither key fits, both stay, and the start
/// says which key is wanted.
pub(super) async fn settle_master_key(config: &Config) -> anyhow::Result<()> {
    let Some(directory) = directory(config).filter(|_| config.master_key.is_none()) else { return Ok(()) };
    let path = directory.join(NEW_MASTER_KEY);
    if !path.exists() {
        return Ok(());
    }
    // Nobody else may be at it: the lock of the database is the lock of the files beside it.
    let open = service::open_store(&config.store, true).await.context("the store could not be opened")?;
    let Some(new) = generated::find(directory, NEW_MASTER_KEY)? else { return Ok(()) };
    let links = open.store.links().await;
    open.store.close().await;
    let links = links.context("the stored secrets could not be read, to tell which master key they need")?;
    let sealed_under: Vec<&str> =
        links.iter().flat_map(|link| &link.secrets).map(|secret| secret.key_id.as_str()).collect();
    let is_key = |key: &Secret| {
        Vault::new(key).is_ok_and(|vault| sealed_under.iter().all(|sealed_under| *sealed_under == vault.key_id()))
    };
    let old = generated::find(directory, MASTER_KEY)?;
    if old.is_some_and(|old| is_key(&old.secret)) {
        std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        tracing::warn!("a change of the master key was cut off before it was made: the key is the one before");
    } else if is_key(&new.secret) {
        generated::replace(directory, NEW_MASTER_KEY, MASTER_KEY)?;
        tracing::warn!("a change of the master key was cut off after it was made: the new key is in its place now");
    }
    Ok(())
}
