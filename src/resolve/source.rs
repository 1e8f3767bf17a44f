//! Finkare's data about invoices and payments, requested no more often than necessary.
//!
//! If several sinks need the same event at the same moment, one of them calls Finkare and all get the answer. An answer is
//! cached for a while, but a caller that draws a conclusion from what is *not* in it asks again ([`Source::payments`]). A
//! failure goes to all callers that waited for it, and is not cached.
//!
//! Finkare's API accepts few calls per second, and the client waits for its turn. A thousand events that arrive at once must
//! not all wait in their attempts until these time out. Only as many wait as get their turn soon; the others get
//! [`Failure::Busy`] and are retried later.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use finkare::{Client, Error, Invoice, InvoiceDebtor, PaymentsOfInvoice};
use jiff::{SignedDuration, Timestamp};
use moka::future::Cache;
use serde_json::Map;
use tokio::sync::Semaphore;

use super::Endpoint;
use crate::model::clock;

/// How long an invoice is cached; its number does not change.
const INVOICE_KEPT: Duration = Duration::from_mins(10);
/// The most cached invoices of an endpoint; beyond that the least used are dropped.
const MOST_INVOICES: u64 = 10_000;
/// How long a list of payments is cached, for callers at the same moment.
const PAYMENTS_KEPT: Duration = Duration::from_secs(3);
/// The most cached lists of an endpoint.
const MOST_LISTS: u64 = 1000;
/// How long a call waits for a place among the calls that wait for Finkare.
const TURN: Duration = Duration::from_secs(2);
/// The least number of concurrent calls, so that a slow answer does not delay the next call.
const FEWEST_TURNS: u32 = 2;
/// The most concurrent calls; more gain nothing at any rate limit.
const MOST_TURNS: u32 = 64;

/// The part of Finkare's API that is needed here.
#[async_trait]
pub(super) trait Api: Send + Sync {
    async fn invoice(&self, id: &str) -> Result<Invoice, Error>;
    async fn payments(&self, invoice_id: &str) -> Result<PaymentsOfInvoice, Error>;
}

/// Answers are cached without the fields that nothing here reads: they may be long, and be about people.
#[async_trait]
impl Api for Client {
    async fn invoice(&self, id: &str) -> Result<Invoice, Error> {
        let invoice = self.invoices().get(id).await?.data;
        let debtor = invoice.debtor.map(|debtor| InvoiceDebtor { name: debtor.name, ..InvoiceDebtor::default() });
        Ok(Invoice { debtor, other: Map::new(), ..invoice })
    }

    async fn payments(&self, invoice_id: &str) -> Result<PaymentsOfInvoice, Error> {
        let mut found = Client::payments(self).of_invoice(invoice_id).await?.data;
        for payment in &mut found.payments {
            payment.other = Map::new();
        }
        Ok(found)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Too many calls already wait for their turn.
    Busy,
    /// Finkare's API.
    Api(Error),
}

/// An answer, and when it was requested.
#[derive(Debug)]
pub(super) struct Seen<T> {
    pub(super) value: T,
    /// The time just before the call.
    pub(super) asked: Instant,
    asked_at: Timestamp,
}

/// One endpoint's view of Finkare.
pub(super) struct Source {
    api: Arc<dyn Api>,
    turns: Semaphore,
    invoices: Cache<String, Arc<Seen<Invoice>>>,
    payments: Cache<String, Arc<Seen<PaymentsOfInvoice>>>,
    /// How long a payment may take to become visible.
    pub(super) patience: Duration,
    /// How far from its event a payment may be dated.
    pub(super) window: SignedDuration,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("patience", &self.patience).field("window", &self.window).finish_non_exhaustive()
    }
}

impl Source {
    /// Creates the source, without a call.
    pub(super) fn new(api: Arc<dyn Api>, endpoint: &Endpoint) -> Self {
        // As many as get their turn within one second.
        let (calls, per) = endpoint.rate;
        let in_a_second = calls.get().div_ceil(u32::try_from(per.as_secs()).unwrap_or(u32::MAX).max(1));
        let turns = in_a_second.clamp(FEWEST_TURNS, MOST_TURNS);
        Self {
            api,
            turns: Semaphore::new(turns as usize),
            invoices: Cache::builder().max_capacity(MOST_INVOICES).time_to_live(INVOICE_KEPT).build(),
            payments: Cache::builder().max_capacity(MOST_LISTS).time_to_live(PAYMENTS_KEPT).build(),
            patience: endpoint.patience,
            window: SignedDuration::try_from(endpoint.window).unwrap_or(SignedDuration::MAX),
        }
    }

    /// An invoice in its state after the event arrived: an older answer may show the state before the event. With `since`,
    /// requested at that time or later.
    pub(super) async fn invoice(
        &self,
        id: &str,
        received_at: Timestamp,
        since: Option<Instant>,
    ) -> Result<Arc<Seen<Invoice>>, Arc<Failure>> {
        let begun = Instant::now();
        loop {
            let asking = self.ask(|| self.api.invoice(id));
            let seen = self.invoices.try_get_with_by_ref(id, asking).await?;
            // Clocks differ, but an answer that was requested just now is always new enough.
            let is_new = since.map_or(seen.asked_at >= received_at, |since| seen.asked >= since);
            if is_new || seen.asked >= begun {
                return Ok(seen);
            }
            self.invoices.invalidate(id).await;
        }
    }

    /// The payments of an invoice; with `since`, requested at that time or later.
    pub(super) async fn payments(
        &self,
        invoice_id: &str,
        since: Option<Instant>,
    ) -> Result<Arc<Seen<PaymentsOfInvoice>>, Arc<Failure>> {
        loop {
            let asking = self.ask(|| self.api.payments(invoice_id));
            let seen = self.payments.try_get_with_by_ref(invoice_id, asking).await?;
            if since.is_none_or(|since| seen.asked >= since) {
                return Ok(seen);
            }
            self.payments.invalidate(invoice_id).await;
        }
    }

    /// Makes a call as soon as it has its turn.
    async fn ask<T, F: Future<Output = Result<T, Error>>>(
        &self,
        question: impl FnOnce() -> F,
    ) -> Result<Arc<Seen<T>>, Failure> {
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN, self.turns.acquire()).await else { return Err(Failure::Busy) };
        let (asked, asked_at) = (Instant::now(), clock::now());
        let value = question().await.map_err(Failure::Api)?;
        Ok(Arc::new(Seen { value, asked, asked_at }))
    }
}
