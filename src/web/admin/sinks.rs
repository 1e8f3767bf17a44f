//! `GET /sinks`, and pausing and resuming one.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{super::error::Problem, Admin, List, Segment, audit, auth::Caller, not_found, store_problem};
use crate::{
    config::Role,
    dispatch::SinkView,
    model::{audit::NewAudit, id::SinkName},
    store::{Counted, SinkStatus, StoreError},
};

/// A sink as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SinkRow {
    /// Its name.
    name: String,
    /// Null for a sink that is no longer configured.
    #[schema(required)]
    r#type: Option<&'static str>,
    /// Whether it takes dispatches.
    state: SinkState,
    /// False: its dispatches stay where they are until it is configured again.
    configured: bool,
    /// Dispatches that are pending or leased.
    backlog: u64,
    /// When the oldest pending dispatch was written.
    #[schema(required)]
    oldest_pending: Option<Timestamp>,
    /// Only for a large backlog, which is counted now and then: `backlog`, `pending`, `leased`, `held`, `dead` and
    /// `oldest_pending` are of this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_at: Option<Timestamp>,
    /// Only, as true, for a large backlog that is being counted for the first time: there are at least so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<bool>,
    /// Dispatches that wait for their time, their turn, or a worker.
    pending: u64,
    /// Dispatches that a worker has.
    leased: u64,
    /// Dispatches that wait for a person.
    held: u64,
    /// Dispatches that were given up.
    dead: u64,
    /// Dispatches that it has got.
    delivered: u64,
    /// Since when it is paused.
    #[schema(required)]
    paused_at: Option<Timestamp>,
    /// Why it is paused.
    #[schema(required)]
    paused_reason: Option<String>,
    /// When it last got something.
    #[schema(required)]
    last_success: Option<Timestamp>,
    /// What went wrong last.
    #[schema(required)]
    last_error: Option<LastError>,
}

/// What went wrong last.
#[derive(Debug, Serialize, ToSchema)]
struct LastError {
    /// When.
    at: Timestamp,
    /// What the target said, or what went wrong.
    error: String,
}

/// Whether a sink takes dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SinkState {
    /// It does.
    Active,
    /// A person, or the target's own wish (HTTP 410), has paused it.
    Paused,
    /// It failed too often; it is probed.
    Tripped,
}

impl SinkState {
    /// The word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            SinkState::Active => "active",
            SinkState::Paused => "paused",
            SinkState::Tripped => "tripped",
        }
    }
}

/// How a sink stands.
pub(super) fn state(configured: &[SinkView], status: &SinkStatus) -> SinkState {
    let tripped = || configured.iter().any(|sink| sink.name.as_str() == status.name && sink.is_tripped());
    match &status.paused {
        Some(_) => SinkState::Paused,
        None if tripped() => SinkState::Tripped,
        None => SinkState::Active,
    }
}

fn row(configured: &[SinkView], status: SinkStatus) -> SinkRow {
    let (counted_at, at_least) = match status.counted {
        Counted::Now => (None, None),
        Counted::At(at) => (Some(at), None),
        Counted::AtLeast => (None, Some(true)),
    };
    let view = configured.iter().find(|sink| sink.name.as_str() == status.name);
    SinkRow {
        r#type: view.map(|view| view.kind),
        state: state(configured, &status),
        configured: view.is_some(),
        backlog: status.pending + status.leased,
        oldest_pending: status.oldest_pending,
        counted_at,
        at_least,
        pending: status.pending,
        leased: status.leased,
        held: status.held,
        dead: status.dead,
        delivered: status.delivered,
        paused_at: status.paused.as_ref().map(|paused| paused.at),
        paused_reason: status.paused.map(|paused| paused.reason),
        last_success: status.last_success_at,
        last_error: status.last_error.map(|(at, error)| LastError { at, error }),
        name: status.name,
    }
}

/// Lists all sinks by name.
#[utoipa::path(
    get,
    path = "/sinks",
    operation_id = "list_sinks",
    tag = "sinks",
    responses((status = 200, description = "All sinks", body = List<SinkRow>))
)]
pub async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<List<SinkRow>>, Problem> {
    let statuses = admin.statuses.now().await?;
    let data = statuses.iter().map(|status| row(&admin.sinks, status.clone())).collect();
    Ok(Json(List { data, next_cursor: None }))
}

/// Pauses a sink: its events wait, nothing is lost.
///
/// Needs the role operator.
#[utoipa::path(
    post,
    path = "/sinks/{name}/pause",
    operation_id = "pause_sink",
    tag = "sinks",
    params(("name" = String, Path, description = "The name of a sink")),
    responses((status = 200, description = "The sink as it is now", body = SinkRow), (status = 404, description = "There is no sink with this name: `not_found`."))
)]
pub async fn pause(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
) -> Result<Json<SinkRow>, Problem> {
    change(&admin, &caller, &name, "sink.paused", async |sink| {
        admin.store.pause_sink(sink, &format!("paused by {}", caller.name)).await
    })
    .await
}

/// Lets a sink go on.
///
/// Needs the role operator.
#[utoipa::path(
    post,
    path = "/sinks/{name}/resume",
    operation_id = "resume_sink",
    tag = "sinks",
    params(("name" = String, Path, description = "The name of a sink")),
    responses((status = 200, description = "The sink as it is now", body = SinkRow), (status = 404, description = "There is no sink with this name: `not_found`."))
)]
pub async fn resume(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
) -> Result<Json<SinkRow>, Problem> {
    change(&admin, &caller, &name, "sink.resumed", async |sink| admin.store.resume_sink(sink).await).await
}

async fn change(
    admin: &Admin,
    caller: &Caller,
    name: &str,
    action: &'static str,
    change: impl AsyncFnOnce(&SinkName) -> Result<bool, StoreError>,
) -> Result<Json<SinkRow>, Problem> {
    caller.needs(Role::Operator)?;
    let find = async || -> Result<SinkStatus, Problem> {
        let statuses = admin.statuses.now().await?;
        statuses.iter().find(|status| status.name == name).cloned().ok_or_else(|| not_found("sink with this name"))
    };
    let sink = SinkName::new(&find().await?.name).map_err(|_| not_found("sink with this name"))?;
    if change(&sink).await.map_err(store_problem)? {
        tracing::info!(sink.name = %sink, by = %caller.name, "a sink was paused or resumed");
        audit::write(admin, NewAudit::new(&caller.name, action, format!("sink/{sink}"))).await;
    }
    Ok(Json(row(&admin.sinks, find().await?)))
}
