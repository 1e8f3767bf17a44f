//! What the store promises about reconciliations: a report is made by one process at a time, goes on where a killed process
//! left it, and is kept. Implemented once for both databases.
//!
//! A report that is running has a lease, by the store's clock. Every step stores its result together with the place where the
//! pass goes on, in one transaction that checks the lease: a step that was cut off is done again, and one that was not never
//! is. Finkare's payments are kept here while they are compared, and removed when the report is finished.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    error::{Failure, StoreError},
    events::first_id_at,
    ledger::LARGEST_ANNOUNCEMENT,
    link::audit,
    lists::one_of,
    page::Page,
    tx::{Access, Again, Sql, Transact, Tx, Value, later, sql, values},
};
use crate::model::{
    audit::NewAudit,
    booking::BookingState,
    clock,
    dispatch::State,
    event::{DedupeKey, PAYMENT_RECEIVED},
    id::{EventId, LeaseToken, SinkName},
    reconciliation::{
        AtFinkare, Difference, DifferenceKind, NewReport, Report, ReportId, ReportState, Summary, SumsByCurrency,
    },
};

/// How many finished reports are kept for each endpoint; the oldest are deleted.
pub const KEPT: u32 = 200;

/// The pointer of the dedupe key of an event that a reconciliation makes: not one of a body.
const KEY: &str = "reconciliation";

/// The result of asking for a reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is stored, and begins soon.
    Begun,
    /// This one is running for the endpoint: nothing was stored.
    Running(ReportId),
    /// Another one was begun too recently: nothing was stored.
    Recent {
        /// How long until it is time.
        wait: Duration,
    },
}

/// A report that this process works on, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The report.
    pub report: Report,
    /// Where it goes on, as it was stored; empty at the beginning.
    pub progress: String,
    /// Proves that the report is ours to continue.
    pub token: LeaseToken,
}

/// A part of a report that is finished, to be stored with the place where the pass goes on.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// Payments that were read; a payment that was read before is replaced.
    pub payments: Vec<AtFinkare>,
    /// How many payments cannot be read, in all; `None` leaves the number.
    pub unreadable: Option<u64>,
    /// Invoices to compare.
    pub invoices: Vec<String>,
    /// Differences that were found, with the number of the first one.
    pub differences: (i64, Vec<Difference>),
    /// The sums so far; `None` leaves them.
    pub sums: Option<SumsByCurrency>,
    /// Where the pass goes on.
    pub progress: String,
}

/// An event that announces a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcing {
    /// The event.
    pub event_id: EventId,
    /// Its invoice.
    pub invoice_id: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// The verified message; `None` if it has been removed or is larger than [`LARGEST_ANNOUNCEMENT`].
    pub payload: Option<Vec<u8>>,
}

/// Which payment belongs to which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belongs {
    /// The event.
    pub event_id: EventId,
    /// The payment.
    pub payment_id: String,
    /// The invoice.
    pub invoice_id: String,
    /// The amount in cents, as the event says.
    pub amount_cents: i64,
    /// True for an event that came after a reconciliation had made the event of this payment.
    pub is_late: bool,
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The sink.
    pub sink: String,
    /// The payment.
    pub payment_id: String,
    /// The amount in cents.
    pub amount_cents: i64,
    /// The currency.
    pub currency: String,
    /// The state of the booking.
    pub state: BookingState,
}

/// A dispatch of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub id: i64,
    /// The event.
    pub event_id: EventId,
    /// The sink.
    pub sink: String,
    /// Its state.
    pub state: State,
    /// Why it is held or dead.
    pub reason: Option<String>,
}

/// Everything that the store knows about the payments of some invoices of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The events that announce payments, the oldest first.
    pub events: Vec<Announcing>,
    /// Which payments belong to which events; the event may be gone.
    pub belongs: Vec<Belongs>,
    /// The ledger.
    pub lines: Vec<Line>,
    /// The dispatches of these events, the oldest first.
    pub sent: Vec<Sent>,
}

/// An event to be made of a payment that was never announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filling {
    /// Its id: see [`EventId::of_payment`].
    pub event_id: EventId,
    /// The endpoint.
    pub endpoint: String,
    /// The payment.
    pub payment_id: String,
    /// The invoice.
    pub invoice_id: String,
    /// The amount in cents; more than zero.
    pub amount_cents: i64,
    /// The time of the payment, which counts as the time of the event and of its receipt.
    pub at: Timestamp,
    /// The body.
    pub payload: Vec<u8>,
    /// The sinks that get it.
    pub sinks: Vec<SinkName>,
}

/// The result of filling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The event was made.
    Made(EventId),
    /// The payment has this event: it was made before, or an event announced it in the meantime.
    Already(EventId),
}

