//! What is counted by the hour, for pictures: the words, the classes of the acknowledgement's duration, and what can be said
//! of durations by their classes.
//!
//! The names beside the words are those of configured endpoints and sinks, never a sender's data, so what is kept is
//! bounded.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    clock,
    dispatch::{Next, Outcome},
};

/// The upper ends of the classes by which the acknowledgement's duration is counted, in milliseconds. Finkare gives up after
/// five seconds. Each class has its word in `ACK_WORDS`, so rows that were counted by other classes are not mistaken.
pub const ACK_BOUNDS_MS: [u32; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

/// The classes: one for each bound, and one for what took longer.
pub const ACK_CLASSES: usize = ACK_BOUNDS_MS.len() + 1;

/// The words of the classes.
const ACK_WORDS: [&str; ACK_CLASSES] = [
    "ack_1", "ack_2", "ack_5", "ack_10", "ack_25", "ack_50", "ack_100", "ack_250", "ack_500", "ack_1000", "ack_2500",
    "ack_5000", "ack_more",
];

/// How long counts are kept.
pub const KEPT: Duration = Duration::from_hours(8 * 24);

/// What a count is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// New events of an endpoint.
    Accepted,
    /// Deliveries of an endpoint's events that were already known.
    Duplicate,
    /// Deliveries to an endpoint that were not acknowledged, for whatever reason.
    Refused,
    /// Attempts of a sink that have delivered.
    Delivered,
    /// Attempts of a sink that have failed and are repeated.
    Retried,
    /// Attempts of a sink after which its dispatch was given up.
    Dead,
    /// Attempts of a sink after which its dispatch waits for a person.
    Held,
    /// The most dispatches that were seen waiting for a sink, or under way to it.
    Backlog,
    /// Acknowledgements of the whole service whose duration is of this class: the place of its bound in
    /// [`ACK_BOUNDS_MS`].
    Ack(usize),
}

impl What {
    const PLAIN: [Self; 8] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Refused,
        Self::Delivered,
        Self::Retried,
        Self::Dead,
        Self::Held,
        Self::Backlog,
    ];

    /// The word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Refused => "refused",
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Dead => "dead",
            Self::Held => "held",
            Self::Backlog => "backlog",
            Self::Ack(class) => ACK_WORDS[class.min(ACK_CLASSES - 1)],
        }
    }

    /// What a word means; `None` for any other word.
    pub fn from_word(word: &str) -> Option<Self> {
        let plain = Self::PLAIN.into_iter().find(|what| what.as_str() == word);
        plain.or_else(|| ACK_WORDS.iter().position(|known| *known == word).map(Self::Ack))
    }

    /// What an attempt counts as. One that only waits for its time, or for a pause of its sink, has not failed and counts as
    /// nothing.
    pub const fn of_attempt(outcome: &Outcome, next: &Next) -> Option<Self> {
        match next {
            Next::Delivered => Some(Self::Delivered),
            Next::Dead => Some(Self::Dead),
            Next::Held { .. } => Some(Self::Held),
            Next::Pending { .. } => match outcome {
                Outcome::Retry { .. } => Some(Self::Retried),
                Outcome::Wait { .. }
                | Outcome::Stop { .. }
                | Outcome::Delivered
                | Outcome::Partly { .. }
                | Outcome::Rejected { .. }
                | Outcome::Hold { .. } => None,
            },
        }
    }
}

/// Counts by what they are about and whose they are; `""` is the whole service.
pub type Totals = BTreeMap<(What, String), u64>;

/// A count of one hour.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The first moment of the hour.
    pub hour: Timestamp,
    /// What was counted.
    pub what: What,
    /// Of which endpoint or sink; empty for the whole service.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// The microseconds of an hour.
const HOUR_MICROS: i64 = 3_600_000_000;

/// The first moment of the hour of a time.
pub fn hour_of(time: Timestamp) -> Timestamp {
    let micros = clock::to_micros(time);
    clock::nearest(micros - micros.rem_euclid(HOUR_MICROS))
}

/// The time from here to the next hour, at least a millisecond.
pub fn to_next_hour(time: Timestamp) -> Duration {
    let gone = clock::to_micros(time).rem_euclid(HOUR_MICROS);
    Duration::from_micros((HOUR_MICROS - gone).unsigned_abs()).max(Duration::from_millis(1))
}

/// The class of an acknowledgement's duration.
pub fn class_of(took: Duration) -> usize {
    let within = |bound: &u32| took <= Duration::from_millis(u64::from(*bound));
    ACK_BOUNDS_MS.iter().position(within).unwrap_or(ACK_BOUNDS_MS.len())
}

