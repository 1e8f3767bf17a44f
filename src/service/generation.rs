//! Everything that is built from one configuration: routes, sinks and their tasks.
//!
//! A generation uses a [`Foundation`] that outlives it (the store, the writer, the metrics, the live secrets and the links),
//! so that the next configuration can replace it while deliveries come in. [`Kept`] is what the next generation takes over:
//! an unchanged sink keeps its worker, and an unchanged endpoint keeps its client for Finkare's API.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{Router, extract::Request};
use finkare::Client;

use super::{
    StartError, difference, linked_endpoints, resolved_endpoints, sources,
    test_event::TestEvents,
    trying::{Looking, Tries},
};
use crate::{
    activity::{AtFinkare, Board, Meter, Registration, Watch, Watched},
    bulk::Bulk,
    config::{Config, Retention},
    dashboard,
    dispatch::{Feeding, Relaying, SinkView},
    ingest::{self, Ingest, committer::Committer, explain::Refusals, route::Route},
    lifecycle::Lifecycle,
    link::{LinkedEndpoint, Links},
    model::id::{EndpointName, SinkName},
    notices::Scene,
    options::Written,
    reconcile,
    replay::Replayer,
    resolve::Resolver,
    secrets::Secrets,
    sinks::{
        self, chat, email,
        enrich::Enriched,
        guard::Guarded,
        invoicing::{Desk, Resolve},
        kind::Kind,
        options::Family,
    },
    statement::{self, Role, SinkOf},
    store::Store,
    telemetry::Metrics,
    web::{
        admin::{
            self, Admin,
            auth::Tokens,
            gate::Gate,
            reload::{Changes, Reload},
            scope::Reach,
            statuses::Statuses,
        },
        error,
        health::Health,
        receive,
        stray::Strays,
    },
};

/// What all generations share.
#[derive(Debug)]
pub(super) struct Foundation {
    pub(super) store: Arc<dyn Store>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) links: Arc<Links>,
    pub(super) relaying: Relaying,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) board: Board,
    pub(super) committer: Committer,
    /// Wakes the task that reconciles.
    pub(super) reconciling: Arc<tokio::sync::Notify>,
    /// Slows down whoever guesses tokens.
    pub(super) entrance: Arc<dashboard::session::Entrance>,
    pub(super) lifecycle: Lifecycle,
}

/// What one generation hands on to the next.
#[derive(Debug, Default)]
pub(super) struct Kept {
    written: Written,
    /// The clients for Finkare's API, each with the options from which it was built.
    clients: HashMap<EndpointName, (Written, Option<Arc<Client>>)>,
    /// Finds payments, with the options of the endpoints from which it was built.
    resolving: Option<(BTreeMap<String, Written>, Arc<dyn Resolve>)>,
    /// When this process last received a genuine delivery for each endpoint.
    meters: HashMap<EndpointName, Meter>,
    sinks: HashMap<SinkName, KeptSink>,
    watched: Vec<WatchedBy>,
    retention: Option<Retention>,
}

/// A sink with its worker.
#[derive(Debug)]
struct KeptSink {
    made_of: MadeOf,
    /// Owned by the worker.
    sink: Weak<dyn sinks::Sink>,
    view: SinkView,
}

/// Everything from which a sink and its worker are built. The route is not part of it, since it is applied when an event
/// arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MadeOf {
    options: Written,
    /// The endpoints of the sandbox, if the sink rejects their events.
    sandbox: Option<HashSet<String>>,
    /// The options for finding payments, if the sink needs payments.
    resolving: Option<BTreeMap<String, Written>>,
}

/// Everything from which the watch of an endpoint is built: its name, its alarm, its client (by address) and its id.
type WatchedBy = (EndpointName, Option<Duration>, Option<usize>, Option<String>);

/// The options of an endpoint that do not matter for finding payments at Finkare.
const NOT_RESOLVING: [&str; 10] =
    ["path", "secret", "webhook_id", "rotate_", "dedupe", "max_age", "silence_", "signature_", "reconcile", "timezone"];

/// A generation that is built but not running yet.
#[derive(Debug)]
pub(super) struct Generation {
    /// The routes of the public listener.
    pub(super) hooks: Router,
    /// The routes of the admin listener.
    pub(super) api: Router,
    /// What the next generation takes over.
    pub(super) kept: Kept,
    /// The sinks that are new or changed.
    pub(super) begin: Vec<BuiltSink>,
    /// The sinks that were removed.
    pub(super) end: Vec<SinkName>,
    /// The retention, if it has changed.
    pub(super) retention: Option<Retention>,
    /// The watch of the endpoints, if it has changed.
    pub(super) watch: Option<Watch>,
    /// What the relay's own events are decided by.
    pub(super) scene: Scene,
    /// What reconciliations need.
    pub(super) reconciling: reconcile::Scene,
    /// The differences from the previous generation.
    pub(super) changes: Changes,
}

