//! The load generator: many keep-alive connections that post signed deliveries, as fast as they are
//! answered or at a fixed rate.
//!
//! - **Closed loop** (no rate): each connection sends its next delivery when the last is answered.
//!   This finds the most that a server takes.
//! - **Open loop** (a rate): every delivery has a time at which it is due, and its latency counts from that time,
//!   also when no connection was free to send it. So a server that stalls is charged for all deliveries that were due
//!   during the stall (no coordinated omission).
//!
//! A run is a warm-up, which is not measured, and a measured window. Latency is that of accepted
//! deliveries that were due in the window; the rate counts what was accepted in the window. The
//! generator runs on one thread and signs before the clock starts, because it shares the machine
//! with what it measures.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    client::{Connection, Target},
    deliveries::Deliveries,
    percentiles::{Latencies, Percentiles},
    sink::{Stats, now_nanos},
};

/// An answer that takes longer counts as a broken connection. Finkare itself waits 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// In the open loop: for how long deliveries that are due are still sent after the window.
const GRACE: Duration = Duration::from_secs(5);

/// The pacer wakes no more often than this; latency counts from the due time all the same.
const PACE: Duration = Duration::from_micros(100);

/// The relay's backlog is given up if nothing arrives at the sink for this long.
const DRAIN_STALLED: Duration = Duration::from_secs(10);

/// In a file, arrivals are looked for so often: each look reads what was added since the last.
const LOOK: Duration = Duration::from_millis(20);

/// The plan of a run.
pub(crate) struct Plan {
    /// The server under test.
    pub(crate) target: Target,
    /// The webhook secret that signs.
    pub(crate) secret: String,
    /// How many connections.
    pub(crate) connections: u32,
    /// Not measured.
    pub(crate) warmup: Duration,
    /// Measured.
    pub(crate) duration: Duration,
    /// Deliveries a second; `None` is as many as are answered.
    pub(crate) rate: Option<f64>,
    /// No more deliveries than this.
    pub(crate) count: Option<u64>,
    /// How many different invoices the deliveries are about.
    pub(crate) invoices: u64,
    /// How many deliveries are made and signed before the clock starts.
    pub(crate) prepare: u64,
    /// Where the receiver under test passes events on: the arrivals are measured too.
    pub(crate) arrivals: Option<Arrivals>,
    /// The backlog is given up after this time.
    pub(crate) drain: Duration,
}

/// Where what a receiver passes on can be counted.
#[derive(Debug, Clone)]
pub(crate) enum Arrivals {
    /// A counting sink.
    Sink(Target),
    /// A file that gets one line for each event.
    File(PathBuf),
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Deliveries answered 2xx in the window, a second.
    pub(crate) accepted_per_sec: f64,
    /// The window, in seconds; shorter than planned if the count was reached.
    pub(crate) measured_secs: f64,
    /// Deliveries answered 2xx in the whole run.
    pub(crate) accepted: u64,
    /// Other answers of the whole run, by status.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Deliveries without an answer: the connection broke, or the answer took too long.
    pub(crate) broken: u64,
    /// Open loop: deliveries that were due and never sent. Above 0 the latencies look better than they are.
    pub(crate) unsent: u64,
    /// Deliveries that had to be signed while the clock ran, for lack of prepared ones.
    pub(crate) signed_late: u64,
    /// Of the accepted deliveries that were due in the window.
    pub(crate) latency: Percentiles,
    /// What arrived at the sink, if one was watched.
    pub(crate) relayed: Option<Relayed>,
}

/// What the relay passed on meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Relayed {
    /// Different events that arrived in the window, a second.
    pub(crate) arrived_per_sec: f64,
    /// Different events of the whole run, a second, from the first delivery to the last arrival.
    pub(crate) sustained_per_sec: f64,
    /// From the end of the window to the last arrival, in seconds.
    pub(crate) drained_secs: f64,
    /// Events accepted that had not arrived when the generator stopped waiting.
    pub(crate) missing: u64,
    /// Arrivals of an event that had arrived before.
    pub(crate) repeated: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:.0} accepted/s over {:.1} s; {}", self.accepted_per_sec, self.measured_secs, self.latency)?;
        write!(f, "whole run: {} accepted, {} broken, {} unsent", self.accepted, self.broken, self.unsent)?;
        for (status, count) in &self.refused {
            write!(f, ", {count} answered {status}")?;
        }
        if self.signed_late > 0 {
            write!(f, "; {} were signed while the clock ran: raise --prepare", self.signed_late)?;
        }
        if let Some(relayed) = &self.relayed {
            write!(
                f,
                "\nat the sink: {:.0}/s in the window, {:.0}/s over all, the last {:.2} s after the window; {} missing, {} repeated",
                relayed.arrived_per_sec,
                relayed.sustained_per_sec,
                relayed.drained_secs,
                relayed.missing,
                relayed.repeated
            )?;
        }
        Ok(())
    }
}

