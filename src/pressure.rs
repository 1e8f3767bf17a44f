//! Accepts come first: how much of the database's time the relaying half takes.
//!
//! Both halves use the same database. After each claim and each record of outcomes the relaying half
//! takes a breather of a few milliseconds, so that what arrives meanwhile shares a transaction: a
//! claim of one costs nearly as much as a claim of ten. After a silence nothing is held back. When
//! deliveries queue up for the store, the breather is as long as the work was: relaying gets at most
//! half of the time that it could use, in still larger groups, and the senders get the rest. Events that are
//! stored are safe and can wait; a sender that waits too long sends again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// So many waiting deliveries are a queue; fewer go into the next transaction anyway.
const QUEUE: usize = 16;
/// No breather is shorter. An event that follows another one within this time is relayed so much later.
const SHORTEST: Duration = Duration::from_millis(4);
/// No breather is longer, so that relaying goes on however slow the database is.
const LONGEST: Duration = Duration::from_millis(50);

/// The number of deliveries that wait for the store; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Pressure(Arc<AtomicUsize>);

/// One delivery that waits, until this is dropped.
#[derive(Debug)]
pub struct Waiting(Pressure);

impl Pressure {
    /// One more delivery waits.
    pub fn wait(&self) -> Waiting {
        self.0.fetch_add(1, Relaxed);
        Waiting(self.clone())
    }

    /// How long the relaying half should leave the database alone after work that took so long.
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
