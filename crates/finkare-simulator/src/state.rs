//! The memory of the simulated Finkare: webhooks, invoices, payments and deliveries. It is bounded; the oldest
//! entries are forgotten first, but never an open delivery.

use std::{collections::VecDeque, fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    Error,
    api::Answer,
    company::Company,
    secret::Secret,
    settings::{Faults, Variants},
};

/// The most webhooks; a further one is refused.
const MAX_WEBHOOKS: usize = 100;
/// The most invoices, and the most payments; the oldest are forgotten.
const MAX_INVOICES: usize = 10_000;
/// The most deliveries in a webhook's history; the oldest finished one is forgotten.
const MAX_HISTORY: usize = 1000;
/// The most unfinished deliveries of all webhooks together; an event that would make more is refused.
const MAX_OPEN: usize = 10_000;

macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $id(pub Uuid);

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($id), self.0)
            }
        }
        impl FromStr for $id {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}
ids!(
    /// The id of a webhook.
    WebhookId,
    /// The id of an invoice.
    InvoiceId,
    /// The id of a payment.
    PaymentId,
    /// The id of a delivery in Finkare's history. The receiver does not see it.
    DeliveryId
);

/// A time as Finkare writes it: milliseconds, `Z`.
pub(crate) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A webhook, without its secret: for that, ask [`Simulator::secret_of`](crate::Simulator::secret_of).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The HTTPS URL that deliveries are posted to.
    pub url: String,
    /// The event types that it asks for.
    pub events: Vec<String>,
    /// Free text.
    pub description: Option<String>,
    /// Whether it gets deliveries.
    pub enabled: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When something was last posted to it.
    pub last_triggered_at: Option<Timestamp>,
}

/// A webhook with the parts that only Finkare knows.
pub(crate) struct Hook {
    pub(crate) webhook: Webhook,
    pub(crate) secret: Secret,
    /// The previous secret, and the time until which it goes on signing.
    previous: Option<(Secret, Timestamp)>,
    history: VecDeque<Delivery>,
}

impl Hook {
    /// The secret that signs at this moment.
    pub(crate) fn signing_secret(&self, now: Timestamp) -> &Secret {
        match &self.previous {
            Some((secret, until)) if now < *until => secret,
            _ => &self.secret,
        }
    }
}

/// The status of a delivery. Finkare's own words for it are not documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There will be a first or a further attempt.
    Pending,
    /// Answered with 2xx.
    Success,
    /// Given up, or its webhook was disabled in the meantime.
    Failed,
}

/// A delivery in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The webhook.
    pub webhook: WebhookId,
    /// The event's type.
    pub event_type: String,
    /// Its status.
    pub status: Status,
    /// The number of attempts; copies by [`Faults::repeats`] do not count.
    pub attempts: u32,
    /// The status of the last answer; `None` before it, or if none came.
    pub last_answer: Option<u16>,
    /// The bytes of the last attempt; empty before it.
    pub body: Bytes,
    /// The signature of the last attempt; empty before it.
    pub signature: String,
    /// When its event happened.
    pub created_at: Timestamp,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its id.
    pub id: InvoiceId,
    /// The number in the company's own books.
    pub number: String,
    /// In cents.
    pub amount_cents: i64,
    /// Free text: only `in_recovery` is documented.
    pub status: String,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// The invoice.
    pub invoice: InvoiceId,
    /// In cents.
    pub amount_cents: i64,
    /// `card`, `bank_transfer`, `sepa_debit`, `payment_link`.
    pub method: String,
    /// `pending`, `completed`, `failed`, `refunded`; a completed one reads `pending` until `completed_at`.
    pub status: String,
    /// When it was paid.
    pub paid_at: Timestamp,
    /// The time from which a completed payment is reported as such.
    pub completed_at: Timestamp,
    /// The time from which the API knows it.
    pub visible_at: Timestamp,
}

impl Payment {
    /// The status as the API reports it at this time.
    pub fn status(&self, now: Timestamp) -> &str {
        if self.status == "completed" && now < self.completed_at { "pending" } else { &self.status }
    }
}

