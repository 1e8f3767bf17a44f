//! Three processes on one Postgres share the work, and replace each other.
//!
//! [`crate::rotation`] tests rotations with several replicas.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay},
    target::{Arrival, Reply, Target},
};

/// `timeout_secs` and the lease's margin: the dispatches of a crashed replica are returned within this time.
const LEASE: Duration = Duration::from_secs(1 + 10);

fn sink(target: &Target, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
         breaker = {{ failures = 100000, probe_secs = 1 }}\n{more}\n",
        target.url()
    )
}

async fn three(home: &Home, sinks: &str) -> Vec<Relay> {
    // The first one starts alone, so that it writes the configuration once.
    let first = home.serve(sinks).await;
    let (second, third) = tokio::join!(home.start(), home.start());
    vec![first, second, third]
}

fn ok() -> Reply {
    Reply::Status(204, vec![])
}

/// How many times each event came.
fn times(arrivals: &[Arrival]) -> HashMap<String, u32> {
    let mut times = HashMap::new();
    for arrival in arrivals {
        *times.entry(arrival.id.clone()).or_default() += 1;
    }
    times
}

/// For each process, the sequence numbers of each invoice in the order in which they were accepted.
fn taken(arrivals: &[Arrival]) -> BTreeMap<String, Vec<i64>> {
    let mut lanes: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.status == 204) {
        let body: serde_json::Value = serde_json::from_slice(&arrival.body).unwrap();
        lanes.entry(arrival.invoice()).or_default().push(body["data"]["amountCents"].as_i64().unwrap());
    }
    lanes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_all_at_the_same_moment_is_one_event_sent_once() {
    let target = Target::start().await;
    let home = Home::new(Backend::Postgres).await;
    let relays = three(&home, &sink(&target, "")).await;
    let hooks: Vec<_> = relays.iter().map(Finkare::of).collect();
    let bodies: Vec<_> = (0..120).map(|number| payment(&format!("i{}", number % 40), number)).collect();
    let answers = join_all(bodies.iter().map(|body| join_all(hooks.iter().map(|hook| hook.deliver(body))))).await;
    for repetitions in &answers {
        assert!(repetitions.iter().all(|answer| answer.status == 200), "{repetitions:?}");
        let ids: HashSet<_> = repetitions.iter().map(super::support::finkare::Answer::id).collect();
        assert_eq!(ids.len(), 1, "one event, whichever replica was asked");
        assert_eq!(repetitions.iter().filter(|answer| !answer.is_duplicate()).count(), 1, "new for one of them");
    }
    relays[1].drained().await;
    let events = relays[2].all("/events").await;
    assert_eq!(events.len(), bodies.len());
    assert!(events.iter().all(|event| event["deliveries"] == 3));
    let times = times(&target.arrivals());
    assert_eq!(times.len(), bodies.len());
    assert!(times.values().all(|times| *times == 1), "nothing failed, so nothing is repeated: {times:?}");
    for relay in relays {
        let (exit, log) = relay.terminate().await;
        assert!(exit.success() && !log.contains("another worker decides"), "{log}");
    }
}

