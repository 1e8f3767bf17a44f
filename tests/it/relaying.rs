//! Relaying: what arrives at the sinks, in which order, and what happens when sinks fail.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use finkare_relay::model::clock;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, on_both_stores},
    target::{Reply, Target},
};

const SINK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

on_both_stores!(
    an_http_sink_gets_the_bytes_signed,
    a_sick_target_gets_it_again_under_the_same_id,
    retry_after_is_honoured,
    a_refusal_is_dead_at_once_and_the_next_goes,
    a_target_that_is_gone_pauses_its_sink,
    order_per_invoice_under_failures,
    a_sink_that_hangs_hurts_nobody_else,
    sinks_get_what_they_asked_for,
    what_is_tried_for_too_long_is_given_up,
    a_paused_sink_loses_nothing_across_a_restart,
    the_dead_can_be_tried_again_or_called_off,
    a_rate_limit_holds_back_and_loses_nothing,
    a_tripped_sink_is_probed_and_its_backlog_waits,
    sinks_that_trip_at_once_hold_up_nobody,
    a_backlog_of_large_bodies_waits_in_the_store,
);

fn ok() -> Reply {
    Reply::Status(204, vec![])
}

fn status(status: u16) -> Reply {
    Reply::Status(status, vec![])
}

/// An `http` sink that retries quickly.
fn sink(name: &str, target: &Target, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
         breaker = {{ failures = 1000, probe_secs = 1 }}\n{more}\n",
        target.url()
    )
}

async fn dispatches(relay: &Relay, filter: &str) -> Vec<Value> {
    relay.all(&format!("/dispatches?{filter}")).await
}

async fn an_http_sink_gets_the_bytes_signed(backend: Backend) {
    let (home, target) = (Home::new(backend).await, Target::start().await);
    let more = format!("secret = \"{SINK_SECRET}\"\nheaders = {{ x-team = \"billing\" }}");
    let relay = home.serve(&sink("erp", &target, &more)).await;
    let finkare = Finkare::of(&relay);
    let bodies: [Vec<u8>; 4] = [
        payment("i1", 150_000),
        b"{ \"event\" : \"payment.received\",\n\t\"data\":{\"invoiceId\":\"\xc3\xa9\",\"n\":1.0} }".to_vec(),
        vec![0, 159, 146, 150],
        vec![b'x'; 900_000],
    ];
    let mut sent = HashMap::new();
    for body in &bodies {
        sent.insert(finkare.deliver(body).await.id(), body.clone());
    }
    eventually("everything arrives", async || target.arrivals().len() == bodies.len()).await;
    let webhook = standardwebhooks::Webhook::new(SINK_SECRET).unwrap();
    for arrival in target.arrivals() {
        assert_eq!(arrival.body, sent[&arrival.id], "byte for byte");
        // The library takes texts only; the sinks' own tests check the signature of binary bodies.
        if std::str::from_utf8(&arrival.body).is_ok() {
            webhook.verify(&arrival.body, &arrival.headers).expect("the scheme's own library accepts it");
        } else {
            assert!(arrival.header("webhook-signature").starts_with("v1,"));
        }
        assert_eq!(arrival.header("content-type"), "application/json");
        assert_eq!(arrival.header("x-relay-endpoint"), "production");
        assert_eq!(arrival.header("x-relay-attempt"), "1");
        assert_eq!(arrival.header("x-relay-trigger"), "event");
        assert_eq!(arrival.header("x-team"), "billing");
        assert_eq!(arrival.header("user-agent"), concat!("finkare-relay/", env!("CARGO_PKG_VERSION")));
        let expected = if sent[&arrival.id].starts_with(b"{") { "payment.received" } else { "unreadable" };
        assert_eq!(arrival.header("x-relay-event"), expected);
    }
}

async fn a_sick_target_gets_it_again_under_the_same_id(backend: Backend) {
    let tries = Arc::new(AtomicU32::new(0));
    let target = Target::scripted(move |_, _| match tries.fetch_add(1, Relaxed) {
        0 => status(503),
        1 => status(429),
        2 => status(500),
        _ => ok(),
    })
    .await;
    let home = Home::new(backend).await;
    let mut relay = home.serve(&sink("erp", &target, "")).await;
    let id = Finkare::of(&relay).deliver(&payment("i1", 1)).await.id();
    relay.drained().await;
    let line: Value = serde_json::from_str(&relay.wait_for_line("will be retried").await).unwrap();
    assert!(line["retry_in_ms"].is_u64() && line["duration_ms"].is_f64(), "numbers, not texts: {line}");
    let arrivals = target.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.id == id));
    let attempts: Vec<_> = arrivals.iter().map(|arrival| arrival.header("x-relay-attempt").to_owned()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    let event = relay.get(&format!("/events/{id}")).await;
    let dispatch = &event["dispatches"][0];
    assert_eq!((&dispatch["state"], &dispatch["attempts"]), (&json!("delivered"), &json!(4)));
    let outcomes: Vec<_> =
        dispatch["attempt_log"].as_array().unwrap().iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, ["retry", "retry", "retry", "delivered"]);
    assert!(dispatch["attempt_log"][0]["error"].as_str().unwrap().contains("503"), "{dispatch}");
}

