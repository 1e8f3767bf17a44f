//! Finds the reading of a secret that fits a refused delivery: to explain the refusal, never to accept the delivery.
//!
//! The keys are tried here, so that no secret leaves [`crate::secrets`]; the answer names secrets by their fingerprints.
//! Trying takes a few dozen hashes of the body. The caller limits the share of a core that this takes
//! ([`crate::ingest::explain`]).

use bytes::Bytes;

use crate::{
    model::{secret::Secret, stored_secret::Fingerprint},
    signature::{
        finkare::{self, SecretEncoding},
        hmac::{self, Key, Tag},
    },
};

const ENCODINGS: [SecretEncoding; 3] = [SecretEncoding::Literal, SecretEncoding::Stripped, SecretEncoding::Base64];

/// A reading of one of the endpoint's secrets that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// The secret's fingerprint.
    pub fingerprint: Fingerprint,
    /// How the secret must be turned into a key.
    pub encoding: SecretEncoding,
    /// What must be removed from the configured secret ([`Secret::oddity`]), if anything.
    pub oddity: Option<&'static str>,
    /// The index of the message that fits.
    pub message: usize,
}

/// A key that a secret may stand for.
#[derive(Debug)]
pub(super) struct Suspect {
    fingerprint: Fingerprint,
    encoding: SecretEncoding,
    oddity: Option<&'static str>,
    key: Key,
}

/// The keys that a secret may stand for, also without surrounding quotes and invisible characters. An encoding in which the
/// secret cannot be read gives no key.
pub(super) fn suspects(secret: &Secret, fingerprint: &Fingerprint) -> impl Iterator<Item = Suspect> {
    let bare = secret.without_oddities().map(|bare| (bare, secret.oddity()));
    [(secret.clone(), None)].into_iter().chain(bare).flat_map(move |(secret, oddity)| {
        ENCODINGS.into_iter().filter_map(move |encoding| {
            let key = finkare::key(&secret, encoding).ok()?;
            Some(Suspect { fingerprint: fingerprint.clone(), encoding, oddity, key })
        })
    })
}

/// Tries every key with every message, keys of the configured `encoding` first. Comparisons take constant time.
pub(super) fn fit(suspects: &[Suspect], encoding: SecretEncoding, claimed: &Tag, messages: &[Bytes]) -> Option<Fit> {
    let mut suspects: Vec<&Suspect> = suspects.iter().collect();
    suspects.sort_by_key(|suspect| suspect.encoding != encoding || suspect.oddity.is_some());
    let keys: Vec<Key> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
    let found = hmac::find(&keys, messages, claimed)?;
    let Suspect { fingerprint, encoding, oddity, .. } = suspects[found.key];
    Some(Fit { fingerprint: fingerprint.clone(), encoding: *encoding, oddity: *oddity, message: found.message })
}
