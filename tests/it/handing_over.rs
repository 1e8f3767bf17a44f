//! Fresh events are handed from the receiving half to the workers: at once, in order, and whatever happens meanwhile, none
//! is lost.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(
    a_fresh_event_is_leased_as_soon_as_it_is_acknowledged,
    a_process_that_is_killed_between_commit_and_hand_over_loses_nothing,
    a_paused_sink_is_handed_nothing,
    a_sink_that_trips_keeps_nothing_that_it_was_handed,
    a_sink_that_is_replaced_under_load_gets_each_event_once,
    a_removed_sink_gives_back_what_it_was_handed,
    a_backlog_and_fresh_events_both_arrive,
    only_the_first_of_an_invoice_is_handed_over,
);

/// `timeout_secs` and the lease's margin.
const LEASE: Duration = Duration::from_secs(1 + 10);

fn sink(target: &Target, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n{more}\n",
        target.url()
    )
}

async fn dispatches(relay: &Relay, filter: &str) -> Vec<Value> {
    relay.all(&format!("/dispatches?sink=erp&{filter}")).await
}

/// How many times each event came.
fn times(target: &Target) -> HashMap<String, u32> {
    let mut times = HashMap::new();
    for arrival in target.arrivals() {
        *times.entry(arrival.id).or_default() += 1;
    }
    times
}

/// Delivers events of this many invoices from as many senders until the flag is lowered; answers their ids.
fn load(relay: &Relay, senders: usize) -> (Arc<Semaphore>, JoinSet<Vec<String>>) {
    let stop = Arc::new(Semaphore::new(0));
    let mut tasks = JoinSet::new();
    for sender in 0..senders {
        let (finkare, stop) = (Finkare::of(relay), stop.clone());
        tasks.spawn(async move {
            let mut ids = Vec::new();
            while stop.available_permits() == 0 {
                let answer = finkare.deliver(&payment(&format!("invoice-{sender}"), 1)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                ids.push(answer.id());
            }
            ids
        });
    }
    (stop, tasks)
}

/// A new dispatch is never seen as pending while its worker has room: it needs no claim.
async fn a_fresh_event_is_leased_as_soon_as_it_is_acknowledged(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink(&target, "timeout_secs = 60")).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("first", 1)).await;
    relay.drained().await;
    target.script(|_, _| Reply::Hang);
    let id = finkare.deliver(&payment("second", 1)).await.id();
    let leased = dispatches(&relay, &format!("event_id={id}")).await;
    assert_eq!((leased.len(), &leased[0]["state"], &leased[0]["attempts"]), (1, &json!("leased"), &json!(0)));
    eventually("it is sent", async || target.arrivals().len() == 2).await;
}

/// A burst, and the process is killed at its first acknowledgements: some events are on their way into the queue, some are
/// being committed, some are handed over.
async fn a_process_that_is_killed_between_commit_and_hand_over_loses_nothing(backend: Backend) {
    const ROUNDS: usize = 6;
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let config = sink(&target, "timeout_secs = 1");
    let acknowledged: Arc<Mutex<HashSet<String>>> = Arc::default();
    for round in 1..=ROUNDS {
        let relay = home.serve(&config).await;
        let finkare = Finkare::of(&relay);
        let mut burst = JoinSet::new();
        for number in 0..48 {
            let (finkare, acknowledged) = (finkare.clone(), acknowledged.clone());
            burst.spawn(async move {
                // Half of them are of one invoice.
                let invoice = format!("invoice-{}", if number % 2 == 0 { 0 } else { number });
                let Ok(answer) = finkare.try_deliver(&payment(&invoice, number)).await else { return };
                assert_eq!(answer.status, 200);
                acknowledged.lock().unwrap().insert(answer.id());
            });
        }
        for _ in 0..=(round * 2) {
            burst.join_next().await.unwrap().unwrap();
        }
        relay.kill();
        while let Some(ended) = burst.join_next().await {
            ended.unwrap();
        }
    }
    let restarted = Instant::now();
    let relay = home.serve(&config).await;
    relay.drained().await;
    if backend == Backend::Sqlite {
        assert!(restarted.elapsed() < LEASE, "nothing waits for a lease of the process that was killed");
    }
    let stored: HashSet<_> =
        relay.all("/events").await.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let (acknowledged, times) = (acknowledged.lock().unwrap().clone(), times(&target));
    assert!(!acknowledged.is_empty() && acknowledged.is_subset(&stored));
    assert_eq!(times.keys().cloned().collect::<HashSet<_>>(), stored, "all that is stored has arrived");
    let most = times.values().max().copied().unwrap();
    assert!(most as usize <= 1 + ROUNDS, "repeated by a kill only, but one came {most} times");
}