/// The duration in milliseconds that this part (0.0 to 1.0) of the acknowledgements did not exceed, estimated: within a
/// class, durations count as evenly spread. What took longer than the last bound counts as just that long. `None` without
/// acknowledgements.
#[expect(clippy::cast_precision_loss, reason = "an estimate, rounded to tenths")]
pub fn quantile_ms(classes: &[u64; ACK_CLASSES], part: f64) -> Option<f64> {
    let total: f64 = classes.iter().map(|count| *count as f64).sum();
    if total <= 0.0 {
        return None;
    }
    let (wanted, mut below) = (part * total, 0.0);
    let last = f64::from(ACK_BOUNDS_MS[ACK_BOUNDS_MS.len() - 1]);
    for (class, count) in classes.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if below + count >= wanted {
            let Some(upper) = ACK_BOUNDS_MS.get(class).map(|bound| f64::from(*bound)) else { return Some(last) };
            let lower = class.checked_sub(1).map_or(0.0, |before| f64::from(ACK_BOUNDS_MS[before]));
            let estimate = lower + (upper - lower) * (wanted - below) / count;
            return Some((estimate * 10.0).round() / 10.0);
        }
        below += count;
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_each_class_has_the_word_of_its_bound() {
        let all = What::PLAIN.into_iter().chain((0..ACK_CLASSES).map(What::Ack));
        let mut words: Vec<_> = all
            .map(|what| {
                assert_eq!(What::from_word(what.as_str()), Some(what));
                what.as_str()
            })
            .collect();
        for (class, bound) in ACK_BOUNDS_MS.iter().enumerate() {
            assert_eq!(What::Ack(class).as_str(), format!("ack_{bound}"));
        }
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!((words.len(), What::from_word("ack_3")), (count, None));
    }

    #[test]
    fn only_a_failure_that_is_repeated_is_a_retry() {
        let pending = Next::Pending { after: Duration::ZERO };
        let reason = || "x".to_owned();
        let of = |outcome: Outcome, next: &Next| What::of_attempt(&outcome, next);
        assert_eq!(of(Outcome::Retry { reason: reason(), after: None }, &pending), Some(What::Retried));
        assert_eq!(of(Outcome::Retry { reason: reason(), after: None }, &Next::Dead), Some(What::Dead));
        assert_eq!(of(Outcome::Wait { reason: reason(), after: Duration::ZERO }, &pending), None);
        assert_eq!(of(Outcome::Stop { reason: reason() }, &pending), None);
        assert_eq!(of(Outcome::Partly { reason: reason() }, &Next::Delivered), Some(What::Delivered));
    }

    #[test]
    fn hours_begin_at_their_first_moment_also_before_1970() {
        let hour = |text: &str| hour_of(text.parse().unwrap()).to_string();
        assert_eq!(hour("2026-11-28T03:59:59.999999Z"), "2026-11-28T03:00:00Z");
        assert_eq!(hour("2026-11-28T04:00:00Z"), "2026-11-28T04:00:00Z");
        assert_eq!(hour("1969-12-31T23:30:00Z"), "1969-12-31T23:00:00Z");
        assert_eq!(to_next_hour("2026-11-28T03:59:30Z".parse().unwrap()), Duration::from_secs(30));
        assert_eq!(to_next_hour("2026-11-28T04:00:00Z".parse().unwrap()), Duration::from_hours(1));
        assert_eq!(to_next_hour("2026-11-28T03:59:59.999999Z".parse().unwrap()), Duration::from_millis(1));
    }

    #[test]
    fn durations_are_estimated_by_their_classes() {
        let class = |micros: u64| class_of(Duration::from_micros(micros));
        assert_eq!([0, 1000, 1001, 5_000_000, 5_000_001].map(class), [0, 0, 1, 11, 12]);
        let mut classes = [0; ACK_CLASSES];
        assert_eq!(quantile_ms(&classes, 0.5), None);
        classes[2] = 100;
        assert_eq!((quantile_ms(&classes, 0.5), quantile_ms(&classes, 1.0)), (Some(3.5), Some(5.0)));
        classes[12] = 2;
        assert_eq!((quantile_ms(&classes, 0.5), quantile_ms(&classes, 0.99)), (Some(3.5), Some(5000.0)));
        assert_eq!(quantile_ms(&[u64::MAX; ACK_CLASSES], 0.5), Some(75.0));
    }
}
