//! Each call of the API, as documented.

use finkare_simulator::{NewPayment, Options, Secret, Simulator};
use serde_json::{Value, json};

use crate::scene::{URL, alone, call, http};

#[tokio::test]
async fn a_key_is_demanded() {
    let ask = async |simulator: &Simulator, keys: &[&str]| {
        let mut request = http().get(format!("{}/webhooks", simulator.api_url()));
        for key in keys {
            request = request.header("X-API-Key", *key);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let any = alone(Options::default()).await;
    for (keys, status) in [
        (&["fk_live_a"][..], 200),
        (&["fk_test_a"], 200),
        (&[], 401),
        (&["fk_test_"], 401),
        (&["other"], 401),
        (&["fk_test_a", "fk_test_b"], 401),
    ] {
        assert_eq!(ask(&any, keys).await, status, "{keys:?}");
    }
    assert_eq!(any.counters().unauthorized, 4);
    let fixed = alone(Options { api_keys: vec![Secret::new("one"), Secret::new("two")], ..Options::default() }).await;
    for (key, status) in [("one", 200), ("two", 200), ("fk_test_a", 401), ("on", 401)] {
        assert_eq!(ask(&fixed, &[key]).await, status, "{key}");
    }
    any.stop().await;
}

#[tokio::test]
async fn webhooks_are_created_listed_changed_and_deleted() {
    let simulator = alone(Options::default()).await;
    let new = json!({"url": URL, "events": ["payment.received"], "description": "production"});
    let created = call(&simulator, "POST", "/webhooks", new).await;
    assert_eq!((created.status, &created.body["success"]), (201, &json!(true)));
    assert!(created.body["requestId"].as_str().unwrap().starts_with("req_"));
    assert!(created.body["message"].is_string() && created.body["timestamp"].as_str().unwrap().ends_with('Z'));
    let data = &created.body["data"];
    assert_eq!(
        (&data["url"], &data["events"], &data["enabled"]),
        (&json!(URL), &json!(["payment.received"]), &json!(true))
    );
    assert!(data["secret"].as_str().unwrap().starts_with("whsec_"));
    assert!(data["createdAt"].is_string() && data.get("created_at").is_none());
    let one = format!("/webhooks/{}", data["id"].as_str().unwrap());

    let listed = call(&simulator, "GET", "/webhooks", Value::Null).await;
    let listed = &listed.body["data"][0];
    assert_eq!((&listed["id"], &listed["description"]), (&data["id"], &json!("production")));
    assert!(listed["created_at"].is_string() && listed["last_triggered_at"].is_null());
    assert!(listed.get("createdAt").is_none() && listed.get("secret").is_none());

    for (method, change) in [("PUT", json!({"enabled": false})), ("PATCH", json!({"events": ["invoice.created"]}))] {
        assert_eq!(call(&simulator, method, &one, change).await.status, 200);
    }
    let shown = call(&simulator, "GET", &one, Value::Null).await.body;
    assert_eq!((&shown["data"]["enabled"], &shown["data"]["events"]), (&json!(false), &json!(["invoice.created"])));
    assert!(shown["data"].get("secret").is_none(), "it is shown only once");

    for bad in [
        json!({"url": "http://relay.test/", "events": ["a"]}),
        json!({"url": "nowhere", "events": ["a"]}),
        json!({"url": URL, "events": []}),
        json!({"url": URL}),
    ] {
        let refused = call(&simulator, "POST", "/webhooks", bad.clone()).await;
        assert_eq!((refused.status, &refused.body["success"]), (400, &json!(false)), "{bad}");
        assert!(refused.body["error"]["code"].is_string() && refused.body["error"]["message"].is_string());
    }
    assert_eq!(call(&simulator, "PUT", &one, json!({"url": "http://relay.test/"})).await.status, 400);
    assert_eq!(call(&simulator, "DELETE", &one, Value::Null).await.status, 200);
    let gone = call(&simulator, "GET", &one, Value::Null).await;
    assert_eq!((gone.status, &gone.body["error"]["code"]), (404, &json!("RES_001")));
    for (method, path) in [("DELETE", one.as_str()), ("GET", "/webhooks/x/deliveries"), ("GET", "/nothing")] {
        assert_eq!(call(&simulator, method, path, Value::Null).await.status, 404, "{path}");
    }
    assert_eq!(call(&simulator, "DELETE", "/payments", Value::Null).await.status, 405);
    assert!(simulator.webhooks().is_empty());
}

#[tokio::test]
async fn invoices_and_payments_are_read() {
    let simulator = alone(Options::default()).await;
    let first = simulator.create_invoice(Some("F-1"), Some(5000)).unwrap();
    let second = simulator.create_invoice(Some("F-2"), Some(6000)).unwrap();
    simulator.set_status(second.id, "in_dispute").unwrap();
    for cents in 1..=25 {
        simulator.pay(first.id, NewPayment { amount_cents: Some(cents), ..NewPayment::default() }).unwrap();
    }
    let failed = NewPayment { amount_cents: None, method: "card".into(), status: "failed".into() };
    let failed = simulator.pay(second.id, failed).unwrap();
    let get = async |path: String| call(&simulator, "GET", &path, Value::Null).await;

    let invoice = get(format!("/invoices/{}", first.id)).await.body;
    let number = &invoice["data"]["invoiceNumber"];
    assert_eq!((number, &invoice["data"]["amountCents"]), (&json!("F-1"), &json!(5000)));
    let disputed = get("/invoices?status=in_dispute".into()).await.body;
    assert_eq!((&disputed["data"][0]["id"], &disputed["pagination"]["total"]), (&json!(second.id), &json!(1)));

    let page = get("/payments".into()).await.body;
    assert_eq!(page["pagination"], json!({"page": 1, "limit": 20, "total": 26}));
    assert_eq!(page["data"].as_array().unwrap().len(), 20);
    let rest = get("/payments?page=2&limit=25".into()).await.body;
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    let one = get("/payments?status=failed".into()).await.body;
    let paid_at = one["data"][0]["paidAt"].clone();
    assert_eq!(
        one["data"],
        json!([{"id": failed.id, "invoiceId": second.id, "amountCents": 6000, "currency": "EUR", "status": "failed",
            "method": "card", "paidAt": paid_at}])
    );
    assert_eq!(get(format!("/payments/{}", failed.id)).await.body["data"], one["data"][0]);
    for (query, total) in [
        (format!("invoiceId={}", first.id), 25),
        ("fromDate=2000-01-01&toDate=2100-01-01T00:00:00Z".to_owned(), 26),
        ("fromDate=2100-01-01".to_owned(), 0),
        ("toDate=2000-01-01".to_owned(), 0),
    ] {
        assert_eq!(get(format!("/payments?{query}")).await.body["pagination"]["total"], total, "{query}");
    }
    let all = get(format!("/payments/invoice/{}", first.id)).await.body;
    assert_eq!((all["data"].as_array().unwrap().len(), all.get("pagination")), (25, None));
    for bad in ["limit=101", "limit=0", "page=0", "status=odd", "fromDate=soon", "invoiceId=1"] {
        assert_eq!(get(format!("/payments?{bad}")).await.status, 400, "{bad}");
    }
    for nowhere in ["/payments/1", "/payments/invoice/1", "/invoices/1"] {
        assert_eq!(get(nowhere.into()).await.status, 404, "{nowhere}");
    }
}
