//! Intents: stored before Finkare is asked for a change.
//!
//! A lease is decided by its time and its token. A lease that ran out stays its holder's until another process takes
//! the intent over, so that a slow holder may still end what it began. Every decision about an intent is made under
//! [`Access::Link`]'s lock. A renewal decides nothing and does not take that lock: the row's lock separates it from a
//! decision.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Change, Doubt, Ended, Given, IntentStore, Settlement, audit,
    rows::{self, IntentRow, Unreadable, intent_columns},
    secrets,
};
use crate::{
    model::{
        audit::NewAudit,
        clock,
        id::{EndpointName, LeaseToken},
        intent::{Begun, Intent, IntentId, MOST_UNREADABLE, NewIntent},
        stored_secret::{Fingerprint, Origin, SealedSecret, SecretId},
    },
    store::{
        error::{Failure, StoreError},
        tx::{Access, Again, Sql, Transact, Tx, later, sql, values},
    },
};

/// The unfinished intent of an endpoint. Taking the row's lock waits for a renewal.
const UNFINISHED: Sql = sql!(
    concat!("SELECT ", intent_columns!(), " FROM intents WHERE endpoint = $1 AND finished_at IS NULL"),
    " FOR UPDATE" | ""
);

/// The oldest intent that may be taken over. An unknown one has a time for its next try, one in flight has the end of
/// its lease. Taking the row's lock waits for a renewal, and the row is checked again after it.
const DUE: Sql = sql!(
    "SELECT id FROM intents
     WHERE finished_at IS NULL AND coalesce(retry_at, lease_until) <= $1 AND unreadable < $2 AND given_meanwhile = false
     ORDER BY begun_at, id LIMIT 1",
    " FOR UPDATE" | ""
);

const HOLDER: Sql =
    sql!("SELECT endpoint, lease_token, contested, secret_id FROM intents WHERE id = $1", " FOR UPDATE" | "");

const INSERT: &str = "
    INSERT INTO intents (id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries,
                         lease_token, lease_until, asked_by)
    VALUES ($1, $2, $3, 'in_flight', $4, $5, $6, $7, $8, $9, 1, $10, $11, $4)";

const LEASE: &str = concat!(
    "UPDATE intents SET state = 'in_flight', lease_token = $2, lease_until = $3, retry_at = NULL, contested = false,
                        tries = tries + 1, given_meanwhile = false, asked_by = $4
     WHERE id = $1 RETURNING ",
    intent_columns!()
);

#[async_trait]
impl<S: Transact> IntentStore for S {
    async fn seed_secrets(
        &self,
        endpoint: &EndpointName,
        given: &[SealedSecret],
        audit: NewAudit,
    ) -> Result<Vec<SecretId>, StoreError> {
        let action = format!("store the configured secrets of endpoint {endpoint}");
        self.transact(action, Again::Unsafe, Access::Link, async |mut tx| {
            let mut new = Vec::new();
            for secret in rows::oldest_first(given) {
                if secrets::insert(&mut tx, endpoint.as_str(), secret, Origin::Configured).await? {
                    new.insert(0, secret.id);
                }
            }
            if let Some(newest) = new.first().map(|id| rows::named(given, *id)) {
                audit::insert(&mut tx, &audit).await?;
                if let Some(intent) = end_by_configuration(&mut tx, endpoint.as_str(), newest.id).await? {
                    audit::insert(&mut tx, &rows::settled(&intent, &newest.fingerprint)).await?;
                }
                tx.tell_link();
            }
            tx.commit(new).await
        })
        .await
    }

