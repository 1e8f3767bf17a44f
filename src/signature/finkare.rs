//! Finkare's signature: `X-Finkare-Signature` = hex HMAC-SHA256 of the body, the key being the
//! whole `whsec_…` string (source: <https://docs.finkare.io/guides/webhook-setup>).

use serde::Deserialize;

use crate::model::secret::Secret;

/// The header that carries the signature.
pub const HEADER: &str = "x-finkare-signature";

/// What the signature is computed over. Not documented beyond an example that signs
/// `JSON.stringify(body)`, hence a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureOver {
    /// The body, byte for byte.
    #[default]
    Raw,
    /// The body parsed and written again, compactly, as `JSON.stringify` does.
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
    /// The string without `whsec_`, base64-decoded.
    Base64,
}

/// Signs a body as Finkare does: lower-case hex.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    hex::encode(super::hmac::sha256(secret.expose().as_bytes(), body))
}
