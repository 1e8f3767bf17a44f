//! `silence_alarm_hours`: an endpoint without deliveries for too long is reported, and Finkare is asked about it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use finkare_relay::{
    activity::{Board, Meter, Registration, Standing, Watch, Watched},
    model::{clock, id::EndpointName},
    store::Store,
    telemetry::Metrics,
};
use serde_json::{Value, json};

use super::{beside, check, readyz};
use crate::{
    store::{Fixture, on_each_store},
    support::{
        eventually,
        fake_finkare::{API_KEY, FakeFinkare, WEBHOOK},
        finkare::{Finkare, payment},
        http as client,
        relay::{Backend, Home, SECRET},
    },
};

#[derive(Debug, Default)]
struct Answering {
    asked: AtomicUsize,
}

#[async_trait]
impl Registration for Answering {
    async fn ask(&self) -> Standing {
        self.asked.fetch_add(1, Relaxed);
        Standing::Disabled
    }
}

struct Replica {
    meter: Meter,
    board: Board,
    metrics: Arc<Metrics>,
    watch: Watch,
}

const HOUR: Duration = Duration::from_hours(1);

fn replica(store: &Arc<dyn Store>, registration: Option<&Arc<Answering>>) -> Replica {
    let (meter, board, metrics) = (Meter::default(), Board::default(), Arc::new(Metrics::new()));
    let with = |name: &str, meter: &Meter, alarm| Watched {
        name: EndpointName::new(name).unwrap(),
        meter: meter.clone(),
        alarm,
        registration: registration.map(|finkare| finkare.clone() as Arc<dyn Registration>),
    };
    let endpoints = vec![with("production", &meter, Some(2 * HOUR)), with("unwatched", &Meter::default(), None)];
    let watch = Watch::new(store.clone(), metrics.clone(), board.clone(), endpoints);
    Replica { meter, board, metrics, watch }
}

impl Replica {
    async fn silent_at(&mut self, now: jiff::Timestamp) -> bool {
        self.watch.look(now).await.unwrap();
        let silences = self.board.silences();
        let gauge = i32::from(!silences.is_empty());
        let line = format!("relay_endpoint_silent{{endpoint=\"production\"}} {gauge}\n");
        let text = self.metrics.render();
        assert!(text.contains(&line) && !text.contains("silent{endpoint=\"unwatched\"}"), "{line} in {text}");
        assert!(silences.iter().all(|silence| silence.endpoint.as_str() == "production"), "{silences:?}");
        !silences.is_empty()
    }
}

on_each_store!(a_silence_is_told_and_ends, nobody_is_silent_while_another_replica_hears, a_silence_outlives_a_restart);

async fn a_silence_is_told_and_ends(fixture: Fixture) {
    let store = fixture.open().await;
    let finkare = Arc::new(Answering::default());
    let mut here = replica(&store, Some(&finkare));
    let now = clock::now();
    assert!(!here.silent_at(now).await, "it is watched only just now");
    assert!(!here.silent_at(now + HOUR).await);
    assert!(here.silent_at(now + 3 * HOUR).await, "also if nothing ever came");
    here.meter.heard(now + 3 * HOUR);
    assert!(!here.silent_at(now + 3 * HOUR).await, "it speaks again");
    assert!(!here.silent_at(now + 4 * HOUR).await);
    assert_eq!(finkare.asked.load(Relaxed), 1);
    for _ in 0..3 {
        assert!(here.silent_at(now + 6 * HOUR).await);
    }
    assert_eq!(finkare.asked.load(Relaxed), 2, "once for a silence, and then once an hour");
    let detail = here.board.silences().remove(0).detail;
    assert!(detail.contains("more than 2 h") && detail.contains("disabled"), "{detail}");
}

async fn nobody_is_silent_while_another_replica_hears(fixture: Fixture) {
    let (store, other_store) = (fixture.open().await, fixture.open().await);
    let (mut here, mut there) = (replica(&store, None), replica(&other_store, None));
    // The store rejects times in the future.
    let now = clock::now() - 7 * HOUR;
    assert!(!here.silent_at(now).await);
    there.meter.heard(now + 3 * HOUR);
    assert!(!there.silent_at(now + 3 * HOUR).await);
    assert!(!here.silent_at(now + 4 * HOUR).await, "the other one heard of it an hour ago");
    let told = (now + 3 * HOUR).as_duration().as_secs();
    let text = here.metrics.render();
    let line = format!("relay_last_delivery_timestamp_seconds{{endpoint=\"production\"}} {told}");
    assert!(text.contains(&line) && !text.contains("timestamp_seconds{endpoint=\"unwatched\"}"), "{line} in {text}");
    assert!(here.silent_at(now + 6 * HOUR).await && there.silent_at(now + 6 * HOUR).await);
}

