//! Traces of the real binary, as a collector receives them.

use std::collections::{BTreeMap, BTreeSet};

use finkare_relay::model::{id::EventId, trace::SpanId};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Attribute},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use serde_json::Value;

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    receiver::{Answer, Receiver},
    relay::{Backend, Home, Relay, SECRET, TOKEN, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(one_trace_leads_from_the_delivery_to_every_attempt);

/// An `http` sink that retries quickly.
fn sink(target: &Target) -> String {
    format!(
        "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n",
        target.url()
    )
}

/// A collector that accepts everything.
async fn collector() -> Receiver {
    Receiver::start(|_| Answer::with(200, "content-type: application/x-protobuf\r\n", "")).await
}

/// Starts the service with this configuration and with traces.
async fn start(home: &Home, collector: &str, more: &[(&str, &str)]) -> Relay {
    let mut command = home.command();
    command.arg("serve").env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "20");
    command.envs(more.iter().copied());
    Relay::start(command).await
}

fn configure(home: &Home, target: &Target) {
    home.configure("", &format!("secret = \"{SECRET}\""), &sink(target));
}

fn exported(collector: &Receiver) -> Vec<ExportTraceServiceRequest> {
    let decode = |request: &crate::support::receiver::Request| {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
        ExportTraceServiceRequest::decode(request.body.as_slice()).expect("protobuf, as the standard has it")
    };
    collector.received().iter().map(decode).collect()
}

fn spans(collector: &Receiver) -> Vec<Span> {
    let scopes = exported(collector).into_iter().flat_map(|request| request.resource_spans);
    scopes.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

fn named(spans: &[Span], name: &str) -> Vec<Span> {
    spans.iter().filter(|span| span.name == name).cloned().collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Attribute::StringValue(text)) => text.clone(),
        Some(Attribute::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

async fn arrive(collector: &Receiver, name: &str, count: usize) -> Vec<Span> {
    eventually(&format!("{count} spans {name}"), async || named(&spans(collector), name).len() >= count).await;
    let found = named(&spans(collector), name);
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

async fn one_trace_leads_from_the_delivery_to_every_attempt(backend: Backend) {
    let (home, collector) = (Home::new(backend).await, collector().await);
    let mut answers = vec![Reply::Status(503, vec![])].into_iter();
    let target = Target::scripted(move |_, _| answers.next().unwrap_or(Reply::Status(204, vec![]))).await;
    configure(&home, &target);
    let mut relay = start(&home, &collector.url(""), &[("OTEL_SERVICE_NAME", "the-relay-of-the-tests")]).await;
    let body = payment("an-invoice-of-somebody", 4711);
    let id = Finkare::of(&relay).deliver(&body).await.id();

    // The ids that follow from the event's id, computed as another process would.
    let event: EventId = id.parse().unwrap();
    let (trace, root) = (event.0.into_bytes().to_vec(), SpanId::of_delivery(event).0.to_be_bytes().to_vec());

    let delivery = arrive(&collector, "delivery", 1).await.remove(0);
    assert_eq!((&delivery.trace_id, &delivery.span_id, delivery.kind()), (&trace, &root, SpanKind::Server));
    assert!(delivery.parent_span_id.is_empty(), "it is the root");
    let attributes = texts(&delivery.attributes);
    assert_eq!(attributes["endpoint.name"], "production");
    assert_eq!((attributes["event.id"].as_str(), attributes["result"].as_str()), (id.as_str(), "accepted"));
    assert_eq!(attributes["bytes"], body.len().to_string());
    let commit = arrive(&collector, "commit", 1).await.remove(0);
    assert_eq!((&commit.trace_id, &commit.parent_span_id), (&trace, &root));
    assert!(delivery.start_time_unix_nano <= commit.start_time_unix_nano, "the commit is a part of the delivery");
    assert!(commit.start_time_unix_nano <= commit.end_time_unix_nano);
    assert_eq!(commit.end_time_unix_nano, delivery.end_time_unix_nano);

    let mut attempts = arrive(&collector, "attempt", 2).await;
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    for (attempt, (number, outcome)) in attempts.iter().zip([("1", "retry"), ("2", "delivered")]) {
        assert_eq!((&attempt.trace_id, &attempt.parent_span_id), (&trace, &root));
        assert_eq!(attempt.kind(), SpanKind::Client);
        let attributes = texts(&attempt.attributes);
        for (name, value) in [
            ("sink.name", "erp"),
            ("sink.type", "http"),
            ("event.id", &id),
            ("attempt.number", number),
            ("trigger", "event"),
            ("outcome", outcome),
        ] {
            assert_eq!(attributes[name], value, "{name}");
        }
        assert!(attributes["dispatch.id"].parse::<i64>().is_ok());
        let failed = attempt.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
        assert_eq!(failed, outcome == "retry");
    }

    // The target can continue the trace below the attempt.
    let parents: Vec<_> = target.arrivals().iter().map(|arrival| arrival.header("traceparent").to_owned()).collect();
    let parent = |span: &Span| format!("00-{}-{}-01", hex::encode(&trace), hex::encode(&span.span_id));
    assert_eq!(parents, attempts.iter().map(parent).collect::<Vec<_>>());

    // The log names the trace.
    for message in ["delivery acknowledged", "not delivered: will be retried", "\"delivered\""] {
        let line: Value = serde_json::from_str(&relay.wait_for_line(message).await).unwrap();
        assert_eq!(line["trace.id"], hex::encode(&trace), "{line}");
    }

    // Another process continues it: a repeated delivery, and a replay.
    let (status, _) = relay.terminate().await;
    assert!(status.success());
    let relay = start(&home, &collector.url(""), &[]).await;
    assert!(Finkare::of(&relay).deliver(&body).await.is_duplicate());
    relay.post(&format!("/events/{id}/replay")).await;
    let repeated = arrive(&collector, "delivery", 2).await.remove(1);
    assert_eq!((&repeated.trace_id, &repeated.parent_span_id), (&trace, &root));
    assert_eq!(texts(&repeated.attributes)["result"], "duplicate");
    let replayed = arrive(&collector, "attempt", 3).await.remove(2);
    assert_eq!((&replayed.trace_id, &replayed.parent_span_id), (&trace, &root));
    assert_eq!(texts(&replayed.attributes)["trigger"], "replay");
    let (status, _) = relay.terminate().await;
    assert!(status.success());

    let all = spans(&collector);
    let ids: BTreeSet<_> = all.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), all.len(), "every span has its own id");
    let services: Vec<_> = exported(&collector)
        .iter()
        .flat_map(|request| &request.resource_spans)
        .map(|spans| texts(&spans.resource.as_ref().expect("a resource").attributes)["service.name"].clone())
        .collect();
    assert_eq!(services.first().map(String::as_str), Some("the-relay-of-the-tests"));
    assert_eq!(services.last().map(String::as_str), Some("finkare-relay"), "by default");
    for request in collector.received() {
        for secret in ["an-invoice-of-somebody", "4711", SECRET, TOKEN, &target.address.to_string()] {
            let found = request.body.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} went to the collector");
        }
    }
}

