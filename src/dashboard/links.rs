//! Visitors who come by a link: they get a session that shows the pages of the link.
//!
//! Opening a link changes nothing but that: a mail program that looks at it in advance does no harm. The visitor is led on at
//! once, so that the secret does not stay in the address bar.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{
    forms,
    session::{Access, IDLE, LASTS, comes_from_elsewhere, led_on, see_other, set_cookie},
};
use crate::{
    model::guest::GuestPage,
    store::sessions::{NewSession, Owner},
    web::{
        admin::{
            links::{SessionSecret, is_backed},
            store_problem,
        },
        error::Problem,
    },
};

/// `GET /ui/link/{secret}`: begins the visitor's session, and leads to the first page of the link.
///
/// # Errors
/// 404 if there is no such link, or it has ended; 503 if the store does not answer.
pub(super) async fn visit(
    State(access): State<Arc<Access>>,
    Path(secret): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let no_link = || {
        let detail = "This link has ended, or it is not whole. Ask the person who gave it to you for a new one.";
        Problem::new(StatusCode::NOT_FOUND, "no_such_link", detail)
    };
    let store = &access.admin.store;
    let link = SessionSecret::read(&secret).ok_or_else(no_link)?.hash();
    let found = store.link_by_hash(&link).await.map_err(store_problem)?;
    let found = found.filter(|found| is_backed(&access.admin.tokens, found)).ok_or_else(no_link)?;
    let target = path(*found.pages.first().ok_or_else(no_link)?);
    let mut response = if comes_from_elsewhere(&headers) { led_on(target) } else { see_other(target) };
    if method != Method::HEAD {
        let secret = SessionSecret::generate();
        let session =
            NewSession { id_hash: secret.hash(), of: Owner::Link(link), idle: IDLE, lasts: LASTS, replaces: None };
        if !store.begin_session(&session, None).await.map_err(store_problem)? {
            return Err(no_link());
        }
        set_cookie(&mut response, Some(&secret), forms::is_https(&headers));
    }
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// Where a page is.
const fn path(page: GuestPage) -> &'static str {
    match page {
        GuestPage::Statement => "/ui/statement",
        GuestPage::Payments => "/ui/payments",
    }
}
