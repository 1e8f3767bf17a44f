//! Finkare's signature: `X-Finkare-Signature` = hex HMAC-SHA256 of the body, the key being the
//! whole `whsec_…` string (source: <https://docs.finkare.io/guides/webhook-setup>).
//!
//! The documentation shows only one example. Undocumented details are a setting ([`SignatureOver`],
//! [`SecretEncoding`]), or are tolerated if that costs no safety: an optional `sha256=`, hex digits of either case,
//! blanks around the value.
//!
//! [`verify`] checks one delivery with one secret; that is all that a small receiver needs. `signature-vectors.json`,
//! beside this crate's README, has test vectors for other implementations.
//!
//! [`Verifier`] is built for the secrets that are valid now and replaced when they change. A caller takes the header
//! with [`header_of`], verifies, and acts upon [`Verified::message`] alone.
//!
//! Everything here is pure: bytes, headers and secrets are arguments. Only [`hmac`] uses the hmac crate and compares
//! tags; [`mod@reserialize`] writes JSON again as the vendor's example does before it signs.
//!
//! ```
//! use bytes::Bytes;
//! use finkare::{Secret, signature::{SecretEncoding, SignatureOver, Verifier, sign}};
//!
//! let secret = Secret::new("whsec_example");
//! let verifier = Verifier::new(vec![secret.clone()], SecretEncoding::Literal, SignatureOver::Raw)?;
//!
//! let body = Bytes::from_static(br#"{"event":"payment.received"}"#);
//! let header = sign(&secret, &body);
//! let verified = verifier.verify(Some(header.as_bytes()), &body).expect("it is genuine");
//! assert_eq!(verified.message, body);
//! assert!(verifier.verify(Some(header.as_bytes()), &Bytes::from_static(b"{}")).is_err());
//! # Ok::<(), String>(())
//! ```

use std::{fmt, sync::Arc};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use zeroize::Zeroizing;

use self::{
    hmac::{Key, Tag},
    reserialize::reserialize,
};
use crate::Secret;

pub mod hmac;
pub mod reserialize;

/// The prefix of secrets, by which people and scanners recognise one.
pub const SECRET_PREFIX: &str = "whsec_";

/// Standard alphabet; padding may be missing, as people lose it when they copy.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes a base64 text, whose padding may be missing. The decoder's own error is dropped on purpose: it quotes a
/// character of the secret.
pub fn decode_secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    SECRET_BASE64.decode(text).ok().map(Zeroizing::new)
}

/// The header that carries the signature.
pub const HEADER: &str = "x-finkare-signature";

/// The bytes that the signature covers. The documentation shows only an example that signs `JSON.stringify(body)`, so
/// this is a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureOver {
    /// The body, byte for byte.
    #[default]
    Raw,
    /// The body parsed and written again, compactly, as `JSON.stringify` does; see
    /// [`mod@reserialize`].
    Reserialized,
    /// The body, or else the body written again.
    Either,
}

/// How the secret string becomes the HMAC key. The vendor's example uses it literally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretEncoding {
    /// The whole string, `whsec_` included, as UTF-8.
    #[default]
    Literal,
    /// The string without `whsec_`, as UTF-8.
    Stripped,
    /// The string without `whsec_`, base64-decoded (standard alphabet, padding optional).
    Base64,
}

/// Signs a body as Finkare does: lower-case hex over the bytes, keyed by the whole secret string.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    hex::encode(Key::new(secret.expose().as_bytes()).tag(&[body]))
}

/// Checks one delivery with one secret, as the vendor's example does: the value of its [`HEADER`] and its body, byte for byte
/// as it came.
///
/// The header's value may be a `&str`, bytes, or a `HeaderValue` as `HeaderMap::get` returns it.
///
/// A [`Verifier`] can do more: several secrets during a rotation, and the readings that are not documented.
///
/// ```
/// use finkare::{Secret, signature::{Rejection, verify}};
///
/// let secret = Secret::new("whsec_example");
/// let body = br#"{"event":"payment.received"}"#;
/// let header = "c2db50996fbac60527e7f2f1d645d6349984b12f4e44ea43fdfd46704fc7f1e9";
/// assert_eq!(verify(&secret, Some(header), body), Ok(()));
/// assert_eq!(verify(&secret, Some(header), b"{}"), Err(Rejection::Mismatch));
/// assert_eq!(verify::<str>(&secret, None, body), Err(Rejection::HeaderMissing));
/// ```
///
/// # Errors
/// Why the delivery is not proved to be genuine: answer 401, and do nothing with its body. An empty secret is
/// [`Rejection::NoSecret`], because anyone can sign with it.
pub fn verify<H>(secret: &Secret, header: Option<&H>, body: &[u8]) -> Result<(), Rejection>
where
    H: AsRef<[u8]> + ?Sized,
{
    let verifier = Verifier::new(vec![secret.clone()], SecretEncoding::Literal, SignatureOver::Raw);
    let verifier = verifier.map_err(|_| Rejection::NoSecret)?;
    verifier.verify(header.map(AsRef::as_ref), &Bytes::copy_from_slice(body)).map(drop)
}

