//! Receiving: what is accepted, what is refused, and that a refusal leaves no trace.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    finkare::{Finkare, payment, sign},
    http,
    relay::{Backend, Home, PATH, Relay, SECRET, on_both_stores},
};

/// A sink that takes no events, so that these tests see only the receiving half.
const NO_SINK: &str = "[[sinks]]\nname = \"none\"\ntype = \"stdout\"\nevents = [\"never.sent\"]\n";

on_both_stores!(
    a_genuine_delivery_is_stored_as_it_came,
    repetitions_are_counted_and_stored_once,
    forged_deliveries_change_nothing,
    too_large_is_refused_and_never_cut,
    what_is_signed_but_unreadable_is_kept,
    other_methods_and_paths,
);

async fn stored(relay: &Relay) -> usize {
    relay.all("/events").await.len()
}

async fn a_genuine_delivery_is_stored_as_it_came(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(NO_SINK).await;
    // Numbers and an order of fields that no serialiser would write.
    let body = br#"{ "timestamp":"2026-03-15T10:30:00.000Z","event":"payment.received",
        "data":{"z":1.0,"invoiceId":"c3d4","amountCents":150000,"big":123456789012345678901234567890} }"#;
    let answer = Finkare::of(&relay).deliver(body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({"received": true, "id": answer.id(), "duplicate": false}));
    assert_eq!(answer.headers["content-type"], "application/json");

    let event = relay.get(&format!("/events/{}", answer.id())).await;
    for (field, value) in [
        ("endpoint", json!("production")),
        ("type", json!("payment.received")),
        ("invoice_id", json!("c3d4")),
        ("occurred_at", json!("2026-03-15T10:30:00Z")),
        ("deliveries", json!(1)),
        ("readable", json!(true)),
        ("content_type", json!("application/json")),
    ] {
        assert_eq!(event[field], value, "{field}");
    }
    let raw = http().get(format!("http://{}/api/v1/events/{}", relay.admin, answer.id()));
    let raw = raw.bearer_auth(crate::support::relay::TOKEN).send().await.unwrap().text().await.unwrap();
    assert!(raw.contains(std::str::from_utf8(body).unwrap()), "the payload is shown byte for byte: {raw}");
}

