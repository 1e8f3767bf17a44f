//! What an answer means, and what may be repeated of it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};

use super::{Options, basic_text};
use crate::model::{backoff, clock, dispatch::Outcome};

/// Bytes of an answer's body that are read. A longer one costs its connection.
const BODY_BYTES: usize = 16 * 1024;

/// How long an answer's body is waited for: its status has said what matters.
const BODY_TIME: Duration = Duration::from_secs(1);

/// Characters of the body that a reason repeats.
const EXCERPT_CHARS: usize = 200;

/// Decides by the status, and gives the reason the beginning of the body.
///
/// A body that is short is read to its end in any case, so that the connection can be used again.
pub(super) async fn outcome(mut response: reqwest::Response, target: &str, redactor: &Redactor) -> Outcome {
    let status = response.status();
    let after = retry_after(response.headers(), SystemTime::from(clock::now()));
    let mut body = Vec::new();
    // Ends early when time is up or the connection breaks: what has come until then is enough.
    let _ended = tokio::time::timeout(BODY_TIME, async {
        while body.len() < BODY_BYTES {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break,
            }
        }
    })
    .await;
    body.truncate(BODY_BYTES);
    let reason = || reason(target, status, &excerpt(&body, redactor));
    match status.as_u16() {
        200..=299 => Outcome::Delivered,
        408 | 425 | 429 | 500..=599 => Outcome::Retry { reason: reason(), after },
        410 => Outcome::Stop { reason: reason() },
        _ => Outcome::Rejected { reason: reason() },
    }
}

fn reason(target: &str, status: StatusCode, excerpt: &str) -> String {
    let advice = match status.as_u16() {
        300..=399 => " (redirects are not followed: set `url` to the final address)",
        401 | 403 => " (check `headers`, `secret` and the user in `url`)",
        404 | 405 => " (check `url`)",
        410 => " (it wants nothing more: the sink is paused until it is resumed)",
        _ => "",
    };
    let said = if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") };
    format!("{target} answered {status}{advice}{said}")
}

/// The wait that the target asks for.
pub(in crate::sinks) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    backoff::asked_for(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// The beginning of a body as one line of readable text, without our own secrets.
pub(in crate::sinks) fn excerpt(body: &[u8], redactor: &Redactor) -> String {
    let text = redactor.redact(&String::from_utf8_lossy(body));
    // Marks that are not seen but reorder or hide what follows them have no place in a log.
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || invisible(c)).filter(|word| !word.is_empty()).collect();
    let mut line = words.join(" ");
    if line.chars().count() > EXCERPT_CHARS {
        line = line.chars().take(EXCERPT_CHARS - 1).chain(['…']).collect();
    }
    line
}

/// Knows what a target might echo and nobody may read: the URL's user, password and query, header
/// values and the signing secret.
pub(in crate::sinks) struct Redactor {
    /// The longest first, so that a part never breaks up the whole.
    private: Vec<Arc<str>>,
}

impl Redactor {
    /// Shorter texts are no secrets, and masking them would make reasons unreadable.
    const SHORTEST: usize = 4;

