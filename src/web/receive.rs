//! `POST` on an endpoint's path: receives a delivery.
//!
//! Limits first (size, time, memory), then [`Ingest`], then one log line and one count for each
//! delivery, whatever its outcome. The sender learns no more than it needs: 2xx if the event is stored, 401 if the
//! delivery is not genuine, 403 if it is genuine but too old, 503 if it should be sent again.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header, request::Parts};

use super::{
    body::{self, BodyError, Budget},
    error::{Problem, RequestId},
};
use crate::{
    config::Server,
    ingest::{
        Committed, Endpoint, Ingest, Refused,
        explain::{Reason, Refusals, Seen},
    },
    listener::Peer,
    model::{chain::Chain, clock, event::Recorded, trace::TraceId},
    telemetry::{
        DeliveryResult, EndpointMetrics, Metrics,
        traces::{self, Delivery},
    },
};

/// What the handlers need.
#[derive(Debug)]
struct Hook {
    endpoint: Endpoint,
    ingest: Arc<Ingest>,
    metrics: EndpointMetrics,
    refusals: Arc<Refusals>,
    budget: Budget,
    limits: Server,
}

/// The routes of all endpoints.
pub fn router(
    endpoints: Vec<Endpoint>,
    ingest: &Arc<Ingest>,
    metrics: &Metrics,
    refusals: &Arc<Refusals>,
    limits: &Server,
) -> Router {
    let budget = Budget::default();
    endpoints.into_iter().fold(Router::new(), |router, endpoint| {
        let path = endpoint.path.clone();
        let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::UnknownPath);
        metrics.refusals(endpoint.name.as_str(), reasons.map(|reason| reason.as_str()));
        let hook = Arc::new(Hook {
            metrics: metrics.endpoint(endpoint.name.as_str()),
            endpoint,
            ingest: ingest.clone(),
            refusals: refusals.clone(),
            budget: budget.clone(),
            limits: limits.clone(),
        });
        let other = || async { Problem::method_not_allowed("POST") };
        router.route(&path, post(move |request: Request| async move { hook.receive(request).await }).fallback(other))
    })
}

impl Hook {
    async fn receive(&self, request: Request) -> Response {
        let begun = Instant::now();
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let request_id = request.extensions().get::<RequestId>().map(|id| id.0);
        let taken = self.take(request).await;
        let duration = begun.elapsed();
        let (result, response) = match taken {
            Ok((Committed { recorded, took: commit }, bytes)) => {
                let result = if recorded.duplicate { DeliveryResult::Duplicate } else { DeliveryResult::Accepted };
                let traces = traces::current();
                if let Some(traces) = traces {
                    let (endpoint, result) = (self.endpoint.name.as_str(), result.as_str());
                    traces.delivery(&Delivery { endpoint, recorded, result, bytes, duration, commit });
                }
                tracing::info!(
                    endpoint.name = %self.endpoint.name, event.id = %recorded.id, bytes,
                    result = result.as_str(), duration_ms = clock::fractional_millis(duration), request.id = request_id.map(tracing::field::display),
                    trace.id = traces.map(|_| tracing::field::display(TraceId::from(recorded.id))),
                    "delivery acknowledged"
                );
                (result, acknowledge(recorded))
            }
            Err(refusal) => {
                let (result, problem) = refusal.tell();
                tracing::warn!(
                    endpoint.name = %self.endpoint.name, result = result.as_str(), status = problem.status().as_u16(),
                    error = refusal.told(), peer = peer.map(tracing::field::display),
                    duration_ms = clock::fractional_millis(duration), request.id = request_id.map(tracing::field::display),
                    "delivery refused"
                );
                (result, problem.into_response())
            }
        };
        self.metrics.observe(result, duration);
        response
    }

