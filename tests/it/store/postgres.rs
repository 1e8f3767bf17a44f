//! What only the Postgres store promises: healing after a server that hangs or restarts, replicas
//! that hear of each other's work, and lanes that several replicas work on at once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use finkare_relay::{
    model::{
        audit::NewAudit,
        booking::{Assignment, BookingState, BookingToken, NewBooking},
        clock,
        dispatch::{FinishedAttempt, LeasedDispatch, Next, Order, Outcome, State},
        event::{DedupeKey, NewEvent},
        id::{DispatchId, EndpointName, EventId, LeaseToken, SinkName},
        money::Cents,
        secret::Secret,
    },
    store::{
        BaseStore, Claim, Claimed, DispatchFilter, DispatchStore, EventFilter, EventStore, Finish, LeaseStore, Offer,
        Purge, SinkStore, StoreError,
        ledger::{Advance, LedgerStore, Settled, Word},
        link::SecretStore,
        postgres::PostgresStore,
        retention::RetentionStore,
    },
};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::contract::link::{UNSOUND, furnish};
use crate::support::postgres::{self, Database, Server};

/// What must happen "at once" may take this long on a machine that is busy.
const SOON: Duration = Duration::from_secs(10);

fn sink(name: &str) -> SinkName {
    SinkName::new(name).unwrap()
}

/// An event whose content, and with it its dedupe key, is `text`.
fn event(text: &str, invoice: Option<&str>, sinks: &[&str]) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new("default").unwrap(),
        dedupe_key: DedupeKey::of_message(text.as_bytes()),
        event_type: "payment.received".into(),
        invoice_id: invoice.map(Into::into),
        occurred_at: None,
        received_at: clock::now(),
        readable: true,
        content_type: Some("application/json".into()),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        sinks: sinks.iter().map(|name| sink(name)).collect(),
    }
}

async fn open(database: &Database) -> PostgresStore {
    PostgresStore::connect(&database.secret(), 6).await.expect("the test server accepts connections")
}

async fn claim(store: &PostgresStore, name: &str, limit: u32) -> Claimed {
    let sink = sink(name);
    let claim = Claim {
        sink: &sink,
        order: Order::Invoice,
        limit,
        lease: Duration::from_mins(1),
        longest_wait: Duration::MAX,
        now: None,
    };
    store.claim_due(claim).await.expect("the claim works")
}

fn finished(leased: &LeasedDispatch, name: &str, outcome: Outcome, next: Next) -> FinishedAttempt {
    FinishedAttempt {
        id: leased.id,
        token: leased.token,
        sink: sink(name),
        started_at: clock::now(),
        duration: Duration::from_millis(3),
        outcome,
        next,
    }
}

fn delivered(leased: &LeasedDispatch, name: &str) -> FinishedAttempt {
    finished(leased, name, Outcome::Delivered, Next::Delivered)
}

async fn states(store: &PostgresStore) -> Vec<State> {
    let page = store.list_dispatches(&DispatchFilter::default(), 1000).await.unwrap();
    page.rows.into_iter().rev().map(|dispatch| dispatch.state).collect()
}

/// Repeats until the answer is there, within [`SOON`].
async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = attempt().await {
            return answer;
        }
        assert!(started.elapsed() < SOON, "{what}: not within {SOON:?}");
        tokio::task::yield_now().await;
    }
}

/// Skips a test where Postgres is not installed and need not be.
macro_rules! need_postgres {
    () => {
        if !postgres::available() {
            return;
        }
    };
}

#[tokio::test]
async fn records_each_event_once_and_numbers_dispatches_in_the_batch_order() {
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    // Keys sort differently from the batch.
    let mut batch: Vec<_> = (0..40).map(|n| event(&format!("e{n}"), Some("inv"), &["erp", "books"])).collect();
    batch.insert(7, event("e3", Some("inv"), &["erp", "books"]));
    let recorded = store.record_deliveries(&batch).await.unwrap();
    assert_eq!(recorded.len(), 41);
    for (index, (given, answer)) in batch.iter().zip(&recorded).enumerate() {
        let first = if index == 7 { &batch[3] } else { given };
        assert_eq!((answer.id, answer.duplicate), (first.id, index == 7), "entry {index}");
    }
    let mut dispatches = store.list_dispatches(&DispatchFilter::default(), 1000).await.unwrap().rows;
    dispatches.reverse();
    let expected: Vec<_> = batch
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != 7)
        .flat_map(|(_, event)| event.sinks.iter().map(|sink| (event.id, sink.as_str().to_owned())))
        .collect();
    assert_eq!(dispatches.iter().map(|d| (d.event_id, d.sink.clone())).collect::<Vec<_>>(), expected);

    // The very same call again: the same ids, counted, and no second dispatch.
    let again = store.record_deliveries(&batch).await.unwrap();
    assert!(again.iter().zip(&recorded).all(|(again, first)| again.duplicate && again.id == first.id), "{again:?}");
    assert_eq!(states(&store).await.len(), 80);
    let detail = store.event(batch[3].id).await.unwrap().unwrap();
    assert_eq!((detail.event.deliveries, detail.payload.as_deref()), (4, Some(b"e3".as_slice())));
    assert_eq!(detail.dispatches.len(), 2);
}

