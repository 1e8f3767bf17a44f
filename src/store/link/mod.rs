//! What the store promises about the link to Finkare: secrets, intents, the audit trail.
//!
//! These methods are rare and always durable. A change that every replica has to know (a secret, an intent) is
//! announced when it is committed ([`super::wake::Wakeups::link`]). The announcement may be lost, so replicas also
//! read the secrets again before they refuse anything.
//!
//! Times are the store's clock (the database's on Postgres). Each method writes its audit entry in its own
//! transaction, so that nothing is done without a trace.
//!
//! A lease that ran out stays its holder's until another process takes the intent over, so that a slow holder may
//! still end what it began.
//!
//! [`SecretStore`] is implemented in `secrets`, [`IntentStore`] in `intents`, [`AuditStore`] in `audit`, each once
//! for both databases. `rows` holds the rows that they read and the decisions that follow from them.

use std::time::Duration;

use async_trait::async_trait;

use super::{error::StoreError, page::Page};
use crate::model::{
    audit::{AuditEntry, NewAudit},
    id::{EndpointName, LeaseToken},
    intent::{Begun, Intent, IntentId, Link, NewIntent},
    stored_secret::{Fingerprint, Origin, SealedSecret, SecretId, StoredSecret},
};

pub(in crate::store) mod audit;
mod intents;
mod rows;
mod secrets;

/// The result of ending an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The intent was ours and is ended as asked.
    Ended,
    /// Another process had taken it over. Nothing was changed, with two exceptions: a secret that came with it is stored as
    /// active (audit action `secret.kept`, actor `service`), and an intent is left unfinished, because it is unknown which
    /// secret is Finkare's last. If another process is asking Finkare at this moment, its answer may be the older of the
    /// two. Then that answer is stored in the same way, that process gets `Lost` too, and its intent is left unfinished.
    Lost,
}

/// A try whose outcome is unknown: Finkare may have made the change or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// How long to wait before the service tries again by itself.
    pub retry_in: Duration,
    /// True if Finkare answered with success and without a secret that can be read; see
    /// [`crate::model::intent::MOST_UNREADABLE`].
    pub is_unreadable: bool,
}

impl Doubt {
    /// After no answer, or after one that does not say what happened.
    pub fn after(retry_in: Duration) -> Self {
        Self { retry_in, is_unreadable: false }
    }
}

/// A person's statement about which secret Finkare signs with.
#[derive(Debug, Clone)]
pub enum Given {
    /// This secret.
    Secret(SealedSecret),
    /// The newest secret of the endpoint.
    Current,
}

/// The result of a person's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The secret is accepted.
    Settled {
        /// The secret that is the newest now.
        fingerprint: Fingerprint,
        /// The intent that it ended, in its earlier state; `None` if nothing was unfinished.
        ended: Option<Intent>,
    },
    /// A process is asking Finkare at this moment, so the given secret may be outdated already: nothing was done.
    InFlight(Intent),
    /// The endpoint has no secret that could be the right one: nothing was done.
    NoSecret,
}

/// A change that Finkare has made.
#[derive(Debug, Clone)]
pub struct Change {
    /// The new secret; it becomes active.
    pub secret: SealedSecret,
    /// How the service got it.
    pub origin: Origin,
    /// How long every other active secret stays valid from now on. A secret that is already retiring keeps its end if
    /// that is earlier. `None` leaves all of them as they are.
    pub overlap: Option<Duration>,
    /// The webhook's id and URL, if they are new.
    pub webhook: Option<(String, String)>,
}

/// The endpoints' secrets and webhooks.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// Everything about every endpoint that has a webhook, a live (active or retiring) secret or an
    /// unfinished intent, in one consistent read. By name. A retiring secret whose time has passed is left out.
    async fn links(&self) -> Result<Vec<Link>, StoreError>;

    /// Every secret that an endpoint ever had, including expired ones, newest first. The newest is the one that was
    /// stored last, regardless of the clock.
    async fn secrets(&self, endpoint: &EndpointName) -> Result<Vec<StoredSecret>, StoreError>;

    /// Stores the webhook of an endpoint in place of the previous one.
    async fn adopt_webhook(
        &self,
        endpoint: &EndpointName,
        id: &str,
        url: &str,
        audit: NewAudit,
    ) -> Result<(), StoreError>;

    /// Marks retiring secrets whose time has passed as expired and deletes their texts, with an audit entry (actor
    /// `service`, action `secret.expired`) for each. Returns how many there were.
    async fn expire_secrets(&self) -> Result<u64, StoreError>;

    /// Replaces the encrypted text of every live secret in one transaction; `old_key_id` names the key that they are
    /// encrypted under now. A retiring one whose time has passed may be among them or not: it expires.
    ///
    /// # Errors
    /// [`StoreError::Open`] if `secrets` are not exactly the live ones under the old key, because they changed in the
    /// meantime.
    async fn reseal_secrets(
        &self,
        old_key_id: &str,
        secrets: &[SealedSecret],
        audit: NewAudit,
    ) -> Result<(), StoreError>;
}

