//! Chooses which of an invoice's payments an event announces. A pure function of the payments and the events that have them.
//!
//! No choice is a guess that could lose a payment or book it twice. The payment *nearest in time* to the event decides: if it
//! is completed it is taken, and if it is not, no other one is taken instead. "Free" only means that no known event has the
//! payment: a payment that was booked by hand before the relay existed, or whose event never came, stays free forever. A
//! payment that is dated further from the event than the window is therefore never taken, and neither is one without a
//! date.
//!
//! Among payments that a bookkeeper cannot distinguish (time, method, currency) the smallest id is taken. Among other payments
//! that fit equally well only a person can choose.

use finkare::{PaidAt, Payment, UnreadableItem};
use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::asked::Asked;

/// The word for a payment that has arrived (<https://docs.finkare.io/api-reference/payments>, as are the next three).
pub(super) const COMPLETED: &str = "completed";
/// The word for a payment that is on its way; a SEPA debit may be pending for days.
pub(super) const PENDING: &str = "pending";
/// The word for a payment that has failed.
pub(super) const FAILED: &str = "failed";
/// The word for a payment that was refunded.
pub(super) const REFUNDED: &str = "refunded";

/// If another payment has no date yet or cannot be read: a payment dated nearer to the event than this is still the event's;
/// one that is further away may be an earlier payment.
const CLOSE: SignedDuration = SignedDuration::from_hours(24);

/// The result of the search. `other` is a completed payment that fits but is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    /// This payment is the event's.
    Take(&'a Payment),
    /// These two payments fit equally well, and are different.
    Ambiguous(&'a Payment, &'a Payment),
    /// This payment is the event's as soon as it is completed.
    Pending { payment: &'a Payment, other: Option<&'a Payment> },
    /// This payment has a status whose meaning is not documented.
    Unknown { payment: &'a Payment, other: Option<&'a Payment> },
    /// This payment has failed or was refunded.
    Lost { payment: &'a Payment, other: Option<&'a Payment> },
    /// This payment may be the event's, but Finkare's data about it cannot be read.
    Unreadable { payment: &'a UnreadableItem, other: Option<&'a Payment> },
    /// The payment that the body names differs from what the body says; the text explains it.
    Contradicts(String),
    /// Every payment that fits belongs to another event; `payment` is one of them.
    Taken { payment: &'a Payment, other: Option<&'a Payment> },
    /// No payment is dated near enough to the event; this one is the nearest, or has no date.
    Far(&'a Payment),
    /// No payment fits.
    Nothing,
}

/// How a status is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The payment has arrived.
    Completed,
    /// The payment is on its way.
    Pending,
    /// The payment has failed or was refunded.
    Lost,
    /// The word is not documented.
    Unknown,
}

impl Standing {
    /// The treatment of a payment.
    pub(super) fn of(payment: &Payment) -> Self {
        match payment.status.as_str() {
            COMPLETED => Self::Completed,
            PENDING => Self::Pending,
            FAILED | REFUNDED => Self::Lost,
            _ => Self::Unknown,
        }
    }
}

/// The input of the choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a, 't> {
    /// The invoice's payments.
    pub(super) payments: &'a [Payment],
    /// The invoice's payments that cannot be read.
    pub(super) unreadable: &'a [UnreadableItem],
    /// The ids of payments that belong to other events.
    pub(super) taken: &'t HashSet<String>,
    /// How far a payment may be dated from the event. A payment further away is not the event's, unless the body names it.
    pub(super) window: SignedDuration,
}

/// When the event says that its payment was made: `data.paidAt`, else `timestamp`, else when it was received.
pub(super) fn event_time(asked: &Asked, received_at: Timestamp) -> PaidAt {
    asked.paid_at.unwrap_or_else(|| PaidAt::At(asked.timestamp.unwrap_or(received_at)))
}

