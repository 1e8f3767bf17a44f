//! Retention: removes old payloads and, later, old events and bookings, a few at a time.

use std::{sync::Arc, time::Duration};

use crate::{
    lifecycle::Lifecycle,
    model::{chain::Chain, clock},
    store::{Purge, Purged, Store, StoreError},
};

/// Between two rounds.
const EVERY: Duration = Duration::from_mins(10);
/// Events, or bookings, in one transaction: short enough that no delivery waits for it.
const AT_ONCE: u32 = 500;
/// Between two transactions of a round.
const PAUSE: Duration = Duration::from_millis(100);

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// Payloads, after the event was received.
    pub payload: Duration,
    /// Events with all that belongs to them, after they were received.
    pub dedupe: Duration,
    /// Bookings, after they were finished.
    pub ledger: Duration,
}

/// Purges at intervals until the soft token is cancelled. The first round begins at once: a service that is
/// started or reloaded more often than the interval would otherwise never purge.
pub async fn run(store: Arc<dyn Store>, ages: Ages, lifecycle: Lifecycle) {
    let rounds = async {
        loop {
            // One that fails does not keep the other from its turn.
            let total = purge(&*store, ages).await;
            let bookings = purge_bookings(&*store, ages.ledger).await;
            if total != Purged::default() || bookings > 0 {
                tracing::info!(
                    payloads = total.payloads,
                    events = total.events,
                    bookings,
                    "retention removed what is old"
                );
            }
            tokio::time::sleep(EVERY.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        }
    };
    lifecycle.soft.run_until_cancelled(rounds).await;
}

/// One round: until a transaction finds nothing more.
async fn purge(store: &dyn Store, ages: Ages) -> Purged {
    let now = clock::now();
    let before = |age: Duration| now.checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
    let mut total = Purged::default();
    loop {
        let purge = Purge { payloads_before: before(ages.payload), events_before: before(ages.dedupe), limit: AT_ONCE };
        match store.purge(purge).await {
            Ok(purged) => {
                total.payloads += purged.payloads;
                total.events += purged.events;
                if purged.payloads + purged.events == 0 {
                    return total;
                }
            }
            Err(error) => {
                report(&error);
                return total;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same for bookings; by the store's clock, which wrote their times.
async fn purge_bookings(store: &dyn Store, ledger: Duration) -> u64 {
    let mut total = 0;
    loop {
        match store.purge_bookings(ledger, AT_ONCE).await {
            Ok(0) => return total,
            Ok(purged) => total += purged,
            Err(error) => {
                report(&error);
                return total;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn report(error: &StoreError) {
    tracing::warn!(error = %Chain(error), "retention failed: trying again later");
}
