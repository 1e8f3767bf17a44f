//! Random operations against a simple model in memory.
//!
//! The model knows of each dispatch its state, when it is due, since when it ages and under which token it is leased.
//! It does not know which ones a claim has set aside because it was not their turn: that must not
//! be visible in what is handed out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    DispatchFilter, DispatchId, EventFilter, EventId, Finish, LEASE, LeasedDispatch, NewEvent, Next, Order, Outcome,
    State, Store, Timestamp, all_dispatches, attempt, claim_of, clock, delivered, event, finish, held, rejected,
    retried, secs, sink, start, waiting,
};
use crate::store::Fixture;
use finkare_relay::store::Claim;

/// So many operations on each database, within [`AT_MOST`].
const OPERATIONS: u32 = 500;
const AT_MOST: Duration = Duration::from_secs(8);
const SINKS: [&str; 2] = ["erp", "mail"];

/// One dispatch, as the model sees it.
#[derive(Debug, Clone)]
struct Row {
    sink: String,
    invoice: Option<String>,
    state: State,
    /// As `due_at` would be had no claim set it aside; `None` when nothing happens by itself.
    due: Option<Timestamp>,
    attempts: u32,
    /// When its age began: with the first claim that led to an attempt since its clock began anew.
    aging_since: Option<Timestamp>,
    /// The attempts before its clock began anew.
    ageless: u32,
    lease: Option<LeasedDispatch>,
    /// A claim may have met it when its lease had run out and it was not its turn: then it is
    /// pending again, and the lease is lost.
    lapsed: bool,
}

struct World {
    rng: StdRng,
    now: Timestamp,
    rows: BTreeMap<DispatchId, Row>,
    events: HashMap<EventId, u32>,
    keys: Vec<NewEvent>,
    paused: HashSet<String>,
    /// Leases that were given out at some time, for late answers.
    leases: Vec<(String, LeasedDispatch)>,
    delivered: HashMap<String, u64>,
}

impl World {
    fn row(&mut self, id: DispatchId) -> &mut Row {
        self.rows.get_mut(&id).expect("the store knows no dispatch that the model does not")
    }

    /// True if an earlier dispatch of the same sink and invoice is not finished.
    fn is_blocked(&self, id: DispatchId) -> bool {
        let row = &self.rows[&id];
        row.invoice.is_some()
            && self.rows.range(..id).any(|(_, earlier)| {
                earlier.sink == row.sink && earlier.invoice == row.invoice && !earlier.state.is_finished()
            })
    }

    /// A dead dispatch that a person had tried again waits for a later one of its invoice that was leased meanwhile.
    fn is_in_progress(&self, row: &Row) -> bool {
        let is_leased = |other: &Row| other.sink == row.sink && other.state == State::Leased;
        row.invoice.is_some() && self.rows.values().any(|other| other.invoice == row.invoice && is_leased(other))
    }

    fn is_due(&self, row: &Row) -> bool {
        row.due.is_some_and(|due| due <= self.now)
    }

    async fn record(&mut self, store: &dyn Store) {
        let batch: Vec<NewEvent> = (0..self.rng.random_range(1..6)).map(|_| self.some_event()).collect();
        let known: Vec<DispatchId> = self.rows.keys().copied().collect();
        let answers = store.record_deliveries(&batch).await.unwrap();
        let mut written = Vec::new();
        for (new, answer) in batch.iter().zip(answers) {
            let first = self.keys.iter().find(|known| known.dedupe_key == new.dedupe_key);
            assert_eq!(answer.duplicate, first.is_some());
            assert_eq!(answer.id, first.map_or(new.id, |first| first.id));
            *self.events.entry(answer.id).or_insert(0) += 1;
            if !answer.duplicate {
                self.keys.push(new.clone());
                written.extend(new.sinks.iter().map(|sink| (new.clone(), sink.as_str().to_owned())));
            }
        }
        let page = store.list_dispatches(&DispatchFilter::default(), 20).await.unwrap().rows;
        let numbers =
            page.iter().rev().map(|dispatch| dispatch.id).filter(|id| known.last().is_none_or(|last| id > last));
        let numbers: Vec<DispatchId> = numbers.collect();
        assert_eq!(numbers.len(), written.len(), "one dispatch for each sink of each new event");
        for (id, (new, sink)) in numbers.into_iter().zip(written) {
            let (due, invoice) = (Some(self.now), new.invoice_id);
            let (state, attempts, aging_since, ageless) = (State::Pending, 0, None, 0);
            let row = Row { sink, invoice, state, due, attempts, aging_since, ageless, lease: None, lapsed: false };
            self.rows.insert(id, row);
        }
    }

