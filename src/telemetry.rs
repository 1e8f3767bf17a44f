//! Logs, metrics and traces: their destinations and their names.
//!
//! Logs go to standard error, since standard output is for the `stdout` sink and for the answers of commands. A separate
//! thread writes them. If the pipe is not read, it drops lines rather than delay a delivery: a log must never decide whether
//! a payment is acknowledged.
//!
//! Names and labels of metrics are a contract with users. Labels come from closed sets (endpoints, sinks, states), never from
//! a sender's data.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

mod filter;

use crate::{
    model::{
        dispatch::{Next, Outcome},
        reconciliation::{DifferenceKind, Report},
        traffic::{self, ACK_CLASSES, Totals, What},
    },
    store::SinkStatus,
};

pub mod traces;

/// The most log lines that may wait; further lines are dropped.
const LOG_LINES: usize = 32_768;

/// The filter without `RUST_LOG`: the service's own lines, and warnings of the database driver.
const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// Starts logging as `RELAY_LOG_FORMAT` (`pretty`, `json`; default: pretty on a terminal) and
/// `RUST_LOG` (default `DEFAULT_FILTER`) say. Modules that `RUST_LOG` does not mention are logged as by
/// default, and directives that match nothing are reported. Keep the guard: dropping it writes the remaining lines.
///
/// # Errors
/// Each variable with an invalid value, and what is allowed.
pub fn init(format: Option<&str>, filter: Option<&str>) -> Result<WorkerGuard, Vec<(&'static str, String)>> {
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        Some("json") => Ok(true),
        Some("pretty") => Ok(false),
        None => Ok(!terminal),
        Some(other) => Err(("RELAY_LOG_FORMAT", format!("`{other}` is not one of `pretty`, `json`"))),
    };
    let (directives, unmatched) = filter.map_or_else(|| (DEFAULT_FILTER.to_owned(), Vec::new()), filter::understood);
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        ("RUST_LOG", format!("cannot be used ({error}): write, for example, `info` or `finkare_relay=debug`"))
    });
    let (json, filter) = match (json, filter) {
        (Ok(json), Ok(filter)) => (json, filter),
        (json, filter) => return Err(json.err().into_iter().chain(filter.err()).collect()),
    };
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LOG_LINES).finish(std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        lines.with_ansi(terminal).init();
    }
    JSON.store(json, std::sync::atomic::Ordering::Relaxed);
    for told in unmatched {
        tracing::warn!("RUST_LOG: {told}");
    }
    Ok(guard)
}

static JSON: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Writes the line with the addresses of the listeners, in the fields `public` and `admin`.
///
/// The text form shows fields in the line. In JSON the message repeats them, so that `listening public=… admin=…` can be
/// found in both forms.
pub fn announce_listening(public: std::net::SocketAddr, admin: std::net::SocketAddr) {
    if JSON.load(std::sync::atomic::Ordering::Relaxed) {
        tracing::info!(%public, %admin, "listening public={public} admin={admin}");
    } else {
        tracing::info!(%public, %admin, "listening");
    }
}

/// The result of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The event was stored.
    Accepted,
    /// The event was already known.
    Duplicate,
    /// 401
    BadSignature,
    /// 403
    TooOld,
    /// 413
    TooLarge,
    /// 408
    TooSlow,
    /// 503
    Unavailable,
}

impl DeliveryResult {
    const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Duplicate,
        Self::BadSignature,
        Self::TooOld,
        Self::TooLarge,
        Self::TooSlow,
        Self::Unavailable,
    ];

    /// The value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::BadSignature => "bad_signature",
            Self::TooOld => "too_old",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Unavailable => "unavailable",
        }
    }

    /// What is kept of it by the hour.
    const fn counts_as(self) -> What {
        match self {
            Self::Accepted => What::Accepted,
            Self::Duplicate => What::Duplicate,
            Self::BadSignature | Self::TooOld | Self::TooLarge | Self::TooSlow | Self::Unavailable => What::Refused,
        }
    }
}

/// The result of a change of an endpoint's secret at Finkare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationResult {
    /// A new secret at the first try.
    Rotated,
    /// An unfinished change was completed.
    Healed,
    /// Finkare has refused, and nothing has changed.
    Refused,
    /// It is not known whether Finkare has changed the secret; Finkare is asked again.
    Uncertain,
    /// A new webhook, with its first secret.
    Registered,
    /// Finkare is not asked again automatically: a person has to say which secret is right.
    Stopped,
    /// A person has said which secret is right.
    Settled,
}

