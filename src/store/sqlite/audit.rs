//! The audit trail.

use sqlx::SqliteConnection;

use super::{
    SqliteStore,
    rows::{During, micros_or_now},
};
use crate::{
    model::audit::{AuditEntry, NewAudit},
    store::{Page, StoreError, link::rows},
};

/// Writes an entry within the transaction of what it tells of.
pub(super) async fn insert(connection: &mut SqliteConnection, now: i64, audit: &NewAudit) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(now)
        .bind(&audit.actor)
        .bind(audit.action)
        .bind(&audit.subject)
        .bind(audit.detail.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// See [`crate::store::link::LinkStore::audit`].
pub(super) async fn write(store: &SqliteStore, audit: &NewAudit) -> Result<(), StoreError> {
    let action = "writing into the audit trail";
    let mut transaction = store.write().await.during(action)?;
    insert(&mut transaction, micros_or_now(None), audit).await.during(action)?;
    transaction.commit().await.during(action)
}

/// See [`crate::store::link::LinkStore::list_audit`].
pub(super) async fn list(store: &SqliteStore, before: Option<i64>, limit: u32) -> Result<Page<AuditEntry>, StoreError> {
    let rows = sqlx::query_as(
        "SELECT id, at, actor, action, subject, detail FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(i64::from(limit) + 1)
    .fetch_all(&store.lookers)
    .await
    .during("listing the audit trail")?;
    rows::audit_page(rows, limit)
}
