//! The endpoints' secrets and webhooks.

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Change, SecretStore, audit,
    rows::{self, intent_columns, secret_columns},
};
use crate::{
    model::{
        audit::NewAudit,
        id::EndpointName,
        intent::Link,
        stored_secret::{Origin, SealedSecret, SecretId, StoredSecret},
    },
    store::{
        error::{Failure, StoreError},
        tx::{Access, Again, Transact, Tx, later, values},
    },
};

const LIVE: &str = concat!(
    "SELECT ",
    secret_columns!(),
    " FROM secrets WHERE sealed IS NOT NULL AND (valid_until IS NULL OR valid_until > $1) ORDER BY number DESC"
);

const OF_ENDPOINT: &str =
    concat!("SELECT ", secret_columns!(), " FROM secrets WHERE endpoint = $1 ORDER BY number DESC");

const UNFINISHED_INTENTS: &str = concat!("SELECT ", intent_columns!(), " FROM intents WHERE finished_at IS NULL");

#[async_trait]
impl<S: Transact> SecretStore for S {
    async fn links(&self) -> Result<Vec<Link>, StoreError> {
        self.transact("read the secrets of the endpoints", Again::Harmless, Access::Snapshot, async |mut tx| {
            let now = tx.now().await?;
            let webhooks = tx.rows("SELECT endpoint, id, url, registered_at FROM webhooks", &[]).await?;
            let secrets = tx.rows(LIVE, values![now]).await?;
            let intents = tx.rows(UNFINISHED_INTENTS, &[]).await?;
            tx.commit(rows::links(now, webhooks, secrets, intents)?).await
        })
        .await
    }

    async fn secrets(&self, endpoint: &EndpointName) -> Result<Vec<StoredSecret>, StoreError> {
        let action = format!("read the secrets of endpoint {endpoint}");
        rows::secrets(self.read(action, Access::Read, OF_ENDPOINT, values![endpoint.as_str()]).await?)
    }

    async fn adopt_webhook(
        &self,
        endpoint: &EndpointName,
        id: &str,
        url: &str,
        audit: NewAudit,
    ) -> Result<(), StoreError> {
        let action = format!("store the webhook of endpoint {endpoint}");
        self.transact(action, Again::Unsafe, Access::Link, async |mut tx| {
            store_webhook(&mut tx, endpoint.as_str(), id, url).await?;
            audit::insert(&mut tx, &audit).await?;
            tx.tell_link();
            tx.commit(()).await
        })
        .await
    }

    async fn expire_secrets(&self) -> Result<u64, StoreError> {
        self.transact("delete expired secrets", Again::Unsafe, Access::Link, async |mut tx| {
            let expired = expire(&mut tx).await?;
            if expired > 0 {
                tx.tell_link();
            }
            tx.commit(expired).await
        })
        .await
    }

    async fn reseal_secrets(
        &self,
        old_key_id: &str,
        secrets: &[SealedSecret],
        audit: NewAudit,
    ) -> Result<(), StoreError> {
        let action = "encrypt the secrets again";
        self.transact(action, Again::Unsafe, Access::Link, async |mut tx| {
            let now = tx.now().await?;
            let held = "SELECT id, fingerprint, valid_until IS NULL OR valid_until > $2 FROM secrets
                        WHERE sealed IS NOT NULL AND key_id = $1";
            let held: Vec<(Uuid, String, bool)> = tx.rows(held, values![old_key_id, now]).await?;
            if !rows::are_the_live_ones(&held, secrets) {
                return Err(rows::changed_meanwhile(old_key_id).into());
            }
            for secret in secrets {
                let reseal = "UPDATE secrets SET key_id = $2, sealed = $3 WHERE id = $1";
                tx.execute(reseal, values![secret.id.0, &secret.key_id, &secret.sealed[..]]).await?;
            }
            expire(&mut tx).await?;
            audit::insert(&mut tx, &audit).await?;
            tx.tell_link();
            tx.commit(()).await
        })
        .await
    }
}

