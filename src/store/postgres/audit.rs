//! The audit trail.

use sqlx::PgConnection;

use super::{Again, PostgresStore, storable};
use crate::{
    model::audit::{AuditEntry, NewAudit},
    store::{Page, StoreError, link::rows},
};

/// Writes an entry within the transaction of what it tells of. To be called under
/// [`PostgresStore::begin_link`]'s lock, so that the order of the numbers is that of the commits, and a list
/// that was read to its end misses nothing.
pub(super) async fn insert(connection: &mut PgConnection, now: i64, audit: &NewAudit) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit (at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)")
        .bind(now)
        .bind(storable(&audit.actor))
        .bind(audit.action)
        .bind(storable(&audit.subject))
        // JSON writes NUL as an escape.
        .bind(audit.detail.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// See [`crate::store::link::LinkStore::audit`].
pub(super) async fn write(store: &PostgresStore, audit: &NewAudit) -> Result<(), StoreError> {
    store
        .run("writing into the audit trail", Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            insert(checkout.on(), now, audit).await?;
            checkout.commit().await?;
            Ok(())
        })
        .await
}

/// See [`crate::store::link::LinkStore::list_audit`].
pub(super) async fn list(
    store: &PostgresStore,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<AuditEntry>, StoreError> {
    let rows = store
        .run("listing the audit trail", Again::Harmless, async || {
            let mut checkout = store.look().await?;
            let rows = sqlx::query_as(
                "SELECT id, at, actor, action, subject, detail FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2",
            )
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit) + 1)
            .fetch_all(checkout.on())
            .await?;
            checkout.finish();
            Ok(rows)
        })
        .await?;
    rows::audit_page(rows, limit)
}
