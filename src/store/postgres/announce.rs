//! Tells the replicas of new work: `NOTIFY` on one channel, with the names of the sinks. And, on another, that a
//! secret or an intent changed.
//!
//! Accepts, which come in thousands a second, leave it to the [`Announcer`]: a task that notifies after
//! the commit, at once after a silence and then every [`PAUSE`]. A notification in the accept's own
//! transaction would take a lock of the whole database and hold it while the commit waits for the
//! disk (`PreCommit_Notify` in `async.c` of the server), one accept after the other. If the process
//! dies in between, the other replicas find the work when they poll. What is rare (a retry, a replay,
//! leases given back, whatever concerns the link to Finkare) notifies within its transaction.
//!
//! Nobody looks too early: what is announced is committed. What is announced while a listener has no
//! connection is lost; it wakes everybody when it is back. Between, workers poll.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{
    Executor, PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    ACQUIRE_TIMEOUT, Again, Connections,
    pool::{self, Place},
};
use crate::{
    model::{backoff, chain::Chain, id::SinkName},
    store::wake::Wakeups,
};

/// The channel that every replica listens on.
pub(super) const CHANNEL: &str = "relay_dispatch";

/// Says that something about the link to Finkare changed: a secret, an intent. Whoever hears it reads all.
const LINK_CHANNEL: &str = "relay_link";

/// A payload must stay below 8000 bytes, <https://www.postgresql.org/docs/current/sql-notify.html>.
/// A longer list of names becomes an empty one, which means all.
const MAX_PAYLOAD: usize = 7000;

/// The wait after a notification of the [`Announcer`]; what is written meanwhile goes out together.
const PAUSE: Duration = Duration::from_millis(25);

/// A connection on which nothing comes could be one whose server vanished without a word: after
/// this long we ask, and at once when another connection has not answered.
const QUIET: Duration = Duration::from_secs(30);

/// How long finding out why no connection comes about may take.
const DIAGNOSIS: Duration = Duration::from_secs(1);

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

/// Tells the other replicas, when the transaction commits, that a secret or an intent changed.
pub(super) async fn link(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, '')").bind(LINK_CHANNEL).execute(connection).await?;
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

/// A task that is stopped, and waited for, by its owner.
#[derive(Debug)]
struct Task {
    stop: CancellationToken,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Task {
    /// Starts it; the work ends by itself once the token is cancelled.
    fn start<W: Future<Output = ()> + Send + 'static>(work: impl FnOnce(CancellationToken) -> W) -> Self {
        let stop = CancellationToken::new();
        let handle = tokio::spawn(work(stop.clone()));
        Self { stop, handle: Mutex::new(Some(handle)) }
    }

