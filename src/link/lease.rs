//! An intent that this process holds: its lease is renewed during the work, and its outcome is stored even if the store is
//! unavailable for a while.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use super::{DEFAULT_OVERLAP, Linked, actions};
use crate::{
    model::{
        audit::NewAudit,
        chain::Chain,
        id::{EndpointName, LeaseToken},
        intent::{Intent, IntentId, IntentKind, NewIntent},
    },
    store::{
        Store, StoreError,
        link::{Change, Doubt, Ended},
    },
};

/// How long a lease lasts unless it is renewed. After a crash, another process may heal the unfinished change once the lease
/// has expired.
pub const LEASE: Duration = Duration::from_secs(8);

/// The time between two renewals: three may fail before the lease is lost.
const RENEW: Duration = Duration::from_secs(2);

/// The first wait before the store is asked again…
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// … which doubles up to this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many times a change starts again after it found another unfinished change that then ended without a result.
pub(super) const ROUNDS: usize = 3;

/// A new intent with a new id and a new token.
pub(super) fn new_intent(linked: &Linked, kind: IntentKind, actor: &str) -> NewIntent {
    NewIntent {
        id: IntentId(Uuid::now_v7()),
        endpoint: linked.name.clone(),
        kind,
        actor: actor.to_owned(),
        webhook_id: None,
        url: None,
        events: Vec::new(),
        overlap: DEFAULT_OVERLAP,
        token: LeaseToken::generate(),
        lease: LEASE,
        only_if_newest: None,
    }
}

