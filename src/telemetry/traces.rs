//! Traces: one for each event, from its delivery to the last attempt for the last sink.
//!
//! Traces are off unless an `OTEL_EXPORTER_OTLP_…ENDPOINT` is set. While they are off, a delivery or an attempt only checks
//! [`current`]. Nothing is stored for a trace: the ids of all spans follow from the event's id ([`crate::model::trace`]), so
//! that a trace also contains attempts of other processes and of later days.
//!
//! A span is recorded at once when it has ended; no span is passed through the code. Spans wait in a bounded queue for a
//! separate thread, and are dropped when it is full: like a log line, a span must never decide whether a payment is
//! acknowledged. They contain only the relay's own names, numbers and words: nothing from a payload or from a target's
//! answer.
//!
//! Like the log, traces exist once per process. The SDK's batches and OTLP are in `export`.

use std::{sync::OnceLock, time::Duration};

use jiff::Timestamp;
use url::Url;

use crate::model::{
    clock,
    event::Recorded,
    id::EventId,
    secret::has_split_password,
    trace::{SpanId, TraceId, TraceParent, sampling_point},
};

#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
#[path = "traces/without.rs"]
mod export;

use export::Exporter;

/// The address for traces. It takes precedence over the common address.
const OWN_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// The common address for all telemetry; `/v1/traces` is appended.
const COMMON_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const OWN_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const COMMON_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// How long a stop waits for the export of the last spans.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// The settings from the variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    endpoint: Url,
    service_name: Option<String>,
    sampling: Sampling,
}

/// Which traces are exported.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sampling {
    All,
    None,
    /// Traces of events whose sampling point is below this value.
    Below(u64),
}

impl Settings {
    /// Reads the variables of the OpenTelemetry standard; `None` if traces are off. `read` gives the value of a variable.
    ///
    /// # Errors
    /// Each variable with an invalid value, and what is allowed. An address is never repeated, since it may hold a password.
    pub fn from_variables(
        read: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, Vec<(&'static str, String)>> {
        // In the standard only `true`, in any case, is true; everything else is false.
        if read("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let endpoint = match (read(OWN_ENDPOINT), read(COMMON_ENDPOINT)) {
            (Some(own), _) => endpoint(OWN_ENDPOINT, &own, ""),
            (None, Some(common)) => endpoint(COMMON_ENDPOINT, &common, "v1/traces"),
            (None, None) => return Ok(None),
        };
        let protocol = [OWN_PROTOCOL, COMMON_PROTOCOL]
            .into_iter()
            .find_map(|name| read(name).map(|value| (name, value)))
            .filter(|(_, value)| value != "http/protobuf")
            .map(|(name, value)| (name, format!("`{value}` is not supported: the only protocol is `http/protobuf`")));
        let sampling = sampling(read(SAMPLER).as_deref(), read(SAMPLER_ARG).as_deref());
        match (endpoint, sampling, protocol) {
            (Ok(endpoint), Ok(sampling), None) => {
                Ok(Some(Self { endpoint, service_name: read(SERVICE_NAME), sampling }))
            }
            (endpoint, sampling, protocol) => {
                Err(endpoint.err().into_iter().chain(sampling.err()).chain(protocol).collect())
            }
        }
    }

    /// The address for traces without secrets: scheme, host and port.
    fn target(&self) -> String {
        self.endpoint.origin().ascii_serialization()
    }
}

fn endpoint(name: &'static str, text: &str, path: &str) -> Result<Url, (&'static str, String)> {
    let text = if path.is_empty() { text.to_owned() } else { format!("{}/{path}", text.trim_end_matches('/')) };
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && !has_split_password(&text) => Ok(url),
        _ => Err((name, "this is not an http or https address such as `http://127.0.0.1:4318`".to_owned())),
    }
}

/// Every delivery begins a trace; trace headers of its sender are ignored. `parentbased_…` therefore means the same as
/// without it, and attempts follow their delivery.
fn sampling(sampler: Option<&str>, arg: Option<&str>) -> Result<Sampling, (&'static str, String)> {
    match sampler {
        None | Some("always_on" | "parentbased_always_on") => Ok(Sampling::All),
        Some("always_off" | "parentbased_always_off") => Ok(Sampling::None),
        Some("traceidratio" | "parentbased_traceidratio") => match arg.map_or(Ok(1.0), str::parse::<f64>) {
            Ok(share) if share >= 1.0 => Ok(Sampling::All),
            Ok(share) if share >= 0.0 => Ok(Sampling::Below(part_of(share))),
            _ => Err((SAMPLER_ARG, "this is not a number from 0 to 1, such as `0.1`".to_owned())),
        },
        Some(other) => Err((
            SAMPLER,
            format!(
                "`{}` is not one of `always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`",
                other.escape_debug()
            ),
        )),
    }
}

