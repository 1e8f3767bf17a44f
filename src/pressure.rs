//! Accepting deliveries has priority: this limits how much of the database's time the relaying half takes.
//!
//! Both halves use the same database. After each claim and each record of outcomes, the relaying half pauses for a few
//! milliseconds, so that what arrives meanwhile shares a transaction: claiming one dispatch costs nearly as much as claiming
//! ten. Without load there is no delay. When deliveries queue up for the store, the pause is as long as the preceding work:
//! relaying then gets at most half of the time, in larger groups, and accepting gets the rest. Stored events are safe and
//! can wait; a sender that waits too long sends again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// How many waiting deliveries count as a queue; fewer fit into the next transaction anyway.
const QUEUE: usize = 16;
/// The shortest pause. It delays an event that follows another one within this time.
const SHORTEST: Duration = Duration::from_millis(4);
/// The longest pause, so that relaying continues even if the database is slow.
const LONGEST: Duration = Duration::from_millis(50);

/// The number of deliveries that wait for the store; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Pressure(Arc<AtomicUsize>);

/// A waiting delivery. Dropping it ends the wait.
#[derive(Debug)]
pub struct Waiting(Pressure);

impl Pressure {
    /// Counts one more waiting delivery.
    pub fn wait(&self) -> Waiting {
        self.0.fetch_add(1, Relaxed);
        Waiting(self.clone())
    }

    /// How long the relaying half should pause after work on the database of this duration.
    pub fn breather(&self, took: Duration) -> Duration {
        if self.0.load(Relaxed) >= QUEUE { took.clamp(SHORTEST, LONGEST) } else { SHORTEST }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_breather_while_deliveries_queue() {
        let (pressure, took) = (Pressure::default(), Duration::from_millis(7));
        let few: Vec<_> = (1..QUEUE).map(|_| pressure.wait()).collect();
        assert_eq!(pressure.breather(took), SHORTEST);
        let one_more = pressure.wait();
        assert_eq!(pressure.breather(took), took);
        assert_eq!(pressure.breather(Duration::from_secs(9)), LONGEST, "relaying never stops");
        drop(one_more);
        assert_eq!(pressure.breather(took), SHORTEST);
        drop(few);
        assert_eq!(pressure.0.load(Relaxed), 0);
    }
}
