//! The pictures: deliveries, outcomes, backlog and acknowledgements of the last day and week, from the counters that the
//! service keeps. Each picture says its numbers as text, too.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{
    api::query,
    chart::{self, Axes, Bars, Line, Size, Tick, Words},
    texts::fill,
    visit::Visit,
};
use crate::web::{
    admin::traffic::{EndpointTraffic, SinkTraffic, Traffic},
    error::Problem,
};

/// The size of each picture.
const SIZE: Size = Size { width: 620, height: 170 };

/// A chart with its caption and legend.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) caption: String,
    pub(super) svg: String,
    pub(super) legend: Vec<(&'static str, String)>,
    /// The numbers, as rows of a table.
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A number, and what it counts.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) number: String,
    pub(super) text: String,
}

/// One kind of count, hour by hour.
struct Series<'a> {
    class: &'static str,
    name: &'static str,
    counts: &'a [u64],
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Adds up several lists, hour by hour.
fn together<'a>(lists: impl Iterator<Item = &'a Vec<u64>>, hours: usize) -> Vec<u64> {
    let mut all = vec![0_u64; hours];
    for list in lists {
        for (sum, count) in all.iter_mut().zip(list) {
            *sum = sum.saturating_add(*count);
        }
    }
    all
}

/// The labels below: every sixth hour of a day, every midnight of a week.
fn ticks(visit: &Visit, hours: &[Timestamp]) -> Vec<(usize, String)> {
    let zone = visit.zone(None);
    let is_day = hours.len() <= 48;
    let label = |(at, hour): (usize, &Timestamp)| {
        let local = hour.to_zoned(zone.clone());
        if is_day {
            (local.hour() % 6 == 0).then(|| (at, format!("{:02}:00", local.hour())))
        } else {
            (local.hour() == 0).then(|| (at, format!("{:02}/{:02}", local.day(), local.month())))
        }
    };
    hours.iter().enumerate().filter_map(label).collect()
}

