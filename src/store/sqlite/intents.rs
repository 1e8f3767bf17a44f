//! Intents: what is written down before Finkare is asked for a change.
//!
//! Leases are told by the time and the token: one that ran out stays its holder's until somebody else
//! takes it, so that a slow holder may still end what it began.

use std::time::Duration;

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{
    SqliteStore, audit,
    rows::{During, later, micros_or_now},
    secrets,
};
use crate::{
    model::{
        audit::NewAudit,
        clock,
        id::{EndpointName, LeaseToken},
        intent::{Begun, Intent, IntentId, MOST_UNREADABLE, NewIntent},
        stored_secret::{Fingerprint, SecretId},
    },
    store::{
        StoreError,
        link::{
            Change, Doubt, Ended, Given, Settlement,
            rows::{self, IntentRow, Unreadable, intent_columns},
        },
    },
};

/// See [`crate::store::link::LinkStore::begin_intent`].
pub(super) async fn begin(store: &SqliteStore, intent: &NewIntent, entry: &NewAudit) -> Result<Begun, StoreError> {
    let action = format!("writing down that endpoint {} gets a new secret", intent.endpoint);
    let mut transaction = store.write().await.during(&action)?;
    let now = micros_or_now(None);
    if let Some(expected) = &intent.only_if_newest {
        let newest: Option<String> =
            sqlx::query_scalar("SELECT fingerprint FROM secrets WHERE endpoint = ? ORDER BY number DESC LIMIT 1")
                .bind(intent.endpoint.as_str())
                .fetch_optional(&mut *transaction)
                .await
                .during(&action)?;
        if newest.as_deref() != Some(expected.as_str()) {
            return Ok(Begun::Outdated);
        }
    }
    let unfinished = unfinished(&mut transaction, intent.endpoint.as_str()).await.during(&action)?;
    let begun = match unfinished {
        None => {
            insert(&mut transaction, now, intent).await.during(&action)?;
            Begun::Begun
        }
        // Asked again, because our answer was not heard.
        Some(row) if row.id() == intent.id && row.is_leased_under(intent.token) => return Ok(Begun::Begun),
        Some(row) if row.is_held(now) => return Ok(Begun::InFlight(row.at(now)?)),
        Some(row) => {
            let row = lease(&mut transaction, now, row.id(), intent.token, intent.lease, Some(&intent.actor))
                .await
                .during(&action)?;
            Begun::TakenOver(row.at(now)?)
        }
    };
    audit::insert(&mut transaction, now, entry).await.during(&action)?;
    transaction.commit().await.during(&action)?;
    store.wakeups.link_changed();
    Ok(begun)
}

async fn insert(connection: &mut SqliteConnection, now: i64, intent: &NewIntent) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO intents (id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries,
                              lease_token, lease_until, asked_by)
         VALUES (?, ?, ?, 'in_flight', ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
    )
    .bind(intent.id.0)
    .bind(intent.endpoint.as_str())
    .bind(intent.kind.as_str())
    .bind(&intent.actor)
    .bind(&intent.webhook_id)
    .bind(&intent.url)
    .bind(rows::events(&intent.events))
    .bind(clock::duration_micros(intent.overlap))
    .bind(now)
    .bind(intent.token.0)
    .bind(later(now, intent.lease))
    .bind(&intent.actor)
    .execute(connection)
    .await?;
    Ok(())
}

/// Leases an unfinished intent to somebody new. Whatever contested it is older than what is asked now.
async fn lease(
    connection: &mut SqliteConnection,
    now: i64,
    id: IntentId,
    token: LeaseToken,
    lease: Duration,
    asked_by: Option<&str>,
) -> Result<IntentRow, sqlx::Error> {
    sqlx::query_as(concat!(
        "UPDATE intents SET state = 'in_flight', lease_token = ?, lease_until = ?, retry_at = NULL, contested = 0,
                            tries = tries + 1, given_meanwhile = 0, asked_by = ?
         WHERE id = ? RETURNING ",
        intent_columns!()
    ))
    .bind(token.0)
    .bind(later(now, lease))
    .bind(asked_by)
    .bind(id.0)
    .fetch_one(connection)
    .await
}

