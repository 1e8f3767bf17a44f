//! Erasing: the payloads of one invoice go, ids, hashes and times stay.
//!
//! "Gone" means from the file: the writer overwrites what it deletes (`secure_delete`), and the log,
//! which still holds the pages as they were before, is emptied after the commit, or as soon as no reader (a backup) needs
//! it any more.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{
    SqliteStore,
    dispatches::{Lane, call_next, wake},
    rows::{During, micros_or_now},
    tx,
};
use crate::{
    model::audit::NewAudit,
    store::{ERASED, EraseStore, Erased, StoreError, link::audit},
};

/// Events in one transaction: accepts wait behind it.
const BATCH: usize = 500;

/// The next events of the invoice.
pub(super) const FIND: &str =
    "SELECT id, payload IS NOT NULL FROM events WHERE invoice_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

#[async_trait]
impl EraseStore for SqliteStore {
    async fn erase_invoice(&self, invoice_id: &str, audit: NewAudit) -> Result<Erased, StoreError> {
        let action = "erasing the payloads of an invoice";
        let mut erased = Erased::default();
        let mut after = Some(Uuid::nil());
        while let Some(id) = after {
            after = batch(self, invoice_id, id, &mut erased, &audit).await.during(action)?;
        }
        if erased.events > 0 && !self.checkpoints.empty().await {
            tracing::warn!(
                "erased data is still in the database's log (the file -wal), because another connection reads the database: the log is emptied after that"
            );
        }
        Ok(erased)
    }
}

/// One transaction. Answers the last id if there may be more behind it; the last one writes the audit entry.
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
    let mut lanes = BTreeSet::new();
    for (id, has_payload) in &found {
        total.events += 1;
        total.payloads += u64::from(*has_payload);
        total.cancelled += erase_event(&mut transaction, *id, now, &mut lanes).await?;
    }
    let lanes: BTreeSet<Lane<'_>> = lanes.iter().map(|sink: &String| (sink.as_str(), invoice_id)).collect();
    let called = call_next(&mut transaction, &lanes, now).await?;
    let next = if found.len() == BATCH { found.last().map(|(id, _)| *id) } else { None };
    if next.is_none() && total.events > 0 {
        let entry = entry
            .clone()
            .with("events", total.events)
            .with("payloads", total.payloads)
            .with("cancelled", total.cancelled);
        tx::execute(&mut transaction, &audit::INSERT.into(), &audit::entry(now, &entry)).await?;
    }
    transaction.commit().await?;
    *erased = total;
    wake(store, &called);
    Ok(next)
}

/// Answers how many dispatches were cancelled, and adds their sinks.
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
    // What is known of its payment for searches; the ledger has ids and amounts, and stays.
    sqlx::query("DELETE FROM announced WHERE event_id = ?").bind(id).execute(&mut *connection).await?;
    sqlx::query(
        "UPDATE attempts SET error = ?2
         WHERE dispatch_id IN (SELECT id FROM dispatches WHERE event_id = ?1) AND error IS NOT NULL",
    )
    .bind(id)
    .bind("erased")
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE dispatches SET last_error = ?2 WHERE event_id = ?1 AND last_error IS NOT NULL")
        .bind(id)
        .bind("erased")
        .execute(&mut *connection)
        .await?;
    let cancelled: Vec<String> = sqlx::query_scalar(
        "UPDATE dispatches
         SET state = 'cancelled', due_at = NULL, waits_for = NULL, finished_at = ?2, last_error = ?3
         WHERE event_id = ?1 AND state IN ('pending', 'held', 'dead')
         RETURNING sink",
    )
    .bind(id)
    .bind(now)
    .bind(ERASED)
    .fetch_all(connection)
    .await?;
    let count = cancelled.len() as u64;
    sinks.extend(cancelled);
    Ok(count)
}
