//! The page for signing in, and signing out. Who gets in is decided in [`sign_in`].

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{Query, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::{
    session::{Access, Identity},
    sign_in::{self, SignIn},
    texts::{Texts, fill},
    visit::{Nav, Page, Visit, see},
};
use crate::web::error::Problem;

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    page: Page,
    t: &'static Texts,
    problem: Option<String>,
    next: String,
}

fn page(visit: &Visit, status: StatusCode, problem: Option<String>, next: String) -> Result<Response, Problem> {
    let page = visit.page(Nav::None, visit.t.login_title);
    visit.show_as(status, &Login { page, t: visit.t, problem, next })
}

/// Where the browser is led after signing in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    next: String,
}

/// `GET /ui/login`
pub(super) async fn ask(
    visit: Visit,
    State(access): State<Arc<Access>>,
    Query(Asked { next }): Query<Asked>,
) -> Result<Response, Problem> {
    let next = sign_in::local_path(&next).to_owned();
    if access.needs_no_sign_in() {
        return Ok(see(&next));
    }
    page(&visit, StatusCode::OK, None, next)
}

/// `POST /ui/login`
pub(super) async fn begin(
    visit: Visit,
    State(access): State<Arc<Access>>,
    request: Request,
) -> Result<Response, Problem> {
    match sign_in::sign_in(&access, request).await {
        SignIn::Done(response) => Ok(response),
        SignIn::Wrong { next } => page(&visit, StatusCode::UNAUTHORIZED, Some(visit.t.login_wrong.to_owned()), next),
        SignIn::Later { next, wait } => {
            let seconds = wait.as_secs().to_string();
            let text = fill(visit.t.login_slow, &[("seconds", &seconds)]);
            let mut response = page(&visit, StatusCode::TOO_MANY_REQUESTS, Some(text), next)?;
            let seconds = HeaderValue::from_str(&seconds).ok();
            response.headers_mut().extend(seconds.map(|seconds| (header::RETRY_AFTER, seconds)));
            Ok(response)
        }
        SignIn::Refused(problem) => Err(problem),
    }
}

/// `POST /ui/logout`
pub(super) async fn end(
    State(access): State<Arc<Access>>,
    Extension(identity): Extension<Identity>,
    headers: HeaderMap,
) -> Response {
    match sign_in::sign_out(&access, &identity, &headers).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}
