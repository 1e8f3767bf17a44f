//! From a delivery's bytes to a committed event: verify, find the key, choose the sinks, commit.
//!
//! The receiving half ends here. [`crate::web::receive`] calls [`Ingest::receive`] and turns its
//! answer into a status; the relaying half starts from the rows that this half committed, and the
//! two do not know each other.
//!
//! The order matters: nothing is looked up or stored before the signature has been verified, and
//! the key is taken from the message that was verified, so that a forger can neither fill the store
//! nor claim a key.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;

use crate::{
    activity::Meter,
    model::{
        clock,
        event::{self, DedupeKey, NewEvent, Recorded},
        id::{EndpointName, EventId},
    },
    secrets::{Keyring, NotProved, Undecided},
    signature::finkare::Rejection,
    store::StoreError,
};

pub mod committer;
pub mod explain;
pub mod filter;
pub mod route;

use committer::Committer;
use route::Route;

/// The least time that a commit gets, even after a long wait for the secret.
const LEAST_FOR_COMMIT: Duration = Duration::from_millis(500);

/// How repeated deliveries of an event are recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dedupe {
    /// By the SHA-256 of the verified message.
    Message,
    /// By the event's type and the value at this JSON pointer (RFC 6901); by the message if the body has no text or
    /// number there.
    Pointer(String),
}

/// An endpoint as the receiving half needs it.
#[derive(Debug)]
pub struct Endpoint {
    /// The name of the endpoint.
    pub name: EndpointName,
    /// The public path.
    pub path: String,
    /// The secrets.
    pub keyring: Keyring,
    /// How repeated deliveries are recognised.
    pub dedupe: Dedupe,
    /// The maximum age: a genuine delivery with an older timestamp is rejected, see [`Refused::TooOld`].
    pub max_age: Option<Duration>,
    /// Records the time of the last genuine delivery.
    pub meter: Meter,
}

/// A delivery that was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// The event.
    pub recorded: Recorded,
    /// How long the commit took, in the queue and in the store.
    pub took: Duration,
}

