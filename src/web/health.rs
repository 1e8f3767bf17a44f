//! Is it alive, and can it take a delivery now?
//!
//! `/healthz` succeeds as long as the runtime works and no task has failed; a supervisor restarts a service that does not
//! answer. `/readyz` is for load balancers and operators. It queries the store (the store answers, its schema fits, it can
//! be written to) and says whether a delivery that arrives now would be accepted.
//!
//! # The checks
//!
//! - `store`: as above. After a failed transaction the store is not ready until one is committed again: a delivery, or a
//!   test transaction that is really committed. A query does not detect a full disk, since a transaction that is rolled
//!   back may never be written. On SQLite the free space is checked as well.
//! - `queue`: not ready while the writer's queue is full, or the oldest delivery in it has waited for more than half of the
//!   time after which it is answered 503.
//! - `service`: not ready once it is stopping.
//! - `endpoint/<name>`: only for a silent endpoint. It is information and always ready: removing the service from the
//!   load balancer would not make Finkare post again.
//!
//! The public listener gives the same answers without details: no path, no name, no version.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use super::error::Problem;
use crate::{
    activity::Board,
    ingest::committer::Backlog,
    lifecycle::Lifecycle,
    model::chain::Chain,
    store::{Store, StoreError},
};

/// How long the store may take to answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one answer of the store is reused, so that a flood of requests to `/readyz` puts no load on the database.
const GOOD_FOR: Duration = Duration::from_millis(500);

/// What the health routes check.
#[derive(Debug)]
pub struct Health {
    store: Arc<dyn Store>,
    lifecycle: Lifecycle,
    backlog: Backlog,
    /// A delivery that has waited longer than this is unlikely to be answered in time.
    longest_wait: Duration,
    board: Board,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

/// One check and its result.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Check {
    /// `store`, `queue`, `service`, or `endpoint/<name>`.
    pub(crate) name: Cow<'static, str>,
    /// False if this check makes the service not ready.
    pub(crate) ready: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// Who reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Callers of the admin listener.
    Operators,
    /// Callers of the public listener.
    Everybody,
}

/// Whether the service can accept a delivery now, and if not, why.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Report {
    /// True if a delivery that arrives now would be accepted.
    pub(crate) ready: bool,
    /// The checks.
    pub(crate) checks: Vec<Check>,
}

/// The process is alive.
#[derive(Debug, Serialize, ToSchema)]
struct Alive {
    /// Always `ok`.
    status: &'static str,
    /// The service's version. Only the admin listener shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
}

/// The routes, with their description in the OpenAPI document.
pub(super) fn routes() -> OpenApiRouter<Arc<Health>> {
    let other = || async { Problem::method_not_allowed("GET, HEAD") };
    OpenApiRouter::new()
        .routes(routes!(alive).map(|routes| routes.fallback(other)))
        .routes(routes!(ready).map(|routes| routes.fallback(other)))
}

/// Checks whether the process is alive.
///
/// Succeeds as long as the runtime works and no task has failed. Restart a service that does not answer.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "alive",
    tag = "service",
    responses(
        (status = 200, description = "The process is alive", body = Alive),
        (status = 503, description = "A part of the service has failed and the service is stopping: `task_failed`."),
    )
)]
async fn alive(State(health): State<Arc<Health>>) -> Response {
    health.alive(Some(env!("CARGO_PKG_VERSION")))
}

/// Checks whether a delivery that arrives now would be accepted.
///
/// Queries the store.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "service",
    responses(
        (status = 200, description = "A delivery would be accepted", body = Report),
        (status = 503, description = "A delivery would not be accepted; `checks` says why", body = Report),
    )
)]
async fn ready(State(health): State<Arc<Health>>) -> Response {
    health.ready(Audience::Operators).await
}

impl Health {
    /// Checks all of these. `ack_timeout` is the time after which a delivery is answered 503.
    pub fn new(
        store: Arc<dyn Store>,
        lifecycle: Lifecycle,
        backlog: Backlog,
        ack_timeout: Duration,
        board: Board,
    ) -> Arc<Self> {
        Arc::new(Self { store, lifecycle, backlog, longest_wait: ack_timeout / 2, board, last: Mutex::new(None) })
    }

    /// The routes `/healthz` and `/readyz`, as the admin listener has them.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::from(routes()).with_state(self.clone())
    }

    /// The routes of the public listener: they say what is not ready, without a path, a name or a version.
    pub fn public_router(self: &Arc<Self>) -> Router {
        let other = || async { Problem::method_not_allowed("GET, HEAD") };
        Router::new()
            .route("/healthz", get(async |State(health): State<Arc<Health>>| health.alive(None)).fallback(other))
            .route(
                "/readyz",
                get(async |State(health): State<Arc<Health>>| health.ready(Audience::Everybody).await).fallback(other),
            )
            .with_state(self.clone())
    }

    fn alive(&self, version: Option<&'static str>) -> Response {
        if self.lifecycle.failed() {
            return Problem::unavailable("task_failed", "A part of the service has failed; it is stopping.")
                .into_response();
        }
        Json(Alive { status: "ok", version }).into_response()
    }

    async fn ready(&self, audience: Audience) -> Response {
        let store = self.store_ready().await;
        let store = match audience {
            Audience::Operators => store,
            // The store's message may name files, versions and servers.
            Audience::Everybody => store.map_err(|_| "the store accepts no deliveries now".to_owned()),
        };
        let stopping = self.lifecycle.soft.is_cancelled();
        let queue = self.queue_ready();
        let check = |name: &'static str, problem: Option<String>| Check {
            name: name.into(),
            ready: problem.is_none(),
            detail: problem,
        };
        let mut checks = vec![
            check("store", store.err()),
            check("queue", queue.err()),
            check("service", stopping.then(|| "the service is stopping".to_owned())),
        ];
        let silences = match audience {
            Audience::Operators => self.board.silences(),
            Audience::Everybody => Vec::new(),
        };
        checks.extend(silences.into_iter().map(|silence| Check {
            name: format!("endpoint/{}", silence.endpoint).into(),
            ready: true,
            detail: Some(silence.detail),
        }));
        let ready = checks.iter().all(|check| check.ready);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(Report { ready, checks })).into_response()
    }

    fn queue_ready(&self) -> Result<(), String> {
        let oldest = self.backlog.oldest();
        if self.backlog.is_full() {
            Err("the writer's queue is full: further deliveries are answered 503".to_owned())
        } else if oldest > self.longest_wait {
            Err(format!("a delivery has waited for the store for {:.1} s", oldest.as_secs_f64()))
        } else {
            Ok(())
        }
    }

    /// Queries the store; after a failed commit, checks whether a commit works again.
    async fn ask_store(&self) -> Result<(), StoreError> {
        self.store.ready().await?;
        if self.backlog.failure().is_some() {
            self.store.trial_write().await?;
            self.backlog.works_again();
        }
        Ok(())
    }

    async fn store_ready(&self) -> Result<(), String> {
        // The lock is held during the query, so that concurrent callers share its answer.
        let mut last = self.last.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return result.clone();
        }
        let result = match tokio::time::timeout(STORE_TIMEOUT, self.ask_store()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "the store is not ready");
                // Without its cause, since a driver's message can contain addresses.
                Err(error.to_string())
            }
            Err(_) => Err(format!("the database did not answer within {} s", STORE_TIMEOUT.as_secs())),
        };
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
