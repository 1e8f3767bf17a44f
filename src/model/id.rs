//! Typed names and numbers, so that an event id can never be passed where a dispatch id is meant.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::{ContextV7, Uuid, Version};

use super::clock;

/// The id of an event: a UUID v7, whose order is the order of receipt (to the millisecond).
///
/// The sender gets it in the answer, and every sink receives it as message id. It never changes, also when the event
/// is repeated or replayed.
///
/// An event that a reconciliation has made is the exception: its id is a UUID v8 of the same layout, made of the payment
/// ([`EventId::of_payment`]), so that it is known by its id, and the same however often it is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl EventId {
    /// A new id for an event received now.
    pub fn generate() -> Self {
        static MADE: Mutex<Made> = Mutex::new(Made { last: i64::MIN, context: ContextV7::new() });
        MADE.lock().unwrap_or_else(PoisonError::into_inner).next(clock::now())
    }

    /// The id of the event that a reconciliation makes of a payment that was never announced: the time of the payment, in
    /// milliseconds as in a UUID v7, then a hash of the endpoint and the payment (version 8,
    /// <https://www.rfc-editor.org/rfc/rfc9562#section-5.8>). A store that was restored from before the reconciliation makes
    /// the same id again, by which targets recognise the event.
    pub fn of_payment(endpoint: &str, payment_id: &str, paid_at: Timestamp) -> Self {
        let mut hash = Sha256::new();
        for part in [endpoint, payment_id] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        let millis = u64::try_from(paid_at.as_millisecond()).unwrap_or(0);
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// True if a reconciliation has made the event.
    pub fn is_of_payment(self) -> bool {
        self.0.get_version() == Some(Version::Custom)
    }

    /// When it was made, to the millisecond; `None` if it holds no time. For an event that a reconciliation has made, the time
    /// of its payment.
    pub fn made_at(self) -> Option<Timestamp> {
        if self.is_of_payment() {
            let millis = u64::try_from(self.0.as_u128() >> 80).ok()?;
            return Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok();
        }
        let (secs, nanos) = self.0.get_timestamp()?.to_unix();
        Timestamp::new(i64::try_from(secs).ok()?, i32::try_from(nanos).ok()?).ok()
    }
}

/// The ids made so far.
struct Made {
    /// The latest time of an id, in milliseconds since 1970.
    last: i64,
    context: ContextV7,
}

/// The clock may go back by so much before ids go back with it.
const JITTER_MILLIS: i64 = 1000;

impl Made {
    /// The next id. Its order is that of making. Only a clock that was set back breaks it: a context never goes back, so
    /// after an hour with a clock a year ahead all ids would lie a year ahead, and retention and lists go by them.
    fn next(&mut self, now: Timestamp) -> EventId {
        let millis = now.as_millisecond();
        if self.last > millis.saturating_add(JITTER_MILLIS) {
            *self = Self { last: millis, context: ContextV7::new() };
        }
        self.last = self.last.max(millis);
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        EventId(Uuid::new_v7(uuid::Timestamp::from_unix(&self.context, seconds, nanos)))
    }
}

/// The number of a dispatch, given by the store in the order in which dispatches were written.
///
/// For one sink and one invoice a smaller number goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct DispatchId(pub i64);

/// Proof that a claim is still ours: new with every claim, and required when the attempt is finished.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub Uuid);

impl LeaseToken {
    /// A token that no other claim has.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

macro_rules! display_as_inner {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($id), self.0)
            }
        }
    )*};
}
display_as_inner!(EventId, DispatchId, LeaseToken, SinkName, EndpointName);

impl FromStr for EventId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl FromStr for DispatchId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A name that cannot be used: see [`SinkName::new`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a usable name: write 1 to 63 letters, digits, `-`, `_` or `.`, beginning with a letter or digit")]
pub struct InvalidName(String);

fn check_name(name: &str) -> Result<Arc<str>, InvalidName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(allowed);
    if good { Ok(name.into()) } else { Err(InvalidName(name.to_owned())) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a name of 1 to 63 ASCII letters, digits, `-`, `_` or `.` that begins with a
            /// letter or a digit: it appears in URLs, metric labels and notifications.
            ///
            /// # Errors
            /// When the text is anything else.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                check_name(name).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                Self::new(&name).map_err(serde::de::Error::custom)
            }
        }
    };
}
name_type!(
    /// The name of a configured sink.
    SinkName
);
name_type!(
    /// The name of an endpoint: one webhook registered at Finkare.
    EndpointName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_urls_and_labels() {
        for good in ["erp", "a", "Compta-2", "x.y_z", &"n".repeat(63)] {
            assert_eq!(SinkName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".", "é", "a b", "a/b", "a,b", "a\n", &"n".repeat(64)] {
            assert!(SinkName::new(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn the_id_of_a_payment_is_made_of_the_payment() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let paid = at("2026-10-05T10:30:00.123Z");
        let id = EventId::of_payment("production", "p1", paid);
        assert_eq!(id, EventId::of_payment("production", "p1", paid));
        assert!(id.is_of_payment() && !EventId::generate().is_of_payment());
        assert_eq!((id.made_at(), id.0.get_variant()), (Some(paid), uuid::Variant::RFC4122));
        for (endpoint, payment) in [("production", "p2"), ("productionp", "1"), ("sandbox", "p1")] {
            assert_ne!(EventId::of_payment(endpoint, payment, paid), id);
        }
        assert!(id < EventId::of_payment("production", "p1", at("2026-10-05T10:30:00.124Z")), "sorted by time");
    }

    #[test]
    fn ids_ascend_and_follow_a_clock_that_was_set_back() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let mut made = Made { last: i64::MIN, context: ContextV7::new() };
        let year = 31_536_000_000;
        let today = 1_800_000_000_000;
        let ahead: Vec<EventId> = (0..100).map(|n| made.next(at(today + year + n / 10))).collect();
        assert!(ahead.is_sorted() && ahead[0].made_at() == Some(at(today + year)));
        // A little back is jitter, and the order stays.
        let jitter = made.next(at(today + year - 500));
        assert!(jitter > ahead[99] && jitter.made_at() == Some(at(today + year + 9)));
        let right = made.next(at(today));
        assert_eq!(right.made_at(), Some(at(today)));
        assert!(made.next(at(today)) > right);
        assert_eq!(made.next(at(-5)).made_at(), Some(at(0)), "an id holds no earlier time");
    }
}
