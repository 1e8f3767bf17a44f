//! `stdout`: whole lines, and a clear word when nobody reads them.

use std::{
    io::{BufRead, BufReader, Read, pipe},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use finkare_relay::{
    model::dispatch::Outcome,
    sinks::{Message, Sink, kind::Kind, stdout},
};

use super::{BOUND, built, deliver_all, ids, message};

/// Tells the test below that it is the child.
const CHILD: &str = "SINK_STDOUT_CHILD";

/// What others print meanwhile.
fn noise() -> String {
    "noise ".repeat(50)
}

/// Only a process of its own has a standard output to look at: the test starts itself once more.
#[tokio::test(flavor = "multi_thread")]
async fn writes_whole_lines_to_the_process_s_standard_output() {
    if crate::support::variable(CHILD).is_some() {
        println!();
        let sink = built(&Kind::from(stdout::Options));
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let noise = std::thread::spawn(move || {
            while !stop.load(SeqCst) {
                println!("{}", noise());
            }
        });
        // Longer than what a pipe takes at once, so that a line goes out in several pieces.
        let messages: Vec<Message> = (0..50).map(|_| message(format!("\"{}\"", "x".repeat(100_000)))).collect();
        let outcomes = deliver_all(&sink, messages).await;
        done.store(true, SeqCst);
        noise.join().unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered));
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sinks::stdout_sink::writes_whole_lines_to_the_process_s_standard_output"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let events: String = text.split_inclusive('\n').filter(|line| line.starts_with('{')).collect();
    assert_eq!(ids(&events).len(), 50);
    let whole = text.lines().filter(|line| *line == noise()).count();
    assert!(
        whole > 0 && whole == text.lines().filter(|line| line.contains("noise")).count(),
        "so are the others' lines"
    );
}

#[tokio::test]
async fn a_reader_that_waits_holds_up_only_the_lines() {
    let (reader, writer) = pipe().unwrap();
    let sink: Arc<dyn Sink> = Arc::new(stdout::Stdout::on(OwnedFd::from(writer).into()));
    let big = message(format!("\"{}\"", "x".repeat(1_000_000)));
    let stuck = {
        let (sink, big) = (Arc::clone(&sink), big.clone());
        tokio::spawn(async move { sink.deliver(&big).await })
    };
    let mut reader = BufReader::new(reader);
    // The first byte shows that the thread is in the middle of the line; this runtime has one
    // thread, so that a write on it would let nothing below happen.
    let mut first = [0];
    let (mut reader, first) =
        tokio::task::spawn_blocking(move || reader.read_exact(&mut first).map(|()| (reader, first)))
            .await
            .unwrap()
            .unwrap();
    assert!(!stuck.is_finished());
    // Its caller's patience has ended before it was written: it is not written at all.
    let given_up = message("\"given up\"");
    let mut waiting = sink.deliver(&given_up);
    assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
    drop(waiting);

    let lines = tokio::task::spawn_blocking(move || {
        let mut line = first.to_vec();
        reader.read_until(b'\n', &mut line).map(|_| (line, reader))
    });
    let (line, mut reader) = tokio::time::timeout(BOUND, lines).await.unwrap().unwrap().unwrap();
    assert_eq!(ids(&String::from_utf8(line).unwrap()), [big.event_id.to_string()]);
    assert_eq!(stuck.await.unwrap(), Outcome::Delivered);
    let last = message("\"last\"");
    assert_eq!(sink.deliver(&last).await, Outcome::Delivered);
    drop(sink);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(ids(&rest), [last.event_id.to_string()]);
}

/// `head` ends after its lines: what it did not read was never called lost or delivered wrongly.
#[tokio::test]
async fn a_reader_that_leaves_is_a_reason_to_try_again() {
    let mut child = Command::new("head").args(["-n", "1"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let sink = stdout::Stdout::on(OwnedFd::from(child.stdin.take().unwrap()).into());
    assert_eq!(sink.deliver(&message("1")).await, Outcome::Delivered);
    tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    let outcome = sink.deliver(&message("2")).await;
    assert!(matches!(&outcome, Outcome::Retry { reason, .. } if reason.contains("has ended")), "{outcome:?}");
}
