//! Commits in groups: deliveries that arrive at the same time share one transaction.
//!
//! A flush to disk costs the same for one event as for a hundred. Callers put their event into a bounded queue; a writer
//! takes all waiting events, up to [`Limits::batch`], records them in one transaction and answers each caller. An idle
//! system commits a single event at once, and the groups become larger with the load. While a transaction waits for the
//! disk, a second one may begin if there is a crowd.
//!
//! Failures: a full queue rejects at once ([`Refused::QueueFull`]). An event whose caller has given up is skipped, since the
//! sender was asked to try again. If the database rejects a group because of its content, its events are recorded one by
//! one, so that a bad event affects no other.
//!
//! Fresh dispatches skip the queue of the database: before a group is recorded, free slots of the sinks' workers are
//! reserved for it, and the store records those dispatches as leased. After the commit the callers are answered, and then
//! the workers get the dispatches from memory (docs/decisions/0037-fresh-events-are-handed-over.md).

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::Refused;
use crate::{
    handover::{Handover, Queued, Reservation},
    model::{
        chain::Chain,
        clock,
        dispatch::{LeasedDispatch, Order, Trigger},
        event::{NewEvent, Recorded},
        id::{DispatchId, LeaseToken},
    },
    pressure::{self, Pressure},
    store::{Offer, Store, StoreError, Stored, recording},
};

/// The limits of the queue and of a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most events that may wait. If the queue is full, further deliveries are answered 503: their sender would hang up
    /// before they could be committed.
    pub queue: usize,
    /// The most events in one transaction.
    pub batch: usize,
    /// The most payload bytes in one transaction; a larger event gets its own transaction.
    pub batch_bytes: usize,
    /// A transaction that takes longer is abandoned, so that a database that hangs does not block the writer forever; the
    /// store closes the connection.
    pub timeout: Duration,
}

/// How many transactions may be under way. While one waits for the disk, the next is carried out.
const UNDER_WAY: usize = 2;
/// A second transaction begins only with so many events: smaller ones cost the database more than the overlap gains.
const CROWD: usize = 32;

type Answer = Result<Recorded, Arc<StoreError>>;

#[derive(Debug)]
struct Waiting {
    event: NewEvent,
    answer: oneshot::Sender<Answer>,
    /// Counts the event as waiting until it is answered.
    pressure: pressure::Waiting,
    since: Instant,
}

/// The state of the writer, for the readiness check. Clones share it.
#[derive(Debug, Clone)]
pub struct Backlog {
    /// Weak, so that reading the state does not keep the queue open.
    queue: mpsc::WeakSender<Waiting>,
    progress: Arc<Progress>,
}

/// The state that the writer publishes.
#[derive(Debug)]
struct Progress {
    /// The origin of the times below.
    begun: Instant,
    /// Since when the oldest delivery waits, in microseconds; [`NOBODY`] if none waits.
    oldest: AtomicU64,
    /// True if the last transaction failed because the store was unavailable.
    failed: AtomicBool,
    /// What that transaction tried to do, for people.
    failure: Mutex<String>,
}

/// No delivery waits.
const NOBODY: u64 = u64::MAX;

impl Progress {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            oldest: AtomicU64::new(NOBODY),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// The oldest of the events that the writer has taken has waited since then. Events in the queue came later.
    fn holds(&self, oldest: Option<Instant>) {
        let oldest = oldest.map_or(NOBODY, |since| {
            u64::try_from(since.saturating_duration_since(self.begun).as_micros()).unwrap_or(NOBODY)
        });
        self.oldest.store(oldest, Relaxed);
    }

    fn ended(&self, result: Result<(), &StoreError>) {
        match result {
            Err(error) if error.is_unavailable() => {
                *self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = error.to_string();
                self.failed.store(true, Relaxed);
            }
            // A rejection because of an event's content says nothing about the next event.
            Err(_) => {}
            Ok(()) => self.failed.store(false, Relaxed),
        }
    }
}

impl Backlog {
    /// True if the queue is full.
    pub fn is_full(&self) -> bool {
        self.queue.upgrade().is_some_and(|queue| queue.capacity() == 0)
    }