/// The part of the store that is about reconciliations.
#[async_trait]
pub trait ReconciliationStore: Send + Sync {
    /// Stores that a reconciliation is wanted, with the audit entry, unless one is running for the endpoint, or one was begun
    /// by `schedule` less than `not_within` ago. If two replicas ask at the same time, one is stored.
    async fn ask_reconciliation(
        &self,
        new: &NewReport,
        not_within: Option<Duration>,
        audit: NewAudit,
    ) -> Result<Asked, StoreError>;

    /// Takes the oldest report that is running and that no process works on, of one of these endpoints.
    async fn take_reconciliation(
        &self,
        endpoints: &[String],
        token: LeaseToken,
        lease: Duration,
    ) -> Result<Option<Pass>, StoreError>;

    /// Extends the lease to this long from now; false if it was lost.
    async fn renew_reconciliation(&self, id: ReportId, token: LeaseToken, lease: Duration) -> Result<bool, StoreError>;

    /// Ends the lease, so that the pass goes on here or elsewhere after `after`; `problem` says what hinders it.
    async fn release_reconciliation(
        &self,
        id: ReportId,
        token: LeaseToken,
        after: Duration,
        problem: Option<&str>,
    ) -> Result<(), StoreError>;

    /// Makes the running reports free at once. For the start of a store that only one process uses.
    async fn free_reconciliations(&self) -> Result<u64, StoreError>;

    /// Stores a step; false if the lease was lost, and then nothing was stored.
    async fn step_reconciliation(&self, id: ReportId, token: LeaseToken, step: &Step) -> Result<bool, StoreError>;

    /// Finishes a report, with the problem if it failed; false if the lease was lost. What was kept for making it is removed,
    /// and so are finished reports beyond the newest [`KEPT`] of the endpoint.
    async fn finish_reconciliation(
        &self,
        id: ReportId,
        token: LeaseToken,
        problem: Option<&str>,
    ) -> Result<bool, StoreError>;

    /// The next invoices to compare, after this one, in the order of their ids; at most `limit`.
    async fn invoices_to_reconcile(&self, id: ReportId, after: &str, limit: u32) -> Result<Vec<String>, StoreError>;

    /// How many different payments were read for a report.
    async fn payments_read(&self, id: ReportId) -> Result<u64, StoreError>;

    /// The payments of these invoices that were read for a report, by id.
    async fn payments_to_reconcile(&self, id: ReportId, invoices: &[String]) -> Result<Vec<AtFinkare>, StoreError>;