/// Why a delivery was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The delivery is not genuine, as far as can be told. The reason is only for the log.
    #[error("the signature was not accepted")]
    NotGenuine(#[source] Rejection),
    /// The secret is being changed, or may have been changed: the delivery may be genuine.
    #[error("it cannot be determined now whether the delivery is genuine")]
    Undecided(#[source] Undecided),
    /// The delivery is genuine, but so old that its dedupe key may have been removed, so that it would count as new
    /// (docs/decisions/0019-max-age.md).
    #[error("the delivery is genuine, but its timestamp {occurred_at} is more than {} days old", max_age.as_secs() / 86_400)]
    TooOld {
        /// The delivery's own timestamp, which the signature covers.
        occurred_at: Timestamp,
        /// The endpoint's limit.
        max_age: Duration,
    },
    /// More deliveries wait for the store than may be kept in memory.
    #[error("too many deliveries are waiting for the store")]
    QueueFull,
    /// The store did not commit in time. It may still do so; the repeated delivery is then a duplicate.
    #[error("the store did not commit the delivery within {0:?}")]
    TooLate(Duration),
    /// The store has failed.
    #[error("the delivery could not be stored")]
    Store(#[source] Arc<StoreError>),
}

/// The receiving half.
#[derive(Debug)]
pub struct Ingest {
    routes: Arc<[Route]>,
    committer: Committer,
    ack_timeout: Duration,
}

impl Ingest {
    /// Builds the receiving half; `ack_timeout` limits the wait for the commit.
    pub fn new(routes: Arc<[Route]>, committer: Committer, ack_timeout: Duration) -> Self {
        Self { routes, committer, ack_timeout }
    }

    /// Accepts one delivery; `Ok` means that it is committed.
    ///
    /// Dropping the future (the sender hung up) undoes nothing: the event may be committed anyway, and a repeated delivery
    /// is then a duplicate.
    ///
    /// # Errors
    /// See [`Refused`]. The sender should try again in every case except [`Refused::NotGenuine`] and [`Refused::TooOld`].
    ///
    /// A delivery that has waited for a change of the secret has less time left for the commit, since the sender waits for
    /// both.
    pub async fn receive(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        body: &Bytes,
        received_at: Timestamp,
    ) -> Result<Committed, Refused> {
        let begun = Instant::now();
        let verified = endpoint.keyring.prove(headers, body).await.map_err(|error| match error {
            NotProved::Rejected(rejection) => Refused::NotGenuine(rejection),
            NotProved::Undecided(undecided) => Refused::Undecided(undecided),
        })?;
        let event = self.event(endpoint, headers, verified.message, received_at);
        check_age(endpoint.max_age, &event)?;
        if !event.readable {
            tracing::warn!(
                event.id = %event.id, endpoint.name = %event.endpoint, bytes = event.payload.len(),
                "a correctly signed delivery cannot be read: it is stored and acknowledged, and a person should look \
                 at it"
            );
        }
        let before = begun.elapsed();
        let left = self.ack_timeout.saturating_sub(before).max(LEAST_FOR_COMMIT);
        match tokio::time::timeout(left, self.committer.commit(event)?).await {
            Ok(Ok(Ok(recorded))) => {
                endpoint.meter.heard(received_at);
                Ok(Committed { recorded, took: begun.elapsed().saturating_sub(before) })
            }
            Ok(Ok(Err(error))) => Err(Refused::Store(error)),
            // The writer has ended without an answer: shutdown has begun.
            Ok(Err(_)) => Err(Refused::QueueFull),
            Err(_) => Err(Refused::TooLate(left)),
        }
    }

    fn event(&self, endpoint: &Endpoint, headers: &HeaderMap, message: Bytes, received_at: Timestamp) -> NewEvent {
        let reading = event::read(&message);
        let sinks = route::sinks_for(&self.routes, endpoint.name.as_str(), &reading.event_type, &message);
        NewEvent {
            id: EventId::generate(),
            endpoint: endpoint.name.clone(),
            dedupe_key: dedupe_key(&endpoint.dedupe, &reading, &message),
            event_type: reading.event_type,
            invoice_id: reading.invoice_id,
            occurred_at: reading.occurred_at,
            received_at,
            readable: reading.readable,
            content_type: content_type(headers),
            payload: message,
            sinks,
        }
    }
}

/// Rejects a delivery that is older than the maximum age. A delivery without a readable timestamp is kept: its age
/// is unknown, and it is genuine.
fn check_age(max_age: Option<Duration>, event: &NewEvent) -> Result<(), Refused> {
    let Some(max_age) = max_age else { return Ok(()) };
    match event.occurred_at {
        Some(occurred_at) if clock::since(occurred_at, event.received_at) > max_age => {
            tracing::error!(
                endpoint.name = %event.endpoint, event.r#type = event.event_type, occurred_at = %occurred_at,
                "a genuine delivery is older than `max_age_days` and was refused: compare Finkare's payments with yours"
            );
            Err(Refused::TooOld { occurred_at, max_age })
        }
        Some(_) => Ok(()),
        None => {
            tracing::warn!(
                event.id = %event.id, endpoint.name = %event.endpoint,
                "a genuine delivery has no readable `timestamp`, so `max_age_days` cannot be checked: the delivery is \
                 kept"
            );
            Ok(())
        }
    }
}

fn dedupe_key(dedupe: &Dedupe, reading: &event::Reading, message: &[u8]) -> DedupeKey {
    if let Dedupe::Pointer(pointer) = dedupe
        // An unreadable body has no type either, so two of them may have nothing in common.
        && reading.readable
        && let Some(value) = event::key_at(message, pointer)
    {
        return DedupeKey::of_value(pointer, &reading.event_type, &value);
    }
    DedupeKey::of_message(message)
}

/// The `Content-Type`, if it can be stored and sent on.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    (text.len() <= event::MAX_TEXT).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_older_than_the_limit_is_too_old() {
        let received_at: Timestamp = "2026-03-15T10:30:00Z".parse().unwrap();
        let check = |max_age, occurred_at: Option<&str>| {
            let event = NewEvent {
                id: EventId::generate(),
                endpoint: EndpointName::new("production").unwrap(),
                dedupe_key: DedupeKey::of_message(b""),
                event_type: "payment.received".into(),
                invoice_id: None,
                occurred_at: occurred_at.map(|text| text.parse().unwrap()),
                received_at,
                readable: true,
                content_type: None,
                payload: Bytes::new(),
                sinks: Vec::new(),
            };
            check_age(max_age, &event)
        };
        let day = Some(Duration::from_hours(24));
        for kept in ["2026-03-14T10:30:00Z", "2026-03-15T10:30:00Z", "2027-01-01T00:00:00Z"] {
            assert!(check(day, Some(kept)).is_ok(), "{kept}");
        }
        let refused = check(day, Some("2026-03-14T10:29:59.999Z")).unwrap_err();
        assert!(matches!(refused, Refused::TooOld { .. }) && refused.to_string().contains("1 days"), "{refused}");
        assert!(check(day, None).is_ok(), "what has no timestamp is kept");
        assert!(check(None, Some("1970-01-01T00:00:00Z")).is_ok(), "off");
    }

    #[test]
    fn a_pointer_finds_the_key_and_falls_back_on_the_message() {
        let key = |dedupe: &Dedupe, message: &[u8]| dedupe_key(dedupe, &event::read(message), message);
        let by_id = Dedupe::Pointer("/id".into());
        let (first, resent) =
            (br#"{"event":"ping","id":"e1","timestamp":"1"}"#, br#"{"event":"ping","id":"e1","timestamp":"2"}"#);
        assert_eq!(key(&by_id, first), key(&by_id, resent));
        assert_ne!(key(&Dedupe::Message, first), key(&Dedupe::Message, resent));
        assert_ne!(key(&by_id, first), key(&by_id, br#"{"event":"pong","id":"e1","timestamp":"1"}"#));
        for without in [&br#"{"event":"ping"}"#[..], br#"{"event":"ping","id":""}"#, br#"{"id":"e1"}"#, b"not json"] {
            assert_eq!(key(&by_id, without), DedupeKey::of_message(without));
        }
    }
}
