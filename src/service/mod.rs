//! The composition root: a validated [`Config`] becomes a running service.
//!
//! `serve` and `demo` both start the service here. The order matters: the store is opened and migrated before anything
//! listens, and both listeners are bound before anything is claimed. Stopping uses the reverse order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use finkare::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    activity::Board,
    config::{Config, StoreConfig},
    dispatch::Relaying,
    ingest::{committer, explain::Refusals},
    lifecycle::Lifecycle,
    link::{LinkedEndpoint, Links},
    listener::{self, Routes},
    model::clock,
    pressure::Pressure,
    resolve,
    secrets::{
        Secrets, SecretsError, Source,
        vault::{Vault, VaultError},
    },
    store::{
        Store, StoreError,
        postgres::PostgresStore,
        sqlite::{ProcessLock, SqliteStore},
    },
    telemetry::Metrics,
    traffic::{self, Keeper},
    web::{
        admin::reload::{Reload, ReloadError, Reloaded},
        health::Health,
    },
};

mod difference;
mod generation;
mod made_up;
mod reload;
mod succession;
mod test_event;
pub(crate) mod trying;

use generation::Foundation;
pub use generation::build_sinks;
pub(crate) use generation::route;
pub use made_up::{discard_made_up, keep_made_up};
pub use reload::Loader;
use reload::Reloader;

