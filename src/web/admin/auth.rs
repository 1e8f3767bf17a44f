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

    /// True if no token is configured, so that only callers on this machine are admitted.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mark of the token with this name.
    pub fn mark_of(&self, name: &str) -> Option<[u8; 32]> {
        self.0.iter().find(|known| &*known.name == name).map(Known::mark)
    }

    /// The caller with the token that has this name and this mark; `None` once the token was removed or changed.
    pub fn marked(&self, name: &str, mark: &[u8; 32]) -> Option<Caller> {
        self.0.iter().find(|known| &*known.name == name && bool::from(known.mark().ct_eq(mark))).map(Known::caller)
    }

    /// Compares with every token, without stopping at the first match.
    pub fn find(&self, given: &str) -> Option<Caller> {
        let given: [u8; 32] = Sha256::digest(given).into();
        let (mut found, mut index) = (Choice::from(0), 0u64);
        for (position, known) in (0u64..).zip(&self.0) {
            let equal = known.hash.ct_eq(&given);
            index.conditional_assign(&position, equal);
            found |= equal;
        }
        let known = self.0.get(usize::try_from(index).ok()?)?;
        bool::from(found).then(|| known.caller())
    }
}

impl Known {
    fn caller(&self) -> Caller {
        Caller { name: self.name.clone(), role: self.role, scope: self.scope.clone() }
    }

    /// What a session of the dashboard remembers of the token. The store does not hold the hash itself, which is what the
    /// configuration holds.
    fn mark(&self) -> [u8; 32] {
        Sha256::new_with_prefix(b"finkare-relay: the mark of an admin token\0")
            .chain_update(self.hash)
            .finalize()
            .into()
    }
}

/// Middleware: rejects requests without a valid token.
pub async fn require(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    // Only this process can put a caller there: a request from outside has headers alone.
    let known = request.extensions().get::<Caller>().cloned();
    match known.map_or_else(|| authenticate(&admin.tokens, &request), Ok) {
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

/// The caller where no token is configured: somebody on this machine.
///
/// # Errors
/// 403 for everybody else.
pub fn on_this_machine(peer: Option<&Peer>) -> Result<Caller, Problem> {
    if peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback()) {
        return Ok(Caller { name: "loopback".into(), role: Role::Admin, scope: Scope::default() });
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "loopback_only",
        "No admin token is configured, so only callers on this machine are admitted. Set RELAY_ADMIN_TOKEN.",
    ))
}

fn authenticate(tokens: &Tokens, request: &Request) -> Result<Caller, Problem> {
    if tokens.is_empty() {
        return on_this_machine(request.extensions().get::<Peer>());
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
            format!("The token `{}` has the role {}; this needs {}.", self.name, self.role.as_str(), role.as_str()),
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
    fn a_mark_is_of_one_token_under_one_name() {
        let tokens = Tokens::new(&[token("a", Role::Viewer), token("b", Role::Operator)]);
        let mark = tokens.mark_of("a").unwrap();
        assert_eq!(&*tokens.marked("a", &mark).unwrap().name, "a");
        assert!(tokens.marked("b", &mark).is_none() && tokens.marked("a", &[0; 32]).is_none());
        assert!(tokens.mark_of("c").is_none());
        let changed = AdminToken { token: Token::Plain(Secret::new("another")), ..token("a", Role::Viewer) };
        assert!(Tokens::new(&[changed]).marked("a", &mark).is_none(), "the token was changed");
        assert_ne!(mark, token("a", Role::Viewer).token.hash(), "it is not the hash");
        let raised = Tokens::new(&[token("a", Role::Admin)]);
        assert_eq!(raised.marked("a", &mark).unwrap().role, Role::Admin, "the role is what is configured now");
    }

    #[test]
    fn roles_include_each_other() {
        let caller = Caller { name: "a".into(), role: Role::Operator, scope: Scope::default() };
        assert!(caller.needs(Role::Viewer).is_ok() && caller.needs(Role::Operator).is_ok());
        assert!(caller.needs(Role::Admin).is_err());
    }
}