async fn retry_after_is_honoured(backend: Backend) {
    let date = httpdate::fmt_http_date(std::time::SystemTime::from(clock::now()) + Duration::from_mins(30));
    let target = Target::scripted(move |headers, _| {
        let wish = if headers["x-relay-event"] == "seconds" { "1800".to_owned() } else { date.clone() };
        Reply::Status(503, vec![("retry-after", wish)])
    })
    .await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink("erp", &target, "")).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(br#"{"event":"seconds"}"#).await;
    finkare.deliver(br#"{"event":"date"}"#).await;
    eventually("both are put off", async || {
        dispatches(&relay, "state=pending").await.iter().filter(|dispatch| dispatch["attempts"] == 1).count() == 2
    })
    .await;
    for dispatch in dispatches(&relay, "state=pending").await {
        let next: jiff::Timestamp = dispatch["next_attempt_at"].as_str().unwrap().parse().unwrap();
        let wait = next.duration_since(clock::now()).as_secs();
        assert!((1600..=1800).contains(&wait), "{wait} s: {dispatch}");
    }
}

async fn a_refusal_is_dead_at_once_and_the_next_goes(backend: Backend) {
    let elsewhere = Target::start().await;
    let redirect = elsewhere.url();
    let target = Target::scripted(move |headers, _| match headers["x-relay-event"].to_str().unwrap() {
        "redirected" => Reply::Status(307, vec![("location", redirect.clone())]),
        "refused" => status(422),
        _ => ok(),
    })
    .await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink("erp", &target, "")).await;
    let finkare = Finkare::of(&relay);
    for event in ["redirected", "refused", "fine"] {
        let body = json!({"event": event, "data": {"invoiceId": "one"}}).to_string();
        finkare.deliver(body.as_bytes()).await;
    }
    relay.drained().await;
    let dead = dispatches(&relay, "state=dead").await;
    assert_eq!(dead.len(), 2);
    for (dispatch, status) in dead.iter().zip(["422", "307"]) {
        assert_eq!(dispatch["attempts"], 1);
        assert!(dispatch["last_error"].as_str().unwrap().contains(status), "{dispatch}");
        assert!(dispatch["finished_at"].is_string());
    }
    assert_eq!(dispatches(&relay, "state=delivered").await.len(), 1, "a dead one does not hold up its invoice");
    assert!(elsewhere.arrivals().is_empty(), "redirects are not followed");
    assert_eq!(relay.sink("erp").await["dead"], 2);
}

async fn a_target_that_is_gone_pauses_its_sink(backend: Backend) {
    let gone = Arc::new(AtomicBool::new(true));
    let seen = gone.clone();
    let target = Target::scripted(move |_, _| if seen.load(Relaxed) { status(410) } else { ok() }).await;
    let home = Home::new(backend).await;
    let mut relay = home.serve(&sink("erp", &target, "concurrency = 1")).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("i1", 1)).await;
    eventually("the sink pauses", async || relay.sink("erp").await["state"] == "paused").await;
    let answers = join_all((0..5).map(|n| {
        let finkare = finkare.clone();
        async move { finkare.deliver(&payment("i2", n)).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.status == 200), "acknowledged all the same");
    assert_eq!(dispatches(&relay, "state=pending").await.len(), 6, "they wait, with the one that met the 410");
    assert_eq!(target.arrivals().len(), 1);
    let line = relay.wait_for_line("the sink is paused until a person resumes it: its events wait").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["level"], &line["sink.name"], &line["outcome"]),
        (&json!("ERROR"), &json!("erp"), &json!("retry"))
    );
    gone.store(false, Relaxed);
    assert_eq!(relay.post("/sinks/erp/resume").await["state"], "active");
    relay.drained().await;
    assert_eq!(target.delivered().len(), 6);
    assert!(dispatches(&relay, "state=dead").await.is_empty());
}

