//! Registers webhooks and rotates their secrets without dropping a delivery.
//!
//! Finkare switches a secret before we can know the new one, and shows it once. So every change has four steps:
//!
//! 1. An intent is written down and leased ([`crate::model::stored_secret`] tells its life): whatever happens from
//!    here on, somebody will know that something was begun.
//! 2. This process reads its secrets again, so that deliveries which fit none wait from now on, before Finkare
//!    switches.
//! 3. Finkare is asked. Our lease is renewed meanwhile.
//! 4. The new secret is committed as active and the ones before retire, in the transaction that ends the intent;
//!    all replicas hear of it. Only then is the new secret used.
//!
//! ```text
//! rotate, register ──begin──▶ Held ──ask──▶ Finkare
//!                              │ ▲             │ a secret: finish    4xx, never sent: fail
//! keeper ─────────take over────┼─┘             │ all else: doubt (the rule of crate::outgoing)
//!                              ◀───────────────┘
//! settle, a secret that is configured ──────────▶ the end of a doubt
//! ```
//!
//! An intent in doubt is healed by doing it again: by the [keeper] of any replica, with growing pauses, or by the next
//! person who asks. For a registration, Finkare's list tells whether the webhook came about; if it did, its
//! secret is rotated, because it was shown to nobody. While an intent is healed, a refusal proves nothing about the
//! tries before it, so the doubt stays.
//!
//! A doubt can always be ended by a person, who gives a secret that the endpoint never had (by configuring it or by
//! [`Links::settle`]) or says that the newest one is right. And it is not healed without end: once Finkare has answered
//! [`MOST_UNREADABLE`] times with success and without a secret that can be read, it is not asked again by itself, because each of
//! these answers may have lost another secret. What somebody asks for is still tried.
//!
//! [`rotation`], [`registration`], [`settling`] and [`keeper`] are those who change something; [`lease`] is what they
//! have in common.
//!
//! # What stands in the audit trail
//!
//! The subject is `endpoint/NAME`. Secrets appear by fingerprint. What Finkare said appears as `status`, `code` and
//! `request_id`, or as `problem` where it said nothing that can be read.
//!
//! | action | what happened | detail |
//! |---|---|---|
//! | `rotation.begun` | Finkare is about to be asked for a new secret | `webhook_id`, `overlap_secs` |
//! | `rotation.done` | the new secret is active | `webhook_id`, `fingerprint`, `overlap_secs` (the secrets before are good for so long from then on), `previous`, `tries` |
//! | `rotation.refused` | Finkare refused, nothing changed | `webhook_id`, what Finkare said |
//! | `rotation.uncertain` | nobody knows whether Finkare did it | `webhook_id`, what Finkare said, `tries`, `unreadable` (answers of success without a secret so far), `retry_in_ms` (null: it is left to a person) |
//! | `registration.begun` | Finkare is about to be asked for a webhook | `url`, `events` |
//! | `registration.done` | the webhook and its secret are stored | `webhook_id`, `url`, `fingerprint`, `tries` |
//! | `registration.refused`, `registration.uncertain` | as for rotations | `url`, what Finkare said … |
//! | `webhook.adopted` | a webhook that was there is ours now | `webhook_id`, `url` |
//! | `intent.taken_over` | an unfinished change is healed (written by the store) | |
//! | `intent.dropped` | an unfinished change has ended, as there was nothing to do | `reason` |
//! | `intent.settled` | a secret was configured that the endpoint never had, and has ended a doubt (written by the store) | `intent`, `kind`, `fingerprint` |
//! | `secret.settled` | a person has said which secret is right | `current` (it is the newest one that we had), `fingerprint`, and of the doubt that it ended `intent`, `kind` |
//! | `secret.expired` | a retired secret's time has passed (written by the store) | |
//! | `secret.configured` | a configured secret was stored (written by [`crate::secrets`]) | |

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;

use super::client::{Client, Delivery, Error};
use crate::{
    lifecycle::Lifecycle,
    model::{
        id::EndpointName,
        intent::{Intent, Link, MOST_UNREADABLE, SERVICE},
        stored_secret::Fingerprint,
    },
    secrets::{Closed, Secrets, SecretsError},
    store::{Store, StoreError},
    telemetry::{Metrics, RotationMetrics},
};

