//! The simulator's own API, and how it starts.

use finkare_simulator::{Faults, Options, Simulator, Variants};
use serde_json::{Value, json};

use crate::scene::{Post, Scene, URL, alone, call, http};

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
