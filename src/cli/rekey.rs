//! `rekey`: encrypts the stored secrets with another master key while no service runs.
//!
//! All secrets are encrypted in one transaction, with an audit entry. A generated key is in a file: the new key is first
//! written beside it and takes its place afterwards. The next start of the service repairs a crash in between
//! ([`local::settle_master_key`]).

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;

use super::{
    Failure, local,
    output::{Output, counted},
    register::ACTOR,
};
use crate::{
    config::{Config, generated},
    model::{audit::NewAudit, secret::Secret, stored_secret::SealedSecret},
    options::{Problems, env},
    secrets::vault::Vault,
    service,
    store::{Store, StoreError},
};

const NEW_KEY: &str = "RELAY_NEW_MASTER_KEY";

/// Changes the master key.
pub(super) async fn run(mut config: Config, output: Output) -> Result<bool, Failure> {
    let given = env::read(NEW_KEY, &env::of_process)?.map(|key| Secret::new(key.trim()));
    // The file's key is used only if none is configured.
    let directory = local::directory(&config).filter(|_| config.master_key.is_none()).map(Path::to_owned);
    if directory.is_some() {
        local::settle_master_key(&config).await?;
    }
    local::find_made_up(&mut config);
    let old = service::vault(&config).context("the master key of the stored secrets is needed to read them")?;
    let new = match (given, &directory) {
        (Some(key), _) => key,
        (None, Some(_)) => generated::master_key(),
        (None, None) => {
            let what = "is not set: make a new key with `openssl rand -base64 32`, and keep it";
            return Err(Problems::of_variables(vec![(NEW_KEY, what.to_owned())]).into());
        }
    };
    let Ok(vault) = Vault::new(&new) else {
        let what = "is not 32 bytes in base64: make one with `openssl rand -base64 32`";
        return Err(Problems::of_variables(vec![(NEW_KEY, what.to_owned())]).into());
    };
    if vault.key_id() == old.key_id() {
        let what = "is the current master key: make another one with `openssl rand -base64 32`";
        return Err(Problems::of_variables(vec![(NEW_KEY, what.to_owned())]).into());
    }

    let open = service::open_store(&config.store, true)
        .await
        .context("the store could not be opened: no service may run while the master key is changed")?;
    let changed =
        change(open.store.as_ref(), &old, &vault, directory.as_deref().map(|directory| (directory, &new))).await;
    open.store.close().await;
    let secrets = changed?;

    let next = match &directory {
        Some(directory) => {
            generated::replace(directory, local::NEW_MASTER_KEY, local::MASTER_KEY)
                .context("the secrets are encrypted with the new key, but its file could not be put into place; the next start will do it")?;
            format!("The new key is in {}. You can start the service now.", directory.join(local::MASTER_KEY).display())
        }
        None => "Set RELAY_MASTER_KEY to the new key before you start a service.".to_owned(),
    };
    let secrets_are = counted(u64::try_from(secrets).unwrap_or(u64::MAX), "stored secret is", "stored secrets are");
    output.say(
        &json!({"rekeyed": true, "secrets": secrets, "from": old.key_id(), "to": vault.key_id()}),
        &format!("{secrets_are} encrypted with the new master key ({}). {next}", vault.key_id()),
    )?;
    Ok(true)
}

/// Encrypts all secrets with the new key and commits; answers how many there were. With a folder, the file of the new
/// key is written before that.
async fn change(store: &dyn Store, old: &Vault, new: &Vault, keep: Option<(&Path, &Secret)>) -> anyhow::Result<usize> {
    store.migrate().await.context("the store could not be migrated")?;
    // Expired secrets need not be encrypted again.
    store.expire_secrets().await?;
    let links = store.links().await?;
    let rows: Vec<_> = links.into_iter().flat_map(|link| link.secrets).collect();
    if !rows.is_empty() && rows.iter().all(|row| row.key_id == new.key_id()) {
        bail!(
            "the stored secrets are already encrypted with the new key: set RELAY_MASTER_KEY to it, and start the service"
        );
    }
    let mut sealed: Vec<SealedSecret> = Vec::new();
    for row in &rows {
        // `None` would be an expired secret, and those are left out.
        if let Some(secret) = old.open(row)? {
            sealed.push(new.seal_as(row.id, &row.endpoint, &secret));
        }
    }
    if let Some((directory, key)) = keep {
        generated::read_or_create(directory, local::NEW_MASTER_KEY, || key.clone())?;
    }
    let audit = NewAudit::new(ACTOR, "master_key.changed", "master_key")
        .with("from", old.key_id())
        .with("to", new.key_id())
        .with("secrets", sealed.len());
    match store.reseal_secrets(old.key_id(), &sealed, audit).await {
        Ok(()) => Ok(sealed.len()),
        Err(error @ StoreError::Open(_)) => Err(anyhow::Error::new(error)
            .context("the secrets have changed in the meantime: stop every service, and try again")),
        Err(error) => Err(error.into()),
    }
}
