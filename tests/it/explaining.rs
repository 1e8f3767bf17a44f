//! Why was it refused, why is it quiet, is it ready: what an operator is told, and nobody else.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use finkare_relay::{
    activity::{Board, Meter, Registration, Standing, Watch, Watched},
    ingest::{
        Dedupe, Endpoint, Ingest, Refused,
        committer::{Committer, Limits},
        explain::{KEPT, LARGEST, QUEUE, REST, Reason, Refusals, Seen},
    },
    lifecycle::Lifecycle,
    model::{
        audit::NewAudit,
        clock,
        id::{EndpointName, LeaseToken},
        link::{Begun, Fingerprint, IntentId, IntentKind, NewIntent, Origin},
        secret::Secret,
    },
    secrets::{
        Secrets, Source,
        suspicion::{REMEMBERED, Whose},
        vault::Vault,
    },
    signature::finkare::{HEADER, Rejection, SecretEncoding, SignatureOver},
    store::{
        Store,
        link::{Change, Ended},
    },
    telemetry::Metrics,
    web::health::Health,
};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tower::ServiceExt;
use uuid::Uuid;

use crate::{
    store::{Fixture, on_each_store, on_sqlite},
    support::{
        eventually,
        fake_finkare::{API_KEY, FakeFinkare, WEBHOOK},
        finkare::{Finkare, payment, sign},
        http as client,
        relay::{Backend, Home, PATH, Relay, SECRET},
    },
};

/// Another endpoint of the same service.
const OTHER: &str = "whsec_c2VjcmV0IG9mIHRoZSBzYW5kYm94";
/// Stands in every body of these tests, and must stand nowhere else.
const MARK: &str = "Marie-Curie-owes-1500";

fn two_endpoints(options: &str) -> String {
    format!("{options}\n[[endpoints]]\nname = \"sandbox\"\npath = \"/webhooks/sandbox\"\nsecret = \"{OTHER}\"\n")
}

fn tag(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

/// What the sender gets to see, without what differs from one request to the next by itself.
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
    let relay = home.serve(&two_endpoints("")).await;
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
        delivery(vec![good.clone(), good.clone()], &compact, "header_repeated", "adds or repeats"),
        delivery(vec!["a".into(), "b".into()], &compact, "header_repeated", "more than once"),
        delivery(vec![base64.clone()], &compact, "header_encoding", "base64 instead of hexadecimal"),
        delivery(vec![format!("v1,{base64}")], &compact, "header_encoding", "base64 instead of hexadecimal"),
        delivery(vec![format!("sha512={good}")], &compact, "header_encoding", "prefix other than `sha256=`"),
        delivery(vec![good[2..].into()], &compact, "header_encoding", "64 hexadecimal digits"),
        delivery(of(&compact), format!("{compact}\n"), "body_changed", "something added them"),
        delivery(of(&format!("{compact}\n")), &compact, "body_changed", "something removed it"),
        delivery(of(&lines), lines.replace('\n', "\r\n"), "body_changed", "turned them into CRLF"),
        delivery(of(&lines.replace('\n', "\r\n")), &lines, "body_changed", "turned them into LF"),
        delivery(of(&compact), lines.replace(':', " : "), "signature_over", "signature_over = \"either\""),
        delivery(vec![hex::encode(tag(stripped.as_bytes(), body))], &compact, "secret_encoding", "\"stripped\""),
        delivery(vec![hex::encode(tag(&raw, body))], &compact, "secret_encoding", "\"base64\""),
        delivery(vec![sign(OTHER, body)], &compact, "other_endpoint", "`sandbox`"),
        Delivery {
            path: "/webhooks/sandbox",
            ..delivery(vec![good.clone()], &compact, "other_endpoint", "`production`")
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

    // The list is whole, filtered and newest first.
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

fn endpoint_name() -> EndpointName {
    EndpointName::new("production").unwrap()
}

async fn open_secrets(store: &Arc<dyn Store>, configured: &[&str]) -> Arc<Secrets> {
    let source = Source {
        endpoint: endpoint_name(),
        configured: configured.iter().copied().map(Secret::new).collect(),
        encoding: SecretEncoding::Literal,
        over: SignatureOver::Raw,
    };
    let vault = Vault::new(&Secret::new(BASE64_STANDARD.encode([1; 32]))).unwrap();
    Secrets::open(store.clone(), vault, vec![source]).await.unwrap()
}

fn endpoint(secrets: &Arc<Secrets>) -> Endpoint {
    Endpoint {
        name: endpoint_name(),
        path: PATH.into(),
        keyring: secrets.keyring(&endpoint_name()).unwrap(),
        dedupe: Dedupe::Message,
        max_age: None,
        meter: Meter::default(),
    }
}

fn signed(secret: &str, body: &[u8]) -> HeaderMap {
    let signature = HeaderValue::from_str(&sign(secret, body)).unwrap();
    HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), signature)])
}

