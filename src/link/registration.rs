//! Creates an endpoint's webhook at Finkare, or adopts the one that exists already.

use std::sync::Arc;

use tokio::time::Instant;
use url::Url;

use finkare::{CreatedWebhook, NewWebhook, Webhook, WebhookUpdate};

use super::{
    LinkError, Linked, Links, Registered, Registration,
    actions::{self, audit},
    in_flight,
    lease::{Held, ROUNDS, new_intent},
};
use crate::{
    model::{
        chain::Chain,
        clock,
        intent::{Begun, Intent, IntentKind, Link, NewIntent},
        stored_secret::Origin,
    },
    store::link::Change,
    telemetry::RotationResult,
};

/// The longest URL, in bytes.
const LONGEST_URL: usize = 2000;

/// The most event types of a registration…
const MOST_EVENTS: usize = 100;

/// … and the longest of them, in bytes.
const LONGEST_EVENT: usize = 100;

/// The longest description, in bytes.
const LONGEST_DESCRIPTION: usize = 500;

/// A valid registration.
#[derive(Debug)]
pub(super) struct Wanted {
    url: String,
    parsed: Url,
    events: Vec<String>,
    description: Option<String>,
}

impl Wanted {
    /// Checks a registration.
    ///
    /// # Errors
    /// A sentence on what is wrong and what to write.
    pub(super) fn new(registration: Registration) -> Result<Self, String> {
        let Registration { url, mut events, description } = registration;
        let like = "write our public address, such as https://relay.example.com/webhooks/finkare";
        if url.len() > LONGEST_URL {
            return Err(format!("the URL is {} bytes long, and at most {LONGEST_URL} are allowed: {like}", url.len()));
        }
        let parsed = Url::parse(&url).map_err(|error| format!("the URL cannot be read ({error}): {like}"))?;
        if parsed.scheme() != "https" {
            return Err(format!("the URL begins with `{}:`, and Finkare posts to HTTPS only: {like}", parsed.scheme()));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(format!("the URL contains a user or a password, which Finkare must not get: {like}"));
        }
        if parsed.fragment().is_some() {
            return Err(format!("the URL has a part after `#`, which is not sent in requests: {like}"));
        }
        let mut seen = std::collections::HashSet::new();
        events.retain(|event| seen.insert(event.clone()));
        if events.is_empty() {
            return Err("no event types are named: write, for example, `payment.received`".to_owned());
        }
        if events.len() > MOST_EVENTS {
            return Err(format!("{} event types are named, and at most {MOST_EVENTS} are allowed", events.len()));
        }
        if let Some(bad) = events.iter().find(|event| {
            event.is_empty()
                || event.len() > LONGEST_EVENT
                || event.contains(|c: char| c.is_whitespace() || c.is_control())
        }) {
            return Err(format!(
                "`{}` is not an event type: write a name of 1 to {LONGEST_EVENT} bytes without blanks, such as \
                 `payment.received`",
                bad.escape_debug().take(LONGEST_EVENT).collect::<String>()
            ));
        }
        if description.as_ref().is_some_and(|text| text.len() > LONGEST_DESCRIPTION) {
            return Err(format!("the description is too long: write at most {LONGEST_DESCRIPTION} bytes"));
        }
        Ok(Self { url, parsed, events, description })
    }
}

/// The webhooks that post to this URL, however it is written.
pub(super) fn same_url<'a>(url: &str, listed: &'a [Webhook]) -> Vec<&'a Webhook> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    listed.iter().filter(|webhook| Url::parse(&webhook.url).is_ok_and(|other| other == url)).collect()
}

/// Chooses the endpoint's webhook among several: the known one, otherwise the first that is enabled, otherwise the first.
pub(super) fn choose<'a>(webhooks: &[&'a Webhook], known: Option<&str>) -> Option<&'a Webhook> {
    let first = |fits: &dyn Fn(&Webhook) -> bool| webhooks.iter().copied().find(|webhook| fits(webhook));
    first(&|webhook| known == Some(webhook.id.as_str()))
        .or_else(|| first(&|webhook| webhook.enabled))
        .or_else(|| first(&|_| true))
}

