//! Intents: what is written down before Finkare is asked for a change.
//!
//! Leases are told by the time and the token: one that ran out stays its holder's until somebody else
//! takes it, so that a slow holder may still end what it began. Whoever decides over an intent does so
//! under the link's lock ([`PostgresStore::begin_link`]); a renewal, which decides nothing, goes without, and
//! is kept away by the row's lock.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Again, PostgresStore, announce, audit, later, now, secrets, storable};
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
pub(super) async fn begin(store: &PostgresStore, intent: &NewIntent, entry: &NewAudit) -> Result<Begun, StoreError> {
    let action = format!("writing down that endpoint {} gets a new secret", intent.endpoint);
    let begun = store
        .run(action, Again::Harmless, async || {
            let (mut checkout, now) = store.begin_link().await?;
            if let Some(expected) = &intent.only_if_newest {
                let newest: Option<String> = sqlx::query_scalar(
                    "SELECT fingerprint FROM secrets WHERE endpoint = $1 ORDER BY number DESC LIMIT 1",
                )
                .bind(intent.endpoint.as_str())
                .fetch_optional(checkout.on())
                .await?;
                if newest.as_deref() != Some(expected.as_str()) {
                    checkout.commit().await?;
                    return Ok(Begun::Outdated);
                }
            }
            let unfinished = unfinished(checkout.on(), intent.endpoint.as_str()).await?;
            let begun = match unfinished {
                None => {
                    insert(checkout.on(), now, intent).await?;
                    Begun::Begun
                }
                // Asked again, because our answer was not heard.
                Some(row) if row.id() == intent.id && row.is_leased_under(intent.token) => {
                    checkout.commit().await?;
                    return Ok(Begun::Begun);
                }
                Some(row) if row.is_held(now) => {
                    checkout.commit().await?;
                    return Ok(Begun::InFlight(row.at(now)?));
                }
                Some(row) => {
                    let row =
                        lease(checkout.on(), now, row.id(), intent.token, intent.lease, Some(&intent.actor)).await?;
                    Begun::TakenOver(row.at(now)?)
                }
            };
            audit::insert(checkout.on(), now, entry).await?;
            announce::link(checkout.on()).await?;
            checkout.commit().await?;
            Ok(begun)
        })
        .await?;
    if matches!(begun, Begun::Begun | Begun::TakenOver(_)) {
        store.wakeups.link_changed();
    }
    Ok(begun)
}

async fn insert(connection: &mut PgConnection, now: i64, intent: &NewIntent) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO intents (id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries,
                              lease_token, lease_until, asked_by)
         VALUES ($1, $2, $3, 'in_flight', $4, $5, $6, $7, $8, $9, 1, $10, $11, $4)",
    )
    .bind(intent.id.0)
    .bind(intent.endpoint.as_str())
    .bind(intent.kind.as_str())
    .bind(storable(&intent.actor))
    .bind(intent.webhook_id.as_deref().map(storable))
    .bind(intent.url.as_deref().map(storable))
    .bind(rows::events(&intent.events))
    .bind(clock::duration_micros(intent.overlap))
    .bind(now)
    .bind(intent.token.0)
    .bind(later(now, intent.lease))
    .execute(connection)
    .await?;
    Ok(())
}

/// Leases an unfinished intent to somebody new. Whatever contested it is older than what is asked now.
async fn lease(
    connection: &mut PgConnection,
    now: i64,
    id: IntentId,
    token: LeaseToken,
    lease: Duration,
    asked_by: Option<&str>,
) -> Result<IntentRow, sqlx::Error> {
    sqlx::query_as(concat!(
        "UPDATE intents SET state = 'in_flight', lease_token = $2, lease_until = $3, retry_at = NULL, contested = false,
                            tries = tries + 1, given_meanwhile = false, asked_by = $4
         WHERE id = $1 RETURNING ",
        intent_columns!()
    ))
    .bind(id.0)
    .bind(token.0)
    .bind(later(now, lease))
    .bind(asked_by.map(storable))
    .fetch_one(connection)
    .await
}

