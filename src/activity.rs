//! The silence alarm: an endpoint to which Finkare no longer posts loses payments without any error.
//!
//! If a webhook was disabled, a proxy leads elsewhere, or a certificate has expired, nothing arrives and so nothing fails.
//! With `silence_alarm_hours`, an endpoint without deliveries for longer is reported: by an error in the log (once for each
//! silence, and a line when deliveries come again), by `relay_endpoint_silent`, and by `/readyz` as information.
//!
//! Every genuine delivery, new or repeated, through any replica, counts as a sign of life. Each process keeps the time in
//! memory ([`Meter`]). Every [`LOOK`], [`watch`] writes it to the store, reads what other replicas wrote, and decides. A
//! restart does not reset a silence.
//!
//! With an API key, the process asks Finkare at most every [`ASK`] whether the webhook of a silent endpoint is still
//! enabled.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use finkare::Client;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    lifecycle::Lifecycle,
    model::{chain::Chain, clock, id::EndpointName},
    store::{Store, StoreError, activity::Activity},
    telemetry::Metrics,
};

/// The time between two checks.
pub const LOOK: Duration = Duration::from_mins(1);
/// The shortest time between two calls to Finkare about one silent endpoint.
pub const ASK: Duration = Duration::from_hours(1);
/// How long the last write may take when the service stops.
const LAST_NOTE: Duration = Duration::from_secs(2);

/// When this process last received a genuine delivery for an endpoint. Clones share it.
#[derive(Debug, Clone)]
pub struct Meter(Arc<AtomicI64>);

impl Default for Meter {
    /// No delivery so far.
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MIN)))
    }
}

impl Meter {
    /// Notes a genuine delivery at this time.
    pub fn heard(&self, at: Timestamp) {
        self.0.fetch_max(clock::to_micros(at), Relaxed);
    }

    /// Corrects times that lie after this one, in case the clock has been set back since.
    fn no_later_than(&self, now: Timestamp) {
        self.0.fetch_min(clock::to_micros(now), Relaxed);
    }

    /// The time of the last delivery, if there was one.
    pub fn last(&self) -> Option<Timestamp> {
        Some(self.0.load(Relaxed)).filter(|micros| *micros > i64::MIN).and_then(clock::from_micros)
    }
}

/// Finds out whether an endpoint's webhook is enabled.
#[async_trait]
pub trait Registration: Send + Sync + std::fmt::Debug {
    /// Asks for the webhook's state.
    async fn ask(&self) -> Standing;
}

/// The state of a webhook at Finkare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The webhook is enabled: the silence has another reason.
    Enabled,
    /// The webhook is disabled.
    Disabled,
    /// Finkare knows no webhook with this id.
    Missing,
    /// The state is not known: there is no id or no answer. The text says why.
    Unknown(String),
}

/// Asks Finkare's API.
#[derive(Debug)]
pub struct AtFinkare {
    /// For the endpoint's API key.
    pub client: Arc<Client>,
    /// The configured id; without one, the registered id is used.
    pub webhook_id: Option<String>,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where a registration has stored the id.
    pub store: Arc<dyn Store>,
}

#[async_trait]
impl Registration for AtFinkare {
    async fn ask(&self) -> Standing {
        let id = match &self.webhook_id {
            Some(id) => Some(id.clone()),
            None => match self.store.links().await {
                Ok(links) => links
                    .into_iter()
                    .find(|link| link.endpoint == self.endpoint)
                    .and_then(|link| link.webhook.map(|webhook| webhook.id)),
                Err(error) => return Standing::Unknown(Chain(&error).to_string()),
            },
        };
        let Some(id) = id else { return Standing::Unknown("no `webhook_id` is known".to_owned()) };
        match self.client.webhooks().get(&id).await {
            Ok(webhook) if webhook.data.enabled => Standing::Enabled,
            Ok(_) => Standing::Disabled,
            Err(finkare::Error::Api { status: 404, .. }) => Standing::Missing,
            Err(error) => Standing::Unknown(Chain(&error).to_string()),
        }
    }
}

/// An endpoint to watch.
#[derive(Debug)]
pub struct Watched {
    /// The endpoint.
    pub name: EndpointName,
    /// Shared with the part that receives its deliveries.
    pub meter: Meter,
    /// After how long without deliveries the endpoint counts as silent. With `None` it never does, but its activity is
    /// recorded as well.
    pub alarm: Option<Duration>,
    /// Finds out the state of its webhook.
    pub registration: Option<Arc<dyn Registration>>,
}

/// The silent endpoints, for `/readyz`. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Vec<Silence>>>);

/// One silent endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The explanation, one sentence.
    pub detail: String,
}

impl Board {
    /// The endpoints that are silent now.
    pub fn silences(&self) -> Vec<Silence> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn show(&self, silences: Vec<Silence>) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = silences;
    }
}

/// Records the activity, reads that of other replicas, and decides which endpoints are silent.
#[derive(Debug)]
pub struct Watch {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    board: Board,
    endpoints: Vec<Watched>,
    /// The silences that have been reported, by endpoint.
    told: HashMap<EndpointName, Told>,
}

#[derive(Debug, Default)]
struct Told {
    asked: Option<Instant>,
    standing: Option<Standing>,
}