    /// How long the oldest delivery has waited; zero if none waits.
    pub fn oldest(&self) -> Duration {
        match self.progress.oldest.load(Relaxed) {
            NOBODY => Duration::ZERO,
            since => self.progress.begun.elapsed().saturating_sub(Duration::from_micros(since)),
        }
    }

    /// What the last transaction tried to do, if it failed because the store was unavailable.
    pub fn failure(&self) -> Option<String> {
        let failed = self.progress.failed.load(Relaxed);
        failed.then(|| self.progress.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }

    /// Clears the failure, since something was committed after it.
    pub fn works_again(&self) {
        self.progress.failed.store(false, Relaxed);
    }
}

/// A handle to the writer, which ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Committer {
    queue: mpsc::Sender<Waiting>,
    pressure: Pressure,
    handover: Handover,
    progress: Arc<Progress>,
}

impl Committer {
    /// Creates the queue and the writer's future, which the caller spawns. The writer answers the waiting events and ends when
    /// every [`Committer`] has been dropped.
    ///
    /// There is one writer. It has at most `UNDER_WAY` transactions under way, and a second one only for many events:
    /// more and smaller ones cost the database more than the overlap gains (docs/decisions/0002).
    pub fn new(
        store: &Arc<dyn Store>,
        limits: Limits,
        pressure: Pressure,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(limits.queue.max(1));
        let (progress, handover) = (Arc::new(Progress::new()), Handover::default());
        let bounded = Bounded { store: store.clone(), timeout: limits.timeout, progress: progress.clone() };
        let writing = write(bounded, waiting, limits, handover.clone());
        (Self { queue, pressure, handover, progress }, writing)
    }

    /// The number of waiting deliveries, for the relaying half.
    pub fn pressure(&self) -> &Pressure {
        &self.pressure
    }

    /// Where the workers of this process get fresh dispatches.
    pub fn handover(&self) -> &Handover {
        &self.handover
    }

    /// The state of the writer.
    pub fn backlog(&self) -> Backlog {
        Backlog { queue: self.queue.downgrade(), progress: self.progress.clone() }
    }

    /// Passes an event to the writer; the receiver gets the outcome.
    pub(super) fn commit(&self, event: NewEvent) -> Result<oneshot::Receiver<Answer>, Refused> {
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting { event, answer, pressure: self.pressure.wait(), since: Instant::now() };
        self.queue.try_send(waiting).map_err(|_| Refused::QueueFull)?;
        Ok(receiver)
    }
}

async fn write(target: Bounded, mut queue: mpsc::Receiver<Waiting>, limits: Limits, handover: Handover) {
    let most = limits.batch.max(1);
    let (mut taken, mut is_open) = (Vec::with_capacity(most), true);
    let mut under_way = FuturesUnordered::new();
    // Since when the oldest of each group under way has waited.
    let mut oldest: Vec<Instant> = Vec::new();
    while is_open || !under_way.is_empty() {
        let room = most - taken.len();
        tokio::select! {
            Some(since) = under_way.next() => {
                if let Some(place) = oldest.iter().position(|other| *other == since) {
                    oldest.swap_remove(place);
                }
            }
            count = queue.recv_many(&mut taken, room), if is_open && room > 0 => is_open = count > 0,
        }
        taken.retain(|waiting| !waiting.answer.is_closed());
        while !taken.is_empty() && (under_way.is_empty() || (under_way.len() < UNDER_WAY && taken.len() >= CROWD)) {
            let count = fitting(&taken, limits.batch_bytes);
            let group: Vec<_> = taken.drain(..count).collect();
            oldest.push(group[0].since);
            under_way.push(commit(&target, &handover, group));
        }
        target.progress.holds(oldest.iter().copied().chain(taken.first().map(|waiting| waiting.since)).min());
    }
}

/// Commits one group, answers its callers and hands its dispatches over. Returns since when the first of them waited.
async fn commit(target: &Bounded, handover: &Handover, group: Vec<Waiting>) -> Instant {
    let since = group[0].since;
    let (events, answers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|waiting| (waiting.event, (waiting.answer, waiting.pressure))).unzip();
    let (results, leased) = record(target, handover, &events).await;
    for ((answer, pressure), result) in answers.into_iter().zip(results) {
        // The caller may have gone; the event is stored anyway.
        let _ = answer.send(result);
        drop(pressure);
    }
    hand_over(&target.store, &events, leased);
    since
}

