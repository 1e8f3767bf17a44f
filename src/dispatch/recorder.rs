//! Records outcomes in groups: attempts of all sinks that end at the same time share a transaction.
//!
//! While the database does not answer, outcomes are kept and retried until their leases have certainly expired. Another
//! worker may have the dispatch then, so the outcome is dropped with a log line (the target gets the event again, with the
//! same id). An outcome that the database rejects is retried alone, so that one sink's outcome cannot block another's, and
//! then once more in plain text: the target's answer is the only part of it that a database could reject.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    model::{backoff, chain::Chain, dispatch::FinishedAttempt, id::SinkName},
    pressure::Pressure,
    store::{BaseStore, Finish, LeaseStore, StoreError},
};

/// The most outcomes that may wait. If the queue is full, workers wait before they start further attempts.
const QUEUE: usize = 2048;
/// The most outcomes in one transaction.
const BATCH: usize = 256;

#[derive(Debug)]
struct Waiting {
    finished: FinishedAttempt,
    lease_ends: Instant,
}

/// The handle to which workers pass outcomes; recording ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Waiting>,
}

/// A handle that does not keep the recorder alive.
#[derive(Debug, Clone)]
pub struct WeakRecorder(mpsc::WeakSender<Waiting>);

impl WeakRecorder {
    /// The recorder, unless it has ended.
    pub fn upgrade(&self) -> Option<Recorder> {
        self.0.upgrade().map(|queue| Recorder { queue })
    }
}

impl Recorder {
    /// A weak handle.
    pub fn downgrade(&self) -> WeakRecorder {
        WeakRecorder(self.queue.downgrade())
    }

    /// Creates the recorder and the future that does the work.
    pub fn new<S: BaseStore + LeaseStore + ?Sized>(
        store: Arc<S>,
        pressure: Pressure,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { queue }, record(store, waiting, pressure))
    }

    /// Passes an outcome on; waits while the queue is full.
    pub async fn record(&self, finished: FinishedAttempt, lease_ends: Instant) {
        let waiting = Waiting { finished, lease_ends };
        if self.queue.send(waiting).await.is_err() {
            tracing::error!("an outcome could not be recorded: the recorder has ended");
        }
    }
}

async fn record(store: impl Recording, mut queue: mpsc::Receiver<Waiting>, pressure: Pressure) {
    let mut waiting = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut waiting, BATCH).await > 0 {
        record_all(&store, &mut waiting, &pressure).await;
    }
}

/// Records groups of outcomes: the store, or a replacement in tests.
#[async_trait]
trait Recording: Sync {
    async fn finish(&self, batch: &[FinishedAttempt]) -> Result<Vec<Finish>, StoreError>;
    fn wake(&self, sinks: &[&SinkName]);
}

#[async_trait]
impl<S: BaseStore + LeaseStore + ?Sized> Recording for Arc<S> {
    async fn finish(&self, batch: &[FinishedAttempt]) -> Result<Vec<Finish>, StoreError> {
        self.finish_attempts(batch, None).await
    }

    fn wake(&self, sinks: &[&SinkName]) {
        self.wakeups().wake(sinks.iter().copied());
    }
}

/// Records the waiting outcomes, together if possible. No outcome is kept for longer than its lease.
async fn record_all(target: &impl Recording, waiting: &mut Vec<Waiting>, pressure: &Pressure) {
    let (mut failures, mut most) = (0, BATCH);
    while !waiting.is_empty() {
        let count = waiting.len().min(most);
        let batch: Vec<_> = waiting[..count].iter().map(|waiting| waiting.finished.clone()).collect();
        let begun = Instant::now();
        match target.finish(&batch).await {
            Ok(results) => {
                report_lost(&batch, &results);
                // A worker that found nothing due learns the new due times from its next claim.
                let again = batch.iter().filter(|finished| !finished.next.state().is_finished());
                target.wake(&again.map(|finished| &finished.sink).collect::<Vec<_>>());
                waiting.drain(..count);
                tokio::time::sleep(pressure.breather(begun.elapsed())).await;
            }
            Err(error) if error.is_unavailable() => {
                failures += 1;
                tracing::error!(
                    error = %Chain(&error), outcomes = count, "outcomes could not be recorded: trying again"
                );
                let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
                tokio::time::sleep(backoff::next_wait(first, longest, failures, rand::random())).await;
                let now = Instant::now();
                waiting.retain(|waiting| {
                    let keep = waiting.lease_ends > now;
                    if !keep {
                        give_up(&waiting.finished, "its lease expired first");
                    }
                    keep
                });
            }
            // The database rejects something in the group. One outcome must not block those of other
            // sinks, so each is recorded alone from here on.
            Err(_) if count > 1 => most = 1,
            Err(error) => {
                let finished = &mut waiting[0].finished;
                let plain = finished.outcome.clone().in_plain_text();
                if plain != finished.outcome {
                    tracing::warn!(
                        error = %Chain(&error), dispatch.id = %finished.id,
                        "the database rejected an outcome: recording it without the characters that are not plain text"
                    );
                    finished.outcome = plain;
                    continue;
                }
                give_up(&waiting.remove(0).finished, &Chain(&error).to_string());
            }
        }
    }
}