/// See [`crate::store::link::LinkStore::take_over_intent`].
pub(super) async fn take_over(
    store: &PostgresStore,
    token: LeaseToken,
    duration: Duration,
) -> Result<Option<Intent>, StoreError> {
    let intent = store
        .run("taking over an unfinished intent", Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            // An unknown one has a time for its next try, one in flight has the end of its lease. The lock waits
            // for a renewal, and looks again.
            let due: Option<Uuid> = sqlx::query_scalar(
                "SELECT id FROM intents
                 WHERE finished_at IS NULL AND coalesce(retry_at, lease_until) <= $1 AND unreadable < $2
                   AND given_meanwhile = false
                 ORDER BY begun_at, id LIMIT 1 FOR UPDATE",
            )
            .bind(now)
            .bind(i64::from(MOST_UNREADABLE))
            .fetch_optional(checkout.on())
            .await?;
            let Some(due) = due else {
                checkout.commit().await?;
                return Ok(None);
            };
            let intent = lease(checkout.on(), now, IntentId(due), token, duration, None).await?.at(now)?;
            audit::insert(checkout.on(), now, &rows::taken_over(&intent)).await?;
            announce::link(checkout.on()).await?;
            checkout.commit().await?;
            Ok(Some(intent))
        })
        .await?;
    if intent.is_some() {
        store.wakeups.link_changed();
    }
    Ok(intent)
}

/// See [`crate::store::link::LinkStore::renew_intent`].
pub(super) async fn renew(
    store: &PostgresStore,
    id: IntentId,
    token: LeaseToken,
    lease: Duration,
) -> Result<bool, StoreError> {
    store
        .run(format!("keeping the lease of intent {id}"), Again::Harmless, async || {
            let mut checkout = store.checkout().await?;
            let renewed = sqlx::query(concat!(
                "UPDATE intents SET lease_until = $3 + ",
                now!("NULL"),
                " WHERE id = $1 AND lease_token = $2"
            ))
            .bind(id.0)
            .bind(token.0)
            .bind(clock::duration_micros(lease))
            .execute(checkout.on())
            .await?;
            checkout.finish();
            Ok(renewed.rows_affected() > 0)
        })
        .await
}

/// See [`crate::store::link::LinkStore::finish_intent`].
pub(super) async fn finish(
    store: &PostgresStore,
    id: IntentId,
    token: LeaseToken,
    change: &Change,
    entry: &NewAudit,
) -> Result<Ended, StoreError> {
    let ended = store
        .run(format!("keeping the secret that intent {id} brought"), Again::Harmless, async || {
            let (mut checkout, now) = store.begin_link().await?;
            let found: Option<(String, Option<Uuid>, bool, Option<Uuid>)> = sqlx::query_as(
                "SELECT endpoint, lease_token, contested, secret_id FROM intents WHERE id = $1 FOR UPDATE",
            )
            .bind(id.0)
            .fetch_optional(checkout.on())
            .await?;
            let Some((endpoint, holder, contested, brought)) = found else {
                return Err(rows::no_such_intent(id).into());
            };
            if brought == Some(change.secret.id.0) {
                checkout.commit().await?;
                return Ok(Ended::Ended);
            }
            if secrets::is_kept(checkout.on(), change.secret.id).await? {
                checkout.commit().await?;
                return Ok(Ended::Lost);
            }
            let ours = holder == Some(token.0);
            secrets::keep(checkout.on(), now, &endpoint, change).await?;
            let ended = if ours && !contested {
                secrets::apply(checkout.on(), now, &endpoint, change).await?;
                sqlx::query(
                    "UPDATE intents SET state = 'done', finished_at = $2, secret_id = $3, lease_token = NULL,
                                        lease_until = NULL
                     WHERE id = $1",
                )
                .bind(id.0)
                .bind(now)
                .bind(change.secret.id.0)
                .execute(checkout.on())
                .await?;
                audit::insert(checkout.on(), now, entry).await?;
                Ended::Ended
            } else {
                if ours {
                    leave(checkout.on(), id, now, Unreadable::Forgotten).await?;
                } else {
                    contest(checkout.on(), now, &endpoint, id).await?;
                }
                audit::insert(checkout.on(), now, &rows::kept(&endpoint, id, &change.secret.fingerprint)).await?;
                Ended::Lost
            };
            announce::link(checkout.on()).await?;
            checkout.commit().await?;
            Ok(ended)
        })
        .await?;
    store.wakeups.link_changed();
    Ok(ended)
}

