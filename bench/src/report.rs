//! Turns the records of `bench/run` into tables: medians over the rounds, and the ratio to Express.
//!
//! The input has one [`Record`] a line, in the order of measuring. Only measured receivers get a row. In a document
//! the tables are between two marker comments, so that they can be replaced.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::{latency, load, percentiles::millis};

/// Before the tables in a document.
const BEGIN: &str = "<!-- results: written by bench/run -->";
/// After them.
const END: &str = "<!-- end of results -->";

/// The number of connections of the main table.
const MAIN: u32 = 64;

/// One line of the results.
#[derive(Debug, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
enum Record {
    /// Something to know about the machine or the programs.
    Fact { name: String, value: String },
    /// As much load as the server took.
    Full { row: Row, connections: u32, load: load::Report },
    /// A quarter of that, at a fixed rate.
    Quarter { row: Row, connections: u32, load: load::Report },
    /// Processor time from before the full load until its last event was relayed.
    Cpu { row: Row, connections: u32, service_micros: u64, postgres_micros: u64, events: u64 },
    /// The most resident memory that the process had had after the full load.
    Memory { row: Row, kib: u64 },
    /// What Postgres inserts by itself.
    Limit { connections: u32, rows_per_transaction: u32, rows_per_sec: f64, postgres_micros_per_row: f64 },
    /// From starting the process to its line `listening`.
    Start { row: Row, micros: u64 },
    /// Full load, relayed to one HTTP sink in order per invoice.
    Relay { row: Row, load: load::Report },
    /// One event at a time to an HTTP sink.
    Latency { row: Row, latency: latency::Report },
    /// One measurement of a database that holds something.
    Growth { store: String, holds: String, what: String, value: f64 },
}

/// The receivers, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Row {
    Null,
    Express,
    GraphileNone,
    GraphileInvoice,
    PostgresAlone,
    PostgresFile,
    PostgresSingle,
    SqliteAlone,
    SqliteFile,
    // Only in tables of their own.
    PostgresHttp,
    SqliteHttp,
}

impl Row {
    const fn name(self) -> &'static str {
        match self {
            Self::Null => "axum, verifies and stores nothing",
            Self::Express => "Express + pg, by hand (Postgres); relays nothing",
            Self::GraphileNone => "Express + graphile-worker (Postgres), to a file, without an order",
            Self::GraphileInvoice => "Express + graphile-worker (Postgres), to a file, order per invoice",
            Self::PostgresAlone => "relay (Postgres), without a sink",
            Self::PostgresFile => "**relay (Postgres), to a file, order per invoice**",
            Self::PostgresSingle => "relay (Postgres), to a file, one row a transaction",
            Self::SqliteAlone => "relay (SQLite), without a sink",
            Self::SqliteFile => "**relay (SQLite), to a file, order per invoice**",
            Self::PostgresHttp => "**relay (Postgres)**",
            Self::SqliteHttp => "**relay (SQLite)**",
        }
    }
}

/// All rounds of one row at one number of connections.
#[derive(Default)]
struct Rounds<'a> {
    full: Vec<&'a load::Report>,
    quarter: Vec<&'a load::Report>,
    /// Microseconds for an event: of the service, of Postgres.
    cpu: Vec<(f64, f64)>,
    memory_kib: Vec<u64>,
    start_micros: Vec<u64>,
    relay: Vec<&'a load::Report>,
    latency: Vec<&'a latency::Report>,
}

impl Rounds<'_> {
    /// The median of what was accepted, a second.
    fn accepted(&self) -> Option<f64> {
        median(self.full.iter().map(|load| load.accepted_per_sec))
    }

    /// The median of the whole job, a second: accepted and, if the row relays, relayed. The slower of the two counts.
    fn done(&self) -> Option<f64> {
        median(
            self.full
                .iter()
                .filter_map(|load| Some(load.accepted_per_sec.min(load.relayed.as_ref()?.sustained_per_sec))),
        )
    }
}

type Rows<'a> = BTreeMap<(u32, Row), Rounds<'a>>;

/// Prints the tables, and puts them between the markers of `into`.
///
/// # Errors
/// When the results do not parse (the line is named) or the document lacks its markers.
pub(crate) fn run(results: &Path, into: Option<&Path>) -> anyhow::Result<()> {
    let text = fs::read_to_string(results).with_context(|| format!("cannot read {}", results.display()))?;
    let tables = tables(&parse(&text)?);
    print!("{tables}");
    if let Some(path) = into {
        let document = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let replaced = replace(&document, &tables).with_context(|| format!("cannot write into {}", path.display()))?;
        fs::write(path, replaced).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<Vec<Record>> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| serde_json::from_str(line).with_context(|| format!("line {number} of the results")))
        .collect()
}