/// When a run begins and ends.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    warm: Instant,
    end: Instant,
}

/// How the connections get their next delivery.
enum Turns {
    /// At once, up to a number.
    Closed { limit: u64 },
    /// When it is due, up to a number.
    Open { rate: f64, limit: u64, due: Semaphore },
}

/// What the connections share.
struct Run {
    deliveries: Deliveries,
    window: Window,
    turns: Turns,
    next: AtomicU64,
}

impl Run {
    /// The number of the next delivery and the time from which its latency counts; `None` at the end.
    async fn next(&self) -> Option<(u64, Instant)> {
        match &self.turns {
            Turns::Closed { limit } => {
                let now = Instant::now();
                if now >= self.window.end {
                    return None;
                }
                let number = self.next.fetch_add(1, Relaxed);
                (number < *limit).then_some((number, now))
            }
            Turns::Open { rate, limit, due } => {
                due.acquire().await.ok()?.forget();
                if Instant::now() >= self.window.end + GRACE {
                    return None;
                }
                let number = self.next.fetch_add(1, Relaxed);
                (number < *limit).then(|| (number, self.window.start + due_after(number, *rate)))
            }
        }
    }

    /// Open loop: due deliveries that no connection has taken.
    fn unsent(&self) -> u64 {
        match &self.turns {
            Turns::Closed { .. } => 0,
            Turns::Open { limit, .. } => limit.saturating_sub(self.next.load(Relaxed)),
        }
    }
}

/// How long after the start a delivery is due.
#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 deliveries")]
fn due_after(number: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

/// How many deliveries are due within a time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count: positive, and truncated on purpose"
)]
fn due_within(time: Duration, rate: f64) -> u64 {
    (time.as_secs_f64() * rate) as u64
}

/// The results of one connection.
#[derive(Default)]
struct Tally {
    latencies: Latencies,
    accepted: u64,
    accepted_in_window: u64,
    last_answer: Option<Instant>,
    refused: BTreeMap<String, u64>,
    broken: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        self.accepted += other.accepted;
        self.accepted_in_window += other.accepted_in_window;
        self.last_answer = self.last_answer.max(other.last_answer);
        self.broken += other.broken;
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
    }
}

