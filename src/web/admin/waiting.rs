//! `GET /waiting`: what waits for a person, grouped by its cause.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{super::error::Problem, Admin, Params, auth::Caller, look_at, store_problem};
use crate::{
    model::{
        dispatch::State as DispatchState,
        id::DispatchId,
        money::{Cents, Total},
        notice::MOST_NAMED,
        reason,
    },
    store::MOST_WAITING,
};

/// How much is looked at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitingQuery {
    /// How many dispatches are looked at, the newest first; by default, and at most, 20,000.
    #[param(minimum = 1, maximum = 100_000)]
    look_at: Option<u32>,
}

/// Dispatches that wait for one cause.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WaitingRow {
    /// `held` or `dead`.
    pub(crate) state: DispatchState,
    /// The sink.
    pub(crate) sink: String,
    /// The endpoint of the events; null for the relay's own that are about none.
    #[schema(required)]
    pub(crate) endpoint: Option<String>,
    /// What the reasons have in common; `…` stands for what differs. As `reason`, it selects these dispatches in other calls.
    pub(crate) reason: String,
    /// The newest reason in full: it says what to do.
    pub(crate) example: String,
    /// How many.
    pub(crate) count: u64,
    /// The sum of the amounts that the events name, in cents; null if one names none, or if their currencies differ.
    #[schema(required)]
    pub(crate) amount_cents: Option<i64>,
    /// The currency that the events name, such as `EUR`; null if they name none.
    #[schema(required)]
    pub(crate) currency: Option<String>,
    /// When the oldest was created.
    pub(crate) oldest: Timestamp,
    /// When the newest was created.
    pub(crate) newest: Timestamp,
    /// The newest dispatches, at most 20.
    pub(crate) dispatches: Vec<DispatchId>,
}

/// What waits for a person.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WaitingList {
    /// The groups, the largest first.
    pub(crate) data: Vec<WaitingRow>,
    /// False if more dispatches wait than were looked at: the counts are those of the newest.
    pub(crate) complete: bool,
}

/// Shows what waits for a person, grouped by sink, endpoint and cause.
#[utoipa::path(
    get,
    path = "/waiting",
    operation_id = "list_waiting",
    tag = "dispatches",
    params(WaitingQuery),
    responses((status = 200, description = "What waits", body = WaitingList))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<WaitingQuery>,
) -> Result<Json<WaitingList>, Problem> {
    let most = look_at(query.look_at)?.unwrap_or(MOST_WAITING);
    let waiting = admin.store.waiting(caller.scope.endpoints().as_deref(), most).await;
    let (waiting, complete) = waiting.map_err(store_problem)?;
    let mut groups: BTreeMap<(String, String, String, String), (WaitingRow, Total)> = BTreeMap::new();
    for one in waiting {
        let group = reason::group(&one.reason);
        let key = (one.state.as_str().to_owned(), one.sink.clone(), one.endpoint.clone(), group.clone());
        let (row, total) = groups.entry(key).or_insert_with(|| {
            let row = WaitingRow {
                state: one.state,
                sink: one.sink,
                endpoint: Some(one.endpoint).filter(|endpoint| !endpoint.is_empty()),
                reason: group,
                example: one.reason,
                count: 0,
                amount_cents: None,
                currency: None,
                oldest: one.created_at,
                newest: one.created_at,
                dispatches: Vec::new(),
            };
            (row, Total::default())
        });
        row.count += 1;
        total.add(one.payload.as_deref());
        row.oldest = row.oldest.min(one.created_at);
        row.newest = row.newest.max(one.created_at);
        if row.dispatches.len() < MOST_NAMED {
            row.dispatches.push(one.id);
        }
    }
    let summed = |(row, total): (WaitingRow, Total)| {
        let (cents, currency) = total.known().unzip();
        WaitingRow {
            amount_cents: cents.map(|Cents(cents)| cents),
            currency: currency.flatten().map(str::to_owned),
            ..row
        }
    };
    let mut data: Vec<WaitingRow> = groups.into_values().map(summed).collect();
    data.sort_by_key(|row| std::cmp::Reverse(row.count));
    Ok(Json(WaitingList { data, complete }))
}
