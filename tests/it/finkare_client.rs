//! The client of Finkare's API against a real server: what it asks, what each answer means, and what is never said.

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};

use finkare::{
    Client, CreatedWebhook, Error, InvoiceFilter, NewWebhook, PageRequest, PaymentFilter, Settings, UpdateMethod,
    WebhookUpdate,
};
use finkare_relay::model::{clock, secret::Secret};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::support::{
    PATIENCE,
    receiver::{Answer, Receiver, Request},
};

const KEY: &str = "fk_test_privatekey";

fn client_with(base: &str, change: impl FnOnce(&mut Settings)) -> Client {
    // Every test may be the first one in its process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut settings = Settings {
        api_url: Some(base.parse().unwrap()),
        timeout: PATIENCE,
        retry_initial: Duration::from_millis(1),
        user_agent: "tests/1".to_owned(),
        rate_limit: (NonZeroU32::new(100_000).unwrap(), Duration::from_secs(1)),
        ..Settings::new(Secret::new(KEY))
    };
    change(&mut settings);
    Client::new(settings).unwrap()
}

fn client(base: &str) -> Client {
    client_with(base, |_| ())
}

fn json_of(status: u16, body: &Value) -> Answer {
    Answer::with(status, "content-type: application/json\r\n", &body.to_string())
}

/// An answer in the documented envelope.
fn enveloped(data: &Value) -> Answer {
    json_of(
        200,
        &json!({ "success": true, "data": data, "requestId": "req_0a1b2c", "timestamp": "2026-03-15T10:31:00Z" }),
    )
}

/// A server that always gives this answer, and a client for it.
async fn answering(answer: Answer) -> (Receiver, Client) {
    let server = Receiver::start(move |_| answer.clone()).await;
    let client = client(&server.url(""));
    (server, client)
}

/// What rotating a secret against this answer fails with. It is the call after which it matters most.
async fn failure_of(answer: Answer) -> Error {
    let (server, client) = answering(answer).await;
    let error = client.webhooks().rotate_secret("w").await.unwrap_err();
    assert_eq!(server.received().len(), 1, "asked once: {error}");
    error
}

