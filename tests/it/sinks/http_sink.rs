//! `http`: what goes over the wire, what each answer means, and what is never said.

use std::{
    io::{self, Read, Write},
    net::TcpListener as StdListener,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use finkare_relay::{
    model::dispatch::{Outcome, Trigger},
    sinks::{Message, Sink, http, kind::Kind},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;

use super::{BOUND, deliver_all, http_at, install_tls, message, numbered, until};
use crate::support::receiver::{Answer, Receiver};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn options(value: serde_json::Value) -> http::Options {
    super::options(value)
}

fn sink_of(options: &http::Options, timeout: Duration) -> Arc<dyn Sink> {
    install_tls();
    Arc::new(http::Http::new(options, timeout).unwrap())
}

fn sink(url: &str) -> Arc<dyn Sink> {
    sink_of(&http_at(url), Duration::from_secs(10))
}

/// The outcome for one event at a target that always gives this answer.
async fn outcome_of(answer: Answer) -> Outcome {
    let receiver = Receiver::start(move |_| answer.clone()).await;
    sink(&receiver.url("/")).deliver(&message("{}")).await
}

fn retry(outcome: &Outcome) -> (&str, Option<Duration>) {
    match outcome {
        Outcome::Retry { reason, after } => (reason, *after),
        other => panic!("must be tried again: {other:?}"),
    }
}

#[tokio::test]
async fn the_body_arrives_byte_for_byte_and_signed() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let sink = sink_of(&options(json!({ "url": receiver.url("/hook?a=1"), "secret": SECRET })), BOUND);
    let bodies: [Bytes; 6] = [
        r#"{"event":"payment.received","data":{"amountCents":150000}}"#.into(),
        "".into(),
        "{ \"b\" : 1.50,\r\n\"a\": \"é\" }\n\n".into(),
        (0..=255).collect::<Vec<u8>>().into(),
        vec![b'x'; 1024 * 1024].into(),
        "\u{feff}0\r\n\r\nGET / HTTP/1.1\r\n\r\n".into(),
    ];
    for body in &bodies {
        assert_eq!(sink.deliver(&message(body.clone())).await, Outcome::Delivered);
    }
    let requests = receiver.received();
    assert_eq!(requests.len(), bodies.len());
    let key = BASE64_STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    for (request, body) in requests.iter().zip(&bodies) {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?a=1"));
        assert_eq!(request.body, *body, "byte for byte");
        assert_eq!(request.header("content-length"), body.len().to_string());
        let signed =
            [format!("{}.{}.", request.header("webhook-id"), request.header("webhook-timestamp")).as_bytes(), body]
                .concat();
        let mac = finkare_relay::signature::hmac::Key::new(&key).tag(&[&signed]);
        assert_eq!(request.header("webhook-signature"), format!("v1,{}", BASE64_STANDARD.encode(mac)));
        // The published library knows texts only.
        if std::str::from_utf8(body).is_ok() {
            let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
            let headers = names.map(|name| (name.parse().unwrap(), request.header(name).parse().unwrap()));
            let library = standardwebhooks::Webhook::new(SECRET).unwrap();
            library.verify(body, &headers.iter().cloned().collect()).unwrap();
            assert!(library.verify(b"another", &headers.into_iter().collect()).is_err());
        }
    }
    assert_eq!(receiver.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn headers_say_what_the_event_is_and_which_attempt() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let headers = json!({ "X-Team": "billing", "x-latin": "café" });
    let url = receiver.url("/").replace("//", "//us%40er:pass%3Aword@");
    let sink = sink_of(&options(json!({ "url": url, "headers": headers })), BOUND);
    let before = finkare_relay::model::clock::now().as_second();
    let first = message("{}");
    let second = Message {
        attempt: 7,
        trigger: Trigger::Replay,
        event_type: "paiement reçu 100%".to_owned(),
        content_type: None,
        ..first.clone()
    };
    let third = Message { content_type: Some("text/x\r\nevil: 1".to_owned()), ..first.clone() };
    for message in [&first, &second, &third] {
        assert_eq!(sink.deliver(message).await, Outcome::Delivered);
    }
    let requests = receiver.received();
    let expect = |index: usize, expected: &[(&str, &str)]| {
        for (name, value) in expected {
            assert_eq!(requests[index].header(name), *value, "{name}");
        }
    };
    let id = first.event_id.to_string();
    let version = format!("finkare-relay/{}", env!("CARGO_PKG_VERSION"));
    expect(
        0,
        &[
            ("webhook-id", &id),
            ("content-type", "application/json; charset=utf-8"),
            ("x-relay-event", "payment.received"),
            ("x-relay-endpoint", "production"),
            ("x-relay-attempt", "1"),
            ("x-relay-trigger", "event"),
            ("x-team", "billing"),
            ("x-latin", "café"),
            ("user-agent", &version),
            ("authorization", "Basic dXNAZXI6cGFzczp3b3Jk"),
        ],
    );
    expect(
        1,
        &[
            ("webhook-id", &id),
            ("content-type", "application/json"),
            ("x-relay-event", "paiement%20re%C3%A7u%20100%25"),
            ("x-relay-attempt", "7"),
            ("x-relay-trigger", "replay"),
        ],
    );
    expect(2, &[("content-type", "application/json")]);
    let sent: i64 = requests[0].header("webhook-timestamp").parse().unwrap();
    assert!((before..=before + 20).contains(&sent));
    assert!(!requests[0].has("webhook-signature"), "nothing is signed without a secret");
    assert!(!requests[0].has("cookie") && !requests[2].has("evil"));
}

#[tokio::test]
async fn each_status_means_what_the_contract_says() {
    for status in [200, 201, 202, 204, 206, 299] {
        assert_eq!(outcome_of(Answer::status(status)).await, Outcome::Delivered, "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        let outcome = outcome_of(Answer::status(status)).await;
        assert!(retry(&outcome).0.contains(&status.to_string()), "{outcome:?}");
        assert_eq!(retry(&outcome).1, None);
    }
    for status in [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 411, 413, 415, 422, 426, 451, 499] {
        let outcome = outcome_of(Answer::status(status)).await;
        let (Outcome::Rejected { reason } | Outcome::Stop { reason }) = &outcome else {
            panic!("{status}: {outcome:?}")
        };
        assert_eq!(matches!(outcome, Outcome::Stop { .. }), status == 410, "{status}");
        assert!(reason.contains(&status.to_string()), "{reason}");
    }
}

#[tokio::test]
async fn the_wait_that_a_target_asks_for_is_passed_on() {
    let after = async |status, value: &str| {
        retry(&outcome_of(Answer::with(status, &format!("retry-after: {value}\r\n"), "")).await).1
    };
    assert_eq!(after(429, "120").await, Some(Duration::from_mins(2)));
    assert_eq!(after(503, "99999999999999999999").await, Some(Duration::from_hours(24)));
    assert_eq!(after(503, "soon").await, None);
    let hour = Duration::from_hours(1);
    let wait = after(503, &httpdate::fmt_http_date(SystemTime::from(finkare_relay::model::clock::now()) + hour))
        .await
        .unwrap()
        .as_secs();
    assert!((3570..=3600).contains(&wait), "{wait}");
    assert_eq!(
        after(429, &httpdate::fmt_http_date(SystemTime::from(finkare_relay::model::clock::now()) - hour)).await,
        Some(Duration::ZERO)
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Receiver::start(|_| Answer::status(200)).await;
    let location = format!("location: {}\r\n", other.url("/elsewhere"));
    for status in [301, 302, 303, 307, 308] {
        let outcome = outcome_of(Answer::with(status, &location, "")).await;
        assert!(matches!(&outcome, Outcome::Rejected { reason, .. } if reason.contains("`url`")), "{outcome:?}");
    }
    assert_eq!((other.received().len(), other.connections()), (0, 0), "the other server was never asked");
}

#[tokio::test]
async fn a_reason_repeats_the_beginning_of_what_the_target_said() {
    let body = format!("<h1>\r\n Unknown\u{7}\tinvoice </h1>{}", "é".repeat(5000));
    let outcome = outcome_of(Answer::with(422, "", &body)).await;
    let reason = outcome.reason().unwrap();
    assert!(reason.contains("422") && reason.contains("<h1> Unknown invoice </h1>éé"), "{reason}");
    assert!(reason.ends_with("é…") && reason.chars().count() < 300, "{reason}");
    assert!(!reason.contains(char::is_control), "{reason}");
}

#[tokio::test]
async fn a_body_that_never_ends_does_not_change_what_the_status_said() {
    let head = |status| format!("HTTP/1.1 {status} Scripted\r\ntransfer-encoding: identity\r\n\r\n");
    let began = Instant::now();
    assert_eq!(outcome_of(Answer::Endless(head(200))).await, Outcome::Delivered);
    let receiver = Receiver::start(move |_| Answer::Endless(head(400))).await;
    let outcome = sink(&receiver.url("/")).deliver(&message("{}")).await;
    assert!(matches!(&outcome, Outcome::Rejected { reason, .. } if reason.contains("xxx…")), "{outcome:?}");
    // What fits into the buffers of two sockets, and not all that a second has room for.
    assert!(receiver.endless_bytes() < 16 * 1024 * 1024, "{} bytes", receiver.endless_bytes());
    // Announced and never sent.
    let head = |status| format!("HTTP/1.1 {status} Scripted\r\ncontent-length: 100\r\n\r\nhalf");
    assert_eq!(outcome_of(Answer::Hang(head(200))).await, Outcome::Delivered);
    assert!(retry(&outcome_of(Answer::Hang(head(503))).await).0.ends_with(": half"));
    assert_eq!(outcome_of(Answer::Cut(head(200))).await, Outcome::Delivered);
    assert!(began.elapsed() < Duration::from_secs(8), "none of them waited for the time-out");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_tried_again() {
    for broken in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let outcome = outcome_of(Answer::Cut(broken.to_owned())).await;
        assert!(retry(&outcome).0.contains("closed the connection"), "{broken:?}: {outcome:?}");
    }
    let outcome = outcome_of(Answer::Cut("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned())).await;
    assert!(retry(&outcome).0.contains("not HTTP"), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_that_our_library_cannot_read_is_called_so() {
    for (line, word) in [
        ("x-odd : a blank before the colon\r\n", "header"),
        ("x-odd: folded\r\n\tonce\r\n", "header"),
        ("no colon at all\r\n", "header"),
        ("x-odd: \u{1}\r\n", "header"),
        ("content-length: two\r\n", "content-length"),
        ("content-length: 2\r\ncontent-length: 3\r\n", "content-length"),
    ] {
        let outcome = outcome_of(Answer::Cut(format!("HTTP/1.1 200 OK\r\n{line}\r\n"))).await;
        let (reason, _) = retry(&outcome);
        assert!(
            reason.contains("cannot read the headers of its answer") && reason.contains(word),
            "{line:?}: {reason}"
        );
        assert!(reason.contains("The event may have arrived"), "{line:?}: {reason}");
        for untrue in ["is the service running", "not HTTP", "the port", "closed the connection"] {
            assert!(!reason.contains(untrue), "{line:?}: {reason}");
        }
    }
    let much = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: 1\r\n".repeat(200));
    let outcome = outcome_of(Answer::Cut(much)).await;
    assert!(retry(&outcome).0.contains("the head of its answer is larger"), "{outcome:?}");
}

#[tokio::test]
async fn a_target_that_does_not_answer_in_time_is_tried_again() {
    let timeout = Duration::from_secs(1);
    // Never accepted: the operating system completes the connection, and nobody reads from it.
    let silent = StdListener::bind("127.0.0.1:0").unwrap();
    let hanging = Receiver::start(|_| Answer::Hang("HTTP/1.1 200 OK\r\n".to_owned())).await;
    for url in [format!("http://{}/", silent.local_addr().unwrap()), hanging.url("/")] {
        let sink = sink_of(&http_at(&url), timeout);
        let message = message("{}");
        // As the dispatcher does it, whose clock may have begun a little earlier: it must not be the
        // one that ends the attempt.
        let dispatcher = timeout.saturating_sub(Duration::from_millis(20));
        let outcome = tokio::time::timeout(dispatcher, sink.deliver(&message)).await.expect("the sink's own word");
        assert!(retry(&outcome).0.contains("no answer within 1s"), "{outcome:?}");
    }
}

/// A queue of one that is full: the operating system lets further connections wait.
#[tokio::test]
async fn a_target_that_cannot_be_connected_to_in_time_is_tried_again() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        waiting.push(connected.unwrap());
        assert!(waiting.len() < 100, "a queue of one is full by now");
    }
    let url = format!("http://{address}/");
    let sink = sink_of(&options(json!({ "url": url, "connect_timeout_secs": 1 })), BOUND);
    let outcome = sink.deliver(&message("{}")).await;
    assert!(retry(&outcome).0.contains("no connection within 1s"), "{outcome:?}");
}

/// A name that no resolver looks up: RFC 1035 (section 2.3.4) allows a label 63 characters. So the
/// answer does not depend on the network of the machine.
fn unresolvable() -> String {
    format!("{}.invalid", "x".repeat(64))
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_said_to_be_one() {
    let outcome = sink(&format!("http://{}/", unresolvable())).deliver(&message("{}")).await;
    let expected = format!("http://{}: its name cannot be resolved", unresolvable());
    assert!(retry(&outcome).0.starts_with(&expected), "{outcome:?}");
}

/// Two certificates for `localhost` with one key, both
/// signed by themselves: as a server's, and as `openssl req -x509` makes them, as a CA's.
const UNTRUSTED: [&[u8]; 2] = [include_bytes!("untrusted/leaf.der"), include_bytes!("untrusted/ca.der")];

/// A TLS server for one connection.
fn untrusted_server(certificate: &'static [u8]) -> (u16, std::thread::JoinHandle<()>) {
    install_tls();
    let certificate = CertificateDer::from_slice(certificate);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(include_bytes!("untrusted/key.der").as_slice()));
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        while tls.is_handshaking() {
            // The client's refusal ends the handshake.
            if tls.complete_io(&mut stream).is_err() {
                return;
            }
        }
        panic!("the client took a certificate that nobody vouches for");
    });
    (port, thread)
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_and_named() {
    for certificate in UNTRUSTED {
        let (port, server) = untrusted_server(certificate);
        let outcome = sink(&format!("https://localhost:{port}/")).deliver(&message("{}")).await;
        assert!(retry(&outcome).0.contains("certificate is not trusted"), "{outcome:?}");
        tokio::task::spawn_blocking(move || server.join()).await.unwrap().unwrap();
    }

    // What a server without TLS makes of a handshake.
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Until the client has read it and leaves; it may leave by a reset.
        let _left = io::copy(&mut stream, &mut io::sink());
    });
    let outcome = sink(&url).deliver(&message("{}")).await;
    assert!(retry(&outcome).0.contains("does not speak TLS"), "{outcome:?}");
    tokio::task::spawn_blocking(move || server.join()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_a_time_share_a_few_connections() {
    let receiver = Receiver::start(|_| Answer::with(200, "", "thanks")).await;
    let sink = sink(&receiver.url("/"));
    for _round in 0..5 {
        let outcomes = deliver_all(&sink, numbered(64)).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered));
        // A connection comes back to the pool when its answer has been read to the end.
        until("64 answers", || receiver.received().len() % 64 == 0).await;
    }
    assert_eq!(receiver.received().len(), 320);
    assert!(receiver.connections() <= 128, "{} connections", receiver.connections());
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_secret_is_said_logged_or_shown() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _for_this_test = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log is captured");

    let mut said = Vec::new();
    // Echoes all that it got, as some error pages do.
    let echoing = Receiver::start(|request| {
        let echo = format!("{} {:?}", request.path, request.headers.iter().rev().collect::<Vec<_>>());
        match request.path.as_str() {
            path if path.starts_with("/cut") => Answer::Cut(String::new()),
            _ => Answer::with(400, "", &echo),
        }
    })
    .await;
    let refused = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (untrusted, server) = untrusted_server(UNTRUSTED[0]);
    let mut targets = vec![echoing.url("/reject"), echoing.url("/cut"), format!("http://{refused}/")];
    targets.extend([format!("https://localhost:{untrusted}/"), format!("http://{}/", unresolvable())]);
    for target in targets {
        let url = format!("{}?token=querysecret", target.replacen("//", "//usersecret:passwordsecret@", 1));
        let headers = json!({ "x-api-key": "headersecret", "x-other": "Bearer bearersecret" });
        let options = options(json!({ "url": url, "secret": SECRET, "headers": headers }));
        let sink = sink_of(&options, BOUND);
        let outcome = sink.deliver(&message("{}")).await;
        assert_ne!(outcome, Outcome::Delivered);
        said.push(format!("{options:?} {options:#?} {sink:?} {outcome:?}"));
        if !target.contains(&untrusted.to_string()) {
            let checked = sink.check().await;
            assert_eq!(checked.is_ok(), target.contains("/reject"), "{checked:?}");
        }
    }
    tokio::task::spawn_blocking(move || server.join()).await.unwrap().unwrap();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log is captured"));
    let all = format!("{} {log}", said.join("\n"));
    let basic = BASE64_STANDARD.encode("usersecret:passwordsecret");
    for secret in ["usersecret", "passwordsecret", "querysecret", "headersecret", "bearersecret", &SECRET[6..], &basic]
    {
        assert!(!all.contains(secret), "{secret} is in: {all}");
    }
    assert!(all.contains("[redacted]"), "the echo was masked, not lost: {all}");
}

#[test]
fn options_that_cannot_work_are_refused_by_name_and_without_their_value() {
    for (value, word) in [
        (json!({ "url": "ftp://x.example/?hidden" }), "url: does not begin"),
        (json!({ "url": "https://x.example", "secret": "hidden" }), "secret: "),
        (json!({ "url": "https://x.example?hidden", "connect_timeout_secs": 0 }), "connect_timeout_secs: "),
        (json!({ "url": "https://x.example", "headers": { "webhook-id": "hidden" } }), "webhook-id"),
        (json!({ "url": "https://x.example", "headers": { "X-Relay-Anything": "hidden" } }), "X-Relay-Anything"),
        (json!({ "url": "https://x.example", "headers": { "Content-Type": "hidden" } }), "Content-Type"),
        (json!({ "url": "https://x.example", "headers": { "host": "hidden" } }), "host"),
        (json!({ "url": "https://x.example", "headers": { "a b": "hidden" } }), "a b"),
        (json!({ "url": "https://x.example", "headers": { "x-line": "hidden\n" } }), "x-line"),
        (json!({ "url": "https://x.example", "headers": { "x-a": "hidden", "X-A": "hidden" } }), "twice"),
        (json!({ "url": "https://u:hidden@x.example", "headers": { "authorization": "hidden" } }), "authorization"),
        (json!({ "url": "https://x.example", "hedaers": {} }), "hedaers: unknown key (did you mean `headers`?)"),
    ] {
        let mut text = toml::Table::try_from(value).unwrap();
        text.insert("type".to_owned(), "http".into());
        let problems = Kind::parse(&text.to_string()).unwrap_err();
        let [problem] = &problems.lines()[..] else { panic!("{problems}") };
        assert!(problem.contains(word) && !problem.contains("hidden"), "{problem}");
    }
}
