//! The endpoints' secrets and webhooks.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Again, PostgresStore, announce, audit, intents, later, storable};
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

/// Every statement sees the same state.
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// See [`crate::store::link::LinkStore::links`].
pub(super) async fn links(store: &PostgresStore) -> Result<Vec<Link>, StoreError> {
    store
        .run("reading the endpoints' secrets", Again::Harmless, async || {
            let mut checkout = store.connections.begin(BEGIN_READING).await?;
            let now = super::clock(checkout.on()).await?;
            let webhooks = sqlx::query_as("SELECT endpoint, id, url, registered_at FROM webhooks")
                .fetch_all(checkout.on())
                .await?;
            let secrets = sqlx::query_as(concat!(
                "SELECT ",
                secret_columns!(),
                " FROM secrets WHERE sealed IS NOT NULL AND (valid_until IS NULL OR valid_until > $1)
                 ORDER BY number DESC"
            ))
            .bind(now)
            .fetch_all(checkout.on())
            .await?;
            let intents =
                sqlx::query_as(concat!("SELECT ", intent_columns!(), " FROM intents WHERE finished_at IS NULL"))
                    .fetch_all(checkout.on())
                    .await?;
            checkout.commit().await?;
            Ok(rows::links(now, webhooks, secrets, intents)?)
        })
        .await
}

/// See [`crate::store::link::LinkStore::secrets`].
pub(super) async fn list(store: &PostgresStore, endpoint: &EndpointName) -> Result<Vec<StoredSecret>, StoreError> {
    let secrets = store
        .run(format!("reading the secrets of endpoint {endpoint}"), Again::Harmless, async || {
            let mut checkout = store.checkout().await?;
            let secrets = sqlx::query_as(concat!(
                "SELECT ",
                secret_columns!(),
                " FROM secrets WHERE endpoint = $1 ORDER BY number DESC"
            ))
            .bind(endpoint.as_str())
            .fetch_all(checkout.on())
            .await?;
            checkout.finish();
            Ok(secrets)
        })
        .await?;
    rows::secrets(secrets)
}

/// Adds an active secret, as the newest; answers false if the endpoint had it ever before.
async fn insert(
    connection: &mut PgConnection,
    now: i64,
    endpoint: &str,
    secret: &SealedSecret,
    origin: Origin,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO secrets (id, endpoint, fingerprint, origin, state, created_at, key_id, sealed)
         VALUES ($1, $2, $3, $4, 'active', $5, $6, $7) ON CONFLICT (endpoint, fingerprint) DO NOTHING",
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
    store: &PostgresStore,
    endpoint: &EndpointName,
    secrets: &[SealedSecret],
    entry: &NewAudit,
) -> Result<Vec<SecretId>, StoreError> {
    let new = store
        .run(format!("keeping the configured secrets of endpoint {endpoint}"), Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            let mut new = Vec::new();
            for secret in rows::oldest_first(secrets) {
                if insert(checkout.on(), now, endpoint.as_str(), secret, Origin::Configured).await? {
                    new.insert(0, secret.id);
                }
            }
            if let Some(newest) = new.first().map(|id| rows::named(secrets, *id)) {
                audit::insert(checkout.on(), now, entry).await?;
                let ended = intents::end_by_configuration(checkout.on(), now, endpoint.as_str(), newest.id).await?;
                if let Some(row) = ended {
                    let settled = rows::settled(&row.at(now)?, &newest.fingerprint);
                    audit::insert(checkout.on(), now, &settled).await?;
                }
                announce::link(checkout.on()).await?;
            }
            checkout.commit().await?;
            Ok(new)
        })
        .await?;
    if !new.is_empty() {
        store.wakeups.link_changed();
    }
    Ok(new)
}

/// True if this very row is there: whoever brings it again did not hear our answer.
pub(super) async fn is_kept(connection: &mut PgConnection, id: SecretId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM secrets WHERE id = $1)").bind(id.0).fetch_one(connection).await
}

/// Keeps a secret that Finkare gave, as active and the newest. A known one gets a new row, because the
/// encrypted text is bound to that.
pub(super) async fn keep(
    connection: &mut PgConnection,
    now: i64,
    endpoint: &str,
    change: &Change,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM secrets WHERE endpoint = $1 AND fingerprint = $2")
        .bind(endpoint)
        .bind(change.secret.fingerprint.as_str())
        .execute(&mut *connection)
        .await?;
    insert(connection, now, endpoint, &change.secret, change.origin).await?;
    Ok(())
}