/// How many events may wait for the writer: less than half a second of the rate that one disk can take.
const QUEUE: usize = 4096;
/// Payload bytes in one transaction.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The most admin connections at the same time.
const ADMIN_CONNECTIONS: usize = 128;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({option}): is another program running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option to change.
        option: &'static str,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The endpoints' secrets cannot be used.
    #[error("the webhook secrets cannot be used")]
    Secrets(#[from] SecretsError),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] VaultError),
    /// There is no master key.
    #[error("there is no master key to encrypt stored secrets with: set RELAY_MASTER_KEY (`openssl rand -base64 32`)")]
    NoMasterKey,
    /// A generated secret cannot be written to its file.
    #[error("a generated secret cannot be written to its file")]
    Unkept(#[source] std::io::Error),
    /// Another process has generated the secret at the same moment.
    #[error("`{}` was created by another process at the same time: start the service again", .0.display())]
    MadeMeanwhile(std::path::PathBuf),
    /// An endpoint's options for Finkare's API cannot be used.
    #[error("endpoint {name}: {problem}")]
    Api {
        /// The endpoint.
        name: String,
        /// What to change.
        problem: String,
    },
    /// A sink cannot be built.
    #[error("sink {name}: {problem}")]
    Sink {
        /// The sink.
        name: String,
        /// What to change.
        problem: String,
    },
}

/// An open store and the lock on its file.
#[derive(Debug)]
pub struct OpenStore {
    /// The store.
    pub store: Arc<dyn Store>,
    lock: Option<ProcessLock>,
}

/// Opens the configured store without changing its schema.
///
/// With `exclusive`, an SQLite file is locked for this process until the answer is dropped.
///
/// # Errors
/// If the store cannot be opened, or if another process has locked it.
pub async fn open_store(config: &StoreConfig, exclusive: bool) -> Result<OpenStore, StoreError> {
    open_store_for(config, exclusive, None).await
}

/// Like [`open_store`], for a service that answers deliveries within `answer`.
async fn open_store_for(
    config: &StoreConfig,
    exclusive: bool,
    answer: Option<Duration>,
) -> Result<OpenStore, StoreError> {
    Ok(match config {
        StoreConfig::Sqlite { path } => {
            let lock = if exclusive { Some(SqliteStore::lock(path)?) } else { None };
            OpenStore { store: Arc::new(SqliteStore::open(path).await?), lock }
        }
        StoreConfig::Postgres { url, max_connections } => {
            let store = match answer {
                Some(answer) => PostgresStore::connect_for(url, *max_connections, answer).await?,
                None => PostgresStore::connect(url, *max_connections).await?,
            };
            OpenStore { store: Arc::new(store), lock: None }
        }
    })
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    /// The address of the public listener.
    pub public: SocketAddr,
    /// The address of the admin listener.
    pub admin: SocketAddr,
    /// Shows whether a part has failed.
    pub lifecycle: Lifecycle,
    reloader: Arc<Reloader>,
    traffic: Arc<Keeper>,
    store: OpenStore,
}

impl Service {
    /// Starts everything; when this returns, deliveries are accepted. `load` reads the configuration again for a reload.
    ///
    /// # Errors
    /// Says why the service cannot start, and what to change. Nothing is left running.
    pub async fn start(config: &Config, load: Loader) -> Result<Self, StartError> {
        let vault = vault(config)?;
        let open = open_store_for(&config.store, true, Some(config.server.ack_timeout)).await?;
        let store = &open.store;
        prepare(&open).await?;

        let lifecycle = Lifecycle::new();
        let (committer, writer) = committer::Committer::new(
            store,
            committer::Limits {
                queue: QUEUE,
                batch: config.server.commit_batch,
                batch_bytes: BATCH_BYTES,
                timeout: config.server.ack_timeout * 2,
            },
            Pressure::default(),
        );
        let metrics = Arc::new(Metrics::new());
        let traffic = Arc::new(Keeper::new(store.clone(), metrics.clone(), clock::now()));
        let board = Board::default();
        let (refusals, explaining) = Refusals::new(metrics.clone(), lifecycle.clone());
        let health = Health::new(
            store.clone(),
            lifecycle.clone(),
            committer.backlog(),
            config.server.ack_timeout,
            board.clone(),
        );
        // The writer ends as soon as nothing can send events to it any more.
        let taken = CancellationToken::new();
        let all_taken = taken.clone();
        let secrets = Secrets::without_endpoints(store.clone(), Arc::new(vault));
        let links = Links::new(store.clone(), secrets.clone(), Vec::new(), metrics.clone(), lifecycle.clone());
        let foundation = Foundation {
            store: store.clone(),
            secrets,
            links,
            relaying: Relaying::start(store, committer.pressure(), committer.handover(), &lifecycle),
            metrics,
            health,
            refusals,
            board,
            committer,
            reconciling: Arc::default(),
            entrance: Arc::default(),
            lifecycle: lifecycle.clone(),
        };
        // Bound before anything is claimed, so that a problem is reported before anything runs.
        let beginning = async {
            let (public_listener, public) = bind(config.server.listen, "server.listen").await?;
            let (admin_listener, admin) = bind(config.server.admin_listen, "server.admin_listen").await?;
            // The store is open and locked, and nothing is encrypted yet: the generated secrets are used from here on.
            keep_made_up(store.as_ref(), foundation.secrets.vault(), config).await?;
            let reloader = Reloader::start(foundation, config, load).await.inspect_err(|error| {
                // If the store has failed, something may have been encrypted already.
                if !matches!(error, StartError::Secrets(SecretsError::Store(_))) {
                    discard_made_up(config);
                }
            })?;
            Ok((public_listener, public, admin_listener, admin, reloader))
        };
        let begun: Result<_, StartError> = beginning.await;
        // Nothing is left running after a failure.
        let begun = begun.inspect_err(|_| lifecycle.soft.cancel());
        let (public_listener, public, admin_listener, admin, reloader) = begun?;
        lifecycle.spawn("writer", async move {
            let _ = all_taken.run_until_cancelled(writer).await;
        });
        lifecycle.spawn("explaining refusals", explaining);
        lifecycle.spawn("traffic", traffic::keep(traffic.clone(), lifecycle.clone()));
        let (hooks, most, until) = (Routes::new(reloader.hooks()), config.server.max_connections, lifecycle.clone());
        lifecycle.spawn("public listener", async move {
            listener::serve(public_listener, hooks, most, until).await;
            taken.cancel();
        });
        lifecycle.spawn(
            "admin listener",
            listener::serve(admin_listener, Routes::new(reloader.api()), ADMIN_CONNECTIONS, lifecycle.clone()),
        );
        Ok(Self { public, admin, lifecycle, reloader, traffic, store: open })
    }

    /// Reads the configuration again, and applies it as a whole or not at all. `actor` names the caller.
    ///
    /// # Errors
    /// All problems of the new configuration; the old one stays in force.
    pub async fn reload(&self, actor: &str) -> Result<Reloaded, ReloadError> {
        self.reloader.reload(actor).await
    }

    /// The reloader, for a task beside the one that waits for the end of the service.
    pub fn reloader(&self) -> Arc<dyn Reload> {
        self.reloader.clone()
    }

    /// The store, for the demo and for tests.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store.store
    }

    /// Stops: accepts nothing new, finishes running work within the configured time, returns the remaining leases, and
    /// closes the store.
    pub async fn stop(self) {
        self.lifecycle.stop(self.reloader.shutdown_timeout()).await;
        // Nothing counts any more.
        self.traffic.rest().await;
        // A store that hangs must not keep the process alive: everything important is committed.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.store.store.close()).await;
    }
}

