//! The audit trail.

use async_trait::async_trait;

use super::{AuditStore, rows};
use crate::{
    model::audit::{AuditEntry, NewAudit},
    store::{
        error::{Failure, StoreError},
        page::Page,
        tx::{Access, Again, Transact, Tx, Value, values},
    },
};

/// Writes an entry; its values are those of [`entry`]. Under [`Access::Link`]'s lock.
pub(in crate::store) const INSERT: &str =
    "INSERT INTO audit (at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)";

/// The values of [`INSERT`].
pub(in crate::store) fn entry(now: i64, audit: &NewAudit) -> [Value<'_>; 5] {
    [now.into(), (&audit.actor).into(), audit.action.into(), (&audit.subject).into(), audit.detail.to_string().into()]
}

/// Writes an entry within the transaction of the change that it describes.
pub(in crate::store) async fn insert(tx: &mut Tx<'_>, audit: &NewAudit) -> Result<(), Failure> {
    let now = tx.now().await?;
    tx.execute(INSERT, &entry(now, audit)).await?;
    Ok(())
}

#[async_trait]
impl<S: Transact> AuditStore for S {
    async fn audit(&self, audit: NewAudit) -> Result<(), StoreError> {
        self.transact("write to the audit trail", Again::Unsafe, Access::Link, async |mut tx| {
            insert(&mut tx, &audit).await?;
            tx.commit(()).await
        })
        .await
    }

    async fn list_audit(&self, before: Option<i64>, limit: u32) -> Result<Page<AuditEntry>, StoreError> {
        let list = "SELECT id, at, actor, action, subject, detail FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2";
        let values = values![before.unwrap_or(i64::MAX), i64::from(limit) + 1];
        rows::audit_page(self.read("list the audit trail", Access::Look, list, values).await?, limit)
    }
}