async fn order_per_invoice_under_failures(backend: Backend) {
    const INVOICES: usize = 12;
    const EVENTS: i64 = 25;
    let calls = Arc::new(AtomicU32::new(0));
    let target = Target::scripted(move |_, _| match calls.fetch_add(1, Relaxed) % 3 {
        0 => status(503),
        _ => ok(),
    })
    .await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink("erp", &target, "concurrency = 16")).await;
    let finkare = Finkare::of(&relay);
    let sent = join_all((0..INVOICES).map(|invoice| {
        let finkare = finkare.clone();
        async move {
            let mut ids = Vec::new();
            for number in 0..EVENTS {
                ids.push(finkare.deliver(&payment(&format!("invoice-{invoice}"), number)).await.id());
            }
            ids
        }
    }))
    .await;
    relay.drained().await;
    let mut arrived: HashMap<String, Vec<String>> = HashMap::new();
    for arrival in target.arrivals() {
        let ids = arrived.entry(arrival.invoice()).or_default();
        // A retried event keeps its place: no other event of its invoice comes in between.
        if ids.last() != Some(&arrival.id) {
            ids.push(arrival.id);
        }
    }
    for (invoice, ids) in sent.into_iter().enumerate() {
        assert_eq!(arrived[&format!("invoice-{invoice}")], ids, "invoice {invoice}");
    }
}

async fn a_sink_that_hangs_hurts_nobody_else(backend: Backend) {
    let (well, hanging) = (Target::start().await, Target::scripted(|_, _| Reply::Hang).await);
    let home = Home::new(backend).await;
    let sinks = sink("well", &well, "") + &sink("hanging", &hanging, "timeout_secs = 300\nconcurrency = 4");
    let relay = home.serve_with("shutdown_timeout_secs = 1", &sinks).await;
    let finkare = Finkare::of(&relay);
    for number in 0..100 {
        assert_eq!(finkare.deliver(&payment(&format!("i{number}"), number)).await.status, 200);
    }
    eventually("the healthy sink has all", async || well.delivered().len() == 100).await;
    eventually("the other has its slots full", async || hanging.arrivals().len() == 4).await;
    let row = relay.sink("hanging").await;
    assert_eq!((&row["backlog"], &row["dead"]), (&json!(100), &json!(0)));
    assert!(row["oldest_pending"].is_string());

    // Dispatches that a shutdown interrupts are returned, and no attempt is recorded.
    let (exit, log) = relay.terminate().await;
    assert!(exit.success(), "{log}");
    let line = log.lines().find(|line| line.contains("not everything finished in time")).expect("it is told");
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["after_ms"], 1000);
    let relay = home.serve(&sink("well", &well, "")).await;
    let waiting = dispatches(&relay, "sink=hanging").await;
    assert_eq!(waiting.len(), 100);
    for dispatch in waiting {
        assert_eq!((&dispatch["state"], &dispatch["attempts"]), (&json!("pending"), &json!(0)), "{dispatch}");
    }
    assert_eq!(relay.sink("hanging").await["configured"], false, "shown although it is no longer configured");
}

