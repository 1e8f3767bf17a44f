//! Which key would have fitted a delivery that was refused: for explaining, never for accepting.
//!
//! The trying happens here, so that no secret leaves [`crate::secrets`]; what comes out names secrets
//! by their fingerprints. It costs some dozens of hashes of the body: the caller sees to it that this
//! stays a bounded part of a core ([`crate::ingest::explain`]).
//!
//! Secrets that were retired while this process ran are remembered as keys, without their texts, up to
//! [`REMEMBERED`] for each endpoint and in memory only: the store forgets an expired secret for good,
//! and so does a restart. Such a key proves nothing any more.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use http::HeaderMap;

use super::{Copy, Keyring, Secrets};
use crate::{
    model::{clock, id::EndpointName, link::Fingerprint, secret::Secret},
    signature::{
        finkare::{self, SecretEncoding, SignatureOver},
        hmac::{self, Key},
        suspicion::{self, Headers, Reading, Written},
    },
};

/// Retired secrets that are remembered for each endpoint; beyond that the oldest is forgotten.
pub const REMEMBERED: usize = 8;

/// Keys that are tried with one delivery; of many endpoints, the last ones are left out.
const MOST_KEYS: usize = 64;

const ENCODINGS: [SecretEncoding; 3] = [SecretEncoding::Literal, SecretEncoding::Stripped, SecretEncoding::Base64];

/// Whose secret fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// One of the endpoint's own that is good.
    Own(Fingerprint),
    /// One of the endpoint's own that was retired.
    Retired(Fingerprint),
    /// One of another endpoint.
    Other(EndpointName, Fingerprint),
}

/// What would have fitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// Whose secret.
    pub whose: Whose,
    /// How the secret has to become a key.
    pub encoding: SecretEncoding,
    /// What has to be left out of the secret as it is configured ([`Secret::oddity`]), if anything has.
    pub oddity: Option<&'static str>,
    /// How the header was written.
    pub written: Written,
    /// What the body must have been.
    pub reading: Reading,
}

/// What came out of trying.
#[derive(Debug, Clone)]
pub struct Suspicion {
    /// What the headers look like.
    pub headers: Headers,
    /// What would have fitted, if anything did.
    pub fit: Option<Fit>,
    /// What this endpoint is told to take a secret for.
    pub encoding: SecretEncoding,
    /// What this endpoint is told that a signature covers.
    pub over: SignatureOver,
}

/// A key of a live secret, in one of the encodings.
#[derive(Debug, Clone)]
pub(super) struct Suspect {
    fingerprint: Fingerprint,
    encoding: SecretEncoding,
    /// What was left out of the secret for this key.
    oddity: Option<&'static str>,
    key: Key,
}

impl Suspect {
    /// True if the endpoint itself would take the secret so.
    fn is_proper(&self, encoding: SecretEncoding) -> bool {
        self.encoding == encoding && self.oddity.is_none()
    }
}

/// The keys that a secret may stand for, also without the quotes around it and what cannot be seen in it. What cannot be
/// read in an encoding has no key in it.
pub(super) fn suspects(secret: &Secret, fingerprint: &Fingerprint) -> impl Iterator<Item = Suspect> {
    let as_it_is = ENCODINGS.map(|encoding| (finkare::key(secret, encoding), encoding, None));
    let bare = secret.without_oddities();
    let without =
        ENCODINGS.map(|encoding| bare.as_ref().map(|bare| (finkare::key(bare, encoding), encoding, secret.oddity())));
    as_it_is.into_iter().chain(without.into_iter().flatten()).filter_map(|(key, encoding, oddity)| {
        Some(Suspect { fingerprint: fingerprint.clone(), encoding, oddity, key: key.ok()? })
    })
}

/// The retired keys of each endpoint.
#[derive(Debug, Default)]
pub(super) struct Memory(std::sync::Mutex<HashMap<EndpointName, VecDeque<Suspect>>>);

