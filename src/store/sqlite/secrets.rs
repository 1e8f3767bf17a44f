//! The endpoints' secrets and webhooks.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{
    SqliteStore, audit, intents,
    rows::{During, later, micros_or_now},
};
use crate::{
    model::{
        audit::NewAudit,
        id::EndpointName,
        intent::Link,
        stored_secret::{Origin, SealedSecret, SecretId, StoredSecret},
    },
    store::{
        StoreError,
        link::{
            Change,
            rows::{self, intent_columns, secret_columns},
        },
    },
};

/// See [`crate::store::link::LinkStore::links`].
pub(super) async fn links(store: &SqliteStore) -> Result<Vec<Link>, StoreError> {
    let action = "reading the endpoints' secrets";
    let mut transaction = store.read().await.during(action)?;
    let now = micros_or_now(None);
    let webhooks = sqlx::query_as("SELECT endpoint, id, url, registered_at FROM webhooks")
        .fetch_all(&mut *transaction)
        .await
        .during(action)?;
    let secrets = sqlx::query_as(concat!(
        "SELECT ",
        secret_columns!(),
        " FROM secrets WHERE sealed IS NOT NULL AND (valid_until IS NULL OR valid_until > ?) ORDER BY number DESC"
    ))
    .bind(now)
    .fetch_all(&mut *transaction)
    .await
    .during(action)?;
    let intents = sqlx::query_as(concat!("SELECT ", intent_columns!(), " FROM intents WHERE finished_at IS NULL"))
        .fetch_all(&mut *transaction)
        .await
        .during(action)?;
    rows::links(now, webhooks, secrets, intents)
}

/// See [`crate::store::link::LinkStore::secrets`].
pub(super) async fn list(store: &SqliteStore, endpoint: &EndpointName) -> Result<Vec<StoredSecret>, StoreError> {
    let secrets =
        sqlx::query_as(concat!("SELECT ", secret_columns!(), " FROM secrets WHERE endpoint = ? ORDER BY number DESC"))
            .bind(endpoint.as_str())
            .fetch_all(&store.readers)
            .await
            .during(format_args!("reading the secrets of endpoint {endpoint}"))?;
    rows::secrets(secrets)
}

/// Adds an active secret, as the newest; answers false if the endpoint had it ever before.
async fn insert(
    connection: &mut SqliteConnection,
    now: i64,
    endpoint: &str,
    secret: &SealedSecret,
    origin: Origin,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO secrets (id, endpoint, fingerprint, origin, state, created_at, key_id, sealed)
         VALUES (?, ?, ?, ?, 'active', ?, ?, ?) ON CONFLICT (endpoint, fingerprint) DO NOTHING",
    )
    .bind(secret.id.0)
    .bind(endpoint)
    .bind(secret.fingerprint.as_str())
    .bind(origin.as_str())
    .bind(now)
    .bind(&secret.key_id)
    .bind(&secret.sealed)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// See [`crate::store::link::LinkStore::seed_secrets`].
pub(super) async fn seed(
    store: &SqliteStore,
    endpoint: &EndpointName,
    secrets: &[SealedSecret],
    entry: &NewAudit,
) -> Result<Vec<SecretId>, StoreError> {
    let action = format!("keeping the configured secrets of endpoint {endpoint}");
    let mut transaction = store.write().await.during(&action)?;
    let now = micros_or_now(None);
    let mut new = Vec::new();
    for secret in rows::oldest_first(secrets) {
        if insert(&mut transaction, now, endpoint.as_str(), secret, Origin::Configured).await.during(&action)? {
            new.insert(0, secret.id);
        }
    }
    if new.is_empty() {
        return Ok(new);
    }
    audit::insert(&mut transaction, now, entry).await.during(&action)?;
    let newest = rows::named(secrets, new[0]);
    let ended = intents::end_by_configuration(&mut transaction, now, endpoint.as_str(), newest.id).await;
    if let Some(row) = ended.during(&action)? {
        let settled = rows::settled(&row.at(now)?, &newest.fingerprint);
        audit::insert(&mut transaction, now, &settled).await.during(&action)?;
    }
    transaction.commit().await.during(&action)?;
    store.wakeups.link_changed();
    Ok(new)
}

/// True if this very row is there: whoever brings it again did not hear our answer.
pub(super) async fn is_kept(connection: &mut SqliteConnection, id: SecretId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM secrets WHERE id = ?)").bind(id.0).fetch_one(connection).await
}

/// Keeps a secret that Finkare gave, as active and the newest. A known one gets a new row, because the
/// encrypted text is bound to that.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    now: i64,
    endpoint: &str,
    change: &Change,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM secrets WHERE endpoint = ? AND fingerprint = ?")
        .bind(endpoint)
        .bind(change.secret.fingerprint.as_str())
        .execute(&mut *connection)
        .await?;
    insert(connection, now, endpoint, &change.secret, change.origin).await?;
    Ok(())
}

