//! How long an event takes from our acknowledgement to its arrival at an HTTP sink, on an idle
//! system: one event at a time, the next only after the last has arrived.

use std::{fmt, time::Duration};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    client::{Connection, Target},
    deliveries::Deliveries,
    percentiles::{Latencies, Percentiles},
    sink::{Arrival, now_nanos},
};

/// The plan of a run.
pub(crate) struct Plan {
    /// The relay's endpoint.
    pub(crate) target: Target,
    /// Its webhook secret.
    pub(crate) secret: String,
    /// Our counting sink, to which the relay sends.
    pub(crate) sink: Target,
    /// How many events.
    pub(crate) count: u64,
    /// Between an arrival and the next event, so that the relay has nothing left to do.
    pub(crate) pause: Duration,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// How many events.
    pub(crate) count: u64,
    /// From acknowledgement to arrival. An event that arrived before its acknowledgement was read counts as 0.
    pub(crate) latency: Percentiles,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, from acknowledgement to arrival: {}", self.count, self.latency)
    }
}

/// The part of an acknowledgement that is needed.
#[derive(Deserialize)]
struct Acknowledgement {
    id: String,
}

/// Sends and waits, event by event.
///
/// # Errors
/// When an event is refused, or has not arrived when the sink loses patience.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures by the clock")]
pub(crate) async fn run(plan: Plan) -> anyhow::Result<Report> {
    let deliveries = Deliveries::new(&plan.secret, plan.count, Timestamp::now());
    let mut relay = Connection::open(&plan.target).await?;
    let mut sink = Connection::open(&plan.sink).await?;
    let mut latencies = Latencies::default();
    for number in 0..plan.count {
        tokio::time::sleep(plan.pause).await;
        let (status, body) = relay.deliver(deliveries.take(number)).await.context("the relay broke the connection")?;
        let acknowledged = now_nanos();
        ensure!(status.is_success(), "event {number} was answered {status}: {}", String::from_utf8_lossy(&body));
        let Acknowledgement { id } = serde_json::from_slice(&body)
            .context("the acknowledgement names no event id, so its arrival is unknown")?;
        let arrival: Arrival = sink
            .get(&format!("/arrivals/{id}"))
            .await
            .with_context(|| format!("event {number} ({id}) did not reach the sink"))?;
        latencies.record(Duration::from_nanos(arrival.nanos.saturating_sub(acknowledged)));
    }
    Ok(Report { count: plan.count, latency: latencies.percentiles() })
}
