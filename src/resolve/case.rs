//! An event whose payment is searched for. If none is found, this explains what happens: *wait* for something that will
//! happen without a person, or *hold* for a person, with what they should compare and do.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use super::{
    DEFAULT_PATIENCE, RECHECK,
    asked::Asked,
    choice::{Choice, event_time},
    failed, hold, shown,
    source::{Failure, Source},
};
use crate::{
    model::clock,
    sinks::{Message, invoicing::Unresolved},
};

/// The first wait; it doubles with every attempt.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait between two attempts: a SEPA debit is pending for days.
pub(super) const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The shortest wait at the end of the patience.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// The result of a search in Finkare's answers that found no payment.
#[derive(Debug, Clone, Default)]
pub(super) struct Looked {
    /// True if Finkare answered.
    pub(super) is_over: bool,
    /// The payment that the event probably announces.
    pub(super) payment: Option<String>,
}

/// An event and what it says about its payment.
pub(super) struct Case<'a> {
    pub(super) message: &'a Message,
    pub(super) asked: Asked,
    patience: Duration,
    window: SignedDuration,
    /// The result of the search in Finkare's answers.
    pub(super) looked: Mutex<Looked>,
}

impl<'a> Case<'a> {
    pub(super) fn new(message: &'a Message, asked: Asked, source: Option<&Source>) -> Self {
        Self {
            message,
            asked,
            patience: source.map_or(DEFAULT_PATIENCE, |source| source.patience),
            window: source.map_or(SignedDuration::ZERO, |source| source.window),
            looked: Mutex::default(),
        }
    }

    fn note(&self, payment: &finkare::Payment) {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).payment = Some(payment.id.to_string());
    }

    /// What the event says, as a phrase: "a payment of 1500.00 of invoice c3d4".
    fn wanted(&self) -> String {
        let Asked { invoice_id, amount, payment_id, currency, .. } = &self.asked;
        let amount = currency.as_deref().map_or_else(|| amount.to_string(), |currency| amount.of(currency));
        match payment_id {
            Some(id) => format!("payment {} of {amount} of invoice {}", shown(id), shown(invoice_id)),
            None => format!("a payment of {amount} of invoice {}", shown(invoice_id)),
        }
    }

    pub(super) fn failed(&self, failure: &Failure) -> Unresolved {
        failed(failure, self.message)
    }

    /// Says what a choice means for the event. A payment that was found is handled elsewhere.
    pub(super) fn unresolved(&self, choice: &Choice<'_>, is_kept: bool) -> Unresolved {
        let wanted = self.wanted();
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        match choice {
            // Not reached: this is a payment that was found.
            Choice::Take(_) => Unresolved::Retry { reason: "the payment must be checked again".into(), after: None },
            Choice::Pending { payment, other } => {
                self.note(payment);
                match other {
                    None => Unresolved::Wait {
                        reason: format!("payment {} of the event is still pending at Finkare", shown(&payment.id)),
                        after: growing(self.message.attempt, LONGEST_WAIT),
                    },
                    Some(other) => self.early(
                        &format!(
                            "{}, which the event seems to announce, is still pending at Finkare{}",
                            described(payment),
                            beside(Some(*other))
                        ),
                        &format!(
                            "the dispatch continues by itself once payment {} is completed. If the event means \
                             payment {}, make sure that this payment is in the books, and cancel this dispatch",
                            shown(&payment.id),
                            shown(&other.id)
                        ),
                    ),
                }
            }
            Choice::Unknown { payment, other } => {
                self.note(payment);
                self.early(
                    &format!(
                        "payment {} has the status `{}` at Finkare, and the relay does not know whether this means \
                         that it has arrived{}",
                        shown(&payment.id),
                        shown(&payment.status),
                        beside(*other)
                    ),
                    "check the payment at Finkare: the dispatch continues by itself once the payment is `completed`; \
                     if the payment has arrived, book it by hand and cancel this dispatch",
                )
            }
            Choice::Lost { payment, other } => {
                self.note(payment);
                hold(
                    format!(
                        "payment {}, which the event announces, is `{}` at Finkare: it is not passed on{}. Check this \
                         at Finkare; if it is right, cancel this dispatch",
                        shown(&payment.id),
                        shown(&payment.status),
                        beside(*other)
                    ),
                    // The right payment may still become visible beside a failed one.
                    if is_kept { RECHECK } else { self.recheck() },
                )
            }
            Choice::Unreadable { payment, other } => {
                let id = payment.id.as_deref().map_or_else(|| "without a readable id".to_owned(), shown);
                self.early(
                    &format!(
                        "{wanted} may be the payment {id}, whose data at Finkare cannot be read: {}{}",
                        payment.problem,
                        beside(*other)
                    ),
                    "check the payment at Finkare, book it by hand, and cancel this dispatch",
                )
            }
            Choice::Contradicts(what) => hold(
                format!(
                    "Finkare and the event do not agree: {what}. Find out which is right, book the payment by hand, and \
                     cancel this dispatch"
                ),
                RECHECK,
            ),
            Choice::Ambiguous(one, other) => hold(
                format!(
                    "{wanted} may be {} as well as {}, which differ in time, method or currency: the relay does not \
                     guess. Book the right one by hand, and cancel this dispatch",
                    described(one),
                    described(other)
                ),
                RECHECK,
            ),
            Choice::Taken { payment, other } => self.early(
                &format!(
                    "Finkare shows {wanted}, but other events have already announced every such payment (for example \
                     payment {}){}",
                    shown(&payment.id),
                    beside(*other)
                ),
                "either Finkare sent the event twice, or a payment is not visible: compare with Finkare, then cancel \
                 this dispatch or retry it",
            ),
            Choice::Far(payment) => {
                let window = format!(
                    "Finkare does not show {wanted} that is dated within {} days of the event ({})",
                    self.window.as_hours() / 24,
                    event_time(&self.asked, self.message.received_at)
                );
                let nearest = match payment.paid_at {
                    Some(_) => format!("the nearest is {}, `{}`", described(payment), shown(&payment.status)),
                    None => format!(
                        "payment {}, `{}`, has no payment date at Finkare",
                        shown(&payment.id),
                        shown(&payment.status)
                    ),
                };
                self.early(
                    &format!("{window}; {nearest}, so it is not taken as the event's payment"),
                    &format!(
                        "compare with Finkare: the dispatch continues by itself once the event's own payment is \
                         visible. If the event means payment {}, make sure that this payment is in the books, and \
                         cancel this dispatch (`payment_window_days` of the endpoint says how far a payment may be \
                         dated from its event)",
                        shown(&payment.id)
                    ),
                )
            }
            Choice::Nothing if is_kept => hold(
                format!(
                    "the payment that was found for the event is no longer at Finkare ({wanted}): it is not passed \
                     on. Check this at Finkare; if it is right, cancel this dispatch"
                ),
                RECHECK,
            ),
            Choice::Nothing => self.early(
                &format!("Finkare does not show {wanted}"),
                "compare with Finkare: the dispatch continues by itself once the payment is visible; if there is no \
                 such payment, cancel this dispatch",
            ),
        }
    }

    /// Waits while the event is young; after that, a person has to look.
    fn early(&self, what: &str, advice: &str) -> Unresolved {
        early(self.message, self.patience, what, advice)
    }

    /// When to check again something that may be corrected at any moment while the event is young.
    fn recheck(&self) -> Duration {
        patience_left(self.message, self.patience).map_or(RECHECK, |left| growing(self.message.attempt, left))
    }
}