/// The last spans are from the moment before the end.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_exported_at_the_end() {
    let (home, collector, target) = (Home::new(Backend::Sqlite).await, collector().await, Target::start().await);
    configure(&home, &target);
    let relay = start(&home, &collector.url(""), &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]).await;
    Finkare::of(&relay).deliver(&payment("i", 1)).await;
    relay.drained().await;
    assert!(spans(&collector).is_empty(), "nothing made it go until now");
    let (status, _) = relay.terminate().await;
    assert!(status.success());
    let names: BTreeSet<_> = spans(&collector).into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["attempt", "commit", "delivery"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_is_traced() {
    let (home, target) = (Home::new(Backend::Sqlite).await, Target::start().await);
    configure(&home, &target);
    let relay = home.start().await;
    Finkare::of(&relay).deliver(&payment("i", 1)).await;
    relay.drained().await;
    assert!(!target.arrivals()[0].headers.contains_key("traceparent"));
    let (_, log) = relay.terminate().await;
    assert!(log.contains("delivery acknowledged") && !log.contains("trace.id"), "{log}");
}

/// An event whose trace is not exported: the target still gets the trace's id, and the log names the trace.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_not_exported() {
    let (home, collector, target) = (Home::new(Backend::Sqlite).await, collector().await, Target::start().await);
    configure(&home, &target);
    let relay = start(&home, &collector.url(""), &[("OTEL_TRACES_SAMPLER", "always_off")]).await;
    let id = Finkare::of(&relay).deliver(&payment("i", 1)).await.id();
    relay.drained().await;
    let parent = target.arrivals()[0].header("traceparent").to_owned();
    assert!(parent.starts_with(&format!("00-{}-", id.replace('-', ""))) && parent.ends_with("-00"), "{parent}");
    let (status, log) = relay.terminate().await;
    assert!(status.success() && log.contains("trace.id"));
    assert!(spans(&collector).is_empty());
}

/// A collector that refuses connections, and one that accepts them and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_harms_nothing() {
    let silent = Receiver::start(|_| Answer::Hang(String::new())).await;
    let refused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    // One span waits, so nearly all others find the queue full.
    let small = [("OTEL_BSP_MAX_QUEUE_SIZE", "1"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")];
    for (collector, says) in [
        (silent.url(""), "the last spans could not be exported in time"),
        (refused, "spans could not be exported: they are dropped until the collector takes them"),
    ] {
        let (home, target) = (Home::new(Backend::Sqlite).await, Target::start().await);
        configure(&home, &target);
        let mut relay = start(&home, &collector, &small).await;
        let finkare = Finkare::of(&relay);
        for number in 0..40 {
            let answer = finkare.deliver(&payment(&format!("i{number}"), 1)).await;
            assert_eq!(answer.status, 200);
        }
        relay.drained().await;
        assert_eq!(target.delivered().len(), 40);
        if collector == silent.url("") {
            eventually("it tried to export", async || silent.received().len() == 1).await;
            relay.wait_for_line("dropped a Span due to queue full").await;
        } else {
            relay.wait_for_line(says).await;
        }
        let (status, log) = relay.terminate().await;
        assert!(status.success() && log.contains(says), "{log}");
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_told_at_the_start() {
    let (home, target) = (Home::new(Backend::Sqlite).await, Target::start().await);
    configure(&home, &target);
    let mut command = home.command();
    command
        .arg("serve")
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317")
        .env("OTEL_TRACES_SAMPLER", "jaeger_remote");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    for name in ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_SAMPLER"] {
        assert!(said.contains(name), "{said}");
    }
}
