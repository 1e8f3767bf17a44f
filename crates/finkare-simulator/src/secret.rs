//! The simulator's own secrets: a type that is not shown by accident.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A secret: redacted in `Debug`, without `Display` and `Serialize`, wiped from memory on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Every caller of this method is a place where it could leak.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The part that the controls show: the first 16 hexadecimal digits of its SHA-256.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(&Sha256::digest(self.expose())[..8])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_its_fingerprint_alone() {
        let secret = Secret::new("whsec_abc");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        // printf %s whsec_abc | sha256sum
        assert_eq!(secret.fingerprint(), "e1ac16da4cace73e");
    }
}