impl RotationResult {
    const ALL: [Self; 7] =
        [Self::Rotated, Self::Healed, Self::Refused, Self::Uncertain, Self::Registered, Self::Stopped, Self::Settled];

    /// The value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Healed => "healed",
            Self::Refused => "refused",
            Self::Uncertain => "uncertain",
            Self::Registered => "registered",
            Self::Stopped => "stopped",
            Self::Settled => "settled",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndpointLabel {
    endpoint: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    endpoint: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    endpoint: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StrayLabels {
    signed: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DifferenceLabels {
    endpoint: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinkStateLabels {
    sink: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    sink: String,
    outcome: &'static str,
}

impl StrayLabels {
    const fn of(is_signed: bool) -> Self {
        Self { signed: if is_signed { "true" } else { "false" } }
    }
}

/// Acknowledgements take milliseconds; Finkare gives up after five seconds.
const ACK_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0];
/// Attempts use the network; the default time-out is ten seconds.
const ATTEMPT_BUCKETS: [f64; 11] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metrics of one service; a process can have several.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    deliveries: Family<ResultLabels, Counter>,
    ack_seconds: Family<EndpointLabel, Histogram>,
    refusals: Family<RefusalLabels, Counter>,
    unknown_paths: Family<StrayLabels, Counter>,
    last_delivery: Family<EndpointLabel, Gauge<f64, AtomicU64>>,
    silent: Family<EndpointLabel, Gauge>,
    attempts: Family<AttemptLabels, Counter>,
    attempt_seconds: Family<SinkLabel, Histogram>,
    dispatches: Family<SinkStateLabels, Gauge>,
    oldest_pending: Family<SinkLabel, Gauge<f64, AtomicU64>>,
    sink_state: Family<SinkStateLabels, Gauge>,
    rotations: Family<ResultLabels, Counter>,
    differences: Family<DifferenceLabels, Gauge>,
    reconciliation_age: Family<EndpointLabel, Gauge<f64, AtomicU64>>,
    /// What [`Metrics::traffic`] reads.
    known: Mutex<Known>,
    /// Acknowledgements of all endpoints by the class of their duration: the histograms cannot be read by the program.
    acks: Arc<[AtomicU64; ACK_CLASSES]>,
}

/// The endpoints and sinks that this process has had so far.
#[derive(Debug, Default)]
struct Known {
    endpoints: BTreeMap<String, EndpointMetrics>,
    sinks: BTreeMap<String, Arc<Ends>>,
}

/// What attempts of one sink have led to.
#[derive(Debug, Default)]
struct Ends([AtomicU64; Ends::ALL.len()]);

impl Ends {
    const ALL: [What; 4] = [What::Delivered, What::Retried, What::Dead, What::Held];
}

/// One endpoint's counters of changes at Finkare.
#[derive(Debug, Clone)]
pub struct RotationMetrics {
    results: [Counter; RotationResult::ALL.len()],
}

impl RotationMetrics {
    /// Counts the result of one try.
    pub fn observe(&self, result: RotationResult) {
        self.results[result as usize].inc();
    }
}

/// The counters of one endpoint, looked up once, so that a delivery needs no look-up.
#[derive(Debug, Clone)]
pub struct EndpointMetrics {
    results: [Counter; DeliveryResult::ALL.len()],
    ack_seconds: Histogram,
    acks: Arc<[AtomicU64; ACK_CLASSES]>,
}

impl EndpointMetrics {
    /// Counts a delivery and, if it was acknowledged, the time from its first byte to the answer.
    pub fn observe(&self, result: DeliveryResult, took: Duration) {
        self.results[result as usize].inc();
        if matches!(result, DeliveryResult::Accepted | DeliveryResult::Duplicate) {
            self.ack_seconds.observe(took.as_secs_f64());
            self.acks[traffic::class_of(took)].fetch_add(1, Relaxed);
        }
    }
}

/// One sink's counters.
#[derive(Debug, Clone)]
pub struct SinkMetrics {
    sink: String,
    attempts: Family<AttemptLabels, Counter>,
    attempt_seconds: Histogram,
    ends: Arc<Ends>,
}

impl SinkMetrics {
    /// Counts an attempt. `outcome` is [`crate::model::dispatch::Outcome::as_str`].
    pub fn observe(&self, outcome: &'static str, took: Duration) {
        self.attempts.get_or_create(&AttemptLabels { sink: self.sink.clone(), outcome }).inc();
        self.attempt_seconds.observe(took.as_secs_f64());
    }

    /// Counts what an attempt has led to, for [`Metrics::traffic`].
    pub fn ended(&self, outcome: &Outcome, next: &Next) {
        let end = What::of_attempt(outcome, next);
        if let Some(place) = end.and_then(|end| Ends::ALL.into_iter().position(|known| known == end)) {
            self.ends.0[place].fetch_add(1, Relaxed);
        }
    }
}

impl Metrics {
    /// A registry with every metric of the service.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            deliveries: Family::default(),
            ack_seconds: Family::new_with_constructor(|| Histogram::new(ACK_BUCKETS)),
            refusals: Family::default(),
            unknown_paths: Family::default(),
            last_delivery: Family::default(),
            silent: Family::default(),
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(|| Histogram::new(ATTEMPT_BUCKETS)),
            dispatches: Family::default(),
            oldest_pending: Family::default(),
            sink_state: Family::default(),
            rotations: Family::default(),
            differences: Family::default(),
            reconciliation_age: Family::default(),
            known: Mutex::default(),
            acks: Arc::default(),
            registry: Registry::default(),
        };
        registry.register("relay_deliveries", "Deliveries by result", metrics.deliveries.clone());
        registry.register(
            "relay_ack_seconds",
            "From a delivery's head to its acknowledgement",
            metrics.ack_seconds.clone(),
        );
        registry.register("relay_refusals", "Rejected deliveries by reason", metrics.refusals.clone());
        registry.register(
            "relay_unknown_paths",
            "Requests to unknown paths of the public listener; signed: with a signature header",
            metrics.unknown_paths.clone(),
        );
        for is_signed in [false, true] {
            drop(metrics.unknown_paths.get_or_create(&StrayLabels::of(is_signed)));
        }
        registry.register(
            "relay_last_delivery_timestamp_seconds",
            "Time of the last genuine delivery, in seconds since 1970",
            metrics.last_delivery.clone(),
        );
        registry.register(
            "relay_endpoint_silent",
            "1 while an endpoint has had no delivery for longer than its silence_alarm_hours",
            metrics.silent.clone(),
        );
        registry.register("relay_dispatches", "Dispatches by state", metrics.dispatches.clone());
        registry.register("relay_attempts", "Attempts by outcome", metrics.attempts.clone());
        registry.register("relay_attempt_seconds", "Duration of attempts", metrics.attempt_seconds.clone());
        registry.register(
            "relay_oldest_pending_seconds",
            "Age of the oldest unfinished dispatch that is not in its first attempt, 0 if there is none",
            metrics.oldest_pending.clone(),
        );
        registry.register("relay_sink_state", "1 for the current state of the sink", metrics.sink_state.clone());
        registry.register(
            "relay_rotations",
            "Changes of an endpoint's secret at Finkare by result",
            metrics.rotations.clone(),
        );
        registry.register(
            "relay_reconciliation_differences",
            "Differences that the last reconciliation with Finkare has found, by kind",
            metrics.differences.clone(),
        );
        registry.register(
            "relay_reconciliation_age_seconds",
            "Time since the last reconciliation with Finkare was done",
            metrics.reconciliation_age.clone(),
        );
        registry.register(
            "relay_build",
            "The running version",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self { registry, ..metrics }
    }

    /// The counters of an endpoint; every result is shown from the start, with zero.
    pub fn endpoint(&self, endpoint: &str) -> EndpointMetrics {
        let counter = |result: DeliveryResult| {
            let labels = ResultLabels { endpoint: endpoint.to_owned(), result: result.as_str() };
            self.deliveries.get_or_create(&labels).clone()
        };
        let metrics = EndpointMetrics {
            results: DeliveryResult::ALL.map(counter),
            ack_seconds: self.ack_seconds.get_or_create(&EndpointLabel { endpoint: endpoint.to_owned() }).clone(),
            acks: self.acks.clone(),
        };
        self.known().endpoints.insert(endpoint.to_owned(), metrics.clone());
        metrics
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process has counted since its start of what is kept by the hour ([`crate::model::traffic`]). The names are
    /// those of endpoints and sinks that were configured meanwhile.
    pub fn traffic(&self) -> Totals {
        let known = self.known();
        let received = known.endpoints.iter().flat_map(|(name, metrics)| {
            DeliveryResult::ALL.map(|result| (result.counts_as(), name.clone(), metrics.results[result as usize].get()))
        });
        let relayed = known.sinks.iter().flat_map(|(name, ends)| {
            let end = |(what, count): (What, &AtomicU64)| (what, name.clone(), count.load(Relaxed));
            Ends::ALL.into_iter().zip(&ends.0).map(end)
        });
        let acks = self.acks.iter().enumerate();
        let acknowledged = acks.map(|(class, count)| (What::Ack(class), String::new(), count.load(Relaxed)));
        let mut totals = Totals::new();
        for (what, name, count) in received.chain(relayed).chain(acknowledged) {
            *totals.entry((what, name)).or_default() += count;
        }
        totals
    }

    /// The counters of an endpoint's changes at Finkare; every result is shown from the start, with zero.
    pub fn rotations(&self, endpoint: &str) -> RotationMetrics {
        let counter = |result: RotationResult| {
            let labels = ResultLabels { endpoint: endpoint.to_owned(), result: result.as_str() };
            self.rotations.get_or_create(&labels).clone()
        };
        RotationMetrics { results: RotationResult::ALL.map(counter) }
    }

    /// Shows every reason for a rejection from the start, with zero: Prometheus sees no increase of a counter that first
    /// appears with 1.
    pub fn refusals(&self, endpoint: &str, reasons: impl Iterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.refusals.get_or_create(&RefusalLabels { endpoint: endpoint.to_owned(), reason }));
        }
    }

