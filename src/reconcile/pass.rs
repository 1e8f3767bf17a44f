//! One report, step by step. Each step is stored together with the place where the pass goes on; so a pass that is killed
//! at any instant goes on with the step that was cut off, and a step that is done twice has the same result.
//!
//! *List*: Finkare's payments, page by page. More days than asked are read, so that an event at the edge of the period finds
//! its own payment, and not the next one. The list may change while it is read: a payment that moves to another page is met
//! twice, and kept once; one that is missed makes the number of payments differ from the number that Finkare announces, and
//! then the list is read again. *Events*: the invoices of the events of these days. *Compare*: invoice by invoice. Where an
//! event finds no payment, Finkare is asked for all payments of its invoice; and the books are looked at (`books`). *Fill*: the missing events, one by one, each
//! after another look.

use std::{convert::Infallible, sync::Arc, time::Duration};

use finkare::{Client, PageRequest, PaidAt, Payment, PaymentFilter, PaymentsOfInvoice};
use jiff::{SignedDuration, Span, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Endpoint, LEASE, RENEW, SCHEDULE, Scene, books,
    compare::{self, Case, Compared, Period, compare},
};
use crate::{
    ingest::route::Body,
    model::{
        booking::Announced,
        chain::Chain,
        clock,
        event::{MAX_TEXT, PAYMENT_RECEIVED},
        id::{EventId, SinkName},
        money::Cents,
        reconciliation::{Difference, DifferenceKind, Report, SumsByCurrency, Taker},
    },
    store::{
        Store, StoreError,
        reconciliations::{Evidence, Filled, Filling, Pass, Step},
    },
};

/// Payments on a page: the most that Finkare gives.
const PAGE: u32 = 100;
/// How many pages are read at most.
const MOST_PAGES: u32 = 2000;
/// How many times a list that does not come to rest is read.
const MOST_SWEEPS: u32 = 6;
/// Events that are looked at in one step.
const EVENTS: u32 = 2000;
/// Invoices that are compared in one step.
const INVOICES: u32 = 50;
/// Differences that are looked at in one step of filling.
const FILLS: u32 = 100;
/// The wait before a step that failed is tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// How long after its beginning a pass that fails is given up.
const LONGEST: Duration = Duration::from_hours(6);

/// Where a pass goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
enum Progress {
    List(Sweep),
    Events { after: Option<EventId> },
    Compare { after: String, number: i64 },
    Fill { after: i64 },
    Done,
}

/// One reading of Finkare's list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sweep {
    /// Which one, from 0.
    number: u32,
    /// The pages that were read.
    pages: u32,
    /// The payments on them, readable or not.
    rows: u64,
    /// Those that cannot be read.
    unreadable: u64,
    /// How many there are, as the last page said.
    total: Option<u64>,
    /// True if the number of payments changed during this sweep.
    has_changed: bool,
    /// How many different payments were known after the sweep before.
    known_before: Option<u64>,
}

/// What was found about some invoices: the sums of each, and the differences.
type Found = (Vec<SumsByCurrency>, Vec<Difference>);

/// Why a step did not succeed.
enum Trouble {
    /// The store, or Finkare for a while.
    Again(String),
    /// It will not succeed.
    Never(String),
    /// Another process has the report now.
    Lost,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Again(Chain(&error).to_string())
    }
}

impl From<finkare::Error> for Trouble {
    fn from(error: finkare::Error) -> Self {
        let text = Chain(&error).to_string();
        match error {
            finkare::Error::Api { status: 401 | 403, .. } => Self::Never(format!(
                "{text}. Give the endpoint an `api_key` with the scope `payments:read`, and reload"
            )),
            finkare::Error::Api { status: 408 | 425 | 429 | 500.., .. }
            | finkare::Error::Network { .. }
            | finkare::Error::Unreadable { .. } => Self::Again(text),
            finkare::Error::Api { .. } | finkare::Error::Unusable { .. } => {
                Self::Never(format!("{text}. Check `api_url` and `api_paths` of the endpoint"))
            }
        }
    }
}

