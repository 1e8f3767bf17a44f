//! How a secret would have had to be read to fit a refused delivery: for explaining, never for accepting.
//!
//! The keys are tried here, so that no secret leaves [`crate::secrets`]; the answer names secrets by their fingerprints.
//! Trying takes some dozens of hashes of the body: the caller sees to it that this stays a bounded part of a core
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
    /// Which secret.
    pub fingerprint: Fingerprint,
    /// How the secret has to become a key.
    pub encoding: SecretEncoding,
    /// What has to be left out of the secret as it is configured ([`Secret::oddity`]), if anything has.
    pub oddity: Option<&'static str>,
    /// Which of the messages it fits.
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

/// The keys that a secret may stand for, also without the quotes around it and the characters in it that cannot be
/// seen. Where a secret cannot be read in an encoding, there is no key.
pub(super) fn suspects(secret: &Secret, fingerprint: &Fingerprint) -> impl Iterator<Item = Suspect> {
    let bare = secret.without_oddities().map(|bare| (bare, secret.oddity()));
    [(secret.clone(), None)].into_iter().chain(bare).flat_map(move |(secret, oddity)| {
        ENCODINGS.into_iter().filter_map(move |encoding| {
            let key = finkare::key(&secret, encoding).ok()?;
            Some(Suspect { fingerprint: fingerprint.clone(), encoding, oddity, key })
        })
    })
}

/// Tries every key with every message, those of the configured `encoding` first. Comparisons take constant time, as
/// everywhere.
pub(super) fn fit(suspects: &[Suspect], encoding: SecretEncoding, claimed: &Tag, messages: &[Bytes]) -> Option<Fit> {
    let mut suspects: Vec<&Suspect> = suspects.iter().collect();
    suspects.sort_by_key(|suspect| suspect.encoding != encoding || suspect.oddity.is_some());
    let keys: Vec<Key> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
    let found = hmac::find(&keys, messages, claimed)?;
    let Suspect { fingerprint, encoding, oddity, .. } = suspects[found.key];
    Some(Fit { fingerprint: fingerprint.clone(), encoding: *encoding, oddity: *oddity, message: found.message })
}
