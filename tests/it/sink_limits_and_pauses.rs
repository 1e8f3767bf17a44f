//! The effects of a sink's options: a failing sink affects no other, rate and concurrency are respected, a breaker
//! probes, and a pause or a hold waits for a person.
//!
//! Every assertion is about which events came and in which order; none is about speed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use finkare_relay::model::clock;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, SECRET, on_both_stores},
    target::{Arrival, Reply, Target},
};

on_both_stores!(
    sick_sinks_beside_healthy_ones,
    a_rate_limit_holds_in_every_period_and_is_shared,
    one_invoice_does_not_keep_a_single_slot,
    no_more_at_a_time_than_configured,
    a_tripped_sink_is_probed_with_one,
    a_pause_outlives_a_restart_and_nothing_ages,
    what_is_held_waits_for_a_person,
);

fn status(status: u16) -> Reply {
    Reply::Status(status, vec![])
}

/// An `http` sink that retries quickly.
fn sink(name: &str, target: &Target, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\ntype = \"http\"\nurl = \"{}\"\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
         breaker = {{ failures = 100000, probe_secs = 1 }}\n{more}\n",
        target.url()
    )
}

async fn dispatches(relay: &Relay, filter: &str) -> Vec<Value> {
    relay.all(&format!("/dispatches?{filter}")).await
}

/// The amounts of each invoice, in the order in which they were accepted.
fn taken(arrivals: &[Arrival]) -> BTreeMap<String, Vec<i64>> {
    let mut lanes: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.status == 204) {
        let body: Value = serde_json::from_slice(&arrival.body).unwrap();
        lanes.entry(arrival.invoice()).or_default().push(body["data"]["amountCents"].as_i64().unwrap());
    }
    lanes
}

async fn sick_sinks_beside_healthy_ones(backend: Backend) {
    const EVENTS: i64 = 160;
    let (well, better) = (Target::start().await, Target::start().await);
    let calls = Arc::new(AtomicU32::new(0));
    let flaky =
        Target::scripted(move |_, _| status(if calls.fetch_add(1, Relaxed).is_multiple_of(2) { 500 } else { 204 }))
            .await;
    let sick = Target::scripted(|_, _| status(503)).await;
    let hanging = Target::scripted(|_, _| Reply::Hang).await;
    let busy = Target::scripted(|_, _| Reply::Status(429, vec![("retry-after", "3600".into())])).await;
    let gone = Target::scripted(|_, _| status(410)).await;
    let home = Home::new(backend).await;
    let sinks = [
        sink("well", &well, ""),
        sink("sick", &sick, ""),
        sink("hanging", &hanging, "timeout_secs = 300\nconcurrency = 2"),
        sink("busy", &busy, ""),
        sink("flaky", &flaky, ""),
        sink("gone", &gone, ""),
        sink("better", &better, ""),
    ];
    let relay = home.serve_with("shutdown_timeout_secs = 1", &sinks.concat()).await;
    // Eight senders, each with its own invoices, and each waits for its acknowledgements.
    join_all((0..8).map(|sender| {
        let finkare = Finkare::of(&relay);
        async move {
            for number in 0..EVENTS / 8 {
                let body = payment(&format!("i{sender}-{}", number % 5), number);
                assert_eq!(finkare.deliver(&body).await.status, 200, "acknowledged, whatever the sinks do");
            }
        }
    }))
    .await;
    for (name, target) in [("well", &well), ("better", &better), ("flaky", &flaky)] {
        eventually(&format!("{name} has all"), async || i64::try_from(target.delivered().len()) == Ok(EVENTS)).await;
        let lanes = taken(&target.arrivals());
        assert!(lanes.len() == 40 && lanes.values().all(|lane| lane.is_sorted() && lane.len() == 4), "{lanes:?}");
    }
    // During that time, no event of the other sinks was lost or given up.
    eventually("the pause is seen", async || relay.sink("gone").await["state"] == "paused").await;
    for name in ["sick", "hanging", "busy", "gone"] {
        let row = relay.sink(name).await;
        assert_eq!((&row["backlog"], &row["dead"], &row["delivered"]), (&json!(EVENTS), &json!(0), &json!(0)), "{row}");
    }
    assert_eq!(hanging.arrivals().len(), 2, "as many as it has slots");
    // The first event of each invoice was refused for an hour: nothing behind it is sent, and it is not retried.
    eventually("each invoice has been tried", async || busy.arrivals().len() == 40).await;
    let due: Vec<_> = dispatches(&relay, "sink=busy").await;
    let tried: Vec<_> = due.iter().filter(|dispatch| dispatch["attempts"] != 0).collect();
    assert!(tried.len() == 40 && tried.iter().all(|dispatch| dispatch["attempts"] == 1), "{tried:?}");

    // Both targets recover, each in its own way.
    sick.script(|_, _| status(204));
    gone.script(|_, _| status(204));
    relay.post("/sinks/gone/resume").await;
    for (name, target) in [("sick", &sick), ("gone", &gone)] {
        eventually(&format!("{name} has all"), async || i64::try_from(target.delivered().len()) == Ok(EVENTS)).await;
        assert!(taken(&target.arrivals()).values().all(|lane| lane.is_sorted()));
    }
    let (exit, log) = relay.terminate().await;
    assert!(exit.success(), "{log}");
}

