//! The wait that another service asks for in a `Retry-After` header.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

/// The longest wait that is accepted. A service that asks for more means "never"; it is called again after a day.
pub const LONGEST: Duration = Duration::from_hours(24);

/// The wait that an answer asks for, at most [`LONGEST`]; `None` without a readable header.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    asked_for(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// The wait that the value of a `Retry-After` header asks for: seconds or an HTTP date (RFC 9110, section 10.2.3), at most
/// [`LONGEST`]. A date in the past asks for no wait. A value that is neither is ignored.
pub fn asked_for(header: &str, now: SystemTime) -> Option<Duration> {
    let text = header.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number with too many digits for the type is still a number of seconds.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

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
}