    /// The invoices of the events that announce payments and happened from `since` until before `until`, after this event; with
    /// the last event that was looked at, if there may be more. An event happened when it says so, and else when it was
    /// received. Events that were received before `since` are not looked at.
    async fn announced_invoices(
        &self,
        endpoint: &str,
        since: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<(Vec<String>, Option<EventId>), StoreError>;

    /// Everything that is known about the payments of these invoices, in one consistent read.
    async fn evidence(&self, endpoint: &str, invoices: &[String]) -> Result<Evidence, StoreError>;

    /// Makes the event of a payment that was never announced, with its dispatches and its assignment, in one transaction;
    /// unless the payment has an event already. However often it is called, there is one event.
    async fn fill_payment(&self, filling: &Filling) -> Result<Filled, StoreError>;

    /// Notes in a difference which event was made, and what is the matter since then; false if the lease was lost.
    async fn note_filled(
        &self,
        id: ReportId,
        token: LeaseToken,
        number: i64,
        made: (EventId, &str),
        progress: &str,
    ) -> Result<bool, StoreError>;

    /// Reports, newest first, of these endpoints (`None`: all), older than `before`; at most `limit`.
    async fn reconciliations(
        &self,
        endpoints: Option<&[String]>,
        before: Option<ReportId>,
        limit: u32,
    ) -> Result<Page<Report>, StoreError>;

    /// One report.
    async fn reconciliation(&self, id: ReportId) -> Result<Option<Report>, StoreError>;

    /// The differences of a report with their numbers, in their order, after this number; at most `limit`.
    async fn differences(&self, id: ReportId, after: i64, limit: u32) -> Result<Vec<(i64, Difference)>, StoreError>;

    /// The last report of each endpoint that is done.
    async fn last_reconciliations(&self) -> Result<Vec<Report>, StoreError>;
}

macro_rules! report_columns {
    () => {
        "id, endpoint, since, until, fill, actor, state, started_at, finished_at, sums, counts, unreadable, problem,
         progress"
    };
}

macro_rules! difference_columns {
    () => {
        "number, kind, payment_id, invoice_id, amount_cents, currency, paid_at, sink, detail, event_id"
    };
}

#[derive(FromRow)]
struct ReportRow {
    id: Uuid,
    endpoint: String,
    since: String,
    until: String,
    fill: i64,
    actor: String,
    state: String,
    started_at: i64,
    finished_at: Option<i64>,
    sums: String,
    counts: String,
    unreadable: i64,
    problem: Option<String>,
    progress: String,
}

impl ReportRow {
    fn read(self) -> Result<Report, StoreError> {
        let id = self.id;
        let unreadable = |column, problem: String| StoreError::Unreadable {
            table: "reconciliations",
            column,
            row: id.to_string(),
            problem,
        };
        let day = |column, text: &str| text.parse().map_err(|error: jiff::Error| unreadable(column, error.to_string()));
        Ok(Report {
            asked: NewReport {
                id: ReportId(id),
                endpoint: self.endpoint,
                since: day("since", &self.since)?,
                until: day("until", &self.until)?,
                fill: self.fill != 0,
                actor: self.actor,
            },
            state: ReportState::read(&self.state)
                .ok_or_else(|| unreadable("state", format!("`{}` is no state", self.state)))?,
            started_at: clock::nearest(self.started_at),
            finished_at: self.finished_at.map(clock::nearest),
            sums: serde_json::from_str(&self.sums).map_err(|error| unreadable("sums", error.to_string()))?,
            counts: serde_json::from_str(&self.counts).map_err(|error| unreadable("counts", error.to_string()))?,
            unreadable: self.unreadable.unsigned_abs(),
            problem: self.problem,
            summary: (self.state == "done").then(|| serde_json::from_str(&self.progress).unwrap_or_default()),
        })
    }
}

#[derive(FromRow)]
struct DifferenceRow {
    number: i64,
    kind: String,
    payment_id: Option<String>,
    invoice_id: Option<String>,
    amount_cents: Option<i64>,
    currency: Option<String>,
    paid_at: Option<String>,
    sink: Option<String>,
    detail: String,
    event_id: Option<String>,
}

impl DifferenceRow {
    /// A difference of a kind that this version does not know is left out: a newer one has written it.
    fn read(self) -> Option<(i64, Difference)> {
        let kind = DifferenceKind::read(&self.kind)?;
        let Self { number, payment_id, invoice_id, amount_cents, currency, paid_at, sink, detail, .. } = self;
        let event_id = self.event_id.and_then(|text| text.parse().ok());
        Some((
            number,
            Difference { kind, payment_id, invoice_id, amount_cents, currency, paid_at, sink, detail, event_id },
        ))
    }
}

#[derive(FromRow)]
struct PaymentRow {
    payment_id: String,
    invoice_id: String,
    amount_cents: i64,
    currency: Option<String>,
    status: String,
    method: Option<String>,
    paid_at: Option<String>,
}

impl From<PaymentRow> for AtFinkare {
    fn from(row: PaymentRow) -> Self {
        Self {
            id: row.payment_id.into(),
            invoice_id: row.invoice_id.into(),
            amount_cents: row.amount_cents,
            currency: row.currency,
            status: row.status.into(),
            method: row.method.map(Into::into),
            paid_at: row.paid_at.and_then(|text| text.parse().ok()),
            other: serde_json::Map::new(),
        }
    }
}

const PUT_PAYMENT: &str = "
    INSERT INTO reconciliation_payments (report_id, payment_id, invoice_id, amount_cents, currency, status, method, paid_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (report_id, payment_id) DO UPDATE
    SET invoice_id = excluded.invoice_id, amount_cents = excluded.amount_cents, currency = excluded.currency,
        status = excluded.status, method = excluded.method, paid_at = excluded.paid_at";

const PUT_INVOICE: &str = "
    INSERT INTO reconciliation_invoices (report_id, invoice_id) VALUES ($1, $2)
    ON CONFLICT (report_id, invoice_id) DO NOTHING";

/// A step that is stored again replaces what an earlier one has stored under the same numbers.
const PUT_DIFFERENCE: &str = "
    INSERT INTO reconciliation_differences (report_id, number, kind, payment_id, invoice_id, amount_cents, currency,
                                            paid_at, sink, detail, event_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (report_id, number) DO UPDATE
    SET kind = excluded.kind, payment_id = excluded.payment_id, invoice_id = excluded.invoice_id,
        amount_cents = excluded.amount_cents, currency = excluded.currency, paid_at = excluded.paid_at,
        sink = excluded.sink, detail = excluded.detail, event_id = excluded.event_id";

/// The report is locked against other processes until the commit.
const OURS: Sql = sql!(
    "SELECT endpoint, counts FROM reconciliations WHERE id = $1 AND token = $2 AND state = 'running'",
    " FOR UPDATE" | ""
);

const INSERT_EVENT: Sql = Sql::Fixed {
    postgres: "INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries,
                                   readable, content_type, payload)
               VALUES ($1, $2, $3, $4, $5, $6, $6, 1, TRUE, 'application/json', $7)",
    sqlite: "INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries,
                                 last_delivery_at, readable, content_type, payload)
             VALUES ($1, $2, $3, $4, $5, $6, $6, 1, $6, TRUE, 'application/json', $7)",
};

/// The sentences about an invoice that is erased: a reason may quote the answer of a target.
pub(super) const FORGET_DIFFERENCES: &str =
    "UPDATE reconciliation_differences SET detail = 'erased' WHERE invoice_id = $1";

/// The endpoint and the counts of a report that this token entitles to continue.
async fn ours(tx: &mut Tx<'_>, id: ReportId, token: LeaseToken) -> Result<Option<(String, String)>, Failure> {
    tx.row(OURS, values![id.0, token.0]).await
}

fn written<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("words and numbers can be written as JSON")
}

