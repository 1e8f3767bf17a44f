//! Maintains the links in the background: heals unfinished changes, follows the schedules, expires secrets.
//!
//! Every replica has a keeper. The first one to take over an unfinished intent heals it, and the store makes sure that two replicas
//! which follow the same schedule rotate once.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    LinkError, LinkedEndpoint, Links, actions,
    lease::{Held, LEASE},
    rotation::Order,
};
use crate::{
    model::{
        audit::NewAudit,
        chain::Chain,
        clock,
        id::{EndpointName, LeaseToken},
        intent::{Intent, IntentId, IntentState, Link, SERVICE},
    },
    store::{StoreError, link::Doubt},
};

/// The longest pause between two rounds while a change is unfinished or the store failed…
const SOON: Duration = Duration::from_secs(1);

/// … and otherwise. An announcement begins a round at once.
const LATER: Duration = Duration::from_secs(5);

/// The time between two searches for secrets that have expired.
const EXPIRE: Duration = Duration::from_secs(10);

/// The most endpoints that are healed at the same time, so that an endpoint that waits for Finkare delays few others. The
/// other endpoints wait for the next round.
const HEALING: usize = 16;

/// The pause after a scheduled rotation has failed.
const AFTER_FAILURE: Duration = Duration::from_hours(1);

/// The pause before this process retries an unfinished change that it could not heal.
const CANNOT_HEAL: Duration = Duration::from_mins(1);

/// The shortest time between two log lines about such a change.
const COMPLAIN: Duration = Duration::from_hours(1);

/// The actor of scheduled rotations.
const SCHEDULE: &str = "schedule";

/// The time before which nothing is done for an endpoint.
type NotBefore = Arc<Mutex<HashMap<EndpointName, Instant>>>;

pub(super) struct Keeper {
    links: Arc<Links>,
    room: Arc<Semaphore>,
    /// Endpoints whose scheduled rotation is running, or has just failed.
    scheduled: NotBefore,
    /// Endpoints for which the log says that they cannot be healed.
    complained: NotBefore,
    /// The endpoints as of the last round: after a reload, a rotation that failed before may work.
    configured: Arc<[LinkedEndpoint]>,
    /// Intents for which the log says that they need a person; grows by one for each doubt that did not heal.
    left_alone: HashSet<IntentId>,
    next_expiry: Instant,
    is_failing: bool,
}

impl Keeper {
    pub(super) fn new(links: Arc<Links>) -> Self {
        Self {
            configured: links.endpoints(),
            links,
            room: Arc::new(Semaphore::new(HEALING)),
            scheduled: NotBefore::default(),
            complained: NotBefore::default(),
            left_alone: HashSet::new(),
            next_expiry: Instant::now(),
            is_failing: false,
        }
    }

