//! Signed deliveries as Finkare posts them, each different from every other.
//!
//! The signature is hex HMAC-SHA256 over the body, keyed with the whole `whsec_…` string (source:
//! <https://docs.finkare.io/guides/webhook-setup>). Bodies and signatures can be made before the
//! clock starts, because the generator shares its cores with what it measures.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

/// The header that carries the signature.
pub(crate) const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("x-finkare-signature");

/// HMAC-SHA256 with the key already taken in.
pub(crate) type Key = Hmac<Sha256>;

/// The key that a webhook secret stands for.
pub(crate) fn key(secret: &str) -> Key {
    Key::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length")
}

/// One request to be.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The JSON body.
    pub(crate) body: Bytes,
    /// Its signature in lower-case hex.
    pub(crate) signature: HeaderValue,
}

/// Makes deliveries by number; equal numbers give equal deliveries.
pub(crate) struct Deliveries {
    key: Key,
    begun: Timestamp,
    invoices: u64,
    prepared: Vec<Delivery>,
}

impl Deliveries {
    /// A source of deliveries about `invoices` different invoices (at least one). `begun` tells
    /// this run's bodies from those of another.
    pub(crate) fn new(secret: &str, invoices: u64, begun: Timestamp) -> Self {
        Self { key: key(secret), begun, invoices: invoices.max(1), prepared: Vec::new() }
    }

    /// Makes the first `count` deliveries now.
    pub(crate) fn prepare(&mut self, count: u64) {
        self.prepared = (0..count).map(|number| self.make(number)).collect();
    }

    /// How many are made already.
    pub(crate) fn prepared(&self) -> u64 {
        self.prepared.len() as u64
    }

    /// The delivery of this number: the prepared one, or one made now.
    pub(crate) fn take(&self, number: u64) -> Delivery {
        let prepared = usize::try_from(number).ok().and_then(|number| self.prepared.get(number));
        prepared.cloned().unwrap_or_else(|| self.make(number))
    }

    /// The amount is the number, and the time moves on by a millisecond each: no two bodies of a
    /// run are equal, nor are those of two runs that began in different milliseconds.
    fn make(&self, number: u64) -> Delivery {
        let invoice = scatter(number) % self.invoices;
        let cents = number + 1;
        let at = self.begun + SignedDuration::from_millis(i64::try_from(number).unwrap_or(i64::MAX));
        let body = format!(
            r#"{{"event":"payment.received","data":{{"invoiceId":"c3d4e5f6-0000-4000-8000-{invoice:012x}","amountCents":{cents}}},"timestamp":"{at:.3}"}}"#
        );
        let mac = self.key.clone().chain_update(&body).finalize().into_bytes();
        let signature = HeaderValue::try_from(hex::encode(mac)).expect("hex digits are visible ASCII");
        Delivery { body: body.into(), signature }
    }
}

/// Spreads numbers evenly and without pattern (the mixing step of `SplitMix64`), so that the events
/// of one invoice come at irregular distances, as they do in life.
pub(crate) const fn scatter(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SECRET: &str = "whsec_0123456789abcdef";

    fn begun(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn looks_and_is_signed_like_finkares() {
        let deliveries = Deliveries::new(SECRET, 1, begun("2026-03-15T10:30:00Z"));
        let first = deliveries.take(0);
        assert_eq!(
            first.body,
            r#"{"event":"payment.received","data":{"invoiceId":"c3d4e5f6-0000-4000-8000-000000000000","amountCents":1},"timestamp":"2026-03-15T10:30:00.000Z"}"#
        );
        // printf '%s' "$BODY" | openssl dgst -sha256 -hmac whsec_0123456789abcdef
        assert_eq!(first.signature, "6128d07788ca7eb944b2a66a85320a630a094c42bf92f21a2a4933d64f1eec26");
    }

    #[test]
    fn no_two_bodies_are_equal() {
        let (one, two) = (begun("2026-03-15T10:30:00Z"), begun("2026-03-15T10:30:00.001Z"));
        let runs = [Deliveries::new(SECRET, 7, one), Deliveries::new(SECRET, 7, two)];
        let bodies: HashSet<Bytes> = runs.iter().flat_map(|run| (0..5000).map(|n| run.take(n).body)).collect();
        assert_eq!(bodies.len(), 10_000);
    }

    #[test]
    fn invoices_come_from_a_pool() {
        let deliveries = Deliveries::new(SECRET, 7, begun("2026-03-15T10:30:00Z"));
        let invoices: HashSet<String> = (0..500)
            .map(|number| {
                let body: serde_json::Value = serde_json::from_slice(&deliveries.take(number).body).unwrap();
                body["data"]["invoiceId"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(invoices.len(), 7);
    }

    #[test]
    fn prepared_or_not_is_the_same() {
        let mut deliveries = Deliveries::new(SECRET, 100, begun("2026-03-15T10:30:00Z"));
        let before: Vec<_> = (0..4).map(|number| deliveries.take(number)).collect();
        deliveries.prepare(2);
        assert_eq!(deliveries.prepared(), 2);
        for (number, before) in (0..).zip(before) {
            let after = deliveries.take(number);
            assert_eq!((after.body, after.signature), (before.body, before.signature));
        }
    }
}
