//! Gives a webhook a new secret, and heals changes that were left unfinished: both ask Finkare for a secret.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use finkare::Error;

use super::{
    LinkError, Linked, Links, MIN_OVERLAP, Rotated,
    actions::{self, audit},
    in_flight,
    lease::{Held, ROUNDS, new_intent},
    registration, what_a_person_does,
};
use crate::{
    model::{
        audit::NewAudit,
        backoff,
        chain::Chain,
        clock,
        intent::{Begun, Intent, IntentKind, IntentState, Link, MOST_UNREADABLE, NewIntent},
        stored_secret::{Fingerprint, Origin, SecretState},
    },
    store::link::{Change, Doubt, Ended},
    telemetry::RotationResult,
};

/// The pauses between tries of an unfinished change: the first one…
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// … which doubles up to this one.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// The longest pause that Finkare may ask for.
const LONGEST_ASKED_FOR: Duration = Duration::from_mins(10);

/// How long a rotation that a person asks for waits while the service heals an earlier change.
const FOR_A_CURE: Duration = Duration::from_secs(5);

/// A rotation that was asked for.
#[derive(Debug)]
pub(super) struct Order {
    /// Who asked for it.
    pub(super) actor: String,
    /// How long the previous secrets stay valid: [`MIN_OVERLAP`] at least.
    overlap: Duration,
    /// Rotate only if this is still the newest secret.
    only_if_newest: Option<Fingerprint>,
}

impl Order {
    /// Makes an order, with at least the shortest overlap.
    pub(super) fn new(actor: &str, overlap: Duration, only_if_newest: Option<Fingerprint>) -> Self {
        Self { actor: actor.to_owned(), overlap: overlap.max(MIN_OVERLAP), only_if_newest }
    }
}

/// What Finkare is asked for, and what is stored with the new secret.
struct Asking<'a> {
    actor: &'a str,
    webhook_id: &'a str,
    /// How long the previous secrets stay valid, [`MIN_OVERLAP`] at least; `None` leaves them as they are.
    overlap: Option<Duration>,
    /// The webhook's URL, if the store does not know the webhook yet.
    url: Option<&'a str>,
}

impl Links {
    /// Rotates; `None` if another worker was faster, see [`Order::only_if_newest`].
    pub(super) async fn rotate_now(
        self: &Arc<Self>,
        linked: &Linked,
        order: &Order,
    ) -> Result<Option<Rotated>, LinkError> {
        for _ in 0..ROUNDS {
            let link = self.link(&linked.name).await?;
            let webhook_id = linked.webhook_id(&link);
            // A healed registration knows its webhook.
            if webhook_id.is_none() && link.intent.is_none() {
                return Err(linked.no_webhook_id());
            }
            let new = NewIntent {
                webhook_id: webhook_id.clone(),
                overlap: order.overlap,
                only_if_newest: order.only_if_newest.clone(),
                ..new_intent(linked, IntentKind::Rotate, &order.actor)
            };
            let audit = audit(actions::begun(IntentKind::Rotate), linked, &order.actor)
                .with("webhook_id", webhook_id.as_deref())
                .with("overlap_secs", order.overlap.as_secs());
            match self.store.begin_intent(new.clone(), audit).await? {
                Begun::Begun => {
                    let held = Held::begun(self.store.clone(), &new);
                    let Some(webhook_id) = &webhook_id else {
                        held.drop_unneeded(&order.actor, "the webhook's id is not known").await;
                        return Err(linked.no_webhook_id());
                    };
                    let asking = Asking { actor: &order.actor, webhook_id, overlap: Some(order.overlap), url: None };
                    return self.ask(linked, &held, &asking).await.map(Some);
                }
                Begun::TakenOver(intent) => {
                    let held = Held::taken_over(self.store.clone(), &intent, new.token);
                    let healed = self.heal(linked, &held, &intent, &order.actor, Some(order.overlap)).await?;
                    if healed.is_some() {
                        return Ok(healed);
                    }
                }
                // The service is healing an earlier change, which ends soon. Any other change under way is the rotation
                // that was asked for.
                Begun::InFlight(intent) if !intent.is_asked_for() && self.ends_soon(&intent).await => {}
                Begun::InFlight(intent) => return Err(in_flight(intent)),
                Begun::Outdated => return Ok(None),
            }
        }
        Err(self.overtaken(linked).await)
    }