async fn repetitions_are_counted_and_stored_once(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(NO_SINK).await;
    let finkare = Finkare::of(&relay);
    let bodies: Vec<_> = (0..20).map(|number| payment(&format!("i{number}"), 100)).collect();
    // Every delivery ten times, as concurrently as possible.
    let answers = join_all(bodies.iter().cycle().take(200).map(|body| finkare.deliver(body))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    for (number, _) in bodies.iter().enumerate() {
        let same: Vec<_> = answers.iter().skip(number).step_by(20).collect();
        assert_eq!(same.iter().map(|answer| answer.id()).collect::<HashSet<_>>().len(), 1, "one id");
        assert_eq!(same.iter().filter(|answer| !answer.is_duplicate()).count(), 1, "one is the first");
    }
    let events = relay.all("/events").await;
    assert_eq!(events.len(), 20);
    assert!(events.iter().all(|event| event["deliveries"] == 10), "{events:?}");
}

async fn forged_deliveries_change_nothing(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(NO_SINK).await;
    let finkare = Finkare::of(&relay);
    let known = payment("i1", 100);
    assert_eq!(finkare.deliver(&known).await.status, 200);
    let before = stored(&relay).await;

    let body = payment("i1", 100);
    let good = sign(SECRET, &body);
    let mut flipped = body.clone();
    flipped[20] ^= 1;
    let mut longer = body.clone();
    longer.push(b'\n');
    let forged: Vec<(Vec<u8>, Option<String>)> = vec![
        (body.clone(), None),
        (body.clone(), Some(String::new())),
        (body.clone(), Some("sha256=".into())),
        (body.clone(), Some("not hex".into())),
        (body.clone(), Some(good[..62].into())),
        (body.clone(), Some(format!("{good}00"))),
        (body.clone(), Some(sign("whsec_guess", &body))),
        (body.clone(), Some(sign(SECRET.trim_start_matches("whsec_"), &body))),
        (body.clone(), Some(sign("", &body))),
        (flipped, Some(good.clone())),
        (longer, Some(good.clone())),
        (Vec::new(), Some(good.clone())),
        // Deduplication comes after verification: knowing a stored body does not help a forger.
        (known.clone(), Some(good.clone())),
        (known, None),
    ];
    for (body, signature) in forged {
        let answer = finkare.post(body, signature.as_deref()).await;
        assert_eq!(answer.status, 401, "{signature:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["code"], "invalid_signature");
        assert_eq!(answer.body["request_id"], answer.headers["x-request-id"].to_str().unwrap());
        assert!(!answer.body.to_string().contains(&good), "the right signature is never told");
    }
    assert_eq!(stored(&relay).await, before);
    assert!(relay.all("/events").await.iter().all(|event| event["deliveries"] == 1), "not even counted");

    // The genuine signature in every accepted form.
    for form in [good.to_uppercase(), format!("sha256={good}"), format!("SHA256={}", good.to_uppercase())] {
        assert_eq!(finkare.post(body.clone(), Some(&form)).await.status, 200, "{form}");
    }
}

async fn too_large_is_refused_and_never_cut(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve_with("max_body_bytes = 2048", NO_SINK).await;
    let finkare = Finkare::of(&relay);
    let fill = |length: usize| {
        let mut body = br#"{"event":"payment.received","data":{"invoiceId":"i"},"fill":""#.to_vec();
        body.resize(length - 2, b'x');
        body.extend_from_slice(b"\"}");
        body
    };
    let chunked = |body: Vec<u8>| {
        let chunks: Vec<_> = body.chunks(500).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        reqwest::Body::wrap_stream(stream::iter(chunks))
    };
    for length in [2049, 100_000, 3_000_000] {
        let body = fill(length);
        let signature = sign(SECRET, &body);
        let answer = finkare.post(body.clone(), Some(&signature)).await;
        assert_eq!((answer.status, &answer.body["code"]), (413, &json!("body_too_large")), "{length} announced");
        let answer = finkare.post(chunked(body), Some(&signature)).await;
        assert_eq!(answer.status, 413, "{length} in chunks without a length");
    }
    // If the body were cut at the limit, this signature would fit.
    let body = fill(5000);
    assert_eq!(finkare.post(body.clone(), Some(&sign(SECRET, &body[..2048]))).await.status, 413);
    assert_eq!(stored(&relay).await, 0);
    let exactly = fill(2048);
    assert_eq!(finkare.post(exactly.clone(), Some(&sign(SECRET, &exactly))).await.status, 200);
    let exactly = {
        let mut body = fill(2048);
        body[60] = b'y';
        body
    };
    assert_eq!(finkare.post(chunked(exactly.clone()), Some(&sign(SECRET, &exactly))).await.status, 200);
    assert_eq!(stored(&relay).await, 2);
}

async fn what_is_signed_but_unreadable_is_kept(backend: Backend) {
    let home = Home::new(backend).await;
    let relay =
        home.serve("[[sinks]]\nname = \"all\"\ntype = \"file\"\npath = \"out.jsonl\"\nevents = [\"*\"]\n").await;
    let finkare = Finkare::of(&relay);
    let unreadable: [&[u8]; 9] = [
        b"",
        b"not json",
        b"{\"event\":",
        b"[1,2]",
        b"{}",
        b"{\"event\":5}",
        b"{\"event\":\"a\\u0000b\"}",
        b"{\"event\":\"x\",\"data\":{\"invoiceId\":\"i\\u0000\"}}",
        &[0xff, 0x00, 0xfe],
    ];
    for body in unreadable {
        let answer = finkare.deliver(body).await;
        assert_eq!(answer.status, 200, "{body:?}");
        let event = relay.get(&format!("/events/{}", answer.id())).await;
        assert_eq!(event["readable"], false, "{body:?}");
        assert_eq!(event["type"], "unreadable");
        assert!(finkare.deliver(body).await.is_duplicate(), "{body:?}");
    }
    let unknown = br#"{"event":"dossier.transmis_a_l_huissier","data":{"n":1}}"#;
    let event = relay.get(&format!("/events/{}", finkare.deliver(unknown).await.id())).await;
    assert_eq!((&event["readable"], &event["type"]), (&json!(true), &json!("dossier.transmis_a_l_huissier")));

    relay.drained().await;
    let lines = std::fs::read_to_string(home.path("out.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), unreadable.len() + 1, "`*` is everything");
}

async fn other_methods_and_paths(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(NO_SINK).await;
    let (http, base) = (http(), format!("http://{}", relay.public));
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let method = method.parse().unwrap();
        let response = http.request(method, relay.hook()).send().await.unwrap();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "POST");
    }
    for path in ["/", "/webhooks", "/webhooks/finkare/", "/webhooks/finkare/x", "/metrics", "/api/v1/events"] {
        let response = http.post(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], "no_such_path");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http.get(format!("{base}{path}")).send().await.unwrap().status(), 200, "{path}");
        let response = http.post(format!("{base}{path}")).send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    }
}