/// Runs the plan. Ends by itself after warm-up, window and the time-outs above, for any behaviour of the server.
///
/// # Errors
/// When a connection cannot be opened, or nothing was accepted in the window.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures by the clock")]
pub(crate) async fn run(plan: Plan) -> anyhow::Result<Report> {
    ensure!(plan.connections > 0, "--connections must be at least 1");
    ensure!(plan.rate.is_none_or(|rate| rate > 0.0), "--rate must be above 0");
    let mut deliveries = Deliveries::new(&plan.secret, plan.invoices, Timestamp::now());
    let count = plan.count.unwrap_or(u64::MAX);
    let limit = plan.rate.map_or(count, |rate| count.min(due_within(plan.warmup + plan.duration, rate)));
    deliveries.prepare(plan.prepare.min(limit));

    // All connections are open before the clock starts.
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(Connection::open(&plan.target).await?);
    }
    let watch = match plan.arrivals {
        Some(arrivals) => Some(Watch::begin(arrivals, plan.drain).await?),
        None => None,
    };

    let start = Instant::now();
    let window = Window { start, warm: start + plan.warmup, end: start + plan.warmup + plan.duration };
    let turns = match plan.rate {
        None => Turns::Closed { limit },
        Some(rate) => Turns::Open { rate, limit, due: Semaphore::new(0) },
    };
    let run = Arc::new(Run { deliveries, window, turns, next: AtomicU64::new(0) });

    let stopped = Arc::new(AtomicBool::new(false));
    let pacer = plan.rate.map(|rate| {
        let (run, stopped) = (run.clone(), stopped.clone());
        std::thread::spawn(move || pace(&run, rate, u64::from(plan.connections), &stopped))
    });
    let watching = watch.map(|watch| tokio::spawn(watch.window(window)));
    let mut workers = JoinSet::new();
    for connection in connections {
        workers.spawn(work(run.clone(), plan.target.clone(), connection));
    }
    let mut tally = Tally::default();
    let mut failure = None;
    while let Some(worker) = workers.join_next().await {
        match worker.context("a connection's task failed")? {
            Ok(seen) => tally.add(seen),
            Err(error) => failure = Some(error),
        }
    }
    stopped.store(true, Relaxed);
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| anyhow::anyhow!("the pacer panicked"))?;
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let relayed = match watching {
        Some(watching) => Some(watching.await.context("watching the sink")??.drained(tally.accepted).await?),
        None => None,
    };

    let taken = run.next.load(Relaxed).min(limit);
    let ended =
        if taken == count { tally.last_answer.map_or(window.end, |last| last.min(window.end)) } else { window.end };
    let measured_secs = ended.saturating_duration_since(window.warm).as_secs_f64();
    ensure!(
        tally.accepted_in_window > 0 && measured_secs > 0.0,
        "nothing was accepted after the warm-up: {} accepted before it, {} broken, other answers {:?}",
        tally.accepted,
        tally.broken,
        tally.refused
    );
    Ok(Report {
        accepted_per_sec: per_sec(tally.accepted_in_window, measured_secs),
        measured_secs,
        accepted: tally.accepted,
        unsent: run.unsent(),
        signed_late: taken.saturating_sub(run.deliveries.prepared()),
        latency: tally.latencies.percentiles(),
        refused: tally.refused,
        broken: tally.broken,
        relayed,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 deliveries")]
fn per_sec(count: u64, secs: f64) -> f64 {
    count as f64 / secs
}

/// Releases deliveries when they are due, from a thread of its own: the runtime's timers round up to
/// whole milliseconds, a thread's sleep does not.
fn pace(run: &Run, rate: f64, connections: u64, stopped: &AtomicBool) {
    let Turns::Open { limit, due, .. } = &run.turns else { return };
    let release = |count: u64| due.add_permits(usize::try_from(count).unwrap_or(usize::MAX));
    let mut released = 0;
    while released < *limit && !stopped.load(Relaxed) {
        let elapsed = run.window.start.elapsed();
        // The first is due at the start.
        let now_due = (due_within(elapsed, rate) + 1).min(*limit);
        release(now_due.saturating_sub(released));
        released = released.max(now_due);
        std::thread::sleep(due_after(released, rate).saturating_sub(elapsed).max(PACE));
    }
    // One more for each connection, so that all wake up and see that nothing is left.
    release(connections);
}

/// One connection's work. A broken connection is opened again; if that fails, the run has failed.
async fn work(run: Arc<Run>, target: Target, mut connection: Connection) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let Window { warm, end, .. } = run.window;
    while let Some((number, due)) = run.next().await {
        let answer = timeout(ANSWER_TIMEOUT, connection.deliver(run.deliveries.take(number))).await;
        let now = Instant::now();
        tally.last_answer = Some(now);
        match answer {
            Ok(Ok((status, _))) if status.is_success() => {
                tally.accepted += 1;
                if (warm..end).contains(&now) {
                    tally.accepted_in_window += 1;
                }
                if (warm..end).contains(&due) {
                    tally.latencies.record(now.duration_since(due));
                }
            }
            Ok(Ok((status, _))) => *tally.refused.entry(status.as_str().to_owned()).or_default() += 1,
            Ok(Err(_)) | Err(_) => {
                tally.broken += 1;
                connection = Connection::open(&target).await?;
            }
        }
    }
    Ok(tally)
}

/// An open [`Arrivals`].
enum Source {
    Sink(Connection),
    File(Lines),
}

impl Source {
    async fn stats(&mut self) -> anyhow::Result<Stats> {
        match self {
            Self::Sink(sink) => sink.get("/stats").await,
            Self::File(lines) => {
                // On a thread of its own, as the connections should not wait for it.
                let mut taken = lines.clone();
                *lines = tokio::task::spawn_blocking(move || taken.count().map(|()| taken)).await??;
                Ok(lines.stats)
            }
        }
    }
}

/// The lines of a file, up to where it was read. Lines are not compared: all count as different.
#[derive(Debug, Clone)]
struct Lines {
    path: PathBuf,
    offset: u64,
    stats: Stats,
}

impl Lines {
    /// Counts what was added. A file that does not exist yet has no lines.
    fn count(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut piece = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            self.offset += read as u64;
            let lines = piece[..read].split(|&byte| byte == b'\n').count() - 1;
            if lines > 0 {
                self.stats.unique += lines as u64;
                self.stats.last_nanos = now_nanos();
            }
        }
    }
}

