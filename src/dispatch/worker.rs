//! The worker of one sink: claims dispatches, runs attempts in its slots, passes the outcomes on.
//!
//! It claims when it has room, when it is woken, when the store said that something becomes due, and at least every `POLL`.
//! While attempts are quick, it claims a few more dispatches than it has slots, so that no slot is idle during a claim. While
//! attempts are slow it does not, since the lease of a waiting dispatch runs. It also claims no more while a few mebibytes
//! wait in memory. A dispatch whose lease would expire during an attempt is not started but returned.

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
    Feeding,
    attempt::{self, Queued},
    breaker::{Breaker, Change, Switch},
    recorder::Recorder,
};
use crate::{
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
/// Besides the dispatches that can start at once, about as many are claimed as the slots finish in this time.
const AHEAD: Duration = Duration::from_millis(200);
/// How often a worker with a tripped sink checks whether other replicas could deliver.
const LISTEN: Duration = Duration::from_millis(250);
/// The most dispatches of one claim, whose answer contains their payloads.
const MOST_AT_ONCE: usize = 512;
/// How much longer than an attempt the remaining lease of a dispatch must last for the attempt to start.
const LEASE_RESERVE: Duration = Duration::from_secs(1);

/// What the workers of all sinks share.
pub struct Shared {
    /// Where dispatches are claimed.
    pub store: Arc<dyn Store>,
    /// Where outcomes are recorded.
    pub recorder: Recorder,
    /// Whether deliveries wait for the store.
    pub pressure: Pressure,
}

/// The worker of one sink, see the module.
pub struct Worker {
    store: Arc<dyn Store>,
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
    /// What the store said about the sink when it tripped; `None` while it is not tripped.
    signs: Option<SinkSigns>,
}

type Listening = BoxFuture<'static, Result<SinkSigns, StoreError>>;

type Claiming = BoxFuture<'static, (Instant, Result<store::Claimed, StoreError>)>;

impl Worker {
    /// A worker for one sink.
    pub fn new(shared: Shared, sink: Arc<dyn Sink>, feeding: Feeding, switch: Switch, metrics: SinkMetrics) -> Self {
        Self {
            store: shared.store,
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
            signs: None,
        }
    }

    /// Works until the soft token is cancelled. It then lets running attempts end (or drops them if the hard token is
    /// cancelled) and returns every unused lease.
    pub async fn run(mut self, lifecycle: Lifecycle) {
        // Before the first query, so that nothing that is written from now on is missed.
        let wakeup = self.store.wakeups().of(&self.feeding.name);
        let mut look_at = Instant::now();
        // No query before this time, so that there is more to claim.
        let mut not_before = Instant::now();
        let mut claiming: Option<Claiming> = None;
        // Other replicas may deliver to a sink that is tripped here. Without a shared store there are none.
        let mut listening: Option<Listening> = None;
        let mut listen_at = Instant::now();
        loop {
            self.start_attempts().await;
            let is_tripped = self.breaker.switch().is_open();
            if !is_tripped {
                self.signs = None;
                listen_at = Instant::now();
            }
            let may_listen = is_tripped && listening.is_none() && self.store.is_shared();
            let room = if claiming.is_none() { self.room() } else { 0 };
            look_at = look_at.max(not_before);
            if room > 0 && look_at <= Instant::now() {
                claiming = Some(self.claim(room));
                look_at = Instant::now() + POLL;
            }
            let may_look = room > 0 && claiming.is_none();
            tokio::select! {
                () = lifecycle.soft.cancelled() => break,
                Some((at, result)) = OptionFuture::from(claiming.as_mut()) => {
                    claiming = None;
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
                () = sleep_until(look_at), if may_look => {}
                Some(ended) = self.running.join_next_with_id() => self.ended(ended).await,
                () = sleep_until(self.wait_until.unwrap_or(look_at)), if self.wait_until.is_some() => {
                    self.wait_until = None;
                    look_at = Instant::now();
                }
            }
        }
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

    /// How many more dispatches to claim now.
    fn room(&mut self) -> usize {
        // No more than the rate limit allows: in the store, a waiting dispatch keeps its place.
        let rate = self.rate.as_mut().map_or(usize::MAX, |rate| rate.allowed(Instant::now()).0);
        self.room_in_slots().min(rate.saturating_sub(self.queue.len()))
    }

    fn room_in_slots(&self) -> usize {
        let slots = self.feeding.concurrency.get() as usize;
        if self.wait_until.is_some() {
            return 0;
        }
        // The bytes of one claim are the most that may wait in memory, even if earlier bodies were small.
        let waiting: u64 = self.queue.iter().map(|claimed| claimed.dispatch.payload.len() as u64).sum();
        if waiting >= store::CLAIM_BYTES / 2 {
            return 0;
        }
        if self.breaker.is_careful() {
            let (allowed, _) = self.breaker.allowed(slots, self.running.len(), Instant::now());
            return allowed.saturating_sub(self.queue.len());
        }
        let ahead = self.typical.map_or(0, |typical| {
            let ahead = AHEAD.as_micros() * u128::from(self.feeding.concurrency.get()) / typical.as_micros().max(1);
            usize::try_from(ahead).map_or(MOST_AT_ONCE, |ahead| ahead.min(MOST_AT_ONCE))
        });
        let room = (slots + ahead).saturating_sub(self.queue.len() + self.running.len());
        // A small claim costs as much as a large one, so wait until there is room for several dispatches.
        let worthwhile = (ahead / 2).max(1);
        if room >= worthwhile { room.min(MOST_AT_ONCE) } else { 0 }
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
        self.typical = Some(match self.typical {
            None => finished.duration,
            Some(typical) => (typical * 7 + finished.duration) / 8,
        });
        let change = match &finished.outcome {
            Outcome::Retry { .. } => self.breaker.failure(Instant::now(), finished.duration),
            Outcome::Delivered
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
        let unused = self.queue.drain(..).map(|claimed| (claimed.dispatch.id, claimed.dispatch.token)).collect();
        self.give_back(unused).await;
        loop {
            tokio::select! {
                biased;
                ended = self.running.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended).await,
                    None => return,
                },
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
