//! Keeps how much was received and delivered in each hour, for pictures.
//!
//! Receiving and relaying pay nothing for it: [`Metrics`] counts anyway, in memory. [`keep`] reads the counters, and adds
//! about once a minute to the store what is new. All processes add to the same rows. A process that is killed loses a minute
//! at most; one that stops adds the rest with [`Keeper::rest`].
//!
//! What could not be written is written with the next minute. A batch whose fate is unknown stays as it is and keeps its
//! number, by which the store knows whether it has it already ([`TrafficStore::add_traffic`]). So nothing is lost and
//! nothing counted twice.
//!
//! A count belongs to the hour in which it was counted: the counters are read when an hour ends, and what is new then is
//! the old hour's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    lifecycle::Lifecycle,
    model::{
        chain::Chain,
        clock,
        traffic::{KEPT, Line, Totals, What, hour_of, to_next_hour},
    },
    store::{StoreError, TrafficStore, traffic::Batch},
    telemetry::Metrics,
};

/// The time between two writes.
pub const WRITE: Duration = Duration::from_mins(1);
/// How long the last write may take when the service stops.
const REST: Duration = Duration::from_secs(2);

/// Reads the counters, and keeps what the store does not have yet.
pub struct Keeper {
    store: Arc<dyn TrafficStore>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// One write at a time.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    /// The counters as they were last read.
    read: Totals,
    /// When that was.
    read_at: Timestamp,
    /// What is new and belongs to no batch yet, by hour.
    new: BTreeMap<Timestamp, Totals>,
    /// The batch that has to be written first, and may have been.
    sending: Option<Batch>,
    /// The number of the last batch.
    number: i64,
    writer: Uuid,
}