impl Links {
    pub(super) async fn register_now(
        self: &Arc<Self>,
        linked: &Linked,
        actor: &str,
        wanted: &Wanted,
    ) -> Result<Registered, LinkError> {
        for _ in 0..ROUNDS {
            let link = self.link(&linked.name).await?;
            // An unfinished change comes first: it may concern this very webhook, or its secret.
            if link.intent.is_none() {
                let listed = linked.client.webhooks().list().await.map_err(|error| {
                    tracing::warn!(
                        endpoint.name = %linked.name, error = %Chain(&error),
                        "nothing was registered, because Finkare did not list its webhooks"
                    );
                    LinkError::Refused(error)
                })?;
                let there = same_url(&wanted.url, &listed.data);
                if !there.is_empty() {
                    return self.adopt(linked, actor, wanted, &link, &there).await;
                }
            }
            let new = NewIntent {
                url: Some(wanted.url.clone()),
                events: wanted.events.clone(),
                ..new_intent(linked, IntentKind::Register, actor)
            };
            let audit = audit(actions::begun(IntentKind::Register), linked, actor)
                .with("url", wanted.url.as_str())
                .with("events", wanted.events.clone());
            match self.store.begin_intent(new.clone(), audit).await? {
                Begun::Begun => {
                    let held = Held::begun(self.store.clone(), &new);
                    if let Some(registered) = self.create(linked, &held, actor, wanted).await? {
                        return Ok(registered);
                    }
                }
                Begun::TakenOver(intent) => {
                    let held = Held::taken_over(self.store.clone(), &intent, new.token);
                    if !self.is_moot(linked, &held, &intent, &link, actor).await {
                        self.heal(linked, &held, &intent, actor, None).await?;
                    }
                }
                Begun::InFlight(intent) => return Err(in_flight(intent)),
                // A registration depends on no secret; the next round shows what has changed.
                Begun::Outdated => {}
            }
        }
        Err(self.overtaken(linked).await)
    }

    /// Ends an unfinished rotation whose webhook no longer exists, and returns true: nothing is signed with its secret.
    ///
    /// Only where a person asks for a webhook: by itself, the service cannot know that the API key belongs to the right
    /// account.
    async fn is_moot(&self, linked: &Linked, held: &Held, intent: &Intent, link: &Link, actor: &str) -> bool {
        let id = linked.webhook_id(link).or_else(|| intent.webhook_id.clone());
        let (IntentKind::Rotate, Some(id)) = (intent.kind, id) else { return false };
        // If the list fails, healing fails as well, and logs it.
        let Ok(listed) = held.keeping(linked.client.webhooks().list()).await else { return false };
        if listed.data.iter().any(|webhook| webhook.id == id) {
            return false;
        }
        held.drop_unneeded(actor, &format!("webhook {id} is no longer in Finkare's list")).await;
        tracing::warn!(
            endpoint.name = %linked.name, webhook.id = id,
            "an unfinished rotation was ended, because its webhook is no longer in Finkare's list"
        );
        true
    }

    /// Creates the webhook under an intent that this process holds; `None` if another process has created it in the meantime.
    async fn create(
        &self,
        linked: &Linked,
        held: &Held,
        actor: &str,
        wanted: &Wanted,
    ) -> Result<Option<Registered>, LinkError> {
        let begun = Instant::now();
        let url = wanted.url.as_str();
        let failed = || audit(actions::refused(held.kind), linked, actor).with("url", url);
        self.know(linked, held, actor).await?;
        // Looks once more: the webhook may have been registered between the first look and the intent.
        match held.keeping(linked.client.webhooks().list()).await {
            Ok(listed) if same_url(url, &listed.data).is_empty() => {}
            Ok(_) => {
                held.drop_unneeded(actor, "another process has created the webhook in the meantime").await;
                self.see().await;
                return Ok(None);
            }
            Err(error) => return Err(self.not_done(linked, held, failed(), error, false).await),
        }
        let new = NewWebhook {
            url: wanted.url.clone(),
            events: wanted.events.clone(),
            description: wanted.description.clone(),
            enabled: None,
        };
        let CreatedWebhook { webhook, secret, .. } = match held.keeping(linked.client.webhooks().create(&new)).await {
            Ok(created) => created.data,
            Err(error) => return Err(self.not_done(linked, held, failed(), error, true).await),
        };
        let sealed = self.secrets.vault().seal(&linked.name, &secret);
        drop(secret);
        let fingerprint = sealed.fingerprint.clone();
        let done = audit(actions::done(held.kind), linked, actor)
            .with("webhook_id", webhook.id.as_str())
            .with("url", url)
            .with("fingerprint", fingerprint.as_str())
            .with("tries", held.tries);
        let change = Change {
            secret: sealed,
            origin: Origin::Registered,
            overlap: None,
            webhook: Some((webhook.id.to_string(), wanted.url.clone())),
        };
        self.keep(linked, held, change, done).await?;
        linked.metrics.observe(RotationResult::Registered);
        tracing::info!(
            endpoint.name = %linked.name, webhook.id = webhook.id.as_str(), url, actor, %fingerprint,
            duration_ms = clock::millis(begun.elapsed()), "a webhook was registered at Finkare"
        );
        let mut notes = notes(linked, wanted, &webhook);
        let missing: Vec<_> = wanted.events.iter().filter(|event| !webhook.events.contains(event)).cloned().collect();
        if !missing.is_empty() {
            notes.push(format!("Finkare did not accept these event types: {}", missing.join(", ")));
        }
        Ok(Some(Registered {
            webhook_id: webhook.id.into_string(),
            url: wanted.url.clone(),
            created: true,
            fingerprint: Some(fingerprint),
            notes,
        }))
    }

