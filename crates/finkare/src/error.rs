//! Why a call failed, and which of Finkare's texts may be repeated.

use std::time::Duration;

use outgoing::{Effect, Redactor};
use serde_json::Value;

use crate::Settings;

/// Why a call failed. None of these texts holds a key or a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call cannot be made, because what it names cannot be part of an address. Nothing was sent.
    #[error("Finkare cannot be asked for {call}: {problem}")]
    Unusable {
        /// The purpose of the call, as a phrase ("rotating the secret of webhook 5e4f").
        call: String,
        /// The problem.
        problem: String,
    },
    /// Finkare refused, or answered with a status of success and a body that says otherwise (`"success": false`).
    #[error("Finkare answered {status}{} to {call}: {message}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Api {
        /// The purpose of the call.
        call: String,
        /// The HTTP status.
        status: u16,
        /// Finkare's own code, such as `RES_001`.
        code: Option<String>,
        /// Finkare's own words; the first 500 characters of an answer without a message.
        message: String,
        /// `req_…`, for asking Finkare about it.
        request_id: Option<String>,
        /// When to try again, if Finkare said so; at most a day.
        retry_after: Option<Duration>,
    },
    /// No answer arrived, or only a part of one.
    #[error("{}", no_answer(call, *never_sent, *timed_out))]
    Network {
        /// The purpose of the call.
        call: String,
        /// True if the request was certainly never sent: the connection was not established.
        never_sent: bool,
        /// True if it took too long: the connecting, or the answer.
        timed_out: bool,
        /// The library's error, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// An answer of success that cannot be read.
    #[error("Finkare's answer to {call} cannot be read: {problem}")]
    Unreadable {
        /// The purpose of the call.
        call: String,
        /// The HTTP status.
        status: u16,
        /// The problem, without any of the body.
        problem: String,
        /// `req_…`
        request_id: Option<String>,
    },
}

impl Error {
    /// True if Finkare may have carried out the call in spite of the failure, by the rule for all writes
    /// ([`outgoing::effect`]): after a time-out or a broken connection; after 3xx, 408, 409, 425 and every 5xx; after an
    /// answer of success that cannot be read or contradicts itself. False if it has certainly done nothing: the request was
    /// never sent, or was refused with another 4xx.
    pub fn may_have_happened(&self) -> bool {
        let effect = match self {
            Self::Unusable { .. } => Effect::NotDone,
            // A status of success is an error only if its body reports a failure, or cannot be read.
            Self::Api { status, .. } | Self::Unreadable { status, .. } => outgoing::of_answer(*status, true),
            Self::Network { never_sent, .. } => outgoing::of_silence(*never_sent),
        };
        effect.may_have_happened()
    }

    /// True if Finkare answered with a status of success but without the requested data. Asking again hardly helps.
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

    /// The HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } | Self::Unreadable { status, .. } => Some(*status),
            Self::Unusable { .. } | Self::Network { .. } => None,
        }
    }

    /// `req_…`, for asking Finkare about the call, if its answer had one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Api { request_id, .. } | Self::Unreadable { request_id, .. } => request_id.as_deref(),
            Self::Unusable { .. } | Self::Network { .. } => None,
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

/// How secrets of Finkare begin. Such words are masked even if they were never seen: a secret that was just made, another
/// key of the same company.
const PREFIXES: [&str; 3] = ["whsec_", "fk_live_", "fk_test_"];

/// Masks what Finkare, or a proxy before it, might echo: the API key, whole and without its prefix, and all that looks like
/// a secret of Finkare; the login of a proxy.
pub(crate) fn redactor(settings: &Settings) -> Redactor {
    let whole = settings.api_key.expose();
    let bare = PREFIXES.iter().find_map(|prefix| whole.strip_prefix(prefix));
    let mut redactor = Redactor::of([Some(whole), bare].into_iter().flatten()).with_prefixes(&PREFIXES);
    settings.egress.private().for_each(|text| redactor.add(&text));
    redactor
}

/// Masks every text inside of a JSON value.
pub(crate) fn redact_value(redactor: &Redactor, value: &mut Value) {
    match value {
        Value::String(text) => *text = redactor.redact(text),
        Value::Array(items) => items.iter_mut().for_each(|item| redact_value(redactor, item)),
        Value::Object(fields) => fields.values_mut().for_each(|field| redact_value(redactor, field)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outgoing::Secret;
    use serde_json::json;

    fn redactor_for(key: &str) -> Redactor {
        redactor(&Settings::new(Secret::new(key)))
    }

    #[test]
    fn what_is_echoed_of_keys_and_secrets_is_masked() {
        let redactor = redactor_for("fk_live_abcdef");
        for (text, masked) in [
            ("key fk_live_abcdef is bad", "key [redacted] is bad"),
            ("key abcdef is bad", "key [redacted] is bad"),
            ("{\"secret\":\"whsec_a+/b=\"}", "{\"secret\":\"[redacted]\"}"),
            ("<b>fk_test_other</b>", "<b>[redacted]</b>"),
        ] {
            assert_eq!(redactor.redact(text), masked);
        }
        let mut value = json!({ "a": ["whsec_x", 1, null], "b": { "c": "abcdef" } });
        redact_value(&redactor, &mut value);
        assert_eq!(value, json!({ "a": ["[redacted]", 1, null], "b": { "c": "[redacted]" } }));
    }

    #[test]
    fn a_key_of_few_characters_does_not_blank_out_the_text() {
        assert_eq!(redactor_for("a").redact("a bad day"), "a bad day");
        assert_eq!(redactor_for("fk_test_a").redact("a bad day"), "a bad day");
    }
}
