//! Stopping in order: two tokens and a tracker.
//!
//! [`Lifecycle::soft`] asks tasks to accept nothing new (connections, claims) and to finish their running work.
//! [`Lifecycle::hard`] asks them to drop their running work; leases go back to the store. Every task runs on the tracker, so
//! that it is known when everything has ended. A task that ends although it was not asked to is a failure: the process
//! exits with an error and its supervisor restarts it, rather than go on with a part missing.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tokens and the tracker of one service, or of a part of it that can be stopped by itself.
/// Clones share them.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    /// Cancelled when nothing new may be accepted.
    pub soft: CancellationToken,
    /// Cancelled when running work has to be dropped.
    pub hard: CancellationToken,
    tasks: TaskTracker,
    whole: Whole,
}

/// What all parts of one service share.
#[derive(Debug, Clone, Default)]
struct Whole {
    /// The tasks of all parts.
    tasks: TaskTracker,
    /// Asks the whole service to stop.
    stop: CancellationToken,
    failed: CancellationToken,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// The lifecycle of a new service.
    pub fn new() -> Self {
        let whole = Whole::default();
        Self { soft: whole.stop.clone(), hard: CancellationToken::new(), tasks: whole.tasks.clone(), whole }
    }

    /// A part that stops together with the whole service, or alone by its own [`Lifecycle::stop`]. If one of its tasks ends
    /// unasked, the whole service has failed.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            soft: self.soft.child_token(),
            hard: self.hard.child_token(),
            tasks: TaskTracker::new(),
            whole: self.whole.clone(),
        }
    }

    /// Runs a task that has to live until it is asked to stop. If it ends or panics before that, the whole service stops,
    /// and [`Lifecycle::failed`] answers true.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let counted = self.whole.tasks.token();
        let task = self.tasks.spawn(task);
        let lifecycle = self.clone();
        self.tasks.spawn(async move {
            let result = task.await;
            if let Err(error) = &result {
                tracing::error!(task = name, %error, "a task panicked: stopping");
            } else if !lifecycle.soft.is_cancelled() {
                tracing::error!(task = name, "a task ended unexpectedly: stopping");
            }
            if result.is_err() || !lifecycle.soft.is_cancelled() {
                lifecycle.whole.failed.cancel();
                lifecycle.whole.stop.cancel();
            }
            drop(counted);
        });
    }

    /// Runs a piece of work to its end, even if the returned future is dropped. The work continues after a soft stop; a hard
    /// stop drops it. The answer is `None` if it was dropped, or if it panicked, which is logged.
    ///
    /// The work begins at once, not when the future is first polled.
    pub fn run_to_end<T, F>(&self, name: &'static str, work: F) -> impl Future<Output = Option<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let counted = self.whole.tasks.token();
        let work = self.hard.clone().run_until_cancelled_owned(work);
        let work = self.tasks.spawn(async move {
            let done = work.await;
            drop(counted);
            done
        });
        async move {
            work.await.unwrap_or_else(|error| {
                tracing::error!(task = name, %error, "a background task panicked");
                None
            })
        }
    }

    /// True once a task has ended unasked.
    pub fn failed(&self) -> bool {
        self.whole.failed.is_cancelled()
    }

    /// Stops: asks everything to finish, and after `bound` drops what has not finished. Answers true if everything finished
    /// in time.
    ///
    /// Dropping the future leaves the tokens as they are.
    pub async fn stop(&self, bound: Duration) -> bool {
        self.soft.cancel();
        self.tasks.close();
        if tokio::time::timeout(bound, self.tasks.wait()).await.is_ok() {
            return true;
        }
        tracing::warn!(
            after_ms = crate::model::clock::millis(bound),
            "not everything finished in time: dropping the rest"
        );
        self.hard.cancel();
        // Dropped work only has to return its leases.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_stops_the_service() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("short", async {});
        lifecycle.soft.cancelled().await;
        assert!(lifecycle.failed());
    }

    #[tokio::test]
    async fn a_task_that_was_asked_to_end_is_no_failure() {
        let lifecycle = Lifecycle::new();
        let soft = lifecycle.soft.clone();
        lifecycle.spawn("good", async move { soft.cancelled().await });
        assert!(lifecycle.stop(Duration::from_secs(30)).await);
        assert!(!lifecycle.failed());
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_and_after_a_soft_stop() {
        let lifecycle = Lifecycle::new();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (done, ended) = tokio::sync::oneshot::channel();
        drop(lifecycle.run_to_end("work", async move {
            gone.await.unwrap();
            done.send(()).unwrap();
        }));
        lifecycle.soft.cancel();
        go.send(()).unwrap();
        ended.await.unwrap();
        assert!(lifecycle.stop(Duration::from_secs(30)).await && !lifecycle.failed());
    }

    #[tokio::test]
    async fn a_hard_stop_drops_work() {
        let lifecycle = Lifecycle::new();
        let work = lifecycle.run_to_end("work", std::future::pending::<()>());
        lifecycle.hard.cancel();
        assert_eq!(work.await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_stops_alone_and_the_whole_waits_for_its_parts() {
        let whole = Lifecycle::new();
        let (part, other) = (whole.part(), whole.part());
        for lifecycle in [&part, &other] {
            let soft = lifecycle.soft.clone();
            lifecycle.spawn("good", async move { soft.cancelled().await });
        }
        assert!(part.stop(Duration::from_secs(30)).await);
        assert!(!whole.soft.is_cancelled() && !other.soft.is_cancelled());
        let hard = other.hard.clone();
        other.spawn("stubborn", async move { hard.cancelled().await });
        assert!(!whole.stop(Duration::from_secs(1)).await, "it waited for the part's stubborn task");
        assert!(!whole.failed());
    }

    #[tokio::test]
    async fn a_failure_of_a_part_stops_the_whole() {
        let whole = Lifecycle::new();
        whole.part().spawn("short", async {});
        whole.soft.cancelled().await;
        assert!(whole.failed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_dropped() {
        let lifecycle = Lifecycle::new();
        let hard = lifecycle.hard.clone();
        lifecycle.spawn("stubborn", async move { hard.cancelled().await });
        assert!(!lifecycle.stop(Duration::from_secs(1)).await);
    }
}