fn report_lost(batch: &[FinishedAttempt], results: &[Finish]) {
    for (finished, _) in batch.iter().zip(results).filter(|(_, result)| **result == Finish::LeaseLost) {
        tracing::warn!(
            sink.name = %finished.sink, dispatch.id = %finished.id, outcome = finished.outcome.as_str(),
            "an outcome came after its lease had expired: another worker decides"
        );
    }
}

fn give_up(finished: &FinishedAttempt, why: &str) {
    tracing::error!(
        sink.name = %finished.sink, dispatch.id = %finished.id, outcome = finished.outcome.as_str(), error = why,
        "an outcome was not recorded: the sink may get the event again"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::model::{
        clock,
        dispatch::{Next, Outcome},
        id::{DispatchId, LeaseToken},
    };

    fn outcome(id: i64) -> Waiting {
        let finished = FinishedAttempt {
            id: DispatchId(id),
            token: LeaseToken::generate(),
            sink: SinkName::new("erp").unwrap(),
            started_at: clock::now(),
            duration: Duration::ZERO,
            outcome: Outcome::Delivered,
            next: Next::Delivered,
        };
        Waiting { finished, lease_ends: Instant::now() + Duration::from_secs(20) }
    }

    /// A database that rejects the dispatch 13 and is unavailable for this number of first calls.
    #[derive(Default)]
    struct Database {
        away: Mutex<u32>,
        recorded: Mutex<Vec<i64>>,
    }

    #[async_trait]
    impl Recording for Database {
        async fn finish(&self, batch: &[FinishedAttempt]) -> Result<Vec<Finish>, StoreError> {
            let mut away = self.away.lock().unwrap();
            if *away > 0 {
                *away -= 1;
                return Err(StoreError::Unavailable { action: "x".into(), source: sqlx::Error::PoolTimedOut });
            }
            if batch
                .iter()
                .any(|finished| finished.id.0 == 13 || finished.outcome.reason().is_some_and(|r| !r.is_ascii()))
            {
                return Err(StoreError::Refused { action: "x".into(), source: sqlx::Error::RowNotFound });
            }
            self.recorded.lock().unwrap().extend(batch.iter().map(|finished| finished.id.0));
            Ok(vec![Finish::Recorded; batch.len()])
        }

        fn wake(&self, _sinks: &[&SinkName]) {}
    }

    #[tokio::test(start_paused = true)]
    async fn one_refused_outcome_does_not_hold_up_the_others() {
        let database = Database::default();
        let mut waiting = [11, 12, 13, 14].map(outcome).into_iter().collect();
        record_all(&database, &mut waiting, &Pressure::default()).await;
        assert_eq!(*database.recorded.lock().unwrap(), [11, 12, 14]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_database_cannot_keep_is_recorded_in_plain_text() {
        let database = Database::default();
        let mut odd = outcome(12);
        odd.finished.outcome = Outcome::Hold { reason: "the target\u{2019}s word\u{0}".into(), recheck_after: None };
        let mut waiting = vec![outcome(11), odd, outcome(14)];
        record_all(&database, &mut waiting, &Pressure::default()).await;
        assert_eq!(*database.recorded.lock().unwrap(), [11, 12, 14]);
        let told = Outcome::Rejected { reason: "it\u{2019}s \0".into() }.in_plain_text();
        assert_eq!(told.reason(), Some("it?s ?"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_out_as_long_as_the_leases_last() {
        let database = Database { away: Mutex::new(3), ..Database::default() };
        let mut waiting = vec![outcome(1), outcome(2)];
        record_all(&database, &mut waiting, &Pressure::default()).await;
        assert_eq!(*database.recorded.lock().unwrap(), [1, 2]);

        let gone = Database { away: Mutex::new(u32::MAX), ..Database::default() };
        let mut waiting = vec![outcome(1)];
        record_all(&gone, &mut waiting, &Pressure::default()).await;
        assert!(waiting.is_empty() && gone.recorded.lock().unwrap().is_empty(), "given up with its lease");
    }
}
