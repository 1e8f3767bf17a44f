//! Proof that a message is genuine, coming in ([`finkare`]) and going out ([`standard_webhooks`]).
//!
//! Pure: bytes, headers, secrets and time are arguments. Only [`hmac`] touches the hmac crate, and
//! only it compares; [`reserialize`] writes JSON again as the vendor's example does before it signs.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

pub mod finkare;
pub mod header_shape;
pub mod hmac;
pub mod reserialize;
pub mod standard_webhooks;

/// What both schemes put before a secret, so that people and scanners know one when they see it.
const SECRET_PREFIX: &str = "whsec_";

/// Standard alphabet; padding may be missing, as people lose it when they copy.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that a base64 text stands for. The decoder's own error is dropped on purpose: it
/// quotes a character of the secret.
fn decode_secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    SECRET_BASE64.decode(text).ok().map(Zeroizing::new)
}
