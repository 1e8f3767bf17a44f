//! Retention: removes old payloads and, later, old events, a few at a time.

use std::{sync::Arc, time::Duration};

use crate::{
    lifecycle::Lifecycle,
    model::{chain::Chain, clock},
    store::{Purge, Purged, Store},
};

/// Between two rounds.
const EVERY: Duration = Duration::from_mins(10);
/// Events in one transaction: short enough that no delivery waits for it.
const AT_ONCE: u32 = 500;
/// Between two transactions of a round.
const PAUSE: Duration = Duration::from_millis(100);

/// Purges at intervals until the soft token is cancelled. The first round begins at once: a service that is
/// started or reloaded more often than the interval would otherwise never purge.
pub async fn run(store: Arc<dyn Store>, payload: Duration, dedupe: Duration, lifecycle: Lifecycle) {
    let rounds = async {
        loop {
            let total = purge(&*store, payload, dedupe).await;
            if total != Purged::default() {
                tracing::info!(payloads = total.payloads, events = total.events, "retention removed what is old");
            }
            tokio::time::sleep(EVERY.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        }
    };
    lifecycle.soft.run_until_cancelled(rounds).await;
}

/// One round: until a transaction finds less than it could have removed.
async fn purge(store: &dyn Store, payload: Duration, dedupe: Duration) -> Purged {
    let now = clock::now();
    let before = |age: Duration| now.checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
    let mut total = Purged::default();
    loop {
        let purge = Purge { payloads_before: before(payload), events_before: before(dedupe), limit: AT_ONCE };
        match store.purge(purge).await {
            Ok(purged) => {
                total.payloads += purged.payloads;
                total.events += purged.events;
                if purged.payloads + purged.events == 0 {
                    return total;
                }
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "retention failed: trying again later");
                return total;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