    /// Waits until the service has healed an intent; false if that takes too long, or if a rotation was asked for meanwhile.
    async fn ends_soon(&self, intent: &Intent) -> bool {
        let mut changes = self.store.wakeups().link();
        let ending = async {
            loop {
                changes.borrow_and_update();
                match self.link(&intent.endpoint).await {
                    Ok(Link { intent: Some(now), .. }) if now.state == IntentState::InFlight => {
                        if now.is_asked_for() {
                            return false;
                        }
                        if now.id != intent.id {
                            return true;
                        }
                    }
                    Ok(_) => return true,
                    Err(_) => return false,
                }
                // An announcement may be lost.
                let _ = tokio::time::timeout(FIRST_RETRY, changes.changed()).await;
            }
        };
        tokio::time::timeout(FOR_A_CURE, ending).await.unwrap_or(false)
    }

    /// Finishes a change that another worker left unfinished, by asking Finkare for a new secret; `None` if it turned out
    /// that nothing had changed at Finkare. `overlap` replaces the intent's own.
    ///
    /// # Errors
    /// The doubt stays in the store, with a time for the next try.
    pub(super) async fn heal(
        &self,
        linked: &Linked,
        held: &Held,
        intent: &Intent,
        actor: &str,
        overlap: Option<Duration>,
    ) -> Result<Option<Rotated>, LinkError> {
        match intent.kind {
            IntentKind::Rotate => {
                let link = self.link(&linked.name).await?;
                let Some(webhook_id) = linked.webhook_id(&link).or_else(|| intent.webhook_id.clone()) else {
                    let audit = audit(actions::uncertain(held.kind), linked, actor)
                        .with("problem", "the webhook's id is not known");
                    held.doubt(Doubt::after(LONGEST_RETRY), audit).await;
                    return Err(linked.no_webhook_id());
                };
                let overlap = Some(overlap.unwrap_or(intent.overlap).max(MIN_OVERLAP));
                self.ask(linked, held, &Asking { actor, webhook_id: &webhook_id, overlap, url: None }).await.map(Some)
            }
            IntentKind::Register => {
                let url = intent.url.as_deref().unwrap_or_default();
                let listed = match held.keeping(linked.client.webhooks().list()).await {
                    Ok(listed) => listed,
                    Err(error) => {
                        let what = audit(actions::uncertain(held.kind), linked, actor).with("url", url);
                        return Err(self.not_done(linked, held, what, error, false).await);
                    }
                };
                if let Some(webhook) = registration::choose(&registration::same_url(url, &listed.data), None) {
                    let asking = Asking { actor, webhook_id: &webhook.id, overlap, url: Some(url) };
                    return self.ask(linked, held, &asking).await.map(Some);
                }
                held.drop_unneeded(actor, "Finkare has no webhook with this URL: nothing was registered").await;
                self.see().await;
                linked.metrics.observe(RotationResult::Healed);
                tracing::info!(
                    endpoint.name = %linked.name, intent.id = %held.id, url,
                    "an unfinished registration was checked: Finkare has no such webhook, so nothing was registered"
                );
                Ok(None)
            }
        }
    }

    /// Asks Finkare for a new secret under an intent that this process holds, and stores it: steps 2 to 4.
    async fn ask(&self, linked: &Linked, held: &Held, asking: &Asking<'_>) -> Result<Rotated, LinkError> {
        let begun = Instant::now();
        let &Asking { actor, webhook_id, overlap, url } = asking;
        self.know(linked, held, actor).await?;
        // Read before Finkare is asked, so that after its answer nothing delays the commit of the secret.
        let before = self.link(&linked.name).await.ok();
        let secret = match held.keeping(linked.client.webhooks().rotate_secret(webhook_id)).await {
            Ok(rotated) => rotated.data,
            Err(error) => {
                let what = audit(actions::uncertain(held.kind), linked, actor).with("webhook_id", webhook_id);
                return Err(self.not_done(linked, held, what, error, true).await);
            }
        };
        let sealed = self.secrets.vault().seal(&linked.name, &secret);
        drop(secret);
        let fingerprint = sealed.fingerprint.clone();
        let previous = before.map(|link| active(&link, &fingerprint)).unwrap_or_default();
        let mut done = audit(actions::done(held.kind), linked, actor)
            .with("webhook_id", webhook_id)
            .with("fingerprint", fingerprint.as_str())
            .with("overlap_secs", overlap.map(|overlap| overlap.as_secs()))
            .with("previous", previous.clone())
            .with("tries", held.tries);
        if let Some(url) = url {
            done = done.with("url", url);
        }
        let webhook = url.map(|url| (webhook_id.to_owned(), url.to_owned()));
        let change = Change { secret: sealed, origin: Origin::Rotated, overlap, webhook };
        self.keep(linked, held, change, done).await?;
        let result = if held.was_tried() { RotationResult::Healed } else { RotationResult::Rotated };
        linked.metrics.observe(result);
        let previous_valid_until = match self.link(&linked.name).await {
            Ok(link) => last_end(&link, &fingerprint),
            Err(_) if previous.is_empty() => None,
            Err(_) => overlap.and_then(|overlap| clock::now().checked_add(overlap).ok()),
        };
        tracing::info!(
            endpoint.name = %linked.name, webhook.id = webhook_id, actor, %fingerprint, ?previous, tries = held.tries,
            previous_valid_until = previous_valid_until.map(tracing::field::display),
            duration_ms = clock::millis(begun.elapsed()), "the webhook's secret was rotated"
        );
        Ok(Rotated { fingerprint, previous_valid_until })
    }

