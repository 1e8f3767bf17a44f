//! Erasing: the payloads of one invoice are deleted; ids, hashes and times stay.
//!
//! Deleted means deleted from the file as well: the writer overwrites what it deletes (`secure_delete`). The log
//! still holds the earlier pages, so it is emptied after the commit, or as soon as no reader (a backup) needs it any
//! more.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{
    SqliteStore,
    dispatches::{Lane, call_next},
    finish::wake,
    rows::{During, micros_or_now},
    tx,
};
use crate::{
    model::audit::NewAudit,
    store::{ERASED, EraseStore, Erased, StoreError, link::audit, reconciliations::FORGET_DIFFERENCES},
};

/// Events in one transaction. Accepts wait while it runs.
const BATCH: usize = 500;

/// The next events of the invoice.
pub(super) const FIND: &str =
    "SELECT id, payload IS NOT NULL FROM events WHERE invoice_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

/// The names that the ledger keeps with the payments of the invoice, also where their events are gone.
const FORGET_NAMES: &str = "UPDATE assignments SET debtor = NULL WHERE invoice_id = ?1 AND debtor IS NOT NULL";

/// The answers of targets may quote the payload.
const FORGET: [&str; 3] = [
    "UPDATE attempts SET error = 'erased'
     WHERE dispatch_id IN (SELECT id FROM queue WHERE event_id = ?1 UNION ALL SELECT id FROM history WHERE event_id = ?1)
       AND error IS NOT NULL",
    "UPDATE queue SET last_error = 'erased' WHERE event_id = ?1 AND last_error IS NOT NULL",
    "UPDATE history SET last_error = 'erased' WHERE event_id = ?1 AND last_error IS NOT NULL",
];

/// What is leased is left to its worker.
macro_rules! cancellable {
    () => {
        "event_id = ?1 AND state IN ('pending', 'held', 'dead')"
    };
}

const CANCEL: &str = concat!(
    "INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at,
                          last_error)
     SELECT id, event_id, sink, event_type, invoice_id, 'cancelled', trigger, attempts, created_at, ?2, ?3
     FROM queue WHERE ",
    cancellable!(),
    " RETURNING sink"
);

#[async_trait]
impl EraseStore for SqliteStore {
    async fn erase_invoice(&self, invoice_id: &str, audit: NewAudit) -> Result<Erased, StoreError> {
        let action = "erase the payloads of an invoice";
        let mut erased = Erased::default();
        let mut after = Some(Uuid::nil());
        while let Some(id) = after {
            after = batch(self, invoice_id, id, &mut erased, &audit).await.during(action)?;
        }
        if !erased.is_nothing() && !self.checkpoints.empty().await {
            tracing::warn!(
                "erased data is still in the database's log (the file -wal), because another connection reads the database: the log is emptied after that"
            );
        }
        Ok(erased)
    }
}

/// One transaction. Returns the last id if there may be more events behind it; the last transaction writes the audit
/// entry.
async fn batch(
    store: &SqliteStore,
    invoice_id: &str,
    after: Uuid,
    erased: &mut Erased,
    entry: &NewAudit,
) -> Result<Option<Uuid>, sqlx::Error> {
    let now = micros_or_now(None);
    let mut transaction = store.write().await?;
    let found: Vec<(Uuid, bool)> = sqlx::query_as(FIND)
        .bind(invoice_id)
        .bind(after)
        .bind(i64::try_from(BATCH).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction)
        .await?;
    let mut total = *erased;
    total.names += sqlx::query(FORGET_NAMES).bind(invoice_id).execute(&mut *transaction).await?.rows_affected();
    let mut lanes = BTreeSet::new();
    for (id, has_payload) in &found {
        total.events += 1;
        total.payloads += u64::from(*has_payload);
        total.cancelled += erase_event(&mut transaction, *id, now, &mut lanes).await?;
    }
    let lanes: BTreeSet<Lane<'_>> = lanes.iter().map(|sink: &String| (sink.as_str(), invoice_id)).collect();
    let called = call_next(&mut transaction, &lanes, now).await?;
    let next = if found.len() == BATCH { found.last().map(|(id, _)| *id) } else { None };
    if next.is_none() {
        sqlx::query(FORGET_DIFFERENCES).bind(invoice_id).execute(&mut *transaction).await?;
    }
    if next.is_none() && !total.is_nothing() {
        let entry = entry
            .clone()
            .with("events", total.events)
            .with("payloads", total.payloads)
            .with("cancelled", total.cancelled)
            .with("names", total.names);
        tx::execute(&mut transaction, &audit::INSERT.into(), &audit::entry(now, &entry)).await?;
    }
    transaction.commit().await?;
    *erased = total;
    wake(store, &called);
    Ok(next)
}

/// Returns how many dispatches were cancelled, and adds their sinks.
async fn erase_event(
    connection: &mut SqliteConnection,
    id: Uuid,
    now: i64,
    sinks: &mut BTreeSet<String>,
) -> Result<u64, sqlx::Error> {
    sqlx::query("UPDATE events SET payload = NULL WHERE id = ? AND payload IS NOT NULL")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    // Deletes the searchable facts about the event's payment. The ledger keeps ids, amounts and dates.
    sqlx::query("DELETE FROM announced WHERE event_id = ?").bind(id).execute(&mut *connection).await?;
    for forget in FORGET {
        sqlx::query(forget).bind(id).execute(&mut *connection).await?;
    }
    let cancelled: Vec<String> =
        sqlx::query_scalar(CANCEL).bind(id).bind(now).bind(ERASED).fetch_all(&mut *connection).await?;
    if !cancelled.is_empty() {
        sqlx::query(concat!("DELETE FROM queue WHERE ", cancellable!())).bind(id).execute(connection).await?;
    }
    let count = cancelled.len() as u64;
    sinks.extend(cancelled);
    Ok(count)
}
