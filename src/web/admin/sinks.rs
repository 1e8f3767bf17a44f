//! `GET /sinks`, pausing and resuming a sink, and explaining why a sink sends nothing at the moment.
//!
//! A pause is stored and applies to all processes. Each process trips its own breaker. A request to try a tripped sink
//! again reaches all processes through the store ([`BreakerStore`](crate::store::breaker)).

use std::{collections::HashSet, sync::Arc};

use axum::{Extension, Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{super::error::Problem, Admin, List, Segment, audit, auth::Caller, not_found, store_problem};
use crate::{
    config::Role,
    dispatch::SinkView,
    model::{audit::NewAudit, id::SinkName},
    store::{SinkStatus, StoreError},
};

/// A sink with its state and its counts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SinkRow {
    /// The name of the sink.
    pub(crate) name: String,
    /// The type of the sink; null if it is no longer configured.
    #[schema(required)]
    pub(crate) r#type: Option<String>,
    /// Whether the sink accepts dispatches.
    pub(crate) state: SinkState,
    /// False if the sink is no longer configured: its dispatches wait until it is configured again.
    pub(crate) configured: bool,
    /// The number of pending and leased dispatches.
    pub(crate) backlog: u64,
    /// When the oldest dispatch of the backlog was created; one in its first attempt does not count.
    #[schema(required)]
    pub(crate) oldest_pending: Option<Timestamp>,
    /// The number of dispatches that wait for their time, their turn, or a worker.
    pub(crate) pending: u64,
    /// The number of dispatches that a worker has claimed.
    pub(crate) leased: u64,
    /// The number of dispatches that wait for a person.
    pub(crate) held: u64,
    /// The number of dispatches that were given up.
    pub(crate) dead: u64,
    /// The number of delivered dispatches.
    pub(crate) delivered: u64,
    /// Since when the sink is paused.
    #[schema(required)]
    pub(crate) paused_at: Option<Timestamp>,
    /// Why the sink is paused.
    #[schema(required)]
    pub(crate) paused_reason: Option<String>,
    /// The time of the last delivery.
    #[schema(required)]
    pub(crate) last_success: Option<Timestamp>,
    /// The last error. If `last_success` is later, the error is over.
    #[schema(required)]
    pub(crate) last_error: Option<LastError>,
    /// While the sink is tripped: when this process probes it next.
    #[schema(required)]
    pub(crate) next_probe_at: Option<Timestamp>,
    /// What was done, if the other fields do not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// The last error of a sink.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    /// When the error occurred.
    pub(crate) at: Timestamp,
    /// The target's answer, or a description of the error.
    pub(crate) error: String,
}

/// Whether a sink accepts dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkState {
    /// The sink gets its dispatches.
    Active,
    /// A person has paused the sink, or the target has answered that it is gone (HTTP 410).
    Paused,
    /// The sink has failed too often in a row. It is probed from time to time.
    Tripped,
    /// The sink is no longer configured. Its dispatches wait until it is configured again.
    NotConfigured,
}

impl SinkState {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            SinkState::Active => "active",
            SinkState::Paused => "paused",
            SinkState::Tripped => "tripped",
            SinkState::NotConfigured => "not_configured",
        }
    }
}

/// The state of a sink.
pub(super) fn state(configured: &[SinkView], name: &str, is_paused: bool) -> SinkState {
    match configured.iter().find(|sink| sink.name.as_str() == name) {
        None => SinkState::NotConfigured,
        Some(_) if is_paused => SinkState::Paused,
        Some(sink) if sink.is_tripped() => SinkState::Tripped,
        Some(_) => SinkState::Active,
    }
}

/// The states of all sinks at one moment, for rows that mention sinks. Reading them reads no counts.
pub(super) struct Standings<'a> {
    configured: &'a [SinkView],
    paused: HashSet<String>,
}

impl<'a> Standings<'a> {
    /// Reads the states.
    pub(super) async fn now(admin: &'a Admin) -> Result<Self, Problem> {
        let paused = admin.store.paused_sinks().await.map_err(store_problem)?;
        Ok(Self { configured: &admin.sinks, paused: paused.into_iter().map(|(name, _)| name).collect() })
    }

