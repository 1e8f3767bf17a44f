//! Why a call failed, and what may be repeated of what Finkare said.

use std::time::Duration;

use outgoing::Effect;
use serde_json::Value;

use crate::model::secret::Secret;

/// Why a call failed. None of these texts holds a key or a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call cannot be made: what it names cannot stand in an address. Nobody was asked.
    #[error("Finkare cannot be asked for {call}: {problem}")]
    Unusable {
        /// What was to be asked, as a phrase ("rotating the secret of webhook 5e4f").
        call: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Finkare answered, and said no; with a status of success where the body says so (`"success": false`).
    #[error("Finkare answered {status}{} to {call}: {message}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Api {
        /// What was asked.
        call: String,
        /// The HTTP status.
        status: u16,
        /// Finkare's own code, such as `RES_001`.
        code: Option<String>,
        /// Finkare's own words; the first 500 characters of the answer where it has none.
        message: String,
        /// `req_…`, for asking Finkare about it.
        request_id: Option<String>,
        /// When to try again, if Finkare said so; at most a day.
        retry_after: Option<Duration>,
    },
    /// No answer, or only a part of one.
    #[error("{}", no_answer(call, *never_sent, *timed_out))]
    Network {
        /// What was asked.
        call: String,
        /// True if the request certainly never left: the connection did not come about.
        never_sent: bool,
        /// True if it took too long: the connecting, or the answer.
        timed_out: bool,
        /// The library's word, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// An answer of success that cannot be read.
    #[error("Finkare's answer to {call} cannot be read: {problem}")]
    Unreadable {
        /// What was asked.
        call: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it; never the body.
        problem: String,
        /// `req_…`
        request_id: Option<String>,
    },
}

impl Error {
    /// True if Finkare may have done what was asked all the same, by the rule of all writes ([`outgoing`]): after a
    /// time-out or a cut connection; after 3xx, 408, 409, 425 and every 5xx; after an answer of success that cannot be
    /// read or says of itself that it is none. False where it has certainly done nothing: the request never left, or was refused with another 4xx.
    pub fn may_have_happened(&self) -> bool {
        let effect = match self {
            Self::Unusable { .. } => Effect::NotDone,
            // A status of success is here only because its body says no, or nothing that can be read.
            Self::Api { status, .. } | Self::Unreadable { status, .. } => outgoing::of_answer(*status, true),
            Self::Network { never_sent, .. } => outgoing::of_silence(*never_sent),
        };
        effect.may_have_happened()
    }

    /// True if Finkare answered with success and yet without what was asked for: asking again will hardly help.
    pub fn is_unreadable_success(&self) -> bool {
        match self {
            Self::Api { status, .. } | Self::Unreadable { status, .. } => (200..300).contains(status),
            Self::Unusable { .. } | Self::Network { .. } => false,
        }
    }

    /// Finkare's own code, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { code, .. } => code.as_deref(),
            Self::Unusable { .. } | Self::Network { .. } | Self::Unreadable { .. } => None,
        }
    }
}

fn no_answer(call: &str, never_sent: bool, timed_out: bool) -> String {
    match (never_sent, timed_out) {
        (true, _) => format!("Finkare could not be reached for {call}"),
        (false, true) => format!("Finkare did not answer in time to {call}"),
        (false, false) => format!("the connection broke before Finkare had answered to {call}"),
    }
}

/// How secrets of Finkare begin. What begins so is masked even where we have never seen it: a secret that was
/// just made, another key of the same company.
const PREFIXES: [&str; 3] = ["whsec_", "fk_live_", "fk_test_"];

/// What stands for a secret.
const MASK: &str = "[redacted]";

/// Knows what Finkare, or a proxy before it, might echo and nobody may read.
pub(super) struct Redactor {
    /// The API key, whole and without its prefix; the longest first, so that a part never breaks up the whole.
    private: Vec<Secret>,
}

impl Redactor {
    /// Shorter texts are no secrets, and masking them would make errors unreadable.
    const SHORTEST: usize = 4;

    pub(super) fn new(api_key: &Secret) -> Self {
        let whole = api_key.expose();
        let bare = PREFIXES.iter().find_map(|prefix| whole.strip_prefix(prefix));
        let private = [Some(whole), bare].into_iter().flatten().filter(|text| text.len() >= Self::SHORTEST);
        Self { private: private.map(Secret::new).collect() }
    }

    /// The text with the key and all that looks like a secret of Finkare masked.
    pub(super) fn redact(&self, text: &str) -> String {
        let text = self.private.iter().fold(text.to_owned(), |text, private| text.replace(private.expose(), MASK));
        PREFIXES.iter().fold(text, |text, prefix| mask_words(&text, prefix))
    }

    /// At most `most` characters of the text on one line, masked: fit for errors, logs and terminals.
    ///
    /// It is masked before it is cut, so that no half of a secret is left.
    pub(super) fn clean(&self, text: &str, most: usize) -> String {
        // Marks that are not seen but reorder or hide what follows them have no place in a log.
        let invisible = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        };
        let line: String =
            self.redact(text.trim()).chars().map(|c| if invisible(c) { ' ' } else { c }).take(most).collect();
        line.trim().to_owned()
    }

    /// Masks every text inside of a JSON value.
    pub(super) fn redact_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.redact(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.redact_value(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Masks what begins with the prefix up to where a word of a text, of JSON or of HTML must end.
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
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn redactor() -> Redactor {
        Redactor::new(&Secret::new("fk_live_abcdef"))
    }

    #[test]
    fn what_is_echoed_of_keys_and_secrets_is_masked() {
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
        let mut value = json!({ "a": ["whsec_x", 1, null], "b": { "c": "abcdef" } });
        redactor().redact_value(&mut value);
        assert_eq!(value, json!({ "a": ["[redacted]", 1, null], "b": { "c": "[redacted]" } }));
    }

    #[test]
    fn a_key_of_few_characters_does_not_blank_out_the_text() {
        assert_eq!(Redactor::new(&Secret::new("a")).redact("a bad day"), "a bad day");
        assert_eq!(Redactor::new(&Secret::new("fk_test_a")).redact("a bad day"), "a bad day");
    }

    #[test]
    fn a_text_is_cut_at_characters_and_masked_first() {
        assert_eq!(redactor().clean("éééé", 3), "ééé");
        assert_eq!(redactor().clean(" a\u{1b}[31m\nb\u{202e}c ", 20), "a [31m b c");
        assert_eq!(redactor().clean("bad fk_live_abcdef", 10), "bad [redac");
    }

    proptest! {
        #[test]
        fn no_secret_is_left_wherever_it_stands(before in ".{0,40}", after in ".{0,40}", most in 0usize..100) {
            let clean = redactor().clean(&format!("{before}fk_live_abcdef{after} whsec_zyx {after}"), most);
            prop_assert!(!clean.contains("fk_live") && !clean.contains("abcdef") && !clean.contains("whsec"));
            prop_assert!(clean.chars().count() <= most && !clean.contains(char::is_control));
        }
    }
}
