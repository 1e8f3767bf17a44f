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
//! Delivery is at least once: if the process dies between a target's answer and the record of it,
//! the target gets the event again, under the same id.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    lifecycle::Lifecycle,
    model::{
        dispatch::{Order, RetryPolicy},
        id::SinkName,
    },
    pressure::Pressure,
    sinks::Sink,
    store::Store,
    telemetry::Metrics,
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

/// What the admin API may know of a configured sink.
#[derive(Debug, Clone)]
pub struct SinkView {
    /// Its name.
    pub name: SinkName,
    /// Its `type`.
    pub kind: &'static str,
    tripped: Arc<AtomicBool>,
}

impl SinkView {
    /// A sink whose breaker is closed.
    pub fn new(name: SinkName, kind: &'static str) -> Self {
        Self { name, kind, tripped: Arc::default() }
    }

    /// True while this process's breaker leaves the sink alone.
    pub fn is_tripped(&self) -> bool {
        self.tripped.load(Relaxed)
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
    let (recorder, recording) = recorder::Recorder::new(store.clone(), pressure.clone());
    lifecycle.spawn("recorder", recording);
    for (feeding, sink, view) in sinks {
        let metrics = metrics.sink(feeding.name.as_str());
        let shared = worker::Shared { store: store.clone(), recorder: recorder.clone(), pressure: pressure.clone() };
        let worker = worker::Worker::new(shared, sink, feeding, view.tripped, metrics);
        lifecycle.spawn("sink worker", worker.run(lifecycle.clone()));
    }
}
