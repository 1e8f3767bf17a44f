//! The relay's own events, through the service: made by what really happens, and sent to the sinks that name them.

use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(
    what_needs_a_person_is_told_once_and_only_to_who_asks,
    a_sink_that_fails_for_a_while_is_told_and_its_recovery,
    refused_deliveries_are_told_with_a_count,
    what_finkare_sends_never_passes_for_the_relays_own,
);

const QUICK: &str = "[notices]\ngroup_secs = 1\ntripped_after_secs = 1\n";

fn status(status: u16) -> Reply {
    Reply::Status(status, vec![])
}

fn sink(name: &str, target: &Target, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\ntype = \"http\"\nurl = \"{}\"\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
         breaker = {{ failures = 3, probe_secs = 0.2 }}\n{more}\n",
        target.url()
    )
}

/// What a target got of this type.
fn got(target: &Target, event_type: &str) -> Vec<Value> {
    let bodies = target.arrivals().into_iter().map(|arrival| serde_json::from_slice::<Value>(&arrival.body).unwrap());
    bodies.filter(|body| body["event"] == event_type).collect()
}

/// How much the events of this type count together.
fn counted(target: &Target, event_type: &str) -> i64 {
    got(target, event_type).iter().map(|body| body["data"]["count"].as_i64().unwrap()).sum()
}

async fn eventually_told(target: &Target, event_type: &str, times: usize) -> Vec<Value> {
    eventually(event_type, async || got(target, event_type).len() >= times).await;
    got(target, event_type)
}

async fn deliver(relay: &Relay, numbers: std::ops::Range<i64>) {
    let finkare = Finkare::of(relay);
    for number in numbers {
        assert_eq!(finkare.deliver(&payment(&format!("i{number}"), number)).await.status, 200);
    }
}

async fn what_needs_a_person_is_told_once_and_only_to_who_asks(backend: Backend) {
    let (erp, desk, everything) = (Target::start().await, Target::start().await, Target::start().await);
    erp.script(|_, _| status(422));
    let sinks = [
        QUICK.to_owned(),
        sink("erp", &erp, ""),
        sink("desk", &desk, "events = [\"relay.*\"]"),
        sink("everything", &everything, "events = \"*\""),
    ];
    let home = Home::new(backend).await;
    let relay = home.serve(&sinks.concat()).await;
    deliver(&relay, 1..31).await;
    eventually("all are told", async || counted(&desk, "relay.dead") == 30).await;
    let told = got(&desk, "relay.dead");
    assert!(told.len() <= 4, "grouped: {told:#?}");
    assert_eq!(told[0]["data"]["sink"], "erp");
    let sum: i64 = told.iter().map(|body| body["data"]["amount_cents"].as_i64().unwrap()).sum();
    assert_eq!(sum, (1..31).sum::<i64>());

    relay.post("/sinks/erp/pause").await;
    let paused = eventually_told(&desk, "relay.sink_paused", 1).await;
    assert_eq!(paused[0]["data"]["sink"], "erp");
    relay.post("/sinks/erp/resume").await;
    eventually_told(&desk, "relay.sink_recovered", 1).await;
    // They are events like the others, of no endpoint.
    let listed = relay.all("/events?type=relay.sink_paused").await;
    assert_eq!((listed.len(), &listed[0]["endpoint"]), (1, &Value::Null), "{listed:?}");
    let arrived = desk.arrivals().into_iter().find(|arrival| arrival.header("x-relay-event") == "relay.sink_paused");
    let arrived = arrived.unwrap();
    assert_eq!(arrived.header("x-relay-endpoint"), "", "{:?}", arrived.body);
    assert_eq!(arrived.id, listed[0]["id"].as_str().unwrap());
    eventually("everything else has arrived", async || got(&everything, "payment.received").len() == 30).await;
    let others =
        everything.arrivals().iter().filter(|arrival| arrival.header("x-relay-event").starts_with("relay.")).count();
    assert_eq!(others, 0, "\"*\" is everything of Finkare's");
}