    /// A new event, or one that is known already.
    fn some_event(&mut self) -> NewEvent {
        if self.rng.random_ratio(1, 4)
            && let Some(known) = self.keys.choose(&mut self.rng)
        {
            return NewEvent { id: EventId::generate(), ..known.clone() };
        }
        let invoice_id = self.rng.random_ratio(4, 5).then(|| format!("i{}", self.rng.random_range(0..4)));
        let sinks = if self.rng.random_ratio(1, 3) { &SINKS[..] } else { &SINKS[..1] };
        NewEvent {
            invoice_id,
            sinks: sinks.iter().map(|name| sink(name)).collect(),
            ..event(&format!("{}", self.rng.random::<u64>()))
        }
    }

    async fn claim(&mut self, store: &dyn Store) {
        let name = *SINKS.choose(&mut self.rng).unwrap();
        let limit = self.rng.random_range(1..8);
        let order = if name == "mail" && self.rng.random_ratio(1, 4) { Order::None } else { Order::Invoice };
        let claimed = store
            .claim_due(Claim {
                sink: &sink(name),
                order,
                limit,
                lease: LEASE,
                longest_wait: Duration::MAX,
                now: Some(self.now),
            })
            .await
            .unwrap();
        assert_eq!(claimed.paused, self.paused.contains(name));
        assert!(claimed.dispatches.len() <= limit as usize);
        assert!(claimed.dispatches.is_sorted_by_key(|lease| lease.id));
        // Judged by the state before the claim: nothing in it may make room for another.
        for lease in &claimed.dispatches {
            let row = &self.rows[&lease.id];
            assert!(!claimed.paused && row.sink == name && self.is_due(row), "{} was handed out: {row:?}", lease.id);
            assert!(order == Order::None || !self.is_blocked(lease.id), "{} was handed out before its turn", lease.id);
            assert_eq!(lease.attempts, row.attempts);
            let age = row.aging_since.map_or(Duration::ZERO, |since| self.now.duration_since(since).unsigned_abs());
            assert_eq!(lease.age, age, "of {}: {row:?}", lease.id);
        }
        for lease in claimed.dispatches.iter().cloned() {
            let (now, due) = (self.now, Some(self.now + LEASE));
            let row = self.row(lease.id);
            row.aging_since = row.aging_since.or(Some(now));
            (row.state, row.due, row.lease, row.lapsed) = (State::Leased, due, Some(lease.clone()), false);
            self.leases.push((name.to_owned(), lease));
        }
        let lapsed = self.rows.iter().filter(|(id, row)| {
            row.sink == name && row.state == State::Leased && self.is_due(row) && self.is_blocked(**id)
        });
        for id in lapsed.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.row(id).lapsed = true;
        }
        // Nothing that may go is left behind without being announced.
        if !claimed.paused && claimed.next_due_in != Some(Duration::ZERO) {
            let left = self.rows.iter().find(|(id, row)| {
                let is_free = !self.is_blocked(**id) && !self.is_in_progress(row);
                row.sink == name && self.is_due(row) && (order == Order::None || is_free)
            });
            assert!(order == Order::None || left.is_none(), "{left:?} could have gone");
        }
    }

    async fn finish(&mut self, store: &dyn Store) {
        let mut batch = Vec::new();
        for _ in 0..self.rng.random_range(1..5) {
            let Some((name, lease)) = self.leases.choose(&mut self.rng).cloned() else { return };
            let wait = secs(self.rng.random_range(0..200));
            let mut answer = match self.rng.random_range(0..10) {
                0..4 => delivered(&lease),
                4..6 => retried(&lease, wait),
                6 => waiting(&lease, wait),
                7 => rejected(&lease),
                8 => held(&lease, Some(wait)),
                _ => held(&lease, None),
            };
            if name == "mail" && self.rng.random_ratio(1, 20) {
                let outcome = Outcome::Stop { reason: "410".into() };
                answer = attempt(&lease, outcome, Next::Pending { after: Duration::ZERO });
            }
            answer.sink = sink(&name);
            batch.push(answer);
        }
        let answers = store.finish_attempts(&batch, Some(self.now)).await.unwrap();
        for (sent, answer) in batch.iter().zip(answers) {
            let now = self.now;
            let row = self.row(sent.id);
            let ours = row.state == State::Leased && row.lease.as_ref().is_some_and(|lease| lease.token == sent.token);
            assert!(answer == Finish::Recorded || !ours || row.lapsed, "{sent:?} was not taken");
            assert!(answer == Finish::LeaseLost || ours, "{sent:?} was taken under an old lease");
            if answer == Finish::LeaseLost {
                continue;
            }
            row.state = sent.next.state();
            row.attempts += 1;
            row.lease = None;
            row.lapsed = false;
            if sent.outcome.restarts_the_clock() {
                (row.aging_since, row.ageless) = (None, row.attempts);
            }
            row.due = match sent.next {
                Next::Delivered | Next::Dead => None,
                Next::Pending { after } => Some(now + after),
                Next::Held { recheck_after } => recheck_after.map(|after| now + after),
            };
            if row.state == State::Delivered {
                *self.delivered.entry(sent.sink.as_str().to_owned()).or_insert(0) += 1;
            }
            if matches!(sent.outcome, Outcome::Stop { .. }) {
                self.paused.insert(sent.sink.as_str().to_owned());
            }
        }
    }

    async fn give_back(&mut self, store: &dyn Store) {
        let Some((_, lease)) = self.leases.choose(&mut self.rng).cloned() else { return };
        let given = store.give_back(&[(lease.id, lease.token)]).await.unwrap();
        let now = self.now;
        let row = self.row(lease.id);
        let ours = row.state == State::Leased && row.lease.as_ref().is_some_and(|held| held.token == lease.token);
        assert!(given == 0 || ours, "a lease was given back that was lost");
        assert!(given == 1 || !ours || row.lapsed, "a lease could not be given back");
        if given == 1 {
            (row.state, row.due, row.lease, row.lapsed) = (State::Pending, Some(now), None, false);
            if row.attempts == row.ageless {
                row.aging_since = None;
            }
        }
    }

    async fn operate(&mut self, store: &dyn Store) {
        let ids: Vec<DispatchId> = self.rows.keys().copied().collect();
        let Some(id) = ids.choose(&mut self.rng).copied() else { return };
        let now = self.now;
        let before = self.rows[&id].state;
        let seen = super::state(store, id).await;
        let lapsed = self.rows[&id].lapsed && seen == State::Pending;
        assert!(seen == before || lapsed, "{id}: {seen}, not {before}");
        let retry = self.rng.random();
        let changed = if retry { store.retry_dispatches(&[id]).await } else { store.cancel_dispatches(&[id]).await };
        let allowed = matches!(seen, State::Pending | State::Held | State::Dead);
        assert_eq!(changed.unwrap(), u64::from(allowed), "{id} was {seen}");
        if allowed {
            let row = self.row(id);
            (row.lease, row.lapsed) = (None, false);
            if retry && seen != State::Pending {
                (row.aging_since, row.ageless) = (None, row.attempts);
            }
            (row.state, row.due) = if retry { (State::Pending, Some(now)) } else { (State::Cancelled, None) };
        }
    }

    async fn pause_or_resume(&mut self, store: &dyn Store) {
        let name = *SINKS.choose(&mut self.rng).unwrap();
        if self.rng.random_ratio(1, 4) {
            assert_eq!(store.pause_sink(&sink(name), "why not").await.unwrap(), self.paused.insert(name.to_owned()));
        } else {
            assert_eq!(store.resume_sink(&sink(name)).await.unwrap(), self.paused.remove(name));
        }
    }

    async fn step(&mut self, store: &dyn Store) {
        match self.rng.random_range(0..100) {
            0..20 => self.record(store).await,
            20..50 => self.claim(store).await,
            50..75 => self.finish(store).await,
            75..80 => self.give_back(store).await,
            80..87 => self.operate(store).await,
            87..90 => self.pause_or_resume(store).await,
            _ => self.now += Duration::from_secs(self.rng.random_range(0..40)),
        }
    }

    /// Every dispatch is there, once, in the state that the model knows.
    async fn compare(&self, store: &dyn Store) {
        let stored = all_dispatches(store).await;
        let numbers: Vec<DispatchId> = stored.iter().map(|dispatch| dispatch.id).collect();
        assert_eq!(numbers, self.rows.keys().copied().collect::<Vec<_>>());
        for dispatch in stored {
            let row = &self.rows[&dispatch.id];
            let lapsed = row.lapsed && dispatch.state == State::Pending;
            assert!(dispatch.state == row.state || lapsed, "{dispatch:?} should be {row:?}");
            assert_eq!(dispatch.attempts, row.attempts);
            assert_eq!((&dispatch.sink, &dispatch.invoice_id), (&row.sink, &row.invoice));
        }
        let events = store.list_events(&EventFilter::default(), 10_000).await.unwrap().rows;
        let events: HashMap<EventId, u32> = events.into_iter().map(|event| (event.id, event.deliveries)).collect();
        assert_eq!(events, self.events);
        for status in store.sink_statuses().await.unwrap() {
            let count =
                |state| self.rows.values().filter(|row| row.sink == status.name && row.state == state).count() as u64;
            assert_eq!(status.pending + status.leased, count(State::Pending) + count(State::Leased));
            assert_eq!((status.held, status.dead), (count(State::Held), count(State::Dead)));
            assert_eq!(status.delivered, self.delivered.get(&status.name).copied().unwrap_or(0));
            assert_eq!(status.paused.is_some(), self.paused.contains(&status.name));
        }
    }

    /// Lets everything come to an end: nothing may be stuck.
    async fn drain(&mut self, store: &dyn Store) {
        for name in SINKS {
            store.resume_sink(&sink(name)).await.unwrap();
        }
        self.paused.clear();
        let held: Vec<DispatchId> =
            self.rows.iter().filter(|(_, row)| row.state == State::Held).map(|(id, _)| *id).collect();
        assert_eq!(store.retry_dispatches(&held).await.unwrap(), held.len() as u64);
        self.now += Duration::from_secs(100_000);
        for name in SINKS {
            loop {
                let claimed = claim_of(store, name, 50, self.now).await;
                if claimed.dispatches.is_empty() {
                    assert_eq!(claimed.next_due_in, None, "nothing is left over");
                    break;
                }
                let mut answers: Vec<_> = claimed.dispatches.iter().map(delivered).collect();
                for answer in &mut answers {
                    answer.sink = sink(name);
                }
                finish(store, &answers, self.now).await;
                for lease in claimed.dispatches {
                    assert!(!self.is_blocked(lease.id));
                    let row = self.row(lease.id);
                    (row.state, row.due, row.lease, row.lapsed) = (State::Delivered, None, None, false);
                    row.attempts += 1;
                    *self.delivered.entry(name.to_owned()).or_insert(0) += 1;
                }
            }
        }
        assert!(self.rows.values().all(|row| row.state.is_finished()), "every dispatch comes to an end");
    }
}

