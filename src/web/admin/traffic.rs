//! `GET /traffic`: how much was received and delivered in each of the last hours, for pictures.
//!
//! The numbers are counts that the service keeps anyway ([`crate::traffic`]). An answer reads a few rows for each hour, and
//! no event or dispatch. Every list of numbers has one for each hour of `hours`, in the same order.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{super::error::Problem, Admin, Params, auth::Caller, bad_parameter, not_found, store_problem};
use crate::model::{
    clock,
    traffic::{ACK_CLASSES, Line, What, hour_of, quantile_ms},
};

/// Without `hours`.
const HOURS: u32 = 24;
/// A week.
const MOST_HOURS: u32 = 168;

/// Which hours, and of what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TrafficQuery {
    /// How many hours, the running one included. Default: 24.
    #[param(minimum = 1, maximum = 168)]
    hours: Option<u32>,
    /// Only this endpoint, and no sink that is not named.
    endpoint: Option<String>,
    /// Only this sink, and no endpoint that is not named.
    sink: Option<String>,
}

/// What was received and delivered in each hour.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// The beginnings of the hours, oldest first. The last hour is still running, and its numbers are about a minute old.
    pub(crate) hours: Vec<Timestamp>,
    /// The endpoints by name: the configured ones, and others that have numbers in these hours.
    pub(crate) endpoints: Vec<EndpointTraffic>,
    /// The sinks by name: the configured ones, and others that have numbers in these hours.
    pub(crate) sinks: Vec<SinkTraffic>,
    /// How long acknowledgements took, for all endpoints together; null for a token that is limited to endpoints.
    #[schema(required)]
    pub(crate) acknowledgement: Option<AckTraffic>,
}

/// Deliveries to one endpoint, hour by hour.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndpointTraffic {
    /// The name of the endpoint.
    pub(crate) name: String,
    /// New events.
    pub(crate) accepted: Vec<u64>,
    /// Deliveries of events that were known.
    pub(crate) duplicates: Vec<u64>,
    /// Deliveries that were not acknowledged, for whatever reason.
    pub(crate) refused: Vec<u64>,
}

/// Attempts of one sink, hour by hour.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SinkTraffic {
    /// The name of the sink.
    pub(crate) name: String,
    /// Attempts that have delivered.
    pub(crate) delivered: Vec<u64>,
    /// Attempts that have failed and are repeated.
    pub(crate) retried: Vec<u64>,
    /// Attempts after which the dispatch was given up.
    pub(crate) dead: Vec<u64>,
    /// Attempts after which the dispatch waits for a person.
    pub(crate) held: Vec<u64>,
    /// The most pending and leased dispatches that were seen, once a minute; null where nobody has looked, because the
    /// service did not run.
    pub(crate) backlog: Vec<Option<u64>>,
}

/// How long acknowledgements took, hour by hour.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AckTraffic {
    /// How many deliveries were acknowledged.
    pub(crate) count: Vec<u64>,
    /// The milliseconds that half of them did not exceed, estimated; null without any.
    pub(crate) p50_ms: Vec<Option<f64>>,
    /// The milliseconds that 99 of 100 did not exceed, estimated and at most 5000; null without any.
    pub(crate) p99_ms: Vec<Option<f64>>,
}

impl EndpointTraffic {
    fn empty(name: &str, hours: usize) -> Self {
        let zeros = || vec![0; hours];
        Self { name: name.to_owned(), accepted: zeros(), duplicates: zeros(), refused: zeros() }
    }
}

impl SinkTraffic {
    fn empty(name: &str, hours: usize) -> Self {
        let zeros = || vec![0; hours];
        Self {
            name: name.to_owned(),
            delivered: zeros(),
            retried: zeros(),
            dead: zeros(),
            held: zeros(),
            backlog: vec![None; hours],
        }
    }

    fn has_numbers(&self) -> bool {
        let counts = [&self.delivered, &self.retried, &self.dead, &self.held];
        counts.into_iter().flatten().chain(self.backlog.iter().flatten()).any(|count| *count > 0)
    }
}

/// Shows how much was received and delivered in each of the last hours, for pictures.
///
/// Counts are kept for eight days. A process that is killed loses those of its last minute, so they are no accounts: the
/// lists of events and dispatches are.
#[utoipa::path(
    get,
    path = "/traffic",
    operation_id = "show_traffic",
    tag = "service",
    params(TrafficQuery),
    responses(
        (status = 200, description = "The numbers of each hour", body = Traffic),
        (status = 404, description = "There is no endpoint or sink with this name: `not_found`."),
    )
)]
pub async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<TrafficQuery>,
) -> Result<Json<Traffic>, Problem> {
    let count = match query.hours {
        None => HOURS,
        Some(hours @ 1..=MOST_HOURS) => hours,
        Some(other) => return Err(bad_parameter(format!("`hours` is {other}; it must be 1 to {MOST_HOURS}."))),
    };
    let last = hour_of(clock::now());
    let hours: Vec<Timestamp> =
        (0..count).rev().filter_map(|ago| last.checked_sub(Duration::from_hours(1) * ago).ok()).collect();
    let lines = admin.store.traffic(hours.first().copied().unwrap_or(last), last).await.map_err(store_problem)?;

    let endpoints = admin.meters.iter().map(|(name, _)| name.as_str());
    let sinks = admin.sinks.iter().map(|view| view.name.as_str());
    let mut traffic = draw(hours, lines, endpoints, sinks);
    traffic.endpoints.retain(|endpoint| caller.scope.has(&endpoint.name));
    traffic.sinks.retain(|sink| admin.reach.shows(&caller.scope, &sink.name));
    if caller.scope.is_limited() {
        traffic.acknowledgement = None;
    }
    if query.endpoint.is_some() || query.sink.is_some() {
        traffic.endpoints.retain(|endpoint| Some(&endpoint.name) == query.endpoint.as_ref());
        traffic.sinks.retain(|sink| Some(&sink.name) == query.sink.as_ref());
        if query.endpoint.is_some() && traffic.endpoints.is_empty() {
            return Err(not_found("endpoint with this name"));
        }
        if query.sink.is_some() && traffic.sinks.is_empty() {
            return Err(not_found("sink with this name"));
        }
    }
    Ok(Json(traffic))
}

