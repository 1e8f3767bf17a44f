//! The trace of an event: its ids follow from the event's id, so nothing is stored for them.
//!
//! A delivery and its attempts happen in different processes and up to months apart. They join one trace because each
//! of them can compute both the trace's id, which is the event's id (a UUID has the 128 bits of a trace id), and the
//! id of the delivery's span, which is a hash of it. The ids and the header have the form of W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::id::EventId;

/// The id of a trace: the event's id, without its dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub Uuid);

impl From<EventId> for TraceId {
    fn from(event: EventId) -> Self {
        Self(event.0)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// The id of one span of a trace; never 0, which means "no span".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub u64);

impl SpanId {
    /// The span of the delivery that brought the event: the parent of all others.
    pub fn of_delivery(event: EventId) -> Self {
        Self(hash("delivery", event).max(1))
    }

    /// An id that no other span has.
    pub fn generate() -> Self {
        Self(rand::random::<u64>().max(1))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The position of an event between 0 and 2^64, which decides whether its trace is exported. Every process decides
/// the same. The trace id itself is not suitable: some bits of a UUID are fixed, and others are the time.
pub fn sampling_point(event: EventId) -> u64 {
    hash("sampling", event)
}

/// The trace context that a target receives, so that it can continue the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The event's trace.
    pub trace: TraceId,
    /// The attempt's span.
    pub span: SpanId,
    /// Whether the span is exported.
    pub is_sampled: bool,
}

/// The value of the header `traceparent`.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

fn hash(what: &str, event: EventId) -> u64 {
    let digest = Sha256::new().chain_update(what).chain_update(event.0.as_bytes()).finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids that other replicas and later versions must compute, too.
    #[test]
    fn ids_follow_from_the_event() {
        let event: EventId = "01a1fd13-05dd-7536-bbe4-e5ada5c8b84f".parse().unwrap();
        assert_eq!(TraceId::from(event).to_string(), "01a1fd1305dd7536bbe4e5ada5c8b84f");
        assert_eq!(SpanId::of_delivery(event).to_string(), "fe7a6f5c8cfc6d69");
        let parent = TraceParent { trace: event.into(), span: SpanId(0xf), is_sampled: true };
        assert_eq!(parent.to_string(), "00-01a1fd1305dd7536bbe4e5ada5c8b84f-000000000000000f-01");
        let unsampled = TraceParent { is_sampled: false, ..parent };
        assert!(unsampled.to_string().ends_with("-00"));
    }

    #[test]
    fn events_spread_evenly_for_sampling() {
        let below = (0..2000).filter(|_| sampling_point(EventId::generate()) < u64::MAX / 4).count();
        // A quarter is 500; eight standard deviations are 155.
        assert!((345..655).contains(&below), "{below} of 2000");
    }
}