/// Makes a report, as far as it can be made now.
pub(super) async fn make(store: Arc<dyn Store>, scene: Scene, pass: Pass) {
    let (id, token, name) = (pass.report.asked.id, pass.token, pass.report.asked.endpoint.clone());
    let Some(endpoint) = scene.endpoint(&name).cloned() else { return };
    tracing::info!(
        reconciliation.id = %id, endpoint.name = name, since = %pass.report.asked.since, until = %pass.report.asked.until,
        goes_on = !pass.progress.is_empty(), "a reconciliation with Finkare is made"
    );
    let work = Work { store: store.as_ref(), scene: &scene, endpoint: &endpoint, pass: &pass };
    let ended = tokio::select! {
        biased;
        ended = work.run() => ended,
        never = work.renew() => match never {},
    };
    match ended {
        Ok(()) => match store.finish_reconciliation(id, token, None).await {
            Ok(true) => tell(store.as_ref(), &pass.report).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(
                reconciliation.id = %id, error = %Chain(&error), "a reconciliation could not be finished: trying again"
            ),
        },
        Err(Trouble::Lost) => {}
        Err(Trouble::Again(problem)) if clock::since(pass.report.started_at, clock::now()) < LONGEST => {
            tracing::warn!(
                reconciliation.id = %id, endpoint.name = name, problem,
                "a reconciliation is interrupted: it goes on soon"
            );
            let _ = store.release_reconciliation(id, token, AGAIN, Some(&problem)).await;
        }
        Err(Trouble::Again(problem) | Trouble::Never(problem)) => {
            tracing::error!(reconciliation.id = %id, endpoint.name = name, problem, "a reconciliation has failed");
            let _ = store.finish_reconciliation(id, token, Some(&problem)).await;
        }
    }
}

async fn tell(store: &dyn Store, report: &Report) {
    let Ok(Some(report)) = store.reconciliation(report.asked.id).await else { return };
    tracing::info!(
        reconciliation.id = %report.asked.id, endpoint.name = report.asked.endpoint, differences = report.differences(),
        "a reconciliation with Finkare is done"
    );
}

struct Work<'a> {
    store: &'a dyn Store,
    scene: &'a Scene,
    endpoint: &'a Endpoint,
    pass: &'a Pass,
}

