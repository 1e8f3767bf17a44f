//! Retrying and cancelling many dispatches at once. What is chosen, and in which order it is changed, is decided in
//! [`crate::bulk`].

use std::sync::Arc;

use axum::{Extension, Json, body::Body, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::error::Problem, Admin, auth::Caller, counted_among, not_found, parse, payload, sinks::after_retry,
    store_problem, time,
};
use crate::{
    bulk::{BulkError, Decided, Decision, Selection},
    config::Role,
    model::dispatch::State as DispatchState,
    replay::ReplayError,
};

/// The answer to a client whose bulk operation was not carried out.
pub(super) fn bulk_problem(error: BulkError) -> Problem {
    let detail = error.to_string();
    let refused = |status, code| Problem::new(status, code, detail);
    match error {
        BulkError::Busy => refused(StatusCode::CONFLICT, "busy"),
        BulkError::WrongState { .. } => refused(StatusCode::UNPROCESSABLE_ENTITY, "wrong_state"),
        BulkError::Replay(ReplayError::UnknownSink { .. }) => refused(StatusCode::UNPROCESSABLE_ENTITY, "unknown_sink"),
        BulkError::Replay(ReplayError::TooMany) => refused(StatusCode::UNPROCESSABLE_ENTITY, "too_many"),
        BulkError::Replay(ReplayError::PayloadGone) => refused(StatusCode::CONFLICT, "payload_gone"),
        BulkError::Replay(ReplayError::NoSuchEvent) => not_found("event with this id"),
        BulkError::Replay(ReplayError::Store(error)) | BulkError::Store(error) => store_problem(error),
        BulkError::Panicked => Problem::internal(),
    }
}

/// Which dispatches are selected.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Chosen {
    /// Only dispatches of this sink.
    sink: Option<String>,
    /// Only dispatches in this state.
    #[schema(value_type = Option<DispatchState>)]
    state: Option<String>,
    /// Only dispatches of this invoice.
    invoice_id: Option<String>,
    /// Only dispatches of events of this endpoint.
    endpoint: Option<String>,
    /// Only dispatches whose `last_error` contains this text, ignoring case. `…` stands for any text.
    reason: Option<String>,
    /// Only dispatches that were created at this time or later.
    #[schema(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Only dispatches that were created before this time.
    #[schema(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// If true, only counts the dispatches and changes nothing.
    #[serde(default)]
    #[schema(default = false)]
    dry_run: bool,
    /// Only with `dry_run`: how many dispatches of each state it looks at; then `more` says that it has not looked at all of them. Without
    /// it all are counted, however long that takes.
    #[schema(minimum = 1, maximum = 100_000)]
    look_at: Option<u32>,
}

/// The result of retrying many dispatches.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RetriedMany {
    /// How many dispatches are pending again, or would be.
    pub(crate) retried: u64,
    /// True if there are more dispatches than one call changes: repeat the call. Of a dry run with `look_at`: that there may be
    /// more.
    pub(crate) more: bool,
    /// What the dispatches still wait for: a sink that is paused, tripped or not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    /// Present and true if nothing was changed because of `dry_run`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dry_run: bool,
}

/// The result of cancelling many dispatches.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CancelledMany {
    /// How many dispatches were cancelled, or would be.
    pub(crate) cancelled: u64,
    /// True if there are more dispatches than one call changes: repeat the call. Of a dry run with `look_at`: that there may be
    /// more.
    pub(crate) more: bool,
    /// Present and true if nothing was changed because of `dry_run`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dry_run: bool,
}

/// Puts `dead` and `held` dispatches back to `pending`.
///
/// With the state `pending`, dispatches that wait for their next attempt become due at once.
///
/// Requires the role operator.
#[utoipa::path(
    post,
    path = "/dispatches/retry",
    operation_id = "retry_dispatches",
    tag = "dispatches",
    request_body(content = Chosen, description = "A `sink`, a `state`, or both"),
    responses(
        (status = 200, description = "How many dispatches", body = RetriedMany),
        (status = 404, description = "There is no sink with this name: `not_found`."),
        (status = 409, description = "Another bulk operation is running: `busy`."),
        (status = 422, description = "The body has the wrong shape: `bad_body`; it names neither a sink nor a state: `no_selection`; dispatches in this state cannot be changed in this way: `wrong_state`."),
    )
)]
pub async fn retry(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<RetriedMany>, Problem> {
    let is_limited = caller.scope.is_limited();
    let (Decided { count, more }, chosen) = decide(&admin, caller, body, Decision::Retry).await?;
    let Chosen { sink, dry_run, .. } = chosen;
    // Without a sink the note would name all of them.
    let is_silent = count == 0 || dry_run || (is_limited && sink.is_none());
    let note = if is_silent { None } else { after_retry(&admin, sink.as_deref()).await? };
    Ok(Json(RetriedMany { retried: count, more, note, dry_run }))
}

/// Cancels `pending`, `held` and `dead` dispatches.
///
/// The sink may also be one that is no longer configured. Requires the role operator.
#[utoipa::path(
    post,
    path = "/dispatches/cancel",
    operation_id = "cancel_dispatches",
    tag = "dispatches",
    request_body(content = Chosen, description = "A `sink`, a `state`, or both"),
    responses(
        (status = 200, description = "How many dispatches", body = CancelledMany),
        (status = 404, description = "There is no sink with this name: `not_found`."),
        (status = 409, description = "Another bulk operation is running: `busy`."),
        (status = 422, description = "The body has the wrong shape: `bad_body`; it names neither a sink nor a state: `no_selection`; dispatches in this state cannot be changed in this way: `wrong_state`."),
    )
)]
pub async fn cancel(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<CancelledMany>, Problem> {
    let (Decided { count, more }, chosen) = decide(&admin, caller, body, Decision::Cancel).await?;
    Ok(Json(CancelledMany { cancelled: count, more, dry_run: chosen.dry_run }))
}

/// Reads the selection and carries the operation out.
async fn decide(admin: &Admin, caller: Caller, body: Body, decision: Decision) -> Result<(Decided, Chosen), Problem> {
    caller.needs(Role::Operator)?;
    let chosen: Chosen = payload(body).await?.unwrap_or_default();
    if chosen.sink.is_none() && chosen.state.is_none() {
        let detail = "Select dispatches by `sink`, `state`, or both.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_selection", detail));
    }
    let state: Option<DispatchState> = chosen.state.as_deref().map(|state| parse("state", state)).transpose()?;
    // A wrong state is reported before the store is queried for the sink.
    decision.states(state).map_err(bulk_problem)?;
    if let Some(sink) = &chosen.sink {
        let statuses = admin.statuses.now().await?;
        if statuses.iter().all(|status| status.name != *sink) || !admin.reach.reaches(&caller.scope, sink) {
            return Err(not_found("sink with this name"));
        }
    }
    let selection = Selection {
        sink: chosen.sink.clone(),
        state,
        invoice_id: chosen.invoice_id.clone(),
        endpoints: caller.scope.endpoints(),
        endpoint: chosen.endpoint.clone(),
        reason: chosen.reason.clone(),
        since: time("since", chosen.since.as_deref())?,
        until: time("until", chosen.until.as_deref())?,
        look_at: counted_among(chosen.look_at, chosen.dry_run)?,
    };
    let decided = admin.bulk.decide(decision, selection, chosen.dry_run, caller.name).await.map_err(bulk_problem)?;
    Ok((decided, chosen))
}