/// About every third request fails; the events of each invoice still come in order, and no event is sent before the
/// earlier one was accepted.
#[tokio::test(flavor = "multi_thread")]
async fn order_per_invoice_holds_across_replicas_under_failures() {
    let calls = Arc::new(AtomicU32::new(0));
    let target = Target::scripted(move |_, _| match calls.fetch_add(1, Relaxed) % 3 {
        1 => Reply::Status(503, vec![]),
        _ => ok(),
    })
    .await;
    let home = Home::new(Backend::Postgres).await;
    let relays = three(&home, &sink(&target, "")).await;
    // The events of one invoice come one after the other, each through another replica; those of different invoices
    // come at the same time.
    let lanes = (0..6).map(|lane| {
        let hooks: Vec<_> = relays.iter().map(Finkare::of).collect();
        async move {
            for number in 0..15 {
                let answer = hooks[(lane + number) % hooks.len()]
                    .deliver(&payment(&format!("lane-{lane}"), i64::try_from(number).unwrap()))
                    .await;
                assert_eq!(answer.status, 200);
            }
        }
    });
    join_all(lanes).await;
    relays[0].drained().await;
    let arrivals = target.arrivals();
    let lanes = taken(&arrivals);
    assert_eq!(lanes.len(), 6);
    for (lane, numbers) in lanes {
        assert_eq!(numbers, (0..15).collect::<Vec<_>>(), "{lane}: each once, in order");
    }
    assert!(arrivals.iter().any(|arrival| arrival.status == 503), "the target did fail");
    // The failed dispatch was the head of its lane: no other dispatch of the lane overtook it.
    let mut heads: HashMap<String, i64> = HashMap::new();
    for arrival in &arrivals {
        let body: serde_json::Value = serde_json::from_slice(&arrival.body).unwrap();
        let head = heads.entry(arrival.invoice()).or_default();
        assert_eq!(body["data"]["amountCents"].as_i64(), Some(*head), "{}", arrival.invoice());
        *head += i64::from(arrival.status == 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_killed_replica_is_taken_over_within_a_lease() {
    // The target does not answer the first replica's attempts, so that this replica dies while it holds leases.
    let hanging = Arc::new(Mutex::new(true));
    let hangs = hanging.clone();
    let target = Target::scripted(move |_, _| if *hangs.lock().unwrap() { Reply::Hang } else { ok() }).await;
    let home = Home::new(Backend::Postgres).await;
    let config = sink(&target, "timeout_secs = 1\nconcurrency = 4")
        .replace("initial_secs = 0.05, max_secs = 1", "initial_secs = 60, max_secs = 60");
    let first = home.serve(&config).await;
    let finkare = Finkare::of(&first);
    let mut ids = HashSet::new();
    // Two events of each invoice: the event behind a dead replica's dispatch continues as well.
    for number in 0..8 {
        ids.insert(finkare.deliver(&payment(&format!("i{}", number % 4), number / 4)).await.id());
    }
    eventually("it holds leases", async || target.arrivals().len() == 4).await;
    let leased = first.all("/dispatches?state=leased").await;
    first.kill();
    let killed_at = Instant::now();
    let before: HashSet<_> = target.arrivals().into_iter().map(|arrival| arrival.id).collect();
    *hanging.lock().unwrap() = false;

    let (second, third) = tokio::join!(home.start(), home.start());
    let more = Finkare::of(&third).deliver(&payment("another", 0)).await.id();
    eventually("the living go on meanwhile", async || target.delivered().contains_key(&more)).await;
    second.drained().await;
    assert!(!leased.is_empty(), "it died with leases in its hands");
    ids.insert(more);
    let delivered = target.delivered();
    assert_eq!(delivered.keys().cloned().collect::<HashSet<_>>(), ids, "nothing lost, nothing else");
    for (id, times) in times(&target.arrivals()) {
        assert_eq!(times, if before.contains(&id) { 2 } else { 1 }, "again under the same id: {id}");
    }
    for lane in taken(&target.arrivals()).values() {
        assert!(lane.is_sorted(), "{lane:?}");
    }
    // The limit leaves room for a busy machine, but not for a second lease.
    assert!(killed_at.elapsed() < LEASE * 2, "{:?}", killed_at.elapsed());
}

/// The leases last five minutes: the other replicas are this quick only because the leases are returned.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_gives_its_leases_back() {
    let hanging = Arc::new(Mutex::new(true));
    let hangs = hanging.clone();
    let target = Target::scripted(move |_, _| if *hangs.lock().unwrap() { Reply::Hang } else { ok() }).await;
    let home = Home::new(Backend::Postgres).await;
    let config = sink(&target, "timeout_secs = 300\nconcurrency = 4");
    let first = home.serve_with("shutdown_timeout_secs = 1", &config).await;
    let finkare = Finkare::of(&first);
    let mut ids = HashSet::new();
    for number in 0..8 {
        ids.insert(finkare.deliver(&payment(&format!("i{number}"), number)).await.id());
    }
    eventually("its slots are full", async || target.arrivals().len() == 4).await;
    // Other replicas are running already and have nothing to do: all dispatches are claimed by the first one.
    let pause = first.post("/sinks/erp/pause").await;
    assert_eq!(pause["state"], "paused");
    let (second, third) = tokio::join!(home.start(), home.start());
    *hanging.lock().unwrap() = false;
    let (exit, log) = first.terminate().await;
    assert!(exit.success(), "{log}");
    let given = second.all("/dispatches").await;
    assert!(given.iter().all(|dispatch| dispatch["state"] == "pending" && dispatch["attempts"] == 0), "{given:?}");
    third.post("/sinks/erp/resume").await;
    second.drained().await;
    assert_eq!(target.delivered().into_keys().collect::<HashSet<_>>(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_through_one_holds_on_all() {
    let (target, well) = (Target::start().await, Target::start().await);
    let home = Home::new(Backend::Postgres).await;
    let config = sink(&target, "") + &sink(&well, "").replace("\"erp\"", "\"well\"");
    let relays = three(&home, &config).await;
    assert_eq!(relays[0].post("/sinks/erp/pause").await["state"], "paused");
    for relay in &relays {
        let row = relay.sink("erp").await;
        assert_eq!((&row["state"], &row["paused_reason"]), (&json!("paused"), &json!("paused by tests")));
    }
    let hooks: Vec<_> = relays.iter().map(Finkare::of).collect();
    for number in 0..30 {
        assert_eq!(hooks[number % 3].deliver(&payment(&format!("i{number}"), 1)).await.status, 200);
    }
    eventually("the sink beside it has all", async || well.delivered().len() == 30).await;
    assert!(target.arrivals().is_empty());
    assert_eq!(relays[1].sink("erp").await["backlog"], 30);
    assert_eq!(relays[2].post("/sinks/erp/resume").await["state"], "active");
    relays[0].drained().await;
    assert!(times(&target.arrivals()).len() == 30 && target.arrivals().len() == 30);
}