/// Lets go of an intent, to be tried again from `retry_at` on.
async fn leave(
    connection: &mut PgConnection,
    id: IntentId,
    retry_at: i64,
    unreadable: Unreadable,
) -> Result<(), sqlx::Error> {
    let (times, plus) = unreadable.as_factors();
    sqlx::query(
        "UPDATE intents SET state = 'unknown', retry_at = $2, lease_token = NULL, lease_until = NULL, contested = false,
                            finished_at = NULL, secret_id = NULL, unreadable = unreadable * $3 + $4
         WHERE id = $1",
    )
    .bind(id.0)
    .bind(retry_at)
    .bind(times)
    .bind(plus)
    .execute(connection)
    .await?;
    Ok(())
}

/// An answer came to somebody who no longer holds the intent. It may be newer or older than what others
/// have been told since: so the endpoint's secret is to be rotated once more, by whoever is at it now or by
/// opening this intent again.
async fn contest(connection: &mut PgConnection, now: i64, endpoint: &str, id: IntentId) -> Result<(), sqlx::Error> {
    let unfinished = sqlx::query(
        // One that nobody holds will be tried again anyway.
        "UPDATE intents SET contested = (state = 'in_flight') WHERE endpoint = $1 AND finished_at IS NULL",
    )
    .bind(endpoint)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if unfinished == 0 { leave(connection, id, now, Unreadable::Forgotten).await } else { Ok(()) }
}

/// See [`crate::store::link::LinkStore::fail_intent`].
pub(super) async fn fail(
    store: &PostgresStore,
    id: IntentId,
    token: LeaseToken,
    entry: &NewAudit,
) -> Result<Ended, StoreError> {
    let ended = store
        .run(format!("writing down that intent {id} failed"), Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            let failed = sqlx::query(
                "UPDATE intents SET state = 'failed', finished_at = $3, lease_token = NULL, lease_until = NULL,
                                    contested = false
                 WHERE id = $1 AND lease_token = $2",
            )
            .bind(id.0)
            .bind(token.0)
            .bind(now)
            .execute(checkout.on())
            .await?;
            if failed.rows_affected() == 0 {
                checkout.commit().await?;
                return Ok(Ended::Lost);
            }
            audit::insert(checkout.on(), now, entry).await?;
            announce::link(checkout.on()).await?;
            checkout.commit().await?;
            Ok(Ended::Ended)
        })
        .await?;
    if ended == Ended::Ended {
        store.wakeups.link_changed();
    }
    Ok(ended)
}

/// See [`crate::store::link::LinkStore::doubt_intent`].
pub(super) async fn doubt(
    store: &PostgresStore,
    id: IntentId,
    token: LeaseToken,
    doubt: Doubt,
    entry: &NewAudit,
) -> Result<Ended, StoreError> {
    let ended = store
        .run(format!("writing down that the outcome of intent {id} is not known"), Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            let ours: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM intents WHERE id = $1 AND lease_token = $2)")
                    .bind(id.0)
                    .bind(token.0)
                    .fetch_one(checkout.on())
                    .await?;
            if !ours {
                checkout.commit().await?;
                return Ok(Ended::Lost);
            }
            let unreadable = if doubt.is_unreadable { Unreadable::Counted } else { Unreadable::Kept };
            leave(checkout.on(), id, later(now, doubt.retry_in), unreadable).await?;
            audit::insert(checkout.on(), now, entry).await?;
            announce::link(checkout.on()).await?;
            checkout.commit().await?;
            Ok(Ended::Ended)
        })
        .await?;
    if ended == Ended::Ended {
        store.wakeups.link_changed();
    }
    Ok(ended)
}

