//! Signing in with an admin token, and signing out.

use std::{net::IpAddr, time::Duration};

use axum::{extract::Request, response::Response};
use http::HeaderMap;

use super::{
    forms,
    session::{Access, IDLE, Identity, LASTS, SignedInBy, secrets, see_other, set_cookie},
};
use crate::{
    listener::Peer,
    model::audit::NewAudit,
    store::sessions::{NewSession, Owner},
    web::{
        admin::{links::SessionSecret, store_problem},
        error::Problem,
    },
};

/// Where one is led who asked for nothing else.
const HOME: &str = "/ui/";
/// The longest address that one is led back to, in bytes.
const LONGEST_NEXT: usize = 2048;

/// The result of an attempt to sign in.
#[derive(Debug)]
pub(super) enum SignIn {
    /// Signed in: this answer has the cookie, and leads to the page that was asked for.
    Done(Response),
    /// No configured token is like this (401).
    Wrong {
        /// Where the form leads, see [`local_path`].
        next: String,
    },
    /// There were too many wrong attempts (429, with `Retry-After`).
    Later {
        /// Where the form leads.
        next: String,
        /// How long to wait, in whole seconds, at least one.
        wait: Duration,
    },
    /// Another problem: a page of another site has sent the form, it is too large, the store does not answer.
    Refused(Problem),
}

/// Signs in: the form's field `token` has an admin token, `next` the page that was asked for.
pub(super) async fn sign_in(access: &Access, request: Request) -> SignIn {
    match try_to_sign_in(access, request).await {
        Ok(result) => result,
        Err(problem) => SignIn::Refused(problem),
    }
}

async fn try_to_sign_in(access: &Access, request: Request) -> Result<SignIn, Problem> {
    forms::from_our_own_page(request.headers())?;
    let (request, fields) = forms::read(request).await?;
    let next = local_path(fields.get("next").unwrap_or_default()).to_owned();
    let admin = &access.admin;
    if admin.tokens.is_empty() {
        // Whoever is on this machine needs none, and nobody else is let in.
        return Ok(SignIn::Done(see_other(&next)));
    }
    let token = fields.get("token").unwrap_or_default().trim();
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip().to_canonical());
    let attempt = {
        let mut attempts = access.entrance.attempts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        attempts.attempt(peer, std::time::Instant::now(), || admin.tokens.find(token))
    };
    let caller = match attempt {
        Ok(Some(caller)) => caller,
        Ok(None) => {
            tracing::warn!(%peer, "a sign-in to the dashboard was refused: no admin token is like the one that was given");
            return Ok(SignIn::Wrong { next });
        }
        Err(wait) => {
            let wait = Duration::from_secs(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1));
            return Ok(SignIn::Later { next, wait });
        }
    };
    let secret = SessionSecret::generate();
    let mark = admin.tokens.mark_of(&caller.name).ok_or_else(Problem::internal)?;
    let session = NewSession {
        id_hash: secret.hash(),
        of: Owner::Token { name: caller.name.to_string(), mark },
        idle: IDLE,
        lasts: LASTS,
        replaces: secrets(request.headers()).next().map(|earlier| earlier.hash()),
    };
    let audit = NewAudit::new(&caller.name, "session.began", format!("token/{}", caller.name));
    admin.store.begin_session(&session, Some(audit)).await.map_err(store_problem)?;
    let mut response = see_other(&next);
    set_cookie(&mut response, Some(&secret), forms::is_https(request.headers()));
    Ok(SignIn::Done(response))
}

/// Signs out: ends the session and deletes the cookie.
///
/// # Errors
/// 503 if the store does not answer.
pub(super) async fn sign_out(access: &Access, identity: &Identity, headers: &HeaderMap) -> Result<Response, Problem> {
    if let Some(session) = &identity.session {
        let name = &identity.caller.name;
        // Visitors leave no entry: whoever has a link could write as many as they like.
        let audit = (identity.signed_in_by == SignedInBy::Session)
            .then(|| NewAudit::new(name, "session.ended", format!("token/{name}")));
        access.admin.store.end_session(session, audit).await.map_err(store_problem)?;
    }
    let mut response = see_other("/ui/login?done=signed_out");
    set_cookie(&mut response, None, forms::is_https(headers));
    Ok(response)
}

/// The page that somebody asked for, as the address that a browser is led to after signing in: a path of the dashboard, and
/// nothing that a browser could take for another site.
pub(super) fn local_path(next: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    let path = next.split(['?', '#']).next().unwrap_or_default();
    let fits = next.len() <= LONGEST_NEXT
        && next.bytes().all(is_plain)
        && path.starts_with(HOME)
        && !path.contains("//")
        && !path.contains("..")
        && !path.to_ascii_lowercase().contains("%2e")
        // What one is led back to shows a page.
        && !["/ui/login", "/ui/logout", "/ui/link/"].iter().any(|no_page| path.starts_with(no_page));
    if fits { next } else { HOME }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        for good in ["/ui/", "/ui/events", "/ui/events?q=a%2Fb&x=1", "/ui/payments/pay_1?next=//x", "/ui/statement#top"]
        {
            assert_eq!(local_path(good), good);
        }
        let long = format!("/ui/{}", "x".repeat(LONGEST_NEXT));
        for bad in [
            "",
            "/",
            "/ui",
            "ui/",
            "//evil.example/ui/",
            "/ui//evil.example",
            "///ui/",
            "/\\evil.example/ui/",
            "/ui/\\evil.example",
            "\\\\evil.example/ui/",
            "https://evil.example/ui/",
            "https:/ui/",
            "javascript:alert(1)//ui/",
            "/ui/../..//evil.example",
            "/ui/..",
            "/ui/%2e%2e/api",
            "/ui/.%2E/x",
            "/api/v1/events",
            "/uix/",
            " /ui/",
            "\t/ui/",
            "/ui/\n",
            "/ui/\r\nSet-Cookie: x=y",
            "/ui/é",
            "/ui/a b",
            "/ui/login?next=/ui/",
            "/ui/logout",
            "/ui/link/secret",
            long.as_str(),
        ] {
            assert_eq!(local_path(bad), HOME, "{bad:?}");
        }
    }
}
