//! The relay's own events: tells a person what needs one, without Prometheus.
//!
//! ```text
//! a dispatch is held ─┐ (trigger, same transaction)
//! a sink is paused   ─┼─▶ notes in the store ─┐
//! a rotation ends    ─┘   (the audit trail)    ├─▶ decide ─▶ events with dispatches ─▶ sinks that name `relay.…`
//! a sink is tripped, an endpoint is silent,    │   (one transaction, alone among all replicas)
//! deliveries are refused: seen by this process ┘
//! ```
//!
//! What the store knows of is noted by the transaction that changes it (`store::notices`); what only a process sees, the
//! process adds. Every [`LOOK`], each replica lets [`decide::decide`] choose what is told now; the store repeats the
//! decision under a lock, so that it is told once. Nothing here is on the way of a delivery.
//!
//! - **On change only.** A held dispatch that is looked at again and held for the same cause is no news.
//! - **Grouped.** What happens to one sink and endpoint for one cause ([`crate::model::reason::group`]) within
//!   `notices.group_secs` is one event with a count. While it goes on, each further event collects for twice as long, up
//!   to four hours.
//! - **Never in a circle.** An event about a sink never goes to that sink, and a failing dispatch of one of these events
//!   makes no further one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{Timestamp, civil::Time, tz::TimeZone};

use crate::{
    activity::Board,
    dispatch::SinkView,
    ingest::{explain::Refusals, route::Route},
    lifecycle::Lifecycle,
    model::{chain::Chain, clock, id::EndpointName},
    store::{
        NoticeStore, Store, StoreError,
        notices::{Noted, RefusedCount},
    },
};

pub mod decide;
mod sentences;

use decide::{Digest, Observed, Tripped, digest_due};

/// The time between two looks.
pub const LOOK: Duration = Duration::from_secs(2);
/// How long a pending dispatch may wait before a digest calls it late.
const LATE: Duration = Duration::from_hours(1);
/// The longest time that a digest covers.
const LONGEST_DIGEST: Duration = Duration::from_hours(7 * 24);

/// The options `[notices]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long what happens for one cause is collected into one event.
    pub group: Duration,
    /// How long a sink must have been tripped before it is told.
    pub tripped_after: Duration,
    /// When a digest is made; `None` if never.
    pub digest_at: Option<Time>,
    /// The time zone of `digest_at`.
    pub timezone: TimeZone,
}

/// How [`Settings::group`] is set by default, in seconds.
pub const GROUP_SECS: u64 = 900;
/// How [`Settings::tripped_after`] is set by default, in seconds.
pub const TRIPPED_AFTER_SECS: u64 = 300;
/// How [`Settings::timezone`] is set by default.
pub const TIMEZONE: &str = "Europe/Paris";

impl Default for Settings {
    fn default() -> Self {
        Self {
            group: Duration::from_secs(GROUP_SECS),
            tripped_after: Duration::from_secs(TRIPPED_AFTER_SECS),
            digest_at: None,
            timezone: TimeZone::get(TIMEZONE).unwrap_or(TimeZone::UTC),
        }
    }
}

/// What the task needs of the running configuration.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The options.
    pub settings: Settings,
    /// Which sink gets what.
    pub routes: Arc<[Route]>,
    /// The sinks with their breakers.
    pub sinks: Vec<SinkView>,
    /// The configured endpoints.
    pub endpoints: Vec<EndpointName>,
    /// The silent endpoints.
    pub board: Board,
    /// The refused deliveries.
    pub refusals: Arc<Refusals>,
}

/// What one process has seen that the store does not know, from one look to the next.
#[derive(Debug, Default)]
pub struct Eyes {
    /// Since when each sink has been seen tripped.
    tripped: HashMap<String, Timestamp>,
    /// The number of the last refusal that was counted.
    refusals: u64,
    /// Refusals that are counted and not stored yet, by endpoint and cause.
    refused: HashMap<(String, String), (u64, Timestamp)>,
}