/// Migrates a store that was just opened, and releases the leases of an earlier process.
async fn prepare(open: &OpenStore) -> Result<(), StoreError> {
    let store = &open.store;
    let applied = store.migrate().await?;
    if applied > 0 {
        tracing::info!(store = store.kind(), migrations = applied, "the schema was brought up to date");
    }
    if open.lock.is_none() {
        return Ok(());
    }
    // The file is locked for this process, so the owners of old leases have gone.
    let abandoned = store.abandon_intents().await?;
    if abandoned > 0 {
        tracing::warn!(intents = abandoned, "changes of webhook secrets were interrupted: asking Finkare again");
    }
    let begun = store.free_reconciliations().await?;
    if begun > 0 {
        tracing::info!(reconciliations = begun, "reconciliations that were interrupted go on");
    }
    let freed = store.expire_leases().await?;
    if freed > 0 {
        tracing::info!(dispatches = freed, "dispatches that were in progress when the service ended are due again");
    }
    Ok(())
}

/// A listener and its address; with port 0 the system chooses the port.
async fn bind(address: SocketAddr, option: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, option, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The vault that encrypts the stored secrets.
///
/// # Errors
/// If there is no master key, or if it is not a valid key.
pub fn vault(config: &Config) -> Result<Vault, StartError> {
    Ok(Vault::new(config.master_key.as_ref().ok_or(StartError::NoMasterKey)?)?)
}

/// The sources of the endpoints' secrets.
pub fn sources(config: &Config) -> Vec<Source> {
    let source = |endpoint: &crate::config::Endpoint| Source {
        endpoint: endpoint.name.clone(),
        configured: endpoint.secrets.clone(),
        encoding: endpoint.secret_encoding,
        over: endpoint.signature_over,
    };
    config.endpoints.iter().map(source).collect()
}

/// How each endpoint's payments are found: with the clients of the links, so that both share one rate limit.
pub fn resolved_endpoints(config: &Config, linked: &[LinkedEndpoint]) -> Vec<resolve::Endpoint> {
    let endpoint = |(endpoint, linked): (&crate::config::Endpoint, &LinkedEndpoint)| resolve::Endpoint {
        name: endpoint.name.clone(),
        client: linked.client.clone(),
        rate: (endpoint.api_rate_limit.requests, endpoint.api_rate_limit.per),
        patience: endpoint.payment_patience,
        window: endpoint.payment_window,
    };
    config.endpoints.iter().zip(linked).map(endpoint).collect()
}

/// The links to Finkare, in the order of the configuration.
///
/// # Errors
/// Names the endpoint whose options for Finkare's API cannot be used.
pub fn linked_endpoints(config: &Config) -> Result<Vec<LinkedEndpoint>, StartError> {
    let link = |endpoint: &crate::config::Endpoint| {
        let client = endpoint.api().map(Client::new).transpose();
        let client = client.map_err(|problem| StartError::Api {
            name: endpoint.name.as_str().to_owned(),
            problem: problem.to_string(),
        })?;
        Ok(LinkedEndpoint {
            name: endpoint.name.clone(),
            path: endpoint.path.clone(),
            webhook_id: endpoint.webhook_id.clone(),
            client: client.map(Arc::new),
            is_sandbox: endpoint.is_sandbox(),
            rotate_every: endpoint.rotate_every,
            rotate_overlap: endpoint.rotate_overlap,
        })
    };
    config.endpoints.iter().map(link).collect()
}
