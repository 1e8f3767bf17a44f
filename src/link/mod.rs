//! Registers webhooks and rotates their secrets without dropping a delivery.
//!
//! Finkare switches to a new secret before the relay can know it, and shows the secret once. So every change has four steps:
//!
//! 1. An intent is stored and leased ([`crate::model::intent`] describes its life): whatever happens after that, the store
//!    shows that a change was begun.
//! 2. This process reads its secrets again before Finkare switches. From now on, deliveries that fit none of the secrets
//!    wait.
//! 3. Finkare is asked, and the lease is renewed during the call.
//! 4. The new secret is committed as active and the previous ones retire, in the transaction that ends the intent. All
//!    replicas are notified. Only then is the new secret used.
//!
//! ```text
//! rotate, register ──begin──▶ Held ──ask──▶ Finkare
//!                              │ ▲             │ a secret: finish    4xx, never sent: fail
//! keeper ─────────take over────┼─┘             │ anything else: doubt (outgoing::effect)
//!                              ◀───────────────┘
//! settle, a secret that is configured ──────────▶ ends a doubt
//! ```
//!
//! An intent in doubt is healed by asking Finkare again: by the [keeper] of any replica, with growing pauses, or by the
//! next person who asks. For a registration, Finkare's list shows whether the webhook was created; if it was, its secret is
//! rotated, because the relay never saw it. While an intent is healed, a refusal proves nothing about the earlier tries,
//! so the doubt stays.
//!
//! A person can always end a doubt, by giving a secret that the endpoint never had (in the configuration or by
//! [`Links::settle`]) or by confirming the newest one. And the relay does not ask without end: after [`MOST_UNREADABLE`]
//! answers of success without a secret that can be read, it does not ask again by itself, because each of these answers
//! may have lost another secret. A rotation that a person requests is still tried.
//!
//! [`rotation`], [`registration`], [`settling`] and [`keeper`] make the changes; they share [`lease`].
//!
//! # The audit trail
//!
//! The subject is `endpoint/NAME`. Secrets appear by fingerprint. Finkare's answer appears as `status`, `code` and
//! `request_id`, or as `problem` if there was no readable answer.
//!
//! | action | what happened | detail |
//! |---|---|---|
//! | `rotation.begun` | Finkare is about to be asked for a new secret | `webhook_id`, `overlap_secs` |
//! | `rotation.done` | the new secret is active | `webhook_id`, `fingerprint`, `overlap_secs` (how long the previous secrets stay valid from then on), `previous`, `tries` |
//! | `rotation.refused` | Finkare refused, nothing changed | `webhook_id`, Finkare's answer |
//! | `rotation.uncertain` | it is not known whether Finkare made the change | `webhook_id`, Finkare's answer, `tries`, `unreadable` (answers of success without a secret so far), `retry_in_ms` (null: it is left to a person) |
//! | `registration.begun` | Finkare is about to be asked for a webhook | `url`, `events` |
//! | `registration.done` | the webhook and its secret are stored | `webhook_id`, `url`, `fingerprint`, `tries` |
//! | `registration.refused`, `registration.uncertain` | as for rotations | `url`, Finkare's answer … |
//! | `webhook.adopted` | an existing webhook was adopted | `webhook_id`, `url` |
//! | `intent.taken_over` | an unfinished change is healed (written by the store) | |
//! | `intent.dropped` | an unfinished change has ended, because there was nothing to do | `reason` |
//! | `intent.settled` | a secret that the endpoint never had was configured, and ended a doubt (written by the store) | `intent`, `kind`, `fingerprint` |
//! | `secret.settled` | a person has said which secret is right | `current` (true if it is the newest stored one), `fingerprint`; of the doubt that it ended, `intent` and `kind` |
//! | `secret.expired` | a retired secret has expired (written by the store) | |
//! | `secret.configured` | a configured secret was stored (written by [`crate::secrets`]) | |

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;

use finkare::{Client, Delivery, Error};

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

