//! The local Finkare: each call as documented, each fault, each variant, and the command.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap};
use finkare_relay::{
    finkare::simulator::{
        Encoding, ErrorBody, EventIdField, Faults, NewPayment, Options, Over, Simulator, Spelling, Status,
        UpdateMethod, Variants, WebhookId,
    },
    lifecycle::Lifecycle,
    model::secret::Secret,
    signature::reserialize::reserialize,
};
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::support::{PATIENCE, eventually, finkare::sign, http};

const URL: &str = "https://relay.test/webhooks/finkare?tenant=1";

/// What came in at the relay's place.
#[derive(Debug, Clone)]
struct Post {
    uri: String,
    signature: String,
    body: Bytes,
}

impl Post {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Script = Box<dyn FnMut(&Post) -> Option<u16> + Send>;
/// What came in, and what to answer.
type Shared = Arc<(Mutex<Vec<Post>>, Mutex<Script>)>;

/// A receiver that answers as its script says; `None` is never.
#[derive(Clone)]
struct Receiver {
    address: std::net::SocketAddr,
    shared: Shared,
}

impl Receiver {
    async fn start(script: impl FnMut(&Post) -> Option<u16> + Send + 'static) -> Self {
        let shared: Shared = Arc::new((Mutex::default(), Mutex::new(Box::new(script))));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(shared.clone());
        tokio::spawn(finkare_relay::listener::serve(listener, router, 256, Lifecycle::default()));
        Self { address, shared }
    }

