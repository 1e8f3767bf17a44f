//! Invoicing sinks against stand-ins of their systems: what stands in the books is compared, and not the calls alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use finkare_relay::{
    french,
    model::{
        booking::{Booking, Invoice, Payment},
        clock,
        dispatch::{Outcome, Trigger},
        id::{DispatchId, EventId, SinkName},
        money::Cents,
    },
    sinks::{
        Message, Sink, StillShows, Unseen,
        invoicing::{Desk, Resolve, Unresolved, system::System},
        kind::Kind,
        preview::Explained,
    },
    store::{
        BaseStore,
        ledger::{BookingFilter, LedgerStore},
        sqlite::SqliteStore,
    },
};
use serde_json::json;

mod documented;
mod efactori;
mod facturation_pro;
mod fastfaktura;
mod tiime;

/// Knows the payments and invoices that a test made events of.
#[derive(Debug, Default)]
struct Known {
    payments: Mutex<HashMap<EventId, Payment>>,
    invoices: Mutex<HashMap<EventId, Invoice>>,
}

#[async_trait]
impl Resolve for Known {
    async fn payment(&self, message: &Message) -> Result<Payment, Unresolved> {
        Ok(self.payments.lock().unwrap()[&message.event_id].clone())
    }

    async fn invoice(&self, message: &Message) -> Result<Invoice, Unresolved> {
        Ok(self.invoices.lock().unwrap()[&message.event_id].clone())
    }
}

/// A sink that says nothing without its French.
#[derive(Debug)]
struct Told(Arc<dyn Sink>);

fn told(sink: Arc<dyn Sink>) -> Arc<dyn Sink> {
    Arc::new(Told(sink))
}

/// Asserts that a French reader is told this in French.
fn in_french(said: &str) {
    assert!(french::said(said).is_some(), "the catalogues of `french` have no phrase for this:\n{said}");
}

#[async_trait]
impl Sink for Told {
    async fn deliver(&self, message: &Message) -> Outcome {
        let outcome = self.0.deliver(message).await;
        outcome.reason().into_iter().for_each(in_french);
        outcome
    }

    async fn check(&self) -> Result<String, String> {
        let checked = self.0.check().await;
        if let Err(problem) = &checked {
            in_french(problem);
        }
        checked
    }

    async fn explain(&self, message: &Message) -> Option<Explained> {
        let explained = self.0.explain(message).await;
        if let Some(Explained { calls, decision, .. }) = &explained {
            in_french(decision);
            for call in calls {
                in_french(&call.purpose);
            }
        }
        explained
    }

    async fn still_shows(&self, payment_id: &str) -> Option<Result<StillShows, Unseen>> {
        let shows = self.0.still_shows(payment_id).await;
        match &shows {
            Some(Ok(StillShows::Gone { what, .. })) => in_french(what),
            Some(Err(Unseen { reason, .. })) => in_french(reason),
            Some(Ok(StillShows::There | StillShows::NotBooked)) | None => {}
        }
        shows
    }
}

/// What a bookkeeper works with: the ledger of a real store, and a resolver that knows what it is told.
struct Office {
    ledger: Arc<SqliteStore>,
    known: Arc<Known>,
    _folder: tempfile::TempDir,
}

impl Office {
    async fn open() -> Self {
        // Every test may be the first one in its process.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(SqliteStore::open(&folder.path().join("relay.db")).await.unwrap());
        ledger.migrate().await.unwrap();
        Self { ledger, known: Arc::default(), _folder: folder }
    }

    fn desk(&self, timeout: Duration) -> Desk {
        Desk {
            resolver: self.known.clone(),
            ledger: self.ledger.clone(),
            sink: sink(),
            timeout,
            payment_window_days: HashMap::new(),
            transcript: None,
        }
    }

    /// An event that announces this payment, received now.
    fn event(&self, payment: &Payment) -> Message {
        let body = json!({"event": "payment.received", "data": {"invoiceId": payment.invoice.id}});
        let message = message("payment.received", &payment.invoice, &body);
        self.known.payments.lock().unwrap().insert(message.event_id, payment.clone());
        message
    }

    /// An event that tells an invoice's new status.
    fn change(&self, number: &str, to: &str) -> Message {
        let invoice = payment("any", number, 1).invoice;
        let body = json!({
            "event": "invoice.status_changed", "timestamp": "2026-03-20T08:00:00Z",
            "data": {"invoiceId": invoice.id, "previousStatus": "in_recovery", "newStatus": to},
        });
        let message = message("invoice.status_changed", &invoice, &body);
        self.known.invoices.lock().unwrap().insert(message.event_id, invoice);
        message
    }

    /// All lines of the ledger.
    async fn lines(&self) -> Vec<Booking> {
        let page = self.ledger.bookings(&BookingFilter::default(), 500).await.unwrap();
        assert!(!page.more);
        let lines: Vec<Booking> = page.rows.into_iter().map(|(_, line)| line).collect();
        lines.iter().filter_map(|line| line.note.as_deref()).for_each(in_french);
        lines
    }

    /// The payments that stand in the ledger, in order, each with its state.
    async fn states(&self) -> Vec<String> {
        let mut states: Vec<_> =
            self.lines().await.iter().map(|line| format!("{} {}", line.payment_id, line.state)).collect();
        states.sort();
        states
    }
}

fn sink() -> SinkName {
    "books".parse().unwrap()
}

fn message(event_type: &str, invoice: &Invoice, body: &serde_json::Value) -> Message {
    Message {
        event_id: EventId::generate(),
        dispatch_id: DispatchId(1),
        endpoint: "production".to_owned(),
        event_type: event_type.to_owned(),
        invoice_id: Some(invoice.id.clone()),
        received_at: clock::now(),
        content_type: Some("application/json".to_owned()),
        payload: body.to_string().into(),
        attempt: 1,
        trigger: Trigger::Event,
        resolved: None,
        trace: None,
    }
}

/// The same event, received two hours before: longer ago than an invoice is waited for.
fn old(message: &Message) -> Message {
    Message { received_at: clock::now() - jiff::SignedDuration::from_hours(2), ..message.clone() }
}

/// In euros, of 15 March 2026 in Paris, by direct debit.
fn payment(id: &str, number: &str, cents: i64) -> Payment {
    Payment {
        id: id.to_owned(),
        endpoint: "production".to_owned(),
        invoice: Invoice {
            id: format!("finkare-{number}"),
            number: number.to_owned(),
            amount_cents: None,
            currency: Some("EUR".to_owned()),
            status: None,
            debtor: None,
        },
        amount_cents: Cents(cents),
        currency: "EUR".to_owned(),
        method: Some("sepa_debit".to_owned()),
        paid_at: "2026-03-14T23:30:00Z".parse().unwrap(),
    }
}

/// The reason of a hold, and whether it is looked at again.
#[track_caller]
fn held(outcome: &Outcome) -> (String, bool) {
    let Outcome::Hold { reason, recheck_after } = outcome else { panic!("not held: {outcome:?}") };
    (reason.clone(), recheck_after.is_some())
}

/// Asserts that a reason has all of these in it.
#[track_caller]
fn says(reason: &str, parts: &[&str]) {
    for part in parts {
        assert!(reason.contains(part), "`{part}` is not in: {reason}");
    }
}

/// The options of a sink, as its reader makes them of what an operator writes.
fn parsed<T: System + Clone>(written: serde_json::Value) -> T {
    let mut text = toml::Table::try_from(written).unwrap();
    text.insert("type".to_owned(), <T as System>::NAME.into());
    Kind::parse(&text.to_string()).unwrap().options::<T>().unwrap().clone()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