fn replace(document: &str, tables: &str) -> anyhow::Result<String> {
    let begin = document.find(BEGIN).with_context(|| format!("it lacks the line `{BEGIN}`"))? + BEGIN.len();
    let end = document.find(END).with_context(|| format!("it lacks the line `{END}`"))?;
    ensure!(begin <= end, "its markers stand in the wrong order");
    Ok(format!("{}\n\n{tables}\n{}", &document[..begin], &document[end..]))
}

fn tables(records: &[Record]) -> String {
    let mut rows = Rows::new();
    let mut facts = Vec::new();
    let mut limits: BTreeMap<(u32, u32), Vec<(f64, f64)>> = BTreeMap::new();
    let mut growth: Growth<'_> = BTreeMap::new();
    for record in records {
        match record {
            Record::Fact { name, value } => facts.push((name, value)),
            Record::Full { row, connections, load } => rows.entry((*connections, *row)).or_default().full.push(load),
            Record::Quarter { row, connections, load } => {
                rows.entry((*connections, *row)).or_default().quarter.push(load);
            }
            Record::Cpu { row, connections, service_micros, postgres_micros, events } => {
                let each = |micros: u64| per(micros, *events);
                rows.entry((*connections, *row)).or_default().cpu.push((each(*service_micros), each(*postgres_micros)));
            }
            Record::Memory { row, kib } => rows.entry((MAIN, *row)).or_default().memory_kib.push(*kib),
            Record::Limit { connections, rows_per_transaction, rows_per_sec, postgres_micros_per_row } => {
                let limit = limits.entry((*connections, *rows_per_transaction)).or_default();
                limit.push((*rows_per_sec, *postgres_micros_per_row));
            }
            Record::Start { row, micros } => rows.entry((MAIN, *row)).or_default().start_micros.push(*micros),
            Record::Relay { row, load } => rows.entry((MAIN, *row)).or_default().relay.push(load),
            Record::Latency { row, latency } => rows.entry((MAIN, *row)).or_default().latency.push(latency),
            Record::Growth { store, holds, what, value } => {
                growth.entry(store).or_default().add(holds, what, *value);
            }
        }
    }
    let mut out = String::new();
    write_all(&mut out, &rows, &limits, &growth).expect("a String takes every write");
    for (name, value) in facts {
        writeln!(out, "- {name}: {value}").expect("a String takes every write");
    }
    out
}

fn write_all(
    out: &mut String,
    rows: &Rows<'_>,
    limits: &BTreeMap<(u32, u32), Vec<(f64, f64)>>,
    growth: &Growth<'_>,
) -> std::fmt::Result {
    let mut connections: Vec<u32> =
        rows.iter().filter(|(_, rounds)| !rounds.full.is_empty()).map(|(key, _)| key.0).collect();
    connections.dedup();
    // The main table first.
    connections.sort_by_key(|&connections| (connections != MAIN, connections));
    for &connections in &connections {
        write_accepting(out, rows, connections)?;
    }
    write_done(out, rows)?;
    write_cpu(out, rows)?;
    write_limits(out, limits)?;
    write_relaying(out, &at_main(rows))?;
    write_process(out, &at_main(rows))?;
    write_growth(out, growth)
}

/// The rows at the main number of connections.
fn at_main<'a>(rows: &'a Rows<'_>) -> BTreeMap<Row, &'a Rounds<'a>> {
    rows.iter().filter(|((connections, _), _)| *connections == MAIN).map(|((_, row), rounds)| (*row, rounds)).collect()
}

fn write_accepting(out: &mut String, rows: &Rows<'_>, connections: u32) -> std::fmt::Result {
    let express = rows.get(&(connections, Row::Express)).and_then(Rounds::accepted);
    let graphile = rows.get(&(connections, Row::GraphileInvoice)).and_then(Rounds::done);
    writeln!(
        out,
        "| {connections} connections | accepted/s | lowest to highest | × Express | done/s | × graphile | p50 ms | p99 ms | p99.9 ms | p50 ms at a quarter | p99 ms at a quarter | not accepted |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for ((_, row), rounds) in rows.iter().filter(|((of, _), _)| *of == connections) {
        let Some(rate) = rounds.accepted() else { continue };
        let rates = || rounds.full.iter().map(|load| load.accepted_per_sec);
        let (lowest, highest) = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
        let done = rounds.done();
        writeln!(
            out,
            "| {} | {rate:.0} | {lowest:.0} to {highest:.0} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.name(),
            number(express.map(|express| rate / express), 2),
            number(done, 0),
            number(done.zip(graphile).map(|(done, graphile)| done / graphile), 1),
            latency(&rounds.full, |p| p.p50),
            latency(&rounds.full, |p| p.p99),
            latency(&rounds.full, |p| p.p999),
            latency(&rounds.quarter, |p| p.p50),
            latency(&rounds.quarter, |p| p.p99),
            rounds.full.iter().chain(&rounds.quarter).map(|load| not_accepted(load)).sum::<u64>(),
        )?;
    }
    writeln!(out)
}

