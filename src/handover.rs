//! Where the receiving half hands fresh dispatches to a sink's worker of the same process, so that no claim is needed.
//!
//! ```text
//! worker:     publish how much it would take ─┐                       ┌─▶ receive
//!                                             ▼                       │
//! committer:                    reserve ─▶ commit as leased ─▶ answer ─▶ hand over
//! ```
//!
//! A [`Reservation`] is a free slot that waits for a dispatch. Reserved is before the commit, so that nothing is leased
//! that the worker cannot take; handed over is after it, so that nothing is sent that might not be stored. A reservation
//! that is not used frees its slot when it is dropped. The row is the promise here too: whatever is lost on this way is
//! a lease that expires (docs/decisions/0037-fresh-events-are-handed-over.md).
//!
//! A worker opens its [`Desk`] when it starts and closes it when it stops. What was reserved before that still arrives,
//! and the worker returns it to the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use crate::model::{
    dispatch::{LeasedDispatch, Order},
    id::SinkName,
};

/// A leased dispatch on its way to an attempt, and since when it is leased by this process's clock.
#[derive(Debug)]
pub struct Queued {
    /// The dispatch.
    pub dispatch: LeasedDispatch,
    /// Taken just before the store was asked for the lease, so that the lease is never assumed to be longer than it is.
    pub at: Instant,
}

/// A number of dispatches and the bytes of their payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// How many.
    pub dispatches: usize,
    /// How many bytes.
    pub bytes: u64,
}

