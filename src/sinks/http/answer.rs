//! Turns an answer into an outcome, and masks secrets that it may repeat.

use std::time::{Duration, SystemTime};

use ::http::{HeaderValue, StatusCode};
use outgoing::{Redactor, retry_after};

use super::{Options, basic_text};
use crate::model::{clock, dispatch::Outcome};

/// Bytes of an answer's body that are read. After a longer body the connection is closed.
const BODY_BYTES: usize = 16 * 1024;

/// How long the sink waits for the body of an answer; the status is what matters.
const BODY_TIME: Duration = Duration::from_secs(1);

/// Characters of the body that a reason repeats.
const EXCERPT_CHARS: usize = 200;

/// Decides by the status. The reason quotes the beginning of the body.
///
/// A short body is always read to its end, so that the connection can be used again. A body that is too long or too slow,
/// or that breaks off, changes nothing: the part that arrived is enough for the reason.
pub(super) async fn outcome(mut response: reqwest::Response, target: &str, redactor: &Redactor) -> Outcome {
    let status = response.status();
    let after = retry_after(response.headers(), SystemTime::from(clock::now()));
    let body = outgoing::read(&mut response, BODY_BYTES, Some(BODY_TIME)).await;
    let reason = || reason(target, status, &redactor.excerpt(&body.bytes, EXCERPT_CHARS));
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
        410 => " (the target wants no more events: the sink is paused until it is resumed)",
        _ => "",
    };
    let said = if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") };
    let reason = format!("{target} answered {status}{advice}{said}");
    #[cfg(test)]
    crate::french::expect(&reason);
    reason
}

/// Masks secrets that a target might echo: the URL's user, password and query, the values of headers, the signing secret,
/// and the login of a proxy.
pub(super) fn redactor(options: &Options) -> Redactor {
    let mut redactor = Redactor::default();
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
    options.egress.private().for_each(|text| redactor.add(&text));
    redactor
}

/// Also masks the user and password in a basic authentication header, encoded and decoded.
pub(super) fn add_basic(redactor: &mut Redactor, header: &HeaderValue) {
    if let Some(token) = header.to_str().ok().and_then(|value| value.strip_prefix("Basic ")) {
        redactor.add(token);
    }
    if let Some(text) = basic_text(header) {
        text.splitn(2, ':').for_each(|part| redactor.add(part));
    }
}

#[cfg(test)]
mod tests {
    use ::http::HeaderMap;

    use super::{
        super::{HeaderSecret, Secret, Signer, SigningSecret},
        *,
    };

    #[test]
    fn what_a_target_echoes_of_ours_is_masked() {
        let mut options = Options {
            url: "https://us%40er:pass%2Fword@x.example/hook?token=t%2Fok%2Fen&v=2".parse().unwrap(),
            secret: None,
            headers: HeaderMap::default(),
            connect_timeout_secs: 5,
            template: None,
            egress: outgoing::Egress::default(),
        };
        options.headers.insert("authorization", HeaderSecret::new(Secret::new("Bearer headervalue")).unwrap());
        let signer = Signer::new(&Secret::new("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")).unwrap();
        options.secret = Some(SigningSecret { secret: Secret::new("whsec_c2VjcmV0"), signer });
        let mut redactor = redactor(&options);
        add_basic(&mut redactor, &HeaderValue::from_static("Basic dXNAZXI6cGFzcy93b3Jk"));
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
