//! `max_age_days`: a genuine delivery that is too old is refused, and the operator learns of it.

use std::time::Duration;

use finkare_relay::model::clock;
use serde_json::json;

use super::MARK;
use crate::support::{
    finkare::{Finkare, sign},
    http as client,
    relay::{Backend, Home},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_delivery_that_is_too_old_is_refused_and_told() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("max_age_days = 30").await;
    let finkare = Finkare::of(&relay);
    let dated = |at: jiff::Timestamp, note| json!({"event": "ping", "timestamp": at, "note": note}).to_string();
    let now = clock::now();
    let day = Duration::from_hours(24);
    for kept in [
        dated(now, "new"),
        dated(now - 29 * day, "late"),
        dated(now + day, "early"),
        r#"{"event":"ping"}"#.into(),
        "no json".into(),
    ] {
        let answer = finkare.deliver(kept.as_bytes()).await;
        assert_eq!(answer.status, 200, "{kept}: {answer:?}");
    }
    let old = dated(now - 31 * day, MARK);
    for _ in 0..2 {
        let answer = finkare.deliver(old.as_bytes()).await;
        assert_eq!((answer.status, &answer.body["code"]), (403, &json!("too_old")), "{answer:?}");
        assert!(!answer.headers.contains_key("retry-after"), "to come again is of no use: {answer:?}");
    }
    let forged = finkare.post(old.clone(), Some(&sign("whsec_forged", old.as_bytes()))).await;
    assert_eq!((forged.status, &forged.body["code"]), (401, &json!("invalid_signature")), "the signature comes first");
    assert_eq!(relay.all("/events").await.len(), 5, "nothing was stored of what was refused");
    let mut reasons: Vec<_> = relay.all("/refusals").await.iter().map(|row| row["status"].as_u64().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, [401, 403, 403]);
    let metrics = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("relay_deliveries_total{endpoint=\"production\",result=\"too_old\"} 2\n"), "{metrics}");
    let (_, log) = relay.terminate().await;
    let told = |level: &str, text: &str| log.lines().any(|line| line.contains(level) && line.contains(text));
    assert!(told("ERROR", "is older than `max_age_days` and was refused"), "{log}");
    assert!(told("WARN", "has no readable `timestamp`"), "{log}");
    assert!(!log.contains(MARK));
}