/// Writes bytes on a new connection and reads until the server closes the connection or has answered.
async fn raw(relay: &Relay, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(relay.public).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.windows(4).any(|part| part == b"\r\n\r\n") {
        match tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer)).await.expect("an answer") {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_refused() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve_with("body_timeout_secs = 1", NO_SINK).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: relay\r\ncontent-length: 100\r\n\r\n{{\"event\"");
    let answer = raw(&relay, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let chunked = format!("POST {PATH} HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let answer = raw(&relay, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(stored(&relay).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_limits() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(NO_SINK).await;
    let many = (0..200).map(|number| format!("x-{number}: y\r\n")).collect::<Vec<_>>().concat();
    let answer = raw(&relay, format!("POST {PATH} HTTP/1.1\r\nhost: relay\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let large = "y".repeat(64 * 1024);
    let answer = raw(&relay, format!("POST {PATH} HTTP/1.1\r\nhost: relay\r\nx: {large}\r\n\r\n").as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let signature = "ab".repeat(32);
    let twice = format!(
        "POST {PATH} HTTP/1.1\r\nhost: relay\r\nx-finkare-signature: {signature}\r\nx-finkare-signature: {signature}\r\ncontent-length: 0\r\n\r\n"
    );
    assert!(raw(&relay, twice.as_bytes()).await.starts_with("HTTP/1.1 401 "));
    assert!(raw(&relay, b"\x16\x03\x01 not http at all\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    assert_eq!(Finkare::of(&relay).deliver(&payment("i", 1)).await.status, 200, "and goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_a_secret_refuses_everything() {
    let home = Home::new(Backend::Sqlite).await;
    let endpoint = "[[endpoints]]\nname = \"mute\"\npath = \"/mute\"\n";
    let relay = home.serve(&format!("{endpoint}{NO_SINK}")).await;
    let mut finkare = Finkare::of(&relay);
    finkare.url = format!("http://{}/mute", relay.public);
    let body = payment("i", 1);
    for key in ["", SECRET, "whsec_"] {
        assert_eq!(finkare.post(body.clone(), Some(&sign(key, &body))).await.status, 401, "{key:?}");
    }
    assert_eq!(finkare.post(body, None).await.status, 401);
    assert_eq!(stored(&relay).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_body_on_two_endpoints_is_two_events() {
    let home = Home::new(Backend::Sqlite).await;
    let endpoint = format!("[[endpoints]]\nname = \"second\"\npath = \"/second\"\nsecret = \"{SECRET}\"\n");
    let relay = home.serve(&format!("{endpoint}{NO_SINK}")).await;
    let mut finkare = Finkare::of(&relay);
    let body = payment("i", 1);
    let first = finkare.deliver(&body).await;
    finkare.url = format!("http://{}/second", relay.public);
    let second = finkare.deliver(&body).await;
    assert!(!second.is_duplicate() && first.id() != second.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(NO_SINK).await;
    let finkare = Finkare::of(&relay);
    let bodies: Vec<_> = (0..500).map(|number| payment(&format!("i{}", number % 7), number)).collect();
    let answers: Vec<_> = stream::iter(&bodies).map(|body| finkare.deliver(body)).buffer_unordered(64).collect().await;
    assert!(answers.iter().all(|answer| answer.status == 200 && !answer.is_duplicate()));
    assert_eq!(stored(&relay).await, 500);
}