/// How often things have happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Calls of the API, with any outcome.
    pub api_calls: u64,
    /// Calls without a good key.
    pub unauthorized: u64,
    /// Calls that a fault kept from being carried out.
    pub api_faults: u64,
    /// Secrets changed.
    pub rotations: u64,
    /// Deliveries: one for each event and webhook.
    pub deliveries: u64,
    /// Attempts, without copies.
    pub attempts: u64,
    /// Posts, copies included, forged ones not.
    pub posts: u64,
    /// Deliveries that were answered with 2xx.
    pub acknowledged: u64,
    /// Deliveries that were given up.
    pub failed: u64,
    /// Forged posts.
    pub forged: u64,
    /// Forged posts that were answered with 2xx: none should be.
    pub forged_accepted: u64,
    /// Events that were refused because too many deliveries were open.
    pub overflows: u64,
}

/// A delivery on its way.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) id: DeliveryId,
    pub(crate) webhook: WebhookId,
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) timestamp: Timestamp,
    /// The same for every webhook that gets this event.
    pub(crate) event_id: Uuid,
}

/// The webhooks that get an event.
#[derive(Clone, Copy)]
enum To {
    /// The webhooks that asked for it.
    Subscribers,
    /// All webhooks.
    Everybody,
    /// This webhook.
    One(WebhookId),
}

/// The state behind the mutex.
pub(crate) struct State {
    rng: StdRng,
    pub(crate) faults: Faults,
    pub(crate) variants: Variants,
    pub(crate) counters: Counters,
    hooks: Vec<Hook>,
    invoices: VecDeque<Invoice>,
    payments: VecDeque<Payment>,
    open: usize,
    numbers: u64,
    /// Deliveries that are collected to be sent in reverse order.
    pub(crate) gathered: Vec<Outgoing>,
    pub(crate) company: Company<Answer>,
}

