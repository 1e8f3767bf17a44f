//! Who may use the admin API: bearer tokens, compared in constant time.
//!
//! The process holds only hashes of the tokens. All hashes have the same length, so timing reveals neither the length of a
//! token nor how much of a guess is right. Without any token, only callers on loopback are admitted; web pages and proxies
//! are rejected before that ([`super::gate`]).

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{
    super::error::Problem,
    Admin,
    scope::{Scope, allowed_for_limited, is_for_limited},
};
use crate::config::{AdminToken, Role};
use crate::listener::Peer;

/// The tokens, by their hashes.
#[derive(Debug)]
pub struct Tokens(Vec<Known>);

struct Known {
    name: Arc<str>,
    role: Role,
    scope: Scope,
    hash: [u8; 32],
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// The caller of a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's name, or `loopback`.
    pub name: Arc<str>,
    /// What the caller may do.
    pub role: Role,
    /// What exists for the caller.
    pub scope: Scope,
}

impl Tokens {
    /// Takes the configured tokens.
    pub fn new(tokens: &[AdminToken]) -> Self {
        Self(
            tokens
                .iter()
                .map(|token| Known {
                    name: token.name.as_str().into(),
                    role: token.role,
                    scope: Scope::new(token.endpoints.as_deref()),
                    hash: token.token.hash(),
                })
                .collect(),
        )
    }

    /// Compares with every token, without stopping at the first match.
    fn find(&self, given: &str) -> Option<Caller> {
        let given: [u8; 32] = Sha256::digest(given).into();
        let (mut found, mut index) = (Choice::from(0), 0u64);
        for (position, known) in (0u64..).zip(&self.0) {
            let equal = known.hash.ct_eq(&given);
            index.conditional_assign(&position, equal);
            found |= equal;
        }
        let known = self.0.get(usize::try_from(index).ok()?)?;
        bool::from(found).then(|| Caller { name: known.name.clone(), role: known.role, scope: known.scope.clone() })
    }
}

/// Middleware: rejects requests without a valid token.
pub async fn require(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    match authenticate(&admin.tokens, &request) {
        Ok(caller) => {
            let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
            if caller.scope.is_limited() && !is_for_limited(request.method(), route) {
                return match allowed_for_limited(route) {
                    "" => Problem::no_such_path(),
                    allowed => Problem::method_not_allowed(allowed),
                }
                .into_response();
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn authenticate(tokens: &Tokens, request: &Request) -> Result<Caller, Problem> {
    if tokens.0.is_empty() {
        let peer = request.extensions().get::<Peer>();
        return if peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback()) {
            Ok(Caller { name: "loopback".into(), role: Role::Admin, scope: Scope::default() })
        } else {
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                "loopback_only",
                "No admin token is configured, so only callers on this machine are admitted. Set RELAY_ADMIN_TOKEN.",
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

impl Caller {
    /// Checks that the caller has a role.
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
        AdminToken {
            name: name.into(),
            role,
            endpoints: None,
            token: Token::Plain(Secret::new(format!("token-of-{name}"))),
        }
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
        let caller = Caller { name: "a".into(), role: Role::Operator, scope: Scope::default() };
        assert!(caller.needs(Role::Viewer).is_ok() && caller.needs(Role::Operator).is_ok());
        assert!(caller.needs(Role::Admin).is_err());
    }
}
