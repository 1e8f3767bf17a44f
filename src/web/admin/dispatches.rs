//! `GET /dispatches` and `GET /dispatches/{id}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{super::error::Problem, Admin, List, Params, limit, not_found, parse, store_problem};
use crate::{
    model::{
        dispatch::{Attempt, Dispatch, State as DispatchState, Trigger},
        id::{DispatchId, EventId},
    },
    store::DispatchFilter,
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
    let unknown = || not_found("dispatch with this id");
    let id: DispatchId = id.parse().map_err(|_| unknown())?;
    let (dispatch, attempts) = admin.store.dispatch(id).await.map_err(store_problem)?.ok_or_else(unknown)?;
    let attempt_log = attempts.into_iter().map(AttemptRow::from).collect();
    Ok(Json(DispatchPage { dispatch: dispatch.into(), attempt_log }))
}
