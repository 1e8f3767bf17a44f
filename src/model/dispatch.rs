//! One event for one sink: its states, and what an attempt makes of it.
//!
//! ```text
//!              claim                    sink has it
//!   pending ──────────▶ leased ─────────────────────▶ delivered
//!      ▲  ▲               │ │ │
//!      │  └── try later ──┘ │ └─ refused, or too long ▶ dead ──┐
//!      │                    └─ a person must look ───▶ held ──┤
//!      └───────────────────────────── retry ──────────────────┘
//!                    pending, held, dead ── cancel ──▶ cancelled
//! ```
//!
//! A lease that runs out needs no transition of its own: a leased dispatch whose time has come is
//! claimed again like a pending one. A claim that shutdown interrupts goes back to `pending` and
//! leaves no attempt.

use std::{fmt, str::FromStr, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    backoff,
    id::{DispatchId, EventId, LeaseToken, SinkName},
};

/// Where a dispatch stands. The same words in Rust, SQL, JSON, logs, metrics and pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DispatchState)]
pub enum State {
    /// Waits for its time, its turn, or a worker.
    Pending,
    /// A worker has it until its lease ends.
    Leased,
    /// The sink has it.
    Delivered,
    /// Waits for a person; the reason stands in `last_error`.
    Held,
    /// Given up; the reason stands in `last_error`.
    Dead,
    /// Called off by a person.
    Cancelled,
}