    async fn take(&self, request: Request) -> Result<(Committed, usize), Refusal> {
        let (head, body) = request.into_parts();
        let (max_bytes, timeout) = (self.limits.max_body_bytes, self.limits.body_timeout);
        let whole = body::read(&head.headers, body, max_bytes, timeout, &self.budget).await.map_err(Refusal::Body)?;
        match self.ingest.receive(&self.endpoint, &head.headers, &whole.bytes, clock::now()).await {
            Ok(committed) => Ok((committed, whole.bytes.len())),
            Err(refused) => {
                let refusal = Refusal::Ingest(refused);
                self.note(&refusal, &head, &whole.bytes);
                Err(refusal)
            }
        }
    }

    /// Notes for the operator what the rejected delivery looked like. The answer is already decided and does not wait for
    /// this.
    fn note(&self, refusal: &Refusal, head: &Parts, body: &Bytes) {
        let Refusal::Ingest(refused) = refusal else { return };
        let seen = Seen {
            headers: &head.headers,
            status: refusal.tell().1.status().as_u16(),
            peer: head.extensions.get::<Peer>().map(|peer| peer.0),
            request_id: head.extensions.get::<RequestId>().map(|id| id.0),
        };
        self.refusals.note(seen, &self.endpoint, body, refused);
    }
}

/// Written by hand: on the hottest path, two fixed words and a UUID need no serialiser.
fn acknowledge(recorded: Recorded) -> Response {
    let text = format!(r#"{{"received":true,"id":"{}","duplicate":{}}}"#, recorded.id, recorded.duplicate);
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the body could not be read")]
    Body(#[source] BodyError),
    #[error("the delivery could not be accepted")]
    Ingest(#[source] Refused),
}

impl Refusal {
    /// The error for the log. The store's own error is already there, once for all deliveries that shared the
    /// transaction.
    fn told(&self) -> String {
        match self {
            Self::Ingest(refused @ Refused::Store(_)) => refused.to_string(),
            Self::Body(_)
            | Self::Ingest(
                Refused::NotGenuine(_)
                | Refused::Undecided(_)
                | Refused::TooOld { .. }
                | Refused::QueueFull
                | Refused::TooLate(_),
            ) => Chain(self).to_string(),
        }
    }

    /// The answer to the sender. It never says why a signature was rejected, since that would help a forger.
    fn tell(&self) -> (DeliveryResult, Problem) {
        match self {
            Self::Body(BodyError::TooLarge) => (
                DeliveryResult::TooLarge,
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body exceeds the size limit.")
                    .closing(),
            ),
            Self::Body(BodyError::TooSlow) => (
                DeliveryResult::TooSlow,
                Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "The body did not arrive in time.")
                    .closing(),
            ),
            Self::Body(BodyError::Broken) => (
                DeliveryResult::TooSlow,
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "body_incomplete",
                    "The connection ended before the body was complete.",
                )
                .closing(),
            ),
            Self::Body(BodyError::Busy) => (
                DeliveryResult::Unavailable,
                Problem::unavailable("busy", "Too many deliveries at the same time. Please send it again later.")
                    .closing(),
            ),
            Self::Ingest(Refused::NotGenuine(_)) => (
                DeliveryResult::BadSignature,
                Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "invalid_signature",
                    "The signature is missing or does not fit the body.",
                ),
            ),
            // The sender knows the secret, so the reason tells a forger nothing that a 200 would not.
            Self::Ingest(Refused::TooOld { .. }) => (
                DeliveryResult::TooOld,
                Problem::new(
                    StatusCode::FORBIDDEN,
                    "too_old",
                    "The delivery's timestamp is older than the configured maximum age.",
                ),
            ),
            Self::Ingest(Refused::Undecided(_)) => (
                DeliveryResult::Unavailable,
                Problem::unavailable(
                    "secret_changing",
                    "The webhook's secret is being changed. Please send the delivery again later.",
                ),
            ),
            Self::Ingest(Refused::QueueFull) => (
                DeliveryResult::Unavailable,
                Problem::unavailable("busy", "Too many deliveries at the same time. Please send it again later."),
            ),
            Self::Ingest(Refused::TooLate(_) | Refused::Store(_)) => (
                DeliveryResult::Unavailable,
                Problem::unavailable(
                    "store_unavailable",
                    "The delivery could not be stored. Please send it again later.",
                ),
            ),
        }
    }
}
