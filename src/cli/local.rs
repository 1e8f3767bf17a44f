//! What `serve` makes up where nothing is configured, and where other commands find it again: files
//! beside the SQLite database that only their owner can read.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{
    config::{AdminToken, Config, Role, StoreConfig, generated},
    model::secret::Secret,
};

/// The file of the generated webhook secret.
pub(super) const WEBHOOK_SECRET: &str = "webhook-secret";
/// The file of the generated admin token.
pub(super) const ADMIN_TOKEN: &str = "admin-token";

/// The directory of the SQLite database; `None` on Postgres.
pub(super) fn directory(config: &Config) -> Option<&Path> {
    match &config.store {
        StoreConfig::Sqlite { path } => Some(path.parent().unwrap_or(Path::new(""))),
        StoreConfig::Postgres { .. } => None,
    }
}

/// Fills in what was made up, making it on first use; answers which files were made now.
pub(super) fn make_up(config: &mut Config) -> anyhow::Result<Vec<PathBuf>> {
    let Some(directory) = directory(config).map(Path::to_owned) else { return Ok(Vec::new()) };
    let mut made = Vec::new();
    let mut read_or_create = |name: &str, make: fn() -> Secret| -> anyhow::Result<Secret> {
        let found = generated::read_or_create(&directory, name, make)
            .with_context(|| format!("a generated secret cannot be kept in {}", directory.display()))?;
        if let Some(warning) = &found.warning {
            tracing::warn!("{warning}");
        }
        if found.created {
            made.push(found.path);
        }
        Ok(found.secret)
    };
    if config.made_up.secret {
        let secret = read_or_create(WEBHOOK_SECRET, generated::webhook_secret)?;
        if let Some(endpoint) = config.endpoints.first_mut() {
            endpoint.secrets.push(secret);
        }
    }
    if config.made_up.admin_token {
        let token = read_or_create(ADMIN_TOKEN, generated::admin_token)?;
        config.admin.tokens.push(AdminToken { name: "generated".into(), role: Role::Admin, token });
    }
    Ok(made)
}

/// Fills in what `serve` has made up already; makes nothing.
pub(super) fn find_made_up(config: &mut Config) {
    let Some(directory) = directory(config).map(Path::to_owned) else { return };
    let read = |name: &str| {
        let text = std::fs::read_to_string(directory.join(name)).ok()?;
        Some(Secret::new(text.trim())).filter(|secret| !secret.expose().is_empty())
    };
    if config.made_up.secret
        && let (Some(secret), Some(endpoint)) = (read(WEBHOOK_SECRET), config.endpoints.first_mut())
    {
        endpoint.secrets.push(secret);
    }
    if config.made_up.admin_token
        && let Some(token) = read(ADMIN_TOKEN)
    {
        config.admin.tokens.push(AdminToken { name: "generated".into(), role: Role::Admin, token });
    }
}
