//! Runs one piece of work after another in the same place: a sink's worker, and later its successor.
//!
//! The previous work is asked to finish, and its successor begins when it has ended. The two never run at the same time, so
//! that limits (of the rate, of concurrent attempts) and locks (on a file) hold across a reload. The caller does not wait,
//! and places do not wait for each other. If several successors are ordered meanwhile, only the last one begins.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::lifecycle::Lifecycle;

/// Starts tasks in a part of the lifecycle.
type Work = Box<dyn FnOnce(&Lifecycle) + Send>;

struct Order {
    /// The successor; `None` leaves the place empty.
    work: Option<Work>,
    /// How long the previous work may take to finish.
    patience: Duration,
}

/// A place for work. Its task lives as long as the service.
#[derive(Debug)]
pub(super) struct Succession(mpsc::UnboundedSender<Order>);

impl Succession {
    /// An empty place.
    pub(super) fn new(whole: &Lifecycle) -> Self {
        let (orders, waiting) = mpsc::unbounded_channel();
        whole.spawn("succession", follow(waiting, whole.clone()));
        Self(orders)
    }

    /// Replaces the current work by this one.
    pub(super) fn replace(&self, patience: Duration, work: impl FnOnce(&Lifecycle) + Send + 'static) {
        self.order(Order { work: Some(Box::new(work)), patience });
    }

    /// Ends the current work.
    pub(super) fn end(&self, patience: Duration) {
        self.order(Order { work: None, patience });
    }

    fn order(&self, order: Order) {
        // The receiver is gone only while the service stops, and then nothing may follow.
        let _ = self.0.send(order);
    }
}

async fn follow(mut orders: mpsc::UnboundedReceiver<Order>, whole: Lifecycle) {
    let mut before: Option<Lifecycle> = None;
    loop {
        let order = tokio::select! {
            biased;
            () = whole.soft.cancelled() => return,
            order = orders.recv() => order,
        };
        let Some(mut order) = order else { return whole.soft.cancelled().await };
        if let Some(part) = before.take() {
            // The successor is kept here until the previous work has ended.
            part.stop(order.patience).await;
        }
        while let Ok(later) = orders.try_recv() {
            order = later;
        }
        // A service that stops starts no successor.
        if whole.soft.is_cancelled() {
            return;
        }
        if let Some(work) = order.work {
            let part = whole.part();
            work(&part);
            before = Some(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc::UnboundedSender, oneshot};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Reports its beginning, and its end once it was released.
    fn work(
        name: &'static str,
        said: &UnboundedSender<String>,
        go: oneshot::Receiver<()>,
    ) -> impl FnOnce(&Lifecycle) + Send + use<> {
        let said = said.clone();
        move |part: &Lifecycle| {
            let (soft, hard) = (part.soft.clone(), part.hard.clone());
            part.spawn("work", async move {
                said.send(format!("{name} begins")).unwrap();
                soft.cancelled().await;
                tokio::select! {
                    _ = go => said.send(format!("{name} ends")).unwrap(),
                    () = hard.cancelled() => said.send(format!("{name} is cut off")).unwrap(),
                }
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_follows_the_other_and_the_last_order_counts() {
        let whole = Lifecycle::new();
        let (said, mut hear) = mpsc::unbounded_channel();
        let (place, other) = (Succession::new(&whole), Succession::new(&whole));
        let (go, gone) = oneshot::channel();
        place.replace(PATIENCE, work("first", &said, gone));
        assert_eq!(hear.recv().await.unwrap(), "first begins");
        let (_kept, never) = oneshot::channel();
        place.replace(PATIENCE, work("second", &said, never));
        let (go_third, third) = oneshot::channel();
        place.replace(PATIENCE, work("third", &said, third));
        let (_stays, never) = oneshot::channel();
        other.replace(PATIENCE, work("other", &said, never));
        assert_eq!(hear.recv().await.unwrap(), "other begins", "no place waits for another");
        go.send(()).unwrap();
        assert_eq!(hear.recv().await.unwrap(), "first ends");
        assert_eq!(hear.recv().await.unwrap(), "third begins", "the second was never begun");
        place.end(PATIENCE);
        go_third.send(()).unwrap();
        assert_eq!(hear.recv().await.unwrap(), "third ends");
        assert!(!whole.stop(Duration::from_secs(1)).await, "the other is stubborn");
        assert_eq!(hear.recv().await.unwrap(), "other is cut off");
        assert!(!whole.failed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_cut_off_after_the_patience_and_nothing_follows_a_stop() {
        let whole = Lifecycle::new();
        let (said, mut hear) = mpsc::unbounded_channel();
        let place = Succession::new(&whole);
        let (_first, never) = oneshot::channel();
        place.replace(PATIENCE, work("first", &said, never));
        assert_eq!(hear.recv().await.unwrap(), "first begins");
        let (_second, never) = oneshot::channel();
        place.replace(PATIENCE, work("second", &said, never));
        assert_eq!(hear.recv().await.unwrap(), "first is cut off");
        assert_eq!(hear.recv().await.unwrap(), "second begins");
        let (_third, never) = oneshot::channel();
        place.replace(PATIENCE, work("third", &said, never));
        tokio::task::yield_now().await;
        whole.stop(Duration::from_secs(1)).await;
        assert_eq!(hear.recv().await.unwrap(), "second is cut off");
        drop((said, place));
        assert_eq!(hear.recv().await, None, "the third was never begun");
        assert!(!whole.failed());
    }
}