/// The newest secret that is good: its row and its fingerprint.
pub(super) async fn newest(
    connection: &mut SqliteConnection,
    now: i64,
    endpoint: &str,
) -> Result<Option<(Uuid, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, fingerprint FROM secrets
         WHERE endpoint = ? AND sealed IS NOT NULL AND (valid_until IS NULL OR valid_until > ?)
         ORDER BY number DESC LIMIT 1",
    )
    .bind(endpoint)
    .bind(now)
    .fetch_optional(connection)
    .await
}

/// Makes way for a secret that is kept already: the others retire, and the webhook is remembered.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    now: i64,
    endpoint: &str,
    change: &Change,
) -> Result<(), sqlx::Error> {
    if let Some(overlap) = change.overlap {
        sqlx::query(
            "UPDATE secrets SET state = 'retiring', valid_until = min(coalesce(valid_until, ?3), ?3)
             WHERE endpoint = ?1 AND sealed IS NOT NULL AND id <> ?2",
        )
        .bind(endpoint)
        .bind(change.secret.id.0)
        .bind(later(now, overlap))
        .execute(&mut *connection)
        .await?;
    }
    if let Some((id, url)) = &change.webhook {
        remember(connection, now, endpoint, id, url).await?;
    }
    Ok(())
}

async fn remember(
    connection: &mut SqliteConnection,
    now: i64,
    endpoint: &str,
    id: &str,
    url: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO webhooks (endpoint, id, url, registered_at) VALUES (?, ?, ?, ?)")
        .bind(endpoint)
        .bind(id)
        .bind(url)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// See [`crate::store::link::LinkStore::adopt_webhook`].
pub(super) async fn adopt(
    store: &SqliteStore,
    endpoint: &EndpointName,
    id: &str,
    url: &str,
    entry: &NewAudit,
) -> Result<(), StoreError> {
    let action = format!("remembering the webhook of endpoint {endpoint}");
    let mut transaction = store.write().await.during(&action)?;
    let now = micros_or_now(None);
    remember(&mut transaction, now, endpoint.as_str(), id, url).await.during(&action)?;
    audit::insert(&mut transaction, now, entry).await.during(&action)?;
    transaction.commit().await.during(&action)?;
    store.wakeups.link_changed();
    Ok(())
}

/// Expires what is past its time; answers how many there were.
async fn end_of_time(connection: &mut SqliteConnection, now: i64) -> Result<u64, sqlx::Error> {
    let ended: Vec<(String, String)> = sqlx::query_as(
        "UPDATE secrets SET state = 'expired', sealed = NULL WHERE sealed IS NOT NULL AND valid_until <= ?
         RETURNING endpoint, fingerprint",
    )
    .bind(now)
    .fetch_all(&mut *connection)
    .await?;
    for (endpoint, fingerprint) in &ended {
        audit::insert(connection, now, &rows::expired(endpoint, fingerprint)).await?;
    }
    Ok(ended.len() as u64)
}

/// See [`crate::store::link::LinkStore::expire_secrets`].
pub(super) async fn expire(store: &SqliteStore) -> Result<u64, StoreError> {
    let action = "removing expired secrets";
    let mut transaction = store.write().await.during(action)?;
    let ended = end_of_time(&mut transaction, micros_or_now(None)).await.during(action)?;
    if ended > 0 {
        transaction.commit().await.during(action)?;
        store.wakeups.link_changed();
    }
    Ok(ended)
}

/// See [`crate::store::link::LinkStore::reseal_secrets`].
pub(super) async fn reseal(
    store: &SqliteStore,
    old_key_id: &str,
    secrets: &[SealedSecret],
    entry: &NewAudit,
) -> Result<(), StoreError> {
    let action = "replacing the encrypted texts of the secrets";
    let mut transaction = store.write().await.during(action)?;
    let now = micros_or_now(None);
    let old: Vec<(Uuid, String, bool)> = sqlx::query_as(
        "SELECT id, fingerprint, valid_until IS NULL OR valid_until > ?2 FROM secrets
         WHERE sealed IS NOT NULL AND key_id = ?1",
    )
    .bind(old_key_id)
    .bind(now)
    .fetch_all(&mut *transaction)
    .await
    .during(action)?;
    if !rows::are_the_live_ones(&old, secrets) {
        return Err(rows::changed_meanwhile(old_key_id));
    }
    for secret in secrets {
        sqlx::query("UPDATE secrets SET key_id = ?2, sealed = ?3 WHERE id = ?1")
            .bind(secret.id.0)
            .bind(&secret.key_id)
            .bind(&secret.sealed)
            .execute(&mut *transaction)
            .await
            .during(action)?;
    }
    end_of_time(&mut transaction, now).await.during(action)?;
    audit::insert(&mut transaction, now, entry).await.during(action)?;
    transaction.commit().await.during(action)?;
    store.wakeups.link_changed();
    Ok(())
}