    async fn begin_intent(&self, intent: NewIntent, audit: NewAudit) -> Result<Begun, StoreError> {
        let action = format!("record that endpoint {} gets a new secret", intent.endpoint);
        let endpoint = intent.endpoint.as_str();
        self.transact(action, Again::Harmless, Access::Link, async |mut tx| {
            let now = tx.now().await?;
            if let Some(expected) = &intent.only_if_newest {
                let newest = "SELECT fingerprint FROM secrets WHERE endpoint = $1 ORDER BY number DESC LIMIT 1";
                let newest: Option<(String,)> = tx.row(newest, values![endpoint]).await?;
                if newest.is_none_or(|(fingerprint,)| fingerprint != expected.as_str()) {
                    return tx.commit(Begun::Outdated).await;
                }
            }
            let begun = match unfinished(&mut tx, endpoint).await? {
                None => {
                    insert(&mut tx, &intent).await?;
                    Begun::Begun
                }
                // The caller repeats the call because our answer did not reach it.
                Some(row) if row.id() == intent.id && row.is_leased_under(intent.token) => {
                    tx.tell_link();
                    return tx.commit(Begun::Begun).await;
                }
                Some(row) if row.is_held(now) => return tx.commit(Begun::InFlight(row.at(now)?)).await,
                Some(row) => {
                    let asked_by = Some(intent.actor.as_str());
                    Begun::TakenOver(lease(&mut tx, row.id(), intent.token, intent.lease, asked_by).await?)
                }
            };
            audit::insert(&mut tx, &audit).await?;
            tx.tell_link();
            tx.commit(begun).await
        })
        .await
    }

    async fn take_over_intent(&self, token: LeaseToken, duration: Duration) -> Result<Option<Intent>, StoreError> {
        self.transact("take over an unfinished intent", Again::Unsafe, Access::Link, async |mut tx| {
            let now = tx.now().await?;
            let due: Option<(Uuid,)> = tx.row(DUE, values![now, MOST_UNREADABLE]).await?;
            let Some((due,)) = due else { return tx.commit(None).await };
            let intent = lease(&mut tx, IntentId(due), token, duration, None).await?;
            audit::insert(&mut tx, &rows::taken_over(&intent)).await?;
            tx.tell_link();
            tx.commit(Some(intent)).await
        })
        .await
    }

    async fn renew_intent(&self, id: IntentId, token: LeaseToken, lease: Duration) -> Result<bool, StoreError> {
        let action = format!("renew the lease of intent {id}");
        self.transact(action, Again::Harmless, Access::Write, async |mut tx| {
            let renew = "UPDATE intents SET lease_until = $3 WHERE id = $1 AND lease_token = $2";
            let end = later(tx.now().await?, lease);
            let renewed = tx.execute(renew, values![id.0, token.0, end]).await?;
            tx.commit(renewed > 0).await
        })
        .await
    }

    async fn finish_intent(
        &self,
        id: IntentId,
        token: LeaseToken,
        change: Change,
        audit: NewAudit,
    ) -> Result<Ended, StoreError> {
        let action = format!("store the new secret of intent {id}");
        self.transact(action, Again::Harmless, Access::Link, async |mut tx| {
            let found: Option<(String, Option<Uuid>, bool, Option<Uuid>)> = tx.row(HOLDER, values![id.0]).await?;
            let Some((endpoint, holder, contested, brought)) = found else {
                return Err(rows::no_such_intent(id).into());
            };
            tx.tell_link();
            if brought == Some(change.secret.id.0) {
                return tx.commit(Ended::Ended).await;
            }
            if secrets::is_kept(&mut tx, change.secret.id).await? {
                return tx.commit(Ended::Lost).await;
            }
            let ours = holder == Some(token.0);
            secrets::keep(&mut tx, &endpoint, &change).await?;
            if ours && !contested {
                secrets::apply(&mut tx, &endpoint, &change).await?;
                end(&mut tx, id, change.secret.id.0).await?;
                audit::insert(&mut tx, &audit).await?;
                return tx.commit(Ended::Ended).await;
            }
            if ours {
                let now = tx.now().await?;
                leave(&mut tx, id, now, Unreadable::Forgotten).await?;
            } else {
                contest(&mut tx, &endpoint, id).await?;
            }
            audit::insert(&mut tx, &rows::kept(&endpoint, id, &change.secret.fingerprint)).await?;
            tx.commit(Ended::Lost).await
        })
        .await
    }

