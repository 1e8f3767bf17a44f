//! `rekey`: encrypts the stored secrets under another master key, while no service runs.
//!
//! All of them in one transaction, with its audit entry. Where the key is the generated file, the new one
//! is written beside it before, and takes its place after; a crash in between is healed by the next start
//! ([`local::settle_master_key`]).

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;

use super::{Failure, local, output::Output, register::ACTOR};
use crate::{
    config::{Config, generated},
    model::{audit::NewAudit, link::SealedSecret, secret::Secret},
    options::{Problems, env},
    secrets::vault::Vault,
    service,
    store::{Store, StoreError},
};

const NEW_KEY: &str = "RELAY_NEW_MASTER_KEY";

/// Changes the master key.
pub(super) async fn run(mut config: Config, output: Output) -> Result<bool, Failure> {
    let given = env::read(NEW_KEY, &env::of_process)?.map(|key| Secret::new(key.trim()));
    // The key of the file is the one that counts only where none is configured.
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
        let what = "is the master key that is in use already: make another with `openssl rand -base64 32`";
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
                .context("the secrets are encrypted under the new key; the next start puts its file into place")?;
            format!("The new key is in {}. The service may start.", directory.join(local::MASTER_KEY).display())
        }
        None => "Before any service starts, set RELAY_MASTER_KEY to the new key.".to_owned(),
    };
    output.say(
        &json!({"rekeyed": true, "secrets": secrets, "from": old.key_id(), "to": vault.key_id()}),
        &format!("{secrets} stored secrets are encrypted under the new master key ({}). {next}", vault.key_id()),
    )?;
    Ok(true)
}

/// Encrypts everything anew and commits; answers how many secrets there were. With a folder, the new key
/// is safely there before that.
async fn change(store: &dyn Store, old: &Vault, new: &Vault, keep: Option<(&Path, &Secret)>) -> anyhow::Result<usize> {
    store.migrate().await.context("the store could not be migrated")?;
    // What is over need not be encrypted again.
    store.expire_secrets().await?;
    let links = store.links().await?;
    let rows: Vec<_> = links.into_iter().flat_map(|link| link.secrets).collect();
    if !rows.is_empty() && rows.iter().all(|row| row.key_id == new.key_id()) {
        bail!(
            "the stored secrets are encrypted under the new key already: set RELAY_MASTER_KEY to it, and start the service"
        );
    }
    let mut sealed: Vec<SealedSecret> = Vec::new();
    for row in &rows {
        // `None` would be an expired one, which is not among them.
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
        Err(error @ StoreError::Open(_)) => {
            Err(anyhow::Error::new(error).context("the secrets changed meanwhile: stop every service, and try again"))
        }
        Err(error) => Err(error.into()),
    }
}
