//! The admin API, called inside of the process: each page asks it, in the name of whoever looks, for what it shows and does.
//!
//! So there is one place that decides who may see and do what. A page that forgets a check forgets nothing: the API answers
//! 403 or 404, as it would to a program with the same token.

use axum::{Router, body::Body};
use http::{Method, Request, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tower::ServiceExt;

use crate::web::{admin::auth::Caller, error::Problem};

/// How many rows a page looks at when it has to search: a page is to be there at once, and says how far it came.
pub(super) const LOOK_AT: u32 = 20_000;

/// The same for a question that counts what it is about: it cannot end early.
pub(super) const COUNT_AMONG: u32 = 5000;

/// What stands in a segment of a path, or in a value of a query, as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text as a segment of a path, or as a value in a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A query: `?a=b&c=d`, without the parameters that have no value; empty if none has one.
pub(super) fn query(parameters: &[(&str, &str)]) -> String {
    let told = parameters.iter().filter(|(_, value)| !value.is_empty());
    let told: Vec<String> = told.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if told.is_empty() { String::new() } else { format!("?{}", told.join("&")) }
}

/// The API in the name of one caller.
#[derive(Debug, Clone)]
pub(super) struct Api {
    router: Router,
    caller: Caller,
}

impl Api {
    pub(super) fn new(router: Router, caller: Caller) -> Self {
        Self { router, caller }
    }

    /// Reads.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.call(Method::GET, path, Body::empty()).await
    }

    /// Acts.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Problem> {
        let body = serde_json::to_vec(body).map_err(|_| Problem::internal())?;
        self.call(Method::POST, path, Body::from(body)).await
    }

    /// Reads, and passes the answer on as it is: a download.
    pub(super) async fn download(&self, path: &str) -> Result<http::Response<Body>, Problem> {
        self.answer(Method::GET, path, Body::empty()).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Body) -> Result<T, Problem> {
        let answer = self.answer(method, path, body).await?;
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.map_err(|_| Problem::internal())?;
        serde_json::from_slice(&bytes).map_err(|error| {
            tracing::error!(%error, "an answer of the admin API could not be read by the dashboard");
            Problem::internal()
        })
    }

    async fn answer(&self, method: Method, path: &str, body: Body) -> Result<http::Response<Body>, Problem> {
        let uri: Uri = path.parse().map_err(|_| Problem::no_such_path())?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        request.extensions_mut().insert(self.caller.clone());
        let Ok(mut answer) = self.router.clone().oneshot(request).await;
        match answer.extensions_mut().remove::<Problem>() {
            Some(problem) => Err(problem),
            None => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_types_stays_one_value() {
        assert_eq!(
            query(&[("q", "F-1 & 2/é"), ("none", ""), ("state", "held")]),
            "?q=F-1%20%26%202%2F%C3%A9&state=held"
        );
        assert_eq!(query(&[("q", "")]), "");
        assert_eq!(encoded("../secrets?x"), "..%2Fsecrets%3Fx");
    }
}
