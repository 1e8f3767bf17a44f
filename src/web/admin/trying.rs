//! `POST /sinks/{name}/try`: shows what a sink would get or do for a stored event, or why it would get nothing.

use std::sync::Arc;

use async_trait::async_trait;
use axum::{Extension, Json, body::Body, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{super::error::Problem, Admin, Segment, auth::Caller, not_found, payload, store_problem};
use crate::{
    config::Role,
    model::{
        id::EventId,
        preview::{Explained, Preview},
    },
    store::EventDetail,
};

/// Tries events on sinks. The admin API itself knows no sink.
#[async_trait]
pub trait TrySinks: Send + Sync + std::fmt::Debug {
    /// Says what a sink would get or do for an event, within the sink's time-out and without sending, writing or deciding
    /// anything; `None` if no sink of this name is configured.
    async fn try_event(&self, sink: &str, event: EventDetail) -> Option<Result<TryRow, TryError>>;
}

/// Why an event could not be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TryError {
    /// The payload of the event has been removed.
    #[error("the payload of the event has been purged or erased: nothing can be sent")]
    PayloadGone,
    /// The sink cannot be used.
    #[error("{0}")]
    Sink(String),
}

/// Which event to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Try {
    /// The id of a stored event.
    event_id: EventId,
}

/// What a sink would get or do for an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TryRow {
    /// The name of the sink.
    pub(crate) sink: String,
    /// The id of the event.
    pub(crate) event_id: EventId,
    /// The type of the event.
    pub(crate) r#type: String,
    /// The endpoint of the event; null if it is about none.
    #[schema(required)]
    pub(crate) endpoint: Option<String>,
    /// The id of the event's invoice at Finkare.
    #[schema(required)]
    pub(crate) invoice_id: Option<String>,
    /// True if the sink's route takes the event.
    pub(crate) taken: bool,
    /// Why the route takes it, or does not.
    pub(crate) reason: String,
    /// What the target would receive, with secrets masked; null for invoicing software, and if nothing would be sent now.
    #[schema(required)]
    pub(crate) would_get: Option<Preview>,
    /// What would be done in invoicing software, and the calls by which that was found out; null for other sinks, and if nothing
    /// would be done now.
    #[schema(required)]
    pub(crate) would_do: Option<Explained>,
    /// Why nothing would be sent or done now: Finkare's data is not there, or it took longer than an attempt may.
    #[schema(required)]
    pub(crate) not_yet: Option<String>,
}

/// Shows what a sink would get or do for a stored event, with the configuration that is in force.
///
/// Nothing is sent, written or decided. Finkare and the books may be asked, by reads alone, for no longer than an attempt may
/// take. Requires the role operator.
#[utoipa::path(
    post,
    path = "/sinks/{name}/try",
    operation_id = "try_sink",
    tag = "sinks",
    params(("name" = String, Path, description = "The name of a sink")),
    request_body(content = Try, description = "Which event"),
    responses(
        (status = 200, description = "What the sink would get or do", body = TryRow),
        (status = 404, description = "There is no configured sink with this name, or no event with this id: `not_found`."),
        (status = 409, description = "The payload of the event has been removed: `payload_gone`."),
        (status = 422, description = "The body is missing or has the wrong shape: `bad_body`."),
    )
)]
pub async fn try_event(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
    body: Body,
) -> Result<Json<TryRow>, Problem> {
    caller.needs(Role::Operator)?;
    admin.reach.sink(&caller.scope, &name)?;
    let Some(Try { event_id }) = payload(body).await? else {
        let detail = "The body is not usable: say `event_id`.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", detail));
    };
    let event = admin.store.event(event_id).await.map_err(store_problem)?;
    let event = event.filter(|detail| caller.scope.has(&detail.event.endpoint));
    let event = event.ok_or_else(|| not_found("event with this id"))?;
    let tried = admin.tries.try_event(&name, event).await.ok_or_else(|| not_found("configured sink with this name"))?;
    let row = tried.map_err(|error| match error {
        TryError::PayloadGone => {
            let detail = "The payload of the event has been purged or erased: nothing can be sent.";
            Problem::new(StatusCode::CONFLICT, "payload_gone", detail)
        }
        TryError::Sink(_) => {
            tracing::error!(sink.name = name, event.id = %event_id, error = %error, "an event could not be tried on a sink");
            Problem::internal()
        }
    })?;
    tracing::info!(
        sink.name = row.sink, event.id = %event_id, taken = row.taken, by = %caller.name, "an event was tried on a sink"
    );
    Ok(Json(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer_is_read_back_as_it_was_written() {
        let row = |would_get: &str, would_do: &str| {
            format!(
                r#"{{"sink":"erp","event_id":"01900000-0000-7000-8000-000000000000","type":"payment.received","endpoint":null,"invoice_id":"i-1","taken":true,"reason":"the sink gets it","would_get":{would_get},"would_do":{would_do},"not_yet":null}}"#
            )
        };
        for text in [
            row("null", "null"),
            row(r#"{"request":{"method":"POST","url":"https://a/…","headers":[["a","b"]],"body":"{}"}}"#, "null"),
            row(r#"{"mail":{"headers":[["To","x@example.fr"]],"text":"Bonjour"}}"#, "null"),
            row(r#"{"line":"{}"}"#, "null"),
            row(r#"{"broken":{"problem":"no x","line":2,"column":null,"excerpt":null,"made":""}}"#, "null"),
            row(
                "null",
                r#"{"calls":[{"purpose":"p","method":"GET","url":"u","body":null,"answer":"200"}],"decision":"d","outcome":"held"}"#,
            ),
        ] {
            let read: TryRow = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }
}