    async fn fail_intent(&self, id: IntentId, token: LeaseToken, audit: NewAudit) -> Result<Ended, StoreError> {
        let action = format!("record that intent {id} failed");
        self.transact(action, Again::Unsafe, Access::Link, async |mut tx| {
            let fail = "UPDATE intents SET state = 'failed', finished_at = $3, lease_token = NULL, lease_until = NULL,
                                           contested = false
                        WHERE id = $1 AND lease_token = $2";
            let now = tx.now().await?;
            if tx.execute(fail, values![id.0, token.0, now]).await? == 0 {
                return tx.commit(Ended::Lost).await;
            }
            audit::insert(&mut tx, &audit).await?;
            tx.tell_link();
            tx.commit(Ended::Ended).await
        })
        .await
    }

    async fn doubt_intent(
        &self,
        id: IntentId,
        token: LeaseToken,
        doubt: Doubt,
        audit: NewAudit,
    ) -> Result<Ended, StoreError> {
        let action = format!("record that the outcome of intent {id} is unknown");
        self.transact(action, Again::Unsafe, Access::Link, async |mut tx| {
            let ours = "SELECT id FROM intents WHERE id = $1 AND lease_token = $2";
            let ours: Option<(Uuid,)> = tx.row(ours, values![id.0, token.0]).await?;
            if ours.is_none() {
                return tx.commit(Ended::Lost).await;
            }
            let unreadable = if doubt.is_unreadable { Unreadable::Counted } else { Unreadable::Kept };
            let retry_at = later(tx.now().await?, doubt.retry_in);
            leave(&mut tx, id, retry_at, unreadable).await?;
            audit::insert(&mut tx, &audit).await?;
            tx.tell_link();
            tx.commit(Ended::Ended).await
        })
        .await
    }

    async fn settle_intent(
        &self,
        endpoint: &EndpointName,
        given: Given,
        audit: NewAudit,
    ) -> Result<Settlement, StoreError> {
        let action = format!("record which secret of endpoint {endpoint} is right");
        self.transact(action, Again::Unsafe, Access::Link, async |mut tx| {
            let now = tx.now().await?;
            let unfinished = match unfinished(&mut tx, endpoint.as_str()).await? {
                Some(row) if row.is_held(now) => return tx.commit(Settlement::InFlight(row.at(now)?)).await,
                Some(row) => Some(row.at(now)?),
                None => None,
            };
            let newest = match &given {
                Given::Secret(secret) => {
                    secrets::keep(&mut tx, endpoint.as_str(), &rows::given(secret)).await?;
                    Some((secret.id.0, secret.fingerprint.to_string()))
                }
                Given::Current => secrets::newest(&mut tx, endpoint.as_str()).await?,
            };
            let Some((secret, fingerprint)) = newest else { return tx.commit(Settlement::NoSecret).await };
            if let Some(intent) = &unfinished {
                end(&mut tx, intent.id, secret).await?;
            }
            let fingerprint = Fingerprint::from_stored(fingerprint);
            audit::insert(&mut tx, &rows::settling(&audit, &fingerprint, unfinished.as_ref())).await?;
            tx.tell_link();
            tx.commit(Settlement::Settled { fingerprint, ended: unfinished }).await
        })
        .await
    }

    async fn abandon_intents(&self) -> Result<u64, StoreError> {
        let action = "release the intents of an earlier process";
        self.transact(action, Again::Unsafe, Access::Link, async |mut tx| {
            let abandon = "UPDATE intents SET state = 'unknown', retry_at = $1, lease_token = NULL, lease_until = NULL,
                                              contested = false
                           WHERE finished_at IS NULL";
            let now = tx.now().await?;
            let abandoned = tx.execute(abandon, values![now]).await?;
            if abandoned > 0 {
                tx.tell_link();
            }
            tx.commit(abandoned).await
        })
        .await
    }
}

