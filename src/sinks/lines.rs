//! Group commit for the sinks that write lines: one thread per sink, fed by a bounded queue.
//!
//! The thread takes all waiting lines as one group, has its [`Target`] write and sync the group, and answers every caller.
//! It never waits for a group to grow: an idle sink writes a single line at once, and under load the groups grow by
//! themselves while the disk is busy. Blocking calls stay on this thread, off the runtime's workers.

use std::{fmt, io, thread};

use tokio::sync::{mpsc, oneshot};

use crate::model::dispatch::Outcome;

/// How many lines may wait, and the largest group. When the queue is full, `deliver` waits, up to the sink's time-out.
const QUEUE: usize = 1024;

/// Where a group of lines goes.
pub(super) trait Target: Send + 'static {
    /// Writes the lines in their order, each with its line break, and makes them safe. It may block.
    ///
    /// # Errors
    /// [`Failure`] if not all of the lines are safe.
    fn write(&mut self, lines: &[&[u8]]) -> Result<(), Failure>;
}

/// Why a group was not written as a whole.
#[derive(Debug)]
pub(super) struct Failure {
    /// How many of the lines, from the first on, are safe.
    pub(super) safe: usize,
    /// What happened, to which file, and what to do.
    pub(super) reason: String,
}

/// How many of the lines, from the first on, fit into `limit` bytes.
pub(super) fn fitting(lines: &[&[u8]], limit: u64) -> usize {
    let mut left = limit;
    lines
        .iter()
        .take_while(|line| match left.checked_sub(line.len() as u64) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        })
        .count()
}

struct Job {
    line: Vec<u8>,
    done: oneshot::Sender<Result<(), String>>,
}

/// The handle to the thread. When it is dropped, the thread writes the queued lines and ends.
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("free", &self.queue.capacity()).finish()
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system could not start the thread.
    pub(super) fn spawn(name: &str, target: impl Target) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        thread::Builder::new().name(name.to_owned()).spawn(move || run(jobs, target))?;
        Ok(Self { queue })
    }

    /// Writes one line, which ends in a line break, and waits until it is safe.
    ///
    /// If the future is dropped before its group is begun, the line is not written; afterwards it is.
    pub(super) async fn write(&self, line: Vec<u8>) -> Outcome {
        let (done, answer) = oneshot::channel();
        if self.queue.send(Job { line, done }).await.is_ok() {
            match answer.await {
                Ok(Ok(())) => return Outcome::Delivered,
                Ok(Err(reason)) => return Outcome::Retry { reason, after: None },
                Err(_ended) => {}
            }
        }
        // Only a panic ends the thread while this handle exists.
        let reason =
            "the sink's writing thread has ended, which is a bug: restart the service and report it".to_owned();
        Outcome::Retry { reason, after: None }
    }
}

fn run(mut queue: mpsc::Receiver<Job>, mut target: impl Target) {
    let mut jobs = Vec::new();
    while queue.blocking_recv_many(&mut jobs, QUEUE) > 0 {
        // A caller that gave up waiting will retry. Without this, a target that was stuck for a while would get the line of
        // every attempt in that time.
        jobs.retain(|job: &Job| !job.done.is_closed());
        let lines: Vec<&[u8]> = jobs.iter().map(|job| job.line.as_slice()).collect();
        let (safe, reason) = match target.write(&lines) {
            Ok(()) => (lines.len(), String::new()),
            Err(failure) => (failure.safe, failure.reason),
        };
        for (index, job) in jobs.drain(..).enumerate() {
            // An error here means that the caller has given up in the meantime.
            let _left = job.done.send(if index < safe { Ok(()) } else { Err(reason.clone()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::mpsc as blocking;

    /// Long enough that only a failure reaches it.
    const BOUND: std::time::Duration = std::time::Duration::from_secs(20);

    /// Reports each group, then waits to be told how many of its lines are safe.
    struct Stepped {
        groups: blocking::Sender<Vec<String>>,
        safe: blocking::Receiver<usize>,
    }

    impl Target for Stepped {
        fn write(&mut self, lines: &[&[u8]]) -> Result<(), Failure> {
            self.groups.send(lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()).unwrap();
            let safe = self.safe.recv().unwrap();
            if safe >= lines.len() { Ok(()) } else { Err(Failure { safe, reason: "disk full".into() }) }
        }
    }

    fn stepped() -> (Writer, blocking::Receiver<Vec<String>>, blocking::Sender<usize>) {
        let (groups, seen) = blocking::channel();
        let (allow, safe) = blocking::channel();
        (Writer::spawn("test", Stepped { groups, safe }).unwrap(), seen, allow)
    }

    #[tokio::test]
    async fn what_waits_becomes_one_group_and_each_hears_of_its_own_line() {
        let (writer, groups, allow) = stepped();
        let mut first = Box::pin(writer.write(b"1".to_vec()));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(groups.recv_timeout(BOUND).unwrap(), ["1"], "an idle writer waits for nobody");
        let mut rest: Vec<_> = (2..=5).map(|n| Box::pin(writer.write(n.to_string().into_bytes()))).collect();
        for write in &mut rest {
            assert!(write.as_mut().now_or_never().is_none());
        }
        // Given up by its caller before its group began.
        drop(rest.remove(1));
        allow.send(1).unwrap();
        assert_eq!(first.await, Outcome::Delivered);
        assert_eq!(groups.recv_timeout(BOUND).unwrap(), ["2", "4", "5"]);
        allow.send(2).unwrap();
        let mut outcomes = Vec::new();
        for write in rest {
            outcomes.push(write.await.as_str());
        }
        assert_eq!(outcomes, ["delivered", "delivered", "retry"]);
    }

    #[tokio::test]
    async fn a_thread_that_ended_is_reported() {
        let (writer, groups, allow) = stepped();
        drop((groups, allow));
        let outcome = writer.write(b"1".to_vec()).await;
        assert!(outcome.reason().unwrap().contains("restart"), "{outcome:?}");
        assert_eq!(writer.write(b"2".to_vec()).await.as_str(), "retry");
    }

    #[test]
    fn counts_what_fits() {
        let lines: [&[u8]; 3] = [b"12", b"345", b""];
        assert_eq!([0, 1, 2, 4, 5, 9].map(|limit| fitting(&lines, limit)), [0, 0, 1, 1, 3, 3]);
    }
}