    /// Step 2: this process learns of the intent, so that deliveries that fit no secret wait from now on.
    pub(super) async fn know(&self, linked: &Linked, held: &Held, actor: &str) -> Result<(), LinkError> {
        let Err(error) = held.keeping(self.secrets.refresh()).await else { return Ok(()) };
        let reason = "the stored secrets could not be read again, so Finkare was not asked";
        if held.was_tried() {
            let audit = audit(actions::uncertain(held.kind), linked, actor).with("problem", reason);
            held.doubt(Doubt::after(retry_in(held.tries, None)), audit).await;
        } else {
            held.drop_unneeded(actor, reason).await;
        }
        tracing::warn!(
            endpoint.name = %linked.name, intent.id = %held.id, error = %Chain(&error),
            "Finkare was not asked to change the webhook's secret, because the stored secrets could not be read again"
        );
        Err(LinkError::Secrets(error))
    }

    /// Step 4: commits the new secret, and then uses it.
    pub(super) async fn keep(
        &self,
        linked: &Linked,
        held: &Held,
        change: Change,
        audit: NewAudit,
    ) -> Result<(), LinkError> {
        let ended = held.finish(change, audit).await;
        self.see().await;
        match ended {
            Ok(Ended::Ended) => Ok(()),
            Ok(Ended::Lost) => {
                linked.metrics.observe(RotationResult::Uncertain);
                Err(self.overtaken(linked).await)
            }
            Err(error) => {
                linked.metrics.observe(RotationResult::Uncertain);
                Err(error.into())
            }
        }
    }

    /// Handles a call that failed, or whose outcome is unknown. `asked` is true if Finkare was asked to change something. The
    /// audit entry `what` is written as a refusal or as a doubt, with Finkare's answer added.
    pub(super) async fn not_done(
        &self,
        linked: &Linked,
        held: &Held,
        what: NewAudit,
        error: Error,
        asked: bool,
    ) -> LinkError {
        let entry = actions::with_failure(what, &error);
        let todo = what_to_do(&error);
        let is_open = held.was_tried() || (asked && error.may_have_happened());
        if !is_open {
            held.fail(NewAudit { action: actions::refused(held.kind), ..entry }).await;
            linked.metrics.observe(RotationResult::Refused);
            tracing::warn!(
                endpoint.name = %linked.name, intent.id = %held.id, change = held.kind.as_str(), error = %Chain(&error),
                "Finkare did not change the webhook's secret: the previous secrets stay in force. {todo}"
            );
            self.see().await;
            return LinkError::Refused(error);
        }
        let is_unreadable = asked && error.is_unreadable_success();
        let unreadable = held.unreadable_after(is_unreadable);
        let needs_a_person = unreadable >= MOST_UNREADABLE;
        let retry_in = retry_in(held.tries, Some(&error));
        let mut entry = NewAudit { action: actions::uncertain(held.kind), ..entry }.with("tries", held.tries);
        if unreadable > 0 {
            entry = entry.with("unreadable", unreadable);
        }
        // Null means that it is left to a person.
        entry = entry.with("retry_in_ms", (!needs_a_person).then(|| clock::millis(retry_in)));
        held.doubt(Doubt { retry_in, is_unreadable }, entry).await;
        linked.metrics.observe(RotationResult::Uncertain);
        if needs_a_person {
            linked.metrics.observe(RotationResult::Stopped);
            tracing::error!(
                endpoint.name = %linked.name, intent.id = %held.id, change = held.kind.as_str(), tries = held.tries,
                unreadable, error = %Chain(&error),
                "it is not known whether Finkare changed the webhook's secret, and its answers of success hold no \
                 secret that can be read: deliveries that fit no secret are answered 503, and the service does not \
                 ask Finkare again by itself. {}", what_a_person_does(&linked.name)
            );
        } else {
            tracing::error!(
                endpoint.name = %linked.name, intent.id = %held.id, change = held.kind.as_str(), tries = held.tries,
                retry_in_ms = clock::millis(retry_in), error = %Chain(&error),
                "it is not known whether Finkare changed the webhook's secret: deliveries that fit no secret are \
                 answered 503, and the service asks Finkare again by itself. {todo}"
            );
        }
        self.see().await;
        if needs_a_person {
            LinkError::NeedsAPerson { endpoint: linked.name.clone(), source: Box::new(error) }
        } else {
            LinkError::Uncertain(error)
        }
    }

