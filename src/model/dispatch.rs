//! One event for one sink: its states, and how an attempt changes them.
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
//! A fresh dispatch is recorded as leased, without a claim, if a worker of the process has room for it.
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

/// The state of a dispatch. The same words are used in Rust, SQL, JSON, logs, metrics and pages.
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

    /// True once the dispatch needs no more work, so that later dispatches of the invoice may be sent.
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

/// The reason why a dispatch exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The event arrived.
    Event,
    /// A person asked to send it again.
    Replay,
    /// A reconciliation made the event, because its payment was never announced. Stored as `event`: the id of the event says
    /// so ([`EventId::is_of_payment`]).
    Reconciliation,
    /// A person tests a sink: there is no event and no dispatch. Never stored, so no stored word reads as it.
    Test,
}

impl Trigger {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Trigger::Event => "event",
            Trigger::Replay => "replay",
            Trigger::Reconciliation => "reconciliation",
            Trigger::Test => "test",
        }
    }
}

impl Trigger {
    /// The trigger of a dispatch of this event, from the stored one.
    #[must_use]
    pub fn of(self, event: EventId) -> Self {
        if self == Self::Event && event.is_of_payment() { Self::Reconciliation } else { self }
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

/// The order in which a sink gets its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The next event of an invoice waits until the earlier one is delivered or given up.
    #[default]
    Invoice,
    /// Everything that is due is sent.
    None,
}

/// The outcome of one attempt, as the sink reports it. Matched without a wildcard, so that a new outcome forces a
/// decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target has stored it permanently.
    Delivered,
    /// It has reached some of its recipients, and never will reach the others. Sending it again would repeat it to those
    /// who have it, so it counts as delivered, with a remark.
    Partly {
        /// Who did not get it and why, for a person; never a secret.
        reason: String,
    },
    /// It may work later.
    Retry {
        /// What went wrong, for a person; never a secret.
        reason: String,
        /// The wait that the target asks for (`Retry-After`); our back-off is the shortest wait.
        after: Option<Duration>,
    },
    /// It will never work: dead at once.
    Rejected {
        /// What the target said, for a person; never a secret.
        reason: String,
    },
    /// Nothing is wrong with the target, but it is too early: a payment that is still pending, or our own limit
    /// towards the target. Tried again after this time, as often as needed; it does not count as a failure of the
    /// sink.
    Wait {
        /// What the dispatch waits for, for a person; never a secret.
        reason: String,
        /// From the end of the attempt.
        after: Duration,
    },
    /// No event can be sent there until a person has acted: the target wants no more events (HTTP 410), it refuses
    /// our credentials, or it does not do what it reports. The whole sink pauses until a person resumes it, and this
    /// event waits like those behind it.
    Stop {
        /// What happened and what to do, for a person; never a secret.
        reason: String,
    },
    /// A person must decide.
    Hold {
        /// What a person should do, in one or two sentences.
        reason: String,
        /// When the relay checks again by itself; `None` waits for the person.
        recheck_after: Option<Duration>,
    },
}

impl Outcome {
    /// Every word of [`Outcome::as_str`].
    pub const WORDS: [&'static str; 4] = ["delivered", "retry", "rejected", "hold"];

    /// The word for metrics, logs and the attempt's row. [`Outcome::Wait`] and [`Outcome::Stop`] count as `retry`,
    /// because that is what they mean for the event.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Outcome::Delivered | Outcome::Partly { .. } => "delivered",
            Outcome::Retry { .. } | Outcome::Wait { .. } | Outcome::Stop { .. } => "retry",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Hold { .. } => "hold",
        }
    }

    /// True if nothing has failed so far: the time until the dispatch is given up starts again with the next attempt,
    /// so that a dispatch that was checked for weeks is not given up because of one bad answer.
    pub const fn restarts_the_clock(&self) -> bool {
        match self {
            Outcome::Wait { .. } | Outcome::Stop { .. } | Outcome::Hold { .. } => true,
            Outcome::Delivered | Outcome::Partly { .. } | Outcome::Retry { .. } | Outcome::Rejected { .. } => false,
        }
    }

    /// The same outcome in characters that every database can store: characters that are not ASCII, and control
    /// characters, become `?`.
    #[must_use]
    pub fn in_plain_text(mut self) -> Self {
        match &mut self {
            Outcome::Delivered => {}
            Outcome::Partly { reason }
            | Outcome::Retry { reason, .. }
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

    /// The reason, for a person; `None` for success without a remark.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Delivered => None,
            Outcome::Partly { reason }
            | Outcome::Retry { reason, .. }
            | Outcome::Rejected { reason }
            | Outcome::Wait { reason, .. }
            | Outcome::Stop { reason }
            | Outcome::Hold { reason, .. } => Some(reason),
        }
    }
}