/// Adds an active secret, as the newest; returns false if the endpoint ever had it before.
pub(super) async fn insert(
    tx: &mut Tx<'_>,
    endpoint: &str,
    secret: &SealedSecret,
    origin: Origin,
) -> Result<bool, Failure> {
    let insert = "INSERT INTO secrets (id, endpoint, fingerprint, origin, state, created_at, key_id, sealed)
                  VALUES ($1, $2, $3, $4, 'active', $5, $6, $7) ON CONFLICT (endpoint, fingerprint) DO NOTHING";
    let (now, fingerprint) = (tx.now().await?, secret.fingerprint.as_str());
    let values = values![secret.id.0, endpoint, fingerprint, origin.as_str(), now, &secret.key_id, &secret.sealed[..]];
    Ok(tx.execute(insert, values).await? > 0)
}

/// True if this very row exists: the caller then repeats the call because our answer did not reach it.
pub(super) async fn is_kept(tx: &mut Tx<'_>, id: SecretId) -> Result<bool, Failure> {
    let found: Option<(Uuid,)> = tx.row("SELECT id FROM secrets WHERE id = $1", values![id.0]).await?;
    Ok(found.is_some())
}

/// Stores a secret that Finkare gave, as active and the newest. A known one gets a new row, because the encrypted text is
/// bound to its row.
pub(super) async fn keep(tx: &mut Tx<'_>, endpoint: &str, change: &Change) -> Result<(), Failure> {
    let forget = "DELETE FROM secrets WHERE endpoint = $1 AND fingerprint = $2";
    tx.execute(forget, values![endpoint, change.secret.fingerprint.as_str()]).await?;
    insert(tx, endpoint, &change.secret, change.origin).await?;
    Ok(())
}

/// The newest secret that is valid: its row and its fingerprint.
pub(super) async fn newest(tx: &mut Tx<'_>, endpoint: &str) -> Result<Option<(Uuid, String)>, Failure> {
    let newest = "SELECT id, fingerprint FROM secrets
                  WHERE endpoint = $1 AND sealed IS NOT NULL AND (valid_until IS NULL OR valid_until > $2)
                  ORDER BY number DESC LIMIT 1";
    let now = tx.now().await?;
    tx.row(newest, values![endpoint, now]).await
}

/// The rest of a change whose secret is stored already: the other secrets retire, and the webhook is stored.
pub(super) async fn apply(tx: &mut Tx<'_>, endpoint: &str, change: &Change) -> Result<(), Failure> {
    if let Some(overlap) = change.overlap {
        // The earlier end counts.
        let retire = "UPDATE secrets
                      SET state = 'retiring', valid_until = CASE WHEN valid_until < $3 THEN valid_until ELSE $3 END
                      WHERE endpoint = $1 AND sealed IS NOT NULL AND id <> $2";
        let end = later(tx.now().await?, overlap);
        tx.execute(retire, values![endpoint, change.secret.id.0, end]).await?;
    }
    if let Some((id, url)) = &change.webhook {
        store_webhook(tx, endpoint, id, url).await?;
    }
    Ok(())
}

async fn store_webhook(tx: &mut Tx<'_>, endpoint: &str, id: &str, url: &str) -> Result<(), Failure> {
    let store = "INSERT INTO webhooks (endpoint, id, url, registered_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (endpoint) DO UPDATE
                 SET id = excluded.id, url = excluded.url, registered_at = excluded.registered_at";
    let now = tx.now().await?;
    tx.execute(store, values![endpoint, id, url, now]).await?;
    Ok(())
}

/// Expires the secrets whose time has passed, with an audit entry for each; returns how many there were.
async fn expire(tx: &mut Tx<'_>) -> Result<u64, Failure> {
    let expire = "UPDATE secrets SET state = 'expired', sealed = NULL WHERE sealed IS NOT NULL AND valid_until <= $1
                  RETURNING endpoint, fingerprint";
    let now = tx.now().await?;
    let expired: Vec<(String, String)> = tx.rows(expire, values![now]).await?;
    for (endpoint, fingerprint) in &expired {
        audit::insert(tx, &rows::expired(endpoint, fingerprint)).await?;
    }
    Ok(expired.len() as u64)
}
