//! The admin listener: the JSON API for operators.
//!
//! Every route below `/api/v1` requires a token ([`auth`]). `/healthz`, `/readyz`, `/metrics` and `/openapi.json` do not:
//! they show names of endpoints and sinks and counts, and the listener is not public. Requests from web pages of other
//! sites are rejected on all routes, and so are requests through proxies while no token is configured ([`gate`]).
//!
//! # How to add a route
//!
//! Write the handler with its `#[utoipa::path]`, add it to `guarded` below, and regenerate the API's document:
//! `cargo run -- openapi > docs/openapi.json`. A route without a description cannot be added.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Path, Query, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, request::Parts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use super::{error::Problem, health::Health};
use crate::{
    activity::{Board, Meter},
    bulk::Bulk,
    dispatch::SinkView,
    ingest::explain::Refusals,
    link::Links,
    model::{chain::Chain, id::EndpointName},
    reconcile::Orders,
    replay::Replayer,
    store::{LOOKED_AT, Page, Store, StoreError},
    telemetry::Metrics,
};

mod announced;
pub mod audit;
pub mod auth;
pub mod bookings;
pub mod bulk;
pub mod dispatches;
pub mod endpoints;
pub mod events;
pub mod gate;
pub mod invoices;
pub mod links;
pub mod openapi;
pub mod payments;
pub mod reconciliations;
pub mod refusals;
pub mod reload;
pub mod replay;
pub mod scope;
pub mod sink_test;
pub mod sinks;
pub mod statement;
pub mod statuses;
pub mod traffic;
pub mod trying;
pub mod waiting;

use auth::Tokens;
use gate::Gate;

/// The largest body that this API accepts, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the admin API works on.
#[derive(Debug)]
pub struct Admin {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The state of the sinks, as the store knows it.
    pub statuses: statuses::Statuses,
    /// The configured sinks as their workers see them.
    pub sinks: Vec<SinkView>,
    /// The endpoints and their webhooks at Finkare.
    pub links: Arc<Links>,
    /// Carries out decisions about many things at once.
    pub bulk: Bulk,
    /// Replays events.
    pub replayer: Arc<Replayer>,
    /// Sends test events to sinks.
    pub tests: Arc<dyn sink_test::TestSinks>,
    /// Tries events on sinks.
    pub tries: Arc<dyn trying::TrySinks>,
    /// Decides which requests reach the routes.
    pub gate: Gate,
    /// The tokens that callers may use.
    pub tokens: Tokens,
    /// Which endpoints each sink gets events of, for tokens that are limited to some.
    pub reach: scope::Reach,
    /// Takes the orders to reconcile.
    pub reconciling: Orders,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Replaces the configuration while the service runs.
    pub reload: Weak<dyn reload::Reload>,
    /// The rejected deliveries, with the reasons.
    pub refusals: Arc<Refusals>,
    /// What statements need to know of the configuration.
    pub statement: crate::statement::Settings,
    /// The endpoints that are silent.
    pub board: Board,
    /// When this process last received a genuine delivery for each endpoint.
    pub meters: Vec<(EndpointName, Meter)>,
}

/// The routes below `/api/v1`, without the prefix. A request that already carries a [`Caller`](auth::Caller) is one
/// of this process, made for that caller.
pub fn api(admin: &Arc<Admin>) -> Router {
    Router::from(guarded())
        .fallback(|| async { Problem::no_such_path() })
        .layer(axum::middleware::from_fn_with_state(admin.clone(), auth::require))
        .with_state(admin.clone())
}

/// The router of the admin listener: the API, the health routes, and the pages for people.
pub fn router(admin: Arc<Admin>, health: &Arc<Health>, pages: Router) -> Router {
    Router::new()
        .nest(openapi::PREFIX, api(&admin))
        .merge(Router::from(open()).with_state(admin.clone()))
        .merge(health.router())
        .merge(pages)
        .fallback(|| async { Problem::no_such_path() })
        .layer(axum::middleware::from_fn_with_state(admin, gate::pass))
}

/// Routes for `GET`, which also answer `HEAD`.
fn reads(routes: UtoipaMethodRouter<Arc<Admin>>) -> UtoipaMethodRouter<Arc<Admin>> {
    routes.map(|routes| routes.fallback(|| async { Problem::method_not_allowed("GET, HEAD") }))
}

/// Routes for `POST`.
fn posts(routes: UtoipaMethodRouter<Arc<Admin>>) -> UtoipaMethodRouter<Arc<Admin>> {
    routes.map(|routes| routes.fallback(|| async { Problem::method_not_allowed("POST") }))
}

/// Routes for `GET`, which also answer `HEAD`, and for `POST`, at one path.
fn both(routes: UtoipaMethodRouter<Arc<Admin>>) -> UtoipaMethodRouter<Arc<Admin>> {
    routes.map(|routes| routes.fallback(|| async { Problem::method_not_allowed("GET, HEAD, POST") }))
}

