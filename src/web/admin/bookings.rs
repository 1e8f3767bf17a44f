//! The bookings: payments that the relay has recorded in invoicing software. The list answers whether a payment was
//! booked. If the outcome of a write is unknown, a person looks into the books and settles the booking here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{Extension, Json, body::Body, extract::State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::error::Problem, Admin, List, Params, auth::Caller, bad_parameter, limit, not_found, parse, payload,
    store_problem, time,
};
use crate::{
    config::Role,
    model::{
        audit::NewAudit,
        booking::{Booking, BookingState, Learned},
        id::{EventId, SinkName},
    },
    store::ledger::{BookingFilter, Settled, Word},
};

/// How long after a booking was begun, taken over or sent a person may settle it. No attempt takes longer than the largest
/// `timeout_secs` of a sink, which is 300, so the worker that began it has stopped by then.
pub const QUIET_FOR: Duration = Duration::from_mins(5);

/// The longest accepted id of a target, in characters.
const LONGEST_TARGET_ID: usize = 200;

/// A booking: one payment in the books of one sink.
// The booking's token is not shown: it entitles its owner to continue the booking.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BookingRow {
    /// The sink whose books hold the payment.
    pub(crate) sink: String,
    /// The id of the payment at Finkare.
    pub(crate) payment_id: String,
    /// The id of the last event that asked for this booking; the event may have been purged.
    pub(crate) event_id: EventId,
    /// The id of the payment's invoice at Finkare.
    pub(crate) invoice_id: String,
    /// The number of the invoice in the books.
    pub(crate) invoice_number: String,
    /// The amount, in cents.
    pub(crate) amount_cents: i64,
    /// The amount's currency, such as `EUR`.
    pub(crate) currency: String,
    /// The debtor's name, where it is known, until the invoice is erased.
    #[schema(required)]
    pub(crate) debtor: Option<String>,
    /// How it was paid, where it is known: `card`, `bank_transfer`, `sepa_debit`, `payment_link`, or another word of Finkare's.
    #[schema(required)]
    pub(crate) method: Option<String>,
    /// When it was paid, where it is known: a time, or only a day such as `2026-10-31`, as Finkare says.
    #[schema(required)]
    pub(crate) paid_at: Option<String>,
    /// The state of the booking.
    pub(crate) state: BookingState,
    /// The id of the record in the books, as soon as it is known.
    #[schema(required)]
    pub(crate) target_id: Option<String>,
    /// A note for people.
    #[schema(required)]
    pub(crate) note: Option<String>,
    /// When the booking was begun, or begun again after its outcome was unknown.
    pub(crate) began_at: Timestamp,
    /// When the booking got its current state.
    pub(crate) changed_at: Timestamp,
}

impl BookingRow {
    /// The row, with what was learned of the payment.
    fn new(booking: Booking, learned: &HashMap<EventId, Learned>) -> Self {
        let learned = learned.get(&booking.event_id).filter(|learned| learned.is_of(&booking));
        Self {
            debtor: learned.and_then(|learned| learned.debtor.clone()),
            method: learned.and_then(|learned| learned.method.clone()),
            paid_at: learned.and_then(|learned| learned.paid_at).map(|paid_at| paid_at.to_string()),
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
    /// Only bookings of this sink.
    sink: Option<String>,
    /// Only bookings in this state.
    #[param(value_type = Option<BookingState>)]
    state: Option<String>,
    /// Only bookings of the payment with this id at Finkare.
    payment_id: Option<String>,
    /// Only bookings of the invoice with this id at Finkare.
    invoice_id: Option<String>,
    /// Only bookings of the invoice with this number in the books.
    invoice_number: Option<String>,
    /// Only bookings that got their current state at this time or later.
    #[param(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Only bookings that got their current state before this time.
    #[param(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// How many rows a page has, by default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
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
    Extension(caller): Extension<Caller>,
    Params(query): Params<BookingQuery>,
) -> Result<Json<List<BookingRow>>, Problem> {
    let filter = BookingFilter {
        sink: query.sink,
        sinks: admin.reach.sinks(&caller.scope),
        state: query.state.map(|state| parse("state", &state)).transpose()?,
        payment_id: query.payment_id,
        invoice_id: query.invoice_id,
        invoice_number: query.invoice_number,
        target_id: None,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
        before: query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?,
    };
    let page = admin.store.bookings(&filter, limit(query.limit)?).await.map_err(store_problem)?;
    let events: Vec<EventId> = page.rows.iter().map(|(_, booking)| booking.event_id).collect();
    let learned = admin.store.learned(&events).await.map_err(store_problem)?;
    let learned: HashMap<EventId, Learned> = learned.into_iter().map(|one| (one.event_id, one)).collect();
    let row = |(_, booking): (i64, Booking)| BookingRow::new(booking, &learned);
    Ok(Json(List::from_page(page, |(number, _)| number.to_string(), row)))
}

/// What a person has found in the books.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Settle {
    /// The sink whose books hold the payment.
    sink: String,
    /// The id of the payment at Finkare.
    payment_id: String,
    /// True if the books hold the payment, once. False if they do not, so that it has to be written.
    recorded: bool,
    /// The id of the payment's record in the books, if it has one.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$")]
    target_id: Option<String>,
}

impl Settle {
    fn word(&self) -> Result<Word, Problem> {
        match (self.recorded, &self.target_id) {
            (true, Some(id)) if !is_usable(id) => Err(bad_parameter(format!(
                "`target_id` must have 1 to {LONGEST_TARGET_ID} characters, without control characters such as line breaks."
            ))),
            (true, target_id) => Ok(Word::Recorded { target_id: target_id.clone() }),
            (false, None) => Ok(Word::NotRecorded),
            (false, Some(_)) => {
                let detail = "A payment that is not in the books has no `target_id` there: leave `target_id` out, or set `recorded` to true.";
                Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", detail))
            }
        }
    }
}

fn is_usable(id: &str) -> bool {
    (1..=LONGEST_TARGET_ID).contains(&id.chars().count()) && !id.chars().any(|character| character.is_ascii_control())
}

/// The result of settling a booking.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Settlement {
    /// The sink whose books hold the payment.
    pub(crate) sink: String,
    /// The id of the payment at Finkare.
    pub(crate) payment_id: String,
    /// The id of the last event that asked for this booking. Its dispatch is the one to retry.
    pub(crate) event_id: EventId,
    /// Whether the books hold the payment, as the caller said.
    pub(crate) recorded: bool,
    /// What this means, and what to do next.
    pub(crate) next: String,
}