/// An intent that this process holds.
///
/// Dropping it lets the lease expire: the intent then counts as unknown, and is healed.
pub(super) struct Held {
    store: Arc<dyn Store>,
    /// The endpoint.
    pub(super) endpoint: EndpointName,
    /// The intent's id.
    pub(super) id: IntentId,
    /// What Finkare is asked for.
    pub(super) kind: IntentKind,
    token: LeaseToken,
    /// How many times Finkare has been asked, this time included. More than once means that the outcome of the earlier tries
    /// is not known.
    pub(super) tries: u32,
    /// How many of Finkare's earlier answers were a success without a secret that can be read.
    unreadable: u32,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token, which proves the lease.
        f.debug_struct("Held").field("endpoint", &self.endpoint).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Held {
    /// An intent that this process has just begun.
    pub(super) fn begun(store: Arc<dyn Store>, intent: &NewIntent) -> Self {
        let NewIntent { id, endpoint, kind, token, .. } = intent;
        Self { store, endpoint: endpoint.clone(), id: *id, kind: *kind, token: *token, tries: 1, unreadable: 0 }
    }

    /// An intent that another worker left unfinished.
    pub(super) fn taken_over(store: Arc<dyn Store>, intent: &Intent, token: LeaseToken) -> Self {
        let Intent { id, endpoint, kind, tries, unreadable, .. } = intent;
        let (endpoint, tries, unreadable) = (endpoint.clone(), *tries, *unreadable);
        Self { store, endpoint, id: *id, kind: *kind, token, tries, unreadable }
    }

    /// True if there was an earlier try, whose outcome is not known.
    pub(super) fn was_tried(&self) -> bool {
        self.tries > 1
    }

    /// The number of Finkare's answers without a secret that can be read, after one more answer.
    pub(super) fn unreadable_after(&self, is_unreadable: bool) -> u32 {
        self.unreadable.saturating_add(u32::from(is_unreadable))
    }

    /// Does the work and renews the lease during it. A lost lease does not stop the work: Finkare's answer is stored
    /// anyway.
    pub(super) async fn keeping<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.renew() => match never {},
        }
    }

    async fn renew(&self) -> Infallible {
        loop {
            tokio::time::sleep(RENEW).await;
            match self.store.renew_intent(self.id, self.token, LEASE).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(
                        endpoint.name = %self.endpoint, intent.id = %self.id,
                        "the lease on a change of the webhook's secret was lost: another process completes the \
                         change, and this process still stores Finkare's answer"
                    );
                    return std::future::pending().await;
                }
                Err(error) => tracing::warn!(
                    endpoint.name = %self.endpoint, intent.id = %self.id, error = %Chain(&error),
                    "the lease on a change of the webhook's secret could not be renewed: trying again"
                ),
            }
        }
    }

    /// Stores Finkare's new secret, however long that takes: the copy in memory is the only one. Gives up only if the store
    /// rejects the secret permanently.
    pub(super) async fn finish(&self, change: Change, audit: NewAudit) -> Result<Ended, StoreError> {
        let begun = Instant::now();
        let finish = || self.store.finish_intent(self.id, self.token, change.clone(), audit.clone());
        let ended = self.insist(None, finish).await;
        match &ended {
            Ok(Ended::Ended) => {}
            Ok(Ended::Lost) => tracing::warn!(
                endpoint.name = %self.endpoint, intent.id = %self.id, fingerprint = %change.secret.fingerprint,
                "the new secret was stored, but another process had taken over the change: the secret is rotated once \
                 more"
            ),
            Err(error) => tracing::error!(
                endpoint.name = %self.endpoint, intent.id = %self.id, fingerprint = %change.secret.fingerprint,
                error = %Chain(error), waited_ms = crate::model::clock::millis(begun.elapsed()),
                "Finkare switched to a new secret, and the store refused to keep it: the service rotates the secret \
                 again by itself; check the store"
            ),
        }
        ended
    }

    /// Ends the intent without a change.
    pub(super) async fn fail(&self, audit: NewAudit) {
        let fail = || self.store.fail_intent(self.id, self.token, audit.clone());
        self.note("ended", self.insist(Some(LEASE), fail).await);
    }

    /// Marks the intent as a doubt, which the service retries unless it needs a person.
    pub(super) async fn doubt(&self, doubt: Doubt, audit: NewAudit) {
        let doubt = || self.store.doubt_intent(self.id, self.token, doubt, audit.clone());
        self.note("marked as uncertain", self.insist(Some(LEASE), doubt).await);
    }

    /// Ends the intent because there is nothing to ask Finkare.
    pub(super) async fn drop_unneeded(&self, actor: &str, reason: &str) {
        let subject = actions::subject(&self.endpoint);
        self.fail(NewAudit::new(actor, actions::INTENT_DROPPED, subject).with("reason", reason)).await;
    }

    fn note(&self, what: &'static str, ended: Result<Ended, StoreError>) {
        match ended {
            Ok(Ended::Ended) => {}
            Ok(Ended::Lost) => tracing::warn!(
                endpoint.name = %self.endpoint, intent.id = %self.id,
                "another process has taken over the change of the webhook's secret that was to be {what}, and \
                 continues it"
            ),
            Err(error) => tracing::error!(
                endpoint.name = %self.endpoint, intent.id = %self.id, error = %Chain(&error),
                "a change of the webhook's secret could not be {what} in the store: it is retried once its lease \
                 has expired"
            ),
        }
    }

    /// Retries until the store answers, at most for `bound`; the lease is renewed during that time.
    async fn insist<F>(&self, bound: Option<Duration>, mut ask: impl FnMut() -> F) -> Result<Ended, StoreError>
    where
        F: Future<Output = Result<Ended, StoreError>>,
    {
        let begun = Instant::now();
        self.keeping(async {
            let mut pause = FIRST_PAUSE;
            loop {
                match ask().await {
                    Err(error) if error.is_unavailable() && bound.is_none_or(|bound| begun.elapsed() < bound) => {
                        tracing::warn!(
                            endpoint.name = %self.endpoint, intent.id = %self.id, error = %Chain(&error),
                            "the outcome of a change of the webhook's secret could not be stored: trying again"
                        );
                        tokio::time::sleep(pause.mul_f64(0.75 + 0.25 * rand::random::<f64>())).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    answer => return answer,
                }
            }
        })
        .await
    }
}
