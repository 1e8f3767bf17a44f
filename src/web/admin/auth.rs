//! Who may use the admin API: bearer tokens, compared in constant time.
//!
//! Only hashes of the tokens are kept, and hashes of equal length are compared, so that neither the
//! length nor a common beginning of a guess can be measured. Without any token only callers on
//! loopback are let in, and only if they ask for a loopback name: a web page in the operator's
//! browser that makes its own name point to 127.0.0.1 is turned away, and so is one that posts here
//! from elsewhere.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{super::error::Problem, super::listener::Peer, Admin};
use crate::config::{AdminToken, Role};

/// The tokens, by their hashes.
#[derive(Debug)]
pub struct Tokens(Vec<Known>);

struct Known {
    name: Arc<str>,
    role: Role,
    hash: [u8; 32],
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Who asks, for handlers that want to know.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's name, or `loopback`.
    pub name: Arc<str>,
    /// What the caller may do.
    pub role: Role,
}

impl Tokens {
    /// Takes the configured tokens.
    pub fn new(tokens: &[AdminToken]) -> Self {
        Self(
            tokens
                .iter()
                .map(|token| Known { name: token.name.as_str().into(), role: token.role, hash: token.token.hash() })
                .collect(),
        )
    }

    /// Compares with every token, whichever fits.
    fn find(&self, given: &str) -> Option<Caller> {
        let given: [u8; 32] = Sha256::digest(given).into();
        let (mut found, mut index) = (Choice::from(0), 0u64);
        for (position, known) in (0u64..).zip(&self.0) {
            let equal = known.hash.ct_eq(&given);
            index.conditional_assign(&position, equal);
            found |= equal;
        }
        let known = self.0.get(usize::try_from(index).ok()?)?;
        bool::from(found).then(|| Caller { name: known.name.clone(), role: known.role })
    }
}

/// Middleware: lets nobody in who may not.
pub async fn require(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    match authenticate(&admin.tokens, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn authenticate(tokens: &Tokens, request: &Request) -> Result<Caller, Problem> {
    if tokens.0.is_empty() {
        let peer = request.extensions().get::<Peer>();
        return if peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback())
            && asks_loopback(request.headers())
            && !comes_from_another_page(request.headers())
        {
            Ok(Caller { name: "loopback".into(), role: Role::Admin })
        } else {
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                "loopback_only",
                "No admin token is configured, so only callers on this machine are let in. Set RELAY_ADMIN_TOKEN.",
            ))
        };
    }
    let unauthorized = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Send an admin token as `Authorization: Bearer <token>`.",
        )
    };
    let header = request.headers().get(header::AUTHORIZATION).ok_or_else(unauthorized)?;
    let text = header.to_str().map_err(|_| unauthorized())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthorized());
    }
    tokens.find(token.trim()).ok_or_else(unauthorized)
}

/// True if the request names this machine as its host.
fn asks_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// True if a browser says that a page of another origin asks: it says so with every request that could
/// change something (<https://fetch.spec.whatwg.org/#origin-header>). Other clients have no origin.
fn comes_from_another_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(http::HeaderValue::as_bytes).unwrap_or_default();
    origin.as_bytes().strip_prefix(b"http://") != Some(host)
}

impl Caller {
    /// Asks for a role.
    ///
    /// # Errors
    /// 403, naming the role that is needed.
    pub fn needs(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "role_too_low",
            format!("The token `{}` has the role {:?}; this needs {role:?}.", self.name, self.role).to_lowercase(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Token, model::secret::Secret};

    fn token(name: &str, role: Role) -> AdminToken {
        AdminToken { name: name.into(), role, token: Token::Plain(Secret::new(format!("token-of-{name}"))) }
    }

    #[test]
    fn finds_every_token_and_nothing_else() {
        let tokens = Tokens::new(&[token("a", Role::Viewer), token("b", Role::Operator), token("c", Role::Admin)]);
        for (name, role) in [("a", Role::Viewer), ("b", Role::Operator), ("c", Role::Admin)] {
            let caller = tokens.find(&format!("token-of-{name}")).unwrap();
            assert_eq!((&*caller.name, caller.role), (name, role));
        }
        for wrong in ["", "token-of-", "token-of-d", "token-of-aa", "TOKEN-OF-A"] {
            assert!(tokens.find(wrong).is_none(), "{wrong}");
        }
        for number in 0..5_000 {
            assert!(tokens.find(&format!("guess-{number}")).is_none(), "a hash that is alike in part is another one");
        }
        assert!(Tokens::new(&[]).find("").is_none());
    }

    #[test]
    fn roles_include_each_other() {
        let caller = Caller { name: "a".into(), role: Role::Operator };
        assert!(caller.needs(Role::Viewer).is_ok() && caller.needs(Role::Operator).is_ok());
        assert!(caller.needs(Role::Admin).is_err());
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
    }

    #[test]
    fn loopback_names() {
        let host = |text: &'static str| HeaderMap::from_iter([(header::HOST, http::HeaderValue::from_static(text))]);
        for good in ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "[::1]:8081", "127.1.2.3"] {
            assert!(asks_loopback(&host(good)), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example:80", "10.0.0.1", ""] {
            assert!(!asks_loopback(&host(bad)), "{bad}");
        }
    }
}