impl Watch {
    /// Watches these endpoints.
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, board: Board, endpoints: Vec<Watched>) -> Self {
        Self { store, metrics, board, endpoints, told: HashMap::new() }
    }

    /// One check at the time `now`: writes the activity, reads that of other replicas, and reports what has changed.
    ///
    /// # Errors
    /// If the store fails. Nothing is decided then, since other replicas may have received deliveries.
    pub async fn look(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let known = self.note().await?;
        let mut silences = Vec::new();
        for endpoint in &self.endpoints {
            let Some(activity) = known.iter().find(|activity| activity.endpoint == endpoint.name) else { continue };
            if let Some(last) = activity.last_delivery_at {
                endpoint.meter.heard(last);
            }
            endpoint.meter.no_later_than(now);
            // Deliveries that came during the query count as well.
            let last = endpoint.meter.last();
            if let Some(last) = last {
                self.metrics.set_last_delivery(endpoint.name.as_str(), last);
            }
            let Some(alarm) = endpoint.alarm else { continue };
            let quiet = clock::since(last.unwrap_or(activity.watched_since), now);
            let is_silent = quiet > alarm;
            self.metrics.set_silent(endpoint.name.as_str(), is_silent);
            if !is_silent {
                if self.told.remove(&endpoint.name).is_some() {
                    tracing::info!(endpoint.name = %endpoint.name, "the endpoint receives deliveries again");
                }
                continue;
            }
            let mut detail = told(last, activity.watched_since, alarm);
            if !self.told.contains_key(&endpoint.name) {
                tracing::error!(
                    endpoint.name = %endpoint.name, last_delivery_at = last.map(tracing::field::display),
                    "the endpoint is silent: {detail}; check whether the webhook is enabled at Finkare, and whether its URL still leads here"
                );
            }
            let told = self.told.entry(endpoint.name.clone()).or_default();
            if let Some(registration) = &endpoint.registration {
                ask(&endpoint.name, &**registration, told).await;
            }
            let _ = match &told.standing {
                None => Ok(()),
                Some(Standing::Enabled) => write!(detail, "; Finkare says that the webhook is enabled"),
                Some(Standing::Disabled) => {
                    write!(detail, "; Finkare says that the webhook is disabled: enable it there")
                }
                Some(Standing::Missing) => write!(detail, "; Finkare knows no such webhook: register it again"),
                // The reason is in the log only, since it can contain addresses.
                Some(Standing::Unknown(_)) => write!(detail, "; Finkare could not tell whether the webhook is enabled"),
            };
            #[cfg(test)]
            crate::french::expect(&detail);
            silences.push(Silence { endpoint: endpoint.name.clone(), detail });
        }
        self.board.show(silences);
        Ok(())
    }

    async fn note(&self) -> Result<Vec<Activity>, StoreError> {
        let seen: Vec<_> =
            self.endpoints.iter().map(|endpoint| (endpoint.name.clone(), endpoint.meter.last())).collect();
        self.store.note_activity(&seen).await
    }
}

/// Asks Finkare if the last call is long enough ago, and logs what is new.
async fn ask(endpoint: &EndpointName, registration: &dyn Registration, told: &mut Told) {
    if told.asked.is_some_and(|asked| asked.elapsed() < ASK) {
        return;
    }
    let standing = registration.ask().await;
    told.asked = Some(Instant::now());
    match &standing {
        Standing::Enabled => {
            tracing::info!(endpoint.name = %endpoint, "Finkare says that the silent endpoint's webhook is enabled");
        }
        Standing::Disabled => tracing::error!(
            endpoint.name = %endpoint,
            "Finkare says that the silent endpoint's webhook is disabled: no delivery will arrive until it is enabled \
             there"
        ),
        Standing::Missing => tracing::error!(
            endpoint.name = %endpoint,
            "Finkare knows no webhook with the silent endpoint's id: no delivery will arrive until it is registered \
             again"
        ),
        Standing::Unknown(why) => {
            tracing::warn!(endpoint.name = %endpoint, why, "could not find out whether the silent endpoint's webhook is enabled");
        }
    }
    told.standing = Some(standing);
}

fn told(last: Option<Timestamp>, watched_since: Timestamp, alarm: Duration) -> String {
    let hours = alarm.as_secs().div_ceil(3600);
    match last {
        Some(last) => format!("no genuine delivery since {last:.0}, which is more than {hours} h ago"),
        None => {
            format!(
                "no genuine delivery has ever arrived, and the endpoint has been watched since {watched_since:.0}, for more than {hours} h"
            )
        }
    }
}

/// Checks every [`LOOK`] until it is asked to stop. It writes once more then, so that a restart loses nothing.
pub async fn watch(mut watch: Watch, lifecycle: Lifecycle) {
    loop {
        let looking = async {
            if let Err(error) = watch.look(clock::now()).await {
                tracing::warn!(error = %Chain(&error), "the times of the endpoints' last deliveries could not be stored: trying again later");
            }
            tokio::time::sleep(LOOK.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        };
        if lifecycle.soft.run_until_cancelled(looking).await.is_none() {
            break;
        }
    }
    // A store that hangs must not delay the end. At most one minute of activity is lost.
    if !matches!(tokio::time::timeout(LAST_NOTE, watch.note()).await, Ok(Ok(_))) {
        tracing::warn!("the times of the endpoints' last deliveries could not be stored before the end");
    }
}
