//! Encrypts secrets for the store: AES-256-GCM under the master key, each bound to its own row.
//!
//! The additional data names the row and the endpoint, so that an encrypted text that is copied into
//! another row cannot be decrypted there. The nonce has 96 random bits: with a handful of secrets a year, no
//! nonce occurs twice (NIST SP 800-38D, section 8.3, allows 2^32 under one key).
//!
//! Each row also carries the [`Vault::key_id`] under which it was encrypted, so that a wrong master key
//! can be distinguished from a damaged row.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::model::{
    id::EndpointName,
    secret::Secret,
    stored_secret::{Fingerprint, SealedSecret, SecretId, StoredSecret},
};

/// The version of the layout of an encrypted text: this byte, the nonce, the ciphertext with its tag.
const VERSION: u8 = 1;

/// Why a row cannot be decrypted, or a master key cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VaultError {
    /// The master key is not 32 bytes in base64.
    #[error(
        "the master key is not 32 bytes in base64: make one with `openssl rand -base64 32` and set RELAY_MASTER_KEY"
    )]
    NotAKey,
    /// The row was encrypted under another master key.
    #[error(
        "the secret {fingerprint} of endpoint {endpoint} was encrypted under the master key {sealed_under}, and this one is \
         {ours}: set RELAY_MASTER_KEY (or the file beside the database) to the key that this database was used with. To \
         change the key, run `finkare-relay rekey`"
    )]
    WrongKey {
        /// The endpoint.
        endpoint: EndpointName,
        /// The secret's fingerprint.
        fingerprint: Fingerprint,
        /// The name of the key that it was encrypted under.
        sealed_under: String,
        /// The name of this key.
        ours: String,
    },
    /// The key is the right one, but the row cannot be decrypted.
    #[error(
        "the stored secret {fingerprint} of endpoint {endpoint} (row {row}) cannot be decrypted: the row was damaged or changed. \
         Restore it from a backup, give the secret again by `finkare-relay endpoints settle {endpoint}`, or rotate it"
    )]
    Damaged {
        /// The endpoint.
        endpoint: EndpointName,
        /// The secret's fingerprint.
        fingerprint: Fingerprint,
        /// The row.
        row: SecretId,
    },
}

/// Encrypts and decrypts under one master key.
pub struct Vault {
    key: RandomizedNonceKey,
    key_id: String,
}

impl Vault {
    /// Takes a master key: 32 bytes in base64, with padding.
    ///
    /// # Errors
    /// [`VaultError::NotAKey`] for anything else.
    pub fn new(master_key: &Secret) -> Result<Self, VaultError> {
        let bytes = Zeroizing::new(STANDARD.decode(master_key.expose().trim()).map_err(|_| VaultError::NotAKey)?);
        if bytes.len() != 32 {
            return Err(VaultError::NotAKey);
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| VaultError::NotAKey)?;
        // A pseudo-random function of the key, which names the key and says nothing about it.
        let name = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), b"finkare-relay: name of a master key");
        Ok(Self { key, key_id: hex::encode(&name.as_ref()[..8]) })
    }

    /// The name of the master key, for rows and messages.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Encrypts a secret for a new row.
    pub fn seal(&self, endpoint: &EndpointName, secret: &Secret) -> SealedSecret {
        self.seal_as(SecretId(uuid::Uuid::now_v7()), endpoint, secret)
    }

    /// Encrypts a secret for an existing row.
    pub fn seal_as(&self, id: SecretId, endpoint: &EndpointName, secret: &Secret) -> SealedSecret {
        let mut text = secret.expose().as_bytes().to_vec();
        // Encrypted in place, so that the plain text is overwritten.
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(bound_to(id, endpoint)), &mut text)
            .expect("a short text can always be encrypted");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        SealedSecret { id, fingerprint: Fingerprint::of(secret), key_id: self.key_id.clone(), sealed }
    }

    /// Decrypts a row; `None` if it has expired and no longer holds a text.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] or [`VaultError::Damaged`], naming the row and never the secret.
    pub fn open(&self, row: &StoredSecret) -> Result<Option<Secret>, VaultError> {
        let Some(sealed) = &row.sealed else { return Ok(None) };
        if row.key_id != self.key_id {
            return Err(VaultError::WrongKey {
                endpoint: row.endpoint.clone(),
                fingerprint: row.fingerprint.clone(),
                sealed_under: row.key_id.clone(),
                ours: self.key_id.clone(),
            });
        }
        self.decrypt(row.id, &row.endpoint, sealed).map(Some).ok_or_else(|| VaultError::Damaged {
            endpoint: row.endpoint.clone(),
            fingerprint: row.fingerprint.clone(),
            row: row.id,
        })
    }

    fn decrypt(&self, id: SecretId, endpoint: &EndpointName, sealed: &[u8]) -> Option<Secret> {
        let (&VERSION, rest) = sealed.split_first()? else { return None };
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::from(bound_to(id, endpoint)), &mut text).ok()?;
        std::str::from_utf8(plain).ok().map(Secret::new)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// The row and the endpoint that an encrypted text is bound to. The id has a fixed length, so that no two pairs give the
