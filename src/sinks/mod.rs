//! Where events go: one file or folder per kind of target.
//!
//! A sink gets a [`Message`] and returns an [`Outcome`]; it never sees the store. Order, retries, leases, rate limits and
//! the circuit breaker belong to the dispatcher ([`crate::dispatch`]). A sink reports truthfully what the target answered,
//! and how long to wait if the target named a time.
//!
//! # How to add a sink
//!
//! 1. **Its file** here (or its folder): an options struct, the sink, its unit tests. `impl`
//!    [`SinkOptions`](options::SinkOptions) for the options: the name of the type, its defaults, how its keys are read, how
//!    the sink is built, checked and previewed. Every key is a noun with its unit, is described where it is read
//!    (`section.key("timeout_secs", "How long …")`), and is checked there and nowhere else. Return `Delivered` only after
//!    the target's own confirmation, and give the target [`Message::event_id`] as its key for dropping repetitions.
//! 2. **Its row** in [`kind::KINDS`], and its `mod` line below. The lists of types, the configuration page and the JSON
//!    Schema follow from it: renew them with `UPDATE_DOCS=1 cargo nextest run -E 'test(configuration)'`.
//! 3. **Its page** in the documentation of sinks: what it does and what it guarantees; and its options in
//!    `relay.example.toml`, which a test compares with the options that are read.
//! 4. **Its test**: a case in the sink contract suite (`tests/it/sinks`): delivered, refused, timed out, gone, and no secret
//!    in its reasons.
//!
//! docs/new-sink.md has the whole check list. A kind that follows steps 1 and 2 and is only compiled for tests is in
//! `src/sinks/tests.rs`.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::model::{
    booking::{Invoice, Payment},
    dispatch::{LeasedDispatch, Outcome, Trigger},
    id::{DispatchId, EventId},
    trace::TraceParent,
};

pub use crate::model::preview;

pub mod chat;
pub mod email;
pub mod enrich;
pub mod file;
pub mod guard;
pub mod http;
pub mod invoicing;
pub mod kind;
mod lines;
pub mod message;
pub mod options;
pub mod stdout;
mod template;
#[cfg(test)]
mod tests;
pub mod wording;

/// What a sink receives.
#[derive(Debug, Clone)]
pub struct Message {
    /// The same on every retry and replay: the target's key for dropping repetitions.
    pub event_id: EventId,
    /// The dispatch that this attempt belongs to.
    pub dispatch_id: DispatchId,
    /// The endpoint through which the event came; empty for one of the relay's own events that is about none.
    pub endpoint: String,
    /// `payment.received` and so on, or [`crate::model::event::UNREADABLE`].
    pub event_type: String,
    /// `data.invoiceId`.
    pub invoice_id: Option<String>,
    /// When the event was received.
    pub received_at: Timestamp,
    /// The `Content-Type` of Finkare's delivery.
    pub content_type: Option<String>,
    /// The verified message.
    pub payload: Bytes,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// Whether the event arrived or was replayed.
    pub trigger: Trigger,
    /// The attempt's span, while traces are on: a target that supports it continues the trace.
    pub trace: Option<TraceParent>,
    /// Finkare's data about the event, for a sink with `enrich`.
    pub resolved: Option<Arc<Resolved>>,
}

impl Message {
    /// The endpoint, if there is one.
    pub fn endpoint(&self) -> Option<&str> {
        Some(self.endpoint.as_str()).filter(|endpoint| !endpoint.is_empty())
    }
}

impl From<&LeasedDispatch> for Message {
    fn from(leased: &LeasedDispatch) -> Self {
        Self {
            event_id: leased.event_id,
            dispatch_id: leased.id,
            endpoint: leased.endpoint.clone(),
            event_type: leased.event_type.clone(),
            invoice_id: leased.invoice_id.clone(),
            received_at: leased.received_at,
            content_type: leased.content_type.clone(),
            payload: leased.payload.clone(),
            attempt: leased.attempts + 1,
            trigger: leased.trigger,
            trace: None,
            resolved: None,
        }
    }
}

/// Finkare's data about an event.
///
/// Line sinks and templates show it as this JSON:
///
/// ```text
/// {"invoice":{"id":…,"number":…,"amount_cents":…,"currency":…,"status":…},
///  "payment":{"id":…,"amount_cents":…,"currency":…,"method":…,"paid_at":…}}
/// ```
///
/// A missing invoice or payment has no key; a detail that Finkare does not give is `null`. Amounts are whole cents.
/// `paid_at` is RFC 3339 in UTC, or a date if Finkare gives no time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// The event's invoice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice: Option<Invoice>,
    /// The payment that the event announces.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_shown")]
    pub payment: Option<Payment>,
}

/// A payment without its invoice and its endpoint, which are shown elsewhere in the object.
#[expect(clippy::ref_option, reason = "serde calls it so")]
fn as_shown<S: serde::Serializer>(payment: &Option<Payment>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown<'a> {
        id: &'a str,
        amount_cents: crate::model::money::Cents,
        currency: &'a str,
        method: Option<&'a str>,
        paid_at: finkare::PaidAt,
    }
    let shown = payment.as_ref().map(|payment| Shown {
        id: &payment.id,
        amount_cents: payment.amount_cents,
        currency: &payment.currency,
        method: payment.method.as_deref(),
        paid_at: payment.paid_at,
    });
    shown.serialize(serializer)
}

/// What books show of a payment that the ledger calls booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StillShows {
    /// They show it; whether all of it is right is not said.
    There,
    /// They do not show it.
    Gone {
        /// The system's name.
        system: String,
        /// What was looked for.
        what: String,
    },
    /// The ledger does not call it booked.
    NotBooked,
}

/// Why books could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// The reason.
    pub reason: String,
    /// When they can be, if that is known.
    pub after: Option<Duration>,
}

/// A target.
#[async_trait]
pub trait Sink: Send + Sync + fmt::Debug {
    /// Delivers one message and returns the outcome.
    ///
    /// The dispatcher drops the future when the sink's time-out has passed, or when shutdown cannot wait. The target may or
    /// may not have received the message then, and gets it again.
    async fn deliver(&self, message: &Message) -> Outcome;

    /// Checks whether the target can be reached, without leaving a trace there.
    ///
    /// # Errors
    /// What is wrong and what to change, in a sentence.
    async fn check(&self) -> Result<String, String>;

    /// Explains by reads alone what [`Sink::deliver`] would do with a message; `None` if that follows from the message
    /// ([`options::SinkOptions::preview`]).
    async fn explain(&self, message: &Message) -> Option<preview::Explained> {
        let _ = message;
        None
    }

    /// Looks by reads alone whether the target still shows a payment that the ledger calls booked; `None` for a target that
    /// shows no single payment.
    ///
    /// # Errors
    /// The target could not be asked.
    async fn still_shows(&self, payment_id: &str) -> Option<Result<StillShows, Unseen>> {
        let _ = payment_id;
        None
    }
}
