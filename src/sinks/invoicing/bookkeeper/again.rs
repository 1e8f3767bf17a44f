//! Looks again at a payment that was booked before: for a reconciliation. Only reads.

use finkare::PaidAt;

use super::{Bookkeeper, Books, Entry, Trouble, Verified};
use crate::{
    model::{
        booking::{BookingState, Invoice, Payment},
        chain::Chain,
        money::Cents,
    },
    sinks::{StillShows, Unseen},
};

impl<B: Books> Bookkeeper<B> {
    /// Reads back what the ledger calls booked. What a person has noted as seen has no entry of its own.
    pub(super) async fn look_again(&self, payment_id: &str) -> Result<StillShows, Unseen> {
        let unusable =
            |error| Unseen { reason: format!("the ledger could not be used: {}", Chain(&error)), after: None };
        let Some(booking) = self.ledger.booking(&self.sink, payment_id).await.map_err(unusable)? else {
            return Ok(StillShows::NotBooked);
        };
        let (BookingState::Booked, Some(target_id)) = (booking.state, booking.target_id) else {
            return Ok(StillShows::NotBooked);
        };
        let invoice = Invoice {
            id: booking.invoice_id,
            number: booking.invoice_number.clone(),
            amount_cents: None,
            currency: Some(booking.currency.clone()),
            status: None,
            debtor: None,
        };
        // The day and the method are not looked at: only whether it is there.
        let paid_at = PaidAt::At(booking.changed_at);
        let payment = Payment {
            id: booking.payment_id,
            endpoint: String::new(),
            invoice,
            amount_cents: booking.amount_cents,
            currency: booking.currency,
            method: None,
            paid_at,
        };
        let date = paid_at.date(&self.options.timezone);
        let entry = Entry { payment, number: booking.invoice_number, date, window_days: None };
        match self.books.verify(&entry.wanted(Cents::ZERO, false), None, &target_id).await {
            Ok(Verified::Missing { what }) => Ok(StillShows::Gone { system: self.system().to_owned(), what }),
            Ok(Verified::Right | Verified::Wrong { .. }) => Ok(StillShows::There),
            Err(Trouble::TooMany { reason, after }) => Err(Unseen { reason, after: Some(after) }),
            Err(trouble) => Err(Unseen { reason: trouble.reason().to_owned(), after: None }),
        }
    }
}