#[tokio::test]
async fn equal_batches_through_two_replicas_neither_double_nor_deadlock() {
    need_postgres!();
    let database = postgres::database().await;
    let replicas = [Arc::new(open(&database).await), Arc::new(open(&database).await)];
    let mut tasks = Vec::new();
    for round in 0..8 {
        let store = replicas[round % 2].clone();
        tasks.push(tokio::spawn(async move {
            let mut batch: Vec<_> = (0..100).map(|n| event(&format!("e{n}"), None, &["erp"])).collect();
            if round % 3 == 0 {
                batch.reverse();
            }
            store.record_deliveries(&batch).await.expect("no deadlock reaches the caller")
        }));
    }
    let mut news = 0;
    for task in tasks {
        news += task.await.unwrap().iter().filter(|recorded| !recorded.duplicate).count();
    }
    assert_eq!((news, states(&replicas[0]).await.len()), (100, 100));
}

#[tokio::test]
async fn a_lane_goes_one_by_one_and_its_next_is_due_when_the_first_is_done() {
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    let batch = [
        event("a1", Some("a"), &["erp"]),
        event("a2", Some("a"), &["erp"]),
        event("b1", Some("b"), &["erp"]),
        event("free", None, &["erp"]),
    ];
    store.record_deliveries(&batch).await.unwrap();
    let first = claim(&store, "erp", 10).await;
    let got: Vec<_> = first.dispatches.iter().map(|d| d.payload.clone()).collect();
    assert_eq!(got, ["a1", "b1", "free"]);
    assert_eq!(first.dispatches[0].age, Duration::ZERO);
    let waiting =
        store.list_dispatches(&DispatchFilter { state: Some(State::Pending), ..Default::default() }, 10).await;
    let waiting = waiting.unwrap().rows;
    assert_eq!(waiting[0].waits_for, Some(first.dispatches[0].id));

    // A wrong token changes nothing; of two equal entries one counts.
    let mut stolen = delivered(&first.dispatches[0], "erp");
    stolen.token = first.dispatches[1].token;
    let own = delivered(&first.dispatches[0], "erp");
    let answers = store.finish_attempts(&[stolen, own.clone(), own], None).await.unwrap();
    assert_eq!(answers, [Finish::LeaseLost, Finish::Recorded, Finish::LeaseLost]);
    let second = claim(&store, "erp", 10).await;
    assert_eq!(second.dispatches.iter().map(|d| d.payload.clone()).collect::<Vec<_>>(), ["a2"]);

    // Given back: due at once, no attempt, no age.
    let lease = (second.dispatches[0].id, second.dispatches[0].token);
    assert_eq!(store.give_back(&[lease, lease]).await.unwrap(), 1);
    let third = claim(&store, "erp", 10).await;
    assert_eq!((third.dispatches[0].attempts, third.dispatches[0].age), (0, Duration::ZERO));

    let status = &store.sink_statuses().await.unwrap()[0];
    assert_eq!((status.pending, status.leased, status.delivered), (0, 3, 1));
    assert!(status.oldest_pending.is_none() && status.last_success_at.is_some(), "all are in their first attempt");
}

