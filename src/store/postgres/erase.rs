//! Erasing: the payloads of one invoice are deleted; ids, hashes and times stay.
//!
//! Earlier versions of a row are removed by the server's next `VACUUM`, which it begins by itself. Backups and the
//! write-ahead log are up to the operator.

use async_trait::async_trait;
use uuid::Uuid;

use super::{PostgresStore, claims, purge};
use crate::{
    model::audit::NewAudit,
    store::{
        ERASED, EraseStore, Erased, StoreError,
        error::Failure,
        link::audit,
        reconciliations::FORGET_DIFFERENCES,
        tx::{Access, Again, Connection, News},
    },
};

/// Events in one transaction.
const BATCH: usize = 500;

/// The next events of the invoice, locked: a transaction that wants to begin something for one of them (a retry, a
/// replay) waits, and then finds no payload.
const FIND: &str = "SELECT e.id, e.payload IS NOT NULL FROM events e WHERE e.invoice_id = $1 AND e.id > $2
    ORDER BY e.id LIMIT $3 FOR UPDATE";

const EMPTY: &str = "UPDATE events SET payload = NULL WHERE id = ANY($1) AND payload IS NOT NULL";

/// The answers of targets may quote the payload.
const FORGET: &str = "WITH dispatched AS MATERIALIZED (
        SELECT id FROM queue WHERE event_id = ANY($1) UNION ALL SELECT id FROM history WHERE event_id = ANY($1)
    ), attempted AS (
        UPDATE attempts SET error = 'erased' WHERE dispatch_id IN (SELECT id FROM dispatched) AND error IS NOT NULL
    ), queued AS (
        UPDATE queue SET last_error = 'erased' WHERE event_id = ANY($1) AND last_error IS NOT NULL
    )
    UPDATE history SET last_error = 'erased' WHERE event_id = ANY($1) AND last_error IS NOT NULL";

/// The names that the ledger keeps with the payments of the invoice, also where their events are gone.
const FORGET_NAMES: &str = "UPDATE assignments SET debtor = NULL WHERE invoice_id = $1 AND debtor IS NOT NULL";

/// Deletes the searchable facts about the payments of these events. The ledger keeps ids, amounts and dates.
const FORGET_ANNOUNCED: &str = "DELETE FROM announced WHERE event_id = ANY($1)";

/// What is leased is left to its worker.
const CANCEL: &str = "WITH gone AS (
        DELETE FROM queue WHERE event_id = ANY($1) AND state IN ('pending', 'held', 'dead')
        RETURNING id, event_id, sink, event_type, invoice_id, trigger, attempts, created_at
    )
    INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at,
                         last_error)
    SELECT id, event_id, sink, event_type, invoice_id, 'cancelled', trigger, attempts, created_at, $2, $3
    FROM gone ORDER BY id
    RETURNING sink";

#[async_trait]
impl EraseStore for PostgresStore {
    async fn erase_invoice(&self, invoice_id: &str, audit: NewAudit) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        if invoice_id.contains('\0') {
            // No stored text holds this character, and Postgres refuses it.
            return Ok(erased);
        }
        let mut after = Some(Uuid::nil());
        while let Some(id) = after {
            let action = "erase the payloads of an invoice";
            let done = self.run(action, Again::Unsafe, || batch(self, invoice_id, id, erased, &audit)).await?;
            (erased, after) = (done.erased, done.next);
        }
        Ok(erased)
    }
}

struct Batch {
    /// Everything erased so far.
    erased: Erased,
    /// The last id, if there may be more events behind it.
    next: Option<Uuid>,
}

/// One transaction; the last one writes the audit entry.
async fn batch(
    store: &PostgresStore,
    invoice_id: &str,
    after: Uuid,
    mut erased: Erased,
    entry: &NewAudit,
) -> Result<Batch, Failure> {
    let mut open = store.open(Access::Link).await?;
    let found: Vec<(Uuid, bool)> = sqlx::query_as(FIND)
        .bind(invoice_id)
        .bind(after)
        .bind(i64::try_from(BATCH).unwrap_or(i64::MAX))
        .fetch_all(open.on())
        .await?;
    let ids: Vec<Uuid> = found.iter().map(|(id, _)| *id).collect();
    sqlx::query(purge::LOCK_QUEUED).bind(&ids).execute(open.on()).await?;
    let now = open.now().await?;
    sqlx::query(FORGET).bind(&ids).execute(open.on()).await?;
    let cancelled: Vec<String> =
        sqlx::query_scalar(CANCEL).bind(&ids).bind(now).bind(ERASED).fetch_all(open.on()).await?;
    sqlx::query(FORGET_ANNOUNCED).bind(&ids).execute(open.on()).await?;
    erased.names += sqlx::query(FORGET_NAMES).bind(invoice_id).execute(open.on()).await?.rows_affected();
    sqlx::query(EMPTY).bind(&ids).execute(open.on()).await?;
    erased.events += found.len() as u64;
    erased.payloads += found.iter().filter(|(_, has_payload)| *has_payload).count() as u64;
    erased.cancelled += cancelled.len() as u64;
    let lanes = cancelled.iter().map(|sink| (sink.as_str(), invoice_id)).collect();
    let news = News { sinks: claims::wake_next(open.on(), lanes, now).await?, ..News::default() };
    let next = if found.len() == BATCH { ids.last().copied() } else { None };
    if next.is_none() {
        sqlx::query(FORGET_DIFFERENCES).bind(invoice_id).execute(open.on()).await?;
    }
    if next.is_none() && !erased.is_nothing() {
        let entry = entry
            .clone()
            .with("events", erased.events)
            .with("payloads", erased.payloads)
            .with("cancelled", erased.cancelled)
            .with("names", erased.names);
        open.execute(audit::INSERT.into(), &audit::entry(now, &entry)).await?;
    }
    Box::new(open).commit(news).await?;
    Ok(Batch { erased, next })
}
