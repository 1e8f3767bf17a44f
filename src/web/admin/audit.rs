//! `GET /audit`: who did what, and when. The handlers of this API write the audit trail here.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{super::error::Problem, Admin, List, Params, auth::Caller, limit, parse, store_problem, time};
use crate::{
    bulk,
    model::audit::{AuditEntry, NewAudit},
    store::AuditFilter,
};

/// An entry of the audit trail.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// The number of the entry; later entries have larger numbers.
    pub(crate) id: i64,
    /// When it was done.
    pub(crate) at: Timestamp,
    /// Who did it: the name of a token, `loopback`, `cli`, `schedule` or `service`.
    pub(crate) actor: String,
    /// What was done, as a stable word, such as `sink.paused` or `rotation.begun`.
    pub(crate) action: String,
    /// The object that was changed, such as `sink/erp`, `endpoint/production` or `dispatch/17`.
    pub(crate) subject: String,
    /// Further details. A secret appears only as its fingerprint.
    #[schema(value_type = Object)]
    pub(crate) detail: Value,
}

impl From<AuditEntry> for AuditRow {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, at, actor, action, subject, detail } = entry;
        Self { id, at, actor, action, subject, detail }
    }
}

/// The parameters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only entries about this endpoint.
    endpoint: Option<String>,
    /// Only what this one did: the name of a token, `cli`, `schedule` …
    actor: Option<String>,
    /// Only this action, such as `sink.paused`.
    action: Option<String>,
    /// Only entries written at this time or later.
    #[param(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Only entries written before this time.
    #[param(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// How many rows a page has, by default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = Option<i64>)]
    cursor: Option<String>,
}

/// Lists the entries of the audit trail, newest first.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "list_audit",
    tag = "audit",
    params(AuditQuery),
    responses((status = 200, description = "A page of entries", body = List<AuditRow>))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<AuditQuery>,
) -> Result<Json<List<AuditRow>>, Problem> {
    let filter = AuditFilter {
        before: query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?,
        subjects: admin.reach.subjects(&caller.scope),
        endpoint: query.endpoint,
        actor: query.actor,
        action: query.action,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
    };
    let page = admin.store.list_audit(&filter, limit(query.limit)?).await.map_err(store_problem)?;
    Ok(Json(List::from_page(page, |entry| entry.id.to_string(), AuditRow::from)))
}

/// Records what a handler has done, see [`bulk::write_down`].
pub(super) async fn write(admin: &Admin, entry: NewAudit) {
    bulk::write_down(&*admin.store, entry).await;
}
