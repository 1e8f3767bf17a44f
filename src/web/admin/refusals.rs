//! `GET /refusals`: which deliveries were refused, and what they looked like.
//!
//! It shows only the last deliveries that this process refused since its start, see [`crate::ingest::explain`].

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{super::error::Problem, Admin, List, Params, auth::Caller, bad_parameter, limit, parse, time};
use crate::{ingest::explain::Refusal, model::id::EndpointName};

/// The filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RefusalQuery {
    /// Only refusals of this endpoint.
    endpoint: Option<String>,
    /// Only refusals at this time or later.
    #[param(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Only refusals before this time.
    #[param(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// How many rows a page has, by default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = Option<i64>, minimum = 0)]
    cursor: Option<String>,
}

/// Lists refusals, newest first.
#[utoipa::path(
    get,
    path = "/refusals",
    operation_id = "list_refusals",
    tag = "refusals",
    params(RefusalQuery),
    responses((status = 200, description = "A page of refusals", body = List<Refusal>))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<RefusalQuery>,
) -> Result<Json<List<Refusal>>, Problem> {
    // A number that fits into what every client can count with.
    let before = query.cursor.map(|cursor| parse::<i64>("cursor", &cursor)).transpose()?;
    let before = before.map(|before| u64::try_from(before).map_err(|_| bad_parameter("`cursor` is below 0.")));
    let limit = usize::try_from(limit(query.limit)?).unwrap_or(usize::MAX);
    let (since, until) = (time("since", query.since.as_deref())?, time("until", query.until.as_deref())?);
    let is_shown = |refusal: &Refusal| {
        let endpoint = refusal.endpoint.as_ref().map(EndpointName::as_str);
        let is_asked = query.endpoint.as_deref().is_none_or(|asked| endpoint == Some(asked))
            && since.is_none_or(|since| refusal.at >= since)
            && until.is_none_or(|until| refusal.at < until);
        is_asked && endpoint.map_or(!caller.scope.is_limited(), |endpoint| caller.scope.has(endpoint))
    };
    let (data, more) = admin.refusals.list(is_shown, before.transpose()?, limit);
    let next_cursor = data.last().filter(|_| more).map(|refusal| refusal.number.to_string());
    Ok(Json(List { data, next_cursor }))
}