    /// Adopts a webhook that exists already.
    async fn adopt(
        &self,
        linked: &Linked,
        actor: &str,
        wanted: &Wanted,
        link: &Link,
        there: &[&Webhook],
    ) -> Result<Registered, LinkError> {
        let known = linked.webhook_id(link);
        let webhook = choose(there, known.as_deref()).expect("the caller found at least one");
        let mut notes = notes(linked, wanted, webhook);
        let missing: Vec<_> = wanted.events.iter().filter(|event| !webhook.events.contains(event)).cloned().collect();
        if !missing.is_empty() {
            // Before anything is adopted, so that a failure leaves everything as it was.
            let events = webhook.events.iter().chain(&missing).cloned().collect();
            // Every field: whether a field that an update leaves out stays as it was is not documented.
            let update = WebhookUpdate {
                url: Some(webhook.url.clone()),
                events: Some(events),
                description: webhook.description.clone(),
                enabled: Some(webhook.enabled),
            };
            self.add_events(linked, &webhook.id, &update, &missing).await?;
            notes.push(format!("these event types were added to the webhook: {}", missing.join(", ")));
        }
        if link.webhook.as_ref().is_none_or(|stored| stored.id != webhook.id) {
            let audit = audit(actions::WEBHOOK_ADOPTED, linked, actor)
                .with("webhook_id", webhook.id.as_str())
                .with("url", wanted.url.as_str());
            self.store.adopt_webhook(&linked.name, &webhook.id, &wanted.url, audit).await?;
            tracing::info!(
                endpoint.name = %linked.name, webhook.id = webhook.id.as_str(), url = wanted.url, actor,
                "the webhook that has this URL at Finkare was adopted"
            );
        }
        let fingerprint = link.secrets.first().map(|secret| secret.fingerprint.clone());
        let rotate = format!("`finkare-relay rotate-secret --endpoint {}`", linked.name);
        match &fingerprint {
            None => notes.push(format!(
                "the webhook existed already, and the relay does not know its secret: every delivery is refused until \
                 you run {rotate} (or set the endpoint's `secret`)"
            )),
            Some(fingerprint) if known.as_deref() != Some(webhook.id.as_str()) => notes.push(format!(
                "the webhook existed already, and the relay assumes that its secret is {fingerprint}: if \
                 deliveries are refused, run {rotate}"
            )),
            Some(_) => {}
        }
        if !webhook.enabled {
            notes.push("the webhook is disabled, so Finkare posts nothing: enable it there".to_owned());
        }
        let others: Vec<_> =
            there.iter().filter(|other| other.id != webhook.id).map(|other| other.id.as_str()).collect();
        if !others.is_empty() {
            notes.push(format!(
                "Finkare has other webhooks with this URL, which deliver the same events again under other secrets: \
                 delete them there ({})",
                others.join(", ")
            ));
        }
        Ok(Registered {
            webhook_id: webhook.id.to_string(),
            url: wanted.url.clone(),
            created: false,
            fingerprint,
            notes,
        })
    }
}

impl Links {
    /// Changes a webhook's event types. If the answer does not say whether Finkare made the change, Finkare's list is read.
    ///
    /// # Errors
    /// [`LinkError::UpdateUnknown`] if the list does not show them either. The same call can be repeated without harm.
    async fn add_events(
        &self,
        linked: &Linked,
        id: &str,
        update: &WebhookUpdate,
        missing: &[String],
    ) -> Result<(), LinkError> {
        let Err(error) = linked.client.webhooks().update(id, update).await else { return Ok(()) };
        if !error.may_have_happened() {
            tracing::warn!(
                endpoint.name = %linked.name, webhook.id = id, error = %Chain(&error),
                "Finkare did not add event types to the webhook: run the registration again"
            );
            return Err(LinkError::Refused(error));
        }
        let has_all =
            |webhook: &Webhook| webhook.id == id && missing.iter().all(|event| webhook.events.contains(event));
        let is_done = linked.client.webhooks().list().await.is_ok_and(|listed| listed.data.iter().any(has_all));
        tracing::warn!(
            endpoint.name = %linked.name, webhook.id = id, is_done, error = %Chain(&error),
            "Finkare's answer does not say whether it added event types to the webhook, so its list of webhooks was \
             read"
        );
        if is_done { Ok(()) } else { Err(LinkError::UpdateUnknown(error)) }
    }
}

