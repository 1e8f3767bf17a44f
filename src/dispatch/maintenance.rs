//! Periodic work: retention, correcting due times that a wrong clock has postponed, and comparing the counts with the
//! queue.
//!
//! Retention removes old payloads and, later, old events and bookings, a few at a time. It does not trust the clock
//! blindly, see [`crate::store::retention`].

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    lifecycle::Lifecycle,
    model::{chain::Chain, clock},
    store::{Purge, Purged, Store, StoreError, retention::RetentionTime},
};

/// The time between two searches for postponed dispatches.
const LOOK: Duration = Duration::from_mins(1);
/// The time between two rounds of retention.
const EVERY: Duration = Duration::from_mins(10);
/// The most events or bookings in one transaction, so that no delivery waits long.
const AT_ONCE: u32 = 500;
/// The pause between two transactions of a round.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a doubt about the clock is reported.
const TELL: Duration = Duration::from_hours(6);

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// How long payloads are kept after the event was received.
    pub payload: Duration,
    /// How long events and everything that belongs to them are kept after they were received.
    pub dedupe: Duration,
    /// How long bookings are kept after they were finished.
    pub ledger: Duration,
}

/// Works periodically until the soft token is cancelled. The first round begins at once, since a service that is restarted
/// or reloaded more often than the interval would otherwise never purge.
pub async fn run(store: Arc<dyn Store>, ages: Ages, lifecycle: Lifecycle) {
    let mut retention = Retention { store, ages, looked: None, told: None };
    let rounds = async {
        let mut next_round = Instant::now();
        loop {
            bring_back(&*retention.store).await;
            if next_round <= Instant::now() {
                recount(&*retention.store).await;
                retention.round().await;
                next_round = Instant::now() + EVERY.mul_f64(0.9 + 0.2 * rand::random::<f64>());
            }
            tokio::time::sleep(LOOK.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        }
    };
    lifecycle.soft.run_until_cancelled(rounds).await;
}

async fn bring_back(store: &dyn Store) {
    match store.bring_back(None).await {
        Ok(0) => {}
        Ok(dispatches) => tracing::warn!(
            dispatches,
            "the clock was set back: the dispatches that it had postponed are due after their normal wait"
        ),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "could not look for dispatches that a change of the clock has postponed");
        }
    }
}

async fn recount(store: &dyn Store) {
    match store.recount().await {
        Ok(0) => {}
        Ok(counts) => {
            tracing::warn!(
                counts,
                "the counts of the queue were corrected: the database was changed past its triggers"
            );
        }
        Err(error) => tracing::warn!(error = %Chain(&error), "could not compare the counts with the queue"),
    }
}

struct Retention {
    store: Arc<dyn Store>,
    ages: Ages,
    /// When this process last read the store's clock.
    looked: Option<Instant>,
    /// When a doubt was last reported.
    told: Option<Instant>,
}

impl Retention {
    async fn round(&mut self) {
        let now = Instant::now();
        let ran = self.looked.map_or(Duration::ZERO, |looked| now - looked);
        let time = match self.store.retention_time(ran, None).await {
            Ok(time) => time,
            Err(error) => return report(&error),
        };
        self.looked = Some(now);
        self.tell(&time);
        // A failure of one does not prevent the other.
        let total = self.purge(&time).await;
        // The store computes the ages from its own clock.
        let behind = clock::since(time.now, time.clock);
        let bookings = purge_bookings(&*self.store, self.ages.ledger.saturating_add(behind)).await;
        if let Err(error) = self.store.purge_sessions().await {
            report(&error);
        }
        if total != Purged::default() || bookings > 0 {
            tracing::info!(payloads = total.payloads, events = total.events, bookings, "retention deleted old data");
        }
    }

    /// Reports from time to time that the clock is doubted, and once that it is trusted again.
    fn tell(&mut self, time: &RetentionTime) {
        let Some(left) = time.doubted_for else {
            if self.told.take().is_some() {
                tracing::info!(clock = %time.clock, "retention trusts the clock again");
            }
            return;
        };
        if self.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        self.told = Some(Instant::now());
        tracing::warn!(
            clock = %time.clock, retention_time = %time.now, believed_after_hours = left.as_secs().div_ceil(3600),
            "the clock is more than a day away from when retention last ran: nothing is deleted until this has \
             lasted for a day. If the service was stopped for that long, there is nothing to do; otherwise, set the clock"
        );
    }

    /// One round, until all old rows have been handled.
    async fn purge(&self, time: &RetentionTime) -> Purged {
        let before = |age: Duration| time.now.checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
        let purge = Purge {
            payloads_before: before(self.ages.payload),
            events_before: before(self.ages.dedupe),
            limit: AT_ONCE,
        };
        let mut total = Purged::default();
        let mut from = None;
        loop {
            match self.store.purge_from(purge, from).await {
                Ok((purged, next)) => {
                    total.payloads += purged.payloads;
                    total.events += purged.events;
                    if next.is_none() {
                        return total;
                    }
                    from = next;
                }
                Err(error) => {
                    report(&error);
                    return total;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One round for bookings.
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
