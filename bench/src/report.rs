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

/// One line of the results.
#[derive(Debug, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
enum Record {
    /// Something to know about the machine or the programs.
    Fact { name: String, value: String },
    /// As much load as the server took.
    Full { row: Row, load: load::Report },
    /// A quarter of that, at a fixed rate.
    Quarter { row: Row, load: load::Report },
    /// The most resident memory that the process had had after the full load.
    Memory { row: Row, kib: u64 },
    /// From starting the process to its line `listening`.
    Start { row: Row, micros: u64 },
    /// Full load, relayed to one HTTP sink in order per invoice.
    Relay { row: Row, load: load::Report },
    /// One event at a time to an HTTP sink.
    Latency { row: Row, latency: latency::Report },
}

/// The receivers, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Row {
    Express,
    Null,
    RelayPostgres,
    RelaySqlite,
    RelaySingle,
}

impl Row {
    const fn name(self) -> &'static str {
        match self {
            Self::Express => "Express + pg, by hand (Postgres)",
            Self::Null => "axum, verifies and stores nothing",
            Self::RelayPostgres => "**relay (Postgres)**",
            Self::RelaySqlite => "**relay (SQLite)**",
            Self::RelaySingle => "relay (Postgres), one row a transaction",
        }
    }
}

/// All rounds of one row.
#[derive(Default)]
struct Rounds<'a> {
    full: Vec<&'a load::Report>,
    quarter: Vec<&'a load::Report>,
    memory_kib: Vec<u64>,
    start_micros: Vec<u64>,
    relay: Vec<&'a load::Report>,
    latency: Vec<&'a latency::Report>,
}

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
    let mut rows: BTreeMap<Row, Rounds> = BTreeMap::new();
    let mut facts = Vec::new();
    for record in records {
        match record {
            Record::Fact { name, value } => facts.push((name, value)),
            Record::Full { row, load } => rows.entry(*row).or_default().full.push(load),
            Record::Quarter { row, load } => rows.entry(*row).or_default().quarter.push(load),
            Record::Memory { row, kib } => rows.entry(*row).or_default().memory_kib.push(*kib),
            Record::Start { row, micros } => rows.entry(*row).or_default().start_micros.push(*micros),
            Record::Relay { row, load } => rows.entry(*row).or_default().relay.push(load),
            Record::Latency { row, latency } => rows.entry(*row).or_default().latency.push(latency),
        }
    }
    let mut out = String::new();
    write_accepting(&mut out, &rows).expect("a String takes every write");
    write_relaying(&mut out, &rows).expect("a String takes every write");
    write_process(&mut out, &rows).expect("a String takes every write");
    for (name, value) in facts {
        writeln!(out, "- {name}: {value}").expect("a String takes every write");
    }
    out
}

fn write_accepting(out: &mut String, rows: &BTreeMap<Row, Rounds>) -> std::fmt::Result {
    let express = rows.get(&Row::Express).and_then(|rounds| rate(&rounds.full));
    writeln!(
        out,
        "| receiver | accepted/s | lowest to highest | × Express | p50 ms | p99 ms | p99.9 ms | p99 ms at a quarter | not accepted |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for (row, rounds) in rows {
        let Some(rate) = rate(&rounds.full) else { continue };
        let rates = || rounds.full.iter().map(|load| load.accepted_per_sec);
        let (lowest, highest) = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
        let ratio = express.map_or("–".into(), |express| format!("{:.2}", rate / express));
        let [p50, p99, p999] =
            [latency(&rounds.full, |p| p.p50), latency(&rounds.full, |p| p.p99), latency(&rounds.full, |p| p.p999)];
        let quarter = latency(&rounds.quarter, |p| p.p99);
        let not_accepted: u64 = rounds.full.iter().chain(&rounds.quarter).map(|load| not_accepted(load)).sum();
        writeln!(
            out,
            "| {} | {rate:.0} | {lowest:.0} to {highest:.0} | {ratio} | {p50} | {p99} | {p999} | {quarter} | {not_accepted} |",
            row.name()
        )?;
    }
    writeln!(out)
}

fn write_relaying(out: &mut String, rows: &BTreeMap<Row, Rounds>) -> std::fmt::Result {
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
        let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.0}"));
        let ratio = median(relayed.iter().map(|(load, relayed)| relayed.arrived_per_sec / load.accepted_per_sec));
        let micros = |pick: fn(&latency::Report) -> u64| {
            median_int(rounds.latency.iter().map(|report| pick(report))).map_or("–".into(), millis)
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.name(),
            number(rate(&rounds.relay)),
            number(median(relayed.iter().map(|(_, relayed)| relayed.arrived_per_sec))),
            ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")),
            number(median(relayed.iter().map(|(_, relayed)| relayed.sustained_per_sec))),
            relayed.iter().map(|(_, relayed)| relayed.missing).sum::<u64>(),
            relayed.iter().map(|(_, relayed)| relayed.repeated).sum::<u64>(),
            micros(|report| report.latency.p50),
            micros(|report| report.latency.p99),
        )?;
    }
    writeln!(out)
}

fn write_process(out: &mut String, rows: &BTreeMap<Row, Rounds>) -> std::fmt::Result {
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

fn rate(loads: &[&load::Report]) -> Option<f64> {
    median(loads.iter().map(|load| load.accepted_per_sec))
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

    fn full(row: &str, phase: &str, rate: f64, p99: u64) -> String {
        serde_json::json!({"phase": phase, "row": row, "load": {
            "accepted_per_sec": rate, "measured_secs": 8.0, "accepted": 10, "refused": {"503": 2}, "broken": 1, "unsent": 0,
            "signed_late": 0, "latency": {"p50": 1000, "p90": 2000, "p99": p99, "p999": 9000, "max": 9999},
            "relayed": {"arrived_per_sec": rate / 2.0, "sustained_per_sec": 700.0, "drained_secs": 1.0, "missing": 0, "repeated": 3},
        }})
        .to_string()
    }

    #[test]
    fn medians_and_ratios_of_what_was_measured() {
        let lines = [
            full("relay-postgres", "full", 20_000.0, 5000),
            full("express", "full", 2000.0, 260_000),
            full("express", "full", 9000.0, 240_000),
            full("express", "full", 2500.0, 250_000),
            full("express", "quarter", 600.0, 7000),
            full("relay-sqlite", "relay", 1000.0, 5000),
            r#"{"phase":"memory","row":"relay-postgres","kib":65537}"#.into(),
            r#"{"phase":"start","row":"relay-sqlite","micros":31000}"#.into(),
            r#"{"phase":"latency","row":"relay-sqlite","latency":{"count":200,"latency":{"p50":1500,"p90":1,"p99":2500,"p999":1,"max":1}}}"#.into(),
            r#"{"phase":"fact","name":"cores","value":"2"}"#.into(),
        ];
        let tables = tables(&parse(&lines.join("\n")).unwrap());
        for row in [
            "| Express + pg, by hand (Postgres) | 2500 | 2000 to 9000 | 1.00 | 1.00 | 250.00 | 9.00 | 7.00 | 12 |",
            "| **relay (Postgres)** | 20000 | 20000 to 20000 | 8.00 | 1.00 | 5.00 | 9.00 | – | 3 |",
            "| **relay (SQLite)** | 1000 | 500 | 0.50 | 700 | 0 | 3 | 1.50 | 2.50 |",
            "| **relay (Postgres)** | 65 | – |",
            "| **relay (SQLite)** | – | 31.00 |",
            "- cores: 2",
        ] {
            assert!(tables.lines().any(|line| line == row), "{row}\nis not in\n{tables}");
        }
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