/// A message that was proved to come from Finkare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The bytes that the signature covers, and so the only ones to act upon: the body, or the body written again if
    /// that was signed.
    pub message: Bytes,
    /// Index of the secret that matched, in the order given to [`Verifier::new`].
    pub key: usize,
}

/// Why a delivery is refused. The reasons are for the receiver's log; the sender should learn only that it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The endpoint has no secret, so nothing can be genuine.
    #[error("the endpoint has no webhook secret: set one, or register the webhook")]
    NoSecret,
    /// No header.
    #[error("the delivery has no `{HEADER}` header")]
    HeaderMissing,
    /// There are several headers. It is not defined which one would count, so none does.
    #[error("the delivery has more than one `{HEADER}` header")]
    HeaderRepeated,
    /// It contains other characters than hex digits.
    #[error("the `{HEADER}` header is not hexadecimal")]
    HeaderNotHex,
    /// It is too short or too long for an HMAC-SHA256.
    #[error("the `{HEADER}` header has {found} characters, not the 64 hex digits of an HMAC-SHA256")]
    HeaderLength {
        /// Its length in bytes, without the surrounding blanks and the optional prefix.
        found: usize,
    },
    /// No secret matches.
    #[error("the signature fits none of the endpoint's secrets: it is forged, or the secret was changed at Finkare")]
    Mismatch,
    /// A secret matches that is no longer valid.
    #[error("the signature fits a secret that was retired: its overlap after a rotation is over")]
    Retired,
    /// The signature is over the body written again, and this body cannot be written again. With
    /// [`SignatureOver::Either`] the body as it came does not match either.
    #[error("the signature cannot be checked over the re-serialised body")]
    NotReserializable(#[source] reserialize::Error),
}

impl Rejection {
    /// True if no other secret could make the delivery genuine.
    pub fn is_final(&self) -> bool {
        match self {
            Self::HeaderMissing
            | Self::HeaderRepeated
            | Self::HeaderNotHex
            | Self::HeaderLength { .. }
            | Self::Retired => true,
            Self::NoSecret | Self::Mismatch | Self::NotReserializable(_) => false,
        }
    }
}

/// The value of the signature header; `None` without one.
///
/// # Errors
/// [`Rejection::HeaderRepeated`] when there is more than one.
pub fn header_of(headers: &HeaderMap) -> Result<Option<&[u8]>, Rejection> {
    let mut values = headers.get_all(HEADER).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Rejection::HeaderRepeated),
        None => Ok(first.map(http::HeaderValue::as_bytes)),
    }
}

/// Checks deliveries against every secret that is valid now. Cloning it is cheap.
#[derive(Clone)]
pub struct Verifier {
    keys: Arc<[Key]>,
    over: SignatureOver,
}

impl Verifier {
    /// Prepares the keys. Without any secret, every delivery is refused.
    ///
    /// # Errors
    /// A secret is empty, or is not base64 where `encoding` says that it is. The text names its
    /// place in the list, never the secret.
    pub fn new(secrets: Vec<Secret>, encoding: SecretEncoding, over: SignatureOver) -> Result<Self, String> {
        let count = secrets.len();
        let keys = secrets.into_iter().zip(1..).map(|(secret, number)| {
            key(&secret, encoding).map_err(|problem| format!("webhook secret {number} of {count} {problem}"))
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, over })
    }