/// The routes below `/api/v1`, which require a token.
fn guarded() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new()
        .routes(reads(routes!(events::list)))
        .routes(reads(routes!(events::show)))
        .routes(posts(routes!(replay::one)))
        .routes(posts(routes!(replay::many)))
        .routes(reads(routes!(dispatches::list)))
        .routes(reads(routes!(dispatches::show)))
        .routes(reads(routes!(waiting::list)))
        .routes(posts(routes!(dispatches::retry)))
        .routes(posts(routes!(dispatches::cancel)))
        .routes(posts(routes!(bulk::retry)))
        .routes(posts(routes!(bulk::cancel)))
        .routes(posts(routes!(invoices::erase)))
        .routes(reads(routes!(refusals::list)))
        .routes(reads(routes!(payments::list)))
        .routes(reads(routes!(payments::show)))
        .routes(reads(routes!(bookings::list)))
        .routes(posts(routes!(bookings::settle)))
        .routes(reads(routes!(statement::show)))
        .routes(both(routes!(reconciliations::list, reconciliations::begin)))
        .routes(reads(routes!(reconciliations::show)))
        .routes(reads(routes!(sinks::list)))
        .routes(posts(routes!(sinks::pause)))
        .routes(posts(routes!(sinks::resume)))
        .routes(posts(routes!(sink_test::test)))
        .routes(posts(routes!(trying::try_event)))
        .routes(reads(routes!(endpoints::list)))
        .routes(reads(routes!(endpoints::secrets)))
        .routes(reads(routes!(endpoints::deliveries)))
        .routes(posts(routes!(endpoints::rotate_secret)))
        .routes(posts(routes!(endpoints::register)))
        .routes(posts(routes!(endpoints::settle)))
        .routes(both(routes!(links::list, links::make)))
        .routes(posts(routes!(links::revoke)))
        .routes(posts(routes!(reload::reload)))
        .routes(reads(routes!(traffic::show)))
        .routes(reads(routes!(audit::list)))
}

/// The routes that require no token.
fn open() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(reads(routes!(metrics))).routes(reads(routes!(openapi::show)))
}

/// The metrics, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "service",
    responses(
        (status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text"),
        (status = 503, description = "The database does not answer now: `store_unavailable`."),
    )
)]
async fn metrics(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let now = crate::model::clock::now();
    for status in &*admin.statuses.scraped().await? {
        admin.metrics.set_sink(status, sinks::state(&admin.sinks, &status.name, status.paused.is_some()).as_str(), now);
    }
    for report in admin.store.last_reconciliations().await.map_err(store_problem)? {
        admin.metrics.set_reconciliation(&report, now);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], admin.metrics.render()).into_response())
}

/// The answer to a client if the store failed. The log gets the cause.
#[expect(clippy::needless_pass_by_value, reason = "it is used in `map_err`")]
pub(crate) fn store_problem(error: StoreError) -> Problem {
    tracing::error!(error = %Chain(&error), "the store failed an admin request");
    if error.is_unavailable() {
        Problem::unavailable("store_unavailable", "The database does not answer now. Please try again.")
    } else {
        Problem::internal()
    }
}

/// The query of a request. Its errors are problem documents; unknown parameters are errors.
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

/// The variable segment of a path. Its errors are problem documents.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(bad_parameter("The path is not usable: its percent-encoded bytes are not UTF-8.")),
        }
    }
}

/// The body of a request as JSON, regardless of its content type; `None` if it is empty or `null`.
///
/// # Errors
/// 400 if the body is not JSON, 422 if the JSON has another shape, 413 if the body is too large, 408 if it is too slow.
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
    let text = bytes.trim_ascii();
    if text.is_empty() || text == b"null" {
        return Ok(None);
    }
    // serde would also fill a struct from a list, in the order of its fields.
    if text.starts_with(b"[") {
        let detail = "The body is not usable: it must be a JSON object.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", detail));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        // Some messages of serde repeat the value; no secret is ever expected here.
        if error.is_data() {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", format!("The body is not usable: {error}."))
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "bad_body", format!("The body is not JSON: {error}."))
        }
    })
}

/// 400: a parameter cannot be used.
pub(super) fn bad_parameter(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", detail)
}

/// 404: the object does not exist.
pub(super) fn not_found(what: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("There is no {what}."))
}

/// Parses a parameter; the problem names the parameter.
pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| bad_parameter(format!("`{name}`: {error}.")))
}

/// The size of a page: 1 to 500, by default 50.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(50),
        Some(limit @ 1..=500) => Ok(limit),
        Some(other) => Err(bad_parameter(format!("`limit` is {other}; it must be 1 to 500."))),
    }
}

/// How much a search looks at, where the caller says it: 1 to 100,000.
pub(super) fn look_at(asked: Option<u32>) -> Result<Option<u32>, Problem> {
    match asked {
        None | Some(1..=LOOKED_AT) => Ok(asked),
        Some(other) => Err(bad_parameter(format!("`look_at` is {other}; it must be 1 to {LOOKED_AT}."))),
    }
}

/// The same for what a bulk call counts. It bounds no decision: whoever meant that would change more than they think.
pub(super) fn counted_among(asked: Option<u32>, dry_run: bool) -> Result<Option<u32>, Problem> {
    if asked.is_some() && !dry_run {
        let detail = "`look_at` is for `dry_run` only: a decision is about everything that is selected.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", detail));
    }
    look_at(asked)
}

/// A page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The rows, newest first.
    pub data: Vec<T>,
    /// Pass this as `cursor` to get the next rows; null if there are no more.
    #[schema(required)]
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