impl Generation {
    /// Builds the generation for a configuration, without starting a task.
    ///
    /// `reload` replaces this generation by the next one; `before` comes from the previous generation. Sinks are
    /// registered in the store. Updating the process's secrets and links is the last step that can fail: after an error
    /// everything is as it was.
    ///
    /// # Errors
    /// What cannot work, and what to change.
    pub(super) async fn build(
        on: &Foundation,
        config: &Config,
        reload: Weak<dyn Reload>,
        before: &Kept,
    ) -> Result<Self, StartError> {
        let mut linked = linked_endpoints(config)?;
        let clients = keep_clients(&mut linked, config, before);
        let resolving = resolving(config, &linked, before, on);
        let built = build_sinks(config, &on.store, &resolving.1)?;
        let names: Vec<SinkName> = config.sinks.iter().map(|sink| sink.name.clone()).collect();
        on.store.register_sinks(&names).await?;
        on.secrets.update(sources(config)).await?;
        on.links.update(linked.clone());

        let meters = meters(config, before);
        let endpoints = build_endpoints(config, &on.secrets, &meters);
        let watched: Vec<WatchedBy> = config.endpoints.iter().zip(&linked).map(watched_by).collect();
        let is_watched_alike = before.retention.is_some() && watched == before.watched;
        let watch = (!is_watched_alike).then(|| build_watch(on, config, &endpoints, &linked));

        let (begin, sinks) = keep_sinks(built, config, before, &resolving.0);
        let end = before.sinks.keys().filter(|name| !names.contains(name)).cloned().collect();
        let changes = changes(config, before, &sinks);

        let routes: Arc<[Route]> = config.sinks.iter().map(|sink| route(sink, config)).collect();
        let tested = config.sinks.iter().map(|sink| (sink.name.clone(), sink.timeout, sinks[&sink.name].sink.clone()));
        let tests = Arc::new(TestEvents::new(tested));
        let looking = Looking {
            resolver: Arc::new(Resolver::looking(on.store.clone(), &resolved_endpoints(config, &linked))),
            store: on.store.clone(),
            payment_window_days: config.payment_window_days(),
        };
        let admin_routes = routes.clone();
        let endpoint_names: Arc<[EndpointName]> =
            config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let replayer = Arc::new(Replayer::new(on.store.clone(), routes.clone(), endpoint_names));
        let ingest = Arc::new(Ingest::new(routes, on.committer.clone(), config.server.ack_timeout));
        let strays = Strays::new(&endpoints, &on.refusals, &on.metrics);
        let hooks = receive::router(endpoints, &ingest, &on.metrics, &on.refusals, &config.server)
            .merge(on.health.public_router());
        let reconciling = reconciled(config, &linked, |name| sinks[name].sink.clone());
        let admin = Admin {
            reconciling: reconcile::Orders::new(on.store.clone(), reconciling.clone(), on.reconciling.clone()),
            store: on.store.clone(),
            statuses: Statuses::new(on.store.clone()),
            sinks: config.sinks.iter().map(|sink| sinks[&sink.name].view.clone()).collect(),
            links: on.links.clone(),
            bulk: Bulk::new(on.store.clone(), replayer.clone()),
            replayer,
            tests,
            tries: Arc::new(Tries::new(config, admin_routes.to_vec(), looking)),
            gate: Gate::new(&config.admin),
            tokens: Tokens::new(&config.admin.tokens),
            reach: Reach::new(&admin_routes, config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect()),
            metrics: on.metrics.clone(),
            reload,
            refusals: on.refusals.clone(),
            statement: statement_settings(config),
            board: on.board.clone(),
            meters: meters.iter().map(|(name, meter)| (name.clone(), meter.clone())).collect(),
        };
        let scene = Scene {
            settings: config.own_events.clone(),
            routes: admin_routes,
            sinks: admin.sinks.clone(),
            endpoints: config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
            board: on.board.clone(),
            refusals: on.refusals.clone(),
        };
        let admin = Arc::new(admin);
        let pages = dashboard::router(&admin, on.entrance.clone());
        let api = admin::router(admin, &on.health, pages);
        let retention = Some(config.retention).filter(|retention| before.retention.as_ref() != Some(retention));
        let kept = Kept {
            written: config.written.clone(),
            clients,
            resolving: Some(resolving),
            meters,
            sinks,
            watched,
            retention: Some(config.retention),
        };
        let hooks = hooks.fallback(move |request: Request| std::future::ready(strays.answer(&request)));
        Ok(Self {
            hooks: finished(hooks),
            api: finished(api),
            kept,
            begin,
            end,
            retention,
            watch,
            scene,
            reconciling,
            changes,
        })
    }
}

