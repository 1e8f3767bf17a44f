//! The admin listener: what an operator asks and decides, as JSON.
//!
//! Every route below `/api/v1` asks for a token ([`auth`]). `/healthz`, `/readyz` and `/metrics`
//! do not: they name endpoints and sinks and count things, and the listener is not public.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header, request::Parts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{error::Problem, health::Health};
use crate::{
    dispatch::SinkView,
    finkare::link::Links,
    ingest::explain::Refusals,
    model::chain::Chain,
    store::{Page, Store, StoreError},
    telemetry::Metrics,
};

pub mod audit;
pub mod auth;
pub mod dispatches;
pub mod endpoints;
pub mod events;
pub mod operate;
pub mod refusals;
pub mod reload;
pub mod sinks;

use auth::Tokens;

/// The largest body that this API takes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// It has arrived by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the admin API works on.
#[derive(Debug)]
pub struct Admin {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The configured sinks as their workers see them.
    pub sinks: Vec<SinkView>,
    /// The endpoints and their webhooks at Finkare.
    pub links: Arc<Links>,
    /// Decisions about many things at once.
    pub operate: operate::Operate,
    /// Who may ask.
    pub tokens: Tokens,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who can put another configuration in place, while the service runs.
    pub reload: Weak<dyn reload::Reload>,
    /// What was refused, and why.
    pub refusals: Arc<Refusals>,
}

/// The router of the admin listener.
pub fn router(admin: Arc<Admin>, health: &Arc<Health>) -> Router {
    let not = |allow: &'static str| move || async move { Problem::method_not_allowed(allow) };
    let api = Router::new()
        .route("/events", get(events::list).fallback(not("GET, HEAD")))
        .route("/events/{id}", get(events::show).fallback(not("GET, HEAD")))
        .route("/events/{id}/replay", post(operate::replay_one).fallback(not("POST")))
        .route("/events/replay", post(operate::replay_many).fallback(not("POST")))
        .route("/dispatches/retry", post(operate::retry_many).fallback(not("POST")))
        .route("/dispatches/cancel", post(operate::cancel_many).fallback(not("POST")))
        .route("/sinks/{name}/test", post(operate::test_sink).fallback(not("POST")))
        .route("/invoices/{invoice_id}/erase", post(operate::erase_invoice).fallback(not("POST")))
        .route("/dispatches", get(dispatches::list).fallback(not("GET, HEAD")))
        .route("/dispatches/{id}", get(dispatches::show).fallback(not("GET, HEAD")))
        .route("/dispatches/{id}/retry", post(dispatches::retry).fallback(not("POST")))
        .route("/dispatches/{id}/cancel", post(dispatches::cancel).fallback(not("POST")))
        .route("/refusals", get(refusals::list).fallback(not("GET, HEAD")))
        .route("/sinks", get(sinks::list).fallback(not("GET, HEAD")))
        .route("/sinks/{name}/pause", post(sinks::pause).fallback(not("POST")))
        .route("/sinks/{name}/resume", post(sinks::resume).fallback(not("POST")))
        .route("/endpoints", get(endpoints::list).fallback(not("GET, HEAD")))
        .route("/endpoints/{name}/secrets", get(endpoints::secrets).fallback(not("GET, HEAD")))
        .route("/endpoints/{name}/deliveries", get(endpoints::deliveries).fallback(not("GET, HEAD")))
        .route("/endpoints/{name}/rotate-secret", post(endpoints::rotate_secret).fallback(not("POST")))
        .route("/endpoints/{name}/register", post(endpoints::register).fallback(not("POST")))
        .route("/reload", post(reload::reload).fallback(not("POST")))
        .route("/audit", get(audit::list).fallback(not("GET, HEAD")))
        .fallback(|| async { Problem::no_such_path() })
        .layer(axum::middleware::from_fn_with_state(admin.clone(), auth::require));
    Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(metrics).fallback(not("GET, HEAD")))
        .with_state(admin)
        .merge(health.router())
        .fallback(|| async { Problem::no_such_path() })
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let now = crate::model::clock::now();
    for status in admin.store.sink_statuses().await.map_err(store_problem)? {
        admin.metrics.set_sink(&status, sinks::state(&admin.sinks, &status), now);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], admin.metrics.render()).into_response())
}

/// Tells a client that the store failed, and the log why.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
pub(super) fn store_problem(error: StoreError) -> Problem {
    tracing::error!(error = %Chain(&error), "the store failed an admin request");
    if error.is_unavailable() {
        Problem::unavailable("store_unavailable", "The database does not answer now. Please try again.")
    } else {
        Problem::internal()
    }
}

/// The query of a request, whose errors are problem documents; unknown parameters are errors.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let detail = rejection.body_text();
                let reason = detail.rsplit("query string: ").next().unwrap_or(&detail);
                Err(bad_parameter(format!("The query is not usable: {reason}.")))
            }
        }
    }
}

/// The body of a request as JSON, whatever its content type says; `None` if it is empty.
///
/// # Errors
/// 400 for what is no JSON, 422 for JSON of another shape, 413 and 408 for what is too large or too slow.
pub(super) async fn payload<T: DeserializeOwned>(body: Body) -> Result<Option<T>, Problem> {
    let reading = axum::body::to_bytes(body, MAX_BODY_BYTES + 1);
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(bytes)) if bytes.len() <= MAX_BODY_BYTES => bytes,
        Ok(Ok(_) | Err(_)) => {
            let detail = format!("The body is larger than {MAX_BODY_BYTES} bytes, or was cut off.");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).closing());
        }
        Err(_) => {
            let detail = format!("The body did not arrive within {} s.", BODY_TIMEOUT.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail).closing());
        }
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        // serde repeats what it was given in some of its messages; nothing secret is ever asked for here.
        if error.is_data() {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", format!("The body is not usable: {error}."))
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "bad_body", format!("The body is not JSON: {error}."))
        }
    })
}

/// 400 for a parameter.
pub(super) fn bad_parameter(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", detail)
}

/// 404 for a thing.
pub(super) fn not_found(what: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("There is no {what}."))
}

/// A parameter's text as its type, or a problem that names the parameter.
pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| bad_parameter(format!("`{name}`: {error}.")))
}

/// A page's size: 50 unless asked otherwise, 1 to 500.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(50),
        Some(limit @ 1..=500) => Ok(limit),
        Some(other) => Err(bad_parameter(format!("`limit` is {other}; it must be 1 to 500."))),
    }
}

/// A list as the API answers it.
#[derive(Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// The rows, newest first.
    pub data: Vec<T>,
    /// Hand it back as `cursor` for the next rows; null when there are none.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    pub(super) fn from_page<R>(page: Page<R>, cursor: impl Fn(&R) -> String, row: impl Fn(R) -> T) -> Self {
        let next_cursor = page.rows.last().filter(|_| page.more).map(cursor);
        Self { data: page.rows.into_iter().map(row).collect(), next_cursor }
    }
}

/// A time parameter: RFC 3339.
pub(super) fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    text.map(|text| {
        text.parse().map_err(|_| bad_parameter(format!("`{name}` must be a time like 2026-03-15T10:30:00Z.")))
    })
    .transpose()
}