/// How long the previous secrets stay valid by default: a day.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// The shortest overlap, even if a shorter one is requested. A delivery that Finkare signed just before the switch may arrive for
/// as long as Finkare waits for an answer (5 s), and Finkare's clock may differ from this one.
pub const MIN_OVERLAP: Duration = Duration::from_secs(10);

/// The longest overlap: thirty days.
pub const MAX_OVERLAP: Duration = Duration::from_hours(24 * 30);

/// The part of an endpoint's configuration that the link needs.
#[derive(Debug, Clone)]
pub struct LinkedEndpoint {
    /// Its name.
    pub name: EndpointName,
    /// Its public path, to warn of a URL that leads elsewhere.
    pub path: String,
    /// Its webhook's id, if configured; otherwise the registered one is used.
    pub webhook_id: Option<String>,
    /// The client settings for Finkare's API; `None` without an API key.
    pub client: Option<Arc<Client>>,
    /// True if its events come from Finkare's sandbox.
    pub is_sandbox: bool,
    /// The time between two rotations by schedule; `None` without a schedule.
    pub rotate_every: Option<Duration>,
    /// How long the previous secrets stay valid after a rotation that does not say otherwise.
    pub rotate_overlap: Duration,
}

/// A rotation that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The new secret's fingerprint.
    pub fingerprint: Fingerprint,
    /// The time until which the previous secrets are valid; `None` if none of them is valid.
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
    /// True if this call created it; false if it existed already.
    pub created: bool,
    /// The endpoint's newest secret; `None` if none is stored, so that the webhook's secret is not known: rotate.
    pub fingerprint: Option<Fingerprint>,
    /// What a person should look at: the webhook existed already and may have another secret, its events were changed, the
    /// URL does not end with the endpoint's path …
    pub notes: Vec<String>,
}

