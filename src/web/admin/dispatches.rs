//! `GET /dispatches` and `GET /dispatches/{id}`, and what a person decides about one of them.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{super::error::Problem, Admin, List, Params, audit, auth::Caller, limit, not_found, parse, store_problem};
use crate::{
    config::Role,
    model::{
        audit::NewAudit,
        dispatch::{Attempt, Dispatch, State as DispatchState, Trigger},
        id::{DispatchId, EventId},
    },
    store::{DispatchFilter, StoreError},
};

/// A dispatch as the API shows it.
#[derive(Debug, Serialize)]
pub struct DispatchRow {
    id: DispatchId,
    event_id: EventId,
    event_type: String,
    invoice_id: Option<String>,
    sink: String,
    state: DispatchState,
    attempts: u32,
    created_at: Timestamp,
    next_attempt_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    last_error: Option<String>,
    trigger: Trigger,
    /// The earlier dispatch of the same invoice that has to be finished first.
    waits_for: Option<DispatchId>,
}

impl From<Dispatch> for DispatchRow {
    fn from(dispatch: Dispatch) -> Self {
        Self {
            id: dispatch.id,
            event_id: dispatch.event_id,
            event_type: dispatch.event_type,
            invoice_id: dispatch.invoice_id,
            sink: dispatch.sink,
            state: dispatch.state,
            attempts: dispatch.attempts,
            created_at: dispatch.created_at,
            next_attempt_at: dispatch.next_attempt_at,
            finished_at: dispatch.finished_at,
            last_error: dispatch.last_error,
            trigger: dispatch.trigger,
            waits_for: dispatch.waits_for,
        }
    }
}

/// An attempt as the API shows it.
#[derive(Debug, Serialize)]
pub struct AttemptRow {
    number: u32,
    started_at: Timestamp,
    duration_ms: f64,
    outcome: String,
    error: Option<String>,
}

impl From<Attempt> for AttemptRow {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            duration_ms: attempt.duration.as_secs_f64() * 1e3,
            outcome: attempt.outcome,
            error: attempt.error,
        }
    }
}

/// One dispatch with its attempts.
#[derive(Debug, Serialize)]
pub struct DispatchPage {
    #[serde(flatten)]
    dispatch: DispatchRow,
    attempt_log: Vec<AttemptRow>,
}

/// The filters of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatchQuery {
    state: Option<String>,
    sink: Option<String>,
    invoice_id: Option<String>,
    event_id: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Lists dispatches, newest first.
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Params(query): Params<DispatchQuery>,
) -> Result<Json<List<DispatchRow>>, Problem> {
    let filter = DispatchFilter {
        state: query.state.map(|state| parse("state", &state)).transpose()?,
        sink: query.sink,
        invoice_id: query.invoice_id,
        event_id: query.event_id.map(|id| parse("event_id", &id)).transpose()?,
        before: query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?,
    };
    let page = admin.store.list_dispatches(&filter, limit(query.limit)?).await.map_err(store_problem)?;
    Ok(Json(List::from_page(page, |dispatch| dispatch.id.to_string(), DispatchRow::from)))
}

/// Shows one dispatch.
pub async fn show(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Result<Json<DispatchPage>, Problem> {
    Ok(Json(page(&admin, &id).await?))
}

async fn page(admin: &Admin, id: &str) -> Result<DispatchPage, Problem> {
    let unknown = || not_found("dispatch with this id");
    // What is no number at all names no dispatch either.
    let id: DispatchId = id.parse().map_err(|_| unknown())?;
    let (dispatch, attempts) = admin.store.dispatch(id).await.map_err(store_problem)?.ok_or_else(unknown)?;
    let attempt_log = attempts.into_iter().map(AttemptRow::from).collect();
    Ok(DispatchPage { dispatch: dispatch.into(), attempt_log })
}

/// Puts a dispatch that is `held` or `dead` back to `pending`, due at once, with a new give-up time;
/// a `pending` one becomes due at once. 409 in any other state.
pub async fn retry(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<DispatchPage>, Problem> {
    decide(&admin, &caller, &id, "retried", "dispatch.retried", async |id| admin.store.retry_dispatches(&[id]).await)
        .await
}

/// Calls off a dispatch that is `pending`, `held` or `dead`; the next of its invoice goes on. 409 in
/// any other state.
pub async fn cancel(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<DispatchPage>, Problem> {
    decide(&admin, &caller, &id, "cancelled", "dispatch.cancelled", async |id| {
        admin.store.cancel_dispatches(&[id]).await
    })
    .await
}

async fn decide(
    admin: &Admin,
    caller: &Caller,
    id: &str,
    what: &'static str,
    action: &'static str,
    change: impl AsyncFnOnce(DispatchId) -> Result<u64, StoreError>,
) -> Result<Json<DispatchPage>, Problem> {
    caller.needs(Role::Operator)?;
    let dispatch = page(admin, id).await?.dispatch;
    if change(dispatch.id).await.map_err(store_problem)? == 0 {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "wrong_state",
            format!("The dispatch {} is {} and cannot be {what}.", dispatch.id, dispatch.state),
        ));
    }
    tracing::info!(
        dispatch.id = %dispatch.id, sink.name = dispatch.sink, was = %dispatch.state, by = %caller.name,
        "a dispatch was {what}"
    );
    let entry = NewAudit::new(&caller.name, action, format!("dispatch/{}", dispatch.id))
        .with("sink", dispatch.sink)
        .with("was", dispatch.state.to_string());
    audit::write(admin, entry).await;
    Ok(Json(page(admin, id).await?))
}