#[tokio::test]
async fn a_full_page_of_blocked_dispatches_does_not_hide_the_free_one_behind_it() {
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    let mut batch: Vec<_> = (0..30).map(|n| event(&format!("a{n}"), Some("a"), &["erp"])).collect();
    batch.push(event("b", Some("b"), &["erp"]));
    store.record_deliveries(&batch).await.unwrap();
    assert_eq!(claim(&store, "erp", 1).await.dispatches[0].payload, "a0");
    let claimed = claim(&store, "erp", 10).await;
    assert_eq!(claimed.dispatches.iter().map(|d| d.payload.clone()).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn what_a_person_does_retry_cancel_replay_pause() {
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    let batch = [event("1", Some("a"), &["erp"]), event("2", Some("a"), &["erp"]), event("3", Some("a"), &["erp"])];
    let events = store.record_deliveries(&batch).await.unwrap();
    let first = claim(&store, "erp", 10).await.dispatches.remove(0);
    let gone = Outcome::Stop { reason: "gone\0for good".into() };
    store
        .finish_attempts(&[finished(&first, "erp", gone, Next::Pending { after: Duration::ZERO })], None)
        .await
        .unwrap();
    let paused = claim(&store, "erp", 10).await;
    assert!(paused.paused && paused.dispatches.is_empty());
    assert!(!store.pause_sink(&sink("erp"), "again").await.unwrap());
    let status = &store.sink_statuses().await.unwrap()[0];
    assert_eq!(status.paused.as_ref().unwrap().reason, "gone\u{fffd}for good");
    assert_eq!((status.dead, status.pending), (0, 3));
    assert!(store.resume_sink(&sink("erp")).await.unwrap());
    assert!(!store.resume_sink(&sink("erp")).await.unwrap());

    // What met the end is still the head of its lane, so the others wait for it.
    assert_eq!(store.retry_dispatches(&[first.id]).await.unwrap(), 1);
    let held = claim(&store, "erp", 10).await.dispatches.remove(0);
    assert_eq!((held.id, held.attempts), (first.id, 1));
    let to_hold = Outcome::Hold { reason: "look".into(), recheck_after: None };
    store.finish_attempts(&[finished(&held, "erp", to_hold, Next::Held { recheck_after: None })], None).await.unwrap();
    assert!(claim(&store, "erp", 10).await.dispatches.is_empty());
    assert_eq!(store.cancel_dispatches(&[held.id]).await.unwrap(), 1);
    let second = claim(&store, "erp", 10).await.dispatches.remove(0);
    assert_eq!(second.payload, "2");
    assert_eq!(states(&store).await, [State::Cancelled, State::Leased, State::Pending]);
    let (_, attempts) = store.dispatch(held.id).await.unwrap().unwrap();
    assert_eq!(
        attempts.iter().map(|a| (a.number, a.outcome.as_str())).collect::<Vec<_>>(),
        [(1, "retry"), (2, "hold")]
    );

    let replayed = store.replay_event(events[0].id, &[sink("erp"), sink("books")]).await.unwrap().unwrap();
    assert!(replayed.len() == 2 && replayed[0] < replayed[1]);
    assert_eq!(store.replay_event(EventId::generate(), &[sink("erp")]).await.unwrap(), None);
}

#[tokio::test]
async fn retention_keeps_what_is_unfinished() {
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    let batch = [event("1", None, &["erp"]), event("2", None, &["erp"]), event("3", None, &[])];
    let events = store.record_deliveries(&batch).await.unwrap();
    let first = claim(&store, "erp", 1).await.dispatches.remove(0);
    store.finish_attempts(&[delivered(&first, "erp")], None).await.unwrap();
    let (past, future) = (clock::from_micros(0).unwrap(), clock::from_micros(4_000_000_000_000_000).unwrap());
    let payloads = Purge { payloads_before: future, events_before: past, limit: 10 };
    let purged = store.purge(payloads).await.unwrap();
    assert_eq!((purged.payloads, purged.events), (2, 0));
    assert_eq!(store.replay_event(events[0].id, &[sink("erp")]).await.unwrap(), None);
    assert!(store.event(events[1].id).await.unwrap().unwrap().payload.is_some());
    let all = Purge { payloads_before: future, events_before: future, limit: 1 };
    assert_eq!(store.purge(all).await.unwrap().events, 1);
    assert_eq!(store.purge(all).await.unwrap().events, 1);
    assert_eq!(store.purge(all).await.unwrap(), finkare_relay::store::Purged::default());
    let left = store.list_events(&EventFilter::default(), 10).await.unwrap().rows;
    assert_eq!(left.iter().map(|event| event.id).collect::<Vec<_>>(), [events[1].id]);
    assert_eq!(states(&store).await, [State::Pending]);
    let mut other = PgConnection::connect(&database.url()).await.unwrap();
    let attempts: i64 = sqlx::query_scalar("SELECT count(*) FROM attempts").fetch_one(&mut other).await.unwrap();
    assert_eq!(attempts, 0, "the attempts of a deleted event go with it");
}

#[tokio::test]
async fn lists_events_by_each_condition() {
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    let at = |n: u64| clock::from_micros((1_790_000_000 + i64::try_from(n).unwrap()) * 1_000_000);
    let batch: Vec<_> = (0..10)
        .map(|n| NewEvent {
            id: EventId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_790_000_000 + n, 0))),
            received_at: at(n).unwrap(),
            ..event(&format!("text {n}\0%"), (n % 2 == 0).then_some("a"), &[])
        })
        .collect();
    store.record_deliveries(&batch).await.unwrap();
    let list = async |filter: EventFilter| {
        let page = store.list_events(&filter, 4).await.unwrap();
        let numbers = page.rows.iter().map(|row| batch.iter().position(|event| event.id == row.id).unwrap());
        (numbers.collect::<Vec<_>>(), page.more)
    };
    assert_eq!(list(EventFilter::default()).await, (vec![9, 8, 7, 6], true));
    assert_eq!(list(EventFilter { before: Some(batch[3].id), ..Default::default() }).await, (vec![2, 1, 0], false));
    assert_eq!(
        list(EventFilter { invoice_id: Some("a".into()), ..Default::default() }).await,
        (vec![8, 6, 4, 2], true)
    );
    assert_eq!(list(EventFilter { since: at(3), until: at(6), ..Default::default() }).await, (vec![5, 4, 3], false));
    assert_eq!(list(EventFilter { until: at(0), ..Default::default() }).await, (vec![], false));
    assert_eq!(list(EventFilter { contains: Some("t 7\0%".into()), ..Default::default() }).await, (vec![7], false));
    assert_eq!(list(EventFilter { endpoint: Some("x\0".into()), ..Default::default() }).await, (vec![], false));
    assert_eq!(list(EventFilter { event_type: Some("ping".into()), ..Default::default() }).await, (vec![], false));
}

