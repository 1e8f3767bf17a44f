//! `GET /dispatches` and `GET /dispatches/{id}`, and retrying and cancelling one dispatch.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::error::Problem,
    Admin, Params, Segment,
    announced::{self, AnnouncedPayment, Known},
    audit,
    auth::Caller,
    limit, look_at, not_found, parse,
    sinks::{SinkState, Standings, after_retry},
    store_problem, time,
};
use crate::{
    config::Role,
    model::{
        audit::NewAudit,
        clock,
        dispatch::{Attempt, Dispatch, State as DispatchState, Trigger},
        id::{DispatchId, EventId},
    },
    store::{DispatchFilter, StoreError},
};

/// A dispatch: one event for one sink.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DispatchRow {
    /// The number of the dispatch.
    pub(crate) id: DispatchId,
    /// The id of the event.
    pub(crate) event_id: EventId,
    /// The type of the event.
    pub(crate) event_type: String,
    /// The id of the event's invoice at Finkare.
    #[schema(required)]
    pub(crate) invoice_id: Option<String>,
    /// The sink that the event is sent to.
    pub(crate) sink: String,
    /// The state of the dispatch.
    pub(crate) state: DispatchState,
    /// The number of attempts so far.
    pub(crate) attempts: u32,
    /// When the dispatch was created.
    pub(crate) created_at: Timestamp,
    /// When the next attempt is due; null if the dispatch is finished or waits for a person.
    #[schema(required)]
    pub(crate) next_attempt_at: Option<Timestamp>,
    /// When the dispatch was delivered, given up or cancelled.
    #[schema(required)]
    pub(crate) finished_at: Option<Timestamp>,
    /// Why the last attempt failed, or what a person should do.
    #[schema(required)]
    pub(crate) last_error: Option<String>,
    /// Why the dispatch exists.
    pub(crate) trigger: Trigger,
    /// The number of the earlier dispatch of the same invoice that has to finish first.
    #[schema(required)]
    pub(crate) waits_for: Option<DispatchId>,
    /// The state of the sink. Only an `active` sink is sent what is due.
    pub(crate) sink_state: SinkState,
    /// While the sink is tripped: when this process probes it next, with the event that is due first.
    #[schema(required)]
    pub(crate) sink_next_probe_at: Option<Timestamp>,
    #[serde(flatten)]
    pub(crate) payment: AnnouncedPayment,
    /// Present if a part of the stored row cannot be read: says which part. That part is empty or approximate here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

impl DispatchRow {
    /// The row, with what is known about the event's payment and with the state of the sink.
    pub(super) fn new(dispatch: Dispatch, known: &Known, standings: &Standings<'_>) -> Self {
        let (sink_state, sink_next_probe_at) = standings.of(&dispatch.sink);
        Self {
            sink_state,
            sink_next_probe_at,
            payment: known.payment(dispatch.event_id),
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
            fault: dispatch.fault,
        }
    }
}

/// One attempt of a dispatch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptRow {
    /// The number of the attempt, counted from 1.
    pub(crate) number: u32,
    /// When the attempt began.
    pub(crate) started_at: Timestamp,
    /// How long the attempt took, in milliseconds.
    pub(crate) duration_ms: f64,
    /// The outcome: `delivered`, `retry`, `rejected` or `hold`.
    pub(crate) outcome: String,
    /// Why the attempt failed, or what a person should do.
    #[schema(required)]
    pub(crate) error: Option<String>,
}

impl From<Attempt> for AttemptRow {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            duration_ms: clock::fractional_millis(attempt.duration),
            outcome: attempt.outcome,
            error: attempt.error,
        }
    }
}

/// One dispatch with its attempts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DispatchPage {
    #[serde(flatten)]
    pub(crate) dispatch: DispatchRow,
    /// The attempts, oldest first.
    pub(crate) attempt_log: Vec<AttemptRow>,
    /// After a retry: what the dispatch still waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// The filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DispatchQuery {
    /// Only dispatches in this state.
    #[param(value_type = Option<DispatchState>)]
    state: Option<String>,
    /// Only dispatches of this sink.
    sink: Option<String>,
    /// Only dispatches of this invoice.
    invoice_id: Option<String>,
    /// Only dispatches of events of this endpoint.
    endpoint: Option<String>,
    /// Only dispatches whose `last_error` contains this text, ignoring case. `…` stands for any text.
    reason: Option<String>,
    /// Only dispatches that were created at this time or later.
    #[param(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Only dispatches that were created before this time.
    #[param(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// Only dispatches of this event.
    #[param(value_type = Option<EventId>)]
    event_id: Option<String>,
    /// Only dispatches of events whose payment has this id or this amount (`1500`, `1500.00`, `1 500,00`), or whose invoice
    /// number is or contains this text, ignoring case. The search considers at most the newest 2000 such events, and
    /// looks for parts of numbers in the latest 20,000 announcements.
    q: Option<String>,
    /// How many rows a page has, by default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// How many dispatches a search looks at before it says how far it got, if fewer than usual.
    #[param(minimum = 1, maximum = 100_000)]
    look_at: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = Option<DispatchId>)]
    cursor: Option<String>,
}