fn lines(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

fn payment(id: &str) -> Value {
    json!({ "id": id, "invoiceId": "i", "amountCents": 5, "currency": "EUR", "status": "completed" })
}

fn body_of(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn every_call_asks_in_the_documented_way() {
    let webhook = json!({ "id": "w", "url": "https://x.example/h", "events": ["payment.received"], "enabled": false });
    let server = Receiver::start(move |request| {
        let path = request.path.split('?').next().unwrap();
        enveloped(&match (request.method.as_str(), path) {
            ("GET", "/api/v1/webhooks") => json!([webhook]),
            ("GET", "/api/v1/webhooks/w%2F1") => webhook.clone(),
            ("POST", "/api/v1/webhooks") => json!({ "id": "w", "secret": "whsec_new" }),
            ("POST", "/api/v1/webhooks/w%2F1/rotate-secret") => json!({ "secret": "whsec_rotated" }),
            ("GET", "/api/v1/webhooks/w%2F1/deliveries") => json!([{ "eventType": "payment.received", "attempts": 2 }]),
            ("GET", "/api/v1/invoices/i") => json!({ "id": "i", "invoiceNumber": "F-1", "amountCents": 9 }),
            ("GET", "/api/v1/payments" | "/api/v1/payments/invoice/i") => json!([payment("p")]),
            ("PUT" | "DELETE", "/api/v1/webhooks/w%2F1") => json!(null),
            other => panic!("not documented: {other:?}"),
        })
    })
    .await;
    let client = client(&server.url("/"));
    assert!(client.is_sandbox());

    assert_eq!(client.webhooks().list().await.unwrap().data[0].id, "w");
    assert!(!client.webhooks().get("w/1").await.unwrap().data.enabled);
    let new = NewWebhook::new("https://x.example/h", ["payment.received"]).description("ours");
    let CreatedWebhook { webhook: made, secret, .. } = client.webhooks().create(&new).await.unwrap().data;
    assert_eq!((made.id.as_str(), made.url, secret.expose()), ("w", new.url.clone(), "whsec_new"));
    let update = WebhookUpdate { enabled: Some(true), events: Some(vec!["*".into()]), ..WebhookUpdate::default() };
    client.webhooks().update("w/1", &update).await.unwrap();
    client.webhooks().delete("w/1").await.unwrap();
    assert_eq!(client.webhooks().rotate_secret("w/1").await.unwrap().data.expose(), "whsec_rotated");
    assert_eq!(client.webhooks().deliveries("w/1").await.unwrap().data[0].attempts, Some(2));
    assert_eq!(client.invoices().get("i").await.unwrap().data.invoice_number, "F-1");
    let filter = PaymentFilter {
        status: Some("completed".into()),
        from_date: Some("2026-03-01T00:00:00Z".parse().unwrap()),
        to_date: Some("2026-03-02T00:00:00.5Z".parse().unwrap()),
        invoice_id: Some("a&b".into()),
    };
    assert_eq!(client.payments().list_matching(&filter, 100).collect().await.unwrap()[0].amount_cents, 5);
    assert_eq!(client.payments().of_invoice("i").await.unwrap().data.payments[0].id, "p");

    let requests = server.received();
    assert_eq!(
        lines(&requests),
        [
            "GET /api/v1/webhooks",
            "GET /api/v1/webhooks/w%2F1",
            "POST /api/v1/webhooks",
            "PUT /api/v1/webhooks/w%2F1",
            "DELETE /api/v1/webhooks/w%2F1",
            "POST /api/v1/webhooks/w%2F1/rotate-secret",
            "GET /api/v1/webhooks/w%2F1/deliveries",
            "GET /api/v1/invoices/i",
            "GET /api/v1/payments?status=completed&fromDate=2026-03-01T00%3A00%3A00Z&toDate=2026-03-02T00%3A00%3A00.5Z\
             &invoiceId=a%26b&limit=100&page=1",
            "GET /api/v1/payments/invoice/i",
        ]
    );
    for request in &requests {
        assert_eq!(request.header("x-api-key"), KEY);
        assert_eq!(request.header("user-agent"), "tests/1");
        assert_eq!(request.header("accept"), "application/json");
        assert_eq!(request.has("content-type"), !request.body.is_empty());
    }
    let created = json!({ "url": "https://x.example/h", "events": ["payment.received"], "description": "ours" });
    assert_eq!(body_of(&requests[2]), created);
    assert_eq!(body_of(&requests[3]), json!({ "events": ["*"], "enabled": true }), "what is to stay is not sent");
    for bare in [4, 5] {
        assert_eq!(requests[bare].header("content-length"), "0");
    }
}

#[tokio::test]
async fn what_nobody_documents_is_a_setting() {
    let server = Receiver::start(|_| enveloped(&json!({ "secret": "whsec_a" }))).await;
    let client = client_with(&server.url("/v2/"), |settings| {
        settings.update_method = UpdateMethod::Patch;
        settings.paths.webhook = "/hooks/{id}".into();
        settings.paths.rotate_secret = "/hooks/{id}/secret/rotate".into();
    });
    client.webhooks().update("w", &WebhookUpdate::default()).await.unwrap();
    client.webhooks().rotate_secret("w").await.unwrap();
    assert_eq!(lines(&server.received()), ["PATCH /v2/hooks/w", "POST /v2/hooks/w/secret/rotate"]);
}

#[tokio::test]
async fn an_id_that_cannot_be_asked_for_asks_nobody() {
    let (server, client) = answering(enveloped(&json!({ "secret": "whsec_a" }))).await;
    for id in ["", ".", "..", "a\r\nb"] {
        let error = client.webhooks().rotate_secret(id).await.unwrap_err();
        assert!(matches!(error, Error::Unusable { .. }) && !error.may_have_happened(), "{error:?}");
        client.webhooks().delete(id).await.unwrap_err();
        client.payments().of_invoice(id).await.unwrap_err();
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_answer_without_an_envelope_is_read_as_well() {
    let (_server, client_) = answering(json_of(200, &json!([payment("p")]))).await;
    assert_eq!(client_.payments().list_all(100).collect().await.unwrap().len(), 1);
    let (_server, client_) = answering(json_of(201, &json!({ "secret": "whsec_a" }))).await;
    assert_eq!(client_.webhooks().rotate_secret("w").await.unwrap().data.expose(), "whsec_a");
    let (_server, client_) = answering(Answer::status(204)).await;
    client_.webhooks().delete("w").await.unwrap();
}

// --- what failed, and what may have happened

#[tokio::test]
async fn a_refusal_is_told_with_finkares_own_words() {
    let body = json!({ "success": false, "error": { "code": "RES_001", "message": "Resource not found" }, "requestId": "req_1" });
    let error = failure_of(json_of(404, &body)).await;
    assert_eq!(
        error.to_string(),
        "Finkare answered 404 (RES_001) to rotating the secret of webhook w: Resource not found"
    );
    assert_eq!((error.code(), error.may_have_happened()), (Some("RES_001"), false));
    assert!(matches!(&error, Error::Api { request_id: Some(id), retry_after: None, .. } if id == "req_1"), "{error:?}");

    // Without a body of that shape: its beginning, and the header's id.
    let error =
        failure_of(Answer::with(403, "x-request-id: req_2\r\n", &format!("<h1>\u{1b}No{}", "é".repeat(600)))).await;
    let Error::Api { status: 403, code: None, message, request_id: Some(id), .. } = &error else { panic!("{error:?}") };
    assert_eq!((message.chars().count(), id.as_str()), (500, "req_2"));
    assert!(message.starts_with("<h1> Noéé"), "{message}");

    let error = failure_of(json_of(422, &json!({ "fields": [1] }))).await;
    assert!(error.to_string().ends_with(r#": {"fields":[1]}"#), "{error}");
    assert!(failure_of(Answer::status(401)).await.to_string().ends_with("it gave no reason"));
}

#[tokio::test]
async fn success_that_says_of_itself_that_it_is_none_leaves_it_open() {
    for status in [200, 201, 202] {
        let body = json!({ "success": false, "code": "X", "message": "not now", "data": {} });
        let error = failure_of(json_of(status, &body)).await;
        assert!(
            matches!(&error, Error::Api { status: given, message, .. } if *given == status && message == "not now"),
            "{error:?}"
        );
        assert_eq!((error.code(), error.may_have_happened(), error.is_unreadable_success()), (Some("X"), true, true));
    }
}

#[tokio::test]
async fn only_a_429_is_asked_again_and_each_status_says_what_may_have_happened() {
    // `failure_of` counts the requests.
    for (status, may_have) in [
        (301, true),
        (302, true),
        (303, true),
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (408, true),
        (409, true),
        (410, false),
        (422, false),
        (425, true),
        (500, true),
        (502, true),
        (503, true),
    ] {
        let error = failure_of(Answer::with(status, "retry-after: 7\r\n", "")).await;
        let Error::Api { status: given, retry_after, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*given, *retry_after), (status, Some(Duration::from_secs(7))));
        assert_eq!((error.may_have_happened(), error.is_unreadable_success()), (may_have, false), "{status}");
    }
}

#[tokio::test]
async fn nobody_else_is_asked() {
    let other = Receiver::start(|_| enveloped(&json!({ "secret": "whsec_a" }))).await;
    for status in [301, 302, 303, 307, 308] {
        let error = failure_of(Answer::with(status, &format!("location: {}\r\n", other.url("/")), "")).await;
        assert!(matches!(error, Error::Api { status: given, .. } if given == status), "{error:?}");
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_refusal_whose_body_breaks_off_is_a_refusal() {
    let error = failure_of(Answer::Cut("HTTP/1.1 404 X\r\ncontent-length: 100\r\n\r\n{\"message\"".into())).await;
    assert!(matches!(error, Error::Api { status: 404, .. }) && !error.may_have_happened(), "{error:?}");
    // One that is endless is read to a bound.
    let error = failure_of(Answer::Endless("HTTP/1.1 404 X\r\n\r\n".into())).await;
    assert!(matches!(error, Error::Api { status: 404, .. }), "{error:?}");
}

#[tokio::test]
async fn success_that_cannot_be_read_may_have_happened() {
    for (answer, word) in [
        (Answer::with(200, "", "<html>whsec_a"), "no JSON from line 1"),
        (Answer::with(200, "", ""), "`secret` is missing"),
        (Answer::status(204), "`secret` is missing"),
        (enveloped(&json!({})), "`secret` is missing"),
        (enveloped(&json!({ "secret": 7 })), "`secret` is not a text"),
        (enveloped(&json!({ "secret": "whsec_***" })), "masked"),
        (json_of(200, &json!("whsec_a")), "`secret` is missing"),
    ] {
        let error = failure_of(answer).await;
        let Error::Unreadable { problem, .. } = &error else { panic!("{error:?}") };
        assert!(problem.contains(word), "{problem}");
        assert!(error.may_have_happened() && !format!("{error:?} {error}").contains("whsec_"), "{error:?}");
        assert!(error.is_unreadable_success(), "{error:?}");
    }
    let (_server, client) = answering(enveloped(&json!({ "id": "w" }))).await;
    let new = NewWebhook::new("https://x.example", [""; 0]);
    let error = client.webhooks().create(&new).await.unwrap_err();
    assert!(matches!(&error, Error::Unreadable { request_id: Some(id), .. } if id == "req_0a1b2c"), "{error:?}");
    assert!(error.may_have_happened());
}

#[tokio::test]
async fn an_answer_is_read_up_to_a_bound() {
    let server = Receiver::start(|_| Answer::Endless("HTTP/1.1 200 OK\r\n\r\n".into())).await;
    let error = client(&server.url("")).webhooks().rotate_secret("w").await.unwrap_err();
    assert!(matches!(&error, Error::Unreadable { problem, .. } if problem.contains("longer than")), "{error:?}");
    assert!(error.may_have_happened());

    // Four MiB to the byte are read.
    let shell = json!({ "data": { "secret": "whsec_a" }, "x": "" }).to_string().len();
    for (length, is_read) in [(4 * 1024 * 1024, true), (4 * 1024 * 1024 + 1, false)] {
        let body = json!({ "data": { "secret": "whsec_a" }, "x": "y".repeat(length - shell) });
        let (_server, client) = answering(json_of(200, &body)).await;
        assert_eq!(client.webhooks().rotate_secret("w").await.is_ok(), is_read, "{length}");
    }
}

#[derive(Debug, PartialEq)]
struct NoAnswer {
    never_sent: bool,
    timed_out: bool,
}

fn no_answer(error: &Error) -> NoAnswer {
    let Error::Network { never_sent, timed_out, .. } = error else { panic!("{error:?}") };
    assert_eq!(error.may_have_happened(), !never_sent);
    NoAnswer { never_sent: *never_sent, timed_out: *timed_out }
}

async fn unreached(base: &str, timeout: Duration) -> NoAnswer {
    no_answer(
        &client_with(base, |settings| settings.timeout = timeout).webhooks().rotate_secret("w").await.unwrap_err(),
    )
}

#[tokio::test]
async fn without_a_connection_the_request_never_left() {
    let never = NoAnswer { never_sent: true, timed_out: false };
    // A port that was free a moment ago.
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(unreached(&format!("http://{refused}"), PATIENCE).await, never);
    // Longer than a name may be: no server of names is asked.
    assert_eq!(unreached(&format!("http://{}.invalid", "x".repeat(64)), PATIENCE).await, never);
    // The TLS handshake breaks: the request comes after it.
    let closing = closing_after(0).await;
    assert_eq!(unreached(&format!("https://{closing}"), PATIENCE).await, never);
}

/// A queue of one that is full: the operating system lets further connections wait.
#[tokio::test]
async fn a_connection_that_takes_too_long_is_no_request() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _queued = tokio::net::TcpStream::connect(address).await.unwrap();
    let timeout = Duration::from_secs(1);
    assert_eq!(unreached(&format!("http://{address}"), timeout).await, NoAnswer { never_sent: true, timed_out: true });
}

/// A server that accepts, reads so many bytes and closes the connection.
async fn closing_after(bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut vec![0; bytes]).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_open_what_happened() {
    let open = || NoAnswer { never_sent: false, timed_out: false };
    for bytes in [0, 10] {
        assert_eq!(unreached(&format!("http://{}", closing_after(bytes).await), PATIENCE).await, open());
    }
    for begun in
        ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"data\":", "not HTTP\r\n\r\n"]
    {
        assert_eq!(no_answer(&failure_of(Answer::Cut(begun.into())).await), open(), "{begun}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_not_asked_again_behind_our_back() {
    let asked = AtomicUsize::new(0);
    let server = Receiver::start(move |_| match asked.fetch_add(1, SeqCst) {
        0 => enveloped(&json!({ "secret": "whsec_a" })),
        _ => Answer::Cut(String::new()),
    })
    .await;
    let client = client(&server.url(""));
    client.webhooks().rotate_secret("w").await.unwrap();
    let error = client.webhooks().rotate_secret("w").await.unwrap_err();
    assert_eq!(no_answer(&error), NoAnswer { never_sent: false, timed_out: false });
    assert_eq!((server.received().len(), server.connections()), (2, 1));
}

#[tokio::test]
async fn an_answer_that_takes_too_long_leaves_open_what_happened() {
    // Half of it is for connecting, which must not be what takes too long here.
    let timeout = Duration::from_secs(2);
    let slow = async |begun: &'static str| {
        let server = Receiver::start(move |_| Answer::Hang(begun.into())).await;
        assert_eq!(
            unreached(&server.url(""), timeout).await,
            NoAnswer { never_sent: false, timed_out: true },
            "{begun}"
        );
        assert_eq!(server.received().len(), 1);
    };
    tokio::join!(
        slow(""),
        slow("HTTP/1.1 200 OK\r\n"),
        slow("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"data\":")
    );
}

/// A drop is how a caller stops waiting: the connection goes with it, and nothing is asked later.
#[tokio::test]
async fn a_dropped_call_drops_its_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()));
    let call = tokio::spawn(async move { client.webhooks().rotate_secret("w").await.map(drop) });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let end = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("the connection ends");
    assert_eq!(end.unwrap_or(0), 0);
}

// --- too many calls

/// A server that answers so many calls with 429 and these headers, then with a secret.
async fn busy(times: usize, headers: &'static str) -> Receiver {
    let asked = AtomicUsize::new(0);
    Receiver::start(move |_| match asked.fetch_add(1, SeqCst) {
        before if before < times => Answer::with(429, headers, "{\"code\":\"RATE\",\"message\":\"slow down\"}"),
        _ => enveloped(&json!({ "secret": "whsec_a" })),
    })
    .await
}

#[tokio::test]
async fn a_429_is_asked_again_as_often_as_set() {
    for (times, max_retries, succeeds) in [(3, 3, true), (4, 3, false), (1, 0, false), (0, 0, true)] {
        let server = busy(times, "").await;
        let client = client_with(&server.url(""), |settings| settings.max_retries = max_retries);
        let result = client.webhooks().rotate_secret("w").await;
        assert_eq!(result.is_ok(), succeeds, "{times} {max_retries}");
        assert_eq!(server.received().len(), 1 + times.min(max_retries as usize));
        if let Err(error) = result {
            assert!(matches!(error, Error::Api { status: 429, retry_after: None, .. }), "{error:?}");
            assert_eq!((error.code(), error.may_have_happened()), (Some("RATE"), false));
        }
    }
}

#[tokio::test]
async fn a_write_is_named_and_keeps_its_name_when_it_is_asked_again() {
    let server = busy(2, "").await;
    let client = client(&server.url(""));
    client.webhooks().rotate_secret("w").await.unwrap();
    client.webhooks().rotate_secret("w").await.unwrap();
    client.webhooks().idempotency_key("rotation-7").rotate_secret("w").await.unwrap();
    client.payments().list_all(100).collect().await.unwrap_err();
    let requests = server.received();
    let names: Vec<String> = requests[..5].iter().map(|request| request.header("idempotency-key")).collect();
    assert_eq!((&names[1], &names[2], names[4].as_str()), (&names[0], &names[0], "rotation-7"));
    assert!(names[0].len() == 36 && names[3].len() == 36 && names[0] != names[3], "{names:?}");
    assert!(!requests[5].has("idempotency-key"), "reading changes nothing");
}

#[tokio::test]
async fn the_waits_double_where_finkare_asks_for_none() {
    let server = busy(3, "retry-after: soon\r\n").await;
    let initial = Duration::from_millis(40);
    let client = client_with(&server.url(""), |settings| settings.retry_initial = initial);
    let begun = Instant::now();
    client.webhooks().rotate_secret("w").await.unwrap();
    assert!(begun.elapsed() >= initial * (1 + 2 + 4));
}

#[tokio::test]
async fn the_wait_that_finkare_asks_for_is_kept() {
    // Ours would be longer than the test may take.
    let patient = |settings: &mut Settings| settings.retry_initial = Duration::from_hours(1);
    let server = busy(1, "retry-after: 1\r\n").await;
    let begun = Instant::now();
    client_with(&server.url(""), patient).webhooks().rotate_secret("w").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let server = busy(3, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n").await;
    client_with(&server.url(""), patient).webhooks().rotate_secret("w").await.unwrap();
    assert_eq!(server.received().len(), 4, "a date that has passed is no wait");
}

#[tokio::test]
async fn a_long_wait_is_left_to_the_caller() {
    let server = busy(1, "retry-after: 61\r\n").await;
    let error = client(&server.url("")).webhooks().rotate_secret("w").await.unwrap_err();
    let Error::Api { status: 429, retry_after: Some(wait), .. } = error else { panic!("{error:?}") };
    assert_eq!((wait, server.received().len()), (Duration::from_secs(61), 1));

    let date = httpdate::fmt_http_date(SystemTime::from(clock::now()) + Duration::from_hours(2));
    let error = failure_of(Answer::with(429, &format!("retry-after: {date}\r\n"), "")).await;
    let Error::Api { retry_after: Some(wait), .. } = error else { panic!("{error:?}") };
    assert!(wait > Duration::from_hours(1) && wait <= Duration::from_hours(2), "{wait:?}");
}

#[tokio::test]
async fn all_calls_of_a_client_share_our_own_limit_and_retries_count() {
    let (server, _) = answering(enveloped(&json!({ "secret": "whsec_a" }))).await;
    let limited =
        |settings: &mut Settings| settings.rate_limit = (NonZeroU32::new(2).unwrap(), Duration::from_millis(200));
    let client = Arc::new(client_with(&server.url(""), limited));
    let begun = Instant::now();
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.webhooks().rotate_secret("w").await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // Two at once, then one every 100 ms.
    assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());

    let server = busy(3, "retry-after: 0\r\n").await;
    let client = client_with(&server.url(""), limited);
    let begun = Instant::now();
    client.webhooks().rotate_secret("w").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
}

// --- lists

fn page_of(request: &Request) -> usize {
    let (_, query) = request.path.split_once('?').unwrap_or_default();
    query.split('&').find_map(|pair| pair.strip_prefix("page=")).map_or(1, |page| page.parse().unwrap())
}

/// A server with so many payments, on pages of this size, that tells of them what it is told to.
async fn paged(
    payments: usize,
    size: usize,
    pagination: impl Fn(usize) -> Option<Value> + Send + Sync + 'static,
) -> Receiver {
    let all: Vec<Value> = (0..payments).map(|n| payment(&n.to_string())).collect();
    Receiver::start(move |request| {
        let page = page_of(request);
        let items: Vec<_> = all.iter().skip((page - 1) * size).take(size).collect();
        let mut body = json!({ "success": true, "data": items });
        if let Some(pagination) = pagination(page) {
            body["pagination"] = pagination;
        }
        json_of(200, &body)
    })
    .await
}

async fn ids_of(server: &Receiver) -> Result<Vec<String>, Error> {
    let payments = client(&server.url("")).payments().list_all(100).collect().await?;
    Ok(payments.into_iter().map(|payment| payment.id.into_string()).collect())
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn a_list_is_followed_to_the_number_that_it_announces() {
    for (payments, size, requests) in
        [(0, 100, 1), (57, 100, 1), (100, 100, 1), (101, 100, 2), (300, 100, 3), (57, 20, 3)]
    {
        let told = move |page| Some(json!({ "page": page, "limit": size, "total": payments }));
        let server = paged(payments, size, told).await;
        assert_eq!(ids_of(&server).await.unwrap(), numbers(0..payments), "{payments} by {size}");
        assert_eq!(server.received().len(), requests, "{payments} by {size}");
    }
}

#[tokio::test]
async fn a_list_that_announces_nothing_ends_with_a_page_that_is_not_full() {
    for (payments, requests) in [(0, 1), (99, 1), (100, 2), (250, 3)] {
        let server = paged(payments, 100, |_| None).await;
        assert_eq!(ids_of(&server).await.unwrap(), numbers(0..payments));
        assert_eq!(server.received().len(), requests, "{payments}");
    }
    // Only the size of a page is told, and it is smaller than ours.
    let server = paged(57, 20, |page| Some(json!({ "page": page, "limit": 20 }))).await;
    assert_eq!(ids_of(&server).await.unwrap(), numbers(0..57));
}

#[tokio::test]
async fn a_server_that_repeats_itself_is_not_followed_for_ever() {
    let repeating = |pagination: Value| {
        let items: Vec<_> = (0..100).map(|n| payment(&n.to_string())).collect();
        answering(json_of(200, &json!({ "data": items, "pagination": pagination })))
    };
    // It knows no pages: what it gives is everything.
    let (server, _) = repeating(json!(null)).await;
    assert_eq!(ids_of(&server).await.unwrap(), numbers(0..100));
    assert_eq!(server.received().len(), 2);
    // It owes the rest: a part is not given for the whole.
    for total in [150, 1000] {
        let (server, _) = repeating(json!({ "page": 1, "limit": 100, "total": total })).await;
        let error = ids_of(&server).await.unwrap_err();
        assert!(matches!(&error, Error::Unreadable { problem, .. } if problem.contains("page 2")), "{error:?}");
        assert_eq!(server.received().len(), 2);
    }
    let (server, _) = answering(json_of(200, &json!({ "data": [], "pagination": { "total": 5 } }))).await;
    assert!(matches!(ids_of(&server).await.unwrap_err(), Error::Unreadable { .. }));
}

#[tokio::test]
async fn a_list_without_an_end_is_not_followed_for_ever() {
    let server = Receiver::start(|request| {
        let page = page_of(request);
        let body = json!({ "data": [payment(&page.to_string())], "pagination": { "page": page, "limit": 1, "total": u64::MAX } });
        json_of(200, &body)
    })
    .await;
    let error = ids_of(&server).await.unwrap_err();
    assert!(matches!(&error, Error::Unreadable { problem, .. } if problem.contains("1000 pages")), "{error:?}");
    assert_eq!(server.received().len(), 1000);
}

/// A payment that comes in while the list is read moves the others on: the last of a page is the first of the next.
#[tokio::test]
async fn an_item_that_moves_to_the_next_page_is_given_once() {
    let server = Receiver::start(|request| {
        let (items, total) = match page_of(request) {
            1 => (numbers(0..100), 101),
            2 => (numbers(99..101), 102),
            page => panic!("page {page} is not there"),
        };
        let items: Vec<_> = items.iter().map(|id| payment(id)).collect();
        json_of(200, &json!({ "data": items, "pagination": { "limit": 100, "total": total } }))
    })
    .await;
    assert_eq!(ids_of(&server).await.unwrap(), numbers(0..101));
}

#[tokio::test]
async fn a_list_without_documented_pages_is_followed_only_if_it_speaks_of_them() {
    let server = paged(150, 150, |_| None).await;
    assert_eq!(client(&server.url("")).payments().of_invoice("i").await.unwrap().data.payments.len(), 150);
    assert_eq!(lines(&server.received()), ["GET /api/v1/payments/invoice/i"]);

    let server = paged(45, 20, |page| Some(json!({ "page": page, "limit": 20, "total": 45 }))).await;
    assert_eq!(client(&server.url("")).payments().of_invoice("i").await.unwrap().data.payments.len(), 45);
    let path = "GET /api/v1/payments/invoice/i";
    assert_eq!(lines(&server.received()), [path.into(), format!("{path}?page=2"), format!("{path}?page=3")]);

    let webhooks = Receiver::start(|request| {
        let webhook = json!({ "id": page_of(request).to_string(), "url": "https://x.example", "events": [] });
        json_of(200, &json!({ "data": [webhook], "pagination": { "limit": 1, "total": 2 } }))
    })
    .await;
    let listed = client(&webhooks.url("")).webhooks().list().await.unwrap().data;
    assert_eq!(listed.iter().map(|webhook| webhook.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test]
async fn a_payment_that_cannot_be_read_is_not_left_out() {
    for amount in [json!(5.5), json!(5.0), json!("5"), json!(null)] {
        let mut odd = payment("2");
        odd["amountCents"] = amount;
        let (_server, client) = answering(enveloped(&json!([payment("1"), odd]))).await;
        let error = client.payments().list_all(100).collect().await.unwrap_err();
        let Error::Unreadable { problem, .. } = &error else { panic!("{error:?}") };
        assert!(problem.starts_with("item 1: `amountCents`"), "{problem}");
    }
    let (_server, client) =
        answering(Answer::with(200, "", r#"{"data":{"id":"i","invoiceNumber":"F-1","amountCents":1e3}}"#)).await;
    assert!(matches!(client.invoices().get("i").await.unwrap_err(), Error::Unreadable { .. }));
}

// --- secrets

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn nothing_secret_is_said_logged_or_shown() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _for_this_test = tracing::subscriber::set_default(subscriber);

    let mut said = Vec::new();
    // Echoes what it got, and tells secrets that it should not, in every place that there is.
    for status in [200, 400, 429, 500] {
        for shape in 0..6 {
            let server = Receiver::start(move |request| {
                let echo = format!("key {} and whsec_hidden, bare privatekey", request.header("x-api-key"));
                let body = match shape {
                    0 => json!({ "success": false, "error": { "code": echo, "message": echo }, "requestId": echo })
                        .to_string(),
                    1 => json!({ "success": false, "x": [echo] }).to_string(),
                    2 => echo.clone(),
                    3 => format!(
                        "{{\"success\":false,\"secret\":\"{}\"}}",
                        "\\u0077hsec_hidden \\u0066k_test_privatekey"
                    ),
                    4 => json!({ "data": { "secret": [echo] }, "requestId": echo }).to_string(),
                    _ => format!("{}{echo}", "x".repeat(480)),
                };
                Answer::with(status, &format!("x-request-id: {echo}\r\n"), &body)
            })
            .await;
            let client = client(&server.url(""));
            let error = client.webhooks().rotate_secret(&format!("w-{KEY}")).await.unwrap_err();
            said.push(format!("{client:?} {error:?} {error:#?} {error}"));
        }
    }
    let (_server, client_) = answering(Answer::Cut(String::new())).await;
    let error = client_.webhooks().rotate_secret("w").await.unwrap_err();
    said.push(format!("{error:?} {error} {:?}", std::error::Error::source(&error).map(ToString::to_string)));
    let (_server, client_) =
        answering(enveloped(&json!([{ "headers": { "x": ["whsec_hidden"] }, "note": KEY, "n": 1 }]))).await;
    let deliveries = client_.webhooks().deliveries("w").await.unwrap().data;
    assert_eq!(deliveries[0].other["n"], json!(1), "the rest is as it came");
    said.push(format!("{deliveries:?}"));
    let (_server, client_) = answering(enveloped(&json!({ "id": "w", "secret": "whsec_hidden" }))).await;
    said.push(format!("{:?}", client_.webhooks().rotate_secret("w").await.unwrap()));
    let new = NewWebhook::new("https://x.example", [""; 0]);
    said.push(format!("{:?}", client_.webhooks().create(&new).await.unwrap()));

    let invoice = json!({ "id": "i", "invoiceNumber": "F-1", "note": KEY, "debtor": { "note": "whsec_hidden" } });
    let echoing = json!({ "data": invoice, "message": format!("{KEY} whsec_hidden"), "requestId": KEY });
    let (_server, client_) = answering(json_of(200, &echoing)).await;
    said.push(format!("{:?}", client_.invoices().get("i").await.unwrap()));
    said.push(format!("{:?}", client_.workflow().status("i").await.unwrap()));
    said.push(format!("{:?}", client_.workflow().trigger("i").await.unwrap()));
    let (_server, client_) = answering(json_of(200, &json!({ "data": [invoice], "message": KEY }))).await;
    let page = client_.invoices().list(&InvoiceFilter::default(), PageRequest::default()).await.unwrap();
    said.push(format!("{page:?} {:?}", client_.invoices().list_all(100).collect().await.unwrap()));

    let all = format!("{} {}", said.join("\n"), log.text());
    assert!(log.text().contains("asked Finkare for rotating the secret of webhook w"), "the log is captured");
    for secret in ["privatekey", "hsec_hidden", "hidden"] {
        assert!(!all.contains(secret), "{secret} is in: {all}");
    }
    assert!(all.contains("[redacted]"), "the echo was masked, not lost: {all}");
}

#[tokio::test]
async fn one_line_is_logged_for_each_request_and_one_for_each_wait() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _for_this_test = tracing::subscriber::set_default(subscriber);
    let server = busy(2, "x-request-id: req_9\r\n").await;
    client(&server.url("")).webhooks().rotate_secret("w").await.unwrap();
    let log = log.text();
    let ours: Vec<&str> = log.lines().filter(|line| line.contains("finkare::transport")).collect();
    let [first, wait, second, _, third] = ours.as_slice() else { panic!("{log}") };
    for (line, words) in [
        (
            first,
            vec![
                "DEBUG",
                "method=POST",
                "path=\"/api/v1/webhooks/w/rotate-secret\"",
                "status=429",
                "request_id=\"req_9\"",
                "attempt=1",
                "duration_ms=",
            ],
        ),
        (wait, vec!["WARN", "attempt=1", "wait_ms=", "rate limit"]),
        (second, vec!["DEBUG", "status=429", "attempt=2"]),
        (third, vec!["DEBUG", "status=200", "request_id=\"req_0a1b2c\"", "attempt=3"]),
    ] {
        for word in words {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}