async fn a_rate_limit_holds_in_every_period_and_is_shared(backend: Backend) {
    const PERIOD: Duration = Duration::from_secs(1);
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = times.clone();
    let target = Target::scripted(move |_, _| {
        seen.lock().unwrap().push(Instant::now());
        status(204)
    })
    .await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink("erp", &target, "rate_limit = { requests = 5, per_secs = 1 }")).await;
    a_busy_invoice_and_others(&relay).await;
    relay.drained().await;
    assert_eq!(target.delivered().len(), 30);
    // As counted by the target: no period of this length, wherever it begins, contains more than five.
    let times = times.lock().unwrap().clone();
    for window in times.windows(6) {
        assert!(window[5] - window[0] >= PERIOD, "{:?}", window[5] - window[0]);
    }
    shared(&target);
}

/// A long backlog of one invoice, and a few events of others behind it.
async fn a_busy_invoice_and_others(relay: &Relay) {
    relay.post("/sinks/erp/pause").await;
    let finkare = Finkare::of(relay);
    for number in 0..24 {
        finkare.deliver(&payment("busy", number)).await;
    }
    for other in 0..6 {
        finkare.deliver(&payment(&format!("other-{other}"), 0)).await;
    }
    relay.post("/sinks/erp/resume").await;
}

/// The other invoices do not wait until the busy invoice is done; it gets its turns, in order.
fn shared(target: &Target) {
    let arrivals = target.arrivals();
    assert_eq!(taken(&arrivals)["busy"], (0..24).collect::<Vec<_>>());
    let last_other = arrivals.iter().rposition(|arrival| arrival.invoice() != "busy").unwrap();
    let before = arrivals[..last_other].iter().filter(|arrival| arrival.invoice() == "busy").count();
    assert!(before <= 8, "{before} of the busy invoice came before the last of the others");
}

async fn one_invoice_does_not_keep_a_single_slot(backend: Backend) {
    let permits = Arc::new(Semaphore::new(0));
    let gate = permits.clone();
    let target = Target::scripted(move |_, _| Reply::After(gate.clone())).await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink("erp", &target, "concurrency = 1\ntimeout_secs = 60")).await;
    a_busy_invoice_and_others(&relay).await;
    for number in 1..=30 {
        eventually("the next one comes", async || target.arrivals().len() == number).await;
        permits.add_permits(1);
    }
    relay.drained().await;
    shared(&target);
}

