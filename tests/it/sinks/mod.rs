//! The sink contract: what every sink promises, then what each kind promises beside it.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, pipe},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use finkare_relay::{
    model::{
        dispatch::{Outcome, Trigger},
        id::{DispatchId, EventId},
    },
    sinks::{Message, Sink, chat, email, file, http, kind::Kind, options::SinkOptions, stdout},
};

use mail_parser::MessageParser;

use crate::{
    mail::Server,
    support::receiver::{Answer, Receiver},
};

mod file_sink;
mod http_sink;
mod stdout_sink;

/// Long enough that only a failure reaches it.
const BOUND: Duration = Duration::from_secs(20);

/// A message as the dispatcher makes it.
fn message(payload: impl Into<bytes::Bytes>) -> Message {
    Message {
        event_id: EventId::generate(),
        dispatch_id: DispatchId(1),
        endpoint: "production".to_owned(),
        event_type: "payment.received".to_owned(),
        invoice_id: Some("c3d4".to_owned()),
        received_at: "2026-03-15T10:30:00.5Z".parse().unwrap(),
        content_type: Some("application/json; charset=utf-8".to_owned()),
        payload: payload.into(),
        attempt: 1,
        trigger: Trigger::Event,
        trace: None,
        resolved: None,
    }
}

fn numbered(count: usize) -> Vec<Message> {
    (0..count).map(|n| message(format!(r#"{{"event":"payment.received","n":{n}}}"#))).collect()
}

/// Delivers all messages side by side and answers their outcomes in order.
async fn deliver_all(sink: &Arc<dyn Sink>, messages: Vec<Message>) -> Vec<Outcome> {
    let tasks: Vec<_> = messages
        .into_iter()
        .map(|message| {
            let sink = Arc::clone(sink);
            tokio::spawn(async move { sink.deliver(&message).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(tokio::time::timeout(BOUND, task).await.expect("every delivery ends").unwrap());
    }
    outcomes
}

/// Waits until a condition holds, without blocking the runtime.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < BOUND, "never came true: {what}");
        tokio::task::yield_now().await;
    }
}

/// The `id` of each line, all of which must be whole objects.
fn ids(lines: &str) -> Vec<String> {
    assert!(lines.is_empty() || lines.ends_with('\n'), "the last line is whole");
    let id =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).expect(line)["id"].as_str().unwrap().to_owned();
    lines.lines().map(id).collect()
}

fn install_tls() {
    // The second test to come finds it installed.
    let _installed_already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn built(kind: &Kind) -> Arc<dyn Sink> {
    install_tls();
    kind.build(Duration::from_secs(10), || unreachable!("it is no invoicing sink")).unwrap()
}

/// The options of a sink, as its reader makes them of what an operator writes.
fn options<T: SinkOptions + Clone>(written: serde_json::Value) -> T {
    let mut text = toml::Table::try_from(written).unwrap();
    text.insert("type".to_owned(), T::NAME.into());
    Kind::parse(&text.to_string()).unwrap().options::<T>().unwrap().clone()
}

fn file_at(path: &Path) -> file::Options {
    options(serde_json::json!({ "path": path }))
}

fn http_at(url: &str) -> http::Options {
    options(serde_json::json!({ "url": url }))
}

/// Google Chat, because its requests carry the event's id.
fn chat_at(url: &str) -> chat::Options {
    options(serde_json::json!({ "url": url, "service": "google_chat" }))
}

fn mail_over(port: u16) -> email::Options {
    let (from, to) = ("relais@example.fr", ["compta@example.fr"]);
    options(serde_json::json!({ "smtp_url": format!("smtp://127.0.0.1:{port}"), "from": from, "to": to }))
}

/// Everything side by side arrives once under its own id, and `Delivered` comes after the arrival.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_called_delivered_has_arrived_under_its_id() {
    let messages = numbered(300);
    let sent: BTreeSet<String> = messages.iter().map(|message| message.event_id.to_string()).collect();
    let all_delivered = |outcomes: Vec<Outcome>| assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    all_delivered(deliver_all(&built(&Kind::from(file_at(&path))), messages.clone()).await);
    let arrived = ids(&fs::read_to_string(&path).unwrap());
    assert_eq!((arrived.len(), arrived.into_iter().collect::<BTreeSet<_>>()), (300, sent.clone()));

    let (mut reader, writer) = pipe().unwrap();
    let sink: Arc<dyn Sink> = Arc::new(stdout::Stdout::on(OwnedFd::from(writer).into()));
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    all_delivered(deliver_all(&sink, messages.clone()).await);
    drop(sink);
    let arrived = ids(&reading.join().unwrap().unwrap());
    assert_eq!((arrived.len(), arrived.into_iter().collect::<BTreeSet<_>>()), (300, sent.clone()));

    let receiver = Receiver::start(|_| Answer::status(204)).await;
    all_delivered(deliver_all(&built(&Kind::from(http_at(&receiver.url("/")))), messages.clone()).await);
    let arrived: Vec<String> = receiver.received().iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!((arrived.len(), arrived.into_iter().collect::<BTreeSet<_>>()), (300, sent.clone()));

    let receiver = Receiver::start(|_| Answer::with(200, "", r#"{"name":"spaces/x/messages/y"}"#)).await;
    all_delivered(deliver_all(&built(&Kind::from(chat_at(&receiver.url("/")))), messages.clone()).await);
    let id = |path: &str| path.split_once("requestId=").expect("it names the event").1.to_owned();
    let arrived: Vec<String> = receiver.received().iter().map(|request| id(&request.path)).collect();
    assert_eq!((arrived.len(), arrived.into_iter().collect::<BTreeSet<_>>()), (300, sent.clone()));

    let server = Server::start("none", false);
    all_delivered(deliver_all(&built(&Kind::from(mail_over(server.port))), messages).await);
    let id = |mail: &String| {
        let mail = MessageParser::default().parse(mail.as_bytes()).unwrap();
        mail.message_id().unwrap().strip_suffix("@example.fr").unwrap().to_owned()
    };
    let arrived: Vec<String> = server.mails(300).await.iter().map(id).collect();
    assert_eq!((arrived.len(), arrived.into_iter().collect::<BTreeSet<_>>()), (300, sent));
}

/// A target that is not there is a matter of time: no sink gives an event up for it.
#[tokio::test]
async fn a_target_that_is_not_there_is_tried_again_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("not-a-folder");
    fs::write(&blocked, "").unwrap();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let sinks: [(Arc<dyn Sink>, &str, &str); 5] = [
        (built(&Kind::from(file_at(&blocked.join("events.jsonl")))), "not-a-folder/events.jsonl", "`path` is a file"),
        (Arc::new(stdout::Stdout::on(OwnedFd::from(writer).into())), "standard output", "restart"),
        (built(&Kind::from(http_at(&format!("http://{closed_port}/x")))), &closed_port.to_string(), "refused"),
        (built(&Kind::from(chat_at(&format!("http://{closed_port}/x")))), &closed_port.to_string(), "refused"),
        (built(&Kind::from(mail_over(closed_port.port()))), &closed_port.to_string(), "refused"),
    ];
    for (sink, name, word) in sinks {
        for _again in 0..2 {
            let Outcome::Retry { reason, after: None } = sink.deliver(&message("{}")).await else {
                panic!("{sink:?} must ask for another try")
            };
            assert!(reason.contains(name) && reason.contains(word), "{reason}");
        }
    }
}

/// `check` is asked of a running service's targets, too.
#[tokio::test]
async fn checking_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("events.jsonl");
    let said = built(&Kind::from(file_at(&path))).check().await.unwrap();
    assert!(said.contains("events.jsonl"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no file and no folder was made");

    let (mut reader, writer) = pipe().unwrap();
    let sink = stdout::Stdout::on(OwnedFd::from(writer).into());
    sink.check().await.unwrap();
    drop(sink);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "nothing was written");

    let receiver = Receiver::start(|_| Answer::status(405)).await;
    let said = built(&Kind::from(http_at(&receiver.url("/hook")))).check().await.unwrap();
    assert!(said.contains("405"), "{said}");
    let requests = receiver.received();
    assert_eq!(requests.iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), ["HEAD"]);

    let receiver = Receiver::start(|_| Answer::status(404)).await;
    let said = built(&Kind::from(chat_at(&receiver.url("/hook")))).check().await.unwrap();
    assert!(said.contains("404"), "{said}");
    let requests = receiver.received();
    let made: Vec<_> = requests.iter().map(|request| (request.method.as_str(), request.path.as_str())).collect();
    assert_eq!(made, [("HEAD", "/")]);

    let server = Server::start("none", false);
    let said = built(&Kind::from(mail_over(server.port))).check().await.unwrap();
    assert!(said.contains(&server.port.to_string()), "{said}");
    assert_eq!(server.said("data").len(), 0, "no mail was sent");
}
