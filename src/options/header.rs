//! A secret that travels in a header.

use std::fmt;

use http::HeaderValue;

use crate::model::secret::Secret;

/// A secret that a header can contain, checked once.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderSecret {
    secret: Secret,
    value: HeaderValue,
}

impl HeaderSecret {
    /// Takes a secret that fits on one line and has no control characters.
    ///
    /// # Errors
    /// The problem, as the end of a sentence. It never repeats the secret.
    pub fn new(secret: Secret) -> Result<Self, &'static str> {
        let mut value = HeaderValue::try_from(secret.expose())
            .map_err(|_| "has a character that no header may have, such as a line break")?;
        value.set_sensitive(true);
        Ok(Self { secret, value })
    }

    /// The text. Every caller is a place where it could leak.
    pub fn expose(&self) -> &str {
        self.secret.expose()
    }

    /// The secret itself, for code that masks it.
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The header's value, marked as sensitive.
    pub fn value(&self) -> HeaderValue {
        self.value.clone()
    }
}

impl fmt::Debug for HeaderSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secret.fmt(f)
    }
}

impl TryFrom<Secret> for HeaderSecret {
    type Error = &'static str;

    fn try_from(secret: Secret) -> Result<Self, Self::Error> {
        Self::new(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_header_can_hold() {
        let good = HeaderSecret::new(Secret::new("Bearer hunter2")).unwrap();
        assert_eq!((good.expose(), good.value().is_sensitive()), ("Bearer hunter2", true));
        assert!(!format!("{good:?}").contains("hunter2"));
        for bad in ["hunter2\n", "hunter2\u{7}"] {
            let what = HeaderSecret::new(Secret::new(bad)).unwrap_err();
            assert!(!what.contains("hunter2"), "{what}");
        }
    }
}