fn axis_value(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value if value.fract() == 0.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

/// The hours of a table, as the reader's clock shows them: six hours of a day in a row, a day of a week.
fn rows(visit: &Visit, hours: &[Timestamp], series: &[Series<'_>]) -> Vec<Vec<String>> {
    let (zone, step) = (visit.zone(None), if hours.len() <= 48 { 6 } else { 24 });
    let part = |from: usize| {
        let to = (from + step).min(hours.len());
        let local = hours[from].to_zoned(zone.clone());
        let label = format!("{:02}/{:02} {:02}:00", local.day(), local.month(), local.hour());
        let numbers = series.iter().map(|one| visit.t.number(sum(one.counts.get(from..to).unwrap_or_default())));
        std::iter::once(label).chain(numbers).collect()
    };
    (0..hours.len()).step_by(step).map(part).collect()
}

fn bars(visit: &Visit, id: &str, caption: String, hours: &[Timestamp], series: &[Series<'_>]) -> Picture {
    let t = visit.t;
    let total: Vec<String> = series.iter().map(|one| format!("{} {}", t.number(sum(one.counts)), one.name)).collect();
    let description = total.join(", ");
    let ticks = ticks(visit, hours);
    let ticks: Vec<Tick<'_>> = ticks.iter().map(|(at, text)| Tick { at: *at, text }).collect();
    let drawn: Vec<Bars<'_>> = series.iter().map(|one| Bars { class: one.class, counts: one.counts }).collect();
    let axes = Axes { ticks: &ticks, value: &axis_value };
    let svg = chart::bars(Words { id, title: &caption, description: &description }, SIZE, &drawn, axes);
    let legend = series.iter().map(|one| (one.class, format!("{}{} {}", one.name, t.colon, t.number(sum(one.counts)))));
    Picture {
        legend: legend.collect(),
        head: std::iter::once(t.from_hour).chain(series.iter().map(|one| one.name)).collect(),
        rows: rows(visit, hours, series),
        caption,
        svg,
    }
}

fn line(
    visit: &Visit,
    id: &str,
    caption: String,
    hours: &[Timestamp],
    series: &[(&'static str, String, &[Option<f64>])],
) -> Picture {
    let ticks = ticks(visit, hours);
    let ticks: Vec<Tick<'_>> = ticks.iter().map(|(at, text)| Tick { at: *at, text }).collect();
    let lines: Vec<Line<'_>> =
        series.iter().enumerate().map(|(index, (class, _, values))| Line { class, values, area: index == 0 }).collect();
    let said: Vec<&str> = series.iter().map(|(_, said, _)| said.as_str()).collect();
    let axes = Axes { ticks: &ticks, value: &axis_value };
    let words = Words { id, title: &caption, description: &said.join(", ") };
    let svg = chart::lines(words, SIZE, &lines, axes);
    let legend = series.iter().map(|(class, said, _)| (*class, said.clone())).collect();
    Picture { caption, svg, legend, head: Vec::new(), rows: Vec::new() }
}

fn received(visit: &Visit, id: &str, hours: &[Timestamp], of: &[&EndpointTraffic]) -> Picture {
    let t = visit.t;
    let accepted = together(of.iter().map(|one| &one.accepted), hours.len());
    let duplicates = together(of.iter().map(|one| &one.duplicates), hours.len());
    let refused = together(of.iter().map(|one| &one.refused), hours.len());
    let series = [
        Series { class: "c-ok", name: t.series_accepted, counts: &accepted },
        Series { class: "c-retry", name: t.series_duplicates, counts: &duplicates },
        Series { class: "c-bad", name: t.series_refused, counts: &refused },
    ];
    bars(visit, id, period(visit, t.chart_received, hours), hours, &series)
}

fn sent(visit: &Visit, id: &str, hours: &[Timestamp], of: &[&SinkTraffic]) -> Picture {
    let t = visit.t;
    let delivered = together(of.iter().map(|one| &one.delivered), hours.len());
    let retried = together(of.iter().map(|one| &one.retried), hours.len());
    let held = together(of.iter().map(|one| &one.held), hours.len());
    let dead = together(of.iter().map(|one| &one.dead), hours.len());
    let series = [
        Series { class: "c-ok", name: t.series_delivered, counts: &delivered },
        Series { class: "c-retry", name: t.series_retried, counts: &retried },
        Series { class: "c-held", name: t.series_held, counts: &held },
        Series { class: "c-bad", name: t.series_dead, counts: &dead },
    ];
    bars(visit, id, period(visit, t.chart_sent, hours), hours, &series)
}

#[expect(clippy::cast_precision_loss, reason = "a picture of a backlog needs no last digit")]
fn backlog(visit: &Visit, id: &str, hours: &[Timestamp], of: &[&SinkTraffic]) -> Picture {
    let t = visit.t;
    let at = |hour: usize| {
        let seen: Vec<u64> = of.iter().filter_map(|sink| *sink.backlog.get(hour)?).collect();
        (!seen.is_empty()).then(|| sum(&seen))
    };
    let counts: Vec<Option<u64>> = (0..hours.len()).map(at).collect();
    let most = counts.iter().flatten().max().copied().unwrap_or_default();
    let values: Vec<Option<f64>> = counts.iter().map(|count| count.map(|count| count as f64)).collect();
    let said = fill(t.backlog_most, &[("n", &t.number(most))]);
    line(visit, id, period(visit, t.chart_backlog, hours), hours, &[("c-line", said, &values)])
}

/// `Received, last 24 hours`
fn period(visit: &Visit, what: &str, hours: &[Timestamp]) -> String {
    format!("{what} · {}", if hours.len() <= 48 { visit.t.last_day } else { visit.t.last_week })
}

async fn traffic(visit: &Visit, hours: &str, endpoint: &str, sink: &str) -> Result<Traffic, Problem> {
    let path = query(&[("hours", hours), ("endpoint", endpoint), ("sink", sink)]);
    visit.api.get(&format!("/traffic{path}")).await
}

/// The figures of the last day, and its pictures.
pub(super) async fn today(visit: &Visit) -> Result<(Vec<Figure>, Vec<Picture>), Problem> {
    let t = visit.t;
    let day = traffic(visit, "24", "", "").await?;
    let endpoints: Vec<&EndpointTraffic> = day.endpoints.iter().collect();
    let sinks: Vec<&SinkTraffic> = day.sinks.iter().collect();
    let of_endpoints =
        |list: fn(&EndpointTraffic) -> &Vec<u64>| endpoints.iter().map(|one| sum(list(one))).sum::<u64>();
    let of_sinks = |list: fn(&SinkTraffic) -> &Vec<u64>| sinks.iter().map(|one| sum(list(one))).sum::<u64>();
    let figure = |n: u64, text: &'static str| Figure { number: t.number(n), text: text.to_owned() };
    let figures = vec![
        figure(of_endpoints(|one| &one.accepted), t.figure_received),
        figure(of_endpoints(|one| &one.refused), t.figure_refused),
        figure(of_sinks(|one| &one.delivered), t.figure_delivered),
        figure(of_sinks(|one| &one.held), t.figure_held),
        figure(of_sinks(|one| &one.dead), t.figure_dead),
    ];
    let mut pictures = vec![
        received(visit, "received", &day.hours, &endpoints),
        sent(visit, "sent", &day.hours, &sinks),
        backlog(visit, "backlog", &day.hours, &sinks),
    ];
    if let Some(acknowledgement) = &day.acknowledgement {
        let last = |values: &[Option<f64>]| {
            let slowest = values
                .iter()
                .flatten()
                .copied()
                .fold(None, |most: Option<f64>, value| Some(most.map_or(value, |most| most.max(value))));
            slowest.map_or_else(|| "–".to_owned(), super::dispatches::duration)
        };
        let half = fill(t.ack_half, &[("time", &last(&acknowledgement.p50_ms))]);
        let nearly_all = fill(t.ack_most, &[("time", &last(&acknowledgement.p99_ms))]);
        let series = [
            ("c-line", half, acknowledgement.p50_ms.as_slice()),
            ("c-line second", nearly_all, acknowledgement.p99_ms.as_slice()),
        ];
        pictures.push(line(visit, "acknowledged", period(visit, t.chart_ack, &day.hours), &day.hours, &series));
    }
    Ok((figures, pictures))
}

/// What each sink was given in the last day, as a small picture for a row of a table.
pub(super) async fn sparks(visit: &Visit) -> Result<HashMap<String, String>, Problem> {
    let t = visit.t;
    let day = traffic(visit, "24", "", "").await?;
    let draw = |(index, sink): (usize, SinkTraffic)| {
        let description = fill(t.spark_says, &[("n", &t.number(sum(&sink.delivered)))]);
        let id = format!("spark-{index}");
        let words = Words { id: &id, title: t.figure_delivered_day, description: &description };
        let svg = chart::spark(words, Size { width: 120, height: 24 }, "c-line", &sink.delivered);
        (sink.name, svg)
    };
    Ok(day.sinks.into_iter().enumerate().map(draw).collect())
}

/// The pictures of a sink: a day and a week.
pub(super) async fn of_sink(visit: &Visit, name: &str) -> Result<(Vec<Figure>, Vec<Picture>), Problem> {
    let t = visit.t;
    let (day, week) = tokio::join!(traffic(visit, "24", "", name), traffic(visit, "168", "", name));
    let (day, week) = (day?, week?);
    let of = |traffic: &Traffic, list: fn(&SinkTraffic) -> &Vec<u64>| {
        traffic.sinks.iter().map(|one| sum(list(one))).sum::<u64>()
    };
    let figure = |n: u64, text: &'static str| Figure { number: t.number(n), text: text.to_owned() };
    let figures = vec![
        figure(of(&day, |one| &one.delivered), t.figure_delivered_day),
        figure(of(&week, |one| &one.delivered), t.figure_delivered_week),
        figure(of(&day, |one| &one.retried), t.figure_retried_day),
    ];
    let (of_day, of_week): (Vec<&SinkTraffic>, Vec<&SinkTraffic>) =
        (day.sinks.iter().collect(), week.sinks.iter().collect());
    let pictures = vec![
        sent(visit, "day", &day.hours, &of_day),
        sent(visit, "week", &week.hours, &of_week),
        backlog(visit, "backlog", &week.hours, &of_week),
    ];
    Ok((figures, pictures))
}

/// The pictures of an endpoint: a day and a week.
pub(super) async fn of_endpoint(visit: &Visit, name: &str) -> Result<Vec<Picture>, Problem> {
    let (day, week) = tokio::join!(traffic(visit, "24", name, ""), traffic(visit, "168", name, ""));
    let (day, week) = (day?, week?);
    let (of_day, of_week): (Vec<&EndpointTraffic>, Vec<&EndpointTraffic>) =
        (day.endpoints.iter().collect(), week.endpoints.iter().collect());
    Ok(vec![received(visit, "day", &day.hours, &of_day), received(visit, "week", &week.hours, &of_week)])
}
