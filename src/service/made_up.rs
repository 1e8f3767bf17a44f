//! Secrets that were made up where nothing is configured: when they reach the disk.
//!
//! Not before they are used, and not after: a master key in a file that no database was ever used with looks like the right
//! one, and a stored secret whose master key is in no file is lost. So they are written when the store is open and locked
//! for this process and every address is bound, just before the first secret is encrypted.

use std::fs;

use super::StartError;
use crate::{
    config::{Config, generated},
    secrets::vault::{Vault, VaultError},
    store::Store,
};

/// Writes what was made up into its files. The store must be this process's alone.
///
/// # Errors
/// The store has secrets that were encrypted under another master key than the one that was just made: nothing is written
/// then. A file cannot be written, or another process has made it meanwhile.
pub async fn keep_made_up(store: &dyn Store, vault: &Vault, config: &Config) -> Result<(), StartError> {
    if config.unsaved.is_empty() {
        return Ok(());
    }
    for secret in store.links().await?.iter().flat_map(|link| &link.secrets) {
        // A damaged one is told of where secrets are opened.
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

/// Removes those files again, after a start that failed before it used them.
pub fn discard_made_up(config: &Config) {
    for unsaved in &config.unsaved {
        let path = unsaved.folder.join(unsaved.name);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, "{} was made for this start, which failed, and cannot be removed", path.display());
        }
    }
}
