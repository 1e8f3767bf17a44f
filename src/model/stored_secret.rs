//! A secret as the store keeps it: encrypted, with the values that may be shown.
//!
//! # A secret's life
//!
//! `active` → `retiring` (until a time) → `expired`. Several may be active: those that the operator configured, and the
//! last one that Finkare gave. A rotation makes every other one retire. An expired secret keeps its fingerprint and loses
//! its encrypted text.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{id::EndpointName, secret::Secret, words::words};

/// What may be shown of a secret: the first 16 hex digits of its SHA-256.
///
/// The same secret has the same fingerprint everywhere, also outside of the service
/// (`printf %s "$SECRET" | sha256sum`), so that a person can recognise a secret by it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^[0-9a-f]{16}$")]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a secret.
    pub fn of(secret: &Secret) -> Self {
        Self(hex::encode(&Sha256::digest(secret.expose())[..8]))
    }

    /// A fingerprint from the store.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.0)
    }
}

words! {
    /// The origin of a secret.
    Origin {
        /// The operator configured it (or `serve` generated it for a first try).
        Configured = "configured",
        /// Finkare showed it when the webhook was created.
        Registered = "registered",
        /// Finkare showed it when it was rotated.
        Rotated = "rotated",
    }
}

words! {
    /// A secret's state.
    SecretState {
        /// Deliveries signed with it are genuine.
        Active = "active",
        /// Deliveries signed with it are genuine until a time.
        Retiring = "retiring",
        /// Deliveries signed with it are refused; its text was deleted.
        Expired = "expired",
    }
}

/// The id of a stored secret; part of what its encryption is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SecretId(pub Uuid);

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An encrypted secret, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// The row that its encryption is bound to.
    pub id: SecretId,
    /// The value that may be shown.
    pub fingerprint: Fingerprint,
    /// The name of the master key that it is encrypted under, which says nothing about the key.
    pub key_id: String,
    /// The encrypted text.
    pub sealed: Vec<u8>,
}

/// A stored secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// Its row.
    pub id: SecretId,
    /// The endpoint that it belongs to.
    pub endpoint: EndpointName,
    /// The value that may be shown.
    pub fingerprint: Fingerprint,
    /// Its origin.
    pub origin: Origin,
    /// The stored state; a retiring secret whose time has passed counts as expired.
    pub state: SecretState,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The time until which a retiring secret is valid, or an expired one was.
    pub valid_until: Option<Timestamp>,
    /// The name of the master key that it is encrypted under.
    pub key_id: String,
    /// The encrypted text; `None` once it has expired.
    pub sealed: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_what_sha256sum_says() {
        // printf %s whsec_abc | sha256sum
        assert_eq!(Fingerprint::of(&Secret::new("whsec_abc")).as_str(), "e1ac16da4cace73e");
    }

    #[test]
    fn words_go_both_ways() {
        for state in [SecretState::Active, SecretState::Retiring, SecretState::Expired] {
            assert_eq!(SecretState::from_word(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert_eq!(Origin::from_word("stolen"), None);
    }
}
