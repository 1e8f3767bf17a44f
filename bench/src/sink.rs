//! A target for the relay's `http` sink: counts events by their `webhook-id` and remembers when each
//! arrived first.
//!
//! | request | answer |
//! |---|---|
//! | `POST` any path | 204; 400 without `webhook-id` |
//! | `GET /stats` | [`Stats`] |
//! | `GET /arrivals/{id}` | [`Arrival`], as soon as the event is there; 404 after [`PATIENCE`] |
//!
//! Times are of this machine's clock, which the sender on the same machine shares.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::Notify,
    time::{Instant, timeout_at},
};

/// How long `GET /arrivals/{id}` waits for an event.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has arrived so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Different events.
    pub(crate) unique: u64,
    /// Arrivals of an event that was here before.
    pub(crate) repeated: u64,
    /// When the newest different event arrived, in nanoseconds since 1970; 0 before the first.
    pub(crate) last_nanos: u64,
}

/// When an event arrived first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrival {
    /// In nanoseconds since 1970.
    pub(crate) nanos: u64,
}

/// This machine's clock, in nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures by the clock")]
pub(crate) fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Ledger {
    arrivals: Mutex<Arrivals>,
    changed: Notify,
}

#[derive(Default)]
struct Arrivals {
    nanos: HashMap<Box<str>, u64>,
    repeated: u64,
    last_nanos: u64,
}

impl Ledger {
    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, id: &str, now: u64) {
        {
            let mut arrivals = self.arrivals();
            match arrivals.nanos.entry(id.into()) {
                Entry::Vacant(entry) => {
                    entry.insert(now);
                    arrivals.last_nanos = now;
                }
                Entry::Occupied(_) => arrivals.repeated += 1,
            }
        }
        self.changed.notify_waiters();
    }

    fn stats(&self) -> Stats {
        let arrivals = self.arrivals();
        Stats { unique: arrivals.nanos.len() as u64, repeated: arrivals.repeated, last_nanos: arrivals.last_nanos }
    }

    /// The arrival of an event, past or awaited; `None` if it has not come by `deadline`.
    async fn arrival(&self, id: &str, deadline: Instant) -> Option<Arrival> {
        loop {
            // Registered before looking, so an arrival in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(&nanos) = self.arrivals().nanos.get(id) {
                return Some(Arrival { nanos });
            }
            timeout_at(deadline, changed).await.ok()?;
        }
    }
}

/// Serves until the process is ended; says `listening public=ADDR`.
pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    eprintln!("listening public={}", listener.local_addr()?);
    Ok(axum::serve(listener, router()).await?)
}

/// The sink with an empty ledger.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/stats", get(stats))
        .route("/arrivals/{id}", get(arrival))
        .fallback(post(receive))
        .with_state(Arc::new(Ledger::default()))
}

/// The body is an argument although it is not read: an event has arrived when its last byte has.
async fn receive(State(ledger): State<Arc<Ledger>>, headers: HeaderMap, _body: Bytes) -> StatusCode {
    let Some(id) = headers.get("webhook-id").and_then(|id| id.to_str().ok()) else { return StatusCode::BAD_REQUEST };
    ledger.record(id, now_nanos());
    StatusCode::NO_CONTENT
}

async fn stats(State(ledger): State<Arc<Ledger>>) -> Json<Stats> {
    Json(ledger.stats())
}

async fn arrival(State(ledger): State<Arc<Ledger>>, Path(id): Path<String>) -> Result<Json<Arrival>, StatusCode> {
    ledger.arrival(&id, Instant::now() + PATIENCE).await.map(Json).ok_or(StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_an_event_once_and_keeps_its_first_arrival() {
        let ledger = Ledger::default();
        ledger.record("a", 10);
        ledger.record("b", 20);
        ledger.record("a", 30);
        assert_eq!(ledger.stats(), Stats { unique: 2, repeated: 1, last_nanos: 20 });
        assert_eq!(ledger.arrivals().nanos["a"], 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_arrival_can_be_awaited() {
        let ledger = Arc::new(Ledger::default());
        let waiting = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.arrival("late", Instant::now() + PATIENCE).await }
        });
        tokio::task::yield_now().await;
        ledger.record("other", 1);
        tokio::task::yield_now().await;
        ledger.record("late", 2);
        assert_eq!(waiting.await.unwrap(), Some(Arrival { nanos: 2 }));
        // The clock stands still unless everybody waits: this returns at once, by its deadline.
        assert_eq!(ledger.arrival("never", Instant::now() + PATIENCE).await, None);
    }
}
