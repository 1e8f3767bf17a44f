//! Filters over real deliveries: which events reach a sink.

use serde_json::{Value, json};

use crate::support::{
    finkare::Finkare,
    relay::{Backend, Home, on_both_stores},
    target::Target,
};

on_both_stores!(a_number_and_a_text_are_not_compared);

async fn a_number_and_a_text_are_not_compared(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::start().await;
    let filters = [
        ("large", "data.amountCents >= 10000"),
        ("small", "data.amountCents < 10000"),
        ("other", "data.amountCents != 10000"),
        ("not-large", "not (data.amountCents >= 10000)"),
        ("listed", "data.amountCents not in [1, 2]"),
        ("ping", "data.amountCents >= 10000 or event == 'ping'"),
    ];
    let sinks = filters.iter().map(|(name, filter)| {
        format!(
            "[[sinks]]\nname = \"{name}\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\nfilter = \"{filter}\"\n",
            target.url()
        )
    });
    let mut relay = home.serve(&sinks.collect::<String>()).await;
    let finkare = Finkare::of(&relay);
    for (body, expected) in [
        (json!({"event": "payment.received", "data": {"amountCents": 10000}}), vec!["large", "listed", "ping"]),
        (
            json!({"event": "payment.received", "data": {"amountCents": 5}}),
            vec!["small", "other", "not-large", "listed"],
        ),
        (json!({"event": "payment.received", "data": {"amountCents": "5"}}), vec![]),
        (json!({"event": "payment.received", "data": {"amountCents": "20000"}}), vec![]),
        (json!({"event": "payment.received", "data": {"amountCents": true}}), vec![]),
        (json!({"event": "payment.received", "data": {"amountCents": [20000]}}), vec![]),
        (json!({"event": "payment.received", "data": {"amountCents": {"cents": 20000}}}), vec![]),
        (json!({"event": "payment.received", "data": {"amountCents": null}}), vec![]),
        (json!({"event": "payment.received", "data": {}}), vec![]),
        (json!({"event": "ping", "data": {"amountCents": "5"}}), vec!["ping"]),
        (json!({"event": "ping"}), vec!["ping"]),
    ] {
        let answer = finkare.deliver(body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{body}");
        let event = relay.get(&format!("/events/{}", answer.id())).await;
        let dispatches = event["dispatches"].as_array().unwrap();
        let mut sinks: Vec<&str> = dispatches.iter().map(|dispatch| dispatch["sink"].as_str().unwrap()).collect();
        let mut expected: Vec<&str> = expected;
        sinks.sort_unstable();
        expected.sort_unstable();
        assert_eq!(sinks, expected, "{body}");
    }
    let line = relay.wait_for_line("it compares a text with a number").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["sink.name"]), (&json!("WARN"), &json!("large")), "{line}");
}