    /// The state of one sink, and when this process probes it next.
    pub(super) fn of(&self, name: &str) -> (SinkState, Option<Timestamp>) {
        let state = state(self.configured, name, self.paused.contains(name));
        let view = self.configured.iter().find(|sink| sink.name.as_str() == name);
        (state, view.filter(|_| state == SinkState::Tripped).and_then(SinkView::next_probe_at))
    }
}

/// Asks every process in which the sink is tripped to try it again: with one event first, and with the others if that is
/// delivered. With `is_proved`, this process closes its breaker without a try. Answers true if the sink was tripped in
/// this process.
pub(super) async fn try_again(admin: &Admin, sink: &SinkName, is_proved: bool) -> Result<bool, StoreError> {
    admin.store.ask_sink_again(sink).await?;
    let view = admin.sinks.iter().find(|view| view.name == *sink);
    let was_tripped = view.is_some_and(|view| if is_proved { view.close() } else { view.try_again() });
    // Wakes the worker a second time: the first wake-up may have come before the breaker was changed.
    admin.store.wakeups().wake([sink]);
    Ok(was_tripped)
}

/// Called after dispatches of one sink, or of any sink, were put back to `pending`. Asks for tripped sinks to be tried
/// again, and says what the dispatches still wait for.
pub(super) async fn after_retry(admin: &Admin, of: Option<&str>) -> Result<Option<String>, Problem> {
    let standings = Standings::now(admin).await?;
    let mut notes = Vec::new();
    let configured = admin.sinks.iter().filter(|view| of.is_none_or(|of| view.name.as_str() == of));
    for view in configured {
        let name = &view.name;
        if standings.paused.contains(name.as_str()) {
            notes.push(format!(
                "The sink {name} is paused: its events wait until it is resumed (`finkare-relay sinks resume {name}`)."
            ));
        } else if (view.is_tripped() || admin.store.is_shared())
            && try_again(admin, name, false).await.map_err(store_problem)?
        {
            notes.push(format!(
                "The sink {name} is tripped: one event is tried now, and the others follow when it is delivered."
            ));
        }
    }
    if let Some(name) = of.filter(|name| standings.of(name).0 == SinkState::NotConfigured) {
        notes.push(format!("The sink {name} is not configured: its events wait until it is configured again."));
    }
    Ok((!notes.is_empty()).then(|| notes.join(" ")))
}

fn row(configured: &[SinkView], status: SinkStatus) -> SinkRow {
    let view = configured.iter().find(|sink| sink.name.as_str() == status.name);
    SinkRow {
        r#type: view.map(|view| view.kind.to_owned()),
        state: state(configured, &status.name, status.paused.is_some()),
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
        next_probe_at: view.and_then(SinkView::next_probe_at),
        note: None,
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
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<List<SinkRow>>, Problem> {
    let statuses = admin.statuses.now().await?;
    let shown = statuses.iter().filter(|status| admin.reach.shows(&caller.scope, &status.name));
    let data = shown.map(|status| row(&admin.sinks, status.clone())).collect();
    Ok(Json(List { data, next_cursor: None }))
}

/// Pauses a sink. Its events wait and are not lost.
///
/// Requires the role operator.
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

/// Resumes a sink that is paused, or that is tripped in any process.
///
/// A tripped sink is tried at once with one event; the others follow if that event is delivered. Requires the role operator.
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
    let mut was_tripped = false;
    let resumed = change(&admin, &caller, &name, "sink.resumed", async |sink| {
        let was_paused = admin.store.resume_sink(sink).await?;
        was_tripped = try_again(&admin, sink, false).await?;
        Ok(was_paused || was_tripped)
    });
    let Json(mut row) = resumed.await?;
    row.note = was_tripped.then(|| {
        let what = "It was tripped: one event is tried now, and the others follow when it is delivered.";
        what.to_owned()
    });
    Ok(Json(row))
}

async fn change(
    admin: &Admin,
    caller: &Caller,
    name: &str,
    action: &'static str,
    change: impl AsyncFnOnce(&SinkName) -> Result<bool, StoreError>,
) -> Result<Json<SinkRow>, Problem> {
    caller.needs(Role::Operator)?;
    admin.reach.sink(&caller.scope, name)?;
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
