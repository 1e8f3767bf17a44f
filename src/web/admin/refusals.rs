//! `GET /refusals`: what was turned away, and what it looked like.
//!
//! Of this process alone, since its start, and only the last ones: see [`crate::ingest::explain`].

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{super::error::Problem, Admin, List, Params, limit, parse};
use crate::ingest::explain::Refusal;

/// A refusal as the API shows it: never the body, never the signature.
#[derive(Debug, Serialize)]
pub struct RefusalRow {
    /// Counted from 1 in this process.
    number: u64,
    at: Timestamp,
    endpoint: String,
    /// As the connection says: behind a proxy, the proxy.
    peer: Option<String>,
    status: u16,
    reason: &'static str,
    explanation: String,
    /// False when there was no time or no room to look at it, and for a moment after it was refused.
    examined: bool,
    body_bytes: usize,
    body_sha256: Option<String>,
    signature_header: SignatureHeader,
    request_id: Option<Uuid>,
}

#[derive(Debug, Serialize)]
struct SignatureHeader {
    bytes: Option<usize>,
    shape: &'static str,
}

impl From<Refusal> for RefusalRow {
    fn from(refusal: Refusal) -> Self {
        Self {
            number: refusal.number,
            at: refusal.at,
            endpoint: refusal.endpoint.as_str().to_owned(),
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalQuery {
    endpoint: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Lists refusals, newest first.
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Params(query): Params<RefusalQuery>,
) -> Result<Json<List<RefusalRow>>, Problem> {
    let before = query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?;
    let limit = usize::try_from(limit(query.limit)?).unwrap_or(usize::MAX);
    let (rows, more) = admin.refusals.list(query.endpoint.as_deref(), before, limit);
    let next_cursor = rows.last().filter(|_| more).map(|refusal| refusal.number.to_string());
    Ok(Json(List { data: rows.into_iter().map(RefusalRow::from).collect(), next_cursor }))
}
