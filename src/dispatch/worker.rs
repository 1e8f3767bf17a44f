//! The worker of one sink: takes dispatches, runs attempts in its slots, passes the outcomes on.
//!
//! Fresh dispatches are handed over to it by the [committer](crate::ingest) of this process: it publishes at its
//! [`Desk`] how many more it would take. Others it claims: when it is woken, when the store said that something becomes due,
//! and at least every `POLL`.
//!
//! While attempts are quick, it takes a few more dispatches than it has slots, so that no slot is idle meanwhile. While
//! attempts are slow it does not, since the lease of a waiting dispatch runs. It also takes no more while a few mebibytes
//! wait in memory. A dispatch whose lease would expire during an attempt is not started but returned.
//!
//! While it has to claim, it shares its room: see `Worker::share`.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, OptionFuture};
use outgoing::rate::Rate;
use tokio::{
    task::{Id, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Feeding, Source, attempt,
    breaker::{Breaker, Change, Switch},
    recorder::Recorder,
};
use crate::{
    handover::{Desk, Handover, Load, Queued},
    lifecycle::Lifecycle,
    model::{
        backoff,
        chain::Chain,
        dispatch::{FinishedAttempt, Outcome},
        id::{DispatchId, LeaseToken},
    },
    pressure::Pressure,
    sinks::Sink,
    store::{self, Claim, Store, StoreError, breaker::SinkSigns},
    telemetry::SinkMetrics,
};

/// How often the worker queries the store at least, in case a wake-up is lost.
const POLL: Duration = Duration::from_secs(5);
/// Besides the dispatches that can start at once, about as many are taken as the slots finish in this time.
const AHEAD: Duration = Duration::from_millis(200);
/// How often a worker with a tripped sink checks whether other replicas could deliver.
const LISTEN: Duration = Duration::from_millis(250);
/// The most dispatches of one claim, whose answer contains their payloads.
const MOST_AT_ONCE: usize = 512;
/// How much longer than an attempt the remaining lease of a dispatch must last for the attempt to start.
const LEASE_RESERVE: Duration = Duration::from_secs(1);

/// What the workers of all sinks share.
pub struct Shared<S: ?Sized = dyn Store> {
    /// Where dispatches are claimed.
    pub store: Arc<S>,
    /// Where outcomes are recorded.
    pub recorder: Recorder,
    /// Whether deliveries wait for the store.
    pub pressure: Pressure,
    /// Where fresh dispatches come from.
    pub handover: Handover,
}

/// The worker of one sink, see the module.
pub struct Worker<S: ?Sized = dyn Store> {
    store: Arc<S>,
    desk: Desk,
    recorder: Recorder,
    pressure: Pressure,
    sink: Arc<dyn Sink>,
    feeding: Arc<Feeding>,
    metrics: SinkMetrics,
    breaker: Breaker,
    rate: Option<Rate>,
    queue: VecDeque<Queued>,
    running: JoinSet<(FinishedAttempt, Instant)>,
    leases: HashMap<Id, (DispatchId, LeaseToken)>,
    /// A moving average of the duration of attempts.
    typical: Option<Duration>,
    failed_claims: u32,
    /// Until then, the breaker or the rate limit allows no attempt, and nothing is claimed.
    wait_until: Option<Instant>,
    /// How many dispatches the running claim may bring; 0 if none is running.
    asked_for: usize,
    /// True if something was handed over since the last claim began.
    is_fed: bool,
    /// True if the last claim found the sink paused.
    is_paused: bool,
    /// What the store said about the sink when it tripped; `None` while it is not tripped.
    signs: Option<SinkSigns>,
}

type Listening = BoxFuture<'static, Result<SinkSigns, StoreError>>;

type Claiming = BoxFuture<'static, (Instant, Result<store::Claimed, StoreError>)>;

impl<S: Source + ?Sized> Worker<S> {
    /// A worker for one sink.
    pub fn new(shared: Shared<S>, sink: Arc<dyn Sink>, feeding: Feeding, switch: Switch, metrics: SinkMetrics) -> Self {
        Self {
            store: shared.store,
            desk: shared.handover.open(&feeding.name, feeding.order, feeding.lease()),
            recorder: shared.recorder,
            pressure: shared.pressure,
            sink,
            breaker: Breaker::new(feeding.breaker.0, feeding.breaker.1, switch),
            rate: feeding.rate.map(|(requests, per)| Rate::new(requests, per)),
            feeding: Arc::new(feeding),
            metrics,
            queue: VecDeque::new(),
            running: JoinSet::new(),
            leases: HashMap::new(),
            typical: None,
            failed_claims: 0,
            wait_until: None,
            asked_for: 0,
            is_fed: false,
            is_paused: false,
            signs: None,
        }
    }

    /// Works until the soft token is cancelled. It then lets running attempts end (or drops them if the hard token is
    /// cancelled) and returns every unused lease.
    pub async fn run(mut self, lifecycle: Lifecycle) {
        // Before the first query, so that nothing that is written from now on is missed.
        let wakeup = self.store.wakeups().of(&self.feeding.name);
        let freed = self.desk.freed();
        let mut look_at = Instant::now();
        // No query before this time, so that there is more to claim.
        let mut not_before = Instant::now();
        let mut claiming: Option<Claiming> = None;
        // Other replicas may deliver to a sink that is tripped here. Without a shared store there are none.
        let mut listening: Option<Listening> = None;
        let mut listen_at = Instant::now();
        loop {
            while let Some(queued) = self.desk.try_receive() {
                self.handed(queued);
            }
            self.start_attempts().await;
            let is_tripped = self.breaker.switch().is_open();
            if !is_tripped {
                self.signs = None;
                listen_at = Instant::now();
            }
            let may_listen = is_tripped && listening.is_none() && self.store.is_shared();
            let now = Instant::now();
            let is_due = look_at <= now && claiming.is_none();
            let (may_look, limit) = self.share(is_due, not_before <= now);
            if limit > 0 {
                claiming = Some(self.claim(limit));
                look_at = now + POLL;
            }
            tokio::select! {
                () = lifecycle.soft.cancelled() => break,
                Some((at, result)) = OptionFuture::from(claiming.as_mut()) => {
                    claiming = None;
                    self.asked_for = 0;
                    let found = self.queue.len();
                    look_at = look_at.min(self.take(at, result));
                    if self.queue.len() > found {
                        not_before = Instant::now() + self.pressure.breather(at.elapsed());
                    }
                }
                () = wakeup.notified() => {
                    look_at = Instant::now();
                    listen_at = listen_at.min(look_at + LISTEN);
                }
                () = sleep_until(listen_at), if may_listen => {
                    listening = Some(self.listen());
                    listen_at = Instant::now() + POLL;
                }
                Some(heard) = OptionFuture::from(listening.as_mut()) => {
                    listening = None;
                    if self.hear(heard) {
                        look_at = Instant::now();
                    }
                }
                () = sleep_until(look_at.max(not_before)), if may_look && limit == 0 => {}
                Some(queued) = self.desk.receive() => self.handed(queued),
                () = freed.notified(), if is_due && limit == 0 => {}
                Some(ended) = self.running.join_next_with_id() => {
                    self.ended(ended).await;
                    while let Some(ended) = self.running.try_join_next_with_id() {
                        self.ended(ended).await;
                    }
                }
                () = sleep_until(self.wait_until.unwrap_or(look_at)), if self.wait_until.is_some() => {
                    self.wait_until = None;
                    look_at = Instant::now();
                }
            }
        }
        self.desk.close();
        // A running claim may succeed, and its leases must not be lost.
        if let Some(claiming) = claiming {
            tokio::select! {
                (at, result) = claiming => {
                    self.take(at, result);
                }
                () = lifecycle.hard.cancelled() => {}
            }
        }
        self.stop(&lifecycle).await;
    }

    /// Starts the attempts that may start, and notes until when the breaker or the rate limit prevents more.
    async fn start_attempts(&mut self) {
        let slots = self.feeding.concurrency.get() as usize;
        let mut unused = Vec::new();
        loop {
            let now = Instant::now();
            let (allowed, ask_again) = self.breaker.allowed(slots, self.running.len(), now);
            if allowed == 0 {
                self.wait_until = ask_again;
                break;
            }
            if let Some((0, ask_again)) = self.rate.as_mut().map(|rate| rate.allowed(now)) {
                self.wait_until = ask_again;
                break;
            }
            // The breaker may have been changed meanwhile.
            self.wait_until = None;
            let Some(next) = self.queue.front() else { break };
            if next.at + self.feeding.lease() < now + self.feeding.timeout + LEASE_RESERVE {
                unused.extend(self.queue.pop_front());
                continue;
            }
            if let Some(queued) = self.queue.pop_front() {
                self.start(queued);
            }
        }
        // A dispatch that cannot start soon is returned to the store, where no lease expires.
        if self.wait_until.is_some_and(|until| until > Instant::now() + Duration::from_secs(1)) {
            unused.extend(self.queue.drain(..));
        }
        self.give_back(unused.iter().map(|queued| (queued.dispatch.id, queued.dispatch.token)).collect()).await;
    }

    fn start(&mut self, queued: Queued) {
        let (sink, feeding) = (self.sink.clone(), self.feeding.clone());
        let lease = (queued.dispatch.id, queued.dispatch.token);
        let lease_ends = queued.at + feeding.lease();
        let task = self.running.spawn(async move { (attempt::run(&sink, &feeding, &queued).await, lease_ends) });
        self.leases.insert(task.id(), lease);
        if let Some(rate) = &mut self.rate {
            rate.start();
        }
    }

    fn handed(&mut self, queued: Queued) {
        self.is_fed = true;
        self.queue.push_back(queued);
    }

    /// Shares the room between what is handed over and a claim: publishes the first part, and answers whether there is room
    /// that is worth a claim, and how many dispatches to claim now. A claim is `due` if the store may have work, and `allowed`
    /// if the last one was not just now.
    ///
    /// Without a claim everything is published. A claim that is due gets room to begin with, and half of the room if fresh
    /// dispatches come too, else nearly all of it. So a backlog is worked off, and fresh dispatches are handed over
    /// meanwhile: if all of them had to be claimed, which costs more, they might never catch up.
    fn share(&mut self, due: bool, allowed: bool) -> (bool, usize) {
        let (room, worthwhile) = self.room();
        // These wait in memory: not more than the bytes of one claim, even if earlier bodies were small.
        let waiting: u64 = self.queue.iter().map(|queued| queued.dispatch.payload.len() as u64).sum();
        let bytes = (store::CLAIM_BYTES / 2).saturating_sub(waiting);
        let (is_claiming, is_fed, is_paused) = (self.asked_for > 0, self.is_fed, self.is_paused);
        let (is_worthwhile, limit) = self.desk.publish(|on_its_way| {
            let free = if bytes > on_its_way.bytes { room.saturating_sub(on_its_way.dispatches) } else { 0 };
            let is_worthwhile = !is_claiming && free >= worthwhile;
            let limit = match (is_worthwhile && due && allowed, is_fed) {
                (false, _) => 0,
                (true, true) => free.div_ceil(2),
                (true, false) => free - free / 8,
            };
            let limit = limit.min(MOST_AT_ONCE);
            let kept = if limit == 0 && due && !is_claiming { worthwhile } else { limit };
            let dispatches = if is_paused { 0 } else { room.saturating_sub(kept) };
            (Load { dispatches, bytes }, (is_worthwhile, limit))
        });
        if limit > 0 {
            (self.asked_for, self.is_fed) = (limit, false);
        }
        (is_worthwhile, limit)
    }

    /// How many more dispatches the worker would take, and how many are worth a claim.
    fn room(&mut self) -> (usize, usize) {
        // No more than the rate limit allows: in the store, a waiting dispatch keeps its place.
        let rate = self.rate.as_mut().map_or(usize::MAX, |rate| rate.allowed(Instant::now()).0);
        let rate = rate.saturating_sub(self.queue.len() + self.asked_for);
        let (room, worthwhile) = self.room_in_slots();
        (room.min(rate), worthwhile.min(rate).max(1))
    }

    fn room_in_slots(&self) -> (usize, usize) {
        let slots = self.feeding.concurrency.get() as usize;
        let taken = self.queue.len() + self.asked_for;
        if self.wait_until.is_some() {
            return (0, 1);
        }
        if self.breaker.is_careful() {
            let (allowed, _) = self.breaker.allowed(slots, self.running.len(), Instant::now());
            return (allowed.saturating_sub(taken), 1);
        }
        let ahead = self.typical.map_or(0, |typical| {
            let ahead = AHEAD.as_micros() * u128::from(self.feeding.concurrency.get()) / typical.as_micros().max(1);
            usize::try_from(ahead).map_or(MOST_AT_ONCE, |ahead| ahead.min(MOST_AT_ONCE))
        });
        // A small claim costs as much as a large one, so wait until there is room for several dispatches.
        ((slots + ahead).saturating_sub(taken + self.running.len()), (ahead / 2).max(1))
    }

    /// Claims in a task of its own, since the worker also awaits other things meanwhile (it returns leases and passes outcomes
    /// on). A claim that is not polled would keep the connection that those wait for; SQLite has only one.
    fn claim(&self, room: usize) -> Claiming {
        let (store, feeding) = (self.store.clone(), self.feeding.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let at = Instant::now();
            let claim = Claim {
                sink: &feeding.name,
                order: feeding.order,
                limit: u32::try_from(room).unwrap_or(u32::MAX),
                lease: feeding.lease(),
                longest_wait: feeding.retry.max,
                now: None,
            };
            (at, store.claim_due(claim).await)
        }));
        Box::pin(async move {
            match task.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(claimed) => claimed,
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and the worker with it.
                Err(Err(_)) => std::future::pending().await,
            }
        })
    }

    /// Asks the store whether another replica has delivered something, or a person has asked for another try.
    fn listen(&self) -> Listening {
        let (store, feeding) = (self.store.clone(), self.feeding.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(async move { store.sink_signs(&feeding.name).await }));
        Box::pin(async move {
            match task.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(heard) => heard,
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                Err(Err(_)) => std::future::pending().await,
            }
        })
    }

    /// True if the sink is tried again. A failure of the store is reported by the next claim.
    fn hear(&mut self, heard: Result<SinkSigns, StoreError>) -> bool {
        let Ok(signs) = heard else { return false };
        let is_new = self.signs.as_ref().is_some_and(|before| *before != signs);
        self.signs = Some(signs);
        let tries = is_new && self.breaker.switch().try_again();
        if tries {
            tracing::info!(
                sink.name = %self.feeding.name,
                "another replica reached the sink, or a person asked for a retry: the sink is tried again"
            );
        }
        tries
    }

    /// Handles the answer to a claim; answers when to query the store again.
    fn take(&mut self, at: Instant, result: Result<store::Claimed, StoreError>) -> Instant {
        let now = Instant::now();
        match result {
            Ok(claimed) => {
                self.failed_claims = 0;
                self.is_paused = claimed.paused;
                let is_idle = claimed.dispatches.is_empty() && self.queue.is_empty() && self.running.is_empty();
                if is_idle && claimed.next_due_in.is_none() && !claimed.paused && self.breaker.switch().try_again() {
                    tracing::info!(
                        sink.name = %self.feeding.name,
                        "no event is left to probe the sink with, so it no longer counts as tripped: the next event \
                         is tried alone"
                    );
                }
                self.queue.extend(claimed.dispatches.into_iter().map(|dispatch| Queued { dispatch, at }));
                now + claimed.next_due_in.map_or(POLL, |due| due.min(POLL))
            }
            Err(error) => {
                self.failed_claims = self.failed_claims.saturating_add(1);
                tracing::error!(
                    sink.name = %self.feeding.name, error = %Chain(&error),
                    "dispatches could not be claimed: trying again"
                );
                let (first, most) = (Duration::from_millis(100), Duration::from_secs(2));
                now + backoff::next_wait(first, most, self.failed_claims, rand::random())
            }
        }
    }

    async fn ended(&mut self, ended: Result<(Id, (FinishedAttempt, Instant)), tokio::task::JoinError>) {
        if let Some(rate) = &mut self.rate {
            rate.end(Instant::now());
        }
        let (finished, lease_ends) = match ended {
            Ok((task, ended)) => {
                self.leases.remove(&task);
                ended
            }
            Err(error) => {
                // Attempts catch panics of sinks, so this is a bug in the worker or an abort.
                tracing::error!(sink.name = %self.feeding.name, %error, "an attempt ended unexpectedly");
                let lease = self.leases.remove(&error.id());
                return self.give_back(lease.into_iter().collect()).await;
            }
        };
        self.metrics.observe(finished.outcome.as_str(), finished.duration);
        self.metrics.ended(&finished.outcome, &finished.next);
        self.typical = Some(match self.typical {
            None => finished.duration,
            Some(typical) => (typical * 7 + finished.duration) / 8,
        });
        let change = match &finished.outcome {
            Outcome::Retry { .. } => self.breaker.failure(Instant::now(), finished.duration),
            Outcome::Delivered
            | Outcome::Partly { .. }
            | Outcome::Rejected { .. }
            | Outcome::Wait { .. }
            | Outcome::Stop { .. }
            | Outcome::Hold { .. } => self.breaker.success(),
        };
        let sink = &self.feeding.name;
        match change {
            Change::None => {}
            Change::Tripped => tracing::error!(
                sink.name = %sink, reason = finished.outcome.reason(), probe_secs = self.feeding.breaker.1.as_secs_f64(),
                "the sink failed too many times in a row: its events wait, and the relay only probes it"
            ),
            Change::Closed => tracing::info!(sink.name = %sink, "the sink works again"),
        }
        self.recorder.record(finished, lease_ends).await;
    }

    async fn stop(mut self, lifecycle: &Lifecycle) {
        let mut is_expecting = true;
        while is_expecting || !self.running.is_empty() {
            // Also what was reserved before the desk was closed, and comes only now.
            self.queue.extend(std::iter::from_fn(|| self.desk.try_receive()));
            let unused = self.queue.drain(..).map(|queued| (queued.dispatch.id, queued.dispatch.token)).collect();
            self.give_back(unused).await;
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id() => self.ended(ended).await,
                queued = self.desk.receive(), if is_expecting => {
                    is_expecting = queued.is_some();
                    self.queue.extend(queued);
                }
                () = lifecycle.hard.cancelled() => break,
            }
        }
        self.running.shutdown().await;
        let cut_off = self.leases.drain().map(|(_, lease)| lease).collect();
        self.give_back(cut_off).await;
    }

    async fn give_back(&self, leases: Vec<(DispatchId, LeaseToken)>) {
        if leases.is_empty() {
            return;
        }
        if let Err(error) = self.store.give_back(&leases).await {
            tracing::warn!(
                sink.name = %self.feeding.name, error = %Chain(&error), leases = leases.len(),
                "leases could not be released: they expire by themselves"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroU32,
        sync::{
            Mutex, MutexGuard,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
    };

    use async_trait::async_trait;
    use bytes::Bytes;
    use jiff::Timestamp;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        handover::Reservation,
        model::{
            clock,
            dispatch::{LeasedDispatch, Order, RetryPolicy, Trigger},
            id::{EventId, SinkName},
        },
        sinks::Message,
        store::{BaseStore, BreakerStore, Claimed, Finish, LeaseStore, Paused, wake::Wakeups},
        telemetry::Metrics,
    };

    /// A store that notes what a worker asks of it.
    #[derive(Debug, Default)]
    struct Noted {
        wakeups: Wakeups,
        notes: Mutex<Notes>,
    }

    #[derive(Debug, Default)]
    struct Notes {
        /// The limits of the claims.
        claims: Vec<u32>,
        /// What the next claim hands out.
        due: Vec<LeasedDispatch>,
        finished: Vec<i64>,
        given_back: Vec<i64>,
    }

    impl Noted {
        fn notes(&self) -> MutexGuard<'_, Notes> {
            self.notes.lock().unwrap()
        }
    }

    #[async_trait]
    impl BaseStore for Noted {
        fn kind(&self) -> &'static str {
            "noted"
        }

        fn is_shared(&self) -> bool {
            false
        }

        fn wakeups(&self) -> &Wakeups {
            &self.wakeups
        }

        async fn migrate(&self) -> Result<usize, StoreError> {
            Ok(0)
        }

        async fn ready(&self) -> Result<(), StoreError> {
            Ok(())
        }

        async fn close(&self) {}
    }

    #[async_trait]
    impl LeaseStore for Noted {
        async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError> {
            let mut notes = self.notes();
            notes.claims.push(claim.limit);
            Ok(Claimed { dispatches: std::mem::take(&mut notes.due), ..Claimed::default() })
        }

        async fn finish_attempts(
            &self,
            batch: &[FinishedAttempt],
            _now: Option<Timestamp>,
        ) -> Result<Vec<Finish>, StoreError> {
            self.notes().finished.extend(batch.iter().map(|finished| finished.id.0));
            Ok(vec![Finish::Recorded; batch.len()])
        }

        async fn give_back(&self, leases: &[(DispatchId, LeaseToken)]) -> Result<u64, StoreError> {
            self.notes().given_back.extend(leases.iter().map(|(id, _)| id.0));
            Ok(leases.len() as u64)
        }

        async fn expire_leases(&self) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    #[async_trait]
    impl BreakerStore for Noted {
        async fn sink_signs(&self, _sink: &SinkName) -> Result<SinkSigns, StoreError> {
            Ok(SinkSigns::default())
        }

        async fn ask_sink_again(&self, _sink: &SinkName) -> Result<(), StoreError> {
            Ok(())
        }

        async fn paused_sinks(&self) -> Result<Vec<(String, Paused)>, StoreError> {
            Ok(Vec::new())
        }
    }

    /// Answers each message with this outcome, as soon as there is a permit.
    #[derive(Debug)]
    struct Target {
        outcome: Outcome,
        permits: Semaphore,
        tried: AtomicU32,
    }

    #[async_trait]
    impl Sink for Target {
        async fn deliver(&self, _: &Message) -> Outcome {
            self.tried.fetch_add(1, Relaxed);
            self.permits.acquire().await.unwrap().forget();
            self.outcome.clone()
        }

        async fn check(&self) -> Result<String, String> {
            Ok("ready".into())
        }
    }

    struct Bench {
        store: Arc<Noted>,
        handover: Handover,
        target: Arc<Target>,
        lifecycle: Lifecycle,
    }

    fn erp() -> SinkName {
        SinkName::new("erp").unwrap()
    }

    impl Bench {
        fn new(outcome: Outcome, permits: usize) -> Self {
            Self {
                store: Arc::default(),
                handover: Handover::default(),
                target: Arc::new(Target { outcome, permits: Semaphore::new(permits), tried: AtomicU32::new(0) }),
                lifecycle: Lifecycle::new(),
            }
        }

        /// A worker whose breaker trips at the first failure.
        fn worker(&self, concurrency: u32) -> Worker<Noted> {
            let (recorder, recording) = Recorder::new(self.store.clone(), Pressure::default());
            tokio::spawn(recording);
            let shared = Shared {
                store: self.store.clone(),
                recorder,
                pressure: Pressure::default(),
                handover: self.handover.clone(),
            };
            let feeding = Feeding {
                name: erp(),
                kind: "test",
                order: Order::Invoice,
                concurrency: NonZeroU32::new(concurrency).unwrap(),
                timeout: Duration::from_secs(10),
                rate: None,
                retry: RetryPolicy {
                    initial: Duration::from_secs(1),
                    max: Duration::from_secs(1),
                    give_up_after: Duration::from_hours(1),
                },
                breaker: (NonZeroU32::MIN, Duration::from_hours(1)),
            };
            Worker::new(shared, self.target.clone(), feeding, Switch::default(), Metrics::new().sink("erp"))
        }

        fn start(&self, concurrency: u32) {
            self.lifecycle.spawn("sink worker", self.worker(concurrency).run(self.lifecycle.clone()));
        }

        /// How many slots can be reserved for payloads of this size.
        fn reservable(&self, bytes: usize) -> usize {
            std::iter::from_fn(|| self.handover.reserve(&erp(), bytes)).collect::<Vec<_>>().len()
        }

        async fn slot(&self) -> Reservation {
            let mut slot = None;
            until("a slot is free", || {
                slot = self.handover.reserve(&erp(), 2);
                slot.is_some()
            })
            .await;
            slot.unwrap()
        }

        async fn hand_over(&self, id: i64) {
            self.slot().await.hand_over(queued(id)).unwrap();
        }

        fn claims(&self) -> usize {
            self.store.notes().claims.len()
        }
    }

    fn queued(id: i64) -> Queued {
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
            payload: Bytes::from_static(b"{}"),
        };
        Queued { dispatch, at: Instant::now() }
    }

    /// Lets the tasks work until the condition holds. No time passes meanwhile, as the clock stands still.
    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..10_000 {
            if holds() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{what}: it never came to that");
    }

    fn failure() -> Outcome {
        Outcome::Retry { reason: "503".into(), after: None }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_handed_over_needs_no_claim() {
        let bench = Bench::new(Outcome::Delivered, 100);
        bench.start(4);
        until("the claim of the start", || bench.claims() == 1).await;
        for id in 1..=20 {
            bench.hand_over(id).await;
        }
        until("an outcome", || !bench.store.notes().finished.is_empty()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.store.notes().finished.len(), 20);
        assert_eq!(bench.claims(), 1, "only the claim of the start");
        bench.store.wakeups.wake([&erp()]);
        until("a claim", || bench.claims() == 2).await;
        tokio::time::sleep(POLL).await;
        until("a claim, as a wake-up may be lost", || bench.claims() == 3).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_gets_its_share_of_the_room() {
        let bench = Bench::new(Outcome::Delivered, 0);
        let mut worker = bench.worker(8);
        assert_eq!(bench.reservable(1), 0, "nothing is published yet");
        assert_eq!(worker.share(false, true), (true, 0));
        assert_eq!(bench.reservable(1), 8, "no claim is due");
        assert_eq!(worker.share(true, false), (true, 0));
        assert_eq!(bench.reservable(1), 7, "a claim is due, but not just now: some room is kept for it");
        let reserved = [(); 4].map(|()| bench.handover.reserve(&erp(), 1).unwrap());
        assert_eq!(worker.share(true, true), (true, 4), "what is reserved is not claimed as well");
        assert_eq!((worker.share(true, true), bench.reservable(1)), ((false, 0), 0), "one claim at a time");
        drop(reserved);
        (worker.asked_for, worker.is_fed) = (0, true);
        assert_eq!(worker.share(true, true), (true, 4), "half of the room, if fresh ones come too");
        assert_eq!(bench.reservable(1), 4);
        worker.asked_for = 0;
        assert_eq!((worker.share(true, true), bench.reservable(1)), ((true, 7), 1), "nearly all, if none came");
        (worker.asked_for, worker.is_paused) = (0, true);
        assert_eq!((worker.share(false, true), bench.reservable(1)), ((true, 0), 0), "a paused sink takes nothing");
        (worker.is_paused, worker.wait_until) = (false, Some(Instant::now()));
        assert_eq!((worker.share(true, true), bench.reservable(1)), ((false, 0), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn quick_attempts_make_room_for_more_and_bytes_limit_it() {
        let bench = Bench::new(Outcome::Delivered, 0);
        let mut worker = bench.worker(8);
        worker.typical = Some(Duration::from_millis(1));
        worker.share(false, true);
        assert_eq!(bench.reservable(1), 8 + MOST_AT_ONCE);
        let half = usize::try_from(store::CLAIM_BYTES / 2).unwrap();
        assert_eq!((bench.reservable(half + 1), bench.reservable(half / 2)), (0, 2));
        let mut large = queued(1);
        large.dispatch.payload = vec![0; half - 9].into();
        worker.handed(large);
        assert_eq!(worker.share(false, true), (true, 0));
        assert_eq!(bench.reservable(5), 1, "what waits counts");
        let _reserved = bench.handover.reserve(&erp(), 9).unwrap();
        assert_eq!(worker.share(true, true), (false, 0), "and what is on its way: no claim beside it");
        // While a claim is due, offers do not eat up the room that is worth a claim.
        worker.queue.clear();
        assert_eq!(worker.share(true, false), (true, 0));
        assert_eq!(bench.reservable(1), 8 + MOST_AT_ONCE - MOST_AT_ONCE / 2 - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_is_freed_lets_a_claim_begin() {
        let bench = Bench::new(Outcome::Delivered, 0);
        bench.start(1);
        until("the claim of the start", || bench.claims() == 1).await;
        let slot = bench.slot().await;
        bench.store.wakeups.wake([&erp()]);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.claims(), 1, "the only slot is reserved");
        drop(slot);
        until("a claim", || bench.claims() == 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_reserved_before_the_stop_is_given_back() {
        let bench = Bench::new(Outcome::Delivered, 0);
        bench.start(3);
        until("the claim of the start", || bench.claims() == 1).await;
        let (tried, late) = (bench.slot().await, bench.slot().await);
        tried.hand_over(queued(1)).unwrap();
        until("one is tried", || bench.target.tried.load(Relaxed) == 1).await;
        bench.lifecycle.soft.cancel();
        until("the desk is closed", || bench.reservable(1) == 0).await;
        late.hand_over(queued(2)).unwrap();
        until("it is given back", || bench.store.notes().given_back == [2]).await;
        bench.target.permits.add_permits(1);
        assert!(bench.lifecycle.stop(Duration::from_mins(1)).await, "the worker has ended");
        assert_eq!(bench.store.notes().finished, [1], "the running attempt was let end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_trips_gives_back_what_waits_and_takes_no_more() {
        let bench = Bench::new(failure(), 0);
        let mut worker = bench.worker(1);
        // So it takes two more than it has slots.
        worker.typical = Some(Duration::from_millis(100));
        bench.lifecycle.spawn("sink worker", worker.run(bench.lifecycle.clone()));
        for id in 1..=3 {
            bench.hand_over(id).await;
        }
        bench.target.permits.add_permits(1);
        until("the others are given back", || bench.store.notes().given_back.len() == 2).await;
        assert_eq!(bench.store.notes().given_back, [2, 3]);
        until("the first is recorded", || bench.store.notes().finished == [1]).await;
        assert_eq!(bench.reservable(1), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_would_not_last_is_given_back() {
        let bench = Bench::new(Outcome::Delivered, 9);
        bench.start(1);
        let slot = bench.slot().await;
        let late = queued(1);
        // The commit took long: of the lease is left what an attempt may take, and no reserve.
        tokio::time::advance(Duration::from_millis(9_500)).await;
        slot.hand_over(late).unwrap();
        until("it is given back", || bench.store.notes().given_back == [1]).await;
        bench.hand_over(2).await;
        until("the next is tried", || bench.store.notes().finished == [2]).await;
    }
}
