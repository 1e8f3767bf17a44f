//! What was written of payments in invoicing software: a list for whoever asks whether a payment was booked, and the word
//! of a person who has looked into the books where a doubt stayed.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, body::Body, extract::State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::error::Problem, Admin, List, Params, auth::Caller, bad_parameter, limit, not_found, parse, payload,
    store_problem,
};
use crate::{
    config::Role,
    model::{
        audit::NewAudit,
        booking::{Booking, BookingState},
        id::{EventId, SinkName},
    },
    store::ledger::{BookingFilter, Settled, Word},
};

/// A person's word counts only this long after the booking was begun, taken over or sent. No attempt takes longer than
/// the largest `timeout_secs` of a sink, which is 300: so whoever began it is not at it any more.
pub const QUIET_FOR: Duration = Duration::from_mins(5);

/// The longest id of a target's that is taken, in characters.
const LONGEST_TARGET_ID: usize = 200;

/// A booking as the API shows it. Its token stays inside: whoever has it may go on with the booking.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BookingRow {
    /// In which sink.
    pub(crate) sink: String,
    /// The payment, at Finkare.
    pub(crate) payment_id: String,
    /// The event that asked for it last; it may have been purged.
    pub(crate) event_id: EventId,
    /// The payment's invoice, at Finkare.
    pub(crate) invoice_id: String,
    /// The number by which the sink's target knows the invoice.
    pub(crate) invoice_number: String,
    /// The amount, in cents.
    pub(crate) amount_cents: i64,
    /// The amount's currency, such as `EUR`.
    pub(crate) currency: String,
    /// How far it has come.
    pub(crate) state: BookingState,
    /// The target's own id of what was written, as soon as it is known.
    #[schema(required)]
    pub(crate) target_id: Option<String>,
    /// What a person may want to know of it.
    #[schema(required)]
    pub(crate) note: Option<String>,
    /// When it was begun, or begun again after a doubt.
    pub(crate) began_at: Timestamp,
    /// When it came to its state.
    pub(crate) changed_at: Timestamp,
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
        target_id: None,
        before: query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?,
    };
    let page = admin.store.bookings(&filter, limit(query.limit)?).await.map_err(store_problem)?;
    Ok(Json(List::from_page(page, |(number, _)| number.to_string(), |(_, booking)| BookingRow::from(booking))))
}

/// What a person has found in the books.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Settle {
    /// In which sink.
    sink: String,
    /// The payment, by Finkare's id.
    payment_id: String,
    /// True: the payment stands there, once. False: it does not stand there, and is to be written.
    recorded: bool,
    /// The target's own id of it, if it stands there and has one.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$")]
    target_id: Option<String>,
}

impl Settle {
    fn word(&self) -> Result<Word, Problem> {
        match (self.recorded, &self.target_id) {
            (true, Some(id)) if !is_usable(id) => Err(bad_parameter(format!(
                "`target_id` must have 1 to {LONGEST_TARGET_ID} characters, without line breaks and the like."
            ))),
            (true, target_id) => Ok(Word::Recorded { target_id: target_id.clone() }),
            (false, None) => Ok(Word::NotRecorded),
            (false, Some(_)) => {
                let detail = "What does not stand in the books has no `target_id` there: leave one of the two out.";
                Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", detail))
            }
        }
    }
}

fn is_usable(id: &str) -> bool {
    (1..=LONGEST_TARGET_ID).contains(&id.chars().count()) && !id.chars().any(|character| character.is_ascii_control())
}

/// What came of a person's word.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Settlement {
    /// In which sink.
    pub(crate) sink: String,
    /// The payment, at Finkare.
    pub(crate) payment_id: String,
    /// The event that asked for it last: its dispatch is the one to retry.
    pub(crate) event_id: EventId,
    /// What was said.
    pub(crate) recorded: bool,
    /// What follows from it, and what to do next.
    pub(crate) next: String,
}