/// How many of the first events fit into one transaction, at least one.
fn fitting(waiting: &[Waiting], batch_bytes: usize) -> usize {
    let mut bytes = 0;
    waiting
        .iter()
        .take_while(|waiting| {
            bytes += waiting.event.payload.len();
            bytes <= batch_bytes
        })
        .count()
        .max(1)
}

/// A fresh dispatch that is leased to the worker of a reserved slot.
#[derive(Debug)]
struct Leased {
    reservation: Reservation,
    /// The event's place in the group.
    event: usize,
    id: DispatchId,
    token: LeaseToken,
    /// Taken before the commit.
    at: Instant,
}

/// Reserves slots for a group of events, in their order. Each offer has its reservation, at the same place.
///
/// For a sink that keeps the order there is one offer for each invoice: the next dispatch has to wait anyway.
fn offers(handover: &Handover, events: &[NewEvent]) -> (Vec<Offer>, Vec<Reservation>) {
    let mut lanes = HashSet::new();
    let wanted = events.iter().enumerate().flat_map(|(place, event)| event.sinks.iter().map(move |sink| (place, sink)));
    wanted
        .filter_map(|(place, sink)| {
            let event = &events[place];
            let reservation = handover.reserve(sink, event.payload.len());
            let keeps_order = reservation.as_ref().is_none_or(|slot| slot.order == Order::Invoice);
            if keeps_order && event.invoice_id.as_ref().is_some_and(|invoice| !lanes.insert((sink, invoice))) {
                return None;
            }
            let reservation = reservation?;
            let (order, lease) = (reservation.order, reservation.lease);
            let offer = Offer { event: place, sink: sink.clone(), order, lease, token: LeaseToken::generate() };
            Some((offer, reservation))
        })
        .unzip()
}

/// Records events with offers. The events begin at this place of their group.
async fn record_offering(
    target: &impl Recording,
    handover: &Handover,
    events: &[NewEvent],
    first: usize,
) -> Result<(Vec<Recorded>, Vec<Leased>), StoreError> {
    let (offers, reservations) = offers(handover, events);
    let at = Instant::now();
    // After an error the commit may have happened all the same. Such leases expire.
    let stored = target.record(events, &offers).await?;
    let leased = reservations.into_iter().zip(offers).zip(stored.leased).filter_map(|((reservation, offer), id)| {
        Some(Leased { reservation, event: first + offer.event, id: id?, token: offer.token, at })
    });
    Ok((stored.events, leased.collect()))
}

/// Gives the workers what was leased to them.
fn hand_over(store: &Arc<dyn Store>, events: &[NewEvent], leased: Vec<Leased>) {
    let mut refused = Vec::new();
    // The dispatches of an event share a copy of its payload. What the event itself has may be a small part of the buffer
    // into which the request was read, and would keep all of it.
    let mut copy: Option<(usize, Bytes)> = None;
    for Leased { reservation, event: place, id, token, at } in leased {
        let event = &events[place];
        let payload = match &copy {
            Some((of, payload)) if *of == place => payload.clone(),
            _ => copy.insert((place, Bytes::copy_from_slice(&event.payload))).1.clone(),
        };
        let dispatch = LeasedDispatch {
            id,
            token,
            attempts: 0,
            trigger: Trigger::Event,
            age: Duration::ZERO,
            event_id: event.id,
            endpoint: event.endpoint.as_str().to_owned(),
            event_type: event.event_type.clone(),
            invoice_id: event.invoice_id.clone(),
            // As exact as it is stored.
            received_at: clock::nearest(clock::to_micros(event.received_at)),
            content_type: event.content_type.clone(),
            payload,
        };
        if let Err(queued) = reservation.hand_over(Queued { dispatch, at }) {
            refused.push((queued.dispatch.id, queued.dispatch.token));
        }
    }
    if !refused.is_empty() {
        let store = store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.give_back(&refused).await {
                tracing::warn!(
                    error = %Chain(&error), leases = refused.len(),
                    "leases could not be released: they expire by themselves"
                );
            }
        });
    }
}