/// See [`crate::store::link::LinkStore::settle_intent`].
pub(super) async fn settle(
    store: &PostgresStore,
    endpoint: &EndpointName,
    given: &Given,
    entry: &NewAudit,
) -> Result<Settlement, StoreError> {
    let settlement = store
        .run(format!("taking a person's word on the secret of endpoint {endpoint}"), Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            let unfinished = match unfinished(checkout.on(), endpoint.as_str()).await? {
                Some(row) if row.is_held(now) => {
                    checkout.commit().await?;
                    return Ok(Settlement::InFlight(row.at(now)?));
                }
                Some(row) => Some(row.at(now)?),
                None => None,
            };
            let newest = match given {
                Given::Secret(secret) => {
                    secrets::keep(checkout.on(), now, endpoint.as_str(), &rows::given(secret)).await?;
                    Some((secret.id.0, secret.fingerprint.to_string()))
                }
                Given::Current => secrets::newest(checkout.on(), now, endpoint.as_str()).await?,
            };
            let Some((secret, fingerprint)) = newest else {
                checkout.commit().await?;
                return Ok(Settlement::NoSecret);
            };
            if let Some(intent) = &unfinished {
                end(checkout.on(), now, intent.id, secret).await?;
            }
            let fingerprint = Fingerprint::from_stored(fingerprint);
            let entry = rows::settling(entry, &fingerprint, unfinished.as_ref());
            audit::insert(checkout.on(), now, &entry).await?;
            announce::link(checkout.on()).await?;
            checkout.commit().await?;
            Ok(Settlement::Settled { fingerprint, ended: unfinished })
        })
        .await?;
    if matches!(settlement, Settlement::Settled { .. }) {
        store.wakeups.link_changed();
    }
    Ok(settlement)
}

/// The unfinished intent of an endpoint. The row's lock waits for a renewal.
async fn unfinished(connection: &mut PgConnection, endpoint: &str) -> Result<Option<IntentRow>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT ",
        intent_columns!(),
        " FROM intents WHERE endpoint = $1 AND finished_at IS NULL FOR UPDATE"
    ))
    .bind(endpoint)
    .fetch_optional(connection)
    .await
}

/// Ends an intent with the secret that a person gave.
async fn end(connection: &mut PgConnection, now: i64, id: IntentId, secret: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE intents SET state = 'done', finished_at = $2, secret_id = $3, lease_token = NULL, lease_until = NULL,
                            retry_at = NULL, contested = false
         WHERE id = $1",
    )
    .bind(id.0)
    .bind(now)
    .bind(secret)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the unfinished intent of an endpoint that nobody holds, because a secret was configured that the endpoint never
/// had; marks one that somebody holds. Answers what it has ended.
pub(super) async fn end_by_configuration(
    connection: &mut PgConnection,
    now: i64,
    endpoint: &str,
    secret: SecretId,
) -> Result<Option<IntentRow>, sqlx::Error> {
    let Some(row) = unfinished(&mut *connection, endpoint).await? else { return Ok(None) };
    if row.is_held(now) {
        sqlx::query("UPDATE intents SET given_meanwhile = true WHERE id = $1")
            .bind(row.id().0)
            .execute(connection)
            .await?;
        return Ok(None);
    }
    end(connection, now, row.id(), secret.0).await?;
    Ok(Some(row))
}

/// See [`crate::store::link::LinkStore::abandon_intents`].
pub(super) async fn abandon(store: &PostgresStore) -> Result<u64, StoreError> {
    let abandoned = store
        .run("letting go of the intents of an earlier process", Again::Unsafe, async || {
            let (mut checkout, now) = store.begin_link().await?;
            let abandoned = sqlx::query(
                "UPDATE intents SET state = 'unknown', retry_at = $1, lease_token = NULL, lease_until = NULL,
                                    contested = false
                 WHERE finished_at IS NULL",
            )
            .bind(now)
            .execute(checkout.on())
            .await?
            .rows_affected();
            if abandoned > 0 {
                announce::link(checkout.on()).await?;
            }
            checkout.commit().await?;
            Ok(abandoned)
        })
        .await?;
    if abandoned > 0 {
        store.wakeups.link_changed();
    }
    Ok(abandoned)
}
