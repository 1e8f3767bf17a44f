//! The other events of the same invoice that have no payment yet: a payment may belong to one of them.
//!
//! Events arrive in any order, and payments become visible in any order. An event whose own payment is not visible yet would
//! take another event's payment, if that is within the window. Therefore a payment that another event names belongs to that
//! event. A payment that another event is nearer to, and would get now, counts as that event's while that event is young.
//! No event waits for another event, which may come after it in the invoice's order.

use finkare::{PaidAt, Payment};
use std::time::Duration;

use jiff::SignedDuration;

use super::{
    Asked, Unresolved,
    case::{Case, LONGEST_WAIT, SHORTEST_WAIT, growing},
    choice::{Choice, Field, choose, contradiction, event_time},
    shown,
};
use crate::{
    model::clock,
    store::{
        StoreError,
        ledger::{LedgerStore, Unassigned},
    },
};

/// The most undecided events of one invoice that are considered; the newest count.
const MOST: u32 = 100;

/// The other undecided events of an invoice, as far as they can be read.
pub(super) struct Rivals(Vec<(Unassigned, Asked)>);

impl Rivals {
    /// The undecided events of the case's invoice; none if the event itself names its payment.
    pub(super) async fn read(store: &dyn LedgerStore, case: &Case<'_>) -> Result<Self, StoreError> {
        if case.asked.payment_id.is_some() {
            return Ok(Self(Vec::new()));
        }
        let events = store.unassigned(&case.message.endpoint, &case.asked.invoice_id, MOST).await?;
        let others = events.into_iter().filter(|event| event.event_id != case.message.event_id);
        Ok(Self(others.filter_map(|event| Asked::read(&event.payload).ok().map(|asked| (event, asked))).collect()))
    }

    /// The payments that they name, which no other event gets.
    pub(super) fn named(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().filter_map(|(_, asked)| asked.payment_id.clone())
    }

    /// The choice for the case if each rival gets the payment that it is nearer to.
    pub(super) fn choose<'a>(&self, case: &Case<'_>, field: Field<'a, '_>, patience: Duration) -> Choice<'a> {
        let now = clock::now();
        let is_young = |event: &Unassigned| clock::since(event.received_at, now) < patience;
        let may_have =
            |(event, asked): &&(Unassigned, Asked)| event.is_open && asked.payment_id.is_none() && is_young(event);
        let mut left: Vec<&(Unassigned, Asked)> = self.0.iter().filter(may_have).collect();
        let mut taken = field.taken.clone();
        loop {
            let field = Field { taken: &taken, ..field };
            let choice = choose(&case.asked, case.message.received_at, field);
            let Choice::Take(payment) = choice else { return choice };
            let Some(paid_at) = payment.paid_at.filter(|_| case.asked.payment_id.is_none()) else { return choice };
            let own = event_time(&case.asked, case.message.received_at).distance(paid_at);
            let distance = |event: &Unassigned, asked: &Asked| event_time(asked, event.received_at).distance(paid_at);
            let would_get_it = |event: &Unassigned, asked: &Asked| {
                distance(event, asked) < own
                    && contradiction(asked, payment).is_none()
                    && choose(asked, event.received_at, field) == Choice::Take(payment)
            };
            let nearer = left.iter().enumerate().filter(|(_, (event, asked))| would_get_it(event, asked));
            let nearest = nearer.min_by_key(|(_, (event, asked))| (distance(event, asked), event.event_id));
            let Some((place, _)) = nearest else { return choice };
            left.swap_remove(place);
            taken.insert(payment.id.to_string());
        }
    }
}

/// Why a payment that was made just now, long after the event, is not taken yet: its own event may be on its way.
pub(super) fn too_fresh(case: &Case<'_>, payment: &Payment, patience: Duration) -> Option<Unresolved> {
    if case.asked.payment_id.is_some() {
        return None;
    }
    let PaidAt::At(paid_at) = payment.paid_at? else { return None };
    let PaidAt::At(own) = event_time(&case.asked, case.message.received_at) else { return None };
    let now = clock::now();
    let is_later = paid_at.duration_since(own) > SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    let left = patience.checked_sub(clock::since(paid_at, now)).filter(|left| !left.is_zero())?;
    (is_later && paid_at <= now).then(|| Unresolved::Wait {
        reason: format!(
            "payment {} would fit, but was made only now, long after the event: its own event may still arrive",
            shown(&payment.id)
        ),
        after: growing(case.message.attempt, LONGEST_WAIT).min(left.max(SHORTEST_WAIT)),
    })
}
