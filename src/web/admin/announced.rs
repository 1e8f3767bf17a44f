//! What is known of the payments that events announce: shown beside events and dispatches, and searched.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{super::error::Problem, store_problem};
use crate::{
    model::{booking::Announced, id::EventId},
    store::{Store, ledger::Search},
};

/// So many events are found by a search at most, the newest.
const MOST_FOUND: u32 = 2000;

/// What is known of the payment that an event announces, as soon as it is known, decided or not.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct AnnouncedPayment {
    /// The number of the invoice, as Finkare knows it.
    #[schema(required)]
    pub(crate) invoice_number: Option<String>,
    /// The payment at Finkare: the event's own, or the one that it seems to announce.
    #[schema(required)]
    pub(crate) payment_id: Option<String>,
    /// The amount, in cents.
    #[schema(required)]
    pub(crate) amount_cents: Option<i64>,
    /// The amount's currency, such as `EUR`.
    #[schema(required)]
    pub(crate) currency: Option<String>,
}

/// The same of several events.
pub(super) struct Known(HashMap<EventId, Announced>);

impl Known {
    /// Reads it for these events.
    pub(super) async fn of(store: &dyn Store, events: impl Iterator<Item = EventId>) -> Result<Self, Problem> {
        let events: Vec<EventId> = events.collect();
        if events.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        let known = store.announced(&events).await.map_err(store_problem)?;
        Ok(Self(known.into_iter().map(|known| (known.event_id, known)).collect()))
    }

    /// Of one of them.
    pub(super) fn payment(&self, event: EventId) -> AnnouncedPayment {
        self.0.get(&event).map_or_else(AnnouncedPayment::default, |known| AnnouncedPayment {
            invoice_number: known.invoice_number.clone(),
            payment_id: known.payment_id.clone(),
            amount_cents: Some(known.amount_cents.0),
            currency: known.currency.clone(),
        })
    }
}

/// The newest events whose payment a text finds: by the payment's id, the amount, or the invoice's number or a part of it.
pub(super) async fn find(store: &dyn Store, text: &str) -> Result<Vec<EventId>, Problem> {
    match Search::new(text) {
        Some(search) => store.find_announced(&search, MOST_FOUND).await.map_err(store_problem),
        None => Ok(Vec::new()),
    }
}
