//! Rejects requests to the admin listener that come from web pages or through proxies, on every route and before any token
//! is checked.
//!
//! The listener is meant for this machine and a private network. A web page in a browser on that network, or a forgotten
//! proxy, can reach it too. Every request is therefore checked:
//!
//! - **Which host is it for?** Accepted are an address, `localhost` and the names of `admin.hosts`; with tokens also a name
//!   without a dot, which no website can have and which containers use (`http://relay:8081/metrics`). A web page that
//!   makes its own name point here (DNS rebinding) asks for that name, which is rejected. Without tokens, an address must
//!   be a loopback address. Browsers always name the host; a request without one (HTTP/1.0) is accepted only if tokens
//!   are configured.
//! - **Was it sent by a page of another site?** Browsers say so (`Sec-Fetch-Site`, and `Origin` if the request could change
//!   something). One thing a page of another site may do: lead a person to a page of the dashboard, whose address stands in a
//!   message.
//! - Without tokens: **was it forwarded by a proxy?** The caller's address is then the proxy's, and every caller would seem
//!   to be on this machine. A proxy that adds no header cannot be detected: set a token before using one.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::{super::error::Problem, Admin};

/// Headers that show that a request was forwarded, besides those that begin with `x-forwarded`.
const FORWARDING: [&str; 9] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-envoy-external-address",
    "true-client-ip",
    "cf-connecting-ip",
];

/// Where the dashboard is.
const DASHBOARD: &str = "/ui/";

/// Decides which requests reach the routes.
#[derive(Debug)]
pub struct Gate {
    has_tokens: bool,
    /// Accepted host names, in lower case.
    hosts: Vec<String>,
}

impl Gate {
    /// The gate for this configuration.
    pub fn new(admin: &crate::config::Admin) -> Self {
        let hosts = admin.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { has_tokens: !admin.tokens.is_empty(), hosts }
    }

    fn refusal(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Problem> {
        let forbidden = |code, detail: String| Some(Problem::new(StatusCode::FORBIDDEN, code, detail));
        if !self.has_tokens
            && let Some(name) = forwarded(headers)
        {
            return forbidden(
                "forwarded",
                format!(
                    "The request was forwarded by a proxy (it has the header `{name}`), and without an admin token only \
                     callers on this machine are admitted. Set RELAY_ADMIN_TOKEN, or call the admin listener directly."
                ),
            );
        }
        // Both are checked: a request can also name its host in its first line.
        let asked = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let asked: Vec<&str> = asked.chain(uri.authority().map(http::uri::Authority::as_str)).collect();
        if asked.is_empty() && !self.has_tokens || asked.iter().any(|host| !self.takes(host)) {
            let hosts = if self.has_tokens {
                "Use an address, `localhost` or a name without a dot, or add the name to `admin.hosts`."
            } else {
                "Without an admin token, use 127.0.0.1, [::1] or `localhost`, or add the name to `admin.hosts`."
            };
            return forbidden("unknown_host", format!("The admin listener does not answer for this host. {hosts}"));
        }
        let follows_link = self.has_tokens && follows_link(method, uri, headers);
        if (comes_from_another_site(headers) && !follows_link) || (!self.has_tokens && comes_from_another_page(headers))
        {
            let detail = "The request was sent by a page of another site. The admin listener answers only its own pages and programs.";
            return forbidden("cross_site", detail.to_owned());
        }
        None
    }

    fn takes(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            // An IPv6 address contains colons, and is written in brackets.
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
            _ => host,
        };
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.has_tokens || address.to_canonical().is_loopback();
        }
        name == "localhost"
            || self.hosts.iter().any(|known| known == name)
            || (self.has_tokens
                && !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))
    }
}

/// Middleware around all routes.
pub async fn pass(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    match admin.gate.refusal(request.method(), request.uri(), request.headers()) {
        None => next.run(request).await,
        Some(problem) => problem.into_response(),
    }
}

/// The first header that shows a proxy.
fn forwarded(headers: &HeaderMap) -> Option<&str> {
    let is_one = |name: &&str| FORWARDING.contains(name) || name.starts_with("x-forwarded");
    headers.keys().map(http::HeaderName::as_str).find(is_one)
}