fn write_done(out: &mut String, rows: &Rows<'_>) -> std::fmt::Result {
    let mut headed = false;
    for ((connections, row), rounds) in rows {
        let relayed: Vec<_> = rounds.full.iter().filter_map(|load| load.relayed.as_ref()).collect();
        if relayed.is_empty() {
            continue;
        }
        if !headed {
            writeln!(
                out,
                "| what was relayed to the file | connections | relayed/s meanwhile | relayed/s to the last | the last came after, s | missing |"
            )?;
            writeln!(out, "|---|---:|---:|---:|---:|---:|")?;
            headed = true;
        }
        writeln!(
            out,
            "| {} | {connections} | {} | {} | {} | {} |",
            row.name(),
            number(median(relayed.iter().map(|relayed| relayed.arrived_per_sec)), 0),
            number(median(relayed.iter().map(|relayed| relayed.sustained_per_sec)), 0),
            number(median(relayed.iter().map(|relayed| relayed.drained_secs)), 2),
            relayed.iter().map(|relayed| relayed.missing).sum::<u64>(),
        )?;
    }
    if headed { writeln!(out) } else { Ok(()) }
}

fn write_cpu(out: &mut String, rows: &Rows<'_>) -> std::fmt::Result {
    if rows.values().all(|rounds| rounds.cpu.is_empty()) {
        return Ok(());
    }
    writeln!(out, "| processor time for one event, µs | connections | service | Postgres | together |")?;
    writeln!(out, "|---|---:|---:|---:|---:|")?;
    for ((connections, row), rounds) in rows.iter().filter(|(_, rounds)| !rounds.cpu.is_empty()) {
        let of = |pick: fn(&(f64, f64)) -> f64| number(median(rounds.cpu.iter().map(pick)), 1);
        writeln!(
            out,
            "| {} | {connections} | {} | {} | {} |",
            row.name(),
            of(|cpu| cpu.0),
            of(|cpu| cpu.1),
            of(|cpu| cpu.0 + cpu.1)
        )?;
    }
    writeln!(out)
}

fn write_limits(out: &mut String, limits: &BTreeMap<(u32, u32), Vec<(f64, f64)>>) -> std::fmt::Result {
    if limits.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "| pgbench, no service | rows a transaction | rows/s | processor time of Postgres for one row, µs |"
    )?;
    writeln!(out, "|---|---:|---:|---:|")?;
    for ((connections, rows), rounds) in limits {
        let (rate, cpu) = (median(rounds.iter().map(|round| round.0)), median(rounds.iter().map(|round| round.1)));
        writeln!(out, "| {connections} connections | {rows} | {} | {} |", number(rate, 0), number(cpu, 1))?;
    }
    writeln!(out)
}

/// By store: what was measured, with what in it.
type Growth<'a> = BTreeMap<&'a str, Sizes<'a>>;

/// The measurements of one store, in the order of measuring.
#[derive(Default)]
struct Sizes<'a> {
    holds: Vec<&'a str>,
    what: Vec<&'a str>,
    values: BTreeMap<(&'a str, &'a str), Vec<f64>>,
}

impl<'a> Sizes<'a> {
    fn add(&mut self, holds: &'a str, what: &'a str, value: f64) {
        for (seen, new) in [(&mut self.holds, holds), (&mut self.what, what)] {
            if !seen.contains(&new) {
                seen.push(new);
            }
        }
        self.values.entry((what, holds)).or_default().push(value);
    }
}

