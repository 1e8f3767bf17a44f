//! How events are distinguished if the operator names a value of the body as the key.

use serde_json::json;

use crate::support::{
    finkare::Finkare,
    relay::{Backend, Home, SECRET, on_both_stores},
};

/// A sink that takes no events.
const NO_SINK: &str = "[[sinks]]\nname = \"none\"\ntype = \"stdout\"\nevents = [\"never.sent\"]\n";

on_both_stores!(a_pointers_value_tells_events_apart, a_time_at_the_edge_of_the_calendar_hides_nothing);

async fn a_pointers_value_tells_events_apart(backend: Backend) {
    let home = Home::new(backend).await;
    home.configure("", &format!("secret = \"{SECRET}\"\ndedupe = \"/data/paymentId\""), NO_SINK);
    let relay = home.start().await;
    let finkare = Finkare::of(&relay);
    let body = |event: &str, value: &str, number: u32| {
        format!(
            r#"{{"event":"{event}","data":{{"paymentId":{value},"number":{number}}},"timestamp":"2026-03-15T10:30:00.000Z"}}"#
        )
    };
    let is_duplicate = async |body: String| {
        let answer = finkare.deliver(body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{body}");
        answer.is_duplicate()
    };
    let mut stored = 0;
    // Without a key, each body is an event of its own, and a repetition is recognised by its bytes.
    for value in ["\"\"", "\"  \"", "null", "true", "false", "[]", "[1]", "{}", "{\"id\":1}"] {
        for number in [1, 2] {
            assert!(!is_duplicate(body("payment.received", value, number)).await, "{value} {number}");
            stored += 1;
        }
        assert!(is_duplicate(body("payment.received", value, 1)).await, "{value}");
    }
    // With a key, the first body with this key is the event.
    for value in [
        "\"p1\"",
        "1",
        "1.0",
        "1e0",
        "\"1\"",
        "10000000000000000000000000001",
        "10000000000000000000000000002",
        "0.1000000000000000055511151231257827",
        "0.1",
    ] {
        assert!(!is_duplicate(body("payment.received", value, 1)).await, "{value}");
        assert!(is_duplicate(body("payment.received", value, 2)).await, "{value}");
        // A later change of the same payment is another event.
        assert!(!is_duplicate(body("payment.refunded", value, 1)).await, "{value}");
        assert!(is_duplicate(body("payment.refunded", value, 2)).await, "{value}");
        stored += 2;
    }
    // The key is the same, however its characters are escaped.
    assert!(is_duplicate(body("payment.received", r#""\u00701""#, 3)).await);
    // Unreadable bodies are distinguished by their bytes.
    for number in [1, 2] {
        let unreadable = format!(r#"{{"data":{{"paymentId":"p1","number":{number}}}}}"#);
        assert!(!is_duplicate(unreadable).await);
        stored += 1;
    }
    assert_eq!(relay.all("/events").await.len(), stored);
}

async fn a_time_at_the_edge_of_the_calendar_hides_nothing(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(NO_SINK).await;
    let finkare = Finkare::of(&relay);
    let times = [
        ("9999-12-30T21:59:59.999999Z", json!("9999-12-30T21:59:59.999999Z")),
        ("9999-12-30T22:00:00.5Z", json!(null)),
        ("9999-12-31T23:59:59.999Z", json!(null)),
        ("0001-01-01T00:00:00Z", json!("0001-01-01T00:00:00Z")),
        ("0000-01-01T00:00:00Z", json!(null)),
        ("-000001-01-01T00:00:00Z", json!(null)),
        ("-009999-01-02T01:59:59Z", json!(null)),
    ];
    for (time, shown) in &times {
        let body = format!(r#"{{"event":"ping","data":{{}},"timestamp":"{time}"}}"#);
        let answer = finkare.deliver(body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{time}");
        let event = relay.get(&format!("/events/{}", answer.id())).await;
        assert_eq!((&event["occurred_at"], &event["readable"]), (shown, &json!(true)), "{time}");
    }
    assert_eq!(relay.all("/events").await.len(), times.len());
    for dry_run in [true, false] {
        let asked = json!({"sinks": ["none"], "since": "2020-01-01T00:00:00Z", "dry_run": dry_run});
        let (status, summary) = relay.try_post_json("/events/replay", &asked).await;
        assert_eq!((status, &summary["events"]), (200, &json!(times.len())), "{summary}");
    }
}