    /// Counts a rejection by its reason: [`crate::ingest::explain::Reason::as_str`].
    pub fn refused(&self, endpoint: &str, reason: &'static str) {
        self.refusals.get_or_create(&RefusalLabels { endpoint: endpoint.to_owned(), reason }).inc();
    }

    /// Counts a request to an unknown path.
    pub fn strayed(&self, is_signed: bool) {
        self.unknown_paths.get_or_create(&StrayLabels::of(is_signed)).inc();
    }

    /// Shows the time of the last genuine delivery.
    pub fn set_last_delivery(&self, endpoint: &str, at: jiff::Timestamp) {
        let label = EndpointLabel { endpoint: endpoint.to_owned() };
        self.last_delivery.get_or_create(&label).set(at.as_duration().as_secs_f64());
    }

    /// Shows whether an endpoint that is watched is silent.
    pub fn set_silent(&self, endpoint: &str, is_silent: bool) {
        let label = EndpointLabel { endpoint: endpoint.to_owned() };
        self.silent.get_or_create(&label).set(i64::from(is_silent));
    }

    /// The counters of a sink; every outcome is shown from the start, with zero.
    pub fn sink(&self, sink: &str) -> SinkMetrics {
        for outcome in Outcome::WORDS {
            drop(self.attempts.get_or_create(&AttemptLabels { sink: sink.to_owned(), outcome }));
        }
        SinkMetrics {
            sink: sink.to_owned(),
            attempts: self.attempts.clone(),
            attempt_seconds: self.attempt_seconds.get_or_create(&SinkLabel { sink: sink.to_owned() }).clone(),
            ends: self.known().sinks.entry(sink.to_owned()).or_default().clone(),
        }
    }

