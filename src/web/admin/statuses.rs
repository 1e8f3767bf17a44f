//! The states of the sinks, read once for all concurrent callers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{super::error::Problem, store_problem};
use crate::store::{SinkStatus, Store};

/// How old the states may be for a scrape of the metrics, which comes every few seconds and needs no token.
const SCRAPED: Duration = Duration::from_secs(1);

/// Reads the states of the sinks, one read at a time. Callers that ask during a read share the next one, which begins after
/// everything that they have done before.
#[derive(Debug)]
pub struct Statuses {
    store: Arc<dyn Store>,
    last: Mutex<Option<Reading>>,
}

#[derive(Debug)]
struct Reading {
    began: Instant,
    answer: Result<Arc<[SinkStatus]>, Problem>,
}

impl Statuses {
    /// Reads from this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, last: Mutex::new(None) }
    }

    /// The state of every sink, read after this call began.
    pub(super) async fn now(&self) -> Result<Arc<[SinkStatus]>, Problem> {
        self.since(Instant::now()).await
    }

    /// The state of every sink, at most one second old.
    pub(super) async fn scraped(&self) -> Result<Arc<[SinkStatus]>, Problem> {
        let now = Instant::now();
        self.since(now.checked_sub(SCRAPED).unwrap_or(now)).await
    }

    async fn since(&self, earliest: Instant) -> Result<Arc<[SinkStatus]>, Problem> {
        let mut last = self.last.lock().await;
        if let Some(reading) = last.as_ref().filter(|reading| reading.began >= earliest) {
            return reading.answer.clone();
        }
        let began = Instant::now();
        let answer = self.store.sink_statuses().await.map(Arc::from).map_err(store_problem);
        *last = Some(Reading { began, answer: answer.clone() });
        answer
    }
}
