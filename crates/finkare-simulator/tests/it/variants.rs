//! Each reading of what Finkare does not document.

use finkare_simulator::{
    Encoding, ErrorBody, EventIdField, Faults, NewPayment, Over, Spelling, UpdateMethod, Variants,
};
use serde_json::{Value, json};

use crate::scene::{Scene, eventually, sign, sign_with};

#[tokio::test]
async fn variants_of_the_signature() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let secret = scene.secret.expose();
    let stripped = secret.strip_prefix("whsec_").unwrap();
    let decoded = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, stripped).unwrap();
    let post = async |variants: Variants| {
        scene.simulator.set_variants(variants).unwrap();
        scene.pay().await.remove(0)
    };
    let plain = Variants::default();
    let it = post(Variants { signature_prefix: true, signature_upper_case: true, ..plain.clone() }).await;
    assert_eq!(it.signature, format!("sha256={}", sign(secret, &it.body).to_uppercase()));
    let it = post(Variants { secret_encoding: Encoding::Stripped, ..plain.clone() }).await;
    assert_eq!(it.signature, sign(stripped, &it.body));
    let it = post(Variants { secret_encoding: Encoding::Base64, ..plain.clone() }).await;
    assert_eq!(it.signature, sign_with(&decoded, &it.body));
    let it = post(Variants { signature_over: Over::Reserialized, ..plain.clone() }).await;
    let compact = it.json().to_string();
    assert!(compact.len() < it.body.len(), "it is sent with blanks");
    assert_eq!(it.signature, sign(secret, compact.as_bytes()));
}

#[tokio::test]
async fn the_old_secret_may_go_on_for_a_while() {
    let scene = Scene::with(Faults::default(), Variants { rotation_grace_ms: 600_000, ..Variants::default() }).await;
    scene.rotate().await;
    assert_ne!(scene.secret_now(), scene.secret.expose());
    let posts = scene.pay().await;
    assert_eq!(posts[0].signature, sign(scene.secret.expose(), &posts[0].body));
}

#[tokio::test]
async fn variants_of_the_body() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    for (field, key) in
        [(EventIdField::Id, "id"), (EventIdField::EventId, "eventId"), (EventIdField::DeliveryId, "deliveryId")]
    {
        scene.simulator.set_variants(Variants { event_id: field, ..Variants::default() }).unwrap();
        assert!(scene.pay().await[0].json()[key].is_string(), "{key}");
    }
    scene.simulator.set_variants(Variants { payment_fields: true, ..Variants::default() }).unwrap();
    let data = scene.pay().await[0].json()["data"].clone();
    assert_eq!((&data["currency"], &data["method"]), (&json!("EUR"), &json!("sepa_debit")));
    let payment = format!("/payments/{}", data["paymentId"].as_str().unwrap());
    assert_eq!(scene.call("GET", &payment, Value::Null).await.body["data"]["paidAt"], data["paidAt"]);

    scene.simulator.set_variants(Variants { unknown_events: true, ..Variants::default() }).unwrap();
    let events: Vec<_> = scene.pay().await.iter().map(|post| post.json()["event"].clone()).collect();
    assert!(events.contains(&json!("simulator.unknown")) && events.contains(&json!("payment.received")), "{events:?}");
    scene.simulator.set_variants(Variants { ping: true, ..Variants::default() }).unwrap();
    let (pinged, secret) = scene.simulator.create_webhook("https://relay.test/other", &["none"]).unwrap();
    scene.settled().await;
    let ping = scene.receiver.posts().pop().unwrap();
    assert_eq!((ping.uri.as_str(), &ping.json()["event"]), ("/other", &json!("ping")));
    assert_eq!(ping.signature, sign(secret.expose(), &ping.body));
    assert_eq!(scene.simulator.deliveries(pinged).len(), 1);
}

#[tokio::test]
async fn a_payment_may_be_late_in_the_api() {
    let scene = Scene::with(Faults::default(), Variants { payment_pending_ms: 1500, ..Variants::default() }).await;
    let invoice = scene.simulator.create_invoice(None, None).unwrap();
    let payment = scene.simulator.pay(invoice.id, NewPayment::default()).unwrap();
    let path = format!("/payments/{}", payment.id);
    assert_eq!(payment.status(payment.paid_at), "pending");
    assert_eq!(payment.status(payment.completed_at), "completed");
    eventually("it is completed", async || {
        scene.call("GET", &path, Value::Null).await.body["data"]["status"] == "completed"
    })
    .await;
    scene.simulator.set_variants(Variants { payment_hidden_ms: 600_000, ..Variants::default() }).unwrap();
    let hidden = scene.simulator.pay(invoice.id, NewPayment::default()).unwrap();
    assert_eq!(scene.call("GET", &format!("/payments/{}", hidden.id), Value::Null).await.status, 404);
    let all = scene.call("GET", &format!("/payments/invoice/{}", invoice.id), Value::Null).await.body;
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn variants_of_the_api() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let set = |variants| scene.simulator.set_variants(variants).unwrap();
    set(Variants { error_body: ErrorBody::Flat, ..Variants::default() });
    let error = scene.call("GET", "/webhooks/1", Value::Null).await;
    assert_eq!((error.status, &error.body["code"]), (404, &json!("RES_001")));
    assert!(error.body["message"].is_string() && error.body.get("error").is_none());
    set(Variants { error_body: ErrorBody::Text, ..Variants::default() });
    let error = scene.call("GET", "/webhooks/1", Value::Null).await;
    assert_eq!((error.status, error.text.as_str()), (404, "RES_001: Resource not found"));
    set(Variants { list_fields: Spelling::Camel, ..Variants::default() });
    let list = scene.call("GET", "/webhooks", Value::Null).await.body;
    assert!(list["data"][0]["createdAt"].is_string() && list["data"][0].get("created_at").is_none());
    let one = format!("/webhooks/{}", scene.webhook);
    for (method, put, patch) in [(UpdateMethod::Put, 200, 405), (UpdateMethod::Patch, 405, 200)] {
        set(Variants { update_method: method, ..Variants::default() });
        assert_eq!(scene.call("PUT", &one, json!({"enabled": true})).await.status, put);
        assert_eq!(scene.call("PATCH", &one, json!({"enabled": true})).await.status, patch);
    }
    let invoice = scene.simulator.create_invoice(None, None).unwrap();
    set(Variants {
        webhook_path: "/hook/{id}".into(),
        rotate_path: "/webhooks/{id}/secret/rotate".into(),
        deliveries_path: "/deliveries/{id}".into(),
        invoice_path: "/invoice/{id}/full".into(),
        ..Variants::default()
    });
    for (method, path, before) in [
        ("GET", format!("/hook/{}", scene.webhook), one.clone()),
        ("POST", format!("/webhooks/{}/secret/rotate", scene.webhook), format!("{one}/rotate-secret")),
        ("GET", format!("/deliveries/{}", scene.webhook), format!("{one}/deliveries")),
        ("GET", format!("/invoice/{}/full", invoice.id), format!("/invoices/{}", invoice.id)),
    ] {
        assert_eq!(scene.call(method, &path, Value::Null).await.status, 200, "{path}");
        assert_eq!(scene.call(method, &before, Value::Null).await.status, 404, "{before}");
    }
}
