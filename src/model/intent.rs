//! The intent that is written down before Finkare is asked to change a webhook or its secret, and what else the store
//! knows of an endpoint's link to Finkare.
//!
//! # An intent's life
//!
//! ```text
//!              begin                finish (a secret) / fail (Finkare refused)
//!   (none) ───────────▶ in_flight ────────────────────────────────────────────▶ (finished)
//!                        │    ▲
//!   doubt, or the lease  │    │ take over
//!   ran out              ▼    │      settle (a person's word: a secret that it never had, or the one it has)
//!                       unknown ─────────────────────────────────────────────▶ (finished)
//! ```
//!
//! Finkare switches the secret before we can know it and shows it once. So whoever changes it holds
//! a lease on a row that says so. If the row is found without a lease, nobody knows what Finkare
//! did. The service's cure is to do it again, but not without end: after [`MOST_UNREADABLE`] answers of success
//! that brought no secret, asking again would only lose another one, and a person has to say which secret is right.

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
    /// What an intent wants of Finkare.
    IntentKind {
        /// A new secret for the webhook.
        Rotate = "rotate",
        /// A new webhook, with its first secret.
        Register = "register",
    }
}

words! {
    /// How an intent stands.
    IntentState {
        /// Somebody holds its lease and is asking Finkare.
        InFlight = "in_flight",
        /// Nobody knows whether Finkare did it.
        Unknown = "unknown",
        /// Done; the new secret is kept.
        Done = "done",
        /// Finkare refused, or it was found that nothing had happened.
        Failed = "failed",
    }
}

/// After so many answers of success without a secret that can be read, the service does not ask Finkare again by itself:
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
    /// For which endpoint.
    pub endpoint: EndpointName,
    /// What was asked for.
    pub kind: IntentKind,
    /// [`IntentState::InFlight`] or [`IntentState::Unknown`]; one whose lease has run out reads as unknown.
    pub state: IntentState,
    /// Who asked.
    pub actor: String,
    /// The webhook's id at Finkare, where it is known.
    pub webhook_id: Option<String>,
    /// The URL to register, and the event types.
    pub url: Option<String>,
    /// The event types to register.
    pub events: Vec<String>,
    /// For how long the secrets before it stay good.
    pub overlap: Duration,
    /// When it was written down.
    pub begun_at: Timestamp,
    /// How often Finkare has been asked, this time included.
    pub tries: u32,
    /// How often Finkare answered with success and without a secret that can be read.
    pub unreadable: u32,
    /// True if a secret was configured that the endpoint never had while somebody was asking Finkare: which of the two is the
    /// later one is not known, and asking again would make the person's a wrong one.
    pub given_meanwhile: bool,
    /// Who asked Finkare last; `None` if it was the service, healing (and in rows of earlier versions).
    pub asked_by: Option<String>,
}

/// Who heals what was left unfinished, in the audit trail.
pub const SERVICE: &str = "service";

impl Intent {
    /// True if the service has given up healing it: a person has to say which secret is right, or to ask again.
    pub fn needs_a_person(&self) -> bool {
        self.state == IntentState::Unknown && (self.unreadable >= MOST_UNREADABLE || self.given_meanwhile)
    }

    /// True if Finkare is asked by a person (or a schedule), and not by the service that heals.
    pub fn is_asked_for(&self) -> bool {
        // The service heals only what was asked for before.
        self.asked_by.is_some() || self.tries == 1
    }
}

/// An intent about to be written down.
#[derive(Debug, Clone)]
pub struct NewIntent {
    /// Its id.
    pub id: IntentId,
    /// For which endpoint.
    pub endpoint: EndpointName,
    /// What is asked for.
    pub kind: IntentKind,
    /// Who asks.
    pub actor: String,
    /// The webhook's id at Finkare, for a rotation.
    pub webhook_id: Option<String>,
    /// The URL, for a registration.
    pub url: Option<String>,
    /// The event types, for a registration.
    pub events: Vec<String>,
    /// For how long the secrets before it stay good; microseconds count.
    pub overlap: Duration,
    /// Proof that it is ours.
    pub token: LeaseToken,
    /// How long the lease lasts unless it is renewed.
    pub lease: Duration,
    /// Do nothing unless this is the newest secret of the endpoint: keeps two replicas from following
    /// one schedule twice.
    pub only_if_newest: Option<Fingerprint>,
}

/// What became of an intent that should begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is written down, and ours.
    Begun,
    /// There was an unfinished one that nobody held: it is ours now, with the token that was given,
    /// and is to be finished instead.
    TakenOver(Intent),
    /// Somebody is at it.
    InFlight(Intent),
    /// The newest secret is another one than expected: somebody was faster.
    Outdated,
}

/// The webhook of an endpoint at Finkare, as far as we registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id at Finkare.
    pub id: String,
    /// The URL that Finkare posts to.
    pub url: String,
    /// When it was registered or adopted.
    pub registered_at: Timestamp,
}

/// All that the store knows of one endpoint's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Its webhook, if we registered or adopted one.
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