/// This share of 2^64, below 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and 2^64")]
fn part_of(share: f64) -> u64 {
    (share * 2f64.powi(64)) as u64
}

/// The process's traces, while they are on.
#[derive(Debug)]
pub struct Traces {
    exporter: Exporter,
    sampling: Sampling,
}

static TRACES: OnceLock<Traces> = OnceLock::new();

/// The process's traces; `None` while they are off.
pub fn current() -> Option<&'static Traces> {
    TRACES.get()
}

/// Turns traces on for the rest of this process.
///
/// # Errors
/// Why traces cannot be exported, and what to change.
pub fn start(settings: &Settings) -> Result<(), Vec<(&'static str, String)>> {
    let exporter = Exporter::new(settings).map_err(|what| vec![(COMMON_ENDPOINT, what)])?;
    if TRACES.set(Traces { exporter, sampling: settings.sampling }).is_ok() {
        tracing::info!(collector = settings.target(), "traces are exported");
    }
    Ok(())
}

/// Exports the remaining spans, within two seconds. Further spans are dropped.
pub async fn stop() {
    let Some(traces) = current() else { return };
    let stopping = tokio::task::spawn_blocking(|| traces.exporter.stop(LAST_EXPORT));
    if !stopping.await.unwrap_or(false) {
        tracing::warn!("the last spans could not be exported in time: they are dropped");
    }
}

/// A delivery that was acknowledged.
#[derive(Debug)]
pub struct Delivery<'d> {
    /// The endpoint's name.
    pub endpoint: &'d str,
    /// The event.
    pub recorded: Recorded,
    /// `accepted` or `duplicate`.
    pub result: &'static str,
    /// The length of the body, in bytes.
    pub bytes: usize,
    /// The time from the head of the request to the answer.
    pub duration: Duration,
    /// The last part of that time: the wait for the commit.
    pub commit: Duration,
}

/// An attempt that has ended.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The span, as it was sent to the target.
    pub context: TraceParent,
    /// The event.
    pub event: EventId,
    /// The sink's name.
    pub sink: &'a str,
    /// The sink's `type`.
    pub kind: &'static str,
    /// The dispatch.
    pub dispatch: i64,
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// Why the dispatch exists.
    pub trigger: &'static str,
    /// The outcome.
    pub outcome: &'static str,
    /// Whether the target has the event now.
    pub is_delivered: bool,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// How long the attempt took.
    pub duration: Duration,
}

impl Traces {
    fn is_sampled(&self, event: EventId) -> bool {
        match self.sampling {
            Sampling::All => true,
            Sampling::None => false,
            Sampling::Below(point) => sampling_point(event) < point,
        }
    }

    /// Records a delivery that has just ended. The first delivery of an event is the root of its trace; repeated deliveries
    /// are its children.
    pub fn delivery(&self, delivery: &Delivery<'_>) {
        let event = delivery.recorded.id;
        if !self.is_sampled(event) {
            return;
        }
        let ended_at = clock::now();
        let first = SpanId::of_delivery(event);
        let (id, parent) = if delivery.recorded.duplicate { (SpanId::generate(), Some(first)) } else { (first, None) };
        let trace = TraceId::from(event);
        self.exporter.send(Span {
            trace,
            id: SpanId::generate(),
            parent: Some(id),
            name: "commit",
            kind: Kind::Internal,
            started_at: before(ended_at, delivery.commit),
            ended_at,
            attributes: Vec::new(),
            failed: None,
        });
        self.exporter.send(Span {
            trace,
            id,
            parent,
            name: "delivery",
            kind: Kind::Server,
            started_at: before(ended_at, delivery.duration),
            ended_at,
            attributes: vec![
                ("endpoint.name", Value::Text(delivery.endpoint.to_owned())),
                ("event.id", Value::Text(event.to_string())),
                ("result", Value::Word(delivery.result)),
                ("bytes", Value::number(delivery.bytes)),
            ],
            failed: None,
        });
    }

    /// The trace context that an attempt sends to its target.
    pub fn attempt_begins(&self, event: EventId) -> TraceParent {
        TraceParent { trace: event.into(), span: SpanId::generate(), is_sampled: self.is_sampled(event) }
    }

