//! Why a delivery was refused: each reason is told to the operator and not to the sender, within limits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use finkare_relay::{
    ingest::{
        Endpoint, Refused,
        explain::{KEPT, LARGEST, QUEUE, REST, Reason, Refusals, Seen},
    },
    lifecycle::Lifecycle,
    secrets::Undecided,
    signature::finkare::Rejection,
    telemetry::Metrics,
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{MARK, endpoint, open_secrets, signed};
use crate::{
    store::on_sqlite,
    support::{
        eventually,
        finkare::sign,
        http as client,
        relay::{Backend, Home, PATH, Relay, SECRET},
    },
};

/// The secret of another endpoint of the same service, which is not tried.
const OTHER: &str = "whsec_c2VjcmV0IG9mIHRoZSBzYW5kYm94";

fn tag(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

/// The sender's view, without the parts that differ from one request to the next.
async fn post(relay: &Relay, path: &str, signatures: &[String], body: &[u8]) -> (String, String) {
    let mut request = client().post(format!("http://{}{path}", relay.public)).body(body.to_vec());
    for signature in signatures {
        request = request.header("X-Finkare-Signature", signature);
    }
    let response = request.send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let mut headers: Vec<String> = response
        .headers()
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let answer = format!("{} {headers:?} {}", response.status(), response.text().await.unwrap().replace(&id, "ID"));
    (id, answer)
}

async fn examined(relay: &Relay, request_id: &str) -> Value {
    let found = Mutex::new(Value::Null);
    eventually("the refusal is examined", async || {
        let rows = relay.all("/refusals").await;
        let row = rows.into_iter().find(|row| row["request_id"] == request_id);
        let row = row.unwrap_or_else(|| panic!("no refusal {request_id}"));
        let examined = row["examined"] == true;
        *found.lock().unwrap() = row;
        examined
    })
    .await;
    found.into_inner().unwrap()
}

struct Delivery {
    path: &'static str,
    signatures: Vec<String>,
    body: String,
    reason: &'static str,
    says: &'static str,
}

#[expect(clippy::needless_pass_by_value, reason = "the table reads better without references")]
fn delivery(signatures: Vec<String>, body: impl ToString, reason: &'static str, says: &'static str) -> Delivery {
    Delivery { path: PATH, signatures, body: body.to_string(), reason, says }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_explained_and_its_sender_told_the_same() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home
        .serve(&format!("\n[[endpoints]]\nname = \"sandbox\"\npath = \"/webhooks/sandbox\"\nsecret = \"{OTHER}\"\n"))
        .await;
    let compact = json!({"event": "payment.received", "data": {"note": MARK, "amountCents": 1}}).to_string();
    let body = compact.as_bytes();
    let good = sign(SECRET, body);
    let of = |text: &str| vec![sign(SECRET, text.as_bytes())];
    let stripped = SECRET.trim_start_matches("whsec_");
    let raw = BASE64_STANDARD.decode(stripped).unwrap();
    let base64 = BASE64_STANDARD.encode(tag(SECRET.as_bytes(), body));
    let lines = compact.replace(',', ",\n");
    let cases = [
        delivery(vec![sign("whsec_forged", body)], &compact, "wrong_secret", "forged"),
        delivery(vec![], &compact, "header_missing", "proxy"),
        delivery(vec![good.clone(), good.clone()], &compact, "header_repeated", "more than once"),
        delivery(vec!["a".into(), "b".into()], &compact, "header_repeated", "more than once"),
        delivery(vec![base64.clone()], &compact, "header_encoding", "base64 instead of hexadecimal"),
        delivery(vec![format!("v1,{base64}")], &compact, "header_encoding", "base64 instead of hexadecimal"),
        delivery(vec![format!("sha512={good}")], &compact, "header_encoding", "prefix other than `sha256=`"),
        delivery(vec![good[2..].into()], &compact, "header_encoding", "64 hexadecimal digits"),
        delivery(of(&compact), format!("{compact}\n"), "body_changed", "something added them"),
        delivery(of(&format!("{compact}\n")), &compact, "body_changed", "something removed it"),
        delivery(of(&compact), format!("\u{feff}{compact}"), "body_changed", "byte order mark"),
        delivery(of(&lines), lines.replace('\n', "\r\n"), "body_changed", "turned them into CRLF"),
        delivery(of(&lines.replace('\n', "\r\n")), &lines, "body_changed", "turned them into LF"),
        delivery(of(&compact), lines.replace(':', " : "), "signature_over", "signature_over = \"either\""),
        delivery(vec![hex::encode(tag(stripped.as_bytes(), body))], &compact, "secret_encoding", "\"stripped\""),
        delivery(vec![hex::encode(tag(&raw, body))], &compact, "secret_encoding", "\"base64\""),
        delivery(vec![sign(OTHER, body)], &compact, "wrong_secret", "none of the endpoint's secrets"),
        Delivery {
            path: "/webhooks/sandbox",
            ..delivery(vec![good.clone()], &compact, "wrong_secret", "none of the endpoint's secrets")
        },
    ];
    let mut answers = BTreeMap::new();
    let mut counts: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for case in &cases {
        let (id, answer) = post(&relay, case.path, &case.signatures, case.body.as_bytes()).await;
        answers.entry(answer).or_insert_with(Vec::new).push(case.reason);
        let row = examined(&relay, &id).await;
        let endpoint = if case.path == PATH { "production" } else { "sandbox" };
        assert_eq!(
            (&row["reason"], &row["endpoint"], &row["status"]),
            (&json!(case.reason), &json!(endpoint), &json!(401)),
            "{row}"
        );
        assert!(row["explanation"].as_str().unwrap().contains(case.says), "{} in {row}", case.says);
        assert_eq!(row["body_bytes"], case.body.len());
        assert_eq!(row["body_sha256"], hex::encode(Sha256::digest(&case.body)));
        assert_eq!(row["signature_header"]["bytes"].as_u64(), case.signatures.first().map(|text| text.len() as u64));
        assert!(row["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{row}");
        *counts.entry((endpoint.to_owned(), case.reason)).or_default() += 1;
    }
    assert_eq!(answers.len(), 1, "the sender learns nothing from the answer: {answers:#?}");
    assert!(answers.keys().all(|answer| answer.starts_with("401")), "{answers:#?}");

    // The list is complete, filtered and newest first.
    let rows = relay.all("/refusals").await;
    assert_eq!(rows.len(), cases.len());
    assert!(rows.iter().map(|row| row["number"].as_u64().unwrap()).rev().eq(1..=cases.len() as u64));
    assert_eq!(relay.all("/refusals?endpoint=sandbox").await.len(), 1);
    let page = relay.get("/refusals?limit=2").await;
    let next = relay.get(&format!("/refusals?limit=2&cursor={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!((&page["data"][1], &next["data"][0]), (&rows[1], &rows[2]));
    assert_eq!(relay.try_get("/refusals?limit=0").await.0, 400);
    assert_eq!(relay.try_get("/refusals?cursor=x").await.0, 400);

    let metrics = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    for ((endpoint, reason), count) in counts {
        let line = format!("relay_refusals_total{{endpoint=\"{endpoint}\",reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }

    // As a command, for people and for programs.
    let list = home.command().args(["refusals", "list", "--admin-url", &format!("http://{}", relay.admin)]).output();
    let list = list.unwrap();
    let table = String::from_utf8(list.stdout).unwrap();
    assert!(list.status.success() && table.contains("secret_encoding = \"base64\""), "{table}");

    let shown = serde_json::to_string(&rows).unwrap();
    let (_, log) = relay.terminate().await;
    let secrets = [SECRET, stripped, OTHER, MARK, &good, &base64, "whsec_forged"];
    for (what, text) in [("the view", shown), ("the log", log.clone()), ("the metrics", metrics), ("the table", table)]
    {
        for secret in secrets {
            assert!(!text.contains(secret), "{what} holds {secret}");
        }
    }
    for case in &cases {
        let says = case.says.replace('"', "\\\"");
        let told = [&*format!("\"reason\":\"{}\"", case.reason), &says, "a refused delivery was examined"];
        assert!(log.lines().any(|line| told.iter().all(|text| line.contains(text))), "{told:?} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_signature_over_rules_out_is_named() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("signature_over = \"reserialized\"").await;
    let body = b"{ \"event\" : \"ping\" }";
    let (id, _) = post(&relay, PATH, &[sign(SECRET, body)], body).await;
    let row = examined(&relay, &id).await;
    assert_eq!(row["reason"], "signature_over", "{row}");
    assert!(row["explanation"].as_str().unwrap().contains("signature_over = \"raw\""), "{row}");
}

// --- the list and its bounds, without a service around it

fn note(refusals: &Refusals, endpoint: &Endpoint, refused: &Refused, body: &Bytes) {
    let headers = signed("whsec_forged", b"");
    refusals.note(Seen { headers: &headers, status: 401, peer: None, request_id: None }, endpoint, body, refused);
}

fn count(metrics: &Metrics, reason: &str) -> usize {
    let label = format!("relay_refusals_total{{endpoint=\"production\",reason=\"{reason}\"}} ");
    let text = metrics.render();
    text.lines().find_map(|line| line.strip_prefix(&label)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_costs_a_bounded_part() {
    let fixture = on_sqlite().await;
    let secrets = open_secrets(&fixture.open().await, &["whsec_one"]).await;
    let (endpoint, metrics, lifecycle) = (endpoint(&secrets), Arc::new(Metrics::new()), Lifecycle::new());
    let (refusals, explaining) = Refusals::new(metrics.clone(), lifecycle.clone());
    let forged = Refused::NotGenuine(Rejection::Mismatch);
    let missing = Refused::NotGenuine(Rejection::HeaderMissing);
    // The examining task is not running yet: a delivery without a place is counted at once.
    for _ in 0..QUEUE + 7 {
        note(&refusals, &endpoint, &forged, &Bytes::from_static(b"{}"));
    }
    note(&refusals, &endpoint, &missing, &Bytes::from_static(b"{}"));
    assert_eq!((count(&metrics, "not_examined"), count(&metrics, "header_missing")), (7, 1));
    // Refusals that concern the store and not the sender are not on the list.
    note(&refusals, &endpoint, &Refused::QueueFull, &Bytes::from_static(b"{}"));
    let (rows, _) = refusals.list(|_| true, None, usize::MAX - 1);
    assert_eq!((rows.len(), rows[0].reason, rows[1].reason), (QUEUE + 8, Reason::HeaderMissing, Reason::NotExamined));

    let begun = Instant::now();
    lifecycle.spawn("explaining", explaining);
    eventually("what had a place is examined", async || count(&metrics, "wrong_secret") == QUEUE).await;
    // There is a pause between two explanations.
    assert!(begun.elapsed() >= REST * u32::try_from(QUEUE - 1).unwrap(), "{:?}", begun.elapsed());
    let (rows, _) = refusals.list(|_| true, None, usize::MAX - 1);
    let examined: Vec<_> = rows.iter().filter(|row| row.examined).map(|row| row.number).collect();
    assert!(examined.into_iter().rev().eq(1..=QUEUE as u64), "the first ones, in their own rows");

    // A body that is too large to examine is not examined, even if no other delivery waits.
    note(&refusals, &endpoint, &forged, &vec![b' '; LARGEST + 1].into());
    assert_eq!(count(&metrics, "not_examined"), 8);
    lifecycle.stop(Duration::from_secs(30)).await;

    for _ in 0..KEPT + 50 {
        note(&refusals, &endpoint, &missing, &vec![b' '; LARGEST + 1].into());
    }
    let (rows, more) = refusals.list(|_| true, None, KEPT);
    assert_eq!(
        (rows.len(), more, rows.last().map(|row| row.number)),
        (KEPT, false, Some(rows[0].number - KEPT as u64 + 1))
    );
    let (rows, more) = refusals.list(
        |row| row.endpoint.as_ref().is_some_and(|name| name.as_str() == "production"),
        Some(rows[0].number),
        10,
    );
    assert_eq!((rows.len(), more), (10, true));
    assert!(
        refusals
            .list(|row| row.endpoint.as_ref().is_some_and(|name| name.as_str() == "elsewhere"), None, 10)
            .0
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_could_tell_is_named_as_such() {
    let fixture = on_sqlite().await;
    let secrets = open_secrets(&fixture.open().await, &["whsec_one"]).await;
    let (refusals, _explaining) = Refusals::new(Arc::new(Metrics::new()), Lifecycle::new());
    let refused = Refused::Undecided(Undecided::Unknown);
    note(&refusals, &endpoint(&secrets), &refused, &Bytes::from_static(b"{}"));
    let refused = Refused::NotGenuine(Rejection::NoSecret);
    note(&refusals, &endpoint(&secrets), &refused, &Bytes::from_static(b"{}"));
    let refused = Refused::NotGenuine(Rejection::Retired);
    note(&refusals, &endpoint(&secrets), &refused, &Bytes::from_static(b"{}"));
    let (rows, _) = refusals.list(|_| true, None, 10);
    for (row, reason, says) in [
        (&rows[2], Reason::Undecided, "whether Finkare has switched"),
        (&rows[1], Reason::NoSecret, "finkare-relay register"),
        (&rows[0], Reason::RetiredSecret, "whose overlap after a rotation has ended"),
    ] {
        assert_eq!(row.reason, reason);
        assert!(row.explanation.contains(says), "{}", row.explanation);
    }
}