    /// Shows the state of a sink, as the store and the workers know it. `state` is `active`,
    /// `paused`, `tripped` or `not_configured`.
    pub fn set_sink(&self, status: &SinkStatus, state: &str, now: jiff::Timestamp) {
        let counts = [
            ("pending", status.pending),
            ("leased", status.leased),
            ("held", status.held),
            ("dead", status.dead),
            ("delivered", status.delivered),
        ];
        for (name, count) in counts {
            let labels = SinkStateLabels { sink: status.name.clone(), state: name };
            self.dispatches.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let age = status.oldest_pending.map_or(Duration::ZERO, |oldest| crate::model::clock::since(oldest, now));
        self.oldest_pending.get_or_create(&SinkLabel { sink: status.name.clone() }).set(age.as_secs_f64());
        for name in ["active", "paused", "tripped", "not_configured"] {
            let labels = SinkStateLabels { sink: status.name.clone(), state: name };
            self.sink_state.get_or_create(&labels).set(i64::from(name == state));
        }
    }

    /// Shows the last reconciliation of an endpoint.
    pub fn set_reconciliation(&self, report: &Report, now: jiff::Timestamp) {
        let endpoint = || report.asked.endpoint.clone();
        for kind in DifferenceKind::ALL {
            let count = report.counts.get(kind).copied().unwrap_or_default();
            let labels = DifferenceLabels { endpoint: endpoint(), kind: kind.as_str() };
            self.differences.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if let Some(finished_at) = report.finished_at {
            let age = crate::model::clock::since(finished_at, now);
            self.reconciliation_age.get_or_create(&EndpointLabel { endpoint: endpoint() }).set(age.as_secs_f64());
        }
    }

    /// The `OpenMetrics` text (`application/openmetrics-text; version=1.0.0; charset=utf-8`).
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Metrics are shared by everything that counts.
pub type SharedMetrics = Arc<Metrics>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_names_are_there() {
        let metrics = Metrics::new();
        metrics.endpoint("production").observe(DeliveryResult::Accepted, Duration::from_millis(3));
        metrics.rotations("production").observe(RotationResult::Healed);
        metrics.refusals("production", ["body_changed", "too_old"].into_iter());
        metrics.refused("production", "body_changed");
        metrics.strayed(true);
        metrics.set_silent("production", true);
        metrics.set_last_delivery("production", jiff::Timestamp::from_millisecond(1500).unwrap());
        metrics.sink("erp").observe("delivered", Duration::from_millis(3));
        metrics.set_sink(
            &SinkStatus { name: "erp".into(), dead: 2, ..Default::default() },
            "active",
            jiff::Timestamp::UNIX_EPOCH,
        );
        let text = metrics.render();
        for line in [
            r#"relay_deliveries_total{endpoint="production",result="accepted"} 1"#,
            r#"relay_deliveries_total{endpoint="production",result="bad_signature"} 0"#,
            r#"relay_rotations_total{endpoint="production",result="healed"} 1"#,
            r#"relay_rotations_total{endpoint="production",result="rotated"} 0"#,
            r#"relay_ack_seconds_count{endpoint="production"} 1"#,
            r#"relay_refusals_total{endpoint="production",reason="body_changed"} 1"#,
            r#"relay_refusals_total{endpoint="production",reason="too_old"} 0"#,
            r#"relay_unknown_paths_total{signed="true"} 1"#,
            r#"relay_unknown_paths_total{signed="false"} 0"#,
            r#"relay_endpoint_silent{endpoint="production"} 1"#,
            r#"relay_last_delivery_timestamp_seconds{endpoint="production"} 1.5"#,
            r#"relay_dispatches{sink="erp",state="dead"} 2"#,
            r#"relay_attempts_total{sink="erp",outcome="delivered"} 1"#,
            r#"relay_attempts_total{sink="erp",outcome="rejected"} 0"#,
            r#"relay_attempt_seconds_count{sink="erp"} 1"#,
            r#"relay_oldest_pending_seconds{sink="erp"} 0"#,
            r#"relay_sink_state{sink="erp",state="active"} 1"#,
            concat!(r#"relay_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn what_is_kept_by_the_hour_is_read_from_the_counters_also_after_a_reload() {
        let metrics = Metrics::new();
        let (before, after) = (metrics.endpoint("production"), metrics.endpoint("production"));
        before.observe(DeliveryResult::Accepted, Duration::from_millis(3));
        after.observe(DeliveryResult::Duplicate, Duration::from_secs(9));
        before.observe(DeliveryResult::TooOld, Duration::from_secs(9));
        after.observe(DeliveryResult::Unavailable, Duration::from_secs(9));
        let (old, new) = (metrics.sink("erp"), metrics.sink("erp"));
        old.ended(&Outcome::Delivered, &Next::Delivered);
        new.ended(&Outcome::Delivered, &Next::Delivered);
        new.ended(&Outcome::Rejected { reason: String::new() }, &Next::Dead);
        metrics.strayed(true);
        let mut totals = metrics.traffic();
        totals.retain(|_, count| *count > 0);
        let of = |what: What, name: &str, count: u64| ((what, name.to_owned()), count);
        let expected = [
            of(What::Accepted, "production", 1),
            of(What::Duplicate, "production", 1),
            of(What::Refused, "production", 2),
            of(What::Delivered, "erp", 2),
            of(What::Dead, "erp", 1),
            of(What::Ack(2), "", 1),
            of(What::Ack(12), "", 1),
        ];
        assert_eq!(totals, expected.into_iter().collect());
    }
}