async fn sinks_get_what_they_asked_for(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let sinks = [
        sink("everything", &target, ""),
        sink("large", &target, "filter = \"data.amountCents >= 10000\""),
        sink("small", &target, "filter = \"data.amountCents < 10000\""),
        sink("status", &target, "").replace("events = \"*\"", "events = [\"invoice.status_changed\"]"),
        sink("default", &target, "").replace("events = \"*\"\n", ""),
    ]
    .concat();
    let relay = home.serve(&sinks).await;
    let finkare = Finkare::of(&relay);
    for (body, wanted) in [
        (payment("i", 10_000), vec!["default", "everything", "large"]),
        (payment("i", 9_999), vec!["default", "everything", "small"]),
        (
            br#"{"event":"invoice.status_changed","data":{"invoiceId":"i"}}"#.to_vec(),
            vec!["default", "everything", "status"],
        ),
        (br#"{"event":"invoice.created","data":{"amountCents":null}}"#.to_vec(), vec!["everything"]),
        (b"unreadable".to_vec(), vec!["everything"]),
    ] {
        let id = finkare.deliver(&body).await.id();
        let mut sinks: Vec<_> = dispatches(&relay, &format!("event_id={id}"))
            .await
            .iter()
            .map(|dispatch| dispatch["sink"].as_str().unwrap().to_owned())
            .collect();
        sinks.sort();
        assert_eq!(sinks, wanted, "{}", String::from_utf8_lossy(&body));
    }
}

async fn what_is_tried_for_too_long_is_given_up(backend: Backend) {
    let target = Target::scripted(|_, _| status(500)).await;
    let home = Home::new(backend).await;
    let sinks = sink("erp", &target, "").replace("give_up_after_secs = 3600", "give_up_after_secs = 1");
    let relay = home.serve(&sinks).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("i", 1)).await;
    finkare.deliver(&payment("i", 2)).await;
    eventually("both are given up", async || relay.sink("erp").await["dead"] == 2).await;
    for dispatch in dispatches(&relay, "state=dead").await {
        let attempts = dispatch["attempts"].as_u64().unwrap();
        assert!(attempts >= 2, "tried more than once: {dispatch}");
        let rows = relay.get(&format!("/dispatches/{}", dispatch["id"])).await;
        let rows = rows["attempt_log"].as_array().unwrap().clone();
        let at = |row: &Value| row["started_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let spent = at(&rows[rows.len() - 1]).duration_since(at(&rows[0])).as_millis();
        assert!(spent >= 900, "the second one's time began with its own first attempt: {spent} ms");
    }
}

async fn a_paused_sink_loses_nothing_across_a_restart(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let config = sink("erp", &target, "");
    let relay = home.serve(&config).await;
    assert_eq!(relay.post("/sinks/erp/pause").await["state"], "paused");
    let id = Finkare::of(&relay).deliver(&payment("i", 1)).await.id();
    let (exit, _) = relay.terminate().await;
    assert!(exit.success());
    let relay = home.serve(&config).await;
    let row = relay.sink("erp").await;
    assert_eq!((&row["state"], &row["backlog"]), (&json!("paused"), &json!(1)));
    assert!(row["paused_reason"].as_str().unwrap().contains("tests"), "who paused it: {row}");
    assert!(target.arrivals().is_empty());
    relay.post("/sinks/erp/resume").await;
    relay.drained().await;
    assert_eq!(target.arrivals()[0].id, id);
}

async fn the_dead_can_be_tried_again_or_called_off(backend: Backend) {
    let target = Target::scripted(|_, _| status(422)).await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink("erp", &target, "")).await;
    let finkare = Finkare::of(&relay);
    let first = finkare.deliver(&payment("one", 1)).await.id();
    finkare.deliver(&payment("two", 2)).await;
    eventually("both are dead", async || relay.sink("erp").await["dead"] == 2).await;
    let dead = dispatches(&relay, "state=dead").await;
    let (second, first_dispatch) = (&dead[0]["id"], &dead[1]["id"]);
    assert_eq!(dead[1]["event_id"], first.as_str());

    target.script(|_, _| ok());
    assert_ne!(relay.post(&format!("/dispatches/{first_dispatch}/retry")).await["state"], "dead");
    eventually("it arrives", async || target.delivered().contains_key(&first)).await;
    relay.drained().await;
    let dispatch = relay.get(&format!("/dispatches/{first_dispatch}")).await;
    assert_eq!((&dispatch["state"], &dispatch["attempts"]), (&json!("delivered"), &json!(2)));
    let last = target.arrivals().pop().unwrap();
    assert_eq!((last.id.as_str(), last.header("x-relay-attempt")), (first.as_str(), "2"), "the same id");

    assert_eq!(relay.post(&format!("/dispatches/{second}/cancel")).await["state"], "cancelled");
    assert_eq!(target.delivered().len(), 1);
    // A finished dispatch cannot be changed.
    for (id, verb) in [(first_dispatch, "retry"), (first_dispatch, "cancel"), (second, "cancel")] {
        let (status, problem) = relay.try_post(&format!("/dispatches/{id}/{verb}")).await;
        assert_eq!((status, &problem["code"]), (409, &json!("wrong_state")), "{id} {verb}");
    }
    assert_eq!(relay.try_post("/dispatches/4711/retry").await.0, 404);
}

async fn a_rate_limit_holds_back_and_loses_nothing(backend: Backend) {
    let (free, limited) = (Target::start().await, Target::start().await);
    let home = Home::new(backend).await;
    let sinks = sink("free", &free, "") + &sink("limited", &limited, "rate_limit = { requests = 3, per_secs = 86400 }");
    let relay = home.serve(&sinks).await;
    let finkare = Finkare::of(&relay);
    for number in 0..12 {
        finkare.deliver(&payment(&format!("i{number}"), number)).await;
    }
    eventually("the burst has arrived", async || limited.arrivals().len() >= 3).await;
    eventually("the other sink has all", async || free.delivered().len() == 12).await;
    // Dispatches that were claimed beyond the limit were returned, and are not claimed again and again.
    eventually("the rest waits", async || {
        let waiting = dispatches(&relay, "sink=limited&state=pending").await;
        waiting.len() == 9 && waiting.iter().all(|dispatch| dispatch["attempts"] == 0)
    })
    .await;
    assert_eq!(limited.arrivals().len(), 3);
    let row = relay.sink("limited").await;
    assert_eq!((&row["state"], &row["backlog"], &row["dead"]), (&json!("active"), &json!(9), &json!(0)));
}