/// What a person should look at, whether the webhook is new or not.
fn notes(linked: &Linked, wanted: &Wanted, webhook: &Webhook) -> Vec<String> {
    let mut notes = Vec::new();
    if !wanted.parsed.path().ends_with(&linked.path) {
        notes.push(format!(
            "the URL's path does not end with {}, where endpoint {} listens: make sure that your proxy leads there",
            linked.path, linked.name
        ));
    }
    if let Some(configured) = linked.configured_id.as_ref().filter(|id| **id != webhook.id) {
        notes.push(format!(
            "the endpoint's `webhook_id` is configured as {configured}, and this webhook is {}: rotations ask for the \
             configured one. Change `webhook_id`, or remove it",
            webhook.id
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(url: &str) -> Result<Wanted, String> {
        Wanted::new(Registration { url: url.into(), events: vec!["payment.received".into()], description: None })
    }

    fn webhook(id: &str, url: &str, enabled: bool) -> Webhook {
        Webhook {
            id: id.into(),
            url: url.into(),
            events: Vec::new(),
            description: None,
            enabled,
            created_at: None,
            last_triggered_at: None,
            other: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_url_that_cannot_be_says_what_to_write() {
        for (url, word) in [
            ("", "cannot be read"),
            ("relay.example.com/x", "cannot be read"),
            ("http://relay.example.com/x", "HTTPS"),
            ("https://user@relay.example.com/x", "user or a password"),
            ("https://:hunter2@relay.example.com/x", "user or a password"),
            ("https://relay.example.com/x#y", "`#`"),
            (&format!("https://relay.example.com/{}", "x".repeat(2000)), "at most 2000"),
        ] {
            let problem = wanted(url).unwrap_err();
            assert!(
                problem.contains(word) && problem.contains("https://relay.example.com/webhooks"),
                "{url}: {problem}"
            );
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        wanted("https://relay.example.com/webhooks/finkare?tenant=1").unwrap();
    }

    #[test]
    fn event_types_are_named_once_each() {
        let events = |events: &[&str]| {
            let events = events.iter().map(|&event| event.into()).collect();
            Wanted::new(Registration { url: "https://relay.example.com/".into(), events, description: None })
        };
        assert_eq!(events(&["a", "b", "a"]).unwrap().events, ["a", "b"]);
        for bad in [&[][..], &[""], &["a b"], &["a\n"], &[&"x".repeat(101)]] {
            assert!(events(bad).unwrap_err().contains("payment.received"), "{bad:?}");
        }
        let many: Vec<String> = (0..=MOST_EVENTS).map(|number| number.to_string()).collect();
        assert!(events(&many.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_err().contains("at most 100"));
    }

    #[test]
    fn urls_are_compared_as_urls() {
        let listed = [
            webhook("a", "https://RELAY.example.com:443/x", true),
            webhook("b", "https://relay.example.com/x/", true),
            webhook("c", "no url", true),
        ];
        let ids: Vec<_> = same_url("https://relay.example.com/x", &listed).iter().map(|webhook| &*webhook.id).collect();
        assert_eq!(ids, ["a"]);
        assert!(same_url("no url", &listed).is_empty());
    }

    #[test]
    fn of_several_the_known_one_is_chosen_then_one_that_posts() {
        let listed = [webhook("off", "u", false), webhook("on", "u", true), webhook("on too", "u", true)];
        let all: Vec<_> = listed.iter().collect();
        let chosen = |webhooks: &[&Webhook], known| choose(webhooks, known).map(|webhook| webhook.id.clone());
        assert_eq!(chosen(&all, Some("on too")).as_deref(), Some("on too"));
        assert_eq!(chosen(&all, Some("another")).as_deref(), Some("on"));
        assert_eq!(chosen(&all[..1], None).as_deref(), Some("off"));
        assert_eq!(chosen(&[], None), None);
    }
}