/// Says what stands in the books of a payment whose booking is not finished: recorded, or not.
///
/// For one that stays `sending` or `written`, after somebody has looked there. Recorded: it becomes `booked`. Not recorded:
/// its line is removed, and its dispatch has to be retried, which writes the payment. Needs the role operator.
#[utoipa::path(
    post,
    path = "/bookings/settle",
    operation_id = "settle_booking",
    tag = "bookings",
    request_body(content = Settle, description = "Which booking, and what stands in the books"),
    responses(
        (status = 200, description = "It is as was said", body = Settlement),
        (status = 404, description = "There is no booking of this payment in this sink: `not_found`."),
        (status = 409, description = "It was begun too short a time ago, `retry_in_secs` says how long to wait: `too_early`; it is finished already: `finished`."),
        (status = 422, description = "The body has another shape, or says both that the payment is not recorded and its `target_id`: `bad_body`."),
    )
)]
pub async fn settle(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Settlement>, Problem> {
    caller.needs(Role::Operator)?;
    let Some(said) = payload::<Settle>(body).await? else {
        let detail = "The body is not usable: say `sink`, `payment_id` and `recorded`.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", detail));
    };
    let word = said.word()?;
    let unknown = || not_found("booking of this payment in this sink");
    // What is no name of a sink at all has no bookings either, and what holds NUL is no id that was ever stored.
    let sink = SinkName::new(&said.sink).map_err(|_| unknown())?;
    if said.payment_id.contains('\0') {
        return Err(unknown());
    }
    // Only to say which event it was: what is decided is decided below.
    let before = admin.store.booking(&sink, &said.payment_id).await.map_err(store_problem)?.ok_or_else(unknown)?;
    let audit = NewAudit::new(&caller.name, "booking.settled", format!("payment/{}", said.payment_id))
        .with("sink", sink.as_str());
    let settled = admin.store.settle_booking(&sink, &said.payment_id, &word, QUIET_FOR, audit).await;
    match settled.map_err(store_problem)? {
        Settled::Settled => {}
        Settled::TooEarly(booking) => return Err(too_early(&booking)),
        Settled::Finished(booking) => return Err(finished(&booking, said.recorded)),
        Settled::Unknown => return Err(unknown()),
    }
    tracing::info!(
        sink.name = %sink, payment.id = said.payment_id, recorded = said.recorded, by = %caller.name,
        "a person has said what stands in the books of a payment"
    );
    let dispatch = format!(
        "`finkare-relay dispatches list --event-id {} --sink {sink}` shows it, `finkare-relay dispatches retry ID` retries it",
        before.event_id
    );
    let next = if said.recorded {
        format!(
            "The payment counts as recorded and is never written. If its dispatch is not delivered yet, retry it, and it \
             ends as delivered: {dispatch}."
        )
    } else {
        format!("The line is removed. Its dispatch has to be retried, which writes the payment: {dispatch}.")
    };
    let Settle { payment_id, recorded, .. } = said;
    Ok(Json(Settlement { sink: sink.as_str().to_owned(), payment_id, event_id: before.event_id, recorded, next }))
}

fn too_early(booking: &Booking) -> Problem {
    let wait = QUIET_FOR.saturating_sub(booking.began_ago);
    // Rounded up: whoever waits that long has waited long enough.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail = format!(
        "The booking is `{}` since {} s ago: whoever began it may still be at it, and what is seen in the books may change. \
         Look there again in {seconds} s, and say then what stands there.",
        booking.state,
        booking.began_ago.as_secs()
    );
    Problem::new(StatusCode::CONFLICT, "too_early", detail).with("retry_in_secs", seconds)
}

fn finished(booking: &Booking, recorded: bool) -> Problem {
    let what_to_do = if recorded {
        "It counts as recorded already: there is nothing to settle."
    } else {
        "What is finished is not written again: if the payment is not in the books any more, record it there by hand."
    };
    let detail = format!("The booking is finished: `{}`. {what_to_do}", booking.state);
    Problem::new(StatusCode::CONFLICT, "finished", detail).with("state", booking.state.as_str())
}
