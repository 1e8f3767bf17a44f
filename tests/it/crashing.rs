//! Kills, stops and restarts: nothing acknowledged is lost, nothing is stored twice.

use std::{
    collections::{HashMap, HashSet},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(
    sigkill_under_load_loses_nothing_acknowledged,
    sigterm_under_load_finishes_and_exits_with_success,
    a_second_signal_ends_at_once,
    a_dead_workers_dispatch_comes_back,
);

fn sink(target: &Target, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\ntimeout_secs = 1\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
         breaker = {{ failures = 1000, probe_secs = 1 }}\n{more}\n\
         [[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"out.jsonl\"\nmax_bytes = 20000\n",
        target.url()
    )
}

/// Delivers from several senders until told to stop; each acknowledged delivery is noted at once.
struct Load {
    acknowledged: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    senders: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(finkare: &Finkare, acknowledged: &Arc<Mutex<HashMap<String, Vec<u8>>>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let senders = (0..8)
            .map(|sender| {
                let (finkare, acknowledged, stop) = (finkare.clone(), acknowledged.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut number = 0;
                    while !stop.load(Relaxed) {
                        number += 1;
                        let body = payment(&format!("invoice-{sender}-{}", number % 5), number);
                        let Ok(answer) = finkare.try_deliver(&body).await else { return };
                        if answer.status == 200 {
                            acknowledged.lock().unwrap().insert(answer.id(), body);
                        }
                    }
                })
            })
            .collect();
        Self { acknowledged: acknowledged.clone(), stop, senders }
    }

    /// Waits until this number of further deliveries was acknowledged.
    async fn acknowledged(&self, more: usize) {
        let before = self.acknowledged.lock().unwrap().len();
        eventually("acknowledgements", async || self.acknowledged.lock().unwrap().len() >= before + more).await;
    }

    async fn stop(self) {
        self.stop.store(true, Relaxed);
        for sender in self.senders {
            sender.await.expect("a sender does not panic");
        }
    }
}

/// Every id in the file sink's files; each line is complete.
fn ids_in_files(home: &Home) -> HashSet<String> {
    let mut ids = HashSet::new();
    for entry in std::fs::read_dir(home.directory.path()).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("out.jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("torn: {line}"));
            ids.insert(line["id"].as_str().unwrap().to_owned());
        }
    }
    ids
}

async fn sigkill_under_load_loses_nothing_acknowledged(backend: Backend) {
    let calls = Arc::new(AtomicU32::new(0));
    let target = Target::scripted(move |_, _| match calls.fetch_add(1, Relaxed) % 10 {
        0 => Reply::Status(503, vec![]),
        _ => Reply::Status(204, vec![]),
    })
    .await;
    let home = Home::new(backend).await;
    let config = sink(&target, "");
    let acknowledged = Arc::default();
    for round in 1..=6 {
        let relay = home.serve(&config).await;
        let load = Load::start(&Finkare::of(&relay), &acknowledged);
        // A different moment in each round: sometimes early in the relaying, sometimes in the middle.
        load.acknowledged(37 * round).await;
        relay.kill();
        load.stop().await;
    }
    let relay = home.serve(&config).await;
    relay.drained().await;
    let acknowledged = acknowledged.lock().unwrap().clone();
    let delivered = target.delivered();
    let in_files = ids_in_files(&home);
    for (id, body) in &acknowledged {
        assert_eq!(delivered.get(id).map(|bytes| &bytes[..]), Some(&body[..]), "{id} at the HTTP sink");
        assert!(in_files.contains(id), "{id} in the file");
    }
    // Events that were stored but not acknowledged arrive as well; nothing else does.
    let stored: HashSet<_> =
        relay.all("/events").await.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    assert!(acknowledged.keys().all(|id| stored.contains(id)));
    assert!(delivered.keys().all(|id| stored.contains(id)) && in_files == stored);
}

async fn sigterm_under_load_finishes_and_exits_with_success(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let config = sink(&target, "");
    let acknowledged = Arc::default();
    let relay = home.serve(&config).await;
    let load = Load::start(&Finkare::of(&relay), &acknowledged);
    load.acknowledged(200).await;
    let (exit, log) = relay.terminate().await;
    load.stop().await;
    assert!(exit.success(), "{log}");
    assert!(!log.contains("\"ERROR\""), "{log}");
    let relay = home.serve(&config).await;
    relay.drained().await;
    let delivered = target.delivered();
    assert!(acknowledged.lock().unwrap().keys().all(|id| delivered.contains_key(id)));
    let mut times: HashMap<String, u32> = HashMap::new();
    for arrival in target.arrivals() {
        *times.entry(arrival.id).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "an orderly stop repeats nothing");
}

async fn a_second_signal_ends_at_once(backend: Backend) {
    let target = Target::scripted(|_, _| Reply::Hang).await;
    let home = Home::new(backend).await;
    let config = sink(&target, "").replace("timeout_secs = 1", "timeout_secs = 300");
    let mut relay = home.serve_with("shutdown_timeout_secs = 3600", &config).await;
    Finkare::of(&relay).deliver(&payment("i", 1)).await;
    eventually("an attempt is under way", async || target.arrivals().len() == 1).await;
    relay.signal("TERM");
    relay.wait_for_line("stopping").await;
    relay.signal("TERM");
    assert_eq!(relay.ended().await.code(), Some(1));
}

/// The attempt was made, but its outcome was never recorded: the lease expires, or a restart releases it.
async fn a_dead_workers_dispatch_comes_back(backend: Backend) {
    let target = Target::scripted(|_, _| Reply::Hang).await;
    let home = Home::new(backend).await;
    let config = sink(&target, "");
    let relay = home.serve(&config).await;
    let id = Finkare::of(&relay).deliver(&payment("i", 1)).await.id();
    eventually("an attempt is under way", async || target.arrivals().len() == 1).await;
    relay.kill();
    target.script(|_, _| Reply::Status(204, vec![]));
    let relay = home.serve(&config).await;
    eventually("it arrives", async || target.delivered().contains_key(&id)).await;
    relay.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_postgres_share_the_work() {
    let target = Target::start().await;
    let home = Home::new(Backend::Postgres).await;
    let config = sink(&target, "").split("[[sinks]]\nname = \"file\"").next().unwrap().to_owned();
    let (first, second) = (home.serve(&config).await, home.serve(&config).await);
    let (one, other) = (Finkare::of(&first), Finkare::of(&second));
    let bodies: Vec<_> = (0..200).map(|number| payment(&format!("i{}", number % 20), number)).collect();
    let answers = join_all(bodies.iter().flat_map(|body| [one.deliver(body), other.deliver(body)])).await;
    for pair in answers.chunks(2) {
        assert_eq!(pair[0].id(), pair[1].id(), "one event, whichever replica was asked");
        assert_eq!(pair.iter().filter(|answer| answer.is_duplicate()).count(), 1);
    }
    first.drained().await;
    let events = second.all("/events").await;
    assert_eq!(events.len(), bodies.len());
    assert!(events.iter().all(|event| event["deliveries"] == 2));
    assert_eq!(target.arrivals().len(), bodies.len(), "each was sent once, by one of the two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_sqlite_file_is_refused() {
    let target = Target::start().await;
    let home = Home::new(Backend::Sqlite).await;
    let _relay = home.serve(&sink(&target, "")).await;
    let output = home.command().arg("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("relay.db") && said.to_lowercase().contains("another process"), "{said}");
}

#[test]
fn sh_can_send_signals() {
    // `Relay::signal` relies on this.
    assert!(Command::new("sh").args(["-c", "kill -0 $$"]).status().unwrap().success());
}