async fn unfinished(tx: &mut Tx<'_>, endpoint: &str) -> Result<Option<IntentRow>, Failure> {
    tx.row(UNFINISHED, values![endpoint]).await
}

async fn insert(tx: &mut Tx<'_>, intent: &NewIntent) -> Result<(), Failure> {
    let now = tx.now().await?;
    let values = values![
        intent.id.0,
        intent.endpoint.as_str(),
        intent.kind.as_str(),
        &intent.actor,
        &intent.webhook_id,
        &intent.url,
        rows::events(&intent.events),
        clock::duration_micros(intent.overlap),
        now,
        intent.token.0,
        later(now, intent.lease),
    ];
    tx.execute(INSERT, values).await?;
    Ok(())
}

/// Leases an unfinished intent to a new holder. Anything that contested it is older than the call to Finkare that
/// follows.
async fn lease(
    tx: &mut Tx<'_>,
    id: IntentId,
    token: LeaseToken,
    lease: Duration,
    asked_by: Option<&str>,
) -> Result<Intent, Failure> {
    let now = tx.now().await?;
    let row: IntentRow = tx.one(LEASE, values![id.0, token.0, later(now, lease), asked_by]).await?;
    Ok(row.at(now)?)
}

/// Releases an intent, to be tried again from `retry_at` on.
async fn leave(tx: &mut Tx<'_>, id: IntentId, retry_at: i64, unreadable: Unreadable) -> Result<(), Failure> {
    let leave = "UPDATE intents SET state = 'unknown', retry_at = $2, lease_token = NULL, lease_until = NULL,
                                    contested = false, finished_at = NULL, secret_id = NULL,
                                    unreadable = unreadable * $3 + $4
                 WHERE id = $1";
    let (times, plus) = unreadable.as_factors();
    tx.execute(leave, values![id.0, retry_at, times, plus]).await?;
    Ok(())
}

/// Finkare answered a process that no longer holds the intent. That answer may be newer or older than the answers
/// that other processes received since. So the endpoint's secret has to be rotated once more: by the process that is
/// asking Finkare now, or by opening this intent again.
async fn contest(tx: &mut Tx<'_>, endpoint: &str, id: IntentId) -> Result<(), Failure> {
    // An intent that no process holds will be tried again anyway.
    let contest = "UPDATE intents SET contested = (state = 'in_flight') WHERE endpoint = $1 AND finished_at IS NULL";
    if tx.execute(contest, values![endpoint]).await? == 0 {
        let now = tx.now().await?;
        leave(tx, id, now, Unreadable::Forgotten).await?;
    }
    Ok(())
}

/// Ends an intent with this secret.
async fn end(tx: &mut Tx<'_>, id: IntentId, secret: Uuid) -> Result<(), Failure> {
    let end = "UPDATE intents SET state = 'done', finished_at = $2, secret_id = $3, lease_token = NULL,
                                  lease_until = NULL, retry_at = NULL, contested = false
               WHERE id = $1";
    let now = tx.now().await?;
    tx.execute(end, values![id.0, now, secret]).await?;
    Ok(())
}

/// Ends the endpoint's unfinished intent if no process holds it, because a secret was configured that the endpoint
/// never had. An intent that a process holds is marked instead. Returns the intent that was ended.
async fn end_by_configuration(tx: &mut Tx<'_>, endpoint: &str, secret: SecretId) -> Result<Option<Intent>, Failure> {
    let now = tx.now().await?;
    let Some(row) = unfinished(tx, endpoint).await? else { return Ok(None) };
    if row.is_held(now) {
        tx.execute("UPDATE intents SET given_meanwhile = true WHERE id = $1", values![row.id().0]).await?;
        return Ok(None);
    }
    end(tx, row.id(), secret.0).await?;
    Ok(Some(row.at(now)?))
}