/// See [`crate::store::link::LinkStore::take_over_intent`].
pub(super) async fn take_over(
    store: &SqliteStore,
    token: LeaseToken,
    duration: Duration,
) -> Result<Option<Intent>, StoreError> {
    let action = "taking over an unfinished intent";
    let mut transaction = store.write().await.during(action)?;
    let now = micros_or_now(None);
    // An unknown one has a time for its next try, one in flight has the end of its lease.
    let due: Option<Uuid> = sqlx::query_scalar(
        "SELECT id FROM intents WHERE finished_at IS NULL AND coalesce(retry_at, lease_until) <= ? AND unreadable < ?
           AND given_meanwhile = 0
         ORDER BY begun_at, id LIMIT 1",
    )
    .bind(now)
    .bind(MOST_UNREADABLE)
    .fetch_optional(&mut *transaction)
    .await
    .during(action)?;
    let Some(due) = due else { return Ok(None) };
    let row = lease(&mut transaction, now, IntentId(due), token, duration, None).await.during(action)?;
    let intent = row.at(now)?;
    audit::insert(&mut transaction, now, &rows::taken_over(&intent)).await.during(action)?;
    transaction.commit().await.during(action)?;
    store.wakeups.link_changed();
    Ok(Some(intent))
}

/// See [`crate::store::link::LinkStore::renew_intent`].
pub(super) async fn renew(
    store: &SqliteStore,
    id: IntentId,
    token: LeaseToken,
    lease: Duration,
) -> Result<bool, StoreError> {
    let action = format!("keeping the lease of intent {id}");
    let mut transaction = store.write().await.during(&action)?;
    let renewed = sqlx::query("UPDATE intents SET lease_until = ? WHERE id = ? AND lease_token = ?")
        .bind(later(micros_or_now(None), lease))
        .bind(id.0)
        .bind(token.0)
        .execute(&mut *transaction)
        .await
        .during(&action)?;
    transaction.commit().await.during(&action)?;
    Ok(renewed.rows_affected() > 0)
}

/// See [`crate::store::link::LinkStore::finish_intent`].
pub(super) async fn finish(
    store: &SqliteStore,
    id: IntentId,
    token: LeaseToken,
    change: &Change,
    entry: &NewAudit,
) -> Result<Ended, StoreError> {
    let action = format!("keeping the secret that intent {id} brought");
    let mut transaction = store.write().await.during(&action)?;
    let now = micros_or_now(None);
    let found: Option<(String, Option<Uuid>, bool, Option<Uuid>)> =
        sqlx::query_as("SELECT endpoint, lease_token, contested, secret_id FROM intents WHERE id = ?")
            .bind(id.0)
            .fetch_optional(&mut *transaction)
            .await
            .during(&action)?;
    let Some((endpoint, holder, contested, brought)) = found else { return Err(rows::no_such_intent(id)) };
    if brought == Some(change.secret.id.0) {
        return Ok(Ended::Ended);
    }
    if secrets::is_kept(&mut transaction, change.secret.id).await.during(&action)? {
        return Ok(Ended::Lost);
    }
    let ours = holder == Some(token.0);
    secrets::keep(&mut transaction, now, &endpoint, change).await.during(&action)?;
    let ended = if ours && !contested {
        secrets::apply(&mut transaction, now, &endpoint, change).await.during(&action)?;
        sqlx::query(
            "UPDATE intents SET state = 'done', finished_at = ?, secret_id = ?, lease_token = NULL, lease_until = NULL
             WHERE id = ?",
        )
        .bind(now)
        .bind(change.secret.id.0)
        .bind(id.0)
        .execute(&mut *transaction)
        .await
        .during(&action)?;
        audit::insert(&mut transaction, now, entry).await.during(&action)?;
        Ended::Ended
    } else {
        if ours {
            leave(&mut transaction, id, now, Unreadable::Forgotten).await.during(&action)?;
        } else {
            contest(&mut transaction, now, &endpoint, id).await.during(&action)?;
        }
        let kept = rows::kept(&endpoint, id, &change.secret.fingerprint);
        audit::insert(&mut transaction, now, &kept).await.during(&action)?;
        Ended::Lost
    };
    transaction.commit().await.during(&action)?;
    store.wakeups.link_changed();
    Ok(ended)
}