    async fn stop(&self, what: &str) {
        self.stop.cancel();
        let handle = self.handle.lock().expect("no code panics while it holds this lock").take();
        if let Some(handle) = handle
            && let Err(error) = handle.await
        {
            tracing::error!(error = %error, "the task that {what} had failed");
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The task that listens, on a connection of its own.
#[derive(Debug)]
pub(super) struct Listener(Task);

impl Listener {
    /// Starts it; it tries for as long as it is not stopped.
    pub(super) fn start(options: PgConnectOptions, silences: watch::Receiver<u64>, wakeups: Arc<Wakeups>) -> Self {
        Self(Task::start(async move |stop: CancellationToken| {
            let _ = stop.run_until_cancelled(listen_forever(options, silences, &wakeups)).await;
        }))
    }

    /// Stops it and waits for its end.
    pub(super) async fn stop(&self) {
        self.0.stop("listened for notifications").await;
    }
}

/// The sinks for which something was written and not announced yet.
#[derive(Debug, Default)]
struct Owed {
    sinks: Mutex<BTreeSet<SinkName>>,
    more: Notify,
}

impl Owed {
    fn take(&self) -> BTreeSet<SinkName> {
        std::mem::take(&mut *self.sinks.lock().expect("no code panics while it holds this lock"))
    }
}

/// The task that notifies on behalf of accepts; see the [module](self).
#[derive(Debug)]
pub(super) struct Announcer {
    owed: Arc<Owed>,
    task: Task,
}

impl Announcer {
    /// Starts it.
    pub(super) fn start(connections: Connections) -> Self {
        let owed = Arc::new(Owed::default());
        let owing = owed.clone();
        let task = Task::start(async move |stop| announce_until(&stop, &connections, &owing).await);
        Self { owed, task }
    }

    /// Has the other replicas told, within [`PAUSE`] and a round trip, that there is something to
    /// claim. To be called after the commit.
    pub(super) fn announce<'a>(&self, sinks: impl IntoIterator<Item = &'a SinkName>) {
        let mut owed = self.owed.sinks.lock().expect("no code panics while it holds this lock");
        let mut new = false;
        for sink in sinks {
            if !owed.contains(sink) {
                new = owed.insert(sink.clone());
            }
        }
        drop(owed);
        if new {
            self.owed.more.notify_one();
        }
    }

    /// Has it tell what is owed still, and waits for its end.
    pub(super) async fn stop(&self) {
        self.task.stop("announced new work").await;
    }
}

async fn announce_until(stop: &CancellationToken, connections: &Connections, owed: &Owed) {
    let mut last = false;
    while !last {
        // A permit that was stored while we were busy lets this return at once.
        let _ = stop.run_until_cancelled(owed.more.notified()).await;
        // Asked before taking: whatever is owed when we are stopped goes out in one more round.
        last = stop.is_cancelled();
        let sinks = owed.take();
        if sinks.is_empty() {
            continue;
        }
        let told = connections
            .run("telling the other replicas of new work", Again::Harmless, async || {
                let mut checkout = connections.checkout().await?;
                connections.soon(announce(checkout.on(), sinks.iter().map(SinkName::as_str))).await?;
                checkout.finish();
                Ok(())
            })
            .await;
        if let Err(error) = told {
            tracing::warn!(error = %Chain(&error), "could not tell other replicas of new work: their workers find it when they poll");
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
}

async fn listen_forever(options: PgConnectOptions, mut silences: watch::Receiver<u64>, wakeups: &Wakeups) {
    let mut failures = 0;
    loop {
        let error = listen(&options, &mut silences, wakeups, &mut failures).await;
        failures += 1;
        let wait = backoff::next_wait(FIRST_WAIT, LONGEST_WAIT, failures, rand::random());
        tracing::warn!(
            error,
            retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "cannot hear of other replicas' new work: workers poll until the connection is back"
        );
        tokio::time::sleep(wait).await;
    }
}

/// Listens until something is wrong. `failures` is set back once it works.
async fn listen(
    options: &PgConnectOptions,
    silences: &mut watch::Receiver<u64>,
    wakeups: &Wakeups,
    failures: &mut u32,
) -> String {
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
        listener.listen_all([CHANNEL, LINK_CHANNEL]).await?;
        *failures = 0;
        // Whatever was announced before is lost.
        wakeups.wake_all();
        wakeups.link_changed();
        loop {
            let heard = tokio::select! {
                heard = listener.try_recv() => Some(heard),
                () = tokio::time::sleep(QUIET) => None,
                // Another connection did not answer: does this one?
                Ok(()) = silences.changed() => None,
            };
            let Some(notification) = heard else {
                let asked = tokio::time::timeout(ACQUIRE_TIMEOUT, listener.execute("SELECT 1")).await;
                asked.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
                continue;
            };
            match notification? {
                Some(notification) if notification.channel() == LINK_CHANNEL => wakeups.link_changed(),
                Some(notification) => hear(wakeups, notification.payload()),
                None => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
            }
        }
    }
    .await;
    let error = match result {
        Ok(never) => match never {},
        Err(error) => error,
    };
    if matches!(error, sqlx::Error::PoolTimedOut) {
        // The driver's pool keeps the reason to itself.
        let again = pool::connect(options, &Place::of(options), tokio::time::Instant::now() + DIAGNOSIS).await;
        return match again {
            Err(reason) => Chain(&reason).to_string(),
            Ok(_) => format!("no connection came about within {} s; now one does", ACQUIRE_TIMEOUT.as_secs()),
        };
    }
    Chain(&error).to_string()
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
