//! Records outcomes in groups: attempts of all sinks that end at the same time share a transaction.
//!
//! While the database does not answer, outcomes are kept and tried again until their leases have
//! surely run out; then somebody else may have the dispatch, and the outcome is dropped with a
//! warning (the target gets the event again, under the same id).

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    model::{backoff, chain::Chain, dispatch::FinishedAttempt},
    pressure::Pressure,
    store::{Finish, Store},
};

/// Outcomes that may wait. When as many wait, workers wait before they start further attempts.
const QUEUE: usize = 2048;
/// Outcomes in one transaction.
const BATCH: usize = 256;

#[derive(Debug)]
struct Waiting {
    finished: FinishedAttempt,
    lease_ends: Instant,
}

/// Where workers hand outcomes in; recording ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Waiting>,
}

impl Recorder {
    /// Makes the recorder and the future that does the work.
    pub fn new(store: Arc<dyn Store>, pressure: Pressure) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { queue }, record(store, waiting, pressure))
    }

    /// Hands an outcome in; waits while too many others do.
    pub async fn record(&self, finished: FinishedAttempt, lease_ends: Instant) {
        let waiting = Waiting { finished, lease_ends };
        if self.queue.send(waiting).await.is_err() {
            tracing::error!("an outcome could not be recorded: the recorder has ended");
        }
    }
}

async fn record(store: Arc<dyn Store>, mut queue: mpsc::Receiver<Waiting>, pressure: Pressure) {
    let mut waiting = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut waiting, BATCH).await > 0 {
        let mut failures = 0;
        while !waiting.is_empty() {
            let batch: Vec<_> = waiting.iter().map(|waiting| waiting.finished.clone()).collect();
            let begun = Instant::now();
            match store.finish_attempts(&batch, None).await {
                Ok(results) => {
                    for (finished, result) in batch.iter().zip(results) {
                        if result == Finish::LeaseLost {
                            tracing::warn!(
                                sink.name = %finished.sink, dispatch.id = %finished.id, outcome = finished.outcome.as_str(),
                                "an outcome came after its lease had run out: another worker decides"
                            );
                        }
                    }
                    // A worker that saw nothing due learns the new times from its next claim.
                    let again = batch.iter().filter(|finished| !finished.next.state().is_finished());
                    store.wakeups().wake(again.map(|finished| &finished.sink));
                    waiting.clear();
                    tokio::time::sleep(pressure.breather(begun.elapsed())).await;
                }
                Err(error) => {
                    failures += 1;
                    tracing::error!(
                        error = %Chain(&error),
                        outcomes = batch.len(),
                        "outcomes could not be recorded: trying again"
                    );
                    tokio::time::sleep(backoff::next_wait(
                        Duration::from_millis(100),
                        Duration::from_secs(2),
                        failures,
                        rand::random(),
                    ))
                    .await;
                    let now = Instant::now();
                    waiting.retain(|waiting| {
                        let keep = waiting.lease_ends > now;
                        if !keep {
                            tracing::warn!(
                                sink.name = %waiting.finished.sink, dispatch.id = %waiting.finished.id,
                                outcome = waiting.finished.outcome.as_str(),
                                "an outcome was not recorded before its lease ran out: the sink may get the event again"
                            );
                        }
                        keep
                    });
                }
            }
        }
    }
}