/// What statements need to know of the configuration.
fn statement_settings(config: &Config) -> statement::Settings {
    let role = |kind: &Kind| match kind.row().family {
        Family::Booking => Role::Books,
        Family::Watching => Role::Watched,
        Family::Plain if kind.options::<email::Options>().is_some() => Role::Tells,
        Family::Plain if kind.options::<chat::Options>().is_some() => Role::Tells,
        Family::Plain => Role::Carries,
    };
    let sink = |sink: &crate::config::Sink| SinkOf {
        name: sink.name.as_str().to_owned(),
        kind: sink.kind.name(),
        role: role(&sink.kind),
    };
    let zone = |endpoint: &crate::config::Endpoint| (endpoint.name.as_str().to_owned(), endpoint.timezone.clone());
    statement::Settings {
        zones: config.endpoints.iter().map(zone).collect(),
        sinks: config.sinks.iter().map(sink).collect(),
        accounts: config.accounts.clone(),
    }
}

/// Keeps the client of each endpoint whose API options have not changed: with its connections, and with its rate limit
/// towards Finkare, which a reload must not reset.
fn keep_clients(
    linked: &mut [LinkedEndpoint],
    config: &Config,
    before: &Kept,
) -> HashMap<EndpointName, (Written, Option<Arc<Client>>)> {
    let mut clients = HashMap::new();
    for linked in linked {
        let made_of = config.written.endpoint(linked.name.as_str()).below("api_").and(&outgoing(config));
        if let Some((same, client)) = before.clients.get(&linked.name)
            && *same == made_of
        {
            linked.client.clone_from(client);
        }
        clients.insert(linked.name.clone(), (made_of, linked.client.clone()));
    }
    clients
}

/// What reconciliations need of the configuration.
fn reconciled(
    config: &Config,
    linked: &[LinkedEndpoint],
    running: impl Fn(&SinkName) -> Weak<dyn sinks::Sink>,
) -> reconcile::Scene {
    let endpoint = |(endpoint, linked): (&crate::config::Endpoint, &LinkedEndpoint)| reconcile::Endpoint {
        name: endpoint.name.clone(),
        client: linked.client.clone(),
        timezone: endpoint.timezone.clone(),
        window: endpoint.payment_window,
        patience: endpoint.payment_patience,
        schedule: endpoint.reconcile,
    };
    let target = |sink: &crate::config::Sink| reconcile::Target {
        route: route(sink, config),
        keeps_books: sink.kind.is_invoicing(),
        books: sink.kind.is_invoicing().then(|| running(&sink.name)),
        is_for_programs: !matches!(sink.kind.name(), "email" | "chat" | "stdout"),
    };
    reconcile::Scene {
        endpoints: config.endpoints.iter().zip(linked).map(endpoint).collect(),
        targets: config.sinks.iter().map(target).collect(),
        events_kept: config.retention.dedupe,
    }
}

/// The resolver of payments and the options from which it is built; the previous one if the options are the same.
fn resolving(
    config: &Config,
    linked: &[LinkedEndpoint],
    before: &Kept,
    on: &Foundation,
) -> (BTreeMap<String, Written>, Arc<dyn Resolve>) {
    let made_of = |endpoint: &crate::config::Endpoint| {
        let name = endpoint.name.as_str().to_owned();
        let options = config.written.endpoint(&name).without(&NOT_RESOLVING).and(&outgoing(config));
        (name, options)
    };
    let made_of: BTreeMap<_, _> = config.endpoints.iter().map(made_of).collect();
    match &before.resolving {
        Some((same, resolver)) if *same == made_of => (made_of, resolver.clone()),
        _ => (made_of, Arc::new(Resolver::new(on.store.clone(), &resolved_endpoints(config, linked)))),
    }
}

/// The options that every client for another service follows from, beside its own.
fn outgoing(config: &Config) -> Written {
    config.written.below("outgoing.")
}

fn meters(config: &Config, before: &Kept) -> HashMap<EndpointName, Meter> {
    let meter = |endpoint: &crate::config::Endpoint| {
        (endpoint.name.clone(), before.meters.get(&endpoint.name).cloned().unwrap_or_default())
    };
    config.endpoints.iter().map(meter).collect()
}