/// Intents: stored before Finkare is asked for a change.
#[async_trait]
pub trait IntentStore: Send + Sync {
    /// Stores as active those of these secrets that the endpoint never had in any state, by their fingerprints;
    /// returns which were new. The first one becomes the newest. The audit entry is written only if there were new
    /// ones. If two processes seed the same secret at the same time, it is stored once.
    ///
    /// A new secret counts as a person's statement. It ends an unfinished intent that no process holds, with an audit
    /// entry of its own (actor `service`, action `intent.settled`). An intent that a process holds is marked
    /// ([`Intent::given_meanwhile`]): if its outcome stays unknown, it is left to a person.
    async fn seed_secrets(
        &self,
        endpoint: &EndpointName,
        secrets: &[SealedSecret],
        audit: NewAudit,
    ) -> Result<Vec<SecretId>, StoreError>;

    /// Stores an intent and leases it, unless the endpoint has an unfinished one: there is at most one per endpoint,
    /// of any kind. An unfinished one that no process holds is taken over, even before its next try is due, and its
    /// count of tries goes up. The audit entry is written for [`Begun::Begun`] and [`Begun::TakenOver`]. A repeated
    /// call with the same id and token returns the same result and writes nothing.
    async fn begin_intent(&self, intent: NewIntent, audit: NewAudit) -> Result<Begun, StoreError>;

    /// Takes over the oldest unfinished intent that no process holds and whose next try is due. One that [needs a
    /// person](Intent::needs_a_person) is left alone. Its count of tries goes up. The audit entry (actor `service`,
    /// action `intent.taken_over`) names it.
    async fn take_over_intent(&self, token: LeaseToken, lease: Duration) -> Result<Option<Intent>, StoreError>;

    /// Extends the lease to this long from now; false if it was lost.
    async fn renew_intent(&self, id: IntentId, token: LeaseToken, lease: Duration) -> Result<bool, StoreError>;

    /// Ends an intent with the change that Finkare made, in one transaction: see [`Change`]. A secret whose
    /// fingerprint the endpoint had already becomes active again, in the new row.
    ///
    /// A caller that did not get the result may repeat the call with the very same change: it is made once.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the intent's row was deleted, so that its endpoint is unknown.
    async fn finish_intent(
        &self,
        id: IntentId,
        token: LeaseToken,
        change: Change,
        audit: NewAudit,
    ) -> Result<Ended, StoreError>;

    /// Ends an intent without any change: Finkare refused, or nothing had happened.
    async fn fail_intent(&self, id: IntentId, token: LeaseToken, audit: NewAudit) -> Result<Ended, StoreError>;

    /// Releases an intent whose outcome is unknown. It may be taken over after [`Doubt::retry_in`], and by
    /// [`IntentStore::begin_intent`] at once. Unreadable answers are counted.
    async fn doubt_intent(
        &self,
        id: IntentId,
        token: LeaseToken,
        doubt: Doubt,
        audit: NewAudit,
    ) -> Result<Ended, StoreError>;

    /// Accepts a person's statement about which secret Finkare signs with, and ends an unfinished intent that no
    /// process holds. A given secret is active and the newest from then on, even if it had expired or its row was
    /// damaged; the others stay as they are. The audit entry is written only for [`Settlement::Settled`].
    async fn settle_intent(
        &self,
        endpoint: &EndpointName,
        given: Given,
        audit: NewAudit,
    ) -> Result<Settlement, StoreError>;

    /// Makes every unfinished intent unknown, and due. For the start of a store that only one process uses: the
    /// process that held the leases is gone. Returns how many there were.
    async fn abandon_intents(&self) -> Result<u64, StoreError>;
}

/// Which entries of the audit trail to list; `None` everywhere lists all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only entries before (older than) this one: the cursor.
    pub before: Option<i64>,
    /// Only about these subjects.
    pub subjects: Option<Vec<String>>,
    /// Only about this endpoint.
    pub endpoint: Option<String>,
    /// Only by this actor.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only written at this time or later.
    pub since: Option<jiff::Timestamp>,
    /// Only written before this time.
    pub until: Option<jiff::Timestamp>,
}

/// The audit trail.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Writes an audit entry by itself.
    async fn audit(&self, audit: NewAudit) -> Result<(), StoreError>;

    /// The selected audit entries, newest first; at most `limit`.
    async fn list_audit(&self, filter: &AuditFilter, limit: u32) -> Result<Page<AuditEntry>, StoreError>;
}