mod actions;
pub mod keeper;
pub mod lease;
pub mod registration;
pub mod rotation;
pub mod settling;

/// For how long the secrets before a new one stay good unless told otherwise: a day.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// The shortest overlap, also where less is asked for. What Finkare signed just before the switch is on its way for as
/// long as Finkare waits for an answer (5 s), and a sender's clock and ours are not one.
pub const MIN_OVERLAP: Duration = Duration::from_secs(10);

/// The longest overlap: thirty days.
pub const MAX_OVERLAP: Duration = Duration::from_hours(24 * 30);

/// What the link needs to know of an endpoint.
#[derive(Debug, Clone)]
pub struct LinkedEndpoint {
    /// Its name.
    pub name: EndpointName,
    /// Its public path, to warn of a URL that leads elsewhere.
    pub path: String,
    /// Its webhook's id, if configured; else the one that was registered counts.
    pub webhook_id: Option<String>,
    /// For Finkare's API; `None` without an API key.
    pub client: Option<Arc<Client>>,
    /// True if its events come from Finkare's sandbox.
    pub is_sandbox: bool,
    /// Rotates by itself so often.
    pub rotate_every: Option<Duration>,
    /// For how long the secrets before a new one stay good, unless a rotation is told otherwise.
    pub rotate_overlap: Duration,
}

/// A rotation that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Of the new secret.
    pub fingerprint: Fingerprint,
    /// Until when the ones before are good; `None` if there were none, or none is any more.
    pub previous_valid_until: Option<Timestamp>,
}

/// What to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Our public URL; HTTPS.
    pub url: String,
    /// Event types.
    pub events: Vec<String>,
    /// Free text for Finkare's list.
    pub description: Option<String>,
}

/// A webhook that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its id at Finkare.
    pub webhook_id: String,
    /// Its URL.
    pub url: String,
    /// True if this call created it; false if it was there.
    pub created: bool,
    /// The endpoint's newest secret; `None` if we have none, so that the webhook's secret is not known: rotate.
    pub fingerprint: Option<Fingerprint>,
    /// What to look at: it was there and our secret may not be its, its events were changed, the URL
    /// does not end with the endpoint's path …
    pub notes: Vec<String>,
}

