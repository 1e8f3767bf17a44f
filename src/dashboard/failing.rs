//! How an error looks to a person: what happened in the reader's language, and the API's own words where they say more.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use uuid::Uuid;

use super::{
    texts::Texts,
    visit::{Nav, Page, Visit},
};
use crate::web::error::Problem;

#[derive(Template)]
#[template(path = "error.html")]
struct Failing {
    page: Page,
    t: &'static Texts,
    what: &'static str,
    detail: String,
    problems: Vec<String>,
    code: &'static str,
    back: String,
}

/// The page for a problem.
pub(super) fn page(visit: &Visit, problem: &Problem, back: String) -> Response {
    let t = visit.t;
    let status = problem.status();
    let what = t.problem(problem.code()).unwrap_or(match status {
        StatusCode::NOT_FOUND => t.problem_not_found,
        StatusCode::FORBIDDEN => t.problem_forbidden,
        StatusCode::SERVICE_UNAVAILABLE => t.problem_unavailable,
        status if status.is_server_error() => t.problem_internal,
        _ => t.problem_input,
    });
    let document = serde_json::to_value(problem.members(Uuid::nil())).unwrap_or_default();
    let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    let problems = document["problems"].as_array().into_iter().flatten();
    let mut problems: Vec<String> = problems.filter_map(|one| one.as_str().map(str::to_owned)).collect();
    match &document["finkare"] {
        serde_json::Value::Null => {}
        serde_json::Value::String(words) => problems.push(words.clone()),
        other => problems.push(other.to_string()),
    }
    let title = if status == StatusCode::NOT_FOUND { t.not_found_title } else { t.error_title };
    let page = visit.page(Nav::None, title);
    let page = Failing { page, t, what, detail: text("detail"), problems, code: problem.code(), back };
    match visit.show_as(status, &page) {
        Ok(mut response) => {
            if let Some(seconds) = problem.retry_after_secs() {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Err(problem) => problem.into_response(),
    }
}
