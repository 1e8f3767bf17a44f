//! Which payments the events of one invoice announce, all at once: for a reconciliation.
//!
//! The rule is the resolver's own (`choice`): what an event names it announces; else the payment nearest in time, within the
//! window. Of several events that would get the same payment, the nearest gets it. Nothing is stored.

use std::collections::HashSet;

use finkare::{PaidAt, Payment, UnreadableItem};
use jiff::{SignedDuration, Timestamp};

use super::{
    asked::Asked,
    choice::{Choice, Field, choose, event_time},
};
use crate::model::id::EventId;

/// An event that announces a payment, none of which is assigned to it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The event.
    pub event_id: EventId,
    /// When it was received.
    pub received_at: Timestamp,
    /// The verified message.
    pub payload: Vec<u8>,
}

/// What an event announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announces {
    /// The payment with this id.
    Payment(String),
    /// The payment with this id, by its own word, and Finkare's data differ; the text says how.
    Contradicts {
        /// The payment that the event names.
        payment_id: String,
        /// How.
        how: String,
    },
    /// Nothing yet: its payment is not completed, is not readable, or a person has to choose among several.
    Open,
    /// Other events have already announced every payment that fits; this is one of them.
    Repeated(String),
    /// Finkare has no such payment.
    Nothing,
    /// Its body cannot be read; the text says why.
    Unreadable(String),
}

/// An event with what it announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The event.
    pub event_id: EventId,
    /// What it announces.
    pub announces: Announces,
    /// The amount in cents, as the event says; `None` if it cannot be read.
    pub amount_cents: Option<i64>,
    /// The currency, if the event says it.
    pub currency: Option<String>,
    /// The payment that the event names.
    pub names: Option<String>,
    /// When the payment was made, as the event says.
    pub at: PaidAt,
}

/// When the payment was made, as the event says; for a body that cannot be read, when it was received.
pub fn time(event: &Announcement) -> PaidAt {
    Asked::read(&event.payload).map_or(PaidAt::At(event.received_at), |asked| event_time(&asked, event.received_at))
}

/// Decides what each of these events announces. `taken` are the payments that belong to other events.
#[expect(clippy::implicit_hasher, reason = "one caller, and the choice takes this type")]
pub fn announced(
    payments: &[Payment],
    unreadable: &[UnreadableItem],
    taken: &HashSet<String>,
    window: SignedDuration,
    events: &[Announcement],
) -> Vec<Matched> {
    let mut taken = taken.clone();
    let mut found: Vec<Option<Matched>> = Vec::new();
    let mut open: Vec<(usize, Asked)> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        match Asked::read(&event.payload) {
            Ok(asked) => {
                found.push(None);
                open.push((place, asked));
            }
            Err(problem) => found.push(Some(Matched {
                event_id: event.event_id,
                announces: Announces::Unreadable(problem),
                amount_cents: None,
                currency: None,
                names: None,
                at: PaidAt::At(event.received_at),
            })),
        }
    }
    let matched = |place: usize, asked: &Asked, announces: Announces| Matched {
        event_id: events[place].event_id,
        announces,
        amount_cents: Some(asked.amount.0),
        currency: asked.currency.clone(),
        names: asked.payment_id.clone(),
        at: event_time(asked, events[place].received_at),
    };
    // Each round settles the event that is nearest to the payment that it gets. What an event names is nearest of all.
    loop {
        let field = Field { payments, unreadable, taken: &taken, window };
        let gets = |(at, (place, asked)): (usize, &(usize, Asked))| {
            let event = &events[*place];
            let Choice::Take(payment) = choose(asked, event.received_at, field) else { return None };
            let distance = payment.paid_at.map(|paid_at| event_time(asked, event.received_at).distance(paid_at));
            Some((asked.payment_id.is_none(), distance, event.event_id, at, payment.id.to_string()))
        };
        let nearest = open.iter().enumerate().filter_map(gets).min();
        let Some((_, _, _, at, payment)) = nearest else { break };
        let (place, asked) = open.swap_remove(at);
        taken.insert(payment.clone());
        found[place] = Some(matched(place, &asked, Announces::Payment(payment)));
    }
    for (place, asked) in open {
        let field = Field { payments, unreadable, taken: &taken, window };
        let announces = match choose(&asked, events[place].received_at, field) {
            Choice::Contradicts(how) => {
                let payment_id = asked.payment_id.clone().unwrap_or_default();
                Announces::Contradicts { payment_id, how }
            }
            Choice::Taken { payment, .. } => Announces::Repeated(payment.id.to_string()),
            Choice::Nothing | Choice::Far(_) => Announces::Nothing,
            Choice::Take(_)
            | Choice::Ambiguous(..)
            | Choice::Pending { .. }
            | Choice::Unknown { .. }
            | Choice::Lost { .. }
            | Choice::Unreadable { .. } => Announces::Open,
        };
        found[place] = Some(matched(place, &asked, announces));
    }
    found.into_iter().flatten().collect()
}
