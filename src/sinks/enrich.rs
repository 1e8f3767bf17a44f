//! Adds Finkare's data about an event's invoice and payment to the event (`enrich = true`), whose own body has few fields.
//!
//! A `payment.received` is delivered with its invoice and the payment that it announces. An event of another type that
//! names an invoice is delivered with the invoice, and any other event as it is. An event that cannot be resolved is not
//! delivered: the resolver's answer ([`Unresolved`]) becomes the attempt's outcome, so that the event waits for its payment
//! in the same way as for a target that is down.

use std::{sync::Arc, time::Duration};

use super::{
    Message, Resolved, Sink, StillShows, Unseen,
    invoicing::{Resolve, Unresolved},
};
use crate::model::{
    dispatch::{Outcome, Trigger},
    event::PAYMENT_RECEIVED,
};
use async_trait::async_trait;

/// Reads Finkare's data about a message; `None` for a type that has no such data.
///
/// # Errors
/// As [`Resolve`] says.
pub async fn resolve(resolver: &dyn Resolve, message: &Message) -> Result<Option<Resolved>, Unresolved> {
    if message.trigger == Trigger::Test {
        return Ok(None);
    }
    if message.event_type == PAYMENT_RECEIVED {
        let payment = resolver.payment(message).await?;
        return Ok(Some(Resolved { invoice: Some(payment.invoice.clone()), payment: Some(payment) }));
    }
    if message.invoice_id.is_none() {
        return Ok(None);
    }
    Ok(Some(Resolved { invoice: Some(resolver.invoice(message).await?), payment: None }))
}

/// A sink that gets its events together with Finkare's data about them.
#[derive(Debug)]
pub struct Enriched {
    sink: Arc<dyn Sink>,
    resolver: Arc<dyn Resolve>,
    /// The time for resolving; the rest of the attempt's time is for the target.
    within: Duration,
}

impl Enriched {
    /// Puts the resolver before a sink. `timeout` is the sink's own, for a whole attempt.
    pub fn new(sink: Arc<dyn Sink>, resolver: Arc<dyn Resolve>, timeout: Duration) -> Self {
        Self { sink, resolver, within: timeout.mul_f64(0.75) }
    }
}

#[async_trait]
impl Sink for Enriched {
    async fn deliver(&self, message: &Message) -> Outcome {
        // This ends before the attempt's own time-out, so that the reason does not blame the target.
        let Ok(resolved) = tokio::time::timeout(self.within, resolve(&*self.resolver, message)).await else {
            let reason =
                format!("Finkare's API did not provide the event's invoice and payment within {:?}", self.within);
            return Outcome::Retry { reason, after: None };
        };
        match resolved {
            Ok(None) => self.sink.deliver(message).await,
            Ok(Some(resolved)) => {
                let message = Message { resolved: Some(Arc::new(resolved)), ..message.clone() };
                self.sink.deliver(&message).await
            }
            Err(unresolved) => unresolved.into(),
        }
    }