/// same bytes.
fn bound_to(id: SecretId, endpoint: &EndpointName) -> Vec<u8> {
    [b"finkare-relay secret ", id.0.as_bytes().as_slice(), endpoint.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        clock,
        stored_secret::{Origin, SecretState},
    };

    fn vault(byte: u8) -> Vault {
        Vault::new(&Secret::new(STANDARD.encode([byte; 32]))).unwrap()
    }

    fn name(text: &str) -> EndpointName {
        EndpointName::new(text).unwrap()
    }

    fn row(endpoint: &str, sealed: SealedSecret) -> StoredSecret {
        StoredSecret {
            id: sealed.id,
            endpoint: name(endpoint),
            fingerprint: sealed.fingerprint,
            origin: Origin::Configured,
            state: SecretState::Active,
            created_at: clock::now(),
            valid_until: None,
            key_id: sealed.key_id,
            sealed: Some(sealed.sealed),
        }
    }

    #[test]
    fn what_is_sealed_opens_and_shows_nothing() {
        let secret = Secret::new("whsec_visible");
        let (one, two) = (vault(1).seal(&name("a"), &secret), vault(1).seal(&name("a"), &secret));
        assert_ne!(one.sealed, two.sealed, "every time another nonce");
        assert!(!one.sealed.windows(7).any(|part| part == b"visible"));
        assert_eq!(vault(1).open(&row("a", one.clone())), Ok(Some(secret)));
        let expired = StoredSecret { sealed: None, ..row("a", one) };
        assert_eq!(vault(1).open(&expired), Ok(None));
    }

    #[test]
    fn another_master_key_is_named() {
        let sealed = vault(1).seal(&name("a"), &Secret::new("whsec_visible"));
        let error = vault(2).open(&row("a", sealed)).unwrap_err();
        assert!(matches!(&error, VaultError::WrongKey { sealed_under, ours, .. } if sealed_under != ours));
        assert!(error.to_string().contains("RELAY_MASTER_KEY") && !error.to_string().contains("visible"), "{error}");
    }

    #[test]
    fn a_sealed_text_opens_in_its_own_row_only() {
        let sealed = vault(1).seal(&name("a"), &Secret::new("whsec_visible"));
        let mine = row("a", sealed);
        let damaged = |row: &StoredSecret| matches!(vault(1).open(row), Err(VaultError::Damaged { .. }));
        assert!(damaged(&StoredSecret { endpoint: name("b"), ..mine.clone() }), "another endpoint");
        assert!(damaged(&StoredSecret { id: SecretId(uuid::Uuid::now_v7()), ..mine.clone() }), "another row");
        let whole = mine.sealed.clone().unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(damaged(&StoredSecret { sealed: Some(changed), ..mine.clone() }), "byte {at}");
            assert!(damaged(&StoredSecret { sealed: Some(whole[..at].to_vec()), ..mine.clone() }), "cut at {at}");
        }
    }

    #[test]
    fn a_key_is_32_bytes_of_base64() {
        for bad in ["", "short", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33]), &"?".repeat(44)] {
            assert_eq!(Vault::new(&Secret::new(bad)).unwrap_err(), VaultError::NotAKey, "{bad:?}");
        }
        assert!(Vault::new(&Secret::new(format!(" {}\n", STANDARD.encode([1; 32])))).is_ok());
        assert_ne!(vault(1).key_id(), vault(2).key_id());
        assert!(!format!("{:?}", vault(1)).contains(&STANDARD.encode([1; 32])));
    }
}
