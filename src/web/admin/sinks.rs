//! `GET /sinks`, pausing and resuming one, and what is told of a sink that sends nothing now.
//!
//! A pause is kept by the store and holds for all processes. That a sink is tripped is known to each process by itself;
//! that it is to be tried again is told to all of them by the store ([`BreakerStore`](crate::store::breaker)).

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
    store::{Counted, SinkStatus, StoreError},
};

/// A sink as the API shows it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SinkRow {
    /// Its name.
    pub(crate) name: String,
    /// Null for a sink that is no longer configured.
    #[schema(required)]
    pub(crate) r#type: Option<String>,
    /// Whether it takes dispatches.
    pub(crate) state: SinkState,
    /// False: its dispatches stay where they are until it is configured again.
    pub(crate) configured: bool,
    /// Dispatches that are pending or leased.
    pub(crate) backlog: u64,
    /// When the oldest pending dispatch was written.
    #[schema(required)]
    pub(crate) oldest_pending: Option<Timestamp>,
    /// Only for a large backlog, which is counted now and then: `backlog`, `pending`, `leased`, `held`, `dead` and
    /// `oldest_pending` are of this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counted_at: Option<Timestamp>,
    /// Only, as true, for a large backlog that is being counted for the first time: there are at least so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<bool>,
    /// Dispatches that wait for their time, their turn, or a worker.
    pub(crate) pending: u64,
    /// Dispatches that a worker has.
    pub(crate) leased: u64,
    /// Dispatches that wait for a person.
    pub(crate) held: u64,
    /// Dispatches that were given up.
    pub(crate) dead: u64,
    /// Dispatches that it has got.
    pub(crate) delivered: u64,
    /// Since when it is paused.
    #[schema(required)]
    pub(crate) paused_at: Option<Timestamp>,
    /// Why it is paused.
    #[schema(required)]
    pub(crate) paused_reason: Option<String>,
    /// When it last got something.
    #[schema(required)]
    pub(crate) last_success: Option<Timestamp>,
    /// What went wrong last. It is over if `last_success` is later.
    #[schema(required)]
    pub(crate) last_error: Option<LastError>,
    /// While it is tripped: when this process probes it next.
    #[schema(required)]
    pub(crate) next_probe_at: Option<Timestamp>,
    /// What was done, if that does not follow from the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// What went wrong last.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    /// When.
    pub(crate) at: Timestamp,
    /// What the target said, or what went wrong.
    pub(crate) error: String,
}

/// Whether a sink takes dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkState {
    /// It does.
    Active,
    /// A person, or the target's own wish (HTTP 410), has paused it.
    Paused,
    /// It failed too often; it is probed.
    Tripped,
    /// The configuration does not name it any more: its dispatches stay where they are until it does.
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

/// How a sink stands.
pub(super) fn state(configured: &[SinkView], name: &str, is_paused: bool) -> SinkState {
    match configured.iter().find(|sink| sink.name.as_str() == name) {
        None => SinkState::NotConfigured,
        Some(_) if is_paused => SinkState::Paused,
        Some(sink) if sink.is_tripped() => SinkState::Tripped,
        Some(_) => SinkState::Active,
    }
}

/// How all sinks stand at one moment, for rows that speak of them; counts nothing.
pub(super) struct Standings<'a> {
    configured: &'a [SinkView],
    paused: HashSet<String>,
}

impl<'a> Standings<'a> {
    /// Looks.
    pub(super) async fn now(admin: &'a Admin) -> Result<Self, Problem> {
        let paused = admin.store.paused_sinks().await.map_err(store_problem)?;
        Ok(Self { configured: &admin.sinks, paused: paused.into_iter().map(|(name, _)| name).collect() })
    }

    /// One sink's state, and when this process probes it next.
    pub(super) fn of(&self, name: &str) -> (SinkState, Option<Timestamp>) {
        let state = state(self.configured, name, self.paused.contains(name));
        let view = self.configured.iter().find(|sink| sink.name.as_str() == name);
        (state, view.filter(|_| state == SinkState::Tripped).and_then(SinkView::next_probe_at))
    }
}

/// Has every process that leaves the sink alone try it again: one event, and the others if it is delivered. With
/// `is_proved`, this process does not try first. Answers true if this process left it alone.
pub(super) async fn try_again(admin: &Admin, sink: &SinkName, is_proved: bool) -> Result<bool, StoreError> {
    admin.store.ask_sink_again(sink).await?;
    let view = admin.sinks.iter().find(|view| view.name == *sink);
    let was_tripped = view.is_some_and(|view| if is_proved { view.close() } else { view.try_again() });
    // Once more: the first call may have come before the breaker knew.
    admin.store.wakeups().wake([sink]);
    Ok(was_tripped)
}

/// After dispatches of a sink, or of any, were put back to `pending`: has tripped sinks tried again, and says what the
/// dispatches wait for all the same.
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
    let (counted_at, at_least) = match status.counted {
        Counted::Now => (None, None),
        Counted::At(at) => (Some(at), None),
        Counted::AtLeast => (None, Some(true)),
    };
    let view = configured.iter().find(|sink| sink.name.as_str() == status.name);
    SinkRow {
        r#type: view.map(|view| view.kind.to_owned()),
        state: state(configured, &status.name, status.paused.is_some()),
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

/// Lets a sink go on that is paused, or tripped in whichever process.
///
/// A tripped one is tried with one event at once; the others follow when that is delivered. Needs the role operator.
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