/// Lets go of an intent, to be tried again from `retry_at` on.
async fn leave(
    connection: &mut SqliteConnection,
    id: IntentId,
    retry_at: i64,
    unreadable: Unreadable,
) -> Result<(), sqlx::Error> {
    let (times, plus) = unreadable.as_factors();
    sqlx::query(
        "UPDATE intents SET state = 'unknown', retry_at = ?, lease_token = NULL, lease_until = NULL, contested = 0,
                            finished_at = NULL, secret_id = NULL, unreadable = unreadable * ? + ?
         WHERE id = ?",
    )
    .bind(retry_at)
    .bind(times)
    .bind(plus)
    .bind(id.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// An answer came to somebody who no longer holds the intent. It may be newer or older than what others
/// have been told since: so the endpoint's secret is to be rotated once more, by whoever is at it now or by
/// opening this intent again.
async fn contest(connection: &mut SqliteConnection, now: i64, endpoint: &str, id: IntentId) -> Result<(), sqlx::Error> {
    let unfinished = sqlx::query(
        // One that nobody holds will be tried again anyway.
        "UPDATE intents SET contested = (state = 'in_flight') WHERE endpoint = ? AND finished_at IS NULL",
    )
    .bind(endpoint)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if unfinished == 0 { leave(connection, id, now, Unreadable::Forgotten).await } else { Ok(()) }
}

/// See [`crate::store::link::LinkStore::fail_intent`].
pub(super) async fn fail(
    store: &SqliteStore,
    id: IntentId,
    token: LeaseToken,
    entry: &NewAudit,
) -> Result<Ended, StoreError> {
    let action = format!("writing down that intent {id} failed");
    let mut transaction = store.write().await.during(&action)?;
    let now = micros_or_now(None);
    let failed = sqlx::query(
        "UPDATE intents SET state = 'failed', finished_at = ?, lease_token = NULL, lease_until = NULL, contested = 0
         WHERE id = ? AND lease_token = ?",
    )
    .bind(now)
    .bind(id.0)
    .bind(token.0)
    .execute(&mut *transaction)
    .await
    .during(&action)?;
    if failed.rows_affected() == 0 {
        return Ok(Ended::Lost);
    }
    audit::insert(&mut transaction, now, entry).await.during(&action)?;
    transaction.commit().await.during(&action)?;
    store.wakeups.link_changed();
    Ok(Ended::Ended)
}

/// See [`crate::store::link::LinkStore::doubt_intent`].
pub(super) async fn doubt(
    store: &SqliteStore,
    id: IntentId,
    token: LeaseToken,
    doubt: Doubt,
    entry: &NewAudit,
) -> Result<Ended, StoreError> {
    let action = format!("writing down that the outcome of intent {id} is not known");
    let mut transaction = store.write().await.during(&action)?;
    let now = micros_or_now(None);
    let ours: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM intents WHERE id = ? AND lease_token = ?)")
        .bind(id.0)
        .bind(token.0)
        .fetch_one(&mut *transaction)
        .await
        .during(&action)?;
    if !ours {
        return Ok(Ended::Lost);
    }
    let unreadable = if doubt.is_unreadable { Unreadable::Counted } else { Unreadable::Kept };
    leave(&mut transaction, id, later(now, doubt.retry_in), unreadable).await.during(&action)?;
    audit::insert(&mut transaction, now, entry).await.during(&action)?;
    transaction.commit().await.during(&action)?;
    store.wakeups.link_changed();
    Ok(Ended::Ended)
}

/// See [`crate::store::link::LinkStore::settle_intent`].
pub(super) async fn settle(
    store: &SqliteStore,
    endpoint: &EndpointName,
    given: &Given,
    entry: &NewAudit,
) -> Result<Settlement, StoreError> {
    let action = format!("taking a person's word on the secret of endpoint {endpoint}");
    let mut transaction = store.write().await.during(&action)?;
    let now = micros_or_now(None);
    let unfinished = unfinished(&mut transaction, endpoint.as_str()).await.during(&action)?;
    let unfinished = match unfinished {
        Some(row) if row.is_held(now) => return Ok(Settlement::InFlight(row.at(now)?)),
        Some(row) => Some(row.at(now)?),
        None => None,
    };
    let newest = match given {
        Given::Secret(secret) => {
            let change = rows::given(secret);
            secrets::keep(&mut transaction, now, endpoint.as_str(), &change).await.during(&action)?;
            Some((secret.id.0, secret.fingerprint.to_string()))
        }
        Given::Current => secrets::newest(&mut transaction, now, endpoint.as_str()).await.during(&action)?,
    };
    let Some((secret, fingerprint)) = newest else { return Ok(Settlement::NoSecret) };
    if let Some(intent) = &unfinished {
        end(&mut transaction, now, intent.id, secret).await.during(&action)?;
    }
    let fingerprint = Fingerprint::from_stored(fingerprint);
    audit::insert(&mut transaction, now, &rows::settling(entry, &fingerprint, unfinished.as_ref()))
        .await
        .during(&action)?;
    transaction.commit().await.during(&action)?;
    store.wakeups.link_changed();
    Ok(Settlement::Settled { fingerprint, ended: unfinished })
}

/// The unfinished intent of an endpoint.
async fn unfinished(connection: &mut SqliteConnection, endpoint: &str) -> Result<Option<IntentRow>, sqlx::Error> {
    sqlx::query_as(concat!("SELECT ", intent_columns!(), " FROM intents WHERE endpoint = ? AND finished_at IS NULL"))
        .bind(endpoint)
        .fetch_optional(connection)
        .await
}

/// Ends an intent with the secret that a person gave.
async fn end(connection: &mut SqliteConnection, now: i64, id: IntentId, secret: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE intents SET state = 'done', finished_at = ?, secret_id = ?, lease_token = NULL, lease_until = NULL,
                            retry_at = NULL, contested = 0
         WHERE id = ?",
    )
    .bind(now)
    .bind(secret)
    .bind(id.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the unfinished intent of an endpoint that nobody holds, because a secret was configured that the endpoint never
/// had; marks one that somebody holds. Answers what it has ended.
pub(super) async fn end_by_configuration(
    connection: &mut SqliteConnection,
    now: i64,
    endpoint: &str,
    secret: SecretId,
) -> Result<Option<IntentRow>, sqlx::Error> {
    let Some(row) = unfinished(&mut *connection, endpoint).await? else { return Ok(None) };
    if row.is_held(now) {
        sqlx::query("UPDATE intents SET given_meanwhile = 1 WHERE id = ?").bind(row.id().0).execute(connection).await?;
        return Ok(None);
    }
    end(connection, now, row.id(), secret.0).await?;
    Ok(Some(row))
}

/// See [`crate::store::link::LinkStore::abandon_intents`].
pub(super) async fn abandon(store: &SqliteStore) -> Result<u64, StoreError> {
    let action = "letting go of the intents of an earlier process";
    let mut transaction = store.write().await.during(action)?;
    let abandoned = sqlx::query(
        "UPDATE intents SET state = 'unknown', retry_at = ?, lease_token = NULL, lease_until = NULL, contested = 0
         WHERE finished_at IS NULL",
    )
    .bind(micros_or_now(None))
    .execute(&mut *transaction)
    .await
    .during(action)?
    .rows_affected();
    transaction.commit().await.during(action)?;
    if abandoned > 0 {
        store.wakeups.link_changed();
    }
    Ok(abandoned)
}
