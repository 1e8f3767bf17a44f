//! When generated secrets are written to the disk.
//!
//! They must be written neither too early nor too late: a file with a master key that was never used looks like the right
//! key, and a stored secret whose master key is in no file is lost. They are therefore written just before the first secret
//! is encrypted, when the store is open and locked for this process and every address is bound.

use std::fs;

use super::StartError;
use crate::{
    config::{Config, generated},
    secrets::vault::{Vault, VaultError},
    store::Store,
};

/// Writes the generated secrets into their files. The store must be locked for this process.
///
/// # Errors
/// If the store has secrets that are encrypted with another master key than the generated one; nothing is written then. If
/// a file cannot be written, or if another process has created it meanwhile.
pub async fn keep_made_up(store: &dyn Store, vault: &Vault, config: &Config) -> Result<(), StartError> {
    if config.unsaved.is_empty() {
        return Ok(());
    }
    for secret in store.links().await?.iter().flat_map(|link| &link.secrets) {
        // A damaged secret is reported where secrets are opened.
        if let Err(error @ VaultError::WrongKey { .. }) = vault.open(secret) {
            return Err(error.into());
        }
    }
    for unsaved in &config.unsaved {
        let made = || unsaved.secret.clone();
        let kept = generated::read_or_create(&unsaved.folder, unsaved.name, made).map_err(StartError::Unkept)?;
        if kept.secret != unsaved.secret {
            return Err(StartError::MadeMeanwhile(kept.path));
        }
    }
    Ok(())
}

/// Removes the files again after a start that failed before it used them.
pub fn discard_made_up(config: &Config) {
    for unsaved in &config.unsaved {
        let path = unsaved.folder.join(unsaved.name);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, "{} was created for this start, which failed, and cannot be deleted", path.display());
        }
    }
}
