//! Deliveries: their signature, their attempts and their end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use finkare_simulator::{Faults, NewPayment, Options, Status, Variants};
use serde_json::{Value, json};

use crate::scene::{Scene, eventually, quick, sign};

#[tokio::test]
async fn a_delivery_is_signed_over_its_bytes_and_goes_where_it_is_told() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let invoice = scene.simulator.create_invoice(None, Some(5000)).unwrap();
    scene.simulator.pay(invoice.id, NewPayment::default()).unwrap();
    scene.settled().await;
    scene.simulator.set_status(invoice.id, "paid").unwrap();
    scene.simulator.emit("nobody.asked", &json!({})).unwrap();
    scene.settled().await;
    let posts = scene.receiver.posts();
    assert_eq!(posts.len(), 2);
    for post in &posts {
        assert_eq!(post.uri, "/webhooks/finkare?tenant=1");
        assert_eq!(post.signature, sign(scene.secret.expose(), &post.body));
        assert!(post.json()["timestamp"].is_string());
    }
    let (paid, changed) = (posts[0].json(), posts[1].json());
    assert_eq!(
        (&paid["event"], &paid["data"]),
        (&json!("payment.received"), &json!({"invoiceId": invoice.id, "amountCents": 5000}))
    );
    assert_eq!(changed["event"], "invoice.status_changed");
    assert_eq!(changed["data"], json!({"invoiceId": invoice.id, "previousStatus": "in_recovery", "newStatus": "paid"}));

    let history = scene.call("GET", &format!("/webhooks/{}/deliveries", scene.webhook), Value::Null).await.body;
    let newest = &history["data"][0];
    assert_eq!((&newest["eventType"], &newest["attempts"]), (&json!("invoice.status_changed"), &json!(1)));
    assert_eq!(newest["status"], "success");
    assert!(scene.simulator.webhooks()[0].last_triggered_at.is_some());

    scene.call("PUT", &format!("/webhooks/{}", scene.webhook), json!({"enabled": false})).await;
    assert!(scene.pay().await.is_empty(), "a disabled webhook gets nothing");
}

#[tokio::test]
async fn anything_but_success_is_tried_again_and_then_given_up() {
    let mut answers = [Some(503), Some(307), Some(404), Some(204)].into_iter();
    let scene = Scene::new(quick(), move |_| answers.next().unwrap_or(Some(500))).await;
    let posts = scene.pay().await;
    assert_eq!(posts.len(), 4, "a redirect is not followed");
    assert!(posts.iter().all(|post| post.body == posts[0].body && post.uri == posts[0].uri));
    let delivery = scene.simulator.deliveries(scene.webhook).remove(0);
    assert_eq!((delivery.status, delivery.attempts, delivery.last_answer), (Status::Success, 4, Some(204)));
    assert_eq!(scene.pay().await.len(), 4);
    let delivery = scene.simulator.deliveries(scene.webhook).remove(1);
    assert_eq!((delivery.status, delivery.attempts, delivery.last_answer), (Status::Failed, 4, Some(500)));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let mut first = true;
    let options = Options { delivery_timeout: Duration::from_millis(500), ..quick() };
    let scene = Scene::new(options, move |_| if std::mem::take(&mut first) { None } else { Some(200) }).await;
    assert_eq!(Options::default().delivery_timeout, Duration::from_secs(5));
    scene.pay().await;
    let delivery = scene.simulator.deliveries(scene.webhook).remove(0);
    assert!(delivery.status == Status::Success && delivery.attempts > 1, "{delivery:?}");
}

#[tokio::test]
async fn a_retry_is_signed_with_the_secret_of_its_own_instant() {
    let refuse = Arc::new(AtomicBool::new(true));
    let refusing = refuse.clone();
    // Refused for as long as the rotation may take.
    let options = Options { retry_waits: vec![Duration::from_millis(20); 5000], ..Options::default() };
    let scene = Scene::new(options, move |_| Some(if refusing.load(SeqCst) { 401 } else { 200 })).await;
    let invoice = scene.simulator.create_invoice(None, None).unwrap();
    scene.simulator.pay(invoice.id, NewPayment::default()).unwrap();
    eventually("a first attempt", async || !scene.receiver.posts().is_empty()).await;
    let rotated = scene.rotate().await.body;
    let new = rotated["data"]["secret"].as_str().unwrap().to_owned();
    assert_eq!(new, scene.secret_now());
    let before = scene.receiver.posts().len();
    eventually("a further attempt", async || scene.receiver.posts().len() > before + 1).await;
    refuse.store(false, SeqCst);
    scene.settled().await;
    let posts = scene.receiver.posts();
    let (first, last) = (&posts[0], posts.last().unwrap());
    assert_eq!(first.signature, sign(scene.secret.expose(), &first.body));
    assert_eq!(last.signature, sign(&new, &last.body));
    assert_eq!(first.body, last.body);
}