fn note(refusals: &Refusals, endpoint: &Endpoint, refused: &Refused, body: &Bytes) {
    let headers = signed("whsec_forged", b"");
    refusals.note(&Seen { endpoint, headers: &headers, body, refused, status: 401, peer: None, request_id: None });
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
    // Nobody examines yet: what has no place is counted at once.
    for _ in 0..QUEUE + 7 {
        note(&refusals, &endpoint, &forged, &Bytes::from_static(b"{}"));
    }
    note(&refusals, &endpoint, &missing, &Bytes::from_static(b"{}"));
    assert_eq!((count(&metrics, "not_examined"), count(&metrics, "header_missing")), (7, 1));
    // Neither is what is about the store, and not about the sender, on the list.
    note(&refusals, &endpoint, &Refused::QueueFull, &Bytes::from_static(b"{}"));
    let (rows, _) = refusals.list(None, None, usize::MAX - 1);
    assert_eq!((rows.len(), rows[0].reason, rows[1].reason), (QUEUE + 8, Reason::HeaderMissing, Reason::NotExamined));

    let begun = Instant::now();
    lifecycle.spawn("explaining", explaining);
    eventually("what had a place is examined", async || count(&metrics, "wrong_secret") == QUEUE).await;
    // Between 32 explanations there are 31 rests.
    assert!(begun.elapsed() >= REST * u32::try_from(QUEUE - 1).unwrap(), "{:?}", begun.elapsed());
    let (rows, _) = refusals.list(None, None, usize::MAX - 1);
    let examined: Vec<_> = rows.iter().filter(|row| row.examined).map(|row| row.number).collect();
    assert!(examined.into_iter().rev().eq(1..=QUEUE as u64), "the first ones, in their own rows");

    // A body that costs too much to examine is not, whoever waits.
    note(&refusals, &endpoint, &forged, &vec![b' '; LARGEST + 1].into());
    assert_eq!(count(&metrics, "not_examined"), 8);
    lifecycle.stop(Duration::from_secs(30)).await;

    for _ in 0..KEPT + 50 {
        note(&refusals, &endpoint, &missing, &vec![b' '; LARGEST + 1].into());
    }
    let (rows, more) = refusals.list(None, None, KEPT);
    assert_eq!(
        (rows.len(), more, rows.last().map(|row| row.number)),
        (KEPT, false, Some(rows[0].number - KEPT as u64 + 1))
    );
    let (rows, more) = refusals.list(Some("production"), Some(rows[0].number), 10);
    assert_eq!((rows.len(), more), (10, true));
    assert!(refusals.list(Some("elsewhere"), None, 10).0.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_could_tell_is_named_as_such() {
    let fixture = on_sqlite().await;
    let secrets = open_secrets(&fixture.open().await, &["whsec_one"]).await;
    let (refusals, _explaining) = Refusals::new(Arc::new(Metrics::new()), Lifecycle::new());
    let refused = Refused::Undecided(finkare_relay::secrets::Undecided::Unknown);
    note(&refusals, &endpoint(&secrets), &refused, &Bytes::from_static(b"{}"));
    let refused = Refused::NotGenuine(Rejection::NoSecret);
    note(&refusals, &endpoint(&secrets), &refused, &Bytes::from_static(b"{}"));
    let (rows, _) = refusals.list(None, None, 10);
    assert_eq!((rows[1].reason, rows[0].reason), (Reason::Undecided, Reason::NoSecret));
    assert!(rows[1].explanation.contains("whether Finkare had switched"), "{}", rows[1].explanation);
    assert!(rows[0].explanation.contains("finkare-relay register"), "{}", rows[0].explanation);
}

async fn rotate_to(store: &Arc<dyn Store>, secrets: &Secrets, secret: &str) {
    let (id, token) = (IntentId(Uuid::now_v7()), LeaseToken::generate());
    let intent = NewIntent {
        id,
        endpoint: endpoint_name(),
        kind: IntentKind::Rotate,
        actor: "tests".into(),
        webhook_id: Some("w".into()),
        url: None,
        events: Vec::new(),
        overlap: Duration::ZERO,
        token,
        lease: Duration::from_mins(1),
        only_if_newest: None,
    };
    let audit = |action| NewAudit::new("tests", action, "endpoint/production");
    assert_eq!(store.begin_intent(intent, audit("rotation.begun")).await.unwrap(), Begun::Begun);
    let change = Change {
        secret: secrets.vault().seal(&endpoint_name(), &Secret::new(secret)),
        origin: Origin::Rotated,
        overlap: Some(Duration::ZERO),
        webhook: None,
    };
    assert_eq!(store.finish_intent(id, token, change, audit("rotation.done")).await.unwrap(), Ended::Ended);
    secrets.refresh().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_secret_is_known_again_and_proves_nothing() {
    let fixture = on_sqlite().await;
    let store = fixture.open().await;
    let secrets = open_secrets(&store, &["whsec_0"]).await;
    let ring = secrets.keyring(&endpoint_name()).unwrap();
    let body = Bytes::from_static(b"{}");
    let whose = |secret: &str| ring.suspect(&signed(secret, &body), &body).fit.map(|fit| fit.whose);
    let print = |secret: &str| Fingerprint::of(&Secret::new(secret));
    assert_eq!(whose("whsec_0"), Some(Whose::Own(print("whsec_0"))));
    for number in 1..=REMEMBERED + 2 {
        rotate_to(&store, &secrets, &format!("whsec_{number}")).await;
        assert!(ring.verify(&signed(&format!("whsec_{}", number - 1), &body), &body).await.is_err());
    }
    for number in 2..REMEMBERED + 2 {
        let secret = format!("whsec_{number}");
        assert_eq!(whose(&secret), Some(Whose::Retired(print(&secret))));
    }
    assert_eq!(
        whose(&format!("whsec_{}", REMEMBERED + 2)),
        Some(Whose::Own(print(&format!("whsec_{}", REMEMBERED + 2))))
    );
    assert_eq!((whose("whsec_0"), whose("whsec_1")), (None, None), "the oldest are forgotten");
    assert!(!format!("{secrets:?}").contains("whsec_"));

    let (endpoint, metrics, lifecycle) = (endpoint(&secrets), Arc::new(Metrics::new()), Lifecycle::new());
    let (refusals, explaining) = Refusals::new(metrics.clone(), lifecycle.clone());
    lifecycle.spawn("explaining", explaining);
    let (headers, refused) = (signed("whsec_5", &body), Refused::NotGenuine(Rejection::Mismatch));
    let seen = Seen {
        endpoint: &endpoint,
        headers: &headers,
        body: &body,
        refused: &refused,
        status: 401,
        peer: None,
        request_id: None,
    };
    refusals.note(&seen);
    eventually("it is examined", async || count(&metrics, "retired_secret") == 1).await;
    let (rows, _) = refusals.list(None, None, 1);
    assert!(rows[0].explanation.contains(print("whsec_5").as_str()), "{}", rows[0].explanation);
    lifecycle.stop(Duration::from_secs(30)).await;
}

// --- max_age

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

// --- silence

#[derive(Debug, Default)]
struct Answering {
    asked: AtomicUsize,
}

#[async_trait]
impl Registration for Answering {
    async fn ask(&self) -> Standing {
        self.asked.fetch_add(1, Relaxed);
        Standing::Disabled
    }
}

struct Replica {
    meter: Meter,
    board: Board,
    metrics: Arc<Metrics>,
    watch: Watch,
}

const HOUR: Duration = Duration::from_hours(1);

fn replica(store: &Arc<dyn Store>, registration: Option<&Arc<Answering>>) -> Replica {
    let (meter, board, metrics) = (Meter::default(), Board::default(), Arc::new(Metrics::new()));
    let with = |name: &str, meter: &Meter, alarm| Watched {
        name: EndpointName::new(name).unwrap(),
        meter: meter.clone(),
        alarm,
        registration: registration.map(|finkare| finkare.clone() as Arc<dyn Registration>),
    };
    let endpoints = vec![with("production", &meter, Some(2 * HOUR)), with("unwatched", &Meter::default(), None)];
    let watch = Watch::new(store.clone(), metrics.clone(), board.clone(), endpoints);
    Replica { meter, board, metrics, watch }
}

impl Replica {
    async fn silent_at(&mut self, now: jiff::Timestamp) -> bool {
        self.watch.look(now).await.unwrap();
        let silences = self.board.silences();
        let gauge = i32::from(!silences.is_empty());
        let line = format!("relay_endpoint_silent{{endpoint=\"production\"}} {gauge}\n");
        let text = self.metrics.render();
        assert!(text.contains(&line) && !text.contains("silent{endpoint=\"unwatched\"}"), "{line} in {text}");
        assert!(silences.iter().all(|silence| silence.endpoint.as_str() == "production"), "{silences:?}");
        !silences.is_empty()
    }
}

on_each_store!(a_silence_is_told_and_ends, nobody_is_silent_while_another_replica_hears, a_silence_outlives_a_restart);

async fn a_silence_is_told_and_ends(fixture: Fixture) {
    let store = fixture.open().await;
    let finkare = Arc::new(Answering::default());
    let mut here = replica(&store, Some(&finkare));
    let now = clock::now();
    assert!(!here.silent_at(now).await, "it is watched only just now");
    assert!(!here.silent_at(now + HOUR).await);
    assert!(here.silent_at(now + 3 * HOUR).await, "also if nothing ever came");
    here.meter.heard(now + 3 * HOUR);
    assert!(!here.silent_at(now + 3 * HOUR).await, "it speaks again");
    assert!(!here.silent_at(now + 4 * HOUR).await);
    assert_eq!(finkare.asked.load(Relaxed), 1);
    for _ in 0..3 {
        assert!(here.silent_at(now + 6 * HOUR).await);
    }
    assert_eq!(finkare.asked.load(Relaxed), 2, "once for a silence, and then once an hour");
    let detail = here.board.silences().remove(0).detail;
    assert!(detail.contains("more than 2 h") && detail.contains("disabled"), "{detail}");
}

async fn nobody_is_silent_while_another_replica_hears(fixture: Fixture) {
    let (store, other_store) = (fixture.open().await, fixture.open().await);
    let (mut here, mut there) = (replica(&store, None), replica(&other_store, None));
    // The store believes no time that is still to come.
    let now = clock::now() - 7 * HOUR;
    assert!(!here.silent_at(now).await);
    there.meter.heard(now + 3 * HOUR);
    assert!(!there.silent_at(now + 3 * HOUR).await);
    assert!(!here.silent_at(now + 4 * HOUR).await, "the other one heard of it an hour ago");
    let told = (now + 3 * HOUR).as_duration().as_secs();
    let text = here.metrics.render();
    let line = format!("relay_last_delivery_timestamp_seconds{{endpoint=\"production\"}} {told}");
    assert!(text.contains(&line) && !text.contains("timestamp_seconds{endpoint=\"unwatched\"}"), "{line} in {text}");
    assert!(here.silent_at(now + 6 * HOUR).await && there.silent_at(now + 6 * HOUR).await);
}

async fn a_silence_outlives_a_restart(fixture: Fixture) {
    let store = fixture.open().await;
    let mut first = replica(&store, None);
    let now = clock::now() - 7 * HOUR;
    first.meter.heard(now + 2 * HOUR);
    assert!(!first.silent_at(now + 2 * HOUR).await);
    drop(first);
    let mut second = replica(&fixture.open().await, None);
    assert!(!second.silent_at(now + 3 * HOUR).await, "the first one heard of it");
    assert!(second.silent_at(now + 5 * HOUR).await);
}

async fn readyz(relay: &Relay) -> (u16, Value) {
    let response = client().get(format!("http://{}/readyz", relay.admin)).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn check<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name)
}

async fn beside(home: &Home) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(home.path("relay.db"))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_endpoint_is_told_and_the_service_stays_ready() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("silence_alarm_hours = 1").await;
    assert_eq!(Finkare::of(&relay).deliver(&payment("i", 1)).await.status, 200);
    let (status, report) = readyz(&relay).await;
    assert_eq!((status, check(&report, "endpoint/production")), (200, None), "{report}");
    assert!(relay.terminate().await.0.success());
    // It noted the delivery when it stopped. Two hours go by.
    let moved =
        "UPDATE endpoint_activity SET last_delivery_at = last_delivery_at - 7200000000 WHERE last_delivery_at > 0";
    assert_eq!(sqlx::query(moved).execute(&mut beside(&home).await).await.unwrap().rows_affected(), 1);
    let mut relay = home.serve("silence_alarm_hours = 1").await;
    let line: Value = serde_json::from_str(&relay.wait_for_line("the endpoint is silent").await).unwrap();
    assert_eq!((&line["level"], &line["endpoint.name"]), (&json!("ERROR"), &json!("production")), "{line}");
    eventually("it is told by /readyz", async || {
        let (status, report) = readyz(&relay).await;
        assert_eq!((status, &report["ready"]), (200, &json!(true)), "{report}");
        check(&report, "endpoint/production").is_some_and(|check| {
            check["ready"] == true && check["detail"].as_str().unwrap().contains("no genuine delivery since")
        })
    })
    .await;
    let metrics = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("relay_endpoint_silent{endpoint=\"production\"} 1\n"), "{metrics}");
}

