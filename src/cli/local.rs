//! The secrets that `serve` generates if none are configured. They are kept in files beside the SQLite database, which only
//! their owner can read; other commands find them there.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    config::{AdminToken, Config, Role, StoreConfig, Token, Unsaved, generated},
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
/// The file of the new master key while `rekey` is running.
pub(super) const NEW_MASTER_KEY: &str = "master-key.new";

/// The directory of the SQLite database; `None` on Postgres.
pub(super) fn directory(config: &Config) -> Option<&Path> {
    match &config.store {
        StoreConfig::Sqlite { path } => Some(path.parent().filter(|path| *path != "").unwrap_or(Path::new("."))),
        StoreConfig::Postgres { .. } => None,
    }
}

/// Adds the generated secrets to the configuration. A secret without a file is generated and put into
/// [`Config::unsaved`]; [`service::keep_made_up`] writes its file as soon as the secret is used, so that a failed start
/// leaves no file that looks like the right key.
///
/// Answers the files that will be written.
pub(super) fn make_up(config: &mut Config) -> anyhow::Result<Vec<PathBuf>> {
    let Some(directory) = directory(config).map(Path::to_owned) else { return Ok(Vec::new()) };
    make_up_master_key(config)?;
    if config.made_up.secret {
        let secret = read_or_make(config, &directory, WEBHOOK_SECRET, generated::webhook_secret)?;
        if let Some(endpoint) = config.endpoints.first_mut() {
            endpoint.secrets.push(secret);
        }
    }
    if config.made_up.admin_token {
        let token = read_or_make(config, &directory, ADMIN_TOKEN, generated::admin_token)?;
        config.admin.tokens.push(made_up_token(token));
    }
    Ok(config.unsaved.iter().map(|unsaved| unsaved.folder.join(unsaved.name)).collect())
}

/// Adds only the generated master key, like [`make_up`].
pub(super) fn make_up_master_key(config: &mut Config) -> anyhow::Result<()> {
    let Some(directory) = directory(config).filter(|_| config.master_key.is_none()) else { return Ok(()) };
    let directory = directory.to_owned();
    config.master_key = Some(read_or_make(config, &directory, MASTER_KEY, generated::master_key)?);
    Ok(())
}

/// The token is named after its file; the audit trail shows this name.
fn made_up_token(token: Secret) -> AdminToken {
    AdminToken { name: ADMIN_TOKEN.to_owned(), role: Role::Admin, endpoints: None, token: Token::Plain(token) }
}

fn read_or_make(
    config: &mut Config,
    directory: &Path,
    name: &'static str,
    generate: fn() -> Secret,
) -> anyhow::Result<Secret> {
    let found = generated::find(directory, name)
        .with_context(|| format!("a generated secret cannot be read in {}", directory.display()))?;
    if let Some(found) = found {
        if let Some(warning) = &found.warning {
            tracing::warn!("{warning}");
        }
        return Ok(found.secret);
    }
    let secret = generate();
    config.unsaved.push(Unsaved { folder: directory.to_owned(), name, secret: secret.clone() });
    Ok(secret)
}

/// Adds the secrets that `serve` has generated, and generates none. If there should be an admin token and none is found,
/// answers the reason.
pub(super) fn find_made_up(config: &mut Config) -> Option<String> {
    let directory = directory(config).map(Path::to_owned)?;
    let read = |name: &str| {
        let text = std::fs::read_to_string(directory.join(name))?;
        match text.trim() {
            "" => Err(std::io::Error::new(ErrorKind::InvalidData, "it is empty")),
            text => Ok(Secret::new(text)),
        }
    };
    if config.master_key.is_none() {
        config.master_key = read(MASTER_KEY).ok();
    }
    if config.made_up.secret
        && let (Ok(secret), Some(endpoint)) = (read(WEBHOOK_SECRET), config.endpoints.first_mut())
    {
        endpoint.secrets.push(secret);
    }
    if !config.made_up.admin_token {
        return None;
    }
    match read(ADMIN_TOKEN) {
        Ok(token) => {
            config.admin.tokens.push(made_up_token(token));
            None
        }
        Err(error) => {
            let folder = std::path::absolute(&directory).unwrap_or(directory);
            Some(match error.kind() {
                ErrorKind::NotFound => format!("there is no `{ADMIN_TOKEN}` in {}", folder.display()),
                _ => format!("{} cannot be read ({error})", folder.join(ADMIN_TOKEN).display()),
            })
        }
    }
}

/// Completes or undoes a change of the generated master key that was interrupted. The key that the stored secrets are
/// encrypted with is kept; the file of the other one is removed.
///
/// Does nothing unless `rekey` has left its file. If neither key fits, both files stay, and the start of the service says
/// which key it needs.
pub(super) async fn settle_master_key(config: &Config) -> anyhow::Result<()> {
    let Some(directory) = directory(config).filter(|_| config.master_key.is_none()) else { return Ok(()) };
    let path = directory.join(NEW_MASTER_KEY);
    if !path.exists() {
        return Ok(());
    }
    // The lock on the database also protects the files beside it.
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
        tracing::warn!("a change of the master key was interrupted before it was committed: the previous key stays");
    } else if is_key(&new.secret) {
        generated::replace(directory, NEW_MASTER_KEY, MASTER_KEY)?;
        tracing::warn!(
            "a change of the master key was interrupted after it was committed: the new key is now in place"
        );
    }
    Ok(())
}