#[async_trait]
impl<S: Transact> ReconciliationStore for S {
    async fn ask_reconciliation(
        &self,
        new: &NewReport,
        not_within: Option<Duration>,
        audit: NewAudit,
    ) -> Result<Asked, StoreError> {
        let action = format!("begin a reconciliation of endpoint {}", new.endpoint);
        self.transact(action, Again::Harmless, Access::Link, async |mut tx| {
            let now = tx.now().await?;
            let running = "SELECT id FROM reconciliations WHERE endpoint = $1 AND state = 'running'";
            let running: Option<(Uuid,)> = tx.row(running, values![&new.endpoint]).await?;
            if let Some((id,)) = running {
                // The same call once more has the same result.
                let is_ours = id == new.id.0;
                return tx.commit(if is_ours { Asked::Begun } else { Asked::Running(ReportId(id)) }).await;
            }
            if let Some(within) = not_within {
                let last = "SELECT max(started_at) FROM reconciliations WHERE endpoint = $1 AND actor = $2";
                let last: (Option<i64>,) = tx.one(last, values![&new.endpoint, &new.actor]).await?;
                let due = last.0.filter(|last| *last <= now).map_or(now, |last| later(last, within));
                if due > now {
                    let wait = Duration::from_micros((due - now).unsigned_abs());
                    return tx.commit(Asked::Recent { wait }).await;
                }
            }
            let insert = "INSERT INTO reconciliations (id, endpoint, since, until, fill, actor, state, started_at,
                                                       progress, sums, counts)
                          VALUES ($1, $2, $3, $4, $5, $6, 'running', $7, '', '{}', '{}')";
            let (since, until) = (new.since.to_string(), new.until.to_string());
            let values = values![new.id.0, &new.endpoint, since, until, i64::from(new.fill), &new.actor, now];
            tx.execute(insert, values).await?;
            audit::insert(&mut tx, &audit).await?;
            tx.commit(Asked::Begun).await
        })
        .await
    }

    async fn take_reconciliation(
        &self,
        endpoints: &[String],
        token: LeaseToken,
        lease: Duration,
    ) -> Result<Option<Pass>, StoreError> {
        let action = "look for a reconciliation to be made";
        let free = |now: i64| {
            let mut text = concat!(
                "SELECT ",
                report_columns!(),
                " FROM reconciliations WHERE state = 'running' AND lease_until <= $1"
            )
            .to_owned();
            let mut values = vec![Value::from(now)];
            one_of(&mut text, &mut values, " AND endpoint", endpoints);
            text.push_str(" ORDER BY id LIMIT 1");
            (text, values)
        };
        // Nearly always there is none, and then nothing is locked.
        let found = self
            .transact(action, Again::Harmless, Access::Read, async |mut tx| {
                let (text, values) = free(tx.now().await?);
                let found: Option<ReportRow> = tx.row(Sql::Made(text), &values).await?;
                tx.commit(found.is_some()).await
            })
            .await?;
        if !found {
            return Ok(None);
        }
        let taken = self
            .transact(action, Again::Harmless, Access::Link, async |mut tx| {
                let now = tx.now().await?;
                let (text, values) = free(now);
                let found: Option<ReportRow> = tx.row(Sql::Made(text), &values).await?;
                if let Some(report) = &found {
                    let take = "UPDATE reconciliations SET token = $2, lease_until = $3 WHERE id = $1";
                    tx.execute(take, values![report.id, token.0, later(now, lease)]).await?;
                }
                tx.commit(found).await
            })
            .await?;
        let Some(row) = taken else { return Ok(None) };
        let progress = row.progress.clone();
        Ok(Some(Pass { report: row.read()?, progress, token }))
    }

    async fn renew_reconciliation(&self, id: ReportId, token: LeaseToken, lease: Duration) -> Result<bool, StoreError> {
        self.transact("renew the lease of a reconciliation", Again::Harmless, Access::Write, async |mut tx| {
            let now = tx.now().await?;
            let renew = "UPDATE reconciliations SET lease_until = $3
                         WHERE id = $1 AND token = $2 AND state = 'running'";
            let renewed = tx.execute(renew, values![id.0, token.0, later(now, lease)]).await?;
            tx.commit(renewed > 0).await
        })
        .await
    }

    async fn release_reconciliation(
        &self,
        id: ReportId,
        token: LeaseToken,
        after: Duration,
        problem: Option<&str>,
    ) -> Result<(), StoreError> {
        self.transact("give a reconciliation back", Again::Harmless, Access::Write, async |mut tx| {
            let now = tx.now().await?;
            let release = "UPDATE reconciliations SET lease_until = $3, problem = $4
                           WHERE id = $1 AND token = $2 AND state = 'running'";
            tx.execute(release, values![id.0, token.0, later(now, after), problem]).await?;
            tx.commit(()).await
        })
        .await
    }

    async fn free_reconciliations(&self) -> Result<u64, StoreError> {
        self.transact("free the reconciliations", Again::Harmless, Access::Write, async |mut tx| {
            let free = "UPDATE reconciliations SET lease_until = 0 WHERE state = 'running' AND lease_until > 0";
            let freed = tx.execute(free, &[]).await?;
            tx.commit(freed).await
        })
        .await
    }

    async fn step_reconciliation(&self, id: ReportId, token: LeaseToken, step: &Step) -> Result<bool, StoreError> {
        self.transact("store a step of a reconciliation", Again::Harmless, Access::Write, async |mut tx| {
            let Some((_, counts)) = ours(&mut tx, id, token).await? else { return tx.commit(false).await };
            for payment in &step.payments {
                let AtFinkare { id: payment_id, invoice_id, amount_cents, currency, status, method, paid_at, .. } = payment;
                let method = method.as_ref().map(ToString::to_string);
                let paid_at = paid_at.map(|at| at.to_string());
                let values = values![
                    id.0,
                    payment_id.as_str(),
                    invoice_id.as_str(),
                    *amount_cents,
                    currency,
                    status.as_str(),
                    method,
                    paid_at
                ];
                tx.execute(PUT_PAYMENT, values).await?;
            }
            let of_payments = step.payments.iter().map(|payment| payment.invoice_id.as_str());
            for invoice in step.invoices.iter().map(String::as_str).chain(of_payments) {
                tx.execute(PUT_INVOICE, values![id.0, invoice]).await?;
            }
            let (first, differences) = &step.differences;
            let mut counts: BTreeMap<DifferenceKind, u64> = serde_json::from_str(&counts).unwrap_or_default();
            for (number, difference) in (*first..).zip(differences) {
                *counts.entry(difference.kind).or_default() += 1;
                put(&mut tx, id, number, difference).await?;
            }
            let update = "UPDATE reconciliations
                          SET progress = $2, counts = $3, sums = coalesce($4, sums), unreadable = coalesce($5, unreadable),
                              problem = NULL
                          WHERE id = $1";
            let unreadable = step.unreadable.map(|unreadable| i64::try_from(unreadable).unwrap_or(i64::MAX));
            let sums = step.sums.as_ref().map(written);
            tx.execute(update, values![id.0, &step.progress, written(&counts), sums, unreadable]).await?;
            tx.commit(true).await
        })
        .await
    }

    async fn finish_reconciliation(
        &self,
        id: ReportId,
        token: LeaseToken,
        problem: Option<&str>,
    ) -> Result<bool, StoreError> {
        self.transact("finish a reconciliation", Again::Harmless, Access::Write, async |mut tx| {
            let Some((endpoint, _)) = ours(&mut tx, id, token).await? else { return tx.commit(false).await };
            let now = tx.now().await?;
            let all = concat!(
                "SELECT ",
                difference_columns!(),
                " FROM reconciliation_differences WHERE report_id = $1 ORDER BY number"
            );
            let differences: Vec<DifferenceRow> = tx.rows(all, values![id.0]).await?;
            let differences: Vec<Difference> =
                differences.into_iter().filter_map(DifferenceRow::read).map(|(_, difference)| difference).collect();
            let finish = "UPDATE reconciliations SET state = $2, problem = $3, finished_at = $4, progress = $5
                          WHERE id = $1";
            let state = if problem.is_some() { ReportState::Failed } else { ReportState::Done };
            let summary = written(&Summary::of(&differences));
            tx.execute(finish, values![id.0, state.as_str(), problem, now, summary]).await?;
            if state == ReportState::Done {
                let last = "INSERT INTO reconciliation_last (endpoint, report_id) VALUES ($1, $2)
                            ON CONFLICT (endpoint) DO UPDATE SET report_id = excluded.report_id";
                tx.execute(last, values![&endpoint, id.0]).await?;
            }
            let old = "SELECT id FROM reconciliations WHERE endpoint = $1 AND state <> 'running'
                       ORDER BY id DESC LIMIT 50 OFFSET $2";
            let old: Vec<(Uuid,)> = tx.rows(old, values![&endpoint, KEPT]).await?;
            for (old,) in &old {
                tx.execute("DELETE FROM reconciliation_differences WHERE report_id = $1", values![*old]).await?;
                tx.execute("DELETE FROM reconciliations WHERE id = $1", values![*old]).await?;
            }
            tx.execute("DELETE FROM reconciliation_payments WHERE report_id = $1", values![id.0]).await?;
            tx.execute("DELETE FROM reconciliation_invoices WHERE report_id = $1", values![id.0]).await?;
            tx.commit(true).await
        })
        .await
    }

    async fn invoices_to_reconcile(&self, id: ReportId, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        let next = "SELECT invoice_id FROM reconciliation_invoices WHERE report_id = $1 AND invoice_id > $2
                    ORDER BY invoice_id LIMIT $3";
        let rows: Vec<(String,)> =
            self.read("read the invoices of a reconciliation", Access::Read, next, values![id.0, after, limit]).await?;
        Ok(rows.into_iter().map(|(invoice,)| invoice).collect())
    }

    async fn payments_read(&self, id: ReportId) -> Result<u64, StoreError> {
        let count = "SELECT count(*) FROM reconciliation_payments WHERE report_id = $1";
        let action = "count the payments of a reconciliation";
        let rows: Vec<(i64,)> = self.read(action, Access::Read, count, values![id.0]).await?;
        Ok(rows.first().map_or(0, |(count,)| count.unsigned_abs()))
    }

    async fn payments_to_reconcile(&self, id: ReportId, invoices: &[String]) -> Result<Vec<AtFinkare>, StoreError> {
        let mut text = "SELECT payment_id, invoice_id, amount_cents, currency, status, method, paid_at
                        FROM reconciliation_payments WHERE report_id = $1"
            .to_owned();
        let mut values = vec![Value::from(id.0)];
        one_of(&mut text, &mut values, " AND invoice_id", invoices);
        text.push_str(" ORDER BY payment_id");
        let action = "read the payments of a reconciliation";
        let rows: Vec<PaymentRow> = self.read(action, Access::Read, Sql::Made(text), &values).await?;
        Ok(rows.into_iter().map(AtFinkare::from).collect())
    }

    async fn announced_invoices(
        &self,
        endpoint: &str,
        since: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<(Vec<String>, Option<EventId>), StoreError> {
        let first = first_id_at(clock::to_micros(since));
        let after = after.map_or(Uuid::nil(), |after| after.0);
        let [since, until] = [since, until].map(clock::to_micros);
        let events = "SELECT id, CASE WHEN type = $3 AND endpoint = $4 AND coalesce(occurred_at, received_at) >= $5
                                       AND coalesce(occurred_at, received_at) < $6 THEN invoice_id END AS invoice_id
                      FROM events WHERE id >= $1 AND id > $2 ORDER BY id LIMIT $7";
        let values = values![first, after, PAYMENT_RECEIVED, endpoint, since, until, limit];
        let action = "read which invoices were paid";
        let rows: Vec<(Uuid, Option<String>)> = self.read(action, Access::Look, events, values).await?;
        let last = rows.last().filter(|_| rows.len() >= limit as usize).map(|(id, _)| EventId(*id));
        let mut invoices: Vec<String> = rows.into_iter().filter_map(|(_, invoice)| invoice).collect();
        invoices.sort_unstable();
        invoices.dedup();
        Ok((invoices, last))
    }

    async fn evidence(&self, endpoint: &str, invoices: &[String]) -> Result<Evidence, StoreError> {
        let of_invoices = |text: &str, mut values: Vec<Value<'_>>, order: &str| {
            let mut text = text.to_owned();
            text.push_str(" AND invoice_id IN (");
            for (place, invoice) in invoices.iter().enumerate() {
                values.push(Value::from(invoice.clone()));
                let _ = write!(text, "{}${}", if place > 0 { ", " } else { "" }, values.len());
            }
            let _ = write!(text, ") {order}");
            (text, values.into_iter().map(owned).collect::<Vec<Value<'static>>>())
        };
        if invoices.is_empty() {
            return Ok(Evidence::default());
        }
        let (events, of_events) = of_invoices(
            "SELECT id, invoice_id, received_at, CASE WHEN length(payload) <= $3 THEN payload END AS payload
             FROM events WHERE (endpoint || '') = $1 AND type = $2",
            values![endpoint, PAYMENT_RECEIVED, LARGEST_ANNOUNCEMENT].to_vec(),
            "ORDER BY id",
        );
        let (belongs, of_belongs) = of_invoices(
            "SELECT event_id, payment_id, invoice_id, amount_cents FROM assignments WHERE endpoint = $1",
            values![endpoint].to_vec(),
            "ORDER BY event_id",
        );
        let (late, of_late) = of_invoices(
            "SELECT event_id, payment_id, invoice_id, amount_cents FROM late_announcements WHERE endpoint = $1",
            values![endpoint].to_vec(),
            "ORDER BY event_id",
        );
        let (lines, of_lines) = of_invoices(
            "SELECT sink, payment_id, amount_cents, currency, state FROM bookings WHERE true",
            Vec::new(),
            "ORDER BY number",
        );
        self.transact(
            "read what is known of the payments of invoices",
            Again::Harmless,
            Access::Snapshot,
            async |mut tx| {
                let events: Vec<AnnouncingRow> = tx.rows(Sql::Made(events.clone()), &of_events).await?;
                let belongs: Vec<BelongsRow> = tx.rows(Sql::Made(belongs.clone()), &of_belongs).await?;
                let late: Vec<BelongsRow> = tx.rows(Sql::Made(late.clone()), &of_late).await?;
                let lines: Vec<LineRow> = tx.rows(Sql::Made(lines.clone()), &of_lines).await?;
                let ids: Vec<EventId> = events.iter().map(|event| EventId(event.id)).collect();
                let mut sent: Vec<SentRow> = tx.rows(SENT_QUEUE, values![&ids[..]]).await?;
                sent.extend(tx.rows::<SentRow>(SENT_HISTORY, values![&ids[..]]).await?);
                sent.sort_by_key(|sent| sent.id);
                let belongs =
                    belongs.into_iter().map(|row| row.read(false)).chain(late.into_iter().map(|row| row.read(true)));
                let evidence = Evidence {
                    events: events.into_iter().map(Announcing::from).collect(),
                    belongs: belongs.collect(),
                    lines: lines.into_iter().map(LineRow::read).collect::<Result<_, _>>()?,
                    sent: sent.into_iter().map(SentRow::read).collect(),
                };
                tx.commit(evidence).await
            },
        )
        .await
    }

    async fn fill_payment(&self, filling: &Filling) -> Result<Filled, StoreError> {
        let action = format!("make the event of a payment that was never announced ({})", filling.event_id);
        self.transact(action, Again::Harmless, Access::Ledger, async |mut tx| {
            let Filling { event_id, endpoint, payment_id, invoice_id, amount_cents, at, payload, sinks } = filling;
            let holder = "SELECT event_id FROM assignments WHERE endpoint = $1 AND payment_id = $2";
            let holder: Option<(Uuid,)> = tx.row(holder, values![endpoint, payment_id]).await?;
            if let Some((holder,)) = holder {
                return tx.commit(Filled::Already(EventId(holder))).await;
            }
            let now = tx.now().await?;
            let DedupeKey(key) = DedupeKey::of_value(KEY, PAYMENT_RECEIVED, payment_id);
            let known = "SELECT id FROM events WHERE endpoint = $1 AND dedupe_key = $2";
            let known: Option<(Uuid,)> = tx.row(known, values![endpoint, &key[..]]).await?;
            let id = known.map_or(event_id.0, |(id,)| id);
            if known.is_none() {
                let at = clock::to_micros(*at);
                let values = values![id, endpoint, &key[..], PAYMENT_RECEIVED, invoice_id, at, &payload[..]];
                tx.execute(INSERT_EVENT, values).await?;
                for sink in sinks {
                    let dispatch = "INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger,
                                                       created_at, due_at)
                                    VALUES ($1, $2, $3, $4, 'pending', 'event', $5, $5)";
                    let values = values![id, sink.as_str(), PAYMENT_RECEIVED, invoice_id, now];
                    tx.execute(dispatch, values).await?;
                    tx.wake(sink);
                }
            }
            let assign =
                "INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents, assigned_at)
                          VALUES ($1, $2, $3, $4, $5, $6)";
            tx.execute(assign, values![id, endpoint, payment_id, invoice_id, *amount_cents, now]).await?;
            tx.commit(if known.is_none() { Filled::Made(EventId(id)) } else { Filled::Already(EventId(id)) }).await
        })
        .await
    }

    async fn note_filled(
        &self,
        id: ReportId,
        token: LeaseToken,
        number: i64,
        (event, detail): (EventId, &str),
        progress: &str,
    ) -> Result<bool, StoreError> {
        self.transact("note the event of a payment", Again::Harmless, Access::Write, async |mut tx| {
            if ours(&mut tx, id, token).await?.is_none() {
                return tx.commit(false).await;
            }
            let note =
                "UPDATE reconciliation_differences SET event_id = $3, detail = $4 WHERE report_id = $1 AND number = $2";
            tx.execute(note, values![id.0, number, event.to_string(), detail]).await?;
            let go_on = "UPDATE reconciliations SET progress = $2 WHERE id = $1";
            tx.execute(go_on, values![id.0, progress]).await?;
            tx.commit(true).await
        })
        .await
    }

    async fn reconciliations(
        &self,
        endpoints: Option<&[String]>,
        before: Option<ReportId>,
        limit: u32,
    ) -> Result<Page<Report>, StoreError> {
        let mut text = concat!("SELECT ", report_columns!(), " FROM reconciliations WHERE true").to_owned();
        let mut values = Vec::new();
        if let Some(endpoints) = endpoints {
            one_of(&mut text, &mut values, " AND endpoint", endpoints);
        }
        if let Some(before) = before {
            values.push(before.0.into());
            let _ = write!(text, " AND id < ${}", values.len());
        }
        values.push((i64::from(limit) + 1).into());
        let _ = write!(text, " ORDER BY id DESC LIMIT ${}", values.len());
        let mut rows: Vec<ReportRow> =
            self.read("list reconciliations", Access::Look, Sql::Made(text), &values).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Ok(Page { rows: rows.into_iter().map(ReportRow::read).collect::<Result<_, _>>()?, more })
    }

    async fn reconciliation(&self, id: ReportId) -> Result<Option<Report>, StoreError> {
        let one = concat!("SELECT ", report_columns!(), " FROM reconciliations WHERE id = $1");
        let mut rows: Vec<ReportRow> = self.read("read a reconciliation", Access::Look, one, values![id.0]).await?;
        rows.pop().map(ReportRow::read).transpose()
    }

    async fn differences(&self, id: ReportId, after: i64, limit: u32) -> Result<Vec<(i64, Difference)>, StoreError> {
        let list = concat!(
            "SELECT ",
            difference_columns!(),
            " FROM reconciliation_differences WHERE report_id = $1 AND number > $2 ORDER BY number LIMIT $3"
        );
        let action = "read the differences of a reconciliation";
        let rows: Vec<DifferenceRow> = self.read(action, Access::Look, list, values![id.0, after, limit]).await?;
        Ok(rows.into_iter().filter_map(DifferenceRow::read).collect())
    }

    async fn last_reconciliations(&self) -> Result<Vec<Report>, StoreError> {
        let action = "read the last reconciliations";
        let rows: Vec<ReportRow> = self.read(action, Access::Look, LAST, &[]).await?;
        rows.into_iter().map(ReportRow::read).collect()
    }
}

