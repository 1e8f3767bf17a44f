//! Standard Webhooks: how we sign what HTTP sinks send (<https://www.standardwebhooks.com>).

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::model::secret::Secret;

/// Signs messages with one secret.
#[derive(Clone)]
pub struct Signer {
    key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer([redacted])")
    }
}

impl Signer {
    /// Takes a secret of the form `whsec_` + base64.
    ///
    /// # Errors
    /// When it has another form; the secret is not repeated.
    pub fn new(secret: &Secret) -> Result<Self, String> {
        let key = secret.expose().strip_prefix("whsec_").and_then(|text| BASE64_STANDARD.decode(text).ok());
        match key {
            Some(key) if !key.is_empty() => Ok(Self { key: Zeroizing::new(key) }),
            _ => Err("`secret` must be `whsec_` followed by base64".to_owned()),
        }
    }

    /// The `webhook-signature` header: `v1,` + base64 of HMAC-SHA256 over `id.timestamp.body`.
    pub fn sign(&self, id: &str, timestamp_secs: i64, body: &[u8]) -> String {
        let message = [format!("{id}.{timestamp_secs}.").as_bytes(), body].concat();
        format!("v1,{}", BASE64_STANDARD.encode(super::hmac::sha256(&self.key, &message)))
    }
}
