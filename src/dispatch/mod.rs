//! The relaying half: takes what is fresh, claims what is due, tries it, records the outcome.
//!
//! ```text
//! committer ─hand over─┐   (a fresh event, leased when it was recorded)
//!            ┌─────────▼─── worker, one per sink ──────────┐
//! store ─claim─▶ queue ─▶ attempt ─▶ sinks::Sink::deliver   │
//!   ▲        └──────────────│───────────────────────────────┘
//!   └────── recorder ◀── outcome    (shared by all sinks: many outcomes, one transaction)
//! ```
//!
//! While a worker has room, an event is on its way to the sink as soon as it is stored, and is written twice: when it is
//! recorded, and when it is finished. Only retries, backlogs and what another process left behind are claimed.
//!
//! Each sink has its own [`worker`] with its own slots, rate limit and breaker, so that a failing or slow sink does not affect
//! other sinks: it uses none of their slots, and holds no lock that they wait for. Rare cases use the common path: a crashed
//! worker is an expired lease, a replay is a new dispatch, and a shutdown returns leases.
//!
//! There is one [`Relaying`] per process. Workers come and go with the configuration, independently of each other; the
//! recorder stays.
//!
//! Delivery is at least once: if the process dies between a target's answer and the record of it,
//! the target gets the event again, under the same id.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    handover::Handover,
    lifecycle::Lifecycle,
    model::{
        clock,
        dispatch::{Order, RetryPolicy},
        id::SinkName,
    },
    pressure::Pressure,
    sinks::Sink,
    store::{BaseStore, BreakerStore, LeaseStore, Store},
    telemetry::{Metrics, SinkMetrics},
};

pub mod attempt;
pub mod breaker;
pub mod maintenance;
pub mod recorder;
pub mod worker;

/// How much longer a lease lasts than the time-out of an attempt: time for the claim itself, for the worker's queue and for
/// recording the outcome. After a crash of a replica, its dispatches wait for the time-out and this time.
pub const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// What relaying needs of the store.
pub trait Source: BaseStore + LeaseStore + BreakerStore {}

impl<S: BaseStore + LeaseStore + BreakerStore + ?Sized> Source for S {}

/// How one sink gets its events.
#[derive(Debug, Clone)]
pub struct Feeding {
    /// The sink's name.
    pub name: SinkName,
    /// The `type` of the sink.
    pub kind: &'static str,
    /// The order of delivery.
    pub order: Order,
    /// The most attempts at the same time.
    pub concurrency: NonZeroU32,
    /// The time limit of an attempt.
    pub timeout: Duration,
    /// The rate limit: the number of attempts and the period.
    pub rate: Option<(NonZeroU32, Duration)>,
    /// When to retry and when to give up.
    pub retry: RetryPolicy,
    /// Consecutive failures that trip the breaker, and the time between two probes.
    pub breaker: (NonZeroU32, Duration),
}

impl Feeding {
    /// How long a lease lasts.
    pub fn lease(&self) -> Duration {
        self.timeout + LEASE_MARGIN
    }
}

/// A configured sink as the admin API sees it, with access to its breaker.
#[derive(Debug, Clone)]
pub struct SinkView {
    /// The name of the sink.
    pub name: SinkName,
    /// The `type` of the sink.
    pub kind: &'static str,
    switch: breaker::Switch,
}

impl SinkView {
    /// A sink whose breaker is closed.
    pub fn new(name: SinkName, kind: &'static str) -> Self {
        Self { name, kind, switch: breaker::Switch::default() }
    }

    /// True while the sink is tripped in this process.
    pub fn is_tripped(&self) -> bool {
        self.switch.is_open()
    }

    /// While the sink is tripped: when this process probes it next. A time in the past means now.
    pub fn next_probe_at(&self) -> Option<Timestamp> {
        let wait = self.switch.next_probe()?.saturating_duration_since(Instant::now());
        clock::now().checked_add(wait).ok()
    }

    /// Closes the breaker, since the target has shown that it works. Answers true if the sink was tripped. The worker has to
    /// be woken afterwards ([`crate::store::wake::Wakeups`]).
    pub fn close(&self) -> bool {
        self.switch.close()
    }

    /// Tries the sink again, since a person has asked for it: one event at once, and the others if it is delivered. Answers
    /// true if the sink was tripped. The worker has to be woken afterwards.
    pub fn try_again(&self) -> bool {
        self.switch.try_again()
    }
}

/// What the workers of all sinks share, for as long as the process lives.
#[derive(Debug, Clone)]
pub struct Relaying {
    store: Arc<dyn Store>,
    recorder: recorder::WeakRecorder,
    pressure: Pressure,
    handover: Handover,
}

impl Relaying {
    /// Starts the recorder. It runs until the lifecycle's soft token is cancelled and the last worker has ended.
    pub fn start(store: &Arc<dyn Store>, pressure: &Pressure, handover: &Handover, lifecycle: &Lifecycle) -> Self {
        let (recorder, recording) = recorder::Recorder::new(store.clone(), pressure.clone());
        let weak = recorder.downgrade();
        lifecycle.spawn("recorder", recording);
        // The recorder also stays while there is no worker.
        let soft = lifecycle.soft.clone();
        lifecycle.spawn("recorder's queue", async move {
            soft.cancelled().await;
            drop(recorder);
        });
        Self { store: store.clone(), recorder: weak, pressure: pressure.clone(), handover: handover.clone() }
    }

    /// Delivers to a sink until the lifecycle's soft token is cancelled. Running attempts are then finished, and other leases
    /// returned.
    pub fn feed(
        &self,
        feeding: Feeding,
        sink: Arc<dyn Sink>,
        view: &SinkView,
        metrics: SinkMetrics,
        lifecycle: &Lifecycle,
    ) {
        // The recorder is gone only when the service stops.
        let Some(recorder) = self.recorder.upgrade() else { return };
        let (store, pressure, handover) = (self.store.clone(), self.pressure.clone(), self.handover.clone());
        let shared = worker::Shared { store, recorder, pressure, handover };
        let worker = worker::Worker::new(shared, sink, feeding, view.switch.clone(), metrics);
        lifecycle.spawn("sink worker", worker.run(lifecycle.clone()));
    }
}

/// Starts a worker for each sink, and what the workers share. They run until the lifecycle's soft token is cancelled, finish
/// their running attempts, and return the other leases.
pub fn start(
    store: &Arc<dyn Store>,
    sinks: Vec<(Feeding, Arc<dyn Sink>, SinkView)>,
    metrics: &Metrics,
    pressure: &Pressure,
    handover: &Handover,
    lifecycle: &Lifecycle,
) {
    let relaying = Relaying::start(store, pressure, handover, lifecycle);
    for (feeding, sink, view) in sinks {
        let metrics = metrics.sink(feeding.name.as_str());
        relaying.feed(feeding, sink, &view, metrics, lifecycle);
    }
}