/// Sorts the counts by their names and hours.
fn draw<'a>(
    hours: Vec<Timestamp>,
    lines: Vec<Line>,
    endpoints: impl Iterator<Item = &'a str>,
    sinks: impl Iterator<Item = &'a str>,
) -> Traffic {
    let count = hours.len();
    let places: HashMap<Timestamp, usize> = hours.iter().enumerate().map(|(place, hour)| (*hour, place)).collect();
    let mut endpoints: BTreeMap<String, EndpointTraffic> =
        endpoints.map(|name| (name.to_owned(), EndpointTraffic::empty(name, count))).collect();
    let mut sinks: BTreeMap<String, SinkTraffic> =
        sinks.map(|name| (name.to_owned(), SinkTraffic::empty(name, count))).collect();
    let configured: Vec<String> = sinks.keys().cloned().collect();
    let mut acks = vec![[0_u64; ACK_CLASSES]; count];
    for line in lines {
        let Some(&place) = places.get(&line.hour) else { continue };
        let (name, n) = (line.name, line.count);
        match line.what {
            What::Accepted => endpoint(&mut endpoints, name, count).accepted[place] = n,
            What::Duplicate => endpoint(&mut endpoints, name, count).duplicates[place] = n,
            What::Refused => endpoint(&mut endpoints, name, count).refused[place] = n,
            What::Delivered => sink(&mut sinks, name, count).delivered[place] = n,
            What::Retried => sink(&mut sinks, name, count).retried[place] = n,
            What::Dead => sink(&mut sinks, name, count).dead[place] = n,
            What::Held => sink(&mut sinks, name, count).held[place] = n,
            What::Backlog => sink(&mut sinks, name, count).backlog[place] = Some(n),
            What::Ack(class) => acks[place][class] = n,
        }
    }
    // The backlog of a sink that was removed is noted as well.
    sinks.retain(|name, sink| configured.contains(name) || sink.has_numbers());
    Traffic {
        hours,
        endpoints: endpoints.into_values().collect(),
        sinks: sinks.into_values().collect(),
        acknowledgement: Some(AckTraffic {
            count: acks
                .iter()
                .map(|classes| classes.iter().fold(0, |sum: u64, count| sum.saturating_add(*count)))
                .collect(),
            p50_ms: acks.iter().map(|classes| quantile_ms(classes, 0.5)).collect(),
            p99_ms: acks.iter().map(|classes| quantile_ms(classes, 0.99)).collect(),
        }),
    }
}

fn endpoint(all: &mut BTreeMap<String, EndpointTraffic>, name: String, hours: usize) -> &mut EndpointTraffic {
    all.entry(name).or_insert_with_key(|name| EndpointTraffic::empty(name, hours))
}

fn sink(all: &mut BTreeMap<String, SinkTraffic>, name: String, hours: usize) -> &mut SinkTraffic {
    all.entry(name).or_insert_with_key(|name| SinkTraffic::empty(name, hours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(number: u32) -> Timestamp {
        format!("2026-11-28T{number:02}:00:00Z").parse().unwrap()
    }

    #[test]
    fn every_count_stands_in_its_hour_and_the_rest_is_zero_or_unknown() {
        let line =
            |at: u32, what: What, name: &str, count: u64| Line { hour: hour(at), what, name: name.into(), count };
        let lines = vec![
            line(3, What::Accepted, "main", 5),
            line(4, What::Refused, "gone", 2),
            line(4, What::Backlog, "erp", 0),
            line(4, What::Held, "erp", 1),
            line(4, What::Backlog, "removed", 0),
            line(4, What::Backlog, "removed, with work", 1),
            line(5, What::Ack(2), "", 10),
            // Not asked for, by a clock between.
            line(6, What::Accepted, "main", 9),
        ];
        let traffic = draw(vec![hour(3), hour(4), hour(5)], lines, ["main"].into_iter(), ["erp", "books"].into_iter());
        let names = |names: Vec<&str>| names.join(" ");
        assert_eq!(names(traffic.endpoints.iter().map(|one| one.name.as_str()).collect()), "gone main");
        assert_eq!(names(traffic.sinks.iter().map(|one| one.name.as_str()).collect()), "books erp removed, with work");
        assert_eq!(traffic.endpoints[1].accepted, [5, 0, 0]);
        assert_eq!(traffic.endpoints[0].refused, [0, 2, 0]);
        assert_eq!(traffic.sinks[1].backlog, [None, Some(0), None]);
        assert_eq!((&traffic.sinks[1].held[..], &traffic.sinks[0].held[..]), (&[0, 1, 0][..], &[0, 0, 0][..]));
        let acks = traffic.acknowledgement.unwrap();
        assert_eq!((&acks.count[..], &acks.p50_ms[..]), (&[0, 0, 10][..], &[None, None, Some(3.5)][..]));
    }
}
