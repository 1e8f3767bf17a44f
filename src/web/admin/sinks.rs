//! `GET /sinks`, and pausing and resuming one.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{super::error::Problem, Admin, List, audit, auth::Caller, not_found, store_problem};
use crate::{
    config::Role,
    dispatch::SinkView,
    model::{audit::NewAudit, id::SinkName},
    store::{SinkStatus, StoreError},
};

/// A sink as the API shows it.
#[derive(Debug, Serialize)]
pub struct SinkRow {
    name: String,
    /// Null for a sink that is no longer configured.
    r#type: Option<&'static str>,
    /// `active`, `paused` or `tripped`.
    state: &'static str,
    /// False: its dispatches stay where they are until it is configured again.
    configured: bool,
    backlog: u64,
    oldest_pending: Option<Timestamp>,
    pending: u64,
    leased: u64,
    held: u64,
    dead: u64,
    delivered: u64,
    paused_at: Option<Timestamp>,
    paused_reason: Option<String>,
    last_success: Option<Timestamp>,
    last_error: Option<LastError>,
}

#[derive(Debug, Serialize)]
struct LastError {
    at: Timestamp,
    error: String,
}

/// `active`, `paused` or `tripped`.
pub(super) fn state(configured: &[SinkView], status: &SinkStatus) -> &'static str {
    let tripped = || configured.iter().any(|sink| sink.name.as_str() == status.name && sink.is_tripped());
    match &status.paused {
        Some(_) => "paused",
        None if tripped() => "tripped",
        None => "active",
    }
}

fn row(configured: &[SinkView], status: SinkStatus) -> SinkRow {
    let view = configured.iter().find(|sink| sink.name.as_str() == status.name);
    SinkRow {
        r#type: view.map(|view| view.kind),
        state: state(configured, &status),
        configured: view.is_some(),
        backlog: status.pending + status.leased,
        oldest_pending: status.oldest_pending,
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
pub async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<List<SinkRow>>, Problem> {
    let statuses = admin.store.sink_statuses().await.map_err(store_problem)?;
    let data = statuses.into_iter().map(|status| row(&admin.sinks, status)).collect();
    Ok(Json(List { data, next_cursor: None }))
}

/// Pauses a sink: its events wait, nothing is lost.
pub async fn pause(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<SinkRow>, Problem> {
    change(&admin, &caller, &name, "sink.paused", async |sink| {
        admin.store.pause_sink(sink, &format!("paused by {}", caller.name)).await
    })
    .await
}

/// Lets a sink go on.
pub async fn resume(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
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
        let statuses = admin.store.sink_statuses().await.map_err(store_problem)?;
        statuses.into_iter().find(|status| status.name == name).ok_or_else(|| not_found("sink with this name"))
    };
    let sink = SinkName::new(&find().await?.name).map_err(|_| not_found("sink with this name"))?;
    if change(&sink).await.map_err(store_problem)? {
        tracing::info!(sink.name = %sink, by = %caller.name, "a sink was paused or resumed");
        audit::write(admin, NewAudit::new(&caller.name, action, format!("sink/{sink}"))).await;
    }
    Ok(Json(row(&admin.sinks, find().await?)))
}
