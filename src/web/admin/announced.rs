//! What is known about the payments that events announce. It is shown with events and dispatches, and can be searched.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{super::error::Problem, store_problem};
use crate::{
    model::{booking::Announced, id::EventId},
    store::{Store, ledger::Search},
};

/// The most events that a search finds; the newest count.
const MOST_FOUND: u32 = 2000;

/// What is known about the payment that an event announces. It is shown as soon as it is known, also before the payment is
/// decided for certain.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct AnnouncedPayment {
    /// The number of the invoice at Finkare.
    #[schema(required)]
    pub(crate) invoice_number: Option<String>,
    /// The id of the payment at Finkare: the one in the event, or the one that the event probably announces.
    #[schema(required)]
    pub(crate) payment_id: Option<String>,
    /// The amount, in cents.
    #[schema(required)]
    pub(crate) amount_cents: Option<i64>,
    /// The amount's currency, such as `EUR`.
    #[schema(required)]
    pub(crate) currency: Option<String>,
    /// The debtor's name, until the invoice is erased.
    #[schema(required)]
    pub(crate) debtor: Option<String>,
    /// How it was paid: `card`, `bank_transfer`, `sepa_debit`, `payment_link`, or another word of Finkare's.
    #[schema(required)]
    pub(crate) method: Option<String>,
    /// When it was paid: a time, or only a day such as `2026-10-31`, as Finkare says.
    #[schema(required)]
    pub(crate) paid_at: Option<String>,
}

/// What is known about the payments of several events.
pub(super) struct Known(HashMap<EventId, Announced>);

impl Known {
    /// Reads what is known for these events.
    pub(super) async fn of(store: &dyn Store, events: impl Iterator<Item = EventId>) -> Result<Self, Problem> {
        let events: Vec<EventId> = events.collect();
        if events.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        let known = store.announced(&events).await.map_err(store_problem)?;
        Ok(Self(known.into_iter().map(|known| (known.event_id, known)).collect()))
    }

    /// What is known, where it has been read already.
    pub(super) fn already(known: impl Iterator<Item = Announced>) -> Self {
        Self(known.map(|known| (known.event_id, known)).collect())
    }

    /// What is known for one of the events.
    pub(super) fn payment(&self, event: EventId) -> AnnouncedPayment {
        self.0.get(&event).map_or_else(AnnouncedPayment::default, |known| AnnouncedPayment {
            invoice_number: known.invoice_number.clone(),
            payment_id: known.payment_id.clone(),
            amount_cents: Some(known.amount_cents.0),
            currency: known.currency.clone(),
            debtor: known.debtor.clone(),
            method: known.method.clone(),
            paid_at: known.paid_at.map(|paid_at| paid_at.to_string()),
        })
    }
}

/// Finds the newest events by a text: the id or the amount of their payment, or the number of its invoice or the debtor's name
/// or a part of these.
pub(super) async fn find(store: &dyn Store, text: &str) -> Result<Vec<EventId>, Problem> {
    match Search::new(text) {
        Some(search) => store.find_announced(&search, MOST_FOUND).await.map_err(store_problem),
        None => Ok(Vec::new()),
    }
}
