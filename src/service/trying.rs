//! Tries an event on a sink: what the sink would get or do, or why it would get nothing, without sending, writing or deciding
//! anything. The running service does it for the admin API with its own configuration ([`Tries`]), and the command `try` with
//! the configuration that it reads, so that a change can be tried before it is put into force.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    config::{Config, Sink},
    ingest::route::{Body, Decision, Own, Route},
    model::{
        dispatch::{Outcome, Trigger},
        id::{DispatchId, EndpointName, EventId},
        notice,
    },
    resolve::Resolver,
    sinks::{
        Message, enrich,
        invoicing::{Desk, Transcript},
    },
    store::{EventDetail, Store},
    web::admin::trying::{TryError, TryRow, TrySinks},
};

/// The routes of one configuration.
#[derive(Debug)]
pub(crate) struct Routing {
    routes: Vec<Route>,
    endpoints: Vec<EndpointName>,
}

impl Routing {
    /// Those of this configuration.
    pub(crate) fn new(config: &Config, routes: Vec<Route>) -> Self {
        Self { routes, endpoints: config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect() }
    }

    /// Whether the sink's route takes the message.
    pub(crate) fn decide(&self, sink: &Sink, message: &Message) -> Decision {
        let Some(route) = self.routes.iter().find(|route| route.sink == sink.name) else { return Decision::OtherType };
        let body = Body::new(&message.payload);
        if !notice::is_own(&message.event_type) {
            return route.decide(&message.endpoint, &message.event_type, &body);
        }
        let own = Own::read(&message.event_type, &message.endpoint, &body);
        route.decide_own(&self.routes, &self.endpoints, own, &body)
    }
}

/// With what payments are looked for: it decides nothing, and writes nothing.
#[derive(Debug)]
pub(crate) struct Looking {
    /// Reads what was decided, and asks Finkare.
    pub(crate) resolver: Arc<Resolver>,
    /// The ledger.
    pub(crate) store: Arc<dyn Store>,
    /// [`Config::payment_window_days`].
    pub(crate) payment_window_days: HashMap<String, u32>,
}

/// True if what the sink would get or do depends on Finkare's data, so that [`on_sink`] needs a [`Looking`].
pub(crate) fn needs_looking(sink: &Sink, decision: &Decision) -> bool {
    decision.is_taken() && (sink.kind.is_invoicing() || sink.enrich)
}

/// A message that is tried, of which no dispatch exists.
pub(crate) fn message(
    event_id: EventId,
    endpoint: String,
    (event_type, invoice_id): (String, Option<String>),
    received_at: Timestamp,
    content_type: Option<String>,
    payload: Vec<u8>,
) -> Message {
    Message {
        event_id,
        dispatch_id: DispatchId(0),
        endpoint,
        event_type,
        invoice_id,
        received_at,
        content_type,
        payload: Bytes::from(payload),
        attempt: 1,
        trigger: Trigger::Event,
        trace: None,
        resolved: None,
    }
}

/// Tries a message on a sink, for no longer than an attempt may take.
///
/// # Errors
/// What is wrong with the sink's configuration.
pub(crate) async fn on_sink(
    sink: &Sink,
    decision: &Decision,
    mut message: Message,
    looking: Option<&Looking>,
) -> Result<TryRow, TryError> {
    let mut row = TryRow {
        sink: sink.name.as_str().to_owned(),
        event_id: message.event_id,
        r#type: message.event_type.clone(),
        endpoint: Some(message.endpoint.clone()).filter(|name| !name.is_empty()),
        invoice_id: message.invoice_id.clone(),
        taken: decision.is_taken(),
        reason: decision.to_string(),
        would_get: None,
        would_do: None,
        not_yet: None,
    };
    if !decision.is_taken() {
        return Ok(row);
    }
    let wrong = |problem: String| TryError::Sink(format!("sink {}: {problem}", sink.name));
    let too_long = || format!("it took longer than an attempt may ({:?})", sink.timeout);
    if sink.kind.is_invoicing() {
        let looking = looking.ok_or_else(|| wrong("payments cannot be looked up".to_owned()))?;
        let desk = || Desk {
            resolver: looking.resolver.clone(),
            ledger: looking.store.clone(),
            sink: sink.name.clone(),
            timeout: sink.timeout,
            payment_window_days: looking.payment_window_days.clone(),
            transcript: Some(Transcript::default()),
        };
        let target = sink.kind.build(sink.timeout, desk).map_err(wrong)?;
        match tokio::time::timeout(sink.timeout, target.explain(&message)).await {
            Ok(Some(explained)) => row.would_do = Some(explained),
            Ok(None) => return Err(wrong("it does not explain itself, which is a bug: report it".to_owned())),
            Err(_) => row.not_yet = Some(too_long()),
        }
        return Ok(row);
    }
    if let Some(looking) = looking.filter(|_| sink.enrich) {
        match tokio::time::timeout(sink.timeout, enrich::resolve(&*looking.resolver, &message)).await {
            Ok(Ok(found)) => message.resolved = found.map(Arc::new),
            Ok(Err(unresolved)) => {
                row.not_yet = Some(Outcome::from(unresolved).reason().unwrap_or_default().to_owned());
            }
            Err(_) => row.not_yet = Some(too_long()),
        }
    }
    if row.not_yet.is_none() {
        row.would_get = Some(sink.kind.preview(&message, sink.timeout).map_err(wrong)?);
    }
    Ok(row)
}

/// The sinks of the configuration that is in force.
#[derive(Debug)]
pub(super) struct Tries {
    sinks: Vec<Sink>,
    routing: Routing,
    looking: Looking,
}

impl Tries {
    /// Those of this configuration.
    pub(super) fn new(config: &Config, routes: Vec<Route>, looking: Looking) -> Self {
        Self { sinks: config.sinks.clone(), routing: Routing::new(config, routes), looking }
    }
}

#[async_trait]
impl TrySinks for Tries {
    async fn try_event(&self, sink: &str, event: EventDetail) -> Option<Result<TryRow, TryError>> {
        let sink = self.sinks.iter().find(|known| known.name.as_str() == sink)?;
        let EventDetail { event, payload, .. } = event;
        let Some(payload) = payload else { return Some(Err(TryError::PayloadGone)) };
        let of = (event.event_type, event.invoice_id);
        let message = message(event.id, event.endpoint, of, event.received_at, event.content_type, payload);
        let decision = self.routing.decide(sink, &message);
        Some(on_sink(sink, &decision, message, Some(&self.looking)).await)
    }
}