/// Settles an unfinished booking: says whether the books hold the payment.
///
/// Use this for a booking that stays `sending` or `written`, after looking into the books. If the payment is recorded, the
/// booking becomes `booked`. If it is not, the booking is removed, and its dispatch has to be retried, which writes the
/// payment. Requires the role operator.
#[utoipa::path(
    post,
    path = "/bookings/settle",
    operation_id = "settle_booking",
    tag = "bookings",
    request_body(content = Settle, description = "Which booking, and whether the books hold the payment"),
    responses(
        (status = 200, description = "The booking is settled", body = Settlement),
        (status = 404, description = "There is no booking of this payment in this sink: `not_found`."),
        (status = 409, description = "The booking was begun too recently, `retry_in_secs` says how long to wait: `too_early`; the booking is already finished: `finished`."),
        (status = 422, description = "The body has the wrong shape, or has a `target_id` although the payment is not recorded: `bad_body`."),
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
    if !admin.reach.shows(&caller.scope, &said.sink) {
        return Err(unknown());
    }
    // An invalid sink name has no bookings either, and an id with NUL was never stored.
    let sink = SinkName::new(&said.sink).map_err(|_| unknown())?;
    if said.payment_id.contains('\0') {
        return Err(unknown());
    }
    // Read only to name the event in the answer; the decision is made below.
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
        "a person has said whether a payment is in the books"
    );
    let dispatch = format!(
        "`finkare-relay dispatches list --event-id {} --sink {sink}` shows it, `finkare-relay dispatches retry ID` retries it",
        before.event_id
    );
    let next = if said.recorded {
        format!(
            "The payment counts as recorded and is never written. If its dispatch is not delivered yet, retry it; it will \
             then be delivered: {dispatch}."
        )
    } else {
        format!("The booking is removed. Its dispatch has to be retried, which writes the payment: {dispatch}.")
    };
    let Settle { payment_id, recorded, .. } = said;
    Ok(Json(Settlement { sink: sink.as_str().to_owned(), payment_id, event_id: before.event_id, recorded, next }))
}

fn too_early(booking: &Booking) -> Problem {
    let wait = QUIET_FOR.saturating_sub(booking.began_ago);
    // Rounded up, so that waiting this long is always enough.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail = format!(
        "The booking has been `{}` for {} s only: the worker that began it may still be running, and the books may change. \
         Look into the books again in {seconds} s and settle the booking then.",
        booking.state,
        booking.began_ago.as_secs()
    );
    Problem::new(StatusCode::CONFLICT, "too_early", detail).with("retry_in_secs", seconds)
}

fn finished(booking: &Booking, recorded: bool) -> Problem {
    let what_to_do = if recorded {
        "It already counts as recorded: there is nothing to settle."
    } else {
        "A finished booking is not written again. If the payment is no longer in the books, record it there by hand."
    };
    let detail = format!("The booking is finished: `{}`. {what_to_do}", booking.state);
    Problem::new(StatusCode::CONFLICT, "finished", detail).with("state", booking.state.as_str())
}