/// Records a group, or each event alone if the group was rejected because of its content.
async fn record(target: &impl Recording, handover: &Handover, events: &[NewEvent]) -> (Vec<Answer>, Vec<Leased>) {
    let error = match record_offering(target, handover, events, 0).await {
        Ok((recorded, leased)) => return (recorded.into_iter().map(Ok).collect(), leased),
        Err(error) => error,
    };
    if error.is_unavailable() || events.len() == 1 {
        tracing::error!(
            error = %Chain(&error),
            events = events.len(),
            "deliveries could not be stored: Finkare is asked to retry them"
        );
        let error = Arc::new(error);
        return (events.iter().map(|_| Err(error.clone())).collect(), Vec::new());
    }
    let (mut answers, mut all_leased) = (Vec::with_capacity(events.len()), Vec::new());
    for (place, event) in events.iter().enumerate() {
        let answer = record_offering(target, handover, std::slice::from_ref(event), place).await;
        if let Err(error) = &answer {
            tracing::error!(
                error = %Chain(error), event.id = %event.id,
                "a delivery could not be stored: Finkare is asked to retry it"
            );
        }
        answers.push(answer.map_err(Arc::new).map(|(recorded, leased)| {
            all_leased.extend(leased);
            recorded[0]
        }));
    }
    (answers, all_leased)
}

/// Records groups of events: the store, or a replacement in tests.
#[async_trait]
trait Recording: Sync {
    async fn record(&self, events: &[NewEvent], offers: &[Offer]) -> Result<Stored, StoreError>;
}

/// The store, with a time limit.
#[derive(Debug)]
struct Bounded {
    store: Arc<dyn Store>,
    timeout: Duration,
    progress: Arc<Progress>,
}

#[async_trait]
impl Recording for Bounded {
    async fn record(&self, events: &[NewEvent], offers: &[Offer]) -> Result<Stored, StoreError> {
        let result = match tokio::time::timeout(self.timeout, self.store.record_offering(events, offers)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unavailable {
                action: format!("{} (time limit: {:?})", recording(events.len()), self.timeout),
                source: sqlx::Error::PoolTimedOut,
            }),
        };
        self.progress.ended(result.as_ref().map(drop));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bytes::Bytes;

    use super::*;
    use crate::{
        handover::{Desk, Load},
        model::{
            event::DedupeKey,
            id::{EndpointName, EventId, SinkName},
        },
    };

    fn event(payload: &'static [u8]) -> NewEvent {
        NewEvent {
            id: EventId::generate(),
            endpoint: EndpointName::new("production").unwrap(),
            dedupe_key: DedupeKey::of_message(payload),
            event_type: "payment.received".into(),
            invoice_id: None,
            occurred_at: None,
            received_at: crate::model::clock::now(),
            readable: true,
            content_type: None,
            payload: Bytes::from_static(payload),
            sinks: Vec::new(),
        }
    }

    /// A database that rejects payloads with "poison" and is unavailable for payloads with "outage".
    /// It takes every offer.
    #[derive(Default)]
    struct Database {
        asked: AtomicUsize,
        offered: Mutex<Vec<Offer>>,
    }

    #[async_trait]
    impl Recording for Database {
        async fn record(&self, events: &[NewEvent], offers: &[Offer]) -> Result<Stored, StoreError> {
            let number = i64::try_from(self.asked.fetch_add(1, Relaxed)).unwrap() * 100;
            let holds = |text: &[u8]| events.iter().any(|event| event.payload == text);
            if holds(b"outage") {
                Err(StoreError::Unavailable { action: "store deliveries".into(), source: sqlx::Error::PoolTimedOut })
            } else if holds(b"poison") {
                Err(StoreError::Refused { action: "store deliveries".into(), source: sqlx::Error::RowNotFound })
            } else {
                self.offered.lock().unwrap().extend_from_slice(offers);
                let leased = (number..).map(|id| Some(DispatchId(id))).take(offers.len()).collect();
                Ok(Stored {
                    events: events.iter().map(|event| Recorded { id: event.id, duplicate: false }).collect(),
                    leased,
                })
            }
        }
    }

    #[tokio::test]
    async fn one_refused_event_does_not_fail_its_neighbours() {
        let events = [event(b"one"), event(b"poison"), event(b"two")];
        let (answers, leased) = record(&Database::default(), &Handover::default(), &events).await;
        assert!(leased.is_empty(), "no worker has a desk");
        assert_eq!(answers[0].as_ref().unwrap().id, events[0].id);
        assert!(!answers[1].as_ref().unwrap_err().is_unavailable());
        assert_eq!(answers[2].as_ref().unwrap().id, events[2].id);
    }