const LAST: &str = concat!(
    "SELECT ",
    report_columns!(),
    " FROM reconciliations WHERE id IN (SELECT report_id FROM reconciliation_last) ORDER BY endpoint"
);

/// The last report of each endpoint that is done, within another transaction. One that cannot be read is left out.
pub(super) async fn last_reports(tx: &mut Tx<'_>) -> Result<Vec<Report>, Failure> {
    let rows: Vec<ReportRow> = tx.rows(LAST, &[]).await?;
    Ok(rows.into_iter().filter_map(|row| row.read().ok()).collect())
}

async fn put(tx: &mut Tx<'_>, id: ReportId, number: i64, difference: &Difference) -> Result<(), Failure> {
    let Difference { kind, payment_id, invoice_id, amount_cents, currency, paid_at, sink, detail, event_id } =
        difference;
    let event_id = event_id.map(|event| event.to_string());
    let values = values![
        id.0,
        number,
        kind.as_str(),
        payment_id,
        invoice_id,
        *amount_cents,
        currency,
        paid_at,
        sink,
        detail,
        event_id
    ];
    tx.execute(PUT_DIFFERENCE, values).await?;
    Ok(())
}

#[derive(FromRow)]
struct AnnouncingRow {
    id: Uuid,
    invoice_id: String,
    received_at: i64,
    payload: Option<Vec<u8>>,
}

