//! Finds rivals: payments in the books of the same amount, about the same day, that the relay did not book.
//!
//! A person may have typed such a payment in, or a bank statement may have brought it, without our marker. The ledger tells
//! which payments the relay booked: by the payment whose marker they bear, or by their id if the marker is gone. So one
//! instalment that the relay booked is not a rival of the next.

use super::{Bookkeeper, Ends, LINES_AT_ONCE};
use crate::{
    model::booking::BookingState,
    sinks::invoicing::{
        books::{Books, Finding, Rival, Wanted},
        options::OnSameAmount,
    },
    store::{StoreError, ledger::BookingFilter},
};

impl<B: Books> Bookkeeper<B> {
    /// Searches the books, and holds the payment if they have a payment of the same amount that the relay did not book.
    pub(super) async fn look(&self, wanted: &Wanted<'_>) -> Result<Finding<B::Invoice>, Ends> {
        let found = self.books.find(wanted).await?;
        let Finding::Open { invoice, rivals } = found else { return Ok(found) };
        if self.options.on_same_amount == OnSameAmount::Hold {
            for rival in &rivals {
                if !self.is_ours(rival).await? {
                    return Ok(Finding::Hold { instruction: self.perhaps_the_same(wanted, rival), recheck: true });
                }
            }
        }
        Ok(Finding::Open { invoice, rivals })
    }

    /// Whether the relay booked this entry for another payment: by its marker, or by its id if the marker is gone.
    async fn is_ours(&self, rival: &Rival) -> Result<bool, StoreError> {
        let of_payment = rival
            .payment_id
            .as_ref()
            .map(|payment_id| BookingFilter { payment_id: Some(payment_id.clone()), ..BookingFilter::default() });
        let of_entry = BookingFilter {
            sink: Some(self.sink.to_string()),
            target_id: Some(rival.target_id.clone()),
            ..BookingFilter::default()
        };
        for filter in of_payment.into_iter().chain([of_entry]) {
            let page = self.ledger.bookings(&filter, LINES_AT_ONCE).await?;
            // A line that is only reserved was not sent.
            if page.rows.iter().any(|(_, line)| line.state != BookingState::Reserved) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn perhaps_the_same(&self, wanted: &Wanted<'_>, rival: &Rival) -> String {
        let by = match &rival.payment_id {
            Some(other) => {
                format!("with the marker of Finkare's payment {other}, which is not in the ledger here")
            }
            None => "which this service did not book".to_owned(),
        };
        let recognised =
            self.books.recognised_by(wanted).map(|how| format!(", or {how} there and retry it")).unwrap_or_default();
        format!(
            "the payment of {} on invoice {} was not booked: {} has {} already, {by}. If it is the same money, cancel this \
             dispatch (`dispatches cancel`){recognised}. If it is another payment, book this one there by hand and cancel this \
             dispatch; or set `on_same_amount = \"book\"` for this sink, reload, and retry it (`dispatches retry`)",
            wanted.in_words(),
            wanted.number,
            self.system(),
            rival.what
        )
    }
}
