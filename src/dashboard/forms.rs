//! What a form of the dashboard has to prove before anything is done: that one of our own pages sent it.
//!
//! The gate of the admin listener has refused what a browser calls cross-site. What it leaves is refused here, for every
//! request that could change something: a request that names another origin (also one without a name, `null`), or that a
//! browser does not call `same-origin`. Beside that, a form has a token which only the pages of its session know, see
//! [`super::session`].

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequestParts, Request},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use url::{Url, form_urlencoded};

use crate::web::error::Problem;

/// The field that holds a form's token.
pub(super) const FORM_TOKEN: &str = "form_token";

/// The largest form that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a form may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// True if a request only reads.
pub(super) fn is_safe(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Checks that a request that could change something was not sent by a page of another site.
///
/// # Errors
/// 403.
pub(super) fn from_our_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail));
    if headers.get_all("sec-fetch-site").iter().any(|site| site.as_bytes() != b"same-origin") {
        return refused("The form was sent by a page of another site. Open the dashboard itself and try again.");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !headers.get_all(header::ORIGIN).iter().all(|origin| is_ours(origin, host)) {
        return refused(
            "The form was sent by a page of another origin. A proxy in front of the dashboard has to pass the header `Host` \
             on as it is.",
        );
    }
    Ok(())
}

/// True if an origin has this host and port. The scheme may be another one: behind a proxy, the browser speaks https.
fn is_ours(origin: &HeaderValue, host: &str) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()) else { return false };
    if !["http", "https"].contains(&origin.scheme()) || host.is_empty() {
        return false;
    }
    // Read in the same way, so that default ports and capital letters do not matter.
    let Ok(asked) = Url::parse(&format!("{}://{host}", origin.scheme())) else { return false };
    let is_bare = asked.username().is_empty() && asked.password().is_none() && asked.path() == "/";
    is_bare && asked.host() == origin.host() && asked.port_or_known_default() == origin.port_or_known_default()
}

/// True if the browser speaks https, as the proxy in front of the listener or the browser itself says.
pub(super) fn is_https(headers: &HeaderMap) -> bool {
    let any = |name: &str, says: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(says)
    };
    any("x-forwarded-proto", &|value| value.split(',').any(|proto| proto.trim().eq_ignore_ascii_case("https")))
        || any("forwarded", &|value| {
            let parts = value.split([',', ';']).filter_map(|part| part.trim().split_once('='));
            parts.into_iter().any(|(name, value)| {
                name.eq_ignore_ascii_case("proto") && value.trim_matches('"').eq_ignore_ascii_case("https")
            })
        })
        || any(header::ORIGIN.as_str(), &|origin| origin.starts_with("https://"))
}

/// The fields of a form, which the middleware of the sessions has read and whose token it has checked: a handler that takes
/// them cannot be reached without.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Arc<[(String, String)]>);

impl Fields {
    /// The value of a field; of several, the first.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same, without the blanks around it; empty if it was not sent.
    pub(super) fn one(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default().trim()
    }

    /// The values of a field that say something.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(known, value)| known == name && !value.is_empty());
        values.map(|(_, value)| value.clone()).collect()
    }
}

impl From<Vec<(String, String)>> for Fields {
    fn from(fields: Vec<(String, String)>) -> Self {
        Self(fields.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Fields {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "a form was asked for where no session is checked");
            Problem::internal()
        })
    }
}

/// Reads a form. The request gets its body back.
///
/// # Errors
/// 413 if it is too large, 408 if it is too slow, 415 if it is something else.
pub(super) async fn read(request: Request) -> Result<(Request, Fields), Problem> {
    let (parts, body) = request.into_parts();
    let reading = axum::body::to_bytes(body, MAX_BODY_BYTES);
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let detail = format!("The form is larger than {MAX_BODY_BYTES} bytes, or was cut off.");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).closing());
        }
        Err(_) => {
            let detail = format!("The form did not arrive within {} s.", BODY_TIMEOUT.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail).closing());
        }
    };
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !bytes.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let detail = "The dashboard takes forms (`application/x-www-form-urlencoded`) only; programs use the API.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no_form", detail));
    }
    let fields = form_urlencoded::parse(&bytes).into_owned().collect();
    Ok((Request::from_parts(parts, Body::from(bytes)), Fields(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for (host, origin, ours) in [
            ("relay.example", "https://relay.example", true),
            ("relay.example:443", "https://relay.example", true),
            ("relay.example", "https://relay.example:443", true),
            ("RELAY.example", "http://relay.example", true),
            ("127.0.0.1:8081", "http://127.0.0.1:8081", true),
            ("[::1]:8081", "http://[::1]:8081", true),
            ("127.0.0.1:8081", "http://127.0.0.1:8082", false),
            ("127.0.0.1:8081", "http://127.0.0.1", false),
            ("relay.example", "https://evil.example", false),
            ("relay.example", "https://relay.example.evil.example", false),
            ("relay.example", "https://sub.relay.example", false),
            ("relay.example", "https://evil.example@relay.example.evil", false),
            ("relay.example", "null", false),
            ("relay.example", "", false),
            ("relay.example", "relay.example", false),
            ("relay.example", "ftp://relay.example", false),
            ("relay.example", "file://relay.example", false),
            ("", "http://relay.example", false),
            ("x@relay.example", "http://relay.example", false),
        ] {
            let found = from_our_own_page(&headers(&[("host", host), ("origin", origin)]));
            assert_eq!(found.is_ok(), ours, "{origin} at {host}");
        }
        let two = [("host", "relay"), ("origin", "http://relay"), ("origin", "http://evil")];
        assert!(from_our_own_page(&headers(&two)).is_err());
        for (site, ours) in [("same-origin", true), ("same-site", false), ("cross-site", false), ("none", false)] {
            let found = from_our_own_page(&headers(&[("host", "relay"), ("sec-fetch-site", site)]));
            assert_eq!(found.is_ok(), ours, "{site}");
        }
        assert!(from_our_own_page(&headers(&[("host", "relay")])).is_ok(), "no browser: the form's token decides");
    }

    #[test]
    fn https_is_what_the_proxy_or_the_browser_says() {
        for (line, https) in [
            (("x-forwarded-proto", "https"), true),
            (("x-forwarded-proto", "http, HTTPS"), true),
            (("x-forwarded-proto", "http"), false),
            (("forwarded", "for=192.0.2.1;proto=https;by=x"), true),
            (("forwarded", "for=192.0.2.1, for=x; Proto=\"https\""), true),
            (("forwarded", "for=https"), false),
            (("origin", "https://relay.example"), true),
            (("origin", "http://relay.example"), false),
            (("x-other", "https"), false),
        ] {
            assert_eq!(is_https(&headers(&[line])), https, "{line:?}");
        }
    }
}
