//! Another configuration, while deliveries come in.
//!
//! The new one is read and built as a whole before anything changes. If it cannot be used, the old
//! one goes on and every problem is told. If it can, the listeners answer by it from the next
//! request on; the old workers finish what they are at and give the rest back, and the new ones
//! begin. What was committed between the two waits in the store for a moment; nothing is lost and
//! nothing is sent twice that would not be otherwise.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use axum::Router;
use tokio::sync::{Mutex, watch};

use super::generation::{Foundation, Generation};
use crate::{
    config::{Config, Problems, StoreConfig},
    lifecycle::Lifecycle,
    model::{audit::NewAudit, chain::Chain},
    web::admin::reload::{Reload, ReloadError, Reloaded},
};

/// Reads the configuration again, as it was read at the start.
pub type Loader = Arc<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// What a running service can only be started with: the options, and their values.
type Fixed = Vec<(&'static str, String)>;

fn fixed(config: &Config) -> Fixed {
    let server = &config.server;
    let (store, connections) = match &config.store {
        StoreConfig::Sqlite { path } => (format!("sqlite {}", path.display()), 0),
        StoreConfig::Postgres { url, max_connections } => (url.expose().to_owned(), *max_connections),
    };
    vec![
        ("server.listen", server.listen.to_string()),
        ("server.admin_listen", server.admin_listen.to_string()),
        ("server.max_connections", server.max_connections.to_string()),
        ("server.commit_batch", server.commit_batch.to_string()),
        ("store.url", store),
        ("store.max_connections", connections.to_string()),
        ("RELAY_MASTER_KEY", config.master_key.as_ref().map(|key| key.expose().to_owned()).unwrap_or_default()),
    ]
}

/// Replaces one generation by the next.
pub(super) struct Reloader {
    foundation: Foundation,
    this: Weak<Self>,
    load: Loader,
    hooks: watch::Sender<Router>,
    api: watch::Sender<Router>,
    running: Mutex<Running>,
}

struct Running {
    fixed: Fixed,
    lifecycle: Lifecycle,
    shutdown_timeout: Duration,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Reloader {
    /// Starts the first generation and remembers how to make the next.
    pub(super) async fn start(
        foundation: Foundation,
        config: &Config,
        load: Loader,
    ) -> Result<Arc<Self>, super::StartError> {
        let reloader = Arc::new_cyclic(|this: &Weak<Self>| Self {
            foundation,
            this: this.clone(),
            load,
            hooks: watch::Sender::new(Router::new()),
            api: watch::Sender::new(Router::new()),
            running: Mutex::new(Running {
                fixed: fixed(config),
                lifecycle: Lifecycle::new(),
                shutdown_timeout: config.server.shutdown_timeout,
            }),
        });
        let first = Generation::build(&reloader.foundation, config, reloader.this.clone()).await?;
        reloader.answer_by(&first);
        reloader.running.lock().await.lifecycle = first.run();
        Ok(reloader)
    }

    /// What the public listener serves.
    pub(super) fn hooks(&self) -> watch::Receiver<Router> {
        self.hooks.subscribe()
    }

    /// What the admin listener serves.
    pub(super) fn api(&self) -> watch::Receiver<Router> {
        self.api.subscribe()
    }

    /// Answers by this generation from the next request on.
    fn answer_by(&self, generation: &Generation) {
        drop(self.hooks.send_replace(generation.hooks.clone()));
        drop(self.api.send_replace(generation.api.clone()));
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
        let next = Generation::build(&self.foundation, &config, self.this.clone())
            .await
            .map_err(|error| ReloadError::Problems(vec![Chain(&error).to_string()]))?;
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        // From here on the new routes answer; only then do the old workers stop, so that no delivery
        // is routed by a configuration whose workers have gone.
        self.answer_by(&next);
        running.lifecycle.stop(running.shutdown_timeout).await;
        running.lifecycle = next.run();
        running.shutdown_timeout = config.server.shutdown_timeout;
        tracing::info!(
            endpoints = config.endpoints.len(),
            sinks = config.sinks.len(),
            "the configuration was reloaded"
        );
        let audit = NewAudit::new(actor, "configuration.reloaded", "service")
            .with("endpoints", config.endpoints.len())
            .with("sinks", config.sinks.len());
        if let Err(error) = self.foundation.store.audit(audit).await {
            tracing::error!(error = %Chain(&error), "an audit entry could not be written");
        }
        Ok(Reloaded { endpoints: config.endpoints.len(), sinks: config.sinks.len(), notices: config.notices })
    }
}