async fn no_more_at_a_time_than_configured(backend: Backend) {
    let permits = Arc::new(Semaphore::new(0));
    let gate = permits.clone();
    let target = Target::scripted(move |_, _| Reply::After(gate.clone())).await;
    let well = Target::start().await;
    let home = Home::new(backend).await;
    let sinks = sink("erp", &target, "concurrency = 3\ntimeout_secs = 60") + &sink("well", &well, "");
    let relay = home.serve(&sinks).await;
    let finkare = Finkare::of(&relay);
    for number in 0..20 {
        finkare.deliver(&payment(&format!("i{number}"), 0)).await;
    }
    eventually("the sink beside it has all", async || well.delivered().len() == 20).await;
    for answered in 0..=17 {
        eventually("every slot is used", async || target.arrivals().len() >= answered + 3).await;
        // One more event for both sinks: once the other sink has it, this sink had its chance to start too many
        // attempts.
        let id = finkare.deliver(&payment(&format!("more-{answered}"), 0)).await.id();
        eventually("the sink beside it has it", async || well.delivered().contains_key(&id)).await;
        assert_eq!(target.arrivals().len(), answered + 3, "and none beyond");
        permits.add_permits(1);
    }
    permits.add_permits(100);
    relay.drained().await;
    assert_eq!(target.delivered().len(), 38);
}

async fn a_tripped_sink_is_probed_with_one(backend: Backend) {
    let sick = Target::scripted(|_, _| status(503)).await;
    let well = Target::start().await;
    let home = Home::new(backend).await;
    let sinks = sink("erp", &sick, "timeout_secs = 60")
        .replace("failures = 100000, probe_secs = 1", "failures = 10, probe_secs = 0.1")
        + &sink("well", &well, "");
    let mut relay = home.serve(&sinks).await;
    let finkare = Finkare::of(&relay);
    for number in 0..40 {
        finkare.deliver(&payment(&format!("i{}", number % 20), number / 20)).await;
    }
    relay.wait_for_line("the sink failed too many times in a row").await;
    assert_eq!(relay.sink("erp").await["state"], "tripped");
    let before = sick.arrivals().len();
    eventually("it is probed again and again", async || sick.arrivals().len() >= before + 5).await;

    // From here on, the test decides how long a probe takes.
    let permits = Arc::new(Semaphore::new(0));
    let gate = permits.clone();
    let probes = Arc::new(AtomicU32::new(0));
    let counted = probes.clone();
    sick.script(move |_, _| {
        counted.fetch_add(1, Relaxed);
        Reply::After(gate.clone())
    });
    eventually("a probe is under way", async || probes.load(Relaxed) == 1).await;
    for number in 0..10 {
        let id = finkare.deliver(&payment(&format!("new-{number}"), 0)).await.id();
        eventually("the sink beside it has it", async || well.delivered().contains_key(&id)).await;
    }
    assert_eq!(probes.load(Relaxed), 1, "one dispatch at a time");
    let row = relay.sink("erp").await;
    assert_eq!((&row["state"], &row["backlog"], &row["dead"]), (&json!("tripped"), &json!(50), &json!(0)), "{row}");

    sick.script(|_, _| status(204));
    permits.add_permits(1);
    relay.drained().await;
    relay.wait_for_line("the sink works again").await;
    assert_eq!((sick.delivered().len(), &relay.sink("erp").await["dead"]), (50, &json!(0)));
    let lanes = taken(&sick.arrivals());
    assert!(lanes.values().all(|lane| lane.is_sorted()), "{lanes:?}");
    // The rows count the attempts that were made.
    let attempts: u64 = dispatches(&relay, "sink=erp").await.iter().map(|row| row["attempts"].as_u64().unwrap()).sum();
    assert_eq!(attempts, sick.arrivals().len() as u64);
}