/// Why the link could not do it.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No such endpoint is configured.
    #[error("no endpoint `{0}` is configured")]
    NoSuchEndpoint(String),
    /// The endpoint lacks what is needed; the text says what to set.
    #[error("{0}")]
    NotLinked(String),
    /// What was asked for cannot be; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// A rotation or a registration of this endpoint is under way.
    #[error("endpoint {endpoint}: a change is under way since {since}, asked for by {actor}")]
    InFlight {
        /// The endpoint.
        endpoint: EndpointName,
        /// Since when.
        since: Timestamp,
        /// Who asked for it.
        actor: String,
    },
    /// Finkare refused, or could not be asked: nothing has changed, the secrets before stay in force.
    #[error("Finkare did not do it; the secrets before stay in force")]
    Refused(#[source] Error),
    /// Nobody knows whether Finkare did it. The secrets before stay in force, and the service asks again by itself.
    #[error(
        "it is not known whether Finkare did it; the secrets before stay in force, and the service asks again by itself"
    )]
    Uncertain(#[source] Error),
    /// Nobody knows whether Finkare did it, and it is not asked again by itself: see [`MOST_UNREADABLE`].
    #[error(
        "it is not known whether Finkare did it, and Finkare is not asked again by itself, because {MOST_UNREADABLE} of \
         its answers of success held no secret that can be read; {}",
        what_a_person_does(endpoint)
    )]
    NeedsAPerson {
        /// The endpoint.
        endpoint: EndpointName,
        /// What Finkare said last.
        source: Box<Error>,
    },
    /// Nobody knows whether Finkare has added event types to a webhook. Nothing else was changed.
    #[error("it is not known whether Finkare has added event types to the webhook; run the registration again")]
    UpdateUnknown(#[source] Error),
    /// A person's word that cannot count: the text says why.
    #[error("{0}")]
    NothingToSettle(String),
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The stored secrets could not be read again, so Finkare was not asked: deliveries would have been lost.
    #[error("Finkare was not asked, because the stored secrets could not be read again")]
    Secrets(#[source] Arc<SecretsError>),
    /// The service stops; what is unfinished is healed at the next start.
    #[error("the service is stopping")]
    Stopping,
}

/// All endpoints' links, for as long as the process lives: another configuration is told to them by
/// [`Links::update`], and what is under way goes on.
#[derive(Debug)]
pub struct Links {
    store: Arc<dyn Store>,
    secrets: Arc<Secrets>,
    endpoints: RwLock<Arc<[LinkedEndpoint]>>,
    metrics: Arc<Metrics>,
    lifecycle: Lifecycle,
}

/// An endpoint whose API key we have: what each piece of work takes along.
#[derive(Debug, Clone)]
struct Linked {
    name: EndpointName,
    path: String,
    configured_id: Option<String>,
    client: Arc<Client>,
    metrics: RotationMetrics,
}

impl Linked {
    /// The webhook's id: the configured one, else the one that was registered.
    fn webhook_id(&self, link: &Link) -> Option<String> {
        self.configured_id.clone().or_else(|| link.webhook.as_ref().map(|webhook| webhook.id.clone()))
    }

    fn no_webhook_id(&self) -> LinkError {
        LinkError::NotLinked(format!(
            "the id of endpoint {}'s webhook is not known: run `finkare-relay register --endpoint {} --url URL`, or \
             set the endpoint's `webhook_id` (FINKARE_WEBHOOK_ID for the endpoint `default`)",
            self.name, self.name
        ))
    }
}

impl Links {
    /// Puts them together; asks nobody.
    pub fn new(
        store: Arc<dyn Store>,
        secrets: Arc<Secrets>,
        endpoints: Vec<LinkedEndpoint>,
        metrics: Arc<Metrics>,
        lifecycle: Lifecycle,
    ) -> Arc<Self> {
        let links = Self { store, secrets, endpoints: RwLock::default(), metrics, lifecycle };
        links.update(endpoints);
        Arc::new(links)
    }

    /// Goes over to these endpoints. What is under way goes on as it began.
    pub fn update(&self, endpoints: Vec<LinkedEndpoint>) {
        for endpoint in &endpoints {
            // Shown from the start, with zero.
            drop(self.metrics.rotations(endpoint.name.as_str()));
        }
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = endpoints.into();
    }

    /// The endpoints, in the order of the configuration.
    pub fn endpoints(&self) -> Arc<[LinkedEndpoint]> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives an endpoint's webhook a new secret. The secrets before it stay good for `overlap`, and for [`MIN_OVERLAP`] at
    /// least.
    ///
    /// An unfinished change that nobody holds is finished instead, which comes to the same. Goes on to its end if the
    /// future is dropped, and after a soft stop; a hard stop cuts it off, and it is healed later.
    ///
    /// # Errors
    /// See [`LinkError`]. Unless Finkare has answered with a new secret, the secrets before stay in force.
    pub async fn rotate(
        self: &Arc<Self>,
        endpoint: &EndpointName,
        actor: &str,
        overlap: Duration,
    ) -> Result<Rotated, LinkError> {
        let linked = self.linked(endpoint)?;
        if overlap > MAX_OVERLAP {
            return Err(LinkError::Invalid(format!(
                "an overlap of {} seconds is too long: secrets before a new one stay good for at most {} seconds (30 \
                 days)",
                overlap.as_secs(),
                MAX_OVERLAP.as_secs()
            )));
        }
        let order = rotation::Order::new(actor, overlap, None);
        let links = self.clone();
        let rotated = self.to_end("rotation", async move { links.rotate_now(&linked, &order).await }).await?;
        Ok(rotated.expect("only a rotation that depends on the newest secret can be outdated"))
    }

    /// Registers an endpoint's webhook, or adopts the one that has this URL; see [`Registered`].
    ///
    /// Asked twice, or twice at the same time, it makes one webhook. Secrets that the endpoint had stay active, the
    /// next rotation retires them. Goes on to its end like [`Links::rotate`].
    pub async fn register(
        self: &Arc<Self>,
        endpoint: &EndpointName,
        actor: &str,
        registration: Registration,
    ) -> Result<Registered, LinkError> {
        let linked = self.linked(endpoint)?;
        let wanted = registration::Wanted::new(registration).map_err(LinkError::Invalid)?;
        let (links, actor) = (self.clone(), actor.to_owned());
        self.to_end("registration", async move { links.register_now(&linked, &actor, &wanted).await }).await
    }

    /// The stored secrets of an endpoint that cannot be used.
    pub fn closed(&self, endpoint: &EndpointName) -> Vec<Closed> {
        self.secrets.closed(endpoint)
    }

    /// Finkare's own history of an endpoint's deliveries.
    pub async fn deliveries(&self, endpoint: &EndpointName) -> Result<Vec<Delivery>, LinkError> {
        let linked = self.linked(endpoint)?;
        let id = linked.webhook_id(&self.link(endpoint).await?).ok_or_else(|| linked.no_webhook_id())?;
        linked.client.deliveries(&id).await.map_err(LinkError::Refused)
    }

    /// Heals what is unfinished, rotates by schedule and lets secrets expire, until asked to stop.
    pub async fn run(self: Arc<Self>) {
        keeper::Keeper::new(self).run().await;
    }

    fn linked(&self, name: &EndpointName) -> Result<Linked, LinkError> {
        let endpoints = self.endpoints();
        let endpoint = endpoints.iter().find(|endpoint| endpoint.name == *name);
        let endpoint = endpoint.ok_or_else(|| LinkError::NoSuchEndpoint(name.to_string()))?;
        let client = endpoint.client.clone().ok_or_else(|| {
            LinkError::NotLinked(format!(
                "endpoint {name} has no API key, so Finkare cannot be asked: set its `api_key` (FINKARE_API_KEY for \
                 the endpoint `default`) to a key with the scope `webhooks:manage`"
            ))
        })?;
        Ok(Linked {
            name: name.clone(),
            path: endpoint.path.clone(),
            configured_id: endpoint.webhook_id.clone(),
            client,
            metrics: self.metrics.rotations(name.as_str()),
        })
    }

    /// Everything that the store knows of one endpoint.
    async fn link(&self, endpoint: &EndpointName) -> Result<Link, StoreError> {
        let links = self.store.links().await?;
        let nothing = || Link { endpoint: endpoint.clone(), webhook: None, secrets: Vec::new(), intent: None };
        Ok(links.into_iter().find(|link| link.endpoint == *endpoint).unwrap_or_else(nothing))
    }

    /// Runs work that must not be interrupted halfway just because nobody waits for it any more.
    async fn to_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, LinkError>> + Send + 'static,
    ) -> Result<T, LinkError> {
        if self.lifecycle.soft.is_cancelled() {
            return Err(LinkError::Stopping);
        }
        self.lifecycle.run_to_end(name, work).await.unwrap_or(Err(LinkError::Stopping))
    }

    /// Makes this process verify by what the store holds now. What failed stands in the log, and the copy is read again
    /// soon anyway.
    async fn see(&self) {
        let _ = self.secrets.refresh().await;
    }
}

fn in_flight(intent: Intent) -> LinkError {
    let actor = if intent.is_asked_for() { intent.asked_by.unwrap_or(intent.actor) } else { SERVICE.to_owned() };
    LinkError::InFlight { endpoint: intent.endpoint, since: intent.begun_at, actor }
}

/// What a person does about a doubt that the service does not heal by itself any more.
pub fn what_a_person_does(endpoint: &EndpointName) -> String {
    format!(
        "Take the webhook's secret from Finkare's dashboard and give it by `finkare-relay endpoints settle {endpoint}`, or \
         configure it and reload; or try once more by `finkare-relay rotate-secret --endpoint {endpoint}`"
    )
}