    /// The answer if another worker has taken over this intent.
    pub(super) async fn overtaken(&self, linked: &Linked) -> LinkError {
        match self.link(&linked.name).await {
            Ok(Link { intent: Some(intent), .. }) => in_flight(intent),
            Ok(_) => {
                LinkError::InFlight { endpoint: linked.name.clone(), since: clock::now(), actor: "service".to_owned() }
            }
            Err(error) => error.into(),
        }
    }
}

/// The pause before the next try: 1 s, 2 s, 4 s … 60 s, the second half of it random; longer if Finkare requests a longer
/// pause.
fn retry_in(tries: u32, error: Option<&Error>) -> Duration {
    let wait = backoff::next_wait(FIRST_RETRY, LONGEST_RETRY, tries, 0.5 + 0.5 * rand::random::<f64>());
    match error {
        Some(Error::Api { retry_after: Some(asked), .. }) => wait.max((*asked).min(LONGEST_ASKED_FOR)),
        _ => wait,
    }
}

/// What a person can do about the error.
fn what_to_do(error: &Error) -> &'static str {
    match error {
        Error::Unusable { .. } => "Check the endpoint's `webhook_id` and `api_paths`",
        Error::Api { status: 401 | 403, .. } => {
            "Set the endpoint's `api_key` to a key of this account that has the scope `webhooks:manage`"
        }
        Error::Api { status: 404, .. } => {
            "Check the endpoint's `webhook_id`; if the webhook was deleted at Finkare, run `finkare-relay register`"
        }
        Error::Api { status: 429, .. } => "Finkare asks for fewer calls: wait a while",
        Error::Api { status: 300..=399, .. } => "Redirects are not followed: check the endpoint's `api_url`",
        Error::Api { .. } | Error::Unreadable { .. } => {
            "If this lasts, ask Finkare's support, with the request id from the audit trail"
        }
        Error::Network { .. } => "If this lasts, check the network and the endpoint's `api_url`",
    }
}

/// The active secrets' fingerprints, without the new one.
fn active(link: &Link, new: &Fingerprint) -> Vec<String> {
    let before = link.secrets.iter().filter(|secret| secret.state == SecretState::Active && secret.fingerprint != *new);
    before.map(|secret| secret.fingerprint.to_string()).collect()
}

/// The time until which the last of the retiring secrets is valid.
fn last_end(link: &Link, new: &Fingerprint) -> Option<jiff::Timestamp> {
    let retiring =
        link.secrets.iter().filter(|secret| secret.state == SecretState::Retiring && secret.fingerprint != *new);
    retiring.filter_map(|secret| secret.valid_until).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_at_a_minute() {
        for (tries, longest) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (u32::MAX, 60)] {
            let (wait, longest) = (retry_in(tries, None), Duration::from_secs(longest));
            assert!(wait <= longest && wait >= longest / 2, "{tries}: {wait:?}");
        }
    }

    #[test]
    fn finkare_may_ask_for_a_longer_pause() {
        let asked = |secs| Error::Api {
            call: String::new(),
            status: 503,
            code: None,
            message: String::new(),
            request_id: None,
            retry_after: Some(Duration::from_secs(secs)),
        };
        assert_eq!(retry_in(1, Some(&asked(90))), Duration::from_secs(90));
        assert_eq!(retry_in(1, Some(&asked(86_400))), LONGEST_ASKED_FOR);
        assert!(retry_in(1, Some(&asked(0))) >= Duration::from_millis(500));
    }
}