    #[tokio::test]
    async fn an_outage_is_not_asked_again_for_each_event() {
        let database = Database::default();
        let events = [event(b"one"), event(b"outage"), event(b"two")];
        let (answers, _) = record(&database, &Handover::default(), &events).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().is_unavailable()));
        assert_eq!(database.asked.into_inner(), 1);
    }

    fn sink(name: &str) -> SinkName {
        SinkName::new(name).unwrap()
    }

    fn desk(handover: &Handover, name: &str, order: Order, dispatches: usize) -> Desk {
        let mut desk = handover.open(&sink(name), order, Duration::from_secs(20));
        publish(&mut desk, dispatches);
        desk
    }

    /// Publishes room; answers how many are on their way.
    fn publish(desk: &mut Desk, dispatches: usize) -> usize {
        desk.publish(|on_its_way| (Load { dispatches, bytes: 1 << 20 }, on_its_way.dispatches))
    }

    fn event_for(payload: &'static [u8], invoice: &str, sinks: &[&str]) -> NewEvent {
        let sinks = sinks.iter().map(|name| sink(name)).collect();
        NewEvent { invoice_id: Some(invoice.into()), sinks, ..event(payload) }
    }

    #[tokio::test]
    async fn slots_are_offered_in_order_and_one_for_each_invoice() {
        let (database, handover) = (Database::default(), Handover::default());
        let mut ordered = desk(&handover, "ordered", Order::Invoice, 2);
        let mut unordered = desk(&handover, "unordered", Order::None, 9);
        let both: &[&str] = &["ordered", "unordered", "elsewhere"];
        let events =
            [("a", b"1"), ("a", b"2"), ("b", b"3"), ("c", b"4")].map(|(invoice, body)| event_for(body, invoice, both));
        let (_, leased) = record(&database, &handover, &events).await;
        let offered = database.offered.lock().unwrap().clone();
        let to = |name| {
            let offers = offered.iter().filter(|offer| offer.sink.as_str() == name);
            offers.map(|offer| offer.event).collect::<Vec<_>>()
        };
        assert_eq!(to("ordered"), [0, 2], "one for each invoice, and no more than there is room for");
        assert_eq!(to("unordered"), [0, 1, 2, 3]);
        assert_eq!(to("elsewhere"), [0; 0]);
        assert!(offered.iter().all(|offer| offer.lease == Duration::from_secs(20)));

        let (_folder, store) = empty_store().await;
        let before = Instant::now();
        hand_over(&store, &events, leased);
        let first = ordered.receive().await.unwrap();
        assert!(first.at <= before, "the lease began before the commit");
        let dispatch = first.dispatch;
        assert_eq!((dispatch.event_id, dispatch.token), (events[0].id, offered[0].token));
        assert_eq!((dispatch.attempts, dispatch.age, dispatch.trigger), (0, Duration::ZERO, Trigger::Event));
        assert_eq!((dispatch.invoice_id.as_deref(), &dispatch.payload[..]), (Some("a"), &b"1"[..]));
        assert_eq!(ordered.receive().await.unwrap().dispatch.event_id, events[2].id);
        let got: Vec<_> =
            std::iter::from_fn(|| unordered.try_receive()).map(|queued| queued.dispatch.event_id).collect();
        assert_eq!(got, events.map(|event| event.id));
    }

    #[tokio::test]
    async fn a_failed_group_frees_its_slots_and_single_events_get_new_offers() {
        let handover = Handover::default();
        let mut erp = desk(&handover, "erp", Order::Invoice, 2);
        let outage = [event_for(b"outage", "a", &["erp"])];
        let (_, leased) = record(&Database::default(), &handover, &outage).await;
        assert_eq!((leased.len(), publish(&mut erp, 2)), (0, 0), "nothing was leased, and nothing is on its way");

        let database = Database::default();
        let events = [event_for(b"poison", "a", &["erp"]), event_for(b"two", "a", &["erp"])];
        let (answers, leased) = record(&database, &handover, &events).await;
        assert!(answers[0].is_err() && answers[1].is_ok());
        assert_eq!((leased.len(), leased[0].event, publish(&mut erp, 2)), (1, 1, 1), "the second event has one slot");
        let (_folder, store) = empty_store().await;
        hand_over(&store, &events, leased);
        assert_eq!(erp.receive().await.unwrap().dispatch.event_id, events[1].id);
    }

    async fn empty_store() -> (tempfile::TempDir, Arc<dyn Store>) {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::sqlite::SqliteStore::open(&folder.path().join("relay.db")).await.unwrap();
        crate::store::BaseStore::migrate(&store).await.unwrap();
        (folder, Arc::new(store))
    }

    fn limits(queue: usize) -> Limits {
        Limits { queue, batch: 8, batch_bytes: 1 << 20, timeout: Duration::from_secs(30) }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (_folder, store) = empty_store().await;
        let (committer, writer) = Committer::new(&store, limits(2), Pressure::default());
        // There is no writer yet, so the events wait.
        let waiting = [committer.commit(event(b"one")).unwrap(), committer.commit(event(b"two")).unwrap()];
        assert!(matches!(committer.commit(event(b"three")), Err(Refused::QueueFull)));
        drop(committer);
        writer.await;
        for answer in waiting {
            assert!(!answer.await.unwrap().unwrap().duplicate, "what waited is recorded, also at the end");
        }
    }

    #[tokio::test]
    async fn the_backlog_tells_of_a_full_queue_and_of_its_end() {
        let (_folder, store) = empty_store().await;
        let (committer, writer) = Committer::new(&store, limits(1), Pressure::default());
        let backlog = committer.backlog();
        assert!(!backlog.is_full() && backlog.oldest().is_zero() && backlog.failure().is_none());
        let waiting = committer.commit(event(b"one")).unwrap();
        assert!(backlog.is_full());
        drop(committer);
        writer.await;
        waiting.await.unwrap().unwrap();
        assert!(!backlog.is_full() && backlog.oldest().is_zero());
    }

    #[test]
    fn the_oldest_is_the_first_in_hand_and_a_failure_lasts_until_a_success() {
        let progress = Arc::new(Progress::new());
        let backlog = Backlog { queue: mpsc::channel(1).0.downgrade(), progress: progress.clone() };
        let now = Instant::now();
        progress.holds(Some(now));
        while backlog.oldest().is_zero() {}
        assert!(backlog.oldest() < Duration::from_hours(1));
        progress.holds(None);
        assert!(backlog.oldest().is_zero());
        let away = StoreError::Unavailable { action: "store deliveries".into(), source: sqlx::Error::PoolTimedOut };
        let refused = StoreError::Refused { action: "store deliveries".into(), source: sqlx::Error::RowNotFound };
        progress.ended(Err(&refused));
        assert_eq!(backlog.failure(), None, "a poisonous event says nothing of the others");
        progress.ended(Err(&away));
        progress.ended(Err(&refused));
        assert!(backlog.failure().is_some_and(|what| what.contains("store deliveries")));
        progress.ended(Ok(()));
        assert_eq!(backlog.failure(), None);
        progress.ended(Err(&away));
        backlog.works_again();
        assert_eq!(backlog.failure(), None);
    }

    #[tokio::test]
    async fn whoever_has_gone_is_passed_over() {
        let (_folder, store) = empty_store().await;
        let (committer, writer) = Committer::new(&store, limits(8), Pressure::default());
        drop(committer.commit(event(b"gone")).unwrap());
        let stays = committer.commit(event(b"stays")).unwrap();
        drop(committer);
        writer.await;
        let kept = store.list_events(&crate::store::EventFilter::default(), 10).await.unwrap().rows;
        assert_eq!(kept.iter().map(|event| event.id).collect::<Vec<_>>(), [stays.await.unwrap().unwrap().id]);
    }

    #[test]
    fn a_transaction_holds_at_least_one_and_not_too_many_bytes() {
        let waiting = |payload| Waiting {
            event: event(payload),
            answer: oneshot::channel().0,
            pressure: Pressure::default().wait(),
            since: Instant::now(),
        };
        let queue = [waiting(b"12345"), waiting(b"12345"), waiting(b"12345")];
        assert_eq!([0, 4, 5, 9, 10, 14, 15, 99].map(|bytes| fitting(&queue, bytes)), [1, 1, 1, 1, 2, 2, 3, 3]);
    }
}
