//! What other events of the same invoice say that have no payment yet: one of them may be the one that a payment belongs
//! to.
//!
//! Events come in disorder, and so do payments into sight. An event whose own payment is not visible yet would take its
//! neighbour's, if that lies within the window. So a payment that another event names is that one's; and a payment that
//! another event lies nearer to, and would be given now, is counted as that one's as long as that event is young. Nobody
//! waits for the other event itself: it may stand behind this one in its invoice's line.

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

/// More undecided events of one invoice are not looked at: the newest are.
const MOST: u32 = 100;

/// The other undecided events of an invoice, as far as they can be read.
pub(super) struct Rivals(Vec<(Unassigned, Asked)>);

impl Rivals {
    /// Those of the case's invoice; none where the event names its payment itself.
    pub(super) async fn read(store: &dyn LedgerStore, case: &Case<'_>) -> Result<Self, StoreError> {
        if case.asked.payment_id.is_some() {
            return Ok(Self(Vec::new()));
        }
        let events = store.unassigned(&case.message.endpoint, &case.asked.invoice_id, MOST).await?;
        let others = events.into_iter().filter(|event| event.event_id != case.message.event_id);
        Ok(Self(others.filter_map(|event| Asked::read(&event.payload).ok().map(|asked| (event, asked))).collect()))
    }

    /// The payments that they name: no others are given these.
    pub(super) fn named(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().filter_map(|(_, asked)| asked.payment_id.clone())
    }

    /// What is chosen for the case if each rival that lies nearer to a payment has it.
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
            taken.insert(payment.id.clone());
        }
    }
}

/// Why a payment that was made only now, long after the event, is left alone for a moment: its own event may be on its way.
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
            "payment {} would fit, but was made only now, long after the event: an event of its own may be on its way",
            shown(&payment.id)
        ),
        after: growing(case.message.attempt, LONGEST_WAIT).min(left.max(SHORTEST_WAIT)),
    })
}
