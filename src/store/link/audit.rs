//! The audit trail.

use async_trait::async_trait;

use super::{AuditFilter, AuditStore, rows};
use crate::{
    model::{
        audit::{AuditEntry, NewAudit},
        clock,
    },
    store::{
        error::{Failure, StoreError},
        lists::{one_of, push},
        page::Page,
        tx::{Access, Again, Sql, Transact, Tx, Value},
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

    async fn list_audit(&self, filter: &AuditFilter, limit: u32) -> Result<Page<AuditEntry>, StoreError> {
        let mut sql = "SELECT id, at, actor, action, subject, detail FROM audit WHERE id < $1".to_owned();
        let mut values = vec![Value::from(filter.before.unwrap_or(i64::MAX))];
        let endpoint = filter.endpoint.as_ref().map(|endpoint| format!("endpoint/{endpoint}"));
        let texts = [("subject", endpoint), ("actor", filter.actor.clone()), ("action", filter.action.clone())];
        for (column, text) in texts {
            if let Some(text) = text {
                push(&mut sql, &mut values, &format!(" AND {column} = "), text.into());
            }
        }
        for (operator, time) in [(">=", filter.since), ("<", filter.until)] {
            if let Some(time) = time {
                push(&mut sql, &mut values, &format!(" AND at {operator} "), clock::to_micros(time).into());
            }
        }
        if let Some(subjects) = &filter.subjects {
            one_of(&mut sql, &mut values, " AND subject", subjects);
        }
        push(&mut sql, &mut values, " ORDER BY id DESC LIMIT ", (i64::from(limit) + 1).into());
        rows::audit_page(self.read("list the audit trail", Access::Look, Sql::Made(sql), &values).await?, limit)
    }
}