/// The newest secret that is good: its row and its fingerprint.
pub(super) async fn newest(
    connection: &mut PgConnection,
    now: i64,
    endpoint: &str,
) -> Result<Option<(Uuid, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, fingerprint FROM secrets
         WHERE endpoint = $1 AND sealed IS NOT NULL AND (valid_until IS NULL OR valid_until > $2)
         ORDER BY number DESC LIMIT 1",
    )
    .bind(endpoint)
    .bind(now)
    .fetch_optional(connection)
    .await
}

/// Makes way for a secret that is kept already: the others retire, and the webhook is remembered.
pub(super) async fn apply(
    connection: &mut PgConnection,
    now: i64,
    endpoint: &str,
    change: &Change,
) -> Result<(), sqlx::Error> {
    if let Some(overlap) = change.overlap {
        sqlx::query(
            "UPDATE secrets SET state = 'retiring', valid_until = least(valid_until, $3)
             WHERE endpoint = $1 AND sealed IS NOT NULL AND id <> $2",
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
    connection: &mut PgConnection,
    now: i64,
    endpoint: &str,
    id: &str,
    url: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO webhooks (endpoint, id, url, registered_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (endpoint) DO UPDATE SET id = excluded.id, url = excluded.url, registered_at = excluded.registered_at",
    )
    .bind(endpoint)
    .bind(storable(id))
    .bind(storable(url))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// See [`crate::store::link::LinkStore::adopt_webhook`].
pub(super) async fn adopt(
    store: &PostgresStore,
    endpoint: &EndpointName,
    id: &str,
    url: &str,
    entry: &NewAudit,
) -> Result<(), StoreError> {
    store
        .run(format!("remembering the webhook of endpoint {endpoint}"), Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            remember(checkout.on(), now, endpoint.as_str(), id, url).await?;
            audit::insert(checkout.on(), now, entry).await?;
            announce::link(checkout.on()).await?;
            checkout.commit().await?;
            Ok(())
        })
        .await?;
    store.wakeups.link_changed();
    Ok(())
}

/// Expires what is past its time; answers how many there were.
async fn end_of_time(connection: &mut PgConnection, now: i64) -> Result<u64, sqlx::Error> {
    let ended: Vec<(String, String)> = sqlx::query_as(
        "UPDATE secrets SET state = 'expired', sealed = NULL WHERE sealed IS NOT NULL AND valid_until <= $1
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
pub(super) async fn expire(store: &PostgresStore) -> Result<u64, StoreError> {
    let ended = store
        .run("removing expired secrets", Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            let ended = end_of_time(checkout.on(), now).await?;
            if ended > 0 {
                announce::link(checkout.on()).await?;
            }
            checkout.commit().await?;
            Ok(ended)
        })
        .await?;
    if ended > 0 {
        store.wakeups.link_changed();
    }
    Ok(ended)
}

/// See [`crate::store::link::LinkStore::reseal_secrets`].
pub(super) async fn reseal(
    store: &PostgresStore,
    old_key_id: &str,
    secrets: &[SealedSecret],
    entry: &NewAudit,
) -> Result<(), StoreError> {
    store
        .run("replacing the encrypted texts of the secrets", Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            let old: Vec<(Uuid, String, bool)> = sqlx::query_as(
                "SELECT id, fingerprint, valid_until IS NULL OR valid_until > $2 FROM secrets
                 WHERE sealed IS NOT NULL AND key_id = $1",
            )
            .bind(old_key_id)
            .bind(now)
            .fetch_all(checkout.on())
            .await?;
            if !rows::are_the_live_ones(&old, secrets) {
                return Err(rows::changed_meanwhile(old_key_id).into());
            }
            for secret in secrets {
                sqlx::query("UPDATE secrets SET key_id = $2, sealed = $3 WHERE id = $1")
                    .bind(secret.id.0)
                    .bind(&secret.key_id)
                    .bind(&secret.sealed)
                    .execute(checkout.on())
                    .await?;
            }
            end_of_time(checkout.on(), now).await?;
            audit::insert(checkout.on(), now, entry).await?;
            announce::link(checkout.on()).await?;
            checkout.commit().await?;
            Ok(())
        })
        .await?;
    store.wakeups.link_changed();
    Ok(())
}
