//! Standard Webhooks: how we sign the messages of HTTP sinks.
//!
//! Source: the specification, version 1, "Signature scheme" and "Webhook headers"
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//! Only the symmetric scheme `v1`: the operator and the target share a secret.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    finkare::{SECRET_PREFIX, decode_secret},
    hmac::Key,
};
use crate::model::secret::Secret;

/// The header with the message's id: the same on every retry and replay.
pub const ID_HEADER: &str = "webhook-id";

/// The header with the time of this attempt: whole seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";

/// The header with the signature, or several, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How many bytes a secret may have, decoded.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs messages with one secret. Cloning it is cheap.
#[derive(Clone)]
pub struct Signer(Key);

impl Signer {
    /// Prepares the key from `whsec_` and the base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// The secret has another form. The text says which part and what to do; it never holds the secret.
    pub fn new(secret: &Secret) -> Result<Self, String> {
        const NEW_ONE: &str = "make one with `echo \"whsec_$(openssl rand -base64 32)\"`";
        let encoded = secret
            .expose()
            .strip_prefix(SECRET_PREFIX)
            .ok_or_else(|| format!("the signing secret does not begin with `{SECRET_PREFIX}`: {NEW_ONE}"))?;
        let key = decode_secret(encoded)
            .ok_or_else(|| format!("the signing secret is not base64 behind its `{SECRET_PREFIX}`: {NEW_ONE}"))?;
        if !SECRET_BYTES.contains(&key.len()) {
            let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
            return Err(format!("the signing secret has {} bytes, not {least} to {most}: {NEW_ONE}", key.len()));
        }
        Ok(Self(Key::new(&key)))
    }

    /// The value of [`SIGNATURE_HEADER`] for a message: `v1,` and the base64 of the HMAC-SHA256 of
    /// `id.timestamp.body`.
    ///
    /// `id` goes into [`ID_HEADER`] and must contain no full stop, because one signature would then be valid for two
    /// messages (our ids are UUIDs); `timestamp_secs` goes into [`TIMESTAMP_HEADER`].
    pub fn sign(&self, id: &str, timestamp_secs: i64, body: &[u8]) -> String {
        debug_assert!(!id.contains('.'), "a message id with a full stop: {id}");
        let tag = self.0.tag(&[id.as_bytes(), b".", timestamp_secs.to_string().as_bytes(), b".", body]);
        format!("v1,{}", BASE64_STANDARD.encode(tag))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signer(secret: &str) -> Result<Signer, String> {
        Signer::new(&Secret::new(secret))
    }

    fn secret_of(bytes: &[u8]) -> String {
        format!("whsec_{}", BASE64_STANDARD.encode(bytes))
    }

    /// From the project's own tests, commit b2fa7b87: `libraries/rust/src/lib.rs`, and
    /// `libraries/python/tests/test_webhooks.py`, which the other languages share.
    #[test]
    fn agrees_with_the_published_vectors() {
        let rust = signer("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        assert_eq!(
            rust.sign(
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                br#"{"email":"test@example.com","username":"test_user"}"#
            ),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
        let others = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(
            others.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn takes_secrets_as_the_specification_has_them() {
        for bytes in [24, 25, 64] {
            let secret = secret_of(&vec![7; bytes]);
            let padded = signer(&secret).unwrap().sign("m", 1, b"x");
            assert_eq!(signer(secret.trim_end_matches('=')).unwrap().sign("m", 1, b"x"), padded);
        }
    }

    #[test]
    fn refuses_other_secrets_without_showing_them() {
        for (secret, says) in [
            (String::new(), "does not begin with `whsec_`"),
            ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned(), "does not begin with `whsec_`"),
            ("whsec_C2FVsBQIhrscChlQIMV*b5sSYspob7oD".to_owned(), "is not base64"),
            ("whsec_".to_owned(), "has 0 bytes, not 24 to 64"),
            (secret_of(&[0xbb; 23]), "has 23 bytes, not 24 to 64"),
            (secret_of(&[0xbb; 65]), "has 65 bytes, not 24 to 64"),
        ] {
            let error = signer(&secret).unwrap_err();
            assert!(error.contains(says), "{error}");
            let encoded = secret.trim_start_matches(SECRET_PREFIX);
            assert!(encoded.is_empty() || !error.contains(encoded) && !error.contains('*'), "{error}");
        }
        let shown = format!("{:?}", signer(&secret_of(&[7; 24])).unwrap());
        assert_eq!(shown, "Signer([redacted])");
    }

    proptest! {
        /// A target that uses the project's own crate accepts what we send, and nothing else.
        #[test]
        fn the_reference_implementation_accepts_it(
            key in prop::collection::vec(any::<u8>(), 24..=64), id in "[a-zA-Z0-9_-]{1,40}", body in any::<String>(),
        ) {
            let secret = secret_of(&key);
            // The reference compares the time with the real clock.
            let now = crate::model::clock::now().as_second();
            let target = standardwebhooks::Webhook::new(&secret).unwrap();
            let mut headers = http::HeaderMap::new();
            headers.insert(ID_HEADER, id.parse().unwrap());
            headers.insert(TIMESTAMP_HEADER, now.into());
            headers.insert(SIGNATURE_HEADER, signer(&secret).unwrap().sign(&id, now, body.as_bytes()).parse().unwrap());
            prop_assert!(target.verify(body.as_bytes(), &headers).is_ok());
            prop_assert!(target.verify(&[body.as_bytes(), b" "].concat(), &headers).is_err());
            headers.insert(TIMESTAMP_HEADER, (now - 1).into());
            prop_assert!(target.verify(body.as_bytes(), &headers).is_err());
        }
    }
}
