//! What follows from one configuration: routes, secrets, sinks and the tasks that work on them.
//!
//! It stands on a [`Foundation`] that outlives it (the store, the writer, the metrics), so that another
//! configuration can take its place while deliveries come in.

use std::sync::{Arc, Weak};

use axum::Router;

use super::{StartError, linked_endpoints, resolved_endpoints, sources, trying::Trying};
use crate::{
    activity::{self, AtFinkare, Board, Meter, Registration, Watch, Watched},
    config::{Config, Retention},
    dispatch::{self, Feeding, SinkView, maintenance},
    finkare::{
        client::Client,
        link::{LinkedEndpoint, Links},
    },
    ingest::{self, Ingest, committer::Committer, explain::Refusals, route::Route},
    lifecycle::Lifecycle,
    model::id::{EndpointName, SinkName},
    replay::Replayer,
    resolve::Resolver,
    secrets::{Secrets, vault::Vault},
    sinks::{
        self,
        enrich::Enriched,
        guard::Guarded,
        invoicing::{Desk, Resolve},
    },
    store::Store,
    telemetry::Metrics,
    web::{
        admin::{self, Admin, auth::Tokens, operate::Operate, reload::Reload},
        error::{self, Problem},
        health::Health,
        receive,
    },
};

/// What every generation stands on.
#[derive(Debug)]
pub(super) struct Foundation {
    pub(super) store: Arc<dyn Store>,
    pub(super) vault: Arc<Vault>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) board: Board,
    pub(super) committer: Committer,
    pub(super) lifecycle: Lifecycle,
}

/// Everything that one configuration says, built and not yet running.
#[derive(Debug)]
pub(super) struct Generation {
    /// What the public listener serves.
    pub(super) hooks: Router,
    /// What the admin listener serves.
    pub(super) api: Router,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    committer: Committer,
    sinks: Vec<BuiltSink>,
    secrets: Arc<Secrets>,
    links: Arc<Links>,
    retention: Retention,
    watch: Watch,
    /// Its tasks.
    lifecycle: Lifecycle,
}

impl Generation {
    /// Builds what the configuration says; nothing runs yet.
    ///
    /// `reload` is who replaces this generation by the next. Sinks are made known to the store, and configured secrets that it never had are added.
    ///
    /// # Errors
    /// What cannot work, and what to change.
    pub(super) async fn build(on: &Foundation, config: &Config, reload: Weak<dyn Reload>) -> Result<Self, StartError> {
        let linked = linked_endpoints(config)?;
        let resolver: Arc<dyn Resolve> =
            Arc::new(Resolver::new(on.store.clone(), &resolved_endpoints(config, &linked)));
        let sinks = build_sinks(config, &on.store, &resolver)?;
        let names: Vec<SinkName> = config.sinks.iter().map(|sink| sink.name.clone()).collect();
        on.store.register_sinks(&names).await?;
        let secrets = Secrets::open(on.store.clone(), on.vault.clone(), sources(config)).await?;
        let endpoints = build_endpoints(config, &secrets);
        let lifecycle = on.lifecycle.part();
        let watch = build_watch(on, config, &endpoints, &linked);
        let links = Links::new(on.store.clone(), secrets.clone(), linked, on.metrics.clone(), lifecycle.clone());

        let routes: Arc<[Route]> = config.sinks.iter().map(|sink| route(sink, config)).collect();
        let trying =
            sinks.iter().map(|(feeding, sink, _)| (feeding.name.clone(), feeding.timeout, Arc::downgrade(sink)));
        let operate = Operate::new(Replayer::new(on.store.clone(), routes.clone()), Arc::new(Trying::new(trying)));
        let ingest = Arc::new(Ingest::new(routes, on.committer.clone(), config.server.ack_timeout));
        let hooks =
            receive::router(endpoints, &ingest, &on.metrics, &on.refusals, &config.server).merge(on.health.router());
        let admin = Admin {
            store: on.store.clone(),
            sinks: sinks.iter().map(|(_, _, view)| view.clone()).collect(),
            links: links.clone(),
            operate,
            tokens: Tokens::new(&config.admin.tokens),
            metrics: on.metrics.clone(),
            reload,
            refusals: on.refusals.clone(),
        };
        let api = admin::router(Arc::new(admin), &on.health);
        Ok(Self {
            hooks: finished(hooks),
            api: finished(api),
            store: on.store.clone(),
            metrics: on.metrics.clone(),
            committer: on.committer.clone(),
            sinks,
            secrets,
            links,
            retention: config.retention,
            watch,
            lifecycle,
        })
    }

    /// Starts its tasks: relaying, retention, the secrets' upkeep.
    pub(super) fn run(self) -> Lifecycle {
        let lifecycle = self.lifecycle;
        dispatch::start(&self.store, self.sinks, &self.metrics, self.committer.pressure(), &lifecycle);
        let Retention { payload, dedupe, ledger } = self.retention;
        let ages = maintenance::Ages { payload, dedupe, ledger };
        lifecycle.spawn("maintenance", maintenance::run(self.store.clone(), ages, lifecycle.clone()));
        lifecycle.spawn("activity", activity::watch(self.watch, lifecycle.clone()));
        lifecycle.spawn("secrets", self.secrets.run(lifecycle.clone()));
        lifecycle.spawn("links", self.links.run());
        lifecycle
    }
}