    /// Records an attempt that has ended.
    pub fn attempt(&self, attempt: &Attempt<'_>) {
        if !attempt.context.is_sampled {
            return;
        }
        self.exporter.send(Span {
            trace: attempt.context.trace,
            id: attempt.context.span,
            parent: Some(SpanId::of_delivery(attempt.event)),
            name: "attempt",
            kind: Kind::Client,
            started_at: attempt.started_at,
            ended_at: attempt.started_at.saturating_add(attempt.duration).unwrap_or(attempt.started_at),
            attributes: vec![
                ("sink.name", Value::Text(attempt.sink.to_owned())),
                ("sink.type", Value::Word(attempt.kind)),
                ("event.id", Value::Text(attempt.event.to_string())),
                ("dispatch.id", Value::Number(attempt.dispatch)),
                ("attempt.number", Value::Number(attempt.number.into())),
                ("trigger", Value::Word(attempt.trigger)),
                ("outcome", Value::Word(attempt.outcome)),
            ],
            failed: (!attempt.is_delivered).then_some(attempt.outcome),
        });
    }
}

fn before(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_sub(duration).unwrap_or(time)
}

/// A span that has ended.
#[derive(Debug)]
#[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "it is not used in this build"))]
struct Span {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    name: &'static str,
    kind: Kind,
    started_at: Timestamp,
    ended_at: Timestamp,
    attributes: Vec<(&'static str, Value)>,
    /// The word for its failure.
    failed: Option<&'static str>,
}

/// The side of a call that a span describes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Server,
    Internal,
    Client,
}

#[derive(Debug)]
#[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "it is not used in this build"))]
enum Value {
    Text(String),
    Word(&'static str),
    Number(i64),
}

impl Value {
    fn number(count: usize) -> Self {
        Self::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Option<Settings>, Vec<(&'static str, String)>> {
        Settings::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn endpoint_of(variables: &[(&str, &str)]) -> String {
        settings(variables).unwrap().unwrap().endpoint.to_string()
    }

    #[test]
    fn traces_are_off_unless_an_endpoint_is_set() {
        assert_eq!(settings(&[]), Ok(None));
        assert_eq!(settings(&[(SERVICE_NAME, "relay"), (SAMPLER, "nonsense")]), Ok(None));
        let disabled = [("OTEL_SDK_DISABLED", "True"), (COMMON_ENDPOINT, "http://c:4318")];
        assert_eq!(settings(&disabled), Ok(None));
    }

    #[test]
    fn the_common_endpoint_gets_a_path_and_the_own_one_none() {
        for given in ["http://c:4318", "http://c:4318/"] {
            assert_eq!(endpoint_of(&[(COMMON_ENDPOINT, given)]), "http://c:4318/v1/traces");
        }
        assert_eq!(endpoint_of(&[(COMMON_ENDPOINT, "https://c/otlp")]), "https://c/otlp/v1/traces");
        let both = [(COMMON_ENDPOINT, "http://c:4318"), (OWN_ENDPOINT, "https://t/in")];
        assert_eq!(endpoint_of(&both), "https://t/in");
    }

    #[test]
    fn what_cannot_be_used_is_said_together_without_the_address() {
        let wrong = settings(&[
            (OWN_ENDPOINT, "user:password@c"),
            (SAMPLER, "sometimes"),
            (COMMON_PROTOCOL, "grpc"),
            (OWN_PROTOCOL, "http/json"),
        ])
        .unwrap_err();
        let names: Vec<_> = wrong.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [OWN_ENDPOINT, SAMPLER, OWN_PROTOCOL]);
        assert!(!format!("{wrong:?}").contains("password"), "{wrong:?}");
        for arg in ["-0.1", "many", "NaN"] {
            let wrong = sampling(Some("traceidratio"), Some(arg)).unwrap_err();
            assert_eq!(wrong.0, SAMPLER_ARG, "{arg}");
        }
    }

    #[test]
    fn a_share_is_sampled() {
        let of = |sampler, arg| sampling(sampler, arg).unwrap();
        assert_eq!(of(None, None), Sampling::All);
        assert_eq!(of(Some("always_off"), None), Sampling::None);
        assert_eq!(of(Some("parentbased_traceidratio"), None), Sampling::All);
        assert_eq!(of(Some("traceidratio"), Some("0.5")), Sampling::Below(1 << 63));
        assert_eq!(of(Some("traceidratio"), Some("0")), Sampling::Below(0));
    }
}