    fn posts(&self) -> Vec<Post> {
        self.shared.0.lock().unwrap().clone()
    }
}

async fn take(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1]) {
    let signature = headers["x-finkare-signature"].to_str().unwrap().to_owned();
    let post = Post { uri: uri.to_string(), signature, body };
    let answer = shared.1.lock().unwrap()(&post);
    shared.0.lock().unwrap().push(post);
    match answer {
        Some(status) => (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")]),
        None => std::future::pending().await,
    }
}

/// A simulator, a receiver, a webhook that leads there.
struct Scene {
    simulator: Simulator,
    receiver: Receiver,
    webhook: WebhookId,
    secret: Secret,
}

/// Four attempts, soon after one another.
fn quick() -> Options {
    Options { retry_waits: vec![Duration::from_millis(10); 3], ..Options::default() }
}

impl Scene {
    async fn new(options: Options, script: impl FnMut(&Post) -> Option<u16> + Send + 'static) -> Self {
        let receiver = Receiver::start(script).await;
        let deliver_to = Some(format!("http://{}", receiver.address).parse().unwrap());
        let simulator = Simulator::start(Options { deliver_to, ..options }).await.unwrap();
        let (webhook, secret) = simulator.create_webhook(URL, &["payment.received", "invoice.status_changed"]).unwrap();
        Self { simulator, receiver, webhook, secret }
    }

    async fn with(faults: Faults, variants: Variants) -> Self {
        Self::new(Options { faults, variants, ..quick() }, |_| Some(200)).await
    }

    /// Pays an invoice and waits until everything is delivered; answers what came in since.
    async fn pay(&self) -> Vec<Post> {
        let before = self.receiver.posts().len();
        let invoice = self.simulator.create_invoice(None, None).unwrap();
        self.simulator.pay(invoice.id, NewPayment::default()).unwrap();
        self.settled().await;
        self.receiver.posts().split_off(before)
    }

    async fn settled(&self) {
        tokio::time::timeout(PATIENCE, self.simulator.settled()).await.expect("all deliveries end");
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Called {
        call(&self.simulator, method, path, body).await
    }

    async fn rotate(&self) -> Called {
        self.call("POST", &format!("/webhooks/{}/rotate-secret", self.webhook), Value::Null).await
    }

    fn secret_now(&self) -> String {
        self.simulator.secret_of(self.webhook).unwrap().expose().to_owned()
    }
}

#[derive(Debug)]
struct Called {
    status: u16,
    retry_after: Option<String>,
    text: String,
    body: Value,
}

async fn try_call(simulator: &Simulator, method: &str, path: &str, body: Value) -> Result<Called, reqwest::Error> {
    let url = format!("{}{path}", simulator.api_url());
    let mut request = http().request(method.parse().unwrap(), url).header("X-API-Key", "fk_test_a");
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().await?;
    Ok(Called { status, retry_after, body: serde_json::from_str(&text).unwrap_or_default(), text })
}

async fn call(simulator: &Simulator, method: &str, path: &str, body: Value) -> Called {
    try_call(simulator, method, path, body).await.expect("the simulator answers")
}

async fn alone(options: Options) -> Simulator {
    Simulator::start(options).await.unwrap()
}

// --- the API

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

// --- deliveries

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

// --- faults

#[tokio::test]
async fn repeats_and_forgeries() {
    let faults = Faults { repeats: 2, forged: 3, ..Faults::default() };
    let receiver_secret = Arc::new(Mutex::new(String::new()));
    let known = receiver_secret.clone();
    let script =
        move |post: &Post| Some(if post.signature == sign(&known.lock().unwrap(), &post.body) { 200 } else { 401 });
    let scene = Scene::new(Options { faults, ..quick() }, script).await;
    scene.secret.expose().clone_into(&mut receiver_secret.lock().unwrap());
    let posts = scene.pay().await;
    let (forged, genuine): (Vec<_>, Vec<_>) = posts.iter().partition(|post| post.json()["data"]["forged"] == true);
    assert_eq!((genuine.len(), forged.len()), (3, 3));
    assert!(genuine.iter().all(|post| post.body == genuine[0].body));
    assert!(forged.iter().all(|post| post.signature != sign(scene.secret.expose(), &post.body)));
    let counters = scene.simulator.counters();
    assert_eq!((counters.posts, counters.attempts, counters.forged, counters.forged_accepted), (3, 1, 3, 0));
}

#[tokio::test]
async fn reordering_turns_groups_around() {
    let scene = Scene::with(Faults { reorder: 3, ..Faults::default() }, Variants::default()).await;
    let order = async |first: i64, last: i64| {
        let before = scene.receiver.posts().len();
        for number in first..=last {
            scene.simulator.emit("payment.received", &json!({"number": number})).unwrap();
        }
        scene.settled().await;
        scene.receiver.posts()[before..]
            .iter()
            .map(|post| post.json()["data"]["number"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(order(1, 3).await, [3, 2, 1]);
    // What does not fill a group is not kept for ever.
    assert_eq!(order(4, 5).await, [5, 4]);
}

#[tokio::test]
async fn a_fresh_timestamp_makes_another_body() {
    let mut answers = [Some(500)].into_iter();
    let faults = Faults { fresh_timestamp: true, ..Faults::default() };
    let scene = Scene::new(Options { faults, ..quick() }, move |_| answers.next().unwrap_or(Some(200))).await;
    let posts = scene.pay().await;
    assert_eq!(posts.len(), 2);
    let (mut first, mut second) = (posts[0].json(), posts[1].json());
    assert_ne!(first["timestamp"].take(), second["timestamp"].take());
    assert_eq!(first, second);
    assert_eq!(posts[1].signature, sign(scene.secret.expose(), &posts[1].body));
}

#[tokio::test]
async fn what_is_on_its_way_during_a_rotation_has_the_old_signature() {
    let scene = Scene::with(Faults { transit_delay_ms: 500, ..Faults::default() }, Variants::default()).await;
    let invoice = scene.simulator.create_invoice(None, None).unwrap();
    scene.simulator.pay(invoice.id, NewPayment::default()).unwrap();
    eventually("it is signed", async || scene.simulator.counters().attempts == 1).await;
    scene.rotate().await;
    scene.settled().await;
    let post = scene.receiver.posts().remove(0);
    assert_eq!(post.signature, sign(scene.secret.expose(), &post.body));
}

#[tokio::test]
async fn calls_fail_as_often_as_asked() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let list = async || try_call(&scene.simulator, "GET", "/webhooks", Value::Null).await;
    scene
        .simulator
        .set_faults(Faults { too_many_requests: 1, retry_after_secs: Some(7), ..Faults::default() })
        .unwrap();
    let called = list().await.unwrap();
    assert_eq!((called.status, called.retry_after.as_deref()), (429, Some("7")));
    scene.simulator.set_faults(Faults { too_many_requests: 2, ..Faults::default() }).unwrap();
    for _ in 0..2 {
        let called = list().await.unwrap();
        assert_eq!((called.status, called.retry_after), (429, None));
    }
    assert_eq!(list().await.unwrap().status, 200);
    scene.simulator.set_faults(Faults { api_errors: 1, api_error_status: 502, ..Faults::default() }).unwrap();
    assert_eq!((list().await.unwrap().status, list().await.unwrap().status), (502, 200));
    scene.simulator.set_faults(Faults { cut_connections: 1, ..Faults::default() }).unwrap();
    assert!(list().await.is_err());
    assert_eq!(list().await.unwrap().status, 200);
    assert_eq!(scene.simulator.faults(), Faults::default(), "all are used up");
    assert_eq!(scene.simulator.counters().api_faults, 5);
}

#[tokio::test]
async fn rotations_that_are_done_and_not_told() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let mut known = vec![scene.secret_now()];
    let path = format!("/webhooks/{}/rotate-secret", scene.webhook);
    for faults in [
        Faults { lost_rotations: 1, ..Faults::default() },
        Faults { failing_rotations: 1, ..Faults::default() },
        Faults { garbled_rotations: 1, ..Faults::default() },
    ] {
        scene.simulator.set_faults(faults.clone()).unwrap();
        let called = try_call(&scene.simulator, "POST", &path, Value::Null).await;
        match called {
            Err(_) => assert_eq!(faults.lost_rotations, 1),
            Ok(called) if called.status == 503 => assert_eq!(faults.failing_rotations, 1),
            Ok(called) => {
                assert_eq!((called.status, &called.body, faults.garbled_rotations), (200, &Value::Null, 1));
            }
        }
        let now = scene.secret_now();
        assert!(!known.contains(&now), "{faults:?} changes the secret");
        known.push(now);
        assert_eq!(scene.simulator.faults(), Faults::default());
    }
    let posts = scene.pay().await;
    assert_eq!(posts[0].signature, sign(&scene.secret_now(), &posts[0].body));
}

#[tokio::test]
async fn slow_rotations_change_the_secret_also_when_nobody_waits() {
    let scene =
        Scene::with(Faults { rotation_answer_delay_ms: 600_000, ..Faults::default() }, Variants::default()).await;
    let url = format!("{}/webhooks/{}/rotate-secret", scene.simulator.api_url(), scene.webhook);
    let send = || tokio::spawn(http().post(&url).header("X-API-Key", "fk_test_a").send());
    let calls = || scene.simulator.counters().api_calls;
    let call = send();
    eventually("changed at once", async || scene.simulator.counters().rotations == 1).await;
    let after_first = scene.secret_now();
    assert_ne!(after_first, scene.secret.expose());
    assert!(!call.is_finished(), "answered late");
    call.abort();

    scene.simulator.set_faults(Faults { rotation_delay_ms: 600, ..Faults::default() }).unwrap();
    let before = calls();
    let call = send();
    eventually("the call is there", async || calls() > before).await;
    call.abort();
    eventually("the secret is changed", async || scene.secret_now() != after_first).await;
    scene.simulator.set_faults(Faults { rotation_delay_ms: 600_000, ..Faults::default() }).unwrap();
    let (before, after_second) = (calls(), scene.secret_now());
    let _waiting = send();
    eventually("the call is there", async || calls() > before).await;
    assert_eq!(scene.secret_now(), after_second, "not changed yet");
    // What still waits to answer does not keep it from stopping.
    tokio::time::timeout(PATIENCE, scene.simulator.stop()).await.unwrap();
}

#[tokio::test]
async fn a_creation_that_is_done_and_not_told() {
    let simulator =
        alone(Options { faults: Faults { lost_creates: 1, ..Faults::default() }, ..Options::default() }).await;
    let new = json!({"url": URL, "events": ["a"]});
    assert!(try_call(&simulator, "POST", "/webhooks", new).await.is_err());
    assert_eq!(simulator.webhooks()[0].url, URL);
}

// --- variants

#[tokio::test]
async fn variants_of_the_signature() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let secret = scene.secret.expose();
    let stripped = secret.strip_prefix("whsec_").unwrap();
    let decoded = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, stripped).unwrap();
    let hmac = |key: &[u8], body: &[u8]| {
        use hmac::{KeyInit, Mac};
        let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).unwrap().chain_update(body);
        hex::encode(mac.finalize().into_bytes())
    };
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
    assert_eq!(it.signature, hmac(&decoded, &it.body));
    let it = post(Variants { signature_over: Over::Reserialized, ..plain.clone() }).await;
    let compact = reserialize(&it.body).unwrap();
    assert!(compact.len() < it.body.len(), "it is sent with blanks");
    assert_eq!(it.signature, sign(secret, &compact));
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

// --- the controls and the command

#[tokio::test]
async fn the_controls_make_things_happen() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let control = async |method: &str, path: &str, body: Value| {
        let url = format!("http://{}/_simulator{path}", scene.simulator.address());
        let mut request = http().request(method.parse().unwrap(), url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, faults) = control("PUT", "/faults", json!({"repeats": 1, "lost_creates": 2})).await;
    assert_eq!((status, &faults["repeats"]), (200, &json!(1)));
    assert_eq!(scene.simulator.faults(), Faults { repeats: 1, lost_creates: 2, ..Faults::default() });
    assert_eq!(control("GET", "/faults", Value::Null).await.1, faults);
    assert_eq!(control("PUT", "/faults", json!({"repeats": 1000})).await.0, 400);
    let (status, error) = control("PUT", "/faults", json!({"repeat": 1})).await;
    assert_eq!((status, error["error"].as_str().unwrap().contains("unknown field `repeat`")), (422, true), "{error}");
    control("PUT", "/faults", json!({})).await;
    assert_eq!(scene.simulator.faults(), Faults::default());
    assert_eq!(control("PUT", "/variants", json!({"secret_encoding": "base64"})).await.0, 200);
    assert_eq!(control("GET", "/variants", Value::Null).await.1["secret_encoding"], "base64");
    control("PUT", "/variants", json!({})).await;

    let event = json!({"event": "payment.received", "data": {"odd": true}});
    assert_eq!(control("POST", "/events", event).await, (202, json!({"deliveries": 1})));
    let (status, invoice) = control("POST", "/invoices", json!({"invoiceNumber": "F-9", "amountCents": 900})).await;
    assert_eq!((status, &invoice["invoiceNumber"]), (201, &json!("F-9")));
    let payment = json!({"invoiceId": invoice["id"], "amountCents": 100, "method": "card", "status": "pending"});
    let (status, payment) = control("POST", "/payments", payment).await;
    assert_eq!((status, &payment["amountCents"]), (201, &json!(100)));
    assert_eq!(control("POST", "/payments", json!({"status": "odd"})).await.0, 400);
    assert_eq!(control("POST", "/payments", json!({"invoiceId": scene.webhook})).await.0, 404);
    let path = format!("/invoices/{}/status", invoice["id"].as_str().unwrap());
    assert_eq!(control("POST", &path, json!({"status": "paid"})).await, (202, json!({"deliveries": 1})));
    scene.settled().await;
    let bodies: Vec<_> = scene.receiver.posts().iter().map(Post::json).collect();
    for (event, data) in [
        ("payment.received", json!({"odd": true})),
        ("payment.received", json!({"invoiceId": invoice["id"], "amountCents": 100})),
        (
            "invoice.status_changed",
            json!({"invoiceId": invoice["id"], "previousStatus": "in_recovery", "newStatus": "paid"}),
        ),
    ] {
        assert!(bodies.iter().any(|body| body["event"] == event && body["data"] == data), "{event} {data}");
    }
    let (_, state) = control("GET", "/state", Value::Null).await;
    assert_eq!((&state["counters"]["acknowledged"], &state["openDeliveries"]), (&json!(3), &json!(0)));
    assert_eq!(state["webhooks"][0]["secret"].as_str().unwrap().len(), 16);
    assert!(!state.to_string().contains("whsec_"));
    assert_eq!(control("GET", "/nothing", Value::Null).await.0, 404);
}

#[tokio::test]
async fn the_controls_are_for_this_machine_only() {
    // An address of this machine that is not its loopback; a machine may have none.
    let outside = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let Ok(outside) = outside.map(|address| address.ip()) else { return };
    let simulator = alone(Options { listen: (outside, 0).into(), ..Options::default() }).await;
    let url = format!("http://{}/_simulator/state", simulator.address());
    assert_eq!(http().get(url).send().await.unwrap().status().as_u16(), 403);
    assert_eq!(call(&simulator, "GET", "/webhooks", Value::Null).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_started_is_said() {
    for to in ["ftp://relay.test", "http://relay.test/path", "http://relay.test?x"] {
        let options = Options { deliver_to: Some(to.parse().unwrap()), ..Options::default() };
        let error = Simulator::start(options).await.unwrap_err().to_string();
        assert!(error.contains("write scheme, host and port"), "{error}");
    }
    let taken = alone(Options::default()).await;
    let error = Simulator::start(Options { listen: taken.address(), ..Options::default() }).await.unwrap_err();
    assert!(error.to_string().contains("choose another address"), "{error}");
}

#[tokio::test]
async fn the_same_seed_makes_the_same_up() {
    let secrets = async |seed| {
        let simulator = alone(Options { seed, ..Options::default() }).await;
        let (id, secret) = simulator.create_webhook(URL, &["a"]).unwrap();
        (id, secret.expose().to_owned(), simulator.create_invoice(None, None).unwrap())
    };
    assert_eq!(secrets(7).await, secrets(7).await);
    assert_ne!(secrets(7).await.1, secrets(8).await.1);
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
    command.arg("simulate").args(arguments).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Ends with its test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_plays_finkare_until_it_is_told_to_stop() {
    let receiver = Receiver::start(|_| Some(200)).await;
    let deliver_to = format!("http://{}", receiver.address);
    for signal in ["-TERM", "-INT"] {
        let before = receiver.posts().len();
        let child = command(&[
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--deliver-to",
            &deliver_to,
            "--webhook",
            URL,
            "--rate",
            "50",
            "--fault",
            "repeats=1",
            "--variant",
            "signature_prefix=true",
            "--seed",
            "1",
        ])
        .spawn()
        .unwrap();
        let mut child = Running(child);
        let stdout = child.0.stdout.take().unwrap();
        let line = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next().unwrap().unwrap());
        let line = tokio::time::timeout(PATIENCE, line).await.unwrap().unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let list = http().get(format!("{}/webhooks", said["api_url"].as_str().unwrap()));
        let list = list.header("X-API-Key", said["api_key"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(list.json::<Value>().await.unwrap()["data"][0]["id"], said["webhooks"][0]["id"]);
        eventually("payments by themselves", async || receiver.posts().len() > before + 10).await;
        let secret = said["webhooks"][0]["secret"].as_str().unwrap();
        for post in &receiver.posts()[before..] {
            assert_eq!(post.signature, format!("sha256={}", sign(secret, &post.body)));
        }
        let killed = Command::new("/bin/kill").args([signal, &child.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
        eventually("it ends", || std::future::ready(child.0.try_wait().unwrap().is_some())).await;
        let status = child.0.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_it_does_not_know() {
    for (option, known) in [("--fault", "repeats, reorder"), ("--variant", "signature_over, signature_prefix")] {
        let output = command(&[option, "nothing=1"]).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("`nothing`; known are: ") && said.contains(known), "{said}");
    }
}