fn finished(router: Router) -> Router {
    router.fallback(|| async { Problem::no_such_path() }).layer(axum::middleware::from_fn(error::finish))
}

fn build_endpoints(config: &Config, secrets: &Arc<Secrets>) -> Vec<ingest::Endpoint> {
    let build = |endpoint: &crate::config::Endpoint| {
        let keyring = secrets.keyring(&endpoint.name).expect("every endpoint is among the sources");
        if keyring.is_empty() {
            tracing::error!(
                endpoint.name = %endpoint.name,
                "this endpoint has no secret and refuses every delivery: {}", endpoint.how_to_get_a_secret()
            );
        }
        ingest::Endpoint {
            name: endpoint.name.clone(),
            path: endpoint.path.clone(),
            keyring,
            dedupe: endpoint.dedupe.clone(),
            max_age: endpoint.max_age,
            meter: Meter::default(),
        }
    };
    config.endpoints.iter().map(build).collect()
}

/// Every endpoint's activity is noted; those with an alarm are judged.
///
/// # Errors
/// Finkare's API cannot be used as configured.
fn build_watch(on: &Foundation, config: &Config, endpoints: &[ingest::Endpoint], linked: &[LinkedEndpoint]) -> Watch {
    let watched = config.endpoints.iter().zip(endpoints).zip(linked).map(|((endpoint, taking), linked)| {
        // Asks Finkare whether it has disabled the webhook.
        let at_finkare = |client: Arc<Client>| -> Arc<dyn Registration> {
            Arc::new(AtFinkare {
                client,
                webhook_id: endpoint.webhook_id.clone(),
                endpoint: endpoint.name.clone(),
                store: on.store.clone(),
            })
        };
        Watched {
            name: endpoint.name.clone(),
            meter: taking.meter.clone(),
            alarm: endpoint.silence_alarm,
            registration: endpoint.silence_alarm.and_then(|_| linked.client.clone()).map(at_finkare),
        }
    });
    Watch::new(on.store.clone(), on.metrics.clone(), on.board.clone(), watched.collect())
}

type BuiltSink = (Feeding, Arc<dyn sinks::Sink>, SinkView);

/// Builds every configured sink.
///
/// # Errors
/// The first one that cannot be built.
pub fn build_sinks(
    config: &Config,
    store: &Arc<dyn Store>,
    resolver: &Arc<dyn Resolve>,
) -> Result<Vec<BuiltSink>, StartError> {
    config
        .sinks
        .iter()
        .map(|sink| {
            let desk = || Desk {
                resolver: resolver.clone(),
                ledger: store.clone(),
                sink: sink.name.clone(),
                timeout: sink.timeout,
                transcript: None,
            };
            let target = sink
                .kind
                .build(sink.timeout, desk)
                .map_err(|problem| StartError::Sink { name: sink.name.as_str().to_owned(), problem })?;
            let target: Arc<dyn sinks::Sink> =
                if sink.enrich { Arc::new(Enriched::new(target, resolver.clone(), sink.timeout)) } else { target };
            // Outermost: what the sandbox sent is not even asked about.
            let target = if sink.live { guard(target, config) } else { target };
            let feeding = Feeding {
                name: sink.name.clone(),
                kind: sink.kind.name(),
                order: sink.order,
                concurrency: sink.concurrency,
                timeout: sink.timeout,
                rate: sink.rate_limit.map(|limit| (limit.requests, limit.per)),
                retry: sink.retry,
                breaker: (sink.breaker.failures, sink.breaker.probe),
            };
            Ok((feeding, target, SinkView::new(sink.name.clone(), sink.kind.name())))
        })
        .collect()
}

/// Holds what the sandbox sent, should any of it come this far.
fn guard(target: Arc<dyn sinks::Sink>, config: &Config) -> Arc<dyn sinks::Sink> {
    let sandbox = config.endpoints.iter().filter(|endpoint| endpoint.is_sandbox());
    Arc::new(Guarded::new(target, sandbox.map(|endpoint| endpoint.name.as_str().to_owned()).collect()))
}

/// What a sink gets. A live one gets nothing that the sandbox sent, whatever it asked for.
pub(crate) fn route(sink: &crate::config::Sink, config: &Config) -> Route {
    let asked = |name: &EndpointName| sink.endpoints.as_ref().is_none_or(|asked| asked.contains(name));
    let real = || {
        let real = config.endpoints.iter().filter(|endpoint| !endpoint.is_sandbox() && asked(&endpoint.name));
        real.map(|endpoint| endpoint.name.clone()).collect()
    };
    Route {
        sink: sink.name.clone(),
        events: sink.events.clone(),
        endpoints: if sink.live { Some(real()) } else { sink.endpoints.clone() },
        filter: sink.filter.clone(),
    }
}