/// Two replicas work through lanes at the same time. Whatever they do to each other, each lane keeps
/// its order, nobody gets a dispatch twice, and none sleeps until its re-check.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lanes_keep_their_order_under_two_replicas_and_no_wake_up_is_lost() {
    const LANES: usize = 12;
    const EACH: usize = 25;
    need_postgres!();
    let database = postgres::database().await;
    let replicas = [Arc::new(open(&database).await), Arc::new(open(&database).await)];
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for worker in 0..6 {
        let (store, seen) = (replicas[worker % 2].clone(), seen.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let claimed = claim(&store, "erp", 7).await;
                for leased in &claimed.dispatches {
                    seen.lock().unwrap().push((leased.invoice_id.clone().unwrap(), leased.id, leased.attempts));
                }
                let batch: Vec<_> = claimed
                    .dispatches
                    .iter()
                    .map(|leased| {
                        // Every third is tried twice.
                        if leased.id.0 % 3 == 0 && leased.attempts == 0 {
                            let outcome = Outcome::Retry { reason: "503".into(), after: None };
                            finished(leased, "erp", outcome, Next::Pending { after: Duration::ZERO })
                        } else {
                            delivered(leased, "erp")
                        }
                    })
                    .collect();
                let answers = store.finish_attempts(&batch, None).await.unwrap();
                assert!(answers.iter().all(|answer| *answer == Finish::Recorded));
                if seen.lock().unwrap().iter().map(|(_, id, _)| id).collect::<HashSet<_>>().len() == LANES * EACH {
                    return;
                }
                assert!(started.elapsed() < SOON * 3, "a dispatch waits for its re-check: a wake-up was lost");
            }
        }));
    }
    for round in 0..EACH {
        let batch: Vec<_> =
            (0..LANES).map(|lane| event(&format!("{lane}/{round}"), Some(&format!("inv-{lane}")), &["erp"])).collect();
        replicas[round % 2].record_deliveries(&batch).await.unwrap();
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut last = HashMap::new();
    for (lane, id, attempts) in seen.lock().unwrap().iter() {
        let before = last.insert(lane.clone(), (*id, *attempts));
        assert!(before.is_none_or(|before| before < (*id, *attempts)), "lane {lane}: {before:?}, then {id} {attempts}");
    }
}