/// Counts the arrivals at the ends of the window, then waits for the rest.
struct Watch {
    source: Source,
    before: Stats,
    begun_nanos: u64,
    drain: Duration,
}

/// A [`Watch`] after the window.
struct Watched {
    watch: Watch,
    arrived_per_sec: f64,
    ended_nanos: u64,
}

impl Watch {
    async fn begin(arrivals: Arrivals, drain: Duration) -> anyhow::Result<Self> {
        let mut source = match arrivals {
            Arrivals::Sink(sink) => Source::Sink(Connection::open(&sink).await?),
            Arrivals::File(path) => {
                Source::File(Lines { path, offset: 0, stats: Stats { unique: 0, repeated: 0, last_nanos: 0 } })
            }
        };
        let before = source.stats().await?;
        Ok(Self { source, before, begun_nanos: now_nanos(), drain })
    }

    async fn window(mut self, window: Window) -> anyhow::Result<Watched> {
        sleep_until(window.warm).await;
        let (warm, at_warm) = (self.source.stats().await?, Instant::now());
        sleep_until(window.end).await;
        let (end, at_end) = (self.source.stats().await?, Instant::now());
        let arrived_per_sec = per_sec(end.unique - warm.unique, at_end.duration_since(at_warm).as_secs_f64());
        Ok(Watched { watch: self, arrived_per_sec, ended_nanos: now_nanos() })
    }
}