/// Chooses among an invoice's payments. `received_at` is used if the body has no time.
pub(super) fn choose<'a>(asked: &Asked, received_at: Timestamp, field: Field<'a, '_>) -> Choice<'a> {
    if let Some(id) = &asked.payment_id {
        return named(asked, id, field);
    }
    let Field { payments, taken, window, .. } = field;
    let fitting: Vec<&Payment> = payments.iter().filter(|payment| contradiction(asked, payment).is_none()).collect();
    let unreadable = field.unreadable.iter().find(|payment| payment.id.as_ref().is_none_or(|id| !taken.contains(id)));
    let free: Vec<&Payment> = fitting.iter().copied().filter(|payment| !taken.contains(payment.id.as_str())).collect();
    let at = event_time(asked, received_at);
    let distance = |payment: &Payment| payment.paid_at.map(|paid_at| paid_at.distance(at));
    let is_within = |payment: &Payment| distance(payment).is_some_and(|distance| distance <= window);
    // A payment that is clearly not the event's is not mentioned.
    let completed = free.iter().copied().filter(|payment| Standing::of(payment) == Standing::Completed);
    let other = completed.min_by_key(|payment| {
        let distance = distance(payment);
        (distance.is_none(), distance, &payment.id)
    });
    // Open payments without a date: their distance is not known yet.
    let dateless = free.iter().copied().filter(|payment| payment.paid_at.is_none());
    let dateless: Vec<&Payment> =
        dateless.filter(|payment| matches!(Standing::of(payment), Standing::Pending | Standing::Unknown)).collect();

    let nearest = free.iter().copied().filter(|payment| is_within(payment)).filter_map(distance).min();
    let Some(nearest) = nearest else {
        if let Some(payment) = first(&dateless) {
            return unfinished(payment, other);
        }
        if let Some(payment) = unreadable {
            return Choice::Unreadable { payment, other };
        }
        if let Some(payment) = fitting.iter().copied().find(|payment| is_within(payment) || free.is_empty()) {
            return Choice::Taken { payment, other };
        }
        let lost = first(&free).filter(|payment| payment.paid_at.is_none() && Standing::of(payment) == Standing::Lost);
        return match (other, lost) {
            (Some(payment), _) => Choice::Far(payment),
            (None, Some(payment)) => Choice::Lost { payment, other: None },
            (None, None) => {
                let furthest = |payment: &&Payment| (distance(payment).is_none(), distance(payment));
                free.iter().copied().min_by_key(furthest).map_or(Choice::Nothing, Choice::Far)
            }
        };
    };
    let level: Vec<&Payment> = free.iter().copied().filter(|payment| distance(payment) == Some(nearest)).collect();
    let of_level = |standing| level.iter().copied().filter(move |payment| Standing::of(payment) == standing);
    let Some(best) = of_level(Standing::Completed).min_by_key(|payment| &payment.id) else {
        return first(&level).map_or(Choice::Nothing, |payment| unfinished(payment, other));
    };
    if let Some(rival) = of_level(Standing::Completed).find(|rival| !same(rival, best)) {
        return Choice::Ambiguous(best, rival);
    }
    // A failed payment is not the announced one if another payment of that time has arrived.
    let open =
        level.iter().copied().filter(|payment| !matches!(Standing::of(payment), Standing::Completed | Standing::Lost));
    if let Some(payment) = open.filter(|payment| !same(payment, best)).min_by_key(|payment| &payment.id) {
        return unfinished(payment, Some(best));
    }
    if nearest > CLOSE {
        if let Some(payment) = first(&dateless) {
            return unfinished(payment, Some(best));
        }
        if let Some(payment) = unreadable {
            return Choice::Unreadable { payment, other: Some(best) };
        }
    }
    Choice::Take(best)
}

/// The payment that the body names: its id decides, regardless of its date.
fn named<'a>(asked: &Asked, id: &str, field: Field<'a, '_>) -> Choice<'a> {
    let Some(payment) = field.payments.iter().find(|payment| payment.id == id) else {
        let unreadable = field.unreadable.iter().find(|payment| payment.id.as_deref().is_none_or(|known| known == id));
        return unreadable.map_or(Choice::Nothing, |payment| Choice::Unreadable { payment, other: None });
    };
    if let Some(what) = contradiction(asked, payment) {
        return Choice::Contradicts(what);
    }
    if field.taken.contains(id) {
        return Choice::Taken { payment, other: None };
    }
    match Standing::of(payment) {
        Standing::Completed => Choice::Take(payment),
        Standing::Pending | Standing::Unknown | Standing::Lost => unfinished(payment, None),
    }
}

/// The order of payments that are not completed: pending ones first, lost ones last; then by id.
fn first<'a>(payments: &[&'a Payment]) -> Option<&'a Payment> {
    let rank = |payment: &Payment| match Standing::of(payment) {
        Standing::Pending => 0,
        Standing::Unknown => 1,
        Standing::Lost => 2,
        Standing::Completed => 3,
    };
    payments.iter().copied().min_by_key(|payment| (rank(payment), &payment.id))
}

/// The choice for a payment that is probably the event's and is not completed.
fn unfinished<'a>(payment: &'a Payment, other: Option<&'a Payment>) -> Choice<'a> {
    match Standing::of(payment) {
        Standing::Pending => Choice::Pending { payment, other },
        Standing::Lost => Choice::Lost { payment, other },
        Standing::Unknown | Standing::Completed => Choice::Unknown { payment, other },
    }
}

/// True if a bookkeeper cannot distinguish the two payments.
fn same(one: &Payment, other: &Payment) -> bool {
    let currency = |payment: &Payment| payment.currency.as_deref().map(str::to_ascii_uppercase);
    (one.paid_at, &one.method, currency(one)) == (other.paid_at, &other.method, currency(other))
}

/// Why a payment is not the one in the body; `None` if it may be.
pub(super) fn contradiction(asked: &Asked, payment: &Payment) -> Option<String> {
    let id = &payment.id;
    if payment.invoice_id != asked.invoice_id {
        return Some(format!(
            "payment {id} belongs to invoice {} at Finkare, but the event says invoice {}",
            payment.invoice_id, asked.invoice_id
        ));
    }
    if payment.amount_cents != asked.amount.0 {
        return Some(format!(
            "payment {id} has {} cents at Finkare, but the event says {} cents",
            payment.amount_cents, asked.amount.0
        ));
    }
    match (&payment.currency, &asked.currency) {
        (Some(theirs), Some(said)) if !theirs.eq_ignore_ascii_case(said) => {
            Some(format!("payment {id} is in {theirs} at Finkare, but the event says {said}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
