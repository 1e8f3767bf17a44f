//! `/readyz` names what is not ready, from the first delivery that waits too long until a commit works again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use finkare_relay::{
    activity::Board,
    ingest::{
        Ingest, Refused,
        committer::{Committer, Limits},
    },
    lifecycle::Lifecycle,
    model::clock,
    web::health::Health,
};
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{beside, check, endpoint, open_secrets, readyz, signed};
use crate::{
    store::on_sqlite,
    support::{
        eventually,
        finkare::{Finkare, payment},
        relay::{Backend, Home},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_for_the_store_is_seen() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve_with("ack_timeout_secs = 2", "").await;
    let (status, report) = readyz(&relay).await;
    let names: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!((status, names), (200, vec!["store", "queue", "service"]), "{report}");
    let mut other = beside(&home).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let finkare = Finkare::of(&relay);
    let waiting = tokio::spawn(async move { finkare.deliver(&payment("i", 1)).await.status });
    eventually("the queue is not ready", async || {
        let (status, report) = readyz(&relay).await;
        let queue = check(&report, "queue").unwrap();
        queue["ready"] == false && queue["detail"].as_str().unwrap().contains("has waited") && status == 503
    })
    .await;
    assert_eq!(waiting.await.unwrap(), 503);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("it is ready again", async || readyz(&relay).await.0 == 200).await;
}

/// A transaction that is rolled back would not show it: after a failed commit only another commit counts.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_commit_a_real_one_is_asked_for() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve_with("ack_timeout_secs = 1", "").await;
    let finkare = Finkare::of(&relay);
    let mut other = beside(&home).await;
    // No test transaction can work, and none is requested while everything works.
    sqlx::query("ALTER TABLE trial_writes RENAME TO elsewhere").execute(&mut other).await.unwrap();
    let (status, report) = readyz(&relay).await;
    assert_eq!(status, 200, "{report}");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    assert_eq!(finkare.deliver(&payment("i", 1)).await.status, 503);
    let failed = "deliveries could not be stored: Finkare is asked to retry them";
    eventually("the commit has failed", async || relay.log().contains(failed)).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("the trial is what fails", async || {
        let (status, report) = readyz(&relay).await;
        let store = check(&report, "store").unwrap();
        status == 503 && store["detail"].as_str().is_some_and(|detail| detail.contains("whether a commit works"))
    })
    .await;
    // A committed delivery counts as much as a test transaction.
    assert_eq!(finkare.deliver(&payment("i", 2)).await.status, 200);
    eventually("it is ready again", async || readyz(&relay).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_not_ready() {
    let fixture = on_sqlite().await;
    let store = fixture.open().await;
    let endpoint = endpoint(&open_secrets(&store, &["whsec_one"]).await);
    let limits = Limits { queue: 1, batch: 8, batch_bytes: 1 << 20, timeout: Duration::from_secs(30) };
    let pressure = finkare_relay::pressure::Pressure::default();
    let (committer, writer) = Committer::new(&store, limits, pressure);
    let ack_timeout = Duration::from_millis(500);
    let health = Health::new(store.clone(), Lifecycle::new(), committer.backlog(), ack_timeout, Board::default());
    let asked = async || {
        let response = health.router().oneshot(Request::get("/readyz").body(axum::body::Body::empty()).unwrap()).await;
        let response = response.unwrap();
        let status = response.status().as_u16();
        let report: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        (status, report)
    };
    assert_eq!(asked().await.0, 200);
    let ingest = Ingest::new(Arc::new([]), committer, ack_timeout);
    let body = Bytes::from_static(b"{\"event\":\"ping\"}");
    let headers = signed("whsec_one", &body);
    // There is no writer: the first delivery takes the only place.
    let late = ingest.receive(&endpoint, &headers, &body, clock::now()).await;
    assert!(matches!(late, Err(Refused::TooLate(_))), "{late:?}");
    let (status, report) = asked().await;
    let queue = check(&report, "queue").unwrap();
    assert!(status == 503 && queue["ready"] == false && check(&report, "store").unwrap()["ready"] == true, "{report}");
    assert!(queue["detail"].as_str().unwrap().contains("full"), "{report}");
    drop(ingest);
    writer.await;
    assert_eq!(asked().await.0, 200);
    assert_eq!(endpoint.meter.last(), None, "what was not acknowledged was not heard");
}
