//! Signing a delivery, written from Finkare's documentation and without any code that verifies it.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    secret::Secret,
    settings::{Encoding, Variants},
};

/// The header that carries the signature.
pub(crate) const HEADER: &str = "x-finkare-signature";

/// The signature of a message, spelled as the variants say: by default the hexadecimal HMAC-SHA256 alone.
pub(crate) fn sign(message: &[u8], secret: &Secret, variants: &Variants) -> String {
    let key = key(secret, variants.secret_encoding);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of every length");
    mac.update(message);
    let mut signature = hex::encode(mac.finalize().into_bytes());
    if variants.signature_upper_case {
        signature.make_ascii_uppercase();
    }
    if variants.signature_prefix {
        signature.insert_str(0, "sha256=");
    }
    signature
}

fn key(secret: &Secret, encoding: Encoding) -> Vec<u8> {
    let whole = secret.expose();
    let stripped = whole.strip_prefix("whsec_").unwrap_or(whole);
    match encoding {
        Encoding::Literal => whole.into(),
        Encoding::Stripped => stripped.into(),
        Encoding::Base64 => {
            let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let bytes = GeneralPurpose::new(&STANDARD, config).decode(stripped);
            bytes.expect("every secret is `whsec_` and base64: `State::secret` made it")
        }
    }
}
