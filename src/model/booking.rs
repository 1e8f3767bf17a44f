//! A payment on its way into the books: what Finkare says of it, and what was written of it where.
//!
//! ```text
//! event ──assigned──▶ payment ──┬─▶ booking in sink A: reserved ─▶ sending ─▶ written ─▶ booked
//!                               └─▶ booking in sink B: seen
//! ```
//!
//! An event names an invoice and an amount, not a payment. Which payment it announces is decided once and kept
//! ([`Assignment`]): no two events of an endpoint get the same payment, so that two equal instalments are two
//! payments and a replay is none. What a sink wrote of a payment is its [`Booking`]: at most one for each sink and
//! payment, whatever event asked for it.

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
    /// Finkare's id of it.
    pub id: String,
    /// The number in the company's own books.
    pub number: String,
    /// In cents, with VAT as far as is known.
    pub amount_cents: Option<Cents>,
    /// Such as `EUR`.
    pub currency: Option<String>,
    /// Free text: only `in_recovery` is documented.
    pub status: Option<String>,
}

/// A completed payment, as Finkare knows it, with all that a bookkeeper needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// Finkare's id of it: the same in every event, retry and replay.
    pub id: String,
    /// Through which endpoint we know of it.
    pub endpoint: String,
    /// Of which invoice.
    pub invoice: Invoice,
    /// More than zero.
    pub amount_cents: Cents,
    /// Three capital letters, such as `EUR`.
    pub currency: String,
    /// `card`, `bank_transfer`, `sepa_debit`, `payment_link`, or whatever Finkare says.
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

/// What is known of the payment that an event announces, for whoever looks for it; decided or not.
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
    /// Finkare's id of the payment; of one that is not decided, the one that it seems to be.
    pub payment_id: Option<String>,
    /// The invoice's number, as Finkare knows it.
    pub invoice_number: Option<String>,
}

/// Proves that a booking is ours to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BookingToken(pub Uuid);

impl BookingToken {
    /// A new one.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

/// How far a booking has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BookingState)]
pub enum BookingState {
    /// Somebody looks whether it can be written. Nothing has been sent, for certain.
    Reserved,
    /// It is about to be written, or was, or neither is known: the target has to be asked before anything is written.
    Sending,
    /// The target has taken it, and it has not been read back yet.
    Written,
    /// It stands in the target as it should.
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

    /// The word for it.
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

/// A word that is no state of a booking.
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
    /// In which sink.
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
    /// Ours; asked for when the booking goes on.
    pub token: BookingToken,
}

/// What was written of a payment in a sink: a line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// In which sink.
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
    /// How far it has come.
    pub state: BookingState,
    /// The target's own id of what was written, as soon as it is known.
    pub target_id: Option<String>,
    /// What a person may want to know of it.
    pub note: Option<String>,
    /// Whose it is to go on with while it is not finished.
    pub token: BookingToken,
    /// When it was reserved, or taken over, or came to be `sending`: the latest of these; by the store's clock.
    pub began_at: Timestamp,
    /// How long that had been ago when it was read, by the store's clock.
    pub began_ago: Duration,
    /// For how much longer a write that was begun may still be carried out, when it was read and by the store's clock;
    /// nothing once that is over. `None` if nothing was sent, or by an earlier version, which did not write it down.
    pub settles_in: Option<Duration>,
    /// When it came to its state, or last learnt something in it; by the store's clock.
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
