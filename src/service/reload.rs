//! Replaces the configuration while deliveries come in.
//!
//! The new configuration is read and built completely before anything changes. If it cannot be used, the old one stays in
//! force and every problem is reported. Otherwise the listeners use it from the next request on. Each changed sink gets a
//! new worker as soon as its previous worker has finished its running attempts; nothing waits for that, and all other
//! workers continue. Events that are committed meanwhile for a changed sink wait in the store: nothing is lost, and a reload
//! causes no repeated deliveries.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use axum::Router;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, watch};

use super::{
    generation::{Foundation, Generation, Kept},
    succession::Succession,
};
use crate::{
    activity,
    config::{Config, StoreConfig},
    dispatch::maintenance,
    model::{audit::NewAudit, chain::Chain, id::SinkName},
    notices,
    options::Problems,
    reconcile,
    web::admin::reload::{Reload, ReloadError, Reloaded},
};

/// Reads the configuration again, as it was read at the start.
pub type Loader = Arc<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// The options that take effect only at a start, with hashes of their values. Two of them are secret; a hash is enough to
/// notice a change.
type Fixed = Vec<(&'static str, [u8; 32])>;

fn fixed(config: &Config) -> Fixed {
    let hash = |text: &str| <[u8; 32]>::from(Sha256::digest(text));
    let server = &config.server;
    let (store, connections) = match &config.store {
        StoreConfig::Sqlite { path } => (hash(&format!("sqlite {}", path.display())), 0),
        StoreConfig::Postgres { url, max_connections } => (hash(url.expose()), *max_connections),
    };
    vec![
        ("server.listen", hash(&server.listen.to_string())),
        ("server.admin_listen", hash(&server.admin_listen.to_string())),
        ("server.max_connections", hash(&server.max_connections.to_string())),
        ("server.commit_batch", hash(&server.commit_batch.to_string())),
        ("store.url", store),
        ("store.max_connections", hash(&connections.to_string())),
        ("RELAY_MASTER_KEY", hash(config.master_key.as_ref().map_or("", |key| key.expose()))),
    ]
}

/// Replaces one generation by the next one.
pub(super) struct Reloader {
    foundation: Foundation,
    this: Weak<Self>,
    load: Loader,
    hooks: watch::Sender<Router>,
    api: watch::Sender<Router>,
    /// How long the service waits at its end for running work.
    shutdown_timeout: std::sync::Mutex<Duration>,
    running: Mutex<Running>,
}

struct Running {
    fixed: Fixed,
    kept: Kept,
    workers: HashMap<SinkName, Succession>,
    maintenance: Succession,
    activity: Succession,
    notices: Succession,
    reconciling: Succession,
    /// What this process has seen for the relay's own events: it outlives a reload.
    eyes: Arc<Mutex<notices::Eyes>>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Reloader {
    /// Starts the first generation and remembers how to build the next one.
    pub(super) async fn start(
        foundation: Foundation,
        config: &Config,
        load: Loader,
    ) -> Result<Arc<Self>, super::StartError> {
        let lifecycle = foundation.lifecycle.clone();
        let reloader = Arc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            load,
            hooks: watch::Sender::new(Router::new()),
            api: watch::Sender::new(Router::new()),
            shutdown_timeout: std::sync::Mutex::new(config.server.shutdown_timeout),
            running: Mutex::new(Running {
                fixed: fixed(config),
                kept: Kept::default(),
                workers: HashMap::new(),
                maintenance: Succession::new(&lifecycle),
                activity: Succession::new(&lifecycle),
                notices: Succession::new(&lifecycle),
                reconciling: Succession::new(&lifecycle),
                eyes: Arc::default(),
            }),
            foundation,
        });
        let on = &reloader.foundation;
        let first = Generation::build(on, config, reloader.this.clone(), &Kept::default()).await?;
        // These tasks live as long as the process; a reload sends them the changes.
        lifecycle.spawn("secrets", on.secrets.clone().run(lifecycle.clone()));
        lifecycle.spawn("links", on.links.clone().run());
        let mut running = reloader.running.lock().await;
        reloader.go_over(&mut running, first, config.server.shutdown_timeout);
        drop(running);
        Ok(reloader)
    }

    /// How long the service waits at its end for running work.
    pub(super) fn shutdown_timeout(&self) -> Duration {
        *self.shutdown_timeout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The routes of the public listener.
    pub(super) fn hooks(&self) -> watch::Receiver<Router> {
        self.hooks.subscribe()
    }

    /// The routes of the admin listener.
    pub(super) fn api(&self) -> watch::Receiver<Router> {
        self.api.subscribe()
    }

    /// Uses this generation from the next request on, and replaces the tasks. It does not wait: the previous workers finish
    /// their running attempts, each for at most `patience`, and then their successors begin.
    fn go_over(&self, running: &mut Running, generation: Generation, patience: Duration) {
        let on = &self.foundation;
        // The routes come first, so that no delivery is routed by a configuration whose workers have ended.
        drop(self.hooks.send_replace(generation.hooks));
        drop(self.api.send_replace(generation.api));
        *self.shutdown_timeout.lock().unwrap_or_else(PoisonError::into_inner) = patience;
        for name in generation.end {
            if let Some(worker) = running.workers.get(&name) {
                worker.end(patience);
            }
        }
        for (feeding, sink, view) in generation.begin {
            let metrics = on.metrics.sink(feeding.name.as_str());
            let place = running.workers.entry(feeding.name.clone()).or_insert_with(|| Succession::new(&on.lifecycle));
            let relaying = on.relaying.clone();
            place.replace(patience, move |part| relaying.feed(feeding, sink, &view, metrics, part));
        }
        if let Some(retention) = generation.retention {
            let crate::config::Retention { payload, dedupe, ledger } = retention;
            let (store, ages) = (on.store.clone(), maintenance::Ages { payload, dedupe, ledger });
            running.maintenance.replace(patience, move |part| {
                part.spawn("maintenance", maintenance::run(store, ages, part.clone()));
            });
        }
        if let Some(watch) = generation.watch {
            running
                .activity
                .replace(patience, move |part| part.spawn("activity", activity::watch(watch, part.clone())));
        }
        let (store, scene, eyes) = (on.store.clone(), generation.scene, running.eyes.clone());
        running.notices.replace(patience, move |part| {
            part.spawn("notices", notices::run(store, scene, eyes, part.clone()));
        });
        let (store, scene, poke) = (on.store.clone(), generation.reconciling, on.reconciling.clone());
        running.reconciling.replace(patience, move |part| {
            part.spawn("reconciliations", reconcile::run(store, scene, poke, part.clone()));
        });
        running.kept = generation.kept;
    }
}

#[async_trait]
impl Reload for Reloader {
    async fn reload(&self, actor: &str) -> Result<Reloaded, ReloadError> {
        let mut running = self.running.try_lock().map_err(|_| ReloadError::Busy)?;
        if self.foundation.lifecycle.soft.is_cancelled() {
            return Err(ReloadError::Stopping);
        }
        let config = (self.load)().map_err(|problems| ReloadError::Problems(problems.lines()))?;
        let changed: Vec<_> = fixed(&config)
            .into_iter()
            .zip(&running.fixed)
            .filter(|(new, old)| new != *old)
            .map(|((name, _), _)| {
                format!("{name} takes effect at a start only: restart the service, or change it back")
            })
            .collect();
        if !changed.is_empty() {
            return Err(ReloadError::Problems(changed));
        }
        let next = Generation::build(&self.foundation, &config, self.this.clone(), &running.kept)
            .await
            .map_err(|error| ReloadError::Problems(vec![Chain(&error).to_string()]))?;
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        let changes = next.changes.clone();
        self.go_over(&mut running, next, config.server.shutdown_timeout);
        drop(running);
        tracing::info!(
            endpoints = config.endpoints.len(),
            sinks = config.sinks.len(),
            differs = %changes,
            "the configuration was reloaded"
        );
        let audit = NewAudit::new(actor, "configuration.reloaded", "service")
            .with("endpoints", config.endpoints.len())
            .with("sinks", config.sinks.len())
            .with("differs", changes.to_string());
        if let Err(error) = self.foundation.store.audit(audit).await {
            tracing::error!(error = %Chain(&error), "an audit entry could not be written");
        }
        Ok(Reloaded {
            endpoints: config.endpoints.len(),
            sinks: config.sinks.len(),
            notices: config.notices,
            file: config.file.map(|file| file.display().to_string()),
            differs: !changes.is_empty(),
            changes,
        })
    }
}
