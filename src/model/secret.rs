//! A string that must never be shown.

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

/// A secret: redacted in `Debug`, without `Display` and `Serialize`, wiped from memory on drop.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(from = "String")]
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
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
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
    fn debug_shows_nothing() {
        let shown = format!("{:?} {:#?}", Secret::new("whsec_abc"), Some(Secret::new("whsec_abc")));
        assert!(!shown.contains("abc") && shown.contains("[redacted]"), "{shown}");
    }
}
