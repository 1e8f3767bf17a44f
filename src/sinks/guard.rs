//! Keeps events of Finkare's sandbox away from a sink that is marked `live = true`.
//!
//! Routing already excludes such a sink ([`crate::service`] arranges that), so no such event should arrive here. But
//! dispatches outlive the configuration: a dispatch that was created before the sink was marked, or by a replay, is held
//! instead of delivered.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;

use super::{Message, Sink, StillShows, Unseen, preview::Explained};
use crate::model::dispatch::Outcome;

/// A live sink behind its guard.
#[derive(Debug)]
pub struct Guarded {
    sink: Arc<dyn Sink>,
    sandbox: HashSet<String>,
}

impl Guarded {
    /// Guards a sink from the events of these endpoints.
    pub fn new(sink: Arc<dyn Sink>, sandbox: HashSet<String>) -> Self {
        Self { sink, sandbox }
    }
}

#[async_trait]
impl Sink for Guarded {
    async fn deliver(&self, message: &Message) -> Outcome {
        if self.sandbox.contains(&message.endpoint) {
            return Outcome::Hold {
                reason: format!(
                    "the event came through `{}`, which Finkare's sandbox feeds, and this sink is marked `live`: cancel \
                     the dispatch, or remove the mark if the sink is meant for tests",
                    message.endpoint
                ),
                recheck_after: None,
            };
        }
        self.sink.deliver(message).await
    }

    async fn check(&self) -> Result<String, String> {
        self.sink.check().await
    }

    async fn explain(&self, message: &Message) -> Option<Explained> {
        self.sink.explain(message).await
    }
    async fn still_shows(&self, payment_id: &str) -> Option<Result<StillShows, Unseen>> {
        self.sink.still_shows(payment_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        clock,
        dispatch::Trigger,
        id::{DispatchId, EventId},
    };

    #[derive(Debug)]
    struct Open;

    #[async_trait]
    impl Sink for Open {
        async fn deliver(&self, _: &Message) -> Outcome {
            Outcome::Delivered
        }

        async fn check(&self) -> Result<String, String> {
            Ok("open".into())
        }
    }

    #[tokio::test]
    async fn the_sandbox_is_held_and_the_rest_goes_through() {
        let guarded = Guarded::new(Arc::new(Open), HashSet::from(["sandbox".to_owned()]));
        let message = |endpoint: &str| Message {
            event_id: EventId::generate(),
            dispatch_id: DispatchId(1),
            endpoint: endpoint.to_owned(),
            event_type: "payment.received".into(),
            invoice_id: None,
            received_at: clock::now(),
            content_type: None,
            payload: bytes::Bytes::new(),
            attempt: 1,
            trigger: Trigger::Replay,
            trace: None,
            resolved: None,
        };
        assert_eq!(guarded.deliver(&message("production")).await, Outcome::Delivered);
        let Outcome::Hold { reason, recheck_after: None } = guarded.deliver(&message("sandbox")).await else {
            panic!("the sandbox's event was not held")
        };
        assert!(reason.contains("`sandbox`") && reason.contains("live"), "{reason}");
        assert_eq!(guarded.check().await, Ok("open".into()));
    }
}