    /// Of these texts.
    pub(in crate::sinks) fn of<'a>(private: impl IntoIterator<Item = &'a str>) -> Self {
        let mut redactor = Self { private: Vec::new() };
        private.into_iter().for_each(|text| redactor.add(text));
        redactor
    }

    pub(super) fn new(options: &Options) -> Self {
        let mut redactor = Self { private: Vec::new() };
        let url = &options.url;
        redactor.add(url.username());
        redactor.add(url.password().unwrap_or_default());
        if let Some(query) = url.query() {
            redactor.add(query);
            query.split('&').for_each(|pair| redactor.add(pair.split_once('=').map_or(pair, |(_, value)| value)));
            url.query_pairs().for_each(|(_, value)| redactor.add(&value));
        }
        for value in options.headers.values() {
            redactor.add(value.expose());
            // "Bearer abc" is also seen as "abc".
            redactor.add(value.expose().rsplit(' ').next().unwrap_or_default());
        }
        if let Some(secret) = &options.secret {
            redactor.add(secret.expose());
            redactor.add(secret.expose().trim_start_matches("whsec_"));
        }
        redactor
    }

    /// Adds what a basic authentication header carries, in its forms.
    pub(super) fn add_basic(&mut self, header: &HeaderValue) {
        if let Some(token) = header.to_str().ok().and_then(|value| value.strip_prefix("Basic ")) {
            self.add(token);
        }
        if let Some(text) = basic_text(header) {
            text.splitn(2, ':').for_each(|part| self.add(part));
        }
    }

    fn add(&mut self, text: &str) {
        if text.chars().count() >= Self::SHORTEST {
            self.private.push(text.into());
            self.private.sort_by_key(|text| std::cmp::Reverse(text.len()));
        }
    }

    /// The text with `[redacted]` for all that is private.
    pub(in crate::sinks) fn redact(&self, text: &str) -> String {
        self.private.iter().fold(text.to_owned(), |text, private| text.replace(&**private, "[redacted]"))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{HeaderSecret, Secret, Signer, SigningSecret},
        *,
    };
    use proptest::prelude::*;

    fn options(url: &str) -> Options {
        Options {
            url: url.parse().unwrap(),
            secret: None,
            headers: HeaderMap::default(),
            connect_timeout_secs: 5,
            template: None,
        }
    }

    #[test]
    fn the_wait_is_read_in_both_forms_and_kept_in_bounds() {
        // The date of RFC 9110's example, and ten seconds before it.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767);
        let wait = |text: &'static str| {
            let headers = [(RETRY_AFTER, HeaderValue::from_static(text))].into_iter().collect();
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 0 "), Some(0));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(10));
        assert_eq!(wait("Sunday, 06-Nov-94 08:49:37 GMT"), Some(10), "the obsolete form");
        assert_eq!(wait("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0), "a date in the past");
        assert_eq!(wait("Fri, 31 Dec 9999 23:59:59 GMT"), Some(86_400));
        assert_eq!(wait("999999"), Some(86_400));
        assert_eq!(wait("99999999999999999999999999"), Some(86_400));
        for odd in ["", "-5", "1.5", "soon", "+5", "Sun, 06 Nov 1994"] {
            assert_eq!(wait(odd), None, "{odd:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn an_excerpt_is_one_short_readable_line() {
        let none = Redactor { private: Vec::new() };
        assert_eq!(excerpt(b" <h1>\r\n\tBad\x00\x1b[31m day</h1>\n", &none), "<h1> Bad [31m day</h1>");
        assert_eq!(excerpt("é\u{202e}x\u{2028}y\u{feff}".as_bytes(), &none), "é x y");
        assert_eq!(excerpt(b"a\xff", &none), "a\u{fffd}");
        let long = excerpt("é".repeat(500).as_bytes(), &none);
        assert_eq!((long.chars().count(), long.ends_with('…')), (EXCERPT_CHARS, true));
        assert_eq!(excerpt(b"", &none), "");
    }

    proptest! {
        #[test]
        fn no_excerpt_is_longer_or_on_more_lines(body in any::<Vec<u8>>()) {
            let line = excerpt(&body.repeat(20), &Redactor { private: Vec::new() });
            prop_assert!(line.chars().count() <= EXCERPT_CHARS);
            prop_assert!(!line.contains(char::is_control));
        }
    }

    #[test]
    fn what_a_target_echoes_of_ours_is_masked() {
        let mut options = options("https://us%40er:pass%2Fword@x.example/hook?token=t%2Fok%2Fen&v=2");
        options.headers.insert("authorization", HeaderSecret::new(Secret::new("Bearer headervalue")).unwrap());
        let signer = Signer::new(&Secret::new("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")).unwrap();
        options.secret = Some(SigningSecret { secret: Secret::new("whsec_c2VjcmV0"), signer });
        let mut redactor = Redactor::new(&options);
        redactor.add_basic(&HeaderValue::from_static("Basic dXNAZXI6cGFzcy93b3Jk"));
        for private in [
            "us%40er",
            "us@er",
            "pass%2Fword",
            "pass/word",
            "dXNAZXI6cGFzcy93b3Jk",
            "token=t%2Fok%2Fen&v=2",
            "t%2Fok%2Fen",
            "t/ok/en",
            "Bearer headervalue",
            "headervalue",
            "whsec_c2VjcmV0",
            "c2VjcmV0",
        ] {
            assert_eq!(redactor.redact(&format!("a {private} b")), "a [redacted] b", "{private}");
        }
        assert_eq!(redactor.redact("HTTP/2 says no"), "HTTP/2 says no", "`2` is no secret");
    }
}