/// How long and how often a sink's dispatch is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first wait is a random part of this.
    pub initial: Duration,
    /// The longest wait of our own.
    pub max: Duration,
    /// A dispatch is given up when this much time has passed since the first attempt. It is a time, not a count: a
    /// dispatch does not age while its sink is paused or tripped, or while it waits for its turn.
    pub give_up_after: Duration,
}

/// The state after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// `delivered`
    Delivered,
    /// `pending` again, due after this wait.
    Pending {
        /// From the end of the attempt.
        after: Duration,
    },
    /// `held`, checked again by the relay after this wait, if any.
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

/// Decides the state of a dispatch after an attempt.
///
/// `attempt` counts from 1; `age` is the time from the start of the first attempt to the end of this one; `random` is
/// in `0.0..1.0` and spreads the retries (full jitter).
///
/// A retry that would come after the give-up time is moved to that time, so that a sink gets its last chance at the
/// end and not long before; after that time the dispatch is dead. A `Retry-After` beyond the give-up time is
/// shortened in the same way.
///
/// A dispatch with [`Outcome::Wait`] is never given up. A dispatch with [`Outcome::Stop`] is due at once: it waits
/// for the pause that is recorded with it, and is never given up because of that.
pub fn after_attempt(outcome: &Outcome, attempt: u32, age: Duration, policy: &RetryPolicy, random: f64) -> Next {
    match outcome {
        Outcome::Delivered | Outcome::Partly { .. } => Next::Delivered,
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

/// A dispatch as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Its number; smaller ones of the same sink and invoice go first.
    pub id: DispatchId,
    /// The event.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: String,
    /// The event's invoice, within which the order is kept.
    pub invoice_id: Option<String>,
    /// The sink's name; the sink may no longer be configured.
    pub sink: String,
    /// Its state.
    pub state: State,
    /// Finished attempts.
    pub attempts: u32,
    /// The reason why it exists.
    pub trigger: Trigger,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it is tried or checked next; `None` if nothing happens without a person, or while it is leased.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was delivered, given up or cancelled.
    pub finished_at: Option<Timestamp>,
    /// The reason of the last attempt that did not deliver; kept after a later success.
    pub last_error: Option<String>,
    /// The earlier dispatch of the same invoice that must be finished first.
    pub waits_for: Option<DispatchId>,
    /// The values of its row, or of its attempts' rows, that cannot be read; these are empty or the nearest possible
    /// value here. `None` if all can be read.
    pub fault: Option<String>,
}

/// One attempt of a dispatch, as recorded.
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
    /// The dispatch.
    pub id: DispatchId,
    /// Has to be given when the attempt is finished.
    pub token: LeaseToken,
    /// Attempts finished before this claim.
    pub attempts: u32,
    /// The reason why it exists.
    pub trigger: Trigger,
    /// The time from the start of the first attempt to this claim, by the store's clock; zero at the first attempt.
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
    /// The dispatch.
    pub id: DispatchId,
    /// The lease under which the attempt was made; with another one nothing is changed.
    pub token: LeaseToken,
    /// The sink, whose status the store keeps beside the dispatch.
    pub sink: SinkName,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The outcome that the sink reported.
    pub outcome: Outcome,
    /// The state that follows from it, see [`after_attempt`].
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