    /// Checks a delivery: the value of its signature header, and its body as it came.
    ///
    /// A missing or malformed header is refused at once: that depends on what the sender wrote and
    /// reveals nothing. From there on every secret is tried with every reading that
    /// [`SignatureOver`] allows, in constant time and without early exit. A second reading with the
    /// same bytes as the first is left out; that, too, depends on the body alone.
    ///
    /// # Errors
    /// [`Rejection`] says why the delivery is not proved to be genuine.
    pub fn verify(&self, header: Option<&[u8]>, body: &Bytes) -> Result<Verified, Rejection> {
        let claimed = parse(header.ok_or(Rejection::HeaderMissing)?)?;
        if self.keys.is_empty() {
            return Err(Rejection::NoSecret);
        }
        let mut readings = Vec::with_capacity(2);
        let mut unwritable = None;
        if self.over != SignatureOver::Reserialized {
            readings.push(body.clone());
        }
        if self.over != SignatureOver::Raw {
            match reserialize(body).map(Bytes::from) {
                Ok(written) if readings.contains(&written) => {}
                Ok(written) => readings.push(written),
                Err(error) => unwritable = Some(error),
            }
        }
        match hmac::find(&self.keys, &readings, &claimed) {
            Some(found) => Ok(Verified { message: readings.swap_remove(found.message), key: found.key }),
            None => Err(unwritable.map_or(Rejection::Mismatch, Rejection::NotReserializable)),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("keys", &self.keys.len()).field("over", &self.over).finish()
    }
}

/// The HMAC key of a secret. The error says what is wrong with it and what to do, and follows the words "webhook
/// secret 1 of 2".
pub fn key(secret: &Secret, encoding: SecretEncoding) -> Result<Key, &'static str> {
    let whole = secret.expose();
    let stripped = whole.strip_prefix(SECRET_PREFIX).unwrap_or(whole);
    let text = match encoding {
        SecretEncoding::Literal => whole,
        SecretEncoding::Stripped | SecretEncoding::Base64 => stripped,
    };
    // Anyone can sign with an empty key.
    if text.trim().is_empty() {
        return Err("is empty: copy it again from Finkare, or remove it");
    }
    match encoding {
        SecretEncoding::Literal | SecretEncoding::Stripped => Ok(Key::new(text.as_bytes())),
        SecretEncoding::Base64 => decode_secret(text).map(|bytes| Key::new(&bytes)).ok_or(
            "is not base64 behind its `whsec_`: copy it again from Finkare, or set `secret_encoding` to `literal`",
        ),
    }
}

