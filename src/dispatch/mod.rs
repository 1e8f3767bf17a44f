//! The relaying half: claims what is due, tries it, records what came of it.
//!
//! ```text
//!            ┌──────────── worker, one per sink ───────────┐
//! store ─claim─▶ queue ─▶ attempt ─▶ sinks::Sink::deliver   │
//!   ▲        └──────────────│───────────────────────────────┘
//!   └────── recorder ◀── outcome    (shared by all sinks: many outcomes, one transaction)
//! ```
//!
//! Each sink has a [`worker`] of its own, with its own slots, rate and breaker, so that a sick or
//! slow sink hurts nobody else: it takes no slot of another's and no lock that another waits for.
//! Everything rare takes the common path: a crashed worker is an expired lease, a replay is a new
//! dispatch, a shutdown gives leases back.
//!
//! One [`Relaying`] serves the process: workers come and go with the configuration, each by itself; the recorder stays.
//!
//! Delivery is at least once: if the process dies between a target's answer and the record of it,
//! the target gets the event again, under the same id.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    lifecycle::Lifecycle,
    model::{
        clock,
        dispatch::{Order, RetryPolicy},
        id::SinkName,
    },
    pressure::Pressure,
    sinks::Sink,
    store::Store,
    telemetry::{Metrics, SinkMetrics},
};

pub mod attempt;
pub mod breaker;
pub mod maintenance;
pub mod recorder;
pub mod worker;

/// A lease outlasts an attempt's time-out by this much: time for the claim's own way, for waiting
/// in the worker's queue and for recording the outcome. It is also how much longer than the
/// time-out a crashed replica's dispatches wait for another one.
pub const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// How one sink is fed.
#[derive(Debug, Clone)]
pub struct Feeding {
    /// The sink's name.
    pub name: SinkName,
    /// Its `type`.
    pub kind: &'static str,
    /// In which order.
    pub order: Order,
    /// At most so many attempts at a time.
    pub concurrency: NonZeroU32,
    /// A whole attempt.
    pub timeout: Duration,
    /// At most so many attempts in a time: requests and period.
    pub rate: Option<(NonZeroU32, Duration)>,
    /// When to try again and when to give up.
    pub retry: RetryPolicy,
    /// Consecutive failures that trip the breaker, and the time between two probes.
    pub breaker: (NonZeroU32, Duration),
}

impl Feeding {
    /// How long a claim lasts.
    pub fn lease(&self) -> Duration {
        self.timeout + LEASE_MARGIN
    }
}

/// What the admin API may know of a configured sink, and tell its breaker.
#[derive(Debug, Clone)]
pub struct SinkView {
    /// Its name.
    pub name: SinkName,
    /// Its `type`.
    pub kind: &'static str,
    switch: breaker::Switch,
}

impl SinkView {
    /// A sink whose breaker is closed.
    pub fn new(name: SinkName, kind: &'static str) -> Self {
        Self { name, kind, switch: breaker::Switch::default() }
    }

    /// True while this process's breaker leaves the sink alone.
    pub fn is_tripped(&self) -> bool {
        self.switch.is_open()
    }

    /// While it is tripped: when this process probes it next. A time in the past is now.
    pub fn next_probe_at(&self) -> Option<Timestamp> {
        let wait = self.switch.next_probe()?.saturating_duration_since(Instant::now());
        clock::now().checked_add(wait).ok()
    }

    /// The target has shown that it works: closes the breaker. Answers true if it was tripped. The worker has to be
    /// woken ([`crate::store::wake::Wakeups`]).
    pub fn close(&self) -> bool {
        self.switch.close()
    }

    /// A person thinks that the target works: one event is tried at once, and the others if it is delivered. Answers
    /// true if it was tripped. The worker has to be woken.
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
}

impl Relaying {
    /// Starts the recorder. It runs until the lifecycle's soft token is cancelled and the last worker has ended.
    pub fn start(store: &Arc<dyn Store>, pressure: &Pressure, lifecycle: &Lifecycle) -> Self {
        let (recorder, recording) = recorder::Recorder::new(store.clone(), pressure.clone());
        let weak = recorder.downgrade();
        lifecycle.spawn("recorder", recording);
        // Also while there is no worker.
        let soft = lifecycle.soft.clone();
        lifecycle.spawn("recorder's queue", async move {
            soft.cancelled().await;
            drop(recorder);
        });
        Self { store: store.clone(), recorder: weak, pressure: pressure.clone() }
    }

    /// Feeds a sink until the lifecycle's soft token is cancelled; then what is under way is finished, and the rest
    /// given back.
    pub fn feed(
        &self,
        feeding: Feeding,
        sink: Arc<dyn Sink>,
        view: &SinkView,
        metrics: SinkMetrics,
        lifecycle: &Lifecycle,
    ) {
        // None is left only when the service stops.
        let Some(recorder) = self.recorder.upgrade() else { return };
        let shared = worker::Shared { store: self.store.clone(), recorder, pressure: self.pressure.clone() };
        let worker = worker::Worker::new(shared, sink, feeding, view.switch.clone(), metrics);
        lifecycle.spawn("sink worker", worker.run(lifecycle.clone()));
    }
}

/// Starts a worker for each sink, and what they share. They run until the lifecycle's soft token is
/// cancelled, finish what is under way, and give the rest back.
pub fn start(
    store: &Arc<dyn Store>,
    sinks: Vec<(Feeding, Arc<dyn Sink>, SinkView)>,
    metrics: &Metrics,
    pressure: &Pressure,
    lifecycle: &Lifecycle,
) {
    let relaying = Relaying::start(store, pressure, lifecycle);
    for (feeding, sink, view) in sinks {
        let metrics = metrics.sink(feeding.name.as_str());
        relaying.feed(feeding, sink, &view, metrics, lifecycle);
    }
}
