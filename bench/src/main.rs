//! Measures finkare-relay: a load generator, a counting sink, the ceiling, and the table of results.
//!
//! `bench/run` puts them together; `docs/benchmarks.md` says what the rows mean. The modules in
//! reading order: [`deliveries`] makes signed bodies, [`client`] sends them to loopback and nowhere
//! else, [`load`] measures a server, [`sink`] is what the relay sends to, [`latency`] measures the way
//! through, [`null`] stores nothing, [`fill`] makes an old database, [`reads`] times what is asked of it, [`report`]
//! writes the tables.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};

mod client;
mod deliveries;
mod fill;
mod latency;
mod load;
mod null;
mod percentiles;
mod reads;
mod report;
mod sink;

use client::Target;
use load::Arrivals;

/// Tools that measure finkare-relay. Nothing is ever sent to another machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Posts signed webhooks and reports rate and latency
    Load(Load),
    /// Sends one event at a time and measures how long each takes from its acknowledgement to the sink
    Latency(Latency),
    /// Serves a sink that counts events and notes when they arrived
    Sink {
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Serves a receiver that verifies and stores nothing: the ceiling
    Null {
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The webhook secret, whole
        #[arg(long)]
        secret: String,
    },
    /// Times requests to the admin API, one after another
    Reads {
        /// The admin listener, on loopback
        #[arg(long)]
        url: Target,
        /// Its token
        #[arg(long)]
        token: String,
        /// How often each is sent; the first answer does not count
        #[arg(long, default_value_t = 20)]
        count: u32,
        /// What to get
        #[arg(required = true)]
        paths: Vec<String>,
    },
    /// Fills a relay's stopped SQLite database with events of the past year (`bench/fill.sql` does so on Postgres)
    Fill(fill::Plan),
    /// Runs SQL on a SQLite database
    Execute {
        /// The database
        #[arg(long)]
        database: PathBuf,
        /// The statements
        #[arg(long)]
        sql: String,
    },
    /// Writes the results of `bench/run` as Markdown
    Report {
        /// The file of records, one JSON object a line
        #[arg(long)]
        results: PathBuf,
        /// A document: the text between its markers is replaced
        #[arg(long)]
        into: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Load {
    /// The endpoint, on loopback
    #[arg(long)]
    url: Target,
    /// The webhook secret, whole
    #[arg(long)]
    secret: String,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Measured time
    #[arg(long, default_value_t = 8.0)]
    duration_secs: f64,
    /// Time before it, not measured
    #[arg(long, default_value_t = 2.0)]
    warmup_secs: f64,
    /// Deliveries a second (open loop); without it each connection sends when it was answered
    #[arg(long)]
    rate: Option<f64>,
    /// Send no more than this
    #[arg(long)]
    count: Option<u64>,
    /// How many different invoices the deliveries are about
    #[arg(long, default_value_t = 10_000)]
    invoices: u64,
    /// How many deliveries are made and signed before the clock starts (about 400 bytes each)
    #[arg(long, default_value_t = 400_000)]
    prepare: u64,
    /// Base URL of a `sink` that the relay under test sends to: measures its arrivals too
    #[arg(long, conflicts_with = "count")]
    sink: Option<Target>,
    /// A file to which the receiver under test adds a line for each event: measures them too
    #[arg(long, conflicts_with_all = ["count", "sink"])]
    lines: Option<PathBuf>,
    /// How long to wait for the rest to arrive
    #[arg(long, default_value_t = 180.0)]
    drain_secs: f64,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Latency {
    /// The endpoint, on loopback
    #[arg(long)]
    url: Target,
    /// The webhook secret, whole
    #[arg(long)]
    secret: String,
    /// Base URL of a `sink` that the relay under test sends to
    #[arg(long)]
    sink: Target,
    /// How many events
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// Rest between an arrival and the next event
    #[arg(long, default_value_t = 20)]
    pause_millis: u64,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Load(args) => {
            let secs = |value: f64, name: &str| {
                Duration::try_from_secs_f64(value).with_context(|| format!("{name} is not a time"))
            };
            let plan = load::Plan {
                warmup: secs(args.warmup_secs, "--warmup-secs")?,
                duration: secs(args.duration_secs, "--duration-secs")?,
                target: args.url,
                secret: args.secret,
                connections: args.connections,
                rate: args.rate,
                count: args.count,
                invoices: args.invoices,
                prepare: args.prepare,
                arrivals: args.sink.map(Arrivals::Sink).or(args.lines.map(Arrivals::File)),
                drain: secs(args.drain_secs, "--drain-secs")?,
            };
            show(&one_thread()?.block_on(load::run(plan))?, args.json)
        }
        Command::Latency(args) => {
            let plan = latency::Plan {
                target: args.url,
                secret: args.secret,
                sink: args.sink,
                count: args.count,
                pause: Duration::from_millis(args.pause_millis),
            };
            show(&one_thread()?.block_on(latency::run(plan))?, args.json)
        }
        Command::Sink { listen } => one_thread()?.block_on(sink::serve(listen)),
        // As many threads as the relay has.
        Command::Null { listen, secret } => tokio::runtime::Runtime::new()?.block_on(null::serve(listen, &secret)),
        Command::Reads { url, token, count, paths } => {
            let timed = one_thread()?.block_on(reads::run(&url, &token, count, &paths))?;
            println!("{}", serde_json::to_string(&timed)?);
            Ok(())
        }
        Command::Fill(plan) => fill::run(&plan),
        Command::Execute { database, sql } => fill::execute(&database, &sql),
        Command::Report { results, into } => report::run(&results, into.as_deref()),
    }
}

/// One thread is enough for what measures, and leaves the rest of the machine to what is measured.
fn one_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn show(report: &(impl std::fmt::Display + serde::Serialize), json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