impl Memory {
    /// Takes note of what a new copy no longer has, and forgets what it has again.
    pub(super) fn learn(&self, before: &Copy, after: &Copy) {
        let mut memory = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        memory.retain(|endpoint, _| after.place(endpoint).is_some());
        for (source, after) in after.sources.iter().zip(&after.rings) {
            let Some(before) = before.ring(&source.endpoint) else { continue };
            let retired = memory.entry(source.endpoint.clone()).or_default();
            let gone = before.suspects.iter().filter(|suspect| {
                suspect.is_proper(source.encoding) && !after.fingerprints.contains(&suspect.fingerprint)
            });
            retired.extend(gone.cloned());
            retired.retain(|suspect| !after.fingerprints.contains(&suspect.fingerprint));
            while retired.len() > REMEMBERED {
                retired.pop_front();
            }
        }
    }

    fn of(&self, endpoint: &EndpointName) -> Vec<Suspect> {
        let memory = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        memory.get(endpoint).into_iter().flatten().rev().cloned().collect()
    }
}

/// Whose key it is, how the secret became it, and what was left out of the secret.
type Named = (Whose, SecretEncoding, Option<&'static str>);

impl Secrets {
    /// The keys to try for an endpoint: its own that are good come first, in its encoding.
    fn keys(&self, endpoint: &EndpointName) -> (Vec<Key>, Vec<Named>) {
        let copy = self.copy.borrow().clone();
        let Some(index) = copy.place(endpoint) else { return (Vec::new(), Vec::new()) };
        let (ring, encoding, now) = (&copy.rings[index], copy.sources[index].encoding, clock::now());
        let is_over = |fingerprint: &Fingerprint| {
            let place = ring.fingerprints.iter().position(|other| other == fingerprint);
            place.and_then(|place| ring.until[place]).is_some_and(|until| until <= now)
        };
        let (over, good): (Vec<_>, Vec<_>) = ring.suspects.iter().partition(|suspect| is_over(&suspect.fingerprint));
        let (proper, otherwise): (Vec<_>, Vec<_>) =
            good.into_iter().partition(|suspect: &&Suspect| suspect.is_proper(encoding));
        let own = proper.into_iter().chain(otherwise).cloned().map(|it| (Whose::Own(it.fingerprint.clone()), it));
        let over = over.into_iter().filter(|suspect| suspect.is_proper(encoding)).cloned();
        let retired = over.chain(self.memory.of(endpoint)).map(|it| (Whose::Retired(it.fingerprint.clone()), it));
        let others = copy.sources.iter().zip(&copy.rings).enumerate().filter(|(other, _)| *other != index);
        let others = others.flat_map(|(_, (source, ring))| {
            let theirs = ring.suspects.iter().filter(|suspect| suspect.is_proper(source.encoding)).cloned();
            theirs.map(|it| (Whose::Other(source.endpoint.clone(), it.fingerprint.clone()), it))
        });
        let all = own.chain(retired).chain(others).take(MOST_KEYS);
        all.map(|(whose, suspect)| (suspect.key, (whose, suspect.encoding, suspect.oddity))).unzip()
    }
}

impl Keyring {
    /// Tries what a refused delivery may have been signed with, and how.
    ///
    /// Takes as long as some dozens of hashes of the body do; call it where nobody waits. Comparisons
    /// take constant time, as everywhere.
    pub fn suspect(&self, headers: &HeaderMap, body: &Bytes) -> Suspicion {
        let headers = suspicion::headers(headers);
        let (keys, names) = self.secrets.keys(&self.endpoint);
        let (readings, bodies) = suspicion::readings(body);
        let (as_it_came, changed) = bodies.split_at(1);
        let proper = names
            .iter()
            .take_while(|(whose, encoding, oddity)| {
                matches!(whose, Whose::Own(_)) && *encoding == self.encoding && oddity.is_none()
            })
            .count();
        let fits = headers.claims.iter().filter_map(|claim| {
            // Both are always tried, so that the time says nothing of what was found.
            let here = hmac::find(&keys, as_it_came, &claim.tag);
            let there = hmac::find(&keys[..proper], changed, &claim.tag);
            let (key, reading) = match (here, there) {
                (Some(found), _) => (found.key, readings[0]),
                (None, Some(found)) => (found.key, readings[1 + found.message]),
                (None, None) => return None,
            };
            let (whose, encoding, oddity) = names[key].clone();
            Some(Fit { whose, encoding, oddity, written: claim.written, reading })
        });
        let fits: Vec<_> = fits.collect();
        Suspicion { fit: fits.into_iter().next(), headers, encoding: self.encoding, over: self.over }
    }
}
