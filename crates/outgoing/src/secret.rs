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

    /// Describes characters at its ends, or invisible ones inside, that were most likely not meant as a part of it.
    /// The text ends a sentence that begins with the secret's place, and reveals nothing else about the secret.
    pub fn oddity(&self) -> Option<&'static str> {
        let text = self.expose();
        let is_quoted = |text: &str| text.chars().count() > 1 && text.starts_with(QUOTES) && text.ends_with(QUOTES);
        if text.starts_with('\u{feff}') {
            Some("begins with a byte order mark (U+FEFF), which editors on Windows write and nobody sees")
        } else if text.contains(is_unseen) {
            Some("has characters that cannot be seen, such as a zero-width space")
        } else if text.ends_with('\r') {
            Some("ends in a carriage return: the file that it comes from has the line ends of Windows")
        } else if text.trim() != text {
            Some("begins or ends with a blank or a newline")
        } else if is_quoted(text) {
            Some("is in quotes")
        } else if text.starts_with(QUOTES) || text.ends_with(QUOTES) {
            Some("begins or ends with a quote")
        } else {
            None
        }
    }

    /// The secret without the characters that [`Secret::oddity`] describes; `None` without such characters, or if
    /// nothing else is left. It serves to find out what was meant, and is never accepted in place of the secret.
    pub fn without_oddities(&self) -> Option<Self> {
        self.oddity()?;
        let seen: Zeroizing<String> = Zeroizing::new(self.expose().chars().filter(|c| !is_unseen(*c)).collect());
        let bare = seen.trim_matches(|c: char| c.is_whitespace() || QUOTES.contains(&c));
        (!bare.is_empty() && bare != self.expose()).then(|| Self::new(bare))
    }
}

/// True for a URL whose password seems to hold a `/`, `?` or `#` that is not percent-encoded. The beginning of such a password
/// would be read as a port, and its rest as a path, a query or a fragment, all of which may be shown.
pub fn has_split_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    authority.contains(':') && !authority.starts_with('[') && !authority.contains('@') && behind.contains('@')
}

/// Quotes that people and their tools put around a text.
const QUOTES: [char; 13] = [
    '"', '\'', '`', '\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}', '\u{bb}',
    '\u{2039}', '\u{203a}',
];

/// True for characters without width on a screen, and for the no-break space, which looks like a blank (Unicode, general
/// category Cf and U+00A0).
const fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{a0}' | '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
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
    fn what_was_never_meant_is_told_and_left_out() {
        for (written, told, meant) in [
            ("\"whsec_a\"", "is in quotes", "whsec_a"),
            ("'whsec_a'", "is in quotes", "whsec_a"),
            ("\u{201c}whsec_a\u{201d}", "is in quotes", "whsec_a"),
            ("whsec_a\"", "begins or ends with a quote", "whsec_a"),
            ("\u{feff}whsec_a", "begins with a byte order mark", "whsec_a"),
            ("whsec\u{200b}_a", "has characters that cannot be seen", "whsec_a"),
            ("whsec_a\r", "ends in a carriage return", "whsec_a"),
            (" whsec_a", "begins or ends with a blank", "whsec_a"),
            ("\u{feff}\"whsec_a\"\r\n", "begins with a byte order mark", "whsec_a"),
        ] {
            let secret = Secret::new(written);
            let oddity = secret.oddity().unwrap_or_default();
            assert!(oddity.starts_with(told) && !oddity.contains("whsec"), "{written:?}: {oddity}");
            assert_eq!(secret.without_oddities().unwrap().expose(), meant, "{written:?}");
        }
        for plain in ["whsec_a", "a\"b", "it's", "p\u{e9}ch\u{e9}", ""] {
            assert_eq!(Secret::new(plain).oddity(), None, "{plain:?}");
            assert!(Secret::new(plain).without_oddities().is_none());
        }
        assert!(Secret::new("\"\"").without_oddities().is_none(), "nothing would be left");
    }

    #[test]
    fn a_password_that_would_be_read_as_a_port_is_seen() {
        for url in ["postgres://u:12/x@db/relay", "https://u:12#x@erp.example/hook", "https://u:12?x@erp.example"] {
            assert!(has_split_password(url), "{url}");
        }
        for url in [
            "https://u:p@x@erp.example/a@b",
            "https://erp.example/@team",
            "https://[::1]:8/a@b",
            "https://erp:8/a",
            "x",
        ] {
            assert!(!has_split_password(url), "{url}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let shown = format!("{:?} {:#?}", Secret::new("whsec_abc"), Some(Secret::new("whsec_abc")));
        assert!(!shown.contains("abc") && shown.contains("[redacted]"), "{shown}");
    }
}
