//! Exports spans: the SDK's bounded queue and batches, OTLP as protobuf over HTTP.
//!
//! It also logs that a collector does not accept spans: once when that begins, and once when it has ended.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{Protocol, SpanExporter as Otlp, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor},
};

use super::{Kind, Settings, Span, Value};

const NAME: &str = env!("CARGO_PKG_NAME");

/// Exports spans in a separate thread. `OTEL_BSP_…` set how many spans may wait (2048) and for how long (5 seconds),
/// `OTEL_EXPORTER_OTLP_TIMEOUT` how long an export may take (10 seconds).
#[derive(Debug)]
pub(super) struct Exporter {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl Exporter {
    /// # Errors
    /// What cannot be used, in one sentence.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let otlp = Otlp::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.as_str())
            .build()
            // Its own message may repeat the address, which may hold a password.
            .map_err(|_| {
                format!(
                    "traces cannot be exported to {}: see the other OTEL_EXPORTER_OTLP_ variables",
                    settings.target()
                )
            })?;
        let told = Told { target: settings.target(), inner: otlp, is_failing: AtomicBool::new(false) };
        let mut processor = BatchSpanProcessor::builder(told).build();
        processor.set_resource(&resource(settings.service_name.as_deref()));
        let scope = InstrumentationScope::builder(NAME).with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { processor, scope })
    }

    /// Queues a span; never waits. If the queue is full, the span is dropped, which the SDK logs.
    pub(super) fn send(&self, span: Span) {
        let trace = TraceId::from_bytes(span.trace.0.into_bytes());
        let context = SpanContext::new(trace, span_id(span.id), TraceFlags::SAMPLED, false, TraceState::NONE);
        let attribute = |(key, value)| match value {
            Value::Text(text) => KeyValue::new(key, text),
            Value::Word(word) => KeyValue::new(key, word),
            Value::Number(number) => KeyValue::new(key, number),
        };
        self.processor.on_end(SpanData {
            span_context: context,
            parent_span_id: span.parent.map_or(SpanId::INVALID, span_id),
            // Another process may have received the delivery.
            parent_span_is_remote: span.parent.is_some(),
            span_kind: match span.kind {
                Kind::Server => SpanKind::Server,
                Kind::Internal => SpanKind::Internal,
                Kind::Client => SpanKind::Client,
            },
            name: span.name.into(),
            start_time: system_time(span.started_at),
            end_time: system_time(span.ended_at),
            attributes: span.attributes.into_iter().map(attribute).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.failed.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Exports the waiting spans; false if that did not end in time. Blocks.
    pub(super) fn stop(&self, within: Duration) -> bool {
        self.processor.shutdown_with_timeout(within).is_ok()
    }
}

fn span_id(id: crate::model::trace::SpanId) -> SpanId {
    SpanId::from_bytes(id.0.to_be_bytes())
}

fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::from(time)
}

/// The attributes of all spans. `OTEL_RESOURCE_ATTRIBUTES` adds to them.
fn resource(service_name: Option<&str>) -> Resource {
    let name = "service.name".into();
    let found = Resource::builder().build().get(&name).map(|value| value.to_string());
    // The standard's default begins in this way.
    let found = found.filter(|name| !name.starts_with("unknown_service"));
    let name = service_name.map(str::to_owned).or(found).unwrap_or_else(|| NAME.to_owned());
    Resource::builder()
        .with_service_name(name)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// An exporter that logs once when failures begin. The SDK would log each failure.
#[derive(Debug)]
struct Told {
    target: String,
    inner: Otlp,
    is_failing: AtomicBool,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        match self.inner.export(batch).await {
            Ok(()) => {
                if self.is_failing.swap(false, Relaxed) {
                    tracing::info!(collector = self.target, "spans are exported again");
                }
            }
            Err(error) => {
                // The message names a status or says "network error", never the address.
                if !self.is_failing.swap(true, Relaxed) {
                    tracing::warn!(
                        collector = self.target, %error, spans,
                        "spans could not be exported: they are dropped until the collector takes them"
                    );
                }
            }
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