impl State {
    pub(crate) fn new(seed: u64, faults: Faults, variants: Variants) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            faults,
            variants,
            counters: Counters::default(),
            hooks: Vec::new(),
            invoices: VecDeque::new(),
            payments: VecDeque::new(),
            open: 0,
            numbers: 0,
            gathered: Vec::new(),
            company: Company::default(),
        }
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.random()).into_uuid()
    }

    pub(crate) fn request_id(&mut self) -> String {
        format!("req_{:012x}", self.rng.random::<u64>() >> 16)
    }

    pub(crate) fn secret(&mut self) -> Secret {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        Secret::new(format!("whsec_{}", BASE64_STANDARD.encode(bytes)))
    }

    /// A key of the sandbox.
    pub(crate) fn api_key(&mut self) -> Secret {
        let bytes: [u8; 24] = self.rng.random();
        Secret::new(format!("fk_test_{}", hex::encode(bytes)))
    }

    /// A plausible amount, in cents.
    pub(crate) fn amount(&mut self) -> i64 {
        self.rng.random_range(1_000..500_000)
    }

    // --- webhooks

    pub(crate) fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    pub(crate) fn hook(&self, id: WebhookId) -> Option<&Hook> {
        self.hooks.iter().find(|hook| hook.webhook.id == id)
    }

    pub(crate) fn hook_mut(&mut self, id: WebhookId) -> Option<&mut Hook> {
        self.hooks.iter_mut().find(|hook| hook.webhook.id == id)
    }

    /// Creates a webhook, and the delivery of its ping where there is one.
    pub(crate) fn create_webhook(
        &mut self,
        url: String,
        events: Vec<String>,
        description: Option<String>,
        enabled: bool,
        now: Timestamp,
    ) -> Result<(Webhook, Secret, Vec<Outgoing>), Error> {
        check_webhook(&url, &events)?;
        if self.hooks.len() == MAX_WEBHOOKS {
            return Err(Error::Webhook(format!("there are {MAX_WEBHOOKS} webhooks already: delete one first")));
        }
        let id = WebhookId(self.uuid());
        let secret = self.secret();
        let webhook = Webhook { id, url, events, description, enabled, created_at: now, last_triggered_at: None };
        let hook = Hook { webhook: webhook.clone(), secret: secret.clone(), previous: None, history: VecDeque::new() };
        self.hooks.push(hook);
        let ping = if self.variants.ping {
            // The webhook exists whether or not there is room for its ping.
            self.deliver(To::One(id), "ping", &json!({"webhookId": id}), now).unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok((webhook, secret, ping))
    }

    /// Gives a webhook a new secret; `None` without such a webhook.
    pub(crate) fn rotate(&mut self, id: WebhookId, now: Timestamp) -> Option<Secret> {
        let new = self.secret();
        let grace = jiff::SignedDuration::from_millis(i64::try_from(self.variants.rotation_grace_ms).unwrap_or(0));
        let hook = self.hook_mut(id)?;
        let old = std::mem::replace(&mut hook.secret, new.clone());
        hook.previous = Some((old, now + grace));
        self.counters.rotations += 1;
        Some(new)
    }

    /// True if the webhook existed. Its history is deleted with it.
    pub(crate) fn delete_webhook(&mut self, id: WebhookId) -> bool {
        let before = self.hooks.len();
        self.hooks.retain(|hook| hook.webhook.id != id);
        self.hooks.len() < before
    }

    // --- invoices and payments

    pub(crate) fn invoices(&self) -> impl DoubleEndedIterator<Item = &Invoice> {
        self.invoices.iter()
    }

    pub(crate) fn invoice(&self, id: InvoiceId) -> Option<&Invoice> {
        self.invoices.iter().rev().find(|invoice| invoice.id == id)
    }

    /// The payments that the API knows.
    pub(crate) fn payments(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &Payment> {
        self.payments.iter().filter(move |payment| payment.visible_at <= now)
    }

    pub(crate) fn create_invoice(
        &mut self,
        number: Option<String>,
        amount_cents: i64,
        now: Timestamp,
    ) -> Result<(Invoice, Vec<Outgoing>), Error> {
        self.numbers += 1;
        let number = number.unwrap_or_else(|| format!("F-{:06}", self.numbers));
        let invoice = Invoice { id: InvoiceId(self.uuid()), number, amount_cents, status: "in_recovery".into() };
        // The content of such an event is not documented.
        let data = json!({"invoiceId": invoice.id, "invoiceNumber": invoice.number, "amountCents": amount_cents});
        let outgoing = self.emit("invoice.created", &data, now)?;
        push_bounded(&mut self.invoices, invoice.clone(), MAX_INVOICES);
        Ok((invoice, outgoing))
    }

    pub(crate) fn set_status(&mut self, id: InvoiceId, status: String, now: Timestamp) -> Result<Vec<Outgoing>, Error> {
        let previous = self.invoice(id).ok_or(Error::NoSuchInvoice(id))?.status.clone();
        let data = json!({"invoiceId": id, "previousStatus": previous, "newStatus": status});
        let outgoing = self.emit("invoice.status_changed", &data, now)?;
        if let Some(invoice) = self.invoices.iter_mut().rev().find(|invoice| invoice.id == id) {
            invoice.status = status;
        }
        Ok(outgoing)
    }

    pub(crate) fn pay(
        &mut self,
        invoice: InvoiceId,
        amount_cents: i64,
        method: String,
        status: String,
        now: Timestamp,
    ) -> Result<(Payment, Vec<Outgoing>), Error> {
        if self.invoice(invoice).is_none() {
            return Err(Error::NoSuchInvoice(invoice));
        }
        let after = |millis: u64| now + jiff::SignedDuration::from_millis(i64::try_from(millis).unwrap_or(0));
        let completed_at = after(self.variants.payment_pending_ms);
        let visible_at = after(self.variants.payment_hidden_ms);
        let id = PaymentId(self.uuid());
        let payment = Payment { id, invoice, amount_cents, method, status, paid_at: now, completed_at, visible_at };
        let mut data = json!({"invoiceId": invoice, "amountCents": amount_cents});
        if self.variants.payment_fields {
            data["paymentId"] = json!(id);
            data["currency"] = json!("EUR");
            data["method"] = json!(payment.method);
            data["paidAt"] = json!(written(now));
        }
        let outgoing = self.emit("payment.received", &data, now)?;
        push_bounded(&mut self.payments, payment.clone(), MAX_INVOICES);
        Ok((payment, outgoing))
    }

    // --- deliveries

    /// Makes the deliveries of an event, one for each webhook that asked for it.
    pub(crate) fn emit(&mut self, event: &str, data: &Value, now: Timestamp) -> Result<Vec<Outgoing>, Error> {
        let mut outgoing = self.deliver(To::Subscribers, event, data, now)?;
        if self.variants.unknown_events {
            outgoing.extend(self.deliver(To::Everybody, "simulator.unknown", &json!({"beside": event}), now)?);
        }
        Ok(outgoing)
    }

    fn deliver(&mut self, to: To, event: &str, data: &Value, now: Timestamp) -> Result<Vec<Outgoing>, Error> {
        let wanted = |webhook: &Webhook| match to {
            To::Subscribers => webhook.events.iter().any(|name| name == event),
            To::Everybody => true,
            To::One(id) => webhook.id == id,
        };
        let webhooks: Vec<WebhookId> =
            self.hooks.iter().map(|hook| &hook.webhook).filter(|it| it.enabled && wanted(it)).map(|it| it.id).collect();
        if self.open + webhooks.len() > MAX_OPEN {
            self.counters.overflows += 1;
            return Err(Error::Full(MAX_OPEN));
        }
        let event_id = self.uuid();
        let mut all = Vec::with_capacity(webhooks.len());
        for webhook in webhooks {
            let id = DeliveryId(self.uuid());
            let delivery = Delivery {
                id,
                webhook,
                event_type: event.to_owned(),
                status: Status::Pending,
                attempts: 0,
                last_answer: None,
                body: Bytes::new(),
                signature: String::new(),
                created_at: now,
            };
            let hook = self.hook_mut(webhook).expect("it was listed under the same lock");
            if hook.history.len() >= MAX_HISTORY
                && let Some(oldest) = hook.history.iter().position(|delivery| delivery.status != Status::Pending)
            {
                hook.history.remove(oldest);
            }
            hook.history.push_back(delivery);
            self.open += 1;
            self.counters.deliveries += 1;
            all.push(Outgoing { id, webhook, event: event.to_owned(), data: data.clone(), timestamp: now, event_id });
        }
        Ok(all)
    }

    /// Deliveries that are not finished.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// One webhook's history, the oldest first.
    pub(crate) fn history(&self, id: WebhookId) -> impl DoubleEndedIterator<Item = &Delivery> {
        self.hook(id).into_iter().flat_map(|hook| hook.history.iter())
    }

    /// The entry of a delivery; `None` once its webhook is gone.
    pub(crate) fn entry(&mut self, webhook: WebhookId, id: DeliveryId) -> Option<&mut Delivery> {
        self.hook_mut(webhook)?.history.iter_mut().rev().find(|delivery| delivery.id == id)
    }

    /// Records how a delivery ended.
    pub(crate) fn finish(&mut self, outgoing: &Outgoing, status: Status) {
        self.open -= 1;
        match status {
            Status::Success => self.counters.acknowledged += 1,
            Status::Failed => self.counters.failed += 1,
            Status::Pending => {}
        }
        if let Some(entry) = self.entry(outgoing.webhook, outgoing.id) {
            entry.status = status;
        }
    }
}

fn push_bounded<T>(all: &mut VecDeque<T>, item: T, most: usize) {
    if all.len() >= most {
        all.pop_front();
    }
    all.push_back(item);
}

/// Checks that a webhook may have this URL and these events.
pub(crate) fn check_webhook(url: &str, events: &[String]) -> Result<(), Error> {
    let good = url::Url::parse(url).is_ok_and(|url| url.scheme() == "https" && url.has_host());
    if !good || url.len() > 2000 {
        return Err(Error::Webhook("`url` must be an HTTPS URL".into()));
    }
    if events.is_empty() || events.len() > 100 || events.iter().any(|name| name.is_empty() || name.len() > 200) {
        return Err(Error::Webhook("`events` must name 1 to 100 events".into()));
    }
    Ok(())
}

/// The body of a delivery, in Finkare's order of fields.
pub(crate) fn body_of(
    event: &str,
    data: &Value,
    timestamp: Timestamp,
    event_id: Option<(&'static str, Uuid)>,
) -> Value {
    let mut body = Map::new();
    if let Some((key, id)) = event_id {
        body.insert(key.into(), json!(id));
    }
    body.insert("event".into(), json!(event));
    body.insert("data".into(), data.clone());
    body.insert("timestamp".into(), json!(written(timestamp)));
    Value::Object(body)
}