async fn a_pause_outlives_a_restart_and_nothing_ages(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let config = sink("erp", &target, "").replace("give_up_after_secs = 3600", "give_up_after_secs = 1");
    let relay = home.serve(&config).await;
    relay.post("/sinks/erp/pause").await;
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(Finkare::of(&relay).deliver(&payment(&format!("i{}", number % 3), number / 3)).await.id());
    }
    assert!(relay.terminate().await.0.success());
    let relay = home.start().await;
    let row = relay.sink("erp").await;
    assert_eq!((&row["state"], &row["backlog"]), (&json!("paused"), &json!(6)), "{row}");
    let stored: jiff::Timestamp = row["oldest_pending"].as_str().unwrap().parse().unwrap();
    eventually("they are older than the time after which a sink gives up", async || {
        clock::now().duration_since(stored).as_secs() >= 2
    })
    .await;

    // The first attempt fails. If the events had aged while they waited, they would be given up now.
    let failed: Arc<Mutex<HashSet<String>>> = Arc::default();
    target.script(move |headers, _| {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        status(if failed.lock().unwrap().insert(id) { 503 } else { 204 })
    });
    assert!(target.arrivals().is_empty(), "not one while it was paused");
    relay.post("/sinks/erp/resume").await;
    relay.drained().await;
    assert_eq!(relay.sink("erp").await["dead"], 0);
    let mut delivered: Vec<_> = target.delivered().into_keys().collect();
    delivered.sort();
    ids.sort();
    assert_eq!(delivered, ids);
    assert!(dispatches(&relay, "sink=erp").await.iter().all(|dispatch| dispatch["attempts"] == 2));
}

/// Events of Finkare's sandbox that were stored before the sink was marked `live`.
async fn what_is_held_waits_for_a_person(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let endpoint = format!("secret = \"{SECRET}\"\napi_key = \"fk_test_YSBrZXkgb2YgdGhlIHNhbmRib3g\"");
    home.configure("", &endpoint, &sink("books", &target, ""));
    let relay = home.start().await;
    relay.post("/sinks/books/pause").await;
    let finkare = Finkare::of(&relay);
    let first = finkare.deliver(&payment("one", 1)).await.id();
    finkare.deliver(&payment("one", 2)).await;
    let other = finkare.deliver(&payment("two", 1)).await.id();
    assert!(relay.terminate().await.0.success());

    home.configure("", &endpoint, &sink("books", &target, "live = true"));
    let relay = home.start().await;
    relay.post("/sinks/books/resume").await;
    eventually("the first of each invoice is held", async || relay.sink("books").await["held"] == 2).await;
    let held = dispatches(&relay, "state=held").await;
    for dispatch in &held {
        assert!(dispatch["next_attempt_at"].is_null(), "nothing happens by itself: {dispatch}");
        assert!(dispatch["last_error"].as_str().unwrap().contains("sandbox"), "{dispatch}");
    }
    let waiting = dispatches(&relay, "state=pending").await;
    let head = held.iter().find(|dispatch| dispatch["event_id"] == first.as_str()).unwrap();
    assert_eq!((waiting.len(), &waiting[0]["waits_for"]), (1, &head["id"]), "{waiting:?}");
    assert!(target.arrivals().is_empty());

    // A person decides: this dispatch is cancelled, and the next one of its invoice follows; the others are sent once
    // the sink is no longer marked.
    relay.post(&format!("/dispatches/{}/cancel", head["id"])).await;
    eventually("the next is held", async || {
        dispatches(&relay, "state=held").await.iter().any(|dispatch| dispatch["id"] == waiting[0]["id"])
    })
    .await;
    // In the same process, by a reload.
    home.configure("", &endpoint, &sink("books", &target, ""));
    relay.post("/reload").await;
    let (code, answer) = relay.try_post_json("/dispatches/retry", &json!({"sink": "books", "state": "held"})).await;
    assert_eq!((code, &answer["retried"]), (200, &json!(2)), "{answer}");
    relay.drained().await;
    let delivered = target.delivered();
    assert!(delivered.len() == 2 && delivered.contains_key(&other) && !delivered.contains_key(&first));
    assert_eq!(relay.sink("books").await["held"], 0);
}