    /// Works until the soft stop. Changes that have begun by then continue.
    pub(super) async fn run(mut self) {
        let soft = self.links.lifecycle.soft.clone();
        let store = self.links.store.clone();
        let mut changes = store.wakeups().link();
        loop {
            // Before the round, so that a change during it begins another one.
            changes.borrow_and_update();
            let Some(round) = soft.run_until_cancelled(self.round()).await else { return };
            let pause = match round {
                Ok(is_unfinished) => {
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!("the links to Finkare are checked again");
                    }
                    if is_unfinished { SOON } else { LATER }
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::error!(
                            error = %Chain(&error),
                            "the links to Finkare cannot be checked, because the store failed: trying again"
                        );
                    }
                    SOON
                }
            };
            tokio::select! {
                () = soft.cancelled() => return,
                // The store lives as long as this task, so its announcements never end.
                _ = changes.changed() => {}
                () = tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())) => {}
            }
        }
    }

    /// Checks every link once; true if a change is unfinished.
    async fn round(&mut self) -> Result<bool, StoreError> {
        let configured = self.links.endpoints();
        if !Arc::ptr_eq(&configured, &self.configured) {
            self.configured = configured;
            lock(&self.scheduled).clear();
            lock(&self.complained).clear();
        }
        let links = self.links.store.links().await?;
        let (left_alone, unfinished): (Vec<_>, Vec<_>) =
            links.iter().filter_map(|link| link.intent.as_ref()).partition(|intent| intent.needs_a_person());
        let is_unfinished = !unfinished.is_empty();
        if unfinished.iter().any(|intent| intent.state == IntentState::Unknown) {
            self.heal_what_is_due().await?;
        }
        for intent in left_alone {
            self.call_a_person(intent);
        }
        self.follow_schedules(&links);
        if self.next_expiry <= Instant::now() {
            let expired = self.links.store.expire_secrets().await?;
            self.next_expiry = Instant::now() + EXPIRE;
            if expired > 0 {
                tracing::info!(
                    secrets = expired,
                    "retired secrets have expired, and their encrypted texts were deleted"
                );
            }
        }
        Ok(is_unfinished)
    }

    async fn heal_what_is_due(&self) -> Result<(), StoreError> {
        while let Ok(place) = self.room.clone().try_acquire_owned() {
            let token = LeaseToken::generate();
            let Some(intent) = self.links.store.take_over_intent(token, LEASE).await? else { break };
            let (links, complained) = (self.links.clone(), self.complained.clone());
            // A task for each, so that no endpoint waits for the time-out of another.
            drop(self.links.lifecycle.run_to_end("healing", async move {
                heal(&links, &complained, &intent, token).await;
                drop(place);
            }));
        }
        Ok(())
    }

    /// Logs, once for each intent, that it is left to a person.
    fn call_a_person(&mut self, intent: &Intent) {
        if self.left_alone.insert(intent.id) {
            tracing::error!(
                endpoint.name = %intent.endpoint, intent.id = %intent.id, change = intent.kind.as_str(),
                tries = intent.tries, unreadable = intent.unreadable,
                "it is not known which secret Finkare signs with, and the service does not ask again by itself: deliveries \
                 that fit no secret are answered 503. {}", super::what_a_person_does(&intent.endpoint)
            );
        }
    }

    fn follow_schedules(&self, links: &[Link]) {
        for endpoint in &*self.configured {
            let link = links.iter().find(|link| link.endpoint == endpoint.name);
            if link.is_some_and(|link| is_due(endpoint, link))
                && may_begin(&self.scheduled, &endpoint.name, AFTER_FAILURE)
            {
                self.rotate_by_schedule(endpoint, link.expect("it was just looked at"));
            }
        }
    }

    fn rotate_by_schedule(&self, endpoint: &LinkedEndpoint, link: &Link) {
        let newest = link.secrets.first().map(|secret| secret.fingerprint.clone());
        let order = Order::new(SCHEDULE, endpoint.rotate_overlap, newest);
        let (links, scheduled, name) = (self.links.clone(), self.scheduled.clone(), endpoint.name.clone());
        drop(self.links.lifecycle.run_to_end("scheduled rotation", async move {
            let rotated = match links.linked(&name) {
                Ok(linked) => links.rotate_now(&linked, &order).await,
                Err(error) => Err(error),
            };
            match rotated {
                // Done, by this process or by another one.
                Ok(_) | Err(LinkError::InFlight { .. }) => {
                    lock(&scheduled).remove(&name);
                }
                Err(error) => tracing::error!(
                    endpoint.name = %name, error = %Chain(&error),
                    "the scheduled rotation of the webhook's secret failed: the next attempt is in one hour"
                ),
            }
        }));
    }
}

/// True if the endpoint's newest secret is as old as its schedule allows, and no change is in progress.
fn is_due(endpoint: &LinkedEndpoint, link: &Link) -> bool {
    let (Some(every), Some(newest), None) = (endpoint.rotate_every, link.secrets.first(), &link.intent) else {
        return false;
    };
    clock::since(newest.created_at, clock::now()) >= every
}

/// True if the endpoint's time has come; the next time comes after `again_after`.
fn may_begin(turns: &NotBefore, name: &EndpointName, again_after: Duration) -> bool {
    let now = Instant::now();
    let mut turns = lock(turns);
    if turns.get(name).is_some_and(|not_before| now < *not_before) {
        return false;
    }
    turns.insert(name.clone(), now + again_after);
    true
}

fn lock(turns: &NotBefore) -> std::sync::MutexGuard<'_, HashMap<EndpointName, Instant>> {
    turns.lock().expect("no code panics while it holds this lock")
}

async fn heal(links: &Arc<Links>, complained: &NotBefore, intent: &Intent, token: LeaseToken) {
    let held = Held::taken_over(links.store.clone(), intent, token);
    tracing::info!(
        endpoint.name = %intent.endpoint, intent.id = %intent.id, change = intent.kind.as_str(), tries = intent.tries,
        "a change of the webhook's secret was left unfinished: asking Finkare again"
    );
    let linked = match links.linked(&intent.endpoint) {
        Ok(linked) => linked,
        Err(error) => {
            let audit = NewAudit::new(SERVICE, actions::uncertain(intent.kind), actions::subject(&intent.endpoint))
                .with("problem", error.to_string())
                .with("tries", intent.tries);
            held.doubt(Doubt::after(CANNOT_HEAL), audit).await;
            complain(complained, intent, &error);
            return;
        }
    };
    match links.heal(&linked, &held, intent, SERVICE, None).await {
        // Finkare's answers have been logged already.
        Ok(_) | Err(LinkError::Refused(_) | LinkError::Uncertain(_) | LinkError::NeedsAPerson { .. }) => {}
        Err(error) => complain(complained, intent, &error),
    }
}

/// Logs that a change cannot be healed, at intervals.
fn complain(complained: &NotBefore, intent: &Intent, error: &LinkError) {
    if may_begin(complained, &intent.endpoint, COMPLAIN) {
        tracing::error!(
            endpoint.name = %intent.endpoint, intent.id = %intent.id, change = intent.kind.as_str(), error = %Chain(error),
            "a change of the webhook's secret is unfinished and could not be completed: deliveries that fit no secret \
             are answered 503, and the service tries again by itself"
        );
    }
}