impl From<AnnouncingRow> for Announcing {
    fn from(row: AnnouncingRow) -> Self {
        Self {
            event_id: EventId(row.id),
            invoice_id: row.invoice_id,
            received_at: clock::nearest(row.received_at),
            payload: row.payload,
        }
    }
}

#[derive(FromRow)]
struct BelongsRow {
    event_id: Uuid,
    payment_id: String,
    invoice_id: String,
    amount_cents: i64,
}

impl BelongsRow {
    fn read(self, is_late: bool) -> Belongs {
        let Self { event_id, payment_id, invoice_id, amount_cents } = self;
        Belongs { event_id: EventId(event_id), payment_id, invoice_id, amount_cents, is_late }
    }
}

#[derive(FromRow)]
struct LineRow {
    sink: String,
    payment_id: String,
    amount_cents: i64,
    currency: String,
    state: String,
}

impl LineRow {
    fn read(self) -> Result<Line, StoreError> {
        let Self { sink, payment_id, amount_cents, currency, state } = self;
        let state =
            state.parse().map_err(|error: crate::model::booking::UnknownBookingState| StoreError::Unreadable {
                table: "bookings",
                column: "state",
                row: payment_id.clone(),
                problem: error.to_string(),
            })?;
        Ok(Line { sink, payment_id, amount_cents, currency, state })
    }
}

const SENT_QUEUE: Sql = sql!(
    "SELECT id, event_id, sink, state, last_error FROM queue WHERE event_id ",
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

const SENT_HISTORY: Sql = sql!(
    "SELECT id, event_id, sink, state, last_error FROM history WHERE event_id ",
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

#[derive(FromRow)]
struct SentRow {
    id: i64,
    event_id: Uuid,
    sink: String,
    state: String,
    last_error: Option<String>,
}

impl SentRow {
    /// A dispatch in an unknown state is for a person to look at.
    fn read(self) -> Sent {
        let Self { id, event_id, sink, state, last_error } = self;
        Sent { id, event_id: EventId(event_id), sink, state: state.parse().unwrap_or(State::Held), reason: last_error }
    }
}

/// A value that outlives what it was made of.
fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Number(number) => Value::Number(number),
        Value::Text(text) => Value::Text(text.map(|text| text.into_owned().into())),
        Value::Id(id) => Value::Id(id),
        Value::Ids(ids) => Value::Ids(ids),
        Value::Bytes(_) => unreachable!("no bytes are looked for here"),
    }
}
