//! The relay's own events: what has happened to the relay itself that a person may want to hear of.
//!
//! They are events like Finkare's: stored, routed to the sinks that name them, retried, shown. Their types begin with
//! [`PREFIX`], which no event of Finkare's may have (see [`super::event::read`]).

use serde_json::{Map, Value, json};

use super::clock;
use jiff::Timestamp;

/// How the types of the relay's own events begin.
pub const PREFIX: &str = "relay.";

/// The pattern that stands for all of them in a sink's `events`.
pub const ALL: &str = "relay.*";

/// The most dispatches that an event names.
pub const MOST_NAMED: usize = 20;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// A type of the relay's own events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NoticeType {
            $($(#[$doc])* $name),+
        }

        impl NoticeType {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The type as it is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word),+
                }
            }
        }
    };
}
kinds! {
    /// Dispatches came to wait for a person.
    Held = "relay.held",
    /// Dispatches were given up.
    Dead = "relay.dead",
    /// A sink was paused, by a person or by what its target answered.
    SinkPaused = "relay.sink_paused",
    /// A sink has been failing for a while.
    SinkTripped = "relay.sink_tripped",
    /// A sink that was paused or tripped works again.
    SinkRecovered = "relay.sink_recovered",
    /// An endpoint has received nothing for longer than its alarm allows.
    EndpointSilent = "relay.endpoint_silent",
    /// A silent endpoint receives deliveries again.
    EndpointHeard = "relay.endpoint_heard",
    /// Deliveries that look genuine are refused.
    DeliveriesRefused = "relay.deliveries_refused",
    /// A webhook has a new secret.
    RotationDone = "relay.rotation_done",
    /// Finkare refused to rotate a secret.
    RotationFailed = "relay.rotation_failed",
    /// It is not known whether a secret was rotated.
    RotationUnknown = "relay.rotation_unknown",
    /// A reconciliation with Finkare has found differences that were not there before.
    Reconciliation = "relay.reconciliation",
    /// A reconciliation with Finkare has found none any more.
    ReconciliationEqual = "relay.reconciliation_equal",
    /// What happened in a day.
    Digest = "relay.digest",
}

/// True for the type of one of the relay's own events.
pub fn is_own(event_type: &str) -> bool {
    event_type.starts_with(PREFIX)
}

/// One of the relay's own events, about to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Its type.
    pub kind: NoticeType,
    /// The endpoint that it is about.
    pub endpoint: Option<String>,
    /// The sink that it is about; it never gets this event itself.
    pub sink: Option<String>,
    /// Its data beside the message; an object.
    pub data: Map<String, Value>,
    /// What happened, in one English sentence.
    pub message: String,
}

impl Notice {
    /// The body, as sinks get it: `{"event":…,"data":{…,"message":…},"timestamp":…}`.
    pub fn body(&self, at: Timestamp) -> Vec<u8> {
        let mut data = self.data.clone();
        data.insert("message".to_owned(), self.message.clone().into());
        let timestamp = format!("{:.3}", clock::storable(at).unwrap_or(at));
        json!({"event": self.kind.as_str(), "data": data, "timestamp": timestamp}).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_like_finkares() {
        let mut data = Map::new();
        data.insert("sink".into(), "erp".into());
        let notice = Notice {
            kind: NoticeType::SinkPaused,
            endpoint: None,
            sink: Some("erp".into()),
            data,
            message: "Sink erp was paused.".into(),
        };
        let body = notice.body("2026-11-27T20:00:00.1234567Z".parse().unwrap());
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"event":"relay.sink_paused","data":{"sink":"erp","message":"Sink erp was paused."},"timestamp":"2026-11-27T20:00:00.123Z"}"#
        );
        assert!(NoticeType::ALL.iter().all(|kind| is_own(kind.as_str())) && !is_own("payment.received"));
    }
}