async fn a_tripped_sink_is_probed_and_its_backlog_waits(backend: Backend) {
    let sick = Arc::new(AtomicBool::new(true));
    let seen = sick.clone();
    let target = Target::scripted(move |_, _| if seen.load(Relaxed) { status(503) } else { ok() }).await;
    let well = Target::start().await;
    let home = Home::new(backend).await;
    let tripping = |probe_secs: &str| {
        sink("erp", &target, "concurrency = 1")
            .replace("failures = 1000, probe_secs = 1", &format!("failures = 3, probe_secs = {probe_secs}"))
            + &sink("well", &well, "")
    };
    let relay = home.serve(&tripping("86400")).await;
    let finkare = Finkare::of(&relay);
    for number in 0..10 {
        finkare.deliver(&payment(&format!("i{number}"), number)).await;
    }
    eventually("the breaker trips", async || relay.sink("erp").await["state"] == "tripped").await;
    for number in 10..20 {
        assert_eq!(finkare.deliver(&payment(&format!("i{number}"), number)).await.status, 200);
    }
    eventually("the other sink has all", async || well.delivered().len() == 20).await;
    assert_eq!(target.arrivals().len(), 3, "it is left alone");
    assert_eq!(relay.sink("erp").await["backlog"], 20);
    assert!(relay.terminate().await.0.success());

    // After a restart the sink is tried again. It trips again, and the next probe succeeds.
    let mut relay = home.serve(&tripping("0.05")).await;
    relay.wait_for_line("the sink failed too many times in a row").await;
    sick.store(false, Relaxed);
    relay.drained().await;
    relay.wait_for_line("the sink works again").await;
    assert_eq!(target.delivered().len(), 20);
    assert_eq!(relay.sink("erp").await["state"], "active");
}

/// A worker that returns leases while its own claim is running must not wait for a connection that this claim holds: on
/// SQLite there is only one writer.
async fn sinks_that_trip_at_once_hold_up_nobody(backend: Backend) {
    let away = |number| {
        format!(
            "[[sinks]]\nname = \"away-{number}\"\ntype = \"http\"\nurl = \"http://127.0.0.1:1/\"\nevents = \"*\"\n\
             order = \"none\"\nbreaker = {{ failures = 12, probe_secs = 30 }}\n"
        )
    };
    let sinks = (0..8).map(away).collect::<Vec<_>>().concat();
    let home = Home::new(backend).await;
    let relay = home.serve(&sinks).await;
    let finkare = Finkare::of(&relay);
    for round in 0..10 {
        let bodies: Vec<_> = (0..40).map(|number| payment(&format!("i{number}"), round * 100 + number)).collect();
        for answer in join_all(bodies.iter().map(|body| finkare.deliver(body))).await {
            answer.id();
        }
    }
    eventually("all breakers trip", async || {
        let sinks = relay.get("/sinks").await;
        sinks["data"].as_array().unwrap().iter().all(|sink| sink["state"] == "tripped" && sink["leased"] == 0)
    })
    .await;
    let (_, log) = relay.terminate().await;
    for sign in ["could not be released", "timed out while waiting for an open connection"] {
        assert!(!log.contains(sign), "{sign}");
    }
}

/// The payloads of a claim stay in memory until their attempts begin, so a claim is limited by bytes and not only by
/// number.
async fn a_backlog_of_large_bodies_waits_in_the_store(backend: Backend) {
    let (home, target) = (Home::new(backend).await, Target::start().await);
    let relay = home.serve(&sink("erp", &target, "concurrency = 1\norder = \"none\"")).await;
    let finkare = Finkare::of(&relay);
    // With quick answers to small bodies, the worker claims many dispatches at a time.
    for number in 0..30 {
        finkare.deliver(&payment("small", number)).await;
    }
    relay.drained().await;
    target.script(|_, _| Reply::Hang);
    for _ in 0..20 {
        let body: Vec<u8> = std::iter::repeat_with(rand::random::<u8>).take(900_000).collect();
        finkare.deliver(&body).await;
    }
    eventually("it takes as many as it may", async || relay.sink("erp").await["leased"].as_u64() >= Some(1)).await;
    // One attempt is running, at most four dispatches came with a claim, and at most two had waited before.
    for _ in 0..20 {
        let erp = relay.sink("erp").await;
        assert!(erp["leased"].as_u64() <= Some(8), "{erp}");
        assert_eq!(erp["backlog"], 20, "nothing is lost: {erp}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