async fn a_paused_sink_is_handed_nothing(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink(&target, "")).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("a", 1)).await;
    relay.drained().await;
    relay.post("/sinks/erp/pause").await;
    let answers = join_all((0..20).map(|number| {
        let finkare = finkare.clone();
        async move { finkare.deliver(&payment(&format!("i{number}"), 1)).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let waiting = dispatches(&relay, "state=pending").await;
    assert_eq!((waiting.len(), target.arrivals().len()), (20, 1), "none is leased, and none was sent");
    relay.post("/sinks/erp/resume").await;
    relay.drained().await;
    assert!(times(&target).values().all(|times| *times == 1));
    assert_eq!(target.delivered().len(), 21);
}

async fn a_sink_that_trips_keeps_nothing_that_it_was_handed(backend: Backend) {
    let permits = Arc::new(Semaphore::new(0));
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let more = "concurrency = 1\ntimeout_secs = 60\nbreaker = { failures = 1, probe_secs = 86400 }";
    let relay = home.serve(&sink(&target, more)).await;
    let finkare = Finkare::of(&relay);
    // Quick answers, so that the worker takes more than it has slots.
    for number in 0..20 {
        finkare.deliver(&payment("quick", number)).await;
    }
    relay.drained().await;
    let waits = permits.clone();
    target.script(move |_, _| Reply::After(waits.clone()));
    for number in 0..20 {
        finkare.deliver(&payment(&format!("i{number}"), 1)).await;
    }
    eventually("one is being tried", async || target.arrivals().len() == 21).await;
    target.script(|_, _| Reply::Status(503, vec![]));
    permits.add_permits(1);
    eventually("the sink trips", async || relay.sink("erp").await["state"] == "tripped").await;
    eventually("everything is given back", async || dispatches(&relay, "state=leased").await.is_empty()).await;
    assert_eq!(relay.sink("erp").await["backlog"], 19, "the first was delivered, and the second has failed");
    for number in 0..5 {
        finkare.deliver(&payment(&format!("late-{number}"), 1)).await;
    }
    assert_eq!(dispatches(&relay, "state=pending").await.len(), 24, "a tripped sink is handed nothing");
    assert_eq!(target.arrivals().len(), 22);
}

async fn a_sink_that_is_replaced_under_load_gets_each_event_once(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let config = sink(&target, "timeout_secs = 30");
    let relay = home.serve(&config).await;
    let (stop, mut senders) = load(&relay, 8);
    for round in 0..8 {
        let before = target.arrivals().len();
        eventually("events arrive", async || target.arrivals().len() > before + 10).await;
        let path = home.path("relay.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (old, new) = (format!("timeout_secs = {}\n", 30 + round), format!("timeout_secs = {}\n", 31 + round));
        std::fs::write(path, text.replace(&old, &new)).unwrap();
        assert_eq!(relay.post("/reload").await["changes"]["sinks"]["changed"], json!(["erp"]));
    }
    stop.add_permits(1);
    let mut sent = HashSet::new();
    while let Some(ids) = senders.join_next().await {
        sent.extend(ids.unwrap());
    }
    // Nothing waits for the end of a lease.
    let stopped = Instant::now();
    relay.drained().await;
    assert!(stopped.elapsed() < Duration::from_secs(30), "{:?}", stopped.elapsed());
    let times = times(&target);
    assert_eq!(times.keys().cloned().collect::<HashSet<_>>(), sent);
    assert!(times.values().all(|times| *times == 1), "a reload repeats nothing");
}

async fn a_removed_sink_gives_back_what_it_was_handed(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let config = sink(&target, "timeout_secs = 300");
    // Without any sink, `stdout` would get the events meanwhile, and keep what it has not written when it goes.
    let other = "[[sinks]]\nname = \"other\"\ntype = \"file\"\npath = \"other.ndjson\"\nevents = [\"ping\"]\n";
    let relay = home.serve(&format!("{other}{config}")).await;
    let (stop, mut senders) = load(&relay, 8);
    eventually("events arrive", async || target.arrivals().len() > 50).await;
    let path = home.path("relay.toml");
    let with = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, with.replace(&config, "")).unwrap();
    assert_eq!(relay.post("/reload").await["changes"]["sinks"]["removed"], json!(["erp"]));
    stop.add_permits(1);
    while let Some(ids) = senders.join_next().await {
        ids.unwrap();
    }
    eventually("nothing is leased any more", async || dispatches(&relay, "state=leased").await.is_empty()).await;
    std::fs::write(&path, with).unwrap();
    relay.post("/reload").await;
    relay.drained().await;
    assert!(times(&target).values().all(|times| *times == 1));
    let delivered = u64::try_from(target.delivered().len()).unwrap();
    assert_eq!(relay.sink("erp").await["delivered"], delivered);
}

/// While a backlog is worked off, what comes in still arrives, and the backlog ends.
async fn a_backlog_and_fresh_events_both_arrive(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink(&target, "")).await;
    relay.post("/sinks/erp/pause").await;
    let finkare = Finkare::of(&relay);
    for _ in 0..10 {
        let bodies: Vec<_> = (0..60).map(|number| payment(&format!("old-{number}"), 1)).collect();
        join_all(bodies.iter().map(|body| finkare.deliver(body))).await;
    }
    let (stop, mut senders) = load(&relay, 4);
    relay.post("/sinks/erp/resume").await;
    let old = || target.arrivals().iter().filter(|arrival| arrival.invoice().starts_with("old")).count();
    eventually("the backlog has arrived, under load", async || old() == 600).await;
    stop.add_permits(1);
    let mut sent = 600;
    while let Some(ids) = senders.join_next().await {
        sent += ids.unwrap().len();
    }
    relay.drained().await;
    assert_eq!(target.arrivals().len(), sent, "each once");
}

async fn only_the_first_of_an_invoice_is_handed_over(backend: Backend) {
    let permits = Arc::new(Semaphore::new(0));
    let waits = permits.clone();
    let target = Target::scripted(move |_, _| Reply::After(waits.clone())).await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink(&target, "timeout_secs = 60")).await;
    let finkare = Finkare::of(&relay);
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(finkare.deliver(&payment("one", number)).await.id());
    }
    for done in 1..=6 {
        eventually("the next one is sent", async || target.arrivals().len() == done).await;
        assert_eq!(dispatches(&relay, "state=leased").await.len(), 1);
        permits.add_permits(1);
    }
    relay.drained().await;
    assert_eq!(target.arrivals().iter().map(|arrival| arrival.id.clone()).collect::<Vec<_>>(), ids);
}

