//! Tells the replicas of new work: `NOTIFY` on one channel, with the names of the sinks.
//!
//! The notification is part of the transaction that wrote the work, so nobody looks too early. What
//! is announced while a listener has no connection is lost; it wakes everybody when it is back.
//! Between, workers poll.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{
    Executor, PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ACQUIRE_TIMEOUT;
use crate::{
    model::{backoff, id::SinkName},
    store::wake::Wakeups,
};

/// The channel that every replica listens on.
pub(super) const CHANNEL: &str = "relay_dispatch";

/// A payload must stay below 8000 bytes, <https://www.postgresql.org/docs/current/sql-notify.html>.
/// A longer list of names becomes an empty one, which means all.
const MAX_PAYLOAD: usize = 7000;

/// A connection on which nothing comes could be one whose server vanished without a word: after
/// this long we ask.
const QUIET: Duration = Duration::from_secs(30);

/// The waits between two tries to listen.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The sinks' names as a notification carries them; empty means all.
pub(super) fn payload<'a>(sinks: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = sinks.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let text = names.join(",");
    if text.len() > MAX_PAYLOAD { String::new() } else { text }
}

/// Tells the other replicas, when the transaction commits, that there is something to claim.
pub(super) async fn announce<'a>(
    connection: &mut PgConnection,
    sinks: impl IntoIterator<Item = &'a str>,
) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(payload(sinks)).execute(connection).await?;
    Ok(())
}

/// Wakes those whom a notification names.
fn hear(wakeups: &Wakeups, payload: &str) {
    // A name that cannot be one comes from a newer replica: better one wake-up too many.
    match payload.split(',').map(SinkName::new).collect::<Result<Vec<_>, _>>() {
        Ok(sinks) => wakeups.wake(&sinks),
        Err(_) => wakeups.wake_all(),
    }
}

/// The task that listens, on a connection of its own.
#[derive(Debug)]
pub(super) struct Listener {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Listener {
    /// Starts it; it tries for as long as it is not stopped.
    pub(super) fn start(options: PgConnectOptions, wakeups: Arc<Wakeups>) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let _ = stopped.run_until_cancelled(listen_forever(options, &wakeups)).await;
        });
        Self { stop, task: Mutex::new(Some(task)) }
    }

    /// Stops it and waits for its end.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().expect("no code panics while it holds this lock").take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(error = %error, "the task that listened for notifications had failed");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen_forever(options: PgConnectOptions, wakeups: &Wakeups) {
    let mut failures = 0;
    loop {
        let error = listen(&options, wakeups, &mut failures).await;
        failures += 1;
        let wait = backoff::next_wait(FIRST_WAIT, LONGEST_WAIT, failures, rand::random());
        tracing::warn!(
            error = %error,
            retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "not listening for other replicas' work: workers poll meanwhile"
        );
        tokio::time::sleep(wait).await;
    }
}

/// Listens until something is wrong. `failures` is set back once it works.
async fn listen(options: &PgConnectOptions, wakeups: &Wakeups, failures: &mut u32) -> sqlx::Error {
    let result: Result<std::convert::Infallible, sqlx::Error> = async {
        // A pool of one, because the driver's listener wants a pool. Made anew after every failure:
        // the driver's own reconnecting knows only some of the ways in which a connection dies.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        *failures = 0;
        // Whatever was announced before is lost.
        wakeups.wake_all();
        loop {
            let Ok(notification) = tokio::time::timeout(QUIET, listener.try_recv()).await else {
                let asked = tokio::time::timeout(ACQUIRE_TIMEOUT, listener.execute("SELECT 1")).await;
                asked.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
                continue;
            };
            match notification? {
                Some(notification) => hear(wakeups, notification.payload()),
                None => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
            }
        }
    }
    .await;
    match result {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_each_sink_once_or_means_all() {
        assert_eq!(payload(["erp", "books", "erp"]), "books,erp");
        assert_eq!(payload([]), "");
        let many: Vec<_> = (0..200).map(|n| format!("{n:063}")).collect();
        assert_eq!(payload(many.iter().map(String::as_str)), "");
    }

    #[tokio::test]
    async fn who_is_named_is_woken_and_an_unclear_name_wakes_all() {
        let wakeups = Wakeups::default();
        let sinks = ["erp", "books"].map(|name| SinkName::new(name).unwrap());
        let [erp, books] = sinks.each_ref().map(|sink| wakeups.of(sink));
        let woken = |notify: &tokio::sync::Notify| {
            use futures_util::FutureExt;
            notify.notified().now_or_never().is_some()
        };
        hear(&wakeups, "erp");
        assert_eq!((woken(&erp), woken(&books)), (true, false));
        for all in ["", "erp,not a name"] {
            hear(&wakeups, all);
            assert_eq!((woken(&erp), woken(&books)), (true, true), "{all:?}");
        }
    }
}
