//! `GET /bookings`: what was written of payments in invoicing software, for whoever asks whether a payment was booked.

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{super::error::Problem, Admin, List, Params, limit, parse, store_problem};
use crate::{
    model::{
        booking::{Booking, BookingState},
        id::EventId,
    },
    store::ledger::BookingFilter,
};

/// A booking as the API shows it. Its token stays inside: whoever has it may go on with the booking.
#[derive(Debug, Serialize, ToSchema)]
pub struct BookingRow {
    /// In which sink.
    sink: String,
    /// The payment, at Finkare.
    payment_id: String,
    /// The event that asked for it last; it may have been purged.
    event_id: EventId,
    /// The payment's invoice, at Finkare.
    invoice_id: String,
    /// The number by which the sink's target knows the invoice.
    invoice_number: String,
    /// The amount, in cents.
    amount_cents: i64,
    /// The amount's currency, such as `EUR`.
    currency: String,
    /// How far it has come.
    state: BookingState,
    /// The target's own id of what was written, as soon as it is known.
    #[schema(required)]
    target_id: Option<String>,
    /// What a person may want to know of it.
    #[schema(required)]
    note: Option<String>,
    /// When it was begun, or begun again after a doubt.
    began_at: Timestamp,
    /// When it came to its state.
    changed_at: Timestamp,
}

impl From<Booking> for BookingRow {
    fn from(booking: Booking) -> Self {
        Self {
            sink: booking.sink,
            payment_id: booking.payment_id,
            event_id: booking.event_id,
            invoice_id: booking.invoice_id,
            invoice_number: booking.invoice_number,
            amount_cents: booking.amount_cents.0,
            currency: booking.currency,
            state: booking.state,
            target_id: booking.target_id,
            note: booking.note,
            began_at: booking.began_at,
            changed_at: booking.changed_at,
        }
    }
}

/// The filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BookingQuery {
    /// Only in this sink.
    sink: Option<String>,
    /// Only in this state.
    #[param(value_type = Option<BookingState>)]
    state: Option<String>,
    /// Only of this payment, by Finkare's id.
    payment_id: Option<String>,
    /// Only of this invoice, by Finkare's id.
    invoice_id: Option<String>,
    /// Only of this invoice, by the number that the target knows it by.
    invoice_number: Option<String>,
    /// How many rows: 50 unless told otherwise.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<i64>)]
    cursor: Option<String>,
}

/// Lists bookings, newest first.
#[utoipa::path(
    get,
    path = "/bookings",
    operation_id = "list_bookings",
    tag = "bookings",
    params(BookingQuery),
    responses((status = 200, description = "A page of bookings", body = List<BookingRow>))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Params(query): Params<BookingQuery>,
) -> Result<Json<List<BookingRow>>, Problem> {
    let filter = BookingFilter {
        sink: query.sink,
        state: query.state.map(|state| parse("state", &state)).transpose()?,
        payment_id: query.payment_id,
        invoice_id: query.invoice_id,
        invoice_number: query.invoice_number,
        before: query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?,
    };
    let page = admin.store.bookings(&filter, limit(query.limit)?).await.map_err(store_problem)?;
    Ok(Json(List::from_page(page, |(number, _)| number.to_string(), |(_, booking)| BookingRow::from(booking))))
}