impl Work<'_> {
    /// Renews the lease until the work is done. A lost lease shows itself when a step is stored.
    async fn renew(&self) -> Infallible {
        loop {
            tokio::time::sleep(RENEW).await;
            let (id, token) = (self.pass.report.asked.id, self.pass.token);
            if let Err(error) = self.store.renew_reconciliation(id, token, LEASE).await {
                tracing::warn!(
                    reconciliation.id = %id, error = %Chain(&error),
                    "the lease on a reconciliation could not be renewed: trying again"
                );
            }
        }
    }

    async fn run(&self) -> Result<(), Trouble> {
        let client = self.endpoint.client.as_deref().ok_or_else(|| {
            Trouble::Never(format!(
                "Finkare cannot be asked: set `api_key` of endpoint `{}`, and reload",
                self.endpoint.name
            ))
        })?;
        // A place that a newer version has stored and this one cannot read: the pass begins anew, with the same result.
        let mut progress = serde_json::from_str(&self.pass.progress).unwrap_or(Progress::List(Sweep::default()));
        let mut sums = self.pass.report.sums.clone();
        loop {
            progress = match progress {
                Progress::List(sweep) => self.list(client, sweep).await?,
                Progress::Events { after } => self.events(after).await?,
                Progress::Compare { after, number } => {
                    if after.is_empty() {
                        sums.clear();
                    }
                    let (step, next) = self.compare(client, &after, number).await?;
                    if let Some((more, differences)) = step {
                        for one in more {
                            compare::add(&mut sums, one);
                        }
                        let step =
                            Step { differences: (number, differences), sums: Some(sums.clone()), ..Step::default() };
                        self.store(step, &next).await?;
                    }
                    next
                }
                Progress::Fill { after } => self.fill(client, after).await?,
                Progress::Done => return Ok(()),
            };
        }
    }

    async fn store(&self, step: Step, next: &Progress) -> Result<(), Trouble> {
        let progress = serde_json::to_string(next).expect("numbers and texts can be written as JSON");
        let step = Step { progress, ..step };
        let stored = self.store.step_reconciliation(self.pass.report.asked.id, self.pass.token, &step).await?;
        if stored { Ok(()) } else { Err(Trouble::Lost) }
    }

    fn period(&self) -> Period {
        let asked = &self.pass.report.asked;
        // Who asks by hand wants to see all of it.
        let not_after = (asked.actor == SCHEDULE)
            .then(|| self.pass.report.started_at.checked_sub(self.endpoint.patience).ok())
            .flatten();
        Period {
            since: asked.since,
            until: asked.until,
            zone: self.endpoint.timezone.clone(),
            window: SignedDuration::try_from(self.endpoint.window).unwrap_or(SignedDuration::MAX),
            not_after,
        }
    }

    /// The time of the period, extended by so much on both sides.
    fn times(&self, by: SignedDuration) -> (Timestamp, Timestamp) {
        let asked = &self.pass.report.asked;
        let zone = &self.endpoint.timezone;
        let begin = asked.since.to_zoned(zone.clone()).map(|day| day.timestamp());
        let end = asked.until.checked_add(Span::new().days(1)).and_then(|day| day.to_zoned(zone.clone()));
        let begin = begin.ok().and_then(|at| at.checked_sub(by).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        let end = end.ok().and_then(|day| day.timestamp().checked_add(by).ok()).unwrap_or(Timestamp::MAX);
        (begin.max(Timestamp::UNIX_EPOCH), end)
    }

    /// One page of Finkare's list.
    async fn list(&self, client: &Client, mut sweep: Sweep) -> Result<Progress, Trouble> {
        let day = SignedDuration::from_hours(24);
        let (from, to) = self.times(self.period().window * 2 + day);
        let whole_seconds = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
        let filter = PaymentFilter {
            from_date: Some(whole_seconds(from)),
            to_date: Some(whole_seconds(to)),
            ..PaymentFilter::default()
        };
        let before = sweep.clone();
        let page = client.payments().list(&filter, PageRequest { page: sweep.pages + 1, limit: PAGE }).await?;
        let total = page.pagination.total;
        // Finkare may put fewer on a page than it is asked for.
        let full = page.pagination.limit.map_or(u64::from(PAGE), |limit| limit.min(u64::from(PAGE)));
        sweep.pages += 1;
        sweep.rows += page.rows();
        sweep.unreadable += page.unreadable.len() as u64;
        sweep.has_changed |= sweep.pages > 1 && total != sweep.total;
        sweep.total = total;
        let is_last = page.rows() < full || total.is_some_and(|total| sweep.rows >= total);
        let (payments, unusable): (Vec<Payment>, Vec<Payment>) = page.data.into_iter().partition(is_usable);
        sweep.unreadable += unusable.len() as u64;
        let mut step = Step { payments, ..Step::default() };
        if !is_last {
            if sweep.pages >= MOST_PAGES {
                return Err(Trouble::Never(format!(
                    "Finkare lists more than {} payments for these days: reconcile fewer days at a time",
                    MOST_PAGES * PAGE
                )));
            }
            let next = Progress::List(sweep);
            self.store(step, &next).await?;
            return Ok(next);
        }
        // The payments are counted after the last page is stored; if that is cut off, this page is read again.
        let unreadable = sweep.unreadable;
        step.unreadable = Some(unreadable);
        self.store(step, &Progress::List(before)).await?;
        let known = self.store.payments_read(self.pass.report.asked.id).await?;
        let is_complete = sweep.total.is_none_or(|total| known + unreadable >= total);
        let is_calm = match sweep.total {
            Some(_) => !sweep.has_changed,
            None => sweep.known_before == Some(known) || sweep.pages == 1,
        };
        let next = if is_complete && is_calm {
            Progress::Events { after: None }
        } else if sweep.number + 1 < MOST_SWEEPS {
            let known_before = Some(known);
            Progress::List(Sweep { number: sweep.number + 1, known_before, ..Sweep::default() })
        } else {
            return Err(Trouble::Again(
                "Finkare's list of payments changed during each reading, so nobody knows whether it is complete"
                    .to_owned(),
            ));
        };
        self.store(Step::default(), &next).await?;
        Ok(next)
    }

    /// The invoices of the events of these days. An event may come long after its payment.
    async fn events(&self, after: Option<EventId>) -> Result<Progress, Trouble> {
        let (since, until) = self.times(self.period().window);
        let name = self.endpoint.name.as_str();
        let (invoices, last) = self.store.announced_invoices(name, since, until, after, EVENTS).await?;
        let next = match last {
            Some(last) => Progress::Events { after: Some(last) },
            None => Progress::Compare { after: String::new(), number: 1 },
        };
        self.store(Step { invoices, ..Step::default() }, &next).await?;
        Ok(next)
    }

    /// The next invoices.
    async fn compare(&self, client: &Client, after: &str, number: i64) -> Result<(Option<Found>, Progress), Trouble> {
        let id = self.pass.report.asked.id;
        let invoices = self.store.invoices_to_reconcile(id, after, INVOICES).await?;
        let Some(last) = invoices.last().cloned() else {
            let next = if self.pass.report.asked.fill { Progress::Fill { after: 0 } } else { Progress::Done };
            self.store(Step::default(), &next).await?;
            return Ok((None, next));
        };
        let payments = self.store.payments_to_reconcile(id, &invoices).await?;
        let evidence = self.store.evidence(self.endpoint.name.as_str(), &invoices).await?;
        let (mut sums, mut differences) = (Vec::new(), Vec::new());
        for invoice in &invoices {
            let found = self.one(client, invoice, &payments, &evidence).await?;
            sums.push(found.sums);
            differences.extend(found.differences);
            let gone = books::gone(&self.scene.targets, &self.period(), invoice, &payments, &evidence.lines).await;
            books::settle(&mut differences, gone);
        }
        let number = number + i64::try_from(differences.len()).unwrap_or(i64::MAX);
        Ok((Some((sums, differences)), Progress::Compare { after: last, number }))
    }

    /// One invoice. If an event finds no payment among those of the period, all payments of the invoice are read.
    async fn one(
        &self,
        client: &Client,
        invoice_id: &str,
        payments: &[Payment],
        evidence: &Evidence,
    ) -> Result<Compared, Trouble> {
        let period = self.period();
        let takers = |payload: Option<&[u8]>| self.takers(payload);
        let endpoint = self.endpoint.name.as_str();
        let of_invoice: Vec<Payment> =
            payments.iter().filter(|payment| payment.invoice_id == invoice_id).cloned().collect();
        let case = Case {
            endpoint,
            invoice_id,
            payments: &of_invoice,
            unreadable: &[],
            evidence,
            period: &period,
            takers: &takers,
        };
        let found = compare(&case);
        if !found.is_open {
            return Ok(found);
        }
        let whole = match client.payments().of_invoice(invoice_id).await {
            Ok(whole) => whole.data,
            Err(finkare::Error::Api { status: 404, .. } | finkare::Error::Unusable { .. }) => {
                PaymentsOfInvoice::default()
            }
            Err(error) => return Err(error.into()),
        };
        let mut all = whole.payments;
        for payment in &of_invoice {
            if all.iter().all(|one| one.id != payment.id) {
                all.push(payment.clone());
            }
        }
        Ok(compare(&Case { payments: &all, unreadable: &whole.unreadable, ..case }))
    }

    /// The sinks that take an event with this body.
    fn takers(&self, payload: Option<&[u8]>) -> Vec<Taker> {
        let endpoint = self.endpoint.name.as_str();
        let wants = |target: &&super::Target| {
            target.is_for_programs
                && match payload {
                    Some(payload) => target.route.decide(endpoint, PAYMENT_RECEIVED, &Body::new(payload)).is_taken(),
                    None => target.route.filter.is_none() && target.route.wants(endpoint, PAYMENT_RECEIVED),
                }
        };
        let taker = |target: &super::Target| Taker { name: target.route.sink.clone(), keeps_books: target.keeps_books };
        self.scene.targets.iter().filter(wants).map(taker).collect()
    }

    /// Makes the events of some payments that were never announced.
    async fn fill(&self, client: &Client, after: i64) -> Result<Progress, Trouble> {
        let id = self.pass.report.asked.id;
        let some = self.store.differences(id, after, FILLS).await?;
        for (number, difference) in &some {
            let (Some(payment_id), Some(invoice_id)) = (&difference.payment_id, &difference.invoice_id) else {
                continue;
            };
            if difference.kind != DifferenceKind::NeverAnnounced || difference.event_id.is_some() {
                continue;
            }
            let invoices = [invoice_id.clone()];
            // Another look: its event may have come in the meantime.
            let payments = self.store.payments_to_reconcile(id, &invoices).await?;
            let evidence = self.store.evidence(self.endpoint.name.as_str(), &invoices).await?;
            let belongs = evidence.belongs.iter().find(|one| one.payment_id == *payment_id);
            let event = if let Some(belongs) = belongs {
                Some(belongs.event_id)
            } else {
                let found = self.one(client, invoice_id, &payments, &evidence).await?;
                let payment = payments.iter().find(|payment| payment.id == *payment_id);
                match payment.filter(|_| found.fillable.contains(payment_id)) {
                    Some(payment) => self.make(payment).await?,
                    None => None,
                }
            };
            if let Some(event) = event {
                let next = Progress::Fill { after: *number };
                let progress = serde_json::to_string(&next).expect("numbers can be written as JSON");
                let detail = compare::filled(payment_id, difference, event);
                let noted = self.store.note_filled(id, self.pass.token, *number, (event, &detail), &progress).await?;
                if !noted {
                    return Err(Trouble::Lost);
                }
            }
        }
        let next = match some.last() {
            Some((last, _)) => Progress::Fill { after: *last },
            None => Progress::Done,
        };
        self.store(Step::default(), &next).await?;
        Ok(next)
    }

    /// Makes the event of a payment, once.
    async fn make(&self, payment: &Payment) -> Result<Option<EventId>, Trouble> {
        let Some(filling) = self.filling(payment) else { return Ok(None) };
        let filled = self.store.fill_payment(&filling).await?;
        let (Filled::Made(event) | Filled::Already(event)) = filled;
        if matches!(filled, Filled::Made(_)) {
            tracing::info!(
                event.id = %event, endpoint.name = %self.endpoint.name, payment.id = %payment.id,
                amount = %Cents(payment.amount_cents),
                "the event of a payment that was never announced was made"
            );
            let known = Announced {
                event_id: event,
                invoice_id: payment.invoice_id.to_string(),
                amount_cents: Cents(payment.amount_cents),
                currency: payment.currency.clone(),
                payment_id: Some(payment.id.to_string()),
                invoice_number: None,
                debtor: None,
                method: payment.method.as_ref().map(ToString::to_string),
                paid_at: payment.paid_at,
            };
            // Only for searches.
            let _ = self.store.note_announced(&known).await;
        }
        Ok(Some(event))
    }

    fn filling(&self, payment: &Payment) -> Option<Filling> {
        let at = match payment.paid_at? {
            PaidAt::At(at) => clock::storable(at)?,
            // Noon is that day in nearly every zone.
            PaidAt::On(day) => day.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
        };
        let endpoint = self.endpoint.name.as_str();
        let payload = body(payment, at);
        let sinks = self.sinks(&payload);
        Some(Filling {
            event_id: EventId::of_payment(endpoint, &payment.id, at),
            endpoint: endpoint.to_owned(),
            payment_id: payment.id.to_string(),
            invoice_id: payment.invoice_id.to_string(),
            amount_cents: payment.amount_cents,
            at,
            payload,
            sinks,
        })
    }

    /// The sinks that get an event of this body, as if Finkare had delivered it.
    fn sinks(&self, payload: &[u8]) -> Vec<SinkName> {
        let body = Body::new(payload);
        let endpoint = self.endpoint.name.as_str();
        let takes = |target: &&super::Target| target.route.decide(endpoint, PAYMENT_RECEIVED, &body).is_taken();
        self.scene.targets.iter().filter(takes).map(|target| target.route.sink.clone()).collect()
    }
}

/// True if the store can hold the texts.
fn is_usable(payment: &Payment) -> bool {
    let is_plain =
        |text: &str| !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    is_plain(&payment.id) && is_plain(&payment.invoice_id)
}

/// The body of the event, in the form of Finkare's own, with the fields that Finkare does not document and the relay reads.
fn body(payment: &Payment, at: Timestamp) -> Vec<u8> {
    let mut data = Map::new();
    data.insert("invoiceId".into(), payment.invoice_id.as_str().into());
    data.insert("amountCents".into(), payment.amount_cents.into());
    data.insert("paymentId".into(), payment.id.as_str().into());
    if let Some(currency) = &payment.currency {
        data.insert("currency".into(), currency.as_str().into());
    }
    if let Some(method) = &payment.method {
        data.insert("method".into(), method.as_str().into());
    }
    if let Some(paid_at) = payment.paid_at {
        data.insert("paidAt".into(), paid_at.to_string().into());
    }
    let mut body = Map::new();
    body.insert("event".into(), PAYMENT_RECEIVED.into());
    body.insert("data".into(), Value::Object(data));
    body.insert("timestamp".into(), format!("{at:.3}").into());
    Value::Object(body).to_string().into_bytes()
}
