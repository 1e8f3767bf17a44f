//! The intent that is stored before Finkare is asked to change a webhook or its secret, and everything else that the
//! store knows of an endpoint's link to Finkare.
//!
//! # An intent's life
//!
//! ```text
//!              begin                finish (a secret) / fail (Finkare refused)
//!   (none) ───────────▶ in_flight ────────────────────────────────────────────▶ (finished)
//!                        │    ▲
//!   doubt, or the lease  │    │ take over
//!   ran out              ▼    │      settle (a person gives a secret that is new to the relay, or confirms the newest)
//!                       unknown ─────────────────────────────────────────────▶ (finished)
//! ```
//!
//! Finkare switches to a new secret before the relay can know it, and shows it once. So a worker that asks for a
//! change holds a lease on a row that describes the change. If the row is found without a lease, it is unknown what
//! Finkare did. The service then asks again, but not endlessly: after [`MOST_UNREADABLE`] answers of success without
//! a secret, asking again would only lose another secret, and a person has to say which secret is right.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    id::{EndpointName, LeaseToken},
    stored_secret::{Fingerprint, StoredSecret},
    words::words,
};

words! {
    /// What an intent asks of Finkare.
    IntentKind {
        /// A new secret for the webhook.
        Rotate = "rotate",
        /// A new webhook, with its first secret.
        Register = "register",
    }
}

words! {
    /// The state of an intent.
    IntentState {
        /// A worker holds its lease and is asking Finkare.
        InFlight = "in_flight",
        /// It is not known whether Finkare did it.
        Unknown = "unknown",
        /// Done; the new secret is stored.
        Done = "done",
        /// Finkare refused, or it was found that nothing had happened.
        Failed = "failed",
    }
}

/// After this many answers of success without a readable secret, the service does not ask Finkare again by itself:
/// each of them may have switched the secret, and the next answer will be no better.
pub const MOST_UNREADABLE: u32 = 3;

/// The id of an intent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IntentId(pub Uuid);

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An unfinished change at Finkare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its id.
    pub id: IntentId,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// What was asked for.
    pub kind: IntentKind,
    /// [`IntentState::InFlight`] or [`IntentState::Unknown`]; one whose lease has run out reads as unknown.
    pub state: IntentState,
    /// The actor that asked, as in the audit trail.
    pub actor: String,
    /// The webhook's id at Finkare, where it is known.
    pub webhook_id: Option<String>,
    /// The URL to register.
    pub url: Option<String>,
    /// The event types to register.
    pub events: Vec<String>,
    /// How long the previous secrets stay valid.
    pub overlap: Duration,
    /// When it was stored.
    pub begun_at: Timestamp,
    /// How many times Finkare has been asked, this time included.
    pub tries: u32,
    /// How many of Finkare's answers were a success without a secret that can be read.
    pub unreadable: u32,
    /// True if a secret that the endpoint never had was configured while Finkare was being asked. It is then unknown
    /// which of the two secrets is the later one, and asking again would invalidate the person's.
    pub given_meanwhile: bool,
    /// The actor that asked Finkare last; `None` if the service did, to heal the intent (and in rows of earlier versions).
    pub asked_by: Option<String>,
}

/// The actor that heals unfinished changes, in the audit trail.
pub const SERVICE: &str = "service";

impl Intent {
    /// True if the service no longer heals it, so that a person has to say which secret is right, or to ask again.
    pub fn needs_a_person(&self) -> bool {
        self.state == IntentState::Unknown && (self.unreadable >= MOST_UNREADABLE || self.given_meanwhile)
    }

    /// True if a person or a schedule asks Finkare, and not the service to heal the intent.
    pub fn is_asked_for(&self) -> bool {
        // The service heals only what was asked for before.
        self.asked_by.is_some() || self.tries == 1
    }
}

/// An intent about to be stored.
#[derive(Debug, Clone)]
pub struct NewIntent {
    /// Its id.
    pub id: IntentId,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// What is asked for.
    pub kind: IntentKind,
    /// The actor that asks.
    pub actor: String,
    /// The webhook's id at Finkare, for a rotation.
    pub webhook_id: Option<String>,
    /// The URL, for a registration.
    pub url: Option<String>,
    /// The event types, for a registration.
    pub events: Vec<String>,
    /// How long the previous secrets stay valid, to the microsecond.
    pub overlap: Duration,
    /// The token that proves the lease.
    pub token: LeaseToken,
    /// How long the lease lasts unless it is renewed.
    pub lease: Duration,
    /// Begin only if this is the endpoint's newest secret, so that two replicas do not follow one schedule twice.
    pub only_if_newest: Option<Fingerprint>,
}

/// The outcome of beginning an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is stored, and the caller holds its lease.
    Begun,
    /// There was an unfinished intent without a lease. The caller now holds its lease, under the given token, and has to
    /// finish it instead.
    TakenOver(Intent),
    /// Another worker holds the lease of an unfinished intent.
    InFlight(Intent),
    /// The newest secret is not the expected one: another worker was faster.
    Outdated,
}

/// The webhook of an endpoint at Finkare, if it was registered or adopted by the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id at Finkare.
    pub id: String,
    /// The URL that Finkare posts to.
    pub url: String,
    /// When it was registered or adopted.
    pub registered_at: Timestamp,
}

/// Everything that the store knows of one endpoint's link to Finkare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Its webhook, if one was registered or adopted.
    pub webhook: Option<Webhook>,
    /// Its active and retiring secrets, newest first.
    pub secrets: Vec<StoredSecret>,
    /// The unfinished intent, if there is one; at most one per endpoint.
    pub intent: Option<Intent>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for state in [IntentState::InFlight, IntentState::Unknown, IntentState::Done, IntentState::Failed] {
            assert_eq!(IntentState::from_word(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