impl Watched {
    /// Waits until `accepted` events have arrived since the beginning, or nothing more arrives.
    async fn drained(mut self, accepted: u64) -> anyhow::Result<Relayed> {
        let Watch { source, before, begun_nanos, drain } = &mut self.watch;
        let limit = Instant::now() + *drain;
        let mut stats = source.stats().await?;
        let mut progress = Instant::now();
        while stats.unique - before.unique < accepted && progress.elapsed() < DRAIN_STALLED && Instant::now() < limit {
            tokio::time::sleep(LOOK).await;
            let newer = source.stats().await?;
            if newer.unique > stats.unique {
                progress = Instant::now();
            }
            stats = newer;
        }
        let arrived = stats.unique - before.unique;
        let secs = |from: u64| Duration::from_nanos(stats.last_nanos.saturating_sub(from)).as_secs_f64();
        let whole = secs(*begun_nanos);
        Ok(Relayed {
            arrived_per_sec: self.arrived_per_sec,
            sustained_per_sec: if arrived == 0 { 0.0 } else { per_sec(arrived, whole) },
            drained_secs: secs(self.ended_nanos),
            missing: accepted.saturating_sub(arrived),
            repeated: stats.repeated - before.repeated,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, routing::post};
    use tokio::net::TcpListener;

    use super::*;
    use crate::null;

    const SECRET: &str = "whsec_0123456789abcdef";

    async fn serve(router: Router) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks/finkare", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.parse().unwrap()
    }

    fn plan(target: Target) -> Plan {
        Plan {
            target,
            secret: SECRET.into(),
            connections: 4,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(20),
            rate: None,
            count: Some(100),
            invoices: 10,
            prepare: 60,
            arrivals: None,
            drain: Duration::from_secs(30),
        }
    }

    #[tokio::test]
    async fn a_count_is_sent_exactly_and_ends_the_run() {
        let report = run(plan(serve(null::router(SECRET)).await)).await.unwrap();
        assert_eq!((report.accepted, report.broken, report.signed_late), (100, 0, 40));
        assert!(report.refused.is_empty());
        assert!(report.measured_secs < 20.0, "{report}");
    }

    #[tokio::test]
    async fn a_wrong_secret_accepts_nothing() {
        let error = run(plan(serve(null::router("whsec_another")).await)).await.unwrap_err().to_string();
        assert!(error.contains("nothing was accepted") && error.contains("\"401\": 100"), "{error}");
    }

    #[tokio::test]
    async fn a_fixed_rate_sends_what_is_due() {
        let plan = Plan {
            rate: Some(200.0),
            warmup: Duration::from_millis(100),
            duration: Duration::from_millis(400),
            count: None,
            ..plan(serve(null::router(SECRET)).await)
        };
        let report = run(plan).await.unwrap();
        assert_eq!((report.accepted, report.unsent), (100, 0));
    }

    /// One connection, and a server that stalls once: everything that was due meanwhile was late.
    #[tokio::test]
    async fn a_stall_is_charged_to_all_who_were_due_meanwhile() {
        let stalled = Arc::new(AtomicBool::new(false));
        let stall = move || {
            let stalled = stalled.clone();
            async move {
                if !stalled.swap(true, Relaxed) {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                StatusCode::OK
            }
        };
        let plan = Plan {
            connections: 1,
            rate: Some(100.0),
            duration: Duration::from_millis(400),
            count: None,
            ..plan(serve(Router::new().fallback(post(stall))).await)
        };
        let report = run(plan).await.unwrap();
        assert_eq!(report.accepted, 40);
        // 30 of 40 were due during the stall and waited 150 ms in the middle; answered, each took almost nothing.
        assert!(report.latency.p50 >= 80_000, "{report}");
    }

    #[tokio::test]
    async fn a_broken_connection_is_counted_and_opened_again() {
        let broken = Arc::new(AtomicU64::new(0));
        let breaks = move || {
            let number = broken.fetch_add(1, Relaxed);
            async move {
                assert!(number != 3, "the handler's panic closes the connection: that is the point");
                StatusCode::OK
            }
        };
        let report = run(plan(serve(Router::new().fallback(post(breaks))).await)).await.unwrap();
        assert_eq!((report.accepted, report.broken), (99, 1));
    }

    #[tokio::test]
    async fn arrivals_are_counted_until_all_are_there() {
        // The relay of this test passes each delivery on a good while after it has acknowledged it.
        let sink = serve(crate::sink::router()).await;
        let numbers = Arc::new(AtomicU64::new(0));
        let onward = sink.clone();
        let relay = move || {
            let (number, onward) = (numbers.fetch_add(1, Relaxed), onward.clone());
            async move {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    let mut request = hyper::Request::new(http_body_util::Full::default());
                    *request.method_mut() = hyper::Method::POST;
                    request.headers_mut().insert("webhook-id", number.into());
                    Connection::open(&onward).await.unwrap().exchange(request).await.unwrap();
                });
                StatusCode::OK
            }
        };
        let plan = Plan {
            count: None,
            rate: Some(100.0),
            duration: Duration::from_millis(600),
            arrivals: Some(Arrivals::Sink(sink)),
            ..plan(serve(Router::new().fallback(post(relay))).await)
        };
        let report = run(plan).await.unwrap();
        let relayed = report.relayed.unwrap();
        assert_eq!((report.accepted, relayed.missing, relayed.repeated), (60, 0, 0));
        assert!(relayed.drained_secs > 0.0, "the last was still on its way when the window ended");
        assert!(relayed.arrived_per_sec > 0.0 && relayed.sustained_per_sec > 0.0);
    }
    #[test]
    fn lines_are_counted_once_and_whole() {
        let path = std::env::temp_dir().join(format!("finkare-bench-lines-{}", std::process::id()));
        let mut lines = Lines { path: path.clone(), offset: 0, stats: Stats { unique: 0, repeated: 0, last_nanos: 0 } };
        lines.count().unwrap();
        assert_eq!(lines.stats.unique, 0, "a file that is not there yet has no lines");
        for (text, unique) in [("a\nb", 1), ("a\nbc\n", 2), ("a\nbc\nd\n\n", 4), ("a\nbc\nd\n\n", 4)] {
            std::fs::write(&path, text).unwrap();
            lines.count().unwrap();
            assert_eq!(lines.stats.unique, unique, "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
