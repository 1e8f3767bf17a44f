//! Registers webhooks and rotates their secrets without dropping a delivery.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::client::{Client, Delivery, Error};
use crate::{
    lifecycle::Lifecycle,
    model::{id::EndpointName, link::Fingerprint},
    secrets::Secrets,
    store::{Store, StoreError},
    telemetry::Metrics,
};

/// For how long the secrets before a new one stay good unless told otherwise: a day.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

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
    /// Rotates by itself so often.
    pub rotate_every: Option<Duration>,
}

/// A rotation that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Of the new secret.
    pub fingerprint: Fingerprint,
    /// Until when the ones before are good; `None` if there were none.
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
    /// Finkare refused: nothing has changed, the secrets before stay in force.
    #[error("Finkare refused; the secrets before stay in force")]
    Refused(#[source] Error),
    /// Nobody knows whether Finkare did it. The secrets before stay in force, and the service asks again by itself.
    #[error("it is not known whether Finkare did it; the secrets before stay in force, and the service asks again by itself")]
    Uncertain(#[source] Error),
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The service stops; what is unfinished is healed at the next start.
    #[error("the service is stopping")]
    Stopping,
}

/// All endpoints' links.
#[derive(Debug)]
pub struct Links {
    #[expect(dead_code, reason = "not built yet")]
    store: Arc<dyn Store>,
    #[expect(dead_code, reason = "not built yet")]
    secrets: Arc<Secrets>,
    #[expect(dead_code, reason = "not built yet")]
    endpoints: Vec<LinkedEndpoint>,
}

impl Links {
    /// Puts them together.
    pub fn new(
        store: Arc<dyn Store>,
        secrets: Arc<Secrets>,
        endpoints: Vec<LinkedEndpoint>,
        _metrics: Arc<Metrics>,
        _lifecycle: Lifecycle,
    ) -> Arc<Self> {
        Arc::new(Self { store, secrets, endpoints })
    }

    /// The endpoints, in the order of the configuration.
    pub fn endpoints(&self) -> &[LinkedEndpoint] {
        todo!()
    }

    /// Gives an endpoint's webhook a new secret. The secrets before it stay good for `overlap`.
    ///
    /// Goes on to its end if the future is dropped.
    pub async fn rotate(
        self: &Arc<Self>,
        _endpoint: &EndpointName,
        _actor: &str,
        _overlap: Duration,
    ) -> Result<Rotated, LinkError> {
        todo!()
    }

    /// Registers an endpoint's webhook, or adopts the one that has this URL; see [`Registered`].
    ///
    /// Goes on to its end if the future is dropped.
    pub async fn register(
        self: &Arc<Self>,
        _endpoint: &EndpointName,
        _actor: &str,
        _registration: Registration,
    ) -> Result<Registered, LinkError> {
        todo!()
    }

    /// Finkare's own history of an endpoint's deliveries.
    pub async fn deliveries(&self, _endpoint: &EndpointName) -> Result<Vec<Delivery>, LinkError> {
        todo!()
    }

    /// Heals what is unfinished, rotates by schedule and lets secrets expire, until asked to stop.
    pub async fn run(self: Arc<Self>) {
        todo!()
    }
}