/// True if a browser says that a page of another site sent the request (<https://www.w3.org/TR/fetch-metadata/>). For an
/// address that a person typed it says `none`; other clients do not send the header.
fn comes_from_another_site(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

/// True if a person follows a link to the dashboard in a page of another site, such as a mailbox: the whole window goes there,
/// and the other page learns nothing of the answer. Looking changes nothing.
fn follows_link(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &[u8]| {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek().is_some() && values.all(|said| said.as_bytes() == value)
    };
    method == Method::GET
        && uri.path().starts_with(DASHBOARD)
        && says("sec-fetch-mode", b"navigate")
        && says("sec-fetch-dest", b"document")
}

/// True if a browser says that a page of another origin sent the request. Browsers say so with every request that could
/// change something (<https://fetch.spec.whatwg.org/#origin-header>); other clients send no origin.
fn comes_from_another_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(http::HeaderValue::as_bytes).unwrap_or_default();
    origin.as_bytes().strip_prefix(b"http://") != Some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(has_tokens: bool) -> Gate {
        Gate { has_tokens, hosts: vec!["relay.internal".to_owned()] }
    }

    #[test]
    fn hosts_with_and_without_tokens() {
        for (host, with, without) in [
            ("localhost", true, true),
            ("LOCALHOST:8081", true, true),
            ("localhost.", true, true),
            ("127.0.0.1:8081", true, true),
            ("[::1]:8081", true, true),
            ("[::1]", true, true),
            ("127.1.2.3", true, true),
            ("[::ffff:127.0.0.1]:8081", true, true),
            ("relay.internal:8081", true, true),
            ("Relay.Internal", true, true),
            ("10.0.0.1:8081", true, false),
            ("[fd00::1]:8081", true, false),
            ("0.0.0.0", true, false),
            ("relay:8081", true, false),
            ("my_relay-1", true, false),
            ("evil.example", false, false),
            ("localhost.evil.example:80", false, false),
            ("relay.internal.evil.example", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("", false, false),
            ("relay/x", false, false),
            ("user@relay", false, false),
        ] {
            assert_eq!(gate(true).takes(host), with, "with tokens: {host}");
            assert_eq!(gate(false).takes(host), without, "without: {host}");
        }
    }

    #[test]
    fn both_names_of_a_request_count() {
        let code = |gate: &Gate, uri: &str, hosts: &[&'static str]| {
            let headers = hosts.iter().map(|host| (header::HOST, http::HeaderValue::from_static(host)));
            let problem = gate.refusal(&Method::GET, &uri.parse().unwrap(), &headers.collect());
            problem.map(|problem| problem.code())
        };
        let gate_with = gate(true);
        assert_eq!(code(&gate_with, "/metrics", &["localhost"]), None);
        assert_eq!(code(&gate_with, "http://evil.example/metrics", &["localhost"]), Some("unknown_host"));
        assert_eq!(code(&gate_with, "http://localhost/metrics", &["evil.example"]), Some("unknown_host"));
        assert_eq!(code(&gate_with, "/metrics", &[]), None, "HTTP/1.0, as some balancers ask");
        assert_eq!(code(&gate(false), "/metrics", &[]), Some("unknown_host"));
    }

    #[test]
    fn what_was_handed_on_is_seen() {
        for name in
            ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded", "x-real-ip", "cf-connecting-ip"]
        {
            let headers = HeaderMap::from_iter([
                (header::HOST, http::HeaderValue::from_static("localhost")),
                (http::HeaderName::from_static(name), http::HeaderValue::from_static("203.0.113.7")),
            ]);
            let uri = Uri::from_static("/metrics");
            let code = |gate: Gate| gate.refusal(&Method::GET, &uri, &headers).map(|problem| problem.code());
            assert_eq!((code(gate(false)), code(gate(true))), (Some("forwarded"), None), "{name}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_turned_away() {
        let from = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::from_iter([(header::HOST, http::HeaderValue::from_static("127.0.0.1:8081"))]);
            headers.extend(origin.map(|origin| (header::ORIGIN, http::HeaderValue::from_static(origin))));
            comes_from_another_page(&headers)
        };
        assert!(!from(None) && !from(Some("http://127.0.0.1:8081")));
        for other in ["http://evil.example", "null", "https://127.0.0.1:8081", "http://127.0.0.1:3000", ""] {
            assert!(from(Some(other)), "{other}");
        }
        let site = |site: &'static str| {
            comes_from_another_site(&HeaderMap::from_iter([(
                http::HeaderName::from_static("sec-fetch-site"),
                http::HeaderValue::from_static(site),
            )]))
        };
        assert!(!site("same-origin") && !site("none") && !comes_from_another_site(&HeaderMap::new()));
        assert!(site("cross-site") && site("same-site") && site("whatever"));
    }
    #[test]
    fn a_person_may_follow_a_link_from_another_site_and_nothing_else_may() {
        let asked = |gate: &Gate, method: Method, path: &str, mode: &'static str, dest: &'static str| {
            let headers = HeaderMap::from_iter(
                [
                    ("host", "localhost"),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", mode),
                    ("sec-fetch-dest", dest),
                ]
                .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))),
            );
            gate.refusal(&method, &path.parse().unwrap(), &headers).map(|problem| problem.code())
        };
        let link = "/ui/link/secret";
        for path in [link, "/ui/", "/ui/payments?q=1"] {
            assert_eq!(asked(&gate(true), Method::GET, path, "navigate", "document"), None, "{path}");
        }
        for (method, path, mode, dest) in [
            (Method::POST, link, "navigate", "document"),
            (Method::GET, link, "navigate", "iframe"),
            (Method::GET, link, "no-cors", "image"),
            (Method::GET, link, "cors", "empty"),
            (Method::GET, "/ui/", "navigate", "iframe"),
            (Method::GET, "/ui/", "cors", "empty"),
            (Method::POST, "/ui/sinks/erp/pause", "navigate", "document"),
            (Method::GET, "/metrics", "navigate", "document"),
            (Method::GET, "/api/v1/ui/link/x", "navigate", "document"),
        ] {
            assert_eq!(asked(&gate(true), method, path, mode, dest), Some("cross_site"), "{path} {mode} {dest}");
        }
        assert_eq!(
            asked(&gate(false), Method::GET, link, "navigate", "document"),
            Some("cross_site"),
            "there are none"
        );
    }
}