impl State {
    /// Every state, in the order of a dispatch's life.
    pub const ALL: [State; 6] =
        [State::Pending, State::Leased, State::Delivered, State::Held, State::Dead, State::Cancelled];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Leased => "leased",
            State::Delivered => "delivered",
            State::Held => "held",
            State::Dead => "dead",
            State::Cancelled => "cancelled",
        }
    }

    /// True once nothing more happens by itself and later dispatches of the invoice may go.
    pub const fn is_finished(self) -> bool {
        match self {
            State::Delivered | State::Dead | State::Cancelled => true,
            State::Pending | State::Leased | State::Held => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no state or no trigger.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{given}` is not one of {allowed}")]
pub struct UnknownWord {
    given: String,
    allowed: &'static str,
}

impl FromStr for State {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownWord {
            given: text.to_owned(),
            allowed: "`pending`, `leased`, `delivered`, `held`, `dead`, `cancelled`",
        })
    }
}

/// Why a dispatch exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The event arrived.
    Event,
    /// A person asked for it again.
    Replay,
    /// A person tries a sink: no event and no dispatch stands behind it. Never stored, so no stored word reads as it.
    Test,
}

impl Trigger {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Trigger::Event => "event",
            Trigger::Replay => "replay",
            Trigger::Test => "test",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Trigger {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "event" => Ok(Trigger::Event),
            "replay" => Ok(Trigger::Replay),
            _ => Err(UnknownWord { given: text.to_owned(), allowed: "`event`, `replay`" }),
        }
    }
}

/// In which order a sink gets its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The next event of an invoice waits until the earlier one is delivered or given up.
    #[default]
    Invoice,
    /// Whatever is due goes.
    None,
}

/// What a sink says of one attempt. Matched without a wildcard: a new answer forces a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it for good.
    Delivered,
    /// It may work later.
    Retry {
        /// What went wrong, for a person; never a secret.
        reason: String,
        /// The target's own wish (`Retry-After`); our back-off is the least that we wait.
        after: Option<Duration>,
    },
    /// It will never work: dead at once.
    Rejected {
        /// What the target said, for a person; never a secret.
        reason: String,
    },
    /// Nothing is wrong with the target, but it is too early: a payment that is still pending, our own limit towards
    /// the target. Tried again after this time, however often; it does not count as a failure of the sink.
    Wait {
        /// What is waited for, for a person; never a secret.
        reason: String,
        /// From the end of the attempt.
        after: Duration,
    },
    /// No event can go there until a person has acted: the target wants nothing more (HTTP 410), it refuses our
    /// credentials, it does not do what it says. The whole sink pauses until a person resumes it, and this event
    /// waits like those behind it.
    Stop {
        /// What happened and what to do, for a person; never a secret.
        reason: String,
    },
    /// A person must decide.
    Hold {
        /// What a person should do, in one or two sentences.
        reason: String,
        /// When to look again by ourselves; `None` waits for the person.
        recheck_after: Option<Duration>,
    },
}

impl Outcome {
    /// Every word of [`Outcome::as_str`].
    pub const WORDS: [&'static str; 4] = ["delivered", "retry", "rejected", "hold"];

    /// The word for metrics, logs and the attempt's row. [`Outcome::Wait`] and [`Outcome::Stop`] are a `retry`: so
    /// they end for the event.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Retry { .. } | Outcome::Wait { .. } | Outcome::Stop { .. } => "retry",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Hold { .. } => "hold",
        }
    }

    /// True if it says that nothing failed so far: the time until the dispatch is given up begins anew with the next
    /// attempt, so that what was looked at for weeks does not die of one bad answer.
    pub const fn restarts_the_clock(&self) -> bool {
        match self {
            Outcome::Wait { .. } | Outcome::Stop { .. } | Outcome::Hold { .. } => true,
            Outcome::Delivered | Outcome::Retry { .. } | Outcome::Rejected { .. } => false,
        }
    }

    /// The same, told in characters that every database can keep: what is not ASCII, and control characters, become
    /// `?`.
    #[must_use]
    pub fn in_plain_text(mut self) -> Self {
        match &mut self {
            Outcome::Delivered => {}
            Outcome::Retry { reason, .. }
            | Outcome::Rejected { reason }
            | Outcome::Wait { reason, .. }
            | Outcome::Stop { reason }
            | Outcome::Hold { reason, .. } => {
                let plain = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
                *reason = reason.chars().map(plain).collect();
            }
        }
        self
    }

    /// What a person is told; `None` for success.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Delivered => None,
            Outcome::Retry { reason, .. }
            | Outcome::Rejected { reason }
            | Outcome::Wait { reason, .. }
            | Outcome::Stop { reason }
            | Outcome::Hold { reason, .. } => Some(reason),
        }
    }
}

/// How long and how often a sink's dispatch is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first wait is a random part of this.
    pub initial: Duration,
    /// No wait of our own is longer than this.
    pub max: Duration,
    /// Given up when this much time has passed since the first attempt. A time, not a count: a
    /// sink that is paused, tripped or waiting its turn does not age.
    pub give_up_after: Duration,
}

/// The state that an attempt leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// `delivered`
    Delivered,
    /// `pending` again, due after this wait.
    Pending {
        /// From the end of the attempt.
        after: Duration,
    },
    /// `held`, looked at again by itself after this wait, if any.
    Held {
        /// From the end of the attempt.
        recheck_after: Option<Duration>,
    },
    /// `dead`
    Dead,
}

impl Next {
    /// The state's word.
    pub const fn state(&self) -> State {
        match self {
            Next::Delivered => State::Delivered,
            Next::Pending { .. } => State::Pending,
            Next::Held { .. } => State::Held,
            Next::Dead => State::Dead,
        }
    }
}

/// Decides what becomes of a dispatch after an attempt.
///
/// `attempt` counts from 1; `age` is the time from the start of the first attempt to the end of
/// this one; `random` lies in `0.0..1.0` and spreads the retries (full jitter).
///
/// A retry whose time would come after the give-up time is moved to that time, so that a sink gets
/// its last chance at the end and not long before; after that time the dispatch is dead. A
/// `Retry-After` beyond the give-up time is cut in the same way.
///
/// What met [`Outcome::Wait`] is never given up. What met [`Outcome::Stop`] is due at once: the pause, which is recorded with it, is what it waits
/// for. It is never given up for that.
pub fn after_attempt(outcome: &Outcome, attempt: u32, age: Duration, policy: &RetryPolicy, random: f64) -> Next {
    match outcome {
        Outcome::Delivered => Next::Delivered,
        Outcome::Rejected { .. } => Next::Dead,
        Outcome::Wait { after, .. } => Next::Pending { after: *after },
        Outcome::Stop { .. } => Next::Pending { after: Duration::ZERO },
        Outcome::Hold { recheck_after, .. } => Next::Held { recheck_after: *recheck_after },
        Outcome::Retry { after, .. } => match policy.give_up_after.checked_sub(age) {
            None | Some(Duration::ZERO) => Next::Dead,
            Some(left) => {
                let ours = backoff::next_wait(policy.initial, policy.max, attempt, random);
                Next::Pending { after: ours.max(after.unwrap_or_default()).min(left) }
            }
        },
    }
}

/// A dispatch as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Its number; smaller ones of the same sink and invoice go first.
    pub id: DispatchId,
    /// The event.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: String,
    /// The event's invoice, which keeps its order.
    pub invoice_id: Option<String>,
    /// The sink's name; the sink may no longer be configured.
    pub sink: String,
    /// Where it stands.
    pub state: State,
    /// Finished attempts.
    pub attempts: u32,
    /// Why it exists.
    pub trigger: Trigger,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it is tried or looked at next; `None` when nothing happens by itself, or while it is leased.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was delivered, given up or called off.
    pub finished_at: Option<Timestamp>,
    /// What the last attempt that did not deliver said; kept after a later success.
    pub last_error: Option<String>,
    /// The earlier dispatch of the same invoice that must be finished first.
    pub waits_for: Option<DispatchId>,
    /// What of its row or of its attempts' cannot be read: that is empty or the nearest value here. `None`:
    /// everything can.
    pub fault: Option<String>,
}

/// One try of a dispatch, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Counts from 1 within the dispatch.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// `delivered`, `retry`, `rejected` or `hold`.
    pub outcome: String,
    /// See [`Outcome::reason`].
    pub error: Option<String>,
}

/// A claimed dispatch with all that an attempt needs.
#[derive(Debug, Clone)]
pub struct LeasedDispatch {
    /// Which dispatch.
    pub id: DispatchId,
    /// Asked for when it is finished.
    pub token: LeaseToken,
    /// Attempts finished before this claim.
    pub attempts: u32,
    /// Why it exists.
    pub trigger: Trigger,
    /// From the start of the first attempt to this claim, by the store's clock; zero at the first.
    pub age: Duration,
    /// The event's id.
    pub event_id: EventId,
    /// The event's endpoint.
    pub endpoint: String,
    /// The event's type.
    pub event_type: String,
    /// The event's invoice.
    pub invoice_id: Option<String>,
    /// When the event was received.
    pub received_at: Timestamp,
    /// The `Content-Type` of the first delivery.
    pub content_type: Option<String>,
    /// The verified message.
    pub payload: Bytes,
}

/// A finished attempt on its way into the store.
#[derive(Debug, Clone)]
pub struct FinishedAttempt {
    /// Which dispatch.
    pub id: DispatchId,
    /// The lease under which it was made; with another one nothing is changed.
    pub token: LeaseToken,
    /// The sink, whose status the store keeps beside the dispatch.
    pub sink: SinkName,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What the sink said.
    pub outcome: Outcome,
    /// What follows from it, see [`after_attempt`].
    pub next: Next,
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        initial: Duration::from_secs(5),
        max: Duration::from_mins(1),
        give_up_after: Duration::from_secs(1000),
    };

    fn retry(after: Option<u64>) -> Outcome {
        Outcome::Retry { reason: "503".into(), after: after.map(Duration::from_secs) }
    }

    #[test]
    fn every_word_reads_back() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for trigger in [Trigger::Event, Trigger::Replay] {
            assert_eq!(trigger.as_str().parse(), Ok(trigger));
        }
        assert!("done".parse::<State>().unwrap_err().to_string().contains("`dead`"));
    }

    #[test]
    fn the_target_may_ask_for_more_time_but_not_for_less() {
        let wait = |after, random| match after_attempt(&retry(after), 1, Duration::ZERO, &POLICY, random) {
            Next::Pending { after } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(Some(30), 0.5), Duration::from_secs(30));
        assert_eq!(wait(Some(0), 0.5), Duration::from_millis(2500), "a wish in the past changes nothing");
        assert_eq!(wait(Some(5000), 0.5), POLICY.give_up_after, "cut at the give-up time");
    }

    #[test]
    fn gives_up_after_a_time() {
        let almost = Duration::from_millis(999_999);
        assert_eq!(
            after_attempt(&retry(None), 9, almost, &POLICY, 0.9),
            Next::Pending { after: Duration::from_millis(1) },
            "the last try is made at the end"
        );
        assert_eq!(after_attempt(&retry(None), 9, POLICY.give_up_after, &POLICY, 0.9), Next::Dead);
        assert_eq!(after_attempt(&retry(None), 9, POLICY.give_up_after * 2, &POLICY, 0.9), Next::Dead);
    }

    #[test]
    fn refusals_and_holds_are_not_retried() {
        let rejected = Outcome::Rejected { reason: "400".into() };
        assert_eq!(after_attempt(&rejected, 1, Duration::ZERO, &POLICY, 0.5), Next::Dead);
        let gone = Outcome::Stop { reason: "410".into() };
        let at_once = Next::Pending { after: Duration::ZERO };
        assert_eq!(after_attempt(&gone, 9, POLICY.give_up_after * 2, &POLICY, 0.5), at_once, "however late");
        let wait = Outcome::Wait { reason: "pending".into(), after: Duration::from_secs(9) };
        let later = Next::Pending { after: Duration::from_secs(9) };
        assert_eq!(after_attempt(&wait, 9, POLICY.give_up_after * 2, &POLICY, 0.5), later, "however late");
        let hold = Outcome::Hold { reason: "check".into(), recheck_after: None };
        assert_eq!(after_attempt(&hold, 1, Duration::ZERO, &POLICY, 0.5), Next::Held { recheck_after: None });
        assert_eq!(after_attempt(&Outcome::Delivered, 1, Duration::MAX, &POLICY, 0.5), Next::Delivered);
    }
}
