//! `GET /refusals`: what was turned away, and what it looked like.
//!
//! Of this process alone, since its start, and only the last ones: see [`crate::ingest::explain`].

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{super::error::Problem, Admin, List, Params, bad_parameter, limit, parse};
use crate::ingest::explain::Refusal;

/// A refusal as the API shows it: never the body, never the signature.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusalRow {
    /// Counted from 1 in this process.
    number: u64,
    /// When it came.
    at: Timestamp,
    /// The endpoint that it came to; null for a path that no endpoint has.
    #[schema(required)]
    endpoint: Option<String>,
    /// As the connection says: behind a proxy, the proxy.
    #[schema(required)]
    peer: Option<String>,
    /// What it was answered.
    status: u16,
    /// Why, as a stable word.
    reason: &'static str,
    /// Why, and what to do.
    explanation: String,
    /// False when there was no time or no room to look at it, and for a moment after it was refused.
    examined: bool,
    /// The length of its body.
    body_bytes: usize,
    /// SHA-256 of its body, in hex.
    #[schema(required)]
    body_sha256: Option<String>,
    /// What its signature header looked like.
    signature_header: SignatureHeader,
    /// The id that its answer had.
    #[schema(required)]
    request_id: Option<Uuid>,
}

/// What a signature header looked like.
#[derive(Debug, Serialize, ToSchema)]
struct SignatureHeader {
    /// Its length; null if it was missing.
    #[schema(required)]
    bytes: Option<usize>,
    /// What it looks like, as a stable word.
    shape: &'static str,
}

impl From<Refusal> for RefusalRow {
    fn from(refusal: Refusal) -> Self {
        Self {
            number: refusal.number,
            at: refusal.at,
            endpoint: refusal.endpoint.map(|name| name.as_str().to_owned()),
            peer: refusal.peer.map(|peer| peer.to_string()),
            status: refusal.status,
            reason: refusal.reason.as_str(),
            explanation: refusal.explanation,
            examined: refusal.examined,
            body_bytes: refusal.body_bytes,
            body_sha256: refusal.body_sha256,
            signature_header: SignatureHeader { bytes: refusal.header_bytes, shape: refusal.header_shape.as_str() },
            request_id: refusal.request_id,
        }
    }
}

/// The filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RefusalQuery {
    /// Only of this endpoint.
    endpoint: Option<String>,
    /// How many rows: 50 unless told otherwise.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
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
    responses((status = 200, description = "A page of refusals", body = List<RefusalRow>))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Params(query): Params<RefusalQuery>,
) -> Result<Json<List<RefusalRow>>, Problem> {
    // A number that fits into what every client can count with.
    let before = query.cursor.map(|cursor| parse::<i64>("cursor", &cursor)).transpose()?;
    let before = before.map(|before| u64::try_from(before).map_err(|_| bad_parameter("`cursor` is below 0.")));
    let before = before.transpose()?;
    let limit = usize::try_from(limit(query.limit)?).unwrap_or(usize::MAX);
    let (rows, more) = admin.refusals.list(query.endpoint.as_deref(), before, limit);
    let next_cursor = rows.last().filter(|_| more).map(|refusal| refusal.number.to_string());
    Ok(Json(List { data: rows.into_iter().map(RefusalRow::from).collect(), next_cursor }))
}