/// Why a call of the link failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No such endpoint is configured.
    #[error("no endpoint `{0}` is configured")]
    NoSuchEndpoint(String),
    /// The endpoint lacks something that is needed; the text says what to set.
    #[error("{0}")]
    NotLinked(String),
    /// The request is not valid; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// A rotation or a registration of this endpoint is in progress.
    #[error("endpoint {endpoint}: a change has been in progress since {since}, requested by {actor}")]
    InFlight {
        /// The endpoint.
        endpoint: EndpointName,
        /// When the change began.
        since: Timestamp,
        /// Who asked for it.
        actor: String,
    },
    /// Finkare refused, or could not be asked: nothing has changed, the previous secrets stay in force.
    #[error("Finkare did not make the change; the previous secrets stay in force")]
    Refused(#[source] Error),
    /// It is not known whether Finkare made the change. The previous secrets stay in force, and the service asks again by itself.
    #[error(
        "it is not known whether Finkare made the change; the previous secrets stay in force, and the service asks again by itself"
    )]
    Uncertain(#[source] Error),
    /// It is not known whether Finkare made the change, and the service does not ask again by itself: see [`MOST_UNREADABLE`].
    #[error(
        "it is not known whether Finkare made the change, and the service does not ask again by itself, because {MOST_UNREADABLE} \
         answers of success held no secret that can be read; {}",
        what_a_person_does(endpoint)
    )]
    NeedsAPerson {
        /// The endpoint.
        endpoint: EndpointName,
        /// Finkare's last answer.
        source: Box<Error>,
    },
    /// It is not known whether Finkare has added event types to a webhook. Nothing else was changed.
    #[error("it is not known whether Finkare has added event types to the webhook; run the registration again")]
    UpdateUnknown(#[source] Error),
    /// There is no secret that a person could confirm; the text says what to do.
    #[error("{0}")]
    NothingToSettle(String),
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The stored secrets could not be read again, so Finkare was not asked: deliveries would have been lost.
    #[error("Finkare was not asked, because the stored secrets could not be read again")]
    Secrets(#[source] Arc<SecretsError>),
    /// The service is stopping; unfinished changes are healed after the next start.
    #[error("the service is stopping")]
    Stopping,
}

/// All endpoints' links, for as long as the process lives. A reload replaces the endpoints by [`Links::update`], and changes
/// in progress continue.
#[derive(Debug)]
pub struct Links {
    store: Arc<dyn Store>,
    secrets: Arc<Secrets>,
    endpoints: RwLock<Arc<[LinkedEndpoint]>>,
    metrics: Arc<Metrics>,
    lifecycle: Lifecycle,
}

/// An endpoint with an API key, as the changes of its secrets need it.
#[derive(Debug, Clone)]
struct Linked {
    name: EndpointName,
    path: String,
    configured_id: Option<String>,
    client: Arc<Client>,
    metrics: RotationMetrics,
}

impl Linked {
    /// The webhook's id: the configured one, otherwise the registered one.
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
    /// Puts the links together. Neither the store nor Finkare is asked.
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

    /// Replaces the endpoints. Changes in progress continue with the previous settings.
    pub fn update(&self, endpoints: Vec<LinkedEndpoint>) {
        for endpoint in &endpoints {
            // So that the metric is shown from the start, with zero.
            drop(self.metrics.rotations(endpoint.name.as_str()));
        }
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = endpoints.into();
    }

    /// The endpoints, in the order of the configuration.
    pub fn endpoints(&self) -> Arc<[LinkedEndpoint]> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives an endpoint's webhook a new secret. The previous secrets stay valid for `overlap`, and for [`MIN_OVERLAP`] at
    /// least.
    ///
    /// An unfinished change without a lease is finished instead, which has the same result. The work continues if the
    /// future is dropped, and after a soft stop; a hard stop interrupts it, and the change is healed later.
    ///
    /// # Errors
    /// See [`LinkError`]. Unless Finkare has answered with a new secret, the previous secrets stay in force.
    pub async fn rotate(
        self: &Arc<Self>,
        endpoint: &EndpointName,
        actor: &str,
        overlap: Duration,
    ) -> Result<Rotated, LinkError> {
        let linked = self.linked(endpoint)?;
        if overlap > MAX_OVERLAP {
            return Err(LinkError::Invalid(format!(
                "an overlap of {} seconds is too long: the previous secrets stay valid for at most {} seconds (30 days)",
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
    /// Two calls, also at the same time, create one webhook. The endpoint's previous secrets stay active until the next
    /// rotation. The work continues like that of [`Links::rotate`] if the future is dropped.
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
        linked.client.webhooks().deliveries(&id).await.map(|answer| answer.data).map_err(LinkError::Refused)
    }

    /// Heals unfinished changes, rotates by schedule and expires secrets, until asked to stop.
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

    /// Everything that the store knows about one endpoint's link.
    async fn link(&self, endpoint: &EndpointName) -> Result<Link, StoreError> {
        let links = self.store.links().await?;
        let nothing = || Link { endpoint: endpoint.clone(), webhook: None, secrets: Vec::new(), intent: None };
        Ok(links.into_iter().find(|link| link.endpoint == *endpoint).unwrap_or_else(nothing))
    }

    /// Runs work that must not be interrupted when its caller no longer waits for it.
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

    /// Makes this process verify deliveries with the secrets that the store holds now. A failure has been logged already, and
    /// the store is read again soon anyway.
    async fn see(&self) {
        let _ = self.secrets.refresh().await;
    }
}

fn in_flight(intent: Intent) -> LinkError {
    let actor = if intent.is_asked_for() { intent.asked_by.unwrap_or(intent.actor) } else { SERVICE.to_owned() };
    LinkError::InFlight { endpoint: intent.endpoint, since: intent.begun_at, actor }
}

/// What a person should do about a doubt that the service no longer heals by itself.
pub fn what_a_person_does(endpoint: &EndpointName) -> String {
    format!(
        "Take the webhook's secret from Finkare's dashboard and enter it with `finkare-relay endpoints settle {endpoint}`, or \
         configure it and reload; or try once more with `finkare-relay rotate-secret --endpoint {endpoint}`"
    )
}