/// The tag in a signature header: `[sha256=]` and 64 hex digits, with blanks around them.
fn parse(header: &[u8]) -> Result<Tag, Rejection> {
    const PREFIX: &[u8] = b"sha256=";
    let value = header.trim_ascii();
    let digits = match value.split_at_checked(PREFIX.len()) {
        Some((prefix, digits)) if prefix.eq_ignore_ascii_case(PREFIX) => digits,
        _ => value,
    };
    let mut tag = Tag::default();
    match hex::decode_to_slice(digits, &mut tag) {
        Ok(()) => Ok(tag),
        Err(hex::FromHexError::InvalidHexCharacter { .. }) => Err(Rejection::HeaderNotHex),
        Err(hex::FromHexError::OddLength | hex::FromHexError::InvalidStringLength) => {
            Err(Rejection::HeaderLength { found: digits.len() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &str = r#"{"event":"payment.received","data":{"invoiceId":"c3d4","amountCents":150000},"timestamp":"2026-03-15T10:30:00.000Z"}"#;

    fn verifier(secrets: &[&str], over: SignatureOver) -> Verifier {
        let secrets = secrets.iter().copied().map(Secret::new).collect();
        Verifier::new(secrets, SecretEncoding::Literal, over).unwrap()
    }

    fn verify(verifier: &Verifier, header: &str, body: &str) -> Result<Verified, Rejection> {
        verifier.verify(Some(header.as_bytes()), &Bytes::copy_from_slice(body.as_bytes()))
    }

    fn signed(secret: &str, body: &str) -> String {
        sign(&Secret::new(secret), body.as_bytes())
    }

    #[test]
    fn every_secret_is_tried() {
        let secrets = ["whsec_old", "whsec_now", "whsec_next"];
        let verifier = verifier(&secrets, SignatureOver::Raw);
        for (key, secret) in secrets.into_iter().enumerate() {
            let result = verify(&verifier, &signed(secret, BODY), BODY);
            assert_eq!(result, Ok(Verified { message: BODY.into(), key }));
        }
        assert_eq!(verify(&verifier, &signed("whsec_other", BODY), BODY), Err(Rejection::Mismatch));
    }

    #[test]
    fn without_a_secret_nothing_is_genuine() {
        let verifier = verifier(&[], SignatureOver::Either);
        assert_eq!(verify(&verifier, &signed("", BODY), BODY), Err(Rejection::NoSecret));
        assert_eq!(verifier.verify(None, &Bytes::new()), Err(Rejection::HeaderMissing));
    }

    #[test]
    fn the_header_may_look_otherwise() {
        let verifier = verifier(&["s"], SignatureOver::Raw);
        let hex = signed("s", BODY);
        for header in [
            format!("  {hex}\t"),
            hex.to_uppercase(),
            format!("sha256={hex}"),
            format!(" SHA256={} ", hex.to_uppercase()),
        ] {
            assert!(verify(&verifier, &header, BODY).is_ok(), "{header}");
        }
    }

    #[test]
    fn a_malformed_header_is_named() {
        let verifier = verifier(&["s"], SignatureOver::Raw);
        let hex = signed("s", BODY);
        let length = |found| Rejection::HeaderLength { found };
        for (header, rejection) in [
            (String::new(), length(0)),
            ("sha256=".to_owned(), length(0)),
            (hex[1..].to_owned(), length(63)),
            (hex[2..].to_owned(), length(62)),
            (format!("{hex}00"), length(66)),
            (format!("{hex}, {hex}"), length(130)),
            (format!("sha1={hex}"), length(69)),
            (format!("sha256= {hex}"), length(65)),
            (format!("sha256=sha256={hex}"), length(71)),
            (format!("g{}", &hex[1..]), Rejection::HeaderNotHex),
            (format!("{}\u{e9}", &hex[2..]), Rejection::HeaderNotHex),
        ] {
            assert_eq!(verify(&verifier, &header, BODY), Err(rejection), "{header}");
        }
        assert_eq!(verifier.verify(None, &BODY.into()), Err(Rejection::HeaderMissing));
    }

    #[test]
    fn only_a_single_header_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(header_of(&headers), Ok(None));
        headers.append("X-Finkare-Signature", http::HeaderValue::from_static("ab"));
        assert_eq!(header_of(&headers), Ok(Some(&b"ab"[..])));
        headers.append("x-finkare-signature", http::HeaderValue::from_static("ab"));
        assert_eq!(header_of(&headers), Err(Rejection::HeaderRepeated));
    }

    #[test]
    fn what_is_signed_decides_what_is_acted_upon() {
        let came = r#"{ "event": "a\u0062", "data": 1.0 }"#;
        let written = r#"{"event":"ab","data":1.0}"#;
        let (over_came, over_written) = (signed("s", came), signed("s", written));
        for (over, header, message) in [
            (SignatureOver::Raw, &over_came, Some(came)),
            (SignatureOver::Raw, &over_written, None),
            (SignatureOver::Reserialized, &over_came, None),
            (SignatureOver::Reserialized, &over_written, Some(written)),
            (SignatureOver::Either, &over_came, Some(came)),
            (SignatureOver::Either, &over_written, Some(written)),
        ] {
            let result = verify(&verifier(&["other", "s"], over), header, came);
            let expected = message.map(|message| Verified { message: message.into(), key: 1 });
            assert_eq!(result, expected.ok_or(Rejection::Mismatch), "{over:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_again_is_refused_unless_its_bytes_are_signed() {
        let twice = r#"{"event":"a","event":"b"}"#;
        for (body, error) in [(twice, reserialize::Error::DuplicateKey), ("{", reserialize::Error::NotJson { at: 1 })] {
            let refused = Err(Rejection::NotReserializable(error));
            let genuine = Ok(Verified { message: body.into(), key: 0 });
            let (good, bad) = (signed("s", body), signed("other", body));
            assert_eq!(verify(&verifier(&["s"], SignatureOver::Reserialized), &good, body), refused);
            assert_eq!(verify(&verifier(&["s"], SignatureOver::Either), &bad, body), refused);
            assert_eq!(verify(&verifier(&["s"], SignatureOver::Either), &good, body), genuine);
            assert_eq!(verify(&verifier(&["s"], SignatureOver::Raw), &good, body), genuine);
        }
    }

    #[test]
    fn the_secret_becomes_a_key_as_the_setting_says() {
        let bytes = b"\xfb\xff\xfe 24 bytes or so \0\x01";
        let secret = format!("whsec_{}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes));
        let stripped = &secret["whsec_".len()..];
        for (encoding, key) in [
            (SecretEncoding::Literal, secret.as_bytes()),
            (SecretEncoding::Stripped, stripped.as_bytes()),
            (SecretEncoding::Base64, bytes),
        ] {
            let verifier = Verifier::new(vec![Secret::new(&*secret)], encoding, SignatureOver::Raw).unwrap();
            assert!(
                verify(&verifier, &hex::encode(Key::new(key).tag(&[BODY.as_bytes()])), BODY).is_ok(),
                "{encoding:?}"
            );
        }
        let unpadded = Secret::new(secret.trim_end_matches('='));
        let verifier = Verifier::new(vec![unpadded], SecretEncoding::Base64, SignatureOver::Raw).unwrap();
        assert!(verify(&verifier, &hex::encode(Key::new(bytes).tag(&[BODY.as_bytes()])), BODY).is_ok());
    }

    #[test]
    fn an_unusable_secret_is_refused_by_its_place() {
        use SecretEncoding::{Base64, Literal, Stripped};
        for (secret, encoding, says) in [
            ("", Literal, "empty"),
            (" \n", Literal, "empty"),
            ("whsec_", Stripped, "empty"),
            ("whsec_", Base64, "empty"),
            ("whsec_not*base64", Base64, "not base64"),
        ] {
            let secrets = vec![Secret::new("whsec_Z29vZA"), Secret::new(secret)];
            let error = Verifier::new(secrets, encoding, SignatureOver::Raw).unwrap_err();
            assert!(error.starts_with("webhook secret 2 of 2 is") && error.contains(says), "{error}");
            assert!(!error.contains("not*") && !error.contains('*'), "{error}");
        }
    }

    #[test]
    fn debug_and_rejections_show_no_secret() {
        let verifier = verifier(&["whsec_abc"], SignatureOver::Raw);
        assert_eq!(format!("{verifier:?}"), "Verifier { keys: 1, over: Raw }");
    }

    fn any_over() -> impl Strategy<Value = SignatureOver> {
        prop_oneof![Just(SignatureOver::Raw), Just(SignatureOver::Either)]
    }

    proptest! {
        #[test]
        fn what_is_signed_is_genuine(
            secrets in prop::collection::hash_set("[!-~]{1,90}", 1..6), chosen in any::<prop::sample::Index>(),
            body in prop::collection::vec(any::<u8>(), 0..600), over in any_over(),
        ) {
            let secrets: Vec<Secret> = secrets.into_iter().map(Secret::from).collect();
            let key = chosen.index(secrets.len());
            let header = sign(&secrets[key], &body);
            let body = Bytes::from(body);
            let verifier = Verifier::new(secrets, SecretEncoding::Literal, over).unwrap();
            prop_assert_eq!(verifier.verify(Some(header.as_bytes()), &body), Ok(Verified { message: body, key }));
        }

        /// One bit in the body, in the secret or in the signature.
        #[test]
        fn one_changed_bit_is_found(
            secret in "[!-~]{1,90}", body in prop::collection::vec(any::<u8>(), 1..600),
            at in any::<prop::sample::Index>(), bit in 0..8_u32, over in any_over(),
        ) {
            let flip = |bytes: &[u8], bits: u32| {
                let mut bytes = bytes.to_vec();
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << (bit % bits);
                bytes
            };
            let verdict = |secret: &str, header: &str, body: &[u8]| {
                verifier(&["another", secret], over).verify(Some(header.as_bytes()), &Bytes::copy_from_slice(body))
            };
            let header = sign(&Secret::new(&*secret), &body);
            prop_assert!(verdict(&secret, &header, &body).is_ok());
            prop_assert!(verdict(&secret, &header, &flip(&body, 8)).is_err());
            // Seven bits, so that the secret stays ASCII. A longer one may not be all blanks either.
            let other_secret = String::from_utf8(flip(secret.as_bytes(), 7)).unwrap();
            prop_assume!(!other_secret.trim().is_empty());
            prop_assert_eq!(verdict(&other_secret, &header, &body).is_ok(), false);
            let other_tag = hex::encode(flip(&hex::decode(&header).unwrap(), 8));
            prop_assert_eq!(verdict(&secret, &other_tag, &body).is_ok(), false);
        }

        /// With any white space between its parts, a body is found to be the one that was signed.
        #[test]
        fn blanks_do_not_hide_what_was_signed(cents in any::<i64>(), note in any::<String>(), blanks in "[ \t\n\r]{0,9}") {
            let signed_text = serde_json::json!({"event": "a", "data": {"cents": cents, "note": note}}).to_string();
            let note = serde_json::Value::from(note);
            let came = format!(r#"{blanks}{{"event":{blanks}"a"{blanks},{blanks}"data":{{"cents":{cents},"note":{note}{blanks}}}}}{blanks}"#);
            let verified = verify(&verifier(&["s"], SignatureOver::Either), &signed("s", &signed_text), &came).unwrap();
            prop_assert_eq!(verified.message, signed_text.as_bytes());
        }

        #[test]
        fn any_header_gets_an_answer(header in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(verifier(&["s"], SignatureOver::Raw).verify(Some(&header), &BODY.into()).is_err());
        }
    }
}
