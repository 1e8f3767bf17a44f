//! Erasing an invoice.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{super::error::Problem, Admin, Segment, auth::Caller, bulk::bulk_problem, not_found};
use crate::{config::Role, store::Erased};

/// The result of erasing an invoice.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErasedRow {
    /// How many events belong to the invoice.
    pub(crate) events: u64,
    /// How many payloads were permanently removed.
    pub(crate) payloads: u64,
    /// How many unfinished dispatches were cancelled.
    pub(crate) cancelled: u64,
    /// How many payments in the ledger lost the debtor's name.
    pub(crate) names: u64,
}

/// Permanently removes the payloads of an invoice and the debtor's name. Ids, hashes, amounts and times remain.
///
/// Requires the role admin.
#[utoipa::path(
    post,
    path = "/invoices/{invoice_id}/erase",
    operation_id = "erase_invoice",
    tag = "invoices",
    params(("invoice_id" = String, Path, description = "The invoice's id at Finkare", min_length = 1)),
    responses(
        (status = 200, description = "What was removed", body = ErasedRow),
        (status = 404, description = "There is no event of this invoice: `not_found`."),
        (status = 409, description = "Another bulk operation is running: `busy`."),
    )
)]
pub async fn erase(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(invoice_id): Segment,
) -> Result<Json<ErasedRow>, Problem> {
    caller.needs(Role::Admin)?;
    let erased = admin.bulk.erase(invoice_id, caller.name).await.map_err(bulk_problem)?;
    if erased.is_nothing() {
        return Err(not_found("event of this invoice"));
    }
    let Erased { events, payloads, cancelled, names } = erased;
    Ok(Json(ErasedRow { events, payloads, cancelled, names }))
}