/// What an HTTP server has seen of each invoice: what is being sent to it now, and the events in their order.
#[derive(Default)]
struct Lanes {
    now: HashMap<String, u32>,
    most: u32,
    came: HashMap<String, Vec<i64>>,
}

/// Two replicas record and deliver events of the same invoices at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_never_send_one_invoice_at_the_same_time() {
    const LANES: usize = 6;
    let lanes: Arc<Mutex<Lanes>> = Arc::default();
    let seen = lanes.clone();
    let take = move |body: Bytes| {
        let seen = seen.clone();
        async move {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let invoice = body["data"]["invoiceId"].as_str().unwrap().to_owned();
            {
                let mut lanes = seen.lock().unwrap();
                let now = lanes.now.entry(invoice.clone()).or_default();
                *now += 1;
                let now = *now;
                lanes.most = lanes.most.max(now);
                lanes.came.entry(invoice.clone()).or_default().push(body["data"]["amountCents"].as_i64().unwrap());
            }
            // What the target works on an event; long enough for another one to overtake it.
            tokio::time::sleep(Duration::from_millis(3)).await;
            *seen.lock().unwrap().now.get_mut(&invoice).unwrap() -= 1;
            StatusCode::NO_CONTENT
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", post(take));
    tokio::spawn(finkare_relay::listener::serve(
        listener,
        router,
        1024,
        finkare_relay::lifecycle::Lifecycle::default(),
    ));

    let home = Home::new(Backend::Postgres).await;
    let config = format!("[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"http://{address}/\"\n");
    let first = home.serve(&config).await;
    let second = home.start().await;
    let hooks = [Finkare::of(&first), Finkare::of(&second)];
    // Of the invoices `after`, each event is delivered after the one before was acknowledged, by the other replica. Of the
    // invoices `same`, both replicas get one at the same moment.
    let after = (0..LANES).map(|lane| {
        let hooks = hooks.clone();
        async move {
            for number in 0..30 {
                let body = payment(&format!("after-{lane}"), i64::try_from(number).unwrap());
                assert_eq!(hooks[(lane + number) % 2].deliver(&body).await.status, 200);
            }
        }
    });
    let same = (0..LANES).map(|lane| {
        let hooks = hooks.clone();
        async move {
            for number in 0..30 {
                let bodies = [0, 1].map(|side| payment(&format!("same-{lane}"), number * 2 + side));
                let answers = tokio::join!(hooks[0].deliver(&bodies[0]), hooks[1].deliver(&bodies[1]));
                assert_eq!((answers.0.status, answers.1.status), (200, 200));
            }
        }
    });
    tokio::join!(join_all(after), join_all(same));
    first.drained().await;
    let lanes = lanes.lock().unwrap();
    assert_eq!(lanes.most, 1, "of one invoice, one event at a time");
    for lane in 0..LANES {
        assert_eq!(lanes.came[&format!("after-{lane}")], (0..30).collect::<Vec<_>>(), "in order, each once");
        let mut same = lanes.came[&format!("same-{lane}")].clone();
        let pairs: Vec<_> = same.iter().map(|number| number / 2).collect();
        assert!(pairs.is_sorted(), "a pair was acknowledged before the next one was delivered: {same:?}");
        same.sort_unstable();
        assert_eq!(same, (0..60).collect::<Vec<_>>());
    }
}
