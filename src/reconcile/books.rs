//! Looks into the books: is what the ledger calls booked still there?
//!
//! Only books that can be looked at are (Facturation.PRO, eFactori), and each payment of the period costs a call or two there,
//! at the pace that the sink keeps for all its calls. Books that do not answer are left out and this is logged: what Finkare
//! says does not wait for them.

use std::{sync::Arc, time::Duration};

use finkare::Payment;

use super::{Target, compare::Period};
use crate::{
    model::{
        booking::BookingState,
        money::Cents,
        reconciliation::{Difference, DifferenceKind},
    },
    sinks::{Sink, StillShows, Unseen},
    store::reconciliations::Line,
};

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How many times books that ask for a pause are looked at.
const LOOKS: u32 = 20;
/// The longest pause that is waited for.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// The payments of an invoice in this period that the ledger calls booked and the books no longer show.
pub(super) async fn gone(
    targets: &[Target],
    period: &Period,
    invoice_id: &str,
    payments: &[Payment],
    lines: &[Line],
) -> Vec<Difference> {
    let mut gone = Vec::new();
    for line in lines.iter().filter(|line| line.state == BookingState::Booked) {
        let is_it = |payment: &&Payment| payment.id == line.payment_id && payment.invoice_id == invoice_id;
        let Some(payment) = payments.iter().find(is_it) else { continue };
        if payment.paid_at.is_none_or(|at| !period.has(at)) {
            continue;
        }
        let target = targets.iter().find(|target| target.route.sink.as_str() == line.sink);
        let Some(books) = target.and_then(|target| target.books.as_ref()?.upgrade()) else { continue };
        match look(&books, &line.payment_id).await {
            Some(Ok(StillShows::Gone { system, what })) => gone.push(Difference {
                kind: DifferenceKind::NotInBooks,
                payment_id: Some(payment.id.to_string()),
                invoice_id: Some(payment.invoice_id.to_string()),
                amount_cents: Some(line.amount_cents),
                currency: Some(line.currency.clone()),
                paid_at: payment.paid_at.map(|at| at.to_string()),
                sink: Some(line.sink.clone()),
                detail: format!(
                    "the relay recorded {} in {system} and read it back there, and {system} does not show it any more ({what}): \
                     find out who removed it. The relay records no payment twice; if it belongs there, record it by hand.",
                    Cents(line.amount_cents).of(&line.currency)
                ),
                event_id: None,
            }),
            Some(Err(unseen)) => tracing::warn!(
                sink.name = line.sink, payment.id = line.payment_id, reason = unseen.reason,
                "the books could not be looked at for a reconciliation"
            ),
            Some(Ok(StillShows::There | StillShows::NotBooked)) | None => {}
        }
    }
    gone
}

/// Adds what is gone, except where that is right: what was refunded after it was booked, and was undone in the books, differs no
/// longer.
pub(super) fn settle(differences: &mut Vec<Difference>, gone: Vec<Difference>) {
    for one in gone {
        let is_undone = |other: &Difference| {
            other.kind == DifferenceKind::RefundedAfterBooking
                && (&other.payment_id, &other.sink) == (&one.payment_id, &one.sink)
        };
        match differences.iter().position(is_undone) {
            Some(place) => drop(differences.remove(place)),
            None => differences.push(one),
        }
    }
}

/// One look, after the pauses that the books ask for.
async fn look(books: &Arc<dyn Sink>, payment_id: &str) -> Option<Result<StillShows, Unseen>> {
    for _ in 0..LOOKS {
        let unseen = match tokio::time::timeout(TIMEOUT, books.still_shows(payment_id)).await {
            Err(_) => Unseen { reason: format!("no answer within {TIMEOUT:?}"), after: None },
            Ok(Some(Err(unseen))) => unseen,
            Ok(seen) => return seen,
        };
        match unseen.after {
            Some(after) if after <= LONGEST_PAUSE => tokio::time::sleep(after).await,
            _ => return Some(Err(unseen)),
        }
    }
    Some(Err(Unseen { reason: format!("the books asked for a pause {LOOKS} times"), after: None }))
}