impl Eyes {
    /// Everything that this process sees now. The refusals are handed over with it; [`Eyes::keep`] takes back what could
    /// not be stored.
    fn look(&mut self, scene: &Scene, now: Timestamp) -> Observed {
        for sink in &scene.sinks {
            if sink.is_tripped() {
                self.tripped.entry(sink.name.as_str().to_owned()).or_insert(now);
            } else {
                self.tripped.remove(sink.name.as_str());
            }
        }
        self.tripped.retain(|name, _| scene.sinks.iter().any(|sink| sink.name.as_str() == name));
        let (fresh, last) = scene.refusals.after(self.refusals);
        self.refusals = last;
        for (endpoint, reason, at) in fresh {
            let key = (endpoint.map(|name| name.as_str().to_owned()).unwrap_or_default(), reason.as_str().to_owned());
            self.refused.entry(key).or_insert((0, at)).0 += 1;
        }
        let refused = self.refused.drain();
        let count = |((endpoint, cause), (count, first_at))| RefusedCount { endpoint, cause, count, first_at };
        Observed {
            tripped: self.tripped.iter().map(|(sink, since)| Tripped { sink: sink.clone(), since: *since }).collect(),
            sinks: scene.sinks.iter().map(|sink| sink.name.as_str().to_owned()).collect(),
            silent: scene.board.silences().into_iter().map(|silence| silence.endpoint.as_str().to_owned()).collect(),
            endpoints: scene.endpoints.clone(),
            refused: refused.map(count).collect(),
            digest: None,
        }
    }

    /// Takes back refusals that could not be stored.
    fn keep(&mut self, refused: Vec<RefusedCount>) {
        for RefusedCount { endpoint, cause, count, first_at } in refused {
            let kept = self.refused.entry((endpoint, cause)).or_insert((0, first_at));
            kept.0 += count;
            kept.1 = kept.1.min(first_at);
        }
    }
}

/// One look: stores the events that are due. Returns how many there were.
///
/// `now` replaces the clock, for tests.
///
/// # Errors
/// If the store fails; what was seen is kept for the next look.
pub async fn look<S: NoticeStore + ?Sized>(
    store: &S,
    scene: &Scene,
    eyes: &mut Eyes,
    now: Option<Timestamp>,
) -> Result<usize, StoreError> {
    let mut observed = eyes.look(scene, now.unwrap_or_else(clock::now));
    let due = Mutex::new(None);
    let settle = |noted: &Noted, at: Timestamp| {
        *due.lock().unwrap_or_else(PoisonError::into_inner) = digest_due(&scene.settings, noted, at);
        decide::decide(scene, &observed, noted, at)
    };
    let stored = store.settle_notices(&settle, now).await;
    let mut stored = stored.inspect_err(|_| eyes.keep(observed.refused.clone()))?;
    let due = due.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(due) = due {
        observed.refused.clear();
        let earliest = due.until.checked_sub(LONGEST_DIGEST).unwrap_or(due.since);
        let since = due.since.max(earliest);
        let late = due.until.checked_sub(LATE).unwrap_or(due.until);
        let figures = store.figures(since, due.until, late).await?;
        observed.digest = Some(Digest { day: due.day, notice: sentences::digest(&figures, since, due.until) });
        let settle = |noted: &Noted, at: Timestamp| decide::decide(scene, &observed, noted, at);
        stored += store.settle_notices(&settle, now).await?;
    }
    Ok(stored)
}

/// Looks every [`LOOK`] until asked to stop.
pub async fn run(store: Arc<dyn Store>, scene: Scene, eyes: Arc<tokio::sync::Mutex<Eyes>>, lifecycle: Lifecycle) {
    let mut failing = false;
    let looking = async {
        loop {
            let looked = look(&*store, &scene, &mut *eyes.lock().await, None).await;
            match looked {
                Ok(0) => failing = false,
                Ok(events) => {
                    failing = false;
                    tracing::info!(events, "events of the relay's own were stored");
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = %Chain(&error), "the relay's own events could not be stored: trying again");
                    }
                    failing = true;
                }
            }
            tokio::time::sleep(LOOK.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        }
    };
    let _ = lifecycle.soft.run_until_cancelled(looking).await;
}