    async fn check(&self) -> Result<String, String> {
        self.sink.check().await
    }
    async fn still_shows(&self, payment_id: &str) -> Option<Result<StillShows, Unseen>> {
        self.sink.still_shows(payment_id).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::model::{
        booking::{Invoice, Payment},
        clock,
        id::{DispatchId, EventId},
        money::Cents,
    };

    /// Keeps what it gets.
    #[derive(Debug, Default)]
    struct Open(Mutex<Vec<Option<Arc<Resolved>>>>);

    #[async_trait]
    impl Sink for Open {
        async fn deliver(&self, message: &Message) -> Outcome {
            self.0.lock().unwrap().push(message.resolved.clone());
            Outcome::Delivered
        }

        async fn check(&self) -> Result<String, String> {
            Ok("open".into())
        }
    }

    /// Answers with what it was given, or never.
    #[derive(Debug)]
    struct Known(Option<Result<Payment, Unresolved>>);

    #[async_trait]
    impl Resolve for Known {
        async fn payment(&self, _: &Message) -> Result<Payment, Unresolved> {
            match &self.0 {
                Some(known) => known.clone(),
                None => std::future::pending().await,
            }
        }

        async fn invoice(&self, message: &Message) -> Result<Invoice, Unresolved> {
            self.payment(message).await.map(|payment| payment.invoice)
        }
    }

    fn payment() -> Payment {
        let invoice = Invoice {
            id: "i".into(),
            number: "F-1".into(),
            amount_cents: Some(Cents(200)),
            currency: None,
            status: Some("in_recovery".into()),
            debtor: None,
        };
        Payment {
            id: "p".into(),
            endpoint: "production".into(),
            invoice,
            amount_cents: Cents(150),
            currency: "EUR".into(),
            method: None,
            paid_at: "2026-03-15T10:29:58Z".parse().unwrap(),
        }
    }

    fn message(event_type: &str, invoice_id: Option<&str>, trigger: Trigger) -> Message {
        Message {
            event_id: EventId::generate(),
            dispatch_id: DispatchId(1),
            endpoint: "production".into(),
            event_type: event_type.into(),
            invoice_id: invoice_id.map(Into::into),
            received_at: clock::now(),
            content_type: None,
            payload: bytes::Bytes::new(),
            attempt: 1,
            trigger,
            trace: None,
            resolved: None,
        }
    }

    async fn delivered(
        known: Option<Result<Payment, Unresolved>>,
        message: &Message,
    ) -> (Outcome, Vec<Option<Arc<Resolved>>>) {
        let sink = Arc::new(Open::default());
        let enriched = Enriched::new(sink.clone(), Arc::new(Known(known)), Duration::from_millis(40));
        let outcome = enriched.deliver(message).await;
        let got = std::mem::take(&mut *sink.0.lock().unwrap());
        (outcome, got)
    }

    #[tokio::test]
    async fn each_type_gets_what_there_is_to_know() {
        let json = |got: &[Option<Arc<Resolved>>]| serde_json::to_string(got).unwrap();
        let ok = || Some(Ok(payment()));
        let invoice =
            r#""invoice":{"id":"i","number":"F-1","amount_cents":200,"currency":null,"status":"in_recovery"}"#;
        for (message, expected) in [
            (
                message(PAYMENT_RECEIVED, Some("i"), Trigger::Event),
                format!(
                    r#"[{{{invoice},"payment":{{"id":"p","amount_cents":150,"currency":"EUR","method":null,"paid_at":"2026-03-15T10:29:58Z"}}}}]"#
                ),
            ),
            (message("invoice.status_changed", Some("i"), Trigger::Replay), format!("[{{{invoice}}}]")),
            (message("ping", None, Trigger::Event), "[null]".into()),
            (message("relay.test", None, Trigger::Test), "[null]".into()),
            (message(PAYMENT_RECEIVED, Some("i"), Trigger::Test), "[null]".into()),
        ] {
            let (outcome, got) = delivered(ok(), &message).await;
            assert_eq!((outcome, json(&got)), (Outcome::Delivered, expected));
        }
    }

    #[tokio::test]
    async fn what_is_not_known_is_the_outcome_and_nothing_is_delivered() {
        let message = message(PAYMENT_RECEIVED, Some("i"), Trigger::Event);
        let hold = Unresolved::Hold { reason: "look".into(), recheck_after: None };
        let (outcome, got) = delivered(Some(Err(hold)), &message).await;
        assert_eq!((outcome, got.len()), (Outcome::Hold { reason: "look".into(), recheck_after: None }, 0));
        let (outcome, got) = delivered(None, &message).await;
        let Outcome::Retry { reason, .. } = outcome else { panic!("{outcome:?}") };
        assert!(
            reason.contains("Finkare's API did not provide the event's invoice and payment within 30ms")
                && got.is_empty(),
            "{reason}"
        );
    }
}
