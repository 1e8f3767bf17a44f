//! What invoicing sinks need of the rest of the service, and no more: who resolves an event to a payment, and the
//! ledger. The service hands both in; `try` hands in a ledger that only reads.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    model::{
        booking::{Booking, BookingToken, Invoice, NewBooking, Payment},
        dispatch::Outcome,
        id::SinkName,
        money::Cents,
    },
    sinks::Message,
    store::{
        StoreError,
        ledger::{Advance, BookingBegun},
    },
};

/// Why an event could not be resolved, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// It is too early: the payment is pending, or not visible yet.
    Wait {
        /// What is waited for.
        reason: String,
        /// For how long.
        after: Duration,
    },
    /// Finkare's API, or our store, does not work now.
    Retry {
        /// What went wrong.
        reason: String,
        /// What the other side asked for.
        after: Option<Duration>,
    },
    /// A person must decide.
    Hold {
        /// What is the matter, and what to do.
        reason: String,
        /// When to look again by ourselves.
        recheck_after: Option<Duration>,
    },
    /// Nothing can be resolved until a person has acted: Finkare refuses the API key.
    Stop {
        /// What happened, and what to do.
        reason: String,
    },
}

impl From<Unresolved> for Outcome {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::Wait { reason, after } => Outcome::Wait { reason, after },
            Unresolved::Retry { reason, after } => Outcome::Retry { reason, after },
            Unresolved::Hold { reason, recheck_after } => Outcome::Hold { reason, recheck_after },
            Unresolved::Stop { reason } => Outcome::Stop { reason },
        }
    }
}

/// Finds out which payment and which invoice an event speaks of.
#[async_trait]
pub trait Resolve: Send + Sync + fmt::Debug {
    /// The completed payment that this `payment.received` announces; decided once for each event, and kept.
    async fn payment(&self, message: &Message) -> Result<Payment, Unresolved>;

    /// The invoice that an event of any type names in `data.invoiceId`.
    async fn invoice(&self, message: &Message) -> Result<Invoice, Unresolved>;
}

/// One sink's part of the ledger; see [`crate::store::ledger::LedgerStore`] for the promises.
#[async_trait]
pub trait Ledger: Send + Sync + fmt::Debug {
    /// The sink.
    fn sink(&self) -> &SinkName;

    /// What is known of a payment.
    async fn booking(&self, payment_id: &str) -> Result<Option<Booking>, StoreError>;

    /// Writes down that a payment is about to be written.
    async fn begin(&self, new: &NewBooking, take_over: Option<BookingToken>) -> Result<BookingBegun, StoreError>;

    /// Nothing was written, for certain.
    async fn withdraw(&self, payment_id: &str, token: BookingToken) -> Result<bool, StoreError>;

    /// Moves a booking on; answers what there is instead, if it was not ours.
    async fn advance(
        &self,
        payment_id: &str,
        token: BookingToken,
        advance: &Advance,
    ) -> Result<Option<Booking>, StoreError>;

    /// What we have written of an invoice so far, by its number in the target.
    async fn booked_cents(&self, invoice_number: &str) -> Result<Cents, StoreError>;
}