/// A silent endpoint with an API key asks Finkare about its webhook.
#[tokio::test(flavor = "multi_thread")]
async fn finkare_is_asked_whether_a_silent_webhook_is_enabled() {
    let fake = FakeFinkare::start().await;
    let home = Home::new(Backend::Sqlite).await;
    let configure = |webhook: &str| {
        let api = format!("api_key = \"{API_KEY}\"\napi_url = \"{}\"\nwebhook_id = \"{webhook}\"", fake.api_url());
        home.configure("", &format!("secret = \"{SECRET}\"\n{api}\nsilence_alarm_hours = 1"), "");
    };
    configure(WEBHOOK);
    assert!(home.start().await.terminate().await.0.success());
    // It was watched from the first look on. Two hours go by.
    let moved = "UPDATE endpoint_activity SET watched_since = watched_since - 7200000000";
    assert_eq!(sqlx::query(moved).execute(&mut beside(&home).await).await.unwrap().rows_affected(), 1);
    for (webhook, enabled, line, detail) in [
        (WEBHOOK, true, "the silent endpoint's webhook is enabled", "says that the webhook is enabled"),
        (WEBHOOK, false, "the silent endpoint's webhook is disabled", "disabled: enable it there"),
        ("unknown", true, "knows no webhook with the silent endpoint's id", "register it again"),
    ] {
        let change = client().put(format!("{}/api/v1/webhooks/{WEBHOOK}", fake.api_url()));
        let change = change.header("X-API-Key", API_KEY).header("User-Agent", "finkare-relay/0 (tests)");
        assert_eq!(change.json(&json!({"enabled": enabled})).send().await.unwrap().status(), 200);
        configure(webhook);
        let mut relay = home.start().await;
        relay.wait_for_line(line).await;
        eventually("it is told by /readyz", async || {
            let (status, report) = readyz(&relay).await;
            let told = check(&report, "endpoint/production").and_then(|check| check["detail"].as_str());
            status == 200 && told.is_some_and(|told| told.contains(detail))
        })
        .await;
        assert!(relay.terminate().await.0.success());
    }
    assert_eq!(fake.calls("GET", &format!("/webhooks/{WEBHOOK}")).len(), 2, "once for each silence that a process saw");
}

// --- readiness

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

/// What is rolled back would not show it: after a failed commit only another commit counts.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_commit_a_real_one_is_asked_for() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve_with("ack_timeout_secs = 1", "").await;
    let finkare = Finkare::of(&relay);
    let mut other = beside(&home).await;
    // No trial can work, and while all is well none is asked for.
    sqlx::query("ALTER TABLE trial_writes RENAME TO elsewhere").execute(&mut other).await.unwrap();
    let (status, report) = readyz(&relay).await;
    assert_eq!(status, 200, "{report}");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    assert_eq!(finkare.deliver(&payment("i", 1)).await.status, 503);
    let failed = "deliveries could not be stored: their sender is told to try again";
    eventually("the commit has failed", async || relay.log().contains(failed)).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("the trial is what fails", async || {
        let (status, report) = readyz(&relay).await;
        let store = check(&report, "store").unwrap();
        status == 503 && store["detail"].as_str().is_some_and(|detail| detail.contains("whether a commit works"))
    })
    .await;
    // A delivery that is committed is as good as a trial.
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
    // Nobody writes: the first takes the only place.
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