async fn a_sink_that_fails_for_a_while_is_told_and_its_recovery(backend: Backend) {
    let (erp, desk) = (Target::start().await, Target::start().await);
    erp.script(|_, _| status(503));
    let sinks = [
        QUICK.to_owned(),
        sink("erp", &erp, ""),
        sink("desk", &desk, "events = [\"relay.sink_paused\", \"relay.sink_tripped\", \"relay.sink_recovered\"]"),
    ];
    let home = Home::new(backend).await;
    let relay = home.serve(&sinks.concat()).await;
    // All five are there before the first attempt.
    relay.post("/sinks/erp/pause").await;
    eventually_told(&desk, "relay.sink_paused", 1).await;
    deliver(&relay, 1..6).await;
    relay.post("/sinks/erp/resume").await;
    eventually_told(&desk, "relay.sink_recovered", 1).await;
    let tripped = eventually_told(&desk, "relay.sink_tripped", 1).await;
    assert_eq!(tripped[0]["data"]["sink"], "erp");
    assert!(tripped[0]["data"]["reason"].as_str().unwrap().contains("503"), "{tripped:?}");
    assert_eq!(tripped[0]["data"]["backlog"], 5);
    erp.script(|_, _| status(204));
    let recovered = eventually_told(&desk, "relay.sink_recovered", 2).await;
    assert_eq!(recovered[1]["data"]["since"], tripped[0]["data"]["since"]);
    relay.drained().await;
    assert_eq!((got(&desk, "relay.sink_tripped").len(), got(&desk, "relay.sink_recovered").len()), (1, 2));
}

async fn refused_deliveries_are_told_with_a_count(backend: Backend) {
    let desk = Target::start().await;
    let home = Home::new(backend).await;
    let relay =
        home.serve(&[QUICK.to_owned(), sink("desk", &desk, "events = [\"relay.deliveries_refused\"]")].concat()).await;
    let finkare = Finkare::of(&relay);
    for _ in 0..3 {
        assert_eq!(finkare.post(payment("i", 1), Some(&"0".repeat(64))).await.status, 401);
        assert_eq!(finkare.post(payment("i", 1), None).await.status, 401);
    }
    eventually("all are counted", async || counted(&desk, "relay.deliveries_refused") == 3).await;
    let told = got(&desk, "relay.deliveries_refused");
    assert_eq!(
        (&told[0]["data"]["endpoint"], &told[0]["data"]["cause"]),
        (&"production".into(), &"wrong_secret".into())
    );
}

async fn what_finkare_sends_never_passes_for_the_relays_own(backend: Backend) {
    let (desk, everything) = (Target::start().await, Target::start().await);
    let home = Home::new(backend).await;
    let sinks = [sink("desk", &desk, "events = [\"relay.*\"]"), sink("everything", &everything, "events = \"*\"")];
    let relay = home.serve(&sinks.concat()).await;
    let body = json!({"event": "relay.held", "data": {"count": 1}, "timestamp": "2026-11-27T20:00:00Z"}).to_string();
    assert_eq!(Finkare::of(&relay).deliver(body.as_bytes()).await.status, 200);
    eventually("it is kept for a person", async || everything.arrivals().len() == 1).await;
    assert_eq!(everything.arrivals()[0].header("x-relay-event"), "unreadable");
    let events = relay.all("/events").await;
    assert_eq!((events.len(), &events[0]["readable"]), (1, &false.into()));
    relay.drained().await;
    assert_eq!(desk.arrivals().len(), 0);
}

/// The same state is seen by all replicas, and told by one.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_tell_once() {
    let (erp, desk) = (Target::start().await, Target::start().await);
    erp.script(|_, _| status(422));
    let home = Home::new(Backend::Postgres).await;
    let sinks = [QUICK.to_owned(), sink("erp", &erp, ""), sink("desk", &desk, "events = [\"relay.*\"]")];
    let first = home.serve(&sinks.concat()).await;
    let (second, third) = tokio::join!(home.start(), home.start());
    deliver(&first, 1..6).await;
    second.post("/sinks/erp/pause").await;
    eventually_told(&desk, "relay.sink_paused", 1).await;
    third.post("/sinks/erp/resume").await;
    eventually_told(&desk, "relay.sink_recovered", 1).await;
    eventually("all are told", async || counted(&desk, "relay.dead") == 5).await;
    first.drained().await;
    assert_eq!((got(&desk, "relay.sink_paused").len(), got(&desk, "relay.sink_recovered").len()), (1, 1));
}