/// The built sinks that are new or changed, and the state of all sinks from now on.
fn keep_sinks(
    built: Vec<BuiltSink>,
    config: &Config,
    before: &Kept,
    resolving: &BTreeMap<String, Written>,
) -> (Vec<BuiltSink>, HashMap<SinkName, KeptSink>) {
    let (mut begin, mut sinks) = (Vec::new(), HashMap::new());
    for (built, sink) in built.into_iter().zip(&config.sinks) {
        let is_resolving = sink.enrich || sink.kind.is_invoicing();
        let options = config.written.sink(sink.name.as_str());
        let made_of = MadeOf {
            options: if sink.kind.row().calls_out { options.and(&outgoing(config)) } else { options },
            sandbox: sink.live.then(|| sandbox(config)),
            resolving: is_resolving.then(|| resolving.clone()),
        };
        let kept = match before.sinks.get(&sink.name) {
            // The newly built sink is dropped; it has done nothing yet.
            Some(kept) if kept.made_of == made_of => {
                KeptSink { made_of, sink: kept.sink.clone(), view: kept.view.clone() }
            }
            _ => {
                let kept = KeptSink { made_of, sink: Arc::downgrade(&built.1), view: built.2.clone() };
                begin.push(built);
                kept
            }
        };
        sinks.insert(sink.name.clone(), kept);
    }
    (begin, sinks)
}

fn changes(config: &Config, before: &Kept, sinks: &HashMap<SinkName, KeptSink>) -> Changes {
    let by_name = |sinks: &HashMap<SinkName, KeptSink>| -> BTreeMap<String, MadeOf> {
        sinks.iter().map(|(name, kept)| (name.as_str().to_owned(), kept.made_of.clone())).collect()
    };
    let endpoints = |names: &mut dyn Iterator<Item = &EndpointName>, written: &Written| -> BTreeMap<String, Written> {
        names.map(|name| (name.as_str().to_owned(), written.endpoint(name.as_str()))).collect()
    };
    difference::changes(
        difference::of(&by_name(&before.sinks), &by_name(sinks)),
        difference::of(
            &endpoints(&mut before.meters.keys(), &before.written),
            &endpoints(&mut config.endpoints.iter().map(|endpoint| &endpoint.name), &config.written),
        ),
        &before.written,
        &config.written,
    )
}

fn watched_by((endpoint, linked): (&crate::config::Endpoint, &LinkedEndpoint)) -> WatchedBy {
    let client = linked.client.as_ref().map(|client| Arc::as_ptr(client) as usize);
    (endpoint.name.clone(), endpoint.silence_alarm, client, endpoint.webhook_id.clone())
}

fn finished(router: Router) -> Router {
    router.layer(axum::middleware::from_fn(error::finish))
}

fn build_endpoints(
    config: &Config,
    secrets: &Arc<Secrets>,
    meters: &HashMap<EndpointName, Meter>,
) -> Vec<ingest::Endpoint> {
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
            meter: meters[&endpoint.name].clone(),
        }
    };
    config.endpoints.iter().map(build).collect()
}

/// Builds the watch. It records the activity of every endpoint, and checks those with an alarm.
///
/// # Errors
/// If Finkare's API cannot be used as configured.
fn build_watch(on: &Foundation, config: &Config, endpoints: &[ingest::Endpoint], linked: &[LinkedEndpoint]) -> Watch {
    let watched = config.endpoints.iter().zip(endpoints).zip(linked).map(|((endpoint, taking), linked)| {
        // Asks Finkare whether the webhook is disabled.
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
/// Names the first sink that cannot be built.
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
                payment_window_days: config.payment_window_days(),
                transcript: None,
            };
            let target = sink
                .kind
                .build(sink.timeout, desk)
                .map_err(|problem| StartError::Sink { name: sink.name.as_str().to_owned(), problem })?;
            let target: Arc<dyn sinks::Sink> =
                if sink.enrich { Arc::new(Enriched::new(target, resolver.clone(), sink.timeout)) } else { target };
            // The outermost layer, so that an event of the sandbox is not even looked up.
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

/// Wraps a live sink so that it holds events of the sandbox, should one get this far.
fn guard(target: Arc<dyn sinks::Sink>, config: &Config) -> Arc<dyn sinks::Sink> {
    Arc::new(Guarded::new(target, sandbox(config)))
}

fn sandbox(config: &Config) -> HashSet<String> {
    let sandbox = config.endpoints.iter().filter(|endpoint| endpoint.is_sandbox());
    sandbox.map(|endpoint| endpoint.name.as_str().to_owned()).collect()
}

/// The route of a sink. A live sink gets no event of the sandbox, regardless of its other options.
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