/// How long the event still counts as young; `None` if it does not any more.
pub(super) fn patience_left(message: &Message, patience: Duration) -> Option<Duration> {
    patience.checked_sub(clock::since(message.received_at, clock::now())).filter(|left| !left.is_zero())
}

/// Waits while the event is young; after that, a person has to look.
pub(super) fn early(message: &Message, patience: Duration, what: &str, advice: &str) -> Unresolved {
    match patience_left(message, patience) {
        Some(left) => Unresolved::Wait {
            reason: format!("{what}. It may only be too early: the relay tries again"),
            after: growing(message.attempt, LONGEST_WAIT).min(left.max(SHORTEST_WAIT)),
        },
        None => hold(format!("{what}: {advice}. The relay checks again every hour"), RECHECK),
    }
}

/// Doubles with each attempt, plus up to a tenth, so that events that came together are not retried together.
pub(super) fn growing(attempt: u32, longest: Duration) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(longest).max(SHORTEST_WAIT);
    wait.mul_f64(1.0 + 0.1 * rand::random::<f64>())
}

/// A description that distinguishes a payment from others.
fn described(payment: &finkare::Payment) -> String {
    let or_none = |text: Option<&str>| text.map_or_else(|| "not given".to_owned(), shown);
    format!(
        "payment {} (paid at {}, method {}, currency {})",
        shown(&payment.id),
        payment.paid_at.map_or_else(|| "an unknown time".to_owned(), |paid_at| paid_at.to_string()),
        or_none(payment.method.as_deref()),
        or_none(payment.currency.as_deref())
    )
}

/// The completed payment that is not taken instead, as the rest of a sentence.
fn beside(other: Option<&finkare::Payment>) -> String {
    other.map_or_else(String::new, |other| {
        format!("; {} is completed and has no event, but is not taken instead", described(other))
    })
}
