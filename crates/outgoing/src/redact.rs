//! Masking secrets in the texts of other services, which echo what they receive: in an error page, in a message, in an
//! identifier.

use crate::secret::Secret;

/// The replacement for a secret.
const MASK: &str = "[redacted]";

/// Texts that must not be shown, and the prefixes of secrets that were never seen.
///
/// Texts of fewer than four characters are not masked: they are no secrets, and masking them would make every message
/// unreadable.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first, so that a part never breaks up the whole.
    private: Vec<Secret>,
    prefixes: &'static [&'static str],
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("private", &self.private.len()).finish_non_exhaustive()
    }
}

impl Redactor {
    /// Masks these texts.
    pub fn of<'a>(private: impl IntoIterator<Item = &'a str>) -> Self {
        let mut redactor = Self::default();
        private.into_iter().for_each(|text| redactor.add(text));
        redactor
    }

    /// Also masks every word that begins with one of these prefixes, such as a secret that the other service has just
    /// made, or another customer's key.
    #[must_use]
    pub fn with_prefixes(self, prefixes: &'static [&'static str]) -> Self {
        Self { prefixes, ..self }
    }

    /// Also masks this text.
    pub fn add(&mut self, text: &str) {
        const SHORTEST: usize = 4;
        if text.chars().count() >= SHORTEST {
            self.private.push(Secret::new(text));
            self.private.sort_by_key(|text| std::cmp::Reverse(text.expose().len()));
        }
    }

    /// The text with `[redacted]` in place of everything private.
    pub fn redact(&self, text: &str) -> String {
        let text = self.private.iter().fold(text.to_owned(), |text, private| text.replace(private.expose(), MASK));
        self.prefixes.iter().fold(text, |text, prefix| mask_words(&text, prefix))
    }

    /// At most `most` characters of the text on one line, masked: fit for errors, logs and terminals. A text that is cut
    /// ends with `…`.
    ///
    /// It is masked before it is cut, so that no half of a secret is left.
    pub fn line(&self, text: &str, most: usize) -> String {
        one_line(&self.redact(text), most)
    }

    /// The same for a body in any encoding.
    pub fn excerpt(&self, body: &[u8], most: usize) -> String {
        self.line(&String::from_utf8_lossy(body), most)
    }
}

/// At most `most` characters of the text on one line, without invisible marks. A text that is cut ends with `…`.
pub fn one_line(text: &str, most: usize) -> String {
    // Invisible characters that reorder or hide the text after them do not belong in a log.
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || invisible(c)).filter(|word| !word.is_empty()).collect();
    let mut line = words.join(" ");
    if line.chars().count() > most {
        line = line.chars().take(most.saturating_sub(1)).chain(['…']).take(most).collect();
    }
    line
}

/// Masks every word that begins with the prefix. A word ends where a word of a text, of JSON or of HTML must end.
fn mask_words(text: &str, prefix: &str) -> String {
    let mut parts = text.split(prefix);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(MASK);
        let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`,;&<>()[]{}\\".contains(c);
        masked.push_str(part.find(ends).map_or("", |end| &part[end..]));
    }
    masked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::of(["fk_live_abcdef", "abcdef"]).with_prefixes(&["whsec_", "fk_live_", "fk_test_"])
    }

    #[test]
    fn what_is_known_is_masked_and_so_is_what_looks_like_a_secret() {
        for (text, masked) in [
            ("key fk_live_abcdef is bad", "key [redacted] is bad"),
            ("key abcdef is bad", "key [redacted] is bad"),
            ("key fk_live_abcd… is bad", "key [redacted] is bad"),
            ("{\"secret\":\"whsec_a+/b=\"}", "{\"secret\":\"[redacted]\"}"),
            ("whsec_a,whsec_bwhsec_c", "[redacted],[redacted][redacted]"),
            ("<b>fk_test_other</b>", "<b>[redacted]</b>"),
            ("nothing of ours", "nothing of ours"),
        ] {
            assert_eq!(redactor().redact(text), masked);
        }
    }

    #[test]
    fn a_short_text_is_no_secret() {
        assert_eq!(Redactor::of(["a", "", "abc"]).redact("abc: a bad day"), "abc: a bad day");
    }

    #[test]
    fn a_line_is_short_and_readable_and_masked_before_it_is_cut() {
        let none = Redactor::default();
        assert_eq!(none.excerpt(b" <h1>\r\n\tBad\x00\x1b[31m day</h1>\n", 200), "<h1> Bad [31m day</h1>");
        assert_eq!(none.line("é\u{202e}x\u{2028}y\u{feff}", 200), "é x y");
        assert_eq!(none.excerpt(b"a\xff", 200), "a\u{fffd}");
        assert_eq!(none.line("éééé", 4), "éééé");
        assert_eq!(none.line("éééé", 3), "éé…");
        assert_eq!(none.excerpt(b"", 200), "");
        assert_eq!(redactor().line("bad fk_live_abcdef", 10), "bad [reda…");
    }

    #[test]
    fn debug_shows_nothing() {
        assert!(!format!("{:?}", redactor()).contains("abc"));
    }

    proptest! {
        #[test]
        fn no_line_is_longer_or_on_more_lines(body in any::<Vec<u8>>(), most in 0usize..300) {
            let line = Redactor::default().excerpt(&body.repeat(20), most);
            prop_assert!(line.chars().count() <= most);
            prop_assert!(!line.contains(char::is_control));
        }

        #[test]
        fn no_secret_is_left_wherever_it_stands(before in ".{0,40}", after in ".{0,40}", most in 0usize..100) {
            let line = redactor().line(&format!("{before}fk_live_abcdef{after} whsec_zyx {after}"), most);
            prop_assert!(!line.contains("fk_live") && !line.contains("abcdef") && !line.contains("whsec"));
        }
    }
}
