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

    /// What is known for one of the events.
    pub(super) fn payment(&self, event: EventId) -> AnnouncedPayment {
        self.0.get(&event).map_or_else(AnnouncedPayment::default, |known| AnnouncedPayment {
            invoice_number: known.invoice_number.clone(),
            payment_id: known.payment_id.clone(),
            amount_cents: Some(known.amount_cents.0),
            currency: known.currency.clone(),
        })
    }
}

/// Finds the newest events by a text: the id or the amount of their payment, or the number of its invoice or a part of it.
pub(super) async fn find(store: &dyn Store, text: &str) -> Result<Vec<EventId>, Problem> {
    match Search::new(text) {
        Some(search) => store.find_announced(&search, MOST_FOUND).await.map_err(store_problem),
        None => Ok(Vec::new()),
    }
}
