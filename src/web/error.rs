//! How every error is answered: as a problem document (RFC 9457) with a stable `code`.
//!
//! A handler returns a [`Problem`]; [`finish`] gives every request its id, writes the document and
//! turns a panic into a plain 500. A problem holds only what a client may see; the details of an error go to the log.

use std::panic::AssertUnwindSafe;

use axum::{
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// The header that carries the request id in every answer.
pub const REQUEST_ID: &str = "x-request-id";

/// The id of one request, by which its log lines are found.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(pub Uuid);

/// An error as the client sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry_after_secs: Option<u32>,
    close: bool,
    allow: Option<&'static str>,
    extensions: Vec<(&'static str, Value)>,
}

/// The members of every document.
const MEMBERS: [&str; 6] = ["type", "title", "status", "detail", "code", "request_id"];

/// Every error is a problem document (RFC 9457). Some problems have further members.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// Always `about:blank`; the `code` identifies the problem.
    r#type: &'static str,
    /// The status as text.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, to which object, and what to do about it.
    detail: &'a str,
    /// Identifies the problem; a code never changes its meaning.
    code: &'static str,
    /// Identifies the request in the service's log. The header `x-request-id` has the same value.
    request_id: Uuid,
    #[serde(flatten)]
    #[schema(ignore)]
    extensions: Map<String, Value>,
}

impl Problem {
    /// A problem with its status, a code that never changes its meaning, and one or two sentences that say what happened
    /// and what to do.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        // Finkare's own errors are put into words elsewhere.
        #[cfg(test)]
        if !code.starts_with("finkare_") {
            crate::french::expect(&detail);
        }
        Self { status, code, detail, retry_after_secs: None, close: false, allow: None, extensions: Vec::new() }
    }

    /// 503: the service cannot do it now; a later request may succeed.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self { retry_after_secs: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// 500: a bug in the service; the log has the details.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "An internal error occurred. The service's log has the details under this request id.",
        )
    }

    /// 404 for a path that does not exist.
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_path", "There is nothing at this path.")
    }

    /// 405, with what is allowed.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("This path does not accept this method; it accepts {allow}."),
            )
        }
    }

    /// Closes the connection after the answer, since the rest of the request was not read.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// Adds a further member (RFC 9457, section 3.2), for programs that need more than the `code`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        debug_assert!(!MEMBERS.contains(&name), "`{name}` is already a member of every document");
        self.extensions.push((name, value.into()));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code that identifies the problem.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// After how many seconds a later request may succeed, if that is known.
    pub fn retry_after_secs(&self) -> Option<u32> {
        self.retry_after_secs
    }

    /// The members of the document, in this order.
    pub(crate) fn members(&self, request_id: Uuid) -> Document<'_> {
        Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            extensions: self.extensions.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        }
    }

    fn document(&self, request_id: Uuid) -> Response {
        let text = serde_json::to_vec(&self.members(request_id)).expect("texts and numbers always serialise");
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge()));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The scheme that a 401 has to name (RFC 9110).
    fn challenge(&self) -> &'static str {
        if self.code == "invalid_signature" { "Signature" } else { "Bearer" }
    }
}

impl IntoResponse for Problem {
    /// The document itself is written by [`finish`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Middleware around all routes: assigns the request id, catches panics, writes problem documents.
pub async fn finish(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7();
    request.extensions_mut().insert(RequestId(id));
    let mut response = if let Ok(mut response) = AssertUnwindSafe(next.run(request)).catch_unwind().await {
        match response.extensions_mut().remove::<Problem>() {
            Some(problem) => problem.document(id),
            None => response,
        }
    } else {
        tracing::error!(request.id = %id, "a request's handler panicked");
        Problem::internal().document(id)
    };
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut text);
    response
        .headers_mut()
        .insert(REQUEST_ID, HeaderValue::from_str(text).expect("hex digits and hyphens are a header value"));
    response
}
