//! Is it alive, and can it take a delivery now?
//!
//! `/healthz` answers as long as the runtime works and no task has failed: a supervisor restarts
//! what does not answer. `/readyz` asks the store for real (it answers, its schema is ours, it can
//! be written to), for a load balancer or an operator: a delivery that came now would be taken.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use serde::Serialize;
use tokio::sync::Mutex;

use super::error::Problem;
use crate::{lifecycle::Lifecycle, model::chain::Chain, store::Store};

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
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    ready: bool,
    checks: [Check; 2],
}

impl Health {
    /// Looks at this store and this lifecycle.
    pub fn new(store: Arc<dyn Store>, lifecycle: Lifecycle) -> Arc<Self> {
        Arc::new(Self { store, lifecycle, last: Mutex::new(None) })
    }

    /// The routes `/healthz` and `/readyz`.
    pub fn router(self: &Arc<Self>) -> Router {
        let (alive, ready) = (self.clone(), self.clone());
        let other = || async { Problem::method_not_allowed("GET, HEAD") };
        Router::new()
            .route("/healthz", get(move || async move { alive.alive() }).fallback(other))
            .route("/readyz", get(move || async move { ready.ready().await }).fallback(other))
    }

    fn alive(&self) -> Response {
        if self.lifecycle.failed() {
            return Problem::unavailable("task_failed", "A part of the service has failed; it is stopping.")
                .into_response();
        }
        Json(serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})).into_response()
    }

    async fn ready(&self) -> Response {
        let store = self.store_ready().await;
        let stopping = self.lifecycle.soft.is_cancelled();
        let checks = [
            Check { name: "store", ready: store.is_ok(), detail: store.err() },
            Check { name: "service", ready: !stopping, detail: stopping.then(|| "the service is stopping".to_owned()) },
        ];
        let ready = checks.iter().all(|check| check.ready);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(Report { ready, checks })).into_response()
    }

    async fn store_ready(&self) -> Result<(), String> {
        // Holding the lock while asking lets everybody who asks meanwhile share the answer.
        let mut last = self.last.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return result.clone();
        }
        let result = match tokio::time::timeout(STORE_TIMEOUT, self.store.ready()).await {
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