/// A page of the list of dispatches.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DispatchList {
    /// The rows, newest first.
    pub(crate) data: Vec<DispatchRow>,
    /// Pass this as `cursor` to get the next rows; null if there are no more.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
    /// Present if a search (by `endpoint`, `reason`, `since` or `until`, or by `sink` alone or with the state `delivered`)
    /// stopped before the end: it has looked at the dispatches created since this time. `next_cursor` continues the search.
    /// Such a page may have fewer rows than requested, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) searched_until: Option<Timestamp>,
}

/// Lists dispatches, newest first.
#[utoipa::path(
    get,
    path = "/dispatches",
    operation_id = "list_dispatches",
    tag = "dispatches",
    params(DispatchQuery),
    responses((status = 200, description = "A page of dispatches", body = DispatchList))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<DispatchQuery>,
) -> Result<Json<DispatchList>, Problem> {
    let found = match query.q.as_deref().filter(|text| !text.trim().is_empty()) {
        Some(text) => Some(announced::find(&*admin.store, text).await?),
        None => None,
    };
    let filter = DispatchFilter {
        found,
        state: query.state.map(|state| parse("state", &state)).transpose()?,
        sink: query.sink,
        invoice_id: query.invoice_id,
        endpoints: caller.scope.endpoints(),
        endpoint: query.endpoint,
        reason: query.reason,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
        event_id: query.event_id.map(|id| parse("event_id", &id)).transpose()?,
        before: query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?,
        look_at: look_at(query.look_at)?,
    };
    let page = admin.store.list_dispatches(&filter, limit(query.limit)?).await.map_err(store_problem)?;
    let known = Known::of(&*admin.store, page.rows.iter().map(|dispatch| dispatch.event_id)).await?;
    let standings = Standings::now(&admin).await?;
    let (searched_to, searched_until) = page.searched_until.unzip();
    let cursor = searched_to.or_else(|| page.rows.last().filter(|_| page.more).map(|dispatch| dispatch.id));
    Ok(Json(DispatchList {
        data: page.rows.into_iter().map(|row| DispatchRow::new(row, &known, &standings)).collect(),
        next_cursor: cursor.map(|id| id.to_string()),
        searched_until,
    }))
}

/// Shows one dispatch.
#[utoipa::path(
    get,
    path = "/dispatches/{id}",
    operation_id = "show_dispatch",
    tag = "dispatches",
    params(("id" = DispatchId, Path, description = "The number of a dispatch")),
    responses((status = 200, description = "The dispatch", body = DispatchPage), (status = 404, description = "There is no dispatch with this id: `not_found`."))
)]
pub async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Json<DispatchPage>, Problem> {
    Ok(Json(page(&admin, &caller, &id).await?))
}

async fn page(admin: &Admin, caller: &Caller, id: &str) -> Result<DispatchPage, Problem> {
    let unknown = || not_found("dispatch with this id");
    // An invalid number does not name a dispatch either.
    let id: DispatchId = id.parse().map_err(|_| unknown())?;
    let (dispatch, attempts) = admin.store.dispatch(id).await.map_err(store_problem)?.ok_or_else(unknown)?;
    if caller.scope.is_limited() {
        let event = admin.store.event(dispatch.event_id).await.map_err(store_problem)?;
        if !event.is_some_and(|detail| caller.scope.has(&detail.event.endpoint)) {
            return Err(unknown());
        }
    }
    let attempt_log = attempts.into_iter().map(AttemptRow::from).collect();
    let known = Known::of(&*admin.store, std::iter::once(dispatch.event_id)).await?;
    let dispatch = DispatchRow::new(dispatch, &known, &Standings::now(admin).await?);
    Ok(DispatchPage { dispatch, attempt_log, note: None })
}

/// Retries one dispatch.
///
/// A `held` or `dead` dispatch goes back to `pending`, becomes due at once and gets a new give-up time. A `pending`
/// dispatch becomes due at once. Other states are answered 409. Requires the role operator.
#[utoipa::path(
    post,
    path = "/dispatches/{id}/retry",
    operation_id = "retry_dispatch",
    tag = "dispatches",
    params(("id" = DispatchId, Path, description = "The number of a dispatch")),
    responses((status = 200, description = "The dispatch as it is now", body = DispatchPage), (status = 404, description = "There is no dispatch with this id: `not_found`."), (status = 409, description = "A dispatch in this state cannot be changed in this way: `wrong_state`."))
)]
pub async fn retry(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Json<DispatchPage>, Problem> {
    let retry = async |id| admin.store.retry_dispatches(&[id]).await;
    let Json(mut retried) = decide(&admin, &caller, &id, "retried", "dispatch.retried", retry).await?;
    retried.note = after_retry(&admin, Some(&retried.dispatch.sink)).await?;
    Ok(Json(retried))
}

/// Cancels one dispatch.
///
/// The dispatch must be `pending`, `held` or `dead`; other states are answered 409. The next dispatch of its invoice then
/// takes its turn. Requires the role operator.
#[utoipa::path(
    post,
    path = "/dispatches/{id}/cancel",
    operation_id = "cancel_dispatch",
    tag = "dispatches",
    params(("id" = DispatchId, Path, description = "The number of a dispatch")),
    responses((status = 200, description = "The dispatch as it is now", body = DispatchPage), (status = 404, description = "There is no dispatch with this id: `not_found`."), (status = 409, description = "A dispatch in this state cannot be changed in this way: `wrong_state`."))
)]
pub async fn cancel(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
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
    let dispatch = page(admin, caller, id).await?.dispatch;
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
    Ok(Json(page(admin, caller, id).await?))
}
