//! An endpoint's secrets: encrypted in the store, live in memory, never old when it matters.

use std::sync::Arc;

use crate::{
    lifecycle::Lifecycle,
    model::{id::EndpointName, secret::Secret},
    signature::finkare::{SecretEncoding, SignatureOver},
    store::{Store, StoreError},
};

pub mod vault;

use vault::{Vault, VaultError};

/// What the secrets of an endpoint are made of.
#[derive(Debug, Clone)]
pub struct Source {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Configured secrets; the first is the newest.
    pub configured: Vec<Secret>,
    /// How a secret becomes a key.
    pub encoding: SecretEncoding,
    /// What the signature is computed over.
    pub over: SignatureOver,
}

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The store.
    #[error("the stored secrets cannot be read")]
    Store(#[from] StoreError),
    /// The master key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A secret that cannot be a key.
    #[error("endpoint {endpoint}: {problem}")]
    Unusable {
        /// The endpoint.
        endpoint: EndpointName,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// The live secrets of all endpoints.
#[derive(Debug)]
pub struct Secrets {
    vault: Vault,
}

impl Secrets {
    /// Reads the store, seeds it with configured secrets that it never had, and makes everything ready to verify.
    pub async fn open(_store: Arc<dyn Store>, vault: Vault, _sources: Vec<Source>) -> Result<Arc<Self>, SecretsError> {
        Ok(Arc::new(Self { vault }))
    }

    /// Encrypts and decrypts.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Reads the store again; when this returns, this process verifies by what the store held after the call.
    pub async fn refresh(&self) -> Result<(), Arc<SecretsError>> {
        todo!()
    }

    /// Keeps the copy up to date until asked to stop.
    pub async fn run(self: Arc<Self>, _lifecycle: Lifecycle) {
        todo!()
    }
}
