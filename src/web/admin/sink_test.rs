//! Sends a test event directly to a sink, without storing it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::error::Problem,
    Admin, Segment, audit,
    auth::Caller,
    not_found,
    sinks::{SinkState, Standings, try_again},
    store_problem,
};
use crate::{
    config::Role,
    model::{
        audit::NewAudit,
        clock,
        dispatch::Outcome,
        id::{EventId, SinkName},
    },
};

/// Sends test events to sinks. The admin API itself knows no sink.
#[async_trait]
pub trait TestSinks: Send + Sync + std::fmt::Debug {
    /// Sends a test event without storing it, within the sink's time-out; `None` if no sink of this name is configured.
    async fn test(&self, name: &str) -> Option<Tested>;
}

/// The result of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The id of the test event.
    pub event_id: EventId,
    /// The sink's answer.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
}

/// The result of a test.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TestRow {
    /// The name of the sink.
    pub(crate) sink: String,
    /// The id of the test event.
    pub(crate) event_id: EventId,
    /// The outcome: `delivered`, `retry`, `rejected` or `hold`.
    pub(crate) outcome: String,
    /// What the target answered, or what a person should do.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    /// How long the test took, in milliseconds.
    pub(crate) duration_ms: f64,
    /// What this means for the sink's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Sends a test event directly to a sink, without storing it. Paused sinks get it as well.
///
/// If a tripped sink accepts the test event, its events are sent again. Requires the role operator.
#[utoipa::path(
    post,
    path = "/sinks/{name}/test",
    operation_id = "test_sink",
    tag = "sinks",
    params(("name" = String, Path, description = "The name of a sink")),
    responses((status = 200, description = "The result of the test", body = TestRow), (status = 404, description = "There is no configured sink with this name: `not_found`."))
)]
pub async fn test(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
) -> Result<Json<TestRow>, Problem> {
    caller.needs(Role::Operator)?;
    admin.reach.sink(&caller.scope, &name)?;
    let tested = admin.tests.test(&name).await.ok_or_else(|| not_found("configured sink with this name"))?;
    let note = after_test(&admin, &name, &tested.outcome).await?;
    let row = TestRow {
        note,
        event_id: tested.event_id,
        outcome: tested.outcome.as_str().to_owned(),
        reason: tested.outcome.reason().map(str::to_owned),
        duration_ms: clock::fractional_millis(tested.duration),
        sink: name,
    };
    tracing::info!(sink.name = row.sink, outcome = row.outcome, by = %caller.name, "a test event was sent to a sink");
    let entry = NewAudit::new(&caller.name, "sink.tested", format!("sink/{}", row.sink))
        .with("event_id", row.event_id.to_string())
        .with("outcome", row.outcome.as_str());
    audit::write(&admin, entry).await;
    Ok(Json(row))
}

/// A target that has accepted a test event works: its breaker closes, and the other processes try the sink again.
async fn after_test(admin: &Admin, name: &str, outcome: &Outcome) -> Result<Option<String>, Problem> {
    let Ok(sink) = SinkName::new(name) else { return Ok(None) };
    if *outcome != Outcome::Delivered {
        return Ok(None);
    }
    let was_tripped = try_again(admin, &sink, true).await.map_err(store_problem)?;
    let is_paused = Standings::now(admin).await?.of(name).0 == SinkState::Paused;
    Ok(if is_paused {
        Some(format!("The sink is paused: its events wait until it is resumed (`finkare-relay sinks resume {sink}`)."))
    } else {
        was_tripped.then(|| "The sink was tripped: its events are sent again.".to_owned())
    })
}