pub(crate) async fn random_operations_agree_with_the_model(on: &Fixture) {
    // Another run every time; the seed of a failed one stands in its output.
    let given = crate::support::variable("RELAY_TEST_SEED")
        .map(|seed| seed.to_str().and_then(|seed| seed.parse().ok()).expect("the seed is a number"));
    let seed = given.unwrap_or_else(rand::random::<u64>);
    println!("the same run again: RELAY_TEST_SEED={seed}");
    // Two stores on one database, as two replicas: whichever is asked, the answer is the same.
    let stores = [on.open().await, on.open().await];
    let mut world = World {
        rng: StdRng::seed_from_u64(seed),
        now: clock::from_micros(clock::to_micros(start())).unwrap(),
        rows: BTreeMap::new(),
        events: HashMap::new(),
        keys: Vec::new(),
        paused: HashSet::new(),
        leases: Vec::new(),
        delivered: HashMap::new(),
    };
    let began = Instant::now();
    for operation in 0..OPERATIONS {
        let store = &*stores[world.rng.random_range(0..2)];
        world.step(store).await;
        if operation % 50 == 0 {
            world.compare(store).await;
        }
        if began.elapsed() > AT_MOST {
            break;
        }
    }
    world.drain(&*stores[0]).await;
    world.compare(&*stores[1]).await;
    assert!(world.rows.len() > 20, "something has happened");
}
