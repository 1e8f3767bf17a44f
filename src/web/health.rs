//! Is it alive, and can it take a delivery now?
//!
//! `/healthz` answers as long as the runtime works and no task has failed: a supervisor restarts
//! what does not answer. `/readyz` asks the store for real (it answers, its schema is ours, it can
//! be written to), for a load balancer or an operator: a delivery that came now would be taken.
//!
//! # The checks
//!
//! - `store`: as above. After a transaction that the store could not take it is not ready until one
//!   is committed again: a delivery, or a trial that is really committed. Asking alone does not show a full
//!   disk, because what is rolled back may never be written. On SQLite the free space is looked at, too.
//! - `queue`: not ready while no further delivery finds a place before the writer, or the oldest has
//!   waited for more than half of the time after which it is answered 503.
//! - `service`: not ready once it is stopping.
//! - `endpoint/<name>`: only for an endpoint that is silent; information, always ready: to take such a
//!   service out of the balance would not make Finkare post again.
//!
//! The public listener answers the same, without details: no path, no name, no version.

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
use serde::Serialize;
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

/// The store gets so long to answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// One real question to the store is good for so long, so that a flood of questions to `/readyz`
/// is no load on the database.
const GOOD_FOR: Duration = Duration::from_millis(500);

/// What the health routes look at.
#[derive(Debug)]
pub struct Health {
    store: Arc<dyn Store>,
    lifecycle: Lifecycle,
    backlog: Backlog,
    /// A delivery that has waited for longer will hardly be answered in time.
    longest_wait: Duration,
    board: Board,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, ToSchema)]
struct Check {
    /// `store`, `queue`, `service`, or `endpoint/<name>`.
    name: Cow<'static, str>,
    /// False: this is why the service is not ready.
    ready: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Whoever reaches the admin listener.
    Operators,
    /// Whoever reaches the public listener.
    Everybody,
}

/// Whether it can take a delivery now, and why not.
#[derive(Debug, Serialize, ToSchema)]
struct Report {
    /// True: a delivery that came now would be taken.
    ready: bool,
    /// What was looked at.
    checks: Vec<Check>,
}

/// The process works.
#[derive(Debug, Serialize, ToSchema)]
struct Alive {
    /// Always `ok`.
    status: &'static str,
    /// The service's version; on the admin listener only.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
}

/// The routes, with what the API's document says of them.
pub(super) fn routes() -> OpenApiRouter<Arc<Health>> {
    let other = || async { Problem::method_not_allowed("GET, HEAD") };
    OpenApiRouter::new()
        .routes(routes!(alive).map(|routes| routes.fallback(other)))
        .routes(routes!(ready).map(|routes| routes.fallback(other)))
}

/// Is it alive?
///
/// Answers as long as the runtime works and no task has failed: restart what does not answer.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "alive",
    tag = "service",
    responses(
        (status = 200, description = "It is", body = Alive),
        (status = 503, description = "A part has failed, the service is stopping: `task_failed`."),
    )
)]
async fn alive(State(health): State<Arc<Health>>) -> Response {
    health.alive(Some(env!("CARGO_PKG_VERSION")))
}

/// Can it take a delivery now?
///
/// Asks the store for real.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "service",
    responses(
        (status = 200, description = "It can", body = Report),
        (status = 503, description = "It cannot; `checks` says why", body = Report),
    )
)]
async fn ready(State(health): State<Arc<Health>>) -> Response {
    health.ready(Audience::Operators).await
}

impl Health {
    /// Looks at all of these; `ack_timeout` is the time after which a delivery is answered 503.
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

    /// The same for everybody: what is not ready, without a path, a name or a version.
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
            // What the store says may name files, versions and servers.
            Audience::Everybody => store.map_err(|_| "the store takes no deliveries now".to_owned()),
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
            Err("the queue for the writer is full: further deliveries are answered 503".to_owned())
        } else if oldest > self.longest_wait {
            Err(format!("a delivery has waited for the store for {:.1} s", oldest.as_secs_f64()))
        } else {
            Ok(())
        }
    }

    /// Asks the store; after a failed commit, whether one works again.
    async fn ask_store(&self) -> Result<(), StoreError> {
        self.store.ready().await?;
        if self.backlog.failure().is_some() {
            self.store.trial_write().await?;
            self.backlog.works_again();
        }
        Ok(())
    }

    async fn store_ready(&self) -> Result<(), String> {
        // Holding the lock while asking lets everybody who asks meanwhile share the answer.
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
                // Without its cause: a driver's words can hold addresses.
                Err(error.to_string())
            }
            Err(_) => Err(format!("the database did not answer within {} s", STORE_TIMEOUT.as_secs())),
        };
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
