//! Tests a configured sink: sends one test event directly to it, without storing it.

use std::{
    panic::AssertUnwindSafe,
    sync::Weak,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::json;

use crate::{
    model::{
        clock,
        dispatch::{Outcome, Trigger},
        id::{DispatchId, EventId, SinkName},
    },
    sinks::{Message, Sink},
    web::admin::sink_test::{TestSinks, Tested},
};

/// The type and the endpoint of a test event.
const TYPE: &str = "relay.test";
const ENDPOINT: &str = "relay";

/// The sinks of one configuration.
#[derive(Debug)]
pub(super) struct TestEvents(Vec<TestedSink>);

#[derive(Debug)]
struct TestedSink {
    name: SinkName,
    timeout: Duration,
    /// Owned by the worker. A test must not keep a sink of an old configuration alive, since it may own a file that its
    /// successor waits for.
    sink: Weak<dyn Sink>,
}

impl TestEvents {
    /// The sinks, each with the time that one attempt may take.
    pub(super) fn new(sinks: impl Iterator<Item = (SinkName, Duration, Weak<dyn Sink>)>) -> Self {
        Self(sinks.map(|(name, timeout, sink)| TestedSink { name, timeout, sink }).collect())
    }
}

/// A harmless event with a fresh id.
fn message() -> Message {
    let now = clock::now();
    let payload = json!({"event": TYPE, "data": {}, "timestamp": format!("{now:.3}")});
    Message {
        event_id: EventId::generate(),
        // No dispatch has this number: they begin at 1.
        dispatch_id: DispatchId(0),
        endpoint: ENDPOINT.to_owned(),
        event_type: TYPE.to_owned(),
        invoice_id: None,
        received_at: now,
        content_type: Some("application/json".to_owned()),
        payload: Bytes::from(payload.to_string()),
        attempt: 1,
        trigger: Trigger::Test,
        trace: None,
        resolved: None,
    }
}

#[async_trait]
impl TestSinks for TestEvents {
    async fn test(&self, name: &str) -> Option<Tested> {
        let tried = self.0.iter().find(|tried| tried.name.as_str() == name)?;
        let sink = tried.sink.upgrade()?;
        let message = message();
        let begun = Instant::now();
        let delivering = AssertUnwindSafe(sink.deliver(&message)).catch_unwind();
        let outcome = match tokio::time::timeout(tried.timeout, delivering).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Outcome::Retry {
                reason: "this sink's code panicked; the service's log has the details".into(),
                after: None,
            },
            Err(_) => Outcome::Retry { reason: format!("no answer within {:?}", tried.timeout), after: None },
        };
        Some(Tested { event_id: message.event_id, outcome, duration: begun.elapsed() })
    }
}
