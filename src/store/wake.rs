//! The wake-up: tells the workers of a sink that there is something to claim.
//!
//! In one process it is a [`Notify`] per sink; between replicas the Postgres store passes the sinks' names on by
//! `NOTIFY`. A wake-up may be lost, doubled or early: workers also poll. A permit is kept while no worker waits, so
//! that work announced between a claim and the next wait is not missed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::{Notify, watch};

use crate::model::id::SinkName;

/// One wake-up call per sink.
#[derive(Debug, Default)]
pub struct Wakeups {
    sinks: Mutex<HashMap<SinkName, Arc<Notify>>>,
    link: watch::Sender<()>,
}

impl Wakeups {
    /// The wake-up call of a sink; created on first use.
    pub fn of(&self, sink: &SinkName) -> Arc<Notify> {
        self.lock().entry(sink.clone()).or_default().clone()
    }

    /// Wakes the worker of each sink.
    pub fn wake<'a>(&self, sinks: impl IntoIterator<Item = &'a SinkName>) {
        let known = self.lock();
        for sink in sinks {
            if let Some(notify) = known.get(sink) {
                notify.notify_one();
            }
        }
    }

    /// Wakes all workers: an announcement may have been missed.
    pub fn wake_all(&self) {
        self.lock().values().for_each(|notify| notify.notify_one());
    }

    /// Receives every change of a secret or an intent, of any endpoint; see [`super::link`].
    pub fn link(&self) -> watch::Receiver<()> {
        self.link.subscribe()
    }

    /// Announces such a change.
    pub fn link_changed(&self) {
        self.link.send_replace(());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SinkName, Arc<Notify>>> {
        self.sinks.lock().expect("no code panics while it holds this lock")
    }
}