async fn a_silence_outlives_a_restart(fixture: Fixture) {
    let store = fixture.open().await;
    let mut first = replica(&store, None);
    let now = clock::now() - 7 * HOUR;
    first.meter.heard(now + 2 * HOUR);
    assert!(!first.silent_at(now + 2 * HOUR).await);
    drop(first);
    let mut second = replica(&fixture.open().await, None);
    assert!(!second.silent_at(now + 3 * HOUR).await, "the first one heard of it");
    assert!(second.silent_at(now + 5 * HOUR).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_endpoint_is_told_and_the_service_stays_ready() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("silence_alarm_hours = 1").await;
    assert_eq!(Finkare::of(&relay).deliver(&payment("i", 1)).await.status, 200);
    let (status, report) = readyz(&relay).await;
    assert_eq!((status, check(&report, "endpoint/production")), (200, None), "{report}");
    assert!(relay.terminate().await.0.success());
    // The service stored the time of the delivery when it stopped. Two hours pass.
    let moved =
        "UPDATE endpoint_activity SET last_delivery_at = last_delivery_at - 7200000000 WHERE last_delivery_at > 0";
    assert_eq!(sqlx::query(moved).execute(&mut beside(&home).await).await.unwrap().rows_affected(), 1);
    let mut relay = home.serve("silence_alarm_hours = 1").await;
    let line: Value = serde_json::from_str(&relay.wait_for_line("the endpoint is silent").await).unwrap();
    assert_eq!((&line["level"], &line["endpoint.name"]), (&json!("ERROR"), &json!("production")), "{line}");
    eventually("it is told by /readyz", async || {
        let (status, report) = readyz(&relay).await;
        assert_eq!((status, &report["ready"]), (200, &json!(true)), "{report}");
        check(&report, "endpoint/production").is_some_and(|check| {
            check["ready"] == true && check["detail"].as_str().unwrap().contains("no genuine delivery since")
        })
    })
    .await;
    let metrics = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("relay_endpoint_silent{endpoint=\"production\"} 1\n"), "{metrics}");
}

/// A silent endpoint with an API key makes the service ask Finkare about its webhook.
#[tokio::test(flavor = "multi_thread")]
async fn finkare_is_asked_whether_a_silent_webhook_is_enabled() {
    let fake = FakeFinkare::start().await;
    let home = Home::new(Backend::Sqlite).await;
    let configure = |webhook: &str| {
        let api = format!("api_key = \"{API_KEY}\"\napi_url = \"{}\"\nwebhook_id = \"{webhook}\"", fake.api_url());
        home.configure("", &format!("secret = \"{SECRET}\"\n{api}\nsilence_alarm_hours = 1"), "");
    };
    configure(WEBHOOK);
    assert!(home.start().await.terminate().await.0.success());
    // It was watched from the first check on. Two hours pass.
    let moved = "UPDATE endpoint_activity SET watched_since = watched_since - 7200000000";
    assert_eq!(sqlx::query(moved).execute(&mut beside(&home).await).await.unwrap().rows_affected(), 1);
    for (webhook, enabled, line, detail) in [
        (WEBHOOK, true, "the silent endpoint's webhook is enabled", "says that the webhook is enabled"),
        (WEBHOOK, false, "the silent endpoint's webhook is disabled", "disabled: enable it there"),
        ("unknown", true, "knows no webhook with the silent endpoint's id", "register it again"),
    ] {
        let change = client().put(format!("{}/api/v1/webhooks/{WEBHOOK}", fake.api_url()));
        let change = change.header("X-API-Key", API_KEY).header("User-Agent", "finkare-relay/0 (tests)");
        assert_eq!(change.json(&json!({"enabled": enabled})).send().await.unwrap().status(), 200);
        configure(webhook);
        let mut relay = home.start().await;
        relay.wait_for_line(line).await;
        eventually("it is told by /readyz", async || {
            let (status, report) = readyz(&relay).await;
            let told = check(&report, "endpoint/production").and_then(|check| check["detail"].as_str());
            status == 200 && told.is_some_and(|told| told.contains(detail))
        })
        .await;
        assert!(relay.terminate().await.0.success());
    }
    assert_eq!(fake.calls("GET", &format!("/webhooks/{WEBHOOK}")).len(), 2, "once for each silence that a process saw");
}