fn write_growth(out: &mut String, growth: &Growth<'_>) -> std::fmt::Result {
    for (store, sizes) in growth {
        writeln!(out, "| {store}, with | {} |", sizes.holds.join(" | "))?;
        writeln!(out, "|---|{}", "---:|".repeat(sizes.holds.len()))?;
        for what in &sizes.what {
            write!(out, "| {what} |")?;
            for holds in &sizes.holds {
                let value = sizes.values.get(&(*what, *holds)).and_then(|values| median(values.iter().copied()));
                // Rates have no digits after the point worth showing, times do.
                write!(out, " {} |", number(value, if value.is_some_and(|value| value >= 100.0) { 0 } else { 2 }))?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_relaying(out: &mut String, rows: &BTreeMap<Row, &Rounds<'_>>) -> std::fmt::Result {
    if rows.values().all(|rounds| rounds.relay.is_empty() && rounds.latency.is_empty()) {
        return Ok(());
    }
    writeln!(
        out,
        "| to one HTTP sink, order per invoice | accepted/s | arrived/s meanwhile | arrived / accepted | arrived/s to the last | missing | repeated | idle p50 ms | idle p99 ms |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for (row, rounds) in rows {
        if rounds.relay.is_empty() && rounds.latency.is_empty() {
            continue;
        }
        let relayed: Vec<_> = rounds.relay.iter().filter_map(|load| Some((*load, load.relayed.as_ref()?))).collect();
        let ratio = median(relayed.iter().map(|(load, relayed)| relayed.arrived_per_sec / load.accepted_per_sec));
        let micros = |pick: fn(&latency::Report) -> u64| {
            median_int(rounds.latency.iter().map(|report| pick(report))).map_or("–".into(), millis)
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.name(),
            number(median(rounds.relay.iter().map(|load| load.accepted_per_sec)), 0),
            number(median(relayed.iter().map(|(_, relayed)| relayed.arrived_per_sec)), 0),
            number(ratio, 2),
            number(median(relayed.iter().map(|(_, relayed)| relayed.sustained_per_sec)), 0),
            relayed.iter().map(|(_, relayed)| relayed.missing).sum::<u64>(),
            relayed.iter().map(|(_, relayed)| relayed.repeated).sum::<u64>(),
            micros(|report| report.latency.p50),
            micros(|report| report.latency.p99),
        )?;
    }
    writeln!(out)
}

fn write_process(out: &mut String, rows: &BTreeMap<Row, &Rounds<'_>>) -> std::fmt::Result {
    if rows.values().all(|rounds| rounds.memory_kib.is_empty() && rounds.start_micros.is_empty()) {
        return Ok(());
    }
    writeln!(out, "| process | most resident memory, MiB | start to ready, ms |")?;
    writeln!(out, "|---|---:|---:|")?;
    for (row, rounds) in rows {
        if rounds.memory_kib.is_empty() && rounds.start_micros.is_empty() {
            continue;
        }
        let memory = rounds.memory_kib.iter().max().map_or("–".into(), |kib| kib.div_ceil(1024).to_string());
        let start = median_int(rounds.start_micros.iter().copied()).map_or("–".into(), millis);
        writeln!(out, "| {} | {memory} | {start} |", row.name())?;
    }
    writeln!(out)
}

/// The deliveries that a clean run does not have.
fn not_accepted(load: &load::Report) -> u64 {
    load.broken + load.unsent + load.refused.values().sum::<u64>()
}

/// A number with so many digits after the point, or a dash.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.digits$}"))
}

#[expect(clippy::cast_precision_loss, reason = "a run takes far less than 2^53 microseconds")]
fn per(micros: u64, events: u64) -> f64 {
    micros as f64 / events.max(1) as f64
}

fn latency(loads: &[&load::Report], pick: fn(&crate::percentiles::Percentiles) -> u64) -> String {
    median_int(loads.iter().map(|load| pick(&load.latency))).map_or("–".into(), millis)
}

/// The middle value, or the mean of the two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// The same for whole numbers, rounded down.
fn median_int(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(u64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(row: &str, phase: &str, rate: f64, p99: u64, sustained: f64) -> String {
        let mut record = serde_json::json!({"phase": phase, "row": row, "connections": 64, "load": {
            "accepted_per_sec": rate, "measured_secs": 8.0, "accepted": 10, "refused": {"503": 2}, "broken": 1, "unsent": 0,
            "signed_late": 0, "latency": {"p50": 1000, "p90": 2000, "p99": p99, "p999": 9000, "max": 9999},
            "relayed": {"arrived_per_sec": rate / 2.0, "sustained_per_sec": sustained, "drained_secs": 1.0, "missing": 0, "repeated": 3},
        }});
        if sustained == 0.0 {
            record["load"]["relayed"] = serde_json::Value::Null;
        }
        if phase == "relay" {
            record.as_object_mut().unwrap().remove("connections");
        }
        record.to_string()
    }

    #[test]
    fn medians_and_ratios_of_what_was_measured() {
        let lines = [
            full("postgres-file", "full", 20_000.0, 5000, 25_000.0),
            full("graphile-invoice", "full", 2000.0, 5000, 400.0),
            full("express", "full", 2000.0, 260_000, 0.0),
            full("express", "full", 9000.0, 240_000, 0.0),
            full("express", "full", 2500.0, 250_000, 0.0),
            full("express", "quarter", 600.0, 7000, 0.0),
            full("express", "full", 1000.0, 250_000, 0.0).replace("64", "16"),
            full("sqlite-http", "relay", 1000.0, 5000, 700.0),
            r#"{"phase":"memory","row":"postgres-file","kib":65537}"#.into(),
            r#"{"phase":"start","row":"sqlite-file","micros":31000}"#.into(),
            r#"{"phase":"latency","row":"sqlite-http","latency":{"count":200,"latency":{"p50":1500,"p90":1,"p99":2500,"p999":1,"max":1}}}"#.into(),
            r#"{"phase":"cpu","row":"express","connections":64,"service_micros":1000,"postgres_micros":500,"events":10}"#.into(),
            r#"{"phase":"limit","connections":64,"rows_per_transaction":1,"rows_per_sec":9000.4,"postgres_micros_per_row":50}"#.into(),
            r#"{"phase":"growth","store":"SQLite","holds":"nothing","what":"accepted/s","value":5000.4}"#.into(),
            r#"{"phase":"growth","store":"SQLite","holds":"a million","what":"accepted/s","value":4000.4}"#.into(),
            r#"{"phase":"growth","store":"SQLite","holds":"a million","what":"`/metrics`, ms","value":1.234}"#.into(),
            r#"{"phase":"fact","name":"cores","value":"2"}"#.into(),
        ];
        let tables = tables(&parse(&lines.join("\n")).unwrap());
        for row in [
            "| Express + pg, by hand (Postgres); relays nothing | 2500 | 2000 to 9000 | 1.00 | – | – | 1.00 | 250.00 | 9.00 | 1.00 | 7.00 | 12 |",
            "| Express + pg, by hand (Postgres); relays nothing | 1000 | 1000 to 1000 | 1.00 | – | – | 1.00 | 250.00 | 9.00 | – | – | 3 |",
            "| Express + graphile-worker (Postgres), to a file, order per invoice | 2000 | 2000 to 2000 | 0.80 | 400 | 1.0 | 1.00 | 5.00 | 9.00 | – | – | 3 |",
            "| **relay (Postgres), to a file, order per invoice** | 20000 | 20000 to 20000 | 8.00 | 20000 | 50.0 | 1.00 | 5.00 | 9.00 | – | – | 3 |",
            "| Express + graphile-worker (Postgres), to a file, order per invoice | 64 | 1000 | 400 | 1.00 | 0 |",
            "| Express + pg, by hand (Postgres); relays nothing | 64 | 100.0 | 50.0 | 150.0 |",
            "| 64 connections | 1 | 9000 | 50.0 |",
            "| **relay (SQLite)** | 1000 | 500 | 0.50 | 700 | 0 | 3 | 1.50 | 2.50 |",
            "| **relay (Postgres), to a file, order per invoice** | 65 | – |",
            "| **relay (SQLite), to a file, order per invoice** | – | 31.00 |",
            "| SQLite, with | nothing | a million |",
            "| accepted/s | 5000 | 4000 |",
            "| `/metrics`, ms | – | 1.23 |",
            "- cores: 2",
        ] {
            assert!(tables.lines().any(|line| line == row), "{row}\nis not in\n{tables}");
        }
        let (main, small) = (tables.find("| 64 connections |"), tables.find("| 16 connections |"));
        assert!(main.is_some() && main < small, "the main table is the first");
        assert!(!tables.contains("stores nothing"), "a row that was not measured is not written");
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = parse("{\"phase\":\"fact\",\"name\":\"a\",\"value\":\"b\"}\n{\"phase\":\"fast\"}").unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the results");
    }

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replace(&document, "| new |\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"));
        assert_eq!(replace(&once, "| new |\n").unwrap(), once, "writing again changes nothing");
        for bad in ["nothing", &format!("{END}{BEGIN}"), BEGIN] {
            assert!(replace(bad, "").is_err());
        }
    }

    #[test]
    fn the_document_of_this_repository_has_its_markers() {
        assert!(replace(include_str!("../../docs/benchmarks.md"), "").is_ok());
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median_int([4, 1, 2, 3].into_iter()), Some(2));
        assert_eq!(median(std::iter::empty()), None);
    }
}