/// Two replicas hand new events of the same invoices over to their workers, and claim what could not be handed over. No
/// invoice is ever at two workers, and none is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_invoice_is_at_one_worker_whoever_hands_it_over() {
    const LANES: usize = 5;
    const ROUNDS: usize = 120;
    need_postgres!();
    let database = postgres::database().await;
    let replicas = [Arc::new(open(&database).await), Arc::new(open(&database).await)];
    let at_work = Arc::new(std::sync::Mutex::new(HashSet::new()));
    let done = Arc::new(std::sync::Mutex::new(HashMap::<DispatchId, bool>::new()));
    let started = Instant::now();
    // An attempt, which takes as long as it takes the others to come in between.
    let attempt = {
        let (at_work, done) = (at_work.clone(), done.clone());
        move |store: Arc<PostgresStore>, work: Vec<(FinishedAttempt, String)>, was_handed: bool| {
            let (at_work, done) = (at_work.clone(), done.clone());
            async move {
                for (_, invoice) in &work {
                    assert!(at_work.lock().unwrap().insert(invoice.clone()), "{invoice} is at two workers");
                }
                tokio::task::yield_now().await;
                for (_, invoice) in &work {
                    assert!(at_work.lock().unwrap().remove(invoice));
                }
                let batch: Vec<_> = work.into_iter().map(|(attempt, _)| attempt).collect();
                let answers = store.finish_attempts(&batch, None).await.unwrap();
                assert!(answers.iter().all(|answer| *answer == Finish::Recorded));
                done.lock().unwrap().extend(batch.iter().map(|attempt| (attempt.id, was_handed)));
            }
        }
    };
    let mut tasks = Vec::new();
    for (number, store) in replicas.iter().enumerate() {
        let (store, attempt) = (store.clone(), attempt.clone());
        tasks.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                // In another order here than there.
                let mut lanes: Vec<usize> = (0..LANES).filter(|lane| (round + lane) % 3 != 0).collect();
                lanes.rotate_left(number);
                let invoice = |lane: &usize| format!("inv-{lane}");
                let new = |lane| event(&format!("{number} {round} {lane}"), Some(&invoice(lane)), &["erp"]);
                let batch: Vec<_> = lanes.iter().map(new).collect();
                let offers: Vec<_> = (0..batch.len())
                    .map(|event| Offer {
                        event,
                        sink: sink("erp"),
                        order: Order::Invoice,
                        lease: Duration::from_mins(1),
                        token: LeaseToken::generate(),
                    })
                    .collect();
                let stored = store.record_offering(&batch, &offers).await.unwrap();
                let work = stored.leased.iter().zip(&offers).zip(&lanes).filter_map(|((id, offer), lane)| {
                    let attempt = FinishedAttempt {
                        id: (*id)?,
                        token: offer.token,
                        sink: sink("erp"),
                        started_at: clock::now(),
                        duration: Duration::ZERO,
                        outcome: Outcome::Delivered,
                        next: Next::Delivered,
                    };
                    Some((attempt, invoice(lane)))
                });
                attempt(store.clone(), work.collect(), true).await;
            }
        }));
    }
    let all = (0..ROUNDS).flat_map(|round| (0..LANES).filter(move |lane| (round + lane) % 3 != 0)).count() * 2;
    for store in &replicas {
        let (store, attempt, done) = (store.clone(), attempt.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            while done.lock().unwrap().len() < all {
                let claimed = claim(&store, "erp", 3).await.dispatches;
                let work = claimed.iter().map(|leased| (delivered(leased, "erp"), leased.invoice_id.clone().unwrap()));
                attempt(store.clone(), work.collect(), false).await;
                assert!(started.elapsed() < SOON * 3, "a dispatch waits for its re-check: a wake-up was lost");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let handed = done.lock().unwrap().values().filter(|was_handed| **was_handed).count();
    assert!(handed > 0 && handed < all, "{handed} of {all} were handed over: the others got in between");
    assert!(states(&replicas[0]).await.iter().all(|state| *state == State::Delivered));
    let left: i64 =
        sqlx::query_scalar("SELECT (SELECT count(*) FROM queue) + (SELECT sum(n) FROM queue_counts)::bigint")
            .fetch_one(&mut PgConnection::connect(&database.url()).await.unwrap())
            .await
            .unwrap();
    assert_eq!(left, 0, "rows and counts");
}

/// What is handed over is nobody else's business: no other replica is told, and the worker here is not woken.
#[tokio::test]
async fn nobody_is_told_of_what_is_handed_over() {
    need_postgres!();
    let database = postgres::database().await;
    let here = open(&database).await;
    let erp = here.wakeups().of(&sink("erp"));
    let there = open(&database).await;
    let (far, books) = (there.wakeups().of(&sink("erp")), there.wakeups().of(&sink("books")));
    for ready in [&erp, &far, &books] {
        tokio::time::timeout(SOON, ready.notified()).await.expect("the listener gets ready");
    }
    let offer = |event| Offer {
        event,
        sink: sink("erp"),
        order: Order::Invoice,
        lease: Duration::from_mins(1),
        token: LeaseToken::generate(),
    };
    let batch = [event("1", Some("i1"), &["erp"]), event("2", None, &["erp", "books"])];
    let stored = here.record_offering(&batch, &[offer(0), offer(1)]).await.unwrap();
    assert!(stored.leased.iter().all(Option::is_some));
    assert!(futures_util::FutureExt::now_or_never(erp.notified()).is_none(), "nothing is pending");
    // Of what has to wait, the worker here is told, and as it offers slots it gets to it soon.
    let stored = here.record_offering(&[event("3", Some("i1"), &["erp"])], &[offer(0)]).await.unwrap();
    assert_eq!(stored.leased, [None]);
    assert!(futures_util::FutureExt::now_or_never(erp.notified()).is_some());
    here.record_deliveries(&[event("4", None, &["books"])]).await.unwrap();
    // Notifications keep their order.
    tokio::time::timeout(SOON, books.notified()).await.expect("the other replica is told");
    assert!(futures_util::FutureExt::now_or_never(far.notified()).is_none(), "it is told of `books` alone");
    here.close().await;
    there.close().await;
}

#[tokio::test]
async fn a_replica_hears_of_work_that_another_one_recorded() {
    need_postgres!();
    let database = postgres::database().await;
    let (here, there) = (open(&database).await, open(&database).await);
    let (erp, books) = (there.wakeups().of(&sink("erp")), there.wakeups().of(&sink("books")));
    // Everybody is woken once when the listener is ready: what came before could not be heard.
    for ready in [&erp, &books] {
        tokio::time::timeout(SOON, ready.notified()).await.expect("the listener gets ready");
    }
    here.record_deliveries(&[event("1", None, &["erp"])]).await.unwrap();
    tokio::time::timeout(SOON, erp.notified()).await.expect("the other replica is told");
    // Notifications keep their order, so a repetition (which announces nothing) would be heard by now.
    here.record_deliveries(&[event("1", None, &["erp", "books"])]).await.unwrap();
    here.record_deliveries(&[event("2", None, &["erp"])]).await.unwrap();
    tokio::time::timeout(SOON, erp.notified()).await.expect("the other replica is told");
    assert!(futures_util::FutureExt::now_or_never(books.notified()).is_none(), "nothing was written for this sink");
    there.close().await;
    here.close().await;
}

#[tokio::test]
async fn ready_says_what_is_missing() {
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    store.ready().await.expect("a migrated database is ready");
    assert_eq!(store.migrate().await.unwrap(), 0);
    let mut admin = PgConnection::connect(&database.url()).await.unwrap();
    let say = async |store: &PostgresStore| match store.ready().await {
        Err(StoreError::Open(text)) => text,
        other => panic!("{other:?}"),
    };
    sqlx::raw_sql("UPDATE _sqlx_migrations SET version = version + 100").execute(&mut admin).await.unwrap();
    assert!(say(&store).await.contains("another history"));
    sqlx::raw_sql("DELETE FROM _sqlx_migrations").execute(&mut admin).await.unwrap();
    assert!(say(&store).await.contains("finkare-relay migrate"));
    // Everything, so that all migrations have to be made anew.
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").execute(&mut admin).await.unwrap();
    assert!(say(&store).await.contains("finkare-relay migrate"));
    let (one, two) = tokio::join!(store.migrate(), store.migrate());
    let mut counted = [one.unwrap(), two.unwrap()];
    counted.sort_unstable();
    let migrations = std::fs::read_dir("migrations/postgres").unwrap().count();
    assert_eq!(counted, [0, migrations], "two that migrate at once count each migration once");
    let read_only = Secret::new(format!("{}?options=-c%20default_transaction_read_only=on", database.url()));
    assert!(say(&PostgresStore::connect(&read_only, 2).await.unwrap()).await.contains("read-only"));
}

#[tokio::test]
async fn the_schema_refuses_what_cannot_be() {
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    furnish(&store).await;
    let mut admin = PgConnection::connect(&database.url()).await.unwrap();
    for statement in UNSOUND {
        let error = sqlx::raw_sql(statement).execute(&mut admin).await.expect_err(statement);
        // The class of violated constraints.
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).expect("the server refuses it");
        assert!(code.starts_with("23"), "{statement}: {error}");
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_not_repeated() {
    let url = Secret::new("postgres://relay:s3cret@host:notaport/db");
    let error = PostgresStore::connect(&url, 2).await.expect_err("the port is no number");
    let told = format!("{error} {error:?}");
    assert!(!told.contains("s3cret") && told.contains("percent-encoded"), "{told}");
}

/// A caller may drop a call at any point: no connection goes back to the pool in the middle of a
/// transaction, where the next autocommit statement would be lost.
#[tokio::test]
async fn a_dropped_call_leaves_no_transaction_behind() {
    need_postgres!();
    let database = postgres::database().await;
    let store = PostgresStore::connect(&database.secret(), 2).await.unwrap();
    store
        .record_deliveries(&(0..50).map(|n| event(&format!("e{n}"), Some("a"), &["erp"])).collect::<Vec<_>>())
        .await
        .unwrap();
    for polls in 0..40 {
        // Polled so many times and dropped, so the cut falls on every statement in turn.
        let erp = sink("erp");
        let claim = Claim {
            sink: &erp,
            order: Order::Invoice,
            limit: 5,
            lease: Duration::ZERO,
            longest_wait: Duration::MAX,
            now: None,
        };
        let mut call = store.claim_due(claim);
        for _ in 0..polls {
            if futures_util::FutureExt::now_or_never(&mut call).is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        let new = event(&format!("new {polls}"), None, &[]);
        let recorded = store.record_deliveries(std::slice::from_ref(&new)).await.unwrap();
        assert!(!recorded[0].duplicate);
        let mut other = PgConnection::connect(&database.url()).await.unwrap();
        let visible: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM events WHERE id = $1)")
            .bind(new.id.0)
            .fetch_one(&mut other)
            .await
            .unwrap();
        assert!(visible, "cut off after {polls} polls: what was acknowledged then is not committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heals_after_the_server_was_restarted() {
    need_postgres!();
    let server = tokio::task::spawn_blocking(Server::alone).await.unwrap();
    let database = postgres::database_on(&server.url()).await;
    let store = Arc::new(open(&database).await);
    let erp = store.wakeups().of(&sink("erp"));
    tokio::time::timeout(SOON, erp.notified()).await.expect("the listener gets ready");
    // Several idle connections, which all die.
    let calls: Vec<_> = (0..4)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.record_deliveries(&[event(&format!("{n}"), None, &["erp"])]).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let _ = futures_util::FutureExt::now_or_never(erp.notified());
    let mut link = store.wakeups().link();

    tokio::task::block_in_place(|| server.restart());
    store.record_deliveries(&[event("after", None, &["books"])]).await.expect("recorded at the first try");
    tokio::task::block_in_place(|| server.restart());
    assert_eq!(claim(&store, "books", 1).await.dispatches.len(), 1);
    tokio::task::block_in_place(|| server.restart());
    store.register_sinks(&[sink("erp")]).await.expect("registered at the first try");
    store.ready().await.expect("ready again");
    // The listener comes back by itself, and wakes everybody for what it may have missed.
    tokio::time::timeout(SOON, link.changed()).await.expect("secrets may have changed meanwhile").unwrap();
    let other = open(&database).await;
    let _ = futures_util::FutureExt::now_or_never(erp.notified());
    let mut number = 0;
    eventually("a notification after the restart", async || {
        number += 1;
        other.record_deliveries(&[event(&format!("x{number}"), None, &["erp"])]).await.unwrap();
        tokio::time::timeout(Duration::from_millis(200), erp.notified()).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heals_after_the_server_hung() {
    need_postgres!();
    let server = tokio::task::spawn_blocking(Server::alone).await.unwrap();
    let database = postgres::database_on(&server.url()).await;
    let store = PostgresStore::connect(&database.secret(), 3).await.unwrap();
    // For no sink: its announcement could open a connection whose server process escapes the freeze.
    store.record_deliveries(&[event("before", None, &[])]).await.unwrap();
    server.freeze();
    // As many callers as connections, and more, all of which give up.
    for n in 0..5 {
        let batch = [event(&format!("during {n}"), None, &["erp"])];
        let call = tokio::time::timeout(Duration::from_millis(100), store.record_deliveries(&batch));
        assert!(call.await.is_err(), "a frozen server answers nothing");
    }
    server.thaw();
    eventually("recording after the thaw", async || {
        store.record_deliveries(&[event("after", None, &["erp"])]).await.ok()
    })
    .await;
    assert!(!claim(&store, "erp", 1).await.dispatches.is_empty());
    let events = store.list_events(&EventFilter::default(), 10).await.unwrap().rows;
    assert!(events.len() >= 2, "{events:?}");
}

/// Notes under which setting each statement of the store's transactions changes a table.
const NOTE_SETTINGS: &str = "CREATE TABLE noted (what text, setting text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO noted VALUES (TG_TABLE_NAME || ' ' || TG_OP, current_setting('synchronous_commit'));
        RETURN NULL;
    END $$;
    CREATE TRIGGER note AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION note();
    CREATE TRIGGER note AFTER UPDATE OR DELETE ON queue FOR EACH STATEMENT EXECUTE FUNCTION note();
    CREATE TRIGGER note AFTER INSERT ON attempts FOR EACH STATEMENT EXECUTE FUNCTION note();
    CREATE TRIGGER note AFTER INSERT ON assignments FOR EACH STATEMENT EXECUTE FUNCTION note();
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON bookings FOR EACH STATEMENT EXECUTE FUNCTION note()";

/// What was noted since the last call, each once.
async fn noted(admin: &mut PgConnection) -> Vec<(String, String)> {
    sqlx::query_as("WITH gone AS (DELETE FROM noted RETURNING *) SELECT DISTINCT what, setting FROM gone ORDER BY 1, 2")
        .fetch_all(admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn only_relaying_commits_without_waiting_for_the_disk() {
    need_postgres!();
    let database = postgres::database().await;
    // One working connection, so that every call follows the others on it.
    let store = PostgresStore::connect(&database.secret(), 2).await.unwrap();
    let mut admin = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql(NOTE_SETTINGS).execute(&mut admin).await.unwrap();
    let pair = |what: &str, setting: &str| (what.to_owned(), setting.to_owned());
    let mut number = 0;
    let mut accepts_durably = async |admin: &mut PgConnection| {
        number += 1;
        store.record_deliveries(&[event(&format!("e{number}"), None, &["erp"])]).await.unwrap();
        assert_eq!(noted(admin).await, [pair("events INSERT", "on")], "accept {number}");
    };
    accepts_durably(&mut admin).await;
    accepts_durably(&mut admin).await;

    let leased = claim(&store, "erp", 10).await.dispatches;
    assert_eq!(noted(&mut admin).await, [pair("queue UPDATE", "off")], "a claim");
    accepts_durably(&mut admin).await;
    let retry = Outcome::Retry { reason: "503".into(), after: None };
    let batch =
        [delivered(&leased[0], "erp"), finished(&leased[1], "erp", retry, Next::Pending { after: Duration::ZERO })];
    store.finish_attempts(&batch, None).await.unwrap();
    let all = ["attempts INSERT", "queue DELETE", "queue UPDATE"].map(|what| pair(what, "off"));
    assert_eq!(noted(&mut admin).await, all, "a finish");
    accepts_durably(&mut admin).await;
    let leased = claim(&store, "erp", 1).await.dispatches;
    assert_eq!(noted(&mut admin).await, [pair("queue UPDATE", "off")], "a claim");
    store.finish_attempts(&[delivered(&leased[0], "erp")], None).await.unwrap();
    assert_eq!(noted(&mut admin).await, [pair("queue DELETE", "off")], "a finish of what was delivered");
    accepts_durably(&mut admin).await;
    let leased = claim(&store, "erp", 10).await.dispatches;
    let given: Vec<_> = leased.iter().map(|leased| (leased.id, leased.token)).collect();
    store.give_back(&given).await.unwrap();
    assert_eq!(noted(&mut admin).await, [pair("queue UPDATE", "off")], "a claim, and its leases given back");
    store.cancel_dispatches(&[given[0].0]).await.unwrap();
    assert_eq!(noted(&mut admin).await, [pair("queue DELETE", "on")], "a person's decision");

    // The ledger, after something that did not wait for the disk.
    let relay_a_little = async |admin: &mut PgConnection| {
        let leased = claim(&store, "erp", 10).await.dispatches;
        let given: Vec<_> = leased.iter().map(|leased| (leased.id, leased.token)).collect();
        assert!(store.give_back(&given).await.unwrap() > 0);
        assert!(noted(admin).await.contains(&pair("queue UPDATE", "off")));
    };
    let paid = event("paid", None, &["erp"]);
    store.record_deliveries(std::slice::from_ref(&paid)).await.unwrap();
    let new = NewBooking {
        sink: sink("erp"),
        payment_id: "p1".into(),
        event_id: paid.id,
        invoice_id: "i1".into(),
        invoice_number: "F1".into(),
        amount_cents: Cents(1),
        currency: "EUR".into(),
        token: BookingToken::generate(),
    };
    let assignment = Assignment {
        event_id: paid.id,
        endpoint: paid.endpoint.as_str().into(),
        payment_id: "p1".into(),
        invoice_id: "i1".into(),
        amount_cents: Cents(1),
    };
    relay_a_little(&mut admin).await;
    store.assign(&assignment).await.unwrap();
    assert_eq!(noted(&mut admin).await, [pair("assignments INSERT", "on")]);
    relay_a_little(&mut admin).await;
    store.begin_booking(&new, None).await.unwrap();
    assert_eq!(noted(&mut admin).await, [pair("bookings INSERT", "on")]);
    relay_a_little(&mut admin).await;
    assert!(store.send_booking(&new.sink, "p1", new.token, Duration::from_mins(2)).await.unwrap());
    assert_eq!(noted(&mut admin).await, [pair("bookings UPDATE", "on")]);
    relay_a_little(&mut admin).await;
    let advance = Advance { state: BookingState::Written, target_id: None, note: None };
    store.advance_booking(&new.sink, "p1", new.token, &advance).await.unwrap();
    assert_eq!(noted(&mut admin).await, [pair("bookings UPDATE", "on")]);
    relay_a_little(&mut admin).await;
    let entry = NewAudit::new("tester", "test", "payment/p1");
    let settled = store.settle_booking(&new.sink, "p1", &Word::NotRecorded, Duration::ZERO, entry).await.unwrap();
    assert_eq!(settled, Settled::Settled);
    assert_eq!(noted(&mut admin).await, [pair("bookings DELETE", "on")]);
    let other = NewBooking { payment_id: "p2".into(), ..new };
    store.begin_booking(&other, None).await.unwrap();
    let taker = NewBooking { token: BookingToken::generate(), ..other.clone() };
    store.begin_booking(&taker, Some(other.token)).await.unwrap();
    store.withdraw_booking(&taker.sink, "p2", taker.token).await.unwrap();
    let all = ["DELETE", "INSERT", "UPDATE"].map(|what| pair(&format!("bookings {what}"), "on"));
    assert_eq!(noted(&mut admin).await, all);

    // A relaying transaction that fails, and one that is dropped at each of its steps.
    sqlx::raw_sql("ALTER TABLE queue ADD CONSTRAINT no_lease CHECK (state <> 'leased')")
        .execute(&mut admin)
        .await
        .unwrap();
    let erp = sink("erp");
    let wanted = Claim {
        sink: &erp,
        order: Order::Invoice,
        limit: 5,
        lease: Duration::ZERO,
        longest_wait: Duration::MAX,
        now: None,
    };
    store.claim_due(wanted).await.expect_err("the database refuses leases");
    accepts_durably(&mut admin).await;
    sqlx::raw_sql("ALTER TABLE queue DROP CONSTRAINT no_lease").execute(&mut admin).await.unwrap();
    for polls in 0..30 {
        let mut call = store.claim_due(wanted);
        for _ in 0..polls {
            if futures_util::FutureExt::now_or_never(&mut call).is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        // A claim that came to its end is noted too.
        number += 1;
        store.record_deliveries(&[event(&format!("e{number}"), None, &["erp"])]).await.unwrap();
        let noted = noted(&mut admin).await;
        assert!(noted.contains(&pair("events INSERT", "on")), "cut off after {polls} polls: {noted:?}");
        assert!(!noted.contains(&pair("events INSERT", "off")), "cut off after {polls} polls: {noted:?}");
    }
}

#[tokio::test]
async fn a_burst_of_accepts_is_announced_together_and_its_last_one_is_not_forgotten() {
    const BURST: usize = 100;
    need_postgres!();
    let database = postgres::database().await;
    let store = open(&database).await;
    let mut listener = sqlx::postgres::PgListener::connect(&database.url()).await.unwrap();
    listener.listen("relay_dispatch").await.unwrap();
    let mut heard = 0;
    let started = Instant::now();
    for n in 0..BURST {
        store.record_deliveries(&[event(&format!("e{n}"), None, &["erp"])]).await.unwrap();
    }
    let took = started.elapsed();
    store.record_deliveries(&[event("last", None, &["books"])]).await.unwrap();
    // Told at the end of the burst, or by the close at the latest.
    store.close().await;
    loop {
        let told = tokio::time::timeout(SOON, listener.recv()).await.expect("the last one is announced").unwrap();
        heard += 1;
        if told.payload().split(',').any(|name| name == "books") {
            break;
        }
    }
    let most = 3 + took.as_millis() / 25;
    assert!(heard <= most, "{heard} notifications for {BURST} accepts in {took:?}");
}

/// What people look at waits for a lock; a quarter of the connections waits with it, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn however_many_look_accepts_find_a_connection() {
    need_postgres!();
    let database = postgres::empty_database().await;
    let store = Arc::new(PostgresStore::connect(&database.secret(), 9).await.unwrap());
    store.migrate().await.unwrap();
    let mut foreign = PgConnection::connect(&database.url()).await.unwrap();
    let seen = store.record_deliveries(&[event("seen", None, &["erp"])]).await.unwrap()[0].id;
    sqlx::raw_sql("BEGIN; LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE").execute(&mut foreign).await.unwrap();
    let looking: Vec<_> = (0..30)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.event(seen).await })
        })
        .collect();
    let mut admin = PgConnection::connect(&database.url()).await.unwrap();
    eventually("those who look wait for the lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        (waiting == 2).then_some(())
    })
    .await;
    for number in 0..5 {
        let new = event(&format!("{number}"), None, &["erp"]);
        let recorded = tokio::time::timeout(Duration::from_secs(2), store.record_deliveries(&[new])).await;
        assert!(!recorded.expect("a connection is free").unwrap()[0].duplicate);
        tokio::time::timeout(Duration::from_secs(2), store.links()).await.expect("the service reads").unwrap();
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut foreign).await.unwrap();
    for one in looking {
        one.abort();
    }
}
