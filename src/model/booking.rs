//! A payment on its way into the books: what Finkare says of it, and what was written of it in which sink.
//!
//! ```text
//! event ──assigned──▶ payment ──┬─▶ booking in sink A: reserved ─▶ sending ─▶ written ─▶ booked
//!                               └─▶ booking in sink B: seen
//! ```
//!
//! An event names an invoice and an amount, not a payment. Which payment it announces is decided once and stored
//! ([`Assignment`]). No two events of an endpoint get the same payment: two equal instalments are two payments, and a
//! replay is no new payment. What a sink wrote of a payment is its [`Booking`]: at most one for each sink and
//! payment, regardless of which event asked for it.

use std::{fmt, str::FromStr, time::Duration};

use finkare::PaidAt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    id::{EventId, SinkName},
    money::Cents,
};

/// An invoice, as Finkare knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invoice {
    /// The invoice's id at Finkare.
    pub id: String,
    /// The number in the company's own books.
    pub number: String,
    /// In cents, with VAT as far as is known.
    pub amount_cents: Option<Cents>,
    /// Such as `EUR`.
    pub currency: Option<String>,
    /// Free text: only `in_recovery` is documented.
    pub status: Option<String>,
    /// The debtor's name, if Finkare gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debtor: Option<String>,
}

/// A completed payment, as Finkare knows it, with all that a bookkeeper needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// The payment's id at Finkare: the same in every event, retry and replay.
    pub id: String,
    /// The endpoint through which we know of it.
    pub endpoint: String,
    /// The invoice that it pays.
    pub invoice: Invoice,
    /// More than zero.
    pub amount_cents: Cents,
    /// Three capital letters, such as `EUR`.
    pub currency: String,
    /// `card`, `bank_transfer`, `sepa_debit`, `payment_link`, or another word of Finkare's.
    pub method: Option<String>,
    /// When it was paid: a time, or a day.
    pub paid_at: PaidAt,
}

/// Which payment an event announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The event.
    pub event_id: EventId,
    /// Its endpoint. A payment has at most one event in each.
    pub endpoint: String,
    /// Finkare's id of the payment.
    pub payment_id: String,
    /// Finkare's id of the invoice.
    pub invoice_id: String,
    /// In cents.
    pub amount_cents: Cents,
}

/// What is known of the payment that an event announces, for searches. The payment may not be decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The event.
    pub event_id: EventId,
    /// Finkare's id of the invoice.
    pub invoice_id: String,
    /// In cents, as the event says.
    pub amount_cents: Cents,
    /// Such as `EUR`.
    pub currency: Option<String>,
    /// Finkare's id of the payment; while it is not decided, of the most likely payment.
    pub payment_id: Option<String>,
    /// The invoice's number, as Finkare knows it.
    pub invoice_number: Option<String>,
    /// The debtor's name. Of an event whose payload is gone, it is not stored.
    pub debtor: Option<String>,
    /// How it was paid, as [`Payment::method`].
    pub method: Option<String>,
    /// When it was paid: a time, or a day.
    pub paid_at: Option<PaidAt>,
}

/// What was learned of the payment that an event announces when it was found. It is stored as long as the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The event.
    pub event_id: EventId,
    /// Its endpoint.
    pub endpoint: String,
    /// Finkare's id of the payment.
    pub payment_id: String,
    /// The debtor's name, until the invoice is erased.
    pub debtor: Option<String>,
    /// How it was paid, as [`Payment::method`].
    pub method: Option<String>,
    /// When it was paid: a time, or a day.
    pub paid_at: Option<PaidAt>,
}

impl Learned {
    /// True if it is about the payment of this booking.
    pub fn is_of(&self, booking: &Booking) -> bool {
        self.event_id == booking.event_id && self.payment_id == booking.payment_id
    }
}

/// Reads a stored time or day of a payment. One that cannot be read is unknown: nothing is decided by it.
pub fn paid_at(text: Option<&str>) -> Option<PaidAt> {
    text?.parse().ok()
}

/// Proves that a booking is ours to continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BookingToken(pub Uuid);

impl BookingToken {
    /// A new token.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

/// The state of a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BookingState)]
pub enum BookingState {
    /// A worker checks whether the payment can be written. Nothing has been sent, for certain.
    Reserved,
    /// It is about to be written, or was written, or it is unknown which: the target has to be asked before anything
    /// else is written.
    Sending,
    /// The target has accepted it, and it has not been read back yet.
    Written,
    /// It is recorded in the target as it should be.
    Booked,
    /// The target shows it, or the whole invoice, as paid; we wrote nothing.
    Seen,
}

impl BookingState {
    /// Every state, in the order of a booking's life.
    pub const ALL: [BookingState; 5] = [
        BookingState::Reserved,
        BookingState::Sending,
        BookingState::Written,
        BookingState::Booked,
        BookingState::Seen,
    ];

    /// The state's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            BookingState::Reserved => "reserved",
            BookingState::Sending => "sending",
            BookingState::Written => "written",
            BookingState::Booked => "booked",
            BookingState::Seen => "seen",
        }
    }
}

impl fmt::Display for BookingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is not a state of a booking.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not one of `reserved`, `sending`, `written`, `booked`, `seen`")]
pub struct UnknownBookingState(String);

impl FromStr for BookingState {
    type Err = UnknownBookingState;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownBookingState(text.to_owned()))
    }
}

/// A booking that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBooking {
    /// The sink.
    pub sink: SinkName,
    /// Finkare's id of the payment.
    pub payment_id: String,
    /// The event that asks for it.
    pub event_id: EventId,
    /// Finkare's id of the invoice.
    pub invoice_id: String,
    /// The number by which the target knows the invoice.
    pub invoice_number: String,
    /// In cents.
    pub amount_cents: Cents,
    /// Such as `EUR`.
    pub currency: String,
    /// Our token; it has to be given when the booking is continued.
    pub token: BookingToken,
}

/// What was written of a payment in a sink: a line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// The sink.
    pub sink: String,
    /// Finkare's id of the payment.
    pub payment_id: String,
    /// The event that asked for it last.
    pub event_id: EventId,
    /// Finkare's id of the invoice.
    pub invoice_id: String,
    /// The number by which the target knows the invoice.
    pub invoice_number: String,
    /// In cents.
    pub amount_cents: Cents,
    /// Such as `EUR`.
    pub currency: String,
    /// Its state.
    pub state: BookingState,
    /// The target's own id of what was written, as soon as it is known.
    pub target_id: Option<String>,
    /// A note for a person.
    pub note: Option<String>,
    /// The token of the worker that may continue it while it is not finished.
    pub token: BookingToken,
    /// When it was reserved, was taken over, or became `sending`: the latest of these, by the store's clock.
    pub began_at: Timestamp,
    /// How long ago that was when the booking was read, by the store's clock.
    pub began_ago: Duration,
    /// For how much longer a write that was begun may still be carried out, at the time of reading and by the store's
    /// clock; zero once that is over. `None` if nothing was sent, or if an earlier version sent it and did not store
    /// the time.
    pub settles_in: Option<Duration>,
    /// When its state or its values last changed, by the store's clock.
    pub changed_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for state in BookingState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert!("done".parse::<BookingState>().unwrap_err().to_string().contains("`booked`"));
    }
}