impl Keeper {
    /// Counts from `now` on.
    pub fn new(store: Arc<dyn TrafficStore>, metrics: Arc<Metrics>, now: Timestamp) -> Self {
        let state = State {
            read: metrics.traffic(),
            read_at: now,
            new: BTreeMap::new(),
            sending: None,
            number: 0,
            writer: Uuid::now_v7(),
        };
        Self { store, metrics, state: Mutex::new(state), turn: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the counters. What is new counts for the hour in which they were last read.
    pub fn read(&self, now: Timestamp) {
        let totals = self.metrics.traffic();
        let mut state = self.state();
        // The clock may have been set back meanwhile.
        let hour = hour_of(state.read_at.min(now));
        let more: Vec<((What, String), u64)> = totals
            .iter()
            .filter_map(|(key, total)| {
                let more = total.saturating_sub(state.read.get(key).copied().unwrap_or_default());
                (more > 0).then(|| (key.clone(), more))
            })
            .collect();
        for (key, more) in more {
            *state.new.entry(hour).or_default().entry(key).or_default() += more;
        }
        // A store that is away for long is no reason to keep what it would delete.
        state.new.retain(|hour, _| clock::since(*hour, now) <= KEPT);
        state.read = totals;
        state.read_at = now;
    }

    /// Reads the counters and writes what is new, and how many dispatches wait.
    ///
    /// # Errors
    /// If the store fails. What is not written stays here and is written by the next call. The same holds if the future is
    /// dropped.
    pub async fn write(&self, now: Timestamp) -> Result<(), StoreError> {
        self.read(now);
        let _turn = self.turn.lock().await;
        while let Some(batch) = self.next_batch() {
            self.store.add_traffic(&batch).await?;
            self.state().sending = None;
        }
        self.store.sample_backlog(hour_of(now)).await
    }

    /// The batch to write: the one whose fate is unknown, or else a new one of all that is new.
    fn next_batch(&self) -> Option<Batch> {
        let mut state = self.state();
        if state.sending.is_none() && !state.new.is_empty() {
            state.number += 1;
            let new = std::mem::take(&mut state.new);
            let lines = new.into_iter().flat_map(|(hour, counts)| {
                counts.into_iter().map(move |((what, name), count)| Line { hour, what, name, count })
            });
            state.sending = Some(Batch { writer: state.writer, number: state.number, lines: lines.collect() });
        }
        state.sending.clone()
    }

    /// Writes what is left when everything else has stopped.
    pub async fn rest(&self) {
        // A store that hangs must not delay the end.
        if !matches!(tokio::time::timeout(REST, self.write(clock::now())).await, Ok(Ok(()))) {
            tracing::warn!("the counts of the last minute could not be stored before the end");
        }
    }
}

/// Writes every [`WRITE`], and deletes old counts every hour, until it is asked to stop.
pub async fn keep(keeper: Arc<Keeper>, lifecycle: Lifecycle) {
    let rounds = async {
        let (mut next, mut purged) = (Instant::now(), None);
        loop {
            let now = clock::now();
            if next <= Instant::now() {
                write(&keeper, now, &mut purged).await;
                next = Instant::now() + WRITE.mul_f64(0.9 + 0.2 * rand::random::<f64>());
            } else {
                keeper.read(now);
            }
            let hour = Instant::now() + to_next_hour(clock::now());
            tokio::time::sleep_until(next.min(hour)).await;
        }
    };
    lifecycle.soft.run_until_cancelled(rounds).await;
}

async fn write(keeper: &Keeper, now: Timestamp, purged: &mut Option<Timestamp>) {
    if let Err(error) = keeper.write(now).await {
        tracing::warn!(error = %Chain(&error), "the counts of the last minute could not be stored: trying again later");
        return;
    }
    let hour = hour_of(now);
    if *purged != Some(hour) {
        match keeper.store.purge_traffic().await {
            Ok(_) => *purged = Some(hour),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "old counts could not be deleted: trying again later");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::telemetry::DeliveryResult;

    /// Adds like a store; fails as it is told.
    #[derive(Debug, Default)]
    struct Table {
        /// Fail before or after the commit.
        failing: Mutex<Option<bool>>,
        last: Mutex<BTreeMap<Uuid, i64>>,
        rows: Mutex<BTreeMap<(Timestamp, What, String), u64>>,
    }

    impl Table {
        fn fail(&self, is_after: Option<bool>) {
            *self.failing.lock().unwrap() = is_after;
        }

        fn rows(&self) -> Vec<(String, &'static str, u64)> {
            let rows = self.rows.lock().unwrap();
            rows.iter().map(|((hour, what, _), count)| (hour.to_string(), what.as_str(), *count)).collect()
        }
    }

    #[async_trait]
    impl TrafficStore for Table {
        async fn add_traffic(&self, batch: &Batch) -> Result<bool, StoreError> {
            let away = || StoreError::Unavailable { action: "x".into(), source: sqlx::Error::PoolTimedOut };
            let failing = *self.failing.lock().unwrap();
            if failing == Some(false) {
                return Err(away());
            }
            let before = self.last.lock().unwrap().insert(batch.writer, batch.number);
            let is_new = before.is_none_or(|before| before < batch.number);
            if is_new {
                for line in &batch.lines {
                    let key = (line.hour, line.what, line.name.clone());
                    *self.rows.lock().unwrap().entry(key).or_default() += line.count;
                }
            }
            if failing.is_some() { Err(away()) } else { Ok(is_new) }
        }

        async fn sample_backlog(&self, _: Timestamp) -> Result<(), StoreError> {
            Ok(())
        }

        async fn traffic(&self, _: Timestamp, _: Timestamp) -> Result<Vec<Line>, StoreError> {
            Ok(Vec::new())
        }

        async fn purge_traffic(&self) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-11-28T{text}Z").parse().unwrap()
    }

    #[tokio::test]
    async fn nothing_is_lost_or_counted_twice_whatever_becomes_of_a_write() {
        let (table, metrics) = (Arc::new(Table::default()), Arc::new(Metrics::new()));
        let endpoint = metrics.endpoint("main");
        let refuse = || endpoint.observe(DeliveryResult::TooLarge, Duration::ZERO);
        refuse();
        // What was counted before is not new.
        let keeper = Keeper::new(table.clone(), metrics.clone(), at("03:00:00"));
        refuse();
        refuse();
        keeper.write(at("03:01:00")).await.unwrap();
        assert_eq!(table.rows(), [("2026-11-28T03:00:00Z".into(), "refused", 2)]);
        keeper.write(at("03:02:00")).await.unwrap();
        refuse();
        table.fail(Some(false));
        keeper.write(at("03:03:00")).await.unwrap_err();
        refuse();
        keeper.write(at("03:04:00")).await.unwrap_err();
        table.fail(None);
        keeper.write(at("03:05:00")).await.unwrap();
        assert_eq!(table.rows(), [("2026-11-28T03:00:00Z".into(), "refused", 4)]);
        // The commit worked, and the answer was lost; meanwhile there is more.
        refuse();
        table.fail(Some(true));
        keeper.write(at("03:06:00")).await.unwrap_err();
        refuse();
        keeper.write(at("03:07:00")).await.unwrap_err();
        table.fail(None);
        keeper.write(at("03:08:00")).await.unwrap();
        assert_eq!(table.rows(), [("2026-11-28T03:00:00Z".into(), "refused", 6)]);
    }

    #[tokio::test]
    async fn what_is_new_when_an_hour_ends_is_the_old_hours() {
        let (table, metrics) = (Arc::new(Table::default()), Arc::new(Metrics::new()));
        let endpoint = metrics.endpoint("main");
        let refuse = || endpoint.observe(DeliveryResult::TooSlow, Duration::ZERO);
        let keeper = Keeper::new(table.clone(), metrics.clone(), at("03:59:30"));
        refuse();
        keeper.read(at("04:00:00.002"));
        refuse();
        refuse();
        keeper.write(at("04:00:20")).await.unwrap();
        let hour = |hour: &str, count: u64| (format!("2026-11-28T{hour}:00:00Z"), "refused", count);
        assert_eq!(table.rows(), [hour("03", 1), hour("04", 2)]);
        // A clock that was set back is believed.
        refuse();
        keeper.write(at("02:10:00")).await.unwrap();
        assert_eq!(table.rows(), [hour("02", 1), hour("03", 1), hour("04", 2)]);
        // What a store that was away for long would delete is not kept for it.
        refuse();
        keeper.read(at("02:20:00"));
        keeper.write("2026-12-09T00:00:00Z".parse().unwrap()).await.unwrap();
        assert_eq!(table.rows(), [hour("02", 1), hour("03", 1), hour("04", 2)]);
    }
}