impl Load {
    fn add(&mut self, bytes: u64) {
        self.dispatches += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, other: Load) {
        self.dispatches = self.dispatches.saturating_sub(other.dispatches);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

#[derive(Debug, Default)]
struct Tally {
    /// What the worker would take, with what is on its way already.
    room: Load,
    /// Reserved, or handed over and not counted by the worker yet.
    on_its_way: Load,
}

/// What both sides of a desk share.
#[derive(Debug, Default)]
struct Shared {
    tally: Mutex<Tally>,
    freed: Arc<Notify>,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A desk as the receiving half sees it.
#[derive(Debug)]
struct Counter {
    order: Order,
    lease: Duration,
    shared: Arc<Shared>,
    sender: mpsc::UnboundedSender<Queued>,
}

/// The open desks of this process, one for each sink. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Handover(Arc<Mutex<HashMap<SinkName, Counter>>>);

impl Handover {
    /// Opens the desk of a sink's worker, in place of an earlier one. Nothing is reserved until the worker publishes room.
    pub fn open(&self, sink: &SinkName, order: Order, lease: Duration) -> Desk {
        // Not bounded by itself, but by the reservations: there are never more than the worker has published room for.
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::<Shared>::default();
        self.desks().insert(sink.clone(), Counter { order, lease, shared: shared.clone(), sender });
        Desk { handover: self.clone(), sink: sink.clone(), shared, receiver, received: Load::default() }
    }

    /// Reserves a slot of the sink's worker for a payload of this size, if there is one.
    pub fn reserve(&self, sink: &SinkName, bytes: usize) -> Option<Reservation> {
        let bytes = bytes as u64;
        let desks = self.desks();
        let counter = desks.get(sink)?;
        let mut tally = counter.shared.tally();
        let Tally { room, on_its_way } = &mut *tally;
        if on_its_way.dispatches >= room.dispatches || on_its_way.bytes + bytes > room.bytes {
            return None;
        }
        on_its_way.add(bytes);
        Some(Reservation {
            order: counter.order,
            lease: counter.lease,
            shared: counter.shared.clone(),
            sender: counter.sender.clone(),
            unused: Load { dispatches: 1, bytes },
        })
    }

    fn desks(&self) -> MutexGuard<'_, HashMap<SinkName, Counter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reserved slot. Dropping it frees the slot.
#[derive(Debug)]
pub struct Reservation {
    /// The order that the worker keeps.
    pub order: Order,
    /// How long the worker's leases last.
    pub lease: Duration,
    shared: Arc<Shared>,
    sender: mpsc::UnboundedSender<Queued>,
    unused: Load,
}

impl Reservation {
    /// Hands a dispatch over.
    ///
    /// # Errors
    /// Returns the dispatch if the worker has ended.
    pub fn hand_over(mut self, queued: Queued) -> Result<(), Box<Queued>> {
        self.sender.send(queued).map_err(|refused| Box::new(refused.0))?;
        self.unused = Load::default();
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.unused.dispatches > 0 {
            self.shared.tally().on_its_way.remove(self.unused);
            self.shared.freed.notify_one();
        }
    }
}

/// A desk as its worker sees it. Dropping it closes it.
#[derive(Debug)]
pub struct Desk {
    handover: Handover,
    sink: SinkName,
    shared: Arc<Shared>,
    receiver: mpsc::UnboundedReceiver<Queued>,
    /// Received, and still counted as on its way.
    received: Load,
}

impl Desk {
    /// The next dispatch that was handed over; `None` once the desk is closed and nothing more is on its way. Dropping
    /// the future loses nothing.
    pub async fn receive(&mut self) -> Option<Queued> {
        let queued = self.receiver.recv().await?;
        Some(self.count(queued))
    }

    /// The next dispatch that was handed over, without waiting.
    pub fn try_receive(&mut self) -> Option<Queued> {
        let queued = self.receiver.try_recv().ok()?;
        Some(self.count(queued))
    }

    /// Notified when a slot has been freed that was reserved.
    pub fn freed(&self) -> Arc<Notify> {
        self.shared.freed.clone()
    }

    fn count(&mut self, queued: Queued) -> Queued {
        self.received.add(queued.dispatch.payload.len() as u64);
        queued
    }

    /// Publishes how much the worker would take, beside what it has received so far. `decide` gets what is on its way,
    /// and its first answer is published: with less than that, nothing more can be reserved for now. Nothing is reserved
    /// in the meantime, so that the worker can use the rest in another way.
    pub fn publish<T>(&mut self, decide: impl FnOnce(Load) -> (Load, T)) -> T {
        let mut tally = self.shared.tally();
        tally.on_its_way.remove(std::mem::take(&mut self.received));
        let (room, answer) = decide(tally.on_its_way);
        tally.room = room;
        answer
    }

    /// Ends reserving. What was reserved before still arrives.
    pub fn close(&mut self) {
        self.shared.tally().room = Load::default();
        let mut desks = self.handover.desks();
        // A successor may have opened its desk already.
        if desks.get(&self.sink).is_some_and(|counter| Arc::ptr_eq(&counter.shared, &self.shared)) {
            desks.remove(&self.sink);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{
        clock,
        dispatch::Trigger,
        id::{DispatchId, EventId, LeaseToken},
    };

    fn queued(id: i64, bytes: usize) -> Queued {
        let dispatch = LeasedDispatch {
            id: DispatchId(id),
            token: LeaseToken::generate(),
            attempts: 0,
            trigger: Trigger::Event,
            age: Duration::ZERO,
            event_id: EventId::generate(),
            endpoint: "main".into(),
            event_type: "payment.received".into(),
            invoice_id: None,
            received_at: clock::now(),
            content_type: None,
            payload: Bytes::from(vec![b'x'; bytes]),
        };
        Queued { dispatch, at: Instant::now() }
    }

    fn erp() -> SinkName {
        SinkName::new("erp").unwrap()
    }

    fn open(handover: &Handover) -> Desk {
        handover.open(&erp(), Order::Invoice, Duration::from_secs(20))
    }

    fn publish(desk: &mut Desk, dispatches: usize, bytes: u64) -> Load {
        desk.publish(|on_its_way| (Load { dispatches, bytes }, on_its_way))
    }

    #[tokio::test]
    async fn no_more_is_reserved_than_was_published() {
        let handover = Handover::default();
        assert!(handover.reserve(&erp(), 1).is_none(), "there is no desk");
        let mut desk = open(&handover);
        assert!(handover.reserve(&erp(), 1).is_none(), "it has published nothing");
        publish(&mut desk, 2, 100);
        assert!(handover.reserve(&SinkName::new("other").unwrap(), 1).is_none());
        assert!(handover.reserve(&erp(), 101).is_none(), "too many bytes");
        let first = handover.reserve(&erp(), 60).unwrap();
        assert_eq!((first.order, first.lease), (Order::Invoice, Duration::from_secs(20)));
        assert!(handover.reserve(&erp(), 41).is_none(), "too many bytes with the first");
        let second = handover.reserve(&erp(), 40).unwrap();
        assert!(handover.reserve(&erp(), 0).is_none(), "both are taken");
        drop(second);
        let second = handover.reserve(&erp(), 40).expect("what is not used is free again");

        first.hand_over(queued(1, 60)).unwrap();
        assert!(handover.reserve(&erp(), 0).is_none(), "on its way");
        assert_eq!(desk.receive().await.unwrap().dispatch.id, DispatchId(1));
        assert!(handover.reserve(&erp(), 0).is_none(), "until the worker has counted what it has");
        assert_eq!(publish(&mut desk, 2, 40), Load { dispatches: 1, bytes: 40 }, "the second is on its way");
        drop(second);
        assert!(handover.reserve(&erp(), 40).is_some());
        publish(&mut desk, 0, 40);
        assert!(handover.reserve(&erp(), 0).is_none());
    }

    #[tokio::test]
    async fn what_was_reserved_arrives_after_the_desk_was_closed() {
        let handover = Handover::default();
        let mut desk = open(&handover);
        publish(&mut desk, 3, 100);
        let [first, second, third] = [(); 3].map(|()| handover.reserve(&erp(), 1).unwrap());
        desk.close();
        assert!(handover.reserve(&erp(), 1).is_none());
        first.hand_over(queued(1, 1)).unwrap();
        assert_eq!(desk.receive().await.unwrap().dispatch.id, DispatchId(1));
        drop(second);
        assert!(desk.try_receive().is_none());
        third.hand_over(queued(3, 1)).unwrap();
        assert_eq!(desk.receive().await.unwrap().dispatch.id, DispatchId(3));
        assert!(desk.receive().await.is_none(), "nothing more is on its way");
    }

    #[tokio::test]
    async fn a_successor_takes_the_place_and_a_worker_that_has_ended_takes_nothing() {
        let handover = Handover::default();
        let mut before = open(&handover);
        publish(&mut before, 1, 100);
        let old = handover.reserve(&erp(), 1).unwrap();
        let mut after = open(&handover);
        publish(&mut after, 1, 100);
        drop(before);
        assert_eq!(old.hand_over(queued(7, 1)).unwrap_err().dispatch.id, DispatchId(7), "it comes back");
        handover.reserve(&erp(), 1).expect("the successor's desk is open").hand_over(queued(8, 1)).unwrap();
        assert_eq!(after.receive().await.unwrap().dispatch.id, DispatchId(8));
    }
}
